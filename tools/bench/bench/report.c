/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* The tables, as text and as Markdown. */

#include "bench.h"

#include <errno.h>
#include <string.h>

#define COLUMNS_MAX (PEERS_MAX + 2)
#define TEXT_MAX 64

FILE *file_open(const struct bench *b, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", b->options.dir, name);
    FILE *f = fopen(path, "we");
    if (!f)
        die(path, errno);
    return f;
}

void file_close(FILE *file, const char *name)
{
    if (fclose(file))
        die(name, errno);
}

/* A table is kept whole, so that its columns can be made as wide as they have to be. */
struct table {
    const char *title, *note;
    size_t n_columns, n_rows;
    char (*cells)[COLUMNS_MAX][TEXT_MAX]; /* the first row is the head */
};

static void table_row(struct table *t, const char *label)
{
    t->cells = grow(t->cells, t->n_rows, sizeof *t->cells);
    memset(t->cells[t->n_rows], 0, sizeof *t->cells);
    snprintf(t->cells[t->n_rows++][0], TEXT_MAX, "%s", label);
}

static void table_print(const struct table *t, FILE *out, bool markdown)
{
    size_t width[COLUMNS_MAX] = { 0 };
    if (t->n_rows < 2)
        return;
    for (size_t r = 0; r < t->n_rows; r++)
        for (size_t c = 0; c < t->n_columns; c++)
            width[c] = strlen(t->cells[r][c]) > width[c] ? strlen(t->cells[r][c]) : width[c];
    fprintf(out, markdown ? "\n## %s\n\n%s\n\n" : "\n%s\n%s\n\n", t->title, t->note);
    for (size_t r = 0; r < t->n_rows; r++) {
        for (size_t c = 0; c < t->n_columns; c++)
            fprintf(out, c ? "%s%*s" : "%s%-*s", markdown ? "| " : c ? "  " : "", (int)width[c] + (markdown && c),
                    t->cells[r][c]);
        fputs(markdown ? " |\n" : "\n", out);
        for (size_t c = 0; markdown && !r && c < t->n_columns; c++)
            fputs(c ? "|---:" : "|---", out);
        if (markdown && !r)
            fputs("|\n", out);
    }
}

/* In three digits, so that no more is said than was measured. */
static void format(char *ret, size_t size, double value)
{
    double v = value < 0 ? -value : value;
    snprintf(ret, size, v >= 100 || value == (double)(long)value ? "%.0f" : v >= 10 ? "%.1f" : "%.2f", value);
}

static void format_range(char *ret, const struct figure *f)
{
    char median[16], min[16], max[16];
    format(median, sizeof median, figure_median(f));
    format(min, sizeof min, figure_min(f));
    format(max, sizeof max, figure_max(f));
    if (f->n == 1)
        snprintf(ret, TEXT_MAX, "%s", median);
    else
        snprintf(ret, TEXT_MAX, "%s (%s..%s)", median, min, max);
}

static const char *const outcomes[] = {
    [NOT_RUN] = "", [RAN] = "", [CANNOT] = "-", [WRONG] = "WRONG", [FAILED] = "failed", [TIMED_OUT] = "too slow",
};

static void value_of(char *ret, const struct entry *e, const char *figure)
{
    const struct figure *f = figures_find(&e->figures, figure);
    if (e->outcome == WRONG || e->outcome == FAILED || !f)
        snprintf(ret, TEXT_MAX, "%s", outcomes[e->outcome]);
    else
        format_range(ret, f);
}

static bool has_figure(const struct row *row, size_t n_peers, const char *figure)
{
    for (size_t p = 0; p < n_peers; p++)
        if (figures_find(&row->entries[p].figures, figure))
            return true;
    return false;
}

/* Whether a peer was asked anything in a set: it gets a column. */
static bool takes_part(const struct bench *b, size_t peer, unsigned sets)
{
    for (size_t i = 0; i < b->n_rows; i++)
        if (sets & 1u << b->rows[i].set &&
            (b->rows[i].entries[peer].figures.n || b->rows[i].entries[peer].outcome > CANNOT))
            return true;
    return false;
}

static void head(const struct bench *b, struct table *t, unsigned sets, size_t *peers, size_t *n)
{
    table_row(t, "cell");
    *n = 0;
    for (size_t p = 0; p < b->n_peers; p++) {
        if (!takes_part(b, p, sets))
            continue;
        peers[(*n)++] = p;
        snprintf(t->cells[0][*n], TEXT_MAX, "%s", b->peers[p].name);
    }
    t->n_columns = *n + 1;
}

static void line_trips(struct table *t, const struct row *row)
{
    const struct figure *trip = figures_find(&row->own, "line_round_trip_ns");
    if (trip)
        format_range(t->cells[t->n_rows - 1][t->n_columns - 1], trip);
}

