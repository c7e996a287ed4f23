/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_TEST_LOOK_H
#define SPOOL_TEST_LOOK_H

/* Time, and what the kernel tells of a thread and of a descriptor. Include it where _GNU_SOURCE is defined. */

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define US INT64_C(1000)
#define MS INT64_C(1000000)
#define SEC INT64_C(1000000000)

static inline int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * SEC + ts.tv_nsec;
}

static inline void sleep_ns(int64_t ns)
{
    struct timespec ts = {ns / SEC, ns % SEC};

    while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
        ;
}

static inline double scale(void)
{
    const char *s = getenv("SPOOL_TEST_SCALE");
    double value = s ? atof(s) : 1.0;

    return value > 0 ? value : 1.0;
}

static inline uint64_t rnd(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

static inline bool task_file(pid_t tid, const char *name, char *buf, size_t size)
{
    char path[64];
    size_t n;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/self/task/%d/%s", (int)tid, name);
    f = fopen(path, "re");
    if (!f)
        return false;
    n = fread(buf, 1, size - 1, f);
    fclose(f);
    buf[n] = '\0';
    return n > 0;
}

static inline char task_state(pid_t tid)
{
    char buf[1024];
    const char *paren;

    paren = task_file(tid, "stat", buf, sizeof(buf)) ? strrchr(buf, ')') : NULL;
    return paren && paren[1] ? paren[2] : '?';
}

struct use {
    uint64_t runs; /* turns on a processor */
    int64_t ns;
};

/* How much the thread has used of the processors, if the kernel keeps such figures. */
static inline struct use task_use(pid_t tid)
{
    struct use use = {0, 0};
    char buf[256];
    long long ns;
    unsigned long long runs;

    if (task_file(tid, "schedstat", buf, sizeof(buf)) && sscanf(buf, "%lld %*u %llu", &ns, &runs) == 2)
        use = (struct use){runs, ns};
    return use;
}

/* How often the thread went to sleep by itself. */
static inline uint64_t task_sleeps(pid_t tid)
{
    char buf[8192];
    const char *line;

    line = task_file(tid, "status", buf, sizeof(buf)) ? strstr(buf, "\nvoluntary_ctxt_switches:") : NULL;
    return line ? strtoull(line + sizeof("\nvoluntary_ctxt_switches:") - 1, NULL, 10) : 0;
}

static inline bool fd_readable(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    int n;

    do
        n = poll(&p, 1, 0);
    while (n < 0 && errno == EINTR);
    return n == 1;
}

#endif
