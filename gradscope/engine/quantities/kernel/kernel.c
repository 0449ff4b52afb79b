/* One pass over a tensor's numbers: range, sums, zeros and the histogram of sign and exponent bits.
 *
 * Compiled with -fassociative-math, so that sums and ranges use the processor's vectors: what they give is right only
 * where every number is finite, which the histogram tells (it looks at the bits). Never -ffast-math: linked with it, a
 * library makes the whole process flush subnormal numbers to zero.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GLIBC__) && (defined(__clang__) ? __clang_major__ >= 14 : __GNUC__ >= 9)
#define VARIANTS __attribute__((target_clones("avx2", "default")))
#define HAS_VARIANTS 1
#else
#define VARIANTS
#define HAS_VARIANTS 0
#endif

#define BLOCK 4096
#define TABLES 4
#define EXPONENTS 512 /* sign and exponent bits of a float */

/* A float's bits, read where the float lies. */
typedef uint32_t __attribute__((may_alias)) aliased_bits;

struct totals {
    double sum, square;
    float low, high;
    int64_t zeros;
    uint32_t bits[TABLES][EXPONENTS];
};

static inline __attribute__((always_inline)) void take_block(struct totals *t, const float *x, ptrdiff_t n) {
    /* The block is summed in float (by several lanes), the blocks in double. */
    float sum = 0, square = 0, low = t->low, high = t->high;
    int32_t zeros = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        float value = x[i];
        sum += value;
        square += value * value;
        low = value < low ? value : low;
        high = value > high ? value : high;
        zeros += value == 0;
    }
    t->sum += sum;
    t->square += square;
    t->low = low;
    t->high = high;
    t->zeros += zeros;
    /* Several tables: neighbours with the same exponent would wait for each other. */
    const aliased_bits *bits = (const aliased_bits *)x;
    ptrdiff_t i = 0;
    for (; i + TABLES <= n; i += TABLES) {
        t->bits[0][bits[i] >> 23]++;
        t->bits[1][bits[i + 1] >> 23]++;
        t->bits[2][bits[i + 2] >> 23]++;
        t->bits[3][bits[i + 3] >> 23]++;
    }
    for (; i < n; i++)
        t->bits[0][bits[i] >> 23]++;
}

static void begin(struct totals *t, float first) {
    memset(t, 0, sizeof *t);
    t->low = t->high = first;
}

/* The columns of a summary's row. */
enum { COUNT, NAN_COUNT, INF_COUNT, ZERO, LOW, HIGH, MEAN, STD, L2 };

/* Below and above, squares (4,096 of them summed) vanish or overflow in float: double is used. */
#define SAFE_LOW 1e-15
#define SAFE_HIGH 1e17
/* Below this share of the mean square, the variance by difference has lost too many digits. */
#define CANCELLING 0.1

static inline __attribute__((always_inline)) float value_at(const float *x, const float *before, int64_t i) {
    return before ? x[i] - before[i] : x[i];
}

static inline __attribute__((always_inline)) uint32_t magnitude_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x7fffffffu;
}

/* Sums of (value - mean) and of its square over the finite values, in double. */
static inline __attribute__((always_inline)) void deviate(const float *x, const float *before, int64_t n, double mean,
                                                          int all_finite, double *error, double *square) {
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
            if (magnitude_of(value) >= 0x7f800000u)
                continue;
            double d = (double)value - mean;
            e += d;
            s += d * d;
        }
    *error = e;
    *square = s;
}

/* Where there are NaN or Inf, the vector loop's ranges mean nothing. */
static void finite_range(struct totals *t, const float *x, const float *before, int64_t n) {
    int found = 0;
    for (int64_t i = 0; i < n; i++) {
        float value = value_at(x, before, i);
        if (magnitude_of(value) >= 0x7f800000u)
            continue;
        if (!found || value < t->low)
            t->low = value;
        if (!found || value > t->high)
            t->high = value;
        found = 1;
    }
}

/* bins: for each of the 512 exponent values its bin; those of NaN and Inf have a number that is not below `bin_count`.
 * Exponent 0 holds zeros, which belong to no bin, and subnormal numbers. */
static inline __attribute__((always_inline)) void finish(struct totals *t, const float *x, const float *before, int64_t n,
                                                         double undefined, const uint8_t *bins, int32_t bin_count,
                                                         double *row, int32_t *histogram) {
    uint32_t total[EXPONENTS], subnormal[2] = {0, 0};
    int64_t nan_count = 0, inf_count = 0;
    for (int i = 0; i < EXPONENTS; i++)
        total[i] = t->bits[0][i] + t->bits[1][i] + t->bits[2][i] + t->bits[3][i];
    int64_t zeros = (int64_t)total[0] + total[256];
    int all_finite = total[255] + total[511] == 0;
    if (zeros != t->zeros || !all_finite) {
        for (int64_t i = 0; i < n; i++) {
            float value = value_at(x, before, i);
            uint32_t bits;
            memcpy(&bits, &value, sizeof bits);
            uint32_t magnitude = bits & 0x7fffffffu;
            if (magnitude > 0x7f800000u)
                nan_count++;
            else if (magnitude == 0x7f800000u)
                inf_count++;
            else if (magnitude != 0 && magnitude < 0x00800000u)
                subnormal[bits >> 31]++;
        }
        zeros -= (int64_t)subnormal[0] + subnormal[1];
    }
    total[0] = subnormal[0];
    total[256] = subnormal[1];
    memset(histogram, 0, (size_t)bin_count * sizeof *histogram);
    for (int i = 0; i < EXPONENTS; i++)
        if (bins[i] < bin_count)
            histogram[bins[i]] += (int32_t)total[i];

    int64_t count = n - nan_count - inf_count;
    row[COUNT] = (double)n;
    row[NAN_COUNT] = (double)nan_count;
    row[INF_COUNT] = (double)inf_count;
    row[ZERO] = (double)zeros;
    for (int i = LOW; i <= L2; i++)
        row[i] = undefined;
    if (count == 0)
        return;
    if (!all_finite)
        finite_range(t, x, before, n);
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
        if (all_finite && largest > SAFE_LOW && largest < SAFE_HIGH) {
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

/* Fills row (9 numbers) and histogram (bin_count) of the n > 0 numbers at x, or, if before is not NULL, of x - before.
 * `undefined` is written where nothing is finite. */
VARIANTS void gradscope_describe(const float *x, const float *before, int64_t n, double *row, int32_t *histogram,
                                 double undefined, const uint8_t *bins, int32_t bin_count) {
    struct totals t;
    begin(&t, value_at(x, before, 0));
    if (before) {
        float change[BLOCK];
        for (int64_t start = 0; start < n; start += BLOCK) {
            ptrdiff_t size = (ptrdiff_t)(n - start < BLOCK ? n - start : BLOCK);
            for (ptrdiff_t i = 0; i < size; i++)
                change[i] = x[start + i] - before[start + i];
            take_block(&t, change, size);
        }
    } else
        for (int64_t start = 0; start < n; start += BLOCK)
            take_block(&t, x + start, (ptrdiff_t)(n - start < BLOCK ? n - start : BLOCK));
    finish(&t, x, before, n, undefined, bins, bin_count, row, histogram);
}

int gradscope_uses_avx2(void) {
#if HAS_VARIANTS
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") != 0;
#else
    return 0;
#endif
}

int gradscope_kernel_version(void) { return 2; }
