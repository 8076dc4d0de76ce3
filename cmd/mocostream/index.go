package main

import (
	"context"
	"fmt"

	"mocostream/ingest/pack"
)

type indexCommand struct {
	Path string `arg:"" placeholder:"DIR" help:"Folder that the shards are in, at any depth."`
	JSON bool   `name:"json" help:"Print one JSON object on stdout."`
}

// Help is shown below the argument.
func (indexCommand) Help() string {
	return `Reads every shard through and writes index.jsonl beside them: name, size, number of samples and SHA-256, one JSON object a
line. Training then starts without counting. A shard whose size is not the index's is counted anew, with a warning.

Example:
  mocostream index shards`
}

// Run implements the command.
func (c indexCommand) Run(term *terminal) error {
	var entries []pack.Entry
	err := term.interruptible(func(ctx context.Context) (err error) {
		entries, err = pack.Index(ctx, c.Path)
		return err
	})
	if err != nil {
		return err
	}
	var samples, bytes int64
	for _, e := range entries {
		samples += e.Samples
		bytes += e.Size
	}
	if c.JSON {
		return printJSON(term.out, map[string]any{"path": c.Path, "shards": len(entries), "images": samples, "bytes": bytes})
	}
	_, err = fmt.Fprintf(term.out, "%s: %d images in %d shards of %d bytes together\n", c.Path, samples, len(entries), bytes)
	return err
}
