/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * Rendezvous: two threads, a thread and a select, two selects; by blocking, by trying, by time; exactly one case each.
 */

#include "select_util.h"

#define WAITERS 44

static spool_chan *meet_of(size_t elem_size)
{
    spool_chan *chan = NULL;

    must_be(spool_chan_new(&chan, elem_size, 0), 0);
    return chan;
}

/* ---- Threads that do one thing -------------------------------------------------------------------------------- */

enum what {
    PUT,
    GET,
    SELECT_PUT,
    SELECT_GET,
};

struct actor {
    enum what what;
    spool_chan *chan;
    int64_t timeout;
    unsigned char *elem;
    int ret;
    pthread_t thread;
};

static void *act(void *arg)
{
    struct actor *a = arg;
    spool_select *sel;

    switch (a->what) {
    case PUT:
        a->ret = spool_put_for(a->chan, a->elem, a->timeout);
        break;
    case GET:
        a->ret = spool_get_for(a->chan, a->elem, a->timeout);
        break;
    case SELECT_PUT:
    case SELECT_GET:
        sel = select_of();
        must_be(a->what == SELECT_PUT ? spool_select_put(sel, a->chan, a->elem)
                                      : spool_select_get(sel, a->chan, a->elem), 0);
        a->ret = spool_select_wait(sel, a->timeout);
        if (a->ret == 0)
            a->ret = spool_select_result(sel, 0);
        spool_select_free(sel);
        break;
    }
    return NULL;
}

static bool is_put(enum what what)
{
    return what == PUT || what == SELECT_PUT;
}

static void start(struct actor *a, enum what what, spool_chan *chan, int64_t timeout, void *elem)
{
    *a = (struct actor){.what = what, .chan = chan, .timeout = timeout, .elem = elem};
    must_be(pthread_create(&a->thread, NULL, act, a), 0);
}

static int end(struct actor *a)
{
    must_be(pthread_join(a->thread, NULL), 0);
    return a->ret;
}

/* Up to 16 an element lies in the offer of who waits. */
static const size_t sizes[] = {0, 1, 8, 16, 17, 24, 4096};

static int64_t thread_cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return ts.tv_sec * SEC + ts.tv_nsec;
}

/* ---- Two parties ---------------------------------------------------------------------------------------------- */

START_TEST(holds_nothing)
{
    spool_chan *chan = meet_of(8);
    uint64_t value = 7;

    must_be(spool_capacity(chan), 0);
    must_be(spool_len(chan), 0);
    must(spool_alive(chan));
    must_be(spool_try_put(chan, &value), -EAGAIN);
    must_be(spool_try_get(chan, &value), -EAGAIN);
    must_be(spool_put_for(chan, &value, MS), -ETIMEDOUT);
    must_be(spool_get_for(chan, &value, MS), -ETIMEDOUT);
    must_be(spool_put_many(chan, &value, 1, 0), -EAGAIN);
    must_be(spool_get_many(chan, &value, 1, MS), -ETIMEDOUT);
    must_be(value, 7);
    must_be(spool_close(chan), 0);
    must_be(spool_close(chan), -EALREADY);
    must(!spool_alive(chan));
    must_be(spool_try_put(chan, &value), -EPIPE);
    must_be(spool_put(chan, &value), -EPIPE);
    must_be(spool_get(chan, &value), -EPIPE);
    spool_unref(chan);
}
END_TEST

