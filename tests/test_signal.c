/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Channels over signals. */
#include "source_util.h"

/* No memory, while this is set. The linker sends the library's calls here. */
static bool no_memory;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
    if (!no_memory)
        return __real_calloc(n, size);
    errno = ENOMEM;
    return NULL;
}

/* Signals of this process that nobody may get, here and in the threads to come. */
static void block(const sigset_t *set)
{
    must_be(pthread_sigmask(SIG_BLOCK, set, NULL), 0);
}

static sigset_t set_of(int signo, int other)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    if (other)
        sigaddset(&set, other);
    return set;
}

static spool_chan *signal_of(const sigset_t *set)
{
    spool_chan *chan = NULL;
    must_be(spool_signal(&chan, set), 0);
    return chan;
}

/* A channel for one or two signals, which are blocked. */
static spool_chan *blocked_of(int signo, int other)
{
    sigset_t set = set_of(signo, other);
    block(&set);
    return signal_of(&set);
}

static struct signalfd_siginfo got(spool_chan *chan)
{
    struct signalfd_siginfo info;
    must_be(spool_get_for(chan, &info, DEADLINE), 0);
    return info;
}

static int queue_signal(int signo, int value)
{
    return sigqueue(getpid(), signo, (union sigval){.sival_int = value});
}

/* ---- One thread ----------------------------------------------------------------------------------------------- */

START_TEST(behaves_as_a_channel)
{
    int fds = count_fds();
    spool_chan *chan = blocked_of(SIGUSR1, 0);
    must_behave(chan, sizeof(struct signalfd_siginfo));
    must_be(spool_close(chan), 0);
    must_be_over(chan);
    spool_unref(chan);
    must_be(count_fds(), fds);
}
END_TEST

START_TEST(every_signal_comes)
{
    sigset_t all;
    sigfillset(&all);
    /* ThreadSanitizer has a thread of its own, which does not block these. */
    static const int unblocked[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGPIPE, SIGSEGV, SIGSYS, SIGTRAP};
    for (size_t i = 0; UNDER_TSAN && i < COUNT(unblocked); i++)
        sigdelset(&all, unblocked[i]);
    block(&all);
    spool_chan *chan = signal_of(&all);
    for (int signo = 1; signo <= SIGRTMAX; signo++) {
        if (signo == SIGKILL || signo == SIGSTOP || (signo >= 32 && signo < SIGRTMIN) || !sigismember(&all, signo))
            continue;
        must_be_empty(chan);
        must_be(kill(getpid(), signo), 0);
        must(fd_readable(spool_fd(chan)));
        must_be(spool_len(chan), 1);
        struct signalfd_siginfo info = got(chan);
        must_be(info.ssi_signo, signo);
        must_be(info.ssi_code, SI_USER);
        must_be(info.ssi_pid, getpid());
        must_be(info.ssi_uid, getuid());
        must_be_empty(chan);
        must_be(queue_signal(signo, 1000 + signo), 0);
        info = got(chan);
        must_be(info.ssi_signo, signo);
        must_be(info.ssi_code, SI_QUEUE);
        must_be(info.ssi_int, 1000 + signo);
        must_be(pthread_kill(pthread_self(), signo), 0);
        must(fd_readable(spool_fd(chan)));
        info = got(chan);
        must_be(info.ssi_signo, signo);
        must_be(info.ssi_code, SI_TKILL);
    }
    must_be_empty(chan);
    spool_unref(chan);
}
END_TEST

START_TEST(realtime_signals_queue_in_order)
{
    struct signalfd_siginfo infos[64];
    spool_chan *chan = blocked_of(SIGRTMIN + 1, SIGRTMIN + 2);
    int next = 0;
    for (int i = 0; i < 100; i++)
        must_be(queue_signal(SIGRTMIN + 1, i), 0);
    must_be(spool_len(chan), 1);
    for (int want = 64; next < 100; want = 36) {
        must_be(spool_get_many(chan, infos, 64, -1), want);
        for (int i = 0; i < want; i++)
            must_be(infos[i].ssi_int, next++);
    }
    must_be_empty(chan);
    /* The lower number first, whichever was sent first. */
    for (int i = 0; i < 10; i++)
        must_be(queue_signal(SIGRTMIN + 1 + (i + 1) % 2, i), 0);
    for (int i = 0; i < 10; i++) {
        infos[0] = got(chan);
        must_be(infos[0].ssi_signo, SIGRTMIN + 1 + i / 5);
        must_be(infos[0].ssi_int, i % 5 * 2 + (i < 5));
    }
    must_be_empty(chan);
    spool_unref(chan);
}
END_TEST

