/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * Moves messages through channels of every flavour and size, in every way there is to put and get, for as long as is
 * asked, and checks that each arrives once, whole and in the order of its producer. Round after round has a channel of
 * its own, which lives for a thousand to some millions of messages and is closed by its putters, or by somebody in the
 * midst; workers are threads of spool_go that hand their work on to new ones.
 *
 * usage: soak [-t seconds | -n messages] [-r seed] [-m mix] [-a file] [-v]
 *   -m   only the mixes whose name has this in it: cap64.8.bulk, rendezvous.1024, pair
 *   -a   append this run's line to a file, and show what all its lines come to
 *   -v   say at the end how fast each mix was
 * A first SIGINT or SIGTERM ends it with what was done so far. Where nothing moves for STUCK seconds it says who waits
 * for what, and aborts.
 */
#include <signal.h>

#include "watch.h"

#define ROUND_MIN 1000
#define ROUND_SECONDS 2
#define ROUND_SECONDS_MAX 5
/* Without -t and -n, as in the quick tests. */
#define QUICK_SECONDS 10

/*
 * The shares of time are such that most messages go through the large bounded channels, which are fastest, and the
 * slow flavours, whose messages often take a thread switch each, still move many.
 */
static const struct flavour {
    const char *name;
    size_t capacity;
    bool pair;
    double mixed, bulk; /* shares: each worker changes its style all the time; all put and get batches */
} flavours[] = {
    {"cap1", 1, false, 1.5, 6},
    {"cap2", 2, false, 1, 2},
    {"cap3", 3, false, 1, 2},
    {"cap64", 64, false, 1, 4},
    {"cap1024", 1024, false, 1.5, 14},
    {"cap4096", 4096, false, 1, 14},
    {"rendezvous", 0, false, 2, 6},
    {"unbounded", SPOOL_UNBOUNDED, false, 1.5, 6},
    {"pair1", 1, true, 0.7, 1.5},
    {"pair64", 64, true, 1, 4},
    {"pair1024", 1024, true, 1, 12},
    {"pair-rendezvous", 0, true, 0.7, 1.5},
    {"pair-unbounded", SPOOL_UNBOUNDED, true, 1, 3},
};

static const struct size {
    size_t bytes;
    double share;
} sizes[] = {{8, 8}, {16, 1}, {64, 0.7}, {1024, 0.5}};

static struct mix {
    const struct flavour *flavour;
    size_t size;
    bool bulk;
    double share, took;
    uint64_t messages;
    char name[48];
} mixes[COUNT(flavours) * COUNT(sizes) * 2];
static size_t n_mixes;

static struct {
    double seconds;
    uint64_t messages;
    const char *only, *append;
    bool verbose;
} asked;

static double began;

/* ---- Figures ---------------------------------------------------------------------------------------------------- */

static const struct total {
    const char *name;
    atomic_ullong *value;
} totals[] = {
    {"messages", &tally.messages},   {"lost", &tally.lost},           {"duplicated", &tally.duplicated},
    {"reordered", &tally.reordered}, {"corrupted", &tally.corrupted}, {"hung", &tally.hung},
    {"closes", &tally.closes},       {"closes_midway", &tally.early}, {"channels", &tally.channels},
    {"threads_started", &tally.gos}, {"dropped", &tally.dropped},
};

/* This run's line goes in at once, so that runs may share the file. */
static void append_totals(void)
{
    char line[600];
    int n = snprintf(line, sizeof(line), "seed %" PRIu64 " seconds %.0f", seed, now_s() - began);
    for (size_t i = 0; i < COUNT(totals); i++)
        n += snprintf(line + n, sizeof(line) - (size_t)n, " %s %llu", totals[i].name, *totals[i].value);
    FILE *f = fopen(asked.append, "ae");
    if (!f || fprintf(f, "%s\n", line) < 0 || fclose(f) != 0)
        fprintf(stderr, "soak: %s: cannot be written: %s\n", asked.append, strerror(errno));
}

static void print_file_totals(void)
{
    unsigned long long sums[COUNT(totals)] = {0}, runs = 0;
    char line[600];
    FILE *f = fopen(asked.append, "re");
    while (f && fgets(line, sizeof(line), f)) {
        runs++;
        for (size_t i = 0; i < COUNT(totals); i++) {
            char key[32];
            snprintf(key, sizeof(key), " %s ", totals[i].name);
            const char *found = strstr(line, key);
            sums[i] += found ? strtoull(found + strlen(key), NULL, 10) : 0;
        }
    }
    if (f)
        fclose(f);
    printf("figure soak.all.runs %llu\n", runs);
    for (size_t i = 0; i < COUNT(totals); i++)
        printf("figure soak.all.%s %llu\n", totals[i].name, sums[i]);
}

