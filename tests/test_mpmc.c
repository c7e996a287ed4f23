/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* Many putters and getters on one channel: order, exactly once, what is visible when, and stopped threads. */

#include "util.h"

#include <linux/futex.h>
#include <semaphore.h>
#include <stdarg.h>

/* Linked in place of the C library's; stops when told to. */
long __real_syscall(long nr, ...);
long __wrap_syscall(long nr, ...);

#define MAX_SIZE 4096

static spool_chan *chan_new(size_t size, size_t capacity)
{
    spool_chan *c = NULL;

    must_be(spool_chan_new(&c, size, capacity), 0);
    return c;
}

/* ---- Exactly once, in each putter's order --------------------------------------------------------------------- */

enum { MOST_THREADS = 4 };

static struct {
    spool_chan *chan;
    size_t size;
    size_t putters, getters;
    size_t each; /* elements of one putter */
    /* A try meets no try in a rendezvous, so there only one of the sides tries. */
    bool putters_try, getters_try;
    atomic_uchar *delivered;
    atomic_size_t values[256]; /* elements of one byte: how many of each value were got */
    pthread_barrier_t start;
} flow;

/* Elements of one byte cannot say who they are: they carry two bits of their putter and six of their number. */
static uint64_t flow_tag(size_t putter, size_t n)
{
    return flow.size >= 8 ? (uint64_t)putter << 32 | n : (uint64_t)(putter << 6 | (n & 63));
}

static int flow_put(struct worker *w)
{
    char elem[MAX_SIZE];

    pthread_barrier_wait(&flow.start);
    for (size_t n = 0; n < flow.each; n++) {
        int rc;

        elem_fill(elem, flow.size, flow_tag(w->index, n));
        switch (n % 3 == 2 && !flow.putters_try ? 0 : n % 3) {
        case 0:
            rc = spool_put(flow.chan, elem);
            break;
        case 1:
            rc = spool_put_for(flow.chan, elem, DEADLINE);
            break;
        default:
            while ((rc = spool_try_put(flow.chan, elem)) == -EAGAIN)
                sched_yield();
        }
        must_be(rc, 0);
    }
    return 0;
}

static void flow_check(const char *elem, size_t next[MOST_THREADS])
{
    size_t putter;
    size_t n;

    if (flow.size < 8) {
        unsigned char v = (unsigned char)elem[0];

        putter = v >> 6;
        must(putter < flow.putters);
        if (flow.getters == 1)
            must_be(v & 63, next[putter] & 63);
        next[putter]++;
        atomic_fetch_add(&flow.values[v], 1);
        return;
    }
    putter = (size_t)(elem_tag(elem) >> 32);
    n = (uint32_t)elem_tag(elem);
    must(putter < flow.putters && n < flow.each);
    must(elem_is(elem, flow.size, elem_tag(elem)));
    must(flow.getters == 1 ? n == next[putter] : n >= next[putter]);
    next[putter] = n + 1;
    must_be(atomic_fetch_add(&flow.delivered[putter * flow.each + n], 1), 0);
}

static int flow_get(struct worker *w)
{
    size_t next[MOST_THREADS] = {0};
    char elem[MAX_SIZE];
    int rc = 0;

    pthread_barrier_wait(&flow.start);
    for (;;) {
        switch (w->count % 3 == 2 && !flow.getters_try ? 0 : w->count % 3) {
        case 0:
            rc = spool_get(flow.chan, elem);
            break;
        case 1:
            rc = spool_get_for(flow.chan, elem, DEADLINE);
            break;
        default:
            while ((rc = spool_try_get(flow.chan, elem)) == -EAGAIN)
                sched_yield();
        }
        if (rc == -EPIPE)
            return 0;
        must_be(rc, 0);
        flow_check(elem, next);
        must(spool_len(flow.chan) <= spool_capacity(flow.chan));
        w->count++;
    }
}

