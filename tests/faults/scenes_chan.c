/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "faults.h"

#include "scenes.h"

/* Fills it, empties it, waits in vain on both sides, polls it, and leaves some for the drop function. */
void run_bounded(void)
{
    spool_chan *c = chan_new(3);
    uint64_t v, some[3] = {3, 4, 5}, got[3];
    int fd, put_fd;
    for (v = 0; v < 3; v++)
        put_sure(c, v);
    must_be(SURE(spool_try_put(c, &v)), -EAGAIN);
    TIMES_OUT(SURE(spool_put_for(c, &v, WAIT)));
    for (v = 0; v < 3; v++)
        get_sure(c, v);
    must_be(SURE_OUT(v, spool_try_get(c, &v)), -EAGAIN);
    TIMES_OUT(SURE_OUT(v, spool_get_for(c, &v, WAIT)));
    fd = (int)MAY_FAIL(spool_fd(c));
    put_fd = (int)MAY_FAIL(spool_put_fd(c));
    must(!fd_readable(fd));
    must(fd_readable(put_fd));
    must_be(SURE(spool_put_many(c, some, 3, -1)), 3);
    for (int i = 0; i < 3; i++)
        tags_put(some[i]);
    must(fd_readable(fd));
    must_be(SURE(spool_try_put(c, some)), -EAGAIN);
    must(!fd_readable(put_fd));
    must_be(SURE(spool_get_many(c, got, 2, 0)), 2);
    for (int i = 0; i < 2; i++) {
        must_be(got[i], some[i]);
        tags_got(got[i]);
    }
    must(fd_readable(put_fd));
    get_sure(c, 5);
    must_be(SURE_OUT(v, spool_try_get(c, &v)), -EAGAIN);
    must(!fd_readable(fd));
    put_sure(c, 6);
    put_sure(c, 7);
    must(fd_readable(fd));
    must_be(SURE(spool_close(c)), 0);
    must_be(SURE(spool_try_put(c, &v)), -EPIPE);
    get_sure(c, 6);
    SURE_DONE(spool_unref(c));
}

/* Enough for several segments. The element is too large to lie in a word. */
struct large {
    uint64_t tag;
    char pad[2040];
};

void run_unbounded(void)
{
    static struct large e, got;
    static struct large many[40];
    spool_chan *c;
    uint64_t next = 0, out = 0;
    int fd;
    must_be(MAY_FAIL_OUT(c, spool_chan_new(&c, sizeof(struct large), SPOOL_UNBOUNDED)), 0);
    must_be(SURE(spool_set_drop(c, tags_drop)), 0);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 80; i++) {
            e.tag = next;
            must_be(MAY_FAIL(spool_put(c, &e)), 0);
            tags_put(next++);
        }
        for (int i = 0; i < 70; i++, out++) {
            must_be(SURE_OUT(got, spool_get(c, &got)), 0);
            must_be(got.tag, out);
            tags_got(out);
        }
    }
    fd = (int)MAY_FAIL(spool_fd(c));
    must(fd_readable(fd));
    /* A batch that is cut short by a lack of memory says how much went. */
    for (int i = 0; i < 40; i++)
        many[i].tag = next + (uint64_t)i;
    for (size_t done = 0; done < 40;) {
        long n = MAY_FAIL(spool_put_many(c, many + done, 40 - done, -1));
        must(n > 0);
        for (long i = 0; i < n; i++)
            tags_put(next++);
        done += (size_t)n;
    }
    must_be(SURE(spool_len(c)), next - out);
    SURE_DONE(spool_unref(c));
}

void run_pair(void)
{
    static const size_t capacities[] = {2, SPOOL_UNBOUNDED};
    for (int i = 0; i < 2; i++) {
        spool_chan *ends[2];
        must_be(MAY_FAIL_OUT(ends, spool_pair_new(&ends[0], &ends[1], sizeof(uint64_t), capacities[i])), 0);
        must_be(SURE(spool_set_drop(ends[0], tags_drop)), 0);
        for (int e = 0; e < 2; e++) {
            put_may_fail(ends[e], (uint64_t)(4 * i + e));
            put_may_fail(ends[e], (uint64_t)(4 * i + e + 2));
        }
        get_sure(ends[1], (uint64_t)(4 * i));
        get_sure(ends[0], (uint64_t)(4 * i + 1));
        must(fd_readable((int)MAY_FAIL(spool_fd(ends[0]))));
        must(MAY_FAIL(spool_put_fd(ends[1])) >= 0);
        /* Elements are left in both directions. */
        SURE_DONE(spool_unref(ends[0]));
        get_sure(ends[1], (uint64_t)(4 * i + 2));
        must_be(SURE(spool_put(ends[1], &(uint64_t){0})), -EPIPE);
        SURE_DONE(spool_unref(ends[1]));
    }
}

