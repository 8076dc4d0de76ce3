package sink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"mocostream/internal/objects"
)

// leaderFile is where the leader gives its sign of life.
const leaderFile = "leader.json"

// leader is leader.json. It holds no time: those that stand by go by their own clock.
type leader struct {
	FormatVersion int    `json:"format_version"`
	Owner         string `json:"owner"`
	Writer        string `json:"writer"`
	Claim         int64  `json:"claim"`    // generation by which the writer took the prefix over
	Beat          int64  `json:"beat"`     // rises with every sign
	Released      bool   `json:"released"` // the writer has ended and says so
}

// sign is a store's part in the signs of life, as leader or standing by.
type sign struct {
	seen int64 // the newest generation when nobody seemed to lead

	mu   sync.Mutex
	etag string // of leader.json as this store knows it; "": none
	beat int64
	gone bool // Close was called
}

// Run gives signs of life until ctx is done, every third of the lease. It returns an error that wraps ErrFenced as soon
// as it sees that another process has taken over, also after this one was stopped for long; the process must then end.
// That a sign cannot be given is a warning: another process may take over, which the next save will find out.
func (s *S3Store) Run(ctx context.Context) error {
	tick := time.NewTicker(s.o.Lease / 3)
	defer tick.Stop()
	warned := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		limited, cancel := context.WithTimeout(ctx, s.o.Lease)
		err := s.beat(limited, false)
		cancel()
		switch {
		case errors.Is(err, ErrFenced):
			return err
		case err == nil:
			warned = false
		case !warned && ctx.Err() == nil:
			warned = true
			s.o.Warn(fmt.Sprintf("no sign of life can be given, so another process may take over: %v", err))
		}
	}
}

// firstSign replaces the sign of the leader before, and makes sure that the server honours conditions: without them two
// writers would not notice each other.
func (s *S3Store) firstSign(ctx context.Context) error {
	if err := s.beat(ctx, false); err != nil {
		return err
	}
	text, err := s.text(s.sign.beat+1, false)
	if err != nil {
		return err
	}
	_, err = s.put(ctx, leaderFile, text, objects.PutOptions{IfNoneMatch: true})
	if err == nil {
		return errors.New("the server overwrites an object in spite of If-None-Match: *, so two runs could not notice each other; " +
			"use a server that honours it, or a local sink.dir")
	}
	if !errors.Is(err, objects.ErrExists) {
		return fmt.Errorf("try conditional writes: %w", err)
	}
	return nil
}

// lastSign says that this process leads no more.
func (s *S3Store) lastSign(ctx context.Context) error {
	err := s.beat(ctx, true)
	if errors.Is(err, ErrFenced) {
		return nil // the new leader's sign stands there
	}
	return err
}

func (s *S3Store) text(beat int64, released bool) ([]byte, error) {
	return json.Marshal(leader{formatVersion, s.o.Owner, s.writer, s.claim, beat, released})
}

// beat writes the next sign over the last one that this store knows.
func (s *S3Store) beat(ctx context.Context, released bool) error {
	s.sign.mu.Lock()
	defer s.sign.mu.Unlock()
	if s.sign.gone {
		return nil
	}
	s.sign.beat++
	text, err := s.text(s.sign.beat, released)
	if err != nil {
		return err
	}
	s.o.Point(pointSignBefore)
	if err := s.signOver(ctx, text); err != nil {
		return fmt.Errorf("write %s: %w", s.url(leaderFile), err)
	}
	s.o.Point(pointSignAfter)
	s.sign.gone = released
	return nil
}

func (s *S3Store) signOver(ctx context.Context, text []byte) error {
	for range maxRaces {
		etag, err := s.put(ctx, leaderFile, text, objects.PutOptions{IfNoneMatch: s.sign.etag == "", IfMatch: s.sign.etag})
		if err == nil {
			s.sign.etag = etag
			return nil
		}
		if !errors.Is(err, objects.ErrExists) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if done, err := s.look(ctx, text); done || err != nil {
			return err
		}
	}
	return errors.New("others keep writing it")
}

// look finds out why a sign was refused. It is done if text is there after all.
func (s *S3Store) look(ctx context.Context, text []byte) (done bool, err error) {
	data, etag, err := s.read(ctx, leaderFile)
	if errors.Is(err, fs.ErrNotExist) {
		s.sign.etag = ""
		return false, nil
	}
	if errors.Is(err, objects.ErrChanged) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s.sign.etag = etag
	if bytes.Equal(data, text) {
		return true, nil
	}
	if l, ok := parseLeader(data); ok && l.Writer != s.writer && l.Claim > s.claim {
		return false, fmt.Errorf("%w: %s leads since generation %d, this process since %d", ErrFenced, l.Owner, l.Claim, s.claim)
	}
	return false, nil // of the leader before, or damaged
}

// parseLeader reads a sign of life; one that makes no sense is none.
func parseLeader(data []byte) (leader, bool) {
	var l leader
	err := json.Unmarshal(data, &l)
	return l, err == nil && l.Claim > 0 && l.Writer != ""
}
