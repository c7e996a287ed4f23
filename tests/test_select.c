/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The select: its cases, its time, and what it holds. */
#include "select_util.h"

#include <limits.h>

/* ---- Cases ---- */

START_TEST(index_is_lowest_free)
{
    spool_select *sel = select_of();
    spool_chan *chan = chan_of(flavours[_i]);
    uint64_t value = 0;
    int fds[2];
    pipe_of(fds);
    must_be(spool_select_get(sel, chan, &value), 0);
    must_be(spool_select_put(sel, chan, &value), 1);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN), 2);
    must_be(spool_select_get(sel, chan, NULL), 3);
    must_be(spool_select_fd(sel, fds[1], EPOLLOUT), 4);
    must_be(spool_select_remove(sel, 3), 0);
    must_be(spool_select_remove(sel, 0), 0);
    must_be(spool_select_remove(sel, 2), 0);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN), 0);
    must_be(spool_select_put(sel, chan, NULL), 2);
    must_be(spool_select_get(sel, chan, &value), 3);
    must_be(spool_select_get(sel, chan, &value), 5);
    for (int i = 0; i < 6; i++)
        must_be(spool_select_remove(sel, i), 0);
    /* Many, so that whatever holds them grows while it is in use. */
    for (int i = 0; i < 500; i++)
        must_be(spool_select_get(sel, chan, &value), i);
    must_be(spool_select_remove(sel, 250), 0);
    must_be(spool_select_get(sel, chan, &value), 250);
    must_be_quiet(sel);
    spool_select_free(sel);
    spool_unref(chan);
    close_both(fds);
}
END_TEST

START_TEST(get_case_gets)
{
    spool_select *sel = select_of();
    spool_chan *chan = chan_of(flavours[_i]);
    uint64_t value = 99;
    must_be(spool_select_get(sel, chan, &value), 0);
    must_be_quiet(sel);
    must_be(value, 99);
    for (uint64_t i = 0; i < 4; i++)
        put(chan, i);
    for (uint64_t i = 0; i < 4; i++) {
        must_be(wait_ready(sel), 0);
        must_be(spool_select_result(sel, 0), 0);
        must_be(value, i);
        must_be(spool_len(chan), _i == MEET ? 0 : 3 - i);
    }
    must_be_quiet(sel);
    must_be(value, 3);
    join_partners();
    spool_select_free(sel);
    spool_unref(chan);
}
END_TEST

START_TEST(put_case_puts)
{
    spool_select *sel = select_of();
    spool_chan *chan = chan_of(3);
    uint64_t value = 0;
    must_be(spool_select_put(sel, chan, &value), 0);
    for (value = 10; value < 13; value++) {
        must_be(wait_ready(sel), 0);
        must_be(spool_select_result(sel, 0), 0);
    }
    must_be_quiet(sel);
    must_be(spool_len(chan), 3);
    must_be(get(chan), 10);
    must_be(wait_ready(sel), 0);
    must_be_quiet(sel);
    must_be(get(chan), 11);
    must_be(get(chan), 12);
    must_be(get(chan), 13);
    spool_select_free(sel);
    spool_unref(chan);
}
END_TEST

START_TEST(put_case_of_unbounded_is_always_ready)
{
    spool_select *sel = select_of();
    spool_chan *chan = chan_of(SPOOL_UNBOUNDED);
    uint64_t value;
    must_be(spool_select_put(sel, chan, &value), 0);
    for (value = 0; value < 20000; value++) {
        must_be(spool_select_wait(sel, value % 2 ? -1 : 0), 0);
        must_be(spool_select_result(sel, 0), 0);
    }
    must(fd_readable(spool_select_poll_fd(sel)));
    must_be(spool_len(chan), 20000);
    for (uint64_t i = 0; i < 20000; i++)
        must_be(get(chan), i);
    must_be(spool_try_get(chan, &value), -EAGAIN);
    must_be(wait_ready(sel), 0);
    spool_select_free(sel);
    spool_unref(chan);
}
END_TEST

/* In a rendezvous a put case is ready while somebody waits to get, and puts what its element is at that moment. */
START_TEST(put_case_meets_a_getter)
{
    spool_select *sel = select_of();
    spool_chan *chan = chan_of(0);
    uint64_t value = 0;
    must_be(spool_select_put(sel, chan, &value), 0);
    for (uint64_t i = 1; i <= 20; i++) {
        must_be_quiet(sel);
        struct partner *p = partner_of(chan, 0, worker_get);
        if (_i)
            worker_wait_asleep(&p->worker);
        value = i;
        must_be(_i ? wait_ready(sel) : spool_select_wait(sel, -1), 0);
        must_be(spool_select_result(sel, 0), 0);
        must_be(worker_join(&p->worker), 0);
        p->used = false;
        must_be(p->value, i);
    }
    must_be_quiet(sel);
    spool_select_free(sel);
    spool_unref(chan);
}
END_TEST

START_TEST(fd_case_tells_events)
{
    spool_select *sel = select_of();
    int fds[2];
    pipe_of(fds);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN), 0);
    must_be_quiet(sel);
    write_byte(fds[1]);
    for (int i = 0; i < 3; i++) {
        must_be(wait_ready(sel), 0);
        must_be(spool_select_result(sel, 0), EPOLLIN);
    }
    read_byte(fds[0]);
    must_be_quiet(sel);
    must_be(close(fds[1]), 0);
    must_be(wait_ready(sel), 0);
    must_be(spool_select_result(sel, 0), EPOLLHUP);
    must_be(spool_select_remove(sel, 0), 0);
    must_be(spool_select_wait(sel, 0), -ENODATA);
    must_be(close(fds[0]), 0);
    spool_select_free(sel);
}
END_TEST

