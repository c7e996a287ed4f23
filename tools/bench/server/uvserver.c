/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * The word server of tools/examples, written on libuv as its manual teaches: uv_tcp_t for clients, uv_queue_work for
 * the counting. Same protocol, same counting, same bound on what one client may have under way.
 *
 *     uvserver [-p PORT] [-j WORKERS] [-w] [-q]
 *
 * The options of wordserver that a comparison needs; SIGINT and SIGTERM end it.
 */
#define _GNU_SOURCE 1

#include <stdlib.h>
#include <uv.h>

#include "../../examples/wordcount.h"

enum {
    LINE_LIMIT = 4096,
    REPLY_LIMIT = LINE_LIMIT + 256,
    PIPELINE = 32, /* requests of one client under way; more are not read */
};

struct request {
    uv_work_t work;
    struct request *next; /* of the same client */
    struct client *client;
    bool answered;
    atomic_bool unwanted;
    const char *refused;
    struct word_count count;
    char path[];
};

struct client {
    uv_tcp_t tcp;
    struct request *first, **last; /* in the order of the requests */
    unsigned asked, working;       /* working: in the thread pool */
    bool skipping;                 /* the rest of an over-long line */
    bool reading, ended, writing, closing, closed;
    uv_write_t write;
    size_t in_len, out_len;
    char in[2 * LINE_LIMIT], out[4 * REPLY_LIMIT];
};

static uv_loop_t *loop;
static uv_tcp_t listener;
static uv_signal_t signals[2];
static uint64_t n_requests, n_errors, n_clients;

static void settle(struct client *c);

static void check(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "uvserver: %s: %s\n", what, uv_strerror(result));
        exit(1);
    }
}

/* ---- The end of a client -------------------------------------------------------------------------------------- */

static void free_client(struct client *c)
{
    if (c->closed && c->working == 0)
        free(c);
}

static void on_closed(uv_handle_t *handle)
{
    struct client *c = handle->data;
    c->closed = true;
    free_client(c);
}

