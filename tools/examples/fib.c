/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * Fibonacci numbers from a thread: it puts them into its own end of a channel, main gets them from the other.
 *
 *     cc fib.c $(pkg-config --cflags --libs spool)
 */
#include <inttypes.h>
#include <spool.h>
#include <stdio.h>
#include <string.h>

static void fibonacci(void *arg)
{
    int count = *(int *)arg;
    uint64_t a = 0, b = 1;

    while (count-- > 0 && spool_put(spool_self(), &a) == 0) {
        uint64_t sum = a + b;

        a = b;
        b = sum;
    }
} /* returning closes this end: main gets what is left, then -EPIPE */

int main(void)
{
    int count = 50;
    uint64_t number;
    spool_chan *numbers;
    int r = spool_go(&numbers, fibonacci, &count, sizeof(number), 8);

    if (r < 0) {
        fprintf(stderr, "fib: %s\n", strerror(-r));
        return 1;
    }
    while (spool_get(numbers, &number) == 0)
        printf("%" PRIu64 "\n", number);
    spool_unref(numbers);
    return 0;
}
