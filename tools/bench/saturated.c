/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * System calls for each message of a stream that never pauses: all producers put as fast as they can, all consumers
 * get, and each consumer checks that the messages of each producer come in order.
 *
 *     bounded-1024, bounded-4096, unbounded     one producer, one consumer
 *     mpmc-1024, mpmc-4096                      four of each
 *     select-1024                               four producers with a channel each, one consumer in a select
 *     loop-1, loop-1024                         one producer, one consumer with an epoll set of its own, that tries
 *                                               until there is nothing left each time the descriptor is readable
 *
 * Counted, in this order of preference, or by=METHOD: "perf", the kernel's tracepoint of system calls, which does not
 * slow the stream down; "strace", which does; else only context switches. What an empty stream costs is subtracted.
 * Figures for each message: calls; switches, voluntary ones; and ns, where nothing slows it down.
 *
 * Options: n=MESSAGES, by=METHOD.
 */
#define _GNU_SOURCE
#include <linux/perf_event.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "special.h"

enum { SIDES_MAX = 4 };
enum { BOUNDED_1024, BOUNDED_4096, UNBOUNDED, MPMC_1024, MPMC_4096, SELECT_1024, LOOP_1, LOOP_1024 };

struct message {
    uint32_t producer, seq;
};

struct count {
    double calls, switches, ns;
};

static const struct {
    const char *name;
    size_t capacity;
    uint32_t sides;
    bool select, loop;
} kinds[] = {
    [BOUNDED_1024] = {"bounded-1024", 1024, 1, false, false},
    [BOUNDED_4096] = {"bounded-4096", 4096, 1, false, false},
    [UNBOUNDED] = {"unbounded", SPOOL_UNBOUNDED, 1, false, false},
    [MPMC_1024] = {"mpmc-1024", 1024, 4, false, false},
    [MPMC_4096] = {"mpmc-4096", 4096, 4, false, false},
    [SELECT_1024] = {"select-1024", 1024, 4, true, false},
    [LOOP_1] = {"loop-1", 1, 1, false, true},
    [LOOP_1024] = {"loop-1024", 1024, 1, false, true},
};

static spool_chan *chans[SIDES_MAX];
static uint32_t sides, each;
static bool in_select, in_loop;
static _Atomic uint64_t n_got, sum_got;

/* ---- The stream ----------------------------------------------------------------------------------------------- */

static void *produce(void *arg)
{
    uint32_t producer = (uint32_t)(uintptr_t)arg;
    spool_chan *chan = chans[in_select ? producer : 0];
    for (uint32_t i = 0; i < each; i++) {
        struct message m = {producer, i};
        need(spool_put(chan, &m), "spool_put");
    }
    if (in_select)
        spool_close(chan);
    return NULL;
}

/* What one consumer sees of each producer goes up; that nothing is lost or doubled shows in count and sum. */
static void take(struct message m, int64_t *last, uint64_t *n, uint64_t *sum)
{
    if (m.producer >= sides || m.seq >= each || (int64_t)m.seq <= last[m.producer])
        wrong("message %u of producer %u came after %lld", m.seq, m.producer, (long long)last[m.producer]);
    last[m.producer] = m.seq;
    ++*n;
    *sum += (uint64_t)m.producer * 7 + m.seq;
}

static void *consume(void *arg)
{
    int64_t last[SIDES_MAX] = {-1, -1, -1, -1};
    uint64_t n = 0, sum = 0;
    struct message m;
    int r;
    (void)arg;
    if (in_select) {
        spool_select *sel;
        need(spool_select_new(&sel), "spool_select_new");
        for (uint32_t i = 0; i < sides; i++)
            need(spool_select_get(sel, chans[i], &m), "spool_select_get");
        while ((r = spool_select_wait(sel, -1)) >= 0)
            if (spool_select_result(sel, r) == 0)
                take(m, last, &n, &sum);
        if (r != -ENODATA)
            die("spool_select_wait", r);
        spool_select_free(sel);
    } else if (in_loop) {
        struct epoll_event event = {.events = EPOLLIN};
        int epoll = (int)need_sys(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
        need_sys(epoll_ctl(epoll, EPOLL_CTL_ADD, (int)need(spool_fd(chans[0]), "spool_fd"), &event), "epoll_ctl");
        for (r = 0; r != -EPIPE;) {
            need_sys(epoll_wait(epoll, &event, 1, -1), "epoll_wait");
            while ((r = spool_try_get(chans[0], &m)) == 0)
                take(m, last, &n, &sum);
            if (r != -EAGAIN && r != -EPIPE)
                die("spool_try_get", r);
        }
        close(epoll);
    } else {
        while ((r = spool_get(chans[0], &m)) == 0)
            take(m, last, &n, &sum);
        if (r != -EPIPE)
            die("spool_get", r);
    }
    atomic_fetch_add(&n_got, n);
    atomic_fetch_add(&sum_got, sum);
    return NULL;
}

static void stream(long kind, uint32_t n)
{
    pthread_t producers[SIDES_MAX], consumers[SIDES_MAX];
    sides = kinds[kind].sides;
    in_select = kinds[kind].select;
    in_loop = kinds[kind].loop;
    each = n / sides;
    uint32_t n_chans = in_select ? sides : 1, n_consumers = in_select ? 1 : sides;
    for (uint32_t i = 0; i < n_chans; i++)
        need(spool_chan_new(&chans[i], sizeof(struct message), kinds[kind].capacity), "spool_chan_new");
    for (uint32_t i = 0; i < n_consumers; i++)
        need(-pthread_create(&consumers[i], NULL, consume, NULL), "pthread_create");
    for (uint32_t i = 0; i < sides; i++)
        need(-pthread_create(&producers[i], NULL, produce, (void *)(uintptr_t)i), "pthread_create");
    for (uint32_t i = 0; i < sides; i++)
        pthread_join(producers[i], NULL);
    if (!in_select)
        spool_close(chans[0]);
    for (uint32_t i = 0; i < n_consumers; i++)
        pthread_join(consumers[i], NULL);
    for (uint32_t i = 0; i < n_chans; i++)
        spool_unref(chans[i]);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < sides; i++)
        sum += (uint64_t)each * i * 7 + (uint64_t)each * (each - (each > 0)) / 2;
    if (atomic_load(&n_got) != (uint64_t)each * sides || atomic_load(&sum_got) != sum)
        wrong("%llu of %llu messages came, or others", (unsigned long long)atomic_load(&n_got),
              (unsigned long long)each * sides);
    atomic_store(&n_got, 0);
    atomic_store(&sum_got, 0);
}

