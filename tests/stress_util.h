/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_STRESS_UTIL_H
#define SPOOL_STRESS_UTIL_H

/* What the stress programs share: how they end, what they are asked for, and a watch over their threads. */

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "spool.h"

#ifdef __has_feature
#define STRESS_HAS_FEATURE(x) __has_feature(x)
#else
#define STRESS_HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || STRESS_HAS_FEATURE(thread_sanitizer)
#define SLOWDOWN 10
#elif defined(__SANITIZE_ADDRESS__) || STRESS_HAS_FEATURE(address_sanitizer)
#define SLOWDOWN 4
#else
#define SLOWDOWN 1
#endif

#define STUCK 30
#define CREW_MAX 64
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* What was asked for. */
static uint64_t seed = 1;
static bool one_capacity;
static size_t only_capacity, only_size;
static const char *only_variant;

/* One counter per thread on its own line, so that watching progress costs the threads nothing. */
static struct {
    _Alignas(128) atomic_ullong moved;
} meter[CREW_MAX + 1];
static void (*dump)(void);

static inline _Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

static inline _Noreturn void fail(const char *format, ...)
{
    va_list args;
    printf("not ok ");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
    if (dump)
        dump();
    fflush(stderr);
    _exit(1);
}

static inline void check(bool ok, const char *what, long long got)
{
    if (!ok)
        fail("%s: %lld", what, got);
}

static inline void tick(int who)
{
    atomic_fetch_add_explicit(&meter[who].moved, 1, memory_order_relaxed);
}

static inline unsigned long long moved(void)
{
    unsigned long long sum = 0;
    for (int i = 0; i <= CREW_MAX; i++)
        sum += atomic_load_explicit(&meter[i].moved, memory_order_relaxed);
    return sum;
}

static inline void *watchdog(void *arg)
{
    (void)arg;
    unsigned long long last = moved();
    for (int idle = 0;; idle++) {
        sleep(1);
        unsigned long long now = moved();
        if (now != last)
            idle = 0;
        last = now;
        if (idle >= STUCK)
            fail("nothing moved for %d seconds: hung", STUCK);
    }
    return NULL;
}

static inline double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static inline uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state * UINT64_C(0x2545f4914f6cdd1d) >> 32;
}

static inline uint64_t seeded(uint64_t salt)
{
    uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) ^ (salt + 1) * UINT64_C(0xbf58476d1ce4e5b9);
    state = state ? state : 1;
    draw(&state);
    return state;
}

static inline pthread_t start(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    int r = pthread_create(&thread, NULL, fn, arg);
    check(r == 0, "pthread_create", r);
    return thread;
}

/* ---- What is asked for ---- */

/* Leaves of a mode's list of capacities what -c says, and returns the length. */
static inline size_t chosen(const size_t **capacities, size_t n)
{
    if (one_capacity)
        *capacities = &only_capacity;
    return one_capacity ? 1 : n;
}

/* Valid until the next call. */
static inline const char *capacity_name(size_t capacity)
{
    static char text[32];
    snprintf(text, sizeof(text), "%zu", capacity);
    return capacity == SPOOL_UNBOUNDED ? "unbounded" : text;
}

struct mode {
    const char *name;
    void (*run)(uint64_t count);
    uint64_t count; /* in a quick run */
};

/* A quick run's count, times SPOOL_TEST_SCALE, less where a sanitizer slows it down. */
static inline uint64_t scaled(uint64_t count)
{
    const char *text = getenv("SPOOL_TEST_SCALE");
    double factor = text ? atof(text) : 1;
    if (!(factor > 0))
        factor = 1;
    factor /= SLOWDOWN;
    return (double)count * factor < 1 ? 1 : (uint64_t)((double)count * factor);
}

static inline _Noreturn void usage(const char *program, const struct mode *modes, size_t n)
{
    fprintf(stderr,
            "usage: %s [-n count] [-c capacity|unbounded] [-s elem_size] [-v variant] [-r seed] [mode ...]\nmodes:",
            program);
    for (size_t m = 0; m < n; m++)
        fprintf(stderr, " %s", modes[m].name);
    fputc('\n', stderr);
    exit(2);
}

static inline bool is_named(const char *name, int argc, char **argv)
{
    for (int i = optind; i < argc; i++)
        if (!strcmp(argv[i], name))
            return true;
    return false;
}

/* The number that all of the text is. */
static inline bool parse(const char *text, uint64_t *ret)
{
    char *end;
    *ret = strtoull(text, &end, 0);
    return end != text && !*end;
}

static inline bool parse_capacity(const char *text)
{
    uint64_t value = SPOOL_UNBOUNDED;
    if (strcmp(text, "unbounded") != 0 && !parse(text, &value))
        return false;
    one_capacity = true;
    only_capacity = (size_t)value;
    return true;
}

static inline int stress_main(int argc, char **argv, const struct mode *modes, size_t n)
{
    uint64_t count = 0, size = 0;
    int option;
    bool ok = true;
    while ((option = getopt(argc, argv, "n:c:s:v:r:")) != -1) {
        if (option == 'n')
            ok &= parse(optarg, &count);
        else if (option == 'c')
            ok &= parse_capacity(optarg);
        else if (option == 's')
            ok &= parse(optarg, &size);
        else if (option == 'v')
            only_variant = optarg;
        else if (option == 'r')
            ok &= parse(optarg, &seed);
        else
            ok = false;
    }
    only_size = (size_t)size;
    for (int i = optind; i < argc; i++) {
        size_t m = 0;
        while (m < n && strcmp(argv[i], modes[m].name) != 0)
            m++;
        ok &= m < n;
    }
    if (!ok)
        usage(argv[0], modes, n);
    setvbuf(stdout, NULL, _IOLBF, 0);
    pthread_detach(start(watchdog, NULL));
    for (size_t m = 0; m < n; m++)
        if (optind == argc || is_named(modes[m].name, argc, argv))
            modes[m].run(count ? count : scaled(modes[m].count));
    return 0;
}

#endif
