/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_CHAN_H
#define SPOOL_CHAN_H

#include <spool.h>

#include "lane.h"

/*
 * A channel is a core with one lane, or two for a pair. Handles are *ends*: what they put into and what they get from.
 */

#define SPOOL__NAME_BYTES 32

struct spool__core {
    uint32_t pins;       /* ends that are referenced, and threads parked inside */
    uint32_t n_lanes;    /* 1, or 2 for a pair */
    uint32_t entry;      /* in the registry */
    const void *creator; /* the address that the call which made it returned to */
    void (*drop)(void *elem);
    struct spool__worker *worker; /* the thread of spool_go that has one end; guarded by the lock in go.c */
    char name[SPOOL__NAME_BYTES];
    struct spool_chan {
        struct spool__core *core;
        struct spool__lane *lanes[2]; /* by side: which it puts into, and which it gets from */
        uint32_t refs;
    } ends[2];
};

/* The lane that an operation on this end uses. */
static inline struct spool__lane *spool__chan_lane(const struct spool_chan *chan, enum spool__side side)
{
    return chan->lanes[side];
}

/* spool_pair_new for the caller who returns to creator. */
int spool__pair_new(spool_chan **ret_a, spool_chan **ret_b, size_t elem_size, size_t capacity, const void *creator);

/* Copies len < SPOOL__NAME_BYTES bytes. If a thread of spool_go has an end, it takes the name too. */
void spool__core_set_name(struct spool__core *core, const char *name, size_t len);

#endif
