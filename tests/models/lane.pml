/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * Both sides of a bounded channel: getters at one gate and putters at the other, threads and selects (lane_wait,
 * yield_to and hand_on in lib/lane.c, try_case in lib/wait.c, lib/gate.c). The ring is a counter, see ring.pml; who is
 * told of strangers and of a close, see poll.pml and park.pml.
 *
 * What one step is: see park.pml; what the kernel does with an eventfd: see poll.pml.
 *
 * Store buffers (BUFFERS): what a read-modify-write stored stays with its thread until others see it, at any time;
 * until then they load what was there before, and cannot change it (a failed store-exclusive tries again). A buffer has
 * one entry: the next store to another place, a fence or a system call lets it be seen. So a store and the fence behind
 * it are one step. Stores that are seen out of order are not modelled: tests/explore has those.
 *
 * Promise: when nobody can move any more, nobody sleeps who could go on. With STOP, one thread may stop for ever in
 * front of any of its steps: then who sleeps beside work is excused until somebody else of the other side makes more
 * work, and only if nobody sleeps on the other side, which would be a hang of both. No run goes on for ever: as puts
 * and gets are finite, any cycle counts.
 *
 * Loads are made in order here. So this says nothing of the fence in yield_to, which orders two of them.
 *
 * Sizes: capacity N; PUTTERS and GETTERS threads, PUTTING and GETTING selects; each does PUTS or GETS operations.
 * TIMED is the set of threads that may time out at any moment, and then are gone; LEAVES the set of selects that may go
 * to another case for ever, armed or not; BATCH: threads put two at once and look behind both.
 */
#ifndef N
#define N 1
#endif
#ifndef PUTTERS
#define PUTTERS 1
#endif
#ifndef GETTERS
#define GETTERS 1
#endif
#ifndef PUTTING
#define PUTTING 0
#endif
#ifndef GETTING
#define GETTING 0
#endif
#ifndef PUTS
#define PUTS 1
#endif
#ifndef GETS
#define GETS 1
#endif
#ifndef TIMED
#define TIMED 0
#endif
#ifndef LEAVES
#define LEAVES 0
#endif

/* Who there is, by number from 1, also as bits. */
#define BIT(x) (1 << (x))
#define HAS(set, x) ((set) >> (x) & 1)
#define THREADS (PUTTERS + GETTERS)
#define ALL (THREADS + PUTTING + GETTING)
#define UP_TO(n) (BIT((n) + 1) - 2)
#define THREADS_AT(s) (s == PUT -> UP_TO(PUTTERS) : UP_TO(THREADS) & ~UP_TO(PUTTERS))
#define SELECTS_AT(s) (s == PUT -> UP_TO(THREADS + PUTTING) & ~UP_TO(THREADS) : UP_TO(ALL) & ~UP_TO(THREADS + PUTTING))
#define AT(s) (THREADS_AT(s) | SELECTS_AT(s))

#define GET 0
#define PUT 1
#define OTHER(s) (1 - (s))

/*
 * The places in memory: none, the ring's count, and of each gate (by side) the word of the threads and that of the
 * selects.
 */
#define Q 1
#define T 2
#define P 4
#define PLACES 6

/* Both words: granted, waiting, pending, and the version of the last grant. */
#define K(x) ((x) & 7)
#define W(x) (((x) >> 3) & 7)
#define W1 8
#define PENDING 64
#define PEND(x) (((x) >> 6) & 1)
#define VER(x) ((x) >> 7)
#define OWED(x) (((x) | PENDING) + 128 & 1023)

short mem[PLACES];
#ifdef BUFFERS
short old[PLACES]; /* what others see */
byte by[PLACES];   /* whose store it is that they do not see */
byte place[ALL + 1];
#endif
byte asleep = 0; /* in futex_wait or epoll_wait */
byte mark = 0;   /* the eventfd is in the ready list of this select's epoll */

#define CAN(s, q) (s == GET -> (q) > 0 : (q) < N)

/* STOP is the number of who may stop. */
#ifdef STOP
bool stopped = false;
bool after[2]; /* somebody of this side has done an operation since */
#define STOPS if :: me == STOP -> stopped = true; goto stop :: true fi;
#define DONE after[side] = after[side] || stopped
#define EXCUSED(s) (stopped && !after[OTHER(s)] && !(asleep & AT(OTHER(s))))
#else
#define STOPS
#define DONE skip
#define EXCUSED(s) false
#endif
#define STEP atomic { STOPS
#define END }

#ifdef BUFFERS
#define MINE(l) (!by[l] || by[l] == me)
#define LOAD(l) (by[l] && by[l] != me -> old[l] : mem[l])
/* Everybody sees what was stored. */
#define fence() d_step { by[place[me]] = 0; old[place[me]] = 0; place[me] = 0 }
#define store(l, x) \
    d_step { \
        if \
        :: by[l] \
        :: else -> by[place[me]] = 0; old[place[me]] = 0; place[me] = l; by[l] = me; old[l] = mem[l] \
        fi; \
        mem[l] = x \
    }
