/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "ring.h"

#include <string.h>

#include "pool.h"
#include "sys.h"

#define FULL SPOOL__RING_FULL
#define CLOSED SPOOL__RING_CLOSED
#define STATE UINT64_C(3)
#define STEP SPOOL__RING_STEP

#define NO_CELL SPOOL__NO_CELL

/* lib/sys.h's stand-ins may make them small. */
#ifndef SPARE_MAX
#define SPARE_MIN 8
#define SPARE_MAX 64
#define SPARE_BYTES 16384
#endif

/*
 * From this capacity on slots keep their cells. In smaller rings a slot's line goes to the other side at once, and to
 * swap it twice is dearer than the stack: measured, see tools/bench/TUNING.md.
 */
#define KEEPS_FROM 16

/* For functions that get is_packed(r) as a constant: all that depends on it is then decided by the compiler. */
#define SPECIALIZED static inline __attribute__((always_inline))

/* A slot read, or to be written: word is turn | state, value is the element, or the cell that is in the slot. */
struct view {
    uint64_t word, value;
};

static inline bool in_cells(size_t elem_size)
{
#ifdef SPOOL_CAS16
    return elem_size > sizeof(uint64_t);
#else
    return elem_size > 0;
#endif
}

/* Slots of one word, with the value inside it: for cells, and for elements that have no bytes at all. */
static inline bool is_packed(const struct spool__ring *r)
{
#ifdef SPOOL_CAS16
    return in_cells(r->elem_size);
#else
    (void)r;
    return true;
#endif
}

/* packed: is_packed(r). With 16 bytes to swap only cells are packed, and the compiler knows it. */
SPECIALIZED bool has_cells(const struct spool__ring *r, bool packed)
{
#ifdef SPOOL_CAS16
    (void)r;
    return packed;
#else
    (void)packed;
    return in_cells(r->elem_size);
#endif
}

/* The cells that no slot has, behind the slots. */
static inline struct spool__pool *pool_of(struct spool__ring *r)
{
    return (struct spool__pool *)(void *)((char *)r + r->pool_at);
}

static inline void *cell_at(struct spool__ring *r, size_t cell)
{
    return (char *)r + r->cells_at + (cell - 1) * r->cell_stride;
}

/* These get r->unit as a value: it never changes, which the compiler cannot know behind an atomic operation. */
static inline uint64_t turn_of(uint64_t unit, uint64_t word)
{
    return word & ~(unit - 1);
}

static inline size_t index_of(uint64_t unit, uint64_t pos)
{
    return (size_t)((pos & (unit - 1)) / STEP);
}

static inline uint64_t next_pos(const struct spool__ring *r, uint64_t unit, uint64_t pos)
{
    return index_of(unit, pos) + 1 < r->capacity ? pos + STEP : turn_of(unit, pos) + unit;
}

SPECIALIZED uint64_t *slot_at(struct spool__ring *r, bool packed, size_t index)
{
    return (uint64_t *)(void *)(r + 1) + (packed ? 1 : 2) * index;
}

/* The slot of a position, whose two lowest bits are zero: the compiler does not know that. */
SPECIALIZED uint64_t *slot_of(struct spool__ring *r, bool packed, uint64_t unit, uint64_t pos)
{
    return (uint64_t *)(void *)((char *)(r + 1) + (pos & (unit - 1)) * ((packed ? 8 : 16) / STEP));
}

SPECIALIZED struct view slot_load(uint64_t *slot, bool packed, uint64_t unit)
{
    if (packed) {
        /* Acquire: what the thread that wrote this word did before is seen, the cell's bytes included. */
        uint64_t w = spool__load(slot, ACQUIRE);
        return (struct view){turn_of(unit, w) | (w & STATE), index_of(unit, w)};
    }
    /* The halves may be from two moments; then the swap that uses them fails. Acquire: word before value. */
    struct view v;
    v.word = spool__load(&slot[0], ACQUIRE);
    v.value = spool__load(&slot[1], RELAXED);
    return v;
}

