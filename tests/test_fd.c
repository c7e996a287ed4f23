/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* The exported descriptors: level semantics for every poller, whatever strangers do to them. */

#include "util.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>

static spool_chan *chan_new(size_t size, size_t capacity)
{
    spool_chan *c = NULL;

    must_be(spool_chan_new(&c, size, capacity), 0);
    return c;
}

static int get_fd(spool_chan *c)
{
    int fd = spool_fd(c);

    must(fd >= 0);
    return fd;
}

static int put_fd(spool_chan *c)
{
    int fd = spool_put_fd(c);

    must(fd >= 0);
    return fd;
}

static int try_get(spool_chan *c)
{
    char elem[64];

    return spool_try_get(c, elem);
}

static int try_put(spool_chan *c)
{
    char elem[64] = {0};

    return spool_try_put(c, elem);
}

static void drain(spool_chan *c)
{
    int rc;

    while ((rc = try_get(c)) == 0)
        ;
    must_be(rc, -EAGAIN);
}

static void fill(spool_chan *c)
{
    int rc;

    while ((rc = try_put(c)) == 0)
        ;
    must_be(rc, -EAGAIN);
}

/* One of each flavour. */
static const size_t flavours[] = {2, SPOOL_UNBOUNDED, 0};

enum { N_FLAVOURS = sizeof(flavours) / sizeof(*flavours) };

/* Both sides of each flavour, as far as they can block. */
enum { GET, PUT, GET_MEET, PUT_MEET, GET_UNBOUNDED, N_SIDES };

static bool is_putting(int side)
{
    return side == PUT || side == PUT_MEET;
}

static size_t side_capacity(int side, size_t bounded)
{
    return side == GET_UNBOUNDED ? SPOOL_UNBOUNDED : side == GET_MEET || side == PUT_MEET ? 0 : bounded;
}

/* Others, as many as there are, who wait in a rendezvous until this thread tries; none where a try is enough. */
struct partners {
    struct worker w[4];
    uint64_t v[4];
    size_t n;
};

/* Lets n operations of the side succeed. */
static void let_go(struct partners *p, spool_chan *c, bool putting, size_t n)
{
    p->n = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_meet(c)) {
            must_be(putting ? try_get(c) : try_put(c), 0);
            continue;
        }
        memset(&p->w[i], 0, sizeof(p->w[i]));
        p->w[i].chan = c;
        p->w[i].elem = &p->v[i];
        worker_start(&p->w[i], putting ? worker_get : worker_put);
        p->n++;
    }
}

static void join(struct partners *p)
{
    while (p->n > 0)
        must_be(worker_join(&p->w[--p->n]), 0);
}

/* ---- One thread ----------------------------------------------------------------------------------------------- */

