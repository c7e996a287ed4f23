/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * Checks of waking that need many rounds, on channels of every flavour. Each mode prints one "ok" line per run; the
 * program ends with "not ok" and status 1 at the first thing that is wrong, or when nothing moved for STUCK seconds.
 *
 *   herd    many threads asleep on one channel: how many wake up for one put
 *   pair    idle workers and as many puts back to back: no element waits behind a busy worker while another sleeps
 *   stream  one putter, one getter, never a pause: what a message costs in time, system calls and switches
 *
 * usage: stress [-n count] [-c capacity|unbounded] [-v variant] [-r seed] [mode ...]
 * The long runs: stress -n 1000000 herd; stress -n 1000000 pair
 */
#include "stress_util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define HERD 64
#define RACES 2

/* A bounded channel, an unbounded one, a rendezvous. */
static const size_t flavours[] = {16, SPOOL_UNBOUNDED, 0};

/* A thread that can be asked whether it sleeps, and how often it went to sleep by itself. */
struct sleeper {
    pthread_t thread;
    atomic_long tid;
    int stat_fd;
};

static void sleeper_begin(struct sleeper *s)
{
    atomic_store(&s->tid, syscall(SYS_gettid));
}

static void sleeper_join(struct sleeper *s)
{
    pthread_join(s->thread, NULL);
    close(s->stat_fd);
}

static size_t read_proc(int fd, char *text, size_t size)
{
    ssize_t n = pread(fd, text, size - 1, 0);
    check(n > 0, "reading of /proc/self/task", -errno);
    text[n] = '\0';
    return (size_t)n;
}

