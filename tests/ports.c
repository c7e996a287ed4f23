/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * A short look at a port, for tests/ports.sh: needs nothing but the C library and the archive, and can be linked
 * statically. Every flavour between threads, a select over channels, a timer and a descriptor, threads of spool_go, and
 * what depends on the width of time_t. Prints what is wrong; exit status 1 if anything is.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "chan.h"
#include "sys.h"

#define COUNT 2000
#define THREADS 2
/* 2^32 seconds: none at all where seconds have 32 bits and nobody looks. */
#define AGES (INT64_C(4294967296) * 1000000000)

static int wrong;

#define WANT(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            printf("%s:%d: wrong: %s\n", __FILE__, __LINE__, #condition);                                              \
            wrong = 1;                                                                                                 \
        }                                                                                                              \
    } while (0)

struct message {
    uint32_t number;
    char text[28];
};

static atomic_uint sum;

static void *put_all(void *arg)
{
    for (uint32_t i = 1; i <= COUNT; i++) {
        struct message m = {.number = i};
        memset(m.text, (int)(i & 0xff), sizeof(m.text));
        WANT(spool_put(arg, &m) == 0);
    }
    return NULL;
}

static void *get_all(void *arg)
{
    struct message m;
    int r;
    while ((r = spool_get(arg, &m)) == 0) {
        WANT(m.text[0] == (char)m.number && m.text[27] == (char)m.number);
        atomic_fetch_add(&sum, m.number);
    }
    WANT(r == -EPIPE);
    return NULL;
}

static void look_at_flavour(size_t capacity)
{
    pthread_t putters[THREADS], getters[THREADS];
    spool_chan *chan;
    sum = 0;
    WANT(spool_chan_new(&chan, sizeof(struct message), capacity) == 0);
    for (int i = 0; i < THREADS; i++) {
        WANT(pthread_create(&putters[i], NULL, put_all, chan) == 0);
        WANT(pthread_create(&getters[i], NULL, get_all, chan) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(putters[i], NULL);
    WANT(spool_close(chan) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(getters[i], NULL);
    WANT(sum == THREADS * (COUNT * (COUNT + 1) / 2));
    spool_unref(chan);
}

static void count_down(void *arg)
{
    for (uint64_t i = *(int *)arg; i > 0; i--)
        WANT(spool_put(spool_self(), &i) == 0);
}

static void look_at_select(void)
{
    int from = 100, fd = eventfd(1, EFD_CLOEXEC), i, fd_case, timer_case, putting, others = 0;
    uint64_t in = 0, taken, fired = 0, out = 7;
    spool_chan *worker, *timer, *room;
    spool_select *sel;
    WANT(fd >= 0);
    WANT(spool_go(&worker, count_down, &from, sizeof(uint64_t), 3) == 0);
    WANT(spool_after(&timer, 1000000) == 0);
    WANT(spool_chan_new(&room, sizeof(uint64_t), 1) == 0);
    WANT(spool_select_new(&sel) == 0);
    WANT(spool_select_get(sel, worker, &in) == 0);
    timer_case = spool_select_get(sel, timer, &fired);
    fd_case = spool_select_fd(sel, fd, EPOLLIN);
    putting = spool_select_put(sel, room, &out);
    sum = 0;
    while ((i = spool_select_wait(sel, AGES)) >= 0) {
        if (i == 0 && spool_select_result(sel, i) == 0)
            atomic_fetch_add(&sum, (unsigned)in);
        if (i == fd_case || i == putting) {
            others++;
            WANT(spool_select_remove(sel, i) == 0);
        }
    }
    WANT(i == -ENODATA && others == 2 && fired == 1 && sum == 5050 && timer_case > 0);
    WANT(spool_try_get(room, &taken) == 0 && taken == 7);
    spool_select_free(sel);
    spool_unref(worker);
    spool_unref(timer);
    spool_unref(room);
    close(fd);
}

/* i386 aligns 8 bytes to 4, and then a load across two cache lines is not atomic. */
static void look_at_layout(void)
{
    WANT(_Alignof(struct spool__gate) == 8 && offsetof(struct spool__gate, selects) % 8 == 0);
    WANT(offsetof(struct spool__lane, gates) % 8 == 0);
    WANT(_Alignof(struct spool__party) == 8 && offsetof(struct spool__party, opens) % 8 == 0);
    WANT(_Alignof(struct spool__meet) == 8 && offsetof(struct spool__meet, sides[0].changes) % 8 == 0);
    WANT(offsetof(struct spool__meet, sides[1].changes) % 8 == 0);
}

/* ---- Times ------------------------------------------------------------------------------------------------------ */

static atomic_int get_ended;

static void *get_for_ages(void *arg)
{
    uint64_t value = 0;
    int r = spool_get_for(arg, &value, AGES);
    WANT(r == 0 && value == 5);
    atomic_store(&get_ended, 1);
    return NULL;
}

/* What waits for ages is not over at once: the first sleeps until it gets its element. */
static void look_at_ages(void)
{
    uint64_t value = 5;
    spool_chan *chan, *never, *after;
    pthread_t thread;
    WANT(spool_chan_new(&chan, sizeof(uint64_t), 1) == 0);
    WANT(spool_never(&never) == 0);
    WANT(spool_after(&after, AGES) == 0);
    WANT(pthread_create(&thread, NULL, get_for_ages, chan) == 0);
    while (!spool__gate_is_waited(&spool__chan_lane(chan, SPOOL__GET)->gates[SPOOL__GET]) && !get_ended)
        sched_yield();
    WANT(spool_get_for(never, &value, 50000000) == -ETIMEDOUT);
    WANT(!get_ended);
    WANT(spool_try_get(after, &value) == -EAGAIN);
    WANT(spool_try_put(chan, &(uint64_t){5}) == 0);
    pthread_join(thread, NULL);
    spool_unref(chan);
    spool_unref(never);
    spool_unref(after);
}

/* Under the library's calls, which would wait again where one of these ended early, without end or rest. */
static void look_at_kernel_times(void)
{
    uint32_t word = 0;
    struct pollfd p = {.fd = spool__sys_eventfd(), .events = POLLIN};
    int64_t deadline = spool__sys_now() + 50000000;
    while (spool__sys_poll_until(&p, 1, deadline) == -EINTR)
        ;
    WANT(spool__sys_now() >= deadline);
    deadline = spool__sys_now() + 50000000;
    WANT(spool__sys_futex_wait(&word, 0, deadline) == -ETIMEDOUT);
    WANT(spool__sys_now() >= deadline);
    WANT(spool__sys_eventfd_write(p.fd, 1) >= 0);
    WANT(spool__sys_poll_until(&p, 1, spool__sys_now() + AGES) == 1);
    spool__sys_close(p.fd);
}

int main(void)
{
    static const size_t capacities[] = {1, 3, 64, SPOOL_UNBOUNDED, 0};
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++)
        look_at_flavour(capacities[i]);
    look_at_select();
    look_at_layout();
    look_at_ages();
    look_at_kernel_times();
    WANT(spool_go_wait(-1) == 0);
    printf("pointers of %zu bits, time_t of %zu, %s\n", sizeof(void *) * 8, sizeof(time_t) * 8,
           wrong ? "something is wrong" : "all is right");
    return wrong;
}
