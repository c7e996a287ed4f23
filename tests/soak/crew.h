/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_SOAK_CREW_H
#define SPOOL_SOAK_CREW_H

/*
 * The putters and getters of a round, and all the ways in which they put and get. A worker's work may pass from thread
 * to thread: one that has done some of it starts the next by spool_go, and ends.
 */

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/syscall.h>

#include "message.h"

enum { CREW = PRODUCERS + GETTERS };
#define NEVER UINT64_MAX
/* Bytes by which putters may be ahead of the getters of an unbounded channel. */
#define AHEAD_BYTES (UINT64_C(8) << 20)

/* How a worker puts or gets, for a while. */
enum style {
    MANY, /* with put_many and get_many */
    MANY_FOR,
    MANY_TRY,
    ONE,
    ONE_FOR,
    ONE_TRY,
    POLL,         /* poll(2) on the channel's descriptor, then as many as go at once */
    SELECT,       /* cases that put or get */
    SELECT_READY, /* cases that only report readiness, then as many as go at once */
    STYLES
};
static const char *const style_names[] = {"many", "many_for", "many_try", "one",         "one_for",
                                          "try",  "poll",     "select",   "select_ready"};

/* The call a worker is in. */
enum where { OUTSIDE, IN_CALL, IN_POLL, IN_SELECT, IN_NEW_SELECT, IN_GO, IN_CLOSE, IN_AHEAD };
static const char *const where_names[] = {
    "nowhere", "put or get", "poll(2)",     "spool_select_wait",
    "select",  "spool_go",   "spool_close", "wait for getters of an unbounded channel"};

/* How a round ends. */
enum life {
    FLOW,  /* putters put all, and the last one closes */
    EARLY, /* somebody closes in the midst */
    DROP,  /* the same, and getters stop at that: the rest goes to the drop function */
};

static struct {
    unsigned number, lanes;
    size_t capacity;
    bool bulk;
    enum life life;
    spool_chan *put_end[2], *get_end[2];
    bool must_wait[2];  /* in a rendezvous, getters or putters: tries do not meet tries */
    atomic_int putters; /* not done yet */
    atomic_int first_closes;
    _Atomic double began;
    atomic_bool hurry; /* putters are to stop: it takes too long */
    sem_t done;
} lap;

static struct worker {
    unsigned lane, producer;
    bool is_putter;
    spool_chan *chan, *outer;
    uint64_t rng, moves, close_at, quota, accepted;
    struct ledger *ledger;
    unsigned at_once, turn; /* messages in a batch; a count, for what is to be done rarely */
    spool_select *sel;
    _Alignas(128) atomic_uint style, where;
    atomic_int tid; /* of the thread that has the work now */
    _Alignas(128) unsigned char buffer[BATCH * ELEM_MAX];
} crew[CREW];

static atomic_bool stop;
static spool_chan *quiet; /* nothing is ever put into it */

static void work(void *arg);

static inline void at(struct worker *me, enum where where)
{
    atomic_store_explicit(&me->where, where, memory_order_relaxed);
}

