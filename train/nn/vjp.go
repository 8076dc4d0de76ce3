package nn

import (
	"sync"

	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// GoMLX has one gradient for each kind of operation, in a public table that belongs to the process. Nodes with a
// gradient of their own stand in a table beside it, which is asked first; an entry leaves it when its gradient is built.
var gradients = struct {
	once sync.Once
	mu   sync.Mutex
	vjp  map[*Node]func(v *Node) []*Node
}{vjp: map[*Node]func(v *Node) []*Node{}}

// withGradient returns y, whose gradient with respect to inputs is what vjp makes of the gradient with respect to y (nil
// for none). It is for graphs that are differentiated once: an entry that no gradient collects is never freed. A
// SchedulingBarrier carries it, an identity on its first input that merely names the others.
func withGradient(y *Node, vjp func(v *Node) []*Node, inputs ...*Node) *Node {
	node := graph.SchedulingBarrier(graph.StopGradient(y), inputs...)
	return setGradient(node, func(v *Node) []*Node { return append([]*Node{nil}, vjp(v)...) })
}

// setGradient gives node, a convolution or a barrier, another gradient with respect to its inputs, and returns node. It
// is for graphs that are differentiated once, as withGradient.
func setGradient(node *Node, vjp func(v *Node) []*Node) *Node {
	gradients.once.Do(func() {
		ownGradients(graph.NodeTypeSchedulingBarrier)
		ownGradients(graph.NodeTypeConvGeneral)
	})
	gradients.mu.Lock()
	defer gradients.mu.Unlock()
	gradients.vjp[node] = vjp
	return node
}

// ownGradients lets nodes of a kind have gradients of their own.
func ownGradients(kind graph.NodeType) {
	original := graph.VJPRegistration[kind]
	graph.VJPRegistration[kind] = func(node *Node, v []*Node, s shapes.Shape) []*Node {
		gradients.mu.Lock()
		vjp := gradients.vjp[node]
		delete(gradients.vjp, node)
		gradients.mu.Unlock()
		if vjp == nil {
			return original(node, v, s)
		}
		return vjp(v[0])
	}
}
