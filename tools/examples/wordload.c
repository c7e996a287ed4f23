/* SPDX-License-Identifier: LGPL-3.0-or-later */
#define _GNU_SOURCE 1

/*
 * wordload: drives the word server over many connections at once, with the files below a folder, and checks every reply
 * against wc(1). Meanwhile a thread of its own misbehaves in every way it knows. Ends with a table; fails if a reply
 * was wrong or lost, or if anybody was treated badly.
 */
#include <errno.h>
#include <getopt.h>
#include <spool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <time.h>

#include "wordcall.h"
#include "wordmischief.h"
#include "wordoracle.h"

#define PATIENCE (WORD_DEADLINE * INT64_C(1000000000))
#define PAUSE INT64_C(20000000)
enum { CALLERS_MAX = 512, PIPELINE_MAX = 32, SINGLES = 200, TRACED = 2000, REPLY_MAX = 8192 };

/* One well-behaved connection: asks for the next file while fewer than pipeline replies are due. */
struct caller {
    FILE *call;
    size_t due[PIPELINE_MAX]; /* files, a ring */
    unsigned first, n_due;
    size_t len;
    char reply[REPLY_MAX];
};

struct load {
    size_t todo, asked; /* requests to make, made */
    size_t right, wrong, lost;
    int64_t started, took;
    bool quiet;
};

static unsigned n_callers = 16, pipeline = 4;

static int64_t now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* ---- Mischief ------------------------------------------------------------------------------------------------- */

enum mischief { RUBBISH, ENDLESS_LINE, VANISHED, HALF_CLOSED, NEVER_READ, MISCHIEFS };

static const char *const mischief_names[] = {"rubbish", "endless line", "vanished", "half closed", "never read"};
static unsigned mischief_done[MISCHIEFS], mischief_badly_met;

struct mischief_report {
    enum mischief kind;
    const char *wrong;
};

static void note(const struct mischief_report *report)
{
    mischief_done[report->kind]++;
    if (!report->wrong)
        return;
    mischief_badly_met++;
    fprintf(stderr, "%s: %s\n", mischief_names[report->kind], report->wrong);
}

static void tell(enum mischief kind, const char *wrong)
{
    struct mischief_report report = {kind, wrong};
    int r = spool_put(spool_self(), &report);

    (void)r; /* if nobody listens any more, nobody minds */
}

/* A thread that misbehaves until it is told to stop. The glutton stays all the time, and then gets its answers. */
static void misbehave(void *arg)
{
    const struct victim *v = arg;
    struct mischief_report stop;
    struct glutton glutton = {0};
    const char *wrong = gorge(&glutton, v);

    do {
        tell(RUBBISH, send_rubbish(v));
        tell(ENDLESS_LINE, send_endless_line(v));
        tell(VANISHED, vanish(v, false));
        tell(VANISHED, vanish(v, true));
        tell(HALF_CLOSED, close_half(v));
    } while (spool_get_for(spool_self(), &stop, PAUSE) == -ETIMEDOUT);
    tell(NEVER_READ, wrong ? wrong : reconcile(&glutton));
}

/* ---- The load ------------------------------------------------------------------------------------------------- */

static void ask(struct load *load, struct caller *c)
{
    char line[PATH_MAX + 1];

    while (c->call && c->n_due < pipeline && load->asked < load->todo) {
        size_t file = load->asked++ % n_files;
        int len = snprintf(line, sizeof(line), "%s\n", files[file].path);

        c->due[(c->first + c->n_due++) % pipeline] = file;
        word_send(c->call, line, (size_t)len);
    }
}

static bool is_right(const struct file *file, const char *reply)
{
    size_t len = strlen(file->path);

    if (file->line)
        return strcmp(reply, file->line) == 0;
    return strncmp(reply, "error: ", 7) == 0 && strncmp(reply + 7, file->path, len) == 0;
}

static void check_reply(struct load *load, struct caller *c, const char *reply)
{
    const struct file *file = &files[c->due[c->first]];

    if (c->n_due > 0 && is_right(file, reply)) {
        load->right++;
    } else if (load->wrong++ < 10) {
        fprintf(stderr, "wrong: \"%s\"\n   wc: \"%s\"\n", reply,
                c->n_due == 0 ? ""
                : file->line  ? file->line
                              : "(error)");
    }
    if (c->n_due > 0) {
        c->first = (c->first + 1) % pipeline;
        c->n_due--;
    }
}

/* Takes what has come on a connection; false once it is closed. */
static bool hear(struct load *load, struct caller *c)
{
    ssize_t n = recv(fileno(c->call), c->reply + c->len, sizeof(c->reply) - c->len, 0);
    char *at = c->reply, *end;

    if (n <= 0)
        return false;
    c->len += (size_t)n;
    while ((end = memchr(at, '\n', c->len))) {
        *end++ = '\0';
        check_reply(load, c, at);
        c->len -= (size_t)(end - at);
        at = end;
    }
    memmove(c->reply, at, c->len);
    return c->len < sizeof(c->reply);
}

