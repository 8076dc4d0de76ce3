// The stages of a view. A variant is one implementation of each of them; all give the same bits.
//
// Between the stages a picture lies in rows of three lines, red, green and blue, of `stride` bytes each: a multiple of 32,
// so that vectors need no tail. What lies between the view's size and the stride is computed on and never shown; it is zero
// until the contrast, so that sums need not know of it.
#ifndef MOCOSTREAM_STAGES_H
#define MOCOSTREAM_STAGES_H

#include "kernel.h"

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF // a fused multiply-add rounds once where Pillow rounds twice; gcc -std=c99 fuses nothing
#endif

enum { WEIGHT_BITS = 22, BLUR_BITS = 24, BLUR_PASSES = 3 };

// An extended box filter, as in kernel_view.
struct box {
    int radius;
    uint32_t inner, outer;
};

// What the horizontal resize of a view needs for every row.
struct across {
    struct kernel_taps taps;
    int width, size, stride;
    int flip;       // outputs from the last to the first
    int most;       // the largest count
    uint8_t *table; // the variant's own arrangement of the weights, table_bytes of it
    uint8_t *line;  // line_bytes: room for a row of the source
};

struct stages {
    const char *name;
    // Bytes of across.table and across.line for a crop this wide.
    size_t (*table_bytes)(int stride, ptrdiff_t taps_stride);
    size_t (*line_bytes)(int width, ptrdiff_t taps_stride);
    // Fills a->table.
    void (*prepare)(struct across *a);
    // Resizes a row of width x 3 interleaved bytes to three lines, with zeros after each.
    void (*across)(const struct across *a, uint8_t *dst, const uint8_t *src);
    // Makes n bytes (a multiple of 32) out of count consecutive rows, pitch bytes apart.
    void (*down)(uint8_t *dst, const uint8_t *rows, size_t pitch, const int32_t *weight, int count, int n);
    // Mixes n bytes (a multiple of 32) with one value: Pillow's Image.blend.
    void (*blend)(uint8_t *p, int n, uint8_t with, float factor);
    // The following take a row of three lines.
    uint32_t (*luma)(const uint8_t *row, int stride); // sum; zeros add nothing
    void (*saturate)(uint8_t *row, int stride, float factor);
    void (*hue)(uint8_t *row, int stride, uint8_t shift);
    void (*gray)(uint8_t *row, int stride);
    // Filters n bytes: near[0] to near[2 * radius + 2] point to the samples from the one radius + 1 before to the one as far
    // behind. It may read and write up to 31 bytes beyond.
    void (*box)(uint8_t *dst, const uint8_t *const *near, int n, struct box b);
    // Interleaves three lines of n bytes.
    void (*join)(uint8_t *dst, const uint8_t *r, const uint8_t *g, const uint8_t *b, int n);
};

extern const struct stages plain_stages;
#if defined(__x86_64__)
extern const struct stages avx2_stages;
#endif

static inline int most_taps(const struct kernel_taps *t, int n) {
    ptrdiff_t most = 1;
    for (int i = 0; i < n; i++) {
        if (t->count[i] > most) most = t->count[i];
    }
    return (int)most;
}

// tap_of is the index of output i's taps.
static inline int tap_of(const struct across *a, int i) { return a->flip ? a->size - 1 - i : i; }

static inline uint8_t clip_byte(int32_t v) { return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v); }

// Pillow's conversion to "L": ITU-R 601-2 in 16-bit fixed point.
static inline uint8_t luma_byte(uint32_t r, uint32_t g, uint32_t b) {
    return (uint8_t)((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16);
}

#endif
