/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "faults.h"

#include "kernel.h"
#include "scenes.h"

#include <sys/socket.h>

static void has_result(spool_select *s, long index, long want, int result)
{
    must_be(index, want);
    must_be(SURE(spool_select_result(s, (int)index)), result);
}

/* Every kind of case, off and on again, taken out, and all of them ready. */
void run_select(void)
{
    spool_select *s = select_new();
    spool_chan *get = chan_new(2), *put = chan_new(1);
    int pipes[2];
    uint64_t into = 0, from = 1, v;
    char byte = 0;
    must_be(pipe2(pipes, O_CLOEXEC), 0);
    must_be(SURE(spool_select_wait(s, -1)), -ENODATA);
    must_be(MAY_FAIL(spool_select_get(s, get, &into)), 0);
    must_be(SURE(spool_select_wait(s, 0)), -EAGAIN);
    TIMES_OUT(SURE(spool_select_wait(s, WAIT)));
    put_sure(get, 0);
    has_result(s, SURE(spool_select_wait(s, -1)), 0, 0);
    must_be(into, 0);
    tags_got(into);
    must_be(MAY_FAIL(spool_select_put(s, put, &from)), 1);
    has_result(s, SURE(spool_select_wait(s, -1)), 1, 0);
    tags_put(1);
    must_be(SURE(spool_select_wait(s, 0)), -EAGAIN);
    get_sure(put, 1);
    must_be(MAY_FAIL(spool_select_enable(s, 1, false)), 0);
    must_be(SURE(spool_select_wait(s, 0)), -EAGAIN);
    /* The same descriptor in one case more, and in one that the set needs a duplicate for. */
    must_be(MAY_FAIL(spool_select_fd(s, pipes[0], EPOLLIN)), 2);
    must_be(MAY_FAIL(spool_select_fd(s, pipes[0], EPOLLPRI)), 3);
    must_be(MAY_FAIL(spool_select_fd(s, pipes[0], EPOLLIN | EPOLLET)), 4);
    must_be(SURE(spool_select_wait(s, 0)), -EAGAIN);
    TIMES_OUT(SURE(spool_select_wait(s, WAIT)));
    must_be(write(pipes[1], &byte, 1), 1);
    for (int seen = 0; seen != 5;) {
        long i = SURE(spool_select_wait(s, DEADLINE));
        must(i == 2 || i == 4);
        seen |= i == 2 ? 1 : 4;
        must_be(SURE(spool_select_result(s, (int)i)), EPOLLIN);
    }
    must_be(MAY_FAIL(spool_select_enable(s, 3, false)), 0);
    must_be(MAY_FAIL(spool_select_enable(s, 3, true)), 0);
    must_be(SURE(spool_select_remove(s, 3)), 0);
    must_be(MAY_FAIL(spool_select_enable(s, 2, false)), 0);
    must_be(SURE(spool_select_wait(s, 0)), -EAGAIN);
    must_be(MAY_FAIL(spool_select_enable(s, 2, true)), 0);
    has_result(s, SURE(spool_select_wait(s, -1)), 2, EPOLLIN);
    must_be(read(pipes[0], &byte, 1), 1);
    must_be(SURE(spool_select_set_order(s, SPOOL_IN_ORDER)), 0);
    must_be(MAY_FAIL(spool_select_enable(s, 1, true)), 0);
    from = 2;
    put_sure(get, 3);
    has_result(s, SURE(spool_select_wait(s, -1)), 0, 0);
    tags_got(into);
    has_result(s, SURE(spool_select_wait(s, -1)), 1, 0);
    tags_put(2);
    must_be(SURE(spool_select_wait(s, 0)), -EAGAIN);
    must_be(SURE(spool_select_remove(s, 4)), 0);
    must_be(SURE(spool_select_remove(s, 2)), 0);
    /* Closed and drained: once, and then it is no case any more. */
    must_be(SURE(spool_close(get)), 0);
    has_result(s, SURE(spool_select_wait(s, -1)), 0, -EPIPE);
    must_be(SURE(spool_select_wait(s, 0)), -EAGAIN);
    must_be(SURE_OUT(v, spool_try_get(get, &v)), -EPIPE);
    SURE_DONE(spool_select_free(s));
    SURE_DONE(spool_unref(get));
    SURE_DONE(spool_unref(put));
    close(pipes[0]);
    close(pipes[1]);
}

/* Two descriptors are ready, one is performed, and the other is so no more when its turn comes. */
void run_select_stale(void)
{
    spool_select *s = select_new();
    int fds[2];
    long first;
    for (int i = 0; i < 2; i++) {
        fds[i] = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
        must_be(MAY_FAIL(spool_select_fd(s, fds[i], EPOLLIN)), i);
    }
    first = SURE(spool_select_wait(s, -1));
    must(first == 0 || first == 1);
    for (int i = 0; i < 2; i++)
        must_be(eventfd_read(fds[i], &(eventfd_t){0}), 0);
    must_be(SURE(spool_select_wait(s, 0)), -EAGAIN);
    for (int i = 0; i < 2; i++) {
        must_be(eventfd_write(fds[i], 1), 0);
        must_be(SURE(spool_select_wait(s, -1)), i);
        must_be(eventfd_read(fds[i], &(eventfd_t){0}), 0);
    }
    SURE_DONE(spool_select_free(s));
    close(fds[0]);
    close(fds[1]);
}

