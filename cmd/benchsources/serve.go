package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"mocostream/internal/s3server"
)

// serveCommand is an S3 server without a disk.
type serveCommand struct{}

// Run implements the command.
func (serveCommand) Run(ctx context.Context, out io.Writer) error {
	server := s3server.New(s3server.Options{AccessKey: "bench"})
	url, err := server.Start(ctx)
	if err != nil {
		return err
	}
	defer server.Close()
	fmt.Fprintf(out, "MOCOSTREAM_S3_ENDPOINT=%s\nMOCOSTREAM_S3_ACCESS_KEY=bench\nMOCOSTREAM_S3_SECRET_KEY=bench\n", url)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
