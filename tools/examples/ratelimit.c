/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * Rate limiting: a token bucket. Requests come whenever they like, over an unbounded channel; a tick fills the bucket,
 * a request takes a token out of it, and while the bucket is empty the case of the requests is off. A tick that waited
 * for us says how many intervals it stands for, so a busy program loses no tokens.
 *
 *     cc ratelimit.c $(pkg-config --cflags --libs spool)
 */
#include <err.h>
#include <spool.h>
#include <stdio.h>
#include <string.h>

enum { REQUESTS = 12, BUCKET = 3, INTERVAL_MS = 20 };

static int check(int r)
{
    if (r < 0)
        errx(1, "%s", strerror(-r));
    return r;
}

static void ask(void *arg)
{
    (void)arg;
    for (int i = 1; i <= REQUESTS; i++)
        check(spool_put(spool_self(), &i));
}

int main(void)
{
    spool_chan *clock, *requests;
    spool_select *select;
    uint64_t ticks, tokens = BUCKET, waited = 0;
    int request, served = 0, i;

    check(spool_tick(&clock, INTERVAL_MS * INT64_C(1000000)));
    check(spool_go(&requests, ask, NULL, sizeof(request), SPOOL_UNBOUNDED));
    check(spool_select_new(&select));
    int tick = check(spool_select_get(select, clock, &ticks));
    int ready = check(spool_select_get(select, requests, &request));

    while ((i = check(spool_select_wait(select, -1))) == tick || spool_select_result(select, i) == 0) {
        if (i == tick) {
            waited += ticks;
            tokens = ticks < BUCKET - tokens ? tokens + ticks : BUCKET;
        } else {
            served++;
            tokens--;
        }
        check(spool_select_enable(select, ready, tokens > 0));
    }
    printf("%d requests in %d intervals of %d ms\n", served, (int)waited, INTERVAL_MS);
    spool_select_free(select);
    spool_unref(requests);
    spool_unref(clock);
    return 0;
}
