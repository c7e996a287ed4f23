/* SPDX-License-Identifier: LGPL-3.0-or-later */
#pragma GCC visibility push(default)
#include <spool/uring.h>
#pragma GCC visibility pop

#include "lane.h"

#include <limits.h>

#define ENTRIES_MAX 32768u

/* Set in all entries of a chain but the last. */
#define LINKED (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)
/*
 * What cannot be counted; and what would hold back everything put after it, this file's own requests too, so that a
 * close could not bring those behind it to their end.
 */
#define REFUSED (IOSQE_CQE_SKIP_SUCCESS | IOSQE_IO_DRAIN)

/* The time between attempts to cancel what escaped the one before: a millisecond, then ever longer. */
#define PAUSE_FIRST 500000 /* doubled before each */
#define PAUSE_MAX 512000000

/* How often a close tries to have a completion that wakes who waits. */
#define NOP_TRIES 100

/*
 * The ring's two queues have a lock each: puts have *submitting*, gets the one of the source. Who needs both takes the
 * source's first. What one side counts and the other reads is written by one side alone, so there is nothing to add up
 * atomically.
 *
 * Outside the lock the submission queue is empty: what the kernel does not take of a batch is taken back.
 *
 * Closed, the ring also has requests of this file's own. Their user_data are addresses in here, which no request of the
 * user can have. Once the last completion was got its entry stays in the queue, so that the descriptor stays readable.
 */
enum own {
    OWN_NOP,    /* shows the close when nothing was under way */
    OWN_CANCEL, /* of everything */
    OWN_TIMER,  /* until the next */
    N_OWN,
};

struct uring {
    struct spool__source source;

    /* Under the source's lock; the counters are read also by puts. */
    uint64_t reaped; /* completions */
    uint64_t ended;  /* submissions whose last completion was got */
    bool cancel_due;
    bool cannot_cancel;
    bool timer_runs;
    struct __kernel_timespec pause;

    struct io_uring ring;
    char own[N_OWN];
    uint32_t capacity;

    struct spool__lock submitting;
    uint64_t begun;      /* batches */
    uint64_t submitted;  /* all so far; read also by gets */
    uint64_t refused_at; /* the kernel had no room when so many, plus one, were reaped */

    /*
     * Threads with a chain that needs more room than there is. One of them has the turn: until its chain is in, nobody
     * else puts, so that there will be room for it. They wait for the bell, which gets and the end of a turn ring.
     */
    uint32_t n_waiting;
    uint32_t bell;
    bool turn;
    uint64_t turns; /* that ended */
};

/* ---- Counting ------------------------------------------------------------------------------------------------- */

/* Submissions whose completion was not got. May be too low while a put is busy: then its completions were got first. */
static int64_t under_way(const struct uring *u)
{
    /* Acquire: after a close, what is counted there is all. And the room that is seen was made. */
    uint64_t submitted = spool__load(&u->submitted, ACQUIRE);
    return (int64_t)(submitted - spool__load(&u->ended, ACQUIRE));
}

static bool is_drained(const struct uring *u)
{
    return u->source.is_shut && under_way(u) <= 0;
}

/* ---- Submitting ----------------------------------------------------------------------------------------------- */

/* Submits the n entries that were written: how many the kernel took. The others are taken back. */
static int submit(struct uring *u, unsigned n)
{
    struct io_uring_sq *sq = &u->ring.sq;
    unsigned sent = 0;
    int r, saved = errno;
    /* Release: what the caller did before comes before what is done by who gets the completion. See reap. */
    spool__store(&u->begun, u->begun + 1, RELEASE);
    do {
        r = io_uring_submit(&u->ring);
        if (r > 0)
            sent += (unsigned)r;
        /* The kernel takes fewer where it stops at one that is wrong (before 5.18): that one has its completion. */
    } while (sent < n && (r > 0 || r == -EINTR));
    if (sent < n) {
        sq->sqe_head = sq->sqe_tail = spool__load(sq->khead, ACQUIRE);
        spool__store(sq->ktail, sq->sqe_tail, RELEASE);
    }
    spool__sys_restore_errno(saved);
    return sent > 0 ? (int)sent : r == 0 ? -EAGAIN : r;
}

/* A request of this file's own. With the lock; false if the kernel does not take it. */
static bool submit_own(struct uring *u, enum own which)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (which == OWN_CANCEL)
        io_uring_prep_cancel(sqe, NULL, IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY);
    else if (which == OWN_TIMER)
        io_uring_prep_timeout(sqe, &u->pause, 0, 0);
    else
        io_uring_prep_nop(sqe);
    io_uring_sqe_set_data(sqe, &u->own[which]);
    return submit(u, 1) == 1;
}

/*
 * How many of n elements go in one batch: whole chains, as far as there is room. -EINVAL what comes first is wrong;
 * -EAGAIN it has no room.
 */
