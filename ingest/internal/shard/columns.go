package shard

import (
	"fmt"
	"slices"
	"strings"
)

// columnKind is what a column of a table can serve for.
type columnKind int

const (
	kindOther columnKind = iota
	kindBytes
	kindText
	kindInteger
)

// column is one of a table's, a field of a struct included.
type column struct {
	path []string
	kind columnKind
	leaf leaf  // in Parquet
	node *node // in Arrow IPC
}

// imageNames are those of a column of images, the likeliest first.
var imageNames = []string{"image", "img", "jpg", "jpeg", "png", "webp", "bytes"}

// keyNames are those of a column of keys.
var keyNames = []string{"path", "__key__", "key", "id"}

// chosen are the columns that are read.
type chosen struct {
	image column
	label *column
	keys  []column // the first of a row that has a value is its key
}

// choose finds the columns among all of a table.
func choose(all []column, o *Options) (c chosen, err error) {
	if c.image, err = chooseImage(all, o.ImageColumn); err != nil {
		return c, err
	}
	if c.label, err = chooseLabel(all, o); err != nil {
		return c, err
	}
	parent := c.image.path[:len(c.image.path)-1]
	if len(parent) > 0 {
		if key := find(all, append(parent[:len(parent):len(parent)], "path")...); key != nil && key.kind == kindText {
			c.keys = append(c.keys, *key)
		}
	}
	for _, name := range keyNames {
		if key := find(all, name); key != nil && key.kind != kindOther && !slices.Equal(key.path, c.image.path) {
			c.keys = append(c.keys, *key)
			break
		}
	}
	return c, nil
}

func chooseImage(all []column, name string) (column, error) {
	if name != "" {
		for _, path := range [][]string{{name}, {name, "bytes"}, strings.Split(name, ".")} {
			if c := find(all, path...); c != nil && c.kind == kindBytes {
				return *c, nil
			}
		}
		return column{}, fmt.Errorf("has no column %q of bytes (%s); set the image column to one of these", name, describe(all))
	}
	for _, name := range imageNames {
		for _, path := range [][]string{{name}, {name, "bytes"}} {
			if c := find(all, path...); c != nil && c.kind == kindBytes {
				return *c, nil
			}
		}
	}
	return column{}, fmt.Errorf("has no column of image bytes named %s (%s); set the image column to one of these",
		strings.Join(imageNames, ", "), describe(all))
}

func chooseLabel(all []column, o *Options) (*column, error) {
	if !o.Labels {
		return nil, nil
	}
	name := o.LabelColumn
	if name == "" {
		name = "label"
	}
	label := find(all, name)
	if label == nil {
		label = find(all, strings.Split(name, ".")...)
	}
	if label != nil && label.kind == kindInteger {
		return label, nil
	}
	switch {
	case label != nil:
		return nil, fmt.Errorf("its column %q holds no whole numbers; write class numbers, or read the shards without labels", name)
	case o.LabelColumn != "":
		return nil, fmt.Errorf("has no column %q for the label (%s); set the label column to one of these", name, describe(all))
	}
	return nil, nil
}

func find(all []column, path ...string) *column {
	for i := range all {
		if slices.Equal(all[i].path, path) {
			return &all[i]
		}
	}
	return nil
}

// describe lists the columns for a person.
func describe(all []column) string {
	var text strings.Builder
	for i, c := range all {
		if i > 0 {
			text.WriteString(", ")
		}
		if i == 20 {
			fmt.Fprintf(&text, "and %d more", len(all)-i)
			break
		}
		fmt.Fprintf(&text, "%.60q %s", dotted(c.path), [...]string{"other", "bytes", "text", "integer"}[c.kind])
	}
	if text.Len() == 0 {
		return "it has no columns"
	}
	return "it has " + text.String()
}
