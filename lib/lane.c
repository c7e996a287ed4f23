/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "lane.h"
#include "spin.h"

int64_t spool__deadline(int64_t timeout_ns)
{
    if (timeout_ns < 0)
        return INT64_MAX;
    int64_t now = spool__sys_now();
    return timeout_ns < INT64_MAX - now ? now + timeout_ns : INT64_MAX;
}

/* ---- The flavours --------------------------------------------------------------------------------------------- */

size_t spool__lane_bytes(enum spool__flavour flavour, size_t elem_size, size_t capacity)
{
    size_t bytes = 0;
    switch (flavour) {
    case SPOOL__RING:
        bytes = spool__ring_bytes(elem_size, capacity);
        break;
    case SPOOL__CHAIN:
        bytes = spool__chain_bytes(elem_size);
        break;
    case SPOOL__MEET:
        bytes = sizeof(struct spool__meet);
        break;
    case SPOOL__SOURCE:
        bytes = capacity;
        break;
    }
    if (bytes == 0 || __builtin_add_overflow(bytes, offsetof(struct spool__lane, ring), &bytes) ||
        __builtin_add_overflow(bytes, SPOOL_CACHE_LINE - 1, &bytes))
        return 0;
    return bytes & ~(size_t)(SPOOL_CACHE_LINE - 1);
}

void spool__lane_init(struct spool__lane *lane, enum spool__flavour flavour, size_t elem_size, size_t capacity)
{
    lane->flavour = flavour;
    lane->elem_size = elem_size;
    lane->capacity = flavour == SPOOL__SOURCE ? 1 : capacity;
    if (flavour == SPOOL__RING)
        spool__ring_init(&lane->ring, elem_size, capacity);
    else if (flavour == SPOOL__CHAIN)
        spool__chain_init(&lane->chain, elem_size);
    else if (flavour == SPOOL__MEET)
        spool__meet_init(&lane->meet, elem_size);
}

void spool__lane_drain(struct spool__lane *lane, void (*drop)(void *elem))
{
    if (lane->flavour == SPOOL__RING)
        spool__ring_drain(&lane->ring, drop);
    else if (lane->flavour == SPOOL__CHAIN)
        spool__chain_drain(&lane->chain, drop);
}

void spool__lane_destroy(struct spool__lane *lane, void (*drop)(void *elem))
{
    spool__lane_drain(lane, drop);
    if (lane->flavour == SPOOL__CHAIN)
        spool__chain_destroy(&lane->chain);
    else if (lane->flavour == SPOOL__SOURCE)
        spool__source_destroy(&lane->source, drop);
    spool__gate_destroy(&lane->gates[SPOOL__GET]);
    spool__gate_destroy(&lane->gates[SPOOL__PUT]);
}

static int source_do(struct spool__source *src, enum spool__side side, void *elem)
{
    ssize_t n = side == SPOOL__GET ? spool__source_get(src, elem, 1) : src->ops->put(src, elem, 1);
    return n > 0 ? 0 : (int)n;
}

static inline int queue_do(struct spool__lane *lane, enum spool__side side, void *elem)
{
    if (lane->flavour == SPOOL__RING)
        return side == SPOOL__GET ? spool__ring_get(&lane->ring, elem) : spool__ring_put(&lane->ring, elem);
    if (lane->flavour == SPOOL__CHAIN)
        return side == SPOOL__GET ? spool__chain_get(&lane->chain, elem) : spool__chain_put(&lane->chain, elem);
    if (lane->flavour == SPOOL__MEET)
        return spool__meet_try(&lane->meet, side, elem);
    return source_do(&lane->source, side, elem);
}

static int queue_can(struct spool__lane *lane, enum spool__side side, uint64_t *pos)
{
    if (lane->flavour == SPOOL__RING)
        return side == SPOOL__GET ? spool__ring_can_get(&lane->ring, pos) : spool__ring_can_put(&lane->ring, pos);
    if (lane->flavour == SPOOL__CHAIN)
        return side == SPOOL__GET ? spool__chain_can_get(&lane->chain, pos) : spool__chain_can_put(&lane->chain, pos);
    if (lane->flavour == SPOOL__MEET)
        return spool__meet_can(&lane->meet, side, pos);
    struct spool__source *src = &lane->source;
    return side == SPOOL__GET ? spool__source_can_get(src, pos) : src->ops->can_put(src, pos);
}

