//go:build !(goexperiment.simd && amd64)

package objects

import "hash/crc64"

func updateNVMe(crc uint64, p []byte) uint64 { return crc64.Update(crc, nvme, p) }
