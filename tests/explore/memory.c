/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "explore.h"

#include <string.h>

/*
 * Memory as threads see it.
 *
 * Weak: every atomic location keeps its stores. A load may see any of them that is not older than what its thread has
 * seen of the location, or was told of by a release it acquired: each thread has a *view*, the oldest store of each
 * location that it may still see, and each store carries the view of who made it. Fences as in C11; those that are
 * sequentially consistent also exchange views through one that is common. (J. Kang, C. Hur, O. Lahav, V. Vafeiadis,
 * D. Dreyer, "A promising semantics for relaxed-memory concurrency", 2017, without its promises: a load never sees a
 * store that comes later.) Stores of one location are ordered as they were made.
 *
 * TSO: a store that is not a read-modify-write may wait in its thread's buffer, which lands in order.
 *
 * In all three, clocks tell what happens before what by acquire and release alone, and an access that is not atomic and
 * not so ordered with another one is a race (C. Flanagan and S. Freund, "FastTrack", 2009). This is what shows a
 * missing acquire or release even where loads see the last store.
 */

#define ARENA_BYTES (1u << 18)
#define STACK_BYTES (1u << 16)
#define LOCS 1024
#define STORES 16384
#define BUFFERED 16
#define BLOCKS 256

struct view {
    uint16_t from[LOCS]; /* by location: the number of its oldest store that may be seen */
};

struct store {
    uint64_t value;
    int older; /* of the same location, or -1 */
    uint16_t number;
    bool plain; /* the value is what lies in memory at the next atomic access */
    struct view view;
    struct ex_clock clock;
};

struct loc {
    const char *p;
    unsigned size;
    int last; /* its last store */
    uint16_t n;
    struct ex_clock read, written;
    struct shadow *shadow; /* of its first byte */
};

struct shadow {
    uint32_t run; /* what follows is of this run */
    uint16_t loc_plus_1;
    uint16_t written_at;
    uint8_t written_by;
    bool was_written, was_read;
    uint16_t read_at[EX_THREADS];
};

/* The last accesses of four bytes that are no location: all were made by this thread at this time of its clock. */
struct recent {
    uint32_t run;
    uint16_t at;
    uint8_t by;
    bool writes;
};

struct thread {
    struct view now, acquirable, released; /* what it knows; what an acquire fence would add; at its release fence */
    struct ex_clock clock, clock_acquirable, clock_released;
    struct {
        volatile void *p;
        unsigned size;
        uint64_t value;
        enum ex_order order;
        const struct ex_site *site;
    } buffer[BUFFERED];
    int n_buffered;
};

struct object {
    struct view view;
    struct ex_clock clock;
};

enum ex_memory ex_memory;

_Alignas(64) static char memory[ARENA_BYTES + EX_THREADS * STACK_BYTES];
extern char __start_ex_data[], __stop_ex_data[]; /* the library's own variables */
static char data_image[1 << 14];
static size_t data_bytes;
static struct shadow *shadow, *shadow_data;
static struct recent recent[sizeof memory / 4];
static uint32_t run;
static size_t used;
static bool reuse;
static struct {
    char *p;
    size_t bytes;
    bool is_free;
} blocks[BLOCKS];
static int n_blocks, block_at[ARENA_BYTES / 64];
static struct loc locs[LOCS];
static int n_locs;
static struct store *stores;
static int n_stores;
static struct thread threads[EX_THREADS];
static struct object objects[64];
static int n_objects, allocator;
static struct view common; /* of sequentially consistent fences */

/* ---- Views and clocks ----------------------------------------------------------------------------------------- */

static void view_join(struct view *to, const struct view *from)
{
    if (ex_memory != EX_WEAK)
        return;
    for (int i = 0; i < n_locs; i++)
        if (to->from[i] < from->from[i])
            to->from[i] = from->from[i];
}

static void view_copy(struct view *to, const struct view *from)
{
    if (ex_memory == EX_WEAK)
        memcpy(to, from, (size_t)n_locs * sizeof to->from[0]);
}

static void clock_join(struct ex_clock *to, const struct ex_clock *from)
{
    for (int i = 0; i < EX_THREADS; i++)
        if (to->at[i] < from->at[i])
            to->at[i] = from->at[i];
}

struct ex_clock ex_clock(void)
{
    return threads[ex_self].clock;
}

