/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * The ring of lib/ring.c, with the value beside the word: a slot is read in two steps and swapped as a whole.
 *
 * What one step is: a load of tail, head, a word or a value, or one CAS. The ghost is a FIFO that the successful swaps
 * change, since the swap is the put, the get or the close.
 *
 * Promise: a put lands in an open ring with room, a get takes the oldest element, and a slot that settles a call shows
 * at the moment its word is read exactly whether the ring is full, empty or closed. Tail and head are never more than
 * one behind. No run goes on for ever (there is no progress label: any cycle counts), also when with STOP one thread
 * stops for ever in front of any of its steps, in between a swap and its advance too.
 *
 * Sizes: N slots, PUTTERS x PUTS calls of put, GETTERS x GETS calls of get, CLOSE calls of close. START is the turn at
 * which the ring begins; turns are counted modulo TURNS, and a ring that starts at the last turn soon wraps.
 */
#ifndef N
#define N 1
#endif
#ifndef PUTTERS
#define PUTTERS 2
#endif
#ifndef PUTS
#define PUTS 1
#endif
#ifndef GETTERS
#define GETTERS 2
#endif
#ifndef GETS
#define GETS 1
#endif
#ifndef CLOSE
#define CLOSE 0
#endif
#ifndef TURNS
#define TURNS 16
#endif
#ifndef START
#define START (TURNS - 1)
#endif

#define POSITIONS (TURNS * N)
#define FIRST (START * N)
#define NEXT(p) (((p) + 1) % POSITIONS)
#define INDEX(p) ((p) % N)
#define TURN(p) ((p) / N)

#define FULL 1
#define CLOSED 2
#define MARK(w) ((w) & CLOSED)
#define BARE(w) ((w) & ~CLOSED)
#define HAS_TURN(w) ((w) >> 2)

#ifdef CONFLATED
/* As in D. Vyukov's ring: the word is the position when free, one more when full, and N more for the next turn. */
#define FREE_AT(p) ((p) << 2)
#define FULL_AT(p) (NEXT(p) << 2)
#define FREED_AT(p) ((((p) + N) % POSITIONS) << 2)
#define BEYOND(w, p) ((HAS_TURN(w) + POSITIONS - (p)) % POSITIONS)
#define TAIL_PAST(w, p) (BEYOND(w, p) > 0 && BEYOND(w, p) < POSITIONS / 2)
#define HEAD_PAST(w, p) (BEYOND(w, NEXT(p)) > 0 && BEYOND(w, NEXT(p)) < POSITIONS / 2)
#else
#define FREE_AT(p) (TURN(p) << 2)
#define FULL_AT(p) (TURN(p) << 2 | FULL)
#define FREED_AT(p) (((TURN(p) + 1) % TURNS) << 2)
#ifdef PLAIN_COMPARE
#define HEAD_PAST(w, p) (HAS_TURN(w) > TURN(p))
#else
#define AHEAD(w, p) ((HAS_TURN(w) + TURNS - TURN(p)) % TURNS)
#define HEAD_PAST(w, p) (AHEAD(w, p) > 0 && AHEAD(w, p) < TURNS / 2)
#endif
#define TAIL_PAST(w, p) (HEAD_PAST(w, p) || BARE(w) == FULL_AT(p))
#endif

/* Of all calls, only so many can go round before a position that somebody holds looks as if it were ahead. */
#if PUTTERS * PUTS >= TURNS * N / 2
#error more elements than TURNS can tell apart
#endif

byte word[N], value[N];
byte tail = FIRST, head = FIRST;

/* The ghost: the elements, oldest first, and the true positions. */
byte fifo[N];
byte count = 0, put_at = FIRST, get_at = FIRST;
bool closed = false;

/* STOP is the number of the thread that may stop: putters count from 1, getters from 11, closers from 21. */
#ifdef STOP
#define STEP atomic { if :: me == STOP -> goto stop :: true fi;
#else
#define STEP atomic {
#endif
#define END }

/* CLOSE_FLAG_ONLY: the flag is read at the very moment of the word, and still it is too early. */
#ifdef CLOSE_FLAG_ONLY
#define SEEN(w) ((w) | (closed -> CLOSED : 0))
#define HELD(w) BARE(w)
#else
#define SEEN(w) (w)
#define HELD(w) (w)
#endif

/* FULL_BY_HEAD: the same for head. */
#ifdef FULL_BY_HEAD
#define SHOWS_FULL (((p + POSITIONS - head) % POSITIONS) >= N)
#else
#define SHOWS_FULL (BARE(w) != FREE_AT(p))
#endif

#ifdef WORD_ONLY
#define SAME (word[INDEX(p)] == HELD(w))
#else
#define SAME (word[INDEX(p)] == HELD(w) && value[INDEX(p)] == v)
#endif

#ifdef MARK_DROPPED
#define KEPT(w) 0
#else
#define KEPT(w) MARK(HELD(w))
#endif

inline advance(end) {
#ifdef ADVANCE_BLIND
    STEP end = NEXT(p) END
#else
    STEP if :: end == p -> end = NEXT(p) :: else fi END
#endif
}

inline help(end) {
#ifdef NO_HELP
    skip
#else
    advance(end)
#endif
}

/* The value's half of a slot read. */
#ifdef VALUE_FIRST
#define VALUE_BEFORE STEP v = value[INDEX(p)] END
#define VALUE_BEHIND skip
#else
#define VALUE_BEFORE skip
#define VALUE_BEHIND STEP v = value[INDEX(p)] END
#endif

