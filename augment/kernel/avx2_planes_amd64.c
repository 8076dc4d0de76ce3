//go:build cgo && !purego

// Between interleaved pixels and lines of one channel.
#include "avx2_amd64.h"

// Of 48 interleaved bytes, 16 of a channel: which byte of each third goes where.
#define NO -1
static const int8_t split_masks[3][3][16] = {
    {{0, 3, 6, 9, 12, 15, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO},
     {NO, NO, NO, NO, NO, NO, 2, 5, 8, 11, 14, NO, NO, NO, NO, NO},
     {NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, 1, 4, 7, 10, 13}},
    {{1, 4, 7, 10, 13, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO},
     {NO, NO, NO, NO, NO, 0, 3, 6, 9, 12, 15, NO, NO, NO, NO, NO},
     {NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, 2, 5, 8, 11, 14}},
    {{2, 5, 8, 11, 14, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO},
     {NO, NO, NO, NO, NO, 1, 4, 7, 10, 13, NO, NO, NO, NO, NO, NO},
     {NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, 0, 3, 6, 9, 12, 15}},
};

// Of 16 bytes of a channel, which goes where in each third of 48.
static const int8_t join_masks[3][3][16] = {
    {{0, NO, NO, 1, NO, NO, 2, NO, NO, 3, NO, NO, 4, NO, NO, 5},
     {NO, 0, NO, NO, 1, NO, NO, 2, NO, NO, 3, NO, NO, 4, NO, NO},
     {NO, NO, 0, NO, NO, 1, NO, NO, 2, NO, NO, 3, NO, NO, 4, NO}},
    {{NO, NO, 6, NO, NO, 7, NO, NO, 8, NO, NO, 9, NO, NO, 10, NO},
     {5, NO, NO, 6, NO, NO, 7, NO, NO, 8, NO, NO, 9, NO, NO, 10},
     {NO, 5, NO, NO, 6, NO, NO, 7, NO, NO, 8, NO, NO, 9, NO, NO}},
    {{NO, 11, NO, NO, 12, NO, NO, 13, NO, NO, 14, NO, NO, 15, NO, NO},
     {NO, NO, 11, NO, NO, 12, NO, NO, 13, NO, NO, 14, NO, NO, 15, NO},
     {10, NO, NO, 11, NO, NO, 12, NO, NO, 13, NO, NO, 14, NO, NO, 15}},
};

AVX2_INLINE __m256i pick(__m256i v, const int8_t *mask) {
    return _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(load16(mask)));
}

AVX2_INLINE __m256i pick3(const __m256i *v, const int8_t masks[3][16]) {
    return _mm256_or_si256(_mm256_or_si256(pick(v[0], masks[0]), pick(v[1], masks[1])), pick(v[2], masks[2]));
}

// 32 pixels: the first 16 in the low lanes.
AVX2_INLINE void split32(uint8_t *r, uint8_t *g, uint8_t *b, const uint8_t *src) {
    __m256i v[3];
    for (int k = 0; k < 3; k++) v[k] = load_lanes(src + 16 * k, src + 48 + 16 * k);
    store32(r, pick3(v, split_masks[0]));
    store32(g, pick3(v, split_masks[1]));
    store32(b, pick3(v, split_masks[2]));
}

// avx2_split makes three lines of n pixels; the lines have room for 31 more bytes.
__attribute__((target("avx2"))) void avx2_split(uint8_t *r, uint8_t *g, uint8_t *b, const uint8_t *src, int n) {
    int i = 0;
    for (; i + 32 <= n; i += 32) split32(r + i, g + i, b + i, src + 3 * i);
    if (i == n) return;
    uint8_t rest[96] = {0};
    memcpy(rest, src + 3 * i, 3 * (size_t)(n - i));
    split32(r + i, g + i, b + i, rest);
}

AVX2_INLINE void join32(uint8_t *dst, const uint8_t *r, const uint8_t *g, const uint8_t *b) {
    __m256i v[3] = {load32(r), load32(g), load32(b)};
    for (int k = 0; k < 3; k++) {
        __m256i third = pick3(v, join_masks[k]);
        _mm_storeu_si128((__m128i *)(dst + 16 * k), _mm256_castsi256_si128(third));
        _mm_storeu_si128((__m128i *)(dst + 48 + 16 * k), _mm256_extracti128_si256(third, 1));
    }
}

__attribute__((target("avx2"))) void avx2_join(uint8_t *dst, const uint8_t *r, const uint8_t *g, const uint8_t *b,
                                               int n) {
    int i = 0;
    for (; i + 32 <= n; i += 32) join32(dst + 3 * i, r + i, g + i, b + i);
    if (i == n) return;
    uint8_t rest[96];
    join32(rest, r + i, g + i, b + i);
    memcpy(dst + 3 * i, rest, 3 * (size_t)(n - i));
}
