package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"mocostream/augment/jpeg"
)

type versionCommand struct {
	JSON bool `name:"json" help:"Print one JSON object on stdout."`
}

// Help is shown below the flags.
func (versionCommand) Help() string {
	return `Versions of the program and of what decides its results and its speed, for bug reports.

Example:
  mocostream version --json`
}

// buildFacts is what version prints.
type buildFacts struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	SIMD     bool   `json:"simd"` // built with GOEXPERIMENT=simd
	JPEG     string `json:"jpeg"`
	GoMLX    string `json:"gomlx"`
	Compute  string `json:"compute"`
	XLA      string `json:"go_xla"`
	Arrow    string `json:"arrow"`
}

func facts() buildFacts {
	return buildFacts{
		Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, SIMD: builtWithSIMD(),
		JPEG:  jpeg.Name(),
		GoMLX: moduleVersion("github.com/gomlx/gomlx"), Compute: moduleVersion("github.com/gomlx/compute"),
		XLA: moduleVersion("github.com/gomlx/go-xla"), Arrow: moduleVersion("github.com/apache/arrow/go/v17"),
	}
}

// Run implements the command.
func (v versionCommand) Run(term *terminal) error {
	f := facts()
	if v.JSON {
		return printJSON(term.out, f)
	}
	_, err := fmt.Fprintf(term.out, `mocostream %s
Go         %s, %s, GOEXPERIMENT=simd %s
JPEG       %s
GoMLX      %s (compute %s, go-xla %s)
Arrow      %s
`, f.Version, f.Go, f.Platform, yesNo(f.SIMD), f.JPEG, f.GoMLX, f.Compute, f.XLA, f.Arrow)
	return err
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// moduleVersion is the version of a module in this binary, "unknown" if it is not there.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path != path {
			continue
		}
		if m.Replace != nil {
			return m.Replace.Version + " (replaced)"
		}
		return m.Version
	}
	return "unknown"
}

// builtWithSIMD says whether the vector kernels are in this binary. The Go version carries experiments as "X:a,b".
func builtWithSIMD() bool {
	_, experiments, _ := strings.Cut(runtime.Version(), "X:")
	for _, name := range strings.Split(experiments, ",") {
		if name == "simd" {
			return true
		}
	}
	return false
}
