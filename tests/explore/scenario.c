/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "scenario.h"

#include <errno.h>
#include <string.h>

#include "../../lib/chan.h"
#include "../../lib/segment.h"

#define CHANS 4
#define ELEM_MAX 16

static spool_chan *chans[CHANS];
/* Among the variables that are put back between runs. */
__attribute__((section("ex_data"))) static uint32_t flag, note;

static void fill(unsigned char elem[ELEM_MAX], uint64_t value)
{
    memset(elem, (int)value, ELEM_MAX);
}

static uint64_t value_of(int chan, const unsigned char elem[ELEM_MAX])
{
    for (size_t i = 1; i < spool_elem_size(chans[chan]); i++)
        if (elem[i] != elem[0])
            ex_fail("an element is torn");
    return elem[0];
}

void chan_new(int chan, size_t elem_size, size_t capacity)
{
    if (spool_chan_new(&chans[chan], elem_size, capacity) < 0)
        ex_fail("no channel");
    ex_history_chan(chan, capacity, -1);
}

/* What end 0 puts is channel 1's in the model: an end's number is that of the lane it gets from. */
void pair_new(size_t elem_size, size_t capacity)
{
    if (spool_pair_new(&chans[0], &chans[1], elem_size, capacity) < 0)
        ex_fail("no pair");
    ex_history_chan(0, capacity, 1);
    ex_history_chan(1, capacity, 0);
}

static int put_side(int chan)
{
    return chans[chan]->core->n_lanes == 2 ? 1 - chan : chan;
}

void set_turn(int chan, uint64_t turn)
{
    spool__ring_set_turn(&spool__chan_lane(chans[chan], SPOOL__GET)->ring, turn);
}

void keep_cells(int chan)
{
    spool__chan_lane(chans[chan], SPOOL__GET)->ring.keeps = true;
}

void set_gate_versions(int chan)
{
    for (int side = 0; side < 2; side++) {
        struct spool__gate *g = &spool__chan_lane(chans[chan], SPOOL__GET)->gates[side];
        g->threads = UINT64_C(511) << 55;
        g->selects = UINT64_C(8191) << 51;
    }
}

void export_fd(int chan)
{
    if (spool_fd(chans[chan]) < 0)
        ex_fail("no descriptor");
}

static int end(int call, int chan, int r, const unsigned char *elem)
{
    ex_history_end(call, r, elem && r == 0 ? value_of(chan, elem) : 0, 0);
    return r;
}

void forbid_second(int chan, uint64_t value)
{
    struct spool__chain *c = &spool__chan_lane(chans[chan], SPOOL__GET)->chain;
    unsigned char elem[ELEM_MAX];
    fill(elem, value);
    uint64_t key = spool__word_from(elem, c->elem_size) ^ SPOOL__CHAIN_TAKEN;
    spool__first_segment(c)->key = key - SPOOL__KEY_STEP;
}

int put(int chan, uint64_t value)
{
    return put_for(chan, value, -1);
}

int try_put(int chan, uint64_t value)
{
    return put_for(chan, value, 0);
}

int put_for(int chan, uint64_t value, int64_t ns)
{
    unsigned char elem[ELEM_MAX];
    fill(elem, value);
    int call = ex_history_begin(EX_PUT, put_side(chan), value);
    return end(call, chan, spool_put_for(chans[chan], elem, ns), NULL);
}

void put_quietly(int chan, uint64_t value)
{
    unsigned char elem[ELEM_MAX];
    fill(elem, value);
    int call = ex_history_begin(EX_PUT, put_side(chan), value);
    (void)end(call, chan, spool__ring_put(&spool__chan_lane(chans[chan], SPOOL__PUT)->ring, elem), NULL);
}

int get(int chan)
{
    return get_for(chan, -1);
}

int try_get(int chan)
{
    return get_for(chan, 0);
}

int get_for(int chan, int64_t ns)
{
    unsigned char elem[ELEM_MAX];
    int call = ex_history_begin(EX_GET, chan, 0);
    int r = spool_get_for(chans[chan], elem, ns);
    return end(call, chan, r, elem);
}

/* As n calls that begin together: each is noted with what the batch says of it. */
int put_many(int chan, uint64_t first, int n)
{
    uint64_t elems[8] = {0};
    int calls[8];
    for (int i = 0; i < n; i++) {
        memset(&elems[i], (int)first + i, sizeof elems[i]);
        calls[i] = ex_history_begin(EX_PUT, put_side(chan), first + (uint64_t)i);
    }
    ssize_t r = spool_put_many(chans[chan], elems, (size_t)n, -1);
    for (int i = 0; i < n; i++)
        ex_history_end(calls[i], i < r ? 0 : -EPIPE, 0, 0);
    return (int)r;
}

int get_many(int chan, int n)
{
    uint64_t elems[8];
    int calls[8];
    for (int i = 0; i < n; i++)
        calls[i] = ex_history_begin(EX_GET, chan, 0);
    ssize_t r = spool_get_many(chans[chan], elems, (size_t)n, -1);
    for (int i = 0; i < n; i++) {
        if (i < r)
            ex_history_end(calls[i], 0, value_of(chan, (unsigned char *)&elems[i]), 0);
        else if (i == 0)
            ex_history_end(calls[i], (int)r, 0, 0);
        else
            ex_history_void(calls[i]);
    }
    return (int)r;
}

