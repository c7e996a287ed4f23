/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * Two pulses in one select. Each is closed after three beats; when both are, nothing is left to wait for and the loop
 * ends.
 *
 *     cc pulses.c $(pkg-config --cflags --libs spool)
 */
#include <errno.h>
#include <spool.h>
#include <stdio.h>
#include <string.h>

/* Beats until the outside closes: a wait for an element that never comes is a sleep that closing ends at once. */
static void pulse(void *arg)
{
    int64_t interval = *(int64_t *)arg;
    int beat = 1, none;

    while (spool_get_for(spool_self(), &none, interval) == -ETIMEDOUT)
        if (spool_put(spool_self(), &beat) == 0)
            beat++;
}

int main(void)
{
    static const char *const names[] = {"fast", "slow"};
    int64_t intervals[] = {100 * 1000 * 1000, 170 * 1000 * 1000};
    spool_chan *pulses[2];
    spool_select *select;
    int beats[2], i;
    int r = spool_select_new(&select);

    for (i = 0; i < 2 && r >= 0; i++) {
        r = spool_go(&pulses[i], pulse, &intervals[i], sizeof(int), 1);
        if (r == 0)
            r = spool_select_get(select, pulses[i], &beats[i]); /* returns the case's index, here 0 and 1 */
    }
    if (r < 0) {
        fprintf(stderr, "pulses: %s\n", strerror(-r));
        return 1;
    }
    while ((i = spool_select_wait(select, -1)) >= 0) {
        if (spool_select_result(select, i) == -EPIPE) {
            printf("%s has stopped\n", names[i]);
            continue;
        }
        printf("%s %d\n", names[i], beats[i]);
        if (beats[i] == 3)
            spool_close(pulses[i]);
    }
    spool_select_free(select);
    for (int k = 0; k < 2; k++)
        spool_unref(pulses[k]);
    spool_go_wait(-1);
    return i == -ENODATA ? 0 : 1;
}
