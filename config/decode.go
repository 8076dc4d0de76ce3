package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

	yaml "github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// decoder fills a tree from YAML nodes and collects what is wrong instead of stopping at it.
type decoder struct {
	*origin
	root reflect.Value
	env  func(string) (string, bool)
	sets bool // values come from an override
	errs Errors
}

// newDecoder writes into root, a pointer to a struct with tags.
func newDecoder(file string, root any, env func(string) (string, bool)) *decoder {
	return &decoder{
		origin: &origin{file: file, where: map[string]place{}, bad: map[string]bool{}},
		root:   reflect.ValueOf(root).Elem(),
		env:    env,
	}
}

// fail records an error about key, at its own place or else at line.
func (d *decoder) fail(line int, key, problem string) {
	d.bad[key] = true
	if d.sets {
		d.errs = append(d.errs, Error{File: setFile, Key: key, Problem: problem})
		return
	}
	d.errs = append(d.errs, Error{File: d.origin.file, Line: line, Key: key, Problem: problem})
}

// file reads one YAML document.
func (d *decoder) file(data []byte) {
	node, line, problem := parseDocument(data)
	if problem != "" {
		d.fail(line, "", problem)
		return
	}
	if node != nil {
		d.section(d.root, "", node)
	}
}

// parseDocument returns the only document's node, nil if it is empty, or the line of what is wrong.
func parseDocument(data []byte) (node ast.Node, line int, problem string) {
	if len(data) > maxFile {
		return nil, 0, fmt.Sprintf("has more than %d bytes, which no configuration needs; name a YAML file", maxFile)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		return nil, lineOfInvalid(data), "is not UTF-8; save it as UTF-8"
	}
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	var syntax yaml.Error
	switch {
	case errors.As(err, &syntax) && syntax.GetToken() != nil:
		return nil, syntax.GetToken().Position.Line, "not valid YAML: " + syntax.GetMessage()
	case err != nil:
		return nil, 0, "not valid YAML: " + err.Error()
	}
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.DirectiveType {
			continue
		}
		if node != nil {
			return nil, lineOf(doc.Body), "has a second document; write one document a file, without ---"
		}
		node = doc.Body
	}
	return node, 0, ""
}

// lineOfInvalid is the line of the first byte that is not UTF-8.
func lineOfInvalid(data []byte) int {
	line := 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		if r == utf8.RuneError && size == 1 {
			return line
		}
		if r == '\n' {
			line++
		}
		data = data[size:]
	}
	return 0
}

