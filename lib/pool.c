/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "pool.h"

#include <stdbool.h>

#include "sys.h"

void spool__pool_init(struct spool__pool *pool, uint64_t cells, uint64_t mask)
{
    pool->cells = cells;
    pool->mask = mask;
}

size_t spool__pool_take(struct spool__pool *pool)
{
    uint64_t top, mask = pool->mask, cells = pool->cells;
    for (bool may_be_fresh = true;; may_be_fresh = false) {
        /*
         * Acquire, also after a swap that failed: who sees a cell on top sees the link that was written before. And its
         * last user has finished with the bytes: the counter makes sure that the swap finds what was loaded here.
         */
        while ((top = spool__load(&pool->top, ACQUIRE)) & mask) {
            size_t cell = (size_t)(top & mask);
            /* May be stale when another thread took the cell meanwhile; the counter then makes the swap fail. */
            uint64_t below = spool__load(&pool->links[cell - 1], RELAXED);
            if (spool__cas(&pool->top, &top, ((top & ~mask) + mask + 1) | below, RELAXED))
                return cell;
        }
        if (!may_be_fresh)
            return SPOOL__NO_CELL;
        /* Acquire: that there is none any more is known before the next look at the stack. */
        uint64_t fresh;
        while ((fresh = spool__load(&pool->fresh, ACQUIRE)) < cells)
            if (spool__cas(&pool->fresh, &fresh, fresh + 1, RELAXED))
                return (size_t)fresh + 1;
    }
}

void spool__pool_give(struct spool__pool *pool, size_t cell)
{
    uint64_t top = spool__load(&pool->top, RELAXED), mask = pool->mask;
    do
        spool__store(&pool->links[cell - 1], top & mask, RELAXED);
    while (!spool__cas(&pool->top, &top, ((top & ~mask) + mask + 1) | cell, RELEASE));
    /* Release: this thread has finished with the bytes, and the link is written. */
}

size_t spool__pool_count(struct spool__pool *pool)
{
    size_t n = (size_t)(pool->cells - spool__load(&pool->fresh, RELAXED));
    uint64_t cell = spool__load(&pool->top, RELAXED) & pool->mask;
    for (; cell != SPOOL__NO_CELL; n++)
        cell = spool__load(&pool->links[cell - 1], RELAXED);
    return n;
}
