/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* Threads with a channel: spool_go, spool_self, spool_go_wait. */

#include "util.h"

static spool_chan *const sentinel = (spool_chan *)(uintptr_t)0x5e5e5e50;

/* One of each flavour. */
static const size_t flavours[] = {1, SPOOL_UNBOUNDED, 0};

enum { N_FLAVOURS = sizeof(flavours) / sizeof(*flavours) };

static spool_chan *go(void (*fn)(void *), void *arg, size_t size, size_t capacity)
{
    spool_chan *c = NULL;

    must_be(spool_go(&c, fn, arg, size, capacity), 0);
    must(c);
    return c;
}

static void must_be_over(spool_chan *c)
{
    char elem[64];

    must_be(spool_get_for(c, elem, DEADLINE), -EPIPE);
    must(!spool_alive(c));
}

static void do_nothing(void *arg)
{
    (void)arg;
}

/* ---- One function --------------------------------------------------------------------------------------------- */

static void add_one(void *arg)
{
    uint64_t v;

    must_be((uintptr_t)arg, (uintptr_t)&go);
    must(spool_self());
    must(spool_alive(spool_self()));
    must_be(spool_elem_size(spool_self()), 8);
    must(spool_capacity(spool_self()) == 3 || !is_bounded(spool_self()));
    must_be(spool_get(spool_self(), &v), 0);
    v++;
    must_be(spool_put(spool_self(), &v), 0);
    must_be(spool_put(spool_self(), &v), 0);
}

START_TEST(test_go)
{
    size_t capacity = flavours[_i] == 1 ? 3 : flavours[_i];
    uint64_t v = 41;
    spool_chan *c;

    must(!spool_self());
    c = go(add_one, (void *)(uintptr_t)&go, 8, capacity);
    must(!spool_self());
    must_be(spool_elem_size(c), 8);
    must_be(spool_capacity(c), capacity);
    must_be(spool_put(c, &v), 0);
    if (capacity > 0) {
        must_be(spool_go_wait(DEADLINE), 0);
        /* The function has returned; what it put is still there. */
        must(!spool_alive(c));
        must_be(spool_len(c), 2);
    }
    must_be(spool_get(c, &v), 0);
    must_be(v, 42);
    must_be(spool_get(c, &v), 0);
    must_be_over(c);
    must_be(spool_put(c, &v), -EPIPE);
    must_be(spool_close(c), -EALREADY);
    spool_unref(c);
}
END_TEST

