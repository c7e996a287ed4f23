/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_FAULTS_H
#define SPOOL_FAULTS_H

/*
 * What scenes are made of. A *scene* uses a part of the library from beginning to end, in a process of its own, in
 * which one call of the kernel fails. It makes its calls through one of these:
 *
 *   MAY_FAIL(call)       what needs memory, descriptors or threads: it may fail once, with the error that was planned,
 *                        in the thread that met it. Then it is made again, and has to go through.
 *   MAY_FAIL_OUT(out, call)   and it leaves out, an object, as it was
 *   SURE(call)           what has no reason to fail: nobody must notice
 *   SURE_OUT(out, call)  and if its result is negative, out is as it was
 *
 * Each checks that errno is left alone, and after a failure that the bystanders still work.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#undef ck_abort_msg
/* Scenes do not run under Check: the first thing that is wrong ends the process and is told. */
#define ck_abort_msg(...) scene_wrong(__FILE__, __LINE__, __VA_ARGS__)
void scene_wrong(const char *file, int line, const char *format, ...) __attribute__((noreturn, format(printf, 3, 4)));

/* util.h defines them, for programs of one file. */
const char *__asan_default_options(void) __attribute__((weak));
const char *__tsan_default_options(void) __attribute__((weak));
#include "util.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

void call_begin(const char *text, int line);
/* Whether the call has to be made again; fails if that is not a failure as planned. */
bool call_again(const char *text, int line, long result, const void *out, size_t bytes, int times);
void call_end(const char *text, int line, long result, const void *out, size_t bytes);

enum { OUT_BYTE = 0x5e };

#define MAY_FAIL_OUT(out, call)                                                                                        \
    ({                                                                                                                 \
        long call_r_;                                                                                                  \
        int call_times_ = 0;                                                                                           \
        do {                                                                                                           \
            memset(&(out), OUT_BYTE, sizeof(out));                                                                     \
            call_begin(#call, __LINE__);                                                                               \
            call_r_ = (long)(call);                                                                                    \
        } while (call_again(#call, __LINE__, call_r_, &(out), sizeof(out), call_times_++));                            \
        call_r_;                                                                                                       \
    })
#define MAY_FAIL(call)                                                                                                 \
    ({                                                                                                                 \
        long call_r_;                                                                                                  \
        int call_times_ = 0;                                                                                           \
        do {                                                                                                           \
            call_begin(#call, __LINE__);                                                                               \
            call_r_ = (long)(call);                                                                                    \
        } while (call_again(#call, __LINE__, call_r_, NULL, 0, call_times_++));                                        \
        call_r_;                                                                                                       \
    })
#define SURE_OUT(out, call)                                                                                            \
    ({                                                                                                                 \
        long call_r_;                                                                                                  \
        memset(&(out), OUT_BYTE, sizeof(out));                                                                         \
        call_begin(#call, __LINE__);                                                                                   \
        call_r_ = (long)(call);                                                                                        \
        call_end(#call, __LINE__, call_r_, &(out), sizeof(out));                                                       \
        call_r_;                                                                                                       \
    })
#define SURE(call)                                                                                                     \
    ({                                                                                                                 \
        long call_r_;                                                                                                  \
        call_begin(#call, __LINE__);                                                                                   \
        call_r_ = (long)(call);                                                                                        \
        call_end(#call, __LINE__, call_r_, NULL, 0);                                                                   \
        call_r_;                                                                                                       \
    })
/* Those that return nothing, or no number. */
#define SURE_DONE(call)                                                                                                \
    do {                                                                                                               \
        call_begin(#call, __LINE__);                                                                                   \
        (void)(call);                                                                                                  \
        call_end(#call, __LINE__, 0, NULL, 0);                                                                         \
    } while (0)

/* The planned failure is this one, and has happened: then a scene may find what documentation says comes of it. */
bool scene_met(int call, const char *func);

struct scene {
    const char *name;
    void (*run)(void);
    bool no_timer_ioctl;
    bool alone;       /* without bystanders, so that the first use of everything is in the scene */
    unsigned kth_max; /* how many calls of a site fail; 0: the usual number */
};

extern const struct scene scenes[];
extern const int n_scenes;

/* One element of each value from 0 on is put; the scene notes what it got, and drop what was dropped. */
enum { TAGS = 4096 };
void tags_put(uint64_t tag);
void tags_got(uint64_t tag);
void tags_drop(void *elem);
/* Each that was put was got or dropped, once. */
void tags_check(void);

/* What must not notice. */
void world_begin(void);
void world_check(void);
void world_end(void);

void run_bounded(void);
void run_unbounded(void);
void run_meet(void);
void run_pair(void);
void run_blocked(void);
void run_blocked_meet(void);
void run_wake_all(void);
void run_strangers(void);
void run_many_threads(void);
void run_first_use(void);
void run_contended(void);
void run_select(void);
void run_select_many(void);
void run_select_stale(void);
void run_select_blocked(void);
void run_select_meet(void);
void run_select_nested(void);
void run_select_unbounded(void);
void run_select_source(void);
void run_timer(void);
void run_timer_waits(void);
void run_signal(void);
void run_child(void);
void run_go(void);
void run_go_fork(void);
void run_dump(void);
#ifndef FAULTS_NO_URING
void run_uring(void);
void run_uring_close(void);
void run_uring_chain(void);
void run_uring_overflow(void);
#endif

#endif
