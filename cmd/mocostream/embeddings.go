package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"
	"time"

	"mocostream/augment"
	"mocostream/ingest"
	"mocostream/internal/control"
	"mocostream/internal/safetensors"
	"mocostream/loader"
	"mocostream/sink"
	"mocostream/train"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

const (
	embeddingsKey = "embeddings"            // of a checkpoint: how far what came in is embedded
	encoderFile   = "published.safetensors" // of a checkpoint: the encoder that embeds
	embedChunk    = 1024                    // images embedded and sent at a time
)

// embeddings sends the features of what came in, by the encoder published last: a reader of its own follows the stream,
// and the encoder works between steps. What comes in before one is published is not embedded later. Its progress is in the checkpoint; what was sent after that is sent again after a
// crash, under the same keys.
type embeddings struct {
	session *session
	from    ingest.Stream
	send    func(ctx context.Context, version string, rows []sink.Embedded) error
	calls   *control.Calls
	embeds  atomic.Bool // an encoder is there

	// Of the loop's goroutine.
	state   embedState
	encoder *train.Embedder
	weights []safetensors.Tensor // of encoder
}

// embedState is what a checkpoint keeps.
type embedState struct {
	Version string       `json:"version,omitempty"` // that embeds; "": none is published yet
	Token   loader.Token `json:"token"`             // what is embedded and sent
}

// openEmbeddings prepares the embedding of what comes in, where that is wanted.
func (s *session) openEmbeddings(ctx context.Context) (err error) {
	k := s.config.Sink.Embeddings
	if k.To == "none" || s.in.feed == nil {
		return nil
	}
	e := &embeddings{session: s, calls: s.calls, from: s.in.feed}
	if _, ok := s.in.feed.(*topics); ok { // a reader of its own, so that what is said of lag is of training
		c := *s.config
		c.Ingest.Kafka.Group = ""
		if e.from, err = openTopics(ctx, &c, s.log, s.from); err != nil {
			return err
		}
	}
	if k.To == "parquet" {
		parts := sink.EmbeddingParts{Dir: filepath.Join(s.config.Sink.Dir, "embeddings")}
		e.send = func(_ context.Context, version string, rows []sink.Embedded) error { return parts.Send(version, rows) }
	} else if e.send, err = s.openEmbeddingTopic(); err != nil {
		return err
	}
	if err := e.restore(s.from); err != nil {
		return err
	}
	if f, ok := s.in.feed.(*prefixFeed); ok { // two readers of one list of objects
		f.behind = func() ingest.Progress { return e.state.Token.Progress }
	}
	s.embeddings = e
	s.onClose(func() error { e.close(); return nil })
	return nil
}

func (e *embeddings) restore(from *train.Checkpoint) error {
	if from == nil {
		return nil
	}
	if from.Extra[embeddingsKey] == nil { // of a run that sent none before: from here on
		e.state.Token = from.Token.Clone()
		e.state.Token.Progress.Bounded, e.state.Token.Bad = nil, nil
		return nil
	}
	if err := json.Unmarshal(from.Extra[embeddingsKey], &e.state); err != nil {
		return fmt.Errorf("%s of the checkpoint: %w", embeddingsKey, err)
	}
	return readState(from, encoderFile, func(r io.Reader) error {
		content, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		weights, _, err := safetensors.Read(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			return err
		}
		return e.use(e.state.Version, weights)
	})
}

// use embeds with the query encoder of weights from now on. It is called on the loop's goroutine.
func (e *embeddings) use(version string, weights []safetensors.Tensor) error {
	c := e.session.config
	encoder, err := train.NewEmbedderFrom(e.session.backend, embedderOptions(c), &train.Checkpoint{Model: weights}, "q")
	if err != nil {
		return fmt.Errorf("open the published encoder: %w", err)
	}
	e.close()
	e.encoder, e.weights, e.state.Version = encoder, weights, version
	e.embeds.Store(true)
	return nil
}

func (e *embeddings) close() {
	if e.encoder != nil {
		e.encoder.Close()
		e.encoder = nil
	}
}

// published has the encoder of a new version embed from now on.
func (e *embeddings) published(version string, ck *train.Checkpoint, running []safetensors.Tensor) error {
	const prefix = "encoder_q."
	estimated := map[string]safetensors.Tensor{}
	for _, t := range running {
		t.Name = prefix + t.Name
		estimated[t.Name] = t
	}
	var weights []safetensors.Tensor
	for _, t := range ck.Model {
		if len(t.Name) <= len(prefix) || t.Name[:len(prefix)] != prefix {
			continue
		}
		if better, ok := estimated[t.Name]; ok {
			t = better
		}
		weights = append(weights, t)
	}
	return e.use(version, weights)
}

