/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * The cells of lib/ring.c and lib/pool.c in a ring whose slots keep them: who has which, and what is written there when.
 *
 * That a thread finds the place of the next put or get is ring.pml's; here it looks at the right slot at once, and what
 * it saw may be past when it swaps. What one step is: that look, one swap of a slot, one cell onto the stack or a look
 * there, which takes the top one (the explorer takes that apart), or the same for the cells that were never taken; half
 * of a write into a cell or of a read from it.
 *
 * Promise: a cell is in one slot, on the stack or in one thread's hands, and no other place; nobody writes a cell that
 * another thread reads or writes; a get reads what the put of its element wrote; a put into a ring with room does
 * without a cell only if at some moment of it more than SPARE were in hands; and none is lost. With STOP one thread stops for
 * ever in front of any of its steps.
 *
 * Sizes: N slots, N + SPARE cells, PUTTERS x PUTS calls of put, GETTERS x GETS calls of get. The slots begin without
 * cells, or with KEPT each with one.
 */
#ifndef N
#define N 2
#endif
#ifndef SPARE
#define SPARE 2
#endif
#ifndef PUTTERS
#define PUTTERS 2
#endif
#ifndef PUTS
#define PUTS 2
#endif
#ifndef GETTERS
#define GETTERS 1
#endif
#ifndef GETS
#define GETS 3
#endif

#define CELLS (N + SPARE)
#define TURNS 16
#define POSITIONS (TURNS * N)
#define NEXT(p) (((p) + 1) % POSITIONS)
#define INDEX(p) ((p) % N)
#define TURN(p) ((p) / N)

#if PUTTERS * PUTS >= POSITIONS / 2 || CELLS > 7
#error more elements than TURNS can tell apart, or cells than a word can
#endif

/* A slot's word: its turn, whether it is full, and its cell. Cells are counted from 1. */
#define WORD(turn, full, cell) ((turn) % TURNS << 4 | (full) << 3 | (cell))
#define CELL(w) ((w) & 7)

/* Where a cell is that is in no slot and no hand. */
#define STACK 100
#define FRESH 101 /* never taken */

#ifdef SLOTS_PASSED_BY
#define TAKES(w) false
#else
#define TAKES(w) (CELL(w) != 0)
#endif

byte word[N];
byte where[CELLS + 1];  /* STACK or FRESH; or the number of a thread; or 0, in a slot */
byte bytes[CELLS + 1];  /* what is written there; 0: half of something */
byte inside[CELLS + 1]; /* threads that read or write there */
byte fifo[N], count, put_at, get_at;
byte hands, overs; /* cells in hands, and how often they became more than SPARE */

/* STOP is the number of the thread that may stop: putters count from 1, getters from 11. */
#ifdef STOP
#define STEP atomic { if :: me == STOP -> goto stop :: true fi;
#else
#define STEP atomic {
#endif
#define END }

inline grab(cell) {
    where[cell] = me;
    hands++;
    if :: hands > SPARE -> overs++ :: else fi
}

/* The lowest, or none: 0. */
inline take_from(part) {
    STEP
        c = 1;
        do
        :: c <= CELLS && where[c] != part -> c++
        :: else -> break
        od;
        if
        :: c > CELLS -> c = 0
        :: else -> grab(c)
        fi
    END
}

inline give_to_stack(cell) {
    STEP
        assert(where[cell] == me);
        where[cell] = STACK;
        hands--
    END
}

