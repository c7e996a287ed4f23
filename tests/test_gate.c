/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* The gate by itself: who is woken, by how many calls, and what a publisher leaves that stops half-way. */

#include "util.h"

#include "chan.h"

/* The bits that a publisher sets before its system call; see gate.c. */
#define T_WAIT (UINT64_C(1) << 32)
#define T_PENDING (UINT64_C(1) << 54)
#define T_VERSION (UINT64_C(1) << 55)
#define S_GRANT (UINT64_C(1) << 20)
#define S_VERSION (UINT64_C(1) << 51)
#define S_PENDING (UINT64_C(1) << 48)

static int sleeper(struct worker *w)
{
    struct spool__gate *g = w->more;

    spool__gate_announce(g);
    return spool__gate_sleep(g, w->timeout_ns ? now_ns() + w->timeout_ns : INT64_MAX);
}

static void start_sleepers(struct spool__gate *g, struct worker *w, size_t n, int64_t timeout_ns)
{
    memset(w, 0, n * sizeof(*w));
    for (size_t i = 0; i < n; i++) {
        w[i].more = g;
        w[i].timeout_ns = timeout_ns;
        worker_start(&w[i], sleeper);
    }
    /* Those with a limit may be awake again before this thread has looked. */
    for (size_t i = 0; i < n && timeout_ns == 0; i++)
        worker_wait_asleep(&w[i]);
}

static size_t count_done(const struct worker *w, size_t n)
{
    size_t done = 0;

    for (size_t i = 0; i < n; i++)
        done += atomic_load(&w[i].done);
    return done;
}

/* An epoll set with the gate's descriptor as a select has it. */
static int watch_new(struct spool__gate *g)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET | EPOLLEXCLUSIVE};

    must(epoll >= 0);
    must_be(epoll_ctl(epoll, EPOLL_CTL_ADD, spool__gate_fd(g), &ev), 0);
    return epoll;
}

static int events_of(int epoll)
{
    struct epoll_event ev;

    return epoll_wait(epoll, &ev, 1, 0);
}

static int watcher(struct worker *w)
{
    struct epoll_event ev;
    int r;

    do
        r = epoll_wait((int)w->index, &ev, 1, -1);
    while (r < 0 && errno == EINTR);
    return r;
}

START_TEST(test_one_wake_one_thread)
{
    struct spool__gate g = {0};
    struct worker w[8];

    start_sleepers(&g, w, 8, 0);
    for (size_t n = 1; n <= 8; n++) {
        spool__gate_wake(&g);
        wait_until(count_done(w, 8) == n);
        for (size_t i = 0; i < 8; i++)
            if (!atomic_load(&w[i].done))
                must(task_asleep(atomic_load(&w[i].tid)));
    }
    must(g.threads % T_VERSION == 0);
    for (size_t i = 0; i < 8; i++)
        must_be(worker_join(&w[i]), true);
}
END_TEST

START_TEST(test_wake_all)
{
    struct spool__gate g = {0};
    struct worker w[8];
    struct worker watchers[4];

    start_sleepers(&g, w, 8, 0);
    memset(watchers, 0, sizeof(watchers));
    for (size_t i = 0; i < 4; i++) {
        watchers[i].index = (size_t)watch_new(&g);
        spool__gate_arm(&g);
        worker_start(&watchers[i], watcher);
        worker_wait_asleep(&watchers[i]);
    }
    spool__gate_wake_all(&g);
    for (size_t i = 0; i < 8; i++)
        must_be(worker_join(&w[i]), true);
    for (size_t i = 0; i < 4; i++) {
        must_be(worker_join(&watchers[i]), 1);
        must(spool__gate_disarm(&g));
        close((int)watchers[i].index);
    }
    must(g.threads % T_VERSION == UINT64_C(1) << 31);
    must(g.selects % S_VERSION == 0);
    spool__gate_destroy(&g);
}
END_TEST