/* The meter of a worker is its own, and no other thread writes it; 0 is the main thread's. */
static inline void advance(unsigned who, uint64_t n)
{
    atomic_ullong *m = &meter[who].moved;
    atomic_store_explicit(m, atomic_load_explicit(m, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline unsigned meter_of(const struct worker *me)
{
    return 1 + (unsigned)(me - crew);
}

static inline unsigned long long got_so_far(bool with_dropped)
{
    unsigned long long sum = 0;
    for (int i = 1 + PRODUCERS; i <= CREW + with_dropped; i++)
        sum += atomic_load_explicit(&meter[i].moved, memory_order_relaxed);
    return sum;
}

static inline unsigned long long put_so_far(void)
{
    unsigned long long sum = 0;
    for (int i = 1; i <= PRODUCERS; i++)
        sum += atomic_load_explicit(&meter[i].moved, memory_order_relaxed);
    return sum;
}

static void drop_one(void *elem)
{
    message_take(&ledgers[DROPPED], elem);
    advance(1 + CREW, 1);
}

static void close_lap(spool_chan *chan, bool early)
{
    int r = spool_close(chan);
    check(r == 0 || r == -EALREADY, "spool_close", r);
    if (r == 0) {
        atomic_fetch_add(&lap.first_closes, 1);
        tally.closes++;
        tally.early += early;
    }
    check(!spool_alive(chan), "spool_alive after a close", 1);
    r = spool_close(chan);
    check(r == -EALREADY, "second spool_close", r);
}

static void moved_some(struct worker *me, uint64_t n)
{
    advance(meter_of(me), n);
    bool closes = me->moves < me->close_at && me->moves + n >= me->close_at;
    me->moves += n;
    if (closes) {
        at(me, IN_CLOSE);
        close_lap(me->chan, true);
    }
}

static bool later(ssize_t r)
{
    if (r == -EAGAIN)
        sched_yield();
    return r == -EAGAIN || r == -ETIMEDOUT;
}

static int64_t short_while(struct worker *me)
{
    return (int64_t)(draw(&me->rng) % 200000);
}

/* ---- One call --------------------------------------------------------------------------------------------------- */

static ssize_t move_many(struct worker *me, void *elems, size_t n, int64_t timeout_ns)
{
    at(me, IN_CALL);
    return me->is_putter ? spool_put_many(me->chan, elems, n, timeout_ns)
                         : spool_get_many(me->chan, elems, n, timeout_ns);
}

static ssize_t move_one(struct worker *me, void *elem, enum style style)
{
    int r;
    at(me, IN_CALL);
    if (style == ONE)
        r = me->is_putter ? spool_put(me->chan, elem) : spool_get(me->chan, elem);
    else if (style == ONE_TRY)
        r = me->is_putter ? spool_try_put(me->chan, elem) : spool_try_get(me->chan, elem);
    else if (me->is_putter)
        r = spool_put_for(me->chan, elem, short_while(me));
    else
        r = spool_get_for(me->chan, elem, short_while(me));
    return r == 0 ? 1 : r;
}

static ssize_t move_polled(struct worker *me, void *elems, size_t n)
{
    int fd = me->is_putter ? spool_put_fd(me->chan) : spool_fd(me->chan);
    check(fd >= 0, me->is_putter ? "spool_put_fd" : "spool_fd", fd);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    at(me, IN_POLL);
    int r = poll(&p, 1, -1);
    check((r == 1 && p.revents == POLLIN) || (r < 0 && errno == EINTR), "poll: revents", p.revents);
    return move_many(me, elems, n, 0);
}

static ssize_t move_selected(struct worker *me, void *elems, size_t n, enum style style)
{
    at(me, IN_SELECT);
    int i = spool_select_wait(me->sel, draw(&me->rng) % 8 ? -1 : short_while(me));
    if (i < 0)
        return i;
    int r = spool_select_result(me->sel, i);
    if (r < 0)
        return r;
    return style == SELECT ? 1 : move_many(me, elems, n, 0);
}

/* Puts or gets 1 to n messages: how many, or an error. */
static ssize_t move_some(struct worker *me, void *elems, size_t n, enum style style)
{
    switch (style) {
    case MANY:
        return move_many(me, elems, n, -1);
    case MANY_FOR:
        return move_many(me, elems, n, short_while(me));
    case MANY_TRY:
        return move_many(me, elems, n, 0);
    case POLL:
        return move_polled(me, elems, n);
    case SELECT:
    case SELECT_READY:
        return move_selected(me, elems, n, style);
    default:
        return move_one(me, elems, style);
    }
}

/* ---- A worker --------------------------------------------------------------------------------------------------- */

static enum style draw_style(struct worker *me)
{
    for (;;) {
        enum style s = lap.bulk ? MANY : (enum style)(draw(&me->rng) % STYLES);
        bool waits = s == MANY || s == MANY_FOR || s == ONE || s == ONE_FOR || s == SELECT;
        if (waits || !lap.must_wait[me->is_putter])
            return s;
    }
}

static void new_select(struct worker *me, enum style style)
{
    void *elem = style == SELECT ? me->buffer : NULL;
    at(me, IN_NEW_SELECT);
    int r = spool_select_new(&me->sel);
    check(r == 0, "spool_select_new", r);
    if (draw(&me->rng) % 2) {
        r = spool_select_set_order(me->sel, SPOOL_IN_ORDER);
        check(r == 0, "spool_select_set_order", r);
    }
    r = spool_select_get(me->sel, quiet, me->buffer);
    check(r == 0, "spool_select_get: first index", r);
    for (int cases = 1 + (int)(draw(&me->rng) % 2); cases; cases--) {
        r = me->is_putter ? spool_select_put(me->sel, me->chan, elem) : spool_select_get(me->sel, me->chan, elem);
        check(r > 0, "spool_select_get or _put: index", r);
    }
}

/* Waits while putters of an unbounded channel are far ahead: memory is not what is tested. */
static void keep_pace(struct worker *me)
{
    at(me, IN_AHEAD);
    while (put_so_far() > got_so_far(true) + AHEAD_BYTES / batch.size && spool_alive(me->chan) && !stop && !lap.hurry)
        sched_yield();
}

/* Puts a batch; false when this putter is done. */
static bool put_batch(struct worker *me, enum style style)
{
    uint64_t n = style >= ONE && style <= ONE_TRY ? 1 : style == SELECT ? 1 : me->at_once;
    if (n > me->quota - me->accepted)
        n = me->quota - me->accepted;
    if (n == 0 || atomic_load_explicit(&stop, memory_order_relaxed) ||
        atomic_load_explicit(&lap.hurry, memory_order_relaxed))
        return false;
    if (lap.capacity == SPOOL_UNBOUNDED && me->turn++ % 32 == 0)
        keep_pace(me);
    for (uint64_t i = 0; i < n; i++)
        message_make(me->buffer + i * batch.size, me->producer, me->accepted + i);
    for (uint64_t done = 0; done < n;) {
        ssize_t r = move_some(me, me->buffer + done * batch.size, n - done, style);
        if (r == -EPIPE)
            return false;
        if (later(r))
            continue;
        check(r > 0 && (uint64_t)r <= n - done, "put", r);
        done += (uint64_t)r;
        me->accepted += (uint64_t)r;
        moved_some(me, (uint64_t)r);
    }
    return true;
}

static bool get_batch(struct worker *me, enum style style)
{
    if (lap.life == DROP && !spool_alive(me->chan))
        return false;
    ssize_t r = move_some(me, me->buffer, me->at_once, style);
    if (r == -EPIPE)
        return false;
    if (later(r))
        return true;
    check(r > 0 && (uint64_t)r <= me->at_once, "get", r);
    for (ssize_t i = 0; i < r; i++)
        message_take(me->ledger, me->buffer + (size_t)i * batch.size);
    moved_some(me, (uint64_t)r);
    return true;
}

/* Works in one style for a while; false when this worker is done. */
static bool work_a_while(struct worker *me)
{
    enum style style = draw_style(me);
    atomic_store_explicit(&me->style, style, memory_order_relaxed);
    me->at_once = lap.bulk ? BATCH : 1 + (unsigned)draw(&me->rng) % BATCH;
    if (style == SELECT || style == SELECT_READY)
        new_select(me, style);
    uint64_t end = me->moves + (UINT64_C(1) << (6 + draw(&me->rng) % (lap.bulk ? 14 : 9)));
    bool more = true;
    while (more && me->moves < end)
        more = me->is_putter ? put_batch(me, style) : get_batch(me, style);
    me->sel = spool_select_free(me->sel);
    return more;
}

static void finish(struct worker *me)
{
    if (me->is_putter) {
        batch.put[me->producer] = me->accepted;
        at(me, IN_CLOSE);
        if (atomic_fetch_sub(&lap.putters, 1) == 1)
            close_lap(me->chan, false);
    }
    me->chan = spool_unref(me->chan);
    at(me, OUTSIDE);
    sem_post(&lap.done);
}

static void *work_in_pthread(void *arg)
{
    work(arg);
    return NULL;
}

/* In a thread of spool_go, or of pthread_create. Keeps the outer end if asked. */
static void start_worker(struct worker *me, bool keep)
{
    at(me, IN_GO);
    if (!keep || draw(&me->rng) % 4) {
        spool_chan *outer;
        tally.gos++;
        bool kept = keep && draw(&me->rng) % 2;
        int r = spool_go(&outer, work, me, sizeof(uint64_t), 1);
        check(r == 0, "spool_go", r);
        if (kept)
            me->outer = outer;
        else
            spool_unref(outer);
        return;
    }
    pthread_detach(start(work_in_pthread, me));
}

static void work(void *arg)
{
    struct worker *me = arg;
    me->tid = (int)syscall(SYS_gettid);
    /* Says so to the outer end, which may be gone. */
    uint64_t report = (uint64_t)(me - crew);
    int r = spool_self() ? spool_put(spool_self(), &report) : 0;
    check(r == 0 || r == -EPIPE, "spool_put to the outer end", r);
    while (work_a_while(me)) {
        if (draw(&me->rng) % 8 == 0) {
            start_worker(me, false);
            return;
        }
    }
    finish(me);
}

#endif
