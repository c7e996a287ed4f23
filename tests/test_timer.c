/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* after, tick and never. */
#include "source_util.h"

#include <sys/ioctl.h>

#define HOUR (3600 * SEC)

/* No memory, while this is set. The linker sends the library's calls here. */
static bool no_memory;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
    if (!no_memory)
        return __real_calloc(n, size);
    errno = ENOMEM;
    return NULL;
}

static spool_chan *after_of(int64_t delay_ns)
{
    spool_chan *chan = NULL;
    must_be(spool_after(&chan, delay_ns), 0);
    return chan;
}

static spool_chan *tick_of(int64_t interval_ns)
{
    spool_chan *chan = NULL;
    must_be(spool_tick(&chan, interval_ns), 0);
    return chan;
}

/* Kinds that stay quiet for the length of a test. */
enum quiet {
    NEVER,
    AFTER_LONG,
    AFTER_NEGATIVE,
    AFTER_MAX,
    AFTER_NEARLY_MAX,
    TICK_LONG,
    TICK_MAX,
    QUIETS,
};

static spool_chan *quiet_of(int kind)
{
    spool_chan *chan = NULL;
    switch (kind) {
    case NEVER:
        must_be(spool_never(&chan), 0);
        return chan;
    case AFTER_LONG:
        return after_of(HOUR);
    case AFTER_NEGATIVE:
        return after_of(-1);
    case AFTER_MAX:
        return after_of(INT64_MAX);
    case AFTER_NEARLY_MAX:
        return after_of(INT64_MAX - 2 * now_ns());
    case TICK_LONG:
        return tick_of(HOUR);
    default:
        return tick_of(INT64_MAX);
    }
}

/* A tick whose grid began between the two times. */
struct grid {
    spool_chan *chan;
    int64_t interval, from, to;
};

static struct grid grid_of(int64_t interval_ns)
{
    struct grid g = {.interval = interval_ns, .from = now_ns()};
    g.chan = tick_of(interval_ns);
    g.to = now_ns();
    return g;
}

/* Whether so many intervals can have ended at some moment between the two times. */
static bool is_on_grid(const struct grid *g, uint64_t count, int64_t begin, int64_t end)
{
    int64_t least = begin <= g->to ? 0 : (begin - g->to) / g->interval;
    return count >= (uint64_t)least && count <= (uint64_t)((end - g->from) / g->interval);
}

/* ---- One thread ----------------------------------------------------------------------------------------------- */

