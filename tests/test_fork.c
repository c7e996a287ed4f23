/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* A child of fork(2): it can start threads of its own, and what it closes stays open in the process that it came from.
 */
#include "fork_util.h"
#include "select_util.h"

static spool_chan *named;
static pthread_t namer;
static atomic_bool stops_naming;
static atomic_int n_named;

static void *name_until_told(void *arg)
{
    (void)arg;
    while (!atomic_load(&stops_naming)) {
        must_be(spool_set_name(named, "parent"), 0);
        atomic_fetch_add(&n_named, 1);
    }
    return NULL;
}

static void begin_to_name(void)
{
    must_be(pthread_create(&namer, NULL, name_until_told, NULL), 0);
}

static void end_naming(void)
{
    atomic_store(&stops_naming, true);
    must_be(pthread_join(namer, NULL), 0);
}

static void fork_and_name(void)
{
    pid_t pid;
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        (void)signal(SIGALRM, SIG_DFL); /* Check catches it */
        alarm(20);
        CHILD_MUST(spool_set_name(named, "child") == 0);
        _exit(EXIT_SUCCESS);
    }
    child_must_succeed(pid);
}

/* In a process that has started no thread of spool_go so far. */
START_TEST(forked_while_another_thread_names)
{
    must_be(spool_chan_new(&named, 8, 1), 0);
    begin_to_name();
    for (int i = 0; i < 200; i++)
        fork_and_name();
    end_naming();
    spool_unref(named);
}
END_TEST

/* What somebody else does in a fork, before the process is copied: then what is registered meanwhile is not called. */
static bool names_in_fork;

static void prepare(void)
{
    if (!names_in_fork)
        return;
    names_in_fork = false;
    begin_to_name();
    wait_until(atomic_load(&n_named) > 0);
}

START_TEST(forked_as_another_thread_begins_to_name)
{
    must_be(spool_chan_new(&named, 8, 1), 0);
    names_in_fork = true;
    fork_and_name();
    must(!names_in_fork);
    end_naming();
    spool_unref(named);
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
    must_be(pthread_atfork(prepare, NULL, NULL), 0);
    TCase *tc = case_new(suite, "go");
    tcase_add_test(tc, threads_do_not_go_over);
    tcase_add_test(tc, forked_inside_a_thread);
    tcase_add_test(tc, forked_while_another_thread_names);
    tcase_add_loop_test(tc, forked_as_another_thread_begins_to_name, 0, 20);
    tc = case_new(suite, "close");
    tcase_add_loop_test(tc, closing_in_the_child_is_its_own, 0, 3);
    tcase_add_loop_test(tc, a_select_is_freed_in_the_child, 0, 3);
    return run_suite(suite, "fork");
}
