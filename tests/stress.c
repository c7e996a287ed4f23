/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * Checks that need many rounds. Each mode prints one "ok" line per run; the program ends with "not ok" and status 1 at
 * the first thing that is wrong, or when nothing has moved for STUCK seconds.
 *
 *   churn   putters, getters, selects and random closes: every element delivered or returned exactly once, in order
 *   herd    many threads asleep on one channel: how many wake up for one put
 *   pair    idle workers and as many puts back to back: no element waits behind a busy worker while another sleeps
 *   stream  one putter, one getter, never a pause: what a message costs in time, system calls and switches
 *
 * usage: stress [-n count] [-c capacity] [-s elem_size] [-v variant] [-r seed] [mode ...]
 * The long runs: stress -n 100000000 churn; stress -n 1000000 herd; stress -n 1000000 pair
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "spool.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SLOWDOWN 10
#elif __has_feature(address_sanitizer)
#define SLOWDOWN 4
#endif
#elif defined(__SANITIZE_THREAD__)
#define SLOWDOWN 10
#elif defined(__SANITIZE_ADDRESS__)
#define SLOWDOWN 4
#endif
#ifndef SLOWDOWN
#define SLOWDOWN 1
#endif

#define STUCK 30
#define HERD 64
#define RACES 2
#define CREW_MAX 64

static uint64_t seed = 1;
static size_t only_capacity, only_size;
static const char *only_variant;

/* ---- What every mode uses ---- */

/* One counter per thread on its own line, so that watching progress costs the threads nothing. */
static struct {
    _Alignas(128) atomic_ullong moved;
} meter[CREW_MAX + 1];
static void (*dump)(void);

static _Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

static _Noreturn void fail(const char *format, ...)
{
    va_list args;
    printf("not ok ");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
    if (dump)
        dump();
    fflush(stderr);
    _exit(1);
}

static void check(bool ok, const char *what, long long got)
{
    if (!ok)
        fail("%s: %lld", what, got);
}

static void tick(int who)
{
    atomic_fetch_add_explicit(&meter[who].moved, 1, memory_order_relaxed);
}

static unsigned long long moved(void)
{
    unsigned long long sum = 0;
    for (int i = 0; i <= CREW_MAX; i++)
        sum += atomic_load_explicit(&meter[i].moved, memory_order_relaxed);
    return sum;
}

static void *watchdog(void *arg)
{
    (void)arg;
    unsigned long long last = moved();
    for (int idle = 0;; idle++) {
        sleep(1);
        unsigned long long now = moved();
        if (now != last)
            idle = 0;
        last = now;
        if (idle >= STUCK)
            fail("nothing moved for %d seconds: hung", STUCK);
    }
    return NULL;
}

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state * UINT64_C(0x2545f4914f6cdd1d) >> 32;
}

static uint64_t seeded(uint64_t salt)
{
    uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) ^ (salt + 1) * UINT64_C(0xbf58476d1ce4e5b9);
    state = state ? state : 1;
    draw(&state);
    return state;
}

static void linger(uint64_t ns)
{
    double end = now_s() + (double)ns / 1e9;
    while (now_s() < end)
        sched_yield();
}

static pthread_t start(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    int r = pthread_create(&thread, NULL, fn, arg);
    check(r == 0, "pthread_create", r);
    return thread;
}

/* A thread that can be asked whether it sleeps, and how often it went to sleep by itself. */
struct sleeper {
    pthread_t thread;
    atomic_long tid;
    int stat_fd;
};

static void sleeper_begin(struct sleeper *s)
{
    atomic_store(&s->tid, syscall(SYS_gettid));
}

static void sleeper_join(struct sleeper *s)
{
    pthread_join(s->thread, NULL);
    close(s->stat_fd);
}

static size_t read_proc(int fd, char *text, size_t size)
{
    ssize_t n = pread(fd, text, size - 1, 0);
    check(n > 0, "reading of /proc/self/task", -errno);
    text[n] = '\0';
    return (size_t)n;
}

