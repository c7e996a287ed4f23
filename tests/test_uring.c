/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* The channel over an io_uring: what is put is done once and its completion got once, through everything. */

#include "source_util.h"

#include <limits.h>
#include <netinet/in.h>
#include <spool/uring.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

typedef struct io_uring_sqe sqe_t;
typedef struct io_uring_cqe cqe_t;

#define BLOCK 4096

/* ---- The kernel, watched and made older ----------------------------------------------------------------------- */

static atomic_int submits;      /* calls */
static atomic_int refusals;     /* the next so many submissions are refused with this error */
static int refuse_with;
static atomic_bool before_6_0;  /* no synchronous cancellation */
static atomic_bool before_5_19; /* nor any other of requests that are not named */
static atomic_bool before_5_18; /* a batch ends at a submission that is wrong */

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring)
{
    sqe_t *sqe = &ring->sq.sqes[*ring->sq.khead & ring->sq.ring_mask];
    atomic_fetch_add(&submits, 1);
    if (atomic_load(&refusals) > 0) {
        atomic_fetch_sub(&refusals, 1);
        return refuse_with;
    }
    if (atomic_load(&before_5_19) && sqe->opcode == IORING_OP_ASYNC_CANCEL && sqe->cancel_flags)
        sqe->cancel_flags = UINT32_MAX;
    return __real_io_uring_submit(ring);
}

int __real_io_uring_register_sync_cancel(struct io_uring *ring, struct io_uring_sync_cancel_reg *reg);
int __wrap_io_uring_register_sync_cancel(struct io_uring *ring, struct io_uring_sync_cancel_reg *reg);
int __wrap_io_uring_register_sync_cancel(struct io_uring *ring, struct io_uring_sync_cancel_reg *reg)
{
    return atomic_load(&before_6_0) ? -EINVAL : __real_io_uring_register_sync_cancel(ring, reg);
}

int __real_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    if (atomic_load(&before_5_18) && flags)
        return -EINVAL;
    return __real_io_uring_queue_init(entries, ring, flags);
}

/* ---- What tests put ------------------------------------------------------------------------------------------- */

/* Why there is no io_uring here, or NULL. */
static const char *missing;

#define NEEDS_URING()                                                                                                  \
    do {                                                                                                               \
        if (missing) {                                                                                                 \
            skip(__func__, missing);                                                                                   \
            return;                                                                                                    \
        }                                                                                                              \
    } while (0)

static spool_chan *uring_of(unsigned entries)
{
    spool_chan *chan = NULL;
    errno = OWN_ERRNO;
    must_be(spool_uring(&chan, entries), 0);
    must_be(errno, OWN_ERRNO);
    return chan;
}

static sqe_t nop(uint64_t id)
{
    sqe_t sqe;
    memset(&sqe, 0, sizeof(sqe));
    io_uring_prep_nop(&sqe);
    sqe.user_data = id;
    return sqe;
}

static sqe_t reading(int fd, void *buf, unsigned bytes, uint64_t offset, uint64_t id)
{
    sqe_t sqe = nop(id);
    io_uring_prep_read(&sqe, fd, buf, bytes, offset);
    sqe.user_data = id;
    return sqe;
}

static sqe_t writing(int fd, const void *buf, unsigned bytes, uint64_t offset, uint64_t id)
{
    sqe_t sqe = nop(id);
    io_uring_prep_write(&sqe, fd, buf, bytes, offset);
    sqe.user_data = id;
    return sqe;
}

static sqe_t linked(sqe_t sqe, unsigned flags)
{
    sqe.flags |= flags;
    return sqe;
}

static void do_put(spool_chan *chan, sqe_t sqe)
{
    must_be(spool_put_for(chan, &sqe, DEADLINE), 0);
}

/* A completion without the array at its end, which keeps it from being returned. */
struct done {
    uint64_t user_data;
    int res;
    unsigned flags;
};

static struct done do_get(spool_chan *chan)
{
    cqe_t cqe;
    memset(&cqe, 0, sizeof(cqe));
    must_be(spool_get_for(chan, &cqe, DEADLINE), 0);
    return (struct done){cqe.user_data, cqe.res, cqe.flags};
}

static void get_is(spool_chan *chan, uint64_t id, int res)
{
    struct done cqe = do_get(chan);
    must_be(cqe.user_data, id);
    must_be(cqe.res, res);
}

/* Reads of this pipe stay under way until something is written. */
static char pipe_bytes[64];
static void idle_pipe(int fds[2])
{
    must_be(pipe2(fds, O_CLOEXEC), 0);
}

static void put_idle(spool_chan *chan, int fd, uint64_t id)
{
    do_put(chan, reading(fd, &pipe_bytes[id % sizeof(pipe_bytes)], 1, 0, id));
}

static void must_be_ended(spool_chan *chan)
{
    cqe_t cqe;
    sqe_t sqe = nop(0);
    spool_select *sel = select_of();
    errno = OWN_ERRNO;
    for (int i = 0; i < 3; i++) {
        must_be(spool_get(chan, &cqe), -EPIPE);
        must_be(spool_try_get(chan, &cqe), -EPIPE);
        must_be(spool_get_many(chan, &cqe, 1, -1), -EPIPE);
        must_be(spool_put(chan, &sqe), -EPIPE);
        must_be(spool_try_put(chan, &sqe), -EPIPE);
        must_be(spool_len(chan), 0);
        must(!spool_alive(chan));
        must(fd_readable(spool_fd(chan)));
        must_be(spool_select_get(sel, chan, i ? &cqe : NULL), 0);
        must_be(spool_select_wait(sel, DEADLINE), 0);
        must_be(spool_select_result(sel, 0), -EPIPE);
        must_be(spool_select_put(sel, chan, i ? &sqe : NULL), 0);
        must_be(spool_select_wait(sel, DEADLINE), 0);
        must_be(spool_select_result(sel, 0), -EPIPE);
        must_be(spool_close(chan), -EALREADY);
    }
    must_be(errno, OWN_ERRNO);
    spool_select_free(sel);
}

/* ---- One thread ----------------------------------------------------------------------------------------------- */

START_TEST(behaves_as_a_channel)
{
    NEEDS_URING();
    spool_chan *chan = uring_of(3);
    spool_chan *other = chan_of(3);
    cqe_t cqe;
    sqe_t sqe = nop(1);
    int fd = spool_fd(chan);
    must(fd >= 0);
    must_be(spool_fd(chan), fd);
    must_be(fcntl(fd, F_GETFD), FD_CLOEXEC);
    must_be(spool_uring_ring(chan)->ring_fd, fd);
    must(spool_uring_ring(other) == NULL);
    must(spool_uring_ring(NULL) == NULL);
    must_be(spool_capacity(chan), 3);
    must_be(spool_elem_size(chan), sizeof(cqe_t));
    must(spool_alive(chan));
    must_be(spool_set_name(chan, "disk"), 0);
    must(strcmp(spool_name(chan), "disk") == 0);
    errno = OWN_ERRNO;
    must_be(spool_put(chan, NULL), -EINVAL);
    must_be(spool_get(chan, NULL), -EINVAL);
    for (int i = 0; i < 3; i++) {
        must_be(spool_try_get(chan, &cqe), -EAGAIN);
        must_be(spool_get_for(chan, &cqe, MS), -ETIMEDOUT);
        must_be(spool_get_many(chan, &cqe, 1, 0), -EAGAIN);
        must_be(spool_get_many(chan, &cqe, 1, MS), -ETIMEDOUT);
        must_be(spool_len(chan), 0);
        must(!fd_readable(fd));
        must(fd_readable(spool_put_fd(chan)));
        must_be(spool_put(chan, &sqe), 0);
        must_be(spool_len(chan), 1);
        must(fd_readable(fd));
        must_be(spool_get(chan, &cqe), 0);
        must_be(cqe.user_data, 1);
        must_be(cqe.res, 0);
    }
    must_be(errno, OWN_ERRNO);
    spool_unref(other);
    must(spool_ref(chan) == chan);
    spool_unref(chan);
    do_put(chan, nop(2));
    get_is(chan, 2, 0);
    must_be(spool_close(chan), 0);
    must_be_ended(chan);
    spool_unref(chan);
}
END_TEST

