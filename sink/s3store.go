package sink

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"mocostream/internal/failpoint"
	"mocostream/internal/objects"
	"mocostream/train"
)

// S3Options of an S3Store.
type S3Options struct {
	Client         objectClient // an *objects.Client
	Bucket, Prefix string
	// CacheDir is a local folder, made if need be, with room for two checkpoints on their way. Each store has a folder of
	// its own in it, so it may be shared.
	CacheDir string
	// Owner names this process to people, host and process id, say. It is stored: no secrets.
	Owner string
	// Keep and KeepEvery are as for a local Store, newest by generation.
	Keep      int
	KeepEvery int64
	// Lease is how long a leader's sign of life must stay the same before one that stands by takes over; 0 is 15 seconds.
	Lease time.Duration
	// Wait makes OpenS3Store stand by while another process leads. Without it the newcomer takes over at once.
	Wait bool
	// Warn is told of what was passed over or could not be removed, in a sentence; it may be nil.
	Warn func(string)
	// Point is called before and after each object that is put, with the names of package failpoint; nil is nobody.
	Point func(name string)
}

// S3Store keeps checkpoints in a bucket, with the same files as a local Store. docs/checkpoint-format.md says how one
// writer at a time is enforced: whoever loses gets an error that wraps ErrFenced and must end. Its methods may be called
// concurrently.
type S3Store struct {
	place
	o      S3Options
	writer string
	folder *scratch
	claim  int64

	mu    sync.Mutex
	tip   tip
	bad   map[string]bool // folders known to be damaged
	swept bool            // what crashed writers left was looked for

	sign sign
}

var _ train.Checkpoints = (*S3Store)(nil)

const defaultLease = 15 * time.Second

// OpenS3Store takes the prefix over: after a nil error every other process that had it is fenced off. With o.Wait it
// first blocks until nobody leads. It wraps ErrFenced if another process takes over at the same moment, and ErrTorn if the
// prefix holds generations of which none can be read. The server must honour If-None-Match; one that does not is refused.
func OpenS3Store(ctx context.Context, o S3Options) (*S3Store, error) {
	p, err := newPlace(o.Client, o.Bucket, o.Prefix)
	if err != nil {
		return nil, fmt.Errorf("open checkpoints in S3: %w", err)
	}
	if o, err = o.complete(); err != nil {
		return nil, fmt.Errorf("open %s: %w", p.url(""), err)
	}
	s := &S3Store{place: p, o: o, writer: randomHex(16), bad: map[string]bool{}}
	if s.folder, err = newScratch(o.CacheDir); err != nil {
		return nil, fmt.Errorf("open %s: %w", p.url(""), err)
	}
	if err = s.lead(ctx); err == nil {
		err = s.firstSign(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p.url(""), errors.Join(err, s.folder.close()))
	}
	return s, nil
}

