/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_FUZZ_ALONE_SELECT_H
#define SPOOL_FUZZ_ALONE_SELECT_H

/* Programs of one thread: the selects. Which of the ready cases a fair one takes is its choice; the model follows. */

#include "fuzz/alone.h"

enum { SELECTS = 2, CASES = 8, PIPES = 2, PIPE_BYTES = 3 };
enum case_kind { FREE, GET, PUT, FD_IN, FD_OUT, FD_ONCE };

struct sel_case {
    enum case_kind kind;
    int target; /* an end, or a pipe */
    bool on, has_elem;
    bool spent; /* FD_ONCE: was returned, and not enabled again */
    bool seen;  /* FD_ONCE: was ready since it was armed, which the kernel may have told the select */
    bool given; /* the index was in use once */
    bool knows_result;
    int result;
    uint16_t tag;
    uint8_t elem[ELEM_MAX + 1];
};

static struct sel {
    spool_select *handle;
    bool in_order;
    int fd; /* of spool_select_poll_fd, or 0 */
    struct sel_case cases[CASES];
} sels[SELECTS];

static struct pipe_end {
    int fds[2];
    int bytes;
} pipes[PIPES];

static bool is_fd_case(const struct sel_case *k)
{
    return k->kind >= FD_IN;
}

static enum ready case_ready(const struct sel_case *k)
{
    if (k->kind == FREE || !k->on)
        return NO;
    switch (k->kind) {
    case GET:
        return can_get(k->target);
    case PUT:
        return can_put(k->target);
    case FD_OUT:
        return YES;
    case FD_ONCE:
        if (k->spent)
            return NO;
        return pipes[k->target].bytes > 0 ? YES : k->seen ? MAYBE : NO;
    default:
        return pipes[k->target].bytes > 0 ? YES : NO;
    }
}

/* What a wait of this select comes to: NO also when it would say -EAGAIN, YES also for -ENODATA. */
static enum ready sel_ready(const struct sel *s, int *ret_lowest, int *ret_on)
{
    enum ready ready = NO;
    *ret_lowest = CASES;
    *ret_on = 0;
    for (int i = 0; i < CASES; i++) {
        enum ready r = case_ready(&s->cases[i]);
        *ret_on += s->cases[i].kind != FREE && s->cases[i].on;
        if (r == YES && *ret_lowest == CASES)
            *ret_lowest = i;
        if (r > ready)
            ready = r;
    }
    return *ret_on == 0 ? YES : ready;
}

/* ---- Cases ---------------------------------------------------------------------------------------------------- */

/* A case is gone, and with it perhaps the last reference: call before and after the library drops it. */
static bool before_case_goes(const struct sel_case *k)
{
    bool last = !is_fd_case(k) && is_last_ref(k->target);
    if (last)
        before_last_ref(k->target);
    return last;
}

static void after_case_went(struct sel_case *k, bool last)
{
    if (!is_fd_case(k))
        end_of(k->target)->cases--;
    if (last)
        after_last_ref(k->target);
    k->kind = FREE;
    k->on = false;
}

static void do_add(struct sel *s, struct input *in)
{
    int i = 0;
    uint8_t how = take(in);
    enum case_kind kind = (enum case_kind)(GET + how % 8 % 5);
    bool fd = kind >= FD_IN;
    int target = fd ? take(in) % PIPES : pick_end(in);
    while (i < CASES && s->cases[i].kind != FREE)
        i++;
    if (i == CASES || target < 0)
        return;
    struct sel_case *k = &s->cases[i];
    bool has_elem = how & 8 || how & 16;
    uint8_t *elem = has_elem ? k->elem : NULL;
    CALL("add case to select %lld: kind %lld, target %lld, elem %lld", s - sels, kind, target, has_elem);
    int ret;
    if (kind == GET)
        ret = spool_select_get(s->handle, end_of(target)->handle, elem);
    else if (kind == PUT)
        ret = spool_select_put(s->handle, end_of(target)->handle, elem);
    else
        ret = spool_select_fd(s->handle, pipes[target].fds[kind == FD_OUT],
                              kind == FD_OUT  ? EPOLLOUT
                              : kind == FD_IN ? EPOLLIN
                                              : EPOLLIN | EPOLLONESHOT);
    note_result(ret);
    if (kind == PUT && is_source(chan_of(target))) {
        EXPECT(ret, -EOPNOTSUPP);
        return;
    }
    EXPECT(ret, i);
    *k = (struct sel_case){.kind = kind, .target = target, .on = true, .has_elem = has_elem, .given = true};
    k->knows_result = true;
    k->seen = kind == FD_ONCE && pipes[target].bytes > 0;
    if (!fd)
        end_of(target)->cases++;
}

