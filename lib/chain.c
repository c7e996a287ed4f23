/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "chain.h"

#include <string.h>

#include "segment.h"
#include "sys.h"

#define FREE SPOOL__CHAIN_FREE
#define CLOSED SPOOL__CHAIN_CLOSED
#define TAKEN SPOOL__CHAIN_TAKEN
#define DEAD SPOOL__CHAIN_DEAD
#define FULL SPOOL__CHAIN_FULL

struct op {
    struct spool__hazard *hazard;
    bool retired; /* this operation has retired a segment */
};

/* The end of the queue: a slot, or if index is that of none, the link to a segment that is not there. */
struct place {
    struct spool__segment *seg;
    uint64_t index;
    uint64_t word;
};

static inline void *cell_at(const struct spool__chain *c, struct spool__segment *s, uint64_t cell)
{
    return s->cells_at + cell * c->cell_stride;
}

/* The word of an element in s, and back: below FULL it is none, as the element cannot stand there. */
static inline uint64_t word_of(const struct spool__chain *c, const struct spool__segment *s, const void *elem)
{
    return spool__word_from(elem, c->elem_size) ^ s->key;
}

static inline void elem_of(const struct spool__chain *c, const struct spool__segment *s, uint64_t word, void *ret_elem)
{
    spool__word_to(ret_elem, word ^ s->key, c->elem_size);
}

/* ---- Where the queue begins and ends --------------------------------------------------------------------------- */

static inline struct op begin(void)
{
    return (struct op){.hazard = spool__hazard_enter()};
}

static inline void finish(struct spool__chain *c, const struct op *op)
{
    spool__hazard_leave(op->hazard);
    /* Behind the operation, for its own hazard would count in it. */
    if (op->retired || !op->hazard)
        spool__segment_reap(c, op->hazard);
}

static inline struct spool__segment *protect(const struct op *op, enum spool__hazard_side side,
                                             struct spool__segment **root)
{
    struct spool__segment *s = spool__load(root, ACQUIRE);
    while (!spool__hazard_has(op->hazard, side, s)) {
        spool__hazard_set(op->hazard, side, s);
        s = spool__load(root, ACQUIRE);
    }
    return s;
}

/* Stored blindly: see chain.h. Release: who sees the hint sees that the slots before it are used. */
static inline void hint(uint64_t *end, uint64_t index)
{
    if (spool__load(end, RELAXED) < index)
        spool__store(end, index, RELEASE);
}

/*
 * Moves tail or head on from s, unless somebody did. The hazard on s keeps the address from coming back as another
 * segment, so neither ever goes back. Release: who sees next from here sees what its maker wrote.
 */
static inline bool advance(struct spool__segment **end, struct spool__segment *s, struct spool__segment *next)
{
    return spool__cas(end, &s, next, ACQ_REL);
}

/* Where the next put or close lands: FREE, or CLOSED if it is closed. */
static inline struct place find_tail(struct spool__chain *c, struct op *op)
{
    for (;;) {
        struct spool__segment *s = protect(op, SPOOL__HAZARD_PUT, &c->tail);
        uint64_t from = spool__load(&s->tail, ACQUIRE), i;
        for (i = from; i < s->slots; i++) {
            uint64_t w = spool__load(spool__slot_at(s, i), ACQUIRE);
            if (w <= CLOSED) {
                if (i != from)
                    hint(&s->tail, i);
                return (struct place){s, i, w};
            }
        }
        if (i != from)
            hint(&s->tail, i);
        struct spool__segment *next = spool__load(&s->next, ACQUIRE);
        if (!next || next == spool__first_segment(c))
            return (struct place){s, i, next ? CLOSED : FREE};
        (void)advance(&c->tail, s, next);
    }
}

/*
 * Where the next get finds its element: FULL or above, FREE if there is none, CLOSED if none will come. That a slot is
 * free with all before it used proves the queue empty at that moment; so does a `next` of NULL. Acquire, of each slot:
 * who says that it is ready, or closed, has seen what was done before; pairs with the swaps in slot_fill and the close.
 */
static inline struct place find_head(struct spool__chain *c, struct op *op)
{
    for (;;) {
        struct spool__segment *s = protect(op, SPOOL__HAZARD_GET, &c->head);
        uint64_t from = spool__load(&s->head, ACQUIRE), i;
        for (i = from; i < s->slots; i++) {
            uint64_t w = spool__load(spool__slot_at(s, i), ACQUIRE);
            if (w != TAKEN && w != DEAD) {
                if (i != from)
                    hint(&s->head, i);
                return (struct place){s, i, w};
            }
        }
        if (i != from)
            hint(&s->head, i);
        struct spool__segment *next = spool__load(&s->next, ACQUIRE);
        if (!next || next == spool__first_segment(c))
            return (struct place){s, i, next ? CLOSED : FREE};
        /* Tail first, so that nobody comes by a segment that head has left. It is never further behind than head. */
        if (spool__load(&c->tail, ACQUIRE) == s)
            (void)advance(&c->tail, s, next);
        if (advance(&c->head, s, next) && spool__segment_retire(c, s))
            op->retired = true;
    }
}

