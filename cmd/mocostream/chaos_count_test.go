package main

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"mocostream/augment"
	"mocostream/ingest"
	"mocostream/train"

	"github.com/apache/arrow/go/v17/arrow/array"
)

// countEnv has a child count what its steps take, in every checkpoint.
const countEnv = "MOCOSTREAM_TEST_COUNT"

// countFile is the counts' name in a checkpoint.
const countFile = "test_counts.gob"

// sampleCounts says how often each sample was in a finished step: by source and partition, one number an offset. It knows
// nothing of Progress or the ledger, and lives in the checkpoint, so that it is of the very instant of the weights.
type sampleCounts map[string]map[int32][]uint8

func (c sampleCounts) add(id ingest.ID) {
	if c[id.Source] == nil {
		c[id.Source] = map[int32][]uint8{}
	}
	all := c[id.Source][id.Partition]
	for int64(len(all)) <= id.Offset {
		all = append(all, 0)
	}
	all[id.Offset]++
	c[id.Source][id.Partition] = all
}

// counting is a train.Hooks that counts besides.
func counting(from *train.Checkpoint, h train.Hooks) (train.Hooks, error) {
	counts, err := countsOf(from)
	if err != nil {
		return h, err
	}
	inner, taken := h, []ingest.ID(nil)
	h.Batch = func(b *augment.Batch) error {
		taken = identitiesOf(b)
		if b.Replayed { // a sample is to be admitted once, and may be drawn again and again
			taken = b.Admitted
		}
		return inner.Batch(b)
	}
	h.Step = func(r train.StepResult) error {
		for _, id := range taken {
			counts.add(id)
		}
		taken = nil
		return inner.Step(r)
	}
	h.Seal = func(c *train.Checkpoint) error {
		var text bytes.Buffer
		if err := gob.NewEncoder(&text).Encode(counts); err != nil {
			return err
		}
		if c.Files == nil {
			c.Files = map[string]io.WriterTo{}
		}
		c.Files[countFile] = bytes.NewReader(text.Bytes())
		return inner.Seal(c)
	}
	return h, nil
}

func identitiesOf(b *augment.Batch) (ids []ingest.ID) {
	for i := range b.Len() {
		ids = append(ids, ingest.ID{
			Source:    b.Record.Column(augment.ColSource).(*array.String).Value(i),
			Partition: b.Record.Column(augment.ColPartition).(*array.Int32).Value(i),
			Offset:    b.Record.Column(augment.ColOffset).(*array.Int64).Value(i),
		})
	}
	return ids
}

// countsOf reads the counts of a checkpoint.
func countsOf(c *train.Checkpoint) (sampleCounts, error) {
	counts := sampleCounts{}
	if c == nil {
		return counts, nil
	}
	f, err := c.Open(countFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the checkpoint of step %d holds no counts", c.Step)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return counts, gob.NewDecoder(f).Decode(&counts)
}

// runChild is the program, counting where it is asked to.
func runChild() int {
	term := &terminal{out: os.Stdout, err: os.Stderr}
	if os.Getenv(countEnv) != "" {
		term.also = counting
	}
	return runOn(term, os.Args[1:])
}
