package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"mocostream/config"
)

// configCommands write and explain configuration.
type configCommands struct {
	Init      configInitCommand      `cmd:"" help:"Write a configuration with every key explained."`
	Print     configPrintCommand     `cmd:"" help:"Check a configuration and print the one in effect."`
	Reference configReferenceCommand `cmd:"" hidden:"" help:"Print the reference of all keys, Markdown."`
}

type configInitCommand struct {
	File string `arg:"" optional:"" placeholder:"FILE" help:"New file; stdout if left out."`
}

// Help is shown below the flags.
func (configInitCommand) Help() string {
	return `Every key has its default; set ingest.dir or ingest.shards and sink.dir.

Example:
  mocostream config init run.yaml`
}

// Run implements the command.
func (c configInitCommand) Run(term *terminal) error {
	if c.File == "" {
		_, err := fmt.Fprint(term.out, config.Init())
		return err
	}
	if err := writeNew(c.File, config.Init()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(term.out, "wrote %s; set ingest.dir or ingest.shards and sink.dir in it\n", c.File)
	return err
}

// writeNew writes a file that is not there yet.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return usage("%s is there already and stays as it is; choose another name or remove it", path)
	}
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	_, err = f.WriteString(text)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

type configPrintCommand struct {
	configFlags
}

// Help is shown below the flags.
func (configPrintCommand) Help() string {
	return `Prints every key with its value in effect: defaults, the file and --set, in that order. Secrets are left out.

Example:
  mocostream config print -c run.yaml --set train.batch=128`
}

// Run implements the command.
func (c configPrintCommand) Run(term *terminal) error {
	effective, err := config.Load(c.Config, c.Set)
	if err != nil {
		return usageError{err}
	}
	_, err = fmt.Fprint(term.out, config.Print(effective))
	return err
}

type configReferenceCommand struct{}

// Run implements the command.
func (configReferenceCommand) Run(term *terminal) error {
	_, err := fmt.Fprint(term.out, config.Reference())
	return err
}
