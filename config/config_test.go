package config_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"mocostream/config"
)

var update = flag.Bool("update", false, "rewrite docs/configuration.md")

func TestReference(t *testing.T) {
	const page = "../docs/configuration.md"
	want := config.Reference()
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is stale; run: go test ./config -run TestReference -update", page)
	}
}

// header reads the "# set: key=value" and "# for: training" lines that a file of testdata begins with.
func header(data []byte) (sets []string, training bool) {
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if s, ok := strings.CutPrefix(line, "# set: "); ok {
			sets = append(sets, s)
		}
		training = training || line == "# for: training"
	}
	return sets, training
}

func parse(name string, data []byte) (*config.Config, error) {
	sets, training := header(data)
	if training {
		return config.ParseForTraining(name, data, sets)
	}
	return config.Parse(name, data, sets)
}

func TestBadFiles(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.bad.yaml")
	if len(files) < 40 {
		t.Fatalf("%d bad files, want one a rule", len(files))
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(strings.TrimSuffix(path, ".yaml") + ".want")
			if err != nil {
				t.Fatal(err)
			}
			c, err := parse(filepath.Base(path), data)
			if err == nil || c != nil {
				t.Fatalf("config %v, error %v; want an error alone:\n%s", c != nil, err, want)
			}
			if got := err.Error() + "\n"; got != string(want) {
				t.Errorf("got:\n%swant:\n%s", got, want)
			}
			var all config.Errors
			if !errors.As(err, &all) || len(all) != strings.Count(string(want), "\n") {
				t.Errorf("%T of %d errors, want config.Errors, one a line", err, len(all))
			}
		})
	}
}

func TestGoodFiles(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.good.yaml")
	if len(files) < 4 {
		t.Fatalf("%d good files", len(files))
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c, err := parse(filepath.Base(path), data)
			if err != nil {
				t.Fatal(err)
			}
			sameAfterPrint(t, c)
		})
	}
}

func sameAfterPrint(t *testing.T, c *config.Config) {
	t.Helper()
	printed := config.Print(c)
	again, err := config.Parse("printed", []byte(printed), nil)
	if err != nil {
		t.Fatalf("%v\nin:\n%s", err, printed)
	}
	if p := config.Print(again); p != printed {
		t.Errorf("print, parse, print differs:\n%s\n%s", printed, p)
	}
	if !reflect.DeepEqual(config.Flat(c), config.Flat(again)) {
		t.Errorf("flat differs after print and parse")
	}
}

