/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * What others may do to a channel's descriptor and process although they were told not to: read it, close it, fork,
 * exec, cancel a thread, exit. What is promised still holds; what is lost is said here. (test_fd.c has strangers that
 * write, saturate and duplicate.)
 */

#include "source_util.h"

static const size_t flavours_here[] = {2, SPOOL_UNBOUNDED, 0};

enum { N_HERE = 3 };

static void finish_child(pid_t pid, int want)
{
    int status = 0;
    int64_t end = now_ns() + DEADLINE;
    pid_t got;
    while ((got = waitpid(pid, &status, WNOHANG)) == 0 && now_ns() < end)
        nap();
    if (got == 0) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        ck_abort_msg("the child hangs");
    }
    must_be(got, pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != want)
        ck_abort_msg("the child ended with status %x, not exit code %d", (unsigned)status, want);
}

/* ---- Reading -------------------------------------------------------------------------------------------------- */

static uint64_t steal(int fd)
{
    uint64_t n = 0;
    return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

/* A stranger's read takes the wake of a poller, who may miss it: until the next put, or until somebody looks. */
START_TEST(a_reader_steals_from_a_poller_only)
{
    spool_chan *c = chan_of(8);
    int fd = spool_fd(c);
    uint64_t v = 1, got = 0;
    must(fd >= 0);
    must_be(spool_put(c, &v), 0);
    must(fd_readable(fd));
    must(steal(fd) > 0);
    /* This is the loss: there is an element, and a poller would sleep. */
    must(!fd_readable(fd));
    /* But nobody who asks the channel is misled. */
    must_be(spool_len(c), 1);
    must_be(spool_try_get(c, &got), 0);
    must_be(got, 1);
    /* A look that finds nothing makes it right again. */
    must_be(spool_try_get(c, &got), -EAGAIN);
    must_be(spool_put(c, &v), 0);
    must(fd_readable(fd));
    must_be(spool_get(c, &got), 0);
    spool_unref(c);
}
END_TEST

/* It reads for as long as it can while threads pass elements: they do not use the descriptor to wait. */
static int reads_all_the_time(struct worker *w)
{
    while (!atomic_load((atomic_bool *)w->more))
        if (steal((int)w->index) == 0)
            sched_yield();
    return 0;
}

static int puts_many(struct worker *w)
{
    for (uint64_t i = 1; i <= w->count; i++)
        must_be(spool_put(w->chan, &i), 0);
    return 0;
}

START_TEST(blocking_calls_do_not_mind_a_reader)
{
    spool_chan *c = chan_of(flavours_here[_i]);
    atomic_bool stop = false;
    struct worker thief = {.more = &stop, .index = (size_t)spool_fd(c)};
    struct worker putter = {.chan = c, .count = scaled(500)};
    uint64_t got;
    must(spool_put_fd(c) >= 0);
    worker_start(&thief, reads_all_the_time);
    worker_start(&putter, puts_many);
    for (uint64_t i = 1; i <= putter.count; i++) {
        must_be(spool_get_for(c, &got, DEADLINE), 0);
        must_be(got, i);
    }
    must_be(worker_join(&putter), 0);
    atomic_store(&stop, true);
    must_be(worker_join(&thief), 0);
    spool_unref(c);
}
END_TEST

/*
 * A select is a poller of its channels too. Its wake can be stolen: a wait with a limit of time may then come to the
 * end of that beside an element, and one without may sleep. One that only looks finds it.
 */
START_TEST(a_reader_steals_from_a_select)
{
    spool_chan *c = chan_of(4);
    spool_select *sel = select_of();
    uint64_t into = 0, v = 1;
    int r, fd = spool_fd(c);
    must_be(spool_select_get(sel, c, &into), 0);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    must_be(spool_put(c, &v), 0);
    must(steal(fd) > 0);
    r = spool_select_wait(sel, 3 * MS);
    must(r == 0 || r == -ETIMEDOUT);
    if (r < 0)
        must_be(spool_select_wait(sel, 0), 0);
    must_be(into, 1);
    /* From then on all is well. */
    for (v = 2; v < 5; v++) {
        must_be(spool_select_wait(sel, 0), -EAGAIN);
        must_be(spool_put(c, &v), 0);
        must_be(spool_select_wait(sel, DEADLINE), 0);
        must_be(into, v);
    }
    spool_select_free(sel);
    spool_unref(c);
}
END_TEST

/* ---- Closing -------------------------------------------------------------------------------------------------- */

/*
 * The descriptor is closed behind the library's back and its number is a pipe now. Threads that put and get do not need
 * it. What is written to wake pollers goes into the pipe, and what is read to make it unreadable is taken from there:
 * this is what such a program has to expect. The last unref closes the pipe.
 */
START_TEST(a_number_that_is_used_again)
{
    spool_chan *c = chan_of(flavours_here[_i]);
    int fd = spool_fd(c), pipes[2], n = 0;
    uint64_t v = 7, got = 0;
    struct worker w = {.chan = c, .elem = &got};
    must_be(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
    must_be(close(fd), 0);
    must_be(dup3(pipes[1], fd, O_CLOEXEC), fd);
    for (int i = 0; i < 3; i++) {
        worker_start(&w, worker_get);
        worker_wait_asleep(&w);
        v++;
        must_be(spool_put(c, &v), 0);
        must_be(worker_join(&w), 0);
        must_be(got, v);
        must_be(spool_try_get(c, &got), -EAGAIN);
    }
    if (!is_meet(c)) {
        must_be(spool_put(c, &v), 0);
        must_be(spool_get(c, &got), 0);
    }
    must_be(spool_close(c), 0);
    must_be(spool_try_get(c, &got), -EPIPE);
    while (steal(pipes[0]) > 0)
        n++;
    must(n > 0);
    spool_unref(c);
    must(fcntl(fd, F_GETFD) < 0 && errno == EBADF);
    close(pipes[0]);
    close(pipes[1]);
}
END_TEST

/* A select notices nothing that its channels' owner did to descriptors: it must neither hang nor spin on a call. */
START_TEST(a_select_over_a_closed_descriptor)
{
    spool_chan *c = chan_of(2), *other = chan_of(2);
    spool_select *sel = select_of();
    uint64_t into = 0, into_other = 0, v = 3;
    int fd;
    must_be(spool_select_get(sel, c, &into), 0);
    must_be(spool_select_get(sel, other, &into_other), 1);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    fd = spool_fd(c);
    must_be(close(fd), 0);
    must_be(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), fd);
    must_be(spool_put(other, &v), 0);
    must_be(spool_select_wait(sel, DEADLINE), 1);
    must_be(into_other, 3);
    must_be(spool_select_wait(sel, 5 * MS), -ETIMEDOUT);
    /* The wake goes nowhere, but a look finds the element: with a limit of time it comes late, not never. */
    must_be(spool_put(c, &v), 0);
    must_be(spool_select_wait(sel, 0), 0);
    must_be(into, 3);
    must_be(spool_select_remove(sel, 0), 0);
    spool_select_free(sel);
    spool_unref(c);
    spool_unref(other);
}
END_TEST

/* ---- fork and exec -------------------------------------------------------------------------------------------- */

/* Queues are memory: the child has a copy of its own, and of the elements. Its parent's are as they were. */
START_TEST(a_forked_child_has_copies)
{
    spool_chan *c = chan_of(flavours_here[_i]);
    uint64_t v = 1, got = 0;
    pid_t pid;
    if (!is_meet(c)) {
        must_be(spool_put(c, &v), 0);
        v = 2;
        must_be(spool_put(c, &v), 0);
    }
    pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        bool fine = true;
        if (!is_meet(c))
            fine = spool_try_get(c, &got) == 0 && got == 1 && spool_try_get(c, &got) == 0 && got == 2;
        fine = fine && spool_try_get(c, &got) == -EAGAIN && spool_get_for(c, &got, MS) == -ETIMEDOUT;
        fine = fine && spool_close(c) == 0 && spool_get(c, &got) == -EPIPE;
        spool_unref(c);
        /* And what it makes anew is whole. */
        c = NULL;
        fine = fine && spool_chan_new(&c, 8, 1) == 0 && spool_put(c, &v) == 0 && spool_get(c, &got) == 0 && got == v;
        spool_unref(c);
        _exit(fine ? 0 : 1);
    }
    finish_child(pid, 0);
    must(spool_alive(c));
    if (!is_meet(c)) {
        for (uint64_t i = 1; i <= 2; i++) {
            must_be(spool_try_get(c, &got), 0);
            must_be(got, i);
        }
    }
    must_be(spool_try_get(c, &got), -EAGAIN);
    spool_unref(c);
}
END_TEST

