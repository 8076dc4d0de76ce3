package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"mocostream/internal/objects"
)

// silence is what one that stands by sees of the leader.
type silence struct {
	generation int64
	etag       string // of leader.json
}

// vigil measures for how long a leader has been silent.
type vigil struct {
	last   silence
	looked time.Time // when last was seen last; zero: not yet, or not since something went wrong
	quiet  time.Duration
}

// saw takes in what there was to see at a time and returns how long that has been so. Time in which nobody looked, since
// this process was stopped, does not count: the leader may have been stopped with it.
func (v *vigil) saw(now silence, at time.Time, lease time.Duration) time.Duration {
	gap := at.Sub(v.looked)
	if v.looked.IsZero() || now != v.last || gap > lease/2 {
		v.quiet = 0
	} else {
		v.quiet += gap
	}
	v.last, v.looked = now, at
	return v.quiet
}

// awaitSilence returns when there is no leader: the prefix is new, the leader has said that it ended, or neither the
// newest generation nor its sign of life have changed for the lease, by this process's clock. Time in which the server
// did not answer does not count.
func (s *S3Store) awaitSilence(ctx context.Context) error {
	tick := time.NewTicker(s.o.Lease / 6)
	defer tick.Stop()
	var v vigil
	told, warned := false, false
	for {
		now, free, err := s.observe(ctx)
		switch {
		case hopeless(err):
			return err
		case err != nil && ctx.Err() == nil:
			v = vigil{}
			s.once(&warned, "standing by, but the leader cannot be seen: %v", err)
		case err == nil && (free || v.saw(now, time.Now(), s.o.Lease) >= s.o.Lease):
			s.sign.seen = now.generation
			return nil
		case err == nil:
			s.once(&told, "standing by: another process leads in %s; this one takes over once there is no sign of life for %s",
				s.url(""), s.o.Lease)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("stand by: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// hopeless says that waiting does not mend err.
func hopeless(err error) bool {
	return errors.Is(err, ErrNewer) || errors.Is(err, objects.ErrCredentials)
}

func (s *S3Store) once(done *bool, format string, args ...any) {
	if !*done {
		*done = true
		s.o.Warn(fmt.Sprintf(format, args...))
	}
}

// observe looks once. free says that nobody leads.
func (s *S3Store) observe(ctx context.Context) (now silence, free bool, err error) {
	list, err := s.generations(ctx, 0)
	if err != nil || len(list) == 0 {
		return silence{}, err == nil, err
	}
	now.generation = list[len(list)-1]
	data, etag, err := s.read(ctx, leaderFile)
	if errors.Is(err, fs.ErrNotExist) {
		return now, false, nil
	}
	if err != nil {
		return now, false, err
	}
	now.etag = etag
	l, ok := parseLeader(data)
	if !ok || !l.Released {
		return now, false, nil
	}
	g, _, err := s.readGeneration(ctx, now.generation)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrTorn) {
		return now, false, nil
	}
	return now, err == nil && g.Claim == l.Claim, err
}
