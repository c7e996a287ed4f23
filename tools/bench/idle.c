/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * What blocked programs do: nothing. Each program has a thread in every kind of wait: spool_select_wait over 100
 * channels, spool_get, spool_put, both sides of a rendezvous, spool_get of a timer that is hours away, poll(2) of
 * spool_fd, spool_go_wait, and one that spool_go keeps.
 *
 * Counted from outside, so that counting changes nothing: the kernel's books of each thread, /proc/PID/task/TID/
 * schedstat (time on a processor, turns on one), status (context switches) and syscall (which call it is in). A thread
 * that had no turn on a processor made no system call, and one more turn is at least one call more, or a preemption.
 * control is one thread that sleeps 100 times a second, to show that the method sees it.
 *
 * Figures, for all programs together and each second: cpu_ns, turns, switches; moved, threads that were in another
 * call at the end.
 *
 * Options: programs=N, seconds=N, wait_s=SECONDS before, in which threads come to rest: spool_go keeps one for ten
 * seconds and then lets it go, so "kept" begins at once and "idle" after 12 seconds.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include "special.h"

enum { QUIET = 100, PROGRAMS_MAX = 256, THREADS_MAX = 64, CALL_MAX = 128 };
enum { KEPT, IDLE };

/* ---- The blocked program -------------------------------------------------------------------------------------- */

static spool_chan *make(size_t capacity)
{
    spool_chan *chan;
    need(spool_chan_new(&chan, sizeof(uint64_t), capacity), "spool_chan_new");
    return chan;
}

static void *in_select(void *arg)
{
    uint64_t value;
    spool_select *sel;
    need(spool_select_new(&sel), "spool_select_new");
    for (int i = 0; i < QUIET; i++)
        need(spool_select_get(sel, make(4), &value), "spool_select_get");
    wrong("spool_select_wait returned %d", spool_select_wait(sel, -1));
    return arg;
}

static void *in_get(void *arg)
{
    uint64_t value;
    wrong("spool_get returned %d", spool_get(arg, &value));
    return NULL;
}

static void *in_put(void *arg)
{
    uint64_t value = 0;
    int r;
    while ((r = spool_put(arg, &value)) == 0)
        ;
    wrong("spool_put returned %d", r);
    return NULL;
}

static void *in_poll(void *arg)
{
    struct pollfd p = {.fd = (int)need(spool_fd(arg), "spool_fd"), .events = POLLIN};
    wrong("poll returned %d", poll(&p, 1, -1));
    return NULL;
}

static void ends_when_asked(void *arg)
{
    uint64_t value;
    (void)arg;
    (void)!spool_get(spool_self(), &value);
}

static void returns(void *arg)
{
    (void)arg;
}

__attribute__((noreturn)) static void blocked_program(void)
{
    pthread_t thread;
    spool_chan *timer, *blocked, *kept;
    need(spool_after(&timer, INT64_C(36000000000000)), "spool_after");
    const struct {
        void *(*fn)(void *);
        spool_chan *chan;
    } waits[] = {
        {in_select, NULL}, {in_get, make(4)}, {in_put, make(4)},   {in_get, make(0)}, {in_put, make(0)},
        {in_get, timer},   {in_poll, make(4)}, {in_get, make(SPOOL_UNBOUNDED)},
    };
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++)
        need(-pthread_create(&thread, NULL, waits[i].fn, waits[i].chan), "pthread_create");
    need(spool_go(&kept, returns, NULL, sizeof(uint64_t), 1), "spool_go");
    need(spool_go(&blocked, ends_when_asked, NULL, sizeof(uint64_t), 1), "spool_go");
    wrong("spool_go_wait returned %d", spool_go_wait(-1));
}

__attribute__((noreturn)) static void control_program(void)
{
    for (;;)
        sleep_ns(10000000);
}

static pid_t start(void (*program)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        program();
        _exit(0);
    }
    return (pid_t)need_sys(pid, "fork");
}

/* ---- The kernel's books --------------------------------------------------------------------------------------- */

struct books {
    int n_threads;
    double cpu_ns, turns, switches;
    char calls[THREADS_MAX][CALL_MAX];
};

