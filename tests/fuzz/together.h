/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_FUZZ_TOGETHER_H
#define SPOOL_FUZZ_TOGETHER_H

/* Programs of two threads, which call at the same time what cannot block for ever; the history is checked afterwards.
 */

#include "fuzz/history.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

enum { T_CHANS = 2, T_OPS = 7, T_BATCH = 3, T_CASES = 3 };

enum op_kind { TRY_PUT, TRY_GET, PUT_FOR, GET_FOR, PUT_MANY, GET_MANY, SELECT, CLOSE, LOOK, ASK_FD, OP_KINDS };

struct op {
    enum op_kind kind;
    int end;         /* chan * 2 + which end of a pair */
    int64_t timeout; /* ns; 0 tries */
    unsigned pause;  /* turns of a loop before it */
    unsigned n;      /* of a batch */
};

static struct together {
    struct {
        spool_chan *ends[2];
        int n_ends;
        size_t elem_size, capacity;
    } chans[T_CHANS];
    int n_chans;
    bool drops; /* in place of draining */
    struct state initial;
    struct side {
        struct op ops[T_OPS];
        int n;
        spool_select *sel;
        struct {
            int end;
            bool put, gone;
            uint8_t elem[ELEM_MAX];
        } cases[T_CASES];
        int n_cases;
        uint16_t next_tag;
        uint8_t buf[T_BATCH * ELEM_MAX];
    } sides[THREADS];
    _Atomic uint64_t clock;
    _Atomic int arrived;
} together;

static int lane_in(int end)
{
    return together.chans[end / 2].n_ends == 2 ? end : end / 2 * 2;
}

static int lane_out(int end)
{
    return together.chans[end / 2].n_ends == 2 ? end ^ 1 : end / 2 * 2;
}

static spool_chan *handle_of(int end)
{
    return together.chans[end / 2].ends[together.chans[end / 2].n_ends == 2 ? end % 2 : 0];
}

static size_t size_of(int end)
{
    return together.chans[end / 2].elem_size;
}

/* The tag in an element; a byte tells few of them apart, but more than one program has. */
static uint16_t tag_of(const void *elem, size_t size)
{
    const uint8_t *p = elem;
    uint16_t tag = (uint16_t)(p[0] | (size > 1 ? p[1] << 8 : 0));
    EXPECT_TRUE(elem_is(elem, size, tag));
    return tag;
}

/* ---- Recording ------------------------------------------------------------------------------------------------ */

static uint64_t stamp(void)
{
    return atomic_fetch_add(&together.clock, 1);
}

/* Which of a side's events is the next. Threads have their own, and look at nothing that the other writes. */
static struct event *record(int t, enum event_kind kind, int lane, int result, uint64_t begin, uint64_t end)
{
    EXPECT_TRUE(history.n[t] < EVENTS_MAX);
    struct event *e = &history.events[t][history.n[t]++];
    *e = (struct event){.kind = kind, .lane = lane, .result = result, .begin = begin, .end = end};
    return e;
}

/* n elements were put, from the next tag on, or got into elems; or else ret is an error. */
static void record_moves(int t, const struct op *op, bool put, const uint8_t *elems, long long ret, uint64_t begin,
                         uint64_t end)
{
    struct side *s = &together.sides[t];
    int lane = put ? lane_out(op->end) : lane_in(op->end);
    size_t size = size_of(op->end);
    for (long long i = 0; i < ret; i++) {
        struct event *e = record(t, put ? DID_PUT : DID_GET, lane, 0, begin, end);
        e->tag = put ? (uint16_t)(s->next_tag + i) : tag_of(elems + (size_t)i * size, size);
        /* A batch of gets waits for the first only. */
        e->is_try = op->timeout == 0 || (i > 0 && !put);
    }
    if (ret < 0) {
        EXPECT_TRUE(ret == -EPIPE || ret == (op->timeout ? -ETIMEDOUT : -EAGAIN));
        int result = ret == -EPIPE ? -EPIPE : -EAGAIN;
        record(t, put ? DID_PUT : DID_GET, lane, result, begin, end)->is_try = op->timeout == 0;
    } else if (ret < op->n) {
        record(t, put ? COULD_NOT_PUT : COULD_NOT_GET, lane, 0, begin, end);
    }
    s->next_tag = (uint16_t)(s->next_tag + op->n);
}

static void fill(int t, const struct op *op)
{
    for (unsigned i = 0; i < op->n; i++)
        elem_fill(together.sides[t].buf + i * size_of(op->end), size_of(op->end),
                  (uint16_t)(together.sides[t].next_tag + i));
}

/* ---- Operations ----------------------------------------------------------------------------------------------- */

