/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* Closing a channel: whom it wakes, and that each put is delivered or returned, never both, never neither. */

#include "util.h"

static spool_chan *chan_new(size_t size, size_t capacity)
{
    spool_chan *c = NULL;

    must_be(spool_chan_new(&c, size, capacity), 0);
    return c;
}

/* ---- Blocked calls -------------------------------------------------------------------------------------------- */

enum { CROWD = 6 };

static void crowd_start(struct worker *w, spool_chan *c, char elems[][64], int (*fn)(struct worker *),
                        int (*fn_for)(struct worker *))
{
    for (size_t i = 0; i < CROWD; i++) {
        memset(&w[i], 0, sizeof(w[i]));
        memset(elems[i], 0x55, 64);
        w[i].chan = c;
        w[i].elem = elems[i];
        w[i].timeout_ns = i % 4 == 1 ? -1 : DEADLINE;
        worker_start(&w[i], i % 2 ? fn_for : fn);
    }
    for (size_t i = 0; i < CROWD; i++)
        worker_wait_asleep(&w[i]);
}

static void crowd_is_refused(struct worker *w, char elems[][64])
{
    for (size_t i = 0; i < CROWD; i++) {
        must_be(worker_join(&w[i]), -EPIPE);
        for (size_t k = 0; k < 64; k++)
            must_be(elems[i][k], 0x55);
    }
}

/* Putters that wait on a full channel keep their elements, and those in it are got. */
START_TEST(test_blocked_putters)
{
    static const size_t capacities[] = {1, 2, 3, 8, 0};
    size_t capacity = capacities[_i % 5];
    size_t size = _i / 5 ? 24 : 8;
    spool_chan *c = chan_new(size, capacity);
    struct worker w[CROWD];
    char elems[CROWD][64];
    char elem[64];

    for (size_t i = 0; i < capacity; i++) {
        elem_fill(elem, size, i);
        must_be(spool_put(c, elem), 0);
    }
    crowd_start(w, c, elems, worker_put, worker_put_for);
    must_be(spool_close(c), 0);
    crowd_is_refused(w, elems);
    must_be(spool_len(c), capacity);
    for (size_t i = 0; i < capacity; i++) {
        must_be(spool_get(c, elem), 0);
        must(elem_is(elem, size, i));
    }
    must_be(spool_get(c, elem), -EPIPE);
    spool_unref(c);
}
END_TEST

START_TEST(test_blocked_getters)
{
    static const size_t capacities[] = {3, SPOOL_UNBOUNDED, 0};
    spool_chan *c = chan_new(_i / 3 ? 24 : 8, capacities[_i % 3]);
    struct worker w[CROWD];
    char elems[CROWD][64];

    crowd_start(w, c, elems, worker_get, worker_get_for);
    must_be(spool_close(c), 0);
    crowd_is_refused(w, elems);
    must_be(spool_close(c), -EALREADY);
    spool_unref(c);
}
END_TEST

/* ---- Races ---------------------------------------------------------------------------------------------------- */

enum { PUTTERS = 2, GETTERS = 2, CLOSERS = 2, MOST = 3000 };

/* How the threads of a round call. In a rendezvous a try meets no try: there only the getters try. */
enum how { BLOCKING, TIMED, TRYING, N_HOW };

static struct {
    spool_chan *chan;
    size_t size;
    enum how how;
    atomic_bool closed; /* some spool_close has returned */
    atomic_int closes;  /* that said 0 */
    uint64_t spin[CLOSERS];
    atomic_uchar delivered[PUTTERS][MOST];
    size_t accepted[PUTTERS];
    pthread_barrier_t start;
} race;

#define TAG(putter, n) ((uint64_t)(putter) << 32 | (n))

static int race_put_one(const void *elem)
{
    int rc;

    switch (is_meet(race.chan) && race.how == TRYING ? BLOCKING : race.how) {
    case TIMED:
        return spool_put_for(race.chan, elem, DEADLINE);
    case TRYING:
        while ((rc = spool_try_put(race.chan, elem)) == -EAGAIN)
            sched_yield();
        return rc;
    default:
        return spool_put(race.chan, elem);
    }
}

