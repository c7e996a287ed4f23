/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "search.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

#include "../../lib/hazard.h"

#define STEPS_MAX 20000 /* of one run: more is an endless loop */
#define CHOICES_MAX 65536

struct choice {
    uint8_t n, pick;
    uint32_t costs;
    int left;       /* of the bound, before it */
    unsigned place; /* in the run, counted alike whatever is known to be shared */
};

enum state { NONE, ABLE, BLOCKED, DONE, STOPPED };

static struct {
    enum state state;
    int64_t deadline;
    bool late;
    const char *on;
    jmp_buf at, top;
    struct spool__hazard *hazard; /* of the library's variable for each thread */
} threads[EX_THREADS];

int ex_self;
bool ex_tracing;
const struct ex_scenario *ex_scenario;

static struct choice path[CHOICES_MAX];
static int depth, fixed; /* choices made, and how many of them are given */
static int left;
static unsigned steps, place;
static bool running, started;
static jmp_buf driver;
static char message[512];
static unsigned trace_lines;

static bool is_search; /* each run repeats the one before it, up to the choice that changed */
static bool is_random;
static uint64_t random_state;
static uint32_t priorities[EX_THREADS], lowest_priority;
static unsigned changes[16], n_changes, longest;

/* The choices of a run that is made again, by their places. */
static struct {
    unsigned place, pick;
} given[1024];
static int n_given, next_given;
static bool is_given;

/* ---- Choices -------------------------------------------------------------------------------------------------- */

static uint32_t draw(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 32) % n);
}

static unsigned record(unsigned n, uint32_t costs, unsigned usual)
{
    if (depth == CHOICES_MAX)
        ex_fail("more than %d choices", CHOICES_MAX);
    struct choice *c = &path[depth];
    /* Otherwise something was left over from the run before, and whole parts of the search are lost. */
    if (is_search && depth < fixed && (c->n != n || c->costs != costs || c->place != place))
        ex_fail("the library does not repeat itself: at place %u of a run there was a choice of %u, now at %u one of %u",
                c->place, c->n, place, n);
    c->place = place;
    if (is_given) {
        bool here = next_given < n_given && given[next_given].place == place;
        c->pick = (uint8_t)(here ? given[next_given++].pick : 0);
        c->pick = c->pick < n ? c->pick : 0;
    } else if (depth >= fixed)
        c->pick = (uint8_t)usual;
    else if (c->pick >= n)
        c->pick = 0; /* only while shrinking, or with choices from elsewhere */
    c->n = (uint8_t)n;
    c->costs = costs;
    c->left = left;
    left -= (int)(costs >> c->pick & 1);
    depth++;
    return c->pick;
}

unsigned ex_choose(unsigned n, uint32_t costs)
{
    place++;
    return record(n, costs, is_random && draw(4) == 0 ? draw(n) : 0);
}

/* The next run in the order of the search; false if there is none. */
static bool advance(void)
{
    while (depth > 0) {
        struct choice *c = &path[depth - 1];
        for (unsigned pick = c->pick + 1u; pick < c->n; pick++)
            if ((int)(c->costs >> pick & 1) <= c->left) {
                c->pick = (uint8_t)pick;
                fixed = depth;
                return true;
            }
        depth--;
    }
    return false;
}

/* ---- Threads -------------------------------------------------------------------------------------------------- */

static void switch_to(int t)
{
    if (t == ex_self)
        return;
    threads[ex_self].hazard = spool__hazard_mine;
    if (_setjmp(threads[ex_self].at) != 0)
        return;
    ex_self = t;
    spool__hazard_mine = threads[t].hazard;
    _longjmp(threads[t].at, 1);
}

enum act { RUN, EXPIRE, STOP };

