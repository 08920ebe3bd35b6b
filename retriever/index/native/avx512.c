/* The kernel for processors with AVX-512 and VNNI: four products of bytes a lane and instruction. */

#include "kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define HERE __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")))
#define PART HERE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8") /* else the sums leave their registers */
#define TOKENS 8 /* of a row at once: with two registers of lanes, 16 sums, enough to hide latency */
#define FEW 4    /* or these: rows of few tokens are common, too */

static int runs_here(size_t D) {
    return D % 4 == 0 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

/* (D / 4, lanes, 4) unsigned: the instruction multiplies unsigned bytes by signed ones. */
static void pack(Query *query, const int8_t *numbers) {
    for (size_t d = 0; d < query->D; d++)
        for (size_t i = 0; i < query->lanes; i++)
            query->bytes[(d / 4 * query->lanes + i) * 4 + d % 4] =
                (uint8_t)((i < query->K ? numbers[i * query->D + d] : 0) + 128);
}

/* `tokens` of a row, from the first, with `width` registers of lanes; raises `best`. */
PART void codes_block(const Query *query, const uint8_t *bytes, const int8_t *values,
                      const int32_t *offsets, const float *scales, const size_t tokens,
                      const int width, __m512 best[2]) {
    __m512i dots[TOKENS][2];
    UNROLL for (size_t j = 0; j < tokens; j++)
        UNROLL for (int w = 0; w < width; w++) dots[j][w] = _mm512_set1_epi32(offsets[j]);
    for (size_t d = 0; d < query->D; d += 4, bytes += query->lanes * 4) {
        __m512i q[2];
        UNROLL for (int w = 0; w < width; w++) q[w] = _mm512_loadu_si512(bytes + 64 * w);
        UNROLL for (size_t j = 0; j < tokens; j++) {
            int32_t four;
            memcpy(&four, values + j * query->D + d, 4);
            const __m512i number = _mm512_set1_epi32(four);
            UNROLL for (int w = 0; w < width; w++)
                dots[j][w] = _mm512_dpbusd_epi32(dots[j][w], q[w], number);
        }
    }
    UNROLL for (size_t j = 0; j < tokens; j++)
        UNROLL for (int w = 0; w < width; w++)
            best[w] = _mm512_max_ps(best[w], _mm512_mul_ps(_mm512_cvtepi32_ps(dots[j][w]),
                                                           _mm512_set1_ps(scales[j])));
}

PART __m512 codes_group(const Query *query, size_t group, const uint8_t *row, const int width,
                        __m512 sum) {
    const size_t J = query->J, D = query->D;
    const int8_t *values = (const int8_t *)row;
    __m512 best[2] = {_mm512_set1_ps(-INFINITY), _mm512_set1_ps(-INFINITY)};
    for (size_t j = 0; j < J;) {
        const size_t left = J - j, tokens = left >= TOKENS ? TOKENS : left >= FEW ? FEW : 1;
        int32_t offsets[TOKENS];
        float scales[TOKENS];
        for (size_t t = 0; t < tokens; t++) {
            uint16_t half;
            memcpy(&half, row + J * D + 2 * (j + t), 2);
            memcpy(&offsets[t], row + J * D + 2 * J + 4 * (j + t), 4);
            offsets[t] *= -128; /* Σ (q + 128) d − 128 Σ d = Σ q d */
            scales[t] = _cvtsh_ss(half);
        }
        if (tokens == TOKENS)
            codes_block(query, query->bytes + group * 4, values + j * D, offsets, scales, TOKENS,
                        width, best);
        else if (tokens == FEW)
            codes_block(query, query->bytes + group * 4, values + j * D, offsets, scales, FEW,
                        width, best);
        else
            codes_block(query, query->bytes + group * 4, values + j * D, offsets, scales, 1, width,
                        best);
        j += tokens;
    }
    UNROLL for (int w = 0; w < width; w++)
        sum = _mm512_add_ps(sum, _mm512_mul_ps(best[w],
                                               _mm512_loadu_ps(query->scales + group + 16 * w)));
    return sum;
}

HERE static float score_codes(const Query *query, const uint8_t *row) {
    __m512 sum = _mm512_setzero_ps();
    float lanes[LANES];
    size_t group = 0;
    for (; group + 2 * LANES <= query->lanes; group += 2 * LANES)
        sum = codes_group(query, group, row, 2, sum);
    if (group < query->lanes) sum = codes_group(query, group, row, 1, sum);
    _mm512_storeu_ps(lanes, sum);
    return sum_lanes(lanes, LANES);
}

PART void halves_block(const Query *query, size_t group, const float *row, const size_t tokens,
                       const int width, __m512 best[2]) {
    __m512 dots[TOKENS][2];
    UNROLL for (size_t j = 0; j < tokens; j++)
        UNROLL for (int w = 0; w < width; w++) dots[j][w] = _mm512_setzero_ps();
    for (size_t d = 0; d < query->D; d++) {
        __m512 q[2];
        UNROLL for (int w = 0; w < width; w++)
            q[w] = _mm512_loadu_ps(query->values + d * query->lanes + group + 16 * w);
        UNROLL for (size_t j = 0; j < tokens; j++)
            UNROLL for (int w = 0; w < width; w++)
                dots[j][w] =
                    _mm512_fmadd_ps(q[w], _mm512_set1_ps(row[j * query->D + d]), dots[j][w]);
    }
    UNROLL for (size_t j = 0; j < tokens; j++)
        UNROLL for (int w = 0; w < width; w++) best[w] = _mm512_max_ps(best[w], dots[j][w]);
}

PART __m512 halves_group(const Query *query, size_t group, const float *row, const int width,
                         __m512 sum) {
    const size_t J = query->J;
    __m512 best[2] = {_mm512_set1_ps(-INFINITY), _mm512_set1_ps(-INFINITY)};
    size_t j = 0;
    for (; j + TOKENS <= J; j += TOKENS)
        halves_block(query, group, row + j * query->D, TOKENS, width, best);
    for (; j < J; j++) halves_block(query, group, row + j * query->D, 1, width, best);
    UNROLL for (int w = 0; w < width; w++) sum = _mm512_add_ps(sum, best[w]);
    return sum;
}

HERE static float score_halves(const Query *query, const uint16_t *row) {
    const size_t numbers = query->J * query->D;
    float *floats = query->room + query->lanes;
    float lanes[LANES];
    size_t n = 0, group = 0;
    for (; n + 16 <= numbers; n += 16)
        _mm512_storeu_ps(floats + n,
                         _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(row + n))));
    for (; n < numbers; n++) floats[n] = _cvtsh_ss(row[n]);
    __m512 sum = _mm512_setzero_ps();
    for (; group + 2 * LANES <= query->lanes; group += 2 * LANES)
        sum = halves_group(query, group, floats, 2, sum);
    if (group < query->lanes) sum = halves_group(query, group, floats, 1, sum);
    _mm512_storeu_ps(lanes, sum);
    return sum_lanes(lanes, LANES);
}

const Kernel avx512 = {"avx512-vnni", runs_here, 1, pack, score_codes, score_halves};

#else

static int never(size_t D) {
    (void)D;
    return 0;
}

const Kernel avx512 = {"avx512-vnni", never, 1, NULL, NULL, NULL};

#endif
