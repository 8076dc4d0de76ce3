package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"mocostream/loader"
	"mocostream/sink"
	"mocostream/train"
)

type forgetCommand struct {
	Run_ string   `name:"run" required:"" placeholder:"DIR" help:"Run folder. No process may be training in it."`
	Keys []string `arg:"" optional:"" placeholder:"KEY" help:"Keys of the samples, as dead letters and replay buffer have them."`
	From string   `placeholder:"FILE" help:"More keys, one a line."`
	JSON bool     `name:"json" help:"Print one JSON object on stdout."`
}

// Help is shown below the flags.
func (forgetCommand) Help() string {
	return `Takes samples out of a run folder: the replay buffer of the newest checkpoint with the bytes of their images, dead letters and
discarded steps, and the report, which may show them, as a whole. Older checkpoints that have a buffer are removed. The weights do not forget what they
were trained on, and what was published or sent elsewhere stays there. Checkpoints in a bucket are not touched: there, a message without a
value under the same key purges the buffer.

Example:
  mocostream forget --run runs/online customer-17/0001.jpg customer-17/0002.jpg`
}

// forgetResult is what forget prints.
type forgetResult struct {
	Samples     int    `json:"samples"`      // in the replay buffer
	DeadLetters int    `json:"dead_letters"` // and lines of discarded steps
	Report      bool   `json:"report"`       // it was there
	Checkpoint  string `json:"checkpoint,omitempty"`
}

// Run implements the command.
func (c forgetCommand) Run(term *terminal) error {
	keys, err := c.keys()
	if err != nil {
		return err
	}
	if _, err := os.Stat(c.Run_); err != nil {
		return usage("%w", err)
	}
	var done forgetResult
	err = term.interruptible(func(ctx context.Context) (err error) {
		done, err = c.forget(ctx, term, func(key string) bool { return keys[key] })
		return err
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(term.out, done)
	}
	_, err = fmt.Fprintf(term.out, "%d samples of the replay buffer and %d lines of dead letters are forgotten\n", done.Samples, done.DeadLetters)
	return err
}

// keys are those of the command line and of the file.
func (c forgetCommand) keys() (map[string]bool, error) {
	keys := map[string]bool{}
	for _, k := range c.Keys {
		keys[k] = true
	}
	if c.From != "" {
		f, err := os.Open(c.From)
		if err != nil {
			return nil, usage("%w", err)
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			keys[strings.TrimSuffix(lines.Text(), "\r")] = true
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("read keys: %w", err)
		}
	}
	delete(keys, "")
	if len(keys) == 0 {
		return nil, usage("no keys; name them, or a file with --from")
	}
	return keys, nil
}

// forget works on the newest checkpoint alone, and removes the others once it is replaced.
func (c forgetCommand) forget(ctx context.Context, term *terminal, unwanted func(string) bool) (done forgetResult, err error) {
	store, err := sink.OpenStore(c.Run_, sink.Options{Warn: func(text string) { fmt.Fprintf(term.err, "mocostream: warning: %s\n", text) }})
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	ck, name, err := store.Newest(ctx)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return done, err
	}
	known := int64(math.MaxInt64)
	if ck != nil {
		known = 0
		if raw, ok := ck.Extra[deadLettersKey]; ok {
			if err := json.Unmarshal(raw, &known); err != nil {
				return done, fmt.Errorf("%s of the checkpoint: %w", deadLettersKey, err)
			}
		}
	}
	left, dead, err := sink.ForgetLines(c.Run_, sink.DeadLettersFile, known, unwanted)
	if err != nil {
		return done, err
	}
	_, discarded, err := sink.ForgetLines(c.Run_, sink.DiscardedFile, 0, unwanted)
	if err != nil {
		return done, err
	}
	done.DeadLetters = dead + discarded
	if err := os.Remove(filepath.Join(c.Run_, reportFile)); err == nil {
		done.Report = true
	} else if !errors.Is(err, fs.ErrNotExist) {
		return done, err
	}
	if ck == nil {
		return done, nil
	}
	done.Checkpoint = filepath.Join(c.Run_, name)
	if ck.Extra[deadLettersKey], err = json.Marshal(left); err != nil {
		return done, err
	}
	done.Samples, err = c.forgetReplay(ctx, store, ck, done.Checkpoint, unwanted)
	return done, err
}

// forgetReplay replaces the checkpoint by one whose buffer lacks what is unwanted.
func (c forgetCommand) forgetReplay(ctx context.Context, store *sink.Store, ck *train.Checkpoint, folder string, unwanted func(string) bool) (n int, err error) {
	names, err := sink.FileNames(folder)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		addFile(ck, name, savedFile{ck.Open, name})
	}
	dir := filepath.Join(c.Run_, replayDir)
	err = readState(ck, loader.ReplayFile, func(state io.Reader) error {
		buffer, err := loader.OpenSaved(dir, ck.Token, state, ck.Open)
		if err != nil {
			return err
		}
		defer buffer.Close()
		for _, name := range names {
			if name == loader.ReplayFile || strings.HasPrefix(name, loader.SegmentPrefix) {
				delete(ck.Files, name)
			}
		}
		var now io.WriterTo
		var images []loader.Segment
		if n, now, images, err = buffer.Forget(unwanted); err != nil {
			return err
		}
		addReplay(ck, now, images)
		return nil
	})
	if err != nil {
		return 0, err
	}
	if _, err := store.Save(ctx, ck); err != nil {
		return 0, err
	}
	return n, errors.Join(os.RemoveAll(dir), c.removeOthers(filepath.Base(folder)))
}

// removeOthers removes the older checkpoints that have a replay buffer.
func (c forgetCommand) removeOthers(newest string) error {
	others, err := filepath.Glob(filepath.Join(c.Run_, "step-*", loader.ReplayFile))
	if err != nil {
		return err
	}
	for _, path := range others {
		if folder := filepath.Dir(path); filepath.Base(folder) != newest {
			if err := os.RemoveAll(folder); err != nil {
				return err
			}
		}
	}
	return nil
}

// savedFile is a file of a checkpoint, to be written into another.
type savedFile struct {
	open func(name string) (io.ReadCloser, error)
	name string
}

// WriteTo copies the file.
func (f savedFile) WriteTo(to io.Writer) (int64, error) {
	from, err := f.open(f.name)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(to, from)
	return n, errors.Join(err, from.Close())
}
