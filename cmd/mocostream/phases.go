package main

import (
	"fmt"
	"time"

	"mocostream/train/eval"

	"go.uber.org/zap"
)

// phases logs how far an evaluation is: the end of each of its phases, and else a line every so often.
type phases struct {
	log   *zap.SugaredLogger
	every time.Duration
	shown time.Time // when the last line was
}

func newPhases(term *terminal, every time.Duration) *phases {
	return &phases{log: logFlags{LogFormat: "text"}.logger(term.err).Sugar(), every: every, shown: time.Now()}
}

func (p *phases) show(now eval.Progress) {
	if now.Done < now.Of && time.Since(p.shown) < p.every {
		return
	}
	p.shown = time.Now()
	text := fmt.Sprintf("%s: %d of %d", now.Phase, now.Done, now.Of)
	if now.Note != "" {
		text += ", " + now.Note
	}
	p.log.Info(text)
}
