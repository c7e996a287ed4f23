/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * The word server: what it answers, in which order, what it does about clients that misbehave, while another client is
 * served all the time, and how it ends. Last, the driver on a few files.
 */

#include "util.h"

#include <sys/stat.h>

#include "../tools/examples/wordcall.h"
#include "../tools/examples/wordmischief.h"
#include "../tools/examples/wordoracle.h"

static struct word_server server;
static struct victim victim = {.path = "/etc/passwd"};
static char folder[] = "/tmp/wordserver-XXXXXX";

/* ---- The server and the one who is served all the time -------------------------------------------------------- */

static void start_with(char *const argv[])
{
    setenv("LC_ALL", "C", 1);
    must(word_server_start(&server, argv));
    victim.port = server.port;
    victim.line = wc_line(victim.path);
    must(victim.line);
}

/* An option may be NULL. */
static void start(const char *option)
{
    char none[] = "-q", words[] = "-w", asked[32];

    snprintf(asked, sizeof(asked), "%s", option ? option : none);
    start_with((char *[]){word_server_path(), asked, wc_takes_every_byte() ? words : NULL, NULL});
}

static void stop(int signo, int status)
{
    char said[256];

    must_be(kill(server.pid, signo), 0);
    must_be(word_server_wait(&server, said, sizeof(said)), status);
}

static FILE *call_server(void)
{
    FILE *call = word_connect(server.port);

    must(call);
    return call;
}

static void ask(FILE *call, const char *line)
{
    must(word_send(call, line, strlen(line)));
}

static void must_hear(FILE *call, const char *want)
{
    char line[MISCHIEF_LINE];

    if (!fgets(line, sizeof(line), call))
        ck_abort_msg("%s, not \"%s\"", ferror(call) ? strerror(errno) : "end", want);
    line[strcspn(line, "\n")] = '\0';
    if (strcmp(line, want) != 0)
        ck_abort_msg("\"%s\", not \"%s\"", line, want);
}

static void must_end(FILE *call)
{
    must_be(fgetc(call), EOF);
    must(!ferror(call));
    fclose(call);
}

static atomic_bool enough;
static atomic_size_t served;

static int be_served(struct worker *w)
{
    FILE *call = word_connect(server.port);
    char line[PATH_MAX];
    const char *wrong = call ? NULL : "no connection";
    int len = snprintf(line, sizeof(line), "%s\n", victim.path);

    (void)w;
    while (!wrong && !atomic_load(&enough)) {
        wrong = word_send(call, line, (size_t)len) ? expect_right(call, &victim) : "cannot send";
        atomic_fetch_add(&served, 1);
        nap();
    }
    if (call)
        fclose(call);
    return wrong ? -EIO : 0;
}

static void bystander_start(struct worker *w)
{
    worker_start(w, be_served);
    wait_until(atomic_load(&w->done) || atomic_load(&served) > 0);
}

/* Somebody else is served again, whatever has happened so far. */
static void bystander_is_served(struct worker *w)
{
    size_t so_far = atomic_load(&served);

    wait_until(atomic_load(&w->done) || atomic_load(&served) > so_far + 1);
    must(!atomic_load(&w->done));
}

static void bystander_end(struct worker *w)
{
    atomic_store(&enough, true);
    must_be(worker_join(w), 0);
}

static int server_fds(void)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)server.pid);
    return count_entries(path);
}

/* In kB. */
static long server_memory(const char *what)
{
    char path[64], line[256];
    long value = -1;
    FILE *status;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)server.pid);
    status = fopen(path, "r");
    must(status);
    while (value < 0 && fgets(line, sizeof(line), status))
        if (strncmp(line, what, strlen(what)) == 0)
            value = strtol(line + strlen(what), NULL, 10);
    fclose(status);
    must(value > 0);
    return value;
}

/* ---- Answers -------------------------------------------------------------------------------------------------- */

static void write_file(const char *path, size_t size, unsigned kind)
{
    static const char few[] = " \n\t\r\v\fab\001\200\377\0";
    uint64_t state = 0x9e3779b97f4a7c15u + size * 7 + kind;
    FILE *file = fopen(path, "w");

    must(file);
    for (size_t i = 0; i < size; i++) {
        uint64_t x = rnd(&state) >> 20;

        fputc(kind == 0 ? (int)(x & 0xff) : kind == 1 ? few[x % sizeof(few)] : "word \n"[x % 6], file);
    }
    must_be(fclose(file), 0);
}

