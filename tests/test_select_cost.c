/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* A wait looks at what is ready, whatever is registered, also while something always is: looks are counted. */
#include "select_util.h"

#include "select.h"

/* ---- Looks that are counted, and what happens just before a gate is armed -------------------------------------- */

int __real_spool__ring_get(struct spool__ring *r, void *ret_elem);
int __real_spool__ring_put(struct spool__ring *r, const void *elem);
int __real_spool__chain_get(struct spool__chain *c, void *ret_elem);
int __real_spool__meet_try(struct spool__meet *m, enum spool__side side, void *elem);
void __real_spool__gate_arm(struct spool__gate *g);
int __wrap_spool__ring_get(struct spool__ring *r, void *ret_elem);
int __wrap_spool__ring_put(struct spool__ring *r, const void *elem);
int __wrap_spool__chain_get(struct spool__chain *c, void *ret_elem);
int __wrap_spool__meet_try(struct spool__meet *m, enum spool__side side, void *elem);
void __wrap_spool__gate_arm(struct spool__gate *g);
int __real_sched_yield(void);
int __wrap_sched_yield(void);

static size_t looks, put_looks, arms, yields;
static spool_chan *put_on_arm; /* gets an element before its gate is armed, and after the look that found none */

int __wrap_sched_yield(void)
{
    yields++;
    return __real_sched_yield();
}

int __wrap_spool__ring_get(struct spool__ring *r, void *ret_elem)
{
    looks++;
    return __real_spool__ring_get(r, ret_elem);
}

int __wrap_spool__ring_put(struct spool__ring *r, const void *elem)
{
    put_looks++;
    return __real_spool__ring_put(r, elem);
}

int __wrap_spool__chain_get(struct spool__chain *c, void *ret_elem)
{
    looks++;
    return __real_spool__chain_get(c, ret_elem);
}

int __wrap_spool__meet_try(struct spool__meet *m, enum spool__side side, void *elem)
{
    looks++;
    return __real_spool__meet_try(m, side, elem);
}

void __wrap_spool__gate_arm(struct spool__gate *g)
{
    arms++;
    if (put_on_arm && g == &spool__chan_lane(put_on_arm, SPOOL__GET)->gates[SPOOL__GET]) {
        put(put_on_arm, 7);
        put_on_arm = NULL;
    }
    __real_spool__gate_arm(g);
}

/* ---- A select of many, in which one is ready ------------------------------------------------------------------- */

enum { MANY = 400, HOT = MANY / 2, SCANS = 64, SEEN_WITHIN = 64 };

static struct {
    spool_select *sel;
    spool_chan *chans[MANY], *hot; /* hot is the one in the middle */
    uint64_t value;
} many;

/* With getters' cases, or putters' on channels that are full but for the hot one. */
static void many_new(int n, size_t capacity, bool putting)
{
    many.sel = select_of();
    for (int i = 0; i < n; i++) {
        spool_chan *chan = many.chans[i] = chan_of(i == n / 2 && capacity == 0 ? 1 : capacity);
        while (putting && i != n / 2 && spool_try_put(chan, &many.value) == 0)
            ;
        int index =
            putting ? spool_select_put(many.sel, chan, &many.value) : spool_select_get(many.sel, chan, &many.value);
        must_be(index, i);
    }
    many.hot = many.chans[n / 2];
}

static void many_free(int n)
{
    spool_select_free(many.sel);
    for (int i = 0; i < n; i++)
        spool_unref(many.chans[i]);
}

static int wait_hot(void)
{
    if (spool_len(many.hot) == 0)
        put(many.hot, 1);
    return spool_select_wait(many.sel, -1);
}

