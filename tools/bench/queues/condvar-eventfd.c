/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * A mutex, a condition variable for room and a ring, and an eventfd with one write for each message, so that a getter
 * can poll for it beside others. The eventfd is a semaphore: its count is never below the number of elements in the
 * ring, but for puts that are about to write it.
 */

#define _GNU_SOURCE
#include "cell.h"
#include "locked.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct queue {
    pthread_mutex_t mutex;
    pthread_cond_t not_full;
    int fd;
    struct locked_ring ring;
};

static const char *about(void)
{
    static char text[96];
    snprintf(text, sizeof text, "mutex, condition variable and an eventfd write per message, glibc %s",
             gnu_get_libc_version());
    return text;
}

static const char *why_not(const struct cell *c)
{
    if (!c->capacity)
        return "a ring is no rendezvous";
    if (c->shape == SELECT_BOTH)
        return "room cannot be polled for";
    if (c->batch > 1)
        return "one write for each message is what this measures";
    return NULL;
}

static void *queue_new(const struct cell *c, size_t index)
{
    (void)index;
    struct queue *q = aligned_alloc(128, (sizeof *q + 127) / 128 * 128);
    if (!q)
        cell_fail("memory", 0);
    *q = (struct queue){ .fd = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC) };
    if (q->fd < 0)
        cell_fail("eventfd", errno);
    pthread_mutex_init(&q->mutex, NULL);
    pthread_cond_init(&q->not_full, NULL);
    ring_new(&q->ring, c->elem, c->capacity);
    return q;
}

static void queue_free(void *queue)
{
    struct queue *q = queue;
    close(q->fd);
    free(q->ring.elems);
    free(q);
}

static void put(void *port, const void *elem)
{
    struct queue *q = port;
    uint64_t one = 1;
    pthread_mutex_lock(&q->mutex);
    while (ring_is_full(&q->ring))
        pthread_cond_wait(&q->not_full, &q->mutex);
    ring_push(&q->ring, elem);
    pthread_mutex_unlock(&q->mutex);
    if (write(q->fd, &one, sizeof one) != sizeof one)
        cell_fail("write", errno);
}

static bool try_get(struct queue *q, void *elem)
{
    pthread_mutex_lock(&q->mutex);
    bool got = q->ring.count > 0;
    if (got)
        ring_pop(&q->ring, elem);
    pthread_mutex_unlock(&q->mutex);
    if (got)
        pthread_cond_signal(&q->not_full);
    return got;
}

static void count_down(struct queue *q)
{
    uint64_t one;
    if (read(q->fd, &one, sizeof one) != sizeof one)
        cell_fail("read", errno);
}

static void get(void *port, void *elem)
{
    struct queue *q = port;
    while (!try_get(q, elem))
        count_down(q);
}

struct set {
    size_t n, next;
    void *elem;
    void **queues;
    struct pollfd fds[CELL_THREADS_MAX];
};

static void *select_new(void **queues, size_t n, void *elem, bool put)
{
    (void)put;
    struct set *set = calloc(1, sizeof *set);
    if (!set)
        cell_fail("memory", 0);
    set->n = n;
    set->elem = elem;
    set->queues = queues;
    for (size_t i = 0; i < n; i++)
        set->fds[i] = (struct pollfd){ .fd = ((struct queue *)queues[i])->fd, .events = POLLIN };
    return set;
}

/* Goes round what was ready at one poll before it polls again. Only one thread gets, so a read does not block. */
static size_t select_wait(void *select)
{
    struct set *set = select;
    for (;;) {
        while (set->next < set->n) {
            size_t i = set->next++;
            struct queue *q = set->queues[i];
            if (!(set->fds[i].revents & POLLIN))
                continue;
            count_down(q);
            if (try_get(q, set->elem))
                return i;
        }
        if (poll(set->fds, set->n, -1) < 0)
            cell_fail("poll", errno);
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
    .put = put,
    .get = get,
    .select_new = select_new,
    .select_wait = select_wait,
    .select_free = select_free,
};

#include "loops.h"
