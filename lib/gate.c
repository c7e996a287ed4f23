/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "gate.h"

#include <limits.h>

/* The word of the threads. */
#define T_GRANT UINT64_C(1)
#define T_WAIT (UINT64_C(1) << 32)
#define T_PENDING (UINT64_C(1) << 63)

/* The word of the selects. */
#define S_WAIT UINT64_C(1)
#define S_GRANT (UINT64_C(1) << 24)
#define S_PENDING (UINT64_C(1) << 48)
#define S_LISTENING (UINT64_C(1) << 49)
#define S_EXPORTED (UINT64_C(1) << 50)
#define S_DRAINED (UINT64_C(1) << 51)

/* What a write adds to the eventfd, so that a trace tells them apart. */
#define WRITE_WAKE UINT64_C(1)
#define WRITE_CLOSE (UINT64_C(1) << 32)

static inline uint32_t t_granted(uint64_t t)
{
    return (uint32_t)t;
}

static inline uint32_t t_waiting(uint64_t t)
{
    return (uint32_t)(t >> 32) & UINT32_C(0x7fffffff);
}

static inline uint32_t s_waiting(uint64_t s)
{
    return (uint32_t)s & UINT32_C(0xffffff);
}

static inline uint32_t s_granted(uint64_t s)
{
    return (uint32_t)(s >> 24) & UINT32_C(0xffffff);
}

static inline uint32_t *futex_word(struct spool__gate *g)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return (uint32_t *)(void *)&g->threads + 1;
#else
    return (uint32_t *)(void *)&g->threads;
#endif
}

static inline int wake_count(uint32_t n)
{
    return n > INT_MAX ? INT_MAX : (int)n;
}

/*
 * Makes the futex call for grants that are pending, t being the word as last seen. The mark goes only if nothing has
 * changed since before the call; else the call is made again for whoever changed it and may have stopped.
 */
static void deliver_to_threads(struct spool__gate *g, uint64_t t, uint32_t calls)
{
    do {
        if (calls)
            (void)spool__sys_futex_wake(futex_word(g), wake_count(calls));
        if (spool__cas(&g->threads, &t, t & ~T_PENDING, RELAXED))
            return;
        calls = t_granted(t);
    } while (t & T_PENDING);
}

/* Grants one thread, or all; false if none waited. */
static bool wake_thread(struct spool__gate *g, bool all)
{
    uint64_t t = spool__load(&g->threads, RELAXED);
    for (;;) {
        uint32_t n = all ? t_waiting(t) : t_waiting(t) > 0;
        if (n == 0)
            break;
        uint64_t granted = (t - n * T_WAIT + n * T_GRANT) | T_PENDING;
        /* Release: what was published is seen by the thread that takes the grant. */
        if (spool__cas(&g->threads, &t, granted, RELEASE)) {
            deliver_to_threads(g, granted, t & T_PENDING ? t_granted(granted) : n);
            return true;
        }
    }
    if (t & T_PENDING)
        deliver_to_threads(g, t, t_granted(t));
    return false;
}

/*
 * One edge for the selects in whose epoll set the descriptor is. When a stranger has filled the counter to the brim, a
 * write would make no edge: then empty it first.
 */
static void signal_fd(struct spool__gate *g, uint64_t what)
{
    /* The word was read before: whoever let it ask for a call had made the descriptor. Pairs with arm and drain. */
    spool__fence();
    int fd = spool__load(&g->fd_plus_1, RELAXED) - 1;
    for (int tries = 0; tries < 3; tries++) {
        if (spool__sys_eventfd_write(fd, what) != -EAGAIN)
            return;
        (void)spool__sys_eventfd_read(fd);
    }
}

/*
 * Writes for grants that are pending, s being the word as last seen. As for threads the mark goes only if nothing
 * changed. If the descriptor was drained meanwhile, the write may have come after that and made it readable for
 * nothing, with the gate none the wiser: then make a wake of it, which the next drain ends.
 */
static void deliver_to_selects(struct spool__gate *g, uint64_t s)
{
    for (;;) {
        signal_fd(g, WRITE_WAKE);
        if (spool__cas(&g->selects, &s, s & ~S_PENDING, RELAXED))
            return;
        while (s & S_LISTENING)
            if (spool__cas(&g->selects, &s, (s & ~S_LISTENING) | S_PENDING, RELEASE)) {
                s = (s & ~S_LISTENING) | S_PENDING;
                break;
            }
        if (!(s & S_PENDING))
            return;
    }
}

/* Grants one select unless a thread was granted, and makes an exported descriptor readable. */
static void wake_select(struct spool__gate *g, bool thread_granted)
{
    uint64_t s = spool__load(&g->selects, RELAXED);
    for (;;) {
        uint64_t woken = s;
        if (s & S_LISTENING)
            woken = (woken & ~S_LISTENING) | S_PENDING;
        if (!thread_granted && s_waiting(s))
            woken = (woken - S_WAIT + S_GRANT) | S_PENDING;
        if (woken == s)
            break;
        if (spool__cas(&g->selects, &s, woken, RELEASE)) {
            s = woken;
            break;
        }
    }
    if (s & S_PENDING)
        deliver_to_selects(g, s);
}

