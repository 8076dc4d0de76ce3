package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"mocostream/ingest"
	"mocostream/sink"
	"mocostream/train"
)

type ledgerCommand struct {
	Checkpoint string `required:"" placeholder:"DIR" help:"Run folder (its newest whole checkpoint) or step folder of a run with sink.ledger: true."`
	JSON       bool   `name:"json" help:"Print one JSON object on stdout."`
}

// Help is shown below the flags.
func (ledgerCommand) Help() string {
	return `Counts what the steps up to a checkpoint took, from what was written down of each batch, and holds it against what the
checkpoint says is consumed. Exits with 1 if a sample is missing, or was taken twice (in an epoch of a source with an end).

Example:
  mocostream ledger --checkpoint runs/photos --json`
}

// Run implements the command.
func (c ledgerCommand) Run(term *terminal) error {
	folder, err := sink.Resolve(c.Checkpoint, func(text string) { fmt.Fprintf(term.err, "mocostream: warning: %s\n", text) })
	if err != nil {
		return err
	}
	ck, err := sink.Read(folder)
	if err != nil {
		return err
	}
	var report sink.LedgerReport
	err = term.interruptible(func(ctx context.Context) (err error) {
		report, err = checkLedger(ctx, filepath.Dir(filepath.Clean(folder)), ck)
		return err
	})
	if err != nil {
		return err
	}
	if err := c.print(term, report); err != nil {
		return err
	}
	if !report.Exact() {
		return errors.New("the ledger shows samples that are missing or repeated; see what it found above")
	}
	return nil
}

// checkLedger checks the ledger in a run folder up to a checkpoint.
func checkLedger(ctx context.Context, runDir string, ck *train.Checkpoint) (sink.LedgerReport, error) {
	return sink.CheckLedger(ctx, runDir, ck, func(hash string) (*ingest.Manifest, error) {
		return ingest.OpenManifest(manifestDir(runDir), hash)
	})
}

func (c ledgerCommand) print(term *terminal, r sink.LedgerReport) error {
	for _, text := range r.Findings {
		fmt.Fprintln(term.err, text)
	}
	if c.JSON {
		return printJSON(term.out, r)
	}
	if r.Admitted > 0 {
		fmt.Fprintf(term.out, "the replay buffer took %d samples from the source, of which these steps drew\n", r.Admitted)
	}
	_, err := fmt.Fprintf(term.out, `steps %d..%d took %d samples; %d could not be decoded, %d offsets were never samples
missing=%d repeated=%d unrecorded=%d
`, r.FirstStep, r.LastStep, r.Samples, r.Dead, r.Passed, r.Missing, r.Repeated, r.Unrecorded)
	return err
}