START_TEST(looks_go_by_what_is_ready)
{
    bool in_order = _i % 2;
    many_new(MANY, flavours[_i / 2], false);
    must_be(spool_select_set_order(many.sel, in_order ? SPOOL_IN_ORDER : SPOOL_FAIR), 0);
    for (int i = 0; i < 3 * SCANS; i++)
        must_be(wait_hot(), HOT);
    must(looks < (2 * SCANS + 1) * MANY);
    looks = 0;
    for (int i = 0; i < 300; i++)
        must_be(wait_hot(), HOT);
    must_be(looks, 300);
    /* In order those behind it were never looked at. */
    must_be(many.sel->n_listed, in_order ? MANY - HOT : 1);
    must_be_quiet(many.sel);
    many_free(MANY);
}
END_TEST

START_TEST(looks_of_put_cases_go_by_what_is_ready)
{
    uint64_t v;
    many_new(MANY, 2, true);
    for (int i = 0; i < 3 * SCANS; i++) {
        must_be(spool_select_wait(many.sel, -1), HOT);
        must_be(spool_try_get(many.hot, &v), 0);
    }
    put_looks = 0;
    for (int i = 0; i < 300; i++) {
        must_be(spool_select_wait(many.sel, -1), HOT);
        must_be(spool_try_get(many.hot, &v), 0);
    }
    must_be(put_looks, 300);
    must_be(many.sel->n_listed, 1);
    many_free(MANY);
}
END_TEST

/* All cases of one channel become ready and quiet together. */
START_TEST(cases_of_one_channel_are_armed_together)
{
    enum { CASES = 3 * MANY };
    int taken[CASES] = {0};
    many_new(MANY, 4, false);
    for (int i = MANY; i < CASES; i++)
        must_be(spool_select_get(many.sel, many.chans[i % HOT], NULL), i);
    for (int i = 0; i < 3 * SCANS; i++)
        must_be(wait_hot(), HOT);
    must_be(many.sel->n_listed, 1);
    must_be(many.sel->n_armed, MANY - 1);
    put(many.chans[3], 1);
    for (int i = 0; i < 2 * SEEN_WITHIN; i++)
        taken[wait_hot()]++;
    /* The first of them takes it, if the others have not been the last to have their turn. */
    must_be(taken[3], 1);
    must_be(taken[HOT] + taken[3] + taken[3 + 2 * HOT] + taken[3 + 3 * HOT] + taken[3 + 4 * HOT] + taken[3 + 5 * HOT],
            2 * SEEN_WITHIN);
    for (int i = 0; i < 6 * SCANS; i++)
        must_be(wait_hot(), HOT);
    must_be(many.sel->n_listed, 1);
    many_free(MANY);
}
END_TEST

/* ---- Who is alone keeps its turn -------------------------------------------------------------------------------- */

enum { STAYS = 16, AMONG = 4 };

static const struct {
    size_t capacity;
    bool putting, stays;
} alone[] = {
    {64, false, true}, {SPOOL_UNBOUNDED, false, true}, {64, true, true}, {32, false, true}, {31, false, false},
    {1, true, false},
};

static void fill_to(spool_chan *chan, size_t len)
{
    while (spool_len(chan) < len)
        put(chan, 1);
}

/* A round of looks at all of them, and then only at the one that was ready, for a while: if elements or room gather. */
START_TEST(who_is_alone_keeps_its_turn)
{
    enum { ROUNDS = 20 };
    uint64_t v;
    size_t n = ROUNDS * (1 + STAYS);
    many_new(AMONG, alone[_i].capacity, alone[_i].putting);
    for (size_t i = 0; i < n; i++) {
        if (!alone[_i].putting)
            must_be(wait_hot(), AMONG / 2);
        else if (spool_select_wait(many.sel, -1) != AMONG / 2 || spool_try_get(many.hot, &v) != 0)
            ck_abort_msg("wait %zu found another one", i);
        if (i == 0)
            looks = put_looks = 0;
    }
    /* The first wait came to it before its round was over, and the last one may have been the first of a round. */
    size_t seen = alone[_i].putting ? put_looks : looks, rounds = alone[_i].stays ? ROUNDS : n - 1;
    must(seen >= n - 1 + (rounds - 1) * (AMONG - 1) && seen <= n - 1 + rounds * (AMONG - 1));
    must_be(many.sel->n_listed, AMONG);
    many_free(AMONG);
}
END_TEST

