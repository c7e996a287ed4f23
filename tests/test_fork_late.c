/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Children of fork(2) where pthread_atfork(3) failed as the library was loaded: spool_go tries it again. */
#include "fork_util.h"

static bool at_load, forks_meanwhile;
static int n_failed;

/* Before what the library does then, as this file is linked before it. */
__attribute__((constructor(101))) static void begin_load(void)
{
    at_load = true;
}

/* A sanitizer of clang is linked in, and makes the call first of all, before it can bear to be told of any. */
#if (UNDER_TSAN || UNDER_ASAN) && defined(__clang__)
#define UNWATCHED __attribute__((disable_sanitizer_instrumentation))
#define SANITIZER_CALLS true
#else
#define UNWATCHED
#define SANITIZER_CALLS false
#endif

int __real_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
int __wrap_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

/* In a child that was forked while spool_go of another thread was about to prepare for that. */
static void *fork_meanwhile(void *arg)
{
    pid_t pid = fork();
    (void)arg;
    if (pid == 0) {
        CHILD_MUST(is_answered(1));
        pid = fork();
        if (pid == 0) {
            CHILD_MUST(is_answered(2));
            child_end();
        }
        child_must_succeed(pid);
        child_end();
    }
    child_must_succeed(pid);
    return NULL;
}

static void let_fork_meanwhile(void)
{
    pthread_t thread;
    forks_meanwhile = false;
    fflush(stdout);
    must_be(pthread_create(&thread, NULL, fork_meanwhile, NULL), 0);
    must_be(pthread_join(thread, NULL), 0);
}

UNWATCHED int __wrap_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    static bool is_mine = !SANITIZER_CALLS;
    if (at_load && is_mine) {
        n_failed++;
        return ENOMEM;
    }
    is_mine = true;
    int r = __real_pthread_atfork(prepare, parent, child);
    if (forks_meanwhile)
        let_fork_meanwhile();
    return r;
}

START_TEST(forked_while_it_prepares)
{
    must_be(n_failed, 1);
    forks_meanwhile = true;
    must(is_answered(3));
    must(!forks_meanwhile);
}
END_TEST

int main(void)
{
    at_load = false;
    Suite *suite = suite_create("fork_late");
    TCase *tc = case_new(suite, "go");
    tcase_add_test(tc, forked_while_it_prepares);
    return run_suite(suite, "fork_late");
}
