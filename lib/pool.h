/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_POOL_H
#define SPOOL_POOL_H

#include <stddef.h>
#include <stdint.h>

/*
 * The cells of a ring that are in no slot and in nobody's hands, by number: a stack (R. K. Treiber, "Systems
 * programming: coping with parallelism", 1986) with a counter against reuse, and those that were never taken so far, so
 * that a new ring need not list them. Lock-free. Zeroed memory is a pool once it was initialised.
 */

/* Cells are counted from 1. */
#define SPOOL__NO_CELL 0

struct spool__pool {
    uint64_t top;   /* the top cell, and above it the counter */
    uint64_t fresh; /* cells behind this one were never taken so far */
    uint64_t cells, mask; /* how many there are; the bits of a number */
    uint64_t links[];
};

static inline size_t spool__pool_bytes(size_t cells)
{
    return sizeof(struct spool__pool) + cells * sizeof(uint64_t);
}

/* mask: one less than a power of two, and at least cells. */
void spool__pool_init(struct spool__pool *pool, uint64_t cells, uint64_t mask);
/* SPOOL__NO_CELL: at one moment there was none. */
size_t spool__pool_take(struct spool__pool *pool);
/* What this thread did with the cell's bytes is seen by who takes it. */
void spool__pool_give(struct spool__pool *pool, size_t cell);
/* For tests: how many are in it, while nobody takes or gives any. */
size_t spool__pool_count(struct spool__pool *pool);

#endif