/* ---- Threads that sleep --------------------------------------------------------------------------------------- */

static int waits_for_tag(struct worker *w)
{
    uint64_t v;
    long r = SURE_OUT(v, spool_get_for(w->chan, &v, w->timeout_ns));
    if (r == 0)
        tags_got(v);
    return (int)r;
}

static int waits_for_room(struct worker *w)
{
    uint64_t v = w->index;
    long r = SURE(spool_put_for(w->chan, &v, w->timeout_ns));
    if (r == 0)
        tags_put(v);
    return (int)r;
}

static void sleeps(struct worker *w, spool_chan *c, int (*fn)(struct worker *), int64_t timeout_ns, size_t tag)
{
    memset(w, 0, sizeof(*w));
    w->chan = c;
    w->timeout_ns = timeout_ns;
    w->index = tag;
    worker_start(w, fn);
    worker_wait_asleep(w);
}

/* A getter sleeps, then a putter, for ever and for a long time. */
void run_blocked(void)
{
    struct worker w;
    for (int i = 0; i < 2; i++) {
        spool_chan *c = chan_new(i == 0 ? 1 : SPOOL_UNBOUNDED);
        sleeps(&w, c, waits_for_tag, -1, 0);
        put_may_fail(c, (uint64_t)(10 * i));
        must_be(worker_join(&w), 0);
        sleeps(&w, c, waits_for_tag, DEADLINE, 0);
        put_may_fail(c, (uint64_t)(10 * i + 1));
        must_be(worker_join(&w), 0);
        if (i == 0) {
            put_sure(c, 2);
            sleeps(&w, c, waits_for_room, -1, 3);
            get_sure(c, 2);
            must_be(worker_join(&w), 0);
            sleeps(&w, c, waits_for_room, DEADLINE, 4);
            get_sure(c, 3);
            must_be(worker_join(&w), 0);
        }
        SURE_DONE(spool_unref(c));
    }
}

void run_meet(void)
{
    spool_chan *c = chan_new(0);
    uint64_t v = 0;
    must_be(SURE(spool_try_put(c, &v)), -EAGAIN);
    must_be(SURE_OUT(v, spool_try_get(c, &v)), -EAGAIN);
    TIMES_OUT(SURE(spool_put_for(c, &v, WAIT)));
    TIMES_OUT(SURE_OUT(v, spool_get_for(c, &v, WAIT)));
    must(!fd_readable((int)MAY_FAIL(spool_fd(c))));
    must(!fd_readable((int)MAY_FAIL(spool_put_fd(c))));
    SURE_DONE(spool_unref(c));
}

void run_blocked_meet(void)
{
    spool_chan *c = chan_new(0);
    struct worker w;
    for (uint64_t i = 0; i < 2; i++) {
        sleeps(&w, c, waits_for_tag, i ? DEADLINE : -1, 0);
        if (i == 0)
            put_sure(c, 0);
        else
            put_trying(c, 1);
        must_be(worker_join(&w), 0);
        sleeps(&w, c, waits_for_room, i ? DEADLINE : -1, 2 + i);
        get_sure(c, 2 + i);
        must_be(worker_join(&w), 0);
    }
    SURE_DONE(spool_unref(c));
}

/* Sleepers on both sides, and a close or the last unref, which lets all go. */
void run_wake_all(void)
{
    static const size_t capacities[] = {1, 0, SPOOL_UNBOUNDED};
    for (int i = 0; i < 6; i++) {
        struct worker w[4];
        int n = 0;
        spool_chan *c = chan_new(capacities[i % 3]);
        for (int j = 0; j < 2; j++)
            sleeps(&w[n++], c, waits_for_tag, j ? DEADLINE : -1, 0);
        if (i < 3)
            must_be(SURE(spool_close(c)), 0);
        else
            SURE_DONE(spool_unref(c));
        for (int j = 0; j < n; j++)
            must_be(worker_join(&w[j]), -EPIPE);
        if (i < 3)
            SURE_DONE(spool_unref(c));
    }
}