/* One waits, in each way; the other comes later and only tries. */
START_TEST(try_meets_who_waits)
{
    enum what what = (enum what)(_i % 4);
    size_t size = sizes[_i / 4];
    spool_chan *chan = meet_of(size);
    unsigned char mine[4096], theirs[4096];
    struct actor waiter;

    memset(mine, 3, sizeof mine);
    memset(theirs, 5, sizeof theirs);
    for (int round = 0; round < 50; round++) {
        int ret;

        start(&waiter, what, chan, DEADLINE, theirs);
        wait_until((ret = is_put(what) ? spool_try_get(chan, mine) : spool_try_put(chan, mine)) != -EAGAIN);
        must_be(ret, 0);
        must_be(end(&waiter), 0);
        must_be(memcmp(mine, theirs, size), 0);
        must_be(mine[0], size == 0 || !is_put(what) ? 3 : 5);
        memset(mine, 3, sizeof mine);
        memset(theirs, 5, sizeof theirs);
        must_be(is_put(what) ? spool_try_get(chan, mine) : spool_try_put(chan, mine), -EAGAIN);
    }
    spool_unref(chan);
}
END_TEST

/* Both wait, in every way, whoever comes first. */
START_TEST(two_that_wait_meet)
{
    enum what putter = _i & 1 ? SELECT_PUT : PUT, getter = _i & 2 ? SELECT_GET : GET;
    spool_chan *chan = meet_of(8);

    for (uint64_t round = 0; round < scaled(500); round++) {
        struct actor p, g;
        uint64_t sent = round, got = ~round;

        if (round & 1)
            start(&p, putter, chan, DEADLINE, &sent);
        start(&g, getter, chan, DEADLINE, &got);
        if (!(round & 1))
            start(&p, putter, chan, DEADLINE, &sent);
        must_be(end(&p), 0);
        must_be(end(&g), 0);
        must_be(got, sent);
    }
    spool_unref(chan);
}
END_TEST

START_TEST(time_passes_and_nothing_stays)
{
    enum what what = (enum what)_i;
    spool_chan *chan = meet_of(8);
    struct actor waiter;
    uint64_t value = 1, mine = 2;

    start(&waiter, what, chan, 5 * MS, &value);
    must_be(end(&waiter), -ETIMEDOUT);
    must_be(is_put(what) ? spool_try_get(chan, &mine) : spool_try_put(chan, &mine), -EAGAIN);
    must_be(value, 1);
    spool_unref(chan);
}
END_TEST

START_TEST(close_ends_every_wait)
{
    enum what what = (enum what)_i;

    for (size_t round = 0; round < scaled(100); round++) {
        spool_chan *chan = meet_of(8);
        struct actor waiters[4];
        uint64_t values[4] = {1, 1, 1, 1};

        for (int i = 0; i < 4; i++)
            start(&waiters[i], what, chan, DEADLINE, &values[i]);
        for (size_t i = 0; i < round % 8; i++)
            sched_yield();
        must_be(spool_close(chan), 0);
        for (int i = 0; i < 4; i++) {
            must_be(end(&waiters[i]), -EPIPE);
            must_be(values[i], 1);
        }
        spool_unref(chan);
    }
}
END_TEST

START_TEST(batches_meet_one_by_one)
{
    spool_chan *chan = meet_of(8);
    uint64_t sent[5] = {1, 2, 3, 4, 5}, got[8] = {0};
    struct actor putters[3];
    ssize_t n;

    for (int i = 0; i < 3; i++)
        start(&putters[i], PUT, chan, DEADLINE, &sent[i]);
    for (size_t i = 0; i < 3; i += (size_t)n) {
        n = spool_get_many(chan, got + i, 8 - i, DEADLINE);
        must(n > 0 && n <= 3);
    }
    for (int i = 0; i < 3; i++)
        must_be(end(&putters[i]), 0);
    must_be(got[0] + got[1] + got[2], 6);
    must_be(spool_put_many(chan, sent, 5, MS), -ETIMEDOUT);

    struct actor getter;
    spool_select *look;
    must_be(spool_select_new(&look), 0);
    must_be(spool_select_put(look, chan, NULL), 0);
    start(&getter, GET, chan, DEADLINE, &got[0]);
    must_be(spool_select_wait(look, DEADLINE), 0);
    must_be(spool_put_many(chan, sent, 5, MS), 1);
    must_be(end(&getter), 0);
    must_be(got[0], 1);
    spool_select_free(look);
    spool_unref(chan);
}
END_TEST

