/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Several waiters on one channel, some of them selects: each element once, no wake-up lost. */
#include "select_util.h"

/* ---- Several waiters ---- */

START_TEST(one_element_for_one_of_several_selects)
{
    enum { N = 3 };
    spool_select *sel[N];
    spool_chan *chan = chan_of(flavours[_i]);
    uint64_t value = 0;
    for (int i = 0; i < N; i++) {
        sel[i] = select_of();
        must_be(spool_select_get(sel[i], chan, &value), 0);
        must_be_quiet(sel[i]);
    }
    for (uint64_t round = 0; round < (_i == MEET ? 60 : 300); round++) {
        put(chan, round);
        for (int i = 0; i < N; i++)
            must(fd_readable(spool_select_poll_fd(sel[i])));
        must_be(spool_select_wait(sel[round % N], 0), 0);
        must_be(value, round);
        for (int i = 0; i < N; i++)
            must_be_quiet(sel[i]);
    }
    for (int i = 0; i < N; i++)
        spool_select_free(sel[i]);
    retire(chan);
}
END_TEST

/* Losers consume and send nothing. */
START_TEST(losers_leave_no_residue)
{
    spool_select *sel = select_of();
    spool_chan *a = chan_of(flavours[_i]), *b = chan_of(flavours[_i]), *c = chan_of(1);
    uint64_t in_a = 0, in_b = 0, out = 9;
    must_be(spool_select_get(sel, a, &in_a), 0);
    must_be(spool_select_get(sel, b, &in_b), 1);
    must_be(spool_select_put(sel, c, &out), 2);
    for (uint64_t round = 0; round < (_i == MEET ? 150 : 1000); round++) {
        put(a, round);
        put(b, round);
        in_a = in_b = UINT64_MAX;
        int index = spool_select_wait(sel, -1);
        must(index >= 0 && index < 3);
        must_be(spool_len(a), index != 0 && _i != MEET);
        must_be(spool_len(b), index != 1 && _i != MEET);
        must_be(spool_len(c), index == 2);
        must_be(in_a, index == 0 ? round : UINT64_MAX);
        must_be(in_b, index == 1 ? round : UINT64_MAX);
        uint64_t drained;
        must_be(spool_try_get(a, &drained), index != 0 ? 0 : -EAGAIN);
        must_be(spool_try_get(b, &drained), index != 1 ? 0 : -EAGAIN);
        must_be(spool_try_get(c, &drained), index == 2 ? 0 : -EAGAIN);
    }
    join_partners();
    spool_select_free(sel);
    spool_unref(a);
    spool_unref(b);
    spool_unref(c);
}
END_TEST

enum { TAKERS = 8, GIVERS = 3 };

static struct {
    spool_chan *chan;
    size_t count; /* from each giver */
    atomic_uchar *seen;
    atomic_size_t got;
} mixed;

static void mixed_take(uint64_t value, uint64_t next[GIVERS])
{
    uint64_t giver = value >> 32, seq = value & UINT32_MAX;
    must(giver < GIVERS && seq < mixed.count);
    must(seq >= next[giver]);
    next[giver] = seq + 1;
    must_be(atomic_fetch_add(&mixed.seen[giver * mixed.count + seq], 1), 0);
    atomic_fetch_add(&mixed.got, 1);
}

static int mixed_taker(struct worker *w)
{
    uint64_t value = 0, next[GIVERS] = {0};
    spool_select *sel = select_of();
    struct pollfd p = {.fd = spool_fd(mixed.chan), .events = POLLIN};
    int r = 0;
    must_be(spool_select_get(sel, mixed.chan, &value), 0);
    while (r != -EPIPE) {
        switch (w->index % 4) {
        case 0:
            r = spool_get(mixed.chan, &value);
            break;
        case 1:
            r = spool_select_wait(sel, w->index > 4 ? 200 * US : -1);
            r = r < 0 ? r : spool_select_result(sel, 0);
            break;
        case 2:
            r = spool_try_get(mixed.chan, &value);
            break;
        default:
            must(poll(&p, 1, -1) == 1);
            r = spool_try_get(mixed.chan, &value);
        }
        must(r == 0 || r == -EAGAIN || r == -ETIMEDOUT || r == -EPIPE);
        if (r == 0)
            mixed_take(value, next);
        else if (w->index % 4 == 2)
            sched_yield();
    }
    spool_select_free(sel);
    return 0;
}