/* Leaves the position in p, its slot in w and v, and in is_full what a put makes of it. */
inline settle_tail() {
    do
    :: true ->
        w = 0; v = 0;
        STEP p = tail END;
        VALUE_BEFORE;
        STEP
            w = SEEN(word[INDEX(p)]);
            if
            :: TAIL_PAST(w, p) -> past = true
            :: else ->
                past = false;
                is_full = SHOWS_FULL;
                assert(is_full == (count == N));
                assert((MARK(w) != 0) == closed)
            fi
        END;
        if
        :: past -> past = false; w = 0; v = 0; help(tail)
        :: else -> break
        fi
    od;
    VALUE_BEHIND
}

inline settle_head() {
    do
    :: true ->
        w = 0; v = 0;
        STEP p = head END;
        VALUE_BEFORE;
        STEP
            w = SEEN(word[INDEX(p)]);
            if
            :: HEAD_PAST(w, p) -> past = true
            :: else ->
                past = false;
                is_full = BARE(w) == FULL_AT(p);
                assert(is_full == (count > 0));
                assert(is_full || (MARK(w) != 0) == closed)
            fi
        END;
        if
        :: past -> past = false; w = 0; v = 0; help(head)
        :: else -> break
        fi
    od;
    VALUE_BEHIND
}

proctype putter(byte me) {
    byte p, w, v, puts;
    bool past, is_full, done;

    do
    :: puts < PUTS ->
        puts++;
        do
        :: true ->
            settle_tail();
            if :: is_full || MARK(w) -> break :: else fi; /* -EAGAIN, -EPIPE */
            STEP
                if
                :: SAME ->
                    assert(!closed && count < N);
                    assert(p == tail && p == put_at);
                    word[INDEX(p)] = FULL_AT(p);
                    value[INDEX(p)] = (me - 1) * PUTS + puts;
                    fifo[count] = value[INDEX(p)];
                    count++;
                    put_at = NEXT(put_at);
                    done = true
                :: else
                fi
            END;
            w = 0; v = 0;
            if :: done -> done = false; advance(tail); break :: else fi
        od;
        p = 0; w = 0; v = 0; is_full = false
    :: else -> break
    od;
stop:
    p = 0; w = 0; v = 0; is_full = false; past = false; puts = 0
}

proctype getter(byte me) {
    byte p, w, v, gets;
    bool past, is_full, done;

    do
    :: gets < GETS ->
        gets++;
        do
        :: true ->
            settle_head();
            if :: !is_full -> break :: else fi; /* -EAGAIN, -EPIPE */
            STEP
                if
                :: SAME ->
                    assert(count > 0 && v == fifo[0]);
                    assert(p == head && p == get_at);
                    word[INDEX(p)] = FREED_AT(p) | KEPT(w);
                    value[INDEX(p)] = 0;
                    count--;
                    fifo[0] = fifo[N - 1]; /* N is 1 or 2 */
                    fifo[N - 1] = 0;
                    get_at = NEXT(get_at);
                    done = true
                :: else
                fi
            END;
            w = 0; v = 0;
            if :: done -> done = false; advance(head); break :: else fi
        od;
        p = 0; w = 0; v = 0; is_full = false
    :: else -> break
    od;
stop:
    p = 0; w = 0; v = 0; is_full = false; past = false; gets = 0
}

#if CLOSE
proctype closer(byte me) {
    byte p, w, v;
    bool past, is_full, done;

    do
    :: true ->
        settle_tail();
        if :: MARK(w) -> break :: else fi; /* -EALREADY */
        STEP
            if
#ifdef CLOSE_FLAG_ONLY
            :: true -> closed = true; done = true
#elif defined(CLOSE_BY_OR)
            :: true -> word[INDEX(p)] = word[INDEX(p)] | CLOSED; closed = true; done = true
#else
            :: SAME ->
                assert(!closed);
                word[INDEX(p)] = w | CLOSED;
                closed = true;
                done = true
#endif
            :: else
            fi
        END;
        w = 0; v = 0;
        if :: done -> break :: else fi
    od;
stop:
    p = 0; w = 0; v = 0; is_full = false; past = false; done = false
}
#endif

/* When nobody can move any more, the ring is what the ghost is. */
proctype observer() {
    byte i, p;

    timeout;
    atomic {
        assert(tail == put_at || NEXT(tail) == put_at);
        assert(head == get_at || NEXT(head) == get_at);
        p = get_at;
        do
        :: i < count ->
            assert(BARE(word[INDEX(p)]) == FULL_AT(p) && value[INDEX(p)] == fifo[i]);
            p = NEXT(p);
            i++
        :: else -> break
        od;
        assert(p == put_at);
        do
        :: i < N -> assert(BARE(word[INDEX(p)]) == FREE_AT(p)); p = NEXT(p); i++
        :: else -> break
        od;
        p = INDEX(put_at);
        assert((MARK(SEEN(word[p])) != 0) == closed)
    }
}

init {
    byte i;
    atomic {
        for (i : 0 .. N - 1) { word[i] = FREE_AT(FIRST + i) }
        for (i : 1 .. PUTTERS) { run putter(i) }
        for (i : 1 .. GETTERS) { run getter(10 + i) }
#if CLOSE
        for (i : 1 .. CLOSE) { run closer(20 + i) }
#endif
        run observer();
        i = 0
    }
}