START_TEST(test_errors)
{
    static const struct {
        size_t size, capacity;
        int rc;
    } bad[] = {
        {SIZE_MAX / 2 + 1, 2, -EOVERFLOW},
        {SIZE_MAX, 2, -EOVERFLOW},
    };
    int threads = count_threads();
    spool_chan *c = sentinel;

    must_be(spool_go(NULL, do_nothing, NULL, 8, 1), -EINVAL);
    must_be(spool_go(&c, NULL, NULL, 8, 1), -EINVAL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        must_be(spool_go(&c, do_nothing, NULL, bad[i].size, bad[i].capacity), bad[i].rc);
    if (sizeof(size_t) >= 8)
        must_be(spool_go(&c, do_nothing, NULL, (size_t)1 << 30, (size_t)1 << 28), -ENOMEM);
    must(c == sentinel);
    must_be(count_threads(), threads);
    /* What failed is not waited for. */
    must_be(spool_go_wait(0), 0);
    must_be(spool_go_wait(-1), 0);
}
END_TEST

static void leave_by_exit(void *arg)
{
    uint64_t v = 7;

    (void)arg;
    must_be(spool_put(spool_self(), &v), 0);
    pthread_exit(NULL);
}

/* A thread that leaves by pthread_exit has returned as far as anyone can see. */
START_TEST(test_pthread_exit)
{
    int threads = count_threads();
    size_t n = scaled(200);

    for (size_t i = 0; i < n; i++) {
        spool_chan *c = go(leave_by_exit, NULL, 8, flavours[i % 3]);
        uint64_t v;

        must_be(spool_get_for(c, &v, DEADLINE), 0);
        must_be(v, 7);
        must_be_over(c);
        spool_unref(c);
    }
    must_be(spool_go_wait(DEADLINE), 0);
    wait_until(count_threads() == threads);
    spool_unref(go(do_nothing, NULL, 0, 1));
    must_be(spool_go_wait(DEADLINE), 0);
}
END_TEST

static pthread_t cancelled;

static void be_cancelled(void *arg)
{
    cancelled = pthread_self();
    atomic_store((atomic_bool *)arg, true);
    for (;;)
        pause();
}

START_TEST(test_pthread_cancel)
{
    atomic_bool ready = false;
    spool_chan *c;

    if (UNDER_TSAN) {
        skip("pthread_cancel", "ThreadSanitizer does not support cancelling");
        return;
    }
    c = go(be_cancelled, &ready, 8, flavours[_i]);
    wait_until(atomic_load(&ready));
    must_be(pthread_cancel(cancelled), 0);
    must_be_over(c);
    must_be(spool_go_wait(DEADLINE), 0);
    spool_unref(c);
}
END_TEST

static void pulse(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
    while (spool_alive(spool_self()))
        nap();
    atomic_fetch_add((atomic_int *)arg, 1);
}

/* while (spool_alive(spool_self())) ends when the outside closes, or drops its end. */
START_TEST(test_outside_ends_it)
{
    for (int how = 0; how < 3; how++) {
        atomic_int steps = 0;
        spool_chan *c = go(pulse, &steps, 8, flavours[_i]);

        if (how < 2)
            wait_until(atomic_load(&steps) == 1);
        must_be(spool_go_wait(0), -EAGAIN);
        if (how == 0)
            must_be(spool_close(c), 0);
        spool_unref(c);
        must_be(spool_go_wait(DEADLINE), 0);
        must_be(atomic_load(&steps), 2);
    }
}
END_TEST

static void get_until_closed(void *arg)
{
    uint64_t v;

    while (spool_get(spool_self(), &v) == 0)
        ;
    *(bool *)arg = true;
}

/* A function that sleeps in a get is woken when the outside goes. */
START_TEST(test_unref_ends_get)
{
    for (int i = 0; i < 100; i++) {
        bool over = false;
        spool_chan *c = go(get_until_closed, &over, 8, flavours[_i]);
        uint64_t v = 0;

        for (int k = 0; k < i % 4; k++)
            must_be(spool_put(c, &v), 0);
        spool_unref(c);
        must_be(spool_go_wait(DEADLINE), 0);
        must(over);
    }
}
END_TEST

static atomic_size_t dropped;

static void count_drop(void *elem)
{
    (void)elem;
    atomic_fetch_add(&dropped, 1);
}

static void put_two(void *arg)
{
    uint64_t v = 1;

    must_be(spool_set_drop(spool_self(), count_drop), 0);
    must_be(spool_put(spool_self(), &v), 0);
    must_be(spool_put(spool_self(), &v), 0);
    while (!atomic_load((atomic_bool *)arg))
        nap();
}

/* What nobody gets, in either direction, is dropped. */
START_TEST(test_drop)
{
    atomic_bool end = false;
    spool_chan *c = go(put_two, &end, 8, _i ? SPOOL_UNBOUNDED : 4);
    uint64_t v = 0;

    wait_until(spool_len(c) == 2);
    for (int i = 0; i < 3; i++)
        must_be(spool_put(c, &v), 0);
    must_be(spool_get(c, &v), 0);
    atomic_store(&end, true);
    must_be(spool_go_wait(DEADLINE), 0);
    must_be(atomic_load(&dropped), 3);
    spool_unref(c);
    must_be(atomic_load(&dropped), 4);
}
END_TEST

static atomic_bool in_drop, may_drop;

static void slow_drop(void *elem)
{
    (void)elem;
    atomic_store(&in_drop, true);
    while (!atomic_load(&may_drop))
        nap();
}

static void take_none(void *arg)
{
    must_be(spool_set_drop(spool_self(), slow_drop), 0);
    while (!atomic_load((atomic_bool *)arg))
        nap();
}

/* A thread that still drops elements is given no other function, and counts as one that has not returned. */
START_TEST(test_slow_drop)
{
    atomic_bool end = false;
    spool_chan *c = go(take_none, &end, 8, 1), *other;
    uint64_t v = 1;

    must_be(spool_put(c, &v), 0);
    atomic_store(&end, true);
    wait_until(atomic_load(&in_drop));
    for (int i = 0; i < 3; i++) {
        other = go(do_nothing, NULL, 0, 1);
        must_be_over(other);
        spool_unref(other);
    }
    must_be(spool_go_wait(0), -EAGAIN);
    atomic_store(&may_drop, true);
    must_be(spool_go_wait(DEADLINE), 0);
    spool_unref(c);
}
END_TEST

static void give_self_away(void *arg)
{
    *(spool_chan **)arg = spool_ref(spool_self());
}

/* Its end closes when the function returns, even if somebody kept a reference to it. */
START_TEST(test_self_kept)
{
    spool_chan *kept = NULL;
    spool_chan *c = go(give_self_away, &kept, 8, flavours[_i]);

    must_be_over(c);
    must_be(spool_go_wait(DEADLINE), 0);
    must(kept && !spool_alive(kept));
    must_be(spool_close(kept), -EALREADY);
    spool_unref(c);
    spool_unref(kept);
}
END_TEST

/* ---- Waiting for all ------------------------------------------------------------------------------------------ */

static void wait_inside(void *arg)
{
    (void)arg;
    must_be(spool_go_wait(0), -EDEADLK);
    must_be(spool_go_wait(MS), -EDEADLK);
    must_be(spool_go_wait(-1), -EDEADLK);
}

START_TEST(test_go_wait)
{
    static const int64_t limits[] = {1, MS, 30 * MS};
    atomic_int steps = 0;
    spool_chan *c;

    must_be(spool_go_wait(0), 0);
    must_be(spool_go_wait(-1), 0);
    must_be(spool_go_wait(INT64_MAX), 0);
    c = go(pulse, &steps, 8, 1);
    must_be(spool_go_wait(0), -EAGAIN);
    for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
        int64_t start = now_ns();

        must_be(spool_go_wait(limits[i]), -ETIMEDOUT);
        must(now_ns() - start >= limits[i]);
    }
    must(spool_alive(c));
    spool_unref(c);
    must_be(spool_go_wait(INT64_MAX), 0);
    spool_unref(go(wait_inside, NULL, 0, 1));
    must_be(spool_go_wait(-1), 0);
}
END_TEST

