/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The select's own descriptor, in poll(2) and in other event loops. */
#include "select_util.h"

START_TEST(poll_fd_follows_readiness)
{
    spool_select *sel = select_of();
    spool_chan *a = chan_of(flavours[_i]), *b = chan_of(4);
    uint64_t value = 0, out = 7;
    int fds[2], in_a = 0, fd = spool_select_poll_fd(sel);
    must(fd >= 0);
    must_be(fcntl(fd, F_GETFD), FD_CLOEXEC);
    pipe_of(fds);
    must_be(wait_ready(sel), -ENODATA);
    must_be(spool_select_get(sel, a, &value), 0);
    must_be_quiet(sel);
    /* What comes after a wait, also more than one wait takes. */
    for (uint64_t i = 0; i < 3; i++)
        put(a, i);
    for (int i = 0; i < 3; i++)
        must_be(wait_ready(sel), 0);
    must_be_quiet(sel);
    /* A case that is ready when it is added. */
    put(b, 1);
    must_be(spool_select_get(sel, b, NULL), 1);
    must_be(wait_ready(sel), 1);
    must_be(get(b), 1);
    must_be_quiet(sel);
    must_be(spool_select_put(sel, b, &out), 2);
    must_be(wait_ready(sel), 2);
    must_be(spool_select_enable(sel, 2, false), 0);
    must_be(wait_ready(sel), 1);
    must_be(get(b), 7);
    must_be_quiet(sel);
    write_byte(fds[1]);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN), 3);
    must_be(wait_ready(sel), 3);
    read_byte(fds[0]);
    must_be_quiet(sel);
    /* A case that is ready when it is enabled. */
    must_be(spool_select_enable(sel, 0, false), 0);
    put(a, 4);
    must_be_quiet(sel);
    must_be(spool_select_enable(sel, 0, true), 0);
    must_be(wait_ready(sel), 0);
    must_be_quiet(sel);
    must_be(spool_select_enable(sel, 2, true), 0);
    must_be(wait_ready(sel), 2);
    must_be(spool_select_enable(sel, 2, false), 0);
    must_be(get(b), 7);
    /* What the select knows from a wait that took another case. */
    write_byte(fds[1]);
    for (int i = 0; i < 100; i++) {
        uint64_t drained;
        if (in_a == 0) {
            put(a, 5);
            in_a++;
        }
        if (spool_len(b) == 0)
            put(b, 6);
        int index = wait_ready(sel);
        must(index == 0 || index == 1 || index == 3);
        in_a -= index == 0;
        if (i % 3 == 0)
            (void)!spool_try_get(b, &drained);
    }
    read_byte(fds[0]);
    must_be(spool_select_enable(sel, 1, false), 0);
    while (in_a-- > 0)
        must_be(wait_ready(sel), 0);
    must_be_quiet(sel);
    /* The end. */
    must_be(spool_close(a), 0);
    must_be(wait_ready(sel), 0);
    must_be_quiet(sel);
    must_be(spool_select_remove(sel, 3), 0);
    must_be(wait_ready(sel), -ENODATA);
    must_be(wait_ready(sel), -ENODATA);
    must_be(spool_select_poll_fd(sel), fd);
    spool_select_free(sel);
    retire(a);
    retire(b);
    close_both(fds);
}
END_TEST