SPECIALIZED bool slot_swap(uint64_t *slot, bool packed, struct view old, struct view new)
{
#ifdef SPOOL_CAS16
    if (!packed)
        return spool__cas16(slot, old.word, old.value, new.word, new.value);
#else
    (void)packed;
#endif
    uint64_t expected = old.word | old.value * STEP;
    /*
     * Release: the cell was filled, or what lay in it copied out, before; pairs with the acquire here and in slot_load.
     * Acquire: after a get takes the word, it reads what that put wrote.
     */
    return spool__cas(slot, &expected, new.word | new.value * STEP, ACQ_REL);
}

/*
 * Moves tail or head from pos to next. Stored, not swapped: two instructions, where a swap of a line that is at hand
 * takes as long as the operation itself. A thread that stops between them may later set it back, by as much as
 * the others have done meanwhile: whoever comes then walks that far, once. Release: who sees the new position sees the
 * changes of all slots below it; pairs with the acquire in look.
 */
static inline void hint(uint64_t *end, uint64_t pos, uint64_t next)
{
    if (spool__load(end, RELAXED) == pos)
        spool__store(end, next, RELEASE);
}

/* ---- Fetching ahead: hints all of it, and not more than reads and writes of one's own line ---------------------- */

/* Lines ahead at most, and lines to go without after the other side was met, for which half a turn is enough. */
#define AHEAD_MAX 2
#define CALM_MAX 128
/* Puts at a time by who has to wait for room. */
#define RUN 16

SPECIALIZED size_t slots_in_line(bool packed)
{
    return packed ? SPOOL_CACHE_LINE / 8 : SPOOL_CACHE_LINE / 16;
}

/* Not inlined: three of four operations, or seven of eight, do not come here. Returns 0 for their tail call. */
static __attribute__((noinline)) int fetch_line(struct spool__ring *r, uint32_t *calm, uint64_t pos)
{
    if (r->ahead == 0)
        return 0;
    uint32_t left = spool__load(calm, RELAXED);
    if (left > 0) {
        spool__store(calm, left - 1, RELAXED);
        return 0;
    }
    bool packed = is_packed(r);
    size_t index = index_of(r->unit, pos) + r->ahead * slots_in_line(packed);
    spool__prefetch_write(slot_at(r, packed, index < r->capacity ? index : index - r->capacity));
    return 0;
}

/* The slot at pos was put, or got: on to the next one, perhaps in another line. 0. */
SPECIALIZED int go_on(struct spool__ring *r, bool packed, uint64_t *end, uint32_t *calm, uint64_t pos)
{
    uint64_t next = next_pos(r, r->unit, pos);
    hint(end, pos, next);
    return next % (slots_in_line(packed) * STEP) == 0 ? fetch_line(r, calm, next) : 0;
}

/* One found the ring full, or empty. */
static inline void calm_down(struct spool__ring *r, uint32_t *calm)
{
    if (r->ahead && spool__load(calm, RELAXED) != r->calm)
        spool__store(calm, r->calm, RELAXED);
}

/* ---- Where the queue begins and ends ---------------------------------------------------------------------------- */

/* The position of the next put or get, its slot, and what was read there. */
struct place {
    uint64_t pos;
    uint64_t *slot;
    struct view view;
};

/*
 * What is at tail or head, where that is not behind. Acquire: of who stored it, who knew all slots below; pairs with
 * the release in hint. to_swap: in a small ring the other side has the slot's line, time and again; asked for to be
 * written, it comes once instead of twice.
 */
SPECIALIZED struct place look(struct spool__ring *r, bool packed, uint64_t unit, const uint64_t *end, bool to_swap)
{
    struct place p = {.pos = spool__load(end, ACQUIRE)};
    p.slot = slot_of(r, packed, unit, p.pos);
    if (to_swap && r->ahead == 0)
        spool__prefetch_write(p.slot);
    p.view = slot_load(p.slot, packed, unit);
    return p;
}

/*
 * From there to where it is. A slot shows the turn that is next in it, for a put one more if it is full. All below tail
 * has been put, and all below head got, so a slot whose next turn is this one is exact at that read: for a put, if it
 * is full from the turn before, so is the ring; for a get, if it is free, the ring is empty. That needs the acquire of
 * the first place, in look, and of each slot on the way, in slot_load, from who swapped it there: what is known of it
 * comes before the read of the next one.
 */