#else
#define MINE(l) true
#define LOAD(l) mem[l]
#define fence() skip
#define store(l, x) mem[l] = x
#endif
/* A read-modify-write. */
#define CHANGE(l) atomic { MINE(l) -> STOPS

/* ---- The kernel ------------------------------------------------------------------------------------------------ */

/* futex(FUTEX_WAKE, n): any n of the sleepers */
inline futex_wake() {
    do
    :: n > 0 && asleep & THREADS_AT(to) ->
        n--;
        x = asleep & THREADS_AT(to);
        if
        :: HAS(x, 1) -> asleep = asleep & ~BIT(1)
        :: HAS(x, 2) -> asleep = asleep & ~BIT(2)
        :: HAS(x, 3) -> asleep = asleep & ~BIT(3)
        :: HAS(x, 4) -> asleep = asleep & ~BIT(4)
        :: HAS(x, 5) -> asleep = asleep & ~BIT(5)
        fi
    :: else -> break
    od;
    n = 0; x = 0
}

/* write(eventfd, 1), n times: each marks the epolls up to and including the first in which somebody sleeps. */
inline efd_write() {
    do
    :: n > 0 ->
        n--;
        x = 1;
        do
        :: x <= ALL && !HAS(SELECTS_AT(to), x) -> x++
        :: x <= ALL && HAS(SELECTS_AT(to), x) ->
            mark = mark | BIT(x);
            if
            :: HAS(asleep, x) -> asleep = asleep & ~BIT(x); break
            :: else -> x++
            fi
        :: else -> break
        od
    :: else -> break
    od;
    x = 0
}

/* ---- The gate -------------------------------------------------------------------------------------------------- */

/* The calls that a change of a word from pending on owes, n of them; v is the word as this thread left it. */
inline deliver() {
    do
    :: v ->
        STEP fence(); if :: w == T -> futex_wake() :: else -> efd_write() fi END;
        CHANGE(w + to)
            if
            :: !PEND(mem[w + to]) -> v = 0
            :: PEND(mem[w + to]) && VER(mem[w + to]) == VER(v) -> store(w + to, mem[w + to] & ~PENDING); v = 0
            :: else -> v = mem[w + to]; n = K(v)
            fi
        END
    :: else -> break
    od
}

#ifdef NO_PENDING
#define GRANTED(x) (x)
#else
#define GRANTED(x) OWED(x)
#endif

/* Grants one of those who wait by word w at gate to: then granted_one is set. */
inline grant(s) {
    STEP
        if :: !w -> w = T; to = s :: else fi;
        if
        :: W(LOAD(w + to)) > 0 && MINE(w + to) ->
            n = (PEND(mem[w + to]) -> K(mem[w + to]) + 1 : 1);
            store(w + to, GRANTED(mem[w + to] - W1 + 1));
            v = mem[w + to] | PENDING;
            granted_one = true
        :: !W(LOAD(w + to)) && PEND(LOAD(w + to)) -> v = LOAD(w + to); n = K(v)
        :: !W(LOAD(w + to)) && !PEND(LOAD(w + to))
        fi
    END;
    deliver()
}

#define GOES_ON (PUTTING + GETTING > 0 && w == T && !granted_one)

/* spool__gate_wake_slow; a look before it would read the same two words in the same order. */
inline wake(s) {
    do
    :: grant(s);
        if
        :: atomic { GOES_ON -> w = P }
        :: atomic { !GOES_ON -> granted_one = false; w = 0; to = 0 }; break
        fi
    od
}

/* spool__gate_announce, with the word of the threads, and spool__gate_arm, with that of the selects */
inline announce(word) {
    CHANGE(word + side)
#ifdef W_IS_A_BIT
        if :: !W(mem[word + side]) -> store(word + side, mem[word + side] + W1) :: else fi;
#else
        store(word + side, mem[word + side] + W1);
#endif
#ifdef NO_ANNOUNCE_FENCE
        skip
#else
        fence()
#endif
    END
}

/* spool__gate_leave, spool__gate_disarm: a grant goes first, since its call may have woken this very one. */
inline take_back(word) {
    CHANGE(word + side)
        if
        :: K(mem[word + side]) > 0 -> store(word + side, mem[word + side] - 1); granted = true
#ifdef W_IS_A_BIT
        :: !K(mem[word + side]) && W(mem[word + side]) -> store(word + side, mem[word + side] - W1)
        :: else
#else
        :: else -> assert(W(mem[word + side])); store(word + side, mem[word + side] - W1)
#endif
        fi
    END
}

/* ---- The lane -------------------------------------------------------------------------------------------------- */

#ifndef UNFENCED
#define UNFENCED 2 /* this side does not fence behind its operations */
#endif

#define MOVED(q) (side == GET -> (q) - 1 : (q) + 1)
inline queue_do() {
    STEP
        if
        :: CAN(side, LOAD(Q)) && MINE(Q) ->
            store(Q, MOVED(mem[Q]));
            got = true;
            DONE;
            if :: side != UNFENCED -> fence() :: else fi
        :: !CAN(side, LOAD(Q))
        fi
    END
}