/* ---- Where an address lies ------------------------------------------------------------------------------------ */

static struct shadow *fresh(struct shadow *s)
{
    if (s->run != run) {
        memset(s, 0, sizeof *s);
        s->run = run;
    }
    return s;
}

/* Of this and the following *ret_bytes bytes. Who uses them calls fresh. */
static inline struct shadow *shadows_of(const volatile void *p, size_t *ret_bytes)
{
    uintptr_t at = (uintptr_t)p - (uintptr_t)memory;
    if (at < sizeof memory) {
        *ret_bytes = sizeof memory - at;
        return &shadow[at];
    }
    at = (uintptr_t)p - (uintptr_t)__start_ex_data;
    if (at < data_bytes) {
        *ret_bytes = data_bytes - at;
        return &shadow_data[at];
    }
    return NULL;
}

static struct shadow *shadow_of(const volatile void *p)
{
    size_t bytes;
    struct shadow *s = shadows_of(p, &bytes);
    return s ? fresh(s) : NULL;
}

static void check_alive(const volatile void *p)
{
    size_t at = (uintptr_t)p - (uintptr_t)memory;
    if (at < used && blocks[block_at[at / 64]].is_free)
        ex_fail("memory that was freed is used: %p", (const void *)(uintptr_t)p);
}

/*
 * What only one thread uses, or nobody changes once the threads run, commutes with all else: there is nothing to choose
 * before it. Which locations are not so is learnt from run to run; a search in which more are learnt begins again.
 */
static uint8_t users[sizeof memory / 4], writers[sizeof memory / 4], shared[sizeof memory / 4];
static uint8_t users_data[sizeof data_image / 4], writers_data[sizeof data_image / 4],
    shared_data[sizeof data_image / 4];
static uint32_t touched[1 << 14];
static int n_touched;
unsigned ex_n_shared;
bool ex_all_is_shared;

void ex_forget_shared(void)
{
    memset(shared, 0, sizeof shared);
    memset(shared_data, 0, sizeof shared_data);
    ex_n_shared = 0;
}

static void land(int thread);

/*
 * When a buffered store lands matters only to who looks at its location: so it is chosen then, and otherwise the store
 * waits as long as it can.
 */
static void choose_landing(const volatile void *p, unsigned size)
{
    for (int t = 0; ex_memory == EX_TSO && t < EX_THREADS; t++) {
        struct thread *th = &threads[t];
        int upto = -1;
        for (int i = 0; t != ex_self && i < th->n_buffered; i++) {
            uintptr_t at = (uintptr_t)th->buffer[i].p;
            if (at < (uintptr_t)p + size && (uintptr_t)p < at + th->buffer[i].size)
                upto = i;
        }
        if (upto >= 0 && ex_choose(2, 0) == 1)
            for (; upto >= 0; upto--)
                land(t);
    }
}

/* Notes the use; whether the location is shared. */
static bool note_use(const volatile void *p, bool writes)
{
    size_t at = (uintptr_t)p - (uintptr_t)memory;
    bool is_data = at >= sizeof memory;
    if (is_data)
        at = (uintptr_t)p - (uintptr_t)__start_ex_data;
    at /= 4;
    uint8_t *u = is_data ? users_data : users, *w = is_data ? writers_data : writers;
    uint8_t *s = is_data ? shared_data : shared;
    if (ex_self > 0) {
        if (!u[at] && n_touched < (int)(sizeof touched / sizeof touched[0]))
            touched[n_touched++] = (uint32_t)at << 1 | is_data;
        u[at] |= (uint8_t)(1 << ex_self);
        w[at] |= (uint8_t)(writes << ex_self);
        if (!s[at] && w[at] && (u[at] & (u[at] - 1))) {
            s[at] = 1;
            ex_n_shared++;
        }
    }
    return s[at];
}

static void step_if(bool is_shared)
{
    if (is_shared || ex_all_is_shared)
        ex_step();
    else
        ex_skip();
}

static void step_at(const volatile void *p, bool writes)
{
    step_if(note_use(p, writes));
    choose_landing(p, 1);
}

/* ---- Accesses that are not atomic ----------------------------------------------------------------------------- */

static void race(const volatile void *p, const char *what, int other, const char *before)
{
    ex_fail("race: thread %d %s %p, which thread %d %s with nothing between that orders them", ex_self, what,
            (const void *)(uintptr_t)p, other, before);
}

