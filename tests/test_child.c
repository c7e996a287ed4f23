/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Channels over the end of children. */
#include "source_util.h"

/* No memory, while this is set. The linker sends the library's calls here. */
static bool no_memory;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
    if (!no_memory)
        return __real_calloc(n, size);
    errno = ENOMEM;
    return NULL;
}

static spool_chan *child_of(pid_t pid)
{
    spool_chan *chan = NULL;
    must_be(spool_child(&chan, pid), 0);
    return chan;
}

/* A child that ends with this exit code as soon as the other end of the pipe is closed; stop[1] is ours. */
static pid_t forked(int code, const int stop[2])
{
    char byte;
    fflush(stdout);
    /* Check handles these two, and kills the whole group of the test's processes. */
    on_signal(SIGTERM, SIG_DFL);
    on_signal(SIGINT, SIG_DFL);
    pid_t pid = fork();
    must(pid >= 0);
    if (pid > 0)
        return pid;
    close(stop[1]);
    while (read(stop[0], &byte, 1) < 0 && errno == EINTR)
        ;
    _exit(code);
}

static void stop_pipe(int fds[2])
{
    must_be(pipe2(fds, O_CLOEXEC), 0);
}

/* One that has ended but is still to be reaped. */
static pid_t ended(int code)
{
    siginfo_t info;
    int stop[2];
    stop_pipe(stop);
    pid_t pid = forked(code, stop);
    close_both(stop);
    must_be(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    return pid;
}

static void must_be_reaped(pid_t pid)
{
    must_be(waitpid(pid, NULL, WNOHANG), -1);
    must_be(errno, ECHILD);
}

static void must_be_left(pid_t pid, int code)
{
    int status;
    must_be(waitpid(pid, &status, 0), pid);
    must(WIFEXITED(status));
    must_be(WEXITSTATUS(status), code);
}

static void must_have_exited(const siginfo_t *info, pid_t pid, int code)
{
    must_be(info->si_signo, SIGCHLD);
    must_be(info->si_pid, pid);
    must_be(info->si_uid, getuid());
    must_be(info->si_code, CLD_EXITED);
    must_be(info->si_status, code);
}

/* ---- One child ------------------------------------------------------------------------------------------------ */

START_TEST(behaves_as_a_channel)
{
    int stop[2], fds = count_fds();
    stop_pipe(stop);
    pid_t pid = forked(3, stop);
    spool_chan *chan = child_of(pid);
    must_behave(chan, sizeof(siginfo_t));
    must_be(spool_close(chan), 0);
    must_be_over(chan);
    spool_unref(chan);
    close_both(stop);
    must_be_left(pid, 3);
    must_be(count_fds(), fds);
}
END_TEST

enum way { BY_GET, BY_GET_FOR, BY_GET_MANY, BY_POLL, BY_SELECT, WAYS };

static void get_by(int way, spool_chan *chan, siginfo_t *info)
{
    spool_select *sel;
    switch (way) {
    case BY_GET:
        must_be(spool_get(chan, info), 0);
        break;
    case BY_GET_FOR:
        must_be(spool_get_for(chan, info, DEADLINE), 0);
        break;
    case BY_GET_MANY:
        must_be(spool_get_many(chan, info, 2, -1), 1);
        break;
    case BY_POLL:
        must(fd_wait_readable(spool_fd(chan)));
        must_be(spool_len(chan), 1);
        must(spool_alive(chan));
        must_be(spool_try_get(chan, info), 0);
        break;
    default:
        sel = select_of();
        must_be(spool_select_get(sel, chan, info), 0);
        must_be(spool_select_wait(sel, DEADLINE), 0);
        must_be(spool_select_result(sel, 0), 0);
        must_be(spool_select_wait(sel, DEADLINE), 0);
        must_be(spool_select_result(sel, 0), -EPIPE);
        spool_select_free(sel);
    }
}

START_TEST(tells_the_exit_code)
{
    int fds = count_fds();
    for (int code = 0; code < 256; code += 51) {
        siginfo_t info[2];
        int stop[2];
        stop_pipe(stop);
        pid_t pid = forked(code, stop);
        spool_chan *chan = child_of(pid);
        must_be_empty(chan);
        close_both(stop);
        get_by(_i, chan, info);
        must_have_exited(info, pid, code);
        must_be_reaped(pid);
        must_be_over(chan);
        spool_unref(chan);
    }
    must_be(count_fds(), fds);
}
END_TEST

START_TEST(tells_the_signal)
{
    static const int signals[] = {SIGKILL, SIGTERM, SIGINT, SIGUSR1};
    for (size_t i = 0; i < COUNT(signals); i++) {
        siginfo_t info[2];
        int stop[2];
        stop_pipe(stop);
        pid_t pid = forked(0, stop);
        spool_chan *chan = child_of(pid);
        must_be(kill(pid, SIGSTOP), 0);
        must_be(waitid(P_PID, (id_t)pid, info, WSTOPPED | WNOWAIT), 0);
        /* Stopping is no end. */
        must_be_empty(chan);
        must_be(kill(pid, SIGCONT), 0);
        must_be(kill(pid, signals[i]), 0);
        get_by(_i, chan, info);
        must_be(info->si_pid, pid);
        must_be(info->si_code, CLD_KILLED);
        must_be(info->si_status, signals[i]);
        must_be_reaped(pid);
        must_be_over(chan);
        spool_unref(chan);
        close_both(stop);
    }
}
END_TEST

START_TEST(ended_before_the_call)
{
    for (int i = 0; i < 10; i++) {
        siginfo_t info[2];
        pid_t pid = ended(i);
        spool_chan *chan = child_of(pid);
        must(fd_readable(spool_fd(chan)));
        must_be(spool_len(chan), 1);
        must(spool_alive(chan));
        get_by(_i, chan, info);
        must_have_exited(info, pid, i);
        must_be_reaped(pid);
        must_be_over(chan);
        spool_unref(chan);
    }
}
END_TEST

START_TEST(not_ours)
{
    spool_chan *chan = NULL;
    int fds = count_fds(), pids[2];
    errno = OWN_ERRNO;
    must_be(spool_child(NULL, 1), -EINVAL);
    must_be(spool_child(&chan, 0), -EINVAL);
    must_be(spool_child(&chan, -1), -EINVAL);
    must_be(spool_child(&chan, -getpgrp()), -EINVAL);
    must_be(spool_child(&chan, getpid()), -ECHILD);
    must_be(spool_child(&chan, getppid()), -ECHILD);
    must_be(spool_child(&chan, 1), -ECHILD);
    must_be(spool_child(&chan, INT32_MAX), -ECHILD);
    must_be(errno, OWN_ERRNO);
    /* Reaped before. */
    pid_t pid = ended(0);
    must_be_left(pid, 0);
    must_be(spool_child(&chan, pid), -ECHILD);
    /* A child's child. */
    stop_pipe(pids);
    pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        pid_t inner = fork();
        if (inner == 0)
            for (;;)
                pause();
        (void)!write(pids[1], &inner, sizeof(inner));
        for (;;)
            pause();
    }
    pid_t inner = 0;
    must_be(read(pids[0], &inner, sizeof(inner)), (ssize_t)sizeof(inner));
    must(inner > 0);
    must_be(spool_child(&chan, inner), -ECHILD);
    must_be(kill(inner, SIGKILL), 0);
    must_be(kill(pid, SIGKILL), 0);
    must_be(waitpid(pid, NULL, 0), pid);
    close_both(pids);
    must(!chan);
    must_be(count_fds(), fds);
}
END_TEST

