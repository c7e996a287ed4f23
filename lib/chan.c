/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "chan.h"
#include "registry.h"

#include <limits.h>
#include <string.h>

static struct spool__lane *core_lane(const struct spool__core *core, uint32_t i)
{
    return core->ends[i].lanes[SPOOL__GET];
}

/* ---- Lifetime ------------------------------------------------------------------------------------------------- */

static void pin(struct spool__core *core)
{
    /* Relaxed: who pins holds a reference, so the core is there. */
    (void)spool__add(&core->pins, 1, RELAXED);
}

static void unpin(struct spool__core *core)
{
    /* Release: this thread is done with it. Acquire, for the last: so are all the others. */
    if (spool__sub(&core->pins, 1, ACQ_REL) != 1)
        return;
    spool__registry_remove(core->entry);
    for (uint32_t i = 0; i < core->n_lanes; i++)
        spool__lane_destroy(core_lane(core, i), spool__load(&core->drop, ACQUIRE));
    spool__sys_free(core);
}

static int core_new(struct spool__core **ret, enum spool__flavour flavour, size_t elem_size, size_t capacity,
                    uint32_t n_lanes, const void *creator)
{
    size_t total, lane_bytes = spool__lane_bytes(flavour, elem_size, capacity);
    /* What the elements' own size allows but not what is needed around them. */
    if (lane_bytes == 0 || __builtin_mul_overflow(lane_bytes, n_lanes, &total) ||
        __builtin_add_overflow(total, sizeof(struct spool__core) + SPOOL_CACHE_LINE - _Alignof(struct spool__core),
                               &total))
        return -ENOMEM;
    struct spool__core *core = spool__sys_zalloc(total);
    if (!core)
        return -ENOMEM;
    core->pins = n_lanes;
    core->n_lanes = n_lanes;
    core->creator = creator;
    uintptr_t first = ((uintptr_t)(core + 1) + SPOOL_CACHE_LINE - 1) & ~(uintptr_t)(SPOOL_CACHE_LINE - 1);
    for (uint32_t i = 0; i < n_lanes; i++) {
        struct spool__lane *lane = (struct spool__lane *)(void *)((char *)first + i * lane_bytes);
        core->ends[i].core = core;
        core->ends[i].refs = 1;
        core->ends[i].lanes[SPOOL__GET] = lane;
        core->ends[n_lanes - 1 - i].lanes[SPOOL__PUT] = lane;
        spool__lane_init(lane, flavour, elem_size, capacity);
        if (n_lanes == 2)
            lane->twin = i == 0 ? (ptrdiff_t)lane_bytes : -(ptrdiff_t)lane_bytes;
    }
    core->entry = spool__registry_add(core, SPOOL__A_CORE);
    *ret = core;
    return 0;
}

static int queues_new(struct spool__core **ret, size_t elem_size, size_t capacity, uint32_t n_lanes,
                      const void *creator)
{
    size_t total;
    if (capacity == SPOOL_UNBOUNDED)
        return core_new(ret, SPOOL__CHAIN, elem_size, capacity, n_lanes, creator);
    if (__builtin_mul_overflow(elem_size, capacity, &total))
        return -EOVERFLOW;
    return core_new(ret, capacity == 0 ? SPOOL__MEET : SPOOL__RING, elem_size, capacity, n_lanes, creator);
}

int spool_chan_new(spool_chan **ret, size_t elem_size, size_t capacity)
{
    struct spool__core *core;
    if (!ret)
        return -EINVAL;
    int r = queues_new(&core, elem_size, capacity, 1, __builtin_return_address(0));
    if (r < 0)
        return r;
    *ret = &core->ends[0];
    return 0;
}

int spool__pair_new(spool_chan **ret_a, spool_chan **ret_b, size_t elem_size, size_t capacity, const void *creator)
{
    struct spool__core *core;
    if (!ret_a || !ret_b || ret_a == ret_b)
        return -EINVAL;
    int r = queues_new(&core, elem_size, capacity, 2, creator);
    if (r < 0)
        return r;
    *ret_a = &core->ends[0];
    *ret_b = &core->ends[1];
    return 0;
}

int spool_pair_new(spool_chan **ret_a, spool_chan **ret_b, size_t elem_size, size_t capacity)
{
    return spool__pair_new(ret_a, ret_b, elem_size, capacity, __builtin_return_address(0));
}

