/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* What a look from outside, and spool_dump, show of a process. */
#include "util.h"

#include <sys/signalfd.h>
#include <sys/wait.h>

#include "look.h"
#include "select.h"

static spool_chan *new_chan(const char *name, size_t elem_size, size_t capacity)
{
    spool_chan *chan;
    must_be(spool_chan_new(&chan, elem_size, capacity), 0);
    must_be(spool_set_name(chan, name), 0);
    return chan;
}

static void look_at(struct spool__look *l, pid_t pid)
{
    must_be(spool__look(l, pid, (uintptr_t)&spool__registry), 0);
}

static const struct spool__seen_lane *lane_of(const struct spool__look *l, const char *name, int nth)
{
    for (int i = 0; i < l->n_chans; i++)
        if (strcmp(l->chans[i].name, name) == 0)
            return &l->lanes[l->chans[i].lanes + nth];
    ck_abort_msg("%s is not seen", name);
}

/* ---- Numbers -------------------------------------------------------------------------------------------------- */

/* Element sizes that lie in the slot, in two words of it, and in cells; and capacities that wrap. */
static const struct {
    size_t elem_size, capacity;
} shapes[] = {{0, 3}, {8, 1}, {8, 5}, {4, 1000}, {64, 3}, {8, SPOOL_UNBOUNDED}, {0, SPOOL_UNBOUNDED}, {100, SPOOL_UNBOUNDED}};

/* As threads that stopped could leave it: hints far behind, and a segment whose cells are gone, so that slots die. */
static void make_it_harder(struct spool__lane *lane, int round)
{
    if (lane->flavour == SPOOL__RING && round % 3 == 1)
        lane->ring.tail = 0;
    else if (lane->flavour == SPOOL__RING && round % 3 == 2)
        lane->ring.head = 0;
    else if (lane->flavour == SPOOL__CHAIN && round % 4 == 1)
        lane->chain.tail->tickets = UINT32_MAX;
}

START_TEST(counts_are_exact)
{
    size_t elem_size = shapes[_i].elem_size, capacity = shapes[_i].capacity;
    spool_chan *chan = new_chan("counted", elem_size, capacity);
    uint64_t puts = 0, gets = 0, seed = 88172645463325252u + (uint64_t)_i;
    char elem[128] = {0};
    struct spool__look l;
    /* Several segments, and many turns. */
    for (int round = 0; round < 60; round++) {
        make_it_harder(spool__chan_lane(chan, SPOOL__GET), round);
        for (uint64_t n = rnd(&seed) % 2000; n > 0; n--)
            puts += spool_try_put(chan, elem) == 0;
        for (uint64_t n = rnd(&seed) % 2000; n > 0; n--)
            gets += spool_try_get(chan, elem) == 0;
        make_it_harder(spool__chan_lane(chan, SPOOL__GET), round);
        look_at(&l, getpid());
        const struct spool__seen_lane *lane = lane_of(&l, "counted", 0);
        must(lane->is_counted && !lane->is_closed);
        must_be(lane->puts, puts);
        must_be(lane->gets, gets);
        must_be(lane->len, spool_len(chan));
        must_be(lane->elem_size, elem_size);
        spool__look_free(&l);
    }
    must_be(spool_close(chan), 0);
    look_at(&l, getpid());
    const struct spool__seen_lane *lane = lane_of(&l, "counted", 0);
    must(lane->is_closed);
    must_be(lane->puts, puts);
    must_be(lane->gets, gets);
    must_be(spool__look_is_undrained(&l, lane), puts > gets);
    spool__look_free(&l);
    spool_unref(chan);
}
END_TEST

static void *get_one(void *arg)
{
    char elem[8];
    must_be(spool_get(arg, elem), 0);
    return NULL;
}

