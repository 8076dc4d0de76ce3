package s3

import "sync/atomic"

// Stats is what was read so far. All but Seen, Pending and Paused only grow.
type Stats struct {
	Objects uint64 // images read, and shards opened
	Bytes   uint64 // of objects
	Skipped uint64 // samples of objects that changed or vanished; whole objects of a Follow
	Corrupt uint64 // reads whose bytes did not fit their checksum, and were repeated
	Late    uint64 // objects that a Follow found too late to be sure of them, and did not read
	Seen    int64  // objects that a Follow remembers
	Pending int64  // objects that a Follow found and did not hand out yet
	Paused  bool   // reading waits for valid credentials
}

// counters are what Stats is made of.
type counters struct {
	objects, bytes, skipped, corrupt, late atomic.Uint64
}

func (a *store) stats() Stats {
	return Stats{
		Objects: a.objects.Load(), Bytes: a.bytes.Load(), Skipped: a.skipped.Load(),
		Corrupt: a.corrupt.Load(), Late: a.late.Load(), Paused: a.waiting.Load() > 0,
	}
}
