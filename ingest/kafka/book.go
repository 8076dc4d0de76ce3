package kafka

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"mocostream/ingest"
)

// maxWitnesses is how many records of a partition are remembered between two checkpoints; of more, every second one.
const maxWitnesses = 4096

// stateVersion is the form of the state that Seal writes.
const stateVersion = 1

// witness is by what a record is known again.
type witness struct {
	Offset int64  `json:"offset"`
	Epoch  int32  `json:"epoch"` // of the leader that wrote it
	Time   int64  `json:"time"`  // ms since 1970
	Size   int64  `json:"size"`  // bytes of the record
	CRC    uint32 `json:"crc"`   // CRC-32C of key and value
}

// same says whether both are of the same record. The epoch is not compared: brokers may not tell it.
func (w witness) same(o witness) bool {
	return w.Offset == o.Offset && w.Time == o.Time && w.Size == o.Size && w.CRC == o.CRC
}

type bookKey struct {
	source    string
	partition int32
}

// entry is what is known of a partition beside Progress.
type entry struct {
	start     int64     // where it began
	witnesses []witness // by offset
}

// book holds the entries of all partitions ever read. Readers write it, Seal and the next Open read it.
type book struct {
	mu      sync.Mutex
	entries map[bookKey]*entry
}

type sealedState struct {
	Version    int               `json:"version"`
	Partitions []sealedPartition `json:"partitions"` // by source and partition
}

type sealedPartition struct {
	Source    string   `json:"source"`
	Partition int32    `json:"partition"`
	Start     int64    `json:"start"`
	Last      *witness `json:"last,omitempty"` // newest known record among the consumed ones
}

// openBook reads what seal wrote; nil is an empty book.
func openBook(state json.RawMessage) (*book, error) {
	b := &book{entries: map[bookKey]*entry{}}
	if len(state) == 0 {
		return b, nil
	}
	var sealed sealedState
	if err := json.Unmarshal(state, &sealed); err != nil {
		return nil, err
	}
	if sealed.Version != stateVersion {
		return nil, fmt.Errorf("version %d is not %d; use the program that wrote it", sealed.Version, stateVersion)
	}
	for _, p := range sealed.Partitions {
		if p.Start < 0 || p.Partition < 0 || p.Last != nil && p.Last.Offset < p.Start {
			return nil, fmt.Errorf("partition %d of %q: start or last record makes no sense", p.Partition, p.Source)
		}
		e := &entry{start: p.Start}
		if p.Last != nil {
			e.witnesses = []witness{*p.Last}
		}
		b.entries[bookKey{p.Source, p.Partition}] = e
	}
	return b, nil
}

// seal writes the book as of progress, and forgets the records before the ones written.
func (b *book) seal(progress ingest.Progress) (json.RawMessage, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	sealed := sealedState{Version: stateVersion, Partitions: []sealedPartition{}}
	for key, e := range b.entries {
		p := sealedPartition{Source: key.source, Partition: key.partition, Start: e.start}
		if i := e.newest(progress.Streams[key.source][key.partition]); i >= 0 {
			e.witnesses = slices.Delete(e.witnesses, 0, i)
			p.Last = new(e.witnesses[0])
		}
		sealed.Partitions = append(sealed.Partitions, p)
	}
	slices.SortFunc(sealed.Partitions, func(a, b sealedPartition) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Partition, b.Partition))
	})
	return json.Marshal(sealed)
}

// newest returns the index of the newest witness that is consumed, -1 if none is.
func (e *entry) newest(done ingest.Intervals) int {
	for i := len(e.witnesses) - 1; i >= 0; i-- {
		if done.Contains(e.witnesses[i].Offset) {
			return i
		}
	}
	return -1
}

// begin takes note of where partitions begin; one that is known already is left as it is.
func (b *book) begin(key bookKey, start int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.entries[key] == nil {
		b.entries[key] = &entry{start: start}
	}
}

// start returns where a partition began, and whether that is known.
func (b *book) start(key bookKey) (int64, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.entries[key]; e != nil {
		return e.start, true
	}
	return 0, false
}

// sources returns the sources that the book knows.
func (b *book) sources() map[string]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[string]bool{}
	for key := range b.entries {
		all[key.source] = true
	}
	return all
}

// last returns the newest known record among those done.
func (b *book) last(key bookKey, done ingest.Intervals) (witness, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.entries[key]; e != nil {
		if i := e.newest(done); i >= 0 {
			return e.witnesses[i], true
		}
	}
	return witness{}, false
}

// note remembers records that are handed out, in order. A partition that is read again is remembered anew.
func (b *book) note(key bookKey, seen []witness) {
	if len(seen) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[key]
	if e == nil {
		return
	}
	at, _ := slices.BinarySearchFunc(e.witnesses, seen[0].Offset, func(w witness, offset int64) int { return cmp.Compare(w.Offset, offset) })
	e.witnesses = append(e.witnesses[:at], seen...)
	for len(e.witnesses) > maxWitnesses {
		e.thin()
	}
}

// thin drops every second witness, never the newest.
func (e *entry) thin() {
	kept := e.witnesses[:0]
	for i, w := range e.witnesses {
		if (len(e.witnesses)-1-i)%2 == 0 {
			kept = append(kept, w)
		}
	}
	e.witnesses = kept
}
