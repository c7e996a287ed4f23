/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* Pairs: two ends, two directions, one life. */

#include "util.h"

static spool_chan *const sentinel = (spool_chan *)(uintptr_t)0x5e5e5e50;

/* One of each flavour. */
static const size_t flavours[] = {3, SPOOL_UNBOUNDED, 0};

enum { N_FLAVOURS = sizeof(flavours) / sizeof(*flavours) };

static void pair_new(spool_chan **a, spool_chan **b, size_t size, size_t capacity)
{
    *a = *b = NULL;
    must_be(spool_pair_new(a, b, size, capacity), 0);
    must(*a && *b && *a != *b);
}

static void put_tag(spool_chan *c, uint64_t tag)
{
    char elem[4096];

    elem_fill(elem, spool_elem_size(c), tag);
    must_be(spool_try_put(c, elem), 0);
}

static void get_tag(spool_chan *c, uint64_t tag)
{
    char elem[4096];

    must_be(spool_try_get(c, elem), 0);
    must(elem_is(elem, spool_elem_size(c), tag));
}

static int try_put(spool_chan *c)
{
    char elem[4096] = {0};

    return spool_try_put(c, elem);
}

static int try_get(spool_chan *c)
{
    char elem[4096];

    return spool_try_get(c, elem);
}

START_TEST(test_new_errors)
{
    static const struct {
        size_t size, capacity;
        int rc;
    } bad[] = {
        {SIZE_MAX, 2, -EOVERFLOW},
        {2, SIZE_MAX / 2 + 1, -EOVERFLOW},
    };
    spool_chan *a = sentinel;
    spool_chan *b = sentinel;
    int rc;

    must_be(spool_pair_new(NULL, &b, 8, 1), -EINVAL);
    must_be(spool_pair_new(&a, NULL, 8, 1), -EINVAL);
    must_be(spool_pair_new(NULL, NULL, 8, 1), -EINVAL);
    must_be(spool_pair_new(&a, &a, 8, 1), -EINVAL);
    must(a == sentinel && b == sentinel);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        must_be(spool_pair_new(&a, &b, bad[i].size, bad[i].capacity), bad[i].rc);
        must(a == sentinel && b == sentinel);
    }
    if (sizeof(size_t) >= 8) {
        must_be(spool_pair_new(&a, &b, (size_t)1 << 30, (size_t)1 << 28), -ENOMEM);
        /* One direction can be counted, two cannot. */
        rc = spool_pair_new(&a, &b, SIZE_MAX / 2 + 1, 1);
        must(rc == -ENOMEM || rc == -EOVERFLOW);
        rc = spool_pair_new(&a, &b, SIZE_MAX / 2 + 1, SPOOL_UNBOUNDED);
        must(rc == -ENOMEM || rc == -EOVERFLOW);
        must(a == sentinel && b == sentinel);
    }
}
END_TEST

static int echo(struct worker *w)
{
    char elem[4096];
    int rc;

    while ((rc = spool_get(w->chan, elem)) == 0) {
        w->count++;
        rc = spool_put(w->chan, elem);
        if (rc < 0)
            break;
    }
    return rc;
}

/* In a rendezvous too the directions have nothing to do with each other: nobody meets who is at the same end. */
START_TEST(test_directions_of_rendezvous)
{
    static const size_t sizes[] = {0, 1, 3, 8, 9, 24, 4096};

    for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
        spool_chan *a;
        spool_chan *b;
        char elem[4096];
        struct worker w = {0};

        pair_new(&a, &b, sizes[s], 0);
        must_be(spool_elem_size(a), sizes[s]);
        must_be(spool_capacity(a), 0);
        must_be(spool_capacity(b), 0);
        must_be(try_put(a), -EAGAIN);
        must_be(try_get(a), -EAGAIN);
        w.chan = b;
        worker_start(&w, echo);
        for (uint64_t turn = 0; turn < 50; turn++) {
            elem_fill(elem, sizes[s], turn);
            must_be(spool_put(a, elem), 0);
            must_be(try_put(b), -EAGAIN);
            memset(elem, 0, sizeof(elem));
            must_be(spool_get_for(a, elem, DEADLINE), 0);
            must(elem_is(elem, sizes[s], turn));
            must_be(spool_len(a), 0);
            must_be(spool_len(b), 0);
        }
        worker_wait_asleep(&w);
        must_be(try_get(a), -EAGAIN);
        must_be(try_put(b), -EAGAIN);
        must_be(try_get(b), -EAGAIN);
        must_be(spool_close(a), 0);
        must_be(worker_join(&w), -EPIPE);
        must(!spool_unref(a));
        must(!spool_unref(b));
    }
}
END_TEST