static void print_figures(void)
{
    for (size_t m = 0; asked.verbose && m < n_mixes; m++)
        printf("%-28s %14" PRIu64 " messages in %7.1f s, %8.1f ns each\n", mixes[m].name, mixes[m].messages,
               mixes[m].took, mixes[m].messages ? mixes[m].took / (double)mixes[m].messages * 1e9 : 0);
    /* The mixes of a flavour and size stand beside each other. */
    for (size_t m = 0, next; m < n_mixes; m = next) {
        uint64_t sum = 0;
        for (next = m; next < n_mixes && mixes[next].flavour == mixes[m].flavour && mixes[next].size == mixes[m].size;)
            sum += mixes[next++].messages;
        printf("figure soak.%s.%zu %" PRIu64 "\n", mixes[m].flavour->name, mixes[m].size, sum);
    }
    printf("figure soak.seed %" PRIu64 "\nfigure soak.seconds %.0f\n", seed, now_s() - began);
    if (asked.append)
        append_totals();
    for (size_t i = 0; i < COUNT(totals); i++)
        printf("figure soak.%s %llu\n", totals[i].name, *totals[i].value);
    if (asked.append)
        print_file_totals();
    fflush(stdout);
}

/* ---- The watch -------------------------------------------------------------------------------------------------- */

static void on_fail(void)
{
    dump_all();
    print_figures();
}

static void on_signal(int number)
{
    (void)number;
    stop = true;
}

static void catch_signals(void)
{
    /* The second one kills. */
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
}

static double time_left(double done, double passed)
{
    if (!asked.messages)
        return asked.seconds - passed;
    return done > 0 ? (double)asked.messages * passed / done - passed : 0;
}

static void print_status(bool on_terminal)
{
    static double last_done, last_passed;
    double done = (double)got_so_far(false), passed = now_s() - began;
    double left = time_left(done, passed);
    printf("%ssoak: %.0f s, %.4g messages, %.3g M/s (%.3g lately), %02d:%02d:%02d left, %llu channels, %" PRIu64
           " wrong%s",
           on_terminal ? "\r" : "", passed, done, done / passed / 1e6,
           (done - last_done) / (passed - last_passed + 1e-9) / 1e6, (int)(left / 3600), (int)(left / 60) % 60,
           (int)left % 60, tally.channels, wrong_so_far(), on_terminal ? "\033[K" : "\n");
    last_done = done;
    last_passed = passed;
    fflush(stdout);
}

static _Noreturn void hang(void)
{
    tally.hung++;
    fprintf(stderr, "\nHUNG: nothing moved for %d seconds\n", STUCK);
    dump_all();
    printf("\nnot ok soak hung in %s\n", batch.name);
    print_figures();
    abort();
}

static void *watch(void *arg)
{
    bool on_terminal = isatty(STDOUT_FILENO);
    unsigned long long last = 0;
    (void)arg;
    /* Counts its own seconds, so that it forgives when the whole process was stopped. */
    for (int second = 1, idle = 0;; second++) {
        sleep(1);
        unsigned long long now = moved();
        idle = now == last ? idle + 1 : 0;
        last = now;
        if (idle >= STUCK)
            hang();
        if (now_s() - lap.began > ROUND_SECONDS_MAX)
            lap.hurry = true;
        if (asked.seconds > 0 && now_s() - began >= asked.seconds)
            stop = true;
        if (on_terminal || second % 60 == 0)
            print_status(on_terminal);
    }
    return NULL;
}

/* ---- A round ---------------------------------------------------------------------------------------------------- */

static void make_channel(const struct mix *mix)
{
    int r;
    size_t capacity = mix->flavour->capacity;
    main_where = "making a channel";
    if (mix->flavour->pair) {
        r = spool_pair_new(&lap.put_end[0], &lap.get_end[0], mix->size, capacity);
        lap.put_end[1] = lap.get_end[0];
        lap.get_end[1] = lap.put_end[0];
    } else {
        r = spool_chan_new(&lap.put_end[0], mix->size, capacity);
        lap.get_end[0] = lap.put_end[0];
        lap.put_end[1] = lap.get_end[1] = NULL;
    }
    check(r == 0, "spool_chan_new or spool_pair_new", r);
    r = spool_set_drop(lap.put_end[0], drop_one);
    check(r == 0, "spool_set_drop", r);
    r = spool_set_name(lap.put_end[0], mix->flavour->name);
    check(r == 0, "spool_set_name", r);
    tally.channels++;
}

