package main

import (
	"fmt"
	"os"
	"strings"

	"mocostream/config"
	"mocostream/train"
)

// manyImages stands for the size of the data set where the configuration leaves sizes to it.
const manyImages = 1 << 20

// dumpHLO writes the program of the training step that a configuration means to a file, for a look at what XLA compiles.
func (d doctorCommand) dumpHLO(term *terminal) error {
	c, err := config.Load(d.Config, d.Set)
	if err != nil {
		return err
	}
	backend, err := train.OpenBackend(c.Train.Backend)
	if err != nil {
		return err
	}
	defer backend.Finalize()
	trainer, err := train.New(backend, trainOptions(resolved(c, manyImages), manyImages))
	if err != nil {
		return err
	}
	defer trainer.Close()
	program, err := trainer.StableHLO()
	if err != nil {
		return fmt.Errorf("dump StableHLO: %w", err)
	}
	if err := os.WriteFile(d.DumpHLO, []byte(program), 0o644); err != nil {
		return fmt.Errorf("dump StableHLO: %w", err)
	}
	convolutions := strings.Count(program, `"stablehlo.convolution"`)
	if d.JSON {
		return printJSON(term.out, map[string]any{"file": d.DumpHLO, "bytes": len(program), "convolutions": convolutions, "backend": backend.Config})
	}
	_, err = fmt.Fprintf(term.out, "%s: StableHLO of the training step, %d bytes, %d convolutions\n", d.DumpHLO, len(program), convolutions)
	return err
}
