/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* What is called a deadlock, a lost wake or undrained: of processes made up for it, one thing changed at a time. */
#include "util.h"

#include "look.h"

/*
 * A channel of a process whose two threads sleep: the first in a get from lane 0, the second in a select that watches
 * lane 1 for room. Nothing is in lane 0, and lane 1 is full.
 */
struct world {
    struct spool__seen_chan chans[1];
    struct spool__seen_lane lanes[2];
    struct spool__seen_select selects[1];
    struct spool__seen_watch watches[2];
    struct spool__seen_thread threads[2];
    struct spool__look look;
};

static struct world *world_of(enum spool__flavour flavour)
{
    static struct world w;
    w = (struct world){
        .chans = {{.n_lanes = 2, .refs = {1, 1}}},
        .lanes = {{.flavour = flavour, .is_counted = true, .capacity = 2},
                  {.flavour = flavour, .is_counted = true, .capacity = 2, .len = 2, .puts = 2}},
        .selects = {{.n_watches = 1, .n_on = 1}},
        .watches = {{.lane = 1, .side = SPOOL__PUT, .n_on = 1}, {.lane = -1, .n_on = 1}},
        .threads = {{.wait = SPOOL__IN_LANE, .what = 0, .side = SPOOL__GET, .slept = true},
                    {.wait = SPOOL__IN_SELECT, .what = 0, .slept = true}},
    };
    w.look = (struct spool__look){.chans = w.chans,
                                  .lanes = w.lanes,
                                  .selects = w.selects,
                                  .watches = w.watches,
                                  .threads = w.threads,
                                  .n_chans = 1,
                                  .n_lanes = 2,
                                  .n_selects = 1,
                                  .n_watches = 2,
                                  .n_threads = 2};
    return &w;
}

#define IS_DEADLOCKED(w) spool__look_is_deadlocked(&(w)->look)

START_TEST(deadlock)
{
    struct world *w = world_of(SPOOL__RING);
    must(IS_DEADLOCKED(w));

    /* Who could go on by himself, or may have. */
    w->threads[0].is_timed = true;
    must(!IS_DEADLOCKED(w));
    w = world_of(SPOOL__RING);
    w->threads[1].slept = false;
    must(!IS_DEADLOCKED(w));
    for (enum spool__wait wait = SPOOL__RUNS; wait <= SPOOL__IN_CALL; wait++) {
        w = world_of(SPOOL__RING);
        w->threads[0].wait = wait;
        must(!IS_DEADLOCKED(w));
    }
    w = world_of(SPOOL__RING);
    w->look.is_blind = true;
    must(!IS_DEADLOCKED(w));

    /* Who waits for those that do. */
    for (enum spool__wait wait = SPOOL__IN_GO_WAIT; wait <= SPOOL__JOINS; wait++) {
        w = world_of(SPOOL__RING);
        w->threads[1].wait = wait;
        must(IS_DEADLOCKED(w));
        w->threads[0].wait = wait;
        must(!IS_DEADLOCKED(w)); /* nobody sleeps in a channel */
    }
}
END_TEST

START_TEST(deadlock_in_a_lane)
{
    struct world *w = world_of(SPOOL__RING);
    w->lanes[0].is_closed = true;
    must(!IS_DEADLOCKED(w));
    w = world_of(SPOOL__RING);
    w->lanes[0].len = 1;
    must(!IS_DEADLOCKED(w));
    w->lanes[0].is_counted = false; /* then it is not known, and that it sleeps counts */
    must(IS_DEADLOCKED(w));
    w = world_of(SPOOL__RING);
    w->lanes[0].flavour = SPOOL__SOURCE;
    must(!IS_DEADLOCKED(w));
    w = world_of(SPOOL__RING);
    w->threads[0].what = -1;
    must(!IS_DEADLOCKED(w));
    w = world_of(SPOOL__RING);
    w->threads[0].what = 1;
    w->threads[0].side = SPOOL__PUT;
    must(IS_DEADLOCKED(w));
    w->lanes[1].len = 1;
    must(!IS_DEADLOCKED(w));
    w = world_of(SPOOL__MEET);
    must(IS_DEADLOCKED(w));
    w = world_of(SPOOL__CHAIN); /* has room always */
    must(!IS_DEADLOCKED(w));
}
END_TEST

START_TEST(deadlock_in_a_select)
{
    struct world *w = world_of(SPOOL__RING);
    w->selects[0].is_nested = true;
    must(!IS_DEADLOCKED(w));
    w = world_of(SPOOL__RING);
    w->lanes[1].len = 1;
    must(!IS_DEADLOCKED(w));
    w->watches[0].n_on = 0; /* all its cases are off, for ever */
    must(IS_DEADLOCKED(w));
    w = world_of(SPOOL__RING);
    w->selects[0].n_watches = 2;
    must(!IS_DEADLOCKED(w)); /* a descriptor of the user's */
    w->watches[1].n_on = 0;
    must(IS_DEADLOCKED(w));
    w->selects[0].n_watches = 0;
    must(!IS_DEADLOCKED(w));
}
END_TEST

START_TEST(lost)
{
    struct world *w = world_of(SPOOL__RING);
    must(!spool__look_is_lost(&w->look, &w->threads[0]));
    w->lanes[0].len = 1;
    must(spool__look_is_lost(&w->look, &w->threads[0]));
    w->threads[0].slept = false;
    must(!spool__look_is_lost(&w->look, &w->threads[0]));
    w->threads[0].slept = true;
    w->threads[0].wait = SPOOL__IN_CALL;
    must(!spool__look_is_lost(&w->look, &w->threads[0]));
    w = world_of(SPOOL__SOURCE);
    w->lanes[0].len = 1;
    must(!spool__look_is_lost(&w->look, &w->threads[0]));
}
END_TEST

START_TEST(undrained)
{
    for (int i = 0; i < 2; i++) {
        struct world *w = world_of(SPOOL__RING);
        struct spool__seen_lane *lane = &w->lanes[i];
        lane->len = 1;
        must(!spool__look_is_undrained(&w->look, lane));
        lane->is_closed = true;
        must(spool__look_is_undrained(&w->look, lane));
        lane->is_closed = false;
        w->chans[0].refs[i] = 0;
        must(spool__look_is_undrained(&w->look, lane));
        w->chans[0].refs[!i] = 0;
        w->chans[0].refs[i] = 1;
        must(!spool__look_is_undrained(&w->look, lane));
        w->chans[0].refs[i] = 0;

        /* Somebody waits for them, or there are none. */
        struct spool__gate_sight *getters = &lane->gates[SPOOL__GET];
        getters->threads = 1;
        must(!spool__look_is_undrained(&w->look, lane));
        *getters = (struct spool__gate_sight){.threads_granted = 1};
        must(!spool__look_is_undrained(&w->look, lane));
        *getters = (struct spool__gate_sight){.selects = 1};
        must(!spool__look_is_undrained(&w->look, lane));
        *getters = (struct spool__gate_sight){0};
        lane->is_counted = false;
        must(!spool__look_is_undrained(&w->look, lane));
        lane->is_counted = true;
        lane->len = 0;
        must(!spool__look_is_undrained(&w->look, lane));
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("verdict");
    TCase *tc = case_new(s, "verdict");

    tcase_add_test(tc, deadlock);
    tcase_add_test(tc, deadlock_in_a_lane);
    tcase_add_test(tc, deadlock_in_a_select);
    tcase_add_test(tc, lost);
    tcase_add_test(tc, undrained);
    return run_suite(s, "test_verdict");
}
