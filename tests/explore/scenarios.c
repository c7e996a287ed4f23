/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "scenario.h"

#include <errno.h>

/* What is explored: small programs on the public calls. Each thread does little, for there are many schedules. */

/* ---- Bounded -------------------------------------------------------------------------------------------------- */

static void ring_1(void)
{
    chan_new(0, 8, 1);
}
static void ring_2(void)
{
    chan_new(0, 8, 2);
}
static void ring_3(void)
{
    chan_new(0, 8, 3);
}
static void ring_1_cells(void)
{
    chan_new(0, 16, 1);
}
static void ring_wraps_32(void)
{
    chan_new(0, 8, 1);
    set_turn(0, (UINT64_C(1) << 30) - 1);
}
static void ring_wraps_64(void)
{
    chan_new(0, 8, 2);
    set_turn(0, UINT64_MAX / 8);
}
static void ring_cells_wrap_64(void)
{
    chan_new(0, 16, 1);
    set_turn(0, UINT64_MAX / 64);
}
static void gates_wrap(void)
{
    chan_new(0, 8, 1);
    set_gate_versions(0);
}

static void ring_full(void)
{
    ring_1();
    (void)put(0, 9);
}
static void put_1(void)
{
    (void)put(0, 1);
}
static void put_2(void)
{
    (void)put(0, 2);
}
static void put_3(void)
{
    (void)put(0, 3);
}
static void put_1_2(void)
{
    (void)put(0, 1);
    (void)put(0, 2);
}
static void put_3_4(void)
{
    (void)put(0, 3);
    (void)put(0, 4);
}
static void put_1_2_3(void)
{
    put_1_2();
    (void)put(0, 3);
}
static void get_one(void)
{
    (void)get(0);
}
static void get_two(void)
{
    (void)get(0);
    (void)get(0);
}
static void get_three(void)
{
    get_two();
    (void)get(0);
}
static void tries_1_2(void)
{
    (void)try_put(0, 1);
    (void)try_put(0, 2);
}
static void tries_3_4(void)
{
    (void)try_put(0, 3);
    (void)try_put(0, 4);
}
static void try_gets(void)
{
    (void)try_get(0);
    (void)try_get(0);
}
static void close_it(void)
{
    (void)close_chan(0);
}
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
static void put_then_get(void)
{
    (void)put(0, 5);
    (void)get(0);
}
static void put_6_then_get(void)
{
    (void)put(0, 6);
    (void)get(0);
}
static void put_within(void)
{
    (void)put_for(0, 1, 100);
}
static void put_2_within(void)
{
    (void)put_for(0, 2, 100);
}
static void get_within(void)
{
    (void)get_for(0, 100);
}
static void get_within_twice(void)
{
    get_within();
    get_within();
}
static void try_put_then_len(void)
{
    (void)try_put(0, 1);
    (void)len(0);
    (void)alive(0);
}
static void put_batch_of_2(void)
{
    (void)put_many(0, 1, 2);
}
static void put_batch(void)
{
    (void)put_many(0, 1, 3);
}
static void get_batch_of_3(void)
{
    for (int left = 3; left > 0;)
        left -= get_many(0, left);
}
static void put_and_tell(void)
{
    expect(put(0, 1), 0);
    raise_flag();
}
static void told_then_try(void)
{
    if (flag_is_raised())
        expect(try_get(0), 0);
}
static void poll_then_get(void)
{
    wait_readable(0);
    while (try_get(0) == -EAGAIN)
        wait_readable(0);
}
static void ring_polled(void)
{
    chan_new(0, 8, 1);
    export_fd(0);
}
/* Asks for the descriptor when the ring is empty, and finds it full when it looks. */
static void poll_then_put(void)
{
    wait_writable(0);
    while (try_put(0, 2) == -EAGAIN)
        wait_writable(0);
}
static void put_and_stop(void)
{
    put_quietly(0, 1);
}
static void put_quietly_then_put(void)
{
    put_quietly(0, 1);
    rest();
    (void)put(0, 2);
}
/* Two cells are free, of which one comes back. */
static void cells_used(void)
{
    chan_new(0, 16, 3);
    (void)put(0, 10);
    (void)put(0, 11);
    (void)get(0);
    (void)get(0);
}
static void tries_1_4(void)
{
    (void)try_put(0, 1);
    (void)try_put(0, 4);
}
static void put_two_get_one(void)
{
    (void)try_put(0, 2);
    (void)try_put(0, 3);
    (void)try_get(0);
}
static void ring_half(void)
{
    ring_2();
    (void)put(0, 9);
}
static void look_at_len(void)
{
    (void)len(0);
}
static void get_then_put(void)
{
    (void)try_get(0);
    (void)try_put(0, 1);
}
static void ring_2_polled(void)
{
    chan_new(0, 8, 2);
    export_fd(0);
}
static void try_get_one(void)
{
    (void)try_get(0);
}
static void try_put_1(void)
{
    (void)try_put(0, 1);
}
static void drain_all(void)
{
    drain(0);
    done(0);
}

