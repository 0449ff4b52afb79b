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

/* numbers: low, high, sum, sum of squares. counts: NaN, Inf, zeros. bins: for each of the 512 exponent values its bin;
 * those of NaN and Inf have a number that is not below `bin_count`. Exponent 0 holds zeros, which belong to no bin, and
 * subnormal numbers. */
static void finish(struct totals *t, const float *x, const float *before, int64_t n, double *numbers, int64_t *counts,
                   const uint8_t *bins, int32_t bin_count, int32_t *histogram) {
    uint32_t total[EXPONENTS];
    for (int i = 0; i < EXPONENTS; i++)
        total[i] = t->bits[0][i] + t->bits[1][i] + t->bits[2][i] + t->bits[3][i];
    numbers[0] = t->low;
    numbers[1] = t->high;
    numbers[2] = t->sum;
    numbers[3] = t->square;
    counts[0] = counts[1] = 0;
    counts[2] = (int64_t)total[0] + total[256];
    int has_subnormal = counts[2] != t->zeros, has_special = total[255] + total[511] != 0;
    uint32_t subnormal[2] = {0, 0};
    if (has_subnormal || has_special) {
        for (int64_t i = 0; i < n; i++) {
            float value = before ? x[i] - before[i] : x[i];
            uint32_t bits;
            memcpy(&bits, &value, sizeof bits);
            uint32_t magnitude = bits & 0x7fffffffu;
            if (magnitude > 0x7f800000u)
                counts[0]++;
            else if (magnitude == 0x7f800000u)
                counts[1]++;
            else if (magnitude != 0 && magnitude < 0x00800000u)
                subnormal[bits >> 31]++;
        }
        counts[2] -= (int64_t)subnormal[0] + subnormal[1];
    }
    total[0] = subnormal[0];
    total[256] = subnormal[1];
    memset(histogram, 0, (size_t)bin_count * sizeof *histogram);
    for (int i = 0; i < EXPONENTS; i++)
        if (bins[i] < bin_count)
            histogram[bins[i]] += (int32_t)total[i];
}

VARIANTS void gradscope_describe(const float *x, int64_t n, double *numbers, int64_t *counts, const uint8_t *bins,
                                 int32_t bin_count, int32_t *histogram) {
    struct totals t;
    begin(&t, x[0]);
    for (int64_t start = 0; start < n; start += BLOCK)
        take_block(&t, x + start, (ptrdiff_t)(n - start < BLOCK ? n - start : BLOCK));
    finish(&t, x, NULL, n, numbers, counts, bins, bin_count, histogram);
}

/* The same of x - before, without a tensor for the difference. */
VARIANTS void gradscope_describe_change(const float *x, const float *before, int64_t n, double *numbers, int64_t *counts,
                                        const uint8_t *bins, int32_t bin_count, int32_t *histogram) {
    struct totals t;
    float change[BLOCK];
    begin(&t, x[0] - before[0]);
    for (int64_t start = 0; start < n; start += BLOCK) {
        ptrdiff_t size = (ptrdiff_t)(n - start < BLOCK ? n - start : BLOCK);
        for (ptrdiff_t i = 0; i < size; i++)
            change[i] = x[start + i] - before[start + i];
        take_block(&t, change, size);
    }
    finish(&t, x, before, n, numbers, counts, bins, bin_count, histogram);
}

/* sums: of (x - mean) and of its square, in double. */
VARIANTS void gradscope_deviation(const float *x, const float *before, int64_t n, double mean, double *sums) {
    double sum = 0, square = 0;
    if (before)
        for (int64_t i = 0; i < n; i++) {
            float change = x[i] - before[i];
            double deviation = (double)change - mean;
            sum += deviation;
            square += deviation * deviation;
        }
    else
        for (int64_t i = 0; i < n; i++) {
            double deviation = (double)x[i] - mean;
            sum += deviation;
            square += deviation * deviation;
        }
    sums[0] = sum;
    sums[1] = square;
}

int gradscope_uses_avx2(void) {
#if HAS_VARIANTS
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") != 0;
#else
    return 0;
#endif
}

int gradscope_kernel_version(void) { return 1; }