static int wait_for_all(struct worker *w)
{
    return spool_go_wait(w->timeout_ns);
}

static void note_signal(int signo)
{
    (void)signo;
}

/* Several wait at once, some with a limit, and signals interrupt them. */
START_TEST(test_go_wait_blocked)
{
    static const int64_t limits[] = {-1, INT64_MIN, INT64_MAX, INT64_MAX - 1};
    atomic_int steps = 0;
    spool_chan *c = go(pulse, &steps, 8, 1);
    struct worker w[4];
    timer_t storm;

    on_signal(SIGUSR1, note_signal);
    memset(w, 0, sizeof(w));
    for (size_t i = 0; i < 4; i++) {
        w[i].timeout_ns = limits[i];
        worker_start(&w[i], wait_for_all);
    }
    for (size_t i = 0; i < 4; i++)
        worker_wait_asleep(&w[i]);
    storm = storm_begin(atomic_load(&w[0].tid), SIGUSR1, MS);
    must_be(spool_go_wait(50 * MS), -ETIMEDOUT);
    for (size_t i = 0; i < 4; i++)
        must(!atomic_load(&w[i].done));
    must_be(spool_close(c), 0);
    for (size_t i = 0; i < 4; i++)
        must_be(worker_join(&w[i]), 0);
    storm_end(storm);
    spool_unref(c);
}
END_TEST

