package shard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"mocostream/ingest"
)

const maxLabel = 32 // bytes of a label

// countTar counts a tar's samples.
func countTar(ctx context.Context, o Object) (int64, error) {
	in, err := newInput(ctx, o)
	if err != nil {
		return 0, err
	}
	defer in.close()
	in.stop = ctx.Done()
	members := newScanner(in)
	for {
		_, err := members.next()
		if errors.Is(err, io.EOF) {
			err = in.finish()
			if err == nil {
				return members.count(), nil
			}
		}
		if err != nil {
			return 0, in.explain(members.count(), err)
		}
	}
}

// tarSamples are the samples of a tar.
type tarSamples struct {
	*Options
	in      *input
	members *scanner
	pending *member // found, but for the next record
	label   *int32  // of group labelOf, whose image is still to come
	labelOf int64
}

func openTar(ctx context.Context, o Object, opts *Options) (samples, error) {
	in, err := newInput(ctx, o)
	if err != nil {
		return nil, err
	}
	return &tarSamples{Options: opts, in: in, members: newScanner(in)}, nil
}

// fill adds samples until the record is full, which shows by the image that is one too many: labels may follow theirs.
func (t *tarSamples) fill(ctx context.Context, b *batch) error {
	t.in.stop = ctx.Done()
	err := t.add(b)
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, ingest.ErrChanged):
		return err
	case errors.Is(err, errLabel):
		return fmt.Errorf("%s: sample %d: %w", t.in.object.Name(), t.members.samples, err)
	}
	return t.in.explain(t.members.samples, err)
}

func (t *tarSamples) add(b *batch) error {
	for {
		m, err := t.take()
		if err != nil {
			return err
		}
		switch {
		case m.sample < t.From:
		case m.kind == label:
			err = t.addLabel(b, m)
		case b.full(m.size):
			t.pending = &m
			return nil
		default:
			err = t.addImage(b, m)
		}
		if err != nil {
			return err
		}
	}
}

// take returns the next member, io.EOF after the last of a shard that is as listed.
func (t *tarSamples) take() (member, error) {
	if m := t.pending; m != nil {
		t.pending = nil
		return *m, nil
	}
	m, err := t.members.next()
	if err == nil && m.kind == image && t.Count >= 0 && m.sample >= t.Count {
		return m, changed(t.in.object, t.Count, "at least ", m.sample+1)
	}
	if !errors.Is(err, io.EOF) {
		return m, err
	}
	if err := t.in.finish(); err != nil {
		return m, noEOF(err)
	}
	if n := t.members.count(); t.Count >= 0 && n != t.Count {
		return m, changed(t.in.object, t.Count, "", n)
	}
	return m, io.EOF
}

func (t *tarSamples) addImage(b *batch, m member) error {
	var label *int32
	if t.labelOf == m.group {
		label = t.label
	}
	return b.appendFrom(m.sample, m.key, label, t.members.tar, m.size)
}

// addLabel gives its label to the row of the sample, or keeps it for when the image comes.
func (t *tarSamples) addLabel(b *batch, m member) error {
	if !t.Labels {
		return nil
	}
	value, err := readLabel(t.members.tar, m)
	if err != nil {
		return err
	}
	if t.members.image {
		b.SetLabel(value)
	} else {
		t.label, t.labelOf = &value, m.group
	}
	return nil
}

func (t *tarSamples) close() { t.in.close() }

func readLabel(content io.Reader, m member) (int32, error) {
	text := make([]byte, min(m.size, maxLabel))
	if _, err := io.ReadFull(content, text); err != nil {
		return 0, noEOF(err)
	}
	value, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 32)
	if err != nil || m.size > maxLabel {
		return 0, fmt.Errorf("%w: %q of %s.cls; write class numbers, or read the shards without labels", errLabel, text, m.key)
	}
	return int32(value), nil
}

var errLabel = errors.New("label is not a whole number of 32 bits")

// noEOF keeps io.EOF for the end of the shard.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
