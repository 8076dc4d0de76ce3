package shards_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"mocostream/ingest"
	"mocostream/ingest/ingesttest"
	"mocostream/ingest/shards"
)

// content is a shard and what is in it; the images end inside, at and beyond the size of a record.
type content struct {
	tar  []byte
	want []ingesttest.Sample
}

func generate(t testing.TB, partition int32, n, size int, labelFirst bool) content {
	var files []file
	samples := ingesttest.Generate(partition, n, size)
	for i := range samples {
		s := &samples[i]
		s.Key = fmt.Sprintf("train/%d-%05d", partition, i)
		img := file{s.Key + [...]string{".jpg", ".JPEG", ".Png", ".webp"}[i%4], string(s.Image)}
		cls := file{s.Key + ".cls", fmt.Sprintf("%d\n", i%10)}
		switch {
		case i%3 == 2:
			files = append(files, img)
			continue
		case labelFirst:
			files = append(files, cls, file{s.Key + ".json", "{}"}, img)
		default:
			files = append(files, img, file{s.Key + ".json", "{}"}, cls)
		}
		s.Label = new(int32(i % 10))
	}
	return content{pack(t, files...), samples}
}

func TestConformance(t *testing.T) {
	all := []content{
		generate(t, 0, 66, 100, false),
		generate(t, 1, 67, 30, true),
		generate(t, 2, 9, 300<<10, false),
		{pack(t, file{"readme.txt", "no image"}), nil},
		generate(t, 4, 3, 0, true),
	}
	all[1].tar = zip(t, all[1].tar)
	names := []string{"0.tar", "1.tgz", "a/2.TAR", "b/deep/3.tar", "c/4.tar.gz"} // 4 is plain in spite of its name
	test := func(pattern string, found ...int) func(*testing.T) {
		return func(t *testing.T) {
			ingesttest.TestBounded(t, func(t *testing.T) (ingest.Bounded, []ingesttest.Sample) {
				root := t.TempDir()
				for i, name := range names {
					store(t, filepath.Join(root, name), all[i].tar)
				}
				store(t, filepath.Join(root, ".hidden.tar"), []byte("no tar"))
				s := open(t, shards.Options{Path: filepath.Join(root, pattern), Labels: true})
				m, err := s.Manifest(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var want []ingesttest.Sample
				for p, i := range found {
					for _, s := range all[i].want {
						s.Source, s.Partition = m.Hash(), int32(p)
						want = append(want, s)
					}
				}
				return s, want
			})
		}
	}
	t.Run("folder", test("", 0, 1, 2, 3, 4))
	t.Run("pattern", test("*.t*", 0, 1))
	t.Run("pattern of folders", test("[ac]/*.[tT]*", 2, 4))
	t.Run("file", test("1.tgz", 1))
}
