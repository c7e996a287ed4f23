/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_HAZARD_H
#define SPOOL_HAZARD_H

#include <stdbool.h>
#include <stdint.h>

#include "sys.h"

/*
 * Keeps memory alive that a thread reached through a shared pointer, the *root*, while others may unlink and free it
 * (M. Michael, "Hazard pointers: safe memory reclamation for lock-free objects", 2004). Each thread has a record with
 * two hazards. It sets one to what it loaded from the root, and may use that once the root, loaded again behind a
 * fence, still says the same. Who frees unlinks first, fences, and then looks at all hazards.
 *
 * A hazard is not cleared after use. A later load of the root that finds what the hazard says already is protected as
 * it stands, with no store and no fence:
 *  - The hazard was set before some fence F of this thread, and the root was loaded after F. Whoever unlinks the object
 *    after that load fences after F, so looking at the hazards then, it finds this one. Nothing else is needed.
 *  - In particular it does not matter whether the object was valid when the hazard was set, or whether it is the same
 *    one: it may have been freed, and another one made at the same address, of another channel too. What counts is
 *    only that this object is unlinked after the load, and every look at the hazards after that finds them set.
 * So a quiet thread may keep two objects from being freed, and a hazard may point at nothing at all: it is only
 * compared.
 *
 * An operation that cannot have a record runs *unprotected*: it counts itself, and while the count is not zero nothing
 * is freed. So does one in a signal handler that interrupted another one, whose hazards it must leave alone, and one of
 * a thread that is past its destructor. The model is tests/models/chain.pml.
 */

enum spool__hazard_side {
    SPOOL__HAZARD_PUT,
    SPOOL__HAZARD_GET,
};

struct spool__hazard {
    _Alignas(64) const void *on[2]; /* written by the owner only */
    uint32_t busy;                  /* inside an operation; seen by the owner and its signal handlers only */
    uint32_t taken;                 /* has an owner */
};

/* The record of this thread: NULL before its first operation, one that is always busy after its last. */
extern _Thread_local struct spool__hazard *spool__hazard_mine;

struct spool__hazard *spool__hazard_enter_slowly(struct spool__hazard *mine);
void spool__hazard_leave_slowly(void);

/* Begins an operation; NULL if it is unprotected. */
static inline struct spool__hazard *spool__hazard_enter(void)
{
    struct spool__hazard *mine = spool__load(&spool__hazard_mine, RELAXED);
    if (!mine || spool__load(&mine->busy, RELAXED))
        return spool__hazard_enter_slowly(mine);
    spool__store(&mine->busy, 1, RELAXED);
    /* A handler that interrupts what follows sees busy. */
    spool__fence_for_handlers();
    return mine;
}

static inline void spool__hazard_leave(struct spool__hazard *h)
{
    if (h)
        spool__store(&h->busy, 0, RELEASE);
    else
        spool__hazard_leave_slowly();
}

/* Whether p, loaded from its root just now, may be used; otherwise set the hazard and load again. */
static inline bool spool__hazard_has(const struct spool__hazard *h, enum spool__hazard_side side, const void *p)
{
    return !h || spool__load(&h->on[side], RELAXED) == p;
}

static inline void spool__hazard_set(struct spool__hazard *h, enum spool__hazard_side side, const void *p)
{
    /* Release: the use of what the hazard said before is over. */
    spool__store(&h->on[side], p, RELEASE);
    /* The hazard before the next load of the root; pairs with the fence between unlinking and spool__hazard_held. */
    spool__fence();
}

/*
 * Whether somebody may use p, which was unlinked before a full fence of the caller. The hazards of own do not count: to
 * be given by a thread that has left its operation, for then they are only remembered.
 */
bool spool__hazard_held(const void *p, const struct spool__hazard *own);

#endif