START_TEST(test_time_out)
{
    struct spool__gate g = {0};
    struct worker w[3];

    start_sleepers(&g, w, 3, 50 * MS);
    for (size_t i = 0; i < 3; i++) {
        must_be(worker_join(&w[i]), false);
        must(w[i].took_ns >= 50 * MS);
    }
    must(g.threads % T_VERSION == 0);
}
END_TEST

/* A grant is taken before an announcement is taken back: its call may have woken the thread that leaves. */
START_TEST(test_leave_takes_the_grant)
{
    struct spool__gate g = {0};

    spool__gate_announce(&g);
    spool__gate_announce(&g);
    spool__gate_wake(&g);
    must(spool__gate_leave(&g));
    must(!spool__gate_leave(&g));
    must(g.threads % T_VERSION == 0);
}
END_TEST

/* A publisher granted, and stopped before its futex call. The next one finds nobody waiting, and makes the call. */
START_TEST(test_stopped_before_futex)
{
    struct spool__gate g = {0};
    struct worker w;

    start_sleepers(&g, &w, 1, 0);
    __atomic_store_n(&g.threads, T_PENDING | 1, __ATOMIC_SEQ_CST);
    must(task_asleep(atomic_load(&w.tid)));
    spool__gate_wake(&g);
    must_be(worker_join(&w), true);
    must(g.threads % T_VERSION == 0);
}
END_TEST

/* The same with more waiters: the next publisher's own grant and the one left behind both arrive. */
START_TEST(test_stopped_before_futex_of_two)
{
    struct spool__gate g = {0};
    struct worker w[2];

    start_sleepers(&g, w, 2, 0);
    __atomic_store_n(&g.threads, T_PENDING | T_WAIT | 1, __ATOMIC_SEQ_CST);
    spool__gate_wake(&g);
    must_be(worker_join(&w[0]), true);
    must_be(worker_join(&w[1]), true);
    must(g.threads % T_VERSION == 0);
}
END_TEST

/*
 * The closer granted the one who sleeps, and stopped before its call. Another, who announced himself after that, took
 * the last element and the grant. He is not told that the channel is closed, but has to wake the one who sleeps.
 */
START_TEST(test_last_of_a_closed_channel)
{
    spool_chan *c = NULL;
    uint64_t value = 7;
    struct worker w = {0};

    must_be(spool_chan_new(&c, sizeof(value), 2), 0);
    struct spool__lane *lane = spool__chan_lane(c, SPOOL__GET);
    struct spool__gate *g = &lane->gates[SPOOL__GET];
    w.chan = c;
    w.elem = &(uint64_t){0};
    worker_start(&w, worker_get);
    worker_wait_asleep(&w);
    must_be(spool__ring_put(&lane->ring, &value), 0);
    must_be(spool__ring_close(&lane->ring), 0);
    __atomic_store_n(&g->threads, T_PENDING | 1, __ATOMIC_SEQ_CST);

    spool__gate_announce(g);
    must_be(spool__ring_get(&lane->ring, &value), 0);
    must(spool__gate_leave(g));
    spool__lane_hand_on(lane, SPOOL__GET);
    must_be(worker_join(&w), -EPIPE);
    spool_unref(c);
}
END_TEST

/*
 * A publisher stopped before its look, and left the ring full: the next put cannot make up for it. So who waits for
 * room wakes who sleeps beside the elements, and the other way round.
 */
START_TEST(test_stopped_and_full)
{
    uint64_t value = 7, got = 0;
    struct worker w;
    spool_chan *c = NULL;
    spool_select *s = NULL;
    bool selects = _i & 1, gets = _i & 2;
    struct spool__lane *lane;

    must_be(spool_chan_new(&c, sizeof(value), 1), 0);
    lane = spool__chan_lane(c, SPOOL__PUT);
    must_be(spool_select_new(&s), 0);
    must_be(gets ? spool_select_get(s, c, &got) : spool_select_put(s, c, &value), 0);
    if (gets)
        must_be(spool_put(c, &value), 0);
    memset(&w, 0, sizeof(w));
    w.chan = c;
    w.elem = gets ? &value : &got;
    worker_start(&w, gets ? worker_put : worker_get);
    worker_wait_asleep(&w);
    if (gets)
        must_be(spool__ring_get(&lane->ring, &got), 0);
    else
        must_be(spool__ring_put(&lane->ring, &value), 0);
    if (selects)
        must_be(spool_select_wait(s, DEADLINE), 0);
    else if (gets)
        must_be(spool_get_for(c, &got, DEADLINE), 0);
    else
        must_be(spool_put_for(c, &value, DEADLINE), 0);
    must_be(worker_join(&w), 0);
    spool_select_free(s);
    spool_unref(c);
}
END_TEST

