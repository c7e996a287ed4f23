/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define BUFFERS 16

void die(const char *format, ...)
{
    va_list args;
    fflush(stdout);
    fputs("spool: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(EXIT_FAILED);
}

static char *next_buffer(void)
{
    static char buffers[BUFFERS][SPOOL__NAME_BYTES + 16];
    static unsigned next;
    return buffers[next++ % BUFFERS];
}

/* Names are anybody's bytes, and go to terminals. */
static void make_plain(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 127)
            *s = '?';
}

const char *chan_name(const struct spool__look *l, int chan)
{
    char *buf = next_buffer();
    if (l->chans[chan].name[0])
        snprintf(buf, sizeof(char[SPOOL__NAME_BYTES + 16]), "%s", l->chans[chan].name);
    else
        snprintf(buf, sizeof(char[SPOOL__NAME_BYTES + 16]), "#%d", chan);
    make_plain(buf);
    return buf;
}

const char *lane_name(const struct spool__look *l, int lane)
{
    int chan = l->lanes[lane].chan;
    const char *name = chan_name(l, chan);
    if (l->chans[chan].n_lanes == 1)
        return name;
    char *buf = next_buffer();
    snprintf(buf, sizeof(char[SPOOL__NAME_BYTES + 16]), "%s:%c", name, lane == l->chans[chan].lanes ? 'a' : 'b');
    return buf;
}

const char *short_time(int64_t ns)
{
    static const char *const names[] = {"ns", "us", "ms", "s"};
    char *buf = next_buffer();
    double t = (double)ns;
    unsigned unit = 0;
    for (; t >= 1000 && unit < 3; unit++)
        t /= 1000;
    if (ns < 0)
        snprintf(buf, 32, "?");
    else
        snprintf(buf, 32, "%.*f %s", unit == 0 || t >= 100 ? 0 : t >= 10 ? 1 : 2, t, names[unit]);
    return buf;
}

const char *short_count(double n)
{
    static const char units[] = " kMGT";
    char *buf = next_buffer();
    unsigned unit = 0;
    for (; n >= 100000 && unit < 4; unit++)
        n /= 1000;
    if (unit == 0)
        snprintf(buf, 32, "%.0f", n);
    else
        snprintf(buf, 32, "%.*f%c", n < 100 ? 1 : 0, n, units[unit]);
    return buf;
}

uint64_t lane_wakes(const struct spool__seen_lane *lane)
{
    return lane->gates[SPOOL__GET].wakes + lane->gates[SPOOL__PUT].wakes;
}

uint64_t lane_saved(const struct spool__seen_lane *lane)
{
    uint64_t done = lane->puts + lane->gets, wakes = lane_wakes(lane);
    return done > wakes ? done - wakes : 0;
}

long eventfd_id(pid_t pid, int fd)
{
    char path[64], line[128];
    long id = -1;
    snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", (int)pid, fd);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "eventfd-id: %ld", &id) == 1)
            break;
    if (f)
        fclose(f);
    return id;
}
