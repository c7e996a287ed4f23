/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "freeze.h"

#include <dirent.h>
#include <elf.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "symbol.h"

/*
 * The parent's side: a first process whose victim is stepped from the entry to the return tells which instructions
 * there are; then each point has a process of its own. To get there quickly it runs at full speed into a breakpoint at
 * the last instruction before it that had not been executed earlier, and is stepped from there.
 */

#define STEPS_MAX 2000000
/* Who spins before it sleeps does the same over and over: it is followed so many times. */
#define YIELDS_MAX 3
/* What has not come by then never will. */
#define PATIENCE 10
/* Then a scene is given up. */
#define FAILURES_MAX 3

struct path {
    uintptr_t *pc;
    uint32_t *first; /* of this index: the last index up to it whose instruction had not been executed before */
    uint32_t *times; /* how often it was executed up to here, itself included */
    size_t n, cap;
    size_t slept; /* the index of the call in which the victim slept; the last one if it did not */
};

struct child {
    pid_t pid, victim;
    struct report *report;
    bool ended;
    int status;
};

static struct report *report;

bool trace_possible(void)
{
#if defined(__x86_64__) || defined(__aarch64__)
    pid_t pid = fork();
    int status;
    if (pid == 0)
        _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 && raise(SIGSTOP) == 0 ? 0 : 1);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        return false;
    bool steps = ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0 && waitpid(pid, &status, 0) == pid &&
                 WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
    if (!WIFEXITED(status)) {
        kill(pid, SIGKILL);
        (void)waitpid(pid, &status, 0);
    }
    return steps;
#else
    return false;
#endif
}

/* ---- Registers ------------------------------------------------------------------------------------------------- */

struct where {
    uintptr_t pc, sp, link;
};

static bool where_is(pid_t tid, struct where *ret)
{
#if defined(__x86_64__)
    struct user_regs_struct regs;
    if (ptrace(PTRACE_GETREGS, tid, NULL, &regs) < 0)
        return false;
    *ret = (struct where){regs.rip, regs.rsp, 0};
    return true;
#elif defined(__aarch64__)
    struct user_regs_struct regs;
    struct iovec io = {&regs, sizeof regs};
    if (ptrace(PTRACE_GETREGSET, tid, (void *)NT_PRSTATUS, &io) < 0)
        return false;
    *ret = (struct where){regs.pc, regs.sp, regs.regs[30]};
    return true;
#else
    (void)tid;
    (void)ret;
    return false;
#endif
}

/* The program counter alone, which is asked for at every step. */
static uintptr_t pc_of(pid_t tid)
{
#if defined(__x86_64__)
    return (uintptr_t)ptrace(PTRACE_PEEKUSER, tid, (void *)offsetof(struct user, regs.rip), NULL);
#else
    struct where w = {0, 0, 0};
    (void)where_is(tid, &w);
    return w.pc;
#endif
}

/* Of a thread that stands at a function's entry. */
static uintptr_t return_address(pid_t tid, const struct where *entry)
{
#if defined(__x86_64__)
    return (uintptr_t)ptrace(PTRACE_PEEKDATA, tid, (void *)entry->sp, NULL);
#else
    (void)tid;
    return entry->link;
#endif
}

/* ---- The child -------------------------------------------------------------------------------------------------- */

