/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include <spool.h>

#include "source.h"

#include <string.h>
#include <sys/signalfd.h>

/* A signalfd, joined, since it cannot be made readable by a close. */
struct signals {
    struct spool__source source;
    int32_t signalfd, end;
};

/* More are never read at once: so the bytes can be counted. */
#define BATCH_MAX 4096

#define SIGNAL_BIT(signo) (UINT64_C(1) << ((signo) - 1))

/* ---- Whether every thread blocks them ------------------------------------------------------------------------- */

/* As getdents64(2) has it. */
struct entry {
    uint64_t inode;
    int64_t next;
    uint16_t bytes;
    uint8_t type;
    char name[];
};

/* What is read of /proc/self/task/TID/status, a line at a time: their beginnings are enough. */
struct status {
    char line[32];
    size_t len;
    bool dead;
    uint64_t blocked;
};

static uint64_t hex(const char *s)
{
    uint64_t value = 0;
    for (;; s++) {
        if (*s >= '0' && *s <= '9')
            value = value << 4 | (uint64_t)(*s - '0');
        else if (*s >= 'a' && *s <= 'f')
            value = value << 4 | (uint64_t)(*s - 'a' + 10);
        else
            return value;
    }
}

static void status_line(struct status *st)
{
    st->line[st->len] = '\0';
    st->len = 0;
    if (strncmp(st->line, "State:\t", 7) == 0)
        st->dead = st->line[7] == 'Z' || st->line[7] == 'X';
    else if (strncmp(st->line, "SigBlk:\t", 8) == 0)
        st->blocked = hex(st->line + 8);
}

static void status_bytes(struct status *st, const char *buf, int n)
{
    for (int i = 0; i < n; i++)
        if (buf[i] == '\n')
            status_line(st);
        else if (st->len + 1 < sizeof st->line)
            st->line[st->len++] = buf[i];
}

/* Which signals of the set the thread of that status file does not block; none if it has ended. */
static int find_unblocked(int tasks, const char *path, uint64_t set, uint64_t *ret)
{
    char buf[1024];
    struct status st = {.len = 0};
    int fd = spool__sys_open(tasks, path, 0);
    *ret = 0;
    if (fd < 0)
        return fd == -ENOENT || fd == -ESRCH ? 0 : fd;
    int n;
    while ((n = spool__sys_read(fd, buf, sizeof buf)) > 0)
        status_bytes(&st, buf, n);
    (void)spool__sys_close(fd);
    if (n == 0 && !st.dead)
        *ret = set & ~st.blocked;
    return n == -ESRCH ? 0 : n;
}

/* 0, -EBUSY, or why it cannot be told. */
static int check_thread(int tasks, const char *tid, uint64_t set)
{
    char path[32];
    size_t len = strlen(tid);
    if (len + sizeof "/status" > sizeof path)
        return -EINVAL;
    memcpy(path, tid, len);
    memcpy(path + len, "/status", sizeof "/status");
    uint64_t unblocked;
    int r = find_unblocked(tasks, path, set, &unblocked);
    /* One that ended while its file was made looks as if it blocked nothing. A file made later says that it is dead. */
    if (r == 0 && unblocked)
        r = find_unblocked(tasks, path, set, &unblocked);
    return r == 0 && unblocked ? -EBUSY : r;
}

static int check_threads(int tasks, uint64_t set)
{
    _Alignas(struct entry) char buf[1024];
    int n;
    while ((n = spool__sys_getdents(tasks, buf, sizeof buf)) > 0)
        for (int at = 0; at < n;) {
            const struct entry *e = (const struct entry *)(void *)(buf + at);
            at += e->bytes;
            int r = e->name[0] == '.' ? 0 : check_thread(tasks, e->name, set);
            if (r < 0)
                return r;
        }
    return n;
}

