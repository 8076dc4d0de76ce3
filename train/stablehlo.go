//go:build cgo && !noxla

package train

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"strings"

	"k8s.io/klog/v2"
)

// StableHLO compiles the step anew and returns the program that XLA was given for it, as text. The backend must be XLA's.
// While it runs nothing else may compile.
func (t *Trainer) StableHLO() (string, error) {
	if !t.backend.isXLA() {
		return "", errNoProgram(t.backend)
	}
	t.discard()
	log, restore, err := overhear()
	if err != nil {
		return "", err
	}
	err = t.Compile()
	restore()
	if program, found := moduleIn(log.String()); found {
		return program, nil // even where XLA then refused it
	}
	if err != nil {
		return "", err
	}
	return "", errors.New("go-xla no longer tells of the programs that it compiles; see train/stablehlo.go")
}

// overhear collects what go-xla logs: at level 2 each program, which it gives to nobody else.
func overhear() (log *bytes.Buffer, restore func(), err error) {
	before := klog.CaptureState()
	log = new(bytes.Buffer)
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	klog.InitFlags(flags)
	for name, value := range map[string]string{"v": "2", "logtostderr": "false"} {
		if err := flags.Set(name, value); err != nil {
			before.Restore()
			return nil, nil, fmt.Errorf("read GoMLX's log: %w", err)
		}
	}
	klog.SetOutput(log)
	return log, func() { klog.Flush(); before.Restore() }, nil
}

// moduleIn cuts the first module out of a log.
func moduleIn(log string) (module string, found bool) {
	const begin, end = "module @", "\n}\n"
	_, rest, found := strings.Cut(log, begin)
	if !found {
		return "", false
	}
	body, _, found := strings.Cut(rest, end)
	return begin + body + end, found
}
