/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_SYS_H
#define SPOOL_SYS_H

/*
 * The one place where the library touches atomics, fences and the kernel, so that a test build can put a scheduler or
 * a failing kernel underneath: compile with -DSPOOL_SYS_HEADER='"file.h"' to replace everything below.
 *
 * Calls return >= 0 or a negative errno and leave errno as it was: puts may run inside a signal handler. Those made in
 * the midst of an operation go to the kernel directly, so that none of them is a cancellation point.
 */

#ifdef SPOOL_SYS_HEADER
#include SPOOL_SYS_HEADER
#else

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if __GCC_ATOMIC_LLONG_LOCK_FREE != 2
#error "spool needs a processor that changes 8 bytes at once: on 32-bit x86 -march=i586 or newer, on 32-bit arm armv7"
#elif defined(__clang__) && defined(__i386__)
#error "spool on 32-bit x86 needs gcc: clang calls libatomic for integers of 8 bytes, as that ABI aligns them to 4"
#endif

/* A function that runs before constructors which have no priority and may call spool. */
#define SPOOL__AT_LOAD __attribute__((constructor(101)))

/* Each use names its order; a failed compare-and-swap is relaxed. */
#define spool__load(p, order) __atomic_load_n((p), __ATOMIC_##order)
#define spool__store(p, v, order) __atomic_store_n((p), (v), __ATOMIC_##order)
#define spool__add(p, v, order) __atomic_fetch_add((p), (v), __ATOMIC_##order)
#define spool__sub(p, v, order) __atomic_fetch_sub((p), (v), __ATOMIC_##order)
#define spool__swap(p, v, order) __atomic_exchange_n((p), (v), __ATOMIC_##order)
#define spool__cas(p, expected, v, order)                                                                              \
    __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_##order, __ATOMIC_RELAXED)

/* Of numbers that only people look at: nothing is decided by them. */
#define spool__count(p) ((void)spool__add((p), 1, RELAXED))

#if defined(__SANITIZE_THREAD__)
#define SPOOL_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SPOOL_TSAN 1
#endif
#endif

/*
 * A full fence: stores before it are visible before loads after it are made.
 *
 * ThreadSanitizer does not know fences. It gets a sequentially consistent read-modify-write of a variable of the
 * calling thread's own, which is as strong on the processors it runs on and, because no other thread touches
 * that variable, adds no ordering that would hide a race.
 */
static inline void spool__fence(void)
{
#ifdef SPOOL_TSAN
    volatile int own = 0;
    (void)__atomic_fetch_add(&own, 1, __ATOMIC_SEQ_CST);
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/*
 * The same where the last store was an atomic read-modify-write. On x86 every such instruction is locked and therefore
 * a full fence already, so only the compiler has to be held; elsewhere (arm64 with load-linked pairs, C11 in general)
 * it is not, and the fence is made. Linux draws the same line with smp_mb__after_atomic().
 */
static inline void spool__fence_after_rmw(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
#else
    spool__fence();
#endif
}

/* Orders this thread's stores and loads for its own signal handlers, so for the compiler only. */
static inline void spool__fence_for_handlers(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/*
 * Sixteen bytes changed at once. The __sync form is used because both compilers inline it, where the __atomic form
 * calls libatomic, which may lock. -DSPOOL_NO_CAS16 builds as for a processor that lacks it.
 */
#if defined(__GCC_HAVE_SYNC_COMPARE_AND_SWAP_16) && !defined(SPOOL_NO_CAS16)
#define SPOOL_CAS16 1
__extension__ typedef unsigned __int128 __attribute__((may_alias)) spool__u128;
static inline bool spool__cas16(uint64_t pair[2], uint64_t old0, uint64_t old1, uint64_t new0, uint64_t new1)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    spool__u128 old = (spool__u128)old0 << 64 | old1, new = (spool__u128)new0 << 64 | new1;
#else
    spool__u128 old = (spool__u128)old1 << 64 | old0, new = (spool__u128)new1 << 64 | new0;
#endif
    return __sync_bool_compare_and_swap((spool__u128 *)pair, old, new);
}
#endif

static inline void spool__pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ __volatile__("yield" ::: "memory");
#else
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
#endif
}

