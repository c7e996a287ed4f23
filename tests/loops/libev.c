/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* libev: ev_io. */

#include "loop.h"

#include <ev.h>

static void readable(struct ev_loop *loop, ev_io *io, int events)
{
    loop_must(events == EV_READ);
    if (!loop_turn(io->data))
        ev_io_stop(loop, io);
}

static void run(struct loop *l)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    ev_io io;

    loop_must(loop);
    ev_io_init(&io, readable, loop_fd(l), EV_READ);
    io.data = l;
    ev_io_start(loop, &io);
    loop_must(!ev_run(loop, 0)); /* no watcher is left */
    ev_loop_destroy(loop);
}

int main(void)
{
    return loop_test("libev", LOOP_LEVEL, run);
}
