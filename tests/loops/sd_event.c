/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* sd-event, of systemd: an I/O event source. */

#include "loop.h"

#include <sys/epoll.h>
#include <systemd/sd-event.h>

static int readable(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    struct loop *l = arg;

    loop_must(fd == loop_fd(l) && events == EPOLLIN);
    return loop_turn(l) ? 0 : sd_event_exit(sd_event_source_get_event(source), 0);
}

static void run(struct loop *l)
{
    sd_event *event = NULL;
    sd_event_source *source = NULL;

    loop_must(sd_event_new(&event) >= 0);
    loop_must(sd_event_add_io(event, &source, loop_fd(l), EPOLLIN, readable, l) >= 0);
    loop_must(sd_event_loop(event) == 0);
    sd_event_source_unref(source);
    sd_event_unref(event);
}

int main(void)
{
    return loop_test("sd_event", LOOP_LEVEL, run);
}
