package main

import (
	"strings"
	"testing"

	"mocostream/config"
	"mocostream/train"
)

// Every encoder that the trainer has can be configured, with every head, and no other.
func TestEncodersCanBeConfigured(t *testing.T) {
	for _, arch := range train.Architectures() {
		for _, head := range []string{"linear", "mlp", "mlp_bn"} {
			c, err := config.Load("", []string{"train.arch=" + arch, "train.head=" + head})
			if err != nil {
				t.Fatal(err)
			}
			if o := encoderOptions(c.Train); o.Arch != arch || o.Head != head || o.Validate() != nil {
				t.Errorf("%s with %s came out as %+v: %v", arch, head, o, o.Validate())
			}
		}
	}
	_, err := config.Load("", []string{"train.arch=vgg"})
	if all := "use " + strings.Join(train.Architectures(), ", "); err == nil || !strings.HasSuffix(strings.Split(err.Error(), "\n")[0], all) {
		t.Errorf("%v, want it to end in %q", err, all)
	}
}

// Alignment pulls what a buffer gave before, or everything where there is no buffer.
func TestAlignmentIsWired(t *testing.T) {
	for replay, want := range map[string]train.AlignOptions{"none": {Weight: 2, Momentum: .9}, "fifo": {Weight: 2, Momentum: .9, Replayed: true}} {
		c, err := config.Load("", []string{"train.align.weight=2", "train.align.momentum=0.9", "loader.replay.policy=" + replay, "train.batch=8", "train.k=16", "train.bn_groups=1"})
		if err != nil {
			t.Fatal(err)
		}
		if got := trainOptions(c, 100).Align; got != want {
			t.Errorf("%s: %+v, want %+v", replay, got, want)
		}
	}
}

// What the keys of train.queue say is what the trainer does.
func TestQueueIsWired(t *testing.T) {
	c, err := config.Load("", []string{"train.queue.mask=duplicate", "train.queue.distance=9", "train.queue.warm=masked", "train.batch=8", "train.k=16", "train.bn_groups=1"})
	if err != nil {
		t.Fatal(err)
	}
	if o := trainOptions(c, 100); o.Mask != train.MaskDuplicate || o.Duplicate != 9 || !o.WarmMasked {
		t.Errorf("%q, %d bits, %v", o.Mask, o.Duplicate, o.WarmMasked)
	}
	for _, mask := range []train.Mask{train.MaskNone, train.MaskSample, train.MaskSource, train.MaskDuplicate} {
		c, err := config.Load("", []string{"train.queue.mask=" + string(mask), "train.batch=8", "train.k=16", "train.bn_groups=1"})
		if err != nil {
			t.Fatal(err)
		}
		if o := trainOptions(c, 100); o.Mask != mask || o.WarmMasked || o.Validate() != nil {
			t.Errorf("%s came out as %q, %v: %v", mask, o.Mask, o.WarmMasked, o.Validate())
		}
	}
}