static int queue_close(struct spool__lane *lane)
{
    if (lane->flavour == SPOOL__RING)
        return spool__ring_close(&lane->ring);
    if (lane->flavour == SPOOL__CHAIN)
        return spool__chain_close(&lane->chain);
    if (lane->flavour == SPOOL__MEET)
        return spool__meet_close(&lane->meet);
    return spool__source_close(&lane->source);
}

static bool queue_is_closed(struct spool__lane *lane)
{
    if (lane->flavour == SPOOL__RING)
        return spool__ring_closed(&lane->ring);
    if (lane->flavour == SPOOL__CHAIN)
        return spool__chain_closed(&lane->chain);
    if (lane->flavour == SPOOL__MEET)
        return spool__meet_closed(&lane->meet);
    return spool__load(&lane->source.is_shut, ACQUIRE);
}

size_t spool__lane_len(struct spool__lane *lane)
{
    if (lane->flavour == SPOOL__RING)
        return spool__ring_len(&lane->ring);
    if (lane->flavour == SPOOL__CHAIN)
        return spool__chain_len(&lane->chain);
    return lane->flavour == SPOOL__MEET ? 0 : spool__source_len(&lane->source);
}

size_t spool__lane_capacity(struct spool__lane *lane)
{
    if (lane->flavour == SPOOL__SOURCE && lane->source.ops->capacity)
        return lane->source.ops->capacity(&lane->source);
    return lane->capacity;
}

size_t spool__lane_step(const struct spool__lane *lane, enum spool__side side)
{
    return side == SPOOL__PUT && lane->flavour == SPOOL__SOURCE ? lane->source.ops->put_size : lane->elem_size;
}

/* ---- One operation -------------------------------------------------------------------------------------------- */

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
    if (lane->twin)
        (void)queue_close(twin_of(lane));
    /* The closing before the look; pairs with the fences in announce, arm and drain. */
    spool__fence();
    for (int i = 0; i < 2; i++) {
        for (int side = 0; side < 2; side++)
            if (spool__gate_is_waited(&lane->gates[side]))
                spool__gate_wake_all(&lane->gates[side]);
        lane = twin_of(lane);
    }
}

int spool__lane_close(struct spool__lane *lane)
{
    int ret = queue_close(lane);
    finish_close(lane);
    return ret;
}

bool spool__lane_is_closed(struct spool__lane *lane)
{
    if (!queue_is_closed(lane))
        return false;
    finish_close(lane);
    return true;
}

/* After operations were done: who waits at the other gate can go on, as there is an element or room for one. */
static inline void wake_other_side(struct spool__lane *lane, enum spool__side side)
{
    /* In a rendezvous nothing is left behind, and the kernel wakes those who wait for its descriptors. */
    if (lane->flavour < SPOOL__MEET || (lane->flavour == SPOOL__SOURCE && side == SPOOL__GET))
        spool__gate_wake(&lane->gates[spool__other(side)]);
}

void spool__lane_say_closed(struct spool__lane *lane, enum spool__side side)
{
    finish_close(lane);
    spool__gate_tell_next(&lane->gates[side]);
}

int spool__lane_do_other(struct spool__lane *lane, enum spool__side side, void *elem)
{
    int ret = queue_do(lane, side, elem);
    if (ret == 0)
        wake_other_side(lane, side);
    else if (ret == -EPIPE)
        spool__lane_say_closed(lane, side);
    return ret;
}

