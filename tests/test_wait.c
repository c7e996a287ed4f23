/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* Threads that wait in a channel: how long, for what, who wakes, and what signals do to them. */

#include "util.h"

#include "lane.h"
#include "spin.h"

#include <limits.h>
#include <sys/prctl.h>

static spool_chan *chan_new(size_t size, size_t capacity)
{
    spool_chan *c = NULL;

    must_be(spool_chan_new(&c, size, capacity), 0);
    return c;
}

/* What a thread can wait for: an element, of each flavour; room; a partner. */
enum { GET, PUT, GET_MEET, PUT_MEET, GET_UNBOUNDED, N_WAITS };

static bool is_putting(int wait)
{
    return wait == PUT || wait == PUT_MEET;
}

static size_t wait_capacity(int wait, size_t bounded)
{
    return wait == GET_UNBOUNDED ? SPOOL_UNBOUNDED : wait == GET_MEET || wait == PUT_MEET ? 0 : bounded;
}

/* What lies in the channel meanwhile. */
static size_t held(int wait)
{
    return wait == PUT ? 2 : 0;
}

/* An empty channel to get from, a full one to put into, or one where nobody else is. */
static spool_chan *chan_that_blocks(int wait, size_t size)
{
    spool_chan *c = chan_new(size, wait_capacity(wait, 2));
    char elem[64] = {0};

    for (size_t i = 0; i < held(wait); i++)
        must_be(spool_put(c, elem), 0);
    return c;
}

static int wait_for(spool_chan *c, bool putting, void *elem, int64_t timeout_ns)
{
    return putting ? spool_put_for(c, elem, timeout_ns) : spool_get_for(c, elem, timeout_ns);
}

/* ---- Time ----------------------------------------------------------------------------------------------------- */

/* Never early. How late is the machine's affair. */
START_TEST(test_timeout)
{
    static const int64_t timeouts[] = {1, 999, US, 50 * US, 300 * US, MS, 2 * MS + 345678, 20 * MS, 100 * MS};
    int wait = _i % N_WAITS;
    bool putting = is_putting(wait);
    size_t size = _i / N_WAITS ? 24 : 8;
    spool_chan *c = chan_that_blocks(wait, size);
    char elem[64];

    memset(elem, 0x77, sizeof(elem));
    must_be(prctl(PR_SET_TIMERSLACK, 1), 0); /* else the kernel's own lateness hides a wait that ends early */
    for (size_t i = 0; i < sizeof(timeouts) / sizeof(*timeouts); i++) {
        for (int round = 0; round < 2; round++) {
            int64_t start = now_ns();
            int rc = wait_for(c, putting, elem, timeouts[i]);
            int64_t took = now_ns() - start;

            must_be(rc, -ETIMEDOUT);
            if (took < timeouts[i])
                ck_abort_msg("%lld ns early of %lld", (long long)(timeouts[i] - took), (long long)timeouts[i]);
            must(took < DEADLINE);
        }
        for (size_t k = 0; k < sizeof(elem); k++)
            must_be(elem[k], 0x77);
        must_be(spool_len(c), held(wait));
    }
    spool_unref(c);
}
END_TEST

/* A limit of 0 never waits; what needs not wait does not look at its limit. */
START_TEST(test_timeout_0)
{
    static const int64_t any[] = {0, 1, -1, INT64_MIN, INT64_MAX, SEC};
    spool_chan *c = chan_new(8, _i == 0 ? 1 : _i == 1 ? SPOOL_UNBOUNDED : 0);
    uint64_t v = 0;

    for (size_t i = 0; i < sizeof(any) / sizeof(*any); i++) {
        int64_t start = now_ns();

        must_be(spool_get_for(c, &v, 0), -EAGAIN);
        if (is_meet(c)) {
            struct worker w = {.chan = c, .elem = &v};

            must_be(spool_put_for(c, &v, 0), -EAGAIN);
            worker_start(&w, i % 2 ? worker_put : worker_get);
            worker_wait_asleep(&w);
            must_be(wait_for(c, i % 2 == 0, &v, any[i]), 0);
            must_be(worker_join(&w), 0);
            continue;
        }
        must_be(spool_put_for(c, &v, any[i]), 0);
        if (is_bounded(c))
            must_be(spool_put_for(c, &v, 0), -EAGAIN);
        must_be(spool_get_for(c, &v, any[i]), 0);
        must(now_ns() - start < DEADLINE);
    }
    must_be(spool_close(c), 0);
    for (size_t i = 0; i < sizeof(any) / sizeof(*any); i++) {
        must_be(spool_get_for(c, &v, any[i]), -EPIPE);
        must_be(spool_put_for(c, &v, any[i]), -EPIPE);
    }
    spool_unref(c);
}
END_TEST

