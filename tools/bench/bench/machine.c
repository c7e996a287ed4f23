/* SPDX-License-Identifier: LGPL-3.0-or-later */

#define _GNU_SOURCE
#include "bench.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#define BLOCKS 100
#define TRIPS 50
#define LONGEST_NS 1e8

_Static_assert(BLOCKS - 1 <= ROUNDS_MAX, "a block is a round of the figure");

static char load_before[64], began[64];

/* What follows key in the first line that begins with it; the first line where key is "". */
static void read_line(char *ret, size_t size, const char *path, const char *key)
{
    char line[512];
    FILE *f = fopen(path, "re");
    snprintf(ret, size, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, strlen(key)))
            continue;
        char *value = line + strlen(key);
        value += strspn(value, " \t:=\"");
        value[strcspn(value, "\"\n")] = 0;
        snprintf(ret, size, "%s", value);
        break;
    }
    if (f)
        fclose(f);
}

static void read_load(char *ret, size_t size)
{
    read_line(ret, size, "/proc/loadavg", "");
}

void machine_begin(void)
{
    time_t now = time(NULL);
    struct tm tm;
    read_load(load_before, sizeof load_before);
    strftime(began, sizeof began, "%Y-%m-%d %H:%M %Z", localtime_r(&now, &tm));
}

static int cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

struct fact {
    const char *name;
    char value[256];
};

#define N_FACTS 8

static void facts(struct fact *f)
{
    struct utsname uts;
    uname(&uts);
    *f = (struct fact){ .name = "CPU" };
    read_line(f->value, sizeof f->value, "/proc/cpuinfo", "model name");
    *++f = (struct fact){ .name = "cores" };
    snprintf(f->value, sizeof f->value, "%d", cores());
    *++f = (struct fact){ .name = "governor" };
    read_line(f->value, sizeof f->value, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "");
    *++f = (struct fact){ .name = "kernel" };
    snprintf(f->value, sizeof f->value, "%s %s %s", uts.sysname, uts.release, uts.machine);
    *++f = (struct fact){ .name = "system" };
    read_line(f->value, sizeof f->value, "/etc/os-release", "PRETTY_NAME");
    *++f = (struct fact){ .name = "C compiler" };
#ifdef __clang__
    snprintf(f->value, sizeof f->value, "%s", __VERSION__);
#else
    snprintf(f->value, sizeof f->value, "gcc %s", __VERSION__);
#endif
    *++f = (struct fact){ .name = "begun" };
    snprintf(f->value, sizeof f->value, "%s", began);
    *++f = (struct fact){ .name = "load average" };
    char after[64];
    read_load(after, sizeof after);
    snprintf(f->value, sizeof f->value, "%s before, %s after", load_before, after);
}

void machine_describe(FILE *out, const char *before_each_line)
{
    struct fact f[N_FACTS];
    facts(f);
    for (size_t i = 0; i < N_FACTS; i++)
        fprintf(out, "%s%s: %s\n", before_each_line, f[i].name, f[i].value);
}

void machine_json(FILE *out)
{
    struct fact f[N_FACTS];
    facts(f);
    for (size_t i = 0; i < N_FACTS; i++) {
        fprintf(out, "%s\n    \"%s\": \"", i ? "," : "", f[i].name);
        for (const char *p = f[i].value; *p; p++)
            fprintf(out, *p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
        fputc('"', out);
    }
}

/* ---- A line's way from one core to another and back ----------------------------------------------------------- */

static struct {
    _Alignas(128) _Atomic uint64_t turn; /* odd: the other's */
    _Alignas(128) int other_cpu;
} line;

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static void *answer(void *arg)
{
    pin(line.other_cpu);
    for (uint64_t i = 0;; i++) {
        uint64_t turn;
        while ((turn = atomic_load_explicit(&line.turn, memory_order_acquire)) != 2 * i + 1)
            if (turn == UINT64_MAX)
                return arg;
        atomic_store_explicit(&line.turn, 2 * i + 2, memory_order_release);
    }
}

static double now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* The median of blocks, so that a block in which one of the two was not running does not count. */
double machine_line_round_trip(void)
{
    cpu_set_t before;
    if (sched_getaffinity(0, sizeof before, &before) || CPU_COUNT(&before) < 2)
        return NAN;
    int cpus[2], n = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++)
        if (CPU_ISSET(cpu, &before))
            cpus[n++] = cpu;
    pthread_t other;
    static struct figure blocks;
    blocks.n = 0;
    atomic_store(&line.turn, 0);
    line.other_cpu = cpus[1];
    if (pthread_create(&other, NULL, answer, NULL))
        return NAN;
    pin(cpus[0]);
    double began_ns = now_ns(), start = began_ns;
    for (uint64_t block = 0, i = 0; block < BLOCKS && start - began_ns < LONGEST_NS; block++) {
        start = now_ns();
        for (unsigned trip = 0; trip < TRIPS; trip++, i++) {
            atomic_store_explicit(&line.turn, 2 * i + 1, memory_order_release);
            while (atomic_load_explicit(&line.turn, memory_order_acquire) != 2 * i + 2) {
            }
        }
        /* The first holds the other's start. */
        if (block > 0)
            blocks.values[blocks.n++] = (now_ns() - start) / TRIPS;
    }
    atomic_store(&line.turn, UINT64_MAX);
    pthread_join(other, NULL);
    sched_setaffinity(0, sizeof before, &before);
    return blocks.n ? figure_median(&blocks) : NAN;
}
