/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * For gdb.sh: a channel of each kind, threads that are parked in gets and puts, and a select that waits. When all of
 * them sleep it calls parked(), for a breakpoint.
 */
#include <signal.h>
#include <sys/wait.h>

#include "strace_mark.h"

#define HOUR INT64_C(3600000000000)

struct job {
    long number, weight;
};
SPOOL_TYPED(jobs, struct job);

static spool_chan *bounded, *full, *unbounded, *rendezvous, *closed, *left, *right, *timer, *signals, *child;
static spool_chan *garbage, *nothing;
static spool_select *waiting;
static jobs typed;
static struct server {
    const char *name;
    spool_chan *queues[2];
} server;
static uint64_t value;

static int get_bounded(void)
{
    return spool_get(bounded, &value);
}

static int put_full(void)
{
    return spool_put(full, &value);
}

static int get_rendezvous(void)
{
    return spool_get_for(rendezvous, &value, HOUR);
}

static int get_timer(void)
{
    return spool_get(timer, &value);
}

static int put_pair(void)
{
    return spool_put(right, &value);
}

static int select_some(void)
{
    return spool_select_wait(waiting, -1);
}

struct sleeper {
    int (*wait)(void);
    atomic_long tid;
};

static void *sleeper_main(void *arg)
{
    struct sleeper *s = arg;
    atomic_store(&s->tid, syscall(SYS_gettid));
    need(s->wait(), "a wait");
    return NULL;
}

static void park(struct sleeper *s)
{
    pthread_t thread;
    need(-pthread_create(&thread, NULL, sleeper_main, s), "pthread_create");
    wait_asleep(&s->tid);
}

void parked(struct server *s);
__attribute__((noinline)) void parked(struct server *s)
{
    __asm__ volatile("" : : "r"(s) : "memory");
}

static void make_channels(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    bounded = chan_of(8);
    full = chan_of(2);
    rendezvous = chan_of(0);
    need(spool_chan_new(&unbounded, 24, SPOOL_UNBOUNDED), "spool_chan_new");
    need(spool_chan_new(&closed, 100, 5), "spool_chan_new");
    need(spool_chan_new(&server.queues[0], 0, 3), "spool_chan_new");
    server.queues[1] = chan_of(SPOOL_UNBOUNDED);
    need(spool_pair_new(&left, &right, sizeof value, 4), "spool_pair_new");
    need(jobs_new(&typed, 16), "jobs_new");
    need(spool_tick(&timer, HOUR), "spool_tick");
    need(spool_signal(&signals, &set), "spool_signal");
    need(spool_child(&child, pid), "spool_child");
    spool_set_name(bounded, "bounded");
    spool_set_name(full, "full");
    spool_set_name(unbounded, "unbounded");
    spool_set_name(rendezvous, "rendezvous");
    spool_set_name(closed, "closed");
    spool_set_name(left, "pair");
    spool_set_name(typed.chan, "typed");
    spool_set_name(timer, "hourly");
    spool_set_name(signals, "signals");
    spool_set_name(child, "child");
    spool_set_name(server.queues[0], "tokens");
}

static void fill_channels(void)
{
    char big[100] = {0};
    struct job job = {1, 2};
    /* Round about the ring, so that its positions are not those of the beginning. */
    for (int i = 0; i < 13; i++)
        if (spool_put(full, &value) < 0 || spool_get(full, &value) < 0)
            abort();
    need(spool_put(full, &value), "spool_put");
    need(spool_put(full, &value), "spool_put");
    /* Several segments. */
    for (int i = 0; i < 30000; i++)
        if (spool_put(unbounded, big) < 0 || (i % 3 == 0 && spool_get(unbounded, big) < 0))
            abort();
    need(spool_put(closed, big), "spool_put");
    need(spool_close(closed), "spool_close");
    need(spool_put(server.queues[1], &value), "spool_put");
    need(spool_close(server.queues[1]), "spool_close");
    need(spool_put(left, &value), "spool_put");
    while (spool_try_put(right, &value) == 0)
        ;
    need(jobs_put(typed, &job), "jobs_put");
    need(spool_put(server.queues[0], NULL), "spool_put");
    need(spool_fd(bounded), "spool_fd");
}

static void make_select(void)
{
    int pipes[2];
    need(pipe(pipes), "pipe");
    need(spool_select_new(&waiting), "spool_select_new");
    need(spool_select_get(waiting, bounded, &value), "spool_select_get");
    need(spool_select_put(waiting, full, &value), "spool_select_put");
    int off = spool_select_get(waiting, left, &value);
    need(off, "spool_select_get");
    need(spool_select_enable(waiting, off, false), "spool_select_enable");
    need(spool_select_fd(waiting, pipes[0], 1), "spool_select_fd");
}

int main(void)
{
    static struct sleeper sleepers[] = {{get_bounded, 0}, {put_full, 0}, {get_rendezvous, 0},
                                        {get_timer, 0},   {put_pair, 0}, {select_some, 0}};
    alarm(600);
    garbage = (spool_chan *)(void *)&value;
    make_channels();
    fill_channels();
    make_select();
    for (size_t i = 0; i < sizeof sleepers / sizeof *sleepers; i++)
        park(&sleepers[i]);
    parked(&server);
    return 0;
}