START_TEST(fd_case_in_other_epoll_modes)
{
    spool_select *sel = select_of();
    int edge[2], once[2];
    pipe_of(edge);
    pipe_of(once);
    must_be(spool_select_fd(sel, edge[0], EPOLLIN | EPOLLET), 0);
    must_be(spool_select_fd(sel, once[0], EPOLLIN | EPOLLONESHOT), 1);
    must_be_quiet(sel);
    for (int i = 0; i < 3; i++) {
        write_byte(edge[1]);
        must_be(wait_ready(sel), 0);
        must_be(spool_select_result(sel, 0), EPOLLIN);
        must_be_quiet(sel);
    }
    write_byte(once[1]);
    must_be(wait_ready(sel), 1);
    must_be(spool_select_result(sel, 1), EPOLLIN);
    write_byte(once[1]);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    spool_select_free(sel);
    close_both(edge);
    close_both(once);
}
END_TEST

/* The set reports both at once; one is armed again before it is its turn. */
START_TEST(one_shot_armed_twice_is_one_shot)
{
    spool_select *sel = select_of();
    int fds[2][2];
    for (int i = 0; i < 2; i++) {
        pipe_of(fds[i]);
        must_be(spool_select_fd(sel, fds[i][0], EPOLLIN | EPOLLONESHOT), i);
        write_byte(fds[i][1]);
    }
    int first = wait_ready(sel), second = 1 - first;
    must(first == 0 || first == 1);
    must_be(spool_select_enable(sel, second, true), 0);
    must_be(wait_ready(sel), second);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    must_be(spool_select_enable(sel, first, true), 0);
    must_be(wait_ready(sel), first);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    spool_select_free(sel);
    close_both(fds[0]);
    close_both(fds[1]);
}
END_TEST

START_TEST(result_before_and_after)
{
    spool_select *sel = select_of();
    spool_chan *chan = chan_of(flavours[_i]);
    uint64_t value = 0;
    must_be(spool_select_result(sel, 0), -EINVAL);
    must_be(spool_select_get(sel, chan, &value), 0);
    must_be(spool_select_result(sel, 0), 0);
    must_be(spool_select_result(sel, 1), -EINVAL);
    must_be(spool_select_result(sel, -1), -EINVAL);
    must_be(spool_select_result(sel, INT_MIN), -EINVAL);
    must_be(spool_select_result(sel, INT_MAX), -EINVAL);
    must_be(spool_close(chan), 0);
    must_be(spool_select_result(sel, 0), 0);
    must_be(spool_select_wait(sel, 0), 0);
    must_be(spool_select_result(sel, 0), -EPIPE);
    must_be(spool_select_wait(sel, 0), -ENODATA);
    must_be(spool_select_result(sel, 0), -EPIPE);
    /* A new case under the old index has not been returned yet. */
    spool_unref(chan);
    chan = chan_of(flavours[_i]);
    must_be(spool_select_get(sel, chan, &value), 0);
    must_be(spool_select_result(sel, 0), 0);
    spool_select_free(sel);
    spool_unref(chan);
}
END_TEST

START_TEST(bad_arguments)
{
    spool_select *sel = select_of(), *untouched = (spool_select *)&sel;
    spool_chan *chan = chan_of(1);
    uint64_t value = 5;
    int fds[2];
    pipe_of(fds);
    int memory = memfd_create("regular", MFD_CLOEXEC), folder = open("/", O_RDONLY | O_CLOEXEC);
    struct rusage before, after;
    must(memory >= 0 && folder >= 0);

    must_be(spool_select_new(NULL), -EINVAL);
    must(spool_select_free(NULL) == NULL);
    must_be(spool_select_get(NULL, chan, &value), -EINVAL);
    must_be(spool_select_get(sel, NULL, &value), -EINVAL);
    must_be(spool_select_put(NULL, chan, &value), -EINVAL);
    must_be(spool_select_put(sel, NULL, &value), -EINVAL);
    must_be(spool_select_fd(NULL, fds[0], EPOLLIN), -EINVAL);
    must_be(spool_select_fd(sel, -1, EPOLLIN), -EBADF);
    must_be(spool_select_fd(sel, INT_MIN, EPOLLIN), -EBADF);
    /* A number that is no descriptor costs no memory, however large. */
    getrusage(RUSAGE_SELF, &before);
    must_be(spool_select_fd(sel, INT_MAX, EPOLLIN), -EBADF);
    must_be(spool_select_fd(sel, INT_MAX - 1, EPOLLIN), -EBADF);
    must_be(spool_select_fd(sel, 1 << 27, EPOLLIN), -EBADF);
    getrusage(RUSAGE_SELF, &after);
    must(after.ru_maxrss - before.ru_maxrss < 64 << 10);
    must_be(spool_select_fd(sel, memory, EPOLLIN), -EPERM);
    must_be(spool_select_fd(sel, folder, EPOLLIN), -EPERM);
    must_be(spool_select_wait(NULL, 0), -EINVAL);
    must_be(spool_select_wait(NULL, -1), -EINVAL);
    must_be(spool_select_result(NULL, 0), -EINVAL);
    must_be(spool_select_enable(NULL, 0, true), -EINVAL);
    must_be(spool_select_remove(NULL, 0), -EINVAL);
    must_be(spool_select_set_order(NULL, SPOOL_FAIR), -EINVAL);
    must_be(spool_select_set_order(sel, (enum spool_order)7), -EINVAL);
    must_be(spool_select_set_order(sel, (enum spool_order)-1), -EINVAL);
    must_be(spool_select_poll_fd(NULL), -EINVAL);
    const int none[] = {-1, 0, 1, INT_MIN, INT_MAX};
    for (size_t i = 0; i < COUNT(none); i++) {
        must_be(spool_select_enable(sel, none[i], true), -EINVAL);
        must_be(spool_select_enable(sel, none[i], false), -EINVAL);
        must_be(spool_select_remove(sel, none[i]), -EINVAL);
    }
    must_be(close(fds[0]), 0);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN), -EBADF);
    must(untouched == (spool_select *)&sel);

    /* None of it left a trace. */
    must_be(spool_select_wait(sel, 0), -ENODATA);
    must_be(spool_select_get(sel, chan, &value), 0);
    must_be_quiet(sel);
    put(chan, 6);
    must_be(spool_select_enable(sel, 1, true), -EINVAL);
    must_be(spool_select_remove(sel, 1), -EINVAL);
    must_be(wait_ready(sel), 0);
    must_be(value, 6);
    spool_select_free(sel);
    spool_unref(chan);
    close(fds[1]);
    close(memory);
    close(folder);
}
END_TEST

