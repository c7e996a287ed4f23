/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* Everything in one select: bounded, unbounded and rendezvous channels, a socket, timers, signals, children, io_uring. */

#include "select_util.h"

#include "spool/uring.h"

#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define TICK (50 * US)

enum kind {
    BOUNDED,
    UNBOUNDED,
    MEET_GET,
    MEET_PUT,
    SOCKET,
    SIGNAL,
    URING,
    TICKS,
    KINDS, /* that stay; the index of a case is its kind */
    CHILD = KINDS,
    AFTER,
    ALL_KINDS,
};

static const char *const names[] = {"bounded", "unbounded", "meet get", "meet put", "socket",
                                    "signal",  "uring",     "ticks",    "child",    "after"};

struct world {
    spool_chan *go; /* numbers of rounds, for the partner; closed at the end */
    spool_chan *chans[KINDS];
    int sockets[2];
    int file;
    uint64_t read_into;
};

static void must_put(spool_chan *chan, const void *elem)
{
    must_be(spool_put(chan, elem), 0);
}

/* The other thread: in every round it lets everything happen once, in another order each time. */
static void partner(void *arg)
{
    struct world *w = arg;
    uint64_t seed = 88172645463325252u, round, got;
    struct io_uring_sqe sqe;
    union sigval value;

    while (spool_get(w->go, &round) == 0) {
        uint64_t turn = rnd(&seed);

        for (unsigned i = 0; i < TICKS; i++) {
            switch ((turn + i) % TICKS) {
            case BOUNDED:
                must_put(w->chans[BOUNDED], &round);
                break;
            case UNBOUNDED:
                must_put(w->chans[UNBOUNDED], &round);
                break;
            case MEET_GET:
                must_put(w->chans[MEET_GET], &round);
                break;
            case MEET_PUT:
                must_be(spool_get(w->chans[MEET_PUT], &got), 0);
                must_be(got, round);
                break;
            case SOCKET:
                must_be(write(w->sockets[1], &round, sizeof round), sizeof round);
                break;
            case SIGNAL:
                value = (union sigval){.sival_int = (int)round};
                must_be(sigqueue(getpid(), SIGRTMIN, value), 0);
                break;
            case URING:
                io_uring_prep_read(&sqe, w->file, &w->read_into, sizeof w->read_into,
                                   (uint64_t)(round % 512) * sizeof round);
                io_uring_sqe_set_data64(&sqe, round);
                must_put(w->chans[URING], &sqe);
                break;
            }
        }
    }
}

static spool_chan *child_of(int status)
{
    spool_chan *chan = NULL;
    pid_t pid = vfork();

    if (pid == 0)
        _exit(status);
    must(pid > 0);
    must_be(spool_child(&chan, pid), 0);
    return chan;
}

struct elements {
    uint64_t bounded, unbounded, meet_get, meet_put, ticks, after;
    struct signalfd_siginfo signal;
    siginfo_t child;
    struct io_uring_cqe cqe; /* last: it ends in an array of no size */
};

/* What one event has to say in this round. */
static void check_event(const struct world *w, const struct elements *e, enum kind kind, uint64_t round)
{
    uint64_t from_socket;

    switch (kind) {
    case BOUNDED:
        must_be(e->bounded, round);
        break;
    case UNBOUNDED:
        must_be(e->unbounded, round);
        break;
    case MEET_GET:
        must_be(e->meet_get, round);
        break;
    case SOCKET:
        must_be(read(w->sockets[0], &from_socket, sizeof from_socket), sizeof from_socket);
        must_be(from_socket, round);
        break;
    case SIGNAL:
        must_be(e->signal.ssi_signo, SIGRTMIN);
        must_be(e->signal.ssi_int, round);
        break;
    case URING:
        must_be(e->cqe.user_data, round);
        must_be(e->cqe.res, sizeof round);
        must_be(w->read_into, round % 512 * 3);
        break;
    case CHILD:
        must_be(e->child.si_code, CLD_EXITED);
        must_be(e->child.si_status, round % 128);
        break;
    case AFTER:
        must_be(e->after, 1);
        break;
    default:
        break;
    }
}

static void world_new(struct world *w)
{
    sigset_t mask;
    uint64_t numbers[512];
    char path[] = "/tmp/spool-kinds-XXXXXX";

    sigemptyset(&mask);
    sigaddset(&mask, SIGRTMIN);
    must_be(pthread_sigmask(SIG_BLOCK, &mask, NULL), 0);
    w->go = chan_of(1);
    w->chans[BOUNDED] = chan_of(3);
    w->chans[UNBOUNDED] = chan_of(SPOOL_UNBOUNDED);
    w->chans[MEET_GET] = chan_of(0);
    w->chans[MEET_PUT] = chan_of(0);
    must_be(spool_signal(&w->chans[SIGNAL], &mask), 0);
    must_be(spool_tick(&w->chans[TICKS], TICK), 0);
    must_be(spool_uring(&w->chans[URING], 4), 0);
    must_be(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, w->sockets), 0);
    for (uint64_t i = 0; i < 512; i++)
        numbers[i] = 3 * i;
    w->file = mkstemp(path);
    must(w->file >= 0);
    must_be(unlink(path), 0);
    must_be(write(w->file, numbers, sizeof numbers), sizeof numbers);
}