/* spool__lane_do: then the other side is woken. */
inline lane_do() {
    queue_do();
    if
    :: got ->
#ifdef BATCH
        if
        :: side == PUT && me <= THREADS -> queue_do()
        :: else
        fi;
#endif
        wake(other)
    :: else
    fi
}

/* Before it sleeps who could not go on. */
inline yield_to() {
#ifdef NO_YIELD
    skip
#elif defined(YIELD_TO_OWN)
    wake(side)
#elif defined(THREADS_YIELD_ONLY)
    if :: me <= THREADS -> wake(other) :: else fi
#elif defined(SELECTS_YIELD_ONLY)
    if :: me > THREADS -> wake(other) :: else fi
#else
    wake(other)
#endif
}

inline hand_on() {
#ifndef NO_HANDOFF
    STEP left = CAN(side, LOAD(Q)) END;
    if
    :: left -> left = false; wake(side)
    :: else
    fi
#else
    skip
#endif
}

#define TIMES (side == PUT -> PUTS : GETS)

/* spool__lane_wait */
proctype a_thread(byte me; bit side) {
    byte n, x, w, times;
    bit other = OTHER(side), to;
    short v;
    bool got, granted, granted_one, left;

again:
    lane_do();
    if :: got -> goto out :: else fi;
waits:
    announce(T);
#ifndef NO_RECHECK
    lane_do();
#endif
    if
    :: got ->
        take_back(T);
        if :: granted -> hand_on() :: else fi;
        goto out
    :: else -> yield_to()
    fi;
sleep:
    CHANGE(T + side)
        if
        :: K(mem[T + side]) > 0 -> store(T + side, mem[T + side] - 1); granted = true; goto woken
        :: !K(mem[T + side]) -> fence(); asleep = asleep | BIT(me)
        :: !K(mem[T + side]) && HAS(TIMED, me) -> fence(); goto late
        fi
    END;
end_asleep:
    if
    :: !HAS(asleep, me) -> goto sleep
    :: atomic { HAS(TIMED, me) && HAS(asleep, me) -> asleep = asleep & ~BIT(me) }
    fi;
late:
    take_back(T);
woken:
    lane_do();
    if
    :: got && granted -> hand_on()
    :: !got && granted -> granted = false; goto waits
    :: else /* done, or late */
    fi;
out:
    atomic {
        granted = false;
        if
        :: times + 1 < TIMES && got -> times++; got = false; goto again
        :: else -> got = false; times = 0
        fi
    };
stop:
    skip
}

#if PUTTING + GETTING
/* spool_select_wait, with one case on the channel */
proctype a_select(byte me; bit side) {
    byte n, x, w, times;
    bit other = OTHER(side), to;
    short v;
    bool got, granted, granted_one, left, event, leaves;

again:
    lane_do();
    if :: got -> goto performed :: else fi;
arm:
    announce(P);
#ifndef NO_ARM_RECHECK
    lane_do();
#endif
    if
    :: got -> take_back(P); goto performed
    :: else -> yield_to(); granted = false
    fi;
epoll_wait:
    STEP
        fence();
        event = HAS(mark, me);
        mark = mark & ~BIT(me);
        if
        :: HAS(LEAVES, me) -> leaves = true
        :: !event -> asleep = asleep | BIT(me)
        :: event
        fi
    END;
    if
    :: !event && !leaves ->
end_asleep:
        if
        :: !HAS(asleep, me) -> goto epoll_wait
        :: atomic { HAS(LEAVES, me) && HAS(asleep, me) -> asleep = asleep & ~BIT(me); goto epoll_wait }
        fi
    :: event -> event = false; take_back(P)
    :: else
    fi;
    if
    :: leaves -> leaves = false; if :: granted -> hand_on() :: else fi; goto stop
    :: else
    fi;
    lane_do();
    if :: !got -> goto arm :: else fi;
performed:
    if :: granted -> granted = false; hand_on() :: else fi;
    atomic {
        got = false;
        if
        :: times + 1 < TIMES -> times++; goto again
        :: else -> times = 0
        fi
    };
stop:
    skip
}
#endif

#ifdef BUFFERS
proctype memory() {
    byte l;

end:
    do
    :: atomic {
            if
            :: by[1] -> l = 1
            :: by[2] -> l = 2
            :: by[3] -> l = 3
            :: by[4] -> l = 4
            :: by[5] -> l = 5
            fi;
            place[by[l]] = 0;
            by[l] = 0;
            old[l] = 0;
            l = 0
        }
    od
}
#endif

proctype observer() {
    timeout;
    assert(!(mem[Q] > 0 && asleep & AT(GET)) || EXCUSED(GET));
    assert(!(mem[Q] < N && asleep & AT(PUT)) || EXCUSED(PUT))
}

init {
    byte i;
    atomic {
        for (i : 1 .. ALL) {
            if
            :: i <= THREADS -> run a_thread(i, (i <= PUTTERS -> PUT : GET))
#if PUTTING + GETTING
            :: i > THREADS -> run a_select(i, (i <= THREADS + PUTTING -> PUT : GET))
#endif
            fi
        }
#ifdef BUFFERS
        run memory();
#endif
        run observer();
        i = 0
    }
}