static int mixed_giver(struct worker *w)
{
    uint64_t value = (uint64_t)w->index << 32;
    spool_select *sel = select_of();
    must_be(spool_select_put(sel, mixed.chan, &value), 0);
    for (size_t i = 0; i < mixed.count; i++, value++) {
        if (w->index) {
            must_be(spool_put(mixed.chan, &value), 0);
            continue;
        }
        must_be(spool_select_wait(sel, -1), 0);
        must_be(spool_select_result(sel, 0), 0);
    }
    spool_select_free(sel);
    return 0;
}

/* Selects, blocking getters, tries and pollers of the descriptor on one channel: each element once. */
START_TEST(each_element_once_among_all_kinds)
{
    const size_t capacities[] = {1, 3, 64, SPOOL_UNBOUNDED, 0};
    mixed.count = scaled(12000);
    for (size_t c = 0; c < COUNT(capacities); c++) {
        struct worker taker[TAKERS], giver[GIVERS];
        memset(taker, 0, sizeof(taker));
        memset(giver, 0, sizeof(giver));
        mixed.chan = chan_of(capacities[c]);
        mixed.seen = calloc(GIVERS * mixed.count, sizeof(*mixed.seen));
        atomic_store(&mixed.got, 0);
        for (size_t i = 0; i < TAKERS; i++) {
            taker[i].index = i;
            worker_start(&taker[i], mixed_taker);
        }
        for (size_t i = 0; i < GIVERS; i++) {
            giver[i].index = i;
            worker_start(&giver[i], mixed_giver);
        }
        for (size_t i = 0; i < GIVERS; i++)
            must_be(worker_join(&giver[i]), 0);
        /* Before the close, which would wake whoever missed a wake. */
        wait_until(atomic_load(&mixed.got) == GIVERS * mixed.count);
        must_be(spool_close(mixed.chan), 0);
        for (size_t i = 0; i < TAKERS; i++)
            must_be(worker_join(&taker[i]), 0);
        spool_unref(mixed.chan);
        free(mixed.seen);
    }
}
END_TEST

/* ---- Wake-ups that must not be lost ---- */

/* A select over {a, b} that after each element it took does nothing more until it is let go. */
static struct {
    spool_chan *a, *b, *quit;
    atomic_size_t waits, taken; /* by the select */
    atomic_size_t took_a, took_b;
    atomic_bool hold;
} busy;

static int busy_select(struct worker *w)
{
    spool_select *sel = select_of();
    uint64_t value;
    int index;
    must_be(spool_select_get(sel, busy.a, &value), 0);
    must_be(spool_select_get(sel, busy.b, &value), 1);
    must_be(spool_select_get(sel, busy.quit, &value), 2);
    must_be(spool_select_set_order(sel, w->index ? SPOOL_IN_ORDER : SPOOL_FAIR), 0);
    for (;;) {
        atomic_fetch_add(&busy.waits, 1);
        index = spool_select_wait(sel, -1);
        if (index == 2)
            break;
        must(index == 0 || index == 1);
        must_be(spool_select_result(sel, index), 0);
        atomic_fetch_add(&busy.taken, 1);
        atomic_fetch_add(index ? &busy.took_b : &busy.took_a, 1);
        while (atomic_load(&busy.hold))
            sched_yield();
    }
    spool_select_free(sel);
    return 0;
}

