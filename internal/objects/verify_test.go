package objects_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"

	"mocostream/internal/objects"
	"mocostream/internal/s3server"
)

// A bit that flips on the way is found by the checksum, or by the ETag where the server keeps none: also when the read was
// taken up in between. The last bytes are then not handed out.
func TestFlippedBit(t *testing.T) {
	for name, server := range map[string]s3server.Options{"CRC32": {}, "ETag": {NoChecksums: true}} {
		t.Run(name, func(t *testing.T) {
			s, c, f := start(t, server, objects.Options{})
			data := noise(100_000)
			s.Put(bucket, "o", data)
			o := stat(t, c, "o")
			for _, answers := range [][]s3server.Fault{
				{{Flip: true, At: 77_777}},
				{{SwapHalves: true}},
				{{Truncate: true, At: 60_000}, {Flip: true, At: 7}},
				{{Truncate: true, At: 60_000, Flip: true}}, // the byte after the cut: harmless
			} {
				harmless := len(answers) == 1 && answers[0].Truncate
				f.set(oneByOne(answers))
				got, err := readFrom(t.Context(), c, o, 0)
				if whole := err == nil && bytes.Equal(got, data); whole != harmless ||
					(!harmless && (!errors.Is(err, objects.ErrCorrupt) || len(got) == len(data))) {
					t.Errorf("%+v: %d bytes, %v", answers, len(got), err)
				}
				f.set(oneByOne(answers))
				if got, err := c.ReadAll(t.Context(), bucket, o); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%+v: ReadAll: %d bytes, %v", answers, len(got), err)
				}
			}
			f.set(always(http.MethodGet, s3server.Fault{Flip: true}))
			before := s.Requests()
			if _, err := c.ReadAll(t.Context(), bucket, o); !errors.Is(err, objects.ErrCorrupt) {
				t.Errorf("always flipped: %v", err)
			}
			if tries := s.Requests() - before; tries != 4 {
				t.Errorf("gave up after %d tries", tries)
			}
		})
	}
}

// oneByOne has the next requests go wrong in turn.
func oneByOne(answers []s3server.Fault) func(*http.Request) *s3server.Fault {
	n := -1
	return func(*http.Request) *s3server.Fault {
		if n++; n < len(answers) {
			return &answers[n]
		}
		return nil
	}
}

// A caller that reads exactly the object's size, and never asks for the end, learns of corruption too.
func TestFlippedBitWithoutReadingTheEnd(t *testing.T) {
	s, c, f := start(t, s3server.Options{}, objects.Options{})
	s.Put(bucket, "o", noise(1000))
	o := stat(t, c, "o")
	f.set(always(http.MethodGet, s3server.Fault{Flip: true, At: 999}))
	r, err := c.Get(t.Context(), bucket, o, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 1000)); !errors.Is(err, objects.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

// Where ETags look like MD5 sums and are none, reads fail until told so; what came in parts cannot be compared.
func TestETagsThatAreNoMD5(t *testing.T) {
	s, c, f := start(t, s3server.Options{NoChecksums: true}, objects.Options{})
	s.Put(bucket, "o", noise(1000))
	o := stat(t, c, "o")
	f.set(always(http.MethodGet, s3server.Fault{Flip: true})) // the content is constant, and never the ETag's
	if _, err := readFrom(t.Context(), c, o, 0); !errors.Is(err, objects.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
	url := "http://" + requestHost(t, f, c)
	lenient := open(t, objects.Options{Endpoint: url, IgnoreETag: true})
	f.set(always(http.MethodGet, s3server.Fault{Flip: true}))
	if got, err := readFrom(t.Context(), lenient, o, 0); err != nil || len(got) != 1000 {
		t.Errorf("IgnoreETag: %d bytes, %v", len(got), err)
	}
	f.set(nil)
	c.SendInParts(5000)
	data := noise(12_000)
	if _, err := c.Put(t.Context(), bucket, "parts", bytes.NewReader(data), objects.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, err := c.ReadAll(t.Context(), bucket, stat(t, c, "parts")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("parts: %d bytes, %v", len(got), err)
	}
}

// requestHost returns the address of the server of a client.
func requestHost(t *testing.T, f *faults, c *objects.Client) string {
	t.Helper()
	host := ""
	f.set(func(r *http.Request) *s3server.Fault { host = r.Host; return nil })
	stat(t, c, "present")
	return host
}
