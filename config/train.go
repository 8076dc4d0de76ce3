package config

// Values of train.mechanism that rules ask for.
const (
	MechanismMoCo       = "moco"
	MechanismEndToEnd   = "end_to_end"
	MechanismMemoryBank = "memory_bank"
)

// Train is the section of the encoder, the loss and the optimisation.
type Train struct {
	Arch         string    `yaml:"arch" allowed:"resnet10|resnet18|resnet34|resnet50|resnet101|wide_resnet50_2|resnext50_32x4d" change:"refused" doc:"Encoder, as torchvision defines it (resnet10 has one block a stage)."`
	Width        int       `yaml:"width" range:"[1,)" unit:"channels" change:"refused" doc:"Channels of the encoder's first stage; torchvision's is 64. A multiple of 16 for resnext50_32x4d, whose groups have width/16 channels."`
	Stem         string    `yaml:"stem" allowed:"imagenet|cifar" change:"refused" doc:"First layers: imagenet is a 7x7 convolution of stride 2 and a max-pool, cifar a 3x3 of stride 1 for small images."`
	Head         string    `yaml:"head" allowed:"linear|mlp|mlp_bn" change:"refused" doc:"Projection to the embedding: linear (MoCo v1), mlp (v2) or mlp_bn (with BatchNorm after the first layer, as BYOL's)."`
	Activation   string    `yaml:"activation" allowed:"relu|silu" change:"refused" doc:"Non-linearity of the encoder."`
	Dim          int       `yaml:"dim" range:"[1,)" unit:"dimensions" change:"refused" doc:"Length of the embedding."`
	Mechanism    string    `yaml:"mechanism" allowed:"moco|end_to_end|memory_bank" change:"refused" doc:"Where the negatives come from: moco keeps a queue of keys of a momentum encoder, end_to_end takes the other keys of the batch and trains their encoder too, memory_bank keeps an entry for every image of a source with an end."`
	K            int       `yaml:"k" range:"[2,)" auto:"true" unit:"keys" change:"refused" doc:"Size of moco's queue of negatives, or how many entries memory_bank draws for a step; end_to_end has no use for it. auto chooses by the size of the data set."`
	Queue        Queue     `yaml:"queue" doc:"Which keys are no negatives of a query, being too much like it, or no keys at all."`
	Align        Align     `yaml:"align" doc:"Keeps the encoder near what it was on images that it met before, against forgetting on a stream that changes (docs/continual.md)."`
	M            float64   `yaml:"m" range:"[0,1]" change:"accept" doc:"Momentum of moco's key encoder: the share of its weights that a step keeps. end_to_end and memory_bank have no use for it."`
	BankMomentum float64   `yaml:"bank_momentum" range:"[0,1)" change:"accept" doc:"Momentum of memory_bank: the share of an image's entry that stays when the image is seen again."`
	T            float64   `yaml:"t" range:"(0,)" change:"accept" doc:"Temperature of the contrastive loss."`
	Symmetric    bool      `yaml:"symmetric" change:"accept" doc:"Take both views as queries, each against the other's keys: the loss is the sum of both, and a step puts the keys of both into the queue. Not for memory_bank."`
	BN           string    `yaml:"bn" allowed:"groups|plain|sync" change:"accept" doc:"Over which images of a batch activations are normalised: in bn_groups groups, plain (those of one device) or sync (all of the batch, at the price of some dozens of exchanges a step between several devices)."`
	BNGroups     int       `yaml:"bn_groups" range:"[1,)" auto:"true" unit:"groups" change:"accept" doc:"Groups of a batch, or of each of its parts (accumulate), that are batch-normalised apart, with keys shuffled between them, so that the encoder cannot cheat; auto takes 32 images a group."`
	Batch        int       `yaml:"batch" range:"[2,)" auto:"true" unit:"images" change:"accept" doc:"Images of one optimisation step. auto takes 256, and less for fewer than 1,024 images: a power of two, at most a quarter of them."`
	Accumulate   int       `yaml:"accumulate" range:"[1,)" unit:"parts" change:"accept" doc:"Equal parts that a batch is computed in, one after another, before one update by the mean of their gradients: less memory, one learning rate. bn_groups are of a part, and so are the negatives of end_to_end."`
	Steps        int       `yaml:"steps" range:"[0,)" unit:"steps" change:"accept" doc:"Optimisation steps after which the run ends, whatever the epochs; 0 leaves the end to epochs."`
	Epochs       int       `yaml:"epochs" range:"[0,)" unit:"epochs" change:"accept" doc:"Passes over the data after which the run ends; 0 goes on until stopped."`
	Seed         uint64    `yaml:"seed" change:"refused" doc:"Seed of the weights, the order of samples and every augmentation."`
	Backend      string    `yaml:"backend" path:"maybe" nonempty:"true" change:"free" doc:"What computes: auto (the fastest found), go, xla, xla:cpu, xla:cuda, or any GoMLX backend configuration."`
	Precision    string    `yaml:"precision" allowed:"f32|bf16" change:"accept" doc:"Number format of activations and convolutions, forwards and backwards: f32, or bf16 (XLA only), the faster on a GPU. Weights, optimizer, BatchNorm's arithmetic, head and loss are f32 in both."`
	Devices      int       `yaml:"devices" range:"[1,)" unit:"devices" change:"accept" doc:"Devices of this machine that share a batch (XLA): each has a copy of the weights and computes on an equal part of the images; bn_groups must be a multiple of them. The results are those of one device, to rounding. The groups of resnext50_32x4d make devices exchange activations in most blocks, which others do not."`
	InitFrom     string    `yaml:"init_from" path:"true" change:"free" example:"runs/other" doc:"Step or run folder whose encoder weights a new run starts from; a resumed run does not look at it."`
	Optimizer    Optimizer `yaml:"optimizer" doc:"How gradients move the weights."`
	Schedule     Schedule  `yaml:"schedule" doc:"How the learning rate changes over the run."`
}

