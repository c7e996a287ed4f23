/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Batches: all of it in order, what was not moved stays with the caller, and one wake-up for all of it. */
#include "select_util.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdarg.h>

/*
 * Linked in place of the C library's; counts what wakes others. Who was woken goes on only when the caller is back from
 * what he calls: else it cannot know whether he made the call that he still has a mark for, and makes it once more.
 */
long __real_syscall(long nr, ...);
long __wrap_syscall(long nr, ...);

static _Thread_local long my_wakes;
static atomic_long all_wakes;
static atomic_bool calling;

static bool is_sleep(long nr, long op)
{
#ifdef SYS_epoll_pwait2
    if (nr == SYS_epoll_pwait2)
        return true;
#endif
    return nr == SYS_epoll_pwait || (nr == SYS_futex && (op & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET);
}

long __wrap_syscall(long nr, ...)
{
    long a[6];
    va_list ap;
    va_start(ap, nr);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if (nr == SYS_write || (nr == SYS_futex && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAKE)) {
        my_wakes++;
        atomic_fetch_add(&all_wakes, 1);
    }
    long ret = __real_syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    while (is_sleep(nr, a[1]) && atomic_load(&calling))
        sched_yield();
    return ret;
}

static const size_t sizes[] = {0, 1, 8, 24};
static const size_t capacities[] = {1, 3, 64, SPOOL_UNBOUNDED, 0};

enum { SIZES = COUNT(sizes), CAPACITIES = COUNT(capacities), LONGEST = 200 };

static spool_chan *new_chan(size_t size, size_t capacity)
{
    spool_chan *chan = NULL;
    must_be(spool_chan_new(&chan, size, capacity), 0);
    return chan;
}

/* Elements with the tags from first on. */
static void fill_batch(char *elems, size_t size, uint64_t first, size_t n)
{
    for (size_t i = 0; i < n; i++)
        elem_fill(elems + i * size, size, first + i);
}

static void check_batch(const char *elems, size_t size, uint64_t first, size_t n)
{
    for (size_t i = 0; i < n; i++)
        must(elem_is(elems + i * size, size, first + i));
}

/* ---- One thread ----------------------------------------------------------------------------------------------- */

START_TEST(bad_arguments)
{
    const size_t too_many = (size_t)SSIZE_MAX + 1;
    uint64_t v[2] = {1, 2};
    spool_chan *chan = new_chan(8, capacities[_i]), *none = new_chan(0, capacities[_i]);
    errno = 4242;
    must_be(spool_put_many(NULL, v, 1, 0), -EINVAL);
    must_be(spool_get_many(NULL, v, 1, 0), -EINVAL);
    must_be(spool_put_many(NULL, v, 0, 0), -EINVAL);
    must_be(spool_get_many(NULL, v, 0, -1), -EINVAL);
    for (int64_t timeout = -1; timeout < 2; timeout++) {
        must_be(spool_put_many(chan, NULL, 1, timeout), -EINVAL);
        must_be(spool_get_many(chan, NULL, 1, timeout), -EINVAL);
        must_be(spool_put_many(chan, v, too_many, timeout), -EINVAL);
        must_be(spool_get_many(chan, v, too_many, timeout), -EINVAL);
        must_be(spool_put_many(chan, v, SIZE_MAX, timeout), -EINVAL);
        must_be(spool_get_many(chan, v, SIZE_MAX, timeout), -EINVAL);
        must_be(spool_put_many(none, NULL, too_many, timeout), -EINVAL);
        must_be(spool_put_many(chan, v, 0, timeout), 0);
        must_be(spool_get_many(chan, v, 0, timeout), 0);
        must_be(spool_put_many(chan, NULL, 0, timeout), 0);
        must_be(spool_get_many(chan, NULL, 0, timeout), 0);
    }
    must_be(errno, 4242);
    must_be(spool_len(chan), 0);
    must_be(spool_try_get(chan, v), -EAGAIN);
    must_be(spool_try_get(none, NULL), -EAGAIN);
    must_be(v[0], 1);
    must_be(spool_close(chan), 0);
    must_be(spool_put_many(chan, v, 0, -1), 0);
    must_be(spool_get_many(chan, v, 0, -1), 0);
    must_be(spool_put_many(chan, v, 2, -1), -EPIPE);
    must_be(spool_get_many(chan, v, 2, -1), -EPIPE);
    spool_unref(chan);
    spool_unref(none);
}
END_TEST

/* What fits goes, exactly; the rest is not in the channel. */
START_TEST(without_waiting)
{
    char in[LONGEST * 24], out[LONGEST * 24];
    size_t size = sizes[_i % SIZES];
    spool_chan *chan = new_chan(size, capacities[_i / SIZES]);
    size_t room = fill_of(chan, 100);
    uint64_t first = 0;
    for (size_t n = 1; n <= 100; n += 3) {
        size_t fits = n < room ? n : room;
        fill_batch(in, size, first, n);
        must_be(spool_put_many(chan, in, n, 0), fits);
        must_be(spool_len(chan), fits);
        if (fits < n) {
            must_be(spool_put_many(chan, in, n, 0), -EAGAIN);
            must_be(spool_put_many(chan, in, n, 2 * MS), -ETIMEDOUT);
        }
        check_batch(in, size, first, n);
        /* In two pieces, the second of which asks for more than there is. */
        size_t part = fits / 2;
        memset(out, 0x77, sizeof(out));
        must_be(spool_get_many(chan, out, part, 0), part);
        must_be(spool_get_many(chan, out + part * size, LONGEST - part, n % 2 ? 0 : -1), fits - part);
        check_batch(out, size, first, fits);
        must(fits * size >= sizeof(out) || out[fits * size] == 0x77);
        must_be(spool_get_many(chan, out, n, 0), -EAGAIN);
        must_be(spool_get_many(chan, out, n, 2 * MS), -ETIMEDOUT);
        first += fits;
    }
    spool_unref(chan);
}
END_TEST

/* What was put before the close is got, in pieces, and then the end is seen. */
START_TEST(closed_with_some_left)
{
    char in[LONGEST * 24], out[LONGEST * 24];
    size_t size = sizes[_i % SIZES];
    spool_chan *chan = new_chan(size, capacities[_i / SIZES]);
    size_t room = fill_of(chan, 100), got = 0;
    fill_batch(in, size, 5, room);
    must_be(spool_put_many(chan, in, room, -1), room);
    must_be(spool_close(chan), 0);
    must_be(spool_put_many(chan, in, 3, -1), -EPIPE);
    must_be(spool_put_many(chan, in, 3, 0), -EPIPE);
    for (size_t n = 1; got < room; n++) {
        ssize_t r = spool_get_many(chan, out, n, n % 3 ? -1 : 0);
        must_be(r, n < room - got ? n : room - got);
        check_batch(out, size, 5 + got, (size_t)r);
        got += (size_t)r;
    }
    for (int64_t timeout = -1; timeout < 2; timeout++)
        must_be(spool_get_many(chan, out, 7, timeout), -EPIPE);
    spool_unref(chan);
}
END_TEST

/* In a rendezvous as many go as wait on the other side. */
START_TEST(without_waiting_in_a_rendezvous)
{
    spool_chan *chan = chan_of(0);
    for (size_t waiting = 0; waiting < 6; waiting++) {
        for (size_t n = 1; n < 8; n += 2) {
            uint64_t v[8] = {10, 11, 12, 13, 14, 15, 16, 17};
            size_t fits = n < waiting ? n : waiting;
            for (size_t i = 0; i < waiting; i++)
                worker_wait_asleep(&partner_of(chan, 100 + i, _i ? worker_put : worker_get)->worker);
            ssize_t r = _i ? spool_get_many(chan, v, n, 0) : spool_put_many(chan, v, n, 0);
            must_be(r, fits ? (ssize_t)fits : -EAGAIN);
            for (size_t i = 0; i < fits && _i; i++)
                must_be(v[i], 100 + i);
            for (size_t i = fits; i < waiting; i++)
                must_be(_i ? spool_try_get(chan, &v[i]) : spool_try_put(chan, &v[i]), 0);
            join_partners();
            for (size_t i = 0; i < waiting && !_i; i++)
                must_be(partners[i].value, 10 + i);
            must_be(spool_len(chan), 0);
        }
    }
    spool_unref(chan);
}
END_TEST

/* ---- All of it, in order -------------------------------------------------------------------------------------- */

enum { PUTTERS = 3, GETTERS = 2 };

static struct {
    spool_chan *chan;
    size_t size, each, putters;
    ssize_t moved[PUTTERS]; /* of each putter, as it was told */
    atomic_uchar *seen;
    atomic_size_t got;
    bool slow, singly;
} flow;

static int flow_put(struct worker *w)
{
    char elems[LONGEST * 24];
    uint64_t rng = w->index + 17, first = (uint64_t)w->index << 32;
    for (size_t done = 0; done < flow.each;) {
        size_t n = 1 + rnd(&rng) % LONGEST;
        n = n < flow.each - done ? n : flow.each - done;
        fill_batch(elems, flow.size, first + done, n);
        ssize_t r = spool_put_many(flow.chan, elems, n, rnd(&rng) % 2 ? -1 : DEADLINE);
        must(r == -EPIPE || (r > 0 && r <= (ssize_t)n));
        flow.moved[w->index] += r > 0 ? r : 0;
        if (r < (ssize_t)n)
            return -EPIPE; /* there is no other reason */
        done += n;
    }
    return 0;
}

static int flow_get(struct worker *w)
{
    char elems[LONGEST * 24];
    uint64_t rng = w->index + 71, next[PUTTERS] = {0}, count = 0;
    ssize_t r;
    for (;; count += (uint64_t)r) {
        size_t n = flow.singly ? 1 : 1 + rnd(&rng) % LONGEST;
        int64_t limit = rnd(&rng) % 2 ? -1 : DEADLINE;
        r = flow.singly ? spool_get(flow.chan, elems) : spool_get_many(flow.chan, elems, n, limit);
        if (r == -EPIPE)
            return 0;
        r += flow.singly;
        must(r > 0 && r <= (ssize_t)n);
        if (flow.slow)
            nap();
        if (flow.size < 8) {
            for (size_t i = 0; i < (size_t)r && flow.size; i++)
                must_be((unsigned char)elems[i], (count + i) & 0xff);
            atomic_fetch_add(&flow.got, (size_t)r);
            continue;
        }
        for (size_t i = 0; i < (size_t)r; i++) {
            uint64_t tag = elem_tag(elems + i * flow.size), putter = tag >> 32, seq = (uint32_t)tag;
            must(putter < flow.putters && seq < flow.each);
            must(elem_is(elems + i * flow.size, flow.size, tag));
            must(seq >= next[putter]);
            next[putter] = seq + 1;
            must_be(atomic_fetch_add(&flow.seen[putter * flow.each + seq], 1), 0);
        }
        atomic_fetch_add(&flow.got, (size_t)r);
    }
}

/* Closes after a while if asked; then what putters were told went, and nothing else, was got. */
static void flow_run(size_t size, size_t capacity, size_t putters, size_t getters, size_t each, int64_t close_after)
{
    struct worker put[PUTTERS], get[GETTERS];
    ssize_t moved = 0;
    memset(put, 0, sizeof(put));
    memset(get, 0, sizeof(get));
    memset(flow.moved, 0, sizeof(flow.moved));
    flow.chan = new_chan(size, capacity);
    flow.size = size;
    flow.each = each;
    flow.putters = putters;
    flow.seen = calloc(putters * each, 1);
    must(flow.seen);
    atomic_store(&flow.got, 0);
    for (size_t i = 0; i < getters; i++) {
        get[i].index = i;
        worker_start(&get[i], flow_get);
    }
    for (size_t i = 0; i < putters; i++) {
        put[i].index = i;
        worker_start(&put[i], flow_put);
    }
    for (int64_t end = now_ns() + close_after; close_after && now_ns() < end;)
        ;
    if (close_after)
        must_be(spool_close(flow.chan), 0);
    for (size_t i = 0; i < putters; i++) {
        int r = worker_join(&put[i]);
        must(r == 0 || (r == -EPIPE && close_after));
        moved += flow.moved[i];
    }
    /* Before the close, which would wake whoever missed a wake. */
    wait_until(atomic_load(&flow.got) == (size_t)moved);
    if (!close_after)
        must_be(spool_close(flow.chan), 0);
    for (size_t i = 0; i < getters; i++)
        must_be(worker_join(&get[i]), 0);
    must_be(atomic_load(&flow.got), moved);
    for (size_t p = 0; p < putters && size >= 8; p++)
        for (size_t i = 0; i < each; i++)
            must_be(atomic_load(&flow.seen[p * each + i]), (ssize_t)i < flow.moved[p]);
    free(flow.seen);
    spool_unref(flow.chan);
}

START_TEST(one_to_one)
{
    flow_run(sizes[_i % SIZES], capacities[_i / SIZES], 1, 1, scaled(30000), 0);
}
END_TEST

START_TEST(several_to_several)
{
    flow_run(_i % 2 ? 24 : 8, capacities[_i / 2], PUTTERS, GETTERS, scaled(15000), 0);
}
END_TEST

/* A batch that is far larger than the channel, and somebody who takes his time. */
START_TEST(slow_getter)
{
    flow.slow = true;
    flow.singly = _i % 2;
    flow_run(8, capacities[_i / 2], 2, 1, 300, 0);
}
END_TEST

START_TEST(closed_meanwhile)
{
    uint64_t rng = 99 + (uint64_t)_i;
    for (size_t round = scaled(100); round; round--)
        flow_run(_i % 2 ? 24 : 8, capacities[_i / 2], 1 + round % PUTTERS, 1 + round % GETTERS, 20000,
                 1 + (int64_t)(rnd(&rng) % (uint64_t)(300 * US)));
}
END_TEST

/* ---- Blocked in the midst ------------------------------------------------------------------------------------- */

struct batch {
    struct worker worker;
    uint64_t v[LONGEST];
    size_t n;
    ssize_t moved;
    bool putting;
};

static int do_batch(struct worker *w)
{
    struct batch *b = w->more;
    b->moved = b->putting ? spool_put_many(w->chan, b->v, b->n, w->timeout_ns)
                          : spool_get_many(w->chan, b->v, b->n, w->timeout_ns);
    return 0;
}

static int64_t storm_ns;

static void batch_start(struct batch *b, spool_chan *chan, bool putting, size_t n, int64_t timeout)
{
    memset(b, 0, sizeof(*b));
    b->putting = putting;
    b->n = n;
    for (size_t i = 0; i < n; i++)
        b->v[i] = putting ? i + 1 : 0;
    b->worker.chan = chan;
    b->worker.more = b;
    b->worker.timeout_ns = timeout;
    b->worker.storm_ns = storm_ns;
    worker_start(&b->worker, do_batch);
}

enum { CLOSED, UNREFERENCED, TIMED_OUT, ENDINGS };

/* Gets the first n that b puts, one by one, in order; fewer if its time was over before this thread came to it. */
static size_t take_first(struct batch *b, size_t n)
{
    size_t got = 0;
    while (got < n) {
        bool over = atomic_load(&b->worker.done);
        uint64_t v = 0;
        if (spool_try_get(b->worker.chan, &v) == 0)
            must_be(v, ++got);
        else if (over)
            break;
        else
            nap();
    }
    return got;
}

/*
 * A put of a batch is stuck when some of it has gone. It ends, says how many went, and those and no others are there,
 * or were got. The last reference may go meanwhile: the call has the channel as long as it needs it.
 */
START_TEST(put_ends_in_the_midst)
{
    const size_t few[] = {1, 3, 64, 0};
    size_t capacity = few[_i / ENDINGS];
    int ending = _i % ENDINGS;
    for (size_t taken = 0; taken < 8; taken++) {
        spool_chan *chan = chan_of(capacity);
        struct batch b;
        size_t went = capacity + taken;
        batch_start(&b, chan, true, LONGEST, ending == TIMED_OUT ? 30 * MS : -1);
        if (ending != TIMED_OUT)
            worker_wait_asleep(&b.worker);
        size_t got = take_first(&b, taken);
        must(ending == TIMED_OUT || got == taken);
        if (ending == CLOSED) {
            wait_until(spool_len(chan) == capacity);
            must_be(spool_close(chan), 0);
        } else if (ending == UNREFERENCED) {
            spool_unref(chan); /* at once: some of what there is room for may not have gone yet */
        }
        must_be(worker_join(&b.worker), 0);
        if (ending == UNREFERENCED)
            must(went ? b.moved >= (ssize_t)(taken ? taken : capacity) && b.moved <= (ssize_t)went : b.moved == -EPIPE);
        if (ending == UNREFERENCED)
            continue;
        must(ending != TIMED_OUT || b.worker.took_ns >= 30 * MS);
        /* Its time may have been over before there was room for more. */
        size_t rest = spool_len(chan);
        must(ending == TIMED_OUT ? rest <= capacity : rest == capacity);
        went = got + rest;
        must(went >= capacity);
        must_be(b.moved, went ? (ssize_t)went : ending == CLOSED ? -EPIPE : -ETIMEDOUT);
        for (uint64_t i = 1; i <= rest; i++)
            must_be(get(chan), got + i);
        uint64_t v;
        must_be(spool_try_get(chan, &v), ending == CLOSED ? -EPIPE : -EAGAIN);
        spool_unref(chan);
    }
}
END_TEST

/* A get of a batch waits for the first, and then takes what is there; or none comes. */
START_TEST(get_waits_for_the_first)
{
    int ending = _i % (ENDINGS + 1);
    for (int round = 0; round < 10; round++) {
        spool_chan *chan = chan_of(capacities[_i / (ENDINGS + 1)]);
        struct batch b;
        batch_start(&b, chan, false, LONGEST, ending == TIMED_OUT ? 5 * MS : DEADLINE);
        if (ending != TIMED_OUT)
            worker_wait_asleep(&b.worker);
        if (ending == CLOSED)
            must_be(spool_close(chan), 0);
        else if (ending == UNREFERENCED)
            chan = spool_unref(chan);
        else if (ending == ENDINGS)
            must_be(spool_put(chan, &(uint64_t){6}), 0);
        /* The reference may go before the call has looked for a second one. */
        if (round % 2 && ending != TIMED_OUT)
            chan = spool_unref(chan);
        must_be(worker_join(&b.worker), 0);
        if (ending == ENDINGS)
            must(b.moved == 1 || (round % 2 && b.moved == -EPIPE));
        else
            must_be(b.moved, ending == TIMED_OUT ? -ETIMEDOUT : -EPIPE);
        must_be(b.v[0], b.moved == 1 ? 6 : 0);
        spool_unref(chan);
    }
}
END_TEST

static void ignore_signal(int signo)
{
    (void)signo;
}

/* One limit for all of it, however often it is interrupted or moves on. */
START_TEST(one_deadline)
{
    spool_chan *chan = chan_of(_i % 2 ? 0 : 1);
    struct batch b;
    on_signal(SIGUSR1, ignore_signal);
    storm_ns = MS;
    batch_start(&b, chan, true, LONGEST, 300 * MS);
    size_t got = take_first(&b, 20);
    must_be(worker_join(&b.worker), 0);
    size_t went = got + spool_len(chan);
    must_be(b.moved, went ? (ssize_t)went : -ETIMEDOUT);
    must(b.worker.took_ns >= 300 * MS && b.worker.took_ns < DEADLINE);
    spool_unref(chan);
}
END_TEST

/* ---- Waking --------------------------------------------------------------------------------------------------- */

enum { BY_GET, BY_GET_MANY, BY_SELECT, BY_POLL, WAYS };

/* One call wakes the only one that waits, and nobody calls again for the rest of the batch. */
START_TEST(one_wake_for_a_batch)
{
    int way = _i % WAYS;
    bool putting = _i / WAYS == 1; /* the one that waits */
    for (int round = 0; round < 20; round++) {
        spool_chan *chan = chan_of(_i / WAYS == 2 ? SPOOL_UNBOUNDED : 64);
        uint64_t in[64] = {0}, out[64] = {0}, mine = 7;
        struct batch b;
        struct worker w = {.chan = chan, .elem = &mine, .timeout_ns = -1, .sel = way == BY_SELECT ? select_of() : NULL};
        if (putting)
            must_be(spool_put_many(chan, in, 64, 0), 64);
        if (way == BY_SELECT)
            must_be(putting ? spool_select_put(w.sel, chan, &mine) : spool_select_get(w.sel, chan, &mine), 0);
        int fd = way != BY_POLL ? -1 : putting ? spool_put_fd(chan) : spool_fd(chan);
        if (way == BY_POLL)
            must_be(putting ? spool_try_put(chan, in) : spool_try_get(chan, in), -EAGAIN);
        if (way == BY_GET_MANY)
            batch_start(&b, chan, putting, 1, -1);
        else if (way != BY_POLL)
            worker_start(&w, way == BY_SELECT ? worker_wait : putting ? worker_put : worker_get);
        if (way != BY_POLL)
            worker_wait_asleep(way == BY_GET_MANY ? &b.worker : &w);
        else
            must(!fd_readable(fd));
        atomic_store(&all_wakes, 0);
        my_wakes = 0;
        atomic_store(&calling, true);
        must_be(putting ? spool_get_many(chan, out, 64, -1) : spool_put_many(chan, in, 64, -1), 64);
        atomic_store(&calling, false);
        must_be(my_wakes, 1);
        if (way == BY_POLL)
            must(fd_readable(fd));
        else
            must_be(worker_join(way == BY_GET_MANY ? &b.worker : &w), 0);
        must_be(atomic_load(&all_wakes), 1);
        must_be(spool_len(chan), way == BY_POLL ? (putting ? 0 : 64) : putting ? 1 : 63);
        /* Nobody waits: no call. */
        spool_select_free(w.sel);
        if (way != BY_POLL) {
            my_wakes = 0;
            ssize_t n = putting ? spool_put_many(chan, in, 63, 0) : spool_get_many(chan, out, 64, 0);
            must_be(n, 63);
            must_be(my_wakes, 0);
        }
        spool_unref(chan);
    }
}
END_TEST

enum { CROWD = 12 };

static size_t how_many_done(struct worker *w)
{
    size_t n = 0;
    for (size_t i = 0; i < CROWD; i++)
        n += atomic_load(&w[i].done);
    return n;
}

/* As many as there are elements (rooms, partners) go on, the others sleep on. */
START_TEST(a_batch_for_many)
{
    const size_t kinds[] = {64, SPOOL_UNBOUNDED, 0, CROWD, 0};
    bool putting = _i >= 3;
    for (size_t n = 1; n <= CROWD; n += n < 3 ? 1 : 3) {
        spool_chan *chan = chan_of(kinds[_i]);
        struct worker w[CROWD];
        spool_select *sel[CROWD] = {NULL};
        uint64_t mine[CROWD] = {0}, v[CROWD] = {0};
        memset(w, 0, sizeof(w));
        if (putting && !is_meet(chan))
            must_be(spool_put_many(chan, v, CROWD, -1), CROWD);
        for (size_t i = 0; i < CROWD; i++) {
            w[i].chan = chan;
            w[i].elem = &mine[i];
            w[i].timeout_ns = -1;
            if (i % 3 == 1) {
                sel[i] = w[i].sel = select_of();
                int r = putting ? spool_select_put(sel[i], chan, &mine[i]) : spool_select_get(sel[i], chan, &mine[i]);
                must_be(r, 0);
            }
            worker_start(&w[i], sel[i] ? worker_wait : putting ? worker_put : worker_get);
        }
        for (size_t i = 0; i < CROWD; i++)
            worker_wait_asleep(&w[i]);
        for (size_t left = n; left > 0;) {
            ssize_t r = putting ? spool_get_many(chan, v, left, DEADLINE) : spool_put_many(chan, v, left, DEADLINE);
            must(r > 0);
            left -= (size_t)r;
        }
        wait_until(how_many_done(w) >= n);
        for (size_t i = 0; i < CROWD; i++)
            if (!atomic_load(&w[i].done))
                wait_asleep(atomic_load(&w[i].tid));
        must_be(how_many_done(w), n);
        must_be(spool_close(chan), 0);
        size_t done = 0;
        for (size_t i = 0; i < CROWD; i++) {
            int r = worker_join(&w[i]);
            r = r == 0 && sel[i] ? spool_select_result(sel[i], 0) : r;
            must(r == 0 || r == -EPIPE);
            done += r == 0;
            spool_select_free(sel[i]);
        }
        must_be(done, n);
        spool_unref(chan);
    }
}
END_TEST

/* The exported descriptors: readable as long as a batch would not block, and unreadable after one that did not go. */
START_TEST(descriptors_follow_batches)
{
    spool_chan *chan = chan_of(_i ? SPOOL_UNBOUNDED : 8);
    int fd = spool_fd(chan), put_fd = spool_put_fd(chan);
    uint64_t v[16];
    must(fd >= 0 && put_fd >= 0);
    must_be(spool_get_many(chan, v, 16, 0), -EAGAIN);
    for (uint64_t round = 0; round < 50; round++) {
        for (size_t i = 0; i < 16; i++)
            v[i] = round * 16 + i;
        must(!fd_readable(fd) && fd_readable(put_fd));
        must_be(spool_put_many(chan, v, 5, 0), 5);
        must(fd_readable(fd) && fd_readable(put_fd));
        if (_i == 0) {
            must_be(spool_put_many(chan, v + 5, 11, 0), 3);
            must_be(spool_put_many(chan, v + 8, 8, 0), -EAGAIN);
            must(fd_readable(fd) && !fd_readable(put_fd));
        } else {
            must_be(spool_put_many(chan, v + 5, 3, -1), 3);
            must(fd_readable(put_fd));
        }
        must_be(spool_get_many(chan, v, 2, -1), 2);
        must_be(v[1], round * 16 + 1);
        must(fd_readable(fd) && fd_readable(put_fd));
        must_be(spool_get_many(chan, v, 16, 0), 6);
        must_be(v[5], round * 16 + 7);
        must_be(spool_get_many(chan, v, 16, 0), -EAGAIN);
        must(!fd_readable(fd) && fd_readable(put_fd));
    }
    spool_unref(chan);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("many");
    TCase *tc = case_new(suite, "one");
    tcase_add_loop_test(tc, bad_arguments, 0, CAPACITIES);
    tcase_add_loop_test(tc, without_waiting, 0, SIZES * (CAPACITIES - 1));
    tcase_add_loop_test(tc, closed_with_some_left, 0, SIZES * (CAPACITIES - 1));
    tcase_add_loop_test(tc, without_waiting_in_a_rendezvous, 0, 2);
    tc = case_new(suite, "order");
    tcase_add_loop_test(tc, one_to_one, 0, SIZES * CAPACITIES);
    tcase_add_loop_test(tc, several_to_several, 0, 2 * CAPACITIES);
    tcase_add_loop_test(tc, slow_getter, 0, 2 * CAPACITIES);
    tcase_add_loop_test(tc, closed_meanwhile, 0, 2 * CAPACITIES);
    tc = case_new(suite, "midst");
    tcase_add_loop_test(tc, put_ends_in_the_midst, 0, 4 * ENDINGS);
    tcase_add_loop_test(tc, get_waits_for_the_first, 0, CAPACITIES * (ENDINGS + 1));
    tcase_add_loop_test(tc, one_deadline, 0, 2);
    tc = case_new(suite, "wakes");
    tcase_add_loop_test(tc, one_wake_for_a_batch, 0, 3 * WAYS);
    tcase_add_loop_test(tc, a_batch_for_many, 0, 5);
    tcase_add_loop_test(tc, descriptors_follow_batches, 0, 2);
    return run_suite(suite, "many");
}