func lineOf(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

// section fills the struct v from a mapping. An empty section keeps its defaults.
func (d *decoder) section(v reflect.Value, prefix string, node ast.Node) {
	if node.Type() == ast.NullType {
		return
	}
	mapping, ok := node.(ast.MapNode)
	if !ok {
		d.fail(lineOf(node), prefix, describe(node)+" where a section is expected; write its keys below it, indented")
		return
	}
	fields := fieldsOf(v.Type(), prefix)
	seen := map[string]int{}
	for it := mapping.MapRange(); it.Next(); {
		name, line := it.Key().GetToken().Value, lineOf(it.Key())
		key := join(prefix, name)
		if it.Key().IsMergeKey() || it.Key().Type() == ast.MappingKeyType {
			d.fail(line, prefix, "merge keys and ? keys are not read here; write key: value")
			continue
		}
		if first := seen[name]; first > 0 {
			d.fail(line, key, fmt.Sprintf("is given twice, on line %d already; keep one", first))
			continue
		}
		seen[name] = line
		f, ok := find(fields, name)
		if !ok {
			d.fail(line, key, d.unknown(key, fields))
			continue
		}
		d.field(f, v.FieldByIndex(f.index), it.Value(), line)
	}
}

func find(fields []field, name string) (field, bool) {
	for _, f := range fields {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

// unknown words the error about a key that its section, which has siblings, does not have.
func (d *decoder) unknown(key string, siblings []field) string {
	names := make([]string, len(siblings))
	for i, f := range siblings {
		names[i] = f.name
	}
	near := ""
	if parent, name := splitKey(key); strings.HasSuffix(parent, "]") { // in a record only its own keys can be meant
		near = nearest(name, names, slack(name))
	} else {
		near = suggest(d.root.Type(), key)
	}
	switch near {
	case "":
		return "unknown key; known here are " + strings.Join(names, ", ")
	case key: // spelt right, so it must be the dots
		return "unknown key; in a file each part of a dotted key has its own line, indented below the one before"
	}
	return "unknown key; did you mean " + near + "?"
}

// field fills one key; line is where its name stands.
func (d *decoder) field(f field, v reflect.Value, node ast.Node, line int) {
	d.where[f.key] = place{line: line, set: d.sets}
	delete(d.bad, f.key)
	if f.section() && !strings.HasSuffix(f.key, "]") {
		d.section(v, f.key, node)
		return
	}
	fresh := reflect.New(v.Type()).Elem()
	if d.value(f, fresh, node) {
		v.Set(fresh)
	}
}

// value sets v, which is zero, from node and reports whether it could.
func (d *decoder) value(f field, v reflect.Value, node ast.Node) bool {
	switch node.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		d.fail(lineOf(node), f.key, "anchors, aliases and tags are not read here; write the value out")
		return false
	}
	if node.Type() == ast.NullType {
		return d.null(f, v, node)
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return d.value(f, v.Elem(), node)
	case reflect.Array, reflect.Slice:
		return d.list(f, v, node)
	}
	return d.scalar(f, v, node)
}

// null is "the recipe's own" for an optional key and "none" for a path or list; elsewhere it is a forgotten value.
func (d *decoder) null(f field, v reflect.Value, node ast.Node) bool {
	switch {
	case v.Kind() == reflect.Pointer, v.Kind() == reflect.Slice, v.Kind() == reflect.String && !f.nonempty && f.allowed == nil:
		return true
	}
	d.fail(d.lineOr(f.key, node), f.key, "has no value; give it one or delete the line for the default")
	return false
}

// lineOr is the line of key's name, which a missing value belongs to, or else the node's.
func (d *decoder) lineOr(key string, node ast.Node) int {
	if p, ok := d.where[key]; ok {
		return p.line
	}
	return lineOf(node)
}

func (d *decoder) list(f field, v reflect.Value, node ast.Node) bool {
	seq, ok := node.(*ast.SequenceNode)
	if !ok {
		d.fail(lineOf(node), f.key, describe(node)+" where a list is expected; write "+f.listExample(v))
		return false
	}
	n := len(seq.Values)
	if v.Kind() == reflect.Array && n != v.Len() {
		d.fail(lineOf(node), f.key, fmt.Sprintf("%d values where %d are expected; write %s", n, v.Len(), f.listExample(v)))
		return false
	}
	if v.Kind() == reflect.Slice {
		v.Set(reflect.MakeSlice(v.Type(), n, n))
	}
	ok = true
	for i, item := range seq.Values {
		if f.records() {
			key := fmt.Sprintf("%s[%d]", f.key, i)
			d.where[key] = place{line: lineOf(item), set: d.sets}
			d.section(v.Index(i), key, item)
			continue
		}
		ok = d.value(f, v.Index(i), item) && ok
	}
	return ok
}

func (f field) listExample(v reflect.Value) string {
	switch {
	case f.example != "":
		return f.example
	case v.Kind() == reflect.Array:
		return "[" + strings.TrimSuffix(strings.Repeat("0.5, ", v.Len()), ", ") + "]"
	}
	return "[1, 2]"
}

func (d *decoder) scalar(f field, v reflect.Value, node ast.Node) bool {
	var text string
	quoted := false
	switch n := node.(type) {
	case *ast.LiteralNode:
		text, quoted = n.Value.Value, true
	case *ast.StringNode:
		text = n.Value
		quoted = strings.HasSuffix(n.Token.Type.String(), "Quote")
	case ast.ScalarNode:
		text = n.GetToken().Value
	default:
		d.fail(lineOf(node), f.key, fmt.Sprintf("%s where one %s is expected", describe(node), f.scalarName()))
		return false
	}
	if quoted && v.Kind() != reflect.String {
		d.fail(lineOf(node), f.key, fmt.Sprintf("%q is quoted text where one %s is expected; write it without quotes", text, f.scalarName()))
		return false
	}
	return d.text(f, v, text, lineOf(node))
}

// text sets v from a scalar's text, expanding ${NAME} where the key is secret. Its errors never hold a secret.
func (d *decoder) text(f field, v reflect.Value, text string, line int) bool {
	if f.secret {
		var problem string
		if text, problem = d.expand(text); problem != "" {
			d.fail(line, f.key, problem)
			return false
		}
	}
	if problem := f.scan(v, text); problem != "" {
		d.fail(line, f.key, problem)
		return false
	}
	return true
}

var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// expand replaces each ${NAME} by the environment's value, once: a value that looks like a variable stays as it is.
func (d *decoder) expand(text string) (expanded, problem string) {
	if rest := variable.ReplaceAllString(text, ""); strings.Contains(rest, "${") {
		return "", "has ${ without a name and }; write ${NAME}"
	}
	expanded = variable.ReplaceAllStringFunc(text, func(ref string) string {
		name := ref[2 : len(ref)-1]
		value, ok := d.env(name)
		if !ok && problem == "" {
			problem = "environment variable " + name + " is not set; export it"
		}
		return value
	})
	return expanded, problem
}

// describe names a node for an error.
func describe(n ast.Node) string {
	switch n.Type() {
	case ast.MappingType, ast.MappingValueType:
		return "a mapping"
	case ast.SequenceType:
		return "a list"
	case ast.NullType:
		return "nothing"
	}
	return "a single value"
}
