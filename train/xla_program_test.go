package train

import (
	"regexp"
	"slices"
	"testing"

	"mocostream/internal/pjrtjax"
)

// compiledStep is the step as XLA got it and what it made of it, with the number of programs that the trainer compiled.
func compiledStep(t *testing.T, o Options, devices int) (pjrtjax.Program, int) {
	t.Helper()
	dir := t.TempDir()
	backend, err := OpenBackend(pjrtjax.Config(t, pjrtjax.Options{Dump: dir, Devices: devices}))
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Finalize()
	trainer, err := New(backend, o)
	if err != nil {
		t.Fatal(err)
	}
	defer trainer.Close()
	if err := trainer.Compile(); err != nil {
		t.Fatal(err)
	}
	programs := pjrtjax.Programs(t, dir)
	return programs[len(programs)], len(programs)
}

// opsNamed returns the operations of a name.
func opsNamed(ops []pjrtjax.Op, name string) (list []pjrtjax.Op) {
	for _, op := range ops {
		if op.Name == name {
			list = append(list, op)
		}
	}
	return list
}

// operations that leave the device, or that only a library outside of the program can run.
var leaving = []string{"infeed", "outfeed", "send", "recv", "custom_call"}

// hostCall finds, in an optimised program, what waits for the host.
var hostCall = regexp.MustCompile(`\b(?:infeed|outfeed|send|recv)(?:-start|-done)?\(|custom_call_target="[^"]*(?:callback|host)[^"]*"`)

// TestXLAProgram reads the default step in both precisions.
func TestXLAProgram(t *testing.T) {
	o := small()
	full, count := compiledStep(t, o, 1)
	if count != 1 {
		t.Errorf("the step is %d programs", count)
	}
	o.Precision = BFloat16
	half, _ := compiledStep(t, o, 1)
	for precision, p := range map[Precision]pjrtjax.Program{Float32: full, BFloat16: half} {
		t.Run(string(precision), func(t *testing.T) {
			testOneProgram(t, p)
			testFormats(t, pjrtjax.Ops(p.StableHLO), precision)
		})
	}
	if a, b := opsNamed(pjrtjax.Ops(full.StableHLO), "convolution"), opsNamed(pjrtjax.Ops(half.StableHLO), "convolution"); len(a) != len(b) || len(a) < 3 {
		t.Errorf("%d convolutions in f32, %d in bf16", len(a), len(b))
	}
}

// testOneProgram asks that a step stays on the device from end to end and updates the queue once.
func testOneProgram(t *testing.T, p pjrtjax.Program) {
	ops := pjrtjax.Ops(p.StableHLO)
	for _, name := range leaving {
		if found := opsNamed(ops, name); len(found) > 0 {
			t.Errorf("the step has %d operations %s, %v", len(found), name, found[0])
		}
	}
	if found := hostCall.FindString(p.HLO); found != "" {
		t.Errorf("the compiled step waits for the host: %s", found)
	}
	updates := opsNamed(ops, "dynamic_update_slice")
	if len(updates) != 1 || !slices.Equal(updates[0].Results, []string{"64x16xf32"}) || updates[0].Operands[1] != "32x16xf32" {
		t.Errorf("updates of the queue %v, want one of 32 rows of [64, 16]", updates)
	}
	if p.Memory.Aliased != 0 {
		t.Errorf("%d bytes of the outputs are in place: GoMLX has learnt to alias; say so in docs/gpu.md", p.Memory.Aliased)
	}
	t.Logf("bytes: arguments %d, outputs %d, temporary %d", p.Memory.Arguments, p.Memory.Outputs, p.Memory.Temporary)
}

// testFormats asks that convolutions, forward and backward, are in the precision, and all else that sums in float32:
// BatchNorm's statistics, head, similarities and loss; so are the variables that the step returns.
func testFormats(t *testing.T, ops []pjrtjax.Op, precision Precision) {
	for _, conv := range opsNamed(ops, "convolution") {
		for _, tensor := range append(conv.Operands, conv.Results...) {
			if pjrtjax.ElementType(tensor) != string(precision) {
				t.Errorf("with precision %s a convolution is %v", precision, conv)
			}
		}
	}
	for _, name := range []string{"reduce", "dot_general", "log", "exponential", "sqrt", "dynamic_update_slice"} {
		for _, op := range opsNamed(ops, name) {
			if pjrtjax.ElementType(op.Results[0]) == "bf16" {
				t.Errorf("%s is %v", name, op)
			}
		}
	}
	returns := opsNamed(ops, "return")
	if last := returns[len(returns)-1]; slices.ContainsFunc(last.Operands, func(s string) bool { return pjrtjax.ElementType(s) == "bf16" }) {
		t.Errorf("a variable that the step returns is bfloat16: %v", last.Operands)
	}
}
