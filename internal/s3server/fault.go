package s3server

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"time"
)

// Fault is how one request goes wrong. Its fields combine; bytes are those of the answer's body.
type Fault struct {
	Status int    // answers with this error, 0 none
	Code   string // S3's error code that goes with Status
	Text   string // message that goes with Code
	Reset  bool   // cuts the connection without an answer
	After  bool   // Status and Reset come after the request took effect: its answer is lost

	Delay      time.Duration // before the answer begins
	Truncate   bool          // cuts the connection after At bytes
	Flip       bool          // turns one bit of the byte at At, taken modulo the length
	Stall      bool          // stops sending after At bytes, until the client goes
	Short      bool          // leaves out the last byte, and says so in Content-Length
	SwapHalves bool          // sends the second half first
	Chunk      int           // sends so many bytes at a time, with Delay between them; 0 is all at once
	At         int64
}

func (f *Fault) keepsOut() bool { return !f.After && (f.Status != 0 || f.Reset) }

func (f *Fault) answer() *response {
	if f.Status == 0 {
		return &response{}
	}
	return failed(f.Status, f.Code, f.Text)
}

// send writes an answer, or what the fault makes of it. What was stored is never changed.
func (f *Fault) send(w http.ResponseWriter, r *http.Request, a *response) {
	if f.After && f.Status != 0 {
		a = f.answer()
	}
	if !pause(r.Context(), f.Delay) {
		return
	}
	if f.Reset {
		panic(http.ErrAbortHandler)
	}
	body := f.damage(a.body)
	header := w.Header()
	for name, values := range a.header {
		header[name] = values
	}
	header.Set("X-Amz-Request-Id", requestID())
	length := int64(len(body))
	if r.Method == http.MethodHead {
		length, body = max(a.length, length), nil
	}
	header.Set("Content-Length", strconv.FormatInt(length, 10))
	w.WriteHeader(a.status)
	f.write(w, r, body)
}

// damage returns the body as it is sent.
func (f *Fault) damage(body []byte) []byte {
	if len(body) == 0 || !(f.Flip || f.Short || f.SwapHalves) {
		return body
	}
	body = bytes.Clone(body)
	if f.Flip {
		body[f.At%int64(len(body))] ^= 1
	}
	if f.SwapHalves {
		half := len(body) / 2
		body = append(body[half:len(body):len(body)], body[:half]...)
	}
	if f.Short {
		body = body[:len(body)-1]
	}
	return body
}

func (f *Fault) write(w http.ResponseWriter, r *http.Request, body []byte) {
	flush := http.NewResponseController(w).Flush
	if (f.Truncate || f.Stall) && f.At < int64(len(body)) {
		w.Write(body[:max(f.At, 0)]) //nolint:errcheck // the client sees it
		flush()                      //nolint:errcheck
		if f.Stall {
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	}
	if f.Chunk <= 0 {
		w.Write(body) //nolint:errcheck // a client that went needs no answer
		return
	}
	for len(body) > 0 {
		n := min(f.Chunk, len(body))
		if _, err := w.Write(body[:n]); err != nil {
			return
		}
		flush() //nolint:errcheck
		body = body[n:]
		if !pause(r.Context(), f.Delay) {
			return
		}
	}
}

// pause waits unless the client goes.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