/* Pollers that are no selects of ours: the counters are written, read and told on. */
void run_strangers(void)
{
    spool_chan *c = chan_new(2);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
    int epoll = epoll_create1(EPOLL_CLOEXEC), fd = (int)MAY_FAIL(spool_fd(c)), put_fd;
    uint64_t v, brim = UINT64_MAX - 1;
    must_be(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev), 0);
    put_fd = (int)MAY_FAIL(spool_put_fd(c));
    must_be(epoll_ctl(epoll, EPOLL_CTL_ADD, put_fd, &ev), 0);
    (void)epoll_wait(epoll, &ev, 1, 0);
    (void)epoll_wait(epoll, &ev, 1, 0);
    for (uint64_t i = 0; i < 4; i++) {
        must_be(SURE_OUT(v, spool_try_get(c, &v)), -EAGAIN);
        must(!fd_readable(fd));
        if (i >= 2)
            (void)!write(fd, &brim, sizeof(brim));
        put_sure(c, i);
        must(fd_readable(fd));
        must_be(epoll_wait(epoll, &ev, 1, (int)(DEADLINE / MS)), 1);
        get_sure(c, i);
    }
    put_sure(c, 4);
    put_sure(c, 5);
    must_be(SURE(spool_try_put(c, &v)), -EAGAIN);
    must(!fd_readable(put_fd));
    get_sure(c, 4);
    must(fd_readable(put_fd));
    must_be(SURE(spool_close(c)), 0);
    get_sure(c, 5);
    for (int i = 0; i < 3; i++)
        must_be(SURE_OUT(v, spool_try_get(c, &v)), -EPIPE);
    must(fd_readable(fd));
    must(fd_readable(put_fd));
    close(epoll);
    SURE_DONE(spool_unref(c));
}

/* ---- Many threads --------------------------------------------------------------------------------------------- */

enum { THREADS = 70 };

static spool_chan *many_puts_into;
static pthread_barrier_t all_are_in;

static void *puts_one(void *arg)
{
    uint64_t v = *(size_t *)arg;
    must_be(MAY_FAIL(spool_put(many_puts_into, &v)), 0);
    tags_put(v);
    (void)pthread_barrier_wait(&all_are_in);
    return NULL;
}

/* More than one page of records for threads. */
void run_many_threads(void)
{
    pthread_t threads[THREADS];
    size_t tags[THREADS];
    uint64_t v;
    many_puts_into = chan_new(SPOOL_UNBOUNDED);
    must_be(pthread_barrier_init(&all_are_in, NULL, THREADS), 0);
    for (size_t i = 0; i < THREADS; i++) {
        tags[i] = i;
        must_be(pthread_create(&threads[i], NULL, puts_one, &tags[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        must_be(pthread_join(threads[i], NULL), 0);
    for (size_t i = 0; i < THREADS; i++) {
        must_be(SURE_OUT(v, spool_get(many_puts_into, &v)), 0);
        tags_got(v);
    }
    SURE_DONE(spool_unref(many_puts_into));
}

/* ---- From nothing --------------------------------------------------------------------------------------------- */

/* In a process that has not used the library before. */
void run_first_use(void)
{
    spool_chan *c = chan_new(SPOOL_UNBOUNDED);
    put_may_fail(c, 100);
    get_sure(c, 100);
    SURE_DONE(spool_unref(c));
    run_blocked();
}

/* ---- A lock that is wanted ------------------------------------------------------------------------------------ */

enum { RIVALS = 6, TURNS = 2, HUGE_ELEM = 4 << 20 };

static spool_chan *rivals_share;

static void *exchanges_huge(void *arg)
{
    bool puts = *(bool *)arg;
    char *elem = calloc(1, HUGE_ELEM);
    must(elem);
    for (int i = 0; i < TURNS; i++)
        must_be(puts ? SURE(spool_put(rivals_share, elem)) : SURE(spool_get(rivals_share, elem)), 0);
    free(elem);
    return NULL;
}

/* Elements that take long to copy, which a rendezvous does with its lock held: others come to sleep on that. */
void run_contended(void)
{
    pthread_t threads[RIVALS];
    bool sides[] = {false, true};
    must_be(MAY_FAIL_OUT(rivals_share, spool_chan_new(&rivals_share, HUGE_ELEM, 0)), 0);
    for (int i = 0; i < RIVALS; i++)
        must_be(pthread_create(&threads[i], NULL, exchanges_huge, &sides[i % 2]), 0);
    for (int i = 0; i < RIVALS; i++)
        must_be(pthread_join(threads[i], NULL), 0);
    SURE_DONE(spool_unref(rivals_share));
}