/* The same where nobody tries: a poller is given a descriptor, or a select that is nested in a loop has a case. */
START_TEST(test_stopped_and_polled)
{
    uint64_t value = 7, got = 0;
    struct worker w = {0};
    spool_chan *c = NULL;
    spool_select *s = NULL;
    bool selects = _i & 1, gets = _i & 2;
    struct spool__lane *lane;
    int fd;

    must_be(spool_chan_new(&c, sizeof(value), 1), 0);
    lane = spool__chan_lane(c, SPOOL__PUT);
    must_be(spool_select_new(&s), 0);
    must(spool_select_poll_fd(s) >= 0);
    if (gets)
        must_be(spool_put(c, &value), 0);
    w.chan = c;
    w.elem = gets ? &value : &got;
    worker_start(&w, gets ? worker_put : worker_get);
    worker_wait_asleep(&w);
    if (gets)
        must_be(spool__ring_get(&lane->ring, &got), 0);
    else
        must_be(spool__ring_put(&lane->ring, &value), 0);
    if (selects)
        must_be(gets ? spool_select_get(s, c, &got) : spool_select_put(s, c, &value), 0);
    fd = selects ? spool_select_poll_fd(s) : gets ? spool_fd(c) : spool_put_fd(c);
    must(fd_wait_readable(fd));
    must_be(worker_join(&w), 0);
    spool_select_free(s);
    spool_unref(c);
}
END_TEST

/* A publisher stopped before its look: the thread that the next put wakes takes one element and hands on the other. */
START_TEST(test_woken_thread_hands_on)
{
    spool_chan *c = NULL;
    uint64_t value = 7;
    uint64_t got[2] = {0};
    struct worker w[2];

    must_be(spool_chan_new(&c, sizeof(value), 2), 0);
    memset(w, 0, sizeof(w));
    for (size_t i = 0; i < 2; i++) {
        w[i].chan = c;
        w[i].elem = &got[i];
        worker_start(&w[i], worker_get);
        worker_wait_asleep(&w[i]);
    }
    must_be(spool__ring_put(&spool__chan_lane(c, SPOOL__PUT)->ring, &value), 0);
    must_be(spool_put(c, &value), 0);
    for (size_t i = 0; i < 2; i++) {
        must_be(worker_join(&w[i]), 0);
        must_be(got[i], 7);
    }
    spool_unref(c);
}
END_TEST

START_TEST(test_stopped_before_write)
{
    struct spool__gate g = {0};
    int epoll = watch_new(&g);

    __atomic_store_n(&g.selects, S_PENDING | S_GRANT, __ATOMIC_SEQ_CST);
    must_be(events_of(epoll), 0);
    spool__gate_wake(&g);
    must_be(events_of(epoll), 1);
    must(spool__gate_disarm(&g));
    must(g.selects % S_VERSION == 0);
    close(epoll);
    spool__gate_destroy(&g);
}
END_TEST

/* As many selects as publishers are granted, by one write each, and no write is made for nobody. */
START_TEST(test_selects_are_counted)
{
    struct spool__gate g = {0};
    int epoll = watch_new(&g);
    uint64_t sum = 0;

    spool__gate_wake(&g);
    must_be(events_of(epoll), 0);
    spool__gate_arm(&g);
    spool__gate_arm(&g);
    for (int i = 0; i < 3; i++)
        spool__gate_wake(&g);
    must_be(events_of(epoll), 1);
    must_be(events_of(epoll), 0);
    must_be(read(spool__gate_fd(&g), &sum, sizeof(sum)), sizeof(sum));
    must_be(sum, 2);
    must(spool__gate_disarm(&g));
    must(spool__gate_disarm(&g));
    must(g.selects % S_VERSION == 0);
    close(epoll);
    spool__gate_destroy(&g);
}
END_TEST

