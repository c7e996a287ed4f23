/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "select.h"
#include "spin.h"

/* While cases are listed, the epoll set is asked again after a round of them, or, if it had nothing, ever later. */
#define BACKOFF_MAX 64u

#ifndef MISSES_MAX
/*
 * A watch is armed after so many looks that found it not to be ready, though others are. A look costs some nanoseconds,
 * being told of the next message two or three system calls. Together the looks cost less than adding the case did.
 */
#define MISSES_MAX 64
/*
 * While nothing is armed the epoll set need not be asked: by each wait in order, otherwise by one in BACKOFF_MAX. So
 * many looks in a wait take about as long.
 */
#define FEW_IN_ORDER 64
#define FEW_FAIR 8
/*
 * A case that is ready when a whole round found no other to be keeps its turn for so many more waits, if all of them
 * are on queues in which elements gather, or room: of at least so many. A look at a case that is not ready takes as
 * long as one at a case that is.
 */
#define STAY_MAX 16
#define GATHERS_FROM 32
#endif

/* A look at so many listed cases is a turn of spinning; more take as many turns. */
#define FEW_LISTED 8
/*
 * With more than this a look at all of them takes as long as parking: to arm each, and two or three system calls for the
 * message that comes.
 */
#define MANY_LISTED 64

#define SPECIALIZED static inline __attribute__((always_inline))

/* ---- From the epoll set to the list --------------------------------------------------------------------------- */

/* Asks the epoll set, and lists what it reports. Returns how many, or a negative errno. */
static int harvest(struct spool_select *s, int64_t deadline)
{
    int n = spool__sys_epoll_wait(s->epoll, s->events, s->n_watches + N_OWN_FDS, deadline);
    int found = 0;
    for (int i = 0; i < n; i++) {
        uint64_t data = s->events[i].data.u64;
        if (data == OWN_FD_DATA)
            continue;
        int watch = (int)(uint32_t)data;
        struct watch *w = &s->watches[watch];
        if (watch >= s->n_watches || w->gen != (uint32_t)(data >> 32) || !w->in_set)
            continue;
        if (w->kind == PLAIN_FD) {
            w->revents = s->events[i].events;
            w->fresh_at = s->waits;
        } else if (w->armed) {
            spool__select_disarm(s, w);
        } else if (!w->level) {
            continue;
        }
        spool__select_list_watch(s, watch);
        found++;
    }
    if (found)
        s->backoff = 0;
    else
        s->backoff = s->backoff == 0 ? 1 : s->backoff < BACKOFF_MAX ? 2 * s->backoff : BACKOFF_MAX;
    s->countdown = s->backoff + (s->n_listed ? (unsigned)s->n_listed - 1 : 0);
    return n < 0 ? n : found;
}

/* Whether cases that are not listed may have become ready since the set was last asked. */
static bool harvest_is_due(struct spool_select *s)
{
    if (s->n_armed == 0 && s->n_plain == 0)
        return false;
    /* A round may have become shorter since. */
    unsigned longest = s->backoff + (unsigned)s->n_listed;
    if (s->countdown > longest)
        s->countdown = longest;
    /* With nothing listed it would be asked anyway; what hints list now shall not go before what it has. */
    if (s->order == SPOOL_IN_ORDER || s->countdown == 0 || s->n_listed == 0)
        return true;
    s->countdown--;
    return false;
}

/* ---- One case ------------------------------------------------------------------------------------------------- */

/* Tries the operation of a case on a channel: 0, -EAGAIN, -EPIPE, -ENOMEM. */
static __attribute__((noinline)) int attempt(const struct kase *c)
{
    enum spool__side side = c->is_put ? SPOOL__PUT : SPOOL__GET;
    uint64_t pos;
    return c->elem ? spool__lane_do(c->lane, side, c->elem, NULL) : spool__lane_can(c->lane, side, &pos);
}

/* Behind the others, unless it keeps its turn. */
SPECIALIZED void end_turn(struct spool_select *s, int index)
{
    if (s->stay > 0)
        s->stay--;
    else if (s->order == SPOOL_FAIR && index == s->first_listed)
        s->first_listed = s->cases[index].next_listed;
    else
        spool__select_list_last(s, index);
}