START_TEST(behaves_as_a_channel)
{
    int fds = count_fds();
    spool_chan *chan = quiet_of(_i);
    must_be(fcntl(spool_fd(chan), F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    must_behave(chan, sizeof(uint64_t));
    must_be(spool_close(chan), 0);
    must_be_over(chan);
    spool_unref(chan);
    must_be(count_fds(), fds);
}
END_TEST

START_TEST(bad_arguments)
{
    spool_chan *chan = NULL;
    int fds = count_fds();
    errno = OWN_ERRNO;
    must_be(spool_after(NULL, 1), -EINVAL);
    must_be(spool_tick(NULL, 1), -EINVAL);
    must_be(spool_never(NULL), -EINVAL);
    must_be(spool_tick(&chan, 0), -EINVAL);
    must_be(spool_tick(&chan, -1), -EINVAL);
    must_be(spool_tick(&chan, INT64_MIN), -EINVAL);
    must_be(errno, OWN_ERRNO);
    must(!chan);
    must_be(count_fds(), fds);
}
END_TEST

enum way { BY_GET, BY_GET_FOR, BY_GET_MANY, BY_POLL, BY_SELECT, BY_TRYING, WAYS };

static void get_by(int way, spool_chan *chan, uint64_t *value)
{
    spool_select *sel;
    int r;
    switch (way) {
    case BY_GET:
        must_be(spool_get(chan, value), 0);
        break;
    case BY_GET_FOR:
        must_be(spool_get_for(chan, value, DEADLINE), 0);
        break;
    case BY_GET_MANY:
        must_be(spool_get_many(chan, value, 1, DEADLINE), 1);
        break;
    case BY_POLL:
        must(fd_wait_readable(spool_fd(chan)));
        must_be(spool_try_get(chan, value), 0);
        break;
    case BY_SELECT:
        sel = select_of();
        must_be(spool_select_get(sel, chan, value), 0);
        must_be(spool_select_wait(sel, DEADLINE), 0);
        must_be(spool_select_result(sel, 0), 0);
        spool_select_free(sel);
        break;
    default:
        while ((r = spool_try_get(chan, value)) == -EAGAIN)
            ;
        must_be(r, 0);
    }
}

START_TEST(after_is_never_early_and_comes_once)
{
    static const int64_t delays[] = {0, 1, 2, 999, 1000, 20 * US, 333333, MS, 5 * MS + 7, 30 * MS};
    int fds = count_fds();
    size_t rounds = scaled(20);
    for (size_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < COUNT(delays); i++) {
            int64_t start = now_ns();
            spool_chan *chan = after_of(delays[i]);
            uint64_t value = 0;
            get_by(_i, chan, &value);
            must(now_ns() - start >= delays[i]);
            must_be(value, 1);
            must_be_over(chan);
            spool_unref(chan);
        }
    }
    must_be(count_fds(), fds);
}
END_TEST

START_TEST(after_nothing_is_at_once)
{
    for (size_t i = 0; i < scaled(2000); i++) {
        spool_chan *chan = after_of(0);
        must(fd_readable(spool_fd(chan)));
        must_be(spool_len(chan), 1);
        must(spool_alive(chan));
        must_be(get(chan), 1);
        must(!spool_alive(chan));
        spool_unref(chan);
    }
}
END_TEST

START_TEST(tick_keeps_its_grid)
{
    static const int64_t intervals[] = {1, 7, US, 33333, 100 * US, MS, 7 * MS};
    for (size_t k = 0; k < COUNT(intervals); k++) {
        struct grid g = grid_of(intervals[k]);
        uint64_t sum = 0, seed = 88172645463325252u;
        size_t rounds = scaled(intervals[k] < MS ? 300 : 30);
        for (size_t i = 0; i < rounds; i++) {
            uint64_t value = 0;
            /* Sometimes late, by some intervals. */
            if (rnd(&seed) % 3 == 0)
                sleep_ns((int64_t)(rnd(&seed) % (uint64_t)(intervals[k] < 100 * US ? 100 * US : 4 * intervals[k])));
            int64_t begin = now_ns();
            get_by((int)(rnd(&seed) % WAYS), g.chan, &value);
            must(value >= 1);
            sum += value;
            must(is_on_grid(&g, sum, begin, now_ns()));
        }
        must(spool_alive(g.chan));
        spool_unref(g.chan);
    }
}
END_TEST

START_TEST(a_late_getter_counts)
{
    struct grid g = grid_of(MS);
    uint64_t values[4] = {0, 7, 7, 7};
    while (now_ns() < g.to + 20 * MS)
        nap();
    must(fd_readable(spool_fd(g.chan)));
    must_be(spool_len(g.chan), 1);
    must_be(spool_get_many(g.chan, values, 4, -1), 1);
    must(values[0] >= 20);
    must_be(values[1], 7);
    spool_unref(g.chan);
}
END_TEST

START_TEST(times_out_between_ticks)
{
    struct grid g = grid_of(40 * MS);
    uint64_t value = 0, sum = 0;
    for (int i = 0; i < 3; i++) {
        int r;
        int64_t start = now_ns();
        while ((r = spool_get_for(g.chan, &value, 3 * MS)) == -ETIMEDOUT) {
            must(now_ns() - start >= 3 * MS);
            start = now_ns();
        }
        must_be(r, 0);
        sum += value;
        must(now_ns() >= g.from + (int64_t)sum * g.interval);
    }
    spool_unref(g.chan);
}
END_TEST

/* ---- Closing -------------------------------------------------------------------------------------------------- */

static uint64_t dropped_sum;
static int dropped;

static void note_drop(void *elem)
{
    dropped++;
    dropped_sum += *(uint64_t *)elem;
}

START_TEST(what_expired_before_a_close_is_got)
{
    for (int drops = 0; drops < 2; drops++) {
        spool_chan *chan = after_of(US);
        must_be(spool_set_drop(chan, note_drop), 0);
        must(fd_wait_readable(spool_fd(chan)));
        must_be(spool_close(chan), 0);
        must_be(spool_close(chan), -EALREADY);
        must(!spool_alive(chan));
        must_be(spool_len(chan), 1);
        must(fd_readable(spool_fd(chan)));
        if (!drops) {
            must_be(get(chan), 1);
            must_be_over(chan);
        }
        spool_unref(chan);
        must_be(dropped, drops);
    }
    must_be(dropped_sum, 1);

    struct grid g = grid_of(10 * US);
    uint64_t sum = 0;
    for (int i = 0; i < 10; i++) {
        uint64_t value;
        must_be(spool_get(g.chan, &value), 0);
        sum += value;
    }
    /* Some intervals late. */
    int64_t begin = now_ns();
    wait_until(now_ns() > begin + 50 * g.interval);
    must(fd_wait_readable(spool_fd(g.chan)));
    begin = now_ns();
    must_be(spool_close(g.chan), 0);
    int64_t end = now_ns();
    must_be(spool_len(g.chan), 1);
    /* Who only asks is told of it, not of the close. */
    spool_select *sel = select_of();
    must_be(spool_select_get(sel, g.chan, NULL), 0);
    must_be(spool_select_wait(sel, DEADLINE), 0);
    must_be(spool_select_result(sel, 0), 0);
    sum += get(g.chan);
    must_be(spool_select_wait(sel, DEADLINE), 0);
    must_be(spool_select_result(sel, 0), -EPIPE);
    spool_select_free(sel);
    must(is_on_grid(&g, sum, begin, end));
    must_be_over(g.chan);
    spool_unref(g.chan);
}
END_TEST

START_TEST(close_lets_all_go)
{
    int fds = count_fds();
    spool_chan *chan = quiet_of(_i);
    must_let_all_go(chan, false);
    must_be_over(chan);
    spool_unref(chan);
    must_be(count_fds(), fds);
}
END_TEST

START_TEST(the_last_unref_lets_all_go)
{
    int fds = count_fds();
    must_let_all_go(quiet_of(_i), true);
    must_be(count_fds(), fds);
}
END_TEST

/* From the first tick on a get would never block: so no look at the descriptor may say that it would. */
static int keeps_looking(struct worker *w)
{
    int fd = spool_fd(w->chan);
    atomic_bool *stop = w->more;
    while (!atomic_load(stop)) {
        must(fd_readable(fd));
        w->count++;
    }
    return 0;
}

START_TEST(stays_readable_through_a_close)
{
    for (size_t i = 0; i < scaled(200); i++) {
        atomic_bool stop = false;
        struct worker w = {.chan = tick_of(1 + (int64_t)(i % 50) * US), .more = &stop};
        must(fd_wait_readable(spool_fd(w.chan)));
        worker_start(&w, keeps_looking);
        wait_until(atomic_load(&w.tid) != 0);
        must_be(spool_close(w.chan), 0);
        must(get(w.chan) >= 1);
        must_be(spool_try_get(w.chan, &(uint64_t){0}), -EPIPE);
        atomic_store(&stop, true);
        must_be(worker_join(&w), 0);
        spool_unref(w.chan);
    }
}
END_TEST

static void close_and_look(size_t rounds)
{
    for (size_t i = 0; i < rounds; i++) {
        for (int kind = 0; kind < QUIETS; kind++) {
            spool_chan *chan = quiet_of(kind);
            must_be(spool_close(chan), 0);
            must(fd_readable(spool_fd(chan)));
            must_be(spool_try_get(chan, &(uint64_t){0}), -EPIPE);
            must(fd_readable(spool_fd(chan)));
            spool_unref(chan);
        }
        spool_chan *chan = after_of(0);
        must(fd_readable(spool_fd(chan)));
        must_be(get(chan), 1);
        must_be(spool_try_get(chan, &(uint64_t){0}), -EPIPE);
        spool_unref(chan);
    }
}

START_TEST(readable_when_close_returns)
{
    close_and_look(scaled(100));
    /* And where the kernel cannot be told to make it readable, but by a time that is over. */
    if (!forbid(SYS_ioctl, _IOW('T', 0, uint64_t), ENOTTY)) {
        skip("readable_when_close_returns", "no seccomp for its second half");
        return;
    }
    close_and_look(scaled(100));
    must_let_all_go(quiet_of(NEVER), true);
}
END_TEST

/* A forked child has the same descriptors. What it does with its copy of the channel is nothing to its parent. */
START_TEST(a_forked_child_may_drop_it)
{
    spool_chan *chan = quiet_of(_i);
    for (int way = 0; way < 2; way++) {
        int status;
        pid_t pid = fork();
        must(pid >= 0);
        if (pid == 0) {
            union any_elem elem;
            bool closed = way == 0 || (spool_close(chan) == 0 && spool_try_get(chan, &elem) == -EPIPE);
            spool_unref(chan);
            _exit(closed ? 0 : 1);
        }
        must_be(waitpid(pid, &status, 0), pid);
        must_be(status, 0);
        must_be_empty(chan);
    }
    must_be(spool_close(chan), 0);
    must_be_over(chan);
    spool_unref(chan);
}
END_TEST

/* ---- Several threads ------------------------------------------------------------------------------------------ */

static int sums_ticks(struct worker *w)
{
    _Atomic uint64_t *total = w->more;
    uint64_t value;
    int r;
    while ((r = w->index % 2 ? spool_get_for(w->chan, &value, 70 * US) : spool_get(w->chan, &value)) != -EPIPE) {
        if (r == -ETIMEDOUT)
            continue;
        must_be(r, 0);
        w->count++;
        atomic_fetch_add(total, value);
    }
    return 0;
}

static int selects_ticks(struct worker *w)
{
    _Atomic uint64_t *total = w->more;
    uint64_t value = 0;
    spool_select *sel = select_of();
    must_be(spool_select_get(sel, w->chan, &value), 0);
    int index;
    while ((index = spool_select_wait(sel, -1)) >= 0) {
        if (spool_select_result(sel, index) == -EPIPE)
            continue;
        must_be(spool_select_result(sel, index), 0);
        w->count++;
        atomic_fetch_add(total, value);
    }
    must_be(index, -ENODATA);
    spool_select_free(sel);
    return 0;
}

START_TEST(each_expiry_is_seen_once)
{
    struct worker w[WAITERS];
    _Atomic uint64_t total = 0;
    uint64_t want = scaled(20000);
    memset(w, 0, sizeof(w));
    struct grid g = grid_of(20 * US);
    for (int i = 0; i < WAITERS; i++) {
        w[i].chan = g.chan;
        w[i].index = (size_t)i;
        w[i].more = &total;
        worker_start(&w[i], _i == 0 || (_i == 1 && i < WAITERS / 2) ? sums_ticks : selects_ticks);
    }
    wait_until(atomic_load(&total) >= want);
    int64_t begin = now_ns();
    must_be(spool_close(g.chan), 0);
    int64_t end = now_ns();
    for (int i = 0; i < WAITERS; i++)
        must_be(worker_join(&w[i]), 0);
    /* An interval may be over by the clock when the kernel has not noticed yet. */
    must(is_on_grid(&g, atomic_load(&total), begin - g.interval - 10 * MS, end));
    must_be_over(g.chan);
    spool_unref(g.chan);
}
END_TEST

static int late_gets(struct worker *w)
{
    uint64_t value = 0;
    for (size_t i = 0; i < w->count; i++) {
        int64_t start = now_ns();
        spool_chan *chan = after_of(3 * MS);
        must_be(spool_get(chan, &value), 0);
        must(now_ns() - start >= 3 * MS);
        must_be(value, 1);
        spool_unref(chan);
        start = now_ns();
        must_be(spool_get_for(w->chan, &value, 2 * MS), -ETIMEDOUT);
        must(now_ns() - start >= 2 * MS);
    }
    return 0;
}

static atomic_int handled;

static void count_signal(int signo)
{
    (void)signo;
    atomic_fetch_add(&handled, 1);
}

START_TEST(signals_change_nothing)
{
    struct worker w = {.chan = quiet_of(NEVER), .count = scaled(20), .storm_ns = 100 * US};
    on_signal(SIGUSR1, count_signal);
    worker_start(&w, late_gets);
    must_be(worker_join(&w), 0);
    must(atomic_load(&handled) > 0);
    spool_unref(w.chan);
}
END_TEST

/* ---- Pollers -------------------------------------------------------------------------------------------------- */

static const uint32_t modes[] = {0, EPOLLET, EPOLLONESHOT, EPOLLEXCLUSIVE, EPOLLEXCLUSIVE | EPOLLET};

static int poll_outside(struct worker *w)
{
    struct epoll_event ev = {.events = EPOLLIN | modes[w->index]};
    int set = epoll_create1(EPOLL_CLOEXEC);
    uint64_t value = 0, sum = 0;
    int r;
    must(set >= 0);
    must_be(epoll_ctl(set, EPOLL_CTL_ADD, spool_fd(w->chan), &ev), 0);
    for (;;) {
        struct epoll_event got;
        must_be(epoll_wait(set, &got, 1, (int)(DEADLINE / MS)), 1);
        while ((r = spool_try_get(w->chan, &value)) == 0)
            sum += value;
        if (r == -EPIPE)
            break;
        must_be(r, -EAGAIN);
        if (modes[w->index] & EPOLLONESHOT)
            must_be(epoll_ctl(set, EPOLL_CTL_MOD, spool_fd(w->chan), &ev), 0);
    }
    close(set);
    atomic_fetch_add((_Atomic uint64_t *)w->more, sum);
    return 0;
}

START_TEST(works_in_every_kind_of_poller)
{
    int fds = count_fds();
    for (int kind = 0; kind < 3; kind++) {
        struct worker w[WAITERS];
        _Atomic uint64_t total = 0;
        struct grid g = {.chan = kind == 0 ? after_of(5 * MS) : quiet_of(NEVER)};
        memset(w, 0, sizeof(w));
        if (kind == 2) {
            spool_unref(g.chan);
            g = grid_of(500 * US);
        }
        for (int i = 0; i < WAITERS; i++) {
            w[i].chan = g.chan;
            w[i].index = (size_t)_i;
            w[i].more = &total;
            worker_start(&w[i], poll_outside);
        }
        if (kind == 1)
            for (int i = 0; i < WAITERS; i++)
                worker_wait_asleep(&w[i]);
        if (kind == 2)
            wait_until(now_ns() > g.to + 20 * MS);
        int64_t begin = now_ns();
        must_be(kind == 0 ? 0 : spool_close(g.chan), 0);
        int64_t end = now_ns();
        for (int i = 0; i < WAITERS; i++)
            must_be(worker_join(&w[i]), 0);
        if (kind == 2)
            must(is_on_grid(&g, atomic_load(&total), begin - g.interval - 10 * MS, end));
        else
            must_be(atomic_load(&total), kind == 0);
        must_be_over(g.chan);
        spool_unref(g.chan);
    }
    must_be(count_fds(), fds);
}
END_TEST

START_TEST(readable_as_long_as_there_is_something)
{
    spool_chan *chan = tick_of(30 * MS);
    uint64_t value;
    for (int i = 0; i < 3; i++) {
        must(fd_wait_readable(spool_fd(chan)));
        must(fd_readable(spool_fd(chan)));
        int64_t begin = now_ns();
        must_be(spool_try_get(chan, &value), 0);
        bool readable = fd_readable(spool_fd(chan));
        /* Unless the next has come. */
        must(!readable || now_ns() - begin >= 1 * MS || spool_len(chan) == 1);
    }
    spool_unref(chan);
    chan = after_of(10 * MS);
    must(!fd_readable(spool_fd(chan)) || spool_len(chan) == 1);
    must(fd_wait_readable(spool_fd(chan)));
    must(spool_alive(chan));
    must_be(get(chan), 1);
    must_be_over(chan);
    spool_unref(chan);
}
END_TEST

/* ---- In a select ---------------------------------------------------------------------------------------------- */

START_TEST(selected_beside_a_channel_and_a_socket)
{
    enum { TICK, AFTER, QUIET, CHAN, SOCKET, CASES };
    spool_select *sel = select_of();
    uint64_t tick = 0, after = 0, quiet = 0, element = 0, sum = 0, seen[CASES] = {0};
    size_t want = scaled(300);
    int fds[2];
    spool_chan *delay = after_of(3 * MS), *silent = quiet_of(NEVER), *chan = chan_of(1);
    struct grid g = grid_of(100 * US);
    must_be(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    must_be(spool_select_get(sel, g.chan, &tick), TICK);
    must_be(spool_select_get(sel, delay, &after), AFTER);
    must_be(spool_select_get(sel, silent, &quiet), QUIET);
    must_be(spool_select_get(sel, chan, &element), CHAN);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN), SOCKET);
    put(chan, 0);
    write_byte(fds[1]);
    while (seen[TICK] < want || seen[CHAN] < want || seen[SOCKET] < want || seen[AFTER] < 2) {
        int64_t begin = now_ns();
        int i = spool_select_wait(sel, DEADLINE);
        must(i >= 0 && i < CASES && i != QUIET);
        seen[i]++;
        if (i == TICK) {
            must_be(spool_select_result(sel, i), 0);
            sum += tick;
            must(is_on_grid(&g, sum, begin, now_ns()));
        } else if (i == AFTER) {
            must_be(spool_select_result(sel, i), seen[AFTER] == 1 ? 0 : -EPIPE);
        } else if (i == CHAN) {
            must_be(element, seen[CHAN] - 1);
            put(chan, seen[CHAN]);
        } else {
            must_be(spool_select_result(sel, i), EPOLLIN);
            read_byte(fds[0]);
            write_byte(fds[1]);
        }
    }
    must_be(after, 1);
    must_be(seen[AFTER], 2);
    /* What is closed leaves. */
    must_be(spool_select_remove(sel, CHAN), 0);
    must_be(spool_select_remove(sel, SOCKET), 0);
    must_be(spool_close(g.chan), 0);
    must_be(spool_close(silent), 0);
    int i, pipes = 0;
    while ((i = spool_select_wait(sel, DEADLINE)) >= 0)
        pipes += spool_select_result(sel, i) == -EPIPE;
    must_be(i, -ENODATA);
    must_be(pipes, 2);
    spool_select_free(sel);
    close_both(fds);
    spool_unref(g.chan);
    spool_unref(delay);
    spool_unref(silent);
    spool_unref(chan);
}
END_TEST

