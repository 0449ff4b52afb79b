/* Range, sums and zeros of many numbers, and the row that comes of them.
 *
 * The loops over vectors are right only where every number is finite. Where one is not, or squares may have vanished or
 * overflowed, a block's sum is not finite or the range says so, and slower loops that look at the bits do it again.
 */

#ifndef GRADSCOPE_SUMS_H
#define GRADSCOPE_SUMS_H

#include "numbers.h"

#define LANES 16   /* sums side by side in a block: as many as the vectors of all of them have room for */
#define SQUARES 32 /* the same, where there is nothing but squares */

struct totals {
    double sum, square;
    float low, high;
    int64_t zeros;
    int is_suspect; /* there may be NaN or Inf */
    int is_small;   /* squares may have vanished (sum_squares only) */
};

/* Between the two, results that are too small for a normal float become 0: x86 needs a hundred times as long for them. Only
 * for sums, which are done again in double where that could matter. */
#if defined(__x86_64__) && defined(__GNUC__)
#define FLUSH_TO_ZERO 0x8000u
INLINE unsigned begin_flushing(void) {
    unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | FLUSH_TO_ZERO);
    __asm__ volatile("" ::: "memory");
    return before;
}

INLINE void end_flushing(unsigned before) {
    __asm__ volatile("" ::: "memory");
    __builtin_ia32_ldmxcsr(before);
}
#else
INLINE unsigned begin_flushing(void) { return 0; }
INLINE void end_flushing(unsigned before) { (void)before; }
#endif

/* Sums and ranges side by side, so that none waits for the one before. */
struct lanes {
    float sum[LANES], square[LANES], low[LANES], high[LANES];
    int32_t zeros[LANES];
};

INLINE void begin_lanes(struct lanes *l, const struct totals *t) {
    for (int k = 0; k < LANES; k++) {
        l->sum[k] = l->square[k] = 0;
        l->zeros[k] = 0;
        l->low[k] = t->low;
        l->high[k] = t->high;
    }
}

INLINE void take_number(struct lanes *l, int k, float value, int is_zero) {
    l->sum[k] += value;
    l->square[k] += value * value;
    l->low[k] = value < l->low[k] ? value : l->low[k];
    l->high[k] = value > l->high[k] ? value : l->high[k];
    l->zeros[k] += is_zero;
}

INLINE void finish_lanes(struct lanes *l, struct totals *t) {
    for (int half = LANES / 2; half; half /= 2)
        for (int k = 0; k < half; k++) {
            l->sum[k] += l->sum[k + half];
            l->square[k] += l->square[k + half];
            l->low[k] = l->low[k + half] < l->low[k] ? l->low[k + half] : l->low[k];
            l->high[k] = l->high[k + half] > l->high[k] ? l->high[k + half] : l->high[k];
            l->zeros[k] += l->zeros[k + half];
        }
    t->sum += l->sum[0];
    t->square += l->square[0];
    t->low = l->low[0];
    t->high = l->high[0];
    t->zeros += l->zeros[0];
    t->is_suspect |= !is_finite(l->sum[0]);
}

/* Of a block of n numbers at x or, if before is not NULL, of x - before. Changes that are too small for a normal float count
 * as 0 in the range (finish_sums sees to that), but not as zeros. */
INLINE void take_sums(struct totals *t, const float *x, const float *before, ptrdiff_t n) {
    struct lanes l;
    unsigned mode = begin_flushing();
    begin_lanes(&l, t);
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        ask_for(x + i + AHEAD, LANES);
        if (before)
            ask_for(before + i + AHEAD, LANES);
        for (int k = 0; k < LANES; k++)
            take_number(&l, k, value_at(x, before, i + k), before ? x[i + k] == before[i + k] : x[i + k] == 0);
    }
    for (int k = 0; i < n; i++, k++)
        take_number(&l, k, value_at(x, before, i), before ? x[i] == before[i] : x[i] == 0);
    finish_lanes(&l, t);
    end_flushing(mode);
}

/* Where the mean square is below, some squares may have vanished in float; where a magnitude is above, 2,048 squares summed
 * may overflow: double is used. */
#define SAFE_SQUARE 1e-31
#define SAFE_HIGH 1e17
/* Below this share of the mean square, the variance by difference has lost too many digits. */
#define CANCELLING 0.1

/* Sums of (value - mean) and of its square over the finite values, in double. */
INLINE void deviate(const float *x, const float *before, int64_t n, double mean, int all_finite, double *error,
                    double *square) {
    double e = 0, s = 0;
    if (all_finite && !before)
        for (int64_t i = 0; i < n; i++) {
            double d = (double)x[i] - mean;
            e += d;
            s += d * d;
        }
    else
        for (int64_t i = 0; i < n; i++) {
            float value = value_at(x, before, i);
            double d = is_finite(value) ? (double)value - mean : 0;
            e += d;
            s += d * d;
        }
    *error = e;
    *square = s;
}