func (o S3Options) complete() (S3Options, error) {
	if o.Keep < 0 || o.KeepEvery < 0 || o.Lease < 0 {
		return o, fmt.Errorf("keep %d, keep every %d and lease %s must not be negative", o.Keep, o.KeepEvery, o.Lease)
	}
	if o.CacheDir == "" {
		return o, errors.New("a cache folder is needed for checkpoints on their way")
	}
	if o.Lease == 0 {
		o.Lease = defaultLease
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if o.Point == nil {
		o.Point = func(string) {}
	}
	return o, nil
}

// lead claims the next generation, after waiting for the leader to be gone if asked to.
func (s *S3Store) lead(ctx context.Context) error {
	for {
		if s.o.Wait {
			if err := s.awaitSilence(ctx); err != nil {
				return err
			}
		}
		err := s.claimNext(ctx)
		if !s.o.Wait || !errors.Is(err, ErrFenced) {
			return err
		}
	}
}

// claimNext takes the prefix over.
func (s *S3Store) claimNext(ctx context.Context) error {
	t, err := s.newestTip(ctx, s.o.Warn)
	if err != nil {
		return err
	}
	if s.o.Wait && t.number != s.sign.seen {
		return ErrFenced // somebody else was quicker
	}
	s.o.Point(pointClaimBefore)
	t, err = s.follow(ctx, t, generation{
		Kind: kindClaim, Owner: s.o.Owner, Writer: s.writer, Claim: t.number + 1, Kept: t.checkpoints(),
	})
	if err != nil {
		return err
	}
	s.o.Point(pointClaimAfter)
	s.tip, s.claim = t, t.number
	return nil
}

// The points of an S3Store that package failpoint has no name for.
const (
	pointClaimBefore = "checkpoint.claim.before" // the generation that takes the prefix over
	pointClaimAfter  = "checkpoint.claim.after"
	pointSignBefore  = "checkpoint.sign.before" // the sign of life
	pointSignAfter   = "checkpoint.sign.after"
)

// Close tells those that stand by that they need not wait, and removes what is in the cache folder, also files of
// checkpoints that Newest returned. Run must have returned.
func (s *S3Store) Close(ctx context.Context) error {
	err := s.lastSign(ctx)
	if err != nil {
		err = fmt.Errorf("close %s: %w", s.url(""), err)
	}
	return errors.Join(err, s.folder.close())
}

// Check returns an error that wraps ErrFenced if another process has taken over.
func (s *S3Store) Check(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stillLeads(ctx)
}

func (s *S3Store) stillLeads(ctx context.Context) (err error) {
	s.tip, err = s.latest(ctx, s.tip, s.writer)
	return err
}

// Save implements train.Checkpoints. The files are spooled to the cache folder, put under names that were never used,
// state.json last, and count from the moment that the manifest of the next generation is there. Then older ones are
// pruned. An error that wraps ErrFenced must end the process; after any other one the checkpoint may have arrived.
func (s *S3Store) Save(ctx context.Context, c *train.Checkpoint) (name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name = stepName(c.Step)
	if err := s.save(ctx, c); err != nil {
		return "", fmt.Errorf("save checkpoint %s: %w", s.url(name), err)
	}
	s.prune(ctx)
	return name, nil
}

func (s *S3Store) save(ctx context.Context, c *train.Checkpoint) error {
	if err := s.stillLeads(ctx); err != nil { // before anything large is sent
		return err
	}
	spool, err := s.folder.make("save")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(spool) }() // else the folder goes with the store
	local := filepath.Join(spool, stepName(c.Step))
	sums, err := folderWriter{scratchFiles{}, func(string) {}}.write(ctx, local, c)
	if err != nil {
		return err
	}
	saved := savedStep{Step: c.Step, Folder: objectFolder(c.Step, s.claim, randomHex(4)), Files: sums}
	if err := s.upload(ctx, local, saved); err != nil {
		return err
	}
	s.o.Point(failpoint.CheckpointManifestBefore)
	if err := s.commit(ctx, saved); err != nil {
		return err
	}
	s.o.Point(failpoint.CheckpointManifestAfter)
	return nil
}

// upload puts the files of the folder local, state.json last.
func (s *S3Store) upload(ctx context.Context, local string, saved savedStep) error {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(saved.Files)), func(name string) bool { return name == stateFile })
	for _, name := range append(names, stateFile) {
		s.o.Point(failpoint.CheckpointFileBefore)
		err := s.putFile(ctx, saved.Folder+"/"+name, filepath.Join(local, name), saved.Files[name])
		if err != nil {
			return err
		}
		s.o.Point(failpoint.CheckpointFileAfter)
	}
	return nil
}

// putFile puts a local file under a name that only this call uses. What is sent is hashed, so that a disk that gives back
// other bytes than were written shows before anything counts.
func (p place) putFile(ctx context.Context, name, path string, want fileSum) error {
	if got, err := sumFile(path); err != nil {
		return err
	} else if got != want {
		return fmt.Errorf("%s: %w: the cache folder gave back other bytes than were written", path, ErrTorn)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := p.client.Put(ctx, p.bucket, p.key(name), f, objects.PutOptions{}); err != nil {
		return err
	}
	return nil
}

// commit writes the generation that makes a checkpoint one.
func (s *S3Store) commit(ctx context.Context, saved savedStep) error {
	for {
		t, err := s.follow(ctx, s.tip, generation{
			Kind: kindCheckpoint, Owner: s.o.Owner, Writer: s.writer, Claim: s.claim,
			Checkpoint: &saved, Kept: s.kept(saved.Step),
		})
		s.tip = t
		if !errors.Is(err, errEarlier) || errors.Is(err, ErrFenced) {
			return err
		}
	}
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}
