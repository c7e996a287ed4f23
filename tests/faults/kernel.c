/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* clang-format off */
/*
 * What can go wrong, from the manual pages and where they are silent the kernel's source (5.15 to 6.18). Left out,
 * because it cannot happen:
 *
 *   any call                EBADF, EFAULT, EINVAL and the like, which say that the library has asked for nonsense
 *   getpid, clock_gettime, sched_yield, rt_sigprocmask(how to read it), free
 *                           do not fail (BLOCKED is listed to be seen; it has no rule)
 *   futex wake              fails only on a bad address
 *   futex wait              ETIMEDOUT before its time: the kernel does not
 *   eventfd write           EAGAIN, but at signal_fd: the counter of a descriptor that is not handed out, and that only
 *                           the library writes to, cannot be full (own_fd, party, end)
 *   eventfd read, write; read of a timerfd, signalfd
 *                           EINTR: they are O_NONBLOCK and do not sleep
 *   epoll_ctl MOD           ENOMEM only for EPOLLWAKEUP, and then only when that is new to the entry
 *   epoll_ctl ADD           EPERM, ELOOP, but for a descriptor of the user's: eventfds, timerfds and so on can be polled
 *   epoll_wait              EINTR with timeout 0: the kernel looks for signals only when it is about to sleep. (ppoll
 *                           does not: it says EINTR whenever a signal is pending and nothing is ready.)
 *   ppoll                   ENOMEM: one or two descriptors fit on the kernel's stack
 *   epoll_pwait2            ENOSYS with no limit of time: it is not called
 *   waitid                  EINTR: WNOHANG does not sleep
 *   timerfd_settime         the kernel has no reason; a sandbox has (EPERM)
 *   pthread_mutex_*, pthread_sigmask, pthread_attr_setdetachstate
 *                           not for these arguments
 *   dup                     ENFILE: it makes no new open file
 *   close                   says EINTR or EIO, but the descriptor is closed
 */
/* clang-format on */
#define AS_IT_IS(call_, error_)                                                                                        \
    {                                                                                                                  \
        (call_), (error_), INSTEAD, 0, (error_), NULL                                                                  \
    }
#define HIDDEN(call_, error_, effect_, class_)                                                                         \
    {                                                                                                                  \
        (call_), (error_), (effect_), (class_), 0, NULL                                                                \
    }

enum { ANY, IF_SLEEPS, IF_TIMED };