static int open_proc(struct sleeper *s, const char *name)
{
    char path[64];
    long tid;
    while ((tid = atomic_load(&s->tid)) == 0)
        sched_yield();
    snprintf(path, sizeof(path), "/proc/self/task/%ld/%s", tid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    check(fd >= 0, "opening of /proc/self/task", -errno);
    return fd;
}

static void wait_asleep(struct sleeper *s)
{
    char text[1024];
    if (!s->stat_fd)
        s->stat_fd = open_proc(s, "stat");
    for (;;) {
        read_proc(s->stat_fd, text, sizeof(text));
        const char *name_end = strrchr(text, ')');
        if (name_end && name_end[1] && name_end[2] == 'S')
            return;
        sched_yield();
    }
}

static long voluntary_switches(struct sleeper *s)
{
    static const char key[] = "\nvoluntary_ctxt_switches:";
    char text[8192];
    int fd = open_proc(s, "status");
    read_proc(fd, text, sizeof(text));
    close(fd);
    const char *line = strstr(text, key);
    check(line, "voluntary switches of a thread: not told", 0);
    return strtol(line + sizeof(key) - 1, NULL, 10);
}

/* ---- herd ---- */

static struct {
    spool_chan *chan;
    bool select;
    atomic_ullong taken;
    atomic_int taker;
    unsigned long long puts;
} herd;

static struct {
    struct sleeper sleeper;
    uint64_t count, sum;
} cattle[HERD];

static void herd_dump(void)
{
    fprintf(stderr, "herd: %s capacity %s: %llu put, %llu taken, len %zu\n", herd.select ? "select" : "get",
            capacity_name(spool_capacity(herd.chan)), herd.puts, herd.taken, spool_len(herd.chan));
}

static void *herd_thread(void *arg)
{
    int me = (int)(intptr_t)arg, r = 0;
    uint64_t value = 0;
    spool_select *sel = NULL;
    if (herd.select) {
        r = spool_select_new(&sel);
        check(r == 0, "herd: spool_select_new", r);
        r = spool_select_get(sel, herd.chan, &value);
        check(r == 0, "herd: spool_select_get", r);
    }
    sleeper_begin(&cattle[me].sleeper);
    for (;;) {
        if (sel) {
            r = spool_select_wait(sel, -1);
            check(r == 0, "herd: spool_select_wait", r);
            r = spool_select_result(sel, 0);
        } else {
            r = spool_get(herd.chan, &value);
        }
        if (r == -EPIPE)
            break;
        check(r == 0, "herd: get", r);
        cattle[me].sum += value;
        cattle[me].count++;
        atomic_store(&herd.taker, me);
        atomic_fetch_add(&herd.taken, 1);
    }
    spool_select_free(sel);
    return NULL;
}

/* A put, then a wait until its taker sleeps again: 1 is the least a put can wake, 64 the whole herd. */
static void herd_run(bool select, size_t capacity, uint64_t count)
{
    int r = spool_chan_new(&herd.chan, sizeof(uint64_t), capacity);
    check(r == 0, "herd: spool_chan_new", r);
    herd.select = select;
    herd.taken = herd.puts = 0;
    memset(cattle, 0, sizeof(cattle));
    dump = herd_dump;
    for (int i = 0; i < HERD; i++)
        cattle[i].sleeper.thread = start(herd_thread, (void *)(intptr_t)i);
    for (int i = 0; i < HERD; i++)
        wait_asleep(&cattle[i].sleeper);
    long switches = 0;
    for (int i = 0; i < HERD; i++)
        switches -= voluntary_switches(&cattle[i].sleeper);
    double begin = now_s();
    for (uint64_t i = 0; i < count; i++) {
        herd.puts++;
        r = spool_put(herd.chan, &i);
        check(r == 0, "herd: put", r);
        while (atomic_load(&herd.taken) <= i)
            sched_yield();
        wait_asleep(&cattle[atomic_load(&herd.taker)].sleeper);
        tick(0);
    }
    double took = now_s() - begin;
    for (int i = 0; i < HERD; i++)
        switches += voluntary_switches(&cattle[i].sleeper);
    spool_close(herd.chan);
    uint64_t sum = 0, got = 0;
    for (int i = 0; i < HERD; i++) {
        sleeper_join(&cattle[i].sleeper);
        sum += cattle[i].sum;
        got += cattle[i].count;
    }
    dump = NULL;
    herd.chan = spool_unref(herd.chan);
    check(got == count && sum == count * (count - 1) / 2, "herd: elements are wrong; got", (long long)got);
    double wakes = (double)switches / (double)count;
    printf("ok herd %s capacity %s: %" PRIu64 " puts, %d threads asleep, %.4f wake-ups per put, %.0f ns "
           "per put and sleep\n",
           select ? "select" : "get", capacity_name(capacity), count, HERD, wakes, took / (double)count * 1e9);
    /* A select that is woken although another took the element is waste, but not yet a herd. */
    double most = select ? 3 : 1.1;
    if (wakes >= most)
        fail("herd: %.4f wake-ups per put, %.1f is too many", wakes, most);
}

static void herd_all(uint64_t count)
{
    const size_t *capacities = flavours;
    size_t n = chosen(&capacities, COUNT(flavours));
    for (size_t i = 0; i < n; i++) {
        if (!only_variant || !strcmp(only_variant, "get"))
            herd_run(false, capacities[i], count);
        if (!only_variant || !strcmp(only_variant, "select"))
            herd_run(true, capacities[i], count);
    }
}

/* ---- pair ---- */

static struct {
    spool_chan *jobs, *quit;
    int workers;
    const char *kinds; /* of each worker: s a select over {jobs, quit}, g a blocking get, p poll(2) on the jobs' fd */
    atomic_ullong held;
    unsigned long long round;
    bool idle_first;
} pair;

static struct {
    struct sleeper sleeper;
    uint64_t count, sum;
} worker[8];

static void pair_dump(void)
{
    fprintf(stderr, "pair %s capacity %s: round %llu%s, %llu held, want %llu, jobs waiting %zu\n", pair.kinds,
            capacity_name(spool_capacity(pair.jobs)), pair.round, pair.idle_first ? " from idle" : "", pair.held,
            pair.round * (unsigned)pair.workers, spool_len(pair.jobs));
    for (int i = 0; i < pair.workers; i++)
        fprintf(stderr, "  worker %d (%c): %" PRIu64 " taken\n", i, pair.kinds[i], worker[i].count);
}

/* Holds the element until every worker holds one: if one waits behind a busy worker, this never ends. */
static void hold(int me, uint64_t value)
{
    unsigned long long need = (value / (unsigned)pair.workers + 1) * (unsigned)pair.workers;
    worker[me].count++;
    worker[me].sum += value;
    atomic_fetch_add(&pair.held, 1);
    while (atomic_load(&pair.held) < need)
        sched_yield();
}

static void *pair_select(void *arg)
{
    int me = (int)(intptr_t)arg, r, index;
    uint64_t value, word;
    spool_select *sel;
    r = spool_select_new(&sel);
    check(r == 0, "pair: spool_select_new", r);
    int jobs = spool_select_get(sel, pair.jobs, &value), quit = spool_select_get(sel, pair.quit, &word);
    check(jobs == 0 && quit == 1, "pair: spool_select_get", quit);
    sleeper_begin(&worker[me].sleeper);
    while ((index = spool_select_wait(sel, -1)) == jobs) {
        r = spool_select_result(sel, jobs);
        check(r == 0, "pair: spool_select_result", r);
        hold(me, value);
    }
    check(index == quit && spool_select_result(sel, quit) == -EPIPE, "pair: quit", index);
    spool_select_free(sel);
    return NULL;
}

static void *pair_get(void *arg)
{
    int me = (int)(intptr_t)arg, r;
    uint64_t value;
    sleeper_begin(&worker[me].sleeper);
    while ((r = spool_get(pair.jobs, &value)) == 0)
        hold(me, value);
    check(r == -EPIPE, "pair: spool_get", r);
    return NULL;
}

static void *pair_poll(void *arg)
{
    int me = (int)(intptr_t)arg, r = 0;
    uint64_t value;
    struct pollfd p = {.fd = spool_fd(pair.jobs), .events = POLLIN};
    check(p.fd >= 0, "pair: spool_fd", p.fd);
    sleeper_begin(&worker[me].sleeper);
    for (;;) {
        int n = poll(&p, 1, -1);
        check(n == 1 && p.revents == POLLIN, "pair: poll", p.revents);
        r = spool_try_get(pair.jobs, &value);
        if (r == -EAGAIN)
            continue;
        if (r)
            break;
        hold(me, value);
    }
    check(r == -EPIPE, "pair: spool_try_get", r);
    return NULL;
}

static void pair_round(uint64_t *rng, bool idle_first)
{
    pair.idle_first = idle_first;
    for (int i = 0; i < pair.workers && idle_first; i++)
        wait_asleep(&worker[i].sleeper);
    /* Any moment on their way to sleep, which is some looks, then some yields, then the announcement. */
    for (uint64_t spin = idle_first ? 0 : draw(rng) % (UINT64_C(1) << draw(rng) % 17); spin; spin--)
        atomic_load(&pair.held);
    uint64_t first = pair.round++ * (unsigned)pair.workers;
    for (uint64_t i = 0; i < (unsigned)pair.workers; i++) {
        int r = spool_put(pair.jobs, &(uint64_t){first + i});
        check(r == 0, "pair: spool_put", r);
    }
    while (atomic_load(&pair.held) < first + (unsigned)pair.workers)
        sched_yield();
    tick(0);
}

static void pair_run(const char *kinds, size_t capacity, uint64_t count)
{
    uint64_t rng = seeded(count + (unsigned char)kinds[0]), sum = 0;
    pair.kinds = kinds;
    pair.workers = (int)strlen(kinds);
    pair.held = pair.round = 0;
    memset(worker, 0, sizeof(worker));
    int r = spool_chan_new(&pair.jobs, sizeof(uint64_t), capacity);
    check(r == 0, "pair: spool_chan_new", r);
    r = spool_chan_new(&pair.quit, sizeof(uint64_t), 1);
    check(r == 0, "pair: spool_chan_new", r);
    dump = pair_dump;
    for (int i = 0; i < pair.workers; i++)
        worker[i].sleeper.thread =
            start(kinds[i] == 's' ? pair_select : kinds[i] == 'g' ? pair_get : pair_poll, (void *)(intptr_t)i);
    double begin = now_s();
    for (uint64_t i = 0; i < count; i++) {
        pair_round(&rng, true);
        for (int race = 0; race < RACES; race++)
            pair_round(&rng, false);
    }
    double took = now_s() - begin;
    spool_close(pair.quit);
    for (int i = 0; i < pair.workers; i++)
        if (kinds[i] == 's')
            sleeper_join(&worker[i].sleeper);
    spool_close(pair.jobs);
    for (int i = 0; i < pair.workers; i++) {
        if (kinds[i] != 's')
            sleeper_join(&worker[i].sleeper);
        check(worker[i].count == pair.round, "pair: rounds of one worker", (long long)worker[i].count);
        sum += worker[i].sum;
    }
    dump = NULL;
    uint64_t all = pair.round * (unsigned)pair.workers;
    check(sum == all * (all - 1) / 2, "pair: sum of elements", (long long)sum);
    spool_unref(pair.jobs);
    spool_unref(pair.quit);
    printf("ok pair %s capacity %s: %" PRIu64 " rounds from idle and %" PRIu64
           " on the way there, all at once, %.0f ns each\n",
           kinds, capacity_name(capacity), count, count * RACES, took / (double)pair.round * 1e9);
}

static void pair_all(uint64_t count)
{
    const char *kinds[] = {"s", "g", "p", "ss", "sg", "sp", "gp", "gg", "ssp", "sgp"};
    const size_t *capacities = flavours;
    size_t n = chosen(&capacities, COUNT(flavours));
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < COUNT(kinds); k++)
            if (!only_variant || !strcmp(only_variant, kinds[k]))
                pair_run(kinds[k], capacities[i], count);
}

