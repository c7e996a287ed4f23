/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * Every site of the library, each of its calls, each error that can come of it: each in a process of its own, in which
 * a scene is played. See faults.h for scenes, kernel.c for what can go wrong.
 *
 * usage: faults [SCENE [FILE:LINE ERROR KTH [FILE:LINE ERROR KTH]]]
 */

#include "faults.h"

#include "plan.h"

#include <sys/prctl.h>

/* Calls of one site in one scene beyond that are counted, not failed. */
enum { KTH_MAX = 40, WATCH_S = 20 };

static bool covered[SITES_MAX][128];
static bool matters[SITES_MAX][128];
static long runs, wrong, cut, allocations;

static const char *error_name(int error)
{
    return error ? strerrorname_np(error) : "spurious";
}

static const char *base(const char *file)
{
    const char *slash = strrchr(file, '/');
    return slash ? slash + 1 : file;
}

static void print_plans(const struct scene *s, const struct fault_plan plans[2])
{
    printf("  scene %s", s->name);
    for (int p = 0; p < 2 && plans[p].rule; p++) {
        const struct fault_site *site = fault_sites[plans[p].site];
        printf(", %s:%d %s() %s: call %u fails with %s", base(site->file), site->line, site->func,
               fault_call_name(site->call), plans[p].kth, error_name(plans[p].rule->error));
    }
    printf("\n  again with: faults %s", s->name);
    for (int p = 0; p < 2 && plans[p].rule; p++)
        printf(" %s:%d %s %u", base(fault_sites[plans[p].site]->file), fault_sites[plans[p].site]->line,
               error_name(plans[p].rule->error), plans[p].kth);
    printf("\n");
}

/* Where each thread of a scene that has not ended is. */
static void print_threads(pid_t pid)
{
    char path[300], text[256];
    DIR *dir;
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        FILE *f;
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "/proc/%d/task/%s/syscall", (int)pid, e->d_name);
        f = fopen(path, "re");
        if (!f)
            continue;
        if (fgets(text, sizeof(text), f))
            printf("  thread %s: system call (number, arguments, sp, pc) %s", e->d_name, text);
        fclose(f);
    }
    if (dir)
        closedir(dir);
}

static void play(const struct scene *s)
{
    fault_no_timer_ioctl = s->no_timer_ioctl;
    if (!s->alone)
        world_begin();
    atomic_store(&fault_shared->armed, true);
    s->run();
    atomic_store(&fault_shared->armed, false);
    world_end();
}

/* True if all went well. */
static bool run_scene(const struct scene *s, const struct fault_plan plans[2])
{
    int status = 0;
    int64_t end = now_ns() + WATCH_S * SLOWDOWN * SEC;
    pid_t pid, got;
    sigset_t child_ends;
    struct timespec second = {1, 0};
    memset(fault_shared, 0, sizeof(*fault_shared));
    memcpy(fault_plans, plans, sizeof(fault_plans));
    runs++;
    fflush(stdout);
    pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        play(s);
        _exit(0);
    }
    sigemptyset(&child_ends);
    sigaddset(&child_ends, SIGCHLD);
    while ((got = waitpid(pid, &status, WNOHANG)) == 0 && now_ns() < end)
        (void)sigtimedwait(&child_ends, NULL, &second);
    if (got == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    wrong++;
    if (got == 0) {
        printf("HANGS in line %d, \"%s\"\n", atomic_load(&fault_shared->step),
               atomic_load(&fault_shared->said) ? atomic_load(&fault_shared->said) : "");
        print_threads(pid);
        kill(pid, SIGKILL);
        (void)waitpid(pid, &status, 0);
    } else if (fault_shared->wrong[0]) {
        printf("WRONG %s (last call: line %d, \"%s\")\n", fault_shared->wrong, atomic_load(&fault_shared->step),
               atomic_load(&fault_shared->said) ? atomic_load(&fault_shared->said) : "");
    } else {
        printf("CRASHED, status %x, after line %d\n", (unsigned)status, atomic_load(&fault_shared->step));
    }
    print_plans(s, plans);
    return false;
}

static void note_fired(const struct fault_plan *plan, int p)
{
    if (!plan->rule || atomic_load(&fault_shared->fired[p]) == 0)
        return;
    covered[plan->site][plan->rule - fault_rules] = true;
    allocations += plan->rule->call <= F_MAP;
}

static bool play_and_note(const struct scene *s, const struct fault_plan plans[2])
{
    bool fine = run_scene(s, plans);
    for (int p = 0; p < 2; p++)
        note_fired(&plans[p], p);
    return fine;
}

typedef unsigned counts[SITES_MAX][CLASSES];

static void keep_counts(counts ret)
{
    for (int site = 0; site < fault_n_sites; site++)
        for (int c = 0; c < CLASSES; c++)
            ret[site][c] = atomic_load(&fault_shared->calls[site][c]);
}

