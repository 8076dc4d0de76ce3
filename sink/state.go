package sink

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"

	"mocostream/loader"
	"mocostream/train"
)

// Names of the files in a step folder.
const (
	modelFile     = "model.safetensors"
	optimizerFile = "optimizer.safetensors"
	stateFile     = "state.json"
)

// formatVersion is raised when an older program could no longer read a checkpoint rightly.
const formatVersion = 1

// maxState bounds what is read as state.json, in bytes.
const maxState = 64 << 20

// ErrTorn is wrapped by errors about a checkpoint that is incomplete or not what was written.
var ErrTorn = errors.New("torn or corrupted")

// ErrNewer is wrapped by errors about a whole checkpoint that a newer program wrote.
var ErrNewer = errors.New("written by a newer mocostream")

// state is state.json.
type state struct {
	FormatVersion int `json:"format_version"`
	// Sum is the SHA-256 of the file with these 64 digits replaced by zeros. Every format version keeps this rule, so
	// that a newer format can be told from a damaged file.
	Sum      string                     `json:"state_sha256"`
	Step     int64                      `json:"step"`
	Samples  int64                      `json:"samples"`
	Seed     uint64                     `json:"seed"`
	Encoder  train.EncoderOptions       `json:"encoder"`
	Token    loader.Token               `json:"token"`
	Config   map[string]string          `json:"config"`
	Versions map[string]string          `json:"versions"`
	Extra    map[string]json.RawMessage `json:"extra"`
	Files    map[string]fileSum         `json:"files"`
}

type fileSum struct {
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

var zeroSum = strings.Repeat("0", sha256.Size*2)

// encodeState renders s; equal states give equal bytes.
func encodeState(s state) ([]byte, error) {
	s.FormatVersion, s.Sum = formatVersion, zeroSum
	s.Config, s.Versions, s.Extra = present(s.Config), present(s.Versions), present(s.Extra)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(s); err != nil {
		return nil, fmt.Errorf("encode %s: %w", stateFile, err)
	}
	return seal(b.Bytes()), nil
}

// seal puts the SHA-256 of text, in which the sum's own place holds zeros, into that place.
func seal(text []byte) []byte {
	return bytes.Replace(text, []byte(zeroSum), []byte(hexSum(text)), 1)
}

// sealed says whether sum, as data holds it, is what seal put there.
func sealed(data []byte, sum string) bool {
	return len(sum) == len(zeroSum) && hexSum(bytes.Replace(data, []byte(sum), []byte(zeroSum), 1)) == sum
}

// present turns nil into an empty map: the two mean the same and must give the same bytes.
func present[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

// parseState reads state.json and checks it against its own sum. Its errors wrap ErrTorn or ErrNewer.
func parseState(data []byte) (state, error) {
	var head struct {
		FormatVersion int    `json:"format_version"`
		Sum           string `json:"state_sha256"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return state{}, fmt.Errorf("%w: %w", ErrTorn, err)
	}
	if !sealed(data, head.Sum) {
		return state{}, fmt.Errorf("%w: the sum in state_sha256 is not that of the file", ErrTorn)
	}
	if head.FormatVersion > formatVersion {
		return state{}, fmt.Errorf("%w: format_version %d, this one reads up to %d; use the newer one",
			ErrNewer, head.FormatVersion, formatVersion)
	}
	return decodeState(data)
}

func decodeState(data []byte) (state, error) {
	var s state
	if err := json.Unmarshal(data, &s); err != nil {
		return state{}, fmt.Errorf("%w: %w", ErrTorn, err)
	}
	if err := s.check(); err != nil {
		return state{}, fmt.Errorf("%w: %w", ErrTorn, err)
	}
	for name, raw := range s.Extra { // written indented
		var b bytes.Buffer
		if err := json.Compact(&b, raw); err != nil {
			return state{}, fmt.Errorf("%w: extra %s: %w", ErrTorn, name, err)
		}
		s.Extra[name] = b.Bytes()
	}
	return s, nil
}

func (s *state) check() error {
	if s.FormatVersion < 1 || s.Step < 0 || s.Samples < 0 {
		return fmt.Errorf("format_version %d, step %d, samples %d", s.FormatVersion, s.Step, s.Samples)
	}
	for _, name := range []string{modelFile, optimizerFile} {
		if _, ok := s.Files[name]; !ok {
			return fmt.Errorf("files does not list %s", name)
		}
	}
	for name := range maps.Keys(s.Files) {
		if name != filepath.Base(name) || !filepath.IsLocal(name) || name == "." {
			return fmt.Errorf("files lists %q, which is not a plain name", name)
		}
	}
	return nil
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
