/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "tool.h"

void json_string(FILE *out, const char *s)
{
    fputc('"', out);
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        /* What is not ASCII may not be UTF-8 either. */
        if (c < ' ' || c >= 127)
            fprintf(out, "\\u%04x", c);
        else
            fprintf(out, c == '"' || c == '\\' ? "\\%c" : "%c", c);
    }
    fputc('"', out);
}

static const char *side_name(enum spool__side side)
{
    return side == SPOOL__GET ? "get" : "put";
}

static void json_gate(const struct spool__look *l, int lane, enum spool__side side, FILE *out)
{
    const struct spool__gate_sight *g = &l->lanes[lane].gates[side];
    const char *comma = "";
    fprintf(out, "\"%s\": {\"wakes\": %llu, \"threads\": [", side_name(side), (unsigned long long)g->wakes);
    for (int i = 0; i < l->n_threads; i++) {
        const struct spool__seen_thread *t = &l->threads[i];
        if (t->wait != SPOOL__IN_LANE || t->what != lane || t->side != side)
            continue;
        fprintf(out, "%s%d", comma, (int)t->tid);
        comma = ", ";
    }
    fputs("], \"selects\": [", out);
    comma = "";
    for (int s = 0; s < l->n_selects; s++)
        for (int i = 0; i < l->selects[s].n_watches; i++) {
            const struct spool__seen_watch *w = &l->watches[l->selects[s].watches + i];
            if (w->lane != lane || w->side != side || w->n_on == 0)
                continue;
            fprintf(out, "%s%d", comma, s);
            comma = ", ";
        }
    fprintf(out, "], \"fd\": %d, \"eventfd_id\": %ld}", g->fd, g->fd >= 0 ? eventfd_id(l->pid, g->fd) : -1L);
}

static void json_lane(const struct spool__look *l, int index, FILE *out)
{
    const struct spool__seen_lane *lane = &l->lanes[index];
    fputs("{\"name\": ", out);
    json_string(out, lane_name(l, index));
    fputs(", \"kind\": ", out);
    json_string(out, spool__look_kind(lane));
    fprintf(out, ", \"open\": %s, \"element_bytes\": %zu, \"capacity\": ", lane->is_closed ? "false" : "true",
            lane->elem_size);
    if (lane->flavour == SPOOL__CHAIN)
        fputs("null", out);
    else
        fprintf(out, "%zu", lane->capacity);
    if (lane->is_counted)
        fprintf(out, ", \"length\": %zu, \"puts\": %llu", lane->len, (unsigned long long)lane->puts);
    else
        fputs(", \"length\": null, \"puts\": null", out);
    fprintf(out, ", \"gets\": %llu, \"wakes\": %llu, \"wakes_saved\": %llu, \"undrained\": %s, \"made_at\": ",
            (unsigned long long)lane->gets, (unsigned long long)lane_wakes(lane), (unsigned long long)lane_saved(lane),
            spool__look_is_undrained(l, lane) ? "true" : "false");
    json_string(out, where(l->pid, l->chans[lane->chan].creator));
    fprintf(out, ", \"source_fd\": %d, ", lane->source_fd);
    json_gate(l, index, SPOOL__GET, out);
    fputs(", ", out);
    json_gate(l, index, SPOOL__PUT, out);
    fputc('}', out);
}

static void json_select(const struct spool__look *l, int index, FILE *out)
{
    const struct spool__seen_select *s = &l->selects[index];
    fprintf(out, "{\"number\": %d, \"epoll_fd\": %d, \"nested\": %s, \"cases\": [", index, s->epoll,
            s->is_nested ? "true" : "false");
    for (int i = 0; i < s->n_watches; i++) {
        const struct spool__seen_watch *w = &l->watches[s->watches + i];
        fputs(i ? ", {" : "{", out);
        if (w->lane >= 0) {
            fputs("\"channel\": ", out);
            json_string(out, lane_name(l, w->lane));
            fprintf(out, ", \"side\": \"%s\", \"armed\": %s", side_name(w->side), w->is_armed ? "true" : "false");
        } else {
            fprintf(out, "\"fd\": %d", w->fd);
        }
        fprintf(out, ", \"on\": %s}", w->n_on > 0 ? "true" : "false");
    }
    fputs("]}", out);
}

static void json_thread(const struct spool__look *l, const struct spool__seen_thread *t, FILE *out)
{
    static const char *const waits[] = {"running",       "system call",         "channel", "select",
                                        "spool_go_wait", "kept by spool_go", "join"};
    fprintf(out, "{\"tid\": %d, \"name\": ", (int)t->tid);
    json_string(out, t->name);
    fprintf(out, ", \"waits_for\": \"%s\"", waits[t->wait]);
    if (t->wait == SPOOL__IN_LANE) {
        fputs(", \"channel\": ", out);
        json_string(out, lane_name(l, t->what));
        fprintf(out, ", \"side\": \"%s\", \"lost\": %s", side_name(t->side),
                spool__look_is_lost(l, t) ? "true" : "false");
    } else if (t->wait == SPOOL__IN_SELECT) {
        fprintf(out, ", \"select\": %d", t->what);
    } else if (t->wait == SPOOL__JOINS) {
        fprintf(out, ", \"thread\": %d", t->what);
    } else if (t->wait == SPOOL__IN_CALL) {
        fprintf(out, ", \"call\": %ld", t->call);
    }
    fprintf(out, ", \"timed\": %s", t->is_timed ? "true" : "false");
    if (t->asleep_ns >= 0 && t->wait != SPOOL__RUNS)
        fprintf(out, ", \"asleep_ns\": %lld", (long long)t->asleep_ns);
    fputc('}', out);
}

void print_json(const struct spool__look *l, FILE *out)
{
    char name[32];
    fprintf(out, "{\"pid\": %d, \"name\": ", (int)l->pid);
    json_string(out, process_name(l->pid, name, sizeof name));
    fprintf(out, ", \"version\": \"%u.%u.%u\", \"deadlocked\": %s,\n \"channels\": [", l->version >> 16,
            l->version >> 8 & 255, l->version & 255, spool__look_is_deadlocked(l) ? "true" : "false");
    for (int i = 0; i < l->n_lanes; i++) {
        fputs(i ? ",\n  " : "\n  ", out);
        json_lane(l, i, out);
    }
    fputs("],\n \"selects\": [", out);
    for (int i = 0; i < l->n_selects; i++) {
        fputs(i ? ",\n  " : "\n  ", out);
        json_select(l, i, out);
    }
    fputs("],\n \"threads\": [", out);
    for (int i = 0; i < l->n_threads; i++) {
        fputs(i ? ",\n  " : "\n  ", out);
        json_thread(l, &l->threads[i], out);
    }
    fputs("]}\n", out);
}