enum { MANY = 20 };

/* Its arrays grow, twice; each channel works after that. */
void run_select_many(void)
{
    spool_select *s = select_new();
    spool_chan *c[MANY];
    uint64_t into[MANY];
    for (int i = 0; i < MANY; i++) {
        c[i] = chan_new(1);
        must_be(MAY_FAIL(spool_select_get(s, c[i], &into[i])), i);
    }
    for (int i = MANY - 1; i >= 0; i -= 3) {
        put_sure(c[i], (uint64_t)i);
        must_be(SURE(spool_select_wait(s, -1)), i);
        tags_got(into[i]);
    }
    SURE_DONE(spool_select_free(s));
    for (int i = 0; i < MANY; i++)
        SURE_DONE(spool_unref(c[i]));
}

/* ---- Asleep --------------------------------------------------------------------------------------------------- */

/* timeout_ns as of the worker; tells the index, and notes what it got. */
static int waits_in_select(struct worker *w)
{
    long i = SURE(spool_select_wait(w->sel, w->timeout_ns));
    if (i >= 0 && SURE(spool_select_result(w->sel, (int)i)) == 0 && w->elem)
        tags_got(*(uint64_t *)w->elem);
    return (int)i;
}

static void sleeps(struct worker *w, spool_select *s, int64_t timeout_ns, uint64_t *into)
{
    memset(w, 0, sizeof(*w));
    w->sel = s;
    w->timeout_ns = timeout_ns;
    w->elem = into;
    worker_start(w, waits_in_select);
    worker_wait_asleep(w);
}

/* Woken by a put, by room, by a pipe and by a close, with and without a limit of time. */
void run_select_blocked(void)
{
    spool_select *s = select_new();
    spool_chan *get = chan_new(1), *put = chan_new(1);
    int pipes[2];
    uint64_t into = 0, from = 1;
    struct worker w;
    must_be(pipe2(pipes, O_CLOEXEC), 0);
    must_be(MAY_FAIL(spool_select_get(s, get, &into)), 0);
    must_be(MAY_FAIL(spool_select_put(s, put, &from)), 1);
    must_be(MAY_FAIL(spool_select_fd(s, pipes[0], EPOLLIN)), 2);
    put_sure(put, 0);
    for (int i = 0; i < 2; i++) {
        int64_t limit = i ? DEADLINE : -1;
        sleeps(&w, s, limit, &into);
        put_sure(get, (uint64_t)(10 + i));
        must_be(worker_join(&w), 0);
        sleeps(&w, s, limit, NULL);
        from = (uint64_t)i + 1;
        tags_put(from);
        get_sure(put, (uint64_t)i);
        must_be(worker_join(&w), 1);
        sleeps(&w, s, limit, NULL);
        must_be(write(pipes[1], "", 1), 1);
        must_be(worker_join(&w), 2);
        must_be(read(pipes[0], &(char){0}, 1), 1);
    }
    sleeps(&w, s, -1, NULL);
    must_be(SURE(spool_close(get)), 0);
    must_be(worker_join(&w), 0);
    SURE_DONE(spool_select_free(s));
    SURE_DONE(spool_unref(get));
    SURE_DONE(spool_unref(put));
    close(pipes[0]);
    close(pipes[1]);
}

static int puts_one(struct worker *w)
{
    uint64_t v = w->index;
    tags_put(v);
    return (int)SURE(spool_put(w->chan, &v));
}

static int gets_one(struct worker *w)
{
    uint64_t v;
    long r = SURE_OUT(v, spool_get(w->chan, &v));
    tags_got(v);
    return (int)r;
}

/* Rendezvous of a select with threads and with another select. */
void run_select_meet(void)
{
    spool_chan *c = chan_new(0), *other = chan_new(0);
    spool_select *gets = select_new(), *puts = select_new();
    uint64_t into = 0, from = 1;
    struct worker w, t;
    must_be(MAY_FAIL(spool_select_get(gets, c, &into)), 0);
    must_be(MAY_FAIL(spool_select_get(gets, other, &into)), 1);
    must_be(MAY_FAIL(spool_select_put(puts, c, &from)), 0);
    TIMES_OUT(SURE(spool_select_wait(gets, WAIT)));
    sleeps(&w, gets, -1, &into);
    put_sure(c, 0);
    must_be(worker_join(&w), 0);
    sleeps(&w, puts, DEADLINE, NULL);
    tags_put(1);
    get_sure(c, 1);
    must_be(worker_join(&w), 0);
    memset(&t, 0, sizeof(t));
    t.chan = other;
    t.index = 2;
    worker_start(&t, puts_one);
    worker_wait_asleep(&t);
    must_be(SURE(spool_select_wait(gets, -1)), 1);
    tags_got(into);
    must_be(worker_join(&t), 0);
    memset(&t, 0, sizeof(t));
    t.chan = c;
    worker_start(&t, gets_one);
    worker_wait_asleep(&t);
    from = 3;
    tags_put(3);
    must_be(SURE(spool_select_wait(puts, -1)), 0);
    must_be(worker_join(&t), 0);
    sleeps(&w, gets, -1, &into);
    from = 4;
    tags_put(4);
    must_be(SURE(spool_select_wait(puts, -1)), 0);
    must_be(worker_join(&w), 0);
    SURE_DONE(spool_select_free(gets));
    SURE_DONE(spool_select_free(puts));
    SURE_DONE(spool_unref(c));
    SURE_DONE(spool_unref(other));
}

