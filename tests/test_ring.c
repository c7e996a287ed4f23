/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* The queue by itself, with words about to wrap: what a channel would reach after years. */

#include "util.h"

#include <sys/mman.h>

#include "ring.h"

#define ROUNDS 12

static const size_t capacities[] = {1, 2, 3, 4, 5, 16, 17, 1000};
static const size_t sizes[] = {0, 1, 3, 4, 7, 8, 9, 24};
#define SIZES (int)(sizeof(sizes) / sizeof(*sizes))

static struct spool__ring *ring_new(size_t size, size_t capacity)
{
    size_t bytes = spool__ring_bytes(size, capacity);
    void *p = NULL;

    must(bytes >= sizeof(struct spool__ring));
    must_be(posix_memalign(&p, SPOOL_CACHE_LINE, bytes), 0);
    memset(p, 0, bytes);
    spool__ring_init(p, size, capacity);
    return p;
}

/* Turns from which the words pass 2^32, 2^63 and 2^64 soon. */
static uint64_t turn_before(const struct spool__ring *r, int which)
{
    uint64_t limit = which == 0 ? UINT64_C(1) << 32 : which == 1 ? UINT64_C(1) << 63 : 0;

    return (limit - 3 * r->unit) / r->unit;
}

static void check_round(struct spool__ring *r, size_t size, uint64_t *next)
{
    unsigned char elem[64];
    uint64_t pos;

    must_be(spool__ring_len(r), 0);
    must_be(spool__ring_can_get(r, &pos), -EAGAIN);
    must_be(spool__ring_get(r, elem), -EAGAIN);
    for (size_t i = 0; i < r->capacity; i++) {
        must_be(spool__ring_can_put(r, &pos), 0);
        elem_fill(elem, size, *next + i);
        must_be(spool__ring_put(r, elem), 0);
        must_be(spool__ring_len(r), i + 1);
    }
    must_be(spool__ring_can_put(r, &pos), -EAGAIN);
    must_be(spool__ring_put(r, elem), -EAGAIN);
    for (size_t i = 0; i < r->capacity; i++) {
        must_be(spool__ring_can_get(r, &pos), 0);
        must_be(spool__ring_get(r, elem), 0);
        must(elem_is(elem, size, *next + i));
        must_be(spool__ring_len(r), r->capacity - i - 1);
    }
    *next += r->capacity;
}

START_TEST(test_wrap)
{
    for (size_t c = 0; c < sizeof(capacities) / sizeof(*capacities); c++) {
        for (int z = 0; z < SIZES; z++) {
            struct spool__ring *r = ring_new(sizes[z], capacities[c]);
            uint64_t next = 1;

            spool__ring_set_turn(r, turn_before(r, _i));
            for (int i = 0; i < ROUNDS; i++)
                check_round(r, sizes[z], &next);
            free(r);
        }
    }
}
END_TEST

/* Closed at every fill, at every offset from the wrap: what is in it is still got, in order, and nothing more comes. */
START_TEST(test_close_everywhere)
{
    static const size_t small[] = {1, 2, 3};

    for (size_t c = 0; c < 3; c++) {
        for (size_t skip_first = 0; skip_first < 16; skip_first++) {
            for (size_t fill = 0; fill <= small[c]; fill++) {
                struct spool__ring *r = ring_new(sizes[_i], small[c]);
                unsigned char elem[64];
                uint64_t pos;

                spool__ring_set_turn(r, turn_before(r, 2));
                for (size_t i = 0; i < skip_first; i++) {
                    elem_fill(elem, sizes[_i], i);
                    must_be(spool__ring_put(r, elem), 0);
                    must_be(spool__ring_get(r, elem), 0);
                }
                for (size_t i = 0; i < fill; i++) {
                    elem_fill(elem, sizes[_i], i);
                    must_be(spool__ring_put(r, elem), 0);
                }
                must(!spool__ring_closed(r));
                must_be(spool__ring_close(r), 0);
                must_be(spool__ring_close(r), -EALREADY);
                must(spool__ring_closed(r));
                must_be(spool__ring_put(r, elem), -EPIPE);
                must_be(spool__ring_can_put(r, &pos), -EPIPE);
                must_be(spool__ring_len(r), fill);
                for (size_t i = 0; i < fill; i++) {
                    must_be(spool__ring_get(r, elem), 0);
                    must(elem_is(elem, sizes[_i], i));
                    must_be(spool__ring_put(r, elem), -EPIPE);
                }
                for (int i = 0; i < 3; i++) {
                    must_be(spool__ring_get(r, elem), -EPIPE);
                    must_be(spool__ring_can_get(r, &pos), -EPIPE);
                    must_be(spool__ring_put(r, elem), -EPIPE);
                }
                must(spool__ring_closed(r));
                free(r);
            }
        }
    }
}
END_TEST

