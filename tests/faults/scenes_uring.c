/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "faults.h"

#include "kernel.h"
#include "scenes.h"

#include "spool/uring.h"

static spool_chan *ring_new(unsigned entries)
{
    spool_chan *c;
    must_be(MAY_FAIL_OUT(c, spool_uring(&c, entries)), 0);
    must(spool_uring_ring(c) != NULL);
    return c;
}

static struct io_uring_sqe nop(uint64_t tag, unsigned flags)
{
    struct io_uring_sqe sqe;
    memset(&sqe, 0, sizeof(sqe));
    io_uring_prep_nop(&sqe);
    sqe.flags = (uint8_t)flags;
    sqe.user_data = tag;
    return sqe;
}

/* Of a read from a pipe that nobody writes to. */
static struct io_uring_sqe read_for_ever(uint64_t tag, int fd, char *into)
{
    struct io_uring_sqe sqe;
    memset(&sqe, 0, sizeof(sqe));
    io_uring_prep_read(&sqe, fd, into, 1, 0);
    sqe.user_data = tag;
    return sqe;
}

static void note(void *elem)
{
    const struct io_uring_cqe *cqe = elem;
    tags_got(cqe->user_data);
}

/* The kernel may be short of memory for a submission when there is nothing to wait for: -ENOMEM, once. */
static void put_ring(spool_chan *c, struct io_uring_sqe sqe)
{
    tags_put(sqe.user_data);
    must_be(MAY_FAIL(spool_put(c, &sqe)), 0);
}

static uint64_t get_ring(spool_chan *c, int *ret_res)
{
    struct io_uring_cqe cqe;
    must_be(SURE_OUT(cqe, spool_get(c, &cqe)), 0);
    tags_got(cqe.user_data);
    if (ret_res)
        *ret_res = cqe.res;
    return cqe.user_data;
}

static void ring_is_over(spool_chan *c)
{
    struct io_uring_cqe cqe;
    struct io_uring_sqe sqe = nop(0, 0);
    for (int i = 0; i < 2; i++) {
        must_be(SURE_OUT(cqe, spool_try_get(c, &cqe)), -EPIPE);
        must_be(SURE_OUT(cqe, spool_get(c, &cqe)), -EPIPE);
        must_be(SURE(spool_put(c, &sqe)), -EPIPE);
        must(fd_readable((int)MAY_FAIL(spool_fd(c))));
    }
}

static int gets_ring(struct worker *w)
{
    struct io_uring_cqe cqe;
    long r = SURE_OUT(cqe, spool_get_for(w->chan, &cqe, w->timeout_ns));
    if (r == 0)
        tags_got(cqe.user_data);
    return (int)r;
}

static void sleeps(struct worker *w, spool_chan *c, int (*fn)(struct worker *), int64_t timeout_ns, uint64_t tag)
{
    memset(w, 0, sizeof(*w));
    w->chan = c;
    w->timeout_ns = timeout_ns;
    w->index = tag;
    worker_start(w, fn);
    worker_wait_asleep(w);
}

/* Submissions and completions, batches, a select, one that sleeps; closed while it is empty. */
void run_uring(void)
{
    spool_chan *c = ring_new(4);
    struct io_uring_sqe batch[3];
    struct io_uring_cqe cqe;
    struct worker w;
    spool_select *s;
    must_be(SURE_OUT(cqe, spool_try_get(c, &cqe)), -EAGAIN);
    TIMES_OUT(SURE_OUT(cqe, spool_get_for(c, &cqe, WAIT)));
    put_ring(c, nop(0, 0));
    must_be(get_ring(c, NULL), 0);
    for (uint64_t i = 0; i < 3; i++) {
        batch[i] = nop(1 + i, 0);
        tags_put(1 + i);
    }
    must_be(MAY_FAIL(spool_put_many(c, batch, 3, -1)), 3);
    must_be(SURE(spool_len(c)), 3);
    for (uint64_t i = 0; i < 3; i++)
        must_be(get_ring(c, NULL), 1 + i);
    sleeps(&w, c, gets_ring, -1, 0);
    put_ring(c, nop(4, 0));
    must_be(worker_join(&w), 0);
    s = select_new();
    must_be(MAY_FAIL(spool_select_get(s, c, &cqe)), 0);
    must_be(SURE(spool_select_wait(s, 0)), -EAGAIN);
    put_ring(c, nop(5, 0));
    must_be(SURE(spool_select_wait(s, DEADLINE)), 0);
    tags_got(cqe.user_data);
    /* A put case: its result says that the kernel has no memory. */
    must_be(SURE(spool_select_remove(s, 0)), 0);
    batch[0] = nop(6, 0);
    must_be(MAY_FAIL(spool_select_put(s, c, &batch[0])), 0);
    must_be(SURE(spool_select_wait(s, -1)), 0);
    if (SURE(spool_select_result(s, 0)) != 0) {
        must(scene_met(F_RING_SUBMIT, NULL));
        must_be(SURE(spool_select_result(s, 0)), -ENOMEM);
        must_be(SURE(spool_select_wait(s, -1)), 0);
    }
    must_be(SURE(spool_select_result(s, 0)), 0);
    tags_put(6);
    must_be(get_ring(c, NULL), 6);
    SURE_DONE(spool_select_free(s));
    sleeps(&w, c, gets_ring, DEADLINE, 0);
    must_be(SURE(spool_close(c)), 0);
    must_be(worker_join(&w), -EPIPE);
    ring_is_over(c);
    SURE_DONE(spool_unref(c));
}

