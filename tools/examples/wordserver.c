/* SPDX-License-Identifier: LGPL-3.0-or-later */
#define _GNU_SOURCE 1

/*
 * wordserver: wc(1) as a TCP server, with one select for all it waits for.
 *
 * A request is a line with a file's path. The reply is the line that "LC_ALL=C wc PATH" prints for that file, or
 * "error: PATH: REASON". Requests may be pipelined; replies come in the order of the requests.
 *
 *     socket -> input -> [jobs channel] -> worker -> [results channel] -> list of the client -> output -> socket
 *
 * Every stage is bounded and none drops anything: a full stage stops the one before it. A client with PIPELINE
 * requests on their way is not read until some are answered; when the jobs channel is full, clients take turns for
 * the room that workers make. So one who never reads his replies holds up himself alone.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <spool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "wordclient.h"

enum { JOBS = 64, CLIENTS = 1000 };
#define SECOND INT64_C(1000000000)
#define LAST_CALL (5 * SECOND) /* for clients who still ask, or do not listen, when the server stops */

/* The cases of the select: these first, then two for each client. */
enum { LISTENER, JOB, RESULT, CLOCK, SIGNALS, FIRST_CLIENT };

struct server {
    spool_select *select;
    spool_chan *jobs, *results, *clock, *signals;
    int listener;
    struct request *job;    /* on its way into the jobs channel */
    struct request *result; /* just out of the results channel */
    uint64_t ticks;
    struct signalfd_siginfo signal;
    struct client *clients, *turns, **last_turn;
    unsigned connected, most; /* clients there are, and may be */
    unsigned working;         /* requests on their way to the workers and back */
    bool accepting, job_waits, ticking, stopping;
    int64_t now, patience, last_call;
    uint64_t n_clients, n_requests, n_errors;
    struct client *owner[FIRST_CLIENT + 2 * CLIENTS]; /* of each case */
};

/* ---- The workers ----------------------------------------------------------------------------------------------- */

static void work(void *arg)
{
    struct server *s = arg;
    struct request *q;

    while (spool_get(s->jobs, &q) == 0) {
        word_count_file(&q->count, q->path, &q->unwanted);
        if (spool_put(s->results, &q) < 0)
            return;
    }
}

/* ---- Clients -------------------------------------------------------------------------------------------------- */

static void switch_case(struct server *s, int index, bool *is_on, bool on)
{
    if (*is_on != on && spool_select_enable(s->select, index, on) == 0)
        *is_on = on;
}

static void drop_client(struct server *s, struct client *c)
{
    for (struct request *q = c->first, *next; q; q = next) {
        next = q->next;
        q->client = NULL;
        if (q->answered)
            free(q);
        else /* freed when it comes back */
            atomic_store(&q->unwanted, true);
    }
    spool_select_remove(s->select, c->in_case);
    spool_select_remove(s->select, c->out_case);
    close(c->fd);
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    free(c);
    s->connected--;
    if (!s->stopping)
        switch_case(s, LISTENER, &s->accepting, true);
}

/* Decides what to wait for next, after anything happened to a client. It may be freed. */
static void settle(struct server *s, struct client *c)
{
    bool may_ask = c->asked < PIPELINE;

    if (c->in_turn)
        return; /* until its turn comes */
    /* Once the server stops, who has all answers and asks nothing more is done. */
    if (s->stopping && !c->over && !c->unread && !c->first && c->out_len == 0 && !read_client(c))
        end_input(c);
    if (c->over && !c->unread && !c->first && c->out_len == 0 && !c->shut) {
        /* Closing while the other side still sends would destroy replies on their way: say so, wait for its end. */
        c->gone |= c->ended || shutdown(c->fd, SHUT_WR) < 0;
        c->shut = true;
    }
    if (c->gone) {
        drop_client(s, c);
        return;
    }
    switch_case(s, c->out_case, &c->out_on, c->out_len > 0);
    if (c->unread && may_ask) {
        c->in_turn = true;
        c->next_turn = NULL;
        *s->last_turn = c;
        s->last_turn = &c->next_turn;
    } else {
        switch_case(s, c->in_case, &c->in_on, c->shut || (!c->over && may_ask));
    }
}

static void serve_client(struct server *s, struct client *c, int index)
{
    if (index == c->out_case)
        write_client(c, s->now);
    else if (c->in_turn)
        switch_case(s, c->in_case, &c->in_on, false);
    else
        read_client(c);
    settle(s, c);
}

/* Takes one request of each client in turn, for as long as the jobs channel has room. */
static void dispatch(struct server *s)
{
    while (!s->job && s->turns) {
        struct client *c = s->turns;
        struct request *q;

        s->turns = c->next_turn;
        if (!s->turns)
            s->last_turn = &s->turns;
        c->in_turn = false;
        q = c->gone ? NULL : take_request(c);
        if (q) {
            c->moved = s->now;
            s->n_requests++;
            s->n_errors += q->answered;
        }
        if (q && !q->answered) {
            s->working++;
            if (spool_try_put(s->jobs, &q) < 0)
                s->job = q;
        } else {
            write_client(c, s->now);
        }
        settle(s, c);
    }
    switch_case(s, JOB, &s->job_waits, s->job);
}