START_TEST(test_answers)
{
    static const size_t sizes[] = {0, 1, 2, 9, 10, 11, 99, 100, 101, 999, 1000, 65535, 65536, 65537, 131072, 1000000};
    char path[sizeof(folder) + 64], line[sizeof(path) + 1];
    FILE *call;

    start(NULL);
    call = call_server();
    must(mkdtemp(folder));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        for (unsigned kind = 0; kind < 3; kind++) {
            char *want;

            snprintf(path, sizeof(path), "%s/file %zu-%u \303\244", folder, sizes[i], kind);
            write_file(path, sizes[i], kind);
            want = wc_line(path);
            must(want);
            snprintf(line, sizeof(line), "%s\n", path);
            ask(call, line);
            must_hear(call, want);
            free(want);
            unlink(path);
        }
    }
    rmdir(folder);
    fclose(call);
    stop(SIGTERM, 0);
}
END_TEST

START_TEST(test_files_that_are_none)
{
    char path[sizeof(folder) + 16], text[512], *sparse;
    FILE *call;

    start(NULL);
    call = call_server();
    must(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/fifo", folder);
    must_be(mkfifo(path, 0600), 0);
    snprintf(text, sizeof(text), "%s\n/dev/zero\n/\n/no/where\n%s\n/etc/passwd/\n\n", path, folder);
    ask(call, text);
    snprintf(text, sizeof(text), "error: %s: Not a regular file", path);
    must_hear(call, text);
    must_hear(call, "error: /dev/zero: Not a regular file");
    must_hear(call, "error: /: Is a directory");
    must_hear(call, "error: /no/where: No such file or directory");
    snprintf(text, sizeof(text), "error: %s: Is a directory", folder);
    must_hear(call, text);
    must_hear(call, "error: /etc/passwd/: Not a directory");
    must_hear(call, "error: : No such file or directory");
    unlink(path);

    /* The size that wc goes by is not what it reads. */
    must((sparse = wc_line("/proc/version")));
    ask(call, "/proc/version\n");
    must_hear(call, sparse);
    free(sparse);
    rmdir(folder);
    fclose(call);
    stop(SIGTERM, 0);
}
END_TEST

START_TEST(test_lines)
{
    static const char rubbish[] = "/etc/passwd\0x\n\033[2J\n/etc\t\n\177\n";
    static char line[20000], want[20000];
    static const size_t lengths[] = {4094, 4095, 4096, 4097, 4098, 8190, 8191, 8192, 8193, 12345};
    FILE *call;

    start(NULL);
    call = call_server();
    ask(call, "/etc/passwd\r\n");
    must_hear(call, victim.line);
    must(word_send(call, rubbish, sizeof(rubbish) - 1));
    must_hear(call, "error: /etc/passwd?x: Not a path");
    must_hear(call, "error: ?[2J: Not a path");
    must_hear(call, "error: /etc?: Not a path");
    must_hear(call, "error: ?: Not a path");
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        size_t len = lengths[i];

        memset(line, 'b', len);
        line[len] = '\0';
        snprintf(want, sizeof(want), "error: %.*s: %s", len > 4096 ? 60 : (int)len, line,
                 len > 4096 ? "Line too long" : "File name too long");
        strcpy(line + len, "\n/etc/passwd\n");
        ask(call, line);
        must_hear(call, want);
        must_hear(call, victim.line);
    }
    /* A byte at a time. */
    for (const char *p = "/etc/passwd\n/etc/pass"; *p; p++)
        must(word_send(call, p, 1));
    must_hear(call, victim.line);
    shutdown(fileno(call), SHUT_WR);
    must_hear(call, "error: /etc/pass: Unfinished line");
    must_end(call);
    stop(SIGTERM, 0);
}
END_TEST

enum { BIG = 20 << 20 };

static void make_big_file(char *path, size_t size)
{
    int fd;

    snprintf(path, size, "%s/big", mkdtemp(folder));
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    must(fd >= 0);
    must_be(ftruncate(fd, BIG), 0);
    close(fd);
}

static void remove_big_file(const char *path)
{
    unlink(path);
    rmdir(folder);
}

/* Slow and fast ones among each other, and more than one client may have under way. */
START_TEST(test_order)
{
    char path[sizeof(folder) + 8], line[64], *want;
    FILE *call;

    start("-j4");
    call = call_server();
    make_big_file(path, sizeof(path));
    want = wc_line(path);
    must(want);
    for (int i = 0; i < 300; i++) {
        if (i % 50 == 0)
            snprintf(line, sizeof(line), "%s\n", path);
        else
            snprintf(line, sizeof(line), i % 3 ? "/etc/passwd\n" : "/nowhere/%d\n", i);
        ask(call, line);
    }
    for (int i = 0; i < 300; i++) {
        snprintf(line, sizeof(line), "error: /nowhere/%d: No such file or directory", i);
        must_hear(call, i % 50 == 0 ? want : i % 3 ? victim.line : line);
    }
    fclose(call);
    free(want);
    remove_big_file(path);
    stop(SIGTERM, 0);
}
END_TEST