/* Waits for b alone: w->index says how. */
static int busy_other(struct worker *w)
{
    spool_select *sel = select_of();
    uint64_t value;
    struct pollfd p = {.fd = w->index == 2 ? spool_fd(busy.b) : -1, .events = POLLIN};
    int r = 0;
    must_be(spool_select_get(sel, busy.b, &value), 0);
    while (r != -EPIPE) {
        if (w->index == 0) {
            r = spool_get(busy.b, &value);
        } else if (w->index == 1) {
            must_be(spool_select_wait(sel, -1), 0);
            r = spool_select_result(sel, 0);
        } else {
            must_be(poll(&p, 1, -1), 1);
            r = spool_try_get(busy.b, &value);
        }
        must(r == 0 || r == -EPIPE || (w->index == 2 && r == -EAGAIN));
        if (r == 0)
            atomic_fetch_add(&busy.took_b, 1);
    }
    spool_select_free(sel);
    return 0;
}

/* In a rendezvous somebody waits with it. */
static void give(spool_chan *chan, uint64_t value)
{
    if (is_meet(chan))
        (void)partner_of(chan, value, worker_put);
    else
        put(chan, value);
}

/*
 * Woken for a and for b, the select takes one and is busy for ever: whoever else sleeps on b gets b's element. Were
 * b's wake-up spent on the select, it would sleep beside it.
 */
START_TEST(wake_of_a_busy_select_is_handed_on)
{
    size_t rounds = scaled(500);
    int flavour = _i / 6, how = _i % 6;
    struct worker s = {.index = (size_t)how & 1}, other = {.index = (size_t)how >> 1};
    busy.a = chan_of(flavours[flavour]);
    busy.b = chan_of(flavours[flavour]);
    busy.quit = chan_of(1);
    worker_start(&s, busy_select);
    worker_start(&other, busy_other);
    for (size_t round = 1; round <= rounds; round++) {
        wait_until(atomic_load(&busy.waits) == atomic_load(&busy.taken) + 1);
        wait_sleep(&s);
        wait_sleep(&other);
        atomic_store(&busy.hold, true);
        give(round % 2 ? busy.a : busy.b, 1);
        give(round % 2 ? busy.b : busy.a, 2);
        wait_until(atomic_load(&busy.took_b) == round);
        atomic_store(&busy.hold, false);
        wait_until(atomic_load(&busy.took_a) == round);
    }
    spool_close(busy.quit);
    must_be(worker_join(&s), 0);
    spool_close(busy.b);
    must_be(worker_join(&other), 0);
    retire(busy.a);
    retire(busy.b);
    retire(busy.quit);
}
END_TEST

enum { FREED, REMOVED, OFF, LEFT_ALONE, ABANDONED };

static int wait_then_poll(struct worker *w)
{
    struct pollfd p = {.fd = w->index ? spool_put_fd(w->chan) : spool_fd(w->chan), .events = POLLIN};
    int r;
    do {
        must_be(poll(&p, 1, -1), 1);
        r = w->index ? spool_try_put(w->chan, w->elem) : spool_try_get(w->chan, w->elem);
    } while (r == -EAGAIN);
    return r;
}

/*
 * A select watches a channel, and perhaps is meant by a wake-up; but it never waits again, or drops the case. Another
 * waiter, asleep on the same channel, goes. On both sides, with every kind of other waiter.
 */
START_TEST(wake_of_an_abandoned_select_is_handed_on)
{
    const size_t capacities[] = {2, 2, 0, 0, SPOOL_UNBOUNDED};
    const bool rooms[] = {false, true, false, true, false};
    bool room = rooms[_i % 5], meet = capacities[_i % 5] == 0;
    int kind = _i / 5;
    for (int round = 0; round < 12 * ABANDONED; round++) {
        spool_chan *chan = chan_of(capacities[_i % 5]);
        spool_select *sel = select_of(), *second = select_of();
        uint64_t mine = 1, value = 2;
        if (room && !meet) {
            put(chan, 3);
            put(chan, 4);
        }
        must_be(room ? spool_select_put(sel, chan, &mine) : spool_select_get(sel, chan, &mine), 0);
        must_be(room ? spool_select_put(second, chan, &value) : spool_select_get(second, chan, &value), 0);
        must_be(spool_select_wait(sel, 0), -EAGAIN);
        if (round / ABANDONED % 2)
            must_be(spool_select_wait(sel, 10 * US), -ETIMEDOUT);
        struct worker other = {.chan = chan, .elem = &value, .sel = second, .timeout_ns = -1, .index = room};
        worker_start(&other, kind == 0 ? (room ? worker_put : worker_get) : kind == 1 ? worker_wait : wait_then_poll);
        worker_wait_asleep(&other);
        if (meet)
            (void)partner_of(chan, 5, room ? worker_get : worker_put);
        else if (room)
            get(chan);
        else
            put(chan, 5);
        switch (round % ABANDONED) {
        case FREED:
            sel = spool_select_free(sel);
            break;
        case REMOVED:
            must_be(spool_select_remove(sel, 0), 0);
            break;
        case OFF:
            must_be(spool_select_enable(sel, 0, false), 0);
            break;
        default:
            break;
        }
        must_be(worker_join(&other), 0);
        join_partners();
        must_be(mine, 1);
        must_be(spool_len(chan), room && !meet ? 2 : 0);
        spool_select_free(sel);
        spool_select_free(second);
        spool_unref(chan);
    }
}
END_TEST

