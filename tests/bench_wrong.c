/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * A queue for tests/bench.sh that does wrong once, in the way its program is called: it loses a message, doubles one,
 * swaps two of one producer, tears an element, makes one up, crashes or sleeps for ever. Called anything else, it is
 * right.
 */

#define _GNU_SOURCE
#include "cell.h"
#include "locked.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#define NTH 100 /* the put that goes wrong */

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t puts;
    struct locked_ring ring;
} q = { .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static bool is(const char *what)
{
    return !strcmp(program_invocation_short_name, what);
}

static const char *about(void)
{
    return program_invocation_short_name;
}

static void *queue_new(const struct cell *c, size_t index)
{
    (void)index;
    ring_new(&q.ring, c->elem, SIZE_MAX);
    return &q;
}

static void queue_free(void *queue)
{
    (void)queue;
    free(q.ring.elems);
}

static void put(void *port, const void *elem)
{
    unsigned char copy[2048], held[2048];
    (void)port;
    memcpy(copy, elem, q.ring.elem);
    pthread_mutex_lock(&q.mutex);
    bool now = ++q.puts == NTH, lost = now && is("loses");
    if (now && is("crashes"))
        raise(SIGSEGV);
    while (now && is("sleeps"))
        pause();
    if (now && is("tears"))
        memset(copy, 0, 8);
    if (now && is("invents"))
        message_write(copy, q.ring.elem, CELL_THREADS_MAX, 1);
    if (!lost)
        ring_push(&q.ring, copy);
    if (now && is("doubles"))
        ring_push(&q.ring, copy);
    if (now && is("swaps") && q.ring.count > 1) {
        /* The second to last is another's or an earlier one; each is a message that comes when it should not. */
        size_t last = (q.ring.head + q.ring.count - 1) % q.ring.room, before = (last + q.ring.room - 1) % q.ring.room;
        memcpy(held, q.ring.elems + last * q.ring.elem, q.ring.elem);
        memcpy(q.ring.elems + last * q.ring.elem, q.ring.elems + before * q.ring.elem, q.ring.elem);
        memcpy(q.ring.elems + before * q.ring.elem, held, q.ring.elem);
    }
    pthread_mutex_unlock(&q.mutex);
    pthread_cond_signal(&q.changed);
}

static void get(void *port, void *elem)
{
    (void)port;
    pthread_mutex_lock(&q.mutex);
    while (!q.ring.count)
        pthread_cond_wait(&q.changed, &q.mutex);
    ring_pop(&q.ring, elem);
    pthread_mutex_unlock(&q.mutex);
}

static const struct ops ops = {
    .about = about,
    .queue_new = queue_new,
    .queue_free = queue_free,
    .put = put,
    .get = get,
};

#include "loops.h"