func TestDefaultIsValid(t *testing.T) {
	if err := config.Default().Validate(false); err != nil {
		t.Error(err)
	}
	sameAfterPrint(t, config.Default())
	err := config.Default().Validate(true)
	const want = "ingest.dir: is not set; name a folder of images here, or another source: ingest.shards, ingest.s3.url or ingest.kafka.brokers"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestInit(t *testing.T) {
	text := config.Init()
	c, err := config.Parse("init.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if config.Print(c) != config.Print(config.Default()) {
		t.Error("the file that init writes is not the defaults")
	}
	for _, k := range config.Keys() {
		_, name, _ := strings.Cut(k.Name, ".")
		if !strings.Contains(name, "[") && !strings.Contains(text, name[strings.LastIndex(name, ".")+1:]+":") {
			t.Errorf("%s is missing", k.Name)
		}
	}
	_, err = config.ParseForTraining("init.yaml", []byte(text), nil)
	var one config.Error
	if !errors.As(err, &one) || one.Key != "ingest.dir" || !strings.Contains(strings.Split(text, "\n")[one.Line-1], "dir:") {
		t.Errorf("error %v does not name the line of ingest.dir", err)
	}
	filled := strings.Replace(text, "\n  dir: #", "\n  dir: photos #", 1)
	c, err = config.ParseForTraining("init.yaml", []byte(filled), nil)
	if err != nil || c.Ingest.Dir != "photos" {
		t.Errorf("with ingest.dir filled in: %v", err)
	}
}

func TestInitExamplesAreValid(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "KAFKA_PASSWORD", "MOCOSTREAM_TOKEN"} {
		t.Setenv(name, "x")
	}
	var lines []string
	for _, line := range strings.Split(config.Init(), "\n") {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if ok && strings.HasPrefix(key, "# ") && !strings.Contains(key[2:], " ") && value != "" && !strings.HasSuffix(value, ".") {
			line = strings.Replace(line, "# ", "", 1)
		}
		lines = append(lines, line)
	}
	c, err := config.Parse("examples.yaml", []byte(strings.Join(lines, "\n")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Augment.BlurSigma == nil || c.Augment.Hue == nil || len(c.Eval.Probes) != 1 || c.Ingest.Shards == "" || c.Train.InitFrom == "" {
		t.Errorf("not every example was read:\n%s", config.Print(c))
	}
}

func TestTypedValues(t *testing.T) {
	c, err := config.Parse("x.yaml", []byte(`
loader: {memory_limit: 1.5GiB}
augment: {crop_scale: [0.08, 1], hue: 0.1}
train: {k: 4096, seed: 18446744073709551615, optimizer: {eps: 1e-8}}
sink: {log_every: 1h30m}
eval:
  probes:
    - name: animals
      reference: a b/c
      query: "d"
`), []string{"train.k=auto", "train.bn_groups=4", "ingest.dir=/data/x # y: ${HOME}", "loader.limits.max_bytes=2MB",
		"train.schedule.milestones=[3, 7]", "train={m: 0.5, t: .07}", "augment.hue=null"})
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	check("memory_limit", c.Loader.MemoryLimit, int64(3<<29))
	check("crop_scale", c.Augment.CropScale, &[2]float64{0.08, 1})
	check("hue", c.Augment.Hue, (*float64)(nil))
	check("k", c.Train.K, 0)
	check("bn_groups", c.Train.BNGroups, 4)
	check("seed", c.Train.Seed, uint64(1<<64-1))
	check("eps", c.Train.Optimizer.Eps, 1e-8)
	check("log_every", c.Sink.LogEvery, 90*time.Minute)
	check("dir", c.Ingest.Dir, "/data/x # y: ${HOME}")
	check("max_bytes", c.Loader.Limits.MaxBytes, int64(2_000_000))
	check("milestones", c.Train.Schedule.Milestones, []int{3, 7})
	check("m", c.Train.M, 0.5)
	check("t", c.Train.T, 0.07)
	check("arch", c.Train.Arch, "resnet50")
	check("probes", c.Eval.Probes, []config.Probe{{Name: "animals", Reference: "a b/c", Query: "d"}})
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.yaml")
	if err := os.WriteFile(path, []byte("train:\n  k: 32\n  batch: 64\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := config.LoadForTraining(path, nil)
	want := path + ":2: train.k: 32 is smaller than the batch (64); use a multiple of batch or auto\n" +
		path + ": ingest.dir: is not set; name a folder of images here, or another source: ingest.shards, ingest.s3.url or ingest.kafka.brokers"
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
	c, err := config.Load(path, []string{"train.batch=32"})
	if err != nil || c.Train.K != 32 {
		t.Errorf("with an override that mends it: %v", err)
	}
	if _, err = config.Load(path+".missing", nil); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "config init") {
		t.Errorf("missing file: %v", err)
	}
	if _, err = config.Load(filepath.Dir(path), nil); err == nil {
		t.Error("a folder was read as a file")
	}
	if c, err = config.Load("", []string{"train.batch=8"}); err != nil || c.Train.Batch != 8 {
		t.Errorf("without a file: %v", err)
	}
}

func TestTooLongFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "long.yaml")
	if err := os.WriteFile(path, []byte(strings.Repeat("# long\n", 100_000)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path, nil); err == nil || !strings.Contains(err.Error(), "name a YAML file") {
		t.Errorf("got %v", err)
	}
}

func TestOverrideThatYAMLCannotHold(t *testing.T) {
	_, err := config.Parse("x.yaml", nil, []string{"ingest.dir=caf\xe9"})
	const want = "--set: ingest.dir: is not UTF-8, which YAML cannot hold; rename the file or re-encode the text"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestDeepNesting(t *testing.T) {
	for _, s := range []string{strings.Repeat("[", 2_000), "a: " + strings.Repeat("{a: ", 1_000), strings.Repeat("- ", 2_000)} {
		if _, err := config.Parse("deep.yaml", []byte(s), nil); err == nil {
			t.Error("no error")
		}
	}
}

func TestCommandsThatDoNotTrainNeedNoSource(t *testing.T) {
	c, err := config.Parse("empty.yaml", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err = c.Validate(true); err == nil || !strings.HasPrefix(err.Error(), "empty.yaml: ingest.dir: ") {
		t.Errorf("got %v", err)
	}
}

// FuzzParse wants -fuzzminimizetime=1x: by default the engine spends a minute on shrinking each long input that it finds
// interesting, and runs nothing else meanwhile.
func FuzzParse(f *testing.F) {
	f.Add([]byte(config.Init()), "train.k=64")
	f.Add([]byte("train: {k: [1, &a *a]}\n---\n? x\n"), "eval.probes=[{name: a}]")
	f.Add([]byte("a:\n\t- b\n<<: {}"), "=")
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "ingest.dir=it's: # \"x\"\t")
	}
	f.Fuzz(func(t *testing.T, data []byte, set string) {
		c, err := config.Parse("fuzz.yaml", data, []string{set})
		if err != nil {
			return
		}
		sameAfterPrint(t, c)
	})
}