static void do_move(int t, const struct op *op)
{
    struct side *s = &together.sides[t];
    spool_chan *chan = handle_of(op->end);
    bool put = op->kind == TRY_PUT || op->kind == PUT_FOR || op->kind == PUT_MANY;
    long long ret = 0;
    if (put)
        fill(t, op);
    else
        memset(s->buf, UNTOUCHED, sizeof s->buf);
    int64_t before = now_ns();
    uint64_t begin = stamp();
    switch (op->kind) {
    case TRY_PUT:
        ret = spool_try_put(chan, s->buf);
        break;
    case TRY_GET:
        ret = spool_try_get(chan, s->buf);
        break;
    case PUT_FOR:
        ret = spool_put_for(chan, s->buf, op->timeout);
        break;
    case GET_FOR:
        ret = spool_get_for(chan, s->buf, op->timeout);
        break;
    case PUT_MANY:
        ret = spool_put_many(chan, s->buf, op->n, op->timeout);
        break;
    default:
        ret = spool_get_many(chan, s->buf, op->n, op->timeout);
    }
    uint64_t end = stamp();
    if (ret == -ETIMEDOUT)
        EXPECT_TRUE(now_ns() - before >= op->timeout);
    if (ret == 0)
        ret = 1;
    if (!put) {
        size_t moved = ret > 0 ? (size_t)ret * size_of(op->end) : 0;
        EXPECT_TRUE(is_untouched(s->buf + moved, sizeof s->buf - moved));
    }
    record_moves(t, op, put, s->buf, ret, begin, end);
}

static void do_select_of(int t, const struct op *op)
{
    struct side *s = &together.sides[t];
    uint8_t gets = 0, puts = 0;
    int on = 0;
    for (int i = 0; i < s->n_cases; i++) {
        if (s->cases[i].gone)
            continue;
        on++;
        if (s->cases[i].put)
            puts |= (uint8_t)(1 << lane_out(s->cases[i].end));
        else
            gets |= (uint8_t)(1 << lane_in(s->cases[i].end));
        if (s->cases[i].put)
            elem_fill(s->cases[i].elem, size_of(s->cases[i].end), s->next_tag);
        else
            memset(s->cases[i].elem, UNTOUCHED, ELEM_MAX);
    }
    uint64_t begin = stamp();
    int index = spool_select_wait(s->sel, op->timeout);
    uint64_t end = stamp();
    for (int i = 0; i < s->n_cases; i++)
        if (!s->cases[i].gone && !s->cases[i].put && i != index)
            EXPECT_TRUE(is_untouched(s->cases[i].elem, ELEM_MAX));
    if (index < 0) {
        EXPECT(index, on == 0 ? -ENODATA : op->timeout ? -ETIMEDOUT : -EAGAIN);
        if (on > 0) {
            struct event *e = record(t, NONE_READY, 0, 0, begin, end);
            e->gets = gets;
            e->puts = puts;
        }
        return;
    }
    EXPECT_TRUE(index < s->n_cases && !s->cases[index].gone);
    int result = spool_select_result(s->sel, index);
    EXPECT_TRUE(result == 0 || result == -EPIPE);
    struct op one = {.end = s->cases[index].end, .timeout = op->timeout, .n = 1};
    s->cases[index].gone = result == -EPIPE;
    record_moves(t, &one, s->cases[index].put, s->cases[index].elem, result == 0 ? 1 : result, begin, end);
}

static void do_op(int t, const struct op *op)
{
    spool_chan *chan = handle_of(op->end);
    for (unsigned i = 0; i < op->pause; i++)
        atomic_signal_fence(memory_order_seq_cst);
    uint64_t begin, end;
    int ret;
    switch (op->kind) {
    case CLOSE:
        begin = stamp();
        ret = spool_close(chan);
        end = stamp();
        record(t, DID_CLOSE, lane_in(op->end), ret, begin, end);
        return;
    case LOOK:
        begin = stamp();
        ret = op->n % 2 ? (int)spool_len(chan) : spool_alive(chan);
        end = stamp();
        record(t, op->n % 2 ? LOOKED_LEN : LOOKED_ALIVE, lane_in(op->end), ret, begin, end);
        return;
    case ASK_FD:
        ret = op->n % 2 ? spool_fd(chan) : spool_put_fd(chan);
        EXPECT_TRUE(ret >= 0 && ret == (op->n % 2 ? spool_fd(chan) : spool_put_fd(chan)));
        return;
    case SELECT:
        do_select_of(t, op);
        return;
    default:
        do_move(t, op);
    }
}

/* Both begin at about the same time; with one processor the other has to be let run. */
static void run_side(int t)
{
    atomic_fetch_add(&together.arrived, 1);
    for (unsigned turns = 0; atomic_load(&together.arrived) < THREADS; turns++)
        if (turns > 2000)
            sched_yield();
    for (int i = 0; i < together.sides[t].n; i++)
        do_op(t, &together.sides[t].ops[i]);
}