/* ---- Descriptors ---------------------------------------------------------------------------------------------- */

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

START_TEST(descriptors_tell_who_waits)
{
    enum what what = (enum what)_i;
    spool_chan *chan = meet_of(8);
    int get_fd = spool_fd(chan), put_fd = spool_put_fd(chan);
    int fd = is_put(what) ? get_fd : put_fd, other = is_put(what) ? put_fd : get_fd;

    must(get_fd >= 0 && put_fd >= 0);
    for (int round = 0; round < 20; round++) {
        uint64_t value = 4, mine = 4;
        struct actor waiter;

        must_be(spool_try_get(chan, &mine), -EAGAIN);
        must_be(spool_try_put(chan, &mine), -EAGAIN);
        must(!is_readable(get_fd) && !is_readable(put_fd));
        start(&waiter, what, chan, DEADLINE, &value);
        wait_until(is_readable(fd));
        must(!is_readable(other));
        must_be(is_put(what) ? spool_try_get(chan, &mine) : spool_try_put(chan, &mine), 0);
        must_be(end(&waiter), 0);
    }
    must_be(spool_close(chan), 0);
    must(is_readable(get_fd) && is_readable(put_fd));
    spool_unref(chan);
}
END_TEST

/* A select that is nested in another loop sees that somebody waits, thread or select. */
START_TEST(nested_select_sees_who_waits)
{
    enum what what = (enum what)_i;
    spool_chan *chan = meet_of(8);
    spool_select *sel = select_of();
    uint64_t mine = 1, value = 2;
    int fd = spool_select_poll_fd(sel);
    struct actor waiter;

    must(fd >= 0);
    must_be(is_put(what) ? spool_select_get(sel, chan, &mine) : spool_select_put(sel, chan, &mine), 0);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    for (int round = 0; round < 20; round++) {
        int ret;

        start(&waiter, what, chan, DEADLINE, &value);
        do {
            wait_until(is_readable(fd));
            ret = spool_select_wait(sel, 0);
        } while (ret == -EAGAIN);
        must_be(ret, 0);
        must_be(end(&waiter), 0);
        must_be(spool_select_wait(sel, 0), -EAGAIN);
    }
    spool_select_free(sel);
    spool_unref(chan);
}
END_TEST

/*
 * Two come while a select sleeps that is also polled from outside: one takes an offer, the other finds none and waits.
 * Both wrote to one descriptor, and the select had one event for the two; the outer loop must still see the second.
 */
struct two_puts {
    spool_chan *first, *second;
    size_t rounds;
};

static void *put_two(void *arg)
{
    struct two_puts *t = arg;
    uint64_t value = 1;

    for (size_t i = 0; i < t->rounds; i++) {
        /* The select is asleep by then, or the round shows nothing. */
        sleep_ns(MS);
        wait_until(spool_try_put(t->first, &value) == 0);
        must_be(spool_put_for(t->second, &value, DEADLINE), 0);
    }
    return NULL;
}

START_TEST(nested_select_sees_the_second_of_two)
{
    struct two_puts t = {meet_of(8), meet_of(8), scaled(200)};
    spool_select *sel = select_of();
    uint64_t a, b;
    pthread_t thread;
    int fd = spool_select_poll_fd(sel);

    must(fd >= 0);
    must_be(spool_select_get(sel, t.first, &a), 0);
    must_be(spool_select_get(sel, t.second, &b), 1);
    must_be(pthread_create(&thread, NULL, put_two, &t), 0);
    for (size_t i = 0; i < t.rounds; i++) {
        int ret;

        must_be(spool_select_wait(sel, DEADLINE), 0);
        do {
            wait_until(is_readable(fd));
            ret = spool_select_wait(sel, 0);
        } while (ret == -EAGAIN);
        must_be(ret, 1);
    }
    must_be(pthread_join(thread, NULL), 0);
    spool_select_free(sel);
    spool_unref(t.first);
    spool_unref(t.second);
}
END_TEST

