/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * The paths that meet nobody: one thread, no wait, no system call. Figures: ns for each operation; callgrind counts
 * their instructions (see "instructions" in this folder).
 *
 *     try-8, try-64     try_put and try_get of an element of so many bytes, capacity 1024
 *     put-get-8         put and get of the same
 *     many-8            put_many and get_many of 64 elements, for each element
 *     unbounded         put and get, unbounded
 *     rendezvous-try    try_put and try_get of a rendezvous where nobody waits
 *     select            put and select_wait, one of two cases ready
 *
 * Options: n=OPERATIONS.
 */
#define _GNU_SOURCE
#include "special.h"

enum { CAPACITY = 1024, BATCH = 64 };
enum { TRY_8, TRY_64, PUT_GET_8, MANY_8, UNBOUNDED, RENDEZVOUS_TRY, SELECT };

static union {
    uint64_t seq;
    unsigned char bytes[64];
} in, out;

static spool_chan *chan, *quiet;

static void check(uint64_t seq)
{
    if (out.seq != seq)
        wrong("message %llu came as number %llu", (unsigned long long)out.seq, (unsigned long long)seq);
}

static void by_try(uint64_t n)
{
    for (in.seq = 0; in.seq < n; in.seq++) {
        if (spool_try_put(chan, &in) != 0 || spool_try_get(chan, &out) != 0)
            wrong("a try failed at %llu", (unsigned long long)in.seq);
        check(in.seq);
    }
}

static void by_put_get(uint64_t n)
{
    for (in.seq = 0; in.seq < n; in.seq++) {
        if (spool_put(chan, &in) != 0 || spool_get(chan, &out) != 0)
            wrong("a put or get failed at %llu", (unsigned long long)in.seq);
        check(in.seq);
    }
}

static void by_many(uint64_t n)
{
    uint64_t from[BATCH], to[BATCH];
    for (uint64_t at = 0; at < n; at += BATCH) {
        for (unsigned i = 0; i < BATCH; i++)
            from[i] = at + i;
        if (spool_put_many(chan, from, BATCH, 0) != BATCH || spool_get_many(chan, to, BATCH, 0) != BATCH)
            wrong("a batch was not moved whole at %llu", (unsigned long long)at);
        if (memcmp(from, to, sizeof from) != 0)
            wrong("a batch came in another order at %llu", (unsigned long long)at);
    }
}

static void by_refusal(uint64_t n)
{
    for (in.seq = 0; in.seq < n; in.seq++)
        if (spool_try_put(chan, &in) != -EAGAIN || spool_try_get(chan, &out) != -EAGAIN)
            wrong("somebody was there at %llu", (unsigned long long)in.seq);
}

static void by_select(uint64_t n)
{
    static uint64_t other;
    spool_select *sel;
    need(spool_chan_new(&quiet, sizeof other, CAPACITY), "spool_chan_new");
    need(spool_select_new(&sel), "spool_select_new");
    int quiet_case = (int)need(spool_select_get(sel, quiet, &other), "spool_select_get");
    int ready_case = (int)need(spool_select_get(sel, chan, &out), "spool_select_get");
    if (quiet_case == ready_case)
        wrong("two cases have one index");
    for (in.seq = 0; in.seq < n; in.seq++) {
        if (spool_put(chan, &in) != 0 || spool_select_wait(sel, -1) != ready_case)
            wrong("the select failed at %llu", (unsigned long long)in.seq);
        check(in.seq);
    }
    spool_select_free(sel);
    spool_unref(quiet);
}

static const struct {
    void (*run)(uint64_t n);
    size_t size, capacity;
} paths[] = {
    [TRY_8] = {by_try, 8, CAPACITY},
    [TRY_64] = {by_try, 64, CAPACITY},
    [PUT_GET_8] = {by_put_get, 8, CAPACITY},
    [MANY_8] = {by_many, 8, CAPACITY},
    [UNBOUNDED] = {by_put_get, 8, SPOOL_UNBOUNDED},
    [RENDEZVOUS_TRY] = {by_refusal, 8, 0},
    [SELECT] = {by_select, 8, CAPACITY},
};

static void run(long path)
{
    uint64_t n = (uint64_t)option("n", 5000000);
    need(spool_chan_new(&chan, paths[path].size, paths[path].capacity), "spool_chan_new");
    int64_t start = now_ns();
    paths[path].run(n);
    if (n > 0)
        figure((double)(now_ns() - start) / (double)n, "ns");
    spool_unref(chan);
}

static const struct cell cells[] = {
    {"try-8", run, TRY_8},         {"try-64", run, TRY_64},       {"put-get-8", run, PUT_GET_8},
    {"many-8", run, MANY_8},       {"unbounded", run, UNBOUNDED}, {"rendezvous-try", run, RENDEZVOUS_TRY},
    {"select", run, SELECT},
};

SPECIAL_MAIN("the uncontended paths", cells)
