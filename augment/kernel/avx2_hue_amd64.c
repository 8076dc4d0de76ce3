//go:build cgo && !purego

// Pillow's way to HSV and back in 8 bits each, and the hue turned between the two. Pillow mixes float and double; single
// precision with the same roundings gives the same bytes for all 2^24 colours both ways, and so does this.
#include "avx2_amd64.h"

AVX2_INLINE __m256i choose(__m256i mask, __m256i yes, __m256i no) { return _mm256_blendv_epi8(no, yes, mask); }
AVX2_INLINE __m256i words(int v) { return _mm256_set1_epi16((int16_t)v); }
AVX2_INLINE __m256i equal(__m256i a, __m256i b) { return _mm256_cmpeq_epi16(a, b); }

// 16 pixels on their way to HSV, in words: the hue is base + distance / span sixths of a turn.
struct hsv {
    __m256i high, span, base, distance;
};

// apart finds the extremes. Where red is high, the hue is 1 - q sixths, or q - 1 where green is low, q being the distance from
// high to the middle channel as a share of the span; and so on around the circle.
AVX2_INLINE struct hsv apart(__m256i r, __m256i g, __m256i b) {
    __m256i high = _mm256_max_epi16(_mm256_max_epi16(r, g), b), low = _mm256_min_epi16(_mm256_min_epi16(r, g), b);
    __m256i sum = _mm256_add_epi16(_mm256_add_epi16(r, g), b);
    __m256i distance = _mm256_sub_epi16(_mm256_add_epi16(_mm256_add_epi16(high, high), low), sum);
    __m256i red = equal(high, r), green = equal(high, g), low_blue = equal(low, b), low_red = equal(low, r);
    __m256i if_red = choose(low_blue, words(1), words(-1));
    __m256i if_green = choose(low_blue, words(1), words(3));
    __m256i if_blue = choose(low_red, words(3), words(5));
    struct hsv p;
    p.high = high;
    p.span = _mm256_sub_epi16(high, low);
    p.base = choose(red, if_red, choose(green, if_green, if_blue));
    // Forwards where red is high and green low, green is high and blue low, or blue is high and red low.
    __m256i forward = choose(red, _mm256_xor_si256(low_blue, words(-1)), choose(green, low_blue, low_red));
    p.distance = choose(forward, distance, _mm256_sub_epi16(_mm256_setzero_si256(), distance));
    return p;
}

AVX2_INLINE __m256 signed_floats(__m128i words) { return _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(words)); }

// The 8-bit hue of 8 pixels. A span of 0 counts as 1: such a pixel has no hue and, as its saturation is 0, needs none.
AVX2_INLINE __m256i hue8(__m128i base, __m128i distance, __m256 span) {
    __m256 q = _mm256_div_ps(signed_floats(distance), _mm256_max_ps(span, _mm256_set1_ps(1)));
    __m256 hue = _mm256_div_ps(_mm256_add_ps(signed_floats(base), q), _mm256_set1_ps(6));
    __m256 negative = _mm256_cmp_ps(hue, _mm256_setzero_ps(), _CMP_LT_OQ);
    hue = _mm256_add_ps(hue, _mm256_and_ps(negative, _mm256_set1_ps(1)));
    return _mm256_cvttps_epi32(_mm256_mul_ps(hue, _mm256_set1_ps(255)));
}

AVX2_INLINE __m256i saturation8(__m256 span, __m256 high) {
    __m256 scaled = _mm256_mul_ps(span, _mm256_set1_ps(255));
    return _mm256_cvttps_epi32(_mm256_div_ps(scaled, _mm256_max_ps(high, _mm256_set1_ps(1))));
}

AVX2_INLINE __m128i upper(__m256i v) { return _mm256_extracti128_si256(v, 1); }
AVX2_INLINE __m128i lower(__m256i v) { return _mm256_castsi256_si128(v); }

AVX2_INLINE void to_hsv(const struct hsv *p, __m256i *hue, __m256i *saturation) {
    __m256 span0 = low_floats(p->span), span1 = high_floats(p->span);
    *hue = join_words(hue8(lower(p->base), lower(p->distance), span0), hue8(upper(p->base), upper(p->distance), span1));
    *saturation = join_words(saturation8(span0, low_floats(p->high)), saturation8(span1, high_floats(p->high)));
}

// v * (1 - weight / 65025), rounded.
AVX2_INLINE __m256i fade8(__m256 v, __m256 weight) {
    __m256 loss = _mm256_mul_ps(_mm256_mul_ps(v, weight), _mm256_set1_ps(1.0f / 65025));
    return _mm256_cvttps_epi32(_mm256_sub_ps(_mm256_add_ps(v, _mm256_set1_ps(0.5f)), loss));
}

// v * (1 - s / 255), rounded.
AVX2_INLINE __m256i fade_fully(__m256i v, __m256i s) {
    __m256i t = _mm256_add_epi16(_mm256_mullo_epi16(v, _mm256_sub_epi16(words(255), s)), words(128));
    return _mm256_srli_epi16(_mm256_add_epi16(t, _mm256_srli_epi16(t, 8)), 8);
}

// For each sector of the circle (a seventh one is the first again): is the channel the value, or is it between?
static const int8_t is_value[3][16] = {{-1, 0, 0, 0, 0, -1, -1}, {0, -1, -1, 0, 0, 0, 0}, {0, 0, 0, -1, -1, 0, 0}};
static const int8_t is_between[3][16] = {{0, -1, 0, 0, -1, 0, 0}, {-1, 0, 0, -1, 0, 0, -1}, {0, 0, -1, 0, 0, -1, 0}};

AVX2_INLINE __m256i look_up(const int8_t *table, __m256i index) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load16(table)), index);
}

// Writes 16 pixels of this hue, saturation and value.
AVX2_INLINE void to_rgb(uint8_t *row, int stride, __m256i hue, __m256i saturation, __m256i value) {
    __m256i six = _mm256_mullo_epi16(hue, words(6)); // over 255: the sector, and how far in
    __m256i sector = _mm256_srli_epi16(_mm256_add_epi16(_mm256_add_epi16(six, words(1)), _mm256_srli_epi16(six, 8)), 8);
    __m256i into = _mm256_sub_epi16(six, _mm256_mullo_epi16(sector, words(255)));
    __m256i even = _mm256_sub_epi16(_mm256_and_si256(sector, words(1)), words(1));
    into = _mm256_xor_si256(into, _mm256_and_si256(even, words(255))); // 255 - into in even sectors
    __m256i weight = _mm256_mullo_epi16(saturation, into);
    __m256i between = join_words(fade8(low_floats(value), low_floats(weight)), fade8(high_floats(value), high_floats(weight)));
    __m256i bottom = fade_fully(value, saturation);
    for (int c = 0; c < 3; c++) {
        __m256i v = choose(look_up(is_between[c], sector), between, bottom);
        store_words(row + c * stride, choose(look_up(is_value[c], sector), value, v));
    }
}

__attribute__((target("avx2"))) void avx2_hue(uint8_t *row, int stride, uint8_t shift) {
    for (int i = 0; i < stride; i += 16, row += 16) {
        struct hsv p = apart(load_words(row), load_words(row + stride), load_words(row + 2 * stride));
        __m256i hue, saturation;
        to_hsv(&p, &hue, &saturation);
        hue = _mm256_and_si256(_mm256_add_epi16(hue, words(shift)), words(255));
        to_rgb(row, stride, hue, saturation, p.high);
    }
}
