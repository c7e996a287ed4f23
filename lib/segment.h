/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_SEGMENT_H
#define SPOOL_SEGMENT_H

#include "chain.h"
#include "hazard.h"

/* The memory of a chain: what slots and cells its segments have, where they come from, and when they go. */

/* An element is a word, or lies in a cell. */
static inline bool spool__in_cells(size_t elem_size)
{
    return elem_size > sizeof(uint64_t);
}

/* From the key of a segment to that of the next one, which so is another one in more than its lowest bits. */
#define SPOOL__KEY_STEP UINT64_C(0x9e3779b97f4a7c15)

/* The slots lie behind the segment's struct. */
static inline uint64_t *spool__slot_at(struct spool__segment *s, uint64_t index)
{
    return (uint64_t *)(void *)(s + 1) + index;
}

/* It lies behind the struct. Nothing links to it, so in `next` its address is the mark of the close. */
static inline struct spool__segment *spool__first_segment(struct spool__chain *c)
{
    return (struct spool__segment *)(void *)(c + 1);
}

/* One for the end of the chain, behind s, or NULL: no memory. */
struct spool__segment *spool__segment_new(struct spool__chain *c, const struct spool__segment *s);
/* Of one that nobody uses. */
void spool__segment_free(struct spool__chain *c, struct spool__segment *s);
/* Of one that head and tail have left. False: the first, which stays. Its first user is the next reap. */
bool spool__segment_retire(struct spool__chain *c, struct spool__segment *s);
/* Frees what was retired and nobody looks at any more; own as for spool__hazard_held. */
void spool__segment_reap(struct spool__chain *c, const struct spool__hazard *own);

#endif