/* More requests than the jobs channel has room for, from many. */
START_TEST(test_many_clients)
{
    enum { MANY = 150, EACH = 100 };
    static FILE *calls[MANY];

    start("-j1");
    for (int i = 0; i < MANY; i++)
        calls[i] = call_server();
    for (int n = 0; n < EACH; n++)
        for (int i = 0; i < MANY; i++)
            ask(calls[i], "/etc/passwd\n");
    for (int i = 0; i < MANY; i++) {
        shutdown(fileno(calls[i]), SHUT_WR);
        for (int n = 0; n < EACH; n++)
            must_hear(calls[i], victim.line);
        must_end(calls[i]);
    }
    stop(SIGTERM, 0);
}
END_TEST

/* ---- Misbehaviour --------------------------------------------------------------------------------------------- */

static void must_be_fine(const char *wrong)
{
    if (wrong)
        ck_abort_msg("%s", wrong);
}

START_TEST(test_mischief)
{
    struct worker bystander = {0};
    int fds;

    start(NULL);
    bystander_start(&bystander);
    fds = server_fds();
    for (int i = 0; i < 20; i++) {
        switch (_i) {
        case 0:
            must_be_fine(send_rubbish(&victim));
            break;
        case 1:
            must_be_fine(send_endless_line(&victim));
            break;
        case 2:
            must_be_fine(vanish(&victim, i % 2));
            break;
        case 3:
            must_be_fine(close_half(&victim));
            break;
        }
        bystander_is_served(&bystander);
    }
    wait_until(server_fds() <= fds);
    bystander_end(&bystander);
    stop(SIGTERM, 0);
}
END_TEST

/* Who asks for much and never reads costs the server no more than its place. */
START_TEST(test_never_reads)
{
    struct worker bystander = {0};
    struct glutton gluttons[4] = {{0}};
    long before, grown;

    start(NULL);
    bystander_start(&bystander);
    must_be_fine(close_half(&victim));
    before = server_memory("VmHWM:");
    for (int i = 0; i < 4; i++) {
        must_be_fine(gorge(&gluttons[i], &victim));
        must(gluttons[i].asked > 100);
        bystander_is_served(&bystander);
    }
    grown = server_memory("VmHWM:") - before;
    if (!UNDER_ASAN && !UNDER_TSAN && grown > 4096)
        ck_abort_msg("grew by %ld kB for four clients", grown);
    for (int i = 0; i < 4; i++)
        must_be_fine(reconcile(&gluttons[i]));
    bystander_end(&bystander);
    stop(SIGTERM, 0);
}
END_TEST

START_TEST(test_idle)
{
    struct worker bystander = {0};
    struct glutton glutton = {0};
    FILE *idle, *slow;
    int fds;

    start("-t1");
    bystander_start(&bystander);
    fds = server_fds();
    idle = call_server();
    slow = call_server();
    ask(slow, "/etc/passwd\n/etc/pass");
    must_be_fine(gorge(&glutton, &victim));
    must_hear(slow, victim.line);
    must_end(idle);
    must_be(fgetc(slow), EOF);
    fclose(slow);
    bystander_is_served(&bystander);
    wait_until(server_fds() <= fds);
    fclose(glutton.call);
    bystander_end(&bystander);
    stop(SIGTERM, 0);
}
END_TEST

/* ---- Descriptors ---------------------------------------------------------------------------------------------- */

/* More clients than may be: some wait until others leave. */
START_TEST(test_more_than_may_be)
{
    enum { MANY = 100 };
    char sh[] = "sh", c[] = "-c", script[] = "ulimit -n 64; exec \"$0\" -q -j2";
    FILE *calls[MANY];

    start_with((char *[]){sh, c, script, word_server_path(), NULL});
    for (int i = 0; i < MANY; i++) {
        calls[i] = call_server();
        ask(calls[i], "/etc/passwd\n");
    }
    for (int i = 0; i < MANY; i++) {
        must_hear(calls[i], victim.line);
        fclose(calls[i]);
    }
    stop(SIGTERM, 0);
}
END_TEST

/* The limit is lowered beneath it. */
START_TEST(test_out_of_descriptors)
{
    enum { MANY = 40 };
    FILE *calls[MANY];
    struct rlimit limit = {64, 64};

    start("-j2");
    limit.rlim_cur = limit.rlim_max = (rlim_t)server_fds() + 10;
    must_be(prlimit(server.pid, RLIMIT_NOFILE, &limit, NULL), 0);
    for (int i = 0; i < MANY; i++)
        calls[i] = call_server();
    for (int i = 0; i < MANY; i++) {
        char line[256];

        ask(calls[i], "/etc/passwd\n");
        must(fgets(line, sizeof(line), calls[i]));
        line[strcspn(line, "\n")] = '\0';
        must(strcmp(line, victim.line) == 0 || strcmp(line, "error: /etc/passwd: Too many open files") == 0);
        fclose(calls[i]);
    }
    /* They have left: there is room for all that is needed. */
    wait_until(server_fds() < (int)limit.rlim_cur - 5);
    calls[0] = call_server();
    ask(calls[0], "/etc/passwd\n");
    must_hear(calls[0], victim.line);
    fclose(calls[0]);
    stop(SIGTERM, 0);
}
END_TEST