/* ---- The other thread ----------------------------------------------------------------------------------------- */

static struct {
    pthread_t thread;
    sem_t go, done;
    bool is_started;
} helper;

static void wait_sem(sem_t *sem)
{
    while (sem_wait(sem) < 0)
        ;
}

_Noreturn static void *help(void *arg)
{
    (void)arg;
    for (;;) {
        wait_sem(&helper.go);
        run_side(1);
        sem_post(&helper.done);
    }
}

static void run_both(void)
{
    if (!helper.is_started) {
        EXPECT(sem_init(&helper.go, 0, 0), 0);
        EXPECT(sem_init(&helper.done, 0, 0), 0);
        EXPECT(pthread_create(&helper.thread, NULL, help, NULL), 0);
        helper.is_started = true;
    }
    sem_post(&helper.go);
    run_side(0);
    wait_sem(&helper.done);
}

/* ---- A program ------------------------------------------------------------------------------------------------ */

static void new_shared(struct input *in)
{
    static const size_t capacities[] = {1, 2, SPOOL_UNBOUNDED, 0, 3, 1};
    static const uint8_t sizes[] = {8, 24, 4, 1, ELEM_MAX, 12, 2};
    uint8_t how = take(in);
    int i = together.n_chans++;
    together.chans[i].n_ends = how & 1 ? 2 : 1;
    together.chans[i].capacity = capacities[how / 2 % COUNT(capacities)];
    together.chans[i].elem_size = sizes[take(in) % COUNT(sizes)];
    spool_chan **ends = together.chans[i].ends;
    CALL("new channel %lld: ends %lld, elem_size %lld, capacity %lld", i, together.chans[i].n_ends,
         (long long)together.chans[i].elem_size, (long long)together.chans[i].capacity);
    if (together.chans[i].n_ends == 1)
        EXPECT(spool_chan_new(&ends[0], together.chans[i].elem_size, together.chans[i].capacity), 0);
    else
        EXPECT(spool_pair_new(&ends[0], &ends[1], together.chans[i].elem_size, together.chans[i].capacity), 0);
    for (int l = 2 * i; l < 2 * i + 2; l++) {
        together.initial.lanes[l] = (struct model){.capacity = together.chans[i].capacity};
        together.initial.twin[l] = (int8_t)(together.chans[i].n_ends == 2 ? l ^ 1 : l);
    }
}

static void decode_side(int t, struct input *in)
{
    /* Closing is rare: it ends most of what could happen. */
    static const uint8_t kinds[] = {TRY_PUT, TRY_GET, PUT_FOR, GET_FOR, PUT_MANY, GET_MANY, SELECT, SELECT, LOOK,
                                    TRY_PUT, TRY_GET, PUT_FOR, GET_FOR, TRY_PUT,  TRY_GET,  ASK_FD, CLOSE};
    struct side *s = &together.sides[t];
    int ends = 2 * together.n_chans;
    s->next_tag = (uint16_t)(t * 128);
    EXPECT(spool_select_new(&s->sel), 0);
    int n_cases = take(in) % (T_CASES + 1);
    for (int i = 0; i < n_cases; i++) {
        uint8_t how = take(in);
        s->cases[i].put = how & 1;
        s->cases[i].end = how / 2 % ends;
        spool_chan *chan = handle_of(s->cases[i].end);
        CALL("thread %lld: case %lld of its select: put %lld, end %lld", t, i, s->cases[i].put, s->cases[i].end);
        EXPECT(s->cases[i].put ? spool_select_put(s->sel, chan, s->cases[i].elem)
                               : spool_select_get(s->sel, chan, s->cases[i].elem),
               i);
    }
    s->n_cases = n_cases;
    uint8_t how_it_is = take(in);
    if (how_it_is % 4 == 0)
        EXPECT(spool_select_set_order(s->sel, SPOOL_IN_ORDER), 0);
    if (how_it_is & 4)
        EXPECT_TRUE(spool_select_poll_fd(s->sel) >= 0);
    for (s->n = 0; s->n < T_OPS && input_left(in); s->n++) {
        struct op *op = &s->ops[s->n];
        uint8_t what = take(in), how = take(in);
        op->kind = (enum op_kind)kinds[what % COUNT(kinds)];
        op->end = how % 4 % ends;
        op->pause = how / 4 % 8 * 40;
        op->n = op->kind == PUT_MANY || op->kind == GET_MANY ? 2 + what / 32 % (T_BATCH - 1) : 1;
        if (op->kind == LOOK || op->kind == ASK_FD)
            op->n = what / 32;
        bool waits = op->kind == PUT_FOR || op->kind == GET_FOR || (op->kind == SELECT && what & 128) ||
                     (op->kind == PUT_MANY && what & 128) || (op->kind == GET_MANY && what & 128);
        op->timeout = waits ? 1000 + how / 32 * 10000 : 0;
        CALL("thread %lld: op %lld, end %lld, n %lld, timeout %lld", t, op->kind, op->end, op->n, op->timeout);
    }
}

