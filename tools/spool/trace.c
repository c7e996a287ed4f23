/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

/*
 * Reads what strace writes and says in the words of channels what it says of futexes, eventfds and epoll sets. The names
 * come from looks into the process, taken anew when something is met that the last one does not know.
 */

#define THREADS_MAX 1024
#define PROCESSES_MAX 16
/* Looks may take a tenth of the time; half of it where a name is missing. */
#define LOOK_SHARE 10
#define HURRIED_SHARE 2

static struct process {
    pid_t pid;
    struct spool__look looks[REGISTRIES_MAX];
    int n;
    double at, took; /* the last look */
} processes[PROCESSES_MAX];
static unsigned n_processes;

static struct thread {
    pid_t tid;
    struct process *process;
    char name[16];
    char begun[512];    /* a call that is not finished: its text */
    uintptr_t sleeps_on; /* a futex */
    unsigned long since; /* the order in which they went to sleep */
    uintptr_t woken_on;  /* what it slept on until just now, if nobody was seen so far who woke it */
} threads[THREADS_MAX];
static unsigned n_threads;
static unsigned long n_sleeps;

static FILE *out;
static bool json;

/* ---- Processes and threads ------------------------------------------------------------------------------------ */

static double now(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void read_name(struct thread *t)
{
    char path[64], name[16];
    snprintf(path, sizeof path, "/proc/%d/task/%d/comm", (int)t->process->pid, (int)t->tid);
    FILE *f = fopen(path, "re");
    if (f && fgets(name, sizeof name, f)) {
        name[strcspn(name, "\n")] = '\0';
        memcpy(t->name, name, sizeof name);
    }
    if (f)
        fclose(f);
}

static void look_again(struct process *p, double share)
{
    char why[512];
    double at = now();
    if (at - p->at < share * p->took)
        return;
    struct spool__look looks[REGISTRIES_MAX];
    int n = try_look_at(p->pid, looks, why, sizeof why);
    p->at = now();
    p->took = p->at - at;
    /* It may be about to end, or not have begun: what is known of it still holds. */
    if (n <= 0)
        return;
    free_looks(p->looks, p->n);
    memcpy(p->looks, looks, sizeof looks);
    p->n = n;
}

/* One that has gone already is taken for a thread of the first. */
static pid_t process_of(pid_t tid)
{
    char path[64], line[128];
    int pid = n_processes > 0 ? processes[0].pid : tid;
    snprintf(path, sizeof path, "/proc/%d/status", (int)tid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "Tgid: %d", &pid) == 1)
            break;
    if (f)
        fclose(f);
    return (pid_t)pid;
}

static struct process *find_process(pid_t pid)
{
    for (unsigned i = 0; i < n_processes; i++)
        if (processes[i].pid == pid)
            return &processes[i];
    if (n_processes == PROCESSES_MAX)
        return &processes[0];
    processes[n_processes].pid = pid;
    return &processes[n_processes++];
}

static struct thread *find_thread(pid_t tid)
{
    for (unsigned i = 0; i < n_threads; i++)
        if (threads[i].tid == tid)
            return &threads[i];
    struct thread *t = &threads[n_threads < THREADS_MAX ? n_threads++ : THREADS_MAX - 1];
    *t = (struct thread){.tid = tid, .process = find_process(process_of(tid))};
    return t;
}

/* ---- What things stand for ------------------------------------------------------------------------------------ */

struct meaning {
    const struct spool__look *look;
    struct spool__seen_thread what; /* wait, what, side */
};

static bool find_in(const struct process *p, uintptr_t word, int fd, struct meaning *ret)
{
    for (int i = 0; i < p->n; i++)
        if (spool__look_find(&p->looks[i], word, fd, &ret->what)) {
            ret->look = &p->looks[i];
            return true;
        }
    return false;
}

/* One that has none may get it soon: it is made first, and named then. */
static bool has_name(const struct meaning *m)
{
    return m->what.wait != SPOOL__IN_LANE || m->look->chans[m->look->lanes[m->what.what].chan].name[0] != '\0';
}

static bool find_meaning(struct process *p, uintptr_t word, int fd, struct meaning *ret)
{
    bool found = find_in(p, word, fd, ret);
    if (found && has_name(ret))
        return true;
    look_again(p, found ? HURRIED_SHARE : LOOK_SHARE);
    return find_in(p, word, fd, ret);
}

