package loader

import (
	"slices"

	"mocostream/ingest"
)

// Token is the state of the input side as of one batch. A checkpoint stores the token of the last finished batch: the
// loader and the pool run ahead of it, and start from it after a resume.
type Token struct {
	Progress ingest.Progress `json:"progress"`
	// Position is the number of samples drawn so far in training order, bad ones included.
	Position uint64 `json:"position"`
	// Admitted is the number of samples that a replay buffer took from the source so far; 0 without one, where Position says
	// it. Progress is of them.
	Admitted uint64 `json:"admitted,omitempty"`
	// Bad holds the positions of the bad samples inside the last window (see Options of the dead-letter rule), so that a
	// resumed run stops exactly where an uninterrupted one would.
	Bad []uint64 `json:"bad,omitempty"`
}

// Consume counts s, good or bad, as drawn. It is called for every sample in training order, before s is released.
func (t *Token) Consume(s *Sample) {
	t.Position = s.Position + 1
	if !s.replayed {
		t.Admitted = 0
		t.admit(s.admission(s.After.Source == ""))
		return
	}
	t.Admitted += uint64(len(s.admitted))
	for _, a := range s.admitted {
		t.admit(a)
	}
}

func (t *Token) admit(a admission) {
	for _, p := range a.passed {
		t.Progress.AddRange(p.Source, p.Partition, p.Start, p.End)
	}
	for _, d := range a.dropped {
		t.Progress.AddItem(d.id, d.items)
	}
	if a.after.Source == "" {
		t.Progress.AddItem(a.id, a.items)
		return
	}
	if t.Progress.Bounded == nil {
		t.Progress.Bounded = &ingest.Position{}
	}
	*t.Progress.Bounded = a.after
}

// Taken is the number of samples that were taken from the source so far.
func (t *Token) Taken() uint64 {
	if t.Admitted > 0 {
		return t.Admitted
	}
	return t.Position
}

// Clone returns a copy that shares nothing with t. It is small, however much has been consumed.
func (t *Token) Clone() Token {
	return Token{Progress: t.Progress.Clone(), Position: t.Position, Admitted: t.Admitted, Bad: slices.Clone(t.Bad)}
}

// DeadLetter describes a sample that could not be decoded.
type DeadLetter struct {
	ID       ingest.ID `json:"id"`
	Key      string    `json:"key"`
	Reason   string    `json:"reason"` // short class: "truncated", "not_an_image", "too_large", ...; a metric label
	Detail   string    `json:"detail"` // the decoder's words
	Bytes    int       `json:"bytes"`
	SHA256   string    `json:"sha256"` // of the encoded bytes, hex
	Position uint64    `json:"position"`
	Image    []byte    `json:"image,omitempty"` // the encoded bytes (base64 in JSON), unless configured away
}
