/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* A select against a model of it, one random step after the other; and what a wait costs. */
#include "select_util.h"

enum { M_CHANS = 4, M_PIPES = 2, M_CASES = 10 };
enum m_kind { M_NONE, M_GET, M_PUT, M_FD };

static struct {
    struct {
        spool_chan *chan;
        bool closed;
        uint64_t first, next; /* holds the numbers from first up to next */
    } chans[M_CHANS];
    struct {
        int fds[2];
        int bytes;
    } pipes[M_PIPES];
    struct {
        enum m_kind kind;
        int target;
        bool null, on;
        uint64_t elem;
    } cases[M_CASES];
    bool in_order;
} model;

static bool m_full(int c)
{
    return model.chans[c].next - model.chans[c].first == spool_capacity(model.chans[c].chan);
}

static bool m_empty(int c)
{
    return model.chans[c].next == model.chans[c].first;
}

static bool m_ready(int i)
{
    int target = model.cases[i].target;
    if (!model.cases[i].on)
        return false;
    switch (model.cases[i].kind) {
    case M_GET:
        return !m_empty(target) || model.chans[target].closed;
    case M_PUT:
        return !m_full(target) || model.chans[target].closed;
    case M_FD:
        return model.pipes[target].bytes > 0;
    default:
        return false;
    }
}

static void m_new_chan(int c, uint64_t *rng)
{
    /* One thread alone: a rendezvous is full and empty at once. */
    const size_t capacities[] = {1, 2, 3, SPOOL_UNBOUNDED, 0};
    model.chans[c].chan = chan_of(capacities[rnd(rng) % COUNT(capacities)]);
    model.chans[c].closed = false;
    model.chans[c].next = model.chans[c].first;
}

static void m_add(spool_select *sel, uint64_t *rng)
{
    int i = 0, target;
    while (i < M_CASES && model.cases[i].kind)
        i++;
    if (i == M_CASES)
        return;
    model.cases[i].kind = (enum m_kind)(M_GET + rnd(rng) % 3);
    model.cases[i].on = true;
    model.cases[i].null = rnd(rng) % 3 == 0;
    model.cases[i].target = target = (int)(rnd(rng) % (model.cases[i].kind == M_FD ? M_PIPES : M_CHANS));
    uint64_t *elem = model.cases[i].null ? NULL : &model.cases[i].elem;
    if (model.cases[i].kind == M_GET)
        must_be(spool_select_get(sel, model.chans[target].chan, elem), i);
    else if (model.cases[i].kind == M_PUT)
        must_be(spool_select_put(sel, model.chans[target].chan, elem), i);
    else
        must_be(spool_select_fd(sel, model.pipes[target].fds[0], EPOLLIN), i);
}

static void m_remove(spool_select *sel, int i)
{
    must_be(spool_select_remove(sel, i), model.cases[i].kind ? 0 : -EINVAL);
    model.cases[i].kind = M_NONE;
    model.cases[i].on = false;
}

static void m_enable(spool_select *sel, int i, bool on)
{
    must_be(spool_select_enable(sel, i, on), model.cases[i].kind ? 0 : -EINVAL);
    if (model.cases[i].kind)
        model.cases[i].on = on;
}

/* A channel's turn: a put or get from outside, rarely a close, and a new one in place of a closed one. */
static void m_touch_chan(spool_select *sel, int c, uint64_t *rng)
{
    bool closed = model.chans[c].closed;
    uint64_t value = 0, what = rnd(rng) % 40;
    if (what < 20) {
        must_be(spool_try_put(model.chans[c].chan, &model.chans[c].next), closed ? -EPIPE : m_full(c) ? -EAGAIN : 0);
        model.chans[c].next += !closed && !m_full(c);
    } else if (what < 37) {
        must_be(spool_try_get(model.chans[c].chan, &value), !m_empty(c) ? 0 : closed ? -EPIPE : -EAGAIN);
        if (!m_empty(c))
            must_be(value, model.chans[c].first++);
    } else if (what < 38) {
        must_be(spool_close(model.chans[c].chan), closed ? -EALREADY : 0);
        model.chans[c].closed = true;
    } else if (closed) {
        for (int i = 0; i < M_CASES; i++)
            if (model.cases[i].kind && model.cases[i].kind != M_FD && model.cases[i].target == c)
                m_remove(sel, i);
        spool_unref(model.chans[c].chan);
        m_new_chan(c, rng);
    }
}

static void m_touch_pipe(int p, uint64_t *rng)
{
    if (rnd(rng) % 2 == 0 && model.pipes[p].bytes < 3) {
        write_byte(model.pipes[p].fds[1]);
        model.pipes[p].bytes++;
    } else if (model.pipes[p].bytes) {
        read_byte(model.pipes[p].fds[0]);
        model.pipes[p].bytes--;
    }
}

static void m_perform(spool_select *sel, int i)
{
    int c = model.cases[i].target, result = spool_select_result(sel, i);
    if (model.cases[i].kind == M_FD) {
        must_be(result, EPOLLIN);
        return;
    }
    if (model.chans[c].closed && (model.cases[i].kind == M_PUT || m_empty(c))) {
        must_be(result, -EPIPE);
        model.cases[i].kind = M_NONE;
        return;
    }
    must_be(result, 0);
    if (model.cases[i].null)
        return;
    if (model.cases[i].kind == M_PUT)
        model.chans[c].next++;
    else
        must_be(model.cases[i].elem, model.chans[c].first++);
}

