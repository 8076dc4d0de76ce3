package config

import (
	"fmt"
	"reflect"
	"strings"
)

// Print renders the effective tree as YAML that Parse reads back to the same values. A secret is shown as a comment,
// never its value.
func Print(c *Config) string {
	w := &writer{}
	w.section(reflect.ValueOf(c).Elem(), "", 0)
	return w.String()
}

// Init renders the defaults as a commented file to start from. It trains as it stands once ingest.dir is filled in.
func Init() string {
	w := &writer{comments: true}
	w.WriteString("# Configuration of a mocostream run. Every key is listed with its default; a deleted line means the default.\n" +
		"# Fill in ingest.dir, then: mocostream train -c FILE. Check with: mocostream config print -c FILE.\n\n")
	w.section(reflect.ValueOf(Default()).Elem(), "", 0)
	return w.String()
}

// writer renders a tree as block YAML.
type writer struct {
	strings.Builder
	comments bool // explain each key, and comment out what has no value
}

func (w *writer) section(v reflect.Value, prefix string, depth int) {
	indent := strings.Repeat("  ", depth)
	for i, f := range fieldsOf(v.Type(), prefix) {
		value := v.FieldByIndex(f.index)
		if w.comments && (depth == 0 || f.section()) && i > 0 {
			w.WriteByte('\n')
		}
		if w.comments {
			w.comment(indent, f.explain())
		}
		if f.section() {
			fmt.Fprintf(w, "%s%s:\n", indent, f.name)
			w.section(value, f.key, depth+1)
			continue
		}
		w.leaf(indent, f, value)
	}
}

func (w *writer) leaf(indent string, f field, v reflect.Value) {
	unset := v.IsZero() && (v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice || v.Kind() == reflect.String)
	switch {
	case f.secret && !v.IsZero():
		fmt.Fprintf(w, "%s%s: # set, not shown\n", indent, f.name)
	case w.comments && f.key == "ingest.dir":
		fmt.Fprintf(w, "%s%s: # <- set this, for example to %s\n", indent, f.name, f.example)
	case w.comments && unset:
		fmt.Fprintf(w, "%s# %s: %s\n", indent, f.name, f.example)
	case f.records() && v.Len() > 0:
		fmt.Fprintf(w, "%s%s:\n", indent, f.name)
		for i := range v.Len() {
			fmt.Fprintf(w, "%s  - %s\n", indent, f.format(v.Index(i), everyField))
		}
	default:
		fmt.Fprintf(w, "%s%s: %s\n", indent, f.name, f.format(v, everyField))
	}
}

func everyField(field) bool { return true }

// explain is the key's doc with what it may be.
func (f field) explain() string {
	if a := f.allowedText(); a != "" {
		return f.doc + " (" + a + ")"
	}
	return f.doc
}

// allowedText says which values the key takes, "" if its type says it all.
func (f field) allowedText() string {
	var parts []string
	if f.unit != "" && f.unit != "bytes" {
		parts = append(parts, f.unit)
	}
	if f.allowed != nil {
		parts = append(parts, strings.Join(f.allowed, ", "))
	}
	if f.limits != nil {
		parts = append(parts, f.limits.String())
	}
	if f.auto {
		parts = append(parts, "or auto")
	}
	return strings.Join(parts, ", ")
}

// commentWidth is where comments wrap.
const commentWidth = 112

func (w *writer) comment(indent, text string) {
	line := indent + "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > commentWidth {
			w.WriteString(line + "\n")
			line = indent + "#"
		}
		line += " " + word
	}
	w.WriteString(line + "\n")
}
