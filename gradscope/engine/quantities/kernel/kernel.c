/* One pass over a tensor's numbers: range, sums, zeros, and a histogram of sign and exponent bits.
 *
 * Compiled with -fassociative-math, so that sums and ranges use the processor's vectors. Never -ffast-math: linked with it, a
 * library makes the whole process flush subnormal numbers to zero.
 */

#include <stdlib.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "histogram.h"
#include "numbers.h"
#include "sums.h"
#include "team.h"

#if defined(__x86_64__) && defined(__GLIBC__) && (defined(__clang__) ? __clang_major__ >= 14 : __GNUC__ >= 9)
#define VARIANTS __attribute__((target_clones("avx512f", "avx2", "default")))
#define HAS_VARIANTS 1
#else
#define VARIANTS
#define HAS_VARIANTS 0
#endif

#define SHARE (32 * BLOCK)      /* numbers: the least that is worth a thread's while */
#define SHARES_PER_THREAD 8     /* no more, so that a thread that is held up keeps the others waiting for a little only */
#define STREAM_ABOVE (8 << 20)  /* bytes: what is copied is not looked at soon, and would drive other things out of caches */
#define COPY_SHARE (1 << 20)    /* bytes */

/* Where summaries go: row i of each array belongs to position i. */
struct output {
    double *rows;
    int32_t *histograms;
    int64_t *sampled; /* numbers that the histogram has looked at */
};

/* n > 0 numbers at x. before may be NULL. */
struct job {
    const float *x, *before;
    int64_t n;
};

/* What is summarised: the numbers, what comes of taking `before` off them, or the one at a position and the other at the
 * next. */
enum wanted { NUMBERS, CHANGES, BOTH };

/* What a part of a tensor has come to. */
struct share {
    struct totals own, changed;
    struct tally own_tally, change_tally;
};

/* ---------------------------------------------------------------------------------------------------------- a share */

INLINE void take(struct share *s, const struct job *job, int64_t start, int64_t end, int with_own, int with_changes) {
    const float *x = job->x, *before = job->before;
    struct counts c, changes;
    if (with_own) {
        begin_sums(&s->own, x[start]);
        begin_counts(&c, job->n, start);
    }
    if (with_changes) {
        begin_sums(&s->changed, x[start] - before[start]);
        begin_counts(&changes, job->n, start);
    }
    for (int64_t at = start; at < end; at += BLOCK) {
        ptrdiff_t size = block_size(at, end);
        if (with_own) {
            take_sums(&s->own, x + at, NULL, size);
            take_counts(&c, x + at, NULL, at, size);
        }
        /* x is in the nearest cache now. */
        if (with_changes) {
            take_sums(&s->changed, x + at, before + at, size);
            take_counts(&changes, x + at, before + at, at, size);
        }
    }
    if (with_own) {
        begin_tally(&s->own_tally);
        add_counts(&s->own_tally, &c);
    }
    if (with_changes) {
        begin_tally(&s->change_tally);
        add_counts(&s->change_tally, &changes);
    }
}

/* Numbers `start` to `end` of a job; `start` is the first of a block. */
VARIANTS static void take_share(struct share *s, const struct job *job, int64_t start, int64_t end,
                                enum wanted wanted) {
    if (wanted == NUMBERS)
        take(s, job, start, end, 1, 0);
    else if (wanted == CHANGES)
        take(s, job, start, end, 0, 1);
    else
        take(s, job, start, end, 1, 1);
}

/* The same for norms only. */
VARIANTS static void measure_share(struct share *s, const struct job *job, int64_t start, int64_t end,
                                   enum wanted wanted) {
    begin_sums(&s->own, 0);
    begin_sums(&s->changed, 0);
    if (wanted != CHANGES)
        sum_squares(&s->own, job->x, NULL, start, end);
    if (wanted != NUMBERS)
        sum_squares(&s->changed, job->x, job->before, start, end);
}

INLINE void add_share(struct share *s, const struct share *other, enum wanted wanted, int norms) {
    if (wanted != CHANGES)
        add_totals(&s->own, &other->own);
    if (wanted != NUMBERS)
        add_totals(&s->changed, &other->changed);
    if (norms)
        return;
    if (wanted != CHANGES)
        add_tally(&s->own_tally, &other->own_tally);
    if (wanted != NUMBERS)
        add_tally(&s->change_tally, &other->change_tally);
}

/* ---------------------------------------------------------------------------------------------------------- summaries */

