package control

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// statusEvery is how often systemd's status line is brought up to date while nothing changes but the step.
const statusEvery = 10 * time.Second

// notifier tells systemd of a State: READY, STATUS, STOPPING, and WATCHDOG while it is healthy. Without NOTIFY_SOCKET, or
// where that does not listen, it tells nobody.
type notifier struct {
	state    *State
	warn     func(text string)
	watchdog time.Duration // WatchdogSec; 0: there is none

	ready, stopping bool // READY, STOPPING were sent
	warned          bool
}

func (s *Server) notifier() *notifier {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		s.options.Warn(fmt.Sprintf("systemd's watchdog is not fed: %v", err))
	}
	return &notifier{state: s.options.State, warn: s.options.Warn, watchdog: watchdog}
}

// run tells of each change at once, and of being alive in time, until ctx ends.
func (n *notifier) run(ctx context.Context) {
	every := statusEvery
	if n.watchdog > 0 {
		every = min(every, n.watchdog/2)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		n.send(n.message())
		select {
		case <-tick.C:
		case <-n.state.changed:
		case <-ctx.Done():
			n.send(n.message()) // a change that came with the end
			return
		}
	}
}

// message is what systemd should know now.
func (n *notifier) message() string {
	shot := n.state.Snapshot()
	var lines []string
	if !n.ready && shot.State != Starting && shot.State != Stopping {
		n.ready = true
		lines = append(lines, daemon.SdNotifyReady)
	}
	if !n.stopping && shot.State == Stopping {
		n.stopping = true
		lines = append(lines, daemon.SdNotifyStopping)
	}
	if n.watchdog > 0 && !shot.Stalled {
		lines = append(lines, daemon.SdNotifyWatchdog)
	}
	return strings.Join(append(lines, "STATUS="+statusLine(shot)), "\n")
}

// statusLine is what `systemctl status` shows.
func statusLine(s Snapshot) string {
	line := s.State
	if s.State == Waiting {
		line = "waiting for data"
	}
	if s.Stalled {
		line = fmt.Sprintf("stalled: nothing finished for %.0f s", s.Progress)
	}
	if s.Step > 0 {
		line += fmt.Sprintf(", step %d", s.Step)
	}
	if s.Problem != "" {
		line += "; " + strings.Join(strings.Fields(s.Problem), " ")
	}
	return line
}

func (n *notifier) send(message string) {
	if _, err := daemon.SdNotify(false, message); err != nil && !n.warned {
		n.warned = true
		n.warn(fmt.Sprintf("tell systemd: %v", err))
	}
}
