/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* What one thread can see of a channel of each flavour: making it, values, order, errors, names, drop, references, errno. */

#include "util.h"

#include <sys/mman.h>

static const size_t sizes[] = {0, 1, 2, 3, 4, 7, 8, 9, 16, 24, 100, 1000, 4096};
static const size_t capacities[] = {1, 2, 3, 7, 8, 1000, SPOOL_UNBOUNDED, 0};
/* One of each flavour. */
static const size_t flavours[] = {2, SPOOL_UNBOUNDED, 0};

#define N_SIZES ((int)(sizeof(sizes) / sizeof(*sizes)))
#define N_CAPACITIES ((int)(sizeof(capacities) / sizeof(*capacities)))
#define N_FLAVOURS ((int)(sizeof(flavours) / sizeof(*flavours)))
#define MAX_SIZE 4096

static spool_chan *const sentinel = (spool_chan *)(uintptr_t)0x5e5e5e50;

static spool_chan *chan_new(size_t size, size_t capacity)
{
    spool_chan *c = NULL;

    must_be(spool_chan_new(&c, size, capacity), 0);
    must(c);
    return c;
}

/* As many as fit; where there is no end, enough to leave the first piece of memory and the second. */
static size_t full_of(const spool_chan *c)
{
    return fill_of(c, spool_elem_size(c) > 64 ? 300 : 5000);
}

/* An element in a buffer that is aligned to nothing and watched on both sides. */
struct guarded {
    unsigned char bytes[1 + MAX_SIZE + 8];
};

static void guarded_set(struct guarded *g)
{
    memset(g->bytes, 0xa5, sizeof(g->bytes));
}

static void *guarded_elem(struct guarded *g)
{
    return g->bytes + 1;
}

static void guarded_check(const struct guarded *g, size_t size)
{
    must_be(g->bytes[0], 0xa5);
    for (size_t i = 1 + size; i < sizeof(g->bytes); i++)
        must_be(g->bytes[i], 0xa5);
}

static void put_tag(spool_chan *c, uint64_t tag)
{
    struct guarded g;

    elem_fill(guarded_elem(&g), spool_elem_size(c), tag);
    must_be(spool_try_put(c, guarded_elem(&g)), 0);
    must(elem_is(guarded_elem(&g), spool_elem_size(c), tag));
}

static void get_tag(spool_chan *c, uint64_t tag)
{
    struct guarded g;

    guarded_set(&g);
    must_be(spool_try_get(c, guarded_elem(&g)), 0);
    must(elem_is(guarded_elem(&g), spool_elem_size(c), tag));
    guarded_check(&g, spool_elem_size(c));
}

static void must_be_empty(spool_chan *c)
{
    struct guarded g;

    guarded_set(&g);
    must_be(spool_try_get(c, guarded_elem(&g)), -EAGAIN);
    guarded_check(&g, 0);
    must_be(spool_get_for(c, guarded_elem(&g), 0), -EAGAIN);
    guarded_check(&g, 0);
    must_be(spool_len(c), 0);
}

static void must_be_full(spool_chan *c)
{
    struct guarded g;

    elem_fill(guarded_elem(&g), spool_elem_size(c), 0xdead);
    must_be(spool_try_put(c, guarded_elem(&g)), -EAGAIN);
    must_be(spool_put_for(c, guarded_elem(&g), 0), -EAGAIN);
    must(elem_is(guarded_elem(&g), spool_elem_size(c), 0xdead));
    must_be(spool_len(c), spool_capacity(c));
}

/* ---- Making --------------------------------------------------------------------------------------------------- */

START_TEST(test_new)
{
    int fds = count_fds();

    for (int i = 0; i < N_SIZES; i++) {
        for (int j = 0; j < N_CAPACITIES; j++) {
            spool_chan *c = chan_new(sizes[i], capacities[j]);

            must_be(spool_elem_size(c), sizes[i]);
            must_be(spool_capacity(c), capacities[j]);
            must_be(spool_len(c), 0);
            must(spool_alive(c));
            must_be(strcmp(spool_name(c), ""), 0);
            must_be(count_fds(), fds);
            must(!spool_unref(c));
        }
    }
}
END_TEST

START_TEST(test_new_errors)
{
    static const struct {
        size_t size, capacity;
        int rc;
    } bad[] = {
        {SIZE_MAX, 2, -EOVERFLOW},
        {SIZE_MAX / 2 + 1, 2, -EOVERFLOW},
        {2, SIZE_MAX / 2 + 1, -EOVERFLOW},
        {SIZE_MAX, SIZE_MAX - 1, -EOVERFLOW},
        {(size_t)1 << (sizeof(size_t) * 4), (size_t)1 << (sizeof(size_t) * 4), -EOVERFLOW},
    };
    spool_chan *c = sentinel;

    must_be(spool_chan_new(NULL, 8, 8), -EINVAL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        int rc = spool_chan_new(&c, bad[i].size, bad[i].capacity);

        if (rc != bad[i].rc)
            ck_abort_msg("%zu x %zu: %d, not %d", bad[i].size, bad[i].capacity, rc, bad[i].rc);
        must(c == sentinel);
    }
}
END_TEST

