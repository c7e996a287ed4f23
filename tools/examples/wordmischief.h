/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef WORDMISCHIEF_H
#define WORDMISCHIEF_H

/* Clients that misbehave. Each returns NULL if the server took it as it should, or else what it did wrong. */

#include <poll.h>
#include <stdint.h>

#include "wordcall.h"

#define MISCHIEF_LINE 16384

/* The server, and a file with the line that wc prints for it. */
struct victim {
    unsigned port;
    const char *path, *line;
};

/* One line less to come; NULL if it begins as it should. */
static inline const char *expect(FILE *call, const char *begin)
{
    char line[MISCHIEF_LINE];

    if (!fgets(line, sizeof(line), call))
        return "a reply is missing";
    return strncmp(line, begin, strlen(begin)) == 0 ? NULL : "a reply is wrong";
}

static inline const char *expect_right(FILE *call, const struct victim *v)
{
    char line[MISCHIEF_LINE];

    snprintf(line, sizeof(line), "%s\n", v->line);
    return expect(call, line);
}

static inline const char *expect_end(FILE *call)
{
    const char *wrong = fgetc(call) != EOF ? "more than the replies" : ferror(call) ? "not closed cleanly" : NULL;

    fclose(call);
    return wrong;
}

/* Bytes of every kind, in lines none of which could be a path. */
static inline const char *send_rubbish(const struct victim *v)
{
    static uint64_t state = 88172645463325252;
    FILE *call = word_connect(v->port);
    const char *wrong = call ? NULL : "no connection";
    char bytes[4096];
    unsigned lines = 0;

    for (size_t i = 0; i < sizeof(bytes); i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes[i] = i == 0 || i == sizeof(bytes) - 2 || bytes[i - 1] == '\n' ? '\0' : (char)state;
        if (i == sizeof(bytes) - 1)
            bytes[i] = '\n';
        lines += bytes[i] == '\n';
    }
    if (!call || !word_send(call, bytes, sizeof(bytes)))
        return "no connection";
    shutdown(fileno(call), SHUT_WR);
    while (!wrong && lines-- > 0)
        wrong = expect(call, "error: ?");
    return wrong ? fclose(call), wrong : expect_end(call);
}

/* A line without end, or nearly so. What comes after it counts again. */
static inline const char *send_endless_line(const struct victim *v)
{
    FILE *call = word_connect(v->port);
    const char *wrong;
    char bytes[10000], path[PATH_MAX + 2];
    int len = snprintf(path, sizeof(path), "\n%s\n", v->path);

    memset(bytes, 'a', sizeof(bytes));
    for (int i = 0; i < 50; i++)
        if (!call || !word_send(call, bytes, sizeof(bytes)))
            return "no connection";
    word_send(call, path, (size_t)len);
    shutdown(fileno(call), SHUT_WR);
    wrong = expect(call, "error: aaa");
    if (!wrong)
        wrong = expect_right(call, v);
    return wrong ? fclose(call), wrong : expect_end(call);
}

/* Asks for much, and leaves in the middle of a request: politely or by resetting the connection. */
static inline const char *vanish(const struct victim *v, bool reset)
{
    FILE *call = word_connect(v->port);
    struct linger linger = {.l_onoff = reset};
    char path[PATH_MAX + 2];
    int len = snprintf(path, sizeof(path), "%s\n", v->path);

    if (!call)
        return "no connection";
    for (int i = 0; i < 50; i++)
        word_send(call, path, (size_t)len);
    word_send(call, path, (size_t)len / 2);
    setsockopt(fileno(call), SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    fclose(call);
    return NULL;
}

/* Asks, says that it has no more to say, and only then listens: that is fair, and gets every answer. */
static inline const char *close_half(const struct victim *v)
{
    FILE *call = word_connect(v->port);
    const char *wrong = call ? NULL : "no connection";
    char path[PATH_MAX + 2];
    int len = snprintf(path, sizeof(path), "%s\n", v->path);

    if (!call)
        return "no connection";
    for (int i = 0; i < 200; i++)
        word_send(call, path, (size_t)len);
    word_send(call, path, (size_t)len / 2);
    shutdown(fileno(call), SHUT_WR);
    for (int i = 0; i < 200 && !wrong; i++)
        wrong = expect_right(call, v);
    if (!wrong)
        wrong = expect(call, "error: ");
    return wrong ? fclose(call), wrong : expect_end(call);
}

/* Asks and asks and never reads, until the server has stopped reading too. Then it is to be reconciled, or closed. */
struct glutton {
    FILE *call;
    size_t asked, rest; /* requests, the last of which lacks so many bytes */
};

enum { GLUTTON_LINE = 4000, GLUTTON_MOST = 100 * 1000 };

static inline const char *gorge(struct glutton *g, const struct victim *v)
{
    static char line[GLUTTON_LINE];
    struct pollfd full = {.events = POLLOUT};

    memset(line, 'a', sizeof(line));
    memcpy(line, "/nowhere/", 9);
    line[sizeof(line) - 1] = '\n';
    g->call = word_connect(v->port);
    if (!g->call)
        return "no connection";
    full.fd = fileno(g->call);
    g->asked = g->rest = 0;
    while (g->asked < GLUTTON_MOST) {
        size_t from = g->rest ? sizeof(line) - g->rest : 0;
        ssize_t n = send(full.fd, line + from, sizeof(line) - from, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n > 0) {
            g->asked += from == 0;
            g->rest = sizeof(line) - from - (size_t)n;
        } else if (errno != EAGAIN) {
            return "thrown out";
        } else if (poll(&full, 1, 300) == 0) {
            return NULL;
        }
    }
    return "everything was taken, and nothing read";
}

static inline const char *reconcile(struct glutton *g)
{
    const char *wrong = NULL;

    shutdown(fileno(g->call), SHUT_WR);
    for (size_t i = 0; i < g->asked && !wrong; i++)
        wrong = expect(g->call, "error: /nowhere/");
    return wrong ? fclose(g->call), wrong : expect_end(g->call);
}

#endif
