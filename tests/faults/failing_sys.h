/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * lib/sys.h over the kernel that fails: what it calls is replaced, then it is included as it is, then its functions are
 * wrapped so that each use of them is a site. Comes in place of sys.h, by SPOOL_SYS_HEADER, so it is read once.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "kernel.h"

/* errno is set last: the call that is made as well may set it too. */
#define FAULT_MADE(real, failed)                                                                                       \
    ({                                                                                                                 \
        __typeof__(real) fault_made_ = (__typeof__(real))0;                                                            \
        enum fault_effect fault_effect_ = fault_takes();                                                               \
        int fault_errno_ = errno;                                                                                      \
        if (fault_effect_ != INSTEAD && fault_effect_ != SPURIOUS)                                                     \
            fault_made_ = (real);                                                                                      \
        if (fault_effect_ == IF_NONE && fault_made_ == 0) {                                                            \
            fault_took();                                                                                              \
            fault_made_ = (__typeof__(real))(failed);                                                                  \
        }                                                                                                              \
        if (fault_effect_ == INSTEAD || fault_effect_ == AFTER) {                                                      \
            errno = fault_errno_;                                                                                      \
            fault_made_ = (__typeof__(real))(failed);                                                                  \
        }                                                                                                              \
        fault_made_;                                                                                                   \
    })

/* The kernel has lost the descriptor that is to be changed, because it was closed and its number used again. */
static inline int fault_epoll_ctl(int epoll, int op, int fd, struct epoll_event *ev)
{
    int r = 0;
    enum fault_effect effect = fault_takes();
    int error = errno;
    if (effect == AFTER && op == EPOLL_CTL_MOD)
        (void)epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
    else if (effect == AFTER || effect == NONE_PLANNED)
        r = epoll_ctl(epoll, op, fd, ev);
    if (effect == NONE_PLANNED)
        return r;
    errno = error;
    return -1;
}

#define syscall(...) FAULT_MADE(syscall(__VA_ARGS__), -1)
#define calloc(n, size) FAULT_MADE(calloc(n, size), 0)
#define realloc(old, size) FAULT_MADE(realloc(old, size), 0)
#define mmap(at, size, prot, flags, fd, off) FAULT_MADE(mmap(at, size, prot, flags, fd, off), MAP_FAILED)
#define munmap(at, size) FAULT_MADE(munmap(at, size), -1)
#define sched_getaffinity(pid, size, set) FAULT_MADE(sched_getaffinity(pid, size, set), -1)
#define eventfd(n, flags) FAULT_MADE(eventfd(n, flags), -1)
#define fcntl(...) FAULT_MADE(fcntl(__VA_ARGS__), -1)
#define epoll_create1(flags) FAULT_MADE(epoll_create1(flags), -1)
#define epoll_ctl(epoll, op, fd, ev) fault_epoll_ctl(epoll, op, fd, ev)
#define timerfd_create(clock, flags) FAULT_MADE(timerfd_create(clock, flags), -1)
#define timerfd_settime(fd, flags, its, old) FAULT_MADE(timerfd_settime(fd, flags, its, old), -1)

#undef SPOOL_SYS_HEADER
#undef SPOOL_SYS_H
#include "../../lib/sys.h"

/* What is done as the library is loaded is done later where it failed, and so in each scene. */
#undef SPOOL__AT_LOAD
#define SPOOL__AT_LOAD __attribute__((unused))

#undef syscall
#undef calloc
#undef realloc
#undef mmap
#undef munmap
#undef sched_getaffinity
#undef eventfd
#undef fcntl
#undef epoll_create1
#undef epoll_ctl
#undef timerfd_create
#undef timerfd_settime

#define FAULT_AT(which, classes, real)                                                                                 \
    ({                                                                                                                 \
        FAULT_SITE(fault_site_, which);                                                                                \
        fault_enter(&fault_site_, classes);                                                                            \
        __typeof__(real) fault_r_ = (real);                                                                            \
        fault_leave();                                                                                                 \
        fault_r_;                                                                                                      \
    })