static void plan_worker(struct worker *me, unsigned lane, bool is_putter, uint64_t *rng)
{
    me->lane = lane;
    me->is_putter = is_putter;
    me->chan = spool_ref(is_putter ? lap.put_end[lane] : lap.get_end[lane]);
    me->outer = NULL;
    me->rng = seeded(draw(rng));
    me->moves = me->accepted = 0;
    me->close_at = NEVER;
    me->turn = 0;
    me->ledger = is_putter ? NULL : &ledgers[me - crew - PRODUCERS];
    if (!is_putter)
        me->ledger->lane = lane;
}

/* One of the crew at random closes, at a moment of its own between its first message and its last. */
static void plan_close(uint64_t *rng, unsigned putters, unsigned getters, uint64_t limit)
{
    unsigned i = (unsigned)draw(rng) % (putters + getters);
    struct worker *me = i < putters ? &crew[i] : &crew[PRODUCERS + i - putters];
    me->close_at = 1 + (draw(rng) << 20 ^ draw(rng)) % (UINT64_C(1) << draw(rng) % 22) % (limit / putters);
}

static unsigned plan(const struct mix *mix, uint64_t *rng, uint64_t limit)
{
    static const enum life lives[] = {FLOW, FLOW, EARLY, DROP};
    unsigned putters = 0, getters = 0, most = mix->flavour->pair ? 2 : 3;
    unsigned waits = (unsigned)draw(rng) % 2;
    lap.lanes = mix->flavour->pair ? 2 : 1;
    lap.capacity = mix->flavour->capacity;
    lap.bulk = mix->bulk;
    lap.life = lives[draw(rng) % COUNT(lives)];
    lap.must_wait[0] = lap.capacity == 0 && waits == 0;
    lap.must_wait[1] = lap.capacity == 0 && waits == 1;
    lap.first_closes = 0;
    lap.hurry = false;
    lap.began = now_s();
    batch.salt = draw(rng) << 32 | draw(rng);
    batch.base = (draw(rng) << 32 | draw(rng)) & SEQ_MASK >> 1;
    batch.size = mix->size;
    ledgers[DROPPED].lane = ANY_LANE;
    for (unsigned lane = 0; lane < lap.lanes; lane++) {
        for (unsigned n = 1 + (unsigned)draw(rng) % most; n; n--) {
            batch.lane_of[putters] = lane;
            batch.put[putters] = 0;
            crew[putters].producer = putters;
            plan_worker(&crew[putters++], lane, true, rng);
        }
        for (unsigned n = 1 + (unsigned)draw(rng) % most; n; n--)
            plan_worker(&crew[PRODUCERS + getters++], lane, false, rng);
    }
    batch.producers = putters;
    lap.putters = (int)putters;
    for (unsigned i = 0; i < putters; i++)
        crew[i].quota = limit / putters < SEQ_MAX ? limit / putters : SEQ_MAX;
    if (lap.life != FLOW)
        plan_close(rng, putters, getters, limit);
    snprintf(batch.name, sizeof(batch.name), "round %u (seed %" PRIu64 "): %s, %u putters, %u getters", lap.number,
             seed, mix->name, putters, getters);
    return putters + getters;
}

/* The first report of a worker's thread comes out of its channel, and then the channel is closed, as the thread ends.
 */
static void end_worker(struct worker *me)
{
    uint64_t report = NEVER;
    if (!me->outer)
        return;
    int r = spool_get(me->outer, &report);
    check(r == 0 && report == (uint64_t)(me - crew), "report from a thread of spool_go", r);
    r = spool_get(me->outer, &report);
    check(r == -EPIPE, "spool_get from a thread that ended", r);
    me->outer = spool_unref(me->outer);
}

static void end_channel(void)
{
    unsigned char elem[ELEM_MAX] = {0};
    main_where = "ending a channel";
    check(lap.first_closes == 1, "closes that were the first", lap.first_closes);
    for (unsigned lane = 0; lane < lap.lanes; lane++) {
        int r = spool_put(lap.put_end[lane], elem);
        check(r == -EPIPE, "spool_put after a close", r);
        if (lap.life == DROP)
            continue;
        r = spool_get(lap.get_end[lane], elem);
        check(r == -EPIPE, "spool_get from a channel that is closed and drained", r);
        check(spool_len(lap.get_end[lane]) == 0, "spool_len of it", 0);
    }
    if (lap.put_end[1])
        spool_unref(lap.put_end[1]);
    lap.put_end[0] = spool_unref(lap.put_end[0]);
    lap.put_end[1] = lap.get_end[0] = lap.get_end[1] = NULL;
}