/*
 * Descriptors are shared with a forked child, so a child that closes a channel which its parent polls makes that
 * readable, without reason, until the parent looks. Nothing else happens to the parent.
 */
START_TEST(a_forked_child_may_disturb_a_poller)
{
    spool_chan *c = chan_of(2);
    int fd = spool_fd(c);
    uint64_t v = 1, got = 0;
    pid_t pid = fork();
    must(pid >= 0);
    if (pid == 0)
        _exit(spool_close(c) == 0 ? 0 : 1);
    finish_child(pid, 0);
    must(spool_alive(c));
    must_be(spool_try_get(c, &got), -EAGAIN);
    must(!fd_readable(fd));
    must_be(spool_put(c, &v), 0);
    must(fd_readable(fd));
    must_be(spool_get(c, &got), 0);
    spool_unref(c);
}
END_TEST

/* With one of everything that has descriptors, a program that is executed has those that it had without. */
START_TEST(nothing_is_left_open_by_exec)
{
    int before = 0, after = 0, pipes[2], threads = 0;
    sigset_t set;
    spool_chan *c[8];
    spool_select *sel = select_of();
    uint64_t into;
    int n = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    must_be(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    for (int round = 0; round < 2; round++) {
        char text[64] = "";
        pid_t pid;
        if (round == 1) {
            pid_t child = fork();
            must(child >= 0);
            if (child == 0) {
                pause();
                _exit(0);
            }
            c[n++] = chan_of(1);
            must(spool_fd(c[0]) >= 0 && spool_put_fd(c[0]) >= 0);
            must_be(spool_after(&c[n++], 1000 * SEC), 0);
            must_be(spool_signal(&c[n++], &set), 0);
            must_be(spool_child(&c[n++], child), 0);
            must_be(spool_chan_new(&c[n++], 8, 0), 0);
            for (int i = 0; i < n; i++)
                must(spool_select_get(sel, c[i], NULL) >= 0);
            must_be(spool_get_for(c[1], &into, MS), -ETIMEDOUT);
            must(spool_select_poll_fd(sel) >= 0);
            must(count_fds() > before + 10);
            threads = child;
        }
        must_be(pipe2(pipes, O_CLOEXEC), 0);
        pid = fork();
        must(pid >= 0);
        if (pid == 0) {
            dup2(pipes[1], 1);
            execl("/bin/sh", "sh", "-c", "set -- /proc/self/fd/*; echo $#", (char *)NULL);
            _exit(127);
        }
        close(pipes[1]);
        must(read(pipes[0], text, sizeof(text) - 1) > 0);
        close(pipes[0]);
        finish_child(pid, 0);
        *(round ? &after : &before) = atoi(text);
        must(atoi(text) > 0);
    }
    must_be(after, before);
    kill(threads, SIGKILL);
    spool_select_free(sel);
    for (int i = 0; i < n; i++)
        spool_unref(c[i]);
}
END_TEST

/* ---- Threads that go ------------------------------------------------------------------------------------------ */

static void *cancelled_in_select(void *arg)
{
    struct worker *w = arg;
    atomic_store(&w->tid, self_tid());
    w->rc = spool_select_wait(w->sel, -1);
    atomic_store(&w->done, true);
    pthread_testcancel();
    return NULL;
}

static void *cancelled_in_call(void *arg)
{
    struct worker *w = arg;
    atomic_store(&w->tid, self_tid());
    w->rc = w->count ? spool_put(w->chan, w->elem) : spool_get(w->chan, w->elem);
    atomic_store(&w->done, true);
    pthread_testcancel();
    return NULL;
}

/*
 * No call of the library is a cancellation point: a thread that is cancelled while it sleeps in one sleeps on, has what
 * it waited for, and is cancelled after that. Nothing is lost.
 */
START_TEST(cancelled_only_afterwards)
{
    spool_chan *c = chan_of(flavours_here[_i % N_HERE]);
    int how = _i / N_HERE; /* get, select, put */
    spool_select *sel = NULL;
    uint64_t got = 0, v = 5;
    struct worker w;
    void *result = NULL;
    if (UNDER_TSAN) {
        skip("cancelled_only_afterwards", "ThreadSanitizer does not support cancelling");
        return;
    }
    if (how == 2 && is_unbounded(c)) {
        spool_unref(c);
        return;
    }
    memset(&w, 0, sizeof(w));
    w.chan = c;
    w.elem = how == 2 ? &v : &got;
    w.count = how == 2;
    if (how == 1) {
        sel = select_of();
        must_be(spool_select_get(sel, c, &got), 0);
        w.sel = sel;
    }
    for (size_t i = 0; how == 2 && i < spool_capacity(c); i++)
        must_be(spool_put(c, &v), 0);
    must_be(pthread_create(&w.thread, NULL, how == 1 ? cancelled_in_select : cancelled_in_call, &w), 0);
    wait_until(task_asleep(atomic_load(&w.tid)));
    must_be(pthread_cancel(w.thread), 0);
    /* The signal has been handled when it sleeps again. */
    wait_until(task_asleep(atomic_load(&w.tid)));
    must(!atomic_load(&w.done));
    if (how == 2)
        must_be(spool_get(c, &got), 0);
    else
        must_be(spool_put(c, &v), 0);
    must_be(pthread_join(w.thread, &result), 0);
    must(result == PTHREAD_CANCELED);
    must(atomic_load(&w.done));
    must_be(w.rc, 0);
    must_be(got, 5);
    if (how != 2)
        must_be(spool_try_get(c, &got), -EAGAIN);
    spool_select_free(sel);
    spool_unref(c);
}
END_TEST

static void sits_in_get(void *arg)
{
    uint64_t v;
    (void)arg;
    (void)!spool_get(spool_self(), &v);
}

/* exit() does not wait for threads that sleep in the library, and they do not crash. */
START_TEST(exit_with_threads_asleep)
{
    pid_t pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        static struct worker w[3];
        static uint64_t got[3];
        spool_chan *c = chan_of(flavours_here[_i]), *g = NULL;
        spool_select *sel = select_of();
        must_be(spool_select_get(sel, c, &got[1]), 0);
        w[0] = (struct worker){.chan = c, .elem = &got[0]};
        worker_start(&w[0], worker_get);
        w[1] = (struct worker){.sel = sel};
        must_be(pthread_create(&w[1].thread, NULL, cancelled_in_select, &w[1]), 0);
        must_be(spool_go(&g, sits_in_get, NULL, 8, flavours_here[_i]), 0);
        wait_until(task_asleep(atomic_load(&w[0].tid)) && task_asleep(atomic_load(&w[1].tid)));
        exit(42);
    }
    finish_child(pid, 42);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("strangers");
    TCase *tc = case_new(s, "read");
    tcase_add_test(tc, a_reader_steals_from_a_poller_only);
    tcase_add_loop_test(tc, blocking_calls_do_not_mind_a_reader, 0, N_HERE);
    tcase_add_test(tc, a_reader_steals_from_a_select);
    tc = case_new(s, "close");
    tcase_add_loop_test(tc, a_number_that_is_used_again, 0, N_HERE);
    tcase_add_test(tc, a_select_over_a_closed_descriptor);
    tc = case_new(s, "fork and exec");
    tcase_add_loop_test(tc, a_forked_child_has_copies, 0, N_HERE);
    tcase_add_test(tc, a_forked_child_may_disturb_a_poller);
    tcase_add_test(tc, nothing_is_left_open_by_exec);
    tc = case_new(s, "threads");
    tcase_add_loop_test(tc, cancelled_only_afterwards, 0, 3 * N_HERE);
    tcase_add_loop_test(tc, exit_with_threads_asleep, 0, N_HERE);
    return run_suite(s, "strangers");
}