SPECIALIZED struct place walk(struct spool__ring *r, bool packed, uint64_t unit, uint64_t *end, uint64_t used,
                              struct place p)
{
    uint64_t from = p.pos;
    for (;;) {
        uint64_t next = turn_of(unit, p.view.word) + (p.view.word & used ? unit : 0), turn = turn_of(unit, p.pos);
        if (next == turn)
            break;
        /* Behind the last turn that the slot was used for. */
        p.pos = next_pos(r, unit, p.pos - turn + next - unit);
        p.slot = slot_of(r, packed, unit, p.pos);
        p.view = slot_load(p.slot, packed, unit);
    }
    if (p.pos != from)
        hint(end, from, p.pos);
    return p;
}

SPECIALIZED struct place settle(struct spool__ring *r, bool packed, uint64_t unit, uint64_t *end, uint64_t used)
{
    return walk(r, packed, unit, end, used, look(r, packed, unit, end, false));
}

SPECIALIZED struct place settle_tail(struct spool__ring *r, bool packed, uint64_t unit)
{
    return settle(r, packed, unit, &r->tail, FULL);
}

SPECIALIZED struct place settle_head(struct spool__ring *r, bool packed, uint64_t unit)
{
    return settle(r, packed, unit, &r->head, 0);
}

/* After a swap that came too late, lost times before. In a small ring everybody wants the one line for each operation. */
static inline void back_off(const struct spool__ring *r, unsigned lost)
{
    spool__back_off(r->ahead == 0 ? lost + 2 : lost);
}

/* ---- Cells ------------------------------------------------------------------------------------------------------ */

/* The cell that the slot behind pos keeps was used by the other side last. */
static inline void fetch_next_cell(struct spool__ring *r, uint64_t pos)
{
    size_t index = index_of(r->unit, pos) + 1;
    if (index == r->capacity)
        return;
    struct view v = slot_load(slot_at(r, true, index), true, r->unit);
    if (v.value != NO_CELL)
        spool__prefetch_write(cell_at(r, v.value));
}

/* For a put at p: out of its slot, and then p is as the slot is, or from the pool. False: p has changed. */
static bool cell_for_put(struct spool__ring *r, struct place *p, size_t *ret_cell, unsigned lost)
{
    uint64_t unit = r->unit;
    if (p->view.value == NO_CELL) {
        *ret_cell = spool__pool_take(pool_of(r));
        struct view now = *ret_cell == NO_CELL ? slot_load(p->slot, true, unit) : p->view;
        return now.word == p->view.word && now.value == p->view.value;
    }
    struct view without = {p->view.word, NO_CELL};
    if (!slot_swap(p->slot, true, p->view, without)) {
        back_off(r, lost);
        return false;
    }
    *ret_cell = (size_t)p->view.value;
    p->view = without;
    fetch_next_cell(r, p->pos);
    return true;
}

/* After a get at p of what lay in its cell: back into its slot, if no put came there, or to the pool. */
static void cell_keep(struct spool__ring *r, struct place p)
{
    struct view without = {turn_of(r->unit, p.pos) + r->unit, NO_CELL};
    struct view with = {without.word, p.view.value};
    if (!r->keeps || !slot_swap(p.slot, true, without, with))
        spool__pool_give(pool_of(r), (size_t)p.view.value);
}

/* ---- The operations --------------------------------------------------------------------------------------------- */

/* p: the place at tail, as it was found. */
SPECIALIZED int put(struct spool__ring *r, bool packed, const void *elem, struct place p)
{
    bool cells = has_cells(r, packed);
    uint64_t unit = r->unit;
    size_t cell = NO_CELL;
    uint64_t value = cells ? 0 : spool__word_from(elem, r->elem_size);
    unsigned lost = packed ? 0 : 1; /* others come from the short way */
    int ret;
    for (;; p = settle_tail(r, packed, unit)) {
        uint64_t turn = turn_of(unit, p.pos);
        if (p.view.word != turn) {
            calm_down(r, &r->tail_calm);
            ret = p.view.word & CLOSED ? -EPIPE : -EAGAIN;
            break;
        }
        if (cells && cell == NO_CELL) {
            if (!cell_for_put(r, &p, &cell, lost)) {
                lost++;
                continue;
            }
            if (cell == NO_CELL)
                return -EAGAIN;
            memcpy(cell_at(r, cell), elem, r->elem_size);
            value = cell;
        }
        if (slot_swap(p.slot, packed, p.view, (struct view){turn | FULL, value})) {
            /* It came with a cell, and the slot had one. */
            if (cells && p.view.value != NO_CELL)
                spool__pool_give(pool_of(r), (size_t)p.view.value);
            return go_on(r, packed, &r->tail, &r->tail_calm, p.pos);
        }
        back_off(r, lost++);
    }
    if (cell != NO_CELL)
        spool__pool_give(pool_of(r), cell);
    return ret;
}