START_TEST(test_descriptor)
{
    int fds = count_fds();
    spool_chan *c = chan_new(8, flavours[_i]);
    int get = get_fd(c);
    int put;

    must_be(count_fds(), fds + 1);
    put = put_fd(c);
    must(get != put);
    must_be(count_fds(), fds + 2);
    for (int i = 0; i < 2; i++) {
        int fd = i ? put : get;

        must(fcntl(fd, F_GETFL) & O_NONBLOCK);
        must(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    }
    for (int i = 0; i < 10; i++) {
        try_put(c);
        must_be(spool_fd(c), get);
        must_be(spool_put_fd(c), put);
    }
    must_be(spool_close(c), 0);
    must_be(spool_fd(c), get);
    must_be(spool_put_fd(c), put);
    must_be(count_fds(), fds + 2);
    spool_unref(c);
    must_be(count_fds(), fds);
    must_be(fcntl(get, F_GETFD), -1);
}
END_TEST

static int first_fd(struct worker *w)
{
    pthread_barrier_wait(w->more);
    return w->index ? spool_put_fd(w->chan) : spool_fd(w->chan);
}

/* All who ask first at the same time get the same descriptor, and none is left over. */
START_TEST(test_first_use_race)
{
    size_t rounds = scaled(300);
    int fds = count_fds();

    for (size_t round = 0; round < rounds; round++) {
        spool_chan *c = chan_new(8, flavours[round % N_FLAVOURS]);
        struct worker w[4];
        pthread_barrier_t start;
        int fd[4];

        memset(w, 0, sizeof(w));
        must_be(pthread_barrier_init(&start, NULL, 4), 0);
        for (size_t i = 0; i < 4; i++) {
            w[i].chan = c;
            w[i].more = &start;
            w[i].index = i % 2;
            worker_start(&w[i], first_fd);
        }
        for (size_t i = 0; i < 4; i++)
            fd[i] = worker_join(&w[i]);
        must(fd[0] >= 0 && fd[0] == fd[2] && fd[1] >= 0 && fd[1] == fd[3] && fd[0] != fd[1]);
        must_be(count_fds(), fds + 2);
        must_be(pthread_barrier_destroy(&start), 0);
        spool_unref(c);
        must_be(count_fds(), fds);
    }
}
END_TEST

/* Readable exactly when a get would not block, once a try_get has said -EAGAIN; whenever it was made. */
START_TEST(test_get_level)
{
    for (int when = 0; when < 4; when++) {
        spool_chan *c = chan_new(when % 2 ? 24 : 8, _i ? SPOOL_UNBOUNDED : 3);
        int fd = -1;

        if (when == 0) {
            fd = get_fd(c);
            drain(c);
            must(!fd_readable(fd));
        }
        must_be(try_put(c), 0);
        if (when == 1)
            fd = get_fd(c);
        must_be(try_put(c), 0);
        must_be(try_get(c), 0);
        if (when == 2)
            fd = get_fd(c);
        if (fd >= 0)
            must(fd_readable(fd));
        must_be(try_get(c), 0);
        if (when == 3)
            fd = get_fd(c);
        must_be(try_get(c), -EAGAIN);
        must(!fd_readable(fd));
        for (int turn = 0; turn < 100; turn++) {
            for (int i = 0; i <= turn % 3; i++) {
                must_be(try_put(c), 0);
                must(fd_readable(fd));
                must(fd_readable(fd));
            }
            for (int i = 0; i <= turn % 3; i++) {
                must(fd_readable(fd));
                must_be(try_get(c), 0);
            }
            must_be(try_get(c), -EAGAIN);
            must(!fd_readable(fd));
            must_be(try_get(c), -EAGAIN);
            must(!fd_readable(fd));
        }
        spool_unref(c);
    }
}
END_TEST

START_TEST(test_put_level)
{
    for (int when = 0; when < 3; when++) {
        spool_chan *c = chan_new(when % 2 ? 24 : 8, 3);
        int fd = -1;

        if (when == 0) {
            fd = put_fd(c);
            must(fd_readable(fd));
        }
        must_be(try_put(c), 0);
        must_be(try_put(c), 0);
        if (when == 1)
            fd = put_fd(c);
        if (fd >= 0)
            must(fd_readable(fd));
        must_be(try_put(c), 0);
        if (when == 2)
            fd = put_fd(c);
        must_be(try_put(c), -EAGAIN);
        must(!fd_readable(fd));
        for (int turn = 0; turn < 100; turn++) {
            for (int i = 0; i <= turn % 3; i++) {
                must_be(try_get(c), 0);
                must(fd_readable(fd));
            }
            for (int i = 0; i <= turn % 3; i++) {
                must(fd_readable(fd));
                must_be(try_put(c), 0);
            }
            must_be(try_put(c), -EAGAIN);
            must(!fd_readable(fd));
            must_be(spool_put_for(c, (char[24]){0}, 0), -EAGAIN);
            must(!fd_readable(fd));
        }
        spool_unref(c);
    }
}
END_TEST

/* There is always room, until the close and after it. */
START_TEST(test_put_level_unbounded)
{
    spool_chan *c = chan_new(8, SPOOL_UNBOUNDED);
    int fd = put_fd(c);

    for (int i = 0; i < 10000; i++) {
        must_be(try_put(c), 0);
        must(i % 100 || fd_readable(fd));
    }
    drain(c);
    must(fd_readable(fd));
    must_be(spool_close(c), 0);
    must(fd_readable(fd));
    must_be(try_put(c), -EPIPE);
    must(fd_readable(fd));
    spool_unref(c);
}
END_TEST

/* Readable exactly while somebody waits on the other side, and the own side never is. */
START_TEST(test_level_rendezvous)
{
    bool putting = _i;

    for (int when = 0; when < 3; when++) {
        spool_chan *c = chan_new(when % 2 ? 24 : 8, 0);
        char elem[24] = {0};
        struct worker w = {.chan = c, .elem = elem};
        int get = -1;
        int put = -1;

        for (int turn = 0; turn < 20; turn++) {
            if (when == turn % 3) {
                get = get_fd(c);
                put = put_fd(c);
            }
            w.timeout_ns = turn % 4 == 3 ? 20 * MS : DEADLINE;
            worker_start(&w, putting ? worker_get_for : worker_put_for);
            if (turn % 4 != 3) {
                worker_wait_asleep(&w);
                for (int again = 0; get >= 0 && again < 2; again++)
                    must(fd_readable(putting ? put : get));
                must_be(putting ? try_put(c) : try_get(c), 0);
            }
            /* Or nobody comes, and it is not readable any more either when its time is out. */
            must_be(worker_join(&w), turn % 4 == 3 ? -ETIMEDOUT : 0);
            must_be(try_put(c), -EAGAIN);
            must_be(try_get(c), -EAGAIN);
            if (get >= 0)
                must(!fd_readable(get) && !fd_readable(put));
        }
        spool_unref(c);
    }
}
END_TEST

/* A call that waits and runs out of time has found nothing either: the descriptor must not stay readable. */
START_TEST(test_timed_call_heals)
{
    spool_chan *c = chan_new(8, 1);
    int get = get_fd(c);
    int put = put_fd(c);
    uint64_t v = 0;

    drain(c);
    for (int i = 0; i < 20; i++) {
        must_be(spool_put(c, &v), 0);
        must_be(spool_put_for(c, &v, MS), -ETIMEDOUT);
        must(fd_readable(get));
        must_be(try_put(c), -EAGAIN);
        must(!fd_readable(put));
        must_be(spool_get(c, &v), 0);
        must_be(spool_get_for(c, &v, MS), -ETIMEDOUT);
        must(fd_readable(put));
        must_be(try_get(c), -EAGAIN);
        must(!fd_readable(get));
    }
    spool_unref(c);
}
END_TEST

/* The same where only one side is there, or none: what the call left, the next try takes back. */
START_TEST(test_timed_call_heals_elsewhere)
{
    bool putting = is_putting(_i);
    spool_chan *c = chan_new(8, side_capacity(_i, 2));
    int fd = putting ? put_fd(c) : get_fd(c);
    int other = !is_meet(c) ? -1 : putting ? get_fd(c) : put_fd(c);
    uint64_t v = 0;

    must_be(putting ? try_put(c) : try_get(c), -EAGAIN);
    for (int i = 0; i < 20; i++) {
        must_be(putting ? spool_put_for(c, &v, MS) : spool_get_for(c, &v, MS), -ETIMEDOUT);
        must_be(putting ? try_put(c) : try_get(c), -EAGAIN);
        must(!fd_readable(fd));
        if (other >= 0) {
            must_be(putting ? try_get(c) : try_put(c), -EAGAIN);
            must(!fd_readable(other));
        }
    }
    spool_unref(c);
}
END_TEST

/* A closed channel never blocks, so both stay readable for ever, whatever is called. */
START_TEST(test_closed)
{
    for (int when = 0; when < 6; when++) {
        spool_chan *c = chan_new(8, flavours[_i]);
        int get = -1;
        int put = -1;

        if (when % 2) {
            get = get_fd(c);
            put = put_fd(c);
        }
        for (int i = 0; when / 2 == 1 && i < 2; i++)
            must_be(try_put(c), is_meet(c) ? -EAGAIN : 0);
        if (when / 2 == 2)
            drain(c);
        must_be(spool_close(c), 0);
        if (when % 2 == 0) {
            get = get_fd(c);
            put = put_fd(c);
        }
        for (int i = 0; i < 5; i++) {
            must(fd_readable(get));
            must(fd_readable(put));
            must_be(try_put(c), -EPIPE);
            (void)try_get(c);
        }
        must_be(try_get(c), -EPIPE);
        must_be(spool_get_for(c, (char[8]){0}, MS), -EPIPE);
        must(fd_readable(get));
        must(fd_readable(put));
        spool_unref(c);
    }
}
END_TEST

/* ---- Every poller --------------------------------------------------------------------------------------------- */

/* Each kind says whether it sees fd readable within the time, in milliseconds. */
enum kind { BY_POLL, BY_SELECT, BY_LT, BY_ET, BY_ONESHOT, BY_EXCLUSIVE, BY_ET_ONESHOT, N_KINDS };

struct poller {
    enum kind kind;
    int fd;
    int epoll;
};

static uint32_t kind_events(enum kind kind)
{
    switch (kind) {
    case BY_ET:
        return EPOLLIN | EPOLLET;
    case BY_ONESHOT:
        return EPOLLIN | EPOLLONESHOT;
    case BY_EXCLUSIVE:
        return EPOLLIN | EPOLLEXCLUSIVE;
    case BY_ET_ONESHOT:
        return EPOLLIN | EPOLLET | EPOLLONESHOT;
    default:
        return EPOLLIN;
    }
}

static void poller_init(struct poller *p, enum kind kind, int fd)
{
    struct epoll_event ev = {.events = kind_events(kind)};

    p->kind = kind;
    p->fd = fd;
    p->epoll = -1;
    if (kind < BY_LT)
        return;
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    must(p->epoll >= 0);
    must_be(epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &ev), 0);
}

