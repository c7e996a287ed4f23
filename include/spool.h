/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_H
#define SPOOL_H

/*
 * spool: channels that Linux can wait for.
 *
 * Programs that hand work between threads and also serve sockets need one place to wait for both. A condition
 * variable cannot wait for a socket and epoll cannot wait for a queue, so people write mutex + queue + eventfd again
 * and again. A spool channel is that, done once: a lock-free queue of values with a file descriptor that is readable
 * when a get would not block, and a select that is a real epoll_wait(2) over channels and any other descriptors.
 *
 * Conventions, everywhere the same:
 *
 *  - A call returns 0, or a value >= 0, or a negative errno. Nothing prints or aborts; errno is left as it was.
 *  - A failed call changes no state and leaves its ret_ parameters alone.
 *  - Times are nanoseconds in an int64_t: < 0 waits for ever, 0 tries, > 0 waits at most that long on CLOCK_MONOTONIC.
 *    A wait never ends early; signals that interrupt it do not lengthen it.
 *  - Elements travel by value: bytes are copied in by a put and out by a get.
 *  - Errors: -EAGAIN a try that cannot; -ETIMEDOUT out of time; -EPIPE put on a closed channel, or get on a closed one
 *    that is drained; -EINVAL a bad argument, NULL handles included; -EOVERFLOW element size x capacity is too large;
 *    -ENOMEM; -EMFILE, -ENFILE as the kernel says; -EALREADY closed before.
 *  - A spool_chan may be used by any number of threads at once. A spool_select belongs to one thread at a time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SPOOL_MUST_USE __attribute__((warn_unused_result))
#else
#define SPOOL_MUST_USE
#endif

#define SPOOL_VERSION_MAJOR 0
#define SPOOL_VERSION_MINOR 1
#define SPOOL_VERSION_PATCH 0

/* A handle on a channel, or on one end of a pair. Reference-counted. */
typedef struct spool_chan spool_chan;
/* A set of cases to wait for. Belongs to one thread at a time. */
typedef struct spool_select spool_select;

/* ---- Channels ------------------------------------------------------------------------------------------------- */

/*
 * Makes a channel for elements of elem_size bytes (0 is allowed) that holds exactly capacity of them.
 * Elements are kept at an alignment of 16 bytes, or of the largest power of two that divides elem_size if that is
 * less. The caller owns one reference to *ret. Allocates memory, no descriptor; never blocks.
 * -EINVAL ret is NULL; -EOVERFLOW; -ENOMEM; -EOPNOTSUPP capacity is 0 (rendezvous) or SPOOL_UNBOUNDED, which this
 * release does not have yet.
 */
#define SPOOL_UNBOUNDED SIZE_MAX
int spool_chan_new(spool_chan **ret, size_t elem_size, size_t capacity) SPOOL_MUST_USE;

/*
 * Makes two connected ends, as socketpair(2) does: what is put into one end is got from the other. Each direction
 * holds capacity elements. Closing either end, or dropping the last reference to it, closes both directions; what was
 * put before is still got. Errors as spool_chan_new, and -EINVAL if ret_a == ret_b.
 */
int spool_pair_new(spool_chan **ret_a, spool_chan **ret_b, size_t elem_size, size_t capacity) SPOOL_MUST_USE;

/*
 * Takes and drops a reference; both accept NULL. spool_ref returns its argument, spool_unref returns NULL.
 * Dropping the last reference closes the channel: threads still blocked in it return -EPIPE, its descriptors are
 * closed and elements that nobody can get any more are given to the drop function. Any thread; never blocks.
 */
spool_chan *spool_ref(spool_chan *chan);
spool_chan *spool_unref(spool_chan *chan);

/*
 * Puts the element that elem points to; waits while the channel is full. spool_try_put never waits and says -EAGAIN;
 * spool_put_for waits at most timeout_ns and says -ETIMEDOUT (-EAGAIN if timeout_ns is 0). elem may be NULL only if
 * the element size is 0. A failed put leaves the element with the caller.
 * No system call is made when nobody waits for elements and there is room. spool_try_put is async-signal-safe.
 * A thread that is stopped for ever inside a put or get of elements over 8 bytes keeps their room for one, once more
 * threads have stopped so than there is spare room for (8 to 64 elements).
 * -EPIPE the channel is closed; -EINVAL.
 */