static void flow_run(size_t size, size_t capacity, size_t putters, size_t getters, size_t messages)
{
    struct worker w[2 * MOST_THREADS];
    size_t n = 0;
    size_t got = 0;

    flow.chan = chan_new(size, capacity);
    flow.size = size;
    flow.putters = putters;
    flow.getters = getters;
    flow.each = messages / putters + 1;
    flow.putters_try = capacity > 0 || size % 16 == 8;
    flow.getters_try = capacity > 0 || !flow.putters_try;
    flow.delivered = calloc(putters * flow.each, 1);
    must(flow.delivered);
    memset(w, 0, sizeof(w));
    must_be(pthread_barrier_init(&flow.start, NULL, (unsigned)(putters + getters)), 0);
    for (size_t i = 0; i < putters; i++, n++) {
        w[n].index = i;
        worker_start(&w[n], flow_put);
    }
    for (size_t i = 0; i < getters; i++, n++)
        worker_start(&w[n], flow_get);
    for (size_t i = 0; i < putters; i++)
        must_be(worker_join(&w[i]), 0);
    must_be(spool_close(flow.chan), 0);
    for (size_t i = putters; i < n; i++) {
        must_be(worker_join(&w[i]), 0);
        got += w[i].count;
    }
    must_be(got, putters * flow.each);
    for (size_t i = 0; size >= 8 && i < putters * flow.each; i++)
        must_be(atomic_load(&flow.delivered[i]), 1);
    for (size_t v = 0; size < 8 && v < 256; v++) {
        size_t want = v >> 6 < putters ? flow.each / 64 + ((v & 63) < flow.each % 64) : 0;

        must_be(atomic_load(&flow.values[v]), want);
    }
    free(flow.delivered);
    spool_unref(flow.chan);
}

static const size_t flow_sizes[] = {1, 8, 24, 4096};
static const size_t flow_capacities[] = {1, 3, 64, SPOOL_UNBOUNDED, 0};
static const size_t flow_threads[][2] = {{1, 1}, {4, 4}, {1, 4}, {4, 1}};

START_TEST(test_flow)
{
    size_t size = flow_sizes[_i % 4];
    size_t capacity = flow_capacities[_i / 4 % 5];
    size_t putters = flow_threads[_i / 20][0];
    size_t getters = flow_threads[_i / 20][1];

    flow_run(size, capacity, putters, getters, scaled(size > 64 ? 4000 : 12000));
}
END_TEST

/* ---- What is done is visible ---------------------------------------------------------------------------------- */

static struct {
    spool_chan *chan;
    size_t each;
    atomic_size_t done; /* puts (gets) that have returned */
} seen;

static int seen_put(struct worker *w)
{
    uint64_t v[3] = {w->index, 0, 0};

    for (size_t n = 0; n < seen.each; n++) {
        must_be(spool_put(seen.chan, v), 0);
        atomic_fetch_add(&seen.done, 1);
    }
    return 0;
}

/* The only getter knows of more puts that have returned than it has got: then a try_get never says -EAGAIN. */
START_TEST(test_put_is_visible)
{
    static const size_t capacities[] = {2, 64, SPOOL_UNBOUNDED};
    spool_chan *c = chan_new(_i % 2 ? 24 : 8, capacities[_i / 2]);
    struct worker w[3];
    size_t total;

    memset(w, 0, sizeof(w));
    seen.chan = c;
    seen.each = scaled(30000);
    total = 3 * seen.each;
    for (size_t i = 0; i < 3; i++) {
        w[i].index = i;
        worker_start(&w[i], seen_put);
    }
    for (size_t got = 0; got < total;) {
        size_t done = atomic_load(&seen.done);
        uint64_t v[3];
        int rc = spool_try_get(c, v);

        if (rc == -EAGAIN) {
            if (done > got)
                ck_abort_msg("%zu puts have returned, but the channel seems empty after %zu", done, got);
            sched_yield();
            continue;
        }
        must_be(rc, 0);
        got++;
    }
    for (size_t i = 0; i < 3; i++)
        must_be(worker_join(&w[i]), 0);
    spool_unref(c);
}
END_TEST

static int seen_get(struct worker *w)
{
    uint64_t v[3];

    (void)w;
    for (size_t n = 0; n < seen.each; n++) {
        must_be(spool_get(seen.chan, v), 0);
        atomic_fetch_add(&seen.done, 1);
    }
    return 0;
}

/* The only putter knows of a get that has returned: then there is room. */
START_TEST(test_room_is_visible)
{
    size_t capacity = _i / 2 ? 64 : 2;
    spool_chan *c = chan_new(_i % 2 ? 24 : 8, capacity);
    struct worker w[3];
    size_t total;

    memset(w, 0, sizeof(w));
    seen.chan = c;
    seen.each = scaled(30000);
    total = 3 * seen.each;
    for (size_t i = 0; i < 3; i++)
        worker_start(&w[i], seen_get);
    for (size_t put = 0; put < total;) {
        size_t done = atomic_load(&seen.done);
        uint64_t v[3] = {put, 0, 0};
        int rc = spool_try_put(c, v);

        if (rc == -EAGAIN) {
            if (put < done + capacity)
                ck_abort_msg("%zu put, %zu gets have returned, but the channel seems full", put, done);
            sched_yield();
            continue;
        }
        must_be(rc, 0);
        put++;
    }
    for (size_t i = 0; i < 3; i++)
        must_be(worker_join(&w[i]), 0);
    spool_unref(c);
}
END_TEST