/* So large that its pages may be huge ones; filled to the last slot, with words and with what lies in cells. */
START_TEST(test_large)
{
    struct {
        uint64_t first, last;
    } wide;
    const uint64_t n = (uint64_t)1 << (UNDER_TSAN ? 17 : 20);
    spool_chan *words, *cells;
    must_be(spool_chan_new(&words, sizeof(uint64_t), n), 0);
    must_be(spool_chan_new(&cells, sizeof wide, n), 0);
    for (uint64_t i = 0; i <= n; i++) {
        wide.first = wide.last = i;
        int rc = i < n ? 0 : -EAGAIN;
        if (spool_try_put(words, &i) != rc || spool_try_put(cells, &wide) != rc)
            ck_abort_msg("element %llu of %llu", (unsigned long long)i, (unsigned long long)n);
    }
    must(spool_len(words) == n && spool_len(cells) == n);
    for (uint64_t i = 0, word = 0; i < n; i++)
        if (spool_try_get(words, &word) != 0 || word != i || spool_try_get(cells, &wide) != 0 || wide.first != i ||
            wide.last != i)
            ck_abort_msg("element %llu of %llu", (unsigned long long)i, (unsigned long long)n);
    must(spool_len(words) == 0 && spool_len(cells) == 0);
    (void)spool_unref(words);
    (void)spool_unref(cells);
}
END_TEST

/* No put of a channel that is large, but not very large, has to wait for a page. */
START_TEST(test_pages_from_the_start)
{
    const size_t wide[] = {sizeof(uint64_t), 64}, page = (size_t)sysconf(_SC_PAGESIZE), n = 16384;
    unsigned char there[1024];

#ifdef MADV_POPULATE_WRITE
    char *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(p != MAP_FAILED);
    int r = madvise(p, page, MADV_POPULATE_WRITE);
    must_be(munmap(p, page), 0);
    if (r < 0) {
        skip("pages_from_the_start", "kernels before 5.14 cannot be asked for pages");
        return;
    }
    for (size_t i = 0; i < sizeof(wide) / sizeof(*wide); i++) {
        spool_chan *c;
        must_be(spool_chan_new(&c, wide[i], n), 0);
        /* Where it begins is within the first page. */
        uintptr_t from = ((uintptr_t)c + page - 1) & -(uintptr_t)page;
        size_t pages = n * (wide[i] == sizeof(uint64_t) ? 16 : 8 + wide[i]) / page - 1;
        must(pages <= sizeof there);
        must_be(mincore((void *)from, pages * page, there), 0);
        for (size_t k = 0; k < pages; k++)
            must(there[k] & 1);
        (void)spool_unref(c);
    }
#else
    (void)wide, (void)page, (void)n, (void)there;
    skip("pages_from_the_start", "built for kernels that cannot be asked for pages");
#endif
}
END_TEST

START_TEST(test_new_too_large)
{
    spool_chan *c = sentinel;
    int rc;

    if (sizeof(size_t) < 8) {
        skip("new_too_large", "sizes of 64 bits only");
        return;
    }
    /* Countable, but more than the address space of any processor. */
    must_be(spool_chan_new(&c, (size_t)1 << 30, (size_t)1 << 28), -ENOMEM);
    must(c == sentinel);

    /* The product can be counted or is even 0; the slots, the last one's padding or the positions may not. */
    static const size_t edge[][2] = {
        {SIZE_MAX, 1},     {SIZE_MAX - 64, 1},   {SIZE_MAX / 2, 2},    {0, SIZE_MAX - 1},    {1, SIZE_MAX - 1},
        {8, SIZE_MAX / 8}, {0, (size_t)1 << 62}, {1, (size_t)1 << 60}, {8, (size_t)1 << 48}, {9, (size_t)1 << 48},
        {SIZE_MAX, SPOOL_UNBOUNDED},     {SIZE_MAX - 15, SPOOL_UNBOUNDED}, {SIZE_MAX - 4096, SPOOL_UNBOUNDED},
        {SIZE_MAX / 2, SPOOL_UNBOUNDED}, {SIZE_MAX / 4, SPOOL_UNBOUNDED},  {SIZE_MAX / 8, SPOOL_UNBOUNDED},
        /* With 8 cells to spare: the bytes of all can be counted, but not with what stands before them. */
        {SIZE_MAX / 9 & ~(size_t)15, 1}, {SIZE_MAX / 10 & ~(size_t)15, 2},
    };
    for (size_t i = 0; i < sizeof(edge) / sizeof(*edge); i++) {
        rc = spool_chan_new(&c, edge[i][0], edge[i][1]);
        if (rc != -EOVERFLOW && rc != -ENOMEM)
            ck_abort_msg("%zu x %zu: %d", edge[i][0], edge[i][1], rc);
        must(c == sentinel);
    }
}
END_TEST

/* ---- Values --------------------------------------------------------------------------------------------------- */

static int meet_values(struct worker *w)
{
    struct guarded g;
    size_t size = spool_elem_size(w->chan);

    for (uint64_t n = 0; n < w->count; n++) {
        guarded_set(&g);
        if (w->index)
            elem_fill(guarded_elem(&g), size, n);
        must_be(w->index ? spool_put(w->chan, guarded_elem(&g)) : spool_get(w->chan, guarded_elem(&g)), 0);
        must(elem_is(guarded_elem(&g), size, n));
        guarded_check(&g, size);
    }
    return 0;
}

/* The same elements through a rendezvous, in both directions, whoever waits for whom. */
static void values_of_rendezvous(size_t size)
{
    spool_chan *c = chan_new(size, 0);

    must_be_empty(c);
    for (size_t putting = 0; putting < 2; putting++) {
        struct worker other = {.chan = c, .index = putting, .count = 200};
        struct worker mine = {.chan = c, .index = !putting, .count = 200};

        worker_start(&other, meet_values);
        must_be(meet_values(&mine), 0);
        must_be(worker_join(&other), 0);
        must_be_empty(c);
    }
    must(!spool_unref(c));
}