/* Every negative limit is for ever, and the largest ones do not wrap round to the past. */
START_TEST(test_timeout_extreme)
{
    static const int64_t ever[] = {-1, -2, -SEC, INT64_MIN, INT64_MIN + 1, SEC * 86400 * 365, INT64_MAX / 2,
                                   INT64_MAX - SEC, INT64_MAX - 1, INT64_MAX};
    bool putting = is_putting(_i);
    uint64_t v;
    uint64_t other = 5;

    for (size_t i = 0; i < sizeof(ever) / sizeof(*ever); i++) {
        spool_chan *c = chan_that_blocks(_i, 8);
        struct worker w = {.chan = c, .elem = &v, .timeout_ns = ever[i]};

        v = 9;
        worker_start(&w, putting ? worker_put_for : worker_get_for);
        worker_wait_asleep(&w);
        must_be(putting ? spool_get(c, &other) : spool_put(c, &other), 0);
        must_be(worker_join(&w), 0);
        must_be(v, putting ? 9 : 5);
        spool_unref(c);
        other = 5;
    }
}
END_TEST

/* What comes in time ends the wait. */
START_TEST(test_in_time)
{
    bool putting = is_putting(_i);
    spool_chan *c = chan_that_blocks(_i, 8);
    uint64_t v = 0;
    uint64_t other = 3;
    struct worker w = {.chan = c, .elem = &v, .timeout_ns = DEADLINE};

    for (int i = 0; i < 20; i++) {
        worker_start(&w, putting ? worker_put_for : worker_get_for);
        worker_wait_asleep(&w);
        must_be(putting ? spool_try_get(c, &other) : spool_try_put(c, &other), 0);
        must_be(worker_join(&w), 0);
        must(w.took_ns < DEADLINE / 2);
    }
    spool_unref(c);
}
END_TEST

/* ---- A busy machine ------------------------------------------------------------------------------------------- */

/* What others take of a processor that is yielded to them; the clock goes on meanwhile. 0: as it is. */
static int64_t others_take;
static int64_t clock_stands; /* at this, unless 0 */
static _Atomic int64_t taken;
static atomic_int yields;

int __real_sched_yield(void);
int __wrap_sched_yield(void);
int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);

int __wrap_sched_yield(void)
{
    atomic_fetch_add(&yields, 1);
    if (others_take == 0)
        return __real_sched_yield();
    atomic_fetch_add(&taken, others_take);
    return 0;
}

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
    int r = __real_clock_gettime(id, ts);
    int64_t ns = ts->tv_nsec + atomic_load(&taken);

    if (clock_stands) {
        ts->tv_sec = 0;
        ns = clock_stands;
    }
    ts->tv_sec += ns / SEC;
    ts->tv_nsec = ns % SEC;
    return r;
}

/* Who waits goes to sleep instead of giving its turn away again and again; in a rendezvous, who waits next does too. */
START_TEST(test_yields_to_others_once)
{
    bool putting = is_putting(_i);
    spool_chan *c = chan_that_blocks(_i, 8);
    uint64_t v = 1;
    uint64_t other = 2;
    struct worker w = {.chan = c, .elem = &v};

    others_take = 3 * MS;
    for (int i = 0; i < 3; i++) {
        worker_start(&w, putting ? worker_put : worker_get);
        worker_wait_asleep(&w);
        must_be(atomic_load(&yields), is_meet(c) ? 1 : i + 1);
        must_be(putting ? spool_try_get(c, &other) : spool_try_put(c, &other), 0);
        must_be(worker_join(&w), 0);
    }
    spool_unref(c);
}
END_TEST

/* How often a wait that ends at its deadline gives its turn away before it sleeps. */
static int yields_of_wait(spool_chan *c, int wait)
{
    uint64_t v = 1;

    atomic_store(&yields, 0);
    must_be(wait_for(c, is_putting(wait), &v, 1), -ETIMEDOUT);
    return atomic_load(&yields);
}

/* Whose last four sleeps took 100 us and more sleeps at once, until one took less. */
START_TEST(test_long_sleeper)
{
    spool_chan *c = chan_that_blocks(_i, 8);

    clock_stands = now_ns() - SEC; /* so that deadlines have passed */
    must(yields_of_wait(c, _i) > 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3; i++) {
            clock_stands += 100 * US;
            must(yields_of_wait(c, _i) > 0);
        }
        if (round > 0)
            for (int i = 0; i < 5; i++) {
                clock_stands += i == 0 ? 100 * US : 10 * MS;
                must_be(yields_of_wait(c, _i), 0);
            }
        clock_stands += 100 * US - 1;
        must(yields_of_wait(c, _i) > 0);
    }
    clock_stands = 0;
    spool_unref(c);
}
END_TEST

/* How many turns a wait in a rendezvous takes before it sleeps; then it ends after so many turns, or in vain. */
static unsigned turns_of_meeting(unsigned ends_after)
{
    unsigned turns = 0, n = 0;

    while (spool__spin_for_partner(&turns))
        n++;
    spool__spin_met(ends_after ? ends_after : turns);
    return n;
}

/* Half as many after each time in vain, twice as many after each that was not; on one processor none but yields. */
START_TEST(test_partner)
{
    static const unsigned shrinks[] = {1024, 512, 256, 128, 64, 64, 64};
    static const unsigned grows[] = {64, 128, 256, 512, 1024, 1024};
    const unsigned n_yields = 20;
    cpu_set_t cpus;

    must_be(sched_getaffinity(0, sizeof cpus, &cpus), 0);
    bool alone = CPU_COUNT(&cpus) == 1;
    clock_stands = now_ns();
    /* The first wait is a trial then. */
    if (alone)
        must_be(turns_of_meeting(0), shrinks[0] + n_yields);
    for (size_t i = 0; i < sizeof shrinks / sizeof *shrinks; i++)
        must_be(turns_of_meeting(0), (alone ? 0 : shrinks[i]) + n_yields);
    for (size_t i = 0; i < sizeof grows / sizeof *grows; i++)
        must_be(turns_of_meeting(grows[i]), (alone ? 0 : grows[i]) + n_yields);
    /* A wait that is interrupted by one in vain ends all the same. */
    unsigned turns = 0, n = 0;
    while (n < 10000 && spool__spin_for_partner(&turns))
        if (++n == 700)
            spool__spin_met(turns + 10000);
    must_be(n, alone ? n_yields : 700);
    clock_stands = 0;
}
END_TEST

