/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Which of several ready cases a select takes, and the same thing in several of its cases. */
#include "select_util.h"

#include <sys/socket.h>

/* ---- Order ---- */

START_TEST(in_order_takes_the_lowest)
{
    spool_select *sel = select_of();
    spool_chan *a = chan_of(flavours[_i]), *b = chan_of(flavours[_i]), *c = chan_of(1);
    uint64_t value = 0;
    int fds[2];
    pipe_of(fds);
    must_be(spool_select_set_order(sel, SPOOL_IN_ORDER), 0);
    must_be(spool_select_get(sel, a, &value), 0);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN), 1);
    must_be(spool_select_get(sel, b, &value), 2);
    must_be(spool_select_put(sel, c, &value), 3);
    for (int round = 0; round < (_i == MEET ? 10 : 50); round++) {
        for (uint64_t i = 0; i < 3; i++) {
            put(b, i);
            put(a, i);
        }
        write_byte(fds[1]);
        for (int i = 0; i < 3; i++)
            must_be(spool_select_wait(sel, i ? -1 : 0), 0);
        must_be(spool_select_wait(sel, -1), 1);
        put(a, 9);
        must_be(spool_select_wait(sel, -1), 0);
        must_be(spool_select_wait(sel, -1), 1);
        read_byte(fds[0]);
        for (int i = 0; i < 3; i++)
            must_be(spool_select_wait(sel, -1), 2);
        must_be(spool_select_wait(sel, -1), 3);
        must_be(spool_select_wait(sel, 0), -EAGAIN);
        must_be(get(c), 2);
    }
    must_be(spool_select_set_order(sel, SPOOL_FAIR), 0);
    spool_select_free(sel);
    join_partners();
    spool_unref(c);
    spool_unref(a);
    spool_unref(b);
    close_both(fds);
}
END_TEST

/* With all n cases ready all the time, each is taken about as often as the others. */
static void must_share(spool_select *sel, int n, int share, void (*refill)(int index, void *arg), void *arg)
{
    int taken[256] = {0};
    for (int i = 0; i < n * share; i++) {
        int index = spool_select_wait(sel, i % 2 ? 0 : -1);
        must(index >= 0 && index < n);
        taken[index]++;
        if (refill)
            refill(index, arg);
    }
    for (int i = 0; i < n; i++) {
        if (taken[i] < share / 2 || taken[i] > share * 3 / 2)
            ck_abort_msg("of %d waits case %d of %d got %d", n * share, i, n, taken[i]);
    }
}

static void refill_chan(int index, void *arg)
{
    spool_chan **chans = arg;
    if (chans[index])
        put_often(chans[index], 1);
}

/* Waits for each case; fewer where threads have to come for it. */
static int share_of(int flavour)
{
    return flavour == MEET ? 60 : 500;
}

START_TEST(fair_among_channels)
{
    enum { N = 9 };
    spool_select *sel = select_of();
    spool_chan *chans[N], *refilled[N];
    uint64_t value;
    for (int i = 0; i < N; i++) {
        chans[i] = chan_of(_i ? flavours[_i] : i % 2 ? 100 : 2);
        for (size_t fill = is_meet(chans[i]) ? 1 : fill_of(chans[i], 50); fill; fill--)
            put(chans[i], 1);
        must_be(spool_select_get(sel, chans[i], i % 3 ? &value : NULL), i);
        refilled[i] = i % 3 ? chans[i] : NULL;
    }
    must_share(sel, N, share_of(_i), refill_chan, refilled);
    spool_select_free(sel);
    for (int i = 0; i < N; i++)
        retire(chans[i]);
}
END_TEST

START_TEST(fair_among_channels_and_descriptors)
{
    spool_select *sel = select_of();
    spool_chan *hot = chan_of(_i ? flavours[_i] : 1000), *second = chan_of(_i ? flavours[_i] : 1);
    spool_chan *room = chan_of(_i ? flavours[_i] : 10);
    uint64_t value = 0;
    int fds[2], pair[2];
    pipe_of(fds);
    must_be(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    write_byte(fds[1]);
    write_byte(pair[1]);
    for (int i = 0; i < (_i == MEET ? 1 : 1000); i++)
        put(hot, 1);
    put(second, 1);
    if (_i == MEET)
        worker_wait_asleep(&partner_of(room, 0, worker_get)->worker);
    must_be(spool_select_get(sel, hot, &value), 0);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN), 1);
    must_be(spool_select_get(sel, second, &value), 2);
    must_be(spool_select_fd(sel, pair[0], EPOLLIN), 3);
    must_be(spool_select_fd(sel, pair[0], EPOLLOUT), 4);
    must_be(spool_select_put(sel, room, NULL), 5);
    spool_chan *refilled[] = {hot, NULL, second, NULL, NULL, NULL};
    must_share(sel, 6, share_of(_i), refill_chan, refilled);
    spool_select_free(sel);
    retire(hot);
    retire(second);
    retire(room);
    close_both(fds);
    close_both(pair);
}
END_TEST

