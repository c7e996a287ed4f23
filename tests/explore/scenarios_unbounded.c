/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "parts.h"

/* On unbounded channels. See scenario.h. */

static void put_3_4(void)
{
    (void)put(0, 3);
    (void)put(0, 4);
}
static void chain(void)
{
    chan_new(0, 8, SPOOL_UNBOUNDED);
}
static void chain_cells(void)
{
    chan_new(0, 16, SPOOL_UNBOUNDED);
}
static void chain_words(void)
{
    chain();
    forbid_second(0, 1);
    (void)put(0, 9);
}
static void put_4_1(void)
{
    (void)put(0, 4);
    (void)put(0, 1);
}
static void chain_filled(void)
{
    chain();
    /* The next put needs a segment. */
    (void)put(0, 9);
}
static void put_from_to(uint64_t first, uint64_t last)
{
    for (uint64_t v = first; v <= last; v++)
        (void)put(0, v);
}
static void chain_two_segments(void)
{
    chain();
    put_from_to(10, 12);
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
    put_from_to(10, 14);
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
/* Segments that were used are used again. */
static void chain_used(void)
{
    chain();
    for (uint64_t v = 10; v < 18; v++) {
        (void)put(0, v);
        (void)get(0);
    }
}
/* The next put needs a segment, and that will be a large one, of three slots. */
static void chain_to_grow(void)
{
    chain();
    put_from_to(10, 16);
}
/* A large segment, all used, and all but one element taken. */
static void chain_to_leave_large(void)
{
    chain_to_grow();
    put_from_to(17, 19);
    for (int i = 0; i < 9; i++)
        (void)get(0);
}
/* Of two chains one is half drained, and the other needs a segment for the next put. */
static void two_chains(void)
{
    chain_two_segments();
    (void)get(0);
    chan_new(1, 8, SPOOL_UNBOUNDED);
    (void)put(1, 9);
}
/* Both need one. */
static void two_chains_filled(void)
{
    chain_filled();
    chan_new(1, 8, SPOOL_UNBOUNDED);
    (void)put(1, 9);
}
/* Its hazards stay on a segment that is gone with its chain. */
static void get_drop_then_get_at_b(void)
{
    (void)get(0);
    drop(0);
    (void)try_get(1);
    (void)try_get(1);
}
static void put_drop_then_put_at_b(void)
{
    (void)put(0, 1);
    drop(0);
    (void)put(1, 8);
}
static void puts_and_gets_at_b(void)
{
    (void)put(1, 1);
    (void)put(1, 2);
    (void)try_get(1);
    (void)try_get(1);
}
static void done_1(void)
{
    drain(1);
    done(1);
}
static void put_two_then_len(void)
{
    put_1_2();
    (void)len(0);
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
static void get_two_then_read(void)
{
    (void)get(0);
    if (get(0) == 0)
        read_note();
}
static void chain_empty(void)
{
    chain_half();
    (void)get(0);
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

/* clang-format off */
const struct ex_scenario ex_unbounded[] = {
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
    {"chain-leave-put", "the same beside a putter",
     chain_to_leave_now, {try_get_then_put, put_2}, drain_all, 0, {2, 2, 2}},
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
    {"chain-len", "len beside a get and a put", chain_filled, {look_at_len, get_then_put}, drain_all, 0, {3, 2, 2}},
    {"chain-len-reuse", "len when segments were used before",
     chain_used, {put_two_then_len, try_get_one}, drain_all, 0, {3, 2, 2}},
    {"chain-link", "a segment is linked and another left",
     chain_to_link, {put_1, try_gets, put_2}, drain_all, 0, {1, 1, 1}},
    {"chain-cells", "elements in cells", chain_cells, {put_1_2, put_3, get_three}, drain_all, 0, {1, 1, 1}},
    {"chain-words", "an element that is what a slot says otherwise",
     chain_words, {put_4_1, put_3, get_three}, drain_all, 0, {1, 1, 1}},
    {"chain-words-len", "the same, and len", chain_words, {put_4_1, try_put_then_len}, drain_all, 0, {2, 1, 1}},
    {"chain-close", "a close beside puts that need a segment",
     chain_filled, {put_1_2, close_it, try_gets}, drain_all, 0, {2, 1, 1}},
    {"chain-close-parked", "a close lets two getters go", chain, {get_one, get_one, close_it}, drain_all, 0, {2, 1, 1}},
    {"chain-no-memory", "a put that gets no memory leaves the element",
     chain_filled, {put_1_2, put_3, try_gets}, drain_all, EX_NO_MEMORY, {1, 1, 1}},
    {"chain-looks", "len and alive beside a put and a get",
     chain_filled, {try_put_then_len, try_gets, put_2}, drain_all, 0, {1, 1, 1}},
    {"chain-ends", "who has looked at the tail of a segment is gone when that is used again",
     chain_to_leave_now, {look, take_two_segments_then_put}, drain_all, 0, {2, 1, 1}},
    {"chain-moves-get", "the same of its head", chain_empty, {try_gets, use_segment_again}, drain_all, 0, {2, 1, 1}},
    {"chain-moves", "who has looked at a segment goes on to another one",
     chain_to_leave_now, {look_twice, take_two_segments_then_put}, drain_all, 0, {2, 1, 1}},
    {"chain-unprotected-ends", "who had no hazard is gone when a segment is used again",
     chain, {take_three_then_use_again, put_three_then_look}, drain_all, 0, {1, 1, 1}},
    {"chain-spare", "a segment takes the place of the spare one",
     chain_to_leave_now, {put_then_three_gets, try_get_one}, drain_all, 0, {2, 1, 1}},
    {"chain-large", "two putters link the same large segment, a getter",
     chain_to_grow, {put_1_2, put_3, try_gets}, drain_all, 0, {1, 1, 1}},
    {"chain-large-leave", "a large segment is left, and not kept, while another getter is in it",
     chain_to_leave_large, {try_get_then_put, try_get_one}, drain_all, 0, {2, 2, 2}},
    {"chain-large-leave-3", "the same beside a putter",
     chain_to_leave_large, {try_gets, try_get_one, put_1_2}, drain_all, EX_REUSE, {1, 1, 1}},
    {"chain-again", "a segment lies where one of a chain that is gone lay, which a getter had in its hazards",
     two_chains, {get_drop_then_get_at_b, puts_and_gets_at_b}, done_1, EX_REUSE, {1, 1, 1}},
    {"chain-again-put", "the same of a putter",
     two_chains_filled, {put_drop_then_put_at_b, puts_and_gets_at_b}, done_1, EX_REUSE, {1, 1, 1}},
    {"chain-never-empty", "a chain that is never empty gives one",
     chain_half, {put_then_get, len_then_try_get}, drain_all, 0, {2, 2, 2}},
    {"chain-never-empty-2", "the same where a hint comes from who was told of the put",
     chain_half, {len_rest_told_get, len_rest_get, put_and_tell}, drain_all, 0, {1, 1, 1}},
    {"chain-fresh-put", "a segment is linked beside a putter without a hazard",
     chain, {put_1_2, put_3}, drain_all, 0, {3, 2, 1}},
    {"chain-fresh-get", "the same beside a getter",
     chain, {put_try_get_put, try_get_one}, drain_all, 0, {3, 2, 1}},
    {"chain-note", "the same, unbounded", chain, {note_then_put, get_then_read}, drain_all, 0, {3, 2, 2}},
    {"chain-note-at-once", "the same, on the short way",
     chain_half, {note_then_put, get_two_then_read}, drain_all, 0, {3, 2, 2}},
    {"chain-note-cells", "the same, unbounded with cells",
     chain_cells, {note_then_put, get_then_read}, drain_all, 0, {3, 2, 2}},
    {"chain-note-close", "the same, unbounded",
     chain, {look_note_then_close, gets_until_closed_then_read, look_then_read}, drain_all, 0, {2, 1, 1}},
    {"chain-note-close-next", "the same, with the mark behind the last slot",
     chain_filled, {look_note_then_close, gets_until_closed_then_read, look_then_read}, drain_all, 0, {2, 1, 1}},
    {"chain-note-close-put", "the same, for who puts",
     chain_filled, {note_then_close, put_closed_then_read}, drain_all, 0, {3, 2, 2}},
    {"chain-record", "a record of hazards goes from a thread that ends to another one",
     chain_to_leave_now, {look_at_len, put_1, take_two_segments_then_put}, drain_all, EX_DELAYS, {1, 1, 1}},
    {"chain-stop", "who stops in an unbounded channel",
     chain_filled, {try_put_1_then_get, tries_2_3_then_gets}, drain_what_is_left, EX_STOPS, {2, 2, 2}},
    {"chain-leave-stop", "who stops while a segment is left",
     chain_to_leave, {try_gets, tries_2_3_then_gets}, drain_what_is_left, EX_STOPS, {2, 2, 2}},
    {"chain-close-stop", "who stops in a close",
     chain_filled, {close_then_put, tries_2_3_then_gets}, drain_what_is_left, EX_STOPS, {3, 2, 2}},
    {NULL},
};
/* clang-format on */
