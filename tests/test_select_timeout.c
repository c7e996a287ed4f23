/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* A wait that is out of time says so only if nothing was ready then, whoever was woken for what is there. */
#include "select_util.h"

#include <semaphore.h>
#include <stdarg.h>

/* A thread that is held as soon as it was woken in an epoll set, as if it was not run. */
static struct {
    _Atomic pid_t tid;
    sem_t is_held, go_on;
} late;

long __real_syscall(long nr, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long nr, ...);

long __wrap_syscall(long nr, ...)
{
    va_list list;
    long args[6];
    va_start(list, nr);
    for (int i = 0; i < 6; i++)
        args[i] = va_arg(list, long);
    va_end(list);
    long ret = __real_syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
    bool waits = nr == SYS_epoll_pwait;
#ifdef SYS_epoll_pwait2
    waits = waits || nr == SYS_epoll_pwait2;
#endif
    if (waits && ret > 0 && atomic_load(&late.tid) == (pid_t)__real_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0)) {
        atomic_store(&late.tid, 0);
        sem_post(&late.is_held);
        while (sem_wait(&late.go_on) < 0)
            ;
    }
    return ret;
}

static void must_come(sem_t *sem)
{
    struct timespec end;
    int ret;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += DEADLINE / SEC;
    do
        ret = sem_timedwait(sem, &end);
    while (ret < 0 && errno == EINTR);
    must_be(ret, 0);
}

/*
 * The kernel wakes one select for an element, and that one is sure to take it, or to see that it is gone. But until it
 * runs the element is there for everybody: also for one whose time is over meanwhile, and that the kernel told nothing.
 */
START_TEST(what_is_there_is_taken_before_time_is_over)
{
    const size_t capacities[] = {4, SPOOL_UNBOUNDED};
    spool_chan *chan = chan_of(capacities[_i]);
    uint64_t others = 0, mine = 0;
    struct worker w = {.sel = select_of(), .timeout_ns = DEADLINE};
    spool_select *sel = select_of();
    must_be(sem_init(&late.is_held, 0, 0), 0);
    must_be(sem_init(&late.go_on, 0, 0), 0);
    must_be(spool_select_get(w.sel, chan, &others), 0);
    must_be(spool_select_get(sel, chan, &mine), 0);
    must_be(spool_select_wait(sel, 1), -ETIMEDOUT);
    worker_start(&w, worker_wait);
    worker_wait_asleep(&w);
    atomic_store(&late.tid, atomic_load(&w.tid));
    put(chan, 1);
    must_come(&late.is_held);
    must_be(spool_select_wait(sel, MS), 0);
    must_be(mine, 1);
    sem_post(&late.go_on);
    worker_wait_asleep(&w);
    put(chan, 2);
    must_be(worker_join(&w), 0);
    must_be(others, 2);
    must_be(spool_select_wait(sel, 1), -ETIMEDOUT);
    spool_select_free(sel);
    spool_select_free(w.sel);
    spool_unref(chan);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("select_timeout");
    TCase *tc = case_new(suite, "late");
    tcase_add_loop_test(tc, what_is_there_is_taken_before_time_is_over, 0, 2);
    return run_suite(suite, "select_timeout");
}
