/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * What a select costs as it grows: n channels of capacity 16, one of them active at a time.
 *
 *     fresh     as fixed, from a select that was just made and never found all its cases quiet
 *     fixed     all messages through the channel in the middle
 *     moving    each message through another one, at random
 *     stream    through the channel in the middle, put by another thread
 *
 * Figures, in ns: wait is put + select_wait of one message; putget is put + try_get on n channels that stand in no
 * select, in the same order; scan is put + try_get of one channel after the other until one has it, from the first on.
 * They take turns in blocks. over is wait less putget, what the select adds. setup is for one case. cases is how many
 * there were: fewer than asked for, where the hard limit of descriptors is lower.
 *
 * Options: n=MESSAGES of each, scans=CHANNELS that all scans together may look at.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/resource.h>

#include "special.h"

enum { BLOCK = 500 };
enum { FRESH, FIXED, MOVING, ORDERS };
enum { WAIT, PUTGET, SCAN, WAYS };

static const char *const order_names[] = {"fresh", "fixed", "moving"};
static const char *const way_names[] = {"wait", "putget", "scan"};

static struct {
    size_t n_cases;
    long n;
    spool_chan **in_select, **plain;
    spool_select *sel;
    uint64_t got, seq;
    uint32_t order[BLOCK]; /* the channels of a block's messages, chosen before the clock starts */
} s;

/* ---- One message, each way ------------------------------------------------------------------------------------ */

static void check(uint64_t got, uint64_t sent)
{
    if (got != sent)
        wrong("message %llu came as number %llu", (unsigned long long)got, (unsigned long long)sent);
}

static void by_wait(size_t chan)
{
    uint64_t sent = s.seq++;
    need(spool_try_put(s.in_select[chan], &sent), "spool_try_put");
    int i = spool_select_wait(s.sel, -1);
    if (i != (int)chan)
        wrong("spool_select_wait returned %d instead of %zu", i, chan);
    check(s.got, sent);
}

static void by_putget(size_t chan)
{
    uint64_t sent = s.seq++, got;
    need(spool_try_put(s.plain[chan], &sent), "spool_try_put");
    need(spool_try_get(s.plain[chan], &got), "spool_try_get");
    check(got, sent);
}

static void by_scan(size_t chan)
{
    uint64_t sent = s.seq++, got;
    size_t i = 0;
    need(spool_try_put(s.plain[chan], &sent), "spool_try_put");
    while (i < s.n_cases && spool_try_get(s.plain[i], &got) < 0)
        i++;
    if (i != chan)
        wrong("the scan found channel %zu instead of %zu", i, chan);
    check(got, sent);
}

/* ---- In turns ------------------------------------------------------------------------------------------------- */

static void compare(int order)
{
    static void (*const ways[])(size_t) = {by_wait, by_putget, by_scan};
    double took[WAYS] = {0}, done[WAYS] = {0};
    double scan_budget = (double)option("scans", 20000000);
    long n_messages = order == FRESH && s.n > 2 * BLOCK ? 2 * BLOCK : s.n;
    for (long at = 0; at < n_messages; at += BLOCK) {
        for (size_t i = 0; i < BLOCK; i++)
            s.order[i] = (uint32_t)(order == MOVING ? rnd() % s.n_cases : s.n_cases / 2);
        for (int k = 0; k < WAYS; k++) {
            int way = (int)((at / BLOCK + k) % WAYS);
            size_t n = BLOCK;
            if (way == SCAN && (done[SCAN] + BLOCK) * (double)s.n_cases / 2 > scan_budget)
                n = done[SCAN] == 0 ? 20 : 0;
            int64_t start = now_ns();
            for (size_t i = 0; i < n; i++)
                ways[way](s.order[i]);
            took[way] += (double)(now_ns() - start);
            done[way] += (double)n;
        }
    }
    for (int way = 0; way < WAYS; way++)
        figure(took[way] / done[way], "%s.%s", order_names[order], way_names[way]);
    figure(took[WAIT] / done[WAIT] - took[PUTGET] / done[PUTGET], "%s.over", order_names[order]);
}