static int dropping = -1; /* the lane */

static void note_left(int lane, const void *elem, size_t size)
{
    history.left[lane][history.n_left[lane]++] = tag_of(elem, size);
}

static void on_together_drop(void *elem)
{
    EXPECT_TRUE(dropping >= 0);
    note_left(dropping, elem, together.chans[dropping / 2].elem_size);
}

static bool is_ready(int end, bool put)
{
    spool_chan *chan = handle_of(end);
    size_t capacity = spool_capacity(chan);
    if (!spool_alive(chan))
        return true;
    if (!put)
        return spool_len(chan) > 0;
    /* What it puts into is what comes in at the other end. */
    return capacity > 0 && spool_len(handle_of(together.chans[end / 2].n_ends == 2 ? end ^ 1 : end)) < capacity;
}

/* When nothing goes on any more, descriptors and selects show what would not block; also those asked for before. */
static void check_quiet(int end)
{
    int fd = spool_fd(handle_of(end)), put_fd = spool_put_fd(handle_of(end));
    EXPECT_TRUE(fd >= 0 && put_fd >= 0);
    if (is_ready(end, false))
        EXPECT_TRUE(fd_readable(fd));
    if (is_ready(end, true))
        EXPECT_TRUE(fd_readable(put_fd));
}

static void check_select(const struct side *s)
{
    bool ready = true;
    for (int i = 0; i < s->n_cases; i++)
        ready = ready && s->cases[i].gone;
    for (int i = 0; i < s->n_cases; i++)
        ready = ready || (!s->cases[i].gone && is_ready(s->cases[i].end, s->cases[i].put));
    if (ready)
        EXPECT_TRUE(fd_readable(spool_select_poll_fd(s->sel)));
}

/* Takes what is left out of each lane: by getting, or by dropping the last reference. */
static void finish_lane(int end)
{
    uint8_t elem[ELEM_MAX];
    spool_chan *chan = handle_of(end);
    int lane = lane_in(end), ret;
    history.was_closed[lane] = !spool_alive(chan);
    history.was_dropped[lane] = together.drops;
    while (!together.drops && (ret = spool_try_get(chan, elem)) != -EAGAIN) {
        if (ret == -EPIPE) {
            EXPECT_TRUE(history.was_closed[lane]);
            break;
        }
        EXPECT(ret, 0);
        note_left(lane, elem, size_of(end));
    }
}

static void finish_all(void)
{
    for (int t = 0; t < THREADS; t++)
        check_select(&together.sides[t]);
    for (int i = 0; i < 2 * together.n_chans; i++)
        check_quiet(i);
    for (int i = 0; i < together.n_chans; i++)
        for (int e = 0; e < together.chans[i].n_ends; e++)
            finish_lane(2 * i + e);
    for (int t = 0; t < THREADS; t++)
        spool_select_free(together.sides[t].sel);
    for (int i = 0; i < together.n_chans; i++) {
        EXPECT(spool_set_drop(together.chans[i].ends[0], on_together_drop), 0);
        for (int e = 0; e < together.chans[i].n_ends; e++) {
            dropping = lane_in(2 * i + e);
            EXPECT_TRUE(spool_unref(together.chans[i].ends[e]) == NULL);
        }
    }
    dropping = -1;
}

static void run_together(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    uint8_t how = take(&in);
    memset(&together, 0, sizeof together);
    memset(&history, 0, sizeof history);
    for (int l = 0; l < LANES; l++)
        together.initial.twin[l] = (int8_t)l;
    together.drops = how & 1;
    for (int n = how & 2 ? 2 : 1; n > 0; n--)
        new_shared(&in);
    for (int i = 0; i < together.n_chans; i++) {
        for (int e = 0; e < 2; e++) {
            if ((how >> (2 + e)) & 1)
                EXPECT_TRUE(spool_fd(handle_of(2 * i + e)) >= 0);
            if ((how >> (4 + e)) & 1)
                EXPECT_TRUE(spool_put_fd(handle_of(2 * i + e)) >= 0);
        }
    }
    struct input half = {in.at, in.at + (in.end - in.at) / 2};
    in.at = half.end;
    decode_side(0, &half);
    decode_side(1, &in);
    run_both();
    finish_all();
    if (is_linearizable(&together.initial))
        return;
    print_history(&together.initial);
    fuzz_fail(__FILE__, __LINE__, "linearizable", 0, 1);
}

#endif
