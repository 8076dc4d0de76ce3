//go:build cgo && !purego

// One pass of the blur's box filter.
#include "avx2_amd64.h"

// Half of 32 bytes as words, in the order in which two halves pack.
AVX2_INLINE __m256i half_words(__m256i v, int upper) {
    __m256i zero = _mm256_setzero_si256();
    return upper ? _mm256_unpackhi_epi8(v, zero) : _mm256_unpacklo_epi8(v, zero);
}

// (sum * inner + ends * outer) of 16 samples, rounded: inner and outer come as pairs of words, high and low halves.
AVX2_INLINE __m256i weigh16(__m256i sum, __m256i ends, __m256i high, __m256i low) {
    __m256i a = _mm256_unpacklo_epi16(sum, ends), b = _mm256_unpackhi_epi16(sum, ends);
    a = whole(_mm256_madd_epi16(a, high), _mm256_madd_epi16(a, low), BLUR_LOW_BITS, BLUR_BITS);
    b = whole(_mm256_madd_epi16(b, high), _mm256_madd_epi16(b, low), BLUR_LOW_BITS, BLUR_BITS);
    return _mm256_packus_epi32(a, b);
}

AVX2_INLINE __m256i box16(const uint8_t *const *near, int x, int radius, int upper, __m256i high, __m256i low) {
    __m256i sum = half_words(load32(near[1] + x), upper);
    for (int k = 2; k <= 2 * radius + 1; k++) sum = _mm256_add_epi16(sum, half_words(load32(near[k] + x), upper));
    __m256i ends = _mm256_add_epi16(half_words(load32(near[0] + x), upper), half_words(load32(near[2 * radius + 2] + x), upper));
    return weigh16(sum, ends, high, low);
}

AVX2_INLINE void box_line(uint8_t *dst, const uint8_t *const *near, int n, int radius, __m256i high, __m256i low) {
    for (int x = 0; x < n; x += 32) {
        __m256i a = box16(near, x, radius, 0, high, low), b = box16(near, x, radius, 1, high, low);
        store32(dst + x, _mm256_packus_epi16(a, b));
    }
}

// The sum of 241 bytes, the largest radius's, is still below 2^16, and above what a signed word holds: words are signed to
// the multiplication, so such radii take the plain way.
enum { MOST_SIGNED_RADIUS = 63 };

__attribute__((target("avx2"))) void avx2_box(uint8_t *dst, const uint8_t *const *near, int n, struct box b) {
    if (b.radius > MOST_SIGNED_RADIUS) {
        plain_stages.box(dst, near, n, b);
        return;
    }
    int mask = (1 << BLUR_LOW_BITS) - 1;
    __m256i high = _mm256_set1_epi32(pair((int32_t)(b.inner >> BLUR_LOW_BITS), (int32_t)(b.outer >> BLUR_LOW_BITS)));
    __m256i low = _mm256_set1_epi32(pair((int32_t)(b.inner & mask), (int32_t)(b.outer & mask)));
    switch (b.radius) { // the usual ones as constants: their loops are unrolled
    case 0: box_line(dst, near, n, 0, high, low); return;
    case 1: box_line(dst, near, n, 1, high, low); return;
    }
    box_line(dst, near, n, b.radius, high, low);
}
