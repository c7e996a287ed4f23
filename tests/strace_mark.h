/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef STRACE_MARK_H
#define STRACE_MARK_H

/* What the programs that strace.sh traces share: marks in the trace, and waiting for threads without leaving a mess. */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "spool.h"

/* A failing call that only shows in the trace: write(-1, "TEXT", ...). */
static inline void mark(const char *text)
{
    if (write(-1, text, strlen(text)) >= 0)
        abort();
}

static inline void mark_number(const char *text, int number)
{
    char line[128];
    snprintf(line, sizeof(line), "%s %d", text, number);
    mark(line);
}

static inline void need(int r, const char *what)
{
    if (r >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, strerror(-r));
    exit(1);
}

static inline spool_chan *chan_of(size_t capacity)
{
    spool_chan *chan;
    need(spool_chan_new(&chan, sizeof(uint64_t), capacity), "spool_chan_new");
    return chan;
}

static inline void wait_asleep(const atomic_long *tid)
{
    char path[64], text[512];
    for (;;) {
        snprintf(path, sizeof(path), "/proc/self/task/%ld/stat", atomic_load(tid));
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
        if (fd >= 0)
            close(fd);
        text[n > 0 ? n : 0] = '\0';
        const char *name_end = strrchr(text, ')');
        if (name_end && name_end[1] && name_end[2] == 'S')
            return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

#endif
