/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_FUZZ_HISTORY_H
#define SPOOL_FUZZ_HISTORY_H

/*
 * What two threads called at the same time, and whether there is an order of those calls, each at some instant between
 * its begin and its end, in which every one of them did what the model does (M. Herlihy and J. Wing, "Linearizability",
 * 1990; the search is J. Wing and C. Gong, "Testing and Verifying Concurrent Objects", 1993).
 */

#include "fuzz/input.h"
#include "fuzz/model.h"

enum { LANES = 4, EVENTS_MAX = 48, THREADS = 2 };

/* A batch is as many events as it moved elements, and one more that tells why it did not go on. */
enum event_kind { DID_PUT, DID_GET, COULD_NOT_PUT, COULD_NOT_GET, DID_CLOSE, LOOKED_ALIVE, LOOKED_LEN, NONE_READY };

struct event {
    enum event_kind kind;
    int lane;           /* for a close, either of the channel's */
    int result;         /* 0 or an error; true, false; a length */
    uint16_t tag;       /* of the element */
    bool is_try;        /* waited for nobody: two such never meet in a rendezvous */
    uint8_t gets, puts; /* NONE_READY: the lanes, as bits, that its select would get from and put into */
    uint64_t begin, end;
};

struct state {
    struct model lanes[LANES];
    int8_t twin[LANES]; /* the other lane of a pair, or the lane itself */
};

static struct history {
    struct event events[THREADS][EVENTS_MAX];
    int n[THREADS];
    /* What was left when all was over, each lane drained in order or dropped in any. */
    uint16_t left[LANES][MODEL_MAX];
    int n_left[LANES];
    bool was_dropped[LANES], was_closed[LANES];
} history;

static const char *const event_names[] = {"put",   "get",   "could not put", "could not get",
                                          "close", "alive", "len",           "select: none ready"};

static void print_history(const struct state *initial)
{
    for (int l = 0; l < LANES; l++)
        printf("lane %d: capacity %zd, twin %d\n", l, (ssize_t)initial->lanes[l].capacity, initial->twin[l]);
    for (int t = 0; t < THREADS; t++) {
        for (int i = 0; i < history.n[t]; i++) {
            const struct event *e = &history.events[t][i];
            printf("thread %d  %3llu..%-3llu  %s, lane %d, tag %u = %d", t, (unsigned long long)e->begin,
                   (unsigned long long)e->end, event_names[e->kind], e->lane, e->tag, e->result);
            if (e->kind == NONE_READY)
                printf(" (gets from lanes 0x%x, puts into 0x%x)", e->gets, e->puts);
            printf(e->is_try ? ", a try\n" : "\n");
        }
    }
    for (int l = 0; l < LANES; l++) {
        printf("lane %d at the end: %s, %s:", l, history.was_closed[l] ? "closed" : "open",
               history.was_dropped[l] ? "dropped" : "drained");
        for (int i = 0; i < history.n_left[l]; i++)
            printf(" %u", history.left[l][i]);
        printf("\n");
    }
}

/* ---- One step ------------------------------------------------------------------------------------------------- */

static bool is_meeting(const struct state *s, const struct event *e)
{
    return (e->kind == DID_PUT || e->kind == DID_GET) && e->result == 0 && s->lanes[e->lane].capacity == 0;
}

/* Somebody else may stand in a rendezvous just then, so whether one was ready there is not known. */
static bool none_is_ready(const struct state *s, const struct event *e)
{
    for (int l = 0; l < LANES; l++) {
        const struct model *m = &s->lanes[l];
        if (((e->gets >> l) & 1 && model_can_get(m) != -EAGAIN) || ((e->puts >> l) & 1 && model_can_put(m) != -EAGAIN))
            return false;
    }
    return true;
}

/* Whether the event can happen now; if so it does. */
static bool step(struct state *s, const struct event *e)
{
    struct model *m = &s->lanes[e->lane];
    uint16_t tag = 0;
    switch (e->kind) {
    case DID_PUT:
        return model_put(m, e->tag) == e->result;
    case DID_GET:
        return model_get(m, &tag) == e->result && (e->result != 0 || tag == e->tag);
    case COULD_NOT_PUT:
        return model_can_put(m) != 0;
    case COULD_NOT_GET:
        return model_can_get(m) != 0;
    case DID_CLOSE:
        if (model_close(m) != e->result)
            return false;
        s->lanes[(int)s->twin[e->lane]].closed = true;
        return true;
    case LOOKED_ALIVE:
        return !m->closed == e->result;
    case LOOKED_LEN:
        return m->len == e->result;
    case NONE_READY:
        return none_is_ready(s, e);
    }
    return false;
}

