/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* One thing at a time happens to sleeping waiters, between marks that strace.sh looks for. */
#include "strace_mark.h"

enum { WAITERS = 3, ROUNDS = 30 };

struct waiter {
    pthread_t thread;
    atomic_long tid;
    atomic_int *took;
    spool_chan *chan;
    int put; /* waits for room */
};

static void *select_loop(void *arg)
{
    struct waiter *w = arg;
    uint64_t value = 0;
    spool_select *sel;
    spool_chan *quiet = chan_of(1);
    need(spool_select_new(&sel), "spool_select_new");
    need(spool_select_get(sel, quiet, &value), "spool_select_get");
    int index = w->put ? spool_select_put(sel, w->chan, &value) : spool_select_get(sel, w->chan, &value);
    need(index, "adding a case");
    atomic_store(&w->tid, syscall(SYS_gettid));
    while (spool_select_wait(sel, -1) == index && spool_select_result(sel, index) == 0)
        atomic_fetch_add(w->took, 1);
    spool_select_free(sel);
    spool_unref(quiet);
    return NULL;
}

static void *get_loop(void *arg)
{
    struct waiter *w = arg;
    uint64_t value;
    atomic_store(&w->tid, syscall(SYS_gettid));
    while (spool_get(w->chan, &value) == 0)
        atomic_fetch_add(w->took, 1);
    return NULL;
}

static void happen(const char *name, spool_chan *chan, int put, void *(*loop)(void *))
{
    struct waiter waiters[WAITERS] = {0};
    atomic_int took = 0;
    char begin[64], end[64], settled[64], fd[64];
    uint64_t value = 0;
    snprintf(begin, sizeof(begin), "begin %s", name);
    snprintf(end, sizeof(end), "end %s", name);
    snprintf(settled, sizeof(settled), "settled %s", name);
    snprintf(fd, sizeof(fd), "fd %s", name);
    while (put && spool_try_put(chan, &value) == 0)
        ;
    for (int i = 0; i < WAITERS; i++) {
        waiters[i].chan = chan;
        waiters[i].took = &took;
        waiters[i].put = put;
        need(-pthread_create(&waiters[i].thread, NULL, loop, &waiters[i]), "pthread_create");
        wait_asleep(&waiters[i].tid);
    }
    for (int round = 0; round < ROUNDS; round++) {
        mark(begin);
        need(put ? spool_get(chan, &value) : spool_put(chan, &value), name);
        mark(end);
        while (atomic_load(&took) <= round)
            nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
        for (int i = 0; i < WAITERS; i++)
            wait_asleep(&waiters[i].tid);
        mark(settled);
    }
    snprintf(begin, sizeof(begin), "begin close_%s", name);
    snprintf(end, sizeof(end), "end close_%s", name);
    mark(begin);
    need(spool_close(chan), "spool_close");
    mark(end);
    for (int i = 0; i < WAITERS; i++)
        pthread_join(waiters[i].thread, NULL);
    /* Only now: from here on strangers poll it. */
    mark_number(fd, put ? spool_put_fd(chan) : spool_fd(chan));
    spool_unref(chan);
}

int main(void)
{
    /* The numbers of eventfds differ, so that one is not taken for another. */
    spool_chan *others[] = {chan_of(1), chan_of(1)};
    need(spool_fd(others[0]), "spool_fd");
    need(spool_put_fd(others[1]), "spool_put_fd");
    happen("select_get", chan_of(4), 0, select_loop);
    happen("select_put", chan_of(4), 1, select_loop);
    happen("parked_get", chan_of(4), 0, get_loop);
    spool_unref(others[0]);
    spool_unref(others[1]);
    return 0;
}