static int64_t now(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void child_note(struct child *c, pid_t tid, int status)
{
    if (tid == c->pid && (WIFEXITED(status) || WIFSIGNALED(status))) {
        c->ended = true;
        c->status = status;
    }
}

/* Waits for the victim's next stop; false if the process ended, or never. */
static bool wait_victim(struct child *c, int *ret_signal)
{
    int64_t end = 0;
    for (;;) {
        int status;
        pid_t tid = waitpid(-1, &status, __WALL | (end ? WNOHANG : 0));
        if (tid > 0) {
            child_note(c, tid, status);
            if (c->ended)
                return false;
            if (WIFSTOPPED(status)) {
                c->victim = tid;
                *ret_signal = WSTOPSIG(status);
                return true;
            }
            continue;
        }
        if (tid < 0 && errno != EINTR)
            return false;
        /* An alarm came: it is taking long. */
        if (!end)
            end = now() + PATIENCE * INT64_C(1000000000);
        else if (now() > end)
            return false;
        struct timespec some = {0, 1000000};
        nanosleep(&some, NULL);
    }
}

static bool step(struct child *c, int signal, int *ret_signal)
{
    return ptrace(PTRACE_SINGLESTEP, c->victim, NULL, (void *)(intptr_t)signal) == 0 && wait_victim(c, ret_signal);
}

static void child_end(struct child *c)
{
    if (!c->ended)
        kill(c->pid, SIGKILL);
    while (!c->ended) {
        int status;
        pid_t tid = waitpid(-1, &status, __WALL);
        if (tid < 0 && errno != EINTR)
            return;
        if (tid > 0)
            child_note(c, tid, status);
    }
}

/* Waits for the verdict: true if all was well. */
static bool wait_verdict(struct child *c, bool *ret_stuck)
{
    int64_t end = now() + PATIENCE * INT64_C(1000000000);
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    *ret_stuck = false;
    while (!c->ended) {
        int status;
        pid_t tid = waitpid(-1, &status, __WALL | WNOHANG);
        if (tid > 0) {
            child_note(c, tid, status);
            /* A signal on its way to a victim that is still traced. */
            if (WIFSTOPPED(status) && WSTOPSIG(status) != SIGTRAP)
                (void)ptrace(PTRACE_CONT, tid, NULL, (void *)(intptr_t)WSTOPSIG(status));
            continue;
        }
        int64_t left = end - now();
        if (left <= 0) {
            *ret_stuck = true;
            return false;
        }
        struct timespec ts = {(time_t)(left / 1000000000), (long)(left % 1000000000)};
        (void)sigtimedwait(&chld, NULL, &ts);
    }
    return WIFEXITED(c->status) && WEXITSTATUS(c->status) == 0;
}

/*
 * Runs the victim into a breakpoint. It is written into the process's own copy of the code, so no other thread may come
 * by there meanwhile: they sleep, or wait for the victim.
 */
static bool run_to(struct child *c, uintptr_t pc)
{
    int signal;
    long word = ptrace(PTRACE_PEEKTEXT, c->victim, (void *)pc, NULL), broken;
#if defined(__x86_64__)
    broken = (word & ~0xffL) | 0xcc;
#else
    broken = (word & ~0xffffffffL) | 0xd4200000;
#endif
    if (ptrace(PTRACE_POKETEXT, c->victim, (void *)pc, (void *)broken) < 0 ||
        ptrace(PTRACE_CONT, c->victim, NULL, NULL) < 0 || !wait_victim(c, &signal) || signal != SIGTRAP ||
        ptrace(PTRACE_POKETEXT, c->victim, (void *)pc, (void *)word) < 0)
        return false;
#if defined(__x86_64__)
    return ptrace(PTRACE_POKEUSER, c->victim, (void *)offsetof(struct user, regs.rip), (void *)pc) == 0;
#else
    return true;
#endif
}

/* A process whose victim stands at the entry of its operation. */
static bool child_new(struct child *c, const struct scene *scene, enum first_do first, bool handler,
                      struct where *ret_entry)
{
    int signal;
    memset(report, 0, sizeof *report);
    (void)sem_init(&report->news, 1, 0);
    *c = (struct child){.report = report};
    c->pid = fork();
    if (c->pid == 0)
        scene_play(scene, first, handler, report);
    return c->pid > 0 && wait_victim(c, &signal) && signal == SIGSTOP && run_to(c, op_entry(scene->op)) &&
           where_is(c->victim, ret_entry);
}

/* ---- The path through an operation ------------------------------------------------------------------------------ */

static void path_add(struct path *p, uintptr_t pc)
{
    if (p->n == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 4096;
        p->pc = realloc(p->pc, p->cap * sizeof *p->pc);
        p->first = realloc(p->first, p->cap * sizeof *p->first);
        p->times = realloc(p->times, p->cap * sizeof *p->times);
        if (!p->pc || !p->first || !p->times)
            abort();
    }
    p->pc[p->n++] = pc;
}

static void path_free(struct path *p)
{
    free(p->pc);
    free(p->first);
    free(p->times);
}

static bool is_system_call(uintptr_t pc)
{
#if defined(__x86_64__)
    static const unsigned char call[] = {0x0f, 0x05};
#else
    static const unsigned char call[] = {0x01, 0x00, 0x00, 0xd4};
#endif
    return memcmp((const void *)pc, call, sizeof call) == 0;
}

/* How often each instruction has come by so far: a table with open addressing. */
static void path_index(struct path *p, bool crew)
{
    size_t size = 64, last = 0;
    /* Those that the victim wakes go on from the first call in which it may do so. */
    for (size_t i = 0; crew && i < p->slept; i++)
        if (is_system_call(p->pc[i]))
            p->slept = i;
    while (size < 2 * p->n)
        size *= 2;
    struct {
        uintptr_t pc;
        uint32_t times;
    } *table = calloc(size, sizeof *table);
    if (!table)
        abort();
    for (size_t i = 0; i < p->n; i++) {
        size_t at = (p->pc[i] * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (size - 1);
        while (table[at].pc && table[at].pc != p->pc[i])
            at = (at + 1) & (size - 1);
        table[at].pc = p->pc[i];
        p->times[i] = ++table[at].times;
        /* From there on others execute the same code. */
        if (p->times[i] == 1 && i <= p->slept)
            last = i;
        p->first[i] = (uint32_t)last;
    }
    free(table);
}

/* Whether the operation has returned. */
static bool has_returned(const struct child *c, uintptr_t pc, uintptr_t back, const struct where *entry)
{
    struct where at;
    return pc == back && where_is(c->victim, &at) && (at.sp > entry->sp || (!entry->link ? false : at.sp == entry->sp));
}

static void print_line(pid_t pid, long tid, const char *file, const char *what)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/task/%ld/%s", (int)pid, tid, file);
    FILE *f = fopen(path, "re");
    if (f && fgets(line, sizeof line, f))
        printf("        %s %s%s", what, line, strchr(line, '\n') ? "" : "\n");
    if (f)
        (void)fclose(f);
}

/* What the kernel says of each thread of a process that does not come to its end, and where it is. */
static void print_threads(const struct child *c)
{
    char path[32], symbol[128];
    snprintf(path, sizeof path, "/proc/%d/task", (int)c->pid);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        long tid = strtol(e->d_name, NULL, 10);
        int status;
        if (tid <= 0)
            continue;
        printf("      task %ld\n", tid);
        print_line(c->pid, tid, "stat", "stat");
        print_line(c->pid, tid, "syscall", "call");
        print_line(c->pid, tid, "wchan", "in");
        if (ptrace(PTRACE_ATTACH, (pid_t)tid, NULL, NULL) == 0 && waitpid((pid_t)tid, &status, __WALL) == tid &&
            WIFSTOPPED(status)) {
            symbol_name(pc_of((pid_t)tid), symbol, sizeof symbol);
            printf("        at %s\n", symbol);
        }
    }
    if (dir)
        (void)closedir(dir);
}

