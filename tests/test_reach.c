/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* What few programs come to: one processor, descriptors that are closed too early, who asks again and again. */
#include "select_util.h"

#include <sys/signalfd.h>

enum { ASKED = 2500 };

static void bind_to_one_processor(void)
{
    cpu_set_t all, one;
    must_be(sched_getaffinity(0, sizeof all, &all), 0);
    CPU_ZERO(&one);
    for (int cpu = 0; CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &all))
            CPU_SET(cpu, &one);
    must_be(sched_setaffinity(0, sizeof one, &one), 0);
}

/* Spinning is of no use there: the other thread runs only if this one lets it. */
START_TEST(one_processor)
{
    bind_to_one_processor();
    spool_chan *chan = chan_of(flavours[_i]);
    for (uint64_t i = 0; i < 100; i++) {
        uint64_t value = i;
        struct worker w = {.chan = chan, .elem = &value};
        worker_start(&w, worker_put);
        uint64_t got = 0;
        must_be(spool_get_for(chan, &got, DEADLINE), 0);
        must_be(got, i);
        must_be(worker_join(&w), 0);
    }
    spool_unref(chan);
}
END_TEST

/* Nor does anybody look again there before a descriptor is made unreadable. */
START_TEST(one_processor_in_other_loops)
{
    bind_to_one_processor();
    spool_chan *chan = chan_of(flavours[_i]);
    spool_select *sel = select_of();
    uint64_t got = 0;
    must_be(spool_get_for(chan, &got, 1000), -ETIMEDOUT);
    int fd = spool_fd(chan);
    must_be(spool_select_get(sel, chan, &got), 0);
    must_be_quiet(sel);
    for (int round = 0; round < 3; round++) {
        put(chan, 1);
        must(fd_readable(fd));
        must_be(get(chan), 1);
        must_be(spool_try_get(chan, &got), -EAGAIN);
        must(!fd_readable(fd));
        must_be_quiet(sel);
        put(chan, 2);
        put(chan, 3);
        must_be(wait_ready(sel), 0);
        must_be(wait_ready(sel), 0);
        must_be(got, 3);
        must_be_quiet(sel);
    }
    spool_select_free(sel);
    spool_unref(chan);
}
END_TEST

/* A case whose descriptor was closed, and its number used again, is waited for again once it is enabled. */
START_TEST(descriptor_that_was_replaced)
{
    int old[2], new[2];
    spool_select *sel = select_of();
    pipe_of(old);
    pipe_of(new);
    must_be(spool_select_fd(sel, old[0], EPOLLIN), 0);
    must_be_quiet(sel);
    must_be(dup2(new[0], old[0]), old[0]);
    write_byte(new[1]);
    must_be(spool_select_enable(sel, 0, true), 0);
    must_be(wait_ready(sel), 0);
    must_be(spool_select_result(sel, 0), EPOLLIN);
    read_byte(new[0]);
    must_be_quiet(sel);
    must_be(spool_select_remove(sel, 0), 0);
    spool_select_free(sel);
    close_both(old);
    close_both(new);
}
END_TEST

/*
 * The kernel goes on to report a descriptor that was closed before its case was removed, if there is a duplicate. Such
 * events are nobody's: not those of the case that has the place now, either.
 */
START_TEST(descriptor_that_was_closed_too_early)
{
    int fds[2], other[2];
    uint64_t value = 0;
    spool_chan *chan = chan_of(1);
    spool_select *sel = select_of();
    pipe_of(fds);
    pipe_of(other);
    must_be(spool_select_fd(sel, fds[0], EPOLLIN), 0);
    int copy = dup(fds[0]);
    must(copy >= 0);
    must_be(close(fds[0]), 0);
    must_be(spool_select_remove(sel, 0), 0);
    if (_i == 0)
        must_be(spool_select_get(sel, chan, &value), 0);
    else
        must_be(spool_select_fd(sel, other[0], EPOLLIN), 0);
    write_byte(fds[1]);
    must_be(spool_select_wait(sel, 0), -EAGAIN);
    must_be(spool_select_wait(sel, MS), -ETIMEDOUT);
    if (_i == 0)
        put(chan, 7);
    else
        write_byte(other[1]);
    must_be(spool_select_wait(sel, DEADLINE), 0);
    must_be(value, _i == 0 ? 7 : 0);
    spool_select_free(sel);
    close(copy);
    close(fds[1]);
    close_both(other);
    spool_unref(chan);
}
END_TEST

