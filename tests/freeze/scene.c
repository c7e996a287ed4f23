/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "chan.h"

#define SECOND INT64_C(1000000000)
#define ERRNO_OF_VICTIM 4711
#define ERRNO_OF_HANDLER 4712

static const struct chan_kind kinds[] = {
    {"1x8", 8, 1, false},
    {"4x8", 8, 4, false},
    {"1x24", 24, 1, false},
    {"16x24", 24, 16, false}, /* slots keep their cells */
    {"ux8", 8, SPOOL_UNBOUNDED, false},
    {"ux24", 24, SPOOL_UNBOUNDED, false},
    {"3x8", 8, 3, false},
    {"pair4x8", 8, 4, true},
};

#define N_KINDS (sizeof kinds / sizeof *kinds)

static const char *const state_names[N_STATES] = {
    [FRESH] = "fresh",           [PART] = "part",           [FULL] = "full",
    [WRAPPED] = "wrapped",       [TURNED] = "turned",       [CLOSED] = "closed",
    [DRAINED] = "drained",       [SEG_END] = "segment-end", [SEG_NEXT] = "segment-next",
    [SEG_KEPT] = "segment-kept", [LEAVE] = "leave",         [RETIRE] = "retire",
};

static const char *const crew_names[N_CREWS] = {
    [NOBODY] = "",
    [GETTER] = "getter",
    [GETTERS] = "getters",
    [SELECTER] = "selecter",
    [PUTTER] = "putter",
    [PUTTERS] = "putters",
    [SELECT_PUTTER] = "select-putter",
    [GETTER_AND_SELECT] = "getter+select",
    [STRANGER] = "stranger",
};

/* ---- Which there are ------------------------------------------------------------------------------------------- */

static bool is_empty(enum state state)
{
    return state == FRESH || state == TURNED || state == DRAINED;
}

static bool is_closed(enum state state)
{
    return state == CLOSED || state == DRAINED;
}

static bool cannot(const struct scene *s)
{
    if (is_closed(s->state))
        return false;
    if (op_gets(s->op))
        return is_empty(s->state);
    return op_puts(s->op) && (s->state == FULL || (s->op == OP_PUT_MANY && s->kind->capacity < 3));
}

bool scene_sleeps(const struct scene *s)
{
    switch (s->op) {
    case OP_PUT:
    case OP_GET:
    case OP_PUT_FOR:
    case OP_GET_FOR:
    case OP_SELECT_PUT:
    case OP_SELECT_GET:
    case OP_GET_MANY:
        return cannot(s);
    case OP_PUT_MANY:
        /* Three do not fit into what is left of four either, unless it is empty. */
        return !is_closed(s->state) && s->kind->capacity != SPOOL_UNBOUNDED &&
               (s->kind->capacity < 3 || !is_empty(s->state));
    default:
        return false;
    }
}

bool scene_spins(const struct scene *s)
{
    return scene_sleeps(s) || s->op == OP_PUT_LATE || s->op == OP_GET_LATE;
}

/* Without somebody who waits. */
static bool makes_sense_alone(const struct scene *s)
{
    bool unbounded = s->kind->capacity == SPOOL_UNBOUNDED, one = s->kind->capacity == 1;
    if (s->kind->pair)
        return s->op == OP_CLOSE && !s->first && (s->state == FRESH || s->state == PART);
    /* Not a power of two, and all that a batch takes. */
    if (s->kind->capacity == 3 && s->op != OP_TRY_PUT && s->op != OP_TRY_GET)
        return false;
    if (s->first)
        return unbounded && s->state <= PART && (s->op == OP_TRY_PUT || s->op == OP_TRY_GET);
    if (unbounded && (s->state == FULL || s->state == WRAPPED))
        return false;
    if (!unbounded && s->state >= SEG_END)
        return false;
    if (one && (s->state == PART || s->state == WRAPPED))
        return false;
    switch (s->op) {
    case OP_PUT_LATE:
    case OP_GET_LATE:
        return cannot(s);
    case OP_SELECT_PUT:
    case OP_SELECT_GET:
        /* What does not sleep is what a try does, but for the end of the timeout. */
        return cannot(s);
    case OP_LEN:
        return s->state == PART || s->state == FULL || s->state == LEAVE;
    case OP_CLOSE:
        return s->state != LEAVE && s->state != RETIRE && s->state != SEG_KEPT;
    case OP_PUT_FOR:
    case OP_GET_FOR:
        /* As put and get, but for a deadline; what differs is how they sleep. */
        if (!cannot(s))
            return false;
        break;
    case OP_PUT_MANY:
        if (!unbounded && s->kind->capacity < 3)
            return false;
        /* fall through */
    case OP_GET_MANY:
        if (s->state == FULL && op_puts(s->op))
            return false;
        break;
    default:
        break;
    }
    /* Far along a chain only with a try: the rest is the same. */
    if (s->op != OP_TRY_PUT && s->op != OP_TRY_GET &&
        (s->state == SEG_NEXT || s->state == SEG_KEPT || s->state == RETIRE))
        return false;
    if (op_puts(s->op))
        return s->state != LEAVE && s->state != RETIRE;
    return s->state != SEG_END && s->state != SEG_NEXT && s->state != SEG_KEPT;
}

