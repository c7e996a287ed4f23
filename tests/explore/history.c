/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "explore.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/*
 * Whether what the calls of a run said could have been said by calls made one after the other, each at some moment
 * between its beginning and its end (J. Wing and C. Gong, "Testing and verifying concurrent objects", 1993). The model
 * of a channel is a list and whether it is closed. In a rendezvous a put and a get happen at one moment.
 *
 * A call whose thread has stopped may have happened, or not.
 *
 * A call is before another if it had ended when that began; in weak memory, where that means little, if its end happens
 * before the other's beginning. There, what two threads did not get or put is not compared: by C11 each may have looked
 * before the other's change reached it (independent reads of independent writes), which no processor allows whose
 * stores reach all others at once, as those of x86, arm64 and RISC-V do. So all calls that changed something are
 * explained together with those of one thread that did not, for each thread.
 */

#define CALLS 28
#define CHANS 4
#define CASES 4
#define KNOWN 65536

struct call {
    enum ex_op op;
    int thread, chan, n_cases;
    struct ex_case cases[CASES];
    uint64_t value;
    int result, which;
    bool ended, is_void;
    unsigned began_at, ended_at;
    struct ex_clock begin, end;
};

struct state {
    uint32_t done;
    struct {
        uint8_t n, head;
        bool closed;
        uint8_t value[CALLS];
    } chans[CHANS];
};

static struct call calls[CALLS];
static int n_calls;
static struct {
    bool used;
    size_t capacity;
    int twin;
} chans[CHANS];
static unsigned now;

static uint32_t after[CALLS]; /* the calls that come before each */
static uint64_t seen[4096];   /* states that led nowhere */
static uint64_t known[KNOWN]; /* histories that were found to be good */

void ex_history_reset(void)
{
    n_calls = 0;
    now = 0;
    memset(chans, 0, sizeof chans);
}

void ex_history_chan(int chan, size_t capacity, int twin)
{
    chans[chan].used = true;
    chans[chan].capacity = capacity;
    chans[chan].twin = twin;
}

static struct call *begin(enum ex_op op)
{
    if (n_calls == CALLS)
        ex_fail("more than %d calls", CALLS);
    struct call *c = &calls[n_calls++];
    *c = (struct call){.op = op, .thread = ex_self, .began_at = now++, .begin = ex_clock()};
    return c;
}

int ex_history_begin(enum ex_op op, int chan, uint64_t value)
{
    struct call *c = begin(op);
    c->chan = chan;
    c->value = value;
    return n_calls - 1;
}

int ex_history_begin_select(const struct ex_case *cases, int n)
{
    struct call *c = begin(EX_SELECT);
    c->n_cases = n;
    memcpy(c->cases, cases, (size_t)n * sizeof *cases);
    return n_calls - 1;
}

static void print_call(const struct call *c)
{
    static const char *const names[] = {"put", "get", "close", "len", "alive", "drop", "select"};
    static const struct ex_site site = {"", "", "", "", 0};
    if (c->op == EX_SELECT)
        ex_trace(&site, "==== select: %d, case %d, got %llu", c->result, c->which, (unsigned long long)c->value);
    else
        ex_trace(&site, "==== %s on %d: %d, element %llu", names[c->op], c->chan, c->result,
                 (unsigned long long)c->value);
}

void ex_history_end(int call, int result, uint64_t value, int which)
{
    struct call *c = &calls[call];
    c->result = result;
    if (c->op != EX_PUT && result >= 0)
        c->value = value;
    c->which = which;
    c->ended = true;
    c->ended_at = now++;
    c->end = ex_clock();
    print_call(c);
}

/* It was none after all. */
void ex_history_void(int call)
{
    calls[call].is_void = true;
}

/* ---- The model ------------------------------------------------------------------------------------------------ */

static bool is_ready(const struct state *s, enum ex_op op, int chan)
{
    if (s->chans[chan].closed || chans[chan].capacity == 0)
        return s->chans[chan].closed;
    return op == EX_PUT ? s->chans[chan].n < chans[chan].capacity : s->chans[chan].n > 0;
}