const struct fault_rule fault_rules[] = {
    AS_IT_IS(F_ZALLOC, ENOMEM),
    AS_IT_IS(F_REALLOC, ENOMEM),
    AS_IT_IS(F_MAP, ENOMEM),
    {F_MAP, ENOMEM, INSTEAD, ANY, 0, "entry_at"}, /* only that a channel is not seen */
    HIDDEN(F_UNMAP, ENOMEM, INSTEAD, ANY), /* too many mappings to split one */
    HIDDEN(F_CPUS, EINVAL, INSTEAD, ANY),  /* more processors than fit a cpu_set_t */
    HIDDEN(F_FUTEX_WAIT, EINTR, INSTEAD, ANY),
    HIDDEN(F_FUTEX_WAIT, EAGAIN, INSTEAD, ANY),
    HIDDEN(F_FUTEX_WAIT, 0, SPURIOUS, ANY),
    AS_IT_IS(F_EVENTFD, EMFILE),
    AS_IT_IS(F_EVENTFD, ENFILE),
    AS_IT_IS(F_EVENTFD, ENOMEM),
    {F_EVENTFD_WRITE, EAGAIN, INSTEAD, ANY, 0, "signal_fd"}, /* a stranger has filled it */
    HIDDEN(F_EVENTFD_READ, EAGAIN, AFTER, ANY),              /* a stranger has emptied it */
    HIDDEN(F_CLOSE, EINTR, AFTER, ANY),
    HIDDEN(F_CLOSE, EIO, AFTER, ANY),
    AS_IT_IS(F_IS_OPEN, EBADF),
    AS_IT_IS(F_DUP, EMFILE),
    AS_IT_IS(F_DUP, ENOMEM),
    HIDDEN(F_POLL, EINTR, IF_NONE, ANY),
    HIDDEN(F_POLL_UNTIL, EINTR, INSTEAD, ANY),
    AS_IT_IS(F_EPOLL_CREATE, EMFILE),
    AS_IT_IS(F_EPOLL_CREATE, ENFILE),
    AS_IT_IS(F_EPOLL_CREATE, ENOMEM),
    AS_IT_IS(F_EPOLL_ADD, ENOMEM),
    AS_IT_IS(F_EPOLL_ADD, ENOSPC),
    {F_EPOLL_ADD, EPERM, INSTEAD, ANY, EPERM, "add_to_set"},
    {F_EPOLL_ADD, ELOOP, INSTEAD, ANY, ELOOP, "add_to_set"},
    HIDDEN(F_EPOLL_MOD, ENOENT, AFTER, ANY), /* gone from the set, because it was closed elsewhere */
    HIDDEN(F_EPOLL_DEL, ENOENT, AFTER, ANY),
    HIDDEN(F_EPOLL_DEL, EBADF, AFTER, ANY),
    HIDDEN(F_EPOLL_WAIT, EINTR, INSTEAD, IF_SLEEPS),
    HIDDEN(F_EPOLL_WAIT, ENOSYS, INSTEAD, IF_TIMED), /* epoll_pwait2 before 5.11, or in a sandbox */
    HIDDEN(F_EPOLL_WAIT, EPERM, INSTEAD, IF_TIMED),
    {F_READ, EAGAIN, INSTEAD, ANY, 0, "timer_get"}, /* looked at too early */
    {F_READ, EAGAIN, INSTEAD, ANY, 0, "signal_get"},
    {F_READ, ESRCH, INSTEAD, ANY, 0, "find_unblocked"}, /* the thread has ended */
    {F_READ, ENOMEM, INSTEAD, ANY, ENOMEM, "find_unblocked"},
    AS_IT_IS(F_OPEN, EMFILE),
    AS_IT_IS(F_OPEN, ENFILE),
    {F_OPEN, EMFILE, INSTEAD, ANY, 0, "open_task"}, /* only that threads are not seen */
    AS_IT_IS(F_OPEN, ENOMEM),
    HIDDEN(F_OPEN, ENOENT, INSTEAD, ANY), /* no /proc, or the thread has ended */
    HIDDEN(F_OPEN, EACCES, INSTEAD, ANY),
    {F_READ, ESRCH, INSTEAD, ANY, 0, "read_task"}, /* the thread has ended */
    AS_IT_IS(F_PEEK, EPERM),
    AS_IT_IS(F_PEEK, ENOSYS),
    AS_IT_IS(F_PEEK, ENOMEM),
    HIDDEN(F_WRITE, EINTR, INSTEAD, ANY),
    AS_IT_IS(F_WRITE, EIO),
    AS_IT_IS(F_WRITE, EPIPE),
    AS_IT_IS(F_GETDENTS, ENOMEM),
    HIDDEN(F_GETDENTS, ENOENT, INSTEAD, ANY), /* the process is going */
    AS_IT_IS(F_TIMERFD, EMFILE),
    AS_IT_IS(F_TIMERFD, ENFILE),
    AS_IT_IS(F_TIMERFD, ENOMEM),
    {F_TIMERFD_SET, EPERM, INSTEAD, ANY, EPERM, "timer_new"},
    HIDDEN(F_TIMERFD_FIRE, ENOTTY, INSTEAD, ANY), /* no checkpointing in the kernel */
    AS_IT_IS(F_SIGNALFD, EMFILE),
    AS_IT_IS(F_SIGNALFD, ENFILE),
    AS_IT_IS(F_SIGNALFD, ENOMEM),
    AS_IT_IS(F_PIDFD, EMFILE),
    AS_IT_IS(F_PIDFD, ENFILE),
    AS_IT_IS(F_PIDFD, ENOMEM),
    AS_IT_IS(F_PIDFD, EPERM),
    AS_IT_IS(F_PIDFD, ENOSYS),
    {F_PIDFD, ESRCH, INSTEAD, ANY, ECHILD, NULL},
    {F_WAITID, ECHILD, INSTEAD, ANY, ECHILD, "open_child"}, /* somebody else has reaped it */
    {F_WAITID, ECHILD, INSTEAD, ANY, EPIPE, "child_get"},
    {F_WAITID, ECHILD, INSTEAD, ANY, EPIPE, "child_len"},
    {F_WAITID, ENOSYS, INSTEAD, ANY, ENOSYS, "open_child"},
    AS_IT_IS(F_THREAD, EAGAIN),
    AS_IT_IS(F_ATTR, ENOMEM),
    HIDDEN(F_SET_NAME, EMFILE, INSTEAD, ANY), /* it opens a file of /proc */
    AS_IT_IS(F_ATFORK, ENOMEM),
    HIDDEN(F_KEY, EAGAIN, INSTEAD, ANY), /* PTHREAD_KEYS_MAX */
    HIDDEN(F_SET_KEY, ENOMEM, INSTEAD, ANY),
    AS_IT_IS(F_RING_INIT, ENOMEM),
    AS_IT_IS(F_RING_INIT, EMFILE),
    AS_IT_IS(F_RING_INIT, ENFILE),
    AS_IT_IS(F_RING_INIT, EPERM),
    AS_IT_IS(F_RING_INIT, ENOSYS),
    {F_RING_INIT, EINVAL, INSTEAD, ANY, EINVAL, "queue_init"}, /* a flag that is not known */
    HIDDEN(F_RING_SUBMIT, EINTR, INSTEAD, ANY),
    {F_RING_SUBMIT, EAGAIN, INSTEAD, ANY, ENOMEM, NULL}, /* no memory; told if there is no completion to wait for */
    {F_RING_SUBMIT, EBUSY, INSTEAD, ANY, ENOMEM, NULL},
    HIDDEN(F_RING_CANCEL, EINVAL, INSTEAD, ANY), /* before 6.0 */
    HIDDEN(F_RING_CANCEL, EINTR, INSTEAD, ANY),
    HIDDEN(F_RING_CANCEL, EALREADY, INSTEAD, ANY),
    HIDDEN(F_RING_CANCEL, ENOMEM, INSTEAD, ANY),
    HIDDEN(F_RING_EVENTS, EINTR, INSTEAD, ANY),
    HIDDEN(F_RING_EVENTS, EBUSY, INSTEAD, ANY),
    HIDDEN(F_RING_EVENTS, EAGAIN, INSTEAD, ANY),
};
const int fault_n_rules = sizeof(fault_rules) / sizeof(fault_rules[0]);

