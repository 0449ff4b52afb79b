/* Work for several threads: those that torch has, for a thread of our own would have to share its core with one of torch's
 * that waits for its next work in a loop.
 *
 * They are libgomp's, whose function is handed over at run time: nothing is linked with it, and where torch has none of it
 * there is one thread.
 */

#ifndef GRADSCOPE_TEAM_H
#define GRADSCOPE_TEAM_H

#include <stddef.h>
#include <stdint.h>

/* GOMP_parallel(function, data, threads, flags): each thread calls the function once; returns when all have. */
typedef void (*run_in_team)(void (*)(void *), void *, unsigned, unsigned);

static struct {
    run_in_team run; /* NULL: there is only this thread */
    unsigned threads;
} team;

struct work {
    void (*run)(void *data, int64_t task);
    void *data;
    int64_t tasks, next;
};

static void take_part(void *data) {
    struct work *work = data;
    int64_t task;
    while ((task = __atomic_fetch_add(&work->next, 1, __ATOMIC_RELAXED)) < work->tasks)
        work->run(work->data, task);
}

static inline int has_team(void) { return team.run != NULL && team.threads > 1; }

/* Run every task, in any order. By all threads, also where there are fewer tasks: those that a smaller team leaves out would
 * end, to be made anew by torch's next operation, with what that costs and the floating-point mode of that moment. */
static void share_work(void (*run)(void *, int64_t), void *data, int64_t tasks) {
    struct work work = {run, data, tasks, 0};
    if (has_team() && tasks > 1)
        team.run(take_part, &work, team.threads, 0);
    else
        take_part(&work);
}

#endif