enum { TAKERS = 4, SHARE = 250 };

static int take_share(struct worker *w)
{
    char elem[64] = {0};

    pthread_barrier_wait(w->more);
    for (size_t n = 0; n < SHARE; n++)
        must_be(w->index ? spool_try_put(w->chan, elem) : spool_try_get(w->chan, elem), 0);
    return 0;
}

/* A full channel has an element for each of as many getters, an empty one room for each of as many putters. */
START_TEST(test_exact_for_all)
{
    size_t rounds = scaled(60);

    for (size_t round = 0; round < rounds; round++) {
        spool_chan *c = chan_new(round % 2 ? 24 : 8, _i ? SPOOL_UNBOUNDED : TAKERS * SHARE);
        bool putting = round / 2 % 2;
        struct worker w[TAKERS];
        pthread_barrier_t start;
        char elem[64] = {0};

        memset(w, 0, sizeof(w));
        must_be(pthread_barrier_init(&start, NULL, TAKERS), 0);
        for (size_t i = 0; !putting && i < TAKERS * SHARE; i++)
            must_be(spool_try_put(c, elem), 0);
        for (size_t i = 0; i < TAKERS; i++) {
            w[i].chan = c;
            w[i].index = putting;
            w[i].more = &start;
            worker_start(&w[i], take_share);
        }
        for (size_t i = 0; i < TAKERS; i++)
            must_be(worker_join(&w[i]), 0);
        must_be(spool_len(c), putting ? TAKERS * SHARE : 0);
        must_be(putting ? spool_try_put(c, elem) : spool_try_get(c, elem), putting && _i ? 0 : -EAGAIN);
        must_be(pthread_barrier_destroy(&start), 0);
        spool_unref(c);
    }
}
END_TEST

static int put_and_get(struct worker *w)
{
    char elem[MAX_SIZE] = {0};

    for (size_t n = 0; n < w->count; n++) {
        (void)!spool_try_put(w->chan, elem);
        (void)!spool_try_get(w->chan, elem);
    }
    return 0;
}

/* Threads that fight for the last room, and mostly lose, wear nothing out: afterwards there is room for all again. */
START_TEST(test_capacity_stays)
{
    static const size_t kinds[][2] = {{8, 1}, {24, 1}, {4096, 1}, {24, 3}, {4096, 3}};
    size_t capacity = kinds[_i][1];
    spool_chan *c = chan_new(kinds[_i][0], capacity);
    struct worker w[4];
    char elem[MAX_SIZE] = {0};

    memset(w, 0, sizeof(w));
    for (size_t i = 0; i < 4; i++) {
        w[i].chan = c;
        w[i].index = i;
        w[i].count = scaled(100000);
        worker_start(&w[i], put_and_get);
    }
    for (size_t i = 0; i < 4; i++)
        must_be(worker_join(&w[i]), 0);
    while (spool_try_get(c, elem) == 0)
        ;
    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < capacity; i++)
            must_be(spool_try_put(c, elem), 0);
        must_be(spool_try_put(c, elem), -EAGAIN);
        for (size_t i = 0; i < capacity; i++)
            must_be(spool_try_get(c, elem), 0);
        must_be(spool_try_get(c, elem), -EAGAIN);
    }
    spool_unref(c);
}
END_TEST

/* ---- Order of completed puts ---------------------------------------------------------------------------------- */

enum { ORDER_PUTTERS = 3 };

static struct {
    spool_chan *chan;
    size_t each;
    atomic_size_t clock;
    struct stamps {
        size_t began, ended;
    } *puts;
} order;

static int order_put(struct worker *w)
{
    uint64_t elem[3] = {0, 0, 0};

    for (size_t n = 0; n < order.each; n++) {
        elem[0] = w->index * order.each + n;
        order.puts[elem[0]].began = atomic_fetch_add(&order.clock, 1);
        must_be(spool_put(order.chan, elem), 0);
        order.puts[elem[0]].ended = atomic_fetch_add(&order.clock, 1);
    }
    return 0;
}