INLINE void write(const struct output *out, int64_t position, struct totals *t, const struct tally *tally,
                  const struct job *job, const float *before, int norms) {
    double *row = out->rows + position * COLUMNS;
    int32_t *histogram = out->histograms + position * 2 * layout.bins;
    if (norms) {
        finish_norm(t, job->x, before, job->n, row);
        memset(histogram, 0, (size_t)layout.bins * 2 * sizeof *histogram);
        out->sampled[position] = 0;
    } else {
        finish_sums(t, job->x, before, job->n, row);
        finish_tally(tally, t->zeros, job->x, before, job->n, histogram);
        out->sampled[position] = tally->looked_at;
    }
}

/* Returns the position after the last one that was written to. */
VARIANTS static int64_t finish(const struct output *out, int64_t position, struct share *s, const struct job *job,
                               enum wanted wanted, int norms) {
    if (wanted != CHANGES)
        write(out, position++, &s->own, &s->own_tally, job, NULL, norms);
    if (wanted != NUMBERS)
        write(out, position++, &s->changed, &s->change_tally, job, job->before, norms);
    return position;
}

/* A part of a job, and where its share goes. */
struct part {
    const struct job *job;
    int64_t start, end;
    enum wanted wanted;
    int norms;
    struct share share;
};

static void take_part_of_job(void *parts, int64_t number) {
    struct part *part = (struct part *)parts + number;
    if (part->norms)
        measure_share(&part->share, part->job, part->start, part->end, part->wanted);
    else
        take_share(&part->share, part->job, part->start, part->end, part->wanted);
}

/* `wanted` is that of jobs that have a `before`. */
INLINE enum wanted wanted_of(const struct job *job, enum wanted wanted) { return job->before ? wanted : NUMBERS; }

static void summarise_alone(const struct output *out, const struct job *jobs, int64_t count, int64_t position,
                            enum wanted wanted, int norms) {
    for (const struct job *job = jobs; job < jobs + count; job++) {
        struct part part = {.job = job, .end = job->n, .wanted = wanted_of(job, wanted), .norms = norms};
        take_part_of_job(&part, 0);
        position = finish(out, position, &part.share, job, part.wanted, norms);
    }
}

static void summarise(const struct output *out, const struct job *jobs, int64_t count, int64_t position,
                      enum wanted wanted, int norms) {
    int64_t total = 0, parts = 0, size = SHARE;
    for (int64_t i = 0; i < count; i++)
        total += jobs[i].n;
    struct part *all = NULL;
    if (has_team() && total >= 2 * SHARE) {
        int64_t fair = total / ((int64_t)team.threads * SHARES_PER_THREAD);
        if (fair > size)
            size = (fair + BLOCK - 1) / BLOCK * BLOCK;
        for (int64_t i = 0; i < count; i++)
            parts += (jobs[i].n + size - 1) / size;
        all = malloc((size_t)parts * sizeof *all);
    }
    if (all == NULL) {
        summarise_alone(out, jobs, count, position, wanted, norms);
        return;
    }
    struct part *part = all;
    for (const struct job *job = jobs; job < jobs + count; job++)
        for (int64_t start = 0; start < job->n; start += size, part++) {
            part->job = job;
            part->start = start;
            part->end = job->n - start < size ? job->n : start + size;
            part->wanted = wanted_of(job, wanted);
            part->norms = norms;
        }
    share_work(take_part_of_job, all, parts);
    for (struct part *first = all; first < all + parts; first = part) {
        for (part = first + 1; part < all + parts && part->job == first->job; part++)
            add_share(&first->share, &part->share, first->wanted, norms);
        position = finish(out, position, &first->share, first->job, first->wanted, norms);
    }
    free(all);
}

/* Of the n > 0 numbers at x or, if before is not NULL, of x - before. */
void gradscope_summarise(const struct output *out, const float *x, const float *before, int64_t n, int64_t position) {
    struct job job = {x, before, n};
    summarise(out, &job, 1, position, CHANGES, 0);
}

/* Counts and L2 norm only; the other columns are undefined, and there is no histogram. */
void gradscope_measure(const struct output *out, const float *x, const float *before, int64_t n, int64_t position) {
    struct job job = {x, before, n};
    summarise(out, &job, 1, position, CHANGES, 1);
}

/* Job after job from `position` on: of x and, with before, of x - before at the next position. norms: as `measure`. */
void gradscope_summarise_all(const struct output *out, const struct job *jobs, int64_t count, int64_t position,
                             int norms) {
    summarise(out, jobs, count, position, BOTH, norms);
}

/* ------------------------------------------------------------------------------------------------------------- copies */

struct copy {
    const char *from;
    char *to;
    int64_t bytes;
};

static void copy_through_caches(void *copies, int64_t number) {
    const struct copy *copy = (const struct copy *)copies + number;
    memcpy(copy->to, copy->from, (size_t)copy->bytes);
}