ssize_t spool__lane_do_many(struct spool__lane *lane, enum spool__side side, void *elems, size_t n)
{
    size_t done = 0;
    if (lane->flavour == SPOOL__SOURCE) {
        struct spool__source *src = &lane->source;
        ssize_t ret = side == SPOOL__GET ? spool__source_get(src, elems, n) : src->ops->put(src, elems, n);
        if (ret <= 0)
            return ret == -EPIPE ? spool__lane_do(lane, side, elems, NULL) : ret;
        done = (size_t)ret;
    } else {
        int ret = 0;
        while (done < n && (ret = queue_do(lane, side, (char *)elems + done * lane->elem_size)) == 0)
            done++;
        if (done == 0)
            return ret == -EPIPE ? spool__lane_do(lane, side, elems, NULL) : ret;
    }
    wake_other_side(lane, side);
    return (ssize_t)done;
}

static inline ssize_t do_some(struct spool__lane *lane, enum spool__side side, void *elems, size_t n)
{
    if (n > 1)
        return spool__lane_do_many(lane, side, elems, n);
    int ret = spool__lane_do(lane, side, elems, NULL);
    return ret == 0 ? 1 : ret;
}

int spool__lane_can(struct spool__lane *lane, enum spool__side side, uint64_t *ret_pos)
{
    int ret = queue_can(lane, side, ret_pos);
    if (ret == -EPIPE)
        finish_close(lane);
    return ret;
}

/*
 * Wakes strangers again if there is work after all: whether there is. This thread published nothing: whoever did fences
 * and looks for itself, and the look at the queue acquires, so the look at the gate comes after it.
 */
static bool wake_if_ready(struct spool__lane *lane, enum spool__side side)
{
    uint64_t pos;
    if (spool__lane_can(lane, side, &pos) == -EAGAIN)
        return false;
    spool__gate_wake(&lane->gates[side]);
    return true;
}

/* Strangers ask until there is no more; see TRY_LOOKS. */
static ssize_t look_again(struct spool__lane *lane, enum spool__side side, void *elems, size_t n)
{
    ssize_t ret = -EAGAIN;
    if (lane->flavour >= SPOOL__MEET || !spool__gate_is_signalled(&lane->gates[side]) || !spool__spin_pays())
        return ret;
    for (unsigned looks = 0; looks != TRY_LOOKS && ret == -EAGAIN; looks++) {
        spool__pause();
        ret = do_some(lane, side, elems, n);
    }
    return ret;
}

ssize_t spool__lane_try_again(struct spool__lane *lane, enum spool__side side, void *elems, size_t n)
{
    if (!spool__gate_is_exported(&lane->gates[side]))
        return -EAGAIN;
    ssize_t ret = look_again(lane, side, elems, n);
    if (ret != -EAGAIN || !spool__gate_drain(&lane->gates[side]))
        return ret;
    (void)wake_if_ready(lane, side);
    ret = do_some(lane, side, elems, n);
    if (ret == -EAGAIN)
        spool__lane_yield_to(lane, side);
    return ret;
}

ssize_t spool__lane_try(struct spool__lane *lane, enum spool__side side, void *elems, size_t n)
{
    ssize_t ret = do_some(lane, side, elems, n);
    return ret == -EAGAIN ? spool__lane_try_again(lane, side, elems, n) : ret;
}

/*
 * To be called when an operation could not be done, before its thread sleeps or leaves it to a poller. Then the other
 * side can go on: a full ring has elements, an empty one room. Whoever made it so wakes those who wait for that, but
 * may have stopped before; and if nobody can do the next operation, which would make up for it, nobody ever would.
 */
