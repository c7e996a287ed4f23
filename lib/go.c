/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "go.h"
#include "lock.h"
#include "registry.h"
#include "spin.h"

/* Finished threads wait this long for another function, and no more than so many at a time. */
#define IDLE_NS INT64_C(10000000000)
#define IDLE_MAX 64

#define COMM_BYTES 16

/* Guards the list, the counts, core->worker and names. Held for a few instructions, never around a user's function. */
static struct spool__lock lock;
static struct spool__worker *idle;
static unsigned n_idle;
static unsigned n_running;
static unsigned n_started;  /* for default names */
static unsigned n_waiting;  /* in spool_go_wait */
static bool cares_for_fork; /* a child of this process will find the above as it has to be */
static _Thread_local unsigned n_before_fork;

uint32_t spool__go_rest;

static _Thread_local spool_chan *self;

spool_chan *spool_self(void)
{
    return self;
}

/* Called with the lock held. */
static void take_name(struct spool__core *core)
{
    char comm[COMM_BYTES];
    memcpy(comm, core->name, sizeof comm - 1);
    comm[sizeof comm - 1] = '\0';
    (void)pthread_setname_np(core->worker->thread, comm);
}

/* Called with the lock held, which it gives up: one runs no more. */
static void unlock_one_less(void)
{
    bool tell = --n_running == 0 && n_waiting > 0;
    if (tell)
        (void)spool__add(&spool__go_rest, 1, RELEASE);
    spool__unlock(&lock);
    if (tell)
        (void)spool__sys_futex_wake(&spool__go_rest, INT_MAX);
}

/*
 * After the function returned, or while the thread exits from within it. True: it is idle from now on. Who sees the
 * channel closed often has another function at once, so not much comes between that and this. But the last reference
 * may call what the user has for elements that are left, for which no function must wait.
 */
static bool finish_job(struct spool__worker *w, bool goes_on)
{
    self = NULL;
    spool__lock(&lock);
    w->self->core->worker = NULL;
    spool__unlock(&lock);
    (void)spool_close(w->self);
    (void)spool_unref(w->self);
    w->self = NULL;
    /* Seen by who gives it a job, as he takes it out of the list, under the lock. */
    spool__store(&w->state, SPOOL__NO_JOB, RELAXED);
    spool__lock(&lock);
    bool is_idle = goes_on && n_idle < IDLE_MAX;
    if (is_idle) {
        w->next_idle = idle;
        idle = w;
        n_idle++;
    }
    unlock_one_less();
    return is_idle;
}

static void free_worker(struct spool__worker *w)
{
    spool__registry_remove(w->entry);
    spool__sys_free(w);
}

static void exit_job(void *arg)
{
    (void)finish_job(arg, false);
    free_worker(arg);
}

/* True: it is idle. */
static bool do_job(struct spool__worker *w)
{
    sigset_t all;
    spool__lock(&lock);
    w->thread = pthread_self();
    w->self->core->worker = w;
    take_name(w->self->core);
    spool__unlock(&lock);
    self = w->self;
    (void)pthread_sigmask(SIG_SETMASK, &w->mask, NULL);
    /* The function may leave by pthread_exit or be cancelled; the worker goes with its thread then. */
    pthread_cleanup_push(exit_job, w);
    w->fn(w->arg);
    pthread_cleanup_pop(0);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, NULL);
    return finish_job(w, true);
}

/* Waits for a job; false if none came and the worker is out of the list. */
static bool await_job(struct spool__worker *w)
{
    unsigned turns = 0;
    int64_t deadline = INT64_MAX;
    uint32_t state;
    /* Acquire: the job's fields were written before. */
    while ((state = spool__load(&w->state, ACQUIRE)) != SPOOL__JOB) {
        if (spool__spin(&turns))
            continue;
        /* No look after it: a job takes the place of SLEEPS, and the futex then does not sleep. */
        if (state == SPOOL__NO_JOB && !spool__cas(&w->state, &state, SPOOL__SLEEPS, RELAXED))
            continue;
        if (deadline == INT64_MAX)
            deadline = spool__deadline(IDLE_NS);
        if (spool__sys_futex_wait(&w->state, SPOOL__SLEEPS, deadline) != -ETIMEDOUT)
            continue;
        spool__lock(&lock);
        struct spool__worker **at = &idle;
        while (*at && *at != w)
            at = &(*at)->next_idle;
        bool gone = *at == w;
        if (gone) {
            *at = w->next_idle;
            n_idle--;
        }
        spool__unlock(&lock);
        if (gone)
            return false;
        deadline = INT64_MAX;
    }
    return true;
}

static void *worker_main(void *arg)
{
    struct spool__worker *w = arg;
    while (await_job(w) && do_job(w))
        ;
    free_worker(w);
    return NULL;
}