static void check_against_atomics(const volatile void *p, struct loc *l, bool writes)
{
    const struct ex_clock *now = &threads[ex_self].clock;
    for (int t = 0; t < EX_THREADS; t++) {
        if (l->written.at[t] > now->at[t])
            race(p, writes ? "writes" : "reads", t, "stored atomically");
        if (writes && l->read.at[t] > now->at[t])
            race(p, "writes", t, "loaded atomically");
    }
}

static struct store *store_new(struct loc *l);

/*
 * Whether this is again the access that was the last one there, with nothing released between: it would say the same.
 * If not, it is noted as the last one.
 */
static inline bool is_repeated(const volatile void *p, size_t bytes, bool writes)
{
    uintptr_t at = (uintptr_t)p - (uintptr_t)memory;
    if (at >= sizeof memory)
        return false;
    bool whole = at % 4 == 0 && bytes % 4 == 0, same = whole;
    struct recent now = {run, threads[ex_self].clock.at[ex_self], (uint8_t)ex_self, writes};
    size_t n = (at % 4 + bytes + 3) / 4;
    struct recent *r = &recent[at / 4];
    for (size_t i = 0; same && i < n; i++)
        same = r[i].run == run && r[i].at == now.at && r[i].by == ex_self && (r[i].writes || !writes);
    for (size_t i = 0; !same && i < n && at / 4 + i < sizeof recent / sizeof *recent; i++) {
        if (!whole)
            r[i].run = run - 1;
        else if (writes || !(r[i].run == run && r[i].at == now.at && r[i].by == ex_self))
            r[i] = now;
    }
    return same;
}

static void forget_repeated(const struct shadow *s)
{
    uintptr_t at = (uintptr_t)(s - shadow);
    if (at < sizeof memory)
        recent[at / 4].run = run - 1;
}

void ex_plain(const volatile void *p, size_t bytes, bool writes)
{
    struct thread *me = &threads[ex_self];
    struct loc *seen = NULL;
    size_t there;
    struct shadow *shadows = shadows_of(p, &there);
    if (!shadows || is_repeated(p, bytes, writes))
        return;
    struct shadow blank = {.run = run, .was_written = writes, .was_read = !writes};
    if (writes) {
        blank.written_by = (uint8_t)ex_self;
        blank.written_at = me->clock.at[ex_self];
    } else {
        blank.read_at[ex_self] = me->clock.at[ex_self];
    }
    for (size_t i = 0; i < bytes && i < there; i++) {
        const volatile char *at = (const volatile char *)p + i;
        struct shadow *s = &shadows[i];
        if (i == 0 || (uintptr_t)at % 64 == 0)
            check_alive(at);
        if (s->run != run) {
            *s = blank;
            continue;
        }
        if (!s->loc_plus_1 && (s->was_written && s->written_by == ex_self && s->written_at == me->clock.at[ex_self]))
            continue;
        if (!s->loc_plus_1 && !writes && s->read_at[ex_self] == me->clock.at[ex_self])
            continue;
        if (s->was_written && s->written_at > me->clock.at[s->written_by])
            race(at, writes ? "writes" : "reads", s->written_by, "wrote");
        for (int t = 0; writes && s->was_read && t < EX_THREADS; t++)
            if (s->read_at[t] > me->clock.at[t])
                race(at, "writes", t, "read");
        if (s->loc_plus_1)
            forget_repeated(s);
        if (s->loc_plus_1 && &locs[s->loc_plus_1 - 1] != seen) {
            seen = &locs[s->loc_plus_1 - 1];
            while (me->n_buffered)
                land(ex_self);
            check_against_atomics(at, seen, writes);
            if (writes) {
                struct store *st = store_new(seen);
                st->plain = true;
                view_copy(&st->view, &me->released);
                st->clock = me->clock_released;
                me->now.from[seen - locs] = st->number;
            }
        }
        if (writes) {
            s->was_written = true;
            s->written_by = (uint8_t)ex_self;
            s->written_at = me->clock.at[ex_self];
        } else {
            s->was_read = true;
            s->read_at[ex_self] = me->clock.at[ex_self];
        }
    }
}

void *ex_memcpy(void *to, const void *from, size_t bytes)
{
    ex_plain(from, bytes, false);
    ex_plain(to, bytes, true);
    return memcpy(to, from, bytes);
}

