package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestTags holds the tree to its own conventions, so that no key goes unchecked or undocumented.
func TestTags(t *testing.T) {
	check := func(f field, _ reflect.Value) {
		if !strings.HasSuffix(f.doc, ".") || strings.ContainsAny(f.doc, "|`") {
			t.Errorf("%s: doc %q is no sentence for a table", f.key, f.doc)
		}
		switch kind := f.scalar().Kind(); {
		case kind == reflect.Float64 || kind == reflect.Int || kind == reflect.Int64:
			if f.limits == nil {
				t.Errorf("%s: a number without a range", f.key)
			}
		case kind == reflect.String && f.allowed == nil && f.path == "" && !f.nonempty && f.example == "":
			t.Errorf("%s: a word that nothing checks or shows", f.key)
		}
	}
	walk(reflect.ValueOf(Default()).Elem(), "", func(f field, v reflect.Value) {
		check(f, v)
		if f.class != Free && f.class != Accept && f.class != Refused {
			t.Errorf("%s: change class %q", f.key, f.class)
		}
		if v.IsZero() && (v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice || v.Kind() == reflect.String) && f.example == "" {
			t.Errorf("%s: neither a default nor an example for Init", f.key)
		}
	})
	walk(reflect.ValueOf(Probe{}), "eval.probes[]", check)
}

// vault is a tree with a secret, which the real one does not have yet.
type vault struct {
	Publish struct {
		Bucket string   `yaml:"bucket" path:"true" change:"free" example:"b" doc:"Plain."`
		Token  string   `yaml:"token" secret:"true" change:"free" example:"${TOKEN}" doc:"Secret."`
		Tokens []string `yaml:"tokens" secret:"true" change:"free" example:"['${A}']" doc:"Secrets."`
	} `yaml:"publish" doc:"Section."`
}

func decodeVault(yaml string, sets ...string) (*vault, Errors) {
	env := map[string]string{"TOKEN": "s3cr3t", "NESTED": "${TOKEN}", "EMPTY": ""}
	v := &vault{}
	d := newDecoder("v.yaml", v, func(name string) (string, bool) { s, ok := env[name]; return s, ok })
	d.file([]byte(yaml))
	for _, s := range sets {
		d.set(s)
	}
	return v, d.errs
}

func TestSecretsExpand(t *testing.T) {
	v, errs := decodeVault("publish:\n  bucket: ${TOKEN}\n  token: a-${TOKEN}-${EMPTY}$b\n  tokens: ['${TOKEN}', \"${NESTED}\"]\n")
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if v.Publish.Bucket != "${TOKEN}" {
		t.Errorf("a plain key was expanded: %q", v.Publish.Bucket)
	}
	if v.Publish.Token != "a-s3cr3t-$b" {
		t.Errorf("token = %q", v.Publish.Token)
	}
	if got := v.Publish.Tokens; !reflect.DeepEqual(got, []string{"s3cr3t", "${TOKEN}"}) {
		t.Errorf("tokens = %q", got)
	}
	if v, errs = decodeVault("", "publish.token=${TOKEN}"); len(errs) > 0 || v.Publish.Token != "s3cr3t" {
		t.Errorf("override: %q, %v", v.Publish.Token, errs)
	}
}

