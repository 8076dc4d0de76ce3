package sink

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func sampleGeneration() generation {
	files := map[string]fileSum{stateFile: {zeroSum, 9}, modelFile: {zeroSum, 7}}
	return generation{
		Generation: 12, Parent: &parentRef{generationName(11), zeroSum}, Kind: kindCheckpoint, Owner: "host 7 <&>", Writer: "ab", Claim: 3,
		Checkpoint: &savedStep{40, objectFolder(40, 3, "00ff"), files},
		Kept:       []keptStep{{7, zeroSum, 30, objectFolder(30, 2, "0a")}},
	}
}

func TestGeneration(t *testing.T) {
	g := sampleGeneration()
	text, err := encodeGeneration(g)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseGeneration(text, 12)
	if err != nil {
		t.Fatal(err)
	}
	g.FormatVersion, g.Sum = got.FormatVersion, got.Sum
	if !reflect.DeepEqual(got, g) {
		t.Errorf("%+v, want %+v", got, g)
	}
	for at := range text {
		damaged := append([]byte(nil), text...)
		damaged[at] ^= 2
		if _, err := parseGeneration(damaged, 12); !errors.Is(err, ErrTorn) {
			t.Fatalf("damaged at %d: error %v, want ErrTorn", at, err)
		}
		if _, err := parseGeneration(text[:at], 12); !errors.Is(err, ErrTorn) {
			t.Fatalf("cut at %d: error %v, want ErrTorn", at, err)
		}
	}
	newer := strings.Replace(strings.Replace(string(text), got.Sum, zeroSum, 1), `"format_version": 1`, `"format_version": 2`, 1)
	if _, err := parseGeneration(seal([]byte(newer)), 12); !errors.Is(err, ErrNewer) {
		t.Errorf("newer format: error %v, want ErrNewer", err)
	}
}

// What has a sum that agrees may still make no sense.
func TestGenerationThatMakesNoSense(t *testing.T) {
	for what, edit := range map[string]func(*generation){
		"another number":       func(g *generation) { g.Generation = 13 },
		"claim of the future":  func(g *generation) { g.Claim = 13 },
		"no claim":             func(g *generation) { g.Claim = 0 },
		"unknown kind":         func(g *generation) { g.Kind = "x" },
		"claim that saves":     func(g *generation) { g.Kind = kindClaim },
		"saves nothing":        func(g *generation) { g.Checkpoint = nil },
		"folder elsewhere":     func(g *generation) { g.Checkpoint.Folder = "../" + g.Checkpoint.Folder },
		"folder of other step": func(g *generation) { g.Checkpoint.Step = 41 },
		"no state":             func(g *generation) { delete(g.Checkpoint.Files, stateFile) },
		"file elsewhere":       func(g *generation) { g.Checkpoint.Files["../x"] = fileSum{} },
		"negative size":        func(g *generation) { g.Checkpoint.Files["x"] = fileSum{Bytes: -1} },
		"kept of the future":   func(g *generation) { g.Kept[0].Generation = 12 },
		"kept elsewhere":       func(g *generation) { g.Kept[0].Folder = "/step-000000030" },
	} {
		g := sampleGeneration()
		edit(&g)
		text, err := encodeGeneration(g)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseGeneration(text, 12); !errors.Is(err, ErrTorn) {
			t.Errorf("%s: error %v, want ErrTorn", what, err)
		}
	}
}

func TestObjectNames(t *testing.T) {
	for _, name := range []string{
		"generations/000000000000.json", "generations/12.json", "generations/000000000012.json.tmp", "generations/-00000000012.json",
		"000000000012.json", "generations/000000000012",
	} {
		if n, ok := parseGenerationName(name); ok {
			t.Errorf("%s is taken for generation %d", name, n)
		}
	}
	if n, ok := parseGenerationName(generationName(1_234_567_890_123)); !ok || n != 1_234_567_890_123 {
		t.Errorf("a number of 13 digits is read as %d, %v", n, ok)
	}
	for _, name := range []string{
		"step-000000001", "step-000000001-000000000002-", "step-000000001-000000000000-ab", "step-1-000000000002-ab",
		"step-000000001-000000000002-a/b", "step-000000001-000000000002-ab-c", "step-000000001-2-ab",
	} {
		if _, _, ok := parseObjectFolder(name); ok {
			t.Errorf("%s is taken for a folder", name)
		}
	}
}

func FuzzGeneration(f *testing.F) {
	text, err := encodeGeneration(sampleGeneration())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text, int64(12))
	f.Add(text[:len(text)/2], int64(12))
	f.Add(seal([]byte(`{"format_version":1,"generation_sha256":"`+zeroSum+`","generation":1,"claim":1,"kind":"claim"}`)), int64(1))
	f.Add(seal([]byte(`{"format_version":9,"generation_sha256":"`+zeroSum+`"}`)), int64(1))
	f.Add([]byte(`{"generation_sha256":""}`), int64(0))
	f.Fuzz(func(t *testing.T, text []byte, n int64) {
		g, err := parseGeneration(text, n)
		if err != nil {
			if !errors.Is(err, ErrTorn) && !errors.Is(err, ErrNewer) {
				t.Fatalf("error %v", err)
			}
			return
		}
		again, err := encodeGeneration(g)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseGeneration(again, n); err != nil {
			t.Fatalf("written again: %v", err)
		}
	})
}

func FuzzLeader(f *testing.F) {
	f.Add([]byte(`{"owner":"a","writer":"b","claim":3,"beat":4,"released":true}`))
	f.Add([]byte(`{"claim":-1}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if l, ok := parseLeader(text); ok && (l.Claim < 1 || l.Writer == "") {
			t.Fatalf("taken for a sign of life: %+v", l)
		}
	})
}
