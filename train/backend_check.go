package train

import (
	"fmt"
	"time"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// checkSide is the side of the matrices that Check multiplies: more than one tile of any kernel.
const checkSide = 96

// Check has the backend compile and run a small matrix product and compares the result with the right one. It returns
// how long that took, compilation included. The numbers are small integers, exact in every precision that a matrix unit
// may choose.
func (b *Backend) Check() (took time.Duration, err error) {
	defer recovered(&err, "check backend "+b.Config)
	started := time.Now()
	exec, err := graph.NewExec(b.Backend, func(x, y *Node) *Node {
		return graph.DotGeneral(x, []int{1}, nil, y, []int{0}, nil)
	})
	if err != nil {
		return 0, fmt.Errorf("check backend %s: %w", b.Config, err)
	}
	defer exec.Finalize()
	x, y := checkMatrix(1), checkMatrix(3)
	out, err := exec.Call(tensors.FromFlatDataAndDimensions(x, checkSide, checkSide), tensors.FromFlatDataAndDimensions(y, checkSide, checkSide))
	if err != nil {
		return 0, fmt.Errorf("check backend %s: %w", b.Config, err)
	}
	defer out[0].FinalizeAll()
	product, err := tensors.CopyFlatData[float32](out[0])
	if err != nil {
		return 0, fmt.Errorf("check backend %s: %w", b.Config, err)
	}
	took = time.Since(started)
	for i, got := range product {
		if want := checkProduct(x, y, i/checkSide, i%checkSide); got != want {
			return took, fmt.Errorf("check backend %s: element %d of a matrix product is %v, not %v; do not train on it", b.Config, i, got, want)
		}
	}
	return took, nil
}

func checkMatrix(step int) []float32 {
	m := make([]float32, checkSide*checkSide)
	for i := range m {
		m[i] = float32((i/checkSide + step*i) % 5)
	}
	return m
}

func checkProduct(x, y []float32, row, column int) (sum float32) {
	for k := range checkSide {
		sum += x[row*checkSide+k] * y[k*checkSide+column]
	}
	return sum
}