proctype putter(byte me) {
    byte w, c, puts, p, left_over, seen;
    bool filled, done, is_over;

    do
    :: puts < PUTS ->
        puts++;
        do
        :: true ->
            STEP
                p = put_at;
                w = word[INDEX(p)];
                done = count == N;
                is_over = hands > SPARE;
                seen = overs
            END;
            if :: done -> break :: else fi; /* -EAGAIN */
            if
            :: c == 0 && TAKES(w) ->
#ifdef NOT_TAKEN
                STEP c = CELL(w) END
#else
                STEP
                    if
                    :: word[INDEX(p)] == w ->
                        c = CELL(w);
                        w = w - c;
                        word[INDEX(p)] = w;
                        assert(where[c] == 0);
                        grab(c)
                    :: else -> done = true
                    fi
                END;
                if :: done -> done = false; w = 0; goto again :: else fi
#endif
            :: c == 0 && !TAKES(w) ->
                take_from(STACK);
                if :: c == 0 -> take_from(FRESH) :: else fi;
#ifndef STACK_ONCE
                if :: c == 0 -> take_from(STACK) :: else fi;
#endif
                if
                :: c == 0 ->
#ifndef NO_SECOND_LOOK
                    STEP done = word[INDEX(p)] == w END;
                    if :: !done -> goto again :: else fi;
#endif
                    assert(is_over || seen != overs);
                    break /* -EAGAIN */
                :: else
                fi
            :: else
            fi;
            if
            :: !filled ->
                STEP
                    assert(inside[c] == 0);
                    inside[c]++;
                    bytes[c] = 0
                END;
                STEP
                    inside[c]--;
                    bytes[c] = (me - 1) * PUTS + puts;
                    filled = true
                END
            :: else
            fi;
            STEP
                if
                :: word[INDEX(p)] == w ->
                    assert(count < N && p == put_at);
                    left_over = CELL(w);
#ifdef NOT_TAKEN
                    if :: left_over == c -> left_over = 0 :: else where[c] = 0; hands-- fi;
#else
                    assert(where[c] == me);
                    where[c] = 0;
                    hands--;
#endif
                    if :: left_over -> assert(where[left_over] == 0); grab(left_over) :: else fi;
                    word[INDEX(p)] = WORD(TURN(p), 1, c);
                    fifo[count] = (me - 1) * PUTS + puts;
                    count++;
                    put_at = NEXT(put_at);
                    c = 0;
                    done = true
                :: else
                fi
            END;
            if :: done -> break :: else fi;
again:
            skip
        od;
#ifdef LEFT_OVER
        left_over = 0;
#endif
        if :: left_over -> give_to_stack(left_over) :: else fi;
        if :: c -> give_to_stack(c) :: else fi;
        c = 0; w = 0; p = 0; left_over = 0; filled = false; done = false; is_over = false; seen = 0
    :: else -> break
    od;
stop:
    w = 0; p = 0; left_over = 0; filled = false; done = false; is_over = false; seen = 0; puts = 0
}

proctype getter(byte me) {
    byte w, c, gets, p;
    bool done;

    do
    :: gets < GETS ->
        gets++;
        do
        :: true ->
            STEP
                p = get_at;
                w = word[INDEX(p)];
                done = count == 0
            END;
            if :: done -> break :: else fi; /* -EAGAIN */
            STEP
                if
                :: word[INDEX(p)] == w ->
                    assert(count > 0 && p == get_at);
                    c = CELL(w);
                    assert(where[c] == 0 && bytes[c] == fifo[0]);
#ifdef KEPT_EARLY
                    word[INDEX(p)] = WORD(TURN(p) + 1, 0, c);
#else
                    word[INDEX(p)] = WORD(TURN(p) + 1, 0, 0);
                    grab(c);
#endif
                    count--;
                    w = fifo[0];
                    fifo[0] = fifo[N - 1]; /* N is 1 or 2 */
                    fifo[N - 1] = 0;
                    get_at = NEXT(get_at);
                    done = true
                :: else
                fi
            END;
            if :: done -> break :: else fi
        od;
        if
        :: c ->
            STEP inside[c]++; assert(bytes[c] == w) END;
            STEP inside[c]--; assert(bytes[c] == w) END;
#ifndef KEPT_EARLY
            STEP
                if
#ifdef STORED_BACK
                :: true ->
#else
                :: word[INDEX(p)] == WORD(TURN(p) + 1, 0, 0) ->
#endif
                    word[INDEX(p)] = WORD(TURN(p) + 1, 0, c);
                    assert(where[c] == me);
                    where[c] = 0;
                    hands--;
                    c = 0
                :: else
                fi
            END;
            if :: c -> give_to_stack(c) :: else fi
#endif
        :: else
        fi;
        c = 0; w = 0; p = 0; done = false
    :: else -> break
    od;
stop:
    w = 0; p = 0; done = false; gets = 0
}

/* When nobody can move any more: each cell is in one place, and in no hand but of the one that stopped. */
proctype observer() {
    byte i, n, c;

    timeout;
    atomic {
        for (i : 0 .. N - 1) {
            c = CELL(word[i]);
            if :: c -> assert(where[c] == 0); n++ :: else fi
        }
        for (c : 1 .. CELLS) {
            if
            :: where[c] == STACK || where[c] == FRESH -> n++
#ifdef STOP
            :: where[c] == STOP -> n++
#endif
            :: else
            fi
        }
        assert(n == CELLS)
    }
}

init {
    byte i;
    atomic {
        for (i : 1 .. CELLS) { where[i] = FRESH }
#ifdef KEPT
        for (i : 0 .. N - 1) { word[i] = WORD(0, 0, i + 1); where[i + 1] = 0 }
#endif
        for (i : 1 .. PUTTERS) { run putter(i) }
        for (i : 1 .. GETTERS) { run getter(10 + i) }
        run observer();
        i = 0
    }
}
