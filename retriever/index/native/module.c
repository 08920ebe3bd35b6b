/* rag_vqa.retriever.index._native: scans of rows that lie in buffers, without the interpreter's lock.

   It knows sizes and checks them all: nothing that Python passes can read or write out of bounds.
   It does not know files, keys' meaning or threads. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdlib.h>
#include <string.h>

#include "kernels.h"

static const Kernel *const kernels[] = {&avx512, &avx2, &portable}; /* the best first */
#define KERNELS (sizeof kernels / sizeof *kernels)
#define MOST 32767 /* of K and of D: products of sizes stay far from overflow */

static const Kernel *find_kernel(const char *name, size_t D) {
    for (size_t i = 0; i < KERNELS; i++)
        if (!strcmp(kernels[i]->name, name) && kernels[i]->runs_here(D)) return kernels[i];
    PyErr_Format(PyExc_ValueError, "kernel %s does not run here for a width of %zu", name, D);
    return NULL;
}

static int check(int holds, const char *what) {
    if (!holds && !PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, what);
    return holds;
}

static int fits(Py_ssize_t size) { return size > 0 && size <= MOST; }

/* Whether of `sets` times `each` positions the first `held` of each set (NULL: all) are rows. */
static int positions_fit(const Py_buffer *positions, size_t sets, size_t each, const int64_t *held,
                         size_t rows) {
    const int64_t *at = positions->buf;
    for (size_t set = 0; set < sets; set++)
        for (size_t n = 0; n < (held ? (size_t)held[set] : each); n++)
            if (at[set * each + n] < 0 || (uint64_t)at[set * each + n] >= rows) return 0;
    return 1;
}

static void release(Py_buffer *buffers, size_t count) {
    for (size_t i = 0; i < count; i++) PyBuffer_Release(&buffers[i]);
}

/* A query with room for `numbers` (bytes each) of packed numbers; NULL where memory is short. */
static Query *new_query(size_t K, size_t J, size_t D, size_t bytes_per_number) {
    Query *query = calloc(1, sizeof *query);
    if (!query) return NULL;
    const size_t lanes = (K + LANES - 1) / LANES * LANES;
    query->K = K, query->J = J, query->D = D, query->lanes = lanes;
    query->bytes = calloc(D * lanes, bytes_per_number ? bytes_per_number : 1);
    query->values = bytes_per_number ? NULL : calloc(D * lanes, sizeof(float));
    query->scales = calloc(lanes, sizeof(float));
    query->room = malloc((J * (D + 1) + lanes) * sizeof(float));
    query->wide = malloc(J * D * sizeof(int16_t));
    return query;
}

static int is_whole(const Query *query) {
    return query && query->bytes && query->scales && query->room && query->wide;
}

static void free_query(Query *query) {
    if (!query) return;
    free(query->bytes), free(query->values), free(query->scales);
    free(query->room), free(query->wide), free(query);
}

/* The m best so far, worst first: a heap. Equal scores go to the lower key. */
typedef struct {
    float *scores;
    int64_t *places;
    const int64_t *keys;
    size_t m, held;
} Best;

static int is_worse(const Best *best, size_t a, size_t b) {
    if (best->scores[a] != best->scores[b]) return best->scores[a] < best->scores[b];
    return best->keys[best->places[a]] > best->keys[best->places[b]];
}

static void swap(Best *best, size_t a, size_t b) {
    const float score = best->scores[a];
    const int64_t place = best->places[a];
    best->scores[a] = best->scores[b], best->places[a] = best->places[b];
    best->scores[b] = score, best->places[b] = place;
}

static void offer(Best *best, float score, int64_t place) {
    size_t at = 0;
    if (best->held < best->m) {
        at = best->held++;
        best->scores[at] = score, best->places[at] = place;
        for (; at && is_worse(best, at, (at - 1) / 2); at = (at - 1) / 2)
            swap(best, at, (at - 1) / 2);
        return;
    }
    if (score < best->scores[0]) return;
    if (score == best->scores[0] && best->keys[place] > best->keys[best->places[0]]) return;
    best->scores[0] = score, best->places[0] = place;
    for (;;) {
        size_t low = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < best->m; child++)
            if (is_worse(best, child, low)) low = child;
        if (low == at) return;
        swap(best, at, low);
        at = low;
    }
}

