/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "chan.h"

#include <string.h>

/*
 * Spinning before parking: a wake across processors costs some 25 us in a virtual machine, so look again for about a
 * microsecond, then let others run some times, then park. With one processor only the other threads can bring work.
 */
#define SPIN_PAUSES 64u
#define SPIN_YIELDS 20u

bool spool__spin(unsigned *turns)
{
    static int cpus; /* 0: not asked yet. Every thread that asks at once finds the same. */
    int n = spool__load(&cpus, RELAXED);
    if (n == 0) {
        n = spool__sys_cpus();
        spool__store(&cpus, n, RELAXED);
    }
    if (*turns < SPIN_PAUSES && n < 2)
        *turns = SPIN_PAUSES;
    if (*turns == SPIN_PAUSES + SPIN_YIELDS)
        return false;
    if ((*turns)++ < SPIN_PAUSES)
        spool__pause();
    else
        spool__yield();
    return true;
}

int64_t spool__deadline(int64_t timeout_ns)
{
    if (timeout_ns < 0)
        return INT64_MAX;
    int64_t now = spool__sys_now();
    return timeout_ns < INT64_MAX - now ? now + timeout_ns : INT64_MAX;
}

static struct spool__lane *core_lane(const struct spool__core *core, uint32_t i)
{
    uintptr_t first = ((uintptr_t)(core + 1) + SPOOL_CACHE_LINE - 1) & ~(uintptr_t)(SPOOL_CACHE_LINE - 1);
    return (struct spool__lane *)(void *)((char *)first + i * core->lane_bytes);
}

struct spool__lane *spool__chan_lane(const struct spool_chan *chan, enum spool__side side)
{
    return core_lane(chan->core, side == SPOOL__GET ? chan->in : chan->out);
}

/* ---- One operation -------------------------------------------------------------------------------------------- */

static inline int queue_try(struct spool__lane *lane, enum spool__side side, void *elem)
{
    return side == SPOOL__GET ? spool__ring_get(&lane->ring, elem) : spool__ring_put(&lane->ring, elem);
}

static inline enum spool__side other(enum spool__side side)
{
    return side == SPOOL__GET ? SPOOL__PUT : SPOOL__GET;
}

static struct spool__lane *twin_of(struct spool__lane *lane)
{
    return (struct spool__lane *)(void *)((char *)lane + lane->twin);
}

/*
 * To be called before it is said of a lane that it is closed. Whoever closed it may have stopped before the other lane
 * of the pair was closed, or before the waiters were woken. So nobody sees one direction closed and the other open.
 */
static void finish_close(struct spool__lane *lane)
{
    (void)spool__ring_close(&twin_of(lane)->ring);
    /* The closing before the look; pairs with the fences in announce, arm and drain. */
    spool__fence();
    for (int i = 0; i < 2; i++) {
        for (int side = 0; side < 2; side++)
            if (spool__gate_is_waited(&lane->gates[side]))
                spool__gate_wake_all(&lane->gates[side]);
        lane = twin_of(lane);
    }
}

int spool__lane_do(struct spool__lane *lane, enum spool__side side, void *elem)
{
    int ret = queue_try(lane, side, elem);
    if (ret == 0) {
        spool__gate_wake(&lane->gates[other(side)]);
    } else if (ret == -EPIPE) {
        finish_close(lane);
        spool__gate_tell_next(&lane->gates[side]);
    }
    return ret;
}

int spool__lane_can(struct spool__lane *lane, enum spool__side side, uint64_t *ret_pos)
{
    int ret =
        side == SPOOL__GET ? spool__ring_can_get(&lane->ring, ret_pos) : spool__ring_can_put(&lane->ring, ret_pos);
    if (ret == -EPIPE)
        finish_close(lane);
    return ret;
}

/*
 * Wakes strangers again if there is work after all. This thread published nothing: whoever did fences and looks for
 * itself, and the look at the queue acquires, so the look at the gate comes after it.
 */
static void wake_if_ready(struct spool__lane *lane, enum spool__side side)
{
    uint64_t pos;
    if (spool__lane_can(lane, side, &pos) != -EAGAIN)
        spool__gate_wake(&lane->gates[side]);
}

