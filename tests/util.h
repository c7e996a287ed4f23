/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_TEST_UTIL_H
#define SPOOL_TEST_UTIL_H

/*
 * What the test programs share. Include it first: it asks for the GNU parts of the C library.
 *
 * Check records every ck_assert that passes with a write to its pipe, which is far too slow (and too orderly) for a
 * stress loop, so the tests use must() and must_be(), which cost a branch when they pass. They may fail in any thread.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "spool.h"

#define US INT64_C(1000)
#define MS INT64_C(1000000)
#define SEC INT64_C(1000000000)

#ifdef __has_feature
#define TEST_HAS_FEATURE(x) __has_feature(x)
#else
#define TEST_HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || TEST_HAS_FEATURE(thread_sanitizer)
#define UNDER_TSAN 1
#else
#define UNDER_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__) || TEST_HAS_FEATURE(address_sanitizer)
#define UNDER_ASAN 1
#else
#define UNDER_ASAN 0
#endif

/* How much longer everything may take under a sanitizer. */
#define SLOWDOWN (UNDER_TSAN ? 5 : UNDER_ASAN ? 3 : 1)
/* An event that has not come by then never will. */
#define DEADLINE (60 * SEC * SLOWDOWN)

/* The tests ask for sizes that no machine has, and expect an error rather than an abort. */
#if UNDER_TSAN
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1:atexit_sleep_ms=0:die_after_fork=0";
}
#endif
#if UNDER_ASAN
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1:detect_stack_use_after_return=1";
}
#endif

/* ---- Checks --------------------------------------------------------------------------------------------------- */