/* Exact capacity, order, content and length, at every fill level and over many turns of the ring. */
START_TEST(test_values)
{
    size_t size = sizes[_i / N_CAPACITIES];
    spool_chan *c;
    size_t capacity;
    uint64_t put = 0;
    uint64_t got = 0;
    uint64_t seed = 0x9e3779b97f4a7c15;
    size_t rounds;

    if (capacities[_i % N_CAPACITIES] == 0) {
        values_of_rendezvous(size);
        return;
    }
    c = chan_new(size, capacities[_i % N_CAPACITIES]);
    capacity = full_of(c);
    rounds = capacity > 100 ? 4 : 40;

    must_be_empty(c);
    for (size_t round = 0; round < rounds; round++) {
        size_t level = round % 2 == 0 ? capacity : 1 + rnd(&seed) % capacity;
        size_t low = round % 4 == 0 ? 0 : rnd(&seed) % level;

        while (put - got < level) {
            put_tag(c, put++);
            must_be(spool_len(c), put - got);
        }
        if (level == spool_capacity(c))
            must_be_full(c);
        while (put - got > low) {
            get_tag(c, got++);
            must_be(spool_len(c), put - got);
        }
        if (low == 0)
            must_be_empty(c);
    }
    while (got < put)
        get_tag(c, got++);
    must_be_empty(c);
    must(!spool_unref(c));
}
END_TEST

/* Keeps the ring full, empty or in between while it goes round very often. */
START_TEST(test_wrap)
{
    static const size_t few[] = {1, 2, 3, 7, SPOOL_UNBOUNDED};
    static const size_t kinds[] = {0, 1, 8, 24};
    spool_chan *c = chan_new(kinds[_i / 5], few[_i % 5]);
    size_t capacity = fill_of(c, 7);
    uint64_t put = 0;
    uint64_t got = 0;
    size_t turns = scaled(20000);

    for (size_t keep = 1; keep <= capacity; keep++) {
        for (size_t i = 0; i < turns; i++) {
            while (put - got < keep)
                put_tag(c, put++);
            get_tag(c, got++);
        }
    }
    while (got < put)
        get_tag(c, got++);
    must_be_empty(c);
    must(!spool_unref(c));
}
END_TEST

static int get_nothing(struct worker *w)
{
    must_be(spool_get(w->chan, NULL), 0);
    must_be(spool_get_for(w->chan, NULL, DEADLINE), 0);
    return 0;
}

static void size_0_of_rendezvous(void)
{
    spool_chan *c = chan_new(0, 0);
    struct worker w = {.chan = c};

    must_be(spool_try_put(c, NULL), -EAGAIN);
    must_be(spool_put_for(c, NULL, MS), -ETIMEDOUT);
    must_be(spool_try_get(c, NULL), -EAGAIN);
    must_be(spool_get_for(c, NULL, MS), -ETIMEDOUT);
    worker_start(&w, get_nothing);
    must_be(spool_put(c, NULL), 0);
    must(!atomic_load(&w.done));
    worker_wait_asleep(&w);
    must_be(spool_try_put(c, NULL), 0);
    must_be(worker_join(&w), 0);
    must_be(spool_close(c), 0);
    must_be(spool_try_put(c, NULL), -EPIPE);
    must_be(spool_get(c, NULL), -EPIPE);
    must(!spool_unref(c));
}

/* An element of no bytes needs no buffer, and is counted all the same. */
START_TEST(test_size_0)
{
    spool_chan *c;

    if (flavours[_i] == 0) {
        size_0_of_rendezvous();
        return;
    }
    c = chan_new(0, flavours[_i] == SPOOL_UNBOUNDED ? SPOOL_UNBOUNDED : 3);
    for (int turn = 0; turn < 10; turn++) {
        must_be(spool_put(c, NULL), 0);
        must_be(spool_try_put(c, NULL), 0);
        must_be(spool_put_for(c, NULL, 0), 0);
        if (is_bounded(c)) {
            must_be(spool_try_put(c, NULL), -EAGAIN);
            must_be(spool_put_for(c, NULL, MS), -ETIMEDOUT);
        }
        must_be(spool_len(c), 3);
        must_be(spool_get(c, NULL), 0);
        must_be(spool_try_get(c, NULL), 0);
        must_be(spool_get_for(c, NULL, 0), 0);
        must_be(spool_try_get(c, NULL), -EAGAIN);
        must_be(spool_get_for(c, NULL, MS), -ETIMEDOUT);
    }
    must_be(spool_put(c, NULL), 0);
    must_be(spool_close(c), 0);
    must_be(spool_try_put(c, NULL), -EPIPE);
    must_be(spool_get(c, NULL), 0);
    must_be(spool_get(c, NULL), -EPIPE);
    must(!spool_unref(c));
}
END_TEST

/* put and get, with and without a limit, where none of them has to wait. */
START_TEST(test_calls_that_need_not_wait)
{
    spool_chan *c = chan_new(4, flavours[_i]);
    uint32_t v;

    for (uint32_t i = 0; i < 100; i++) {
        v = i;
        must_be(spool_put(c, &v), 0);
        v = i + 1;
        must_be(spool_put_for(c, &v, i % 3 == 0 ? -1 : i % 3 == 1 ? 0 : SEC), 0);
        must_be(spool_get(c, &v), 0);
        must_be(v, i);
        must_be(spool_get_for(c, &v, i % 3 == 0 ? -1 : i % 3 == 1 ? 0 : SEC), 0);
        must_be(v, i + 1);
    }
    must(!spool_unref(c));
}
END_TEST

