/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_GATE_H
#define SPOOL_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sys.h"

/*
 * Where threads and selects wait until something may have become possible. A channel has two gates in each direction:
 * getters wait at one for elements, putters at the other for room. The gate knows neither; "work" below is whatever
 * the waiters of this gate wait for. It is an event count in two words, one for each kind of waiter:
 *
 *  - threads parked in a put or get, on a futex: waiting + granted tokens. A wake takes one from waiting to granted and
 *    wakes one thread; whoever of them comes first takes the token.
 *  - selects that watch the gate, on the eventfd: the same two counts. Each select has the descriptor in its epoll set
 *    edge-triggered and exclusive, so that one write wakes one select that sleeps.
 *
 * The identities of waiters do not matter, only their number: waiting + granted is always how many there are. Waiters
 * announce themselves, fence, and look for work again before they sleep; a wake comes after publishing and a fence.
 * So of a waiter and a publisher at least one sees the other. (Known as Dekker's pattern; the event count is
 * D. Reed and R. Kanodia, "Synchronization with eventcounts and sequencers", 1979.)
 *
 * Strangers may poll the descriptor as well (spool_fd). For them it has to be readable while there is work: once
 * *exported*, it is drained only when there was no work, which makes the gate *listen*: the next wake writes. While a
 * thread drains, every wake writes, since nobody can tell what the drain will swallow.
 *
 * A grant is noted before the system call that delivers it, and *pending* until after. A thread that stops between the
 * two (for ever, perhaps) would leave its waiter asleep; so who finds pending set makes the call again.
 *
 * tests/models has the models: park.pml, poll.pml and mixed.pml, with every step that was found to be needed.
 */
struct spool__gate {
    /* granted: 31 bits, and shut: the futex word; waiting: 22 bits (all there can be); pending; version */
    _Alignas(8) uint64_t threads; /* here and elsewhere, for i386: what lies across two cache lines is not atomic */
    uint64_t selects; /* waiting: 20 bits; granted: 20 bits; drainers: 8 bits; pending, listening, exported; version */
    int32_t fd_plus_1; /* 0 until first used */
    uint32_t told;     /* how often one who found the channel closed told the next */
    _Alignas(8) uint64_t wakes; /* system calls made to wake somebody, for who looks from outside */
};

#define SPOOL__GATE_THREADS_CALL (UINT64_C(0x7fffff) << 32) /* somebody waits, or a call is pending */
#define SPOOL__GATE_SELECTS_CALL (UINT64_C(0xfffff) | UINT64_C(0x3ff) << 40) /* or strangers have to be told */
#define SPOOL__GATE_LISTENING (UINT64_C(1) << 49)
#define SPOOL__GATE_EXPORTED (UINT64_C(1) << 50)

void spool__gate_wake_slow(struct spool__gate *g);

/* Whether anybody waits that a wake would have to tell. */
static inline bool spool__gate_is_waited(const struct spool__gate *g)
{
    return (spool__load(&g->threads, RELAXED) & SPOOL__GATE_THREADS_CALL) |
           (spool__load(&g->selects, RELAXED) & SPOOL__GATE_SELECTS_CALL);
}

/*
 * To be called after work was published by an atomic read-modify-write: wakes one waiter, if there is any. Without one
 * it is two loads of one cache line.
 */
static inline void spool__gate_wake(struct spool__gate *g)
{
    /* The publishing before the look; pairs with the fences in announce, arm and drain. */
    spool__fence_after_rmw();
    if (spool__gate_is_waited(g))
        spool__gate_wake_slow(g);
}

/* The same for work that stays for everybody, as a closed channel: wakes all. */
void spool__gate_wake_all(struct spool__gate *g);
/*
 * Strangers that poll with EPOLLEXCLUSIVE are woken one by one even so, and nobody knows how many they are. So each
 * that finds the channel closed tells the next.
 */
void spool__gate_tell_next(struct spool__gate *g);

/*
 * A thread's wait: announce; look for work; then either leave or sleep. leave says whether a grant was meant for this
 * thread, sleep whether it was granted (or else its deadline passed). After a grant the thread looks whether there is
 * more work than it took, and if so wakes one more.
 */
void spool__gate_announce(struct spool__gate *g);
bool spool__gate_leave(struct spool__gate *g);
bool spool__gate_sleep(struct spool__gate *g, int64_t deadline);

/* A select's: arm; look for work; when woken, or to stop: disarm, which says whether it was granted. */
void spool__gate_arm(struct spool__gate *g);
bool spool__gate_disarm(struct spool__gate *g);

/* The eventfd, made if need be, or a negative errno. */
int spool__gate_fd(struct spool__gate *g);
/* From now on strangers poll it. The caller then looks for work, and wakes if there is. */
void spool__gate_export(struct spool__gate *g);
/*
 * When there was no work: if strangers poll the descriptor, makes it unreadable, whoever made it readable, and returns
 * true. The caller then looks for work again, and wakes if there is.
 */
bool spool__gate_drain(struct spool__gate *g);
/* Whether strangers poll the descriptor; and whether a wake has written to it since it was last drained. */
static inline bool spool__gate_is_exported(const struct spool__gate *g)
{
    return spool__load(&g->selects, RELAXED) & SPOOL__GATE_EXPORTED;
}
static inline bool spool__gate_is_signalled(const struct spool__gate *g)
{
    return (spool__load(&g->selects, RELAXED) & (SPOOL__GATE_EXPORTED | SPOOL__GATE_LISTENING)) == SPOOL__GATE_EXPORTED;
}

/* What a gate said at one moment, for who looks at it from outside. */
struct spool__gate_sight {
    unsigned threads, threads_granted; /* that sleep, or are about to; to whom a wake was given, and who have not run */
    unsigned selects, selects_granted; /* that are armed on it */
    bool is_shut, is_exported;
    int fd; /* -1: none */
    uint64_t wakes;
};

void spool__gate_see(const struct spool__gate *g, struct spool__gate_sight *ret);
/* The futex its threads sleep on. */
uint32_t *spool__gate_word(struct spool__gate *g);

void spool__gate_destroy(struct spool__gate *g);

#endif
