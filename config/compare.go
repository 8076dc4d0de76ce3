package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Change is one key whose value differs from the one that a checkpoint recorded.
type Change struct {
	Key      string // dotted
	Old, New string // as Flat renders them; New is "" for a key that this program does not know
	Class    Class
}

// Flat renders the tree as dotted keys and values in canonical form (equal values are equal strings), without secrets
// and without paths, which say nothing about a run on another machine.
func Flat(c *Config) map[string]string {
	flat := map[string]string{}
	walk(reflect.ValueOf(c).Elem(), "", func(f field, v reflect.Value) {
		text := f.format(v, portable)
		if portable(f) && (f.path != "maybe" || !strings.ContainsAny(text, `/\`)) {
			flat[f.key] = text
		}
	})
	return flat
}

// Essential is Flat without the free keys: what may decide a run's numbers. Two runs that may differ in worker counts
// or log intervals alone have equal ones.
func Essential(c *Config) map[string]string {
	flat := Flat(c)
	for key, f := range leaves() {
		if f.class == Free {
			delete(flat, key)
		}
	}
	return flat
}

func portable(f field) bool { return !f.secret && f.path != "true" }

func leaves() map[string]field {
	all := map[string]field{}
	walk(reflect.ValueOf(Default()).Elem(), "", func(f field, _ reflect.Value) { all[f.key] = f })
	return all
}

// Compare lists where c differs from old, which Flat or Essential made, perhaps of an earlier version: in the order of
// the reference page. A key that old lacks had its default then, unless it is free. A key that only old has is reported
// last, as Accept: this program cannot honour it.
func Compare(old map[string]string, c *Config) []Change {
	was, now := Flat(Default()), Flat(c)
	var changes []Change
	known := map[string]bool{}
	walk(reflect.ValueOf(c).Elem(), "", func(f field, _ reflect.Value) {
		known[f.key] = true
		before, recorded := old[f.key]
		if !recorded && f.class == Free {
			return
		}
		if !recorded {
			before = was[f.key]
		}
		if after, ok := now[f.key]; ok && before != after {
			changes = append(changes, Change{Key: f.key, Old: before, New: after, Class: f.class})
		}
	})
	for _, key := range slices.Sorted(maps.Keys(old)) {
		if !known[key] {
			changes = append(changes, Change{Key: key, Old: old[key], Class: Accept})
		}
	}
	return changes
}