/* If one put has returned before another begins, its element is got first, whoever put them. */
START_TEST(test_order)
{
    static const size_t capacities[] = {3, 50, SPOOL_UNBOUNDED, 0};
    struct worker w[ORDER_PUTTERS];
    size_t total;
    size_t *got;
    size_t latest_began = 0;

    memset(w, 0, sizeof(w));
    order.chan = chan_new(_i % 2 ? 24 : 8, capacities[_i / 2]);
    order.each = scaled(is_meet(order.chan) ? 8000 : 20000);
    total = ORDER_PUTTERS * order.each;
    order.puts = calloc(total, sizeof(*order.puts));
    got = calloc(total, sizeof(*got));
    must(order.puts && got);
    for (size_t i = 0; i < ORDER_PUTTERS; i++) {
        w[i].index = i;
        worker_start(&w[i], order_put);
    }
    for (size_t i = 0; i < total; i++) {
        uint64_t elem[3];

        must_be(spool_get_for(order.chan, elem, DEADLINE), 0);
        must(elem[0] < total);
        got[i] = (size_t)elem[0];
    }
    for (size_t i = 0; i < ORDER_PUTTERS; i++)
        must_be(worker_join(&w[i]), 0);
    for (size_t i = 0; i < total; i++) {
        if (order.puts[got[i]].ended < latest_began)
            ck_abort_msg("the element got at %zu was put before one got earlier was begun", i);
        if (order.puts[got[i]].began > latest_began)
            latest_began = order.puts[got[i]].began;
    }
    free(order.puts);
    free(got);
    spool_unref(order.chan);
}
END_TEST

/* ---- Stopped threads ------------------------------------------------------------------------------------------ */

enum { VICTIMS = 2 };

static struct {
    spool_chan *chan;
    size_t size;
    atomic_int ready;
    sem_t stopped; /* posted by each thread when it stops, and when it goes on */
    sem_t go_on[VICTIMS];
    atomic_bool end;
    _Atomic uint64_t put, got; /* sums of the tags */
} stop;

static _Thread_local size_t victim_index;

/* Stops the thread between whichever two instructions the signal found it. */
static void stop_here(int signo)
{
    int saved = errno;

    (void)signo;
    sem_post(&stop.stopped);
    while (sem_wait(&stop.go_on[victim_index]) < 0)
        ;
    sem_post(&stop.stopped);
    errno = saved;
}

static int victim(struct worker *w)
{
    char elem[64];

    victim_index = w->index;
    atomic_fetch_add(&stop.ready, 1);
    for (uint64_t n = 1; !atomic_load(&stop.end); n++) {
        uint64_t tag = (uint64_t)(w->index + 1) << 40 | n;

        elem_fill(elem, stop.size, tag);
        if (spool_try_put(stop.chan, elem) == 0)
            atomic_fetch_add(&stop.put, tag);
        if (n % 7 > 2 && spool_try_get(stop.chan, elem) == 0) {
            must(elem_is(elem, stop.size, elem_tag(elem)));
            atomic_fetch_add(&stop.got, elem_tag(elem));
        }
    }
    return 0;
}

static void stop_get_all(void)
{
    char elem[64];

    while (spool_try_get(stop.chan, elem) == 0) {
        must(elem_is(elem, stop.size, elem_tag(elem)));
        atomic_fetch_add(&stop.got, elem_tag(elem));
    }
    must_be(spool_len(stop.chan), 0);
}

/* Puts and gets a few, in turns of any length: whatever a stopped thread was about to rely on is now in other hands. */
static void stop_shuffle(uint64_t *seed)
{
    for (int turn = 0; turn < 8; turn++) {
        uint64_t n = 1 + rnd(seed) % 5;

        for (uint64_t i = 0; i < n; i++) {
            uint64_t tag = (uint64_t)8 << 40 | rnd(seed) % 1000000;
            char elem[64];

            elem_fill(elem, stop.size, tag);
            if (spool_try_put(stop.chan, elem) == 0)
                atomic_fetch_add(&stop.put, tag);
        }
        stop_get_all();
    }
}

static void wait_posts(int n)
{
    struct timespec ts;

    must_be(clock_gettime(CLOCK_REALTIME, &ts), 0);
    ts.tv_sec += DEADLINE / SEC;
    for (; n > 0; n--) {
        while (sem_timedwait(&stop.stopped, &ts) < 0)
            must_be(errno, EINTR);
    }
}