/* A case that is off is not looked at, and does not keep the others awake. */
START_TEST(closed_while_off)
{
    spool_chan *closed = meet_of(8), *quiet = meet_of(8);
    spool_select *sel = select_of();
    uint64_t a, b;

    must_be(spool_select_get(sel, closed, _i ? NULL : &a), 0);
    must_be(spool_select_get(sel, quiet, &b), 1);
    must_be(spool_select_enable(sel, 0, false), 0);
    must_be(spool_close(closed), 0);
    int64_t before = thread_cpu_ns();
    must_be(spool_select_wait(sel, 300 * MS), -ETIMEDOUT);
    must(thread_cpu_ns() - before < 30 * MS * SLOWDOWN);
    must_be(spool_select_enable(sel, 0, true), 0);
    must_be(spool_select_wait(sel, DEADLINE), 0);
    must_be(spool_select_result(sel, 0), -EPIPE);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    spool_select_free(sel);
    spool_unref(closed);
    spool_unref(quiet);
}
END_TEST

/* One that only asks for readiness is told, takes nothing, and is nobody's partner. */
START_TEST(readiness_alone_meets_nobody)
{
    spool_chan *chan = meet_of(8);
    spool_select *sel = select_of();
    uint64_t value = 9, mine = 0;
    struct actor waiter, looker;

    must_be(spool_select_get(sel, chan, NULL), 0);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    start(&waiter, SELECT_PUT, chan, DEADLINE, &value);
    must_be(spool_select_wait(sel, DEADLINE), 0);
    must_be(spool_select_result(sel, 0), 0);
    must_be(spool_try_get(chan, &mine), 0);
    must_be(mine, 9);
    must_be(end(&waiter), 0);
    spool_select_free(sel);

    start(&looker, SELECT_GET, chan, 20 * MS, NULL);
    must_be(spool_put_for(chan, &value, 10 * MS), -ETIMEDOUT);
    (void)end(&looker);
    spool_unref(chan);
}
END_TEST

/* ---- Selects -------------------------------------------------------------------------------------------------- */

START_TEST(select_never_meets_itself)
{
    spool_chan *chan = meet_of(8);
    spool_select *sel = select_of();
    uint64_t in = 1, out = 2;

    must_be(spool_select_put(sel, chan, &out), 0);
    must_be(spool_select_get(sel, chan, &in), 1);
    must_be(spool_select_get(sel, chan, &in), 2);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    must_be(spool_select_wait(sel, 10 * MS), -ETIMEDOUT);
    must_be(in, 1);
    spool_select_free(sel);
    spool_unref(chan);
}
END_TEST

/*
 * One that waits with {put, get} must not take its own offer for somebody else's: it sleeps, and wakes on time, with
 * others beside it that have registered but are busy, that only observe, or that poll from outside.
 */
START_TEST(nobody_wakes_itself)
{
    spool_chan *chan = meet_of(8);
    spool_select *sel = select_of(), *busy = select_of();
    uint64_t in = 1, out = 2, other;

    must_be(spool_select_put(sel, chan, &out), 0);
    must_be(spool_select_get(sel, chan, _i & 1 ? NULL : &in), 1);
    if (_i & 2)
        must_be(spool_select_get(busy, chan, _i & 1 ? &other : NULL), 0);
    if (_i & 4)
        must(spool_fd(chan) >= 0 && spool_put_fd(chan) >= 0);
    if (_i & 8)
        must(spool_select_poll_fd(busy) >= 0);
    int64_t before = thread_cpu_ns();
    must_be(spool_select_wait(sel, 300 * MS), -ETIMEDOUT);
    /* A tenth of the time; awake it would be all of it. */
    must(thread_cpu_ns() - before < 30 * MS * SLOWDOWN);
    must_be(spool_select_wait(busy, 0), _i & 2 ? -EAGAIN : -ENODATA);
    spool_select_free(sel);
    spool_select_free(busy);
    spool_unref(chan);
}
END_TEST