/*
 * After another thread's swap came first, lost times before in this operation. The line is at that one's processor, which
 * does one operation after the other there as long as nobody takes it away: some for each that the two would do in
 * turns. So 16 pauses, 64, 256, and then 1024 each time, which are 20 to 70 us: the more threads want the line, the
 * longer they stay away. (T. Anderson, "The performance of spin lock alternatives for shared-memory multiprocessors",
 * 1990.)
 */
static inline void spool__back_off(unsigned lost)
{
    for (unsigned n = 16u << 2 * (lost < 3 ? lost : 3); n > 0; n--)
        spool__pause();
}

/*
 * Asks for the cache line of p, to be written soon; it need not be memory of ours. In x86-64 every processor takes the
 * instruction, some as one that does nothing. Compilers are not asked for it: for processors in general they make it a
 * prefetch for reading, after which the write still waits for the line's other holders.
 */
static inline void spool__prefetch_write(const void *p)
{
#if defined(__x86_64__)
    __asm__ __volatile__("prefetchw %0" : : "m"(*(const char *)p));
#else
    __builtin_prefetch(p, 1);
#endif
}

static inline void spool__yield(void)
{
    (void)sched_yield();
}

/* clang takes calloc for a function that leaves errno alone, and would drop the store otherwise. */
static inline void spool__sys_restore_errno(int saved)
{
    volatile int *at = &errno;
    *at = saved;
}

/* Processors that the process may run on, at least 1: its first thread, as others may be bound to one each. */
static inline int spool__sys_cpus(void)
{
    int saved = errno;
    cpu_set_t set;
    int n = sched_getaffinity(getpid(), sizeof set, &set) == 0 ? CPU_COUNT(&set) : 2;
    spool__sys_restore_errno(saved);
    return n;
}

/* A number that nobody outside the process can foretell; another one for each address. */
static inline uint64_t spool__sys_random(const void *address)
{
    uint64_t word = 0;
    const void *bytes = (const void *)getauxval(AT_RANDOM);
    if (bytes)
        memcpy(&word, bytes, sizeof word);
    return word + (uintptr_t)address;
}

