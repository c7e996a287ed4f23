/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_EXPLORE_ROUTED_H
#define SPOOL_EXPLORE_ROUTED_H

/* What lib/sys.h has, for code that runs under the explorer. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "explore.h"

/* The type of a value that is loaded, without const. */
#define EX_TYPE(p) __typeof__(((void)0, *(p)))

#define spool__load(p, order)                                                                                          \
    (__extension__({                                                                                                   \
        uint64_t bits_ = ex_load((p), sizeof *(p), EX_##order, EX_SITE("load", #p));                                   \
        EX_TYPE(p) value_;                                                                                             \
        __builtin_memcpy(&value_, &bits_, sizeof value_);                                                              \
        value_;                                                                                                        \
    }))
#define EX_BITS(p, v)                                                                                                  \
    (__extension__({                                                                                                   \
        EX_TYPE(p) in_ = (v);                                                                                          \
        uint64_t bits_ = 0;                                                                                            \
        __builtin_memcpy(&bits_, &in_, sizeof in_);                                                                    \
        bits_;                                                                                                         \
    }))
#define spool__store(p, v, order) ex_store((p), sizeof *(p), EX_BITS(p, v), EX_##order, EX_SITE("store", #p))
#define EX_RMW_OF(p, op, v, order, name)                                                                               \
    (__extension__({                                                                                                   \
        uint64_t old_ = ex_rmw((p), sizeof *(p), op, EX_BITS(p, v), EX_##order, EX_SITE(name, #p));                    \
        EX_TYPE(p) value_;                                                                                             \
        __builtin_memcpy(&value_, &old_, sizeof value_);                                                               \
        value_;                                                                                                        \
    }))
#define spool__add(p, v, order) EX_RMW_OF(p, EX_ADD, v, order, "add")
#define spool__sub(p, v, order) EX_RMW_OF(p, EX_SUB, v, order, "sub")
#define spool__swap(p, v, order) EX_RMW_OF(p, EX_SWAP, v, order, "swap")
#define spool__cas(p, expected, v, order)                                                                              \
    ex_cas((p), sizeof *(p), (expected), EX_BITS(p, v), EX_##order, EX_SITE("cas", #p))

#define spool__count(p) ((void)(p))

#define spool__fence() ex_fence(false, EX_SITE("fence", ""))
#define spool__fence_after_rmw() ex_fence(true, EX_SITE("fence after rmw", ""))
#define spool__fence_for_handlers() ((void)0)

#ifndef SPOOL_NO_CAS16
#define SPOOL_CAS16 1
#define spool__cas16(pair, old0, old1, new0, new1)                                                                     \
    ex_cas16((pair), (const uint64_t[]){(old0), (old1)}, (const uint64_t[]){(new0), (new1)}, EX_SITE("cas16", #pair))
#endif

#define memcpy(to, from, bytes) ex_memcpy((to), (from), (bytes))
#define memset(to, byte, bytes) ex_memset((to), (byte), (bytes))

/* One processor: who waits for others lets them run. */
#define SPIN_PAUSES 0u
#define SPIN_YIELDS 1u
#define LONG_SLEEPS 0u
#define PARTNER_PAUSES 0u
#define LATE_PAUSES 0u
/* Never: what a thread counts would be left from run to run. */
#define ASK_EACH UINT32_MAX
#define YIELDED_MAX UINT32_MAX
#define DOZE_TURNS 2u
#define TRY_LOOKS 0u
/* The second look that finds a case not to be ready arms it. */
#define MISSES_MAX 2
#define FEW_IN_ORDER 0
#define FEW_FAIR 0
/* Who was alone in a round keeps its turn once. */
#define STAY_MAX 1
#define GATHERS_FROM 1
/* Small enough that a few elements fill a segment, and hazards a batch. */
#define FIRST_SLOTS 1
#define SEGMENT_BYTES 208
#define SLOTS_MIN 2
#define LARGE_BYTES 512u
#define LARGE_SLOTS 3
#define LARGE_FROM 640u
#define RECORDS 1
/* As few as three threads need, each in the midst of one operation. */
#define SPARE_BYTES 0
#define SPARE_MIN 2
#define SPARE_MAX 2

#define spool__pause() ex_yield()
#define spool__back_off(lost) ((void)(lost))
#define spool__yield() ex_yield()
#define spool__prefetch_write(p) ((void)(p))
#define spool__sys_cpus() 1
#define spool__sys_restore_errno(saved) ((void)(saved))
#define spool__sys_now() ex_now()
#define spool__sys_random(address) (UINT64_C(1) << 40)
#define spool__sys_zalloc(bytes) ex_zalloc(bytes)
#define spool__sys_realloc(old, bytes) ex_realloc((old), (bytes))
#define spool__sys_free(p) ex_free(p)
#define spool__sys_map(bytes) ex_map(bytes)
#define spool__sys_map_huge() ex_map(LARGE_BYTES)
#define spool__sys_unmap(p, bytes) ((void)(bytes), ex_free(p))
#define spool__sys_futex_wait(word, value, deadline) ex_futex_wait((word), (value), (deadline))
#define spool__sys_futex_wake(word, n) ex_futex_wake((word), (n))
#define spool__sys_eventfd() ex_eventfd()
#define spool__sys_eventfd_write(fd, n) ex_eventfd_write((fd), (n))
#define spool__sys_eventfd_read(fd) ex_eventfd_read(fd)
#define spool__sys_close(fd) ex_close(fd)
#define spool__sys_poll(fd, events) ex_poll((fd), (events))
#define spool__sys_epoll_create() ex_epoll_create()
#define spool__sys_epoll_ctl(epoll, op, fd, events, data) ex_epoll_ctl((epoll), (op), (fd), (events), (data))
#define spool__sys_epoll_wait(epoll, events, max, deadline) ex_epoll_wait((epoll), (events), (max), (deadline))

/* Of what no scenario does. */
#define EX_UNSUPPORTED(type, call) (ex_unsupported(#call), (type)0)
#define spool__sys_is_open(fd) ((void)(fd), EX_UNSUPPORTED(int, is_open))
#define spool__sys_dup(fd) ((void)(fd), EX_UNSUPPORTED(int, dup))
#define spool__sys_poll_until(fds, n, deadline) ((void)(fds), (void)(n), (void)(deadline), EX_UNSUPPORTED(int, poll))
#define spool__sys_getpid() 1

#define pthread_key_create(key, destructor) ex_key_create((key), (destructor))
#define pthread_setspecific(key, value) ex_setspecific((key), (value))

#endif
