/* SPDX-License-Identifier: LGPL-3.0-or-later */

#include "bench.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const set_names[N_SETS] = { "words", "fair", "elem", "batch", "threads", "other" };

static const char *const flavours[] = { "bounded_0", "bounded_1", "bounded_1024", "bounded_n", "unbounded" };
static const char *const shapes[] = { "seq", "spsc", "mpsc", "mpmc", "select_rx", "select_both" };

#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* Whether a name matches one of the patterns, which commas part; everything does if there is none. */
static bool matches(const char *patterns, const char *name)
{
    char copy[512], *save = NULL;
    if (!patterns)
        return true;
    snprintf(copy, sizeof copy, "%s", patterns);
    for (char *one = strtok_r(copy, ",", &save); one; one = strtok_r(NULL, ",", &save))
        if (!fnmatch(one, name, 0))
            return true;
    return false;
}

static bool read_list(struct bench *b, struct peer *p, struct output *out)
{
    run(out, (char *[]){ (char *)p->path, (char *)"--about", NULL }, b, 20);
    if (out->outcome != RAN || !*out->text)
        return false;
    snprintf(p->about, sizeof p->about, "%.*s", (int)strcspn(out->text, "\n"), out->text);
    run(out, (char *[]){ (char *)p->path, (char *)"--list", NULL }, b, 20);
    if (out->outcome != RAN)
        return false;
    char *save = NULL;
    for (char *line = strtok_r(out->text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        p->cells = grow(p->cells, p->n_cells, sizeof *p->cells);
        p->cells[p->n_cells++] = strdup(line);
    }
    return true;
}

void plan_peers(struct bench *b, char **paths, size_t n)
{
    static struct output out;
    for (size_t i = 0; i < n && b->n_peers < PEERS_MAX; i++) {
        const char *slash = strrchr(paths[i], '/');
        struct peer p = { .path = paths[i] };
        snprintf(p.name, sizeof p.name, "%s", slash ? slash + 1 : paths[i]);
        if (!matches(b->options.peers, p.name))
            continue;
        /* Of two programs of one name the second goes by its folder too. */
        for (size_t k = 0; k < b->n_peers; k++)
            if (!strcmp(b->peers[k].name, p.name)) {
                const char *from = slash ? slash : paths[i];
                while (from > paths[i] && from[-1] != '/')
                    from--;
                snprintf(p.name, sizeof p.name, "%s", from);
            }
        if (access(p.path, X_OK)) {
            progress_note("%s is left out: it is not built; \"make deps-bench\" installs what it needs", p.name);
            p.missing = true;
        } else if (!read_list(b, &p, &out)) {
            progress_note("%s is left out: it does not say what it can measure; %s", p.name, out.why);
            p.missing = true;
        }
        b->peers[b->n_peers++] = p;
    }
}

struct peer *plan_peer(struct bench *b, const char *name)
{
    for (size_t i = 0; i < b->n_peers; i++)
        if (!strcmp(b->peers[i].name, name) && !b->peers[i].missing)
            return b->peers + i;
    return NULL;
}

bool plan_is_rival(const struct peer *p)
{
    return !strcmp(p->name, "spool") || !strcmp(p->name, "crossbeam") || !strcmp(p->name, "go");
}

static bool lists(const struct peer *p, const char *cell)
{
    for (size_t i = 0; i < p->n_cells; i++)
        if (!strcmp(p->cells[i], cell))
            return true;
    return false;
}

static bool is_queue_cell(const char *cell)
{
    char name[64];
    for (size_t f = 0; f < LENGTH(flavours); f++)
        for (size_t s = 0; s < LENGTH(shapes); s++) {
            snprintf(name, sizeof name, "%s_%s", flavours[f], shapes[s]);
            if (!strcmp(name, cell))
                return true;
        }
    return false;
}

struct row *plan_find(const struct bench *b, const char *cell, const char *settings, enum set set)
{
    for (size_t i = 0; i < b->n_rows; i++)
        if (!strcmp(b->rows[i].cell, cell) && !strcmp(b->rows[i].settings, settings) && b->rows[i].set == set)
            return b->rows + i;
    return NULL;
}

static void add(struct bench *b, const char *cell, const char *settings, enum set set)
{
    bool listed = false;
    for (size_t i = 0; i < b->n_peers; i++)
        listed |= lists(b->peers + i, cell);
    if (!listed || !matches(b->options.cells, cell) || !(b->options.sets & 1u << set) ||
        plan_find(b, cell, settings, set))
        return;
    b->rows = grow(b->rows, b->n_rows, sizeof *b->rows);
    struct row *row = b->rows + b->n_rows++;
    memset(row, 0, sizeof *row);
    snprintf(row->cell, sizeof row->cell, "%s", cell);
    snprintf(row->settings, sizeof row->settings, "%s", settings);
    snprintf(row->label, sizeof row->label, "%s%s%s", cell, *settings ? " " : "", settings);
    row->set = set;
    row->entries = calloc(b->n_peers ? b->n_peers : 1, sizeof *row->entries);
    if (!row->entries)
        die("memory", errno);
    for (size_t i = 0; i < b->n_peers; i++)
        if (!lists(b->peers + i, cell))
            row->entries[i].outcome = CANNOT;
}

/* All of the flavours and shapes that are named, with one setting. */
static void add_all(struct bench *b, enum set set, const char *settings, const char *of, const char *in)
{
    char cell[48];
    for (size_t f = 0; f < LENGTH(flavours); f++)
        for (size_t s = 0; s < LENGTH(shapes); s++) {
            snprintf(cell, sizeof cell, "%s_%s", flavours[f], shapes[s]);
            if (matches(of, flavours[f]) && matches(in, shapes[s]))
                add(b, cell, settings, set);
        }
}

void plan_rows(struct bench *b)
{
    static const char *const threads[] = { "threads=2", "threads=8", "threads=16", "threads=32", "threads=64" };
    add_all(b, SET_WORDS, "", NULL, NULL);
    add_all(b, SET_FAIR, "", NULL, "mpsc,mpmc,select_rx,select_both");
    add_all(b, SET_ELEM, "elem=64", "bounded_0,bounded_1,bounded_1024", "seq,spsc,mpsc,mpmc,select_rx");
    add_all(b, SET_ELEM, "elem=64", "unbounded", "seq,spsc,mpmc");
    add_all(b, SET_ELEM, "elem=1024", "bounded_0,bounded_1,bounded_1024", "seq,spsc,mpsc,mpmc,select_rx");
    add_all(b, SET_BATCH, "batch=64", "bounded_1024,bounded_n,unbounded", "seq,spsc,mpsc,mpmc");
    for (size_t i = 0; i < LENGTH(threads); i++)
        add_all(b, SET_THREADS, threads[i], "bounded_0,bounded_1,bounded_1024,bounded_n", "mpsc,mpmc,select_rx");
    for (size_t i = 0; i < b->n_peers; i++)
        for (size_t k = 0; k < b->peers[i].n_cells; k++)
            if (!is_queue_cell(b->peers[i].cells[k]))
                add(b, b->peers[i].cells[k], "", SET_OTHER);
}
