/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * How long after a put does the thread that waited for it go on, against the bare system calls that wake a thread.
 *
 *     select, select100    spool_put to spool_select_wait, alone or beside 100 quiet channels;
 *                          against write(2) to an eventfd and epoll_wait(2), alone or beside 100 quiet eventfds
 *     get                  spool_put to spool_get; against FUTEX_WAKE and FUTEX_WAIT
 *
 * Both take turns in blocks of 64 between the same two threads. The time runs from just before the put to just after
 * the wait; what the raw way does then to make its eventfd quiet again is not counted. The next put is made once the
 * last was received and a gap is over, in which the producer sleeps (paced) or spins (busy).
 *
 * Options: n=MESSAGES of each, gap_us=MICROSECONDS.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "special.h"

enum { BLOCK = 64, OTHERS = 100 };
enum { SELECT, SELECT_100, GET, BUSY = 4 };

struct message {
    uint64_t seq;
    int64_t sent;
};

static struct {
    long n, gap;
    bool busy, parks; /* parks: in get and in a futex, not in a select and in epoll */
    spool_chan *chan, *quiet[OTHERS];
    spool_select *sel;
    struct message elem; /* of the select's case */
    int chan_case, epoll, event;
    struct message raw; /* what the raw ways send */
    _Atomic uint32_t word;
    _Atomic uint64_t received;
    int64_t *times[2], *put_times[2]; /* raw, spool */
    long sleeps[2];
} w;