/* Dead slots of s before index. Whoever makes one has asked for a cell in vain before, or noted that as well. */
static uint64_t count_dead(struct spool__segment *s, uint64_t index)
{
    uint64_t n = 0;
    if (spool__load(&s->tickets, RELAXED) <= s->cells)
        return 0;
    for (uint64_t i = 0; i < index; i++)
        n += spool__load(spool__slot_at(s, i), ACQUIRE) == DEAD;
    return n;
}

static inline uint64_t position(struct place p)
{
    return p.seg->first + p.index;
}

/* Elements put before the place. */
static uint64_t elements_before(struct place p)
{
    return position(p) - p.seg->dead_before - count_dead(p.seg, p.index);
}

/* ---- The queue ------------------------------------------------------------------------------------------------- */

/*
 * From FREE to word. Release: what its putter did before, the filling of the cell included; pairs with the acquire in
 * slot_take, and in find_head for who only looks.
 */
static inline bool slot_fill(struct place p, uint64_t word)
{
    uint64_t expected = FREE;
    return spool__cas(spool__slot_at(p.seg, p.index), &expected, word, ACQ_REL);
}

/* Links a further segment behind s, which is full. 0 if there is one now or the chain is closed, else -ENOMEM. */
static int extend(struct spool__chain *c, struct spool__segment *s)
{
    struct spool__segment *fresh = spool__segment_new(c, s), *next = NULL;
    if (!fresh)
        return spool__load(&s->next, ACQUIRE) ? 0 : -ENOMEM;
    fresh->first = s->first + s->slots;
    fresh->dead_before = s->dead_before + count_dead(s, s->slots);
    if (spool__cas(&s->next, &next, fresh, ACQ_REL))
        (void)advance(&c->tail, s, fresh);
    else
        spool__segment_free(c, fresh);
    return 0;
}

/*
 * The usual case of a put: the hazard is on the segment, the hint is not behind, and elements are words. Nothing need
 * be known of the slots before, if this one is free. Acquire: the hazard may be from a chain that is gone, whose
 * segment lay there; pairs with the release in advance. False: anything else, and nothing was done.
 */
static inline bool put_at_once(struct spool__chain *c, const struct op *op, const void *elem)
{
    struct spool__segment *s = spool__load(&c->tail, ACQUIRE);
    if (spool__in_cells(c->elem_size) || !op->hazard || !spool__hazard_has(op->hazard, SPOOL__HAZARD_PUT, s))
        return false;
    struct place p = {s, spool__load(&s->tail, RELAXED), FREE};
    uint64_t word = word_of(c, s, elem);
    if (p.index >= s->slots || word < FULL || spool__load(spool__slot_at(s, p.index), RELAXED) != FREE)
        return false;
    if (!slot_fill(p, word)) {
        spool__back_off(0);
        return false;
    }
    hint(&s->tail, p.index + 1);
    return true;
}

/* The word for an element in s, with a cell if it needs one: DEAD if cells have run out, or it cannot stand there. */
static uint64_t settle_in(struct spool__chain *c, struct spool__segment *s, const void *elem)
{
    uint64_t word = spool__in_cells(c->elem_size) ? 0 : word_of(c, s, elem);
    if (word >= FULL)
        return word;
    uint64_t cell = spool__add(&s->tickets, 1, RELAXED);
    if (cell >= s->cells)
        return DEAD;
    memcpy(cell_at(c, s, cell), elem, c->elem_size);
    return FULL + cell;
}

static __attribute__((noinline)) int put_slowly(struct spool__chain *c, struct op op, const void *elem)
{
    uint64_t word = FREE, word_in = UINT64_MAX; /* and the first of the segment that it is for */
    int ret = 0;
    unsigned lost = spool__in_cells(c->elem_size) ? 0 : 1; /* others come from the short way */
    for (;;) {
        struct place p = find_tail(c, &op);
        if (p.word != FREE) {
            ret = -EPIPE;
            break;
        }
        if (p.index == p.seg->slots) {
            ret = extend(c, p.seg);
            if (ret < 0)
                break;
            continue;
        }
        if (word_in != p.seg->first) {
            word_in = p.seg->first;
            word = settle_in(c, p.seg, elem);
        }
        if (slot_fill(p, word)) {
            hint(&p.seg->tail, p.index + 1);
            if (word != DEAD)
                break;
        } else {
            spool__back_off(lost++);
        }
    }
    finish(c, &op);
    return ret;
}

int spool__chain_put(struct spool__chain *c, const void *elem)
{
    struct op op = begin();
    if (!put_at_once(c, &op, elem))
        return put_slowly(c, op, elem);
    spool__hazard_leave(op.hazard);
    return 0;
}