/* The probes. */
SPECIALIZED void tell(const struct spool_select *s, int index)
{
    const struct kase *c = &s->cases[index];
    if (c->result == 0 && c->elem && c->is_put)
        spool__probe_put(c->lane, s->watches[c->watch].chan, (size_t)1);
    else if (c->result == 0 && c->elem)
        spool__probe_get(c->lane, s->watches[c->watch].chan, (size_t)1);
    spool__probe_select(c->lane, s, index, c->result);
}

/* Books what an attempt did: the case takes its place behind the others, or leaves. */
static __attribute__((noinline)) void finish(struct spool_select *s, int index, int result)
{
    struct kase *c = &s->cases[index];
    struct watch *w = &s->watches[c->watch];
    c->result = result;
    w->n_misses = 0;
    tell(s, index);
    if (result == -EPIPE) {
        spool__select_drop_case(s, index);
        return;
    }
    if (w->offer && c->next_same != NONE)
        spool__select_end_turn(s, index);
    if (w->level && !w->lane->source.ops->cheap)
        spool__select_unlist(s, index);
    else
        end_turn(s, index);
    spool__select_pass_on(s, w);
}

/* The same for a simple case that was performed, which was listed. */
SPECIALIZED void finish_simple(struct spool_select *s, int index)
{
    struct kase *c = &s->cases[index];
    struct watch *w = &s->watches[c->watch];
    c->result = 0;
    w->n_misses = 0;
    tell(s, index);
    end_turn(s, index);
    if (s->n_granted > 0)
        spool__select_pass_on(s, w);
}

/* Whether a descriptor still shows what its case asks for, if what was reported is from an earlier wait. */
static uint32_t current_events(const struct spool_select *s, const struct kase *c)
{
    const struct watch *w = &s->watches[c->watch];
    uint32_t asked = c->events | EPOLLERR | EPOLLHUP;
    if (w->fresh_at == s->waits || (c->events & (EPOLLET | EPOLLONESHOT)))
        return w->revents & asked;
    return spool__sys_poll(w->key_fd, c->events) & asked;
}

static __attribute__((noinline)) bool try_fd(struct spool_select *s, int index)
{
    struct kase *c = &s->cases[index];
    uint32_t events = current_events(s, c);
    spool__select_unlist(s, index);
    if (events == 0)
        return false;
    c->result = (int)events;
    spool__probe_select(NULL, s, index, c->result);
    return true;
}

/* What becomes of a case on a gate that is not ready. */
enum miss {
    KEEP,  /* it stays listed */
    COUNT, /* it stays listed until it has been missed often */
    ARM,
};

static bool is_to_arm(struct spool_select *s, struct watch *w, enum miss miss)
{
    if (miss != COUNT)
        return miss == ARM;
    int few = s->order == SPOOL_IN_ORDER ? FEW_IN_ORDER : FEW_FAIR;
    if (++s->n_misses <= few && s->n_armed == 0 && s->n_plain == 0)
        return false;
    return ++w->n_misses >= MISSES_MAX * w->n_on;
}

/* A listed case was found not to be ready: -EAGAIN, or what it said as it was armed. */
static __attribute__((noinline)) int miss_case(struct spool_select *s, int index, enum miss miss)
{
    struct kase *c = &s->cases[index];
    struct watch *w = &s->watches[c->watch];
    int r = -EAGAIN;
    if (w->level || w->offer) {
        spool__select_unlist(s, index);
        return r;
    }
    if (is_to_arm(s, w, miss)) {
        spool__select_arm(s, w);
        r = attempt(c);
        if (r != -EAGAIN) {
            spool__select_disarm(s, w);
            spool__select_list_watch(s, c->watch);
            return r;
        }
        spool__lane_yield_to(w->lane, watch_side(w));
    }
    /* A grant that brought it here is not needed, and there is nothing to hand on. */
    spool__select_forget_grant(s, w);
    return r;
}

/* The same for a simple case, made for each side. */
SPECIALIZED int attempt_simple(const struct kase *c)
{
    return c->is_put ? spool__lane_do(c->lane, SPOOL__PUT, c->elem, NULL)
                     : spool__lane_do(c->lane, SPOOL__GET, c->elem, NULL);
}

