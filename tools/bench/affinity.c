/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * A stream between two threads while the processors that it may use change under it.
 *
 *     bounded-1, bounded-1024, rendezvous, unbounded    all processors, then one, then all again, then one, then all
 *     select-1024                                       the same, got by a select
 *     own-1, own-0                                      all, then each thread, the first one too, its own, then all ...
 *     quota-1, quota-1024                               in a control group with a quota of half a processor
 *
 * The consumer checks that no message is lost, doubled or out of order. Figures, ns for each message: all-1, one-1,
 * all-2, one-2, all-3, one after the other, or own-1 and own-2; ratio is the mean of these by that of "all"; stall is
 * the longest time in which no message came, in each kind of phase, seen every millisecond. For the quota: free-1,
 * quota, free-2.
 *
 * Options: phase_ms=MILLISECONDS of each phase, percent=QUOTA.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>

#include "special.h"

enum { BOUNDED_1, BOUNDED_1024, RENDEZVOUS, UNBOUNDED, SELECT_1024, OWN_1, OWN_0, QUOTA_1, QUOTA_1024 };
enum { PHASES = 5 };
#define STANDSTILL INT64_C(60000000000)

static const struct {
    size_t capacity;
    bool select, own;
} kinds[] = {
    [BOUNDED_1] = {.capacity = 1},
    [BOUNDED_1024] = {.capacity = 1024},
    [RENDEZVOUS] = {.capacity = 0},
    [UNBOUNDED] = {.capacity = SPOOL_UNBOUNDED},
    [SELECT_1024] = {.capacity = 1024, .select = true},
    [OWN_1] = {.capacity = 1, .own = true},
    [OWN_0] = {.capacity = 0, .own = true},
    [QUOTA_1] = {.capacity = 1},
    [QUOTA_1024] = {.capacity = 1024},
};

static spool_chan *chan;
static bool in_select;
static atomic_bool stopping;
static _Atomic uint64_t n_put, n_got;

/* ---- The stream ----------------------------------------------------------------------------------------------- */

static void *produce(void *arg)
{
    uint64_t seq = 0;
    bool bounded = spool_capacity(chan) != SPOOL_UNBOUNDED;
    (void)arg;
    for (; !atomic_load_explicit(&stopping, memory_order_relaxed); seq++) {
        need(spool_put(chan, &seq), "spool_put");
        /* An unbounded channel would take all memory while the consumer is off the processor. */
        while (!bounded && atomic_load_explicit(&n_got, memory_order_relaxed) + 1000000 < seq)
            sched_yield();
    }
    atomic_store(&n_put, seq);
    spool_close(chan);
    return NULL;
}

static void *consume(void *arg)
{
    spool_select *sel = NULL;
    uint64_t got, expected = 0;
    int r;
    (void)arg;
    if (in_select) {
        need(spool_select_new(&sel), "spool_select_new");
        need(spool_select_get(sel, chan, &got), "spool_select_get");
    }
    for (;; expected++) {
        r = sel ? spool_select_wait(sel, -1) : spool_get(chan, &got);
        if (sel && r >= 0)
            r = spool_select_result(sel, r);
        if (r < 0)
            break;
        if (got != expected)
            wrong("message %llu came as number %llu", (unsigned long long)got, (unsigned long long)expected);
        atomic_store_explicit(&n_got, expected + 1, memory_order_relaxed);
    }
    if (r != -EPIPE)
        die("the consumer", r);
    spool_select_free(sel);
    return NULL;
}

static void start_stream(long kind, pthread_t threads[2])
{
    in_select = kinds[kind].select;
    need(spool_chan_new(&chan, sizeof(uint64_t), kinds[kind].capacity), "spool_chan_new");
    need(-pthread_create(&threads[0], NULL, produce, NULL), "pthread_create");
    need(-pthread_create(&threads[1], NULL, consume, NULL), "pthread_create");
}

static void end_stream(const pthread_t threads[2])
{
    atomic_store(&stopping, true);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    if (atomic_load(&n_put) != atomic_load(&n_got))
        wrong("%llu of %llu messages came", (unsigned long long)atomic_load(&n_got),
              (unsigned long long)atomic_load(&n_put));
    spool_unref(chan);
    figure((double)atomic_load(&n_got), "messages");
}

/* ns for each message while the phase lasts. */
static double phase(const char *name, double *stall)
{
    int64_t length = option("phase_ms", 2000) * 1000000, start = now_ns(), moved = start, at = start;
    uint64_t first = atomic_load(&n_got), seen = first, got = first;
    /* A busy machine may leave a phase without a message; a stream that has lost a wake-up never goes on. */
    while (at - start < length || (got == first && at - start < STANDSTILL)) {
        sleep_ns(1000000);
        at = now_ns();
        got = atomic_load(&n_got);
        if ((double)(at - moved) > *stall)
            *stall = (double)(at - moved);
        if (got != seen)
            moved = at;
        seen = got;
    }
    if (got == first)
        wrong("the stream stands still in phase %s", name);
    double ns = (double)(at - start) / (double)(got - first);
    figure(ns, "%s", name);
    return ns;
}

/* ---- All processors and one ----------------------------------------------------------------------------------- */

static void allow(const cpu_set_t *cpus)
{
    DIR *d = opendir("/proc/self/task");
    if (!d)
        die("/proc/self/task", errno);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            need_sys(sched_setaffinity(atoi(e->d_name), sizeof *cpus, cpus), "sched_setaffinity");
    closedir(d);
}