START_TEST(others_merge_while_pending)
{
    spool_chan *chan = blocked_of(SIGUSR1, SIGUSR2);
    for (int i = 0; i < 3; i++) {
        must_be(kill(getpid(), SIGUSR1), 0);
        must_be(kill(getpid(), SIGUSR2), 0);
    }
    must_be(got(chan).ssi_signo, SIGUSR1);
    must_be(got(chan).ssi_signo, SIGUSR2);
    must_be_empty(chan);
    spool_unref(chan);
}
END_TEST

START_TEST(a_select_that_only_asks_takes_nothing)
{
    spool_chan *chan = blocked_of(SIGUSR1, 0);
    spool_select *sel = select_of();
    must_be(spool_select_get(sel, chan, NULL), 0);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    must_be(queue_signal(SIGUSR1, 7), 0);
    for (int i = 0; i < 3; i++) {
        must_be(spool_select_wait(sel, DEADLINE), 0);
        must_be(spool_select_result(sel, 0), 0);
        must_be(spool_len(chan), 1);
    }
    must_be(got(chan).ssi_int, 7);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    must_be(spool_close(chan), 0);
    must_be(spool_select_wait(sel, DEADLINE), 0);
    must_be(spool_select_result(sel, 0), -EPIPE);
    spool_select_free(sel);
    spool_unref(chan);
}
END_TEST

START_TEST(what_is_pending_stays_after_a_close)
{
    sigset_t set = set_of(SIGRTMIN + 3, 0);
    block(&set);
    spool_chan *chan = signal_of(&set);
    must_be(queue_signal(SIGRTMIN + 3, 1), 0);
    must_be(queue_signal(SIGRTMIN + 3, 2), 0);
    must_be(got(chan).ssi_int, 1);
    must_be(spool_close(chan), 0);
    must_be_over(chan);
    spool_chan *next = signal_of(&set);
    must_be_over(chan);
    must_be(got(next).ssi_int, 2);
    must_be_empty(next);
    must_be(queue_signal(SIGRTMIN + 3, 3), 0);
    spool_unref(next);
    spool_unref(chan);
    must_be(sigwaitinfo(&set, NULL), SIGRTMIN + 3);
}
END_TEST

/* A forked child has the same descriptors. What it does with its copy of the channel is nothing to its parent. */
START_TEST(a_forked_child_may_drop_it)
{
    spool_chan *chan = blocked_of(SIGUSR1, 0);
    for (int way = 0; way < 2; way++) {
        int status;
        pid_t pid = fork();
        must(pid >= 0);
        if (pid == 0) {
            union any_elem elem;
            bool closed = way == 0 || (spool_close(chan) == 0 && spool_try_get(chan, &elem) == -EPIPE);
            spool_unref(chan);
            _exit(closed ? 0 : 1);
        }
        must_be(waitpid(pid, &status, 0), pid);
        must_be(status, 0);
        must_be_empty(chan);
    }
    must_be(spool_close(chan), 0);
    must_be_over(chan);
    spool_unref(chan);
}
END_TEST

/* ---- Which threads block -------------------------------------------------------------------------------------- */

struct guest {
    pthread_t thread;
    sigset_t unblock;
    atomic_bool ready, leave;
};

static void *guest_main(void *arg)
{
    struct guest *g = arg;
    pthread_sigmask(SIG_UNBLOCK, &g->unblock, NULL);
    atomic_store(&g->ready, true);
    while (!atomic_load(&g->leave))
        nap();
    return NULL;
}

static void guest_start(struct guest *g, sigset_t unblock)
{
    g->unblock = unblock;
    atomic_store(&g->ready, false);
    atomic_store(&g->leave, false);
    must_be(pthread_create(&g->thread, NULL, guest_main, g), 0);
    wait_until(atomic_load(&g->ready));
}

static void guest_end(struct guest *g)
{
    atomic_store(&g->leave, true);
    must_be(pthread_join(g->thread, NULL), 0);
}

