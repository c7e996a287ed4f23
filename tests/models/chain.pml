/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * The segments of lib/chain.c and lib/segment.c, and the hazards of lib/hazard.c: linking, closing, leaving, retiring
 * and using again.
 *
 * What one step is: a load, a CAS, or a load with the CAS that follows it at once. A hazard that is set stays in the
 * store buffer of its thread until the fence; a fence behind an unlinking forbids that the look at the hazards is done
 * before it, and a mutant without it may look first. Segments are few, and a free one is used again at once, at the
 * same address; a ghost counts its lives, and each access asserts that it is still the life that was meant.
 *
 * Promise: no access to a segment that was freed; elements come out once each, in the order of the swaps that put them;
 * a get that finds nothing, or the end, does so at a moment when the queue is empty, or closed and empty; no put lands
 * after the close. At the end every segment is in the list, retired or free, once. No run goes on for ever.
 *
 * Sizes: SEGMENTS of K slots, THREADS that put PUTS and get GETS elements each, in any order, CLOSE calls of close.
 * UNPROTECTED is the set of threads that have no record, as a mask. STOP is the thread that may stop for ever.
 */
#ifndef SEGMENTS
#define SEGMENTS 3
#endif
#ifndef K
#define K 1
#endif
#ifndef THREADS
#define THREADS 2
#endif
#ifndef PUTS
#define PUTS 2
#endif
#ifndef GETS
#define GETS 2
#endif
/* By thread, where they are not the same. */
#ifdef PUTS0
#ifndef PUTS2
#define PUTS2 0
#define GETS2 0
#endif
#define PUTS_OF(t) (t == 0 -> PUTS0 : (t == 1 -> PUTS1 : PUTS2))
#define GETS_OF(t) (t == 0 -> GETS0 : (t == 1 -> GETS1 : GETS2))
#else
#define PUTS_OF(t) PUTS
#define GETS_OF(t) GETS
#endif
#ifndef CLOSE
#define CLOSE 0
#endif
#ifndef UNPROTECTED
#define UNPROTECTED 0
#endif

#define RECORDS (THREADS + CLOSE)
#define MARK (SEGMENTS + 1)
#define BIT(s) (1 << (s))
#define ALL (BIT(SEGMENTS + 1) - 2)

#define FREE 0
#define CLOSED 1
#define FULL 2
#define TAKEN 3

#define PUT 0
#define GET 1
#define HAZARD(t, side) (2 * (t) + (side))
#define HAS_RECORD (!(UNPROTECTED & BIT(me)))

/* Segments count from 1; 0 is none. */
byte word[(SEGMENTS + 1) * K], value[(SEGMENTS + 1) * K];
byte next[SEGMENTS + 1];
#if K > 1
byte hint[2 * (SEGMENTS + 1)]; /* by side */
#endif
byte tail = 1, head = 1;
byte pool = ALL - 2; /* free segments */
byte retired = 0;
byte hazard[2 * RECORDS];  /* what others see */
byte own[2 * RECORDS];     /* what the thread has set */
byte unprotected = 0;

/* The ghost. */
byte life[SEGMENTS + 1];
byte n_put = 0, n_got = 0;
bool closed = false;

#ifdef STOP
#define STEP atomic { if :: me == STOP -> goto stop :: true fi;
#else
#define STEP atomic {
#endif
#define END }

#define USE assert(life[s] == lived)
#define SLOT word[s * K + i]
#define VALUE value[s * K + i]

inline enter() {
    if
    :: HAS_RECORD
#ifndef NO_COUNT_FENCE
    :: else -> STEP unprotected++ END
#else
    :: else
#endif
    fi
}

inline leave() {
    if
    :: HAS_RECORD
    :: else -> STEP unprotected-- END
    fi
}

/* s is the root, protected. */
inline protect(root, side) {
    do
    :: true ->
        STEP
            s = root;
            lived = life[s];
            known = !HAS_RECORD || own[HAZARD(me, side)] == s;
            if :: !known -> own[HAZARD(me, side)] = s :: else fi
        END;
        if
        :: known -> break
        :: else ->
#ifndef NO_HAZARD_FENCE
            STEP hazard[HAZARD(me, side)] = s END
#endif
#ifdef NO_REVALIDATE
            ;
            break
#endif
        fi
    od;
#ifdef NO_COUNT_FENCE
    if :: !HAS_RECORD && !counted -> STEP unprotected++; counted = true END :: else fi;
#endif
    known = false
}

