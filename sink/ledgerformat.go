package sink

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"

	"mocostream/augment"
	"mocostream/ingest"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// ledgerHead is how the file begins. Entries follow: length of the body (u32), the body, and a CRC-32C (u32) over the sum
// before and the body, so that the last sum names the whole history. A body is a kind and then integers as varints; each
// stands for itself, so that the file can be cut after any entry.
const ledgerHead = "mocostream ledger 1\n"

// Kinds of entries.
const (
	ledgerBegan    = 1 // the first entry: Progress before it, JSON
	ledgerTaken    = 2 // a batch is about to be trained on: sources, samples, dead letters
	ledgerFinished = 3 // it was: step
	ledgerPassed   = 4 // offsets that were never samples and are consumed: sources, spans
	ledgerDrawn    = 5 // as ledgerTaken, of a replay buffer: sources, samples that went into it, dead letters, samples of the batch
)

// maxLedgerEntry bounds an entry in bytes; a longer one is damage. A batch of 100,000 samples needs less.
const maxLedgerEntry = 16 << 20

// ErrLedger is wrapped by errors about a ledger that is damaged or contradicts itself.
var ErrLedger = errors.New("the ledger is damaged")

// frame makes an entry of a body, after one with the sum before.
func frame(before uint32, body []byte) (entry []byte, sum uint32) {
	sum = ledgerSum(before, body)
	entry = binary.LittleEndian.AppendUint32(make([]byte, 0, len(body)+8), uint32(len(body)))
	entry = append(entry, body...)
	return binary.LittleEndian.AppendUint32(entry, sum), sum
}

func ledgerSum(before uint32, body []byte) uint32 {
	return crc32.Update(before, crc32.MakeTable(crc32.Castagnoli), body)
}

func beganBody(p ingest.Progress) ([]byte, error) {
	text, err := json.Marshal(p)
	return append([]byte{ledgerBegan}, text...), err
}

func finishedBody(step int64) []byte { return binary.AppendVarint([]byte{ledgerFinished}, step) }

// takenBody is the samples of a batch, from its own columns, and its dead letters.
// Of a batch from a replay buffer it is what the buffer took for it: what it drew may be drawn again.
func takenBody(b *augment.Batch) ([]byte, error) {
	samples, err := identities(b.Record)
	if err != nil {
		return nil, err
	}
	kind, rows := byte(ledgerTaken), len(samples)
	if b.Replayed {
		kind, samples = ledgerDrawn, b.Admitted
	}
	var dead []ingest.ID
	for _, d := range b.Dead {
		dead = append(dead, d.ID)
	}
	sources := sourceTable{}
	for _, ids := range [][]ingest.ID{samples, dead} {
		for _, id := range ids {
			sources.add(id.Source)
		}
	}
	body := sources.append([]byte{kind})
	body = appendIDs(body, sources, samples)
	body = appendIDs(body, sources, dead)
	if kind == ledgerDrawn {
		body = binary.AppendUvarint(body, uint64(rows))
	}
	return body, nil
}

// identities reads the four columns that name the samples of a batch.
func identities(rec arrow.Record) ([]ingest.ID, error) {
	sources, ok1 := rec.Column(augment.ColSource).(*array.String)
	partitions, ok2 := rec.Column(augment.ColPartition).(*array.Int32)
	offsets, ok3 := rec.Column(augment.ColOffset).(*array.Int64)
	items, ok4 := rec.Column(augment.ColItem).(*array.Int32)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return nil, fmt.Errorf("a batch does not have the columns of its schema: %v", rec.Schema())
	}
	ids := make([]ingest.ID, rec.NumRows(), rec.NumRows()+1)
	for i := range ids {
		ids[i] = ingest.ID{Source: sources.Value(i), Partition: partitions.Value(i), Offset: offsets.Value(i), Item: items.Value(i)}
	}
	return ids, nil
}

func passedBody(spans []ingest.Span) []byte {
	sources := sourceTable{}
	for _, s := range spans {
		sources.add(s.Source)
	}
	body := sources.append([]byte{ledgerPassed})
	body = binary.AppendUvarint(body, uint64(len(spans)))
	for _, s := range spans {
		body = binary.AppendUvarint(body, uint64(sources.index(s.Source)))
		body = binary.AppendVarint(body, int64(s.Partition))
		body = binary.AppendVarint(body, s.Start)
		body = binary.AppendVarint(body, s.End)
	}
	return body
}

// sourceTable numbers the few sources of an entry.
type sourceTable struct{ names []string }

func (t *sourceTable) index(name string) int {
	for i := range t.names {
		if t.names[i] == name {
			return i
		}
	}
	return -1
}

func (t *sourceTable) add(name string) {
	if t.index(name) < 0 {
		t.names = append(t.names, name)
	}
}