/* Cases of one channel in one select: any may be the one, each gets its turn, none is done twice. */
START_TEST(duplicate_cases_take_turns)
{
    spool_chan *chan = meet_of(8);
    spool_select *sel = select_of();
    uint64_t in[3] = {0, 0, 0};
    int count[3] = {0, 0, 0};

    for (int i = 0; i < 3; i++)
        must_be(spool_select_get(sel, chan, &in[i]), i);
    for (uint64_t round = 1; round <= 300; round++) {
        struct actor putter;

        start(&putter, round % 2 ? PUT : SELECT_PUT, chan, DEADLINE, &round);
        int i = spool_select_wait(sel, DEADLINE);
        must(i >= 0 && i < 3);
        must_be(in[i], round);
        count[i]++;
        must_be(end(&putter), 0);
    }
    for (int i = 0; i < 3; i++)
        must(count[i] > 30);
    must_be(spool_select_enable(sel, 0, false), 0);
    must_be(spool_select_remove(sel, 1), 0);
    for (uint64_t round = 1; round <= 10; round++) {
        struct actor putter;

        start(&putter, SELECT_PUT, chan, DEADLINE, &round);
        must_be(spool_select_wait(sel, DEADLINE), 2);
        must_be(end(&putter), 0);
    }
    spool_select_free(sel);
    spool_unref(chan);
}
END_TEST

/* Everybody selects {put, get} on one channel: all pair up, nobody gets what it sent. */
struct hall {
    spool_chan *chan;
    pthread_barrier_t barrier;
    size_t rounds;
    int n;
    struct {
        uint64_t got; /* 0: it put */
    } results[WAITERS];
};

struct guest {
    struct hall *hall;
    int id;
};

static void *mingle(void *arg)
{
    struct guest *guest = arg;
    struct hall *hall = guest->hall;
    spool_select *sel = select_of();
    uint64_t out = 0, in = 0;

    must_be(spool_select_put(sel, hall->chan, &out), 0);
    must_be(spool_select_get(sel, hall->chan, &in), 1);
    for (size_t round = 0; round < hall->rounds; round++) {
        out = round * WAITERS + (uint64_t)guest->id + 1;
        in = 0;
        int i = spool_select_wait(sel, DEADLINE);
        must(i == 0 || i == 1);
        must_be(spool_select_result(sel, i), 0);
        must((i == 1) == (in != 0));
        must(in != out);
        hall->results[guest->id].got = in;
        pthread_barrier_wait(&hall->barrier);
        if (guest->id == 0) {
            bool seen[WAITERS] = {false};
            int getters = 0;

            for (int j = 0; j < hall->n; j++) {
                uint64_t got = hall->results[j].got;

                if (got == 0)
                    continue;
                uint64_t from = got - 1 - round * WAITERS;
                must(from < (uint64_t)hall->n);
                must(!seen[from] && hall->results[from].got == 0);
                seen[from] = true;
                getters++;
            }
            must_be(getters, hall->n / 2);
        }
        pthread_barrier_wait(&hall->barrier);
    }
    spool_select_free(sel);
    return NULL;
}

static void mingle_all(int n, size_t rounds)
{
    struct hall hall = {.chan = meet_of(8), .rounds = rounds, .n = n};
    struct guest guests[WAITERS];
    pthread_t threads[WAITERS];

    pthread_barrier_init(&hall.barrier, NULL, (unsigned)n);
    for (int i = 0; i < n; i++) {
        guests[i] = (struct guest){&hall, i};
        must_be(pthread_create(&threads[i], NULL, mingle, &guests[i]), 0);
    }
    for (int i = 0; i < n; i++)
        must_be(pthread_join(threads[i], NULL), 0);
    pthread_barrier_destroy(&hall.barrier);
    spool_unref(hall.chan);
}