static void close_client(struct client *c)
{
    if (c->closing)
        return;
    c->closing = true;
    for (struct request *q = c->first, *next; q; q = next) {
        next = q->next;
        if (q->answered)
            free(q);
        else /* freed when it comes back */
            atomic_store(&q->unwanted, true);
    }
    c->first = NULL;
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

/* ---- Answers -------------------------------------------------------------------------------------------------- */

static void on_written(uv_write_t *write, int status)
{
    struct client *c = write->data;
    c->writing = false;
    c->out_len = 0;
    if (status < 0)
        close_client(c);
    else
        settle(c);
}

static size_t print_reply(const struct request *q, char *to, size_t room)
{
    if (q->refused)
        return (size_t)snprintf(to, room, "error: %s: %s\n", q->path, q->refused);
    return word_count_print(&q->count, q->path, to, room);
}

/* Sends the answers whose turn it is: at once what the socket takes, the rest when it does. */
static void answer(struct client *c)
{
    struct request *q;
    while (!c->writing && !c->closing) {
        while ((q = c->first) && q->answered && sizeof(c->out) - c->out_len >= REPLY_LIMIT) {
            c->out_len += print_reply(q, c->out + c->out_len, sizeof(c->out) - c->out_len);
            c->first = q->next;
            if (!c->first)
                c->last = &c->first;
            c->asked--;
            free(q);
        }
        if (c->out_len == 0)
            return;
        uv_buf_t buf = uv_buf_init(c->out, (unsigned)c->out_len);
        int n = uv_try_write((uv_stream_t *)&c->tcp, &buf, 1);
        if (n < 0 && n != UV_EAGAIN) {
            close_client(c);
            return;
        }
        n = n < 0 ? 0 : n;
        if ((size_t)n == c->out_len) {
            c->out_len = 0;
            continue;
        }
        buf = uv_buf_init(c->out + n, (unsigned)(c->out_len - (size_t)n));
        c->write.data = c;
        c->writing = uv_write(&c->write, (uv_stream_t *)&c->tcp, &buf, 1, on_written) == 0;
        if (!c->writing)
            close_client(c);
    }
}

/* ---- Requests ------------------------------------------------------------------------------------------------- */

static void count(uv_work_t *work)
{
    struct request *q = work->data;
    word_count_file(&q->count, q->path, &q->unwanted);
}

static void on_counted(uv_work_t *work, int status)
{
    struct request *q = work->data;
    struct client *c = q->client;
    c->working--;
    q->answered = true;
    n_errors += status < 0 || q->count.error;
    if (c->closing) {
        free(q);
        free_client(c);
        return;
    }
    settle(c);
}

static void add_request(struct client *c, const char *path, size_t len, const char *refused)
{
    size_t kept = refused && len > 60 ? 60 : len;
    struct request *q = calloc(1, sizeof(*q) + kept + 1);
    if (!q) {
        close_client(c);
        return;
    }
    memcpy(q->path, path, kept);
    for (size_t i = 0; refused && i < kept; i++)
        if (!isprint((unsigned char)q->path[i]))
            q->path[i] = '?';
    q->client = c;
    q->refused = refused;
    q->answered = refused;
    q->work.data = q;
    *c->last = q;
    c->last = &q->next;
    c->asked++;
    n_requests++;
    n_errors += refused != NULL;
    if (refused)
        return;
    c->working++;
    check(uv_queue_work(loop, &q->work, count, on_counted), "uv_queue_work");
}

static void add_line(struct client *c, const char *line, size_t len)
{
    const char *refused = NULL;
    if (len > 0 && line[len - 1] == '\r')
        len--;
    for (size_t i = 0; i < len && !refused; i++)
        if (iscntrl((unsigned char)line[i]))
            refused = "Not a path";
    add_request(c, line, len, len > LINE_LIMIT ? "Line too long" : refused);
}

/* Takes the requests that have come whole, as many as may be under way. */
static void take_requests(struct client *c)
{
    char *at = c->in, *end;
    while (c->asked < PIPELINE && !c->closing && (end = memchr(at, '\n', c->in_len))) {
        size_t used = (size_t)(end - at) + 1;
        if (c->skipping)
            c->skipping = false;
        else
            add_line(c, at, used - 1);
        at += used;
        c->in_len -= used;
    }
    if (c->asked < PIPELINE && !c->closing && !memchr(at, '\n', c->in_len)) {
        if (!c->skipping && c->in_len > LINE_LIMIT) {
            add_request(c, at, c->in_len, "Line too long");
            c->skipping = true;
        } else if (!c->skipping && c->ended && c->in_len > 0) {
            add_request(c, at, c->in_len, "Unfinished line");
            c->skipping = true;
        }
        if (c->skipping)
            c->in_len = 0;
    }
    memmove(c->in, at, c->in_len);
}

/* ---- Clients -------------------------------------------------------------------------------------------------- */

static void on_room(uv_handle_t *handle, size_t hint, uv_buf_t *buf)
{
    struct client *c = handle->data;
    (void)hint;
    *buf = uv_buf_init(c->in + c->in_len, (unsigned)(sizeof(c->in) - c->in_len));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct client *c = stream->data;
    (void)buf;
    if (n == 0)
        return;
    if (n < 0 && n != UV_EOF) {
        close_client(c);
        return;
    }
    if (n == UV_EOF)
        c->ended = true;
    else
        c->in_len += (size_t)n;
    settle(c);
}

/* Decides what to wait for next, after anything happened to a client. */
static void settle(struct client *c)
{
    do {
        take_requests(c);
        answer(c);
    } while (!c->closing && c->asked < PIPELINE && memchr(c->in, '\n', c->in_len));
    if (c->closing)
        return;
    if (c->ended && c->asked == 0 && !c->writing) {
        close_client(c);
        return;
    }
    bool read = !c->ended && c->asked < PIPELINE;
    if (read == c->reading)
        return;
    c->reading = read;
    if (!read)
        uv_read_stop((uv_stream_t *)&c->tcp);
    else if (uv_read_start((uv_stream_t *)&c->tcp, on_room, on_read) < 0)
        close_client(c);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct client *c = status < 0 ? NULL : calloc(1, sizeof(*c));
    if (!c)
        return;
    check(uv_tcp_init(loop, &c->tcp), "uv_tcp_init");
    c->tcp.data = c;
    c->last = &c->first;
    if (uv_accept(server, (uv_stream_t *)&c->tcp) < 0) {
        close_client(c);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    n_clients++;
    settle(c);
}

/* ---- The server ----------------------------------------------------------------------------------------------- */

static void on_signal(uv_signal_t *signal, int number)
{
    (void)signal;
    (void)number;
    uv_stop(loop);
}

static void open_listener(int port)
{
    struct sockaddr_in addr;
    int len = sizeof(addr);
    check(uv_ip4_addr("127.0.0.1", port, &addr), "address");
    check(uv_tcp_init(loop, &listener), "uv_tcp_init");
    check(uv_tcp_bind(&listener, (struct sockaddr *)&addr, 0), "bind");
    check(uv_listen((uv_stream_t *)&listener, SOMAXCONN, on_connection), "listen");
    check(uv_tcp_getsockname(&listener, (struct sockaddr *)&addr, &len), "getsockname");
    printf("listening on 127.0.0.1:%u\n", ntohs(addr.sin_port));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    int port = 0;
    bool every_byte = false, quiet = false;
    char workers[32];
    snprintf(workers, sizeof workers, "%ld", cpus < 1 ? 1 : cpus);
    for (int opt; (opt = getopt(argc, argv, "p:j:wq")) != -1;) {
        if (opt == '?') {
            fputs("usage: uvserver [-p PORT] [-j WORKERS] [-w] [-q]\n", stderr);
            return 2;
        }
        if (opt == 'p')
            port = atoi(optarg);
        if (opt == 'j')
            snprintf(workers, sizeof workers, "%s", optarg);
        every_byte |= opt == 'w';
        quiet |= opt == 'q';
    }
    setenv("UV_THREADPOOL_SIZE", workers, 1);
    word_count_init(every_byte);
    loop = uv_default_loop();
    for (int i = 0; i < 2; i++) {
        check(uv_signal_init(loop, &signals[i]), "uv_signal_init");
        check(uv_signal_start(&signals[i], on_signal, i ? SIGTERM : SIGINT), "uv_signal_start");
    }
    open_listener(port);
    uv_run(loop, UV_RUN_DEFAULT);
    if (!quiet)
        printf("%" PRIu64 " requests (%" PRIu64 " errors) of %" PRIu64 " clients\n", n_requests, n_errors, n_clients);
    return 0;
}
