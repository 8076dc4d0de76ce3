// Command benchsources measures how fast the sources hand out samples, each in turns with a plain reader of the same bytes
// from the same server, which is a process of its own: S3 against http.Get, Kafka against kcat. It is a tool for those who
// work on the sources; `make bench-sources` runs it with servers of its own.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/alecthomas/kong"
)

type commands struct {
	S3    s3Command    `cmd:"" name:"s3" help:"Read tar and Parquet shards and single images of a bucket."`
	Kafka kafkaCommand `cmd:"" help:"Read a topic of images to its end."`
	Serve serveCommand `cmd:"" help:"Serve an S3 stand-in from memory until stdin is closed, and print its address."`
}

// contest is how often contenders are measured, in turns.
type contest struct {
	Rounds     int    `default:"7" help:"How often each is measured; the first round warms up and does not count."`
	CPUProfile string `name:"cpuprofile" placeholder:"FILE" help:"Write a CPU profile of all that does not read plainly."`
	JSON       bool   `name:"json" help:"Print one JSON object a line."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	parsed := kong.Parse(&commands{}, kong.Name("benchsources"), kong.UsageOnError(),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.BindTo(os.Stdout, (*io.Writer)(nil)))
	if err := parsed.Run(); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "benchsources:", err)
		os.Exit(1)
	}
}
