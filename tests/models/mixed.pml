/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * Threads and selects on one gate: words T and P together (lib/gate.c, lane_wait in lib/chan.c). What one step is: see
 * park.pml; what the kernel does with an eventfd: see poll.pml. The queue is a counter. Nobody stops here, so PENDING
 * and the versions are left out; a grant and its system call are two steps. The publisher's first look is left out too:
 * it reads the same two words in the same order as the wake behind it.
 *
 * Promise: when nobody can move any more and the queue holds an element, nobody sleeps, neither thread nor select,
 * however many others are busy for ever. ONE_WAKE: one element wakes one waiter, of whichever kind.
 *
 * A select that went to work on another case stays armed, so a grant may go to one that will not look for long. For
 * selects the kernel makes up for it, whose write wakes one that sleeps. For threads nothing would: they go first.
 *
 * Sizes: PUTTERS x PUTS elements; GETTERS threads, the first of which may time out at any moment unless PATIENT, and
 * the first STAYING of which get again and again; WATCHERS selects, the first OTHERS of which have a second case that
 * may become ready; ONCE: they are busy for ever after the first case.
 */
#ifndef PUTTERS
#define PUTTERS 2
#endif
#ifndef PUTS
#define PUTS 1
#endif
#ifndef GETTERS
#define GETTERS 1
#endif
#ifndef STAYING
#define STAYING 2
#endif
#ifndef WATCHERS
#define WATCHERS 1
#endif
#ifndef OTHERS
#define OTHERS 1
#endif
#ifdef PATIENT
#define TIMED(i) false
#else
#define TIMED(i) (i == 0)
#endif

/* Both words: k granted, w waiting and not granted. */
#define K(x) ((x) & 7)
#define W(x) (((x) >> 3) & 7)
#define W1 8

byte T = 0;
byte P = 0;
byte q = 0;                  /* elements in the queue */
bool thread_asleep[GETTERS]; /* in futex_wait */
byte cnt = 0;                /* the eventfd's counter: 0 or more */
bool mark[WATCHERS];         /* the eventfd is in the epoll's ready list */
bool asleep[WATCHERS];       /* a thread sleeps in epoll_wait */
bool other[WATCHERS];        /* another descriptor is in the epoll's ready list */

#ifdef ONE_WAKE
byte wakes = 0;              /* sleepers that were woken for the element */
#define WOKEN wakes++; assert(wakes <= 1)
#else
#define WOKEN skip
#endif

/* futex(FUTEX_WAKE, 1): any of the sleepers */
inline futex_wake() {
    atomic {
        if
        :: thread_asleep[0] -> thread_asleep[0] = false; WOKEN
#if GETTERS > 1
        :: thread_asleep[1] -> thread_asleep[1] = false; WOKEN
#endif
        :: else
        fi
    }
}

/* write(eventfd, 1) */
inline efd_write() {
    atomic {
        cnt = 1;
        mark[0] = true;
        if
        :: asleep[0] -> asleep[0] = false; WOKEN
        :: else
#if WATCHERS > 1
            -> mark[1] = true;
            if
            :: asleep[1] -> asleep[1] = false; WOKEN
            :: else
            fi
#endif
        fi
    }
}

inline wake_thread() {
    atomic {
        if
        :: W(T) > 0 -> T = T - W1 + 1; granted_one = true
        :: else
        fi
    };
    if
    :: granted_one -> futex_wake()
    :: else
    fi
}

inline wake_select() {
    atomic {
        if
        :: W(P) > 0 -> P = P - W1 + 1; granted_one = true
        :: else -> granted_one = false
        fi
    };
    if
    :: granted_one -> efd_write()
    :: else
    fi
}

/* spool__gate_wake */
inline gate_wake() {
#ifdef SELECTS_FIRST
    wake_select();
    if
    :: !granted_one -> wake_thread()
    :: else
    fi;
#else
    wake_thread();
#ifdef WAKE_BOTH
    wake_select();
#else
    if
    :: !granted_one -> wake_select()
    :: else
    fi;
#endif
#endif
    granted_one = false
}

/* spool__lane_hand_on: of a thread, and of a select */
inline thread_hands_on() {
#ifndef NO_THREAD_HANDOFF
    if
    :: q > 0 ->
#ifdef THREADS_HAND_ON_TO_THREADS
        wake_thread(); granted_one = false
#else
        gate_wake()
#endif
    :: q == 0
    fi
#else
    skip
#endif
}

inline select_hands_on() {
#ifndef NO_SELECT_HANDOFF
    if
    :: q > 0 ->
        gate_wake()
    :: q == 0
    fi
#else
    skip
#endif
}

#define TRY atomic { if :: q > 0 -> q--; got = true :: else fi }