/* Takes one listed case; true if it was performed. */
SPECIALIZED bool try_case(struct spool_select *s, int index, enum miss miss)
{
    const struct kase *c = &s->cases[index];
    if (!c->lane)
        return try_fd(s, index);
    int r = c->is_simple ? attempt_simple(c) : attempt(c);
    if (r == 0 && c->is_simple) {
        finish_simple(s, index);
        return true;
    }
    if (r == -EAGAIN)
        r = miss_case(s, index, miss);
    if (r == -EAGAIN)
        return false;
    finish(s, index, r);
    return true;
}

/* ---- All listed cases ----------------------------------------------------------------------------------------- */

/* Whether elements, or room for them, gather in it while nobody looks. */
static bool gathers(const struct kase *c)
{
    return c->is_simple && (c->lane->flavour == SPOOL__CHAIN || c->lane->capacity >= GATHERS_FROM);
}

SPECIALIZED int choose_fair(struct spool_select *s, enum miss miss)
{
    bool all_gather = miss != KEEP && s->n_listed <= FEW_LISTED;
    for (int n = s->n_listed; n > 0 && s->n_listed > 0; n--) {
        int index = s->first_listed;
        if (n == 1 && all_gather && gathers(&s->cases[index]))
            s->stay = STAY_MAX;
        if (try_case(s, index, miss))
            return index;
        s->stay = 0;
        all_gather = all_gather && gathers(&s->cases[index]);
        if (s->cases[index].listed)
            end_turn(s, index);
    }
    return NONE;
}

static __attribute__((noinline)) int choose_in_order(struct spool_select *s, enum miss miss)
{
    int index = s->first_listed, last = NONE;
    while (index > last && !try_case(s, index, miss)) {
        /* Those that were unlisted with it, or before them, still show what came after, up to the first again. */
        do {
            last = index;
            index = s->cases[index].next_listed;
        } while (index > last && !s->cases[index].listed);
    }
    return index > last ? index : NONE;
}

/* Performs one listed case and returns its index, or NONE. In line for the wait that finds one at once; again: not. */
SPECIALIZED int choose(struct spool_select *s, enum miss miss)
{
    return s->order == SPOOL_IN_ORDER ? choose_in_order(s, miss) : choose_fair(s, miss);
}

/*
 * Whether there was an instant at which no channel case was ready. One look at each does not show it: an element may
 * move behind the look's back. Two looks with the queues' positions unchanged do: between them nothing
 * became ready. Lists what is ready.
 */
static bool was_quiet(struct spool_select *s)
{
    for (bool second = false;; second = true) {
        bool same = true;
        for (int i = 0; i < s->n_watches; i++) {
            struct watch *w = &s->watches[i];
            uint64_t pos;
            if (w->kind == UNUSED || w->kind == PLAIN_FD || w->n_on == 0)
                continue;
            if (spool__lane_can(w->lane, watch_side(w), &pos) != -EAGAIN) {
                spool__select_disarm(s, w);
                spool__select_list_watch(s, i);
                return false;
            }
            same = same && w->seen_pos == pos;
            w->seen_pos = pos;
        }
        if (second && same)
            return true;
    }
}

/* ---- Waiting -------------------------------------------------------------------------------------------------- */

static void set_own_fd(struct spool_select *s, bool raise)
{
    if (s->own_raised == raise)
        return;
    s->own_raised = raise;
    if (raise)
        (void)spool__sys_eventfd_write(s->own_fd, 1);
    else
        (void)spool__sys_eventfd_read(s->own_fd);
}

void spool__select_settle(struct spool_select *s)
{
    if (s->own_fd == NONE)
        return;
    int watch;
    bool ready = s->n_on == 0;
    while (!ready && s->first_listed != NONE) {
        watch = s->cases[s->first_listed].watch;
        struct watch *w = &s->watches[watch];
        uint64_t pos;
        if (w->kind == PLAIN_FD) {
            ready = true;
            break;
        }
        if (w->level) {
            spool__select_unlist(s, s->first_listed);
            continue;
        }
        if (w->offer) {
            spool__select_unlist(s, s->first_listed);
        } else if (spool__lane_can(w->lane, watch_side(w), &pos) != -EAGAIN) {
            ready = true;
            spool__select_pass_on(s, w);
            break;
        } else {
            spool__select_arm(s, w);
        }
        ready = spool__lane_can(w->lane, watch_side(w), &pos) != -EAGAIN;
        if (ready) {
            spool__select_disarm(s, w);
            spool__select_list_watch(s, watch);
            spool__select_pass_on(s, w);
        } else {
            spool__lane_yield_to(w->lane, watch_side(w));
            spool__select_forget_grant(s, w);
        }
    }
    set_own_fd(s, ready);
}