static inline int64_t spool__sys_now(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Of the pages, of this size, that lie in the block whole. */
static inline void spool__sys_advise(void *p, size_t bytes, uintptr_t page, int advice)
{
    uintptr_t from = ((uintptr_t)p + page - 1) & -page;
    (void)madvise((void *)from, ((uintptr_t)p + bytes - from) & -page, advice);
}

/*
 * Zeroed. The pages of a large block are there from the start: later each would be a fault, in the midst of a put, that
 * takes as long as some hundred puts, and longer when threads come to them together. Those of a very large block come as
 * they are used, and may be huge ones: one fault for 2 MiB instead of 512. Where the kernel knows neither (the first it
 * knows since Linux 5.14), nothing is lost.
 */
#define SPOOL__LARGE ((size_t)1 << 17)
#define SPOOL__HUGE_PAGE ((uintptr_t)1 << 21)
static inline void *spool__sys_zalloc(size_t bytes)
{
    int saved = errno;
    void *p = calloc(1, bytes);
    if (p && bytes >= 4 * SPOOL__HUGE_PAGE) {
#ifdef MADV_HUGEPAGE
        spool__sys_advise(p, bytes, SPOOL__HUGE_PAGE, MADV_HUGEPAGE);
#endif
    } else if (p && bytes >= SPOOL__LARGE) {
#ifdef MADV_POPULATE_WRITE
        spool__sys_advise(p, bytes, (uintptr_t)sysconf(_SC_PAGESIZE), MADV_POPULATE_WRITE);
#endif
    }
    spool__sys_restore_errno(saved);
    return p;
}

static inline void *spool__sys_realloc(void *old, size_t bytes)
{
    int saved = errno;
    void *p = realloc(old, bytes);
    spool__sys_restore_errno(saved);
    return p;
}

static inline void spool__sys_free(void *p)
{
    free(p);
}

static inline int spool__sys_result(long r, int saved_errno)
{
    if (r >= 0)
        return (int)r;
    r = -errno;
    spool__sys_restore_errno(saved_errno);
    return (int)r;
}

/*
 * Zeroed pages straight from the kernel, so that no lock of an allocator is involved; NULL if there are none. A few are
 * there at once, as all will be used: a fault for each takes longer. Of many, as large elements need, perhaps few will.
 */
#define SPOOL__POPULATE_MAX ((size_t)65536)
static inline void *spool__sys_map(size_t bytes)
{
    int saved = errno;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | (bytes <= SPOOL__POPULATE_MAX ? MAP_POPULATE : 0);
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    spool__sys_restore_errno(saved);
    return p == MAP_FAILED ? NULL : p;
}

/*
 * The same of one huge page, or where the kernel has none to give, of so many bytes that come page by page as they are
 * used. It begins at a multiple of its size, where Linux puts it by itself since 6.7.
 */
static inline void *spool__sys_map_huge(void)
{
    int saved = errno;
    int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;
    char *p = mmap(NULL, SPOOL__HUGE_PAGE, prot, flags, -1, 0);
    if (p != MAP_FAILED && (uintptr_t)p % SPOOL__HUGE_PAGE != 0) {
        (void)munmap(p, SPOOL__HUGE_PAGE);
        p = mmap(NULL, 2 * SPOOL__HUGE_PAGE, prot, flags, -1, 0);
        if (p != MAP_FAILED) {
            size_t before = -(uintptr_t)p % SPOOL__HUGE_PAGE;
            if (before)
                (void)munmap(p, before);
            p += before;
            (void)munmap(p + SPOOL__HUGE_PAGE, SPOOL__HUGE_PAGE - before);
        }
    }
#ifdef MADV_HUGEPAGE
    if (p != MAP_FAILED)
        (void)madvise(p, SPOOL__HUGE_PAGE, MADV_HUGEPAGE);
#endif
    spool__sys_restore_errno(saved);
    return p == MAP_FAILED ? NULL : p;
}

static inline void spool__sys_unmap(void *p, size_t bytes)
{
    int saved = errno;
    (void)munmap(p, bytes);
    spool__sys_restore_errno(saved);
}

/* The calls that take a struct timespec, with seconds as wide as the C library's time_t. */
#if defined(SYS_futex_time64) && !defined(SYS_futex)
#define SPOOL_SYS_FUTEX SYS_futex_time64
#define SPOOL_SYS_PPOLL SYS_ppoll_time64
#elif defined(SYS_futex_time64)
#define SPOOL_SYS_FUTEX (sizeof(time_t) > sizeof(long) ? SYS_futex_time64 : SYS_futex)
#define SPOOL_SYS_PPOLL (sizeof(time_t) > sizeof(long) ? SYS_ppoll_time64 : SYS_ppoll)
#else
#define SPOOL_SYS_FUTEX SYS_futex
#define SPOOL_SYS_PPOLL SYS_ppoll
#endif

/* Where seconds have 32 bits they end 68 years from the boot: nothing that is to come later may come at once. */
static inline struct timespec spool__sys_timespec(int64_t ns)
{
    int64_t s = ns / 1000000000;
    if (sizeof(time_t) < sizeof s && s > INT32_MAX)
        return (struct timespec){.tv_sec = INT32_MAX};
    return (struct timespec){.tv_sec = (time_t)s, .tv_nsec = (long)(ns % 1000000000)};
}

/* Sleeps while *word == value, until the time deadline on CLOCK_MONOTONIC (INT64_MAX: for ever). */
static inline int spool__sys_futex_wait(uint32_t *word, uint32_t value, int64_t deadline)
{
    int saved = errno;
    struct timespec ts = spool__sys_timespec(deadline);
    return spool__sys_result(syscall(SPOOL_SYS_FUTEX, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, value,
                                     deadline == INT64_MAX ? NULL : &ts, NULL, FUTEX_BITSET_MATCH_ANY),
                             saved);
}

static inline int spool__sys_futex_wake(uint32_t *word, int n)
{
    int saved = errno;
    return spool__sys_result(syscall(SPOOL_SYS_FUTEX, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, n, NULL, NULL, 0), saved);
}

static inline int spool__sys_eventfd(void)
{
    int saved = errno;
    return spool__sys_result(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), saved);
}

