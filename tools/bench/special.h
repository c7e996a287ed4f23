/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPECIAL_H
#define SPECIAL_H

/*
 * What every runner of a special measurement needs: its cells, its options, its figures, and how it ends.
 *
 *     RUNNER CELL [KEY=VALUE ...]    measures one cell; without CELL, all in turn, each in a process of its own
 *     RUNNER --list                  the names of the cells
 *     RUNNER --about                 what is measured
 *
 * cpus=LIST is understood by all: the processors to run on, as in cpus=0 or cpus=0,1.
 * Exit status 0: measured; 1: a message went wrong, or a call failed; 2: usage; 77: it cannot be done here.
 */
#include <errno.h>
#include <sched.h>
#include <spool.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SPECIAL static inline __attribute__((unused))

struct cell {
    const char *name;
    void (*run)(long arg);
    long arg;
};

static char **special_options;
static bool special_one_cpu;

/* ---- How it ends ---------------------------------------------------------------------------------------------- */

__attribute__((unused, noreturn, format(printf, 2, 3))) static void special_end(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
    _exit(status);
}

#define wrong(...) special_end(1, "wrong: " __VA_ARGS__)
#define skip(...) special_end(77, __VA_ARGS__)
#define die(what, error) special_end(1, "%s: %s", what, strerror((error) < 0 ? -(int)(error) : (int)(error)))

/* For calls that return a negative errno; need_sys for those that set errno. */
SPECIAL long need(long result, const char *what)
{
    if (result < 0)
        die(what, result);
    return result;
}

SPECIAL long need_sys(long result, const char *what)
{
    if (result < 0)
        die(what, errno);
    return result;
}

/* ---- Figures -------------------------------------------------------------------------------------------------- */

__attribute__((unused, format(printf, 2, 3))) static void figure(double value, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("figure ");
    vprintf(format, args);
    va_end(args);
    printf(" %.10g\n", value);
    fflush(stdout);
}

SPECIAL int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

SPECIAL void sleep_ns(int64_t ns)
{
    struct timespec ts = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
        ;
}

/* Spinning would keep the other side from its only processor. */
SPECIAL void relax(void)
{
    if (special_one_cpu)
        sched_yield();
#if defined(__x86_64__) || defined(__i386__)
    else
        __builtin_ia32_pause();
#endif
}

SPECIAL int special_by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

SPECIAL void sort_times(int64_t *times, size_t n)
{
    qsort(times, n, sizeof *times, special_by_value);
}

/* The smallest time that a share of all does not exceed; the times are sorted. */
SPECIAL double percentile(const int64_t *times, size_t n, double share)
{
    double rank = share * (double)n;
    size_t i = (size_t)rank;
    if ((double)i == rank && i > 0)
        i--;
    return (double)times[i < n ? i : n - 1];
}

/* Sorts them. A ratio to another's is for the caller to print. */
SPECIAL void figure_times(const char *name, int64_t *times, size_t n)
{
    sort_times(times, n);
    figure(percentile(times, n, 0.5), "%s.p50", name);
    figure(percentile(times, n, 0.99), "%s.p99", name);
    figure(percentile(times, n, 0.999), "%s.p99.9", name);
}

SPECIAL void figure_ratios(const char *name, const int64_t *times, const int64_t *base, size_t n)
{
    static const double shares[] = {0.5, 0.99, 0.999};
    static const char *const names[] = {"p50", "p99", "p99.9"};
    for (int i = 0; i < 3; i++)
        figure(percentile(times, n, shares[i]) / percentile(base, n, shares[i]), "%s.%s", name, names[i]);
}

SPECIAL uint64_t rnd(void)
{
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

SPECIAL void *zalloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    if (!p)
        die("memory", ENOMEM);
    return p;
}

/* ---- Options and cells ---------------------------------------------------------------------------------------- */

SPECIAL const char *option_text(const char *key)
{
    size_t len = strlen(key);
    for (char **o = special_options; o && *o; o++)
        if (strncmp(*o, key, len) == 0 && (*o)[len] == '=')
            return *o + len + 1;
    return NULL;
}

SPECIAL long option(const char *key, long fallback)
{
    const char *text = option_text(key);
    char *end;
    if (!text)
        return fallback;
    long value = strtol(text, &end, 10);
    if (end == text || *end || value < 0)
        special_end(2, "%s=%s is not a number", key, text);
    return value;
}

SPECIAL void special_take_cpus(void)
{
    const char *at = option_text("cpus");
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    for (char *end; at && *at; at = *end ? end + 1 : end) {
        long cpu = strtol(at, &end, 10);
        if (end == at || (*end && *end != ',') || cpu < 0 || cpu >= CPU_SETSIZE)
            special_end(2, "cpus=%s is not a list of processors", option_text("cpus"));
        CPU_SET((size_t)cpu, &cpus);
    }
    if (CPU_COUNT(&cpus) > 0 && sched_setaffinity(0, sizeof cpus, &cpus) < 0)
        skip("cannot run on processors %s: %s", option_text("cpus"), strerror(errno));
    need_sys(sched_getaffinity(0, sizeof cpus, &cpus), "sched_getaffinity");
    special_one_cpu = CPU_COUNT(&cpus) == 1;
}

SPECIAL int special_run_all(const struct cell *cells, size_t n)
{
    int worst = 0;
    for (size_t i = 0; i < n; i++) {
        int status;
        printf("# %s\n", cells[i].name);
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            cells[i].run(cells[i].arg);
            fflush(stdout);
            _exit(0);
        }
        need_sys(pid, "fork");
        need_sys(waitpid(pid, &status, 0), "waitpid");
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
        if (code != 0 && code != 77)
            worst = 1;
    }
    return worst;
}

SPECIAL int special_main(int argc, char **argv, const char *about, const struct cell *cells, size_t n)
{
    bool all = argc < 2 || strchr(argv[1], '=');
    if (!all && strcmp(argv[1], "--about") == 0) {
        printf("spool %d.%d.%d, %s\n", SPOOL_VERSION_MAJOR, SPOOL_VERSION_MINOR, SPOOL_VERSION_PATCH, about);
        return 0;
    }
    if (!all && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < n; i++)
            puts(cells[i].name);
        return 0;
    }
    special_options = argv + (all ? 1 : 2);
    if (argc < 2)
        special_options = NULL;
    special_take_cpus();
    if (all)
        return special_run_all(cells, n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(argv[1], cells[i].name) == 0) {
            cells[i].run(cells[i].arg);
            return 0;
        }
    }
    fprintf(stderr, "%s: no cell %s; --list lists them\n", argv[0], argv[1]);
    return 2;
}

#define SPECIAL_MAIN(about, cells) \
    int main(int argc, char **argv) \
    { \
        return special_main(argc, argv, about, cells, sizeof(cells) / sizeof *(cells)); \
    }

#endif
