package nn

import (
	"sync"

	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// GoMLX lets a user give an operation of one input its own gradient, not an operation of several, which a convolution
// is. A SchedulingBarrier is an identity on its first input that merely names the others, and the table of gradient
// functions is public: withGradient builds a barrier whose gradient comes from a side table. The table belongs to the
// process (GoMLX's does); an entry leaves it when its gradient is built.
var barriers = struct {
	once sync.Once
	mu   sync.Mutex
	vjp  map[*Node]func(v *Node) []*Node
}{vjp: map[*Node]func(v *Node) []*Node{}}

// withGradient returns y, whose gradient with respect to inputs is what vjp makes of the gradient with respect to y (nil
// for none). It is for graphs that are differentiated once: an entry that no gradient collects is never freed.
func withGradient(y *Node, vjp func(v *Node) []*Node, inputs ...*Node) *Node {
	barriers.once.Do(overrideBarrier)
	node := graph.SchedulingBarrier(graph.StopGradient(y), inputs...)
	barriers.mu.Lock()
	defer barriers.mu.Unlock()
	barriers.vjp[node] = vjp
	return node
}

func overrideBarrier() {
	original := graph.VJPRegistration[graph.NodeTypeSchedulingBarrier]
	graph.VJPRegistration[graph.NodeTypeSchedulingBarrier] = func(node *Node, v []*Node, s shapes.Shape) []*Node {
		barriers.mu.Lock()
		vjp := barriers.vjp[node]
		delete(barriers.vjp, node)
		barriers.mu.Unlock()
		if vjp == nil {
			return original(node, v, s)
		}
		return append([]*Node{nil}, vjp(v[0])...)
	}
}