START_TEST(bad_arguments)
{
    spool_chan *chan = NULL;
    errno = OWN_ERRNO;
    must_be(spool_uring(NULL, 1), -EINVAL);
    must_be(spool_uring(&chan, 0), -EINVAL);
    must_be(spool_uring(&chan, 32769), -EINVAL);
    must_be(spool_uring(&chan, UINT_MAX), -EINVAL);
    must(chan == NULL);
    /* The ring of what has none. */
    must(spool_uring_ring(NULL) == NULL);
    must_be(spool_never(&chan), 0);
    must(spool_uring_ring(chan) == NULL);
    spool_unref(chan);
    chan = chan_of(1);
    must(spool_uring_ring(chan) == NULL);
    spool_unref(chan);
    must_be(errno, OWN_ERRNO);
}
END_TEST

static const size_t depths[] = {1, 8, 64};

/* Depth requests at a time, in batches of what has completed. */
static void move_blocks(spool_chan *chan, int fd, unsigned char *blocks, size_t n, size_t depth, bool write)
{
    size_t begun = 0, done = 0;
    sqe_t sqes[64];
    cqe_t cqes[64];
    while (done < n) {
        size_t batch = 0;
        for (; begun < n && begun - done < depth; begun++) {
            unsigned char *at = blocks + begun * BLOCK;
            sqes[batch++] = write ? writing(fd, at, BLOCK, begun * BLOCK, begun) : reading(fd, at, BLOCK, begun * BLOCK,
                                                                                           begun);
        }
        must_be(spool_put_many(chan, sqes, batch, -1), (ssize_t)batch);
        ssize_t got = spool_get_many(chan, cqes, COUNT(cqes), DEADLINE);
        must(got > 0);
        for (ssize_t i = 0; i < got; i++)
            must_be(cqes[i].res, BLOCK);
        done += (size_t)got;
    }
}

START_TEST(reads_and_writes_a_file)
{
    NEEDS_URING();
    size_t n = scaled(512);
    spool_chan *chan = uring_of((unsigned)depths[_i]);
    FILE *file = tmpfile();
    must(file);
    unsigned char *out = malloc(n * BLOCK), *in = calloc(n, BLOCK);
    must(out && in);
    for (size_t i = 0; i < n; i++)
        elem_fill(out + i * BLOCK, BLOCK, i * 77 + 1);
    move_blocks(chan, fileno(file), out, n, depths[_i], true);
    move_blocks(chan, fileno(file), in, n, depths[_i], false);
    must(memcmp(in, out, n * BLOCK) == 0);
    memset(in, 0, n * BLOCK);
    must_be(pread(fileno(file), in, n * BLOCK, 0), (ssize_t)(n * BLOCK));
    must(memcmp(in, out, n * BLOCK) == 0);
    free(in);
    free(out);
    fclose(file);
    spool_unref(chan);
}
END_TEST

START_TEST(a_batch_is_one_submission)
{
    NEEDS_URING();
    spool_chan *chan = uring_of(64);
    sqe_t sqes[64];
    cqe_t cqes[64];
    for (size_t i = 0; i < 64; i++)
        sqes[i] = nop(i);
    atomic_store(&submits, 0);
    must_be(spool_put_many(chan, sqes, 64, -1), 64);
    must_be(atomic_load(&submits), 1);
    must_be(spool_len(chan), 64);
    must_be(spool_try_put(chan, sqes), -EAGAIN);
    must_be(spool_get_many(chan, cqes, 64, -1), 64);
    for (size_t i = 0; i < 64; i++)
        must_be(cqes[i].user_data, i);
    must_be(atomic_load(&submits), 1);
    /* More than there is room for goes in as far as it can. */
    must_be(spool_put_many(chan, sqes, 40, 0), 40);
    must_be(spool_put_many(chan, sqes, 40, 0), 24);
    must_be(spool_put_many(chan, sqes, 40, 0), -EAGAIN);
    must_be(spool_put_many(chan, sqes, 40, MS), -ETIMEDOUT);
    must_be(atomic_load(&submits), 3);
    must_be(spool_get_many(chan, cqes, 64, 0), 64);
    spool_unref(chan);
}
END_TEST

START_TEST(a_wrong_submission_is_a_completion)
{
    NEEDS_URING();
    atomic_store(&before_5_18, _i == 1);
    spool_chan *chan = uring_of(8);
    sqe_t sqes[5];
    for (size_t i = 0; i < 5; i++)
        sqes[i] = nop(i);
    sqes[1].opcode = 250;
    sqes[3] = reading(-1, pipe_bytes, 1, 0, 3);
    must_be(spool_put_many(chan, sqes, 5, -1), 5);
    for (uint64_t i = 0, seen = 0; i < 5; i++) {
        struct done cqe = do_get(chan);
        must_be(cqe.res, cqe.user_data == 1 ? -EINVAL : cqe.user_data == 3 ? -EBADF : 0);
        must(!(seen & 1u << cqe.user_data));
        seen |= 1u << cqe.user_data;
    }
    must_be(spool_len(chan), 0);
    spool_unref(chan);
}
END_TEST

START_TEST(chains_are_never_split)
{
    NEEDS_URING();
    unsigned link = _i ? IOSQE_IO_HARDLINK : IOSQE_IO_LINK;
    spool_chan *chan = uring_of(4);
    FILE *file = tmpfile();
    char in[8] = {0};
    sqe_t sqes[6];
    cqe_t cqes[4];
    must(file);
    /* Each begins when the one before has ended. */
    sqes[0] = linked(writing(fileno(file), "abcd", 4, 0, 0), link);
    sqes[1] = linked(writing(fileno(file), "xy", 2, 1, 1), link);
    sqes[2] = reading(fileno(file), in, 4, 0, 2);
    must_be(spool_put_many(chan, sqes, 3, -1), 3);
    for (int i = 0; i < 3; i++)
        must_be(do_get(chan).user_data, i);
    must(strcmp(in, "axyd") == 0);
    /* Ends in its midst; the first are moved if they are fine. */
    must_be(spool_put_many(chan, sqes, 2, -1), -EINVAL);
    must_be(spool_put(chan, &sqes[0]), -EINVAL);
    must_be(spool_try_put(chan, &sqes[0]), -EINVAL);
    sqes[0] = nop(7);
    must_be(spool_put_many(chan, sqes, 2, -1), 1);
    get_is(chan, 7, 0);
    /* Longer than the ring. */
    for (size_t i = 0; i < 6; i++)
        sqes[i] = linked(nop(i), i < 4 ? link : 0);
    must_be(spool_put_many(chan, sqes, 5, -1), -EINVAL);
    must_be(spool_put_many(chan, sqes + 1, 5, 0), 4);
    must_be(spool_get_many(chan, cqes, 4, 0), 4);
    /* No completion of its own; and what would hold back the others. */
    sqes[0] = linked(nop(0), _i ? IOSQE_IO_DRAIN : IOSQE_CQE_SKIP_SUCCESS);
    must_be(spool_put(chan, &sqes[0]), -EINVAL);
    sqes[0] = linked(nop(0), link);
    sqes[1] = linked(nop(1), _i ? IOSQE_IO_DRAIN : IOSQE_CQE_SKIP_SUCCESS);
    must_be(spool_put_many(chan, sqes, 2, -1), -EINVAL);
    must_be(spool_len(chan), 0);
    fclose(file);
    spool_unref(chan);
}
END_TEST

