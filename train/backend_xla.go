//go:build cgo && !noxla

package train

import (
	"fmt"
	"os"

	"github.com/gomlx/go-xla/compute/xla"
	"github.com/gomlx/go-xla/installer"
)

// prepareXLA forbids downloads before XLA is asked for, and says whether it is in this binary.
func prepareXLA() bool {
	xla.EnableAutoInstall(false)
	return true
}

// InstallXLA downloads XLA's plugin for the CPU, and for CUDA where there is an NVIDIA GPU, into the user's library
// folder, unless they are there. Nothing else in this program downloads. It blocks for as long as the network takes,
// shows its progress on stderr, and must not run beside anything that writes to os.Stdout.
func InstallXLA() error {
	stdout := os.Stdout
	os.Stdout = os.Stderr // the installer's progress goes to stdout, which belongs to results
	defer func() { os.Stdout = stdout }()
	for _, plugin := range []string{"cpu", "cuda"} { // cuda does nothing without a GPU
		if err := xla.AutoInstallPlugin(plugin); err != nil {
			return fmt.Errorf("install XLA plugin %s: %w", plugin, err)
		}
	}
	return nil
}

// HasNVIDIA says whether there seems to be an NVIDIA GPU, by its device files or nvidia-smi.
func HasNVIDIA() bool { return installer.HasNvidiaGPU() }

// BuiltWithXLA says whether this binary can load XLA's plugins.
func BuiltWithXLA() bool { return true }
