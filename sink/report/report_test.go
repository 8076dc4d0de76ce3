package report_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"mocostream/sink/report"
	"mocostream/train"

	"golang.org/x/net/html"
)

var show = flag.String("show", "", "also write a sample page to this `file`, for a look at it")

// render returns the page of d as text and as a tree.
func render(t *testing.T, d report.Data) (string, *html.Node) {
	t.Helper()
	var b bytes.Buffer
	if err := report.Render(&b, d); err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), root
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func all(root *html.Node, tag string) []*html.Node {
	var out []*html.Node
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && n.Data == tag {
			out = append(out, n)
		}
	}
	return out
}

func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

func sections(root *html.Node) []string {
	var ids []string
	for _, n := range all(root, "section") {
		ids = append(ids, attr(n, "id"))
	}
	return ids
}

func chartNames(root *html.Node) []string {
	var names []string
	for _, n := range all(root, "h3") {
		names = append(names, text(n))
	}
	return names
}

func TestPageHoldsEverySection(t *testing.T) {
	page, root := render(t, sampleData(t, 900))
	want := []string{"result", "figures", "curves", "classes", "views", "neighbours", "config", "versions"}
	if got := sections(root); !slices.Equal(got, want) {
		t.Errorf("sections %v, want %v", got, want)
	}
	charts := []string{
		"Loss", "k-NN accuracy", "Drift", "Similarity", "Embedding spread", "Effective rank", "1,025-way accuracy",
		"Age of the queue", "Masked negatives", "Alignment",
		"Learning rate", "Throughput", "Waiting for data",
	}
	if got := chartNames(root); !slices.Equal(got, charts) {
		t.Errorf("charts %v, want %v", got, charts)
	}
	for _, s := range []string{
		"ResNet-10 on scattered glyphs", "Sample page:", "14 March 2026", "57,600", "5 min 12 s", "68.3%", "raw pixels", "8.3%",
		"queue full", "GoMLX Go backend", "images set aside", "checkpoint_every", "0.28.2", "chance 8.3%, raw pixels 8.3%",
	} {
		if !strings.Contains(page, s) {
			t.Errorf("page lacks %q", s)
		}
	}
}

func TestPageLeavesOutWhatIsNotKnown(t *testing.T) {
	_, root := render(t, report.Data{Title: "Empty"})
	if got := sections(root); len(got) != 0 {
		t.Errorf("sections of an empty page: %v", got)
	}
	for _, tag := range []string{"aside", "figure", "img", "table"} {
		if n := len(all(root, tag)); n != 0 {
			t.Errorf("%d <%s> in an empty page", n, tag)
		}
	}
	for _, c := range []struct {
		section string
		clear   func(d *report.Data)
	}{
		{"result", func(d *report.Data) { d.Evaluation = report.Evaluation{} }},
		{"curves", func(d *report.Data) { d.Steps, d.Probes, d.Drift = nil, nil, nil }},
		{"classes", func(d *report.Data) { d.Classes.PNG = nil }},
		{"views", func(d *report.Data) { d.Preview.PNG = nil }},
		{"neighbours", func(d *report.Data) { d.Neighbours.PNG = nil }},
		{"config", func(d *report.Data) { d.Config = nil }},
		{"versions", func(d *report.Data) { d.Versions = nil }},
	} {
		d := sampleData(t, 30)
		c.clear(&d)
		_, root := render(t, d)
		if got := sections(root); slices.Contains(got, c.section) || len(got) != 7 {
			t.Errorf("without %s: sections %v", c.section, got)
		}
	}
}

func TestPageFetchesNothing(t *testing.T) {
	_, root := render(t, sampleData(t, 900))
	fetching := []string{"src", "href", "xlink:href", "srcset", "action", "data", "poster"}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if slices.Contains([]string{"script", "link", "iframe", "object", "embed", "base", "use"}, n.Data) {
			t.Errorf("page holds <%s>", n.Data)
		}
		for _, a := range n.Attr {
			if slices.Contains(fetching, a.Key) && !strings.HasPrefix(a.Val, "data:image/png;base64,") {
				t.Errorf("<%s %s=%.40q>", n.Data, a.Key, a.Val)
			}
			if strings.Contains(a.Val, "url(") && !strings.HasPrefix(a.Val, "url(#") {
				t.Errorf("<%s %s=%.40q>", n.Data, a.Key, a.Val)
			}
		}
		if n.Data == "style" && (strings.Contains(text(n), "url(") || strings.Contains(text(n), "@import")) {
			t.Error("style fetches something")
		}
		if n.Data == "img" && attr(n, "alt") == "" {
			t.Error("image without a text for those who do not see it")
		}
	}
}