int spool__chan_new_source(spool_chan **ret, struct spool__source **ret_src, const struct spool__source_ops *ops,
                           const void *creator)
{
    struct spool__core *core;
    int r = core_new(&core, SPOOL__SOURCE, ops->elem_size, ops->bytes, 1, creator);
    if (r < 0)
        return r;
    *ret = &core->ends[0];
    *ret_src = &core_lane(core, 0)->source;
    (*ret_src)->ops = ops;
    return 0;
}

void spool__chan_free_source(spool_chan *chan)
{
    spool__registry_remove(chan->core->entry);
    spool__sys_free(chan->core);
}

struct spool__source *spool__chan_source(const spool_chan *chan, const struct spool__source_ops *ops)
{
    struct spool__lane *lane = chan ? core_lane(chan->core, 0) : NULL;
    return lane && lane->flavour == SPOOL__SOURCE && lane->source.ops == ops ? &lane->source : NULL;
}

static int close_core(struct spool__core *core)
{
    /* The first lane decides who closed, in whichever order ends are closed together. */
    int ret = spool__lane_close(core_lane(core, 0));
    if (ret == 0)
        spool__probe_close(core_lane(core, 0), &core->ends[0]);
    return ret;
}

int spool_close(spool_chan *chan)
{
    return chan ? close_core(chan->core) : -EINVAL;
}

spool_chan *spool_ref(spool_chan *chan)
{
    if (chan)
        (void)spool__add(&chan->refs, 1, RELAXED);
    return chan;
}

spool_chan *spool_unref(spool_chan *chan)
{
    /* Release and acquire: what others did through their references comes before what is done here. */
    if (!chan || spool__sub(&chan->refs, 1, ACQ_REL) != 1)
        return NULL;
    struct spool__core *core = chan->core;
    (void)close_core(core);
    /* Nobody can get what comes in at this end any more, but threads that are parked in it still may look. */
    spool__lane_drain(spool__chan_lane(chan, SPOOL__GET), spool__load(&core->drop, ACQUIRE));
    unpin(core);
    return NULL;
}

/* ---- Puts and gets -------------------------------------------------------------------------------------------- */

/* 0 if the arguments are good. */
static inline int check(const spool_chan *chan, enum spool__side side, const void *elem)
{
    if (!chan || (!elem && spool__chan_lane(chan, side)->elem_size != 0))
        return -EINVAL;
    if (side == SPOOL__PUT && !spool__lane_takes_puts(spool__chan_lane(chan, side)))
        return -EOPNOTSUPP;
    return 0;
}

static inline int try_again(spool_chan *chan, enum spool__side side, void *elem)
{
    ssize_t n = spool__lane_try_again(spool__chan_lane(chan, side), side, elem, 1);
    if (n <= 0)
        return (int)n;
    spool__lane_tell(spool__chan_lane(chan, side), side, chan, 1);
    return 0;
}

static int wait_for(spool_chan *chan, enum spool__side side, void *elem, int64_t timeout_ns)
{
    /* The channel stays while this thread is parked in it, even if the last reference is dropped. */
    struct spool__core *core = chan->core;
    pin(core);
    ssize_t n = spool__lane_wait(spool__chan_lane(chan, side), side, elem, 1, spool__deadline(timeout_ns));
    if (n > 0)
        spool__lane_tell(spool__chan_lane(chan, side), side, chan, 1);
    unpin(core);
    return n > 0 ? 0 : (int)n;
}

static inline __attribute__((always_inline)) int do_side(spool_chan *chan, enum spool__side side, void *elem,
                                                         int64_t timeout_ns)
{
    int ret = check(chan, side, elem);
    if (ret == 0)
        ret = spool__lane_do(spool__chan_lane(chan, side), side, elem, chan);
    if (ret != -EAGAIN)
        return ret;
    return timeout_ns == 0 ? try_again(chan, side, elem) : wait_for(chan, side, elem, timeout_ns);
}

