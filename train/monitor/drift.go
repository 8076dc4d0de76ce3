package monitor

import (
	"context"
	"fmt"

	"mocostream/augment"
	"mocostream/internal/safetensors"
	"mocostream/train"
	"mocostream/train/drift"
)

// Encoder embeds images, [n, size, size, 3] uint8, into features [n, F]. *train.Embedder is one.
type Encoder interface {
	Embed(ctx context.Context, pixels []byte) (features, projections []float32, err error)
	Close()
}

// DriftOptions says what of a run is compared.
type DriftOptions struct {
	drift.Options
	After  int64 // steps before the reference is taken
	Every  int64 // steps of a window
	Images int   // of a window that are embedded, at most
	Frames int   // of one source among them, at most
	Scene  int64 // offsets of a partition beyond which images of one source count as of another; 0: never
	Size   int   // of a view, pixels

	// Freeze copies the weights of the encoder that embeds the reference, and all that it is compared with; Open opens it.
	Freeze func() ([]safetensors.Tensor, error)
	Open   func(weights []safetensors.Tensor) (Encoder, error)
}

// Chunk is how many images are embedded at a time: what an Encoder is best compiled for.
const Chunk = 16

// Drift embeds some of the images that are trained on by one encoder, which stays as it was when the reference was taken,
// and compares them window by window. What it does is a function of steps and batches alone.
type Drift struct {
	options DriftOptions
	state   driftProgress
	windows *drift.Windows
	weights []safetensors.Tensor // of encoder; nil: there is none yet
	encoder Encoder
	seen    map[uint64]int // images of each source in the set that is being filled
	pixels  []byte         // not embedded yet
	sources []uint64       // of them
}

// driftProgress is where a Drift stands in its window.
type driftProgress struct {
	Since int64 `json:"since"` // step of the encoder
	Steps int64 `json:"steps"` // of the window that are done
	Taken int   `json:"taken"` // images of the window
}

// NewDrift watches from the start on.
func NewDrift(o DriftOptions) *Drift {
	return &Drift{options: o, windows: drift.NewWindows(o.Options), seen: map[uint64]int{}}
}

// Close frees the encoder.
func (d *Drift) Close() {
	if d.encoder != nil {
		d.encoder.Close()
		d.encoder = nil
	}
}

// Reference is the step whose encoder embeds, and whether there is one.
func (d *Drift) Reference() (step int64, taken bool) { return d.state.Since, d.weights != nil }

// Rebase takes the reference anew from the next step on, by the encoder as of then.
func (d *Drift) Rebase() {
	d.windows.Rebase()
	d.begin()
}

// begin forgets the encoder and the window in hand.
func (d *Drift) begin() {
	d.Close()
	d.weights, d.state, d.seen = nil, driftProgress{}, map[uint64]int{}
	d.pixels, d.sources = nil, nil
}

// Batch looks at a batch before its step, after so many finished ones. It copies what it needs.
func (d *Drift) Batch(ctx context.Context, b *augment.Batch, finished int64) error {
	if finished < d.options.After {
		return nil
	}
	if d.weights == nil {
		if err := d.freeze(finished); err != nil {
			return fmt.Errorf("take the encoder that drift is measured by: %w", err)
		}
	}
	view, image := b.Query(), d.options.Size*d.options.Size*3
	for _, row := range d.pick(sources(b, d.options.Scene)) {
		d.pixels = append(d.pixels, view[row*image:(row+1)*image]...)
	}
	if len(d.sources) < Chunk {
		return nil
	}
	return d.embed(ctx)
}

func (d *Drift) freeze(finished int64) (err error) {
	if d.weights, err = d.options.Freeze(); err != nil {
		return err
	}
	d.state = driftProgress{Since: finished}
	d.encoder, err = d.options.Open(d.weights)
	return err
}

// pick chooses rows of fresh images: as many as the window has room for by now, one of a source at a time.
func (d *Drift) pick(sources []uint64, fresh []bool) (rows []int) {
	o := d.options
	room := int((int64(o.Images)*(d.state.Steps+1)+o.Every-1)/o.Every) - d.state.Taken
	now := map[uint64]bool{}
	for row, source := range sources {
		if len(rows) >= room {
			break
		}
		if !fresh[row] || now[source] || d.seen[source] >= o.Frames {
			continue
		}
		now[source] = true
		d.seen[source]++
		d.sources = append(d.sources, source)
		rows = append(rows, row)
	}
	d.state.Taken += len(rows)
	return rows
}

// embed puts what is pending into the window.
func (d *Drift) embed(ctx context.Context) error {
	if len(d.sources) == 0 {
		return nil
	}
	features, _, err := d.encoder.Embed(ctx, d.pixels)
	if err != nil {
		return fmt.Errorf("embed images to measure drift: %w", err)
	}
	dim := len(features) / len(d.sources)
	for i, source := range d.sources {
		if err := d.windows.Add(source, features[i*dim:(i+1)*dim]); err != nil {
			return fmt.Errorf("embed images to measure drift: %w; turn monitor.drift off (every: 0), or go on from an older checkpoint", err)
		}
	}
	d.pixels, d.sources = d.pixels[:0], d.sources[:0]
	return nil
}

// Measured is what the end of a window brought.
type Measured struct {
	drift.Outcome
	Result *train.DriftResult // nil: nothing was compared
	Events []Event
	Taken  bool // the reference is taken now
	TooFew int  // sources of a window that were too few to compare; 0 otherwise
}

// Step notes that a step is finished; nil unless it ended a window.
func (d *Drift) Step(ctx context.Context, step int64) (*Measured, error) {
	if d.weights == nil {
		return nil, nil
	}
	if d.state.Steps++; d.state.Steps < d.options.Every {
		return nil, nil
	}
	if err := d.embed(ctx); err != nil {
		return nil, err
	}
	taking := d.windows.Taking()
	outcome, err := d.windows.End()
	if err != nil {
		return nil, err
	}
	d.state.Steps, d.state.Taken = 0, 0
	if !d.windows.Taking() {
		d.seen = map[uint64]int{}
	}
	m := &Measured{Outcome: outcome, TooFew: d.windows.State().TooFew, Taken: taking && !d.windows.Taking()}
	if outcome.Compared {
		m.Result = &train.DriftResult{Step: step, MMD2: outcome.MMD2, PValue: outcome.PValue, Sources: outcome.Sources, Alarm: d.windows.State().Alarm}
	}
	m.Events = d.events(step, outcome)
	if outcome.Rebased {
		d.begin()
	}
	return m, nil
}

func (d *Drift) events(step int64, o drift.Outcome) []Event {
	e := Event{Alarm: Shift, Step: step, Value: o.PValue, Limit: o.Alpha}
	switch {
	case o.Raised:
		e.Raised = true
		e.Text = "the stream is no longer of the kind that the reference was: see which source changed and whether that is meant; probes of the new kind tell what the encoder makes of it. If it is to stay, take the reference anew: mocostream ctl rebase"
	case o.Cleared:
		e.Text = "the stream is like the reference again"
	case o.Rebased:
		e.Text = "the stream stays what it has become: the reference is taken anew (monitor.drift.rebase)"
	default:
		return nil
	}
	return []Event{e}
}
