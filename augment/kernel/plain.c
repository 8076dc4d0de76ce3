//go:build cgo && !purego

// The variant for any processor: one sample after the other, as the compiler sees fit.
#include "stages.h"

#include <string.h>

static size_t table_bytes(int stride, ptrdiff_t taps_stride) {
    (void)stride;
    (void)taps_stride;
    return 0;
}

static size_t line_bytes(int width, ptrdiff_t taps_stride) {
    (void)width;
    (void)taps_stride;
    return 0;
}

static void prepare(struct across *a) { (void)a; }

static void across(const struct across *a, uint8_t *dst, const uint8_t *src) {
    for (int c = 0; c < 3; c++) memset(dst + c * a->stride + a->size, 0, a->stride - a->size);
    for (int i = 0; i < a->size; i++) {
        int t = tap_of(a, i);
        const int32_t *weight = a->taps.weight + t * a->taps.stride;
        const uint8_t *p = src + 3 * a->taps.first[t];
        int32_t r = 1 << (WEIGHT_BITS - 1), g = r, b = r;
        for (ptrdiff_t k = 0; k < a->taps.count[t]; k++, p += 3) {
            r += p[0] * weight[k];
            g += p[1] * weight[k];
            b += p[2] * weight[k];
        }
        dst[i] = clip_byte(r >> WEIGHT_BITS);
        dst[a->stride + i] = clip_byte(g >> WEIGHT_BITS);
        dst[2 * a->stride + i] = clip_byte(b >> WEIGHT_BITS);
    }
}

enum { BLOCK = 32 };

static void down(uint8_t *dst, const uint8_t *rows, size_t pitch, const int32_t *weight, int count, int n) {
    for (int x = 0; x < n; x += BLOCK) {
        int32_t sum[BLOCK];
        for (int i = 0; i < BLOCK; i++) sum[i] = 1 << (WEIGHT_BITS - 1);
        for (int k = 0; k < count; k++) {
            const uint8_t *row = rows + k * pitch + x;
            for (int i = 0; i < BLOCK; i++) sum[i] += row[i] * weight[k];
        }
        for (int i = 0; i < BLOCK; i++) dst[x + i] = clip_byte(sum[i] >> WEIGHT_BITS);
    }
}

static uint8_t blend_byte(uint8_t with, uint8_t v, float factor) {
    float d = with, part = factor * ((float)v - d);
    return clip_byte((int32_t)(d + part));
}

static void blend(uint8_t *p, int n, uint8_t with, float factor) {
    uint8_t table[256];
    for (int v = 0; v < 256; v++) table[v] = blend_byte(with, (uint8_t)v, factor);
    for (int i = 0; i < n; i++) p[i] = table[p[i]];
}

static uint32_t luma(const uint8_t *row, int stride) {
    uint32_t sum = 0;
    for (int i = 0; i < stride; i++) sum += luma_byte(row[i], row[stride + i], row[2 * stride + i]);
    return sum;
}

static void saturate(uint8_t *row, int stride, float factor) {
    uint8_t *r = row, *g = row + stride, *b = row + 2 * stride;
    for (int i = 0; i < stride; i++) {
        uint8_t y = luma_byte(r[i], g[i], b[i]);
        r[i] = blend_byte(y, r[i], factor);
        g[i] = blend_byte(y, g[i], factor);
        b[i] = blend_byte(y, b[i], factor);
    }
}

static void gray(uint8_t *row, int stride) {
    for (int i = 0; i < stride; i++) {
        uint8_t y = luma_byte(row[i], row[stride + i], row[2 * stride + i]);
        row[i] = row[stride + i] = row[2 * stride + i] = y;
    }
}

static int max2(int a, int b) { return a > b ? a : b; }
static int min2(int a, int b) { return a < b ? a : b; }

// turn_of is where the hue lies in sixths of a turn, -1 to 5: the channel that is high says where, plus or minus how far
// the middle one is from it.
static float turn_of(int r, int g, int b, int high, int low, float q) {
    if (high == r) return low == b ? 1 - q : q - 1;
    if (high == g) return low == b ? 1 + q : 3 - q;
    return low == r ? 3 + q : 5 - q;
}

// hue_of and saturation_of are Pillow's. That float suffices where Pillow mixes it with double is tested for all colours.
static int hue_of(float turn) {
    float hue = turn / 6;
    if (hue < 0) hue += 1;
    return (int)(hue * 255);
}

static void turn_pixel(uint8_t *r, uint8_t *g, uint8_t *b, uint8_t shift) {
    int high = max2(max2(*r, *g), *b), low = min2(min2(*r, *g), *b);
    if (high == low) return;
    int span = high - low, middle = *r + *g + *b - high - low;
    int h = (hue_of(turn_of(*r, *g, *b, high, low, (float)(high - middle) / (float)span)) + shift) & 255;
    int s = (int)((float)(span * 255) / (float)high), v = high;
    int sixth = 6 * h / 255, into = 6 * h % 255; // the sector, and how far in, in parts of 255
    int weight = s * (sixth % 2 ? into : 255 - into);
    uint8_t top = (uint8_t)v, bottom = (uint8_t)((v * (255 - s) * 2 + 255) / 510);
    uint8_t between = (uint8_t)((v * (65025 - weight) * 2 + 65025) / 130050);
    switch (sixth % 6) {
    case 0: *r = top, *g = between, *b = bottom; break;
    case 1: *r = between, *g = top, *b = bottom; break;
    case 2: *r = bottom, *g = top, *b = between; break;
    case 3: *r = bottom, *g = between, *b = top; break;
    case 4: *r = between, *g = bottom, *b = top; break;
    default: *r = top, *g = bottom, *b = between;
    }
}

static void hue(uint8_t *row, int stride, uint8_t shift) {
    for (int i = 0; i < stride; i++) turn_pixel(row + i, row + stride + i, row + 2 * stride + i, shift);
}

static void box_sum(uint32_t *sum, const uint8_t *const *near, int x, int radius) {
    for (int i = 0; i < BLOCK; i++) sum[i] = 0;
    for (int k = 1; k <= 2 * radius + 1; k++) {
        for (int i = 0; i < BLOCK; i++) sum[i] += near[k][x + i];
    }
}

static void box(uint8_t *dst, const uint8_t *const *near, int n, struct box b) {
    const uint8_t *before = near[0], *after = near[2 * b.radius + 2];
    for (int x = 0; x < n; x += BLOCK) {
        uint32_t sum[BLOCK];
        box_sum(sum, near, x, b.radius);
        for (int i = 0; i < BLOCK; i++) {
            uint32_t ends = (uint32_t)before[x + i] + after[x + i];
            dst[x + i] = (uint8_t)((sum[i] * b.inner + ends * b.outer + (1u << (BLUR_BITS - 1))) >> BLUR_BITS);
        }
    }
}

static void join(uint8_t *dst, const uint8_t *r, const uint8_t *g, const uint8_t *b, int n) {
    for (int i = 0; i < n; i++, dst += 3) {
        dst[0] = r[i];
        dst[1] = g[i];
        dst[2] = b[i];
    }
}

const struct stages plain_stages = {
    .name = "plain C", .table_bytes = table_bytes, .line_bytes = line_bytes, .prepare = prepare, .across = across,
    .down = down, .blend = blend, .luma = luma, .saturate = saturate, .hue = hue, .gray = gray, .box = box, .join = join,
};
