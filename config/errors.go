package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// setFile stands for a file's name in errors about an override.
const setFile = "--set"

// Error is one thing wrong with a configuration, and what to do about it.
type Error struct {
	File    string // as given to Load or Parse; "--set" for an override; "" for a tree made in Go
	Line    int    // in File from 1; 0 where no line speaks of Key
	Key     string // dotted; "" where the error is the file's own
	Problem string // what is wrong, and the remedy
}

// Error renders "file:line: key: problem" without the parts that are unknown.
func (e Error) Error() string {
	var b strings.Builder
	switch {
	case e.Line > 0:
		fmt.Fprintf(&b, "%s:%d: ", e.File, e.Line)
	case e.File != "":
		fmt.Fprintf(&b, "%s: ", e.File)
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Problem)
	return b.String()
}

// Errors is everything wrong with a configuration, by line: never empty when returned as an error.
type Errors []Error

// Error renders one error a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find a single Error.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// sort orders by line, then what has no line, then overrides as given.
func (e Errors) sort() {
	rank := func(x Error) int {
		switch {
		case x.File == setFile:
			return 2
		case x.Line == 0:
			return 1
		}
		return 0
	}
	slices.SortStableFunc(e, func(a, b Error) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Line, b.Line))
	})
}

// place is where a value was written.
type place struct {
	line int
	set  bool // by an override, which has no line
}

// origin remembers where the values of a tree were written, so that a broken rule can name the line.
type origin struct {
	file  string
	where map[string]place // dotted key -> last writer
	bad   map[string]bool  // keys already reported; rules over them would only repeat it
}

// at makes an Error about key, placed where the first of key and others was written.
func (o *origin) at(problem, key string, others ...string) Error {
	e := Error{File: o.file, Key: key, Problem: problem}
	for _, k := range append([]string{key}, others...) {
		p, ok := o.place(k)
		if !ok {
			continue
		}
		if p.set {
			e.File = setFile
		}
		e.Line = p.line
		return e
	}
	return e
}

// place finds where key was written, or else the record or list that it is in.
func (o *origin) place(key string) (place, bool) {
	if p, ok := o.where[key]; ok {
		return p, true
	}
	if i := strings.LastIndex(key, "]."); i > 0 { // the record in a list
		return o.place(key[:i+1])
	}
	if i := strings.LastIndexByte(key, '['); i > 0 { // the list
		return o.place(key[:i])
	}
	return place{}, false
}
