/* One pass over a tensor's numbers: range, sums, zeros, and a histogram of sign and exponent bits.
 *
 * Compiled with -fassociative-math, so that sums and ranges use the processor's vectors: what they give is right only
 * where every number is finite. Where one is not, or squares may have vanished or overflowed, the sum of a block is not
 * finite or the range says so, and slower loops that look at the bits do it again. Never -ffast-math: linked with it, a
 * library makes the whole process flush subnormal numbers to zero.
 */

#include <float.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#if defined(__x86_64__) && defined(__GLIBC__) && (defined(__clang__) ? __clang_major__ >= 14 : __GNUC__ >= 9)
#define VARIANTS __attribute__((target_clones("avx512f", "avx2", "default")))
#define HAS_VARIANTS 1
#else
#define VARIANTS
#define HAS_VARIANTS 0
#endif
#define INLINE static inline __attribute__((always_inline))

#define BLOCK 4096 /* numbers that are summed in float; the blocks' sums are added up in double */
#define LANES 32   /* sums side by side in a block */
#define AHEAD 1024 /* numbers that are asked of memory before their turn: it takes long to answer */
#define CACHE_LINE 16
#define LINE 32 /* neighbours that a sample takes together: two cache lines */
#define TABLES 8
#define EXPONENTS 512 /* sign and exponent bits of a float */
#define SAMPLE_SHIFT 8
#define SAMPLE_LINES (1 << SAMPLE_SHIFT) /* lines that the histogram of a larger tensor looks at: fits in 16 bits */
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

/* Where summaries go: row i of each array belongs to position i. */
struct output {
    double *rows;
    int32_t *histograms;
    int64_t *sampled; /* numbers that the histogram has looked at */
};

struct job {
    const float *x, *before; /* before may be NULL */
    int64_t n;
};

struct totals {
    double sum, square;
    float low, high;
    int64_t zeros;
    int is_suspect; /* there may be NaN or Inf */
};

struct counts {
    uint16_t bits[TABLES][EXPONENTS];
    int64_t lines, group, next; /* of the tensor; the sample's next one */
    int64_t looked_at, zeros;
    int is_complete;
};

INLINE uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Not isfinite(): the compiler was told that everything is. */
INLINE int is_finite(float value) { return (bits_of(value) & NOT_FINITE) != NOT_FINITE; }

INLINE int is_below_normal(float value) { return (bits_of(value) & 0x7fffffffu) < SMALLEST_NORMAL; }

INLINE float value_at(const float *x, const float *before, int64_t i) { return before ? x[i] - before[i] : x[i]; }

/* ------------------------------------------------------------------------------------------------------------ sums */

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

INLINE void begin_lanes(struct lanes *l, const struct totals *t, int width) {
    for (int k = 0; k < width; k++) {
        l->sum[k] = l->square[k] = 0;
        l->zeros[k] = 0;
        l->low[k] = t->low;
        l->high[k] = t->high;
    }
}

INLINE void take(struct lanes *l, int k, float value, int is_zero) {
    l->sum[k] += value;
    l->square[k] += value * value;
    l->low[k] = value < l->low[k] ? value : l->low[k];
    l->high[k] = value > l->high[k] ? value : l->high[k];
    l->zeros[k] += is_zero;
}

