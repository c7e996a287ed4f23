/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* A mutex, two condition variables and a ring. For a rendezvous, a put waits until its element was taken. */

#define _GNU_SOURCE
#include "cell.h"
#include "locked.h"

#include <gnu/libc-version.h>
#include <stdio.h>

struct queue {
    pthread_mutex_t mutex;
    pthread_cond_t not_empty, not_full, taken;
    bool rendezvous;
    uint64_t pushed, popped;
    struct locked_ring ring;
};

static const char *about(void)
{
    static char text[64];
    snprintf(text, sizeof text, "mutex and condition variables, glibc %s", gnu_get_libc_version());
    return text;
}

static const char *why_not(const struct cell *c)
{
    if (cell_selects(c))
        return "a condition variable waits for one queue";
    return NULL;
}

static void *queue_new(const struct cell *c, size_t index)
{
    (void)index;
    struct queue *q = aligned_alloc(128, (sizeof *q + 127) / 128 * 128);
    if (!q)
        cell_fail("memory", 0);
    *q = (struct queue){ .rendezvous = !c->capacity };
    pthread_mutex_init(&q->mutex, NULL);
    pthread_cond_init(&q->not_empty, NULL);
    pthread_cond_init(&q->not_full, NULL);
    pthread_cond_init(&q->taken, NULL);
    ring_new(&q->ring, c->elem, c->capacity ? c->capacity : 1);
    return q;
}

static void queue_free(void *queue)
{
    struct queue *q = queue;
    free(q->ring.elems);
    free(q);
}

static void put(void *port, const void *elem)
{
    struct queue *q = port;
    pthread_mutex_lock(&q->mutex);
    while (ring_is_full(&q->ring))
        pthread_cond_wait(&q->not_full, &q->mutex);
    ring_push(&q->ring, elem);
    uint64_t mine = ++q->pushed;
    if (q->rendezvous) {
        pthread_cond_signal(&q->not_empty);
        while (q->popped < mine)
            pthread_cond_wait(&q->taken, &q->mutex);
    }
    pthread_mutex_unlock(&q->mutex);
    if (!q->rendezvous)
        pthread_cond_signal(&q->not_empty);
}

static void get(void *port, void *elem)
{
    struct queue *q = port;
    pthread_mutex_lock(&q->mutex);
    while (!q->ring.count)
        pthread_cond_wait(&q->not_empty, &q->mutex);
    ring_pop(&q->ring, elem);
    q->popped++;
    if (q->rendezvous)
        pthread_cond_broadcast(&q->taken);
    pthread_mutex_unlock(&q->mutex);
    pthread_cond_signal(&q->not_full);
}

/* As many as there is room for under one lock. */
static void put_many(void *port, const void *elems, size_t n)
{
    struct queue *q = port;
    const unsigned char *elem = elems;
    if (q->rendezvous) {
        for (; n > 0; n--, elem += q->ring.elem)
            put(port, elem);
        return;
    }
    while (n > 0) {
        pthread_mutex_lock(&q->mutex);
        while (ring_is_full(&q->ring))
            pthread_cond_wait(&q->not_full, &q->mutex);
        for (; n > 0 && !ring_is_full(&q->ring); n--, elem += q->ring.elem)
            ring_push(&q->ring, elem);
        pthread_mutex_unlock(&q->mutex);
        pthread_cond_broadcast(&q->not_empty);
    }
}

static size_t get_many(void *port, void *elems, size_t n)
{
    struct queue *q = port;
    unsigned char *elem = elems;
    size_t got = 0;
    pthread_mutex_lock(&q->mutex);
    while (!q->ring.count)
        pthread_cond_wait(&q->not_empty, &q->mutex);
    for (; got < n && q->ring.count; got++)
        ring_pop(&q->ring, elem + got * q->ring.elem);
    q->popped += got;
    if (q->rendezvous)
        pthread_cond_broadcast(&q->taken);
    pthread_mutex_unlock(&q->mutex);
    pthread_cond_broadcast(&q->not_full);
    return got;
}

static const struct ops ops = {
    .about = about,
    .cannot = why_not,
    .queue_new = queue_new,
    .queue_free = queue_free,
    .put = put,
    .get = get,
    .put_many = put_many,
    .get_many = get_many,
};

#include "loops.h"
