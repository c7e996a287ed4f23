/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* What spool is to reach in these cells, and whether it does. */

#include "bench.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

enum verdict { REACHED, NOT_REACHED, NOT_MEASURED };

struct goal {
    char what[128], how[128];
    enum verdict verdict;
    double ratio; /* 1 or more: reached */
};

struct goals {
    struct goal *of;
    size_t n;
};

static struct goal *goal_add(struct goals *goals, double ratio, const char *format, ...)
{
    va_list args;
    goals->of = grow(goals->of, goals->n, sizeof *goals->of);
    struct goal *g = goals->of + goals->n++;
    memset(g, 0, sizeof *g);
    va_start(args, format);
    vsnprintf(g->what, sizeof g->what, format, args);
    va_end(args);
    g->ratio = ratio;
    g->verdict = isnan(ratio) ? NOT_MEASURED : ratio >= 1 ? REACHED : NOT_REACHED;
    return g;
}

/* NAN where there is no such figure, or the run was wrong. */
static double median_of(struct bench *b, const struct row *row, const char *peer, const char *figure)
{
    const struct peer *p = plan_peer(b, peer);
    if (!p || !row)
        return NAN;
    const struct entry *e = row->entries + (p - b->peers);
    const struct figure *f = figures_find(&e->figures, figure);
    return f && e->outcome == RAN ? figure_median(f) : NAN;
}

/* At or ahead of a peer in each of its cells; adds each ratio's logarithm to *logs. */
static size_t against(struct bench *b, struct goals *goals, const char *peer, double *logs)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n_rows; i++) {
        const struct row *row = b->rows + i;
        if (row->set != SET_WORDS)
            continue;
        double ours = median_of(b, row, "spool", "ns_per_message"), theirs = median_of(b, row, peer, "ns_per_message");
        if (isnan(theirs) || isnan(ours))
            continue;
        struct goal *g = goal_add(goals, theirs / ours, "%s at or ahead of %s", row->cell, peer);
        snprintf(g->how, sizeof g->how, "%.1f against %.1f ns", ours, theirs);
        *logs += log(theirs / ours);
        n++;
    }
    if (!n)
        goal_add(goals, NAN, "every cell at or ahead of %s", peer);
    return n;
}

static void at_most(struct bench *b, struct goals *goals, const char *cell, const char *settings, double bound)
{
    const struct row *row = plan_find(b, cell, settings, *settings ? SET_ELEM : SET_WORDS);
    double ours = median_of(b, row, "spool", "ns_per_message");
    struct goal *g = goal_add(goals, bound / ours, "%s%s%s in %.0f ns", cell, *settings ? " " : "", settings, bound);
    if (!isnan(ours))
        snprintf(g->how, sizeof g->how, "%.1f ns", ours);
}

static void fairness(struct bench *b, struct goals *goals)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n_rows; i++) {
        const struct row *row = b->rows + i;
        const struct peer *p = plan_peer(b, "spool");
        if (row->set != SET_FAIR || !p)
            continue;
        const struct entry *e = row->entries + (p - b->peers);
        const struct figure *share = figures_find(&e->figures, "least_share");
        const struct figure *ms = figures_find(&e->figures, "elapsed_ms");
        if (!share || !ms || e->outcome != RAN)
            continue;
        n++;
        double ratio = figure_min(share) / 0.5;
        struct goal *g = goal_add(goals, ratio, "%s no thread below half of its fair share", row->cell);
        snprintf(g->how, sizeof g->how, "%.2f of it in the worst of %zu runs of %.1f s", figure_min(share), share->n,
                 figure_median(ms) / 1e3);
        /* A second is what the bound is for; over less, the scheduler's slices are what is seen. */
        if (figure_max(ms) < 1000) {
            g->verdict = NOT_MEASURED;
            strncat(g->how, ", too short to tell", sizeof g->how - strlen(g->how) - 1);
        }
    }
    if (!n)
        goal_add(goals, NAN, "no thread below half of its fair share over a second");
}

static struct goals collect(struct bench *b)
{
    struct goals goals = { NULL, 0 };
    double logs = 0, unused = 0;
    size_t n = against(b, &goals, "crossbeam", &logs);
    double mean = n ? exp(logs / (double)n) : NAN;
    struct goal *g = goal_add(&goals, mean / 3, "geometric mean of the ratios to crossbeam at least 3");
    if (n)
        snprintf(g->how, sizeof g->how, "%.2f over %zu cells", mean, n);
    against(b, &goals, "go", &unused);
    at_most(b, &goals, "bounded_1024_seq", "", 12);
    at_most(b, &goals, "bounded_1024_seq", "elem=64", 25);
    at_most(b, &goals, "bounded_1024_spsc", "", 15);
    at_most(b, &goals, "bounded_1024_mpsc", "", 15);
    at_most(b, &goals, "bounded_1024_mpmc", "", 15);
    at_most(b, &goals, "bounded_1024_select_rx", "", 20);
    at_most(b, &goals, "bounded_1024_select_both", "", 15);
    fairness(b, &goals);
    return goals;
}

static const char *const verdicts[] = { "reached", "not reached", "not measured" };

void goals_print(struct bench *b, FILE *out, bool markdown)
{
    struct goals goals = collect(b);
    size_t count[3] = { 0 };
    fputs(markdown ? "\n## Goals\n\n| goal | | ratio | |\n|---|---|---:|---|\n" : "\nGoals\n\n", out);
    for (size_t i = 0; i < goals.n; i++) {
        const struct goal *g = goals.of + i;
        char ratio[32] = "";
        count[g->verdict]++;
        if (!isnan(g->ratio))
            snprintf(ratio, sizeof ratio, "%.2f", g->ratio);
        fprintf(out, markdown ? "| %s | %s | %s | %s |\n" : "%-64s %-12s %7s  %s\n", g->what, verdicts[g->verdict],
                ratio, g->how);
    }
    fprintf(out, "\n%zu reached, %zu not reached, %zu not measured\n", count[0], count[1], count[2]);
}

void goals_json(struct bench *b, FILE *out)
{
    struct goals goals = collect(b);
    for (size_t i = 0; i < goals.n; i++) {
        const struct goal *g = goals.of + i;
        fprintf(out, "%s\n    {\"goal\": \"%s\", \"verdict\": \"%s\", \"ratio\": ", i ? "," : "", g->what,
                verdicts[g->verdict]);
        fprintf(out, isnan(g->ratio) ? "null" : "%.4f", g->ratio);
        fprintf(out, ", \"how\": \"%s\"}", g->how);
    }
}