static bool makes_sense(const struct scene *s)
{
    bool one = s->kind->capacity == 1, unbounded = s->kind->capacity == SPOOL_UNBOUNDED;
    bool empty = s->state == FRESH, full = s->state == FULL && !unbounded;
    if (s->crew == NOBODY)
        return makes_sense_alone(s);
    if (s->first || s->kind->pair)
        return false;
    switch (s->crew) {
    case GETTER:
    case SELECTER:
        return empty && (s->op == OP_PUT || s->op == OP_CLOSE || s->op == OP_TRY_PUT);
    case GETTERS:
        return empty && !one && (s->op == OP_TRY_PUT || s->op == OP_PUT_MANY) && s->kind->capacity >= 3;
    case PUTTER:
    case SELECT_PUTTER:
        return full && (s->op == OP_GET || s->op == OP_CLOSE || s->op == OP_TRY_GET);
    case PUTTERS:
        return full && !one && (s->op == OP_TRY_GET || s->op == OP_GET_MANY);
    case GETTER_AND_SELECT:
        return empty && (s->op == OP_CLOSE || (s->op == OP_TRY_PUT && !one));
    default:
        return (empty || full) && (s->op == OP_TRY_PUT || s->op == OP_TRY_GET || s->op == OP_CLOSE);
    }
}

bool scene_nth(unsigned n, struct scene *ret)
{
    struct scene s;
    for (unsigned o = 0; o < N_OPS; o++)
        for (unsigned k = 0; k < N_KINDS; k++)
            for (unsigned state = 0; state < N_STATES; state++)
                for (unsigned crew = 0; crew < N_CREWS; crew++)
                    for (unsigned first = 0; first < 2; first++) {
                        s = (struct scene){.kind = &kinds[k],
                                           .op = (enum op)o,
                                           .state = (enum state)state,
                                           .crew = (enum crew)crew,
                                           .first = first};
                        if (!makes_sense(&s) || n-- != 0)
                            continue;
                        snprintf(s.name, sizeof s.name, "%s/%s/%s%s%s%s", op_name(s.op), s.kind->name,
                                 state_names[state], crew ? "/" : "", crew_names[crew], first ? "/first" : "");
                        *ret = s;
                        return true;
                    }
    return false;
}

/* ---- Setting it ------------------------------------------------------------------------------------------------- */

static void base_put(struct world *w)
{
    unsigned char elem[ELEM_MAX];
    elem_make(w, id_of(BASE, w->put[BASE]++), elem);
    must(w, spool_try_put(w->to, elem) == 0);
}

static void base_get(struct world *w)
{
    unsigned char elem[ELEM_MAX];
    must(w, spool_try_get(w->from, elem) == 0);
    world_got(w, elem);
}

static void base_pass(struct world *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        base_put(w);
        base_get(w);
    }
}

/* Slots up to the end of the n-th segment of an unbounded one. */
static size_t segments(struct world *w, unsigned n)
{
    struct spool__chain *c = &spool__chan_lane(w->to, SPOOL__PUT)->chain;
    struct spool__segment *first = (struct spool__segment *)(void *)(c + 1);
    return (size_t)(first->slots + (n - 1) * c->slots);
}