/* spool__lane_do for a call that only tries: if it cannot, strangers shall not see the descriptor readable. */
static int lane_try(struct spool__lane *lane, enum spool__side side, void *elem)
{
    int ret = spool__lane_do(lane, side, elem);
    if (ret != -EAGAIN || !spool__gate_drain(&lane->gates[side]))
        return ret;
    wake_if_ready(lane, side);
    return spool__lane_do(lane, side, elem);
}

void spool__lane_hand_on(struct spool__lane *lane, enum spool__side side)
{
    uint64_t pos;
    /*
     * As above, no publishing and so no fence of its own. Not by comparing with the grants that are under way: whoever
     * has one may be busy elsewhere, or have stopped.
     */
    if (spool__lane_can(lane, side, &pos) == 0)
        spool__gate_wake(&lane->gates[side]);
}

static int lane_wait(struct spool__lane *lane, enum spool__side side, void *elem, int64_t timeout_ns)
{
    int64_t deadline = spool__deadline(timeout_ns);
    struct spool__gate *gate = &lane->gates[side];
    for (unsigned turns = 0; spool__spin(&turns);) {
        int ret = spool__lane_do(lane, side, elem);
        if (ret != -EAGAIN)
            return ret;
    }
    for (;;) {
        spool__gate_announce(gate);
        int ret = spool__lane_do(lane, side, elem);
        bool granted = ret != -EAGAIN ? spool__gate_leave(gate) : spool__gate_sleep(gate, deadline);
        bool late = ret == -EAGAIN && !granted;
        if (ret == -EAGAIN)
            ret = spool__lane_do(lane, side, elem);
        if (granted && ret == 0)
            spool__lane_hand_on(lane, side);
        if (ret != -EAGAIN)
            return ret;
        if (late)
            return -ETIMEDOUT;
    }
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
    for (uint32_t i = 0; i < core->n_lanes; i++) {
        struct spool__lane *lane = core_lane(core, i);
        spool__ring_drain(&lane->ring, spool__load(&core->drop, ACQUIRE));
        spool__gate_destroy(&lane->gates[SPOOL__GET]);
        spool__gate_destroy(&lane->gates[SPOOL__PUT]);
    }
    spool__sys_free(core->block);
}

static int core_new(struct spool__core **ret, size_t elem_size, size_t capacity, uint32_t n_lanes)
{
    size_t total;
    if (capacity == 0 || capacity == SPOOL_UNBOUNDED)
        return -EOPNOTSUPP;
    if (__builtin_mul_overflow(elem_size, capacity, &total))
        return -EOVERFLOW;
    size_t lane_bytes = spool__ring_bytes(elem_size, capacity);
    /* What the elements' own size allows but not what is needed around them. */
    if (lane_bytes == 0 || __builtin_add_overflow(lane_bytes, offsetof(struct spool__lane, ring), &lane_bytes) ||
        __builtin_add_overflow(lane_bytes, SPOOL_CACHE_LINE - 1, &lane_bytes))
        return -ENOMEM;
    lane_bytes &= ~(size_t)(SPOOL_CACHE_LINE - 1);
    if (__builtin_mul_overflow(lane_bytes, n_lanes, &total) ||
        __builtin_add_overflow(total, sizeof(struct spool__core) + 2 * SPOOL_CACHE_LINE, &total))
        return -ENOMEM;
    void *block = spool__sys_zalloc(total);
    if (!block)
        return -ENOMEM;
    struct spool__core *core = block;
    core->block = block;
    core->pins = n_lanes;
    core->n_lanes = n_lanes;
    core->lane_bytes = lane_bytes;
    for (uint32_t i = 0; i < n_lanes; i++) {
        core->ends[i] = (struct spool_chan){.core = core, .refs = 1, .in = i, .out = n_lanes - 1 - i};
        spool__ring_init(&core_lane(core, i)->ring, elem_size, capacity);
        if (n_lanes == 2)
            core_lane(core, i)->twin = i == 0 ? (ptrdiff_t)lane_bytes : -(ptrdiff_t)lane_bytes;
    }
    *ret = core;
    return 0;
}

int spool_chan_new(spool_chan **ret, size_t elem_size, size_t capacity)
{
    struct spool__core *core;
    if (!ret)
        return -EINVAL;
    int r = core_new(&core, elem_size, capacity, 1);
    if (r < 0)
        return r;
    *ret = &core->ends[0];
    return 0;
}