/* Who was woken in vain looks for so long again, also if it has slept long each time, and no longer. */
START_TEST(test_late)
{
    cpu_set_t cpus;
    unsigned turns = 0, n = 0;

    must_be(sched_getaffinity(0, sizeof cpus, &cpus), 0);
    clock_stands = now_ns();
    for (int i = 0; i < 6; i++) {
        for (turns = 0; spool__spin(&turns);)
            ;
        clock_stands += SEC;
    }
    must(turns > 0);
    for (turns = 0; n < 10000 && spool__spin_late(&turns);)
        n++;
    must_be(n, (CPU_COUNT(&cpus) == 1 ? 0 : 1024) + 20);
    clock_stands = 0;
}
END_TEST

/* A wait that is over after so many turns; how many there were, if it sleeps before. */
static unsigned wait_for_turns(unsigned most)
{
    unsigned turns = 0, n = 0;

    while (n < most && spool__spin(&turns))
        n++;
    return n;
}

static unsigned turns_of_wait(void)
{
    return wait_for_turns(UINT_MAX);
}

/* The first processor of a set. */
static int first_of(const cpu_set_t *set)
{
    int cpu = 0;

    while (!CPU_ISSET(cpu, set))
        cpu++;
    return cpu;
}

static void bind_to(int cpu)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    must_be(sched_setaffinity(0, sizeof one, &one), 0);
}

/* Waits that come to a yield until one takes so many turns. */
static int waits_until(unsigned turns)
{
    int n = 0;

    while (n < 1000 && turns_of_wait() != turns)
        n++;
    return n;
}

static int wait_bound_to_one(struct worker *w)
{
    bind_to((int)w->timeout_ns);
    return waits_until(0) == 1000 ? (int)turns_of_wait() : -1;
}

/* Pauses end when there is one processor left, and come back; a thread that is bound to one alone changes nothing. */
START_TEST(test_affinity)
{
    cpu_set_t all;
    struct worker w = {0};

    must_be(sched_getaffinity(0, sizeof all, &all), 0);
    if (CPU_COUNT(&all) < 2) {
        skip("affinity", "there is only one processor");
        return;
    }
    w.timeout_ns = first_of(&all);
    clock_stands = now_ns();
    must_be(turns_of_wait(), 84);
    bind_to((int)w.timeout_ns);
    must(waits_until(20) <= 256);
    must_be(sched_setaffinity(0, sizeof all, &all), 0);
    must(waits_until(84) <= 256);
    worker_start(&w, wait_bound_to_one);
    must_be(worker_join(&w), 84);
    clock_stands = 0;
}
END_TEST

/*
 * Bound to one processor, as the other threads of the program may be to others: each 256th wait that yields is followed
 * by a trial, and after one that was over in its pauses there are pauses again, until the next 256 were in vain.
 */
START_TEST(test_bound_to_one_each)
{
    cpu_set_t all;

    must_be(sched_getaffinity(0, sizeof all, &all), 0);
    bind_to(first_of(&all));
    clock_stands = now_ns();
    must_be(turns_of_wait(), 84);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 255; i++)
            must_be(turns_of_wait(), 20);
        must_be(turns_of_wait(), 84);
    }
    /* The first pause of a trial, or its last, is none in vain. */
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 255; i++)
            must_be(turns_of_wait(), 20);
        must_be(wait_for_turns(round == 0 ? 1 : 64), round == 0 ? 1 : 64);
        for (int i = 0; i < 256; i++)
            must_be(turns_of_wait(), 84);
        must_be(turns_of_wait(), 84);
    }
    /* The first yield is. */
    for (int i = 0; i < 255; i++)
        must_be(turns_of_wait(), 20);
    must_be(wait_for_turns(65), 65);
    must_be(turns_of_wait(), 20);
    /* Who looks once more after its sleep makes no trial. */
    for (int i = 1; i < 255; i++)
        must_be(turns_of_wait(), 20);
    unsigned turns = 0, n = 0;
    while (spool__spin_late(&turns))
        n++;
    must_be(n, 20);
    must_be(turns_of_wait(), 84);
    must_be(sched_setaffinity(0, sizeof all, &all), 0);
    clock_stands = 0;
}
END_TEST

/*
 * After 64 waits in a row that were over with a yield a thread sleeps at once, so that it may be woken elsewhere. Not if
 * there is no other processor, and not for a partner.
 */
