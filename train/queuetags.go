package train

import (
	"fmt"

	"mocostream/internal/safetensors"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// tagsName is the variable with the tags of the queue's keys, [K, tagColumns] int64, where the step is told of them.
const tagsName = "queue_tags"

// tagTensors are the tags' columns in a checkpoint, [K] each, in their order.
var tagTensors = [tagColumns]string{"queue_sample", "queue_source", "queue_duplicate", "queue_time"}

// resetTags says that so many rows hold keys, from the first on, and that nobody knows whose.
func (m moco) resetTags(held int64) error {
	if !m.options.tagged() {
		return nil
	}
	tags := make([]int64, m.options.K*tagColumns)
	for i := range min(held, int64(m.options.K)) {
		tags[i*tagColumns+tagSample] = nobodys
	}
	return m.setTags(tags)
}

func (m moco) setTags(tags []int64) error {
	return m.set(tagsName, tensors.FromFlatDataAndDimensions(tags, m.options.K, tagColumns))
}

// tagState returns the tags, a tensor a column.
func (m moco) tagState() ([]safetensors.Tensor, error) {
	if !m.options.tagged() {
		return nil, nil
	}
	value, err := m.variable(tagsName).Value()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", tagsName, err)
	}
	tags, err := tensors.CopyFlatData[int64](value)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", tagsName, err)
	}
	var list []safetensors.Tensor
	for i, name := range tagTensors {
		column := make([]int64, m.options.K)
		for row := range column {
			column[row] = tags[row*tagColumns+i]
		}
		list = append(list, safetensors.FromInt64s(name, []int{len(column)}, column))
	}
	return list, nil
}

// restoreTags puts them back. A run that did not note them has keys in the rows that its steps filled.
func (m moco) restoreTags(have map[string]safetensors.Tensor) error {
	if _, ok := have[tagTensors[tagSample]]; !ok || !m.options.tagged() {
		return m.resetTags((m.done - m.discards.Total) * int64(m.options.keys()))
	}
	tags := make([]int64, m.options.K*tagColumns)
	for i, name := range tagTensors {
		column, err := safetensors.Int64s(have[name])
		if err != nil || len(column) != m.options.K {
			return fmt.Errorf("checkpoint: %s is missing or not of the queue's %d keys", name, m.options.K)
		}
		for row, tag := range column {
			tags[row*tagColumns+i] = tag
		}
	}
	return m.setTags(tags)
}

// enqueueTags writes the batch's tags beside the keys of so many contrasts.
func (m moco) enqueueTags(tags, at *Node, contrasts int) {
	if tags == nil {
		return
	}
	var all []*Node
	for range contrasts {
		all = append(all, graph.Reshape(tags, m.options.Batch, tagColumns))
	}
	queue := m.variable(tagsName)
	queue.SetNodeValue(m.replaceRows(queue.NodeValue(at.Graph()), stacked(all...), at))
}
