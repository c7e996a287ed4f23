/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * Runs measuring programs interleaved, several rounds, and writes tables, JSON and plots of what they say. BENCH.md
 * says what the cells are, and what such a program is asked and answers. Fails only if a message was lost, doubled or
 * out of order, or a program did not end as it should.
 */

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void die(const char *what, int error)
{
    fprintf(stderr, "bench: %s: %s\n", what, strerror(error));
    exit(2);
}

static const char usage[] =
    "usage: bench [options] RUNNER ...\n"
    "  -r ROUNDS   every runner measures every cell so often, in turns (5; quick: 3)\n"
    "  -q          quick, for a look: as many messages as take about 40 ms, and no more runs after 100 s\n"
    "  -m N        messages in each run (5000000, but fewer where those take over 3 s, except for rivals)\n"
    "  -o DIR      where the tables, the JSON and the plots go (build/bench)\n"
    "  -c CELLS    only these: names or patterns, parted by commas\n"
    "  -p PEERS    only these runners, likewise\n"
    "  -s SETS     of words, fair, elem, batch, threads, other, or all;\n"
    "              if not given, all but threads, and in a quick look words, fair and other\n"
    "  -t SECONDS  what one run may take (120)\n"
    "  -w SECONDS  how long nothing may move before a message counts as lost (10)\n"
    "  -k CPU      everything on this one CPU\n"
    "  -l          list the cells that would be measured, and by whom\n";

static unsigned long number(const char *text, unsigned long max)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (end == text || *end || n > max) {
        fprintf(stderr, "bench: %s is not a number up to %lu\n", text, max);
        exit(2);
    }
    return n;
}