static inline int spool__sys_eventfd_write(int fd, uint64_t n)
{
    int saved = errno;
    return spool__sys_result(syscall(SYS_write, fd, &n, sizeof n), saved);
}

static inline int spool__sys_eventfd_read(int fd)
{
    int saved = errno;
    uint64_t n;
    return spool__sys_result(syscall(SYS_read, fd, &n, sizeof n), saved);
}

static inline int spool__sys_close(int fd)
{
    int saved = errno;
#ifdef SPOOL_TSAN
    /* It follows descriptors, and takes a number that is used again for a race if it did not see the close. */
    return spool__sys_result(close(fd), saved);
#else
    return spool__sys_result(syscall(SYS_close, fd), saved);
#endif
}

/* 0 if fd is open, else -EBADF. */
static inline int spool__sys_is_open(int fd)
{
    int saved = errno;
    int r = spool__sys_result(fcntl(fd, F_GETFD), saved);
    return r < 0 ? r : 0;
}

static inline int spool__sys_dup(int fd)
{
    int saved = errno;
    return spool__sys_result(fcntl(fd, F_DUPFD_CLOEXEC, 0), saved);
}

/* What of events, named as for epoll, fd shows now; 0 also if it is none. */
static inline uint32_t spool__sys_poll(int fd, uint32_t events)
{
    int saved = errno;
    struct pollfd p = {.fd = fd, .events = (short)(events & 0x7fff)};
    struct timespec none = {0, 0};
    int r = spool__sys_result(syscall(SPOOL_SYS_PPOLL, &p, 1ul, &none, NULL, (size_t)8), saved);
    return r > 0 && !(p.revents & POLLNVAL) ? (uint32_t)(unsigned short)p.revents : 0;
}

static inline int spool__sys_epoll_create(void)
{
    int saved = errno;
    return spool__sys_result(epoll_create1(EPOLL_CLOEXEC), saved);
}

static inline int spool__sys_epoll_ctl(int epoll, int op, int fd, uint32_t events, uint64_t data)
{
    int saved = errno;
    struct epoll_event ev = {.events = events, .data.u64 = data};
    return spool__sys_result(epoll_ctl(epoll, op, fd, &ev), saved);
}

static inline int spool__sys_epoll_wait_ms(int epoll, struct epoll_event *events, int max, int ms)
{
    int saved = errno;
    return spool__sys_result(syscall(SYS_epoll_pwait, epoll, events, max, ms, NULL, (size_t)8), saved);
}

/* Waits until the time deadline on CLOCK_MONOTONIC (INT64_MAX: for ever, 0: not at all), or -EINTR, or 0 before it. */
static inline int spool__sys_epoll_wait(int epoll, struct epoll_event *events, int max, int64_t deadline)
{
    if (deadline == 0 || deadline == INT64_MAX)
        return spool__sys_epoll_wait_ms(epoll, events, max, deadline == 0 ? 0 : -1);
    int64_t left = deadline - spool__sys_now();
    if (left < 0)
        left = 0;
#ifdef SYS_epoll_pwait2
    struct {
        int64_t tv_sec, tv_nsec;
    } ts = {left / 1000000000, left % 1000000000};
    int saved = errno;
    int r = spool__sys_result(syscall(SYS_epoll_pwait2, epoll, events, max, &ts, NULL, (size_t)8), saved);
    if (r != -ENOSYS && r != -EPERM)
        return r;
#endif
    /* Milliseconds, rounded up so as not to end early. A day at a time: the caller looks at its deadline again. */
    int64_t ms = left / 1000000 + (left % 1000000 != 0);
    return spool__sys_epoll_wait_ms(epoll, events, max, ms > 86400000 ? 86400000 : (int)ms);
}

/* ---- Timers, signals, children -------------------------------------------------------------------------------- */

/* Waits until one of n descriptors shows what is asked of it: how many; deadline and results as for epoll_wait. */
static inline int spool__sys_poll_until(struct pollfd *fds, unsigned n, int64_t deadline)
{
    int64_t left = deadline == INT64_MAX ? 0 : deadline - spool__sys_now();
    if (left < 0)
        left = 0;
    struct timespec ts = spool__sys_timespec(left);
    int saved = errno;
    return spool__sys_result(
        syscall(SPOOL_SYS_PPOLL, fds, (unsigned long)n, deadline == INT64_MAX ? NULL : &ts, NULL, (size_t)8), saved);
}

