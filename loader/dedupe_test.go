package loader

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"
)

// repeats is a stream of n samples with few different keys, some of one message.
func repeats(n, keys int) []ingesttest.Sample {
	rng := rand.New(rand.NewPCG(1, 2))
	var all []ingesttest.Sample
	for i := range n {
		s := ingesttest.Generate(0, 1, 8)[0]
		s.ID = ingest.ID{Source: "t", Offset: int64(i / 2), Item: int32(i % 2)}
		s.Items, s.Key = 2, fmt.Sprint(rng.IntN(keys))
		s.Image = []byte("image " + s.Key)
		all = append(all, s)
	}
	return all
}

// admitted is the plain algorithm: a key is new if none of the last size admitted samples has it.
func admitted(all []ingesttest.Sample, size int) (kept []ingesttest.Sample) {
	for _, s := range all {
		seen := false
		for _, k := range kept[max(0, len(kept)-size):] {
			seen = seen || k.Key == s.Key
		}
		if !seen {
			kept = append(kept, s)
		}
	}
	return kept
}

func window(t *testing.T, by string, size int) *Window {
	t.Helper()
	w, err := NewWindow(by, size)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestDedupe(t *testing.T) {
	all := repeats(400, 30)
	for _, by := range []string{DedupeKey, DedupeSHA256} {
		for _, size := range []int{1, 5, 20, 1000} {
			want := admitted(all, size)
			src := ingesttest.NewFakeStream(all...)
			src.Mem = checked(t)
			got, token, err := consume(t, NewStream(src, Options{Window: window(t, by, size)}).Run, Token{}, len(want))
			if err != nil && err.Error() != "context canceled" {
				t.Fatal(err)
			}
			for i, s := range want {
				if got[i].id != s.ID {
					t.Fatalf("%s, window %d: sample %d is %v, want %v", by, size, i, got[i].id, s.ID)
				}
			}
			for _, s := range all { // dropped ones before the last kept one are consumed too
				if last := want[len(want)-1].ID; (s.Offset < last.Offset || s.ID == last) && !token.Progress.Contains(s.ID) {
					t.Fatalf("%s, window %d: %v is not consumed", by, size, s.ID)
				}
			}
		}
	}
}

// A run that goes on from a checkpoint at any place passes over the same samples.
func TestDedupeResumes(t *testing.T) {
	all := repeats(300, 25)
	const size = 12
	want := admitted(all, size)
	src := ingesttest.NewFakeStream(all...)
	src.Mem = checked(t)
	for cut := 1; cut < len(want); cut += 7 {
		w := window(t, DedupeKey, size)
		_, token, _ := consume(t, NewStream(src, Options{Window: w}).Run, Token{}, cut)
		w.Settle(token.Position)
		var saved bytes.Buffer
		if n, err := w.At(token.Position).WriteTo(&saved); err != nil || n != int64(saved.Len()) {
			t.Fatalf("wrote %d of %d bytes, %v", n, saved.Len(), err)
		}
		again := window(t, DedupeKey, size)
		if err := again.Restore(&saved); err != nil {
			t.Fatal(err)
		}
		got, _, _ := consume(t, NewStream(src, Options{Window: again, Start: token}).Run, token, len(want)-cut)
		for i, s := range want[cut:] {
			if got[i].id != s.ID {
				t.Fatalf("cut at %d: sample %d is %v, want %v", cut, i, got[i].id, s.ID)
			}
		}
	}
}

// However long the stream, the window holds no more than twice its size and what is in flight.
func TestDedupeIsBounded(t *testing.T) {
	w := window(t, DedupeKey, 100)
	for position := range uint64(20_000) {
		w.prints = append(w.prints, fingerprint{byte(position), byte(position >> 8), 1})
		w.last[w.prints[len(w.prints)-1]] = position
		if position > 50 {
			w.Settle(position - 50)
		}
		if len(w.prints) > 2*(100+50)+2 || len(w.last) > 2*(100+50)+2 {
			t.Fatalf("at %d it holds %d prints, %d places", position, len(w.prints), len(w.last))
		}
	}
}

func TestDedupeDamaged(t *testing.T) {
	for _, text := range []string{"", "short", windowMagic, windowMagic + strings.Repeat("\xff", 16) + "few"} {
		if err := window(t, DedupeKey, 5).Restore(strings.NewReader(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	if _, err := NewWindow("colour", 5); err == nil || !strings.Contains(err.Error(), "sha256") {
		t.Errorf("unknown way: %v", err)
	}
}
