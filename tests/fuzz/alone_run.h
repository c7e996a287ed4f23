/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_FUZZ_ALONE_RUN_H
#define SPOOL_FUZZ_ALONE_RUN_H

/* Programs of one thread: bad arguments, which change nothing, and the program as a whole. */

#include <fcntl.h>
#include <limits.h>

#include "fuzz/alone_select.h"

/* Never a value of a handle. */
#define NOT_SET ((spool_chan *)(void *)&alone)

/* More than there is: what can be counted has no memory, and nothing overflows on the way there. */
static void huge_new(size_t divisor, size_t less)
{
    static const size_t sizes[] = {0, 1, 8, 9, 16, 200, 4096};
    spool_chan *a = NOT_SET, *b = NOT_SET;
    size_t capacity = SIZE_MAX / divisor - less, product;
    CALL("new with capacity SIZE_MAX / %lld - %lld", (long long)divisor, (long long)less);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        int want = __builtin_mul_overflow(sizes[i], capacity, &product) ? -EOVERFLOW : -ENOMEM;
        EXPECT(spool_chan_new(&a, sizes[i], capacity), want);
        EXPECT(spool_pair_new(&a, &b, sizes[i], capacity), want);
    }
    EXPECT_TRUE(a == NOT_SET && b == NOT_SET);
}

static void bad_new(struct input *in)
{
    spool_chan *a = NOT_SET, *b = NOT_SET;
    uint8_t what = take(in) % 12;
    CALL("bad arguments to new: %lld", what);
    switch (what) {
    case 0:
        EXPECT(spool_chan_new(NULL, 8, 1), -EINVAL);
        break;
    case 1:
        EXPECT(spool_pair_new(&a, NULL, 8, 1), -EINVAL);
        EXPECT(spool_pair_new(NULL, &b, 8, 1), -EINVAL);
        break;
    case 2:
        EXPECT(spool_pair_new(&a, &a, 8, 1), -EINVAL);
        break;
    case 3:
        EXPECT(spool_chan_new(&a, SIZE_MAX / 2, 3), -EOVERFLOW);
        EXPECT(spool_pair_new(&a, &b, SIZE_MAX / 2, 3), -EOVERFLOW);
        break;
    case 4:
        EXPECT(spool_chan_new(&a, SIZE_MAX - 100, 1), -ENOMEM);
        EXPECT(spool_chan_new(&a, SIZE_MAX - 100, SPOOL_UNBOUNDED), -ENOMEM);
        break;
    case 5:
        huge_new(1 + take(in) % 64, 1 + take(in));
        break;
    case 6:
        EXPECT(spool_after(NULL, 0), -EINVAL);
        EXPECT(spool_never(NULL), -EINVAL);
        break;
    case 7:
        EXPECT(spool_tick(&a, 0), -EINVAL);
        EXPECT(spool_tick(&a, -1), -EINVAL);
        EXPECT(spool_tick(NULL, SEC), -EINVAL);
        break;
    case 8:
        EXPECT(spool_select_new(NULL), -EINVAL);
        EXPECT_TRUE(spool_select_free(NULL) == NULL);
        break;
    case 9:
        EXPECT_TRUE(spool_ref(NULL) == NULL);
        EXPECT_TRUE(spool_unref(NULL) == NULL);
        break;
    case 10:
        EXPECT_TRUE(!spool_alive(NULL) && spool_len(NULL) == 0 && spool_capacity(NULL) == 0);
        EXPECT_TRUE(spool_elem_size(NULL) == 0 && strcmp(spool_name(NULL), "") == 0);
        break;
    default:
        EXPECT(spool_fd(NULL), -EINVAL);
        EXPECT(spool_put_fd(NULL), -EINVAL);
        EXPECT(spool_close(NULL), -EINVAL);
        EXPECT(spool_set_name(NULL, "x"), -EINVAL);
        EXPECT(spool_set_drop(NULL, on_drop), -EINVAL);
    }
    EXPECT_TRUE(a == NOT_SET && b == NOT_SET);
}

static void bad_elem(int end, struct input *in)
{
    uint8_t elem[ELEM_MAX];
    spool_chan *chan = end_of(end)->handle;
    uint8_t what = take(in) % 4;
    int64_t timeout = take(in) % 3 - 1;
    memset(elem, UNTOUCHED, sizeof elem);
    CALL("bad arguments to puts and gets of end %lld: %lld", end, what);
    if (what == 0) {
        EXPECT(spool_put_for(NULL, elem, timeout), -EINVAL);
        EXPECT(spool_get_for(NULL, elem, timeout), -EINVAL);
        EXPECT(spool_put_many(NULL, elem, 1, timeout), -EINVAL);
        EXPECT(spool_get_many(NULL, elem, 1, timeout), -EINVAL);
        EXPECT(spool_set_name(chan, NULL), -EINVAL);
    } else if (chan_of(end)->elem_size == 0) {
        return;
    } else if (what == 1) {
        EXPECT(spool_get_for(chan, NULL, timeout), -EINVAL);
        EXPECT(spool_try_get(chan, NULL), -EINVAL);
        EXPECT(spool_get_many(chan, NULL, 1, timeout), -EINVAL);
    } else if (what == 2) {
        EXPECT(spool_get_many(chan, elem, (size_t)SSIZE_MAX + 1, timeout), -EINVAL);
        EXPECT(spool_put_many(chan, elem, SIZE_MAX, timeout), is_source(chan_of(end)) ? -EOPNOTSUPP : -EINVAL);
    } else if (!is_source(chan_of(end))) {
        EXPECT(spool_put_for(chan, NULL, timeout), -EINVAL);
        EXPECT(spool_try_put(chan, NULL), -EINVAL);
        EXPECT(spool_put_many(chan, NULL, 1, timeout), -EINVAL);
    }
    EXPECT_TRUE(is_untouched(elem, sizeof elem));
}