static unsigned parse_sets(char *text)
{
    unsigned sets = 0;
    char *save = NULL;
    for (char *one = strtok_r(text, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
        unsigned before = sets;
        for (unsigned i = 0; i < N_SETS; i++)
            if (!strcmp(one, set_names[i]) || !strcmp(one, "all"))
                sets |= 1u << i;
        if (sets == before && strcmp(one, "all")) {
            fprintf(stderr, "bench: %s is not a set\n", one);
            exit(2);
        }
    }
    return sets;
}

static bool parse(struct options *o, int argc, char **argv)
{
    bool list = false;
    *o = (struct options){ .timeout_s = 120, .stall_s = 10, .cpu = -1, .dir = "build/bench" };
    for (int opt; (opt = getopt(argc, argv, "r:qm:o:c:p:s:t:w:k:lh")) != -1;)
        switch (opt) {
        case 'r': o->rounds = (unsigned)number(optarg, ROUNDS_MAX); break;
        case 'q': o->quick = true; break;
        case 'm': o->messages = number(optarg, 1ul << 30); break;
        case 'o': o->dir = optarg; break;
        case 'c': o->cells = optarg; break;
        case 'p': o->peers = optarg; break;
        case 's': o->sets = parse_sets(optarg); break;
        case 't': o->timeout_s = (unsigned)number(optarg, 86400); break;
        case 'w': o->stall_s = (unsigned)number(optarg, 3600); break;
        case 'k': o->cpu = (int)number(optarg, 1023); break;
        case 'l': list = true; break;
        default: fputs(usage, opt == 'h' ? stdout : stderr); exit(opt == 'h' ? 0 : 2);
        }
    if (optind == argc) {
        fputs(usage, stderr);
        exit(2);
    }
    if (!o->sets)
        o->sets = 1u << SET_WORDS | 1u << SET_FAIR | 1u << SET_OTHER |
                  (o->quick ? 0 : 1u << SET_ELEM | 1u << SET_BATCH);
    if (!o->rounds)
        o->rounds = o->quick ? 3 : 5;
    o->exact = o->messages;
    if (!o->messages && !o->quick)
        o->messages = 5000000;
    o->fair_s = o->quick ? 0.1 : 1.5;
    return list;
}

/* ---- Measuring ------------------------------------------------------------------------------------------------ */

static void take_figures(struct figures *figures, char *text)
{
    char *save = NULL, name[48];
    double value;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (sscanf(line, "figure %47s %lf", name, &value) == 2)
            figures_add(figures, name, value);
}

/* So many messages that it takes long enough to speak of shares; fewer at first, where nothing tells how long they take. */
static uint64_t fair_messages(const struct bench *b, const struct row *row, size_t peer)
{
    const struct row *base = plan_find(b, row->cell, "", SET_WORDS);
    const struct figure *ns = figures_find(&row->entries[peer].figures, "ns_per_message");
    if (!ns && base)
        ns = figures_find(&base->entries[peer].figures, "ns_per_message");
    double each = ns ? figure_median(ns) : row->entries[peer].guess_ns;
    double n = each > 0 ? b->options.fair_s * 1e9 / each : b->options.quick ? 10000 : 200000;
    /* What an unbounded channel may come to hold is memory. */
    n = fmin(n, strncmp(row->cell, "unbounded", 9) ? 2e8 : 5e7);
    return n < 10000 ? 10000 : (uint64_t)n;
}

/*
 * What takes long is measured with fewer messages, but for those that are compared with spool: they get all, as in the
 * benchmark that the cells are from.
 */
static uint64_t messages_of(const struct bench *b, const struct row *row, size_t peer, unsigned round)
{
    const struct options *o = &b->options;
    double guess = row->entries[peer].guess_ns;
    uint64_t n = o->messages;
    if (row->set == SET_FAIR)
        return fair_messages(b, row, peer);
    if (!round || !n)
        n = o->quick ? 5000 : 20000;
    if (round && guess > 0 && o->quick)
        n = (uint64_t)fmin(fmax(QUICK_S * 1e9 / guess, 2000), 200000);
    else if (round && guess > 0)
        n = (uint64_t)fmin(fmax(LONG_S * 1e9 / guess, 20000), (double)n);
    return strstr(row->settings, "elem=1024") && n > 5 ? n / 5 : n;
}

/* Round 0 only tells how many messages to take. */
static void measure(struct bench *b, struct row *row, size_t peer, unsigned round)
{
    static struct output out;
    struct entry *e = row->entries + peer;
    uint64_t n = 0;
    char messages[48], stall[48], *argv[6] = { (char *)b->peers[peer].path, row->cell }, **arg = argv + 2;
    if (row->set != SET_OTHER) {
        n = messages_of(b, row, peer, round);
        snprintf(messages, sizeof messages, "messages=%llu", (unsigned long long)n);
        snprintf(stall, sizeof stall, "stall=%u", b->options.stall_s);
        *arg++ = messages;
        *arg++ = stall;
    }
    if (*row->settings)
        *arg++ = row->settings;
    dprintf(b->log, "---- %s %s\n", b->peers[peer].name, row->label);
    run(&out, argv, b, b->options.timeout_s);
    if (out.outcome > e->outcome) {
        e->outcome = out.outcome;
        snprintf(e->why, sizeof e->why, "%s", out.why);
    }
    struct figures first = { NULL, 0 };
    if (out.outcome == RAN && n && round)
        figures_add(&e->figures, "messages", (double)n);
    if (out.outcome == RAN)
        take_figures(round ? &e->figures : &first, out.text);
    else if (out.outcome != CANNOT)
        progress_note("%s %s: %s", b->peers[peer].name, row->label, out.why);
    const struct figure *ns = figures_find(round ? &e->figures : &first, "ns_per_message");
    if (!round && ns)
        e->guess_ns = ns->values[0];
    progress_ran(b->peers + peer, e, ns && out.outcome == RAN ? ns->values[ns->n - 1] : NAN);
    free(first.of);
}

/*
 * What went wrong is not tried again, so that a hang costs its time once. Round 0 tells how long a message takes, where
 * that is not given. A quick look at what takes its time is one look.
 */
static bool is_due(const struct bench *b, const struct row *row, size_t peer, unsigned round)
{
    const struct options *o = &b->options;
    bool rival = plan_is_rival(b->peers + peer), long_ones = row->set == SET_FAIR || row->set == SET_OTHER;
    if (b->peers[peer].missing || row->entries[peer].outcome > RAN || (row->set == SET_FAIR && !rival))
        return false;
    if (!round && row->set == SET_FAIR)
        return !plan_find(b, row->cell, "", SET_WORDS);
    if (!round)
        return !o->exact && !long_ones && (o->quick || !rival);
    return !o->quick || round == 1 || !long_ones;
}

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void measure_row(struct bench *b, struct row *row, unsigned round)
{
    size_t runs = 0;
    for (size_t i = 0; i < b->n_peers; i++)
        runs += is_due(b, row, i, round);
    if (!runs)
        return;
    bool handed_over = !strncmp(row->cell, "bounded_0_", 10) || !strncmp(row->cell, "bounded_1_", 10);
    if (round && handed_over && b->options.cpu < 0) {
        double ns = machine_line_round_trip();
        if (!isnan(ns))
            figures_add(&row->own, "line_round_trip_ns", ns);
    }
    /* Another one begins each time, and the way round changes: who ran before leaves memory at hand, or takes it. */
    bool backwards = (round + (size_t)(row - b->rows)) % 2;
    for (size_t i = 0; i < b->n_peers; i++) {
        size_t peer = (i + round) % b->n_peers;
        peer = backwards ? b->n_peers - 1 - peer : peer;
        if (!is_due(b, row, peer, round))
            continue;
        progress_run(round, row, b->peers + peer);
        measure(b, row, peer, round);
    }
    progress_row();
}

/* All rounds; a quick look ends in time whatever is left. */
static void measure_all(struct bench *b)
{
    double began = now_s();
    for (unsigned round = 0; round <= b->options.rounds; round++)
        for (size_t i = 0; i < b->n_rows; i++) {
            if (b->options.quick && now_s() - began > 100) {
                progress_row();
                progress_note("out of time in round %u of %u", round, b->options.rounds);
                return;
            }
            measure_row(b, b->rows + i, round);
        }
}

static int list_cells(const struct bench *b)
{
    for (size_t i = 0; i < b->n_rows; i++) {
        printf("%s %s:", set_names[b->rows[i].set], b->rows[i].label);
        for (size_t p = 0; p < b->n_peers; p++)
            if (is_due(b, b->rows + i, p, 1))
                printf(" %s", b->peers[p].name);
        putchar('\n');
    }
    return 0;
}

static size_t count_bad(const struct bench *b)
{
    size_t bad = 0;
    for (size_t i = 0; i < b->n_rows; i++)
        for (size_t p = 0; p < b->n_peers; p++) {
            const struct entry *e = b->rows[i].entries + p;
            if (e->outcome <= CANNOT)
                continue;
            printf("%s: %s %s: %s\n", e->outcome == WRONG ? "WRONG" : e->outcome == FAILED ? "FAILED" : "TIMED OUT",
                   b->peers[p].name, b->rows[i].label, e->why);
            bad += e->outcome != TIMED_OUT;
        }
    return bad;
}

static void make_dirs(const char *path)
{
    char part[4096];
    snprintf(part, sizeof part, "%s", path);
    for (char *p = part + 1; *p; p++)
        if (*p == '/') {
            *p = 0;
            mkdir(part, 0777);
            *p = '/';
        }
    if (mkdir(part, 0777) && errno != EEXIST)
        die(path, errno);
}

int main(int argc, char **argv)
{
    static struct bench b;
    char log[4096];
    bool list = parse(&b.options, argc, argv);
    make_dirs(b.options.dir);
    snprintf(log, sizeof log, "%s/log", b.options.dir);
    b.log = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_APPEND, 0666);
    if (b.log < 0)
        die(log, errno);
    plan_peers(&b, argv + optind, (size_t)(argc - optind));
    plan_rows(&b);
    if (list)
        return list_cells(&b);
    if (!b.n_rows) {
        fputs("bench: there is nothing to measure\n", stderr);
        return 2;
    }

    size_t total = 0;
    for (size_t i = 0; i < b.n_rows; i++)
        for (size_t p = 0; p < b.n_peers; p++)
            for (unsigned round = 0; round <= b.options.rounds; round++)
                total += is_due(&b, b.rows + i, p, round);
    machine_begin();
    progress_begin(total, b.options.rounds);
    measure_all(&b);
    progress_end();

    report_write(&b);
    json_write(&b);
    plot_write(&b);
    size_t bad = count_bad(&b);
    if (bad)
        printf("%zu of the above were wrong or failed\n", bad);
    return bad > 0;
}