/* Two elements, two waiters, one of them a select that takes one and stops there: the other gets the other. */
START_TEST(two_elements_wake_two)
{
    for (int round = 0; round < 45; round++) {
        spool_chan *chan = chan_of(flavours[_i]);
        uint64_t mine = 0, value = 0, first = 1;
        struct worker s = {.sel = select_of(), .timeout_ns = -1};
        struct worker other = {.chan = chan, .elem = &value, .sel = select_of(), .timeout_ns = -1};
        must_be(spool_select_get(s.sel, chan, &mine), 0);
        must_be(spool_select_get(other.sel, chan, &value), 0);
        worker_start(&s, worker_wait);
        worker_start(&other, round % 3 == 0 ? worker_get : round % 3 == 1 ? worker_wait : wait_then_poll);
        worker_wait_asleep(&s);
        worker_wait_asleep(&other);
        give(chan, first);
        give(chan, first + 1);
        must_be(worker_join(&s), 0);
        must_be(worker_join(&other), 0);
        must(mine + value == 3 && mine && value);
        join_partners();
        spool_select_free(s.sel);
        spool_select_free(other.sel);
        spool_unref(chan);
    }
}
END_TEST

static struct {
    spool_chan *chan;
    atomic_size_t begun, taken;
    atomic_bool over;
} timing;

static int put_at_random(struct worker *w)
{
    uint64_t rng = 77;
    for (size_t round = 1;; round++) {
        while (atomic_load(&timing.begun) < round) {
            if (atomic_load(&timing.over))
                return 0;
            sched_yield();
        }
        for (volatile uint64_t spin = rnd(&rng) % 40000; spin > 0; spin--)
            ;
        must_be(spool_put(w->chan, &(uint64_t){round}), 0);
    }
}

/* w->index says how. */
static int take_always(struct worker *w)
{
    uint64_t value;
    struct pollfd p = {.fd = w->index == 2 ? spool_fd(timing.chan) : -1, .events = POLLIN};
    spool_select *sel = select_of();
    int r = 0;
    must_be(spool_select_get(sel, timing.chan, &value), 0);
    while (r != -EPIPE) {
        if (w->index == 0)
            r = spool_get(timing.chan, &value);
        else if (w->index == 1)
            r = spool_select_wait(sel, -1) == 0 ? spool_select_result(sel, 0) : -EINVAL;
        else
            r = poll(&p, 1, -1) == 1 ? spool_try_get(timing.chan, &value) : -EINVAL;
        must(r == 0 || r == -EPIPE || (w->index == 2 && r == -EAGAIN));
        if (r == 0)
            atomic_fetch_add(&timing.taken, 1);
    }
    spool_select_free(sel);
    return 0;
}

