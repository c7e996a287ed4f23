/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* A bar on a terminal; elsewhere a line for each cell of each round. */

#include "bench.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BAR 24

static struct {
    bool bar, row_open;
    size_t total, done;
    unsigned rounds;
    double began;
} at;

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void progress_begin(size_t total, unsigned rounds)
{
    at.bar = isatty(2);
    at.total = total;
    at.rounds = rounds;
    at.began = now_s();
}

void progress_run(unsigned round, const struct row *row, const struct peer *peer)
{
    if (!at.bar) {
        if (!at.row_open)
            fprintf(stderr, "round %u of %u, %s:", round, at.rounds, row->label);
        at.row_open = true;
        return;
    }
    double left = at.done ? (now_s() - at.began) / (double)at.done * (double)(at.total - at.done) : NAN;
    size_t filled = at.total ? at.done * BAR / at.total : 0;
    fputs("\r[", stderr);
    for (size_t i = 0; i < BAR; i++)
        fputc(i < filled ? '#' : '.', stderr);
    fprintf(stderr, "] %zu/%zu round %u %s %s", at.done, at.total, round, row->label, peer->name);
    if (!isnan(left))
        fprintf(stderr, ", about %.0f:%02.0f left", floor(left / 60), floor(fmod(left, 60)));
    fputs("\033[K", stderr);
}

void progress_ran(const struct peer *peer, const struct entry *entry, double ns)
{
    at.done++;
    if (at.bar || !at.row_open || entry->outcome == CANNOT)
        return;
    if (isnan(ns))
        fprintf(stderr, " %s %s", peer->name, entry->outcome == RAN ? "ran" : entry->why);
    else
        fprintf(stderr, " %s %.1f", peer->name, ns);
}

void progress_row(void)
{
    if (at.row_open)
        fputc('\n', stderr);
    at.row_open = false;
}

void progress_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (at.row_open)
        fputc('\n', stderr);
    at.row_open = false;
    fputs(at.bar ? "\r\033[Kbench: " : "bench: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

void progress_end(void)
{
    progress_row();
    if (at.bar)
        fputs("\r\033[K", stderr);
}