START_TEST(errno_is_left_alone)
{
    spool_select *sel = NULL;
    spool_chan *chan = chan_of(flavours[_i]);
    uint64_t value = 0;
    if (_i == MEET)
        put(chan, 7);
    errno = 4242;
    must_be(spool_select_new(&sel), 0);
    must_be(spool_select_wait(sel, 0), -ENODATA);
    must_be(spool_select_get(sel, chan, &value), 0);
    must_be(spool_select_fd(sel, -1, EPOLLIN), -EBADF);
    if (_i == MEET)
        must_be(spool_select_wait(sel, 0), 0);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    must_be(spool_select_wait(sel, 1000), -ETIMEDOUT);
    must(spool_select_poll_fd(sel) >= 0);
    must_be(errno, 4242);
    put(chan, 1);
    errno = 4242;
    must_be(spool_select_wait(sel, -1), 0);
    must_be(spool_select_remove(sel, 0), 0);
    must_be(spool_select_remove(sel, 0), -EINVAL);
    spool_select_free(sel);
    must_be(errno, 4242);
    retire(chan);
}
END_TEST

static int get_nothing(struct worker *w)
{
    return spool_get(w->chan, NULL);
}

static int put_nothing(struct worker *w)
{
    return spool_put(w->chan, NULL);
}

static void size_zero_of_rendezvous(void)
{
    spool_select *sel = select_of();
    spool_chan *chan = NULL;
    char any;
    must_be(spool_chan_new(&chan, 0, 0), 0);
    must_be(spool_select_put(sel, chan, &any), 0);
    must_be(spool_select_get(sel, chan, &any), 1);
    must_be_quiet(sel);
    for (int i = 0; i < 20; i++) {
        partner_of(chan, 0, i % 2 ? put_nothing : get_nothing);
        must_be(spool_select_wait(sel, -1), i % 2);
        join_partners();
    }
    must_be_quiet(sel);
    spool_select_free(sel);
    spool_unref(chan);
}

START_TEST(size_zero)
{
    spool_select *sel = select_of();
    spool_chan *chan = NULL;
    char any;
    if (_i == MEET) {
        spool_select_free(sel);
        size_zero_of_rendezvous();
        return;
    }
    must_be(spool_chan_new(&chan, 0, _i ? SPOOL_UNBOUNDED : 2), 0);
    must_be(spool_select_put(sel, chan, &any), 0);
    must_be(wait_ready(sel), 0);
    must_be(wait_ready(sel), 0);
    if (is_bounded(chan))
        must_be_quiet(sel);
    must_be(spool_len(chan), 2);
    must_be(spool_select_remove(sel, 0), 0);
    must_be(spool_select_get(sel, chan, &any), 0);
    must_be(wait_ready(sel), 0);
    must_be(wait_ready(sel), 0);
    must_be_quiet(sel);
    must_be(spool_len(chan), 0);
    /* NULL stands for readiness here as well. */
    must_be(spool_select_remove(sel, 0), 0);
    must_be(spool_select_put(sel, chan, NULL), 0);
    must_be(wait_ready(sel), 0);
    must_be(spool_len(chan), 0);
    spool_select_free(sel);
    spool_unref(chan);
}
END_TEST

START_TEST(readiness_only_takes_nothing)
{
    spool_select *sel = select_of();
    spool_chan *chan = chan_of(_i ? flavours[_i] : 2);
    must_be(spool_select_get(sel, chan, NULL), 0);
    must_be_quiet(sel);
    put(chan, 7);
    for (int i = 0; i < 5; i++) {
        must_be(wait_ready(sel), 0);
        must_be(spool_select_result(sel, 0), 0);
        must_be(spool_len(chan), _i != MEET);
    }
    must_be(get(chan), 7);
    must_be_quiet(sel);
    must_be(spool_select_remove(sel, 0), 0);
    must_be(spool_select_put(sel, chan, NULL), 0);
    if (_i == MEET) {
        must_be_quiet(sel);
        worker_wait_asleep(&partner_of(chan, 0, worker_get)->worker);
    }
    for (int i = 0; i < 5; i++) {
        must_be(wait_ready(sel), 0);
        must_be(spool_len(chan), 0);
    }
    if (_i == MEET) {
        must_be(spool_try_put(chan, &(uint64_t){4}), 0);
        must_be_quiet(sel);
    } else {
        put(chan, 1);
        must_be(wait_ready(sel), 0);
        put(chan, 2);
        if (is_bounded(chan))
            must_be_quiet(sel);
        must_be(get(chan), 1);
        must_be(wait_ready(sel), 0);
    }
    join_partners();
    spool_select_free(sel);
    spool_unref(chan);
}
END_TEST

