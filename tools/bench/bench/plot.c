/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * Plots by gnuplot, each a data file and a script, from which it can be made again: bars of the cells with one panel
 * for each kind of channel, and lines over the number of threads.
 */

#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const flavours[][2] = {
    { "bounded_0", "rendezvous" },   { "bounded_1", "capacity 1" }, { "bounded_1024", "capacity 1024" },
    { "bounded_n", "capacity 5M" }, { "unbounded", "unbounded" },
};

#define N_FLAVOURS (sizeof flavours / sizeof flavours[0])

static bool find_gnuplot(char *ret, size_t size)
{
    const char *path = getenv("PATH");
    char copy[4096], *save = NULL;
    snprintf(copy, sizeof copy, "%s", path ? path : "/usr/bin:/bin");
    for (char *dir = strtok_r(copy, ":", &save); dir; dir = strtok_r(NULL, ":", &save)) {
        snprintf(ret, size, "%s/gnuplot", dir);
        if (!access(ret, X_OK))
            return true;
    }
    return false;
}

static const struct figure *time_of(const struct row *row, size_t peer)
{
    const struct entry *e = row->entries + peer;
    return e->outcome == RAN ? figures_find(&e->figures, "ns_per_message") : NULL;
}

static bool takes_part(const struct bench *b, size_t peer, enum set set)
{
    for (size_t i = 0; i < b->n_rows; i++)
        if (b->rows[i].set == set && time_of(b->rows + i, peer))
            return true;
    return false;
}

static bool is_bar(const struct row *row, size_t flavour)
{
    size_t length = strlen(flavours[flavour][0]);
    return row->set == SET_WORDS && !strncmp(row->cell, flavours[flavour][0], length) && row->cell[length] == '_';
}

/* A block for each flavour, a line for each shape, three columns for each peer. */
static size_t write_bars(struct bench *b, const size_t *peers, size_t n)
{
    FILE *out = file_open(b, "words.dat");
    size_t panels = 0;
    for (size_t f = 0; f < N_FLAVOURS; f++) {
        size_t lines = 0;
        for (size_t i = 0; i < b->n_rows; i++) {
            const struct row *row = b->rows + i;
            if (!is_bar(row, f))
                continue;
            if (!lines++)
                fprintf(out, "# %s\n", flavours[f][1]);
            fprintf(out, "\"%s\"", row->cell + strlen(flavours[f][0]) + 1);
            for (size_t k = 0; k < n; k++) {
                const struct figure *ns = time_of(row, peers[k]);
                if (ns)
                    fprintf(out, " %.3f %.3f %.3f", figure_median(ns), figure_min(ns), figure_max(ns));
                else
                    fputs(" NaN NaN NaN", out);
            }
            fputc('\n', out);
        }
        if (lines)
            fputs("\n\n", out);
        panels += lines > 0;
    }
    file_close(out, "words.dat");
    return panels;
}

static void write_head(FILE *out, const char *name, unsigned width, unsigned height)
{
    fprintf(out, "# Makes %s.svg, or with \"gnuplot -e png=1 %s.gp\" %s.png.\n", name, name, name);
    fprintf(out, "if (exists(\"png\")) { set terminal pngcairo size %u,%u font \"sans,11\"; set output \"%s.png\" }\n",
            width, height, name);
    fprintf(out, "else { set terminal svg size %u,%u font \"sans,11\" background \"white\"; set output \"%s.svg\" }\n",
            width, height, name);
    fputs("set logscale y\nset grid ytics\nset ylabel \"ns per message\"\n"
          "set linetype 1 lc rgb \"#d95f02\"\nset linetype 2 lc rgb \"#7570b3\"\nset linetype 3 lc rgb \"#1b9e77\"\n"
          "set linetype 4 lc rgb \"#e7298a\"\nset linetype 5 lc rgb \"#66a61e\"\nset linetype 6 lc rgb \"#e6ab02\"\n"
          "set linetype 7 lc rgb \"#a6761d\"\nset linetype 8 lc rgb \"#666666\"\n", out);
}

/* One panel; false if the flavour was not measured. A peer that has nothing to show in it is no series of it. */
static bool write_panel(struct bench *b, FILE *out, size_t flavour, size_t panel, const size_t *peers, size_t n)
{
    size_t lines = 0, series = 0;
    for (size_t i = 0; i < b->n_rows; i++)
        lines += is_bar(b->rows + i, flavour);
    if (!lines)
        return false;
    fprintf(out, "set title \"%s\"\n", flavours[flavour][1]);
    for (size_t k = 0; k < n; k++) {
        bool has = false;
        for (size_t i = 0; i < b->n_rows; i++)
            has |= is_bar(b->rows + i, flavour) && time_of(b->rows + i, peers[k]);
        if (has)
            fprintf(out, "%s \"words.dat\" index %zu using %zu:%zu:%zu:xtic(1) title \"%s\" lt %zu",
                    series++ ? "," : "plot", panel, 3 * k + 2, 3 * k + 3, 3 * k + 4, b->peers[peers[k]].name, k + 1);
    }
    fputs(series ? "\n" : "set multiplot next\n", out);
    return true;
}