/* Two looks that say -EAGAIN at one position: nothing happened between. After anything did, they differ. */
START_TEST(test_positions)
{
    struct spool__ring *r = ring_new(8, 2);
    uint64_t elem = 7;
    uint64_t a;
    uint64_t b;

    must_be(spool__ring_can_get(r, &a), -EAGAIN);
    must_be(spool__ring_can_get(r, &b), -EAGAIN);
    must(a == b);
    must_be(spool__ring_put(r, &elem), 0);
    must_be(spool__ring_get(r, &elem), 0);
    must_be(spool__ring_can_get(r, &b), -EAGAIN);
    must(a != b);
    must_be(spool__ring_put(r, &elem), 0);
    must_be(spool__ring_put(r, &elem), 0);
    must_be(spool__ring_can_put(r, &a), -EAGAIN);
    must_be(spool__ring_get(r, &elem), 0);
    must_be(spool__ring_put(r, &elem), 0);
    must_be(spool__ring_can_put(r, &b), -EAGAIN);
    must(a != b);
    free(r);
}
END_TEST

/* Tail and head left behind, as by threads that stopped after their swap: everybody else helps them on. */
START_TEST(test_helps_lagging_ends)
{
    static const size_t small[] = {1, 2, 3};

    for (size_t c = 0; c < 3; c++) {
        struct spool__ring *r = ring_new(8, small[c]);
        uint64_t elem;

        for (uint64_t i = 0; i < 40; i++) {
            uint64_t tail = r->tail;
            uint64_t head = r->head;

            must_be(spool__ring_put(r, &i), 0);
            r->tail = tail;
            must_be(spool__ring_len(r), 1);
            if (small[c] == 1) {
                r->tail = tail;
                must_be(spool__ring_put(r, &i), -EAGAIN);
            }
            r->tail = tail;
            must_be(spool__ring_get(r, &elem), 0);
            must(elem == i);
            r->tail = tail;
            r->head = head;
            must_be(spool__ring_len(r), 0);
            r->head = head;
            must_be(spool__ring_get(r, &elem), -EAGAIN);
        }
        elem = 5;
        uint64_t tail = r->tail;
        must_be(spool__ring_put(r, &elem), 0);
        r->tail = tail;
        must_be(spool__ring_close(r), 0);
        must_be(spool__ring_get(r, &elem), 0);
        must_be(spool__ring_get(r, &elem), -EPIPE);
        free(r);
    }
}
END_TEST

static bool has_cell(const struct spool__ring *r, size_t index)
{
    return ((const uint64_t *)(const void *)(r + 1))[index] & (r->unit - 1) & ~UINT64_C(3);
}

/* As if threads had stopped with all cells that were never taken in their hands. */
static void hold_fresh_cells(struct spool__ring *r)
{
    ((uint64_t *)(void *)((char *)r + r->pool_at))[1] = r->cells;
}

/* From 16 slots on each keeps its cell from its first turn on; those of a smaller ring have none while they are free. */
START_TEST(test_cells)
{
    static const size_t around[] = {1, 15, 16, 1000};

    for (size_t c = 0; c < sizeof(around) / sizeof(*around); c++) {
        size_t capacity = around[c];
        bool keeps = capacity >= 16;
        struct spool__ring *r = ring_new(24, capacity);
        unsigned char elem[64];
        uint64_t next = 1;

        must_be(r->keeps, keeps);
        for (size_t i = 0; i < 3 * capacity; i++) {
            must_be(has_cell(r, i % capacity), keeps && i >= capacity);
            elem_fill(elem, 24, i);
            must_be(spool__ring_put(r, elem), 0);
            must_be(spool__ring_cells_at_rest(r), r->cells);
            must(has_cell(r, i % capacity));
            must_be(spool__ring_get(r, elem), 0);
            must(elem_is(elem, 24, i));
            must_be(has_cell(r, i % capacity), keeps);
            must_be(spool__ring_cells_at_rest(r), r->cells);
        }
        for (int i = 0; i < ROUNDS; i++)
            check_round(r, 24, &next);
        must_be(spool__ring_cells_at_rest(r), r->cells);
        /* A slot that keeps one needs no other, whoever has those. */
        if (keeps) {
            hold_fresh_cells(r);
            must_be(spool__ring_cells_at_rest(r), capacity);
            for (int i = 0; i < ROUNDS; i++)
                check_round(r, 24, &next);
            must_be(spool__ring_cells_at_rest(r), capacity);
        }
        free(r);
        /* Nobody had one, and nobody will. */
        r = ring_new(24, capacity);
        hold_fresh_cells(r);
        must_be(spool__ring_cells_at_rest(r), 0);
        must_be(spool__ring_put(r, elem), -EAGAIN);
        must_be(spool__ring_len(r), 0);
        free(r);
    }
}
END_TEST