static void show_progress(const struct load *load)
{
    static int64_t shown;
    static size_t tenths;
    size_t done = load->right + load->wrong;
    int64_t at = now();

    if (load->quiet)
        return;
    if (!isatty(STDOUT_FILENO)) {
        if (done * 10 / load->todo != tenths) {
            tenths = done * 10 / load->todo;
            printf("%zu of %zu\n", done, load->todo);
        }
        return;
    }
    if (at - shown < 50 * 1000 * 1000 && done < load->todo)
        return;
    shown = at;
    printf("\r[%.*s%*s] %zu of %zu%s", (int)(done * 50 / load->todo),
           "##################################################", 50 - (int)(done * 50 / load->todo), "", done,
           load->todo, done < load->todo ? "" : "\n");
    fflush(stdout);
}

/* Makes the load's requests and waits for their replies; while it does, it notes what the mischief reports. */
static bool run_load(struct load *load, unsigned port, spool_chan *mischief)
{
    static struct caller callers[CALLERS_MAX];
    struct mischief_report report;
    spool_select *select;
    unsigned calling = 0;
    int64_t heard = now();
    int i;

    if (spool_select_new(&select) < 0)
        return false;
    memset(callers, 0, sizeof(callers));
    load->started = now();
    for (; calling < n_callers; calling++) {
        struct caller *c = &callers[calling];

        c->call = word_connect(port);
        if (!c->call || spool_select_fd(select, fileno(c->call), EPOLLIN) != (int)calling)
            return false;
        ask(load, c);
    }
    if (mischief && spool_select_get(select, mischief, &report) != (int)n_callers)
        return false;
    while (load->right + load->wrong < load->todo && calling > 0 && now() - heard < PATIENCE) {
        i = spool_select_wait(select, PATIENCE);
        if (i < 0)
            break;
        if (i == (int)n_callers) {
            note(&report);
            continue;
        }
        heard = now();
        if (hear(load, &callers[i])) {
            ask(load, &callers[i]);
        } else {
            spool_select_remove(select, i);
            calling--;
        }
        show_progress(load);
    }
    load->took = now() - load->started;
    load->lost = load->todo - load->right - load->wrong;
    spool_select_free(select);
    for (unsigned n = 0; n < n_callers; n++)
        fclose(callers[n].call);
    return true;
}

/* ---- System calls --------------------------------------------------------------------------------------------- */

/*
 * Another load, to count what wakes sleepers. The server counts its writes to eventfds. strace counts the futexes woken
 * and looks at nothing else, so that all other calls run at full speed.
 */
static const char *trace_wakes(char *program, char *option, size_t *ret_writes, size_t *ret_wakes, size_t *ret_requests)
{
    struct load load = {.todo = TRACED, .quiet = true};
    struct word_server server;
    int fd = memfd_create("trace", MFD_CLOEXEC), life[2];
    char path[64], line[1024];
    /* -D: the server, not strace, is our child. */
    char *argv[] = {"strace",      "-D", "-f", "--seccomp-bpf", "-qq",  "-e", "trace=futex", "-e",
                    "signal=none", "-o", path, program,         option, NULL};
    FILE *trace = fdopen(fd, "r");
    bool ran;

    if (system("command -v strace >/dev/null") != 0)
        return "strace is not installed";
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), fd);
    if (!trace || pipe(life) < 0 || !word_server_start(&server, argv))
        return "strace cannot trace here";
    close(life[1]);
    ran = run_load(&load, server.port, NULL);
    kill(server.pid, SIGTERM);
    word_server_wait(&server, line, sizeof(line));
    if (!ran || load.right < load.todo)
        return "the server did not work under strace";
    if (sscanf(line, "%zu requests (%*u errors) of %*u clients, %zu writes", ret_requests, ret_writes) != 2)
        return "the server could not count its writes";
    if (read(life[0], line, 1) != 0) /* strace holds the other end until it has written everything */
        return "strace did not end";
    close(life[0]);
    for (*ret_wakes = 0; fgets(line, sizeof(line), trace);)
        *ret_wakes += strstr(line, " futex(") && strstr(line, "FUTEX_WAKE");
    fclose(trace);
    return NULL;
}

