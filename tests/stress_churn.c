/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * Putters, getters, selects and random closes on one channel after the other, of every flavour: each element is got,
 * dropped or returned exactly once, and those of one putter in order. Prints one "ok" line per run; ends with "not ok"
 * and status 1 at the first thing that is wrong, or when nothing has moved for STUCK seconds.
 *
 * usage: stress_churn [-n count] [-c capacity|unbounded] [-s elem_size] [-r seed]
 * The long run: stress_churn -n 100000000
 */
#include "stress_util.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>

enum { PUTTERS = 4, GETTERS = 4, SELECTS = 2, CREW = PUTTERS + GETTERS + SELECTS, SOURCES = PUTTERS + SELECTS };
enum { GEN_MAX = 1 << 16, ELEM_MAX = 4096 };
/* What may lie in an unbounded channel when its getters are slow. */
#define HEAP_MAX (UINT64_C(64) << 20)
#define NEVER UINT64_MAX

/* How a generation of the channel lives. */
enum life {
    FLOW,    /* everybody moves elements; one or two of the crew close at a chosen moment */
    DROP,    /* the same, but getters stop at the close: the rest goes to the drop function */
    STARVED, /* few elements: getters are blocked when the close comes */
    STUFFED, /* getters take few and stop: the close finds putters blocked, or much in store; then all is drained */
    LIVES
};

static struct {
    size_t size, capacity;
    uint64_t limit;    /* elements of one source in one generation */
    bool over;         /* no more generations */
    spool_chan *quiet; /* nothing is ever put into it */
    /* Of this generation. */
    unsigned number;
    enum life life;
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
    fprintf(stderr, "churn: size %zu capacity %s generation %u life %d alive %d len %zu\n", churn.size,
            capacity_name(churn.capacity), churn.number, (int)churn.life, spool_alive(churn.chan),
            spool_len(churn.chan));
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

static uint64_t quota(struct member *me, enum life limited)
{
    return churn.life == limited ? draw(&me->rng) % 4 : NEVER;
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
        if (churn.life == DROP && !spool_alive(churn.chan))
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
    if (shape & 16 && churn.life <= DROP) {
        r = spool_select_get(sel, churn.quiet, NULL);
        check(r >= 0, "churn: adding the quiet case", r);
    }
    if (may_put == 0)
        switch_cases(sel, cases, 2, 4, false);
    if (may_get == 0)
        switch_cases(sel, cases, 0, 2, false);
    while (left > 0) {
        if (churn.life == DROP && !spool_alive(churn.chan))
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
    churn.life = (enum life)(draw(rng) % 8);
    if (churn.life >= LIVES)
        churn.life = FLOW;
    for (int i = 0; i < CREW; i++)
        churn.close_at[i] = NEVER;
    for (int closers = 1 + (int)draw(rng) % 2; closers && churn.life <= DROP; closers--)
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
    if (churn.life != DROP && churn.dropped)
        fail("churn: %llu dropped although getters drained the channel", churn.dropped);
    if (churn.capacity == 0 && churn.dropped)
        fail("churn: %llu dropped by a rendezvous", churn.dropped);
    check(churn.closed_first == 1, "churn: closes that were the first", churn.closed_first);
    *ret_put += put;
}

static void linger(uint64_t ns)
{
    double end = now_s() + (double)ns / 1e9;
    while (now_s() < end)
        sched_yield();
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
    bool closer = churn.life > DROP, keep = closer || draw(rng) % 2;
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
    if (churn.life != DROP) {
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
    if (capacity == SPOOL_UNBOUNDED && churn.limit > HEAP_MAX / SOURCES / size)
        churn.limit = HEAP_MAX / SOURCES / size;
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
    printf("ok churn size %zu capacity %s: %" PRIu64 " put, %" PRIu64 " got, %" PRIu64 " dropped, %" PRIu64
           " returned, %u closes, 0 wrong, %.0f ns each\n",
           size, capacity_name(capacity), put, put - dropped, dropped, returned, churn.number - first,
           took / (double)put * 1e9);
}

static void churn_all(uint64_t count)
{
    const size_t sizes[] = {1, 8, 24, 4096}, all[] = {1, 3, 64, 1024, SPOOL_UNBOUNDED, 0}, *capacities = all;
    size_t n = chosen(&capacities, COUNT(all));
    uint64_t runs = (only_size ? 1 : COUNT(sizes)) * n, done = 0;
    for (size_t s = 0; s < COUNT(sizes); s++) {
        if (only_size && only_size != sizes[s])
            continue;
        for (size_t i = 0; i < n; i++, done++)
            churn_run(sizes[s], capacities[i], (count + runs - 1) / runs);
    }
    check(done > 0, "churn: elements of no such size", (long long)only_size);
}

static const struct mode modes[] = {
    {"churn", churn_all, 1000000},
};

int main(int argc, char **argv)
{
    return stress_main(argc, argv, modes, COUNT(modes));
}