/* What may happen next, the usual first. able: this thread can go on; polite: but would rather not. */
static void schedule(bool able, bool polite)
{
    for (;;) {
        struct {
            enum act act;
            int thread;
        } may[2 * EX_THREADS + 2];
        unsigned n = 0, usual = 0;
        uint32_t costs = 0;
        int others = 0;
        place++;
        if (++steps > STEPS_MAX)
            ex_fail("more than %d steps: an endless loop", STEPS_MAX);
        for (int t = 1; t < EX_THREADS + 1; t++)
            others += t % EX_THREADS != ex_self && threads[t % EX_THREADS].state == ABLE;
        bool first = able && (!polite || !others);
        if (first)
            may[n].act = RUN, may[n++].thread = ex_self;
        for (int i = 1; i < EX_THREADS; i++) {
            int t = (ex_self + i) % EX_THREADS;
            if (threads[t].state != ABLE)
                continue;
            costs |= (uint32_t)(first || (n > 0 && ex_scenario->flags & EX_DELAYS)) << n;
            may[n].act = RUN, may[n++].thread = t;
        }
        if (able && !first)
            costs |= 1u << n, may[n].act = RUN, may[n++].thread = ex_self;
        for (int t = 0; t < EX_THREADS; t++)
            if (threads[t].state == BLOCKED && threads[t].deadline != INT64_MAX) {
                costs |= (uint32_t)(able || others) << n;
                may[n].act = EXPIRE, may[n++].thread = t;
            }
        if (ex_scenario->flags & EX_STOPS && able && ex_self == 1) {
            costs |= 1u << n;
            may[n].act = STOP, may[n++].thread = 1;
        }
        if (n == 0) {
            char on[256] = "";
            for (int t = 0; t < EX_THREADS; t++)
                if (threads[t].state == BLOCKED)
                    (void)snprintf(on + strlen(on), sizeof on - strlen(on), " thread %d waits for %s,", t,
                                   threads[t].on);
            on[strlen(on) - 1] = '\0';
            ex_fail("nobody can go on:%s", on);
        }
        if (is_random && n > 1) {
            if (may[n - 1].act != RUN && draw(8) == 0) {
                usual = draw(n);
            } else {
                for (unsigned i = 1; i < n; i++)
                    if (may[i].act == RUN &&
                        (may[usual].act != RUN || priorities[may[i].thread] > priorities[may[usual].thread]))
                        usual = i;
                if (polite && may[usual].act == RUN && may[usual].thread == ex_self && others)
                    usual = 0;
            }
            for (unsigned i = 0; i < n_changes; i++)
                if (changes[i] == steps && may[usual].act == RUN)
                    priorities[may[usual].thread] = lowest_priority--;
        }
        unsigned pick = n == 1 ? 0 : record(n, costs, usual);
        if (may[pick].act == EXPIRE) {
            int t = may[pick].thread;
            ex_set_now(threads[t].deadline);
            threads[t].state = ABLE;
            threads[t].late = true;
            able = able || t == ex_self;
            continue;
        }
        if (may[pick].act == STOP) {
            static const struct ex_site site = {"stops for ever", "", "", "", 0};
            ex_trace(&site, " ");
            threads[1].state = STOPPED;
            ex_wake(0);
            able = false;
            continue;
        }
        switch_to(may[pick].thread);
        return;
    }
}

void ex_skip(void)
{
    place++;
}

void ex_step(void)
{
    schedule(true, false);
}

void ex_yield(void)
{
    schedule(true, true);
}

int ex_block(int64_t deadline, const char *on)
{
    threads[ex_self].state = BLOCKED;
    threads[ex_self].deadline = deadline;
    threads[ex_self].late = false;
    threads[ex_self].on = on;
    schedule(false, false);
    return threads[ex_self].late ? -ETIMEDOUT : 0;
}

void ex_wake(int thread)
{
    if (threads[thread].state == BLOCKED)
        threads[thread].state = ABLE;
}

void ex_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (!running) {
        (void)fprintf(stderr, "explore: %s\n", message);
        exit(2);
    }
    _longjmp(driver, 2);
}

void ex_trace(const struct ex_site *site, const char *format, ...)
{
    static int last = -1;
    if (!ex_tracing)
        return;
    char what[160];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    const char *file = strrchr(site->file, '/') ? strrchr(site->file, '/') + 1 : site->file;
    char place[80] = "";
    if (site->line)
        (void)snprintf(place, sizeof place, "%s:%d %s", file, site->line, site->func);
    (void)printf("%c%4u  %*s%d  %-34s %s %s  %s\n", last == ex_self ? ' ' : '-', ++trace_lines, 2 * ex_self, "",
                 ex_self, place, site->what, site->where, what);
    last = ex_self;
}