static void fetch(const uint8_t *row, size_t bytes) {
#ifdef __GNUC__
    for (size_t b = 0; b < bytes; b += 64) __builtin_prefetch(row + b);
#else
    (void)row, (void)bytes;
#endif
}

static void scan_rows(const Kernel *kernel, Query *const *queries, Best *bests, size_t Q,
                      const uint8_t *rows, size_t bytes, const int64_t *positions, size_t count,
                      int64_t start) {
    for (size_t n = 0; n < count; n++) {
        const int64_t place = positions ? positions[n] : (int64_t)n;
        const uint8_t *row = rows + (size_t)place * bytes;
        if (positions && n + 1 < count) fetch(rows + (size_t)positions[n + 1] * bytes, bytes);
        for (size_t q = 0; q < Q; q++)
            offer(&bests[q], kernel->score_codes(queries[q], row), start + place);
    }
}

PyDoc_STRVAR(scan_doc,
    "scan(rows, K, J, D, numbers, scales, keys, start, at, scores, places, held, kernel) -> None\n\n"
    "Offers rows of codes (N) of J tokens to the m best of each query: numbers (Q, K, D) int8 worth\n"
    "scales (Q, K) fp32. The first row has position `start`; `at` (n) int64 are rows from there, or\n"
    "None for all. keys int64, of all positions, settle ties. scores (Q, m) fp32 and places (Q, m)\n"
    "int64 hold the best so far, in no order but that of an earlier call, held (Q) int64 of them.");

static PyObject *scan(PyObject *self, PyObject *args) {
    Py_buffer b[8] = {{0}}; /* rows, numbers, scales, keys, scores, places, held, at */
    Py_ssize_t K, J, D, start;
    PyObject *chosen, *done = NULL;
    const char *name;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*nnny*y*y*nOw*w*w*s", &b[0], &K, &J, &D, &b[1], &b[2], &b[3],
                          &start, &chosen, &b[4], &b[5], &b[6], &name))
        return NULL;
    const Kernel *kernel = NULL;
    Query **queries = NULL;
    Best *bests = NULL;
    size_t Q = 0;
    if (chosen != Py_None && PyObject_GetBuffer(chosen, &b[7], PyBUF_SIMPLE)) goto out;
    if (!check(fits(K) && fits(J) && fits(D) && start >= 0, "sizes must be positive")) goto out;
    if (!(kernel = find_kernel(name, (size_t)D))) goto out;
    const size_t bytes = (size_t)(J * D + 6 * J), N = (size_t)b[0].len / bytes;
    const size_t all = (size_t)b[3].len / 8;
    Q = (size_t)b[1].len / (size_t)(K * D);
    const size_t m = Q ? (size_t)b[4].len / 4 / Q : 0;
    if (!check((size_t)b[0].len == N * bytes && (size_t)b[1].len == Q * (size_t)(K * D) &&
                   (size_t)b[2].len == Q * (size_t)K * 4 && (size_t)b[3].len == all * 8 &&
                   (size_t)b[4].len == Q * m * 4 && (size_t)b[5].len == Q * m * 8 &&
                   (size_t)b[6].len == Q * 8 && m > 0 && (size_t)start + N <= all,
               "buffers do not fit one another"))
        goto out;
    int64_t *held = b[6].buf;
    for (size_t q = 0; q < Q; q++)
        if (!check(held[q] >= 0 && (uint64_t)held[q] <= m, "more are held than there is room for"))
            goto out;
    if (!check(positions_fit(&b[5], Q, m, held, all), "a place lies beyond the keys") ||
        !check(positions_fit(&b[7], 1, (size_t)b[7].len / 8, NULL, N), "a position lies beyond the rows"))
        goto out;
    queries = calloc(Q, sizeof *queries);
    bests = calloc(Q, sizeof *bests);
    for (size_t q = 0; queries && bests && q < Q; q++) {
        queries[q] = new_query((size_t)K, (size_t)J, (size_t)D, kernel->bytes_per_number);
        if (!is_whole(queries[q])) goto memory;
        kernel->pack(queries[q], (const int8_t *)b[1].buf + q * (size_t)(K * D));
        memcpy(queries[q]->scales, (const float *)b[2].buf + q * (size_t)K, (size_t)K * 4);
        bests[q] = (Best){(float *)b[4].buf + q * m, (int64_t *)b[5].buf + q * m, b[3].buf, m,
                          (size_t)held[q]};
    }
    if (!queries || !bests) goto memory;
    const int64_t *at = chosen == Py_None ? NULL : b[7].buf;
    const size_t count = chosen == Py_None ? N : (size_t)b[7].len / 8;
    Py_BEGIN_ALLOW_THREADS
    scan_rows(kernel, queries, bests, Q, b[0].buf, bytes, at, count, start);
    Py_END_ALLOW_THREADS
    for (size_t q = 0; q < Q; q++) held[q] = (int64_t)bests[q].held;
    done = Py_NewRef(Py_None);
    goto out;