/* Until a thread is seen that is parked in a get from it. */
static void wait_parked(const char *name)
{
    struct spool__look l;
    for (bool parked = false; !parked;) {
        look_at(&l, getpid());
        const struct spool__seen_lane *lane = lane_of(&l, name, 0);
        for (int i = 0; i < l.n_threads; i++)
            parked = parked || (l.threads[i].wait == SPOOL__IN_LANE && l.threads[i].side == SPOOL__GET &&
                                &l.lanes[l.threads[i].what] == lane);
        spool__look_free(&l);
    }
}

START_TEST(rendezvous_and_wakes_are_counted)
{
    spool_chan *meet = new_chan("meet", 8, 0), *ring = new_chan("ring", 8, 4);
    struct spool__look l;
    uint64_t elem = 1;
    for (int i = 0; i < 5; i++) {
        spool_chan *chan = i < 3 ? meet : ring;
        pthread_t thread;
        must_be(pthread_create(&thread, NULL, get_one, chan), 0);
        wait_parked(i < 3 ? "meet" : "ring");
        must_be(spool_put(chan, &elem), 0);
        must_be(pthread_join(thread, NULL), 0);
    }
    /* Nobody waits: no wake. */
    must_be(spool_put(ring, &elem), 0);
    look_at(&l, getpid());
    must_be(lane_of(&l, "meet", 0)->gets, 3);
    must_be(lane_of(&l, "ring", 0)->puts, 3);
    must_be(lane_of(&l, "ring", 0)->gates[SPOOL__GET].wakes, 2);
    spool__look_free(&l);
    spool_unref(meet);
    spool_unref(ring);
}
END_TEST

/* ---- Everything there is -------------------------------------------------------------------------------------- */

static void return_at_once(void *arg)
{
    (void)arg;
}

