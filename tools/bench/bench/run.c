/* SPDX-License-Identifier: LGPL-3.0-or-later */

#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static _Noreturn void child(char *const argv[], const struct bench *b, int out)
{
    cpu_set_t one;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDONLY);
    dup2(null, 0);
    dup2(out, 1);
    dup2(b->log, 2);
    if (b->options.cpu >= 0) {
        CPU_ZERO(&one);
        CPU_SET(b->options.cpu, &one);
        if (sched_setaffinity(0, sizeof one, &one)) {
            printf("CPU %d: %s\n", b->options.cpu, strerror(errno));
            fflush(stdout);
            _exit(77);
        }
    }
    execv(argv[0], argv);
    _exit(127);
}

/* Reads until the other side closes; false if that takes too long. What is too much is read and dropped. */
static bool read_all(int fd, char *text, size_t size, int64_t deadline)
{
    size_t used = 0;
    char rest[4096];
    for (;;) {
        int64_t left = deadline - now_ms();
        struct pollfd p = { .fd = fd, .events = POLLIN };
        int n = left <= 0 ? 0 : poll(&p, 1, (int)left);
        if (n < 0 && errno != EINTR)
            die("poll", errno);
        if (n < 0)
            continue;
        if (!n)
            return false;
        bool full = used == size - 1;
        ssize_t got = full ? read(fd, rest, sizeof rest) : read(fd, text + used, size - 1 - used);
        if (got <= 0)
            return true;
        if (!full)
            used += (size_t)got;
        text[used] = 0;
    }
}

static bool wait_for(pid_t pid, int *status, int64_t deadline)
{
    while (waitpid(pid, status, WNOHANG) != pid) {
        if (now_ms() > deadline)
            return false;
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    }
    return true;
}

/* The last line that begins with prefix, or the first line if prefix is NULL. */
static void pick_line(char *ret, size_t size, const char *text, const char *prefix)
{
    const char *from = text;
    for (const char *p = text; prefix && p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
        if (!strncmp(p, prefix, strlen(prefix)))
            from = p;
    snprintf(ret, size, "%.*s", (int)strcspn(from, "\n"), from);
}

static void judge(struct output *ret, int status)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code == 0) {
        ret->outcome = RAN;
    } else if (code == 77) {
        ret->outcome = CANNOT;
        pick_line(ret->why, sizeof ret->why, ret->text, NULL);
    } else if (code == 1 && (!strncmp(ret->text, "wrong: ", 7) || strstr(ret->text, "\nwrong: "))) {
        ret->outcome = WRONG;
        pick_line(ret->why, sizeof ret->why, ret->text, "wrong: ");
    } else {
        ret->outcome = FAILED;
        if (code >= 0)
            snprintf(ret->why, sizeof ret->why, "exit status %d; see the log", code);
        else
            snprintf(ret->why, sizeof ret->why, "ended by signal %d (%s)", WTERMSIG(status),
                     strsignal(WTERMSIG(status)));
    }
}

void run(struct output *ret, char *const argv[], const struct bench *b, unsigned timeout_s)
{
    int pipe_fds[2], status = 0;
    int64_t deadline = now_ms() + (int64_t)timeout_s * 1000;
    *ret = (struct output){ .outcome = FAILED };
    if (pipe2(pipe_fds, O_CLOEXEC))
        die("pipe2", errno);
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        die("fork", errno);
    if (!pid)
        child(argv, b, pipe_fds[1]);
    setpgid(pid, pid);
    close(pipe_fds[1]);
    bool over = read_all(pipe_fds[0], ret->text, sizeof ret->text, deadline) && wait_for(pid, &status, deadline);
    if (!over) {
        kill(-pid, SIGKILL);
        waitpid(pid, &status, 0);
        ret->outcome = TIMED_OUT;
        snprintf(ret->why, sizeof ret->why, "not done after %u s", timeout_s);
    } else {
        judge(ret, status);
    }
    close(pipe_fds[0]);
}
