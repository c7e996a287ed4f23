/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include <string.h>

#include "look.h"

/* ---- Files of /proc ------------------------------------------------------------------------------------------- */

/* As the kernel writes them. */
struct entry {
    uint64_t ino;
    int64_t offset;
    unsigned short bytes;
    unsigned char type;
    char name[];
};

static char *append(char *to, const char *end, const char *s)
{
    while (*s && to < end - 1)
        *to++ = *s++;
    *to = '\0';
    return to;
}

static char *append_number(char *to, const char *end, unsigned long n)
{
    char digits[24], *at = digits + sizeof digits;
    *--at = '\0';
    do
        *--at = (char)('0' + n % 10);
    while (n /= 10);
    return append(to, end, at);
}

static int open_task(pid_t pid, pid_t tid, const char *file, int flags)
{
    char path[64], *to = path;
    const char *end = path + sizeof path;
    to = append(to, end, "/proc/");
    to = append_number(to, end, (unsigned long)pid);
    to = append(to, end, "/task/");
    if (tid) {
        to = append_number(to, end, (unsigned long)tid);
        (void)append(append(to, end, "/"), end, file);
    }
    return spool__sys_open(AT_FDCWD, path, flags);
}

static int read_task(pid_t pid, pid_t tid, const char *file, char *buf, size_t bytes)
{
    int fd = open_task(pid, tid, file, 0);
    if (fd < 0)
        return fd;
    size_t len = 0;
    int n;
    while (len < bytes - 1 && (n = spool__sys_read(fd, buf + len, bytes - 1 - len)) > 0)
        len += (size_t)n;
    (void)spool__sys_close(fd);
    buf[len] = '\0';
    return (int)len;
}

static uint64_t number(const char **s, unsigned base)
{
    uint64_t value = 0;
    for (;; (*s)++) {
        char c = **s;
        if (c >= '0' && c <= '9')
            value = value * base + (uint64_t)(c - '0');
        else if (base == 16 && c >= 'a' && c <= 'f')
            value = value * base + (uint64_t)(c - 'a' + 10);
        else if (base != 16 || c != 'x')
            return value;
    }
}

/* ---- What a thread waits for ---------------------------------------------------------------------------------- */

#define N_ARGS 6

/* A pthread_join sleeps until the kernel clears the word in which glibc and musl keep the number of the thread. */
static bool is_join(const struct spool__look *l, const uint64_t args[N_ARGS], pid_t *ret)
{
    uint32_t word;
    for (int i = 0; i < l->n_threads; i++)
        if ((uint64_t)l->threads[i].tid == args[2] &&
            spool__sys_peek(l->pid, (uintptr_t)args[0], &word, sizeof word) == 0 && word == args[2]) {
            *ret = l->threads[i].tid;
            return true;
        }
    return false;
}

static void see_futex(const struct spool__look *l, const uint64_t args[N_ARGS], struct spool__seen_thread *t)
{
    pid_t tid;
    uintptr_t word = (uintptr_t)args[0];
    t->is_timed = args[3] != 0;
    if (word == 0 || spool__look_find(l, word, -1, t))
        return;
    if (is_join(l, args, &tid)) {
        t->wait = SPOOL__JOINS;
        t->what = tid;
    }
}

static void see_poll(const struct spool__look *l, const uint64_t args[N_ARGS], struct spool__seen_thread *t)
{
    struct pollfd first;
    t->is_timed = args[2] != 0;
    if (args[1] > 0 && args[1] <= 2 && spool__sys_peek(l->pid, (uintptr_t)args[0], &first, sizeof first) == 0)
        (void)spool__look_find(l, 0, first.fd, t);
}

static void see_call(struct spool__look *l, const char *s, struct spool__seen_thread *t)
{
    uint64_t args[N_ARGS];
    t->wait = SPOOL__RUNS;
    /* "running", or "-1 ...": stopped, or in a fault. */
    if (*s < '0' || *s > '9')
        return;
    t->wait = SPOOL__IN_CALL;
    t->call = (long)number(&s, 10);
    for (int i = 0; i < N_ARGS; i++) {
        if (*s == ' ')
            s++;
        args[i] = number(&s, 16);
    }
    switch (t->call) {
#ifdef SYS_futex
    case SYS_futex:
#endif
#ifdef SYS_futex_time64
    case SYS_futex_time64:
#endif
        see_futex(l, args, t);
        break;
#ifdef SYS_epoll_wait
    case SYS_epoll_wait:
#endif
    case SYS_epoll_pwait:
        t->is_timed = (int32_t)args[3] >= 0;
        (void)spool__look_find(l, 0, (int)args[0], t);
        break;
#ifdef SYS_epoll_pwait2
    case SYS_epoll_pwait2:
        t->is_timed = args[3] != 0;
        (void)spool__look_find(l, 0, (int)args[0], t);
        break;
#endif
#ifdef SYS_ppoll
    case SYS_ppoll:
#endif
#ifdef SYS_ppoll_time64
    case SYS_ppoll_time64:
#endif
        see_poll(l, args, t);
        break;
    default:
        break;
    }
}

/* ---- Since when ----------------------------------------------------------------------------------------------- */