/* ---- Unbounded ------------------------------------------------------------------------------------------------ */

static void chain(void)
{
    chan_new(0, 8, SPOOL_UNBOUNDED);
}
static void chain_cells(void)
{
    chan_new(0, 16, SPOOL_UNBOUNDED);
}
static void chain_filled(void)
{
    chain();
    /* The next put needs a segment. */
    (void)put(0, 9);
}
static void chain_two_segments(void)
{
    chain();
    for (uint64_t v = 10; v < 13; v++)
        (void)put(0, v);
}
static void get_four(void)
{
    get_two();
    get_two();
}
/* All but one element of the second segment are taken, and a third one is there, and full. */
static void chain_to_leave(void)
{
    chain();
    for (uint64_t v = 10; v < 15; v++)
        (void)put(0, v);
    get_two();
}
/* The second segment is all taken, and head still there. */
static void chain_to_leave_now(void)
{
    chain_to_leave();
    (void)get(0);
}
/* As before, but a put has to link the third one. */
static void chain_to_link(void)
{
    chain_two_segments();
    get_two();
}
/* Leaves a segment, and takes it for the elements that come next. */
static void try_get_then_put(void)
{
    (void)try_get(0);
    (void)put(0, 1);
}
static void drain_what_is_left(void)
{
    drain(0);
    if (!ex_is_stopped())
        done(0);
}
/* Whoever stopped keeps one element's room, and no more. */
static void use_what_is_left(void)
{
    drain(0);
    (void)try_put(0, 8);
    (void)try_put(0, 9);
    drain_what_is_left();
}
/* Segments that were used are used again. */
static void chain_used(void)
{
    chain();
    for (uint64_t v = 10; v < 18; v++) {
        (void)put(0, v);
        (void)get(0);
    }
}
static void put_two_then_len(void)
{
    put_1_2();
    (void)len(0);
}
static void try_put_1_then_get(void)
{
    (void)try_put(0, 1);
    (void)try_get(0);
}
static void tries_2_3_then_gets(void)
{
    (void)try_put(0, 2);
    (void)try_put(0, 3);
    (void)try_get(0);
    (void)try_get(0);
}
static void close_then_put(void)
{
    (void)close_chan(0);
    (void)try_put(0, 1);
}
static void try_get_four(void)
{
    try_gets();
    try_gets();
}
static void take_two_segments(void)
{
    try_gets();
    (void)put(0, 2);
    (void)try_get(0);
}
static void take_two_segments_then_put(void)
{
    take_two_segments();
    put_3_4();
}
static void take_three_then_put(void)
{
    try_gets();
    (void)try_get(0);
    put_3_4();
}
static void put_1_to_4(void)
{
    put_1_2();
    put_3_4();
}
static void put_1_to_4_then_gets(void)
{
    put_1_to_4();
    try_gets();
}

/* ---- What a thread did before it put or closed, for who got it or was told ------------------------------------ */

