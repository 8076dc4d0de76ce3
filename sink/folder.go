package sink

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mocostream/internal/safetensors"
	"mocostream/train"

	"golang.org/x/sys/unix"
)

func stepName(step int64) string { return fmt.Sprintf("step-%09d", step) }

// parseStep returns the step that a folder's name stands for.
func parseStep(name string) (int64, bool) {
	digits, ok := strings.CutPrefix(name, "step-")
	if !ok {
		return 0, false
	}
	step, err := strconv.ParseInt(digits, 10, 64)
	return step, err == nil && step >= 0 && stepName(step) == name
}

// listSteps returns the steps that have a folder in dir, newest first.
func listSteps(dir string) ([]int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var steps []int64
	for _, e := range entries {
		if step, ok := parseStep(e.Name()); ok {
			steps = append(steps, step)
		}
	}
	slices.SortFunc(steps, func(a, b int64) int { return cmp.Compare(b, a) })
	return steps, nil
}

// Read returns the checkpoint in a step folder after checking every byte of it against its sums. An incomplete or
// damaged one gives an error that wraps ErrTorn and names the file, a newer format one that wraps ErrNewer.
func Read(stepDir string) (*train.Checkpoint, error) {
	s, err := verify(stepDir)
	if err != nil {
		return nil, fmt.Errorf("read checkpoint %s: %w", stepDir, err)
	}
	c := &train.Checkpoint{
		Step: s.Step, Samples: s.Samples, Token: s.Token, Seed: s.Seed, Encoder: s.Encoder,
		Config: s.Config, Versions: s.Versions, Extra: s.Extra,
		Open: func(name string) (io.ReadCloser, error) { return openFile(stepDir, s, name) },
	}
	if c.Model, err = readTensors(stepDir, modelFile); err != nil {
		return nil, fmt.Errorf("read checkpoint %s: %w", stepDir, err)
	}
	if c.Optimizer, err = readTensors(stepDir, optimizerFile); err != nil {
		return nil, fmt.Errorf("read checkpoint %s: %w", stepDir, err)
	}
	return c, nil
}

// openFile opens one of the files that state.json lists.
func openFile(stepDir string, s state, name string) (io.ReadCloser, error) {
	if _, ok := s.Files[name]; !ok {
		return nil, fmt.Errorf("open %s of checkpoint %s: %w", name, stepDir, fs.ErrNotExist)
	}
	return os.Open(filepath.Join(stepDir, name))
}

func readTensors(dir, name string) ([]safetensors.Tensor, error) {
	tensors, _, err := safetensors.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, safetensors.ErrFormat) {
		return nil, fmt.Errorf("%w: %w", ErrTorn, err)
	}
	return tensors, err
}

// verify checks all files of a step folder against state.json, in constant memory.
func verify(dir string) (state, error) { return verifyBut(dir, nil) }

// verifyBut is verify without reading those files, whose length alone is looked at.
func verifyBut(dir string, trusted map[string]train.LinkedFile) (state, error) {
	s, err := readState(filepath.Join(dir, stateFile))
	if err != nil {
		return state{}, fmt.Errorf("%s: %w", stateFile, err)
	}
	for name, want := range s.Files {
		got, err := want, error(nil)
		if _, ok := trusted[name]; ok {
			got.Bytes, err = sizeOf(filepath.Join(dir, name))
		} else {
			got, err = sumFile(filepath.Join(dir, name))
		}
		if err != nil {
			return state{}, fmt.Errorf("%s: %w", name, torn(err))
		}
		if got.Bytes != want.Bytes {
			return state{}, fmt.Errorf("%s: %w: it has %d bytes, state.json says %d", name, ErrTorn, got.Bytes, want.Bytes)
		}
		if got != want {
			return state{}, fmt.Errorf("%s: %w: its SHA-256 is not the one in state.json", name, ErrTorn)
		}
	}
	return s, nil
}

func readState(path string) (state, error) {
	f, err := os.Open(path)
	if err != nil {
		return state{}, torn(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err != nil {
		return state{}, torn(err)
	}
	if len(data) > maxState {
		return state{}, fmt.Errorf("%w: larger than %d bytes", ErrTorn, maxState)
	}
	return parseState(data)
}

func sizeOf(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func sumFile(path string) (fileSum, error) {
	f, err := os.Open(path)
	if err != nil {
		return fileSum{}, err
	}
	defer f.Close()
	return sumReader(f)
}

func sumReader(r io.Reader) (fileSum, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return fileSum{SHA256: hex.EncodeToString(h.Sum(nil)), Bytes: n}, err
}

// torn marks what says that a checkpoint is damaged: a file that is gone or that the disk cannot give back. Anything
// else (no permission, too many open files) says nothing about it, and passing over it would lose good steps.
func torn(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EIO) || errors.Is(err, unix.EISDIR) {
		return fmt.Errorf("%w: %w", ErrTorn, err)
	}
	return err
}
