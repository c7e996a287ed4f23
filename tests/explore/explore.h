/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_EXPLORE_H
#define SPOOL_EXPLORE_H

/*
 * Runs the library's own source under every schedule. Its atomics, fences, memory accesses and system calls come here
 * (routed.h stands for lib/sys.h, and what the compiler inserts for ThreadSanitizer ends in memory.c), so a
 * run is decided by a list of choices alone: who goes on, which of the stores that may be seen a load sees, when a
 * buffered store lands, whether a time runs out. search.c makes the choices, for all runs or at random, and can make
 * the same ones again.
 *
 * A choice has a usual answer, which is free, and others, some of which cost one of the *bound*: taking the processor
 * from a thread that could go on (M. Musuvathi and S. Qadeer, "Iterative context bounding", 2007), a store that is not
 * the last, a store held back, a timeout while others can run, memory that is not to be had. All runs up to a bound are
 * tried, then the next bound.
 *
 * One process, one thread; the threads of a scenario are coroutines. 0 is the one that sets up and checks.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define EX_THREADS 6

enum ex_order {
    EX_RELAXED,
    EX_ACQUIRE,
    EX_RELEASE,
    EX_ACQ_REL,
    EX_SEQ_CST,
};

/* Of memory: one after the other; with store buffers, as x86 has them; as C11 has it, but for load buffering. */
enum ex_memory {
    EX_SC,
    EX_TSO,
    EX_WEAK,
};

/* A place in the library's source. */
struct ex_site {
    const char *what, *where, *file, *func;
    int line;
};

#define EX_SITE(what, where)                                                                                           \
    (__extension__({                                                                                                   \
        static const struct ex_site site_ = {what, where, __FILE__, __func__, __LINE__};                               \
        &site_;                                                                                                        \
    }))

/* ---- memory.c ------------------------------------------------------------------------------------------------- */

uint64_t ex_load(const volatile void *p, unsigned size, enum ex_order order, const struct ex_site *site);
void ex_store(volatile void *p, unsigned size, uint64_t v, enum ex_order order, const struct ex_site *site);
enum ex_rmw { EX_ADD, EX_SUB, EX_SWAP };
uint64_t ex_rmw(volatile void *p, unsigned size, enum ex_rmw op, uint64_t v, enum ex_order order,
                const struct ex_site *site);
bool ex_cas(volatile void *p, unsigned size, void *expected, uint64_t v, enum ex_order order,
            const struct ex_site *site);
bool ex_cas16(uint64_t pair[2], const uint64_t old[2], const uint64_t new[2], const struct ex_site *site);
/* With after_rmw: nothing where an atomic read-modify-write is a full fence. */
void ex_fence(bool after_rmw, const struct ex_site *site);
/* Accesses that are not atomic. */
void ex_plain(const volatile void *p, size_t bytes, bool writes);
void *ex_memcpy(void *to, const void *from, size_t bytes);
void *ex_memset(void *to, int byte, size_t bytes);

void *ex_zalloc(size_t bytes);
void *ex_realloc(void *old, size_t bytes);
void ex_free(void *p);
void *ex_map(size_t bytes);

/* What a kernel object, or who starts and joins a thread, passes on. */
struct ex_msg;
void ex_memory_reset(enum ex_memory memory, bool reuse);
void ex_memory_fork(int child);
void ex_memory_join(int child);
void ex_memory_end(void); /* of this thread: its stores have landed */
int ex_object_new(void);
void ex_object_touch(int object); /* acquire and release */
uint64_t ex_latest(const volatile void *p, unsigned size);
/* Whether what the first did at its time (ex_clock) comes before what the second does with this clock. */
struct ex_clock {
    uint16_t at[EX_THREADS];
};
struct ex_clock ex_clock(void);
static inline bool ex_before(int thread, const struct ex_clock *first, const struct ex_clock *second)
{
    return first->at[thread] <= second->at[thread];
}
extern enum ex_memory ex_memory;
void ex_check_leaks(void);
/* Locations known to be used by several threads and changed. */
extern unsigned ex_n_shared;
void ex_forget_shared(void);
extern bool ex_all_is_shared; /* for a run that is made again */
char *ex_stack(int thread, size_t *ret_bytes);

