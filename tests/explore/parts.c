/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "parts.h"

#include <errno.h>

void ring_1(void)
{
    chan_new(0, 8, 1);
}
void ring_2(void)
{
    chan_new(0, 8, 2);
}
void ring_full(void)
{
    ring_1();
    (void)put(0, 9);
}
void put_1(void)
{
    (void)put(0, 1);
}
void put_2(void)
{
    (void)put(0, 2);
}
void put_3(void)
{
    (void)put(0, 3);
}
void put_1_2(void)
{
    (void)put(0, 1);
    (void)put(0, 2);
}
void put_1_2_3(void)
{
    put_1_2();
    (void)put(0, 3);
}
void get_one(void)
{
    (void)get(0);
}
void get_two(void)
{
    (void)get(0);
    (void)get(0);
}
void get_three(void)
{
    get_two();
    (void)get(0);
}
void try_gets(void)
{
    (void)try_get(0);
    (void)try_get(0);
}
void close_it(void)
{
    (void)close_chan(0);
}
void put_then_get(void)
{
    (void)put(0, 5);
    (void)get(0);
}
void put_within(void)
{
    (void)put_for(0, 1, 100);
}
void get_within(void)
{
    (void)get_for(0, 100);
}
void try_put_then_len(void)
{
    (void)try_put(0, 1);
    (void)len(0);
    (void)alive(0);
}
void put_batch_of_2(void)
{
    (void)put_many(0, 1, 2);
}
void put_batch(void)
{
    (void)put_many(0, 1, 3);
}
void put_and_tell(void)
{
    expect(put(0, 1), 0);
    raise_flag();
}
void poll_then_get(void)
{
    wait_readable(0);
    while (try_get(0) == -EAGAIN)
        wait_readable(0);
}
void look_at_len(void)
{
    (void)len(0);
}
void get_then_put(void)
{
    (void)try_get(0);
    (void)try_put(0, 1);
}
void try_get_one(void)
{
    (void)try_get(0);
}
void try_put_1(void)
{
    (void)try_put(0, 1);
}
void drain_all(void)
{
    drain(0);
    done(0);
}
void drain_what_is_left(void)
{
    drain(0);
    if (!ex_is_stopped())
        done(0);
}
void try_put_1_then_get(void)
{
    (void)try_put(0, 1);
    (void)try_get(0);
}
void tries_2_3_then_gets(void)
{
    (void)try_put(0, 2);
    (void)try_put(0, 3);
    (void)try_get(0);
    (void)try_get(0);
}
void close_then_put(void)
{
    (void)close_chan(0);
    (void)try_put(0, 1);
}
void note_then_put(void)
{
    write_note();
    (void)put(0, 1);
}
void get_then_read(void)
{
    if (get(0) == 0)
        read_note();
}
void note_then_close(void)
{
    write_note();
    (void)close_chan(0);
}
void gets_until_closed_then_read(void)
{
    int r;
    while ((r = try_get(0)) == 0)
        ;
    if (r == -EPIPE)
        read_note();
}
void put_closed_then_read(void)
{
    if (try_put(0, 1) == -EPIPE)
        read_note();
}
void look_then_read(void)
{
    if (!alive(0))
        read_note();
}
void look(void)
{
    (void)alive(0);
}
/* The first call sets hazards, behind a fence; the second has them. */
void len_then_try_get(void)
{
    (void)len(0);
    (void)try_get(0);
}
void select_one(void)
{
    struct sel s;
    select_new(&s);
    select_get(&s, 0);
    (void)select_wait(&s, -1);
    select_free(&s);
}
/* Selects that are there before the threads are, so that these do less. */
struct sel first_select, second_select;
void select_put_1(void)
{
    struct sel s;
    select_new(&s);
    select_put(&s, 0, 1);
    (void)select_wait(&s, -1);
    select_free(&s);
}
void done_0_and_1(void)
{
    done(0);
    done(1);
}
void select_until_closed(void)
{
    struct sel s;
    select_new(&s);
    select_get(&s, 0);
    while (select_wait(&s, -1) == 0)
        ;
    select_free(&s);
}
void put_1_then_close(void)
{
    (void)put(0, 1);
    (void)close_chan(0);
}
