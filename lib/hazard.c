/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "hazard.h"

#include <pthread.h>

#ifndef RECORDS
#define RECORDS 63 /* with the two words in front, a page */
#endif

/* Batches are only ever added, and records change owners. */
struct batch {
    struct batch *next;
    uint32_t used; /* no record from here on was ever taken */
    struct spool__hazard records[RECORDS];
};

enum {
    KEY_NONE,
    KEY_IN_THE_MAKING,
    KEY_MADE,
    KEY_FAILED,
};

static struct batch first_batch;
static uint64_t unprotected; /* operations running without a record */
static uint32_t key_state;
static pthread_key_t key;
static struct spool__hazard nobody = {.busy = 1};

_Thread_local struct spool__hazard *spool__hazard_mine;

static void set_mine(struct spool__hazard *h)
{
    spool__store(&spool__hazard_mine, h, RELAXED);
    spool__fence_for_handlers();
}

static void record_release(struct spool__hazard *h)
{
    for (int side = 0; side < 2; side++)
        spool__store(&h->on[side], NULL, RELEASE);
    spool__store(&h->busy, 0, RELAXED);
    spool__store(&h->taken, 0, RELEASE);
}

/* The thread ends. Destructors that run after this one go on unprotected, so that no record is left behind. */
static void thread_ends(void *h)
{
    set_mine(&nobody);
    record_release(h);
}

/* Never waits for another thread: while that makes the key, the caller does without. */
static bool key_make(bool *ret_never)
{
    uint32_t state = spool__load(&key_state, ACQUIRE);
    if (state == KEY_NONE) {
        *ret_never = false;
        if (!spool__cas(&key_state, &state, KEY_IN_THE_MAKING, RELAXED))
            return false;
        state = pthread_key_create(&key, thread_ends) == 0 ? KEY_MADE : KEY_FAILED;
        spool__store(&key_state, state, RELEASE);
    }
    *ret_never = state == KEY_FAILED;
    return state == KEY_MADE;
}

static struct spool__hazard *batch_take(struct batch *b)
{
    for (uint32_t i = 0; i < RECORDS; i++) {
        struct spool__hazard *h = &b->records[i];
        uint32_t taken = spool__load(&h->taken, RELAXED);
        /* Acquire: the owner before has cleared it. */
        if (taken || !spool__cas(&h->taken, &taken, 1, ACQUIRE))
            continue;
        uint32_t used = spool__load(&b->used, RELAXED);
        /* Before any hazard is set, and so before the fence that follows that: who must see the hazard sees this. */
        while (used <= i && !spool__cas(&b->used, &used, i + 1, RELAXED))
            ;
        return h;
    }
    return NULL;
}

static struct spool__hazard *record_take(void)
{
    for (struct batch *b = &first_batch;;) {
        struct spool__hazard *h = batch_take(b);
        if (h)
            return h;
        struct batch *next = spool__load(&b->next, ACQUIRE);
        if (!next) {
            struct batch *fresh = spool__sys_map(sizeof *fresh);
            if (!fresh)
                return NULL;
            if (spool__cas(&b->next, &next, fresh, RELEASE)) {
                next = fresh;
            } else {
                spool__sys_unmap(fresh, sizeof *fresh);
                next = spool__load(&b->next, ACQUIRE);
            }
        }
        b = next;
    }
}

/* Gives this thread a record, or NULL. */
static struct spool__hazard *become_owner(void)
{
    bool never;
    /* An operation in a handler that comes now goes unprotected. */
    set_mine(&nobody);
    if (!key_make(&never)) {
        if (!never)
            set_mine(NULL);
        return NULL;
    }
    struct spool__hazard *h = record_take();
    if (h) {
        int saved = errno;
        if (pthread_setspecific(key, h) != 0) {
            record_release(h);
            h = NULL;
        }
        spool__sys_restore_errno(saved);
    }
    if (h)
        spool__store(&h->busy, 1, RELAXED);
    set_mine(h);
    return h;
}

struct spool__hazard *spool__hazard_enter_slowly(struct spool__hazard *mine)
{
    struct spool__hazard *h = mine ? NULL : become_owner();
    if (h)
        return h;
    (void)spool__add(&unprotected, 1, RELAXED);
    /* The count before every load of a root; pairs with the fence between unlinking and spool__hazard_held. */
    spool__fence_after_rmw();
    return NULL;
}

void spool__hazard_leave_slowly(void)
{
    /* Release: everything that was in use is so no more. */
    (void)spool__sub(&unprotected, 1, RELEASE);
}

bool spool__hazard_held(const void *p, const struct spool__hazard *own)
{
    if (spool__load(&unprotected, ACQUIRE))
        return true;
    for (struct batch *b = &first_batch; b; b = spool__load(&b->next, ACQUIRE)) {
        uint32_t used = spool__load(&b->used, RELAXED);
        for (uint32_t i = 0; i < used; i++) {
            struct spool__hazard *h = &b->records[i];
            /* Acquire: a hazard that says something else by now has been set after the use of p. */
            if (h != own && (spool__load(&h->on[0], ACQUIRE) == p || spool__load(&h->on[1], ACQUIRE) == p))
                return true;
        }
    }
    return false;
}