START_TEST(test_moves)
{
    cpu_set_t all;

    must_be(sched_getaffinity(0, sizeof all, &all), 0);
    if (CPU_COUNT(&all) < 2) {
        skip("moves", "there is only one processor");
        return;
    }
    clock_stands = now_ns();
    must_be(turns_of_wait(), 84);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 64; i++)
            must_be(wait_for_turns(65 + i % 20), 65 + i % 20);
        must_be(wait_for_turns(1), 0);
        must_be(turns_of_wait(), 84);
    }
    /* One that was over before, or slept, breaks the row. */
    for (int i = 0; i < 200; i++)
        must_be(wait_for_turns(i % 63 == 0 ? 64 : 65), i % 63 == 0 ? 64 : 65);
    for (int i = 0; i < 200; i++)
        must_be(wait_for_turns(i % 63 == 0 ? 1000 : 65), i % 63 == 0 ? 84 : 65);
    for (int i = 0; i < 200; i++) {
        unsigned turns = 0, n = 0;

        while (n < 1025 && spool__spin_for_partner(&turns))
            n++;
        must_be(n, 1025);
    }
    bind_to(first_of(&all));
    must(waits_until(20) <= 256);
    for (int i = 0; i < 200; i++)
        must_be(wait_for_turns(1), 1);
    clock_stands = 0;
}
END_TEST

/* ---- Interruptions -------------------------------------------------------------------------------------------- */

static atomic_long interruptions;

static void count_signal(int signo)
{
    (void)signo;
    atomic_fetch_add(&interruptions, 1);
}

/* A signal every millisecond neither ends a wait nor puts its end off, which would be for ever. */
START_TEST(test_eintr_storm)
{
    bool putting = is_putting(_i);
    spool_chan *c = chan_that_blocks(_i, 8);
    uint64_t v = 1;
    int64_t limit = 200 * MS;
    struct worker w = {.chan = c, .elem = &v, .timeout_ns = limit, .storm_ns = MS};

    on_signal(SIGUSR1, count_signal);
    for (int round = 0; round < 2; round++) {
        atomic_store(&interruptions, 0);
        worker_start(&w, putting ? worker_put_for : worker_get_for);
        must_be(worker_join(&w), -ETIMEDOUT);
        must(w.took_ns >= limit);
        if (!UNDER_TSAN)
            must(atomic_load(&interruptions) > 0);
    }
    must_be(spool_len(c), held(_i));
    must_be(putting ? spool_try_put(c, &v) : spool_try_get(c, &v), -EAGAIN);
    must_be(v, 1);
    spool_unref(c);
}
END_TEST

/* A wait for ever survives the storm and still ends as it should. */
START_TEST(test_eintr_then)
{
    int wait = _i % N_WAITS;
    bool putting = is_putting(wait);
    bool closing = _i / N_WAITS;
    spool_chan *c = chan_that_blocks(wait, 8);
    uint64_t v = 1;
    uint64_t other = 2;
    struct worker w = {.chan = c, .elem = &v, .timeout_ns = -1};
    timer_t storm;

    on_signal(SIGUSR1, count_signal);
    worker_start(&w, putting ? worker_put_for : worker_get_for);
    worker_wait_asleep(&w);
    storm = storm_begin(atomic_load(&w.tid), SIGUSR1, MS);
    if (UNDER_TSAN) {
        /* It keeps handlers back until the next call that it knows, so they cannot be counted: let the storm blow. */
        sleep_ns(200 * MS);
    } else {
        wait_until(atomic_load(&interruptions) > 100);
    }
    must(!atomic_load(&w.done));
    if (closing)
        must_be(spool_close(c), 0);
    else
        must_be(putting ? spool_get(c, &other) : spool_put(c, &other), 0);
    must_be(worker_join(&w), closing ? -EPIPE : 0);
    storm_end(storm);
    must_be(v, putting || closing ? 1 : 2);
    must_be(spool_len(c), held(wait));
    spool_unref(c);
}
END_TEST

/* ---- Puts from a signal handler ------------------------------------------------------------------------------- */

/* Tags: whose put it was above, its number below. */
enum { BY_MAIN = 1, BY_HANDLER = 2 };
#define TAG(who, n) ((uint64_t)(who) << 56 | (n))

static struct {
    spool_chan *chan;
    size_t size;
    _Atomic uint64_t put;
    atomic_long calls;
} handler;

static void put_in_handler(int signo)
{
    int saved = errno;
    char elem[64];
    int rc;

    (void)signo;
    atomic_fetch_add(&handler.calls, 1);
    errno = 4242;
    elem_fill(elem, handler.size, TAG(BY_HANDLER, atomic_load(&handler.put)));
    rc = spool_try_put(handler.chan, elem);
    if (rc == 0)
        atomic_fetch_add(&handler.put, 1);
    if ((rc != 0 && rc != -EAGAIN) || errno != 4242)
        abort();
    errno = saved;
}

static void handler_setup(spool_chan *c)
{
    handler.chan = c;
    handler.size = spool_elem_size(c);
    atomic_store(&handler.put, 0);
    atomic_store(&handler.calls, 0);
    on_signal(SIGUSR1, put_in_handler);
}