/* ---- kernel.c: calls as in lib/sys.h ------------------------------------------------------------------------- */

struct epoll_event;
int ex_futex_wait(uint32_t *word, uint32_t value, int64_t deadline);
int ex_futex_wake(uint32_t *word, int n);
int ex_eventfd(void);
int ex_eventfd_write(int fd, uint64_t n);
int ex_eventfd_read(int fd);
int ex_close(int fd);
uint32_t ex_poll(int fd, uint32_t events);
int ex_epoll_create(void);
int ex_epoll_ctl(int epoll, int op, int fd, uint32_t events, uint64_t data);
int ex_epoll_wait(int epoll, struct epoll_event *events, int max, int64_t deadline);
int64_t ex_now(void);
int ex_key_create(unsigned *ret, void (*destructor)(void *));
int ex_setspecific(unsigned key, const void *value);
_Noreturn void ex_unsupported(const char *what);

void ex_kernel_reset(void);
void ex_kernel_check(void);
void ex_kernel_thread_ends(void);
void ex_wait_readable(int fd); /* as poll(2) without a timeout, for scenarios */
void ex_wait_set(int epoll);   /* the same of an epoll set, in which nobody waits */
void ex_expire(int thread);    /* its deadline has come */
void ex_set_now(int64_t now);

/* ---- search.c ------------------------------------------------------------------------------------------------- */

extern int ex_self;

/* One of n; costs has a bit for each answer that costs one of the bound. 0 is the usual one and free. */
unsigned ex_choose(unsigned n, uint32_t costs);
/* Before each step that others can see: who goes on. */
void ex_step(void);
/* Where there is nothing to choose. */
void ex_skip(void);
/* The same, and this thread has nothing to do until others have moved. */
void ex_yield(void);
/* Until ex_wake(thread); -ETIMEDOUT if the time ran out before. */
int ex_block(int64_t deadline, const char *on);
void ex_wake(int thread);
bool ex_is_stopped(void); /* thread 1 */
_Noreturn void ex_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern bool ex_tracing;
void ex_trace(const struct ex_site *site, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- history.c: what the calls on channels said, and whether one after the other could have ------------------- */

enum ex_op { EX_PUT, EX_GET, EX_CLOSE, EX_LEN, EX_ALIVE, EX_DROP, EX_SELECT };

struct ex_case {
    enum ex_op op; /* EX_PUT or EX_GET */
    int chan;
    uint64_t value;
};

void ex_history_reset(void);
/* A channel of the model, SIZE_MAX unbounded, 0 rendezvous; twin: closed together, or -1. */
void ex_history_chan(int chan, size_t capacity, int twin);
int ex_history_begin(enum ex_op op, int chan, uint64_t value);
int ex_history_begin_select(const struct ex_case *cases, int n);
/* value: what a get got, or a select's get; which: the select's case. */
void ex_history_end(int call, int result, uint64_t value, int which);
void ex_history_void(int call);
void ex_history_check(void);

/* ---- Scenarios ------------------------------------------------------------------------------------------------ */

struct ex_scenario {
    const char *name, *about;
    void (*setup)(void);
    void (*threads[EX_THREADS])(void);
    void (*finish)(void);
    unsigned flags;
    int bound[3]; /* what verify completes in sequential, TSO and weak memory; -1: not at all */
};

enum {
    EX_REUSE = 1,     /* freed memory is given out again at once */
    EX_NO_MEMORY = 2, /* maps may fail */
    EX_SPURIOUS = 4,  /* futexes and epoll sets may be interrupted */
    EX_NO_KEYS = 32,  /* no thread-specific data are to be had, so no hazards */
    EX_ONE_BARE = 64, /* for thread 2 only */
    EX_STOPS = 16,    /* thread 1 may stop for ever at any step, and the others must do what they have to do */
    EX_DELAYS = 8,    /* any other thread than the next costs one, even if this one cannot go on */
};

/* Each ends with one that has no name. */
extern const struct ex_scenario ex_bounded[], ex_unbounded[], ex_rendezvous[], ex_selects[], ex_pairs[];
extern const struct ex_scenario *ex_scenario;

#endif
