package main

import (
	"fmt"

	"mocostream/sink"
)

type exportCommand struct {
	Checkpoint string `required:"" placeholder:"DIR|s3://BUCKET/PREFIX" help:"Step folder, or run folder (its newest whole checkpoint)."`
	Out        string `required:"" placeholder:"DIR" help:"Folder to write model.safetensors and config.json to."`
	Full       bool   `help:"Every encoder with its head, and queue or bank, under facebookresearch/moco's names."`
	Encoder    string `enum:"q,k" default:"q" help:"Query (q) or key (k) encoder."`
	JSON       bool   `name:"json" help:"Print one JSON object on stdout."`
	bucketFlags
}

// Help is shown below the flags.
func (exportCommand) Help() string {
	return `torchvision and timm load model.safetensors with no renaming. For a network that they cannot build (a cifar stem, another
width, resnet10, silu) a small PyTorch loader is written beside it.

Example:
  mocostream export --checkpoint runs/photos --out photos-encoder`
}

// Run implements the command.
func (c exportCommand) Run(term *terminal) error {
	folder, done, err := c.resolve(term, c.Checkpoint)
	if err != nil {
		return err
	}
	defer done()
	ck, err := sink.Read(folder)
	if err != nil {
		return err
	}
	like, err := configOf(ck)
	if err != nil {
		return err
	}
	err = sink.Export(c.Out, ck, sink.ExportOptions{
		Full: c.Full, Encoder: c.Encoder, Size: like.Augment.Size,
		Mean: floats32(like.Augment.Mean), Std: floats32(like.Augment.Std),
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(term.out, map[string]any{"out": c.Out, "step": ck.Step, "architecture": ck.Encoder.Arch})
	}
	_, err = fmt.Fprintf(term.out, "%s of step %d in %s\n", ck.Encoder, ck.Step, c.Out)
	return err
}