int spool_put(spool_chan *chan, const void *elem) SPOOL_MUST_USE;
int spool_try_put(spool_chan *chan, const void *elem) SPOOL_MUST_USE;
int spool_put_for(spool_chan *chan, const void *elem, int64_t timeout_ns) SPOOL_MUST_USE;

/*
 * Gets the oldest element into ret_elem; waits while the channel is empty. spool_try_get never waits and says -EAGAIN;
 * spool_get_for waits at most timeout_ns and says -ETIMEDOUT (-EAGAIN if timeout_ns is 0). ret_elem may be NULL only
 * if the element size is 0.
 * -EPIPE the channel is closed and everything put before has been got; -EINVAL.
 */
int spool_get(spool_chan *chan, void *ret_elem) SPOOL_MUST_USE;
int spool_try_get(spool_chan *chan, void *ret_elem) SPOOL_MUST_USE;
int spool_get_for(spool_chan *chan, void *ret_elem, int64_t timeout_ns) SPOOL_MUST_USE;

/*
 * Closes the channel, or both directions of a pair. Atomic with puts: a put is delivered or returned, and none that
 * begins after this returned is delivered. What was put before is still got, in order. Wakes every thread and every
 * select that waits. Never blocks. -EALREADY it was closed before; -EINVAL.
 */
int spool_close(spool_chan *chan);

/* Whether the channel is open: no end was closed. false for NULL. */
bool spool_alive(const spool_chan *chan);

/*
 * spool_len: elements that can be got now, at most the capacity; for one end of a pair, those coming in. It may be out
 * of date by the time it returns. spool_capacity and spool_elem_size: as given to new. 0 for NULL.
 */
size_t spool_len(const spool_chan *chan);
size_t spool_capacity(const spool_chan *chan);
size_t spool_elem_size(const spool_chan *chan);

/*
 * spool_fd: a descriptor that is readable whenever a get would not block (a closed channel never blocks).
 * spool_put_fd: the same for a put. Level semantics, for any poller: epoll in every mode, poll, select, io_uring,
 * event loops. It may rarely be readable without reason; the next spool_try_get (spool_try_put) that returns -EAGAIN
 * makes it unreadable again. Poll it, do not read, write or close it: a stranger's read can steal a wake-up. When it is
 * readable, get (put) until -EAGAIN: it is signalled once when that becomes possible, not once for each element, which
 * matters to pollers that are edge-triggered or exclusive. A close wakes exclusive pollers one after the other, as each
 * of them tries and sees -EPIPE.
 * The descriptor is an eventfd, O_NONBLOCK and O_CLOEXEC, made by the first call, the same for the channel's life and
 * owned by the channel. Never blocks. -EMFILE, -ENFILE, -ENOMEM from eventfd(2); -EINVAL.
 */
int spool_fd(spool_chan *chan) SPOOL_MUST_USE;
int spool_put_fd(spool_chan *chan) SPOOL_MUST_USE;

/*
 * Names the channel for people who debug: at most 31 bytes, copied; both ends of a pair share the name, and the thread
 * of spool_go takes it too (its first 15 bytes). Name a channel before sharing it between threads.
 * spool_name: the name, "" if there is none or chan is NULL; valid as long as the channel.
 * -EINVAL; -ENAMETOOLONG.
 */
int spool_set_name(spool_chan *chan, const char *name);
const char *spool_name(const spool_chan *chan);

/*
 * Sets a function that is called once with each element that was put and that nobody can get any more, so that what
 * the element owns can be released: when the last reference goes, and for a pair when the receiving end's goes.
 * Called in the thread that drops the reference; it must not use the channel. NULL, the default, does nothing.
 * -EINVAL.
 */
int spool_set_drop(spool_chan *chan, void (*drop)(void *elem));

/* ---- Threads -------------------------------------------------------------------------------------------------- */

/*
 * Runs fn(arg) in a thread with a pair of channels between it and the rest: *ret is the outer end, spool_self() inside
 * fn is the thread's own. When fn returns (or the thread exits), its end closes: the outside gets what was put
 * and then -EPIPE. The caller owns one reference to *ret. Threads start with the caller's signal mask; finished
 * threads are kept a while and reused. Errors as spool_pair_new, and -EAGAIN if no thread can be made.
 */