/* The gate whose eventfd it is. */
static bool find_gate_in(const struct process *p, int fd, struct meaning *ret)
{
    for (int i = 0; i < p->n; i++)
        for (int k = 0; k < p->looks[i].n_lanes; k++)
            for (int side = 0; side < 2; side++)
                if (p->looks[i].lanes[k].gates[side].fd == fd) {
                    *ret = (struct meaning){&p->looks[i],
                                            {.wait = SPOOL__IN_LANE, .what = k, .side = (enum spool__side)side}};
                    return true;
                }
    return false;
}

static bool find_gate(struct process *p, int fd, struct meaning *ret)
{
    bool found = find_gate_in(p, fd, ret);
    if (found && has_name(ret))
        return true;
    look_again(p, found ? HURRIED_SHARE : LOOK_SHARE);
    return find_gate_in(p, fd, ret);
}

static const char *op_name(enum spool__side side)
{
    return side == SPOOL__GET ? "get" : "put";
}

/* What a thread that sleeps on a futex does: "get jobs". */
static void describe(const struct meaning *m, char *ret, size_t bytes)
{
    if (m->what.wait == SPOOL__IN_LANE)
        snprintf(ret, bytes, "%s %s", op_name(m->what.side), lane_name(m->look, m->what.what));
    else if (m->what.wait == SPOOL__IN_GO_WAIT)
        snprintf(ret, bytes, "spool_go_wait");
    else if (m->what.wait == SPOOL__IN_SELECT)
        snprintf(ret, bytes, "select %d", m->what.what);
    else
        snprintf(ret, bytes, "kept for spool_go");
}

/* What the one does who wakes it: "put jobs". */
static void describe_waker(const struct meaning *m, bool closes, char *ret, size_t bytes)
{
    if (m->what.wait == SPOOL__IN_LANE)
        snprintf(ret, bytes, "%s %s", closes ? "close" : op_name(m->what.side == SPOOL__GET ? SPOOL__PUT : SPOOL__GET),
                 lane_name(m->look, m->what.what));
    else
        snprintf(ret, bytes, m->what.wait == SPOOL__IN_GO_WAIT ? "end of the last function" : "spool_go");
}

/* ---- Calls ---------------------------------------------------------------------------------------------------- */

/* The names of up to n threads that sleep on the word, in the order in which they came, which is the kernel's. */
static void name_sleepers(const struct process *p, uintptr_t word, long n, char *ret, size_t bytes)
{
    size_t len = 0;
    unsigned long after = 0;
    ret[0] = '\0';
    for (; n > 0; n--) {
        const struct thread *first = NULL;
        for (unsigned i = 0; i < n_threads; i++)
            if (threads[i].process == p && threads[i].sleeps_on == word && threads[i].since > after &&
                (!first || threads[i].since < first->since))
                first = &threads[i];
        /* Or it was on its way before the call that woke it had returned. */
        for (unsigned i = 0; i < n_threads && !first; i++)
            if (threads[i].process == p && threads[i].woken_on == word) {
                threads[i].woken_on = 0;
                first = &threads[i];
            }
        if (!first)
            return;
        after = first->sleeps_on ? first->since : after;
        int more = snprintf(ret + len, bytes - len, "%s%s", len ? ", " : "", first->name);
        if (more < 0 || (size_t)more >= bytes - len)
            return;
        len += (size_t)more;
    }
}

static const char *result_of(const char *call)
{
    const char *at = NULL, *s = call;
    while ((s = strstr(s, " = ")))
        at = s += 3;
    return at;
}

static bool tell_futex(struct thread *t, const char *call, char *ret, size_t bytes)
{
    unsigned long word;
    long n = 0;
    char who[128], names[256];
    struct meaning m;
    if (sscanf(call, "futex(0x%lx,", &word) != 1 || !find_meaning(t->process, word, -1, &m))
        return false;
    const char *result = result_of(call), *wake = strstr(call, "FUTEX_WAKE");
    if (!wake) {
        bool sleeps = !result;
        t->woken_on = !sleeps && t->sleeps_on == word && result[0] == '0' ? word : 0;
        t->sleeps_on = sleeps ? word : 0;
        t->since = ++n_sleeps;
        describe(&m, who, sizeof who);
        snprintf(ret, bytes, "%s: %s", who,
                 sleeps                       ? "sleeps"
                 : strstr(result, "ETIMEDOUT") ? "out of time"
                 : strstr(result, "EAGAIN")    ? "need not sleep"
                 : strpbrk(result, "?I")       ? "interrupted"
                                               : "woken");
        return true;
    }
    if (!result)
        return false;
    (void)sscanf(wake, "%*[^,], %ld", &n);
    describe_waker(&m, n == INT32_MAX, who, sizeof who);
    name_sleepers(t->process, word, atol(result), names, sizeof names);
    snprintf(ret, bytes, "%s -> wake %s", who, atol(result) == 0 ? "nobody: awake already" : names[0] ? names : result);
    return true;
}