/* Counts of NaN and Inf. The range and the zeros are set anew: where there are any, those of the vector loop mean nothing. */
INLINE void look_at_bits(struct totals *t, const float *x, const float *before, int64_t n, int64_t *nans,
                         int64_t *infs) {
    float low = FLT_MAX, high = -FLT_MAX;
    t->zeros = *nans = *infs = 0;
    for (int64_t start = 0; start < n; start += BLOCK) {
        int64_t end = n - start < BLOCK ? n : start + BLOCK;
        int32_t zeros = 0, nan_count = 0, inf_count = 0;
        for (int64_t i = start; i < end; i++) {
            float value = value_at(x, before, i);
            uint32_t magnitude = bits_of(value) & 0x7fffffffu;
            zeros += magnitude == 0;
            nan_count += magnitude > NOT_FINITE;
            inf_count += magnitude == NOT_FINITE;
            float least = magnitude < NOT_FINITE ? value : FLT_MAX, most = magnitude < NOT_FINITE ? value : -FLT_MAX;
            low = least < low ? least : low;
            high = most > high ? most : high;
        }
        t->zeros += zeros;
        *nans += nan_count;
        *infs += inf_count;
    }
    t->low = low;
    t->high = high;
}

INLINE void begin_sums(struct totals *t, float first) {
    memset(t, 0, sizeof *t);
    t->low = t->high = first;
}

/* What another part of the same tensor has come to. */
INLINE void add_totals(struct totals *t, const struct totals *other) {
    t->sum += other->sum;
    t->square += other->square;
    t->low = other->low < t->low ? other->low : t->low;
    t->high = other->high > t->high ? other->high : t->high;
    t->zeros += other->zeros;
    t->is_suspect |= other->is_suspect;
    t->is_small |= other->is_small;
}

/* The squares alone, of numbers `start` to `end` of x or, if before is not NULL, of x - before. */
INLINE void sum_squares(struct totals *t, const float *x, const float *before, int64_t start, int64_t end) {
    float change[BLOCK];
    for (; start < end; start += BLOCK) {
        ptrdiff_t size = block_size(start, end), i = 0;
        const float *block = x + start;
        if (before) {
            subtract(change, x + start, before + start, size);
            block = change;
        }
        float sums[SQUARES];
        unsigned mode = begin_flushing();
        for (int k = 0; k < SQUARES; k++)
            sums[k] = 0;
        for (; i + SQUARES <= size; i += SQUARES) {
            ask_for(x + start + i + AHEAD, SQUARES);
            if (before)
                ask_for(before + start + i + AHEAD, SQUARES);
            for (int k = 0; k < SQUARES; k++)
                sums[k] += block[i + k] * block[i + k];
        }
        for (int k = 0; i < size; i++, k++)
            sums[k] += block[i] * block[i];
        for (int width = SQUARES / 2; width; width /= 2)
            for (int k = 0; k < width; k++)
                sums[k] += sums[k + width];
        end_flushing(mode);
        /* Also where squares have overflowed; and where some may have vanished. */
        t->is_suspect |= !is_finite(sums[0]);
        t->is_small |= sums[0] < SAFE_SQUARE * (double)size;
        t->square += sums[0];
    }
}

INLINE void finish_sums(struct totals *t, const float *x, const float *before, int64_t n, double *row) {
    int64_t nans = 0, infs = 0;
    int may_be_flushed = before && t->zeros < n && (is_below_normal(t->low) || is_below_normal(t->high));
    if (t->is_suspect || may_be_flushed)
        look_at_bits(t, x, before, n, &nans, &infs);
    int64_t count = n - nans - infs;
    int all_finite = count == n;
    row[COUNT] = (double)n;
    row[NAN_COUNT] = (double)nans;
    row[INF_COUNT] = (double)infs;
    row[ZERO] = (double)t->zeros;
    for (int i = LOW; i <= L2; i++)
        row[i] = layout.undefined;
    if (count == 0)
        return;
    double low = t->low, high = t->high, mean, variance, square;
    double largest = -low > high ? -low : high;
    row[LOW] = low;
    row[HIGH] = high;
    if (low == high) {
        /* All equal: exact, and no rounding noise in std. */
        mean = low;
        variance = 0;
        square = low * low * (double)count;
    } else {
        if (all_finite && t->square > SAFE_SQUARE * (double)count && largest < SAFE_HIGH) {
            mean = t->sum / (double)count;
            square = t->square;
        } else {
            double sum;
            deviate(x, before, n, 0.0, all_finite, &sum, &square);
            mean = sum / (double)count;
        }
        variance = square / (double)count - mean * mean;
        if (variance < CANCELLING * square / (double)count) {
            double error, centred;
            deviate(x, before, n, mean, all_finite, &error, &centred);
            /* The correction takes out what the rounding of the mean has put in (Chan, Golub, LeVeque 1983). */
            variance = (centred - error * error / (double)count) / (double)count;
            mean += error / (double)count;
        }
    }
    row[MEAN] = mean;
    row[STD] = __builtin_sqrt(variance > 0 ? variance : 0);
    row[L2] = __builtin_sqrt(square);
}

/* Counts and L2 norm only; the other columns are undefined. */
INLINE void finish_norm(const struct totals *t, const float *x, const float *before, int64_t n, double *row) {
    double square = t->square;
    int64_t nans = 0, infs = 0;
    if (t->is_suspect) {
        struct totals anew = *t;
        look_at_bits(&anew, x, before, n, &nans, &infs);
    }
    if (t->is_suspect || t->is_small) {
        double sum;
        deviate(x, before, n, 0.0, nans + infs == 0, &sum, &square);
    }
    for (int i = 0; i < COLUMNS; i++)
        row[i] = layout.undefined;
    row[COUNT] = (double)n;
    row[NAN_COUNT] = (double)nans;
    row[INF_COUNT] = (double)infs;
    if (nans + infs < n)
        row[L2] = __builtin_sqrt(square);
}

#endif