void *ex_memset(void *to, int byte, size_t bytes)
{
    ex_plain(to, bytes, true);
    return memset(to, byte, bytes);
}

/* ---- Atomic ones ---------------------------------------------------------------------------------------------- */

static uint64_t raw_load(const volatile void *p, unsigned size)
{
    uint64_t v = 0;
    memcpy(&v, (const void *)(uintptr_t)p, size);
    return v;
}

static void raw_store(volatile void *p, unsigned size, uint64_t v)
{
    memcpy((void *)(uintptr_t)p, &v, size);
}

static struct store *store_new(struct loc *l)
{
    if (n_stores == STORES)
        ex_fail("more than %d stores in one run", STORES);
    struct store *s = &stores[n_stores];
    s->plain = false;
    s->older = l->last;
    s->number = ++l->n;
    if (ex_memory == EX_WEAK)
        memset(&s->view, 0, sizeof s->view);
    l->last = n_stores++;
    return s;
}

/* A location used for the first time has one store, which everybody may see: what memory held. */
static struct loc *loc_of(const volatile void *p, unsigned size)
{
    struct shadow *s = shadow_of(p);
    if (!s)
        return NULL;
    check_alive(p);
    if (!s->loc_plus_1) {
        if (n_locs == LOCS)
            ex_fail("more than %d locations in one run", LOCS);
        struct loc *l = &locs[n_locs++];
        *l = (struct loc){.p = (const char *)(uintptr_t)p, .size = size, .last = -1, .shadow = s};
        for (int t = 0; t < EX_THREADS; t++) {
            struct thread *th = &threads[t];
            th->now.from[n_locs - 1] = th->acquirable.from[n_locs - 1] = th->released.from[n_locs - 1] = 0;
        }
        common.from[n_locs - 1] = 0;
        for (int i = 0; i < n_objects; i++)
            objects[i].view.from[n_locs - 1] = 0;
        struct store *first = store_new(l);
        first->value = raw_load(p, size);
        memset(&first->clock, 0, sizeof first->clock);
        for (unsigned i = 0; i < size; i++) {
            fresh(&s[i])->loc_plus_1 = (uint16_t)n_locs;
            forget_repeated(&s[i]);
        }
    }
    struct loc *l = &locs[s->loc_plus_1 - 1];
    if (l->p != (const char *)(uintptr_t)p || l->size != size)
        ex_fail("an atomic access of %u bytes at %p, where there was one of %u at %p", size, (const void *)(uintptr_t)p,
                l->size, (const void *)l->p);
    struct store *last = &stores[l->last];
    if (last->plain) {
        last->plain = false;
        last->value = raw_load(p, size);
    }
    /* Nor may an atomic access race with one that is not. */
    for (unsigned i = 0; i < size; i++) {
        const struct shadow *b = &l->shadow[i];
        if (b->was_written && b->written_at > threads[ex_self].clock.at[b->written_by])
            race(p, "uses atomically", b->written_by, "wrote");
    }
    return l;
}

static void check_plain_reads(const struct loc *l)
{
    for (unsigned i = 0; i < l->size; i++)
        for (int t = 0; l->shadow[i].was_read && t < EX_THREADS; t++)
            if (l->shadow[i].read_at[t] > threads[ex_self].clock.at[t])
                race(l->p, "stores atomically", t, "read");
}

static bool acquires(enum ex_order order)
{
    return order == EX_ACQUIRE || order == EX_ACQ_REL || order == EX_SEQ_CST;
}

static bool releases(enum ex_order order)
{
    return order == EX_RELEASE || order == EX_ACQ_REL || order == EX_SEQ_CST;
}

static void see(struct loc *l, const struct store *s, enum ex_order order)
{
    struct thread *me = &threads[ex_self];
    size_t i = (size_t)(l - locs);
    if (me->now.from[i] < s->number)
        me->now.from[i] = s->number;
    view_join(&me->acquirable, &s->view);
    clock_join(&me->clock_acquirable, &s->clock);
    if (acquires(order)) {
        view_join(&me->now, &s->view);
        clock_join(&me->clock, &s->clock);
    }
    l->read.at[ex_self] = me->clock.at[ex_self];
}

