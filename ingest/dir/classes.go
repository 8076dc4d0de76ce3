package dir

import "context"

// Classes returns the top-level folders that hold images, sorted; a sample's label is an index into it. It reads the
// manifest through once and is nil without Options.Labels.
func (s *Source) Classes(ctx context.Context) ([]string, error) {
	if !s.Labels {
		return nil, nil
	}
	return s.classes.Names(ctx)
}

// label is nil where none is wanted, or there is none.
func (s *Source) label(ctx context.Context, name string) (*int32, error) {
	if !s.Labels {
		return nil, nil
	}
	return s.classes.Label(ctx, name)
}