/* More ready descriptors than any one epoll_wait is likely to return. */
START_TEST(fair_among_many)
{
    enum { N = 200 };
    spool_select *sel = select_of();
    spool_chan *chans[N] = {NULL};
    int fds[2], dups[N] = {0};
    uint64_t value;
    pipe_of(fds);
    write_byte(fds[1]);
    for (int i = 0; i < N; i++) {
        if (i % 4 == 0) {
            chans[i] = chan_of(_i ? flavours[_i] : 1);
            put(chans[i], 1);
            must_be(spool_select_get(sel, chans[i], &value), i);
        } else {
            dups[i] = dup(fds[0]);
            must_be(spool_select_fd(sel, dups[i], EPOLLIN), i);
        }
    }
    must_share(sel, N, share_of(_i), refill_chan, chans);
    spool_select_free(sel);
    for (int i = 0; i < N; i++) {
        retire(chans[i]);
        if (dups[i])
            close(dups[i]);
    }
    close_both(fds);
}
END_TEST

/* Each case gets its share, not each channel. */
START_TEST(fair_among_cases_of_one_channel)
{
    spool_select *sel = select_of();
    spool_chan *one = chan_of(flavours[_i]), *other = chan_of(flavours[_i]);
    spool_chan *room = _i == MEET ? chan_of(0) : spool_ref(one);
    uint64_t value = 0;
    int fds[2];
    pipe_of(fds);
    write_byte(fds[1]);
    put(one, 1);
    put(other, 1);
    if (_i == MEET)
        worker_wait_asleep(&partner_of(room, 0, worker_get)->worker);
    spool_chan *refilled[] = {one, one, one, NULL, other, NULL, NULL, NULL};
    must_be(spool_select_get(sel, one, &value), 0);
    must_be(spool_select_get(sel, one, &value), 1);
    must_be(spool_select_get(sel, one, &value), 2);
    must_be(spool_select_get(sel, one, NULL), 3);
    must_be(spool_select_get(sel, other, &value), 4);
    must_be(spool_select_put(sel, room, NULL), 5);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN), 6);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN), 7);
    must_share(sel, 8, share_of(_i), refill_chan, refilled);
    spool_select_free(sel);
    retire(room);
    retire(one);
    retire(other);
    close_both(fds);
}
END_TEST

/* They become ready in the same order again and again, after every wait, or after every other: nobody is left out. */
START_TEST(fair_among_those_that_become_ready_together)
{
    enum { N = 3 };
    const unsigned rounds = _i == MEET ? 300 : 1000;
    for (unsigned period = 1; period <= 4; period++) {
        spool_select *sel = select_of();
        spool_chan *a = chan_of(flavours[_i]), *b = chan_of(flavours[_i]), *c = chan_of(1);
        uint64_t value = 0;
        int taken[N] = {0};
        must_be(spool_select_get(sel, a, &value), 0);
        must_be(spool_select_get(sel, b, &value), 1);
        must_be(spool_select_put(sel, c, &value), 2);
        for (unsigned round = 0; round < rounds; round++) {
            put_often(a, 1);
            put_often(b, 1);
            int index = spool_select_wait(sel, -1);
            must(index >= 0 && index < N);
            taken[index]++;
            if (index != 0)
                get(a);
            if (index != 1)
                get(b);
            if (index != 2)
                put(c, 1);
            if (round % period == 0)
                must_be(spool_select_wait(sel, 0), -EAGAIN);
            get(c);
        }
        for (int i = 0; i < N; i++) {
            if (taken[i] < (int)rounds / N / 2)
                ck_abort_msg("of %u waits, every %u. from quiet, case %d of %d got %d", rounds, period, i, N, taken[i]);
        }
        spool_select_free(sel);
        retire(a);
        retire(b);
        retire(c);
    }
}
END_TEST