static void world_free(struct world *w)
{
    for (int i = 0; i < KINDS; i++)
        spool_unref(w->chans[i]);
    spool_unref(w->go);
    close_both(w->sockets);
    must_be(close(w->file), 0);
}

static void add_standing_cases(spool_select *sel, const struct world *w, struct elements *e)
{
    must_be(spool_select_get(sel, w->chans[BOUNDED], &e->bounded), BOUNDED);
    must_be(spool_select_get(sel, w->chans[UNBOUNDED], &e->unbounded), UNBOUNDED);
    must_be(spool_select_get(sel, w->chans[MEET_GET], &e->meet_get), MEET_GET);
    must_be(spool_select_put(sel, w->chans[MEET_PUT], &e->meet_put), MEET_PUT);
    must_be(spool_select_fd(sel, w->sockets[0], EPOLLIN), SOCKET);
    must_be(spool_select_get(sel, w->chans[SIGNAL], &e->signal), SIGNAL);
    must_be(spool_select_get(sel, w->chans[URING], &e->cqe), URING);
    must_be(spool_select_get(sel, w->chans[TICKS], &e->ticks), TICKS);
}

/* One round: what happens once must be seen once; a child and a timer also close. Returns the ticks that were got. */
static uint64_t play(spool_select *sel, struct world *w, struct elements *e, uint64_t round)
{
    int seen[ALL_KINDS] = {0}, closed[ALL_KINDS] = {0};
    uint64_t ticks = 0;
    spool_chan *child = child_of((int)(round % 128)), *after = NULL;

    must_be(spool_after(&after, (int64_t)(round % 7) * 10 * US), 0);
    must_be(spool_select_get(sel, child, &e->child), CHILD);
    must_be(spool_select_get(sel, after, &e->after), AFTER);
    /* The put case is on until it was taken: then it would go on with the next round's value. */
    e->meet_put = round;
    must_be(spool_select_enable(sel, MEET_PUT, true), 0);
    must_be(spool_put(w->go, &round), 0);
    /* Seven kinds once, child and after twice. */
    for (int left = TICKS + 4; left > 0;) {
        int kind = spool_select_wait(sel, DEADLINE);

        if (kind < 0) {
            for (int i = 0; i < ALL_KINDS; i++)
                fprintf(stderr, "%s: seen %d, closed %d\n", names[i], seen[i], closed[i]);
            ck_abort_msg("round %llu: %d", (unsigned long long)round, kind);
        }
        if (kind == TICKS) {
            ticks += e->ticks;
            continue;
        }
        left--;
        if (spool_select_result(sel, kind) == -EPIPE) {
            must(kind == CHILD || kind == AFTER);
            must_be(seen[kind], 1);
            must_be(closed[kind]++, 0);
            continue;
        }
        must_be(seen[kind]++, 0);
        check_event(w, e, (enum kind)kind, round);
        if (kind == MEET_PUT)
            must_be(spool_select_enable(sel, MEET_PUT, false), 0);
    }
    spool_unref(child);
    spool_unref(after);
    /* Nothing is left over. */
    for (int i; (i = spool_select_wait(sel, 0)) != -EAGAIN;) {
        must_be(i, TICKS);
        ticks += e->ticks;
    }
    return ticks;
}

START_TEST(all_kinds_in_one_select)
{
    struct world w = {.go = NULL};
    struct elements e = {.bounded = 0};
    uint64_t rounds = scaled(10000), ticks = 0, last;
    spool_chan *thread = NULL;

    if (_i) {
        /* With an element that is already there when the select is made. */
        rounds = 1;
    }
    int64_t before = now_ns();
    world_new(&w);
    int64_t after = now_ns();
    int fds = count_fds();
    spool_select *sel = select_of();
    add_standing_cases(sel, &w, &e);
    must_be(spool_go(&thread, partner, &w, 0, 0), 0);
    for (uint64_t round = 0; round < rounds; round++)
        ticks += play(sel, &w, &e, round);
    must_be(spool_close(w.go), 0);
    must_be(spool_go_wait(DEADLINE), 0);
    /* As many ticks as intervals have passed. */
    int64_t from = now_ns();
    if (spool_get_for(w.chans[TICKS], &last, DEADLINE) == 0)
        ticks += last;
    must((int64_t)ticks >= (from - after) / TICK);
    must((int64_t)ticks <= (now_ns() - before) / TICK);
    spool_select_free(sel);
    spool_unref(thread);
    /* The channels made theirs for the select, and keep them. */
    must(count_fds() <= fds + 4);
    world_free(&w);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kinds");
    TCase *tc = case_new(suite, "all");
    spool_chan *ring = NULL;
    int r = spool_uring(&ring, 1);

    if (r < 0) {
        printf("skip kinds no io_uring here: %s\n", strerror(-r));
        return 77;
    }
    spool_unref(ring);
    tcase_add_loop_test(tc, all_kinds_in_one_select, 0, 2);
    return run_suite(suite, "kinds");
}
