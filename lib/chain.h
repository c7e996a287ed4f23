/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_CHAIN_H
#define SPOOL_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ring.h"

/*
 * An unbounded queue of elements: many putters, many getters, lock-free but for the allocation of memory, exactly
 * closable.
 *
 * A linked list of *segments*, each an array of slots that are used once, in order: free, full, taken. As in the ring
 * one compare-and-swap of a slot *is* the put, the get or the close, and everything else is a hint that anyone moves
 * on. A slot never goes back, so all slots before one that was seen used are used, and a hint may be behind, or be set
 * back by a slow thread, at the price of some steps: no answer depends on it. When a segment is full, the next one is
 * linked with a compare-and-swap of its `next`, and tail follows; when all of it is taken, head follows.
 *
 * Closing puts a mark into the first free slot, or into `next` if there is none, so it needs no memory. Nothing is ever
 * put behind the mark, and a getter that stands at it has got everything.
 *
 * An element of up to 8 bytes is the slot's word itself, but for a *key* that each segment has for itself: xor makes
 * the words that mean something else those of four elements that nobody can foretell. Such an element cannot stand in
 * that segment. The free slots of it are marked dead then, and it goes to the next one, where others are in its place:
 * the price of a word for an element instead of two, and paid once in 2^62 elements. (In a ring two are needed, whose
 * slots serve one turn after the other, and tell them apart.)
 *
 * Larger elements lie in cells of the segment, and the word is the cell's number. A ticket gives out each cell once.
 * There are more cells than slots; if even so they run out while slots are free, because that many threads stopped with
 * a cell in hand, the free slots are dead as well.
 *
 * When the segments there are take 4 MiB, further ones are large: a huge page is one fault where the pages of small
 * ones are hundreds. No large one is kept.
 *
 * A segment that head has left, and tail before it, is freed when no hazard (hazard.h) is on it: only threads in the
 * midst of an operation, or that have made none since, hold it back, each two at most. One is kept for the next use,
 * so a steady flow maps no memory. The first one is part of the chain, small, and used once.
 *
 * The last change that a put makes for others to act upon is a read-modify-write; hints stored after it do not matter.
 * The model is tests/models/chain.pml.
 */

/*
 * What a slot's word says. At the first two a put or a close stands, at all but the next two a get. From FULL on it is
 * an element, or FULL and the number of its cell.
 */
#define SPOOL__CHAIN_FREE UINT64_C(0)
#define SPOOL__CHAIN_CLOSED UINT64_C(1)
#define SPOOL__CHAIN_TAKEN UINT64_C(2)
#define SPOOL__CHAIN_DEAD UINT64_C(3)
#define SPOOL__CHAIN_FULL UINT64_C(4)

struct spool__segment {
    _Alignas(SPOOL_CACHE_LINE) uint64_t tail; /* no slot before this one is free */
    uint64_t tickets;                         /* cells given out, and asked for in vain */
    struct spool__segment *retired_next;
    _Alignas(SPOOL_CACHE_LINE) uint64_t head;  /* all slots before this one are taken or dead */
    _Alignas(SPOOL_CACHE_LINE) uint64_t first; /* position of slot 0: a count of slots, for ever */
    uint64_t dead_before;                      /* dead slots in all segments before */
    uint64_t slots, cells;
    char *cells_at;
    uint64_t key;                /* of elements that are words */
    struct spool__segment *next; /* NULL; the next one; or the mark: closed behind the last slot */
    size_t bytes;
};

struct spool__chain {
    _Alignas(SPOOL_CACHE_LINE) struct spool__segment *tail;  /* the last segment, or one before it */
    _Alignas(SPOOL_CACHE_LINE) struct spool__segment *head;  /* the segment of the next get, or one before it */
    _Alignas(SPOOL_CACHE_LINE) struct spool__segment *spare; /* one for the next use, or NULL */
    struct spool__segment *retired;                          /* those that head left while a hazard was on them */
    size_t elem_size, cell_stride;
    uint64_t slots, cells; /* of each segment but the first and the large ones */
    size_t segment_bytes;
    size_t mapped; /* bytes of all segments but the first: a hint */
};

/* ---- In segment.c ---- */

/* Bytes that a chain takes, its first segment included, or 0 if that is more than can be counted. Zeroed, aligned. */
size_t spool__chain_bytes(size_t elem_size);
void spool__chain_init(struct spool__chain *c, size_t elem_size);
/* Frees the segments. Nobody may be inside; call spool__chain_drain before. */
void spool__chain_destroy(struct spool__chain *c);

/* ---- In chain.c ---- */

/* 0; -EPIPE closed; -ENOMEM no memory for a further segment: nothing was put. */
int spool__chain_put(struct spool__chain *c, const void *elem);
/* 0; -EAGAIN empty; -EPIPE closed and drained. */
int spool__chain_get(struct spool__chain *c, void *ret_elem);
/* 0, or -EALREADY. Needs no memory. */
int spool__chain_close(struct spool__chain *c);
bool spool__chain_closed(struct spool__chain *c);
/* Elements at one instant, if the chain is not changing faster than this can look. */
size_t spool__chain_len(struct spool__chain *c);
/* What a put (a get) would say, without doing it, memory aside; *ret_pos as for spool__ring_can_get. */
int spool__chain_can_put(struct spool__chain *c, uint64_t *ret_pos);
int spool__chain_can_get(struct spool__chain *c, uint64_t *ret_pos);
/* Gets every element and gives it to drop, which may be NULL. */
void spool__chain_drain(struct spool__chain *c, void (*drop)(void *elem));

#endif
