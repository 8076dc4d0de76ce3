package frozen

import (
	"context"
	"slices"
	"strings"
	"sync"

	"mocostream/ingest"
)

// Classes are the labels of a list's top-level folders. Methods may be called concurrently.
type Classes struct {
	list  *List
	holds func(name string) bool

	mu     sync.Mutex
	names  []string // nil: not read yet
	labels map[string]int32
}

// NewClasses describes the classes of a list: the top-level folders with a file for which holds is true, nil for any.
func NewClasses(list *List, holds func(name string) bool) *Classes {
	return &Classes{list: list, holds: holds}
}

// Names returns the classes, sorted; a label is an index into it. The first call reads the list through.
func (c *Classes) Names(ctx context.Context) ([]string, error) {
	if err := c.read(ctx); err != nil {
		return nil, err
	}
	return slices.Clone(c.names), nil
}

// Label returns the label of a file, nil for one directly in the root.
func (c *Classes) Label(ctx context.Context, name string) (*int32, error) {
	top, _, nested := strings.Cut(name, "/")
	if !nested {
		return nil, nil
	}
	if err := c.read(ctx); err != nil {
		return nil, err
	}
	label := c.labels[top]
	return &label, nil
}

func (c *Classes) read(ctx context.Context) error {
	m, err := c.list.Get(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.labels != nil {
		return nil
	}
	names, err := c.topFolders(m)
	if err != nil {
		return err
	}
	c.names, c.labels = names, map[string]int32{}
	for i, name := range names {
		c.labels[name] = int32(i)
	}
	return nil
}

func (c *Classes) topFolders(m *ingest.Manifest) ([]string, error) {
	var names []string
	last := ""
	for p, err := range m.All() {
		if err != nil {
			return nil, err
		}
		if top, _, nested := strings.Cut(p.Name, "/"); nested && top != last && (c.holds == nil || c.holds(p.Name)) {
			names = append(names, top)
			last = top
		}
	}
	slices.Sort(names) // names with bytes below the slash stand elsewhere among paths
	return slices.Compact(names), nil
}
