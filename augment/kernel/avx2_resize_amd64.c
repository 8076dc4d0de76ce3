//go:build cgo && !purego

// The resize. Along rows, 32 outputs of a channel are made at once, in two ways. Where the picture is reduced little (up to
// about 2.8 times), 4 neighbouring outputs see at most 16 neighbouring bytes: one load, and a shuffle for every two taps.
// Where it is reduced more, every output has loads of its own, 16 taps each.
#include "avx2_amd64.h"

enum {
    LANES = 8,  // of 4 outputs, in a block of 32
    WINDOW = 16 // bytes that 4 outputs may see
};

// The weights of a pair of taps for 8 outputs, 4 a lane.
struct near_pair {
    int8_t shuffle[32];
    int16_t high[16], low[16];
};

// A block of 32 outputs: register j holds outputs 4j to 4j+3 in its low lane and 16+4j to 16+4j+3 in its high one, so that
// packing four registers to bytes puts all in order. It is followed by the pairs: those of register 0, of 1, ...
struct near_block {
    int32_t from[2 * 4]; // where each lane's 16 bytes begin
};

struct far_taps {
    int16_t high[16], low[16];
};

static size_t near_bytes(int stride, int pairs) {
    return (size_t)(stride / 32) * (sizeof(struct near_block) + 4 * (size_t)pairs * sizeof(struct near_pair));
}

static size_t far_bytes(int stride, int chunks) {
    return (size_t)stride * (sizeof(int32_t) + (size_t)chunks * sizeof(struct far_taps));
}

static int pairs_of(ptrdiff_t taps) { return (int)(taps + 1) / 2; }
static int chunks_of(ptrdiff_t taps) { return (int)(taps + 15) / 16; }

size_t avx2_table_bytes(int stride, ptrdiff_t taps_stride) {
    size_t near = near_bytes(stride, pairs_of(taps_stride)), far = far_bytes(stride, chunks_of(taps_stride));
    return sizeof(int32_t) + (near > far ? near : far);
}

// A line is followed by what a load may take beyond it.
static size_t line_stride(int width, ptrdiff_t taps_stride) { return (size_t)width + 64 + 16 * (size_t)chunks_of(taps_stride); }

size_t avx2_line_bytes(int width, ptrdiff_t taps_stride) { return 3 * line_stride(width, taps_stride); }

// first_output of lane l of register j in a block.
static int first_output(int j, int l) { return 4 * j + 16 * l; }

// sees tells how many bytes 4 outputs see together, from the first of them on.
static ptrdiff_t sees(const struct across *a, int output, ptrdiff_t *from) {
    ptrdiff_t first = a->width, end = 0;
    for (int i = output; i < output + 4 && i < a->size; i++) {
        int t = tap_of(a, i);
        ptrdiff_t f = a->taps.first[t], e = f + a->taps.count[t];
        if (f < first) first = f;
        if (e > end) end = e;
    }
    *from = end == 0 ? 0 : first;
    return end - *from;
}

static int is_near(const struct across *a) {
    ptrdiff_t from;
    for (int i = 0; i < a->size; i += 4) {
        if (sees(a, i, &from) > WINDOW) return 0;
    }
    return 1;
}

// put_pair writes taps 2p and 2p+1 of one output, number o of its register.
static void put_pair(struct near_pair *pair, const struct across *a, int output, int o, int p, ptrdiff_t from) {
    memset(pair->shuffle + 4 * o, -1, 4);
    for (int k = 0; k < 2; k++) {
        int t = tap_of(a, output), tap = 2 * p + k;
        int32_t w = 0;
        if (output < a->size && tap < a->taps.count[t]) {
            w = a->taps.weight[t * a->taps.stride + tap];
            pair->shuffle[4 * o + 2 * k] = (int8_t)(a->taps.first[t] + tap - from);
        }
        pair->high[2 * o + k] = (int16_t)(w >> WEIGHT_LOW_BITS);
        pair->low[2 * o + k] = (int16_t)(w & ((1 << WEIGHT_LOW_BITS) - 1));
    }
}

static void prepare_near(const struct across *a, uint8_t *table) {
    int pairs = pairs_of(a->most);
    for (int x = 0; x < a->stride; x += 32) {
        struct near_block *block = (struct near_block *)table;
        struct near_pair *pair = (struct near_pair *)(table + sizeof *block);
        for (int lane = 0; lane < LANES; lane++) {
            int j = lane / 2, l = lane % 2, output = x + first_output(j, l);
            ptrdiff_t from;
            sees(a, output, &from);
            block->from[lane] = (int32_t)from;
            for (int p = 0; p < pairs; p++) {
                for (int o = 0; o < 4; o++) put_pair(pair + j * pairs + p, a, output + o, 4 * l + o, p, from);
            }
        }
        table = (uint8_t *)(pair + 4 * pairs);
    }
}