static int put_until_closed(struct worker *w)
{
    uint64_t value = 0;
    int r;
    while ((r = spool_put(w->chan, &value)) == 0) {
        value++;
        while (is_unbounded(w->chan) && spool_len(w->chan) > 64 && spool_alive(w->chan))
            sched_yield();
    }
    return r;
}

/* A channel that another thread keeps full hides neither a descriptor nor a quieter channel. */
START_TEST(hot_channel_hides_nothing)
{
    struct worker producer = {.chan = chan_of(_i ? flavours[_i] : 64)};
    spool_select *sel = select_of();
    spool_chan *second = chan_of(1);
    uint64_t value = 0;
    int fds[2], taken[3] = {0}, waits = (int)scaled(30000);
    pipe_of(fds);
    write_byte(fds[1]);
    put(second, 1);
    must_be(spool_select_get(sel, producer.chan, &value), 0);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN), 1);
    must_be(spool_select_get(sel, second, NULL), 2);
    worker_start(&producer, put_until_closed);
    for (int i = 0; i < waits; i++) {
        int index = spool_select_wait(sel, -1);
        must(index >= 0 && index < 3);
        taken[index]++;
    }
    if (taken[1] < waits / 6 || taken[2] < waits / 6)
        ck_abort_msg("of %d waits: %d hot, %d descriptor, %d second", waits, taken[0], taken[1], taken[2]);
    spool_close(producer.chan);
    must_be(worker_join(&producer), -EPIPE);
    spool_select_free(sel);
    spool_unref(producer.chan);
    spool_unref(second);
    close_both(fds);
}
END_TEST

static int wait_for_case(struct worker *w)
{
    return spool_select_wait(w->more, -1);
}

/* Which case of a select that is asleep takes what is put into its rendezvous; case i gets into got[i]. */
static int case_met_asleep(spool_select *sel, spool_chan *chan, const uint64_t got[3])
{
    static uint64_t last;
    uint64_t value = ++last;
    struct worker w = {.more = sel};
    worker_start(&w, wait_for_case);
    worker_wait_asleep(&w);
    must_be(spool_put(chan, &value), 0);
    int index = worker_join(&w);
    must(index >= 0 && index < 3);
    must_be(got[index], value);
    return index;
}

/* An open offer stands for one of its channel's cases: in order the lowest that is on, otherwise each in its turn. */
START_TEST(offers_keep_the_order)
{
    spool_select *sel = select_of();
    spool_chan *chan = chan_of(0);
    uint64_t value = 0, got[3] = {0};
    int taken[3] = {0};
    for (int i = 0; i < 3; i++)
        must_be(spool_select_get(sel, chan, &got[i]), i);
    for (int i = 0; i < 9; i++)
        taken[case_met_asleep(sel, chan, got)]++;
    for (int i = 0; i < 3; i++)
        must_be(taken[i], 3);
    /* After so many turns, and one more, none of which counts any longer. */
    (void)case_met_asleep(sel, chan, got);
    must_be(spool_select_set_order(sel, SPOOL_IN_ORDER), 0);
    for (int i = 0; i < 4; i++)
        must_be(case_met_asleep(sel, chan, got), 0);
    must_be(spool_select_enable(sel, 0, false), 0);
    for (int i = 0; i < 2; i++)
        must_be(case_met_asleep(sel, chan, got), 1);
    must_be(spool_select_enable(sel, 0, true), 0);
    must_be(case_met_asleep(sel, chan, got), 0);
    must_be(spool_select_remove(sel, 0), 0);
    must_be(case_met_asleep(sel, chan, got), 1);
    /* Behind the others by age, before them by number. */
    must_be(spool_select_get(sel, chan, &got[0]), 0);
    must_be(case_met_asleep(sel, chan, got), 0);
    /* One that takes nothing as well: who puts is left waiting, and then taken by the next. */
    must_be(spool_select_remove(sel, 0), 0);
    must_be(spool_select_get(sel, chan, NULL), 0);
    struct worker w = {.more = sel}, putter = {.chan = chan, .elem = (char *)&value};
    worker_start(&w, wait_for_case);
    worker_wait_asleep(&w);
    worker_start(&putter, worker_put);
    must_be(worker_join(&w), 0);
    worker_wait_asleep(&putter);
    must_be(wait_ready(sel), 0);
    must_be(spool_select_enable(sel, 0, false), 0);
    must_be(wait_ready(sel), 1);
    must_be(worker_join(&putter), 0);
    spool_select_free(sel);
    retire(chan);
}
END_TEST

/* ---- The same thing in several cases ---- */

