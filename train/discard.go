package train

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"
)

// Discards are the steps of a run whose loss or gradient was not finite: each changed nothing.
type Discards struct {
	Total  int64   `json:"total"`
	Recent []int64 `json:"recent"` // their steps, rising: those that still count towards the end of the run
}

// So many discarded steps among so many end the run: one bad batch is bad luck, more are divergence.
const (
	discardLimit  = 3
	discardWindow = 100
)

// discardsKey is where a checkpoint's Extra keeps the Discards, where there are any.
const discardsKey = "discards"

// add notes that step was discarded and says whether it is one too many.
func (d *Discards) add(step int64) (tooMany bool) {
	d.Total++
	d.Recent = slices.DeleteFunc(append(slices.Clone(d.Recent), step), func(s int64) bool { return step-s >= discardWindow })
	return len(d.Recent) >= discardLimit
}

// seal puts the discards into a checkpoint's Extra.
func (d Discards) seal(extra map[string]json.RawMessage) error {
	if d.Total == 0 {
		return nil
	}
	text, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode %s: %w", discardsKey, err)
	}
	extra[discardsKey] = text
	return nil
}

// discardsOf reads what seal wrote; a checkpoint without them had none.
func discardsOf(c *Checkpoint) (d Discards, err error) {
	raw, ok := c.Extra[discardsKey]
	if !ok {
		return d, nil
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return d, fmt.Errorf("checkpoint: %s: %w", discardsKey, err)
	}
	return d, nil
}

// writeBack leaves every variable as it was before the step unless all of checks, scalars, are finite. It comes last: a
// variable that the graph changes after it escapes.
func (t *Trainer) writeBack(g *graph.Graph, checks ...*Node) {
	accepted := graph.IsFinite(checks[0])
	for _, check := range checks[1:] {
		accepted = graph.LogicalAnd(accepted, graph.IsFinite(check))
	}
	for _, v := range t.changed(g) {
		v.SetNodeValue(graph.Where(accepted, v.NodeValue(g), g.GetParameterByName(v.Path())))
	}
}

// changed lists the variables that the graph gives new values, by path.
func (t *Trainer) changed(g *graph.Graph) []*model.Variable {
	var list []*model.Variable
	for v := range t.store.IterVariables() {
		if v.ChangedInGraph(g) {
			list = append(list, v)
		}
	}
	slices.SortFunc(list, func(a, b *model.Variable) int { return strings.Compare(a.Path(), b.Path()) })
	return list
}

// reject notes that the step just done changed nothing. From the third among a hundred on it is an error.
func (t *Trainer) reject(r StepResult) error {
	if !t.discards.add(r.Step) {
		return nil
	}
	return fmt.Errorf("step %d: %w: steps %v were discarded, %d within %d (loss %v, gradient norm %v at the last; learning rate %.3g); lower train.optimizer.lr, set train.optimizer.clip_norm, lengthen train.schedule.warmup_steps or raise train.t, and go on from the newest checkpoint",
		r.Step, ErrNotFinite, t.discards.Recent, len(t.discards.Recent), discardWindow, r.Loss, r.GradNorm, r.LR)
}