/* In a rendezvous a put and a get are one step, of two threads of which at least one waited. */
static bool meet(const struct state *s, const struct event *a, const struct event *b)
{
    return is_meeting(s, a) && is_meeting(s, b) && a->kind != b->kind && a->lane == b->lane && a->tag == b->tag &&
           !(a->is_try && b->is_try) && !s->lanes[a->lane].closed;
}

static bool ends_well(const struct state *s)
{
    for (int l = 0; l < LANES; l++) {
        const struct model *m = &s->lanes[l];
        if (m->len != history.n_left[l] || m->closed != history.was_closed[l])
            return false;
        for (int i = 0; i < m->len; i++) {
            bool same = history.left[l][i] == model_tag(m, (unsigned)i);
            for (int j = 0; history.was_dropped[l] && !same && j < m->len; j++)
                same = history.left[l][j] == model_tag(m, (unsigned)i);
            if (!same)
                return false;
        }
    }
    return true;
}

/* ---- The search ----------------------------------------------------------------------------------------------- */

/* States that lead nowhere, by a hash of them and of how far each thread is. */
static struct {
    uint64_t hashes[1 << 14];
    unsigned n;
    long long steps;
} dead_ends;

static uint64_t hash_state(const struct state *s, const int at[THREADS])
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) + (uint64_t)at[0] * 64 + (uint64_t)at[1];
    for (int l = 0; l < LANES; l++) {
        h = (h ^ (s->lanes[l].closed * UINT64_C(0x10000) + s->lanes[l].len)) * UINT64_C(0x9e3779b97f4a7c15);
        for (unsigned i = 0; i < s->lanes[l].len; i++)
            h = ((h ^ (h >> 29)) + model_tag(&s->lanes[l], i)) * UINT64_C(0x9e3779b97f4a7c15);
    }
    return (h ^ (h >> 32)) | 1;
}

static bool is_dead_end(uint64_t hash)
{
    unsigned i = (unsigned)hash % COUNT(dead_ends.hashes);
    while (dead_ends.hashes[i] && dead_ends.hashes[i] != hash)
        i = (i + 1) % COUNT(dead_ends.hashes);
    return dead_ends.hashes[i] == hash;
}

static void add_dead_end(uint64_t hash)
{
    unsigned i = (unsigned)hash % COUNT(dead_ends.hashes);
    if (dead_ends.n > COUNT(dead_ends.hashes) / 2)
        return;
    while (dead_ends.hashes[i] && dead_ends.hashes[i] != hash)
        i = (i + 1) % COUNT(dead_ends.hashes);
    dead_ends.hashes[i] = hash;
    dead_ends.n++;
}

static const struct event *next_event(const int at[THREADS], int thread)
{
    return at[thread] < history.n[thread] ? &history.events[thread][at[thread]] : NULL;
}

static bool search(const struct state *s, const int at[THREADS])
{
    const struct event *next[THREADS] = {next_event(at, 0), next_event(at, 1)};
    if (!next[0] && !next[1])
        return ends_well(s);
    uint64_t hash = hash_state(s, at);
    if (is_dead_end(hash))
        return false;
    dead_ends.steps++;
    for (int t = 0; t < THREADS; t++) {
        const struct event *e = next[t], *other = next[1 - t];
        /* What had ended before this began comes first. */
        if (!e || (other && other->end < e->begin))
            continue;
        if (is_meeting(s, e)) {
            if (t == 0 && other && e->end > other->begin && meet(s, e, other)) {
                const int both[THREADS] = {at[0] + 1, at[1] + 1};
                if (search(s, both))
                    return true;
            }
            continue;
        }
        struct state after = *s;
        const int then[THREADS] = {at[0] + (t == 0), at[1] + (t == 1)};
        if (step(&after, e) && search(&after, then))
            return true;
    }
    add_dead_end(hash);
    return false;
}

static bool is_linearizable(const struct state *initial)
{
    const int at[THREADS] = {0, 0};
    memset(&dead_ends, 0, sizeof dead_ends);
    return search(initial, at);
}

#endif
