package train

import (
	"math/rand/v2"

	"mocostream/augment"
	"mocostream/internal/safetensors"
	"mocostream/train/nn"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// bankName is the bank's variable and its tensor in a checkpoint: [images, dim], rows of length 1.
const bankName = "bank"

// BankOptions are those of MemoryBank.
type BankOptions struct {
	Rows     *Rows   // of the images
	Momentum float64 // share of an entry that stays when its image is seen again
}

// memoryBank is figure 2b of the paper (Wu et al., arXiv 1805.01978): keys are what the encoder made of the images when it
// saw them last. It looks at the query views alone.
type memoryBank struct{ *Trainer }

func (memoryBank) encoders() []string { return []string{queryEncoder} }

func (memoryBank) trained() []string { return []string{queryEncoder} }

// reset fills the bank with random unit vectors.
func (m memoryBank) reset() error {
	rng := rand.New(rand.NewPCG(m.options.Seed, 0x62616e6b)) // "bank"
	shape := m.shape()
	return m.create(bankName, randomUnits(rng, shape[0], shape[1]), shape...)
}

func (m memoryBank) shape() []int { return []int{m.options.Bank.Rows.Len(), m.options.Encoder.Dim} }

func (m memoryBank) state() ([]safetensors.Tensor, error) {
	bank, err := m.read(bankName, bankName, m.shape())
	return []safetensors.Tensor{bank}, err
}

func (m memoryBank) restore(have map[string]safetensors.Tensor) error {
	return m.write(bankName, have, bankName, m.shape())
}

func (m memoryBank) arguments() []argument {
	o := m.options
	return []argument{o.views(queryArgument), o.rows(indexArgument, dtypes.Int32), {negativesArgument, shapes.Make(dtypes.Int32, o.K), false}}
}

func (m memoryBank) feed(b *augment.Batch) ([]any, error) {
	index, err := m.options.Bank.Rows.of(b)
	return []any{b.Query(), index, m.negatives()}, err
}

// negatives draws this step's rows, with replacement: a function of seed and step alone.
func (m memoryBank) negatives() []int32 {
	rng := rand.New(rand.NewPCG(m.options.Seed^0x6e656761, uint64(m.done))) // "nega"
	rows := make([]int32, m.options.K)
	for i := range rows {
		rows[i] = rng.Int32N(int32(m.options.Bank.Rows.Len()))
	}
	return rows
}

func (memoryBank) prepare(*graph.Graph) {}

func (m memoryBank) compare(arguments []*Node) []contrast {
	query, index, negatives := arguments[0], arguments[1], arguments[2]
	q := m.forward(query.Graph(), queryEncoder, true).embed(query, m.options.Mean, m.options.Std)
	bank := m.variable(bankName).NodeValue(query)
	c := m.against(q, pick(bank, index), pick(bank, negatives))
	if m.options.masks() {
		c.out = graph.Equal(graph.InsertAxes(index, 1), graph.InsertAxes(negatives, 0))
	}
	return []contrast{c}
}

// pick returns the rows [n, dim] of x [N, dim] that index [n] names.
func pick(x, index *Node) *Node {
	return graph.Gather(x, graph.InsertAxes(index, -1))
}

// finish moves the entries of the batch's images towards the queries. Of an image that is twice in the batch, where one
// pass over the data ends in it and the next begins, the last counts.
func (m memoryBank) finish(arguments []*Node, all []contrast) {
	c := all[0]
	g, index := c.q.Graph(), graph.Reshape(arguments[1], m.options.Batch)
	bank, keep := m.variable(bankName), m.options.Bank.Momentum
	old := bank.NodeValue(g)
	moved := graph.Add(graph.MulScalar(c.k, keep), graph.MulScalar(graph.StopGradient(c.q), 1-keep))
	bank.SetNodeValue(putRows(old, nn.Normalize(moved), index))
}

// putRows returns x [N, dim] with row i of rows [n, dim] in the place that index [n] gives it, the last of several.
func putRows(x, rows, index *Node) *Node {
	g, size, n := x.Graph(), x.Shape().Dimensions[0], rows.Shape().Dimensions[0]
	none := graph.BroadcastToDims(graph.Const(g, int32(-1)), size)
	from := graph.ScatterMax(none, graph.InsertAxes(index, -1), graph.Iota(g, shapes.Make(dtypes.Int32, n), 0), false, false)
	written := graph.GreaterOrEqual(from, graph.ScalarZero(g, dtypes.Int32))
	picked := pick(rows, graph.Max(from, graph.ScalarZero(g, dtypes.Int32)))
	return graph.Where(graph.BroadcastToDims(graph.InsertAxes(written, -1), x.Shape().Dimensions...), picked, x)
}
