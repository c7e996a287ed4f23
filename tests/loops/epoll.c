/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* epoll(7) itself, in each of its modes: lt, et, oneshot, exclusive. */

#include "loop.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static const struct mode {
    const char *name, *test;
    uint32_t events;
    unsigned flags;
} modes[] = {
    {"lt", "epoll_lt", 0, LOOP_LEVEL},
    /* An edge is told once: the turn has to go on until -EAGAIN. */
    {"et", "epoll_et", EPOLLET, 0},
    /* EPOLL_CTL_MOD looks at the level. */
    {"oneshot", "epoll_oneshot", EPOLLONESHOT, LOOP_LEVEL},
    /* Of two sets that have it one is told, again and again as it is the level; the other one may sleep meanwhile. */
    {"exclusive", "epoll_exclusive", EPOLLEXCLUSIVE, LOOP_LEVEL | LOOP_TWO | LOOP_NO_SELECT},
};

static const struct mode *mode;

/* Of a select, whose descriptor is an epoll set itself: the kernel refuses it. */
static bool exclusive_takes_a_select(void)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE};
    int epoll = epoll_create1(EPOLL_CLOEXEC), r;
    spool_select *sel;

    loop_must(epoll >= 0 && spool_select_new(&sel) == 0);
    r = epoll_ctl(epoll, EPOLL_CTL_ADD, spool_select_poll_fd(sel), &ev);
    loop_must(r == 0 || errno == EINVAL);
    spool_select_free(sel);
    close(epoll);
    return r == 0;
}

static void run(struct loop *l)
{
    struct epoll_event ev = {.events = EPOLLIN | mode->events};
    int epoll = epoll_create1(EPOLL_CLOEXEC), n;

    loop_must(epoll >= 0);
    if (mode->flags & LOOP_NO_SELECT)
        loop_must(!exclusive_takes_a_select());
    loop_must(epoll_ctl(epoll, EPOLL_CTL_ADD, loop_fd(l), &ev) == 0);
    for (;;) {
        do
            n = epoll_wait(epoll, &ev, 1, -1);
        while (n < 0 && errno == EINTR);
        loop_must(n == 1);
        if (!loop_turn(l))
            break;
        if (mode->events & EPOLLONESHOT) {
            ev.events = EPOLLIN | mode->events;
            loop_must(epoll_ctl(epoll, EPOLL_CTL_MOD, loop_fd(l), &ev) == 0);
        }
    }
    close(epoll);
}

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++)
        if (argc == 2 && strcmp(argv[1], modes[i].name) == 0)
            mode = &modes[i];
    if (!mode) {
        fprintf(stderr, "usage: epoll lt|et|oneshot|exclusive\n");
        return 2;
    }
    return loop_test(mode->test, mode->flags, run);
}
