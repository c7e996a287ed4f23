/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* A child of fork(2): it can start threads of its own, and what it closes stays open in the process that it came from.
 */
#include "select_util.h"

#include <sys/wait.h>

#include "spool.h"

/* What the child says by its exit status: the line of the first thing that was not so, or 0. */
#define CHILD_MUST(cond)                                                                                               \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            printf("in the child, %s:%d: not so: %s\n", __FILE__, __LINE__, #cond);                                    \
            fflush(stdout);                                                                                            \
            _exit(EXIT_FAILURE);                                                                                       \
        }                                                                                                              \
    } while (0)

/* AddressSanitizer would take for leaked what the stacks of its parent's other threads hold. */
static void child_end(void)
{
    if (UNDER_ASAN)
        _exit(EXIT_SUCCESS);
    exit(EXIT_SUCCESS);
}

static void child_must_succeed(pid_t pid)
{
    int status = -1;
    must(pid > 0);
    while (waitpid(pid, &status, 0) < 0)
        must_be(errno, EINTR);
    must(WIFEXITED(status));
    must_be(WEXITSTATUS(status), EXIT_SUCCESS);
}

static void answer(void *arg)
{
    uint64_t value = 0;
    (void)arg;
    while (spool_get(spool_self(), &value) == 0 && spool_put(spool_self(), &value) == 0)
        ;
}

/* True if a thread of spool_go answers. */
static bool is_answered(uint64_t value)
{
    spool_chan *chan = NULL;
    uint64_t back = 0;
    bool good = spool_go(&chan, answer, NULL, sizeof value, 1) == 0 && spool_put_for(chan, &value, DEADLINE) == 0 &&
                spool_get_for(chan, &back, DEADLINE) == 0 && back == value;
    spool_unref(chan);
    return good;
}

static bool forks_meanwhile;

/* ThreadSanitizer's own start makes the call, too, before it can bear to be told of any. */
#if UNDER_TSAN && defined(__clang__)
#define UNWATCHED __attribute__((disable_sanitizer_instrumentation))
#elif UNDER_TSAN
#define UNWATCHED __attribute__((no_sanitize_thread))
#else
#define UNWATCHED
#endif

int __real_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
int __wrap_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

/* In a child that was forked while spool_go of another thread was about to prepare for that. */
static void *fork_meanwhile(void *arg)
{
    pid_t pid = fork();
    (void)arg;
    if (pid == 0) {
        CHILD_MUST(is_answered(1));
        pid = fork();
        if (pid == 0) {
            CHILD_MUST(is_answered(2));
            child_end();
        }
        child_must_succeed(pid);
        child_end();
    }
    child_must_succeed(pid);
    return NULL;
}

static void let_fork_meanwhile(void)
{
    pthread_t thread;
    forks_meanwhile = false;
    must_be(pthread_create(&thread, NULL, fork_meanwhile, NULL), 0);
    must_be(pthread_join(thread, NULL), 0);
}

UNWATCHED int __wrap_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    int r = __real_pthread_atfork(prepare, parent, child);
    if (forks_meanwhile)
        let_fork_meanwhile();
    return r;
}

START_TEST(forked_while_it_prepares)
{
    forks_meanwhile = true;
    must(is_answered(3));
    must(!forks_meanwhile);
}
END_TEST

static void *name_until_told(void *chan)
{
    static bool stop;
    if (!chan) {
        __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
        return NULL;
    }
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
        must_be(spool_set_name(chan, "parent"), 0);
    return NULL;
}

/* In a process that has started no thread of spool_go so far. */
START_TEST(forked_while_another_thread_names)
{
    spool_chan *chan = NULL;
    pthread_t thread;
    must_be(spool_chan_new(&chan, 8, 1), 0);
    must_be(pthread_create(&thread, NULL, name_until_told, chan), 0);
    fflush(stdout);
    for (int i = 0; i < 200; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            (void)signal(SIGALRM, SIG_DFL); /* Check catches it */
            alarm(20);
            CHILD_MUST(spool_set_name(chan, "child") == 0);
            _exit(EXIT_SUCCESS);
        }
        child_must_succeed(pid);
    }
    (void)name_until_told(NULL);
    must_be(pthread_join(thread, NULL), 0);
    spool_unref(chan);
}
END_TEST