START_TEST(bad_arguments)
{
    sigset_t set = set_of(SIGUSR1, 0), none, unstoppable = set_of(SIGKILL, SIGSTOP);
    spool_chan *chan = NULL;
    int fds = count_fds();
    sigemptyset(&none);
    errno = OWN_ERRNO;
    must_be(spool_signal(NULL, &set), -EINVAL);
    must_be(spool_signal(&chan, NULL), -EINVAL);
    must_be(spool_signal(&chan, &none), -EINVAL);
    must_be(spool_signal(&chan, &unstoppable), -EINVAL);
    /* Not blocked here. */
    must_be(spool_signal(&chan, &set), -EBUSY);
    must_be(errno, OWN_ERRNO);
    must(!chan);
    must_be(count_fds(), fds);
    block(&set);
    sigaddset(&set, SIGKILL);
    sigaddset(&set, SIGSTOP);
    spool_unref(signal_of(&set));
}
END_TEST

#define GUESTS 100

START_TEST(says_who_does_not_block)
{
    static struct guest guests[GUESTS];
    sigset_t set = set_of(SIGUSR1, SIGRTMAX), none, one = set_of(SIGRTMAX, 0);
    spool_chan *chan = NULL;
    int fds = count_fds();
    sigemptyset(&none);
    block(&set);
    for (int i = 0; i < GUESTS; i++)
        guest_start(&guests[i], none);
    errno = OWN_ERRNO;
    for (int odd = 0; odd < 3; odd++) {
        int at = odd * (GUESTS - 1) / 2;
        spool_unref(signal_of(&set));
        guest_end(&guests[at]);
        guest_start(&guests[at], one);
        must_be(spool_signal(&chan, &set), -EBUSY);
        must(!chan);
        sigset_t other = set_of(SIGUSR1, 0);
        spool_unref(signal_of(&other));
        guest_end(&guests[at]);
        guest_start(&guests[at], none);
    }
    for (int i = 0; i < GUESTS; i++)
        guest_end(&guests[i]);
    spool_unref(signal_of(&set));
    must_be(count_fds(), fds);
}
END_TEST

static void *ends_at_once(void *arg)
{
    return arg;
}

static int comes_and_goes(struct worker *w)
{
    atomic_bool *stop = w->more;
    while (!atomic_load(stop)) {
        pthread_t threads[4];
        for (size_t i = 0; i < COUNT(threads); i++)
            must_be(pthread_create(&threads[i], NULL, ends_at_once, NULL), 0);
        for (size_t i = 0; i < COUNT(threads); i++)
            must_be(pthread_join(threads[i], NULL), 0);
        w->count++;
    }
    return 0;
}

START_TEST(threads_may_end_meanwhile)
{
    atomic_bool stop = false;
    struct worker w = {.more = &stop};
    sigset_t set = set_of(SIGUSR1, SIGUSR2);
    block(&set);
    worker_start(&w, comes_and_goes);
    for (size_t i = 0; i < scaled(5000); i++)
        spool_unref(signal_of(&set));
    atomic_store(&stop, true);
    must_be(worker_join(&w), 0);
    must(w.count > 0);
}
END_TEST

static void *outlives_main(void *arg)
{
    sigset_t set = set_of(SIGUSR1, 0);
    spool_chan *chan = NULL;
    (void)arg;
    wait_until(task_state(getpid()) == 'Z');
    block(&set);
    _exit(spool_signal(&chan, &set) == 0 ? 0 : 1);
}

/* The first thread, which did not block it, is there as long as the process, if only as a zombie. */
START_TEST(the_first_thread_may_have_ended)
{
    pthread_t thread;
    int status;
    pid_t pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        if (pthread_create(&thread, NULL, outlives_main, NULL) != 0)
            _exit(2);
        syscall(SYS_exit, 0);
    }
    must_be(waitpid(pid, &status, 0), pid);
    must(WIFEXITED(status));
    must_be(WEXITSTATUS(status), 0);
}
END_TEST

