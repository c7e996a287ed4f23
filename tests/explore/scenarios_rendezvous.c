/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "parts.h"

/* In a rendezvous. See scenario.h. */

static void meeting(void)
{
    chan_new(0, 8, 0);
}
static void two_meetings(void)
{
    chan_new(0, 8, 0);
    chan_new(1, 8, 0);
}
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
static void put_2_within(void)
{
    (void)put_for(0, 2, 10);
}
static void put_3_within_then_put_4(void)
{
    (void)put_for(0, 3, 20);
    (void)put(0, 4);
}
/* When the times of the others have run out, or at least may have. */
static void get_later_then_close(void)
{
    expect(get_for(1, 50), -ETIMEDOUT);
    (void)get_for(0, 1000);
    (void)get_for(0, 1000);
    close_it();
}
static void done_0(void)
{
    done(0);
}

/* clang-format off */
const struct ex_scenario ex_rendezvous[] = {
    {"meet-note", "the same, in a rendezvous", meeting, {note_then_put, get_then_read}, done_0, 0, {3, 3, 2}},
    {"meet-note-close", "the same, in a rendezvous",
     meeting, {note_then_close, gets_until_closed_then_read, put_closed_then_read}, done_0, 0, {2, 2, 2}},
    {"meet-note-look", "the same, for who looks whether it is closed",
     meeting, {note_then_close, look_then_read}, done_0, 0, {3, 3, 2}},
    {"meet-1-1", "a putter of two, a getter of two", meeting, {put_1_2, get_two}, done_0, 0, {3, 3, 2}},
    {"meet-2-2", "two putters, two getters", meeting, {put_1, put_2, get_one, get_one}, done_0, EX_DELAYS, {2, 2, 1}},
    {"meet-try", "a try meets a blocked getter, or not", meeting, {try_put_1, get_within}, done_0, 0, {4, 3, 2}},
    {"meet-timeout", "times run out on both sides",
     meeting, {put_within, get_within, get_within}, done_0, 0, {2, 2, 1}},
    {"meet-withdraw", "of three that wait two go again, and one comes back",
     two_meetings, {put_1, put_2_within, put_3_within_then_put_4, get_later_then_close}, done_0_and_1, EX_DELAYS, {2, 2, 1}},
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
    {NULL},
};
/* clang-format on */