static void poller_end(struct poller *p)
{
    if (p->epoll >= 0)
        close(p->epoll);
}

static bool poller_sees(struct poller *p, int ms)
{
    struct pollfd pfd = {p->fd, POLLIN, 0};
    struct timeval tv = {ms / 1000, ms % 1000 * 1000};
    struct epoll_event ev;
    fd_set set;
    int n;

    switch (p->kind) {
    case BY_POLL:
        n = poll(&pfd, 1, ms);
        break;
    case BY_SELECT:
        FD_ZERO(&set);
        FD_SET(p->fd, &set);
        n = select(p->fd + 1, &set, NULL, NULL, &tv);
        break;
    default:
        n = epoll_wait(p->epoll, &ev, 1, ms);
        if (n == 1)
            must_be(ev.events, EPOLLIN);
    }
    must(n >= 0);
    return n == 1;
}

/* For EPOLLONESHOT: asks again, which reports what is readable already. */
static void poller_again(struct poller *p)
{
    struct epoll_event ev = {.events = kind_events(p->kind)};

    if (p->kind == BY_ONESHOT || p->kind == BY_ET_ONESHOT)
        must_be(epoll_ctl(p->epoll, EPOLL_CTL_MOD, p->fd, &ev), 0);
}

/* What every event loop does: when told, call until -EAGAIN; then wait to be told again. */
START_TEST(test_each_poller)
{
    enum kind kind = (enum kind)(_i % N_KINDS);
    bool putting = is_putting(_i / N_KINDS);
    spool_chan *c = chan_new(8, side_capacity(_i / N_KINDS, 4));
    struct partners others;
    struct poller p;
    int turns = is_meet(c) ? 60 : 200;

    poller_init(&p, kind, putting ? put_fd(c) : get_fd(c));
    for (int turn = 0; turn < turns; turn++) {
        if (putting)
            fill(c);
        else
            drain(c);
        (void)poller_sees(&p, 0); /* an edge from before the queue was found empty may be left */
        poller_again(&p);
        must(!poller_sees(&p, 0));
        let_go(&others, c, putting, 1 + (size_t)turn % 4);
        must(poller_sees(&p, (int)(DEADLINE / MS)));
        if (kind == BY_POLL || kind == BY_SELECT || kind == BY_LT || kind == BY_EXCLUSIVE)
            must(poller_sees(&p, 0));
        poller_again(&p);
        for (size_t left = others.n; left > 0; sched_yield())
            left -= (putting ? try_put(c) : try_get(c)) == 0;
        join(&others);
    }
    if (putting)
        fill(c);
    else
        drain(c);
    (void)poller_sees(&p, 0);
    poller_again(&p);
    must_be(spool_close(c), 0);
    must(poller_sees(&p, (int)(DEADLINE / MS)));
    poller_end(&p);
    spool_unref(c);
}
END_TEST