START_TEST(enable_switches)
{
    spool_select *sel = select_of();
    spool_chan *a = chan_of(flavours[_i]), *b = chan_of(flavours[_i]);
    uint64_t value = 0;
    int fds[2];
    pipe_of(fds);
    write_byte(fds[1]);
    put(a, 1);
    put(b, 2);
    must_be(spool_select_get(sel, a, &value), 0);
    must_be(spool_select_get(sel, b, &value), 1);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN), 2);
    must_be(spool_select_enable(sel, 0, false), 0);
    must_be(spool_select_enable(sel, 0, false), 0);
    must_be(spool_select_enable(sel, 2, false), 0);
    must_be(wait_ready(sel), 1);
    must_be_quiet(sel);
    must_be(spool_select_enable(sel, 1, false), 0);
    must_be(wait_ready(sel), -ENODATA);
    must_be(spool_select_wait(sel, -1), -ENODATA);
    /* Off is not out: the index is taken. */
    must_be(spool_select_get(sel, b, NULL), 3);
    must_be_quiet(sel);
    must_be(spool_select_enable(sel, 0, true), 0);
    must_be(spool_select_enable(sel, 0, true), 0);
    must_be(wait_ready(sel), 0);
    must_be(value, 1);
    must_be_quiet(sel);
    must_be(spool_select_enable(sel, 2, true), 0);
    must_be(wait_ready(sel), 2);
    must_be(spool_select_enable(sel, 2, false), 0);
    must_be_quiet(sel);
    /* What comes while a case is off is there when it is on again. */
    must_be(spool_select_enable(sel, 0, false), 0);
    put(a, 3);
    must_be_quiet(sel);
    must_be(spool_close(a), 0);
    must_be_quiet(sel);
    must_be(spool_select_enable(sel, 0, true), 0);
    if (_i != MEET) {
        must_be(wait_ready(sel), 0);
        must_be(value, 3);
    }
    must_be(wait_ready(sel), 0);
    must_be(spool_select_result(sel, 0), -EPIPE);
    must_be(spool_select_enable(sel, 0, true), -EINVAL);
    must_be(spool_select_enable(sel, 0, false), -EINVAL);
    /* A case that is off can be taken out. */
    must_be(spool_select_remove(sel, 2), 0);
    must_be(spool_select_remove(sel, 1), 0);
    must_be_quiet(sel);
    spool_select_free(sel);
    join_partners();
    spool_unref(a);
    spool_unref(b);
    close_both(fds);
}
END_TEST

START_TEST(remove_while_ready)
{
    spool_select *sel = select_of();
    spool_chan *a = chan_of(flavours[_i]), *b = chan_of(flavours[_i]);
    uint64_t in_a = 0, in_b = 0, got_b = 0;
    int fds[2];
    pipe_of(fds);
    write_byte(fds[1]);
    for (uint64_t i = 0; i < 3; i++) {
        put(a, i);
        put(b, 10 + i);
    }
    must_be(spool_select_get(sel, a, &in_a), 0);
    must_be(spool_select_get(sel, b, &in_b), 1);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN), 2);
    /* So that the select has seen all three ready. */
    int seen_a = 0;
    for (int i = 0; i < 2; i++) {
        int index = spool_select_wait(sel, 0);
        must(index >= 0);
        seen_a += index == 0;
        got_b += index == 1;
    }
    must_be(spool_select_remove(sel, 0), 0);
    must_be(spool_select_remove(sel, 2), 0);
    must_be(spool_select_remove(sel, 2), -EINVAL);
    for (; got_b < 3; got_b++) {
        must_be(wait_ready(sel), 1);
        must_be(in_b, 10 + got_b);
    }
    must_be_quiet(sel);
    for (uint64_t i = (uint64_t)seen_a; i < 3; i++)
        must_be(get(a), i);
    must_be(spool_try_get(a, &in_a), -EAGAIN);
    must_be(spool_select_remove(sel, 1), 0);
    must_be(wait_ready(sel), -ENODATA);
    join_partners();
    spool_select_free(sel);
    spool_unref(a);
    spool_unref(b);
    close_both(fds);
}
END_TEST

START_TEST(no_case_is_no_data)
{
    spool_select *sel = select_of();
    const int64_t times[] = {0, 1, -1, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < COUNT(times); i++) {
        must(fd_readable(spool_select_poll_fd(sel)));
        must_be(spool_select_wait(sel, times[i]), -ENODATA);
    }
    spool_select_free(sel);
}
END_TEST

START_TEST(closed_get_case_leaves)
{
    spool_select *sel = select_of();
    spool_chan *chan = chan_of(flavours[_i]), *other = chan_of(flavours[_i]);
    uint64_t value = 0, last = _i == MEET ? 0 : 2;
    must_be(spool_select_get(sel, chan, &value), 0);
    must_be(spool_select_get(sel, other, &value), 1);
    put(chan, 1);
    put(chan, 2);
    must_be(spool_close(chan), 0);
    for (uint64_t i = 1; i <= last; i++) {
        must_be(wait_ready(sel), 0);
        must_be(spool_select_result(sel, 0), 0);
        must_be(value, i);
    }
    must_be(wait_ready(sel), 0);
    must_be(spool_select_result(sel, 0), -EPIPE);
    must_be(value, last);
    for (size_t i = 0; _i == MEET && i < 2; i++)
        must_be(worker_join(&partners[i].worker), -EPIPE);
    must_be_quiet(sel);
    must_be(spool_select_remove(sel, 0), -EINVAL);
    must_be(spool_select_get(sel, other, &value), 0);
    must_be(spool_select_remove(sel, 0), 0);
    must_be(spool_close(other), 0);
    must_be(wait_ready(sel), 1);
    must_be(spool_select_result(sel, 1), -EPIPE);
    must_be(wait_ready(sel), -ENODATA);
    /* A case on a channel that is closed already, and readiness only. */
    must_be(spool_select_get(sel, chan, NULL), 0);
    must_be(wait_ready(sel), 0);
    must_be(spool_select_result(sel, 0), -EPIPE);
    must_be(wait_ready(sel), -ENODATA);
    spool_select_free(sel);
    spool_unref(chan);
    spool_unref(other);
}
END_TEST

