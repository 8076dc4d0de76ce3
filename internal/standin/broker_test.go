package standin_test

import (
	"fmt"
	"slices"
	"testing"

	"mocostream/internal/standin"
)

// A second broker in the same folder goes on with the same offsets.
func TestBrokerKeepsItsLog(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		b, err := standin.StartBroker(dir, "images", 2)
		if err != nil {
			t.Fatal(err)
		}
		ends, err := b.Ends(t.Context())
		if want := []int64{int64(3 * round), int64(round)}; err != nil || !slices.Equal(ends, want) {
			t.Fatalf("round %d begins with %v, %v; want %v", round, ends, err, want)
		}
		var three []standin.Message
		for i := range 3 {
			three = append(three, standin.Message{Key: fmt.Append(nil, i), Value: []byte("image"), Headers: map[string]string{"label": "1"}})
		}
		if err := b.Produce(t.Context(), 0, three); err != nil {
			t.Fatal(err)
		}
		if err := b.Produce(t.Context(), 1, three[:1]); err != nil {
			t.Fatal(err)
		}
		b.Close()
	}
}