static int race_put(struct worker *w)
{
    char elem[64];

    pthread_barrier_wait(&race.start);
    for (size_t n = 0; n < MOST; n++) {
        bool after = atomic_load(&race.closed);
        int rc;

        elem_fill(elem, race.size, TAG(w->index, n));
        rc = race_put_one(elem);
        if (rc == -EPIPE)
            break;
        must_be(rc, 0);
        must(!after);
        race.accepted[w->index] = n + 1;
    }
    while (!atomic_load(&race.closed))
        sched_yield();
    must_be(race_put_one(elem), -EPIPE);
    return 0;
}

static int race_get_one(void *elem)
{
    switch (race.how) {
    case TIMED:
        return spool_get_for(race.chan, elem, DEADLINE);
    case TRYING:
        for (;;) {
            bool after = atomic_load(&race.closed);
            int rc = spool_try_get(race.chan, elem);

            if (rc != -EAGAIN)
                return rc;
            must(!after); /* a closed channel never blocks */
            sched_yield();
        }
    default:
        return spool_get(race.chan, elem);
    }
}

static int race_get(struct worker *w)
{
    uint64_t next[PUTTERS] = {0};
    char elem[64];
    int rc;

    (void)w;
    pthread_barrier_wait(&race.start);
    while ((rc = race_get_one(elem)) == 0) {
        uint64_t tag = elem_tag(elem);
        size_t putter = (size_t)(tag >> 32);
        uint32_t n = (uint32_t)tag;

        must(putter < PUTTERS && n < MOST);
        must(elem_is(elem, race.size, tag));
        must(n >= next[putter]);
        next[putter] = n + 1;
        must_be(atomic_fetch_add(&race.delivered[putter][n], 1), 0);
    }
    must_be(rc, -EPIPE);
    must_be(race_get_one(elem), -EPIPE);
    must(!spool_alive(race.chan));
    return 0;
}

static int race_close(struct worker *w)
{
    int rc;

    pthread_barrier_wait(&race.start);
    for (uint64_t i = race.spin[w->index]; i > 0; i--)
        atomic_signal_fence(memory_order_seq_cst);
    rc = spool_close(race.chan);
    atomic_store(&race.closed, true);
    must(rc == 0 || rc == -EALREADY);
    must(!spool_alive(race.chan));
    if (rc == 0)
        atomic_fetch_add(&race.closes, 1);
    return 0;
}

static void race_round(size_t capacity, uint64_t *seed)
{
    struct worker w[PUTTERS + GETTERS + CLOSERS];
    uint64_t longest = rnd(seed) % 3 == 0 ? 2000 : 100000;
    size_t n = 0;

    race.chan = chan_new(race.size, capacity);
    atomic_store(&race.closed, false);
    atomic_store(&race.closes, 0);
    memset(w, 0, sizeof(w));
    must_be(pthread_barrier_init(&race.start, NULL, PUTTERS + GETTERS + CLOSERS), 0);
    for (size_t i = 0; i < CLOSERS; i++)
        race.spin[i] = rnd(seed) % longest;
    for (size_t i = 0; i < PUTTERS; i++) {
        race.accepted[i] = 0;
        w[n].index = i;
        worker_start(&w[n++], race_put);
    }
    for (size_t i = 0; i < GETTERS; i++)
        worker_start(&w[n++], race_get);
    for (size_t i = 0; i < CLOSERS; i++) {
        w[n].index = i;
        worker_start(&w[n++], race_close);
    }
    while (n > 0)
        must_be(worker_join(&w[--n]), 0);
    must_be(atomic_load(&race.closes), 1);
    must_be(spool_len(race.chan), 0);
    for (size_t p = 0; p < PUTTERS; p++) {
        for (size_t i = 0; i < MOST; i++) {
            if (atomic_load(&race.delivered[p][i]) != (i < race.accepted[p]))
                ck_abort_msg("%zu of putter %zu: got %d times, %zu accepted", i, p,
                             (int)atomic_load(&race.delivered[p][i]), race.accepted[p]);
            atomic_store(&race.delivered[p][i], 0);
        }
    }
    must_be(pthread_barrier_destroy(&race.start), 0);
    must(!spool_unref(race.chan));
}