static void copy_past_caches(void *copies, int64_t number) {
    const struct copy *copy = (const struct copy *)copies + number;
    int64_t done = 0;
#ifdef __SSE2__
    const int64_t step = sizeof(__m128i);
    if ((uintptr_t)copy->to % sizeof(__m128i) == 0) {
        for (; done + step <= copy->bytes; done += step) {
            __builtin_prefetch(copy->from + done + AHEAD * sizeof(float));
            _mm_stream_si128((__m128i *)(copy->to + done), _mm_loadu_si128((const __m128i *)(copy->from + done)));
        }
        _mm_sfence();
    }
#endif
    memcpy(copy->to + done, copy->from + done, (size_t)(copy->bytes - done));
}

void gradscope_copy_all(struct copy *copies, int64_t count) {
    int64_t bytes = 0, parts = 0;
    for (int64_t i = 0; i < count; i++) {
        bytes += copies[i].bytes;
        parts += (copies[i].bytes + COPY_SHARE - 1) / COPY_SHARE;
    }
    struct copy *all = has_team() && bytes >= 2 * COPY_SHARE ? malloc((size_t)parts * sizeof *all) : NULL;
    struct copy *part = all;
    for (int64_t i = 0; all != NULL && i < count; i++)
        for (int64_t start = 0; start < copies[i].bytes; start += COPY_SHARE, part++) {
            int64_t left = copies[i].bytes - start;
            *part = (struct copy){copies[i].from + start, copies[i].to + start, left < COPY_SHARE ? left : COPY_SHARE};
        }
    void (*run)(void *, int64_t) = bytes > STREAM_ABOVE ? copy_past_caches : copy_through_caches;
    if (all != NULL)
        share_work(run, all, parts);
    else
        for (int64_t i = 0; i < count; i++)
            run(copies, i);
    free(all);
}

/* ------------------------------------------------------------------------------------------------------- sums of bits */

#define COLUMNS 512 /* words of 8 bytes */
#define ROWS 64
#define SUMMED_BLOCK ((int64_t)sizeof(uint64_t) * COLUMNS * ROWS)

/* Bytes whose bits are summed: of the whole blocks every so many, from one on; all of what is left. */
struct summed {
    const char *at;
    int64_t bytes, every, turn;
};

static inline uint64_t word_at(const char *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

VARIANTS static uint64_t sum_bits(const struct summed *job, const uint64_t *factors) {
    int64_t blocks = job->bytes / SUMMED_BLOCK, left = job->bytes % SUMMED_BLOCK;
    uint64_t sum = 0, rest = 0, place = 1;
    for (int64_t block = job->turn; block < blocks; block += job->every, place += 2) {
        uint64_t columns[COLUMNS] = {0}, of_block = 0;
        const char *at = job->at + block * SUMMED_BLOCK;
        for (int row = 0; row < ROWS; row++, at += COLUMNS * sizeof(uint64_t))
            for (int column = 0; column < COLUMNS; column++)
                columns[column] += word_at(at + column * sizeof(uint64_t));
        for (int column = 0; column < COLUMNS; column++)
            of_block += columns[column] * factors[column];
        sum += of_block * place;
    }
    const char *tail = job->at + blocks * SUMMED_BLOCK;
    int64_t words = left / (int64_t)sizeof(uint64_t), over = left % (int64_t)sizeof(uint64_t);
    for (int64_t word = 0; word < words; word++)
        rest += word_at(tail + word * sizeof(uint64_t)) * factors[word];
    if (over != 0) {
        uint64_t last = 0;
        memcpy(&last, tail + words * sizeof(uint64_t), (size_t)over);
        rest += last * factors[words];
    }
    return sum + 5 * rest;
}

/* See timeline/sums.py, which comes to the same numbers. There is a factor for each word of a block. */
void gradscope_sum_all(const struct summed *jobs, int64_t count, const uint64_t *factors, uint64_t *sums) {
    for (int64_t i = 0; i < count; i++)
        sums[i] = sum_bits(jobs + i, factors);
}

/* ------------------------------------------------------------------------------------------------------------- set-up */

/* Has to be called once, before anything else. */
void gradscope_set_up(double undefined, int32_t first_exponent, int32_t bins) {
    layout.undefined = undefined;
    layout.first_exponent = first_exponent;
    layout.bins = bins;
}

/* `run` may be NULL: there is one thread then. */
void gradscope_set_team(run_in_team run, int32_t threads) {
    team.run = run;
    team.threads = threads > 1 ? (unsigned)threads : 1;
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

int gradscope_kernel_version(void) { return 6; }
