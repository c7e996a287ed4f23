/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "faults.h"

#include "kernel.h"
#include "scenes.h"

#include <sys/syscall.h>

/* Nothing can be got any more, for everybody. */
static void is_over(spool_chan *c, void *elem)
{
    for (int i = 0; i < 2; i++) {
        must_be(SURE(spool_try_get(c, elem)), -EPIPE);
        must_be(SURE(spool_get(c, elem)), -EPIPE);
    }
    must(fd_readable((int)MAY_FAIL(spool_fd(c))));
    must_be(SURE(spool_len(c)), 0);
}

/* Times that are over, and looked at in every way. */
void run_timer(void)
{
    spool_chan *after, *tick, *never, *at_once;
    uint64_t v;
    int64_t start = now_ns();
    must_be(MAY_FAIL_OUT(at_once, spool_after(&at_once, 0)), 0);
    must_be(SURE(spool_len(at_once)), 1);
    must_be(SURE_OUT(v, spool_try_get(at_once, &v)), 0);
    must_be(v, 1);
    is_over(at_once, &v);
    SURE_DONE(spool_unref(at_once));
    must_be(MAY_FAIL_OUT(after, spool_after(&after, WAIT)), 0);
    must_be(SURE_OUT(v, spool_get(after, &v)), 0);
    must(now_ns() - start >= WAIT);
    is_over(after, &v);
    SURE_DONE(spool_unref(after));
    /* What has expired before a close is got after it. */
    must_be(MAY_FAIL_OUT(after, spool_after(&after, US)), 0);
    must(fd_wait_readable((int)MAY_FAIL(spool_fd(after))));
    must_be(SURE(spool_len(after)), 1);
    must_be(SURE(spool_close(after)), 0);
    must_be(SURE(spool_len(after)), 1);
    must_be(SURE_OUT(v, spool_get(after, &v)), 0);
    is_over(after, &v);
    SURE_DONE(spool_unref(after));
    must_be(MAY_FAIL_OUT(tick, spool_tick(&tick, WAIT)), 0);
    start = now_ns();
    must_be(SURE_OUT(v, spool_get(tick, &v)), 0);
    must(v >= 1);
    must(fd_wait_readable((int)MAY_FAIL(spool_fd(tick))));
    must_be(SURE(spool_close(tick)), 0);
    must_be(SURE_OUT(v, spool_get(tick, &v)), 0);
    must(v >= 1);
    is_over(tick, &v);
    SURE_DONE(spool_unref(tick));
    must_be(MAY_FAIL_OUT(never, spool_never(&never)), 0);
    must_be(SURE_OUT(v, spool_try_get(never, &v)), -EAGAIN);
    TIMES_OUT(SURE_OUT(v, spool_get_for(never, &v, WAIT)));
    must_be(SURE(spool_close(never)), 0);
    is_over(never, &v);
    SURE_DONE(spool_unref(never));
}

static int gets_any(struct worker *w)
{
    static _Thread_local char elem[256];
    return (int)SURE(spool_get_for(w->chan, elem, w->timeout_ns));
}

static void sleeps(struct worker *w, spool_chan *c, int64_t timeout_ns)
{
    memset(w, 0, sizeof(*w));
    w->chan = c;
    w->timeout_ns = timeout_ns;
    worker_start(w, gets_any);
    wait_until(atomic_load(&w->done) || task_asleep(atomic_load(&w->tid)));
    /* Unless it was told that the child is gone. */
    must(!atomic_load(&w->done) || scene_met(F_WAITID, NULL));
}

/* Two sleep, one for ever; a close and the last unref let them go. */
static void lets_go(spool_chan *c, bool by_unref)
{
    struct worker w[2];
    for (int i = 0; i < 2; i++)
        sleeps(&w[i], c, i ? DEADLINE : -1);
    if (by_unref)
        SURE_DONE(spool_unref(c));
    else
        must_be(SURE(spool_close(c)), 0);
    for (int i = 0; i < 2; i++)
        must_be(worker_join(&w[i]), -EPIPE);
    if (!by_unref)
        SURE_DONE(spool_unref(c));
}

void run_timer_waits(void)
{
    for (int i = 0; i < 2; i++) {
        spool_chan *never;
        must_be(MAY_FAIL_OUT(never, spool_never(&never)), 0);
        lets_go(never, i == 1);
    }
}

/* ---- Signals -------------------------------------------------------------------------------------------------- */

