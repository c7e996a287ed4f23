/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * A worker pool: jobs in, results out, both in one select, so neither can hold up the other. The jobs channel is a
 * rendezvous: a job is handed over at the moment a worker is free for it. The shutdown is graceful: the channel is
 * closed when the last job is handed over, workers finish what they have, see -EPIPE and return.
 *
 *     cc workerpool.c $(pkg-config --cflags --libs spool)
 */
#include <err.h>
#include <spool.h>
#include <stdio.h>
#include <string.h>

enum { WORKERS = 4, JOBS = 1000 };

static spool_chan *jobs, *results;

static int check(int r)
{
    if (r < 0)
        errx(1, "%s", strerror(-r));
    return r;
}

static void work(void *arg)
{
    (void)arg;
    for (int number; spool_get(jobs, &number) == 0;) {
        number *= 2; /* the work */
        check(spool_put(results, &number));
    }
}

int main(void)
{
    int job = 1, result, finished = 0, sum = 0;
    spool_chan *worker;
    spool_select *select;

    check(spool_chan_new(&jobs, sizeof(job), 0));
    check(spool_chan_new(&results, sizeof(result), WORKERS));
    for (int i = 0; i < WORKERS; i++) {
        check(spool_go(&worker, work, NULL, 0, 1));
        spool_unref(worker);
    }
    check(spool_select_new(&select));
    check(spool_select_put(select, jobs, &job)); /* returns the case's index, 0, and the next 1 */
    check(spool_select_get(select, results, &result));
    for (; finished < JOBS; finished++, sum += result)
        while (check(spool_select_wait(select, -1)) == 0)
            if (spool_select_result(select, 0) == 0 && ++job > JOBS)
                spool_close(jobs); /* the case says -EPIPE, once, and leaves the select */
    printf("%d results, sum %d\n", finished, sum);
    check(spool_go_wait(-1));
    spool_select_free(select);
    spool_unref(results);
    spool_unref(jobs);
    return 0;
}
