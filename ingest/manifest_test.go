package ingest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func listOf(partitions ...Partition) iter.Seq2[Partition, error] {
	return func(yield func(Partition, error) bool) {
		for _, p := range partitions {
			if !yield(p, nil) {
				return
			}
		}
	}
}

func someFiles(n int) []Partition {
	all := make([]Partition, n)
	for i := range all {
		all[i] = Partition{Name: fmt.Sprintf("%d/bücher-%06d.jpg", i%7, i), Size: int64(i * 3), Count: int64(i % 4)}
		if i%3 == 1 {
			all[i].Version = fmt.Sprintf("\"etag%d\"", i)
		}
	}
	return all
}

func TestManifestRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 2, 1000} {
		dir, want := filepath.Join(t.TempDir(), "new", "folder"), someFiles(n)
		written, err := WriteManifest(dir, listOf(want...))
		if err != nil {
			t.Fatal(err)
		}
		defer written.Close()
		m, err := OpenManifest(dir, written.Hash())
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		checkManifest(t, m, want)
		checkManifest(t, written, want)
	}
}

func checkManifest(t *testing.T, m *Manifest, want []Partition) {
	t.Helper()
	var samples int64
	var i int32
	for p, err := range m.All() {
		direct, directErr := m.Partition(i)
		if err != nil || directErr != nil || p != want[i] || direct != want[i] {
			t.Fatalf("partition %d: %+v, %v and %+v, %v; want %+v", i, p, err, direct, directErr, want[i])
		}
		samples += p.Count
		i++
	}
	if int(i) != len(want) || int(m.Len()) != len(want) || m.Samples() != samples {
		t.Errorf("%d of %d partitions, %d samples; want %d, %d", i, m.Len(), m.Samples(), len(want), samples)
	}
	for _, i := range []int32{-1, m.Len()} {
		if p, err := m.Partition(i); err == nil {
			t.Errorf("partition %d of %d: %+v", i, m.Len(), p)
		}
	}
}

// The hash is part of every sample's name: it may never change for the same list.
func TestManifestHashIsStable(t *testing.T) {
	m, err := WriteManifest(t.TempDir(), listOf(Partition{Name: "a/1.jpg", Size: 10, Count: 1}, Partition{Name: "b.tar", Size: 258, Count: 3}))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	canonical := "mocostream mft 1" +
		"\x0a\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00a/1.jpg" +
		"\x02\x01\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00b.tar"
	sum := sha256.Sum256([]byte(canonical))
	if m.Hash() != hex.EncodeToString(sum[:]) {
		t.Errorf("hash is %s", m.Hash())
	}
}

func TestManifestStoredOnce(t *testing.T) {
	dir := t.TempDir()
	first, err := WriteManifest(dir, listOf(someFiles(5)...))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	path := manifestPath(dir, first.Hash())
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := WriteManifest(dir, listOf(someFiles(5)...))
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was replaced: %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files in the folder, want 1", len(entries))
	}
}

func TestManifestListErrors(t *testing.T) {
	broken := errors.New("bucket is gone")
	for name, list := range map[string]iter.Seq2[Partition, error]{
		"sequence": func(yield func(Partition, error) bool) { yield(Partition{}, broken) },
		"no name":  listOf(Partition{Size: 1}),
		"long":     listOf(Partition{Name: strings.Repeat("x", MaxName+1)}),
		"no text":  listOf(Partition{Name: "\xff.jpg"}),
		"negative": listOf(Partition{Name: "a", Count: -1}),
		"overflow": listOf(Partition{Name: "a", Count: 1 << 62}, Partition{Name: "b", Count: 1 << 62}),
	} {
		dir := t.TempDir()
		m, err := WriteManifest(dir, list)
		if err == nil || m != nil {
			t.Errorf("%s: no error", name)
		}
		if name == "sequence" && !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 0 {
			t.Errorf("%s: left %v", name, entries)
		}
	}
}

func TestManifestDamage(t *testing.T) {
	dir := t.TempDir()
	m, err := WriteManifest(dir, listOf(someFiles(6)...))
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	path := manifestPath(dir, m.Hash())
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := OpenManifest(dir, m.Hash())
		if !errors.Is(err, ErrManifest) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "delete it") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for cut := range whole {
		check(fmt.Sprintf("cut at %d", cut), whole[:cut])
	}
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 0x40
		check(fmt.Sprintf("flip at %d", i), flipped)
	}
	check("longer", append(bytes.Clone(whole), 0))
	again, err := WriteManifest(dir, listOf(someFiles(6)...))
	if err != nil {
		t.Fatalf("writing over a damaged file: %v", err)
	}
	again.Close()
}

func TestOpenManifestArguments(t *testing.T) {
	missing := strings.Repeat("0a", sha256.Size)
	if _, err := OpenManifest(t.TempDir(), missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	for _, hash := range []string{"", "../../etc/passwd", missing[1:], strings.ToUpper(missing)} {
		if _, err := OpenManifest(t.TempDir(), hash); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("hash %q: %v", hash, err)
		}
	}
}

// A list of many partitions is written, verified and read in memory that does not hold it.
func TestManifestMemory(t *testing.T) {
	const n, limit = 150_000, 4 << 20
	peak, base := uint64(0), heapBytes()
	m, err := WriteManifest(t.TempDir(), func(yield func(Partition, error) bool) {
		for i := range n {
			if i%(n/4) == 0 {
				peak = max(peak, heapBytes())
			}
			if !yield(Partition{Name: fmt.Sprintf("some/rather/long/folder/name/%012d.jpg", i), Size: 1, Count: 1}, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	i := 0
	for _, err := range m.All() {
		if err != nil {
			t.Fatal(err)
		}
		if i++; i%(n/4) == 0 {
			peak = max(peak, heapBytes())
		}
	}
	if peak > base+limit {
		t.Errorf("heap went from %d to %d bytes", base, peak)
	}
}

func heapBytes() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func encoded(t testing.TB, partitions ...Partition) []byte {
	path := filepath.Join(t.TempDir(), "m")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := encodeManifest(file, listOf(partitions...)); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// What the parser accepts is readable in full and is what the encoder would write.
func FuzzManifest(f *testing.F) {
	for _, n := range []int{0, 1, 5} {
		whole := encoded(f, someFiles(n)...)
		f.Add(whole)
		f.Add(whole[:len(whole)-3])
		f.Add(append(whole[:20:20], whole...))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		m, err := parseManifest(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			if !errors.Is(err, ErrManifest) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		var all []Partition
		for p, err := range m.All() {
			direct, directErr := m.Partition(int32(len(all)))
			if err != nil || directErr != nil || p != direct {
				t.Fatalf("partition %d: %+v, %v and %+v, %v", len(all), p, err, direct, directErr)
			}
			all = append(all, p)
		}
		if !bytes.Equal(encoded(t, all...), content) {
			t.Fatal("written again it is something else")
		}
	})
}

func BenchmarkManifestPartition(b *testing.B) {
	m, err := WriteManifest(b.TempDir(), listOf(someFiles(100_000)...))
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	var i int32
	for b.Loop() {
		if _, err := m.Partition(i * 7919 % m.Len()); err != nil {
			b.Fatal(err)
		}
		i = (i + 1) % 1000
	}
}