/* A limit under a storm of signals: never early, nor put off by each of them, which would be for ever. */
START_TEST(test_go_wait_eintr)
{
    atomic_int steps = 0;
    spool_chan *c = go(pulse, &steps, 8, 1);
    struct worker w = {.timeout_ns = 300 * MS, .storm_ns = MS};

    on_signal(SIGUSR1, note_signal);
    for (int i = 0; i < 2; i++) {
        worker_start(&w, wait_for_all);
        must_be(worker_join(&w), -ETIMEDOUT);
        must(w.took_ns >= w.timeout_ns);
    }
    spool_unref(c);
    must_be(spool_go_wait(DEADLINE), 0);
}
END_TEST

/* ---- The thread ----------------------------------------------------------------------------------------------- */

struct thread_facts {
    _Atomic pid_t tid;
    sigset_t mask;
    atomic_bool ready;
    atomic_bool end;
};

static void tell_facts(void *arg)
{
    struct thread_facts *f = arg;

    must_be(pthread_sigmask(SIG_SETMASK, NULL, &f->mask), 0);
    atomic_store(&f->tid, self_tid());
    atomic_store(&f->ready, true);
    while (!atomic_load(&f->end))
        nap();
}

static bool comm_is(pid_t tid, const char *want)
{
    char comm[17];

    return task_comm(tid, comm) && strcmp(comm, want) == 0;
}

/* The thread is called as its channel is, also a reused one, and also when named from inside. */
START_TEST(test_thread_name)
{
    struct thread_facts f = {0};
    spool_chan *c = go(tell_facts, &f, 8, 1);

    wait_until(atomic_load(&f.ready));
    must_be(spool_set_name(c, "resolver"), 0);
    must_be(strcmp(spool_name(c), "resolver"), 0);
    wait_until(comm_is(atomic_load(&f.tid), "resolver"));
    must_be(spool_set_name(c, "a-name-of-more-than-15"), 0);
    wait_until(comm_is(atomic_load(&f.tid), "a-name-of-more-"));
    must_be(spool_set_name(c, "a-name-of-more-than-31-bytes-fails"), -ENAMETOOLONG);
    must(comm_is(atomic_load(&f.tid), "a-name-of-more-"));
    atomic_store(&f.end, true);
    must_be(spool_go_wait(DEADLINE), 0);
    spool_unref(c);

    /* Before the thread had a chance to run, and whatever the thread was called before. */
    for (int i = 0; i < 50; i++) {
        char name[16];

        memset(&f, 0, sizeof(f));
        c = go(tell_facts, &f, 8, 1);
        snprintf(name, sizeof(name), "n%d", i);
        must_be(spool_set_name(c, name), 0);
        wait_until(atomic_load(&f.ready));
        wait_until(comm_is(atomic_load(&f.tid), name));
        atomic_store(&f.end, true);
        must_be(spool_go_wait(DEADLINE), 0);
        spool_unref(c);
    }

    /* A name does not outlive its channel. */
    memset(&f, 0, sizeof(f));
    c = go(tell_facts, &f, 8, 1);
    wait_until(atomic_load(&f.ready));
    must(!comm_is(atomic_load(&f.tid), "n49"));
    atomic_store(&f.end, true);
    must_be(spool_go_wait(DEADLINE), 0);
    /* Naming a channel whose thread has gone on to other things names the channel only. */
    must_be(spool_set_name(c, "late"), 0);
    must_be(strcmp(spool_name(c), "late"), 0);
    must(!comm_is(atomic_load(&f.tid), "late"));
    spool_unref(c);
}
END_TEST

static void name_self(void *arg)
{
    must_be(spool_set_name(spool_self(), "inside"), 0);
    tell_facts(arg);
}

