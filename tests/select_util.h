/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_TEST_SELECT_H
#define SPOOL_TEST_SELECT_H

/* What the tests of the select share. Include it first, as util.h. */

#include "util.h"

#include <sys/epoll.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static inline spool_chan *chan_of(size_t capacity)
{
    spool_chan *chan = NULL;
    must_be(spool_chan_new(&chan, sizeof(uint64_t), capacity), 0);
    return chan;
}

static inline spool_select *select_of(void)
{
    spool_select *sel = NULL;
    must_be(spool_select_new(&sel), 0);
    return sel;
}

/* One of each flavour; MEET is the index of the rendezvous. */
static const size_t flavours[] = {4, SPOOL_UNBOUNDED, 0};

enum { FLAVOURS = 3, MEET = 2 };

/* Threads that wait in a rendezvous, with an element each, until this thread or a select gets it. */
static struct partner {
    struct worker worker;
    uint64_t value;
    bool used;
} partners[64];

static inline size_t free_partner(void)
{
    size_t i = 0;
    while (i < COUNT(partners) && partners[i].used && !atomic_load(&partners[i].worker.done))
        i++;
    return i;
}

static inline struct partner *partner_of(spool_chan *chan, uint64_t value, int (*fn)(struct worker *))
{
    size_t i;
    /* Those who have met somebody may take a while to return. */
    wait_until((i = free_partner()) < COUNT(partners));
    if (partners[i].used)
        (void)worker_join(&partners[i].worker);
    memset(&partners[i], 0, sizeof(partners[i]));
    partners[i].used = true;
    partners[i].value = value;
    partners[i].worker.chan = chan;
    partners[i].worker.elem = &partners[i].value;
    worker_start(&partners[i].worker, fn);
    return &partners[i];
}

/* All have met somebody, or found the channel closed. */
static inline void join_partners(void)
{
    for (size_t i = 0; i < COUNT(partners); i++) {
        if (partners[i].used)
            (void)worker_join(&partners[i].worker);
        partners[i].used = false;
    }
}

/* Drops the last reference, but first closes the channel and lets partners return, who have none of their own. */
static inline void retire(spool_chan *chan)
{
    if (!chan)
        return;
    (void)spool_close(chan);
    for (size_t i = 0; i < COUNT(partners); i++) {
        if (!partners[i].used || partners[i].worker.chan != chan)
            continue;
        (void)worker_join(&partners[i].worker);
        partners[i].used = false;
    }
    spool_unref(chan);
}

/* There to be got: in the channel, or with somebody who waits, the last of all. */
static inline void put(spool_chan *chan, uint64_t value)
{
    if (is_meet(chan))
        worker_wait_asleep(&partner_of(chan, value, worker_put)->worker);
    else
        must_be(spool_try_put(chan, &value), 0);
}

static inline uint64_t get(spool_chan *chan)
{
    uint64_t value = 0;
    must_be(spool_try_get(chan, &value), 0);
    return value;
}

/* The same where it is done so often that nobody can look at /proc each time; nobody else may wait there to put. */
static inline void put_often(spool_chan *chan, uint64_t value)
{
    if (!is_meet(chan)) {
        put(chan, value);
        return;
    }
    spool_select *look = select_of();
    must_be(spool_select_get(look, chan, NULL), 0);
    (void)partner_of(chan, value, worker_put);
    must_be(spool_select_wait(look, DEADLINE), 0);
    spool_select_free(look);
}

/* A pipe: [0] is read, [1] written, neither blocks. */
static inline void pipe_of(int fds[2])
{
    must_be(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
}

static inline void write_byte(int fd)
{
    must_be(write(fd, "x", 1), 1);
}

static inline void read_byte(int fd)
{
    char byte;
    must_be(read(fd, &byte, 1), 1);
}

static inline void close_both(const int fds[2])
{
    must_be(close(fds[0]), 0);
    must_be(close(fds[1]), 0);
}

/* The select has nothing, and says so on its descriptor as well. */
static inline void must_be_quiet(spool_select *sel)
{
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    must(!fd_readable(spool_select_poll_fd(sel)));
}

/* A wait would not block, says the descriptor; and then it does not. */
static inline int wait_ready(spool_select *sel)
{
    must(fd_readable(spool_select_poll_fd(sel)));
    int index = spool_select_wait(sel, 0);
    must(index != -EAGAIN);
    return index;
}

static inline int worker_wait(struct worker *w)
{
    return spool_select_wait(w->sel, w->timeout_ns);
}

/* Asleep wherever it is; for threads that sleep nowhere else. */
static inline void wait_sleep(struct worker *w)
{
    wait_until(task_state(atomic_load(&w->tid)) == 'S');
}

static inline int poll_once(struct worker *w)
{
    struct pollfd p = {.fd = w->sel ? spool_select_poll_fd(w->sel) : spool_fd(w->chan), .events = POLLIN};
    must_be(poll(&p, 1, (int)(DEADLINE / MS)), 1);
    return p.revents == POLLIN ? 0 : -EINVAL;
}

#endif
