/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_TEST_SOURCE_H
#define SPOOL_TEST_SOURCE_H

/* What the tests of channels over kernel objects share. Include it first, as util.h. */

#include "select_util.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* A value that no call sets. */
#define OWN_ERRNO 4321

/* The largest element of these kinds. */
union any_elem {
    uint64_t count;
    struct signalfd_siginfo signal;
    siginfo_t child;
};

/* The channel came from the kernel: nothing can be put, in any way. */
static inline void must_refuse_puts(spool_chan *chan)
{
    union any_elem elem;
    spool_select *sel = select_of();
    memset(&elem, 0, sizeof(elem));
    errno = OWN_ERRNO;
    must_be(spool_put(chan, &elem), -EOPNOTSUPP);
    must_be(spool_try_put(chan, &elem), -EOPNOTSUPP);
    must_be(spool_put_for(chan, &elem, 0), -EOPNOTSUPP);
    must_be(spool_put_for(chan, &elem, SEC), -EOPNOTSUPP);
    must_be(spool_put_many(chan, &elem, 1, -1), -EOPNOTSUPP);
    must_be(spool_put_fd(chan), -EOPNOTSUPP);
    must_be(spool_select_put(sel, chan, &elem), -EOPNOTSUPP);
    must_be(spool_select_put(sel, chan, NULL), -EOPNOTSUPP);
    must_be(spool_select_wait(sel, 0), -ENODATA);
    must_be(errno, OWN_ERRNO);
    spool_select_free(sel);
}

/* Open, with nothing to get. */
static inline void must_be_empty(spool_chan *chan)
{
    union any_elem elem;
    errno = OWN_ERRNO;
    must_be(spool_try_get(chan, &elem), -EAGAIN);
    must_be(spool_get_for(chan, &elem, 0), -EAGAIN);
    must_be(spool_get_many(chan, &elem, 1, 0), -EAGAIN);
    must_be(spool_len(chan), 0);
    must(spool_alive(chan));
    must_be(errno, OWN_ERRNO);
    must(!fd_readable(spool_fd(chan)));
}

/* Closed and drained, for good. */
static inline void must_be_over(spool_chan *chan)
{
    union any_elem elem;
    spool_select *sel = select_of();
    errno = OWN_ERRNO;
    for (int i = 0; i < 2; i++) {
        must(fd_readable(spool_fd(chan)));
        must(!spool_alive(chan));
        must_be(spool_len(chan), 0);
        must_be(spool_try_get(chan, &elem), -EPIPE);
        must_be(spool_get(chan, &elem), -EPIPE);
        must_be(spool_get_for(chan, &elem, SEC), -EPIPE);
        must_be(spool_get_many(chan, &elem, 1, -1), -EPIPE);
        must_be(spool_close(chan), -EALREADY);
        /* Also for who only asks. */
        must_be(spool_select_get(sel, chan, i == 0 ? &elem : NULL), 0);
        must_be(spool_select_wait(sel, DEADLINE), 0);
        must_be(spool_select_result(sel, 0), -EPIPE);
        must_be(spool_select_wait(sel, -1), -ENODATA);
    }
    must_be(errno, OWN_ERRNO);
    spool_select_free(sel);
}

/* What every channel has; this one is open, empty, and nothing will come for long. */
static inline void must_behave(spool_chan *chan, size_t elem_size)
{
    union any_elem elem;
    int fd = spool_fd(chan);
    must(fd >= 0);
    must_be(spool_fd(chan), fd);
    must_be(fcntl(fd, F_GETFD), FD_CLOEXEC);
    must_be(spool_capacity(chan), 1);
    must_be(spool_elem_size(chan), elem_size);
    must(strcmp(spool_name(chan), "") == 0);
    must_be(spool_set_name(chan, "late"), 0);
    must(strcmp(spool_name(chan), "late") == 0);
    must_be(spool_try_get(chan, NULL), -EINVAL);
    must_be(spool_get_many(chan, &elem, 0, -1), 0);
    must_be_empty(chan);
    must_refuse_puts(chan);
    for (int i = 0; i < 3; i++) {
        int64_t start = now_ns();
        must_be(spool_get_for(chan, &elem, 3 * MS), -ETIMEDOUT);
        must(now_ns() - start >= 3 * MS);
        start = now_ns();
        must_be(spool_get_many(chan, &elem, 1, 200 * US), -ETIMEDOUT);
        must(now_ns() - start >= 200 * US);
    }
    must_be_empty(chan);
    must(spool_ref(chan) == chan);
    must(spool_unref(chan) == NULL);
    must_be_empty(chan);
}

