/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_REGISTRY_H
#define SPOOL_REGISTRY_H

#include <stdint.h>

/*
 * A table of every channel, select and thread of spool_go of the process, so that somebody who looks from outside, or a
 * dump from inside, finds them: see look.h. It is only written when one is made or goes.
 *
 * An entry is the address of one of them, its lowest bits saying of what; 0 is free. Whoever adds swaps a free entry
 * for its own, whoever goes stores 0: nothing else has to agree, so nothing is locked. While one in SPARE entries is
 * free, one of those is sought, from where one was freed last; otherwise one is taken at the end. Segments double in
 * size and are never given back. If there is no memory for one, things are made all the same, and are not seen.
 *
 * Who looks from outside tells the table by its first bytes, in a part of memory that was mapped from a file.
 */
enum spool__registered {
    SPOOL__A_CORE,
    SPOOL__A_SELECT,
    SPOOL__A_WORKER,
    SPOOL__A_MASK = 3,
};

#define SPOOL__REGISTRY_MAGIC "spool: registry"
#define SPOOL__REGISTRY_FIRST 64u /* entries of the first segment; each further one has twice as many */
#define SPOOL__REGISTRY_SEGMENTS 24
#define SPOOL__REGISTRY_MAX (SPOOL__REGISTRY_FIRST * ((UINT32_C(1) << SPOOL__REGISTRY_SEGMENTS) - 1))
#define SPOOL__SHAPES 16

struct spool__registry {
    char magic[16];
    const struct spool__registry *self;    /* to tell it from a copy of its bytes */
    uint32_t version;                      /* of the library: major << 16 | minor << 8 | patch */
    uint32_t shapes[SPOOL__SHAPES];        /* sizes of structs: who was compiled with others does not understand these */
    const uint32_t *go_rest;               /* the futex of spool_go_wait */
    uint32_t end;                          /* no entry was ever taken from here on */
    uint32_t n_free;                       /* before the end */
    uint32_t hand;                         /* where to seek them */
    uintptr_t *segments[SPOOL__REGISTRY_SEGMENTS]; /* the first is the one below */
    uintptr_t first[SPOOL__REGISTRY_FIRST];
};

extern struct spool__registry spool__registry;

/* The number to be given to spool__registry_remove; 0 if there is no room. Any thread, not in a signal handler. */
uint32_t spool__registry_add(const void *what, enum spool__registered kind);
void spool__registry_remove(uint32_t entry);

/* The segment of an entry, and its index in there. */
static inline unsigned spool__registry_segment(uint32_t entry, uint32_t *ret_index)
{
    uint32_t n = entry / SPOOL__REGISTRY_FIRST + 1;
    unsigned segment = 31 - (unsigned)__builtin_clz(n);
    *ret_index = entry - SPOOL__REGISTRY_FIRST * ((UINT32_C(1) << segment) - 1);
    return segment;
}

#endif