START_TEST(closed_put_case_leaves)
{
    spool_select *sel = select_of();
    spool_chan *chan = chan_of(_i ? flavours[_i] : 1);
    uint64_t value = 8;
    if (_i != MEET)
        put(chan, 7);
    must_be(spool_select_put(sel, chan, &value), 0);
    must_be(spool_select_put(sel, chan, NULL), 1);
    if (!is_unbounded(chan))
        must_be_quiet(sel);
    must_be(spool_close(chan), 0);
    bool seen[2] = {false, false};
    for (int i = 0; i < 2; i++) {
        int index = wait_ready(sel);
        must(index >= 0 && index < 2 && !seen[index]);
        must_be(spool_select_result(sel, index), -EPIPE);
        seen[index] = true;
    }
    must_be(wait_ready(sel), -ENODATA);
    if (_i != MEET)
        must_be(get(chan), 7);
    must_be(spool_try_get(chan, &value), -EPIPE);
    spool_select_free(sel);
    spool_unref(chan);
}
END_TEST

static int put_many_then_close(struct worker *w)
{
    for (size_t i = 0; i < w->count; i++) {
        uint64_t value = w->index << 32 | i;
        must_be(spool_put(w->chan, &value), 0);
    }
    return spool_close(w->chan);
}

/* for source in select(...): until all have closed. */
START_TEST(ancestors_loop)
{
    enum { SOURCES = 5 };
    const size_t capacities[SOURCES] = {1, 4, 7, SPOOL_UNBOUNDED, 0};
    struct worker source[SOURCES];
    uint64_t value = 0, next[SOURCES] = {0};
    size_t count = scaled(12000);
    int ends = 0, i;
    spool_select *sel = select_of();
    memset(source, 0, sizeof(source));
    for (i = 0; i < SOURCES; i++) {
        source[i].chan = chan_of(capacities[i]);
        source[i].index = (size_t)i;
        source[i].count = count;
        must_be(spool_select_get(sel, source[i].chan, &value), i);
        worker_start(&source[i], put_many_then_close);
    }
    while ((i = spool_select_wait(sel, -1)) >= 0) {
        if (spool_select_result(sel, i) == -EPIPE) {
            ends++;
            continue;
        }
        must_be(spool_select_result(sel, i), 0);
        must_be(value, (uint64_t)i << 32 | next[i]);
        next[i]++;
    }
    must_be(i, -ENODATA);
    must_be(ends, SOURCES);
    for (i = 0; i < SOURCES; i++) {
        must_be(worker_join(&source[i]), 0);
        must_be(next[i], count);
        spool_unref(source[i].chan);
    }
    spool_select_free(sel);
}
END_TEST

START_TEST(pairs_stand_in_cases)
{
    spool_select *sel = select_of();
    spool_chan *a = NULL, *b = NULL;
    uint64_t in = 0, out = 5;
    must_be(spool_pair_new(&a, &b, sizeof(uint64_t), 1), 0);
    must_be(spool_select_get(sel, a, &in), 0);
    must_be(spool_select_put(sel, a, &out), 1);
    must_be(wait_ready(sel), 1);
    must_be_quiet(sel);
    must_be(get(b), 5);
    put(b, 6);
    must_be(spool_select_enable(sel, 1, false), 0);
    must_be(wait_ready(sel), 0);
    must_be(in, 6);
    must_be_quiet(sel);
    must_be(spool_select_enable(sel, 1, true), 0);
    put(b, 7);
    b = spool_unref(b);
    /* The other end is gone: what it put is got, then both cases leave. */
    int results = 0, got = 0, index;
    while ((index = spool_select_wait(sel, -1)) >= 0) {
        if (spool_select_result(sel, index) == -EPIPE)
            results++;
        else
            got += index == 0 && in == 7;
    }
    must_be(index, -ENODATA);
    must_be(results, 2);
    must_be(got, 1);
    spool_select_free(sel);
    spool_unref(a);
}
END_TEST

START_TEST(pairs_of_other_flavours_stand_in_cases)
{
    spool_select *sel = select_of();
    spool_chan *a = NULL, *b = NULL;
    uint64_t in = 0, out = 5;
    must_be(spool_pair_new(&a, &b, sizeof(uint64_t), flavours[_i]), 0);
    must_be(spool_select_get(sel, a, &in), 0);
    must_be(spool_select_put(sel, a, &out), 1);
    for (uint64_t round = 0; round < 20; round++) {
        out = round;
        struct partner *p = _i == MEET ? partner_of(b, 0, worker_get) : NULL;
        must_be(spool_select_enable(sel, 1, true), 0);
        must_be(spool_select_wait(sel, -1), 1);
        if (p)
            must_be(worker_join(&p->worker), 0);
        if (p)
            p->used = false;
        must_be(p ? p->value : get(b), round);
        must_be(spool_select_enable(sel, 1, false), 0);
        must_be_quiet(sel);
        put(b, 100 + round);
        must_be(wait_ready(sel), 0);
        must_be(in, 100 + round);
        join_partners();
    }
    /* The other end goes: both cases leave. */
    must_be(spool_select_enable(sel, 1, true), 0);
    b = spool_unref(b);
    bool left[2] = {false, false};
    for (int i = 0; i < 2; i++) {
        int index = wait_ready(sel);
        must(index >= 0 && index < 2 && !left[index]);
        must_be(spool_select_result(sel, index), -EPIPE);
        left[index] = true;
    }
    must_be(wait_ready(sel), -ENODATA);
    spool_select_free(sel);
    spool_unref(a);
}
END_TEST