START_TEST(test_thread_name_from_inside)
{
    struct thread_facts f = {0};
    spool_chan *c = go(name_self, &f, 8, 1);

    wait_until(atomic_load(&f.ready));
    must(comm_is(atomic_load(&f.tid), "inside"));
    must_be(strcmp(spool_name(c), "inside"), 0);
    atomic_store(&f.end, true);
    must_be(spool_go_wait(DEADLINE), 0);
    spool_unref(c);
}
END_TEST

/* The caller's signal mask of the moment, also in a reused thread that changed its own. */
static void upset_mask(void *arg)
{
    sigset_t all;

    tell_facts(arg);
    must_be(sigfillset(&all), 0);
    must_be(pthread_sigmask(SIG_SETMASK, &all, NULL), 0);
}

START_TEST(test_signal_mask)
{
    static const int signals[] = {SIGUSR1, SIGUSR2, SIGTERM};

    for (int i = 0; i < 32; i++) {
        struct thread_facts f = {.end = true};
        sigset_t mask;
        sigset_t after;

        sigemptyset(&mask);
        for (int k = 0; k < 3; k++) {
            if (i >> k & 1)
                sigaddset(&mask, signals[k]);
        }
        if (i >> 3 & 1)
            sigaddset(&mask, SIGRTMAX);
        must_be(pthread_sigmask(SIG_SETMASK, &mask, NULL), 0);
        spool_unref(go(upset_mask, &f, 0, 1));
        must_be(spool_go_wait(DEADLINE), 0);
        for (int signo = 1; signo <= SIGRTMAX; signo++) {
            if (sigismember(&mask, signo) >= 0 && signo != SIGKILL && signo != SIGSTOP)
                must_be(sigismember(&f.mask, signo), sigismember(&mask, signo));
        }
        /* And the caller's is as it was. */
        must_be(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
        for (int k = 0; k < 3; k++)
            must_be(sigismember(&after, signals[k]), sigismember(&mask, signals[k]));
    }
}
END_TEST

/* Idle threads keep out of the way of signals: those to the process go to threads that the program made. */
static atomic_int handled_by_others;
static pthread_t main_thread;

static void check_thread(int signo)
{
    (void)signo;
    if (!pthread_equal(pthread_self(), main_thread))
        atomic_fetch_add(&handled_by_others, 1);
}

START_TEST(test_idle_threads_take_no_signals)
{
    main_thread = pthread_self();
    on_signal(SIGUSR1, check_thread);
    for (int i = 0; i < 8; i++)
        spool_unref(go(do_nothing, NULL, 0, 1));
    must_be(spool_go_wait(DEADLINE), 0);
    for (int i = 0; i < 200; i++)
        must_be(kill(getpid(), SIGUSR1), 0);
    must_be(atomic_load(&handled_by_others), 0);
}
END_TEST

/* ---- Many ----------------------------------------------------------------------------------------------------- */

static void square(void *arg)
{
    uint64_t v = (uint64_t)(uintptr_t)arg;

    v *= v;
    must_be(spool_put(spool_self(), &v), 0);
}

/* Short functions one after the other: each answers, none leaks, and threads are not piled up. */
START_TEST(test_many)
{
    int fds = count_fds();
    int threads = count_threads();
    size_t n = scaled(10000);
    int most = 0;

    for (size_t i = 0; i < n; i++) {
        spool_chan *c = go(square, (void *)(uintptr_t)i, 8, flavours[i / 3 % 3]);
        uint64_t v;

        must_be(spool_get_for(c, &v, DEADLINE), 0);
        must_be(v, i * i);
        if (i % 3 == 0)
            must_be_over(c);
        spool_unref(c);
        if (i % 64 == 0 && count_threads() > most)
            most = count_threads();
    }
    must_be(spool_go_wait(DEADLINE), 0);
    must_be(count_fds(), fds);
    must(most - threads < 100);
}
END_TEST

enum { AT_ONCE = 200 };

static void meet(void *arg)
{
    pid_t tid = self_tid();

    /* Returns only when all are there, so that all run at once. */
    pthread_barrier_wait(arg);
    must_be(spool_put(spool_self(), &tid), 0);
}

static int compare_tids(const void *a, const void *b)
{
    const pid_t *x = a;
    const pid_t *y = b;

    return (*x > *y) - (*x < *y);
}

/* So many at once, each in a thread of its own; afterwards only some are kept. */
START_TEST(test_many_at_once)
{
    int threads = count_threads();
    int fds = count_fds();
    pthread_barrier_t barrier;
    spool_chan *c[AT_ONCE];
    pid_t tids[AT_ONCE];

    must_be(pthread_barrier_init(&barrier, NULL, AT_ONCE), 0);
    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < AT_ONCE; i++)
            c[i] = go(meet, &barrier, sizeof(pid_t), flavours[turn]);
        for (size_t i = 0; i < AT_ONCE; i++) {
            must_be(spool_get_for(c[i], &tids[i], DEADLINE), 0);
            must_be_over(c[i]);
            spool_unref(c[i]);
        }
        qsort(tids, AT_ONCE, sizeof(*tids), compare_tids);
        for (size_t i = 1; i < AT_ONCE; i++)
            must(tids[i - 1] != tids[i]);
        must_be(spool_go_wait(DEADLINE), 0);
        wait_until(count_threads() - threads <= AT_ONCE / 2);
    }
    must_be(count_fds(), fds);
    must_be(pthread_barrier_destroy(&barrier), 0);
}
END_TEST