func TestSecretErrors(t *testing.T) {
	for _, c := range []struct{ yaml, set, want string }{
		{"publish:\n  token: s3cr3t${MISSING}", "", "v.yaml:2: publish.token: environment variable MISSING is not set; export it"},
		{"publish: {token: 's3cr3t${}'}", "", "v.yaml:1: publish.token: has ${ without a name and }; write ${NAME}"},
		{"publish: {token: [s3cr3t]}", "", "v.yaml:1: publish.token: a list where one string is expected"},
		{"", "publish.token: s3cr3t", `--set: "publish.token" is no override; write key=value, as train.batch=128`},
		{"", "publish.token=s3cr3t${", "--set: publish.token: has ${ without a name and }; write ${NAME}"},
		{"", "publish.tokne=s3cr3t", "--set: publish.tokne: unknown key; did you mean publish.token?"},
	} {
		var sets []string
		if c.set != "" {
			sets = []string{c.set}
		}
		_, errs := decodeVault(c.yaml, sets...)
		if len(errs) != 1 || errs.Error() != c.want {
			t.Errorf("%q %q: got %v, want %s", c.yaml, c.set, errs, c.want)
		}
	}
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	v, errs := decodeVault("publish: {token: '${TOKEN}', tokens: [s3cr3t], bucket: b}")
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, comments := range []bool{false, true} {
		w := &writer{comments: comments}
		w.section(reflect.ValueOf(v).Elem(), "", 0)
		if strings.Contains(w.String(), "s3cr3t") || !strings.Contains(w.String(), "token: # set, not shown") {
			t.Errorf("comments %v:\n%s", comments, w)
		}
	}
	walk(reflect.ValueOf(v).Elem(), "", func(f field, _ reflect.Value) {
		if portable(f) {
			t.Errorf("%s would be in a checkpoint", f.key)
		}
	})
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "4096": 4096, "1B": 1, "512MiB": 512 << 20, "1.5GiB": 3 << 29, "20MB": 20_000_000, "3kB": 3000,
		"7 KiB": 7 << 10, "9223372036854775807": 1<<63 - 1, "8388607TiB": 8388607 << 40,
	} {
		got, err := parseSize(text)
		if err != nil || got != want {
			t.Errorf("%s = %d, %v; want %d", text, got, err, want)
		}
		if again, err := parseSize(formatSize(got)); err != nil || again != got {
			t.Errorf("%d is written as %s and read as %d, %v", got, formatSize(got), again, err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1 2", "1XB", "1e3", "0x10", "1..5MiB", "8388608TiB", "99999999999999999999", "0.3B", "inf", "nan"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q = %d, want an error", text, got)
		}
	}
}

func TestDurationsAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		10 * time.Second: "10s", time.Minute: "1m", 90 * time.Minute: "1h30m", 2 * time.Hour: "2h",
		1500 * time.Millisecond: "1.5s", 61 * time.Second: "1m1s", time.Hour + time.Second: "1h0m1s", 100 * time.Minute: "1h40m",
	} {
		got := formatDuration(d)
		if back, err := time.ParseDuration(got); got != want || err != nil || back != d {
			t.Errorf("%v is %s (%v), want %s", d, got, err, want)
		}
	}
}

func TestQuoteRoundTrips(t *testing.T) {
	texts := []string{"", " ", "a", "a b", "it's", "# c", "a: b", "a #b", "null", "Null", "~", "true", "1", "01", "...", "---", "-", "- a",
		"/data/x", `C:\x`, "xla:cpu", "a:", ":a", "${X}", "[x]", "{x}", "a,b", "*.tar", "&a", "!a", "%a", "@a", "`a`", "é", "日本", "a\tb", "a\nb", "\x7f", `"`, `\n`, "x'", "'", "<<", "?", "? a", "=", "0x1f", "train-{000..099}.tar"}
	for _, want := range texts {
		for _, form := range []string{"publish: {bucket: %s}", "publish:\n  bucket: %s\n"} {
			doc := fmt.Sprintf(form, quote(want))
			if v, errs := decodeVault(doc); len(errs) > 0 || v.Publish.Bucket != want {
				t.Errorf("%q in %q is read as %q, %v", want, doc, v.Publish.Bucket, errs)
			}
		}
	}
}

func TestIntervals(t *testing.T) {
	f := field{key: "x", typ: reflect.TypeFor[float64]()}
	for tag, want := range map[string]string{
		"[1,)": "at least 1", "(0,)": "more than 0", "[0,1]": "0 to 1", "(0,1]": "more than 0 and at most 1",
		"[0,1)": "at least 0 and less than 1", "[1,1]": "1", "(,3]": "at most 3",
	} {
		if got := f.mustInterval(tag).String(); got != want {
			t.Errorf("%s reads %q, want %q", tag, got, want)
		}
	}
	half := f.mustInterval("(0,1]")
	for x, want := range map[float64]bool{0: false, 1: true, 0.5: true, 1.1: false, -1: false} {
		if half.holds(x) != want {
			t.Errorf("%v in (0,1]: %v", x, !want)
		}
	}
}

func TestEdits(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"trian", "train", 1}, {"kitten", "sitting", 3}, {"batchsize", "batch", 4}, {"ab", "ba", 1}} {
		if got := edits(c.a, c.b); got != c.want {
			t.Errorf("%s, %s: %d edits, want %d", c.a, c.b, got, c.want)
		}
	}
}