static void set_state(struct world *w)
{
    size_t cap = w->scene->kind->capacity, n = cap == SPOOL_UNBOUNDED ? 3 : cap == 1 ? 1 : cap / 2;
    switch (w->scene->state) {
    case FULL:
        n = cap;
        break;
    case WRAPPED:
        base_pass(w, cap + 1);
        n = cap - 1;
        break;
    case TURNED:
        base_pass(w, cap == SPOOL_UNBOUNDED ? 40 : 3 * cap + cap / 2);
        n = 0;
        break;
    case FRESH:
    case DRAINED:
        n = 0;
        break;
    case SEG_END:
        base_pass(w, segments(w, 1) - n);
        break;
    case SEG_NEXT:
        base_pass(w, segments(w, 2) - n);
        break;
    case SEG_KEPT:
        base_pass(w, segments(w, 3) - n);
        break;
    case LEAVE:
    case RETIRE:
        base_pass(w, segments(w, w->scene->state == LEAVE ? 1 : 2) - n);
        for (size_t i = 0; i < n; i++)
            base_put(w);
        for (size_t i = 0; i < n; i++) {
            base_put(w);
            base_get(w);
        }
        n = 0;
        break;
    default:
        break;
    }
    for (size_t i = 0; i < n; i++)
        base_put(w);
    if (is_closed(w->scene->state)) {
        must(w, spool_close(w->to) == 0);
        w->closed = SHUT;
    }
}

static void select_new(struct world *w)
{
    static unsigned char elem[ELEM_MAX];
    bool puts = op_puts(w->scene->op);
    must(w, spool_select_new(&w->sel) == 0);
    elem_make(w, id_of(VICTIM, 0), elem);
    must(w, (puts ? spool_select_put(w->sel, w->to, elem) : spool_select_get(w->sel, w->from, w->elems)) == 0);
}

static void world_build(struct world *w)
{
    const struct scene *s = w->scene;
    if (s->kind->pair) {
        must(w, spool_pair_new(&w->to, &w->from, s->kind->elem_size, s->kind->capacity) == 0);
    } else {
        must(w, spool_chan_new(&w->to, s->kind->elem_size, s->kind->capacity) == 0);
        w->from = w->to;
    }
    must(w, spool_chan_new(&w->aside, s->kind->elem_size, 4) == 0);
    set_state(w);
    w->get_fd = w->put_fd = -1;
    if (s->crew == STRANGER) {
        w->get_fd = spool_fd(w->from);
        w->put_fd = spool_put_fd(w->to);
        must(w, w->get_fd >= 0 && w->put_fd >= 0);
    }
    if (s->op >= OP_SELECT_PUT)
        select_new(w);
}

/* ---- The victim ------------------------------------------------------------------------------------------------- */

/*
 * In place of the C library's: a yield seems to take no time. For who spins measures it, and sleeps at once when it
 * took long; but a victim has to do the same each time, on a busy machine too.
 */
static _Thread_local struct {
    struct timespec last;
    bool stands;
} watch;

int sched_yield(void)
{
    watch.stands = true;
    return (int)syscall(SYS_sched_yield);
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
    if (watch.stands)
        *ret = watch.last;
    else if (syscall(SYS_clock_gettime, clock, ret) < 0)
        return -1;
    watch.stands = false;
    watch.last = *ret;
    return 0;
}

static struct world *the_world; /* for the handler */

static void handle(int signal)
{
    struct world *w = the_world;
    unsigned char elem[ELEM_MAX];
    int saved = errno;
    (void)signal;
    errno = ERRNO_OF_HANDLER;
    elem_make(w, id_of(HANDLER, 0), elem);
    w->handler_result = spool_try_put(w->to, elem);
    must(w, spool_try_put(w->aside, elem) == 0);
    must(w, errno == ERRNO_OF_HANDLER);
    errno = saved;
    __atomic_fetch_add(&w->report->signalled, 1, __ATOMIC_RELEASE);
}