/* A select that runs out of time just when an element comes leaves the wake-up to the one who still waits. */
START_TEST(wake_of_a_late_select_is_handed_on)
{
    size_t rounds = scaled(1500), late = 0;
    struct worker putter = {.chan = chan_of(flavours[_i / 3])}, taker = {.index = (size_t)_i % 3};
    spool_select *sel = select_of();
    uint64_t value = 0, rng = 5;
    int64_t end = now_ns() + DEADLINE;
    timing.chan = putter.chan;
    must_be(spool_select_get(sel, timing.chan, &value), 0);
    worker_start(&taker, take_always);
    worker_start(&putter, put_at_random);
    /* On a busy machine it may take more rounds until a select is late. */
    for (size_t round = 1; round <= rounds || (late == 0 && now_ns() < end); round++) {
        wait_sleep(&taker);
        atomic_store(&timing.begun, round);
        int index = spool_select_wait(sel, (int64_t)(rnd(&rng) % 100) * US);
        must(index == 0 || index == -ETIMEDOUT || index == -EAGAIN);
        late += index != 0;
        if (index == 0)
            atomic_fetch_add(&timing.taken, 1);
        wait_until(atomic_load(&timing.taken) == round);
    }
    atomic_store(&timing.over, true);
    must_be(worker_join(&putter), 0);
    must_be(spool_close(timing.chan), 0);
    must_be(worker_join(&taker), 0);
    must(late > 0);
    spool_select_free(sel);
    spool_unref(timing.chan);
}
END_TEST

START_TEST(close_wakes_every_select)
{
    enum { N = 6 };
    const size_t capacities[] = {1, 1, 0, 0, SPOOL_UNBOUNDED};
    bool putting = _i == 1 || _i == 3;
    for (int round = 0; round < 20; round++) {
        struct worker w[N];
        spool_chan *chan = chan_of(capacities[_i]);
        uint64_t value = 0;
        memset(w, 0, sizeof(w));
        if (_i == 1)
            put(chan, 1);
        for (int i = 0; i < N; i++) {
            uint64_t *elem = i % 2 ? &value : NULL;
            w[i].sel = select_of();
            w[i].timeout_ns = -1;
            must_be(putting ? spool_select_put(w[i].sel, chan, elem) : spool_select_get(w[i].sel, chan, elem), 0);
            worker_start(&w[i], worker_wait);
        }
        for (int i = 0; i < N; i++)
            wait_sleep(&w[i]);
        must_be(spool_close(chan), 0);
        for (int i = 0; i < N; i++) {
            must_be(worker_join(&w[i]), 0);
            must_be(spool_select_result(w[i].sel, 0), -EPIPE);
            must_be(spool_select_wait(w[i].sel, -1), -ENODATA);
            spool_select_free(w[i].sel);
        }
        spool_unref(chan);
    }
}
END_TEST

/* Who only asks for readiness takes nothing, so one element makes all of them ready: in waits and on descriptors. */
START_TEST(readiness_reaches_everybody)
{
    enum { N = 7 };
    for (int round = 0; round < 30; round++) {
        struct worker w[N];
        spool_chan *chan = chan_of(flavours[_i]);
        memset(w, 0, sizeof(w));
        for (int i = 0; i < N; i++) {
            w[i].chan = chan;
            w[i].timeout_ns = -1;
            w[i].sel = i == round % N ? NULL : select_of();
            if (w[i].sel)
                must_be(spool_select_get(w[i].sel, chan, NULL), 0);
            if (w[i].sel && (i + round) % 2)
                must_be_quiet(w[i].sel);
        }
        for (int i = 0; i < N; i++)
            worker_start(&w[i], !w[i].sel || (i + round) % 2 ? poll_once : worker_wait);
        for (int i = 0; i < N; i++)
            wait_sleep(&w[i]);
        put(chan, 1);
        for (int i = 0; i < N; i++)
            must_be(worker_join(&w[i]), 0);
        must_be(spool_len(chan), _i != MEET);
        for (int i = 0; i < N; i++) {
            if (w[i].sel)
                must_be(wait_ready(w[i].sel), 0);
        }
        must_be(get(chan), 1);
        for (int i = 0; i < N; i++) {
            if (w[i].sel)
                must_be_quiet(w[i].sel);
            spool_select_free(w[i].sel);
        }
        retire(chan);
    }
}
END_TEST

