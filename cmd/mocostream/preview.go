package main

import (
	"context"
	"fmt"
	"os"

	"mocostream/config"
	"mocostream/loader"
	"mocostream/sink/report"
)

type previewCommand struct {
	Config string   `short:"c" placeholder:"FILE" help:"Configuration, YAML."`
	Set    []string `placeholder:"KEY=VALUE" sep:"none" help:"Override a key. May be repeated."`
	Data   string   `placeholder:"DIR|SHARDS" help:"Images, in place of the configuration's."`
	Out    string   `default:"preview.png" placeholder:"FILE.png" help:"Where to write."`
	Images int      `default:"12" help:"How many images."`
}

// Help is shown below the flags.
func (previewCommand) Help() string {
	return `Each image is drawn with the two views that training makes of it in its first epoch.

Example:
  mocostream preview --data photos --out preview.png
  mocostream preview -c run.yaml --set augment.recipe=v1`
}

// Run implements the command.
func (p previewCommand) Run(term *terminal) error {
	if p.Images < 1 {
		return usage("--images %d: use at least 1", p.Images)
	}
	c, err := config.Load(p.Config, p.Set)
	if err != nil {
		return usageError{err}
	}
	path := p.Data
	if path == "" {
		if path = c.Ingest.Dir; path == "" {
			path = c.Ingest.Shards
		}
	}
	if path == "" {
		return usage("no images: give --data, or -c FILE with ingest.dir or ingest.shards")
	}
	src, closeSource, err := openData(term.ctx, path, c)
	if err != nil {
		return err
	}
	defer closeSource()
	var rows []report.PreviewRow
	err = term.interruptible(func(ctx context.Context) (err error) {
		rows, err = previewRows(c, p.Images, func(use func(*loader.Sample) error) error {
			return firstSamples(ctx, src, c, p.Images, use)
		})
		return err
	})
	if err != nil {
		return err
	}
	png, err := report.PNG(report.PreviewGrid(rows))
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.Out, png, 0o644); err != nil {
		return fmt.Errorf("write preview: %w", err)
	}
	_, err = fmt.Fprintf(term.out, "%d images with their views in %s\n", len(rows), p.Out)
	return err
}