void run_signal(void)
{
    sigset_t set;
    struct signalfd_siginfo info;
    spool_chan *c;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    must_be(MAY_FAIL_OUT(c, spool_signal(&c, &set)), 0);
    must_be(SURE_OUT(info, spool_try_get(c, &info)), -EAGAIN);
    TIMES_OUT(SURE_OUT(info, spool_get_for(c, &info, WAIT)));
    for (int i = 0; i < 2; i++) {
        must_be(kill(getpid(), SIGUSR1), 0);
        must(fd_readable((int)MAY_FAIL(spool_fd(c))));
        must_be(SURE(spool_len(c)), 1);
        must_be(SURE_OUT(info, spool_get(c, &info)), 0);
        must_be(info.ssi_signo, SIGUSR1);
    }
    {
        spool_select *s = select_new();
        must_be(MAY_FAIL(spool_select_get(s, c, &info)), 0);
        must_be(SURE(spool_select_wait(s, 0)), -EAGAIN);
        must_be(kill(getpid(), SIGUSR1), 0);
        must_be(SURE(spool_select_wait(s, -1)), 0);
        must_be(info.ssi_signo, SIGUSR1);
        SURE_DONE(spool_select_free(s));
    }
    lets_go(c, false);
}

/* ---- Children ------------------------------------------------------------------------------------------------- */

/* Without the handlers of the C library: the library's threads have no part in it. It ends when pipe is closed. */
static pid_t child_that_waits(int *ret_pipe)
{
    int pipes[2];
    pid_t pid;
    must_be(pipe2(pipes, O_CLOEXEC), 0);
    pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        char byte;
        close(pipes[1]);
        _exit(read(pipes[0], &byte, 1) == 0 ? 7 : 1);
    }
    close(pipes[0]);
    *ret_pipe = pipes[1];
    return pid;
}

/* Its end comes, or, if waitid was made to say so, it looks as if somebody else had reaped it. */
static void ends_once(spool_chan *c, pid_t pid)
{
    siginfo_t info;
    long r = SURE_OUT(info, spool_get(c, &info));
    if (r == -EPIPE && (scene_met(F_WAITID, "child_get") || scene_met(F_WAITID, "child_len"))) {
        must_be(waitpid(pid, NULL, __WALL), pid);
    } else {
        must_be(r, 0);
        must_be(info.si_pid, pid);
        must_be(info.si_status, 7);
        must(waitpid(pid, NULL, WNOHANG) < 0);
    }
    is_over(c, &info);
    SURE_DONE(spool_unref(c));
}

void run_child(void)
{
    for (int i = 0; i < 3; i++) {
        int pipe_end;
        pid_t pid = child_that_waits(&pipe_end);
        spool_chan *c;
        siginfo_t info;
        must_be(MAY_FAIL_OUT(c, spool_child(&c, pid)), 0);
        if (i == 0 && SURE_OUT(info, spool_try_get(c, &info)) != -EPIPE)
            must(spool_alive(c) || scene_met(F_WAITID, NULL));
        if (i == 1 && SURE_OUT(info, spool_get_for(c, &info, WAIT)) != -EPIPE)
            must(spool_alive(c) || scene_met(F_WAITID, NULL));
        close(pipe_end);
        if (i == 2) {
            must(fd_wait_readable((int)MAY_FAIL(spool_fd(c))));
            if (SURE(spool_len(c)) == 0)
                must(scene_met(F_WAITID, "child_len"));
        }
        ends_once(c, pid);
    }
    {
        int pipe_end;
        pid_t pid = child_that_waits(&pipe_end);
        spool_chan *c;
        spool_select *s = select_new();
        must_be(MAY_FAIL_OUT(c, spool_child(&c, pid)), 0);
        must_be(MAY_FAIL(spool_select_get(s, c, NULL)), 0);
        must(SURE(spool_select_wait(s, 0)) == -EAGAIN || scene_met(F_WAITID, "child_len"));
        close(pipe_end);
        (void)SURE(spool_select_wait(s, -1));
        SURE_DONE(spool_select_free(s));
        ends_once(c, pid);
    }
    {
        int pipe_end;
        pid_t pid = child_that_waits(&pipe_end);
        spool_chan *c;
        must_be(MAY_FAIL_OUT(c, spool_child(&c, pid)), 0);
        lets_go(c, true);
        close(pipe_end);
        must_be(waitpid(pid, NULL, 0), pid);
    }
}
