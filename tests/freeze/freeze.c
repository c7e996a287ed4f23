/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "freeze.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * usage: freeze [-a] [-s STRIDE] [-r REPEATS] [-f FIRST] [-F | -S] [-k I/N] [-p POINT] [-v] [-l] [SCENE ...]
 *
 * Stops a thread at every instruction of every operation in every state there is, see freeze.h; then does the same with
 * a signal at every instruction. A SCENE is (a part of) a name that -l lists.
 *
 * -a  at each point once with each thing that the others may do first; otherwise they take turns
 * -s  only every so many instructions
 * -r  an instruction that is executed again in the same operation, as when it spins, is a point so many times (3)
 * -f  the others do this first: put, get, select, close, block
 * -F  only freeze; -S  only signals
 * -k  only every Nth scene, from the Ith of them on, I from 0 to N - 1: N runs, one on each processor, do them all
 * -p  one point only, and say what was seen there; -v  say it of all
 *
 * SPOOL_TEST_SCALE below 1 makes the stride longer.
 */

static const char *const whats[] = {"freeze", "signal"};

struct sum {
    struct tally tally[N_OPS];
    unsigned scenes[N_OPS];
};

/* Which scenes: those with one of the names in theirs, if there are names; of these every step-th from the start-th. */
struct choice {
    int n;
    char **names;
    unsigned start, step;
};

static bool is_named(const struct scene *scene, const struct choice *choice)
{
    for (int i = 0; i < choice->n; i++)
        if (strstr(scene->name, choice->names[i]))
            return true;
    return choice->n == 0;
}

/* All on one processor: the victim and who steps it take turns anyway. */
static void pin(void)
{
    cpu_set_t one;
    int cpu = sched_getcpu();
    CPU_ZERO(&one);
    CPU_SET(cpu < 0 ? 0 : cpu, &one);
    (void)sched_setaffinity(0, sizeof one, &one);
}

static int usage(void)
{
    fputs("usage: freeze [-a] [-s STRIDE] [-r REPEATS] [-f FIRST] [-F | -S] [-k I/N] [-p POINT] [-v] [-l] [SCENE ...]\n",
          stderr);
    return 2;
}

static void run_all(enum what what, const struct wishes *wishes, const struct choice *choice, struct sum *sum)
{
    struct scene scene;
    for (unsigned i = 0, named = 0; scene_nth(i, &scene); i++) {
        if (!is_named(&scene, choice) || named++ % choice->step != choice->start)
            continue;
        struct tally one = {0};
        int r = trace_scene(&scene, what, wishes, &one);
        if (r < 0) {
            printf("%s: %s\n", scene.name, strerror(-r));
            one.bad++;
        }
        struct tally *t = &sum->tally[scene.op];
        t->points += one.points;
        t->bad += one.bad;
        t->instructions += one.instructions;
        t->repeats += one.repeats;
        t->strayed += one.strayed;
        sum->scenes[scene.op]++;
    }
}

static unsigned long long report(enum what what, const struct sum *sum, struct tally *ret)
{
    for (unsigned op = 0; op < N_OPS; op++) {
        const struct tally *t = &sum->tally[op];
        if (sum->scenes[op] == 0)
            continue;
        printf("%s %s.%s scenes %u points %llu %s %llu\n", t->bad ? "not ok" : "ok", whats[what], op_name((enum op)op),
               sum->scenes[op], (unsigned long long)t->points, what == POINTS_FREEZE ? "stuck" : "wrong",
               (unsigned long long)t->bad);
        ret->points += t->points;
        ret->bad += t->bad;
        ret->instructions += t->instructions;
        ret->repeats += t->repeats;
        ret->strayed += t->strayed;
    }
    return ret->bad;
}

int main(int argc, char **argv)
{
    struct wishes wishes = {.stride = 1, .repeats = 3, .only_point = -1, .only_first = -1};
    struct choice choice = {.step = 1};
    bool list = false, skip[2] = {false, false};
    const char *scale = getenv("SPOOL_TEST_SCALE");
    double factor = scale ? atof(scale) : 1;
    if (factor > 0 && factor < 1)
        wishes.stride = (unsigned)(1 / factor);
    for (int opt; (opt = getopt(argc, argv, "as:r:f:FSk:p:vl")) != -1;) {
        switch (opt) {
        case 'a':
            wishes.all_firsts = true;
            break;
        case 's':
            wishes.stride = (unsigned)atoi(optarg);
            break;
        case 'r':
            wishes.repeats = (unsigned)atoi(optarg);
            break;
        case 'f':
            for (int i = 0; i < N_FIRSTS; i++)
                if (strcmp(optarg, first_name((enum first_do)i)) == 0)
                    wishes.only_first = i;
            if (wishes.only_first < 0)
                return usage();
            break;
        case 'F':
            skip[POINTS_SIGNAL] = true;
            break;
        case 'S':
            skip[POINTS_FREEZE] = true;
            break;
        case 'k':
            if (sscanf(optarg, "%u/%u", &choice.start, &choice.step) != 2 || choice.start >= choice.step)
                return usage();
            break;
        case 'p':
            wishes.only_point = atol(optarg);
            wishes.verbose = true;
            break;
        case 'v':
            wishes.verbose = true;
            break;
        case 'l':
            list = true;
            break;
        default:
            return usage();
        }
    }
    if (wishes.stride == 0 || wishes.repeats == 0)
        return usage();
    if (list) {
        struct scene scene;
        for (unsigned i = 0; scene_nth(i, &scene); i++)
            puts(scene.name);
        return 0;
    }
    /* Otherwise a function's first call goes through the loader, whose instructions are not the library's. */
    if (!getenv("LD_BIND_NOW")) {
        setenv("LD_BIND_NOW", "1", 1);
        execv("/proc/self/exe", argv);
    }
    if (!trace_possible()) {
        puts("skip freeze threads cannot be single-stepped here");
        return 77;
    }
    pin();
    choice.n = argc - optind;
    choice.names = argv + optind;
    static struct sum sums[2];
    struct tally all[2] = {{0}, {0}};
    unsigned long long bad = 0;
    for (int what = 0; what < 2; what++) {
        if (skip[what])
            continue;
        run_all((enum what)what, &wishes, &choice, &sums[what]);
        bad += report((enum what)what, &sums[what], &all[what]);
    }
    for (int what = 0; what < 2; what++) {
        if (skip[what])
            continue;
        const char *prefix = what == POINTS_FREEZE ? "" : "signal_";
        printf("figure freeze.%spoints %llu\n", prefix, (unsigned long long)all[what].points);
        printf("figure freeze.%s %llu\n", what == POINTS_FREEZE ? "stuck" : "signal_wrong",
               (unsigned long long)all[what].bad);
        printf("figure freeze.%sinstructions %llu\n", prefix, (unsigned long long)all[what].instructions);
        printf("figure freeze.%srepeats_left_out %llu\n", prefix, (unsigned long long)all[what].repeats);
        printf("figure freeze.%sstrayed %llu\n", prefix, (unsigned long long)all[what].strayed);
    }
    if (all[0].points + all[1].points == 0) {
        puts("not ok freeze no point was reached");
        return 1;
    }
    return bad ? 1 : 0;
}