#define FAULT_DIRECT(which, real, failed)                                                                              \
    ({                                                                                                                 \
        FAULT_SITE(fault_site_, which);                                                                                \
        int fault_e_ = 0;                                                                                              \
        int fault_r_ = 0;                                                                                              \
        enum fault_effect fault_effect_ = fault_takes_direct(&fault_site_, &fault_e_);                                 \
        if (fault_effect_ == NONE_PLANNED || fault_effect_ == AFTER)                                                   \
            fault_r_ = (real);                                                                                         \
        fault_effect_ == NONE_PLANNED ? fault_r_ : (failed);                                                           \
    })

/* For ever, not at all, or for some time. */
#define FAULT_SLEEPS(deadline) ((deadline) == 0 ? ALL : (deadline) == INT64_MAX ? ALL | SLEEPS : ALL | SLEEPS | TIMED)

#define spool__sys_zalloc(bytes)                                                                                       \
    fault_count_block(FAULT_AT(F_ZALLOC, ALL, spool__sys_zalloc(bytes)), NULL, F_ZALLOC, __FILE__)
#define spool__sys_realloc(old, bytes)                                                                                 \
    ({                                                                                                                 \
        void *fault_old_ = (old);                                                                                      \
        fault_count_block(FAULT_AT(F_REALLOC, ALL, spool__sys_realloc(fault_old_, bytes)), fault_old_, F_REALLOC,      \
                          __FILE__);                                                                                   \
    })
#define spool__sys_free(p)                                                                                             \
    ({                                                                                                                 \
        void *fault_p_ = (p);                                                                                          \
        fault_count_free(fault_p_);                                                                                    \
        spool__sys_free(fault_p_);                                                                                     \
    })
#define spool__sys_map(bytes)                                                                                          \
    ({                                                                                                                 \
        void *fault_p_ = FAULT_AT(F_MAP, ALL, spool__sys_map(bytes));                                                  \
        fault_count_map(fault_p_, __FILE__);                                                                           \
        fault_p_;                                                                                                      \
    })
#define spool__sys_map_huge()                                                                                          \
    ({                                                                                                                 \
        void *fault_p_ = FAULT_AT(F_MAP, ALL, spool__sys_map_huge());                                                  \
        fault_count_map(fault_p_, __FILE__);                                                                           \
        fault_p_;                                                                                                      \
    })
#define spool__sys_unmap(p, bytes)                                                                                     \
    ({                                                                                                                 \
        FAULT_SITE(fault_site_, F_UNMAP);                                                                              \
        fault_enter(&fault_site_, ALL);                                                                                \
        spool__sys_unmap(p, bytes);                                                                                    \
        fault_leave();                                                                                                 \
        fault_count_unmap(__FILE__);                                                                                   \
    })
#define spool__sys_cpus() FAULT_AT(F_CPUS, ALL, spool__sys_cpus())
#define spool__sys_futex_wait(word, value, deadline)                                                                   \
    FAULT_AT(F_FUTEX_WAIT, FAULT_SLEEPS(deadline), spool__sys_futex_wait(word, value, deadline))
#define spool__sys_futex_wake(word, n) FAULT_AT(F_FUTEX_WAKE, ALL, spool__sys_futex_wake(word, n))
#define spool__sys_eventfd() FAULT_AT(F_EVENTFD, ALL, spool__sys_eventfd())
#define spool__sys_eventfd_write(fd, n) FAULT_AT(F_EVENTFD_WRITE, ALL, spool__sys_eventfd_write(fd, n))
#define spool__sys_eventfd_read(fd) FAULT_AT(F_EVENTFD_READ, ALL, spool__sys_eventfd_read(fd))
#define spool__sys_close(fd) FAULT_AT(F_CLOSE, ALL, spool__sys_close(fd))
#define spool__sys_is_open(fd) FAULT_AT(F_IS_OPEN, ALL, spool__sys_is_open(fd))
#define spool__sys_dup(fd) FAULT_AT(F_DUP, ALL, spool__sys_dup(fd))
#define spool__sys_poll(fd, events) FAULT_AT(F_POLL, ALL, spool__sys_poll(fd, events))
#define spool__sys_poll_until(fds, n, deadline)                                                                        \
    ({                                                                                                                 \
        int64_t fault_deadline_ = (deadline);                                                                          \
        FAULT_AT(F_POLL_UNTIL, FAULT_SLEEPS(fault_deadline_), spool__sys_poll_until(fds, n, fault_deadline_));         \
    })
