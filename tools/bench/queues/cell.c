/* SPDX-License-Identifier: LGPL-3.0-or-later */

#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct {
    const char *name;
    size_t capacity;
} flavours[] = {
    { "bounded_0", 0 }, { "bounded_1", 1 }, { "bounded_1024", 1024 },
    { "bounded_n", CELL_CAPACITY_N }, { "unbounded", SIZE_MAX },
};
static const char *const shapes[] = { "seq", "spsc", "mpsc", "mpmc", "select_rx", "select_both" };

#define N_FLAVOURS (sizeof flavours / sizeof flavours[0])
#define N_SHAPES (sizeof shapes / sizeof shapes[0])

struct run {
    const struct cell *cell;
    const struct runner *runner;
    struct side tx, rx;
    void **queues;
    pthread_barrier_t start;
    atomic_size_t running;
};

struct thread {
    struct run *run;
    struct slot *slot;
    bool sends;
    pthread_t id;
};

void cell_wrong(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("wrong: ", stdout);
    vprintf(format, args);
    putchar('\n');
    va_end(args);
    fflush(stdout);
    _exit(1);
}

void cell_fail(const char *what, int error)
{
    fprintf(stderr, "%s%s%s\n", what, error ? ": " : "", error ? strerror(error < 0 ? -error : error) : "");
    _exit(2);
}

static _Noreturn void cannot(const char *why)
{
    puts(why);
    exit(77);
}

static void *take(size_t n, size_t size)
{
    void *p = aligned_alloc(128, (n * size + 127) / 128 * 128);
    if (!p)
        cell_fail("memory", errno);
    return memset(p, 0, n * size);
}

void slot_sample(struct slot *s, uint64_t done)
{
    uint64_t now = now_ns(), took = now - s->mark, n = done - s->marked;
    uint64_t stride = took ? 8192 * n / took : 256;
    if (took > s->longest)
        s->longest = took;
    s->mark = now;
    s->marked = done;
    s->next = done + (stride < 1 ? 1 : stride > 256 ? 256 : stride);
}

/* The first of a side to finish compares how far the others are. */
static void slot_finish(struct slot *s)
{
    struct side *side = s->side;
    if (atomic_exchange(&side->one_is_done, true))
        return;
    double sum = 0, least = INFINITY;
    for (size_t i = 0; i < side->n; i++) {
        double done = (double)atomic_load_explicit(&side->slots[i].done, memory_order_relaxed);
        sum += done;
        least = fmin(least, done);
    }
    side->least_share = sum > 0 ? least * (double)side->n / sum : 1;
}

/* ---- What is measured ----------------------------------------------------------------------------------------- */

static uint64_t number(const char *text, uint64_t min, uint64_t max, const char *what)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno || end == text || *end || n < min || n > max) {
        fprintf(stderr, "%s: not a number from %llu to %llu\n", what, (unsigned long long)min, (unsigned long long)max);
        exit(2);
    }
    return n;
}

static bool is_cell(size_t flavour, size_t shape)
{
    return flavours[flavour].capacity > 0 || shape != SEQ;
}

static void cell_set(struct cell *c, const char *setting)
{
    const char *value = strchr(setting, '=');
    size_t n = value ? (size_t)(value++ - setting) : 0;
    if (n == 8 && !strncmp(setting, "messages", n)) {
        c->messages = number(value, 1, (uint64_t)1 << 32, setting);
    } else if (n == 7 && !strncmp(setting, "threads", n)) {
        c->threads = number(value, 1, CELL_THREADS_MAX, setting);
    } else if (n == 4 && !strncmp(setting, "elem", n)) {
        c->elem = number(value, 8, 1 << 20, setting);
    } else if (n == 5 && !strncmp(setting, "batch", n)) {
        c->batch = number(value, 1, CELL_BATCH_MAX, setting);
    } else if (n == 5 && !strncmp(setting, "stall", n)) {
        c->stall_s = (unsigned)number(value, 1, 3600, setting);
    } else {
        fprintf(stderr, "%s: not a setting\n", setting);
        exit(2);
    }
}

