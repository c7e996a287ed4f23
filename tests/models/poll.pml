/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * Pollers on one gate: word P, the eventfd, selects that watch it, and strangers who poll the exported descriptor
 * (lib/gate.c, lib/select.c). What one step is and what a missing fence may do: see park.pml. The queue is a counter.
 *
 * The kernel: a write marks the watching epolls in queue order, up to and including the first that has a thread asleep
 * in epoll_wait; that thread is woken and no longer counts as asleep (EPOLLEXCLUSIVE). epoll_wait returns for a mark
 * only while the counter is above zero, and takes the mark away (EPOLLET). A stranger sees the level of the counter.
 *
 * Promise: when nobody can move any more and the queue holds an element (or is closed), no watcher sleeps, however many
 * others are busy for ever, and the exported descriptor is readable. No run goes on for ever: a stranger who is woken
 * for nothing finds the descriptor quiet after his next try_get (checked as: no cycle at all, with -DNP).
 * With STOP, one thread stops for ever in front of any step: a publisher is excused for the one element of its
 * unfinished put, a drainer for what its read swallowed, both only until the next put publishes.
 *
 * Sizes: PUTTERS x PUTS elements; WATCHERS selects of which the first OTHERS have a second case that may become ready;
 * ONCE: they are busy for ever after the first case; EXPORT; STRANGER, who polls and tries; TRIES unprovoked try_gets;
 * STALE: watcher 0 is busy for ever with a grant that it will never look at; SATURATE: somebody writes the counter to
 * its maximum; CLOSE: a closer.
 */
#ifndef PUTTERS
#define PUTTERS 2
#endif
#ifndef PUTS
#define PUTS 1
#endif
#ifndef WATCHERS
#define WATCHERS 2
#endif
#ifndef OTHERS
#define OTHERS 1
#endif

/* Word P: grants k, armed watches w, PENDING, LISTEN, drainers at work, and the version of the last signal or drain. */
#define K(x) ((x) & 7)
#define W(x) (((x) >> 3) & 7)
#define W1 8
#define PENDING 64
#define PEND(x) (((x) >> 6) & 1)
#define LISTEN 128
#define LSTN(x) (((x) >> 7) & 1)
#define DRAINER1 256
#define DRAINERS(x) (((x) >> 8) & 3)
#define VER(x) ((x) >> 10)
#ifdef NO_VERSION
#define NEWER(x) (x)
#else
#define NEWER(x) (((x) + 1024) & 8191)
#endif
#define OWED(x) NEWER((x) & ~LISTEN | PENDING)
#ifdef DRAIN_KEEPS_K
#define DRAINED(x) NEWER((x) | LISTEN)
#else
#define DRAINED(x) NEWER((x) & ~63 | (W(x) + K(x)) * W1 | LISTEN)
#endif

short P = 0;
byte q = 0;               /* elements in the queue */
byte cnt = 0;             /* the eventfd's counter: 0, more, or 2: so much that a write says EAGAIN */
bool mark[WATCHERS];      /* the eventfd is in the epoll's ready list */
bool asleep[WATCHERS];    /* a thread sleeps in epoll_wait */
bool other[WATCHERS];     /* another descriptor is in the epoll's ready list */
#ifdef CLOSE
bool closed = false;
#else
#define closed false
#endif

/* STOP is the number of the thread that may stop: publishers count from 1, the stranger is 8, the trier 9. */
#ifdef STOP
bool stopped = false;
bool mid = false;         /* the publisher that may stop has published and not returned */
bool after = false;       /* somebody published after the stop */
#define STEP atomic { if :: me == STOP -> stopped = true; goto stop :: true fi;
#define publish if :: closed -> goto stop :: else -> q++; after = after || stopped; mid = mid || me == STOP fi
#if STOP >= 8
#define EXCUSED (stopped && !after)
#else
#define EXCUSED (stopped && mid && !after && q == 1)
#endif
#else
#define STEP atomic {
#define publish if :: closed -> goto stop :: else -> q++ fi
#define EXCUSED false
#endif
#define END }