START_TEST(get_wakes_a_put_case)
{
    for (uint64_t round = 0; round < 60; round++) {
        struct worker w = {.sel = select_of(), .timeout_ns = -1};
        spool_chan *chan = chan_of(_i ? 0 : 1);
        if (_i == 0)
            put(chan, 1000);
        must_be(spool_select_put(w.sel, chan, &round), 0);
        worker_start(&w, worker_wait);
        worker_wait_asleep(&w);
        must_be(get(chan), _i ? round : 1000);
        must_be(worker_join(&w), 0);
        if (_i == 0)
            must_be(get(chan), round);
        spool_select_free(w.sel);
        spool_unref(chan);
    }
}
END_TEST

/* ---- Ready at one moment ---- */

enum { RING = 4 };
static spool_chan *ring[RING];
static int ring_size;
static bool ring_of_room;
static atomic_bool ring_stop;
static atomic_size_t ring_steps;

/* Takes the token on: it is in the next channel before it leaves the one it was in. */
static int carry_token(struct worker *w)
{
    uint64_t value[8] = {0};
    int at = 0;
    (void)w;
    while (!atomic_load_explicit(&ring_stop, memory_order_relaxed)) {
        int next = (at + 1) % ring_size;
        must_be(ring_of_room ? spool_try_get(ring[next], value) : spool_try_put(ring[next], value), 0);
        must_be(ring_of_room ? spool_try_put(ring[at], value) : spool_try_get(ring[at], value), 0);
        at = next;
        atomic_fetch_add_explicit(&ring_steps, 1, memory_order_relaxed);
    }
    return 0;
}

/*
 * At each instant at least one channel is ready, though never the same for long. A select that looks at one after the
 * other finds each of them empty in its turn; to say -EAGAIN would be wrong.
 */
START_TEST(never_eagain_while_always_something_is_ready)
{
    struct worker carrier = {0};
    size_t waits = scaled(250000), steps;
    spool_select *sel = select_of();
    ring_size = _i & 1 ? RING : 2;
    ring_of_room = _i & 2;
    for (int i = 0; i < ring_size; i++) {
        uint64_t value[8] = {0};
        must_be(spool_chan_new(&ring[i], _i & 4 ? sizeof(value) : sizeof(value[0]), _i & 8 ? SPOOL_UNBOUNDED : 1), 0);
        if (ring_of_room ? i != 0 : i == 0)
            must_be(spool_try_put(ring[i], value), 0);
        must_be(ring_of_room ? spool_select_put(sel, ring[i], NULL) : spool_select_get(sel, ring[i], NULL), i);
    }
    worker_start(&carrier, carry_token);
    wait_until(atomic_load(&ring_steps) > 0);
    steps = atomic_load(&ring_steps);
    /* As many waits, and more until the token has really gone round meanwhile. */
    int64_t end = now_ns() + DEADLINE;
    for (size_t i = 0; i < waits || atomic_load(&ring_steps) - steps < waits / 1000; i++) {
        int index = spool_select_wait(sel, 0);
        if (index < 0 || index >= ring_size)
            ck_abort_msg("wait %zu of %zu said %d", i, waits, index);
        if (i % 1024 == 0)
            must(now_ns() < end);
    }
    atomic_store(&ring_stop, true);
    must_be(worker_join(&carrier), 0);
    spool_select_free(sel);
    for (int i = 0; i < ring_size; i++)
        spool_unref(ring[i]);
}
END_TEST

/* For a rendezvous: the token is a thread that waits to put. Two of them take turns, each told where to wait. */
static struct {
    spool_chan *ring[RING];
    atomic_size_t told; /* how often somebody was */
    atomic_int where;
} hop;

static int wait_where_told(struct worker *w)
{
    uint64_t value = 0;
    for (size_t turn = w->index;; turn += 2) {
        while (atomic_load(&hop.told) <= turn) {
            if (atomic_load(&ring_stop))
                return 0;
            sched_yield();
        }
        int r = spool_put(hop.ring[atomic_load(&hop.where)], &value);
        must(r == 0 || (r == -EPIPE && atomic_load(&ring_stop)));
    }
}

