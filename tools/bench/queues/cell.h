/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef CELL_H
#define CELL_H

/*
 * One measurement of a queue: what is measured, the threads, the check of every message and the figures. The part of it
 * that runs once for each message is in loops.h.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define CELL_THREADS_MAX 64
#define CELL_BATCH_MAX 64
#define CELL_CAPACITY_N 5000000u

enum cell_shape { SEQ, SPSC, MPSC, MPMC, SELECT_RX, SELECT_BOTH };

struct cell {
    const char *name;
    enum cell_shape shape;
    size_t capacity; /* SIZE_MAX: unbounded */
    uint64_t messages;
    size_t threads, elem, batch;
    unsigned stall_s;
    size_t n_tx, n_rx, n_queues;
};

static inline bool cell_selects(const struct cell *c)
{
    return c->shape == SELECT_RX || c->shape == SELECT_BOTH;
}

/* How many of one producer a receiver has got, and sums that tell which. */
struct tally {
    uint64_t count, sum, squares;
};

/* A thread's own. The first line is read by others now and then. */
struct slot {
    _Alignas(128) _Atomic uint64_t done;
    _Alignas(128) uint64_t goal;
    uint64_t mark, marked, next, longest; /* when and after how many the clock was read, and is next; longest wait */
    const struct cell *cell;
    struct side *side;
    unsigned index;
    unsigned char *elems;  /* room for a batch */
    struct tally *tallies; /* one for each producer; receivers only */
    uint64_t *last;        /* [queue][producer]: the last number got */
    void **queues;
};

struct side {
    struct slot *slots;
    size_t n;
    atomic_bool one_is_done;
    double least_share;
};

static inline uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* A message is its producer and its number from 1 on; longer elements repeat it, inverted, at their end. */
static inline void message_write(unsigned char *elem, size_t size, unsigned producer, uint64_t number)
{
    uint64_t word = (uint64_t)producer << 40 | number;
    memcpy(elem, &word, sizeof word);
    if (size > sizeof word) {
        word = ~word;
        memcpy(elem + size - sizeof word, &word, sizeof word);
    }
}

/* Ends the process: a message is lost, doubled or out of order. */
_Noreturn void cell_wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Ends the process: something else failed; error is an errno, negative or not, or 0. */
_Noreturn void cell_fail(const char *what, int error);

static inline void message_check(struct slot *s, const unsigned char *elem, size_t size, size_t queue)
{
    uint64_t word, end;
    memcpy(&word, elem, sizeof word);
    uint64_t producer = word >> 40, number = word & (((uint64_t)1 << 40) - 1);
    if (size > sizeof word) {
        memcpy(&end, elem + size - sizeof end, sizeof end);
        if (end != ~word)
            cell_wrong("an element was torn: %#llx and %#llx", (unsigned long long)word, (unsigned long long)end);
    }
    if (producer >= s->cell->n_tx)
        cell_wrong("%#llx was never put", (unsigned long long)word);
    uint64_t *last = s->last + queue * s->cell->n_tx + producer;
    if (number <= *last)
        cell_wrong("producer %u: %llu after %llu", (unsigned)producer, (unsigned long long)number,
                   (unsigned long long)*last);
    *last = number;
    s->tallies[producer].count++;
    s->tallies[producer].sum += number;
    s->tallies[producer].squares += number * number;
}

void slot_sample(struct slot *s, uint64_t done);

/*
 * After so many messages. The clock is read about every 8 us, and at least at every 256th message, whatever the
 * messages take, so that reading it costs under one in a hundred. The longest time between two readings is the longest
 * wait: none is missed, and each is told too long by what the other messages between took.
 */
static inline void slot_note(struct slot *s, uint64_t done)
{
    atomic_store_explicit(&s->done, done, memory_order_relaxed);
    if (done >= s->next)
        slot_sample(s, done);
}

/* What a runner tells of its queue; loops.h makes a program of it. */
struct ops {
    const char *(*about)(void);
    const char *(*cannot)(const struct cell *c); /* why not, or NULL; may be NULL itself */
    void *(*queue_new)(const struct cell *c, size_t index);
    void (*queue_free)(void *queue);
    /* A thread's end of a queue; the queue itself where these are NULL. */
    void *(*tx_open)(void *queue);
    void *(*rx_open)(void *queue);
    void (*close)(void *port);
    void (*put)(void *port, const void *elem);
    void (*get)(void *port, void *elem);
    /* NULL where there are no batches. Puts all n; gets 1 to n. */
    void (*put_many)(void *port, const void *elems, size_t n);
    size_t (*get_many)(void *port, void *elems, size_t n);
    /* A set that puts from or gets into elem; NULL where there is none. wait returns which queue it was. */
    void *(*select_new)(void **queues, size_t n, void *elem, bool put);
    size_t (*select_wait)(void *select);
    void (*select_free)(void *select);
};

/* What cell.c needs: the table, and the loops that see through it. */
struct runner {
    const struct ops *ops;
    void (*seq)(struct slot *tx, struct slot *rx);
    void (*send)(struct slot *s);
    void (*receive)(struct slot *s);
};

int cell_main(int argc, char **argv, const struct runner *r);

#endif
