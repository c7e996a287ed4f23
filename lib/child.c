/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include <spool.h>

#include "source.h"

#include <string.h>

/*
 * A pidfd, which is readable once the process has ended and names it whatever becomes of its number: so no other
 * child is ever reaped. Joined, since it cannot be made readable by a close.
 */
struct child {
    struct spool__source source;
    int32_t pidfd, end;
};

static void child_end(struct spool__source *src)
{
    spool__source_end(src, ((struct child *)src)->end);
}

/* Somebody else reaped it. */
static void child_gone(struct spool__source *src)
{
    spool__source_set_shut(src);
    child_end(src);
}

static ssize_t child_get(struct spool__source *src, void *ret_elems, size_t n)
{
    const struct child *c = (struct child *)src;
    siginfo_t info;
    (void)n;
    if (src->is_shut)
        return -EPIPE;
    memset(&info, 0, sizeof info);
    int r = spool__sys_waitid(c->pidfd, &info, 0);
    if (r >= 0 && info.si_pid == 0)
        return -EAGAIN;
    child_gone(src);
    if (r < 0)
        return -EPIPE;
    memcpy(ret_elems, &info, sizeof info);
    return 1;
}

static size_t child_len(struct spool__source *src)
{
    const struct child *c = (struct child *)src;
    siginfo_t info;
    if (src->is_shut)
        return 0;
    memset(&info, 0, sizeof info);
    int r = spool__sys_waitid(c->pidfd, &info, WNOWAIT);
    if (r < 0)
        child_gone(src);
    return r >= 0 && info.si_pid != 0;
}

static bool child_ready(struct spool__source *src)
{
    return child_len(src) || src->is_shut;
}

static void child_destroy(struct spool__source *src, void (*drop)(void *elem))
{
    const struct child *c = (struct child *)src;
    (void)drop; /* the child is left to the caller */
    (void)spool__sys_close(src->fd);
    (void)spool__sys_close(c->end);
    (void)spool__sys_close(c->pidfd);
}

static const struct spool__source_ops child_ops = {
    .name = "child",
    .bytes = sizeof(struct child),
    .elem_size = sizeof(siginfo_t),
    .get = child_get,
    .ready = child_ready,
    .shut = child_end,
    .destroy = child_destroy,
    .len = child_len,
};

static int open_child(pid_t pid)
{
    siginfo_t info;
    int pidfd = spool__sys_pidfd(pid);
    /* The kernel's words for no process, and for a thread that is none. */
    if (pidfd == -ESRCH || pidfd == -ENOENT || pidfd == -EINVAL)
        return -ECHILD;
    if (pidfd < 0)
        return pidfd;
    int r = spool__sys_waitid(pidfd, &info, WNOWAIT);
    if (r >= 0)
        return pidfd;
    (void)spool__sys_close(pidfd);
    return r;
}

int spool_child(spool_chan **ret, pid_t pid)
{
    spool_chan *chan;
    struct spool__source *src;
    if (!ret || pid <= 0)
        return -EINVAL;
    int pidfd = open_child(pid);
    if (pidfd < 0)
        return pidfd;
    int r = spool__chan_new_source(&chan, &src, &child_ops, __builtin_return_address(0));
    if (r >= 0) {
        struct child *c = (struct child *)src;
        c->pidfd = pidfd;
        src->pid = spool__sys_getpid();
        r = src->fd = spool__source_join(pidfd, &c->end);
        if (r < 0)
            spool__chan_free_source(chan);
    }
    if (r < 0) {
        (void)spool__sys_close(pidfd);
        return r;
    }
    *ret = chan;
    return 0;
}
