/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_FUZZ_INPUT_H
#define SPOOL_FUZZ_INPUT_H

/* What both kinds of programs share: the bytes they are decoded from, what is printed when one fails, elements. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "spool.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Bytes ---------------------------------------------------------------------------------------------------- */

struct input {
    const uint8_t *at, *end;
};

static inline bool input_left(const struct input *in)
{
    return in->at < in->end;
}

/* 0 when there are no more. */
static inline uint8_t take(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

/* ---- What was called ------------------------------------------------------------------------------------------ */

enum { CALLS_MAX = 1024 };

static struct {
    struct {
        const char *format;
        long long args[5];
        bool has_result;
        long long result;
    } calls[CALLS_MAX];
    unsigned n;         /* of the present program; the first are forgotten when there are too many */
    const char *origin; /* a file, or how to make the program again */
    long long seed;
    bool verbose;
} fuzz_log;

static inline void print_call(unsigned i)
{
    long long *a = fuzz_log.calls[i % CALLS_MAX].args;
    printf("%4u  ", i);
    printf(fuzz_log.calls[i % CALLS_MAX].format, a[0], a[1], a[2], a[3], a[4]);
    if (fuzz_log.calls[i % CALLS_MAX].has_result)
        printf(" = %lld", fuzz_log.calls[i % CALLS_MAX].result);
    printf("\n");
}

/* Notes a call that is to be made. Every argument is a long long. */
#define CALL(format, ...) note_call("" format, (const long long[5]){__VA_ARGS__})

static inline void note_call(const char *format, const long long args[5])
{
    unsigned i = fuzz_log.n++;
    fuzz_log.calls[i % CALLS_MAX].format = format;
    fuzz_log.calls[i % CALLS_MAX].has_result = false;
    memcpy(fuzz_log.calls[i % CALLS_MAX].args, args, sizeof fuzz_log.calls[0].args);
    if (fuzz_log.verbose) {
        print_call(i);
        fflush(stdout);
    }
}

static inline long long note_result(long long result)
{
    unsigned i = fuzz_log.n - 1;
    fuzz_log.calls[i % CALLS_MAX].has_result = true;
    fuzz_log.calls[i % CALLS_MAX].result = result;
    if (fuzz_log.verbose) {
        printf("        = %lld\n", result);
        fflush(stdout);
    }
    return result;
}

static inline void print_calls(void)
{
    printf("program: %s %lld\n", fuzz_log.origin ? fuzz_log.origin : "?", fuzz_log.seed);
    for (unsigned i = fuzz_log.n > CALLS_MAX ? fuzz_log.n - CALLS_MAX : 0; i < fuzz_log.n; i++)
        print_call(i);
}

/* ---- Failing -------------------------------------------------------------------------------------------------- */

/* Defined by the program: says that it has failed, and ends it. */
_Noreturn static void fuzz_end(void);

_Noreturn static inline void fuzz_fail(const char *file, int line, const char *what, long long got, long long want)
{
    print_calls();
    printf("%s:%d: %s is %lld, not %lld\n", file, line, what, got, want);
    fflush(stdout);
    fuzz_end();
}

#define EXPECT(expr, want)                                                                                             \
    do {                                                                                                               \
        long long expect_got_ = (long long)(expr), expect_want_ = (long long)(want);                                   \
        if (expect_got_ != expect_want_)                                                                               \
            fuzz_fail(__FILE__, __LINE__, #expr, expect_got_, expect_want_);                                           \
    } while (0)

#define EXPECT_TRUE(expr) EXPECT(!!(expr), true)

/* ---- Time ----------------------------------------------------------------------------------------------------- */

#define SEC INT64_C(1000000000)

static inline int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * SEC + ts.tv_nsec;
}

static inline bool fd_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n = poll(&p, 1, 0);
    EXPECT_TRUE(n >= 0);
    return n == 1 && (p.revents & POLLIN);
}

/* ---- Elements ------------------------------------------------------------------------------------------------- */

enum { ELEM_MAX = 200 };

static const uint8_t elem_sizes[] = {8, 4, 1, 12, 24, 0, ELEM_MAX};

/* Every byte follows from the tag; small elements tell fewer tags apart. */
static inline uint8_t elem_byte(uint32_t tag, size_t i)
{
    return (uint8_t)(i < 4 ? tag >> (8 * i) : (tag * 167 + i * 13) ^ (tag >> 5));
}

static inline void elem_fill(void *elem, size_t size, uint32_t tag)
{
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)elem)[i] = elem_byte(tag, i);
}

static inline bool elem_is(const void *elem, size_t size, uint32_t tag)
{
    for (size_t i = 0; i < size; i++)
        if (((const uint8_t *)elem)[i] != elem_byte(tag, i))
            return false;
    return true;
}

/* What a call that fails has to leave alone. */
#define UNTOUCHED 0xa5

static inline bool is_untouched(const void *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (((const uint8_t *)p)[i] != UNTOUCHED)
            return false;
    return true;
}

#endif
