// Command mocostream pre-trains image encoders by momentum contrast from folders and shards of images.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"mocostream/config"
	"mocostream/train"

	"github.com/alecthomas/kong"
)

// version is set by the linker.
var version = "unknown"

// Exit codes, documented in --help.
const (
	exitOK     = 0 // done; also stopped by SIGINT or SIGTERM after a checkpoint
	exitFailed = 1
	exitUsage  = 2 // usage or configuration
)

const description = `Continuous self-supervised pre-training of image encoders (MoCo).

Results go to stdout, everything else to stderr. Exit codes: 0 done (also after a signal, once a checkpoint is written),
2 usage or configuration, 1 anything else.`

// commands is the command line, one field a subcommand.
type commands struct {
	Train   trainCommand   `cmd:"" help:"Pre-train an encoder; goes on by itself from the newest checkpoint."`
	Daemon  daemonCommand  `cmd:"" help:"Train on what comes in for as long as it comes, watched and steered from outside."`
	Ctl     ctlCommand     `cmd:"" help:"Ask a daemon how it is, and steer it."`
	Eval    evalCommands   `cmd:"" help:"Judge an encoder."`
	Embed   embedCommand   `cmd:"" help:"Write features of images to a Parquet file."`
	Export  exportCommand  `cmd:"" help:"Write an encoder for torchvision and timm."`
	Preview previewCommand `cmd:"" help:"Draw images with their augmented views."`
	Ledger  ledgerCommand  `cmd:"" help:"Show that every sample was trained on exactly once."`
	Forget  forgetCommand  `cmd:"" help:"Take samples out of a run's replay buffer and records."`
	Report  reportCommand  `cmd:"" help:"Write a run's report, one HTML file."`
	Demo    demoCommand    `cmd:"" help:"Show the whole path on made-up images."`
	Synth   synthCommand   `cmd:"" help:"Write made-up labelled images."`
	Pack    packCommand    `cmd:"" help:"Write images into shards, with an index."`
	Index   indexCommand   `cmd:"" help:"Write the index of shards that exist."`
	Produce produceCommand `cmd:"" help:"Send images to a Kafka topic."`
	Bench   benchCommands  `cmd:"" help:"Measure."`
	Config  configCommands `cmd:"" help:"Write, check and explain configuration."`
	Doctor  doctorCommand  `cmd:"" help:"Check backend, decoder and disk, and say what would be faster."`
	Version versionCommand `cmd:"" help:"Print versions."`
	Examine examineCommand `cmd:"" hidden:""`
}

// terminal is where a command writes and how it is stopped.
type terminal struct {
	out, err io.Writer
	// ctx ends at the second signal, or when the program must not go on.
	ctx context.Context
	// stop is closed at the first SIGINT or SIGTERM: finish the step, write a checkpoint.
	stop <-chan struct{}
	// also adds to what happens between the steps of a run that goes on from a checkpoint (nil: from the start). Tests
	// count samples with it; nil adds nothing.
	also func(from *train.Checkpoint, h train.Hooks) (train.Hooks, error)
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main without the process: it returns the exit code.
func run(args []string, out, err io.Writer) int {
	return runOn(&terminal{out: out, err: err}, args)
}

// runOn is run with a terminal that is not yet told how it is stopped.
func runOn(term *terminal, args []string) int {
	ctx, stop, cancel := signals(context.Background())
	defer cancel()
	code, parsed := parse(args, term.out, term.err)
	if parsed == nil {
		return code
	}
	term.ctx, term.stop = ctx, stop
	parsed.Bind(term)
	return exitCode(parsed.Run(), term.err)
}

// togetherSignals is how close to the first a signal counts as the same wish: timeout and terminals tell a process and its
// group.
const togetherSignals = time.Second

// signals closes stop at the first SIGINT or SIGTERM and cancels the context at the second.
func signals(parent context.Context) (ctx context.Context, stop <-chan struct{}, cancel func()) {
	ctx, cancelContext := context.WithCancel(parent)
	received := make(chan os.Signal, 2)
	signal.Notify(received, syscall.SIGINT, syscall.SIGTERM)
	stopped := make(chan struct{})
	go func() {
		var first time.Time
		for {
			select {
			case <-received:
			case <-ctx.Done():
				return
			}
			switch {
			case first.IsZero():
				first = time.Now()
				close(stopped)
			case time.Since(first) > togetherSignals:
				cancelContext()
				return
			}
		}
	}()
	return ctx, stopped, func() {
		signal.Stop(received)
		cancelContext()
	}
}

// parse reads the command line. Without a command to run it returns the exit code and nil.
func parse(args []string, out, err io.Writer) (int, *kong.Context) {
	if len(args) == 0 {
		parse([]string{"--help"}, err, err)
		fmt.Fprintln(err, "\nmocostream: no command; name one of these")
		return exitUsage, nil
	}
	exited, code := false, exitOK
	parser := kong.Must(&commands{},
		kong.Name("mocostream"), kong.Description(description), kong.Writers(out, err),
		kong.Exit(func(c int) { exited, code = true, c }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.UsageOnError(),
		kong.Vars{"version": version})
	parsed, parseErr := parser.Parse(args)
	if exited {
		return code, nil
	}
	if parseErr != nil {
		fmt.Fprintf(err, "mocostream: %v\n", parseErr)
		return exitUsage, nil
	}
	return exitOK, parsed
}

// usageError is an error of the command line's or configuration's own.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitCode prints the error, if any, and says how to exit.
func exitCode(e error, err io.Writer) int {
	var wrong config.Errors
	var misuse usageError
	switch {
	case e == nil:
		return exitOK
	case errors.As(e, &wrong), errors.As(e, &misuse):
		fmt.Fprintf(err, "mocostream: %v\n", e)
		return exitUsage
	default:
		fmt.Fprintf(err, "mocostream: %v\n", e)
		return exitFailed
	}
}