static int check_blocked(uint64_t set)
{
    if (set & ~spool__sys_blocked())
        return -EBUSY;
    int tasks = spool__sys_open(AT_FDCWD, "/proc/self/task", O_DIRECTORY);
    int r = tasks < 0 ? tasks : check_threads(tasks, set);
    if (tasks >= 0)
        (void)spool__sys_close(tasks);
    /* Without /proc, or where it is hidden, the calling thread has to stand for all. */
    return r == -EBUSY || r == -EMFILE || r == -ENFILE || r == -ENOMEM ? r : 0;
}

/* The set as the kernel has it, without those that cannot be blocked and those that the C library keeps for itself. */
static uint64_t kernel_set(const sigset_t *mask)
{
    uint64_t set = 0;
    for (int signo = 1; signo <= SIGRTMAX; signo++)
        if ((signo < 32 || signo >= SIGRTMIN) && signo != SIGKILL && signo != SIGSTOP && sigismember(mask, signo) == 1)
            set |= SIGNAL_BIT(signo);
    return set;
}

/* ---- The channel ---------------------------------------------------------------------------------------------- */

static ssize_t signal_get(struct spool__source *src, void *ret_elems, size_t n)
{
    const struct signals *s = (struct signals *)src;
    if (src->is_shut)
        return -EPIPE;
    if (n > BATCH_MAX)
        n = BATCH_MAX;
    int r = spool__sys_read(s->signalfd, ret_elems, n * sizeof(struct signalfd_siginfo));
    return r < 0 ? -EAGAIN : r / (int)sizeof(struct signalfd_siginfo);
}

static size_t signal_len(struct spool__source *src)
{
    const struct signals *s = (struct signals *)src;
    return !src->is_shut && spool__sys_poll(s->signalfd, EPOLLIN) != 0;
}

static bool signal_ready(struct spool__source *src)
{
    return src->is_shut || signal_len(src);
}

/*
 * A signal to one thread makes the signalfd readable for that thread alone. In an epoll set, which is common to all,
 * the first one to look would find it unreadable and take it off the list; so threads look at the signalfd themselves,
 * all of them at each signal, and at what tells the end.
 */
static int signal_park(struct spool__source *src, int64_t deadline)
{
    const struct signals *s = (struct signals *)src;
    struct pollfd fds[2] = {{.fd = s->signalfd, .events = POLLIN}, {.fd = s->end, .events = POLLIN}};
    return spool__source_poll(fds, 2, deadline);
}

static void signal_shut(struct spool__source *src)
{
    spool__source_end(src, ((struct signals *)src)->end);
}

static void signal_destroy(struct spool__source *src, void (*drop)(void *elem))
{
    const struct signals *s = (struct signals *)src;
    (void)drop; /* what is pending stays so */
    (void)spool__sys_close(src->fd);
    (void)spool__sys_close(s->end);
    (void)spool__sys_close(s->signalfd);
}

static const struct spool__source_ops signal_ops = {
    .name = "signal",
    .parks_at = offsetof(struct signals, signalfd),
    .bytes = sizeof(struct signals),
    .elem_size = sizeof(struct signalfd_siginfo),
    .get = signal_get,
    .ready = signal_ready,
    .shut = signal_shut,
    .destroy = signal_destroy,
    .len = signal_len,
    .park = signal_park,
};

int spool_signal(spool_chan **ret, const sigset_t *mask)
{
    spool_chan *chan;
    struct spool__source *src;
    uint64_t set = ret && mask ? kernel_set(mask) : 0;
    if (set == 0)
        return -EINVAL;
    int r = check_blocked(set);
    if (r < 0)
        return r;
    int fd = spool__sys_signalfd(set);
    if (fd < 0)
        return fd;
    r = spool__chan_new_source(&chan, &src, &signal_ops, __builtin_return_address(0));
    if (r >= 0) {
        struct signals *s = (struct signals *)src;
        s->signalfd = fd;
        src->pid = spool__sys_getpid();
        r = src->fd = spool__source_join(fd, &s->end);
        if (r < 0)
            spool__chan_free_source(chan);
    }
    if (r < 0) {
        (void)spool__sys_close(fd);
        return r;
    }
    *ret = chan;
    return 0;
}
