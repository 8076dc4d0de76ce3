package sink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// What a generation is: a process takes the prefix over, or it has saved a checkpoint.
const (
	kindClaim      = "claim"
	kindCheckpoint = "checkpoint"
)

const generationsFolder = "generations/"

// generation is one manifest, PREFIX/generations/%012d.json. Each is written once, under the number after that of its
// parent, so of two writers that go on from the same one only the first succeeds.
type generation struct {
	FormatVersion int    `json:"format_version"`
	Sum           string `json:"generation_sha256"` // of the file with these digits replaced by zeros
	Generation    int64  `json:"generation"`
	// Parent is the generation before; nil for the first.
	Parent *parentRef `json:"parent"`
	Kind   string     `json:"kind"`
	Owner  string     `json:"owner"`  // for people
	Writer string     `json:"writer"` // random, one for each opening: no two write the same bytes
	Claim  int64      `json:"claim"`  // generation by which the writer took the prefix over
	// Checkpoint is what this generation saved; nil for a claim.
	Checkpoint *savedStep `json:"checkpoint"`
	// Kept are the older checkpoints that are still there, newest first. What no longer stands here may be deleted.
	Kept []keptStep `json:"kept"`
}

type parentRef struct {
	Name string `json:"name"`
	Sum  string `json:"sha256"` // of the file as it lies there
}

type savedStep struct {
	Step   int64              `json:"step"`
	Folder string             `json:"folder"`
	Files  map[string]fileSum `json:"files"` // state.json among them
}

// keptStep points at the generation that saved a step.
type keptStep struct {
	Generation int64  `json:"generation"`
	Sum        string `json:"sha256"`
	Step       int64  `json:"step"`
	Folder     string `json:"folder"`
}

func generationName(n int64) string { return fmt.Sprintf("%s%012d.json", generationsFolder, n) }

// parseGenerationName returns the number that an object's name stands for.
func parseGenerationName(name string) (int64, bool) {
	digits, ok := strings.CutPrefix(name, generationsFolder)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(digits, ".json"), 10, 64)
	return n, err == nil && n > 0 && generationName(n) == name
}

// objectFolder names the folder of a checkpoint's objects: its step, the claim of its writer and a random part, so that
// no two saves ever write the same object.
func objectFolder(step, claim int64, random string) string {
	return fmt.Sprintf("%s-%012d-%s", stepName(step), claim, random)
}

// parseObjectFolder returns step and claim of a folder.
func parseObjectFolder(name string) (step, claim int64, ok bool) {
	parts := strings.Split(name, "-")
	if len(parts) != 4 {
		return 0, 0, false
	}
	step, ok = parseStep(parts[0] + "-" + parts[1])
	claim, err := strconv.ParseInt(parts[2], 10, 64)
	ok = ok && err == nil && claim > 0 && parts[3] != "" && filepath.IsLocal(name) && filepath.Base(name) == name
	return step, claim, ok && objectFolder(step, claim, parts[3]) == name
}

func encodeGeneration(g generation) ([]byte, error) {
	g.FormatVersion, g.Sum = formatVersion, zeroSum
	if g.Kept == nil {
		g.Kept = []keptStep{}
	}
	text, err := json.MarshalIndent(g, "", " ")
	if err != nil {
		return nil, fmt.Errorf("encode generation: %w", err)
	}
	return seal(append(text, '\n')), nil
}

// parseGeneration reads the manifest of generation n. Its errors wrap ErrTorn or ErrNewer.
func parseGeneration(data []byte, n int64) (generation, error) {
	var head struct {
		FormatVersion int    `json:"format_version"`
		Sum           string `json:"generation_sha256"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return generation{}, fmt.Errorf("%w: %w", ErrTorn, err)
	}
	if !sealed(data, head.Sum) {
		return generation{}, fmt.Errorf("%w: the sum in generation_sha256 is not that of the file", ErrTorn)
	}
	if head.FormatVersion > formatVersion {
		return generation{}, fmt.Errorf("%w: format_version %d, this one reads up to %d; use the newer one",
			ErrNewer, head.FormatVersion, formatVersion)
	}
	var g generation
	err := json.NewDecoder(bytes.NewReader(data)).Decode(&g)
	if err == nil {
		err = g.check(n)
	}
	if err != nil {
		return generation{}, fmt.Errorf("%w: %w", ErrTorn, err)
	}
	return g, nil
}

func (g *generation) check(n int64) error {
	if g.FormatVersion < 1 || g.Generation != n || g.Claim < 1 || g.Claim > n {
		return fmt.Errorf("format_version %d, generation %d in the place of %d, claim %d", g.FormatVersion, g.Generation, n, g.Claim)
	}
	if (g.Kind == kindCheckpoint) != (g.Checkpoint != nil) || (g.Kind == kindClaim) != (g.Checkpoint == nil) {
		return fmt.Errorf("kind %q with checkpoint %v", g.Kind, g.Checkpoint != nil)
	}
	if g.Checkpoint != nil {
		if err := g.Checkpoint.check(); err != nil {
			return err
		}
	}
	for _, k := range g.Kept {
		step, _, ok := parseObjectFolder(k.Folder)
		if !ok || step != k.Step || k.Generation < 1 || k.Generation >= n {
			return fmt.Errorf("kept names generation %d, step %d, folder %q", k.Generation, k.Step, k.Folder)
		}
	}
	return nil
}

func (s *savedStep) check() error {
	if step, _, ok := parseObjectFolder(s.Folder); !ok || step != s.Step {
		return fmt.Errorf("checkpoint of step %d in folder %q", s.Step, s.Folder)
	}
	if _, ok := s.Files[stateFile]; !ok {
		return fmt.Errorf("files does not list %s", stateFile)
	}
	for name, sum := range s.Files {
		if name != filepath.Base(name) || !filepath.IsLocal(name) || name == "." {
			return fmt.Errorf("files lists %q, which is not a plain name", name)
		}
		if sum.Bytes < 0 {
			return errors.New("files lists a negative size")
		}
	}
	return nil
}

// checkpoints returns all that the generation, whose file has the given sum, still names, newest first.
func (g *generation) checkpoints(sum string) []keptStep {
	if g.Checkpoint == nil {
		return g.Kept
	}
	own := keptStep{g.Generation, sum, g.Checkpoint.Step, g.Checkpoint.Folder}
	return append([]keptStep{own}, g.Kept...)
}