/* Once it shows what the select knows, it does so until a wait finds nothing: the waits between need not say so. */
START_TEST(poll_fd_until_there_is_no_more)
{
    spool_select *sel = select_of();
    spool_chan *a = chan_of(flavours[_i]);
    uint64_t value = 0;
    int fd = spool_select_poll_fd(sel);
    must_be(spool_select_get(sel, a, &value), 0);
    must_be_quiet(sel);
    for (int round = 0; round < 3; round++) {
        /* One alone is taken by a wait that sees that it was. */
        put(a, 1);
        must_be(wait_ready(sel), 0);
        must(!fd_readable(fd));
        for (uint64_t i = 0; i < 3; i++)
            put(a, i);
        for (uint64_t i = 0; i < 3; i++) {
            must_be(wait_ready(sel), 0);
            must_be(value, i);
        }
        if (round == 1) {
            /* What comes then is there for the next wait. */
            put(a, 7);
            must_be(wait_ready(sel), 0);
            must_be(value, 7);
        }
        must(fd_readable(fd));
        must_be_quiet(sel);
    }
    /* Others may take all meanwhile, also the last case. */
    put(a, 1);
    put(a, 2);
    must_be(wait_ready(sel), 0);
    must_be(get(a), 2);
    must_be_quiet(sel);
    put(a, 1);
    put(a, 2);
    must_be(wait_ready(sel), 0);
    must_be(spool_close(a), 0);
    must_be(wait_ready(sel), 0);
    must_be(value, 2);
    must_be(wait_ready(sel), 0);
    must_be(spool_select_result(sel, 0), -EPIPE);
    must_be(wait_ready(sel), -ENODATA);
    must(fd_readable(fd));
    spool_select_free(sel);
    spool_unref(a);
}
END_TEST

/* The same of more cases than are looked at again. */
START_TEST(poll_fd_of_many)
{
    enum { MANY = 12 };
    spool_select *sel = select_of();
    spool_chan *chans[MANY];
    uint64_t value = 0;
    int n[MANY] = {0};
    must(spool_select_poll_fd(sel) >= 0);
    for (int i = 0; i < MANY; i++) {
        chans[i] = chan_of(flavours[_i]);
        must_be(spool_select_get(sel, chans[i], &value), i);
        put(chans[i], 1);
        put(chans[i], 2);
    }
    for (int i = 0; i < 2 * MANY; i++)
        must_be(++n[wait_ready(sel)], (int)value);
    for (int i = 0; i < MANY; i++)
        must_be(n[i], 2);
    must_be_quiet(sel);
    put(chans[MANY - 1], 3);
    must_be(wait_ready(sel), MANY - 1);
    must_be_quiet(sel);
    spool_select_free(sel);
    for (int i = 0; i < MANY; i++)
        spool_unref(chans[i]);
}
END_TEST

/* Asked for late, the descriptor shows what the select knew before. */
START_TEST(poll_fd_made_late)
{
    for (int round = 0; round < 2; round++) {
        spool_select *sel = select_of();
        spool_chan *a = chan_of(flavours[_i]), *b = chan_of(flavours[_i]);
        uint64_t value = 0;
        put(a, 1);
        put(b, 1);
        must_be(spool_select_get(sel, a, &value), 0);
        must_be(spool_select_get(sel, b, &value), 1);
        must(spool_select_wait(sel, 0) >= 0);
        if (round)
            must(spool_select_wait(sel, 0) >= 0);
        if (round)
            must_be(spool_select_wait(sel, 0), -EAGAIN);
        must_be(fd_readable(spool_select_poll_fd(sel)), round == 0);
        if (round == 0)
            must(wait_ready(sel) >= 0);
        must_be_quiet(sel);
        spool_select_free(sel);
        retire(a);
        retire(b);
    }
}
END_TEST

/* A stranger's writes to a channel's descriptor end no wait, and hide no element even when the counter is full. */
START_TEST(strangers_write_to_a_channels_descriptor)
{
    struct worker w = {.sel = select_of(), .timeout_ns = -1};
    spool_chan *chan = chan_of(flavours[_i]);
    uint64_t value = 0, one = 1;
    int fd = spool_fd(chan);
    must_be(spool_select_get(w.sel, chan, &value), 0);
    for (uint64_t round = 1; round <= 30; round++) {
        worker_start(&w, worker_wait);
        worker_wait_asleep(&w);
        for (int i = 0; i < 20; i++)
            (void)!write(fd, &one, sizeof(one));
        for (uint64_t step = round % 2 ? UINT64_MAX - 1 : 0; step; step /= 2) {
            while (write(fd, &step, sizeof(step)) > 0)
                ;
        }
        worker_wait_asleep(&w);
        must_be(spool_put(chan, &round), 0);
        must_be(worker_join(&w), 0);
        must_be(value, round);
        must_be(spool_select_wait(w.sel, 0), -EAGAIN);
    }
    must_be(spool_try_get(chan, &value), -EAGAIN);
    must(!fd_readable(fd));
    must_be_quiet(w.sel);
    spool_select_free(w.sel);
    spool_unref(chan);
}
END_TEST

