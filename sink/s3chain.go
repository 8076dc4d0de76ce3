package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"mocostream/internal/objects"
)

// ErrFenced is wrapped by errors of a store whose prefix another process has taken over. What it wrote since does not
// count, so the process must end.
var ErrFenced = errors.New("another run has taken over")

// errEarlier says that a save of this very writer which was given up as failed has arrived after all.
var errEarlier = errors.New("an earlier save arrived late")

// maxRaces bounds how often a listing that others change under the reader is taken again.
const maxRaces = 20

// tip is the newest generation; number 0 stands for a new prefix.
type tip struct {
	number int64
	sum    string // of its file, "" if that cannot be read
	// known is the newest generation that is whole: the tip itself, unless that is damaged.
	known    generation
	knownSum string
}

func (t *tip) checkpoints() []keptStep { return t.known.checkpoints(t.knownSum) }

// generations returns the numbers of those that lie after one, ascending.
func (p place) generations(ctx context.Context, after int64) ([]int64, error) {
	start := ""
	if after > 0 {
		start = generationName(after)
	}
	var list []int64
	for name, err := range p.list(ctx, generationsFolder, start) {
		if err != nil {
			return nil, fmt.Errorf("list generations: %w", err)
		}
		if n, ok := parseGenerationName(name); ok && n > after {
			list = append(list, n)
		}
	}
	return list, nil
}

// readGeneration returns a generation and the sum of its file, which is also there if the file makes no sense.
func (p place) readGeneration(ctx context.Context, n int64) (generation, string, error) {
	name := generationName(n)
	data, _, err := p.read(ctx, name)
	if errors.Is(err, objects.ErrCorrupt) {
		err = fmt.Errorf("%w: %w", ErrTorn, err)
	}
	if err != nil {
		return generation{}, "", fmt.Errorf("read %s: %w", p.url(name), err)
	}
	g, err := parseGeneration(data, n)
	if err != nil {
		err = fmt.Errorf("read %s: %w", p.url(name), err)
	}
	return g, hexSum(data), err
}

// newestTip finds the newest generation. Damaged ones are passed over with a warning; the error wraps ErrTorn if there
// is no whole one among several.
func (p place) newestTip(ctx context.Context, warn func(string)) (tip, error) {
	for range maxRaces {
		list, err := p.generations(ctx, 0)
		if err != nil || len(list) == 0 {
			return tip{}, err
		}
		t, err := p.tipOf(ctx, list, warn)
		if !errors.Is(err, fs.ErrNotExist) {
			return t, err
		}
		// Removed since it was listed, so there is a newer one by now.
	}
	return tip{}, fmt.Errorf("read %s: it changes faster than it can be read", p.url(generationsFolder))
}

func (p place) tipOf(ctx context.Context, list []int64, warn func(string)) (tip, error) {
	t := tip{number: list[len(list)-1]}
	var first error
	for i := len(list) - 1; i >= 0; i-- {
		g, sum, err := p.readGeneration(ctx, list[i])
		if i == len(list)-1 {
			t.sum = sum
		}
		if err == nil {
			t.known, t.knownSum = g, sum
			return t, nil
		}
		if !errors.Is(err, ErrTorn) {
			return tip{}, err
		}
		first = errors.Join(first, err)
		warn(fmt.Sprintf("generation %d is passed over: %v", list[i], err))
	}
	// Not %w of first: whatever is missing, this is not a new prefix.
	return tip{}, fmt.Errorf("%w: all generations of %s: %v; bring one back from a copy, or choose another prefix",
		ErrTorn, p.url(""), first)
}

// follow writes g as the generation after t and returns the new tip. It wraps ErrFenced if another process has written
// that one or a later one, and errEarlier, with the tip to go on from, if this process has. After any other error the
// generation may be there or not.
func (p place) follow(ctx context.Context, t tip, g generation) (tip, error) {
	g.Generation, g.Parent = t.number+1, nil
	if t.number > 0 {
		g.Parent = &parentRef{Name: generationName(t.number), Sum: t.sum}
	}
	text, err := encodeGeneration(g)
	if err != nil {
		return t, err
	}
	_, err = p.put(ctx, generationName(g.Generation), text, objects.PutOptions{IfNoneMatch: true})
	if errors.Is(err, objects.ErrExists) {
		g, text, err = p.collision(ctx, g, text)
	}
	if err != nil && !errors.Is(err, errEarlier) {
		return t, fmt.Errorf("write %s: %w", p.url(generationName(g.Generation)), err)
	}
	sum := hexSum(text)
	next, late := p.latest(ctx, tip{number: g.Generation, sum: sum, known: g, knownSum: sum}, g.Writer)
	return next, errors.Join(err, late)
}

// collision says whose generation is in the place of g. It is no error if it is g itself: a request that is tried again
// after its answer was lost finds its own bytes.
func (p place) collision(ctx context.Context, g generation, text []byte) (generation, []byte, error) {
	there, _, err := p.read(ctx, generationName(g.Generation))
	switch {
	case errors.Is(err, fs.ErrNotExist): // already replaced by later ones
		return g, nil, ErrFenced
	case err != nil:
		return g, nil, err
	case bytes.Equal(there, text):
		return g, text, nil
	}
	other, err := parseGeneration(there, g.Generation)
	switch {
	case err != nil:
		return g, nil, fmt.Errorf("%w: it exists: %v", ErrFenced, err)
	case other.Writer == g.Writer:
		return other, there, errEarlier
	}
	return g, nil, fmt.Errorf("%w: %s wrote it", ErrFenced, other.Owner)
}

// latest returns t if there is no generation after it, or the newest one if writer wrote that: a save that was given up as
// failed and arrived after all. It wraps ErrFenced if another process wrote it. Old generations are deleted, so a writer
// that was away for long can write a number anew without a collision; then there are later ones, and it shows here.
func (p place) latest(ctx context.Context, t tip, writer string) (tip, error) {
	later, err := p.generations(ctx, t.number)
	if err != nil || len(later) == 0 {
		return t, err
	}
	n := later[len(later)-1]
	by := "another process"
	if g, sum, err := p.readGeneration(ctx, n); err == nil {
		if g.Writer == writer {
			return tip{number: n, sum: sum, known: g, knownSum: sum}, nil
		}
		by = g.Owner
	} else if !errors.Is(err, ErrTorn) && !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	return t, fmt.Errorf("%w: %s is at generation %d of %s, this process at %d", ErrFenced, by, n, p.url(""), t.number)
}
