package config

// Ingest is the section of sources. Training takes exactly one of those with an end (Dir, Shards, S3) or one of those
// without (Kafka, S3 followed), or a Sequence of one and then the other.
type Ingest struct {
	Dir    string `yaml:"dir" path:"true" change:"free" example:"data/images" doc:"Folder of images, at any depth."`
	Shards string `yaml:"shards" path:"true" change:"free" example:"data/train-*.tar" doc:"Path or glob of local shards, instead of dir: tar or tar.gz in WebDataset's convention, Parquet, or Arrow IPC."`
	Labels bool   `yaml:"labels" change:"free" doc:"Take the top-level sub-folder of an image as its class. Training never looks at it; embeddings and evaluation do."`

	Source string `yaml:"source" allowed:"key_prefix|key|partition" change:"accept" doc:"What makes samples of one source (a video, a camera, a customer), whose images may be near-duplicates: equal keys up to the last slash, equal keys, or one partition (a file of a source with an end)."`

	ImageColumn string `yaml:"image_column" change:"free" example:"image" doc:"Column of encoded images in Parquet and Arrow shards; empty finds it."`
	LabelColumn string `yaml:"label_column" change:"free" example:"label" doc:"Column of classes in Parquet and Arrow shards; empty finds it."`

	S3             S3Source    `yaml:"s3" doc:"A bucket of images or shards."`
	Kafka          KafkaSource `yaml:"kafka" doc:"Topics of images."`
	Sequence       []string    `yaml:"sequence" change:"accept" example:"[s3, kafka]" doc:"Two sources, one after the other: one with an end (dir, shards, s3), and once that is read one without (kafka, or s3 with follow)."`
	SequenceEpochs int         `yaml:"sequence_epochs" range:"[1,)" unit:"epochs" change:"accept" doc:"Passes over the first source of a sequence."`
}

// Loader is the section of reading, order and limits.
type Loader struct {
	Workers        int     `yaml:"workers" range:"[0,)" unit:"threads" change:"free" doc:"Workers that decode and augment at a time; 0 follows what training needs, up to cpu_limit."`
	CPULimit       int     `yaml:"cpu_limit" range:"[0,)" unit:"processors" change:"free" doc:"Most workers where their number is not fixed; 0 is one for each processor, of more than four all but one, which the device's driver needs."`
	Fetchers       int     `yaml:"fetchers" range:"[0,)" unit:"readers" change:"free" doc:"Files or shards read at the same time, of a source with an end; 0 follows what the workers need."`
	MemoryLimit    int64   `yaml:"memory_limit" range:"[64MiB,)" unit:"bytes" change:"free" doc:"Most bytes of encoded images held at once; readers wait when it is reached."`
	MaxBadFraction float64 `yaml:"max_bad_fraction" range:"[0,1]" change:"accept" doc:"Share of bad images within bad_window above which the run stops."`
	BadWindow      int     `yaml:"bad_window" range:"[1,)" unit:"samples" change:"accept" doc:"Latest samples over which max_bad_fraction is counted."`
	StoreImages    bool    `yaml:"store_images" change:"free" doc:"Keep the encoded bytes of a bad image of up to 1 MiB in the dead-letter file, not its description alone."`
	Dedupe         string  `yaml:"dedupe" allowed:"none|key|sha256" change:"accept" doc:"Passes over what a stream brings again within dedupe_window: by its key, or by the image's bytes."`
	DedupeWindow   int     `yaml:"dedupe_window" range:"[1,)" unit:"samples" change:"accept" doc:"Latest samples that dedupe remembers, 16 bytes each."`
	Replay         Replay  `yaml:"replay" doc:"A buffer of encoded images that batches are drawn from, for what comes in bursts or drifts (docs/continual.md)."`
	Shuffle        Shuffle `yaml:"shuffle" doc:"Order of a bounded source, a function of train.seed and the epoch."`
	Limits         Limits  `yaml:"limits" doc:"What makes an image bad before it can cost memory or time."`
}

// Replay is loader.replay.
type Replay struct {
	Policy           string  `yaml:"policy" allowed:"none|fifo|random|reservoir|balanced|min_redundancy" change:"accept" doc:"Which sample leaves a full buffer: the oldest (fifo), any (random), any or the newcomer, so that each sample of the stream is kept with equal probability (reservoir), or one of the source (ingest.source) that has most in the buffer (balanced), or the one whose embedding is most like another's (min_redundancy). none trains on samples as they come, once each."`
	Size             int     `yaml:"size" range:"[1,)" unit:"samples" change:"accept" doc:"Most samples in the buffer."`
	Bytes            int64   `yaml:"bytes" range:"[0,)" unit:"bytes" change:"accept" doc:"Most bytes of encoded images in the buffer; 0 sets no limit beside size."`
	Memory           int64   `yaml:"memory" range:"[0,)" unit:"bytes" change:"free" doc:"Most bytes of those images that are held in memory; the others are read from sink.dir for each draw. All of them are written there as they come, for the checkpoints."`
	UpdatesPerSample float64 `yaml:"updates_per_sample" range:"[0.01,)" change:"accept" doc:"Draws from the buffer for each sample that comes in. The source is read that much slower than the trainer works."`
	Fill             int     `yaml:"fill" range:"[1,)" auto:"true" unit:"samples" change:"accept" doc:"Samples in the buffer before the first draw; auto waits for four batches, or size if that is less."`
	Fresh            float64 `yaml:"fresh" range:"[0,1]" change:"accept" doc:"Share of the draws that go to samples that none has taken yet, the oldest first; the others are drawn from the whole buffer."`
	PerSourceBatch   int     `yaml:"per_source_batch" range:"[0,)" unit:"samples" change:"accept" doc:"Most samples of one source (ingest.source) in a batch, as far as the buffer has enough sources; 0 sets no limit."`
	Window           int     `yaml:"window" range:"[0,)" unit:"samples" change:"accept" doc:"Latest samples that reservoir is fair to; 0 is the whole stream."`
	Delay            int     `yaml:"delay" range:"[2,)" auto:"true" unit:"steps" change:"accept" doc:"Steps after which the buffer learns what a step found: bad images, embeddings. A fixed number, so that timing changes nothing; the loader runs ahead by no more. auto takes 8, or more for small batches with many bad images allowed."`
}

