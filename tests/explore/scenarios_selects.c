/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "parts.h"

/* With selects. See scenario.h. */

static void ring_3(void)
{
    chan_new(0, 8, 3);
}
static void two_rings(void)
{
    chan_new(0, 8, 1);
    chan_new(1, 8, 1);
}
static void ring_and_meeting(void)
{
    chan_new(0, 8, 1);
    chan_new(1, 8, 0);
}
static void drain_two(void)
{
    drain(0);
    drain(1);
    done(0);
    done(1);
}
static void put_first(void)
{
    (void)put(0, 1);
}
static void put_second(void)
{
    (void)put(1, 2);
}
static void three_rings(void)
{
    two_rings();
    chan_new(2, 8, 1);
}
static void drain_three(void)
{
    drain(2);
    done(2);
    drain_two();
}
static void put_second_then_first(void)
{
    put_second();
    put_first();
}
static void select_both(void)
{
    struct sel s;
    select_new(&s);
    select_get(&s, 0);
    select_get(&s, 1);
    (void)select_wait(&s, -1);
    select_free(&s);
}
/* Keeps the select until the other one has had its element as well. */
static void select_both_then_get(void)
{
    struct sel s;
    select_new(&s);
    select_get(&s, 0);
    select_get(&s, 1);
    (void)select_wait(&s, -1);
    (void)get(2);
    select_free(&s);
}
static void select_both_then_put(void)
{
    select_both();
    (void)put(2, 1);
}
static void select_both_twice(void)
{
    struct sel s;
    select_new(&s);
    select_get(&s, 0);
    select_get(&s, 1);
    (void)select_wait(&s, -1);
    (void)select_wait(&s, -1);
    select_free(&s);
}
static void select_now(void)
{
    struct sel s;
    select_new(&s);
    select_get(&s, 0);
    select_get(&s, 1);
    (void)select_wait(&s, 0);
    select_free(&s);
}
/* Both rings are armed. From then on one of them always has an element, of which no event tells. */
static void select_armed(void)
{
    two_rings();
    select_new(&first_select);
    select_get(&first_select, 0);
    select_get(&first_select, 1);
    (void)select_wait(&first_select, 0);
    put_quietly(1, 1);
}
static void select_now_again(void)
{
    (void)select_wait(&first_select, 0);
}
static void free_select_and_drain_one(void)
{
    select_free(&first_select);
    drain_all();
}
static void free_select_and_drain(void)
{
    select_free(&first_select);
    drain_two();
}
/* Arms all that is listed, once. */
static void look_free_and_drain(void)
{
    (void)select_wait(&first_select, 0);
    free_select_and_drain();
}
static void move_back(void)
{
    (void)try_put(0, 2);
    (void)try_get(1);
}
static void move_to_and_fro(void)
{
    move_back();
    rest();
    (void)try_put(1, 3);
    (void)try_get(0);
    rest();
    move_back();
}
/* The second ring is ready and the first was not, so that the next look at that arms it. */
static void select_quiet(void)
{
    chan_new(0, 8, 3);
    chan_new(1, 8, 4);
    (void)put_many(1, 2, 4);
    select_new(&first_select);
    select_get(&first_select, 0);
    select_get(&first_select, 1);
    (void)select_wait(&first_select, -1);
    (void)select_wait(&first_select, -1);
}
/* What is left in the second ring, and what comes to the first. */
static void select_again_thrice(void)
{
    (void)select_wait(&first_select, -1);
    (void)select_wait(&first_select, -1);
    (void)select_wait(&first_select, -1);
}
static void select_again_twice(void)
{
    (void)select_wait(&first_select, -1);
    (void)select_wait(&first_select, -1);
}
static void select_again_then_free(void)
{
    select_again_twice();
    select_free(&first_select);
}
static void select_within(void)
{
    struct sel s;
    select_new(&s);
    select_get(&s, 0);
    (void)select_wait(&s, 100);
    select_free(&s);
}
/* Armed once already when the element comes. */
static void select_put_select(void)
{
    struct sel s;
    select_new(&s);
    select_get(&s, 0);
    (void)select_wait(&s, 0);
    (void)put(0, 1);
    (void)select_wait(&s, 100);
    (void)select_wait(&s, 100);
    select_free(&s);
}
static void select_both_within(void)
{
    struct sel s;
    select_new(&s);
    select_get(&s, 0);
    select_get(&s, 1);
    (void)select_wait(&s, 1000);
    select_free(&s);
}
static void move_along(void)
{
    if (try_get(0) == 0)
        (void)try_put(1, 1);
}
static void one_then_other(void)
{
    two_rings();
    (void)put(0, 1);
}