START_TEST(a_select_that_only_asks_takes_nothing)
{
    spool_select *sel = select_of();
    spool_chan *chan = after_of(MS);
    must_be(spool_select_get(sel, chan, NULL), 0);
    for (int i = 0; i < 5; i++) {
        must_be(spool_select_wait(sel, DEADLINE), 0);
        must_be(spool_select_result(sel, 0), 0);
        must_be(spool_len(chan), 1);
        must(fd_readable(spool_select_poll_fd(sel)));
    }
    must_be(get(chan), 1);
    must_be(spool_select_wait(sel, DEADLINE), 0);
    must_be(spool_select_result(sel, 0), -EPIPE);
    must_be(spool_select_wait(sel, DEADLINE), -ENODATA);
    spool_unref(chan);
    /* The same case on a tick, and the select's own descriptor. */
    chan = tick_of(20 * MS);
    must_be(spool_select_get(sel, chan, NULL), 0);
    must_be(spool_select_wait(sel, DEADLINE), 0);
    must(get(chan) >= 1);
    must(fd_wait_readable(spool_select_poll_fd(sel)));
    must_be(spool_select_wait(sel, 0), 0);
    must_be(spool_select_result(sel, 0), 0);
    spool_select_free(sel);
    spool_unref(chan);
}
END_TEST