START_TEST(without_proc_the_caller_stands_for_all)
{
    struct guest guest;
    sigset_t set = set_of(SIGUSR1, 0);
    char dir[] = "/tmp/spool-test-XXXXXX";
    spool_chan *chan = NULL;
    block(&set);
    guest_start(&guest, set);
    must_be(spool_signal(&chan, &set), -EBUSY);
    must(mkdtemp(dir) == dir);
    int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(root >= 0);
    if (chroot(dir) < 0) {
        must_be(errno, EPERM);
        must_be(rmdir(dir), 0);
        guest_end(&guest);
        skip("without_proc_the_caller_stands_for_all", "chroot(2) is not permitted");
        return;
    }
    errno = OWN_ERRNO;
    must_be(spool_signal(&chan, &set), 0);
    must_be(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
    must_be(spool_signal(&(spool_chan *){NULL}, &set), -EBUSY);
    must_be(errno, OWN_ERRNO);
    must_be(fchdir(root), 0);
    must_be(chroot("."), 0);
    must_be(rmdir(dir), 0);
    must_be(close(root), 0);
    guest_end(&guest);
    spool_unref(chan);
}
END_TEST

/* ---- Several threads ------------------------------------------------------------------------------------------ */

START_TEST(close_lets_all_go)
{
    int fds = count_fds();
    spool_chan *chan = blocked_of(SIGUSR1, 0);
    must_let_all_go(chan, _i == 1);
    if (_i == 0) {
        must_be_over(chan);
        spool_unref(chan);
    }
    must_be(count_fds(), fds);
}
END_TEST

/* The tally of a storm: how often each value came. */
struct tally {
    atomic_uchar *seen;
    _Atomic size_t total;
};

static int tallies(struct worker *w)
{
    struct tally *tally = w->more;
    struct signalfd_siginfo infos[32];
    ssize_t n;
    while ((n = spool_get_many(w->chan, infos, w->count, w->timeout_ns)) != -EPIPE) {
        if (n == -ETIMEDOUT)
            continue;
        must(n > 0);
        for (ssize_t i = 0; i < n; i++)
            atomic_fetch_add(&tally->seen[infos[i].ssi_int], 1);
        atomic_fetch_add(&tally->total, (size_t)n);
    }
    return 0;
}

/* Sends those from the one numbered i on. Returns how often the kernel's limit was in the way. */
static size_t send_all(struct tally *tally, int signo, size_t i, size_t count)
{
    size_t limited = 0;
    int64_t end = 0;
    while (i < count) {
        size_t before = atomic_load(&tally->total);
        if (queue_signal(signo, (int)i) == 0) {
            i++;
            end = 0;
            continue;
        }
        if (end == 0)
            end = now_ns() + DEADLINE;
        must_be(errno, EAGAIN);
        limited++;
        /* Until something was got, or, if all of it was, others of this user leave some room. */
        must(now_ns() < end);
        do
            sched_yield();
        while (before < i && atomic_load(&tally->total) == before && now_ns() < end);
    }
    return limited;
}

/* Signals that are queued for processes of this user. */
static rlim_t pending_now(void)
{
    char buf[8192];
    must(task_file(self_tid(), "status", buf, sizeof(buf)));
    const char *line = strstr(buf, "\nSigQ:");
    must(line);
    return strtoul(line + sizeof("\nSigQ:") - 1, NULL, 10);
}

#define STORM 1000000

START_TEST(storm_loses_nothing)
{
    struct worker w[4];
    struct rlimit limit, was;
    size_t count = scaled(_i == 0 ? STORM : STORM / 10), getters = _i == 0 ? 1 : COUNT(w);
    struct tally tally = {.seen = calloc(count, 1)};
    memset(w, 0, sizeof(w));
    must(tally.seen);
    must_be(getrlimit(RLIMIT_SIGPENDING, &limit), 0);
    was = limit;
    /* What other processes of this user have pending counts: leave some for them, or little for this one. */
    limit.rlim_cur = _i == 2 ? pending_now() + 64 : limit.rlim_cur / 4;
    if (limit.rlim_cur > was.rlim_cur || limit.rlim_cur <= pending_now()) {
        skip("storm_loses_nothing", "RLIMIT_SIGPENDING is used up by other processes");
        free(tally.seen);
        return;
    }
    must_be(setrlimit(RLIMIT_SIGPENDING, &limit), 0);
    spool_chan *chan = blocked_of(SIGRTMIN + 4, 0);
    int64_t start = now_ns();
    /* As many as the kernel takes before anybody gets. */
    size_t sent = 0;
    while (_i == 0 && sent < count && queue_signal(SIGRTMIN + 4, (int)sent) == 0)
        sent++;
    for (size_t i = 0; i < getters; i++) {
        w[i].chan = chan;
        w[i].more = &tally;
        w[i].count = i % 2 ? 1 : 32;
        w[i].timeout_ns = i == 2 ? 100 * US : -1;
        worker_start(&w[i], tallies);
    }
    size_t limited = (_i == 0 && sent < count) + send_all(&tally, SIGRTMIN + 4, sent, count);
    wait_until(atomic_load(&tally.total) >= count);
    int64_t took = now_ns() - start;
    must_be(spool_close(chan), 0);
    for (size_t i = 0; i < getters; i++)
        must_be(worker_join(&w[i]), 0);
    must_be(setrlimit(RLIMIT_SIGPENDING, &was), 0);
    must_be(atomic_load(&tally.total), count);
    for (size_t i = 0; i < count; i++)
        must_be(tally.seen[i], 1);
    printf("signal: %zu queued signals to %zu getters, none lost, %.0f ns each; %zu at once; "
           "RLIMIT_SIGPENDING %llu was hit %zu times\n",
           count, getters, (double)took / (double)count, sent, (unsigned long long)limit.rlim_cur, limited);
    fflush(stdout);
    spool_unref(chan);
    free(tally.seen);
}
END_TEST

static int gets_its_own(struct worker *w)
{
    struct signalfd_siginfo info;
    for (size_t i = 0; i < w->count; i++) {
        int r = w->index % 2 ? spool_get_for(w->chan, &info, DEADLINE) : spool_get(w->chan, &info);
        must_be(r, 0);
        must_be(info.ssi_signo, SIGRTMIN + 5);
        must_be(info.ssi_int, w->index * 1000 + i);
        atomic_fetch_add((_Atomic size_t *)w->more, 1);
    }
    return 0;
}

static void queue_to_thread(pid_t tid, int signo, int value)
{
    siginfo_t info;
    memset(&info, 0, sizeof(info));
    info.si_signo = signo;
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_int = value;
    must_be(syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, signo, &info), 0);
}