bool ex_is_stopped(void)
{
    return threads[1].state == STOPPED;
}

static int n_threads(void)
{
    int n = 0;
    while (n + 1 < EX_THREADS && ex_scenario->threads[n])
        n++;
    return n;
}

static void thread_0(void)
{
    ex_scenario->setup();
    /* What this thread remembers of segments would keep them. It begins anew. */
    ex_kernel_thread_ends();
    spool__hazard_mine = NULL;
    for (int t = 1; t <= n_threads(); t++) {
        ex_memory_fork(t);
        threads[t].state = ABLE;
    }
    bool all;
    do {
        all = true;
        for (int t = 1; t <= n_threads(); t++)
            all = all && threads[t].state >= DONE;
        if (!all)
            (void)ex_block(INT64_MAX, "the others");
    } while (!all);
    for (int t = 1; t <= n_threads(); t++)
        if (threads[t].state == DONE)
            ex_memory_join(t);
    if (ex_scenario->finish)
        ex_scenario->finish();
    /* Who stopped has kept what it had. */
    if (ex_is_stopped())
        _longjmp(driver, 1);
    ex_kernel_thread_ends();
    ex_check_leaks();
    ex_kernel_check();
    _longjmp(driver, 1);
}

static void thread_main(int t)
{
    if (t == 0)
        thread_0();
    ex_scenario->threads[t - 1]();
    ex_kernel_thread_ends();
    ex_memory_end();
    threads[t].state = DONE;
    ex_wake(0);
    schedule(false, false);
    ex_fail("a thread went on after its end");
}

/* Each coroutine begins here once, and every run goes back to this point of it. */
static void coroutine(int t)
{
    if (_setjmp(threads[t].top) == 0)
        _longjmp(driver, 1);
    thread_main(t);
}

static void make_coroutine(int t)
{
    ucontext_t c;
    size_t bytes;
    (void)getcontext(&c);
    c.uc_stack.ss_sp = ex_stack(t, &bytes);
    c.uc_stack.ss_size = bytes;
    c.uc_link = NULL;
    makecontext(&c, (void (*)(void))(void *)coroutine, 1, t);
    if (_setjmp(driver) == 0)
        (void)setcontext(&c);
}

/* ---- A run ---------------------------------------------------------------------------------------------------- */

/* True if all was well. */
static bool run(enum ex_memory memory, int bound)
{
    for (int t = 0; !started && t < EX_THREADS; t++)
        make_coroutine(t);
    started = true;
    depth = 0;
    left = bound;
    steps = place = 0;
    next_given = 0;
    ex_self = 0;
    spool__hazard_mine = NULL;
    ex_memory_reset(memory, ex_scenario->flags & EX_REUSE);
    ex_kernel_reset();
    ex_history_reset();
    for (int t = 0; t < EX_THREADS; t++) {
        threads[t].state = t == 0 ? ABLE : NONE;
        threads[t].hazard = NULL;
        memcpy(threads[t].at, threads[t].top, sizeof(jmp_buf));
    }
    running = true;
    switch (_setjmp(driver)) {
    case 0:
        _longjmp(threads[0].at, 1);
    case 1:
        if (_setjmp(driver) == 0) {
            ex_history_check();
            running = false;
            return true;
        }
        /* fall through */
    default:
        running = false;
        return false;
    }
}