static long futex(_Atomic uint32_t *word, int op, uint32_t value)
{
    return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

/* ---- The two ways to send and to wait ------------------------------------------------------------------------- */

static void send_raw(const struct message *m)
{
    uint64_t one = 1;
    w.raw = *m;
    atomic_store_explicit(&w.word, atomic_load_explicit(&w.word, memory_order_relaxed) + 1, memory_order_release);
    if (w.parks) {
        futex(&w.word, FUTEX_WAKE, 1);
    } else if (write(w.event, &one, sizeof one) != sizeof one) {
        die("write", errno);
    }
}

static int64_t wait_raw(struct message *m, uint32_t last)
{
    struct epoll_event event;
    uint64_t value;
    int64_t at;
    if (w.parks) {
        while (atomic_load_explicit(&w.word, memory_order_acquire) == last)
            futex(&w.word, FUTEX_WAIT, last);
        at = now_ns();
    } else {
        int r;
        while ((r = epoll_wait(w.epoll, &event, 1, -1)) < 0 && errno == EINTR)
            ;
        at = now_ns();
        if (r != 1 || event.data.fd != w.event || read(w.event, &value, sizeof value) != sizeof value || value != 1)
            wrong("epoll_wait returned %d", r);
    }
    if (atomic_load_explicit(&w.word, memory_order_acquire) != last + 1)
        wrong("a wake came without a message, or with two");
    *m = w.raw;
    return at;
}

static int64_t wait_spool(struct message *m)
{
    int64_t at;
    if (w.parks) {
        int r = spool_get(w.chan, m);
        at = now_ns();
        need(r, "spool_get");
    } else {
        int r = spool_select_wait(w.sel, -1);
        at = now_ns();
        if (r != w.chan_case || spool_select_result(w.sel, r) != 0)
            wrong("spool_select_wait returned %d", r);
        *m = w.elem;
    }
    return at;
}

/* ---- The two threads ------------------------------------------------------------------------------------------ */

static long sleeps(void)
{
    struct rusage use;
    getrusage(RUSAGE_THREAD, &use);
    return use.ru_nvcsw;
}

static void *consume(void *arg)
{
    long i[2] = {0, 0};
    (void)arg;
    for (uint64_t seq = 0; seq < 2 * (uint64_t)w.n; seq++) {
        int way = seq / BLOCK % 2;
        if (i[way] == w.n)
            way = !way;
        long before = sleeps();
        struct message m;
        int64_t at = way ? wait_spool(&m) : wait_raw(&m, (uint32_t)i[0]);
        if (m.seq != seq)
            wrong("message %llu came as number %llu", (unsigned long long)m.seq, (unsigned long long)seq);
        w.times[way][i[way]++] = at - m.sent;
        w.sleeps[way] += sleeps() - before;
        atomic_store_explicit(&w.received, seq + 1, memory_order_release);
    }
    return NULL;
}

static void pause_for(int64_t ns)
{
    if (!w.busy) {
        sleep_ns(ns);
        return;
    }
    for (int64_t until = now_ns() + ns; now_ns() < until;)
        relax();
}

static void produce(void)
{
    long i[2] = {0, 0};
    for (uint64_t seq = 0; seq < 2 * (uint64_t)w.n; seq++) {
        int way = seq / BLOCK % 2;
        if (i[way] == w.n)
            way = !way;
        pause_for(w.gap);
        struct message m = {.seq = seq, .sent = now_ns()};
        if (way)
            need(spool_put(w.chan, &m), "spool_put");
        else
            send_raw(&m);
        w.put_times[way][i[way]++] = now_ns() - m.sent;
        while (atomic_load_explicit(&w.received, memory_order_acquire) <= seq) {
            if (w.busy)
                relax();
            else
                sleep_ns(w.gap / 10);
        }
    }
}

/* ---- A cell --------------------------------------------------------------------------------------------------- */

static void watch(int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    need_sys(epoll_ctl(w.epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

static void set_up(int others)
{
    static uint64_t quiet;
    need(spool_chan_new(&w.chan, sizeof(struct message), 16), "spool_chan_new");
    if (w.parks)
        return;
    need(spool_select_new(&w.sel), "spool_select_new");
    w.epoll = (int)need_sys(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    for (int i = 0; i < others; i++) {
        need(spool_chan_new(&w.quiet[i], sizeof quiet, 16), "spool_chan_new");
        need(spool_select_get(w.sel, w.quiet[i], &quiet), "spool_select_get");
        watch((int)need_sys(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd"));
    }
    w.event = (int)need_sys(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd");
    watch(w.event);
    w.chan_case = (int)need(spool_select_get(w.sel, w.chan, &w.elem), "spool_select_get");
}

static void run(long kind)
{
    pthread_t consumer;
    w.busy = kind & BUSY;
    w.parks = (kind & ~BUSY) == GET;
    w.n = option("n", w.busy ? 20000 : 10000);
    w.gap = option("gap_us", w.busy ? 200 : 1000) * 1000;
    if (w.n == 0)
        special_end(2, "n is 0");
    for (int way = 0; way < 2; way++) {
        w.times[way] = zalloc((size_t)w.n, sizeof(int64_t));
        w.put_times[way] = zalloc((size_t)w.n, sizeof(int64_t));
    }
    set_up((kind & ~BUSY) == SELECT_100 ? OTHERS : 0);
    need(-pthread_create(&consumer, NULL, consume, NULL), "pthread_create");
    produce();
    pthread_join(consumer, NULL);

    static const char *const names[] = {"raw", "spool"};
    for (int way = 0; way < 2; way++) {
        figure_times(names[way], w.times[way], (size_t)w.n);
        sort_times(w.put_times[way], (size_t)w.n);
        figure(percentile(w.put_times[way], (size_t)w.n, 0.5), "%s.put.p50", names[way]);
        figure((double)w.sleeps[way] / (double)w.n, "%s.sleeps", names[way]);
    }
    figure_ratios("ratio", w.times[1], w.times[0], (size_t)w.n);
}

static const struct cell cells[] = {
    {"select-paced", run, SELECT},          {"select-busy", run, SELECT | BUSY},
    {"select100-paced", run, SELECT_100},   {"select100-busy", run, SELECT_100 | BUSY},
    {"get-paced", run, GET},                {"get-busy", run, GET | BUSY},
};

SPECIAL_MAIN("time from a put to the thread that waited for it", cells)
