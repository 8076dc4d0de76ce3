package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"mocostream/augment"
	"mocostream/config"
	"mocostream/ingest"
	"mocostream/internal/failpoint"
	"mocostream/loader"

	"go.uber.org/zap"
)

const (
	livingFile     = "running.json"     // there while a process runs, and after one that was killed
	quarantineFile = "quarantine.jsonl" // samples that no process may touch again
	deathsAllowed  = 2                  // at one checkpoint, before what was in flight is examined
	examineImage   = time.Minute        // longest that one image may take
	examineWait    = 10 * time.Second   // longest wait for a stream to bring what was in flight
)

// living is what a run leaves on disk while it lives.
type living struct {
	Checkpoint string `json:"checkpoint"` // that it started from; "" for none
	Deaths     int    `json:"deaths"`     // of processes that started from it and never said goodbye
}

// quarantined is one sample that killed the process.
type quarantined struct {
	ID     ingest.ID `json:"id"`
	Key    string    `json:"key"`
	Reason string    `json:"reason"`
}

// quarantine keeps samples away that end the process itself: a decoder's crash leaves no error to handle.
type quarantine struct {
	dir   string
	bad   map[ingest.ID]string
	was   living
	until int64 // step up to which every step has a checkpoint; see carefully
}

// openQuarantine reads what a run folder knows of earlier deaths and notes that a process lives, from checkpoint on.
func openQuarantine(dir, checkpoint string) (*quarantine, error) {
	q := &quarantine{dir: dir, bad: map[ingest.ID]string{}}
	if err := q.read(); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, livingFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		q.was = living{Checkpoint: checkpoint}
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", livingFile, err)
	default:
		var before living
		// Torn by a crash of the machine it says nothing more than that somebody lived.
		if json.Unmarshal(text, &before) != nil || before.Checkpoint != checkpoint {
			before = living{Checkpoint: checkpoint}
		}
		before.Deaths++
		q.was = before
	}
	return q, q.write(livingFile, q.was)
}