proctype putter() {
    byte puts;
    bool granted_one;

    do
    :: puts < PUTS ->
        atomic { puts++; q++ };
        gate_wake()
    :: else -> break
    od;
    puts = 0
}

/* spool__gate_leave: a token goes first, since its futex_wake may have hit this very thread. */
inline gate_leave() {
    atomic {
        if
        :: K(T) > 0 -> T = T - 1; token = true
        :: else -> assert(W(T) > 0); T = T - W1
        fi
    }
}

proctype getter(byte i; bool timed; bool stays) {
    bool token, late, got, granted_one;

spool_get:
    TRY;
    if :: got -> goto out :: else fi;
announce:
    atomic { T = T + W1 };
#ifndef NO_RECHECK_THREAD
    TRY;
    if :: got -> gate_leave(); goto taken :: else fi;
#endif
sleep:
    /* spool__gate_sleep: consume a token, or futex_wait(&k, 0, deadline) */
    atomic {
        if
        :: K(T) > 0 -> T = T - 1; token = true; goto woken
        :: K(T) == 0 -> thread_asleep[i] = true
        :: K(T) == 0 && timed -> goto leave
        fi
    };
    if
    :: timed -> late = true /* the deadline will come, unless a wake comes first */
    :: true
    fi;
end_asleep:
    if
    :: atomic { !thread_asleep[i] -> late = false; goto sleep }
    :: atomic { late && thread_asleep[i] -> thread_asleep[i] = false }
    fi;
leave:
    gate_leave();
    late = !token;
woken:
    TRY;
taken:
    if
    :: got && token -> token = false; thread_hands_on()
    :: got && !token
    :: !got && late
    :: !got && !late -> token = false; goto announce
    fi;
out:
    got = false; late = false;
    if
    :: stays -> goto spool_get
    :: true /* busy for ever, or gone */
    fi
}

/* spool__gate_disarm: a grant goes first, since its write may have hit this very select. */
inline gate_disarm() {
    atomic {
        armed = false;
        if
        :: K(P) > 0 -> P = P - 1; granted = true
        :: else -> assert(W(P) > 0); P = P - W1
        fi
    }
}

/* A worker: a select over the gate and, for the first OTHERS, one more case; after each case busy, maybe for ever. */
proctype watcher(byte i) {
    bool armed, granted, hot, event, seen, got, granted_one;

select_wait:
    if
    :: hot -> goto perform_other
    :: atomic { !armed && other[i] -> hot = true; other[i] = false; mark[i] = false } /* a look with timeout 0 */
    :: !armed && !hot ->
        TRY;
        if :: got -> got = false; goto performed :: else fi;
        /* spool__gate_arm, fence, and a second attempt, or only a look (was_quiet in lib/wait.c) */
        atomic { P = P + W1; armed = true };
#ifdef NO_RECHECK_SELECT
        granted = false;
#else
        atomic {
            if
            :: q > 0 -> q--; got = true
            :: q > 0 -> granted = false; seen = true
            :: else -> granted = false
            fi
        };
#endif
        if
        :: got -> got = false; gate_disarm(); goto performed
        :: seen -> seen = false; gate_disarm()
        :: else
        fi
    :: armed && !hot ->
epoll_wait:
        atomic {
            event = mark[i] && cnt > 0;
            mark[i] = false;
            hot = other[i];
            other[i] = false;
            asleep[i] = !event && !hot
        };
        if
        :: !event && !hot ->
end_asleep: !asleep[i]; goto epoll_wait
        :: else
        fi;
        if
        :: event -> event = false; gate_disarm()
        :: else
        fi
    fi;
    goto select_wait;
performed:
    if
    :: granted -> granted = false; select_hands_on()
    :: else
    fi;
    goto busy;
perform_other:
    hot = false;
    if
    :: granted -> granted = false; select_hands_on()
    :: else
    fi;
busy:
#ifndef ONCE
    if
    :: goto select_wait
    :: true
    fi;
#endif
    armed = false
}

/* Makes the other case of watcher i ready, at any time or never. */
proctype elsewhere(byte i) {
    if
    :: atomic { other[i] = true; asleep[i] = false }
    :: true
    fi
}

#define SLEEPER (thread_asleep[0] || thread_asleep[1 % GETTERS] || asleep[0] || asleep[1 % WATCHERS])

proctype observer() {
    timeout;
    assert(!(q > 0 && SLEEPER))
}

init {
    byte i;
    atomic {
        for (i : 1 .. PUTTERS) { run putter() }
        for (i : 0 .. GETTERS - 1) { run getter(i, TIMED(i), i < STAYING) }
        for (i : 0 .. WATCHERS - 1) { run watcher(i) }
#if OTHERS > 0
        for (i : 0 .. OTHERS - 1) { run elsewhere(i) }
#endif
        run observer();
        i = 0
    }
}
