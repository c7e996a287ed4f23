/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * For probes.sh: one thing after the other that the probes tell of. Says first which addresses are what: handles,
 * and the lanes that they get from, which stand behind their first word; and then what comes next.
 */
#include "strace_mark.h"

static spool_chan *ring, *meeting, *pair, *other;
static spool_select *sel;
static uint64_t value;

static void tell(const char *name, const void *handle)
{
    const void *words[2];
    memcpy(words, handle, sizeof words);
    printf("= %p %s\n= %p %s.lane\n", handle, name, words[1], name);
}

struct sleeper {
    int (*wait)(void);
    pthread_t thread;
    atomic_long tid;
};

static int get_ring(void)
{
    return spool_get(ring, &value);
}

static int put_ring(void)
{
    uint64_t own = 1;
    return spool_put(ring, &own);
}

static int get_meeting(void)
{
    return spool_get(meeting, &value);
}

static int get_pair(void)
{
    return spool_get(pair, &value) == -EPIPE ? 0 : -1;
}

static int in_select(void)
{
    return spool_select_wait(sel, -1);
}

static void *sleeper_main(void *arg)
{
    struct sleeper *s = arg;
    atomic_store(&s->tid, syscall(SYS_gettid));
    need(s->wait(), "a wait");
    return NULL;
}

static struct sleeper park(int (*wait)(void))
{
    static struct sleeper s;
    s = (struct sleeper){.wait = wait};
    need(-pthread_create(&s.thread, NULL, sleeper_main, &s), "pthread_create");
    wait_asleep(&s.tid);
    return s;
}

static void join(struct sleeper s)
{
    pthread_join(s.thread, NULL);
}

static void put(spool_chan *chan)
{
    need(spool_put(chan, &value), "spool_put");
}

static void get(spool_chan *chan)
{
    need(spool_get(chan, &value), "spool_get");
}

int main(void)
{
    uint64_t many[4] = {0};
    struct sleeper s;

    alarm(600);
    setvbuf(stdout, NULL, _IONBF, 0);
    ring = chan_of(3);
    meeting = chan_of(0);
    need(spool_pair_new(&pair, &other, sizeof value, 4), "spool_pair_new");
    tell("ring", ring);
    tell("meeting", meeting);
    tell("pair", pair);
    tell("other", other);
    need(spool_select_new(&sel), "spool_select_new");
    printf("= %p sel\n", (void *)sel);

    puts("# an element, a batch, and tries that fail");
    put(ring);
    if (spool_put_many(ring, many, 4, 0) != 2 || spool_try_put(ring, &value) != -EAGAIN)
        abort();
    if (spool_get_many(ring, many, 4, 0) != 3 || spool_try_get(ring, &value) != -EAGAIN)
        abort();
    puts("# out of time");
    if (spool_get_for(ring, &value, 1000000) != -ETIMEDOUT)
        abort();
    puts("# a thread that waits for an element");
    s = park(get_ring);
    put(ring);
    join(s);
    puts("# a thread that waits for room");
    need((int)spool_put_many(ring, many, 3, 0), "spool_put_many");
    s = park(put_ring);
    get(ring);
    join(s);
    need((int)spool_get_many(ring, many, 3, 0), "spool_get_many");
    puts("# a rendezvous");
    s = park(get_meeting);
    put(meeting);
    join(s);
    puts("# a select");
    need(spool_select_get(sel, other, &value), "spool_select_get");
    need(spool_select_get(sel, ring, &value), "spool_select_get");
    s = park(in_select);
    put(ring);
    join(s);
    puts("# a select that need not wait");
    put(ring);
    need(spool_select_wait(sel, 0), "spool_select_wait");
    need(spool_select_remove(sel, 1), "spool_select_remove");
    puts("# a poller");
    need(spool_fd(ring), "spool_fd");
    put(ring);
    puts("# a close");
    need(spool_close(ring), "spool_close");
    spool_select_free(sel); /* and its reference to other */
    puts("# a close of a pair, with a thread that waits");
    s = park(get_pair);
    spool_unref(other);
    join(s);
    puts("# the end");
    return 0;
}
