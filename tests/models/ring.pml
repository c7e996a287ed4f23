/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * The ring of lib/ring.c, with the value beside the word: a slot is read in two steps and swapped as a whole.
 *
 * What one step is: a load or a store of tail or head, a load of a word or a value, or one swap of a slot. The ghost is
 * a FIFO that the successful swaps change, since the swap is the put, the get or the close.
 *
 * Promise: a put lands in an open ring with room, a get takes the oldest element, and a slot that settles a call shows
 * at the moment its word is read exactly whether the ring is full, empty or closed. Tail and head are never ahead. No
 * run goes on for ever (there is no progress label: any cycle counts), also when with STOP one thread stops for ever
 * in front of any of its steps, in between a swap and its hint too.
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

/* What a word at p says is the next put, and the next get, that will be made in its slot. */
#ifdef CONFLATED
/* As in D. Vyukov's ring: the word is the position when free, one more when full, and N more for the next turn. */
#define FREE_AT(p) ((p) << 2)
#define FULL_AT(p) (NEXT(p) << 2)
#define FREED_AT(p) ((((p) + N) % POSITIONS) << 2)
#define IS_FREE(w, p) (INDEX(HAS_TURN(w)) == INDEX(p))
#define TAIL_AT(w, p) (IS_FREE(w, p) -> HAS_TURN(w) : (HAS_TURN(w) + N - 1) % POSITIONS)
#define HEAD_AT(w, p) (IS_FREE(w, p) -> HAS_TURN(w) : (HAS_TURN(w) + POSITIONS - 1) % POSITIONS)
#else
#define FREE_AT(p) (TURN(p) << 2)
#define FULL_AT(p) (TURN(p) << 2 | FULL)
#define FREED_AT(p) (((TURN(p) + 1) % TURNS) << 2)
#define AT_TURN(t, p) ((t) % TURNS * N + INDEX(p))
#define TAIL_AT(w, p) AT_TURN(HAS_TURN(w) + ((w) & FULL), p)
#define HEAD_AT(w, p) AT_TURN(HAS_TURN(w), p)
#endif

#ifdef PLAIN_COMPARE
#define IS_PAST(at, p) ((at) > (p))
#else
#define IS_PAST(at, p) ((at) != (p))
#endif

/* Behind the last one that has been made there. */
#ifdef BEYOND_NEXT
#define BEYOND(at) NEXT(at)
#else
#define BEYOND(at) NEXT(((at) + POSITIONS - N) % POSITIONS)
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

/* Two steps: whoever stops between them sets it back, should he go on. */
inline hint(end, was, next) {
#ifdef SWAPPED_HINT
    STEP if :: end == was -> end = next :: else fi END
#else
    STEP at = end END;
    if :: at == was -> STEP end = next END :: else fi;
    at = 0
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
    STEP from = tail; p = from END;
    do
    :: true ->
        w = 0; v = 0;
        VALUE_BEFORE;
        STEP
            w = SEEN(word[INDEX(p)]);
            if
            :: IS_PAST(TAIL_AT(w, p), p) -> past = true
            :: else ->
                past = false;
                is_full = SHOWS_FULL;
                assert(is_full == (count == N));
                assert((MARK(w) != 0) == closed)
            fi
        END;
        if
#ifdef NO_WALK
        :: past -> past = false; STEP from = tail; p = from END
#else
        :: past -> past = false; p = BEYOND(TAIL_AT(w, p))
#endif
        :: else -> break
        fi
    od;
    VALUE_BEHIND;
    if :: p != from -> hint(tail, from, p) :: else fi;
    from = 0
}

inline settle_head() {
    STEP from = head; p = from END;
    do
    :: true ->
        w = 0; v = 0;
        VALUE_BEFORE;
        STEP
            w = SEEN(word[INDEX(p)]);
            if
            :: IS_PAST(HEAD_AT(w, p), p) -> past = true
            :: else ->
                past = false;
                is_full = BARE(w) == FULL_AT(p);
                assert(is_full == (count > 0));
                assert(is_full || (MARK(w) != 0) == closed)
            fi
        END;
        if
#ifdef NO_WALK
        :: past -> past = false; STEP from = head; p = from END
#else
        :: past -> past = false; p = BEYOND(HEAD_AT(w, p))
#endif
        :: else -> break
        fi
    od;
    VALUE_BEHIND;
    if :: p != from -> hint(head, from, p) :: else fi;
    from = 0
}

proctype putter(byte me) {
    byte p, w, v, puts, from, at;
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
                    assert(p == put_at);
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
            if :: done -> done = false; hint(tail, p, NEXT(p)); break :: else fi
        od;
        p = 0; w = 0; v = 0; is_full = false
    :: else -> break
    od;
stop:
    p = 0; w = 0; v = 0; from = 0; at = 0; is_full = false; past = false; puts = 0
}

proctype getter(byte me) {
    byte p, w, v, gets, from, at;
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
                    assert(p == get_at);
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
            if :: done -> done = false; hint(head, p, NEXT(p)); break :: else fi
        od;
        p = 0; w = 0; v = 0; is_full = false
    :: else -> break
    od;
stop:
    p = 0; w = 0; v = 0; from = 0; at = 0; is_full = false; past = false; gets = 0
}

#if CLOSE
proctype closer(byte me) {
    byte p, w, v, from, at;
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
    p = 0; w = 0; v = 0; from = 0; at = 0; is_full = false; past = false; done = false
}
#endif

/* When nobody can move any more, the ring is what the ghost is. */
proctype observer() {
    byte i, p;

    timeout;
    atomic {
        assert((put_at + POSITIONS - tail) % POSITIONS < POSITIONS / 2);
        assert((get_at + POSITIONS - head) % POSITIONS < POSITIONS / 2);
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