/* read: the store that a read-modify-write read, whose view goes on with it. */
static void make_store(struct loc *l, uint64_t value, enum ex_order order, const struct store *read)
{
    struct thread *me = &threads[ex_self];
    size_t i = (size_t)(l - locs);
    check_plain_reads(l);
    struct store *s = store_new(l);
    s->value = value;
    me->now.from[i] = s->number;
    view_copy(&s->view, releases(order) ? &me->now : &me->released);
    s->clock = releases(order) ? me->clock : me->clock_released;
    if (read) {
        view_join(&s->view, &read->view);
        clock_join(&s->clock, &read->clock);
    }
    if (ex_memory == EX_WEAK)
        s->view.from[i] = s->number;
    l->written.at[ex_self] = me->clock.at[ex_self];
    raw_store((volatile void *)(uintptr_t)l->p, l->size, value);
    /* What comes later is not what was released. */
    if (releases(order))
        me->clock.at[ex_self]++;
}

/* One of the stores that may be seen; the last one unless the bound pays. not: a value that would not do. */
static const struct store *pick(struct loc *l, const uint64_t * not )
{
    const struct store *s = &stores[l->last];
    if (ex_memory != EX_WEAK || (not &&s->value == *not ))
        return s;
    unsigned n = 1;
    uint16_t oldest = threads[ex_self].now.from[l - locs];
    const struct store *may[8] = {s};
    while (s->number > oldest && s->older >= 0 && n < 8) {
        s = &stores[s->older];
        if (!not || s->value != *not )
            may[n++] = s;
    }
    return n == 1 ? may[0] : may[ex_choose(n, ~UINT32_C(1))];
}

static bool from_buffer(const struct thread *me, const volatile void *p, unsigned size, uint64_t *ret)
{
    for (int i = me->n_buffered - 1; i >= 0; i--) {
        uintptr_t at = (uintptr_t)me->buffer[i].p;
        if (at == (uintptr_t)p && me->buffer[i].size == size) {
            *ret = me->buffer[i].value;
            return true;
        }
        if (at < (uintptr_t)p + size && (uintptr_t)p < at + me->buffer[i].size)
            ex_fail("a load of part of what a store wrote");
    }
    return false;
}

static void flush(void)
{
    while (threads[ex_self].n_buffered)
        land(ex_self);
}

uint64_t ex_load(const volatile void *p, unsigned size, enum ex_order order, const struct ex_site *site)
{
    uint64_t v;
    if (!shadow_of(p))
        return raw_load(p, size);
    step_at(p, false);
    if (from_buffer(&threads[ex_self], p, size, &v)) {
        ex_trace(site, "-> %#llx, its own", (unsigned long long)v);
        return v;
    }
    struct loc *l = loc_of(p, size);
    const struct store *s = pick(l, NULL);
    v = s->value;
    int behind = stores[l->last].number - s->number;
    see(l, s, order);
    if (behind)
        ex_trace(site, "-> %#llx, %d before the last", (unsigned long long)v, behind);
    else
        ex_trace(site, "-> %#llx", (unsigned long long)v);
    return v;
}

static void land(int thread)
{
    struct thread *th = &threads[thread];
    int self = ex_self;
    ex_self = thread;
    volatile void *p = th->buffer[0].p;
    ex_trace(th->buffer[0].site, "%#llx lands", (unsigned long long)th->buffer[0].value);
    make_store(loc_of(p, th->buffer[0].size), th->buffer[0].value, th->buffer[0].order, NULL);
    th->n_buffered--;
    memmove(th->buffer, th->buffer + 1, (size_t)th->n_buffered * sizeof th->buffer[0]);
    ex_self = self;
}

void ex_store(volatile void *p, unsigned size, uint64_t v, enum ex_order order, const struct ex_site *site)
{
    struct thread *me = &threads[ex_self];
    if (!shadow_of(p)) {
        raw_store(p, size, v);
        return;
    }
    step_at(p, true);
    if (ex_memory == EX_TSO && order != EX_SEQ_CST && me->n_buffered < BUFFERED &&
        (me->n_buffered || ex_choose(2, 2) == 1)) {
        (void)loc_of(p, size);
        ex_trace(site, "%#llx, buffered", (unsigned long long)v);
        me->buffer[me->n_buffered].p = p;
        me->buffer[me->n_buffered].size = size;
        me->buffer[me->n_buffered].value = v;
        me->buffer[me->n_buffered].order = order;
        me->buffer[me->n_buffered++].site = site;
        return;
    }
    flush();
    ex_trace(site, "%#llx", (unsigned long long)v);
    make_store(loc_of(p, size), v, order, NULL);
}

