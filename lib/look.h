/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_LOOK_H
#define SPOOL_LOOK_H

#include <sys/types.h>

#include "chan.h"
#include "registry.h"

/*
 * What there is in a process, this one or another, as read from outside: its channels, selects and threads, and who
 * waits for what. Nothing is stopped and nothing in there is written; no lock is taken, so what is read may be from
 * moments that lie a little apart. Memory is copied by process_vm_readv(2), which fails instead of crashing, and what a
 * thread waits for is told by the system call that it is in, as /proc shows it.
 *
 * Nothing here allocates but by mmap(2), so that it can run in a signal handler.
 */
enum spool__wait {
    SPOOL__RUNS,
    SPOOL__IN_CALL,   /* in a system call that is none of spool's */
    SPOOL__IN_LANE,   /* in a put or get */
    SPOOL__IN_SELECT, /* in spool_select_wait, or whoever else waits in its epoll descriptor */
    SPOOL__IN_GO_WAIT,
    SPOOL__IS_KEPT, /* of spool_go, without a function */
    SPOOL__JOINS,   /* in pthread_join */
};

struct spool__seen_thread {
    pid_t tid, known_tid; /* the second: of whom the rest is */
    char name[16];
    enum spool__wait wait;
    int what;            /* the lane or select that it waits for, by number; the thread that it joins, by tid */
    enum spool__side side;
    bool is_timed;       /* it will go on by itself */
    int cpu;             /* the processor that it was last on; -1: not known */
    int64_t ran_ns;      /* when that was, by the clock of that processor's scheduler; -1 */
    int64_t asleep_ns;   /* since then; -1 */
    uint64_t turns;      /* how often it got a processor */
    bool slept;          /* it has not run since the look before, which came before the channels were read */
    long call;           /* the system call, if it is none of spool's */
};

struct spool__seen_lane {
    uintptr_t at;
    int chan;
    enum spool__flavour flavour;
    size_t elem_size, capacity;
    bool is_closed;
    bool is_counted;     /* the next three are known */
    uint64_t puts, gets;
    size_t len;
    char source[16];     /* what kind of a source */
    int source_fd;
    struct spool__gate_sight gates[2];
};

struct spool__seen_chan {
    uintptr_t at, creator, worker; /* worker: the thread of spool_go that has an end */
    char name[SPOOL__NAME_BYTES];
    uint32_t n_lanes, pins, refs[2];
    int lanes; /* the first; the second follows. The end i gets from lane i */
};

struct spool__seen_watch {
    int number; /* in its select; the low half of what its events carry */
    int lane;   /* -1: a descriptor of the user's */
    enum spool__side side;
    int fd, n_on;
    bool is_armed;
};

struct spool__seen_select {
    uintptr_t at;
    int epoll, n_on;
    bool is_nested;
    int watches, n_watches; /* the first, and how many */
};

struct spool__look {
    pid_t pid;
    uint32_t version;
    uint32_t n_unseen; /* what the registry had room for, but went meanwhile, or is not what it should be */
    struct spool__seen_chan *chans;
    struct spool__seen_lane *lanes;
    struct spool__seen_select *selects;
    struct spool__seen_watch *watches;
    struct spool__seen_thread *threads;
    int n_chans, n_lanes, n_selects, n_watches, n_threads;
    bool is_blind; /* the kernel did not say what the threads wait for */
    /* Inside. */
    int cap_lanes, cap_selects, cap_watches, cap_threads, cap_workers, n_workers;
    uintptr_t go_rest;
    struct spool__seen_key *keys;
    uint32_t n_keys;
};

/*
 * Looks. registry: where it is in that process. 0; -ENOMEM; -EPERM, -ESRCH; -EFAULT: it is not there; -EPROTO: made by
 * another version of the library, or for another processor, ret->version then says which. To be freed if 0.
 */
int spool__look(struct spool__look *ret, pid_t pid, uintptr_t registry);
void spool__look_free(struct spool__look *l);
/* Only the threads, again; slept then says whether they have run since. */
int spool__look_at_threads(struct spool__look *l);
/*
 * Sets asleep_ns of the threads that were last on the processor on which the caller runs. The clock by which a scheduler
 * knows when a thread ran is its processor's own: it leaves out what the host took from a virtual machine, and with some
 * kernels interrupts, so that two of them lie as far apart as it happens. A caller that has not given up its processor just
 * before reads a time that is up to a tick old. Those above do this once.
 */
void spool__look_at_clock(struct spool__look *l);

/* What a futex or, if that is 0, a descriptor stands for: sets wait, what and side. */
bool spool__look_find(const struct spool__look *l, uintptr_t word, int fd, struct spool__seen_thread *ret);

/*
 * Writes it to fd as text: 0 or a negative errno. where: the place in the source that an address belongs to, or NULL.
 */
int spool__look_print(const struct spool__look *l, int fd, const char *where(void *arg, uintptr_t address), void *arg);

/* ---- verdict.c: what is wrong, where that can be proved ------------------------------------------------------- */

/*
 * Whether every thread sleeps for ever in a put, get or select that only another thread of this process could end, or
 * in a join of such a thread; selects with descriptors, timers and the like among their cases could be woken by others.
 */
bool spool__look_is_deadlocked(const struct spool__look *l);
/* A thread that sleeps beside what it sleeps for: there is an element, or room, or the channel is closed. */
bool spool__look_is_lost(const struct spool__look *l, const struct spool__seen_thread *t);
/* Closed, or with nobody left who could get, and elements are in it that nobody waits for. */
bool spool__look_is_undrained(const struct spool__look *l, const struct spool__seen_lane *lane);

const char *spool__look_kind(const struct spool__seen_lane *lane);

#endif
