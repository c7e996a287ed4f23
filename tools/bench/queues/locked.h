/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef LOCKED_H
#define LOCKED_H

/* A ring of elements for under a mutex: bounded, or growing twofold when it is full. */

#include "cell.h"

#include <stdlib.h>

struct locked_ring {
    size_t elem, capacity, room, head, count;
    unsigned char *elems;
};

static inline void ring_new(struct locked_ring *r, size_t elem, size_t capacity)
{
    *r = (struct locked_ring){ .elem = elem, .capacity = capacity, .room = capacity == SIZE_MAX ? 64 : capacity };
    r->elems = malloc(r->room * elem);
    if (!r->elems)
        cell_fail("memory", 0);
}

static inline void ring_grow(struct locked_ring *r)
{
    unsigned char *elems = malloc(2 * r->room * r->elem);
    if (!elems)
        cell_fail("memory", 0);
    size_t first = r->room - r->head;
    memcpy(elems, r->elems + r->head * r->elem, first * r->elem);
    memcpy(elems + first * r->elem, r->elems, r->head * r->elem);
    free(r->elems);
    r->elems = elems;
    r->head = 0;
    r->room *= 2;
}

static inline bool ring_is_full(const struct locked_ring *r)
{
    return r->count == r->capacity;
}

static inline void ring_push(struct locked_ring *r, const void *elem)
{
    if (r->count == r->room)
        ring_grow(r);
    size_t i = r->head + r->count;
    if (i >= r->room)
        i -= r->room;
    memcpy(r->elems + i * r->elem, elem, r->elem);
    r->count++;
}

static inline void ring_pop(struct locked_ring *r, void *elem)
{
    memcpy(elem, r->elems + r->head * r->elem, r->elem);
    if (++r->head == r->room)
        r->head = 0;
    r->count--;
}

#endif