// On says whether there is a buffer.
func (r Replay) On() bool { return r.Policy != ReplayNone }

// ReplayNone is the value of loader.replay.policy without a buffer.
const ReplayNone = "none"

// Shuffle is loader.shuffle.
type Shuffle struct {
	Window int `yaml:"window" range:"[1,)" unit:"shards" change:"accept" doc:"Shards in a block whose samples are mixed."`
	Buffer int `yaml:"buffer" range:"[1,)" unit:"samples" change:"accept" doc:"Samples of a block held to draw from; 1 keeps the order within the block."`
}

// Limits is loader.limits.
type Limits struct {
	MaxBytes  int64 `yaml:"max_bytes" range:"[1KiB,)" unit:"bytes" change:"accept" doc:"Most encoded bytes of an image."`
	MaxPixels int   `yaml:"max_pixels" range:"[64,)" unit:"pixels" change:"accept" doc:"Most pixels of an image, width x height."`
	MaxSide   int   `yaml:"max_side" range:"[1,)" unit:"pixels" change:"accept" doc:"Longest side of an image."`
	MinSide   int   `yaml:"min_side" range:"[1,)" unit:"pixels" change:"accept" doc:"Shortest side of an image."`
	MaxScans  int   `yaml:"max_scans" range:"[1,)" unit:"scans" change:"accept" doc:"Most scans of a progressive JPEG; each one costs a pass over the image."`
}

// Augment is the section of views. A nil override leaves the recipe's own value.
type Augment struct {
	Size   int    `yaml:"size" range:"[8,)" unit:"pixels" change:"refused" doc:"Height and width of a view."`
	Recipe string `yaml:"recipe" allowed:"v1|v2" change:"accept" doc:"MoCo v1 (crop, gray, jitter, flip) or v2 (crop, jitter, gray, blur, flip)."`

	CropScale         *[2]float64 `yaml:"crop_scale" range:"(0,1]" change:"accept" example:"[0.2, 1]" doc:"Share of the image's area that a crop takes, [min, max]."`
	CropRatio         *[2]float64 `yaml:"crop_ratio" range:"(0,)" change:"accept" example:"[0.75, 1.3333]" doc:"Width : height of a crop, [min, max]."`
	Brightness        *float64    `yaml:"brightness" range:"[0,)" change:"accept" example:"0.4" doc:"Strength b of brightness jitter: the factor is drawn from [max(0, 1-b), 1+b]."`
	Contrast          *float64    `yaml:"contrast" range:"[0,)" change:"accept" example:"0.4" doc:"Strength of contrast jitter, as brightness."`
	Saturation        *float64    `yaml:"saturation" range:"[0,)" change:"accept" example:"0.4" doc:"Strength of saturation jitter, as brightness."`
	Hue               *float64    `yaml:"hue" range:"[0,0.5]" change:"accept" example:"0.1" doc:"Strength h of hue jitter: the shift is drawn from [-h, h] of a full turn."`
	JitterProbability *float64    `yaml:"jitter_probability" range:"[0,1]" change:"accept" example:"0.8" doc:"Probability of colour jitter."`
	GrayProbability   *float64    `yaml:"gray_probability" range:"[0,1]" change:"accept" example:"0.2" doc:"Probability of a grayscale view."`
	BlurProbability   *float64    `yaml:"blur_probability" range:"[0,1]" change:"accept" example:"0.5" doc:"Probability of Gaussian blur."`
	BlurSigma         *[2]float64 `yaml:"blur_sigma" range:"(0,)" unit:"pixels" change:"accept" example:"[0.1, 2]" doc:"Standard deviation of the blur, [min, max]."`
	FlipProbability   *float64    `yaml:"flip_probability" range:"[0,1]" change:"accept" example:"0.5" doc:"Probability of a horizontal flip."`

	Mean [3]float64 `yaml:"mean" range:"[0,1]" change:"accept" doc:"Mean of red, green and blue (0..1), subtracted on the device; ImageNet's by default."`
	Std  [3]float64 `yaml:"std" range:"(0,)" change:"accept" doc:"Standard deviation of red, green and blue, divided by on the device; ImageNet's by default."`
}