/* ---- stream ---- */

/* How far the putter may be ahead of the getter in an unbounded channel. */
#define AHEAD_MAX (UINT64_C(1) << 20)

/*
 * A counter of every system call this process and its later threads make, or -1 where the kernel does not lend one
 * (it takes a mounted tracefs and the right to read it). strace counts too, but slows what it counts.
 */
static int count_calls(void)
{
    int fd = open("/sys/kernel/tracing/events/raw_syscalls/sys_enter/id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    char text[32] = "";
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return -1;
    struct perf_event_attr attr = {
        .type = PERF_TYPE_TRACEPOINT,
        .size = sizeof(attr),
        .config = strtoull(text, NULL, 10),
        .inherit = 1,
    };
    return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static struct {
    spool_chan *chan;
    uint64_t count;
    atomic_ullong got;
} stream;

static void stream_dump(void)
{
    fprintf(stderr, "stream: %llu of %" PRIu64 " got, len %zu\n", stream.got, stream.count, spool_len(stream.chan));
}

static void *stream_get(void *arg)
{
    (void)arg;
    for (uint64_t i = 0; i < stream.count; i++) {
        uint64_t value;
        int r = spool_get(stream.chan, &value);
        check(r == 0, "stream: spool_get", r);
        check(value == i, "stream: out of order", (long long)value);
        if (i % 1024 == 0) {
            atomic_store_explicit(&stream.got, i, memory_order_relaxed);
            tick(1);
        }
    }
    return NULL;
}

static void stream_run(size_t capacity, uint64_t count)
{
    int r = spool_chan_new(&stream.chan, sizeof(uint64_t), capacity);
    check(r == 0, "stream: spool_chan_new", r);
    stream.count = count;
    stream.got = 0;
    dump = stream_dump;
    int calls_fd = count_calls();
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    long switches = -use.ru_nvcsw;
    double begin = now_s();
    pthread_t getter = start(stream_get, NULL);
    for (uint64_t i = 0; i < count; i++) {
        r = spool_put(stream.chan, &i);
        check(r == 0, "stream: spool_put", r);
        if (i % 1024 == 0)
            tick(0);
        while (i % 1024 == 0 && i > AHEAD_MAX + atomic_load_explicit(&stream.got, memory_order_relaxed))
            sched_yield();
    }
    pthread_join(getter, NULL);
    double took = now_s() - begin;
    getrusage(RUSAGE_SELF, &use);
    switches += use.ru_nvcsw;
    uint64_t calls = 0;
    char counted[64] = "system calls not counted";
    if (calls_fd >= 0 && read(calls_fd, &calls, sizeof(calls)) == sizeof(calls))
        snprintf(counted, sizeof(counted), "%.6f system calls", (double)calls / (double)count);
    if (calls_fd >= 0)
        close(calls_fd);
    dump = NULL;
    spool_unref(stream.chan);
    printf("ok stream capacity %s: %" PRIu64 " messages, %.1f ns, %s, %.6f voluntary switches per message\n",
           capacity_name(capacity), count, took / (double)count * 1e9, counted, (double)switches / (double)count);
}

static void stream_all(uint64_t count)
{
    const size_t all[] = {1, 16, 128, 1024, 16384, SPOOL_UNBOUNDED, 0}, *capacities = all;
    size_t n = chosen(&capacities, COUNT(all));
    for (size_t i = 0; i < n; i++)
        stream_run(capacities[i], capacities[i] <= 1 && !one_capacity ? count / 10 + 1 : count);
}

/* ---- The program ---- */

static const struct mode modes[] = {
    {"herd", herd_all, 10000},
    {"pair", pair_all, 4000},
    {"stream", stream_all, 2000000},
};

int main(int argc, char **argv)
{
    return stress_main(argc, argv, modes, COUNT(modes));
}
