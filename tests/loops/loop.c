/* SPDX-License-Identifier: LGPL-3.0-or-later */
#define _GNU_SOURCE
#include "loop.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "look.h"

enum {
    PUTTERS = 3,
    LOOPS_MAX = 2,
    CAPACITY = 64,
    BURST_MAX = 2048,
    /* The rule of a loop that rests; see rest(). */
    RUNS_MAX = 3,
    SHARE_MAX = 20, /* of its time, one part in so many */
};

/* What came in order so far, by putter: the number that follows. */
struct view {
    uint64_t next[PUTTERS];
};

struct loop {
    spool_chan *chan;
    spool_select *sel;
    int fd;
    uint64_t number;
    uint64_t put; /* in LOOP_ROOM: so many */
    uint64_t value[PUTTERS];
    struct view view;
    pthread_t thread;
    _Atomic pid_t tid;
    uint64_t slept; /* before this test */
    atomic_ullong turns;
    atomic_bool done;
};

struct putter {
    spool_chan *chan;
    uint64_t number;
    uint64_t count;
    atomic_ullong put; /* so many of them */
    pthread_t thread;
    atomic_bool done;
};

/* The test that is being run. */
static struct {
    const char *name;
    loop_run *run;
    int plug;
    bool single;
    int n_loops;
    struct loop loops[LOOPS_MAX];
    struct putter putters[PUTTERS];
    atomic_int n_awake;     /* of the putters */
    atomic_ullong n_pauses; /* of all of them together */
    spool_chan *chans[PUTTERS];
    int n_chans;
    atomic_uchar *seen[PUTTERS]; /* with two loops */
    atomic_ullong got[PUTTERS];
    uint64_t messages;
} test;

/* Of all tests of the loop. */
static struct {
    uint64_t messages[3]; /* by what is plugged in */
    uint64_t missed;
    uint64_t turns;
    uint64_t sleeps;
    uint64_t idle_turns;
    struct use idle;
} sum;

static const char *const plug_names[] = {"channel", "select", "room"};

/* ---- Saying how it went --------------------------------------------------------------------------------------- */

static const char *name(void)
{
    return test.name ? test.name : program_invocation_short_name;
}

void loop_fail(const char *format, ...)
{
    va_list args;

    printf("not ok loops.%s %s%s: ", name(), plug_names[test.plug], test.single ? ", one for each turn" : "");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    _exit(1);
}

void loop_skip(const char *format, ...)
{
    va_list args;

    printf("skip loops.%s ", name());
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    _exit(77);
}

/* ---- Waiting for what must come ------------------------------------------------------------------------------- */

static uint64_t all_turns(void)
{
    uint64_t n = 0;

    for (int i = 0; i < test.n_loops; i++)
        n += atomic_load(&test.loops[i].turns);
    return n;
}

static bool is_asleep(void)
{
    for (int i = 0; i < test.n_loops; i++)
        if (task_state(atomic_load(&test.loops[i].tid)) != 'S')
            return false;
    return true;
}

static uint64_t all_got(void)
{
    uint64_t n = 0;

    for (int i = 0; i < PUTTERS; i++)
        n += atomic_load(&test.got[i]);
    return n;
}

static uint64_t all_put(void)
{
    uint64_t n = 0;

    if (test.plug != LOOP_ROOM)
        for (int i = 0; i < PUTTERS; i++)
            n += atomic_load(&test.putters[i].put);
    for (int i = 0; i < test.n_loops; i++)
        n += test.loops[i].put;
    return n;
}

/* Nothing has come for a minute, and nothing will: says what there was to be seen. */
static void stalled(const char *what)
{
    size_t len = 0;

    for (int i = 0; i < test.n_chans; i++)
        len += spool_len(test.chans[i]);
    loop_fail("stalled, waiting for: %s; got %" PRIu64 " of %" PRIu64 ", %zu are in the channels, after %" PRIu64
              " turns; the descriptor "
              "is %s, the loop's thread in state %c",
              what, all_got(), test.messages, len, all_turns(),
              fd_readable(test.loops[0].fd) ? "readable" : "not readable", task_state(atomic_load(&test.loops[0].tid)));
}