static void do_remove(struct sel *s, int i)
{
    struct sel_case *k = &s->cases[i];
    bool there = k->kind != FREE, last = there && before_case_goes(k);
    CALL("spool_select_remove(select %lld, %lld)", s - sels, i);
    EXPECT(note_result(spool_select_remove(s->handle, i)), there ? 0 : -EINVAL);
    if (!there)
        return;
    k->knows_result = false;
    after_case_went(k, last);
}

static void do_enable(struct sel *s, int i, bool on)
{
    struct sel_case *k = &s->cases[i];
    CALL("spool_select_enable(select %lld, %lld, %lld)", s - sels, i, on);
    EXPECT(note_result(spool_select_enable(s->handle, i, on)), k->kind != FREE ? 0 : -EINVAL);
    if (k->kind == FREE)
        return;
    k->on = on;
    if (on)
        k->spent = false;
    k->seen = k->seen || (on && k->kind == FD_ONCE && pipes[k->target].bytes > 0);
}

static void do_result(const struct sel *s, int i)
{
    const struct sel_case *k = &s->cases[i];
    CALL("spool_select_result(select %lld, %lld)", s - sels, i);
    int ret = (int)note_result(spool_select_result(s->handle, i));
    if (!k->given)
        EXPECT(ret, -EINVAL);
    else if (k->knows_result)
        EXPECT(ret, k->result);
}

/* ---- Waiting -------------------------------------------------------------------------------------------------- */

/* The case that was returned was performed, as the model would have. */
static void check_case(struct sel *s, int i, int64_t before)
{
    struct sel_case *k = &s->cases[i];
    int result = spool_select_result(s->handle, i);
    k->result = result;
    k->knows_result = true;
    if (is_fd_case(k)) {
        EXPECT(result, k->kind == FD_OUT ? EPOLLOUT : EPOLLIN);
        k->spent = k->kind == FD_ONCE;
        k->seen = false;
        return;
    }
    struct chan *c = chan_of(k->target);
    if (k->kind == PUT && result == 0) {
        EXPECT(k->has_elem ? model_put(going_out(k->target), k->tag) : model_can_put(going_out(k->target)), 0);
        EXPECT_TRUE(elem_is(k->elem, c->elem_size, k->tag));
    } else if (k->kind == PUT) {
        EXPECT(result, model_can_put(going_out(k->target)));
    } else if (!k->has_elem) {
        struct model *m = coming_in(k->target);
        if (c->kind != FAST_TICK)
            EXPECT(result, model_can_get(m));
        else
            EXPECT_TRUE(result == 0 || (m->closed && result == -EPIPE));
        c->may_hold = c->may_hold && result == 0;
    } else {
        uint8_t elems[BATCH * ELEM_MAX];
        memset(elems, UNTOUCHED, sizeof elems);
        memcpy(elems, k->elem, c->elem_size);
        check_get(k->target, elems, 1, result == 0 ? 1 : result, 0, before);
    }
}

static void check_untouched(const struct sel *s, int performed)
{
    for (int i = 0; i < CASES; i++) {
        const struct sel_case *k = &s->cases[i];
        if (k->kind == GET && i != performed)
            EXPECT_TRUE(is_untouched(k->elem, sizeof k->elem));
        else if (k->kind == PUT)
            EXPECT_TRUE(elem_is(k->elem, chan_of(k->target)->elem_size, k->tag));
    }
}

/* The last reference to a channel may go in the wait, and then its elements are dropped there. */
static int wait_with_drops(struct sel *s, int64_t timeout)
{
    /* Only a closed channel's case leaves; which of them is the select's choice. */
    drops.n = 0;
    memset(drops.seen, 0, sizeof drops.seen);
    for (int i = 0; i < CASES; i++) {
        const struct sel_case *k = &s->cases[i];
        if (k->kind == PUT && k->on && going_out(k->target)->closed && is_last_ref(k->target))
            drops.end = k->target;
    }
    return spool_select_wait(s->handle, timeout);
}

/* More than one case might end a channel with elements in it: then nobody can tell whose are dropped. */
static bool is_ambiguous(const struct sel *s)
{
    int n = 0;
    for (int i = 0; i < CASES; i++) {
        const struct sel_case *k = &s->cases[i];
        n += k->kind == PUT && k->on && going_out(k->target)->closed && is_last_ref(k->target);
    }
    return n > 1;
}