/* Another one that becomes ready waits for so many others at most; then they take turns. */
START_TEST(who_keeps_its_turn_is_not_alone_for_long)
{
    many_new(AMONG, 64, false);
    for (int before = 0; before < 3 * STAYS; before++) {
        for (int i = 0; i < before; i++)
            must_be(wait_hot(), AMONG / 2);
        fill_to(many.chans[1], 3);
        fill_to(many.hot, 60);
        int n = 0;
        while (spool_select_wait(many.sel, -1) != 1)
            must(++n <= STAYS + 1);
        for (int i = 0; i < 2; i++) {
            must_be(spool_select_wait(many.sel, 0), AMONG / 2);
            must_be(spool_select_wait(many.sel, 0), 1);
        }
    }
    many_free(AMONG);
}
END_TEST

static void must_take_turns(int n)
{
    for (int i = 0, last = NONE; i < n; i++) {
        int now = spool_select_wait(many.sel, -1);
        must(now >= 0 && now != last);
        last = now;
    }
}

/* As it is off or runs dry, another one is added, or the order is one: who comes after it has nothing of it. */
START_TEST(who_keeps_its_turn_may_lose_it)
{
    spool_chan *late = chan_of(64);
    many_new(AMONG, 64, false);
    for (int way = 0; way < 4; way++) {
        fill_to(many.hot, 60);
        for (int i = 0; i < 2 * STAYS + 5; i++)
            must_be(spool_select_wait(many.sel, -1), AMONG / 2);
        for (int i = 0; way < 2 && i < AMONG; i++)
            fill_to(many.chans[i], 3);
        if (way == 0) {
            must_be(spool_select_enable(many.sel, AMONG / 2, false), 0);
            must_take_turns(9);
            must_be(spool_select_enable(many.sel, AMONG / 2, true), 0);
        } else if (way == 1) {
            while (spool_try_get(many.hot, &many.value) == 0)
                ;
            looks = 0;
            must_take_turns(9);
            must(looks <= 9 + 9 / (AMONG - 1));
        } else if (way == 2) {
            put(many.chans[3], 1);
            must_be(spool_select_set_order(many.sel, SPOOL_IN_ORDER), 0);
            must_be(spool_select_wait(many.sel, -1), AMONG / 2);
            put(many.chans[1], 1);
            must_be(spool_select_wait(many.sel, -1), 1);
            must_be(spool_select_set_order(many.sel, SPOOL_FAIR), 0);
            while (spool_select_wait(many.sel, -1) != 3)
                must(spool_len(many.hot) > 0);
        } else {
            put(late, 1);
            int index = spool_select_get(many.sel, late, &many.value), n = 1;
            must_be(index, AMONG);
            while (spool_select_wait(many.sel, -1) != index)
                must(++n <= 2);
        }
    }
    many_free(AMONG);
    spool_unref(late);
}
END_TEST

/* ---- What is armed is seen -------------------------------------------------------------------------------------- */

/* How many waits it takes until the element that was just put comes. */
static int waits_until(int index)
{
    int n = 1;
    while (wait_hot() != index)
        must(n++ < 10 * MANY);
    return n;
}

START_TEST(armed_cases_are_seen)
{
    uint64_t rng = 1;
    bool in_order = _i % 2;
    many_new(MANY, flavours[_i / 2], false);
    must_be(spool_select_set_order(many.sel, in_order ? SPOOL_IN_ORDER : SPOOL_FAIR), 0);
    for (int i = 0; i < 3 * SCANS; i++)
        must_be(wait_hot(), HOT);
    for (int round = 0; round < 100; round++) {
        int index = (int)(rnd(&rng) % HOT);
        for (int quiet = (int)(rnd(&rng) % 200); quiet > 0; quiet--)
            must_be(wait_hot(), HOT);
        put(many.chans[index], 1);
        int within = in_order ? 1 : SEEN_WITHIN + many.sel->n_listed + 1;
        must(waits_until(index) <= within);
    }
    many_free(MANY);
}
END_TEST