/* ---- Counting ------------------------------------------------------------------------------------------------- */

static long tracepoint(void)
{
    static const char *const paths[] = {"/sys/kernel/tracing/events/raw_syscalls/sys_enter/id",
                                        "/sys/kernel/debug/tracing/events/raw_syscalls/sys_enter/id"};
    long id = -1;
    for (int i = 0; i < 2 && id < 0; i++) {
        FILE *f = fopen(paths[i], "r");
        if (f && fscanf(f, "%ld", &id) != 1)
            id = -1;
        if (f)
            fclose(f);
    }
    return id;
}

/* Of this process and the threads it makes from now on; -1 where it may not be counted. */
static int open_counter(void)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_TRACEPOINT, .size = sizeof attr, .disabled = 1, .inherit = 1};
    long id = tracepoint();
    if (id < 0)
        return -1;
    attr.config = (uint64_t)id;
    return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static struct count count_stream(long kind, uint32_t n, int counter)
{
    struct rusage before, after;
    struct count c = {0};
    uint64_t calls = 0;
    getrusage(RUSAGE_SELF, &before);
    if (counter >= 0) {
        ioctl(counter, PERF_EVENT_IOC_RESET, 0);
        ioctl(counter, PERF_EVENT_IOC_ENABLE, 0);
    }
    int64_t start = now_ns();
    stream(kind, n);
    c.ns = (double)(now_ns() - start);
    if (counter >= 0) {
        ioctl(counter, PERF_EVENT_IOC_DISABLE, 0);
        if (read(counter, &calls, sizeof calls) != sizeof calls)
            die("perf", errno);
    }
    getrusage(RUSAGE_SELF, &after);
    c.calls = (double)calls;
    c.switches = (double)(after.ru_nvcsw - before.ru_nvcsw);
    return c;
}

/* Of a process that does nothing but stream. */
static double strace_stream(long kind, uint32_t n)
{
    char command[512], self[256], line[256];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    double calls = -1;
    if (len <= 0)
        return -1;
    self[len] = '\0';
    snprintf(command, sizeof command, "strace -f -q -c -U calls,name -o /dev/stderr '%s' %s by=none n=%lu 2>&1", self,
             kinds[kind].name, (unsigned long)n);
    FILE *f = popen(command, "r");
    while (f && fgets(line, sizeof line, f)) {
        double value;
        char name[64];
        if (strncmp(line, "wrong:", 6) == 0)
            wrong("under strace: %s", line + 7);
        if (sscanf(line, "%lf %63s", &value, name) == 2 && strcmp(name, "total") == 0)
            calls = value;
    }
    return f && pclose(f) == 0 ? calls : -1;
}

static void run(long kind)
{
    const char *by = option_text("by");
    bool perf = !by || strcmp(by, "perf") == 0, strace = !by || strcmp(by, "strace") == 0;
    long n = option("n", 5000000);
    if (n > UINT32_MAX)
        special_end(2, "n is out of range");
    if (by && strcmp(by, "none") == 0) {
        stream(kind, (uint32_t)n);
        return;
    }
    if (n < (long)kinds[kind].sides)
        special_end(2, "n is less than the producers");
    double messages = (double)((uint32_t)n / kinds[kind].sides * kinds[kind].sides);

    int counter = perf ? open_counter() : -1;
    struct count none = count_stream(kind, 0, counter), all = count_stream(kind, (uint32_t)n, counter);
    if (counter >= 0) {
        printf("# counted by perf\n");
        figure((all.calls - none.calls) / messages, "calls");
    } else if (strace) {
        /* A traced call takes so long that more messages would only take patience. */
        uint32_t fewer = (uint32_t)n < 500000 ? (uint32_t)n : 500000;
        double base = strace_stream(kind, 0), traced = strace_stream(kind, fewer);
        printf("# %s\n", base < 0 || traced < 0 ? "not counted: neither perf nor strace" : "counted by strace");
        if (base >= 0 && traced >= 0)
            figure((traced - base) / (double)(fewer / kinds[kind].sides * kinds[kind].sides), "calls");
    } else if (perf) {
        skip("the kernel's tracepoint of system calls is out of reach");
    }
    figure((all.switches - none.switches) / messages, "switches");
    figure(all.ns / messages, "ns");
}

static const struct cell cells[] = {
    {"bounded-1024", run, BOUNDED_1024},
    {"bounded-4096", run, BOUNDED_4096},
    {"unbounded", run, UNBOUNDED},
    {"mpmc-1024", run, MPMC_1024},
    {"mpmc-4096", run, MPMC_4096},
    {"select-1024", run, SELECT_1024},
    {"loop-1", run, LOOP_1},
    {"loop-1024", run, LOOP_1024},
};

SPECIAL_MAIN("system calls of a saturated stream", cells)