/* ---- Time ---- */

START_TEST(timeout_is_never_early)
{
    spool_select *sel = select_of();
    spool_chan *chan = chan_of(flavours[_i]);
    uint64_t value = 0;
    const int64_t times[] = {1, 999, 1 * US, 50 * US, 999 * US, 1 * MS, 1500 * US, 20 * MS, 101 * MS + 7};
    must_be(spool_select_get(sel, chan, &value), 0);
    if (_i == MEET)
        must_be(spool_select_put(sel, chan, &value), 1); /* and it does not meet itself */
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < COUNT(times) && (round < 3 || times[i] < 2 * MS); i++) {
            int64_t start = now_ns();
            must_be(spool_select_wait(sel, times[i]), -ETIMEDOUT);
            must(now_ns() - start >= times[i]);
        }
    }
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    put(chan, 1);
    must_be(spool_select_wait(sel, 1), 0);
    join_partners();
    spool_select_free(sel);
    spool_unref(chan);
}
END_TEST

START_TEST(timeout_of_any_size)
{
    const int64_t times[] = {INT64_MAX, INT64_MAX - 1, INT64_MAX / 2, -1, -2, INT64_MIN, 1000000 * SEC};
    spool_chan *chan = chan_of(flavours[_i]);
    for (size_t i = 0; i < COUNT(times); i++) {
        struct worker w = {.sel = select_of(), .timeout_ns = times[i]};
        uint64_t value = 0;
        must_be(spool_select_get(w.sel, chan, &value), 0);
        worker_start(&w, worker_wait);
        worker_wait_asleep(&w);
        must_be(spool_try_put(chan, &(uint64_t){i + 1}), 0);
        must_be(worker_join(&w), 0);
        must_be(value, i + 1);
        spool_select_free(w.sel);
    }
    spool_unref(chan);
}
END_TEST

static atomic_int signals_seen;

static void count_signal(int signo)
{
    (void)signo;
    atomic_fetch_add(&signals_seen, 1);
}

START_TEST(signals_do_not_lengthen_or_end_a_wait)
{
    struct worker w = {.sel = select_of(), .timeout_ns = 300 * MS, .storm_ns = 100 * US};
    spool_chan *chan = chan_of(flavours[_i]);
    uint64_t value = 0;
    must_be(spool_select_get(w.sel, chan, &value), 0);
    on_signal(SIGUSR1, count_signal);
    worker_start(&w, worker_wait);
    must_be(worker_join(&w), -ETIMEDOUT);
    must(w.took_ns >= 300 * MS && w.took_ns < DEADLINE);
    /* ThreadSanitizer calls handlers when it sees fit. */
    must(UNDER_TSAN || atomic_load(&signals_seen) > 0);

    w.timeout_ns = -1;
    w.storm_ns = 0;
    worker_start(&w, worker_wait);
    worker_wait_asleep(&w);
    timer_t storm = storm_begin(atomic_load(&w.tid), SIGUSR1, 50 * US);
    long sleeps = task_sleeps(atomic_load(&w.tid));
    wait_until(task_sleeps(atomic_load(&w.tid)) > sleeps + 300);
    must(!atomic_load(&w.done));
    must_be(spool_put(chan, &(uint64_t){3}), 0);
    must_be(worker_join(&w), 0);
    storm_end(storm);
    must_be(value, 3);
    spool_select_free(w.sel);
    spool_unref(chan);
}
END_TEST

/* ---- Life ---- */

static size_t dropped;
static uint64_t dropped_sum;

static void count_drop(void *elem)
{
    uint64_t value;
    memcpy(&value, elem, sizeof(value));
    dropped++;
    dropped_sum += value;
}

/* A channel that holds 1, 2 and 3 and tells when it goes. */
static spool_chan *dropping(int flavour)
{
    spool_chan *chan = chan_of(flavours[flavour]);
    must_be(spool_set_drop(chan, count_drop), 0);
    for (uint64_t i = 1; i <= 3; i++)
        put(chan, i);
    dropped = dropped_sum = 0;
    return chan;
}

START_TEST(select_holds_its_channels)
{
    uint64_t value = 0;
    int before = count_fds();
    /* Until it is freed, */
    spool_select *sel = select_of();
    spool_chan *chan = dropping(_i);
    must_be(spool_select_get(sel, chan, &value), 0);
    spool_unref(chan);
    must_be(wait_ready(sel), 0);
    must_be(spool_select_result(sel, 0), 0);
    must_be(value, 1);
    must_be(dropped, 0);
    must(spool_select_free(sel) == NULL);
    must_be(dropped, 2);
    must_be(dropped_sum, 5);
    /* or the last of its cases is removed, also one that is off, */
    sel = select_of();
    chan = dropping(_i);
    must_be(spool_select_get(sel, chan, &value), 0);
    must_be(spool_select_put(sel, chan, NULL), 1);
    must_be(spool_select_get(sel, chan, NULL), 2);
    must_be(spool_select_enable(sel, 2, false), 0);
    spool_unref(chan);
    must_be(spool_select_remove(sel, 0), 0);
    must_be(spool_select_remove(sel, 1), 0);
    must_be(dropped, 0);
    must_be(spool_select_remove(sel, 2), 0);
    must_be(dropped, 3);
    must_be(wait_ready(sel), -ENODATA);
    /* or left because the channel is closed. */
    chan = dropping(_i);
    must_be(spool_select_put(sel, chan, &value), 0);
    must_be(spool_close(chan), 0);
    spool_unref(chan);
    must_be(dropped, 0);
    must_be(wait_ready(sel), 0);
    must_be(spool_select_result(sel, 0), -EPIPE);
    must_be(dropped, 3);
    must_be(wait_ready(sel), -ENODATA);
    spool_select_free(sel);
    must_be(count_fds(), before);
}
END_TEST

