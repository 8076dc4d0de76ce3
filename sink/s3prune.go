package sink

import (
	"context"
	"fmt"
	"strings"
)

// kept returns which older checkpoints stay when step is saved, newest first. Damaged ones go, and so does one of the
// same step, which the run passed over or came by a second time.
func (s *S3Store) kept(step int64) []keptStep {
	var stay []keptStep
	newest := 1 // the one that is saved
	for _, k := range s.tip.checkpoints() {
		switch {
		case s.bad[k.Folder] || k.Step == step:
		case s.o.Keep == 0 || newest < s.o.Keep:
			newest++
			stay = append(stay, k)
		case s.o.KeepEvery > 0 && k.Step%s.o.KeepEvery == 0:
			stay = append(stay, k)
		}
	}
	return stay
}

// prune deletes what the tip, which this process has just written, no longer names. Failing costs space only, so it is a
// warning. Nothing that a later owner may name is touched: its generations go on from the tip, so of what was there it
// names what the tip names, and its own folders carry a later claim.
func (s *S3Store) prune(ctx context.Context) {
	if s.o.Keep == 0 && s.swept {
		return
	}
	s.swept = true
	names, err := s.unnamed(ctx)
	if err == nil {
		err = s.remove(ctx, names)
	}
	if err != nil {
		s.o.Warn(fmt.Sprintf("prune checkpoints in %s: %v", s.url(""), err))
	}
}

// unnamed returns the objects that may go: first generations, then files of pruned checkpoints and of saves that broke off.
func (s *S3Store) unnamed(ctx context.Context) ([]string, error) {
	generations := map[int64]bool{s.tip.number: true, s.tip.number - 1: true}
	folders := map[string]bool{}
	for _, k := range s.tip.checkpoints() {
		generations[k.Generation], folders[k.Folder] = true, true
	}
	all, err := s.generations(ctx, 0)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range all {
		if n < s.tip.number && !generations[n] {
			names = append(names, generationName(n))
		}
	}
	for name, err := range s.list(ctx, "step-", "") {
		if err != nil {
			return nil, err
		}
		folder, _, _ := strings.Cut(name, "/")
		if _, claim, ok := parseObjectFolder(folder); ok && claim <= s.claim && !folders[folder] {
			names = append(names, name)
		}
	}
	return names, nil
}
