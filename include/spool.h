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
 *    -ENOMEM; -EMFILE, -ENFILE as the kernel says; -EALREADY closed before; -EOPNOTSUPP a put into a channel that only
 *    the kernel puts into.
 *  - A spool_chan may be used by any number of threads at once. A spool_select belongs to one thread at a time.
 */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/select.h> /* sigset_t, whatever the feature macros */
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SPOOL_MUST_USE __attribute__((warn_unused_result))
#define SPOOL_MAY_BE_UNUSED __attribute__((unused))
#else
#define SPOOL_MUST_USE
#define SPOOL_MAY_BE_UNUSED
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
 *
 * capacity 0 makes a rendezvous: it holds nothing, and a put and a get happen together. A put returns when its element
 * was taken. A try finds a partner only in a thread that waits in a put or get, or in a select that waits with a
 * timeout other than 0; a try and a try never meet. Takes a lock for as long as it copies one element.
 *
 * SPOOL_UNBOUNDED makes a channel that takes as many elements as there is memory for: a put never waits, and says
 * -ENOMEM if there is none, with the element left to the caller. Memory is given back as elements are got, but for some
 * 64 KiB that stay at hand, or 2 MiB after a queue of more than 4 MiB, and as much for each thread that was stopped
 * inside a put or get or used the channel last.
 *
 * -EINVAL ret is NULL; -EOVERFLOW; -ENOMEM.
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
 * closed and elements that nobody can get any more are given to the drop function. A thread that may use the handle
 * when another drops the last reference, other than by being blocked in it, needs a reference of its own: that an
 * element has arrived does not mean that the put which brought it has returned. Since whoever gets has a reference, a
 * channel into which many put does not close by itself when the last of them is done.
 * Any thread; never blocks, except as spool/uring.h says.
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
 * -EPIPE the channel is closed; -EINVAL; -EOPNOTSUPP; -ENOMEM if it is unbounded.
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
 * The same for a batch: elements that lie one after the other, as in an array, are moved in one pass, with one wake-up
 * for all of them. Both return how many were moved, and an error only if none was.
 * spool_put_many puts all n, in order, and waits for room meanwhile: fewer only if the channel is closed, the time is
 * over or memory is short; the rest stays with the caller. Elements of other threads may come between.
 * spool_get_many waits for the first and takes up to n that are there then.
 * timeout_ns as for spool_put_for and spool_get_for. n may be 0, and then 0 is returned. n above SSIZE_MAX is -EINVAL.
 */
ssize_t spool_put_many(spool_chan *chan, const void *elems, size_t n, int64_t timeout_ns) SPOOL_MUST_USE;
ssize_t spool_get_many(spool_chan *chan, void *ret_elems, size_t n, int64_t timeout_ns) SPOOL_MUST_USE;

/*
 * Closes the channel, or both directions of a pair. Atomic with puts: a put is delivered or returned, and none that
 * begins after this returned is delivered. What was put before is still got, in order. Wakes every thread and every
 * select that waits. Never blocks. -EALREADY it was closed before; -EINVAL.
 */
int spool_close(spool_chan *chan);

/* Whether the channel is open: no end was closed. false for NULL. */
bool spool_alive(const spool_chan *chan);

/*
 * spool_len: elements that can be got now, at most the capacity; for one end of a pair, those coming in; 0 for a
 * rendezvous. It may be out of date by the time it returns. spool_capacity and spool_elem_size: as given to new; 1 and
 * what the kernel delivers for timers, signals and children. 0 for NULL.
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
 * owned by the channel. Channels over kernel objects have their own: a timerfd, an io_uring, or for signals and
 * children an epoll descriptor (which the kernel does not accept with EPOLLEXCLUSIVE). Never blocks. -EMFILE, -ENFILE,
 * -ENOMEM from eventfd(2); -EINVAL; spool_put_fd also -EOPNOTSUPP.
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

/* ---- Time, signals and children ------------------------------------------------------------------------------- */

/*
 * Channels that the kernel puts into. Each owns descriptors, is got from, waited for, named, closed and dropped like
 * any other, by any number of threads, which share what comes: each element is got once. A put is -EOPNOTSUPP. To look
 * at one that is empty takes a system call. The caller owns one reference to *ret. Making one never blocks.
 */

