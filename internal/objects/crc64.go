package objects

import (
	"hash"
	"hash/crc64"
)

// nvme is the table of CRC-64/NVME, the sum that AWS and others keep where an uploader sent none.
var nvme = crc64.MakeTable(0x9a6c9329ac4bc9b5)

// nvmeHash is crc64.New(nvme), faster where the processor multiplies polynomials: every object that was stored without a sum
// of its own is read through it.
type nvmeHash struct{ crc uint64 }

func newNVMe() hash.Hash { return &nvmeHash{} }

func (h *nvmeHash) Write(p []byte) (int, error) {
	h.crc = updateNVMe(h.crc, p)
	return len(p), nil
}

func (h *nvmeHash) Sum(b []byte) []byte {
	for shift := 56; shift >= 0; shift -= 8 {
		b = append(b, byte(h.crc>>shift))
	}
	return b
}

func (h *nvmeHash) Reset()         { h.crc = 0 }
func (h *nvmeHash) Size() int      { return crc64.Size }
func (h *nvmeHash) BlockSize() int { return 1 }
