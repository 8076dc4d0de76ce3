package flow

import (
	"fmt"
	"math"
)

const (
	// Starved is the share of time from which on a waiting trainer is worth a word.
	Starved = 0.05
	// full is the share from which on workers count as busy all the time.
	full = 0.8
)

// Means are what could be changed about a pipeline, so that nothing is proposed that does not exist.
type Means struct {
	Processors    int  // of the machine, or what the process may use of them
	FixedWorkers  bool // loader.workers is set
	FixedFetchers bool // loader.fetchers is set
	Files         bool // the source has a file for each image
	Stream        bool // the source decides itself how much it reads at a time
}

// Judgement is where a pipeline is slow.
type Judgement struct {
	Stage string `json:"stage"` // what the others wait for
	Words string `json:"words"` // that, how much, and what would help
}

// Judge names what limits the pipeline. That is the trainer as long as it hardly waits.
func (f Figures) Judge(m Means) Judgement {
	work, _ := f.Stage(Augment)
	device, trains := f.Stage(Device)
	switch {
	case trains && device.WaitInput < Starved:
		return Judgement{Device, fmt.Sprintf("device: training is what takes the time; it waited %s", f.waited(device))}
	case work.Busy >= full || work.Busy >= max(work.WaitInput, work.WaitOutput):
		return f.judge(Augment, fmt.Sprintf("%s workers busy", of(work)), m.forAugment(work))
	case work.WaitInput >= work.WaitOutput:
		return f.input(m)
	}
	return f.judge(Batch, fmt.Sprintf("workers waited for a free batch %.0f %% of the time", 100*work.WaitOutput), "a smaller train.batch would help")
}

// input names what of the way to the workers is slow.
func (f Figures) input(m Means) Judgement {
	fetch, _ := f.Stage(Fetch)
	order, _ := f.Stage(Order)
	switch {
	case f.Memory > 0.5:
		return f.judge(Fetch, fmt.Sprintf("reading stood still at loader.memory_limit %.0f %% of the time", 100*f.Memory), "a higher limit would help")
	case order.Busy >= full:
		return f.judge(Order, fmt.Sprintf("its one goroutine was busy %.0f %% of the time", 100*order.Busy), "")
	case m.Stream:
		return f.judge(Fetch, fmt.Sprintf("waited for the source %.0f %% of the time", 100*order.WaitInput), "a source that brings more would help")
	}
	return f.judge(Fetch, fmt.Sprintf("%s readers busy", of(fetch)), m.forFetch(fetch))
}

func (f Figures) judge(stage, what, help string) Judgement {
	words := stage + ": " + what
	if device, trains := f.Stage(Device); trains {
		words += "; trainer waited " + f.waited(device)
	}
	if help != "" {
		words += "; " + help
	}
	return Judgement{stage, words}
}

// waited is how long the trainer waited, and of what time.
func (f Figures) waited(device Stage) string {
	period := fmt.Sprintf("the last %.0f s", f.Seconds)
	switch {
	case f.Seconds >= 90:
		period = fmt.Sprintf("the last %.0f min", f.Seconds/60)
	case f.Seconds >= 55:
		period = "the last minute"
	}
	return fmt.Sprintf("%.0f %% of %s", 100*device.WaitInput, period)
}

// of is how many of a stage's workers were busy.
func of(s Stage) string {
	busy := s.Busy * float64(s.Workers)
	if whole := math.Round(busy); math.Abs(busy-whole) < 0.1 {
		return fmt.Sprintf("%.0f of %d", whole, s.Workers)
	}
	return fmt.Sprintf("%.1f of %d", busy, s.Workers)
}

func (m Means) forAugment(work Stage) string {
	switch {
	case work.Workers >= m.Processors:
		return "more cores or smaller stored images would help"
	case m.FixedWorkers:
		return fmt.Sprintf("more loader.workers would help: there are %d processors", m.Processors)
	}
	return fmt.Sprintf("a higher loader.cpu_limit would help: there are %d processors", m.Processors)
}

func (m Means) forFetch(fetch Stage) string {
	switch {
	case fetch.Busy >= full && m.FixedFetchers:
		return "more loader.fetchers would help"
	case m.Files:
		return "a faster disk or network, or shards (mocostream pack) would help"
	}
	return "a faster disk or network would help"
}