static int lead_on(struct worker *w)
{
    spool_select *look[RING];
    uint64_t value;
    for (int i = 0; i < ring_size; i++) {
        look[i] = select_of();
        must_be(spool_select_get(look[i], hop.ring[i], NULL), 0);
    }
    for (int at = 0; !atomic_load(&ring_stop);) {
        int next = (at + 1) % ring_size;
        atomic_store(&hop.where, next);
        atomic_fetch_add(&hop.told, 1);
        must_be(spool_select_wait(look[next], DEADLINE), 0);
        must_be(spool_try_get(hop.ring[at], &value), 0);
        at = next;
        atomic_fetch_add(&ring_steps, 1);
    }
    for (int i = 0; i < ring_size; i++) {
        (void)spool_close(hop.ring[i]);
        spool_select_free(look[i]);
    }
    (void)w;
    return 0;
}

START_TEST(never_eagain_while_always_somebody_waits)
{
    struct worker waiters[2] = {{.index = 0}, {.index = 1}}, leader = {0};
    size_t waits = scaled(100000), steps;
    spool_select *sel = select_of();
    ring_size = _i ? RING : 2;
    for (int i = 0; i < ring_size; i++) {
        hop.ring[i] = chan_of(0);
        must_be(spool_select_get(sel, hop.ring[i], NULL), i);
    }
    for (int i = 0; i < 2; i++)
        worker_start(&waiters[i], wait_where_told);
    atomic_store(&hop.where, 0);
    atomic_store(&hop.told, 1);
    must_be(spool_select_wait(sel, DEADLINE), 0);
    worker_start(&leader, lead_on);
    wait_until(atomic_load(&ring_steps) > 0);
    steps = atomic_load(&ring_steps);
    int64_t end = now_ns() + DEADLINE;
    for (size_t i = 0; i < waits || atomic_load(&ring_steps) - steps < waits / 1000; i++) {
        int index = spool_select_wait(sel, 0);
        if (index < 0 || index >= ring_size)
            ck_abort_msg("wait %zu of %zu said %d", i, waits, index);
        if (i % 1024 == 0)
            must(now_ns() < end);
    }
    atomic_store(&ring_stop, true);
    must_be(worker_join(&leader), 0);
    for (int i = 0; i < 2; i++)
        must_be(worker_join(&waiters[i]), 0);
    spool_select_free(sel);
    for (int i = 0; i < ring_size; i++)
        spool_unref(hop.ring[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("select_wake");
    TCase *tc = case_new(suite, "several");
    tcase_add_loop_test(tc, one_element_for_one_of_several_selects, 0, FLAVOURS);
    tcase_add_loop_test(tc, losers_leave_no_residue, 0, FLAVOURS);
    tcase_add_test(tc, each_element_once_among_all_kinds);
    tc = case_new(suite, "wakes");
    tcase_add_loop_test(tc, wake_of_a_busy_select_is_handed_on, 0, 6 * FLAVOURS);
    tcase_add_loop_test(tc, wake_of_an_abandoned_select_is_handed_on, 0, 3 * 5);
    tcase_add_loop_test(tc, wake_of_a_late_select_is_handed_on, 0, 3 * FLAVOURS);
    tcase_add_loop_test(tc, two_elements_wake_two, 0, FLAVOURS);
    tcase_add_loop_test(tc, close_wakes_every_select, 0, 5);
    tcase_add_loop_test(tc, readiness_reaches_everybody, 0, FLAVOURS);
    tcase_add_loop_test(tc, get_wakes_a_put_case, 0, 2);
    tc = case_new(suite, "instant");
    tcase_add_loop_test(tc, never_eagain_while_always_something_is_ready, 0, 8);
    /* Unbounded ones, which always have room. */
    for (int i = 8; i < 16; i++) {
        if (!(i & 2))
            tcase_add_loop_test(tc, never_eagain_while_always_something_is_ready, i, i + 1);
    }
    tcase_add_loop_test(tc, never_eagain_while_always_somebody_waits, 0, 2);
    return run_suite(suite, "select_wake");
}
