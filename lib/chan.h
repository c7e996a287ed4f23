/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_CHAN_H
#define SPOOL_CHAN_H

#include <spool.h>

#include "gate.h"
#include "ring.h"

/*
 * A lane is one direction: a queue with a gate on either side. A channel has one lane, a pair two. Handles are *ends*:
 * what they put into and what they get from.
 */
enum spool__side {
    SPOOL__GET,
    SPOOL__PUT,
};

struct spool__lane {
    ptrdiff_t twin; /* offset to the other lane of a pair, or 0 */
    struct spool__gate gates[2]; /* by the side that waits at it: getters for elements, putters for room */
    struct spool__ring ring;     /* last: its slots follow */
};

#define SPOOL__NAME_BYTES 32

struct spool__core {
    uint32_t pins;     /* ends that are referenced, and threads parked inside */
    uint32_t n_lanes;  /* 1, or 2 for a pair */
    size_t lane_bytes; /* from one lane to the next */
    void *block;       /* what was allocated */
    void (*drop)(void *elem);
    struct spool__worker *worker; /* the thread of spool_go that has one end; guarded by the lock in go.c */
    char name[SPOOL__NAME_BYTES];
    struct spool_chan {
        struct spool__core *core;
        uint32_t refs;
        uint32_t in, out; /* which lane it gets from and puts into */
    } ends[2];
};

/* Does one operation if it can be done now: 0, -EAGAIN, -EPIPE. elem is read for SPOOL__PUT, written for SPOOL__GET. */
int spool__lane_do(struct spool__lane *lane, enum spool__side side, void *elem);
/* What spool__lane_do would say; see spool__ring_can_get. */
int spool__lane_can(struct spool__lane *lane, enum spool__side side, uint64_t *ret_pos);
/* After a grant was used up, or is not needed: wakes one more waiter if there is work for it. */
void spool__lane_hand_on(struct spool__lane *lane, enum spool__side side);

/* The lane that an operation on this end uses. */
struct spool__lane *spool__chan_lane(const struct spool_chan *chan, enum spool__side side);

/* The time on CLOCK_MONOTONIC at which a wait of timeout_ns > 0 that starts now ends; INT64_MAX for < 0: never. */
int64_t spool__deadline(int64_t timeout_ns);

/* Copies len < SPOOL__NAME_BYTES bytes. If a thread of spool_go has an end, it takes the name too. */
void spool__core_set_name(struct spool__core *core, const char *name, size_t len);

/* How long to look again before sleeping: call with *turns from 0 up until it returns false. */
bool spool__spin(unsigned *turns);

#endif
