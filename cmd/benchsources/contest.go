package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"syscall"
	"time"
)

// contender reads the same bytes as the others of its contest.
type contender struct {
	name  string
	read  func(ctx context.Context) error
	plain bool // what others are compared with
	child bool // its CPU time is that of processes it waited for
}

// result is what was measured of a contender: medians of the rounds.
type result struct {
	Contest   string  `json:"contest"`
	Name      string  `json:"name"`
	Rate      float64 `json:"bytes_per_second"`
	CPU       float64 `json:"cpu_seconds_per_gigabyte"`
	RateRatio float64 `json:"rate_to_plain"` // median of the rounds' own ratios
	CPURatio  float64 `json:"cpu_to_plain"`
}

// round is one measurement.
type round struct{ wall, cpu float64 }

// run measures the contenders in turns, prints a line for each and returns what it printed.
func (c contest) run(ctx context.Context, out io.Writer, name string, bytes int64, all []contender) ([]result, error) {
	rounds := make([][]round, len(all))
	for i := range c.Rounds {
		for j, one := range all {
			measured, err := c.measure(ctx, one)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", name, one.name, err)
			}
			if i > 0 || c.Rounds == 1 {
				rounds[j] = append(rounds[j], measured)
			}
		}
	}
	base := rounds[max(0, slices.IndexFunc(all, func(one contender) bool { return one.plain }))]
	var results []result
	for j, one := range all {
		r := result{
			Contest: name, Name: one.name,
			Rate:      float64(bytes) / median(rounds[j], func(i int) float64 { return rounds[j][i].wall }),
			CPU:       median(rounds[j], func(i int) float64 { return rounds[j][i].cpu }) / float64(bytes) * 1e9,
			RateRatio: median(rounds[j], func(i int) float64 { return base[i].wall / rounds[j][i].wall }),
			CPURatio:  median(rounds[j], func(i int) float64 { return rounds[j][i].cpu / base[i].cpu }),
		}
		results = append(results, r)
		if err := c.print(out, r); err != nil {
			return nil, err
		}
	}
	return results, nil
}

func (c contest) print(out io.Writer, r result) error {
	if c.JSON {
		return json.NewEncoder(out).Encode(r)
	}
	_, err := fmt.Fprintf(out, "%-28s %-22s %6.0f MB/s  %5.2f CPU s/GB  rate x%.2f  CPU x%.2f\n",
		r.Contest, r.Name, r.Rate/1e6, r.CPU, r.RateRatio, r.CPURatio)
	return err
}

func (c contest) measure(ctx context.Context, one contender) (round, error) {
	runtime.GC() // what the one before left behind
	if c.CPUProfile != "" && !one.plain && !one.child {
		stop, err := profile(c.CPUProfile)
		if err != nil {
			return round{}, err
		}
		defer stop()
	}
	who := syscall.RUSAGE_SELF
	if one.child {
		who = syscall.RUSAGE_CHILDREN
	}
	before, start := cpuSeconds(who), time.Now()
	err := one.read(ctx)
	return round{time.Since(start).Seconds(), cpuSeconds(who) - before}, err
}

// profile writes the profile of the newest measurement.
func profile(path string) (stop func(), err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "benchsources: write profile:", err)
		}
	}, nil
}

func cpuSeconds(who int) float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(who, &usage); err != nil {
		panic(err) // who is wrong
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func median(rounds []round, value func(i int) float64) float64 {
	values := make([]float64, len(rounds))
	for i := range rounds {
		values[i] = value(i)
	}
	slices.SortFunc(values, cmp.Compare[float64])
	half := len(values) / 2
	if len(values)%2 == 1 {
		return values[half]
	}
	return (values[half-1] + values[half]) / 2
}