/* ---- Lack ----------------------------------------------------------------------------------------------------- */

START_TEST(works_on_without_descriptors)
{
    struct shortage shortage;
    struct worker w[WAITERS];
    spool_chan *none = NULL, *delay = after_of(20 * MS), *tick = tick_of(5 * MS), *silent = quiet_of(NEVER);
    uint64_t value = 0;
    int fds = count_fds();
    int64_t start = now_ns();
    memset(w, 0, sizeof(w));
    shortage_begin(&shortage);
    errno = OWN_ERRNO;
    must_be(spool_after(&none, 1), -EMFILE);
    must_be(spool_after(&none, 0), -EMFILE);
    must_be(spool_tick(&none, 1), -EMFILE);
    must_be(spool_never(&none), -EMFILE);
    must(!none);
    /* Threads wait without a descriptor of their own. */
    must_be(spool_get(delay, &value), 0);
    must_be(value, 1);
    must_be(spool_get(delay, &value), -EPIPE);
    must_be(spool_get(tick, &value), 0);
    start = now_ns();
    must_be(spool_get_for(silent, &value, 5 * MS), -ETIMEDOUT);
    must(now_ns() - start >= 5 * MS);
    must_be(errno, OWN_ERRNO);
    for (int i = 0; i < WAITERS; i++) {
        w[i].chan = silent;
        w[i].timeout_ns = i % 2 ? 0 : 2 * DEADLINE;
        worker_start(&w[i], one_get);
    }
    /* The tests' own look at threads takes descriptors. */
    shortage_end(&shortage);
    for (int i = 0; i < WAITERS; i++)
        worker_wait_asleep(&w[i]);
    must_be(spool_close(silent), 0);
    for (int i = 0; i < WAITERS; i++)
        must_be(worker_join(&w[i]), -EPIPE);
    must(count_fds() <= fds + 1);
    spool_unref(delay);
    spool_unref(tick);
    spool_unref(silent);
    must_be(count_fds(), fds - 3);
}
END_TEST