static void tell_tid(void *arg)
{
    *(pid_t *)arg = self_tid();
}

/* Finished threads are used again. */
START_TEST(test_reuse)
{
    enum { N = 300 };
    static pid_t tids[N];
    size_t distinct = 1;

    for (int i = 0; i < N; i++) {
        pid_t tid = 0;

        spool_unref(go(tell_tid, &tid, 0, 1));
        must_be(spool_go_wait(DEADLINE), 0);
        must(tid > 0);
        tids[i] = tid;
        /* Until it is idle again a thread cannot be reused; it sleeps then. */
        wait_until(task_state(tid) != 'R');
    }
    qsort(tids, N, sizeof(*tids), compare_tids);
    for (int i = 1; i < N; i++)
        distinct += tids[i - 1] != tids[i];
    if (distinct > N / 10)
        ck_abort_msg("%zu threads for %d functions", distinct, N);
}
END_TEST

/* ---- Threads that start threads ------------------------------------------------------------------------------- */

static void fib(void *arg)
{
    uint64_t n = (uint64_t)(uintptr_t)arg;
    uint64_t a = n;
    uint64_t b = 0;

    if (n >= 2) {
        spool_chan *self = spool_self();
        spool_chan *left = go(fib, (void *)(uintptr_t)(n - 1), 8, spool_capacity(self));
        spool_chan *right = go(fib, (void *)(uintptr_t)(n - 2), 8, spool_capacity(self));

        must_be(spool_get(left, &a), 0);
        must_be(spool_get(right, &b), 0);
        spool_unref(left);
        spool_unref(right);
        must(spool_self() == self);
    }
    a += b;
    must_be(spool_put(spool_self(), &a), 0);
}

START_TEST(test_nested)
{
    spool_chan *c = go(fib, (void *)(uintptr_t)11, 8, flavours[_i]);
    uint64_t v;

    must_be(spool_get_for(c, &v, DEADLINE), 0);
    must_be(v, 89);
    must_be_over(c);
    spool_unref(c);
    must_be(spool_go_wait(DEADLINE), 0);
}
END_TEST

static void start_and_return(void *arg)
{
    uintptr_t depth = (uintptr_t)arg;

    if (depth > 0)
        spool_unref(go(start_and_return, (void *)(depth - 1), 8, flavours[depth % 3]));
}

/* go_wait also waits for what the functions it waits for have started. */
START_TEST(test_nested_wait)
{
    for (int i = 0; i < 20; i++) {
        spool_unref(go(start_and_return, (void *)(uintptr_t)50, 8, 1));
        must_be(spool_go_wait(DEADLINE), 0);
        must_be(spool_go_wait(0), 0);
    }
}
END_TEST