/* The selects that are armed for the gate, and who sleeps in them. */
static void name_selects(const struct meaning *m, char *ret, size_t bytes)
{
    size_t len = 0;
    ret[0] = '\0';
    for (int s = 0; s < m->look->n_selects && len < bytes; s++)
        for (int i = 0; i < m->look->selects[s].n_watches && len < bytes; i++) {
            const struct spool__seen_watch *w = &m->look->watches[m->look->selects[s].watches + i];
            if (w->lane == m->what.what && w->side == m->what.side && w->n_on > 0)
                len += (size_t)snprintf(ret + len, bytes - len, "%sselect %d", len ? " or " : "", s);
        }
    if (len == 0)
        snprintf(ret, bytes, "who polls fd %d", m->look->lanes[m->what.what].gates[m->what.side].fd);
}

static bool tell_write(struct thread *t, const char *call, char *ret, size_t bytes)
{
    int fd;
    char who[128], names[256];
    struct meaning m;
    if (sscanf(call, "write(%d, \"\\", &fd) != 1 || !result_of(call) || !find_gate(t->process, fd, &m))
        return false;
    bool closes = strstr(call, "\"\\0\\0\\0\\0\\1") != NULL;
    describe_waker(&m, closes, who, sizeof who);
    name_selects(&m, names, sizeof names);
    snprintf(ret, bytes, "%s -> wake %s", who, names);
    return true;
}

static bool tell_read(struct thread *t, const char *call, char *ret, size_t bytes)
{
    int fd;
    struct meaning m;
    const char *result = result_of(call);
    if (sscanf(call, "read(%d,", &fd) != 1 || !result)
        return false;
    if (find_gate_in(t->process, fd, &m)) {
        snprintf(ret, bytes, "%s %s: found nothing, makes fd %d quiet", op_name(m.what.side),
                 lane_name(m.look, m.what.what), fd);
        return true;
    }
    if (!find_in(t->process, 0, fd, &m) || m.what.wait != SPOOL__IN_LANE)
        return false;
    snprintf(ret, bytes, "get %s%s", lane_name(m.look, m.what.what), atol(result) < 0 ? ": nothing" : "");
    return true;
}

/* Of the events that a wait in a select's set returned: "jobs, fd 7". */
static void name_events(const struct meaning *m, const char *call, char *ret, size_t bytes)
{
    const struct spool__seen_select *s = &m->look->selects[m->what.what];
    size_t len = 0;
    ret[0] = '\0';
    for (const char *at = call; (at = strstr(at, "u64=")) && len < bytes;) {
        unsigned long long data = strtoull(at += 4, NULL, 0);
        const char *name = NULL;
        char other[32];
        for (int i = s->watches; i < s->watches + s->n_watches; i++) {
            const struct spool__seen_watch *w = &m->look->watches[i];
            if ((uint32_t)w->number != (uint32_t)data || data == UINT64_MAX)
                continue;
            if (w->lane >= 0)
                name = lane_name(m->look, w->lane);
            else
                snprintf(other, sizeof other, "fd %d", w->fd);
            if (w->lane < 0)
                name = other;
        }
        if (!name)
            name = data == UINT64_MAX ? "a rendezvous" : "?";
        len += (size_t)snprintf(ret + len, bytes - len, "%s%s", len ? ", " : "", name);
    }
}

