/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * The word server of tools/examples against the same server written on libuv with its thread pool (server/uvserver.c).
 *
 *     include    files below a folder, 16 connections with 4 requests under way on each
 *     tiny       one file of few bytes, as many: what the servers cost besides the counting
 *     single     the same file, one connection, one request at a time: two wakes for each
 *     many       the same file, 200 connections, one request at a time
 *
 * Both servers run all the time and are driven in turns, for a slice each, by one thread that sends the next request
 * when a reply has come. Each reply is compared with what the counting of the example gives in this process.
 * Figures: rps, requests per second; p50, p99, p99.9 of the time from request to reply, in ns; their ratios.
 *
 * Options: slices=N of each, slice_ms=MILLISECONDS, workers=N (one for each processor), files=N at most, folder=PATH.
 */
#define _GNU_SOURCE
#include <ftw.h>
#include <sys/epoll.h>

#include "special.h"

#include "../examples/wordcall.h"
#include "../examples/wordcount.h"

enum { INCLUDE, TINY, SINGLE, MANY };
enum { SPOOL, UV, SERVERS };
enum { CALLERS_MAX = 256, DEPTH_MAX = 8, REPLY_MAX = 8192, FILES_MAX = 5000 };

struct file {
    char *path, *reply;
    size_t path_len, reply_len;
};

struct caller {
    FILE *call;
    size_t due[DEPTH_MAX]; /* files, a ring */
    int64_t sent[DEPTH_MAX];
    unsigned first, n_due;
    size_t len;
    char reply[REPLY_MAX];
};

static const struct {
    unsigned callers, depth;
} kinds[] = {[INCLUDE] = {16, 4}, [TINY] = {16, 4}, [SINGLE] = {1, 1}, [MANY] = {200, 1}};

static const char *const names[] = {"spool", "uv"};

static struct file files[FILES_MAX];
static size_t n_files, most_files;
static unsigned n_callers, depth;

static struct side {
    struct word_server server;
    struct caller callers[CALLERS_MAX];
    int epoll;
    int64_t *times;
    size_t n_times, room;
    size_t next_file; /* both are asked for the same files in the same order */
    double took;
} sides[SERVERS];

/* ---- Files and what is to be said of them --------------------------------------------------------------------- */

static void add_file(const char *path)
{
    static char line[PATH_MAX + 256];
    const atomic_bool unwanted = false;
    struct word_count count = {0};
    word_count_file(&count, path, &unwanted);
    if (count.error)
        return;
    struct file *f = &files[n_files++];
    f->reply_len = word_count_print(&count, path, line, sizeof line);
    f->reply = strdup(line);
    f->path_len = (size_t)asprintf(&f->path, "%s\n", path);
    if (!f->reply || !f->path)
        die("memory", ENOMEM);
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)where;
    if (type == FTW_F && S_ISREG(st->st_mode) && !strpbrk(path, "\r\n"))
        add_file(path);
    return n_files >= most_files;
}

static void find_files(long kind)
{
    const char *folder = option_text("folder");
    most_files = (size_t)option("files", 1000);
    most_files = most_files < 1 ? 1 : most_files > FILES_MAX ? FILES_MAX : most_files;
    word_count_init(false);
    if (kind == INCLUDE) {
        if (nftw(folder ? folder : "/usr/include", visit, 32, FTW_PHYS) < 0)
            die("folder", errno);
    } else {
        static char path[] = "/tmp/spool-bench-XXXXXX", text[] = "few words\n";
        int fd = (int)need_sys(mkstemp(path), "mkstemp");
        if (write(fd, text, sizeof text - 1) != (ssize_t)sizeof text - 1)
            die("write", errno);
        close(fd);
        add_file(path);
    }
    if (n_files == 0)
        special_end(1, "there is no file to ask for");
}

static void forget_files(long kind)
{
    if (kind == INCLUDE)
        return;
    files[0].path[files[0].path_len - 1] = '\0';
    unlink(files[0].path);
}

/* ---- The load ------------------------------------------------------------------------------------------------- */

static void ask(struct side *s, struct caller *c)
{
    while (c->n_due < depth) {
        unsigned at = (c->first + c->n_due++) % depth;
        c->due[at] = s->next_file++ % n_files;
        c->sent[at] = now_ns();
        if (!word_send(c->call, files[c->due[at]].path, files[c->due[at]].path_len))
            die("send", errno);
    }
}

static void note_time(struct side *s, int64_t took)
{
    if (s->n_times == s->room) {
        s->room = s->room ? 2 * s->room : 1 << 16;
        s->times = realloc(s->times, s->room * sizeof *s->times);
        if (!s->times)
            die("memory", ENOMEM);
    }
    s->times[s->n_times++] = took;
}