/* Each direction has its own room, order and length; len is what comes in. */
START_TEST(test_directions)
{
    static const size_t sizes[] = {0, 1, 3, 8, 9, 24, 4096};
    static const size_t capacities[] = {1, 2, 3, 8, SPOOL_UNBOUNDED};
    int fds = count_fds();

    for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
        for (size_t k = 0; k < sizeof(capacities) / sizeof(*capacities); k++) {
            spool_chan *a;
            spool_chan *b;
            size_t n;

            pair_new(&a, &b, sizes[s], capacities[k]);
            n = fill_of(a, 100);
            must_be(spool_elem_size(a), sizes[s]);
            must_be(spool_elem_size(b), sizes[s]);
            must_be(spool_capacity(a), capacities[k]);
            must_be(spool_capacity(b), capacities[k]);
            must(spool_alive(a) && spool_alive(b));
            for (int turn = 0; turn < 5; turn++) {
                must_be(try_get(a), -EAGAIN);
                must_be(try_get(b), -EAGAIN);
                for (size_t i = 0; i < n; i++) {
                    put_tag(a, i);
                    must_be(spool_len(b), i + 1);
                    must_be(spool_len(a), 0);
                }
                if (is_bounded(a))
                    must_be(try_put(a), -EAGAIN);
                must_be(try_get(a), -EAGAIN);
                for (size_t i = 0; i < n; i++) {
                    put_tag(b, 100 + i);
                    must_be(spool_len(a), i + 1);
                    must_be(spool_len(b), n);
                }
                if (is_bounded(b))
                    must_be(try_put(b), -EAGAIN);
                for (size_t i = 0; i < n; i++)
                    get_tag(b, i);
                must_be(spool_len(a), n);
                for (size_t i = 0; i < n; i++)
                    get_tag(a, 100 + i);
            }
            must(!spool_unref(a));
            must(!spool_unref(b));
        }
    }
    must_be(count_fds(), fds);
}
END_TEST

START_TEST(test_names)
{
    spool_chan *a;
    spool_chan *b;

    pair_new(&a, &b, 8, flavours[_i]);
    must_be(spool_set_name(a, "left"), 0);
    must_be(strcmp(spool_name(b), "left"), 0);
    must_be(spool_set_name(b, "right"), 0);
    must_be(strcmp(spool_name(a), "right"), 0);
    must_be(spool_set_name(b, "0123456789012345678901234567890123456789"), -ENAMETOOLONG);
    must_be(strcmp(spool_name(a), "right"), 0);
    spool_unref(a);
    must_be(strcmp(spool_name(b), "right"), 0);
    spool_unref(b);
}
END_TEST

START_TEST(test_null_elem)
{
    spool_chan *a;
    spool_chan *b;

    pair_new(&a, &b, 8, flavours[_i]);
    must_be(spool_put(a, NULL), -EINVAL);
    must_be(spool_get(b, NULL), -EINVAL);
    must_be(spool_len(a), 0);
    must_be(spool_len(b), 0);
    spool_unref(a);
    spool_unref(b);
}
END_TEST

