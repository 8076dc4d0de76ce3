package config

import (
	"fmt"
	"reflect"
	"strings"
)

// Validate checks the whole tree and returns all that is wrong as one Errors, or nil. forTraining adds what only
// training asks for: a source of images. Load and Parse have called it already, without forTraining; a tree changed in
// Go should be checked again.
func (c *Config) Validate(forTraining bool) error {
	if errs := c.check(forTraining); len(errs) > 0 {
		errs.sort()
		return errs
	}
	return nil
}

// checker runs the rules; keys that are wrong by themselves are left out of the rules that compare keys.
type checker struct {
	origin
	errs Errors
}

func (c *Config) check(forTraining bool) Errors {
	k := &checker{origin: origin{bad: map[string]bool{}}}
	if c.from != nil {
		k.file, k.where = c.from.file, c.from.where
		for key := range c.from.bad {
			k.bad[key] = true
		}
	}
	k.tags(reflect.ValueOf(c).Elem(), "")
	c.rules(k)
	if forTraining {
		c.trainingRules(k)
	}
	return k.errs
}

// fail records problem about key, unless one of the keys it rests on is wrong by itself.
func (k *checker) fail(problem, key string, others ...string) {
	for _, one := range append([]string{key}, others...) {
		if k.bad[one] {
			return
		}
	}
	k.errs = append(k.errs, k.at(problem, key, others...))
}

// tags checks every key against its own tags.
func (k *checker) tags(v reflect.Value, prefix string) {
	walk(v, prefix, func(f field, v reflect.Value) {
		if k.bad[f.key] {
			return
		}
		if f.records() {
			for i := range v.Len() {
				if key := fmt.Sprintf("%s[%d]", f.key, i); !k.bad[key] {
					k.tags(v.Index(i), key)
				}
			}
			return
		}
		if problem := f.check(v); problem != "" {
			k.fail(problem, f.key)
			k.bad[f.key] = true
		}
	})
}

// check returns what is wrong with the key's value by itself, "" if nothing.
func (f field) check(v reflect.Value) (problem string) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return ""
		}
		return f.check(v.Elem())
	case reflect.Array, reflect.Slice:
		for i := range v.Len() {
			if problem = f.check(v.Index(i)); problem != "" {
				return problem
			}
		}
		return f.checkPair(v)
	case reflect.String:
		return f.checkWord(v.String())
	}
	if f.limits == nil || f.auto && v.IsZero() || f.limits.holds(number(v)) {
		return ""
	}
	return fmt.Sprintf("%s is out of range; use %s%s", f.formatScalar(v), f.limits, choose(f.auto, " or auto", ""))
}

// checkPair wants the bounds of a [min, max] in order.
func (f field) checkPair(v reflect.Value) (problem string) {
	if v.Kind() == reflect.Array && v.Len() == 2 && v.Index(0).Float() > v.Index(1).Float() {
		return fmt.Sprintf("%s is larger than %s; write the smaller bound first", f.formatScalar(v.Index(0)), f.formatScalar(v.Index(1)))
	}
	return ""
}

func (f field) checkWord(s string) (problem string) {
	if f.nonempty && s == "" {
		return "is empty; give it a value"
	}
	if f.allowed == nil {
		return ""
	}
	for _, a := range f.allowed {
		if s == a {
			return ""
		}
	}
	problem = fmt.Sprintf("%q is unknown; use %s", s, strings.Join(f.allowed, ", "))
	if near := nearest(s, f.allowed, 1+len(s)/4); near != "" && len(s) > 2 {
		problem += "; did you mean " + near + "?"
	}
	return problem
}