func (q *quarantine) write(name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.WriteFile(filepath.Join(q.dir, name), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// read reads the list and cuts off a line that a crash left unfinished: its sample is found again.
func (q *quarantine) read() error {
	path := filepath.Join(q.dir, quarantineFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read quarantine: %w", err)
	}
	whole := text[:bytes.LastIndexByte(text, '\n')+1]
	for line := range bytes.Lines(whole) {
		var one quarantined
		if err := json.Unmarshal(line, &one); err != nil {
			return fmt.Errorf("read %s: %w; delete it to examine the images anew", path, err)
		}
		q.bad[one.ID] = one.Reason
	}
	if len(whole) == len(text) {
		return nil
	}
	if err := os.Truncate(path, int64(len(whole))); err != nil {
		return fmt.Errorf("read quarantine: %w", err)
	}
	return nil
}

// add keeps a sample away for ever.
func (q *quarantine) add(one quarantined) error {
	text, err := json.Marshal(one)
	if err != nil {
		return fmt.Errorf("write quarantine: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(q.dir, quarantineFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("write quarantine: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write quarantine: %w", err)
	}
	q.bad[one.ID] = one.Reason
	return nil
}

// refuse says why a sample may not be touched; "" if it may.
func (q *quarantine) refuse(id ingest.ID) string { return q.bad[id] }

// due says whether the deaths at this checkpoint ask for an examination.
func (q *quarantine) due() bool { return q.was.Deaths >= deathsAllowed }

// goodbye notes that the process ends by itself.
func (q *quarantine) goodbye() error {
	if err := os.Remove(filepath.Join(q.dir, livingFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", livingFile, err)
	}
	return nil
}

// examine tries what may have been in flight when processes died, image by image in a child process, and quarantines what
// ends it. An image that was further away than that is met again: from here on every step has its checkpoint, so that the
// deaths after this one leave it within reach.
func (s *session) examine(ctx context.Context, start loader.Token) error {
	n := s.config.Train.Batch * 5 // in the ring, with the trainer and under way
	s.quarantine.until = int64(s.config.Sink.CheckpointEvery)
	if s.from != nil {
		s.quarantine.until += s.from.Step
	}
	s.log.Warn("processes died twice at this checkpoint; trying the images that were in flight one by one, and checkpointing every step for a while",
		zap.Int("deaths", s.quarantine.was.Deaths), zap.Int("images", n), zap.Int64("until_step", s.quarantine.until))
	e := &examination{config: s.config, quarantine: s.quarantine, log: s.log}
	defer e.end()
	err := e.each(ctx, func(ctx context.Context, try func(*loader.Sample) error) error {
		return s.in.first(ctx, loaderOptions(s.config, start), n, try)
	})
	if m := s.embeddings; err == nil && m != nil && m.encoder != nil {
		err = e.each(ctx, func(ctx context.Context, try func(*loader.Sample) error) error {
			return takeSamples(ctx, loader.NewStream(m.from, loaderOptions(s.config, m.state.Token)), embedChunk, try)
		})
	}
	if err == nil {
		s.log.Info("examined the images that were in flight", zap.Int("images", e.tried), zap.Int("quarantined", e.found))
	}
	return err
}

// carefully makes a checkpoint of a step that processes have died after.
func (s *session) carefully(ctx context.Context, step int64) error {
	if step > s.quarantine.until {
		return nil
	}
	_, err := s.loop.Save(ctx)
	return err
}

// each tries the samples that take brings. A stream that brings none for examineWait has no more.
func (e *examination) each(ctx context.Context, take func(ctx context.Context, try func(*loader.Sample) error) error) error {
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	idle := time.AfterFunc(examineWait, cancel)
	defer idle.Stop()
	err := take(wait, func(sample *loader.Sample) error {
		idle.Reset(examineWait + 2*examineImage)
		defer idle.Reset(examineWait)
		return e.try(ctx, sample)
	})
	if wait.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return err
}

// examination feeds a child process, and a new one after each that died.
type examination struct {
	config     *config.Config
	quarantine *quarantine
	log        *zap.Logger
	command    []string // that decodes; nil: this program

	child *exec.Cmd
	to    io.WriteCloser
	from  *bufio.Reader
	tried int
	found int
}

func (e *examination) try(ctx context.Context, s *loader.Sample) error {
	if s.Problem() != "" || e.quarantine.refuse(s.ID()) != "" {
		return nil
	}
	if e.child == nil {
		if err := e.start(ctx); err != nil {
			return err
		}
	}
	e.tried++
	limit := time.AfterFunc(examineImage, func() { _ = e.child.Process.Kill() })
	defer limit.Stop()
	image := s.Image()
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(image)))
	_, err := e.to.Write(append(head, image...))
	if err == nil {
		_, err = e.from.ReadByte()
	}
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	e.end()
	e.found++
	e.log.Warn("an image ends the process that decodes it; it is never tried again", zap.String("key", s.Key()))
	return e.quarantine.add(quarantined{ID: s.ID(), Key: s.Key(), Reason: "it ended the process that decoded it"})
}

func (e *examination) start(ctx context.Context) error {
	command := e.command
	if command == nil {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("examine images: %w", err)
		}
		command = []string{self, "examine"}
	}
	var err error
	e.child = exec.CommandContext(ctx, command[0], command[1:]...)
	e.child.Env = append(os.Environ(), "GOTRACEBACK=none", failpoint.Env+"=") // it dies of images alone
	if e.to, err = e.child.StdinPipe(); err != nil {
		return fmt.Errorf("examine images: %w", err)
	}
	out, err := e.child.StdoutPipe()
	if err != nil {
		return fmt.Errorf("examine images: %w", err)
	}
	e.from = bufio.NewReader(out)
	if err := e.child.Start(); err != nil {
		return fmt.Errorf("examine images: %w", err)
	}
	limits, err := json.Marshal(limitsOf(e.config))
	if err != nil {
		return fmt.Errorf("examine images: %w", err)
	}
	_, _ = e.to.Write(append(limits, '\n')) // a child that is gone gives no answer
	if _, err := e.from.ReadByte(); err != nil {
		e.end()
		return errors.New("examine images: the process that is to decode them ends before the first; is there enough memory for a second one?")
	}
	return nil
}

// end lets the child go; what it says is of no use.
func (e *examination) end() {
	if e.child == nil {
		return
	}
	_ = e.to.Close()
	_ = e.child.Process.Kill()
	_ = e.child.Wait()
	e.child = nil
}

// examineCommand is the child process. It answers the limits, and each image, with a byte, whether it could be decoded or not.
type examineCommand struct{}

// Run implements the command.
func (examineCommand) Run(term *terminal) error {
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return usage("examine: it is for the program's own use")
	}
	var limits augment.Limits
	if err := json.Unmarshal(line, &limits); err != nil {
		return usage("examine: limits: %w", err)
	}
	if _, err := term.out.Write([]byte{1}); err != nil {
		return fmt.Errorf("examine: %w", err)
	}
	var image []byte
	for {
		var head [4]byte
		if _, err := io.ReadFull(in, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("examine: %w", err)
		}
		image = append(image[:0], make([]byte, binary.LittleEndian.Uint32(head[:]))...)
		if _, err := io.ReadFull(in, image); err != nil {
			return fmt.Errorf("examine: %w", err)
		}
		_, _ = augment.DecodeRGB(image, limits) // a bad image is no matter here: it only must come back
		if _, err := term.out.Write([]byte{1}); err != nil {
			return fmt.Errorf("examine: %w", err)
		}
	}
}