// seal adds the state to a checkpoint.
func (e *embeddings) seal(c *train.Checkpoint) (err error) {
	if c.Extra[embeddingsKey], err = json.Marshal(e.state); err != nil || e.weights == nil {
		return err
	}
	addFile(c, encoderFile, tensorFile(e.weights))
	return nil
}

// tensorFile writes tensors as safetensors.
type tensorFile []safetensors.Tensor

// WriteTo implements io.WriterTo.
func (f tensorFile) WriteTo(w io.Writer) (int64, error) {
	n := &counted{w: w}
	err := safetensors.Write(n, f, map[string]string{"format": "pt"})
	return n.n, err
}

type counted struct {
	w io.Writer
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// run embeds until ctx ends or the loop does. A failure is no failure of the training: it is said, and tried again.
func (e *embeddings) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := e.follow(ctx)
		if ctx.Err() != nil || errors.Is(err, control.ErrEnded) {
			return
		}
		e.session.log.Warn("features are not sent; they will be", zap.Error(err))
		if !sleep(ctx, e.session.config.Sink.Embeddings.Every) {
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// follow reads the stream from where it was embedded, in chunks.
func (e *embeddings) follow(ctx context.Context) error {
	var start loader.Token
	if err := e.calls.Do(ctx, func(context.Context) error { start = e.state.Token.Clone(); return nil }); err != nil {
		return err
	}
	o := loaderOptions(e.session.config, start)
	o.MemoryLimit /= 4
	group, ctx := errgroup.WithContext(ctx)
	samples := make(chan loader.Sample)
	group.Go(func() error { return loader.NewStream(e.from, o).Run(ctx, samples) })
	group.Go(func() error {
		token := start.Clone()
		for {
			if err := e.chunk(ctx, samples, &token); err != nil {
				return err
			}
		}
	})
	err := group.Wait()
	for s := range samples { // what the loader had sent
		s.Release()
	}
	return err
}

// chunk embeds and sends the next images: embedChunk of them, or those that come within the time between two sendings.
func (e *embeddings) chunk(ctx context.Context, samples <-chan loader.Sample, token *loader.Token) error {
	every := e.session.config.Sink.Embeddings.Every
	part := make(chan loader.Sample)
	var versions []embedded
	group, inner := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(part)
		end := time.NewTimer(every)
		defer end.Stop()
		for range embedChunk {
			select {
			case s, ok := <-samples:
				if !ok {
					return io.EOF
				}
				token.Consume(&s)
				if !e.wants(&s) {
					s.Release()
					continue
				}
				select {
				case part <- s:
				case <-inner.Done():
					s.Release()
					return inner.Err()
				}
			case <-end.C:
				return nil
			case <-inner.Done():
				return inner.Err()
			}
		}
		return nil
	})
	group.Go(func() (err error) {
		versions, err = e.embed(inner, part)
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	for _, v := range versions {
		if err := e.send(ctx, v.version, v.rows); err != nil {
			return err
		}
	}
	return e.sent(ctx, *token)
}

// wants says whether an image is to be decoded: before an encoder is published nothing is, and never what ended a process.
func (e *embeddings) wants(s *loader.Sample) bool {
	return e.embeds.Load() && s.Problem() != ingest.Deleted && e.session.quarantine.refuse(s.ID()) == ""
}

// sent notes what need not be sent again.
func (e *embeddings) sent(ctx context.Context, token loader.Token) error {
	token = token.Clone()
	return e.calls.Do(ctx, func(context.Context) error { e.state.Token = token; return nil })
}

// embedded is what one encoder made.
type embedded struct {
	version string
	rows    []sink.Embedded
}

// embed computes features between steps.
func (e *embeddings) embed(ctx context.Context, part <-chan loader.Sample) (versions []embedded, err error) {
	c := e.session.config
	transform, err := augment.NewEval(c.Augment.Size, limitsOf(c))
	if err != nil {
		return nil, err
	}
	_, err = augment.EvalBatches(ctx, part, transform.Renderer, c.Augment.Size, evalBatch, 1, func(b augment.EvalBatch) error {
		var features []float32
		var version string
		err := e.calls.Do(ctx, func(ctx context.Context) (err error) {
			version = e.state.Version
			features, _, err = e.encoder.Embed(ctx, b.Pixels)
			return err
		})
		if err != nil {
			return err
		}
		if len(versions) == 0 || versions[len(versions)-1].version != version {
			versions = append(versions, embedded{version: version})
		}
		rows := &versions[len(versions)-1].rows
		dim := len(features) / b.Len()
		for i := range b.Len() {
			*rows = append(*rows, sink.Embedded{ID: b.IDs[i], Key: b.Keys[i], Label: b.Labels[i], Features: features[i*dim : (i+1)*dim]})
		}
		return nil
	})
	return versions, err
}
