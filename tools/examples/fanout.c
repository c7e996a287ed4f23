/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * Fan-out: one producer, many workers on one channel, and each element goes to one of them. The producer puts batches
 * into an unbounded channel, so it never waits for anybody; whichever worker is free takes the next few. Closing the
 * channel is the end: what was put before is still got, then each worker sees -EPIPE and says what it has done.
 *
 *     cc fanout.c $(pkg-config --cflags --libs spool)
 */
#include <err.h>
#include <spool.h>
#include <stdio.h>
#include <string.h>

enum { WORKERS = 4, BATCHES = 1000, BATCH = 100, SOME = 16 };

SPOOL_TYPED(numbers, long);
static numbers todo;

static int check(int r)
{
    if (r < 0)
        errx(1, "%s", strerror(-r));
    return r;
}

static void add_up(void *arg)
{
    long some[SOME], sum = 0;

    (void)arg;
    for (ssize_t n; (n = numbers_get_many(todo, some, SOME, -1)) > 0;)
        for (ssize_t i = 0; i < n; i++)
            sum += some[i];
    check(numbers_put(numbers_self(), &sum));
}

int main(void)
{
    numbers workers[WORKERS];
    long batch[BATCH], sum, total = 0, number = 0;

    check(numbers_new(&todo, SPOOL_UNBOUNDED));
    for (int i = 0; i < WORKERS; i++)
        check(numbers_go(&workers[i], add_up, NULL, 1));
    for (int i = 0; i < BATCHES; i++) {
        for (int k = 0; k < BATCH; k++)
            batch[k] = ++number;
        check(numbers_put_many(todo, batch, BATCH, -1) == BATCH ? 0 : -ENOMEM); /* fewer: memory is short */
    }
    numbers_close(todo);
    for (int i = 0; i < WORKERS; i++) {
        check(numbers_get(workers[i], &sum));
        total += sum;
        numbers_unref(workers[i]);
    }
    numbers_unref(todo);
    printf("%ld numbers, %d workers, sum %ld\n", number, WORKERS, total);
    return 0;
}