START_TEST(every_kind_is_seen)
{
    spool_chan *bounded = new_chan("b", 8, 7), *unbounded = new_chan("u", 8, SPOOL_UNBOUNDED), *meet = new_chan("m", 8, 0);
    spool_chan *a, *b, *timer, *outer;
    spool_select *sel;
    struct spool__look l;
    uint64_t elem;
    int fds[2];
    must_be(spool_pair_new(&a, &b, 16, 2), 0);
    must_be(spool_set_name(a, "p"), 0);
    must_be(spool_after(&timer, 1000 * SEC), 0);
    must_be(spool_set_name(timer, "t"), 0);
    must_be(spool_select_new(&sel), 0);
    must_be(pipe(fds), 0);
    must_be(spool_select_get(sel, bounded, &elem), 0);
    must_be(spool_select_put(sel, bounded, &elem), 1);
    must_be(spool_select_get(sel, meet, &elem), 2);
    must_be(spool_select_get(sel, timer, &elem), 3);
    must_be(spool_select_fd(sel, fds[0], POLLIN), 4);
    must_be(spool_select_enable(sel, 4, false), 0);
    look_at(&l, getpid());
    must_be(l.n_chans, 5);
    must_be(l.n_lanes, 6);
    must_be(l.n_selects, 1);
    must_be(l.n_unseen, 0);
    must_be(lane_of(&l, "b", 0)->flavour, SPOOL__RING);
    must_be(lane_of(&l, "b", 0)->capacity, 7);
    must_be(lane_of(&l, "u", 0)->flavour, SPOOL__CHAIN);
    must_be(lane_of(&l, "m", 0)->flavour, SPOOL__MEET);
    must_be(lane_of(&l, "p", 1)->elem_size, 16);
    must(strcmp(spool__look_kind(lane_of(&l, "t", 0)), "timer") == 0);
    must_be(lane_of(&l, "t", 0)->source_fd, spool_fd(timer));
    const struct spool__seen_watch *w = &l.watches[l.selects[0].watches];
    must_be(l.selects[0].n_watches, 5);
    must(&l.lanes[w[0].lane] == lane_of(&l, "b", 0) && w[0].side == SPOOL__GET && w[0].n_on == 1);
    must(&l.lanes[w[1].lane] == lane_of(&l, "b", 0) && w[1].side == SPOOL__PUT);
    must(&l.lanes[w[2].lane] == lane_of(&l, "m", 0) && w[2].side == SPOOL__GET);
    must(&l.lanes[w[3].lane] == lane_of(&l, "t", 0));
    must(w[4].lane == -1 && w[4].fd == fds[0] && w[4].n_on == 0);
    spool__look_free(&l);
    spool_select_free(sel);
    must_be(spool_go(&outer, return_at_once, NULL, 0, 0), 0);
    spool_unref(outer);
    must_be(spool_go_wait(DEADLINE), 0);
    spool_unref(bounded);
    spool_unref(unbounded);
    spool_unref(meet);
    spool_unref(a);
    spool_unref(b);
    spool_unref(timer);
    look_at(&l, getpid());
    must_be(l.n_chans, 0);
    must_be(l.n_selects, 0);
    spool__look_free(&l);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

enum { MAKERS = 3, KEPT = 300 };

static atomic_bool enough;

/* Makes and frees in an order of its own; keeps up to KEPT. */
static void *make_and_free(void *arg)
{
    spool_chan *kept[KEPT] = {NULL};
    uint64_t seed = (uint64_t)(uintptr_t)arg * 7919, elem = 0;
    size_t rounds = scaled(100000);
    for (size_t i = 0; i < rounds && !atomic_load(&enough); i++) {
        spool_chan **at = &kept[rnd(&seed) % KEPT];
        spool_unref(*at);
        *at = new_chan("made", 8, rnd(&seed) % 2 ? 3 : SPOOL_UNBOUNDED);
        must_be(spool_put(*at, &elem), 0);
    }
    for (int i = 0; i < KEPT; i++)
        spool_unref(kept[i]);
    return NULL;
}

START_TEST(looks_while_others_make_and_free)
{
    pthread_t makers[MAKERS];
    struct spool__look l;
    enough = false;
    for (int i = 0; i < MAKERS; i++)
        must_be(pthread_create(&makers[i], NULL, make_and_free, (void *)(uintptr_t)(i + 1)), 0);
    size_t looks = scaled(300);
    for (size_t i = 0; i < looks; i++) {
        look_at(&l, getpid());
        /* Not only those that were there at one moment: who is seen may go, and another one come to an entry ahead. */
        must((uint32_t)l.n_chans <= spool__load(&spool__registry.end, RELAXED));
        for (int k = 0; k < l.n_lanes; k++)
            if (l.lanes[k].flavour == SPOOL__RING)
                must(l.lanes[k].len <= l.lanes[k].capacity);
        spool__look_free(&l);
    }
    atomic_store(&enough, true);
    for (int i = 0; i < MAKERS; i++)
        must_be(pthread_join(makers[i], NULL), 0);
    look_at(&l, getpid());
    must_be(l.n_chans, 0);
    spool__look_free(&l);
    /* Entries are used again: one in sixteen may have been free when one was added, and a thread's be on its way. */
    uint32_t live = MAKERS * (KEPT + 1);
    must(spool__registry.end <= live + live / 15 + 2 * MAKERS);
}
END_TEST

static int dump_fd = -1, dump_result = 1;

/* ---- Verdicts, on a child of this process --------------------------------------------------------------------- */

static spool_chan *left, *right;

static void *put_left_first(void *arg)
{
    uint64_t elem = 0;
    (void)arg;
    while (spool_put(left, &elem) == 0)
        ;
    return NULL;
}

static void *put_right_first(void *arg)
{
    uint64_t elem = 0;
    (void)arg;
    while (spool_put(right, &elem) == 0)
        ;
    return NULL;
}

static void *get_left_in_select(void *arg)
{
    spool_select *sel;
    uint64_t elem;
    (void)arg;
    must_be(spool_select_new(&sel), 0);
    must_be(spool_select_get(sel, left, &elem), 0);
    must_be(spool_select_wait(sel, -1), 0);
    return NULL;
}

static void *get_left_or_fd(void *arg)
{
    spool_select *sel;
    uint64_t elem;
    int fds[2];
    (void)arg;
    must_be(pipe(fds), 0);
    must_be(spool_select_new(&sel), 0);
    must_be(spool_select_get(sel, left, &elem), 0);
    must_be(spool_select_fd(sel, fds[0], POLLIN), 1);
    must_be(spool_select_wait(sel, -1), 0);
    return NULL;
}

static void *get_left_for_long(void *arg)
{
    uint64_t elem;
    (void)arg;
    must_be(spool_get_for(left, &elem, 1000 * SEC), 0);
    return NULL;
}

static _Atomic pid_t getter;

static void *get_left(void *arg)
{
    uint64_t elem;
    getter = self_tid();
    (void)arg;
    must_be(spool_get(left, &elem), 0);
    return NULL;
}

static void *sleep_for_long(void *arg)
{
    sleep(1000);
    return arg;
}

static void *put_into_closed(void *arg)
{
    uint64_t elem = 0;
    must_be(spool_put(right, &elem), 0);
    must_be(spool_close(right), 0);
    return sleep_for_long(arg);
}

static const struct scene {
    const char *name;
    void *(*threads[2])(void *arg);
    bool deadlocked, lost, undrained;
} scenes[] = {
    {"two full channels", {put_left_first, put_right_first}, true, false, false},
    {"a select and a full channel", {get_left_in_select, put_right_first}, true, false, false},
    {"a select with a descriptor", {get_left_or_fd, put_right_first}, false, false, false},
    {"a get with a timeout", {get_left_for_long, put_right_first}, false, false, false},
    {"two gets of one channel", {get_left, get_left}, true, false, false},
    {"somebody sleeps elsewhere", {get_left, sleep_for_long}, false, false, false},
    {"a lost wake", {get_left, sleep_for_long}, false, true, false},
    {"closed with an element", {put_into_closed, sleep_for_long}, false, false, true},
};

/* The process's own thread joins the others. */
static void play(const struct scene *scene)
{
    pthread_t threads[2];
    alarm(300);
    left = new_chan("left", 8, 2);
    right = new_chan("right", 8, 2);
    for (int i = 0; i < 2; i++)
        must_be(pthread_create(&threads[i], NULL, scene->threads[i], NULL), 0);
    if (scene->lost) {
        struct spool__lane *lane = spool__chan_lane(left, SPOOL__PUT);
        uint64_t elem = 0;
        /* After its last look, as if a wake had been lost. */
        wait_until(task_asleep(getter));
        must_be(spool__ring_put(&lane->ring, &elem), 0);
    }
    for (int i = 0; i < 2; i++)
        must_be(pthread_join(threads[i], NULL), 0);
    _exit(0);
}

START_TEST(verdicts)
{
    const struct scene *scene = &scenes[_i];
    pid_t child = fork();
    if (child == 0)
        play(scene);
    must(child > 0);
    dump_fd = open("/dev/null", O_WRONLY);
    struct spool__look l;
    bool deadlocked = false, lost = false, undrained = false;
    /* Until all have gone to sleep for good, and then once more. */
    for (int settled = 0; settled < 20;) {
        bool quiet = true;
        look_at(&l, child);
        quiet = l.n_threads == 3 && l.n_chans == 2;
        deadlocked = spool__look_is_deadlocked(&l);
        lost = undrained = false;
        for (int i = 0; i < l.n_threads; i++) {
            quiet = quiet && l.threads[i].slept;
            lost = lost || spool__look_is_lost(&l, &l.threads[i]);
        }
        must_be(spool__look_print(&l, dump_fd, NULL, NULL), 0);
        for (int i = 0; i < l.n_lanes; i++)
            undrained = undrained || spool__look_is_undrained(&l, &l.lanes[i]);
        spool__look_free(&l);
        settled = quiet ? settled + 1 : 0;
        nap();
    }
    close(dump_fd);
    kill(child, SIGKILL);
    must_be(waitpid(child, NULL, 0), child);
    if (deadlocked != scene->deadlocked || lost != scene->lost || undrained != scene->undrained)
        ck_abort_msg("%s: deadlocked %d, lost %d, undrained %d", scene->name, deadlocked, lost, undrained);
}
END_TEST

START_TEST(errors)
{
    struct spool__look l = {.pid = 4711};
    uint64_t elsewhere[200] = {0};
    must_be(spool__look(&l, getpid(), 8), -EFAULT);
    must_be(spool__look(&l, getpid(), (uintptr_t)elsewhere), -EFAULT);
    must_be(spool__look(&l, 0x3fffffff, (uintptr_t)&spool__registry), -ESRCH);
    /* Another build's: its structs are of other sizes. */
    struct spool__registry *other = malloc(sizeof *other);
    must(other);
    memcpy(other, &spool__registry, sizeof *other);
    other->self = other;
    other->shapes[2]++;
    must_be(spool__look(&l, getpid(), (uintptr_t)other), -EPROTO);
    free(other);
}
END_TEST

/* ---- spool_dump ----------------------------------------------------------------------------------------------- */


static void dump_in_handler(int signo)
{
    (void)signo;
    int saved = errno;
    errno = 4711;
    dump_result = spool_dump(dump_fd);
    dump_result = errno == 4711 ? dump_result : 1;
    errno = saved;
}

static char *read_dump(void)
{
    static char text[65536];
    must_be(lseek(dump_fd, 0, SEEK_SET), 0);
    ssize_t n = read(dump_fd, text, sizeof text - 1);
    must(n > 0);
    text[n] = '\0';
    return text;
}

static void must_say(const char *text, const char *what)
{
    if (!strstr(text, what))
        ck_abort_msg("\"%s\" is missing in:\n%s", what, text);
}

static void *interrupt_when_asleep(void *arg)
{
    wait_asleep((pid_t)(intptr_t)arg);
    must_be(syscall(SYS_tgkill, getpid(), (pid_t)(intptr_t)arg, SIGUSR1), 0);
    return NULL;
}

START_TEST(dump_in_a_signal_handler)
{
    char path[] = "/tmp/spool-dump-XXXXXX";
    uint64_t elem = 0;
    pthread_t other, parked;
    dump_fd = mkstemp(path);
    must(dump_fd >= 0);
    unlink(path);
    spool_chan *jobs = new_chan("jobs", 8, 3), *full = new_chan("full", 8, 1);
    must_be(spool_put(full, &elem), 0);
    must_be(pthread_create(&parked, NULL, get_one, jobs), 0);
    wait_parked("jobs");
    on_signal(SIGUSR1, dump_in_handler);
    must_be(pthread_create(&other, NULL, interrupt_when_asleep, (void *)(intptr_t)self_tid()), 0);
    /* The handler runs while this thread is parked. */
    must_be(spool_put_for(full, &elem, 3 * SEC), -ETIMEDOUT);
    must_be(pthread_join(other, NULL), 0);
    must_be(dump_result, 0);
    const char *text = read_dump();
    must_say(text, "jobs bounded, open, 0 of 3, 8 bytes each, puts 0, gets 0");
    must_say(text, "full bounded, open, 1 of 1, 8 bytes each, puts 1, gets 0");
    must_say(text, "get: test_look (");
    must_say(text, ": get jobs");
    must_say(text, ": runs");
    must_be(spool_put(jobs, &elem), 0);
    must_be(pthread_join(parked, NULL), 0);
    must_be(spool_dump(-1), -EBADF);
    spool_unref(jobs);
    spool_unref(full);
    close(dump_fd);
}
END_TEST

/* ---- In words ------------------------------------------------------------------------------------------------- */

static spool_chan *shown[4];

static void *get_timer(void *arg)
{
    uint64_t elem;
    (void)arg;
    (void)!spool_get(shown[0], &elem);
    return NULL;
}

static void *get_signals(void *arg)
{
    struct signalfd_siginfo elem;
    (void)arg;
    (void)!spool_get(shown[1], &elem);
    return NULL;
}

static void *get_for_long(void *arg)
{
    uint64_t elem;
    (void)arg;
    (void)!spool_get_for(shown[2], &elem, 1000 * SEC);
    return NULL;
}

static void *select_for_long(void *arg)
{
    must_be(spool_select_wait(arg, 1000 * SEC), -ETIMEDOUT);
    return NULL;
}

static void *select_for_ever(void *arg)
{
    must_be(spool_select_wait(arg, -1), 0);
    return NULL;
}

static void *wait_for_all(void *arg)
{
    must_be(spool_go_wait(-1), 0);
    return arg;
}

static void return_soon(void *arg)
{
    (void)arg;
}

static void sleep_in_go(void *arg)
{
    (void)sleep_for_long(arg);
}

static void *join(void *arg)
{
    must_be(pthread_join(*(pthread_t *)arg, NULL), 0);
    return NULL;
}

static void start(void *(*fn)(void *), void *arg, pthread_t *ret)
{
    pthread_t thread;
    must_be(pthread_create(ret ? ret : &thread, NULL, fn, arg), 0);
}

enum { UNNAMED = 30 };

/* One of everything that can be seen. */
static void show_everything(void)
{
    static pthread_t joined;
    static uint64_t elem;
    spool_chan *a, *b, *kept, *unnamed[UNNAMED];
    spool_select *sel, *other, *nested, *empty;
    sigset_t signals;
    int fds[2];
    alarm(300);
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR2);
    must_be(pthread_sigmask(SIG_BLOCK, &signals, NULL), 0);
    must_be(pipe(fds), 0);
    must_be(spool_after(&shown[0], 1000 * SEC), 0);
    must_be(spool_signal(&shown[1], &signals), 0);
    shown[2] = new_chan("slow", 8, 3);
    shown[3] = new_chan("meeting", 8, 0);
    must_be(spool_set_name(shown[0], "hourly"), 0);
    must_be(spool_set_name(shown[1], "news"), 0);
    for (int i = 0; i < UNNAMED; i++)
        must_be(spool_chan_new(&unnamed[i], 8, SPOOL_UNBOUNDED), 0);
    must_be(spool_pair_new(&a, &b, 8, 2), 0);
    must_be(spool_set_name(a, "twins"), 0);
    must(spool_fd(a) >= 0);
    must_be(spool_go(&kept, return_soon, NULL, 0, 0), 0);
    must_be(spool_get(kept, NULL), -EPIPE);
    must_be(spool_go_wait(DEADLINE), 0);
    must_be(spool_go(&kept, sleep_in_go, NULL, 0, 0), 0);
    must_be(spool_set_name(kept, "odd\nname\177"), 0);
    must_be(spool_go(&kept, return_soon, NULL, 0, 0), 0);
    must_be(spool_select_new(&sel), 0);
    must_be(spool_select_get(sel, shown[2], &elem), 0);
    must_be(spool_select_put(sel, shown[3], &elem), 1);
    must_be(spool_select_get(sel, b, &elem), 2);
    must_be(spool_select_fd(sel, fds[0], POLLIN), 3);
    must_be(spool_select_enable(sel, 2, false), 0);
    must_be(spool_select_new(&other), 0);
    must_be(spool_select_get(other, unnamed[0], &elem), 0);
    must_be(spool_select_new(&nested), 0);
    must_be(spool_select_get(nested, unnamed[1], &elem), 0);
    must(spool_select_poll_fd(nested) >= 0);
    must_be(spool_select_new(&empty), 0);
    start(get_timer, NULL, NULL);
    start(get_signals, NULL, NULL);
    start(get_for_long, NULL, NULL);
    start(select_for_long, sel, NULL);
    start(select_for_ever, other, NULL);
    start(wait_for_all, NULL, NULL);
    start(sleep_for_long, NULL, &joined);
    start(join, &joined, NULL);
    start(get_one, new_chan("alone", 8, 0), NULL);
    (void)sleep_for_long(NULL);
}

