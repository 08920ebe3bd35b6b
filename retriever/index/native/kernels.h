/* The arithmetic of one row of codes, or of fp16 tokens, with one query; a kernel for each kind of
   processor. All kernels give the same bits for codes: whole numbers, then floats in one order.

   A query's K tokens lie in the lanes of the registers, padded to a multiple of LANES with tokens
   that count nothing; a row's numbers are broadcast. So a row is read as it lies, and the maximum
   over its tokens is one of whole registers. */

#ifndef RAG_VQA_KERNELS_H
#define RAG_VQA_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define LANES 16

/* One query, packed for a kernel. */
typedef struct {
    size_t K, J, D;       /* tokens of the query and of a row, and their width */
    size_t lanes;         /* K, up to a multiple of LANES */
    uint8_t *bytes;       /* whole numbers, in the kernel's own order; NULL for fp16 rows */
    float *scales;        /* (lanes) what one unit is worth; 0 for padding */
    float *values;        /* (D, lanes) fp32, for fp16 rows; else NULL */
    float *room;          /* (J, D + 1) and (lanes): a row, its scales, sums; one thread */
    int16_t *wide;        /* (J, D): a row as 16-bit numbers */
} Query;

typedef struct {
    const char *name;
    int (*runs_here)(size_t D);                                    /* this processor, this width */
    size_t bytes_per_number;                                       /* of Query.bytes */
    void (*pack)(Query *query, const int8_t *numbers);             /* (K, D) → bytes */
    float (*score_codes)(const Query *query, const uint8_t *row);  /* values, scales, sums */
    float (*score_halves)(const Query *query, const uint16_t *row);
} Kernel;

extern const Kernel portable, avx2, avx512;

float from_half(uint16_t half);
float sum_lanes(const float *lanes, size_t count);

#endif
