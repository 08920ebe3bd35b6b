/* The kernel for processors with AVX2 and no AVX-512: pairs of 16-bit products. Pairs of bytes
   (vpmaddubsw) would be quicker and would saturate: the sums would not be those of the others. */

#include "kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define HERE __attribute__((target("avx2,fma,f16c")))
#define PART HERE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8") /* else the sums leave their registers */
#define TOKENS 4 /* of a row at once, with two registers of 8 lanes: 8 sums of 16 registers */
#define WIDTH 8

static int runs_here(size_t D) {
    return D % 2 == 0 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
}

/* (D / 2, lanes, 2) of 16 bits each. */
static void pack(Query *query, const int8_t *numbers) {
    int16_t *bytes = (int16_t *)query->bytes;
    for (size_t d = 0; d < query->D; d++)
        for (size_t i = 0; i < query->lanes; i++)
            bytes[(d / 2 * query->lanes + i) * 2 + d % 2] =
                i < query->K ? numbers[i * query->D + d] : 0;
}

PART void codes_block(const Query *query, const int16_t *bytes, const int16_t *values,
                      const float *scales, const size_t tokens, __m256 best[2]) {
    __m256i dots[TOKENS][2];
    UNROLL for (size_t j = 0; j < tokens; j++) dots[j][0] = dots[j][1] = _mm256_setzero_si256();
    for (size_t d = 0; d < query->D; d += 2, bytes += query->lanes * 2) {
        const __m256i q[2] = {_mm256_loadu_si256((const __m256i *)bytes),
                              _mm256_loadu_si256((const __m256i *)bytes + 1)};
        UNROLL for (size_t j = 0; j < tokens; j++) {
            const __m256i number = _mm256_castps_si256(
                _mm256_broadcast_ss((const float *)(values + j * query->D + d)));
            UNROLL for (int w = 0; w < 2; w++)
                dots[j][w] = _mm256_add_epi32(dots[j][w], _mm256_madd_epi16(q[w], number));
        }
    }
    UNROLL for (size_t j = 0; j < tokens; j++)
        UNROLL for (int w = 0; w < 2; w++)
            best[w] = _mm256_max_ps(best[w], _mm256_mul_ps(_mm256_cvtepi32_ps(dots[j][w]),
                                                           _mm256_set1_ps(scales[j])));
}

HERE static float score_codes(const Query *query, const uint8_t *row) {
    const size_t J = query->J, D = query->D, numbers = J * D;
    float *lanes = query->room, *scales = query->room + query->lanes;
    size_t n = 0;
    for (; n + 16 <= numbers; n += 16)
        _mm256_storeu_si256(
            (__m256i *)(query->wide + n),
            _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(row + n))));
    for (; n < numbers; n++) query->wide[n] = (int8_t)row[n];
    for (size_t j = 0; j < J; j++) {
        uint16_t half;
        memcpy(&half, row + numbers + 2 * j, 2);
        scales[j] = _cvtsh_ss(half);
    }
    for (size_t group = 0; group < query->lanes; group += 2 * WIDTH) {
        const int16_t *bytes = (const int16_t *)query->bytes + group * 2;
        __m256 best[2] = {_mm256_set1_ps(-INFINITY), _mm256_set1_ps(-INFINITY)};
        size_t j = 0;
        for (; j + TOKENS <= J; j += TOKENS)
            codes_block(query, bytes, query->wide + j * D, scales + j, TOKENS, best);
        for (; j < J; j++) codes_block(query, bytes, query->wide + j * D, scales + j, 1, best);
        UNROLL for (int w = 0; w < 2; w++)
            _mm256_storeu_ps(
                lanes + group + WIDTH * w,
                _mm256_mul_ps(best[w], _mm256_loadu_ps(query->scales + group + WIDTH * w)));
    }
    return sum_lanes(lanes, query->lanes);
}

PART void halves_block(const Query *query, size_t group, const float *row, const size_t tokens,
                       __m256 best[2]) {
    __m256 dots[TOKENS][2];
    UNROLL for (size_t j = 0; j < tokens; j++) dots[j][0] = dots[j][1] = _mm256_setzero_ps();
    for (size_t d = 0; d < query->D; d++) {
        const float *values = query->values + d * query->lanes + group;
        const __m256 q[2] = {_mm256_loadu_ps(values), _mm256_loadu_ps(values + WIDTH)};
        UNROLL for (size_t j = 0; j < tokens; j++)
            UNROLL for (int w = 0; w < 2; w++)
                dots[j][w] =
                    _mm256_fmadd_ps(q[w], _mm256_set1_ps(row[j * query->D + d]), dots[j][w]);
    }
    UNROLL for (size_t j = 0; j < tokens; j++)
        UNROLL for (int w = 0; w < 2; w++) best[w] = _mm256_max_ps(best[w], dots[j][w]);
}

HERE static float score_halves(const Query *query, const uint16_t *row) {
    const size_t J = query->J, D = query->D, numbers = J * D;
    float *lanes = query->room, *floats = query->room + query->lanes;
    size_t n = 0;
    for (; n + 8 <= numbers; n += 8)
        _mm256_storeu_ps(floats + n,
                         _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(row + n))));
    for (; n < numbers; n++) floats[n] = _cvtsh_ss(row[n]);
    for (size_t group = 0; group < query->lanes; group += 2 * WIDTH) {
        __m256 best[2] = {_mm256_set1_ps(-INFINITY), _mm256_set1_ps(-INFINITY)};
        size_t j = 0;
        for (; j + TOKENS <= J; j += TOKENS)
            halves_block(query, group, floats + j * D, TOKENS, best);
        for (; j < J; j++) halves_block(query, group, floats + j * D, 1, best);
        UNROLL for (int w = 0; w < 2; w++) _mm256_storeu_ps(lanes + group + WIDTH * w, best[w]);
    }
    return sum_lanes(lanes, query->lanes);
}

const Kernel avx2 = {"avx2", runs_here, 2, pack, score_codes, score_halves};

#else

static int never(size_t D) {
    (void)D;
    return 0;
}

const Kernel avx2 = {"avx2", never, 2, NULL, NULL, NULL};

#endif
