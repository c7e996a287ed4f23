/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_FAULTS_KERNEL_H
#define SPOOL_FAULTS_KERNEL_H

/*
 * A kernel that fails when told to. Each place in the library that calls the kernel or the C library for something that
 * can fail is a *site*; all of them are in one section of the program, reached or not. A *plan* names a site, which of
 * its calls fails, and with what error.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault_call {
    F_ZALLOC,
    F_REALLOC,
    F_MAP,
    F_UNMAP,
    F_CPUS,
    F_FUTEX_WAIT,
    F_FUTEX_WAKE,
    F_EVENTFD,
    F_EVENTFD_WRITE,
    F_EVENTFD_READ,
    F_CLOSE,
    F_IS_OPEN,
    F_DUP,
    F_POLL,
    F_POLL_UNTIL,
    F_EPOLL_CREATE,
    F_EPOLL_ADD,
    F_EPOLL_MOD,
    F_EPOLL_DEL,
    F_EPOLL_WAIT,
    F_READ,
    F_OPEN,
    F_PEEK,
    F_WRITE,
    F_GETDENTS,
    F_TIMERFD,
    F_TIMERFD_SET,
    F_TIMERFD_FIRE,
    F_SIGNALFD,
    F_BLOCKED,
    F_PIDFD,
    F_WAITID,
    F_THREAD,
    F_ATTR,
    F_SET_NAME,
    F_ATFORK,
    F_KEY,
    F_SET_KEY,
    F_RING_INIT,
    F_RING_SUBMIT,
    F_RING_CANCEL,
    F_RING_EVENTS,
    F_CALLS,
};

/* Calls are counted by what can happen to them: all; those that can sleep; those that sleep for a limited time. */
enum { ALL = 1, SLEEPS = 2, TIMED = 4, CLASSES = 3 };

struct fault_site {
    const char *file;
    const char *func;
    int line;
    int call;
    int id; /* the same for all copies of an inline function */
};

#define FAULT_SITE(name, which)                                                                                        \
    static struct fault_site name __attribute__((section("fault_sites"), used, aligned(sizeof(void *)))) = {           \
        .file = __FILE__, .func = __func__, .line = __LINE__, .call = (which)}

/* Around what sys.h does at a site. In between, the first call of the kernel or the C library fails if it is planned.
 */
void fault_enter(const struct fault_site *site, unsigned classes);
void fault_leave(void);

/* What happens to a call. */
enum fault_effect {
    NONE_PLANNED,
    INSTEAD,  /* it is not made */
    AFTER,    /* it is made, and then said to have failed */
    SPURIOUS, /* it is not made, and said to have succeeded with 0 */
    IF_NONE,  /* it is made, and said to have failed if its result was 0 */
};

/* Sets errno as well, if the call is said to have failed. */
enum fault_effect fault_takes(void);
/* For IF_NONE: it was so. Sets errno. */
void fault_took(void);
/* The same for a call that returns its error; *ret_error is it. */
enum fault_effect fault_takes_direct(const struct fault_site *site, int *ret_error);

/* What the library has of memory. */
void *fault_count_block(void *p, void *old, int call, const char *file);
void fault_count_free(void *p);
/* Records of threads (hazard.c) stay for later ones, and do not count. */
void fault_count_map(void *p, const char *file);
void fault_count_unmap(const char *file);

#endif