uint64_t ex_rmw(volatile void *p, unsigned size, enum ex_rmw op, uint64_t v, enum ex_order order,
                const struct ex_site *site)
{
    step_at(p, true);
    flush();
    struct loc *l = loc_of(p, size);
    if (!l)
        ex_fail("a read-modify-write of what the explorer does not know");
    int last = l->last;
    uint64_t old = stores[last].value, mask = size == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * size) - 1;
    uint64_t new = (op == EX_ADD ? old + v : op == EX_SUB ? old - v : v) & mask;
    see(l, &stores[last], order);
    ex_trace(site, "%#llx -> %#llx", (unsigned long long)old, (unsigned long long)new);
    make_store(l, new, order, &stores[last]);
    return old;
}

bool ex_cas(volatile void *p, unsigned size, void *expected, uint64_t v, enum ex_order order,
            const struct ex_site *site)
{
    uint64_t want = raw_load(expected, size);
    step_at(p, true);
    flush();
    struct loc *l = loc_of(p, size);
    if (!l)
        ex_fail("a compare-and-swap of what the explorer does not know");
    int last = l->last;
    if (stores[last].value == want) {
        see(l, &stores[last], order);
        ex_trace(site, "%#llx -> %#llx", (unsigned long long)want, (unsigned long long)v);
        make_store(l, v, order, &stores[last]);
        return true;
    }
    const struct store *s = pick(l, &want);
    see(l, s, EX_RELAXED);
    ex_trace(site, "is %#llx, not %#llx", (unsigned long long)s->value, (unsigned long long)want);
    raw_store(expected, size, s->value);
    return false;
}

bool ex_cas16(uint64_t pair[2], const uint64_t old[2], const uint64_t new[2], const struct ex_site *site)
{
    bool first = note_use(&pair[0], true), second = note_use(&pair[1], true);
    step_if(first || second);
    choose_landing(pair, 16);
    flush();
    struct loc *l[2] = {loc_of(&pair[0], 8), loc_of(&pair[1], 8)};
    for (int i = 0; i < 2; i++)
        see(l[i], &stores[l[i]->last], EX_ACQ_REL);
    bool same = stores[l[0]->last].value == old[0] && stores[l[1]->last].value == old[1];
    ex_trace(site, "%s%#llx,%#llx -> %#llx,%#llx", same ? "" : "fails: ", (unsigned long long)old[0],
             (unsigned long long)old[1], (unsigned long long)new[0], (unsigned long long)new[1]);
    if (!same)
        return false;
    /* The second half first, which nobody uses without the word in the first. */
    for (int i = 1; i >= 0; i--)
        make_store(l[i], new[i], EX_ACQ_REL, &stores[l[i]->last]);
    return true;
}

void ex_fence(bool after_rmw, const struct ex_site *site)
{
    struct thread *me = &threads[ex_self];
    if (ex_memory == EX_TSO && !after_rmw) {
        ex_step();
        flush();
    } else if (ex_memory == EX_WEAK) {
        ex_step();
        view_join(&me->now, &me->acquirable);
        view_join(&me->now, &common);
        view_copy(&common, &me->now);
        view_copy(&me->released, &me->now);
    }
    clock_join(&me->clock, &me->clock_acquirable);
    me->clock_released = me->clock;
    me->clock.at[ex_self]++;
    ex_trace(site, " ");
}

/* What the kernel reads. */
uint64_t ex_latest(const volatile void *p, unsigned size)
{
    choose_landing(p, size);
    flush();
    check_alive(p);
    return raw_load(p, size);
}

/* ---- What others pass on -------------------------------------------------------------------------------------- */

int ex_object_new(void)
{
    if (n_objects == (int)(sizeof objects / sizeof objects[0]))
        ex_fail("too many objects of the kernel");
    memset(&objects[n_objects], 0, sizeof objects[0]);
    return n_objects++;
}

