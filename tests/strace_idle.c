/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * Everybody waits and nothing happens. "strace_idle" marks one second of that; "strace_idle SECONDS" prints how many
 * nanoseconds of processor time that many seconds take.
 */
#include "strace_mark.h"

#include <poll.h>

static spool_chan *chans[100], *empty, *full;
static atomic_long tids[4];

static void *in_select(void *arg)
{
    spool_select *sel;
    uint64_t value;
    (void)arg;
    need(spool_select_new(&sel), "spool_select_new");
    for (int i = 0; i < 100; i++)
        need(spool_select_get(sel, chans[i], &value), "spool_select_get");
    atomic_store(&tids[0], syscall(SYS_gettid));
    (void)!spool_select_wait(sel, -1);
    return NULL;
}

static void *in_get(void *arg)
{
    uint64_t value;
    (void)arg;
    atomic_store(&tids[1], syscall(SYS_gettid));
    (void)!spool_get(empty, &value);
    return NULL;
}

static void *in_put(void *arg)
{
    uint64_t value = 0;
    (void)arg;
    atomic_store(&tids[2], syscall(SYS_gettid));
    (void)!spool_put_for(full, &value, INT64_MAX);
    return NULL;
}

static void *in_poll(void *arg)
{
    struct pollfd p = {.fd = spool_fd(empty), .events = POLLIN};
    (void)arg;
    atomic_store(&tids[3], syscall(SYS_gettid));
    poll(&p, 1, -1);
    return NULL;
}

int main(int argc, char **argv)
{
    void *(*const threads[])(void *) = {in_select, in_get, in_put, in_poll};
    uint64_t value = 0;
    long seconds = argc > 1 ? atol(argv[1]) : 1;
    struct timespec before, after;
    for (int i = 0; i < 100; i++)
        chans[i] = chan_of(1);
    empty = chan_of(1);
    full = chan_of(1);
    need(spool_put(full, &value), "spool_put");
    for (int i = 0; i < 4; i++) {
        pthread_t thread;
        need(-pthread_create(&thread, NULL, threads[i], NULL), "pthread_create");
        wait_asleep(&tids[i]);
    }
    mark("begin idle");
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    nanosleep(&(struct timespec){.tv_sec = seconds}, NULL);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    mark("end idle");
    if (argc > 1)
        printf("%lld\n", (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec);
    return 0;
}