/* Two channels share nothing. */
START_TEST(test_many_channels)
{
    enum { N = 300 };
    spool_chan *c[N];

    for (size_t i = 0; i < N; i++) {
        c[i] = chan_new(8 + i % 3 * 8, i % 7 == 6 ? SPOOL_UNBOUNDED : i % 7);
        if (!is_meet(c[i]))
            put_tag(c[i], i);
    }
    for (size_t i = 0; i < N; i++) {
        if (!is_meet(c[i]))
            get_tag(c[i], i);
        must_be_empty(c[i]);
        spool_unref(c[i]);
    }
}
END_TEST

/* ---- Errors --------------------------------------------------------------------------------------------------- */

static void drop_nothing(void *elem)
{
    (void)elem;
}

START_TEST(test_null_handle)
{
    char b[8] = {0};

    must_be(spool_put(NULL, b), -EINVAL);
    must_be(spool_try_put(NULL, b), -EINVAL);
    must_be(spool_put_for(NULL, b, 0), -EINVAL);
    must_be(spool_put_for(NULL, b, -1), -EINVAL);
    must_be(spool_get(NULL, b), -EINVAL);
    must_be(spool_try_get(NULL, b), -EINVAL);
    must_be(spool_get_for(NULL, b, 0), -EINVAL);
    must_be(spool_get_for(NULL, b, -1), -EINVAL);
    must_be(spool_close(NULL), -EINVAL);
    must(!spool_alive(NULL));
    must_be(spool_len(NULL), 0);
    must_be(spool_capacity(NULL), 0);
    must_be(spool_elem_size(NULL), 0);
    must_be(spool_fd(NULL), -EINVAL);
    must_be(spool_put_fd(NULL), -EINVAL);
    must_be(spool_set_name(NULL, "x"), -EINVAL);
    must_be(strcmp(spool_name(NULL), ""), 0);
    must_be(spool_set_drop(NULL, drop_nothing), -EINVAL);
    must(!spool_ref(NULL));
    must(!spool_unref(NULL));
}
END_TEST

static void null_elem_fails(spool_chan *c)
{
    must_be(spool_put(c, NULL), -EINVAL);
    must_be(spool_try_put(c, NULL), -EINVAL);
    must_be(spool_put_for(c, NULL, 0), -EINVAL);
    must_be(spool_put_for(c, NULL, -1), -EINVAL);
    must_be(spool_get(c, NULL), -EINVAL);
    must_be(spool_try_get(c, NULL), -EINVAL);
    must_be(spool_get_for(c, NULL, 0), -EINVAL);
    must_be(spool_get_for(c, NULL, -1), -EINVAL);
}

/* Empty, half full or full: the channel is afterwards what it was before. */
START_TEST(test_null_elem)
{
    for (int i = 1; i < N_SIZES; i++) {
        spool_chan *c = chan_new(sizes[i], flavours[_i]);

        null_elem_fails(c);
        must_be_empty(c);
        if (is_meet(c)) {
            must(spool_alive(c));
            must(!spool_unref(c));
            continue;
        }
        put_tag(c, 1);
        null_elem_fails(c);
        must_be(spool_len(c), 1);
        put_tag(c, 2);
        null_elem_fails(c);
        must_be(spool_len(c), 2);
        if (is_bounded(c))
            must_be_full(c);
        get_tag(c, 1);
        get_tag(c, 2);
        must_be_empty(c);
        must(spool_alive(c));
        must(!spool_unref(c));
    }
}
END_TEST

START_TEST(test_name)
{
    static const char longest[] = "0123456789012345678901234567890";
    static const char too_long[] = "01234567890123456789012345678901";
    spool_chan *c = chan_new(8, flavours[_i]);
    char given[] = "orders";

    must_be(strlen(longest), 31);
    must_be(spool_set_name(c, given), 0);
    given[0] = 'X';
    must_be(strcmp(spool_name(c), "orders"), 0);
    must_be(spool_set_name(c, too_long), -ENAMETOOLONG);
    must_be(strcmp(spool_name(c), "orders"), 0);
    must_be(spool_set_name(c, NULL), -EINVAL);
    must_be(strcmp(spool_name(c), "orders"), 0);
    must_be(spool_set_name(c, longest), 0);
    must_be(strcmp(spool_name(c), longest), 0);
    must_be(spool_set_name(c, "a"), 0);
    must_be(strcmp(spool_name(c), "a"), 0);
    must_be(spool_set_name(c, ""), 0);
    must_be(strcmp(spool_name(c), ""), 0);
    must(!spool_unref(c));
}
END_TEST