static void finish(struct server *s, struct request *q)
{
    struct client *c = q->client;

    s->working--;
    s->n_errors += q->count.error != 0;
    q->answered = true;
    if (!c) {
        free(q);
        return;
    }
    c->moved = s->now;
    write_client(c, s->now);
    settle(s, c);
}

static bool add_client(struct server *s, int fd)
{
    struct client *c = calloc(1, sizeof(*c));
    int on = 1;

    if (!c)
        return false;
    c->in_case = spool_select_fd(s->select, fd, EPOLLIN);
    c->out_case = spool_select_fd(s->select, fd, EPOLLOUT);
    if (c->in_case < 0 || c->out_case < 0 || spool_select_enable(s->select, c->out_case, false) < 0) {
        spool_select_remove(s->select, c->in_case);
        spool_select_remove(s->select, c->out_case);
        free(c);
        return false;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    s->owner[c->in_case] = s->owner[c->out_case] = c;
    c->fd = fd;
    c->in_on = true;
    c->last = &c->first;
    c->moved = s->now;
    c->link = &s->clients;
    c->next = s->clients;
    if (c->next)
        c->next->link = &c->next;
    s->clients = c;
    s->connected++;
    s->n_clients++;
    return true;
}

/* Out of descriptors, or as many clients as may be: the others wait in the socket's queue until one leaves. */
static void accept_clients(struct server *s)
{
    while (s->connected < s->most) {
        int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
            break;
        if (fd < 0)
            return;
        if (!add_client(s, fd))
            close(fd);
    }
    switch_case(s, LISTENER, &s->accepting, false);
}

/* ---- Time and signals ----------------------------------------------------------------------------------------- */

static int64_t now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * SECOND + ts.tv_nsec;
}

/* The clock is listened to only while there is something to look after. */
static void mind_clock(struct server *s)
{
    switch_case(s, CLOCK, &s->ticking, s->clients || (!s->accepting && !s->stopping));
}

/* Closes clients that have not moved for too long, unless the next move is the server's. */
static void tick(struct server *s)
{
    for (struct client *c = s->clients, *next; c; c = next) {
        bool ours = c->in_turn || (c->first && !c->first->answered && c->out_len == 0);

        next = c->next;
        c->gone |= !ours && s->now - c->moved > s->patience;
        if (s->stopping && s->now > s->last_call && !c->over)
            end_input(c);
        settle(s, c);
    }
    if (!s->stopping) /* descriptors may be free again that others held */
        switch_case(s, LISTENER, &s->accepting, s->connected < s->most);
}

/* No more clients; those that are there get the answers to what they have asked, or are just asking. */
static void stop(struct server *s)
{
    if (s->stopping)
        exit(1);
    accept_clients(s); /* they may have asked already */
    s->stopping = true;
    s->last_call = s->now + LAST_CALL;
    if (s->patience > LAST_CALL)
        s->patience = LAST_CALL;
    spool_select_remove(s->select, LISTENER);
    close(s->listener);
    for (struct client *c = s->clients, *next; c; c = next) {
        next = c->next;
        c->moved = s->now;
        settle(s, c);
    }
}

/* ---- The server ----------------------------------------------------------------------------------------------- */

static int check(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "wordserver: %s: %s\n", what, strerror(-result));
        exit(1);
    }
    return result;
}

static int check_errno(int result, const char *what)
{
    return check(result < 0 ? -errno : result, what);
}

static void open_listener(struct server *s, unsigned port)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t len = sizeof(addr);
    int on = 1;

    s->listener = check_errno(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
    check_errno(setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), "setsockopt");
    check_errno(bind(s->listener, (struct sockaddr *)&addr, sizeof(addr)), "bind");
    check_errno(listen(s->listener, SOMAXCONN), "listen");
    check_errno(getsockname(s->listener, (struct sockaddr *)&addr, &len), "getsockname");
    printf("listening on 127.0.0.1:%u\n", ntohs(addr.sin_port));
    fflush(stdout);
}

