package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// benchCommands measure this machine.
type benchCommands struct {
	Loader    benchLoaderCommand    `cmd:"" help:"Reading, decoding and augmenting: images a second, and what limits them."`
	Decode    benchDecodeCommand    `cmd:"" help:"Decoding alone, from memory."`
	Step      benchStepCommand      `cmd:"" help:"The training step alone, on made-up pixels."`
	Continual benchContinualCommand `cmd:"" help:"Learning from streams that come in bursts, with each way of keeping a replay buffer. Takes hours."`
	Feed      benchFeedCommand      `cmd:"" help:"The training step fed from images: how fast, and what share of the time it waits."`
}

// throughput is what bench loader and bench decode print.
type throughput struct {
	ImagesPerSecond float64 `json:"images_per_second"`
	// ImagesPerCPUSecond is by the user and system time of the whole process.
	ImagesPerCPUSecond float64        `json:"images_per_cpu_second"`
	Workers            int            `json:"workers"`
	BadImages          int            `json:"bad_images"` // different ones
	Stages             map[string]any `json:"stages"`
	Bottleneck         string         `json:"bottleneck"`
	Images             uint64         `json:"images"` // during Seconds, the same one counted each time
	Seconds            float64        `json:"seconds"`
	Processors         float64        `json:"processors_used"` // mean, of the whole process
	JPEG               string         `json:"jpeg"`
}

// rates fills in what follows from images, wall-clock time and processor time.
func (t *throughput) rates(images uint64, wall, cpu time.Duration) {
	t.Images, t.Seconds = images, wall.Seconds()
	t.ImagesPerSecond = ratio(float64(images), wall.Seconds())
	t.ImagesPerCPUSecond = ratio(float64(images), cpu.Seconds())
	t.Processors = ratio(cpu.Seconds(), wall.Seconds())
}

func (t *throughput) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, `%.0f images/s, %.0f a processor second; %d workers, %.2f processors used
%s
`, t.ImagesPerSecond, t.ImagesPerCPUSecond, t.Workers, t.Processors, t.Bottleneck)
	if err == nil && t.BadImages > 0 {
		_, err = fmt.Fprintf(w, "%d bad images were passed over\n", t.BadImages)
	}
	return err
}

// busy says in words that workers are what limits.
func (t *throughput) busy(what string, share float64) string {
	return fmt.Sprintf("%s: its %d workers are busy %.0f %% of the time", what, t.Workers, 100*share) + t.shared(share)
}

// shared says that workers who were busy for a share of the time did not get the processors that they asked for.
func (t *throughput) shared(share float64) string {
	entitled := float64(min(t.Workers, runtime.GOMAXPROCS(0)))
	if t.Processors >= 0.8*share*entitled {
		return ""
	}
	return fmt.Sprintf("; other programs had a share of the processors: this one got %.1f of %.0f", t.Processors, entitled)
}

// ratio is 0 where there is nothing to divide by.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// processTime is the user and system time of this process so far.
func processTime() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// peakMemory is the largest resident size of this process so far, in bytes.
func peakMemory() (int64, error) {
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		if kilobytes, ok := procField(string(status), "VmHWM"); ok {
			return kilobytes << 10, nil
		}
	}
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("read memory use: %w", err)
	}
	if runtime.GOOS == "darwin" {
		return int64(u.Maxrss), nil // bytes there, kilobytes elsewhere
	}
	return int64(u.Maxrss) << 10, nil
}

// procField finds "name:   123 kB" in a file of /proc.
func procField(text, name string) (kilobytes int64, ok bool) {
	for line := range strings.Lines(text) {
		value, found := strings.CutPrefix(line, name+":")
		if !found {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		return n, err == nil
	}
	return 0, false
}

// benchTime checks --seconds.
func benchTime(seconds float64) (time.Duration, error) {
	if !(seconds > 0 && seconds <= 86400) {
		return 0, usage("--seconds %v: use more than 0 and at most a day", seconds)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}