/* Whose hazards do not count: those of the thread itself, when it has left its operation. */
#define NOBODY 99
#define OUTSIDE (me + NOBODY * (UNPROTECTED >> me & 1))
#ifdef SKIP_OWN_INSIDE
#define INSIDE me
#else
#define INSIDE NOBODY
#endif

inline reap(mine) {
    STEP r = retired; retired = 0 END;
    x = 1;
    do
    :: x <= SEGMENTS ->
        if
        :: r & BIT(x) ->
#ifdef NO_SCAN
            held = false;
#else
            STEP held = unprotected > 0 END;
            j = 0;
            do
            :: j < 2 * RECORDS && !held ->
#ifdef SCAN_GET_ONLY
                if :: j % 2 == PUT -> j++ :: else fi;
#endif
#ifdef NO_SCAN_FENCE
                STEP held = j / 2 != mine && (seen >> (4 * j) & 15) == x; j++ END
#else
                STEP held = j / 2 != mine && hazard[j] == x; j++ END
#endif
            :: else -> break
            od;
#endif
            STEP
                if
                :: held -> retired = retired | BIT(x)
                :: else ->
                    assert(!(pool & BIT(x)) && x != head && x != tail);
                    life[x]++;
                    next[x] = 0;
                    for (j : 0 .. K - 1) { word[x * K + j] = FREE; value[x * K + j] = 0 }
#if K > 1
                    hint[x] = 0; hint[SEGMENTS + 1 + x] = 0;
#endif
                    pool = pool | BIT(x)
                fi;
                held = false; j = 0; r = r & ~BIT(x)
            END
        :: else
        fi;
        x++
    :: else -> break
    od;
    x = 0
}

inline finish() {
    leave();
    if
    :: left || !HAS_RECORD -> left = false; reap(OUTSIDE)
    :: else
    fi;
    s = 0; n = 0; lived = 0
}

#if K > 1
#define HINT(side) hint[(side) * (SEGMENTS + 1) + s]
#define LOAD_HINT(side) STEP USE; i = HINT(side) END
#define SET_HINT(side) STEP USE; HINT(side) = i + 1 END
#else
#define LOAD_HINT(side) skip
#define SET_HINT(side) skip
#endif

/* What a get that takes nothing has seen, at the moment it sees it. */
#define SEEN(nothing, end) \
    assert(last != FULL || !(nothing) && !(end) || n_put == n_got && (closed || !(end)))

/* Goes to the first slot that is not above the state last, or to the link behind them all: then n is what it says. */
inline find(root, side, last) {
    protect(root, side);
    LOAD_HINT(side);
    do
    :: i < K -> STEP USE; w = SLOT; SEEN(w == FREE, w == CLOSED) END; if :: w <= last -> break :: else -> i++ fi
    :: else -> STEP USE; n = next[s]; SEEN(n == 0, n == MARK) END; break
    od
}

inline advance_tail() {
    STEP
        if
        :: tail == s -> USE; tail = n
        :: else
        fi
    END
}

inline put() {
    enter();
    do
    :: true ->
        find(tail, PUT, CLOSED);
        if
        :: i < K && w == CLOSED -> break /* -EPIPE */
        :: i < K && w == FREE ->
            STEP
                USE;
                if
                :: SLOT == FREE -> assert(!closed); SLOT = FULL; VALUE = n_put; n_put++; done = true
                :: else
                fi
            END;
            if :: done -> SET_HINT(PUT); break :: else fi
        :: i == K && n == MARK -> break /* -EPIPE */
        :: i == K && n == 0 ->
            if
            :: !pool && retired -> reap(INSIDE)
            :: else
            fi;
            STEP
                fresh = 1;
                do :: fresh <= SEGMENTS && !(pool & BIT(fresh)) -> fresh++ :: else -> break od;
                if :: fresh > SEGMENTS -> fresh = 0 :: else -> pool = pool & ~BIT(fresh) fi
            END;
            if
            :: fresh == 0 -> STEP USE; n = next[s] END; if :: n == 0 -> break :: else fi /* -ENOMEM */
            :: else ->
                STEP
                    USE;
                    if
                    :: next[s] == 0 -> next[s] = fresh; n = fresh
                    :: else -> pool = pool | BIT(fresh); n = 0
                    fi;
                    fresh = 0
                END;
                if :: n -> advance_tail() :: else fi
            fi
        :: i == K && n != 0 && n != MARK ->
#ifdef NO_HELP
            skip /* whoever linked it does that */
#else
            advance_tail()
#endif
        fi;
        i = 0; w = 0; n = 0
    od;
    i = 0; w = 0; done = false;
    finish()
}