/* To TAKEN. Acquire: what its putter did before; pairs with the release in slot_fill. */
static inline bool slot_take(uint64_t *slot, uint64_t word)
{
    return spool__cas(slot, &word, TAKEN, ACQUIRE);
}

/* Takes the element at head out of its slot: *ret is what was there. It stays until the operation is finished. */
static inline int take(struct spool__chain *c, struct op *op, struct place *ret)
{
    unsigned lost = spool__in_cells(c->elem_size) ? 0 : 1; /* others come from the short way */
    for (;;) {
        struct place p = find_head(c, op);
        if (p.word < FULL)
            return p.word == CLOSED ? -EPIPE : -EAGAIN;
        if (slot_take(spool__slot_at(p.seg, p.index), p.word)) {
            hint(&p.seg->head, p.index + 1);
            *ret = p;
            return 0;
        }
        spool__back_off(lost++);
    }
}

/* The usual case of a get, with the acquire of the segment as above: this slot is full. */
static inline bool get_at_once(struct spool__chain *c, const struct op *op, void *ret_elem)
{
    struct spool__segment *s = spool__load(&c->head, ACQUIRE);
    if (spool__in_cells(c->elem_size) || !op->hazard || !spool__hazard_has(op->hazard, SPOOL__HAZARD_GET, s))
        return false;
    uint64_t index = spool__load(&s->head, RELAXED);
    if (index >= s->slots)
        return false;
    uint64_t *slot = spool__slot_at(s, index), word = spool__load(slot, RELAXED);
    if (word < FULL)
        return false;
    if (!slot_take(slot, word)) {
        spool__back_off(0);
        return false;
    }
    hint(&s->head, index + 1);
    elem_of(c, s, word, ret_elem);
    return true;
}

static __attribute__((noinline)) int get_slowly(struct spool__chain *c, struct op op, void *ret_elem)
{
    struct place p;
    int ret = take(c, &op, &p);
    if (ret == 0 && spool__in_cells(c->elem_size))
        memcpy(ret_elem, cell_at(c, p.seg, p.word - FULL), c->elem_size);
    else if (ret == 0)
        elem_of(c, p.seg, p.word, ret_elem);
    finish(c, &op);
    return ret;
}

int spool__chain_get(struct spool__chain *c, void *ret_elem)
{
    struct op op = begin();
    if (!get_at_once(c, &op, ret_elem))
        return get_slowly(c, op, ret_elem);
    spool__hazard_leave(op.hazard);
    return 0;
}

int spool__chain_close(struct spool__chain *c)
{
    struct op op = begin();
    int ret = -EALREADY;
    for (;;) {
        struct place p = find_tail(c, &op);
        if (p.word != FREE)
            break;
        bool done;
        if (p.index < p.seg->slots) {
            uint64_t word = FREE;
            done = spool__cas(spool__slot_at(p.seg, p.index), &word, CLOSED, ACQ_REL);
        } else {
            struct spool__segment *next = NULL;
            done = spool__cas(&p.seg->next, &next, spool__first_segment(c), ACQ_REL);
        }
        if (done) {
            ret = 0;
            break;
        }
    }
    finish(c, &op);
    return ret;
}

bool spool__chain_closed(struct spool__chain *c)
{
    struct op op = begin();
    struct place p = find_tail(c, &op);
    finish(c, &op);
    return p.word == CLOSED;
}

int spool__chain_can_put(struct spool__chain *c, uint64_t *ret_pos)
{
    struct op op = begin();
    struct place p = find_tail(c, &op);
    *ret_pos = position(p);
    finish(c, &op);
    return p.word == CLOSED ? -EPIPE : 0;
}

int spool__chain_can_get(struct spool__chain *c, uint64_t *ret_pos)
{
    struct op op = begin();
    struct place p = find_head(c, &op);
    *ret_pos = position(p);
    finish(c, &op);
    return p.word >= FULL ? 0 : p.word == CLOSED ? -EPIPE : -EAGAIN;
}

size_t spool__chain_len(struct spool__chain *c)
{
    struct op op = begin();
    uint64_t h = 0, t = 0;
    for (int tries = 0; tries < 16; tries++) {
        struct place p = find_head(c, &op);
        uint64_t pos = position(p);
        h = elements_before(p);
        t = elements_before(find_tail(c, &op));
        if (position(find_head(c, &op)) == pos)
            break;
    }
    finish(c, &op);
    return t - h < SIZE_MAX ? (size_t)(t - h) : SIZE_MAX;
}

void spool__chain_drain(struct spool__chain *c, void (*drop)(void *elem))
{
    struct op op = begin();
    struct place p;
    while (take(c, &op, &p) == 0) {
        if (!drop)
            continue;
        if (spool__in_cells(c->elem_size)) {
            drop(cell_at(c, p.seg, p.word - FULL));
        } else {
            _Alignas(16) unsigned char elem[sizeof p.word];
            elem_of(c, p.seg, p.word, elem);
            drop(elem);
        }
    }
    finish(c, &op);
}