/* ---- The end -------------------------------------------------------------------------------------------------- */

/* What was sent before the signal is answered, on connections that were not even accepted then. */
START_TEST(test_stop)
{
    enum { MANY = 30, EACH = 100 };
    FILE *calls[MANY];
    FILE *idle;

    start("-j1");
    idle = call_server();
    for (int i = 0; i < MANY; i++) {
        calls[i] = call_server();
        for (int n = 0; n < EACH; n++)
            ask(calls[i], "/etc/passwd\n");
    }
    must_be(kill(server.pid, _i ? SIGINT : SIGTERM), 0);
    for (int i = 0; i < MANY; i++) {
        for (int n = 0; n < EACH; n++)
            must_hear(calls[i], victim.line);
        must_end(calls[i]);
    }
    must_end(idle);
    stop(0, 0);
}
END_TEST

static int ask_on_and_on(struct worker *w)
{
    while (word_send(w->more, "/etc/passwd\n", 12))
        w->count++;
    return 0;
}

START_TEST(test_stop_while_asked)
{
    struct worker asker = {0};
    size_t heard = 0;
    char line[256];

    start(NULL);
    asker.more = call_server();
    worker_start(&asker, ask_on_and_on);
    for (; heard < 1000; heard++)
        must_hear(asker.more, victim.line);
    must_be(kill(server.pid, SIGTERM), 0);
    while (fgets(line, sizeof(line), asker.more)) {
        line[strcspn(line, "\n")] = '\0';
        must(strcmp(line, victim.line) == 0 || strstr(line, ": Unfinished line"));
    }
    must(!ferror(asker.more));
    shutdown(fileno(asker.more), SHUT_RDWR);
    must_be(worker_join(&asker), 0);
    fclose(asker.more);
    stop(0, 0);
}
END_TEST

/* One who never reads cannot hold up the end; a second signal does not even wait so long. */
START_TEST(test_stop_with_glutton)
{
    struct glutton glutton = {0};

    start(NULL);
    must_be_fine(gorge(&glutton, &victim));
    if (_i == 0) {
        stop(SIGTERM, 0);
    } else {
        FILE *last = call_server();

        must_be(kill(server.pid, SIGTERM), 0);
        must_end(last); /* the signal has been seen */
        stop(SIGTERM, 1);
    }
    fclose(glutton.call);
}
END_TEST

/* ---- The driver ----------------------------------------------------------------------------------------------- */

START_TEST(test_driver)
{
    char command[PATH_MAX + 128], *path = word_server_path(), line[256];
    bool wrong = false, lost = false;
    FILE *out;

    strcpy(strrchr(path, '/'), "/wordload");
    snprintf(command, sizeof(command), "'%s' -n 400 -r 2 %s", path, UNDER_ASAN || UNDER_TSAN ? "-x" : "");
    out = popen(command, "r");
    must(out);
    while (fgets(line, sizeof(line), out)) {
        int n;

        wrong |= sscanf(line, "wrong %d", &n) == 1 && n == 0;
        lost |= sscanf(line, "lost %d", &n) == 1 && n == 0;
    }
    must_be(pclose(out), 0);
    must(wrong && lost);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("wordserver");
    TCase *tc = case_new(s, "answers");

    tcase_add_test(tc, test_answers);
    tcase_add_test(tc, test_files_that_are_none);
    tcase_add_test(tc, test_lines);
    tcase_add_test(tc, test_order);
    tcase_add_test(tc, test_many_clients);

    tc = case_new(s, "misbehaviour");
    tcase_add_loop_test(tc, test_mischief, 0, 4);
    tcase_add_test(tc, test_never_reads);
    tcase_add_test(tc, test_idle);

    tc = case_new(s, "descriptors");
    tcase_add_test(tc, test_more_than_may_be);
    tcase_add_test(tc, test_out_of_descriptors);

    tc = case_new(s, "end");
    tcase_add_loop_test(tc, test_stop, 0, 2);
    tcase_add_test(tc, test_stop_while_asked);
    tcase_add_loop_test(tc, test_stop_with_glutton, 0, 2);

    tc = case_new(s, "driver");
    tcase_add_test(tc, test_driver);
    return run_suite(s, "test_wordserver");
}
