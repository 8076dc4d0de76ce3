package synth

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// framesPerShard is how many frames a shard of WriteStream holds.
const framesPerShard = 4096

// WriteStream writes a stream as WebDataset tars that hold it in order: one where path ends in .tar, else
// path/stream-00000.tar and so on, of 4,096 frames each. A member's name is the frame's key. A file appears when it is
// whole, in place of what was there.
func WriteStream(ctx context.Context, path string, s Stream, in Images) error {
	one := strings.HasSuffix(path, ".tar")
	for from, n := 0, 0; from < s.Frames; n++ {
		file, until := filepath.Join(path, fmt.Sprintf("stream-%05d.tar", n)), min(from+framesPerShard, s.Frames)
		if one {
			file, until = path, s.Frames
		}
		err := writeWhole(file, func(w io.Writer) error { return writeFrames(ctx, w, s, in, from, until) })
		if err != nil {
			return fmt.Errorf("draw stream into %s: %w", file, err)
		}
		from = until
	}
	return nil
}

func writeFrames(ctx context.Context, w io.Writer, s Stream, in Images, from, until int) error {
	tw := tar.NewWriter(w)
	err := EachFrame(ctx, s, in, from, until, func(f Frame) error { return writeEntries(tw, f.Key, f.Class, f.JPEG) })
	if err != nil {
		return err
	}
	return tw.Close()
}
