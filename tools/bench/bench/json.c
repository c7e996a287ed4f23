/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* results.json: everything that was measured, each round of it. */

#include "bench.h"

#include <math.h>

static void string(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p < 0x20)
            fprintf(out, "\\u%04x", *p);
        else
            fprintf(out, *p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
    fputc('"', out);
}

static void value(FILE *out, double v)
{
    if (isfinite(v))
        fprintf(out, "%.10g", v);
    else
        fputs("null", out);
}

static void figures(FILE *out, const struct figures *f, const char *indent)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct figure *one = f->of + i;
        fprintf(out, "%s\n%s", i ? "," : "", indent);
        string(out, one->name);
        fputs(": {\"median\": ", out);
        value(out, figure_median(one));
        fputs(", \"least\": ", out);
        value(out, figure_min(one));
        fputs(", \"most\": ", out);
        value(out, figure_max(one));
        fputs(", \"rounds\": [", out);
        for (size_t k = 0; k < one->n; k++) {
            fputs(k ? ", " : "", out);
            value(out, one->values[k]);
        }
        fputs("]}", out);
    }
}

static void entry(FILE *out, const struct peer *peer, const struct entry *e)
{
    static const char *const names[] = { "not run", "ran", "cannot", "wrong", "failed", "timed out" };
    fputs("\n        ", out);
    string(out, peer->name);
    fprintf(out, ": {\"outcome\": \"%s\"", names[e->outcome]);
    if (*e->why) {
        fputs(", \"why\": ", out);
        string(out, e->why);
    }
    fputs(", \"figures\": {", out);
    figures(out, &e->figures, "          ");
    fputs("}}", out);
}

void json_write(struct bench *b)
{
    FILE *out = file_open(b, "results.json");
    const struct options *o = &b->options;
    fputs("{\n  \"machine\": {", out);
    machine_json(out);
    fprintf(out, "\n  },\n  \"rounds\": %u,\n  \"messages\": %llu,\n  \"quick\": %s,\n  \"cpu\": ", o->rounds,
            (unsigned long long)o->messages, o->quick ? "true" : "false");
    if (o->cpu >= 0)
        fprintf(out, "%d", o->cpu);
    else
        fputs("null", out);
    fputs(",\n  \"peers\": {", out);
    for (size_t p = 0; p < b->n_peers; p++) {
        fputs(p ? ",\n    " : "\n    ", out);
        string(out, b->peers[p].name);
        fputs(": ", out);
        if (b->peers[p].missing)
            fputs("null", out);
        else
            string(out, b->peers[p].about);
    }
    fputs("\n  },\n  \"cells\": [", out);
    for (size_t i = 0; i < b->n_rows; i++) {
        const struct row *row = b->rows + i;
        fputs(i ? ",\n    {\"cell\": " : "\n    {\"cell\": ", out);
        string(out, row->cell);
        fputs(", \"settings\": ", out);
        string(out, row->settings);
        fprintf(out, ", \"set\": \"%s\", \"machine\": {", set_names[row->set]);
        figures(out, &row->own, "        ");
        fputs("}, \"peers\": {", out);
        bool first = true;
        for (size_t p = 0; p < b->n_peers; p++) {
            if (row->entries[p].outcome == NOT_RUN)
                continue;
            fputs(first ? "" : ",", out);
            first = false;
            entry(out, b->peers + p, row->entries + p);
        }
        fputs("}}", out);
    }
    fputs("\n  ],\n  \"goals\": [", out);
    goals_json(b, out);
    fputs("\n  ]\n}\n", out);
    file_close(out, "results.json");
}
