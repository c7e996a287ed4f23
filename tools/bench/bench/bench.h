/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define ROUNDS_MAX 99
#define PEERS_MAX 64
#define QUICK_S 0.04
#define LONG_S 3

/* A program that measures something; see BENCH.md for what it is asked and says. */
struct peer {
    const char *path;
    char name[32], about[160];
    bool missing;
    char **cells;
    size_t n_cells;
};

enum set { SET_WORDS, SET_FAIR, SET_ELEM, SET_BATCH, SET_THREADS, SET_OTHER, N_SETS };

/* What one run measured, by name; a value for each round that gave one. */
struct figure {
    char name[48];
    double values[ROUNDS_MAX];
    size_t n;
};

struct figures {
    struct figure *of;
    size_t n;
};

enum outcome { NOT_RUN, RAN, CANNOT, WRONG, FAILED, TIMED_OUT };

/* A row's figures for one peer. The worst outcome of all rounds is kept, with what was said. */
struct entry {
    enum outcome outcome;
    char why[200];
    double guess_ns; /* of a first, short run */
    struct figures figures;
};

/* A cell with its settings. */
struct row {
    char cell[48], settings[64], label[112];
    enum set set;
    struct entry *entries; /* one for each peer */
    struct figures own;    /* of the machine, beside the row */
};

struct options {
    unsigned rounds, timeout_s, stall_s, sets;
    uint64_t messages; /* 0: as many as take about QUICK_S */
    double fair_s;
    bool quick, exact; /* exact: as many messages as was said, however long that takes */
    int cpu; /* the only one to run on, or -1 */
    const char *dir, *cells, *peers;
};

struct bench {
    struct options options;
    struct peer peers[PEERS_MAX];
    size_t n_peers;
    struct row *rows;
    size_t n_rows;
    int log;
};

/* ---- run.c ---- */

struct output {
    enum outcome outcome;
    char text[16384], why[200];
};

/* Runs argv in a process group of its own, which is killed when it takes too long. */
void run(struct output *ret, char *const argv[], const struct bench *b, unsigned timeout_s);

/* ---- plan.c: which peers, which cells ---- */

extern const char *const set_names[N_SETS];
void plan_peers(struct bench *b, char **paths, size_t n);
void plan_rows(struct bench *b);
struct row *plan_find(const struct bench *b, const char *cell, const char *settings, enum set set);
struct peer *plan_peer(struct bench *b, const char *name);
bool plan_is_rival(const struct peer *p); /* spool and those that it is held against */

/* ---- figures.c ---- */

void *grow(void *array, size_t n, size_t size);
void figures_add(struct figures *f, const char *name, double value);
const struct figure *figures_find(const struct figures *f, const char *name);
double figure_median(const struct figure *f);
double figure_min(const struct figure *f);
double figure_max(const struct figure *f);

/* ---- machine.c ---- */

void machine_describe(FILE *out, const char *before_each_line);
void machine_json(FILE *out);
void machine_begin(void);
double machine_line_round_trip(void); /* NAN with one core */

/* ---- report.c, json.c, goals.c, plot.c ---- */

void report_write(struct bench *b);
void json_write(struct bench *b);
void goals_print(struct bench *b, FILE *out, bool markdown);
void goals_json(struct bench *b, FILE *out);
void plot_write(struct bench *b);
FILE *file_open(const struct bench *b, const char *name);
void file_close(FILE *file, const char *name);

/* ---- progress.c ---- */

void progress_begin(size_t total, unsigned rounds);
void progress_run(unsigned round, const struct row *row, const struct peer *peer);
void progress_ran(const struct peer *peer, const struct entry *entry, double ns);
void progress_row(void);
void progress_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void progress_end(void);

_Noreturn void die(const char *what, int error);

#endif
