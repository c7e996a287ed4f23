/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * Under conditions that machines and administrators make: signals all the time, one processor and real-time
 * priorities, a clock that is elsewhere, memory that runs out for good.
 */

#include "source_util.h"

#include <linux/sched.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

/* ---- Signals -------------------------------------------------------------------------------------------------- */

static void count_nothing(int signo)
{
    (void)signo;
}

/* Threads begin when the storms are there. */
static atomic_bool begins;

/* Puts, gets, timed calls and a select, each in a thread that is interrupted 10,000 times a second. */
static int put_all(struct worker *w)
{
    wait_until(atomic_load(&begins));
    for (uint64_t i = 1; i <= w->count; i++)
        must_be(i % 2 ? spool_put(w->chan, &i) : spool_put_for(w->chan, &i, DEADLINE), 0);
    return 0;
}

static int get_all(struct worker *w)
{
    spool_select *sel = select_of();
    uint64_t v = 0;
    wait_until(atomic_load(&begins));
    must_be(spool_select_get(sel, w->chan, &v), 0);
    for (uint64_t i = 1; i <= w->count; i++) {
        if (i % 3 == 0)
            must_be(spool_get(w->chan, &v), 0);
        else if (i % 3 == 1)
            must_be(spool_get_for(w->chan, &v, DEADLINE), 0);
        else
            must_be(spool_select_wait(sel, i % 2 ? -1 : DEADLINE), 0);
        must_be(v, i);
    }
    for (int i = 0; i < 5; i++) {
        int64_t start = now_ns();
        must_be(i % 2 ? spool_get_for(w->chan, &v, 3 * MS) : spool_select_wait(sel, 3 * MS), -ETIMEDOUT);
        must(now_ns() - start >= 3 * MS);
    }
    spool_select_free(sel);
    return 0;
}

START_TEST(a_storm_of_signals_on_everybody)
{
    spool_chan *c = chan_of(flavours[_i]);
    struct worker w[2];
    timer_t storms[2];
    on_signal(SIGUSR1, count_nothing);
    memset(w, 0, sizeof(w));
    for (int i = 0; i < 2; i++) {
        w[i].chan = c;
        w[i].count = scaled(2000);
        worker_start(&w[i], i ? get_all : put_all);
        wait_until(atomic_load(&w[i].tid) > 0);
        storms[i] = storm_begin(atomic_load(&w[i].tid), SIGUSR1, 100 * US);
    }
    atomic_store(&begins, true);
    for (int i = 0; i < 2; i++) {
        must_be(worker_join(&w[i]), 0);
        storm_end(storms[i]);
    }
    must_be(spool_len(c), 0);
    spool_unref(c);
}
END_TEST

/* ---- One processor, two priorities ---------------------------------------------------------------------------- */

static bool become_fifo(int priority)
{
    cpu_set_t one;
    struct sched_param param = {.sched_priority = priority};
    cpu_set_t all;
    must_be(sched_getaffinity(0, sizeof(all), &all), 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &all)) {
            CPU_SET(i, &one);
            break;
        }
    return sched_setaffinity(0, sizeof(one), &one) == 0 &&
           pthread_setschedparam(pthread_self(), SCHED_FIFO, &param) == 0;
}

static int fifo_puts(struct worker *w)
{
    must(become_fifo((int)w->index));
    for (uint64_t i = 1; i <= w->count; i++)
        must_be(spool_put(w->chan, &i), 0);
    return 0;
}

static int fifo_gets(struct worker *w)
{
    uint64_t v;
    must(become_fifo((int)w->index));
    for (uint64_t i = 1; i <= w->count; i++) {
        must_be(spool_get(w->chan, &v), 0);
        must_be(v, i);
    }
    return 0;
}

static void *may_be_fifo(void *arg)
{
    *(bool *)arg = become_fifo(1);
    return NULL;
}

/* Who waits lets the other one run, whichever has the higher priority: it never spins for ever. */
START_TEST(real_time_threads_on_one_processor)
{
    bool may = false;
    pthread_t probe;
    must_be(pthread_create(&probe, NULL, may_be_fifo, &may), 0);
    must_be(pthread_join(probe, NULL), 0);
    if (!may) {
        skip("real_time_threads_on_one_processor", "no right to SCHED_FIFO");
        return;
    }
    for (size_t putter = 1; putter <= 3; putter++) {
        spool_chan *c = chan_of(flavours[_i]);
        struct worker w[2];
        memset(w, 0, sizeof(w));
        for (int i = 0; i < 2; i++) {
            w[i].chan = c;
            w[i].count = scaled(2000);
            w[i].index = i ? 2 : putter;
            worker_start(&w[i], i ? fifo_gets : fifo_puts);
        }
        for (int i = 0; i < 2; i++)
            must_be(worker_join(&w[i]), 0);
        spool_unref(c);
    }
}
END_TEST

/* ---- A clock that is elsewhere -------------------------------------------------------------------------------- */

