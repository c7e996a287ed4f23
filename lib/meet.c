/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "meet.h"

#include <string.h>

#include "lane.h"
#include "spin.h"

/*
 * A select looks for a shorter while than others whether it has met: it does not see then what else happens to it, and
 * on a busy machine each of the later turns lets others run for long.
 */
#ifndef DOZE_TURNS
#define DOZE_TURNS 66
#endif

_Static_assert(sizeof(struct spool__offer) <= SPOOL_CACHE_LINE, "an offer is a cache line");
_Static_assert(offsetof(struct spool__lane, meet) % SPOOL_CACHE_LINE == 0 &&
                   offsetof(struct spool__meet, elem_size) <= SPOOL_CACHE_LINE,
               "what changes of a meet is a cache line");

void spool__meet_init(struct spool__meet *m, size_t elem_size)
{
    m->elem_size = elem_size;
}

/* ---- Lists of offers, under the meet's lock ------------------------------------------------------------------- */

static void append(struct spool__meet *m, struct spool__offer *o)
{
    o->next = NULL;
    /* Read without the lock by who only looks whether there is any offer; the gate's fences order that. */
    if (!m->sides[o->side].first) {
        spool__store(&m->sides[o->side].first, o, RELAXED);
    } else {
        o->prev = m->sides[o->side].last;
        o->prev->next = o;
    }
    m->sides[o->side].last = o;
}

static void unlink_offer(struct spool__meet *m, struct spool__offer *o)
{
    /* The next one is not told that it is the first: its thread looks at it, and its line would have to be fetched. */
    if (m->sides[o->side].first == o) {
        spool__store(&m->sides[o->side].first, o->next, RELAXED);
        return;
    }
    o->prev->next = o->next;
    if (o->next)
        o->next->prev = o->prev;
    else
        m->sides[o->side].last = o->prev;
}

static void count_change(struct spool__meet *m, enum spool__side side, uint64_t n)
{
    spool__store(&m->sides[side].changes, m->sides[side].changes + n, RELAXED);
}

/* ---- Taking an offer ------------------------------------------------------------------------------------------ */

/* Copies the element between who has the side and whose offer it is. */
static void transfer(struct spool__meet *m, enum spool__side side, void *mine, void *theirs)
{
    m->met++;
    if (m->elem_size > 0)
        memcpy(side == SPOOL__GET ? mine : theirs, side == SPOOL__GET ? theirs : mine, m->elem_size);
}

static inline void tell_woken(const struct spool__meet *m, enum spool__side side, int who, bool calls)
{
    (void)m, (void)side, (void)who, (void)calls;
    spool__probe_wake(spool__lane_of_meet(m), side, who, 1, calls);
}

/*
 * Takes a thread's offer off the list and lets the thread go, whose stack it lies on: it is gone then. Returns what is
 * to be given to wake_thread if the thread sleeps, which would find the meet locked if it were woken before.
 */
static uint32_t *release_thread(struct spool__meet *m, struct spool__offer *o, enum spool__offer_state state)
{
    enum spool__side side = o->side;
    unlink_offer(m, o);
    count_change(m, side, 1);
    /* Release: the element was copied. */
    bool is_asleep = spool__swap(&o->state, (uint32_t)state, RELEASE) == SPOOL__OFFER_SLEPT_ON;
    tell_woken(m, side, SPOOL__WOKE_THREADS, is_asleep);
    return is_asleep ? &o->state : NULL;
}

/* The thread may be awake already, and gone: then the address is nobody's, or somebody's who looks again. */
static void wake_thread(uint32_t *sleeper)
{
    if (sleeper)
        (void)spool__sys_futex_wake(sleeper, 1);
}

static bool is_open(const struct spool__party *p)
{
    uint32_t state = spool__load(&p->state, RELAXED);
    return state == SPOOL__PARTY_OPEN || state == SPOOL__PARTY_ASLEEP;
}