/* Closed, then dropped, with reads under way that would never end: each has its completion. */
void run_uring_close(void)
{
    int pipes[2];
    char into[4];
    must_be(pipe2(pipes, O_CLOEXEC), 0);
    for (uint64_t how = 0; how < 3; how++) {
        spool_chan *c = ring_new(4);
        struct worker w[2];
        must_be(SURE(spool_set_drop(c, note)), 0);
        for (uint64_t i = 0; i < 3; i++)
            put_ring(c, read_for_ever(10 * how + i, pipes[0], &into[i]));
        if (how == 1)
            for (int i = 0; i < 2; i++)
                sleeps(&w[i], c, gets_ring, i ? DEADLINE : -1, 0);
        if (how < 2)
            must_be(SURE(spool_close(c)), 0);
        if (how == 1) {
            for (int i = 0; i < 2; i++)
                must_be(worker_join(&w[i]), 0);
            (void)get_ring(c, NULL);
            ring_is_over(c);
        } else if (how == 0) {
            int res;
            for (int i = 0; i < 3; i++) {
                (void)get_ring(c, &res);
                must(res == -ECANCELED || res == -EINTR);
            }
            ring_is_over(c);
        }
        SURE_DONE(spool_unref(c));
    }
    close(pipes[0]);
    close(pipes[1]);
}

static int puts_chain(struct worker *w)
{
    struct io_uring_sqe chain[2] = {nop(w->index, IOSQE_IO_LINK), nop(w->index + 1, 0)};
    tags_put(w->index);
    tags_put(w->index + 1);
    return (int)MAY_FAIL(spool_put_many(w->chan, chain, 2, -1));
}

/* A chain waits for room for the whole of it; others wait for the end of its turn. */
void run_uring_chain(void)
{
    int pipes[2];
    char into[2];
    spool_chan *c = ring_new(2);
    struct worker w;
    struct io_uring_sqe chain[2] = {nop(20, IOSQE_IO_LINK), nop(21, 0)}, one = nop(22, 0);
    must_be(pipe2(pipes, O_CLOEXEC), 0);
    for (uint64_t i = 0; i < 2; i++)
        put_ring(c, read_for_ever(i, pipes[0], &into[i]));
    must_be(SURE(spool_put_many(c, chain, 2, 0)), -EAGAIN);
    TIMES_OUT(SURE(spool_put_many(c, chain, 2, WAIT)));
    TIMES_OUT(SURE(spool_put_for(c, &one, WAIT)));
    sleeps(&w, c, puts_chain, -1, 10);
    must_be(write(pipes[1], "ab", 2), 2);
    for (int i = 0; i < 2; i++)
        must(get_ring(c, NULL) < 2);
    must_be(worker_join(&w), 2);
    must_be(get_ring(c, NULL), 10);
    must_be(get_ring(c, NULL), 11);
    SURE_DONE(spool_unref(c));
    close(pipes[0]);
    close(pipes[1]);
}

/* A poll that completes again and again. The kernel may end it when the queue is full; then it is put again. */
static void put_poll(spool_chan *c, int fd)
{
    struct io_uring_sqe sqe;
    memset(&sqe, 0, sizeof(sqe));
    io_uring_prep_poll_multishot(&sqe, fd, POLLIN);
    must_be(MAY_FAIL(spool_put(c, &sqe)), 0);
}

enum { ROUNDS = 4, WAKES = 8 };

/* More completions than the ring has room for. */
void run_uring_overflow(void)
{
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    spool_chan *c = ring_new(2);
    struct io_uring_cqe cqe;
    put_poll(c, event);
    for (int round = 0; round < ROUNDS; round++) {
        bool more = true;
        int got = 0;
        for (int i = 0; i < WAKES; i++)
            must_be(eventfd_write(event, 1), 0);
        must(fd_wait_readable((int)MAY_FAIL(spool_fd(c))));
        must(SURE(spool_len(c)) > 0);
        while (SURE_OUT(cqe, spool_try_get(c, &cqe)) == 0) {
            must_be(cqe.user_data, 0);
            must(cqe.res > 0 && (cqe.res & POLLIN));
            more = cqe.flags & IORING_CQE_F_MORE;
            got++;
        }
        must(got > 0);
        if (!more)
            put_poll(c, event);
    }
    must_be(SURE(spool_close(c)), 0);
    while (SURE_OUT(cqe, spool_get(c, &cqe)) == 0)
        must_be(cqe.user_data, 0);
    ring_is_over(c);
    SURE_DONE(spool_unref(c));
    close(event);
}
