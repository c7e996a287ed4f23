/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "world.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * What the others do once the victim has stopped, and what must hold then: all of them come back, each element whose
 * put completed is got once and in order, the victim's before those of others or not at all, the capacity is what it
 * was, and a close is one. Nothing here waits for a time; the parent gives up on what never comes.
 *
 * One excuse is known, and made no wider: a put is announced to those who sleep after it has happened. Of a victim that
 * stopped in between, its one element (or room for one) is known to all that look, and to the sleepers from the next
 * put (or get) on. And of a pair that it stopped closing, one direction may take puts until somebody sees the other.
 */

const char *first_name(enum first_do first)
{
    static const char *const names[N_FIRSTS] = {"put", "get", "select", "close", "block"};
    return names[first];
}

/* ---- One operation of another thread ---------------------------------------------------------------------------- */

static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

/* A result that tells whether the channel is closed. */
static void saw_closed(struct world *w, const char *what, bool closed)
{
    if (w->closed == (closed ? OPEN : SHUT))
        world_wrong(w, "%s says that the channel is %s", what, closed ? "closed" : "open");
    /* Of a pair one direction may be open still, until somebody sees that the other is closed. */
    if (closed || w->closed != EITHER || !w->scene->kind->pair)
        w->closed = closed ? SHUT : OPEN;
}

static int other_try_put(struct world *w)
{
    unsigned char elem[ELEM_MAX];
    elem_make(w, id_of(OTHER, w->put[OTHER]), elem);
    at(w, 0, "spool_try_put", w->put[OTHER]);
    int r = spool_try_put(w->to, elem);
    if (r == 0)
        w->put[OTHER]++;
    else if (r != -EAGAIN && r != -EPIPE)
        world_wrong(w, "spool_try_put: %d", r);
    saw_closed(w, "spool_try_put", r == -EPIPE);
    if (w->get_fd >= 0) {
        /* Level: who polls sees an element whose put has returned, and after -EAGAIN no room. */
        if (r == 0)
            must(w, readable(w->get_fd));
        must(w, readable(w->put_fd) || r == -EAGAIN || (r == 0 && spool_len(w->from) == w->scene->kind->capacity));
        must(w, r != -EAGAIN || !readable(w->put_fd));
    }
    return r;
}

static void other_put(struct world *w)
{
    unsigned char elem[ELEM_MAX];
    elem_make(w, id_of(OTHER, w->put[OTHER]), elem);
    at(w, 0, "spool_put", w->put[OTHER]);
    w->put[OTHER]++;
    int r = spool_put(w->to, elem);
    must(w, r == 0);
}

static int other_try_get(struct world *w)
{
    unsigned char elem[ELEM_MAX];
    at(w, 0, "spool_try_get", w->next[OTHER]);
    int r = spool_try_get(w->from, elem);
    if (r == 0) {
        world_got(w, elem);
        if (w->put_fd >= 0)
            must(w, readable(w->put_fd));
        return 0;
    }
    if (r != -EAGAIN && r != -EPIPE)
        world_wrong(w, "spool_try_get: %d", r);
    world_base_is_over(w, r == -EPIPE ? "spool_try_get: -EPIPE" : "spool_try_get: -EAGAIN");
    if (w->next[OTHER] != w->put[OTHER])
        world_wrong(w, "a put that returned is not seen: %u of %u got", w->next[OTHER], w->put[OTHER]);
    saw_closed(w, "spool_try_get", r == -EPIPE);
    if (w->get_fd >= 0)
        must(w, readable(w->get_fd) == (r == -EPIPE));
    return r;
}

static unsigned drain(struct world *w)
{
    unsigned n = 0;
    while (other_try_get(w) == 0)
        n++;
    return n;
}

/* Puts until no more go in; how many went. */
static size_t fill(struct world *w)
{
    size_t n = 0, cap = w->scene->kind->capacity;
    while (n < (cap == SPOOL_UNBOUNDED ? 3 : cap + 1) && other_try_put(w) == 0)
        n++;
    return n;
}

static void other_close(struct world *w)
{
    at(w, 0, "spool_close", 0);
    int r = spool_close(w->to);
    if (r != 0 && r != -EALREADY)
        world_wrong(w, "spool_close: %d", r);
    saw_closed(w, "spool_close", r == -EALREADY);
    w->closed = SHUT;
    must(w, !spool_alive(w->to) && !spool_alive(w->from));
    must(w, spool_close(w->from) == -EALREADY);
    must(w, other_try_put(w) == -EPIPE);
}