/* Threads first: a select is left alone while a thread can take the work. */
START_TEST(test_thread_before_select)
{
    struct spool__gate g = {0};
    struct worker w;
    int epoll = watch_new(&g);

    spool__gate_arm(&g);
    start_sleepers(&g, &w, 1, 0);
    spool__gate_wake(&g);
    must_be(worker_join(&w), true);
    must_be(events_of(epoll), 0);
    spool__gate_wake(&g);
    must_be(events_of(epoll), 1);
    must(spool__gate_disarm(&g));
    close(epoll);
    spool__gate_destroy(&g);
}
END_TEST

/* Work that is left wakes one more, whoever has been granted already; none wakes nobody. */
START_TEST(test_hand_on)
{
    spool_chan *c = NULL;
    uint64_t value = 7;

    must_be(spool_chan_new(&c, sizeof(value), 2), 0);
    struct spool__lane *lane = spool__chan_lane(c, SPOOL__GET);
    struct spool__gate *g = &lane->gates[SPOOL__GET];
    int epoll = watch_new(g);

    for (int i = 0; i < 3; i++)
        spool__gate_arm(g);
    spool__lane_hand_on(lane, SPOOL__GET);
    must_be(events_of(epoll), 0);
    must_be(spool__ring_put(&lane->ring, &value), 0);
    for (int i = 0; i < 3; i++) {
        spool__lane_hand_on(lane, SPOOL__GET);
        must_be(events_of(epoll), 1);
    }
    spool__lane_hand_on(lane, SPOOL__GET);
    must_be(events_of(epoll), 0);
    close(epoll);
    spool_unref(c);
}
END_TEST

/* For strangers: readable from the first wake until it is drained, with one write. */
START_TEST(test_exported)
{
    struct spool__gate g = {0};
    int fd = spool__gate_fd(&g);
    uint64_t sum = 1;

    must(fd >= 0);
    must(!spool__gate_drain(&g));
    spool__gate_export(&g);
    must(!fd_readable(fd));
    for (int i = 0; i < 5; i++)
        spool__gate_wake(&g);
    must(fd_readable(fd));
    must_be(read(fd, &sum, sizeof(sum)), sizeof(sum));
    must_be(sum, 1);
    must(spool__gate_drain(&g));
    spool__gate_wake(&g);
    must(fd_readable(fd));
    must(spool__gate_drain(&g));
    must(!fd_readable(fd));
    /* Also when it was a stranger's doing. */
    must_be(write(fd, &sum, sizeof(sum)), sizeof(sum));
    must(spool__gate_drain(&g));
    must(!fd_readable(fd));
    spool__gate_wake_all(&g);
    must(fd_readable(fd));
    must_be(read(fd, &sum, sizeof(sum)), sizeof(sum));
    must(sum == UINT64_C(1) << 32);
    spool__gate_tell_next(&g);
    must(fd_readable(fd));
    spool__gate_destroy(&g);
}
END_TEST

/* A thread is granted, but may take its time: until then strangers see that there is work. */
START_TEST(test_exported_beside_a_thread)
{
    struct spool__gate g = {0};
    int fd = spool__gate_fd(&g);

    spool__gate_export(&g);
    spool__gate_announce(&g);
    spool__gate_wake(&g);
    must(fd_readable(fd));
    must(spool__gate_leave(&g));
    spool__gate_destroy(&g);
}
END_TEST

