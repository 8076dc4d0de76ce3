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
