package train

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"mocostream/augment"
	"mocostream/internal/safetensors"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// Names of the queue's variables, and of its tensors in a checkpoint.
const (
	queueName   = "queue"     // [K, dim] on the device, rows of length 1
	pointerName = "queue_ptr" // int32: the row that the next key goes to
)

// moco is figure 2c of the paper: keys come from an encoder that follows the query encoder slowly, and are negatives for
// as many steps as they stay in the queue.
type moco struct{ *Trainer }

func (moco) encoders() []string { return []string{queryEncoder, keyEncoder} }

func (moco) trained() []string { return []string{queryEncoder} }

// reset fills the queue with random unit vectors, as the reference does, and sets the pointer to 0.
func (m moco) reset() error {
	rng := rand.New(rand.NewPCG(m.options.Seed, 0x71756575)) // "queu"
	k, dim := m.options.K, m.options.Encoder.Dim
	if err := m.create(queueName, randomUnits(rng, k, dim), k, dim); err != nil {
		return err
	}
	if err := m.resetTags(0); err != nil {
		return err
	}
	return m.setPointer(0)
}

// setPointer moves the queue's pointer. A step that was compiled for another kind of pointer is compiled anew.
func (m moco) setPointer(at int64) error {
	if ragged := at%int64(m.options.keys()) != 0; ragged != m.ragged {
		m.ragged = ragged
		m.discard()
	}
	return m.set(pointerName, tensors.FromScalar(int32(at)))
}

// state returns the queue as [dim, K] and its pointer.
func (m moco) state() ([]safetensors.Tensor, error) {
	k, dim := m.options.K, m.options.Encoder.Dim
	rows, err := m.floats(queueName)
	if err != nil {
		return nil, err
	}
	pointer, err := m.variable(pointerName).Value()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", pointerName, err)
	}
	tags, err := m.tagState()
	return append([]safetensors.Tensor{
		safetensors.FromFloat32s(queueName, []int{dim, k}, transposed(rows, k, dim)),
		safetensors.FromInt64s(pointerName, []int{1}, []int64{int64(tensors.ToScalar[int32](pointer))}),
	}, tags...), err
}

func (m moco) restore(have map[string]safetensors.Tensor) error {
	k, dim := m.options.K, m.options.Encoder.Dim
	values, err := floatsOf(have, queueName, []int{dim, k})
	if err != nil {
		return err
	}
	if err := m.create(queueName, transposed(values, dim, k), k, dim); err != nil {
		return err
	}
	if err := m.restoreTags(have); err != nil {
		return err
	}
	pointer, err := safetensors.Int64s(have[pointerName])
	if err != nil || len(pointer) != 1 || pointer[0] < 0 || pointer[0] >= int64(k) {
		return fmt.Errorf("checkpoint: %s is missing or outside the queue of %d keys", pointerName, k)
	}
	return m.setPointer(pointer[0])
}

func (m moco) arguments() []argument {
	o := m.options
	return []argument{o.views(queryArgument), o.views(keyArgument), o.rows(orderArgument, dtypes.Int32)}
}

func (m moco) feed(b *augment.Batch) ([]any, error) {
	return []any{b.Query(), b.Key(), m.order()}, nil
}

// prepare is the momentum update, equation 2 of the paper: parameters only, never BatchNorm's statistics. It comes before
// the keys, as in the reference implementation.
func (m moco) prepare(g *graph.Graph) { m.follow(g, keyEncoder, m.options.M) }

// follow moves an encoder's parameters towards the query encoder's, of its own keeping the share that momentum is.
func (t *Trainer) follow(g *graph.Graph, encoder string, momentum float64) {
	for _, p := range t.parameters {
		if !p.Trainable() {
			continue
		}
		own := t.variable(encoder + "/" + p.Name)
		query := graph.StopGradient(t.variable(queryEncoder + "/" + p.Name).NodeValue(g))
		own.SetNodeValue(graph.Add(graph.MulScalar(own.NodeValue(g), momentum), graph.MulScalar(query, 1-momentum)))
	}
}

func (m moco) compare(arguments []*Node) []contrast {
	return m.directions(arguments, m.contrast)
}

// directions compares the first view with the second and, where both are queries, the second with the first. All key
// batches are encoded in the same order.
func (t *Trainer) directions(arguments []*Node, compare func(query, key, order, tags *Node) contrast) []contrast {
	one, other, order, tags := arguments[0], arguments[1], arguments[2], t.named(arguments, tagsArgument)
	all := []contrast{compare(one, other, order, tags)}
	if t.options.Symmetric {
		all = append(all, compare(other, one, order, tags))
	}
	return all
}

func (m moco) contrast(query, key, order, tags *Node) contrast {
	q := m.forward(query.Graph(), queryEncoder, true).embed(query, m.options.Mean, m.options.Std)
	k := graph.StopGradient(m.encodeKeys(key, order, false))
	c := m.against(q, k, m.variable(queueName).NodeValue(query))
	if tags != nil {
		held := m.variable(tagsName).NodeValue(query)
		c.out, c.lag = m.options.masked(tags, held), lag(tags, held)
	}
	return c
}

// finish replaces the oldest keys: key i goes to row (pointer + i) mod K. Keys of the first views come before those of the
// second, as in the reference's notebook.
func (m moco) finish(arguments []*Node, all []contrast) {
	var keys []*Node
	for _, c := range slices.Backward(all) {
		keys = append(keys, c.k)
	}
	fresh := stacked(keys...)
	g, n, k := fresh.Graph(), fresh.Shape().Dimensions[0], m.options.K
	queue, pointer := m.variable(queueName), m.variable(pointerName)
	at := pointer.NodeValue(g)
	queue.SetNodeValue(m.replaceRows(queue.NodeValue(g), fresh, at))
	m.enqueueTags(m.named(arguments, tagsArgument), at, len(all))
	pointer.SetNodeValue(graph.Rem(graph.AddScalar(at, n), graph.Const(g, int32(k))))
}

// replaceRows writes keys [B, n] into queue [K, n] from row at on, around the end. XLA's dynamic update would clamp
// a window that passes the end, so it serves only where batches never do: not after a checkpoint of another batch.
func (m moco) replaceRows(queue, keys, at *Node) *Node {
	g, b, k := queue.Graph(), keys.Shape().Dimensions[0], queue.Shape().Dimensions[0]
	if k%b == 0 && !m.ragged && m.backend.Capabilities().Operations[compute.OpTypeDynamicUpdateSlice] {
		return graph.DynamicUpdateSlice(queue, keys, []*Node{at, graph.Const(g, int32(0))})
	}
	row := graph.Iota(g, shapes.Make(dtypes.Int32, k, 1), 0)
	index := graph.Rem(graph.AddScalar(graph.Sub(row, at), k), graph.Const(g, int32(k)))
	fresh := graph.LessThan(index, graph.Const(g, int32(b)))
	picked := graph.Gather(keys, graph.Min(index, graph.Const(g, int32(b-1))))
	return graph.Where(graph.BroadcastToDims(fresh, queue.Shape().Dimensions...), picked, queue)
}
