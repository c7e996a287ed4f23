/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

/*
 * The registry is a variable of the library, so it lies in writable memory that was mapped from a file, stripped or
 * static as the program may be. It tells itself by its first bytes and by the address of itself.
 */
static bool is_registry(pid_t pid, uintptr_t at)
{
    struct {
        char magic[sizeof spool__registry.magic];
        uintptr_t self;
    } head;
    return spool__sys_peek(pid, at, &head, sizeof head) == 0 && head.self == at &&
           memcmp(head.magic, spool__registry.magic, sizeof head.magic) == 0;
}

static int scan(pid_t pid, uintptr_t from, uintptr_t to, uintptr_t ret[REGISTRIES_MAX], int n)
{
    static _Alignas(16) char buf[65536];
    const size_t magic = sizeof spool__registry.magic;
    for (uintptr_t at = from; at < to; at += sizeof buf) {
        size_t bytes = to - at < sizeof buf ? to - at : sizeof buf;
        if (spool__sys_peek(pid, at, buf, bytes) < 0)
            continue;
        for (size_t i = 0; i + magic <= bytes && n < REGISTRIES_MAX; i += sizeof(uintptr_t))
            if (memcmp(buf + i, spool__registry.magic, magic) == 0 && is_registry(pid, at + i))
                ret[n++] = at + i;
    }
    return n;
}

int find_registries(pid_t pid, uintptr_t ret[REGISTRIES_MAX])
{
    char path[64], *line = NULL;
    size_t cap = 0;
    int n = 0;
    bool any = false;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "re");
    if (!maps)
        return errno == ENOENT ? -ESRCH : -errno;
    errno = 0;
    while (getline(&line, &cap, maps) > 0) {
        uintptr_t from, to;
        char perms[5];
        unsigned long inode;
        any = true;
        if (sscanf(line, "%lx-%lx %4s %*x %*s %lu", &from, &to, perms, &inode) == 4 && perms[0] == 'r' &&
            perms[1] == 'w' && inode != 0)
            n = scan(pid, from, to, ret, n);
    }
    int err = errno;
    free(line);
    fclose(maps);
    /* Memory that may not be read, though its map may: then nothing was found in it. */
    char byte;
    uintptr_t at = 0;
    if (n == 0 && any && spool__sys_peek(pid, at, &byte, 1) == -EPERM)
        return -EPERM;
    if (!any)
        return err == EACCES || err == EPERM ? -EPERM : 0;
    return n;
}

const char *process_name(pid_t pid, char *buf, size_t bytes)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f || !fgets(buf, (int)bytes, f))
        snprintf(buf, bytes, "?");
    buf[strcspn(buf, "\n")] = '\0';
    if (f)
        fclose(f);
    return buf;
}

pid_t parse_pid(const char *arg)
{
    char *end;
    long pid = strtol(arg, &end, 10);
    if (end == arg || *end || pid <= 0 || pid > INT32_MAX)
        die("\"%s\" is not the number of a process", arg);
    return (pid_t)pid;
}

static int explain(pid_t pid, int err, uint32_t version, char *why, size_t bytes)
{
    char name[32];
    process_name(pid, name, sizeof name);
    if (err == -ESRCH)
        snprintf(why, bytes, "no process %d", (int)pid);
    else if (err == -EPERM || err == -EACCES)
        snprintf(why, bytes,
                 "process %d (%s) may not be looked at: it is another user's, or has privileges, or "
                 "kernel.yama.ptrace_scope forbids it", (int)pid, name);
    else if (err == -EPROTO)
        snprintf(why, bytes,
                 "process %d (%s) uses spool %u.%u.%u as built otherwise than this command (%d.%d.%d): use the one that "
                 "came with it", (int)pid, name, version >> 16, version >> 8 & 255, version & 255, SPOOL_VERSION_MAJOR,
                 SPOOL_VERSION_MINOR, SPOOL_VERSION_PATCH);
    else
        snprintf(why, bytes, "process %d (%s): %s", (int)pid, name, strerror(-err));
    return err;
}

/*
 * Asks each processor that one of the threads was last on for the time there, and comes back. The yield is for the one
 * that it is on already: a thread's own time is brought up to date when it gives up the processor.
 */
static void look_at_clocks(struct spool__look *l)
{
    cpu_set_t before, asked;
    if (sched_getaffinity(0, sizeof before, &before) < 0)
        return;
    CPU_ZERO(&asked);
    for (int i = 0; i < l->n_threads; i++) {
        const struct spool__seen_thread *t = &l->threads[i];
        if (t->cpu < 0 || t->cpu >= CPU_SETSIZE || CPU_ISSET(t->cpu, &asked))
            continue;
        CPU_SET(t->cpu, &asked);
        cpu_set_t there;
        CPU_ZERO(&there);
        CPU_SET(t->cpu, &there);
        if (sched_setaffinity(0, sizeof there, &there) < 0)
            continue;
        (void)sched_yield();
        spool__look_at_clock(l);
    }
    (void)sched_setaffinity(0, sizeof before, &before);
}

int try_look_at(pid_t pid, struct spool__look ret[REGISTRIES_MAX], char *why, size_t bytes)
{
    uintptr_t registries[REGISTRIES_MAX];
    int n = find_registries(pid, registries), looks = 0;
    if (n < 0)
        return explain(pid, n, 0, why, bytes);
    if (n == 0) {
        char name[32];
        snprintf(why, bytes, "no spool in process %d (%s)", (int)pid, process_name(pid, name, sizeof name));
        return -ENOENT;
    }
    for (int i = 0; i < n; i++) {
        int r = spool__look(&ret[looks], pid, registries[i]);
        if (r == 0) {
            look_at_clocks(&ret[looks++]);
            continue;
        }
        uint32_t version = ret[looks].version;
        free_looks(ret, looks);
        /* It was there just now. */
        return explain(pid, r == -EFAULT ? -ESRCH : r, version, why, bytes);
    }
    return looks;
}

int look_at(pid_t pid, struct spool__look ret[REGISTRIES_MAX])
{
    char why[512];
    int n = try_look_at(pid, ret, why, sizeof why);
    if (n < 0)
        die("%s", why);
    return n;
}

void free_looks(struct spool__look *looks, int n)
{
    for (int i = 0; i < n; i++)
        spool__look_free(&looks[i]);
}
