/* The functions of the summaries' kernel, by the addresses that it has in this process: nothing is linked with it. */

#ifndef GRADSCOPE_KERNEL_H
#define GRADSCOPE_KERNEL_H

#include <stdint.h>

/* As quantities/kernel/kernel.c has them. */
struct output {
    double *rows;
    int32_t *histograms;
    int64_t *sampled;
};

struct job {
    const float *x, *before;
    int64_t n;
};

typedef void summarise_one(const struct output *, const float *, const float *, int64_t, int64_t);
typedef void summarise_many(const struct output *, const struct job *, int64_t, int64_t, int);

#endif