/* ---- Full ----------------------------------------------------------------------------------------------------- */

START_TEST(a_full_ring_pushes_back)
{
    NEEDS_URING();
    spool_chan *chan = uring_of(3);
    struct worker w = {.chan = chan};
    sqe_t sqe = nop(9);
    int fds[2];
    idle_pipe(fds);
    int fd = spool_put_fd(chan);
    for (uint64_t i = 0; i < 3; i++) {
        must(fd_readable(fd));
        put_idle(chan, fds[0], i);
    }
    errno = OWN_ERRNO;
    must_be(spool_try_put(chan, &sqe), -EAGAIN);
    must(!fd_readable(fd));
    must_be(spool_put_for(chan, &sqe, MS), -ETIMEDOUT);
    must_be(spool_put_many(chan, &sqe, 1, 0), -EAGAIN);
    must_be(spool_len(chan), 0);
    must(!fd_readable(spool_fd(chan)));
    must_be(errno, OWN_ERRNO);
    w.elem = &sqe;
    worker_start(&w, worker_put);
    worker_wait_asleep(&w);
    /* Completed, but not got: still no room. */
    write_byte(fds[1]);
    must(fd_wait_readable(spool_fd(chan)));
    must_be(spool_len(chan), 1);
    must(!fd_readable(fd));
    must_be(do_get(chan).res, 1);
    must_be(worker_join(&w), 0);
    get_is(chan, 9, 0);
    must(fd_readable(fd));
    must_be(write(fds[1], "xx", 2), 2);
    must_be(do_get(chan).res, 1);
    must_be(do_get(chan).res, 1);
    must(!fd_readable(spool_fd(chan)));
    spool_unref(chan);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

static int put_chain(struct worker *w)
{
    return (int)spool_put_many(w->chan, w->elem, w->count, w->timeout_ns);
}

/* A chain waits until it has room as a whole, however many others want every place that becomes free. */
START_TEST(a_chain_waits_for_its_room)
{
    NEEDS_URING();
    spool_chan *chan = uring_of(4);
    struct worker w[4];
    sqe_t sqes[3][4], sqe = nop(50);
    uint64_t seen = 0;
    int fds[2];
    idle_pipe(fds);
    memset(w, 0, sizeof(w));
    for (uint64_t i = 0; i < 4; i++)
        put_idle(chan, fds[0], 60);
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < 4; k++)
            sqes[i][k] = linked(nop(i * 4 + k), k < 3 ? IOSQE_IO_LINK : 0);
        w[i].elem = sqes[i];
        w[i].count = 4;
        w[i].timeout_ns = -1;
    }
    must_be(spool_put_many(chan, sqes[0], 4, 0), -EAGAIN);
    must_be(spool_put_many(chan, sqes[0], 4, MS), -ETIMEDOUT);
    w[3].elem = &sqe;
    for (size_t i = 0; i < 4; i++) {
        w[i].chan = chan;
        worker_start(&w[i], i < 3 ? put_chain : worker_put);
        worker_wait_asleep(&w[i]);
    }
    must_be(write(fds[1], "xxxx", 4), 4);
    for (int i = 0; i < 4 + 12 + 1; i++) {
        struct done cqe = do_get(chan);
        must_be(cqe.res, cqe.user_data == 60 ? 1 : 0);
        must(cqe.user_data == 60 || !(seen & UINT64_C(1) << cqe.user_data));
        seen |= UINT64_C(1) << cqe.user_data;
    }
    must(seen == (0xfff | UINT64_C(1) << 50 | UINT64_C(1) << 60));
    for (size_t i = 0; i < 4; i++)
        must_be(worker_join(&w[i]), i < 3 ? 4 : 0);
    /* With some room, but too little; and one that gives up leaves the room to the others. */
    put_idle(chan, fds[0], 61);
    must_be(spool_put_many(chan, sqes[0], 4, 0), -EAGAIN);
    must(fd_readable(spool_put_fd(chan)));
    w[0].timeout_ns = 100 * MS;
    worker_start(&w[0], put_chain);
    worker_start(&w[3], worker_put);
    must_be(worker_join(&w[0]), -ETIMEDOUT);
    must_be(worker_join(&w[3]), 0);
    get_is(chan, 50, 0);
    /* A close lets it go. */
    w[0].timeout_ns = w[1].timeout_ns = -1;
    worker_start(&w[0], put_chain);
    worker_start(&w[1], put_chain);
    worker_wait_asleep(&w[0]);
    worker_wait_asleep(&w[1]);
    must_be(spool_close(chan), 0);
    must_be(worker_join(&w[0]), -EPIPE);
    must_be(worker_join(&w[1]), -EPIPE);
    get_is(chan, 61, -ECANCELED);
    must_be_ended(chan);
    spool_unref(chan);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

/* A chain behind what can be put alone: that is put, and the chain is left where it has no room. */
START_TEST(a_chain_without_room_stays_behind)
{
    NEEDS_URING();
    spool_chan *chan = uring_of(4);
    sqe_t sqes[4] = {nop(2), linked(nop(3), IOSQE_IO_LINK), linked(nop(4), IOSQE_IO_LINK), nop(5)};
    do_put(chan, nop(0));
    do_put(chan, nop(1));
    must_be(spool_put_many(chan, sqes, 4, 0), 1);
    must_be(spool_put_many(chan, sqes + 1, 3, 0), -EAGAIN);
    for (uint64_t i = 0; i < 3; i++)
        get_is(chan, i, 0);
    must_be(spool_put_many(chan, sqes + 1, 3, 0), 3);
    for (uint64_t i = 3; i < 6; i++)
        get_is(chan, i, 0);
    spool_unref(chan);
}
END_TEST

START_TEST(a_select_that_only_asks_takes_nothing)
{
    NEEDS_URING();
    spool_chan *chan = uring_of(2);
    spool_select *sel = select_of();
    must_be(spool_select_get(sel, chan, NULL), 0);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    do_put(chan, nop(1));
    for (int i = 0; i < 3; i++) {
        must_be(spool_select_wait(sel, DEADLINE), 0);
        must_be(spool_select_result(sel, 0), 0);
        must_be(spool_len(chan), 1);
    }
    get_is(chan, 1, 0);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    spool_select_free(sel);
    spool_unref(chan);
}
END_TEST

