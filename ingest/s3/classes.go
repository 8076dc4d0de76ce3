package s3

import (
	"context"
	"slices"
	"strings"

	"mocostream/ingest"
	"mocostream/ingest/internal/shard"
)

// classes are the labels of the folders directly below the prefix.
type classes struct {
	names  []string
	labels map[string]int32
}

// Classes returns the folders directly below the prefix that hold images, sorted; a single image's label is an index into
// it. It reads the manifest through once and is nil without Options.Labels.
func (s *Source) Classes(ctx context.Context) ([]string, error) {
	if !s.Labels {
		return nil, nil
	}
	m, err := s.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	c, err := s.classesOf(m)
	if err != nil {
		return nil, err
	}
	return slices.Clone(c.names), nil
}

func (s *Source) classesOf(m *ingest.Manifest) (*classes, error) {
	s.naming.Lock()
	defer s.naming.Unlock()
	if s.classes != nil {
		return s.classes, nil
	}
	c := &classes{labels: map[string]int32{}}
	last := ""
	for p, err := range m.All() {
		if err != nil {
			return nil, err
		}
		if top, _, nested := strings.Cut(p.Name, "/"); nested && top != last && !shard.Is(p.Name) {
			c.names = append(c.names, top)
			last = top
		}
	}
	slices.Sort(c.names) // names with bytes below the slash stand elsewhere among keys
	c.names = slices.Compact(c.names)
	for i, name := range c.names {
		c.labels[name] = int32(i)
	}
	s.classes = c
	return c, nil
}

func (s *Source) label(m *ingest.Manifest, name string) (*int32, error) {
	top, _, nested := strings.Cut(name, "/")
	if !s.Labels || !nested {
		return nil, nil
	}
	c, err := s.classesOf(m)
	if err != nil {
		return nil, err
	}
	label := c.labels[top]
	return &label, nil
}