static ssize_t do_many(spool_chan *chan, enum spool__side side, void *elems, size_t n, int64_t timeout_ns)
{
    ssize_t ret = check(chan, side, n ? elems : &n);
    if (ret < 0 || n == 0)
        return ret;
    if (n > SSIZE_MAX)
        return -EINVAL;
    struct spool__lane *lane = spool__chan_lane(chan, side);
    if (timeout_ns == 0) {
        ret = spool__lane_try(lane, side, elems, n);
        if (ret > 0)
            spool__lane_tell(lane, side, chan, (size_t)ret);
        return ret;
    }
    size_t done = 0, step = spool__lane_step(lane, side);
    int64_t deadline = 0;
    struct spool__core *core = chan->core;
    bool pinned = false;
    /* A get takes what is there, and waits for the first; a put goes on until all are in. */
    while (done == 0 || (done < n && side == SPOOL__PUT)) {
        void *rest = (char *)elems + done * step;
        ret = spool__lane_do_many(lane, side, rest, n - done);
        if (ret == -EAGAIN) {
            /* From the first wait on: there may be something left to do when the last reference is gone. */
            if (!pinned) {
                pin(core);
                deadline = spool__deadline(timeout_ns);
            }
            pinned = true;
            ret = spool__lane_wait(lane, side, rest, n - done, deadline);
        }
        if (ret < 0)
            break;
        spool__lane_tell(lane, side, chan, (size_t)ret);
        done += (size_t)ret;
    }
    if (pinned)
        unpin(core);
    return done > 0 ? (ssize_t)done : ret;
}

/* A put only reads what elem points to; the two sides share their code. */
static inline void *unconst(const void *elem)
{
    union {
        const void *from;
        void *to;
    } u = {.from = elem};
    return u.to;
}

int spool_put(spool_chan *chan, const void *elem)
{
    return do_side(chan, SPOOL__PUT, unconst(elem), -1);
}

int spool_try_put(spool_chan *chan, const void *elem)
{
    return do_side(chan, SPOOL__PUT, unconst(elem), 0);
}

int spool_put_for(spool_chan *chan, const void *elem, int64_t timeout_ns)
{
    return do_side(chan, SPOOL__PUT, unconst(elem), timeout_ns);
}

int spool_get(spool_chan *chan, void *ret_elem)
{
    return do_side(chan, SPOOL__GET, ret_elem, -1);
}

int spool_try_get(spool_chan *chan, void *ret_elem)
{
    return do_side(chan, SPOOL__GET, ret_elem, 0);
}

int spool_get_for(spool_chan *chan, void *ret_elem, int64_t timeout_ns)
{
    return do_side(chan, SPOOL__GET, ret_elem, timeout_ns);
}

ssize_t spool_put_many(spool_chan *chan, const void *elems, size_t n, int64_t timeout_ns)
{
    return do_many(chan, SPOOL__PUT, unconst(elems), n, timeout_ns);
}

ssize_t spool_get_many(spool_chan *chan, void *ret_elems, size_t n, int64_t timeout_ns)
{
    return do_many(chan, SPOOL__GET, ret_elems, n, timeout_ns);
}

/* ---- Looking and setting -------------------------------------------------------------------------------------- */

bool spool_alive(const spool_chan *chan)
{
    /* The first lane is closed first. */
    return chan && !spool__lane_is_closed(core_lane(chan->core, 0));
}

size_t spool_len(const spool_chan *chan)
{
    return chan ? spool__lane_len(spool__chan_lane(chan, SPOOL__GET)) : 0;
}

size_t spool_capacity(const spool_chan *chan)
{
    return chan ? spool__lane_capacity(core_lane(chan->core, 0)) : 0;
}

size_t spool_elem_size(const spool_chan *chan)
{
    return chan ? core_lane(chan->core, 0)->elem_size : 0;
}

static int exported_fd(spool_chan *chan, enum spool__side side)
{
    int ret = check(chan, side, chan);
    return ret < 0 ? ret : spool__lane_fd(spool__chan_lane(chan, side), side);
}

int spool_fd(spool_chan *chan)
{
    return exported_fd(chan, SPOOL__GET);
}

int spool_put_fd(spool_chan *chan)
{
    return exported_fd(chan, SPOOL__PUT);
}

int spool_set_name(spool_chan *chan, const char *name)
{
    if (!chan || !name)
        return -EINVAL;
    size_t len = strlen(name);
    if (len >= SPOOL__NAME_BYTES)
        return -ENAMETOOLONG;
    spool__core_set_name(chan->core, name, len);
    return 0;
}

const char *spool_name(const spool_chan *chan)
{
    return chan ? chan->core->name : "";
}

int spool_set_drop(spool_chan *chan, void (*drop)(void *elem))
{
    if (!chan)
        return -EINVAL;
    spool__store(&chan->core->drop, drop, RELEASE);
    return 0;
}