/* With the party's lock held. Whether its thread has to be woken, by tell_met. */
static bool set_met(struct spool__party *p, struct spool__offer *o, bool observes)
{
    p->met = o;
    p->met_observes = observes;
    /* Its thread goes to sleep without the lock, and looks without it whether it has met; what it met, with the lock. */
    return spool__swap(&p->state, (uint32_t)SPOOL__PARTY_MET, RELAXED) == SPOOL__PARTY_ASLEEP;
}

static void wake(struct spool__party *p)
{
    (void)spool__sys_eventfd_write(p->fd, 1);
}

/*
 * After its party's lock was released, the meet's not: so the select cannot have gone, as it has to leave the meet
 * first. Another offer shall be the next.
 */
static void tell_met(struct spool__meet *m, struct spool__offer *o, bool is_asleep)
{
    tell_woken(m, o->side, SPOOL__WOKE_SELECTS, is_asleep);
    if (is_asleep)
        wake(o->party);
    unlink_offer(m, o);
    append(m, o);
}

/* With the meet's lock and the party's: its select looks at o when it opens the next time. */
static void hint(struct spool__offer *o)
{
    if (o->is_hinted)
        return;
    o->is_hinted = true;
    o->next_hinted = o->party->hinted;
    spool__store(&o->party->hinted, o, RELAXED);
}

/* With the meet's lock: o's select has to look, at a close, or because it is nested in another loop. */
static void nudge(struct spool__offer *o)
{
    struct spool__party *p = o->party;
    spool__lock(&p->lock);
    hint(o);
    bool tell = is_open(p) || p->is_nested;
    spool__unlock(&p->lock);
    if (tell) {
        tell_woken(o->meet, o->side, SPOOL__WOKE_SELECTS, true);
        wake(p);
    }
}

/* With the meet's lock: somebody has come whom o, which observes, has waited for, or will find when it opens. */
static void show(struct spool__offer *o)
{
    struct spool__party *p = o->party;
    spool__lock(&p->lock);
    bool tell = p->is_nested;
    hint(o);
    if (is_open(p))
        tell = set_met(p, o, true) || tell;
    spool__unlock(&p->lock);
    if (tell) {
        tell_woken(o->meet, o->side, SPOOL__WOKE_SELECTS, true);
        wake(p);
    }
}

/* Of the other side's offers, those that observe, and those of selects that are nested in another loop. */
static void tell_others(struct spool__meet *m, enum spool__side others, const struct spool__party *but)
{
    for (struct spool__offer *o = m->sides[others].first; o; o = o->next) {
        if (!o->party || o->party == but)
            continue;
        if (o->observes)
            show(o);
        else if (spool__load(&o->party->is_nested, RELAXED))
            nudge(o);
    }
}

/* For somebody who has no open offer: takes o if that can be, and otherwise hints at it if the caller will wait. */
static bool take(struct spool__meet *m, struct spool__offer *o, enum spool__side side, void *elem, bool will_wait,
                 uint32_t **ret_sleeper)
{
    struct spool__party *p = o->party;
    if (!p) {
        transfer(m, side, elem, o->elem);
        *ret_sleeper = release_thread(m, o, SPOOL__OFFER_MET);
        return true;
    }
    /* A party that opens after this look finds the hint that is there, and then waits for the meet's lock. */
    if (!o->can_be_taken || (!is_open(p) && (o->is_hinted || !will_wait)))
        return false;
    spool__lock(&p->lock);
    bool open = is_open(p), is_asleep = false;
    if (open) {
        transfer(m, side, elem, o->elem);
        is_asleep = set_met(p, o, false);
    } else if (will_wait) {
        hint(o);
    }
    spool__unlock(&p->lock);
    if (open)
        tell_met(m, o, is_asleep);
    return open;
}

