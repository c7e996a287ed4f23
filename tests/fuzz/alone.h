/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_FUZZ_ALONE_H
#define SPOOL_FUZZ_ALONE_H

/* Programs of one thread: the channels, and how the model sees them. Every call has to do exactly what the model does.
 */

#include "fuzz/input.h"
#include "fuzz/model.h"

enum { CHANS = 6, BATCH = 9, ENDS = 2 * CHANS };

enum kind { NO_CHAN, QUEUE, PAIR, AFTER, NEVER, SLOW_TICK, FAST_TICK };

/* Whether an operation would not block. Nobody knows of a clock that ticks while the program runs. */
enum ready { NO, MAYBE, YES };

struct chan {
    enum kind kind;
    size_t elem_size;
    struct model in[2]; /* what comes in at an end; a channel has one, and puts into it */
    char name[32];
    bool drops;
    int64_t start, made; /* a clock: before and after it was started */
    int64_t interval;
    uint64_t ticks; /* got from it */
    bool may_hold;  /* a clock that was closed, before anybody looked what is left in it */
    struct end {
        spool_chan *handle;
        int refs;       /* the program's */
        int cases;      /* of selects, which hold references too */
        int fd, put_fd; /* once asked for; they are not to change */
    } ends[2];
};

static struct alone {
    struct chan chans[CHANS];
    uint16_t next_tag;
    uint8_t buf[BATCH * ELEM_MAX + 64];
} alone;

static bool is_source(const struct chan *c)
{
    return c->kind >= AFTER;
}

static struct chan *chan_of(int end)
{
    return &alone.chans[end / 2];
}

static struct end *end_of(int end)
{
    return &chan_of(end)->ends[end % 2];
}

static struct model *coming_in(int end)
{
    return &chan_of(end)->in[chan_of(end)->kind == PAIR ? end % 2 : 0];
}

static struct model *going_out(int end)
{
    return &chan_of(end)->in[chan_of(end)->kind == PAIR ? 1 - end % 2 : 0];
}

static enum ready can_get(int end)
{
    if (chan_of(end)->kind == FAST_TICK && !coming_in(end)->closed)
        return MAYBE;
    return model_can_get(coming_in(end)) == -EAGAIN ? NO : YES;
}

static enum ready can_put(int end)
{
    return model_can_put(going_out(end)) == -EAGAIN ? NO : YES;
}

/* ---- Elements ------------------------------------------------------------------------------------------------- */

static bool is_elem(const struct chan *c, const void *elem, uint16_t tag)
{
    uint64_t one = 1;
    return is_source(c) ? memcmp(elem, &one, sizeof one) == 0 : elem_is(elem, c->elem_size, tag);
}

/* The intervals that a clock says have ended: not one too many, and none is forgotten. */
static void count_ticks(struct chan *c, const void *elem, int64_t before)
{
    uint64_t ticks;
    memcpy(&ticks, elem, sizeof ticks);
    EXPECT_TRUE(ticks >= 1);
    c->ticks += ticks;
    EXPECT_TRUE(c->ticks <= (uint64_t)((now_ns() - c->start) / c->interval));
    if (!c->in[0].closed)
        EXPECT_TRUE(c->ticks >= (uint64_t)((before - c->made) / c->interval));
}

/* After a get of n that returned got: what it says agrees with the model, and which elements came. */
static void check_get(int end, const uint8_t *elems, size_t n, long long got, int64_t timeout, int64_t before)
{
    struct chan *c = chan_of(end);
    struct model *m = coming_in(end);
    size_t moved = got > 0 ? (size_t)got : 0;
    if (c->kind == FAST_TICK && (!m->closed || c->may_hold)) {
        if (moved) {
            EXPECT(got, 1);
            count_ticks(c, elems, before);
        } else {
            EXPECT(got, m->closed ? -EPIPE : model_timed(-EAGAIN, timeout));
        }
        c->may_hold = false;
    } else {
        size_t want = n < m->len ? n : m->len;
        EXPECT(got, want > 0 ? (long long)want : model_timed(model_can_get(m), timeout));
        for (size_t i = 0; i < moved; i++) {
            uint16_t tag = 0;
            EXPECT(model_get(m, &tag), 0);
            EXPECT_TRUE(is_elem(c, elems + i * c->elem_size, tag));
        }
        if (c->kind == AFTER && moved)
            m->closed = true;
    }
    EXPECT_TRUE(is_untouched(elems + moved * c->elem_size, BATCH * ELEM_MAX - moved * c->elem_size));
    if (got == -ETIMEDOUT)
        EXPECT_TRUE(now_ns() - before >= timeout);
}