/* Each that finds a channel closed tells the next of those that poll; that ends some time, but it stays readable. */
START_TEST(closed_and_asked_for_ever)
{
    spool_chan *chan = NULL;
    uint64_t value = 0;
    must_be(_i == 0 ? spool_chan_new(&chan, sizeof value, 1) : spool_never(&chan), 0);
    int fd = spool_fd(chan);
    must(!fd_readable(fd));
    must_be(spool_close(chan), 0);
    for (int i = 0; i < ASKED; i++) {
        must_be(spool_try_get(chan, &value), -EPIPE);
        must(fd_readable(fd));
    }
    spool_unref(chan);
}
END_TEST

/* More than are taken from the kernel at once. */
START_TEST(many_signals)
{
    static struct signalfd_siginfo infos[5000];
    spool_chan *chan = NULL;
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGRTMIN);
    must_be(pthread_sigmask(SIG_BLOCK, &mask, NULL), 0);
    must_be(spool_signal(&chan, &mask), 0);
    for (int i = 0; i < 200; i++)
        must_be(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i}), 0);
    for (int got = 0; got < 200;) {
        ssize_t n = spool_get_many(chan, infos, COUNT(infos), 0);
        must(n > 0 && n <= 200 - got);
        for (ssize_t i = 0; i < n; i++)
            must_be(infos[i].ssi_int, got + i);
        got += (int)n;
    }
    must_be(spool_get_many(chan, infos, COUNT(infos), 0), -EAGAIN);
    spool_unref(chan);
}
END_TEST

/* No sum or product overflows on the way to what the elements' own size allows. */
START_TEST(sizes_that_no_machine_has)
{
    const size_t sizes[] = {0, 1, 8, 9, 16, 200, 4096, SIZE_MAX / 16};
    for (size_t divisor = 1; divisor <= 64; divisor++) {
        for (size_t less = 1; less <= 4097; less = less * 2 + 15) {
            for (size_t i = 0; i < COUNT(sizes); i++) {
                spool_chan *a = NULL, *b = NULL;
                size_t capacity = SIZE_MAX / divisor - less, product;
                int want = __builtin_mul_overflow(sizes[i], capacity, &product) ? -EOVERFLOW : -ENOMEM;
                must_be(spool_chan_new(&a, sizes[i], capacity), want);
                must_be(spool_pair_new(&a, &b, sizes[i], capacity), want);
                must(!a && !b);
            }
        }
    }
}
END_TEST

static void return_at_once(void *arg)
{
    (void)arg;
}

/* Threads that nobody has had a use for, for a while, end. */
START_TEST(idle_threads_end)
{
    spool_chan *chan = NULL;
    int threads = count_threads();
    for (int i = 0; i < 3; i++) {
        must_be(spool_go(&chan, return_at_once, NULL, 0, 1), 0);
        must_be(spool_get(chan, NULL), -EPIPE);
        spool_unref(chan);
    }
    must_be(spool_go_wait(DEADLINE), 0);
    must(count_threads() > threads);
    wait_until(count_threads() == threads);
    must_be(spool_go(&chan, return_at_once, NULL, 0, 1), 0);
    must_be(spool_get(chan, NULL), -EPIPE);
    spool_unref(chan);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reach");
    TCase *tc = case_new(suite, "processors");
    tcase_add_loop_test(tc, one_processor, 0, FLAVOURS);
    tcase_add_loop_test(tc, one_processor_in_other_loops, 0, MEET);
    tc = case_new(suite, "descriptors");
    tcase_add_test(tc, descriptor_that_was_replaced);
    tcase_add_loop_test(tc, descriptor_that_was_closed_too_early, 0, 2);
    tc = case_new(suite, "sizes");
    tcase_add_test(tc, sizes_that_no_machine_has);
    tc = case_new(suite, "again");
    tcase_add_loop_test(tc, closed_and_asked_for_ever, 0, 2);
    tcase_add_test(tc, many_signals);
    tc = case_new(suite, "idle");
    tcase_add_test(tc, idle_threads_end);
    return run_suite(suite, "reach");
}
