package pack

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"mocostream/ingest/internal/shard"
)

const writeBuffer = 1 << 20

// format writes samples in one form.
type format interface {
	// cost is about how many bytes a sample takes.
	cost(s sample) int64
	add(s sample) error
	// pending is about how many bytes it holds that are not written.
	pending() int64
	// close writes what is missing, but leaves what it writes to open.
	close() error
}

// output is one shard in the making.
type output struct {
	name    string
	to      Writer
	format  format
	written *measured
	samples int64
}

func newOutput(ctx context.Context, dst Destination, name string, o Options) (*output, error) {
	to, err := dst.Create(ctx, name)
	if err != nil {
		return nil, err
	}
	out := &output{name: name, to: to, written: newMeasured(to)}
	switch o.Format {
	case Parquet:
		out.format, err = newParquet(out.written, o.Labels)
	case Arrow:
		out.format, err = newArrow(out.written, o.Labels)
	default:
		out.format = newTar(out.written)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write shard %s: %w", name, err), to.Abort())
	}
	return out, nil
}

// size is about what the shard has, in bytes.
func (o *output) size() int64 { return o.written.size + o.format.pending() }

func (o *output) add(s sample) error {
	if err := o.format.add(s); err != nil {
		return fmt.Errorf("write shard %s: sample %q: %w", o.name, s.key, err)
	}
	o.samples++
	return nil
}

// finish publishes the shard.
func (o *output) finish() (Entry, error) {
	err := o.format.close()
	if err == nil {
		err = o.written.buffer.Flush()
	}
	if err == nil {
		err = o.to.Close()
	}
	if err != nil {
		return Entry{}, fmt.Errorf("write shard %s: %w", o.name, err)
	}
	return Entry{Name: o.name, Size: o.written.size, Samples: o.samples, SHA256: o.written.sum()}, nil
}

// measured counts and hashes what is written through it.
type measured struct {
	buffer *bufio.Writer
	hash   hash.Hash
	size   int64
}

func newMeasured(to io.Writer) *measured {
	h := sha256.New()
	return &measured{buffer: bufio.NewWriterSize(io.MultiWriter(to, h), writeBuffer), hash: h}
}

// Write implements io.Writer.
func (m *measured) Write(p []byte) (int, error) {
	n, err := m.buffer.Write(p)
	m.size += int64(n)
	return n, err
}

// Seek says where it is, which is all that Arrow's writer asks for.
func (m *measured) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekCurrent {
		return m.size, errors.ErrUnsupported
	}
	return m.size, nil
}

func (m *measured) sum() string { return hex.EncodeToString(m.hash.Sum(nil)) }

func writeIndex(ctx context.Context, to Destination, entries []Entry) error {
	w, err := to.Create(ctx, shard.IndexName)
	if err != nil {
		return err
	}
	if err := shard.WriteIndex(w, entries); err != nil {
		return errors.Join(err, w.Abort())
	}
	return w.Close()
}