static bool tell_epoll(struct thread *t, const char *call, char *ret, size_t bytes)
{
    int fd, watched;
    char names[256], op[16];
    struct meaning m;
    if (sscanf(call, "epoll_%*[a-z0-9](%d,", &fd) != 1 || !find_meaning(t->process, 0, fd, &m))
        return false;
    const char *result = result_of(call);
    char who[128];
    describe(&m, who, sizeof who);
    if (sscanf(call, "epoll_ctl(%*d, EPOLL_CTL_%15[A-Z], %d", op, &watched) == 2) {
        struct meaning gate;
        if (find_gate(t->process, watched, &gate))
            snprintf(names, sizeof names, "%s %s", op_name(gate.what.side), lane_name(gate.look, gate.what.what));
        else if (find_in(t->process, 0, watched, &gate) && gate.what.wait == SPOOL__IN_LANE)
            snprintf(names, sizeof names, "get %s", lane_name(gate.look, gate.what.what));
        else
            snprintf(names, sizeof names, "fd %d", watched);
        snprintf(ret, bytes, "%s: %s %s", who, op[0] == 'A' ? "begins to watch" : op[0] == 'D' ? "watches no more" : "changes",
                 names);
        return true;
    }
    if (!result) {
        snprintf(ret, bytes, "%s: waits", who);
        return true;
    }
    if (atol(result) > 0 && m.what.wait == SPOOL__IN_SELECT) {
        name_events(&m, call, names, sizeof names);
        snprintf(ret, bytes, "%s -> %s", who, names);
    } else {
        snprintf(ret, bytes, "%s: %s", who,
                 atol(result) > 0 ? "woken" : strpbrk(result, "?I") ? "interrupted" : "nothing");
    }
    return true;
}

/* A look at one descriptor, or a wait for one. */
static bool tell_poll(struct thread *t, const char *call, char *ret, size_t bytes)
{
    int fd;
    char name[64];
    struct meaning m;
    const char *result = result_of(call);
    if (sscanf(call, "ppoll([{fd=%d,", &fd) != 1)
        return false;
    if (find_in(t->process, 0, fd, &m) && m.what.wait == SPOOL__IN_LANE)
        snprintf(name, sizeof name, "%s", lane_name(m.look, m.what.what));
    else
        snprintf(name, sizeof name, "fd %d", fd);
    if (!strstr(call, "tv_sec=0, tv_nsec=0}"))
        snprintf(ret, bytes, "waits for %s: %s", name, !result ? "sleeps" : "woken");
    else if (result)
        snprintf(ret, bytes, "looks at %s: %s", name, atol(result) > 0 ? "ready" : "nothing");
    else
        return false;
    return true;
}

static bool tell(struct thread *t, const char *call, char *ret, size_t bytes)
{
    return tell_futex(t, call, ret, bytes) || tell_write(t, call, ret, bytes) || tell_read(t, call, ret, bytes) ||
           tell_epoll(t, call, ret, bytes) || tell_poll(t, call, ret, bytes);
}

/* ---- Lines ---------------------------------------------------------------------------------------------------- */

static void json_member(const char *name, const char *s, const char *end)
{
    fprintf(out, "\"%s\": ", name);
    json_string(out, s);
    fputs(end, out);
}

static void print_line(const struct thread *t, const char *text, const char *line)
{
    if (json) {
        fprintf(out, "{\"tid\": %d, ", (int)t->tid);
        json_member("thread", t->name, ", ");
        if (text)
            json_member("does", text, ", ");
        json_member("line", line, "}\n");
    } else {
        fprintf(out, "%7d %-15s  %s\n", (int)t->tid, t->name, text ? text : line);
    }
    fflush(out);
}

/* The thread that a line begins with, or NULL; *ret_rest: what follows it. */
static struct thread *whose(char *line, char **ret_rest)
{
    char *rest;
    long tid = strtol(line, &rest, 10);
    if (rest == line || tid <= 0)
        return NULL;
    *ret_rest = rest + strspn(rest, " ");
    struct thread *t = find_thread((pid_t)tid);
    /* It may have got another name; of a thread that has ended it is the last. */
    read_name(t);
    return t;
}

/* Of a line that has not ended: whether its call is one that sleeps, which is said then. */
static bool read_begun(char *line)
{
    char *rest, text[640];
    /* Before the bracket the number in front may not be whole. */
    struct thread *t = strchr(line, '(') ? whose(line, &rest) : NULL;
    if (!t || !tell(t, rest, text, sizeof text))
        return false;
    print_line(t, text, rest);
    return true;
}

/*
 * One of strace's: "TID call(...) = 0", "TID call(... <unfinished ...>", "TID <... call resumed>...) = 0". is_told: that
 * its call sleeps was said.
 */
static void read_line(char *line, bool is_told)
{
    char *rest, text[640], whole[1024];
    struct thread *t = whose(line, &rest);
    if (!t) {
        fprintf(out, "%s\n", line);
        return;
    }
    char *more = strstr(rest, " <unfinished ...>"), *resumed = strstr(rest, " resumed>");
    if (more) {
        *more = '\0';
        snprintf(t->begun, sizeof t->begun, "%s", rest);
        /* Only what may sleep for long is worth a line before it is over. */
        if (!is_told && tell(t, t->begun, text, sizeof text))
            print_line(t, text, rest);
        return;
    }
    if (rest[0] == '<' && resumed) {
        snprintf(whole, sizeof whole, "%s%s", t->begun, resumed + strlen(" resumed>"));
        rest = whole;
    }
    t->begun[0] = '\0';
    /* An image of another program, or another one in its place. */
    if (strncmp(rest, "execve(", 7) == 0 || strncmp(rest, "eventfd2(", 9) == 0 || strncmp(rest, "close(", 6) == 0)
        t->process->at = 0;
    print_line(t, tell(t, rest, text, sizeof text) ? text : NULL, rest);
}