START_TEST(a_signal_to_one_thread_is_got_by_it)
{
    struct worker w[WAITERS];
    _Atomic size_t total = 0;
    size_t rounds = scaled(100);
    spool_chan *chan = blocked_of(SIGRTMIN + 5, 0);
    uint64_t seed = 1234567;
    memset(w, 0, sizeof(w));
    for (size_t i = 0; i < WAITERS; i++) {
        w[i].chan = chan;
        w[i].index = i;
        w[i].count = rounds;
        w[i].more = &total;
        worker_start(&w[i], gets_its_own);
    }
    for (size_t i = 0; i < WAITERS; i++)
        worker_wait_asleep(&w[i]);
    for (size_t round = 0; round < rounds; round++) {
        size_t first = rnd(&seed) % WAITERS;
        for (size_t i = 0; i < WAITERS; i++) {
            size_t to = (first + i) % WAITERS;
            queue_to_thread(atomic_load(&w[to].tid), SIGRTMIN + 5, (int)(to * 1000 + round));
            /* Mostly with all of them asleep. */
            if (round % 4)
                wait_until(atomic_load(&total) == round * WAITERS + i + 1);
        }
        wait_until(atomic_load(&total) == (round + 1) * WAITERS);
    }
    for (size_t i = 0; i < WAITERS; i++)
        must_be(worker_join(&w[i]), 0);
    must_be_empty(chan);
    spool_unref(chan);
}
END_TEST

static atomic_int handled;

static void count_signal(int signo)
{
    (void)signo;
    atomic_fetch_add(&handled, 1);
}

static int waits_long_and_short(struct worker *w)
{
    struct signalfd_siginfo info;
    for (int i = 0; i < 5; i++) {
        int64_t start = now_ns();
        must_be(spool_get_for(w->chan, &info, 5 * MS), -ETIMEDOUT);
        must(now_ns() - start >= 5 * MS);
    }
    atomic_store((atomic_bool *)w->more, true);
    must_be(spool_get(w->chan, &info), 0);
    must_be(info.ssi_signo, SIGUSR2);
    return 0;
}

