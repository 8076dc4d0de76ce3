//go:build !cgo || noxla

package train

// prepareXLA says that XLA, which needs cgo, is not in this binary.
func prepareXLA() bool { return false }