/*
 * Time, in nanoseconds of CLOCK_MONOTONIC; never early. Elements are uint64_t.
 * spool_after: one element, 1, once delay_ns are over, and then the channel is closed. 0: at once; < 0: never.
 * spool_tick: every interval_ns from now on, the number of intervals that ended since the last get. Who comes late gets
 * a number above 1, and the grid stays where it was. What has expired before a close is still got.
 * In a select the case of spool_after is ready once more, with -EPIPE, unless it is removed when it was ready.
 * spool_never: nothing, until it is closed. For a case of a select that shall be off at first, say.
 * -EINVAL interval_ns <= 0, ret is NULL; -ENOMEM; -EMFILE, -ENFILE.
 */
int spool_after(spool_chan **ret, int64_t delay_ns) SPOOL_MUST_USE;
int spool_tick(spool_chan **ret, int64_t interval_ns) SPOOL_MUST_USE;
int spool_never(spool_chan **ret) SPOOL_MUST_USE;

/*
 * The signals in mask, each as a struct signalfd_siginfo (sys/signalfd.h), as signalfd(2) delivers them: those sent to
 * the process, and those sent to the very thread that gets. SIGKILL and SIGSTOP are ignored. Real-time signals queue,
 * up to RLIMIT_SIGPENDING (beyond that it is the sender's sigqueue(3) that fails with EAGAIN); others merge while they
 * are pending. A close leaves pending signals pending. A signal that was sent to one thread (pthread_kill) is for that
 * thread to get, by a get or in the only select that has the channel; of several selects the wrong one may be woken.
 *
 * Every thread has to block the signals, or they are delivered the usual way instead: call pthread_sigmask(3) in main
 * before any thread is made; threads inherit the mask, those of spool_go too. This is checked for the threads that
 * there are. The channel is of use only in the process that made it, not after a fork.
 * -EBUSY some thread does not block one of them; -EINVAL ret or mask is NULL, nothing is left in the mask; -ENOMEM;
 * -EMFILE, -ENFILE.
 */
int spool_signal(spool_chan **ret, const sigset_t *mask) SPOOL_MUST_USE;

/*
 * The end of a child of this process, as the one siginfo_t that waitid(2) fills in; then the channel is closed. The get
 * reaps the child. Also of one that has ended already and was not reaped. Touches no other child. If somebody else
 * reaps it first (or SIGCHLD is ignored, so that the kernel does), the channel closes with nothing in it. A close
 * before the get leaves the child to the caller.
 * -ECHILD pid is not a child of this process, or was reaped; -EINVAL; -ENOMEM; -EMFILE, -ENFILE; and what a sandbox
 * makes of pidfd_open(2) and waitid(2): -EPERM, -ENOSYS.
 */
int spool_child(spool_chan **ret, pid_t pid) SPOOL_MUST_USE;

/* spool_uring, a channel over an io_uring, is in <spool/uring.h>. */

/* ---- Select --------------------------------------------------------------------------------------------------- */

enum spool_order {
    SPOOL_FAIR,     /* each of n ready cases gets its share (the default) */
    SPOOL_IN_ORDER, /* the ready case with the lowest index */
};

/*
 * Makes an empty select. It owns an epoll descriptor. -EINVAL, -ENOMEM, -EMFILE, -ENFILE.
 * spool_select_free drops it with its references to channels and returns NULL; NULL is accepted. After a fork the child
 * can only free it, which the parent does not notice.
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
 * In a rendezvous, cases of selects that wait meet each other, and threads; one that only reports readiness meets
 * nobody. A select that is nested in another loop by spool_select_poll_fd waits only while it is inside
 * spool_select_wait; and any select stops waiting for the moment in which it looks at something else that has happened,
 * so that a try may miss it.
 * -EINVAL; -ENOMEM; -EMFILE, -ENFILE; -ENOSPC from epoll_ctl(2); spool_select_fd also -EBADF, -EPERM, -ELOOP;
 * spool_select_put also -EOPNOTSUPP.
 */
int spool_select_get(spool_select *sel, spool_chan *chan, void *ret_elem) SPOOL_MUST_USE;
int spool_select_put(spool_select *sel, spool_chan *chan, const void *elem) SPOOL_MUST_USE;
int spool_select_fd(spool_select *sel, int fd, uint32_t epoll_events) SPOOL_MUST_USE;

