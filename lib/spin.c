/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "spin.h"

#include "sys.h"

#ifndef SPIN_PAUSES
#define SPIN_PAUSES 64u
#define SPIN_YIELDS 20u
#define LONG_SLEEPS 4u
#define PARTNER_PAUSES 1024u
#define LATE_PAUSES 1024u
#define ASK_EACH 256u
#define YIELDED_MAX 64u
#endif

/*
 * A yield that took longer found others who use up what the processor is given to them for: each further one would cost
 * a turn of all of them. A turn is a millisecond and more; others who yield as well, or a tracer, take less.
 */
#define YIELD_MAX_NS 500000

/* How many meetings sleep at once after that. */
#define DEAR_FOR 100u

static unsigned dear_for;

/*
 * A thread that slept this long, the last LONG_SLEEPS times that it slept, sleeps at once: it would spin in vain again.
 * And Linux lets a thread that has yielded wait when it is woken, where it would have run at once: seen on 6.18, whose
 * scheduler (EEVDF, since 6.6) makes a yield move the deadline of the thread.
 */
#define LONG_SLEEP_NS 100000

static _Thread_local struct {
    int64_t since; /* when it stopped spinning and went to sleep; 0: what it waited for came before */
    unsigned n_long;
} last_sleep;

static bool gives_up(void)
{
    if (LONG_SLEEPS > 0 && last_sleep.since == 0)
        last_sleep.since = spool__sys_now();
    return true;
}

/* As a wait begins. */
static bool sleeps_at_once(void)
{
    int64_t since = last_sleep.since;
    last_sleep.since = 0;
    if (since == 0)
        return false;
    if (spool__sys_now() - since < LONG_SLEEP_NS)
        last_sleep.n_long = 0;
    else if (last_sleep.n_long != LONG_SLEEPS)
        last_sleep.n_long++;
    return last_sleep.n_long == LONG_SLEEPS && gives_up();
}

/*
 * A partner in a rendezvous is looked for longer: each message needs him, and none gather while others run. At most for
 * about what a wake costs (A. Karlin, K. Li, M. Manasse, S. Owicki, "Empirical studies of competitive spinning for a
 * shared-memory multiprocessor", 1991), which 1024 pauses are, and for half as long after each time that was in vain.
 */
static _Thread_local unsigned partner_pauses = PARTNER_PAUSES;

/* Processors there are to run on; 0: not asked yet. Threads that ask at once find the same. */
static int cpus;

/*
 * There may be more than the first thread may run on: it, and others, may each be bound to one of their own, which is
 * how programs are made that must not be late. So a thread that was told of one pauses in its next wait all the same,
 * for a trial. A wait that is over before it yields was brought its work by another processor.
 */
static _Thread_local enum { NO_TRIAL, TRIAL_IS_DUE, TRIAL_RUNS } trial;

static int ask_for_cpus(void)
{
    int n = spool__sys_cpus();
    spool__store(&cpus, n, RELAXED);
    if (n < 2)
        trial = TRIAL_IS_DUE;
    return n;
}

/* As a wait begins, and the one before it did not come to a yield. */
static int believe_in_two(void)
{
    trial = NO_TRIAL;
    spool__store(&cpus, 2, RELAXED);
    return 2;
}

/* They may become fewer or more while the program runs: of a thread's waits that come to a yield each ASK_EACH-th asks.
 */
static _Thread_local unsigned waits_that_yield;

/*
 * Threads that wait for each other on one processor may go on so for long by yields, at a change of threads each,
 * beside another processor that is idle: nobody is woken, which is when the scheduler would choose that one. So after
 * this many waits in a row that were over with a yield, a thread sleeps.
 */
static _Thread_local struct {
    unsigned n;
    bool now; /* the last thing that it did in a wait */
} yielded;

static bool yields_for_long(void)
{
    yielded.n = yielded.now ? yielded.n + 1 : 0;
    yielded.now = false;
    if (yielded.n < YIELDED_MAX)
        return false;
    yielded.n = 0;
    return true;
}

/* is_late: this wait has slept already. */
static bool spin(unsigned *turns, unsigned pauses, bool is_late)
{
    int n = spool__load(&cpus, RELAXED);
    if (n == 0)
        n = ask_for_cpus();
    bool begins = *turns == 0 && !is_late;
    if (begins && trial == TRIAL_RUNS)
        n = believe_in_two();
    if (begins && ((yields_for_long() && n > 1 && pauses == SPIN_PAUSES) || sleeps_at_once()))
        *turns = pauses + SPIN_YIELDS;
    else if (begins && trial == TRIAL_IS_DUE)
        trial = TRIAL_RUNS;
    else if (*turns < pauses && n < 2 && trial != TRIAL_RUNS)
        *turns = pauses;
    if (*turns >= pauses && trial == TRIAL_RUNS)
        trial = NO_TRIAL;
    /* More, if a signal handler that waited for a partner meanwhile has made them fewer. */
    if (*turns >= pauses + SPIN_YIELDS) {
        yielded.now = false;
        return !gives_up();
    }
    if ((*turns)++ < pauses) {
        spool__pause();
        return true;
    }
    if (*turns == pauses + 1 && ++waits_that_yield % ASK_EACH == 0)
        (void)ask_for_cpus();
    int64_t begin = spool__sys_now();
    yielded.now = true;
    spool__yield();
    if (spool__sys_now() - begin > YIELD_MAX_NS) {
        spool__store(&dear_for, DEAR_FOR, RELAXED);
        *turns = pauses + SPIN_YIELDS;
    }
    return true;
}

bool spool__spin(unsigned *turns)
{
    return spin(turns, SPIN_PAUSES, false);
}

bool spool__spin_late(unsigned *turns)
{
    return spin(turns, LATE_PAUSES, true);
}

bool spool__spin_for_partner(unsigned *turns)
{
    return spin(turns, partner_pauses, false);
}

void spool__spin_met(unsigned turns)
{
    unsigned half = partner_pauses / 2, twice = partner_pauses * 2;
    if (turns > partner_pauses)
        partner_pauses = half > SPIN_PAUSES ? half : SPIN_PAUSES;
    else if (turns > 0)
        partner_pauses = twice < PARTNER_PAUSES ? twice : PARTNER_PAUSES;
}

bool spool__spin_over(unsigned *turns, unsigned queues)
{
    if (!spool__spin(turns))
        return false;
    if (*turns < SPIN_PAUSES)
        *turns = *turns + queues - 1 < SPIN_PAUSES ? *turns + queues - 1 : SPIN_PAUSES;
    return true;
}

bool spool__spin_yields(unsigned turns)
{
    return turns > SPIN_PAUSES;
}

bool spool__spin_pays(void)
{
    return spool__load(&cpus, RELAXED) != 1;
}

bool spool__spin_is_dear(void)
{
    /* That threads which count down at once count once does no harm. */
    unsigned left = spool__load(&dear_for, RELAXED);
    if (left == 0)
        return false;
    spool__store(&dear_for, left - 1, RELAXED);
    return true;
}
