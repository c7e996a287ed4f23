/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * io_uring itself: one multishot poll, which tells of edges, so that each turn goes on until -EAGAIN; and, where a turn
 * takes one message, a poll for each turn, which looks at the level.
 */

#include "loop.h"

#include <liburing.h>
#include <poll.h>

enum { POLL = 1, CANCEL = 2 };

/* One for all tests: to the end of a ring the kernel wakes its thread now and then, which would look like no rest. */
static struct io_uring ring;

static struct io_uring_sqe *new_sqe(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

    loop_must(sqe);
    return sqe;
}

static void submit(struct io_uring_sqe *sqe, uint64_t what)
{
    io_uring_sqe_set_data64(sqe, what);
    loop_must(io_uring_submit(&ring) == 1);
}

static void arm(struct loop *l)
{
    struct io_uring_sqe *sqe = new_sqe();

    if (loop_is_single(l))
        io_uring_prep_poll_add(sqe, loop_fd(l), POLLIN);
    else
        io_uring_prep_poll_multishot(sqe, loop_fd(l), POLLIN);
    submit(sqe, POLL);
}

struct completion {
    uint64_t what;
    int result;
    bool more;
};

static struct completion next_completion(void)
{
    struct completion c;
    struct io_uring_cqe *cqe;
    int r;

    do
        r = io_uring_wait_cqe(&ring, &cqe);
    while (r == -EINTR);
    loop_must(r == 0);
    c = (struct completion){cqe->user_data, cqe->res, cqe->flags & IORING_CQE_F_MORE};
    io_uring_cqe_seen(&ring, cqe);
    return c;
}

/* Until the poll has told that it is over, and the request to end it as well. */
static void disarm(void)
{
    struct io_uring_sqe *sqe = new_sqe();

    io_uring_prep_poll_remove(sqe, POLL);
    submit(sqe, CANCEL);
    for (uint64_t left = POLL | CANCEL; left != 0;) {
        struct completion c = next_completion();

        if (!c.more)
            left &= ~c.what;
    }
}

static void run(struct loop *l)
{
    arm(l);
    for (;;) {
        struct completion c = next_completion();

        loop_must(c.result > 0 && (c.result & POLLIN));
        if (!loop_turn(l)) {
            if (c.more)
                disarm();
            break;
        }
        if (!c.more) /* the kernel may end a multishot poll as well */
            arm(l);
    }
}

int main(void)
{
    int r = io_uring_queue_init(8, &ring, 0);

    if (r == -ENOSYS || r == -EPERM)
        loop_skip("no io_uring here: error %d", -r);
    loop_must(r == 0);
    return loop_test("io_uring", LOOP_LEVEL, run);
}