START_TEST(test_race)
{
    static const size_t kinds[][2] = {{8, 1}, {8, 3}, {8, 64}, {8, SPOOL_UNBOUNDED}, {8, 0},
                                      {24, 1}, {24, 3}, {24, 64}, {24, SPOOL_UNBOUNDED}, {24, 0}};
    uint64_t seed = 1 + (uint64_t)_i;
    size_t rounds = scaled(75);

    race.size = kinds[_i][0];
    for (size_t round = 0; round < rounds; round++) {
        race.how = (enum how)(round % N_HOW);
        race_round(kinds[_i][1], &seed);
    }
}
END_TEST

static struct {
    _Atomic(spool_chan *) chan;
    atomic_size_t got; /* in this round, + 1; 0 until the getter has seen the end */
    atomic_bool end;
} last;

static int get_to_the_end(struct worker *w)
{
    (void)w;
    for (;;) {
        spool_chan *c;
        size_t got = 0;
        char elem[64];
        int rc;

        while (!(c = atomic_exchange(&last.chan, NULL))) {
            if (atomic_load(&last.end))
                return 0;
            sched_yield();
        }
        while ((rc = spool_try_get(c, elem)) != -EPIPE)
            got += rc == 0;
        atomic_store(&last.got, got + 1);
    }
}

/* A getter that looks at an empty channel while something is put and the channel closed sees both, or neither. */
START_TEST(test_race_with_last_put)
{
    struct worker w = {0};
    size_t rounds = scaled(12000);
    int64_t end = now_ns() + 5 * SEC; /* on a busy machine the two threads hardly ever run at once */
    uint64_t seed = 31;
    char elem[64] = {0};

    worker_start(&w, get_to_the_end);
    for (size_t round = 0; round < rounds && now_ns() < end; round++) {
        spool_chan *c = chan_new(_i % 2 ? 24 : 8, _i / 2 ? SPOOL_UNBOUNDED : 1 + rnd(&seed) % 3);
        size_t n = rnd(&seed) % (fill_of(c, 35) + 1); /* the first piece of an unbounded one has room for 32 */

        atomic_store(&last.got, 0);
        atomic_store(&last.chan, c);
        while (atomic_load(&last.chan))
            sched_yield();
        for (uint64_t spin = rnd(&seed) % 64; spin > 0; spin--)
            atomic_signal_fence(memory_order_seq_cst);
        for (size_t i = 0; i < n; i++)
            must_be(spool_try_put(c, elem), 0);
        must_be(spool_close(c), 0);
        while (atomic_load(&last.got) == 0)
            sched_yield();
        must_be(atomic_load(&last.got) - 1, n);
        spool_unref(c);
    }
    atomic_store(&last.end, true);
    must_be(worker_join(&w), 0);
}
END_TEST

/* Waiters that are just about to sleep when the channel is closed: none is forgotten. */
START_TEST(test_race_with_parking)
{
    static const size_t capacities[] = {1, 1, 0, 0, SPOOL_UNBOUNDED};
    bool putting = _i == 1 || _i == 3;
    size_t rounds = scaled(700);
    uint64_t seed = 42;

    for (size_t round = 0; round < rounds; round++) {
        spool_chan *c = chan_new(8, capacities[_i]);
        uint64_t v = 0;
        struct worker w = {.chan = c, .elem = &v};
        int64_t end;

        if (putting && !is_meet(c))
            must_be(spool_put(c, &v), 0);
        worker_start(&w, putting ? worker_put : worker_get);
        while (atomic_load(&w.tid) == 0)
            sched_yield();
        end = now_ns() + (int64_t)(rnd(&seed) % (uint64_t)(60 * US));
        while (now_ns() < end)
            ;
        must_be(spool_close(c), 0);
        must_be(worker_join(&w), -EPIPE);
        spool_unref(c);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("close");
    TCase *tc = case_new(s, "blocked");

    tcase_add_loop_test(tc, test_blocked_putters, 0, 10);
    tcase_add_loop_test(tc, test_blocked_getters, 0, 6);

    tc = case_new(s, "race");
    tcase_add_loop_test(tc, test_race, 0, 10);
    tcase_add_loop_test(tc, test_race_with_last_put, 0, 4);
    tcase_add_loop_test(tc, test_race_with_parking, 0, 5);
    return run_suite(s, "test_close");
}
