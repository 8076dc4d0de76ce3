package main

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Every head trains, is judged with either encoder, leaves in an export and comes back from it.
func TestHeads(t *testing.T) {
	dir, others := images(t, 32, 1), images(t, 18, 3)
	for head, names := range map[string][]string{
		"linear": {"fc.weight", "fc.bias"},
		"mlp_bn": {"fc.0.weight", "fc.0.bias", "fc.1.weight", "fc.1.bias", "fc.1.running_mean", "fc.1.running_var", "fc.3.weight", "fc.3.bias"},
	} {
		t.Run(head, func(t *testing.T) {
			runDir := filepath.Join(t.TempDir(), "run")
			program(t, tiny(runDir, "ingest.dir="+dir, "train.steps=10", "train.head="+head)...).want(t, exitOK)
			judged := map[string]features{}
			for _, which := range []string{"q", "k"} {
				program(t, "eval", "knn", "--backend", "go", "--checkpoint", runDir, "--reference", dir, "--query", others, "--k", "3", "--encoder", which).want(t, exitOK)
				judged[which] = embed(t, runDir, dir, "--encoder", which)
				checkHeadExport(t, runDir, dir, which, judged[which])
			}
			if reflect.DeepEqual(judged["q"], judged["k"]) {
				t.Error("query and key encoder have the same features")
			}
			full := filepath.Join(t.TempDir(), "full")
			program(t, "export", "--checkpoint", runDir, "--out", full, "--full").want(t, exitOK)
			for _, encoder := range []string{"encoder_q.", "encoder_k."} {
				for _, name := range names {
					if _, ok := tensors(t, full)[encoder+name]; !ok {
						t.Errorf("the export has no %s%s", encoder, name)
					}
				}
			}
			from := untouched(t, dir, full, "train.head="+head)
			sameEncoders(t, filepath.Join(runDir, "step-000000010"), filepath.Join(from, "step-000000000"))
		})
	}
}

// checkHeadExport starts a run with another head from the exported backbone, which must have the same features.
func checkHeadExport(t *testing.T, runDir, dir, which string, want features) {
	t.Helper()
	export := filepath.Join(t.TempDir(), "export")
	program(t, "export", "--checkpoint", runDir, "--out", export, "--encoder", which).want(t, exitOK)
	for name := range tensors(t, export) {
		if slices.Contains(strings.Split(name, "."), "fc") {
			t.Errorf("the export of a backbone has %s", name)
		}
	}
	if from := untouched(t, dir, export, "train.head=mlp"); !reflect.DeepEqual(want, embed(t, from, dir)) {
		t.Errorf("encoder %s: a run that starts from the export has other features", which)
	}
}
