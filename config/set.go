package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// keyPart is the beginning of an override that may be a dotted key.
var keyPart = regexp.MustCompile(`^[A-Za-z0-9_.]*`)

// set applies one override "dotted.key=value". The value is read as in the file, except that a word or a path is taken
// as it stands, whatever its characters: a shell has quoted it already.
func (d *decoder) set(override string) {
	d.sets = true
	defer func() { d.sets = false }()
	key, text, ok := strings.Cut(override, "=")
	key = strings.TrimSpace(key)
	if !ok || key == "" {
		// Only what may be a key is repeated: the rest could be a secret.
		d.fail(0, "", fmt.Sprintf("%q is no override; write key=value, as train.batch=128", keyPart.FindString(override)))
		return
	}
	f, v, ok := d.lookup(key)
	if !ok {
		d.fail(0, key, d.unknown(key, d.siblings(key)))
		return
	}
	if v.Kind() == reflect.String {
		d.where[key] = place{set: true}
		delete(d.bad, key)
		fresh := reflect.New(v.Type()).Elem()
		if d.text(f, fresh, text, 0) {
			v.Set(fresh)
		}
		return
	}
	node, _, problem := parseDocument([]byte(text))
	switch {
	case problem != "":
		d.fail(0, key, problem)
	case node == nil:
		d.field(f, v, ast.Null(nil), 0)
	default:
		d.field(f, v, node, 0)
	}
}

func parentOf(key string) string {
	parent, _ := splitKey(key)
	return parent
}

// lookup finds the value of a dotted key.
func (d *decoder) lookup(key string) (field, reflect.Value, bool) {
	v, prefix := d.root, ""
	names := strings.Split(key, ".")
	for i, name := range names {
		f, ok := find(fieldsOf(v.Type(), prefix), name)
		if !ok || i < len(names)-1 && !f.section() {
			return field{}, reflect.Value{}, false
		}
		v, prefix = v.FieldByIndex(f.index), f.key
		if i == len(names)-1 {
			return f, v, true
		}
	}
	return field{}, reflect.Value{}, false
}

// siblings lists the keys of the deepest known section above key.
func (d *decoder) siblings(key string) []field {
	for parent := parentOf(key); parent != ""; parent = parentOf(parent) {
		if f, v, ok := d.lookup(parent); ok && f.section() {
			return fieldsOf(v.Type(), f.key)
		}
	}
	return fieldsOf(d.root.Type(), "")
}