static ssize_t choose(const struct io_uring_sqe *sqes, size_t n, size_t capacity, int64_t room)
{
    size_t chosen = 0;
    for (size_t i = 0; i < n && (i == 0 || (int64_t)i < room);) {
        bool linked = true;
        bool refused = false;
        for (; linked && i < n && i - chosen < capacity; i++) {
            linked = sqes[i].flags & LINKED;
            refused = refused || (sqes[i].flags & REFUSED);
        }
        if (linked || refused)
            return chosen ? (ssize_t)chosen : -EINVAL;
        if ((int64_t)i > room)
            return chosen ? (ssize_t)chosen : -EAGAIN;
        chosen = i;
    }
    return (ssize_t)chosen;
}

/* With the lock. */
static ssize_t put_locked(struct uring *u, const struct io_uring_sqe *sqes, size_t n, bool my_turn)
{
    /* Before asking, so that a completion that is reaped meanwhile is a reason to ask again. */
    uint64_t reaped = spool__load(&u->reaped, ACQUIRE);
    if (spool__load(&u->source.is_shut, ACQUIRE))
        return -EPIPE;
    ssize_t ret = choose(sqes, n, u->capacity, u->turn && !my_turn ? 0 : u->capacity - under_way(u));
    if (ret < 0)
        return ret;
    for (ssize_t i = 0; i < ret; i++)
        *io_uring_get_sqe(&u->ring) = sqes[i];
    ret = submit(u, (unsigned)ret);
    if (ret > 0) {
        spool__store(&u->submitted, u->submitted + (uint64_t)ret, RELEASE);
        spool__store(&u->refused_at, 0, RELAXED);
        return ret;
    }
    if (ret != -EAGAIN && ret != -EBUSY)
        return ret;
    /* The kernel is short of memory, or (before 5.19) has completions in reserve that have to be got first. */
    if (under_way(u) <= 0)
        return -ENOMEM;
    spool__store(&u->refused_at, reaped + 1, RELAXED);
    return -EAGAIN;
}

static ssize_t uring_put(struct spool__source *src, const void *elems, size_t n)
{
    struct uring *u = (struct uring *)src;
    spool__lock(&u->submitting);
    ssize_t ret = put_locked(u, elems, n, false);
    spool__unlock(&u->submitting);
    return ret;
}

/* To be called after room was made, by an atomic read-modify-write, or after the close. */
static void ring_bell(struct uring *u)
{
    /* The room before the look; pairs with the fence in uring_put_together. */
    spool__fence_after_rmw();
    if (spool__load(&u->n_waiting, RELAXED) == 0)
        return;
    /* Release: who finds that it rang finds the room. */
    (void)spool__add(&u->bell, 1, RELEASE);
    (void)spool__sys_futex_wake(&u->bell, INT_MAX);
}

static ssize_t uring_put_together(struct spool__source *src, const void *elems, size_t n, int64_t deadline)
{
    struct uring *u = (struct uring *)src;
    const struct io_uring_sqe *sqes = elems;
    bool my_turn = false, late = false;
    ssize_t ret;
    if (!(sqes->flags & LINKED))
        return -EAGAIN;
    spool__lock(&u->submitting);
    spool__store(&u->n_waiting, u->n_waiting + 1, RELAXED);
    for (;;) {
        uint32_t bell = spool__load(&u->bell, ACQUIRE);
        /* The count before the look for room; pairs with the fence in ring_bell. */
        spool__fence();
        my_turn = my_turn || !u->turn;
        spool__store(&u->turn, true, RELAXED);
        ret = put_locked(u, sqes, n, my_turn);
        if (ret != -EAGAIN || late)
            break;
        spool__unlock(&u->submitting);
        spool__probe_park(spool__lane_of_source(src), SPOOL__PUT, deadline);
        late = spool__sys_futex_wait(&u->bell, bell, deadline) == -ETIMEDOUT;
        spool__lock(&u->submitting);
    }
    spool__store(&u->n_waiting, u->n_waiting - 1, RELAXED);
    if (my_turn) {
        spool__store(&u->turn, false, RELAXED);
        spool__store(&u->turns, u->turns + 1, RELEASE);
    }
    spool__unlock(&u->submitting);
    if (my_turn)
        ring_bell(u);
    return ret == -EAGAIN ? -ETIMEDOUT : ret;
}

static int uring_can_put(struct spool__source *src, uint64_t *ret_pos)
{
    struct uring *u = (struct uring *)src;
    uint64_t reaped = spool__load(&u->reaped, ACQUIRE);
    *ret_pos = reaped + spool__load(&u->turns, ACQUIRE);
    if (spool__load(&src->is_shut, ACQUIRE))
        return -EPIPE;
    int64_t busy = under_way(u);
    bool refused = busy > 0 && spool__load(&u->refused_at, RELAXED) == reaped + 1;
    return refused || busy >= u->capacity || spool__load(&u->turn, RELAXED) ? -EAGAIN : 0;
}