/* A put or get on a queue, by itself or as the case of a select: whether the model says the same. */
static bool apply_one(struct state *s, enum ex_op op, int chan, int result, uint64_t value)
{
    bool closed = s->chans[chan].closed, empty = s->chans[chan].n == 0;
    bool full = s->chans[chan].n >= chans[chan].capacity;
    if (result == -EPIPE)
        return closed && (op == EX_PUT || empty);
    if (result == -EAGAIN || result == -ETIMEDOUT)
        return chans[chan].capacity == 0 || (!closed && (op == EX_PUT ? full : empty));
    if (result == -ENOMEM)
        return op == EX_PUT && ex_scenario->flags & EX_NO_MEMORY;
    if (result != 0)
        return false;
    if (op == EX_PUT) {
        if (closed || full)
            return false;
        s->chans[chan].value[s->chans[chan].head + s->chans[chan].n++] = (uint8_t)value;
        return true;
    }
    if (empty || s->chans[chan].value[s->chans[chan].head] != value)
        return false;
    s->chans[chan].head++;
    s->chans[chan].n--;
    return true;
}

static bool apply(struct state *s, const struct call *c)
{
    int chan = c->chan;
    switch (c->op) {
    case EX_PUT:
    case EX_GET:
        return apply_one(s, c->op, chan, c->result, c->value);
    case EX_DROP: /* of one end: a close, unless somebody was first */
    case EX_CLOSE:
        if (c->op == EX_CLOSE && c->result != (s->chans[chan].closed ? -EALREADY : 0))
            return false;
        s->chans[chan].closed = true;
        if (chans[chan].twin >= 0)
            s->chans[chans[chan].twin].closed = true;
        return true;
    case EX_LEN:
        return (uint64_t)c->result == s->chans[chan].n;
    case EX_ALIVE:
        return c->result == !s->chans[chan].closed;
    case EX_SELECT:
        if (c->result != -EAGAIN && c->result != -ETIMEDOUT) {
            const struct ex_case *k = &c->cases[c->which];
            return apply_one(s, k->op, k->chan, c->result, k->op == EX_PUT ? k->value : c->value);
        }
        for (int i = 0; i < c->n_cases; i++)
            if (is_ready(s, c->cases[i].op, c->cases[i].chan))
                return false;
        return true;
    }
    return false;
}

/* What a call does that has not said so. */
static bool happens(struct state *s, const struct call *c)
{
    struct call done = *c;
    done.result = 0;
    if (c->op == EX_GET)
        done.value = s->chans[c->chan].value[s->chans[c->chan].head];
    return c->op <= EX_CLOSE && apply(s, &done);
}

/* A put (a get) that a rendezvous made happen: its channel, or -1. */
static int met_on(const struct call *c, enum ex_op *ret_op, uint64_t *ret_value)
{
    int chan = c->op == EX_SELECT && c->result == 0 ? c->cases[c->which].chan : c->chan;
    *ret_op = c->op == EX_SELECT && c->result == 0 ? c->cases[c->which].op : c->op;
    *ret_value = *ret_op == EX_PUT && c->op == EX_SELECT && c->result == 0 ? c->cases[c->which].value : c->value;
    return c->result == 0 && *ret_op <= EX_GET && chans[chan].capacity == 0 ? chan : -1;
}

static bool may_be_next(const struct state *s, int i)
{
    return !(s->done >> i & 1) && (after[i] & ~s->done) == 0;
}

static uint64_t hash(const void *p, size_t bytes)
{
    uint64_t h = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ ((const unsigned char *)p)[i]) * UINT64_C(1099511628211);
    return h | 1;
}

static bool was_seen(const struct state *s)
{
    uint64_t h = hash(s, sizeof *s);
    for (size_t i = h % 4096, n = 0; n < 16; i = (i + 1) % 4096, n++) {
        if (seen[i] == h)
            return true;
        if (!seen[i]) {
            seen[i] = h;
            return false;
        }
    }
    return false;
}

