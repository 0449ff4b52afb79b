/* Floats and their bits, and what a summary is written to. */

#ifndef GRADSCOPE_NUMBERS_H
#define GRADSCOPE_NUMBERS_H

#include <float.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#define BLOCK 2048    /* numbers that are summed in float; the blocks' sums are added up in double */
#define AHEAD 1024    /* numbers that are asked of memory before their turn: it takes long to answer */
#define CACHE_LINE 16 /* numbers */
#define NOT_FINITE 0x7f800000u
#define SMALLEST_NORMAL 0x00800000u

/* A float's bits, read where the float lies. */
typedef uint32_t __attribute__((may_alias)) aliased_bits;

/* The columns of a summary's row. */
enum { COUNT, NAN_COUNT, INF_COUNT, ZERO, LOW, HIGH, MEAN, STD, L2, COLUMNS };

/* The histogram's layout, as protocol/subjects.py has it; set once, by gradscope_set_up. */
static struct {
    double undefined;
    int32_t first_exponent; /* of the lowest bin, as a float's bits have it */
    int32_t bins;           /* of each sign */
} layout;

INLINE uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Not isfinite(): the compiler was told that everything is. */
INLINE int is_finite(float value) { return (bits_of(value) & NOT_FINITE) != NOT_FINITE; }

INLINE int is_below_normal(float value) { return (bits_of(value) & 0x7fffffffu) < SMALLEST_NORMAL; }

INLINE float value_at(const float *x, const float *before, int64_t i) { return before ? x[i] - before[i] : x[i]; }

INLINE ptrdiff_t block_size(int64_t start, int64_t end) {
    return (ptrdiff_t)(end - start < BLOCK ? end - start : BLOCK);
}

INLINE void subtract(float *change, const float *x, const float *before, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++)
        change[i] = x[i] - before[i];
}

/* May be asked for places behind the end of a tensor: nothing is read. */
INLINE void ask_for(const float *x, int width) {
#if defined(__GNUC__)
    for (int k = 0; k < width; k += CACHE_LINE)
        __builtin_prefetch(x + k);
#else
    (void)x, (void)width;
#endif
}

#endif