static void cell_parse(struct cell *c, int argc, char **argv)
{
    *c = (struct cell){ .name = argv[1], .messages = 5000000, .threads = 4, .elem = 8, .batch = 1, .stall_s = 10 };
    bool known = false;
    for (size_t f = 0; f < N_FLAVOURS; f++) {
        size_t n = strlen(flavours[f].name);
        if (strncmp(c->name, flavours[f].name, n) || c->name[n] != '_')
            continue;
        for (size_t s = 0; s < N_SHAPES; s++) {
            if (strcmp(c->name + n + 1, shapes[s]) || !is_cell(f, s))
                continue;
            known = true;
            c->capacity = flavours[f].capacity;
            c->shape = (enum cell_shape)s;
        }
    }
    if (!known)
        cannot("no such cell");
    for (int i = 2; i < argc; i++)
        cell_set(c, argv[i]);
    if (c->capacity == CELL_CAPACITY_N && c->messages < c->capacity)
        c->capacity = c->messages;
    if (c->threads > c->messages)
        c->threads = c->messages;
    c->n_tx = c->shape >= MPSC ? c->threads : 1;
    c->n_rx = c->shape == MPMC || c->shape == SELECT_BOTH ? c->threads : 1;
    c->n_queues = cell_selects(c) ? c->threads : 1;
    if (cell_selects(c) && c->batch > 1)
        cannot("a select moves one message");
}

/* ---- Threads -------------------------------------------------------------------------------------------------- */

static void side_new(struct side *side, size_t n, bool receives, struct run *run)
{
    const struct cell *c = run->cell;
    *side = (struct side){ .slots = take(n, sizeof(struct slot)), .n = n };
    for (size_t i = 0; i < n; i++) {
        struct slot *s = side->slots + i;
        s->goal = c->messages / n + (i < c->messages % n);
        s->cell = c;
        s->side = side;
        s->index = (unsigned)i;
        s->elems = take(c->batch, c->elem);
        s->queues = run->queues;
        if (!receives)
            continue;
        s->tallies = take(c->n_tx, sizeof *s->tallies);
        s->last = take(c->n_tx * c->n_queues, sizeof *s->last);
    }
}

static void *thread_run(void *arg)
{
    struct thread *t = arg;
    struct run *run = t->run;
    struct slot *s = t->slot;
    pthread_barrier_wait(&run->start);
    s->mark = now_ns();
    if (run->cell->shape == SEQ)
        run->runner->seq(s, run->rx.slots);
    else if (t->sends)
        run->runner->send(s);
    else
        run->runner->receive(s);
    slot_finish(s);
    slot_sample(s, s->goal);
    atomic_fetch_sub(&run->running, 1);
    return NULL;
}

static uint64_t side_done(const struct side *side)
{
    uint64_t done = 0;
    for (size_t i = 0; i < side->n; i++)
        done += atomic_load_explicit(&side->slots[i].done, memory_order_relaxed);
    return done;
}

/* Joins a thread. Where nothing moves any more, a message was lost, or a wake-up. */
static void join(struct run *run, pthread_t id)
{
    uint64_t before = UINT64_MAX, since = now_ns();
    for (;;) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 200000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        int error = pthread_timedjoin_np(id, NULL, &until);
        if (!error)
            return;
        if (error != ETIMEDOUT)
            cell_fail("pthread_timedjoin_np", error);
        uint64_t sent = side_done(&run->tx), got = side_done(&run->rx), now = now_ns();
        if (sent + got + atomic_load(&run->running) != before) {
            before = sent + got + atomic_load(&run->running);
            since = now;
        } else if (now - since > run->cell->stall_s * UINT64_C(1000000000)) {
            cell_wrong("nothing has moved for %u s: %llu of %llu are put and %llu got", run->cell->stall_s,
                       (unsigned long long)sent, (unsigned long long)run->cell->messages, (unsigned long long)got);
        }
    }
}

static void start(struct run *run, struct thread *t, struct slot *s, bool sends)
{
    *t = (struct thread){ .run = run, .slot = s, .sends = sends };
    int error = pthread_create(&t->id, NULL, thread_run, t);
    if (error)
        cell_fail("pthread_create", error);
}

