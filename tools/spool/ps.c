/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

/* ---- One process ---------------------------------------------------------------------------------------------- */

static void print_waiters(const struct spool__look *l, int lane, enum spool__side side)
{
    for (int i = 0; i < l->n_threads; i++) {
        const struct spool__seen_thread *t = &l->threads[i];
        if (t->wait == SPOOL__IN_LANE && t->what == lane && t->side == side)
            printf("    %s: %s (%d), asleep for %s%s\n", side == SPOOL__GET ? "get" : "put", t->name, (int)t->tid,
                   short_time(t->asleep_ns), t->is_timed ? ", with a timeout" : "");
    }
    for (int s = 0; s < l->n_selects; s++)
        for (int i = 0; i < l->selects[s].n_watches; i++) {
            const struct spool__seen_watch *w = &l->watches[l->selects[s].watches + i];
            if (w->lane == lane && w->side == side)
                printf("    %s: select %d%s\n", side == SPOOL__GET ? "get" : "put", s,
                       w->n_on == 0 ? ", off" : w->is_armed ? ", armed" : "");
        }
    const struct spool__gate_sight *g = &l->lanes[lane].gates[side];
    if (g->fd >= 0)
        printf("    %s: fd %d, eventfd-id %ld%s\n", side == SPOOL__GET ? "get" : "put", g->fd,
               eventfd_id(l->pid, g->fd), g->is_exported ? ", polled by others" : "");
}

static void print_lane(const struct spool__look *l, int index)
{
    const struct spool__seen_lane *lane = &l->lanes[index];
    char fill[48], puts[32] = "-";
    if (lane->flavour == SPOOL__RING)
        snprintf(fill, sizeof fill, "%zu/%zu", lane->len, lane->capacity);
    else if (lane->flavour == SPOOL__CHAIN)
        snprintf(fill, sizeof fill, "%zu", lane->len);
    else
        snprintf(fill, sizeof fill, "-");
    if (lane->is_counted)
        snprintf(puts, sizeof puts, "%llu", (unsigned long long)lane->puts);
    printf("%-20s %-10s %13s %-6s %12s %12llu %10llu %12llu  %s\n", lane_name(l, index), spool__look_kind(lane), fill,
           lane->is_closed ? "closed" : "open", puts, (unsigned long long)lane->gets,
           (unsigned long long)lane_wakes(lane), (unsigned long long)lane_saved(lane),
           where(l->pid, l->chans[lane->chan].creator));
    print_waiters(l, index, SPOOL__GET);
    print_waiters(l, index, SPOOL__PUT);
    if (lane->flavour == SPOOL__SOURCE)
        printf("    fd %d\n", lane->source_fd);
}

static void print_table(const struct spool__look *l)
{
    printf("%-20s %-10s %13s %-6s %12s %12s %10s %12s  %s\n", "CHANNEL", "KIND", "LEN/CAP", "STATE", "PUTS", "GETS",
           "WAKES", "SAVED", "MADE AT");
    for (int i = 0; i < l->n_lanes; i++)
        print_lane(l, i);
    if (l->is_blind)
        fputs("spool: what its threads wait for could not be read\n", stderr);
}

/* ---- All processes -------------------------------------------------------------------------------------------- */

static void print_process(pid_t pid, bool json, bool *any)
{
    struct spool__look looks[REGISTRIES_MAX];
    char why[512], name[32];
    int n = try_look_at(pid, looks, why, sizeof why);
    for (int i = 0; i < n; i++) {
        if (json) {
            fputs(*any ? ",\n" : "[", stdout);
            print_json(&looks[i], stdout);
        } else {
            if (!*any)
                printf("%8s %-16s %8s %8s %8s\n", "PID", "NAME", "CHANNELS", "SELECTS", "THREADS");
            printf("%8d %-16s %8d %8d %8d\n", (int)pid, process_name(pid, name, sizeof name), looks[i].n_chans,
                   looks[i].n_selects, looks[i].n_threads);
        }
        *any = true;
    }
    free_looks(looks, n);
    if (n == -EPROTO)
        fprintf(stderr, "spool: %s\n", why);
}

static int print_all(bool json)
{
    DIR *proc = opendir("/proc");
    if (!proc)
        die("/proc: %s", strerror(errno));
    bool any = false;
    for (struct dirent *e; (e = readdir(proc));) {
        char *end;
        long pid = strtol(e->d_name, &end, 10);
        if (*end == '\0' && pid > 0 && pid != getpid())
            print_process((pid_t)pid, json, &any);
    }
    closedir(proc);
    if (json)
        puts(any ? "]" : "[]");
    else if (!any)
        fputs("spool: no process that may be looked at uses spool\n", stderr);
    return 0;
}

int ps_main(int argc, char **argv)
{
    struct spool__look looks[REGISTRIES_MAX];
    bool json = false;
    int i = 1;
    if (i < argc && strcmp(argv[i], "--json") == 0) {
        json = true;
        i++;
    }
    if (i == argc)
        return print_all(json);
    if (i + 1 < argc)
        die("usage: spool ps [--json] [PID]");
    int n = look_at(parse_pid(argv[i]), looks);
    for (int k = 0; k < n; k++) {
        if (json)
            print_json(&looks[k], stdout);
        else
            print_table(&looks[k]);
    }
    free_looks(looks, n);
    return 0;
}
