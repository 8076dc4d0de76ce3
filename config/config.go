// Package config is the one description of a run: a typed tree with its defaults, read from strict YAML and checked as
// a whole. It is a leaf: it knows none of the stages and opens nothing but the YAML file itself. Whoever wires the
// program copies the plain values from here into each stage's own options.
//
// The struct tags of the tree are the single source for reading, checking, printing and documenting it:
//
//	yaml     the key's name in its section
//	doc      what the key means, one or two sentences
//	change   what a resume makes of another value: free, accept or refused (Class)
//	range    an interval, "[1,)" or "(0,1]"; bounds may have units ("[64MiB,)"); for lists it holds for each element
//	allowed  the words that a string may be, "a|b"
//	unit     what a number counts; "bytes" makes an int64 a size such as 512MiB
//	auto     the word auto may stand for the number, and is kept as 0
//	path     names a place on this machine ("true", or "maybe" where a value may hold one); never in a checkpoint
//	secret   ${NAME} is expanded from the environment, and the value is never printed
//	nonempty the string must not be empty
//	example  what Init shows, commented out, where there is no value
package config

import (
	"fmt"
	"io"
	"os"
)

// Config is the whole tree. Its zero value is of no use: start from Default, Load or Parse.
type Config struct {
	Ingest  Ingest  `yaml:"ingest" doc:"Where the images come from."`
	Loader  Loader  `yaml:"loader" doc:"How they are read, shuffled and limited."`
	Augment Augment `yaml:"augment" doc:"How one image becomes two views."`
	Train   Train   `yaml:"train" doc:"The encoder, the contrastive loss and the optimisation."`
	Sink    Sink    `yaml:"sink" doc:"What leaves the run: checkpoints, metrics, dead letters."`
	Eval    Eval    `yaml:"eval" doc:"How the features are measured while and after training."`
	Monitor Monitor `yaml:"monitor" doc:"What is watched while the run goes on: collapse of the embeddings, drift of the stream."`
	Daemon  Daemon  `yaml:"daemon" doc:"How a run without an end is watched and controlled (mocostream daemon)."`

	from *origin // where the values were written; nil for a tree made in Go
}

// maxFile bounds the YAML file in bytes: an image given by mistake should be an error, not a long wait.
const maxFile = 256 << 10

// Load reads the YAML file at path, applies sets (each "dotted.key=value", in order) and checks everything except what
// only training asks for. An empty path means defaults and sets alone. What is wrong with the content comes back as
// one Errors.
func Load(path string, sets []string) (*Config, error) {
	return load(path, sets, false)
}

// LoadForTraining is Load with the rules of Validate(true), so that a training run hears of every error at once.
func LoadForTraining(path string, sets []string) (*Config, error) {
	return load(path, sets, true)
}

func load(path string, sets []string, forTraining bool) (*Config, error) {
	if path == "" {
		return parse("", nil, sets, forTraining)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w; `mocostream config init` prints one to start from", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1)) // one more: parse then says that it is too long
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return parse(path, data, sets, forTraining)
}

// Parse is Load for a file already read; name stands in error messages.
func Parse(name string, data []byte, sets []string) (*Config, error) {
	return parse(name, data, sets, false)
}

// ParseForTraining is LoadForTraining for a file already read.
func ParseForTraining(name string, data []byte, sets []string) (*Config, error) {
	return parse(name, data, sets, true)
}

func parse(name string, data []byte, sets []string, forTraining bool) (*Config, error) {
	c := Default()
	d := newDecoder(name, c, os.LookupEnv)
	d.file(data)
	for _, s := range sets {
		d.set(s)
	}
	c.from = d.origin
	errs := append(d.errs, c.check(forTraining)...)
	if len(errs) > 0 {
		errs.sort()
		return nil, errs
	}
	return c, nil
}