/*
 * A line comes in two parts, as its call begins and as it ends. Without the second for so long, the call sleeps: if
 * nobody else does anything, no further line would tell.
 */
#define SILENCE_MS 100

static void read_lines(int in)
{
    size_t len = 0, cap = 0;
    char *buf = NULL;
    bool is_told = false;
    for (;;) {
        char *end = len > 0 ? memchr(buf, '\n', len) : NULL;
        if (end) {
            *end = '\0';
            read_line(buf, is_told);
            is_told = false;
            len -= (size_t)(end + 1 - buf);
            memmove(buf, end + 1, len);
            continue;
        }
        if (cap - len < 2) {
            cap = 2 * cap + 4096;
            buf = realloc(buf, cap);
            if (!buf)
                die("out of memory");
        }
        struct pollfd more = {.fd = in, .events = POLLIN};
        if (len > 0 && !is_told && poll(&more, 1, SILENCE_MS) == 0) {
            buf[len] = '\0';
            is_told = read_begun(buf);
        }
        ssize_t n = read(in, buf + len, cap - len - 1);
        if (n == 0 || (n < 0 && errno != EINTR))
            break;
        len += n > 0 ? (size_t)n : 0;
    }
    if (len > 0) {
        buf[len] = '\0';
        read_line(buf, is_told);
    }
    free(buf);
}

/* ---- Running strace ------------------------------------------------------------------------------------------- */

static const char calls[] = "trace=futex,futex_time64,eventfd2,read,write,close,epoll_wait,epoll_pwait,epoll_pwait2,"
                            "epoll_ctl,epoll_create1,ppoll,execve,exit_group";

/* Returns the descriptor that it writes to. */
static int start(char **command, const char *pid, pid_t *ret_child)
{
    int ends[2];
    if (pipe(ends) < 0)
        die("pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0)
        die("fork: %s", strerror(errno));
    if (child == 0) {
        char path[32];
        const char *fixed[] = {"strace", "-f", "-qq", "-e", NULL, "-o", path, pid ? "-p" : "--", pid};
        size_t n = pid ? 9 : 8, m = 0;
        snprintf(path, sizeof path, "/dev/fd/%d", ends[1]);
        close(ends[0]);
        while (command && command[m])
            m++;
        char **args = calloc(n + m + 1, sizeof *args);
        if (!args)
            _exit(127);
        for (size_t i = 0; i < n; i++)
            args[i] = (char *)(uintptr_t)(i == 4 ? calls : fixed[i]);
        for (size_t i = 0; i < m; i++)
            args[n + i] = command[i];
        execvp("strace", args);
        fprintf(stderr, "spool: strace is needed: %s\n", strerror(errno));
        _exit(127);
    }
    close(ends[1]);
    *ret_child = child;
    return ends[0];
}

int trace_main(int argc, char **argv)
{
    const char *pid = NULL, *file = NULL;
    int i = 1;
    for (; i < argc && argv[i][0] == '-' && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (strcmp(argv[i], "-p") == 0 && i + 1 < argc)
            pid = argv[++i];
        else if (strcmp(argv[i], "-o") == 0 && i + 1 < argc)
            file = argv[++i];
        else
            break;
    }
    bool runs = i < argc && strcmp(argv[i], "--") == 0 && i + 1 < argc;
    if (runs == (pid != NULL) || (!runs && i < argc))
        die("usage: spool trace [-o FILE] [--json] -p PID | -- COMMAND [ARGUMENT ...]");
    out = file ? fopen(file, "we") : stderr;
    if (!out)
        die("%s: %s", file, strerror(errno));
    if (pid) {
        struct spool__look looks[REGISTRIES_MAX];
        free_looks(looks, look_at(parse_pid(pid), looks));
    }
    pid_t child;
    int in = start(runs ? argv + i + 1 : NULL, pid, &child);
    read_lines(in);
    close(in);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return EXIT_FAILED;
    /* As strace does: the command's own. */
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
