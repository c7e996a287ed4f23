/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include <errno.h>

#include "parts.h"

/* On bounded channels. See scenario.h. */

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
    set_turn(0, UINT64_MAX);
}
static void gates_wrap(void)
{
    chan_new(0, 8, 1);
    set_gate_versions(0);
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
static void put_6_then_get(void)
{
    (void)put(0, 6);
    (void)get(0);
}
static void put_2_within(void)
{
    (void)put_for(0, 2, 100);
}
static void get_within_twice(void)
{
    get_within();
    get_within();
}
static void get_batch_of_3(void)
{
    for (int left = 3; left > 0;)
        left -= get_many(0, left);
}
static void told_then_try(void)
{
    if (flag_is_raised())
        expect(try_get(0), 0);
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
static void ring_2_cells(void)
{
    chan_new(0, 16, 2);
}
/* Each slot keeps a cell; the next put is into the first. */
static void use_both_slots(void)
{
    for (int i = 0; i < 2; i++) {
        (void)put(0, 7);
        (void)get(0);
    }
}
static void ring_kept(void)
{
    ring_2_cells();
    keep_cells(0);
    use_both_slots();
}
/* The next turn is at the wrap. */
static void ring_kept_wraps(void)
{
    ring_2_cells();
    keep_cells(0);
    set_turn(0, UINT64_MAX - 1);
    use_both_slots();
}
static void ring_half_cells(void)
{
    ring_2_cells();
    (void)put(0, 9);
}
static void ring_2_polled(void)
{
    chan_new(0, 8, 2);
    export_fd(0);
}
/* Whoever stopped keeps one element's room, and no more. */
static void use_what_is_left(void)
{
    drain(0);
    (void)try_put(0, 8);
    (void)try_put(0, 9);
    drain_what_is_left();
}
static void put_get_put(void)
{
    (void)put(0, 1);
    (void)get(0);
    (void)put(0, 2);
}

/* clang-format off */
const struct ex_scenario ex_bounded[] = {
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
    {"ring-try", "capacity 2, tries on both sides", ring_2, {tries_1_2, tries_3_4, try_gets}, drain_all, 0, {2, 2, 2}},
    {"ring-cells", "capacity 1, elements in cells", ring_1_cells, {put_1_2, put_3, get_three}, drain_all, 0, {1, 1, 1}},
    {"ring-cells-try", "capacity 1, cells, tries on both sides",
     ring_1_cells, {tries_1_2, tries_3_4, try_gets}, drain_all, 0, {2, 2, 2}},
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
     ring_2, {try_put_then_len, try_gets, close_it}, drain_all, 0, {2, 2, 1}},
    {"ring-hand-off", "one wake for two elements, and two getters",
     ring_2, {get_one, get_one, put_batch_of_2}, drain_all, 0, {1, 1, 1}},
    {"ring-len", "len beside a get and a put", ring_half, {look_at_len, get_then_put}, drain_all, 0, {3, 3, 2}},
    {"ring-cells-again", "a cell comes back while another thread takes it",
     cells_used, {tries_1_4, put_two_get_one}, drain_all, 0, {3, 2, 2}},
    {"ring-kept", "slots that keep cells, two putters, a getter",
     ring_kept, {put_1_2, put_3, get_three}, drain_all, 0, {1, 1, 1}},
    {"ring-kept-2g", "slots that keep cells, two getters, a putter",
     ring_kept, {put_1_2, get_one, get_one}, drain_all, 0, {2, 1, 1}},
    {"ring-kept-try", "slots that keep cells, tries on both sides",
     ring_kept, {tries_1_2, tries_3_4, try_gets}, drain_all, 0, {2, 2, 2}},
    {"ring-kept-wrap", "slots that keep cells, positions around 2^64",
     ring_kept_wraps, {tries_1_2, tries_3_4, try_gets}, drain_all, 0, {2, 2, 1}},
    {"ring-kept-close", "slots that keep cells, tries beside a close",
     ring_kept, {tries_1_2, try_gets, close_it}, drain_all, 0, {2, 2, 1}},
    {"ring-kept-exchange", "slots that keep cells, two threads put and get",
     ring_kept, {put_then_get, put_6_then_get}, drain_all, 0, {3, 3, 2}},
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
    {"ring-never-full", "a ring that is never full takes an element",
     ring_2, {put_get_put, try_put_1}, drain_all, 0, {3, 3, 3}},
    {"ring-never-empty", "a ring that is never empty gives one",
     ring_half, {put_then_get, try_get_one}, drain_all, 0, {3, 3, 3}},
    {"ring-never-full-cells", "a ring with cells that is never full takes an element",
     ring_2_cells, {put_get_put, try_put_1}, drain_all, 0, {3, 2, 2}},
    {"ring-never-empty-cells", "a ring with cells that is never empty gives one",
     ring_half_cells, {put_then_get, try_get_one}, drain_all, 0, {3, 2, 2}},
    {"ring-never-empty-3", "the same, told by one who was told",
     ring_half, {put_1, len_then_try_get, try_get_one}, drain_all, 0, {2, 2, 2}},
    {"ring-note", "what was done before a put", ring_1, {note_then_put, get_then_read}, drain_all, 0, {3, 3, 2}},
    {"ring-note-cells", "the same, with cells", ring_1_cells, {note_then_put, get_then_read}, drain_all, 0, {3, 3, 2}},
    {"ring-note-kept", "the same, with slots that keep cells",
     ring_kept, {note_then_put, get_then_read}, drain_all, 0, {3, 3, 2}},
    {"ring-note-close", "what was done before a close",
     ring_1, {note_then_close, gets_until_closed_then_read, look_then_read}, drain_all, 0, {2, 2, 2}},
    {"ring-note-close-put", "the same, for who puts",
     ring_1, {note_then_close, put_closed_then_read}, drain_all, 0, {3, 3, 2}},
    {"ring-note-close-cells", "the same, with cells",
     ring_1_cells, {note_then_close, gets_until_closed_then_read, look_then_read}, drain_all, 0, {2, 2, 2}},
    {"ring-stop", "capacity 1, whoever stops stops nobody",
     ring_1, {try_put_1_then_get, tries_2_3_then_gets, try_gets}, use_what_is_left, EX_STOPS, {2, 2, 2}},
    {"ring-cells-stop", "the same with cells",
     ring_1_cells, {try_put_1_then_get, tries_2_3_then_gets, try_gets}, use_what_is_left, EX_STOPS, {2, 2, 2}},
    {"ring-kept-stop", "the same with slots that keep cells",
     ring_kept, {try_put_1_then_get, tries_2_3_then_gets, try_gets}, use_what_is_left, EX_STOPS, {2, 2, 2}},
    {"ring-stop-full", "who fills a ring and stops leaves nobody asleep beside the next putter",
     ring_1, {put_1, put_2, get_one}, drain_what_is_left, EX_STOPS, {2, 2, 2}},
    {"ring-stop-full-poll", "the same beside a stranger that polls until it can put",
     ring_1, {put_and_stop, poll_then_put, get_one}, drain_all, 0, {2, 2, 2}},
    {"ring-stop-empty", "who empties a ring and stops leaves nobody asleep beside the next getter",
     ring_full, {get_one, get_one, put_1}, drain_what_is_left, EX_STOPS, {2, 2, 2}},
    {"ring-close-stop", "who stops in a close",
     ring_2, {close_then_put, tries_2_3_then_gets}, drain_what_is_left, EX_STOPS, {4, 3, 3}},
    {NULL},
};
/* clang-format on */