static void print_failure(const struct scene *scene, const struct child *c, const char *how)
{
    fflush(stdout);
    printf("%s: %s\n", scene->name, how);
    if (report->wrong)
        printf("    %s\n", report->text);
    if (c->ended && WIFSIGNALED(c->status))
        printf("    ended by signal %d\n", WTERMSIG(c->status));
    for (unsigned i = 0; i < sizeof report->at / sizeof *report->at; i++)
        if (report->at[i].what)
            printf("    thread %u: %s (%llu)\n", i, report->at[i].what, (unsigned long long)report->at[i].n);
    if (!c->ended)
        print_threads(c);
    fflush(stdout);
}

/* Steps through the whole operation, and has the verdict on it. */
static bool path_record(const struct scene *scene, struct path *p)
{
    struct child c;
    struct where entry;
    bool stuck = false, ok = child_new(&c, scene, FIRST_GET, false, &entry);
    if (ok) {
        uintptr_t back = return_address(c.victim, &entry), pc = entry.pc;
        int signal, yields = 0;
        do {
            path_add(p, pc);
            if (!report->fed)
                p->slept = p->n - 1;
            if (pc == (uintptr_t)sched_yield && ++yields == YIELDS_MAX && scene_spins(scene))
                ok = run_to(&c, op_sleeps_at(scene->op));
            else
                ok = step(&c, 0, &signal) && signal == SIGTRAP && p->n < STEPS_MAX;
            pc = pc_of(c.victim);
        } while (ok && !has_returned(&c, pc, back, &entry));
        if (ok)
            (void)ptrace(PTRACE_DETACH, c.victim, NULL, NULL);
    }
    ok = ok && wait_verdict(&c, &stuck);
    if (!ok)
        print_failure(scene, &c, "the operation went wrong though nobody stopped it");
    child_end(&c);
    path_index(p, scene->crew != NOBODY && scene->crew != STRANGER);
    return ok;
}

/* ---- One point -------------------------------------------------------------------------------------------------- */

/* Brings the victim to the k-th instruction of its path. False if it has returned before. */
static bool go_to(struct child *c, const struct path *p, size_t k, const struct where *entry, bool runs)
{
    uintptr_t back = return_address(c->victim, entry);
    size_t i = 0;
    int signal;
    if (runs && p->first[k] > 0) {
        if (!run_to(c, p->pc[p->first[k]]))
            return false;
        i = p->first[k];
    }
    for (; i < k; i++)
        if (!step(c, 0, &signal) || signal != SIGTRAP || has_returned(c, pc_of(c->victim), back, entry))
            return false;
    return true;
}