/* ---- Cancelling ----------------------------------------------------------------------------------------------- */

/*
 * Cancels what is under way. A request escapes that is just being tried again, or that only begins when another one
 * ends (hard-linked), so it is done again as long as anything is left: after each completion, and when a timer in
 * the ring makes the descriptor readable, which brings here who waits for completions.
 */
static void cancel_all(struct uring *u)
{
    struct io_uring_sync_cancel_reg any = {.fd = -1, .flags = IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY};
    spool__lock(&u->submitting);
    int saved = errno;
    /* From 6.0 on; before, by a submission. */
    int r = io_uring_register_sync_cancel(&u->ring, &any);
    spool__sys_restore_errno(saved);
    u->cancel_due = r == -EINVAL && !submit_own(u, OWN_CANCEL);
    if (!u->timer_runs) {
        if (u->pause.tv_nsec < PAUSE_MAX)
            u->pause.tv_nsec *= 2;
        u->timer_runs = submit_own(u, OWN_TIMER);
        u->cancel_due = u->cancel_due || !u->timer_runs;
    }
    spool__unlock(&u->submitting);
}

/* A completion of this file's own. */
static void reap_own(struct uring *u, const struct io_uring_cqe *cqe)
{
    enum own which = (enum own)(cqe->user_data - (uintptr_t)u->own);
    if (which == OWN_CANCEL && cqe->res == -EINVAL)
        u->cannot_cancel = true;
    else if (which == OWN_TIMER)
        u->timer_runs = !(u->cancel_due = true);
}

static bool is_own(const struct uring *u, const struct io_uring_cqe *cqe)
{
    return cqe->user_data - (uintptr_t)u->own < N_OWN;
}

/* ---- Getting -------------------------------------------------------------------------------------------------- */

/* Lets the kernel bring in what it keeps because the queue was full; true if there may be more now. */
static bool refill(struct uring *u)
{
    if (!(spool__load(u->ring.sq.kflags, RELAXED) & IORING_SQ_CQ_OVERFLOW))
        return false;
    int saved = errno;
    int r = io_uring_get_events(&u->ring);
    spool__sys_restore_errno(saved);
    return r >= 0;
}

/* The entries [head, tail) are completed. */
static unsigned reap_some(struct uring *u, unsigned head, unsigned tail, struct io_uring_cqe *ret, size_t n,
                          size_t *got)
{
    const struct io_uring_cq *cq = &u->ring.cq;
    uint64_t ended = 0;
    for (; head != tail && *got < n; head++) {
        const struct io_uring_cqe *cqe = &cq->cqes[head & cq->ring_mask];
        if (is_own(u, cqe)) {
            reap_own(u, cqe);
            continue;
        }
        ret[(*got)++] = *cqe;
        ended += !(cqe->flags & IORING_CQE_F_MORE);
    }
    /* Release, both: a put that sees the room comes after what made it. */
    spool__store(&u->ended, u->ended + ended, RELEASE);
    return head;
}

static size_t reap(struct uring *u, struct io_uring_cqe *ret, size_t n)
{
    const struct io_uring_cq *cq = &u->ring.cq;
    unsigned head = spool__load(cq->khead, RELAXED);
    size_t got = 0;
    for (bool refilled = false;; refilled = true) {
        unsigned tail = spool__load(cq->ktail, ACQUIRE);
        if (head == tail && refilled)
            break;
        head = reap_some(u, head, tail, ret, n, &got);
        /* The last entry of a ring that is drained now stays. */
        spool__store(cq->khead, is_drained(u) ? head - 1 : head, RELEASE);
        if (got == n || !refill(u))
            break;
    }
    if (got == 0)
        return 0;
    (void)spool__add(&u->reaped, got, RELEASE);
    ring_bell(u);
    /* Acquire: the kernel has ordered it all, but C does not know, nor do those who check programs by its rules. */
    (void)spool__load(&u->begun, ACQUIRE);
    return got;
}

static ssize_t uring_get(struct spool__source *src, void *ret_elems, size_t n)
{
    struct uring *u = (struct uring *)src;
    if (is_drained(u))
        return -EPIPE;
    size_t got = reap(u, ret_elems, n);
    if (src->is_shut && (got > 0 || u->cancel_due) && !u->cannot_cancel && !is_drained(u))
        cancel_all(u);
    return got > 0 ? (ssize_t)got : -EAGAIN;
}

