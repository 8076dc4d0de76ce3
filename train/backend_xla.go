//go:build cgo && !noxla

package train

import "github.com/gomlx/go-xla/compute/xla"

// prepareXLA forbids downloads before XLA is asked for, and says whether it is in this binary.
func prepareXLA() bool {
	xla.EnableAutoInstall(false)
	return true
}