static const char *const call_names[F_CALLS] = {
    "zalloc",     "realloc",       "map",          "unmap",       "cpus",         "futex_wait", "futex_wake",
    "eventfd",    "eventfd_write", "eventfd_read", "close",       "is_open",      "dup",        "poll",
    "poll_until", "epoll_create",  "epoll_add",    "epoll_mod",   "epoll_del",    "epoll_wait", "read",
    "open",       "peek",          "write",        "getdents",      "timerfd",      "timerfd_set", "timerfd_fire", "signalfd",   "blocked",
    "pidfd",      "waitid",        "thread",       "attr",        "set_name",     "atfork",     "key",
    "set_key",    "ring_init",     "ring_submit",  "ring_cancel", "ring_events",
};

extern struct fault_site __start_fault_sites[];
extern struct fault_site __stop_fault_sites[];

const struct fault_site *fault_sites[SITES_MAX];
int fault_n_sites;
struct fault_shared *fault_shared;
struct fault_plan fault_plans[2];
bool fault_no_timer_ioctl;
atomic_long fault_blocks, fault_workers, fault_maps;

/* What the call that is being made meets, until it has met it. */
static _Thread_local const struct fault_rule *due;
static _Thread_local int due_plan;
static _Thread_local bool fired_here;

static const struct fault_rule no_ioctl = {F_TIMERFD_FIRE, ENOTTY, INSTEAD, 0, 0, NULL};

const char *fault_call_name(int call)
{
    return call_names[call];
}

bool fault_applies(const struct fault_rule *rule, const struct fault_site *site)
{
    return (int)rule->call == site->call && (!rule->func || strcmp(rule->func, site->func) == 0);
}

static int by_place(const void *a, const void *b)
{
    const struct fault_site *x = *(const struct fault_site *const *)a;
    const struct fault_site *y = *(const struct fault_site *const *)b;
    int order = strcmp(x->file, y->file);
    if (order == 0)
        order = (x->line > y->line) - (x->line < y->line);
    return order ? order : x->call - y->call;
}

void fault_find_sites(void)
{
    size_t n = (size_t)(__stop_fault_sites - __start_fault_sites);
    struct fault_site **all = calloc(n, sizeof(*all));
    if (!all)
        abort();
    for (size_t i = 0; i < n; i++)
        all[i] = &__start_fault_sites[i];
    qsort(all, n, sizeof(*all), by_place);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || by_place(&all[i - 1], &all[i]) != 0) {
            if (fault_n_sites == SITES_MAX)
                abort();
            fault_sites[fault_n_sites++] = all[i];
        }
        all[i]->id = fault_n_sites - 1;
    }
    free(all);
}