/* A closer stopped between its grants and its writes: each that finds the channel closed wakes one more. */
START_TEST(test_stopped_in_close)
{
    struct spool__gate g = {0};
    struct worker w[4];

    memset(w, 0, sizeof(w));
    for (size_t i = 0; i < 4; i++) {
        w[i].index = (size_t)watch_new(&g);
        spool__gate_arm(&g);
        worker_start(&w[i], watcher);
        worker_wait_asleep(&w[i]);
    }
    __atomic_store_n(&g.selects, S_PENDING | 4 * S_GRANT, __ATOMIC_SEQ_CST);
    for (size_t n = 1; n <= 4; n++) {
        spool__gate_wake_all(&g);
        wait_until(count_done(w, 4) == n);
    }
    for (size_t i = 0; i < 4; i++) {
        must_be(worker_join(&w[i]), 1);
        close((int)w[i].index);
    }
    spool__gate_destroy(&g);
}
END_TEST

/* Exported after selects have used it: what they left in the counter must not make it readable for ever. */
START_TEST(test_exported_late)
{
    struct spool__gate g = {0};
    int epoll = watch_new(&g);
    int fd = spool__gate_fd(&g);

    spool__gate_arm(&g);
    spool__gate_wake(&g);
    must(fd_readable(fd));
    spool__gate_export(&g);
    must(!fd_readable(fd));
    /* The granted select's event went with the read: it waits again. */
    must_be(events_of(epoll), 0);
    spool__gate_wake(&g);
    must_be(events_of(epoll), 1);
    must(spool__gate_disarm(&g));
    must(spool__gate_drain(&g));
    close(epoll);
    spool__gate_destroy(&g);
}
END_TEST

/* A drain between a grant and its event: the select is counted as waiting again, so the next wake reaches it. */
START_TEST(test_drain_returns_grants)
{
    struct spool__gate g = {0};
    int epoll = watch_new(&g);

    spool__gate_export(&g);
    spool__gate_arm(&g);
    spool__gate_wake(&g);
    must(spool__gate_drain(&g));
    must_be(events_of(epoll), 0);
    spool__gate_wake(&g);
    must_be(events_of(epoll), 1);
    close(epoll);
    spool__gate_destroy(&g);
}
END_TEST

/* A stranger filled the counter: a write would fail and make no event. */
START_TEST(test_saturated)
{
    struct spool__gate g = {0};
    int epoll = watch_new(&g);
    int fd = spool__gate_fd(&g);
    uint64_t brim = UINT64_MAX - 1;

    must_be(write(fd, &brim, sizeof(brim)), sizeof(brim));
    must_be(events_of(epoll), 1);
    must_be(events_of(epoll), 0);
    spool__gate_arm(&g);
    spool__gate_wake(&g);
    must_be(events_of(epoll), 1);
    must(fd_readable(fd));
    close(epoll);
    spool__gate_destroy(&g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gate");
    TCase *tc = case_new(s, "threads");

    tcase_add_test(tc, test_one_wake_one_thread);
    tcase_add_test(tc, test_wake_all);
    tcase_add_test(tc, test_time_out);
    tcase_add_test(tc, test_leave_takes_the_grant);
    tcase_add_loop_test(tc, test_stopped_and_full, 0, 4);
    tcase_add_loop_test(tc, test_stopped_and_polled, 0, 4);
    tcase_add_test(tc, test_stopped_before_futex);
    tcase_add_test(tc, test_stopped_before_futex_of_two);
    tcase_add_test(tc, test_last_of_a_closed_channel);
    tcase_add_test(tc, test_woken_thread_hands_on);

    tc = case_new(s, "selects");
    tcase_add_test(tc, test_stopped_before_write);
    tcase_add_test(tc, test_stopped_in_close);
    tcase_add_test(tc, test_selects_are_counted);
    tcase_add_test(tc, test_thread_before_select);
    tcase_add_test(tc, test_hand_on);

    tc = case_new(s, "strangers");
    tcase_add_test(tc, test_exported);
    tcase_add_test(tc, test_exported_beside_a_thread);
    tcase_add_test(tc, test_exported_late);
    tcase_add_test(tc, test_drain_returns_grants);
    tcase_add_test(tc, test_saturated);
    return run_suite(s, "test_gate");
}
