/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_TEST_FREEZE_H
#define SPOOL_TEST_FREEZE_H

/*
 * Stops a thread at every instruction of an operation, for good, and lets the other threads of its process go on.
 *
 * A *scene* is an operation on a channel in some state. For each instruction that the operation executes, a *point*, a
 * process is forked that sets the scene (scene.c), in which the *victim*, a thread, is single-stepped up to that point
 * by the parent (trace.c) and then left where it is, or hit by a signal. What must hold is then checked by the other
 * threads of that process (verdict.c), in one of several ways to begin with.
 */

#include <errno.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <spool.h>

/* ---- Scenes --------------------------------------------------------------------------------------------------- */

enum op {
    OP_PUT,
    OP_GET,
    OP_TRY_PUT,
    OP_TRY_GET,
    OP_PUT_FOR,
    OP_GET_FOR,
    OP_PUT_LATE, /* out of time before it sleeps */
    OP_GET_LATE,
    OP_PUT_MANY,
    OP_GET_MANY,
    OP_CLOSE,
    OP_LEN,
    OP_SELECT_PUT, /* spool_select_wait with one case, which waits */
    OP_SELECT_GET,
    OP_SELECT_TRY_PUT, /* and with timeout 0 */
    OP_SELECT_TRY_GET,
    N_OPS,
};

enum state {
    FRESH,    /* never used, empty */
    PART,     /* neither empty nor full */
    FULL,     /* a bounded one only, as is the next */
    WRAPPED,  /* in its second turn */
    TURNED,   /* wrapped and empty */
    CLOSED,   /* with elements */
    DRAINED,  /* closed and empty */
    SEG_END,  /* unbounded, from here on: the next put needs a second segment */
    SEG_NEXT, /* the next put needs a third one, and memory for it */
    SEG_KEPT, /* the next put needs one, and a used one is kept */
    LEAVE,    /* the next get leaves the first segment */
    RETIRE,   /* the next get leaves a segment that can be freed */
    N_STATES,
};

/* Who waits, asleep, before the victim begins. */
enum crew {
    NOBODY,
    GETTER,
    GETTERS,  /* two */
    SELECTER, /* a select with a case to get */
    PUTTER,
    PUTTERS,
    SELECT_PUTTER,
    GETTER_AND_SELECT,
    STRANGER, /* both descriptors are exported: somebody may poll them */
    N_CREWS,
};

struct chan_kind {
    const char *name;
    size_t elem_size, capacity;
    bool pair;
};

struct scene {
    char name[64];
    const struct chan_kind *kind;
    enum op op;
    enum state state;
    enum crew crew;
    bool first; /* the victim's first operation ever: it has no hazards yet */
};

/* The n-th scene; false if there are not so many. */
bool scene_nth(unsigned n, struct scene *ret);
const char *op_name(enum op op);
/* Where the operation is entered. */
uintptr_t op_entry(enum op op);
bool op_puts(enum op op);
bool op_gets(enum op op);
/* How many elements it moves at most. */
unsigned op_moves(enum op op);
/* Whether the victim comes to sleep, so that somebody has to feed it. */
bool scene_sleeps(const struct scene *scene);
/* Whether it at least comes to look again for a while before it sleeps; and where that is over. */
bool scene_spins(const struct scene *scene);
uintptr_t op_sleeps_at(enum op op);

/* ---- Verdicts ------------------------------------------------------------------------------------------------- */

/* What the others do first, when the victim has stopped. */
enum first_do {
    FIRST_PUT,
    FIRST_GET,
    FIRST_SELECT,
    FIRST_CLOSE,
    FIRST_BLOCK,
    N_FIRSTS,
};

const char *first_name(enum first_do first);

/* Shared by the process that is looked at and its parent. */
struct report {
    sem_t news;         /* posted with the event */
    uint32_t event;     /* bits below */
    uint32_t victim;    /* its thread id, once it is about to begin */
    uint32_t signalled; /* how often the handler has run */
    uint32_t fed;       /* the victim slept, and is being woken */
    uint32_t poke;      /* the victim gets its signal once it sleeps */
    uint32_t wrong;     /* something did not hold: text says what */
    char text[512];
    struct {
        const char *what; /* where each thread is */
        uint64_t n;
    } at[4];
};

#define EVENT_FROZEN 1u   /* the victim has stopped for good */
#define EVENT_RETURNED 2u /* its operation has returned */

/* Runs in the child; never returns. With handler, a signal that comes puts elements from inside its handler. */
_Noreturn void scene_play(const struct scene *scene, enum first_do first, bool handler, struct report *report);

/* ---- Points --------------------------------------------------------------------------------------------------- */

enum what {
    POINTS_FREEZE,
    POINTS_SIGNAL,
};

struct tally {
    uint64_t instructions; /* that make a point, if the stride is 1 */
    uint64_t points;       /* a victim was stopped, or hit */
    uint64_t bad;          /* and something was stuck or wrong */
    uint64_t repeats;      /* instructions left out, as they were executed in the same operation so often before */
    uint64_t strayed;      /* the victim did not come by there this time, so that it stopped elsewhere */
};

struct wishes {
    unsigned stride;  /* every so many points */
    unsigned repeats; /* an instruction is a point so many times */
    long only_point;  /* or -1 */
    int only_first;   /* or -1: take turns */
    bool all_firsts;
    bool verbose;
};

/* 0; -EPERM where nobody may be traced. */
int trace_scene(const struct scene *scene, enum what what, const struct wishes *wishes, struct tally *tally);
/* True if instructions can be single-stepped here. */
bool trace_possible(void);

#endif