static int take_any(struct spool__meet *m, enum spool__side side, void *elem, bool will_wait, uint32_t **ret_sleeper)
{
    if (m->is_closed)
        return -EPIPE;
    for (struct spool__offer *o = m->sides[spool__other(side)].first, *next; o; o = next) {
        next = o->next;
        if (take(m, o, side, elem, will_wait, ret_sleeper))
            return 0;
    }
    return -EAGAIN;
}

static bool is_deserted(const struct spool__meet *m, enum spool__side side)
{
    return !spool__load(&m->sides[spool__other(side)].first, RELAXED) && !spool__load(&m->is_closed, RELAXED);
}

int spool__meet_try(struct spool__meet *m, enum spool__side side, void *elem)
{
    if (is_deserted(m, side))
        return -EAGAIN;
    uint32_t *sleeper = NULL;
    spool__lock(&m->lock);
    int ret = take_any(m, side, elem, false, &sleeper);
    spool__unlock(&m->lock);
    wake_thread(sleeper);
    return ret;
}

/* ---- Threads -------------------------------------------------------------------------------------------------- */

/* A small element lies in the offer itself. */
static void move_into(const struct spool__meet *m, struct spool__offer *o)
{
    if (m->elem_size == 0 || m->elem_size > sizeof o->small)
        return;
    if (o->side == SPOOL__PUT)
        memcpy(o->small, o->elem, m->elem_size);
    o->elem = o->small;
}

int spool__meet_offer(struct spool__meet *m, struct spool__offer *o, enum spool__side side, void *elem)
{
    uint32_t *sleeper = NULL;
    spool__lock(&m->lock);
    int ret = take_any(m, side, elem, true, &sleeper);
    if (ret == -EAGAIN) {
        *o = (struct spool__offer){.meet = m, .side = (uint8_t)side, .elem = elem, .state = SPOOL__OFFER_OPEN};
        move_into(m, o);
        append(m, o);
        count_change(m, side, 1);
        tell_others(m, spool__other(side), NULL);
    }
    spool__unlock(&m->lock);
    wake_thread(sleeper);
    return ret;
}

/* Whether it was still there to be withdrawn. */
static bool withdraw(struct spool__meet *m, struct spool__offer *o)
{
    spool__lock(&m->lock);
    bool there = o->state < SPOOL__OFFER_MET;
    if (there) {
        unlink_offer(m, o);
        count_change(m, o->side, 1);
    }
    spool__unlock(&m->lock);
    return there;
}

int spool__meet_await(struct spool__meet *m, struct spool__offer *o, void *elem, int64_t deadline)
{
    uint32_t state;
    unsigned turns = 0;
    bool spins = !spool__spin_is_dear();
    /* Acquire: the element was copied before. */
    while ((state = spool__load(&o->state, ACQUIRE)) < SPOOL__OFFER_MET) {
        if (spins && spool__spin_for_partner(&turns))
            continue;
        if (state == SPOOL__OFFER_OPEN) {
            (void)spool__cas(&o->state, &state, SPOOL__OFFER_SLEPT_ON, RELAXED);
            continue;
        }
        spool__probe_park(spool__lane_of_meet(m), o->side, deadline);
        if (spool__sys_futex_wait(&o->state, state, deadline) == -ETIMEDOUT && withdraw(m, o))
            break;
    }
    spool__spin_met(turns);
    if (state == SPOOL__OFFER_MET && o->elem != elem && o->side == SPOOL__GET)
        memcpy(elem, o->small, m->elem_size);
    return state == SPOOL__OFFER_MET ? 0 : state == SPOOL__OFFER_CLOSED ? -EPIPE : -ETIMEDOUT;
}

/* ---- Looking and closing -------------------------------------------------------------------------------------- */

