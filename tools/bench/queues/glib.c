/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* GAsyncQueue. It takes pointers: a word travels as one, a longer element is allocated by the sender. */

#define _GNU_SOURCE
#include "cell.h"

#include <glib.h>
#include <stdio.h>

static size_t elem_size;

static const char *about(void)
{
    static char text[64];
    snprintf(text, sizeof text, "GAsyncQueue, GLib %u.%u.%u", glib_major_version, glib_minor_version,
             glib_micro_version);
    return text;
}

static const char *why_not(const struct cell *c)
{
    if (c->capacity != SIZE_MAX)
        return "GAsyncQueue is unbounded";
    if (cell_selects(c))
        return "GAsyncQueue cannot be selected";
    if (c->batch > 1)
        return "GAsyncQueue has no batches";
    return NULL;
}

static void *queue_new(const struct cell *c, size_t index)
{
    (void)index;
    elem_size = c->elem;
    return g_async_queue_new();
}

static void queue_free(void *queue)
{
    g_async_queue_unref(queue);
}

static void put(void *port, const void *elem)
{
    void *p;
    if (elem_size == sizeof p)
        memcpy(&p, elem, sizeof p);
    else
        p = g_memdup2(elem, elem_size);
    g_async_queue_push(port, p);
}

static void get(void *port, void *elem)
{
    void *p = g_async_queue_pop(port);
    if (elem_size == sizeof p) {
        memcpy(elem, &p, sizeof p);
    } else {
        memcpy(elem, p, elem_size);
        g_free(p);
    }
}

static const struct ops ops = {
    .about = about,
    .cannot = why_not,
    .queue_new = queue_new,
    .queue_free = queue_free,
    .put = put,
    .get = get,
};

#include "loops.h"