static int tells_tid(struct worker *w)
{
    atomic_bool *stop = w->more;
    while (!atomic_load(stop))
        nap();
    return 0;
}

START_TEST(a_thread_is_no_child)
{
    atomic_bool stop = false;
    struct worker w = {.more = &stop};
    spool_chan *chan = NULL;
    worker_start(&w, tells_tid);
    wait_until(atomic_load(&w.tid) != 0);
    must_be(spool_child(&chan, atomic_load(&w.tid)), -ECHILD);
    must(!chan);
    atomic_store(&stop, true);
    must_be(worker_join(&w), 0);
}
END_TEST

/* ---- Others reap ---------------------------------------------------------------------------------------------- */

START_TEST(steals_from_no_other_child)
{
    enum { OTHERS = 5 };
    pid_t others[OTHERS];
    siginfo_t info;
    for (int i = 0; i < OTHERS; i++)
        others[i] = ended(10 + i);
    pid_t pid = ended(1);
    spool_chan *chan = child_of(pid);
    must_be(spool_get(chan, &info), 0);
    must_have_exited(&info, pid, 1);
    must_be_over(chan);
    for (int i = 0; i < OTHERS; i++)
        must_be_left(others[i], 10 + i);
    spool_unref(chan);
}
END_TEST

START_TEST(reaped_by_somebody_else)
{
    siginfo_t info;
    spool_select *sel = select_of();
    for (int way = 0; way < 4; way++) {
        pid_t pid = ended(2);
        spool_chan *chan = child_of(pid);
        must_be_left(pid, 2);
        if (way == 0) {
            must_be(spool_get(chan, &info), -EPIPE);
        } else if (way == 1) {
            must_be(spool_len(chan), 0);
            must(!spool_alive(chan));
        } else {
            must_be(spool_select_get(sel, chan, way == 2 ? NULL : &info), 0);
            must_be(spool_select_wait(sel, DEADLINE), 0);
            must_be(spool_select_result(sel, 0), -EPIPE);
        }
        must_be_over(chan);
        spool_unref(chan);
    }
    spool_select_free(sel);
}
END_TEST

