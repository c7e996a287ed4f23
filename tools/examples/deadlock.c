/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * usage: deadlock [SECONDS]
 *
 * A program that hangs, to look at with "spool dump" from outside: two stages hand each other more than there is room
 * for. Ctrl-\ (SIGQUIT) makes it dump itself to stderr. Ends after SECONDS, 600 if not given.
 */
#include <signal.h>
#include <spool.h>
#include <stdlib.h>
#include <unistd.h>

static spool_chan *requests, *replies;

/* Each request makes three replies; the room for them is smaller than what the asker sends before it reads one. */
static void server(void *arg)
{
    int n;
    (void)arg;
    while (spool_get(requests, &n) == 0)
        for (int i = 0; i < 3; i++)
            if (spool_put(replies, &n) < 0)
                return;
}

static void asker(void *arg)
{
    (void)arg;
    for (int n = 0; n < 1000; n++)
        if (spool_put(requests, &n) < 0)
            return;
    for (int n; spool_get(replies, &n) == 0;)
        ;
}

static void dump(int signo)
{
    (void)signo;
    (void)spool_dump(STDERR_FILENO);
}

int main(int argc, char **argv)
{
    spool_chan *threads[2];
    signal(SIGQUIT, dump);
    if (argc > 2 || spool_chan_new(&requests, sizeof(int), 8) < 0 || spool_chan_new(&replies, sizeof(int), 8) < 0)
        return 1;
    (void)spool_set_name(requests, "requests");
    (void)spool_set_name(replies, "replies");
    alarm(argc == 2 ? (unsigned)atoi(argv[1]) : 600);
    if (spool_go(&threads[0], server, NULL, 0, 0) < 0 || spool_set_name(threads[0], "server") < 0 ||
        spool_go(&threads[1], asker, NULL, 0, 0) < 0 || spool_set_name(threads[1], "asker") < 0)
        return 1;
    return spool_go_wait(-1) < 0;
}