/* Log-uniform between ROUND_MIN and some millions, but not more than this mix moves in ROUND_SECONDS. */
static uint64_t draw_limit(const struct mix *mix, uint64_t *rng)
{
    uint64_t limit = ROUND_MIN << draw(rng) % 13;
    limit += draw(rng) % limit;
    double most = ROUND_MIN + (mix->took > 0 ? ROUND_SECONDS * (double)mix->messages / mix->took : 0);
    if ((double)limit > most)
        limit = (uint64_t)most;
    if (asked.messages && limit > asked.messages - tally.messages)
        limit = asked.messages - tally.messages;
    return limit < PRODUCERS ? PRODUCERS : limit;
}

static void run_round(struct mix *mix)
{
    uint64_t rng = seeded(lap.number * UINT64_C(1000003));
    double begin = now_s();
    make_channel(mix);
    unsigned crew_size = plan(mix, &rng, draw_limit(mix, &rng));
    main_where = "starting workers";
    for (size_t i = 0; i < CREW; i++)
        if (crew[i].chan)
            start_worker(&crew[i], true);
    main_where = "waiting for workers";
    while (crew_size)
        crew_size -= sem_wait(&lap.done) == 0;
    main_where = "waiting for threads of workers to end";
    for (size_t i = 0; i < CREW; i++)
        end_worker(&crew[i]);
    end_channel();
    main_where = "comparing";
    mix->messages += batch_verify();
    mix->took += now_s() - begin;
    advance(0, 1);
}

/* ---- The run ---------------------------------------------------------------------------------------------------- */

static void make_mixes(void)
{
    for (size_t f = 0; f < COUNT(flavours); f++) {
        for (size_t s = 0; s < COUNT(sizes); s++) {
            for (int bulk = 0; bulk < 2; bulk++) {
                struct mix *mix = &mixes[n_mixes];
                *mix = (struct mix){.flavour = &flavours[f], .size = sizes[s].bytes, .bulk = bulk};
                mix->share = (bulk ? flavours[f].bulk : flavours[f].mixed) * sizes[s].share;
                snprintf(mix->name, sizeof(mix->name), "%s.%zu.%s", flavours[f].name, sizes[s].bytes,
                         bulk ? "bulk" : "mixed");
                n_mixes += !asked.only || strstr(mix->name, asked.only);
            }
        }
    }
    if (!n_mixes) {
        fprintf(stderr, "soak: no mix is called like %s\n", asked.only);
        exit(2);
    }
}

/* The one that had least of the time due to it. */
static struct mix *next_mix(void)
{
    struct mix *best = mixes;
    for (size_t m = 1; m < n_mixes; m++)
        if (mixes[m].took / mixes[m].share < best->took / best->share)
            best = &mixes[m];
    return best;
}

static void read_options(int argc, char **argv)
{
    uint64_t seconds = 0;
    int option;
    bool ok = true;
    seed = (uint64_t)time(NULL);
    while ((option = getopt(argc, argv, "t:n:r:m:a:v")) != -1) {
        if (option == 't')
            ok &= parse(optarg, &seconds) && seconds > 0;
        else if (option == 'n')
            ok &= parse(optarg, &asked.messages) && asked.messages > 0;
        else if (option == 'r')
            ok &= parse(optarg, &seed);
        else if (option == 'm')
            asked.only = optarg;
        else if (option == 'a')
            asked.append = optarg;
        else if (option == 'v')
            asked.verbose = true;
        else
            ok = false;
    }
    if (!ok || optind < argc) {
        fprintf(stderr, "usage: %s [-t seconds | -n messages] [-r seed] [-m mix] [-a file] [-v]\n", argv[0]);
        exit(2);
    }
    asked.seconds = (double)seconds;
    if (!seconds && !asked.messages)
        asked.seconds = (double)scaled(QUICK_SECONDS);
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    make_mixes();
    printf("soak: seed %" PRIu64 "\n", seed);
    fflush(stdout);
    began = now_s();
    dump = on_fail;
    int r = spool_never(&quiet);
    check(r == 0, "spool_never", r);
    sem_init(&lap.done, 0, 0);
    catch_signals();
    pthread_detach(start(watch, NULL));
    while (!stop && (!asked.messages || tally.messages < asked.messages)) {
        lap.number++;
        run_round(next_mix());
    }
    r = spool_go_wait(-1);
    check(r == 0, "spool_go_wait", r);
    quiet = spool_unref(quiet);
    uint64_t wrong = wrong_so_far();
    printf("%sok soak %llu messages through %llu channels, %" PRIu64 " wrong\n", wrong ? "\nnot " : "\n",
           tally.messages, tally.channels, wrong);
    print_figures();
    return wrong ? 1 : 0;
}
