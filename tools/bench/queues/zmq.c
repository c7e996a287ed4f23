/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * ZeroMQ, PUSH to PULL over inproc. A socket belongs to one thread, so each sender has its own; the high-water marks of
 * its two ends add up to the capacity, which each sender thus has to itself.
 */

#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <zmq.h>

struct queue {
    void *pull;
    int send_mark;
    size_t elem;
    char endpoint[32];
};

static void *context;

static const char *about(void)
{
    static char text[64];
    int major, minor, patch;
    zmq_version(&major, &minor, &patch);
    snprintf(text, sizeof text, "ZeroMQ %d.%d.%d, inproc PUSH/PULL", major, minor, patch);
    return text;
}

static const char *why_not(const struct cell *c)
{
    if (c->capacity < 2)
        return "the least that ZeroMQ holds is two messages";
    if (c->n_rx > 1)
        return "a socket belongs to one thread, and PUSH chooses the receiver";
    if (c->shape == SELECT_BOTH)
        return "a socket belongs to one thread";
    if (c->batch > 1)
        return "ZeroMQ has no batches";
    return NULL;
}

static void option(void *socket, int name, int value)
{
    if (zmq_setsockopt(socket, name, &value, sizeof value))
        cell_fail("zmq_setsockopt", errno);
}

static void *queue_new(const struct cell *c, size_t index)
{
    if (!context && !(context = zmq_ctx_new()))
        cell_fail("zmq_ctx_new", errno);
    struct queue *q = calloc(1, sizeof *q);
    if (!q || !(q->pull = zmq_socket(context, ZMQ_PULL)))
        cell_fail("zmq_socket", errno);
    int capacity = c->capacity == SIZE_MAX ? 0 : (int)c->capacity;
    option(q->pull, ZMQ_RCVHWM, capacity / 2);
    q->send_mark = capacity - capacity / 2;
    q->elem = c->elem;
    snprintf(q->endpoint, sizeof q->endpoint, "inproc://%zu", index);
    if (zmq_bind(q->pull, q->endpoint))
        cell_fail("zmq_bind", errno);
    return q;
}

static void queue_free(void *queue)
{
    struct queue *q = queue;
    if (zmq_close(q->pull))
        cell_fail("zmq_close", errno);
    free(q);
}

/* What a thread sends or receives with. */
struct port {
    void *socket;
    size_t elem;
    bool owned;
};

static void *tx_open(void *queue)
{
    struct queue *q = queue;
    struct port *p = calloc(1, sizeof *p);
    if (!p || !(p->socket = zmq_socket(context, ZMQ_PUSH)))
        cell_fail("zmq_socket", errno);
    p->elem = q->elem;
    p->owned = true;
    option(p->socket, ZMQ_SNDHWM, q->send_mark);
    if (zmq_connect(p->socket, q->endpoint))
        cell_fail("zmq_connect", errno);
    return p;
}

static void *rx_open(void *queue)
{
    struct queue *q = queue;
    struct port *p = calloc(1, sizeof *p);
    if (!p)
        cell_fail("memory", 0);
    p->socket = q->pull;
    p->elem = q->elem;
    return p;
}

static void close_port(void *port)
{
    struct port *p = port;
    if (p->owned && zmq_close(p->socket))
        cell_fail("zmq_close", errno);
    free(p);
}

static void put(void *port, const void *elem)
{
    struct port *p = port;
    if (zmq_send(p->socket, elem, p->elem, 0) < 0)
        cell_fail("zmq_send", errno);
}

static void get(void *port, void *elem)
{
    struct port *p = port;
    int n = zmq_recv(p->socket, elem, p->elem, 0);
    if (n != (int)p->elem)
        cell_fail("zmq_recv", n < 0 ? errno : 0);
}

struct set {
    size_t n, next, elem_size;
    void *elem;
    zmq_pollitem_t items[CELL_THREADS_MAX];
};

static void *select_new(void **queues, size_t n, void *elem, bool put)
{
    (void)put;
    struct set *set = calloc(1, sizeof *set);
    if (!set)
        cell_fail("memory", 0);
    set->n = n;
    set->elem = elem;
    for (size_t i = 0; i < n; i++) {
        struct queue *q = queues[i];
        set->elem_size = q->elem;
        set->items[i] = (zmq_pollitem_t){ .socket = q->pull, .events = ZMQ_POLLIN };
    }
    return set;
}

/* Takes one of each that was ready at one poll before it polls again. */
static size_t select_wait(void *select)
{
    struct set *set = select;
    for (;;) {
        while (set->next < set->n) {
            size_t i = set->next++;
            if (!(set->items[i].revents & ZMQ_POLLIN))
                continue;
            if (zmq_recv(set->items[i].socket, set->elem, set->elem_size, 0) != (int)set->elem_size)
                cell_fail("zmq_recv", errno);
            return i;
        }
        if (zmq_poll(set->items, (int)set->n, -1) < 0)
            cell_fail("zmq_poll", errno);
        set->next = 0;
    }
}

static void select_free(void *select)
{
    free(select);
}

static const struct ops ops = {
    .about = about,
    .cannot = why_not,
    .queue_new = queue_new,
    .queue_free = queue_free,
    .tx_open = tx_open,
    .rx_open = rx_open,
    .close = close_port,
    .put = put,
    .get = get,
    .select_new = select_new,
    .select_wait = select_wait,
    .select_free = select_free,
};

#include "loops.h"