INLINE void finish_lanes(struct lanes *l, struct totals *t, int width) {
    for (int half = width / 2; half; half /= 2)
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

/* May be asked for places behind the end of a tensor: nothing is read. */
INLINE void ask_for(const float *x, int width) {
#if defined(__GNUC__)
    for (int k = 0; k < width; k += CACHE_LINE)
        __builtin_prefetch(x + k);
#else
    (void)x, (void)width;
#endif
}

/* Of a block of n numbers: of x, if `own` is given; of x - before, if `changed` is. Changes that are too small for a normal
 * float count as 0 in the range (finish_sums sees to that), but not as zeros. */
INLINE void take_sums(struct totals *own, struct totals *changed, const float *x, const float *before, ptrdiff_t n) {
    const int width = own && changed ? LANES / 2 : LANES;
    struct lanes values, changes;
    unsigned mode = begin_flushing();
    if (own)
        begin_lanes(&values, own, width);
    if (changed)
        begin_lanes(&changes, changed, width);
    ptrdiff_t i = 0;
    for (; i + width <= n; i += width) {
        ask_for(x + i + AHEAD, width);
        if (changed)
            ask_for(before + i + AHEAD, width);
        for (int k = 0; k < width; k++) {
            float value = x[i + k];
            if (own)
                take(&values, k, value, value == 0);
            if (changed)
                take(&changes, k, value - before[i + k], value == before[i + k]);
        }
    }
    for (int k = 0; i < n; i++, k++) {
        if (own)
            take(&values, k, x[i], x[i] == 0);
        if (changed)
            take(&changes, k, x[i] - before[i], x[i] == before[i]);
    }
    if (own)
        finish_lanes(&values, own, width);
    if (changed)
        finish_lanes(&changes, changed, width);
    end_flushing(mode);
}

/* ------------------------------------------------------------------------------------------------------- histogram */

/* The sample: one line of each of SAMPLE_LINES groups of neighbouring lines, at a place in its group that follows no
 * regular pattern, as rows and columns of a matrix have. exponents.py has the same formula. */
INLINE int64_t line_of_group(int64_t group, int64_t lines) {
    int64_t start = (group * lines) >> SAMPLE_SHIFT, end = ((group + 1) * lines) >> SAMPLE_SHIFT;
    return start + (((int64_t)(((uint32_t)group * 2654435769u) >> 16) * (end - start)) >> 16);
}

INLINE void begin_counts(struct counts *c, int64_t n) {
    memset(c, 0, sizeof *c);
    c->is_complete = n <= SAMPLE_LINES * LINE;
    c->lines = n / LINE;
    c->next = c->is_complete ? 0 : line_of_group(0, c->lines);
}

INLINE void take_bits(struct counts *c, const float *x, ptrdiff_t n) {
    /* Several tables: neighbours with the same exponent would wait for each other. */
    const aliased_bits *bits = (const aliased_bits *)x;
    ptrdiff_t i = 0;
    for (; i + TABLES <= n; i += TABLES) {
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

INLINE void subtract(float *change, const float *x, const float *before, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++)
        change[i] = x[i] - before[i];
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
        int32_t zeros = 0;
        for (int k = 0; k < LINE; k++)
            zeros += line[k] == 0;
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

static void count_subnormals(const struct counts *c, const float *x, const float *before, int64_t n,
                             int32_t *subnormal) {
    if (c->is_complete)
        for (int64_t i = 0; i < n; i++)
            note_subnormal(subnormal, value_at(x, before, i));
    else
        for (int64_t group = 0; group < SAMPLE_LINES; group++) {
            int64_t start = LINE * line_of_group(group, c->lines);
            for (int64_t i = start; i < start + LINE; i++)
                note_subnormal(subnormal, value_at(x, before, i));
        }
}

INLINE void finish_counts(const struct counts *c, int64_t zeros, const float *x, const float *before, int64_t n,
                          int32_t *histogram) {
    int32_t total[EXPONENTS], subnormal[2] = {0, 0};
    for (int i = 0; i < EXPONENTS; i++) {
        int32_t sum = 0;
        for (int table = 0; table < TABLES; table++)
            sum += c->bits[table][i];
        total[i] = sum;
    }
    /* Exponent 0 holds zeros, which belong to no bin, and subnormal numbers; the last one NaN and Inf. */
    if (total[0] + total[EXPONENTS / 2] != (c->is_complete ? zeros : c->zeros))
        count_subnormals(c, x, before, n, subnormal);
    for (int sign = 0; sign < 2; sign++) {
        const int32_t *counts = total + sign * EXPONENTS / 2;
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

/* --------------------------------------------------------------------------------------------------------- summary */

/* Where the mean square is below, some squares may have vanished in float; where a magnitude is above, 4,096 squares summed
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

INLINE void finish(struct totals *t, const struct counts *c, const float *x, const float *before, int64_t n,
                   const struct output *out, int64_t position) {
    finish_sums(t, x, before, n, out->rows + position * COLUMNS);
    finish_counts(c, t->zeros, x, before, n, out->histograms + position * 2 * layout.bins);
    out->sampled[position] = c->looked_at;
}

INLINE ptrdiff_t block_size(int64_t start, int64_t n) { return (ptrdiff_t)(n - start < BLOCK ? n - start : BLOCK); }

/* Of the n > 0 numbers at x or, if before is not NULL, of x - before. */
VARIANTS void gradscope_summarise(const struct output *out, const float *x, const float *before, int64_t n,
                                  int64_t position) {
    struct totals t;
    struct counts c;
    begin_sums(&t, value_at(x, before, 0));
    begin_counts(&c, n);
    for (int64_t start = 0; start < n; start += BLOCK) {
        ptrdiff_t size = block_size(start, n);
        if (before) {
            take_sums(NULL, &t, x + start, before + start, size);
            take_counts(&c, x + start, before + start, start, size);
        } else {
            take_sums(&t, NULL, x + start, NULL, size);
            take_counts(&c, x + start, NULL, start, size);
        }
    }
    finish(&t, &c, x, before, n, out, position);
}

/* Of x at `position` and of x - before at the next one, in one pass over both. */
VARIANTS static void summarise_both(const struct output *out, const float *x, const float *before, int64_t n,
                                    int64_t position) {
    struct totals t, changed;
    struct counts c, changes;
    begin_sums(&t, x[0]);
    begin_sums(&changed, x[0] - before[0]);
    begin_counts(&c, n);
    begin_counts(&changes, n);
    for (int64_t start = 0; start < n; start += BLOCK) {
        ptrdiff_t size = block_size(start, n);
        take_sums(&t, &changed, x + start, before + start, size);
        take_counts(&c, x + start, NULL, start, size);
        take_counts(&changes, x + start, before + start, start, size);
    }
    finish(&t, &c, x, NULL, n, out, position);
    finish(&changed, &changes, x, before, n, out, position + 1);
}

/* Counts and L2 norm only; the other columns are undefined, and there is no histogram. */
VARIANTS void gradscope_measure(const struct output *out, const float *x, const float *before, int64_t n,
                                int64_t position) {
    float change[BLOCK];
    double square = 0, *row = out->rows + position * COLUMNS;
    int is_suspect = 0, is_small = 0;
    for (int64_t start = 0; start < n; start += BLOCK) {
        ptrdiff_t size = block_size(start, n), i = 0;
        const float *block = x + start;
        if (before) {
            subtract(change, x + start, before + start, size);
            block = change;
        }
        float sums[LANES];
        unsigned mode = begin_flushing();
        for (int k = 0; k < LANES; k++)
            sums[k] = 0;
        for (; i + LANES <= size; i += LANES) {
            ask_for(x + start + i + AHEAD, LANES);
            if (before)
                ask_for(before + start + i + AHEAD, LANES);
            for (int k = 0; k < LANES; k++)
                sums[k] += block[i + k] * block[i + k];
        }
        for (int k = 0; i < size; i++, k++)
            sums[k] += block[i] * block[i];
        for (int width = LANES / 2; width; width /= 2)
            for (int k = 0; k < width; k++)
                sums[k] += sums[k + width];
        end_flushing(mode);
        /* Also where squares have overflowed; and where some may have vanished. */
        is_suspect |= !is_finite(sums[0]);
        is_small |= sums[0] < SAFE_SQUARE * (double)size;
        square += sums[0];
    }
    int64_t nans = 0, infs = 0;
    if (is_suspect) {
        struct totals t;
        look_at_bits(&t, x, before, n, &nans, &infs);
    }
    if (is_suspect || is_small) {
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
    memset(out->histograms + position * 2 * layout.bins, 0, (size_t)layout.bins * 2 * sizeof *out->histograms);
    out->sampled[position] = 0;
}

/* Job after job from `position` on: of x and, with before, of x - before at the next position. norms: as `measure`. */
void gradscope_summarise_all(const struct output *out, const struct job *jobs, int64_t count, int64_t position,
                             int norms) {
    for (const struct job *job = jobs; job < jobs + count; job++) {
        if (norms) {
            gradscope_measure(out, job->x, NULL, job->n, position++);
            if (job->before)
                gradscope_measure(out, job->x, job->before, job->n, position++);
        } else if (job->before) {
            summarise_both(out, job->x, job->before, job->n, position);
            position += 2;
        } else
            gradscope_summarise(out, job->x, NULL, job->n, position++);
    }
}

/* ------------------------------------------------------------------------------------------------------------ copies */

#define STREAM_ABOVE (8 << 20) /* bytes: what is copied is not looked at soon, and would only drive other things out of the caches */

struct copy {
    const char *from;
    char *to;
    int64_t bytes;
};

INLINE void copy_past_caches(char *to, const char *from, int64_t bytes) {
    int64_t done = 0;
#ifdef __SSE2__
    if ((uintptr_t)to % sizeof(__m128i) == 0) {
        for (; done + (int64_t)sizeof(__m128i) <= bytes; done += sizeof(__m128i)) {
            __builtin_prefetch(from + done + AHEAD * sizeof(float));
            _mm_stream_si128((__m128i *)(to + done), _mm_loadu_si128((const __m128i *)(from + done)));
        }
        _mm_sfence();
    }
#endif
    memcpy(to + done, from + done, (size_t)(bytes - done));
}

void gradscope_copy_all(const struct copy *copies, int64_t count) {
    int64_t bytes = 0;
    for (int64_t i = 0; i < count; i++)
        bytes += copies[i].bytes;
    for (const struct copy *copy = copies; copy < copies + count; copy++)
        if (bytes > STREAM_ABOVE)
            copy_past_caches(copy->to, copy->from, copy->bytes);
        else
            memcpy(copy->to, copy->from, (size_t)copy->bytes);
}

/* -------------------------------------------------------------------------------------------------------------- set-up */

/* Has to be called once, before anything else. */
void gradscope_set_up(double undefined, int32_t first_exponent, int32_t bins) {
    layout.undefined = undefined;
    layout.first_exponent = first_exponent;
    layout.bins = bins;
}

/* Bits of the vectors that are used; 0 where the compiler chose. */
int gradscope_vector_bits(void) {
#if HAS_VARIANTS
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") ? 512 : __builtin_cpu_supports("avx2") ? 256 : 0;
#else
    return 0;
#endif
}

int gradscope_kernel_version(void) { return 4; }
