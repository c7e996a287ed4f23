/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * Threads parked on one gate: word T, the futex, publishers and getters (lib/gate.c). The queue is a counter.
 *
 * What one step is: a read-modify-write loop whose load and CAS have nothing between them is one step, since a CAS that
 * fails does nothing. A CAS whose expected value is older (clearing PENDING) compares with the snapshot it was given.
 * A fence forbids one thing, that the load behind it is done before the store in front of it; a mutant without the
 * fence may do the load first. That is all a store buffer or a weakly ordered LL/SC can add here.
 *
 * Promise: when nobody can move any more, no getter sleeps beside an element, and none sleeps at a closed gate. With
 * STOP, one thread may stop for ever in front of any of its steps: a stopped publisher is excused for the one element
 * of its own unfinished put, a stopped getter for what was granted to it, both only until the next put publishes.
 *
 * Sizes: PUTTERS x PUTS elements, GETTERS getters, the first of which may time out at any moment. CLOSE adds a closer.
 */
#ifndef PUTTERS
#define PUTTERS 2
#endif
#ifndef PUTS
#define PUTS 1
#endif
#ifndef GETTERS
#define GETTERS 2
#endif
#ifndef STAYING /* so many getters get again and again, the others once */
#define STAYING 2
#endif

/*
 * Word T: k tokens and SHUT (together the futex word), w announced and not granted, PENDING, the version of the last
 * grant.
 */
#define K(x) ((x) & 7)
#define W(x) (((x) >> 3) & 7)
#define W1 8
#define PENDING 64
#define PEND(x) (((x) >> 6) & 1)
#define VER(x) (((x) >> 7) & 7)
#define VERS 896
#define SHUT 1024
#define IS_SHUT(x) (((x) >> 10) & 1)
#ifdef NO_VERSION
#define OWED(x) ((x) | PENDING)
#else
#define OWED(x) (((x) & ~VERS | PENDING) | ((x) + 128) & VERS)
#endif

short T = 0;
byte q = 0;            /* elements in the queue */
bool asleep[GETTERS];  /* in futex_wait */
#ifdef CLOSE
bool closed = false;   /* the tombstone stands */
#else
#define closed false
#endif

/* STOP is the number of the thread that may stop: publishers count from 1, getters from 11. */
#ifdef STOP
bool stopped = false;
bool mid = false;      /* the publisher that may stop has published and not returned */
bool after = false;    /* somebody published after the stop */
#define STEP atomic { if :: me == STOP -> stopped = true; goto stop :: true fi;
#define publish if :: closed -> goto stop :: else -> q++; after = after || stopped; mid = mid || me == STOP fi
#if STOP > 10
#define EXCUSED (stopped && !after && !closed)
#define SLEEPS(i) (asleep[i] && !(stopped && i == STOP - 11))
#else
#define EXCUSED (stopped && mid && !after && q == 1)
#define SLEEPS(i) asleep[i]
#endif
#else
#define STEP atomic {
#define publish if :: closed -> goto stop :: else -> q++ fi
#define EXCUSED false
#define SLEEPS(i) asleep[i]
#endif
#define END }

/* futex(FUTEX_WAKE, n): any n of the sleepers. */
inline futex_wake() {
    do
    :: n > 0 ->
        n--;
        if
        :: asleep[0] -> asleep[0] = false
#if GETTERS > 1
        :: asleep[1] -> asleep[1] = false
#endif
#if GETTERS > 2
        :: asleep[2] -> asleep[2] = false
#endif
        :: else
        fi
    :: else -> break
    od
}

/* The calls that a change of T from PENDING on owes, n of them; s is T as this thread left it. */
inline gate_flush() {
    do
    :: PEND(s) ->
        STEP futex_wake() END;
        STEP /* clear PENDING, unless somebody granted since: then his calls may be owed too */
            if
            :: VER(T) == VER(s) || !PEND(T) -> T = T & ~PENDING; s = 0
            :: else -> s = T; n = K(T)
            fi
        END
    :: else -> break
    od;
    s = 0; n = 0
}

/* spool__gate_wake: grant one waiter. A PENDING found here means that the calls for all k tokens may be missing. */
inline gate_wake() {
    STEP
#ifdef NO_PENDING
        if
        :: W(T) > 0 -> n = 1; T = T - W1 + 1; s = T | PENDING
        :: else -> s = 0
        fi
#else
        if
        :: W(T) > 0 -> n = (PEND(T) -> K(T) + 1 : 1); T = OWED(T - W1 + 1); s = T
        :: W(T) == 0 && PEND(T) -> n = K(T); s = T
        :: else -> s = 0
        fi
#endif
    END;
    gate_flush()
}

/* The hand-off of a thread that consumed a token and took an element: another token may have lost its element. */
inline gate_handoff() {
#ifndef NO_HANDOFF
    STEP left = q END;
#ifdef HANDOFF_COMPARE
    STEP if :: left <= K(T) || W(T) == 0 -> left = 0 :: else fi END;
#endif
    if
    :: left > 0 -> left = 0; gate_wake()
    :: else
    fi
#else
    skip
#endif
}

