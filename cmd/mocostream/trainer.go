package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// trainer is a train command in a process of its own.
type trainer struct {
	logFlags
	file string // configuration
	log  io.Writer
	env  []string // beside this process's
}

// run returns when the trainer has ended. A stop of this process is passed on to it.
func (t trainer) run(ctx context.Context, term *terminal) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start a trainer: %w", err)
	}
	child := exec.CommandContext(ctx, self, "train", "-c", t.file, "--log-format", t.LogFormat)
	child.Env = append(os.Environ(), t.env...)
	child.Stderr = t.log
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C comes through this process alone
	if err := child.Start(); err != nil {
		return fmt.Errorf("start a trainer: %w", err)
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-term.stop:
			_ = child.Process.Signal(os.Interrupt) // it has ended otherwise
		case <-ended:
		}
	}()
	if err := child.Wait(); err != nil {
		return fmt.Errorf("trainer: %w", err)
	}
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