/* bytes < INT_MAX, here and below. */
static inline int spool__sys_read(int fd, void *buf, size_t bytes)
{
    int saved = errno;
    return spool__sys_result(syscall(SYS_read, fd, buf, bytes), saved);
}

/* For reading; dir as for openat(2), flags besides. */
static inline int spool__sys_open(int dir, const char *path, int flags)
{
    int saved = errno;
    return spool__sys_result(syscall(SYS_openat, dir, path, O_RDONLY | O_CLOEXEC | flags), saved);
}

static inline int spool__sys_getdents(int fd, void *buf, size_t bytes)
{
    int saved = errno;
    return spool__sys_result(syscall(SYS_getdents64, fd, buf, bytes), saved);
}

static inline int spool__sys_write(int fd, const void *buf, size_t bytes)
{
    int saved = errno;
    return spool__sys_result(syscall(SYS_write, fd, buf, bytes), saved);
}

/* Copies memory of a process, this one too, without touching it: 0; -EFAULT, -EPERM, -ESRCH, -ENOSYS. */
static inline int spool__sys_peek(pid_t pid, uintptr_t at, void *ret, size_t bytes)
{
    int saved = errno;
    struct iovec mine = {ret, bytes}, theirs = {(void *)at, bytes};
    int r = spool__sys_result(syscall(SYS_process_vm_readv, (long)pid, &mine, 1ul, &theirs, 1ul, 0ul), saved);
    return r < 0 ? r : (size_t)r == bytes ? 0 : -EFAULT;
}

static inline int spool__sys_gettid(void)
{
    return (int)syscall(SYS_gettid);
}

static inline int spool__sys_getpid(void)
{
    return (int)getpid();
}

static inline int spool__sys_timerfd(void)
{
    int saved = errno;
    return spool__sys_result(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), saved);
}

/* Fires at the time at on CLOCK_MONOTONIC, and every interval from then on unless that is 0. */
static inline int spool__sys_timerfd_set(int fd, int64_t at, int64_t interval)
{
    int saved = errno;
    struct itimerspec its = {
        .it_value = spool__sys_timespec(at),
        .it_interval = spool__sys_timespec(interval),
    };
    return spool__sys_result(timerfd_settime(fd, TFD_TIMER_ABSTIME, &its, NULL), saved);
}

/* Makes it readable now, and wakes. Kernels built without checkpointing lack it. */
static inline int spool__sys_timerfd_fire(int fd)
{
    int saved = errno;
    uint64_t ticks = 1;
    return spool__sys_result(syscall(SYS_ioctl, fd, _IOW('T', 0, uint64_t), &ticks), saved); /* TFD_IOC_SET_TICKS */
}

/* Sets of signals as the kernel has them: bit n - 1 stands for signal n. */
static inline int spool__sys_signalfd(uint64_t set)
{
    int saved = errno;
    return spool__sys_result(syscall(SYS_signalfd4, -1, &set, sizeof set, O_NONBLOCK | O_CLOEXEC), saved);
}

/* What the calling thread blocks. */
static inline uint64_t spool__sys_blocked(void)
{
    int saved = errno;
    uint64_t set = 0;
    (void)spool__sys_result(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &set, sizeof set), saved);
    return set;
}

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

static inline int spool__sys_pidfd(pid_t pid)
{
    int saved = errno;
    return spool__sys_result(syscall(SYS_pidfd_open, pid, 0u), saved);
}

/* Never waits; ret->si_pid is 0 if the child has not ended. options: 0, or WNOWAIT to leave it there. */
static inline int spool__sys_waitid(int pidfd, siginfo_t *ret, int options)
{
    int saved = errno;
    options |= WEXITED | WNOHANG;
    return spool__sys_result(syscall(SYS_waitid, 3 /* P_PIDFD */, pidfd, ret, options, NULL), saved);
}

#endif
#endif
