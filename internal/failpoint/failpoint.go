// Package failpoint kills the process at a named place when the environment asks for it, so that a test can show what a
// crash there leaves behind. Without MOCOSTREAM_FAILPOINT in the environment a Hit costs a comparison with nil.
//
//	MOCOSTREAM_FAILPOINT=step.after       at the first hit of step.after
//	MOCOSTREAM_FAILPOINT=step.after:3     at the third
//	MOCOSTREAM_FAILPOINT=random:17        at a hit of a failpoint, both drawn from the seed 17
//
// The process ends by SIGKILL: nothing deferred runs, no buffer is flushed. One failpoint is an error instead, at every hit
// of that number:
//
//	MOCOSTREAM_FAILPOINT=step.fails:7     the seventh step fails, the fourteenth, and so on
package failpoint

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Env is the environment variable that arms a failpoint.
const Env = "MOCOSTREAM_FAILPOINT"

// The failpoints. Those of a checkpoint's files are hit once for each file (or object), in the order of writing.
const (
	Fetch                    = "fetch"                      // a record came from a source
	Batch                    = "batch"                      // a batch came from the pool
	StepBefore               = "step.before"                // a batch is about to be trained on
	StepAfter                = "step.after"                 // it was
	CheckpointFileBefore     = "checkpoint.file.before"     // a file of a checkpoint is about to be written
	CheckpointFileAfter      = "checkpoint.file.after"      // it is written and synced
	CheckpointRenameBefore   = "checkpoint.rename.before"   // all files are written, the folder has its temporary name
	CheckpointRenameAfter    = "checkpoint.rename.after"    // the folder has its name
	CheckpointManifestBefore = "checkpoint.manifest.before" // the file that makes the checkpoint one is about to be written
	CheckpointManifestAfter  = "checkpoint.manifest.after"  // it is written
	CommitBefore             = "commit.before"              // the checkpoint is durable, its offsets are not committed
	CommitAfter              = "commit.after"               // they are
	PublishBefore            = "publish.before"             // an export is about to be published
	PublishAfter             = "publish.after"              // it is
)

// StepFails is hit before each step, which fails with it as on a device that does. The process goes on.
const StepFails = "step.fails"

// Names lists all failpoints that end the process.
func Names() []string {
	return []string{
		Fetch, Batch, StepBefore, StepAfter, CheckpointFileBefore, CheckpointFileAfter, CheckpointRenameBefore,
		CheckpointRenameAfter, CheckpointManifestBefore, CheckpointManifestAfter, CommitBefore, CommitAfter,
		PublishBefore, PublishAfter,
	}
}

// armed is what the environment asks for; nil: nothing. The environment of a process does not change, so neither does it.
var armed = environment()

// Hit ends the process by SIGKILL if this is the hit that the environment names, having said so on stderr. It may be
// called concurrently, with a name of this package.
func Hit(name string) {
	if armed != nil {
		armed.hit(name)
	}
}

// environment reads Env. A value that names no failpoint ends the process: a crash test that kills nowhere proves nothing.
func environment() *trap {
	spec := os.Getenv(Env)
	if spec == "" {
		return nil
	}
	t, err := parse(spec)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", Env, err)
		os.Exit(2)
	}
	return t
}

// Err returns an error if this is a hit that the environment names, having said so on stderr; nil otherwise. It may be called
// concurrently, with StepFails.
func Err(name string) error {
	if armed == nil || armed.name != name || !armed.due() {
		return nil
	}
	fmt.Fprintf(os.Stderr, "failpoint %s\n", name)
	return fmt.Errorf("failpoint %s", name)
}

// trap waits for the n-th hit of a failpoint.
type trap struct {
	name  string
	every int // Err: hits between two errors

	mu   sync.Mutex
	left int
}

// random failpoints are hit up to so many times first.
const randomHits = 6

func parse(spec string) (*trap, error) {
	name, count, counted := strings.Cut(spec, ":")
	if name == "random" {
		seed, err := strconv.ParseUint(count, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q: the seed must be a number, e.g. random:17", spec)
		}
		rng := rand.New(rand.NewPCG(seed, 0))
		return &trap{name: Names()[rng.IntN(len(Names()))], left: 1 + rng.IntN(randomHits)}, nil
	}
	if name != StepFails && !slices.Contains(Names(), name) {
		return nil, fmt.Errorf("%q names no failpoint; there are %s, %s and random:SEED", spec, strings.Join(Names(), ", "), StepFails)
	}
	n := 1
	if counted {
		var err error
		if n, err = strconv.Atoi(count); err != nil || n < 1 {
			return nil, fmt.Errorf("%q: the number of hits must be 1 or more, e.g. %s:3", spec, name)
		}
	}
	return &trap{name: name, every: n, left: n}, nil
}

// due counts a hit and starts anew at the one that was waited for.
func (t *trap) due() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left--; t.left > 0 {
		return false
	}
	t.left = t.every
	return true
}

// hit does not return where the process ends: nothing may happen between the hit and the signal.
func (t *trap) hit(name string) {
	if name != t.name {
		return
	}
	t.mu.Lock() // held until the end: a second goroutine stops here too
	if t.left--; t.left > 0 {
		t.mu.Unlock()
		return
	}
	fmt.Fprintf(os.Stderr, "failpoint %s\n", name)
	_ = unix.Kill(os.Getpid(), unix.SIGKILL) // to oneself: it cannot be refused
	select {}
}
