package report

import (
	"bytes"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"image/png"
	"slices"
	"strings"
)

//go:embed page.html chart.html page.css
var assets embed.FS

// page is Data as the template shows it.
type page struct {
	Style       template.CSS
	Title, Note string
	Created     string // "" if not known
	Backend     string
	Headline    *headline
	Bars        []bar
	BarsAbout   string
	Cards       []card
	Bottleneck  string
	Charts      []chart
	Pictures    []picture
	Config      []settingGroup
	Versions    []Setting
}

// headline is the one figure that a reader looks for.
type headline struct{ Value, Name string }

type bar struct {
	Name, Text string
	Width      float64 // percent of the whole bar
	Baseline   bool
}

type card struct{ Name, Value string }

type picture struct {
	ID, Title, Caption, Alt string
	Source                  template.URL
	Width, Height           int
}

type settingGroup struct {
	Name     string
	Settings []Setting
}

func pageTemplate() (*template.Template, error) {
	t, err := template.ParseFS(assets, "page.html", "chart.html")
	if err != nil {
		return nil, fmt.Errorf("parse report template: %w", err)
	}
	return t, nil
}

func newPage(d Data) (page, error) {
	css, err := assets.ReadFile("page.css")
	if err != nil {
		return page{}, fmt.Errorf("read report style: %w", err)
	}
	p := page{
		Style: template.CSS(css), Title: d.Title, Note: d.Note, Backend: d.Summary.Backend, Bottleneck: d.Summary.Bottleneck,
		Headline: d.Evaluation.headline(), Bars: d.Evaluation.drawBars(), BarsAbout: d.Evaluation.about(),
		Charts: charts(d), Config: grouped(d.Config), Versions: Settings(d.Versions),
	}
	if !d.Created.IsZero() {
		p.Created = d.Created.UTC().Format("2 January 2006, 15:04 UTC")
	}
	p.Cards = cards(d, p.Charts)
	p.Pictures, err = pictures(d)
	return p, err
}

// cards are the key figures that are known.
func cards(d Data, charts []chart) []card {
	var out []card
	add := func(known bool, name, value string) {
		if known {
			out = append(out, card{name, value})
		}
	}
	s := d.Summary
	add(s.Steps > 0, "steps", count(s.Steps))
	add(s.Samples > 0, "images seen", count(s.Samples))
	add(s.Epochs > 0, "epochs", figure(s.Epochs))
	add(s.Duration > 0, "duration", span(s.Duration))
	add(s.ImagesPerSecond > 0 && drawable(s.ImagesPerSecond), "images/s", figure(s.ImagesPerSecond))
	for _, c := range charts {
		add(c.Name == "Loss", "loss at the end", c.Last)
	}
	if len(d.Steps) > 0 {
		sum, n := 0.0, 0
		for _, r := range d.Steps {
			if drawable(r.DataWait) {
				sum, n = sum+r.DataWait, n+1
			}
		}
		add(n > 0, "time waiting for data", percent(sum/float64(max(n, 1))))
	}
	if t := d.BackwardTransfer; t != nil {
		add(drawable(*t), "backward transfer", points100(*t))
	}
	add(d.Summary.DeadLetters > 0, "images set aside", count(d.Summary.DeadLetters))
	return out
}

// bars are the scores, with chance where it is known and not among them.
func (e Evaluation) bars() []Score {
	out := slices.Clone(e.Scores)
	if e.Classes > 0 && len(out) > 0 {
		out = append(out, Score{Name: "chance", Top1: 1 / float64(e.Classes), Baseline: true})
	}
	return out
}

func (e Evaluation) drawBars() []bar {
	var out []bar
	for _, s := range e.bars() {
		if drawable(s.Top1) {
			out = append(out, bar{s.Name, percent(s.Top1), 100 * min(max(s.Top1, 0), 1), s.Baseline})
		}
	}
	return out
}

func (e Evaluation) headline() *headline {
	for _, s := range e.Scores {
		if !s.Baseline && drawable(s.Top1) {
			return &headline{percent(s.Top1), "k-NN accuracy"}
		}
	}
	return nil
}

func (e Evaluation) about() string {
	var parts []string
	if e.Queries > 0 {
		parts = append(parts, count(int64(e.Queries))+" images")
	}
	if e.Classes > 0 {
		parts = append(parts, count(int64(e.Classes))+" classes")
	}
	about := "Each image takes the class that its nearest neighbours in feature space vote for. Labels judge the features here; they had no part in training."
	if len(parts) == 0 {
		return about
	}
	return about + " " + strings.Join(parts, ", ") + "."
}

// pictures checks and embeds the PNG files.
func pictures(d Data) ([]picture, error) {
	all := []struct {
		id, title, caption string
		Picture
	}{
		{"classes", "What the classes are", "A few images of each class. Training sees the images only, never the class.", d.Classes},
		{"views", "What the network is trained on",
			"Each original and the views made of it. The network learns that they belong together, and that others do not.", d.Preview},
		{"neighbours", "What it finds alike",
			"Each query and its nearest images by cosine similarity of features. Green frame: same class; red frame and ×: another.", d.Neighbours},
	}
	var out []picture
	for _, a := range all {
		if len(a.PNG) == 0 {
			continue
		}
		c, err := png.DecodeConfig(bytes.NewReader(a.PNG))
		if err != nil {
			return nil, fmt.Errorf("read picture of %s for report: %w", a.id, err)
		}
		if a.Picture.Caption != "" {
			a.caption = a.Picture.Caption
		}
		// Base64 holds nothing that an attribute or a script could take for its own: the one place that escaping is left out.
		source := template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(a.PNG))
		out = append(out, picture{a.id, a.title, a.caption, a.title + ": " + a.caption, source, c.Width, c.Height})
	}
	return out, nil
}

// grouped splits settings by the first part of their keys, in the order of first appearance.
func grouped(settings []Setting) []settingGroup {
	var out []settingGroup
	at := map[string]int{}
	for _, s := range settings {
		name, key, ok := strings.Cut(s.Key, ".")
		if !ok {
			name, key = "", s.Key
		}
		i, seen := at[name]
		if !seen {
			i = len(out)
			at[name] = i
			out = append(out, settingGroup{Name: name})
		}
		out[i].Settings = append(out[i].Settings, Setting{key, s.Value})
	}
	return out
}
