package config

import (
	"reflect"
	"strings"
)

// suggest finds the known keys that an unknown one was probably meant to be: a misspelt sibling, the same name in
// another section, or a misspelt dotted key. It returns them as "a or b", "" if there is none.
func suggest(root reflect.Type, key string) string {
	all := keysOf(root, "")
	parent, name := splitKey(key)
	var siblings, namesakes []string
	for _, k := range all {
		p, n := splitKey(k)
		if p == parent {
			siblings = append(siblings, k)
		}
		if n == name {
			namesakes = append(namesakes, k)
		}
	}
	if k := nearest(key, siblings, slack(name)); k != "" {
		return k
	}
	if k := nearest(key, namesakes, 2); k != "" { // the section is misspelt
		return k
	}
	if len(namesakes) > 0 {
		return strings.Join(namesakes, " or ")
	}
	return nearest(key, all, 1+len(key)/5)
}

// slack is how many edits may lie between a name and what it was meant to be; a single letter is never another one.
func slack(name string) int { return min(len(name)-1, 1+len(name)/4) }

func splitKey(key string) (parent, name string) {
	i := strings.LastIndexByte(key, '.')
	return key[:max(i, 0)], key[i+1:]
}

// nearest returns the candidate with the fewest edits from s, at most limit; the earlier one of equals.
func nearest(s string, candidates []string, limit int) string {
	best, bestEdits := "", limit+1
	for _, c := range candidates {
		if e := edits(s, c); e < bestEdits {
			best, bestEdits = c, e
		}
	}
	return best
}

// edits is the optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
func edits(a, b string) int {
	prev2, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(b)]
}
