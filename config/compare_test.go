package config_test

import (
	"maps"
	"reflect"
	"strings"
	"testing"

	"mocostream/config"
)

func TestFlatHoldsNoPath(t *testing.T) {
	c, err := config.Parse("x.yaml", []byte(`
ingest: {dir: /secret/place}
train: {init_from: /secret/place, backend: "xla:/secret/place/plugin.so"}
sink: {dir: /secret/place}
eval: {probes: [{name: a, reference: /secret/place, query: /secret/place, limit: 5}]}
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	flat := config.Flat(c)
	for key, value := range flat {
		if strings.Contains(value, "place") {
			t.Errorf("%s = %s", key, value)
		}
	}
	if got := flat["eval.probes"]; got != "[{name: a, limit: 5}]" {
		t.Errorf("eval.probes = %s", got)
	}
	want := map[string]string{
		"train.k": "auto", "train.batch": "auto", "train.optimizer.eps": "1e-08", "loader.memory_limit": "1GiB",
		"augment.hue": "null", "augment.std": "[0.229, 0.224, 0.225]", "sink.log_every": "10s", "train.seed": "0",
	}
	for key, value := range want {
		if flat[key] != value {
			t.Errorf("%s = %q, want %q", key, flat[key], value)
		}
	}
	for _, k := range config.Keys() {
		_, has := flat[k.Name]
		if leaf := !strings.Contains(k.Name, "["); leaf && has == (k.Path || k.Secret || k.Name == "train.backend") {
			t.Errorf("%s: in Flat %v, path %v, secret %v", k.Name, has, k.Path, k.Secret)
		}
	}
}

func TestFlatIsCanonical(t *testing.T) {
	a, errA := config.Parse("a", []byte("train: {t: 0.20, optimizer: {lr: 3e-2}}\nloader: {memory_limit: 2048MiB}\nsink: {log_every: 120s}"), nil)
	b, errB := config.Parse("b", []byte("train: {t: .2, optimizer: {lr: 0.03}}\nloader: {memory_limit: 2GiB}\nsink: {log_every: 2m}"), nil)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	if !maps.Equal(config.Flat(a), config.Flat(b)) {
		t.Errorf("%v\n%v", config.Flat(a), config.Flat(b))
	}
}

func TestEssentialLeavesOutWhatIsFree(t *testing.T) {
	a, b := config.Default(), config.Default()
	b.Loader.Workers, b.Sink.Keep, b.Train.Backend, b.Eval.K = 3, 9, "go", 5
	if !maps.Equal(config.Essential(a), config.Essential(b)) {
		t.Error("free keys are in it")
	}
	b.Train.M = 0.5
	if maps.Equal(config.Essential(a), config.Essential(b)) {
		t.Error("train.m is not in it")
	}
}

func TestCompare(t *testing.T) {
	old := config.Flat(config.Default())
	delete(old, "train.t")        // as a version without the key wrote it
	delete(old, "loader.workers") // free: nothing is known
	old["train.gone"] = "7"       // of another version
	c := config.Default()
	if got := config.Compare(config.Flat(c), c); len(got) != 0 {
		t.Errorf("same configuration: %v", got)
	}
	if got := config.Compare(nil, c); len(got) != 0 {
		t.Errorf("empty checkpoint, default configuration: %v", got)
	}
	c.Loader.Workers = 4
	c.Train.K = 512
	c.Train.T = 0.1
	c.Sink.Keep = 5
	c.Sink.Dir = "elsewhere"
	want := []config.Change{
		{Key: "train.k", Old: "auto", New: "512", Class: config.Refused},
		{Key: "train.t", Old: "0.2", New: "0.1", Class: config.Accept},
		{Key: "sink.keep", Old: "3", New: "5", Class: config.Free},
		{Key: "train.gone", Old: "7", New: "", Class: config.Accept},
	}
	if got := config.Compare(old, c); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if got := config.Compare(config.Essential(config.Default()), c); len(got) != 2 {
		t.Errorf("against Essential: %v, want train.k and train.t", got)
	}
}
