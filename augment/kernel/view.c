//go:build cgo && !purego

// The order of a view's stages, and the scratch memory between them.
#include "stages.h"

#include <string.h>

static const struct stages *const variants[] = {
    &plain_stages,
#if defined(__x86_64__)
    &avx2_stages,
#endif
};

int kernel_variants(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") ? 2 : 1;
#else
    return 1;
#endif
}

const char *kernel_name(int variant) { return variants[variant]->name; }

enum { ALIGN = 64 };

static size_t aligned(size_t n) { return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1); }

static int stride_of(int size) { return (size + 31) & ~31; }

static size_t rows_bytes(int rows, int size) { return aligned((size_t)rows * stride_of(size) * 3); }

// The longest line of the blur, with its edges repeated.
static size_t edged_bytes(int size) { return aligned((size_t)stride_of(size) + 2 * (KERNEL_MOST_RADIUS + 1) + 32); }

size_t kernel_scratch(const struct kernel_view *v, ptrdiff_t across_stride) {
    const struct stages *s = variants[v->variant];
    int rows = v->height > v->size ? v->height : v->size;
    return ALIGN + rows_bytes(rows, v->size) + rows_bytes(v->size, v->size) + 2 * edged_bytes(v->size) +
           aligned(s->table_bytes(stride_of(v->size), across_stride)) + aligned(s->line_bytes(v->width, across_stride));
}

// Where a view is made.
struct workshop {
    const struct kernel_view *view;
    const struct stages *stages;
    int size, stride, pitch; // of the picture: size rows of three lines, pitch bytes together
    uint8_t *narrow;         // rows of the source once they are as narrow as the view; then the blur's other picture
    uint8_t *picture;
    uint8_t *line, *edged;   // of the blur
    uint8_t *table, *source_line;
};

static struct workshop furnish(const struct kernel_view *v, uint8_t *scratch, ptrdiff_t across_stride) {
    const struct stages *s = variants[v->variant];
    int rows = v->height > v->size ? v->height : v->size;
    struct workshop w = {.view = v, .stages = s, .size = v->size, .stride = stride_of(v->size)};
    w.pitch = 3 * w.stride;
    w.narrow = scratch + (-(uintptr_t)scratch & (ALIGN - 1));
    w.picture = w.narrow + rows_bytes(rows, v->size);
    w.line = w.picture + rows_bytes(v->size, v->size);
    w.edged = w.line + edged_bytes(v->size);
    w.table = w.edged + edged_bytes(v->size);
    w.source_line = w.table + aligned(s->table_bytes(w.stride, across_stride));
    return w;
}

// resize makes the picture of the crop at src: first along rows, then along columns, rounding to bytes between the two.
static void resize(struct workshop *w, const uint8_t *src, const struct kernel_taps *across,
                   const struct kernel_taps *down) {
    const struct kernel_view *v = w->view;
    struct across a = {.taps = *across, .width = v->width, .size = w->size,
                       .stride = w->stride, .flip = v->flip, .most = most_taps(across, w->size),
                       .table = w->table, .line = w->source_line};
    w->stages->prepare(&a);
    int last = w->size - 1;
    ptrdiff_t top = down->first[0], bottom = down->first[last] + down->count[last];
    for (ptrdiff_t y = top; y < bottom; y++) {
        w->stages->across(&a, w->narrow + (y - top) * w->pitch, src + y * v->source_pitch);
    }
    for (int y = 0; y < w->size; y++) {
        w->stages->down(w->picture + (size_t)y * w->pitch, w->narrow + (down->first[y] - top) * w->pitch, w->pitch,
                        down->weight + y * down->stride, (int)down->count[y], w->pitch);
    }
}

// mean_luma is rounded as Pillow rounds it.
static uint8_t mean_luma(const struct workshop *w) {
    uint64_t sum = 0;
    for (int y = 0; y < w->size; y++) sum += w->stages->luma(w->picture + (size_t)y * w->pitch, w->stride);
    return (uint8_t)((double)sum / ((double)w->size * w->size) + 0.5);
}

static void blend(struct workshop *w, uint8_t with, float factor) {
    w->stages->blend(w->picture, w->size * w->pitch, with, factor);
}

