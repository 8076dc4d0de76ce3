package config

import (
	"fmt"
	"reflect"
	"strings"
)

// Key is one line of the reference: a key and all that is known about it.
type Key struct {
	Name    string // dotted; "eval.probes[].name" within a list of records
	Section string // top-level section
	Type    string // in words: "int or auto", "size", "[min, max] or null"
	Default string // as YAML; "" where there is none
	Allowed string // values or range in words; "" where the type says it all
	Class   Class  // what a resume makes of a change
	Doc     string
	Path    bool // names a place; never in a checkpoint
	Secret  bool // takes ${NAME}; never printed
}

// Keys lists every key in the order of the tree, without the sections themselves.
func Keys() []Key {
	var keys []Key
	walk(reflect.ValueOf(Default()).Elem(), "", func(f field, v reflect.Value) {
		keys = append(keys, f.describe(f.format(v, everyField)))
		if !f.records() {
			return
		}
		for _, sub := range fieldsOf(f.typ.Elem(), f.key+"[]") {
			sub.class = f.class
			keys = append(keys, sub.describe(""))
		}
	})
	return keys
}

func (f field) describe(value string) Key {
	if value == "''" {
		value = ""
	}
	section, _, _ := strings.Cut(f.key, ".")
	return Key{
		Name: f.key, Section: section, Type: f.typeName(), Default: value, Allowed: f.allowedText(),
		Class: f.class, Doc: f.doc, Path: f.path == "true", Secret: f.secret,
	}
}

const referenceHead = `<!-- Made from the struct tags in config/ by: go test ./config -run TestReference -update -->

# Configuration

One YAML file describes a run. ` + "`mocostream config init`" + ` prints one with every key explained, ` + "`mocostream config print -c FILE`" + `
the one in effect. Every key has a default, so a file holds only what differs; training needs a source: ` + "`ingest.dir`" + `,
` + "`ingest.shards`, `ingest.s3.url` or `ingest.kafka.brokers`" + `.

Reading is strict. An unknown key, a value of the wrong type and a broken rule are errors, all reported at once with file
and line:

    run.yaml:12: train.k: 32 is smaller than the batch (64); use a multiple of batch or auto

## Values

- A **size** is a number with a unit: ` + "`512MiB`, `1.5GiB`, `20MB`" + `. A **duration** likewise: ` + "`10s`, `5m`, `1h30m`" + `.
- **auto**, where allowed, leaves the choice to the program, which logs what it chose.
- **null** for an ` + "`augment`" + ` override leaves the recipe's own value.
- Anchors, aliases, tags and merge keys are not read.

## Overrides

` + "`--set key=value`" + ` overrides one key, as often as needed; the last one of a key wins. Keys are dotted, values are read as in
the file, paths and words as they stand:

    mocostream train -c run.yaml --set train.batch=128 --set 'augment.crop_scale=[0.08, 1]' --set ingest.dir=/data/images

## Secrets

In keys marked *secret*, ` + "`${NAME}`" + ` is replaced by the environment variable NAME; one that is not set is an error. Everywhere
else ` + "`${NAME}`" + ` is plain text. A secret is never printed, logged or stored. One of the form ` + "`file:PATH`" + ` is
read from that file, and read again when the other side refuses it: a mounted secret can be changed under a running daemon.

## Changes on resume

A checkpoint records the configuration, without paths and secrets. When a run goes on with another value of a key, the
column *resume* decides:

| resume | meaning |
|---|---|
| free | may change at any time; the result does not depend on it, or other checks guard it |
| accept | changes the training; the run stops unless started with ` + "`--accept-change`" + ` |
| refused | the checkpoint's weights or random numbers would no longer fit; start a new run |

A key that the checkpoint does not know counts as having had its default.
`

// Reference renders docs/configuration.md, Markdown.
func Reference() string {
	keys := Keys()
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, s := range fieldsOf(reflect.TypeFor[Config](), "") {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", s.name, s.doc)
		b.WriteString("| key | type | default | allowed | resume | meaning |\n|---|---|---|---|---|---|\n")
		for _, k := range keys {
			if k.Section == s.name {
				b.WriteString(k.row())
			}
		}
	}
	return b.String()
}

func (k Key) row() string {
	doc := k.Doc
	if k.Secret {
		doc = "*Secret.* " + doc
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s | %s |\n", k.Name, cell(k.Type), code(k.Default), cell(k.Allowed), k.Class, cell(doc))
}

// cell keeps a bar in a text from ending the cell.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + cell(s) + "`"
}