START_TEST(works_on_without_memory)
{
    spool_chan *none = NULL;
    int fds = count_fds();
    errno = OWN_ERRNO;
    no_memory = true;
    int after = spool_after(&none, 0), tick = spool_tick(&none, 1), never = spool_never(&none);
    no_memory = false;
    must_be(errno, OWN_ERRNO);
    must_be(after, -ENOMEM);
    must_be(tick, -ENOMEM);
    must_be(never, -ENOMEM);
    must(!none);
    must_be(count_fds(), fds);
}
END_TEST

START_TEST(many_come_and_go)
{
    int fds = count_fds();
    for (size_t i = 0; i < scaled(3000); i++) {
        spool_chan *chan = i % 3 ? after_of((int64_t)i % 7 * US) : tick_of(1 + (int64_t)i % 5 * US);
        uint64_t value;
        if (i % 2)
            must_be(spool_get(chan, &value), 0);
        spool_unref(chan);
    }
    must_be(count_fds(), fds);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("timer");
    TCase *tc = case_new(suite, "one thread");
    tcase_add_loop_test(tc, behaves_as_a_channel, 0, QUIETS);
    tcase_add_test(tc, bad_arguments);
    tcase_add_loop_test(tc, after_is_never_early_and_comes_once, 0, WAYS);
    tcase_add_test(tc, after_nothing_is_at_once);
    tcase_add_test(tc, tick_keeps_its_grid);
    tcase_add_test(tc, a_late_getter_counts);
    tcase_add_test(tc, times_out_between_ticks);
    tc = case_new(suite, "closing");
    tcase_add_test(tc, what_expired_before_a_close_is_got);
    tcase_add_loop_test(tc, close_lets_all_go, 0, QUIETS);
    tcase_add_loop_test(tc, the_last_unref_lets_all_go, 0, QUIETS);
    tcase_add_test(tc, stays_readable_through_a_close);
    tcase_add_test(tc, readable_when_close_returns);
    tcase_add_loop_test(tc, a_forked_child_may_drop_it, 0, QUIETS);
    tc = case_new(suite, "threads");
    tcase_add_loop_test(tc, each_expiry_is_seen_once, 0, 3);
    tcase_add_test(tc, signals_change_nothing);
    tc = case_new(suite, "pollers");
    tcase_add_loop_test(tc, works_in_every_kind_of_poller, 0, COUNT(modes));
    tcase_add_test(tc, readable_as_long_as_there_is_something);
    tcase_add_test(tc, selected_beside_a_channel_and_a_socket);
    tcase_add_test(tc, a_select_that_only_asks_takes_nothing);
    tc = case_new(suite, "lack");
    tcase_add_test(tc, works_on_without_descriptors);
    tcase_add_test(tc, works_on_without_memory);
    tcase_add_test(tc, many_come_and_go);
    return run_suite(suite, "timer");
}