/* ---- Threads that wait ---------------------------------------------------------------------------------------- */

static inline int one_get(struct worker *w)
{
    union any_elem elem;
    return w->timeout_ns ? spool_get_for(w->chan, &elem, w->timeout_ns) : spool_get(w->chan, &elem);
}

static inline int one_select(struct worker *w)
{
    union any_elem elem;
    spool_select *sel = select_of();
    must_be(spool_select_get(sel, w->chan, &elem), 0);
    int index = spool_select_wait(sel, -1);
    int r = index < 0 ? index : spool_select_result(sel, index);
    spool_select_free(sel);
    return r;
}

#define WAITERS 6

/* Half of them in gets, with and without a time limit, half in selects: a close, or the last unref, lets all go. */
static inline void must_let_all_go(spool_chan *chan, bool by_unref)
{
    struct worker w[WAITERS];
    memset(w, 0, sizeof(w));
    for (int i = 0; i < WAITERS; i++) {
        /* A select holds a reference, so the last unref is for those that do not. */
        bool selects = i % 2 && !by_unref;
        w[i].chan = chan;
        w[i].timeout_ns = i % 4 == 0 ? 2 * DEADLINE : 0;
        worker_start(&w[i], selects ? one_select : one_get);
    }
    for (int i = 0; i < WAITERS; i++)
        worker_wait_asleep(&w[i]);
    if (by_unref)
        spool_unref(chan);
    else
        must_be(spool_close(chan), 0);
    for (int i = 0; i < WAITERS; i++)
        must_be(worker_join(&w[i]), -EPIPE);
}

/* ---- Lack of descriptors -------------------------------------------------------------------------------------- */

struct shortage {
    struct rlimit was;
    int held[1024];
    int n_held;
};

enum { SHORTAGE_HELD = 8 };

/*
 * From now on no descriptor can be made. At least SHORTAGE_HELD are held, whatever this process was started with, so a
 * test may give up so many to let some be made.
 */
static inline void shortage_begin(struct shortage *s)
{
    struct rlimit now;
    int fd, highest = 0;
    must_be(getrlimit(RLIMIT_NOFILE, &s->was), 0);
    s->n_held = 0;
    for (int i = 0; i < 1000; i++)
        if (fcntl(i, F_GETFD) >= 0)
            highest = i;
    now = s->was;
    now.rlim_cur = (rlim_t)highest + 1 + SHORTAGE_HELD;
    must_be(setrlimit(RLIMIT_NOFILE, &now), 0);
    while ((fd = dup(0)) >= 0)
        s->held[s->n_held++] = fd;
    must_be(errno, EMFILE);
}

static inline void shortage_end(struct shortage *s)
{
    while (s->n_held > 0)
        must_be(close(s->held[--s->n_held]), 0);
    must_be(setrlimit(RLIMIT_NOFILE, &s->was), 0);
}

/* ---- A sandbox ------------------------------------------------------------------------------------------------ */

/*
 * From now on this process gets error from the system call nr, if arg1 is not 0 only with that as its second argument.
 * False where the kernel has no such filters.
 */
static inline bool forbid(long nr, unsigned arg1, int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | (arg1 ? BPF_JEQ : BPF_JGE) | BPF_K, arg1, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {sizeof(code) / sizeof(code[0]), code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0;
}

#endif
