/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_TEST_WORLD_H
#define SPOOL_TEST_WORLD_H

#include <pthread.h>
#include <stdatomic.h>

#include "freeze.h"

/* What scene.c and verdict.c share: the channel in the child, and who has put and got what there. */

#define ELEM_MAX 24
#define CREW_MAX 2
#define IDS_MAX 16384 /* of one class */

/* Whose an element is. Each class is numbered from 0. */
enum class {
    BASE, /* put when the scene was set, or to feed a victim that waits to get */
    VICTIM,
    HANDLER, /* put by the signal handler */
    OTHER,   /* put by other threads after the victim had stopped */
    CREWS,   /* put by those who waited before */
    N_CLASSES,
};

enum closed {
    OPEN,
    SHUT,
    EITHER, /* the victim stopped in the midst of a close */
};

struct hand {
    pthread_t thread;
    pid_t tid;
    int result;
    uint64_t id; /* got, or to be put */
    atomic_bool done;
};

struct world {
    const struct scene *scene;
    struct report *report;
    spool_chan *to, *from; /* ends to put into and to get from: the same, or the two of a pair */
    spool_chan *aside;     /* where the handler puts as well */
    spool_select *sel;     /* the victim's */
    int get_fd, put_fd;    /* for strangers, or -1 */
    struct hand crew[CREW_MAX];
    unsigned n_crew;

    uint32_t put[N_CLASSES];  /* ids below were put: by the victim and the crew, perhaps */
    uint32_t next[N_CLASSES]; /* ids below were got, or are known to be missing */
    bool got[N_CLASSES][IDS_MAX];
    uint32_t base_at_first; /* in the channel when the victim began, or fed to it */
    uint32_t may_miss;      /* so many of the first of BASE the victim may have taken with it */
    bool base_begun;
    enum closed closed;

    ssize_t result; /* the victim's, and what it got */
    unsigned char elems[3 * ELEM_MAX];
    int handler_result;
};

_Noreturn void world_wrong(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define must(w, cond) ((cond) ? (void)0 : world_wrong(w, "%s:%d: not so: %s", __FILE__, __LINE__, #cond))

/* Notes what thread does, for the report of one that never comes back. */
static inline void at(struct world *w, unsigned thread, const char *what, uint64_t n)
{
    w->report->at[thread].n = n;
    __atomic_store_n(&w->report->at[thread].what, what, __ATOMIC_RELAXED);
}

static inline uint64_t id_of(enum class class, uint32_t n)
{
    return (uint64_t)(class + 1) << 32 | n;
}

/* Fills in an element, with something in every byte that an element made of two would not have. */
void elem_make(const struct world *w, uint64_t id, void *ret);
/* Its id; fails if it is not whole. */
uint64_t elem_read(struct world *w, const void *elem);

const char *class_name(enum class class);

/* Notes that an element was got, and only once: its class and number. */
unsigned world_book(struct world *w, const void *elem, uint32_t *ret_n);
/* Nothing of BASE comes any more; fails if something of it should have. */
void world_base_is_over(struct world *w, const char *why);
_Noreturn void world_wrong_elem(struct world *w, unsigned class, uint32_t n);
/* Books an element that was got; fails if it cannot be the one, or comes before its time. */
void world_got(struct world *w, const void *elem);

bool task_asleep(pid_t tid);
void crew_start(struct world *w);
/* Whether as many of them as that have come back. */
bool crew_is_done(const struct world *w, unsigned n);
void nap(void);

_Noreturn void verdict(struct world *w, bool frozen, enum first_do first);

#endif