int close_chan(int chan)
{
    int call = ex_history_begin(EX_CLOSE, chan, 0);
    return end(call, chan, spool_close(chans[chan]), NULL);
}

size_t len(int chan)
{
    int call = ex_history_begin(EX_LEN, chan, 0);
    size_t n = spool_len(chans[chan]);
    ex_history_end(call, (int)n, 0, 0);
    return n;
}

bool alive(int chan)
{
    int call = ex_history_begin(EX_ALIVE, chan, 0);
    bool is = spool_alive(chans[chan]);
    ex_history_end(call, is, 0, 0);
    return is;
}

void drain(int chan)
{
    while (try_get(chan) == 0)
        ;
}

void drop(int chan)
{
    int call = ex_history_begin(EX_DROP, chan, 0);
    spool_unref(chans[chan]);
    ex_history_end(call, 0, 0, 0);
}

void ref(int chan)
{
    (void)spool_ref(chans[chan]);
}

/* When all threads have come to their end, and no select is left: nobody waits, or was granted and has not noticed. */
static void check_gates(int chan)
{
    const uint64_t threads = SPOOL__GATE_THREADS_CALL | INT32_MAX, selects = UINT64_C(0xff) << 40 | UINT32_MAX;
    for (int side = 0; side < 2; side++) {
        const struct spool__gate *g = &spool__chan_lane(chans[chan], SPOOL__GET)->gates[side];
        if ((g->threads & threads) || (g->selects & selects))
            ex_fail("somebody is counted as waiting who is gone: %#llx, %#llx", (unsigned long long)g->threads,
                    (unsigned long long)g->selects);
    }
}

/* Then also each of a ring's cells is in a slot or in the pool. */
static void check_cells(int chan)
{
    struct spool__lane *lane = spool__chan_lane(chans[chan], SPOOL__GET);
    if (lane->flavour != SPOOL__RING)
        return;
    size_t n = spool__ring_cells_at_rest(&lane->ring);
    if (n != lane->ring.cells)
        ex_fail("of %zu cells there are %zu", lane->ring.cells, n);
}

void done(int chan)
{
    if (ex_self == 0 && !ex_is_stopped()) {
        check_gates(chan);
        check_cells(chan);
    }
    spool_unref(chans[chan]);
}

void wait_readable(int chan)
{
    ex_wait_readable(spool_fd(chans[chan]));
}

void wait_writable(int chan)
{
    ex_wait_readable(spool_put_fd(chans[chan]));
}

void rest(void)
{
    ex_yield();
}

void set_drop(int chan, void (*function)(void *elem))
{
    expect(spool_set_drop(chans[chan], function), 0);
}

void raise_flag(void)
{
    ex_store(&flag, sizeof flag, 1, EX_RELEASE, EX_SITE("store", "flag"));
}

bool flag_is_raised(void)
{
    return ex_load(&flag, sizeof flag, EX_ACQUIRE, EX_SITE("load", "flag")) != 0;
}

void write_note(void)
{
    ex_plain(&note, sizeof note, true);
}

void read_note(void)
{
    ex_plain(&note, sizeof note, false);
}

void expect(int is, int must_be)
{
    if (is != must_be)
        ex_fail("a call said %d, and had to say %d", is, must_be);
}

void select_new(struct sel *s)
{
    s->n = 0;
    if (spool_select_new(&s->sel) < 0)
        ex_fail("no select");
}

void select_get(struct sel *s, int chan)
{
    s->cases[s->n] = (struct ex_case){.op = EX_GET, .chan = chan};
    expect(spool_select_get(s->sel, chans[chan], &s->elems[s->n]), s->n);
    s->n++;
}

void select_put(struct sel *s, int chan, uint64_t value)
{
    s->cases[s->n] = (struct ex_case){.op = EX_PUT, .chan = put_side(chan), .value = value};
    memset(&s->elems[s->n], (int)value, sizeof s->elems[0]);
    expect(spool_select_put(s->sel, chans[chan], &s->elems[s->n]), s->n);
    s->n++;
}

int select_wait(struct sel *s, int64_t ns)
{
    int call = ex_history_begin_select(s->cases, s->n);
    int which = spool_select_wait(s->sel, ns);
    if (which < 0) {
        ex_history_end(call, which, 0, 0);
        return which;
    }
    int r = spool_select_result(s->sel, which);
    bool gets = s->cases[which].op == EX_GET && r == 0;
    ex_history_end(call, r, gets ? value_of(s->cases[which].chan, (unsigned char *)&s->elems[which]) : 0, which);
    return r;
}

void select_nest(struct sel *s)
{
    if (spool_select_poll_fd(s->sel) < 0)
        ex_fail("no descriptor");
}

void wait_for_select(struct sel *s)
{
    ex_wait_set(spool_select_poll_fd(s->sel));
}

void select_free(struct sel *s)
{
    (void)spool_select_free(s->sel);
}

/* Names are given by go.c, whose threads the explorer does not have. */
void spool__core_set_name(struct spool__core *core, const char *name, size_t n)
{
    (void)core, (void)name, (void)n;
    ex_unsupported("names");
}
