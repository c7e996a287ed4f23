/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* The unbounded queue by itself, and the hazards that keep its segments. With mmap wrapped, to count and to fail. */

#include "util.h"

#include <sys/wait.h>

#include "chain.h"
#include "hazard.h"
#include "sys.h"

#define SIZES 6
#define ELEM_MAX 4096
#define HUGE ((size_t)SPOOL__HUGE_PAGE)

static const size_t sizes[SIZES] = {0, 1, 8, 9, 24, ELEM_MAX};

/* ---- A kernel that counts and fails ---------------------------------------------------------------------------- */

void *__real_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t bytes);
int __real_clock_gettime(clockid_t clock, struct timespec *ret);
int __real_pthread_key_create(pthread_key_t *key, void (*end)(void *));
int __real_pthread_setspecific(pthread_key_t key, const void *value);
void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *at, size_t bytes);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_pthread_key_create(pthread_key_t *key, void (*end)(void *));
int __wrap_pthread_setspecific(pthread_key_t key, const void *value);

static atomic_long maps_live, maps_made, bytes_live;
static atomic_bool maps_fail;
/*
 * Room for huge pages: it begins where they do; there is none; it begins anywhere, as in old kernels; that of two
 * begins where they do; or there is no room for two.
 */
static enum { ALIGNED, NO_HUGE, STRAY, STRAY_ALIGNED, STRAY_ALONE, N_HUGE } huge;
/* How long a huge page takes, ns, however long it takes, and the time, which stands still otherwise; -1: as it is. */
static int64_t huge_takes = -1, stopped_clock;
static _Thread_local void (*on_map)(void); /* called once, in the midst of a put */

/* Where `huge` says, whatever this kernel would do. */
static void *map_huge(size_t bytes, int prot, int flags)
{
    size_t room = bytes + 2 * HUGE;
    char *p = __real_mmap(NULL, room, prot, flags, -1, 0), *from;

    if (p == MAP_FAILED)
        return p;
    if (huge_takes >= 0)
        stopped_clock += huge_takes;
    from = p + (-(uintptr_t)p & (HUGE - 1));
    if (huge == STRAY || (huge != ALIGNED && bytes == HUGE))
        from += 4096;
    if (from != p)
        (void)__real_munmap(p, (size_t)(from - p));
    (void)__real_munmap(from + bytes, (size_t)(p + room - from) - bytes);
    return from;
}

void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
    void (*hook)(void) = on_map;
    bool fails = atomic_load(&maps_fail);

    if (flags & MAP_SHARED) /* not the library's */
        return __real_mmap(at, bytes, prot, flags, fd, offset);
    on_map = NULL;
    if (hook)
        hook();
    if (fails || (bytes >= HUGE && huge == NO_HUGE) || (bytes >= 2 * HUGE && huge == STRAY_ALONE)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    atomic_fetch_add(&maps_live, 1);
    atomic_fetch_add(&maps_made, 1);
    atomic_fetch_add(&bytes_live, (long)bytes);
    if (bytes == HUGE || bytes == 2 * HUGE)
        return map_huge(bytes, prot, flags);
    return __real_mmap(at, bytes, prot, flags, fd, offset);
}

int __wrap_munmap(void *at, size_t bytes)
{
    atomic_fetch_sub(&maps_live, 1);
    atomic_fetch_sub(&bytes_live, (long)bytes);
    return __real_munmap(at, bytes);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
    if (huge_takes < 0)
        return __real_clock_gettime(clock, ret);
    *ret = (struct timespec){.tv_sec = stopped_clock / 1000000000, .tv_nsec = stopped_clock % 1000000000};
    return 0;
}

static void stop_clock(int64_t takes)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    stopped_clock = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
    huge_takes = takes;
}

/* A sanitizer's own library calls these two as well, before it can bear to see it, and at the end of every thread. */
#if TEST_HAS_FEATURE(thread_sanitizer) || TEST_HAS_FEATURE(address_sanitizer)
#define UNSEEN __attribute__((disable_sanitizer_instrumentation))
#else
#define UNSEEN __attribute__((no_sanitize_thread, no_sanitize_address))
#endif

static volatile bool keys_fail, values_fail, keys_seen;
static volatile pthread_key_t key_seen;

UNSEEN int __wrap_pthread_key_create(pthread_key_t *key, void (*end)(void *))
{
    int r = keys_fail ? EAGAIN : __real_pthread_key_create(key, end);

    if (keys_seen && r == 0)
        key_seen = *key;
    return r;
}

UNSEEN int __wrap_pthread_setspecific(pthread_key_t key, const void *value)
{
    return values_fail && keys_seen && key == key_seen ? ENOMEM : __real_pthread_setspecific(key, value);
}

static size_t resident(void)
{
    char buf[8192];
    char *line;

    must(task_file(getpid(), "status", buf, sizeof(buf)));
    line = strstr(buf, "\nVmRSS:");
    must(line);
    return (size_t)strtol(line + sizeof("\nVmRSS:") - 1, NULL, 10) << 10;
}

/* ---- Chains ---------------------------------------------------------------------------------------------------- */

/* With so many slots in each segment but the first, or as many as it likes. */
static struct spool__chain *chain_new(size_t size, size_t slots)
{
    size_t bytes = spool__chain_bytes(size);
    void *p = NULL;
    struct spool__chain *c;

    must(bytes >= sizeof(struct spool__chain));
    must_be(posix_memalign(&p, SPOOL_CACHE_LINE, bytes), 0);
    memset(p, 0, bytes);
    spool__chain_init(p, size);
    c = p;
    if (slots) {
        must(slots + 2 <= c->slots);
        c->cells = c->cells ? slots + 2 : 0;
        c->slots = slots;
    }
    return c;
}

static void chain_free(struct spool__chain *c)
{
    spool__chain_destroy(c);
    free(c);
}

static void put(struct spool__chain *c, uint64_t tag)
{
    unsigned char elem[ELEM_MAX];

    elem_fill(elem, c->elem_size, tag);
    must_be(spool__chain_put(c, elem), 0);
}

static void get(struct spool__chain *c, uint64_t tag)
{
    unsigned char elem[ELEM_MAX];

    must_be(spool__chain_get(c, elem), 0);
    must(elem_is(elem, c->elem_size, tag));
}

static int try_put(struct spool__chain *c)
{
    unsigned char elem[ELEM_MAX] = {0};

    return spool__chain_put(c, elem);
}

static int try_get(struct spool__chain *c)
{
    unsigned char elem[ELEM_MAX];

    return spool__chain_get(c, elem);
}