int spool_go(spool_chan **ret, void (*fn)(void *arg), void *arg, size_t elem_size, size_t capacity) SPOOL_MUST_USE;

/* The calling thread's own end: borrowed, valid until its function returns. NULL outside a spool_go thread. */
spool_chan *spool_self(void);

/*
 * Waits until every function started by spool_go has returned. -ETIMEDOUT, or -EAGAIN if timeout_ns is 0;
 * -EDEADLK called from inside a spool_go thread.
 */
int spool_go_wait(int64_t timeout_ns);

/* ---- Select --------------------------------------------------------------------------------------------------- */

enum spool_order {
    SPOOL_FAIR,     /* each of n ready cases gets its share (the default) */
    SPOOL_IN_ORDER, /* the ready case with the lowest index */
};

/*
 * Makes an empty select. It owns an epoll descriptor. -EINVAL, -ENOMEM, -EMFILE, -ENFILE.
 * spool_select_free drops it with its references to channels and returns NULL; NULL is accepted.
 */
int spool_select_new(spool_select **ret) SPOOL_MUST_USE;
spool_select *spool_select_free(spool_select *sel);

/*
 * Each adds a case and returns its index, the lowest that is free. A case on a channel holds a reference to it and
 * takes one descriptor per channel and direction.
 * spool_select_get: ready when a get would not block; performing it gets into ret_elem, which must stay valid. With
 * ret_elem NULL it only reports readiness and takes nothing.
 * spool_select_put: ready when a put would not block; performing it puts what elem points to at that moment. With elem
 * NULL it only reports readiness. (For elements of size 0, any other pointer stands for the element.)
 * spool_select_fd: ready as epoll(7) says of fd for epoll_events (level-triggered unless EPOLLET is among them).
 * Remove the case before closing fd.
 * The same channel or fd may stand in several cases and in several selects; a select never meets itself.
 * -EINVAL; -ENOMEM; -EMFILE, -ENFILE; -ENOSPC from epoll_ctl(2); spool_select_fd also -EBADF, -EPERM, -ELOOP.
 */
int spool_select_get(spool_select *sel, spool_chan *chan, void *ret_elem) SPOOL_MUST_USE;
int spool_select_put(spool_select *sel, spool_chan *chan, const void *elem) SPOOL_MUST_USE;
int spool_select_fd(spool_select *sel, int fd, uint32_t epoll_events) SPOOL_MUST_USE;

/*
 * Waits until a case is ready, performs exactly one and returns its index. A case on a channel that is closed (and for
 * a get, drained) is ready once, with the result -EPIPE, and then leaves the select; its index is free again.
 * -EAGAIN with timeout_ns 0, only if there was an instant at which no channel case was ready; -ETIMEDOUT;
 * -ENODATA no enabled case is left; -EINVAL.
 */
int spool_select_wait(spool_select *sel, int64_t timeout_ns) SPOOL_MUST_USE;

/*
 * How the case that spool_select_wait returned went: 0, -EPIPE, or for a descriptor its events (EPOLLIN and so on).
 * 0 for a case that has not been returned yet; -EINVAL for an index that was never given.
 */
int spool_select_result(const spool_select *sel, int index);

/*
 * spool_select_enable: a case that is off is not waited for; on by default. spool_select_remove: takes the case out.
 * -EINVAL no such case; enable also the errors of adding the case.
 */
int spool_select_enable(spool_select *sel, int index, bool on);
int spool_select_remove(spool_select *sel, int index);

/* -EINVAL. */
int spool_select_set_order(spool_select *sel, enum spool_order order);

/*
 * The epoll descriptor, so that a select nests in any event loop: readable whenever spool_select_wait would not block.
 * When it is readable, call spool_select_wait with timeout 0 until it returns -EAGAIN. Owned by the select; poll it
 * only. -EMFILE, -ENFILE; -EINVAL.
 */
int spool_select_poll_fd(spool_select *sel) SPOOL_MUST_USE;

#ifdef __cplusplus
}
#endif

#endif