static void bad_select(struct input *in)
{
    struct sel *s = &sels[take(in) % SELECTS];
    spool_select *sel = s->handle;
    uint8_t elem[ELEM_MAX];
    memset(elem, UNTOUCHED, sizeof elem);
    CALL("bad arguments to select %lld", s - sels);
    EXPECT(spool_select_get(sel, NULL, elem), -EINVAL);
    EXPECT(spool_select_put(sel, NULL, elem), -EINVAL);
    EXPECT(spool_select_fd(NULL, pipes[0].fds[0], EPOLLIN), -EINVAL);
    EXPECT(spool_select_wait(NULL, -1), -EINVAL);
    EXPECT(spool_select_poll_fd(NULL), -EINVAL);
    EXPECT(spool_select_result(sel, -1), -EINVAL);
    EXPECT(spool_select_result(sel, INT_MAX), -EINVAL);
    EXPECT(spool_select_enable(sel, -1, true), -EINVAL);
    EXPECT(spool_select_enable(sel, CASES + 1, false), -EINVAL);
    EXPECT(spool_select_remove(sel, INT_MIN), -EINVAL);
    EXPECT(spool_select_remove(NULL, 0), -EINVAL);
    EXPECT(spool_select_set_order(sel, (enum spool_order)7), -EINVAL);
    if (sel)
        EXPECT(spool_select_fd(sel, -1, EPOLLIN), -EBADF);
    EXPECT_TRUE(is_untouched(elem, sizeof elem));
}

/* ---- A program ------------------------------------------------------------------------------------------------ */

static void do_call(struct input *in)
{
    uint8_t what = take(in) % 42;
    int end = what < 26 && what > 1 ? pick_end(in) : 0;
    if (end < 0)
        what = 0;
    switch (what) {
    case 0:
    case 1:
        new_chan(in);
        break;
    case 2:
        if (end_of(end)->refs < 3) {
            CALL("spool_ref(end %lld)", end);
            EXPECT_TRUE(spool_ref(end_of(end)->handle) == end_of(end)->handle);
            end_of(end)->refs++;
        }
        break;
    case 3:
        do_unref(end);
        break;
    case 4:
        if (take(in) % 2)
            do_close(end);
        break;
    case 5:
        do_look(end);
        break;
    case 6:
        do_set_name(end, in);
        break;
    case 7:
        do_set_drop(end, in);
        break;
    case 8:
    case 9:
        do_fd(end);
        break;
    case 10:
    case 11:
        do_put_fd(end);
        break;
    case 12:
        bad_elem(end, in);
        break;
    case 13:
        do_flood(end);
        break;
    case 14:
    case 15:
        do_put_many(end, in);
        break;
    case 16:
    case 17:
        do_get_many(end, in);
        break;
    case 18:
    case 19:
    case 20:
    case 21:
        do_put(end, in);
        break;
    case 22:
    case 23:
    case 24:
    case 25:
        do_get(end, in);
        break;
    case 26:
        do_pipe(in);
        break;
    case 27:
        if (take(in) % 2)
            bad_new(in);
        else
            bad_select(in);
        break;
    default:
        do_select(in);
    }
}

/* The descriptors that are open, of as many as a program can have. */
static void list_fds(bool open[static 128])
{
    for (int fd = 0; fd < 128; fd++)
        open[fd] = fcntl(fd, F_GETFD) >= 0;
}

static void run_alone(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    bool were_open[128], are_open[128];
    list_fds(were_open);
    memset(&alone, 0, sizeof alone);
    memset(sels, 0, sizeof sels);
    memset(pipes, 0, sizeof pipes);
    for (int i = 0; i < PIPES; i++)
        EXPECT(pipe2(pipes[i].fds, O_NONBLOCK | O_CLOEXEC), 0);
    while (input_left(&in)) {
        do_call(&in);
        EXPECT(drops.end, -1);
    }
    for (int i = 0; i < SELECTS; i++)
        do_free(&sels[i]);
    for (int end = 0; end < ENDS; end++)
        while (end_of(end)->refs > 0)
            do_unref(end);
    for (int i = 0; i < CHANS; i++)
        EXPECT(alone.chans[i].kind, NO_CHAN);
    for (int i = 0; i < PIPES; i++) {
        close(pipes[i].fds[0]);
        close(pipes[i].fds[1]);
    }
    list_fds(are_open);
    for (int fd = 0; fd < 128; fd++)
        EXPECT(are_open[fd] ? fd : -1, were_open[fd] ? fd : -1);
}

#endif
