package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// entry is one tensor as the header describes it; start and end are relative to the end of the header.
type entry struct {
	name       string
	dtype      string
	shape      []int
	start, end int64
}

// headerParser walks the JSON token by token: encoding/json alone would let the last of two equal names win.
type headerParser struct{ dec *json.Decoder }

func parseHeader(head []byte) ([]entry, map[string]string, error) {
	p := headerParser{json.NewDecoder(bytes.NewReader(head))}
	p.dec.UseNumber()
	var entries []entry
	var metadata map[string]string
	err := p.object(func(name string) error {
		if name == metadataKey {
			m, err := p.metadata()
			metadata = m
			return err
		}
		e, err := p.entry(name)
		entries = append(entries, e)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if _, err := p.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, errors.New("something follows the JSON object")
	}
	return entries, metadata, nil
}

func (p headerParser) metadata() (map[string]string, error) {
	m := map[string]string{}
	err := p.object(func(key string) (err error) {
		m[key], err = p.text()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", metadataKey, err)
	}
	return m, nil
}

func (p headerParser) entry(name string) (entry, error) {
	e := entry{name: name, start: -1}
	fields := 0
	err := p.object(func(key string) (err error) {
		fields++
		switch key {
		case "dtype":
			e.dtype, err = p.text()
		case "shape":
			e.shape, err = p.shape()
		case "data_offsets":
			e.start, e.end, err = p.offsets()
		default:
			err = fmt.Errorf("unknown field %q", key)
		}
		return err
	})
	if err == nil && fields != 3 {
		err = errors.New("want dtype, shape and data_offsets")
	}
	if err != nil {
		return e, fmt.Errorf("tensor %q: %w", name, err)
	}
	return e, nil
}

// object calls f at each value of the object that comes next, refusing a name that occurs twice.
func (p headerParser) object(f func(name string) error) error {
	if err := p.delim('{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for p.dec.More() {
		name, err := p.text()
		if err != nil {
			return err
		}
		if seen[name] {
			return fmt.Errorf("name %q occurs twice", name)
		}
		seen[name] = true
		if err := f(name); err != nil {
			return err
		}
	}
	return p.delim('}')
}

func (p headerParser) shape() ([]int, error) {
	ns, err := p.numbers(maxRank)
	if err != nil {
		return nil, err
	}
	shape := make([]int, len(ns))
	for i, n := range ns {
		if shape[i] = int(n); int64(shape[i]) != n {
			return nil, fmt.Errorf("dimension %d is too large for this machine", n)
		}
	}
	return shape, nil
}

func (p headerParser) offsets() (start, end int64, err error) {
	ns, err := p.numbers(2)
	if err != nil {
		return 0, 0, err
	}
	if len(ns) != 2 {
		return 0, 0, fmt.Errorf("want two data_offsets, have %d", len(ns))
	}
	return ns[0], ns[1], nil
}

// numbers reads an array of at most limit non-negative integers.
func (p headerParser) numbers(limit int) ([]int64, error) {
	if err := p.delim('['); err != nil {
		return nil, err
	}
	var ns []int64
	for p.dec.More() {
		t, err := p.dec.Token()
		if err != nil {
			return nil, err
		}
		num, _ := t.(json.Number)
		n, err := strconv.ParseUint(num.String(), 10, 63)
		if err != nil {
			return nil, fmt.Errorf("%v is not a length or offset", t)
		}
		if len(ns) == limit {
			return nil, fmt.Errorf("more than %d numbers", limit)
		}
		ns = append(ns, int64(n))
	}
	return ns, p.delim(']')
}

func (p headerParser) text() (string, error) {
	t, err := p.dec.Token()
	if err != nil {
		return "", noEOF(err)
	}
	s, ok := t.(string)
	if !ok {
		return "", fmt.Errorf("%v is not a string", t)
	}
	return s, nil
}

func (p headerParser) delim(want json.Delim) error {
	t, err := p.dec.Token()
	if err != nil {
		return noEOF(err)
	}
	if t != want {
		return fmt.Errorf("want %v, have %v", want, t)
	}
	return nil
}