/* Sleeps in its poller, and then looks at the channel. */
static int poll_and_try(struct worker *w)
{
    if (!poller_sees(w->more, (int)(DEADLINE / MS)))
        return -ETIMEDOUT;
    return w->index ? try_put(w->chan) : try_get(w->chan);
}

/* Closing tells every poller that sleeps, as the end of a pipe would: those with EPOLLEXCLUSIVE one after the other. */
START_TEST(test_close_tells_all)
{
    enum kind kind = (enum kind)(_i % N_KINDS);
    bool putting = is_putting(_i / N_KINDS);
    spool_chan *c = chan_new(8, side_capacity(_i / N_KINDS, 2));
    struct poller p[4];
    struct worker w[4];

    if (putting)
        fill(c);
    memset(w, 0, sizeof(w));
    for (size_t i = 0; i < 4; i++) {
        poller_init(&p[i], kind, putting ? put_fd(c) : get_fd(c));
        must_be(putting ? try_put(c) : try_get(c), -EAGAIN);
        (void)poller_sees(&p[i], 0);
        poller_again(&p[i]);
        w[i].more = &p[i];
        w[i].chan = c;
        w[i].index = putting;
        worker_start(&w[i], poll_and_try);
        worker_wait_asleep(&w[i]);
    }
    must_be(spool_close(c), 0);
    for (size_t i = 0; i < 4; i++) {
        int64_t end = now_ns() + 5 * SEC * SLOWDOWN;

        while (!atomic_load(&w[i].done) && now_ns() < end)
            nap();
        if (!atomic_load(&w[i].done))
            ck_abort_msg("poller %zu of kind %d still sleeps after the close", i, (int)kind);
        must_be(worker_join(&w[i]), -EPIPE);
        poller_end(&p[i]);
    }
    spool_unref(c);
}
END_TEST