/* In functions of their own, so that the usual case saves no registers for them. */
static __attribute__((noinline)) int put_packed(struct spool__ring *r, const void *elem)
{
    return put(r, true, elem, settle_tail(r, true, r->unit));
}

static __attribute__((noinline)) int put_from(struct spool__ring *r, const void *elem, uint64_t pos, struct view v)
{
    struct place p = {pos, slot_of(r, false, r->unit, pos), v};
    return put(r, false, elem, walk(r, false, r->unit, &r->tail, FULL, p));
}

static __attribute__((noinline)) int put_again(struct spool__ring *r, const void *elem)
{
    back_off(r, 0);
    return put(r, false, elem, settle_tail(r, false, r->unit));
}

/* The usual case: tail is not behind, and its slot free. is_word: of elements of 8 bytes. */
SPECIALIZED int put_at_once(struct spool__ring *r, bool is_word, const void *elem)
{
    struct place p = look(r, false, r->unit, &r->tail, true);
    uint64_t turn = turn_of(r->unit, p.pos);
    if (p.view.word != turn)
        return put_from(r, elem, p.pos, p.view);
    struct view filled = {turn | FULL, spool__word_from(elem, is_word ? sizeof(uint64_t) : r->elem_size)};
    if (!slot_swap(p.slot, false, p.view, filled))
        return put_again(r, elem);
    return go_on(r, false, &r->tail, &r->tail_calm, p.pos);
}

static __attribute__((noinline)) int put_other(struct spool__ring *r, const void *elem)
{
    return is_packed(r) ? put_packed(r, elem) : put_at_once(r, false, elem);
}

int spool__ring_put(struct spool__ring *r, const void *elem)
{
    return is_packed(r) || r->elem_size != sizeof(uint64_t) ? put_other(r, elem) : put_at_once(r, true, elem);
}

/* Takes the element at head out of its slot: *p, the place at head as it was found, and then as it was before that. */
SPECIALIZED int take(struct spool__ring *r, bool packed, struct place *p)
{
    uint64_t unit = r->unit;
    unsigned lost = packed ? 0 : 1; /* others come from the short way */
    for (;; *p = settle_head(r, packed, unit)) {
        if (!(p->view.word & FULL)) {
            calm_down(r, &r->head_calm);
            return p->view.word & CLOSED ? -EPIPE : -EAGAIN;
        }
        struct view freed = {turn_of(unit, p->pos) + unit + (p->view.word & CLOSED), 0};
        if (slot_swap(p->slot, packed, p->view, freed))
            return go_on(r, packed, &r->head, &r->head_calm, p->pos);
        back_off(r, lost++);
    }
}

SPECIALIZED int get(struct spool__ring *r, bool packed, void *ret_elem, struct place p)
{
    int ret = take(r, packed, &p);
    if (ret < 0)
        return ret;
    if (!has_cells(r, packed)) {
        spool__word_to(ret_elem, p.view.value, r->elem_size);
        return 0;
    }
    memcpy(ret_elem, cell_at(r, (size_t)p.view.value), r->elem_size);
    cell_keep(r, p);
    return 0;
}

static __attribute__((noinline)) int get_packed(struct spool__ring *r, void *ret_elem)
{
    return get(r, true, ret_elem, settle_head(r, true, r->unit));
}