static void start(struct server *s, unsigned workers, unsigned port)
{
    struct rlimit files = {.rlim_cur = CLIENTS};
    unsigned own = workers + 32; /* descriptors for the workers' files and for the server itself */
    sigset_t mask;

    getrlimit(RLIMIT_NOFILE, &files);
    s->most = files.rlim_cur <= own ? 1 : files.rlim_cur - own < CLIENTS ? (unsigned)files.rlim_cur - own : CLIENTS;
    s->last_turn = &s->turns;

    /* Blocked before there are threads, so that all have them blocked and the channel gets them. */
    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    check(-pthread_sigmask(SIG_BLOCK, &mask, NULL), "signals");
    check(spool_signal(&s->signals, &mask), "signals");
    check(spool_tick(&s->clock, SECOND), "clock");
    spool_set_name(s->signals, "signals");
    spool_set_name(s->clock, "clock");
    open_listener(s, port);

    check(spool_chan_new(&s->jobs, sizeof(struct request *), JOBS), "jobs");
    check(spool_chan_new(&s->results, sizeof(struct request *), JOBS), "results");
    spool_set_name(s->jobs, "jobs");
    spool_set_name(s->results, "results");
    for (unsigned i = 0; i < workers; i++) {
        spool_chan *worker;

        check(spool_go(&worker, work, s, 0, 1), "worker");
        spool_set_name(worker, "counter");
        spool_unref(worker);
    }

    /* A select gives its cases the lowest index that is free, so these are the indices named above. */
    check(spool_select_new(&s->select), "select");
    check(spool_select_fd(s->select, s->listener, EPOLLIN), "listener");
    check(spool_select_put(s->select, s->jobs, &s->job), "jobs");
    check(spool_select_get(s->select, s->results, &s->result), "results");
    check(spool_select_get(s->select, s->clock, &s->ticks), "clock");
    check(spool_select_get(s->select, s->signals, &s->signal), "signals");
    check(spool_select_enable(s->select, JOB, false), "jobs");
    check(spool_select_enable(s->select, CLOCK, false), "clock");
    s->accepting = true;
}

static void run(struct server *s)
{
    while (!s->stopping || s->clients || s->working) {
        int i = check(spool_select_wait(s->select, -1), "select");

        s->now = now();
        switch (i) {
        case LISTENER:
            accept_clients(s);
            break;
        case JOB: /* the select has put it */
            s->job = NULL;
            break;
        case RESULT:
            do
                finish(s, s->result);
            while (spool_try_get(s->results, &s->result) == 0);
            break;
        case CLOCK:
            tick(s);
            break;
        case SIGNALS:
            stop(s);
            break;
        default:
            serve_client(s, s->owner[i], i);
        }
        dispatch(s);
        mind_clock(s);
    }
}

/* Every write(2) of this process, but for its first line of output, was the library's and woke somebody: sockets are
 * sent to. A negative number where the kernel does not count. */
static long count_wakes(void)
{
    FILE *io = fopen("/proc/self/io", "r");
    long writes;

    if (!io || fscanf(io, "rchar: %*s wchar: %*s syscr: %*s syscw: %ld", &writes) != 1)
        writes = 0;
    if (io)
        fclose(io);
    return writes - 1;
}

static void finish_all(struct server *s, bool quiet)
{
    struct rusage use;

    spool_close(s->jobs); /* the workers see it and return */
    spool_go_wait(-1);
    spool_unref(s->jobs);
    spool_unref(s->results);
    spool_unref(s->clock);
    spool_unref(s->signals);
    spool_select_free(s->select);
    getrusage(RUSAGE_SELF, &use);
    if (!quiet)
        printf("%" PRIu64 " requests (%" PRIu64 " errors) of %" PRIu64 " clients, %ld writes to eventfds, %ld sleeps\n",
               s->n_requests, s->n_errors, s->n_clients, count_wakes(), use.ru_nvcsw);
}

static unsigned number(const char *arg, long least, long most)
{
    char *end;
    long value = strtol(arg, &end, 10);

    if (end == arg || *end || value < least || value > most) {
        fprintf(stderr, "wordserver: %s is not a number from %ld to %ld\n", arg, least, most);
        exit(2);
    }
    return (unsigned)value;
}

static const char usage[] =
    "usage: wordserver [-p PORT] [-j WORKERS] [-t SECONDS] [-w] [-q]\n"
    "Answers each line with a file's path by what \"LC_ALL=C wc\" prints for that file.\n"
    "  -p PORT     port to listen on, on 127.0.0.1 (0: any; the first line of output tells which)\n"
    "  -j WORKERS  threads that count (one for each CPU)\n"
    "  -t SECONDS  close clients that neither ask nor read for so long (60)\n"
    "  -w          any byte but a space is part of a word, as for GNU wc from 9.5 on\n"
    "  -q          no statistics at the end\n"
    "SIGINT and SIGTERM end it when all that was asked is answered; a second one ends it at once.\n";

int main(int argc, char **argv)
{
    static struct server server;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned workers = cpus < 1 ? 1 : (unsigned)cpus, port = 0, seconds = 60;
    bool every_byte = false, quiet = false;

    for (int opt; (opt = getopt(argc, argv, "p:j:t:wqh")) != -1;) {
        switch (opt) {
        case 'p':
            port = number(optarg, 0, 65535);
            break;
        case 'j':
            workers = number(optarg, 1, 1024);
            break;
        case 't':
            seconds = number(optarg, 1, 1000000);
            break;
        case 'w':
            every_byte = true;
            break;
        case 'q':
            quiet = true;
            break;
        default:
            fputs(usage, opt == 'h' ? stdout : stderr);
            return opt == 'h' ? 0 : 2;
        }
    }
    if (optind < argc) {
        fputs(usage, stderr);
        return 2;
    }
    server.patience = seconds * SECOND;
    word_count_init(every_byte);
    start(&server, workers, port);
    run(&server);
    finish_all(&server, quiet);
    return 0;
}
