/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * Uses each part of the library once, for tests/inject.sh, which makes the kernel fail beneath it. Knows nothing of
 * that: a call that fails is made again, at most once in all, and everything has to come out right. Says what failed.
 *
 * exit status: 0 all is right; 1 something is wrong
 */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spool.h"
#ifndef NO_URING
#include "spool/uring.h"
#endif

static int failures;

static void wrong(int line, const char *what, long result)
{
    fprintf(stderr, "wrong: line %d: %s is %ld\n", line, what, result);
    _exit(1);
}

/* What may fail for lack of something. */
#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        long try_r_ = (call);                                                                                          \
        if (try_r_ < 0) {                                                                                              \
            printf("%s: %s\n", #call, strerrorname_np((int)-try_r_));                                                  \
            if (++failures > 1)                                                                                        \
                wrong(__LINE__, #call, try_r_);                                                                        \
            try_r_ = (call);                                                                                           \
        }                                                                                                              \
        if (try_r_ < 0)                                                                                                \
            wrong(__LINE__, #call, try_r_);                                                                            \
    } while (0)
/* What has to be so. */
#define SO(call, want)                                                                                                 \
    do {                                                                                                               \
        long so_r_ = (long)(call);                                                                                     \
        if (so_r_ != (long)(want))                                                                                     \
            wrong(__LINE__, #call, so_r_);                                                                             \
    } while (0)

static spool_chan *there, *back;

static void *echoes(void *arg)
{
    uint64_t v;
    (void)arg;
    while (spool_get(there, &v) == 0)
        SO(spool_put(back, &v), 0);
    return NULL;
}

static void answers(void *arg)
{
    uint64_t v;
    (void)arg;
    while (spool_get(spool_self(), &v) == 0)
        SO(spool_put(spool_self(), &v), 0);
}

static void passes(size_t capacity)
{
    pthread_t thread;
    uint64_t got;
    TRY(spool_chan_new(&there, 8, capacity));
    TRY(spool_chan_new(&back, 8, capacity));
    SO(pthread_create(&thread, NULL, echoes, NULL), 0);
    for (uint64_t i = 0; i < 50; i++) {
        TRY(spool_put(there, &i));
        SO(spool_get(back, &got), 0);
        SO(got, i);
        if (i % 10 == 0)
            SO(spool_get_for(back, &got, 100000), -ETIMEDOUT);
    }
    SO(spool_close(there), 0);
    SO(pthread_join(thread, NULL), 0);
    spool_unref(there);
    spool_unref(back);
}

static void selects(void)
{
    spool_select *sel;
    spool_chan *c, *meet, *after;
    uint64_t into, v = 7;
    int pipes[2];
    int done = 0;
    struct pollfd p = {.events = POLLIN};
    SO(pipe(pipes), 0);
    TRY(spool_select_new(&sel));
    TRY(spool_chan_new(&c, 8, 2));
    TRY(spool_chan_new(&meet, 8, 0));
    TRY(spool_after(&after, 1000000));
    TRY(spool_select_get(sel, c, &into));
    TRY(spool_select_get(sel, meet, &into));
    TRY(spool_select_get(sel, after, &into));
    TRY(spool_select_fd(sel, pipes[0], EPOLLIN));
    TRY(spool_select_fd(sel, pipes[0], EPOLLIN | EPOLLET));
    SO(write(pipes[1], "x", 1), 1);
    SO(spool_put(c, &v), 0);
    while (done != 0x1d) {
        int i = spool_select_wait(sel, 2000000000);
        if (i < 0)
            wrong(__LINE__, "spool_select_wait", i);
        done |= 1 << i;
    }
    SO(read(pipes[0], &(char){0}, 1), 1);
    TRY(spool_select_poll_fd(sel));
    p.fd = spool_select_poll_fd(sel);
    while (spool_select_wait(sel, 0) >= 0)
        ;
    SO(spool_select_wait(sel, 300000), -ETIMEDOUT);
    SO(spool_put(c, &v), 0);
    SO(poll(&p, 1, 10000), 1);
    SO(spool_select_wait(sel, 0), 0);
    spool_select_free(sel);
    spool_unref(c);
    spool_unref(meet);
    spool_unref(after);
    close(pipes[0]);
    close(pipes[1]);
}

static void sources(void)
{
    spool_chan *c;
    sigset_t set;
    siginfo_t info;
    uint64_t v;
    char elem[256];
    pid_t pid;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    SO(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    TRY(spool_tick(&c, 300000));
    SO(spool_get(c, &v), 0);
    SO(spool_close(c), 0);
    spool_unref(c);
    TRY(spool_signal(&c, &set));
    SO(kill(getpid(), SIGUSR1), 0);
    SO(spool_get(c, elem), 0);
    spool_unref(c);
    fflush(stdout);
    pid = fork();
    if (pid == 0)
        _exit(5);
    TRY(spool_child(&c, pid));
    SO(spool_get(c, &info), 0);
    SO(info.si_status, 5);
    spool_unref(c);
    TRY(spool_go(&c, answers, NULL, 8, 1));
    v = 3;
    SO(spool_put(c, &v), 0);
    SO(spool_get(c, &v), 0);
    spool_unref(c);
    SO(spool_go_wait(-1), 0);
}

#ifndef NO_URING
static void rings(void)
{
    spool_chan *c;
    struct io_uring_sqe sqe = {0};
    struct io_uring_cqe cqe;
    int r = spool_uring(&c, 4);
    if (r < 0)
        printf("spool_uring: %s\n", strerrorname_np(-r));
    if (r < 0 && ++failures > 1)
        return;
    if (r < 0 && spool_uring(&c, 4) < 0)
        return; /* forbidden here, which is not what is tested */
    io_uring_prep_nop(&sqe);
    TRY(spool_put(c, &sqe));
    SO(spool_get(c, &cqe), 0);
    SO(spool_close(c), 0);
    SO(spool_get(c, &cqe), -EPIPE);
    spool_unref(c);
}
#endif

int main(void)
{
    alarm(60);
    passes(1);
    passes(0);
    passes(SPOOL_UNBOUNDED);
    selects();
    sources();
#ifndef NO_URING
    rings();
#endif
    return 0;
}