void ex_object_touch(int object)
{
    struct thread *me = &threads[ex_self];
    struct object *o = &objects[object];
    flush();
    view_join(&me->now, &o->view);
    clock_join(&me->clock, &o->clock);
    view_join(&o->view, &me->now);
    clock_join(&o->clock, &me->clock);
    me->clock.at[ex_self]++;
}

void ex_memory_fork(int child)
{
    struct thread *me = &threads[ex_self], *it = &threads[child];
    flush();
    it->n_buffered = 0;
    view_copy(&it->now, &me->now);
    view_copy(&it->acquirable, &me->now);
    view_copy(&it->released, &me->now);
    it->clock = it->clock_acquirable = it->clock_released = me->clock;
    it->clock.at[child]++;
    me->clock.at[ex_self]++;
}

void ex_memory_end(void)
{
    flush();
}

void ex_memory_join(int child)
{
    struct thread *me = &threads[ex_self], *it = &threads[child];
    view_join(&me->now, &it->now);
    clock_join(&me->clock, &it->clock);
}

/* ---- Blocks --------------------------------------------------------------------------------------------------- */

static void *block_take(int i, size_t bytes)
{
    blocks[i].is_free = false;
    ex_object_touch(allocator);
    (void)ex_memset(blocks[i].p, 0, bytes);
    return blocks[i].p;
}

void *ex_zalloc(size_t bytes)
{
    for (int i = 0; reuse && i < n_blocks; i++)
        if (blocks[i].is_free && blocks[i].bytes == bytes)
            return block_take(i, bytes);
    if (n_blocks == BLOCKS || bytes > ARENA_BYTES - used)
        ex_fail("more memory than the explorer has");
    char *p = memory + used;
    for (size_t line = used / 64; line < (used + bytes + 63) / 64; line++)
        block_at[line] = n_blocks;
    blocks[n_blocks].p = p;
    blocks[n_blocks].bytes = bytes;
    blocks[n_blocks++].is_free = false;
    used += (bytes + 63) / 64 * 64;
    return p;
}

static int block_of(const void *p)
{
    for (int i = n_blocks - 1; i >= 0; i--)
        if (blocks[i].p == p && !blocks[i].is_free)
            return i;
    ex_fail("%p is freed, which is no block, or is free", p);
}

void ex_free(void *p)
{
    if (!p)
        return;
    int i = block_of(p);
    flush();
    /* As a write of all that anybody has touched. */
    const struct shadow *s = &shadow[blocks[i].p - memory];
    for (size_t b = 0, n; b < blocks[i].bytes; b += n + 1) {
        for (n = 0; b + n < blocks[i].bytes && s[b + n].run == run;)
            n++;
        ex_plain(blocks[i].p + b, n, true);
    }
    for (size_t b = 0; b < blocks[i].bytes; b += 4)
        forget_repeated(&s[b]);
    if (reuse)
        ex_object_touch(allocator);
    blocks[i].is_free = true;
}

void *ex_realloc(void *old, size_t bytes)
{
    void *p = ex_zalloc(bytes);
    if (old) {
        size_t had = blocks[block_of(old)].bytes;
        memcpy(p, old, had < bytes ? had : bytes);
        ex_free(old);
    }
    return p;
}

void *ex_map(size_t bytes)
{
    if (ex_scenario->flags & EX_NO_MEMORY && ex_choose(2, 2) == 1)
        return NULL;
    return ex_zalloc(bytes);
}

static bool holds_address(const char *from, size_t bytes, const char *of)
{
    for (size_t i = 0; i + sizeof of <= bytes; i += sizeof of)
        if (memcmp(from + i, &of, sizeof of) == 0)
            return true;
    return false;
}

/* A block that something points to which is kept: what the library's own variables lead to is meant to stay. */
static int find_kept(const bool kept[])
{
    for (int i = 0; i < n_blocks; i++) {
        if (blocks[i].is_free || kept[i])
            continue;
        if (holds_address(__start_ex_data, data_bytes, blocks[i].p))
            return i;
        for (int j = 0; j < n_blocks; j++)
            if (kept[j] && holds_address(blocks[j].p, blocks[j].bytes, blocks[i].p))
                return i;
    }
    return -1;
}

void ex_check_leaks(void)
{
    int n = 0;
    bool kept[BLOCKS] = {false};
    for (int i = 0; i < n_blocks; i++)
        n += !blocks[i].is_free;
    for (int i; n > 0 && (i = find_kept(kept)) >= 0; n--)
        kept[i] = true;
    if (n)
        ex_fail("%d blocks of memory are left", n);
}