/* write(eventfd, 1), n times or until the counter is full */
inline efd_write() {
    do
    :: n > 0 && cnt < 2 ->
        n--;
        cnt = 1;
        mark[0] = true;
        if
        :: asleep[0] -> asleep[0] = false
        :: else
#if WATCHERS > 1
            -> mark[1] = true;
            if
            :: asleep[1] -> asleep[1] = false
            :: else
#if WATCHERS > 2
                -> mark[2] = true;
                asleep[2] = false
#endif
            fi
#endif
        fi
    :: else -> break
    od
}

/* How many writes stand for all grants whose write may be missing. */
#ifdef ONE_WRITE
#define ALL_OWED(x) 1
#else
#define ALL_OWED(x) (K(x) > 1 -> K(x) : 1)
#endif

/* The calls that a change of P from PENDING on owes, n of them; s is P as this thread left it. */
inline gate_flush() {
    do
    :: PEND(s) ->
        STEP efd_write() END;
#ifdef SATURATE
#ifdef SATURATED_IS_SIGNALLED
        n = 0;
#else
        do
        :: n > 0 -> /* EAGAIN: make room. The read may have swallowed what woken watchers have not yet seen. */
            STEP cnt = 0 END;
#ifndef SATURATED_ONE_WRITE
            STEP n = ALL_OWED(P) END;
#endif
            STEP efd_write() END
        :: else -> break
        od;
#endif
#endif
        STEP
            /*
             * Clear PENDING, unless somebody signalled since. A watcher that consumed its grant is no reason to write
             * again. If it was a drain, the drainer looks at the queue after it and takes over what is owed.
             */
            if
#ifdef REWRITE
            :: P == s || !PEND(P) && !LSTN(P) -> P = P & ~PENDING; s = 0
            :: P != s && LSTN(P) -> P = OWED(P); s = P; n = ALL_OWED(s)
#elif defined(REWRITE_AFTER_DRAIN)
            :: VER(P) == VER(s) || !PEND(P) && !LSTN(P) -> P = P & ~PENDING; s = 0
            :: VER(P) != VER(s) && LSTN(P) -> P = OWED(P); s = P; n = ALL_OWED(s)
#else
            :: VER(P) == VER(s) || !PEND(P) || LSTN(P) -> P = P & ~PENDING; s = 0
#endif
            :: else -> s = P; n = ALL_OWED(s)
            fi
        END
    :: else -> break
    od;
    s = 0; n = 0
}

/*
 * spool__gate_wake, the pollers' half: grant one watch, signal strangers who listen. A PENDING found here means that
 * the writes for all k grants may be missing; a drainer at work may have swallowed them.
 */
inline gate_wake() {
    STEP
        if
        :: W(P) > 0 || LSTN(P) || DRAINERS(P) ->
            n = PEND(P) || DRAINERS(P);
#ifdef NO_PENDING
            P = P & ~LISTEN;
            if :: W(P) > 0 -> P = P - W1 + 1 :: else fi;
            s = P | PENDING;
#else
            P = OWED(P);
            if :: W(P) > 0 -> P = P - W1 + 1 :: else fi;
            s = P;
#endif
            n = (n -> ALL_OWED(s) : 1)
        :: else -> s = P; n = ALL_OWED(s); s = (PEND(s) -> s : 0)
        fi
    END;
    gate_flush()
}

/* spool__gate_wake_all: the closer, and a drainer that finds the channel closed */
inline gate_wake_all() {
    STEP
        n = (W(P) + K(P) > 0 -> W(P) + K(P) : 1);
        P = OWED(P & ~63 | W(P) + K(P));
        s = P
    END;
    gate_flush()
}

/* The hand-off of a select that was granted a wake and leaves: something may be left that nobody was woken for. */
#ifdef HANDOFF_W_ONLY
#define WORTH_IT (q > 0 && W(P) > 0)
#else
#define WORTH_IT (q > 0)
#endif
inline gate_handoff() {
    STEP left = WORTH_IT END;
    if
    :: left -> left = false; gate_wake()
    :: else
    fi
}

/* The hand-off after performing a granted watch's own case */
inline gate_handoff_performed() {
#ifdef HANDOFF_COMPARE
    STEP n = q END;
    STEP left = n > K(P) && W(P) > 0; n = 0 END;
    if
    :: left -> left = false; gate_wake()
    :: else
    fi
#elif defined(NO_HANDOFF_PERFORMED)
    skip
#else
    gate_handoff()
#endif
}

