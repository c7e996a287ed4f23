/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "search.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const memories[] = {"sc", "tso", "weak"};

static int usage(void)
{
    (void)fprintf(stderr, "usage: explore [OPTION ...] [SCENARIO ...]\n"
                          "  -l           list the scenarios\n"
                          "  -m MEMORY    sc, tso or weak; all of them unless given\n"
                          "  -b BOUND     all runs up to this bound; a scenario's own unless given\n"
                          "  -B PLUS      that much more than the scenario's own\n"
                          "  -s SECONDS   at most so long for each scenario and memory; what is not completed is said\n"
                          "  -n RUNS      at most so many, likewise; their number does not depend on the machine\n"
                          "  -r SECONDS   then random runs, for so long each\n"
                          "  -S SEED      of the first random run\n"
                          "  -q           stop at the first failure, and show no trace\n"
                          "  -c CHOICES   make the run that a failure has printed, and trace it\n");
    return 2;
}

/* All scenarios, one after the other; NULL at the end. */
static const struct ex_scenario *next_scenario(const struct ex_scenario *s)
{
    static const struct ex_scenario *const tables[] = {ex_bounded, ex_unbounded, ex_rendezvous, ex_selects, ex_pairs};
    static size_t table;
    if (!s)
        table = 0;
    s = s ? s + 1 : tables[0];
    while (!s->name) {
        if (++table == sizeof tables / sizeof tables[0])
            return NULL;
        s = tables[table];
    }
    return s;
}

static int list(void)
{
    for (const struct ex_scenario *s = NULL; (s = next_scenario(s));)
        (void)printf("%-20s %s\n", s->name, s->about);
    return 0;
}

static bool is_wanted(const struct ex_scenario *s, char **names)
{
    if (!*names)
        return true;
    for (; *names; names++) {
        size_t n = strlen(*names);
        if (strcmp(s->name, *names) == 0 || (n > 0 && (*names)[n - 1] == '-' && strncmp(s->name, *names, n) == 0))
            return true;
    }
    return false;
}

static void report(const struct ex_scenario *s, enum ex_memory memory, struct ex_result *r, bool quiet)
{
    if (!quiet) {
        ex_shrink(s, memory, r);
        (void)printf("---- %s, %s: the schedule, made as plain as it still fails\n", s->name, memories[memory]);
        ex_show(s, memory);
        (void)printf("---- %s\n", r->message);
        (void)printf("---- again: explore -m %s -c ", memories[memory]);
        ex_print_choices();
        (void)printf(" %s\n", s->name);
    }
    (void)printf("not ok %s-%s %s\n", s->name, memories[memory], r->message);
}

static bool explore(const struct ex_scenario *s, enum ex_memory memory, int bound, uint64_t max_runs, double seconds,
                    double random, uint64_t seed, bool quiet, uint64_t *runs)
{
    double begin = ex_seconds(), end = begin + seconds;
    struct ex_result r = {.runs = 0};
    uint64_t all = 0;
    int done = -1;
    ex_forget_shared();
    for (int b = 0; b <= bound; b++) {
        r = ex_search(s, memory, b, max_runs - all, end - ex_seconds());
        all += r.runs;
        if (r.failed || !r.complete)
            break;
        done = b;
    }
    uint64_t at_random = 0;
    if (!r.failed && random > 0) {
        r = ex_random(s, memory, seed, 3, random);
        at_random = r.runs;
    }
    *runs += all + at_random;
    if (r.failed) {
        if (at_random)
            (void)printf("found at random, seed %llu, run %llu\n", (unsigned long long)seed,
                         (unsigned long long)at_random);
        report(s, memory, &r, quiet);
        return false;
    }
    (void)printf("%s %s-%s bound %d of %d, %llu runs, %llu at random, %.1f s\n", done == bound ? "ok" : "cut", s->name,
                 memories[memory], done, bound, (unsigned long long)all, (unsigned long long)at_random,
                 ex_seconds() - begin);
    (void)fflush(stdout);
    return true;
}

int main(int argc, char **argv)
{
    int bound = -1, more = 0, memory = -1, option, failed = 0, passed = 0;
    double seconds = 1e9, random = 0;
    uint64_t seed = 1, runs = 0, max_runs = UINT64_MAX;
    bool quiet = false;
    const char *choices = NULL;
    while ((option = getopt(argc, argv, "lm:b:B:n:s:r:S:qc:")) != -1) {
        switch (option) {
        case 'l':
            return list();
        case 'm':
            for (memory = 2; memory >= 0 && strcmp(optarg, memories[memory]) != 0;)
                memory--;
            if (memory < 0)
                return usage();
            break;
        case 'b':
            bound = atoi(optarg);
            break;
        case 'B':
            more = atoi(optarg);
            break;
        case 'n':
            max_runs = strtoull(optarg, NULL, 0);
            break;
        case 's':
            seconds = atof(optarg);
            break;
        case 'r':
            random = atof(optarg);
            break;
        case 'S':
            seed = strtoull(optarg, NULL, 0);
            break;
        case 'q':
            quiet = true;
            break;
        case 'c':
            choices = optarg;
            break;
        default:
            return usage();
        }
    }
    for (const struct ex_scenario *s = NULL; (s = next_scenario(s));) {
        if (!is_wanted(s, argv + optind))
            continue;
        for (int m = 0; m < 3; m++) {
            if (memory >= 0 && m != memory)
                continue;
            if (choices) {
                if (!ex_read_choices(choices))
                    return usage();
                ex_all_is_shared = true;
                ex_show(s, (enum ex_memory)m);
                struct ex_result r = ex_replay(s, (enum ex_memory)m);
                (void)printf("---- %s\n", r.failed ? r.message : "all was well");
                return r.failed;
            }
            int b = bound >= 0 ? bound : s->bound[m] + more;
            if (explore(s, (enum ex_memory)m, b, max_runs, seconds, random, seed, quiet, &runs)) {
                passed++;
            } else {
                failed++;
                if (quiet)
                    return 1;
            }
        }
    }
    (void)printf("figure explore.runs %llu\n%d passed, %d failed, 0 skipped\n", (unsigned long long)runs, passed,
                 failed);
    return failed > 0 || passed == 0;
}
