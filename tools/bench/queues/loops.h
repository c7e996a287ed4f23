/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef LOOPS_H
#define LOOPS_H

/*
 * What runs for each message. A runner defines "static const struct ops ops" and includes this file after it, so that
 * the compiler sees through the table, as it does in a program that calls the queue directly. This file has main.
 */

#include "cell.h"

static void send_one_by_one(struct slot *s, void *port)
{
    size_t size = s->cell->elem;
    uint64_t n = s->goal;
    unsigned index = s->index;
    unsigned char *elem = s->elems;
    for (uint64_t i = 1; i <= n; i++) {
        message_write(elem, size, index, i);
        ops.put(port, elem);
        slot_note(s, i);
    }
}

static void send_batches(struct slot *s, void *port)
{
    size_t size = s->cell->elem, batch = s->cell->batch;
    for (uint64_t i = 0; i < s->goal;) {
        size_t n = s->goal - i < batch ? (size_t)(s->goal - i) : batch;
        for (size_t k = 0; k < n; k++)
            message_write(s->elems + k * size, size, s->index, i + k + 1);
        ops.put_many(port, s->elems, n);
        i += n;
        slot_note(s, i);
    }
}

static void send_selected(struct slot *s)
{
    size_t size = s->cell->elem;
    uint64_t n = s->goal;
    void *select = ops.select_new(s->queues, s->cell->n_queues, s->elems, true);
    for (uint64_t i = 1; i <= n; i++) {
        message_write(s->elems, size, s->index, i);
        ops.select_wait(select);
        slot_note(s, i);
    }
    ops.select_free(select);
}

static void receive_one_by_one(struct slot *s, void *port)
{
    size_t size = s->cell->elem;
    uint64_t n = s->goal;
    unsigned char *elem = s->elems;
    for (uint64_t i = 1; i <= n; i++) {
        ops.get(port, elem);
        message_check(s, elem, size, 0);
        slot_note(s, i);
    }
}

static void receive_batches(struct slot *s, void *port)
{
    size_t size = s->cell->elem, batch = s->cell->batch;
    for (uint64_t i = 0; i < s->goal;) {
        size_t n = ops.get_many(port, s->elems, s->goal - i < batch ? (size_t)(s->goal - i) : batch);
        for (size_t k = 0; k < n; k++)
            message_check(s, s->elems + k * size, size, 0);
        i += n;
        slot_note(s, i);
    }
}

static void receive_selected(struct slot *s)
{
    size_t size = s->cell->elem;
    uint64_t n = s->goal;
    void *select = ops.select_new(s->queues, s->cell->n_queues, s->elems, false);
    for (uint64_t i = 1; i <= n; i++) {
        size_t queue = ops.select_wait(select);
        message_check(s, s->elems, size, queue);
        slot_note(s, i);
    }
    ops.select_free(select);
}

static void loops_send(struct slot *s)
{
    if (s->cell->shape == SELECT_BOTH) {
        send_selected(s);
        return;
    }
    void *queue = s->queues[s->index % s->cell->n_queues];
    void *port = ops.tx_open ? ops.tx_open(queue) : queue;
    if (s->cell->batch > 1)
        send_batches(s, port);
    else
        send_one_by_one(s, port);
    if (ops.close)
        ops.close(port);
}

static void loops_receive(struct slot *s)
{
    if (cell_selects(s->cell)) {
        receive_selected(s);
        return;
    }
    void *port = ops.rx_open ? ops.rx_open(s->queues[0]) : s->queues[0];
    if (s->cell->batch > 1)
        receive_batches(s, port);
    else
        receive_one_by_one(s, port);
    if (ops.close)
        ops.close(port);
}

/* One thread puts until the queue is full or all is put, then gets it all, and so on. */
static void loops_seq(struct slot *tx, struct slot *rx)
{
    size_t size = tx->cell->elem, batch = tx->cell->batch;
    uint64_t room = tx->cell->capacity;
    void *to = ops.tx_open ? ops.tx_open(tx->queues[0]) : tx->queues[0];
    void *from = ops.rx_open ? ops.rx_open(rx->queues[0]) : rx->queues[0];
    for (uint64_t i = 0, got = 0; i < tx->goal;) {
        uint64_t end = tx->goal - i < room ? tx->goal : i + room;
        while (i < end && batch > 1) {
            size_t n = end - i < batch ? (size_t)(end - i) : batch;
            for (size_t k = 0; k < n; k++)
                message_write(tx->elems + k * size, size, 0, i + k + 1);
            ops.put_many(to, tx->elems, n);
            i += n;
        }
        while (i < end) {
            message_write(tx->elems, size, 0, ++i);
            ops.put(to, tx->elems);
        }
        atomic_store_explicit(&tx->done, i, memory_order_relaxed);
        while (got < end && batch > 1) {
            size_t n = ops.get_many(from, rx->elems, end - got < batch ? (size_t)(end - got) : batch);
            for (size_t k = 0; k < n; k++)
                message_check(rx, rx->elems + k * size, size, 0);
            got += n;
        }
        while (got < end) {
            ops.get(from, rx->elems);
            message_check(rx, rx->elems, size, 0);
            got++;
        }
        atomic_store_explicit(&rx->done, got, memory_order_relaxed);
    }
    if (ops.close) {
        ops.close(to);
        ops.close(from);
    }
}

int main(int argc, char **argv)
{
    static const struct runner runner = {&ops, loops_seq, loops_send, loops_receive};
    return cell_main(argc, argv, &runner);
}

#endif