/* The epoll set was to be asked after a round of very many, who then became quiet. */
START_TEST(a_round_that_became_shorter)
{
    uint64_t v;
    many_new(MANY, 1, false);
    must_be(spool_select_wait(many.sel, 0), -EAGAIN);
    for (int i = 0; i < MANY; i++)
        put(many.chans[i], 1);
    must(spool_select_wait(many.sel, -1) >= 0);
    must_be(many.sel->n_listed, MANY);
    for (int i = 0; i < MANY; i++)
        (void)!spool_try_get(many.chans[i], &v);
    for (int i = 0; i < 3 * SCANS; i++)
        must_be(wait_hot(), HOT);
    must_be(many.sel->n_listed, 1);
    put(many.chans[5], 1);
    must(waits_until(5) <= SEEN_WITHIN + 2);
    many_free(MANY);
}
END_TEST

/* Ready after all, when it has just been armed: then it is the one performed. */
START_TEST(ready_as_it_is_armed)
{
    many_new(MANY, flavours[_i], false);
    for (int i = 0; i < SCANS - 1; i++)
        must_be(wait_hot(), HOT);
    put_on_arm = many.chans[MANY - 1];
    must(waits_until(MANY - 1) <= SCANS + 1);
    must(!put_on_arm);
    must_be(many.value, 7);
    for (int n = 0; n < 3 * SCANS; n++)
        must_be(wait_hot(), HOT);
    must_be(many.sel->n_armed, MANY - 1);
    must_be(many.sel->n_listed, 1);
    many_free(MANY);
}
END_TEST

/* ---- What is not armed ------------------------------------------------------------------------------------------ */

/* Somebody who puts now and then is not made to write. */
START_TEST(ready_now_and_then_is_not_armed)
{
    enum { SOME = 20 };
    many_new(SOME, 4, false);
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < SOME; i++)
            put(many.chans[i], 1);
        for (int i = 0; i < SOME + SCANS - 4; i++)
            must(wait_hot() >= 0);
    }
    must_be(arms, 0);
    for (int i = 0; i < 3 * SCANS; i++)
        (void)wait_hot();
    must_be(many.sel->n_armed, SOME - 1);
    many_free(SOME);
}
END_TEST

/* As long as the epoll set need not be asked, a few looks cost less. */
START_TEST(few_are_not_armed)
{
    bool in_order = _i;
    int few = in_order ? 100 : 8;
    many_new(few, 4, false);
    must_be(spool_select_set_order(many.sel, in_order ? SPOOL_IN_ORDER : SPOOL_FAIR), 0);
    for (int i = 0; i < 1000; i++)
        must_be(wait_hot(), few / 2);
    must_be(arms, 0);
    must_be(many.sel->n_listed, few);
    many_free(few);
}
END_TEST

/* With a descriptor among them it is asked anyway. */
START_TEST(few_are_armed_beside_a_descriptor)
{
    enum { FEW = 8 };
    int fds[2];
    pipe_of(fds);
    many_new(FEW, 4, false);
    must_be(spool_select_fd(many.sel, fds[0], EPOLLIN), FEW);
    for (int i = 0; i < 2 * SCANS; i++)
        must_be(wait_hot(), FEW / 2);
    must_be(arms, FEW - 1);
    must_be(many.sel->n_listed, 1);
    many_free(FEW);
    close_both(fds);
}
END_TEST

/* ---- In order --------------------------------------------------------------------------------------------------- */

static void must_be_sorted(const spool_select *sel)
{
    int before = NONE;
    for (int i = sel->first_listed, n = sel->n_listed; n > 0; i = sel->cases[i].next_listed, n--) {
        must(i > before);
        must_be(sel->cases[sel->cases[i].next_listed].prev_listed, i);
        before = i;
    }
    if (before == NONE)
        must_be(sel->first_listed, NONE);
    else
        must_be(sel->cases[before].next_listed, sel->first_listed);
}