static int open_proc(struct sleeper *s, const char *name)
{
    char path[64];
    long tid;
    while ((tid = atomic_load(&s->tid)) == 0)
        sched_yield();
    snprintf(path, sizeof(path), "/proc/self/task/%ld/%s", tid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    check(fd >= 0, "opening of /proc/self/task", -errno);
    return fd;
}

static void wait_asleep(struct sleeper *s)
{
    char text[1024];
    if (!s->stat_fd)
        s->stat_fd = open_proc(s, "stat");
    for (;;) {
        read_proc(s->stat_fd, text, sizeof(text));
        const char *name_end = strrchr(text, ')');
        if (name_end && name_end[1] && name_end[2] == 'S')
            return;
        sched_yield();
    }
}

static long voluntary_switches(struct sleeper *s)
{
    static const char key[] = "\nvoluntary_ctxt_switches:";
    char text[8192];
    int fd = open_proc(s, "status");
    read_proc(fd, text, sizeof(text));
    close(fd);
    const char *line = strstr(text, key);
    check(line, "voluntary switches of a thread: not told", 0);
    return strtol(line + sizeof(key) - 1, NULL, 10);
}

/*
 * A counter of every system call this process and its later threads make, or -1 where the kernel does not lend one
 * (it takes a mounted tracefs and the right to read it). strace counts too, but slows what it counts.
 */
static int count_calls(void)
{
    int fd = open("/sys/kernel/tracing/events/raw_syscalls/sys_enter/id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    char text[32] = "";
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return -1;
    struct perf_event_attr attr = {
        .type = PERF_TYPE_TRACEPOINT,
        .size = sizeof(attr),
        .config = strtoull(text, NULL, 10),
        .inherit = 1,
    };
    return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

/* ---- churn ---- */

enum { PUTTERS = 4, GETTERS = 4, SELECTS = 2, CREW = PUTTERS + GETTERS + SELECTS, SOURCES = PUTTERS + SELECTS };
enum { GEN_MAX = 1 << 16, ELEM_MAX = 4096 };
#define NEVER UINT64_MAX

/* How a generation of the channel lives. */
enum flavour {
    FLOW,    /* everybody moves elements; one or two of the crew close at a chosen moment */
    DROP,    /* the same, but getters stop at the close: the rest goes to the drop function */
    STARVED, /* few elements: getters are blocked when the close comes */
    STUFFED, /* getters take few and stop: putters are blocked when the close comes, then all is drained */
    FLAVOURS
};

static struct {
    size_t size, capacity;
    uint64_t limit;    /* elements of one source in one generation */
    bool over;         /* no more generations */
    spool_chan *quiet; /* nothing is ever put into it */
    /* Of this generation. */
    unsigned number;
    enum flavour flavour;
    spool_chan *chan;
    uint64_t close_at[CREW]; /* member closes after that many moves of its own */
    atomic_int closed_first, closed_again;
    uint64_t put_ok[SOURCES];
    uint64_t returned[SOURCES];
    atomic_ulong seen[SOURCES][GEN_MAX / 64];
    atomic_ullong got, got_sum, dropped, put_sum;
    pthread_barrier_t begin, end;
} churn;

static const char *const churn_where[] = {"barrier", "put", "get", "select", "drain"};

struct member {
    int id;     /* in the crew */
    int source; /* as a source of elements, or -1 */
    uint64_t rng;
    uint64_t moves, got, got_sum, put_sum;
    uint64_t last[SOURCES]; /* 1 + last sequence number seen of each source */
    atomic_int where;       /* for the dump */
    pthread_t thread;
};
static struct member crew[CREW];

static void churn_dump(void)
{
    fprintf(stderr, "churn: size %zu capacity %zu generation %u flavour %d alive %d len %zu\n", churn.size,
            churn.capacity, churn.number, (int)churn.flavour, spool_alive(churn.chan), spool_len(churn.chan));
    for (int i = 0; i < CREW; i++)
        fprintf(stderr, "  member %d source %d: in %s, %" PRIu64 " moves, %" PRIu64 " got\n", i, crew[i].source,
                churn_where[atomic_load(&crew[i].where)], crew[i].moves, crew[i].got);
}

static uint64_t mix(uint64_t key, size_t i)
{
    return key + i * UINT64_C(0x9e3779b97f4a7c15);
}

static void elem_make(unsigned char *elem, int source, uint64_t seq)
{
    uint64_t key = (uint64_t)(churn.number & 0xfffff) << 40 | (uint64_t)source << 32 | seq;
    if (churn.size == 1) {
        elem[0] = (unsigned char)(key ^ key >> 32);
        return;
    }
    for (size_t i = 0; i < churn.size / 8; i++) {
        uint64_t word = mix(key, i);
        memcpy(elem + 8 * i, &word, 8);
    }
}

/* Marks an element as seen; says which source it came from, its number in *ret_seq. */
static int elem_mark(const unsigned char *elem, uint64_t *ret_seq)
{
    uint64_t key, word;
    memcpy(&key, elem, 8);
    for (size_t i = 1; i < churn.size / 8; i++) {
        memcpy(&word, elem + 8 * i, 8);
        if (word != mix(key, i))
            fail("churn: element %" PRIx64 " is torn at word %zu", key, i);
    }
    uint64_t source = key >> 32 & 0xff, seq = key & 0xffffffff;
    if (key >> 40 != (churn.number & 0xfffff) || source >= SOURCES || seq >= GEN_MAX)
        fail("churn: element %" PRIx64 " was never put in generation %u", key, churn.number);
    unsigned long bit = 1UL << seq % 64;
    if (atomic_fetch_or_explicit(&churn.seen[source][seq / 64], bit, memory_order_relaxed) & bit)
        fail("churn: element %" PRIu64 " of source %" PRIu64 " came twice", seq, source);
    *ret_seq = seq;
    return (int)source;
}

static void churn_drop(void *elem)
{
    uint64_t seq;
    if (churn.size == 1)
        atomic_fetch_add(&churn.got_sum, *(unsigned char *)elem);
    else
        elem_mark(elem, &seq);
    atomic_fetch_add(&churn.dropped, 1);
}

static void churn_close(void)
{
    int r = spool_close(churn.chan);
    check(r == 0 || r == -EALREADY, "churn: spool_close", r);
    atomic_fetch_add(r == 0 ? &churn.closed_first : &churn.closed_again, 1);
    r = spool_close(churn.chan);
    check(r == -EALREADY, "churn: second spool_close", r);
    check(!spool_alive(churn.chan), "churn: alive after close", 1);
    unsigned char elem[ELEM_MAX] = {0};
    r = spool_try_put(churn.chan, elem);
    check(r == -EPIPE, "churn: put after close", r);
}

static void moved_one(struct member *me)
{
    tick(me->id);
    if (++me->moves == churn.close_at[me->id])
        churn_close();
}

static void take(struct member *me, const unsigned char *elem)
{
    me->got++;
    if (churn.size == 1) {
        me->got_sum += elem[0];
    } else {
        uint64_t seq;
        int source = elem_mark(elem, &seq);
        if (seq < me->last[source])
            fail("churn: element %" PRIu64 " of source %d after %" PRIu64, seq, source, me->last[source] - 1);
        me->last[source] = seq + 1;
    }
    moved_one(me);
}

/* The put was accepted (r is 0) or returned; false when this source is done. */
static bool put_went(struct member *me, const unsigned char *elem, int r)
{
    if (r == -EPIPE) {
        churn.returned[me->source]++;
        return false;
    }
    check(r == 0, "churn: put", r);
    me->put_sum += churn.size == 1 ? elem[0] : 0;
    bool more = ++churn.put_ok[me->source] < churn.limit;
    if (!more)
        churn_close();
    moved_one(me);
    return more;
}

static int wait_fd(int fd, uint64_t *rng)
{
    check(fd >= 0, "churn: spool_fd", fd);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int r = poll(&p, 1, draw(rng) % 8 ? -1 : 1);
    check(r >= 0 && !(p.revents & ~POLLIN), "churn: poll", p.revents);
    return -EAGAIN;
}

static int put_somehow(struct member *me, const void *elem, unsigned style)
{
    switch (style) {
    case 0:
        return spool_put(churn.chan, elem);
    case 1:
        return spool_put_for(churn.chan, elem, (int64_t)(draw(&me->rng) % 200000));
    case 2:
        return spool_try_put(churn.chan, elem);
    default:
        wait_fd(spool_put_fd(churn.chan), &me->rng);
        return spool_try_put(churn.chan, elem);
    }
}

static int get_somehow(struct member *me, void *elem, unsigned style)
{
    switch (style) {
    case 0:
        return spool_get(churn.chan, elem);
    case 1:
        return spool_get_for(churn.chan, elem, (int64_t)(draw(&me->rng) % 200000));
    case 2:
        return spool_try_get(churn.chan, elem);
    default:
        wait_fd(spool_fd(churn.chan), &me->rng);
        return spool_try_get(churn.chan, elem);
    }
}

static bool later(int r)
{
    if (r == -EAGAIN)
        sched_yield();
    return r == -EAGAIN || r == -ETIMEDOUT;
}

static uint64_t quota(struct member *me, enum flavour limited)
{
    return churn.flavour == limited ? draw(&me->rng) % 4 : NEVER;
}

static void churn_put(struct member *me)
{
    unsigned char elem[ELEM_MAX];
    unsigned style = (unsigned)draw(&me->rng) % 5;
    uint64_t left = quota(me, STARVED);
    atomic_store(&me->where, 1);
    for (bool more = true; more && left; left--) {
        elem_make(elem, me->source, churn.put_ok[me->source]);
        int r;
        do
            r = put_somehow(me, elem, style == 4 ? (unsigned)draw(&me->rng) % 4 : style);
        while (later(r));
        more = put_went(me, elem, r);
    }
}

static void churn_get(struct member *me)
{
    unsigned char elem[ELEM_MAX];
    unsigned style = (unsigned)draw(&me->rng) % 5;
    uint64_t left = quota(me, STUFFED);
    atomic_store(&me->where, 2);
    for (;; left--) {
        while (left == 0 && spool_alive(churn.chan))
            sched_yield();
        if (churn.flavour == DROP && !spool_alive(churn.chan))
            return;
        int r;
        do
            r = get_somehow(me, elem, style == 4 ? (unsigned)draw(&me->rng) % 4 : style);
        while (later(r));
        if (r == -EPIPE)
            return;
        check(r == 0, "churn: get", r);
        take(me, elem);
        if (left == 0)
            left = NEVER;
    }
}

static void switch_cases(spool_select *sel, const int *cases, int from, int to, bool on)
{
    for (int i = from; i < to; i++) {
        if (cases[i] < 0)
            continue;
        int r = spool_select_enable(sel, cases[i], on);
        check(r == 0, "churn: spool_select_enable", r);
    }
}

/* Cases 0 and 1 get into their own buffers, 2 and 3 put the same element; -1 where the case is not there any more. */
static void churn_select(struct member *me)
{
    unsigned char in[2][ELEM_MAX], out[ELEM_MAX];
    unsigned shape = (unsigned)draw(&me->rng);
    int gets = 1 + (shape & 1), puts = (int)(shape >> 1 & 3) % 3;
    uint64_t may_get = quota(me, STUFFED), may_put = quota(me, STARVED);
    int cases[4] = {-1, -1, -1, -1}, left = gets + puts, r;
    bool returned = false;
    spool_select *sel;

    atomic_store(&me->where, 3);
    r = spool_select_new(&sel);
    check(r == 0, "churn: spool_select_new", r);
    if (shape & 8)
        spool_select_set_order(sel, SPOOL_IN_ORDER);
    elem_make(out, me->source, churn.put_ok[me->source]);
    for (int i = 0; i < 4; i++) {
        if (i < 2 ? i >= gets : i - 2 >= puts)
            continue;
        cases[i] = i < 2 ? spool_select_get(sel, churn.chan, in[i]) : spool_select_put(sel, churn.chan, out);
        check(cases[i] >= 0, "churn: adding a case", cases[i]);
    }
    if (shape & 16 && churn.flavour <= DROP) {
        r = spool_select_get(sel, churn.quiet, NULL);
        check(r >= 0, "churn: adding the quiet case", r);
    }
    if (may_put == 0)
        switch_cases(sel, cases, 2, 4, false);
    if (may_get == 0)
        switch_cases(sel, cases, 0, 2, false);
    while (left > 0) {
        if (churn.flavour == DROP && !spool_alive(churn.chan))
            break;
        int64_t times[] = {-1, -1, 0, (int64_t)(draw(&me->rng) % 200000)};
        int index = spool_select_wait(sel, times[draw(&me->rng) % 4]);
        if (index == -ENODATA && spool_alive(churn.chan)) {
            sched_yield();
            continue;
        }
        if (index == -ENODATA) {
            may_get = may_put = NEVER;
            switch_cases(sel, cases, 0, 4, true);
            continue;
        }
        if (later(index))
            continue;
        check(index >= 0, "churn: spool_select_wait", index);
        int i = 0;
        while (i < 4 && cases[i] != index)
            i++;
        check(i < 4, "churn: index of no case", index);
        r = spool_select_result(sel, index);
        if (r == -EPIPE) {
            cases[i] = -1;
            left--;
            churn.returned[me->source] += i >= 2 && !returned;
            returned |= i >= 2;
            if (may_get == 0)
                switch_cases(sel, cases, 0, 2, true);
            may_get = NEVER;
            continue;
        }
        check(r == 0, "churn: spool_select_result", r);
        if (i < 2) {
            take(me, in[i]);
            if (--may_get == 0)
                switch_cases(sel, cases, 0, 2, false);
        } else {
            bool more = put_went(me, out, 0);
            if (more) {
                elem_make(out, me->source, churn.put_ok[me->source]);
                if (--may_put == 0)
                    switch_cases(sel, cases, 2, 4, false);
            }
            for (i = 2; i < 4 && !more; i++) {
                if (cases[i] < 0)
                    continue;
                r = spool_select_remove(sel, cases[i]);
                check(r == 0, "churn: spool_select_remove", r);
                cases[i] = -1;
                left--;
            }
        }
    }
    spool_select_free(sel);
}

static void *churn_thread(void *arg)
{
    struct member *me = arg;
    for (;;) {
        atomic_store(&me->where, 0);
        pthread_barrier_wait(&churn.begin);
        if (churn.over)
            return NULL;
        me->moves = me->got = me->got_sum = me->put_sum = 0;
        memset(me->last, 0, sizeof(me->last));
        if (me->id < PUTTERS)
            churn_put(me);
        else if (me->id < PUTTERS + GETTERS)
            churn_get(me);
        else
            churn_select(me);
        atomic_fetch_add(&churn.got, me->got);
        atomic_fetch_add(&churn.got_sum, me->got_sum);
        atomic_fetch_add(&churn.put_sum, me->put_sum);
        spool_unref(churn.chan);
        atomic_store(&me->where, 0);
        pthread_barrier_wait(&churn.end);
    }
}

static void churn_plan(uint64_t *rng)
{
    churn.flavour = (enum flavour)(draw(rng) % 8);
    if (churn.flavour >= FLAVOURS)
        churn.flavour = FLOW;
    for (int i = 0; i < CREW; i++)
        churn.close_at[i] = NEVER;
    for (int closers = 1 + (int)draw(rng) % 2; closers && churn.flavour <= DROP; closers--)
        churn.close_at[draw(rng) % CREW] = 1 + draw(rng) % (UINT64_C(1) << draw(rng) % 12);
    memset(churn.put_ok, 0, sizeof(churn.put_ok));
    memset(churn.returned, 0, sizeof(churn.returned));
    churn.closed_first = churn.closed_again = 0;
    churn.got = churn.got_sum = churn.dropped = churn.put_sum = 0;
}

/* After the generation: what was put and accepted was seen once, what was returned or never put was not. */
static void churn_verify(uint64_t *ret_put, uint64_t *ret_returned)
{
    uint64_t put = 0;
    for (int s = 0; s < SOURCES; s++) {
        put += churn.put_ok[s];
        *ret_returned += churn.returned[s];
        for (uint64_t w = 0; churn.size > 1 && w <= churn.put_ok[s] / 64 && w < GEN_MAX / 64; w++) {
            uint64_t n = churn.put_ok[s] - w * 64;
            unsigned long want = n >= 64 ? ~0UL : (1UL << n) - 1, seen = atomic_exchange(&churn.seen[s][w], 0);
            if (seen != want)
                fail("churn: generation %u source %d of %" PRIu64 ": elements %" PRIu64 "..: seen %lx, put %lx",
                     churn.number, s, churn.put_ok[s], w * 64, seen, want);
        }
    }
    if (put != churn.got + churn.dropped)
        fail("churn: put %" PRIu64 " got %llu dropped %llu", put, churn.got, churn.dropped);
    if (churn.size == 1 && churn.put_sum != churn.got_sum)
        fail("churn: bytes put sum up to %llu, got to %llu", churn.put_sum, churn.got_sum);
    if (churn.flavour != DROP && churn.dropped)
        fail("churn: %llu dropped although getters drained the channel", churn.dropped);
    check(churn.closed_first == 1, "churn: closes that were the first", churn.closed_first);
    *ret_put += put;
}

static void churn_generation(uint64_t *rng)
{
    unsigned char elem[ELEM_MAX] = {0};
    spool_chan *chan;
    churn_plan(rng);
    int r = spool_chan_new(&chan, churn.size, churn.capacity);
    check(r == 0, "churn: spool_chan_new", r);
    r = spool_set_drop(chan, churn_drop);
    check(r == 0, "churn: spool_set_drop", r);
    churn.chan = chan;
    for (int i = 0; i < CREW; i++)
        spool_ref(chan);
    bool closer = churn.flavour > DROP, keep = closer || draw(rng) % 2;
    if (!keep)
        spool_unref(chan);
    pthread_barrier_wait(&churn.begin);
    if (closer) {
        linger(draw(rng) % 400 * 1000);
        churn_close();
    }
    pthread_barrier_wait(&churn.end);
    if (!keep)
        return;
    if (churn.flavour != DROP) {
        r = spool_get(chan, elem);
        check(r == -EPIPE, "churn: get from closed and drained", r);
        check(spool_len(chan) == 0, "churn: length of closed and drained", (long long)spool_len(chan));
    }
    spool_unref(chan);
}

static void churn_run(size_t size, size_t capacity, uint64_t count)
{
    uint64_t put = 0, returned = 0, rng = seeded(size * 10000 + capacity), dropped = 0;
    churn.size = size;
    churn.capacity = capacity;
    churn.limit = count / 8 < 64 ? 64 : count / 8 < GEN_MAX ? count / 8 : GEN_MAX;
    churn.over = false;
    pthread_barrier_init(&churn.begin, NULL, CREW + 1);
    pthread_barrier_init(&churn.end, NULL, CREW + 1);
    int r = spool_chan_new(&churn.quiet, 1, 1);
    check(r == 0, "churn: spool_chan_new", r);
    dump = churn_dump;
    for (int i = 0; i < CREW; i++) {
        crew[i].id = i;
        crew[i].source = i < PUTTERS ? i : i - GETTERS;
        crew[i].rng = seeded(rng + (uint64_t)i);
        crew[i].thread = start(churn_thread, &crew[i]);
    }
    double begin = now_s();
    unsigned first = churn.number;
    while (put < count) {
        churn.number++;
        churn_generation(&rng);
        churn_verify(&put, &returned);
        dropped += churn.dropped;
    }
    double took = now_s() - begin;
    churn.over = true;
    pthread_barrier_wait(&churn.begin);
    for (int i = 0; i < CREW; i++)
        pthread_join(crew[i].thread, NULL);
    dump = NULL;
    spool_unref(churn.quiet);
    pthread_barrier_destroy(&churn.begin);
    pthread_barrier_destroy(&churn.end);
    printf("ok churn size %zu capacity %zu: %" PRIu64 " put, %" PRIu64 " got, %" PRIu64 " dropped, %" PRIu64
           " returned, %u closes, 0 wrong, %.0f ns each\n",
           size, capacity, put, put - dropped, dropped, returned, churn.number - first, took / (double)put * 1e9);
}

static void churn_all(uint64_t count)
{
    const size_t sizes[] = {1, 8, 24, 4096}, capacities[] = {1, 3, 64, 1024};
    uint64_t runs = (only_size ? 1 : 4) * (only_capacity ? 1 : 4);
    for (int s = 0; s < 4; s++)
        for (int c = 0; c < 4; c++)
            if ((!only_size || only_size == sizes[s]) && (!only_capacity || only_capacity == capacities[c]))
                churn_run(sizes[s], capacities[c], (count + runs - 1) / runs);
}

/* ---- herd ---- */

static struct {
    spool_chan *chan;
    bool select;
    atomic_ullong taken;
    atomic_int taker;
    unsigned long long puts;
} herd;

static struct {
    struct sleeper sleeper;
    uint64_t count, sum;
} cattle[HERD];

static void herd_dump(void)
{
    fprintf(stderr, "herd: %s: %llu put, %llu taken, len %zu\n", herd.select ? "select" : "get", herd.puts, herd.taken,
            spool_len(herd.chan));
}

static void *herd_thread(void *arg)
{
    int me = (int)(intptr_t)arg, r = 0;
    uint64_t value = 0;
    spool_select *sel = NULL;
    if (herd.select) {
        r = spool_select_new(&sel);
        check(r == 0, "herd: spool_select_new", r);
        r = spool_select_get(sel, herd.chan, &value);
        check(r == 0, "herd: spool_select_get", r);
    }
    sleeper_begin(&cattle[me].sleeper);
    for (;;) {
        if (sel) {
            r = spool_select_wait(sel, -1);
            check(r == 0, "herd: spool_select_wait", r);
            r = spool_select_result(sel, 0);
        } else {
            r = spool_get(herd.chan, &value);
        }
        if (r == -EPIPE)
            break;
        check(r == 0, "herd: get", r);
        cattle[me].sum += value;
        cattle[me].count++;
        atomic_store(&herd.taker, me);
        atomic_fetch_add(&herd.taken, 1);
    }
    spool_select_free(sel);
    return NULL;
}

/* A put, then a wait until its taker sleeps again: 1 is the least a put can wake, 64 the whole herd. */
static void herd_run(bool select, uint64_t count)
{
    int r = spool_chan_new(&herd.chan, sizeof(uint64_t), 16);
    check(r == 0, "herd: spool_chan_new", r);
    herd.select = select;
    herd.taken = herd.puts = 0;
    memset(cattle, 0, sizeof(cattle));
    dump = herd_dump;
    for (int i = 0; i < HERD; i++)
        cattle[i].sleeper.thread = start(herd_thread, (void *)(intptr_t)i);
    for (int i = 0; i < HERD; i++)
        wait_asleep(&cattle[i].sleeper);
    long switches = 0;
    for (int i = 0; i < HERD; i++)
        switches -= voluntary_switches(&cattle[i].sleeper);
    double begin = now_s();
    for (uint64_t i = 0; i < count; i++) {
        herd.puts++;
        r = spool_put(herd.chan, &i);
        check(r == 0, "herd: put", r);
        while (atomic_load(&herd.taken) <= i)
            sched_yield();
        wait_asleep(&cattle[atomic_load(&herd.taker)].sleeper);
        tick(0);
    }
    double took = now_s() - begin;
    for (int i = 0; i < HERD; i++)
        switches += voluntary_switches(&cattle[i].sleeper);
    spool_close(herd.chan);
    uint64_t sum = 0, got = 0;
    for (int i = 0; i < HERD; i++) {
        sleeper_join(&cattle[i].sleeper);
        sum += cattle[i].sum;
        got += cattle[i].count;
    }
    dump = NULL;
    herd.chan = spool_unref(herd.chan);
    check(got == count && sum == count * (count - 1) / 2, "herd: elements are wrong; got", (long long)got);
    double wakes = (double)switches / (double)count;
    printf("ok herd %s: %" PRIu64 " puts, %d threads asleep, %.4f wake-ups per put, %.0f ns per put and sleep\n",
           select ? "select" : "get", count, HERD, wakes, took / (double)count * 1e9);
    /* A select that is woken although another took the element is waste, but not yet a herd. */
    double most = select ? 3 : 1.1;
    if (wakes >= most)
        fail("herd: %.4f wake-ups per put, %.1f is too many", wakes, most);
}

static void herd_all(uint64_t count)
{
    if (!only_variant || !strcmp(only_variant, "get"))
        herd_run(false, count);
    if (!only_variant || !strcmp(only_variant, "select"))
        herd_run(true, count);
}

/* ---- pair ---- */

static struct {
    spool_chan *jobs, *quit;
    int workers;
    const char *kinds; /* of each worker: s a select over {jobs, quit}, g a blocking get, p poll(2) on the jobs' fd */
    atomic_ullong held;
    unsigned long long round;
    bool idle_first;
} pair;

static struct {
    struct sleeper sleeper;
    uint64_t count, sum;
} worker[8];

static void pair_dump(void)
{
    fprintf(stderr, "pair %s: round %llu%s, %llu held, want %llu, jobs waiting %zu\n", pair.kinds, pair.round,
            pair.idle_first ? " from idle" : "", pair.held, pair.round * (unsigned)pair.workers, spool_len(pair.jobs));
    for (int i = 0; i < pair.workers; i++)
        fprintf(stderr, "  worker %d (%c): %" PRIu64 " taken\n", i, pair.kinds[i], worker[i].count);
}

/* Holds the element until every worker holds one: if one waits behind a busy worker, this never ends. */
static void hold(int me, uint64_t value)
{
    unsigned long long need = (value / (unsigned)pair.workers + 1) * (unsigned)pair.workers;
    worker[me].count++;
    worker[me].sum += value;
    atomic_fetch_add(&pair.held, 1);
    while (atomic_load(&pair.held) < need)
        sched_yield();
}

static void *pair_select(void *arg)
{
    int me = (int)(intptr_t)arg, r, index;
    uint64_t value, word;
    spool_select *sel;
    r = spool_select_new(&sel);
    check(r == 0, "pair: spool_select_new", r);
    int jobs = spool_select_get(sel, pair.jobs, &value), quit = spool_select_get(sel, pair.quit, &word);
    check(jobs == 0 && quit == 1, "pair: spool_select_get", quit);
    sleeper_begin(&worker[me].sleeper);
    while ((index = spool_select_wait(sel, -1)) == jobs) {
        r = spool_select_result(sel, jobs);
        check(r == 0, "pair: spool_select_result", r);
        hold(me, value);
    }
    check(index == quit && spool_select_result(sel, quit) == -EPIPE, "pair: quit", index);
    spool_select_free(sel);
    return NULL;
}

static void *pair_get(void *arg)
{
    int me = (int)(intptr_t)arg, r;
    uint64_t value;
    sleeper_begin(&worker[me].sleeper);
    while ((r = spool_get(pair.jobs, &value)) == 0)
        hold(me, value);
    check(r == -EPIPE, "pair: spool_get", r);
    return NULL;
}

static void *pair_poll(void *arg)
{
    int me = (int)(intptr_t)arg, r = 0;
    uint64_t value;
    struct pollfd p = {.fd = spool_fd(pair.jobs), .events = POLLIN};
    check(p.fd >= 0, "pair: spool_fd", p.fd);
    sleeper_begin(&worker[me].sleeper);
    for (;;) {
        int n = poll(&p, 1, -1);
        check(n == 1 && p.revents == POLLIN, "pair: poll", p.revents);
        r = spool_try_get(pair.jobs, &value);
        if (r == -EAGAIN)
            continue;
        if (r)
            break;
        hold(me, value);
    }
    check(r == -EPIPE, "pair: spool_try_get", r);
    return NULL;
}

static void pair_round(uint64_t *rng, bool idle_first)
{
    pair.idle_first = idle_first;
    for (int i = 0; i < pair.workers && idle_first; i++)
        wait_asleep(&worker[i].sleeper);
    /* Any moment on their way to sleep, which is some looks, then some yields, then the announcement. */
    for (uint64_t spin = idle_first ? 0 : draw(rng) % (UINT64_C(1) << draw(rng) % 17); spin; spin--)
        atomic_load(&pair.held);
    uint64_t first = pair.round++ * (unsigned)pair.workers;
    for (uint64_t i = 0; i < (unsigned)pair.workers; i++) {
        int r = spool_put(pair.jobs, &(uint64_t){first + i});
        check(r == 0, "pair: spool_put", r);
    }
    while (atomic_load(&pair.held) < first + (unsigned)pair.workers)
        sched_yield();
    tick(0);
}

static void pair_run(const char *kinds, uint64_t count)
{
    uint64_t rng = seeded(count + (unsigned char)kinds[0]), sum = 0;
    pair.kinds = kinds;
    pair.workers = (int)strlen(kinds);
    pair.held = pair.round = 0;
    memset(worker, 0, sizeof(worker));
    int r = spool_chan_new(&pair.jobs, sizeof(uint64_t), 16);
    check(r == 0, "pair: spool_chan_new", r);
    r = spool_chan_new(&pair.quit, sizeof(uint64_t), 1);
    check(r == 0, "pair: spool_chan_new", r);
    dump = pair_dump;
    for (int i = 0; i < pair.workers; i++)
        worker[i].sleeper.thread =
            start(kinds[i] == 's' ? pair_select : kinds[i] == 'g' ? pair_get : pair_poll, (void *)(intptr_t)i);
    double begin = now_s();
    for (uint64_t i = 0; i < count; i++) {
        pair_round(&rng, true);
        for (int race = 0; race < RACES; race++)
            pair_round(&rng, false);
    }
    double took = now_s() - begin;
    spool_close(pair.quit);
    for (int i = 0; i < pair.workers; i++)
        if (kinds[i] == 's')
            sleeper_join(&worker[i].sleeper);
    spool_close(pair.jobs);
    for (int i = 0; i < pair.workers; i++) {
        if (kinds[i] != 's')
            sleeper_join(&worker[i].sleeper);
        check(worker[i].count == pair.round, "pair: rounds of one worker", (long long)worker[i].count);
        sum += worker[i].sum;
    }
    dump = NULL;
    uint64_t all = pair.round * (unsigned)pair.workers;
    check(sum == all * (all - 1) / 2, "pair: sum of elements", (long long)sum);
    spool_unref(pair.jobs);
    spool_unref(pair.quit);
    printf("ok pair %s: %" PRIu64 " rounds from idle and %" PRIu64 " on the way there, all at once, %.0f ns each\n", kinds,
           count, count * RACES, took / (double)pair.round * 1e9);
}

static void pair_all(uint64_t count)
{
    const char *kinds[] = {"s", "g", "p", "ss", "sg", "sp", "gp", "gg", "ssp", "sgp"};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (!only_variant || !strcmp(only_variant, kinds[i]))
            pair_run(kinds[i], count);
}

/* ---- stream ---- */

static struct {
    spool_chan *chan;
    uint64_t count;
    atomic_ullong got;
} stream;

static void stream_dump(void)
{
    fprintf(stderr, "stream: %llu of %" PRIu64 " got, len %zu\n", stream.got, stream.count, spool_len(stream.chan));
}

static void *stream_get(void *arg)
{
    (void)arg;
    for (uint64_t i = 0; i < stream.count; i++) {
        uint64_t value;
        int r = spool_get(stream.chan, &value);
        check(r == 0, "stream: spool_get", r);
        check(value == i, "stream: out of order", (long long)value);
        if (i % 1024 == 0)
            tick(1);
    }
    return NULL;
}

static void stream_run(size_t capacity, uint64_t count)
{
    int r = spool_chan_new(&stream.chan, sizeof(uint64_t), capacity);
    check(r == 0, "stream: spool_chan_new", r);
    stream.count = count;
    stream.got = 0;
    dump = stream_dump;
    int calls_fd = count_calls();
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    long switches = -use.ru_nvcsw;
    double begin = now_s();
    pthread_t getter = start(stream_get, NULL);
    for (uint64_t i = 0; i < count; i++) {
        r = spool_put(stream.chan, &i);
        check(r == 0, "stream: spool_put", r);
        if (i % 1024 == 0)
            tick(0);
    }
    pthread_join(getter, NULL);
    double took = now_s() - begin;
    getrusage(RUSAGE_SELF, &use);
    switches += use.ru_nvcsw;
    uint64_t calls = 0;
    char counted[64] = "system calls not counted";
    if (calls_fd >= 0 && read(calls_fd, &calls, sizeof(calls)) == sizeof(calls))
        snprintf(counted, sizeof(counted), "%.6f system calls", (double)calls / (double)count);
    if (calls_fd >= 0)
        close(calls_fd);
    dump = NULL;
    spool_unref(stream.chan);
    printf("ok stream capacity %zu: %" PRIu64 " messages, %.1f ns, %s, %.6f voluntary switches per message\n", capacity,
           count, took / (double)count * 1e9, counted, (double)switches / (double)count);
}

static void stream_all(uint64_t count)
{
    const size_t capacities[] = {1, 16, 128, 1024, 16384};
    if (only_capacity) {
        stream_run(only_capacity, count);
        return;
    }
    for (size_t i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++)
        stream_run(capacities[i], capacities[i] == 1 ? count / 10 + 1 : count);
}

/* ---- The program ---- */

static const struct mode {
    const char *name;
    void (*run)(uint64_t count);
    uint64_t count; /* in a quick run */
} modes[] = {
    {"churn", churn_all, 1000000},
    {"herd", herd_all, 20000},
    {"pair", pair_all, 10000},
    {"stream", stream_all, 2000000},
};

/* A quick run's count, times SPOOL_TEST_SCALE, less where a sanitizer slows it down. */
static uint64_t scaled(uint64_t count)
{
    const char *text = getenv("SPOOL_TEST_SCALE");
    double factor = text ? atof(text) : 1;
    if (!(factor > 0))
        factor = 1;
    factor /= SLOWDOWN;
    return (double)count * factor < 1 ? 1 : (uint64_t)((double)count * factor);
}

static _Noreturn void usage(void)
{
    fputs("usage: stress [-n count] [-c capacity] [-s elem_size] [-v variant] [-r seed] [churn|herd|pair|stream ...]\n",
          stderr);
    exit(2);
}

int main(int argc, char **argv)
{
    uint64_t count = 0;
    int option;
    while ((option = getopt(argc, argv, "n:c:s:v:r:")) != -1) {
        if (option == 'n')
            count = strtoull(optarg, NULL, 0);
        else if (option == 'c')
            only_capacity = strtoull(optarg, NULL, 0);
        else if (option == 's')
            only_size = strtoull(optarg, NULL, 0);
        else if (option == 'v')
            only_variant = optarg;
        else if (option == 'r')
            seed = strtoull(optarg, NULL, 0);
        else
            usage();
    }
    for (int i = optind; i < argc; i++) {
        size_t m = 0;
        while (m < sizeof(modes) / sizeof(modes[0]) && strcmp(argv[i], modes[m].name) != 0)
            m++;
        if (m == sizeof(modes) / sizeof(modes[0]))
            usage();
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    pthread_detach(start(watchdog, NULL));
    for (size_t m = 0; m < sizeof(modes) / sizeof(modes[0]); m++) {
        bool wanted = optind == argc;
        for (int i = optind; i < argc; i++)
            wanted |= !strcmp(argv[i], modes[m].name);
        if (wanted)
            modes[m].run(count ? count : scaled(modes[m].count));
    }
    return 0;
}
