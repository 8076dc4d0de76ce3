// Views of a decoded image: crop, antialiased bilinear resize, colour jitter, grey, blur, flip. Every result is bit for bit
// Pillow's, whatever variant of the stages computes it.
#ifndef MOCOSTREAM_KERNEL_H
#define MOCOSTREAM_KERNEL_H

#include <stddef.h>
#include <stdint.h>

enum { KERNEL_NONE, KERNEL_BRIGHTNESS, KERNEL_CONTRAST, KERNEL_SATURATION, KERNEL_HUE };

enum { KERNEL_MOST_RADIUS = 120 }; // of a blur: beyond sigma 100

// One view. Only the fields of what is applied are read.
struct kernel_view {
    ptrdiff_t source_pitch;  // bytes from a row of the source to the next
    int32_t width, height;   // of the crop in pixels
    int32_t size;            // height and width of the view in pixels
    int32_t variant;         // of the stages, below kernel_variants()
    uint8_t order[4];        // the jitter's operations, first to last
    float brightness, contrast, saturation;
    uint8_t hue;             // added to Pillow's 8-bit hue
    uint8_t gray, gray_first, flip, blur; // 0 or 1
    int32_t radius;          // of the blur's box: whole pixels to each side
    uint32_t inner, outer;   // weight of those and of the next pixel on each side, in units of 2^-24
};

// The weights of one direction of the resize: output i is the sum over k < count[i] of weight[i * stride + k] (of 22
// fractional bits) times input first[i] + k.
struct kernel_taps {
    const ptrdiff_t *first, *count;
    const int32_t *weight;
    ptrdiff_t stride; // at least every count
};

// The number of variants that this processor runs; the last is the fastest.
int kernel_variants(void);

const char *kernel_name(int variant);

// Bytes of scratch memory that kernel_render needs; the stride is that of the taps.
size_t kernel_scratch(const struct kernel_view *v, ptrdiff_t across_stride);

// Reads the crop at src, height rows of width x 3 bytes, and writes the view to dst: size x size x 3 bytes, RGB. The taps
// come as single pointers, for Go may not pass pointers inside a struct. Keeps nothing.
void kernel_render(const struct kernel_view *v, const uint8_t *src, uint8_t *dst, uint8_t *scratch,
                   const ptrdiff_t *across_first, const ptrdiff_t *across_count, const int32_t *across_weight,
                   ptrdiff_t across_stride, const ptrdiff_t *down_first, const ptrdiff_t *down_count,
                   const int32_t *down_weight, ptrdiff_t down_stride);

#endif
