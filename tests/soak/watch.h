/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_SOAK_WATCH_H
#define SPOOL_SOAK_WATCH_H

/* What is printed when nothing moves any more, or a call returned what it must not: who waits for what. */

#include <ctype.h>
#include <dirent.h>
#include <sys/resource.h>

#include "chan.h"
#include "crew.h"

static const char *_Atomic main_where = "main";

static inline void dump_gate(const char *who, const struct spool__gate *g)
{
    uint64_t t = spool__load(&g->threads, RELAXED), s = spool__load(&g->selects, RELAXED);
    fprintf(stderr,
            "    gate of %s: threads %016" PRIx64 " (waiting %u, granted %u, shut %u, pending %u), selects %016" PRIx64
            " (waiting %u, granted %u, drainers %u, pending %u, listening %u, exported %u), fd %d, told %u\n",
            who, t, (unsigned)(t >> 32) & 0x3fffff, (unsigned)t & 0x7fffffff, (unsigned)(t >> 31) & 1,
            (unsigned)(t >> 54) & 1, s, (unsigned)s & 0xfffff, (unsigned)(s >> 20) & 0xfffff,
            (unsigned)(s >> 40) & 0xff, (unsigned)(s >> 48) & 1, (unsigned)(s >> 49) & 1, (unsigned)(s >> 50) & 1,
            spool__load(&g->fd_plus_1, RELAXED) - 1, spool__load(&g->told, RELAXED));
}

/* By the number of the slot, whatever a slot of these elements looks like. */
static inline void dump_slot(const struct spool__ring *r, const char *what, uint64_t pos)
{
    const uint64_t *slots = (const uint64_t *)(const void *)(r + 1);
    size_t words = r->cells || r->elem_size == 0 ? 1 : 2, i = (size_t)((pos & (r->unit - 1)) / 4);
    fprintf(stderr, "    ring %s %" PRIx64 ": slot %zu of %zu:", what, pos, i, r->capacity);
    for (size_t w = 0; w < words; w++)
        fprintf(stderr, " %016" PRIx64, spool__load(&slots[i * words + w], RELAXED));
    fprintf(stderr, "\n");
}

static inline void dump_segment(const char *what, const struct spool__segment *s)
{
    fprintf(stderr,
            "    chain %s segment: first %" PRIu64 ", slots %" PRIu64 ", tail %" PRIu64 ", head %" PRIu64
            ", tickets %" PRIu64 " of %" PRIu64 "%s\n",
            what, s->first, s->slots, spool__load(&s->tail, RELAXED), spool__load(&s->head, RELAXED),
            spool__load(&s->tickets, RELAXED), s->cells, spool__load(&s->next, RELAXED) ? ", linked on" : "");
}

static inline void dump_meet(const struct spool__meet *m)
{
    fprintf(stderr, "    meet: lock %x, closed %u\n", *(const unsigned *)(const void *)&m->lock, m->is_closed);
    for (int side = 0; side < 2; side++)
        for (const struct spool__offer *o = m->sides[side].first; o; o = o->next)
            fprintf(stderr, "      offer to %s of a %s: state %u, can be taken %d, observes %d, hinted %d\n",
                    side == SPOOL__GET ? "get" : "put", o->party ? "select" : "thread",
                    o->party ? o->party->state : o->state, o->can_be_taken, o->observes, o->is_hinted);
}

static inline void dump_lane(const spool_chan *end, int number)
{
    struct spool__lane *lane = spool__chan_lane(end, SPOOL__PUT);
    fprintf(stderr, "  lane %d: elements of %zu bytes, capacity %s, len %zu, %s, references %u, pins %u\n", number,
            lane->elem_size, capacity_name(lane->capacity), spool__lane_len(lane),
            spool__lane_is_closed(lane) ? "closed" : "open", spool__load(&end->refs, RELAXED),
            spool__load(&end->core->pins, RELAXED));
    dump_gate("getters", &lane->gates[SPOOL__GET]);
    dump_gate("putters", &lane->gates[SPOOL__PUT]);
    if (lane->flavour == SPOOL__RING) {
        dump_slot(&lane->ring, "tail", spool__load(&lane->ring.tail, RELAXED));
        dump_slot(&lane->ring, "head", spool__load(&lane->ring.head, RELAXED));
    } else if (lane->flavour == SPOOL__CHAIN) {
        dump_segment("tail", spool__load(&lane->chain.tail, RELAXED));
        dump_segment("head", spool__load(&lane->chain.head, RELAXED));
    } else if (lane->flavour == SPOOL__MEET) {
        dump_meet(&lane->meet);
    }
}

static inline void dump_file(const char *task, const char *name)
{
    char path[300], text[1000];
    snprintf(path, sizeof(path), "/proc/self/task/%s/%s", task, name);
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
    if (f)
        fclose(f);
    while (n && isspace((unsigned char)text[n - 1]))
        n--;
    text[n] = '\0';
    for (char *nl = text; (nl = strchr(nl, '\n'));)
        *nl = '|';
    /* Of stat the state, the times in user and system mode, and no more. */
    const char *state = strcmp(name, "stat") == 0 ? strrchr(text, ')') : NULL;
    fprintf(stderr, " %s=%.*s", name, state ? 3 : 400, state ? state + 1 : text);
}

static inline void dump_tasks(void)
{
    DIR *dir = opendir("/proc/self/task");
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        if (e->d_name[0] == '.')
            continue;
        fprintf(stderr, "  thread %s:", e->d_name);
        dump_file(e->d_name, "comm");
        dump_file(e->d_name, "stat");
        dump_file(e->d_name, "wchan");
        dump_file(e->d_name, "syscall");
        dump_file(e->d_name, "stack");
        fprintf(stderr, "\n");
    }
    if (dir)
        closedir(dir);
}

static inline void dump_all(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    fprintf(stderr, "%s\n  main thread: %s; life %d, putters left %d, closes %d; %ld s of processor time used so far\n",
            batch.name, main_where, (int)lap.life, lap.putters, lap.first_closes,
            (long)(use.ru_utime.tv_sec + use.ru_stime.tv_sec));
    for (size_t i = 0; i < CREW; i++) {
        const struct worker *me = &crew[i];
        const char *who = me->is_putter ? "putter" : "getter";
        if (!me->chan)
            continue;
        fprintf(stderr, "  %s %zu of lane %u, thread %d: in %s, style %s, batches of %u, moved %" PRIu64, who, i,
                me->lane, me->tid, where_names[me->where], style_names[me->style], me->at_once, me->moves);
        if (me->is_putter)
            fprintf(stderr, " of %" PRIu64, me->quota);
        fprintf(stderr, "\n");
    }
    dump_tasks();
    for (unsigned i = 0; i < lap.lanes; i++)
        if (lap.put_end[i])
            dump_lane(lap.put_end[i], (int)i);
    fflush(stderr);
}

#endif