/* Lets the others come to another place. */
static void spin_below(uint64_t *seed, int64_t ns)
{
    int64_t end = now_ns() + (int64_t)(rnd(seed) % (uint64_t)ns);

    while (now_ns() < end)
        ;
}

/* With all others stopped anywhere in a put or get, one thread still drains the channel, fills it and drains it. */
START_TEST(test_stopped_anywhere)
{
    static const size_t capacities[] = {1, 2, 5, 64, SPOOL_UNBOUNDED};
    size_t capacity = capacities[_i % 5];
    size_t most = capacity == SPOOL_UNBOUNDED ? 10000 : capacity + 1;
    struct worker w[VICTIMS];
    size_t rounds = scaled(150);
    uint64_t seed = 3;

    memset(w, 0, sizeof(w));
    memset(&stop, 0, sizeof(stop));
    stop.size = _i / 5 ? 24 : 8;
    stop.chan = chan_new(stop.size, capacity);
    on_signal(SIGUSR1, stop_here);
    must_be(sem_init(&stop.stopped, 0, 0), 0);
    for (size_t i = 0; i < VICTIMS; i++) {
        must_be(sem_init(&stop.go_on[i], 0, 0), 0);
        w[i].index = i;
        worker_start(&w[i], victim);
    }
    wait_until(atomic_load(&stop.ready) == VICTIMS);
    for (uint64_t round = 1; round <= rounds; round++) {
        size_t room = 0;
        char elem[64];

        spin_below(&seed, 20 * US);
        for (size_t i = 0; i < VICTIMS; i++)
            must_be(pthread_kill(w[i].thread, SIGUSR1), 0);
        wait_posts(VICTIMS);
        stop_get_all();
        for (; room < most; room++) {
            uint64_t tag = (uint64_t)9 << 40 | round << 14 | room;

            elem_fill(elem, stop.size, tag);
            if (spool_try_put(stop.chan, elem) < 0)
                break;
            atomic_fetch_add(&stop.put, tag);
        }
        /* A stopped thread may keep one element's room, no more. */
        if (capacity == SPOOL_UNBOUNDED)
            must_be(room, most);
        else if (room > capacity || room + VICTIMS < capacity)
            ck_abort_msg("room for %zu of %zu with %d threads stopped", room, capacity, VICTIMS);
        must_be(spool_len(stop.chan), room);
        stop_get_all();
        stop_shuffle(&seed);
        for (size_t i = 0; i < VICTIMS; i++)
            must_be(sem_post(&stop.go_on[i]), 0);
        wait_posts(VICTIMS);
    }
    atomic_store(&stop.end, true);
    for (size_t i = 0; i < VICTIMS; i++)
        must_be(worker_join(&w[i]), 0);
    stop_get_all();
    must_be(atomic_load(&stop.got), atomic_load(&stop.put));
    spool_unref(stop.chan);
}
END_TEST

static int putting_victim(struct worker *w)
{
    char elem[64];

    victim_index = w->index;
    atomic_fetch_add(&stop.ready, 1);
    for (uint64_t n = 1; !atomic_load(&stop.end); n++) {
        elem_fill(elem, stop.size, n);
        must_be(spool_put(stop.chan, elem), 0);
        if (n % 3 == 0)
            nap(); /* lets the getter go to sleep, so that puts wake it */
    }
    return 0;
}

static int get_for_ever(struct worker *w)
{
    char elem[64];

    while (spool_get(stop.chan, elem) == 0)
        w->count++;
    return 0;
}