static void hear(struct side *s, struct caller *c, const char *name)
{
    ssize_t n = recv(fileno(c->call), c->reply + c->len, sizeof(c->reply) - c->len, 0);
    char *at = c->reply, *end;
    if (n <= 0)
        wrong("%s hung up with %u requests unanswered", name, c->n_due);
    c->len += (size_t)n;
    int64_t heard = now_ns();
    while ((end = memchr(at, '\n', c->len))) {
        size_t len = (size_t)(end - at) + 1;
        const struct file *f = &files[c->due[c->first]];
        if (c->n_due == 0 || len != f->reply_len || memcmp(at, f->reply, len) != 0)
            wrong("%s said \"%.*s\" instead of \"%.*s\"", name, (int)len - 1, at, (int)f->reply_len - 1, f->reply);
        note_time(s, heard - c->sent[c->first]);
        c->first = (c->first + 1) % depth;
        c->n_due--;
        c->len -= len;
        at = end + 1;
    }
    memmove(c->reply, at, c->len);
}

/* Until the time is over and all that was asked is answered. */
static void drive(struct side *s, const char *name, int64_t length)
{
    struct epoll_event events[64];
    int64_t start = now_ns();
    for (unsigned i = 0; i < n_callers; i++)
        ask(s, &s->callers[i]);
    for (unsigned idle = 0; idle < n_callers;) {
        int n = epoll_wait(s->epoll, events, 64, WORD_DEADLINE * 1000);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            wrong("%s does not answer", name);
        bool over = now_ns() - start > length;
        for (int i = 0; i < n; i++) {
            struct caller *c = &s->callers[events[i].data.u32];
            hear(s, c, name);
            if (!over)
                ask(s, c);
        }
        for (idle = 0; over && idle < n_callers && s->callers[idle].n_due == 0; idle++)
            ;
    }
    s->took += (double)(now_ns() - start);
}

/* ---- Both servers --------------------------------------------------------------------------------------------- */

static void start_server(struct side *s, char *program)
{
    const char *asked = option_text("workers");
    char workers[32];
    snprintf(workers, sizeof workers, "%.20s", asked ? asked : "");
    char *argv[] = {program, "-q", asked ? "-j" : NULL, workers, NULL};
    if (access(program, X_OK) < 0)
        skip("%s is not built", strrchr(program, '/') + 1);
    if (!word_server_start(&s->server, argv))
        special_end(1, "%s does not start", program);
    s->epoll = (int)need_sys(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    for (unsigned i = 0; i < n_callers; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        s->callers[i].call = word_connect(s->server.port);
        if (!s->callers[i].call)
            special_end(1, "cannot connect to %s", program);
        need_sys(epoll_ctl(s->epoll, EPOLL_CTL_ADD, fileno(s->callers[i].call), &event), "epoll_ctl");
    }
}

static void stop_server(struct side *s, const char *name)
{
    char said[256];
    for (unsigned i = 0; i < n_callers; i++)
        fclose(s->callers[i].call);
    kill(s->server.pid, SIGTERM);
    int status = word_server_wait(&s->server, said, sizeof said);
    if (status != 0)
        wrong("%s ended with status %d", name, status);
}

static void run(long kind)
{
    static char uv[PATH_MAX + 16];
    ssize_t len = readlink("/proc/self/exe", uv, PATH_MAX);
    char *slash = len > 0 ? strrchr(uv, '/') : NULL;
    if (!slash)
        die("/proc/self/exe", errno);
    strcpy(slash, "/uvserver");
    n_callers = kinds[kind].callers;
    depth = kinds[kind].depth;
    start_server(&sides[SPOOL], word_server_path());
    start_server(&sides[UV], uv);
    find_files(kind);

    long slices = option("slices", 20);
    int64_t slice = option("slice_ms", 250) * 1000000;
    for (int i = 0; i < SERVERS; i++) { /* to fill caches */
        drive(&sides[i], names[i], slice);
        sides[i].n_times = 0;
        sides[i].took = 0;
    }
    for (long i = 0; i < slices * SERVERS; i++) {
        long which = (i + i / SERVERS) % SERVERS; /* who goes first alternates */
        drive(&sides[which], names[which], slice);
    }
    forget_files(kind);
    for (int i = 0; i < SERVERS; i++) {
        if (sides[i].n_times == 0)
            special_end(2, "slices is 0");
        stop_server(&sides[i], names[i]);
        figure((double)sides[i].n_times / sides[i].took * 1e9, "%s.rps", names[i]);
        figure_times(names[i], sides[i].times, sides[i].n_times);
    }
    figure((double)sides[SPOOL].n_times / sides[SPOOL].took / ((double)sides[UV].n_times / sides[UV].took),
           "ratio.rps");
    static const double shares[] = {0.5, 0.99, 0.999};
    static const char *const share_names[] = {"p50", "p99", "p99.9"};
    for (int i = 0; i < 3; i++)
        figure(percentile(sides[SPOOL].times, sides[SPOOL].n_times, shares[i]) /
                   percentile(sides[UV].times, sides[UV].n_times, shares[i]), "ratio.%s", share_names[i]);
}

static const struct cell cells[] = {
    {"include", run, INCLUDE}, {"tiny", run, TINY}, {"single", run, SINGLE}, {"many", run, MANY},
};

SPECIAL_MAIN("the word server beside one on libuv", cells)