memory:
    PyErr_NoMemory();
out:
    for (size_t q = 0; queries && q < Q; q++) free_query(queries[q]);
    free(queries), free(bests);
    release(b, 8);
    return done;
}

PyDoc_STRVAR(rescore_doc,
    "rescore(tokens, K, D, query, positions, scores, kernel) -> None\n\n"
    "Scores (n) fp32 of the rows of fp16 tokens (N, K, D) at positions (n) int64, with one query\n"
    "(K, D) fp32.");

static PyObject *rescore(PyObject *self, PyObject *args) {
    Py_buffer b[4] = {{0}}; /* tokens, query, positions, scores */
    Py_ssize_t K, D;
    PyObject *done = NULL;
    const char *name;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*nny*y*w*s", &b[0], &K, &D, &b[1], &b[2], &b[3], &name))
        return NULL;
    const Kernel *kernel;
    Query *query = NULL;
    if (!check(fits(K) && fits(D), "K and D must be positive")) goto out;
    if (!(kernel = find_kernel(name, (size_t)D))) goto out;
    const size_t numbers = (size_t)(K * D), N = (size_t)b[0].len / 2 / numbers;
    const size_t count = (size_t)b[2].len / 8;
    if (!check((size_t)b[0].len == N * numbers * 2 && (size_t)b[1].len == numbers * 4 &&
                   (size_t)b[2].len == count * 8 && (size_t)b[3].len == count * 4,
               "buffers do not fit one another") ||
        !check(positions_fit(&b[2], 1, count, NULL, N), "a position lies beyond the rows"))
        goto out;
    query = new_query((size_t)K, (size_t)K, (size_t)D, 0);
    if (!is_whole(query) || !query->values) {
        PyErr_NoMemory();
        goto out;
    }
    const float *given = b[1].buf;
    for (size_t i = 0; i < (size_t)K; i++)
        for (size_t d = 0; d < (size_t)D; d++)
            query->values[d * query->lanes + i] = given[i * (size_t)D + d];
    const int64_t *positions = b[2].buf;
    const uint16_t *tokens = b[0].buf;
    float *scores = b[3].buf;
    Py_BEGIN_ALLOW_THREADS
    for (size_t n = 0; n < count; n++) {
        if (n + 1 < count)
            fetch((const uint8_t *)(tokens + (size_t)positions[n + 1] * numbers), numbers * 2);
        scores[n] = kernel->score_halves(query, tokens + (size_t)positions[n] * numbers);
    }
    Py_END_ALLOW_THREADS
    done = Py_NewRef(Py_None);
out:
    free_query(query);
    release(b, 4);
    return done;
}

PyDoc_STRVAR(kernels_doc, "names(D) -> tuple\n\nKernels that run here for tokens of width D, the best first.");

static PyObject *names(PyObject *self, PyObject *args) {
    Py_ssize_t D;
    (void)self;
    if (!PyArg_ParseTuple(args, "n", &D)) return NULL;
    PyObject *list = PyList_New(0), *tuple = NULL;
    for (size_t i = 0; list && i < KERNELS; i++) {
        if (D <= 0 || !kernels[i]->runs_here((size_t)D)) continue;
        PyObject *name = PyUnicode_FromString(kernels[i]->name);
        const int failed = !name || PyList_Append(list, name);
        Py_XDECREF(name);
        if (failed) Py_CLEAR(list);
    }
    if (list) tuple = PyList_AsTuple(list);
    Py_XDECREF(list);
    return tuple;
}

static PyMethodDef methods[] = {
    {"scan", scan, METH_VARARGS, scan_doc},
    {"rescore", rescore, METH_VARARGS, rescore_doc},
    {"names", names, METH_VARARGS, kernels_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_native", "Scans of rows of tokens.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModule_Create(&module); }
