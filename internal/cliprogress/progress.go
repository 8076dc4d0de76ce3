// Package cliprogress tells how far a run is: on a terminal with a bar that is drawn over itself, elsewhere (a log file,
// a container) with a log line every so often.
package cliprogress

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"go.uber.org/zap"
)

const (
	redraw   = 100 * time.Millisecond // at most this often
	barWidth = 24                     // characters, fewer on a narrow terminal
	spinner  = 14                     // of the bar's library: dots
)

// Line is where a run is.
type Line struct {
	Step            int64
	Total           int64   // steps of the run; 0 leaves what New was told
	Epoch           float64 // passes over the data; 0 for streams, then not shown
	Loss            float64
	ImagesPerSecond float64
	DataWait        float64 // share of the time spent waiting for data, 0..1
	Note            string  // anything else worth a word; may be empty
}

// Progress shows the latest Line. Its methods may be called concurrently. What cannot be written is dropped: a run
// does not stop because nobody watches.
type Progress struct {
	mu    sync.Mutex
	w     io.Writer
	log   *zap.Logger
	every time.Duration
	tty   bool
	bar   *progressbar.ProgressBar // nil until the first line, and when not on a terminal

	total    int64
	began    time.Time // of the first line
	first    int64     // step of the first line
	last     Line
	shown    time.Time // when last was, or a line before it
	pending  bool      // last is not shown yet
	finished bool
}

// New returns a Progress of total steps (0: not known). On a terminal it draws on w and log may be nil; elsewhere it
// logs at info level once at the start and then once in every.
func New(w io.Writer, isTerminal bool, log *zap.Logger, every time.Duration, total int64) *Progress {
	if log == nil {
		log = zap.NewNop()
	}
	return &Progress{w: w, tty: isTerminal, log: log, every: every, total: max(total, 0)}
}

// Update takes the latest line. It is cheap enough to be called after every step.
func (p *Progress) Update(l Line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finished {
		return
	}
	now := time.Now()
	if p.began.IsZero() {
		p.began, p.first = now, l.Step
	}
	if l.Total > 0 {
		p.total = l.Total
	}
	p.last, p.pending = l, true
	wait := p.every
	if p.tty {
		wait = redraw
	}
	if p.shown.IsZero() || now.Sub(p.shown) >= wait {
		p.show(now)
	}
}

// Finish shows the last line, if it is not shown yet, and leaves the terminal at the start of a new line. Later calls
// do nothing. A run that stopped early keeps its bar as it was.
func (p *Progress) Finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finished {
		return
	}
	if p.pending {
		p.show(time.Now())
	}
	p.end()
}

func (p *Progress) end() {
	p.finished = true
	if p.bar != nil {
		_ = p.bar.Exit()
		fmt.Fprintln(p.w)
	}
}

// Write puts whole lines of other output above the bar, so that a logger may share the terminal with it.
func (p *Progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil && p.bar.IsFinished() && !p.finished {
		p.end() // a full bar is not drawn again
	}
	drawn := p.bar != nil && !p.finished
	if drawn {
		_ = p.bar.Clear()
	}
	n, err := p.w.Write(b)
	if drawn {
		_ = p.bar.RenderBlank()
	}
	return n, err
}

func (p *Progress) show(now time.Time) {
	p.shown, p.pending = now, false
	if p.tty {
		p.draw(now)
		return
	}
	p.log.Info("training", p.fields(now)...)
}

func (p *Progress) draw(now time.Time) {
	size := p.total
	if size == 0 {
		size = -1
	}
	switch {
	case p.bar == nil:
		p.bar = newBar(p.w, size)
	case size > 0 && p.bar.GetMax64() != size:
		p.bar.ChangeMax64(size)
	}
	p.bar.Describe(p.describe(now))
	if p.total > 0 {
		_ = p.bar.Set64(min(p.last.Step, p.total))
	}
}

// newBar leaves counting and predicting to Progress: the library takes the steps before a resumed run for done just now.
func newBar(w io.Writer, size int64) *progressbar.ProgressBar {
	return progressbar.NewOptions64(size,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetWidth(barWidth),
		progressbar.OptionUseANSICodes(true),
		progressbar.OptionShowDescriptionAtLineEnd(),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSpinnerType(spinner),
		progressbar.OptionSetSpinnerChangeInterval(0), // no goroutine: it turns when drawn
	)
}

func (p *Progress) describe(now time.Time) string {
	l := p.last
	parts := []string{fmt.Sprintf("step %d", l.Step)}
	if p.total > 0 {
		parts[0] += fmt.Sprintf("/%d", p.total)
	}
	if l.Epoch > 0 {
		parts = append(parts, fmt.Sprintf("epoch %.2f", l.Epoch))
	}
	parts = append(parts, fmt.Sprintf("loss %.3f", l.Loss), fmt.Sprintf("%.0f images/s", l.ImagesPerSecond),
		fmt.Sprintf("wait %.0f%%", 100*l.DataWait))
	if left, ok := p.left(now); ok {
		parts = append(parts, "ETA "+left.String())
	}
	if l.Note != "" {
		parts = append(parts, l.Note)
	}
	return strings.Join(parts, "  ")
}

func (p *Progress) fields(now time.Time) []zap.Field {
	l := p.last
	fields := []zap.Field{zap.Int64("step", l.Step)}
	if p.total > 0 {
		fields = append(fields, zap.Int64("steps", p.total))
	}
	if l.Epoch > 0 {
		fields = append(fields, zap.Float64("epoch", l.Epoch))
	}
	fields = append(fields, zap.Float64("loss", l.Loss), zap.Float64("images_per_second", l.ImagesPerSecond),
		zap.Float64("data_wait", l.DataWait))
	if left, ok := p.left(now); ok {
		fields = append(fields, zap.Duration("eta", left))
	}
	if l.Note != "" {
		fields = append(fields, zap.String("note", l.Note))
	}
	return fields
}

// left predicts the rest of the run from the pace since the first line; before the second nothing is known.
func (p *Progress) left(now time.Time) (time.Duration, bool) {
	done := p.last.Step - p.first
	if p.total == 0 || done <= 0 {
		return 0, false
	}
	rest := max(p.total-p.last.Step, 0)
	pace := now.Sub(p.began).Seconds() / float64(done)
	return time.Duration(pace * float64(rest) * float64(time.Second)).Round(time.Second), true
}