#define spool__sys_epoll_create() FAULT_AT(F_EPOLL_CREATE, ALL, spool__sys_epoll_create())
#define spool__sys_epoll_ctl(epoll, op, fd, events, data)                                                              \
    FAULT_AT((op) == EPOLL_CTL_ADD   ? F_EPOLL_ADD                                                                     \
             : (op) == EPOLL_CTL_MOD ? F_EPOLL_MOD                                                                     \
                                     : F_EPOLL_DEL,                                                                    \
             ALL, spool__sys_epoll_ctl(epoll, op, fd, events, data))
#define spool__sys_epoll_wait(epoll, events, max, deadline)                                                            \
    FAULT_AT(F_EPOLL_WAIT, FAULT_SLEEPS(deadline), spool__sys_epoll_wait(epoll, events, max, deadline))
#define spool__sys_read(fd, buf, bytes) FAULT_AT(F_READ, ALL, spool__sys_read(fd, buf, bytes))
#define spool__sys_open(dir, path, flags) FAULT_AT(F_OPEN, ALL, spool__sys_open(dir, path, flags))
#define spool__sys_peek(pid, at, ret, bytes) FAULT_AT(F_PEEK, ALL, spool__sys_peek(pid, at, ret, bytes))
#define spool__sys_write(fd, buf, bytes) FAULT_AT(F_WRITE, ALL, spool__sys_write(fd, buf, bytes))
#define spool__sys_getdents(fd, buf, bytes) FAULT_AT(F_GETDENTS, ALL, spool__sys_getdents(fd, buf, bytes))
#define spool__sys_timerfd() FAULT_AT(F_TIMERFD, ALL, spool__sys_timerfd())
#define spool__sys_timerfd_set(fd, at, interval) FAULT_AT(F_TIMERFD_SET, ALL, spool__sys_timerfd_set(fd, at, interval))
#define spool__sys_timerfd_fire(fd) FAULT_AT(F_TIMERFD_FIRE, ALL, spool__sys_timerfd_fire(fd))
#define spool__sys_signalfd(set) FAULT_AT(F_SIGNALFD, ALL, spool__sys_signalfd(set))
#define spool__sys_blocked() FAULT_AT(F_BLOCKED, ALL, spool__sys_blocked())
#define spool__sys_pidfd(pid) FAULT_AT(F_PIDFD, ALL, spool__sys_pidfd(pid))
#define spool__sys_waitid(pidfd, ret, options) FAULT_AT(F_WAITID, ALL, spool__sys_waitid(pidfd, ret, options))

#define pthread_create(...) FAULT_DIRECT(F_THREAD, pthread_create(__VA_ARGS__), fault_e_)
#define pthread_attr_init(attr) FAULT_DIRECT(F_ATTR, pthread_attr_init(attr), fault_e_)
#define pthread_setname_np(thread, name) FAULT_DIRECT(F_SET_NAME, pthread_setname_np(thread, name), fault_e_)
#define pthread_atfork(...) FAULT_DIRECT(F_ATFORK, pthread_atfork(__VA_ARGS__), fault_e_)
#define pthread_key_create(key, fn) FAULT_DIRECT(F_KEY, pthread_key_create(key, fn), fault_e_)
#define pthread_setspecific(key, p) FAULT_DIRECT(F_SET_KEY, pthread_setspecific(key, p), fault_e_)

/* liburing returns negative errnos. The library includes its header before this one. */
#define io_uring_queue_init(...) FAULT_DIRECT(F_RING_INIT, io_uring_queue_init(__VA_ARGS__), -fault_e_)
#define io_uring_submit(ring) FAULT_DIRECT(F_RING_SUBMIT, io_uring_submit(ring), -fault_e_)
#define io_uring_register_sync_cancel(ring, any)                                                                       \
    FAULT_DIRECT(F_RING_CANCEL, io_uring_register_sync_cancel(ring, any), -fault_e_)
#define io_uring_get_events(ring) FAULT_DIRECT(F_RING_EVENTS, io_uring_get_events(ring), -fault_e_)