static struct table times(const struct bench *b, unsigned sets, const char *title)
{
    struct table t = { .title = title, .note = "Nanoseconds per message: median (least..most) of the rounds." };
    size_t peers[PEERS_MAX], n;
    bool trips = false;
    for (size_t i = 0; i < b->n_rows; i++)
        trips |= sets & 1u << SET_WORDS && b->rows[i].set == SET_WORDS && b->rows[i].own.n;
    head(b, &t, sets, peers, &n);
    if (trips) {
        t.note = "Nanoseconds per message: median (least..most) of the rounds. Line: a cache line's round trip between "
                 "two cores, measured just before.";
        snprintf(t.cells[0][t.n_columns++], TEXT_MAX, "line");
    }
    for (size_t i = 0; i < b->n_rows; i++) {
        const struct row *row = b->rows + i;
        if (!(sets & 1u << row->set) || !has_figure(row, b->n_peers, "ns_per_message"))
            continue;
        table_row(&t, row->label);
        for (size_t k = 0; k < n; k++)
            value_of(t.cells[t.n_rows - 1][k + 1], row->entries + peers[k], "ns_per_message");
        if (trips)
            line_trips(&t, row);
    }
    return t;
}

static struct table shares(const struct bench *b, unsigned sets, const char *title)
{
    struct table t = { .title = title, .note = "The thread that came off worst: its share of the messages, of a fair "
                       "one, and the longest wait in microseconds (upper bound). The worst of the rounds." };
    size_t peers[PEERS_MAX], n;
    head(b, &t, sets, peers, &n);
    for (size_t i = 0; i < b->n_rows; i++) {
        const struct row *row = b->rows + i;
        if (!(sets & 1u << row->set) || !has_figure(row, b->n_peers, "least_share"))
            continue;
        table_row(&t, row->label);
        for (size_t k = 0; k < n; k++) {
            const struct entry *e = row->entries + peers[k];
            const struct figure *share = figures_find(&e->figures, "least_share");
            const struct figure *wait = figures_find(&e->figures, "longest_wait_us");
            char *text = t.cells[t.n_rows - 1][k + 1];
            if (share && wait)
                snprintf(text, TEXT_MAX, "%.2f, %.0f", figure_min(share), figure_max(wait));
            else
                snprintf(text, TEXT_MAX, "%s", outcomes[e->outcome]);
        }
    }
    return t;
}

static struct table others(const struct bench *b)
{
    struct table t = { .title = "Others", .note = "Median (least..most) of the rounds." };
    size_t peers[PEERS_MAX], n;
    head(b, &t, 1u << SET_OTHER, peers, &n);
    for (size_t i = 0; i < b->n_rows; i++) {
        const struct row *row = b->rows + i;
        if (row->set != SET_OTHER)
            continue;
        /* Each figure is a row, in the order in which it was first said. */
        struct figures seen = { NULL, 0 };
        for (size_t p = 0; p < b->n_peers; p++)
            for (size_t k = 0; k < row->entries[p].figures.n; k++)
                figures_add(&seen, row->entries[p].figures.of[k].name, 0);
        for (size_t f = 0; f < seen.n; f++) {
            char label[192];
            snprintf(label, sizeof label, "%s: %s", row->label, seen.of[f].name);
            table_row(&t, label);
            for (size_t k = 0; k < n; k++)
                value_of(t.cells[t.n_rows - 1][k + 1], row->entries + peers[k], seen.of[f].name);
        }
    }
    return t;
}

static void write_one(struct bench *b, const struct table *tables, size_t n, FILE *out, bool markdown)
{
    const struct options *o = &b->options;
    fprintf(out, "%sspool against its peers\n\n", markdown ? "# " : "");
    machine_describe(out, markdown ? "- " : "");
    fprintf(out, "%srounds: %u, of ", markdown ? "- " : "", o->rounds);
    if (o->messages)
        fprintf(out, "%llu messages each%s\n", (unsigned long long)o->messages,
                o->exact ? "" : ", fewer where those take over 3 s, except for spool, crossbeam and go");
    else
        fprintf(out, "about %.0f ms each (quick)\n", QUICK_S * 1e3);
    if (o->cpu >= 0)
        fprintf(out, "%sall on CPU %d\n", markdown ? "- " : "", o->cpu);
    for (size_t p = 0; p < b->n_peers; p++)
        fprintf(out, "%s%s: %s\n", markdown ? "- " : "", b->peers[p].name,
                b->peers[p].missing ? "left out" : b->peers[p].about);
    for (size_t i = 0; i < n; i++)
        table_print(tables + i, out, markdown);
    goals_print(b, out, markdown);
}

void report_write(struct bench *b)
{
    struct table tables[] = {
        times(b, 1u << SET_WORDS, "Words"),
        times(b, 1u << SET_ELEM | 1u << SET_BATCH | 1u << SET_THREADS, "Larger elements, batches, threads"),
        shares(b, 1u << SET_FAIR, "Fairness, in runs as long as they should be to tell"),
        shares(b, 1u << SET_WORDS | 1u << SET_THREADS | 1u << SET_ELEM, "Fairness, in the runs above"),
        others(b),
    };
    size_t n = sizeof tables / sizeof *tables;
    FILE *text = file_open(b, "table.txt"), *markdown = file_open(b, "table.md");
    write_one(b, tables, n, text, false);
    write_one(b, tables, n, markdown, true);
    write_one(b, tables, n, stdout, false);
    file_close(text, "table.txt");
    file_close(markdown, "table.md");
}
