package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"mocostream/internal/control"
)

// socketName is the daemon's socket in its run folder.
const socketName = "control.sock"

type ctlCommand struct {
	Order  string `arg:"" enum:"status,pause,resume,checkpoint,rebase,stop" help:"What to ask for: status, pause, resume, checkpoint, rebase or stop."`
	Dir    string `default:"." placeholder:"DIR" help:"Run folder (sink.dir) of the daemon."`
	Socket string `placeholder:"PATH" help:"Its control socket (daemon.socket), where it is not control.sock in the run folder."`
}

// Help is shown below the flags.
func (ctlCommand) Help() string {
	return `Talks to a running daemon over a Unix socket that only its owner can open. checkpoint returns when the checkpoint is durable,
stop when the run has begun to end. rebase has drift measured
from what comes in from now on.

Example:
  mocostream ctl status --dir runs/online
  mocostream ctl checkpoint --dir runs/online`
}

// Run implements the command.
func (c ctlCommand) Run(term *terminal) error {
	path := c.Socket
	if path == "" {
		path = filepath.Join(c.Dir, socketName)
	}
	client := control.NewClient(path)
	return term.interruptible(func(ctx context.Context) error {
		switch c.Order {
		case "pause":
			return said(term, "paused", client.Pause(ctx))
		case "resume":
			return said(term, "training", client.Resume(ctx))
		case "rebase":
			return said(term, "the reference of drift is taken anew", client.Rebase(ctx))
		case "stop":
			return said(term, "stopping", client.Stop(ctx))
		case "checkpoint":
			name, err := client.Checkpoint(ctx)
			return said(term, name, err)
		}
		status, err := client.Status(ctx)
		if err != nil {
			return err
		}
		pretty, err := json.MarshalIndent(status, "", "  ")
		return said(term, string(pretty), err)
	})
}

func said(term *terminal, text string, err error) error {
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(term.out, text)
	return err
}