/* One more runs: its number, and the thread for it, or NULL. */
static unsigned start_one(struct spool__worker **ret)
{
    spool__lock(&lock);
    struct spool__worker *w = idle;
    if (w) {
        idle = w->next_idle;
        n_idle--;
    }
    n_running++;
    unsigned number = ++n_started;
    spool__unlock(&lock);
    *ret = w;
    return number;
}

/* A thread that waits for its first job, with all signals blocked: it must not run handlers in between. */
static int new_worker(struct spool__worker **ret)
{
    struct spool__worker *w = spool__sys_zalloc(sizeof *w);
    if (!w)
        return -ENOMEM;
    w->entry = spool__registry_add(w, SPOOL__A_WORKER);
    pthread_attr_t attr;
    int r = pthread_attr_init(&attr);
    if (r == 0) {
        sigset_t all, mask;
        (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &mask);
        r = pthread_create(&w->thread, &attr, worker_main, w);
        (void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
        (void)pthread_attr_destroy(&attr);
    }
    if (r != 0) {
        free_worker(w);
        return -r;
    }
    *ret = w;
    return 0;
}

/* These may be registered more than once, and are called as often for one fork; see need_care_for_fork. */
static void before_fork(void)
{
    if (n_before_fork++ == 0)
        spool__lock(&lock);
}

static void after_fork_parent(void)
{
    if (--n_before_fork == 0)
        spool__unlock(&lock);
}

/* Only the thread that forked is in the child. */
static void after_fork_child(void)
{
    idle = NULL;
    n_idle = 0;
    n_waiting = 0;
    n_running = self != NULL;
    after_fork_parent();
}

/*
 * 0 or -ENOMEM: without it a child would give its functions to threads that it has not got. No lock and no
 * pthread_once(3) keeps two threads from registering at once: a child forked meanwhile would find it taken for ever.
 */
static int need_care_for_fork(void)
{
    /* Acquire, and release below: whoever goes on to take the lock does so after it was registered. */
    if (spool__load(&cares_for_fork, ACQUIRE))
        return 0;
    if (pthread_atfork(before_fork, after_fork_parent, after_fork_child) != 0)
        return -ENOMEM;
    spool__store(&cares_for_fork, true, RELEASE);
    return 0;
}

/*
 * As the library is loaded: a fork of another thread that is under way, and calls what others have registered, calls no
 * more what is registered now, but may copy the lock held. If it fails then, whoever comes first tries again.
 */
SPOOL__AT_LOAD static void care_for_fork(void)
{
    (void)need_care_for_fork();
}

void spool__core_set_name(struct spool__core *core, const char *name, size_t len)
{
    /* If there is no memory for it, a child is as it would be without: it may find the lock held. */
    (void)need_care_for_fork();
    spool__lock(&lock);
    memcpy(core->name, name, len);
    core->name[len] = '\0';
    if (core->worker)
        take_name(core);
    spool__unlock(&lock);
}

int spool_go(spool_chan **ret, void (*fn)(void *arg), void *arg, size_t elem_size, size_t capacity)
{
    spool_chan *outer, *inner;
    if (!ret || !fn)
        return -EINVAL;
    int r = need_care_for_fork();
    if (r == 0)
        r = spool__pair_new(&outer, &inner, elem_size, capacity, __builtin_return_address(0));
    if (r < 0)
        return r;
    struct spool__worker *w;
    unsigned number = start_one(&w);
    if (!w) {
        r = new_worker(&w);
        if (r < 0) {
            spool__lock(&lock);
            unlock_one_less();
            (void)spool_unref(outer);
            (void)spool_unref(inner);
            return r;
        }
    }
    (void)pthread_sigmask(SIG_SETMASK, NULL, &w->mask);
    w->fn = fn;
    w->arg = arg;
    w->self = inner;
    (void)snprintf(inner->core->name, sizeof inner->core->name, "go-%u", number);
    *ret = outer;
    /* Release: the job, and *ret, which the function may look at. */
    if (spool__swap(&w->state, (uint32_t)SPOOL__JOB, RELEASE) == SPOOL__SLEEPS)
        (void)spool__sys_futex_wake(&w->state, 1);
    return 0;
}

int spool_go_wait(int64_t timeout_ns)
{
    if (self)
        return -EDEADLK;
    int64_t deadline = timeout_ns == 0 ? 0 : spool__deadline(timeout_ns);
    int r = 0;
    spool__lock(&lock);
    n_waiting++;
    while (n_running > 0 && r != -ETIMEDOUT) {
        if (timeout_ns == 0) {
            r = -EAGAIN;
            break;
        }
        uint32_t seen = spool__load(&spool__go_rest, RELAXED);
        spool__unlock(&lock);
        r = spool__sys_futex_wait(&spool__go_rest, seen, deadline);
        spool__lock(&lock);
    }
    if (n_running == 0)
        r = 0;
    n_waiting--;
    spool__unlock(&lock);
    return r == -EAGAIN || r == -ETIMEDOUT ? r : 0;
}
