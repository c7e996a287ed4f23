/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_LANE_H
#define SPOOL_LANE_H

#include "chain.h"
#include "gate.h"
#include "meet.h"
#include "probe.h"
#include "ring.h"
#include "source.h"

/*
 * A lane is one direction of a channel: a queue of one flavour or another, with a gate on either side. A channel has
 * one lane, a pair two.
 */
enum spool__flavour {
    SPOOL__RING,   /* bounded */
    SPOOL__CHAIN,  /* unbounded */
    SPOOL__MEET,   /* rendezvous */
    SPOOL__SOURCE, /* the kernel has the elements; getters do not wait at the gate but for its descriptor */
};

struct spool__lane {
    struct spool__gate gates[2]; /* by the side that waits at it: getters for elements, putters for room */
    ptrdiff_t twin;              /* offset to the other lane of a pair, or 0 */
    enum spool__flavour flavour;
    size_t elem_size, capacity;
    union { /* last: what follows it depends on the flavour */
        struct spool__ring ring;
        struct spool__chain chain;
        struct spool__meet meet;
        struct spool__source source;
    };
};

/* Bytes of a lane, or 0 if that is more than can be counted. For a source, capacity is the size of its struct. */
size_t spool__lane_bytes(enum spool__flavour flavour, size_t elem_size, size_t capacity);
void spool__lane_init(struct spool__lane *lane, enum spool__flavour flavour, size_t elem_size, size_t capacity);
/* Nobody is inside any more. */
void spool__lane_destroy(struct spool__lane *lane, void (*drop)(void *elem));
/* Gives what can be got to drop, which may be NULL. */
void spool__lane_drain(struct spool__lane *lane, void (*drop)(void *elem));

/*
 * Does one operation if it can be done now: 0; -EAGAIN; -EPIPE; -ENOMEM, -EINVAL. elem is read for SPOOL__PUT, written
 * for SPOOL__GET. The probes are told of it, with the handle chan, unless that is NULL: then the caller tells them.
 */
static inline int spool__lane_do(struct spool__lane *lane, enum spool__side side, void *elem,
                                 const struct spool_chan *chan);
/*
 * Does up to n > 0 of them, with one wake: how many, or an error if none. The second is for a call that only tries: if
 * it cannot, no stranger shall see the descriptor readable.
 */
ssize_t spool__lane_do_many(struct spool__lane *lane, enum spool__side side, void *elems, size_t n);
ssize_t spool__lane_try(struct spool__lane *lane, enum spool__side side, void *elems, size_t n);
/* What it does when it could not be done at first. */
ssize_t spool__lane_try_again(struct spool__lane *lane, enum spool__side side, void *elems, size_t n);
/* The same, and waits until it can do one: also -ETIMEDOUT. The caller has pinned the channel. */
ssize_t spool__lane_wait(struct spool__lane *lane, enum spool__side side, void *elems, size_t n, int64_t deadline);

/* What spool__lane_do would say; see spool__ring_can_get. */
int spool__lane_can(struct spool__lane *lane, enum spool__side side, uint64_t *ret_pos);
/* Bytes from one element to the next. An io_uring takes other elements than it gives. */
size_t spool__lane_step(const struct spool__lane *lane, enum spool__side side);
/* Whether anybody can ever put. */
static inline bool spool__lane_takes_puts(const struct spool__lane *lane)
{
    return lane->flavour != SPOOL__SOURCE || lane->source.ops->put;
}
/* After a grant was used up, or is not needed: wakes one more waiter if there is work for it. */
void spool__lane_hand_on(struct spool__lane *lane, enum spool__side side);
/* Before one waits who could not do it: wakes one of the other side, whom a thread that stopped may have left asleep.
 */
void spool__lane_yield_to(struct spool__lane *lane, enum spool__side side);

/* 0 or -EALREADY. Also of the twin; wakes all. */
int spool__lane_close(struct spool__lane *lane);
bool spool__lane_is_closed(struct spool__lane *lane);
size_t spool__lane_len(struct spool__lane *lane);
size_t spool__lane_capacity(struct spool__lane *lane);
/* The descriptor that strangers poll, or a negative errno. */
int spool__lane_fd(struct spool__lane *lane, enum spool__side side);

/* The time on CLOCK_MONOTONIC at which a wait of timeout_ns > 0 that starts now ends; INT64_MAX for < 0: never. */
int64_t spool__deadline(int64_t timeout_ns);

/*
 * For probes: the lane that a gate, rendezvous or source is part of, and the side that waits at a gate. A lane begins a
 * cache line, and both gates begin in that.
 */
_Static_assert(offsetof(struct spool__lane, gates) + sizeof(struct spool__gate) < SPOOL_CACHE_LINE,
               "gates[1] is in it");
static inline uintptr_t spool__lane_of_gate(const struct spool__gate *g)
{
    return (uintptr_t)g & ~(uintptr_t)(SPOOL_CACHE_LINE - 1);
}
static inline enum spool__side spool__side_of_gate(const struct spool__gate *g)
{
    return (uintptr_t)g - spool__lane_of_gate(g) > offsetof(struct spool__lane, gates) ? SPOOL__PUT : SPOOL__GET;
}
static inline uintptr_t spool__lane_of_meet(const struct spool__meet *m)
{
    return (uintptr_t)m - offsetof(struct spool__lane, meet);
}
static inline uintptr_t spool__lane_of_source(const struct spool__source *src)
{
    return (uintptr_t)src - offsetof(struct spool__lane, source);
}

/* The parts of spool__lane_do. */
int spool__lane_do_other(struct spool__lane *lane, enum spool__side side, void *elem);
void spool__lane_say_closed(struct spool__lane *lane, enum spool__side side);

/*
 * Tells the probes that n elements were moved, while the channel is sure to be there. The compiler takes a probe for
 * more than it is, and would make calls of this.
 */
static inline __attribute__((always_inline)) void
spool__lane_tell(const struct spool__lane *lane, enum spool__side side, const struct spool_chan *chan, size_t n)
{
    (void)lane, (void)n;
    if (chan && side == SPOOL__PUT)
        spool__probe_put(lane, chan, n);
    else if (chan)
        spool__probe_get(lane, chan, n);
}

static inline __attribute__((always_inline)) int spool__lane_do(struct spool__lane *lane, enum spool__side side,
                                                                void *elem, const struct spool_chan *chan)
{
    int ret;
    if (lane->flavour == SPOOL__RING) {
        ret = side == SPOOL__GET ? spool__ring_get(&lane->ring, elem) : spool__ring_put(&lane->ring, elem);
    } else if (lane->flavour == SPOOL__CHAIN) {
        ret = side == SPOOL__GET ? spool__chain_get(&lane->chain, elem) : spool__chain_put(&lane->chain, elem);
    } else {
        ret = spool__lane_do_other(lane, side, elem);
        if (ret == 0)
            spool__lane_tell(lane, side, chan, 1);
        return ret;
    }
    if (ret == 0)
        spool__lane_tell(lane, side, chan, 1);
    if (ret == 0)
        spool__gate_wake(&lane->gates[spool__other(side)]);
    else if (ret == -EPIPE)
        spool__lane_say_closed(lane, side);
    return ret;
}

#endif