static const struct fault_rule *count_call(const struct fault_site *site, unsigned classes)
{
    const struct fault_rule *rule = NULL;
    if (!atomic_load_explicit(&fault_shared->armed, memory_order_relaxed))
        return NULL;
    for (unsigned i = 0; i < CLASSES; i++) {
        unsigned nth;
        if (!(classes & 1u << i))
            continue;
        nth = atomic_fetch_add(&fault_shared->calls[site->id][i], 1) + 1;
        for (int p = 0; p < 2; p++) {
            const struct fault_plan *plan = &fault_plans[p];
            if (plan->rule && plan->site == site->id && plan->rule->class == i && plan->kth == nth) {
                rule = plan->rule;
                due_plan = p;
            }
        }
    }
    return rule;
}

static void fire(void)
{
    fired_here = true;
    atomic_store(&fault_shared->fired_in, (pid_t)syscall(SYS_gettid));
    atomic_fetch_add(&fault_shared->fired[due_plan], 1);
}

void fault_enter(const struct fault_site *site, unsigned classes)
{
    int saved = errno;
    due = count_call(site, classes);
    if (!due && fault_no_timer_ioctl && site->call == F_TIMERFD_FIRE)
        due = &no_ioctl;
    errno = saved;
}

void fault_leave(void)
{
    due = NULL;
}

enum fault_effect fault_takes(void)
{
    const struct fault_rule *rule = due;
    if (!rule)
        return NONE_PLANNED;
    due = NULL;
    if (rule->effect == IF_NONE)
        return IF_NONE;
    if (rule != &no_ioctl)
        fire();
    if (rule->error)
        errno = rule->error;
    return rule->effect;
}

void fault_took(void)
{
    fire();
    errno = fault_plans[due_plan].rule->error;
}

enum fault_effect fault_takes_direct(const struct fault_site *site, int *ret_error)
{
    int saved = errno;
    const struct fault_rule *rule = count_call(site, ALL);
    if (rule)
        fire();
    errno = saved;
    if (!rule)
        return NONE_PLANNED;
    *ret_error = rule->error;
    return rule->effect;
}

bool fault_fired_here(void)
{
    bool fired = fired_here;
    fired_here = false;
    return fired;
}

/* ---- Memory --------------------------------------------------------------------------------------------------- */

/* So that it can be told at the end whose is left: those of threads that wait for another function stay. */
struct block {
    struct block *next;
    void *p;
    bool worker;
};
static struct block *blocks;
static atomic_flag blocks_lock = ATOMIC_FLAG_INIT;

static void lock_blocks(void)
{
    while (atomic_flag_test_and_set(&blocks_lock))
        ;
}

static void forget(void *p)
{
    struct block **at = &blocks, *found;
    lock_blocks();
    while (*at && (*at)->p != p)
        at = &(*at)->next;
    found = *at;
    if (!found)
        abort(); /* freed twice, or never had */
    *at = found->next;
    atomic_flag_clear(&blocks_lock);
    atomic_fetch_sub(found->worker ? &fault_workers : &fault_blocks, 1);
    free(found);
}

void *fault_count_block(void *p, void *old, int call, const char *file)
{
    int saved = errno;
    struct block *b;
    if (!p)
        return NULL;
    if (old)
        forget(old);
    b = malloc(sizeof(*b));
    if (!b)
        abort();
    b->p = p;
    /* Of threads go.c allocates nothing but their struct. */
    b->worker = call == F_ZALLOC && strstr(file, "go.c") != NULL;
    atomic_fetch_add(b->worker ? &fault_workers : &fault_blocks, 1);
    lock_blocks();
    b->next = blocks;
    blocks = b;
    atomic_flag_clear(&blocks_lock);
    errno = saved;
    return p;
}

void fault_count_free(void *p)
{
    int saved = errno;
    if (p)
        forget(p);
    errno = saved;
}

static bool is_for_good(const char *file)
{
    return strstr(file, "hazard.c") != NULL || strstr(file, "registry.c") != NULL;
}

void fault_count_map(void *p, const char *file)
{
    if (p && !is_for_good(file))
        atomic_fetch_add(&fault_maps, 1);
}

void fault_count_unmap(const char *file)
{
    if (!is_for_good(file))
        atomic_fetch_sub(&fault_maps, 1);
}