/* What was called only after the first failure fails as well. Each pair of site and error once. */
static void fail_second(const struct scene *s, const struct fault_plan *first, const counts clean)
{
    static counts calls;
    keep_counts(calls);
    for (int site = 0; site < fault_n_sites; site++)
        for (int r = 0; r < fault_n_rules; r++) {
            const struct fault_plan plans[2] = {*first, {&fault_rules[r], site, 1}};
            unsigned class = fault_rules[r].class;
            if (matters[site][r] && !covered[site][r] && calls[site][class] && !clean[site][class])
                (void)play_and_note(s, plans);
        }
}

static void fail_each(const struct scene *s)
{
    static counts clean;
    const struct fault_plan none[2] = {{0}};
    const unsigned most = s->kth_max ? s->kth_max : KTH_MAX;
    if (!run_scene(s, none))
        return;
    keep_counts(clean);
    for (int site = 0; site < fault_n_sites; site++)
        for (int r = 0; r < fault_n_rules; r++) {
            unsigned n = matters[site][r] ? clean[site][fault_rules[r].class] : 0;
            if (n > most) {
                cut += n - most;
                n = most;
            }
            for (unsigned kth = 1; kth <= n; kth++) {
                const struct fault_plan plans[2] = {{&fault_rules[r], site, kth}, {0}};
                if (play_and_note(s, plans) && atomic_load(&fault_shared->fired[0]))
                    fail_second(s, &plans[0], clean);
            }
        }
}

static bool find_plan(struct fault_plan *ret, char **args)
{
    char here[300];
    for (int site = 0; site < fault_n_sites; site++) {
        snprintf(here, sizeof(here), "%s:%d", base(fault_sites[site]->file), fault_sites[site]->line);
        for (int r = 0; r < fault_n_rules && strcmp(here, args[0]) == 0; r++)
            if (matters[site][r] && strcmp(error_name(fault_rules[r].error), args[1]) == 0) {
                *ret = (struct fault_plan){&fault_rules[r], site, (unsigned)atoi(args[2])};
                return true;
            }
    }
    printf("no such place or error: %s %s\n", args[0], args[1]);
    return false;
}

static int fail_as_told(const struct scene *s, int n, char **args)
{
    struct fault_plan plans[2] = {{0}};
    for (int p = 0; p < n; p++)
        if (!find_plan(&plans[p], args + 3 * p))
            return EXIT_FAILURE;
    if (run_scene(s, plans))
        printf("fine, %d of %d failures happened\n",
               (atomic_load(&fault_shared->fired[0]) > 0) + (atomic_load(&fault_shared->fired[1]) > 0), n);
    return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void report(bool all)
{
    int pairs = 0, unreached = 0, sites = 0, without_rule = 0;
    for (int site = 0; site < fault_n_sites; site++) {
        const struct fault_site *at = fault_sites[site];
        int rules = 0, reached = 0;
        for (int r = 0; r < fault_n_rules; r++) {
            if (!matters[site][r])
                continue;
            rules++;
            reached += covered[site][r];
            if (all && !covered[site][r])
                printf("unreached %s:%d %s() %s %s\n", base(at->file), at->line, at->func, fault_call_name(at->call),
                       error_name(fault_rules[r].error));
        }
        pairs += reached;
        unreached += rules - reached;
        sites += reached > 0;
        without_rule += rules == 0;
    }
    printf("figure faults.sites %d\n", fault_n_sites);
    printf("figure faults.sites_that_failed %d\n", sites);
    printf("figure faults.sites_that_cannot_fail %d\n", without_rule);
    printf("figure faults.pairs %d\n", pairs);
    printf("figure faults.pairs_unreached %d\n", unreached);
    printf("figure faults.calls_not_failed %ld\n", cut);
    printf("figure faults.allocations %ld\n", allocations);
    printf("figure faults.runs %ld\n", runs);
    printf("figure faults.wrong %ld\n", wrong);
}

int main(int argc, char **argv)
{
    int passed = 0, failed = 0;
    sigset_t blocked;
    /* Waited for by sigtimedwait; and what scenes get as a channel, in all threads. */
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGCHLD);
    sigaddset(&blocked, SIGUSR1);
    must_be(sigprocmask(SIG_BLOCK, &blocked, NULL), 0);
    fault_shared = mmap(NULL, sizeof(*fault_shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(fault_shared != MAP_FAILED);
    fault_find_sites();
    must(fault_n_rules <= 128);
    for (int site = 0; site < fault_n_sites; site++)
        for (int r = 0; r < fault_n_rules; r++)
            matters[site][r] = fault_applies(&fault_rules[r], fault_sites[site]);
    for (int i = 0; i < n_scenes; i++) {
        long before = wrong, runs_before = runs;
        int64_t start = now_ns();
        if (argc > 1 && strcmp(argv[1], scenes[i].name) != 0)
            continue;
        if (argc == 5 || argc == 8)
            return fail_as_told(&scenes[i], (argc - 2) / 3, argv + 2);
        fail_each(&scenes[i]);
        printf("%s %s %ld runs, %lld ms\n", wrong == before ? "ok" : "not ok", scenes[i].name, runs - runs_before,
               (long long)((now_ns() - start) / MS));
        passed += wrong == before;
        failed += wrong != before;
    }
    report(argc == 1);
    printf("faults: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed || passed == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