/* Times that would wait for ever are for calls that need not wait. */
static int64_t timeout_of(struct input *in, bool may_wait)
{
    static const int64_t endless[] = {-1, INT64_MAX, INT64_MIN, SEC};
    uint8_t b = take(in);
    if (b % 4 == 0)
        return 1 + b / 4 * 300;
    return b % 4 == 1 && !may_wait ? endless[b / 4 % COUNT(endless)] : 0;
}

/* ---- Dropping ------------------------------------------------------------------------------------------------- */

static struct {
    int end; /* whose elements are dropped now; -1: nobody's */
    unsigned n;
    bool seen[MODEL_MAX];
} drops = {.end = -1};

static void on_drop(void *elem)
{
    EXPECT_TRUE(drops.end >= 0);
    struct chan *c = chan_of(drops.end);
    struct model *m = coming_in(drops.end);
    drops.n++;
    if (c->kind == FAST_TICK) {
        count_ticks(c, elem, c->made);
        return;
    }
    for (unsigned i = 0; i < m->len; i++) {
        if (!drops.seen[i] && is_elem(c, elem, model_tag(m, i))) {
            drops.seen[i] = true;
            return;
        }
    }
    fuzz_fail(__FILE__, __LINE__, "an element that was dropped and is there", 0, 1);
}

static bool is_last_ref(int end)
{
    return end_of(end)->refs + end_of(end)->cases == 1;
}

/* Around a call that drops the last reference to an end. */
static void before_last_ref(int end)
{
    drops.end = end;
    drops.n = 0;
    memset(drops.seen, 0, sizeof drops.seen);
}

static void after_last_ref(int end)
{
    struct chan *c = chan_of(end);
    struct model *m = coming_in(end);
    drops.end = -1;
    if (c->kind == FAST_TICK)
        EXPECT_TRUE(drops.n <= (c->drops && (!m->closed || c->may_hold)));
    else
        EXPECT(drops.n, c->drops ? m->len : 0);
    c->ends[end % 2] = (struct end){.handle = NULL};
    m->len = 0;
    c->in[0].closed = c->in[1].closed = true;
    if (!c->ends[0].handle && !c->ends[1].handle)
        c->kind = NO_CHAN;
}

static void do_unref(int end)
{
    bool last = is_last_ref(end);
    CALL("spool_unref(end %lld)", end);
    if (last)
        before_last_ref(end);
    EXPECT_TRUE(spool_unref(end_of(end)->handle) == NULL);
    end_of(end)->refs--;
    if (last)
        after_last_ref(end);
}

/* ---- Making --------------------------------------------------------------------------------------------------- */

/* An end of which the program has a reference, or -1. Most that happens, happens to the first ones. */
static int pick_end(struct input *in)
{
    uint8_t b = take(in);
    int first = b < 160 ? b % 2 : b % ENDS;
    for (int i = 0; i < ENDS; i++)
        if (end_of((first + i) % ENDS)->refs > 0)
            return (first + i) % ENDS;
    return -1;
}

static void new_chan(struct input *in)
{
    static const size_t capacities[] = {1, SPOOL_UNBOUNDED, 3, 0, 2, 8};
    static const enum kind kinds[] = {QUEUE, PAIR, QUEUE, PAIR, QUEUE, AFTER, NEVER, SLOW_TICK, FAST_TICK};
    int i = 0;
    while (i < CHANS && alone.chans[i].kind != NO_CHAN)
        i++;
    if (i == CHANS)
        return;
    struct chan *c = &alone.chans[i];
    memset(c, 0, sizeof *c);
    c->kind = kinds[take(in) % COUNT(kinds)];
    bool queue = !is_source(c);
    size_t capacity = queue ? capacities[take(in) % COUNT(capacities)] : 1;
    c->elem_size = queue ? elem_sizes[take(in) % COUNT(elem_sizes)] : sizeof(uint64_t);
    c->in[0].capacity = c->in[1].capacity = capacity;
    c->start = now_ns();
    c->interval = c->kind == FAST_TICK ? 20000 : 3600 * SEC;
    CALL("new end %lld, kind %lld, elem_size %lld, capacity %lld", 2 * i, c->kind, (long long)c->elem_size,
         (long long)capacity);
    spool_chan **a = &c->ends[0].handle, **b = &c->ends[1].handle;
    int ret = -EINVAL;
    if (c->kind == QUEUE)
        ret = spool_chan_new(a, c->elem_size, capacity);
    else if (c->kind == PAIR)
        ret = spool_pair_new(a, b, c->elem_size, capacity);
    else if (c->kind == AFTER)
        ret = spool_after(a, 0);
    else if (c->kind == NEVER)
        ret = take(in) % 2 ? spool_never(a) : spool_after(a, -1);
    else
        ret = spool_tick(a, c->interval);
    EXPECT(note_result(ret), 0);
    c->made = now_ns();
    if (c->kind == AFTER)
        EXPECT(model_put(&c->in[0], 1), 0);
    c->ends[0].refs = 1;
    c->ends[1].refs = c->kind == PAIR;
}

