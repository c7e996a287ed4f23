/* SPDX-License-Identifier: LGPL-3.0-or-later */
#define _GNU_SOURCE 1

/*
 * supervisor: keeps commands running, with one select for all it waits for.
 *
 * Each service that runs has a channel that says how it ended; each that waits to be started again, or to be killed
 * because it does not end, has a channel that says when. Signals and the clients of a control socket stand in the same
 * select, so there are no threads, no locks and nothing that happens in a signal handler.
 *
 *     supervisor -s /run/my.sock 'web=exec my-server -p 80' 'cron=exec my-cron'
 *     echo status | nc -UN /run/my.sock
 *
 *     cc supervisor.c $(pkg-config --cflags --libs spool)
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <spool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { SERVICES = 64, CLIENTS = 16, LINE = 256, NAME = 63 };
#define MS INT64_C(1000000)

/* The cases of the select: these first, then whatever comes and goes. */
enum { SIGNALS, LISTENER, FIRST, CASES = FIRST + 2 * SERVICES + CLIENTS };

struct service {
    const char *name, *command;
    bool wanted, at_once; /* is to be started again when it ends, without delay */
    pid_t pid;            /* 0: it does not run */
    unsigned restarts;
    int64_t started, delay;
    spool_chan *child; /* while it runs */
    spool_chan *timer; /* while it waits for its next start or, if it runs, to be killed */
    int child_case, timer_case;
    siginfo_t end;
    uint64_t expired;
};

struct client {
    int fd, in_case;
    size_t len;
    char line[LINE];
};

static struct {
    spool_select *select;
    spool_chan *signals;
    struct signalfd_siginfo signal;
    int listener;
    bool stopping;
    unsigned running, n_services, n_clients;
    struct service services[SERVICES];
    struct client *clients[CASES]; /* by their cases */
    struct service *owners[CASES];
} s;

static int64_t first_delay = 500 * MS, last_delay = 60000 * MS, long_enough = 10000 * MS, grace = 5000 * MS;
static const char *socket_path;

static int check(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "supervisor: %s: %s\n", what, strerror(-result));
        exit(1);
    }
    return result;
}

static int check_errno(int result, const char *what)
{
    return check(result < 0 ? -errno : result, what);
}

static int64_t now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 * MS + ts.tv_nsec;
}

/* ---- Services ------------------------------------------------------------------------------------------------- */

/* A channel's case and the channel itself go together. */
static void listen_to(struct service *sv, spool_chan *chan, int *ret_case, void *ret_elem)
{
    *ret_case = check(spool_select_get(s.select, chan, ret_elem), "select");
    s.owners[*ret_case] = sv;
}

static void forget(spool_chan **chan, int index)
{
    if (!*chan)
        return;
    spool_select_remove(s.select, index); /* which fails if it has left by itself, closed */
    s.owners[index] = NULL;
    *chan = spool_unref(*chan);
}

static void set_timer(struct service *sv, int64_t delay)
{
    check(spool_after(&sv->timer, delay), "timer");
    listen_to(sv, sv->timer, &sv->timer_case, &sv->expired);
}