struct crowd {
    struct spool__ring *ring;
    size_t size;
    uint64_t each;
    atomic_uint_fast64_t got, sum;
    int putters;
};

/* ---- A put that is overtaken while it reads its element --------------------------------------------------------- */

#define PAGE 4096
static struct spool__ring *overtaken_ring;
static unsigned char *overtaken_page;
static volatile sig_atomic_t overtaken_by;

static void overtake(int sig, siginfo_t *info, void *context)
{
    unsigned char elem[24];

    (void)context;
    if ((uintptr_t)info->si_addr - (uintptr_t)overtaken_page >= PAGE || mprotect(overtaken_page, PAGE, PROT_READ) < 0)
        signal(sig, SIG_DFL);
    elem_fill(elem, sizeof elem, 2);
    overtaken_by = spool__ring_put(overtaken_ring, elem) == 0;
}

/* It comes to the next slot with a cell, and that has one too. */
START_TEST(test_overtaken)
{
    struct spool__ring *r = overtaken_ring = ring_new(24, 16);
    struct sigaction act = {.sa_sigaction = overtake, .sa_flags = SA_SIGINFO}, was;
    unsigned char elem[64];
    uint64_t next = 1;

    for (int i = 0; i < ROUNDS; i++)
        check_round(r, 24, &next);
    for (size_t i = 0; i < 16; i++)
        must(has_cell(r, i));
    overtaken_page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(overtaken_page != MAP_FAILED);
    elem_fill(overtaken_page, 24, 1);
    must_be(mprotect(overtaken_page, PAGE, PROT_NONE), 0);
    must_be(sigaction(SIGSEGV, &act, &was), 0);
    must_be(spool__ring_put(r, overtaken_page), 0);
    must_be(sigaction(SIGSEGV, &was, NULL), 0);
    must(overtaken_by);
    must_be(spool__ring_cells_at_rest(r), r->cells);
    for (unsigned i = 2; i > 0; i--) {
        must_be(spool__ring_get(r, elem), 0);
        must(elem_is(elem, 24, i));
    }
    must_be(spool__ring_get(r, elem), -EAGAIN);
    must_be(spool__ring_cells_at_rest(r), r->cells);
    must_be(munmap(overtaken_page, PAGE), 0);
    free(r);
}
END_TEST

static int crowd_put(struct worker *w)
{
    struct crowd *all = w->more;
    unsigned char elem[64];

    for (uint64_t i = 0; i < all->each; i++) {
        int r;

        elem_fill(elem, all->size, w->index * all->each + i);
        while ((r = spool__ring_put(all->ring, elem)) == -EAGAIN)
            sched_yield();
        must_be(r, 0);
    }
    return 0;
}

