/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include <spool.h>

#include "source.h"

#include <string.h>

/*
 * A timerfd is the channel's descriptor itself. What makes it unreadable is a read, so the closed channel is one that
 * nobody reads any more.
 */
struct timer {
    struct spool__source source;
    int64_t start;    /* of the grid */
    int64_t interval; /* 0: one element, then closed */
    uint64_t counted; /* intervals that were got */
    uint64_t kept;    /* shut: the element that is left, or 0 */
    unsigned told;    /* how often one who found it drained told the next */
};

/* Strangers that poll edge-triggered and go on after -EPIPE would tell each other for ever. */
#define TELL_MAX 1000

static bool is_readable(const struct timer *t)
{
    return spool__sys_poll(t->source.fd, EPOLLIN) != 0;
}

/* Makes the descriptor readable by the time this returns, and wakes who waits for it. */
static void fire(int fd)
{
    if (spool__sys_timerfd_fire(fd) >= 0)
        return;
    /* A time that is over: the kernel fires as soon as it can, perhaps on another processor. */
    (void)spool__sys_timerfd_set(fd, 1, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (spool__sys_poll_until(&p, 1, INT64_MAX) <= 0)
        ;
}

static ssize_t timer_get(struct spool__source *src, void *ret_elems, size_t n)
{
    struct timer *t = (struct timer *)src;
    uint64_t count = 1;
    (void)n;
    if (src->is_shut && t->kept == 0) {
        /* Of strangers that poll with EPOLLEXCLUSIVE the kernel woke one. */
        if (t->told < TELL_MAX && spool__source_is_own(src)) {
            t->told++;
            (void)spool__sys_timerfd_fire(src->fd);
        }
        return -EPIPE;
    }
    if (src->is_shut) {
        count = t->kept;
        t->kept = 0;
    } else if (t->interval == 0) {
        if (!is_readable(t))
            return -EAGAIN;
        spool__source_set_shut(src);
    } else {
        if (spool__sys_read(src->fd, &count, sizeof count) < 0)
            return -EAGAIN;
        t->counted += count;
    }
    memcpy(ret_elems, &count, sizeof count);
    return 1;
}

static size_t timer_len(struct spool__source *src)
{
    const struct timer *t = (struct timer *)src;
    return src->is_shut ? t->kept != 0 : is_readable(t);
}

/* Not by reading what has expired: until it is got the descriptor shall not be unreadable for an instant. */
static void timer_shut(struct spool__source *src)
{
    struct timer *t = (struct timer *)src;
    if (!is_readable(t)) {
        if (spool__source_is_own(src))
            fire(src->fd);
        return;
    }
    t->kept = 1;
    if (t->interval == 0)
        return;
    uint64_t ended = (uint64_t)((spool__sys_now() - t->start) / t->interval);
    if (ended > t->counted)
        t->kept = ended - t->counted;
}

static void timer_destroy(struct spool__source *src, void (*drop)(void *elem))
{
    struct timer *t = (struct timer *)src;
    if (t->kept && drop)
        drop(&t->kept);
    (void)spool__sys_close(src->fd);
}

static const struct spool__source_ops timer_ops = {
    .name = "timer",
    .bytes = sizeof(struct timer),
    .elem_size = sizeof(uint64_t),
    .get = timer_get,
    .shut = timer_shut,
    .destroy = timer_destroy,
    .len = timer_len,
};

/* first < 0: never. */
static int timer_new(spool_chan **ret, int64_t first, int64_t interval, const void *creator)
{
    spool_chan *chan;
    struct spool__source *src;
    int64_t start = spool__sys_now();
    if (!ret)
        return -EINVAL;
    int fd = spool__sys_timerfd();
    if (fd < 0)
        return fd;
    if (first == 0) {
        fire(fd);
    } else if (first > 0 && first < INT64_MAX - start) {
        int r = spool__sys_timerfd_set(fd, start + first, interval);
        if (r < 0) {
            (void)spool__sys_close(fd);
            return r;
        }
    }
    int r = spool__chan_new_source(&chan, &src, &timer_ops, creator);
    if (r < 0) {
        (void)spool__sys_close(fd);
        return r;
    }
    struct timer *t = (struct timer *)src;
    src->fd = fd;
    src->pid = spool__sys_getpid();
    t->start = start;
    t->interval = interval;
    *ret = chan;
    return 0;
}

int spool_after(spool_chan **ret, int64_t delay_ns)
{
    return timer_new(ret, delay_ns, 0, __builtin_return_address(0));
}

int spool_tick(spool_chan **ret, int64_t interval_ns)
{
    return interval_ns > 0 ? timer_new(ret, interval_ns, interval_ns, __builtin_return_address(0)) : -EINVAL;
}

int spool_never(spool_chan **ret)
{
    return timer_new(ret, -1, 0, __builtin_return_address(0));
}
