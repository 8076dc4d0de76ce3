//go:build cgo && !purego

// Blends and grey. Pillow's are in float and truncate; what is done here in integers is exact there too.
#include "avx2_amd64.h"

// Truncates (degenerate + factor * (v - degenerate)), each operation rounded to float, as Pillow does.
AVX2_INLINE __m256i blend8(__m256 v, __m256 degenerate, __m256 factor) {
    __m256 part = _mm256_mul_ps(factor, _mm256_sub_ps(v, degenerate));
    return _mm256_cvttps_epi32(_mm256_add_ps(degenerate, part));
}

__attribute__((target("avx2"))) void avx2_blend(uint8_t *p, int n, uint8_t with, float factor) {
    __m256 d = _mm256_set1_ps(with), f = _mm256_set1_ps(factor);
    __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (int i = 0; i < n; i += 32) {
        __m256i v[4];
        for (int j = 0; j < 4; j++) v[j] = blend8(load_floats(p + i + 8 * j), d, f);
        __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
        store32(p + i, _mm256_permutevar8x32_epi32(bytes, order));
    }
}

// The luma of 16 pixels in words. 38470 is more than a signed word holds, so half of the green goes with the red and half
// with the blue.
AVX2_INLINE __m256i luma16(__m256i r, __m256i g, __m256i b) {
    __m256i red_green = _mm256_set1_epi32(pair(19595, 19235)), green_blue = _mm256_set1_epi32(pair(19235, 7471));
    __m256i half = _mm256_set1_epi32(0x8000);
    __m256i low = _mm256_add_epi32(_mm256_madd_epi16(_mm256_unpacklo_epi16(r, g), red_green),
                                   _mm256_madd_epi16(_mm256_unpacklo_epi16(g, b), green_blue));
    __m256i high = _mm256_add_epi32(_mm256_madd_epi16(_mm256_unpackhi_epi16(r, g), red_green),
                                    _mm256_madd_epi16(_mm256_unpackhi_epi16(g, b), green_blue));
    low = _mm256_srli_epi32(_mm256_add_epi32(low, half), 16);
    high = _mm256_srli_epi32(_mm256_add_epi32(high, half), 16);
    return _mm256_packus_epi32(low, high);
}

AVX2_INLINE __m256i luma_at(const uint8_t *row, int stride) {
    return luma16(load_words(row), load_words(row + stride), load_words(row + 2 * stride));
}

__attribute__((target("avx2"))) uint32_t avx2_luma(const uint8_t *row, int stride) {
    __m256i sum = _mm256_setzero_si256();
    for (int i = 0; i < stride; i += 16) sum = _mm256_add_epi32(sum, _mm256_madd_epi16(luma_at(row + i, stride), _mm256_set1_epi16(1)));
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    s = _mm_hadd_epi32(s, s);
    return (uint32_t)_mm_cvtsi128_si32(_mm_hadd_epi32(s, s));
}

__attribute__((target("avx2"))) void avx2_saturate(uint8_t *row, int stride, float factor) {
    __m256 f = _mm256_set1_ps(factor);
    for (int i = 0; i < stride; i += 16) {
        __m256i gray = luma_at(row + i, stride);
        __m256 low = low_floats(gray), high = high_floats(gray);
        for (int c = 0; c < 3; c++) {
            uint8_t *p = row + c * stride + i;
            store_words(p, join_words(blend8(load_floats(p), low, f), blend8(load_floats(p + 8), high, f)));
        }
    }
}

__attribute__((target("avx2"))) void avx2_gray(uint8_t *row, int stride) {
    for (int i = 0; i < stride; i += 16) {
        __m128i gray = to_bytes(luma_at(row + i, stride));
        for (int c = 0; c < 3; c++) _mm_storeu_si128((__m128i *)(row + c * stride + i), gray);
    }
}
