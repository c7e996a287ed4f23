/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "gate.h"

#include <limits.h>

#include "lane.h" /* for the probes: which lane a gate is of */

/*
 * The word of the threads. In both words the version changes with every grant, signal and drain, so that a thread that
 * was in a system call meanwhile can tell.
 */
#define T_GRANT UINT64_C(1)
#define T_SHUT (UINT64_C(1) << 31) /* the channel is closed: nobody sleeps any more, whoever takes which grant */
#define T_WAIT (UINT64_C(1) << 32)
#define T_PENDING (UINT64_C(1) << 54)
#define T_VERSION (UINT64_C(1) << 55)

/* The word of the selects. */
#define S_WAIT UINT64_C(1)
#define S_GRANT (UINT64_C(1) << 20)
#define S_DRAINER (UINT64_C(1) << 40)
#define S_PENDING (UINT64_C(1) << 48)
#define S_LISTENING SPOOL__GATE_LISTENING
#define S_EXPORTED SPOOL__GATE_EXPORTED
#define S_VERSION (UINT64_C(1) << 51)

/* More than that at once leave the descriptor for the next: spuriously readable, which is allowed. */
#define DRAINERS_MAX 128

/* Strangers that poll edge-triggered and go on after -EPIPE would tell each other for ever. */
#define TELL_MAX 1000

/* What a write adds to the eventfd, so that a trace tells them apart. */
#define WRITE_WAKE UINT64_C(1)
#define WRITE_CLOSE (UINT64_C(1) << 32)

static inline uint32_t t_granted(uint64_t t)
{
    return (uint32_t)t & UINT32_C(0x7fffffff);
}

static inline uint32_t t_waiting(uint64_t t)
{
    return (uint32_t)(t >> 32) & UINT32_C(0x3fffff);
}

static inline uint32_t s_waiting(uint64_t s)
{
    return (uint32_t)s & UINT32_C(0xfffff);
}

static inline uint32_t s_granted(uint64_t s)
{
    return (uint32_t)(s >> 20) & UINT32_C(0xfffff);
}

static inline uint32_t s_drainers(uint64_t s)
{
    return (uint32_t)(s >> 40) & UINT32_C(0xff);
}

