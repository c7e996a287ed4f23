/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef FORK_UTIL_H
#define FORK_UTIL_H

/* For tests of children of fork(2). */

#include "util.h"

#include <sys/wait.h>

/* What the child says by its exit status: the line of the first thing that was not so, or 0. */
#define CHILD_MUST(cond)                                                                                               \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            printf("in the child, %s:%d: not so: %s\n", __FILE__, __LINE__, #cond);                                    \
            fflush(stdout);                                                                                            \
            _exit(EXIT_FAILURE);                                                                                       \
        }                                                                                                              \
    } while (0)

/* AddressSanitizer would take for leaked what the stacks of its parent's other threads hold. */
static inline void child_end(void)
{
    if (UNDER_ASAN)
        _exit(EXIT_SUCCESS);
    exit(EXIT_SUCCESS);
}

static inline void child_must_succeed(pid_t pid)
{
    int status = -1;
    must(pid > 0);
    while (waitpid(pid, &status, 0) < 0)
        must_be(errno, EINTR);
    must(WIFEXITED(status));
    must_be(WEXITSTATUS(status), EXIT_SUCCESS);
}

static inline void answer(void *arg)
{
    uint64_t value = 0;
    (void)arg;
    while (spool_get(spool_self(), &value) == 0 && spool_put(spool_self(), &value) == 0)
        ;
}

/* True if a thread of spool_go answers. */
static inline bool is_answered(uint64_t value)
{
    spool_chan *chan = NULL;
    uint64_t back = 0;
    bool good = spool_go(&chan, answer, NULL, sizeof value, 1) == 0 && spool_put_for(chan, &value, DEADLINE) == 0 &&
                spool_get_for(chan, &back, DEADLINE) == 0 && back == value;
    spool_unref(chan);
    return good;
}

#endif