START_TEST(everybody_pairs_up)
{
    static const int numbers[] = {2, 4, 6, WAITERS};

    mingle_all(numbers[_i], scaled(numbers[_i] == WAITERS ? 10000 : 3000));
}
END_TEST

/*
 * Three selects in a ring: each puts to the next and gets from the one before, on channels of their own. In every
 * round one pair can meet; the third then meets the main thread, which takes what is left.
 */
struct ring3 {
    spool_chan *chans[3];
    pthread_barrier_t barrier;
    size_t rounds;
    int done[3]; /* 0: put, 1: got */
    uint64_t got[3];
};

struct member {
    struct ring3 *ring;
    int id;
};

static void *turn(void *arg)
{
    struct member *m = arg;
    struct ring3 *ring = m->ring;
    spool_select *sel = select_of();
    uint64_t out, in;

    must_be(spool_select_put(sel, ring->chans[m->id], &out), 0);
    must_be(spool_select_get(sel, ring->chans[(m->id + 2) % 3], &in), 1);
    for (size_t round = 0; round < ring->rounds; round++) {
        out = round * 4 + (uint64_t)m->id + 1;
        in = 0;
        ring->done[m->id] = spool_select_wait(sel, DEADLINE);
        must(ring->done[m->id] == 0 || ring->done[m->id] == 1);
        must_be(spool_select_result(sel, ring->done[m->id]), 0);
        ring->got[m->id] = in;
        pthread_barrier_wait(&ring->barrier);
        pthread_barrier_wait(&ring->barrier);
    }
    spool_select_free(sel);
    return NULL;
}

START_TEST(rings_of_three)
{
    struct ring3 ring = {.rounds = scaled(3000)};
    struct member members[3];
    pthread_t threads[3];

    pthread_barrier_init(&ring.barrier, NULL, 4);
    for (int i = 0; i < 3; i++)
        ring.chans[i] = meet_of(8);
    for (int i = 0; i < 3; i++) {
        members[i] = (struct member){&ring, i};
        must_be(pthread_create(&threads[i], NULL, turn, &members[i]), 0);
    }
    for (size_t round = 0; round < ring.rounds; round++) {
        /* The one that is left has nobody to put to but this thread, which tries each of the channels. */
        uint64_t in = 0;
        int left = -1;

        for (int64_t limit = now_ns() + DEADLINE; left < 0;) {
            must(now_ns() < limit);
            for (int i = 0; i < 3 && left < 0; i++)
                if (spool_try_get(ring.chans[i], &in) == 0)
                    left = i;
            if (left < 0)
                sched_yield();
        }
        must_be(in, round * 4 + (uint64_t)left + 1);
        pthread_barrier_wait(&ring.barrier);
        must_be(ring.done[left], 0);
        int getter = -1, putter = -1;
        for (int i = 0; i < 3; i++) {
            if (ring.done[i] == 1)
                getter = i;
            else if (i != left)
                putter = i;
        }
        must(getter >= 0 && putter >= 0);
        must_be((putter + 1) % 3, getter);
        must_be(ring.got[getter], round * 4 + (uint64_t)putter + 1);
        pthread_barrier_wait(&ring.barrier);
    }
    for (int i = 0; i < 3; i++) {
        must_be(pthread_join(threads[i], NULL), 0);
        spool_unref(ring.chans[i]);
    }
    pthread_barrier_destroy(&ring.barrier);
}
END_TEST

/* ---- Everything against everything ---------------------------------------------------------------------------- */

/*
 * Some put and some get, each in a way that it draws anew every time: blocking, for a short time, trying, in a select
 * alone or beside a channel that is never ready. What was put and what was got must be the same, one for one.
 */
#define MIXED 6

struct mixed {
    spool_chan *chan, *idle;
    atomic_uint_least64_t puts, gets, put_sum, get_sum;
    atomic_bool stop;
};

struct mixer {
    struct mixed *mixed;
    bool puts;
    uint64_t seed;
};