START_TEST(select_holds_its_rendezvous)
{
    uint64_t value = 0;
    int before = count_fds();
    /* While it has a case on it: a thread that waits there goes when the last one does. */
    for (int how = 0; how < 3; how++) {
        spool_select *sel = select_of();
        spool_chan *chan = chan_of(0);
        must_be(spool_select_put(sel, chan, how ? &value : NULL), 0);
        must_be(spool_select_put(sel, chan, &value), 1);
        struct partner *p = partner_of(chan, 3, worker_put);
        worker_wait_asleep(&p->worker);
        spool_unref(chan);
        if (how == 2)
            must_be(spool_select_enable(sel, 0, false), 0);
        must_be(spool_select_remove(sel, 1), 0);
        must(!atomic_load(&p->worker.done));
        worker_wait_asleep(&p->worker);
        if (how)
            must_be(spool_select_remove(sel, 0), 0);
        else
            sel = spool_select_free(sel);
        must_be(worker_join(&p->worker), -EPIPE);
        p->used = false;
        spool_select_free(sel);
    }
    must_be(count_fds(), before);
}
END_TEST

START_TEST(free_with_everything_ready)
{
    int before = count_fds();
    for (int round = 0; round < 50; round++) {
        spool_select *sel = select_of();
        spool_chan *a = chan_of(flavours[_i]), *b = chan_of(flavours[_i]);
        uint64_t value = 0;
        int fds[2];
        pipe_of(fds);
        write_byte(fds[1]);
        put(a, 1);
        must_be(spool_select_get(sel, a, &value), 0);
        must_be(spool_select_put(sel, a, &value), 1);
        must_be(spool_select_get(sel, b, &value), 2);
        must_be(spool_select_fd(sel, fds[0], EPOLLIN), 3);
        must_be(spool_close(b), 0);
        for (int i = 0; i < round % 5; i++)
            must(spool_select_wait(sel, 0) >= 0);
        if (round % 2)
            spool_unref(a);
        spool_select_free(sel);
        if (round % 2 == 0)
            spool_unref(a);
        spool_unref(b);
        join_partners();
        close_both(fds);
    }
    must_be(count_fds(), before);
}
END_TEST

START_TEST(descriptor_number_is_used_again)
{
    spool_select *sel = select_of();
    spool_chan *chan = chan_of(1);
    uint64_t value;
    must_be(spool_select_get(sel, chan, &value), 0);
    int fds[2], again[2];
    for (int round = 0; round < 20; round++) {
        pipe_of(fds);
        write_byte(fds[1]);
        must_be(spool_select_fd(sel, fds[0], EPOLLIN), 1);
        must_be(wait_ready(sel), 1);
        must_be(spool_select_remove(sel, 1), 0);
        close_both(fds);
        pipe_of(again);
        must_be(again[0], fds[0]);
        must_be(spool_select_fd(sel, again[0], EPOLLIN), 1);
        must_be_quiet(sel);
        write_byte(again[1]);
        must_be(wait_ready(sel), 1);
        /* Closed without being taken out, against the rules: the kernel forgets it, and the case can still go. */
        close_both(again);
        must_be(spool_select_wait(sel, 0), -EAGAIN);
        must_be(spool_select_remove(sel, 1), 0);
        must_be_quiet(sel);
        pipe_of(fds);
        must_be(fds[0], again[0]);
        write_byte(fds[1]);
        must_be(spool_select_fd(sel, fds[0], EPOLLIN), 1);
        must_be(wait_ready(sel), 1);
        must_be(spool_select_remove(sel, 1), 0);
        close_both(fds);
    }
    put(chan, 1);
    must_be(wait_ready(sel), 0);
    spool_select_free(sel);
    spool_unref(chan);
}
END_TEST

/* Switching a case back on can fail as adding it can; it is off then, and nothing else has changed. */
START_TEST(enable_of_a_closed_descriptor_fails)
{
    spool_select *sel = select_of();
    spool_chan *chan = chan_of(1);
    uint64_t value = 0;
    int fds[2];
    pipe_of(fds);
    must_be(spool_select_get(sel, chan, &value), 0);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN), 1);
    must_be(spool_select_enable(sel, 1, false), 0);
    close_both(fds);
    must_be(spool_select_enable(sel, 1, true), -EBADF);
    must_be_quiet(sel);
    must_be(spool_select_enable(sel, 0, false), 0);
    must_be(wait_ready(sel), -ENODATA);
    must_be(spool_select_remove(sel, 1), 0);
    must_be(spool_select_enable(sel, 0, true), 0);
    put(chan, 1);
    must_be(wait_ready(sel), 0);
    spool_select_free(sel);
    spool_unref(chan);
}
END_TEST