#define must(cond)                                                                                                     \
    do {                                                                                                               \
        if (!(cond))                                                                                                   \
            ck_abort_msg("not so: %s", #cond);                                                                         \
    } while (0)

/* For integers: says what it got. */
#define must_be(expr, want)                                                                                            \
    do {                                                                                                               \
        long long must_got_ = (long long)(expr);                                                                       \
        long long must_want_ = (long long)(want);                                                                      \
        if (must_got_ != must_want_)                                                                                   \
            ck_abort_msg("%s is %lld, not %lld (%s)", #expr, must_got_, must_want_, #want);                            \
    } while (0)

/* Waits for the event, not for a time. */
#define wait_until(cond)                                                                                               \
    do {                                                                                                               \
        int64_t wait_end_ = now_ns() + DEADLINE;                                                                       \
        while (!(cond)) {                                                                                              \
            if (now_ns() > wait_end_)                                                                                  \
                ck_abort_msg("never came true: %s", #cond);                                                            \
            nap();                                                                                                     \
        }                                                                                                              \
    } while (0)

/* ---- Time and amounts ----------------------------------------------------------------------------------------- */

static inline int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * SEC + ts.tv_nsec;
}

/* Between two looks at a condition. */
static inline void nap(void)
{
    struct timespec ts = {0, 100 * US};

    nanosleep(&ts, NULL);
}

/* For a window over which something is measured; never to let "enough" time pass. */
static inline void sleep_ns(int64_t ns)
{
    struct timespec ts = {ns / SEC, ns % SEC};

    while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
        ;
}

/* SPOOL_TEST_SCALE multiplies the iterations of the stress tests: 0.1 for a quick look, 100 for a night. */
static inline double scale(void)
{
    const char *s = getenv("SPOOL_TEST_SCALE");
    double value = s ? atof(s) : 1.0;

    return value > 0 ? value : 1.0;
}

static inline size_t scaled(size_t n)
{
    double value = (double)n * scale() / (UNDER_TSAN ? 4 : UNDER_ASAN ? 2 : 1);

    return value < 1 ? 1 : (size_t)value;
}

static inline uint64_t rnd(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

/* ---- What the kernel knows of this process -------------------------------------------------------------------- */

static inline int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    int n = 0;

    must(dir);
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

static inline int count_fds(void)
{
    return count_entries("/proc/self/fd") - 1; /* the directory itself was open */
}

static inline void *tell_tid_and_end(void *arg)
{
    *(pid_t *)arg = (pid_t)syscall(SYS_gettid);
    return NULL;
}

static inline int count_threads(void)
{
    static bool counted;
    pthread_t thread;
    pid_t tid = 0;
    char path[64];

    /* ThreadSanitizer adds a thread of its own to the first that is made. */
    if (UNDER_TSAN && !counted) {
        counted = true;
        must_be(pthread_create(&thread, NULL, tell_tid_and_end, &tid), 0);
        must_be(pthread_join(thread, NULL), 0);
        snprintf(path, sizeof(path), "/proc/self/task/%d", (int)tid);
        wait_until(access(path, F_OK) < 0);
    }
    return count_entries("/proc/self/task");
}

/* Reads a file of /proc/self/task/TID; false if the thread is gone or the kernel hides the file. */
static inline bool task_file(pid_t tid, const char *name, char *buf, size_t size)
{
    char path[64];
    int fd;
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/self/task/%d/%s", (int)tid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, buf, size - 1);
    close(fd);
    if (n <= 0)
        return false;
    buf[n] = '\0';
    return true;
}

static inline char task_state(pid_t tid)
{
    char buf[1024];
    char *paren;

    if (!task_file(tid, "stat", buf, sizeof(buf)))
        return '?';
    paren = strrchr(buf, ')');
    return paren && paren[1] ? paren[2] : '?';
}

/* The system call a thread sleeps in; -1 while it runs or where the kernel does not say. */
static inline long task_syscall(pid_t tid)
{
    char buf[256];

    if (!task_file(tid, "syscall", buf, sizeof(buf)) || buf[0] < '0' || buf[0] > '9')
        return -1;
    return strtol(buf, NULL, 10);
}

static inline bool task_comm(pid_t tid, char comm[static 17])
{
    if (!task_file(tid, "comm", comm, 17))
        return false;
    comm[strcspn(comm, "\n")] = '\0';
    return true;
}

/* How often a thread went to sleep by itself. */
static inline long task_sleeps(pid_t tid)
{
    char buf[8192];
    char *line;

    if (!task_file(tid, "status", buf, sizeof(buf)))
        return -1;
    line = strstr(buf, "\nvoluntary_ctxt_switches:");
    return line ? strtol(line + sizeof("\nvoluntary_ctxt_switches:") - 1, NULL, 10) : -1;
}

static inline bool is_wait_syscall(long nr)
{
    switch (nr) {
    case SYS_futex:
#ifdef SYS_epoll_wait
    case SYS_epoll_wait:
#endif
#ifdef SYS_poll
    case SYS_poll:
#endif
    case SYS_epoll_pwait:
#ifdef SYS_epoll_pwait2
    case SYS_epoll_pwait2:
#endif
    case SYS_ppoll:
    case SYS_pselect6:
    case SYS_nanosleep:
    case SYS_clock_nanosleep:
        return true;
    default:
        return false;
    }
}

/* Asleep in a call that waits, and still in the same sleep a moment later (not on some lock for an instant). */
static inline bool task_asleep(pid_t tid)
{
    long sleeps;
    long nr;

    if (tid <= 0 || task_state(tid) != 'S')
        return false;
    nr = task_syscall(tid);
    if (nr >= 0 && !is_wait_syscall(nr))
        return false;
    sleeps = task_sleeps(tid);
    for (int i = 0; i < 10; i++)
        nap();
    return task_state(tid) == 'S' && task_sleeps(tid) == sleeps;
}

static inline void wait_asleep(pid_t tid)
{
    wait_until(task_asleep(tid));
}

static inline pid_t self_tid(void)
{
    return (pid_t)syscall(SYS_gettid);
}

/* ---- Signals -------------------------------------------------------------------------------------------------- */

/* Without SA_RESTART, so that every call in the way sees EINTR. */
static inline void on_signal(int signo, void (*handler)(int))
{
    struct sigaction sa;

    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = handler;
    sigemptyset(&sa.sa_mask);
    must_be(sigaction(signo, &sa, NULL), 0);
}

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/*
 * A storm of signals upon one thread, from the kernel's own timer. That thread must not end before the storm begins:
 * one whose call ends by itself makes it, see worker.storm_ns.
 */
static inline timer_t storm_begin(pid_t tid, int signo, int64_t every_ns)
{
    struct sigevent ev;
    struct itimerspec its;
    timer_t timer;

    memset(&ev, 0, sizeof(ev));
    ev.sigev_notify = SIGEV_THREAD_ID;
    ev.sigev_signo = signo;
    ev.sigev_notify_thread_id = tid;
    must_be(timer_create(CLOCK_MONOTONIC, &ev, &timer), 0);
    its.it_interval.tv_sec = its.it_value.tv_sec = every_ns / SEC;
    its.it_interval.tv_nsec = its.it_value.tv_nsec = every_ns % SEC;
    must_be(timer_settime(timer, 0, &its, NULL), 0);
    return timer;
}

static inline void storm_end(timer_t timer)
{
    must_be(timer_delete(timer), 0);
}

/* ---- Threads -------------------------------------------------------------------------------------------------- */

/* A thread that makes one call (or many) and keeps how it went. Zero it, fill in what fn needs, start it. */
struct worker {
    pthread_t thread;
    int (*fn)(struct worker *w);
    spool_chan *chan;
    spool_select *sel;
    void *elem;
    int64_t timeout_ns;
    size_t index;
    size_t count;
    void *more;
    int64_t storm_ns; /* SIGUSR1 this often during the call, if it is not 0 */
    _Atomic pid_t tid;
    atomic_bool done;
    int rc;
    int64_t took_ns;
};

static inline void *worker_main(void *arg)
{
    struct worker *w = arg;
    timer_t storm = 0;
    int64_t start;

    atomic_store(&w->tid, self_tid());
    if (w->storm_ns)
        storm = storm_begin(self_tid(), SIGUSR1, w->storm_ns);
    start = now_ns();
    w->rc = w->fn(w);
    w->took_ns = now_ns() - start;
    if (w->storm_ns)
        storm_end(storm);
    atomic_store(&w->done, true);
    return NULL;
}

static inline void worker_start(struct worker *w, int (*fn)(struct worker *w))
{
    w->fn = fn;
    atomic_store(&w->tid, 0);
    atomic_store(&w->done, false);
    must_be(pthread_create(&w->thread, NULL, worker_main, w), 0);
}

/* Started, and asleep in its call. Fails if the call returned instead, so that must not be a matter of time. */
static inline void worker_wait_asleep(struct worker *w)
{
    wait_until(atomic_load(&w->done) || task_asleep(atomic_load(&w->tid)));
    must(!atomic_load(&w->done));
}

static inline int worker_join(struct worker *w)
{
    wait_until(atomic_load(&w->done));
    must_be(pthread_join(w->thread, NULL), 0);
    return w->rc;
}

static inline int worker_get(struct worker *w)
{
    return spool_get(w->chan, w->elem);
}

static inline int worker_get_for(struct worker *w)
{
    return spool_get_for(w->chan, w->elem, w->timeout_ns);
}

static inline int worker_put(struct worker *w)
{
    return spool_put(w->chan, w->elem);
}

static inline int worker_put_for(struct worker *w)
{
    return spool_put_for(w->chan, w->elem, w->timeout_ns);
}

/* ---- Elements ------------------------------------------------------------------------------------------------- */

/*
 * Every byte of an element follows from its tag, so a torn or stale byte shows. Those of eight bytes and more begin with
 * the tag, smaller ones with its low byte alone: of a small number the others would be zero.
 */
static inline unsigned char elem_byte(size_t size, uint64_t tag, size_t i)
{
    if (i < 8 && (size >= 8 || i == 0))
        return (unsigned char)(tag >> (8 * i));
    return (unsigned char)((tag ^ (tag >> 17)) * 31 + i * 7);
}

static inline void elem_fill(void *elem, size_t size, uint64_t tag)
{
    unsigned char *p = elem;

    for (size_t i = 0; i < size; i++)
        p[i] = elem_byte(size, tag, i);
}

static inline bool elem_is(const void *elem, size_t size, uint64_t tag)
{
    const unsigned char *p = elem;

    for (size_t i = 0; i < size; i++) {
        if (p[i] != elem_byte(size, tag, i))
            return false;
    }
    return true;
}

/* For elements of 8 bytes or more. */
static inline uint64_t elem_tag(const void *elem)
{
    const unsigned char *p = elem;
    uint64_t tag = 0;

    for (size_t i = 0; i < 8; i++)
        tag |= (uint64_t)p[i] << (8 * i);
    return tag;
}

/* ---- Flavours ------------------------------------------------------------------------------------------------- */

/* A rendezvous holds nothing: every put needs a get at the same time. */
static inline bool is_meet(const spool_chan *chan)
{
    return spool_capacity(chan) == 0;
}

static inline bool is_unbounded(const spool_chan *chan)
{
    return spool_capacity(chan) == SPOOL_UNBOUNDED;
}

/* Can be full. */
static inline bool is_bounded(const spool_chan *chan)
{
    return !is_meet(chan) && !is_unbounded(chan);
}

/* How many elements to put where it says as many as fit: no end is known of an unbounded channel. */
static inline size_t fill_of(const spool_chan *chan, size_t enough)
{
    return is_unbounded(chan) ? enough : spool_capacity(chan);
}

/* ---- Descriptors ---------------------------------------------------------------------------------------------- */

static inline bool fd_readable(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    int n;

    do
        n = poll(&p, 1, 0);
    while (n < 0 && errno == EINTR);
    must(n >= 0);
    return n == 1 && (p.revents & POLLIN);
}

/* True if it became readable within the deadline. */
static inline bool fd_wait_readable(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    int64_t end = now_ns() + DEADLINE;
    int n;

    do
        n = poll(&p, 1, (int)(DEADLINE / MS));
    while (n < 0 && errno == EINTR && now_ns() < end);
    return n == 1 && (p.revents & POLLIN);
}

/* ---- Running -------------------------------------------------------------------------------------------------- */

/* Tests run in a child, so what they skip is told through shared memory. */
struct skips {
    atomic_int count;
    atomic_int begun;
    char text[4096];
    size_t used;
};

static struct skips *test_skips;

/* Says that this test cannot run here, and why. Return from the test afterwards. */
static inline void skip(const char *test, const char *why)
{
    if (!test_skips)
        return;
    test_skips->used += (size_t)snprintf(test_skips->text + test_skips->used,
                                         sizeof(test_skips->text) - test_skips->used, "skipped %s: %s\n", test, why);
    if (test_skips->used >= sizeof(test_skips->text))
        test_skips->used = sizeof(test_skips->text) - 1;
    atomic_fetch_add(&test_skips->count, 1);
}

/* The number of the test that this process is for, as text. */
static char test_number[16];

/* Ended from outside, as by a limit of time: says where. */
static inline void tell_test(int signo)
{
    const char *const parts[] = {"ended during ", tcase_name(), ", test ", test_number, "\n"};

    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
        (void)!write(STDOUT_FILENO, parts[i], parts[i] ? strlen(parts[i]) : 0);
    signal(signo, SIG_DFL);
    raise(signo);
}

static inline void begin_test(void)
{
    int n = test_skips ? atomic_fetch_add(&test_skips->begun, 1) + 1 : 0;

    snprintf(test_number, sizeof(test_number), "%d", n);
    signal(SIGTERM, tell_test);
}

/* A case whose tests have time to miss a deadline or two and say so. */
static inline TCase *case_new(Suite *suite, const char *name)
{
    TCase *tc = tcase_create(name);
    double slow = scale() > 1 ? scale() : 1;

    tcase_set_timeout(tc, 150.0 * SLOWDOWN * slow);
    tcase_add_checked_fixture(tc, begin_test, NULL);
    suite_add_tcase(suite, tc);
    return tc;
}

/* Runs everything and ends with the line "NAME: N passed, N failed, N skipped". Returns the exit status. */
static inline int run_suite(Suite *suite, const char *name)
{
    SRunner *runner = srunner_create(suite);
    TestResult **results;
    int run;
    int failed;
    int skipped;

    test_skips = mmap(NULL, sizeof(*test_skips), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (test_skips == MAP_FAILED) {
        test_skips = NULL;
        fprintf(stderr, "%s: no memory\n", name);
        return EXIT_FAILURE;
    }
    srunner_run_all(runner, CK_SILENT);
    run = srunner_ntests_run(runner);
    failed = srunner_ntests_failed(runner);
    skipped = atomic_load(&test_skips->count);
    results = srunner_failures(runner);
    for (int i = 0; i < failed; i++) {
        printf("FAILED %s:%d: %s/%s: %s\n", tr_lfile(results[i]) ? tr_lfile(results[i]) : "?", tr_lno(results[i]), name,
               tr_tcname(results[i]), tr_msg(results[i]));
    }
    free(results);
    fputs(test_skips->text, stdout);
    printf("%s: %d passed, %d failed, %d skipped\n", name, run - failed - skipped, failed, skipped);
    fflush(stdout);
    srunner_free(runner);
    munmap(test_skips, sizeof(*test_skips));
    if (failed > 0 || run == 0)
        return EXIT_FAILURE;
    return run == skipped ? 77 : EXIT_SUCCESS;
}

#endif