START_TEST(same_channel_got_twice)
{
    spool_select *sel = select_of();
    spool_chan *chan = chan_of(flavours[_i]);
    uint64_t in[2];
    bool used[2] = {false, false};
    must_be(spool_select_get(sel, chan, &in[0]), 0);
    must_be(spool_select_get(sel, chan, &in[1]), 1);
    must_be_quiet(sel);
    for (uint64_t i = 0; i < (_i == MEET ? 100 : 1000); i++) {
        in[0] = in[1] = UINT64_MAX;
        put(chan, i);
        int index = wait_ready(sel);
        must(index == 0 || index == 1);
        used[index] = true;
        must_be(in[index], i);
        must_be(in[1 - index], UINT64_MAX);
        must_be(spool_len(chan), 0);
    }
    must_be_quiet(sel);
    must(used[0] && used[1]);
    must_be(spool_select_remove(sel, 0), 0);
    put(chan, 5);
    must_be(wait_ready(sel), 1);
    must_be(in[1], 5);
    must_be(spool_select_get(sel, chan, &in[0]), 0);
    must_be(spool_select_enable(sel, 1, false), 0);
    put(chan, 6);
    must_be(wait_ready(sel), 0);
    must_be(in[0], 6);
    must_be_quiet(sel);
    must_be(spool_select_enable(sel, 1, true), 0);
    must_be(spool_close(chan), 0);
    int first = wait_ready(sel), second = wait_ready(sel);
    must(first + second == 1 && first >= 0 && second >= 0);
    must_be(spool_select_result(sel, 0), -EPIPE);
    must_be(spool_select_result(sel, 1), -EPIPE);
    must_be(wait_ready(sel), -ENODATA);
    spool_select_free(sel);
    retire(chan);
}
END_TEST

START_TEST(same_channel_put_and_got)
{
    const size_t capacities[] = {1, 3, SPOOL_UNBOUNDED}; /* in a rendezvous nothing happens, as test_meet shows */
    for (size_t c = 0; c < COUNT(capacities); c++) {
        spool_select *sel = select_of();
        spool_chan *chan = chan_of(capacities[c]);
        uint64_t in = 0, out = 100, want = 100;
        must_be(spool_select_get(sel, chan, &in), 0);
        must_be(spool_select_put(sel, chan, &out), 1);
        for (int i = 0; i < 2000; i++) {
            size_t len = spool_len(chan);
            int index = spool_select_wait(sel, -1);
            if (len == 0)
                must_be(index, 1);
            if (len == capacities[c])
                must_be(index, 0);
            must_be(spool_select_result(sel, index), 0);
            must_be(spool_len(chan), index ? len + 1 : len - 1);
            if (index) {
                out++;
            } else {
                must_be(in, want);
                want++;
            }
        }
        spool_select_free(sel);
        spool_unref(chan);
    }
}
END_TEST

START_TEST(same_descriptor_in_several_cases)
{
    spool_select *sel = select_of();
    int pair[2];
    must_be(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    must_be(spool_select_fd(sel, pair[0], EPOLLIN), 0);
    must_be(spool_select_fd(sel, pair[0], EPOLLOUT), 1);
    must_be(spool_select_fd(sel, pair[0], EPOLLIN), 2);
    for (int i = 0; i < 5; i++) {
        must_be(wait_ready(sel), 1);
        must_be(spool_select_result(sel, 1), EPOLLOUT);
    }
    write_byte(pair[1]);
    int seen = 0;
    for (int i = 0; i < 200; i++) {
        int index = wait_ready(sel);
        must(index >= 0 && index < 3);
        must_be(spool_select_result(sel, index), index == 1 ? EPOLLOUT : EPOLLIN);
        seen |= 1 << index;
    }
    must_be(seen, 7);
    must_be(spool_select_enable(sel, 1, false), 0);
    must_be(spool_select_remove(sel, 0), 0);
    must_be(wait_ready(sel), 2);
    read_byte(pair[0]);
    must_be_quiet(sel);
    must_be(spool_select_enable(sel, 1, true), 0);
    must_be(wait_ready(sel), 1);
    must_be(spool_select_remove(sel, 1), 0);
    must_be_quiet(sel);
    write_byte(pair[1]);
    must_be(wait_ready(sel), 2);
    must_be(spool_select_remove(sel, 2), 0);
    must_be(wait_ready(sel), -ENODATA);
    spool_select_free(sel);
    close_both(pair);
}
END_TEST

START_TEST(same_descriptor_by_level_and_by_edge)
{
    spool_select *sel = select_of();
    int fds[2], taken[2] = {0, 0};
    pipe_of(fds);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN), 0);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN | EPOLLET), 1);
    must_be_quiet(sel);
    write_byte(fds[1]);
    for (int i = 0; i < 100; i++) {
        int index = wait_ready(sel);
        must(index == 0 || index == 1);
        taken[index]++;
    }
    must(taken[0] >= 99);
    must_be(taken[1], 1);
    read_byte(fds[0]);
    must_be_quiet(sel);
    spool_select_free(sel);
    close_both(fds);
}
END_TEST

