package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked is wrapped by OpenStore's error when another process writes to the run folder.
var ErrLocked = errors.New("another run is writing to it")

// lockPoll is how often one that stands by tries the lock: flock cannot be waited for and given up at once.
const lockPoll = 50 * time.Millisecond

// lockFolder takes the run folder for this process. The kernel gives the lock back when the file is closed or the
// process ends, however it ends, so a crash leaves nothing to clean up.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock run folder: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close() // nothing was written
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("lock run folder %s: %w; stop it, or give this run another sink.dir", dir, ErrLocked)
	}
	return nil, fmt.Errorf("lock run folder %s: %w", dir, err)
}

// awaitLock takes the run folder as soon as nobody else has it. busy is called once if somebody does.
func awaitLock(ctx context.Context, dir string, busy func()) (*os.File, error) {
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for first := true; ; first = false {
		lock, err := lockFolder(dir)
		if !errors.Is(err, ErrLocked) {
			return lock, err
		}
		if first {
			busy()
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for run folder %s: %w", dir, ctx.Err())
		case <-tick.C:
		}
	}
}
