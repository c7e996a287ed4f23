/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_EXPLORE_PARTS_H
#define SPOOL_EXPLORE_PARTS_H

#include "scenario.h"

/* Beginnings, threads and ends that scenarios of several kinds have in common. */

void ring_1(void);
void ring_2(void);
void ring_full(void);
void put_1(void);
void put_2(void);
void put_3(void);
void put_1_2(void);
void put_1_2_3(void);
void get_one(void);
void get_two(void);
void get_three(void);
void try_gets(void);
void close_it(void);
void put_then_get(void);
void put_within(void);
void get_within(void);
void try_put_then_len(void);
void put_batch_of_2(void);
void put_batch(void);
void put_and_tell(void);
void poll_then_get(void);
void look_at_len(void);
void get_then_put(void);
void try_get_one(void);
void try_put_1(void);
void drain_all(void);
void drain_what_is_left(void);
void try_put_1_then_get(void);
void tries_2_3_then_gets(void);
void close_then_put(void);
void note_then_put(void);
void get_then_read(void);
void note_then_close(void);
void gets_until_closed_then_read(void);
void put_closed_then_read(void);
void look_then_read(void);
void look(void);
void len_then_try_get(void);
void select_one(void);
void select_put_1(void);
void done_0_and_1(void);
void select_until_closed(void);
void put_1_then_close(void);

/* Selects that are there before the threads are, so that these do less. */
extern struct sel first_select, second_select;

#endif