static FILE *open_book(pid_t pid, const char *tid, const char *book)
{
    char path[128];
    snprintf(path, sizeof path, "/proc/%d/task/%.20s/%s", (int)pid, tid, book);
    return fopen(path, "r");
}

static void read_thread(struct books *b, pid_t pid, const char *tid)
{
    char line[CALL_MAX];
    unsigned long long ran, turns = 0, switches;
    FILE *f = open_book(pid, tid, "schedstat");
    if (!f || fscanf(f, "%llu %*u %llu", &ran, &turns) != 2 || turns == 0)
        skip("the kernel does not keep schedstat");
    fclose(f);
    b->cpu_ns += (double)ran;
    b->turns += (double)turns;
    f = open_book(pid, tid, "status");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "voluntary_ctxt_switches: %llu", &switches) == 1 ||
            sscanf(line, "nonvoluntary_ctxt_switches: %llu", &switches) == 1)
            b->switches += (double)switches;
    if (f)
        fclose(f);
    f = open_book(pid, tid, "syscall");
    if (!f || !fgets(b->calls[b->n_threads], CALL_MAX, f))
        snprintf(b->calls[b->n_threads], CALL_MAX, "unknown");
    if (f)
        fclose(f);
    b->n_threads++;
}

static void read_program(struct books *b, pid_t pid)
{
    char path[64];
    memset(b, 0, sizeof *b);
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *d = opendir(path);
    if (!d)
        wrong("a blocked program has ended");
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.' && b->n_threads < THREADS_MAX)
            read_thread(b, pid, e->d_name);
    closedir(d);
}

/* ---- Comparing ------------------------------------------------------------------------------------------------ */

static double moved(const struct books *before, const struct books *after)
{
    double n = before->n_threads > after->n_threads ? before->n_threads - after->n_threads : 0;
    for (int i = 0; i < after->n_threads; i++)
        n += i >= before->n_threads || strcmp(before->calls[i], after->calls[i]) != 0;
    return n;
}

static void run(long when)
{
    static struct books before[PROGRAMS_MAX + 1], after[PROGRAMS_MAX + 1];
    pid_t pids[PROGRAMS_MAX + 1];
    size_t n = (size_t)option("programs", 4);
    double seconds = (double)option("seconds", 5), cpu = 0, turns = 0, switches = 0, others = 0, threads = 0;
    if (n < 1 || n > PROGRAMS_MAX || seconds < 1)
        special_end(2, "programs is not from 1 to %d, or seconds is 0", PROGRAMS_MAX);
    for (size_t i = 0; i <= n; i++)
        pids[i] = start(i < n ? blocked_program : control_program);
    sleep_ns(option("wait_s", when == IDLE ? 12 : 2) * 1000000000);
    for (size_t i = 0; i <= n; i++)
        read_program(&before[i], pids[i]);
    sleep_ns((int64_t)seconds * 1000000000);
    for (size_t i = 0; i <= n; i++)
        read_program(&after[i], pids[i]);
    for (size_t i = 0; i <= n; i++) {
        int status;
        pid_t dead = waitpid(pids[i], &status, WNOHANG);
        if (dead != 0)
            wrong("a blocked program has ended");
        kill(pids[i], SIGKILL);
        waitpid(pids[i], &status, 0);
    }
    for (size_t i = 0; i < n; i++) {
        threads += after[i].n_threads;
        cpu += after[i].cpu_ns - before[i].cpu_ns;
        turns += after[i].turns - before[i].turns;
        switches += after[i].switches - before[i].switches;
        others += moved(&before[i], &after[i]);
    }
    double control = after[n].turns - before[n].turns;
    if (control < 10 * seconds)
        wrong("the control program had %.0f turns: the method does not see what happens", control);
    figure(threads, "threads");
    figure(cpu / seconds, "cpu_ns");
    figure(turns / seconds, "turns");
    figure(switches / seconds, "switches");
    figure(others, "moved");
    figure(control / seconds, "control.turns");
    figure((after[n].cpu_ns - before[n].cpu_ns) / seconds, "control.cpu_ns");
}

static const struct cell cells[] = {
    {"kept", run, KEPT},
    {"idle", run, IDLE},
};

SPECIAL_MAIN("what blocked programs do", cells)