/* ---- Puts and gets -------------------------------------------------------------------------------------------- */

static void do_put(int end, struct input *in)
{
    struct chan *c = chan_of(end);
    struct model *m = going_out(end);
    uint16_t tag = alone.next_tag++;
    uint8_t *elem = alone.buf + take(in) % 16;
    bool fits = m->capacity != SPOOL_UNBOUNDED || model_room(m) > 0;
    int64_t timeout = timeout_of(in, is_source(c) ? false : can_put(end) == NO);
    if (!fits)
        return;
    elem_fill(elem, c->elem_size, tag);
    CALL("put into end %lld, tag %lld, timeout %lld", end, tag, timeout);
    int64_t before = now_ns();
    int ret;
    if (timeout == 0 && tag % 2)
        ret = spool_try_put(c->ends[end % 2].handle, elem);
    else if (timeout == -1)
        ret = spool_put(c->ends[end % 2].handle, elem);
    else
        ret = spool_put_for(c->ends[end % 2].handle, c->elem_size ? elem : NULL, timeout);
    note_result(ret);
    EXPECT(ret, is_source(c) ? -EOPNOTSUPP : model_timed(model_put(m, tag), timeout));
    EXPECT_TRUE(elem_is(elem, c->elem_size, tag));
    if (ret == -ETIMEDOUT)
        EXPECT_TRUE(now_ns() - before >= timeout);
}

static void do_get(int end, struct input *in)
{
    struct chan *c = chan_of(end);
    uint8_t how = take(in);
    uint8_t *elem = alone.buf + how % 16;
    int64_t timeout = timeout_of(in, can_get(end) == NO);
    memset(alone.buf, UNTOUCHED, sizeof alone.buf);
    CALL("get from end %lld, timeout %lld", end, timeout);
    int64_t before = now_ns();
    int ret;
    if (timeout == 0 && how & 16)
        ret = spool_try_get(c->ends[end % 2].handle, elem);
    else if (timeout == -1)
        ret = spool_get(c->ends[end % 2].handle, c->elem_size ? elem : NULL);
    else
        ret = spool_get_for(c->ends[end % 2].handle, elem, timeout);
    note_result(ret);
    check_get(end, elem, 1, ret == 0 ? 1 : ret, timeout, before);
}

static void do_put_many(int end, struct input *in)
{
    struct chan *c = chan_of(end);
    struct model *m = going_out(end);
    size_t n = take(in) % (BATCH + 1), room = model_room(m);
    int64_t timeout = timeout_of(in, !m->closed && n > room);
    if (m->capacity == SPOOL_UNBOUNDED && n > room)
        return;
    for (size_t i = 0; i < n; i++)
        elem_fill(alone.buf + i * c->elem_size, c->elem_size, (uint16_t)(alone.next_tag + i));
    CALL("put_many into end %lld, %lld from tag %lld, timeout %lld", end, (long long)n, alone.next_tag, timeout);
    int64_t before = now_ns();
    long long ret = note_result(spool_put_many(c->ends[end % 2].handle, alone.buf, n, timeout));
    if (is_source(c)) {
        EXPECT_TRUE(ret == -EOPNOTSUPP || (n == 0 && ret == 0));
        return;
    }
    size_t fit = n < room ? n : room;
    int failed = fit == n ? 0 : model_timed(-EAGAIN, timeout);
    if (m->closed && n > 0) {
        fit = 0;
        failed = -EPIPE;
    }
    EXPECT(ret, fit > 0 ? (long long)fit : failed);
    if (failed == -ETIMEDOUT)
        EXPECT_TRUE(now_ns() - before >= timeout);
    for (size_t i = 0; i < fit; i++)
        EXPECT(model_put(m, alone.next_tag++), 0);
}

