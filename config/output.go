package config

import "time"

// Sink is the section of what a run leaves behind.
type Sink struct {
	Dir             string        `yaml:"dir" path:"true" nonempty:"true" change:"free" doc:"Folder of the run: checkpoints, metrics, dead letters. A run whose folder holds a checkpoint goes on from it."`
	CheckpointEvery int           `yaml:"checkpoint_every" range:"[1,)" unit:"steps" change:"free" doc:"Steps between checkpoints; one more is written at the end."`
	Keep            int           `yaml:"keep" range:"[1,)" unit:"checkpoints" change:"free" doc:"Newest checkpoints kept."`
	KeepEvery       int           `yaml:"keep_every" range:"[0,)" unit:"steps" change:"free" doc:"Checkpoints at multiples of this are kept for ever; 0 keeps none."`
	LogEvery        time.Duration `yaml:"log_every" range:"(0s,)" change:"free" doc:"Time between progress lines in the log."`
}

// Eval is the section of k-nearest-neighbour evaluation.
type Eval struct {
	Every       int     `yaml:"every" range:"[0,)" unit:"steps" change:"free" doc:"Steps between evaluations; 0 evaluates at the end only."`
	Probes      []Probe `yaml:"probes" change:"free" example:"[{name: animals, reference: data/animals/train, query: data/animals/test}]" doc:"Labelled data sets on which the features are measured."`
	K           int     `yaml:"k" range:"[1,)" unit:"neighbours" change:"free" doc:"Neighbours that vote."`
	Temperature float64 `yaml:"temperature" range:"(0,)" change:"free" doc:"Temperature of the votes: a neighbour counts exp(similarity / temperature)."`
}

// Probe is one element of eval.probes: folders with a sub-folder a class.
type Probe struct {
	Name      string `yaml:"name" nonempty:"true" doc:"Name in metrics; letters, digits, dot, dash and underscore."`
	Reference string `yaml:"reference" path:"true" nonempty:"true" doc:"Folder of labelled images whose classes are known."`
	Query     string `yaml:"query" path:"true" nonempty:"true" doc:"Folder of labelled images whose classes are guessed."`
	Limit     int    `yaml:"limit" range:"[0,)" unit:"images" doc:"Most images taken of each folder; 0 takes all."`
}