/* ---- What they do first ----------------------------------------------------------------------------------------- */

static void first_put(struct world *w)
{
    size_t cap = w->scene->kind->capacity;
    (void)fill(w);
    if (w->closed != OPEN)
        return;
    /* Now it is full, so this many come out. */
    size_t len = spool_len(w->from), n = drain(w);
    must(w, len == n);
    must(w, cap == SPOOL_UNBOUNDED || n == cap);
}

static void first_select(struct world *w)
{
    unsigned char to[ELEM_MAX], from[ELEM_MAX];
    spool_select *s;
    size_t cap = w->scene->kind->capacity, turns = cap == SPOOL_UNBOUNDED ? 8 : 2 * cap + 2;
    must(w, spool_select_new(&s) == 0);
    must(w, spool_select_get(s, w->from, from) == 0);
    must(w, spool_select_put(s, w->to, to) == 1);
    for (size_t i = 0; i < turns; i++) {
        elem_make(w, id_of(OTHER, w->put[OTHER]), to);
        at(w, 0, "spool_select_wait", i);
        int r = spool_select_wait(s, 0), result = r < 0 ? r : spool_select_result(s, r);
        /* There is always room or an element. */
        if (r == -ENODATA)
            break;
        if (r < 0 || (result != 0 && result != -EPIPE))
            world_wrong(w, "spool_select_wait: %d, spool_select_result: %d", r, result);
        if (r == 0 && result == 0)
            world_got(w, from);
        if (r == 1 && result == 0)
            w->put[OTHER]++;
        if (result == -EPIPE || r == 1)
            saw_closed(w, "spool_select_wait", result == -EPIPE);
    }
    (void)spool_select_free(s);
}

static void first_do(struct world *w, enum first_do first)
{
    switch (first) {
    case FIRST_PUT:
        first_put(w);
        break;
    case FIRST_GET:
        (void)drain(w);
        break;
    case FIRST_SELECT:
        first_select(w);
        break;
    case FIRST_CLOSE:
        other_close(w);
        break;
    default:
        break;
    }
}

/* ---- Then ------------------------------------------------------------------------------------------------------- */

struct getter {
    struct world *w;
    uint32_t until;
};

static void *get_until(void *arg)
{
    struct getter *g = arg;
    unsigned char elem[ELEM_MAX];
    while (g->w->next[OTHER] != g->until) {
        at(g->w, 1, "spool_get", g->w->next[OTHER]);
        int r = spool_get(g->w->from, elem);
        must(g->w, r == 0);
        world_got(g->w, elem);
    }
    at(g->w, 1, "done", 0);
    return NULL;
}

/* A putter and a getter that wait for each other: some turns of a ring, or more than the first segment holds. */
static void transfer(struct world *w)
{
    size_t cap = w->scene->kind->capacity;
    uint32_t n = cap == SPOOL_UNBOUNDED ? 40 : 2 * (uint32_t)cap + 3;
    struct getter g = {w, w->put[OTHER] + n};
    pthread_t thread;
    must(w, pthread_create(&thread, NULL, get_until, &g) == 0);
    for (uint32_t i = 0; i < n; i++)
        other_put(w);
    at(w, 0, "waits for the getter", 0);
    must(w, pthread_join(thread, NULL) == 0);
}

static void check_room(struct world *w)
{
    size_t cap = w->scene->kind->capacity;
    must(w, drain(w) == 0);
    must(w, spool_len(w->from) == 0);
    size_t n = fill(w);
    /* A stopped thread keeps less than the spare room, so nothing of the capacity. */
    must(w, cap == SPOOL_UNBOUNDED || n == cap);
    must(w, spool_len(w->from) == n);
}

static void check_closed(struct world *w)
{
    unsigned char elem[ELEM_MAX];
    elem_make(w, id_of(OTHER, w->put[OTHER]), elem);
    must(w, w->closed == SHUT);
    at(w, 0, "spool_put, closed", 0);
    must(w, spool_put(w->to, elem) == -EPIPE);
    (void)drain(w);
    at(w, 0, "spool_get, closed and drained", 0);
    must(w, spool_get(w->from, elem) == -EPIPE);
    must(w, !spool_alive(w->to) && !spool_alive(w->from));
    must(w, spool_len(w->from) == 0);
    if (w->get_fd >= 0)
        must(w, readable(w->get_fd) && readable(w->put_fd));
}

/* ---- Those who slept ------------------------------------------------------------------------------------------- */