static ssize_t operate(struct world *w, const void *elems)
{
    enum op op = w->scene->op;
    switch (op) {
    case OP_PUT:
        return spool_put(w->to, elems);
    case OP_GET:
        return spool_get(w->from, w->elems);
    case OP_TRY_PUT:
        return spool_try_put(w->to, elems);
    case OP_TRY_GET:
        return spool_try_get(w->from, w->elems);
    case OP_PUT_FOR:
        return spool_put_for(w->to, elems, 100 * SECOND);
    case OP_GET_FOR:
        return spool_get_for(w->from, w->elems, 100 * SECOND);
    case OP_PUT_LATE:
        return spool_put_for(w->to, elems, 1);
    case OP_GET_LATE:
        return spool_get_for(w->from, w->elems, 1);
    case OP_PUT_MANY:
        return spool_put_many(w->to, elems, op_moves(op), -1);
    case OP_GET_MANY:
        return spool_get_many(w->from, w->elems, op_moves(op), -1);
    case OP_CLOSE:
        return spool_close(w->to);
    case OP_LEN:
        return (ssize_t)spool_len(w->from);
    default:
        return spool_select_wait(w->sel, op == OP_SELECT_PUT || op == OP_SELECT_GET ? -1 : 0);
    }
}

static void *victim(void *arg)
{
    struct world *w = arg;
    struct report *r = w->report;
    unsigned char elems[3 * ELEM_MAX];
    pid_t tid = (pid_t)syscall(SYS_gettid);
    if (!w->scene->first && w->scene->kind->capacity == SPOOL_UNBOUNDED) {
        spool_chan *other;
        must(w, spool_chan_new(&other, 8, SPOOL_UNBOUNDED) == 0);
        must(w, spool_try_put(other, elems) == 0 && spool_try_get(other, elems) == 0);
        (void)spool_unref(other);
    }
    for (uint32_t i = 0; i < op_moves(w->scene->op); i++)
        elem_make(w, id_of(VICTIM, i), elems + i * w->scene->kind->elem_size);
    must(w, ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
    __atomic_store_n(&r->victim, (uint32_t)tid, __ATOMIC_RELEASE);
    (void)syscall(SYS_tgkill, getpid(), tid, SIGSTOP);
    errno = ERRNO_OF_VICTIM;
    w->result = operate(w, elems);
    must(w, errno == ERRNO_OF_VICTIM);
    __atomic_fetch_or(&r->event, EVENT_RETURNED, __ATOMIC_RELEASE);
    (void)sem_post(&r->news);
    for (;;)
        pause();
}

/* Lets a victim that sleeps go on. */
static void feed(struct world *w)
{
    unsigned char elem[ELEM_MAX];
    int r;
    __atomic_store_n(&w->report->fed, 1, __ATOMIC_RELEASE);
    if (op_gets(w->scene->op)) {
        w->base_at_first++;
        base_put(w);
        return;
    }
    r = spool_try_get(w->from, elem);
    must(w, r == 0);
    world_got(w, elem);
}

_Noreturn void scene_play(const struct scene *scene, enum first_do first, bool handler, struct report *report)
{
    static struct world world;
    struct world *w = &world;
    pthread_t thread;
    uint32_t event;
    w->scene = scene;
    w->report = report;
    the_world = w;
    if (handler) {
        struct sigaction action = {.sa_handler = handle};
        must(w, sigaction(SIGUSR1, &action, NULL) == 0);
    }
    world_build(w);
    w->base_at_first = w->put[BASE] - w->next[BASE];
    crew_start(w);
    w->put[HANDLER] = handler;
    w->put[VICTIM] = op_puts(scene->op) ? op_moves(scene->op) : 0;
    must(w, pthread_create(&thread, NULL, victim, w) == 0);
    at(w, 0, "waits for the victim", 0);
    /* Not by any call that a victim makes, as a breakpoint may be in it. */
    bool watches = scene_sleeps(scene) || handler;
    while (!(event = __atomic_load_n(&report->event, __ATOMIC_ACQUIRE))) {
        pid_t tid = (pid_t)__atomic_load_n(&report->victim, __ATOMIC_ACQUIRE);
        if (!watches) {
            (void)sem_wait(&report->news);
            continue;
        }
        nap();
        if (!tid || !task_asleep(tid) || report->event)
            continue;
        if (__atomic_exchange_n(&report->poke, 0, __ATOMIC_RELAXED))
            must(w, tgkill(getpid(), tid, SIGUSR1) == 0);
        else
            feed(w);
    }
    w->closed = scene->op == OP_CLOSE && w->closed == OPEN ? (event & EVENT_RETURNED ? SHUT : EITHER) : w->closed;
    verdict(w, !(event & EVENT_RETURNED), first);
}