int spool__meet_can(struct spool__meet *m, enum spool__side side, uint64_t *ret_pos)
{
    enum spool__side others = spool__other(side);
    spool__lock(&m->lock);
    int ret = m->is_closed ? -EPIPE : -EAGAIN;
    /* Whatever came, went, or was open for a while since an earlier look has made this sum larger. */
    uint64_t pos = m->sides[others].changes;
    for (const struct spool__offer *o = m->sides[others].first; o; o = o->next) {
        if (o->party)
            pos += spool__load(&o->party->opens, RELAXED);
        if (ret == -EAGAIN && (!o->party || (o->can_be_taken && is_open(o->party))))
            ret = 0;
    }
    spool__unlock(&m->lock);
    *ret_pos = pos;
    return ret;
}

int spool__meet_close(struct spool__meet *m)
{
    spool__lock(&m->lock);
    int ret = m->is_closed ? -EALREADY : 0;
    /* Release: spool__meet_closed looks without the lock. */
    spool__store(&m->is_closed, 1, RELEASE);
    for (int side = 0; ret == 0 && side < 2; side++) {
        for (struct spool__offer *o = m->sides[side].first, *next; o; o = next) {
            next = o->next;
            if (o->party)
                nudge(o);
            else
                wake_thread(release_thread(m, o, SPOOL__OFFER_CLOSED));
        }
    }
    spool__unlock(&m->lock);
    return ret;
}

bool spool__meet_closed(const struct spool__meet *m)
{
    /* Acquire: what was done before the close; pairs with the store in spool__meet_close. */
    return spool__load(&m->is_closed, ACQUIRE);
}

/* ---- Selects -------------------------------------------------------------------------------------------------- */

static void hint_locking(struct spool__offer *o)
{
    spool__lock(&o->party->lock);
    hint(o);
    spool__unlock(&o->party->lock);
}

static bool is_anybody_else(const struct spool__meet *m, enum spool__side side, const struct spool__party *p)
{
    const struct spool__offer *o = m->sides[side].first;
    while (o && o->party == p)
        o = o->next;
    return o || m->is_polled[side] || m->is_closed;
}

void spool__meet_poll(struct spool__meet *m, enum spool__side side)
{
    spool__lock(&m->lock);
    m->is_polled[side] = true;
    for (struct spool__offer *o = m->sides[spool__other(side)].first; o; o = o->next)
        if (o->party)
            hint_locking(o);
    spool__unlock(&m->lock);
}

void spool__meet_join(struct spool__meet *m, struct spool__offer *o)
{
    enum spool__side others = spool__other(o->side);
    o->meet = m;
    spool__lock(&m->lock);
    append(m, o);
    count_change(m, o->side, 1);
    for (struct spool__offer *other = m->sides[others].first; other; other = other->next)
        if (other->party && other->party != o->party)
            hint_locking(other);
    if (is_anybody_else(m, others, o->party))
        hint_locking(o);
    spool__unlock(&m->lock);
}

/* With the meet's lock, by the party's thread: others only add before it. */
static void forget_hint(struct spool__offer *o)
{
    struct spool__party *p = o->party;
    spool__lock(&p->lock);
    struct spool__offer **at = &p->hinted;
    while (*at && *at != o)
        at = &(*at)->next_hinted;
    if (*at)
        spool__store(at, o->next_hinted, RELAXED);
    o->is_hinted = false;
    spool__unlock(&p->lock);
}

void spool__meet_leave(struct spool__offer *o)
{
    struct spool__meet *m = o->meet;
    spool__lock(&m->lock);
    unlink_offer(m, o);
    count_change(m, o->side, o->party->opens + 1);
    if (o->is_hinted)
        forget_hint(o);
    spool__unlock(&m->lock);
}

void spool__meet_set(struct spool__offer *o, bool can_be_taken, bool observes)
{
    spool__lock(&o->meet->lock);
    o->can_be_taken = can_be_taken;
    o->observes = observes;
    spool__unlock(&o->meet->lock);
}