static void do_wait(struct sel *s, struct input *in)
{
    int lowest, on;
    enum ready ready = sel_ready(s, &lowest, &on);
    int64_t timeout = timeout_of(in, ready != YES);
    if (is_ambiguous(s))
        return;
    for (int i = 0; i < CASES; i++) {
        struct sel_case *k = &s->cases[i];
        if (k->kind == PUT && going_out(k->target)->capacity == SPOOL_UNBOUNDED &&
            model_room(going_out(k->target)) == 0)
            return;
        memset(k->elem, UNTOUCHED, sizeof k->elem);
        if (k->kind == PUT)
            elem_fill(k->elem, chan_of(k->target)->elem_size, k->tag = alone.next_tag++);
    }
    if (s->fd && ready == YES)
        EXPECT_TRUE(fd_readable(s->fd));
    CALL("spool_select_wait(select %lld, timeout %lld)", s - sels, timeout);
    int64_t before = now_ns();
    int i = (int)note_result(wait_with_drops(s, timeout));
    unsigned dropped = drops.n;
    int dropped_from = drops.end;
    drops.end = -1;
    check_untouched(s, i);
    if (i < 0) {
        if (on == 0)
            EXPECT(i, -ENODATA);
        else
            EXPECT(i, ready == YES ? 0 : model_timed(-EAGAIN, timeout));
        if (i == -ETIMEDOUT)
            EXPECT_TRUE(now_ns() - before >= timeout);
        if (s->fd && ready == NO && i == -EAGAIN)
            EXPECT_TRUE(!fd_readable(s->fd));
        return;
    }
    EXPECT_TRUE(i < CASES && case_ready(&s->cases[i]) != NO);
    if (s->in_order)
        EXPECT_TRUE(i <= lowest);
    struct sel_case *k = &s->cases[i];
    check_case(s, i, before);
    bool last = k->result == -EPIPE && is_last_ref(k->target);
    if (dropped > 0)
        EXPECT_TRUE(last && dropped_from == k->target);
    if (k->result != -EPIPE)
        return;
    drops.n = dropped;
    after_case_went(k, last);
}

/* A level that shows without reason is gone after a wait that says -EAGAIN. */
static void do_poll_fd(struct sel *s)
{
    int lowest, on;
    CALL("spool_select_poll_fd(select %lld)", s - sels);
    int fd = (int)note_result(spool_select_poll_fd(s->handle));
    EXPECT_TRUE(fd > 0 && (s->fd == 0 || s->fd == fd));
    s->fd = fd;
    enum ready ready = sel_ready(s, &lowest, &on);
    if (ready == YES)
        EXPECT_TRUE(fd_readable(fd));
    if (ready != NO || !fd_readable(fd))
        return;
    EXPECT(spool_select_wait(s->handle, 0), -EAGAIN);
    EXPECT_TRUE(!fd_readable(fd));
}

static void do_free(struct sel *s)
{
    if (!s->handle)
        return;
    /* One after the other, as the elements of each channel are dropped with its last case. */
    for (int i = 0; i < CASES; i++)
        if (s->cases[i].kind != FREE && !is_fd_case(&s->cases[i]) && end_of(s->cases[i].target)->refs == 0)
            do_remove(s, i);
    CALL("spool_select_free(select %lld)", s - sels);
    EXPECT_TRUE(spool_select_free(s->handle) == NULL);
    for (int i = 0; i < CASES; i++)
        if (s->cases[i].kind != FREE)
            after_case_went(&s->cases[i], false);
    memset(s, 0, sizeof *s);
}

static void do_select(struct input *in)
{
    struct sel *s = &sels[take(in) % 8 == 0];
    if (!s->handle) {
        CALL("spool_select_new(select %lld)", s - sels);
        EXPECT(note_result(spool_select_new(&s->handle)), 0);
    }
    uint8_t what = take(in);
    int i = what / 16 % CASES;
    switch (what % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
        do_add(s, in);
        break;
    case 5:
        do_remove(s, i);
        break;
    case 6:
        do_enable(s, i, false);
        break;
    case 7:
        do_enable(s, i, true);
        break;
    case 8:
        CALL("spool_select_set_order(select %lld, %lld)", s - sels, i % 2);
        s->in_order = i % 2;
        EXPECT(note_result(spool_select_set_order(s->handle, i % 2 ? SPOOL_IN_ORDER : SPOOL_FAIR)), 0);
        break;
    case 9:
        do_poll_fd(s);
        break;
    case 10:
        do_result(s, i);
        break;
    case 11:
        if (i == 0)
            do_free(s);
        break;
    default:
        do_wait(s, in);
    }
}

static void do_pipe(struct input *in)
{
    uint8_t what = take(in);
    struct pipe_end *p = &pipes[what % PIPES];
    char byte = 'x';
    if (what & 2 && p->bytes < PIPE_BYTES) {
        CALL("write into pipe %lld", what % PIPES);
        EXPECT(write(p->fds[1], &byte, 1), 1);
        p->bytes++;
    } else if (p->bytes > 0) {
        CALL("read from pipe %lld", what % PIPES);
        EXPECT(read(p->fds[0], &byte, 1), 1);
        p->bytes--;
    }
    for (int i = 0; p->bytes > 0 && i < SELECTS * CASES; i++) {
        struct sel_case *k = &sels[i / CASES].cases[i % CASES];
        if (k->kind == FD_ONCE && &pipes[k->target] == p && !k->spent)
            k->seen = true;
    }
}

#endif
