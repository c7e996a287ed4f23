/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * A function in a thread and the news of its end: spool_go and a get that says -EPIPE, against pthread_create and
 * pthread_join. The function stores a product of its argument, which is checked.
 *
 *     single         one at a time, with a pause in which kept threads fall asleep
 *     hot            one at a time, each right after the last: a kept thread still spins
 *     batch-16       16 started, then all 16 ends awaited, with a pause; batch-16-hot without one
 *     burst-10000    10,000 started, then all ends awaited
 *
 * Both take turns in blocks; the first round of each block is not counted, as it pays for what the other left behind.
 * Figures: ns for each function, spool.NAME and pthread.NAME, and their ratio.
 *
 * Options: n=ROUNDS of each, gap_us=PAUSE, stack=BYTES of a pthread's stack (0: the default).
 */
#define _GNU_SOURCE
#include <limits.h>
#include <pthread.h>

#include "special.h"

enum { BATCH_MAX = 10000, BLOCK = 20 };

struct task {
    uint64_t seed, result;
    spool_chan *end;
    pthread_t thread;
};

static struct task tasks[BATCH_MAX];
static pthread_attr_t attr;
static uint64_t serial;

static uint64_t product(uint64_t seed)
{
    return (seed ^ seed >> 29) * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

static void go_task(void *arg)
{
    struct task *t = arg;
    t->result = product(t->seed);
}

static void *pthread_task(void *arg)
{
    go_task(arg);
    return NULL;
}

static void check(const struct task *t)
{
    if (t->result != product(t->seed))
        wrong("function %llu did not run before its end was seen", (unsigned long long)t->seed);
}

static void round_spool(size_t batch)
{
    for (size_t i = 0; i < batch; i++) {
        int r = spool_go(&tasks[i].end, go_task, &tasks[i], sizeof(uint64_t), 1);
        if (r == -EAGAIN)
            skip("only %zu threads can be made", i);
        need(r, "spool_go");
    }
    for (size_t i = 0; i < batch; i++) {
        uint64_t elem;
        int r = spool_get(tasks[i].end, &elem);
        if (r != -EPIPE)
            wrong("spool_get returned %d", r);
        spool_unref(tasks[i].end);
    }
}

static void round_pthread(size_t batch)
{
    for (size_t i = 0; i < batch; i++) {
        int r = pthread_create(&tasks[i].thread, &attr, pthread_task, &tasks[i]);
        if (r == EAGAIN)
            skip("only %zu threads can be made", i);
        need(-r, "pthread_create");
    }
    for (size_t i = 0; i < batch; i++)
        need(-pthread_join(tasks[i].thread, NULL), "pthread_join");
}

static int64_t one_round(size_t batch, bool spool)
{
    for (size_t i = 0; i < batch; i++)
        tasks[i].seed = ++serial;
    int64_t start = now_ns();
    if (spool)
        round_spool(batch);
    else
        round_pthread(batch);
    int64_t took = now_ns() - start;
    for (size_t i = 0; i < batch; i++)
        check(&tasks[i]);
    return took;
}

static void compare(const char *name, size_t batch, long n, int64_t gap)
{
    int64_t *times[2];
    double sum[2] = {0, 0};
    static const char *const names[] = {"pthread", "spool"};
    size_t stack = (size_t)option("stack", 0);
    need(-pthread_attr_init(&attr), "pthread_attr_init");
    if (stack)
        need(-pthread_attr_setstacksize(&attr, stack < (size_t)PTHREAD_STACK_MIN ? (size_t)PTHREAD_STACK_MIN : stack),
             "pthread_attr_setstacksize");
    for (int way = 0; way < 2; way++)
        times[way] = zalloc((size_t)n, sizeof(int64_t));
    for (long at = 0; at < n; at += BLOCK) {
        for (int way = 0; way < 2; way++) {
            (void)one_round(batch, way);
            for (long i = at; i < n && i < at + BLOCK; i++) {
                if (gap)
                    sleep_ns(gap);
                times[way][i] = one_round(batch, way);
                sum[way] += (double)times[way][i];
            }
        }
    }
    need(spool_go_wait(-1), "spool_go_wait");
    for (int way = 0; way < 2; way++) {
        sort_times(times[way], (size_t)n);
        figure(percentile(times[way], (size_t)n, 0.5) / (double)batch, "%s.%s.p50", names[way], name);
        figure(percentile(times[way], (size_t)n, 0.99) / (double)batch, "%s.%s.p99", names[way], name);
        figure(sum[way] / (double)n / (double)batch, "%s.%s.mean", names[way], name);
    }
    figure(percentile(times[1], (size_t)n, 0.5) / percentile(times[0], (size_t)n, 0.5), "ratio.%s.p50", name);
    pthread_attr_destroy(&attr);
    free(times[0]);
    free(times[1]);
}

enum { SINGLE, HOT, BATCH, BATCH_HOT, BURST };

static void run(long kind)
{
    static const struct {
        const char *name;
        long batch, n, gap_us;
    } kinds[] = {
        [SINGLE] = {"single", 1, 2000, 1000},
        [HOT] = {"hot", 1, 20000, 0},
        [BATCH] = {"batch-16", 16, 1000, 1000},
        [BATCH_HOT] = {"batch-16-hot", 16, 2000, 0},
        [BURST] = {"burst-10000", BATCH_MAX, 5, 0},
    };
    long n = option("n", kinds[kind].n);
    if (n == 0)
        special_end(2, "n is 0");
    compare(kinds[kind].name, (size_t)kinds[kind].batch, n, option("gap_us", kinds[kind].gap_us) * 1000);
}

static const struct cell cells[] = {
    {"single", run, SINGLE},
    {"hot", run, HOT},
    {"batch-16", run, BATCH},
    {"batch-16-hot", run, BATCH_HOT},
    {"burst-10000", run, BURST},
};

SPECIAL_MAIN("spool_go beside pthread_create", cells)