struct spool__offer *spool__meet_find(struct spool__meet *m, enum spool__side side, const struct spool__party *p)
{
    spool__lock(&m->lock);
    struct spool__offer *o = m->sides[side].first;
    while (o && o->party != p)
        o = o->next;
    spool__unlock(&m->lock);
    return o;
}

struct spool__offer *spool__party_open(struct spool__party *p)
{
    spool__lock(&p->lock);
    spool__store(&p->opens, p->opens + 1, RELAXED);
    spool__store(&p->state, SPOOL__PARTY_OPEN, RELAXED);
    struct spool__offer *first = p->hinted;
    spool__unlock(&p->lock);
    return first;
}

static void lock_both(struct spool__party *a, struct spool__party *b)
{
    bool a_first = (uintptr_t)a < (uintptr_t)b;
    spool__lock(a_first ? &a->lock : &b->lock);
    spool__lock(a_first ? &b->lock : &a->lock);
}

/* For the thread of an open party, whose offer o is: takes other if both can still be taken. Returns whom to wake. */
static uint32_t *take_for_party(struct spool__meet *m, struct spool__offer *o, struct spool__offer *other)
{
    struct spool__party *mine = o->party, *theirs = other->party;
    if (theirs)
        lock_both(mine, theirs);
    else
        spool__lock(&mine->lock);
    bool both = is_open(mine) && (!theirs || is_open(theirs)), is_asleep = false;
    if (both) {
        transfer(m, o->side, o->elem, other->elem);
        (void)set_met(mine, o, false);
        is_asleep = theirs && set_met(theirs, other, false);
    }
    if (theirs)
        spool__unlock(&theirs->lock);
    spool__unlock(&mine->lock);
    if (both && !theirs)
        return release_thread(m, other, SPOOL__OFFER_MET);
    if (both)
        tell_met(m, other, is_asleep);
    return NULL;
}

bool spool__meet_seek(struct spool__offer *o)
{
    struct spool__meet *m = o->meet;
    struct spool__party *p = o->party;
    enum spool__side others = spool__other(o->side);
    uint32_t *sleeper = NULL;
    spool__lock(&m->lock);
    bool closed = m->is_closed && (o->can_be_taken || o->observes);
    for (struct spool__offer *other = m->sides[others].first, *next; other && is_open(p); other = next) {
        next = other->next;
        if (other->party == p || (other->party && !(other->can_be_taken && is_open(other->party))))
            continue;
        if (o->can_be_taken)
            sleeper = take_for_party(m, o, other);
        else if (o->observes)
            show(o);
    }
    if (!is_anybody_else(m, others, p))
        forget_hint(o);
    else if (o->can_be_taken && is_open(p))
        tell_others(m, others, p);
    spool__unlock(&m->lock);
    wake_thread(sleeper);
    return closed || !is_open(p);
}

bool spool__party_doze(struct spool__party *p)
{
    uint32_t open = SPOOL__PARTY_OPEN;
    for (unsigned turns = 0; turns < DOZE_TURNS && spool__spin(&turns);)
        if (!is_open(p))
            return true;
    return !spool__cas(&p->state, &open, SPOOL__PARTY_ASLEEP, RELAXED);
}

struct spool__offer *spool__party_shut(struct spool__party *p)
{
    spool__lock(&p->lock);
    struct spool__offer *met = p->state == SPOOL__PARTY_MET ? p->met : NULL;
    spool__store(&p->state, SPOOL__PARTY_SHUT, RELAXED);
    spool__unlock(&p->lock);
    return met;
}

struct spool__offer *spool__party_hinted(struct spool__party *p)
{
    if (!spool__load(&p->hinted, RELAXED))
        return NULL;
    spool__lock(&p->lock);
    struct spool__offer *first = p->hinted;
    spool__unlock(&p->lock);
    return first;
}

void spool__party_nest(struct spool__party *p)
{
    spool__lock(&p->lock);
    spool__store(&p->is_nested, true, RELAXED);
    spool__unlock(&p->lock);
}