struct start {
    struct world *w;
    unsigned i;
    enum crew as;
};

static void *crew_member(void *arg)
{
    struct start *start = arg;
    struct world *w = start->w;
    unsigned i = start->i;
    struct hand *h = &w->crew[i];
    unsigned char elem[ELEM_MAX];
    bool puts = start->as == PUTTER || start->as == SELECT_PUTTER;
    if (puts)
        elem_make(w, id_of(CREWS, i), elem);
    at(w, 2 + i, puts ? "the crew's put" : "the crew's get", i);
    if (start->as == SELECTER || start->as == SELECT_PUTTER) {
        spool_select *s;
        must(w, spool_select_new(&s) == 0);
        must(w, (puts ? spool_select_put(s, w->to, elem) : spool_select_get(s, w->from, elem)) == 0);
        __atomic_store_n(&h->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
        int r = spool_select_wait(s, -1);
        h->result = r < 0 ? r : spool_select_result(s, r);
    } else {
        __atomic_store_n(&h->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
        h->result = puts ? spool_put(w->to, elem) : spool_get(w->from, elem);
    }
    if (h->result == 0 && !puts)
        h->id = elem_read(w, elem);
    at(w, 2 + i, "done", 0);
    atomic_store(&h->done, true);
    return NULL;
}

void crew_start(struct world *w)
{
    static struct start starts[CREW_MAX];
    enum crew crew = w->scene->crew, as[CREW_MAX] = {crew, crew};
    if (crew == NOBODY || crew == STRANGER)
        return;
    w->n_crew = crew == GETTERS || crew == PUTTERS || crew == GETTER_AND_SELECT ? 2 : 1;
    if (crew == GETTERS || crew == GETTER_AND_SELECT)
        as[0] = GETTER;
    if (crew == GETTERS)
        as[1] = GETTER;
    if (crew == GETTER_AND_SELECT)
        as[1] = SELECTER;
    if (crew == PUTTERS)
        as[0] = as[1] = PUTTER;
    for (unsigned i = 0; i < w->n_crew; i++) {
        struct hand *h = &w->crew[i];
        starts[i] = (struct start){w, i, as[i]};
        must(w, pthread_create(&h->thread, NULL, crew_member, &starts[i]) == 0);
        at(w, 0, "waits for the crew to sleep", i);
        while (!__atomic_load_n(&h->tid, __ATOMIC_ACQUIRE) || !task_asleep(h->tid))
            nap();
    }
}

bool crew_is_done(const struct world *w, unsigned n)
{
    unsigned done = 0;
    for (unsigned i = 0; i < w->n_crew; i++)
        done += atomic_load(&w->crew[i].done);
    return done >= n;
}

/* Nobody sleeps beside an element, or room, once another put (get) has been made. */
static void wake_crew(struct world *w, bool frozen)
{
    bool getters = w->scene->state == FRESH;
    size_t cap = w->scene->kind->capacity;
    /* What was put by then is known to those who slept, and if they leave some, there may be no room for more. */
    at(w, 0, "waits: an element, and one who slept", 0);
    while (getters && !frozen && !crew_is_done(w, w->n_crew) && spool_len(w->from) > 0)
        nap();
    while (!crew_is_done(w, w->n_crew)) {
        if (getters) {
            other_put(w);
        } else {
            unsigned char elem[ELEM_MAX];
            at(w, 0, "spool_get", 0);
            must(w, spool_get(w->from, elem) == 0);
            world_got(w, elem);
        }
        at(w, 0, getters ? "waits: an element, and one who sleeps" : "waits: room, and one who sleeps", 0);
        while (!crew_is_done(w, w->n_crew) && (getters ? spool_len(w->from) > 0 : spool_len(w->from) < cap))
            nap();
    }
}

static void crew_verdict(struct world *w, bool frozen, enum first_do first)
{
    if (w->scene->op == OP_CLOSE) {
        /* Who closes, or sees that it is closed, wakes whom the victim did not. */
        if (first == FIRST_CLOSE || spool_alive(w->from))
            other_close(w);
        w->closed = SHUT;
    } else {
        wake_crew(w, frozen);
    }
    at(w, 0, "waits for the crew", 0);
    while (!crew_is_done(w, w->n_crew))
        nap();
    for (unsigned i = 0; i < w->n_crew; i++) {
        const struct hand *h = &w->crew[i];
        uint32_t n;
        /* The handler may have put before the close. */
        bool by_handler = h->result == 0 && h->id == id_of(HANDLER, 0);
        must(w, by_handler || h->result == (w->closed == SHUT ? -EPIPE : 0));
        if (w->scene->state == FRESH && h->result == 0) {
            unsigned char elem[ELEM_MAX];
            elem_make(w, h->id, elem);
            unsigned class = world_book(w, elem, &n);
            if (class != VICTIM && class != OTHER && class != HANDLER)
                world_wrong_elem(w, class, n);
        }
    }
    /* They took their elements side by side: from here on the order is known again. */
    for (unsigned class = 0; class < N_CLASSES; class ++)
        while (w->next[class] < w->put[class] && w->got[class][w->next[class]])
            w->next[class]++;
}

/* ---- All of it -------------------------------------------------------------------------------------------------- */

/* The victim has come back, so what it did is known. */
static void check_result(struct world *w)
{
    const struct scene *s = w->scene;
    ssize_t r = w->result;
    bool selects = s->op >= OP_SELECT_PUT;
    if (selects && r >= 0) {
        int result = spool_select_result(w->sel, (int)r);
        r = result == 0 ? 0 : result;
    }
    bool one = op_moves(s->op) == 1;
    ssize_t moved = r < 0 || op_moves(s->op) == 0 ? 0 : one ? 1 : r;
    if (op_puts(s->op))
        w->put[VICTIM] = (uint32_t)moved;
    for (ssize_t i = 0; op_gets(s->op) && i < moved; i++)
        world_got(w, w->elems + (size_t)i * s->kind->elem_size);
    bool shut = s->state == CLOSED || s->state == DRAINED;
    bool ok = r >= 0;
    if (op_puts(s->op) || (op_gets(s->op) && s->state == DRAINED))
        ok = shut ? r == -EPIPE : r >= 0;
    /* What the handler put may have been what made it so. */
    if (s->op == OP_PUT_LATE || s->op == OP_GET_LATE)
        ok = r == -ETIMEDOUT || r == 0;
    if (s->op == OP_TRY_PUT || s->op == OP_SELECT_TRY_PUT)
        ok = ok || (r == -EAGAIN && w->base_at_first + (w->handler_result == 0) >= s->kind->capacity);
    if (s->op == OP_TRY_GET || s->op == OP_SELECT_TRY_GET)
        ok = ok || (r == -EAGAIN && w->base_at_first == 0);
    if (s->op == OP_CLOSE)
        ok = r == (shut ? -EALREADY : 0);
    if (!ok)
        world_wrong(w, "the victim's own result is %zd", r);
}

static void check_handler(struct world *w)
{
    const struct scene *s = w->scene;
    unsigned char elem[ELEM_MAX];
    int r = w->handler_result;
    bool ok = r == 0 || (r == -EAGAIN && w->base_at_first + w->put[VICTIM] >= s->kind->capacity) ||
              (r == -EPIPE && w->closed == SHUT);
    if (!ok)
        world_wrong(w, "the handler's spool_try_put says %d", r);
    must(w, w->report->signalled == 1);
    must(w, spool_try_get(w->aside, elem) == 0 && elem_read(w, elem) == id_of(HANDLER, 0));
}

void verdict(struct world *w, bool frozen, enum first_do first)
{
    if (w->report->signalled)
        check_handler(w);
    w->base_begun = false;
    if (frozen)
        w->may_miss = op_gets(w->scene->op) ? op_moves(w->scene->op) : 0;
    w->put[HANDLER] = w->report->signalled && w->handler_result == 0;
    if (!frozen)
        check_result(w);
    if (w->n_crew) {
        w->put[CREWS] = w->scene->state == FULL ? w->n_crew : 0;
        crew_verdict(w, frozen, first);
    } else {
        first_do(w, first);
    }
    if (w->closed == EITHER)
        w->closed = spool_alive(w->from) ? OPEN : SHUT;
    if (w->closed == OPEN) {
        transfer(w);
        check_room(w);
        other_close(w);
    }
    check_closed(w);
    for (unsigned class = 0; class < N_CLASSES; class ++) {
        bool must_come = class == HANDLER || class == OTHER || (class == VICTIM && !frozen) ||
                         (class == CREWS && w->n_crew && w->crew[0].result == 0);
        for (uint32_t n = 0; must_come && n < w->put[class]; n++)
            if (!w->got[class][n])
                world_wrong(w, "%s element %u was put and never got", class_name((enum class) class), n);
    }
    _exit(0);
}
