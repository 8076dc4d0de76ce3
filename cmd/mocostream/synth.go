package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"

	"mocostream/internal/synth"
)

type synthCommand struct {
	Out     string `required:"" placeholder:"DIR|FILE.tar" help:"Where to write: a folder with a sub-folder a class, or one tar shard."`
	Classes int    `default:"12" help:"Classes, 1 to 12."`
	Images  int    `default:"7200" help:"Images of all classes together."`
	Size    int    `default:"128" help:"Side of an image in pixels."`
	Seed    uint64 `default:"0" help:"Another seed draws other images of the same classes."`
	JSON    bool   `name:"json" help:"Print one JSON object on stdout."`
}

// Help is shown below the flags.
func (synthCommand) Help() string {
	return `Draws patterns of glyphs: the glyph is the class, and colours, light, scale and noise say nothing about it. Equal options
give equal files. An interrupted folder is finished by the same command.

Example:
  mocostream synth --out data/train
  mocostream synth --out data/test.tar --images 1200 --seed 1`
}

// Run implements the command.
func (s synthCommand) Run(term *terminal) error {
	o := synth.Options{Classes: s.Classes, Images: s.Images, Size: s.Size, Seed: s.Seed}
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

func (s synthCommand) write(ctx context.Context, o synth.Options) error {
	switch {
	case strings.HasSuffix(s.Out, ".tar"):
		return synth.WriteTar(ctx, s.Out, o)
	case strings.HasSuffix(s.Out, ".gz"), strings.HasSuffix(s.Out, ".tgz"):
		return usage("--out %s: JPEG files do not shrink; name it .tar", s.Out)
	}
	return synth.WriteDir(ctx, s.Out, o, runtime.GOMAXPROCS(0))
}