static __attribute__((noinline)) int get_from(struct spool__ring *r, void *ret_elem, uint64_t pos, struct view v)
{
    struct place p = {pos, slot_of(r, false, r->unit, pos), v};
    return get(r, false, ret_elem, walk(r, false, r->unit, &r->head, 0, p));
}

static __attribute__((noinline)) int get_again(struct spool__ring *r, void *ret_elem)
{
    back_off(r, 0);
    return get(r, false, ret_elem, settle_head(r, false, r->unit));
}

/* The usual case: head is not behind, and its slot full. */
SPECIALIZED int get_at_once(struct spool__ring *r, bool is_word, void *ret_elem)
{
    struct place p = look(r, false, r->unit, &r->head, true);
    uint64_t turn = turn_of(r->unit, p.pos);
    if (p.view.word != (turn | FULL))
        return get_from(r, ret_elem, p.pos, p.view);
    if (!slot_swap(p.slot, false, p.view, (struct view){turn + r->unit, 0}))
        return get_again(r, ret_elem);
    spool__word_to(ret_elem, p.view.value, is_word ? sizeof(uint64_t) : r->elem_size);
    return go_on(r, false, &r->head, &r->head_calm, p.pos);
}

static __attribute__((noinline)) int get_other(struct spool__ring *r, void *ret_elem)
{
    return is_packed(r) ? get_packed(r, ret_elem) : get_at_once(r, false, ret_elem);
}

int spool__ring_get(struct spool__ring *r, void *ret_elem)
{
    return is_packed(r) || r->elem_size != sizeof(uint64_t) ? get_other(r, ret_elem) : get_at_once(r, true, ret_elem);
}

int spool__ring_close(struct spool__ring *r)
{
    for (;;) {
        struct place p = settle_tail(r, is_packed(r), r->unit);
        if (p.view.word & CLOSED)
            return -EALREADY;
        if (slot_swap(p.slot, is_packed(r), p.view, (struct view){p.view.word | CLOSED, p.view.value}))
            return 0;
    }
}

bool spool__ring_closed(struct spool__ring *r)
{
    return settle_tail(r, is_packed(r), r->unit).view.word & CLOSED;
}

int spool__ring_can_put(struct spool__ring *r, uint64_t *ret_pos)
{
    struct place p = settle_tail(r, is_packed(r), r->unit);
    *ret_pos = p.pos;
    if (p.view.word & CLOSED)
        return -EPIPE;
    return p.view.word & FULL ? -EAGAIN : 0;
}

int spool__ring_can_get(struct spool__ring *r, uint64_t *ret_pos)
{
    struct place p = settle_head(r, is_packed(r), r->unit);
    *ret_pos = p.pos;
    if (p.view.word & FULL)
        return 0;
    return p.view.word & CLOSED ? -EPIPE : -EAGAIN;
}

bool spool__ring_is_tight(struct spool__ring *r)
{
    if (r->ahead == 0)
        return false;
    size_t run = r->capacity / 4 < RUN ? r->capacity / 4 : RUN;
    uint64_t pos = spool__load(&r->tail, RELAXED), turn = turn_of(r->unit, pos);
    size_t index = index_of(r->unit, pos) + run;
    if (index >= r->capacity) {
        index -= r->capacity;
        turn += r->unit;
    }
    /* Below, as long as the slot has the element of the turn before. */
    return (int64_t)(spool__load(slot_at(r, is_packed(r), index), RELAXED) - turn) < 0;
}

size_t spool__ring_len(struct spool__ring *r)
{
    uint64_t h = 0, t = 0;
    for (int tries = 0; tries < 16; tries++) {
        struct place p = settle_head(r, is_packed(r), r->unit);
        h = p.pos;
        t = settle_tail(r, is_packed(r), r->unit).pos;
        /* If nothing has happened to the slot at head, head was there when tail was found. */
        if (slot_load(p.slot, is_packed(r), r->unit).word == p.view.word)
            break;
    }
    uint64_t turns = (turn_of(r->unit, t) - turn_of(r->unit, h)) / r->unit;
    uint64_t len = turns * r->capacity + index_of(r->unit, t) - index_of(r->unit, h);
    return len <= r->capacity ? (size_t)len : r->capacity;
}