static bool explain(const struct state *s)
{
    if (s->done == (UINT32_C(1) << n_calls) - 1)
        return true;
    if (was_seen(s))
        return false;
    for (int i = 0; i < n_calls; i++) {
        enum ex_op op, other;
        uint64_t value, others;
        if (!may_be_next(s, i))
            continue;
        struct state next = *s;
        next.done |= UINT32_C(1) << i;
        if (!calls[i].ended) {
            struct state without = next;
            if ((happens(&next, &calls[i]) && explain(&next)) || explain(&without))
                return true;
            continue;
        }
        int chan = met_on(&calls[i], &op, &value);
        if (chan < 0) {
            if (apply(&next, &calls[i]) && explain(&next))
                return true;
            continue;
        }
        for (int j = 0; op == EX_PUT && !s->chans[chan].closed && j < n_calls; j++) {
            if (!may_be_next(s, j) || met_on(&calls[j], &other, &others) != chan || other != EX_GET ||
                others != value || calls[j].thread == calls[i].thread)
                continue;
            struct state both = next;
            both.done |= UINT32_C(1) << j;
            if (explain(&both))
                return true;
        }
    }
    return false;
}

static bool changed_nothing(const struct call *c)
{
    return c->ended && (c->op == EX_LEN || c->op == EX_ALIVE || c->result < 0);
}

static void describe(char *to, size_t size)
{
    static const char *const names[] = {"put", "get", "close", "len", "alive", "drop", "select"};
    for (int i = 0; i < n_calls; i++) {
        const struct call *c = &calls[i];
        size_t n = strlen(to);
        (void)snprintf(to + n, size - n, " [%d %s(%d)", c->thread, names[c->op],
                       c->op == EX_SELECT ? c->which : c->chan);
        n = strlen(to);
        if (c->op <= EX_GET || c->op == EX_SELECT)
            (void)snprintf(to + n, size - n, " %d of %llu]", c->result, (unsigned long long)c->value);
        else
            (void)snprintf(to + n, size - n, " %d]", c->result);
    }
}

void ex_history_check(void)
{
    struct {
        uint32_t after[CALLS];
        struct {
            int op, thread, chan, result, which;
            uint64_t value;
        } call[CALLS];
    } key;
    memset(&key, 0, sizeof key);
    for (int i = 0; i < n_calls; i++) {
        const struct call *c = &calls[i];
        after[i] = 0;
        for (int j = 0; j < n_calls; j++)
            if (calls[j].ended && calls[j].ended_at < c->began_at &&
                (ex_memory != EX_WEAK || ex_before(calls[j].thread, &calls[j].end, &c->begin)))
                after[i] |= UINT32_C(1) << j;
        key.after[i] = calls[i].ended ? after[i] : ~after[i];
        key.call[i].op = (int)c->op;
        key.call[i].thread = c->thread;
        key.call[i].chan = c->chan;
        key.call[i].result = c->result;
        key.call[i].which = c->is_void ? -1 : c->which;
        key.call[i].value = c->value;
    }
    uint64_t h = hash(&key, sizeof key) ^ (uint64_t)(uintptr_t)ex_scenario;
    if (known[h % KNOWN] == h)
        return;
    for (int t = ex_memory == EX_WEAK ? EX_THREADS - 1 : 0; t >= 0; t--) {
        struct state s;
        memset(&s, 0, sizeof s);
        memset(seen, 0, sizeof seen);
        for (int i = 0; ex_memory == EX_WEAK && i < n_calls; i++)
            if (changed_nothing(&calls[i]) && calls[i].thread != t)
                s.done |= UINT32_C(1) << i;
        for (int i = 0; i < n_calls; i++)
            if (calls[i].is_void)
                s.done |= UINT32_C(1) << i;
        if (!explain(&s)) {
            char text[400] = "";
            describe(text, sizeof text);
            ex_fail("no order of the calls explains what they said:%s", text);
        }
    }
    known[h % KNOWN] = h;
}
