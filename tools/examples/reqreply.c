/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * Request and reply: a channel sent in a channel. A request carries the channel for its reply, and with it a reference,
 * which the server drops when it has replied: neither side can use a channel that the other has freed, whoever is done
 * first. Both channels are rendezvous: when a put returns the other side has the element, so no request, and with it no
 * reference, is ever left lying in between. (With room for some, spool_set_drop is the place to drop it.)
 *
 *     cc reqreply.c $(pkg-config --cflags --libs spool)
 */
#include <err.h>
#include <spool.h>
#include <stdio.h>
#include <string.h>

struct request {
    int number;
    spool_chan *reply; /* with a reference to it */
};

SPOOL_TYPED(requests, struct request);

static int check(int r)
{
    if (r < 0)
        errx(1, "%s", strerror(-r));
    return r;
}

static void serve_squares(void *arg)
{
    struct request request;

    (void)arg;
    while (requests_get(requests_self(), &request) == 0) {
        request.number *= request.number;
        check(spool_put(request.reply, &request.number));
        spool_unref(request.reply);
    }
}

int main(void)
{
    requests server;
    spool_chan *reply;

    check(requests_go(&server, serve_squares, NULL, 0));
    check(spool_chan_new(&reply, sizeof(int), 0));
    for (int square, i = 1; i <= 5; i++) {
        struct request request = {.number = i, .reply = spool_ref(reply)};
        check(requests_put(server, &request));
        check(spool_get(reply, &square));
        printf("%d\n", square);
    }
    spool_unref(reply);
    requests_unref(server); /* the last reference closes it: the server returns */
    check(spool_go_wait(-1));
    return 0;
}