int spool_pair_new(spool_chan **ret_a, spool_chan **ret_b, size_t elem_size, size_t capacity)
{
    struct spool__core *core;
    if (!ret_a || !ret_b || ret_a == ret_b)
        return -EINVAL;
    int r = core_new(&core, elem_size, capacity, 2);
    if (r < 0)
        return r;
    *ret_a = &core->ends[0];
    *ret_b = &core->ends[1];
    return 0;
}

static int close_core(struct spool__core *core)
{
    /* The first lane decides who closed, in whichever order ends are closed together. */
    int ret = spool__ring_close(&core_lane(core, 0)->ring);
    finish_close(core_lane(core, 0));
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
    spool__ring_drain(&spool__chan_lane(chan, SPOOL__GET)->ring, spool__load(&core->drop, ACQUIRE));
    unpin(core);
    return NULL;
}

/* ---- Puts and gets -------------------------------------------------------------------------------------------- */

static inline bool is_bad(const spool_chan *chan, const void *elem)
{
    return !chan || (!elem && spool__chan_lane(chan, SPOOL__GET)->ring.elem_size != 0);
}

static int try_side(spool_chan *chan, enum spool__side side, void *elem)
{
    if (is_bad(chan, elem))
        return -EINVAL;
    return lane_try(spool__chan_lane(chan, side), side, elem);
}

static int wait_side(spool_chan *chan, enum spool__side side, void *elem, int64_t timeout_ns)
{
    if (timeout_ns == 0)
        return try_side(chan, side, elem);
    if (is_bad(chan, elem))
        return -EINVAL;
    struct spool__lane *lane = spool__chan_lane(chan, side);
    int ret = spool__lane_do(lane, side, elem);
    if (ret != -EAGAIN)
        return ret;
    /* The channel stays while this thread is parked in it, even if the last reference is dropped. */
    struct spool__core *core = chan->core;
    pin(core);
    ret = lane_wait(lane, side, elem, timeout_ns);
    unpin(core);
    return ret;
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
    return wait_side(chan, SPOOL__PUT, unconst(elem), -1);
}

int spool_try_put(spool_chan *chan, const void *elem)
{
    return try_side(chan, SPOOL__PUT, unconst(elem));
}

int spool_put_for(spool_chan *chan, const void *elem, int64_t timeout_ns)
{
    return wait_side(chan, SPOOL__PUT, unconst(elem), timeout_ns);
}

int spool_get(spool_chan *chan, void *ret_elem)
{
    return wait_side(chan, SPOOL__GET, ret_elem, -1);
}

int spool_try_get(spool_chan *chan, void *ret_elem)
{
    return try_side(chan, SPOOL__GET, ret_elem);
}

int spool_get_for(spool_chan *chan, void *ret_elem, int64_t timeout_ns)
{
    return wait_side(chan, SPOOL__GET, ret_elem, timeout_ns);
}

/* ---- Looking and setting -------------------------------------------------------------------------------------- */

bool spool_alive(const spool_chan *chan)
{
    if (!chan)
        return false;
    struct spool__lane *lane = core_lane(chan->core, 0);
    /* The first lane is closed first. */
    if (!spool__ring_closed(&lane->ring))
        return true;
    finish_close(lane);
    return false;
}

size_t spool_len(const spool_chan *chan)
{
    return chan ? spool__ring_len(&spool__chan_lane(chan, SPOOL__GET)->ring) : 0;
}

size_t spool_capacity(const spool_chan *chan)
{
    return chan ? spool__chan_lane(chan, SPOOL__GET)->ring.capacity : 0;
}

size_t spool_elem_size(const spool_chan *chan)
{
    return chan ? spool__chan_lane(chan, SPOOL__GET)->ring.elem_size : 0;
}

static int exported_fd(spool_chan *chan, enum spool__side side)
{
    if (!chan)
        return -EINVAL;
    struct spool__lane *lane = spool__chan_lane(chan, side);
    int fd = spool__gate_fd(&lane->gates[side]);
    if (fd < 0)
        return fd;
    spool__gate_export(&lane->gates[side]);
    wake_if_ready(lane, side);
    return fd;
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
