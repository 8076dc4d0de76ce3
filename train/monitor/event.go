// Package monitor watches a run for what no single figure shows: embeddings that collapse, a stream that drifts, probes
// whose classes are forgotten. It only looks: nothing in it changes what is trained. Its types are used by the training
// loop's goroutine.
package monitor

// Names of alarms, as metrics and logs have them.
const (
	Spread = "spread"
	Rank   = "rank"
	Margin = "margin"
	Shift  = "drift"
)

// Alarms lists all of them.
func Alarms() []string { return []string{Spread, Rank, Margin, Shift} }

// Event is an alarm that was raised or cleared. One comes for each, however long it lasts.
type Event struct {
	Alarm  string
	Raised bool
	Step   int64
	Value  float64 // that raised or cleared it
	Limit  float64 // that it passed
	Text   string  // what is the matter and what to do about it, or that it is over
}