double ex_seconds(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void set_failed(struct ex_result *r)
{
    r->failed = true;
    (void)snprintf(r->message, sizeof r->message, "%s", message);
}

struct ex_result ex_search(const struct ex_scenario *scenario, enum ex_memory memory, int bound, uint64_t max_runs,
                           double max_seconds)
{
    struct ex_result r = {.complete = false};
    double end = ex_seconds() + max_seconds;
    ex_scenario = scenario;
    is_random = false;
    for (unsigned known = ex_n_shared;; known = ex_n_shared) {
        fixed = 0;
        do {
            r.runs++;
            is_search = true;
            bool is_well = run(memory, bound);
            is_search = false;
            if (!is_well) {
                set_failed(&r);
                return r;
            }
            if (r.runs >= max_runs || (r.runs % 64 == 0 && ex_seconds() >= end))
                return r;
        } while (known == ex_n_shared && advance());
        r.complete = known == ex_n_shared;
        if (r.complete)
            return r;
    }
}

struct ex_result ex_random(const struct ex_scenario *scenario, enum ex_memory memory, uint64_t seed, int pct_depth,
                           double max_seconds)
{
    struct ex_result r = {.complete = false};
    double end = ex_seconds() + max_seconds;
    ex_scenario = scenario;
    is_random = true;
    random_state = seed * 2 + 1;
    longest = 64;
    for (int i = 0; i < 16; i++)
        (void)draw(2);
    do {
        fixed = 0;
        lowest_priority = 1000;
        for (int t = 0; t < EX_THREADS; t++)
            priorities[t] = 1001 + draw(1000000);
        n_changes = draw((uint32_t)pct_depth) + 1;
        for (unsigned i = 0; i < n_changes; i++)
            changes[i] = 1 + draw(longest);
        r.runs++;
        if (!run(memory, INT32_MAX)) {
            is_random = false;
            set_failed(&r);
            return r;
        }
        if (steps > longest)
            longest = steps;
    } while (r.runs % 64 != 0 || ex_seconds() < end);
    is_random = false;
    return r;
}

struct ex_result ex_replay(const struct ex_scenario *scenario, enum ex_memory memory)
{
    struct ex_result r = {.runs = 1};
    ex_scenario = scenario;
    is_random = false;
    if (!run(memory, INT32_MAX))
        set_failed(&r);
    return r;
}

/* ---- A run that failed ---------------------------------------------------------------------------------------- */

static void trim(void)
{
    while (depth > 0 && path[depth - 1].pick == 0)
        depth--;
    fixed = depth;
}

void ex_shrink(const struct ex_scenario *scenario, enum ex_memory memory, struct ex_result *result)
{
    static struct choice best[CHOICES_MAX];
    trim();
    int n = depth;
    memcpy(best, path, (size_t)n * sizeof best[0]);
    for (bool better = true; better;) {
        better = false;
        for (int i = n - 1; i >= 0; i--) {
            if (i >= n || best[i].pick == 0)
                continue;
            memcpy(path, best, (size_t)n * sizeof best[0]);
            path[i].pick = 0;
            fixed = n;
            struct ex_result r = ex_replay(scenario, memory);
            if (!r.failed)
                continue;
            trim();
            int weight = 0, was = 0;
            for (int j = 0; j < depth; j++)
                weight += path[j].pick != 0;
            for (int j = 0; j < n; j++)
                was += best[j].pick != 0;
            if (weight > was || (weight == was && depth >= n))
                continue;
            n = depth;
            memcpy(best, path, (size_t)n * sizeof best[0]);
            *result = r;
            better = true;
        }
    }
    memcpy(path, best, (size_t)n * sizeof best[0]);
    fixed = depth = n;
}

void ex_show(const struct ex_scenario *scenario, enum ex_memory memory)
{
    int n = fixed;
    ex_tracing = true;
    trace_lines = 0;
    (void)ex_replay(scenario, memory);
    ex_tracing = false;
    depth = fixed = n;
}

/* Those that were not the usual ones, as place:answer. */
void ex_print_choices(void)
{
    const char *between = "";
    for (int i = 0; i < fixed; i++)
        if (path[i].pick) {
            (void)printf("%s%u:%d", between, path[i].place, path[i].pick);
            between = ",";
        }
}

bool ex_read_choices(const char *word)
{
    is_given = true;
    n_given = 0;
    while (*word) {
        int length;
        if (n_given == (int)(sizeof given / sizeof given[0]) ||
            sscanf(word, "%u:%u%n", &given[n_given].place, &given[n_given].pick, &length) != 2)
            return false;
        n_given++;
        word += length;
        if (*word == ',')
            word++;
    }
    return true;
}
