package config

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Class says what a resume makes of a key whose value differs from the checkpoint's.
type Class string

const (
	Free    Class = "free"    // may change between runs
	Accept  Class = "accept"  // changes the training: needs --accept-change
	Refused Class = "refused" // makes the checkpoint meaningless
)

// field is one key as its struct tags describe it.
type field struct {
	key, name string // "train.k", "k"
	typ       reflect.Type
	index     []int // in its struct

	doc, unit, example string
	allowed            []string
	limits             *interval
	class              Class
	auto, nonempty     bool
	secret             bool
	path               string // "", "true" or "maybe"
}

var durationType = reflect.TypeFor[time.Duration]()

// fieldsOf lists the keys of a struct, in the order of the source; those of an embedded struct stand among them. A
// malformed tag panics: tests walk the whole tree.
func fieldsOf(t reflect.Type, prefix string) []field {
	var list []field
	for i := range t.NumField() {
		sf := t.Field(i)
		if sf.Anonymous {
			for _, f := range fieldsOf(sf.Type, prefix) {
				f.index = append([]int{i}, f.index...)
				list = append(list, f)
			}
			continue
		}
		name, ok := sf.Tag.Lookup("yaml")
		if !ok {
			continue
		}
		f := field{
			key: join(prefix, name), name: name, typ: sf.Type, index: sf.Index,
			doc: sf.Tag.Get("doc"), unit: sf.Tag.Get("unit"), example: sf.Tag.Get("example"),
			class: Class(sf.Tag.Get("change")), path: sf.Tag.Get("path"),
			auto: sf.Tag.Get("auto") != "", nonempty: sf.Tag.Get("nonempty") != "", secret: sf.Tag.Get("secret") != "",
		}
		if a := sf.Tag.Get("allowed"); a != "" {
			f.allowed = strings.Split(a, "|")
		}
		if r := sf.Tag.Get("range"); r != "" {
			f.limits = f.mustInterval(r)
		}
		list = append(list, f)
	}
	return list
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

// section reports whether the key holds further keys.
func (f field) section() bool { return f.typ.Kind() == reflect.Struct }

// records reports whether the key is a list of structs.
func (f field) records() bool {
	return f.typ.Kind() == reflect.Slice && f.typ.Elem().Kind() == reflect.Struct
}

// scalar is the type of a single number, word or switch within the key.
func (f field) scalar() reflect.Type {
	t := f.typ
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Array || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t
}

// walk visits every leaf of the struct v, in the order of the source.
func walk(v reflect.Value, prefix string, visit func(field, reflect.Value)) {
	for _, f := range fieldsOf(v.Type(), prefix) {
		if f.section() {
			walk(v.FieldByIndex(f.index), f.key, visit)
			continue
		}
		visit(f, v.FieldByIndex(f.index))
	}
}

// keysOf lists the dotted keys below t, sections included.
func keysOf(t reflect.Type, prefix string) []string {
	var keys []string
	for _, f := range fieldsOf(t, prefix) {
		keys = append(keys, f.key)
		if f.section() {
			keys = append(keys, keysOf(f.typ, f.key)...)
		}
	}
	return keys
}

// typeName says in words what the key takes.
func (f field) typeName() string {
	one := f.scalarName()
	switch {
	case f.records():
		return "list of records"
	case f.typ.Kind() == reflect.Slice:
		return "list of " + one + "s"
	case f.typ.Kind() == reflect.Array:
		return fmt.Sprintf("%d %ss", f.typ.Len(), one)
	case f.typ.Kind() == reflect.Pointer && f.typ.Elem().Kind() == reflect.Array:
		return "[min, max] or null"
	case f.typ.Kind() == reflect.Pointer:
		return one + " or null"
	case f.auto:
		return one + " or auto"
	}
	return one
}

func (f field) scalarName() string {
	t := f.scalar()
	switch {
	case t == durationType:
		return "duration"
	case t.Kind() == reflect.Int64 && f.unit == "bytes":
		return "size"
	case t.Kind() == reflect.String && f.path == "true":
		return "path"
	case t.Kind() == reflect.Float64:
		return "float"
	case t.Kind() == reflect.Uint64:
		return "int"
	}
	return t.Kind().String()
}