static void prepare_far(const struct across *a, uint8_t *table) {
    int chunks = chunks_of(a->most);
    int32_t *from = (int32_t *)table;
    struct far_taps *taps = (struct far_taps *)(from + a->stride);
    memset(table, 0, far_bytes(a->stride, chunks));
    for (int i = 0; i < a->size; i++) {
        int t = tap_of(a, i);
        from[i] = (int32_t)a->taps.first[t];
        for (ptrdiff_t k = 0; k < a->taps.count[t]; k++) {
            int32_t w = a->taps.weight[t * a->taps.stride + k];
            taps[i * chunks + k / 16].high[k % 16] = (int16_t)(w >> WEIGHT_LOW_BITS);
            taps[i * chunks + k / 16].low[k % 16] = (int16_t)(w & ((1 << WEIGHT_LOW_BITS) - 1));
        }
    }
}

// The table begins with how many pairs follow, 0 for the far way.
void avx2_prepare(struct across *a) {
    int32_t pairs = is_near(a) ? pairs_of(a->most) : 0;
    memcpy(a->table, &pairs, sizeof pairs);
    if (pairs > 0) {
        prepare_near(a, a->table + sizeof pairs);
    } else {
        prepare_far(a, a->table + sizeof pairs);
    }
}

// 8 outputs of one register.
AVX2_INLINE __m256i near8(const uint8_t *line, const int32_t *from, const struct near_pair *pair, int pairs) {
    __m256i window = load_lanes(line + from[0], line + from[1]);
    __m256i high = _mm256_setzero_si256(), low = high;
    for (int p = 0; p < pairs; p++) {
        __m256i two = _mm256_shuffle_epi8(window, load32(pair[p].shuffle));
        high = _mm256_add_epi32(high, _mm256_madd_epi16(two, load32(pair[p].high)));
        low = _mm256_add_epi32(low, _mm256_madd_epi16(two, load32(pair[p].low)));
    }
    return whole(high, low, WEIGHT_LOW_BITS, WEIGHT_BITS);
}

AVX2_INLINE void near_line(const struct across *a, uint8_t *dst, const uint8_t *line, int pairs) {
    const uint8_t *table = a->table + sizeof(int32_t);
    for (int x = 0; x < a->stride; x += 32) {
        const struct near_block *block = (const struct near_block *)table;
        const struct near_pair *pair = (const struct near_pair *)(table + sizeof *block);
        __m256i v[4];
        for (int j = 0; j < 4; j++) v[j] = near8(line, block->from + 2 * j, pair + j * pairs, pairs);
        store32(dst + x, _mm256_packus_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3])));
        table = (const uint8_t *)(pair + 4 * pairs);
    }
}

AVX2 void near_lines(const struct across *a, uint8_t *dst, const uint8_t *const *line, int pairs) {
    for (int c = 0; c < 3; c++) {
        uint8_t *d = dst + c * a->stride;
        switch (pairs) { // the usual ones as constants: their loops are unrolled
        case 1: near_line(a, d, line[c], 1); break;
        case 2: near_line(a, d, line[c], 2); break;
        case 3: near_line(a, d, line[c], 3); break;
        default: near_line(a, d, line[c], pairs);
        }
    }
}

// One output of the far way, in eight parts.
AVX2_INLINE void far1(__m256i *high, __m256i *low, const uint8_t *line, const struct far_taps *taps, int chunks) {
    *high = *low = _mm256_setzero_si256();
    for (int k = 0; k < chunks; k++) {
        __m256i px = load_words(line + 16 * k);
        *high = _mm256_add_epi32(*high, _mm256_madd_epi16(px, load32(taps[k].high)));
        *low = _mm256_add_epi32(*low, _mm256_madd_epi16(px, load32(taps[k].low)));
    }
}

// The sum of the eight parts of each of four registers.
AVX2_INLINE __m128i sum4(const __m256i *v) {
    __m256i s = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    return _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
}

