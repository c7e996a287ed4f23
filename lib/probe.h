/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_PROBE_H
#define SPOOL_PROBE_H

/*
 * Static probes, for bpftrace, perf, SystemTap and gdb: where one stands there is one nop, and a note in the ELF file
 * says where, and where its arguments are. There is no semaphore, and nothing is computed for a probe on the path of an
 * operation that waits for nobody: the arguments are registers, constants and words of memory that only a tracer reads.
 *
 * The provider is spool. A channel is told by its *lane*, one direction of it: the first argument of every probe, an
 * address that stays the same for the channel's life; a pair has two. Put, get and close also give a handle, a
 * spool_chan * of the channel. Its first word is the address of the channel's core, which has the name:
 * spool__core.name, 40 bytes from its beginning where pointers have 8.
 *
 *   put, get  lane, handle, n        n elements were put or got; the wakes for it may be told of before or after
 *   park      lane, side, deadline   a thread goes to sleep in a get (side 0) or put (1), until the deadline, in
 *                                    nanoseconds of CLOCK_MONOTONIC; INT64_MAX: for ever
 *   wake      lane, side, who, n, calls
 *                                    n who waited to get (side 0) or to put (1) are being woken: threads (who 0),
 *                                    selects (1), or pollers of spool_fd or spool_put_fd, however many (2, and n is 1);
 *                                    calls: whether that takes a system call
 *   close     lane, handle           the channel was closed; of a pair, the lane of its first end. Not when a timer or
 *                                    child has given all it will
 *   select    lane, select, index, result
 *                                    a case was performed; lane 0 for a descriptor, with its events as the result
 *
 * Selects that sleep are seen in epoll_wait(2), and the kernel itself wakes those who wait for its own objects.
 *
 * Without <sys/sdt.h>, and unless the Makefile asks for them (PROBES=0), they are nothing: so too in builds of the
 * library's sources over another sys.h, whose schedules they are no part of.
 */

#define SPOOL__WOKE_THREADS 0
#define SPOOL__WOKE_SELECTS 1
#define SPOOL__WOKE_POLLERS 2

#if defined(SPOOL_PROBES) && defined(__has_include)
#if __has_include(<sys/sdt.h>)
#define SPOOL__HAS_PROBES 1
#endif
#endif

#ifdef SPOOL__HAS_PROBES
#ifdef __clang__
/* Of a choice with memory in it clang always takes that, and stores every argument to the stack for it. */
#define STAP_SDT_ARG_CONSTRAINT nr
#endif
#include <sys/sdt.h>
#define spool__probe_put(lane, chan, n) STAP_PROBE3(spool, put, lane, chan, n)
#define spool__probe_get(lane, chan, n) STAP_PROBE3(spool, get, lane, chan, n)
#define spool__probe_park(lane, side, deadline) STAP_PROBE3(spool, park, lane, side, deadline)
#define spool__probe_wake(lane, side, who, n, calls) STAP_PROBE5(spool, wake, lane, side, who, n, calls)
#define spool__probe_close(lane, chan) STAP_PROBE2(spool, close, lane, chan)
#define spool__probe_select(lane, sel, index, result) STAP_PROBE4(spool, select, lane, sel, index, result)
#else
#define spool__probe_put(lane, chan, n) ((void)0)
#define spool__probe_get(lane, chan, n) ((void)0)
#define spool__probe_park(lane, side, deadline) ((void)0)
#define spool__probe_wake(lane, side, who, n, calls) ((void)0)
#define spool__probe_close(lane, chan) ((void)0)
#define spool__probe_select(lane, sel, index, result) ((void)0)
#endif

#endif