/* Each producer's numbers, 1 to its goal, were got once each. */
static void check_all(const struct run *run)
{
    for (size_t p = 0; p < run->tx.n; p++) {
        struct tally got = { 0, 0, 0 }, put = { 0, 0, 0 };
        for (size_t i = 0; i < run->rx.n; i++) {
            const struct tally *t = run->rx.slots[i].tallies + p;
            got.count += t->count;
            got.sum += t->sum;
            got.squares += t->squares;
        }
        for (uint64_t n = 1; n <= run->tx.slots[p].goal; n++) {
            put.count++;
            put.sum += n;
            put.squares += n * n;
        }
        if (got.count != put.count || got.sum != put.sum || got.squares != put.squares)
            cell_wrong("producer %zu: %llu messages got for %llu put, sums %llu and %llu", p,
                       (unsigned long long)got.count, (unsigned long long)put.count, (unsigned long long)got.sum,
                       (unsigned long long)put.sum);
    }
}

static uint64_t cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void report(const struct run *run, uint64_t elapsed, uint64_t cpu)
{
    const struct cell *c = run->cell;
    uint64_t longest = 0;
    for (size_t i = 0; i < run->tx.n; i++)
        longest = run->tx.slots[i].longest > longest ? run->tx.slots[i].longest : longest;
    for (size_t i = 0; i < run->rx.n; i++)
        longest = run->rx.slots[i].longest > longest ? run->rx.slots[i].longest : longest;
    printf("figure ns_per_message %.3f\n", (double)elapsed / (double)c->messages);
    printf("figure cpu_ns_per_message %.3f\n", (double)cpu / (double)c->messages);
    printf("figure elapsed_ms %.3f\n", (double)elapsed / 1e6);
    if (c->shape >= MPSC && c->threads > 1)
        printf("figure least_share %.4f\n",
               run->rx.n > 1 ? fmin(run->tx.least_share, run->rx.least_share) : run->tx.least_share);
    if (c->shape != SEQ)
        printf("figure longest_wait_us %.1f\n", (double)longest / 1e3);
}

/* The clock runs from before the queues are made until they are gone, as in crossbeam-channel's benchmark. */
static void measure(const struct cell *c, const struct runner *r)
{
    struct run run = { .cell = c, .runner = r, .queues = take(c->n_queues, sizeof(void *)) };
    side_new(&run.tx, c->n_tx, false, &run);
    side_new(&run.rx, c->n_rx, true, &run);
    size_t n_threads = c->shape == SEQ ? 1 : c->n_tx + c->n_rx;
    struct thread *threads = take(n_threads, sizeof *threads);
    atomic_store(&run.running, n_threads);
    int error = pthread_barrier_init(&run.start, NULL, (unsigned)n_threads);
    if (error)
        cell_fail("pthread_barrier_init", error);

    uint64_t cpu = cpu_ns(), began = now_ns();
    for (size_t i = 0; i < c->n_queues; i++)
        run.queues[i] = r->ops->queue_new(c, i);
    for (size_t i = 0; i < n_threads; i++)
        start(&run, threads + i, i < c->n_tx ? run.tx.slots + i : run.rx.slots + (i - c->n_tx), i < c->n_tx);
    for (size_t i = 0; i < n_threads; i++)
        join(&run, threads[i].id);
    for (size_t i = 0; i < c->n_queues; i++)
        r->ops->queue_free(run.queues[i]);
    uint64_t elapsed = now_ns() - began;
    cpu = cpu_ns() - cpu;

    check_all(&run);
    report(&run, elapsed, cpu);
}

int cell_main(int argc, char **argv, const struct runner *r)
{
    if (argc == 2 && !strcmp(argv[1], "--list")) {
        for (size_t f = 0; f < N_FLAVOURS; f++)
            for (size_t s = 0; s < N_SHAPES; s++)
                if (is_cell(f, s))
                    printf("%s_%s\n", flavours[f].name, shapes[s]);
        return 0;
    }
    if (argc == 2 && !strcmp(argv[1], "--about")) {
        puts(r->ops->about());
        return 0;
    }
    if (argc < 2 || argv[1][0] == '-') {
        fprintf(stderr, "usage: %s CELL [messages=N] [threads=N] [elem=BYTES] [batch=N] [stall=SECONDS]\n"
                        "       %s --list | --about\n", argv[0], argv[0]);
        return 2;
    }
    struct cell c;
    cell_parse(&c, argc, argv);
    const char *why = r->ops->cannot ? r->ops->cannot(&c) : NULL;
    if (why)
        cannot(why);
    measure(&c, r);
    return 0;
}