/* The handler interrupts puts and gets of the same thread on the same channel, at any instruction. */
START_TEST(test_handler_puts)
{
    static const size_t kinds[][2] = {{8, 1}, {8, 3}, {8, 64}, {24, 1}, {24, 3}, {24, 64}};
    spool_chan *c = chan_new(kinds[_i][0], kinds[_i][1]);
    size_t size = kinds[_i][0];
    uint64_t put = 0;
    uint64_t got_main = 0;
    uint64_t got_handler = 0;
    long signals = (long)scaled(3000);
    int64_t end = now_ns() + DEADLINE;
    timer_t storm;
    char elem[64];

    handler_setup(c);
    storm = storm_begin(self_tid(), SIGUSR1, 37 * US);
    for (bool draining = false;;) {
        int rc;

        /* Of few signals none may come while a ring of one has room. */
        bool enough = atomic_load(&handler.calls) >= signals && atomic_load(&handler.put) > 0;
        if (!draining && (enough || now_ns() > end)) {
            storm_end(storm);
            draining = true;
        }
        for (int i = 0; i < 3 && !draining; i++) {
            elem_fill(elem, size, TAG(BY_MAIN, put));
            rc = spool_try_put(c, elem);
            must(rc == 0 || rc == -EAGAIN);
            put += rc == 0;
        }
        rc = spool_try_get(c, elem);
        must(rc == 0 || rc == -EAGAIN);
        if (rc < 0 && draining)
            break;
        if (rc < 0)
            continue;
        if (elem_tag(elem) >> 56 == BY_MAIN) {
            must(elem_is(elem, size, TAG(BY_MAIN, got_main)));
            got_main++;
        } else {
            must(elem_is(elem, size, TAG(BY_HANDLER, got_handler)));
            got_handler++;
        }
    }
    must(atomic_load(&handler.calls) >= signals);
    must_be(got_main, put);
    must_be(got_handler, atomic_load(&handler.put));
    must(got_handler > 0);
    spool_unref(c);
}
END_TEST

/* The thread sleeps in get; its own handler puts what it waits for. */
START_TEST(test_handler_ends_own_wait)
{
    spool_chan *c = chan_new(8, 4);
    struct worker w;
    uint64_t v;

    if (UNDER_TSAN) {
        skip("handler_ends_own_wait", "ThreadSanitizer keeps handlers back while a thread sleeps");
        return;
    }
    handler_setup(c);
    memset(&w, 0, sizeof(w));
    w.chan = c;
    w.elem = &v;
    w.timeout_ns = DEADLINE;
    for (uint64_t i = 0; i < 200; i++) {
        worker_start(&w, i % 2 ? worker_get : worker_get_for);
        if (i % 4 < 2)
            worker_wait_asleep(&w);
        else
            wait_until(atomic_load(&w.tid) > 0);
        pthread_kill(w.thread, SIGUSR1);
        must_be(worker_join(&w), 0);
        must(elem_is(&v, 8, TAG(BY_HANDLER, i)));
    }
    spool_unref(c);
}
END_TEST

static int get_all(struct worker *w)
{
    char elem[64];
    int rc;

    while ((rc = spool_get(w->chan, elem)) == 0) {
        uint64_t *next = elem_tag(elem) >> 56 == BY_MAIN ? &((uint64_t *)w->more)[0] : &((uint64_t *)w->more)[1];

        must(elem_is(elem, spool_elem_size(w->chan), TAG(elem_tag(elem) >> 56, *next)));
        (*next)++;
    }
    return rc;
}

/* Blocking puts are interrupted by the handler's, while another thread gets. */
START_TEST(test_handler_against_blocking)
{
    spool_chan *c = chan_new(_i % 2 ? 24 : 8, _i / 2 ? 1 : 5);
    uint64_t next[2] = {0, 0};
    struct worker w = {.chan = c, .more = next};
    long signals = (long)scaled(3000);
    uint64_t put = 0;
    timer_t storm;
    char elem[64];

    handler_setup(c);
    worker_start(&w, get_all);
    storm = storm_begin(self_tid(), SIGUSR1, 41 * US);
    while (atomic_load(&handler.calls) < signals) {
        elem_fill(elem, spool_elem_size(c), TAG(BY_MAIN, put));
        must_be(spool_put(c, elem), 0);
        put++;
    }
    storm_end(storm);
    must_be(spool_close(c), 0);
    must_be(worker_join(&w), -EPIPE);
    must_be(next[0], put);
    must_be(next[1], atomic_load(&handler.put));
    spool_unref(c);
}
END_TEST

/* ---- Waking --------------------------------------------------------------------------------------------------- */

enum { CROWD = 12 };

static void crowd_start(struct worker *w, spool_chan *c, uint64_t *elems, int (*fn)(struct worker *))
{
    for (size_t i = 0; i < CROWD; i++) {
        memset(&w[i], 0, sizeof(w[i]));
        w[i].chan = c;
        w[i].index = i;
        w[i].elem = &elems[i];
        w[i].timeout_ns = DEADLINE;
        worker_start(&w[i], fn);
    }
    for (size_t i = 0; i < CROWD; i++)
        worker_wait_asleep(&w[i]);
}

static size_t crowd_done(struct worker *w)
{
    size_t n = 0;

    for (size_t i = 0; i < CROWD; i++)
        n += atomic_load(&w[i].done);
    return n;
}

