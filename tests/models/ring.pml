/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * The ring (lib/ring.c): slots changed by one compare-and-swap of {word, value}, tail and head that anyone moves on.
 *
 * Every load, swap and advance is a step of its own; word and value of a slot are read in two. A queue of ghosts says at
 * each swap what is true: a put asserts that the ring is neither full nor closed, a get that it takes the oldest. An
 * answer "full", "empty" or "closed" asserts that it was true at the read of the word on which it stands; so each call
 * has one instant at which it happened.
 *
 * Sizes: N slots, PUTTERS x PUTS, GETTERS x GETS, CLOSE a closer; FIRST the turn at which words begin (they count modulo
 * TURNS here, so that they wrap). STOP: any thread may stop for ever before it moves tail or head on. All runs end
 * (checked as: no cycle), also then.
 */
#ifndef N
#define N 1
#endif
#ifndef PUTTERS
#define PUTTERS 2
#endif
#ifndef PUTS
#define PUTS 2
#endif
#ifndef GETTERS
#define GETTERS 2
#endif
#ifndef GETS
#define GETS 2
#endif
#define TURNS 8
#ifndef FIRST
#define FIRST 6
#endif

#define FULL 1
#define CLOSED 2
#define LIMIT (TURNS * N)
#define INDEX(p) ((p) % N)
#define NEXT(p) (((p) + 1) % LIMIT)
#ifdef CONFLATED /* the word counts positions, and full is the next one: with one slot that is free for the next turn */
#define TURN(p) (p)
#define FREE_AT(p) ((p) * 4)
#define FULL_AT(p) (NEXT(p) * 4)
#define IS_FULL(w, p) ((w) / 4 == NEXT(p))
#define AHEAD(w, p) (((w) / 4 + LIMIT - (p)) % LIMIT)
#define FREED(p) ((((p) + N) % LIMIT) * 4)
#define IS_PAST_TAIL(w, p) (AHEAD(w, p) > 0 && AHEAD(w, p) <= LIMIT / 2)
#define IS_PAST_HEAD(w, p) (AHEAD(w, p) > 1 && AHEAD(w, p) <= LIMIT / 2)
#define HAS(w, p) IS_FULL(w, p)
#else
#define TURN(p) ((p) / N)
#define FREE_AT(p) (TURN(p) * 4)
#define FULL_AT(p) (TURN(p) * 4 + FULL)
#define AHEAD(w, p) (((w) / 4 + TURNS - TURN(p)) % TURNS)
#define FREED(p) (((TURN(p) + 1) % TURNS) * 4)
/* is_past in ring.c: the put (the get) at p has been made, going by what its slot shows */
#define IS_PAST_TAIL(w, p) (AHEAD(w, p) == 0 && ((w) & FULL) || AHEAD(w, p) > 0 && AHEAD(w, p) < TURNS / 2)
#define IS_PAST_HEAD(w, p) (AHEAD(w, p) > 0 && AHEAD(w, p) < TURNS / 2)
#define HAS(w, p) ((w) & FULL)
#endif

byte word[N], value[N];
byte tail, head;
bool flag; /* CLOSE_BY_FLAG */

/* The ghosts: what was put and not got, as a queue, and whether the ring is closed. */
byte ghost[PUTTERS * PUTS + 1];
byte oldest, count;
bool closed;

#ifdef STOP
#define MAY_STOP if :: goto stop :: true fi
#else
#define MAY_STOP skip
#endif

/* advance: the first part may be left undone by a thread that stops, or that others have overtaken */
inline advance(end, p) {
#ifdef ADVANCE_BLIND /* a store that may take the position back is as good: it is only a hint, and the slots tell */
    end = NEXT(p)
#else
    atomic { if :: end == p -> end = NEXT(p) :: else fi }
#endif
}

/* The position at one end, its slot (w, v), and what was true when the word was read */
inline look(end) {
    p = end;
    d_step { w = word[INDEX(p)]; was_full = count == N; was_empty = count == 0; was_closed = closed };
    v = value[INDEX(p)]
}

