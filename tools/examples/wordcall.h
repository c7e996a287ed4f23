/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef WORDCALL_H
#define WORDCALL_H

/* For programs that drive the word server: starts one, calls it, stops it. */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* No reply takes so many seconds. */
#define WORD_DEADLINE 60

struct word_server {
    pid_t pid;
    FILE *out;
    unsigned port;
};

/* The server's program lies beside the caller's, or one folder further up. */
static inline char *word_server_path(void)
{
    static char path[PATH_MAX + sizeof("/wordserver")];
    ssize_t len = readlink("/proc/self/exe", path, PATH_MAX);
    char *slash = len > 0 ? memrchr(path, '/', (size_t)len) : NULL;

    for (int i = 0; slash && i < 2; i++) {
        strcpy(slash, "/wordserver");
        if (access(path, X_OK) == 0)
            break;
        slash = memrchr(path, '/', (size_t)(slash - path));
    }
    return path;
}

/* Starts a program that ends up as a server and waits until it listens. It does not outlive its parent. */
static inline bool word_server_start(struct word_server *server, char *const argv[])
{
    char line[64];
    int out[2];

    if (pipe2(out, O_CLOEXEC) < 0)
        return false;
    server->pid = fork();
    if (server->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        dup2(out[1], STDOUT_FILENO);
        execvp(argv[0], argv);
        fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    close(out[1]);
    server->out = fdopen(out[0], "r");
    if (server->pid > 0 && server->out && fgets(line, sizeof(line), server->out) &&
        sscanf(line, "listening on 127.0.0.1:%u", &server->port) == 1)
        return true;
    if (server->pid > 0)
        waitpid(server->pid, NULL, 0);
    fclose(server->out);
    return false;
}

/* Waits for its end; what it said last is in said. Returns its exit status, or a negative signal. */
static inline int word_server_wait(struct word_server *server, char *said, int size)
{
    int status = 0;

    if (!fgets(said, size, server->out))
        said[0] = '\0';
    while (waitpid(server->pid, &status, 0) < 0 && errno == EINTR)
        ;
    fclose(server->out);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* Returns a stream to read replies from; requests go out by word_send. NULL if there is no connection. */
static inline FILE *word_connect(unsigned port)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    struct timeval deadline = {.tv_sec = WORD_DEADLINE};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return NULL;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof(deadline));
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
        return fdopen(fd, "r");
    close(fd);
    return NULL;
}

static inline bool word_send(FILE *call, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fileno(call), bytes, len, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR)
            return false;
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

#endif