static void m_wait(spool_select *sel, uint64_t *rng)
{
    int ready = 0, lowest = -1, on = 0;
    for (int i = 0; i < M_CASES; i++) {
        on += model.cases[i].kind && model.cases[i].on;
        if (model.cases[i].kind && m_ready(i)) {
            ready++;
            lowest = lowest < 0 ? i : lowest;
        }
        model.cases[i].elem = model.cases[i].kind == M_PUT ? model.chans[model.cases[i].target].next : UINT64_MAX;
    }
    if (ready || !on)
        must(fd_readable(spool_select_poll_fd(sel)));
    int index = spool_select_wait(sel, ready && rnd(rng) % 2 ? -1 : 0);
    if (!ready) {
        must_be(index, on ? -EAGAIN : -ENODATA);
        must_be(fd_readable(spool_select_poll_fd(sel)), !on);
        return;
    }
    must(index >= 0 && index < M_CASES && m_ready(index));
    if (model.in_order)
        must_be(index, lowest);
    m_perform(sel, index);
}

START_TEST(agrees_with_a_model)
{
    uint64_t rng = UINT64_C(0x1234567) + (uint64_t)_i;
    spool_select *sel = select_of();
    for (int c = 0; c < M_CHANS; c++)
        m_new_chan(c, &rng);
    for (int p = 0; p < M_PIPES; p++)
        pipe_of(model.pipes[p].fds);
    for (size_t step = scaled(100000); step; step--) {
        uint64_t what = rnd(&rng) % 100;
        int i = (int)(rnd(&rng) % M_CASES);
        if (what < 8)
            m_add(sel, &rng);
        else if (what < 12)
            m_remove(sel, i);
        else if (what < 20)
            m_enable(sel, i, rnd(&rng) % 3 > 0);
        else if (what < 60)
            m_touch_chan(sel, (int)(rnd(&rng) % M_CHANS), &rng);
        else if (what < 68)
            m_touch_pipe((int)(rnd(&rng) % M_PIPES), &rng);
        else if (what < 99)
            m_wait(sel, &rng);
        else
            must_be(spool_select_set_order(sel, (model.in_order = rnd(&rng) % 2) ? SPOOL_IN_ORDER : SPOOL_FAIR), 0);
    }
    spool_select_free(sel);
    for (int c = 0; c < M_CHANS; c++)
        spool_unref(model.chans[c].chan);
    for (int p = 0; p < M_PIPES; p++)
        close_both(model.pipes[p].fds);
}
END_TEST

static int put_in_a_row(struct worker *w)
{
    for (uint64_t i = 0; i < w->count; i++)
        must_be(spool_put(w->chan, &i), 0);
    return 0;
}

static double cost_of_a_wait(int registered, size_t waits, size_t capacity)
{
    struct worker w = {.count = waits};
    spool_select *sel = select_of();
    spool_chan **chans = calloc((size_t)registered, sizeof(*chans));
    uint64_t value = 0;
    must(chans);
    for (int i = 0; i < registered; i++) {
        chans[i] = chan_of(capacity);
        must_be(spool_select_get(sel, chans[i], &value), i);
    }
    int active = registered / 2;
    must_be_quiet(sel);
    w.chan = chans[active];
    int64_t start = now_ns();
    if (capacity == 0)
        worker_start(&w, put_in_a_row);
    for (size_t i = 0; i < waits; i++) {
        if (capacity > 0)
            put(chans[active], i);
        must_be(spool_select_wait(sel, -1), active);
        must_be(value, i);
    }
    double cost = (double)(now_ns() - start) / (double)waits;
    if (capacity == 0)
        must_be(worker_join(&w), 0);
    must_be_quiet(sel);
    spool_select_free(sel);
    for (int i = 0; i < registered; i++)
        spool_unref(chans[i]);
    free(chans);
    return cost;
}

/* It says what it measured; a time is no reason to fail. */
START_TEST(cost_goes_by_what_is_ready)
{
    int registered = 10000;
    struct rlimit limit;
    must_be(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < 10100) {
        limit.rlim_cur = 10100;
        limit.rlim_max = limit.rlim_max < 10100 ? 10100 : limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        must_be(getrlimit(RLIMIT_NOFILE, &limit), 0);
    }
    if (limit.rlim_cur < 10100) {
        registered = (int)limit.rlim_cur - 50;
        printf("only %d channels: the limit is %ld descriptors\n", registered, (long)limit.rlim_cur);
    }
    const struct {
        const char *name;
        size_t capacity;
    } kinds[] = {{"bounded", 1}, {"unbounded", SPOOL_UNBOUNDED}, {"rendezvous", 0}};
    for (size_t i = 0; i < COUNT(kinds); i++) {
        size_t waits = scaled(kinds[i].capacity ? 100000 : 20000);
        double few = cost_of_a_wait(2, waits, kinds[i].capacity);
        double many = cost_of_a_wait(registered, waits, kinds[i].capacity);
        printf("put and wait, %s: %.0f ns with 2 channels registered, %.0f ns with %d, ratio %.2f\n", kinds[i].name, few,
               many, registered, many / few);
        fflush(stdout);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("select_model");
    TCase *tc = case_new(suite, "model");
    tcase_add_loop_test(tc, agrees_with_a_model, 0, 6);
    tc = case_new(suite, "cost");
    tcase_add_test(tc, cost_goes_by_what_is_ready);
    return run_suite(suite, "select_model");
}