static bool plot_bars(struct bench *b)
{
    size_t peers[PEERS_MAX], n = 0;
    for (size_t p = 0; p < b->n_peers; p++)
        if (takes_part(b, p, SET_WORDS))
            peers[n++] = p;
    size_t panels = n ? write_bars(b, peers, n) : 0, panel = 0;
    if (!panels)
        return false;
    FILE *out = file_open(b, "words.gp");
    write_head(out, "words", 1100, (unsigned)(60 + 300 * panels));
    fprintf(out, "set style data histogram\nset style histogram errorbars gap 1 lw 1\n"
                 "set style fill solid 0.8 border -1\n"
                 "set key outside right top\nset xtics noenhanced\n"
                 "set rmargin 26\nset yrange [5:*]\nset multiplot layout %zu,1\n", panels);
    for (size_t f = 0; f < N_FLAVOURS; f++)
        panel += write_panel(b, out, f, panel, peers, n);
    fputs("unset multiplot\n", out);
    file_close(out, "words.gp");
    return true;
}

/* Threads of a row of a shape: those in its settings, or the usual 4. */
static unsigned threads_of(const struct row *row, const char *cell)
{
    unsigned threads = 4;
    if (strcmp(row->cell, cell))
        return 0;
    if (row->set == SET_THREADS && sscanf(row->settings, "threads=%u", &threads) == 1)
        return threads;
    return row->set == SET_WORDS ? 4 : 0;
}

static bool plot_threads(struct bench *b, const char *cell)
{
    char name[64], file[80];
    size_t series = 0;
    snprintf(name, sizeof name, "threads_%s", cell);
    snprintf(file, sizeof file, "%s.dat", name);
    size_t peers[PEERS_MAX];
    for (size_t p = 0; p < b->n_peers; p++)
        if (takes_part(b, p, SET_THREADS))
            peers[series++] = p;
    if (!series)
        return false;
    FILE *out = file_open(b, file);
    for (size_t k = 0; k < series; k++) {
        fprintf(out, "# %s\n", b->peers[peers[k]].name);
        for (unsigned threads = 1; threads <= 64; threads++)
            for (size_t i = 0; i < b->n_rows; i++) {
                const struct figure *ns = time_of(b->rows + i, peers[k]);
                if (ns && threads_of(b->rows + i, cell) == threads)
                    fprintf(out, "%u %.3f %.3f %.3f\n", threads, figure_median(ns), figure_min(ns), figure_max(ns));
            }
        /* A series without a point is still one, so that the index is right. */
        fputs("NaN NaN NaN NaN\n\n\n", out);
    }
    file_close(out, file);
    snprintf(file, sizeof file, "%s.gp", name);
    out = file_open(b, file);
    write_head(out, name, 800, 500);
    fprintf(out, "set logscale x 2\nset xlabel \"threads a side\"\nset title \"%s\" noenhanced\n", cell);
    fputs("set key outside\nplot", out);
    for (size_t k = 0; k < series; k++)
        fprintf(out, "%s \"%s.dat\" index %zu using 1:2:3:4 with yerrorlines title \"%s\" lt %zu", k ? "," : "", name,
                k, b->peers[peers[k]].name, k + 1);
    fputc('\n', out);
    file_close(out, file);
    return true;
}

static void draw(struct bench *b, const char *gnuplot, const char *name)
{
    static struct output out;
    char script[64];
    snprintf(script, sizeof script, "%s.gp", name);
    char *svg[] = { (char *)gnuplot, script, NULL };
    char *png[] = { (char *)gnuplot, (char *)"-e", (char *)"png=1", script, NULL };
    char *const *const both[] = { svg, png };
    for (size_t i = 0; i < 2; i++) {
        run(&out, both[i], b, 60);
        if (out.outcome != RAN)
            printf("plot of %s: gnuplot: %s\n", name, out.why);
    }
}

void plot_write(struct bench *b)
{
    static const char *const cells[] = {
        "bounded_0_mpsc", "bounded_0_mpmc", "bounded_0_select_rx", "bounded_1_mpsc", "bounded_1_mpmc",
        "bounded_1_select_rx", "bounded_1024_mpsc", "bounded_1024_mpmc", "bounded_1024_select_rx", "bounded_n_mpsc",
        "bounded_n_mpmc", "bounded_n_select_rx",
    };
    char gnuplot[4200], name[64];
    int cpu = b->options.cpu;
    b->options.cpu = -1;
    /* The scripts name their files without a folder, so that they can be run where they lie. */
    if (chdir(b->options.dir))
        die("chdir", errno);
    b->options.dir = ".";
    bool has = find_gnuplot(gnuplot, sizeof gnuplot), any = plot_bars(b);
    if (has && any)
        draw(b, gnuplot, "words");
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        if (!plan_find(b, cells[i], "threads=2", SET_THREADS) || !plot_threads(b, cells[i]))
            continue;
        any = true;
        snprintf(name, sizeof name, "threads_%s", cells[i]);
        if (has)
            draw(b, gnuplot, name);
    }
    b->options.cpu = cpu;
    if (any && !has)
        puts("\nplots are left out: gnuplot is missing; \"make deps-bench\" installs it");
}
