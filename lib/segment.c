/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "segment.h"

#include <string.h>

#include "sys.h"

/* lib/sys.h's stand-ins may make them small, so that a few elements show what many do. */
#ifndef SEGMENT_BYTES
#define SEGMENT_BYTES 65536
#define FIRST_SLOTS 32
#define SLOTS_MIN 4 /* of each further segment */
#define LARGE_BYTES SPOOL__HUGE_PAGE
#define LARGE_SLOTS SIZE_MAX
#define LARGE_FROM (2 * LARGE_BYTES) /* when segments take so much, further ones are large */
#endif
/*
 * A huge page takes some tenths of a millisecond, to be filled with zeros. Where others' pages have to be moved to make
 * one, or the host of a virtual machine has to find the memory first, it takes many times as long, all of it in one put:
 * then as many segments as this are small ones, 30 MiB of them. (Also when the thread only had to wait for a processor,
 * which does no harm.)
 */
#define DEAR_NS 4000000
#define DEAR_FOR 480u
#define FIRST_BYTES 2048 /* of the first segment's slots and cells */

#define SLOT_BYTES sizeof(uint64_t)

static inline size_t whole_lines(size_t bytes)
{
    return (bytes + SPOOL_CACHE_LINE - 1) & ~(size_t)(SPOOL_CACHE_LINE - 1);
}

/* Bytes of n slots and their cells. In proportion, since memory may be counted when it is mapped, not when used. */
static size_t measure(size_t elem_size, size_t stride, size_t n, uint64_t *ret_cells)
{
    *ret_cells = 0;
    if (!spool__in_cells(elem_size) || n == 0)
        return n * SLOT_BYTES;
    size_t slack = n / 4 < 2 ? 2 : n / 4 > 64 ? 64 : n / 4;
    *ret_cells = n + slack;
    return whole_lines(n * SLOT_BYTES) + (n + slack) * stride;
}

static size_t stride_of(size_t elem_size)
{
    return (elem_size + 15) & ~(size_t)15;
}

/* Chooses how many slots and cells a segment has, at least min and at most max slots; returns its bytes. */
static size_t lay_out(size_t elem_size, size_t budget, size_t min, size_t max, uint64_t *ret_slots, uint64_t *ret_cells)
{
    size_t stride = stride_of(elem_size);
    size_t n = budget / (SLOT_BYTES + (spool__in_cells(elem_size) ? stride : 0));
    if (n > max)
        n = max;
    while (n > min && measure(elem_size, stride, n, ret_cells) > budget)
        n--;
    if (n < min)
        n = min;
    *ret_slots = n;
    return sizeof(struct spool__segment) + whole_lines(measure(elem_size, stride, n, ret_cells));
}

static void segment_init(struct spool__segment *s, size_t bytes, uint64_t slots, uint64_t cells)
{
    s->bytes = bytes;
    s->slots = slots;
    s->cells = cells;
    s->cells_at = (char *)(s + 1) + whole_lines((size_t)slots * SLOT_BYTES);
}

static void segment_unmap(struct spool__chain *c, struct spool__segment *s)
{
    (void)spool__sub(&c->mapped, s->bytes, RELAXED);
    spool__sys_unmap(s, s->bytes);
}

/* Keeps a segment for the next use and frees the one kept so far. A large one is not kept. */
void spool__segment_free(struct spool__chain *c, struct spool__segment *s)
{
    struct spool__segment *old = s;
    /* Release: nobody uses it any more. Acquire: the same of the other one. */
    if (s->bytes == c->segment_bytes)
        old = spool__swap(&c->spare, s, ACQ_REL);
    if (old)
        segment_unmap(c, old);
}

void spool__segment_reap(struct spool__chain *c, const struct spool__hazard *own)
{
    if (!spool__load(&c->retired, RELAXED))
        return;
    /* Acquire: the segments are unlinked. All are taken at once, so that nobody looks at a link that changes. */
    struct spool__segment *s = spool__swap(&c->retired, NULL, ACQUIRE);
    /* The unlinking before the look at the hazards; pairs with the fences in spool__hazard_set and for unprotected. */
    spool__fence();
    while (s) {
        struct spool__segment *next = s->retired_next;
        if (spool__hazard_held(s, own)) {
            s->retired_next = spool__load(&c->retired, RELAXED);
            while (!spool__cas(&c->retired, &s->retired_next, s, RELEASE))
                ;
        } else {
            spool__segment_free(c, s);
        }
        s = next;
    }
}