/* The word after a grant or signal whose write is still to come. */
static inline uint64_t s_signalled(uint64_t s)
{
    return ((s & ~S_LISTENING) | S_PENDING) + S_VERSION;
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

static inline void tell_woken(const struct spool__gate *g, int who, uint32_t n)
{
    (void)g, (void)who, (void)n;
    spool__probe_wake(spool__lane_of_gate(g), spool__side_of_gate(g), who, n, true);
}

/*
 * Makes the futex call for grants that are pending, t being the word as last seen. The mark goes if nothing was granted
 * since before the call; else the call is made again for whoever granted and may have stopped.
 */
static void deliver_to_threads(struct spool__gate *g, uint64_t t, uint32_t calls)
{
    for (;;) {
        if (calls)
            (void)spool__sys_futex_wake(futex_word(g), wake_count(calls));
        uint64_t now = spool__load(&g->threads, RELAXED);
        while (now & T_PENDING && (now ^ t) < T_VERSION)
            if (spool__cas(&g->threads, &now, now & ~T_PENDING, RELAXED))
                return;
        if (!(now & T_PENDING))
            return;
        t = now;
        calls = t & T_SHUT ? INT_MAX : t_granted(t);
    }
}

/* Grants one thread; false if none waited. */
static bool wake_thread(struct spool__gate *g)
{
    uint64_t t = spool__load(&g->threads, RELAXED);
    while (t_waiting(t)) {
        uint64_t granted = ((t - T_WAIT + T_GRANT) | T_PENDING) + T_VERSION;
        /* Release: what was published is seen by the thread that takes the grant. */
        if (spool__cas(&g->threads, &t, granted, RELEASE)) {
            spool__count(&g->wakes);
            tell_woken(g, SPOOL__WOKE_THREADS, 1);
            /* Who left the mark may have stopped: then call for all that are granted. */
            deliver_to_threads(g, granted, t & T_PENDING ? t_granted(granted) : 1);
            return true;
        }
    }
    if (t & T_PENDING)
        deliver_to_threads(g, t, t_granted(t));
    return false;
}

static inline uint64_t tell_shut(const struct spool__gate *g, uint64_t t)
{
    if (t_waiting(t))
        tell_woken(g, SPOOL__WOKE_THREADS, t_waiting(t));
    return t;
}

/* Lets every thread go, and none sleep from now on. */
static void shut_threads(struct spool__gate *g)
{
    uint64_t t = spool__load(&g->threads, RELAXED);
    while (!(t & T_SHUT)) {
        uint64_t shut = (t | T_SHUT | T_PENDING) + T_VERSION;
        if (spool__cas(&g->threads, &t, shut, RELEASE))
            t = tell_shut(g, shut);
    }
    if (t & T_PENDING)
        deliver_to_threads(g, t, INT_MAX);
}

/* How many writes stand for every select that is granted. */
static inline uint32_t all_granted(uint64_t s)
{
    return s_granted(s) > 1 ? s_granted(s) : 1;
}

/*
 * An edge, n times, for the selects in whose epoll set the descriptor is. When a stranger has filled the counter to the
 * brim, a write would make no edge: then empty it first, and make up for edges that were swallowed with it.
 */
static void signal_fd(struct spool__gate *g, uint64_t what, uint32_t n)
{
    /* The word was read before: whoever let it ask for a call had made the descriptor. Pairs with arm and drain. */
    spool__fence();
    int fd = spool__load(&g->fd_plus_1, RELAXED) - 1;
    for (int full = 0; n > 0;) {
        if (spool__sys_eventfd_write(fd, what) != -EAGAIN) {
            n--;
        } else if (full++ < 3) {
            (void)spool__sys_eventfd_read(fd);
            n = all_granted(spool__load(&g->selects, RELAXED));
        } else {
            return;
        }
    }
}

/*
 * Makes writes for what is pending, s being the word as last seen. The mark goes when nothing was signalled since
 * before them. After a drain it goes too: who drained looks for work then, and takes over what is owed. Else they are
 * made again for whoever signalled and may have stopped. That a select took its grant is no reason to write again.
 */
static void deliver_to_selects(struct spool__gate *g, uint64_t s, uint32_t writes)
{
    for (;;) {
        signal_fd(g, WRITE_WAKE, writes);
        uint64_t now = spool__load(&g->selects, RELAXED);
        while ((now & S_PENDING) && ((now ^ s) < S_VERSION || (now & S_LISTENING)))
            if (spool__cas(&g->selects, &now, now & ~S_PENDING, RELAXED))
                return;
        if (!(now & S_PENDING))
            return;
        s = now;
        writes = all_granted(s);
    }
}

/* Grants one select unless a thread was granted, and makes an exported descriptor readable. */
static void wake_select(struct spool__gate *g, bool thread_granted)
{
    uint64_t s = spool__load(&g->selects, RELAXED);
    for (;;) {
        bool grant = !thread_granted && s_waiting(s);
        if (!grant && !(s & S_LISTENING) && !s_drainers(s)) {
            if (s & S_PENDING)
                deliver_to_selects(g, s, all_granted(s));
            return;
        }
        uint64_t woken = s_signalled(grant ? s - S_WAIT + S_GRANT : s);
        if (spool__cas(&g->selects, &s, woken, RELEASE)) {
            spool__count(&g->wakes);
            /* Who left the mark may have stopped, who drains may swallow: then write for all that are granted. */
            bool all = (s & S_PENDING) || s_drainers(s);
            tell_woken(g, grant ? SPOOL__WOKE_SELECTS : SPOOL__WOKE_POLLERS, 1);
            deliver_to_selects(g, woken, all ? all_granted(woken) : 1);
            return;
        }
    }
}

/*
 * Threads first: a granted thread is sure to take the work, a select may be busy elsewhere with its watches armed. Among
 * selects the kernel picks one that sleeps; nothing would do that between a busy select and a thread.
 */
void spool__gate_wake_slow(struct spool__gate *g)
{
    bool granted = wake_thread(g);
    wake_select(g, granted);
}

/* Takes the mark away, unless something was signalled after s. */
static void clear_pending(struct spool__gate *g, uint64_t s)
{
    uint64_t now = s;
    while ((now ^ s) < S_VERSION && !spool__cas(&g->selects, &now, now & ~S_PENDING, RELAXED))
        ;
}

void spool__gate_wake_all(struct spool__gate *g)
{
    /* The closing before the look, as in wake; pairs with the fences in announce, arm and drain. */
    spool__fence_after_rmw();
    shut_threads(g);
    uint64_t s = spool__load(&g->selects, RELAXED);
    while (s & SPOOL__GATE_SELECTS_CALL) {
        uint32_t n = s_waiting(s);
        if (n == 0 && (s & S_PENDING)) {
            /* Who granted them is still at it, or has stopped: each that was woken wakes one more. */
            signal_fd(g, WRITE_CLOSE, 1);
            return;
        }
        uint64_t woken = s_signalled(s - n * S_WAIT + n * S_GRANT);
        if (!spool__cas(&g->selects, &s, woken, RELEASE))
            continue;
        /* Each write wakes one select that sleeps, so as many writes as waited; for strangers one is enough. */
        bool all = (s & S_PENDING) || s_drainers(s);
        tell_woken(g, n ? SPOOL__WOKE_SELECTS : SPOOL__WOKE_POLLERS, n ? n : 1);
        signal_fd(g, WRITE_CLOSE, all ? all_granted(woken) : n ? n : 1);
        clear_pending(g, woken);
        return;
    }
}

void spool__gate_tell_next(struct spool__gate *g)
{
    if ((spool__load(&g->selects, RELAXED) & S_EXPORTED) && spool__load(&g->told, RELAXED) < TELL_MAX &&
        spool__add(&g->told, 1, RELAXED) < TELL_MAX) {
        tell_woken(g, SPOOL__WOKE_POLLERS, 1);
        signal_fd(g, WRITE_CLOSE, 1);
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
        if (t & T_SHUT) {
            (void)spool__gate_leave(g);
            return true;
        }
        if (t_granted(t)) {
            if (spool__cas(&g->threads, &t, t - T_GRANT, ACQUIRE))
                return true;
            continue;
        }
        spool__probe_park(spool__lane_of_gate(g), spool__side_of_gate(g), deadline);
        if (spool__sys_futex_wait(futex_word(g), 0, deadline) == -ETIMEDOUT)
            return spool__gate_leave(g);
    }
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
 * Reads the descriptor empty and listens, both at a time at which nobody signalled. The read may have swallowed the edge
 * of a select that was granted, so all grants become waiting again: there was no work for them then.
 */
static void listen_again(struct spool__gate *g)
{
    /* Release: the descriptor is there. */
    uint64_t s = spool__add(&g->selects, S_DRAINER, ACQ_REL) + S_DRAINER, listening;
    do {
        (void)spool__sys_eventfd_read(spool__load(&g->fd_plus_1, ACQUIRE) - 1);
        uint64_t n = s_granted(s);
        listening = (s - n * S_GRANT + n * S_WAIT - S_DRAINER + S_VERSION) | S_EXPORTED | S_LISTENING;
    } while (!spool__cas(&g->selects, &s, listening, ACQ_REL));
    /* Listening before the look for work; pairs with the fence in wake. */
    spool__fence_after_rmw();
}

void spool__gate_export(struct spool__gate *g)
{
    uint64_t s;
    while (!((s = spool__load(&g->selects, ACQUIRE)) & S_EXPORTED)) {
        if (s_drainers(s) < DRAINERS_MAX)
            listen_again(g);
        else
            spool__yield();
    }
}

bool spool__gate_drain(struct spool__gate *g)
{
    uint64_t s = spool__load(&g->selects, RELAXED);
    if (!(s & S_EXPORTED) || s_drainers(s) >= DRAINERS_MAX)
        return false;
    listen_again(g);
    return true;
}

void spool__gate_see(const struct spool__gate *g, struct spool__gate_sight *ret)
{
    uint64_t t = spool__load(&g->threads, RELAXED), s = spool__load(&g->selects, RELAXED);
    *ret = (struct spool__gate_sight){
        .threads = t_waiting(t),
        .threads_granted = t_granted(t),
        .selects = s_waiting(s),
        .selects_granted = s_granted(s),
        .is_shut = t & T_SHUT,
        .is_exported = s & S_EXPORTED,
        .fd = spool__load(&g->fd_plus_1, RELAXED) - 1,
        .wakes = spool__load(&g->wakes, RELAXED),
    };
}

uint32_t *spool__gate_word(struct spool__gate *g)
{
    return futex_word(g);
}

void spool__gate_destroy(struct spool__gate *g)
{
    if (g->fd_plus_1)
        (void)spool__sys_close(g->fd_plus_1 - 1);
}
