package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"mocostream/config"

	"golang.org/x/sys/unix"
)

const (
	probeBytes = 1 << 20 // written to measure the disk
	probeTimes = 3
	slowSync   = 250 * time.Millisecond
	// fewBytes: a checkpoint of ResNet-50 takes a third of a GiB, and sink.keep + 1 of them are there at a time.
	fewBytes = 2 << 30
)

// checkDisk writes where the run folder is, or will be, and looks how much room there is. It leaves nothing behind.
func checkDisk(dir string) []finding {
	where := existing(dir)
	took, err := timeSync(where)
	if err != nil {
		return []finding{{
			Level: broken, Check: "disk", Text: err.Error(),
			Remedy: fmt.Sprintf("make %s writable, or choose another sink.dir", where),
		}}
	}
	write := finding{Level: fine, Check: "disk", Text: fmt.Sprintf("%s can be written; 1 MiB is safe in %s", where, took.Round(time.Millisecond/10))}
	if took > slowSync {
		write.Level = better
		write.Remedy = "every checkpoint waits for the disk: choose a local sink.dir, or raise sink.checkpoint_every"
	}
	return []finding{write, checkSpace(where)}
}

// existing is dir or the nearest folder above it that is there, as an absolute path where that is known.
func existing(dir string) string {
	if whole, err := filepath.Abs(dir); err == nil {
		dir = whole
	}
	for {
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
		above := filepath.Dir(dir)
		if above == dir {
			return dir
		}
		dir = above
	}
}

// timeSync is how long it takes, the median of a few times, until a new file of 1 MiB is on the disk.
func timeSync(dir string) (time.Duration, error) {
	times := make([]time.Duration, probeTimes)
	for i := range times {
		var err error
		if times[i], err = syncOnce(dir); err != nil {
			return 0, fmt.Errorf("write into %s: %w", dir, err)
		}
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

func syncOnce(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, ".mocostream-doctor-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	started := time.Now()
	if _, err := f.Write(make([]byte, probeBytes)); err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	return time.Since(started), nil
}

func checkSpace(dir string) finding {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return finding{Level: better, Check: "space", Text: fmt.Sprintf("free space of %s: %v", dir, err), Remedy: "look at it with df"}
	}
	free := int64(uint64(s.Bavail) * uint64(s.Bsize))
	f := finding{Level: fine, Check: "space", Text: bytesText(free) + " free in " + dir}
	if free < fewBytes {
		f.Level = better
		f.Remedy = "a checkpoint of ResNet-50 takes a third of a GiB: make room, lower sink.keep or choose another sink.dir"
	}
	return f
}

// checkMemory compares this machine's memory with what the loader takes by default. root is where /proc and /sys are.
func checkMemory(root string) finding {
	needed := config.Default().Loader.MemoryLimit
	total, available := installed(root)
	if total == 0 {
		return finding{Level: fine, Check: "memory", Text: "size not known on this system; loader.memory_limit is " + bytesText(needed)}
	}
	text := bytesText(total) + ", " + bytesText(available) + " available"
	if limit := controlLimit(root); limit > 0 && limit < total {
		text += "; this control group may use " + bytesText(limit)
		available = min(available, limit)
	}
	f := finding{Level: fine, Check: "memory", Text: text + "; loader.memory_limit is " + bytesText(needed)}
	if available < 2*needed {
		f.Level = better
		f.Remedy = fmt.Sprintf("encoded images may take loader.memory_limit, and views, weights and activations as much and more: --set loader.memory_limit=%dMiB",
			max(available/4>>20, 64))
	}
	return f
}

// installed returns the machine's memory and what of it is available, in bytes; 0 where it is not known.
func installed(root string) (total, available int64) {
	text, err := os.ReadFile(filepath.Join(root, "proc/meminfo"))
	if err != nil {
		return 0, 0
	}
	total, _ = procField(string(text), "MemTotal")
	available, _ = procField(string(text), "MemAvailable")
	return total << 10, available << 10
}

// controlLimit is the least limit of this process's control group (version 2 or 1) and those above it; 0 is none.
func controlLimit(root string) (limit int64) {
	groups, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(groups)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		mount, file := "sys/fs/cgroup", "memory.max"
		if parts[1] == "memory" {
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if parts[1] != "" {
			continue
		}
		limit = least(limit, groupLimit(filepath.Join(root, mount), parts[2], file))
	}
	return limit
}

// groupLimit reads a limit of a group and of all above it.
func groupLimit(mount, group, file string) (limit int64) {
	for group = filepath.Clean("/" + group); ; group = filepath.Dir(group) {
		if text, err := os.ReadFile(filepath.Join(mount, group, file)); err == nil {
			n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err == nil && n < 1<<60 { // "max", and version 1's largest number, are no limit
				limit = least(limit, n)
			}
		}
		if group == "/" {
			return limit
		}
	}
}

// least is the smaller of two limits, of which 0 is none.
func least(a, b int64) int64 {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// bytesText is a size for people.
func bytesText(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