// jitter applies one operation to the picture, in place.
static void jitter(struct workshop *w, uint8_t operation) {
    const struct kernel_view *v = w->view;
    switch (operation) {
    case KERNEL_BRIGHTNESS:
        blend(w, 0, v->brightness);
        break;
    case KERNEL_CONTRAST:
        blend(w, mean_luma(w), v->contrast);
        break;
    case KERNEL_SATURATION:
        for (int y = 0; y < w->size; y++) w->stages->saturate(w->picture + (size_t)y * w->pitch, w->stride, v->saturation);
        break;
    case KERNEL_HUE:
        for (int y = 0; y < w->size; y++) w->stages->hue(w->picture + (size_t)y * w->pitch, w->stride, v->hue);
    }
}

static void gray(struct workshop *w) {
    for (int y = 0; y < w->size; y++) w->stages->gray(w->picture + (size_t)y * w->pitch, w->stride);
}

// blur_line filters one line of the picture three times, in place. Pixels outside repeat the edge.
static void blur_line(struct workshop *w, uint8_t *p, struct box b) {
    const uint8_t *near[2 * KERNEL_MOST_RADIUS + 3];
    int edge = b.radius + 1, n = w->size;
    for (int k = 0; k <= 2 * edge; k++) near[k] = w->edged + k;
    for (int pass = 0; pass < BLUR_PASSES; pass++) {
        const uint8_t *from = pass == 0 ? p : w->line;
        memset(w->edged, from[0], edge);
        memcpy(w->edged + edge, from, n);
        memset(w->edged + edge + n, from[n - 1], edge);
        w->stages->box(w->line, near, w->stride, b);
    }
    memcpy(p, w->line, n);
}

// blur_columns filters the first n bytes of all rows from src to dst.
static void blur_columns(struct workshop *w, uint8_t *dst, const uint8_t *src, int n, struct box b) {
    const uint8_t *near[2 * KERNEL_MOST_RADIUS + 3];
    for (int y = 0; y < w->size; y++) {
        for (int k = 0; k <= 2 * b.radius + 2; k++) {
            int from = y + k - b.radius - 1;
            from = from < 0 ? 0 : from >= w->size ? w->size - 1 : from;
            near[k] = src + (size_t)from * w->pitch;
        }
        w->stages->box(dst + (size_t)y * w->pitch, near, n, b);
    }
}

// blur is Pillow's GaussianBlur: three passes of a box filter along rows, then three along columns, each rounded to bytes.
// Of a grey picture it does the first line of each row only.
static void blur(struct workshop *w, int lines) {
    struct box b = {w->view->radius, w->view->inner, w->view->outer};
    for (int y = 0; y < w->size; y++) {
        for (int c = 0; c < lines; c++) blur_line(w, w->picture + (size_t)y * w->pitch + (size_t)c * w->stride, b);
    }
    blur_columns(w, w->narrow, w->picture, lines * w->stride, b);
    blur_columns(w, w->picture, w->narrow, lines * w->stride, b);
    blur_columns(w, w->narrow, w->picture, lines * w->stride, b);
    w->picture = w->narrow;
}

static void write_out(const struct workshop *w, uint8_t *dst, int lines) {
    for (int y = 0; y < w->size; y++, dst += 3 * (size_t)w->size) {
        const uint8_t *r = w->picture + (size_t)y * w->pitch;
        const uint8_t *g = lines == 1 ? r : r + w->stride, *b = lines == 1 ? r : r + 2 * w->stride;
        w->stages->join(dst, r, g, b, w->size);
    }
}

void kernel_render(const struct kernel_view *v, const uint8_t *src, uint8_t *dst, uint8_t *scratch,
                   const ptrdiff_t *across_first, const ptrdiff_t *across_count, const int32_t *across_weight,
                   ptrdiff_t across_stride, const ptrdiff_t *down_first, const ptrdiff_t *down_count,
                   const int32_t *down_weight, ptrdiff_t down_stride) {
    struct workshop w = furnish(v, scratch, across_stride);
    resize(&w, src, &(struct kernel_taps){across_first, across_count, across_weight, across_stride},
           &(struct kernel_taps){down_first, down_count, down_weight, down_stride});
    if (v->gray && v->gray_first) gray(&w);
    for (int i = 0; i < 4; i++) jitter(&w, v->order[i]);
    if (v->gray && !v->gray_first) gray(&w);
    int lines = v->gray && !v->gray_first ? 1 : 3;
    if (v->blur) blur(&w, lines);
    write_out(&w, dst, lines);
}
