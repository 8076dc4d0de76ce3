package sink

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// FileNames lists the files of a step folder beside the weights, optimizer and state.json.
func FileNames(stepDir string) ([]string, error) {
	s, err := readState(filepath.Join(stepDir, stateFile))
	if err != nil {
		return nil, fmt.Errorf("read checkpoint %s: %w", stepDir, err)
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.Files)), func(name string) bool { return name == modelFile || name == optimizerFile }), nil
}

// ForgetLines takes the lines out of a file of JSON objects (DeadLettersFile, DiscardedFile) in a run folder whose "key" is
// unwanted. Of the file's first limit bytes it returns how many are left, and how many lines went from the whole of it; a file that is not there
// has none. The folder must be this process's (see Store).
func ForgetLines(dir, name string, limit int64, unwanted func(key string) bool) (left int64, lines int, err error) {
	path := filepath.Join(dir, name)
	in, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("forget lines: %w", err)
	}
	defer in.Close()
	out, err := os.Create(path + tmpSuffix)
	if err != nil {
		return 0, 0, fmt.Errorf("forget lines: %w", err)
	}
	left, lines, err = keepLines(out, in, limit, unwanted)
	err = errors.Join(err, out.Sync(), out.Close())
	if err == nil && lines > 0 {
		err = errors.Join(os.Rename(path+tmpSuffix, path), syncDir(dir))
	} else {
		err = errors.Join(err, os.Remove(path+tmpSuffix))
	}
	if err != nil {
		return 0, 0, fmt.Errorf("forget lines of %s: %w", path, err)
	}
	return left, lines, nil
}

func keepLines(to io.Writer, from io.Reader, limit int64, unwanted func(key string) bool) (left int64, lines int, err error) {
	r, w, at := bufio.NewReader(from), bufio.NewWriter(to), int64(0)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) { // half a line is none
			return left, lines, w.Flush()
		}
		if err != nil {
			return 0, 0, err
		}
		at += int64(len(line))
		var letter struct {
			Key string `json:"key"`
		}
		if json.Unmarshal(line, &letter) == nil && unwanted(letter.Key) {
			lines++
			continue
		}
		if at <= limit {
			left += int64(len(line))
		}
		if _, err := w.Write(line); err != nil {
			return 0, 0, err
		}
	}
}
