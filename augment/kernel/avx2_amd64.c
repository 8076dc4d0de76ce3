//go:build cgo && !purego

// The variant for x86-64 processors with AVX2.
#include "avx2_amd64.h"

const struct stages avx2_stages = {
    .name = "AVX2", .table_bytes = avx2_table_bytes, .line_bytes = avx2_line_bytes, .prepare = avx2_prepare,
    .across = avx2_across, .down = avx2_down, .blend = avx2_blend, .luma = avx2_luma, .saturate = avx2_saturate,
    .hue = avx2_hue, .gray = avx2_gray, .box = avx2_box, .join = avx2_join,
};
