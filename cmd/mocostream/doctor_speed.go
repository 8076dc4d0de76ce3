package main

import (
	"fmt"
	"runtime"
	"strings"
	"time"

	"mocostream/augment/jpeg"
	"mocostream/train"

	"golang.org/x/sys/cpu"
)

func checkProgram() finding {
	f := facts()
	return finding{Level: fine, Check: "program", Text: fmt.Sprintf("mocostream %s, %s, %s, GoMLX %s", f.Version, f.Go, f.Platform, f.GoMLX)}
}

// checkProcessors tells how many processors there are and may be used, and their vector units.
func checkProcessors() finding {
	f := finding{
		Level: fine, Check: "processors",
		Text: fmt.Sprintf("%d, of which Go uses %d; vector units: %s", runtime.NumCPU(), runtime.GOMAXPROCS(0), vectorUnits()),
	}
	if runtime.GOMAXPROCS(0) < runtime.NumCPU() {
		f.Level = better
		f.Remedy = "raise the container's CPU limit, or GOMAXPROCS if that is set"
	}
	return f
}

func vectorUnits() string {
	var names []string
	for _, unit := range []struct {
		name string
		has  bool
	}{
		{"AVX2", cpu.X86.HasAVX2 && cpu.X86.HasFMA},
		{"AVX-512", cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL},
		{"NEON", cpu.ARM64.HasASIMD},
		{"SVE", cpu.ARM64.HasSVE},
	} {
		if unit.has {
			names = append(names, unit.name)
		}
	}
	if len(names) == 0 {
		return "none known"
	}
	return strings.Join(names, ", ")
}

// checkSIMD tells whether the Go backend's vector kernels are compiled in.
func checkSIMD() finding {
	f := finding{Level: fine, Check: "simd", Text: "built with GOEXPERIMENT=simd"}
	switch {
	case builtWithSIMD():
	case runtime.GOARCH != "amd64":
		f.Text = "no vector kernels for " + runtime.GOARCH + " in this Go release; XLA has its own"
	default:
		f.Level, f.Text = better, "built without GOEXPERIMENT=simd: the Go backend is about 4 times slower"
		f.Remedy = "build again: make build, or GOEXPERIMENT=simd go build ./cmd/mocostream"
	}
	return f
}

// checkBackend opens the backend that auto means and has it compute something.
func checkBackend() []finding {
	b, err := train.OpenBackend("auto")
	if err != nil {
		return []finding{{Level: broken, Check: "backend", Text: err.Error(), Remedy: "set train.backend to go"}}
	}
	defer b.Finalize()
	return append([]finding{describeBackend(b, train.HasNVIDIA())}, checkProduct(b))
}

func describeBackend(b *train.Backend, nvidia bool) finding {
	f := finding{Level: fine, Check: "backend", Text: fmt.Sprintf("train.backend auto takes %s: %s", b.Config, b.Why)}
	onGPU, onCPU := strings.HasPrefix(b.Config, "xla:cuda"), strings.HasPrefix(b.Config, "xla")
	switch {
	case onGPU || onCPU && !nvidia:
		return f
	case !train.BuiltWithXLA():
		f.Remedy = "XLA is several times faster on a CPU and far more on a GPU; build with a C compiler installed (make build), then ask doctor again"
	case nvidia:
		f.Text += ", although there is an NVIDIA GPU"
		f.Remedy = "`mocostream doctor --install` downloads XLA's CUDA plugin with NVIDIA's libraries from PyPI (some GB) into " +
			"~/.local/lib/go-xla. By hand: pip install --target DIR 'jax[cuda13]', then train.backend " +
			"\"xla:/abs/DIR/jax_plugins/xla_cuda13/xla_cuda_plugin.so\". The driver must be NVIDIA's 580 or newer for CUDA 13"
	default:
		f.Remedy = "XLA on a CPU is 3 to 4 times as fast as Go: `mocostream doctor --install` downloads its CPU plugin from " +
			"github.com/gomlx/pjrt-cpu-binaries into ~/.local/lib/go-xla. By hand: put pjrt_c_api_cpu_plugin.so into a folder and set " +
			"PJRT_PLUGIN_LIBRARY_PATH to that, or train.backend to \"xla:/abs/path/plugin.so\". docs/gpu.md has more"
	}
	f.Level = better
	for _, reason := range b.Tried {
		if !strings.Contains(reason, "no plugins found") { // what the remedy is about anyway
			f.Text += "; " + reason
		}
	}
	return f
}

// checkProduct has the backend multiply two matrices.
func checkProduct(b *train.Backend) finding {
	took, err := b.Check()
	if err != nil {
		return finding{
			Level: broken, Check: "compute", Text: err.Error(),
			Remedy: "set train.backend to go, and look at the versions of driver and plugin",
		}
	}
	return finding{
		Level: fine, Check: "compute",
		Text: fmt.Sprintf("a matrix product comes out right on %s, compiled and run in %s", b.Config, took.Round(time.Millisecond/10)),
	}
}

func checkJPEG() finding {
	f := finding{Level: fine, Check: "jpeg", Text: jpeg.Name()}
	if !strings.Contains(jpeg.Name(), "libjpeg") {
		f.Level = better
		f.Text += ": several times slower than libjpeg-turbo"
		f.Remedy = "install gcc and libjpeg62-turbo-dev (Ubuntu: libjpeg-turbo8-dev; Fedora: libjpeg-turbo-devel) and build again: make build"
	}
	return f
}