/* Nested in another loop, which asks until there is no more each time that there may be something. */
static void nested(void)
{
    chan_new(0, 8, 3);
    select_new(&first_select);
    select_get(&first_select, 0);
    select_nest(&first_select);
}
static int ask_nested(int most)
{
    int n = 0, r = -EAGAIN;
    while (n < most) {
        if (r != 0)
            wait_for_select(&first_select);
        r = select_wait(&first_select, 0);
        if (r == -EPIPE)
            break;
        n += r == 0;
    }
    return n;
}
static void ask_for_one(void)
{
    expect(ask_nested(1), 1);
}
static void ask_for_two(void)
{
    expect(ask_nested(2), 2);
}
static void ask_for_all(void)
{
    expect(ask_nested(3), 1);
}
/* One each time, as who does not ask until there is no more. */
static void ask_once_each(void)
{
    for (int n = 0; n < 2;) {
        wait_for_select(&first_select);
        n += select_wait(&first_select, 0) == 0;
    }
}
static void nested_of_two(void)
{
    chan_new(0, 8, 1);
    chan_new(1, 8, 1);
    select_new(&first_select);
    select_get(&first_select, 0);
    select_get(&first_select, 1);
    select_nest(&first_select);
}

/* clang-format off */
const struct ex_scenario ex_selects[] = {
    {"select-1", "a select on one channel, a putter of two",
     ring_1, {put_1_2, select_one, get_one}, drain_all, 0, {1, 1, 1}},
    {"select-2", "a select on two channels, a putter for each",
     two_rings, {put_first, put_second, select_both_twice}, drain_two, 0, {2, 1, 1}},
    {"select-2-2", "two selects on two channels, a putter for each",
     two_rings, {put_first, put_second, select_both, select_both}, drain_two, EX_DELAYS, {2, 1, 1}},
    {"select-now", "nothing ready at one instant, while an element moves",
     one_then_other, {move_along, select_now}, drain_two, 0, {3, 3, 2}},
    {"select-never-empty", "something is always ready, though each look at one channel finds it empty",
     select_armed, {move_back, select_now_again}, free_select_and_drain, 0, {3, 3, 2}},
    {"select-never-empty-2", "the same for two looks at each",
     select_armed, {move_to_and_fro, select_now_again}, free_select_and_drain, 0, {3, 2, 2}},
    {"select-quiet", "a case that is not ready is armed beside one that is, and then is ready",
     select_quiet, {put_first, select_again_thrice}, look_free_and_drain, 0, {3, 2, 2}},
    {"select-quiet-get", "the same, and a getter for what the select leaves",
     select_quiet, {put_1_2_3, select_again_then_free, get_one}, drain_two, 0, {2, 1, 1}},
    {"select-quiet-2", "the same, and another select",
     select_quiet, {put_1_2_3, select_again_then_free, select_one}, drain_two, 0, {2, 1, 1}},
    {"select-timeout", "a select whose time runs out passes its wake on",
     ring_1, {put_1, select_within, get_within}, drain_all, 0, {2, 1, 1}},
    {"select-timeout-2", "a select does not run out of time beside an element that it has put",
     two_rings, {select_put_select, select_both_within, put_second}, drain_two, 0, {1, 1, 1}},
    {"select-stop-full", "who fills a ring and stops leaves nobody asleep beside a select that puts",
     ring_1, {put_1, select_put_1, get_one}, drain_what_is_left, EX_STOPS, {2, 1, 1}},
    {"select-put", "a select puts when there is room",
     ring_full, {select_put_1, get_one, get_one}, drain_all, 0, {2, 2, 1}},
    {"select-close", "a close ends a select", ring_1, {select_until_closed, put_1_then_close}, drain_all, 0, {3, 2, 1}},
    {"select-hand-off", "one wake for two elements, and two selects",
     ring_2, {select_one, select_one, put_batch_of_2}, drain_all, 0, {1, 1, 1}},
    {"select-pass-on", "two selects, of which one is woken by both channels",
     three_rings, {select_both_then_get, select_both_then_put, put_second_then_first}, drain_three, 0, {1, 1, 1}},
    {"select-leave", "a select that leaves has been woken for one of two others",
     ring_3, {select_within, select_one, select_one, put_batch}, drain_all, EX_DELAYS, {2, 2, 2}},
    {"select-close-2", "a close ends two selects",
     ring_1, {select_until_closed, select_until_closed, close_it}, drain_all, 0, {1, 1, 1}},
    {"select-mixed", "a bounded channel and a rendezvous in one select",
     ring_and_meeting, {put_first, put_second, select_both_twice}, done_0_and_1, 0, {1, 1, 1}},
    {"nested-1", "a nested select, a putter of two", nested, {put_1_2, ask_for_two}, free_select_and_drain_one, 0, {3, 3, 2}},
    {"nested-once", "the same, one for each time it is readable",
     nested, {put_1_2, ask_once_each}, free_select_and_drain_one, 0, {3, 3, 2}},
    {"nested-get", "the same, and a getter", nested, {put_1_2, ask_for_one, get_one}, free_select_and_drain_one, 0, {2, 2, 1}},
    {"nested-get-2", "the same, of three", nested, {put_1_2_3, ask_for_two, get_one}, free_select_and_drain_one, 0, {2, 1, 1}},
    {"nested-2", "a nested select on two channels, a putter for each",
     nested_of_two, {put_first, put_second, ask_for_two}, free_select_and_drain, 0, {2, 1, 1}},
    {"nested-close", "a close ends it", nested, {put_1_then_close, ask_for_all}, free_select_and_drain_one, 0, {3, 2, 1}},
    {NULL},
};
/* clang-format on */