/* Many sleep; what one of them can use wakes one of them, and the others sleep on in the same sleep. */
START_TEST(test_wakes_one)
{
    int wait = _i % N_WAITS;
    bool putting = is_putting(wait);
    bool timed = _i / N_WAITS;
    spool_chan *c = chan_that_blocks(wait, 8);
    struct worker w[CROWD];
    uint64_t elems[CROWD] = {0};
    uint64_t v = 1;
    long sleeps[CROWD];

    crowd_start(w, c, elems, putting ? (timed ? worker_put_for : worker_put) : (timed ? worker_get_for : worker_get));
    for (size_t woken = 1; woken <= CROWD; woken++) {
        bool was_done[CROWD];

        for (size_t i = 0; i < CROWD; i++) {
            was_done[i] = atomic_load(&w[i].done);
            if (!was_done[i])
                sleeps[i] = task_sleeps(atomic_load(&w[i].tid));
        }
        must_be(putting ? spool_get(c, &v) : spool_put(c, &v), 0);
        wait_until(crowd_done(w) >= woken);
        for (size_t i = 0; i < CROWD; i++) {
            if (atomic_load(&w[i].done))
                continue;
            wait_asleep(atomic_load(&w[i].tid));
            must_be(task_sleeps(atomic_load(&w[i].tid)), sleeps[i]);
        }
        must_be(crowd_done(w), woken);
    }
    for (size_t i = 0; i < CROWD; i++)
        must_be(worker_join(&w[i]), 0);
    must_be(spool_len(c), held(wait));
    spool_unref(c);
}
END_TEST

/* Several at once wake as many. */
START_TEST(test_wakes_as_many)
{
    bool putting = is_putting(_i);
    spool_chan *c = chan_new(8, wait_capacity(_i, CROWD));
    struct worker w[CROWD];
    uint64_t elems[CROWD] = {0};
    uint64_t v = 1;

    for (size_t batch = 1; batch <= CROWD; batch += 1 + batch / 4) {
        size_t left = CROWD;

        for (size_t i = 0; _i == PUT && i < CROWD; i++)
            must_be(spool_put(c, &v), 0);
        crowd_start(w, c, elems, putting ? worker_put : worker_get);
        for (size_t i = 0; i < batch; i++)
            must_be(putting ? spool_try_get(c, &v) : spool_try_put(c, &v), 0);
        wait_until(crowd_done(w) == batch);
        for (size_t i = 0; i < CROWD; i++) {
            if (!atomic_load(&w[i].done))
                wait_asleep(atomic_load(&w[i].tid));
        }
        must_be(crowd_done(w), batch);
        for (left -= batch; left > 0; left--)
            must_be(putting ? spool_get(c, &v) : spool_put(c, &v), 0);
        for (size_t i = 0; i < CROWD; i++)
            must_be(worker_join(&w[i]), 0);
        while (spool_try_get(c, &v) == 0)
            ;
    }
    spool_unref(c);
}
END_TEST

static int get_until_closed(struct worker *w)
{
    uint64_t v;
    int rc;

    while ((rc = spool_get(w->chan, &v)) == 0)
        atomic_fetch_add((_Atomic size_t *)w->more, 1);
    return rc;
}

/* At a pace that lets all of them sleep between, wake-ups per put stay near one. */
START_TEST(test_wakes_per_put)
{
    spool_chan *c = chan_new(8, _i == 0 ? 64 : _i == 1 ? SPOOL_UNBOUNDED : 0);
    struct worker w[CROWD];
    uint64_t elems[CROWD];
    _Atomic size_t got = 0;
    size_t puts = scaled(150);
    long before = 0;
    long after = 0;
    uint64_t v = 0;

    for (size_t i = 0; i < CROWD; i++) {
        memset(&w[i], 0, sizeof(w[i]));
        w[i].chan = c;
        w[i].more = &got;
        w[i].elem = &elems[i];
        worker_start(&w[i], get_until_closed);
    }
    for (size_t i = 0; i < CROWD; i++) {
        worker_wait_asleep(&w[i]);
        before += task_sleeps(atomic_load(&w[i].tid));
    }
    for (size_t n = 1; n <= puts; n++) {
        must_be(spool_put(c, &v), 0);
        wait_until(atomic_load(&got) == n);
        for (size_t i = 0; i < CROWD; i++)
            wait_until(task_state(atomic_load(&w[i].tid)) == 'S');
    }
    for (size_t i = 0; i < CROWD; i++) {
        worker_wait_asleep(&w[i]);
        after += task_sleeps(atomic_load(&w[i].tid));
    }
    if ((double)(after - before) > 1.1 * (double)puts + 3)
        ck_abort_msg("%ld wake-ups for %zu puts", after - before, puts);
    must_be(spool_close(c), 0);
    for (size_t i = 0; i < CROWD; i++)
        must_be(worker_join(&w[i]), -EPIPE);
    spool_unref(c);
}
END_TEST

/*
 * A wake-up may reach a thread just as its time runs out. Then it must take the element or pass the wake-up on: the
 * other thread, which would wait for ever, gets it.
 */