/* The producer and the first thread, who only looks on, on one processor, the consumer on another. */
static void bind_each(const pthread_t threads[2], const cpu_set_t *one, const cpu_set_t *all)
{
    cpu_set_t other;
    CPU_ZERO(&other);
    for (size_t cpu = 0; CPU_COUNT(&other) == 0; cpu++)
        if (CPU_ISSET(cpu, all) && !CPU_ISSET(cpu, one))
            CPU_SET(cpu, &other);
    need_sys(sched_setaffinity(0, sizeof *one, one), "sched_setaffinity");
    need(-pthread_setaffinity_np(threads[0], sizeof *one, one), "pthread_setaffinity_np");
    need(-pthread_setaffinity_np(threads[1], sizeof other, &other), "pthread_setaffinity_np");
}

static void run(long kind)
{
    cpu_set_t all, one;
    pthread_t threads[2];
    double sum[2] = {0, 0}, stall[2] = {0, 0};
    need_sys(sched_getaffinity(0, sizeof all, &all), "sched_getaffinity");
    if (CPU_COUNT(&all) < 2)
        skip("there is only one processor");
    CPU_ZERO(&one);
    for (size_t cpu = 0; CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &all))
            CPU_SET(cpu, &one);
    start_stream(kind, threads);
    for (int i = 0; i < PHASES; i++) {
        char name[16];
        bool narrow = i % 2;
        snprintf(name, sizeof name, "%s-%d", !narrow ? "all" : kinds[kind].own ? "own" : "one", i / 2 + 1);
        if (narrow && kinds[kind].own)
            bind_each(threads, &one, &all);
        else
            allow(narrow ? &one : &all);
        sum[narrow] += phase(name, &stall[narrow]);
    }
    end_stream(threads);
    figure(sum[1] / (PHASES / 2) / (sum[0] / (PHASES - PHASES / 2)), "ratio");
    figure(stall[0], "all.stall");
    figure(stall[1], "%s.stall", kinds[kind].own ? "own" : "one");
}

/* ---- A quota -------------------------------------------------------------------------------------------------- */

static char group[PATH_MAX];

static bool write_to(const char *dir, const char *file, const char *text)
{
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    FILE *f = fopen(path, "r+"); /* makes no file, where it is no control group */
    if (!f)
        return false;
    bool ok = fputs(text, f) >= 0;
    return fclose(f) == 0 && ok;
}

/* A group below the root of version 2, or of version 1 with its controller of processors. */
static bool make_group(long percent)
{
    static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/cpu",
                                        "/sys/fs/cgroup/cpu,cpuacct"};
    char quota[64];
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        snprintf(group, sizeof group, "%s/spool-bench-%d", roots[i], (int)getpid());
        if (mkdir(group, 0755) < 0)
            continue;
        snprintf(quota, sizeof quota, "%ld 100000", percent * 1000);
        if (write_to(group, "cpu.max", quota))
            return true;
        snprintf(quota, sizeof quota, "%ld", percent * 1000);
        if (write_to(group, "cpu.cfs_period_us", "100000") && write_to(group, "cpu.cfs_quota_us", quota))
            return true;
        rmdir(group);
    }
    return false;
}

/* How often the kernel held the group back. */
static double count_throttled(void)
{
    char path[PATH_MAX + 64], line[128];
    double n = 0, value;
    snprintf(path, sizeof path, "%s/cpu.stat", group);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "nr_throttled %lf", &value) == 1)
            n = value;
    if (f)
        fclose(f);
    return n;
}

static void leave_group(void)
{
    char pid[32], root[PATH_MAX];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    snprintf(root, sizeof root, "%s", group);
    *strrchr(root, '/') = '\0';
    (void)write_to(root, "cgroup.procs", pid);
    rmdir(group);
}

static void run_quota(long kind)
{
    char pid[32];
    pthread_t threads[2];
    double stall[3] = {0, 0, 0}, free_ns, quota_ns;
    if (!make_group(option("percent", 50)))
        skip("no control group with a quota can be made here");
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    start_stream(kind, threads);
    free_ns = phase("free-1", &stall[0]);
    if (!write_to(group, "cgroup.procs", pid)) {
        rmdir(group);
        skip("a process cannot be moved into a control group here");
    }
    quota_ns = phase("quota", &stall[1]);
    double throttled = count_throttled();
    leave_group();
    free_ns = (free_ns + phase("free-2", &stall[2])) / 2;
    end_stream(threads);
    figure(quota_ns / free_ns, "ratio");
    figure(stall[0] > stall[2] ? stall[0] : stall[2], "free.stall");
    figure(stall[1], "quota.stall");
    figure(throttled, "throttled"); /* 0 if other load left less than the quota */
}

static const struct cell cells[] = {
    {"bounded-1", run, BOUNDED_1}, {"bounded-1024", run, BOUNDED_1024}, {"rendezvous", run, RENDEZVOUS},
    {"unbounded", run, UNBOUNDED}, {"select-1024", run, SELECT_1024},   {"own-1", run, OWN_1},
    {"own-0", run, OWN_0},         {"quota-1", run_quota, QUOTA_1},     {"quota-1024", run_quota, QUOTA_1024},
};

SPECIAL_MAIN("a stream whose processors change", cells)