/*
 * Waits until a case is ready, performs exactly one and returns its index. A case on a channel that is closed (and for
 * a get, drained) is ready once, with the result -EPIPE, and then leaves the select; its index is free again.
 * -EAGAIN with timeout_ns 0, and -ETIMEDOUT once the time is over, only if there was an instant then at which no channel
 * case was ready; -ENODATA no enabled case is left; -EINVAL.
 */
int spool_select_wait(spool_select *sel, int64_t timeout_ns) SPOOL_MUST_USE;

/*
 * How the case that spool_select_wait returned went: 0, -EPIPE, or for a descriptor its events (EPOLLIN and so on).
 * -ENOMEM, -EINVAL: the channel did not take the element (an unbounded one had no memory, or see spool/uring.h); the
 * case stays.
 * 0 for a case that has not been returned yet; -EINVAL for an index that was never given.
 */
int spool_select_result(const spool_select *sel, int index);

/*
 * spool_select_enable: a case that is off is not waited for; on by default. Cheap for a channel, an epoll_ctl(2) for a
 * descriptor, also if nothing changes (EPOLLONESHOT is armed again so). spool_select_remove: takes the case out.
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

/* ---- Looking at it -------------------------------------------------------------------------------------------- */

/*
 * Writes to fd, as text for people, every channel, select and thread of this process, and who waits for what. Async-
 * signal-safe, so that a handler of SIGQUIT may call it; blocks no longer than fd does, locks nothing, stops nobody:
 * what it shows may be from moments that lie a little apart. Maps memory while it runs, reads /proc if it can be had and
 * a descriptor is left, and its own memory by process_vm_readv(2). The command spool(1) shows the same of a process from
 * outside, and more.
 * 0; -ENOMEM; -EBADF and so on, as write(2) says; -EPERM, -ENOSYS where process_vm_readv(2) is forbidden.
 */
int spool_dump(int fd);

/* ---- Typed channels ------------------------------------------------------------------------------------------- */

/*
 * SPOOL_TYPED(jobs, struct job); at file scope declares the type jobs, a struct around a spool_chan * (its member
 * chan), and functions that take struct job where the ones above take void, so that a wrong type does not compile, in C
 * and in C++:
 *
 *     int  jobs_new(jobs *ret, size_t capacity);
 *     int  jobs_pair(jobs *ret_a, jobs *ret_b, size_t capacity);
 *     int  jobs_go(jobs *ret, void (*fn)(void *), void *arg, size_t capacity);
 *     jobs jobs_self(void);
 *     int  jobs_of(jobs *ret, spool_chan *chan);    takes no reference; -EINVAL if chan's elements have another size
 *     int  jobs_put(jobs, const struct job *);      and in the same way get, try_put, try_get, put_for, get_for,
 *                                                   put_many, get_many, select_get, select_put, ref, unref, close
 *
 * Everything else takes the member: spool_set_name(j.chan, "jobs"). jobs_elem is struct job by another name.
 * C compilers only warn of a pointer of the wrong type (gcc before 14, clang); from SPOOL_TYPED to the end of the file
 * they call it the error that it is. In C++ the elements have to be trivially copyable, as bytes are what is copied.
 */
