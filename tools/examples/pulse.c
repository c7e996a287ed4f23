/* SPDX-License-Identifier: LGPL-3.0-or-later */
#define _POSIX_C_SOURCE 200809L

/*
 * A pulse: a thread that beats while its channel is alive. Main listens to a few beats and closes it.
 *
 *     cc pulse.c $(pkg-config --cflags --libs spool)
 */
#include <spool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void pulse(void *arg)
{
    const struct timespec *interval = arg;
    int beat = 0;

    while (spool_alive(spool_self())) {
        if (spool_put(spool_self(), &beat) == 0)
            beat++;
        nanosleep(interval, NULL);
    }
}

int main(void)
{
    struct timespec interval = {.tv_nsec = 200 * 1000 * 1000};
    int beat;
    spool_chan *heart;
    int r = spool_go(&heart, pulse, &interval, sizeof(beat), 1);

    if (r < 0) {
        fprintf(stderr, "pulse: %s\n", strerror(-r));
        return 1;
    }
    for (int i = 0; i < 5 && spool_get(heart, &beat) == 0; i++)
        printf("beat %d\n", beat);
    spool_close(heart); /* the pulse sees it and returns */
    spool_go_wait(-1);
    puts("stopped");
    spool_unref(heart);
    return 0;
}