static const char *somewhere(void *arg, uintptr_t address)
{
    return address ? arg : "?";
}

START_TEST(everything_in_words)
{
    static const char *const wanted[] = {
        "hourly timer, open, 8 bytes each, gets 0, wakes 0", "news signal, open", "slow bounded, open, 0 of 3, 8 bytes each",
        "meeting rendezvous, open, 8 bytes each, puts 0, gets 0", "twins:a bounded", "twins:b bounded",
        " unbounded, open, 0, 8 bytes each", "    made at here\n", ": get hourly", ": get news", ": get slow, with a timeout",
        ": get alone", ": select 0, with a timeout", ": select 1", ": spool_go_wait", ": kept by spool_go", ": joins ",
        ": in system call ", "select 0, fd ", "put meeting", "get twins:b (off)", ", fd ", "nested in another loop: get #",
        ": nothing\n", "get: select 1, armed", "get: select 0, off", ", polled by others", "odd?name?:a rendezvous", "  odd?name? (",
    };
    char path[] = "/tmp/spool-dump-XXXXXX";
    pid_t child = fork();
    if (child == 0)
        show_everything();
    must(child > 0);
    dump_fd = mkstemp(path);
    must(dump_fd >= 0);
    unlink(path);
    struct spool__look l;
    const char *text = "", *missing = "";
    int64_t end = now_ns() + DEADLINE;
    while (missing && now_ns() < end) {
        look_at(&l, child);
        must_be(ftruncate(dump_fd, 0), 0);
        must_be(lseek(dump_fd, 0, SEEK_SET), 0);
        must_be(spool__look_print(&l, dump_fd, somewhere, (void *)(uintptr_t)"here"), 0);
        must(!spool__look_is_deadlocked(&l));
        spool__look_free(&l);
        text = read_dump();
        missing = NULL;
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted && !missing; i++)
            if (!strstr(text, wanted[i]))
                missing = wanted[i];
        nap();
    }
    kill(child, SIGKILL);
    must_be(waitpid(child, NULL, 0), child);
    if (missing)
        ck_abort_msg("\"%s\" is missing in:\n%.3000s", missing, text);
    close(dump_fd);
}
END_TEST