START_TEST(other_signals_change_nothing)
{
    atomic_bool waits = false;
    struct worker w = {.chan = blocked_of(SIGUSR2, 0), .more = &waits};
    on_signal(SIGUSR1, count_signal);
    worker_start(&w, waits_long_and_short);
    wait_until(atomic_load(&w.tid) != 0);
    timer_t storm = storm_begin(atomic_load(&w.tid), SIGUSR1, 100 * US);
    wait_until(atomic_load(&waits) || atomic_load(&w.done));
    int before = atomic_load(&handled);
    wait_until(atomic_load(&handled) > before + 10);
    must(!atomic_load(&w.done));
    must_be(kill(getpid(), SIGUSR2), 0);
    must_be(worker_join(&w), 0);
    storm_end(storm);
    spool_unref(w.chan);
}
END_TEST

/* ---- Pollers -------------------------------------------------------------------------------------------------- */

static const uint32_t modes[] = {0, EPOLLET, EPOLLONESHOT};

START_TEST(works_in_a_foreign_epoll)
{
    int set = epoll_create1(EPOLL_CLOEXEC);
    spool_chan *chan = blocked_of(SIGRTMIN, 0);
    struct epoll_event ev = {.events = EPOLLIN | modes[_i]}, out;
    struct signalfd_siginfo info;
    must(set >= 0);
    must_be(epoll_ctl(set, EPOLL_CTL_ADD, spool_fd(chan), &ev), 0);
    for (int round = 0; round < 20; round++) {
        must_be(epoll_wait(set, &out, 1, 0), 0);
        for (int i = 0; i <= round; i++)
            must_be(queue_signal(SIGRTMIN, i), 0);
        must_be(epoll_wait(set, &out, 1, (int)(DEADLINE / MS)), 1);
        int n = 0;
        while (spool_try_get(chan, &info) == 0)
            must_be(info.ssi_int, n++);
        must_be(n, round + 1);
        if (modes[_i] & EPOLLONESHOT)
            must_be(epoll_ctl(set, EPOLL_CTL_MOD, spool_fd(chan), &ev), 0);
    }
    must_be(epoll_wait(set, &out, 1, 0), 0);
    must_be(spool_close(chan), 0);
    must_be(epoll_wait(set, &out, 1, (int)(DEADLINE / MS)), 1);
    must_be_over(chan);
    spool_unref(chan);
    close(set);
}
END_TEST

static int selects_signals(struct worker *w)
{
    struct tally *tally = w->more;
    struct signalfd_siginfo info;
    spool_select *sel = select_of();
    must_be(spool_select_get(sel, w->chan, &info), 0);
    int index;
    while ((index = spool_select_wait(sel, -1)) >= 0) {
        if (spool_select_result(sel, index) == -EPIPE)
            continue;
        atomic_fetch_add(&tally->seen[info.ssi_int], 1);
        atomic_fetch_add(&tally->total, 1);
    }
    must_be(index, -ENODATA);
    spool_select_free(sel);
    return 0;
}

START_TEST(selects_and_gets_share_what_comes)
{
    struct worker w[4];
    size_t count = scaled(20000);
    struct tally tally = {.seen = calloc(count, 1)};
    spool_chan *chan = blocked_of(SIGRTMIN + 6, 0);
    memset(w, 0, sizeof(w));
    must(tally.seen);
    for (size_t i = 0; i < COUNT(w); i++) {
        w[i].chan = chan;
        w[i].more = &tally;
        w[i].count = 1;
        w[i].timeout_ns = -1;
        worker_start(&w[i], i < 2 ? selects_signals : tallies);
    }
    for (size_t i = 0; i < count; i++) {
        while (queue_signal(SIGRTMIN + 6, (int)i) < 0)
            sched_yield();
        /* Now and then everybody has gone to sleep before the next. */
        if (i % 64 == 0)
            wait_until(atomic_load(&tally.total) == i + 1);
    }
    wait_until(atomic_load(&tally.total) == count);
    must_be(spool_close(chan), 0);
    for (size_t i = 0; i < COUNT(w); i++)
        must_be(worker_join(&w[i]), 0);
    for (size_t i = 0; i < count; i++)
        must_be(tally.seen[i], 1);
    spool_unref(chan);
    free(tally.seen);
}
END_TEST

/* ---- Lack ----------------------------------------------------------------------------------------------------- */

static int count_done(const struct worker *w)
{
    int n = 0;
    for (int i = 0; i < WAITERS; i++)
        n += atomic_load(&w[i].done);
    return n;
}

