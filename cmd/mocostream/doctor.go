package main

import (
	"context"
	"fmt"
	"io"

	"mocostream/train"
)

type doctorCommand struct {
	Dir     string   `default:"runs/default" placeholder:"DIR" help:"Run folder to be, as sink.dir."`
	Install bool     `help:"Download XLA's plugin for the CPU, and for CUDA where there is an NVIDIA GPU."`
	DumpHLO string   `name:"dump-hlo" placeholder:"FILE" help:"Write the training step as XLA gets it (StableHLO), and nothing else."`
	Config  string   `short:"c" placeholder:"FILE" help:"Configuration of that step; the defaults if left out. What depends on the data set is as for a million images."`
	Set     []string `placeholder:"KEY=VALUE" sep:"none" help:"Override a key of it. May be repeated."`
	JSON    bool     `name:"json" help:"Print one JSON object on stdout."`
}

// Help is shown below the flags.
func (doctorCommand) Help() string {
	return `Each line begins with ok, warn (it works, and could be better) or FAIL (training will not work here; exit code 1), and says
what to do. Nothing is downloaded without --install.

Example:
  mocostream doctor
  mocostream doctor --install
  mocostream doctor --dump-hlo step.mlir -c run.yaml --set train.precision=bf16`
}

// level says how bad a finding is.
type level string

const (
	fine   level = "ok"
	better level = "warn" // works, and could be better
	broken level = "FAIL" // training will not work
)

// finding is one line of doctor's.
type finding struct {
	Level  level  `json:"level"`
	Check  string `json:"check"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
}

// diagnosis is what doctor prints.
type diagnosis struct {
	OK     bool      `json:"ok"` // nothing is broken
	Checks []finding `json:"checks"`
}

// Run implements the command.
func (d doctorCommand) Run(term *terminal) error {
	switch {
	case d.DumpHLO != "":
		return d.dumpHLO(term)
	case d.Config != "" || len(d.Set) > 0:
		return usage("doctor --config and --set are for --dump-hlo; name its file too")
	}
	var all []finding
	if d.Install {
		fmt.Fprintln(term.err, "mocostream: downloading XLA's plugin")
		err := term.interruptible(func(ctx context.Context) error {
			f, err := install(ctx, train.InstallXLA)
			all = append(all, f)
			return err
		})
		if err != nil {
			return err
		}
	}
	all = append(all, checkProgram(), checkProcessors(), checkSIMD())
	all = append(all, checkBackend()...)
	all = append(all, checkJPEG())
	all = append(all, checkDisk(d.Dir)...)
	all = append(all, checkMemory("/"))
	return d.report(term.out, all)
}

// report prints the findings; it returns an error when something is broken.
func (d doctorCommand) report(w io.Writer, all []finding) error {
	failed := 0
	for _, f := range all {
		if f.Level == broken {
			failed++
		}
	}
	if err := d.print(w, diagnosis{OK: failed == 0, Checks: all}); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("doctor: %d of %d checks failed", failed, len(all))
	}
	return nil
}

func (d doctorCommand) print(w io.Writer, all diagnosis) error {
	if d.JSON {
		return printJSON(w, all)
	}
	for _, f := range all.Checks {
		if _, err := fmt.Fprintf(w, "%-5s %-10s %s\n", f.Level, f.Check, f.Text); err != nil {
			return err
		}
		if f.Remedy == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%17s%s\n", "-> ", f.Remedy); err != nil {
			return err
		}
	}
	return nil
}

// install runs an installer, which knows no context: when ctx ends first it is left to the end of the process.
func install(ctx context.Context, installer func() error) (finding, error) {
	ended := make(chan error, 1)
	go func() { ended <- installer() }()
	select {
	case err := <-ended:
		if err == nil {
			return finding{Level: fine, Check: "install", Text: "XLA's plugin is installed"}, nil
		}
		return finding{
			Level: broken, Check: "install", Text: err.Error(),
			Remedy: "look at the network and the proxy settings, or bring a plugin yourself as the line on the backend says",
		}, nil
	case <-ctx.Done():
		return finding{}, ctx.Err()
	}
}