static uint64_t get_pos(struct spool__chain *c, int want)
{
    uint64_t pos;

    must_be(spool__chain_can_get(c, &pos), want);
    return pos;
}

static uint64_t put_pos(struct spool__chain *c, int want)
{
    uint64_t pos;

    must_be(spool__chain_can_put(c, &pos), want);
    return pos;
}

/* Slots of the first segment and of one more. */
static size_t two_segments(struct spool__chain *c)
{
    return (size_t)(c->head->slots + c->slots);
}

/* Moves n segments through an empty chain. */
static void flow(struct spool__chain *c, size_t n)
{
    for (uint64_t i = 0; i < n * c->slots; i++) {
        put(c, i);
        get(c, i);
    }
}

/* ---- Order and sizes ------------------------------------------------------------------------------------------- */

START_TEST(test_order)
{
    struct spool__chain *c = chain_new(sizes[_i], 0);
    uint64_t in = 0, out = 0, state = 88172645463325252u + (uint64_t)_i;

    must_be(get_pos(c, -EAGAIN), 0);
    for (size_t wave = 0; wave < 40; wave++) {
        for (size_t n = rnd(&state) % two_segments(c); n > 0; n--) {
            must_be(put_pos(c, 0), in);
            put(c, in++);
            must_be(spool__chain_len(c), in - out);
        }
        for (size_t n = wave == 39 ? SIZE_MAX : rnd(&state) % two_segments(c); n > 0 && out < in; n--) {
            must_be(get_pos(c, 0), out);
            get(c, out++);
            must_be(spool__chain_len(c), in - out);
        }
    }
    must_be(try_get(c), -EAGAIN);
    must_be(get_pos(c, -EAGAIN), in);
    chain_free(c);
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

/* An idle channel, and one in quiet use, costs no mapping as long as the first segment lasts. */
START_TEST(test_small_at_first)
{
    struct spool__chain *c = chain_new(8, 0);
    size_t bytes;

    for (uint64_t i = 0; i < c->head->slots; i++) {
        put(c, i);
        get(c, i);
    }
    must_be(spool__chain_closed(c), false);
    must_be(spool__chain_close(c), 0);
    must_be(atomic_load(&maps_made), 0);
    chain_free(c);

    for (bytes = 1; bytes <= SIZE_MAX / 32; bytes *= 2)
        must(spool__chain_bytes(bytes) > 0 && spool__chain_bytes(bytes) <= 4096);
    must_be(spool__chain_bytes(SIZE_MAX), 0);
    c = chain_new((size_t)1 << 40, 0);
    must(c->slots >= 4);
    must(c->segment_bytes / c->elem_size <= 6);
    atomic_store(&maps_fail, true);
    must_be(spool__chain_put(c, c), -ENOMEM);
    chain_free(c);
}
END_TEST

/* Tail and head left behind, as by threads that stopped after their swap. */
START_TEST(test_hints)
{
    struct spool__chain *c = chain_new(sizes[_i], 4);

    for (uint64_t i = 0; i < 60; i++) {
        struct spool__segment *s = c->tail;
        bool links = s->slots == 0 || put_pos(c, 0) == s->first + s->slots;

        put(c, i);
        if (links && s != c->head) {
            must(c->tail != s);
            continue;
        }
        if (links) /* as if the putter had stopped in front of its last step */
            c->tail = s;
        s->tail = 0;
        s->head = 0;
        must_be(spool__chain_len(c), 1);
        must_be(get_pos(c, 0), i);
        s->tail = 0;
        get(c, i);
        c->tail->tail = 0;
        c->head->head = 0;
        must_be(get_pos(c, -EAGAIN), i + 1);
        must_be(put_pos(c, 0), i + 1);
        must_be(spool__chain_len(c), 0);
    }
    chain_free(c);
}
END_TEST

/* Head never leaves a segment before tail has: the segment would be freed, and tail would point at it. */
START_TEST(test_tail_goes_first)
{
    struct spool__chain *c = chain_new(8, 4);
    struct spool__segment *full;
    uint64_t n = 0;

    while (c->tail == c->head && c->tail->first < 100)
        put(c, n++);
    full = c->head;
    must(full->next == c->tail);
    c->tail = full;
    for (uint64_t i = 0; i < n; i++)
        get(c, i);
    must(c->head != full);
    must(c->tail == c->head);
    chain_free(c);
}
END_TEST

/* ---- Closing --------------------------------------------------------------------------------------------------- */

static void close_at(size_t size, size_t fill, size_t drained)
{
    struct spool__chain *c = chain_new(size, 4);

    for (size_t i = 0; i < fill; i++)
        put(c, i);
    for (size_t i = 0; i < drained; i++)
        get(c, i);
    must(!spool__chain_closed(c));
    atomic_store(&maps_fail, true);
    must_be(spool__chain_close(c), 0);
    must_be(spool__chain_close(c), -EALREADY);
    must(spool__chain_closed(c));
    must_be(try_put(c), -EPIPE);
    (void)put_pos(c, -EPIPE);
    must_be(spool__chain_len(c), fill - drained);
    for (size_t i = drained; i < fill; i++) {
        must_be(get_pos(c, 0), i);
        get(c, i);
        must_be(try_put(c), -EPIPE);
    }
    for (int i = 0; i < 3; i++) {
        must_be(try_get(c), -EPIPE);
        must_be(get_pos(c, -EPIPE), fill);
        must_be(try_put(c), -EPIPE);
        must_be(spool__chain_close(c), -EALREADY);
    }
    must(spool__chain_closed(c));
    must_be(spool__chain_len(c), 0);
    atomic_store(&maps_fail, false);
    chain_free(c);
    must_be(atomic_load(&maps_live), 0);
}

/* At every fill of the first segment and the next three, the exactly full ones included. */
START_TEST(test_close_everywhere)
{
    struct spool__chain *c = chain_new(sizes[_i], 4);
    size_t first = (size_t)c->head->slots;

    chain_free(c);
    for (size_t fill = 0; fill <= first + 13; fill++) {
        close_at(sizes[_i], fill, 0);
        close_at(sizes[_i], fill, fill / 2);
        close_at(sizes[_i], fill, fill);
    }
}
END_TEST

static uint64_t dropped;
static size_t dropped_size;

static void drop_next(void *elem)
{
    must(elem_is(elem, dropped_size, dropped));
    dropped++;
}

START_TEST(test_drain)
{
    for (size_t fill = 0; fill < 60; fill++) {
        struct spool__chain *c = chain_new(sizes[_i], 4);

        for (size_t i = 0; i < fill; i++)
            put(c, i);
        dropped = fill / 3;
        dropped_size = sizes[_i];
        for (size_t i = 0; i < dropped; i++)
            get(c, i);
        must_be(spool__chain_close(c), 0);
        spool__chain_drain(c, drop_next);
        must_be(dropped, fill);
        spool__chain_drain(c, drop_next);
        must_be(dropped, fill);
        must_be(try_get(c), -EPIPE);
        chain_free(c);
        c = chain_new(sizes[_i], 4);
        for (size_t i = 0; i < fill; i++)
            put(c, i);
        spool__chain_drain(c, NULL);
        must_be(spool__chain_len(c), 0);
        chain_free(c);
    }
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

/* ---- Cells that ran out ---------------------------------------------------------------------------------------- */

/* As many putters as the slack allows, and one more, stopped with a cell in hand: so many more tickets are gone. */
static void stop_putters(struct spool__chain *c, size_t n)
{
    must(c->tail->cells > 0);
    c->tail->tickets += n;
}

START_TEST(test_cells_run_out)
{
    static const size_t large[] = {9, 24, 100};
    size_t size = large[_i / 2];

    for (size_t fill = 0; fill < 9; fill++) {
        for (size_t stopped = 0; stopped < 9; stopped++) {
            struct spool__chain *c = chain_new(size, 4);
            size_t first = _i % 2 ? (size_t)c->head->slots : 0, in, out = 0;

            for (in = 0; in < first; in++)
                put(c, in);
            if (first)
                put(c, in++);
            for (size_t i = 0; i < fill; i++)
                put(c, in++);
            stop_putters(c, stopped * c->tail->cells / 8);
            for (size_t i = 0; i < 9; i++) {
                put(c, in++);
                must_be(spool__chain_len(c), in - out);
                if (i % 2 == 0)
                    get(c, out++);
                must_be(spool__chain_len(c), in - out);
            }
            stop_putters(c, stopped * c->tail->cells / 8);
            must_be(spool__chain_close(c), 0);
            must_be(try_put(c), -EPIPE);
            while (out < in) {
                must_be(spool__chain_len(c), in - out);
                get(c, out++);
            }
            must_be(try_get(c), -EPIPE);
            chain_free(c);
        }
    }
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

/* ---- Elements that are words ------------------------------------------------------------------------------------ */

static uint64_t dropped_sum;

static void put_word(struct spool__chain *c, uint64_t word)
{
    must_be(spool__chain_put(c, &word), 0);
}

static void get_word(struct spool__chain *c, uint64_t word)
{
    uint64_t got = ~word;
    must_be(spool__chain_get(c, &got), 0);
    must(got == word);
}

/*
 * Four of all words mean something else in a slot. They are others in each segment: an element that cannot stand in one
 * goes to the next, in order with all others, and the slots that it leaves dead are no elements.
 */
START_TEST(test_words_of_each_segment)
{
    static const uint64_t whiches[] = {0, 3, 4};
    for (size_t before = 0; before < 7; before++) {
        for (size_t taken = 0; taken <= before; taken += 2) {
            for (size_t i = 0; i < sizeof whiches / sizeof *whiches; i++) {
                uint64_t which = whiches[i];
                struct spool__chain *c = chain_new(8, 4);
                uint64_t words[20];
                size_t n = 0, out = 0;
                for (; n < before; n++)
                    put_word(c, words[n] = n);
                for (; out < taken; out++)
                    get_word(c, words[out]);
                for (; n < 20; n++) {
                    const struct spool__segment *last = c->tail;
                    /* Three that cannot stand there, as it is by then; the last of them again; and one that can. */
                    words[n] = n % 5 == 4 ? n : n % 5 == 3 && n > 4 ? words[n - 1] : last->key ^ which;
                    put_word(c, words[n]);
                    must_be(spool__chain_len(c), n + 1 - out);
                    must(which > 3 || n % 5 > 2 || last->tail == last->slots);
                }
                must_be(spool__chain_close(c), 0);
                must_be(try_put(c), -EPIPE);
                for (; out < n; out++) {
                    must_be(spool__chain_len(c), n - out);
                    get_word(c, words[out]);
                }
                must_be(spool__chain_len(c), 0);
                must_be(try_get(c), -EPIPE);
                chain_free(c);
            }
        }
    }
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

/* The keys of two chains differ, and those of two segments in more than which of the four it is. */
START_TEST(test_keys)
{
    struct spool__chain *a = chain_new(8, 4), *b = chain_new(8, 4);
    must((a->tail->key | 3) != (b->tail->key | 3));
    for (uint64_t i = 0; i < 100; i++) {
        const uint64_t key = a->tail->key;
        const struct spool__segment *last = a->tail;
        while (a->tail == last)
            put_word(a, i);
        must((a->tail->key | 3) != (key | 3));
        while (try_get(a) == 0)
            ;
    }
    chain_free(a);
    chain_free(b);
}
END_TEST

static void sum_up(void *elem)
{
    uint64_t word;
    memcpy(&word, elem, sizeof word);
    dropped_sum += word;
}

/* Shorter elements are what they were, and what is dropped is what was put. */
START_TEST(test_short_words)
{
    for (size_t size = 0; size <= 8; size++) {
        struct spool__chain *c = chain_new(size, 4);
        unsigned char elem[16], got[16];
        for (unsigned i = 0; i < 100; i++) {
            memset(elem, (int)(i * 37 + 1), sizeof elem);
            memset(got, 0x5a, sizeof got);
            must_be(spool__chain_put(c, elem), 0);
            must_be(spool__chain_get(c, got), 0);
            must_be(memcmp(got, elem, size), 0);
            for (size_t k = size; k < sizeof got; k++)
                must_be(got[k], 0x5a);
        }
        chain_free(c);
    }
    struct spool__chain *c = chain_new(8, 4);
    uint64_t sum = 0;
    dropped_sum = 0;
    for (uint64_t i = 0; i < 50; i++) {
        uint64_t word = i % 3 ? i << 40 : c->tail->key ^ (i & 3);
        put_word(c, word);
        sum += word;
    }
    spool__chain_drain(c, sum_up);
    must(dropped_sum == sum);
    chain_free(c);
}
END_TEST

/* Such a segment is used again, and none of that is left in it. */
START_TEST(test_dead_slots_are_forgotten)
{
    struct spool__chain *c = chain_new(24, 4);
    long made;

    flow(c, 20);
    made = atomic_load(&maps_made);
    for (uint64_t i = 0; i < 200; i++) {
        if (i % 7 == 0)
            stop_putters(c, c->tail->cells);
        put(c, i);
        must_be(spool__chain_len(c), 1);
        get(c, i);
        must_be(spool__chain_len(c), 0);
    }
    must_be(atomic_load(&maps_made), made);
    chain_free(c);
}
END_TEST

/* ---- No memory ------------------------------------------------------------------------------------------------- */

START_TEST(test_no_memory)
{
    struct spool__chain *c = chain_new(sizes[_i], 4);
    size_t in = 0, out = 0;

    for (size_t round = 0; round < 3; round++) {
        uint64_t pos;
        int r;
        atomic_store(&maps_fail, true);
        for (;;) {
            unsigned char elem[ELEM_MAX];

            elem_fill(elem, c->elem_size, in);
            pos = put_pos(c, 0);
            errno = 77;
            r = spool__chain_put(c, elem);
            must_be(errno, 77);
            if (r != 0)
                break;
            in++;
        }
        must_be(r, -ENOMEM);
        must_be(pos, in);
        must_be(spool__chain_len(c), in - out);
        must(!spool__chain_closed(c));
        must(c->tail->next == NULL);
        /* Until a segment that has been drained can be used again. */
        while (out < in && !c->spare) {
            must_be(try_put(c), -ENOMEM);
            get(c, out++);
        }
        atomic_store(&maps_fail, false);
        put(c, in++);
        while (out < in)
            get(c, out++);
        must_be(try_get(c), -EAGAIN);
    }
    while (put_pos(c, 0) != c->tail->first + c->tail->slots)
        put(c, in++);
    must_be(spool__chain_close(c), 0);
    atomic_store(&maps_fail, true);
    must_be(try_put(c), -EPIPE);
    chain_free(c);
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

static struct spool__chain *hooked;

static void put_meanwhile(void)
{
    atomic_store(&maps_fail, false);
    put(hooked, 100);
}

static void close_meanwhile(void)
{
    must_be(spool__chain_close(hooked), 0);
}

/* Somebody else finds memory, or closes, while the mapping of this put fails. */
START_TEST(test_no_memory_but)
{
    size_t in = 0;

    hooked = chain_new(sizes[_i], 4);
    while (in < hooked->head->slots)
        put(hooked, in++);
    atomic_store(&maps_fail, true);
    on_map = put_meanwhile;
    put(hooked, 101);
    for (size_t i = 0; i < in; i++)
        get(hooked, i);
    get(hooked, 100);
    get(hooked, 101);
    chain_free(hooked);

    hooked = chain_new(sizes[_i], 4);
    for (in = 0; in < hooked->head->slots; in++)
        put(hooked, in);
    atomic_store(&maps_fail, true);
    on_map = close_meanwhile;
    must_be(try_put(hooked), -EPIPE);
    atomic_store(&maps_fail, false);
    for (size_t i = 0; i < in; i++)
        get(hooked, i);
    must_be(try_get(hooked), -EPIPE);
    chain_free(hooked);

    /* And both find some: one of the two is kept. */
    hooked = chain_new(sizes[_i], 4);
    for (in = 0; in < hooked->head->slots; in++)
        put(hooked, in);
    on_map = put_meanwhile;
    put(hooked, 101);
    must_be(atomic_load(&maps_live), 2);
    for (size_t i = 0; i < in; i++)
        get(hooked, i);
    get(hooked, 100);
    get(hooked, 101);
    chain_free(hooked);
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

/* ---- Memory comes back ----------------------------------------------------------------------------------------- */

struct crowd {
    struct spool__chain *chain;
    size_t size, putters;
    uint64_t each;
    atomic_uint_fast64_t got, sum;
};

static int crowd_put(struct worker *w)
{
    struct crowd *all = w->more;

    for (uint64_t i = 0; i < all->each; i++)
        put(all->chain, w->index * all->each + i);
    return 0;
}

static int crowd_get(struct worker *w)
{
    struct crowd *all = w->more;
    unsigned char elem[ELEM_MAX];
    uint64_t last[8] = {0};
    uint64_t total = all->each * all->putters;

    while (atomic_load(&all->got) < total) {
        if (spool__chain_get(all->chain, elem) < 0) {
            sched_yield();
            continue;
        }
        uint64_t tag = elem_tag(elem);
        must(elem_is(elem, all->size, tag));
        must(tag < total);
        must(tag % all->each + 1 > last[tag / all->each]);
        last[tag / all->each] = tag % all->each + 1;
        atomic_fetch_add(&all->sum, tag);
        atomic_fetch_add(&all->got, 1);
    }
    return 0;
}

static void crowd_begin(struct crowd *all, struct worker *w, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        memset(&w[i], 0, sizeof(w[i]));
        w[i].more = all;
        w[i].index = i;
        worker_start(&w[i], i < all->putters ? crowd_put : crowd_get);
    }
}

static void crowd_end(struct worker *w, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        must_be(worker_join(&w[i]), 0);
}

static void crowd_check(struct crowd *all)
{
    uint64_t total = all->each * all->putters;

    must_be(atomic_load(&all->got), total);
    must_be(atomic_load(&all->sum), total * (total - 1) / 2);
    must_be(spool__chain_len(all->chain), 0);
    must_be(try_get(all->chain), -EAGAIN);
}

/* Ten million elements in, then out, by one thread or by four on each side. */
START_TEST(test_memory_comes_back)
{
    size_t threads = _i ? 4 : 1, before, after;
    struct crowd all = {.chain = chain_new(8, 0), .size = 8, .putters = threads};
    struct worker w[8];

    /* Whatever threads and the library need once is there before. */
    all.each = 3 * all.chain->slots;
    crowd_begin(&all, w, 0, 2 * threads);
    crowd_end(w, 0, 2 * threads);
    crowd_check(&all);
    atomic_store(&all.got, 0);
    atomic_store(&all.sum, 0);
    before = resident();

    all.each = scaled(10000000) / threads;
    crowd_begin(&all, w, 0, threads);
    crowd_end(w, 0, threads);
    must_be(spool__chain_len(all.chain), all.each * threads);
    must((size_t)atomic_load(&bytes_live) >= all.each * threads * sizeof(uint64_t));
    crowd_begin(&all, w, threads, 2 * threads);
    crowd_end(w, threads, 2 * threads);
    crowd_check(&all);
    after = resident();
    /* The one in use, the spare, and what getters that came last had in their hazards when others left it. */
    must(atomic_load(&maps_live) <= 2 + (long)threads);
    if (!UNDER_TSAN && !UNDER_ASAN)
        must(after <= before + (2 << 20) + (1 + threads) * HUGE);
    chain_free(all.chain);
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

/* Of a segment for large elements only what they have taken is there. */
START_TEST(test_large_elements_take_what_they_are)
{
    enum { SIZE = 1 << 20 };
    static char elem[SIZE];
    struct spool__chain *c = chain_new(SIZE, 0);
    size_t before;

    memset(elem, 1, sizeof(elem));
    before = resident();
    must_be(spool__chain_put(c, elem), 0);
    if (!UNDER_TSAN && !UNDER_ASAN)
        must(resident() <= before + 2 * SIZE);
    must_be(spool__chain_get(c, elem), 0);
    chain_free(c);
}
END_TEST

/*
 * A long queue goes on in huge pages, one at a time, which begin where such pages do and are not kept; where there are
 * none, in small segments. Memory is at most twice what is used, and all of it goes.
 */
START_TEST(test_large_segments)
{
    struct spool__chain *c = chain_new(sizes[_i / N_HUGE], 0);
    size_t n = 0, large = 0, step = sizeof(uint64_t) + c->cell_stride * (c->cells != 0);
    bool fits = c->segment_bytes <= HUGE / 2, none = _i % N_HUGE == NO_HUGE || _i % N_HUGE == STRAY_ALONE;
    long most = 0;

    huge = _i % N_HUGE;
    stop_clock(100000);
    for (struct spool__segment *last = c->tail; n * step < 4 * HUGE; n++) {
        errno = 77;
        put(c, n);
        must_be(errno, 77);
        if (c->tail == last)
            continue;
        last = c->tail;
        must_be(last->first, n);
        must(last->bytes == c->segment_bytes || (fits && !none && last->bytes == HUGE));
        if (last->bytes == HUGE) {
            must(n * step >= HUGE / 2);
            must((uintptr_t)last % HUGE == 0);
            must(last->slots > c->slots);
            large++;
        }
        most = atomic_load(&bytes_live);
        must(most <= (long)(2 * (n * step + c->segment_bytes) + HUGE / 8));
    }
    must(fits && !none ? large >= 2 : large == 0);
    must_be(spool__chain_len(c), n);
    for (size_t i = 0; i < n; i++)
        get(c, i);
    must_be(try_get(c), -EAGAIN);
    /* The one that both ends are in, the last, and a small one to spare. */
    must(atomic_load(&bytes_live) <= (long)(2 * c->segment_bytes + (large ? HUGE : 0)));
    /* A short queue is in small ones again, once it has left that. */
    for (size_t i = 0, last = (size_t)(c->tail->slots + 3 * c->slots); i < last; i++) {
        put(c, i);
        get(c, i);
    }
    must(atomic_load(&bytes_live) <= (long)(2 * c->segment_bytes));
    must(c->tail->bytes == c->segment_bytes);
    chain_free(c);
    must_be(atomic_load(&bytes_live), 0);
}
END_TEST

/* Where a huge page takes long, one is made for each 480 small segments; where it does not any more, nothing but those. */
START_TEST(test_dear_huge_pages)
{
    enum { SMALL = 480, DEAR = 4100000, CHEAP = 3900000 };
    struct spool__chain *c = chain_new(ELEM_MAX / 2, 0);
    int n_large = 0, small_since = 0;

    stop_clock(DEAR);
    for (struct spool__segment *last = c->tail; n_large < 6;) {
        put(c, 0);
        if (c->tail == last)
            continue;
        last = c->tail;
        if (last->bytes != HUGE) {
            small_since++;
            continue;
        }
        /* Two that were dear, and then no more. */
        must(n_large == 0 || small_since == (n_large <= 2 ? SMALL : 0));
        small_since = 0;
        n_large++;
        huge_takes = n_large < 2 ? DEAR : CHEAP;
    }
    chain_free(c);
    must_be(atomic_load(&bytes_live), 0);
}
END_TEST

/* With as many elements inside as fit into a segment, the spare one goes round. */
START_TEST(test_steady_flow_maps_nothing)
{
    struct spool__chain *c = chain_new(sizes[_i], 0);
    long made;

    flow(c, 3);
    made = atomic_load(&maps_made);
    must(made <= 2);
    flow(c, 10);
    must_be(atomic_load(&maps_made), made);
    chain_free(c);
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

/* ---- Threads --------------------------------------------------------------------------------------------------- */

/* Segments of four slots come and go all the time. */
START_TEST(test_crowd)
{
    static const size_t some[] = {8, 9, 24};

    for (size_t slots = 0; slots <= 4; slots += 4) {
        struct crowd all = {.chain = chain_new(some[_i], slots), .size = some[_i], .putters = 3};
        struct worker w[6];

        all.each = scaled(30000);
        crowd_begin(&all, w, 0, 6);
        crowd_end(w, 0, 6);
        crowd_check(&all);
        chain_free(all.chain);
    }
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

static struct spool__chain *shared;
static atomic_bool stop;
static atomic_uint_fast64_t puts_in, gets_out, tag_in, sum_out;

static int bridge(struct worker *w)
{
    unsigned char elem[ELEM_MAX];

    for (uint64_t i = 0; i < w->count; i++) {
        uint64_t tag = atomic_fetch_add(&tag_in, 1);

        put(shared, tag);
        must_be(spool__chain_get(shared, elem), 0);
        must(elem_is(elem, shared->elem_size, elem_tag(elem)));
        atomic_fetch_add(&sum_out, elem_tag(elem));
        atomic_fetch_add(&gets_out, 1);
    }
    return 0;
}

/* Threads begin and end beside others that go on; a record is used by one after the other. */
START_TEST(test_threads_come_and_go)
{
    struct worker steady[2], brief[4];
    size_t rounds = scaled(400);
    uint64_t n;

    shared = chain_new(_i ? 24 : 8, 4);
    memset(steady, 0, sizeof(steady));
    for (size_t i = 0; i < 2; i++) {
        steady[i].count = rounds * 50;
        worker_start(&steady[i], bridge);
    }
    for (size_t r = 0; r < rounds; r++) {
        memset(brief, 0, sizeof(brief));
        for (size_t i = 0; i < 4; i++) {
            brief[i].count = 1 + (r + i) % 9;
            worker_start(&brief[i], bridge);
        }
        for (size_t i = 0; i < 4; i++)
            must_be(worker_join(&brief[i]), 0);
    }
    for (size_t i = 0; i < 2; i++)
        must_be(worker_join(&steady[i]), 0);
    n = atomic_load(&tag_in);
    must_be(atomic_load(&gets_out), n);
    must_be(atomic_load(&sum_out), n * (n - 1) / 2);
    /* Segments only: the first records lie in the library. */
    chain_free(shared);
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

static atomic_size_t gathered;

static int gather(struct worker *w)
{
    int r = bridge(w);

    atomic_fetch_add(&gathered, 1);
    wait_until(atomic_load(&stop));
    return r;
}

/* More threads than there are records map a page for more, once. */
START_TEST(test_many_records)
{
    struct worker w[100];

    shared = chain_new(8, 0);
    for (int round = 0; round < 3; round++) {
        atomic_store(&stop, false);
        atomic_store(&gathered, 0);
        for (size_t i = 0; i < 100; i++) {
            memset(&w[i], 0, sizeof(w[i]));
            w[i].count = 3;
            worker_start(&w[i], gather);
        }
        wait_until(atomic_load(&gathered) == 100);
        must(atomic_load(&maps_live) >= 1);
        atomic_store(&stop, true);
        for (size_t i = 0; i < 100; i++)
            must_be(worker_join(&w[i]), 0);
    }
    chain_free(shared);
    must_be(atomic_load(&maps_live), 1);
}
END_TEST

/* Without memory for a record the operation goes on without. */
START_TEST(test_no_memory_for_records)
{
    struct worker w[100];

    shared = chain_new(8, 0);
    /* Into a segment with room for all that follows. */
    while (shared->tail == shared->head && shared->tail->first == 0) {
        put(shared, 1);
        get(shared, 1);
    }
    must(shared->tail->slots > 100 * 3 + 100);
    atomic_store(&maps_fail, true);
    for (size_t i = 0; i < 100; i++) {
        memset(&w[i], 0, sizeof(w[i]));
        w[i].count = 3;
        worker_start(&w[i], gather);
    }
    wait_until(atomic_load(&gathered) == 100);
    atomic_store(&stop, true);
    for (size_t i = 0; i < 100; i++)
        must_be(worker_join(&w[i]), 0);
    must_be(spool__chain_len(shared), 0);
    chain_free(shared);
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

/* ---- Stopped threads -------------------------------------------------------------------------------------------- */

static bool is_retired(struct spool__chain *c, const struct spool__segment *which)
{
    for (struct spool__segment *s = c->retired; s; s = s->retired_next) {
        if (s == which)
            return true;
    }
    return false;
}

static _Atomic(struct spool__segment *) looked_at;

/* Stops in the midst of an operation, with a hazard on one segment or, if it is unprotected, on all of them. */
static int stop_inside(struct worker *w)
{
    struct spool__hazard *h;

    values_fail = w->index == 1;
    h = spool__hazard_enter();
    values_fail = false;
    must_be(h == NULL, w->index == 1);
    if (h)
        spool__hazard_set(h, SPOOL__HAZARD_GET, shared->head);
    atomic_store(&looked_at, shared->head);
    wait_until(atomic_load(&stop));
    must(atomic_load(&looked_at)->first <= shared->head->first);
    spool__hazard_leave(h);
    return 0;
}

START_TEST(test_stopped_thread_keeps_one)
{
    struct worker w = {0};
    struct spool__segment *s;
    uint64_t first;
    long live;

    shared = chain_new(8, 4);
    flow(shared, 20);
    live = atomic_load(&maps_live);
    worker_start(&w, stop_inside);
    wait_until(atomic_load(&looked_at));
    s = atomic_load(&looked_at);
    first = s->first;
    flow(shared, 100);
    must_be(atomic_load(&maps_live), live + 1);
    must(is_retired(shared, s));
    must_be(s->first, first);
    must(s->next != NULL);
    must_be(spool__chain_len(shared), 0);
    atomic_store(&stop, true);
    must_be(worker_join(&w), 0);
    flow(shared, 3);
    must(!is_retired(shared, s));
    must_be(atomic_load(&maps_live), live);
    chain_free(shared);
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

START_TEST(test_stopped_unprotected_keeps_all)
{
    struct worker w = {.index = 1};
    struct spool__segment *s;
    long live;

    shared = chain_new(8, 4);
    keys_seen = true;
    flow(shared, 20);
    live = atomic_load(&maps_live);
    worker_start(&w, stop_inside);
    wait_until(atomic_load(&looked_at));
    s = atomic_load(&looked_at);
    flow(shared, 30);
    must(is_retired(shared, s));
    must(atomic_load(&maps_live) >= live + 28);
    atomic_store(&stop, true);
    must_be(worker_join(&w), 0);
    flow(shared, 3);
    must_be(atomic_load(&maps_live), live);
    chain_free(shared);
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

static void stop_in_map(void)
{
    atomic_store(&looked_at, shared->tail);
    wait_until(atomic_load(&stop));
}

/* Puts without a record, and stops in the midst of the put that maps a segment. */
static int stop_in_put(struct worker *w)
{
    (void)w;
    values_fail = true;
    on_map = stop_in_map;
    while (on_map)
        put(shared, 1);
    return 0;
}

/* The last one out frees what was kept for it: no other operation comes that would. */
START_TEST(test_last_unprotected_frees)
{
    struct worker w = {0};

    shared = chain_new(8, 4);
    keys_seen = true;
    flow(shared, 20);
    worker_start(&w, stop_in_put);
    wait_until(atomic_load(&looked_at));
    while (try_get(shared) == 0)
        ;
    flow(shared, 30);
    must(atomic_load(&maps_live) >= 28);
    atomic_store(&stop, true);
    must_be(worker_join(&w), 0);
    must(shared->retired == NULL);
    must(atomic_load(&maps_live) <= 3);
    get(shared, 1);
    chain_free(shared);
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

/* What a thread had in its hands when others were done with it is used before more is mapped. */
START_TEST(test_retired_before_mapped)
{
    struct worker w = {0};
    long made;

    shared = chain_new(8, 4);
    flow(shared, 20);
    worker_start(&w, stop_inside);
    wait_until(atomic_load(&looked_at));
    flow(shared, 20);
    must(is_retired(shared, atomic_load(&looked_at)));
    must(shared->spare != NULL);
    atomic_store(&stop, true);
    must_be(worker_join(&w), 0);
    made = atomic_load(&maps_made);
    for (uint64_t i = 0; i < 2 * shared->slots; i++)
        put(shared, i);
    must_be(atomic_load(&maps_made), made);
    must(shared->spare == NULL && shared->retired == NULL);
    chain_free(shared);
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

static int put_some(struct worker *w)
{
    for (uint64_t i = 0; i < w->count; i++)
        put(shared, i);
    return 0;
}

/* A thread that put long ago and only gets since does not hold back what it retires itself. */
START_TEST(test_own_hazards)
{
    struct worker w = {.count = 100};

    shared = chain_new(8, 4);
    flow(shared, 20);
    put(shared, 7);
    worker_start(&w, put_some);
    must_be(worker_join(&w), 0);
    get(shared, 7);
    for (uint64_t i = 0; i < w.count; i++)
        get(shared, i);
    must(shared->retired == NULL);
    must(atomic_load(&maps_live) <= 2);
    chain_free(shared);
}
END_TEST

/* ---- No record ------------------------------------------------------------------------------------------------- */

/* Neither a key nor a value for it: everything goes on unprotected, and memory comes back all the same. */
START_TEST(test_no_record)
{
    struct spool__chain *c = chain_new(sizes[_i % SIZES], 4);
    struct crowd all = {.chain = chain_new(8, 4), .size = 8, .putters = 2};
    struct worker w[4];

    keys_seen = true;
    *(_i < SIZES ? &keys_fail : &values_fail) = true;
    errno = 77;
    flow(c, 30);
    must_be(errno, 77);
    must(spool__hazard_mine == NULL || spool__hazard_mine->busy);
    must(atomic_load(&maps_live) <= 2);
    must_be(spool__chain_close(c), 0);
    must(spool__chain_closed(c));
    chain_free(c);

    all.each = scaled(5000);
    crowd_begin(&all, w, 0, 4);
    crowd_end(w, 0, 4);
    crowd_check(&all);
    flow(all.chain, 2);
    must(atomic_load(&maps_live) <= 2);
    chain_free(all.chain);
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

static pthread_key_t late_key;
static atomic_size_t late_ends;

/* Goes on using the chain, and asks to be called again, as long as the C library does that; TSan ends a bit earlier. */
static void end_late(void *value)
{
    struct worker *w = value;
    uint64_t elem = 5;

    for (int i = 0; i < 20; i++) {
        must_be(spool__chain_put(shared, &elem), 0);
        must_be(spool__chain_get(shared, &elem), 0);
    }
    atomic_fetch_add(&late_ends, 1);
    if (++w->count < 2 || !UNDER_TSAN)
        must_be(pthread_setspecific(late_key, value), 0);
}

static int end_with_destructors(struct worker *w)
{
    must_be(pthread_setspecific(late_key, w), 0);
    if (w->index % 2)
        (void)try_put(shared);
    if (w->index % 2)
        (void)try_get(shared);
    return 0;
}

/* Destructors of the thread, before and after that of its record, use the chain; no record stays behind. */
START_TEST(test_destructors)
{
    struct worker w;

    shared = chain_new(8, 4);
    if (_i)
        flow(shared, 1); /* makes the library's key before this one */
    must_be(pthread_key_create(&late_key, end_late), 0);
    for (size_t i = 0; i < 200; i++) {
        memset(&w, 0, sizeof(w));
        w.index = i;
        worker_start(&w, end_with_destructors);
        must_be(worker_join(&w), 0);
    }
    must(atomic_load(&late_ends) >= 400);
    must_be(spool__chain_len(shared), 0);
    flow(shared, 3);
    must(atomic_load(&maps_live) <= 2);
    chain_free(shared);
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

static atomic_uint_fast64_t handled;

static void put_and_get(int signo)
{
    unsigned char elem[64];

    (void)signo;
    if (handled % 2 == 0) {
        put(shared, atomic_fetch_add(&tag_in, 1));
    } else if (spool__chain_get(shared, elem) == 0) {
        atomic_fetch_add(&sum_out, elem_tag(elem));
        atomic_fetch_add(&gets_out, 1);
    }
    atomic_fetch_add(&handled, 1);
}

static int churn(struct worker *w)
{
    unsigned char elem[64];

    (void)w;
    while (!atomic_load(&stop)) {
        put(shared, atomic_fetch_add(&tag_in, 1));
        if (spool__chain_get(shared, elem) == 0) {
            must(elem_is(elem, shared->elem_size, elem_tag(elem)));
            atomic_fetch_add(&sum_out, elem_tag(elem));
            atomic_fetch_add(&gets_out, 1);
        }
    }
    return 0;
}

/* A handler that interrupts an operation of its own thread, on the same chain, beside another thread. */
START_TEST(test_handlers)
{
    struct worker w[2] = {{0}, {0}};
    unsigned char elem[64];
    timer_t timer;
    uint64_t n;

    shared = chain_new(_i ? 24 : 8, 4);
    on_signal(SIGUSR1, put_and_get);
    worker_start(&w[0], churn);
    worker_start(&w[1], churn);
    wait_until(atomic_load(&w[0].tid));
    timer = storm_begin(atomic_load(&w[0].tid), SIGUSR1, 50 * US);
    wait_until(atomic_load(&handled) > scaled(5000));
    storm_end(timer);
    atomic_store(&stop, true);
    must_be(worker_join(&w[0]), 0);
    must_be(worker_join(&w[1]), 0);
    while (spool__chain_get(shared, elem) == 0) {
        atomic_fetch_add(&sum_out, elem_tag(elem));
        atomic_fetch_add(&gets_out, 1);
    }
    n = atomic_load(&tag_in);
    must_be(atomic_load(&gets_out), n);
    must_be(atomic_load(&sum_out), n * (n - 1) / 2);
    flow(shared, 3);
    must(atomic_load(&maps_live) <= 3);
    chain_free(shared);
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

static void nested_put_and_get(void)
{
    struct spool__hazard *mine = spool__hazard_mine;
    const void *on = mine->on[SPOOL__HAZARD_PUT];

    must(mine->busy);
    flow(hooked, 30);
    must(spool__hazard_mine == mine && mine->busy);
    must(mine->on[SPOOL__HAZARD_PUT] == on);
}

/* An operation within an operation leaves the hazards of the outer one alone, and what they protect. */
START_TEST(test_nested)
{
    hooked = chain_new(sizes[_i], 4);
    flow(hooked, 10);
    while (put_pos(hooked, 0) != hooked->tail->first + hooked->tail->slots || hooked->spare) {
        put(hooked, 1);
        get(hooked, 1);
        if (hooked->spare)
            spool__chain_len(hooked);
        if (hooked->spare) {
            munmap(hooked->spare, hooked->segment_bytes);
            hooked->spare = NULL;
        }
    }
    on_map = nested_put_and_get;
    put(hooked, 7);
    must(on_map == NULL);
    get(hooked, 7);
    must_be(try_get(hooked), -EAGAIN);
    flow(hooked, 3);
    must(atomic_load(&maps_live) <= 3);
    chain_free(hooked);
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

/* ---- Positions ------------------------------------------------------------------------------------------------- */

static int put_for_positions(struct worker *w)
{
    unsigned char elem[64];

    (void)w;
    while (!atomic_load(&stop)) {
        atomic_fetch_add(&tag_in, 1);
        put(shared, 1);
        atomic_fetch_add(&puts_in, 1);
        must_be(spool__chain_get(shared, elem), 0);
    }
    return 0;
}

/* Two looks that say -EAGAIN at one position: no put began and ended between them. */
START_TEST(test_positions)
{
    struct worker w[2];
    size_t same = 0, differ = 0;

    shared = chain_new(_i ? 24 : 8, 4);
    memset(w, 0, sizeof(w));
    worker_start(&w[0], put_for_positions);
    worker_start(&w[1], put_for_positions);
    while (same < scaled(20000) || differ < scaled(200)) {
        uint64_t a, b, begun, ended;

        if (spool__chain_can_get(shared, &a) != -EAGAIN)
            continue;
        begun = atomic_load(&tag_in);
        if (differ < same / 100)
            sched_yield();
        ended = atomic_load(&puts_in);
        if (spool__chain_can_get(shared, &b) != -EAGAIN)
            continue;
        must(b >= a);
        must(a != b || ended <= begun);
        *(a == b ? &same : &differ) += 1;
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < 2; i++)
        must_be(worker_join(&w[i]), 0);
    chain_free(shared);
}
END_TEST

/* ---- Closing beside puts, and a child --------------------------------------------------------------------------- */

static int put_until_closed(struct worker *w)
{
    int r;
    unsigned char elem[64];

    for (w->count = 0;; w->count++) {
        elem_fill(elem, shared->elem_size, w->count << 8 | w->index);
        r = spool__chain_put(shared, elem);
        if (r < 0)
            return r;
    }
}

static int get_until_closed(struct worker *w)
{
    int r;
    unsigned char elem[64];

    for (;;) {
        r = spool__chain_get(shared, elem);
        if (r == -EPIPE)
            return (int)w->index;
        if (r == 0)
            w->count++;
        else
            sched_yield();
    }
}

/* What was put before the close is got, each element, and no more: not one that came back as -EPIPE. */
START_TEST(test_close_beside_puts)
{
    for (size_t round = 0; round < scaled(400); round++) {
        struct worker w[5];

        shared = chain_new(_i ? 24 : 8, 4);
        memset(w, 0, sizeof(w));
        for (size_t i = 0; i < 4; i++) {
            w[i].index = i;
            worker_start(&w[i], i < 2 ? put_until_closed : get_until_closed);
        }
        for (size_t i = 0; i < round % 32; i++)
            sched_yield();
        must_be(spool__chain_close(shared), 0);
        must(spool__chain_closed(shared));
        must_be(spool__chain_close(shared), -EALREADY);
        for (size_t i = 0; i < 4; i++)
            must_be(worker_join(&w[i]), i < 2 ? -EPIPE : (int)i);
        must_be(w[0].count + w[1].count, w[2].count + w[3].count);
        chain_free(shared);
    }
    must_be(atomic_load(&maps_live), 0);
}
END_TEST

/* A child has only the thread that forked; the records of the others hold back a segment or two each. */
START_TEST(test_fork)
{
    struct worker w = {0};
    int status = 0;
    pid_t pid;

    shared = chain_new(8, 4);
    flow(shared, 10);
    worker_start(&w, stop_inside);
    wait_until(atomic_load(&looked_at));
    put(shared, 9);
    pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        bool fine;
        uint64_t elem = 0;

        fine = spool__chain_get(shared, &elem) == 0 && elem == 9;
        for (uint64_t i = 0; fine && i < 400; i++)
            fine = spool__chain_put(shared, &i) == 0 && spool__chain_get(shared, &elem) == 0 && elem == i;
        fine = fine && atomic_load(&maps_live) <= 4 && spool__chain_close(shared) == 0;
        _exit(fine ? 0 : 1);
    }
    must_be(waitpid(pid, &status, 0), pid);
    must(WIFEXITED(status));
    must_be(WEXITSTATUS(status), 0);
    get(shared, 9);
    atomic_store(&stop, true);
    must_be(worker_join(&w), 0);
    chain_free(shared);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chain");
    TCase *tc = case_new(s, "alone");

    tcase_add_loop_test(tc, test_order, 0, SIZES);
    tcase_add_test(tc, test_small_at_first);
    tcase_add_loop_test(tc, test_hints, 0, SIZES);
    tcase_add_test(tc, test_tail_goes_first);
    tcase_add_loop_test(tc, test_close_everywhere, 0, SIZES);
    tcase_add_loop_test(tc, test_drain, 0, SIZES);
    tcase_add_loop_test(tc, test_cells_run_out, 0, 6);
    tcase_add_test(tc, test_words_of_each_segment);
    tcase_add_test(tc, test_keys);
    tcase_add_test(tc, test_short_words);
    tcase_add_test(tc, test_dead_slots_are_forgotten);

    tc = case_new(s, "memory");
    tcase_add_loop_test(tc, test_no_memory, 0, SIZES);
    tcase_add_loop_test(tc, test_no_memory_but, 0, SIZES);
    tcase_add_test(tc, test_large_elements_take_what_they_are);
    tcase_add_loop_test(tc, test_memory_comes_back, 0, 2);
    tcase_add_loop_test(tc, test_steady_flow_maps_nothing, 0, SIZES);
    tcase_add_loop_test(tc, test_large_segments, 0, N_HUGE * SIZES);
    tcase_add_test(tc, test_dear_huge_pages);

    tc = case_new(s, "threads");
    tcase_add_loop_test(tc, test_crowd, 0, 3);
    tcase_add_loop_test(tc, test_threads_come_and_go, 0, 2);
    tcase_add_loop_test(tc, test_positions, 0, 2);
    tcase_add_loop_test(tc, test_close_beside_puts, 0, 2);

    tc = case_new(s, "records");
    tcase_add_test(tc, test_many_records);
    tcase_add_test(tc, test_no_memory_for_records);
    tcase_add_test(tc, test_stopped_thread_keeps_one);
    tcase_add_test(tc, test_stopped_unprotected_keeps_all);
    tcase_add_test(tc, test_last_unprotected_frees);
    tcase_add_test(tc, test_retired_before_mapped);
    tcase_add_test(tc, test_own_hazards);
    tcase_add_loop_test(tc, test_no_record, 0, 2 * SIZES);
    tcase_add_loop_test(tc, test_destructors, 0, 2);
    tcase_add_loop_test(tc, test_handlers, 0, 2);
    tcase_add_loop_test(tc, test_nested, 0, SIZES);
    tcase_add_test(tc, test_fork);
    return run_suite(s, "test_chain");
}