START_TEST(gives_back_what_it_made)
{
    int fds = count_fds();
    spool_chan *none = NULL;
    sigset_t set = set_of(SIGUSR1, 0);
    block(&set);
    errno = OWN_ERRNO;
    no_memory = true;
    int r = spool_signal(&none, &set);
    no_memory = false;
    must_be(r, -ENOMEM);
    must(!none);
    must_be(errno, OWN_ERRNO);
    must_be(count_fds(), fds);
    if (!forbid(SYS_epoll_create1, 0, ENFILE)) {
        skip("gives_back_what_it_made", "no seccomp for its second half");
        return;
    }
    errno = OWN_ERRNO;
    must_be(spool_signal(&none, &set), -ENFILE);
    must(!none);
    must_be(errno, OWN_ERRNO);
    must_be(count_fds(), fds);
}
END_TEST

START_TEST(works_on_without_descriptors)
{
    struct shortage shortage;
    struct worker w[WAITERS];
    int fds = count_fds();
    spool_chan *chan = blocked_of(SIGUSR1, SIGUSR2), *none = NULL;
    sigset_t set = set_of(SIGUSR1, 0);
    memset(w, 0, sizeof(w));
    shortage_begin(&shortage);
    /* One descriptor more each time: it is short of another one, and gives back what it made. */
    errno = OWN_ERRNO;
    for (int spare = 0; spare < 3; spare++) {
        must_be(spool_signal(&none, &set), -EMFILE);
        must(!none);
        must_be(errno, OWN_ERRNO);
        must_be(close(shortage.held[--shortage.n_held]), 0);
    }
    must_be(spool_signal(&none, &set), 0);
    spool_unref(none);
    while (shortage.n_held < (int)COUNT(shortage.held) && (shortage.held[shortage.n_held] = dup(0)) >= 0)
        shortage.n_held++;
    for (int i = 0; i < WAITERS; i++) {
        w[i].chan = chan;
        w[i].timeout_ns = i % 2 ? 0 : 2 * DEADLINE;
        worker_start(&w[i], one_get);
    }
    must_be(kill(getpid(), SIGUSR1), 0);
    wait_until(spool_len(chan) == 0);
    shortage_end(&shortage);
    wait_until(count_done(w) == 1);
    must_be(spool_close(chan), 0);
    int ok = 0;
    for (int i = 0; i < WAITERS; i++) {
        int r = worker_join(&w[i]);
        must(r == 0 || r == -EPIPE);
        ok += r == 0;
    }
    must_be(ok, 1);
    spool_unref(chan);
    must_be(count_fds(), fds);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("signal");
    TCase *tc = case_new(suite, "one thread");
    tcase_add_test(tc, behaves_as_a_channel);
    tcase_add_test(tc, every_signal_comes);
    tcase_add_test(tc, realtime_signals_queue_in_order);
    tcase_add_test(tc, others_merge_while_pending);
    tcase_add_test(tc, a_select_that_only_asks_takes_nothing);
    tcase_add_test(tc, what_is_pending_stays_after_a_close);
    tcase_add_test(tc, a_forked_child_may_drop_it);
    tc = case_new(suite, "masks");
    tcase_add_test(tc, bad_arguments);
    tcase_add_test(tc, says_who_does_not_block);
    tcase_add_test(tc, threads_may_end_meanwhile);
    tcase_add_test(tc, the_first_thread_may_have_ended);
    tcase_add_test(tc, without_proc_the_caller_stands_for_all);
    tc = case_new(suite, "threads");
    tcase_add_loop_test(tc, close_lets_all_go, 0, 2);
    tcase_add_loop_test(tc, storm_loses_nothing, 0, 3);
    tcase_add_test(tc, a_signal_to_one_thread_is_got_by_it);
    tcase_add_test(tc, other_signals_change_nothing);
    tc = case_new(suite, "pollers");
    tcase_add_loop_test(tc, works_in_a_foreign_epoll, 0, COUNT(modes));
    tcase_add_test(tc, selects_and_gets_share_what_comes);
    tc = case_new(suite, "lack");
    tcase_add_test(tc, gives_back_what_it_made);
    tcase_add_test(tc, works_on_without_descriptors);
    return run_suite(suite, "signal");
}
