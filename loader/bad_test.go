package loader

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"
)

// first returns where the rule stops, or -1.
func first(t *testing.T, r BadRule, token *Token, from uint64, bad []bool) int {
	t.Helper()
	for i, b := range bad {
		err := r.Note(token, from+uint64(i), b)
		var many *TooManyBadError
		if errors.As(err, &many) {
			return i
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return -1
}

// every returns n samples of which those at i%step == 0 are bad.
func every(step, n int) []bool {
	all := make([]bool, n)
	for i := range all {
		all[i] = step > 0 && i%step == 0
	}
	return all
}

func TestBadRule(t *testing.T) {
	tests := map[string]struct {
		rule BadRule
		bad  []bool
		want int
	}{
		"off":                         {BadRule{}, every(1, 500), -1},
		"all good":                    {BadRule{MaxFraction: 0, Window: 100}, every(0, 500), -1},
		"none accepted":               {BadRule{MaxFraction: 0, Window: 100}, every(1, 500), 0},
		"all but one accepted":        {BadRule{MaxFraction: 1, Window: 100}, append(every(1, 99), false), -1},
		"a window without a good one": {BadRule{MaxFraction: 1, Window: 100}, every(1, 500), 99},
		"exactly the limit":           {BadRule{MaxFraction: 0.25, Window: 1000}, append(every(0, 3), every(4, 5000)...), -1},
		"over it, seen at 100":        {BadRule{MaxFraction: 0.1, Window: 1000}, every(5, 5000), 99},
		"as many as a window accepts": {BadRule{MaxFraction: 0.01, Window: 1000}, every(1, 5000), 10},
		"short window":                {BadRule{MaxFraction: 0.25, Window: 4}, every(2, 50), 2},
		"later":                       {BadRule{MaxFraction: 0.5, Window: 10}, append(every(0, 300), every(1, 50)...), 305},
		"bad ones leave the window":   {BadRule{MaxFraction: 0.2, Window: 10}, every(5, 500), -1},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			if got := first(t, c.rule, &Token{}, 0, c.bad); got != c.want {
				t.Errorf("stops at %d, want %d", got, c.want)
			}
		})
	}
}

func TestBadRuleGoesOnAfterResume(t *testing.T) {
	rule := BadRule{MaxFraction: 0.12, Window: 200}
	rng := rand.New(rand.NewPCG(1, 2))
	bad := make([]bool, 3000)
	for i := range bad {
		bad[i] = rng.Float64() < 0.09
	}
	want := first(t, rule, &Token{}, 0, bad)
	if want < 300 {
		t.Fatalf("stops at %d: too early to test anything", want)
	}
	for cut := 0; cut < want; cut += 7 {
		token := &Token{}
		first(t, rule, token, 0, bad[:cut])
		resumed := token.Clone()
		if got := first(t, rule, &resumed, uint64(cut), bad[cut:]); got != want-cut {
			t.Fatalf("resumed after %d samples it stops at %d, not %d", cut, cut+got, want)
		}
	}
}

func TestBadRuleKeepsTheWindowAlone(t *testing.T) {
	token := &Token{}
	first(t, BadRule{MaxFraction: 1, Window: 10}, token, 0, every(3, 100))
	if want := []uint64{90, 93, 96, 99}; !slices.Equal(token.Bad, want) {
		t.Errorf("the token holds %v, want %v", token.Bad, want)
	}
}

func TestTooManyBadErrorSaysWhatToDo(t *testing.T) {
	err := (&TooManyBadError{Bad: 12, Seen: 100, MaxFraction: 0.1}).Error()
	for _, want := range []string{"12 of the last 100", "loader.max_bad_fraction = 0.1", "dead letters"} {
		if !strings.Contains(err, want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestDeadLetter(t *testing.T) {
	row := ingesttest.Generate(3, 1, 5)[0]
	row.Source, row.Image = "hash", []byte("abc")
	rec := ingesttest.Record(nil, row)
	s := Sample{Record: rec, Position: 9}
	d := NewDeadLetter(&s, "truncated", "ends early", true)
	bare := NewDeadLetter(&s, "truncated", "ends early", false)
	copy(s.Image(), "xyz")
	rec.Release()
	if d.ID != (ingest.ID{Source: "hash", Partition: 3}) || d.Key != "3/0.jpg" || d.Position != 9 || d.Bytes != 3 ||
		d.SHA256 != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" || string(d.Image) != "abc" {
		t.Errorf("got %+v", d)
	}
	if bare.Image != nil || bare.SHA256 != d.SHA256 {
		t.Errorf("without its image: %+v", bare)
	}
}