/* Grants that brought watches here whose cases were not the one performed: others may sleep beside that work. */
static void pass_on_all(struct spool_select *s)
{
    for (int i = s->first_listed, n = s->n_listed; s->n_granted > 0 && n > 0; i = s->cases[i].next_listed, n--)
        spool__select_pass_on(s, &s->watches[s->cases[i].watch]);
}

/*
 * Whether to look at the listed cases again before sleeping. Others may be ready, of which only the epoll set knows:
 * that is asked as soon as the turns take system calls anyway, and that is sooner the longer the list is.
 */
static bool spin(struct spool_select *s, unsigned *turns)
{
    if (s->n_armed == 0 && s->n_plain == 0)
        return spool__spin_over(turns, ((unsigned)s->n_listed + FEW_LISTED - 1) / FEW_LISTED);
    if (!spool__spin_over(turns, (unsigned)s->n_listed))
        return false;
    if (spool__spin_yields(*turns))
        (void)harvest(s, 0);
    return true;
}

static __attribute__((noinline)) int choose_again(struct spool_select *s, enum miss miss)
{
    return choose(s, miss);
}

/*
 * None of those that were listed was ready: looks again for a while, and then sleeps. The time runs from here: who finds
 * a case ready at once does not read the clock.
 */
static __attribute__((noinline)) int wait_longer(struct spool_select *s, int64_t timeout_ns)
{
    int64_t deadline = timeout_ns == 0 ? 0 : spool__deadline(timeout_ns);
    int index = NONE;
    if (timeout_ns != 0) {
        unsigned turns = 0;
        /* Who has offers had better open them first: then others that look find them. */
        while (index == NONE && s->n_listed > 0 && s->n_listed <= MANY_LISTED && s->n_offers == 0 && spin(s, &turns))
            index = choose_again(s, KEEP);
        if (index == NONE)
            index = choose_again(s, ARM);
    } else if (s->own_raised && s->n_listed <= FEW_LISTED && spool__spin_pays()) {
        for (unsigned looks = 0; looks != TRY_LOOKS && index == NONE && s->n_listed > 0; looks++) {
            spool__pause();
            index = choose_again(s, KEEP);
        }
    }
    while (index == NONE) {
        set_own_fd(s, false);
        bool met = timeout_ns != 0 && spool__select_open(s);
        int n = met ? 0 : harvest(s, deadline);
        index = timeout_ns != 0 ? spool__select_shut(s) : NONE;
        /* Also when one has met: the event that told of another one may have been harvested with it. */
        spool__select_list_hinted(s);
        if (index != NONE) {
            finish(s, index, 0);
            break;
        }
        if (n < 0 && n != -EINTR)
            return n;
        index = choose_again(s, ARM);
        if (index == NONE && timeout_ns == 0 && n <= 0 && was_quiet(s))
            return -EAGAIN;
        /* Another select may have been woken for what is there, and not have run so far. */
        if (index == NONE && timeout_ns > 0 && spool__sys_now() >= deadline && was_quiet(s))
            return -ETIMEDOUT;
    }
    return index;
}

int spool_select_wait(spool_select *sel, int64_t timeout_ns)
{
    if (!sel)
        return -EINVAL;
    if (sel->n_on == 0)
        return -ENODATA;
    sel->waits++;
    sel->n_misses = 0;
    if (harvest_is_due(sel))
        (void)harvest(sel, 0);
    if (sel->n_offers > 0)
        spool__select_list_hinted(sel);
    /* Who nests it tries until there is no more. */
    int r = choose(sel, timeout_ns == 0 && !sel->own_raised ? ARM : COUNT);
    if (r == NONE)
        r = wait_longer(sel, timeout_ns);
    if (sel->n_granted > 0)
        pass_on_all(sel);
    /* Asked for here as well: few have one, and the call would take 15 instructions of each wait. */
    if (sel->own_fd != NONE && (r < 0 || !sel->own_raised))
        spool__select_settle(sel);
    return r;
}
