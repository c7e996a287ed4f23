/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* nng, push to pull over inproc: one socket a side, which threads may share. */

#define _GNU_SOURCE
#include "cell.h"

#include <nng/nng.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>
#include <stdio.h>
#include <stdlib.h>

struct queue {
    nng_socket push, pull;
    size_t elem;
};

static void try(const char *what, int error)
{
    if (!error)
        return;
    fprintf(stderr, "%s: %s\n", what, nng_strerror(error));
    cell_fail("nng", 0);
}

static const char *about(void)
{
    static char text[64];
    snprintf(text, sizeof text, "nng %s, inproc push/pull", nng_version());
    return text;
}

static const char *why_not(const struct cell *c)
{
    if (c->capacity < 2)
        return "an nng pipe holds messages of its own";
    if (c->capacity > 8192)
        return "the most that nng holds is 8192 messages";
    if (cell_selects(c))
        return "nng has no select";
    if (c->batch > 1)
        return "nng has no batches";
    return NULL;
}

static void *queue_new(const struct cell *c, size_t index)
{
    (void)index;
    struct queue *q = calloc(1, sizeof *q);
    if (!q)
        cell_fail("memory", 0);
    q->elem = c->elem;
    try("nng_pull0_open", nng_pull0_open(&q->pull));
    try("nng_push0_open", nng_push0_open(&q->push));
    try("NNG_OPT_SENDBUF", nng_socket_set_int(q->push, NNG_OPT_SENDBUF, (int)c->capacity));
    try("nng_listen", nng_listen(q->pull, "inproc://queue", NULL, 0));
    try("nng_dial", nng_dial(q->push, "inproc://queue", NULL, 0));
    return q;
}

static void queue_free(void *queue)
{
    struct queue *q = queue;
    nng_close(q->push);
    nng_close(q->pull);
    free(q);
}

static void put(void *port, const void *elem)
{
    struct queue *q = port;
    try("nng_send", nng_send(q->push, (void *)(uintptr_t)elem, q->elem, 0));
}

static void get(void *port, void *elem)
{
    struct queue *q = port;
    size_t n = q->elem;
    try("nng_recv", nng_recv(q->pull, elem, &n, 0));
    if (n != q->elem)
        cell_fail("a message of another size", 0);
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
