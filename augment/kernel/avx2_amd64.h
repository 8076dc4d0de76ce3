// What the AVX2 files share. Words are 16 bits, in registers of 16 words or 32 bytes: two lanes of 128 bits, which packing
// and shuffling do not cross.
#ifndef MOCOSTREAM_AVX2_H
#define MOCOSTREAM_AVX2_H

#include "stages.h"

#include <immintrin.h>
#include <string.h>

#define AVX2 static __attribute__((target("avx2"), unused))
#define AVX2_INLINE static inline __attribute__((target("avx2"), always_inline, unused))

AVX2_INLINE __m256i load32(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
AVX2_INLINE __m128i load16(const void *p) { return _mm_loadu_si128((const __m128i *)p); }
AVX2_INLINE void store32(void *p, __m256i v) { _mm256_storeu_si256((__m256i *)p, v); }

// Two times 16 bytes, one a lane.
AVX2_INLINE __m256i load_lanes(const uint8_t *low, const uint8_t *high) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load16(low)), load16(high), 1);
}

// 16 bytes as words.
AVX2_INLINE __m256i load_words(const uint8_t *p) { return _mm256_cvtepu8_epi16(load16(p)); }

// 8 bytes, or the words of one half, as numbers.
AVX2_INLINE __m256 load_floats(const uint8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
AVX2_INLINE __m256 low_floats(__m256i words) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(words)));
}
AVX2_INLINE __m256 high_floats(__m256i words) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm256_extracti128_si256(words, 1)));
}

// Two times 8 integers as 16 words in order, clipped to what a signed word holds.
AVX2_INLINE __m256i join_words(__m256i a, __m256i b) {
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), _MM_SHUFFLE(3, 1, 2, 0));
}

// 16 words as bytes in order, clipped.
AVX2_INLINE __m128i to_bytes(__m256i words) {
    __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi16(words, words), _MM_SHUFFLE(3, 1, 2, 0));
    return _mm256_castsi256_si128(packed);
}
AVX2_INLINE void store_words(uint8_t *p, __m256i words) { _mm_storeu_si128((__m128i *)p, to_bytes(words)); }

// Weights are wider than a word, so each is split: high * 2^low_bits + low. Of sums of products with each half this makes
// the rounded sum of products with the whole.
AVX2_INLINE __m256i whole(__m256i high, __m256i low, int low_bits, int bits) {
    low = _mm256_srli_epi32(_mm256_add_epi32(low, _mm256_set1_epi32(1 << (bits - 1))), low_bits);
    return _mm256_srli_epi32(_mm256_add_epi32(high, low), bits - low_bits);
}

enum { WEIGHT_LOW_BITS = 11, BLUR_LOW_BITS = 12 };

// Two words in one integer, for products with pairs of words.
AVX2_INLINE int32_t pair(int32_t first, int32_t second) {
    return (int32_t)((uint32_t)first & 0xffff) | (int32_t)((uint32_t)second << 16);
}

void avx2_prepare(struct across *a);
size_t avx2_table_bytes(int stride, ptrdiff_t taps_stride);
size_t avx2_line_bytes(int width, ptrdiff_t taps_stride);
void avx2_across(const struct across *a, uint8_t *dst, const uint8_t *src);
void avx2_down(uint8_t *dst, const uint8_t *rows, size_t pitch, const int32_t *weight, int count, int n);
void avx2_blend(uint8_t *p, int n, uint8_t with, float factor);
uint32_t avx2_luma(const uint8_t *row, int stride);
void avx2_saturate(uint8_t *row, int stride, float factor);
void avx2_hue(uint8_t *row, int stride, uint8_t shift);
void avx2_gray(uint8_t *row, int stride);
void avx2_box(uint8_t *dst, const uint8_t *const *near, int n, struct box b);
void avx2_split(uint8_t *r, uint8_t *g, uint8_t *b, const uint8_t *src, int n);
void avx2_join(uint8_t *dst, const uint8_t *r, const uint8_t *g, const uint8_t *b, int n);

#endif