static void note_then_put(void)
{
    write_note();
    (void)put(0, 1);
}
static void get_then_read(void)
{
    if (get(0) == 0)
        read_note();
}
static void note_then_close(void)
{
    write_note();
    (void)close_chan(0);
}
static void gets_until_closed_then_read(void)
{
    int r;
    while ((r = try_get(0)) == 0)
        ;
    if (r == -EPIPE)
        read_note();
}
static void put_closed_then_read(void)
{
    if (try_put(0, 1) == -EPIPE)
        read_note();
}
static void look_then_read(void)
{
    if (!alive(0))
        read_note();
}
static void put_get_put(void)
{
    (void)put(0, 1);
    (void)get(0);
    (void)put(0, 2);
}
static void put_try_get_put(void)
{
    (void)put(0, 1);
    (void)try_get(0);
    (void)put(0, 2);
}
static void put_then_three_gets(void)
{
    (void)put(0, 1);
    try_gets();
    (void)try_get(0);
}
/* In a segment of several slots. */
static void chain_half(void)
{
    chain();
    (void)put(0, 8);
    (void)get(0);
    (void)put(0, 9);
}
static void chain_empty(void)
{
    chain_half();
    (void)get(0);
}
static void look(void)
{
    (void)alive(0);
}
static void look_twice(void)
{
    look();
    look();
}
/* In a segment with one free slot. */
static void use_segment_again(void)
{
    (void)put(0, 1);
    (void)try_get(0);
    (void)put(0, 2);
    (void)try_get(0);
    put_3_4();
}
static void take_three_then_use_again(void)
{
    try_gets();
    (void)try_get(0);
    (void)put(0, 7);
    (void)try_get(0);
    put_3_4();
}
static void put_three_then_look(void)
{
    put_1_2_3();
    look();
}
/* The first call sets hazards, behind a fence; the second has them. */
static void len_then_try_get(void)
{
    (void)len(0);
    (void)try_get(0);
}
/* The first call sets hazards, behind fences; the get is behind none. */
static void len_rest_told_get(void)
{
    (void)len(0);
    rest();
    if (flag_is_raised())
        (void)try_get(0);
}
static void len_rest_get(void)
{
    (void)len(0);
    rest();
    (void)try_get(0);
}
static void look_note_then_close(void)
{
    (void)alive(0);
    note_then_close();
}

/* ---- Rendezvous ----------------------------------------------------------------------------------------------- */

static void meeting(void)
{
    chan_new(0, 8, 0);
}
static void two_meetings(void)
{
    chan_new(0, 8, 0);
    chan_new(1, 8, 0);
}

