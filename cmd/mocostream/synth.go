package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"

	"mocostream/internal/synth"
)

type synthCommand struct {
	Out     string `placeholder:"DIR|FILE.tar" help:"Where to write: a folder with a sub-folder a class, or one tar shard. Of a stream: one tar shard, or a folder of several."`
	Classes int    `default:"12" help:"Classes, 1 to 12."`
	Images  int    `default:"7200" help:"Images of all classes together."`
	Size    int    `default:"128" help:"Side of an image in pixels."`
	Seed    uint64 `default:"0" help:"Another seed draws other images of the same classes."`
	streamFlags
	JSON bool `name:"json" help:"Print one JSON object on stdout."`
}

// Help is shown below the flags.
func (synthCommand) Help() string {
	return `Draws patterns of glyphs: the glyph is the class, and colours, light, scale and noise say nothing about it. Equal options
give equal files. An interrupted folder is finished by the same command.

With --stream the images become an ordered stream of frames, for trying out what training on what arrives in bursts does:
each burst shows one image, a little moved and lit in each frame. A frame's key is burst/frame, so that equal keys up to
the slash are near-duplicates; in a topic, headers hold burst and label.
  correlated  bursts of images in random order
  drift       the same, while the classes, the colours or the light change
  tasks       first some classes alone, then the next ones; with --tasks 12 class after class

Example:
  mocostream synth --out data/train
  mocostream synth --out data/test.tar --images 1200 --seed 1
  mocostream synth --stream correlated --frames 57600 --burst 32 --size 64 --out data/stream
  mocostream synth --stream tasks --tasks 12 --frames 57600 --size 64 --brokers localhost:9092 --topic frames`
}

// Run implements the command.
func (s synthCommand) Run(term *terminal) error {
	if s.Stream != "" {
		return s.runStream(term)
	}
	if err := s.noStream(); err != nil {
		return err
	}
	o := s.set()
	if err := o.Validate(); err != nil {
		return usageError{err}
	}
	if err := term.interruptible(func(ctx context.Context) error { return s.write(ctx, o) }); err != nil {
		return err
	}
	if s.JSON {
		return printJSON(term.out, map[string]any{
			"out": s.Out, "classes": s.Classes, "images": s.Images, "size": s.Size, "seed": s.Seed,
			"class_names": synth.ClassNames(s.Classes),
		})
	}
	_, err := fmt.Fprintf(term.out, "%s: %s\n", s.Out, o)
	return err
}

func (s synthCommand) set() synth.Options {
	return synth.Options{Classes: s.Classes, Images: s.Images, Size: s.Size, Seed: s.Seed}
}

func (s synthCommand) write(ctx context.Context, o synth.Options) error {
	switch {
	case strings.HasSuffix(s.Out, ".tar"):
		return synth.WriteTar(ctx, s.Out, o)
	case noTar(s.Out):
		return usage("--out %s: JPEG files do not shrink; name it .tar", s.Out)
	}
	return synth.WriteDir(ctx, s.Out, o, runtime.GOMAXPROCS(0))
}

// noTar tells whether a path asks for a tar that is compressed.
func noTar(path string) bool {
	return strings.HasSuffix(path, ".gz") || strings.HasSuffix(path, ".tgz")
}