// Values of train.queue that rules ask for.
const (
	MaskNone      = "none"
	MaskSample    = "sample"
	MaskDuplicate = "duplicate"
	WarmMasked    = "masked"
)

// Queue is train.queue.
type Queue struct {
	Mask     string `yaml:"mask" allowed:"none|sample|source|duplicate" change:"accept" doc:"Which keys a query is not held against, decided within the step: those of its own image (sample), of its source as ingest.source has it, or of images that look much the same (duplicate). end_to_end masks keys of the batch; memory_bank knows sample alone."`
	Distance int    `yaml:"distance" range:"[0,32]" unit:"bits" change:"accept" doc:"In how many of 64 bits the difference hashes of two images differ at most that duplicate takes for the same picture."`
	Warm     string `yaml:"warm" allowed:"random|masked" change:"accept" doc:"What places of moco's queue are that no key has taken yet: random negatives, as in the paper, or masked, none at all. With masked the first step has nothing to learn from."`
}

// Align is train.align.
type Align struct {
	Weight   float64 `yaml:"weight" range:"[0,)" change:"accept" doc:"Weight in the loss of 1 - cosine between a small predictor's output for the query and what a slow copy of the encoder makes of the same view; of images that loader.replay gave before, or of all without a buffer. 0 is none, at no cost; else a step encodes each query view once more, forwards."`
	Momentum float64 `yaml:"momentum" range:"[0,1]" change:"accept" doc:"Share of the slow copy's weights that a step keeps."`
}

// Optimizer is train.optimizer.
type Optimizer struct {
	Name            string  `yaml:"name" allowed:"sgd|lars|adamw" change:"refused" doc:"Stochastic gradient descent with momentum, LARS for large batches, or AdamW."`
	LR              float64 `yaml:"lr" range:"(0,)" change:"accept" doc:"Learning rate after the warm-up; MoCo's is 0.03 for a batch of 256."`
	Momentum        float64 `yaml:"momentum" range:"[0,1)" change:"accept" doc:"Momentum of sgd and lars."`
	WeightDecay     float64 `yaml:"weight_decay" range:"[0,)" change:"accept" doc:"Decay of the weights: added to the gradient by sgd and lars, applied apart from it by adamw."`
	ExcludeNormBias bool    `yaml:"exclude_norm_bias" change:"accept" doc:"No weight decay on BatchNorm's parameters and biases. MoCo decays everything; lars never decays these."`
	ClipNorm        float64 `yaml:"clip_norm" range:"[0,)" change:"accept" doc:"Longest gradient, as the L2 norm over all parameters; a longer one is scaled down to it. 0 takes every gradient as it is."`
	Beta1           float64 `yaml:"beta1" range:"[0,1)" change:"accept" doc:"Decay of adamw's first moment."`
	Beta2           float64 `yaml:"beta2" range:"[0,1)" change:"accept" doc:"Decay of adamw's second moment."`
	Eps             float64 `yaml:"eps" range:"(0,)" change:"accept" doc:"Added to adamw's denominator."`
}

// Schedule is train.schedule.
type Schedule struct {
	Name        string  `yaml:"name" allowed:"cosine|wsd|step|constant" change:"accept" doc:"cosine falls to 0 at the end of the run; wsd (warm-up, stable, decay) stays and falls over its last decay_steps, or stays where there is no end; step multiplies by gamma at each milestone; constant stays."`
	WarmupSteps int     `yaml:"warmup_steps" range:"[0,)" unit:"steps" change:"accept" doc:"Steps over which the learning rate rises linearly from 0."`
	DecaySteps  int     `yaml:"decay_steps" range:"[1,)" auto:"true" unit:"steps" change:"accept" doc:"Steps at the end of the run over which wsd falls to 0, as 1 - sqrt(share of them done); auto takes a fifth of the run."`
	Milestones  []int   `yaml:"milestones" range:"[1,)" unit:"epochs" change:"accept" doc:"Epochs at which step lowers the rate, in rising order."`
	Gamma       float64 `yaml:"gamma" range:"(0,1]" change:"accept" doc:"Factor of step at each milestone."`
}
