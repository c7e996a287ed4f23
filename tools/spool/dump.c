/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

/* Long enough for whoever is about to wake somebody to have done so. */
#define SETTLE_NS 100000000

/* A thread that has run since an earlier look is not stuck. */
static void compare_threads(const struct spool__look *before, struct spool__look *l)
{
    for (int i = 0; i < l->n_threads; i++) {
        struct spool__seen_thread *t = &l->threads[i];
        bool same = false;
        for (int k = 0; k < before->n_threads && !same; k++)
            same = before->threads[k].tid == t->tid && before->threads[k].turns == t->turns;
        t->slept = t->slept && same;
    }
}

static const char *where_in(void *arg, uintptr_t address)
{
    const struct spool__look *l = arg;
    return where(l->pid, address);
}

static bool has_verdict(const struct spool__look *l)
{
    bool any = spool__look_is_deadlocked(l);
    for (int i = 0; i < l->n_threads; i++)
        any = any || (spool__look_is_lost(l, &l->threads[i]) &&
                      l->lanes[l->threads[i].what].gates[l->threads[i].side].threads_granted == 0);
    for (int i = 0; i < l->n_lanes; i++)
        any = any || spool__look_is_undrained(l, &l->lanes[i]);
    return any;
}

int dump_main(int argc, char **argv)
{
    struct spool__look before[REGISTRIES_MAX], looks[REGISTRIES_MAX];
    bool json = argc > 1 && strcmp(argv[1], "--json") == 0, wrong = false;
    if (argc != (json ? 3 : 2))
        die("usage: spool dump [--json] PID");
    pid_t pid = parse_pid(argv[argc - 1]);
    int n_before = look_at(pid, before);
    nanosleep(&(struct timespec){.tv_nsec = SETTLE_NS}, NULL);
    int n = look_at(pid, looks);
    for (int i = 0; i < n; i++) {
        if (i < n_before)
            compare_threads(&before[i], &looks[i]);
        if (json)
            print_json(&looks[i], stdout);
        fflush(stdout);
        int r = json ? 0 : spool__look_print(&looks[i], STDOUT_FILENO, where_in, &looks[i]);
        if (r < 0)
            die("%s", strerror(-r));
        wrong = wrong || has_verdict(&looks[i]);
    }
    free_looks(before, n_before);
    free_looks(looks, n);
    return wrong ? EXIT_VERDICT : 0;
}