/* A putter stopped before it could wake the getter: the next put by anyone else does, and the getter gets all. */
START_TEST(test_stopped_before_waking)
{
    struct worker put;
    struct worker get;
    size_t rounds = scaled(300);
    uint64_t seed = 7;

    if (UNDER_TSAN) {
        skip("stopped_before_waking", "ThreadSanitizer delivers signals only where a thread makes a call");
        return;
    }
    memset(&put, 0, sizeof(put));
    memset(&get, 0, sizeof(get));
    memset(&stop, 0, sizeof(stop));
    stop.size = _i % 2 ? 24 : 8;
    stop.chan = chan_new(stop.size, _i / 2 ? SPOOL_UNBOUNDED : 4);
    on_signal(SIGUSR1, stop_here);
    must_be(sem_init(&stop.stopped, 0, 0), 0);
    must_be(sem_init(&stop.go_on[0], 0, 0), 0);
    worker_start(&get, get_for_ever);
    worker_start(&put, putting_victim);
    wait_until(atomic_load(&stop.ready) == 1);
    for (size_t round = 0; round < rounds; round++) {
        char elem[64];

        spin_below(&seed, 200 * US);
        must_be(pthread_kill(put.thread, SIGUSR1), 0);
        wait_posts(1);
        elem_fill(elem, stop.size, 0);
        must_be(spool_put_for(stop.chan, elem, DEADLINE), 0);
        wait_until(spool_len(stop.chan) == 0);
        must_be(sem_post(&stop.go_on[0]), 0);
        wait_posts(1);
    }
    atomic_store(&stop.end, true);
    must_be(worker_join(&put), 0);
    must_be(spool_close(stop.chan), 0);
    must_be(worker_join(&get), 0);
    spool_unref(stop.chan);
}
END_TEST

static _Thread_local bool stop_at_wake;

static void stop_at_call(void)
{
    stop_at_wake = false;
    sem_post(&stop.stopped);
    while (sem_wait(&stop.go_on[0]) < 0)
        ;
}

long __wrap_syscall(long nr, ...)
{
    long a[6];
    va_list ap;

    va_start(ap, nr);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if (stop_at_wake && (nr == SYS_write || (nr == SYS_futex && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAKE)))
        stop_at_call();
    return __real_syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int put_and_stop(struct worker *w)
{
    uint64_t v = 1;

    stop_at_wake = true;
    return w->index ? spool_close(w->chan) : spool_put(w->chan, &v);
}

static int get_some(struct worker *w)
{
    uint64_t v;
    int rc = 0;

    for (; w->count > 0 && rc == 0; w->count--)
        rc = spool_get(w->chan, &v);
    return rc;
}

/*
 * Stopped in front of the very call that would wake the getters or the poller: whoever comes next makes it, also for
 * two getters who want one element each.
 */
START_TEST(test_stopped_at_wake)
{
    int what = _i % 5;
    bool polling = what % 2;
    bool closing = what == 2 || what == 3;
    size_t n = what == 0 ? 1 : 2;
    spool_chan *c = chan_new(8, _i / 5 ? SPOOL_UNBOUNDED : 4);
    struct worker put = {.chan = c, .index = closing};
    struct worker get[2];
    uint64_t v = 2;
    int fd = -1;

    memset(get, 0, sizeof(get));
    memset(&stop, 0, sizeof(stop));
    must_be(sem_init(&stop.stopped, 0, 0), 0);
    must_be(sem_init(&stop.go_on[0], 0, 0), 0);
    if (polling) {
        fd = spool_fd(c);
        must(fd >= 0);
        must_be(spool_try_get(c, &v), -EAGAIN);
        must(!fd_readable(fd));
    }
    for (size_t i = 0; i < n && !polling; i++) {
        get[i].chan = c;
        get[i].count = n == 1 ? 2 : 1;
        worker_start(&get[i], get_some);
        worker_wait_asleep(&get[i]);
    }
    worker_start(&put, put_and_stop);
    wait_posts(1);
    must_be(spool_try_put(c, &v), closing ? -EPIPE : 0);
    if (polling)
        must(fd_wait_readable(fd));
    for (size_t i = 0; i < n && !polling; i++)
        must_be(worker_join(&get[i]), closing ? -EPIPE : 0);
    must(!atomic_load(&put.done));
    must_be(sem_post(&stop.go_on[0]), 0);
    must_be(worker_join(&put), 0);
    spool_unref(c);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("mpmc");
    TCase *tc = case_new(s, "flow");

    tcase_add_loop_test(tc, test_flow, 0, 80);

    tc = case_new(s, "visible");
    tcase_add_loop_test(tc, test_put_is_visible, 0, 6);
    tcase_add_loop_test(tc, test_room_is_visible, 0, 4);
    tcase_add_loop_test(tc, test_exact_for_all, 0, 2);
    tcase_add_loop_test(tc, test_capacity_stays, 0, 5);
    tcase_add_loop_test(tc, test_order, 0, 8);

    tc = case_new(s, "stopped");
    tcase_add_loop_test(tc, test_stopped_anywhere, 0, 10);
    tcase_add_loop_test(tc, test_stopped_before_waking, 0, 4);
    tcase_add_loop_test(tc, test_stopped_at_wake, 0, 10);
    return run_suite(s, "test_mpmc");
}