/* In a process group of its own, with no signal blocked or ignored. */
static int spawn(struct service *sv)
{
    char sh[] = "sh", c[] = "-c";
    char *argv[] = {sh, c, (char *)sv->command, NULL};
    posix_spawnattr_t attr;
    sigset_t none, all;
    int r = posix_spawnattr_init(&attr);

    if (r != 0)
        return -r;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    r = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (r == 0)
        r = posix_spawn(&sv->pid, "/bin/sh", NULL, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    return -r;
}

static void start_later(struct service *sv)
{
    printf("%s: starts again in %" PRId64 " ms\n", sv->name, sv->delay / MS);
    set_timer(sv, sv->delay);
    sv->delay = sv->delay * 2 < last_delay ? sv->delay * 2 : last_delay;
}

static void start_service(struct service *sv)
{
    int r;

    forget(&sv->timer, sv->timer_case);
    sv->wanted = true;
    sv->at_once = false;
    sv->started = now();
    if ((r = spawn(sv)) < 0) {
        sv->pid = 0;
        printf("%s: cannot be started: %s\n", sv->name, strerror(-r));
        start_later(sv);
        return;
    }
    check(spool_child(&sv->child, sv->pid), "child");
    listen_to(sv, sv->child, &sv->child_case, &sv->end);
    s.running++;
    printf("%s: started, process %d\n", sv->name, (int)sv->pid);
}

/* Asks it to end, and makes sure that it will. */
static void end_service(struct service *sv, bool start_again)
{
    sv->wanted = sv->at_once = start_again;
    if (sv->pid) {
        kill(-sv->pid, SIGTERM);
        if (!sv->timer)
            set_timer(sv, grace);
    } else {
        forget(&sv->timer, sv->timer_case);
    }
}

static void restart_service(struct service *sv)
{
    sv->delay = first_delay;
    if (sv->pid)
        end_service(sv, true);
    else
        start_service(sv);
}

static void service_has_ended(struct service *sv, bool known)
{
    if (!known)
        printf("%s: ended, and somebody else knows how\n", sv->name);
    else if (sv->end.si_code == CLD_EXITED)
        printf("%s: exited with status %d\n", sv->name, sv->end.si_status);
    else
        printf("%s: was killed: %s\n", sv->name, strsignal(sv->end.si_status));
    forget(&sv->child, sv->child_case);
    forget(&sv->timer, sv->timer_case);
    sv->pid = 0;
    s.running--;
    if (now() - sv->started >= long_enough)
        sv->delay = first_delay;
    sv->restarts += sv->wanted;
    if (sv->at_once)
        start_service(sv);
    else if (sv->wanted)
        start_later(sv);
}

static void time_is_over(struct service *sv)
{
    forget(&sv->timer, sv->timer_case);
    if (!sv->pid) {
        start_service(sv);
        return;
    }
    printf("%s: does not end, is killed\n", sv->name);
    kill(-sv->pid, SIGKILL);
}

/* ---- Signals -------------------------------------------------------------------------------------------------- */

static void take_signal(void)
{
    bool restart = s.signal.ssi_signo == SIGHUP;

    if (restart && s.stopping)
        return;
    s.stopping |= !restart;
    for (struct service *sv = s.services; sv < s.services + s.n_services; sv++) {
        if (!restart)
            end_service(sv, false);
        else if (sv->wanted)
            restart_service(sv);
    }
}

/* ---- The control socket --------------------------------------------------------------------------------------- */

static void say_status(FILE *reply, const struct service *sv)
{
    const char *when_up = sv->wanted && !sv->at_once ? "running" : "ending";
    const char *when_down = sv->wanted ? "waiting" : "stopped";

    fprintf(reply, "%s %s, process %d, restarts %u\n", sv->name, sv->pid ? when_up : when_down, (int)sv->pid,
            sv->restarts);
}

/* Every reply ends with a line that is "ok" or begins with "error". */
static void obey(char *line, FILE *reply)
{
    char *rest, *verb = strtok_r(line, " \r", &rest), *name = strtok_r(NULL, " \r", &rest);
    struct service *sv = s.services, *end = s.services + s.n_services;

    while (name && sv < end && strcmp(sv->name, name) != 0)
        sv++;
    if (!verb || strtok_r(NULL, " \r", &rest)) {
        fprintf(reply, "error: status, or start, stop or restart and a name\n");
        return;
    }
    if (sv == end) {
        fprintf(reply, "error: there is no %s\n", name);
        return;
    }
    if (strcmp(verb, "status") == 0) {
        for (struct service *each = s.services; each < end; each++)
            if (!name || each == sv)
                say_status(reply, each);
    } else if (s.stopping || !name) {
        fprintf(reply, s.stopping ? "error: all is ending\n" : "error: which?\n");
        return;
    } else if (strcmp(verb, "stop") == 0) {
        end_service(sv, false);
    } else if (strcmp(verb, "restart") == 0 || (strcmp(verb, "start") == 0 && (!sv->pid || !sv->wanted))) {
        restart_service(sv);
    } else if (strcmp(verb, "start") != 0) {
        fprintf(reply, "error: what is %s?\n", verb);
        return;
    }
    fprintf(reply, "ok\n");
}

static bool reply_to(int fd, char *line)
{
    char *text = NULL;
    size_t len;
    FILE *reply = open_memstream(&text, &len);
    bool sent = false;

    if (reply) {
        obey(line, reply);
        sent = fclose(reply) == 0 && send(fd, text, len, MSG_NOSIGNAL) == (ssize_t)len;
    }
    free(text);
    return sent;
}

static void drop_client(struct client *c)
{
    s.clients[c->in_case] = NULL;
    spool_select_remove(s.select, c->in_case);
    close(c->fd);
    free(c);
    s.n_clients--;
}

/* A client that does not read its replies, or sends more than a line may be, is dropped. */
static void serve_client(struct client *c)
{
    ssize_t n = recv(c->fd, c->line + c->len, sizeof(c->line) - c->len, 0);
    char *end;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    c->len += n > 0 ? (size_t)n : 0;
    while (n > 0 && (end = memchr(c->line, '\n', c->len))) {
        *end++ = '\0';
        if (!reply_to(c->fd, c->line))
            n = 0;
        c->len -= (size_t)(end - c->line);
        memmove(c->line, end, c->len);
    }
    if (n <= 0 || c->len == sizeof(c->line))
        drop_client(c);
}

static void accept_client(void)
{
    int fd = accept4(s.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct client *c = fd < 0 || s.n_clients == CLIENTS ? NULL : calloc(1, sizeof(*c));
    int index = c ? spool_select_fd(s.select, fd, EPOLLIN) : -1;

    if (index >= 0) {
        c->fd = fd;
        c->in_case = index;
        s.clients[index] = c;
        s.n_clients++;
        return;
    }
    free(c);
    if (fd >= 0)
        close(fd);
}

static void open_listener(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int probe = check_errno(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");

    check(strlen(path) < sizeof(addr.sun_path) ? 0 : -ENAMETOOLONG, path);
    strcpy(addr.sun_path, path);
    if (connect(probe, (struct sockaddr *)&addr, sizeof(addr)) < 0 && errno == ECONNREFUSED)
        unlink(path); /* left by a supervisor that was killed */
    close(probe);
    s.listener = check_errno(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
    check_errno(bind(s.listener, (struct sockaddr *)&addr, sizeof(addr)), path);
    socket_path = path;
    check_errno(listen(s.listener, CLIENTS), path);
}

/* ---- The whole ------------------------------------------------------------------------------------------------ */

/* At the end and at any exit before: nothing is left behind. */
static void clean_up(void)
{
    for (struct service *sv = s.services; sv < s.services + s.n_services; sv++)
        if (sv->pid)
            kill(-sv->pid, SIGKILL);
    if (socket_path)
        unlink(socket_path);
}

static void start(const char *path)
{
    sigset_t mask;

    setvbuf(stdout, NULL, _IOLBF, 0);
    atexit(clean_up);
    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGHUP);
    check(-pthread_sigmask(SIG_BLOCK, &mask, NULL), "signals");
    check(spool_signal(&s.signals, &mask), "signals");
    open_listener(path);
    /* A select gives its cases the lowest index that is free, so these are the indices named above. */
    check(spool_select_new(&s.select), "select");
    check(spool_select_get(s.select, s.signals, &s.signal), "signals");
    check(spool_select_fd(s.select, s.listener, EPOLLIN), "listener");
    for (struct service *sv = s.services; sv < s.services + s.n_services; sv++) {
        sv->delay = first_delay;
        start_service(sv);
    }
}

static void run(void)
{
    while (!s.stopping || s.running > 0) {
        int i = check(spool_select_wait(s.select, -1), "select");
        struct service *sv = s.owners[i];

        if (i == SIGNALS)
            take_signal();
        else if (i == LISTENER)
            accept_client();
        else if (s.clients[i])
            serve_client(s.clients[i]);
        else if (sv->child && i == sv->child_case)
            service_has_ended(sv, spool_select_result(s.select, i) == 0);
        else
            time_is_over(sv);
    }
}

static void finish(void)
{
    for (int i = 0; i < CASES; i++)
        if (s.clients[i])
            drop_client(s.clients[i]);
    spool_select_free(s.select);
    spool_unref(s.signals);
    close(s.listener);
    puts("all have ended");
}

static const char usage[] =
    "usage: supervisor -s SOCKET [-d MS] [-D MS] [-l MS] [-k MS] NAME=COMMAND...\n"
    "Runs the commands, each by sh, and starts again those that end. A client of the socket may say\n"
    "\"status\", \"start NAME\", \"stop NAME\" and \"restart NAME\".\n"
    "  -d MS  how long to wait before the first new start (500); it doubles with each\n"
    "  -D MS  up to so long (60000)\n"
    "  -l MS  it is the first again for one that ran so long (10000)\n"
    "  -k MS  how long one may take to end before it is killed (5000)\n"
    "SIGHUP restarts all that shall run; SIGINT and SIGTERM end them all, and the supervisor.\n";

static void wrong_usage(void)
{
    fputs(usage, stderr);
    exit(2);
}

static int64_t milliseconds(const char *arg)
{
    char *end;
    long value = strtol(arg, &end, 10);

    if (end == arg || *end || value < 1 || value > 1000000000)
        wrong_usage();
    return value * MS;
}

static void add_service(char *arg)
{
    char *equals = strchr(arg, '=');

    if (!equals || equals == arg || equals - arg > NAME || s.n_services == SERVICES)
        wrong_usage();
    *equals = '\0';
    for (unsigned i = 0; i < s.n_services; i++)
        if (strcmp(s.services[i].name, arg) == 0)
            wrong_usage();
    s.services[s.n_services++] = (struct service){.name = arg, .command = equals + 1};
}

int main(int argc, char **argv)
{
    const char *path = NULL;

    for (int opt; (opt = getopt(argc, argv, "s:d:D:l:k:h")) != -1;) {
        if (opt == 's')
            path = optarg;
        else if (opt == 'd')
            first_delay = milliseconds(optarg);
        else if (opt == 'D')
            last_delay = milliseconds(optarg);
        else if (opt == 'l')
            long_enough = milliseconds(optarg);
        else if (opt == 'k')
            grace = milliseconds(optarg);
        else if (opt == 'h')
            return fputs(usage, stdout) < 0;
        else
            wrong_usage();
    }
    if (!path || optind == argc)
        wrong_usage();
    while (optind < argc)
        add_service(argv[optind++]);
    start(path);
    run();
    finish();
    return 0;
}
