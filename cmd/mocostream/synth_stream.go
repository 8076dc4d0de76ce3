package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"mocostream/internal/synth"

	kafkago "github.com/segmentio/kafka-go"
)

// streamFlags make an ordered stream of the images.
type streamFlags struct {
	Stream  string   `placeholder:"KIND" help:"Make an ordered stream of frames: correlated, drift or tasks."`
	Frames  int      `default:"57600" help:"Frames of the stream."`
	Burst   int      `default:"32" help:"Frames that show the same image, in a row."`
	Tasks   int      `default:"2" help:"Tasks of --stream tasks; the classes are dealt out in their order."`
	Drift   string   `default:"classes" help:"What --stream drift changes: classes, colour or light."`
	Onset   float64  `default:"0.5" help:"Share of the stream before the drift begins; it is complete at the end."`
	Shuffle bool     `help:"The same frames under the same keys in random order: what a stream is compared with."`
	Data    string   `placeholder:"DIR" help:"Show the images of this folder, with a sub-folder a class, and not drawn ones."`
	Config  string   `short:"c" placeholder:"FILE" help:"Configuration, YAML: brokers, topic and how to log in are those of its ingest.kafka."`
	Set     []string `placeholder:"KEY=VALUE" sep:"none" help:"Override a key of it. May be repeated."`
	Brokers []string `placeholder:"HOST:PORT" help:"Send the frames to these brokers, in place of --out."`
	Topic   string   `placeholder:"NAME" help:"Topic, instead of the configuration's first; it is created with one partition, which keeps the order."`
	Rate    float64  `default:"0" help:"Frames a second; 0: as fast as the brokers take them."`
}

// drawnSize is the least side of the images that a drawn stream shows: scaled down, they keep their glyphs and lose their noise.
const drawnSize = 128

// burstHeader is the header of a message that names its burst.
const burstHeader = "burst"

// noStream refuses what a set of images has no use for.
func (s synthCommand) noStream() error {
	switch {
	case s.Data != "" || s.Shuffle || s.Topic != "" || s.Config != "" || len(s.Brokers) > 0:
		return usage("--data, --shuffle, --topic, --brokers and -c are of --stream; produce sends a folder of images")
	case s.Out == "":
		return usage("no --out; name a folder or a .tar")
	}
	return nil
}

func (s synthCommand) stream() synth.Stream {
	o := synth.Stream{Kind: s.Stream, Frames: s.Frames, Burst: s.Burst, Shuffle: s.Shuffle, Size: s.Size, Seed: s.Seed}
	switch s.Stream {
	case synth.Tasks:
		o.Tasks = s.Tasks
	case synth.Drift:
		o.Drift, o.Onset = s.Drift, s.Onset
	}
	return o
}

func (s synthCommand) runStream(term *terminal) error {
	toTopic := s.Topic != "" || s.Config != "" || len(s.Brokers) > 0
	switch {
	case toTopic == (s.Out != ""):
		return usage("name one place for the stream: --out, or --brokers and --topic (or -c)")
	case noTar(s.Out):
		return usage("--out %s: JPEG files do not shrink; name it .tar, or a folder", s.Out)
	case s.Rate < 0:
		return usage("--rate %g: name a number that is not negative", s.Rate)
	}
	in, err := s.images()
	if err != nil {
		return err
	}
	o := s.stream()
	if err := o.Validate(len(in.Classes())); err != nil {
		return usageError{err}
	}
	place := s.Out
	if toTopic {
		place, err = s.send(term, o, in)
	} else {
		err = term.interruptible(func(ctx context.Context) error { return synth.WriteStream(ctx, s.Out, o, in) })
	}
	if err != nil {
		return err
	}
	return s.report(term, o, in, place)
}

// images are what the stream shows.
func (s synthCommand) images() (synth.Images, error) {
	if s.Data != "" {
		return synth.OpenFolder(s.Data)
	}
	o := s.set()
	if err := o.Validate(); err != nil {
		return nil, usageError{err}
	}
	o.Size = max(o.Size, drawnSize)
	return synth.Glyphs{Options: o}, nil
}

// send puts the stream into a topic and returns its name.
func (s synthCommand) send(term *terminal, o synth.Stream, in synth.Images) (topic string, err error) {
	p, err := produceCommand{
		Config: s.Config, Set: s.Set, Brokers: s.Brokers, Topic: s.Topic, Partitions: 1, Labels: true, Rate: s.Rate, MaxMessage: synthMessage,
	}.open(term)
	if err != nil {
		return "", err
	}
	defer p.topic.Close()
	p.due = time.Now()
	err = term.interruptible(func(ctx context.Context) error {
		err := synth.EachFrame(ctx, o, in, 0, o.Frames, func(f synth.Frame) error {
			return p.add(ctx, f.Key, f.JPEG, strconv.Itoa(f.Class), kafkago.Header{Key: burstHeader, Value: strconv.AppendInt(nil, int64(f.Burst), 10)})
		})
		if err != nil {
			return err
		}
		return p.send(ctx)
	})
	if err == nil && p.skipped > 0 {
		err = errors.New("frames are larger than a message may be; lower --size")
	}
	return "topic " + p.name, err
}

// synthMessage is the largest message of a stream, Kafka's own default.
const synthMessage = 1 << 20

func (s synthCommand) report(term *terminal, o synth.Stream, in synth.Images, place string) error {
	if s.JSON {
		return printJSON(term.out, map[string]any{"out": place, "stream": o, "class_names": in.Classes(), "images": in.Len()})
	}
	_, err := fmt.Fprintf(term.out, "%s: %s\n", place, o)
	return err
}
