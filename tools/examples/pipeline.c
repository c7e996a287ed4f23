/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * A pipeline that is cancelled from its end. Each stage is a thread that gets from the stage before it and puts into
 * its own end. Whoever has enough drops the channel he gets from: the stage behind it can put no more, drops in its
 * turn the one it gets from, and so on back to the source, which by itself would never end. What was on its way goes to
 * the drop function, so nothing leaks, wherever it was.
 *
 *     cc pipeline.c $(pkg-config --cflags --libs spool)
 */
#include <err.h>
#include <spool.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static long made; /* by the source alone */
static atomic_long freed;

static void drop(void *elem)
{
    free(*(long **)elem);
    atomic_fetch_add(&freed, 1);
}

/* The first stage makes numbers, the others multiply what they get. */
static void stage(void *arg)
{
    spool_chan *before = arg;
    long *number;

    do {
        if (before ? spool_get(before, &number) < 0 : !(number = malloc(sizeof(*number))))
            errx(1, "no number");
        *number = before ? *number * 10 : ++made;
    } while (spool_put(spool_self(), &number) == 0);
    drop(&number);       /* a put that failed leaves it with us */
    spool_unref(before); /* nobody else has a reference */
}

int main(void)
{
    spool_chan *last = NULL, *next;
    long *number;

    for (int i = 0; i < 4; i++, last = next)
        if (spool_go(&next, stage, last, sizeof(number), 4) < 0 || spool_set_drop(next, drop) < 0)
            errx(1, "no stage");
    for (int i = 0; i < 5 && spool_get(last, &number) == 0; i++) {
        printf("%ld\n", *number);
        drop(&number);
    }
    spool_unref(last);
    spool_go_wait(-1);
    printf("%ld not freed\n", made - freed);
    return made != freed;
}
