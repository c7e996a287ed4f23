/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "registry.h"

#include "go.h"
#include "select.h"

/* At least one in so many entries may be free. */
#define SPARE 16u
/* How many are tried for one that is free, before one is taken at the end after all. */
#define PROBES 1024u

struct spool__registry spool__registry = {
    .magic = SPOOL__REGISTRY_MAGIC,
    .self = &spool__registry,
    .version = SPOOL_VERSION_MAJOR << 16 | SPOOL_VERSION_MINOR << 8 | SPOOL_VERSION_PATCH,
    .shapes = {sizeof(struct spool__registry), sizeof(struct spool__core), sizeof(struct spool__lane),
               sizeof(struct spool__gate), sizeof(struct spool__ring), sizeof(struct spool__chain),
               sizeof(struct spool__segment), sizeof(struct spool__meet), sizeof(struct spool__offer),
               sizeof(struct spool__source), sizeof(struct spool_select), sizeof(struct watch), sizeof(struct kase),
               sizeof(struct spool__worker), offsetof(struct spool__lane, ring), sizeof(void *)},
    .go_rest = &spool__go_rest,
    .segments = {spool__registry.first},
};

/* NULL if it is not there, and cannot be made or shall not be. */
static uintptr_t *entry_at(uint32_t entry, bool make)
{
    uint32_t i;
    unsigned segment = spool__registry_segment(entry, &i);
    /* Acquire, and release below: its zeros are there. */
    uintptr_t *at = spool__load(&spool__registry.segments[segment], ACQUIRE);
    if (!at && make) {
        size_t bytes = (sizeof *at * SPOOL__REGISTRY_FIRST) << segment;
        uintptr_t *mine = spool__sys_map(bytes);
        if (!mine)
            return NULL;
        if (spool__cas(&spool__registry.segments[segment], &at, mine, ACQ_REL)) {
            at = mine;
        } else {
            spool__sys_unmap(mine, bytes);
            at = spool__load(&spool__registry.segments[segment], ACQUIRE);
        }
    }
    return at ? at + i : NULL;
}

static bool take(uintptr_t *at, uintptr_t value)
{
    uintptr_t free = 0;
    /* Release: who finds the address finds what it points to. */
    return at && spool__load(at, RELAXED) == 0 && spool__cas(at, &free, value, RELEASE);
}

/* A free entry before the end, or SPOOL__REGISTRY_MAX. */
static uint32_t seek(uint32_t end, uintptr_t value)
{
    uint32_t hand = spool__load(&spool__registry.hand, RELAXED);
    for (uint32_t n = 0; n < PROBES && n < end; n++, hand++) {
        uint32_t entry = hand < end ? hand : hand - end < end ? hand - end : 0;
        if (!take(entry_at(entry, false), value))
            continue;
        spool__store(&spool__registry.hand, entry + 1, RELAXED);
        (void)spool__sub(&spool__registry.n_free, 1, RELAXED);
        return entry;
    }
    spool__store(&spool__registry.hand, hand < end ? hand : 0, RELAXED);
    return SPOOL__REGISTRY_MAX;
}

uint32_t spool__registry_add(const void *what, enum spool__registered kind)
{
    uintptr_t value = (uintptr_t)what | (uintptr_t)kind;
    uint32_t end = spool__load(&spool__registry.end, RELAXED), n_free = spool__load(&spool__registry.n_free, RELAXED);
    uint32_t entry = n_free > end / SPARE ? seek(end, value) : SPOOL__REGISTRY_MAX;
    if (entry < SPOOL__REGISTRY_MAX)
        return entry + 1;
    while (end < SPOOL__REGISTRY_MAX)
        if (spool__cas(&spool__registry.end, &end, end + 1, RELAXED))
            return take(entry_at(end, true), value) ? end + 1 : 0;
    return 0;
}

void spool__registry_remove(uint32_t entry)
{
    if (entry == 0)
        return;
    /* Relaxed: who looks copes with the address of what is gone, and who takes the entry reads nothing through it. */
    spool__store(entry_at(entry - 1, false), 0, RELAXED);
    spool__store(&spool__registry.hand, entry - 1, RELAXED);
    (void)spool__add(&spool__registry.n_free, 1, RELAXED);
}
