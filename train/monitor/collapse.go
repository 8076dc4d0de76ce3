package monitor

import (
	"math"

	"mocostream/train"
)

// Limits are where a collapse begins. A limit of 0 is none.
type Limits struct {
	After     int64   // steps before which nothing is judged: a run begins with embeddings that are all alike
	MinSpread float64 // of train.StepResult.Spread
	MinRank   float64 // of EffectiveRank
	MinMargin float64 // of Positive less Negative
}

// Values are judged as means over about fifty steps, and an alarm is cleared only well above its limit: neither a batch out
// of the ordinary nor a value that trembles around the limit is worth a line each time.
const (
	meanDecay = 0.98
	clearAt   = 1.25 // of the limit
)

// CollapseState is what a Collapse goes on from.
type CollapseState struct {
	Steps  int64              `json:"steps"` // judged
	Mean   map[string]float64 `json:"mean"`
	Raised map[string]bool    `json:"raised"`
}

// Collapse holds the embeddings of every step against limits.
type Collapse struct {
	limits Limits
	state  CollapseState
}

// NewCollapse watches from the start, or from a State on.
func NewCollapse(l Limits, from CollapseState) *Collapse {
	if from.Mean == nil {
		from.Mean = map[string]float64{}
	}
	if from.Raised == nil {
		from.Raised = map[string]bool{}
	}
	return &Collapse{limits: l, state: from}
}

// State is what NewCollapse goes on from.
func (c *Collapse) State() CollapseState { return c.state }

// watched is one of the figures of a step.
type watched struct {
	alarm        string
	value, limit float64
	raised       string // what is the matter and what to do
	cleared      string
}

func (c *Collapse) watched(r train.StepResult) []watched {
	return []watched{
		{Spread, r.Spread, c.limits.MinSpread,
			"the embeddings become alike: lower train.optimizer.lr, check the augmentations (mocostream preview), and go back to an older checkpoint if it lasts",
			"the embeddings spread again"},
		{Rank, r.EffectiveRank, c.limits.MinRank,
			"the embeddings vary in few directions only: lower train.optimizer.lr, raise train.t, or look for near-duplicates in the stream, which fill the queue with what the query is",
			"the embeddings vary in more directions again"},
		{Margin, r.Positive - r.Negative, c.limits.MinMargin,
			"queries are hardly closer to their own keys than to the negatives: look for near-duplicates in the stream, and for augmentations that leave nothing of the image",
			"queries are closer to their own keys again"},
	}
}

// Step judges a finished step and returns what it raised or cleared.
func (c *Collapse) Step(r train.StepResult) []Event {
	if r.Step <= c.limits.After || r.Discarded {
		return nil
	}
	var events []Event
	c.state.Steps++
	for _, w := range c.watched(r) {
		if w.limit <= 0 || math.IsNaN(w.value) || math.IsInf(w.value, 0) {
			continue
		}
		mean := c.mean(w)
		switch raised := c.state.Raised[w.alarm]; {
		case !raised && mean < w.limit:
			c.state.Raised[w.alarm] = true
			events = append(events, Event{w.alarm, true, r.Step, mean, w.limit, w.raised})
		case raised && mean >= clearAt*w.limit:
			delete(c.state.Raised, w.alarm)
			events = append(events, Event{w.alarm, false, r.Step, mean, w.limit, w.cleared})
		}
	}
	return events
}

// mean is the figure's, with this step's value: of all steps at first, and then fading.
func (c *Collapse) mean(w watched) float64 {
	share := max(1-meanDecay, 1/float64(c.state.Steps))
	before, known := c.state.Mean[w.alarm]
	if !known {
		before = w.value
	}
	mean := before + share*(w.value-before)
	c.state.Mean[w.alarm] = mean
	return mean
}