bool spool__segment_retire(struct spool__chain *c, struct spool__segment *s)
{
    if (s == spool__first_segment(c))
        return false;
    s->retired_next = spool__load(&c->retired, RELAXED);
    /* Release: the link, and that it is unlinked. */
    while (!spool__cas(&c->retired, &s->retired_next, s, RELEASE))
        ;
    return true;
}

static unsigned dear_for; /* so many segments more */

static bool large_are_dear(void)
{
    /* That threads which count down at once count once does no harm. */
    unsigned left = spool__load(&dear_for, RELAXED);
    if (left > 0)
        spool__store(&dear_for, left - 1, RELAXED);
    return left > 0;
}

/*
 * A large segment, unless there is no need or no memory for it, or they are dear, or elements are so large that the usual
 * ones are.
 */
static struct spool__segment *segment_map_large(struct spool__chain *c)
{
    if (spool__load(&c->mapped, RELAXED) < LARGE_FROM || c->segment_bytes > LARGE_BYTES / 2)
        return NULL;
    if (large_are_dear())
        return NULL;
    int64_t begin = spool__sys_now();
    struct spool__segment *s = spool__sys_map_huge();
    if (!s)
        return NULL;
    uint64_t slots, cells;
    (void)lay_out(c->elem_size, LARGE_BYTES - sizeof *s, SLOTS_MIN, LARGE_SLOTS, &slots, &cells);
    /* The first write is what takes the time. */
    segment_init(s, LARGE_BYTES, slots, cells);
    if (spool__sys_now() - begin > DEAR_NS)
        spool__store(&dear_for, DEAR_FOR, RELAXED);
    return s;
}

static struct spool__segment *segment_map(struct spool__chain *c)
{
    struct spool__segment *s = segment_map_large(c);
    if (!s) {
        s = spool__sys_map(c->segment_bytes);
        if (!s)
            return NULL;
        segment_init(s, c->segment_bytes, c->slots, c->cells);
    }
    (void)spool__add(&c->mapped, s->bytes, RELAXED);
    return s;
}

struct spool__segment *spool__segment_new(struct spool__chain *c, const struct spool__segment *behind)
{
    struct spool__segment *s = spool__swap(&c->spare, NULL, ACQUIRE);
    if (!s && spool__load(&c->retired, RELAXED)) {
        /* What somebody looked at when it was retired may be free by now. */
        spool__segment_reap(c, NULL);
        s = spool__swap(&c->spare, NULL, ACQUIRE);
    }
    if (s) {
        memset(s, 0, sizeof *s + (size_t)c->slots * SLOT_BYTES);
        segment_init(s, c->segment_bytes, c->slots, c->cells);
    } else {
        s = segment_map(c);
    }
    if (s)
        s->key = behind->key + SPOOL__KEY_STEP;
    return s;
}

size_t spool__chain_bytes(size_t elem_size)
{
    uint64_t slots, cells;
    if (elem_size > SIZE_MAX / 16)
        return 0;
    return sizeof(struct spool__chain) + lay_out(elem_size, FIRST_BYTES, 0, FIRST_SLOTS, &slots, &cells);
}

void spool__chain_init(struct spool__chain *c, size_t elem_size)
{
    uint64_t slots, cells;
    c->elem_size = elem_size;
    c->cell_stride = stride_of(elem_size);
    (void)lay_out(elem_size, FIRST_BYTES, 0, FIRST_SLOTS, &slots, &cells);
    struct spool__segment *first = spool__first_segment(c);
    segment_init(first, 0, slots, cells);
    first->key = spool__sys_random(c);
    size_t budget = SEGMENT_BYTES - sizeof(struct spool__segment);
    c->segment_bytes = lay_out(elem_size, budget, SLOTS_MIN, SIZE_MAX, &c->slots, &c->cells);
    spool__store(&c->tail, first, RELAXED);
    spool__store(&c->head, first, RELAXED);
}

void spool__chain_destroy(struct spool__chain *c)
{
    struct spool__segment *first = spool__first_segment(c), *next;
    /* Hazards that still name these segments belong to threads that only remember them. */
    for (struct spool__segment *s = c->head == first ? first->next : c->head; s && s != first; s = next) {
        next = s->next;
        segment_unmap(c, s);
    }
    for (struct spool__segment *s = c->retired; s; s = next) {
        next = s->retired_next;
        segment_unmap(c, s);
    }
    if (c->spare)
        segment_unmap(c, c->spare);
}