/* ---- Strangers ------------------------------------------------------------------------------------------------ */

/* Somebody writes to it: readable without reason, until a try that cannot. */
START_TEST(test_stranger_writes)
{
    static const uint64_t values[] = {1, 7, UINT64_C(1) << 32, UINT64_C(0xfffffffffffffffe)};

    for (size_t k = 0; k < sizeof(values) / sizeof(*values); k++) {
        spool_chan *c = chan_new(8, 2);
        int get = get_fd(c);
        int put = put_fd(c);

        for (int turn = 0; turn < 20; turn++) {
            uint64_t v = values[k];

            drain(c);
            fill(c);
            must(!fd_readable(put));
            must(fd_readable(get));
            (void)!write(put, &v, sizeof(v));
            (void)!write(get, &v, sizeof(v));
            must(fd_readable(get));
            must_be(try_get(c), 0);
            must(fd_readable(put));
            must_be(try_put(c), 0);
            must_be(try_put(c), -EAGAIN);
            must_be(try_put(c), -EAGAIN);
            drain(c);
            (void)!write(get, &v, sizeof(v));
            (void)!write(put, &v, sizeof(v));
            must(fd_readable(put));
            must_be(try_get(c), -EAGAIN);
            must_be(try_put(c), 0);
            must(fd_readable(get));
        }
        must_be(spool_close(c), 0);
        must(fd_readable(get));
        must(fd_readable(put));
        spool_unref(c);
    }
}
END_TEST

/* "A spurious readable heals at the next try that says -EAGAIN", also when a stranger caused it. */
START_TEST(test_stranger_heals)
{
    spool_chan *c = chan_new(8, 2);
    int get = get_fd(c);
    int put = put_fd(c);
    uint64_t v = 1;

    for (int turn = 0; turn < 20; turn++) {
        drain(c);
        must(!fd_readable(get));
        must_be(write(get, &v, sizeof(v)), sizeof(v));
        must(fd_readable(get));
        must_be(try_get(c), -EAGAIN);
        must(!fd_readable(get));
        fill(c);
        must(!fd_readable(put));
        must_be(write(put, &v, sizeof(v)), sizeof(v));
        must_be(try_put(c), -EAGAIN);
        must(!fd_readable(put));
    }
    spool_unref(c);
}
END_TEST