/* ---- Selects -------------------------------------------------------------------------------------------------- */

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
static void select_one(void)
{
    struct sel s;
    select_new(&s);
    select_get(&s, 0);
    (void)select_wait(&s, -1);
    select_free(&s);
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
/* Selects that are there before the threads are, so that these do less. */
static struct sel first_select, second_select;
static void wait_with_first(void)
{
    (void)select_wait(&first_select, 1000);
}
static void wait_with_second(void)
{
    (void)select_wait(&second_select, 1000);
}
static void free_selects(void)
{
    select_free(&first_select);
    select_free(&second_select);
    done(0);
    done(1);
}
static void put_or_get_and_nothing(void)
{
    two_meetings();
    select_new(&first_select);
    select_put(&first_select, 0, 1);
    select_get(&first_select, 1);
    select_new(&second_select);
}
static void put_and_get_either(void)
{
    two_meetings();
    select_new(&first_select);
    select_put(&first_select, 0, 1);
    select_new(&second_select);
    select_get(&second_select, 0);
    select_get(&second_select, 1);
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
static void free_select_and_drain(void)
{
    select_free(&first_select);
    drain_two();
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
static void select_put_1(void)
{
    struct sel s;
    select_new(&s);
    select_put(&s, 0, 1);
    (void)select_wait(&s, -1);
    select_free(&s);
}
static void select_put_or_get_1(void)
{
    struct sel s;
    select_new(&s);
    select_put(&s, 0, 1);
    select_get(&s, 0);
    (void)select_wait(&s, -1);
    select_free(&s);
}
static void select_put_or_get_2(void)
{
    struct sel s;
    select_new(&s);
    select_put(&s, 0, 2);
    select_get(&s, 0);
    (void)select_wait(&s, -1);
    select_free(&s);
}
static void select_crosswise_1(void)
{
    struct sel s;
    select_new(&s);
    select_put(&s, 0, 1);
    select_get(&s, 1);
    (void)select_wait(&s, -1);
    select_free(&s);
}
static void select_crosswise_2(void)
{
    struct sel s;
    select_new(&s);
    select_get(&s, 0);
    select_put(&s, 1, 2);
    (void)select_wait(&s, -1);
    select_free(&s);
}
static void meeting_polled(void)
{
    meeting();
    export_fd(0);
}
static void poll_then_meet(void)
{
    wait_readable(0);
    expect(try_get(0), 0);
}
static void get_at_0_within(void)
{
    (void)get_for(0, 100);
}
static void put_at_1_within(void)
{
    (void)put_for(1, 3, 100);
}
static void done_0(void)
{
    done(0);
}
static void done_0_and_1(void)
{
    done(0);
    done(1);
}
static void select_until_closed(void)
{
    struct sel s;
    select_new(&s);
    select_get(&s, 0);
    while (select_wait(&s, -1) == 0)
        ;
    select_free(&s);
}
static void put_1_then_close(void)
{
    (void)put(0, 1);
    (void)close_chan(0);
}

/* ---- Pairs ---------------------------------------------------------------------------------------------------- */

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
/* Bounds: sequential, TSO, weak. What a bound costs: see tests/VERIFY.md. */
/* clang-format off */
const struct ex_scenario ex_scenarios[] = {
    {"ring-spsc", "capacity 1, one putter, one getter, two elements",
     ring_1, {put_1_2, get_two}, drain_all, 0, {3, 3, 2}},
    {"ring-mpmc", "capacity 1, two putters, two getters",
     ring_1, {put_1, put_2, get_one, get_one}, drain_all, EX_DELAYS, {2, 2, 1}},
    {"ring-2p1g", "capacity 1, two putters, a getter of three",
     ring_1, {put_1_2, put_3, get_three}, drain_all, 0, {1, 1, 1}},
    {"ring-3p", "capacity 2, three putters, a getter of three",
     ring_2, {put_1, put_2, put_3, get_three}, drain_all, EX_DELAYS, {2, 1, 1}},
    {"ring-3g", "capacity 2, three getters, a putter of three",
     ring_2, {get_one, get_one, get_one, put_1_2_3}, drain_all, EX_DELAYS, {2, 1, 1}},
    {"ring-try", "capacity 2, tries on both sides", ring_2, {tries_1_2, tries_3_4, try_gets}, drain_all, 0, {2, 3, 2}},
    {"ring-cells", "capacity 1, elements in cells", ring_1_cells, {put_1_2, put_3, get_three}, drain_all, 0, {1, 1, 1}},
    {"ring-cells-try", "capacity 1, cells, tries on both sides",
     ring_1_cells, {tries_1_2, tries_3_4, try_gets}, drain_all, 0, {3, 2, 2}},
    {"ring-close", "capacity 1, a putter and a getter beside a close",
     ring_1, {put_1_2, get_three, close_it}, drain_all, 0, {1, 1, 1}},
    {"ring-close-try", "capacity 1, tries beside two closes",
     ring_1, {tries_1_2, try_gets, close_it, close_it}, drain_all, EX_DELAYS, {2, 2, 1}},
    {"ring-close-parked", "a close lets two getters and nobody else go",
     ring_1, {get_one, get_one, close_it}, drain_all, 0, {2, 2, 2}},
    {"ring-wrap-32", "capacity 1, positions around 2^32", ring_wraps_32, {put_1_2, get_two}, drain_all, 0, {3, 2, 2}},
    {"ring-wrap-64", "capacity 2, positions around 2^64",
     ring_wraps_64, {tries_1_2, tries_3_4, try_gets}, drain_all, 0, {2, 2, 1}},
    {"ring-wrap-cells", "capacity 1, cells, positions around 2^64",
     ring_cells_wrap_64, {tries_1_2, tries_3_4, try_gets}, drain_all, 0, {2, 2, 1}},

    {"gate-wrap", "the gates' versions wrap", gates_wrap, {put_1_2, put_3, get_three}, drain_all, 0, {1, 1, 1}},

    {"ring-exchange", "capacity 1, two threads put and get",
     ring_1, {put_then_get, put_6_then_get}, drain_all, 0, {3, 3, 2}},
    {"ring-timeout", "a timed put and timed gets",
     ring_1, {put_within, get_within_twice, put_2_within}, drain_all, 0, {1, 1, 1}},
    {"ring-timeout-2", "a getter whose time runs out passes its wake on",
     ring_1, {get_within, get_one, put_1_2}, drain_all, 0, {1, 1, 1}},
    {"ring-spurious", "interrupted waits", ring_1, {put_1_2, get_two}, drain_all, EX_SPURIOUS, {3, 2, 1}},
    {"ring-looks", "len and alive beside a get and a close",
     ring_2, {try_put_then_len, try_gets, close_it}, drain_all, 0, {3, 2, 1}},
    {"ring-hand-off", "one wake for two elements, and two getters",
     ring_2, {get_one, get_one, put_batch_of_2}, drain_all, 0, {1, 1, 1}},
    {"ring-len", "len beside a get and a put", ring_half, {look_at_len, get_then_put}, drain_all, 0, {3, 3, 2}},
    {"ring-cells-again", "a cell comes back while another thread takes it",
     cells_used, {tries_1_4, put_two_get_one}, drain_all, 0, {3, 2, 2}},
    {"ring-leaves", "who leaves the waiting takes the grant of the element behind the one it has, and hands it on",
     ring_2, {get_one, get_one, put_quietly_then_put}, drain_all, 0, {2, 2, 2}},
    {"ring-batch", "put_many of 3 into capacity 1, a getter",
     ring_1, {put_batch, get_batch_of_3}, drain_all, 0, {2, 2, 1}},
    {"ring-told", "a put that returned is seen by who is told of it",
     ring_2, {put_and_tell, told_then_try, put_2}, drain_all, 0, {3, 3, 2}},
    {"ring-poll", "a stranger polls the descriptor", ring_polled, {put_1, poll_then_get}, drain_all, 0, {3, 3, 2}},
    {"ring-poll-2", "a stranger polls beside a blocked getter",
     ring_polled, {put_1_2, poll_then_get, get_one}, drain_all, 0, {1, 1, 1}},
    {"ring-poll-close", "two strangers poll, and it is closed",
     ring_polled, {close_it, poll_then_get, poll_then_get}, drain_all, 0, {2, 2, 1}},
    {"ring-poll-drain", "a drain swallows the edge of two elements, and takes one",
     ring_2_polled, {try_get_one, put_1_2, poll_then_get}, drain_all, 0, {2, 1, 1}},
    {"ring-poll-late", "a stranger polls, having asked for the descriptor beside a put",
     ring_1, {put_1, poll_then_get}, drain_all, 0, {3, 3, 2}},
    {"ring-poll-late-2", "two strangers ask for the descriptor, and it is closed",
     ring_1, {close_it, poll_then_get, poll_then_get}, drain_all, 0, {2, 2, 1}},

    {"chain-spsc", "a putter of four, a getter of four, two new segments",
     chain, {put_1_to_4, get_four}, drain_all, 0, {2, 2, 1}},
    {"chain-2p", "two putters link the same segment, a getter",
     chain_filled, {put_1_2, put_3, try_gets}, drain_all, 0, {1, 1, 1}},
    {"chain-2g", "two getters leave a segment while a third looks",
     chain_two_segments, {try_gets, try_get_one, put_1_2}, drain_all, 0, {1, 1, 1}},
    {"chain-reuse", "segments come back at the same address",
     chain_two_segments, {try_get_four, put_1_2, try_gets}, drain_all, EX_REUSE, {1, 1, 1}},
    {"chain-leave", "a segment is left and taken again while another getter is in it",
     chain_to_leave_now, {try_get_then_put, try_get_one}, drain_all, 0, {2, 2, 2}},
    {"chain-leave-put", "the same beside a putter", chain_to_leave_now, {try_get_then_put, put_2}, drain_all, 0, {2, 2, 2}},
    {"chain-leave-3", "two getters, and a putter that takes the segment",
     chain_to_leave_now, {try_gets, try_get_one, put_1_2}, drain_all, EX_REUSE | EX_DELAYS, {2, 2, 2}},
    {"chain-leave-2", "two getters of two, of whom one leaves",
     chain_to_leave, {try_gets, try_gets}, drain_all, 0, {3, 2, 2}},
    {"chain-overtake", "a getter leaves a segment while another is two segments on",
     chain_to_leave_now, {try_get_one, take_two_segments}, drain_all, 0, {2, 1, 2}},
    {"chain-unprotected-2", "who cannot have a hazard holds memory all the same",
     chain, {try_get_four, put_1_to_4_then_gets}, drain_all, 0, {2, 2, 1}},
    {"chain-overtake-put", "the same while a putter is there",
     chain_to_leave_now, {put_1, take_two_segments_then_put}, drain_all, 0, {1, 1, 1}},
    {"chain-unprotected", "who cannot have a hazard holds memory all the same",
     chain, {take_three_then_put, put_1_to_4_then_gets}, drain_all, 0, {1, 1, 1}},
    {"chain-bare", "the same where only one getter has no hazards",
     chain_to_leave_now, {try_get_then_put, try_get_one}, drain_all, EX_ONE_BARE, {2, 2, 2}},
    {"chain-bare-put", "the same where a putter has none",
     chain_to_leave_now, {try_get_then_put, put_2}, drain_all, EX_ONE_BARE, {2, 2, 2}},
    {"chain-unprotected-put", "the same beside a putter",
     chain_to_leave_now, {try_get_then_put, put_2}, drain_all, EX_NO_KEYS, {2, 2, 2}},
    {"chain-len", "len beside a get and a put", chain_filled, {look_at_len, get_then_put}, drain_all, 0, {3, 3, 2}},
    {"chain-len-reuse", "len when segments were used before",
     chain_used, {put_two_then_len, try_get_one}, drain_all, 0, {3, 3, 2}},
    {"chain-link", "a segment is linked and another left",
     chain_to_link, {put_1, try_gets, put_2}, drain_all, 0, {1, 1, 1}},
    {"chain-cells", "elements in cells", chain_cells, {put_1_2, put_3, get_three}, drain_all, 0, {1, 1, 1}},
    {"chain-close", "a close beside puts that need a segment",
     chain_filled, {put_1_2, close_it, try_gets}, drain_all, 0, {2, 1, 1}},
    {"chain-close-parked", "a close lets two getters go", chain, {get_one, get_one, close_it}, drain_all, 0, {2, 1, 1}},
    {"chain-no-memory", "a put that gets no memory leaves the element",
     chain_filled, {put_1_2, put_3, try_gets}, drain_all, EX_NO_MEMORY, {1, 1, 1}},
    {"chain-looks", "len and alive beside a put and a get",
     chain_filled, {try_put_then_len, try_gets, put_2}, drain_all, 0, {1, 1, 1}},

    {"ring-never-full", "a ring that is never full takes an element",
     ring_2, {put_get_put, try_put_1}, drain_all, 0, {3, 3, 3}},
    {"ring-never-empty", "a ring that is never empty gives one",
     ring_half, {put_then_get, try_get_one}, drain_all, 0, {3, 3, 3}},
    {"ring-never-empty-3", "the same, told by one who was told",
     ring_half, {put_1, len_then_try_get, try_get_one}, drain_all, 0, {2, 2, 2}},

    {"chain-ends", "who has looked at the tail of a segment is gone when that is used again",
     chain_to_leave_now, {look, take_two_segments_then_put}, drain_all, 0, {2, 1, 1}},
    {"chain-moves-get", "the same of its head", chain_empty, {try_gets, use_segment_again}, drain_all, 0, {2, 1, 1}},
    {"chain-moves", "who has looked at a segment goes on to another one",
     chain_to_leave_now, {look_twice, take_two_segments_then_put}, drain_all, 0, {2, 1, 1}},
    {"chain-unprotected-ends", "who had no hazard is gone when a segment is used again",
     chain, {take_three_then_use_again, put_three_then_look}, drain_all, 0, {1, 1, 1}},
    {"chain-spare", "a segment takes the place of the spare one",
     chain_to_leave_now, {put_then_three_gets, try_get_one}, drain_all, 0, {2, 1, 1}},
    {"chain-never-empty", "a chain that is never empty gives one",
     chain_half, {put_then_get, len_then_try_get}, drain_all, 0, {2, 2, 2}},
    {"chain-never-empty-2", "the same where a hint comes from who was told of the put",
     chain_half, {len_rest_told_get, len_rest_get, put_and_tell}, drain_all, 0, {1, 1, 1}},

    {"ring-note", "what was done before a put", ring_1, {note_then_put, get_then_read}, drain_all, 0, {3, 3, 2}},
    {"ring-note-cells", "the same, with cells", ring_1_cells, {note_then_put, get_then_read}, drain_all, 0, {3, 3, 2}},

    {"chain-fresh-put", "a segment is linked beside a putter without a hazard",
     chain, {put_1_2, put_3}, drain_all, 0, {3, 2, 1}},
    {"chain-fresh-get", "the same beside a getter",
     chain, {put_try_get_put, try_get_one}, drain_all, 0, {3, 2, 1}},
    {"chain-note", "the same, unbounded", chain, {note_then_put, get_then_read}, drain_all, 0, {3, 2, 2}},
    {"chain-note-cells", "the same, unbounded with cells",
     chain_cells, {note_then_put, get_then_read}, drain_all, 0, {3, 2, 2}},

    {"meet-note", "the same, in a rendezvous", meeting, {note_then_put, get_then_read}, done_0, 0, {3, 3, 2}},

    {"ring-note-close", "what was done before a close",
     ring_1, {note_then_close, gets_until_closed_then_read, look_then_read}, drain_all, 0, {2, 2, 2}},
    {"ring-note-close-put", "the same, for who puts",
     ring_1, {note_then_close, put_closed_then_read}, drain_all, 0, {3, 3, 2}},
    {"ring-note-close-cells", "the same, with cells",
     ring_1_cells, {note_then_close, gets_until_closed_then_read, look_then_read}, drain_all, 0, {2, 2, 2}},

    {"chain-note-close", "the same, unbounded",
     chain, {look_note_then_close, gets_until_closed_then_read, look_then_read}, drain_all, 0, {2, 1, 1}},
    {"chain-note-close-next", "the same, with the mark behind the last slot",
     chain_filled, {look_note_then_close, gets_until_closed_then_read, look_then_read}, drain_all, 0, {2, 1, 1}},
    {"chain-note-close-put", "the same, for who puts",
     chain_filled, {note_then_close, put_closed_then_read}, drain_all, 0, {3, 2, 2}},

    {"meet-note-close", "the same, in a rendezvous",
     meeting, {note_then_close, gets_until_closed_then_read, put_closed_then_read}, done_0, 0, {2, 2, 2}},
    {"meet-note-look", "the same, for who looks whether it is closed",
     meeting, {note_then_close, look_then_read}, done_0, 0, {3, 3, 2}},

    {"chain-record", "a record of hazards goes from a thread that ends to another one",
     chain_to_leave_now, {look_at_len, put_1, take_two_segments_then_put}, drain_all, EX_DELAYS, {1, 1, 1}},

    {"ring-stop", "capacity 1, whoever stops stops nobody",
     ring_1, {try_put_1_then_get, tries_2_3_then_gets, try_gets}, use_what_is_left, EX_STOPS, {2, 2, 2}},
    {"ring-cells-stop", "the same with cells",
     ring_1_cells, {try_put_1_then_get, tries_2_3_then_gets, try_gets}, use_what_is_left, EX_STOPS, {2, 2, 2}},
    {"ring-stop-full", "who fills a ring and stops leaves nobody asleep beside the next putter",
     ring_1, {put_1, put_2, get_one}, drain_what_is_left, EX_STOPS, {2, 2, 2}},
    {"ring-stop-full-poll", "the same beside a stranger that polls until it can put",
     ring_1, {put_and_stop, poll_then_put, get_one}, drain_all, 0, {2, 2, 2}},
    {"ring-stop-empty", "who empties a ring and stops leaves nobody asleep beside the next getter",
     ring_full, {get_one, get_one, put_1}, drain_what_is_left, EX_STOPS, {2, 2, 2}},
    {"ring-close-stop", "who stops in a close",
     ring_2, {close_then_put, tries_2_3_then_gets}, drain_what_is_left, EX_STOPS, {4, 3, 3}},

    {"chain-stop", "who stops in an unbounded channel",
     chain_filled, {try_put_1_then_get, tries_2_3_then_gets}, drain_what_is_left, EX_STOPS, {2, 2, 2}},
    {"chain-leave-stop", "who stops while a segment is left",
     chain_to_leave, {try_gets, tries_2_3_then_gets}, drain_what_is_left, EX_STOPS, {2, 2, 2}},
    {"chain-close-stop", "who stops in a close",
     chain_filled, {close_then_put, tries_2_3_then_gets}, drain_what_is_left, EX_STOPS, {3, 2, 2}},

    {"meet-1-1", "a putter of two, a getter of two", meeting, {put_1_2, get_two}, done_0, 0, {3, 3, 2}},
    {"meet-2-2", "two putters, two getters", meeting, {put_1, put_2, get_one, get_one}, done_0, EX_DELAYS, {2, 2, 1}},
    {"meet-try", "a try meets a blocked getter, or not", meeting, {try_put_1, get_within}, done_0, 0, {4, 3, 2}},
    {"meet-timeout", "times run out on both sides",
     meeting, {put_within, get_within, get_within}, done_0, 0, {2, 2, 1}},
    {"meet-close", "a close beside a putter and a getter", meeting, {put_1, get_one, close_it}, done_0, 0, {3, 2, 1}},
    {"meet-select", "a select gets, a thread puts", meeting, {select_one, put_1}, done_0, 0, {3, 3, 2}},
    {"meet-select-select", "two selects, each may put or get",
     meeting, {select_put_or_get_1, select_put_or_get_2}, done_0, 0, {2, 2, 1}},
    {"meet-crosswise", "two selects on two rendezvous, crosswise",
     two_meetings, {select_crosswise_1, select_crosswise_2}, done_0_and_1, 0, {2, 2, 1}},
    {"meet-either-way", "a select puts to one thread or gets from another",
     put_or_get_and_nothing, {get_at_0_within, wait_with_first, put_at_1_within}, free_selects, 0, {2, 1, 1}},
    {"meet-3", "two selects meet, or one of them meets a thread",
     put_and_get_either, {wait_with_first, wait_with_second, put_at_1_within}, free_selects, 0, {2, 1, 1}},
    {"meet-poll", "a stranger polls for a putter", meeting_polled, {put_1, poll_then_meet}, done_0, 0, {3, 3, 2}},
    {"meet-poll-select", "a stranger polls for a select that puts",
     meeting_polled, {select_put_1, poll_then_get}, done_0, 0, {3, 3, 2}},
    {"meet-select-close", "a close lets a waiting select go",
     meeting, {select_until_closed, put_1_then_close}, done_0, 0, {3, 2, 1}},

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
};
/* clang-format on */
const size_t ex_n_scenarios = sizeof ex_scenarios / sizeof ex_scenarios[0];
