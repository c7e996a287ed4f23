/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_FUZZ_MODEL_H
#define SPOOL_FUZZ_MODEL_H

/*
 * What include/spool.h says of one direction of a channel, one operation after the other. Whatever goes on at the same
 * time has to be as if it had happened in some order: so one model serves one thread and several.
 */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spool.h"

/* More than that no program may put into an unbounded channel. */
enum { MODEL_MAX = 1024 };

struct model {
    size_t capacity; /* as for spool_chan_new: 0 is a rendezvous, or SPOOL_UNBOUNDED */
    bool closed;
    uint16_t first, len;
    uint16_t tags[MODEL_MAX]; /* what it holds, in order, from first on, around the end */
};

static inline uint16_t model_tag(const struct model *m, unsigned i)
{
    return m->tags[(m->first + i) % MODEL_MAX];
}

/*
 * "spool_chan_new: holds exactly capacity of them"; a rendezvous "holds nothing", so it is full and empty at once. To
 * an unbounded channel programs put only what the model has room for.
 */
static inline size_t model_room(const struct model *m)
{
    size_t capacity = m->capacity < MODEL_MAX ? m->capacity : MODEL_MAX;
    return capacity - m->len;
}

/*
 * "-EPIPE the channel is closed"; "waits while the channel is full", and a try says -EAGAIN then; to one that is
 * unbounded "a put never waits".
 */
static inline int model_can_put(const struct model *m)
{
    return m->closed ? -EPIPE : m->capacity == SPOOL_UNBOUNDED || m->len < m->capacity ? 0 : -EAGAIN;
}

/* "-EPIPE the channel is closed and everything put before has been got"; "waits while the channel is empty". */
static inline int model_can_get(const struct model *m)
{
    return m->len > 0 ? 0 : m->closed ? -EPIPE : -EAGAIN;
}

static inline int model_put(struct model *m, uint16_t tag)
{
    int ret = model_can_put(m);
    if (ret == 0)
        m->tags[(m->first + m->len++) % MODEL_MAX] = tag;
    return ret;
}

/* "Gets the oldest element." */
static inline int model_get(struct model *m, uint16_t *ret_tag)
{
    int ret = model_can_get(m);
    if (ret == 0) {
        *ret_tag = model_tag(m, 0);
        m->first = (uint16_t)((m->first + 1) % MODEL_MAX);
        m->len--;
    }
    return ret;
}

/* "spool_close: -EALREADY it was closed before." */
static inline int model_close(struct model *m)
{
    int ret = m->closed ? -EALREADY : 0;
    m->closed = true;
    return ret;
}

/* What a call that may wait says in place of -EAGAIN: "-ETIMEDOUT (-EAGAIN if timeout_ns is 0)". */
static inline int model_timed(int ret, int64_t timeout_ns)
{
    return ret == -EAGAIN && timeout_ns != 0 ? -ETIMEDOUT : ret;
}

#endif