/* Closing at either end closes both directions; what was put is still got. */
START_TEST(test_close)
{
    for (int which = 0; which < 2; which++) {
        spool_chan *a;
        spool_chan *b;

        pair_new(&a, &b, which ? 24 : 8, flavours[_i]);
        if (!is_meet(a)) {
            put_tag(a, 1);
            put_tag(a, 2);
            put_tag(b, 3);
        }
        must_be(spool_close(which ? b : a), 0);
        must(!spool_alive(a) && !spool_alive(b));
        must_be(spool_close(a), -EALREADY);
        must_be(spool_close(b), -EALREADY);
        must_be(try_put(a), -EPIPE);
        must_be(try_put(b), -EPIPE);
        if (!is_meet(a)) {
            must_be(spool_len(b), 2);
            must_be(spool_len(a), 1);
            get_tag(b, 1);
            get_tag(b, 2);
            get_tag(a, 3);
        }
        for (int again = 0; again < 3; again++) {
            must_be(try_get(a), -EPIPE);
            must_be(try_get(b), -EPIPE);
        }
        spool_unref(a);
        spool_unref(b);
    }
}
END_TEST

/* As close(2) of one end of a socketpair: the other end reads what is left, then sees the end. */
START_TEST(test_unref_closes)
{
    for (int which = 0; which < 2; which++) {
        spool_chan *ends[2];
        spool_chan *gone;
        spool_chan *left;

        size_t n;

        pair_new(&ends[0], &ends[1], 8, flavours[_i]);
        gone = ends[which];
        left = ends[!which];
        n = is_meet(gone) ? 0 : 2;
        for (size_t i = 1; i <= n; i++)
            put_tag(gone, i);
        spool_ref(gone);
        spool_unref(gone);
        must(spool_alive(left));
        must_be(try_put(left), n ? 0 : -EAGAIN);
        spool_unref(gone);
        must(!spool_alive(left));
        must_be(try_put(left), -EPIPE);
        must_be(spool_len(left), n);
        must_be(spool_close(left), -EALREADY);
        for (size_t i = 1; i <= n; i++)
            get_tag(left, i);
        must_be(try_get(left), -EPIPE);
        spool_unref(left);
    }
}
END_TEST

static int close_it(struct worker *w)
{
    return spool_close(w->chan);
}

/* Once anything has shown that the pair is closed, in either direction, no put is accepted in the other. */
START_TEST(test_closed_at_once)
{
    size_t rounds = scaled(1000);

    for (size_t round = 0; round < rounds; round++) {
        spool_chan *ends[2];
        struct worker w = {0};
        spool_chan *c;
        uint64_t v = 0;

        pair_new(&ends[0], &ends[1], 8, flavours[_i] == 3 ? 1 : flavours[_i]);
        c = ends[round % 2];
        w.chan = ends[round / 2 % 2];
        worker_start(&w, close_it);
        switch (round / 4 % 3) {
        case 0:
            must_be(spool_get(c, &v), -EPIPE);
            must_be(spool_try_put(c, &v), -EPIPE);
            break;
        case 1:
            while (spool_alive(c))
                ;
            must_be(spool_try_put(c, &v), -EPIPE);
            break;
        default:
            while (spool_try_put(c, &v) != -EPIPE)
                ;
            must_be(spool_try_get(c, &v), -EPIPE);
            must_be(spool_try_put(c, &v), -EPIPE);
        }
        must_be(worker_join(&w), 0);
        spool_unref(ends[0]);
        spool_unref(ends[1]);
    }
}
END_TEST

/* ---- Blocked peers -------------------------------------------------------------------------------------------- */

enum ending { CLOSE_OWN, CLOSE_PEER, UNREF_PEER, UNREF_OWN, N_ENDINGS };