void spool__ring_drain(struct spool__ring *r, void (*drop)(void *elem))
{
    bool packed = is_packed(r);
    struct place p = settle_head(r, packed, r->unit);
    for (; take(r, packed, &p) == 0; p = settle_head(r, packed, r->unit)) {
        if (!has_cells(r, packed)) {
            if (drop) {
                _Alignas(16) unsigned char elem[sizeof p.view.value];
                spool__word_to(elem, p.view.value, r->elem_size);
                drop(elem);
            }
            continue;
        }
        if (drop)
            drop(cell_at(r, (size_t)p.view.value));
        spool__pool_give(pool_of(r), (size_t)p.view.value);
    }
}

/* Fills in everything that the sizes decide; false if it cannot be counted. */
static bool lay_out(struct spool__ring *r, size_t elem_size, size_t capacity, size_t *ret_bytes)
{
    size_t bytes = sizeof *r, part, indices = capacity;
    *r = (struct spool__ring){.capacity = capacity, .elem_size = elem_size};
    if (__builtin_mul_overflow(capacity, is_packed(r) ? 8 : 16, &part) || __builtin_add_overflow(bytes, part, &bytes))
        return false;
    if (in_cells(elem_size)) {
        size_t spare = SPARE_BYTES / elem_size;
        spare = spare < SPARE_MIN ? SPARE_MIN : spare > SPARE_MAX ? SPARE_MAX : spare;
        if (__builtin_add_overflow(capacity, spare, &r->cells) || r->cells > SIZE_MAX / 32 ||
            __builtin_add_overflow(elem_size, 15, &r->cell_stride))
            return false;
        /* One number more than there are cells, for none. Their links can be counted. */
        indices = r->cells + 1;
        r->pool_at = (bytes + SPOOL_CACHE_LINE - 1) & ~(size_t)(SPOOL_CACHE_LINE - 1);
        bytes = r->pool_at + spool__pool_bytes(r->cells);
        bytes = (bytes + SPOOL_CACHE_LINE - 1) & ~(size_t)(SPOOL_CACHE_LINE - 1);
        r->cells_at = bytes;
        r->cell_stride &= ~(size_t)15;
        r->keeps = capacity >= KEEPS_FROM;
        if (__builtin_mul_overflow(r->cells, r->cell_stride, &part) || __builtin_add_overflow(bytes, part, &bytes))
            return false;
    }
    r->unit = STEP;
    while (r->unit / STEP < indices) {
        if (r->unit > UINT64_MAX / 4)
            return false;
        r->unit *= 2;
    }
    size_t lines = capacity / slots_in_line(is_packed(r));
    r->ahead = (uint32_t)(lines / 8 < AHEAD_MAX ? lines / 8 : AHEAD_MAX);
    r->calm = (uint32_t)(lines / 2 < CALM_MAX ? lines / 2 : CALM_MAX);
    *ret_bytes = bytes;
    return true;
}

size_t spool__ring_bytes(size_t elem_size, size_t capacity)
{
    struct spool__ring r;
    size_t bytes;
    return lay_out(&r, elem_size, capacity, &bytes) ? bytes : 0;
}

size_t spool__ring_slot_bytes(size_t elem_size)
{
    return is_packed(&(struct spool__ring){.elem_size = elem_size}) ? 8 : 16;
}

void spool__ring_init(struct spool__ring *r, size_t elem_size, size_t capacity)
{
    size_t bytes;
    (void)lay_out(r, elem_size, capacity, &bytes);
    if (in_cells(elem_size))
        spool__pool_init(pool_of(r), r->cells, r->unit / STEP - 1);
}

void spool__ring_set_turn(struct spool__ring *r, uint64_t turn)
{
    for (size_t i = 0; i < r->capacity; i++)
        *slot_at(r, is_packed(r), i) = turn * r->unit;
    r->tail = r->head = turn * r->unit;
}

size_t spool__ring_cells_at_rest(struct spool__ring *r)
{
    if (!in_cells(r->elem_size))
        return 0;
    size_t n = spool__pool_count(pool_of(r));
    for (size_t i = 0; i < r->capacity; i++)
        n += slot_load(slot_at(r, true, i), true, r->unit).value != NO_CELL;
    return n;
}
