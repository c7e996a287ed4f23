/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* spool, through its public interface. */

#define _GNU_SOURCE
#include "cell.h"

#include <spool.h>
#include <stdio.h>

static const char *about(void)
{
    static char text[64];
    snprintf(text, sizeof text, "spool %d.%d.%d", SPOOL_VERSION_MAJOR, SPOOL_VERSION_MINOR, SPOOL_VERSION_PATCH);
    return text;
}

static void *queue_new(const struct cell *c, size_t index)
{
    (void)index;
    spool_chan *chan;
    int r = spool_chan_new(&chan, c->elem, c->capacity == SIZE_MAX ? SPOOL_UNBOUNDED : c->capacity);
    if (r < 0)
        cell_fail("spool_chan_new", r);
    return chan;
}

static void queue_free(void *queue)
{
    spool_unref(queue);
}

static void put(void *port, const void *elem)
{
    int r = spool_put(port, elem);
    if (r < 0)
        cell_fail("spool_put", r);
}

static void get(void *port, void *elem)
{
    int r = spool_get(port, elem);
    if (r < 0)
        cell_fail("spool_get", r);
}

static void put_many(void *port, const void *elems, size_t n)
{
    ssize_t r = spool_put_many(port, elems, n, -1);
    if (r != (ssize_t)n)
        cell_fail("spool_put_many", r < 0 ? (int)r : 0);
}

static size_t get_many(void *port, void *elems, size_t n)
{
    ssize_t r = spool_get_many(port, elems, n, -1);
    if (r <= 0)
        cell_fail("spool_get_many", (int)r);
    return (size_t)r;
}

static void *select_new(void **queues, size_t n, void *elem, bool put)
{
    spool_select *select;
    int r = spool_select_new(&select);
    for (size_t i = 0; i < n && r >= 0; i++) {
        r = put ? spool_select_put(select, queues[i], elem) : spool_select_get(select, queues[i], elem);
        if (r >= 0 && r != (int)i)
            cell_fail("a case has another index than its queue", 0);
    }
    if (r < 0)
        cell_fail("spool_select", r);
    return select;
}

static size_t select_wait(void *select)
{
    int r = spool_select_wait(select, -1);
    if (r < 0)
        cell_fail("spool_select_wait", r);
    return (size_t)r;
}

static void select_free(void *select)
{
    spool_select_free(select);
}

static const struct ops ops = {
    .about = about,
    .queue_new = queue_new,
    .queue_free = queue_free,
    .put = put,
    .get = get,
    .put_many = put_many,
    .get_many = get_many,
    .select_new = select_new,
    .select_wait = select_wait,
    .select_free = select_free,
};

#include "loops.h"