/* Getters and putters parked at one end see the close of either end, and the last unref of either. */
START_TEST(test_blocked)
{
    static const struct {
        size_t capacity;
        bool putting;
    } kinds[] = {{2, false}, {2, true}, {0, false}, {0, true}, {SPOOL_UNBOUNDED, false}};
    enum ending ending = (enum ending)(_i % N_ENDINGS);
    bool putting = kinds[_i / N_ENDINGS].putting;
    int n = putting && kinds[_i / N_ENDINGS].capacity ? 2 : 0;
    spool_chan *mine;
    spool_chan *peer;
    struct worker w[3];
    uint64_t v[3] = {0};

    pair_new(&mine, &peer, 8, kinds[_i / N_ENDINGS].capacity);
    for (int i = 0; i < n; i++)
        put_tag(mine, 1);
    memset(w, 0, sizeof(w));
    for (size_t i = 0; i < 3; i++) {
        w[i].chan = mine;
        w[i].elem = &v[i];
        w[i].timeout_ns = DEADLINE;
        worker_start(&w[i], putting ? (i ? worker_put : worker_put_for) : (i ? worker_get : worker_get_for));
    }
    for (size_t i = 0; i < 3; i++)
        worker_wait_asleep(&w[i]);
    switch (ending) {
    case CLOSE_OWN:
        must_be(spool_close(mine), 0);
        break;
    case CLOSE_PEER:
        must_be(spool_close(peer), 0);
        break;
    case UNREF_PEER:
        spool_unref(peer);
        break;
    default:
        spool_unref(mine);
    }
    for (size_t i = 0; i < 3; i++)
        must_be(worker_join(&w[i]), -EPIPE);
    if (ending != UNREF_PEER) {
        for (int i = 0; i < n; i++)
            get_tag(peer, 1);
        must_be(try_get(peer), -EPIPE);
        spool_unref(peer);
    }
    if (ending != UNREF_OWN)
        spool_unref(mine);
}
END_TEST

/* A put at one end wakes a getter at the other, and a get a putter; nobody at its own end. */
START_TEST(test_wakes_peer)
{
    spool_chan *a;
    spool_chan *b;
    uint64_t got = 0;
    uint64_t v = 5;
    struct worker get = {0};
    struct worker own = {0};

    pair_new(&a, &b, 8, flavours[_i]);
    get.chan = b;
    get.elem = &got;
    own.chan = a;
    own.elem = &v;
    worker_start(&get, worker_get);
    worker_start(&own, worker_get);
    worker_wait_asleep(&get);
    worker_wait_asleep(&own);
    must_be(spool_put(a, &(uint64_t){77}), 0);
    must_be(worker_join(&get), 0);
    must_be(got, 77);
    worker_wait_asleep(&own);
    must_be(spool_put(b, &(uint64_t){78}), 0);
    must_be(worker_join(&own), 0);
    must_be(v, 78);
    spool_unref(a);
    spool_unref(b);
}
END_TEST

/* ---- Drop ----------------------------------------------------------------------------------------------------- */

static struct {
    uint64_t tags[16];
    size_t n;
    pid_t tid;
} dropped;

static void drop_note(void *elem)
{
    must(dropped.n < 16);
    dropped.tags[dropped.n++] = elem_tag(elem);
    dropped.tid = self_tid();
}

/* What comes in at an end is dropped when that end goes; what it sent is still got, or dropped with the other end. */
START_TEST(test_drop)
{
    size_t size = _i % 2 ? 24 : 8;
    spool_chan *a;
    spool_chan *b;

    pair_new(&a, &b, size, _i / 2 ? SPOOL_UNBOUNDED : 4);
    must_be(spool_set_drop(a, drop_note), 0);
    must_be(spool_set_drop(b, drop_note), 0);
    for (uint64_t i = 1; i <= 3; i++) {
        put_tag(a, 100 + i);
        put_tag(b, 200 + i);
    }
    get_tag(a, 201);
    spool_unref(a);
    must_be(dropped.n, 2);
    must_be(dropped.tags[0], 202);
    must_be(dropped.tags[1], 203);
    must_be(dropped.tid, self_tid());
    must_be(try_put(b), -EPIPE);
    get_tag(b, 101);
    must_be(dropped.n, 2);
    spool_unref(b);
    must_be(dropped.n, 4);
    must_be(dropped.tags[2], 102);
    must_be(dropped.tags[3], 103);
}
END_TEST

/* A plain close drops nothing: both ends can still get. */
START_TEST(test_drop_after_close)
{
    spool_chan *a;
    spool_chan *b;

    pair_new(&a, &b, 8, flavours[_i]);
    must_be(spool_set_drop(a, drop_note), 0);
    put_tag(a, 1);
    put_tag(b, 2);
    must_be(spool_close(a), 0);
    must_be(dropped.n, 0);
    get_tag(b, 1);
    get_tag(a, 2);
    spool_unref(a);
    spool_unref(b);
    must_be(dropped.n, 0);
}
END_TEST