START_TEST(reaped_by_somebody_else_while_threads_wait)
{
    for (int way = 0; way < 2; way++) {
        struct worker w[WAITERS];
        int stop[2];
        memset(w, 0, sizeof(w));
        stop_pipe(stop);
        pid_t pid = forked(2, stop);
        spool_chan *chan = child_of(pid);
        if (way == 1)
            must(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
        for (int i = 0; i < WAITERS; i++) {
            w[i].chan = chan;
            worker_start(&w[i], i % 2 ? one_select : one_get);
        }
        for (int i = 0; i < WAITERS; i++)
            worker_wait_asleep(&w[i]);
        close_both(stop);
        int got = 0;
        if (way == 0 && waitpid(pid, NULL, 0) < 0)
            must_be(errno, ECHILD);
        for (int i = 0; i < WAITERS; i++) {
            int r = worker_join(&w[i]);
            must(r == 0 || r == -EPIPE);
            got += r == 0;
        }
        /* The threads and waitpid race for it; where the kernel reaps, nobody gets it. */
        must(got <= (way == 0));
        must_be_over(chan);
        spool_unref(chan);
    }
    must(signal(SIGCHLD, SIG_DFL) != SIG_ERR);
}
END_TEST

START_TEST(ignored_children_end_the_channel)
{
    siginfo_t info;
    int stop[2];
    stop_pipe(stop);
    must(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    pid_t pid = forked(0, stop);
    spool_chan *chan = child_of(pid);
    must_be_empty(chan);
    close_both(stop);
    must_be(spool_get(chan, &info), -EPIPE);
    must_be_over(chan);
    spool_unref(chan);
    must_be(spool_child(&chan, pid), -ECHILD);
    must(signal(SIGCHLD, SIG_DFL) != SIG_ERR);
}
END_TEST

START_TEST(close_leaves_the_child)
{
    int stop[2];
    stop_pipe(stop);
    pid_t before = ended(4), after = forked(5, stop);
    spool_chan *a = child_of(before), *b = child_of(after);
    must(fd_readable(spool_fd(a)));
    must_be(spool_close(a), 0);
    must_be_over(a);
    must_be(spool_close(b), 0);
    must_be_over(b);
    close_both(stop);
    must_be_left(after, 5);
    must_be_over(b);
    must_be_left(before, 4);
    must_be_over(a);
    spool_unref(a);
    spool_unref(b);
    /* And so does dropping it. */
    before = ended(6);
    spool_unref(child_of(before));
    must_be_left(before, 6);
}
END_TEST

START_TEST(two_channels_on_one_child)
{
    siginfo_t info;
    int stop[2];
    stop_pipe(stop);
    pid_t pid = forked(7, stop);
    spool_chan *a = child_of(pid), *b = child_of(pid);
    must(a != b);
    must(spool_fd(a) != spool_fd(b));
    close_both(stop);
    must(fd_wait_readable(spool_fd(a)));
    must(fd_wait_readable(spool_fd(b)));
    must_be(spool_get(b, &info), 0);
    must_have_exited(&info, pid, 7);
    must_be_over(b);
    must_be(spool_get(a, &info), -EPIPE);
    must_be_over(a);
    spool_unref(a);
    spool_unref(b);
}
END_TEST

/* A forked child has the same descriptors. What it does with its copy of the channel is nothing to its parent. */
START_TEST(a_forked_child_may_drop_it)
{
    int stop[2];
    stop_pipe(stop);
    pid_t other = forked(18, stop);
    spool_chan *chan = child_of(other);
    for (int way = 0; way < 2; way++) {
        int status;
        pid_t pid = fork();
        must(pid >= 0);
        if (pid == 0) {
            union any_elem elem;
            bool closed = way == 0 || (spool_close(chan) == 0 && spool_try_get(chan, &elem) == -EPIPE);
            spool_unref(chan);
            _exit(closed ? 0 : 1);
        }
        must_be(waitpid(pid, &status, 0), pid);
        must_be(status, 0);
        must_be_empty(chan);
    }
    must_be(spool_close(chan), 0);
    must_be_over(chan);
    spool_unref(chan);
    close_both(stop);
    must_be_left(other, 18);
}
END_TEST

/* ---- Several threads, several children ------------------------------------------------------------------------ */

START_TEST(close_lets_all_go)
{
    int stop[2], fds = count_fds();
    stop_pipe(stop);
    pid_t pid = forked(8, stop);
    spool_chan *chan = child_of(pid);
    must_let_all_go(chan, _i == 1);
    if (_i == 0) {
        must_be_over(chan);
        spool_unref(chan);
    }
    close_both(stop);
    must_be_left(pid, 8);
    must_be(count_fds(), fds);
}
END_TEST

START_TEST(one_of_many_threads_gets_it)
{
    for (size_t round = 0; round < scaled(20); round++) {
        struct worker w[WAITERS];
        int stop[2], ok = 0;
        memset(w, 0, sizeof(w));
        stop_pipe(stop);
        pid_t pid = forked(9, stop);
        spool_chan *chan = child_of(pid);
        for (int i = 0; i < WAITERS; i++) {
            w[i].chan = chan;
            w[i].timeout_ns = i % 4 == 0 ? DEADLINE : 0;
            worker_start(&w[i], i % 2 ? one_select : one_get);
        }
        for (int i = 0; i < WAITERS; i++)
            worker_wait_asleep(&w[i]);
        close_both(stop);
        for (int i = 0; i < WAITERS; i++) {
            int r = worker_join(&w[i]);
            must(r == 0 || r == -EPIPE);
            ok += r == 0;
        }
        must_be(ok, 1);
        must_be_reaped(pid);
        must_be_over(chan);
        spool_unref(chan);
    }
}
END_TEST

#define CHILDREN (UNDER_TSAN || UNDER_ASAN ? 60 : 200)

START_TEST(many_children_in_one_select)
{
    static spool_chan *chans[CHILDREN];
    static pid_t pids[CHILDREN];
    static int codes[CHILDREN], ends[CHILDREN];
    siginfo_t info;
    int stop[2], fds = count_fds(), index, left = CHILDREN;
    spool_select *sel = select_of();
    stop_pipe(stop);
    for (int i = 0; i < CHILDREN; i++) {
        pids[i] = forked(i, stop);
        chans[i] = child_of(pids[i]);
        codes[i] = -1;
        must_be(spool_select_get(sel, chans[i], &info), i);
    }
    must_be_quiet(sel);
    /* Some by a signal, one after the other, the rest together. */
    for (int i = 0; i < CHILDREN / 4; i++) {
        must_be(kill(pids[i], SIGTERM), 0);
        must_be(spool_select_wait(sel, DEADLINE), i);
        must_be(spool_select_result(sel, i), 0);
        must_be(info.si_pid, pids[i]);
        must_be(info.si_code, CLD_KILLED);
        must_be(spool_select_wait(sel, DEADLINE), i);
        must_be(spool_select_result(sel, i), -EPIPE);
        codes[i] = 0;
        ends[i] = 1;
        left--;
    }
    close_both(stop);
    while ((index = spool_select_wait(sel, DEADLINE)) >= 0) {
        if (spool_select_result(sel, index) == -EPIPE) {
            ends[index]++;
            continue;
        }
        must_be(spool_select_result(sel, index), 0);
        must_be(codes[index], -1);
        must_have_exited(&info, pids[index], index & 255);
        codes[index] = info.si_status;
        left--;
    }
    must_be(index, -ENODATA);
    must_be(left, 0);
    for (int i = 0; i < CHILDREN; i++) {
        must_be(ends[i], 1);
        must_be_reaped(pids[i]);
        spool_unref(chans[i]);
    }
    spool_select_free(sel);
    must_be(count_fds(), fds);
}
END_TEST

/* The kernel limits in how many ways a descriptor is reached through nested epoll sets: none may be shared. */
START_TEST(many_channels_in_a_nested_select)
{
    enum { CHANNELS = 150 };
    spool_chan *chans[CHANNELS];
    siginfo_t info;
    int stop[2], set = epoll_create1(EPOLL_CLOEXEC), fds = count_fds(), got = 0;
    spool_select *sel = select_of();
    stop_pipe(stop);
    pid_t pid = forked(17, stop);
    must(set >= 0);
    must_be(epoll_ctl(set, EPOLL_CTL_ADD, spool_select_poll_fd(sel), &(struct epoll_event){.events = EPOLLIN}), 0);
    for (int i = 0; i < CHANNELS; i++) {
        chans[i] = child_of(pid);
        must_be(spool_select_get(sel, chans[i], &info), i);
    }
    must_be_quiet(sel);
    must(!fd_readable(set));
    close_both(stop);
    must(fd_wait_readable(set));
    for (int i; (i = spool_select_wait(sel, DEADLINE)) != -ENODATA;) {
        must(i >= 0 && i < CHANNELS);
        got += spool_select_result(sel, i) == 0;
    }
    must_be(got, 1);
    must_have_exited(&info, pid, 17);
    for (int i = 0; i < CHANNELS; i++)
        spool_unref(chans[i]);
    spool_select_free(sel);
    must_be(count_fds(), fds);
    close(set);
}
END_TEST

static atomic_int handled;

static void count_signal(int signo)
{
    (void)signo;
    atomic_fetch_add(&handled, 1);
}

static int waits_long_and_short(struct worker *w)
{
    siginfo_t info;
    for (int i = 0; i < 5; i++) {
        int64_t start = now_ns();
        must_be(spool_get_for(w->chan, &info, 5 * MS), -ETIMEDOUT);
        must(now_ns() - start >= 5 * MS);
    }
    atomic_store((atomic_bool *)w->more, true);
    must_be(spool_get(w->chan, &info), 0);
    must_be(info.si_status, 11);
    return 0;
}

START_TEST(signals_change_nothing)
{
    atomic_bool waits = false;
    int stop[2];
    stop_pipe(stop);
    struct worker w = {.chan = child_of(forked(11, stop)), .more = &waits};
    on_signal(SIGUSR1, count_signal);
    worker_start(&w, waits_long_and_short);
    wait_until(atomic_load(&w.tid) != 0);
    timer_t storm = storm_begin(atomic_load(&w.tid), SIGUSR1, 100 * US);
    wait_until(atomic_load(&waits) || atomic_load(&w.done));
    int before = atomic_load(&handled);
    wait_until(atomic_load(&handled) > before + 10);
    must(!atomic_load(&w.done));
    close_both(stop);
    must_be(worker_join(&w), 0);
    storm_end(storm);
    spool_unref(w.chan);
}
END_TEST

/* ---- Pollers -------------------------------------------------------------------------------------------------- */

static const uint32_t modes[] = {0, EPOLLET, EPOLLONESHOT};

START_TEST(works_in_a_foreign_epoll)
{
    struct epoll_event ev = {.events = EPOLLIN | modes[_i]}, out;
    siginfo_t info;
    for (int closes = 0; closes < 2; closes++) {
        int set = epoll_create1(EPOLL_CLOEXEC), stop[2];
        must(set >= 0);
        stop_pipe(stop);
        pid_t pid = forked(12, stop);
        spool_chan *chan = child_of(pid);
        must_be(epoll_ctl(set, EPOLL_CTL_ADD, spool_fd(chan), &ev), 0);
        must_be(epoll_wait(set, &out, 1, 0), 0);
        if (closes)
            must_be(spool_close(chan), 0);
        else
            close_both(stop);
        must_be(epoll_wait(set, &out, 1, (int)(DEADLINE / MS)), 1);
        must_be(out.events, EPOLLIN);
        must_be(spool_try_get(chan, &info), closes ? -EPIPE : 0);
        must_be_over(chan);
        spool_unref(chan);
        close(set);
        if (closes) {
            close_both(stop);
            must_be_left(pid, 12);
        }
    }
}
END_TEST

/* ---- Lack ----------------------------------------------------------------------------------------------------- */

START_TEST(works_on_without_descriptors)
{
    struct shortage shortage;
    siginfo_t info;
    spool_chan *none = NULL;
    int fds = count_fds(), stop[2];
    stop_pipe(stop);
    pid_t pid = forked(13, stop), other = ended(14);
    spool_chan *chan = child_of(pid);
    shortage_begin(&shortage);
    errno = OWN_ERRNO;
    for (int spare = 0; spare < 3; spare++) {
        must_be(spool_child(&none, other), -EMFILE);
        must(!none);
        must_be(errno, OWN_ERRNO);
        if (spare < 2)
            must_be(close(shortage.held[--shortage.n_held]), 0);
    }
    while ((shortage.held[shortage.n_held] = dup(0)) >= 0)
        shortage.n_held++;
    int64_t start = now_ns();
    must_be(spool_get_for(chan, &info, 5 * MS), -ETIMEDOUT);
    must(now_ns() - start >= 5 * MS);
    must_be(kill(pid, SIGKILL), 0);
    must_be(spool_get(chan, &info), 0);
    must_be(info.si_pid, pid);
    must_be_reaped(pid);
    shortage_end(&shortage);
    must_be_over(chan);
    spool_unref(chan);
    close_both(stop);
    must_be_left(other, 14);
    must_be(count_fds(), fds);
}
END_TEST

START_TEST(works_on_without_memory)
{
    spool_chan *none = NULL;
    pid_t pid = ended(16);
    int fds = count_fds();
    errno = OWN_ERRNO;
    no_memory = true;
    int r = spool_child(&none, pid);
    no_memory = false;
    must_be(r, -ENOMEM);
    must(!none);
    must_be(errno, OWN_ERRNO);
    must_be(count_fds(), fds);
    must_be_left(pid, 16);
}
END_TEST

START_TEST(a_sandbox_forbids_it)
{
    static const struct {
        long nr;
        int error;
    } rules[] = {{SYS_pidfd_open, EPERM}, {SYS_pidfd_open, ENOSYS}, {SYS_waitid, EPERM}, {SYS_waitid, ENOSYS}};
    sigset_t set;
    spool_chan *chan = NULL, *other = NULL;
    pid_t pid = ended(15);
    int fds = count_fds();
    if (!forbid(rules[_i].nr, 0, rules[_i].error)) {
        skip("a_sandbox_forbids_it", "no seccomp here");
        return;
    }
    errno = OWN_ERRNO;
    must_be(spool_child(&chan, pid), -rules[_i].error);
    must_be(errno, OWN_ERRNO);
    must(!chan);
    must_be(count_fds(), fds);
    must_be_left(pid, 15);
    /* Everything else works. */
    uint64_t value = 0;
    struct signalfd_siginfo info;
    chan = chan_of(1);
    put(chan, 5);
    must_be(get(chan), 5);
    must_be(spool_after(&other, MS), 0);
    must_be(spool_get(other, &value), 0);
    spool_unref(other);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    must_be(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    must_be(spool_signal(&other, &set), 0);
    must_be(raise(SIGUSR1), 0);
    must_be(spool_get(other, &info), 0);
    spool_unref(other);
    spool_unref(chan);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("child");
    TCase *tc = case_new(suite, "one child");
    tcase_add_test(tc, behaves_as_a_channel);
    tcase_add_loop_test(tc, tells_the_exit_code, 0, WAYS);
    tcase_add_loop_test(tc, tells_the_signal, 0, WAYS);
    tcase_add_loop_test(tc, ended_before_the_call, 0, WAYS);
    tcase_add_test(tc, not_ours);
    tcase_add_test(tc, a_thread_is_no_child);
    tc = case_new(suite, "others reap");
    tcase_add_test(tc, steals_from_no_other_child);
    tcase_add_test(tc, reaped_by_somebody_else);
    tcase_add_test(tc, reaped_by_somebody_else_while_threads_wait);
    tcase_add_test(tc, ignored_children_end_the_channel);
    tcase_add_test(tc, close_leaves_the_child);
    tcase_add_test(tc, two_channels_on_one_child);
    tcase_add_test(tc, a_forked_child_may_drop_it);
    tc = case_new(suite, "many");
    tcase_add_loop_test(tc, close_lets_all_go, 0, 2);
    tcase_add_test(tc, one_of_many_threads_gets_it);
    tcase_add_test(tc, many_children_in_one_select);
    tcase_add_test(tc, many_channels_in_a_nested_select);
    tcase_add_test(tc, signals_change_nothing);
    tc = case_new(suite, "pollers");
    tcase_add_loop_test(tc, works_in_a_foreign_epoll, 0, COUNT(modes));
    tc = case_new(suite, "lack");
    tcase_add_test(tc, works_on_without_descriptors);
    tcase_add_test(tc, works_on_without_memory);
    tcase_add_loop_test(tc, a_sandbox_forbids_it, 0, 4);
    return run_suite(suite, "child");
}
