//go:build !cgo || noxla

package train

import (
	"errors"
	"path/filepath"
)

// prepareXLA says that XLA, which needs cgo, is not in this binary.
func prepareXLA() bool { return false }

// InstallXLA cannot be of use: a binary without XLA loads no plugin.
func InstallXLA() error {
	return errors.New("install XLA: this binary was built without it; build it with a C compiler installed (make build)")
}

// HasNVIDIA says whether there seems to be an NVIDIA GPU, by its device files.
func HasNVIDIA() bool {
	devices, _ := filepath.Glob("/dev/nvidia*") // the pattern is well-formed
	return len(devices) > 0
}

// BuiltWithXLA says whether this binary can load XLA's plugins.
func BuiltWithXLA() bool { return false }
