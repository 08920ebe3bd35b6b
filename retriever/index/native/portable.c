/* The kernel that runs on every processor: plain C, which a compiler may vectorise. It states what
   the others must equal. */

#include "kernels.h"

#include <string.h>

#define EXACT 1024 /* products of 7-bit numbers that a float sums without rounding: 2^14 of 2^24 */

/* A register of nearly every processor; four are the LANES. */
typedef float Four __attribute__((vector_size(16)));

/* Of finite numbers, as rows are: the bits moved, and the exponent's offset made up for. */
float from_half(uint16_t half) {
    uint32_t bits = (uint32_t)(half & 0x8000) << 16 | (uint32_t)(half & 0x7fff) << 13;
    float value;
    memcpy(&value, &bits, 4);
    return value * 0x1p112f;
}

/* In one order on every processor: 16 running sums, then halves onto halves. */
float sum_lanes(const float *lanes, size_t count) {
    float part[LANES] = {0};
    for (size_t i = 0; i < count; i += LANES)
        for (size_t l = 0; l < LANES; l++) part[l] += lanes[i + l];
    for (size_t half = LANES / 2; half; half /= 2)
        for (size_t l = 0; l < half; l++) part[l] += part[l + half];
    return part[0];
}

static int always(size_t D) {
    (void)D;
    return 1;
}

/* (D, lanes) as floats, which every processor multiplies quickly. */
static void pack(Query *query, const int8_t *numbers) {
    float *bytes = (float *)query->bytes;
    for (size_t d = 0; d < query->D; d++)
        for (size_t i = 0; i < query->lanes; i++)
            bytes[d * query->lanes + i] = i < query->K ? numbers[i * query->D + d] : 0;
}

/* Sums over D numbers of one token of the products with LANES tokens of a query (D, lanes). */
static void multiply(const float *query, size_t lanes, const float *token, size_t D, float *dots) {
    Four sums[4] = {{0}, {0}, {0}, {0}}, four;
    for (size_t d = 0; d < D; d++)
        for (int part = 0; part < 4; part++) {
            memcpy(&four, query + d * lanes + 4 * part, sizeof four);
            sums[part] += four * token[d];
        }
    memcpy(dots, sums, sizeof sums);
}

static float score_codes(const Query *query, const uint8_t *row) {
    const size_t J = query->J, D = query->D, lanes = query->lanes;
    float *best = query->room, *token = query->room + lanes;
    for (size_t j = 0; j < J; j++) {
        uint16_t half;
        memcpy(&half, row + J * D + 2 * j, 2);
        const float scale = from_half(half);
        for (size_t d = 0; d < D; d++) token[d] = ((const int8_t *)row)[j * D + d];
        for (size_t group = 0; group < lanes; group += LANES) {
            const float *bytes = (const float *)query->bytes + group;
            int32_t dots[LANES] = {0};
            for (size_t d = 0; d < D; d += EXACT) {
                float part[LANES];
                multiply(bytes + d * lanes, lanes, token + d, D - d < EXACT ? D - d : EXACT, part);
                for (size_t l = 0; l < LANES; l++) dots[l] += (int32_t)part[l];
            }
            for (size_t l = 0; l < LANES; l++) {
                const float dot = (float)dots[l] * scale;
                if (j == 0 || dot > best[group + l]) best[group + l] = dot;
            }
        }
    }
    for (size_t l = 0; l < lanes; l++) best[l] *= query->scales[l];
    return sum_lanes(best, lanes);
}

static float score_halves(const Query *query, const uint16_t *row) {
    const size_t J = query->J, D = query->D, lanes = query->lanes;
    float *best = query->room, *token = query->room + lanes;
    for (size_t j = 0; j < J; j++) {
        for (size_t d = 0; d < D; d++) token[d] = from_half(row[j * D + d]);
        for (size_t group = 0; group < lanes; group += LANES) {
            float dots[LANES];
            multiply(query->values + group, lanes, token, D, dots);
            for (size_t l = 0; l < LANES; l++)
                if (j == 0 || dots[l] > best[group + l]) best[group + l] = dots[l];
        }
    }
    return sum_lanes(best, lanes);
}

const Kernel portable = {"portable", always, 4, pack, score_codes, score_halves};
