/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_EXPLORE_SCENARIO_H
#define SPOOL_EXPLORE_SCENARIO_H

#include <spool.h>

#include "explore.h"

/* The public calls, on channels by number, each noted in the history. Elements are small numbers, in every byte. */

void chan_new(int chan, size_t elem_size, size_t capacity);
void pair_new(size_t elem_size, size_t capacity); /* channels 0 and 1 */
void set_turn(int chan, uint64_t turn);
/* The value cannot stand in the second segment of an unbounded channel, which was never used. */
void forbid_second(int chan, uint64_t value);
void keep_cells(int chan); /* as large rings do */
void set_gate_versions(int chan);
void export_fd(int chan);

int put(int chan, uint64_t value);
int put_for(int chan, uint64_t value, int64_t ns);
int try_put(int chan, uint64_t value);
/* As who stops for ever before it looks who waits; on a ring. */
void put_quietly(int chan, uint64_t value);
int get(int chan);
int get_for(int chan, int64_t ns);
int try_get(int chan);
int put_many(int chan, uint64_t first, int n);
int get_many(int chan, int n);
int close_chan(int chan);
size_t len(int chan);
bool alive(int chan);
/* Takes all that is left; drops the reference. */
void drain(int chan);
void drop(int chan);
void done(int chan);
void ref(int chan);

void set_drop(int chan, void (*function)(void *elem));

void wait_readable(int chan);
void wait_writable(int chan);
/* Between two calls: others may go on here at no cost. */
void rest(void);
/* A flag of the scenario's own, raised with release and looked at with acquire. */
void raise_flag(void);
bool flag_is_raised(void);
/* Not atomic: a read beside a write is a race. */
void write_note(void);
void read_note(void);
void expect(int is, int must_be);

struct sel {
    spool_select *sel;
    int n;
    struct ex_case cases[4];
    uint64_t elems[4];
};
void select_new(struct sel *s);
void select_get(struct sel *s, int chan);
void select_put(struct sel *s, int chan, uint64_t value);
/* 0, -EPIPE, or what the wait said. */
int select_wait(struct sel *s, int64_t ns);
/* Nested in another loop: its descriptor is asked for; the loop waits until that is readable. */
void select_nest(struct sel *s);
void wait_for_select(struct sel *s);
void select_free(struct sel *s);

#endif
