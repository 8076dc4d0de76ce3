package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mocostream/internal/safetensors"
)

func sample() []safetensors.Tensor {
	return []safetensors.Tensor{
		{Name: "mask", DType: "BOOL", Shape: []int{3}, Data: []byte{1, 0, 1}},
		safetensors.FromFloat32s("b.weight", []int{2, 3}, []float32{1, 2, 3, 4, 5, 6}),
		safetensors.FromInt64s("z.count", []int{}, []int64{-7}),
		safetensors.FromFloat32s("a \"quoted\" name é", []int{1}, []float32{float32(math.Inf(1))}),
		safetensors.FromFloat32s("empty", []int{0, 4}, nil),
	}
}

func encode(t testing.TB, ts []safetensors.Tensor, meta map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := safetensors.Write(&b, ts, meta); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func decode(b []byte) ([]safetensors.Tensor, map[string]string, error) {
	return safetensors.Read(bytes.NewReader(b), int64(len(b)))
}

func TestRoundTrip(t *testing.T) {
	meta := map[string]string{"format": "pt", "a": "<&>"}
	got, gotMeta, err := decode(encode(t, sample(), meta))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(gotMeta, meta) {
		t.Errorf("metadata %v, want %v", gotMeta, meta)
	}
	want := sample()
	if len(got) != len(want) {
		t.Fatalf("%d tensors, want %d", len(got), len(want))
	}
	for _, w := range want {
		i := slices.IndexFunc(got, func(g safetensors.Tensor) bool { return g.Name == w.Name })
		if i < 0 {
			t.Fatalf("%q is gone", w.Name)
		}
		if g := got[i]; g.DType != w.DType || !slices.Equal(g.Shape, w.Shape) || !bytes.Equal(g.Data, w.Data) {
			t.Errorf("%q is %+v, want %+v", w.Name, g, w)
		}
	}
}

func TestBytesDependOnContentAlone(t *testing.T) {
	ts := sample()
	a := encode(t, ts, map[string]string{"x": "1", "y": "2"})
	slices.Reverse(ts)
	if b := encode(t, ts, map[string]string{"y": "2", "x": "1"}); !bytes.Equal(a, b) {
		t.Error("another order of the tensors gives other bytes")
	}
}

func TestEveryArrayIsAligned(t *testing.T) {
	b := encode(t, sample(), nil)
	head := int(binary.LittleEndian.Uint64(b))
	if head%8 != 0 {
		t.Errorf("header has %d bytes, not a multiple of 8", head)
	}
	ts, _, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for _, ten := range ts {
		size, err := safetensors.Size(ten.DType)
		if err != nil {
			t.Fatal(err)
		}
		if at%size != 0 {
			t.Errorf("%s starts at %d, not a multiple of %d", ten.Name, at, size)
		}
		at += len(ten.Data)
	}
}

func TestWriteRefuses(t *testing.T) {
	f := func(name string) safetensors.Tensor { return safetensors.FromFloat32s(name, []int{1}, []float32{1}) }
	for want, ts := range map[string][]safetensors.Tensor{
		"used twice":         {f("a"), f("a")},
		"reserved":           {f("__metadata__")},
		"not UTF-8":          {f("\xff")},
		"takes 8 bytes":      {safetensors.FromFloat32s("a", []int{2}, []float32{1})},
		`dtype "F7"`:         {{Name: "a", DType: "F7", Shape: []int{1}, Data: []byte{1}}},
		"negative dimension": {{Name: "a", DType: "U8", Shape: []int{-1}, Data: nil}},
	} {
		if err := safetensors.Write(&bytes.Buffer{}, ts, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// file builds a file of any header and n bytes of data.
func file(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, n)...)
}

func entry(name, dtype, shape string, start, end int) string {
	return fmt.Sprintf(`%q:{"dtype":%q,"shape":[%s],"data_offsets":[%d,%d]}`, name, dtype, shape, start, end)
}

var hostile = []struct {
	name, want string
	data       []byte
}{
	{"empty file", "too few", nil},
	{"header longer than the file", "header of", file("{}", 0)[:9]},
	{"header beyond the cap", "header of", binary.LittleEndian.AppendUint64(nil, 1<<62)},
	{"not an object", "JSON object", file("[]", 0)},
	{"leading space", "JSON object", file(" {}", 0)},
	{"not UTF-8", "JSON object", file("{\"\xff\":1}", 0)},
	{"torn JSON", "unexpected EOF", file(`{"a":`, 0)},
	{"trailing JSON", "follows", file(`{}{}`, 0)},
	{"unknown dtype", `unknown dtype "Q4"`, file("{"+entry("a", "Q4", "1", 0, 1)+"}", 1)},
	{"duplicate name", "occurs twice", file("{"+entry("a", "U8", "1", 0, 1)+","+entry("a", "U8", "1", 1, 2)+"}", 2)},
	{"duplicate field", "occurs twice", file(`{"a":{"dtype":"U8","dtype":"U8","shape":[],"data_offsets":[0,1]}}`, 1)},
	{"missing field", "want dtype", file(`{"a":{"dtype":"U8","shape":[]}}`, 1)},
	{"unknown field", "unknown field", file(`{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1],"x":1}}`, 1)},
	{"overlap", "offsets", file("{"+entry("a", "U8", "2", 0, 2)+","+entry("b", "U8", "2", 1, 3)+"}", 3)},
	{"hole", "offsets", file("{"+entry("a", "U8", "1", 0, 1)+","+entry("b", "U8", "1", 2, 3)+"}", 3)},
	{"hole at the end", "cover", file("{"+entry("a", "U8", "1", 0, 1)+"}", 2)},
	{"beyond the file", "offsets", file("{"+entry("a", "U8", "9", 0, 9)+"}", 8)},
	{"negative offset", "not a length", file("{"+entry("a", "U8", "0", 0, -1)+"}", 0)},
	{"end before start", "offsets", file("{"+entry("a", "U8", "4", 0, 4)+","+entry("b", "U8", "1", 4, 3)+"}", 4)},
	{"shape and length differ", "takes 8 bytes", file("{"+entry("a", "F32", "2", 0, 4)+"}", 4)},
	{"product overflows to fit", "overflows", file("{"+entry("a", "U8", "4294967296,4294967296", 0, 0)+"}", 0)},
	{"dimension overflows", "not a length", file("{"+entry("a", "U8", "18446744073709551615", 0, 1)+"}", 1)},
	{"fraction", "not a length", file("{"+entry("a", "U8", "1.0", 0, 1)+"}", 1)},
	{"too many dimensions", "more than", file("{"+entry("a", "U8", strings.Repeat("1,", 70)+"1", 0, 1)+"}", 1)},
	{"three offsets", "more than 2", file(`{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1,1]}}`, 1)},
	{"metadata is not text", "not a string", file(`{"__metadata__":{"a":1}}`, 0)},
}

func TestReadRefuses(t *testing.T) {
	for _, c := range hostile {
		_, _, err := decode(c.data)
		if !errors.Is(err, safetensors.ErrFormat) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want ErrFormat with %q", c.name, err, c.want)
		}
	}
}

func TestReadAcceptsPaddingAndForeignOrder(t *testing.T) {
	got, _, err := decode(file("{"+entry("b", "U8", "1", 1, 2)+","+entry("a", "U8", "1", 0, 1)+"}   ", 2))
	if err != nil || len(got) != 2 || got[0].Name != "a" {
		t.Errorf("got %v, %v", got, err)
	}
}

// Every prefix of a file must be refused: a torn write is never taken for a smaller model.
func TestEveryPrefixIsRefused(t *testing.T) {
	whole := encode(t, sample(), nil)
	for n := range whole {
		if _, _, err := decode(whole[:n]); !errors.Is(err, safetensors.ErrFormat) {
			t.Fatalf("prefix of %d bytes: error %v", n, err)
		}
	}
}

func TestFileThatShrinksWhileRead(t *testing.T) {
	b := encode(t, sample(), nil)
	if _, _, err := safetensors.Read(bytes.NewReader(b[:len(b)-2]), int64(len(b))); err == nil {
		t.Error("a file two bytes shorter than stated was read")
	}
}

func TestWriteFileLeavesNothingElse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.safetensors")
	for range 2 {
		if err := safetensors.WriteFile(path, sample(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if ts, _, err := safetensors.ReadFile(path); err != nil || len(ts) != len(sample()) {
		t.Errorf("read %d tensors, %v", len(ts), err)
	}
	bad := []safetensors.Tensor{{Name: "a", DType: "F32", Shape: []int{1}}}
	if err := safetensors.WriteFile(path, bad, nil); err == nil {
		t.Error("a bad tensor was written")
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 {
		t.Errorf("folder holds %v, %v", names, err)
	}
	if ts, _, err := safetensors.ReadFile(path); err != nil || len(ts) != len(sample()) {
		t.Errorf("after a failed write: read %d tensors, %v", len(ts), err)
	}
}

// TestHalf checks all of binary16 against its definition: (-1)^sign * significand * 2^exponent.
func TestHalf(t *testing.T) {
	data := make([]byte, 2<<16)
	for i := range 1 << 16 {
		binary.LittleEndian.PutUint16(data[2*i:], uint16(i))
	}
	got, err := safetensors.Float32s(safetensors.Tensor{DType: "F16", Shape: []int{1 << 16}, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range got {
		exp, frac := i>>10&31, float64(i&1023)
		var want float64
		switch {
		case exp == 31 && frac != 0:
			if !math.IsNaN(float64(g)) {
				t.Fatalf("half %#04x is %g, want NaN", i, g)
			}
			continue
		case exp == 31:
			want = math.Inf(1)
		case exp == 0:
			want = math.Ldexp(frac, -24)
		default:
			want = math.Ldexp(1024+frac, exp-25)
		}
		if i>>15 == 1 {
			want = math.Copysign(want, -1)
		}
		if math.Float32bits(g) != math.Float32bits(float32(want)) {
			t.Fatalf("half %#04x is %g, want %g", i, g, want)
		}
	}
}

func TestFloat32s(t *testing.T) {
	le := binary.LittleEndian
	bf := le.AppendUint16(le.AppendUint16(nil, 0x3f80), 0xc049) // 1 and -3.140625
	f64 := le.AppendUint64(nil, math.Float64bits(0.1))
	for _, c := range []struct {
		t    safetensors.Tensor
		want []float32
	}{
		{safetensors.FromFloat32s("a", []int{2}, []float32{1.5, -2}), []float32{1.5, -2}},
		{safetensors.Tensor{DType: "BF16", Shape: []int{2}, Data: bf}, []float32{1, -3.140625}},
		{safetensors.Tensor{DType: "F64", Shape: []int{1}, Data: f64}, []float32{0.1}},
	} {
		if got, err := safetensors.Float32s(c.t); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.t.DType, got, err, c.want)
		}
	}
	if _, err := safetensors.Float32s(safetensors.FromInt64s("n", []int{1}, []int64{1})); err == nil {
		t.Error("I64 was taken for floats")
	}
	if _, err := safetensors.Float32s(safetensors.Tensor{DType: "F32", Shape: []int{2}, Data: make([]byte, 4)}); err == nil {
		t.Error("short data was taken")
	}
	n, err := safetensors.Int64s(safetensors.FromInt64s("n", []int{2}, []int64{-1, 1 << 60}))
	if err != nil || !slices.Equal(n, []int64{-1, 1 << 60}) {
		t.Errorf("Int64s: %v, %v", n, err)
	}
}

// FuzzRead: whatever is accepted must survive being written and read again.
func FuzzRead(f *testing.F) {
	f.Add(encode(f, sample(), map[string]string{"format": "pt"}))
	f.Add(file("{"+entry("a", "F16", "2,1", 0, 4)+"}    ", 4))
	for _, c := range hostile {
		f.Add(c.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ts, meta, err := decode(data)
		if err != nil {
			return
		}
		again, _, err := decode(encode(t, ts, meta))
		if err != nil || len(again) != len(ts) {
			t.Fatalf("%d tensors became %d: %v", len(ts), len(again), err)
		}
	})
}