void spool__lane_yield_to(struct spool__lane *lane, enum spool__side side)
{
    if (lane->flavour != SPOOL__RING)
        return;
    /* The look at the queue before the look at the gate; pairs with the fences in announce, arm and drain. */
    spool__fence();
    if (spool__gate_is_waited(&lane->gates[spool__other(side)]))
        spool__gate_wake_slow(&lane->gates[spool__other(side)]);
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

int spool__lane_fd(struct spool__lane *lane, enum spool__side side)
{
    if (lane->flavour == SPOOL__SOURCE && side == SPOOL__GET)
        return lane->source.fd;
    int fd = spool__gate_fd(&lane->gates[side]);
    if (fd < 0)
        return fd;
    if (lane->flavour == SPOOL__MEET)
        spool__meet_poll(&lane->meet, side);
    spool__gate_export(&lane->gates[side]);
    if (!wake_if_ready(lane, side))
        spool__lane_yield_to(lane, side);
    return fd;
}

/* ---- Waiting -------------------------------------------------------------------------------------------------- */

static ssize_t meet_wait(struct spool__lane *lane, enum spool__side side, void *elems, size_t n, int64_t deadline)
{
    _Alignas(SPOOL_CACHE_LINE) struct spool__offer offer;
    int ret = spool__meet_offer(&lane->meet, &offer, side, elems);
    if (ret == -EAGAIN) {
        /* The offer is what strangers on the other side wait for. Unlocking the meet was a read-modify-write. */
        spool__gate_wake(&lane->gates[spool__other(side)]);
        ret = spool__meet_await(&lane->meet, &offer, elems, deadline);
    }
    if (ret == -EPIPE)
        finish_close(lane);
    if (ret < 0)
        return ret;
    ssize_t more = n == 1 ? 0 : spool__lane_do_many(lane, side, (char *)elems + lane->elem_size, n - 1);
    return more > 0 ? 1 + more : 1;
}

static ssize_t source_wait(struct spool__lane *lane, void *elems, size_t n, int64_t deadline)
{
    ssize_t ret;
    while ((ret = do_some(lane, SPOOL__GET, elems, n)) == -EAGAIN) {
        spool__probe_park(lane, SPOOL__GET, deadline);
        if (spool__source_park(&lane->source, deadline) != -ETIMEDOUT)
            continue;
        ret = do_some(lane, SPOOL__GET, elems, n);
        return ret == -EAGAIN ? -ETIMEDOUT : ret;
    }
    return ret;
}

/* For elements that need room for several at once, for which they do not wait at the gate. */
static ssize_t put_together(struct spool__lane *lane, enum spool__side side, void *elems, size_t n, int64_t deadline)
{
    if (lane->flavour != SPOOL__SOURCE || side != SPOOL__PUT || !lane->source.ops->put_together)
        return -EAGAIN;
    ssize_t ret = lane->source.ops->put_together(&lane->source, elems, n, deadline);
    if (ret == -EPIPE)
        finish_close(lane);
    else if (ret != -EAGAIN)
        spool__lane_hand_on(lane, side);
    return ret;
}

ssize_t spool__lane_wait(struct spool__lane *lane, enum spool__side side, void *elems, size_t n, int64_t deadline)
{
    if (lane->flavour == SPOOL__MEET)
        return meet_wait(lane, side, elems, n, deadline);
    if (lane->flavour == SPOOL__SOURCE && side == SPOOL__GET)
        return source_wait(lane, elems, n, deadline);
    ssize_t together = put_together(lane, side, elems, n, deadline);
    if (together != -EAGAIN)
        return together;
    struct spool__gate *gate = &lane->gates[side];
    for (unsigned turns = 0; spool__spin(&turns);) {
        /* Nobody waits for this element as long as there are so many before it. */
        if (side == SPOOL__PUT && lane->flavour == SPOOL__RING && !spool__spin_yields(turns) &&
            spool__ring_is_tight(&lane->ring))
            continue;
        ssize_t ret = do_some(lane, side, elems, n);
        if (ret != -EAGAIN)
            return ret;
    }
    for (;;) {
        spool__gate_announce(gate);
        ssize_t ret = do_some(lane, side, elems, n);
        if (ret == -EAGAIN)
            spool__lane_yield_to(lane, side);
        bool granted = ret != -EAGAIN ? spool__gate_leave(gate) : spool__gate_sleep(gate, deadline);
        bool late = ret == -EAGAIN && !granted;
        unsigned turns = 0;
        while (ret == -EAGAIN && (ret = do_some(lane, side, elems, n)) == -EAGAIN && granted && spool__spin_late(&turns))
            ;
        if (granted && ret > 0)
            spool__lane_hand_on(lane, side);
        if (ret != -EAGAIN)
            return ret;
        if (late)
            return -ETIMEDOUT;
    }
}
