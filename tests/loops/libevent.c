/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* libevent: a persistent event. */

#include "loop.h"

#include <event2/event.h>

static void readable(evutil_socket_t fd, short events, void *arg)
{
    struct event *event = *(struct event **)arg;
    struct loop *l = ((void **)arg)[1];

    loop_must(fd == loop_fd(l) && events == EV_READ);
    if (!loop_turn(l))
        event_del(event);
}

static void run(struct loop *l)
{
    struct event_base *base = event_base_new();
    void *arg[2] = {NULL, l};
    struct event *event;

    loop_must(base);
    event = event_new(base, loop_fd(l), EV_READ | EV_PERSIST, readable, arg);
    loop_must(event);
    arg[0] = event;
    loop_must(event_add(event, NULL) == 0);
    loop_must(event_base_dispatch(base) == 1); /* no event is left */
    event_free(event);
    event_base_free(base);
}

int main(void)
{
    return loop_test("libevent", LOOP_LEVEL, run);
}