static int start_many(struct worker *w)
{
    for (size_t i = 0; i < w->count; i++) {
        spool_chan *c = go(square, (void *)(uintptr_t)i, 8, flavours[i % 3]);
        uint64_t v;

        must_be(spool_get_for(c, &v, DEADLINE), 0);
        must_be(v, i * i);
        spool_unref(c);
    }
    return 0;
}

START_TEST(test_go_from_many_threads)
{
    struct worker w[4];

    memset(w, 0, sizeof(w));
    for (size_t i = 0; i < 4; i++) {
        w[i].count = scaled(2000);
        worker_start(&w[i], start_many);
    }
    for (size_t i = 0; i < 4; i++)
        must_be(worker_join(&w[i]), 0);
    must_be(spool_go_wait(DEADLINE), 0);
}
END_TEST

#define ODD_ERRNO 4242

static void check_errno(void *arg)
{
    uint64_t v;

    errno = ODD_ERRNO;
    must_be(spool_get(spool_self(), &v), -EPIPE);
    must_be(errno, ODD_ERRNO);
    must_be(spool_go_wait(0), -EDEADLK);
    must_be(errno, ODD_ERRNO);
    *(bool *)arg = true;
}

START_TEST(test_errno)
{
    bool ran = false;
    spool_chan *c = NULL;

    errno = ODD_ERRNO;
    must_be(spool_go(NULL, NULL, NULL, 8, 1), -EINVAL);
    must_be(errno, ODD_ERRNO);
    must_be(spool_go(&c, check_errno, &ran, SIZE_MAX, 3), -EOVERFLOW);
    must_be(errno, ODD_ERRNO);
    must_be(spool_go(&c, check_errno, &ran, 8, flavours[_i]), 0);
    must_be(errno, ODD_ERRNO);
    must_be(spool_go_wait(0), -EAGAIN);
    must_be(errno, ODD_ERRNO);
    must_be(spool_go_wait(5 * MS), -ETIMEDOUT);
    must_be(errno, ODD_ERRNO);
    spool_unref(c);
    must_be(errno, ODD_ERRNO);
    must_be(spool_go_wait(DEADLINE), 0);
    must_be(errno, ODD_ERRNO);
    must(ran);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("go");
    TCase *tc = case_new(s, "one");

    tcase_add_loop_test(tc, test_go, 0, N_FLAVOURS);
    tcase_add_test(tc, test_errors);
    tcase_add_test(tc, test_pthread_exit);
    tcase_add_loop_test(tc, test_pthread_cancel, 0, N_FLAVOURS);
    tcase_add_loop_test(tc, test_outside_ends_it, 0, N_FLAVOURS);
    tcase_add_loop_test(tc, test_unref_ends_get, 0, N_FLAVOURS);
    tcase_add_loop_test(tc, test_drop, 0, N_FLAVOURS - 1); /* a rendezvous keeps nothing */
    tcase_add_test(tc, test_slow_drop);
    tcase_add_loop_test(tc, test_self_kept, 0, N_FLAVOURS);

    tc = case_new(s, "wait");
    tcase_add_test(tc, test_go_wait);
    tcase_add_test(tc, test_go_wait_blocked);
    tcase_add_test(tc, test_go_wait_eintr);

    tc = case_new(s, "thread");
    tcase_add_test(tc, test_thread_name);
    tcase_add_test(tc, test_thread_name_from_inside);
    tcase_add_test(tc, test_signal_mask);
    tcase_add_test(tc, test_idle_threads_take_no_signals);

    tc = case_new(s, "many");
    tcase_add_test(tc, test_many);
    tcase_add_test(tc, test_many_at_once);
    tcase_add_test(tc, test_reuse);
    tcase_add_loop_test(tc, test_nested, 0, N_FLAVOURS);
    tcase_add_test(tc, test_nested_wait);
    tcase_add_test(tc, test_go_from_many_threads);
    tcase_add_loop_test(tc, test_errno, 0, N_FLAVOURS);
    return run_suite(s, "test_go");
}