/* Both at once, where the two sides are not each other's opposite. */
START_TEST(test_stranger_heals_elsewhere)
{
    spool_chan *c = chan_new(8, _i ? SPOOL_UNBOUNDED : 0);
    int get = get_fd(c);
    int put = put_fd(c);

    drain(c);
    for (uint64_t v = 1; v < UINT64_C(0xfffffffffffffffe) / 2; v = 2 * v + 1) {
        struct partners others;

        must_be(write(get, &v, sizeof(v)), sizeof(v));
        (void)!write(put, &v, sizeof(v));
        must(fd_readable(get));
        must(fd_readable(put));
        must_be(try_get(c), -EAGAIN);
        must(!fd_readable(get));
        must_be(try_put(c), is_meet(c) ? -EAGAIN : 0);
        must_be(fd_readable(put), !is_meet(c));
        drain(c);
        /* And hides nothing. */
        let_go(&others, c, false, 1);
        must(fd_wait_readable(get));
        must_be(try_get(c), 0);
        join(&others);
        if (!is_meet(c))
            continue;
        let_go(&others, c, true, 1);
        must(fd_wait_readable(put));
        must_be(try_put(c), 0);
        join(&others);
    }
    must_be(spool_close(c), 0);
    must(fd_readable(get) && fd_readable(put));
    spool_unref(c);
}
END_TEST

/* A duplicate is the same descriptor; it outlives the channel without harm. */
START_TEST(test_stranger_dups)
{
    spool_chan *c = chan_new(8, _i ? SPOOL_UNBOUNDED : 2);
    int fd = get_fd(c);
    int copy = dup(fd);

    must(copy >= 0);
    drain(c);
    must(!fd_readable(copy));
    must_be(try_put(c), 0);
    must(fd_readable(copy));
    must(fd_readable(fd));
    drain(c);
    must(!fd_readable(copy));
    must_be(close(copy), 0);
    must_be(try_put(c), 0);
    must(fd_readable(fd));
    copy = dup(fd);
    spool_unref(c);
    must_be(close(copy), 0);
}
END_TEST

static atomic_bool pest_end;

/* Fills the descriptors up, over and over. */
static int pester(struct worker *w)
{
    const int *fds = w->more;
    uint64_t v[2] = {UINT64_C(0xfffffffffffffffe), 1};

    for (unsigned i = 0; !atomic_load(&pest_end); i++) {
        for (size_t k = 0; k < 2; k++)
            (void)!write(fds[k], &v[i % 2], sizeof(*v));
        if (i % 64 == 0)
            nap();
        else
            sched_yield();
    }
    return 0;
}

static int put_count(struct worker *w)
{
    for (uint64_t i = 0; i < w->count; i++)
        must_be(spool_put(w->chan, &i), 0);
    return 0;
}

/* While a stranger saturates both descriptors, threads and a poller still pass everything on. */
START_TEST(test_stranger_saturates)
{
    spool_chan *c = chan_new(8, flavours[_i / 2]);
    int fds[2] = {get_fd(c), put_fd(c)};
    struct worker pest = {.more = fds};
    struct worker putter = {.chan = c, .count = scaled(20000)};
    struct poller p;

    poller_init(&p, _i % 2 ? BY_ET : BY_POLL, fds[0]);
    worker_start(&pest, pester);
    worker_start(&putter, put_count);
    for (uint64_t got = 0; got < putter.count;) {
        uint64_t v;

        must(poller_sees(&p, (int)(DEADLINE / MS)));
        while (spool_try_get(c, &v) == 0) {
            must_be(v, got);
            got++;
        }
    }
    must_be(worker_join(&putter), 0);
    atomic_store(&pest_end, true);
    must_be(worker_join(&pest), 0);
    poller_end(&p);
    spool_unref(c);
}
END_TEST

/* ---- Stress --------------------------------------------------------------------------------------------------- */

static struct {
    spool_chan *chan;
    atomic_size_t got;
    size_t total;
    atomic_uchar *seen; /* by element */
    int end;            /* readable at the end; see flow_poll */
} flow;