/* ---- Memory that may be anything ------------------------------------------------------------------------------ */

#define UNMAPPED ((void *)(uintptr_t)4096)

/* A registry of its own, whose one channel is a copy of one that is there, and broken. */
static struct {
    struct spool__registry registry;
    struct spool__core core;
    _Alignas(SPOOL_CACHE_LINE) struct spool__lane lane;
    unsigned char behind[4096];
    struct spool_select select;
    struct watch watch;
} fake;

static void break_lane_pointer(void)
{
    fake.core.ends[0].lanes[SPOOL__GET] = UNMAPPED;
}

static void break_core(void)
{
    fake.core.n_lanes = 7;
}

static void break_entry(void)
{
    fake.registry.first[0] = (uintptr_t)UNMAPPED;
}

static void break_flavour(void)
{
    fake.lane.flavour = (enum spool__flavour)77;
}

static void break_unit(void)
{
    fake.lane.ring.unit = 12345;
}

static void break_no_unit(void)
{
    fake.lane.ring.unit = 0;
}

static void break_positions(void)
{
    fake.lane.ring.head = UINT64_MAX;
}

static void break_ring_size(void)
{
    fake.lane.ring.capacity = SIZE_MAX / 32;
    fake.lane.ring.tail = fake.lane.ring.unit / 2;
}