#ifdef CLOSE
/* spool__gate_wake_all. SHUT, in the futex word, keeps everybody from sleeping again, whoever takes which token. */
inline gate_wake_all() {
#ifdef CLOSE_BY_TOKENS
    STEP n = K(T) + W(T); if :: W(T) > 0 -> T = OWED(K(T) + W(T) + (T & ~63)); s = T :: else fi END;
#else
    STEP n = GETTERS; T = OWED(T | SHUT); s = T END;
#endif
    gate_flush()
}
#endif

/* spool__gate_leave: a token goes first, since its futex_wake may have hit this very thread. */
inline gate_leave() {
    STEP
        if
#ifdef LEAVE_PREFERS_W
        :: W(T) > 0 -> T = T - W1
        :: else -> T = T - 1; token = true
#elif defined(W_IS_A_BIT)
        :: K(T) > 0 -> T = T - 1; token = true
        :: K(T) == 0 && W(T) > 0 -> T = T - W1
        :: else
#else
        :: K(T) > 0 -> T = T - 1; token = true
        :: else -> assert(W(T) > 0); T = T - W1
#endif
        fi
    END
}

/* spool__ring_get: an element, the end, or neither */
#define TRY if :: q > 0 -> q--; got = true :: q == 0 && closed -> pipe = true :: else fi

/* CLOSE_BY_TOKENS: close only grants all. Whoever sees the end must wake all, also one who took the last element. */
#ifdef CLOSE_BY_TOKENS
#define SEE_END if :: pipe -> gate_wake_all() :: else fi
#ifdef LAST_TELLS_NOBODY
#define TELL_END skip
#else
#define TELL_END STEP pipe = q == 0 && closed END; SEE_END; pipe = false
#endif
#else
#define SEE_END skip
#define TELL_END skip
#endif

proctype putter(byte me) {
    byte n, left, puts;
    short s;

    do
    :: puts < PUTS ->
        puts++;
        /* spool__ring_put, fence, look */
#ifdef NO_PUT_FENCE
        if
        :: STEP publish END; STEP s = T END
        :: STEP s = T END; STEP publish END
        fi;
#else
        STEP publish END;
        STEP s = T END;
#endif
        if
        :: W(s) > 0 || PEND(s) -> s = 0; gate_wake()
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

proctype getter(byte i; bool timed; bool stays) {
    byte n, left, me = 11 + i;
    short s;
    bool token, late, got, pipe, seen;

spool_get:
    STEP TRY END;
    SEE_END;
    if :: got || pipe -> goto out :: else fi;
announce:
    /* spool__gate_announce, fence, recheck */
#ifdef NO_GET_FENCE
    if
    :: STEP T = T + W1; seen = true END
    :: STEP seen = q > 0 || closed END; STEP T = T + W1 END
    fi;
    STEP if :: seen -> TRY :: else fi; seen = false END;
#elif defined(W_IS_A_BIT)
    STEP T = (W(T) -> T : T + W1) END;
    STEP TRY END;
#elif defined(NO_RECHECK)
    STEP T = T + W1 END;
#else
    STEP T = T + W1 END;
    STEP TRY END;
#endif
    SEE_END;
    if
    :: got || pipe ->
        gate_leave();
        if :: got && token -> gate_handoff(); TELL_END :: else fi;
        goto out
    :: else
    fi;
sleep:
    /* spool__gate_sleep: consume a token, or futex_wait(&k, 0, deadline) */
    STEP
        if
        :: IS_SHUT(T) -> goto granted
        :: !IS_SHUT(T) && K(T) > 0 -> T = T - 1; goto granted
        :: !IS_SHUT(T) && K(T) == 0 -> asleep[i] = true
        :: timed -> late = true; goto leave
        fi
    END;
    if
    :: timed -> late = true /* the deadline will come, unless a wake comes first */
    :: true
    fi;
end_asleep:
    if
    :: atomic { !asleep[i] -> late = false; goto sleep }
    :: atomic { late && asleep[i] -> asleep[i] = false }
    fi;
leave:
    gate_leave();
    if :: !token -> goto out :: else -> token = false fi; /* no token: -ETIMEDOUT, nothing is owed */
granted:
    STEP TRY END;
    SEE_END;
    if
    :: got -> gate_handoff(); TELL_END
    :: !got && !pipe && !late -> goto announce
    :: else
    fi;
out:
    if
    :: got && stays -> got = false; late = false; token = false; goto spool_get
    :: true /* busy with the element for ever, or at the end */
    fi;
stop:
    n = 0; left = 0; s = 0; token = false; late = false; got = false; pipe = false
}

#ifdef CLOSE
/* spool__ring_close, fence, spool__gate_wake_all */
proctype closer() {
    byte n, me = 0;
    short s;

    STEP closed = true END;
    gate_wake_all();
stop:
    skip
}
#endif

#define SLEEPER (SLEEPS(0) || GETTERS > 1 && SLEEPS(1 % GETTERS) || GETTERS > 2 && SLEEPS(2 % GETTERS))

proctype observer() {
    timeout;
    assert(!((q > 0 || closed) && SLEEPER) || EXCUSED)
}

init {
    byte i;
    atomic {
        for (i : 1 .. PUTTERS) { run putter(i) }
        for (i : 0 .. GETTERS - 1) { run getter(i, i == 0, i < STAYING) }
#ifdef CLOSE
        run closer();
#endif
        run observer();
        i = 0
    }
}