START_TEST(test_closed)
{
    for (int i = 0; i < N_SIZES; i++) {
        for (int j = 0; j < N_CAPACITIES; j++) {
            spool_chan *c = chan_new(sizes[i], capacities[j]);
            size_t all = full_of(c);
            size_t n = all > 2 ? all / 2 : all;
            struct guarded g;

            if (i % 2)
                n = all;
            for (size_t k = 0; k < n; k++)
                put_tag(c, k);
            must_be(spool_close(c), 0);
            must(!spool_alive(c));
            must_be(spool_close(c), -EALREADY);
            guarded_set(&g);
            for (size_t k = 0; k < n; k++) {
                if (n < 1500 || k % 64 == 0)
                    must_be(spool_len(c), n - k);
                must_be(spool_try_put(c, guarded_elem(&g)), -EPIPE);
                must_be(spool_put(c, guarded_elem(&g)), -EPIPE);
                must_be(spool_put_for(c, guarded_elem(&g), 0), -EPIPE);
                must_be(spool_put_for(c, guarded_elem(&g), SEC), -EPIPE);
                get_tag(c, k);
            }
            for (int again = 0; again < 3; again++) {
                must_be(spool_len(c), 0);
                must_be(spool_try_get(c, guarded_elem(&g)), -EPIPE);
                must_be(spool_get(c, guarded_elem(&g)), -EPIPE);
                must_be(spool_get_for(c, guarded_elem(&g), 0), -EPIPE);
                must_be(spool_get_for(c, guarded_elem(&g), SEC), -EPIPE);
                must_be(spool_try_put(c, guarded_elem(&g)), -EPIPE);
                must_be(spool_close(c), -EALREADY);
                guarded_check(&g, 0);
            }
            must_be(spool_capacity(c), capacities[j]);
            must_be(spool_elem_size(c), sizes[i]);
            must(!spool_unref(c));
        }
    }
}
END_TEST

/* The channel may be closed at any place in its turn. */
START_TEST(test_closed_at_each_place)
{
    for (size_t capacity = 1; capacity <= 5; capacity++) {
        for (size_t before = 0; before <= 3 * capacity; before++) {
            for (size_t left = 0; left <= capacity; left++) {
                for (size_t size = 8; size <= 24; size += 16) {
                    spool_chan *c = chan_new(size, capacity);

                    for (size_t i = 0; i < before; i++) {
                        put_tag(c, i);
                        get_tag(c, i);
                    }
                    for (size_t i = 0; i < left; i++)
                        put_tag(c, i);
                    must_be(spool_close(c), 0);
                    must_be(spool_len(c), left);
                    for (size_t i = 0; i < left; i++)
                        get_tag(c, i);
                    must_be(spool_try_get(c, (char[24]){0}), -EPIPE);
                    must_be(spool_try_put(c, (char[24]){0}), -EPIPE);
                    spool_unref(c);
                }
            }
        }
    }
}
END_TEST

/* The same where there is no turn: at each place around the end of a piece of memory, the first or a later one. */
START_TEST(test_closed_at_each_place_unbounded)
{
    for (size_t before = 0; before < (UNDER_TSAN ? 3070 : 9000); before += before % 3000 < 70 ? 1 : 37) {
        for (size_t left = 0; left <= 40; left += left < 3 ? 1 : 37) {
            spool_chan *c = chan_new(_i ? 24 : 8, SPOOL_UNBOUNDED);

            for (size_t i = 0; i < before; i++) {
                must_be(spool_try_put(c, (char[24]){0}), 0);
                must_be(spool_try_get(c, (char[24]){0}), 0);
            }
            for (size_t i = 0; i < left; i++)
                put_tag(c, i);
            must_be(spool_close(c), 0);
            must_be(spool_len(c), left);
            must_be(spool_try_put(c, (char[24]){0}), -EPIPE);
            for (size_t i = 0; i < left; i++)
                get_tag(c, i);
            must_be(spool_try_get(c, (char[24]){0}), -EPIPE);
            must_be(spool_try_put(c, (char[24]){0}), -EPIPE);
            spool_unref(c);
        }
    }
}
END_TEST

/* ---- Drop ----------------------------------------------------------------------------------------------------- */

static struct {
    size_t size;
    size_t align;
    size_t calls;
    uint64_t next; /* elements are dropped in the order they were put, as they would have been got */
    pid_t tid;
} dropped;

static void drop_check(void *elem)
{
    must(dropped.size == 0 || elem);
    must_be((uintptr_t)elem % dropped.align, 0);
    must(elem_is(elem, dropped.size, dropped.next));
    dropped.next++;
    dropped.calls++;
    dropped.tid = self_tid();
}

static void drop_expect(size_t size, uint64_t first)
{
    memset(&dropped, 0, sizeof(dropped));
    dropped.size = size;
    dropped.next = first;
    dropped.align = 16;
    while (size > 0 && size % dropped.align != 0)
        dropped.align /= 2;
    if (size == 0)
        dropped.align = 1;
}

START_TEST(test_drop)
{
    for (int i = 0; i < N_SIZES; i++) {
        for (int j = 0; j < N_CAPACITIES; j++) {
            for (int closed = 0; closed < 2; closed++) {
                spool_chan *c = chan_new(sizes[i], capacities[j]);
                size_t all = full_of(c);
                size_t got = all / 2;
                struct guarded g;

                drop_expect(sizes[i], got);
                must_be(spool_set_drop(c, drop_check), 0);
                for (size_t k = 0; k < all; k++)
                    put_tag(c, k);
                if (!is_unbounded(c))
                    must_be_full(c);
                for (size_t k = 0; k < got; k++)
                    get_tag(c, k);
                if (closed) {
                    must_be(spool_close(c), 0);
                    guarded_set(&g);
                    must_be(spool_try_put(c, guarded_elem(&g)), -EPIPE);
                }
                must(spool_ref(c) == c);
                must(!spool_unref(c));
                must_be(dropped.calls, 0);
                must(!spool_unref(c));
                must_be(dropped.calls, all - got);
                if (all > 0)
                    must_be(dropped.tid, self_tid());
            }
        }
    }
}
END_TEST