START_TEST(test_wake_passed_on)
{
    bool putting = is_putting(_i);
    size_t rounds = scaled(400);
    uint64_t seed = 88172645463325252;

    for (size_t round = 0; round < rounds; round++) {
        spool_chan *c = chan_that_blocks(_i, 8);
        uint64_t a = 1;
        uint64_t b = 2;
        uint64_t v = 3;
        int64_t limit = 100 * US + (int64_t)(rnd(&seed) % (uint64_t)(200 * US));
        struct worker hasty = {.chan = c, .elem = &a, .timeout_ns = limit};
        struct worker patient = {.chan = c, .elem = &b, .timeout_ns = DEADLINE / 2};
        int64_t end;
        int rc;

        worker_start(&hasty, putting ? worker_put_for : worker_get_for);
        worker_start(&patient, putting ? worker_put_for : worker_get_for);
        wait_until(atomic_load(&hasty.tid) > 0);
        end = now_ns() + limit - 20 * US;
        while (now_ns() < end)
            ;
        must_be(putting ? spool_get(c, &v) : spool_put(c, &v), 0);
        rc = worker_join(&hasty);
        must(rc == 0 || rc == -ETIMEDOUT);
        if (rc == 0)
            must_be(putting ? spool_get(c, &v) : spool_put(c, &v), 0);
        must_be(worker_join(&patient), 0);
        spool_unref(c);
    }
}
END_TEST

/* Two threads play ball: each put finds the other asleep, about to sleep, or just awake. */
static int bounce(struct worker *w)
{
    spool_chan **c = w->more;
    uint64_t v;

    for (uint64_t i = 0; i < w->count; i++) {
        must_be(spool_get(c[0], &v), 0);
        must_be(v, i);
        must_be(spool_put(c[1], &v), 0);
    }
    return 0;
}

START_TEST(test_ping_pong)
{
    size_t capacity = _i == 0 ? 1 : _i == 1 ? SPOOL_UNBOUNDED : 0;
    spool_chan *c[2] = {chan_new(8, capacity), chan_new(8, capacity)};
    struct worker w = {.more = c, .count = scaled(10000)};
    uint64_t seed = 12345;
    uint64_t v;

    worker_start(&w, bounce);
    for (uint64_t i = 0; i < w.count; i++) {
        v = i;
        must_be(spool_put(c[0], &v), 0);
        if (i % 16 == 0) {
            for (uint64_t spin = rnd(&seed) % 20000; spin > 0; spin--)
                atomic_signal_fence(memory_order_seq_cst);
        }
        must_be(spool_get_for(c[1], &v, DEADLINE), 0);
        must_be(v, i);
    }
    must_be(worker_join(&w), 0);
    spool_unref(c[0]);
    spool_unref(c[1]);
}
END_TEST

static struct {
    spool_chan *chan;
    atomic_size_t turn;
} sweep;

static int sweep_wait(struct worker *w)
{
    bool putting = is_putting((int)w->index);

    for (size_t n = 0; n < w->count; n++) {
        uint64_t v = n;

        atomic_store(&sweep.turn, n + 1);
        if (n % 2)
            must_be(putting ? spool_put(sweep.chan, &v) : spool_get(sweep.chan, &v), 0);
        else
            must_be(wait_for(sweep.chan, putting, &v, DEADLINE), 0);
        must_be(v, n);
    }
    return 0;
}

/* The other side comes at every instant of a wait: while it spins, as it announces itself, as it falls asleep. */
START_TEST(test_wake_at_each_instant)
{
    bool putting = is_putting(_i);
    struct worker w = {.index = (size_t)_i, .count = scaled(12000)};
    uint64_t seed = 99;
    uint64_t v = 0;

    sweep.chan = chan_new(8, wait_capacity(_i, 1));
    if (_i == PUT)
        must_be(spool_put(sweep.chan, &v), 0);
    worker_start(&w, sweep_wait);
    for (size_t n = 0; n < w.count; n++) {
        int64_t span = US << rnd(&seed) % 8;
        int64_t end;

        while (atomic_load(&sweep.turn) != n + 1)
            sched_yield();
        end = now_ns() + (int64_t)(rnd(&seed) % (uint64_t)span);
        while (now_ns() < end)
            ;
        v = n;
        must_be(wait_for(sweep.chan, !putting, &v, DEADLINE / 2), 0);
        if (putting)
            must_be(v, _i == PUT_MEET ? n : n ? n - 1 : 0);
    }
    must_be(worker_join(&w), 0);
    spool_unref(sweep.chan);
}
END_TEST

static int64_t burnt_by(const struct worker *w)
{
    struct timespec ts;
    clockid_t clock;

    must_be(pthread_getcpuclockid(w->thread, &clock), 0);
    must_be(clock_gettime(clock, &ts), 0);
    return ts.tv_sec * SEC + ts.tv_nsec;
}

/* Threads that wait burn no processor and make no call: each stays in one sleep. */
START_TEST(test_idle)
{
    struct worker w[N_WAITS];
    uint64_t v[N_WAITS] = {0};
    long sleeps[N_WAITS];
    int64_t before[N_WAITS];

    memset(w, 0, sizeof(w));
    for (int i = 0; i < N_WAITS; i++) {
        w[i].chan = chan_that_blocks(i, 8);
        w[i].elem = &v[i];
        worker_start(&w[i], is_putting(i) ? worker_put : worker_get);
    }
    for (int i = 0; i < N_WAITS; i++) {
        worker_wait_asleep(&w[i]);
        sleeps[i] = task_sleeps(atomic_load(&w[i].tid));
        before[i] = burnt_by(&w[i]);
    }
    sleep_ns(SEC);
    for (int i = 0; i < N_WAITS; i++) {
        int64_t burnt = burnt_by(&w[i]) - before[i];

        must_be(task_sleeps(atomic_load(&w[i].tid)), sleeps[i]);
        must_be(task_state(atomic_load(&w[i].tid)), 'S');
        if (burnt > 100 * US)
            ck_abort_msg("wait %d: %lld ns burnt in a second", i, (long long)burnt);
    }
    for (int i = 0; i < N_WAITS; i++) {
        must_be(spool_close(w[i].chan), 0);
        must_be(worker_join(&w[i]), -EPIPE);
        spool_unref(w[i].chan);
    }
}
END_TEST

