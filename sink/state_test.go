package sink

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"mocostream/train"
)

func encoded(t testing.TB) []byte {
	t.Helper()
	c := &train.Checkpoint{Step: 3, Samples: 24, Seed: 1<<64 - 1}
	sum := fileSum{SHA256: zeroSum, Bytes: 8}
	b, err := encodeState(state{Step: c.Step, Samples: c.Samples, Seed: c.Seed,
		Files: map[string]fileSum{modelFile: sum, optimizerFile: sum}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStateRoundTrip(t *testing.T) {
	b := encoded(t)
	s, err := parseState(b)
	if err != nil {
		t.Fatal(err)
	}
	if s.Step != 3 || s.Samples != 24 || s.Seed != 1<<64-1 {
		t.Errorf("read %+v", s)
	}
	again, err := encodeState(s)
	if err != nil || !bytes.Equal(again, b) {
		t.Errorf("encoded again: %s, %v", again, err)
	}
}

func TestStateRefuses(t *testing.T) {
	whole := string(encoded(t))
	for _, c := range [][2]string{
		{`"step": 3`, `"step": -3`},
		{`"format_version": 1`, `"format_version": 0`},
		{modelFile, "model.bin"},
		{optimizerFile + `": {`, optimizerFile + `": {}, "../x": {`},
		{optimizerFile + `": {`, optimizerFile + `": {}, "": {`},
		{`"config": {}`, `"config": []`},
	} {
		changed := strings.Replace(whole, c[0], c[1], 1)
		if changed == whole {
			t.Fatalf("%q is not in %s", c[0], whole)
		}
		if _, err := parseState([]byte(changed)); !errors.Is(err, ErrTorn) {
			t.Errorf("%s without its sum: error %v", c[1], err)
		}
		if _, err := parseState(resum([]byte(changed))); !errors.Is(err, ErrTorn) {
			t.Errorf("%s with its sum: error %v", c[1], err)
		}
	}
}

// FuzzState: no input panics, and what is accepted is the same state when written and read again.
func FuzzState(f *testing.F) {
	f.Add(encoded(f))
	f.Add([]byte(`{"format_version":1,"step":1,"extra":{"a":[1, {"b":null}]},"files":{"model.safetensors":{},"optimizer.safetensors":{}}}`))
	f.Add([]byte(`{"format_version":9,"state_sha256":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := parseState(data); err != nil && !errors.Is(err, ErrTorn) && !errors.Is(err, ErrNewer) {
			t.Fatalf("error %v says neither torn nor newer", err)
		}
		s, err := decodeState(data)
		if err != nil {
			return
		}
		once, err := encodeState(s)
		if err != nil {
			t.Fatal(err)
		}
		s, err = parseState(once)
		if err != nil {
			t.Fatalf("%v: %s", err, once)
		}
		if twice, err := encodeState(s); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%s became %s, %v", once, twice, err)
		}
	})
}
