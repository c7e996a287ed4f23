/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

/* ---- The terminal --------------------------------------------------------------------------------------------- */

static struct termios cooked;
static bool is_raw;
static volatile sig_atomic_t ends;

static void on_signal(int signo)
{
    (void)signo;
    ends = 1;
}

/* Back from the alternate screen, with the cursor shown. */
static void restore(void)
{
    if (!is_raw)
        return;
    is_raw = false;
    fputs("\033[?25h\033[?1049l", stdout);
    fflush(stdout);
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &cooked);
}

static void make_raw(void)
{
    if (!isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &cooked) < 0)
        return;
    struct termios raw = cooked;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    is_raw = true;
    atexit(restore);
    fputs("\033[?1049h\033[?25l", stdout);
}

/* ---- Rates ---------------------------------------------------------------------------------------------------- */

struct row {
    int lane;
    double puts, gets, wakes; /* each second */
    unsigned parked;
};

static struct row *rows;
static int n_rows;
static char sort_key = 'g';

static double rate(uint64_t now, uint64_t before, double seconds)
{
    return now > before && seconds > 0 ? (double)(now - before) / seconds : 0;
}

static const struct spool__seen_lane *find_lane(const struct spool__look *l, uintptr_t at)
{
    for (int i = 0; i < l->n_lanes; i++)
        if (l->lanes[i].at == at)
            return &l->lanes[i];
    return NULL;
}

static void make_rows(const struct spool__look *l, const struct spool__look *before, double seconds)
{
    rows = realloc(rows, ((size_t)l->n_lanes + 1) * sizeof *rows);
    if (!rows)
        die("no memory");
    n_rows = l->n_lanes;
    for (int i = 0; i < l->n_lanes; i++) {
        const struct spool__seen_lane *lane = &l->lanes[i];
        /* One that was looked at in the same place is most likely the next one of a loop. */
        const struct spool__seen_lane *was = i < before->n_lanes && before->lanes[i].at == lane->at
                                                 ? &before->lanes[i] : find_lane(before, lane->at);
        rows[i] = (struct row){.lane = i};
        for (int side = 0; side < 2; side++)
            rows[i].parked += lane->gates[side].threads + lane->gates[side].threads_granted;
        if (!was)
            continue;
        rows[i].puts = rate(lane->puts, was->puts, seconds);
        rows[i].gets = rate(lane->gets, was->gets, seconds);
        rows[i].wakes = rate(lane_wakes(lane), lane_wakes(was), seconds);
    }
}

static const struct spool__look *sorted;

static double key_of(const struct row *r)
{
    const struct spool__seen_lane *lane = &sorted->lanes[r->lane];
    switch (sort_key) {
    case 'p':
        return r->puts;
    case 'w':
        return r->wakes;
    case 'l':
        return (double)lane->len;
    case 't':
        return r->parked;
    default:
        return r->gets;
    }
}

static int compare(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (sort_key == 'n')
        return strcmp(lane_name(sorted, x->lane), lane_name(sorted, y->lane));
    double kx = key_of(x), ky = key_of(y);
    return kx < ky ? 1 : kx > ky ? -1 : x->lane - y->lane;
}

/* ---- The screen ----------------------------------------------------------------------------------------------- */

#define BAR 20

static void print_bar(const struct spool__seen_lane *lane)
{
    char bar[BAR + 1];
    size_t full = 0;
    if (lane->flavour == SPOOL__RING && lane->capacity)
        full = (size_t)((double)lane->len / (double)lane->capacity * BAR + 0.999);
    for (size_t i = 0; i < BAR; i++)
        bar[i] = i < full ? '#' : lane->flavour == SPOOL__RING ? '.' : ' ';
    bar[BAR] = '\0';
    printf("|%s|", bar);
}

static void print_row(const struct spool__look *l, const struct row *r)
{
    const struct spool__seen_lane *lane = &l->lanes[r->lane];
    char fill[48] = "-";
    if (lane->flavour == SPOOL__RING)
        snprintf(fill, sizeof fill, "%s/%s", short_count((double)lane->len), short_count((double)lane->capacity));
    else if (lane->flavour == SPOOL__CHAIN)
        snprintf(fill, sizeof fill, "%s", short_count((double)lane->len));
    printf("%-20.20s ", lane_name(l, r->lane));
    print_bar(lane);
    printf(" %13s %9s %9s %8s %7u %s\n", fill, lane->is_counted ? short_count(r->puts) : "-", short_count(r->gets),
           short_count(r->wakes), r->parked, lane->is_closed ? "closed" : "");
}