START_TEST(in_order_the_list_is_sorted)
{
    enum { CASES = 60 };
    uint64_t rng = 5, v = 0;
    many_new(CASES, 3, false);
    for (int i = CASES; i < 2 * CASES; i++)
        must_be(spool_select_get(many.sel, many.chans[(i * 7) % CASES], NULL), i);
    for (int round = 0; round < 3000; round++) {
        int i = (int)(rnd(&rng) % (2 * CASES));
        (void)!spool_try_put(many.chans[rnd(&rng) % CASES], &v);
        if (round % 500 == 100 || round % 500 == 200)
            must_be(spool_select_set_order(many.sel, SPOOL_IN_ORDER), 0);
        if (rnd(&rng) % 8 == 0)
            must_be(spool_select_enable(many.sel, i, rnd(&rng) % 2), 0);
        int r = spool_select_wait(many.sel, rnd(&rng) % 2 ? 0 : 1);
        must(r >= 0 || r == -EAGAIN || r == -ETIMEDOUT);
        if (round % 500 == 400)
            must_be(spool_select_set_order(many.sel, SPOOL_FAIR), 0);
        if (r >= 0 && rnd(&rng) % 3)
            (void)!spool_try_get(many.chans[r < CASES ? r : (r * 7) % CASES], &v);
        if (many.sel->order == SPOOL_IN_ORDER)
            must_be_sorted(many.sel);
    }
    many_free(CASES);
}
END_TEST

/*
 * A channel that was ready all the time is listed, and looked at again and again before the select sleeps. Of another
 * one only the epoll set knows that it is ready; it is asked before others are let run for long.
 */
START_TEST(an_armed_case_is_seen_beside_one_that_was_ready)
{
    spool_select *sel = select_of();
    spool_chan *hot = chan_of(8), *quiet = chan_of(8);
    must_be(spool_select_get(sel, hot, &many.value), 0);
    must_be(spool_select_get(sel, quiet, &many.value), 1);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    /* Long enough for the epoll set not to be asked first. */
    for (int i = 0; i < 100; i++) {
        put(hot, 1);
        must_be(spool_select_wait(sel, -1), 0);
    }
    size_t before = yields;
    put(quiet, 1);
    must_be(spool_select_wait(sel, -1), 1);
    must(yields - before <= 1);
    spool_select_free(sel);
    spool_unref(hot);
    spool_unref(quiet);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("select_cost");
    TCase *tc = case_new(suite, "looks");
    tcase_add_loop_test(tc, looks_go_by_what_is_ready, 0, 2 * FLAVOURS);
    tcase_add_test(tc, looks_of_put_cases_go_by_what_is_ready);
    tcase_add_test(tc, cases_of_one_channel_are_armed_together);
    tc = case_new(suite, "alone");
    tcase_add_loop_test(tc, who_is_alone_keeps_its_turn, 0, (int)COUNT(alone));
    tcase_add_test(tc, who_keeps_its_turn_is_not_alone_for_long);
    tcase_add_test(tc, who_keeps_its_turn_may_lose_it);
    tc = case_new(suite, "seen");
    tcase_add_loop_test(tc, armed_cases_are_seen, 0, 2 * MEET);
    tcase_add_test(tc, a_round_that_became_shorter);
    tcase_add_test(tc, an_armed_case_is_seen_beside_one_that_was_ready);
    tcase_add_loop_test(tc, ready_as_it_is_armed, 0, MEET);
    tc = case_new(suite, "not armed");
    tcase_add_test(tc, ready_now_and_then_is_not_armed);
    tcase_add_loop_test(tc, few_are_not_armed, 0, 2);
    tcase_add_test(tc, few_are_armed_beside_a_descriptor);
    tc = case_new(suite, "order");
    tcase_add_test(tc, in_order_the_list_is_sorted);
    return run_suite(suite, "select_cost");
}
