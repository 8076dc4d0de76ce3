package train

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gomlx/compute"
	"mocostream/train/nn"
)

// goConfig is how the Go backend is run: its default can hang for ever once every worker holds a matrix product.
const goConfig = "go:parallelism=-1"

// Backend is where graphs run.
type Backend struct {
	compute.Backend
	Config string // GoMLX's configuration string, e.g. "go:parallelism=-1" or "xla:cuda"
	Why    string // why this one, in a sentence
	Advice string // what a faster one would need; "" when there is none
	// Tried says of each faster one that could not be opened why.
	Tried []string
}

// Layout is how activations lie in memory.
type Layout string

// The layouts, see package nn.
const (
	LayoutNHWC Layout = "nhwc"
	LayoutCHWN Layout = "chwn"
)

// Layout returns the layout that the backend is fast in.
func (b *Backend) Layout() Layout {
	if strings.HasPrefix(b.Config, "go") {
		return LayoutCHWN
	}
	return LayoutNHWC
}

// isXLA says whether programs are compiled by XLA.
func (b *Backend) isXLA() bool { return strings.HasPrefix(b.Config, "xla") }

// errNoProgram says that a backend that is not XLA's has no StableHLO to show.
func errNoProgram(b *Backend) error {
	return fmt.Errorf("backend %s compiles no StableHLO, XLA's does; `mocostream doctor --install` fetches its plugin, or name "+
		"one: train.backend \"xla:/abs/path/plugin.so\"", b.Config)
}

func layersFor(layout Layout, precision Precision, differentiated bool) nn.Layers {
	if layout == LayoutCHWN {
		return nn.CHWN{Training: differentiated}
	}
	return nn.NHWC{Training: differentiated, Half: precision == BFloat16}
}

// OpenBackend opens a backend: "auto" takes XLA on CUDA, else XLA on the CPU, else Go; "go", "xla:cuda", "xla:cpu",
// or any configuration string of GoMLX. Nothing is ever downloaded or printed. The caller calls Finalize.
func OpenBackend(config string) (*Backend, error) {
	switch config {
	case "", "auto":
		return openBest()
	case "go":
		return open(goConfig, "asked for")
	}
	return open(config, "asked for")
}

// openBest tries backends from the fastest.
func openBest() (*Backend, error) {
	var reasons []string
	for _, config := range []string{"xla:cuda", "xla:cpu"} {
		b, err := open(config, "the fastest that this machine has")
		if err == nil {
			b.Tried = reasons
			return b, nil
		}
		reasons = append(reasons, strings.TrimPrefix(firstLine(err), "open backend "))
	}
	b, err := open(goConfig, "no XLA plugin can be used here")
	if err != nil {
		return nil, err
	}
	b.Advice = "XLA (xla:cuda, xla:cpu) is several times faster on a CPU and far more on a GPU; `mocostream doctor` tells how to get it"
	b.Tried = reasons
	return b, nil
}

func open(config, why string) (b *Backend, err error) {
	defer recovered(&err, "open backend "+config)
	if strings.HasPrefix(config, "xla") && !prepareXLA() {
		return nil, errors.New("open backend " + config + ": this binary was built without cgo and so without XLA; " +
			"build it with a C compiler installed, or set train.backend to go")
	}
	be, err := openCompute(config)
	if err != nil {
		return nil, fmt.Errorf("open backend %s: %w", config, err)
	}
	return &Backend{Backend: be, Config: config, Why: why}, nil
}

// recovered turns a panic, which is how GoMLX reports errors in graphs, into an error.
func recovered(err *error, doing string) {
	switch r := recover().(type) {
	case nil:
	case error:
		*err = fmt.Errorf("%s: %w", doing, r)
	default:
		*err = fmt.Errorf("%s: %v", doing, r)
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
