package pjrtjax

import (
	"regexp"
	"strings"
)

// Op is an operation of a StableHLO program as GoMLX writes it.
type Op struct {
	Name     string   // convolution, dot_general, ...
	Operands []string // types: 8x32x32x3xbf16, i32
	Results  []string
}

var (
	opName    = regexp.MustCompile(`^\s*(?:%\S+(?:, %\S+)* = )?"?stablehlo\.(\w+)"?\(`)
	opTypes   = regexp.MustCompile(`: \(([^()]*)\) -> \(?([^()]*)\)?$`)
	tensorIn  = regexp.MustCompile(`tensor<([^>]*)>`)
	regionEnd = regexp.MustCompile(`^\s*}`)
)

// Ops lists the operations of a StableHLO program, those in the bodies of reductions included, in the order in which they
// end. An operation whose types stand some lines below its name is found by its closing brace.
func Ops(program string) []Op {
	var ops []Op
	var open []string // names of operations whose types are still to come
	for line := range strings.Lines(program) {
		line = strings.TrimRight(line, "\n")
		name, types := opName.FindStringSubmatch(line), opTypes.FindStringSubmatch(line)
		switch {
		case name != nil && types != nil:
			ops = append(ops, op(name[1], types))
		case name != nil:
			open = append(open, name[1])
		case types != nil && regionEnd.MatchString(line) && len(open) > 0:
			ops = append(ops, op(open[len(open)-1], types))
			open = open[:len(open)-1]
		}
	}
	return ops
}

func op(name string, types []string) Op {
	return Op{Name: name, Operands: tensorTypes(types[1]), Results: tensorTypes(types[2])}
}

func tensorTypes(text string) (list []string) {
	for _, match := range tensorIn.FindAllStringSubmatch(text, -1) {
		list = append(list, match[1])
	}
	return list
}

// ElementType is the last part of a tensor's type: bf16 of 8x32xbf16.
func ElementType(tensor string) string {
	return tensor[strings.LastIndexByte(tensor, 'x')+1:]
}