static int mix_once(struct mixed *m, bool puts, uint64_t *value, uint64_t draw, spool_select *sel)
{
    uint64_t other = 0;
    int64_t timeout = (int64_t)(draw >> 8) % 200 * US;

    switch (draw % 4) {
    case 0:
        return puts ? spool_try_put(m->chan, value) : spool_try_get(m->chan, value);
    case 1:
        return puts ? spool_put_for(m->chan, value, timeout + 1) : spool_get_for(m->chan, value, timeout + 1);
    default:
        break;
    }
    int mine = puts ? spool_select_put(sel, m->chan, value) : spool_select_get(sel, m->chan, value);
    int idle = draw % 4 == 3 ? spool_select_get(sel, m->idle, &other) : -1;
    must(mine >= 0);
    int i = spool_select_wait(sel, timeout);
    if (i >= 0) {
        must_be(i, mine);
        i = spool_select_result(sel, i);
    }
    if (i != -EPIPE)
        must_be(spool_select_remove(sel, mine), 0);
    if (idle >= 0)
        must_be(spool_select_remove(sel, idle), 0);
    return i;
}

static void *mix(void *arg)
{
    struct mixer *mixer = arg;
    struct mixed *m = mixer->mixed;
    spool_select *sel = select_of();

    while (!atomic_load(&m->stop)) {
        uint64_t value = mixer->puts ? rnd(&mixer->seed) : 0;
        int ret = mix_once(m, mixer->puts, &value, rnd(&mixer->seed) >> 7, sel);

        if (ret == -EPIPE)
            break;
        if (ret != 0) {
            must(ret == -EAGAIN || ret == -ETIMEDOUT);
            continue;
        }
        atomic_fetch_add(mixer->puts ? &m->put_sum : &m->get_sum, value);
        atomic_fetch_add(mixer->puts ? &m->puts : &m->gets, 1);
    }
    spool_select_free(sel);
    return NULL;
}

START_TEST(every_way_against_every_way)
{
    struct mixed m = {.chan = meet_of(8), .idle = meet_of(8)};
    struct mixer mixers[MIXED];
    pthread_t threads[MIXED];
    uint64_t rounds = scaled(100000);

    for (int i = 0; i < MIXED; i++) {
        mixers[i] = (struct mixer){.mixed = &m, .puts = i % 2, .seed = (uint64_t)i * 77777 + 12345};
        must_be(pthread_create(&threads[i], NULL, mix, &mixers[i]), 0);
    }
    for (uint64_t last = 0; atomic_load(&m.gets) < rounds; last = atomic_load(&m.gets))
        wait_until(atomic_load(&m.gets) > last || atomic_load(&m.gets) >= rounds);
    if (_i)
        must_be(spool_close(m.chan), 0);
    atomic_store(&m.stop, true);
    for (int i = 0; i < MIXED; i++)
        must_be(pthread_join(threads[i], NULL), 0);
    must_be(atomic_load(&m.puts), atomic_load(&m.gets));
    must_be(atomic_load(&m.put_sum), atomic_load(&m.get_sum));
    spool_unref(m.chan);
    spool_unref(m.idle);
}
END_TEST

/* Selects come and go, while others wait on the same channel. */
static void *come_and_go(void *arg)
{
    struct mixer *mixer = arg;
    struct mixed *m = mixer->mixed;

    while (!atomic_load(&m->stop)) {
        spool_select *sel = select_of();
        uint64_t out = rnd(&mixer->seed) | 1, in = 0;

        must_be(spool_select_put(sel, m->chan, &out), 0);
        must_be(spool_select_get(sel, m->chan, &in), 1);
        int i = spool_select_wait(sel, (int64_t)(rnd(&mixer->seed) % 100) * US);
        if (i >= 0) {
            atomic_fetch_add(i == 0 ? &m->puts : &m->gets, 1);
            atomic_fetch_add(i == 0 ? &m->put_sum : &m->get_sum, i == 0 ? out : in);
        } else {
            must(i == -EAGAIN || i == -ETIMEDOUT);
        }
        spool_select_free(sel);
    }
    return NULL;
}