func TestPageIDsAreUniqueAndResolve(t *testing.T) {
	_, root := render(t, sampleData(t, 900))
	seen := map[string]bool{}
	for n := range root.Descendants() {
		if id := attr(n, "id"); id != "" {
			if seen[id] {
				t.Errorf("id %q occurs twice", id)
			}
			seen[id] = true
		}
	}
	for n := range root.Descendants() {
		for _, ref := range []string{attr(n, "aria-labelledby"), strings.Trim(attr(n, "clip-path"), "url(#)")} {
			if ref != "" && !seen[ref] {
				t.Errorf("nothing has the id %q", ref)
			}
		}
	}
}

func TestPageEscapesForeignText(t *testing.T) {
	const evil = `"'><script>alert(1)</script><img src=http://x/ onerror=alert(2)>{{.}}</title></style>javascript:alert(3)`
	d := sampleData(t, 40)
	d.Title, d.Note, d.Summary.Backend = evil, evil, evil
	d.Evaluation.Scores[0].Name, d.Evaluation.Scores[1].Name = evil, evil
	d.Probes = append(d.Probes, train.ProbeResult{Step: 3, Probe: evil, Top1: .1}, train.ProbeResult{Step: 9, Probe: evil, Top1: .2})
	d.Config = []report.Setting{{evil, evil}, {"train." + evil, evil}}
	d.Versions = map[string]string{evil: evil}
	d.Preview.Caption = evil
	clean, _ := render(t, sampleData(t, 40))
	_, root := render(t, d)
	if n := len(all(root, "script")); n != 0 {
		t.Errorf("%d scripts got in", n)
	}
	if got, want := len(all(root, "img")), strings.Count(clean, "<img"); got != want {
		t.Errorf("%d images, want %d", got, want)
	}
	for n := range root.Descendants() {
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") {
				t.Errorf("<%s %s=...> got in", n.Data, a.Key)
			}
		}
	}
	// Escaped is not lost: a reader sees what was written.
	if got := text(all(root, "h1")[0]); got != evil {
		t.Errorf("title reads %q", got)
	}
}

func TestPageSurvivesAnyNumbers(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	steps := func(losses ...float64) []train.StepResult {
		var out []train.StepResult
		for i, l := range losses {
			out = append(out, train.StepResult{Step: int64(i + 1), Loss: l, LR: l, Positive: l, Negative: l, Top1: l,
				Top5: l, Spread: l, EffectiveRank: l, GradNorm: l, QueueAge: l, Masked: l, Apart: l, ImagesPerSecond: l, DataWait: l})
		}
		return out
	}
	for _, c := range []struct {
		name   string
		steps  []train.StepResult
		charts int
	}{
		{"none", nil, 0}, {"one", steps(3), 11}, {"two", steps(3, 2), 11}, {"equal", steps(2, 2, 2), 11},
		{"not a number", steps(nan), 0}, {"infinite", steps(inf, -inf), 0}, {"mixed", steps(3, nan, inf, 1), 11},
		{"huge", steps(1e300, 2, 1e29, -1e29), 11}, {"tiny", steps(1e-300, 5e-324), 11}, {"negative", steps(-3, -4), 11},
		{"spike", steps(append(slices.Repeat([]float64{3, 4}, 200), 1e20)...), 11},
	} {
		d := report.Data{Title: c.name, Steps: c.steps, QueueSize: 64,
			Summary:    report.Summary{ImagesPerSecond: nan, Epochs: nan},
			Evaluation: report.Evaluation{Scores: []report.Score{{Name: "trained", Top1: nan}, {Name: "pixels", Top1: inf, Baseline: true}}}}
		page, root := render(t, d)
		if got := len(all(root, "figure")); got != c.charts {
			t.Errorf("%s: %d charts, want %d", c.name, got, c.charts)
		}
		for _, n := range all(root, "path") {
			if d := attr(n, "d"); strings.Trim(d, "MLHV0123456789.- ") != "" {
				t.Errorf("%s: path %.80q", c.name, d)
			}
		}
		if bad := regexp.MustCompile(`NaN|\bInf\b|ZgotmplZ`).FindString(page); bad != "" {
			t.Errorf("%s: page holds %s", c.name, bad)
		}
	}
	_, root := render(t, report.Data{Steps: steps(3, nan, inf, 1)})
	if got := text(all(root, "figcaption")[0]); !strings.Contains(got, "2 values are not numbers") {
		t.Errorf("caption says %q", got)
	}
}

func TestLongRunStaysSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.html")
	d := sampleData(t, 20_000)
	if err := report.Write(path, d); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 2<<20 {
		t.Errorf("page has %d bytes, want at most 2 MiB", info.Size())
	}
	if info.Mode().Perm() != 0o644 {
		t.Errorf("page has mode %v", info.Mode())
	}
}

func TestResumedStepsCountOnce(t *testing.T) {
	steps := []train.StepResult{{Step: 1, Loss: 5}, {Step: 2, Loss: 9}, {Step: 2, Loss: 4}, {Step: 3, Loss: 3}}
	_, root := render(t, report.Data{Steps: steps})
	d := attr(lines(root)[0], "d")
	if got := strings.Count(d, "L") + 1; got != 3 {
		t.Errorf("loss has %d points, want 3: %s", got, d)
	}
	top := all(root, "svg")[1]
	if got := text(top); strings.Contains(got, "10") || !strings.Contains(got, "5") {
		t.Errorf("axis reaches for the value that was trained again: %s", got)
	}
}

// lines returns the curves of the page.
func lines(root *html.Node) []*html.Node {
	return slices.DeleteFunc(all(root, "path"), func(n *html.Node) bool { return !strings.HasPrefix(attr(n, "class"), "line") })
}

func TestQueueMarkNeedsTheStart(t *testing.T) {
	steps := sampleSteps(100)
	for _, c := range []struct {
		name  string
		steps []train.StepResult
		queue int64
		want  bool
	}{
		{"from the start", steps, 1024, true}, {"resumed later", steps[50:], 1024, false},
		{"never full", steps, 1 << 20, false}, {"no queue", steps, 0, false},
	} {
		page, _ := render(t, report.Data{Steps: c.steps, QueueSize: c.queue})
		if got := strings.Contains(page, "queue full"); got != c.want {
			t.Errorf("%s: mark %v, want %v", c.name, got, c.want)
		}
	}
}

func TestBarsAreAsLongAsTheyShould(t *testing.T) {
	_, root := render(t, sampleData(t, 10))
	var got []string
	for _, n := range all(root, "span") {
		if s := attr(n, "style"); s != "" {
			got = append(got, s)
		}
	}
	if len(got) != 4 {
		t.Fatalf("bars %v", got)
	}
	for i, want := range []float64{68.3, 14, 8.3, 100. / 12} {
		var width float64
		if _, err := fmt.Sscanf(got[i], "width:%f%%", &width); err != nil || math.Abs(width-want) > .01 {
			t.Errorf("bar %d: %q, want %.1f%%", i, got[i], want)
		}
	}
}

func TestWriteReplacesWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "report.html")
	if *show != "" {
		if err := report.Write(*show, sampleData(t, 900)); err != nil {
			t.Fatal(err)
		}
	}
	if err := report.Write(path, report.Data{Title: "first"}); err != nil {
		t.Fatal(err)
	}
	bad := report.Data{Title: "second", Preview: report.Picture{PNG: []byte("no picture")}}
	if err := report.Write(path, bad); err == nil || !strings.Contains(err.Error(), "views") {
		t.Errorf("a broken picture gives %v", err)
	}
	page, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(page), "first") {
		t.Errorf("the older page is gone: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := report.Write(filepath.Join(dir, "none", "r.html"), bad); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing folder gives %v", err)
	}
}

func TestSettingsAreSorted(t *testing.T) {
	got := report.Settings(map[string]string{"b": "2", "a.y": "1", "a.x": "0"})
	if want := []report.Setting{{"a.x", "0"}, {"a.y", "1"}, {"b", "2"}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestSpanOfTime(t *testing.T) {
	for d, want := range map[time.Duration]string{
		300 * time.Millisecond: "under 1 s", 59 * time.Second: "59 s", 61 * time.Second: "1 min 1 s", 50 * time.Hour: "2 d 2 h",
	} {
		page, _ := render(t, report.Data{Summary: report.Summary{Duration: d}})
		if !strings.Contains(page, "<dd>"+want+"</dd>") {
			t.Errorf("%v is not written as %q", d, want)
		}
	}
}