/* The user put a file that has no epoll under a number that a case has: a further case of it cannot be added. */
START_TEST(descriptor_number_is_used_again_by_a_file)
{
    spool_select *sel = select_of();
    spool_chan *chan = chan_of(1);
    uint64_t value = 0;
    int fds[2], other[2];
    FILE *file = tmpfile();
    must(file);
    pipe_of(fds);
    pipe_of(other);
    must_be(spool_select_get(sel, chan, &value), 0);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN), 1);
    must_be(dup2(fileno(file), fds[0]), fds[0]);
    for (int i = 0; i < 2; i++)
        must_be(spool_select_fd(sel, fds[0], EPOLLIN), -EPERM);
    /* No trace of it: the next index is free, the case that was there can go, the others work. */
    must_be(spool_select_result(sel, 2), -EINVAL);
    must_be(spool_select_fd(sel, other[0], EPOLLIN), 2);
    must_be(spool_select_remove(sel, 1), 0);
    must_be_quiet(sel);
    put(chan, 1);
    must_be(wait_ready(sel), 0);
    spool_select_free(sel);
    spool_unref(chan);
    close_both(fds);
    close_both(other);
    fclose(file);
}
END_TEST

/* Without descriptors nothing new can be made, and what there is goes on. */
START_TEST(descriptors_run_out)
{
    spool_select *sel = select_of(), *other = (spool_select *)&sel;
    spool_chan *a = chan_of(_i ? SPOOL_UNBOUNDED : 2), *b = chan_of(_i ? SPOOL_UNBOUNDED : 2);
    uint64_t value = 0;
    struct rlimit limit, none;
    must_be(spool_select_get(sel, a, &value), 0);
    must_be_quiet(sel);
    must_be(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 0;
    must_be(setrlimit(RLIMIT_NOFILE, &none), 0);
    must_be(spool_select_new(&other), -EMFILE);
    must(other == (spool_select *)&sel);
    must_be(spool_select_get(sel, b, &value), -EMFILE);
    must_be(spool_select_put(sel, b, &value), -EMFILE);
    must_be(spool_select_put(sel, a, &value), -EMFILE);
    must_be(spool_select_result(sel, 1), -EINVAL);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    put(a, 1);
    put(a, 2);
    must_be(spool_select_wait(sel, -1), 0);
    must_be(spool_select_get(sel, a, &value), 1);
    must_be(spool_select_remove(sel, 0), 0);
    must_be(spool_select_wait(sel, -1), 1);
    must_be(value, 2);
    must_be(spool_select_enable(sel, 1, false), 0);
    must_be(spool_select_enable(sel, 1, true), 0);
    must_be(setrlimit(RLIMIT_NOFILE, &limit), 0);
    must_be_quiet(sel);
    must_be(spool_select_put(sel, b, &value), 0);
    must_be(wait_ready(sel), 0);
    must_be(get(b), 2);
    spool_select_free(sel);
    spool_unref(a);
    spool_unref(b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("select");
    TCase *tc = case_new(suite, "cases");
    tcase_add_loop_test(tc, index_is_lowest_free, 0, FLAVOURS);
    tcase_add_loop_test(tc, get_case_gets, 0, FLAVOURS);
    tcase_add_test(tc, put_case_puts);
    tcase_add_test(tc, put_case_of_unbounded_is_always_ready);
    tcase_add_loop_test(tc, put_case_meets_a_getter, 0, 2);
    tcase_add_test(tc, fd_case_tells_events);
    tcase_add_test(tc, fd_case_in_other_epoll_modes);
    tcase_add_test(tc, one_shot_armed_twice_is_one_shot);
    tcase_add_loop_test(tc, result_before_and_after, 0, FLAVOURS);
    tcase_add_test(tc, bad_arguments);
    tcase_add_loop_test(tc, errno_is_left_alone, 0, FLAVOURS);
    tcase_add_loop_test(tc, size_zero, 0, FLAVOURS);
    tcase_add_loop_test(tc, readiness_only_takes_nothing, 0, FLAVOURS);
    tcase_add_loop_test(tc, enable_switches, 0, FLAVOURS);
    tcase_add_loop_test(tc, remove_while_ready, 0, FLAVOURS);
    tcase_add_test(tc, no_case_is_no_data);
    tcase_add_loop_test(tc, closed_get_case_leaves, 0, FLAVOURS);
    tcase_add_loop_test(tc, closed_put_case_leaves, 0, FLAVOURS);
    tcase_add_test(tc, ancestors_loop);
    tcase_add_test(tc, pairs_stand_in_cases);
    tcase_add_loop_test(tc, pairs_of_other_flavours_stand_in_cases, 1, FLAVOURS);
    tc = case_new(suite, "time");
    tcase_add_loop_test(tc, timeout_is_never_early, 0, FLAVOURS);
    tcase_add_loop_test(tc, timeout_of_any_size, 0, FLAVOURS);
    tcase_add_loop_test(tc, signals_do_not_lengthen_or_end_a_wait, 0, FLAVOURS);
    tc = case_new(suite, "life");
    tcase_add_loop_test(tc, select_holds_its_channels, 0, MEET); /* a rendezvous has nothing to drop */
    tcase_add_test(tc, select_holds_its_rendezvous);
    tcase_add_loop_test(tc, free_with_everything_ready, 0, FLAVOURS);
    tcase_add_test(tc, descriptor_number_is_used_again);
    tcase_add_test(tc, enable_of_a_closed_descriptor_fails);
    tcase_add_test(tc, descriptor_number_is_used_again_by_a_file);
    tcase_add_loop_test(tc, descriptors_run_out, 0, MEET); /* test_meet has the like for a rendezvous */
    return run_suite(suite, "select");
}