START_TEST(test_drop_drained)
{
    spool_chan *c = chan_new(8, flavours[_i]);

    drop_expect(8, 0);
    must_be(spool_set_drop(c, drop_check), 0);
    for (uint64_t i = 0; i < 100; i++) {
        put_tag(c, i);
        get_tag(c, i);
    }
    spool_unref(c);
    must_be(dropped.calls, 0);
}
END_TEST

/* The last function set counts, and NULL unsets. */
START_TEST(test_drop_replaced)
{
    spool_chan *c = chan_new(8, flavours[_i]);

    drop_expect(8, 0);
    must_be(spool_set_drop(c, drop_nothing), 0);
    must_be(spool_set_drop(c, drop_check), 0);
    put_tag(c, 0);
    spool_unref(c);
    must_be(dropped.calls, 1);

    c = chan_new(8, flavours[_i]);
    must_be(spool_set_drop(c, drop_check), 0);
    must_be(spool_set_drop(c, NULL), 0);
    put_tag(c, 0);
    spool_unref(c);
    must_be(dropped.calls, 1);
}
END_TEST

static atomic_size_t freed;

static void drop_free(void *elem)
{
    void *p;

    memcpy(&p, elem, sizeof(p));
    free(p);
    atomic_fetch_add(&freed, 1);
}

/* What drop is for: elements that own memory, of which each is got or dropped. The leak checker watches. */
static int get_and_free(struct worker *w)
{
    void *p;
    int rc;

    while ((rc = spool_get(w->chan, &p)) == 0 && w->count < w->index) {
        free(p);
        w->count++;
    }
    if (rc == 0) {
        free(p);
        w->count++;
    }
    spool_unref(w->chan);
    return rc;
}

START_TEST(test_drop_owned_memory)
{
    size_t rounds = scaled(200);

    for (size_t round = 0; round < rounds; round++) {
        struct worker w[2];
        spool_chan *c = chan_new(sizeof(void *), flavours[_i] == 2 ? 3 : flavours[_i]);
        size_t put = 0;

        atomic_store(&freed, 0);
        memset(w, 0, sizeof(w));
        must_be(spool_set_drop(c, drop_free), 0);
        for (size_t i = 0; i < 2; i++) {
            w[i].chan = spool_ref(c);
            w[i].index = round % 17;
            worker_start(&w[i], get_and_free);
        }
        for (; put < 40; put++) {
            void *p = malloc(16);
            int rc = spool_put_for(c, &p, put < 2 * (round % 17) ? -1 : 0);

            if (rc < 0) {
                must_be(rc, -EAGAIN);
                free(p);
                break;
            }
        }
        must_be(spool_close(c), 0);
        for (size_t i = 0; i < 2; i++)
            (void)worker_join(&w[i]);
        must(!spool_unref(c));
        must_be(w[0].count + w[1].count + atomic_load(&freed), put);
    }
}
END_TEST

/* ---- References ----------------------------------------------------------------------------------------------- */

START_TEST(test_ref)
{
    spool_chan *c = chan_new(8, flavours[_i]);

    if (!is_meet(c))
        put_tag(c, 7);
    for (int i = 0; i < 1000; i++)
        must(spool_ref(c) == c);
    for (int i = 0; i < 1000; i++)
        must(!spool_unref(c));
    must(spool_alive(c));
    if (!is_meet(c))
        get_tag(c, 7);
    must(!spool_unref(c));
}
END_TEST

static int ref_and_use(struct worker *w)
{
    for (size_t i = 0; i < w->count; i++) {
        spool_chan *mine = spool_ref(w->chan);
        uint64_t v[3] = {i, i, i};

        if (spool_try_put(mine, v) == 0)
            must(spool_try_get(mine, v) != -EPIPE);
        spool_unref(mine);
    }
    spool_unref(w->chan);
    return 0;
}

/* Whoever drops the last reference, it goes once. */
START_TEST(test_ref_threads)
{
    for (size_t round = 0; round < scaled(100); round++) {
        spool_chan *c = chan_new(24, flavours[_i]);
        struct worker w[4];

        memset(w, 0, sizeof(w));
        for (int i = 0; i < 4; i++) {
            w[i].chan = spool_ref(c);
            w[i].count = 50;
        }
        for (int i = 0; i < 4; i++)
            worker_start(&w[i], ref_and_use);
        spool_unref(c);
        for (int i = 0; i < 4; i++)
            worker_join(&w[i]);
    }
}
END_TEST

/* ---- errno ---------------------------------------------------------------------------------------------------- */

#define ODD_ERRNO 4242

/* Makes the call with errno set to a value that nobody else sets; returns what the call did. */
#define keeps_errno(call, want)                                                                                        \
    do {                                                                                                               \
        errno = ODD_ERRNO;                                                                                             \
        long long keeps_rc_ = (long long)(call);                                                                       \
        int keeps_errno_ = errno;                                                                                      \
        must_be(keeps_errno_, ODD_ERRNO);                                                                              \
        must_be(keeps_rc_, want);                                                                                      \
    } while (0)