static void tell(uint32_t event)
{
    __atomic_fetch_or(&report->event, event, __ATOMIC_RELEASE);
    (void)sem_post(&report->news);
}

/*
 * A process whose victim stands at the k-th instruction of its path. If another thread came by the breakpoint first,
 * that has ended the process: the victim slept earlier than it did when its path was recorded, as it does on a machine
 * that is busy. Then a new one is stepped all the way.
 */
static bool child_at(struct child *c, const struct scene *scene, enum first_do first, bool handler,
                     const struct path *p, size_t k)
{
    struct where entry;
    if (!child_new(c, scene, first, handler, &entry))
        return false;
    if (k == p->n || go_to(c, p, k, &entry, true))
        return true;
    if (!c->ended || !WIFSIGNALED(c->status) || WTERMSIG(c->status) != SIGTRAP)
        return false;
    return child_new(c, scene, first, handler, &entry) && go_to(c, p, k, &entry, false);
}

/* The point behind the last stands for the victim asleep, where only a signal can find it. */
static void try_point(const struct scene *scene, const struct path *p, size_t k, enum what what, enum first_do first,
                      const struct wishes *wishes, struct tally *tally)
{
    struct child c;
    bool stuck = false, reached, ok = true, asleep = k == p->n;
    uintptr_t pc = 0;
    reached = child_at(&c, scene, first, what == POINTS_SIGNAL, p, k);
    if (reached) {
        tally->points++;
        pc = pc_of(c.victim);
        tally->strayed += !asleep && pc != p->pc[k];
        if (asleep)
            report->poke = 1;
        if (what == POINTS_FREEZE)
            tell(EVENT_FROZEN);
        else if (ptrace(PTRACE_DETACH, c.victim, NULL, (void *)(intptr_t)(asleep ? 0 : SIGUSR1)) < 0)
            ok = false;
        ok = ok && wait_verdict(&c, &stuck);
    } else if (report->wrong || (c.ended && WIFSIGNALED(c.status))) {
        ok = false;
    } else {
        tally->strayed++;
    }
    if (!ok)
        tally->bad++;
    if (!ok || wishes->verbose) {
        char symbol[128], how[320];
        symbol_name(pc, symbol, sizeof symbol);
        snprintf(how, sizeof how, "%s%s at point %zu of %zu, %s; then %s",
                 ok      ? ""
                 : stuck ? "STUCK: "
                         : "WRONG: ",
                 what == POINTS_FREEZE ? "stopped" : "hit by a signal", k, p->n, asleep ? "asleep" : symbol,
                 first_name(first));
        print_failure(scene, &c, how);
    }
    child_end(&c);
}

int trace_scene(const struct scene *scene, enum what what, const struct wishes *wishes, struct tally *tally)
{
    struct path p = {0};
    static unsigned turn;
    if (!report) {
        sigset_t chld;
        sigemptyset(&chld);
        sigaddset(&chld, SIGCHLD);
        (void)sigprocmask(SIG_BLOCK, &chld, NULL);
        report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (report == MAP_FAILED)
            return -errno;
    }
    if (!path_record(scene, &p)) {
        tally->bad++;
        path_free(&p);
        return 0;
    }
    size_t end = p.n + (what == POINTS_SIGNAL && scene_sleeps(scene));
    for (size_t k = 0; k < end; k++) {
        if (wishes->only_point >= 0 && k != (size_t)wishes->only_point)
            continue;
        if (k < p.n && p.times[k] > wishes->repeats) {
            tally->repeats++;
            continue;
        }
        tally->instructions++;
        /* So that with a stride scenes that share their code share its points. */
        if (wishes->only_point < 0 && (k + turn) % wishes->stride != 0 && k != p.n)
            continue;
        bool crew = scene->crew != NOBODY && scene->crew != STRANGER;
        for (int first = 0; first < N_FIRSTS; first++) {
            bool wanted = wishes->only_first >= 0 ? first == wishes->only_first
                          : wishes->all_firsts    ? true
                                                  : first == (int)((k + turn) % N_FIRSTS);
            if (tally->bad >= FAILURES_MAX)
                break;
            /* Where somebody sleeps, all begin with waking them; only a close differs. */
            if (wanted && !(wishes->all_firsts && crew && first != FIRST_PUT && first != FIRST_CLOSE))
                try_point(scene, &p, k, what, (enum first_do)first, wishes, tally);
        }
    }
    turn++;
    path_free(&p);
    return 0;
}