char *ex_stack(int thread, size_t *ret_bytes)
{
    *ret_bytes = STACK_BYTES;
    return memory + ARENA_BYTES + (size_t)thread * STACK_BYTES;
}

/* ---- A run ---------------------------------------------------------------------------------------------------- */

static void *zeroed(size_t n, size_t size)
{
    extern void *calloc(size_t, size_t);
    void *p = calloc(n, size);
    if (!p)
        ex_fail("no memory");
    return p;
}

void ex_memory_reset(enum ex_memory kind, bool reuses)
{
    if (!shadow) {
        data_bytes = (size_t)(__stop_ex_data - __start_ex_data);
        shadow = zeroed(sizeof memory, sizeof *shadow);
        shadow_data = zeroed(data_bytes + 1, sizeof *shadow);
        stores = zeroed(STORES, sizeof *stores);
        if (data_bytes > sizeof data_image)
            ex_fail("the library has more variables than the explorer has room for");
        memcpy(data_image, __start_ex_data, data_bytes);
    }
    run++;
    ex_memory = kind;
    reuse = reuses;
    memcpy(__start_ex_data, data_image, data_bytes);
    memset(memory, 0, used);
    while (n_touched > 0) {
        uint32_t at = touched[--n_touched];
        *(at & 1 ? &users_data[at >> 1] : &users[at >> 1]) = *(at & 1 ? &writers_data[at >> 1] : &writers[at >> 1]) = 0;
    }
    used = 0;
    n_blocks = n_locs = n_stores = n_objects = 0;
    for (int t = 0; t < EX_THREADS; t++) {
        struct thread *th = &threads[t];
        th->n_buffered = 0;
        memset(&th->clock, 0, sizeof th->clock);
        th->clock_acquirable = th->clock_released = th->clock;
        th->clock.at[t] = 1;
    }
    allocator = ex_object_new();
}

/* ---- What the compiler inserts -------------------------------------------------------------------------------- */

void __tsan_init(void);
void __tsan_func_entry(void *pc);
void __tsan_func_exit(void);
void __tsan_read_range(void *p, unsigned long bytes);
void __tsan_write_range(void *p, unsigned long bytes);
void __tsan_init(void)
{
}
void __tsan_func_entry(void *pc)
{
    (void)pc;
}
void __tsan_func_exit(void)
{
}
void __tsan_read_range(void *p, unsigned long bytes)
{
    ex_plain(p, bytes, false);
}
void __tsan_write_range(void *p, unsigned long bytes)
{
    ex_plain(p, bytes, true);
}

void *__tsan_memcpy(void *to, const void *from, size_t bytes);
void *__tsan_memset(void *to, int byte, size_t bytes);
void *__tsan_memcpy(void *to, const void *from, size_t bytes)
{
    return ex_memcpy(to, from, bytes);
}
void *__tsan_memset(void *to, int byte, size_t bytes)
{
    return ex_memset(to, byte, bytes);
}

#define ACCESS(name, bytes, writes)                                                                                    \
    void name(void *p);                                                                                                \
    void name(void *p)                                                                                                 \
    {                                                                                                                  \
        ex_plain(p, bytes, writes);                                                                                    \
    }

ACCESS(__tsan_read1, 1, false)
ACCESS(__tsan_read2, 2, false)
ACCESS(__tsan_read4, 4, false)
ACCESS(__tsan_read8, 8, false)
ACCESS(__tsan_read16, 16, false)
ACCESS(__tsan_write1, 1, true)
ACCESS(__tsan_write2, 2, true)
ACCESS(__tsan_write4, 4, true)
ACCESS(__tsan_write8, 8, true)
ACCESS(__tsan_write16, 16, true)
ACCESS(__tsan_unaligned_read2, 2, false)
ACCESS(__tsan_unaligned_read4, 4, false)
ACCESS(__tsan_unaligned_read8, 8, false)
ACCESS(__tsan_unaligned_read16, 16, false)
ACCESS(__tsan_unaligned_write2, 2, true)
ACCESS(__tsan_unaligned_write4, 4, true)
ACCESS(__tsan_unaligned_write8, 8, true)
ACCESS(__tsan_unaligned_write16, 16, true)