/* ---- The last reference --------------------------------------------------------------------------------------- */

/* A parked call keeps the channel: dropping the last reference closes it, and the call says so. */
START_TEST(test_unref_wakes)
{
    bool putting = is_putting(_i);
    size_t rounds = scaled(40);

    for (size_t round = 0; round < rounds; round++) {
        spool_chan *c = chan_that_blocks(_i, round % 2 ? 24 : 8);
        struct worker w[3];
        char elem[3][64];
        size_t n = 1 + round % 3;

        memset(w, 0, sizeof(w));
        memset(elem, 0, sizeof(elem));
        for (size_t i = 0; i < n; i++) {
            w[i].chan = c;
            w[i].elem = elem[i];
            w[i].timeout_ns = DEADLINE;
            worker_start(&w[i], putting ? (i ? worker_put : worker_put_for) : (i ? worker_get : worker_get_for));
        }
        for (size_t i = 0; i < n; i++)
            worker_wait_asleep(&w[i]);
        must(!spool_unref(c));
        for (size_t i = 0; i < n; i++)
            must_be(worker_join(&w[i]), -EPIPE);
    }
}
END_TEST

static atomic_size_t dropped;
static pid_t dropped_by;

static void count_drop(void *elem)
{
    (void)elem;
    dropped_by = self_tid();
    atomic_fetch_add(&dropped, 1);
}

/* Putters parked on a full channel keep their elements; those in the channel are dropped, once each. */
START_TEST(test_unref_wakes_and_drops)
{
    int wait = _i / 2 ? PUT_MEET : PUT;
    spool_chan *c = chan_that_blocks(wait, _i % 2 ? 24 : 8);
    struct worker w[3];
    char elem[64] = {0};

    memset(w, 0, sizeof(w));
    must_be(spool_set_drop(c, count_drop), 0);
    for (size_t i = 0; i < 3; i++) {
        w[i].chan = c;
        w[i].elem = elem;
        worker_start(&w[i], worker_put);
    }
    for (size_t i = 0; i < 3; i++)
        worker_wait_asleep(&w[i]);
    must_be(atomic_load(&dropped), 0);
    must(!spool_unref(c));
    must_be(atomic_load(&dropped), held(wait));
    if (held(wait) > 0)
        must_be(dropped_by, self_tid());
    for (size_t i = 0; i < 3; i++)
        must_be(worker_join(&w[i]), -EPIPE);
    must_be(atomic_load(&dropped), held(wait));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("wait");
    TCase *tc = case_new(s, "time");

    tcase_add_loop_test(tc, test_timeout, 0, 2 * N_WAITS);
    tcase_add_loop_test(tc, test_timeout_0, 0, 3);
    tcase_add_loop_test(tc, test_timeout_extreme, 0, N_WAITS);
    tcase_add_loop_test(tc, test_in_time, 0, N_WAITS);
    tcase_add_loop_test(tc, test_yields_to_others_once, 0, N_WAITS);
    tcase_add_loop_test(tc, test_long_sleeper, 0, N_WAITS);
    tcase_add_test(tc, test_partner);
    tcase_add_test(tc, test_late);
    tcase_add_test(tc, test_affinity);
    tcase_add_test(tc, test_bound_to_one_each);
    tcase_add_test(tc, test_moves);

    tc = case_new(s, "signals");
    tcase_add_loop_test(tc, test_eintr_storm, 0, N_WAITS);
    tcase_add_loop_test(tc, test_eintr_then, 0, 2 * N_WAITS);
    tcase_add_loop_test(tc, test_handler_puts, 0, 6);
    tcase_add_test(tc, test_handler_ends_own_wait);
    tcase_add_loop_test(tc, test_handler_against_blocking, 0, 4);

    tc = case_new(s, "wake");
    tcase_add_loop_test(tc, test_wakes_one, 0, 2 * N_WAITS);
    tcase_add_loop_test(tc, test_wakes_as_many, 0, N_WAITS);
    tcase_add_loop_test(tc, test_wakes_per_put, 0, 3);
    tcase_add_loop_test(tc, test_wake_passed_on, 0, N_WAITS);
    tcase_add_loop_test(tc, test_ping_pong, 0, 3);
    tcase_add_loop_test(tc, test_wake_at_each_instant, 0, N_WAITS);
    tcase_add_test(tc, test_idle);

    tc = case_new(s, "unref");
    tcase_add_loop_test(tc, test_unref_wakes, 0, N_WAITS);
    tcase_add_loop_test(tc, test_unref_wakes_and_drops, 0, 4);
    return run_suite(s, "test_wait");
}