/* Everything that knows time, in a process whose CLOCK_MONOTONIC is shifted. */
static int times_are_right(int64_t least, int64_t most)
{
    spool_chan *c = chan_of(1), *t = NULL;
    spool_select *sel = select_of();
    uint64_t v = 0;
    int64_t start = now_ns();
    if (start < least || start > most)
        return 2;
    must_be(spool_select_get(sel, c, &v), 0);
    must_be(spool_get_for(c, &v, 3 * MS), -ETIMEDOUT);
    must(now_ns() - start >= 3 * MS);
    start = now_ns();
    must_be(spool_select_wait(sel, 3 * MS), -ETIMEDOUT);
    must(now_ns() - start >= 3 * MS);
    start = now_ns();
    must_be(spool_after(&t, 3 * MS), 0);
    must_be(spool_get(t, &v), 0);
    must(now_ns() - start >= 3 * MS);
    spool_unref(t);
    start = now_ns();
    must_be(spool_tick(&t, MS), 0);
    for (uint64_t n = 0; n < 3; n += v)
        must_be(spool_get(t, &v), 0);
    must(now_ns() - start >= 3 * MS);
    must_be(spool_close(t), 0);
    spool_unref(t);
    must_be(spool_never(&t), 0);
    start = now_ns();
    must_be(spool_get_for(t, &v, 3 * MS), -ETIMEDOUT);
    must(now_ns() - start >= 3 * MS);
    spool_unref(t);
    return 0;
}

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool fine = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return fine;
}

/* Shortly after boot, and after a hundred years. */
START_TEST(in_a_time_namespace)
{
    static const int64_t years = INT64_C(100) * 366 * 86400;
    int64_t now = now_ns() / SEC;
    int64_t shift = _i == 0 ? -(now - 1) : years;
    char text[64];
    pid_t pid = fork();
    int status;
    must(pid >= 0);
    if (pid == 0) {
        snprintf(text, sizeof(text), "monotonic %lld 0\n", (long long)shift);
        if (unshare(CLONE_NEWTIME) < 0 || !write_text("/proc/self/timens_offsets", text))
            _exit(77);
        pid = fork();
        if (pid == 0)
            _exit(times_are_right(_i == 0 ? 0 : years * SEC, _i == 0 ? 3600 * SEC : INT64_MAX));
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            _exit(3);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 4);
    }
    must_be(waitpid(pid, &status, 0), pid);
    must(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip("in_a_time_namespace", "no right to make one");
    else
        must_be(WEXITSTATUS(status), 0);
}
END_TEST

/* ---- No memory, for good -------------------------------------------------------------------------------------- */

/* The address space is limited: an unbounded channel fills it, says so, and gives all of it back, in order. */
START_TEST(the_address_space_is_full)
{
    static char elem[4096];
    static struct worker w;
    spool_chan *c = NULL, *by, *extra = (spool_chan *)elem;
    uint64_t n = 0, v = 9, got = 0;
    struct rlimit was, now;
    int r;
    if (UNDER_ASAN || UNDER_TSAN) {
        skip("the_address_space_is_full", "sanitizers need the address space");
        return;
    }
    by = chan_of(2);
    must_be(spool_chan_new(&c, sizeof(elem), SPOOL_UNBOUNDED), 0);
    /* Some of its memory stays at hand from here on. */
    for (int i = 0; i < 200; i++)
        must_be(spool_put(c, elem), 0);
    for (int i = 0; i < 200; i++)
        must_be(spool_get(c, elem), 0);
    w.chan = by;
    w.elem = &got;
    worker_start(&w, worker_get);
    worker_wait_asleep(&w);
    must_be(getrlimit(RLIMIT_AS, &was), 0);
    now = was;
    now.rlim_cur = 1 << 20; /* less than is in use: nothing can be added */
    must_be(setrlimit(RLIMIT_AS, &now), 0);
    for (;; n++) {
        memcpy(elem, &n, sizeof(n));
        r = spool_put(c, elem);
        if (r < 0)
            break;
        must(n < 1000000);
    }
    must_be(r, -ENOMEM);
    must(n > 0);
    must_be(spool_put_many(c, elem, 1, -1), -ENOMEM);
    must_be(spool_chan_new(&extra, 1 << 20, 100), -ENOMEM);
    must(extra == (spool_chan *)elem);
    /* What exists works on. */
    must_be(spool_put(by, &v), 0);
    must_be(worker_join(&w), 0);
    must_be(got, 9);
    must_be(spool_len(c), n);
    for (uint64_t i = 0; i < n; i++) {
        must_be(spool_try_get(c, elem), 0);
        memcpy(&got, elem, sizeof(got));
        must_be(got, i);
    }
    must_be(spool_try_get(c, elem), -EAGAIN);
    must_be(spool_put(c, elem), 0);
    must_be(setrlimit(RLIMIT_AS, &was), 0);
    must_be(spool_chan_new(&extra, 1 << 20, 100), 0);
    spool_unref(extra);
    spool_unref(c);
    spool_unref(by);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conditions");
    TCase *tc = case_new(s, "conditions");
    tcase_add_loop_test(tc, a_storm_of_signals_on_everybody, 0, FLAVOURS);
    tcase_add_loop_test(tc, real_time_threads_on_one_processor, 0, FLAVOURS);
    tcase_add_loop_test(tc, in_a_time_namespace, 0, 2);
    tcase_add_test(tc, the_address_space_is_full);
    return run_suite(s, "conditions");
}