START_TEST(poll_fd_wakes_a_sleeping_poller)
{
    enum { PUT, GET, CLOSE, WRITE, WAYS };
    for (int round = 0; round < 12 * WAYS; round++) {
        struct worker w = {.sel = select_of()};
        spool_chan *in = chan_of(flavours[_i]), *out = chan_of(_i == MEET ? 0 : 1);
        uint64_t value = 0;
        int fds[2];
        pipe_of(fds);
        if (_i != MEET)
            put(out, 1);
        must_be(spool_select_get(w.sel, in, round & 4 ? &value : NULL), 0);
        must_be(spool_select_put(w.sel, out, round & 8 ? &value : NULL), 1);
        must_be(spool_select_fd(w.sel, fds[0], EPOLLIN), 2);
        must_be_quiet(w.sel);
        worker_start(&w, poll_once);
        worker_wait_asleep(&w);
        if (round % WAYS == PUT)
            put(in, 1);
        else if (round % WAYS == GET && _i == MEET)
            worker_wait_asleep(&partner_of(out, 0, worker_get)->worker);
        else if (round % WAYS == GET)
            get(out);
        else if (round % WAYS == CLOSE)
            must_be(spool_close(in), 0);
        else
            write_byte(fds[1]);
        must_be(worker_join(&w), 0);
        must_be(wait_ready(w.sel), round % WAYS == GET ? 1 : round % WAYS == WRITE ? 2 : 0);
        spool_select_free(w.sel);
        spool_unref(in);
        spool_unref(out);
        join_partners();
        close_both(fds);
    }
}
END_TEST

static int put_with_pauses(struct worker *w)
{
    uint64_t rng = w->index + 1;
    for (size_t i = 0; i < w->count; i++) {
        uint64_t value = i;
        must_be(spool_put(w->chan, &value), 0);
        if (rnd(&rng) % 16 == 0)
            sleep_ns((int64_t)(rnd(&rng) % 100) * US);
    }
    return spool_close(w->chan);
}

enum { NEST_POLL, NEST_LEVEL, NEST_EDGE, NEST_ONESHOT, NEST_SELECT, NEST_SELECT_EDGE, NESTS };