static void print_screen(const struct spool__look *l, const char *name, int height)
{
    if (is_raw)
        fputs("\033[H\033[J", stdout);
    printf("%s (%d): %d channels, %d selects, %d threads%s", name, (int)l->pid, l->n_chans, l->n_selects, l->n_threads,
           is_raw ? "   sort: p puts, g gets, w wakes, l length, t threads, n name; q ends\n" : "\n");
    printf("%-20s %-22s %13s %9s %9s %8s %7s\n", "CHANNEL", "", "LEN/CAP", "PUTS/s", "GETS/s", "WAKES/s", "PARKED");
    sorted = l;
    qsort(rows, (size_t)n_rows, sizeof *rows, compare);
    for (int i = 0; i < n_rows && (height <= 0 || i < height - 3); i++)
        print_row(l, &rows[i]);
    fflush(stdout);
}

static void print_json_rates(const struct spool__look *l, double seconds)
{
    printf("{\"seconds\": %.3f, \"rates\": [", seconds);
    for (int i = 0; i < n_rows; i++)
        printf("%s{\"channel\": %d, \"puts\": %.1f, \"gets\": %.1f, \"wakes\": %.1f}", i ? ", " : "", rows[i].lane,
               rows[i].puts, rows[i].gets, rows[i].wakes);
    fputs("], \"process\": ", stdout);
    print_json(l, stdout);
    puts("}");
    fflush(stdout);
}

static double now(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Until it is time, or a key was struck that wants the screen to be drawn again; false to end. */
static bool pause_until(double deadline)
{
    while (!ends) {
        double left = deadline - now();
        struct pollfd in = {.fd = is_raw ? STDIN_FILENO : -1, .events = POLLIN};
        if (left <= 0)
            return true;
        if (poll(&in, 1, (int)(left * 1000) + 1) <= 0)
            continue;
        char key;
        if (read(STDIN_FILENO, &key, 1) != 1 || key == 'q')
            return false;
        if (strchr("pgwltn", key)) {
            sort_key = key;
            return true;
        }
    }
    return false;
}

int top_main(int argc, char **argv)
{
    struct spool__look looks[REGISTRIES_MAX], before = {.pid = 0};
    double delay = 1, times = 0, last = 0;
    bool json = false;
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (strcmp(argv[i], "-d") == 0 && i + 1 < argc)
            delay = atof(argv[++i]);
        else if (strcmp(argv[i], "-n") == 0 && i + 1 < argc)
            times = atof(argv[++i]);
        else
            break;
    }
    if (i + 1 != argc || !(delay >= 0.01))
        die("usage: spool top [-d SECONDS] [-n TIMES] [--json] PID");
    pid_t pid = parse_pid(argv[i]);
    char name[32], why[512];
    int n = look_at(pid, looks);
    process_name(pid, name, sizeof name);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    if (!json)
        make_raw();
    for (double shown = 0; n > 0;) {
        struct winsize size = {.ws_row = 0};
        double at = now();
        /* Of several copies of the library in a process the first is shown. */
        if (before.pid)
            make_rows(&looks[0], &before, at - last);
        if (before.pid && json)
            print_json_rates(&looks[0], at - last);
        else if (before.pid)
            print_screen(&looks[0], name, is_raw && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_row : 0);
        shown += before.pid != 0;
        spool__look_free(&before);
        before = looks[0];
        free_looks(looks + 1, n - 1);
        last = at;
        if ((times > 0 && shown >= times) || !pause_until(at + delay))
            break;
        n = try_look_at(pid, looks, why, sizeof why);
    }
    spool__look_free(&before);
    restore();
    if (n == -ESRCH || n == -ENOENT)
        printf("process %d has ended\n", (int)pid);
    else if (n < 0)
        die("%s", why);
    return 0;
}