static void break_segment(void)
{
    fake.lane.flavour = SPOOL__CHAIN;
    fake.lane.chain.tail = fake.lane.chain.head = UNMAPPED;
}

static void break_segment_size(void)
{
    fake.lane.flavour = SPOOL__CHAIN;
    fake.lane.chain = (struct spool__chain){.tail = (void *)fake.behind, .head = (void *)fake.behind};
    memset(fake.behind, 0xff, sizeof fake.behind);
}

static void break_slots(void)
{
    break_segment_size();
    memset(fake.behind, 0, sizeof fake.behind);
    memset(fake.behind + sizeof(struct spool__segment), 3, sizeof fake.behind - sizeof(struct spool__segment));
    ((struct spool__segment *)(void *)fake.behind)->slots = 1u << 20;
}

static void break_cycle(void)
{
    break_segment_size();
    memset(fake.behind, 0, sizeof fake.behind);
    ((struct spool__segment *)(void *)fake.behind)->next = (void *)fake.behind;
}

static void break_source(void)
{
    fake.lane.flavour = SPOOL__SOURCE;
    fake.lane.source = (struct spool__source){.ops = UNMAPPED, .fd = 5, .park_plus_1 = 7};
}

static void break_select(void)
{
    fake.registry.first[1] = (uintptr_t)UNMAPPED | SPOOL__A_SELECT;
    fake.registry.end = 2;
}