static int crowd_get(struct worker *w)
{
    struct crowd *all = w->more;
    unsigned char elem[64];
    uint64_t last[4] = {0};
    uint64_t total = all->each * (uint64_t)all->putters;

    while (atomic_load(&all->got) < total) {
        if (spool__ring_get(all->ring, elem) < 0) {
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

/* Large is a ring of 8 lines, of 4 slots where those have two words and of 8 where they have one. */
static size_t lines_of(const struct spool__ring *r)
{
    return r->capacity / (SPOOL_CACHE_LINE / spool__ring_slot_bytes(r->elem_size));
}

static const struct {
    size_t size, capacity;
} large[] = {{8, 31}, {8, 32}, {8, 63}, {8, 64}, {8, 1000}, {8, 4000}, {24, 63}, {24, 64}, {24, 1024}, {0, 100}};

/* A large ring is tight when full, and until there is room for 16 puts, or a quarter of it; also over the wrap. */
START_TEST(test_tight)
{
    for (size_t i = 0; i < sizeof(large) / sizeof(*large); i++) {
        struct spool__ring *r = ring_new(large[i].size, large[i].capacity);
        size_t run = r->capacity < 64 ? r->capacity / 4 : 16;
        unsigned char elem[64] = {0};

        spool__ring_set_turn(r, turn_before(r, 2));
        for (int round = 0; round < ROUNDS; round++) {
            must(!spool__ring_is_tight(r));
            while (spool__ring_put(r, elem) == 0)
                ;
            for (size_t room = 0; room < r->capacity; room++) {
                must_be(spool__ring_is_tight(r), lines_of(r) >= 8 && room <= run);
                must_be(spool__ring_get(r, elem), 0);
            }
            /* Not from the first slot the next time. */
            must_be(spool__ring_put(r, elem), 0);
            must_be(spool__ring_get(r, elem), 0);
        }
        free(r);
    }
}
END_TEST

/* Who had to wait fetches nothing ahead for some lines, on its own side only; a small ring never does. */
START_TEST(test_calm)
{
    for (size_t i = 0; i < sizeof(large) / sizeof(*large); i++) {
        struct spool__ring *r = ring_new(large[i].size, large[i].capacity);
        size_t slots_in_line = SPOOL_CACHE_LINE / spool__ring_slot_bytes(r->elem_size), lines = lines_of(r);
        size_t calm = lines < 8 ? 0 : lines < 256 ? lines / 2 : 128;
        unsigned char elem[64] = {0};

        must_be(r->ahead, lines < 8 ? 0 : lines < 16 ? 1 : 2);
        must_be(spool__ring_get(r, elem), -EAGAIN);
        must_be(r->head_calm, calm);
        must_be(r->tail_calm, 0);
        while (spool__ring_put(r, elem) == 0)
            ;
        must_be(r->tail_calm, calm);
        for (size_t n = 1; spool__ring_get(r, elem) == 0; n++)
            if (n < r->capacity)
                must_be(r->head_calm, n / slots_in_line < calm ? calm - n / slots_in_line : 0);
        must_be(r->head_calm, calm);
        free(r);
    }
}
END_TEST

/* Two putters and two getters over the wrap: each element once, in order for each putter; and each cell comes back. */
START_TEST(test_crowd_over_wrap)
{
    static const size_t crowded[] = {1, 2, 3, 16, 64};

    for (size_t c = 0; c < sizeof(crowded) / sizeof(*crowded); c++) {
        for (size_t size = 8; size <= 24; size += 16) {
            struct crowd all = {.ring = ring_new(size, crowded[c]), .size = size, .each = scaled(20000), .putters = 2};
            struct worker w[4];
            uint64_t total = 2 * all.each;

            spool__ring_set_turn(all.ring, turn_before(all.ring, 2) - all.each / crowded[c]);
            memset(w, 0, sizeof(w));
            for (size_t i = 0; i < 4; i++) {
                w[i].more = &all;
                w[i].index = i;
                worker_start(&w[i], i < 2 ? crowd_put : crowd_get);
            }
            for (size_t i = 0; i < 4; i++)
                must_be(worker_join(&w[i]), 0);
            must_be(atomic_load(&all.got), total);
            must_be(atomic_load(&all.sum), total * (total - 1) / 2);
            must_be(spool__ring_len(all.ring), 0);
            must_be(spool__ring_cells_at_rest(all.ring), all.ring->cells);
            free(all.ring);
        }
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ring");
    TCase *tc = case_new(s, "words");

    tcase_add_loop_test(tc, test_wrap, 0, 3);
    tcase_add_loop_test(tc, test_close_everywhere, 0, SIZES);
    tcase_add_test(tc, test_positions);
    tcase_add_test(tc, test_cells);
    tcase_add_test(tc, test_overtaken);
    tcase_add_test(tc, test_tight);
    tcase_add_test(tc, test_calm);
    tcase_add_test(tc, test_helps_lagging_ends);

    tc = case_new(s, "threads");
    tcase_add_test(tc, test_crowd_over_wrap);
    return run_suite(s, "test_ring");
}
