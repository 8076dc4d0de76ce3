package config

import "time"

// Default returns the tree before any file or override: MoCo v2 on ResNet-50, and no source of images. It passes
// Validate(false); the caller may change it.
func Default() *Config {
	return &Config{
		Ingest: Ingest{
			S3: S3Source{
				Kind: "auto", OnChange: "stop", FollowEvery: 30 * time.Second, FollowLateness: 10 * time.Minute,
				FollowStart: "earliest", PartSize: 16 << 20, Parallel: 4, PauseLimit: time.Hour, S3Access: S3Access{Checksum: "auto"},
			},
			Kafka:          defaultKafka(),
			Source:         "key_prefix",
			SequenceEpochs: 1,
		},
		Loader: Loader{
			Dedupe:         "none",
			DedupeWindow:   100_000,
			MemoryLimit:    1 << 30,
			MaxBadFraction: 0.05,
			BadWindow:      1000,
			StoreImages:    true,
			Replay:         Replay{Policy: ReplayNone, Size: 16384, Memory: 1 << 30, UpdatesPerSample: 1},
			Shuffle:        Shuffle{Window: 8, Buffer: 1024},
			Limits:         Limits{MaxBytes: 32 << 20, MaxPixels: 50_000_000, MaxSide: 16384, MinSide: 8, MaxScans: 100},
		},
		Augment: Augment{
			Size:   224,
			Recipe: "v2",
			Mean:   [3]float64{0.485, 0.456, 0.406},
			Std:    [3]float64{0.229, 0.224, 0.225},
		},
		Train: defaultTrain(),
		Sink: Sink{
			Dir: "runs/default", CheckpointEvery: 500, CheckpointInterval: 10 * time.Minute, Keep: 3, LogEvery: 10 * time.Second,
			S3:         S3Sink{Lease: 15 * time.Second, S3Access: S3Access{Checksum: "auto"}},
			Kafka:      KafkaAccess{SASL: "none"},
			Publish:    Publish{Keep: 5, MinSpread: 0.1, MaxPValue: 0.05},
			Embeddings: Embeddings{To: "none", Every: time.Minute},
		},
		Eval:    Eval{K: 200, Temperature: 0.1},
		Monitor: defaultMonitor(),
		Daemon:  Daemon{HTTP: "127.0.0.1:9464", StallTimeout: 10 * time.Minute, ShutdownTimeout: time.Minute},
	}
}

func defaultKafka() KafkaSource {
	return KafkaSource{
		KafkaAccess: KafkaAccess{SASL: "none"},
		Partitions:  "0/1", Schema: "auto", LabelHeader: "label", ImagesField: "images",
		Start: "earliest", OnDataLoss: "stop", Merge: "arrival", MergeTimeout: 30 * time.Second,
		Overload: "lag", OverloadLag: 100_000, OverloadShare: 0.1, OverloadJump: 1000,
		FetchBytes: 1 << 20, Timeout: 10 * time.Second, MaxMessageBytes: 64 << 20, MetadataEvery: 5 * time.Second,
	}
}

func defaultTrain() Train {
	return Train{
		Arch: "resnet50", Width: 64, Stem: "imagenet", Head: "mlp", Activation: "relu", Dim: 128,
		Mechanism: "moco", M: 0.999, BankMomentum: 0.5, T: 0.2, Accumulate: 1, // Batch, K and BNGroups: auto
		Queue: Queue{Mask: "none", Distance: 6, Warm: "random"}, Align: Align{Momentum: 0.999},
		Epochs:  200,
		Backend: "auto", Precision: "f32", Devices: 1, BN: "groups",
		Optimizer: Optimizer{
			Name: "sgd", LR: 0.03, Momentum: 0.9, WeightDecay: 1e-4,
			Beta1: 0.9, Beta2: 0.999, Eps: 1e-8,
		},
		Schedule: Schedule{Name: "cosine", Milestones: []int{120, 160}, Gamma: 0.1},
	}
}