static atomic_size_t live;

static void drop_free(void *elem)
{
    void *p;

    memcpy(&p, elem, sizeof(p));
    free(p);
    atomic_fetch_sub(&live, 1);
}

static int put_and_get_memory(struct worker *w)
{
    for (size_t i = 0; i < w->count; i++) {
        int64_t timeout = is_meet(w->chan) ? (int64_t)(i % 4) * 20 * US : 0;
        void *p = malloc(1);

        must(p);
        atomic_fetch_add(&live, 1);
        if (spool_put_for(w->chan, &p, timeout) < 0)
            drop_free(&p);
        if (i % 3 == 0 && spool_get_for(w->chan, &p, timeout) == 0)
            drop_free(&p);
    }
    spool_unref(w->chan);
    return 0;
}

/* Both ends in use, each dropped when its thread is done: every element is freed once. */
START_TEST(test_drop_race)
{
    size_t rounds = scaled(250);
    uint64_t seed = 5;

    for (size_t round = 0; round < rounds; round++) {
        struct worker w[2];
        spool_chan *a;
        spool_chan *b;

        memset(w, 0, sizeof(w));
        pair_new(&a, &b, sizeof(void *), flavours[_i]);
        must_be(spool_set_drop(a, drop_free), 0);
        must_be(spool_set_drop(b, drop_free), 0);
        w[0].chan = a;
        w[1].chan = b;
        for (int i = 0; i < 2; i++) {
            w[i].count = rnd(&seed) % 100;
            worker_start(&w[i], put_and_get_memory);
        }
        for (int i = 0; i < 2; i++)
            must_be(worker_join(&w[i]), 0);
        must_be(atomic_load(&live), 0);
    }
}
END_TEST

/* ---- Descriptors ---------------------------------------------------------------------------------------------- */

START_TEST(test_fds)
{
    int fds = count_fds();
    spool_chan *a;
    spool_chan *b;
    int get_a;
    int get_b;
    int put_a;
    int put_b;

    pair_new(&a, &b, 8, 1);
    must_be(count_fds(), fds);
    get_a = spool_fd(a);
    get_b = spool_fd(b);
    put_a = spool_put_fd(a);
    put_b = spool_put_fd(b);
    must(get_a >= 0 && get_b >= 0 && put_a >= 0 && put_b >= 0);
    must(get_a != get_b && put_a != put_b && get_a != put_a && get_b != put_b && get_a != put_b && get_b != put_a);
    must_be(count_fds(), fds + 4);
    must_be(try_get(a), -EAGAIN);
    must_be(try_get(b), -EAGAIN);
    must(!fd_readable(get_a) && !fd_readable(get_b) && fd_readable(put_a) && fd_readable(put_b));
    put_tag(a, 1);
    must_be(try_put(a), -EAGAIN);
    must(!fd_readable(get_a) && fd_readable(get_b) && !fd_readable(put_a) && fd_readable(put_b));
    put_tag(b, 2);
    must_be(try_put(b), -EAGAIN);
    must(fd_readable(get_a) && fd_readable(get_b) && !fd_readable(put_a) && !fd_readable(put_b));
    get_tag(b, 1);
    must_be(try_get(b), -EAGAIN);
    must(fd_readable(get_a) && !fd_readable(get_b) && fd_readable(put_a) && !fd_readable(put_b));
    spool_unref(a);
    must(fd_readable(get_b) && fd_readable(put_b));
    must_be(try_get(b), -EPIPE);
    must_be(try_put(b), -EPIPE);
    must(fd_readable(get_b) && fd_readable(put_b));
    spool_unref(b);
    must_be(count_fds(), fds);
}
END_TEST

