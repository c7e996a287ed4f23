/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * Fan-in: several producers, one consumer. Each producer has a channel of its own, so the consumer knows who said what
 * and when each of them has finished; a select takes whichever is ready, and every ready one gets its share. Once the
 * last producer has returned and its channel is drained, nothing is left to wait for and the loop ends by itself.
 *
 *     cc fanin.c $(pkg-config --cflags --libs spool)
 */
#include <err.h>
#include <spool.h>
#include <stdio.h>
#include <string.h>

enum { PRODUCERS = 3, NUMBERS = 100 };

static int check(int r)
{
    if (r < 0)
        errx(1, "%s", strerror(-r));
    return r;
}

/* The first says 1 to 100, the second 101 to 200, and so on. */
static void produce(void *arg)
{
    int first = *(int *)arg;

    for (int n = first; n < first + NUMBERS; n++)
        check(spool_put(spool_self(), &n));
}

int main(void)
{
    spool_chan *producers[PRODUCERS];
    spool_select *select;
    int firsts[PRODUCERS], numbers[PRODUCERS], i;
    long count = 0, sum = 0, finished = 0;

    check(spool_select_new(&select));
    for (i = 0; i < PRODUCERS; i++) {
        firsts[i] = 1 + i * NUMBERS;
        check(spool_go(&producers[i], produce, &firsts[i], sizeof(int), 4));
        check(spool_select_get(select, producers[i], &numbers[i])); /* returns the case's index, here i */
    }
    while ((i = spool_select_wait(select, -1)) >= 0) {
        if (spool_select_result(select, i) == -EPIPE) {
            finished++;
        } else {
            sum += numbers[i];
            count++;
        }
    }
    printf("%ld producers, %ld numbers, sum %ld\n", finished, count, sum);
    spool_select_free(select);
    for (int k = 0; k < PRODUCERS; k++)
        spool_unref(producers[k]);
    return i == -ENODATA ? 0 : 1;
}
