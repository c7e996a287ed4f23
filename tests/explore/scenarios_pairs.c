/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include <errno.h>

#include "parts.h"

/* On pairs, and with references that are dropped. See scenario.h. */

static void ring_of_two(void)
{
    ring_1();
    ref(0);
}
static void put_then_done(void)
{
    (void)try_put(0, 1);
    done(0);
}
static void get_then_done(void)
{
    (void)try_get(0);
    done(0);
}
static void pair(void)
{
    pair_new(8, 1);
}
static void read_note_of(void *elem)
{
    (void)elem;
    read_note();
}
static void pair_with_element(void)
{
    pair();
    (void)put(1, 1);
}
static void note_then_set_drop(void)
{
    write_note();
    set_drop(1, read_note_of);
}
static void drop_a(void)
{
    drop(0);
}
static void done_1(void)
{
    done(1);
}
static void drop_end_a(void)
{
    (void)put(0, 1);
    drop(0);
}
static void get_at_b_until_closed(void)
{
    while (get(1) == 0)
        ;
    drop(1);
}
static void put_at_b(void)
{
    (void)put(1, 7);
    drop(1);
}
static void close_a(void)
{
    (void)close_chan(0);
}
static void close_b(void)
{
    (void)close_chan(1);
}
/* Whoever is told that one direction is closed finds the other closed as well. */
static void put_at_b_then_a(void)
{
    if (try_put(1, 1) == -EPIPE)
        expect(try_put(0, 2), -EPIPE);
}
static void get_at_b_then_look(void)
{
    if (try_get(1) == -EPIPE)
        expect(alive(0), false);
}
static void look_then_put_at_a(void)
{
    if (!alive(1))
        expect(try_put(0, 3), -EPIPE);
}
static void drop_both(void)
{
    done(0);
    done(1);
}
static void drop_unless_stopped(void)
{
    if (!ex_is_stopped())
        drop_both();
}

/* clang-format off */
const struct ex_scenario ex_pairs[] = {
    {"pair-refs", "two threads have a reference each, and the last one frees it",
     ring_of_two, {put_then_done, get_then_done}, NULL, 0, {3, 3, 2}},
    {"pair-drop", "one end is dropped while the other gets",
     pair, {drop_end_a, get_at_b_until_closed}, NULL, 0, {3, 3, 2}},
    {"pair-drop-function", "what was done before a function was set for dropped elements",
     pair_with_element, {note_then_set_drop, drop_a}, done_1, 0, {3, 3, 2}},
    {"pair-drop-both", "both ends put and are dropped", pair, {drop_end_a, put_at_b}, NULL, 0, {3, 3, 2}},
    {"pair-close", "both ends close at once", pair, {close_a, close_b}, drop_both, 0, {4, 3, 2}},
    {"pair-stop", "who stops in a close leaves no direction open beside a closed one",
     pair, {close_b, put_at_b_then_a, look_then_put_at_a}, drop_unless_stopped, EX_STOPS, {2, 2, 1}},
    {"pair-stop-get", "the same beside a get",
     pair, {close_a, get_at_b_then_look}, drop_unless_stopped, EX_STOPS, {4, 3, 2}},
    {NULL},
};
/* clang-format on */