/* The select in another event loop: each of its elements comes, and its end as well. */
START_TEST(nests_in_other_loops)
{
    enum { SOURCES = 2 };
    struct worker source[SOURCES];
    spool_select *sel = select_of(), *around = select_of();
    int outer = epoll_create1(EPOLL_CLOEXEC), poll_fd = spool_select_poll_fd(sel), index = 0;
    uint64_t value = 0, next[SOURCES] = {0};
    const uint32_t modes[] = {0, EPOLLIN, EPOLLIN | EPOLLET, EPOLLIN | EPOLLONESHOT};
    const size_t capacities[] = {3, SPOOL_UNBOUNDED, 0};
    size_t count = scaled(1000);
    int nest = _i % NESTS;
    memset(source, 0, sizeof(source));
    if (nest == NEST_SELECT || nest == NEST_SELECT_EDGE)
        must_be(spool_select_fd(around, poll_fd, nest == NEST_SELECT ? EPOLLIN : EPOLLIN | EPOLLET), 0);
    else if (nest != NEST_POLL)
        must_be(epoll_ctl(outer, EPOLL_CTL_ADD, poll_fd, &(struct epoll_event){.events = modes[nest]}), 0);
    for (int i = 0; i < SOURCES; i++) {
        source[i].index = (size_t)i;
        source[i].count = count;
        source[i].chan = chan_of(capacities[_i / NESTS]);
        must_be(spool_select_get(sel, source[i].chan, &value), i);
        worker_start(&source[i], put_with_pauses);
    }
    while (index != -ENODATA) {
        struct epoll_event event;
        struct pollfd p = {.fd = poll_fd, .events = POLLIN};
        if (nest == NEST_POLL) {
            must_be(poll(&p, 1, (int)(DEADLINE / MS)), 1);
        } else if (nest == NEST_SELECT || nest == NEST_SELECT_EDGE) {
            must_be(spool_select_wait(around, DEADLINE), 0);
            must_be(spool_select_result(around, 0), EPOLLIN);
        } else {
            must_be(epoll_wait(outer, &event, 1, (int)(DEADLINE / MS)), 1);
        }
        while ((index = spool_select_wait(sel, 0)) >= 0) {
            must(index < SOURCES);
            if (spool_select_result(sel, index) == -EPIPE) {
                must_be(next[index], count);
                continue;
            }
            must_be(value, next[index]);
            next[index]++;
        }
        must(index == -EAGAIN || index == -ENODATA);
        if (nest == NEST_ONESHOT)
            must_be(epoll_ctl(outer, EPOLL_CTL_MOD, poll_fd, &(struct epoll_event){.events = modes[nest]}), 0);
    }
    for (int i = 0; i < SOURCES; i++) {
        must_be(worker_join(&source[i]), 0);
        must_be(next[i], count);
        spool_unref(source[i].chan);
    }
    spool_select_free(around);
    spool_select_free(sel);
    close(outer);
}
END_TEST

START_TEST(nests_but_not_in_a_ring)
{
    spool_select *a = select_of(), *b = select_of();
    spool_chan *chan = chan_of(flavours[_i]);
    uint64_t value = 0;
    int r = spool_select_fd(a, spool_select_poll_fd(a), EPOLLIN);
    must(r == -EINVAL || r == -ELOOP);
    must_be(spool_select_get(a, chan, &value), 0);
    must_be(spool_select_fd(b, spool_select_poll_fd(a), EPOLLIN), 0);
    must_be(spool_select_fd(a, spool_select_poll_fd(b), EPOLLIN), -ELOOP);
    must_be_quiet(b);
    must_be_quiet(a);
    put(chan, 4);
    must_be(wait_ready(b), 0);
    must_be(wait_ready(a), 0);
    must_be(value, 4);
    /* Until -EAGAIN, as spool_select_poll_fd asks for: what has told of a partner may still show. */
    if (_i == MEET)
        must_be(spool_select_wait(a, 0), -EAGAIN);
    must_be_quiet(b);
    /* The inner one goes; its case was taken out before. */
    must_be(spool_select_remove(b, 0), 0);
    spool_select_free(a);
    must_be(wait_ready(b), -ENODATA);
    spool_select_free(b);
    retire(chan);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("select_poll");
    TCase *tc = case_new(suite, "descriptor");
    tcase_add_loop_test(tc, poll_fd_follows_readiness, 0, FLAVOURS);
    tcase_add_loop_test(tc, poll_fd_until_there_is_no_more, 0, MEET);
    tcase_add_loop_test(tc, poll_fd_of_many, 0, MEET);
    tcase_add_loop_test(tc, poll_fd_made_late, 0, FLAVOURS);
    tcase_add_loop_test(tc, strangers_write_to_a_channels_descriptor, 0, FLAVOURS);
    tcase_add_loop_test(tc, poll_fd_wakes_a_sleeping_poller, 0, FLAVOURS);
    tcase_add_loop_test(tc, nests_in_other_loops, 0, FLAVOURS * NESTS);
    tcase_add_loop_test(tc, nests_but_not_in_a_ring, 0, FLAVOURS);
    return run_suite(suite, "select_poll");
}