/* There is always room in an unbounded one, and nobody at the other end of a rendezvous until somebody waits. */
START_TEST(test_fds_of_other_flavours)
{
    for (int meet = 0; meet < 2; meet++) {
        int fds = count_fds();
        spool_chan *ends[2];
        int get[2];
        int put[2];
        uint64_t v = 3;
        struct worker w = {.elem = &v};

        pair_new(&ends[0], &ends[1], 8, meet ? 0 : SPOOL_UNBOUNDED);
        for (int i = 0; i < 2; i++) {
            get[i] = spool_fd(ends[i]);
            put[i] = spool_put_fd(ends[i]);
            must(get[i] >= 0 && put[i] >= 0);
            must_be(try_get(ends[i]), -EAGAIN);
            if (meet)
                must_be(try_put(ends[i]), -EAGAIN);
        }
        must_be(count_fds(), fds + 4);
        for (int i = 0; i < 2; i++) {
            must_be(fd_readable(get[i]), false);
            must_be(fd_readable(put[i]), !meet);
        }
        if (meet) {
            w.chan = ends[0];
            worker_start(&w, worker_put);
            worker_wait_asleep(&w);
        } else {
            must_be(spool_put(ends[0], &v), 0);
        }
        must(fd_readable(get[1]) && !fd_readable(get[0]));
        must_be(fd_readable(put[0]), !meet);
        must_be(fd_readable(put[1]), !meet);
        get_tag(ends[1], 3);
        if (meet)
            must_be(worker_join(&w), 0);
        must_be(try_get(ends[1]), -EAGAIN);
        must(!fd_readable(get[1]));
        spool_unref(ends[0]);
        must(fd_readable(get[1]) && fd_readable(put[1]));
        must_be(try_get(ends[1]), -EPIPE);
        must_be(try_put(ends[1]), -EPIPE);
        must(fd_readable(get[1]) && fd_readable(put[1]));
        spool_unref(ends[1]);
        must_be(count_fds(), fds);
    }
}
END_TEST

/* ---- Both directions at once ---------------------------------------------------------------------------------- */

START_TEST(test_echo)
{
    spool_chan *a;
    spool_chan *b;
    struct worker w = {0};
    static const size_t capacities[] = {1, 16, SPOOL_UNBOUNDED, 0};
    size_t size = _i % 2 ? 24 : 8;
    size_t n = scaled(10000);
    size_t put = 0;
    char elem[64];

    pair_new(&a, &b, size, capacities[_i / 2]);
    w.chan = b;
    worker_start(&w, echo);
    for (size_t got = 0; got < n; got++) {
        while (put < n && put - got < (is_meet(a) ? 1 : 2 * fill_of(a, 100))) {
            elem_fill(elem, size, put);
            if (spool_put_for(a, elem, put == got ? -1 : 0) < 0)
                break;
            put++;
        }
        must_be(spool_get_for(a, elem, DEADLINE), 0);
        must(elem_is(elem, size, got));
    }
    must_be(spool_close(a), 0);
    must_be(worker_join(&w), -EPIPE);
    must_be(w.count, n);
    spool_unref(a);
    spool_unref(b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pair");
    TCase *tc = case_new(s, "pair");

    tcase_add_test(tc, test_new_errors);
    tcase_add_test(tc, test_directions);
    tcase_add_test(tc, test_directions_of_rendezvous);
    tcase_add_loop_test(tc, test_names, 0, N_FLAVOURS);
    tcase_add_loop_test(tc, test_null_elem, 0, N_FLAVOURS);
    tcase_add_loop_test(tc, test_close, 0, N_FLAVOURS);
    tcase_add_loop_test(tc, test_unref_closes, 0, N_FLAVOURS);
    tcase_add_loop_test(tc, test_closed_at_once, 0, N_FLAVOURS);
    tcase_add_test(tc, test_fds);
    tcase_add_test(tc, test_fds_of_other_flavours);

    tc = case_new(s, "blocked");
    tcase_add_loop_test(tc, test_blocked, 0, 5 * N_ENDINGS);
    tcase_add_loop_test(tc, test_wakes_peer, 0, N_FLAVOURS);
    tcase_add_loop_test(tc, test_echo, 0, 8);

    tc = case_new(s, "drop");
    tcase_add_loop_test(tc, test_drop, 0, 4);
    tcase_add_loop_test(tc, test_drop_after_close, 0, N_FLAVOURS - 1); /* a rendezvous keeps nothing */
    tcase_add_loop_test(tc, test_drop_race, 0, N_FLAVOURS);
    return run_suite(s, "test_pair");
}
