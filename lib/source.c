/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "source.h"

/* ---- Descriptors that end ------------------------------------------------------------------------------------- */

/* The two members of a joined set; which is which only matters to who reads a trace. */
#define JOINED_FROM 0
#define JOINED_END 1

/*
 * Each has an eventfd of its own. One that all share and that is always readable would do, were it not for the kernel's
 * limit on how many sets hold a descriptor: 100 if those are in a select that is nested in another loop.
 */
int spool__source_join(int from, int32_t *ret_end)
{
    int end = spool__sys_eventfd();
    if (end < 0)
        return end;
    int joined = spool__sys_epoll_create();
    int r = joined;
    if (r >= 0)
        r = spool__sys_epoll_ctl(joined, EPOLL_CTL_ADD, from, EPOLLIN, JOINED_FROM);
    if (r >= 0)
        r = spool__sys_epoll_ctl(joined, EPOLL_CTL_ADD, end, EPOLLIN, JOINED_END);
    if (r >= 0) {
        *ret_end = end;
        return joined;
    }
    if (joined >= 0)
        (void)spool__sys_close(joined);
    (void)spool__sys_close(end);
    return r;
}

void spool__source_end(const struct spool__source *src, int end)
{
    if (spool__source_is_own(src))
        (void)spool__sys_eventfd_write(end, UINT64_C(1) << 32);
}

bool spool__source_is_own(const struct spool__source *src)
{
    return src->pid == spool__sys_getpid();
}

/* ---- Getting -------------------------------------------------------------------------------------------------- */

static bool is_ready(struct spool__source *src)
{
    return src->ops->ready ? src->ops->ready(src) : spool__sys_poll(src->fd, EPOLLIN) != 0;
}

static size_t count(struct spool__source *src)
{
    return src->ops->len ? src->ops->len(src) : is_ready(src);
}

ssize_t spool__source_get(struct spool__source *src, void *ret_elems, size_t n)
{
    spool__lock(&src->lock);
    ssize_t got = src->ops->get(src, ret_elems, n);
    if (got > 0)
        src->taken += (uint64_t)got;
    spool__unlock(&src->lock);
    return got;
}

int spool__source_can_get(struct spool__source *src, uint64_t *ret_pos)
{
    spool__lock(&src->lock);
    int ret = is_ready(src) ? 0 : -EAGAIN;
    /* Looking may find that it has ended. */
    if (ret == 0 && src->is_shut && src->ops->len && src->ops->len(src) == 0)
        ret = -EPIPE;
    *ret_pos = src->taken;
    spool__unlock(&src->lock);
    return ret;
}

size_t spool__source_len(struct spool__source *src)
{
    spool__lock(&src->lock);
    size_t len = count(src);
    spool__unlock(&src->lock);
    return len;
}

/* ---- Waiting -------------------------------------------------------------------------------------------------- */

/* The epoll descriptor that holds fd, made if need be. */
static int park_fd(struct spool__source *src)
{
    /* Acquire: that fd was added comes before the wait. */
    int32_t plus_1 = spool__load(&src->park_plus_1, ACQUIRE);
    if (plus_1)
        return plus_1 - 1;
    int epoll = spool__sys_epoll_create();
    if (epoll < 0)
        return epoll;
    int r = spool__sys_epoll_ctl(epoll, EPOLL_CTL_ADD, src->fd, EPOLLIN, 0);
    if (r >= 0 && spool__cas(&src->park_plus_1, &plus_1, epoll + 1, ACQ_REL))
        return epoll;
    (void)spool__sys_close(epoll);
    return r < 0 ? r : spool__load(&src->park_plus_1, ACQUIRE) - 1;
}

static int waited(int r, int64_t deadline)
{
    return r <= 0 && deadline != INT64_MAX && spool__sys_now() >= deadline ? -ETIMEDOUT : 0;
}

int spool__source_poll(struct pollfd *fds, unsigned n, int64_t deadline)
{
    return waited(spool__sys_poll_until(fds, n, deadline), deadline);
}

/*
 * Of threads that wait in one epoll set the kernel wakes one for an event, and the next once that one has seen it, for
 * as long as fd is readable: so no element finds everybody asleep, and a closed channel wakes all.
 */
int spool__source_park(struct spool__source *src, int64_t deadline)
{
    if (src->ops->park)
        return src->ops->park(src, deadline);
    struct epoll_event event;
    int epoll = park_fd(src);
    if (epoll >= 0)
        return waited(spool__sys_epoll_wait(epoll, &event, 1, deadline), deadline);
    /* No descriptor is left: then all of them wake for each event. */
    return spool__source_poll(&(struct pollfd){.fd = src->fd, .events = POLLIN}, 1, deadline);
}

/* ---- Closing -------------------------------------------------------------------------------------------------- */

void spool__source_set_shut(struct spool__source *src)
{
    /* Release: who sees that it is closed sees what was done before. */
    spool__store(&src->is_shut, true, RELEASE);
}

int spool__source_close(struct spool__source *src)
{
    spool__lock(&src->lock);
    bool was = src->is_shut;
    if (!was) {
        spool__source_set_shut(src);
        src->ops->shut(src);
    }
    spool__unlock(&src->lock);
    return was ? -EALREADY : 0;
}

void spool__source_destroy(struct spool__source *src, void (*drop)(void *elem))
{
    int32_t plus_1 = spool__load(&src->park_plus_1, ACQUIRE);
    if (plus_1)
        (void)spool__sys_close(plus_1 - 1);
    src->ops->destroy(src, drop);
}