static void do_get_many(int end, struct input *in)
{
    struct chan *c = chan_of(end);
    size_t n = take(in) % (BATCH + 1);
    int64_t timeout = timeout_of(in, can_get(end) == NO);
    memset(alone.buf, UNTOUCHED, sizeof alone.buf);
    CALL("get_many from end %lld, up to %lld, timeout %lld", end, (long long)n, timeout);
    int64_t before = now_ns();
    long long ret = note_result(spool_get_many(c->ends[end % 2].handle, alone.buf, n, timeout));
    if (n == 0)
        EXPECT(ret, 0);
    else
        check_get(end, alone.buf, n, ret, timeout, before);
}

/* Enough to need more segments of an unbounded channel, and to give them back. */
static void do_flood(int end)
{
    struct chan *c = chan_of(end);
    struct model *m = going_out(end);
    if (is_source(c) || m->capacity != SPOOL_UNBOUNDED || m->closed)
        return;
    CALL("put 300 into end %lld", end);
    for (int i = 0; i < 300 && model_room(m) > 0; i++) {
        elem_fill(alone.buf, c->elem_size, alone.next_tag);
        EXPECT(spool_try_put(c->ends[end % 2].handle, alone.buf), model_put(m, alone.next_tag));
        alone.next_tag++;
    }
}

/* ---- Looking, closing ----------------------------------------------------------------------------------------- */

static void do_close(int end)
{
    struct chan *c = chan_of(end);
    CALL("spool_close(end %lld)", end);
    int ret = (int)note_result(spool_close(c->ends[end % 2].handle));
    c->may_hold = c->may_hold || (c->kind == FAST_TICK && !c->in[0].closed);
    EXPECT(ret, model_close(&c->in[0]));
    c->in[1].closed = true;
}

static void do_look(int end)
{
    struct chan *c = chan_of(end);
    spool_chan *chan = c->ends[end % 2].handle;
    const struct model *m = coming_in(end);
    CALL("look at end %lld", end);
    EXPECT(spool_alive(chan), !m->closed);
    if (c->kind == FAST_TICK)
        EXPECT_TRUE(spool_len(chan) <= (!m->closed || c->may_hold));
    else
        EXPECT(spool_len(chan), m->len);
    EXPECT(spool_capacity(chan), m->capacity);
    EXPECT(spool_elem_size(chan), c->elem_size);
    EXPECT_TRUE(strcmp(spool_name(chan), c->name) == 0);
}

/* The level agrees: readable when it should be, and if it is without reason, then not after a try that says so. */
static void check_level(int end, int fd, enum ready ready, bool put)
{
    if (ready == YES)
        EXPECT_TRUE(fd_readable(fd));
    if (ready != NO || !fd_readable(fd))
        return;
    spool_chan *chan = end_of(end)->handle;
    EXPECT(put ? spool_try_put(chan, alone.buf) : spool_try_get(chan, alone.buf), -EAGAIN);
    EXPECT_TRUE(!fd_readable(fd));
}

static void do_fd(int end)
{
    struct end *e = end_of(end);
    CALL("spool_fd(end %lld)", end);
    int fd = (int)note_result(spool_fd(e->handle));
    EXPECT_TRUE(fd >= 0 && (e->fd == 0 || e->fd == fd));
    e->fd = fd;
    check_level(end, fd, can_get(end), false);
}

static void do_put_fd(int end)
{
    struct end *e = end_of(end);
    CALL("spool_put_fd(end %lld)", end);
    int fd = (int)note_result(spool_put_fd(e->handle));
    if (is_source(chan_of(end))) {
        EXPECT(fd, -EOPNOTSUPP);
        return;
    }
    EXPECT_TRUE(fd >= 0 && (e->put_fd == 0 || e->put_fd == fd));
    e->put_fd = fd;
    check_level(end, fd, can_put(end), true);
}

static void do_set_name(int end, struct input *in)
{
    struct chan *c = chan_of(end);
    size_t len = take(in) % 34;
    char name[40] = "";
    memset(name, 'a' + (int)len % 26, len);
    CALL("spool_set_name(end %lld, %lld bytes)", end, (long long)len);
    EXPECT(note_result(spool_set_name(c->ends[end % 2].handle, name)), len <= 31 ? 0 : -ENAMETOOLONG);
    if (len <= 31)
        strcpy(c->name, name);
}

static void do_set_drop(int end, struct input *in)
{
    struct chan *c = chan_of(end);
    c->drops = take(in) % 4 != 0;
    CALL("spool_set_drop(end %lld, %lld)", end, c->drops);
    EXPECT(note_result(spool_set_drop(c->ends[end % 2].handle, c->drops ? on_drop : NULL)), 0);
}

#endif
