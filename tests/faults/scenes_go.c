/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "faults.h"

#include "kernel.h"
#include "scenes.h"

/* Gives back what it gets, until the outside closes. */
static void answers(void *arg)
{
    uint64_t v;
    (void)arg;
    must_be(SURE(spool_set_name(spool_self(), "answers")), 0);
    while (SURE_OUT(v, spool_get(spool_self(), &v)) == 0)
        must_be(SURE(spool_put(spool_self(), &v)), 0);
}

static spool_chan *go(void (*fn)(void *), void *arg)
{
    spool_chan *c;
    must_be(MAY_FAIL_OUT(c, spool_go(&c, fn, arg, sizeof(uint64_t), 2)), 0);
    must_be(SURE(spool_set_drop(c, tags_drop)), 0);
    return c;
}

static void exchanges(spool_chan *c, uint64_t first)
{
    for (uint64_t v = first; v < first + 3; v++) {
        put_sure(c, v);
        get_sure(c, v);
    }
}

static void sleeps_until_told(void *arg)
{
    uint64_t v;
    atomic_store((_Atomic pid_t *)arg, self_tid());
    must_be(SURE_OUT(v, spool_get(spool_self(), &v)), -EPIPE);
}

/* Threads are made, used again, waited for. */
void run_go(void)
{
    _Atomic pid_t tid = 0;
    spool_chan *c, *d;
    must_be(SURE(spool_go_wait(0)), 0);
    c = go(answers, NULL);
    exchanges(c, 0);
    d = go(answers, NULL);
    exchanges(d, 10);
    must_be(SURE(spool_go_wait(0)), -EAGAIN);
    TIMES_OUT(SURE(spool_go_wait(WAIT)));
    must_be(SURE(spool_close(c)), 0);
    SURE_DONE(spool_unref(c));
    SURE_DONE(spool_unref(d));
    must_be(SURE(spool_go_wait(-1)), 0);
    c = go(sleeps_until_told, &tid);
    must_be(SURE(spool_set_name(c, "sleeps")), 0);
    wait_until(task_asleep(atomic_load(&tid)));
    must_be(SURE(spool_close(c)), 0);
    must_be(SURE(spool_go_wait(DEADLINE)), 0);
    SURE_DONE(spool_unref(c));
}

static int waits_for_all(struct worker *w)
{
    (void)w;
    return (int)SURE(spool_go_wait(-1));
}

/* The child of a process with idle threads has none of them, and makes its own. Others wait meanwhile. */
void run_go_fork(void)
{
    spool_chan *c = go(answers, NULL);
    struct worker w = {0};
    pid_t pid;
    int status;
    worker_start(&w, waits_for_all);
    worker_wait_asleep(&w);
    SURE_DONE(spool_unref(c));
    must_be(worker_join(&w), 0);
    pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        c = go(answers, NULL);
        exchanges(c, 100);
        SURE_DONE(spool_unref(c));
        must_be(SURE(spool_go_wait(-1)), 0);
        _exit(0);
    }
    must_be(waitpid(pid, &status, 0), pid);
    must_be(status, 0);
}