/* In another loop, by its descriptor. */
void run_select_nested(void)
{
    spool_select *s = select_new();
    spool_chan *c = chan_new(4), *meet = chan_new(0);
    uint64_t into = 0;
    int fd;
    must_be(MAY_FAIL(spool_select_get(s, c, &into)), 0);
    put_sure(c, 0);
    put_sure(c, 1);
    fd = (int)MAY_FAIL(spool_select_poll_fd(s));
    for (uint64_t i = 0; i < 2; i++) {
        must(fd_wait_readable(fd));
        must_be(SURE(spool_select_wait(s, 0)), 0);
        must_be(into, i);
        tags_got(into);
    }
    must_be(SURE(spool_select_wait(s, 0)), -EAGAIN);
    must(!fd_readable(fd));
    put_sure(c, 2);
    must(fd_wait_readable(fd));
    must_be(MAY_FAIL(spool_select_get(s, meet, &into)), 1);
    must_be(SURE(spool_select_wait(s, 0)), 0);
    tags_got(into);
    must_be(SURE(spool_select_remove(s, 1)), 0);
    must_be(SURE(spool_close(c)), 0);
    must(fd_wait_readable(fd));
    must_be(SURE(spool_select_wait(s, 0)), 0);
    must_be(SURE(spool_select_wait(s, 0)), -ENODATA);
    SURE_DONE(spool_select_free(s));
    SURE_DONE(spool_unref(c));
    SURE_DONE(spool_unref(meet));
}

/* A put case on an unbounded channel: without memory it is its result that says so, and the element stays here. */
void run_select_unbounded(void)
{
    static char from[2048], got[2048];
    spool_select *s = select_new();
    spool_chan *c;
    bool failed = false;
    must_be(MAY_FAIL_OUT(c, spool_chan_new(&c, sizeof(from), SPOOL_UNBOUNDED)), 0);
    must_be(SURE(spool_set_drop(c, tags_drop)), 0);
    must_be(MAY_FAIL(spool_select_put(s, c, from)), 0);
    for (uint64_t i = 0; i < 80;) {
        long r;
        memcpy(from, &i, sizeof(i));
        must_be(SURE(spool_select_wait(s, -1)), 0);
        r = SURE(spool_select_result(s, 0));
        if (r == -ENOMEM && !failed && scene_met(F_MAP, NULL)) {
            failed = true;
            continue;
        }
        must_be(r, 0);
        tags_put(i++);
    }
    must_be(SURE(spool_len(c)), 80);
    must_be(SURE_OUT(got, spool_get(c, got)), 0);
    tags_drop(got);
    SURE_DONE(spool_select_free(s));
    SURE_DONE(spool_unref(c));
}

/* Over channels that the kernel holds, which the set shows by their level. */
void run_select_source(void)
{
    spool_select *s = select_new();
    spool_chan *after, *tick, *never;
    uint64_t into = 0;
    int ends = 0;
    must_be(MAY_FAIL_OUT(never, spool_never(&never)), 0);
    must_be(MAY_FAIL(spool_select_get(s, never, NULL)), 0);
    must_be(SURE(spool_select_wait(s, 0)), -EAGAIN);
    must_be(MAY_FAIL_OUT(after, spool_after(&after, MS)), 0);
    must_be(MAY_FAIL_OUT(tick, spool_tick(&tick, MS)), 0);
    must_be(MAY_FAIL(spool_select_get(s, after, &into)), 1);
    must_be(MAY_FAIL(spool_select_get(s, tick, &into)), 2);
    for (int after_times = 0, ticks = 0; after_times < 2 || ticks < 2;) {
        long i = SURE(spool_select_wait(s, -1));
        must(i == 1 || i == 2);
        if (i == 1)
            must_be(SURE(spool_select_result(s, 1)), after_times++ ? -EPIPE : 0);
        else
            ticks += SURE(spool_select_result(s, 2)) == 0;
        must(into >= 1);
    }
    must_be(SURE(spool_close(tick)), 0);
    must_be(SURE(spool_close(never)), 0);
    for (long i; (i = SURE(spool_select_wait(s, DEADLINE))) != -ENODATA;) {
        must(i >= 0);
        ends += SURE(spool_select_result(s, (int)i)) == -EPIPE;
    }
    must_be(ends, 2);
    SURE_DONE(spool_select_free(s));
    SURE_DONE(spool_unref(after));
    SURE_DONE(spool_unref(tick));
    SURE_DONE(spool_unref(never));
}