AVX2 void far_line(const struct across *a, uint8_t *dst, const uint8_t *line) {
    int chunks = chunks_of(a->most);
    const int32_t *from = (const int32_t *)(a->table + sizeof(int32_t));
    const struct far_taps *taps = (const struct far_taps *)(from + a->stride);
    for (int x = 0; x < a->stride; x += 4) {
        __m256i high[4], low[4];
        for (int o = 0; o < 4; o++) far1(high + o, low + o, line + from[x + o], taps + (x + o) * (ptrdiff_t)chunks, chunks);
        __m256i v = whole(_mm256_castsi128_si256(sum4(high)), _mm256_castsi128_si256(sum4(low)), WEIGHT_LOW_BITS, WEIGHT_BITS);
        __m128i words = _mm256_castsi256_si128(_mm256_packs_epi32(v, v));
        int32_t bytes = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
        memcpy(dst + x, &bytes, sizeof bytes);
    }
}

__attribute__((target("avx2"))) void avx2_across(const struct across *a, uint8_t *dst, const uint8_t *src) {
    size_t step = line_stride(a->width, a->taps.stride);
    uint8_t *line[3] = {a->line, a->line + step, a->line + 2 * step};
    avx2_split(line[0], line[1], line[2], src, a->width);
    int32_t pairs;
    memcpy(&pairs, a->table, sizeof pairs);
    if (pairs > 0) {
        near_lines(a, dst, (const uint8_t *const *)line, pairs);
        return;
    }
    for (int c = 0; c < 3; c++) far_line(a, dst + c * a->stride, line[c]);
}

// 32 bytes each of two rows as pairs of words: bytes 0 to 3 and 16 to 19, 4 to 7 and 20 to 23, ...
AVX2_INLINE void pair_rows(__m256i *four, __m256i first, __m256i second) {
    __m256i zero = _mm256_setzero_si256();
    __m256i low = _mm256_unpacklo_epi8(first, second), high = _mm256_unpackhi_epi8(first, second);
    four[0] = _mm256_unpacklo_epi8(low, zero);
    four[1] = _mm256_unpackhi_epi8(low, zero);
    four[2] = _mm256_unpacklo_epi8(high, zero);
    four[3] = _mm256_unpackhi_epi8(high, zero);
}

// Columns x to x+31 of count rows.
AVX2_INLINE void down32(uint8_t *dst, const uint8_t *rows, size_t pitch, const int32_t *weight, int count) {
    __m256i high[4], low[4], four[4];
    for (int j = 0; j < 4; j++) high[j] = low[j] = _mm256_setzero_si256();
    for (int k = 0; k < count; k += 2) {
        int32_t w0 = weight[k], w1 = k + 1 < count ? weight[k + 1] : 0;
        __m256i first = load32(rows + k * pitch), second = k + 1 < count ? load32(rows + (k + 1) * pitch) : first;
        __m256i wh = _mm256_set1_epi32(pair(w0 >> WEIGHT_LOW_BITS, w1 >> WEIGHT_LOW_BITS));
        __m256i wl = _mm256_set1_epi32(pair(w0 & ((1 << WEIGHT_LOW_BITS) - 1), w1 & ((1 << WEIGHT_LOW_BITS) - 1)));
        pair_rows(four, first, second);
        for (int j = 0; j < 4; j++) {
            high[j] = _mm256_add_epi32(high[j], _mm256_madd_epi16(four[j], wh));
            low[j] = _mm256_add_epi32(low[j], _mm256_madd_epi16(four[j], wl));
        }
    }
    __m256i v[4];
    for (int j = 0; j < 4; j++) v[j] = whole(high[j], low[j], WEIGHT_LOW_BITS, WEIGHT_BITS);
    store32(dst, _mm256_packus_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3])));
}

__attribute__((target("avx2"))) void avx2_down(uint8_t *dst, const uint8_t *rows, size_t pitch, const int32_t *weight,
                                               int count, int n) {
    switch (count) { // the usual ones as constants: their loops are unrolled
    case 1:
        for (int x = 0; x < n; x += 32) down32(dst + x, rows + x, pitch, weight, 1);
        return;
    case 2:
        for (int x = 0; x < n; x += 32) down32(dst + x, rows + x, pitch, weight, 2);
        return;
    case 3:
        for (int x = 0; x < n; x += 32) down32(dst + x, rows + x, pitch, weight, 3);
        return;
    case 4:
        for (int x = 0; x < n; x += 32) down32(dst + x, rows + x, pitch, weight, 4);
        return;
    }
    for (int x = 0; x < n; x += 32) down32(dst + x, rows + x, pitch, weight, count);
}
