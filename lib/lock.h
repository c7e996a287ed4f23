/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_LOCK_H
#define SPOOL_LOCK_H

#include "sys.h"

/*
 * A lock for the places that are not promised to be lock-free: the rendezvous, channels over kernel objects, threads. It
 * spins as puts and gets do, then sleeps. Zero is unlocked. (U. Drepper, "Futexes are tricky", 2011, mutex 2.)
 */
struct spool__lock {
    uint32_t word;
};

#define SPOOL__UNLOCKED 0u
#define SPOOL__LOCKED 1u
#define SPOOL__CONTENDED 2u /* locked, and somebody may sleep */

void spool__lock_slow(struct spool__lock *l);

static inline bool spool__trylock(struct spool__lock *l)
{
    uint32_t free = SPOOL__UNLOCKED;
    return spool__cas(&l->word, &free, SPOOL__LOCKED, ACQUIRE);
}

static inline void spool__lock(struct spool__lock *l)
{
    if (!spool__trylock(l))
        spool__lock_slow(l);
}

static inline void spool__unlock(struct spool__lock *l)
{
    if (spool__swap(&l->word, SPOOL__UNLOCKED, RELEASE) == SPOOL__CONTENDED)
        (void)spool__sys_futex_wake(&l->word, 1);
}

#endif