START_TEST(test_errno)
{
    spool_chan *c = NULL;
    uint64_t v = 0;

    keeps_errno(spool_chan_new(NULL, 8, 1), -EINVAL);
    keeps_errno(spool_chan_new(&c, SIZE_MAX, 3), -EOVERFLOW);
    if (sizeof(size_t) >= 8)
        keeps_errno(spool_chan_new(&c, (size_t)1 << 30, (size_t)1 << 28), -ENOMEM);
    keeps_errno(spool_chan_new(&c, 8, 1), 0);
    keeps_errno(spool_try_get(c, &v), -EAGAIN);
    keeps_errno(spool_get_for(c, &v, 2 * MS), -ETIMEDOUT);
    keeps_errno(spool_put(c, &v), 0);
    keeps_errno(spool_try_put(c, &v), -EAGAIN);
    keeps_errno(spool_put_for(c, &v, 2 * MS), -ETIMEDOUT);
    keeps_errno(spool_get(c, &v), 0);
    keeps_errno(spool_put(c, NULL), -EINVAL);
    keeps_errno(spool_len(c), 0);
    keeps_errno(spool_capacity(c), 1);
    keeps_errno(spool_elem_size(c), 8);
    keeps_errno(spool_alive(c), true);
    keeps_errno(spool_set_name(c, "name"), 0);
    keeps_errno(spool_set_name(c, "01234567890123456789012345678901"), -ENAMETOOLONG);
    keeps_errno(spool_name(c) != NULL, true);
    keeps_errno(spool_set_drop(c, drop_nothing), 0);
    keeps_errno(spool_ref(c) == c, true);
    keeps_errno(spool_unref(c) == NULL, true);
    keeps_errno(spool_fd(c) >= 0, true);
    keeps_errno(spool_put_fd(c) >= 0, true);
    keeps_errno(spool_try_get(c, &v), -EAGAIN);
    keeps_errno(spool_put(c, &v), 0);
    keeps_errno(spool_try_put(c, &v), -EAGAIN);
    keeps_errno(spool_get(c, &v), 0);
    keeps_errno(spool_try_get(c, &v), -EAGAIN);
    keeps_errno(spool_put(c, &v), 0);
    keeps_errno(spool_close(c), 0);
    keeps_errno(spool_close(c), -EALREADY);
    keeps_errno(spool_close(NULL), -EINVAL);
    keeps_errno(spool_put(c, &v), -EPIPE);
    keeps_errno(spool_get(c, &v), 0);
    keeps_errno(spool_get(c, &v), -EPIPE);
    keeps_errno(spool_unref(c) == NULL, true);
    keeps_errno(spool_unref(NULL) == NULL, true);
}
END_TEST

START_TEST(test_errno_unbounded)
{
    spool_chan *c = NULL;
    uint64_t v = 0;

    keeps_errno(spool_chan_new(&c, 8, SPOOL_UNBOUNDED), 0);
    keeps_errno(spool_try_get(c, &v), -EAGAIN);
    keeps_errno(spool_get_for(c, &v, 2 * MS), -ETIMEDOUT);
    keeps_errno(spool_fd(c) >= 0, true);
    keeps_errno(spool_put_fd(c) >= 0, true);
    for (int i = 0; i < 10000; i++)
        keeps_errno(spool_put(c, &v), 0);
    keeps_errno(spool_len(c), 10000);
    for (int i = 0; i < 10000; i++)
        keeps_errno(spool_get(c, &v), 0);
    keeps_errno(spool_try_get(c, &v), -EAGAIN);
    keeps_errno(spool_put(c, &v), 0);
    keeps_errno(spool_close(c), 0);
    keeps_errno(spool_close(c), -EALREADY);
    keeps_errno(spool_put(c, &v), -EPIPE);
    keeps_errno(spool_get(c, &v), 0);
    keeps_errno(spool_get(c, &v), -EPIPE);
    keeps_errno(spool_unref(c) == NULL, true);
}
END_TEST

START_TEST(test_errno_rendezvous)
{
    spool_chan *c = NULL;
    uint64_t v = 0;
    struct worker w = {.elem = &v};

    keeps_errno(spool_chan_new(&c, 8, 0), 0);
    w.chan = c;
    for (int with_fd = 0; with_fd < 2; with_fd++) {
        uint64_t mine = 1;

        keeps_errno(spool_try_get(c, &mine), -EAGAIN);
        keeps_errno(spool_try_put(c, &mine), -EAGAIN);
        keeps_errno(spool_get_for(c, &mine, 2 * MS), -ETIMEDOUT);
        keeps_errno(spool_put_for(c, &mine, 2 * MS), -ETIMEDOUT);
        worker_start(&w, worker_get);
        keeps_errno(spool_put(c, &mine), 0);
        must_be(worker_join(&w), 0);
        worker_start(&w, worker_put);
        worker_wait_asleep(&w);
        keeps_errno(spool_try_get(c, &mine), 0);
        must_be(worker_join(&w), 0);
        keeps_errno(spool_fd(c) >= 0, true);
        keeps_errno(spool_put_fd(c) >= 0, true);
    }
    keeps_errno(spool_len(c), 0);
    keeps_errno(spool_close(c), 0);
    keeps_errno(spool_close(c), -EALREADY);
    keeps_errno(spool_put(c, &v), -EPIPE);
    keeps_errno(spool_get(c, &v), -EPIPE);
    keeps_errno(spool_unref(c) == NULL, true);
}
END_TEST

