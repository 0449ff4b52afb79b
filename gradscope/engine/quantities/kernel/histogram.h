/* A histogram of sign and exponent bits: of every number or, in a larger tensor, of a sample. */

#ifndef GRADSCOPE_HISTOGRAM_H
#define GRADSCOPE_HISTOGRAM_H

#include "numbers.h"

#define LINE 32 /* neighbours that a sample takes together: two cache lines */
#define TABLES 8
#define ONE_TABLE_BELOW 256 /* numbers: to clear and to add up all tables would take longer than to fill one */
#define EXPONENTS 512 /* sign and exponent bits of a float */
#define SAMPLE_SHIFT 8
#define SAMPLE_LINES (1 << SAMPLE_SHIFT) /* lines that the histogram of a larger tensor looks at: fits in 16 bits */

/* While a tensor, or a part of it, is gone through. */
struct counts {
    uint16_t bits[TABLES][EXPONENTS];
    int64_t lines, group, next; /* of the tensor; the sample's next one */
    int64_t looked_at, zeros;   /* zeros: of the sample */
    int is_complete, tables;
};

/* What that has come to. */
struct tally {
    uint16_t bits[EXPONENTS];
    int64_t looked_at, zeros; /* zeros: of the sample */
};

INLINE int is_complete(int64_t n) { return n <= SAMPLE_LINES * LINE; }

/* The sample: one line of each of SAMPLE_LINES groups of neighbouring lines, at a place in its group that follows no
 * regular pattern, as rows and columns of a matrix have. exponents.py has the same formula. */
INLINE int64_t line_of_group(int64_t group, int64_t lines) {
    int64_t start = (group * lines) >> SAMPLE_SHIFT, end = ((group + 1) * lines) >> SAMPLE_SHIFT;
    return start + (((int64_t)(((uint32_t)group * 2654435769u) >> 16) * (end - start)) >> 16);
}

/* Of a tensor of n numbers, from number `start` on, the first of a block. */
INLINE void begin_counts(struct counts *c, int64_t n, int64_t start) {
    c->tables = n < ONE_TABLE_BELOW ? 1 : TABLES;
    memset(c->bits, 0, (size_t)c->tables * sizeof c->bits[0]);
    c->group = c->next = c->looked_at = c->zeros = 0;
    c->is_complete = is_complete(n);
    c->lines = n / LINE;
    if (c->is_complete)
        return;
    /* The last group that begins before `start` may have its line behind. */
    c->group = start == 0 ? 0 : ((start / LINE) << SAMPLE_SHIFT) / c->lines;
    c->next = line_of_group(c->group, c->lines);
    while (c->group < SAMPLE_LINES && c->next * LINE < start)
        c->next = line_of_group(++c->group, c->lines);
}

INLINE void take_bits(struct counts *c, const float *x, ptrdiff_t n) {
    /* Several tables: neighbours with the same exponent would wait for each other. */
    const aliased_bits *bits = (const aliased_bits *)x;
    ptrdiff_t i = 0;
    for (; c->tables == TABLES && i + TABLES <= n; i += TABLES) {
        c->bits[0][bits[i] >> 23]++;
        c->bits[1][bits[i + 1] >> 23]++;
        c->bits[2][bits[i + 2] >> 23]++;
        c->bits[3][bits[i + 3] >> 23]++;
        c->bits[4][bits[i + 4] >> 23]++;
        c->bits[5][bits[i + 5] >> 23]++;
        c->bits[6][bits[i + 6] >> 23]++;
        c->bits[7][bits[i + 7] >> 23]++;
    }
    for (; i < n; i++)
        c->bits[0][bits[i] >> 23]++;
    c->looked_at += n;
}

/* The block of n numbers, of x or (before is not NULL) of x - before, that begins with number `start` of the tensor. */
INLINE void take_counts(struct counts *c, const float *x, const float *before, int64_t start, ptrdiff_t n) {
    float change[BLOCK];
    if (c->is_complete) {
        if (before)
            subtract(change, x, before, n);
        take_bits(c, before ? change : x, n);
        return;
    }
    while (c->group < SAMPLE_LINES && c->next * LINE < start + n) {
        ptrdiff_t at = (ptrdiff_t)(c->next * LINE - start);
        if (before)
            subtract(change, x + at, before + at, LINE);
        const float *line = before ? change : x + at;
        const aliased_bits *bits = (const aliased_bits *)line;
        int32_t zeros = 0;
        for (int k = 0; k < LINE; k++)
            zeros += (bits[k] & 0x7fffffffu) == 0;
        c->zeros += zeros;
        take_bits(c, line, LINE);
        if (++c->group < SAMPLE_LINES)
            c->next = line_of_group(c->group, c->lines);
    }
}

INLINE void note_subnormal(int32_t *subnormal, float value) {
    uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu;
    subnormal[bits >> 31] += magnitude != 0 && magnitude < SMALLEST_NORMAL;
}

static void count_subnormals(const float *x, const float *before, int64_t n, int32_t *subnormal) {
    if (is_complete(n))
        for (int64_t i = 0; i < n; i++)
            note_subnormal(subnormal, value_at(x, before, i));
    else
        for (int64_t group = 0; group < SAMPLE_LINES; group++) {
            int64_t start = LINE * line_of_group(group, n / LINE);
            for (int64_t i = start; i < start + LINE; i++)
                note_subnormal(subnormal, value_at(x, before, i));
        }
}

INLINE void begin_tally(struct tally *t) { memset(t, 0, sizeof *t); }

INLINE void add_counts(struct tally *t, const struct counts *c) {
    for (int table = 0; table < c->tables; table++)
        for (int i = 0; i < EXPONENTS; i++)
            t->bits[i] += c->bits[table][i];
    t->looked_at += c->looked_at;
    t->zeros += c->zeros;
}

INLINE void add_tally(struct tally *t, const struct tally *other) {
    for (int i = 0; i < EXPONENTS; i++)
        t->bits[i] += other->bits[i];
    t->looked_at += other->looked_at;
    t->zeros += other->zeros;
}

/* `zeros`: of the whole tensor. */
INLINE void finish_tally(const struct tally *t, int64_t zeros, const float *x, const float *before, int64_t n,
                         int32_t *histogram) {
    int32_t subnormal[2] = {0, 0};
    /* Exponent 0 holds zeros, which belong to no bin, and subnormal numbers; the last one NaN and Inf. */
    if (t->bits[0] + t->bits[EXPONENTS / 2] != (is_complete(n) ? zeros : t->zeros))
        count_subnormals(x, before, n, subnormal);
    for (int sign = 0; sign < 2; sign++) {
        const uint16_t *counts = t->bits + sign * EXPONENTS / 2;
        int32_t bins = layout.bins, first = layout.first_exponent, below = subnormal[sign], above = 0;
        for (int i = 1; i < first; i++)
            below += counts[i];
        for (int i = first + bins; i < EXPONENTS / 2 - 1; i++)
            above += counts[i];
        /* Negative numbers come first, the largest magnitude before the others. */
        int32_t *half = sign ? histogram : histogram + bins;
        for (int i = 0; i < bins; i++)
            half[sign ? bins - 1 - i : i] = counts[first + i];
        half[sign ? bins - 1 : 0] += below;
        half[sign ? 0 : bins - 1] += above;
    }
}

#endif