static size_t uring_len(struct spool__source *src)
{
    struct uring *u = (struct uring *)src;
    const struct io_uring_cq *cq = &u->ring.cq;
    if (is_drained(u))
        return 0;
    unsigned head = spool__load(cq->khead, RELAXED), tail = spool__load(cq->ktail, ACQUIRE);
    if (head == tail && refill(u))
        tail = spool__load(cq->ktail, ACQUIRE);
    size_t len = tail - head;
    /* Few are of this file's own, and none before the close. */
    for (; src->is_shut && head != tail; head++)
        len -= is_own(u, &cq->cqes[head & cq->ring_mask]);
    return len < u->capacity ? len : u->capacity;
}

static bool uring_ready(struct spool__source *src)
{
    return uring_len(src) > 0 || is_drained((struct uring *)src);
}

static size_t uring_capacity(struct spool__source *src)
{
    return ((struct uring *)src)->capacity;
}

/* ---- Closing -------------------------------------------------------------------------------------------------- */

static void uring_shut(struct spool__source *src)
{
    struct uring *u = (struct uring *)src;
    if (!spool__source_is_own(src))
        return;
    /* A put that began before has ended once the lock was had, and any other one sees the close. */
    spool__lock(&u->submitting);
    bool drained = under_way(u) <= 0;
    bool shown = !drained;
    for (int i = 0; !shown && i < NOP_TRIES; i++) {
        shown = submit_own(u, OWN_NOP);
        /* The kernel is short of memory, and to wait for completions would be to no end. */
        if (!shown)
            spool__yield();
    }
    /* Without a completion nobody who waits is woken, but who looks finds an entry that was there before. */
    if (!shown)
        spool__store(u->ring.cq.khead, spool__load(u->ring.cq.ktail, RELAXED) - 1, RELEASE);
    spool__unlock(&u->submitting);
    ring_bell(u);
    if (!drained)
        cancel_all(u);
}

/* Cancels again and waits a while for a completion; false if there is no point in it. */
static bool await_one(struct uring *u)
{
    struct pollfd p = {.fd = u->source.fd, .events = POLLIN};
    if (u->cannot_cancel)
        return false;
    cancel_all(u);
    if (u->cancel_due)
        return false;
    (void)spool__sys_poll_until(&p, 1, spool__sys_now() + u->pause.tv_nsec);
    return true;
}

static void uring_destroy(struct spool__source *src, void (*drop)(void *elem))
{
    struct uring *u = (struct uring *)src;
    struct io_uring_cqe cqes[16];
    bool more = spool__source_is_own(src);
    while (more && under_way(u) > 0) {
        size_t n = reap(u, cqes, sizeof cqes / sizeof *cqes);
        for (size_t i = 0; drop && i < n; i++)
            drop(&cqes[i]);
        more = n > 0 || await_one(u);
    }
    int saved = errno;
    io_uring_queue_exit(&u->ring);
    spool__sys_restore_errno(saved);
}

/* ---- Making --------------------------------------------------------------------------------------------------- */

static const struct spool__source_ops uring_ops = {
    .name = "uring",
    .bytes = sizeof(struct uring),
    .elem_size = sizeof(struct io_uring_cqe),
    .put_size = sizeof(struct io_uring_sqe),
    .get = uring_get,
    .ready = uring_ready,
    .put = uring_put,
    .put_together = uring_put_together,
    .can_put = uring_can_put,
    .shut = uring_shut,
    .destroy = uring_destroy,
    .capacity = uring_capacity,
    .len = uring_len,
    .cheap = true,
};

static int queue_init(struct io_uring *ring, unsigned entries)
{
    int saved = errno;
    /* Of a batch with one that is wrong, the others still go in with the same call. From 5.18 on. */
    int r = io_uring_queue_init(entries, ring, IORING_SETUP_SUBMIT_ALL);
    if (r == -EINVAL)
        r = io_uring_queue_init(entries, ring, 0);
    spool__sys_restore_errno(saved);
    return r;
}

int spool_uring(spool_chan **ret, unsigned entries)
{
    spool_chan *chan;
    struct spool__source *src;
    if (!ret || entries == 0 || entries > ENTRIES_MAX)
        return -EINVAL;
    int r = spool__chan_new_source(&chan, &src, &uring_ops, __builtin_return_address(0));
    if (r < 0)
        return r;
    struct uring *u = (struct uring *)src;
    r = queue_init(&u->ring, entries);
    if (r < 0) {
        spool__chan_free_source(chan);
        return r;
    }
    src->fd = u->ring.ring_fd;
    src->pid = spool__sys_getpid();
    u->capacity = entries;
    u->pause.tv_nsec = PAUSE_FIRST;
    *ret = chan;
    return 0;
}

struct io_uring *spool_uring_ring(spool_chan *chan)
{
    struct spool__source *src = spool__chan_source(chan, &uring_ops);
    return src ? &((struct uring *)src)->ring : NULL;
}