inline get() {
    enter();
    do
    :: true ->
        find(head, GET, FULL);
        if
        :: i < K && w == FULL ->
            STEP
                USE;
                if
                :: SLOT == FULL -> assert(VALUE == n_got && n_got < n_put); SLOT = TAKEN; n_got++; done = true
                :: else
                fi
            END;
            if
            :: done ->
                STEP USE END; /* the cell */
                SET_HINT(GET);
                break
            :: else
            fi
        :: i < K && w != FULL -> break
        :: i == K && (n == 0 || n == MARK) -> break
        :: i == K && n != 0 && n != MARK ->
#ifndef NO_TAIL_HELP
            STEP t = tail END;
            if :: t == s -> advance_tail() :: else fi;
            t = 0;
#endif
#ifdef NO_SCAN_FENCE
            STEP
                seen = 0;
                for (j : 0 .. 2 * RECORDS - 1) { seen = seen | hazard[j] << (4 * j) }
                j = 0
            END;
#endif
            STEP if :: head == s -> USE; head = n; left = true; retired = retired | BIT(s) :: else fi END
        fi;
        i = 0; w = 0; n = 0
    od;
    i = 0; w = 0; done = false;
    finish()
}

proctype thread(byte me) {
    byte s, n, t, i, w, lived, fresh, r, x, j;
    byte puts = PUTS_OF(me), gets = GETS_OF(me);
    bool known, done, left, held;
#ifdef NO_COUNT_FENCE
    bool counted;
#endif
#ifdef NO_SCAN_FENCE
    int seen;
#endif

    do
    :: puts > 0 -> puts--; put()
    :: gets > 0 -> gets--; get()
    :: puts + gets == 0 -> break
    od;
stop:
    skip
}

#if CLOSE
proctype closer(byte me) {
    byte s, n, i, w, lived, r, x, j;
    bool known, done, left, held;
#ifdef NO_COUNT_FENCE
    bool counted;
#endif
#ifdef NO_SCAN_FENCE
    int seen;
#endif

    enter();
    do
    :: true ->
        find(tail, PUT, CLOSED);
        if
        :: i < K && w == CLOSED -> break /* -EALREADY */
        :: i < K && w == FREE ->
            STEP
                USE;
                if
                :: SLOT == FREE -> assert(!closed); SLOT = CLOSED; closed = true; done = true
                :: else
                fi
            END
        :: i == K && n == MARK -> break /* -EALREADY */
        :: i == K && n == 0 ->
            STEP
                USE;
                if
                :: next[s] == 0 ->
                    assert(!closed);
#ifndef NEXT_UNMARKED
                    next[s] = MARK;
#endif
                    closed = true; done = true
                :: else
                fi
            END
        :: i == K && n != 0 && n != MARK -> advance_tail()
        fi;
        i = 0; w = 0; n = 0;
        if :: done -> break :: else fi
    od;
    i = 0; w = 0; n = 0; done = false;
    finish();
stop:
    skip
}
#endif

/* When nobody can move any more, every segment is somewhere, once. */
proctype observer() {
    byte s, there;

    timeout;
    atomic {
        s = head;
        do
        :: s != 0 && s != MARK ->
            assert(!((there | pool | retired) & BIT(s)));
            there = there | BIT(s);
            if :: next[s] == 0 || next[s] == MARK -> assert((next[s] == 0 || closed) && tail == s) :: else fi;
            s = next[s]
        :: else -> break
        od;
        assert(!(pool & retired) && (there | pool | retired) == ALL)
    }
}

init {
    byte i;
    atomic {
        for (i : 0 .. THREADS - 1) { run thread(i) }
#if CLOSE
        for (i : THREADS .. THREADS + CLOSE - 1) { run closer(i) }
#endif
#ifndef STOP
        run observer();
#endif
        i = 0
    }
}