START_TEST(stands_in_a_select)
{
    NEEDS_URING();
    spool_chan *chan = uring_of(4);
    spool_chan *other = chan_of(1);
    spool_select *sel = select_of();
    sqe_t sqe = nop(0);
    cqe_t cqe;
    uint64_t value = 5, puts = 0, gets = 0, n = scaled(2000);
    struct worker w = {.chan = other, .elem = &value};
    must_be(spool_select_get(sel, chan, &cqe), 0);
    must_be(spool_select_put(sel, chan, &sqe), 1);
    must_be(spool_select_get(sel, other, &value), 2);
    while (gets < n) {
        int i = spool_select_wait(sel, -1);
        must_be(spool_select_result(sel, i), 0);
        if (i == 0) {
            gets++;
            must(cqe.user_data < n);
        } else {
            must_be(i, 1);
            sqe.user_data = ++puts;
            must_be(spool_select_enable(sel, 1, puts < n), 0);
        }
        must(puts - gets <= 4);
    }
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    /* Asleep in the kernel, woken by a completion. */
    int fds[2];
    idle_pipe(fds);
    put_idle(chan, fds[0], 3);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    must_be(spool_select_wait(sel, MS), -ETIMEDOUT);
    worker_start(&w, worker_put);
    must_be(spool_select_wait(sel, -1), 2);
    must_be(worker_join(&w), 0);
    write_byte(fds[1]);
    must_be(spool_select_wait(sel, -1), 0);
    must_be(cqe.user_data, 3);
    must_be(cqe.res, 1);
    /* And by room. */
    must_be(spool_select_enable(sel, 1, true), 0);
    must_be(spool_select_enable(sel, 0, false), 0);
    for (uint64_t i = 0; i < 4; i++)
        put_idle(chan, fds[0], i);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    must_be(spool_select_wait(sel, MS), -ETIMEDOUT);
    write_byte(fds[1]);
    must_be(do_get(chan).res, 1);
    sqe.user_data = 77;
    must_be(spool_select_wait(sel, -1), 1);
    get_is(chan, 77, 0);
    spool_select_free(sel);
    spool_unref(chan);
    spool_unref(other);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

/* The kernel says that it cannot take any more now: the element stays with the caller, and is put later. */
START_TEST(a_kernel_without_room_pushes_back)
{
    NEEDS_URING();
    static const int errors[] = {EAGAIN, EBUSY, EINTR, ENOMEM};
    spool_chan *chan = uring_of(4);
    struct worker w = {.chan = chan};
    sqe_t sqes[2] = {nop(1), nop(2)};
    int fds[2];
    uint64_t error = (uint64_t)errors[_i];
    idle_pipe(fds);
    refuse_with = -errors[_i];
    atomic_store(&refusals, 1);
    must_be(spool_put(chan, sqes), error == EINTR ? 0 : -ENOMEM);
    if (error == EINTR)
        get_is(chan, 1, 0);
    put_idle(chan, fds[0], 3);
    atomic_store(&refusals, 1);
    must_be(spool_put_many(chan, sqes, 2, 0), error == EINTR ? 2 : error == ENOMEM ? -ENOMEM : -EAGAIN);
    bool later = error != EINTR && error != ENOMEM;
    if (later) {
        /* Until something was got nobody knows better. */
        spool_select *sel = select_of();
        must_be(spool_select_put(sel, chan, NULL), 0);
        must_be(spool_select_wait(sel, 0), -EAGAIN);
        atomic_store(&refusals, INT_MAX);
        w.elem = sqes;
        worker_start(&w, worker_put);
        worker_wait_asleep(&w);
        atomic_store(&refusals, 0);
        write_byte(fds[1]);
        get_is(chan, 3, 1);
        must_be(worker_join(&w), 0);
        get_is(chan, 1, 0);
        must_be(spool_select_wait(sel, 0), 0);
        spool_select_free(sel);
    } else {
        write_byte(fds[1]);
        for (int i = 0; i < (error == EINTR ? 3 : 1); i++)
            (void)do_get(chan);
    }
    /* Nothing of what was refused is left in the ring. */
    must_be(spool_put_many(chan, sqes, 2, 0), 2);
    get_is(chan, 1, 0);
    get_is(chan, 2, 0);
    must_be(spool_len(chan), 0);
    must_be(spool_close(chan), 0);
    must_be_ended(chan);
    spool_unref(chan);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

/* ---- Multishot ------------------------------------------------------------------------------------------------ */

/* A listening socket on the loopback, and its address. */
static int listener(struct sockaddr_in *addr, int backlog)
{
    socklen_t len = sizeof(*addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset(addr, 0, len);
    addr->sin_family = AF_INET;
    addr->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(fd >= 0);
    must_be(bind(fd, (struct sockaddr *)addr, len), 0);
    must_be(listen(fd, backlog), 0);
    must_be(getsockname(fd, (struct sockaddr *)addr, &len), 0);
    return fd;
}

static int connect_to(const struct sockaddr_in *addr)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0);
    must_be(connect(fd, (const struct sockaddr *)addr, sizeof(*addr)), 0);
    return fd;
}

static void put_accept(spool_chan *chan, int fd, uint64_t id)
{
    sqe_t sqe = nop(id);
    io_uring_prep_multishot_accept(&sqe, fd, NULL, NULL, SOCK_CLOEXEC);
    sqe.user_data = id;
    do_put(chan, sqe);
}

#define CROWD 100

/* Nobody gets while more connections come than the completion queue has entries. */
START_TEST(an_overflow_loses_nothing)
{
    NEEDS_URING();
    spool_chan *chan = uring_of(2);
    struct sockaddr_in addr;
    int lfd = listener(&addr, CROWD), fds[CROWD], n = 0;
    cqe_t cqes[7];
    ssize_t got;
    put_accept(chan, lfd, 5);
    for (int i = 0; i < CROWD; i++)
        fds[i] = connect_to(&addr);
    if (do_get(chan).res == -EINVAL) {
        skip("an_overflow_loses_nothing", "no multishot accept in this kernel");
        return;
    }
    n++;
    wait_until(atomic_load((_Atomic unsigned *)spool_uring_ring(chan)->sq.kflags) & IORING_SQ_CQ_OVERFLOW);
    must(spool_len(chan) <= 2);
    must(fd_readable(spool_fd(chan)));
    put_idle(chan, fds[0], 6);
    while (n < CROWD) {
        got = _i ? spool_get_many(chan, cqes, COUNT(cqes), DEADLINE) : spool_get_for(chan, cqes, DEADLINE);
        must(got >= 0);
        for (ssize_t i = 0; i < (_i ? got : 1); i++, n++) {
            must_be(cqes[i].user_data, 5);
            must(cqes[i].res >= 0);
            close(cqes[i].res);
            if (!(cqes[i].flags & IORING_CQE_F_MORE))
                put_accept(chan, lfd, 5);
        }
    }
    must_be(spool_try_get(chan, cqes), -EAGAIN);
    must(!fd_readable(spool_fd(chan)));
    must_be(spool_close(chan), 0);
    for (int i = 0; i < 2; i++)
        must_be(do_get(chan).flags & IORING_CQE_F_MORE, 0);
    must_be_ended(chan);
    for (int i = 0; i < CROWD; i++)
        close(fds[i]);
    close(lfd);
    spool_unref(chan);
}
END_TEST

START_TEST(a_poll_completes_again_and_again)
{
    NEEDS_URING();
    spool_chan *chan = uring_of(1);
    int efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    sqe_t sqe = nop(0);
    io_uring_prep_poll_multishot(&sqe, efd, POLLIN);
    sqe.user_data = 8;
    do_put(chan, sqe);
    for (uint64_t i = 0; i < 50; i++) {
        must_be(eventfd_write(efd, 1), 0);
        struct done cqe = do_get(chan);
        must_be(cqe.user_data, 8);
        must(cqe.res & POLLIN);
        must(cqe.flags & IORING_CQE_F_MORE);
        /* It is still under way. */
        must_be(spool_try_put(chan, &sqe), -EAGAIN);
    }
    must_be(spool_close(chan), 0);
    struct done last = do_get(chan);
    must_be(last.user_data, 8);
    must_be(last.res, -ECANCELED);
    must_be(last.flags & IORING_CQE_F_MORE, 0);
    must_be_ended(chan);
    close(efd);
    spool_unref(chan);
}
END_TEST

START_TEST(a_receive_completes_again_and_again)
{
    NEEDS_URING();
    enum { GROUP = 3, BUFFERS = 8, BYTES = 32 };
    static char buffers[BUFFERS][BYTES];
    spool_chan *chan = uring_of(4);
    sqe_t sqe = nop(0);
    int sv[2], received = 0, ended = 0;
    must_be(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, sv), 0);
    io_uring_prep_provide_buffers(&sqe, buffers, BYTES, BUFFERS, GROUP, 0);
    sqe.user_data = 1;
    do_put(chan, sqe);
    must(do_get(chan).res >= 0);
    sqe = nop(0);
    io_uring_prep_recv_multishot(&sqe, sv[0], NULL, 0, 0);
    sqe.flags |= IOSQE_BUFFER_SELECT;
    sqe.buf_group = GROUP;
    sqe.user_data = 2;
    do_put(chan, sqe);
    for (int i = 0; i < BUFFERS; i++) {
        char text[BYTES] = {0};
        snprintf(text, sizeof(text), "message %d", i);
        must_be(write(sv[1], text, BYTES), BYTES);
    }
    /* More than there are buffers for ends it. */
    must_be(write(sv[1], "more", 4), 4);
    while (!ended) {
        struct done cqe = do_get(chan);
        must_be(cqe.user_data, 2);
        if (cqe.res == -EINVAL) {
            skip("a_receive_completes_again_and_again", "no multishot receive in this kernel");
            return;
        }
        ended = !(cqe.flags & IORING_CQE_F_MORE);
        if (cqe.res < 0) {
            must_be(cqe.res, -ENOBUFS);
            must(ended);
            continue;
        }
        char text[BYTES];
        must(cqe.flags & IORING_CQE_F_BUFFER);
        snprintf(text, sizeof(text), "message %d", received++);
        must_be(strcmp(buffers[cqe.flags >> IORING_CQE_BUFFER_SHIFT], text), 0);
    }
    must_be(received, BUFFERS);
    must_be(spool_try_get(chan, &(cqe_t){0}), -EAGAIN);
    close(sv[0]);
    close(sv[1]);
    spool_unref(chan);
}
END_TEST