static int flow_put(struct worker *w)
{
    uint64_t seed = w->index + 1;

    for (size_t i = 0; i < w->count; i++) {
        uint64_t v = w->index * w->count + i;

        must_be(spool_put(flow.chan, &v), 0);
        /* Now and then long enough for the others to drain the channel and fall asleep. */
        if (rnd(&seed) % 64 == 0)
            nap();
    }
    return 0;
}

static void flow_note(uint64_t v)
{
    must(v < flow.total);
    must_be(atomic_fetch_add(&flow.seen[v], 1), 0);
    atomic_fetch_add(&flow.got, 1);
}

/*
 * Gets only what a poller tells of. The poll never runs out of time while something is to come. Of several exclusive
 * pollers one event wakes one, so those are told of the end by a descriptor of their own.
 */
static int flow_poll(struct worker *w)
{
    struct epoll_event ev = {.events = EPOLLIN};
    struct poller p;
    uint64_t v;
    int rc;

    poller_init(&p, (enum kind)w->index, get_fd(flow.chan));
    if (p.kind == BY_EXCLUSIVE)
        must_be(epoll_ctl(p.epoll, EPOLL_CTL_ADD, flow.end, &ev), 0);
    for (;;) {
        if (!poller_sees(&p, (int)(DEADLINE / MS)))
            ck_abort_msg("poller of kind %d saw nothing after %zu of %zu, %zu in the channel", (int)p.kind,
                         atomic_load(&flow.got), flow.total, spool_len(flow.chan));
        /* One for each wake-up, or all: both are fair use of a level, only all is of an edge. */
        while ((rc = spool_try_get(flow.chan, &v)) == 0) {
            flow_note(v);
            if (p.kind == BY_POLL || p.kind == BY_SELECT || p.kind == BY_LT)
                break;
        }
        if (rc == -EPIPE)
            break;
        poller_again(&p);
    }
    poller_end(&p);
    return 0;
}

static int flow_get(struct worker *w)
{
    uint64_t v;
    int rc;

    (void)w;
    while ((rc = spool_get(flow.chan, &v)) == 0)
        flow_note(v);
    return rc == -EPIPE ? 0 : rc;
}

static void flow_run(size_t capacity, size_t putters, const enum kind *pollers, size_t n_pollers, size_t getters,
                     size_t total)
{
    struct worker w[12];
    size_t n = 0;

    memset(w, 0, sizeof(w));
    flow.chan = chan_new(8, capacity);
    flow.end = eventfd(0, EFD_CLOEXEC);
    must(flow.end >= 0);
    flow.total = total / putters * putters;
    flow.seen = calloc(flow.total, 1);
    must(flow.seen);
    for (size_t i = 0; i < n_pollers; i++, n++) {
        w[n].index = pollers[i];
        worker_start(&w[n], flow_poll);
    }
    for (size_t i = 0; i < getters; i++, n++)
        worker_start(&w[n], flow_get);
    for (size_t i = 0; i < putters; i++, n++) {
        w[n].index = i;
        w[n].count = flow.total / putters;
        worker_start(&w[n], flow_put);
    }
    for (size_t i = n - putters; i < n; i++)
        must_be(worker_join(&w[i]), 0);
    wait_until(atomic_load(&flow.got) == flow.total);
    must_be(spool_close(flow.chan), 0);
    must_be(eventfd_write(flow.end, 1), 0);
    for (size_t i = 0; i < n - putters; i++)
        must_be(worker_join(&w[i]), 0);
    for (size_t i = 0; i < flow.total; i++)
        must_be(atomic_load(&flow.seen[i]), 1);
    free(flow.seen);
    close(flow.end);
    spool_unref(flow.chan);
}

static const size_t flow_capacities[] = {1, 3, 64, 0, SPOOL_UNBOUNDED};

/* One poller of each kind against three putters. */
START_TEST(test_flow_one_poller)
{
    enum kind kind = (enum kind)(_i % N_KINDS);

    flow_run(flow_capacities[_i / N_KINDS], 3, &kind, 1, 0, scaled(5000));
}
END_TEST

