package config

// Monitor is the section of what is watched while a run goes on.
type Monitor struct {
	After     int     `yaml:"after" range:"[0,)" unit:"steps" change:"free" doc:"Steps before anything is judged, and before the reference of drift is taken: a run begins with embeddings that are all alike."`
	MinSpread float64 `yaml:"min_spread" range:"[0,1]" change:"free" doc:"Spread of the embeddings below which they collapse; 0 does not look."`
	MinRank   float64 `yaml:"min_rank" range:"[0,)" unit:"directions" change:"free" doc:"Effective rank of the embeddings below which they collapse; 0 does not look."`
	MinMargin float64 `yaml:"min_margin" range:"[0,1]" change:"free" doc:"Similarity of queries to their own keys, less that to negatives, below which they cannot be told apart; 0 does not look."`
	Drift     Drift   `yaml:"drift" doc:"Whether the stream is still of the kind that it was: a two-sample test between a reference and what comes in."`
}

// Drift is monitor.drift.
type Drift struct {
	Every     int     `yaml:"every" range:"[0,)" unit:"steps" change:"free" doc:"Steps of a window, which is compared with the reference when it ends; 0 does not look."`
	Images    int     `yaml:"images" range:"[8,4096]" unit:"images" change:"free" doc:"Images of a window that are embedded, at most: one pass of the encoder for each, and their features are kept."`
	Frames    int     `yaml:"frames" range:"[1,)" unit:"images" change:"free" doc:"Images of one source among them, at most."`
	Scene     int64   `yaml:"scene" range:"[0,)" unit:"offsets" change:"free" doc:"Where a source (ingest.source) is always there, as a camera is: how long a stretch of a partition counts as a source of its own. At least as long as the longest burst; 0 goes by ingest.source alone."`
	Reference int     `yaml:"reference" range:"[1,64]" unit:"windows" change:"free" doc:"Windows that the reference is taken over."`
	Alpha     float64 `yaml:"alpha" range:"[0.0001,0.2]" change:"free" doc:"Significance of one comparison."`
	Raise     int     `yaml:"raise" range:"[1,)" unit:"windows" change:"free" doc:"Significant windows in a row that raise the alarm."`
	Clear     int     `yaml:"clear" range:"[1,)" unit:"windows" change:"free" doc:"Other windows in a row that clear it."`
	Rebase    int     `yaml:"rebase" range:"[0,)" unit:"windows" change:"free" doc:"Windows that an alarm lasts until what came in since becomes the reference, by the encoder as of then; 0 waits for mocostream ctl rebase."`
}

func defaultMonitor() Monitor {
	return Monitor{
		After: 1000, MinSpread: 0.2, MinRank: 2, MinMargin: 0.05,
		Drift: Drift{Images: 256, Frames: 4, Reference: 2, Alpha: 0.001, Raise: 2, Clear: 2},
	}
}