/* ---- Cancelling and time -------------------------------------------------------------------------------------- */

START_TEST(the_user_cancels)
{
    NEEDS_URING();
    spool_chan *chan = uring_of(4);
    int fds[2];
    idle_pipe(fds);
    put_idle(chan, fds[0], 1);
    put_idle(chan, fds[0], 2);
    sqe_t sqe = nop(0);
    io_uring_prep_cancel64(&sqe, 1, 0);
    sqe.user_data = 3;
    do_put(chan, sqe);
    for (int i = 0; i < 2; i++) {
        struct done cqe = do_get(chan);
        must(cqe.user_data == 1 || cqe.user_data == 3);
        must_be(cqe.res, cqe.user_data == 1 ? -ECANCELED : 0);
    }
    do_put(chan, sqe);
    get_is(chan, 3, -ENOENT);
    write_byte(fds[1]);
    get_is(chan, 2, 1);
    spool_unref(chan);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

START_TEST(time_is_an_operation_too)
{
    NEEDS_URING();
    spool_chan *chan = uring_of(4);
    struct __kernel_timespec soon = {.tv_nsec = 2 * MS}, late = {.tv_sec = 1000};
    sqe_t sqes[2] = {nop(0)};
    int fds[2];
    int64_t start = now_ns();
    idle_pipe(fds);
    io_uring_prep_timeout(sqes, &soon, 0, 0);
    sqes[0].user_data = 1;
    do_put(chan, sqes[0]);
    get_is(chan, 1, -ETIME);
    must(now_ns() - start >= 2 * MS);
    /* A time limit on a read. */
    sqes[0] = linked(reading(fds[0], pipe_bytes, 1, 0, 2), IOSQE_IO_LINK);
    sqes[1] = nop(0);
    io_uring_prep_link_timeout(&sqes[1], &soon, 0);
    sqes[1].user_data = 3;
    must_be(spool_put_many(chan, sqes, 2, -1), 2);
    for (int i = 0; i < 2; i++) {
        struct done cqe = do_get(chan);
        must(cqe.user_data == 3 ? cqe.res == -ETIME : cqe.user_data == 2 && cqe.res == -ECANCELED);
    }
    io_uring_prep_timeout(sqes, &late, 0, 0);
    sqes[0].user_data = 4;
    do_put(chan, sqes[0]);
    must_be(spool_close(chan), 0);
    get_is(chan, 4, -ECANCELED);
    must_be_ended(chan);
    spool_unref(chan);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

/* ---- Closing -------------------------------------------------------------------------------------------------- */

enum { NEWEST, BEFORE_6_0, BEFORE_5_19, KERNELS };

static void kernel_is(int which)
{
    atomic_store(&before_6_0, which >= BEFORE_6_0);
    atomic_store(&before_5_19, which >= BEFORE_5_19);
}

START_TEST(close_cancels_and_says_so)
{
    NEEDS_URING();
    kernel_is(_i);
    spool_chan *chan = uring_of(8);
    struct sockaddr_in addr;
    int fds[2], lfd = listener(&addr, 1);
    uint64_t seen = 0;
    idle_pipe(fds);
    do_put(chan, nop(0));
    for (uint64_t i = 1; i < 5; i++)
        put_idle(chan, fds[0], i);
    put_accept(chan, lfd, 5);
    must_be(spool_len(chan), 1);
    must_be(spool_close(chan), 0);
    must(!spool_alive(chan));
    must_be(spool_put(chan, &(sqe_t){0}), -EPIPE);
    /* What the library itself has under way is not counted. */
    size_t len = spool_len(chan);
    must(len >= 1 && len <= (_i == BEFORE_5_19 ? 1 : 6));
    if (_i == BEFORE_5_19) {
        get_is(chan, 0, 0);
        must_be(spool_try_get(chan, &(cqe_t){0}), -EAGAIN);
        must_be(write(fds[1], "xxxx", 4), 4);
        for (int i = 0; i < 4; i++)
            must_be(do_get(chan).res, 1);
        close(connect_to(&addr));
        must_be(shutdown(lfd, SHUT_RDWR), 0);
        for (;;) {
            struct done cqe = do_get(chan);
            must_be(cqe.user_data, 5);
            if (!(cqe.flags & IORING_CQE_F_MORE))
                break;
            close(cqe.res);
        }
    } else {
        for (int i = 0; i < 6; i++) {
            struct done cqe = do_get(chan);
            must_be(cqe.res, cqe.user_data == 0 ? 0 : -ECANCELED);
            must_be(cqe.flags & IORING_CQE_F_MORE, 0);
            seen |= UINT64_C(1) << cqe.user_data;
        }
        must_be(seen, 0x3f);
    }
    must_be_ended(chan);
    spool_unref(chan);
    close(lfd);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

START_TEST(close_of_an_idle_ring)
{
    NEEDS_URING();
    spool_chan *chan = uring_of(1);
    if (_i >= 1) {
        do_put(chan, nop(1));
        if (_i == 1)
            get_is(chan, 1, 0);
    }
    /* Where the kernel takes nothing any more it is readable all the same. */
    if (_i == 3)
        atomic_store(&refusals, INT_MAX);
    refuse_with = -ENOMEM;
    must_be(spool_close(chan), 0);
    must(fd_readable(spool_fd(chan)));
    if (_i >= 2)
        get_is(chan, 1, 0);
    must_be_ended(chan);
    spool_unref(chan);
    chan = uring_of(4);
    must_be(spool_close(chan), 0);
    must(fd_wait_readable(spool_fd(chan)));
    must_be_ended(chan);
    spool_unref(chan);
}
END_TEST

/* What only begins when something else has ended escapes the first attempt: hard-linked behind one that is cancelled. */
START_TEST(close_cancels_what_begins_later)
{
    NEEDS_URING();
    kernel_is(NEWEST);
    spool_chan *chan = uring_of(8);
    sqe_t sqes[3];
    int fds[2];
    idle_pipe(fds);
    for (int i = 0; i < 3; i++)
        sqes[i] = reading(fds[0], pipe_bytes, 1, 0, (uint64_t)i);
    sqes[0].flags |= IOSQE_IO_HARDLINK;
    must_be(spool_put_many(chan, sqes, 3, -1), 3);
    if (_i) {
        spool_unref(chan);
    } else {
        must_be(spool_close(chan), 0);
        for (int i = 0; i < 3; i++)
            must_be(do_get(chan).res, -ECANCELED);
        must_be_ended(chan);
        spool_unref(chan);
    }
    close(fds[0]);
    close(fds[1]);
}
END_TEST

static int get_all(struct worker *w)
{
    cqe_t cqe;
    int r;
    while ((r = spool_get(w->chan, &cqe)) == 0)
        w->count++;
    return r;
}

static int select_all(struct worker *w)
{
    cqe_t cqe;
    spool_select *sel = select_of();
    must_be(spool_select_get(sel, w->chan, &cqe), 0);
    while (spool_select_wait(sel, -1) == 0 && spool_select_result(sel, 0) == 0)
        w->count++;
    int r = spool_select_result(sel, 0);
    spool_select_free(sel);
    return r;
}

START_TEST(close_lets_all_go_once_it_is_empty)
{
    NEEDS_URING();
    kernel_is(_i == 2 ? BEFORE_6_0 : NEWEST);
    spool_chan *chan = uring_of(6);
    struct worker w[6];
    sqe_t sqe = nop(0);
    int fds[2];
    size_t got = 0, n = _i ? 6 : 0;
    idle_pipe(fds);
    memset(w, 0, sizeof(w));
    for (uint64_t i = 0; i < n; i++)
        put_idle(chan, fds[0], i);
    for (size_t i = 0; i < 6; i++) {
        w[i].chan = chan;
        w[i].elem = &sqe;
        worker_start(&w[i], i < 2 ? get_all : i < 4 || n == 0 ? select_all : worker_put);
        worker_wait_asleep(&w[i]);
    }
    must_be(spool_close(chan), 0);
    for (size_t i = 0; i < 6; i++) {
        must_be(worker_join(&w[i]), -EPIPE);
        got += w[i].count;
    }
    must_be(got, n);
    must_be_ended(chan);
    spool_unref(chan);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

static atomic_uint dropped, dropped_ids;

static void note_drop(void *elem)
{
    const cqe_t *cqe = elem;
    must(cqe->res == (cqe->user_data < 4 ? 0 : -ECANCELED));
    atomic_fetch_add(&dropped, 1);
    atomic_fetch_or(&dropped_ids, 1u << cqe->user_data);
}

/* When the last reference is gone the kernel writes no buffer any more. */
START_TEST(the_last_unref_waits_for_the_kernel)
{
    NEEDS_URING();
    kernel_is(_i);
    spool_chan *chan = uring_of(8);
    int fds[2], before = count_fds();
    idle_pipe(fds);
    memset(pipe_bytes, 'a', sizeof(pipe_bytes));
    must_be(spool_set_drop(chan, note_drop), 0);
    for (uint64_t i = 0; i < 4; i++)
        do_put(chan, nop(i));
    for (uint64_t i = 4; i < 8; i++)
        put_idle(chan, fds[0], i);
    get_is(chan, 0, 0);
    errno = OWN_ERRNO;
    spool_unref(chan);
    must_be(errno, OWN_ERRNO);
    must_be(count_fds(), before + 2 - 1);
    /* An older kernel cannot be told, and is not waited for. */
    must_be(atomic_load(&dropped), _i == BEFORE_5_19 ? 3 : 7);
    must_be(atomic_load(&dropped_ids), _i == BEFORE_5_19 ? 0x0e : 0xfe);
    if (_i != BEFORE_5_19) {
        char back[8];
        must_be(write(fds[1], "xxxx", 4), 4);
        must_be(read(fds[0], back, sizeof(back)), 4);
        for (size_t i = 0; i < sizeof(pipe_bytes); i++)
            must_be(pipe_bytes[i], 'a');
    }
    close(fds[0]);
    close(fds[1]);
}
END_TEST

START_TEST(a_forked_child_may_drop_it)
{
    NEEDS_URING();
    spool_chan *chan = uring_of(4);
    int fds[2], status = -1;
    idle_pipe(fds);
    put_idle(chan, fds[0], 1);
    do_put(chan, nop(2));
    pid_t pid = fork();
    if (pid == 0) {
        if (_i)
            (void)spool_close(chan);
        spool_unref(chan);
        _exit(0);
    }
    must_be(waitpid(pid, &status, 0), pid);
    must_be(status, 0);
    must(spool_alive(chan));
    get_is(chan, 2, 0);
    must_be(spool_try_get(chan, &(cqe_t){0}), -EAGAIN);
    write_byte(fds[1]);
    get_is(chan, 1, 1);
    spool_unref(chan);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

/* ---- Threads -------------------------------------------------------------------------------------------------- */

enum { PUTTERS = 4, GETTERS = 4 };

struct crowd {
    spool_chan *chan;
    size_t n;
    int kind;
    atomic_uchar *seen;
    atomic_size_t got;
    _Atomic uint64_t sum;
};

/* What a request owns, written before the put and read after the get, by different threads. */
struct request {
    uint64_t id;
};

static struct request *requests;

static int crowd_put(struct worker *w)
{
    struct crowd *c = w->more;
    sqe_t sqes[5];
    size_t batch = 0;
    for (size_t i = w->index; i < c->n; i += PUTTERS) {
        requests[i].id = i;
        sqes[batch] = nop(0);
        io_uring_sqe_set_data(&sqes[batch++], &requests[i]);
        if (batch < (c->kind == 0 ? 1 : COUNT(sqes)) && i + PUTTERS < c->n)
            continue;
        /* Alone, as a batch, or as a chain. */
        for (size_t k = 0; c->kind == 2 && k + 1 < batch; k++)
            sqes[k].flags |= IOSQE_IO_LINK;
        must_be(spool_put_many(c->chan, sqes, batch, -1), (ssize_t)batch);
        batch = 0;
    }
    return 0;
}

static int crowd_get(struct worker *w)
{
    struct crowd *c = w->more;
    cqe_t cqes[3];
    ssize_t got;
    while ((got = spool_get_many(c->chan, cqes, COUNT(cqes), -1)) > 0)
        for (ssize_t i = 0; i < got; i++) {
            const struct request *r = io_uring_cqe_get_data(&cqes[i]);
            must_be(cqes[i].res, 0);
            must_be(atomic_fetch_add(&c->seen[r->id], 1), 0);
            atomic_fetch_add(&c->sum, r->id);
            atomic_fetch_add(&c->got, 1);
        }
    return (int)got;
}

START_TEST(each_completion_is_got_once)
{
    NEEDS_URING();
    struct worker w[PUTTERS + GETTERS];
    struct crowd c = {.chan = uring_of(_i == 3 ? 1 : 6), .n = scaled(20000), .kind = _i == 3 ? 0 : _i};
    c.seen = calloc(c.n, sizeof(*c.seen));
    requests = calloc(c.n, sizeof(*requests));
    must(c.seen && requests);
    memset(w, 0, sizeof(w));
    for (size_t i = 0; i < COUNT(w); i++) {
        w[i].more = &c;
        w[i].index = i;
        worker_start(&w[i], i < PUTTERS ? crowd_put : crowd_get);
    }
    for (size_t i = 0; i < PUTTERS; i++)
        must_be(worker_join(&w[i]), 0);
    must_be(spool_close(c.chan), 0);
    for (size_t i = PUTTERS; i < COUNT(w); i++)
        must_be(worker_join(&w[i]), -EPIPE);
    must_be(atomic_load(&c.got), c.n);
    must_be(atomic_load(&c.sum), c.n * (c.n - 1) / 2);
    must_be_ended(c.chan);
    spool_unref(c.chan);
    free(requests);
    free(c.seen);
}
END_TEST

static int put_until_closed(struct worker *w)
{
    sqe_t sqe = reading(w->rc, &pipe_bytes[w->index], 1, 0, w->index);
    int r;
    while ((r = spool_put(w->chan, &sqe)) == 0)
        w->count++;
    return r;
}

/* A put that says 0 has its completion, one that says -EPIPE has none. */
START_TEST(close_is_atomic_with_puts)
{
    NEEDS_URING();
    for (size_t round = 0; round < scaled(200); round++) {
        spool_chan *chan = uring_of(5);
        struct worker w[5];
        int fds[2];
        size_t put = 0, got = 0;
        idle_pipe(fds);
        memset(w, 0, sizeof(w));
        for (size_t i = 0; i < 5; i++) {
            w[i].chan = chan;
            w[i].index = i;
            w[i].rc = i == 0 ? fds[0] : -1;
            worker_start(&w[i], i < 3 ? put_until_closed : get_all);
        }
        for (size_t i = 0; i < round % 5; i++)
            sched_yield();
        must_be(spool_close(chan), 0);
        for (size_t i = 0; i < 5; i++) {
            must_be(worker_join(&w[i]), -EPIPE);
            *(i < 3 ? &put : &got) += w[i].count;
        }
        must_be(got, put);
        must_be_ended(chan);
        spool_unref(chan);
        close(fds[0]);
        close(fds[1]);
    }
}
END_TEST

static int put_two_and_exit(struct worker *w)
{
    put_idle(w->chan, w->rc, 1);
    do_put(w->chan, linked(reading(w->rc, &pipe_bytes[2], 1, 0, 2), IOSQE_ASYNC));
    return 0;
}

/* What a thread has put may be cancelled when it exits: in any case it has one completion. */
START_TEST(the_thread_that_put_may_exit)
{
    NEEDS_URING();
    spool_chan *chan = uring_of(4);
    struct worker w = {.chan = chan};
    int fds[2], left, taken = 0;
    idle_pipe(fds);
    w.rc = fds[0];
    worker_start(&w, put_two_and_exit);
    must_be(worker_join(&w), 0);
    must_be(write(fds[1], "xx", 2), 2);
    for (uint64_t i = 0, seen = 0; i < 2; i++) {
        struct done cqe = do_get(chan);
        must(cqe.res == 1 || cqe.res == -ECANCELED || cqe.res == -EINTR);
        must(!(seen & UINT64_C(1) << cqe.user_data));
        seen |= UINT64_C(1) << cqe.user_data;
        taken += cqe.res == 1;
    }
    /* What was cancelled has taken nothing. */
    must(ioctl(fds[0], FIONREAD, &left) == 0 && left == 2 - taken);
    spool_unref(chan);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

static void ignore(int signo)
{
    (void)signo;
}

START_TEST(signals_change_nothing)
{
    NEEDS_URING();
    spool_chan *chan = uring_of(8);
    size_t n = scaled(3000);
    int fds[2];
    idle_pipe(fds);
    on_signal(SIGUSR1, ignore);
    timer_t timer = storm_begin(self_tid(), SIGUSR1, 50 * US);
    for (size_t i = 0; i < n; i++) {
        put_idle(chan, fds[0], i);
        if (i % 64 == 0) {
            int64_t start = now_ns();
            must_be(spool_get_for(chan, &(cqe_t){0}, MS), -ETIMEDOUT);
            must(now_ns() - start >= MS);
        }
        while (write(fds[1], "x", 1) != 1)
            must_be(errno, EINTR);
        get_is(chan, i, 1);
    }
    for (uint64_t i = 0; i < 8; i++)
        put_idle(chan, fds[0], i);
    must_be(spool_put_for(chan, &(sqe_t){0}, 10 * MS), -ETIMEDOUT);
    must_be(spool_close(chan), 0);
    for (int i = 0; i < 8; i++)
        must_be(do_get(chan).res, -ECANCELED);
    must_be_ended(chan);
    spool_unref(chan);
    storm_end(timer);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

/* ---- Pollers -------------------------------------------------------------------------------------------------- */

START_TEST(works_in_epoll)
{
    NEEDS_URING();
    static const uint32_t modes[] = {0, EPOLLET, EPOLLONESHOT, EPOLLEXCLUSIVE};
    spool_chan *chan = uring_of(4);
    struct epoll_event ev = {.events = EPOLLIN | modes[_i]}, got;
    int fds[2], ep = epoll_create1(EPOLL_CLOEXEC);
    cqe_t cqe;
    idle_pipe(fds);
    must_be(epoll_ctl(ep, EPOLL_CTL_ADD, spool_fd(chan), &ev), 0);
    for (uint64_t i = 0; i < 10; i++) {
        must_be(epoll_wait(ep, &got, 1, 0), 0);
        put_idle(chan, fds[0], i);
        must_be(epoll_wait(ep, &got, 1, 0), 0);
        write_byte(fds[1]);
        int n;
        do
            n = epoll_wait(ep, &got, 1, (int)(DEADLINE / MS));
        while (n < 0 && errno == EINTR);
        must_be(n, 1);
        get_is(chan, i, 1);
        must_be(spool_try_get(chan, &cqe), -EAGAIN);
        if (modes[_i] == EPOLLONESHOT)
            must_be(epoll_ctl(ep, EPOLL_CTL_MOD, spool_fd(chan), &ev), 0);
    }
    must_be(spool_close(chan), 0);
    must_be(epoll_wait(ep, &got, 1, (int)(DEADLINE / MS)), 1);
    must_be_ended(chan);
    close(ep);
    spool_unref(chan);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

/* ---- Scarcity ------------------------------------------------------------------------------------------------- */

/* What does not need an io_uring works without. */
static void others_work(void)
{
    spool_chan *chan = chan_of(2), *after;
    spool_select *sel = select_of();
    uint64_t value;
    put(chan, 7);
    must_be(get(chan), 7);
    must_be(spool_after(&after, MS), 0);
    must_be(spool_select_get(sel, after, &value), 0);
    must_be(spool_select_wait(sel, -1), 0);
    must_be(value, 1);
    spool_select_free(sel);
    spool_unref(after);
    spool_unref(chan);
}

START_TEST(a_kernel_without_io_uring)
{
    static const int errors[] = {ENOSYS, EPERM};
    spool_chan *chan = NULL;
    int fds = count_fds();
    if (!forbid(SYS_io_uring_setup, 0, errors[_i])) {
        skip("a_kernel_without_io_uring", "no seccomp filters");
        return;
    }
    errno = OWN_ERRNO;
    must_be(spool_uring(&chan, 4), -errors[_i]);
    must_be(errno, OWN_ERRNO);
    must(chan == NULL);
    must_be(count_fds(), fds);
    others_work();
}
END_TEST

/* A sandbox that comes down later. */
START_TEST(a_ring_that_is_forbidden_later)
{
    NEEDS_URING();
    spool_chan *chan = uring_of(4);
    sqe_t sqe = nop(2);
    do_put(chan, nop(1));
    if (!forbid(SYS_io_uring_enter, 0, EPERM)) {
        skip("a_ring_that_is_forbidden_later", "no seccomp filters");
        return;
    }
    must_be(spool_put(chan, &sqe), -EPERM);
    get_is(chan, 1, 0);
    must_be(spool_try_get(chan, &(cqe_t){0}), -EAGAIN);
    must_be(spool_close(chan), 0);
    must_be_ended(chan);
    spool_unref(chan);
    others_work();
}
END_TEST

START_TEST(no_descriptors_left)
{
    NEEDS_URING();
    spool_chan *chan = uring_of(4), *none = NULL;
    struct shortage s;
    struct worker w = {.chan = chan};
    cqe_t cqe;
    int fds[2];
    idle_pipe(fds);
    shortage_begin(&s);
    errno = OWN_ERRNO;
    must_be(spool_uring(&none, 4), -EMFILE);
    must(none == NULL);
    must_be(errno, OWN_ERRNO);
    must_be(spool_get_for(chan, &cqe, MS), -ETIMEDOUT);
    put_idle(chan, fds[0], 1);
    w.elem = &cqe;
    /* Whether it sleeps cannot be seen without a descriptor. */
    worker_start(&w, worker_get);
    write_byte(fds[1]);
    must_be(worker_join(&w), 0);
    must_be(cqe.res, 1);
    shortage_end(&s);
    none = uring_of(4);
    spool_unref(none);
    spool_unref(chan);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

static void vary(unsigned i)
{
    spool_chan *chan = uring_of(1 + i % 64);
    int fds[2];
    idle_pipe(fds);
    do_put(chan, nop(1));
    if (i % 2)
        get_is(chan, 1, 0);
    if (i % 64 > 0)
        put_idle(chan, fds[0], 2);
    if (i % 3 == 0)
        must_be(spool_close(chan), 0);
    if (i % 5 == 0)
        must(!fd_readable(spool_put_fd(chan)) || i % 3 == 0 || i % 64 > 0 || i % 2);
    spool_unref(chan);
    close(fds[0]);
    close(fds[1]);
}

/* How often a ring is mapped. */
static int count_mapped(void)
{
    char line[4096];
    int n = 0;
    FILE *f = fopen("/proc/self/maps", "r");
    must(f);
    while (fgets(line, sizeof(line), f))
        n += strstr(line, "[io_uring]") != NULL;
    fclose(f);
    return n;
}

START_TEST(nothing_leaks)
{
    NEEDS_URING();
    unsigned n = (unsigned)scaled(400);
    int fds = count_fds();
    spool_chan *chan = uring_of(1);
    must(count_mapped() > 0);
    spool_unref(chan);
    for (unsigned i = 0; i < n; i++)
        vary(i);
    must_be(count_fds(), fds);
    /* What is allocated besides the rings, AddressSanitizer counts. */
    must_be(count_mapped(), 0);
}
END_TEST

/* The rings of kernels before 5.12 count against it; a ring that cannot be made is an error and nothing else. */
START_TEST(locked_memory_is_short)
{
    NEEDS_URING();
    struct rlimit none = {0, 0};
    spool_chan *chan = NULL;
    int fds = count_fds();
    must_be(setrlimit(RLIMIT_MEMLOCK, &none), 0);
    int r = spool_uring(&chan, 4096);
    must(r == 0 || r == -ENOMEM);
    if (r == 0) {
        do_put(chan, nop(1));
        get_is(chan, 1, 0);
        spool_unref(chan);
    }
    must_be(count_fds(), fds);
    others_work();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("uring");
    spool_chan *chan = NULL;
    int r = spool_uring(&chan, 1);
    missing = r == -ENOSYS ? "this kernel has no io_uring" : r == -EPERM ? "io_uring is forbidden here" : NULL;
    spool_unref(chan);

    TCase *tc = case_new(suite, "one thread");
    tcase_add_test(tc, behaves_as_a_channel);
    tcase_add_test(tc, bad_arguments);
    tcase_add_loop_test(tc, reads_and_writes_a_file, 0, COUNT(depths));
    tcase_add_test(tc, a_batch_is_one_submission);
    tcase_add_loop_test(tc, a_wrong_submission_is_a_completion, 0, 2);
    tcase_add_loop_test(tc, chains_are_never_split, 0, 2);
    tcase_add_test(tc, the_user_cancels);
    tcase_add_test(tc, time_is_an_operation_too);
    tc = case_new(suite, "full");
    tcase_add_test(tc, a_full_ring_pushes_back);
    tcase_add_test(tc, a_chain_waits_for_its_room);
    tcase_add_test(tc, a_chain_without_room_stays_behind);
    tcase_add_test(tc, a_select_that_only_asks_takes_nothing);
    tcase_add_test(tc, stands_in_a_select);
    tcase_add_loop_test(tc, a_kernel_without_room_pushes_back, 0, 4);
    tc = case_new(suite, "multishot");
    tcase_add_loop_test(tc, an_overflow_loses_nothing, 0, 2);
    tcase_add_test(tc, a_poll_completes_again_and_again);
    tcase_add_test(tc, a_receive_completes_again_and_again);
    tc = case_new(suite, "closing");
    tcase_add_loop_test(tc, close_cancels_and_says_so, 0, KERNELS);
    tcase_add_loop_test(tc, close_of_an_idle_ring, 0, 4);
    tcase_add_loop_test(tc, close_cancels_what_begins_later, 0, 2);
    tcase_add_loop_test(tc, close_lets_all_go_once_it_is_empty, 0, 3);
    tcase_add_loop_test(tc, the_last_unref_waits_for_the_kernel, 0, KERNELS);
    tcase_add_loop_test(tc, a_forked_child_may_drop_it, 0, 2);
    tc = case_new(suite, "threads");
    tcase_add_loop_test(tc, each_completion_is_got_once, 0, 4);
    tcase_add_test(tc, close_is_atomic_with_puts);
    tcase_add_test(tc, the_thread_that_put_may_exit);
    tcase_add_test(tc, signals_change_nothing);
    tc = case_new(suite, "pollers");
    tcase_add_loop_test(tc, works_in_epoll, 0, 4);
    tc = case_new(suite, "scarcity");
    tcase_add_loop_test(tc, a_kernel_without_io_uring, 0, 2);
    tcase_add_test(tc, a_ring_that_is_forbidden_later);
    tcase_add_test(tc, no_descriptors_left);
    tcase_add_test(tc, nothing_leaks);
    tcase_add_test(tc, locked_memory_is_short);
    return run_suite(suite, "uring");
}