/* spool__gate_disarm: a grant goes first, since its write may have hit this very select */
inline gate_disarm() {
    STEP
        armed = false;
        if
#ifdef DISARM_PREFERS_W
        :: W(P) > 0 -> P = P - W1
        :: else -> P = P - 1; granted = true
#elif defined(W_IS_A_BIT)
        :: K(P) > 0 -> P = P - 1; granted = true
        :: K(P) == 0 && W(P) > 0 -> P = P - W1
        :: else
#else
        :: K(P) > 0 -> P = P - 1; granted = true
        :: else -> assert(W(P) > 0); P = P - W1
#endif
        fi
    END
}

proctype putter(byte me) {
    byte n, puts;
    short s;

    do
    :: puts < PUTS ->
        puts++;
        /* spool__ring_put, fence, look */
#ifdef NO_PUT_FENCE
        if
        :: STEP publish END; STEP s = P END
        :: STEP s = P END; STEP publish END
        fi;
#else
        STEP publish END;
        STEP s = P END;
#endif
        if
        :: W(s) > 0 || PEND(s) || LSTN(s) || DRAINERS(s) -> s = 0; gate_wake()
        :: else -> s = 0
        fi;
#ifdef STOP
        STEP if :: me == STOP -> mid = false :: else fi END
#endif
    :: else -> break
    od;
stop:
    skip
}