#define SPOOL_TYPED(name, type) \
    SPOOL_TYPED_STRICT_(type) \
    typedef type name##_elem; \
    typedef struct name { \
        spool_chan *chan; \
    } name; \
    SPOOL_TYPED_CALL_(int, name##_new, (name *ret_, size_t capacity_), \
                      spool_chan_new(ret_ ? &ret_->chan : (spool_chan **)0, sizeof(name##_elem), capacity_)) \
    SPOOL_TYPED_CALL_(int, name##_pair, (name *ret_a_, name *ret_b_, size_t capacity_), \
                      spool_pair_new(ret_a_ ? &ret_a_->chan : (spool_chan **)0, \
                                     ret_b_ ? &ret_b_->chan : (spool_chan **)0, sizeof(name##_elem), capacity_)) \
    SPOOL_TYPED_CALL_(int, name##_go, (name *ret_, void (*fn_)(void *), void *arg_, size_t capacity_), \
                      spool_go(ret_ ? &ret_->chan : (spool_chan **)0, fn_, arg_, sizeof(name##_elem), capacity_)) \
    SPOOL_MAY_BE_UNUSED static inline name name##_self(void) \
    { \
        name self_; \
        self_.chan = spool_self(); \
        return self_; \
    } \
    SPOOL_MUST_USE SPOOL_MAY_BE_UNUSED static inline int name##_of(name *ret_, spool_chan *chan_) \
    { \
        if (!ret_ || !chan_ || spool_elem_size(chan_) != sizeof(name##_elem)) \
            return -EINVAL; \
        ret_->chan = chan_; \
        return 0; \
    } \
    SPOOL_MAY_BE_UNUSED static inline name name##_ref(name c_) \
    { \
        c_.chan = spool_ref(c_.chan); \
        return c_; \
    } \
    SPOOL_MAY_BE_UNUSED static inline name name##_unref(name c_) \
    { \
        c_.chan = spool_unref(c_.chan); \
        return c_; \
    } \
    SPOOL_MAY_BE_UNUSED static inline int name##_close(name c_) \
    { \
        return spool_close(c_.chan); \
    } \
    SPOOL_TYPED_CALL_(int, name##_put, (name c_, const name##_elem *elem_), spool_put(c_.chan, elem_)) \
    SPOOL_TYPED_CALL_(int, name##_get, (name c_, name##_elem *ret_elem_), spool_get(c_.chan, ret_elem_)) \
    SPOOL_TYPED_CALL_(int, name##_try_put, (name c_, const name##_elem *elem_), spool_try_put(c_.chan, elem_)) \
    SPOOL_TYPED_CALL_(int, name##_try_get, (name c_, name##_elem *ret_elem_), spool_try_get(c_.chan, ret_elem_)) \
    SPOOL_TYPED_CALL_(int, name##_put_for, (name c_, const name##_elem *elem_, int64_t timeout_ns_), \
                      spool_put_for(c_.chan, elem_, timeout_ns_)) \
    SPOOL_TYPED_CALL_(int, name##_get_for, (name c_, name##_elem *ret_elem_, int64_t timeout_ns_), \
                      spool_get_for(c_.chan, ret_elem_, timeout_ns_)) \
    SPOOL_TYPED_CALL_(ssize_t, name##_put_many, (name c_, const name##_elem *elems_, size_t n_, int64_t timeout_ns_), \
                      spool_put_many(c_.chan, elems_, n_, timeout_ns_)) \
    SPOOL_TYPED_CALL_(ssize_t, name##_get_many, (name c_, name##_elem *ret_elems_, size_t n_, int64_t timeout_ns_), \
                      spool_get_many(c_.chan, ret_elems_, n_, timeout_ns_)) \
    SPOOL_TYPED_CALL_(int, name##_select_get, (spool_select *sel_, name c_, name##_elem *ret_elem_), \
                      spool_select_get(sel_, c_.chan, ret_elem_)) \
    SPOOL_TYPED_CALL_(int, name##_select_put, (spool_select *sel_, name c_, const name##_elem *elem_), \
                      spool_select_put(sel_, c_.chan, elem_)) \
    struct name

#define SPOOL_TYPED_CALL_(result, name, parameters, call) \
    SPOOL_MUST_USE SPOOL_MAY_BE_UNUSED static inline result name parameters \
    { \
        return call; \
    }

#if defined(__cplusplus)
#define SPOOL_TYPED_STRICT_(type) static_assert(__is_trivially_copyable(type), "elements travel as bytes");
#elif defined(__clang__)
#define SPOOL_TYPED_STRICT_(type) \
    _Pragma("clang diagnostic error \"-Wincompatible-pointer-types\"") \
    _Pragma("clang diagnostic error \"-Wint-conversion\"")
#elif defined(__GNUC__)
#define SPOOL_TYPED_STRICT_(type) \
    _Pragma("GCC diagnostic error \"-Wincompatible-pointer-types\"") \
    _Pragma("GCC diagnostic error \"-Wdiscarded-qualifiers\"") \
    _Pragma("GCC diagnostic error \"-Wint-conversion\"")
#else
#define SPOOL_TYPED_STRICT_(type)
#endif

#ifdef __cplusplus
}
#endif

#endif