static void find_quiet(void)
{
    if (spool_select_wait(s.sel, 0) != -EAGAIN)
        wrong("the select has more than was put");
}

static void *produce(void *arg)
{
    (void)arg;
    for (uint64_t i = 0; i < (uint64_t)s.n; i++)
        need(spool_put(s.in_select[s.n_cases / 2], &i), "spool_put");
    return NULL;
}

static void stream(void)
{
    pthread_t producer;
    int64_t start = now_ns();
    need(-pthread_create(&producer, NULL, produce, NULL), "pthread_create");
    for (uint64_t i = 0; i < (uint64_t)s.n; i++) {
        int at = spool_select_wait(s.sel, -1);
        if (at != (int)(s.n_cases / 2))
            wrong("spool_select_wait returned %d instead of %zu", at, s.n_cases / 2);
        check(s.got, i);
    }
    figure((double)(now_ns() - start) / (double)s.n, "stream.wait");
    pthread_join(producer, NULL);
}

/* ---- A cell --------------------------------------------------------------------------------------------------- */

/* How many of the cases asked for the limit of descriptors allows. Who may goes beyond the hard limit. */
static size_t raise_files(size_t n_cases)
{
    enum { OWN = 32 }; /* descriptors for anything else */
    struct rlimit limit, higher;
    need_sys(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
    higher.rlim_cur = n_cases + OWN;
    higher.rlim_max = limit.rlim_max < higher.rlim_cur ? higher.rlim_cur : limit.rlim_max;
    if (limit.rlim_cur >= higher.rlim_cur || setrlimit(RLIMIT_NOFILE, &higher) == 0)
        return n_cases;
    limit.rlim_cur = limit.rlim_max;
    need_sys(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
    size_t possible = (size_t)limit.rlim_max - OWN;
    if (possible < n_cases / 2)
        skip("%zu cases need as many descriptors, %zu are the hard limit", n_cases, (size_t)limit.rlim_max);
    return possible;
}

static void run(long n_cases)
{
    s.n = option("n", 200000);
    if (s.n == 0)
        special_end(2, "n is 0");
    s.n_cases = raise_files((size_t)n_cases);
    figure((double)s.n_cases, "cases");
    s.in_select = zalloc(s.n_cases, sizeof(spool_chan *));
    s.plain = zalloc(s.n_cases, sizeof(spool_chan *));
    need(spool_select_new(&s.sel), "spool_select_new");
    for (size_t i = 0; i < s.n_cases; i++) {
        need(spool_chan_new(&s.in_select[i], sizeof(uint64_t), 16), "spool_chan_new");
        need(spool_chan_new(&s.plain[i], sizeof(uint64_t), 16), "spool_chan_new");
    }
    int64_t start = now_ns();
    for (size_t i = 0; i < s.n_cases; i++)
        if (need(spool_select_get(s.sel, s.in_select[i], &s.got), "spool_select_get") != (long)i)
            wrong("case %zu has another index", i);
    figure((double)(now_ns() - start) / (double)s.n_cases, "setup");
    for (int order = 0; order < ORDERS; order++) {
        compare(order);
        find_quiet();
    }
    stream();
    find_quiet();
    start = now_ns();
    spool_select_free(s.sel);
    for (size_t i = 0; i < s.n_cases; i++) {
        spool_unref(s.in_select[i]);
        spool_unref(s.plain[i]);
    }
    figure((double)(now_ns() - start) / (double)s.n_cases, "teardown");
}

static const struct cell cells[] = {
    {"cases-2", run, 2},
    {"cases-100", run, 100},
    {"cases-10000", run, 10000},
    {"cases-20000", run, 20000},
};

SPECIAL_MAIN("a select as it grows", cells)