/* Pollers beside each other, also of two kinds, and with threads that simply get. */
START_TEST(test_flow_mixed)
{
    static const struct {
        enum kind pollers[3];
        size_t n_pollers, getters;
    } mixes[] = {
        {{BY_POLL, BY_POLL}, 2, 0},
        {{BY_ET, BY_ET}, 2, 0},
        {{BY_EXCLUSIVE, BY_EXCLUSIVE, BY_EXCLUSIVE}, 3, 0},
        {{BY_POLL, BY_ET, BY_ONESHOT}, 3, 0},
        {{BY_POLL}, 1, 1},
        {{BY_ET}, 1, 1},
        {{BY_LT, BY_EXCLUSIVE}, 2, 2},
    };
    enum { N = sizeof(mixes) / sizeof(*mixes) };
    size_t mix = (size_t)_i % N;

    flow_run(flow_capacities[_i / N], 3, mixes[mix].pollers, mixes[mix].n_pollers, mixes[mix].getters, scaled(5000));
}
END_TEST

/* The other direction: a putter that only puts when the poller says there is room. */
static int poll_and_put(struct worker *w)
{
    struct poller p;
    uint64_t v = 0;

    poller_init(&p, (enum kind)w->index, put_fd(w->chan));
    while (v < w->count) {
        must(poller_sees(&p, (int)(DEADLINE / MS)));
        while (v < w->count && spool_try_put(w->chan, &v) == 0)
            v++;
        poller_again(&p);
    }
    poller_end(&p);
    return 0;
}

START_TEST(test_flow_put_poller)
{
    spool_chan *c = chan_new(8, flow_capacities[_i / N_KINDS]);
    struct worker w = {.chan = c, .index = (size_t)(_i % N_KINDS), .count = scaled(5000)};
    uint64_t seed = 9;
    uint64_t v;

    worker_start(&w, poll_and_put);
    for (uint64_t i = 0; i < w.count; i++) {
        must_be(spool_get_for(c, &v, DEADLINE), 0);
        must_be(v, i);
        if (rnd(&seed) % 64 == 0)
            nap();
    }
    must_be(worker_join(&w), 0);
    spool_unref(c);
}
END_TEST

/* A long run for the likeliest use: one event loop, several putters. */
START_TEST(test_flow_long)
{
    static const enum kind kinds[] = {BY_POLL, BY_ET};
    enum kind kind = kinds[_i % 2];

    static const size_t capacities[] = {16, 256, SPOOL_UNBOUNDED, 0};

    flow_run(capacities[_i / 2], 4, &kind, 1, 0, scaled(50000));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("fd");
    TCase *tc = case_new(s, "level");

    tcase_add_loop_test(tc, test_descriptor, 0, N_FLAVOURS);
    tcase_add_test(tc, test_first_use_race);
    tcase_add_loop_test(tc, test_get_level, 0, 2);
    tcase_add_test(tc, test_put_level);
    tcase_add_test(tc, test_put_level_unbounded);
    tcase_add_loop_test(tc, test_level_rendezvous, 0, 2);
    tcase_add_test(tc, test_timed_call_heals);
    tcase_add_loop_test(tc, test_timed_call_heals_elsewhere, GET_MEET, N_SIDES);
    tcase_add_loop_test(tc, test_closed, 0, N_FLAVOURS);

    tc = case_new(s, "pollers");
    tcase_add_loop_test(tc, test_each_poller, 0, N_SIDES * N_KINDS);
    tcase_add_loop_test(tc, test_close_tells_all, 0, N_SIDES * N_KINDS);

    tc = case_new(s, "strangers");
    tcase_add_test(tc, test_stranger_writes);
    tcase_add_test(tc, test_stranger_heals);
    tcase_add_loop_test(tc, test_stranger_heals_elsewhere, 0, 2);
    tcase_add_loop_test(tc, test_stranger_dups, 0, 2);
    tcase_add_loop_test(tc, test_stranger_saturates, 0, 6);

    tc = case_new(s, "flow");
    tcase_add_loop_test(tc, test_flow_one_poller, 0, 5 * N_KINDS);
    tcase_add_loop_test(tc, test_flow_mixed, 0, 5 * 7);
    tcase_add_loop_test(tc, test_flow_put_poller, 0, 4 * N_KINDS); /* not for room that never ends */
    tcase_add_loop_test(tc, test_flow_long, 0, 8);
    return run_suite(s, "test_fd");
}