START_TEST(selects_come_and_go)
{
    struct mixed m = {.chan = meet_of(8)};
    struct mixer mixers[MIXED];
    pthread_t threads[MIXED];
    uint64_t rounds = scaled(20000);

    for (int i = 0; i < MIXED; i++) {
        mixers[i] = (struct mixer){.mixed = &m, .seed = (uint64_t)i * 99991 + 7};
        must_be(pthread_create(&threads[i], NULL, come_and_go, &mixers[i]), 0);
    }
    for (uint64_t last = 0; atomic_load(&m.gets) < rounds; last = atomic_load(&m.gets))
        wait_until(atomic_load(&m.gets) > last || atomic_load(&m.gets) >= rounds);
    atomic_store(&m.stop, true);
    for (int i = 0; i < MIXED; i++)
        must_be(pthread_join(threads[i], NULL), 0);
    must_be(atomic_load(&m.puts), atomic_load(&m.gets));
    must_be(atomic_load(&m.put_sum), atomic_load(&m.get_sum));
    spool_unref(m.chan);
}
END_TEST

START_TEST(no_descriptor_no_offer)
{
    spool_chan *chan = meet_of(8);
    spool_select *sel = select_of();
    uint64_t value = 0;
    struct rlimit limit, none;

    must(spool_fd(chan) >= 0 && spool_put_fd(chan) >= 0);
    must_be(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){0, limit.rlim_max};
    must_be(setrlimit(RLIMIT_NOFILE, &none), 0);
    int r = spool_select_get(sel, chan, &value);
    must_be(setrlimit(RLIMIT_NOFILE, &limit), 0);
    must_be(r, -EMFILE);
    must_be(spool_select_wait(sel, 0), -ENODATA);
    must_be(spool_try_put(chan, &value), -EAGAIN);
    must_be(spool_select_get(sel, chan, &value), 0);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    spool_select_free(sel);
    spool_unref(chan);
}
END_TEST

int main(void)
{
    const struct {
        const char *name;
        const TTest *test;
        int loops;
    } list[] = {
        {"holds_nothing", holds_nothing, 1},
        {"try_meets_who_waits", try_meets_who_waits, 4 * (int)COUNT(sizes)},
        {"two_that_wait_meet", two_that_wait_meet, 4},
        {"time_passes_and_nothing_stays", time_passes_and_nothing_stays, 4},
        {"close_ends_every_wait", close_ends_every_wait, 4},
        {"batches_meet_one_by_one", batches_meet_one_by_one, 1},
        {"descriptors_tell_who_waits", descriptors_tell_who_waits, 4},
        {"nested_select_sees_who_waits", nested_select_sees_who_waits, 4},
        {"nested_select_sees_the_second_of_two", nested_select_sees_the_second_of_two, 1},
        {"closed_while_off", closed_while_off, 2},
        {"readiness_alone_meets_nobody", readiness_alone_meets_nobody, 1},
        {"select_never_meets_itself", select_never_meets_itself, 1},
        {"nobody_wakes_itself", nobody_wakes_itself, 16},
        {"duplicate_cases_take_turns", duplicate_cases_take_turns, 1},
        {"everybody_pairs_up", everybody_pairs_up, 4},
        {"rings_of_three", rings_of_three, 1},
        {"every_way_against_every_way", every_way_against_every_way, 2},
        {"selects_come_and_go", selects_come_and_go, 1},
        {"no_descriptor_no_offer", no_descriptor_no_offer, 1},
    };
    Suite *suite = suite_create("meet");

    for (size_t i = 0; i < COUNT(list); i++) {
        TCase *tcase = case_new(suite, list[i].name);

        tcase_add_loop_test(tcase, list[i].test, 0, list[i].loops);
    }
    return run_suite(suite, "meet");
}