static void break_watches(void)
{
    fake.select = (struct spool_select){.n_watches = INT32_MAX, .watches = UNMAPPED};
    fake.registry.first[1] = (uintptr_t)&fake.select | SPOOL__A_SELECT;
    fake.registry.end = 2;
}

static void break_watch(void)
{
    fake.watch = (struct watch){.kind = CHAN_GET, .lane = UNMAPPED};
    fake.select = (struct spool_select){.n_watches = 1, .watches = &fake.watch};
    fake.registry.first[1] = (uintptr_t)&fake.select | SPOOL__A_SELECT;
    fake.registry.end = 2;
}

static void break_table(void)
{
    fake.registry.segments[0] = UNMAPPED;
    fake.registry.end = UINT32_MAX;
}

static void (*const breaks[])(void) = {
    break_lane_pointer, break_core,  break_entry,        break_flavour, break_unit,  break_no_unit,
    break_positions,    break_ring_size, break_segment,  break_segment_size, break_slots, break_cycle,
    break_source,       break_select, break_watches,     break_watch,   break_table,
};

/* It ends, says of the rest what is so, and touches nothing. */
START_TEST(broken_memory_is_borne)
{
    spool_chan *chan = new_chan("broken", 8, 3);
    struct spool__look l;
    fake.registry = spool__registry;
    fake.registry.self = &fake.registry;
    fake.registry.end = 1;
    fake.registry.segments[0] = fake.registry.first;
    fake.core = *chan->core;
    fake.core.ends[0].core = &fake.core;
    fake.core.ends[0].lanes[SPOOL__GET] = &fake.lane;
    fake.lane = *spool__chan_lane(chan, SPOOL__GET);
    fake.registry.first[0] = (uintptr_t)&fake.core;
    breaks[_i]();
    must_be(spool__look(&l, getpid(), (uintptr_t)&fake.registry), 0);
    must(l.n_chans <= 1 && l.n_watches == 0);
    dump_fd = open("/dev/null", O_WRONLY);
    must_be(spool__look_print(&l, dump_fd, NULL, NULL), 0);
    for (int i = 0; i < l.n_lanes; i++)
        (void)spool__look_is_undrained(&l, &l.lanes[i]);
    close(dump_fd);
    spool__look_free(&l);
    spool_unref(chan);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("look");
    TCase *tc = case_new(suite, "numbers");
    tcase_add_loop_test(tc, counts_are_exact, 0, (int)(sizeof shapes / sizeof *shapes));
    tcase_add_test(tc, rendezvous_and_wakes_are_counted);
    tc = case_new(suite, "all");
    tcase_add_test(tc, every_kind_is_seen);
    tcase_add_test(tc, looks_while_others_make_and_free);
    tcase_add_test(tc, errors);
    /* A sanitizer has threads of its own, which sleep in other calls. */
    if (!UNDER_TSAN) {
        tc = case_new(suite, "verdicts");
        tcase_add_loop_test(tc, verdicts, 0, (int)(sizeof scenes / sizeof *scenes));
    }
    tc = case_new(suite, "broken");
    tcase_add_loop_test(tc, broken_memory_is_borne, 0, (int)(sizeof breaks / sizeof *breaks));
    tc = case_new(suite, "dump");
    if (!UNDER_TSAN)
        tcase_add_test(tc, everything_in_words);
    tcase_add_test(tc, dump_in_a_signal_handler);
    return run_suite(suite, "look");
}