/* A worker: a select over the gate and, for the first OTHERS, one more case; after each case busy, maybe for ever. */
proctype watcher(byte i) {
    byte n, me = 20;
    short s;
    bool armed, granted, hot, event, seen, got, left;

select_wait:
    if
    :: hot -> goto perform_other
    :: atomic { !armed && other[i] -> hot = true; other[i] = false; mark[i] = false } /* a look with timeout 0 */
    :: !armed && !hot -> /* HOT: try it */
        STEP
            if
            :: q > 0 -> q--; got = true
            :: q == 0 && closed -> goto stop /* -EPIPE, the case leaves the select */
            :: else -> granted = false
            fi
        END;
        if :: got -> got = false; goto performed :: else fi;
        /* spool__gate_arm, fence, recheck */
#ifdef NO_ARM_FENCE
        if
        :: STEP P = P + W1; armed = true END; STEP seen = q > 0 || closed END
        :: STEP seen = q > 0 || closed END; STEP P = P + W1; armed = true END
        fi;
#elif defined(NO_ARM_RECHECK)
        STEP P = P + W1; armed = true END;
#elif defined(W_IS_A_BIT)
        STEP P = (W(P) -> P : P + W1); armed = true END;
        STEP seen = q > 0 || closed END;
#else
        STEP P = P + W1; armed = true END;
        STEP seen = q > 0 || closed END;
#endif
        if
        :: seen ->
            seen = false;
            gate_disarm()
#ifdef ARM_DROPS_GRANT
            ; granted = false
#endif
        :: else
        fi
    :: armed && !hot ->
epoll_wait:
        atomic {
#ifdef ONE_EVENT
            if
            :: mark[i] && cnt > 0 -> event = true; mark[i] = false
            :: other[i] -> hot = true; other[i] = false
            :: else -> mark[i] = false; asleep[i] = true
            fi
#else
            event = mark[i] && cnt > 0;
            mark[i] = false;
            hot = other[i];
            other[i] = false;
            asleep[i] = !event && !hot
#endif
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
    :: granted -> granted = false; gate_handoff_performed()
    :: else
    fi;
    goto busy;
perform_other:
    hot = false;
#ifndef NO_SELECT_HANDOFF
    if
    :: granted -> granted = false; gate_handoff()
    :: else
    fi;
#endif
    granted = false;
busy:
#ifndef ONCE
    if
    :: goto select_wait
    :: true
    fi;
#endif
stop:
    armed = false; granted = false; hot = false
}

/* Makes the other case of watcher i ready, at any time or never. */
proctype elsewhere(byte i) {
    if
    :: atomic { other[i] = true; asleep[i] = false }
    :: true
    fi
}

/* spool_try_get; when it finds the queue empty and the descriptor is exported: spool__gate_drain */
inline try_get() {
    STEP if :: q > 0 -> q-- :: q == 0 && closed -> goto stop :: else -> none = true fi END;
    if
    :: none ->
        none = false;
#ifdef EXPORT
#ifndef NO_DRAIN_COUNT
        STEP P = P + DRAINER1 END;
#endif
        do
        ::
            STEP p0 = P END;
#ifdef DRAIN_UNLESS_LISTEN
            STEP if :: !LSTN(p0) -> swallowed = true; cnt = 0 :: else fi END;
#else
            STEP swallowed = swallowed || cnt > 0; cnt = 0 END; /* read(eventfd), always: nobody else heals it */
#endif
            if
            :: LSTN(p0) && !swallowed -> /* nothing was there, and the next put will write */
#ifndef NO_DRAIN_COUNT
                STEP P = P - DRAINER1 END;
#endif
                break
            :: else
            fi;
#ifdef NO_DRAIN_FENCE
            STEP left = q > 0 || closed END; /* the queue looked at before LISTEN stands */
#endif
            STEP
                if
                :: P == p0 ->
                    P = DRAINED(P);
#ifndef NO_DRAIN_COUNT
                    P = P - DRAINER1;
#endif
                    done = true
                :: else
                fi
            END;
            if
            :: done ->
                done = false;
#ifdef NO_DRAIN_RECHECK
                break
#else
#ifndef NO_DRAIN_FENCE
                STEP left = q > 0 || closed END;
#endif
                if
#ifdef CLOSE
#ifndef DRAIN_WAKES_ONE
                :: left && closed -> gate_wake_all()
                :: left && !closed -> gate_wake()
#else
                :: left -> gate_wake()
#endif
#else
                :: left -> gate_wake()
#endif
                :: else
                fi;
                left = false;
                break
#endif
            :: else
            fi
        od;
        p0 = 0; swallowed = false
#endif
    :: else
    fi
}

#ifdef STRANGER
proctype stranger() {
    byte n, me = 8;
    short s, p0;
    bool none, swallowed, done, left;

end:
    do
    :: cnt > 0 -> try_get()
    :: cnt > 0 -> break /* looks no more */
    od;
stop:
    p0 = 0; swallowed = false; s = 0; n = 0; left = false
}
#endif

#ifdef TRIES
proctype trier() {
    byte n, me = 9, tries;
    short s, p0;
    bool none, swallowed, done, left;

    do
    :: tries < TRIES -> tries++; try_get()
    :: true -> break
    od;
stop:
    tries = 0; p0 = 0; swallowed = false; s = 0; n = 0; left = false
}
#endif

#ifdef SATURATE
proctype saturator() {
    byte n = 1;

    if
    :: atomic { cnt < 2 -> efd_write(); cnt = 2 }
    :: true
    fi
}
#endif

#ifdef CLOSE
/* spool__ring_close, fence, spool__gate_wake_all */
proctype closer() {
    byte n, me = 10;
    short s;

    STEP closed = true END;
    gate_wake_all();
stop:
    skip
}
#endif

#define SLEEPER (asleep[0] || asleep[1 % WATCHERS] || asleep[2 % WATCHERS])

proctype observer() {
    timeout;
    assert(!((q > 0 || closed) && SLEEPER) || EXCUSED);
#ifdef EXPORT
    assert(!((q > 0 || closed) && cnt == 0) || EXCUSED)
#endif
}

init {
    byte i;
    atomic {
#ifdef EXPORT
        P = LISTEN;
#endif
#if PUTTERS > 0
        for (i : 1 .. PUTTERS) { run putter(i) }
#endif
#ifdef STALE
        P = P + 1; mark[0] = true; cnt = 1;
        for (i : 1 .. WATCHERS - 1) { run watcher(i) }
#else
        for (i : 0 .. WATCHERS - 1) { run watcher(i) }
#endif
#if OTHERS > 0
        for (i : 0 .. OTHERS - 1) { run elsewhere(i) }
#endif
#ifdef STRANGER
        run stranger();
#endif
#ifdef TRIES
        run trier();
#endif
#ifdef SATURATE
        run saturator();
#endif
#ifdef CLOSE
        run closer();
#endif
        run observer();
        i = 0
    }
}