#ifdef NO_HELP
#define help(end, p) skip
#else
#define help(end, p) advance(end, p)
#endif

inline settle_tail() {
    do
    :: look(tail);
        if :: IS_PAST_TAIL(w, p) -> help(tail, p) :: else -> break fi
    od
}

inline settle_head() {
    do
    :: look(head);
        if :: IS_PAST_HEAD(w, p) -> help(head, p) :: else -> break fi
    od
}

proctype putter(byte first) {
    byte p, w, v, n, mine;
    bool was_full, was_empty, was_closed, ok;

    do
    :: n < PUTS ->
        mine = first + n;
#ifdef CLOSE_BY_FLAG
        if :: flag -> goto stop :: else fi;
#endif
again:
        settle_tail();
        if
        :: w == FREE_AT(p) -> skip
#ifndef CLOSE_BY_FLAG
        :: w != FREE_AT(p) && (w & CLOSED) -> assert(was_closed); goto stop
#endif
        :: else -> assert(was_full); n++; goto next
        fi;
        atomic { /* slot_swap */
            ok = word[INDEX(p)] == w && value[INDEX(p)] == v;
            if
            :: ok ->
                word[INDEX(p)] = FULL_AT(p);
                value[INDEX(p)] = mine;
                assert(!closed);
                assert(count < N);
                ghost[(oldest + count) % (PUTTERS * PUTS + 1)] = mine;
                count++
            :: else
            fi
        };
        if :: !ok -> goto again :: else fi;
        MAY_STOP;
        advance(tail, p);
        n++;
next:
        skip
    :: else -> break
    od;
stop: skip;
    p = 0; w = 0; v = 0; n = 0; mine = 0; was_full = 0; was_empty = 0; was_closed = 0; ok = 0
}

proctype getter() {
    byte p, w, v, n;
    bool was_full, was_empty, was_closed, ok;

    do
    :: n < GETS ->
again:
        settle_head();
        if
        :: HAS(w, p) -> skip
        :: !HAS(w, p) && (w & CLOSED) -> assert(was_empty && was_closed); goto stop
        :: else -> assert(was_empty); n++; goto next
        fi;
        atomic {
            ok = word[INDEX(p)] == w && value[INDEX(p)] == v;
            if
            :: ok ->
#ifdef MARK_DROPPED
                word[INDEX(p)] = FREED(p);
#else
                word[INDEX(p)] = FREED(p) + (w & CLOSED);
#endif
                value[INDEX(p)] = 0;
                assert(count > 0 && v == ghost[oldest]);
                ghost[oldest] = 0;
                oldest = (oldest + 1) % (PUTTERS * PUTS + 1);
                count--
            :: else
            fi
        };
        if :: !ok -> goto again :: else fi;
        MAY_STOP;
        advance(head, p);
        n++;
next:
        skip
    :: else -> break
    od;
stop: skip;
    p = 0; w = 0; v = 0; n = 0; was_full = 0; was_empty = 0; was_closed = 0; ok = 0
}

/* spool__ring_close: the mark goes into the slot at tail, free or still full */
proctype closer() {
    byte p, w, v;
    bool was_full, was_empty, was_closed, ok;

#ifdef CLOSE_BY_FLAG
    atomic { flag = true; closed = true }
#else
again:
    settle_tail();
    atomic {
        ok = word[INDEX(p)] == w && value[INDEX(p)] == v;
        if
        :: ok -> word[INDEX(p)] = w | CLOSED; closed = true
        :: else
        fi
    };
    if :: !ok -> goto again :: else fi
#endif
}

init {
    byte i;
    atomic {
        for (i : 0 .. N - 1) { word[i] = FIRST * 4 }
#ifdef CONFLATED
        for (i : 0 .. N - 1) { word[i] = (FIRST * N + i) * 4 }
#endif
        tail = FIRST * N;
        head = FIRST * N;
        for (i : 0 .. PUTTERS - 1) { run putter(1 + i * PUTS) }
        for (i : 0 .. GETTERS - 1) { run getter() }
#ifdef CLOSE
        run closer();
#endif
        i = 0
    }
}