static bool print_wakes(char *program, char *option)
{
    size_t writes, wakes, requests;
    const char *sorry = trace_wakes(program, option, &writes, &wakes, &requests);

    if (sorry) {
        printf("%-14s          ?   %s\n", "wake-ups", sorry);
        return false;
    }
    printf("%-14s %10.3f   system calls per request: %.3f writes to eventfds + %.3f futex wakes,\n", "wake-ups",
           (double)(writes + wakes) / (double)requests, (double)writes / (double)requests,
           (double)wakes / (double)requests);
    printf("%-14s              over %zu requests, %u under way on each of %u connections\n", "", requests, pipeline,
           n_callers);
    return true;
}

/* ---- All together --------------------------------------------------------------------------------------------- */

static void print_table(const struct load *load)
{
    double seconds = (double)load->took / 1e9;

    printf("\n%-14s %10zu   on %u connections, up to %u under way on each\n", "requests", load->todo, n_callers,
           pipeline);
    printf("%-14s %10.0f   in %.2f s\n", "requests/s", (double)(load->right + load->wrong) / seconds, seconds);
    printf("%-14s %10zu   each reply compared with what wc prints\n", "wrong", load->wrong);
    printf("%-14s %10zu\n", "lost", load->lost);
    printf("%-14s %10u   misbehaving clients:", "badly met", mischief_badly_met);
    for (int i = 0; i < MISCHIEFS; i++)
        printf("%s %u %s", i ? "," : "", mischief_done[i], mischief_names[i]);
    printf("\n");
}

static bool drive(struct load *load, struct word_server *server)
{
    struct victim victim = {.port = server->port};
    struct mischief_report report = {0};
    spool_chan *mischief;

    for (size_t i = 0; i < n_files && !victim.line; i++) {
        victim.path = files[i].path;
        victim.line = files[i].line;
    }
    if (spool_go(&mischief, misbehave, &victim, sizeof(report), 16) < 0 || !run_load(load, server->port, mischief))
        return false;
    if (spool_put(mischief, &report) < 0)
        return false;
    while (spool_get(mischief, &report) == 0)
        note(&report);
    spool_unref(mischief);
    return true;
}

static const char usage[] = "usage: wordload [-n FILES] [-r ROUNDS] [-c CONNECTIONS] [-d DEPTH] [-x] [FOLDER]\n"
                            "Asks a word server for every file below FOLDER (/usr/include) and checks each reply.\n"
                            "  -n FILES        no more than so many of them, spread evenly\n"
                            "  -r ROUNDS       how often each is asked for (5)\n"
                            "  -c CONNECTIONS  how many at once (16)\n"
                            "  -d DEPTH        requests under way on each (4)\n"
                            "  -x              do not count system calls\n";

int main(int argc, char **argv)
{
    const char *folder = "/usr/include";
    size_t most = SIZE_MAX, rounds = 5;
    struct load load = {0};
    struct word_server server;
    bool trace = true;
    char *program = word_server_path(), *option, words[] = "-w", patience[] = "-t600", said[256];
    int status;

    for (int opt; (opt = getopt(argc, argv, "n:r:c:d:xh")) != -1;) {
        unsigned long value = optarg ? strtoul(optarg, NULL, 10) : 1;

        if (value == 0 || opt == '?' || opt == 'h' || (opt == 'c' && value > CALLERS_MAX) ||
            (opt == 'd' && value > PIPELINE_MAX)) {
            fputs(usage, opt == 'h' ? stdout : stderr);
            return opt == 'h' ? 0 : 2;
        }
        if (opt == 'n')
            most = value;
        if (opt == 'r')
            rounds = value;
        if (opt == 'c')
            n_callers = (unsigned)value;
        if (opt == 'd')
            pipeline = (unsigned)value;
        trace = trace && opt != 'x';
    }
    folder = optind < argc ? argv[optind] : folder;

    setenv("LC_ALL", "C", 1);
    unsetenv("POSIXLY_CORRECT");
    printf("Asking wc about the files below %s\n", folder);
    fflush(stdout);
    if (!find_files(folder, most) || !ask_wc() || !ask_wc_again(SINGLES)) {
        fprintf(stderr, "wordload: cannot find out what wc prints for the files below %s\n", folder);
        return 1;
    }
    option = wc_takes_every_byte() ? words : NULL;
    if (!word_server_start(&server, (char *[]){program, patience, option, NULL})) {
        fprintf(stderr, "wordload: %s does not start\n", program);
        return 1;
    }
    load.todo = n_files * rounds;
    if (!drive(&load, &server)) {
        fprintf(stderr, "wordload: cannot connect\n");
        return 1;
    }
    kill(server.pid, SIGTERM);
    status = word_server_wait(&server, said, sizeof(said));
    print_table(&load);
    printf("%-14s %10d   it said: %s", "server's exit", status, said);
    if (trace && print_wakes(program, option) && n_callers * pipeline > 1) {
        n_callers = pipeline = 1;
        print_wakes(program, option);
    }
    return load.wrong || load.lost || mischief_badly_met || status ? 1 : 0;
}
