/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_RING_H
#define SPOOL_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * A bounded queue of elements: many putters, many getters, lock-free, exact in its capacity and exactly closable.
 *
 * There is one slot for each element of capacity. A slot holds the turn it serves, a state and a value, and one
 * compare-and-swap changes all three: that swap *is* the put, the get or the close. Tail and head are only hints, never
 * ahead of the truth; whoever finds one behind goes on from there through the slots. So a thread that stops anywhere
 * hides nothing and blocks nobody. (A ring in which a thread first claims a slot and then fills it, as in D. Vyukov's
 * bounded MPMC queue, 2010, hides every later element while the claimer is stopped. That a tail may lag is from
 * M. Michael and M. Scott, "Simple, fast, and practical non-blocking and blocking concurrent queue algorithms", 1996.)
 *
 * A *position* counts elements for ever: its upper bits are the turn (how often the ring went round), the
 * middle bits the slot's index, the two lowest bits are zero. The upper bits of a slot's word are the turn it serves,
 * so "free for turn t" and "full at turn t" differ even with one slot, and all words start as zero.
 *
 * Closing puts a mark into the slot at tail, whether that is free or still full from the turn before; a get leaves the
 * mark where it is. No put lands on a marked slot, so tail stays there for ever, and a getter that finds the mark in a
 * free slot at head has got everything.
 *
 * Elements of up to 8 bytes lie in the slot beside its word, and 16 bytes are swapped. Larger ones, and all where the
 * processor cannot swap 16 bytes, lie in *cells*; the slot is then a single word with the cell's number in its middle
 * bits. There are more cells than slots, so that threads stopped with a cell in hand take no room from others, up to
 * that many; each further one keeps one. Free cells form a stack (pool.h), on whose line each operation would wait for
 * the one before. So in all but small rings a slot keeps its cell: who has copied an element out swaps its cell back
 * into the slot, free as that is, and who puts there next swaps it out again, to fill it. Only cells of those who find
 * the slot used by then go by way of the stack.
 *
 * The last change that an operation makes for others to act upon is the swap, a read-modify-write; the hint that is
 * stored after it does not matter, so no wake waits for it.
 *
 * Who goes on to another cache line of slots fetches one some lines ahead, since the other side had it last, and the
 * swap of a slot holds up the processor until its line is there. But a side that lately found no room, or no element,
 * is on the heels of the other and would take away the lines that that is about to use: it does not, for a while.
 *
 * The ring holds offsets and words, no pointers, and knows nothing of waiting. Its models are tests/models/ring.pml and,
 * of the cells, cells.pml.
 */

#define SPOOL_CACHE_LINE 64

/* The lowest bits of a slot's word. */
#define SPOOL__RING_FULL UINT64_C(1)   /* holds the element of its turn; otherwise free for it */
#define SPOOL__RING_CLOSED UINT64_C(2) /* no put lands here any more: when free, at this turn; when full, at the next */
#define SPOOL__RING_STEP UINT64_C(4)   /* from one slot's position to the next */

struct spool__ring {
    _Alignas(SPOOL_CACHE_LINE) uint64_t tail; /* position of the next put, or behind it */
    uint32_t tail_calm; /* so many lines of slots are still to be put before lines are fetched ahead again */
    _Alignas(SPOOL_CACHE_LINE) uint64_t head; /* position of the next get, or behind it */
    uint32_t head_calm;
    _Alignas(SPOOL_CACHE_LINE) uint64_t unit; /* what one turn adds to a position; a power of two */
    size_t capacity;
    size_t elem_size;
    size_t pool_at, cells_at; /* offsets from the ring */
    size_t cells, cell_stride;
    bool keeps; /* slots keep their cells */
    uint32_t ahead, calm; /* how many lines are fetched ahead, and what the above begin at; 0 in small rings */
};

/*
 * Bytes that a ring takes, what follows the struct included, or 0 if that is more than can be counted.
 * The memory must be zeroed and aligned to SPOOL_CACHE_LINE.
 */
size_t spool__ring_bytes(size_t elem_size, size_t capacity);
void spool__ring_init(struct spool__ring *r, size_t elem_size, size_t capacity);
/* Bytes from one slot to the next; the first lies behind the struct, and begins with its word. */
size_t spool__ring_slot_bytes(size_t elem_size);
/* For tests: lets an unused ring begin at another turn, so that its words soon wrap. */
void spool__ring_set_turn(struct spool__ring *r, uint64_t turn);
/* For tests: cells that are in nobody's hands, while nobody is inside. All of them, unless a thread never came back. */
size_t spool__ring_cells_at_rest(struct spool__ring *r);

/* 0; -EAGAIN full (or every spare cell is in somebody's hands); -EPIPE closed. Never block, make no system call. */
int spool__ring_put(struct spool__ring *r, const void *elem);
/* 0; -EAGAIN empty; -EPIPE closed and drained. */
int spool__ring_get(struct spool__ring *r, void *ret_elem);
/* 0, or -EALREADY. */
int spool__ring_close(struct spool__ring *r);
bool spool__ring_closed(struct spool__ring *r);
/* Elements at one instant, if the ring is not changing faster than this can look; never above capacity. */
size_t spool__ring_len(struct spool__ring *r);

/*
 * What a put (a get) would say, without doing it. While two calls both say -EAGAIN at the same *ret_pos, the ring was
 * full (empty) at every moment between.
 */
int spool__ring_can_put(struct spool__ring *r, uint64_t *ret_pos);
int spool__ring_can_get(struct spool__ring *r, uint64_t *ret_pos);

/*
 * Whether there is no room for a run of puts, for who waits for room: puts into each slot as soon as it is free would
 * take its line from the getters, who are not done with it. A hint; false in small rings.
 */
bool spool__ring_is_tight(struct spool__ring *r);

/* Gets every element and gives it to drop, which may be NULL. */
void spool__ring_drain(struct spool__ring *r, void (*drop)(void *elem));

/*
 * An element of up to 8 bytes as a word, and back. Eight bytes, the usual, are a move; fewer go one by one, since a
 * call of memcpy would make the caller save its registers, for the others as well.
 */
static inline uint64_t spool__word_from(const void *elem, size_t elem_size)
{
    uint64_t word = 0;
    if (elem_size == sizeof word)
        memcpy(&word, elem, sizeof word);
    else
        for (size_t i = 0; i < elem_size; i++)
            word |= (uint64_t)((const unsigned char *)elem)[i] << 8 * i;
    return word;
}

static inline void spool__word_to(void *ret_elem, uint64_t word, size_t elem_size)
{
    if (elem_size == sizeof word)
        memcpy(ret_elem, &word, sizeof word);
    else
        for (size_t i = 0; i < elem_size; i++)
            ((unsigned char *)ret_elem)[i] = (unsigned char)(word >> 8 * i);
}

#endif