START_TEST(same_descriptor_by_level_and_once)
{
    spool_select *sel = select_of();
    int fds[2], taken[2] = {0, 0};
    pipe_of(fds);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN | EPOLLONESHOT), 0);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN), 1);
    must_be_quiet(sel);
    write_byte(fds[1]);
    for (int i = 0; i < 100; i++) {
        int index = wait_ready(sel);
        must(index == 0 || index == 1);
        taken[index]++;
    }
    must_be(taken[0], 1);
    must_be(taken[1], 99);
    read_byte(fds[0]);
    must_be_quiet(sel);
    spool_select_free(sel);
    close_both(fds);
}
END_TEST

/* A channel's own descriptor in a descriptor case, beside the channel's get case. */
START_TEST(descriptor_of_a_channel_in_the_set)
{
    spool_select *sel = select_of();
    spool_chan *chan = chan_of(flavours[_i]);
    uint64_t value = 0;
    bool seen[2] = {false, false};
    must(spool_fd(chan) >= 0);
    must_be(spool_select_get(sel, chan, &value), 0);
    must_be(spool_select_fd(sel, spool_fd(chan), EPOLLIN), 1);
    must_be_quiet(sel);
    for (uint64_t i = 1; i <= (_i == MEET ? 100 : 500); i++) {
        put(chan, i);
        int index;
        while ((index = wait_ready(sel)) == 1) {
            must_be(spool_select_result(sel, 1), EPOLLIN);
            must_be(spool_len(chan), _i != MEET);
            seen[1] = true;
        }
        must_be(index, 0);
        must_be(value, i);
        seen[0] = true;
        must_be(spool_try_get(chan, &value), -EAGAIN);
        must_be_quiet(sel);
    }
    must(seen[0] && seen[1]);
    must_be(spool_select_remove(sel, 1), 0);
    put(chan, 1);
    must_be(wait_ready(sel), 0);
    must_be_quiet(sel);
    must_be(spool_select_fd(sel, spool_fd(chan), EPOLLIN), 1);
    must_be(spool_select_remove(sel, 0), 0);
    must_be(spool_try_get(chan, &value), -EAGAIN);
    must_be_quiet(sel);
    struct worker w = {.sel = sel, .timeout_ns = -1};
    worker_start(&w, worker_wait);
    worker_wait_asleep(&w);
    put(chan, 2);
    must_be(worker_join(&w), 1);
    must_be(get(chan), 2);
    must_be(spool_close(chan), 0);
    must_be(wait_ready(sel), 1);
    spool_select_free(sel);
    retire(chan);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("select_order");
    TCase *tc = case_new(suite, "order");
    tcase_add_loop_test(tc, in_order_takes_the_lowest, 0, FLAVOURS);
    tcase_add_test(tc, offers_keep_the_order);
    tcase_add_loop_test(tc, fair_among_channels, 0, FLAVOURS);
    tcase_add_loop_test(tc, fair_among_channels_and_descriptors, 0, FLAVOURS);
    tcase_add_loop_test(tc, fair_among_many, 0, FLAVOURS);
    tcase_add_loop_test(tc, fair_among_cases_of_one_channel, 0, FLAVOURS);
    tcase_add_loop_test(tc, fair_among_those_that_become_ready_together, 0, FLAVOURS);
    tcase_add_loop_test(tc, hot_channel_hides_nothing, 0, FLAVOURS);
    tc = case_new(suite, "same");
    tcase_add_loop_test(tc, same_channel_got_twice, 0, FLAVOURS);
    tcase_add_test(tc, same_channel_put_and_got);
    tcase_add_test(tc, same_descriptor_in_several_cases);
    tcase_add_test(tc, same_descriptor_by_level_and_by_edge);
    tcase_add_test(tc, same_descriptor_by_level_and_once);
    tcase_add_loop_test(tc, descriptor_of_a_channel_in_the_set, 0, FLAVOURS);
    return run_suite(suite, "select_order");
}