/* The parent has a thread that runs, and one that is kept for reuse; the child has neither. */
START_TEST(threads_do_not_go_over)
{
    spool_chan *running = NULL;
    must(is_answered(1));
    must_be(spool_go_wait(DEADLINE), 0);
    must_be(spool_go(&running, answer, NULL, sizeof(uint64_t), 1), 0);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        CHILD_MUST(spool_go_wait(0) == 0);
        CHILD_MUST(is_answered(2));
        CHILD_MUST(is_answered(3));
        CHILD_MUST(spool_go_wait(DEADLINE) == 0);
        child_end();
    }
    child_must_succeed(pid);
    must_be(spool_go_wait(0), -EAGAIN);
    must(is_answered(4));
    spool_unref(running);
    must_be(spool_go_wait(DEADLINE), 0);
}
END_TEST

static void fork_here(void *arg)
{
    pid_t *pid = arg;
    fflush(stdout);
    *pid = fork();
    if (*pid == 0) {
        CHILD_MUST(spool_self() != NULL);
        CHILD_MUST(spool_go_wait(DEADLINE) == -EDEADLK);
        CHILD_MUST(is_answered(5));
        child_end();
    }
}

/* Then that thread is the child's only one. */
START_TEST(forked_inside_a_thread)
{
    spool_chan *chan = NULL;
    pid_t pid = -1;
    must_be(spool_go(&chan, fork_here, &pid, 0, 1), 0);
    must_be(spool_get(chan, NULL), -EPIPE);
    must_be(spool_go_wait(DEADLINE), 0);
    child_must_succeed(pid);
    spool_unref(chan);
}
END_TEST

static int make_source(spool_chan **ret, int which)
{
    if (which == 0)
        return spool_never(ret);
    if (which == 1)
        return spool_tick(ret, 3600 * SEC);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    must_be(pthread_sigmask(SIG_BLOCK, &mask, NULL), 0);
    return spool_signal(ret, &mask);
}

/* The kernel's objects are shared by both: closing in one is not to be seen by the other. */
START_TEST(closing_in_the_child_is_its_own)
{
    spool_chan *chan = NULL;
    uint64_t elem[16];
    must_be(make_source(&chan, _i), 0);
    int fd = spool_fd(chan);
    must(fd >= 0);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        CHILD_MUST(spool_close(chan) == 0);
        CHILD_MUST(!spool_alive(chan));
        CHILD_MUST(spool_try_get(chan, elem) == -EPIPE);
        spool_unref(chan);
        child_end();
    }
    child_must_succeed(pid);
    must(spool_alive(chan));
    must(!fd_readable(fd));
    must_be(spool_try_get(chan, elem), -EAGAIN);
    must_be(spool_close(chan), 0);
    must(fd_readable(fd));
    spool_unref(chan);
}
END_TEST

static void *wait_in_select(void *arg)
{
    must_be(spool_select_wait(arg, -1), 0);
    return NULL;
}

/* The epoll set is shared by both: what the child gives up goes on to wake the parent. */
START_TEST(a_select_is_freed_in_the_child)
{
    static const size_t capacities[] = {1, SPOOL_UNBOUNDED, 0};
    spool_chan *chan = chan_of(capacities[_i]), *other = chan_of(1);
    spool_select *sel = select_of();
    uint64_t elem = 7, got = 0;
    pthread_t waiter;
    must_be(spool_select_get(sel, chan, &got), 0);
    must_be(spool_select_get(sel, other, &got), 1);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        CHILD_MUST(spool_select_free(sel) == NULL);
        spool_unref(chan);
        spool_unref(other);
        child_end();
    }
    child_must_succeed(pid);
    must_be(pthread_create(&waiter, NULL, wait_in_select, sel), 0);
    must_be(spool_put_for(chan, &elem, DEADLINE), 0);
    must_be(pthread_join(waiter, NULL), 0);
    must_be(got, 7);
    spool_select_free(sel);
    spool_unref(chan);
    spool_unref(other);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fork");
    TCase *tc = case_new(suite, "go");
    tcase_add_test(tc, threads_do_not_go_over);
    tcase_add_test(tc, forked_inside_a_thread);
    tcase_add_test(tc, forked_while_it_prepares);
    tcase_add_test(tc, forked_while_another_thread_names);
    tc = case_new(suite, "close");
    tcase_add_loop_test(tc, closing_in_the_child_is_its_own, 0, 3);
    tcase_add_loop_test(tc, a_select_is_freed_in_the_child, 0, 3);
    return run_suite(suite, "fork");
}