struct patience {
    uint64_t got;
    int64_t end;
    int64_t nap;
};

static void nap_once(struct patience *p, const char *what)
{
    uint64_t got = all_got();

    if (p->end == 0 || got != p->got) {
        p->got = got;
        p->end = now_ns() + 60 * SEC;
    } else if (now_ns() > p->end) {
        stalled(what);
    }
    p->nap = p->nap == 0 ? 20 * US : p->nap < MS ? p->nap * 5 / 4 : MS;
    sleep_ns(p->nap);
}

/* Waits for the event, for as long as messages move. */
#define wait_until(cond)                                                                                               \
    do {                                                                                                               \
        struct patience patience_ = {0, 0, 0};                                                                         \
        while (!(cond))                                                                                                \
            nap_once(&patience_, #cond);                                                                               \
    } while (0)

/* ---- Messages ------------------------------------------------------------------------------------------------- */

/* A message is the number of its putter and how many came before it. */
static uint64_t message(uint64_t putter, uint64_t n)
{
    return putter << 32 | n;
}

static void note(struct view *v, uint64_t value)
{
    uint64_t putter = value >> 32, n = value & UINT32_MAX;

    loop_must(putter < PUTTERS);
    /* Of two that get from one channel, each gets some of a putter's messages, and in order. */
    if (n < v->next[putter] || (n > v->next[putter] && !test.seen[putter]))
        loop_fail("of putter %d, message %" PRIu64 " came where %" PRIu64 " was to come", (int)putter, n,
                  v->next[putter]);
    v->next[putter] = n + 1;
    if (test.seen[putter]) {
        loop_must(n < test.putters[putter].count);
        if (atomic_fetch_add(&test.seen[putter][n], 1))
            loop_fail("of putter %d, message %" PRIu64 " came twice", (int)putter, n);
    }
    atomic_fetch_add(&test.got[putter], 1);
}

/* ---- What a loop does ----------------------------------------------------------------------------------------- */

int loop_fd(const struct loop *l)
{
    return l->fd;
}

bool loop_is_single(const struct loop *l)
{
    (void)l;
    return test.single;
}

int loop_plug(const struct loop *l)
{
    (void)l;
    return test.plug;
}

spool_chan *loop_chan(struct loop *l)
{
    return l->chan;
}

spool_select *loop_select(struct loop *l)
{
    return l->sel;
}

void loop_begin_turn(struct loop *l)
{
    atomic_fetch_add(&l->turns, 1);
}

int loop_took(struct loop *l, int result, uint64_t value)
{
    if (result == 0)
        note(&l->view, value);
    else if (result != -EAGAIN && result != -EPIPE)
        loop_fail("spool_try_get returned %d", result);
    return result;
}

int loop_waited(struct loop *l, int index)
{
    int result;

    if (index == -EAGAIN)
        return index;
    if (index == -ENODATA)
        return -EPIPE;
    if (index < 0 || index >= PUTTERS)
        loop_fail("spool_select_wait returned %d", index);
    result = spool_select_result(l->sel, index);
    if (result == 0)
        note(&l->view, l->value[index]);
    else if (result != -EPIPE)
        loop_fail("spool_select_result returned %d", result);
    return 0;
}

uint64_t loop_next(const struct loop *l)
{
    return message(l->number, l->put);
}

int loop_gave(struct loop *l, int result)
{
    if (result == 0)
        l->put++;
    else if (result != -EAGAIN && result != -EPIPE)
        loop_fail("spool_try_put returned %d", result);
    return result;
}

static int step(struct loop *l)
{
    uint64_t value = 0;
    int result;

    switch (test.plug) {
    case LOOP_CHANNEL:
        result = spool_try_get(l->chan, &value);
        return loop_took(l, result, value);
    case LOOP_SELECT:
        return loop_waited(l, spool_select_wait(l->sel, 0));
    default:
        value = loop_next(l);
        return loop_gave(l, spool_try_put(l->chan, &value));
    }
}

bool loop_turn(struct loop *l)
{
    int r;

    loop_begin_turn(l);
    do
        r = step(l);
    while (r == 0 && !test.single);
    return r != -EPIPE;
}

/* ---- The other side ------------------------------------------------------------------------------------------- */

/* Lets the loop come to its end of things, and then not always the same moment pass. */
static void pause_a_moment(uint64_t *seed)
{
    for (volatile uint64_t n = rnd(seed) % 4096; n > 0; n--)
        ;
}

/* The last one of the putters to come here, or to end, lets the others go once the loop has nothing left to do. */
static bool pause_is_over(unsigned long long pause)
{
    if (atomic_load(&test.n_pauses) != pause)
        return true;
    return atomic_load(&test.n_awake) == 0 && all_got() == all_put() &&
           atomic_compare_exchange_strong(&test.n_pauses, &pause, pause + 1);
}

static void pause_together(void)
{
    unsigned long long pause = atomic_load(&test.n_pauses);

    atomic_fetch_sub(&test.n_awake, 1);
    wait_until(pause_is_over(pause));
    atomic_fetch_add(&test.n_awake, 1);
}

/* Puts them one by one, or as a batch. */
static void put_burst(struct putter *p, uint64_t n, size_t count, bool many)
{
    uint64_t values[BURST_MAX];

    for (size_t i = 0; i < count; i++)
        values[i] = message(p->number, n + i);
    if (many) {
        loop_must(spool_put_many(p->chan, values, count, -1) == (ssize_t)count);
    } else {
        for (size_t i = 0; i < count; i++)
            loop_must(spool_put(p->chan, &values[i]) == 0);
    }
}

static void *putter_main(void *arg)
{
    struct putter *p = arg;
    uint64_t seed = p->number + 1;

    for (uint64_t n = 0; n < p->count;) {
        size_t burst = (size_t)BURST_MAX >> rnd(&seed) % 12;

        if (burst > p->count - n)
            burst = p->count - n;
        put_burst(p, n, burst, rnd(&seed) % 2);
        n += burst;
        atomic_store(&p->put, n);
        switch (rnd(&seed) % 4) {
        case 0:
            wait_until(atomic_load(&test.got[p->number]) == n);
            break;
        case 1:
            pause_together();
            break;
        default:
            continue;
        }
        pause_a_moment(&seed);
    }
    atomic_fetch_sub(&test.n_awake, 1);
    atomic_store(&p->done, true);
    return NULL;
}

static void put_all(void)
{
    atomic_store(&test.n_awake, PUTTERS);
    for (int i = 0; i < PUTTERS; i++)
        loop_must(pthread_create(&test.putters[i].thread, NULL, putter_main, &test.putters[i]) == 0);
    for (int i = 0; i < PUTTERS; i++)
        wait_until(atomic_load(&test.putters[i].done));
    for (int i = 0; i < PUTTERS; i++)
        loop_must(pthread_join(test.putters[i].thread, NULL) == 0);
    wait_until(all_got() == test.messages);
}

static void get_all(struct view *view)
{
    uint64_t seed = 1, value;

    for (uint64_t n = 0; n < test.messages;) {
        for (uint64_t burst = UINT64_C(1) << rnd(&seed) % 9; burst > 0 && n < test.messages; burst--, n++) {
            int r = spool_get_for(test.chans[0], &value, 60 * SEC);

            if (r == -ETIMEDOUT)
                stalled("a message");
            if (r != 0)
                loop_fail("spool_get_for returned %d", r);
            note(view, value);
        }
        if (rnd(&seed) % 2)
            continue;
        wait_until(spool_len(test.chans[0]) == CAPACITY);
        pause_a_moment(&seed);
    }
}

/* After the end: what was put has to be there still. */
static void get_rest(struct view *view)
{
    uint64_t value;
    int r;

    while ((r = spool_try_get(test.chans[0], &value)) == 0)
        note(view, value);
    loop_must(r == -EPIPE);
}

/* ---- Rest ----------------------------------------------------------------------------------------------------- */

/* The descriptor is not readable and the loops sleep: what was told last has been dealt with. */
static bool is_at_rest(void)
{
    for (int i = 0; i < 3; i++) {
        uint64_t turns = all_turns();

        if (fd_readable(test.loops[0].fd) || fd_readable(test.loops[test.n_loops - 1].fd) || !is_asleep())
            return false;
        sleep_ns(200 * US);
        if (turns != all_turns())
            return false;
    }
    return true;
}

/*
 * Leaves the loops alone for a while, 200 ms unless the test is scaled down. The rule: nothing calls them, and their
 * threads sleep; RUNS_MAX turns on a processor are let pass, as the kernel may give a thread one for reasons of its
 * own, and the SHARE_MAX-th part of the time. One that looks again and again, however it does that, has either more
 * turns, or few but long ones.
 */
static void rest(void)
{
    int64_t window = (int64_t)(scale() < 1 ? (double)(200 * MS) * scale() : 200 * MS);
    struct use before[LOOPS_MAX];
    uint64_t turns;

    if (window < 20 * MS)
        window = 20 * MS;
    wait_until(is_at_rest());
    turns = all_turns();
    for (int i = 0; i < test.n_loops; i++) {
        sum.sleeps += task_sleeps(atomic_load(&test.loops[i].tid)) - test.loops[i].slept;
        before[i] = task_use(atomic_load(&test.loops[i].tid));
    }
    sleep_ns(window);
    turns = all_turns() - turns;
    sum.idle_turns += turns;
    if (turns)
        loop_fail("spins: while idle for %" PRId64 " ms it was called %" PRIu64 " times", window / MS, turns);
    for (int i = 0; i < test.n_loops; i++) {
        struct use use = task_use(atomic_load(&test.loops[i].tid));

        use.runs -= before[i].runs;
        use.ns -= before[i].ns;
        if (use.runs > RUNS_MAX || use.ns > window / SHARE_MAX)
            loop_fail("spins: while idle for %" PRId64 " ms it ran %" PRIu64 " times, for %" PRId64 " us", window / MS,
                      use.runs, use.ns / US);
        sum.idle.runs += use.runs;
        sum.idle.ns += use.ns;
    }
}

/* ---- One test ------------------------------------------------------------------------------------------------- */

static void *conduct(void *arg)
{
    struct view view = {{0}};

    (void)arg;
    for (int i = 0; i < test.n_loops; i++)
        wait_until(atomic_load(&test.loops[i].tid) != 0);
    if (test.plug == LOOP_ROOM)
        get_all(&view);
    else
        put_all();
    rest();
    for (int i = 0; i < test.n_chans; i++)
        loop_must(spool_close(test.chans[i]) == 0);
    for (int i = 0; i < test.n_loops; i++)
        wait_until(atomic_load(&test.loops[i].done));
    if (test.plug == LOOP_ROOM)
        get_rest(&view);
    return NULL;
}

static void *loop_main(void *arg)
{
    struct loop *l = arg;
    pid_t tid = (pid_t)syscall(SYS_gettid);

    l->slept = task_sleeps(tid);
    atomic_store(&l->tid, tid);
    test.run(l);
    atomic_store(&l->done, true);
    return NULL;
}

static void make_channels(void)
{
    static const size_t capacities[PUTTERS] = {CAPACITY, SPOOL_UNBOUNDED, 0};

    test.n_chans = test.plug == LOOP_SELECT ? PUTTERS : 1;
    for (int i = 0; i < test.n_chans; i++) {
        size_t capacity = test.plug == LOOP_CHANNEL && test.single ? SPOOL_UNBOUNDED : capacities[i];

        loop_must(spool_chan_new(&test.chans[i], sizeof(uint64_t), capacity) == 0);
    }
}

static void make_loop(struct loop *l, int number)
{
    *l = (struct loop){.number = (uint64_t)number, .chan = test.chans[0]};
    if (test.plug == LOOP_CHANNEL) {
        l->fd = spool_fd(l->chan);
    } else if (test.plug == LOOP_ROOM) {
        l->fd = spool_put_fd(l->chan);
    } else {
        loop_must(spool_select_new(&l->sel) == 0);
        for (int i = 0; i < test.n_chans; i++)
            loop_must(spool_select_get(l->sel, test.chans[i], &l->value[i]) == i);
        l->fd = spool_select_poll_fd(l->sel);
    }
    loop_must(l->fd >= 0);
}

/* A rendezvous, the third channel of the select, takes two switches of threads for each message. */
static void share_out(uint64_t messages)
{
    uint64_t last = test.plug == LOOP_SELECT ? messages / 20 : messages / PUTTERS;

    for (int i = 0; i < PUTTERS; i++) {
        struct putter *p = &test.putters[i];

        *p = (struct putter){.chan = test.chans[test.plug == LOOP_SELECT ? i : 0], .number = (uint64_t)i};
        p->count = i == PUTTERS - 1 ? last : (messages - last + (uint64_t)i) / (PUTTERS - 1);
        atomic_store(&test.got[i], 0);
        test.seen[i] = NULL;
        if (test.n_loops > 1 && test.plug == LOOP_CHANNEL) {
            test.seen[i] = calloc(p->count + 1, 1);
            loop_must(test.seen[i]);
        }
    }
}

static void run_test(int plug, bool single, uint64_t messages)
{
    pthread_t conductor;

    test.plug = plug;
    test.single = single;
    test.messages = messages;
    make_channels();
    share_out(messages);
    for (int i = 0; i < test.n_loops; i++)
        make_loop(&test.loops[i], i);
    loop_must(pthread_create(&conductor, NULL, conduct, NULL) == 0);
    for (int i = 1; i < test.n_loops; i++)
        loop_must(pthread_create(&test.loops[i].thread, NULL, loop_main, &test.loops[i]) == 0);
    loop_main(&test.loops[0]);
    for (int i = 1; i < test.n_loops; i++)
        loop_must(pthread_join(test.loops[i].thread, NULL) == 0);
    loop_must(pthread_join(conductor, NULL) == 0);
    if (all_put() != all_got())
        loop_fail("missed: %" PRIu64 " were put, %" PRIu64 " came", all_put(), all_got());
    sum.messages[plug] += messages;
    sum.missed += all_put() - all_got();
    sum.turns += all_turns();
    for (int i = 0; i < test.n_loops; i++)
        spool_select_free(test.loops[i].sel);
    for (int i = 0; i < test.n_chans; i++)
        test.chans[i] = spool_unref(test.chans[i]);
    for (int i = 0; i < PUTTERS; i++)
        free(test.seen[i]);
}

/* A million messages, of which a channel has six tenths and a select three. */
int loop_test(const char *name, unsigned flags, loop_run *run)
{
    uint64_t all = (uint64_t)(1e6 * scale()), part[3];
    bool singles = flags & LOOP_LEVEL;

    test.name = name;
    test.run = run;
    test.n_loops = flags & LOOP_TWO ? 2 : 1;
    if (all < 10000)
        all = 10000;
    part[LOOP_ROOM] = all / 10;
    part[LOOP_SELECT] = flags & LOOP_NO_SELECT ? 0 : all * 3 / 10;
    part[LOOP_CHANNEL] = all - part[LOOP_ROOM] - part[LOOP_SELECT];
    for (int plug = 0; plug < 3; plug++) {
        uint64_t single = singles ? part[plug] / 3 : 0;

        if (part[plug] > 0)
            run_test(plug, false, part[plug] - single);
        if (single > 0)
            run_test(plug, true, single);
    }
    printf("ok loops.%s messages %" PRIu64 " missed %" PRIu64 " idle_callbacks %" PRIu64 " idle_runs %" PRIu64
           " idle_us %" PRId64 " channel %" PRIu64 " select %" PRIu64 " room %" PRIu64 " callbacks %" PRIu64
           " sleeps %" PRIu64 "\n",
           name, sum.messages[0] + sum.messages[1] + sum.messages[2], sum.missed, sum.idle_turns, sum.idle.runs,
           sum.idle.ns / US, sum.messages[LOOP_CHANNEL], sum.messages[LOOP_SELECT], sum.messages[LOOP_ROOM], sum.turns,
           sum.sleeps);
    return 0;
}
