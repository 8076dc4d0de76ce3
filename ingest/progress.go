package ingest

// Position is how far a bounded source is consumed: everything of the epochs before Epoch, and the first Index samples
// of this epoch's order (bad ones included).
type Position struct {
	Source string `json:"source"` // manifest's hash
	Epoch  int64  `json:"epoch"`
	Index  int64  `json:"index"`
}

// Progress is what finished optimisation steps have consumed: the only resume state of the input side. The zero value
// is the start. It marshals to JSON deterministically.
type Progress struct {
	Bounded *Position          `json:"bounded,omitempty"`
	Streams map[string]Offsets `json:"streams,omitempty"` // by source
}

// Offsets is by partition what is consumed of one stream.
type Offsets map[int32]Intervals

// Intervals is a set of offsets as sorted, disjoint, non-adjacent half-open ranges.
type Intervals []Interval

// Interval is the offsets Start <= o < End.
type Interval struct {
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}