/* What ran_ns is of that thread. */
static int64_t last_ran(pid_t pid, pid_t tid)
{
    char buf[512];
    if (read_task(pid, tid, "sched", buf, sizeof buf) <= 0)
        return -1;
    const char *s = strstr(buf, "se.exec_start");
    s = s ? strchr(s, ':') : NULL;
    if (!s)
        return -1;
    for (s++; *s == ' ';)
        s++;
    int64_t ms = (int64_t)number(&s, 10);
    return ms * 1000000 + (*s == '.' ? (s++, (int64_t)number(&s, 10)) : 0);
}

/* The processor that the thread is on, or was on last; -1 where the kernel does not say. */
static int last_processor(pid_t pid, pid_t tid)
{
    char buf[1024];
    /* The second field is a name in brackets, which may hold blanks and brackets. */
    const char *s = read_task(pid, tid, "stat", buf, sizeof buf) > 0 ? strrchr(buf, ')') : NULL;
    for (int field = 2; s && field < 39; field++)
        s = strchr(s + 1, ' ');
    if (!s)
        return -1;
    s++;
    return (int)number(&s, 10);
}

void spool__look_at_clock(struct spool__look *l)
{
    pid_t pid = spool__sys_getpid(), tid = spool__sys_gettid();
    int cpu = last_processor(pid, tid);
    int64_t now = last_ran(pid, tid);
    if (now < 0 || last_processor(pid, tid) != cpu)
        return;
    for (int i = 0; i < l->n_threads; i++) {
        struct spool__seen_thread *t = &l->threads[i];
        if (t->cpu == cpu && t->ran_ns >= 0)
            t->asleep_ns = now > t->ran_ns ? now - t->ran_ns : 0;
    }
}

/* Whether it could be told how often the thread got a processor. */
static bool see_times(const struct spool__look *l, struct spool__seen_thread *t)
{
    char buf[128];
    t->turns = 0;
    bool is_counted = read_task(l->pid, t->tid, "schedstat", buf, sizeof buf) > 0;
    if (is_counted) {
        const char *s = buf;
        for (int i = 0; i < 2; i++) {
            (void)number(&s, 10);
            s += *s == ' ';
        }
        t->turns = number(&s, 10);
    }
    t->cpu = last_processor(l->pid, t->tid);
    t->ran_ns = last_ran(l->pid, t->tid);
    t->asleep_ns = -1;
    return is_counted;
}

/* ---- All threads ---------------------------------------------------------------------------------------------- */

static int read_tids(struct spool__look *l, int tasks)
{
    _Alignas(struct entry) char buf[2048];
    int n, count = 0;
    while ((n = spool__sys_getdents(tasks, buf, sizeof buf)) > 0)
        for (int at = 0; at < n;) {
            const struct entry *e = (const struct entry *)(void *)(buf + at);
            const char *s = e->name;
            at += e->bytes;
            if (*s == '.')
                continue;
            if (l->threads && count < l->cap_threads)
                l->threads[count].tid = (pid_t)number(&s, 10);
            count++;
        }
    return n < 0 ? n : count;
}

/* How many there are; none that are seen where there is no /proc, or no descriptor to read it with. */
static int list_tids(struct spool__look *l)
{
    /* Opened anew for each pass: a folder of /proc is read once. */
    int tasks = open_task(l->pid, 0, NULL, O_DIRECTORY);
    int n = tasks < 0 ? tasks : read_tids(l, tasks);
    if (tasks >= 0)
        (void)spool__sys_close(tasks);
    if (n < 0)
        l->is_blind = true;
    return n < 0 ? 0 : n;
}

int spool__look_at_threads(struct spool__look *l)
{
    l->is_blind = false;
    int n = list_tids(l);
    if (n > l->cap_threads) {
        if (l->threads)
            spool__sys_unmap(l->threads, (size_t)l->cap_threads * sizeof *l->threads + 1);
        l->cap_threads = n + 64;
        l->threads = spool__sys_map((size_t)l->cap_threads * sizeof *l->threads + 1);
        if (!l->threads) {
            l->cap_threads = l->n_threads = 0;
            return -ENOMEM;
        }
        n = list_tids(l);
    }
    l->n_threads = n < l->cap_threads ? n : l->cap_threads;
    for (int i = 0; i < l->n_threads; i++) {
        struct spool__seen_thread *t = &l->threads[i];
        char buf[256];
        pid_t before = t->known_tid;
        uint64_t turns = t->turns;
        *t = (struct spool__seen_thread){.tid = t->tid, .known_tid = t->tid, .what = -1};
        int len = read_task(l->pid, t->tid, "comm", t->name, sizeof t->name);
        if (len > 0 && t->name[len - 1] == '\n')
            t->name[len - 1] = '\0';
        bool is_counted = see_times(l, t);
        t->slept = is_counted && before == t->tid && t->turns == turns;
        len = read_task(l->pid, t->tid, "syscall", buf, sizeof buf);
        if (len <= 0)
            l->is_blind = true;
        bool is_me = l->pid == spool__sys_getpid() && t->tid == spool__sys_gettid();
        see_call(l, len > 0 && !is_me ? buf : "", t);
    }
    spool__look_at_clock(l);
    return 0;
}
