/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "lock.h"

#include "spin.h"

void spool__lock_slow(struct spool__lock *l)
{
    for (unsigned turns = 0; spool__spin(&turns);) {
        /* Ever later: each look takes the line from the one who has the lock, and whatever else is in it. */
        if ((turns & (turns - 1)) && !spool__spin_yields(turns))
            continue;
        if (spool__load(&l->word, RELAXED) == SPOOL__UNLOCKED && spool__trylock(l))
            return;
    }
    /* Whoever gets it here cannot know whether others sleep, and leaves the mark for its own unlock. */
    while (spool__swap(&l->word, SPOOL__CONTENDED, ACQUIRE) != SPOOL__UNLOCKED)
        (void)spool__sys_futex_wait(&l->word, SPOOL__CONTENDED, INT64_MAX);
}
