package loader

import (
	"io"
	"testing"

	"mocostream/ingest"
)

// The first source is read for its epochs, then the second; a resume at any place goes on in the right one.
func TestSequence(t *testing.T) {
	first := fake(t, 5, 7)
	second := stream(t, io.EOF)
	whole, end, err := consume(t, NewSequence(first, second, Options{Epochs: 2}).Run, Token{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	bounded, messages := 2*12, second.Samples()
	if len(whole) != bounded+len(messages) {
		t.Fatalf("%d samples, want %d and %d", len(whole), bounded, len(messages))
	}
	for i, s := range messages {
		if g := whole[bounded+i]; g.id != s.ID || g.position != uint64(bounded+i) || g.after != (ingest.Position{}) {
			t.Fatalf("sample %d of the second is %+v, want %v", i, g, s)
		}
	}
	if b := end.Progress.Bounded; b == nil || b.Epoch != 2 || len(end.Progress.Streams) == 0 {
		t.Errorf("progress is %+v", end.Progress)
	}
	for cut := 1; cut < len(whole); cut += 5 {
		_, token, _ := consume(t, NewSequence(first, second, Options{Epochs: 2}).Run, Token{}, cut)
		rest, _, err := consume(t, NewSequence(first, second, Options{Epochs: 2, Start: token}).Run, token, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(rest) != len(whole)-cut {
			t.Fatalf("cut at %d: %d samples are left, want %d", cut, len(rest), len(whole)-cut)
		}
		for i, g := range rest {
			if g.id != whole[cut+i].id || g.position != whole[cut+i].position {
				t.Fatalf("cut at %d: sample %d is %+v, want %+v", cut, i, g, whole[cut+i])
			}
		}
	}
}