func (t *sourceTable) append(body []byte) []byte {
	body = binary.AppendUvarint(body, uint64(len(t.names)))
	for _, name := range t.names {
		body = append(binary.AppendUvarint(body, uint64(len(name))), name...)
	}
	return body
}

// appendIDs writes each sample as the difference from the one before: a stream's offsets follow each other.
func appendIDs(body []byte, sources sourceTable, ids []ingest.ID) []byte {
	body = binary.AppendUvarint(body, uint64(len(ids)))
	var last ingest.ID
	for _, id := range ids {
		body = binary.AppendUvarint(body, uint64(sources.index(id.Source)))
		body = binary.AppendVarint(body, int64(id.Partition)-int64(last.Partition))
		body = binary.AppendVarint(body, id.Offset-last.Offset)
		body = binary.AppendVarint(body, int64(id.Item))
		last = id
	}
	return body
}

// ledgerEntry is one entry as it was read; the fields of its kind are set.
type ledgerEntry struct {
	kind          byte
	progress      ingest.Progress
	samples, dead []ingest.ID
	rows          int64 // samples of the batch
	step          int64
	spans         []ingest.Span
}

func checkLedgerHead(r io.ReaderAt) error {
	head := make([]byte, len(ledgerHead))
	if n, err := r.ReadAt(head, 0); string(head) != ledgerHead {
		if n == len(head) || errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: it does not begin as a ledger does; delete it to begin a new one", ErrLedger)
		}
		return err
	}
	return nil
}

// ledgerEntries yields the entries of the first n bytes of a ledger. It ends after the first error, which wraps ErrLedger
// where the bytes are not what was written.
func ledgerEntries(file io.ReaderAt, n int64) iter.Seq2[ledgerEntry, error] {
	return func(yield func(ledgerEntry, error) bool) {
		if err := checkLedgerHead(file); err != nil {
			yield(ledgerEntry{}, err)
			return
		}
		at, sum := int64(len(ledgerHead)), uint32(0)
		r := bufio.NewReaderSize(io.NewSectionReader(file, at, n-at), 1<<16)
		for at < n {
			body, now, err := readLedgerBody(r, sum)
			if err == nil {
				var e ledgerEntry
				if e, err = parseLedgerBody(body); err == nil {
					if !yield(e, nil) {
						return
					}
					at, sum = at+int64(len(body))+8, now
					continue
				}
			}
			yield(ledgerEntry{}, fmt.Errorf("entry at byte %d: %w", at, err))
			return
		}
	}
}

// readLedgerBody reads an entry that follows one with the sum before.
func readLedgerBody(r io.Reader, before uint32) (body []byte, sum uint32, err error) {
	var word [4]byte
	if _, err := io.ReadFull(r, word[:]); err != nil {
		return nil, 0, cutShort(err)
	}
	length := binary.LittleEndian.Uint32(word[:])
	if length < 1 || length > maxLedgerEntry {
		return nil, 0, fmt.Errorf("%w: it claims %d bytes", ErrLedger, length)
	}
	body = make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, 0, cutShort(err)
	}
	if _, err := io.ReadFull(r, word[:]); err != nil {
		return nil, 0, cutShort(err)
	}
	sum = ledgerSum(before, body)
	if sum != binary.LittleEndian.Uint32(word[:]) {
		return nil, 0, fmt.Errorf("%w: its sum is not that of its bytes", ErrLedger)
	}
	return body, sum, nil
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is cut short", ErrLedger)
	}
	return err
}

func parseLedgerBody(body []byte) (ledgerEntry, error) {
	e := ledgerEntry{kind: body[0]}
	r := varints{data: body[1:]}
	switch e.kind {
	case ledgerBegan:
		if err := json.Unmarshal(r.data, &e.progress); err != nil {
			return e, fmt.Errorf("%w: %w", ErrLedger, err)
		}
		return e, nil
	case ledgerTaken:
		sources := r.sources()
		e.samples = r.ids(sources)
		e.dead = r.ids(sources)
		e.rows = int64(len(e.samples))
	case ledgerDrawn:
		sources := r.sources()
		e.samples = r.ids(sources)
		e.dead = r.ids(sources)
		e.rows = int64(r.unsigned())
	case ledgerFinished:
		e.step = r.signed()
	case ledgerPassed:
		e.spans = r.spans(r.sources())
	default:
		return e, fmt.Errorf("%w: unknown kind %d; a newer mocostream may have written it", ErrLedger, e.kind)
	}
	if r.bad || len(r.data) > 0 {
		return e, fmt.Errorf("%w: an entry of kind %d does not hold what it should", ErrLedger, e.kind)
	}
	return e, nil
}
