/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_TEST_LOOP_H
#define SPOOL_TEST_LOOP_H

/*
 * What the programs share that put spool into the event loop of somebody else. A program says how its loop waits for a
 * descriptor; loop.c, for C, C++ and Python alike, plugs in
 *
 *  - the descriptor of a channel (spool_fd), into which several threads put,
 *  - that of a select (spool_select_poll_fd) over three channels, with a putter each,
 *  - that of a channel's room (spool_put_fd), where the loop is what puts,
 *
 * and checks every message: of each putter all come, once, in order, and then the end. Putters put bursts and now and
 * then wait until all was got, each for itself or all of them, so that the loop falls asleep; they go on at once or a
 * moment later. Who gets what a loop has put now and then waits until the channel is full.
 *
 * Before the end the loop is left alone for a while, and must rest: no call of it, and hardly a turn on a processor. The
 * rule is at rest() in loop.c.
 */

#include <spool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One event loop, in a thread of its own. */
struct loop;

/*
 * Runs an event loop that waits for loop_fd(l) to be readable and then calls loop_turn(l), until that returns false.
 * Every time it is called, it is in the same thread.
 */
typedef void loop_run(struct loop *l);

enum {
    LOOP_LEVEL = 1,     /* it is told again of what is still there, so that one message for each turn is enough */
    LOOP_TWO = 2,       /* two of them, in a thread each, share the descriptor */
    LOOP_NO_SELECT = 4, /* it does not take the descriptor of a select */
};

/*
 * Runs all tests of a loop and prints "ok loops.NAME" with figures; ends the process with "not ok loops.NAME" and the
 * reason where one fails. Returns the exit status for main.
 */
int loop_test(const char *name, unsigned flags, loop_run *run);

int loop_fd(const struct loop *l);

/* Whether this run takes one message for each turn. For loops that can be told either way. */
bool loop_is_single(const struct loop *l);

/* Gets (puts) until -EAGAIN, or one message. False at the end. */
bool loop_turn(struct loop *l);

/*
 * The parts of loop_turn, for another language: loop_begin_turn, then one of the calls on what is plugged in with what
 * it returned given to its counterpart, which returns 0, or -EAGAIN when the turn is over, or -EPIPE at the end.
 */
enum { LOOP_CHANNEL, LOOP_SELECT, LOOP_ROOM };
int loop_plug(const struct loop *l);
void loop_begin_turn(struct loop *l);
spool_chan *loop_chan(struct loop *l);
spool_select *loop_select(struct loop *l);
int loop_took(struct loop *l, int result, uint64_t value); /* spool_try_get from loop_chan */
int loop_waited(struct loop *l, int index);                /* spool_select_wait with timeout 0 of loop_select */
uint64_t loop_next(const struct loop *l);                  /* what spool_try_put is to put into loop_chan */
int loop_gave(struct loop *l, int result);                 /* ... and what that returned */

/* Ends the process as failed, with the reason; skipped, with the reason. */
void loop_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void loop_skip(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#define loop_must(cond) ((cond) ? (void)0 : loop_fail("not so: %s", #cond))

#ifdef __cplusplus
}
#endif

#endif
