/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef WORDCLIENT_H
#define WORDCLIENT_H

/* One client of the word server: from bytes to requests and from answers to bytes. It never blocks and never fails:
 * when there is nothing more to be had from a client, it is "gone". */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "wordcount.h"

enum {
    LINE_LIMIT = 4096,              /* of a request; longer ones are refused */
    REPLY_LIMIT = LINE_LIMIT + 256, /* no reply is longer */
    PIPELINE = 32,                  /* requests of one client on their way at once */
};

/* Belongs to the worker between jobs and results, otherwise to the main thread. */
struct request {
    struct request *next; /* of the same client */
    struct client *client;
    bool answered;
    atomic_bool unwanted; /* the client is gone: no need to go on counting */
    const char *refused;  /* why it never became a job */
    struct word_count count;
    char path[];
};

struct client {
    struct client *next, **link; /* of all clients */
    struct client *next_turn;
    struct request *first, **last; /* in the order of the requests */
    unsigned asked;                /* how many they are */
    int fd, in_case, out_case;
    bool in_on, out_on;
    bool unread;   /* input may hold a whole line */
    bool in_turn;  /* waits for its turn to be looked at */
    bool skipping; /* the rest of an over-long line */
    bool ended;    /* the other side has closed its half */
    bool over;     /* no more is read: it ended, or the server stops */
    bool shut;     /* our half is closed */
    bool gone;
    size_t in_len, out_len;
    int64_t moved; /* when it last made progress */
    char in[2 * LINE_LIMIT], out[4 * REPLY_LIMIT];
};

/* ---- From bytes to requests ----------------------------------------------------------------------------------- */

static struct request *new_request(struct client *c, const char *path, size_t len)
{
    struct request *q = calloc(1, sizeof(*q) + len + 1);

    if (!q) {
        c->gone = true;
        return NULL;
    }
    memcpy(q->path, path, len);
    q->client = c;
    *c->last = q;
    c->last = &q->next;
    c->asked++;
    return q;
}

/* A request that is answered at once; what can be shown of it is shown. */
static struct request *new_refusal(struct client *c, const char *line, size_t len, const char *reason)
{
    size_t shown = len < 60 ? len : 60;
    struct request *q = new_request(c, line, shown);

    if (!q)
        return NULL;
    for (size_t i = 0; i < shown; i++)
        if (!isprint((unsigned char)q->path[i]))
            q->path[i] = '?';
    q->refused = reason;
    q->answered = true;
    return q;
}

static struct request *read_line(struct client *c, const char *line, size_t len)
{
    if (len > 0 && line[len - 1] == '\r')
        len--;
    if (len > LINE_LIMIT)
        return new_refusal(c, line, len, "Line too long");
    for (size_t i = 0; i < len; i++)
        if (iscntrl((unsigned char)line[i]))
            return new_refusal(c, line, len, "Not a path");
    return new_request(c, line, len);
}

/* Takes the first request from the input; NULL when more must be read first. */
static struct request *take_request(struct client *c)
{
    char *end = memchr(c->in, '\n', c->in_len);
    size_t used = end ? (size_t)(end - c->in) + 1 : c->in_len;
    struct request *q = NULL;

    c->unread = end && used < c->in_len;
    if (c->skipping)
        c->skipping = !end;
    else if (end)
        q = read_line(c, c->in, used - 1);
    else if (used > LINE_LIMIT) {
        q = new_refusal(c, c->in, used, "Line too long");
        c->skipping = true;
    } else if (c->over && used > 0)
        q = new_refusal(c, c->in, used, "Unfinished line");
    else
        return NULL;
    c->in_len -= used;
    memmove(c->in, c->in + used, c->in_len);
    return q;
}

static void end_input(struct client *c)
{
    c->over = true;
    c->unread = c->in_len > 0;
}

/* Returns whether there was anything. */
static bool read_client(struct client *c)
{
    ssize_t n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n < 0 || (n == 0 && c->shut)) {
        c->gone = true;
    } else if (n == 0) {
        c->ended = true;
        end_input(c);
    } else if (!c->shut) { /* or else it came too late */
        c->in_len += (size_t)n;
        c->unread = true;
    }
    return true;
}

/* ---- From answers to bytes ------------------------------------------------------------------------------------ */

static size_t print_reply(const struct request *q, char *to, size_t room)
{
    if (q->refused)
        return (size_t)snprintf(to, room, "error: %s: %s\n", q->path, q->refused);
    return word_count_print(&q->count, q->path, to, room);
}

/* Moves the answers whose turn it is to the output, and the output to the socket, as far as they go. */
static void write_client(struct client *c, int64_t now)
{
    for (;;) {
        struct request *q;
        ssize_t n;

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
        n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);
        if (n < 0) {
            c->gone |= errno != EAGAIN && errno != EINTR;
            return;
        }
        c->out_len -= (size_t)n;
        memmove(c->out, c->out + n, c->out_len);
        c->moved = now;
    }
}

#endif