/* Without a descriptor to be had, and with an eventfd that a stranger filled up. */
START_TEST(test_errno_trouble)
{
    struct rlimit was;
    struct rlimit none;
    spool_chan *c = chan_new(8, flavours[_i]);
    uint64_t v = 0xfffffffffffffffe;
    int fd;

    must_be(getrlimit(RLIMIT_NOFILE, &was), 0);
    none = was;
    none.rlim_cur = 0;
    must_be(setrlimit(RLIMIT_NOFILE, &none), 0);
    keeps_errno(spool_fd(c), -EMFILE);
    keeps_errno(spool_put_fd(c), -EMFILE);
    must_be(setrlimit(RLIMIT_NOFILE, &was), 0);
    keeps_errno((fd = spool_fd(c)) >= 0, true);
    must_be(write(fd, &v, sizeof(v)), sizeof(v));
    for (int i = 0; i < 2; i++)
        keeps_errno(spool_put_for(c, &v, 2 * MS), is_meet(c) ? -ETIMEDOUT : 0);
    keeps_errno(spool_close(c), 0);
    keeps_errno(spool_unref(c) == NULL, true);
}
END_TEST

static void ignore_signal(int signo)
{
    (void)signo;
}

static int get_keeping_errno(struct worker *w)
{
    errno = ODD_ERRNO;
    int rc = spool_get_for(w->chan, w->elem, w->timeout_ns);
    w->index = (size_t)errno;
    return rc;
}

static int put_keeping_errno(struct worker *w)
{
    errno = ODD_ERRNO;
    int rc = spool_put_for(w->chan, w->elem, w->timeout_ns);
    w->index = (size_t)errno;
    return rc;
}

static void interrupt(struct worker *w)
{
    worker_wait_asleep(w);
    pthread_kill(w->thread, SIGUSR1);
    worker_wait_asleep(w);
}

/* In calls that sleep, are interrupted, are woken, run out of time or see the channel closed. */
START_TEST(test_errno_blocked)
{
    uint64_t v = 1;
    uint64_t mine = 2;
    struct worker w;

    on_signal(SIGUSR1, ignore_signal);
    for (int how = 0; how < (flavours[_i] == SPOOL_UNBOUNDED ? 3 : 6); how++) {
        spool_chan *c = chan_new(8, flavours[_i] == 2 ? 1 : flavours[_i]);
        bool putting = how >= 3;

        memset(&w, 0, sizeof(w));
        w.chan = c;
        w.elem = &v;
        w.timeout_ns = how % 3 == 2 ? 50 * MS : -1;
        w.storm_ns = how % 3 == 2 ? MS : 0;
        if (putting && !is_meet(c))
            must_be(spool_put(c, &mine), 0);
        worker_start(&w, putting ? put_keeping_errno : get_keeping_errno);
        if (how % 3 != 2)
            interrupt(&w);
        if (how % 3 == 1)
            must_be(spool_close(c), 0);
        else if (how == 0)
            keeps_errno(spool_put(c, &mine), 0);
        else if (how == 3)
            keeps_errno(spool_get(c, &mine), 0);
        must_be(worker_join(&w), how % 3 == 0 ? 0 : how % 3 == 1 ? -EPIPE : -ETIMEDOUT);
        must_be(w.index, ODD_ERRNO);
        spool_unref(c);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chan");
    TCase *tc = case_new(s, "new");

    tcase_add_test(tc, test_new);
    tcase_add_test(tc, test_new_errors);
    tcase_add_test(tc, test_large);
    tcase_add_test(tc, test_pages_from_the_start);
    tcase_add_test(tc, test_new_too_large);

    tc = case_new(s, "values");
    tcase_add_loop_test(tc, test_values, 0, N_SIZES * N_CAPACITIES);
    tcase_add_loop_test(tc, test_wrap, 0, 20);
    tcase_add_loop_test(tc, test_size_0, 0, N_FLAVOURS);
    tcase_add_loop_test(tc, test_calls_that_need_not_wait, 0, N_FLAVOURS - 1); /* in a rendezvous all wait */
    tcase_add_test(tc, test_many_channels);

    tc = case_new(s, "errors");
    tcase_add_test(tc, test_null_handle);
    tcase_add_loop_test(tc, test_null_elem, 0, N_FLAVOURS);
    tcase_add_loop_test(tc, test_name, 0, N_FLAVOURS);
    tcase_add_test(tc, test_closed);
    tcase_add_test(tc, test_closed_at_each_place);
    tcase_add_loop_test(tc, test_closed_at_each_place_unbounded, 0, 2);

    tc = case_new(s, "drop");
    tcase_add_test(tc, test_drop);
    tcase_add_loop_test(tc, test_drop_drained, 0, N_FLAVOURS - 1); /* a rendezvous keeps nothing */
    tcase_add_loop_test(tc, test_drop_replaced, 0, N_FLAVOURS - 1);
    tcase_add_loop_test(tc, test_drop_owned_memory, 0, N_FLAVOURS);

    tc = case_new(s, "ref");
    tcase_add_loop_test(tc, test_ref, 0, N_FLAVOURS);
    tcase_add_loop_test(tc, test_ref_threads, 0, N_FLAVOURS);

    tc = case_new(s, "errno");
    tcase_add_test(tc, test_errno);
    tcase_add_test(tc, test_errno_unbounded);
    tcase_add_test(tc, test_errno_rendezvous);
    tcase_add_loop_test(tc, test_errno_trouble, 0, N_FLAVOURS);
    tcase_add_loop_test(tc, test_errno_blocked, 0, N_FLAVOURS);
    return run_suite(s, "test_chan");
}