void spool__gate_wake_slow(struct spool__gate *g)
{
    bool granted = wake_thread(g, false);
    wake_select(g, granted);
}

void spool__gate_wake_all(struct spool__gate *g)
{
    spool__fence_after_rmw();
    (void)wake_thread(g, true);
    uint64_t s = spool__load(&g->selects, RELAXED);
    while (s & SPOOL__GATE_SELECTS_CALL) {
        /* Each write wakes one select that sleeps, so as many writes as wait; for strangers one is enough. */
        uint32_t n = s_waiting(s);
        for (uint32_t i = 0; i < (n ? n : 1); i++)
            signal_fd(g, WRITE_CLOSE);
        uint64_t woken = (s - n * S_WAIT + n * S_GRANT) & ~(S_LISTENING | S_PENDING);
        if (spool__cas(&g->selects, &s, woken, RELEASE))
            break;
    }
}

void spool__gate_announce(struct spool__gate *g)
{
    (void)spool__add(&g->threads, T_WAIT, RELAXED);
    /* The announcement before the look for work; pairs with the fence in wake. */
    spool__fence_after_rmw();
}

bool spool__gate_leave(struct spool__gate *g)
{
    uint64_t t = spool__load(&g->threads, RELAXED);
    for (;;) {
        /* A grant first, if there is one: its call may have woken this very thread. */
        bool granted = t_granted(t) > 0;
        if (spool__cas(&g->threads, &t, t - (granted ? T_GRANT : T_WAIT), ACQUIRE))
            return granted;
    }
}

bool spool__gate_sleep(struct spool__gate *g, int64_t deadline)
{
    for (;;) {
        uint64_t t = spool__load(&g->threads, RELAXED);
        if (t_granted(t)) {
            if (spool__cas(&g->threads, &t, t - T_GRANT, ACQUIRE))
                return true;
        } else if (spool__sys_futex_wait(futex_word(g), 0, deadline) == -ETIMEDOUT) {
            return spool__gate_leave(g);
        }
    }
}

void spool__gate_hand_on(struct spool__gate *g, size_t work)
{
    if (work == 0)
        return;
    spool__fence_after_rmw();
    if (!spool__gate_is_waited(g))
        return;
    size_t granted = (size_t)t_granted(spool__load(&g->threads, RELAXED)) + s_granted(spool__load(&g->selects, RELAXED));
    if (work > granted)
        spool__gate_wake_slow(g);
}

void spool__gate_arm(struct spool__gate *g)
{
    /* Release: the descriptor is there. */
    (void)spool__add(&g->selects, S_WAIT, RELEASE);
    /* The announcement before the look for work; pairs with the fence in wake. */
    spool__fence_after_rmw();
}

bool spool__gate_disarm(struct spool__gate *g)
{
    uint64_t s = spool__load(&g->selects, RELAXED);
    for (;;) {
        bool granted = s_granted(s) > 0;
        if (spool__cas(&g->selects, &s, s - (granted ? S_GRANT : S_WAIT), ACQUIRE))
            return granted;
    }
}

int spool__gate_fd(struct spool__gate *g)
{
    int32_t have = spool__load(&g->fd_plus_1, ACQUIRE);
    if (have)
        return have - 1;
    int fd = spool__sys_eventfd();
    if (fd < 0)
        return fd;
    /* Release: whoever writes to the descriptor does so after it was made. */
    if (spool__cas(&g->fd_plus_1, &have, fd + 1, ACQ_REL))
        return fd;
    (void)spool__sys_close(fd);
    return spool__load(&g->fd_plus_1, ACQUIRE) - 1;
}

/*
 * Reads the descriptor empty and listens, both at a time at which nothing else changed. The read may have swallowed the
 * edge of a select that was granted, so all grants become waiting again: there was no work for them then.
 */
static void listen_again(struct spool__gate *g, uint64_t s)
{
    uint64_t listening;
    do {
        (void)spool__sys_eventfd_read(spool__load(&g->fd_plus_1, ACQUIRE) - 1);
        uint64_t n = s_granted(s);
        listening = (s - n * S_GRANT + n * S_WAIT + S_DRAINED) | S_EXPORTED | S_LISTENING;
    } while (!spool__cas(&g->selects, &s, listening, ACQ_REL));
    /* Listening before the look for work; pairs with the fence in wake. */
    spool__fence_after_rmw();
}

void spool__gate_export(struct spool__gate *g)
{
    uint64_t s = spool__load(&g->selects, ACQUIRE);
    if (!(s & S_EXPORTED))
        listen_again(g, s);
}

bool spool__gate_drain(struct spool__gate *g)
{
    uint64_t s = spool__load(&g->selects, RELAXED);
    if ((s & (S_EXPORTED | S_LISTENING)) != S_EXPORTED)
        return false;
    listen_again(g, s);
    return true;
}

void spool__gate_destroy(struct spool__gate *g)
{
    if (g->fd_plus_1)
        (void)spool__sys_close(g->fd_plus_1 - 1);
}
