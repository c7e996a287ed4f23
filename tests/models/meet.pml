/* SPDX-License-Identifier: LGPL-3.0-or-later */
/*
 * The rendezvous: offers, parties and hints (lib/meet.c), and what a select has to do with them (lib/party.c, and the
 * loop in lib/wait.c).
 *
 * What one step is: a section of one party's lock, entered while that lock is free; the taking of each lock of two,
 * with the section that follows the second; the taking or giving back of a meet's lock, with what is done under it
 * alone; a look without a lock; a CAS; a write. Lists are sets: where it matters who is the first, anybody may be.
 * Which hints a party has to seek for is settled when it opens. A party's descriptor is one mark, however often it is
 * written (EPOLLET), which epoll_wait takes away and the outside only sees. That nothing is ready is one look, not two;
 * and there are no strangers at the gates (see poll.pml), where selects do not wait.
 *
 * Memory is sequentially consistent here. Most of the lists, hints and states is read under the lock under which it was
 * written. What is not: a try's look whether a list is empty; is_open and is_nested, under the meet's lock and without
 * the party's; that no hint is there; doze, whose CAS and set_met's swap are of one word, as are those of SLEPT_ON,
 * left out here. A look that is too old does no harm where the one who wrote locks the same meet, or the party,
 * afterwards: one who opens locks the meet of each hinted offer, one who nests looks under each meet's lock, and
 * whoever hints locks the party. A try's look may be older than an offer of a thread that it does not know of. None of
 * this is modelled.
 *
 * Promise: who is taken is waiting, and is taken once; a wait performs one case, or none and says so. When nobody can
 * move any more, no lock is held, no two wait that suit each other, nobody waits at a closed channel, and a nested
 * select that has work is readable. A try that begins when a select that suits it sleeps and has no event pending
 * succeeds, unless the select meets somebody else, or wakes. No run goes on for ever in which no case is performed.
 *
 * Who there is: selects S0 to S3, each how it waits and its two cases; threads T0 to T2, each how it waits and its
 * operation; CLOSER closes channel X. WAITS of each select; the selects of the mask JOIN join while others run already;
 * LEAVE: a select that is done leaves. Two selects that have two channels between them lock each other crosswise, as a
 * ring of three does.
 */
#ifndef S0
#define S0 FOR_EVER, PUT_X, GET_X
#endif
#ifdef S3
#define SELECTS 4
#elif defined(S2)
#define SELECTS 3
#elif defined(S1)
#define SELECTS 2
#else
#define SELECTS 1
#endif
#ifdef T2
#define THREADS 3
#elif defined(T1)
#define THREADS 2
#elif defined(T0)
#define THREADS 1
#else
#define THREADS 0
#endif
/* For parts that not all need, as spin and the compiler take most of the time. */
#define FIRST_OF(how, ...) how
#define HOW(s) FIRST_OF(s)
#define ANY(how) (HOW(S0) == how || HOW(S1) == how || HOW(S2) == how || HOW(S3) == how)
#ifndef WAITS
#define WAITS 1
#endif
#ifndef JOIN
#define JOIN 0
#endif

/* How somebody waits. NESTED: polled from outside, and tried when readable; once it waits itself, with a timeout. */
#define FOR_EVER 0
#define TIMED 1
#define TRY 2
#define NESTED 3
#define BUSY 4

/* A case: its list (two for each channel, getters and putters), and 8 with an element, 16 without: it observes. */
#define GET_X 8
#define PUT_X 9
#define GET_Y 10
#define PUT_Y 11
#define GET_Z 12
#define PUT_Z 13
#define OFF_GET_X 0
#define SEE_GET_X 16
#define BOTH_GET_X 24
#define NONE 7

#define SHUT 0
#define OPEN 1
#define ASLEEP 2
#define MET 3
#define CLOSED 4 /* of a thread's offer */

/* Offers: two for each select, then one for each thread. */
#define OFFERS (2 * SELECTS + THREADS)
#define BIT(o) (1 << (o))
#define HAS(set, o) ((set) >> (o) & 1)
#define OF_SELECTS (BIT(2 * SELECTS) - 1)
#define OWN(p) (3 << 2 * (p))
#define IS_THREAD(o) ((o) >= 2 * SELECTS)
#define PARTY(o) ((o) / 2)
#define OTHER(l) ((l) ^ 1)

hidden byte list_of[OFFERS];
short list[8];             /* sets of offers */
short can = 0, sees = 0;   /* sets: can_be_taken, observes */
short hinted = 0;          /* each party's list in one */
bool meet_lock[4], closed[4];
bool lock[SELECTS];
byte state[OFFERS];        /* of parties, and behind them of threads' offers */
byte met[SELECTS];         /* the offer, and 16 if it observes */
bool nested[SELECTS];
bool mark[SELECTS];        /* the party's descriptor is in the epoll's ready list */
bool raised[SELECTS];      /* own_fd */
bool polling[SELECTS];     /* the outside sleeps */

/* The ghost: who has performed a case, or been shown one; which sleepers a try must find. */
short done = 0, must = 0;
#ifdef LEAVE
byte freed = 0;
#endif

#define STEP d_step {
#define GUESS atomic {
#define END }

#define THREAD(o) state[(o) - SELECTS] /* its offer's */
#define IS_OPEN(p) (state[p] == OPEN || state[p] == ASLEEP)
#define WHO(o) (IS_THREAD(o) -> (o) - SELECTS : PARTY(o))
#define SUITS(o, l) (list_of[o] == OTHER(l))

/* ---- Under the locks ------------------------------------------------------------------------------------------- */

inline pick(x, set) {
    x = 0;
    do
    :: HAS(set, x) -> break
    :: (set) >> (x + 1) -> x++
    od;
    set = set & ~BIT(x)
}

/* The other side's o is taken by somebody else. */
inline ghost_taken(l, x) {
    assert(SUITS(x, l) && HAS(list[list_of[x]], x) && !HAS(done, WHO(x)));
    done = done | BIT(WHO(x))
}

inline set_met(x, observes) {
    assert(IS_OPEN(PARTY(x)));
    tell = state[PARTY(x)] == ASLEEP;
#ifdef NO_WRITE
    tell = false;
#endif
    state[PARTY(x)] = MET;
    met[PARTY(x)] = x + 16 * observes;
    must = must & ~BIT(PARTY(x))
}

inline release_thread(x, how) {
    list[list_of[x]] = list[list_of[x]] & ~BIT(x);
    THREAD(x) = how
}

inline write_if_told(p) {
    if
    :: tell ->
        STEP
#ifdef LEAVE
            assert(!HAS(freed, p));
#endif
            mark[p] = true;
            tell = false
        END
    :: else
    fi
}

inline show_to(x) {
    STEP
        !lock[PARTY(x)];
        hinted = hinted | BIT(x);
        if
        :: IS_OPEN(PARTY(x)) -> set_met(x, 1)
        :: else
        fi;
        tell = tell || nested[PARTY(x)]
    END;
    write_if_told(PARTY(x))
}

inline nudge(x) {
    STEP
        !lock[PARTY(x)];
        hinted = hinted | BIT(x);
        tell = IS_OPEN(PARTY(x)) || nested[PARTY(x)]
    END;
    write_if_told(PARTY(x))
}

/* Of list l, those that are not in but. */
inline tell_others(l, but) {
    rest = list[l] & OF_SELECTS & ~(but);
    do
    :: rest ->
        STEP pick(x, rest) END;
        if
        :: HAS(sees, x) ->
#ifndef NO_SHOW
            show_to(x)
#else
            skip
#endif
        :: !HAS(sees, x) && nested[PARTY(x)] ->
#ifndef NO_NUDGE
            nudge(x)
#else
            skip
#endif
        :: else
        fi
    :: else -> break
    od;
    x = 0
}

#define OK 1
#define PIPE 2
#define AGAIN 3

/* take_any, with the meet's lock held, for the side of list l. r is OK, or 0. */
inline take_any(l, will_wait) {
    STEP rest = list[OTHER(l)] & (can | ~OF_SELECTS) END;
    do
    :: rest && !r ->
        GUESS
            pick(x, rest);
            STEP
                if
                :: IS_THREAD(x) ->
                    ghost_taken(l, x);
                    release_thread(x, MET);
                    r = OK
                :: else -> look = IS_OPEN(PARTY(x))
                fi
            END
        END;
        if
        :: r
#ifdef SHORTCUT
        :: !r && !look
#else
        :: !r && !look && (HAS(hinted, x) || !(will_wait))
#endif
        :: else ->
            STEP
                !lock[PARTY(x)];
                if
                :: IS_OPEN(PARTY(x)) ->
                    ghost_taken(l, x);
                    set_met(x, 0);
                    r = OK
                :: else ->
#ifdef HINT_OUTSIDE
                    late = will_wait
#elif !defined(NO_HINT)
                    if :: will_wait -> hinted = hinted | BIT(x) :: else fi
#else
                    skip
#endif
                fi
            END;
#ifdef HINT_OUTSIDE
            if :: late -> STEP !lock[PARTY(x)]; hinted = hinted | BIT(x); late = false END :: else fi;
#endif
            if :: r -> write_if_told(PARTY(x)) :: else fi
        fi
    :: else -> break
    od;
    rest = 0; x = 0; look = false
}

/* ---- A thread -------------------------------------------------------------------------------------------------- */

#if THREADS
proctype a_thread(byte t; byte how; byte l) {
    byte x, r;
    short rest;
    bool look, tell;
#ifdef HINT_OUTSIDE
    bool late;
#endif
#define me (2 * SELECTS + t)

    if
    :: how == TRY ->
        STEP
            for (x : 0 .. 2 * SELECTS - 1) {
                if
                :: SUITS(x, l) && HAS(can, x) && HAS(list[list_of[x]], x) && state[PARTY(x)] == ASLEEP &&
                        !mark[PARTY(x)] -> must = must | BIT(PARTY(x))
                :: else
                fi
            }
            x = 0
        END;
        if
        :: STEP !list[OTHER(l)] && !closed[l / 2] -> assert(!must) END; goto end
        :: else
        fi
    :: else
    fi;
    STEP !meet_lock[l / 2]; meet_lock[l / 2] = true; if :: closed[l / 2] -> r = PIPE :: else fi END;
    if
    :: !r && how == TRY -> take_any(l, false)
    :: !r && how != TRY ->
        take_any(l, true);
        if
        :: !r ->
            STEP
                THREAD(me) = OPEN;
                list[l] = list[l] | BIT(me)
            END;
            tell_others(OTHER(l), 0)
        :: else
        fi
    :: else
    fi;
    STEP
        if :: r == OK -> assert(!HAS(done, WHO(me))); done = done | BIT(WHO(me)) :: else fi;
        assert(how != TRY || r || !must);
        must = 0;
        meet_lock[l / 2] = false
    END;
    if
    :: r || how == TRY -> goto end
    :: else
    fi;
end_asleep:
    if
    :: STEP THREAD(me) >= MET -> assert((THREAD(me) == MET) == HAS(done, WHO(me))) END
    :: how == TIMED ->
        STEP !meet_lock[l / 2]; meet_lock[l / 2] = true END;
        STEP
#ifndef WITHDRAW_BLIND
            if
            :: THREAD(me) < MET ->
#endif
                list[l] = list[l] & ~BIT(me);
                assert(!HAS(done, WHO(me)));
                r = AGAIN
#ifndef WITHDRAW_BLIND
            :: else
            fi
#endif
            ;
            meet_lock[l / 2] = false
        END;
        if :: r :: else -> goto end_asleep fi
    fi;
end:
    skip
#undef me
}
#endif

#ifdef CLOSER
proctype closer(byte m) {
    byte x;
    short rest;
    bool tell;

    STEP
        !meet_lock[m];
        meet_lock[m] = true;
        closed[m] = true;
        rest = list[2 * m] | list[2 * m + 1]
    END;
    do
    :: rest ->
        STEP pick(x, rest); if :: IS_THREAD(x) -> release_thread(x, CLOSED) :: else fi END;
        if
        :: !IS_THREAD(x) ->
#ifndef CLOSE_FORGETS_SELECTS
            nudge(x)
#else
            skip
#endif
        :: else
        fi
    :: else -> break
    od;
    x = 0;
    STEP meet_lock[m] = false END
}
#endif

/* ---- A select -------------------------------------------------------------------------------------------------- */

/* Its cases: 0 and 1 have an element, 2 and 3 not. */
#define OFFER(c) (2 * p + (c) % 2)
#define ON(k) (HAS(can, 2 * p + k) << k | HAS(sees, 2 * p + k) << (k + 2))
#define CASES_OF(set) (((set) & 1) * ON(0) | ((set) >> 1 & 1) * ON(1))
#define M(o) (list_of[o] / 2)
#define HINTED (hinted >> 2 * p & 3)

/* What meet_can says of offer o: look. */
inline look_for() {
    look = closed[M(o)] || list[OTHER(list_of[o])] & ~OF_SELECTS;
    for (x : 0 .. 2 * SELECTS - 1) {
        look = look || HAS(list[OTHER(list_of[o])] & can, x) && IS_OPEN(PARTY(x))
    }
    x = 0
}

inline leave() {
    list[list_of[o]] = list[list_of[o]] & ~BIT(o);
    hinted = hinted & ~BIT(o)
}

#define DESERTED (!list[OTHER(list_of[o])] && !closed[M(o)])

/* Tries what is listed, until one case is performed, or gone because its channel is closed: index is that and 1. */
inline choose() {
    do
    :: listed && !index ->
        GUESS pick(c, listed); o = OFFER(c) END;
        if
        :: c >= 2 ->
            STEP
                !meet_lock[M(o)];
                look_for();
                r = (closed[M(o)] -> PIPE : (look -> OK : AGAIN));
                look = false
            END
        :: else ->
            STEP
                DESERTED || !meet_lock[M(o)];
                if
                :: DESERTED -> r = AGAIN
                :: else ->
                    meet_lock[M(o)] = true;
                    if :: closed[M(o)] -> r = PIPE :: else fi
                fi
            END;
            if
            :: r == AGAIN
            :: else ->
                take_any(list_of[o], false);
                STEP
                    if :: r == OK -> assert(!HAS(done, p)); done = done | BIT(p) :: else fi;
                    meet_lock[M(o)] = false
                END
            fi
        fi;
        STEP
            r != PIPE || !meet_lock[M(o)] && !lock[p];
            if
            :: r == OK -> index = c + 1; listed = listed | BIT(c)
            :: r == PIPE ->
                index = c + 1;
                broken = true;
                if :: c < 2 -> can = can & ~BIT(o) :: else -> sees = sees & ~BIT(o) fi;
                if :: !HAS(can | sees, o) -> leave() :: else fi
            :: else
            fi;
            r = 0; c = 0; o = 0
        END
    :: else -> break
    od
}

#define FIRST(a, b) (p <= PARTY(x) -> a : b)

/* With the meet's lock: for its offer o and the other side's x. */
inline take_for_party() {
    if
    :: IS_THREAD(x) ->
        STEP
            !lock[p];
#ifndef NO_OWN_CHECK
            both = IS_OPEN(p);
#else
            both = true;
#endif
            if :: both -> set_met(o, 0); tell = false; assert(!HAS(done, p)); done = done | BIT(p) :: else fi
        END;
        STEP if :: both -> ghost_taken(list_of[o], x); release_thread(x, MET) :: else fi; both = false END
    :: else ->
#ifdef UNORDERED
        STEP !lock[p]; lock[p] = true END;
        STEP
            !lock[PARTY(x)];
#else
        STEP !lock[FIRST(p, PARTY(x))]; lock[FIRST(p, PARTY(x))] = true END;
        STEP
            !lock[FIRST(PARTY(x), p)];
#endif
            both = IS_OPEN(PARTY(x));
#ifndef NO_OWN_CHECK
            both = both && IS_OPEN(p);
#endif
            if
            :: both ->
                set_met(o, 0);
                assert(!HAS(done, p));
                done = done | BIT(p);
                ghost_taken(list_of[o], x);
                set_met(x, 0)
            :: else
            fi;
            both = false;
            lock[p] = false;
            lock[PARTY(x)] = false
        END;
        write_if_told(PARTY(x))
    fi
}

/* For its offer o. found: it need not sleep. */
inline seek() {
    STEP
        !meet_lock[M(o)];
        meet_lock[M(o)] = true;
        found = closed[M(o)];
#ifndef OFF_AWAKE
        found = found && HAS(can | sees, o);
#endif
        rest = list[OTHER(list_of[o])] & (can | ~OF_SELECTS);
#ifndef SELF
        rest = rest & ~OWN(p)
#endif
    END;
    do
    :: GUESS rest && IS_OPEN(p) -> pick(x, rest); look = IS_THREAD(x) || IS_OPEN(PARTY(x)) END;
        if
        :: look && HAS(can, o) -> take_for_party()
        :: look && !HAS(can, o) && HAS(sees, o) -> show_to(o)
        :: else
        fi;
        x = 0; look = false
    :: else -> break
    od;
#ifdef FORGET_ALWAYS
    look = true;
#else
    look = !(list[OTHER(list_of[o])] & ~OWN(p)) && !closed[M(o)];
#endif
    STEP
        !look || !lock[p];
        rest = 0;
        if
        :: look -> hinted = hinted & ~BIT(o)
        :: else
        fi;
        look = !look && HAS(can, o) && IS_OPEN(p)
    END;
    if
    :: look -> tell_others(OTHER(list_of[o]), OWN(p))
    :: else
    fi;
    STEP
        look = false;
        meet_lock[M(o)] = false;
        found = found || !IS_OPEN(p)
    END
}

inline open() {
    STEP
        !lock[p];
        state[p] = OPEN;
        hints = HINTED;
#ifdef NO_SEEK
        hints = 0
#endif
    END;
    do
    :: hints && !found ->
        GUESS pick(o, hints); o = o + 2 * p END;
        seek();
        o = 0
    :: else -> break
    od;
    hints = 0;
    if
    :: !found ->
#ifdef DOZE_STORES
        STEP found = !IS_OPEN(p) END;
        STEP if :: !found -> state[p] = ASLEEP :: else fi END
#else
        STEP if :: state[p] == OPEN -> state[p] = ASLEEP :: else -> found = true fi END
#endif
    :: else
    fi
}

/* The first look is as every other one, but that it ends nothing. */
inline wait() {
    do
    :: !index ->
        if
        :: looked && raised[p] -> STEP raised[p] = false END
        :: else
        fi;
        if
        :: looked && w == TRY -> STEP mark[p] = false END
        :: looked && w != TRY ->
            open();
            if
            :: !found ->
end_asleep:
                if
                :: STEP mark[p] -> mark[p] = false END
                :: STEP w == TIMED -> mark[p] = false; late = true END
                fi
            :: else -> found = false
            fi;
            STEP
                !lock[p];
                if :: state[p] == MET -> index = 1 + met[p] % 2 + met[p] / 16 * 2 :: else fi;
                state[p] = SHUT;
                met[p] = 0;
                must = must & ~BIT(p)
            END
        :: else
        fi;
#ifdef LIST_AFTER_BREAK
        if :: index -> listed = listed | BIT(index - 1); break :: else fi;
#endif
        STEP
            !HINTED || !lock[p];
            listed = listed | CASES_OF(HINTED);
            if :: index -> listed = listed | BIT(index - 1) :: else fi
        END;
        choose();
        if
#if ANY(NESTED) || ANY(TRY)
        :: !index && looked && w == TRY ->
            STEP
                !meet_lock[list_of[2 * p] / 2] && !meet_lock[list_of[2 * p + 1] / 2];
                for (c : 0 .. 1) {
                    o = OFFER(c);
                    look_for();
                    if :: look -> listed = listed | ON(c) :: else fi
                }
                c = 0; o = 0; look = false
            END;
            if :: !listed -> break :: else fi
#endif
        :: !index && late -> break
        :: else
        fi;
        looked = true
    :: else -> break
    od;
    looked = false;
    if :: index -> progress_case: skip :: else fi;
    STEP
        assert(HAS(done, p) == (index && index <= 2 && !broken));
        done = done & ~BIT(p);
#if ANY(NESTED)
#ifdef LAZY
        look = how == NESTED && index;
#else
        look = how == NESTED && index && raised[p];
#endif
#endif
        index = 0; broken = false; late = false
    END
}

#if ANY(NESTED)
inline settle() {
    look = !(ON(0) | ON(1));
    do
    :: listed && !look ->
        GUESS pick(c, listed); o = OFFER(c) END;
        STEP
            !meet_lock[M(o)];
            look_for();
            if :: look -> listed = listed | CASES_OF(1 << c % 2) :: else fi;
            c = 0; o = 0
        END
    :: else -> break
    od;
    if :: raised[p] != look -> STEP raised[p] = look END :: else fi;
    look = false
}
#endif

#if JOIN
inline join() {
    for (o : 2 * p .. 2 * p + 1) {
        if
        :: list_of[o] == NONE
        :: else ->
            STEP
                !meet_lock[M(o)];
                meet_lock[M(o)] = true;
                list[list_of[o]] = list[list_of[o]] | BIT(o);
                rest = list[OTHER(list_of[o])] & OF_SELECTS & ~OWN(p);
#ifdef JOIN_HINTS_SELF
                rest = 0
#endif
            END;
            do
            :: rest -> STEP pick(x, rest) END; STEP !lock[PARTY(x)]; hinted = hinted | BIT(x) END
            :: else -> break
            od;
            x = 0;
            STEP
#ifndef JOIN_HINTS_OTHERS
                !lock[p];
                if
                :: list[OTHER(list_of[o])] & ~OWN(p) || closed[M(o)] -> hinted = hinted | BIT(o)
                :: else
                fi;
#endif
                meet_lock[M(o)] = false
            END
        fi
    }
    o = 0
}
#endif

proctype a_select(byte p; byte how) {
    byte o, x, c, r, w, index, n, listed;
    short rest, hints;
    bool found, late, look, both, tell, broken, looked;

#if JOIN
    if
    :: HAS(JOIN, p) -> join()
    :: else
    fi;
#endif
    if
#if ANY(NESTED)
    :: how == NESTED ->
        STEP !lock[p]; nested[p] = true END;
        STEP !HINTED || !lock[p]; listed = CASES_OF(HINTED) END;
        settle()
#endif
    :: how == BUSY -> n = WAITS
    :: else
    fi;
    do
    :: GUESS
            if
            :: n < WAITS -> n++; w = (how == NESTED -> TIMED : how)
            :: how == NESTED -> polling[p] = true; w = TRY
            :: how != NESTED && n == WAITS -> n++
            fi
        END;
        if
        :: n > WAITS || !(ON(0) | ON(1)) -> polling[p] = false; break
        :: else
        fi;
#if ANY(NESTED)
        if
        :: polling[p] ->
end_outside:
            STEP mark[p] || raised[p] -> polling[p] = false END
        :: else
        fi;
#endif
        wait();
#if ANY(NESTED)
        if
        :: how == NESTED && !look -> settle()
        :: else -> look = false
        fi
#endif
    od
#ifdef LEAVE
    ;
    listed = 0;
    for (o : 2 * p .. 2 * p + 1) {
        STEP !meet_lock[M(o)] && !lock[p]; leave(); can = can & ~BIT(o); sees = sees & ~BIT(o) END
    }
    o = 0;
    STEP freed = freed | BIT(p) END
#endif
}

/* ---- The promise ----------------------------------------------------------------------------------------------- */

#define IN_LIST(o) HAS(list[list_of[o]], o)
#define OFFERS_NOW(o) (IN_LIST(o) && (IS_THREAD(o) || HAS(can, o) && state[PARTY(o)] == ASLEEP))
#define WANTS(o) \
    (IN_LIST(o) && (IS_THREAD(o) || HAS(can | sees, o) && (state[PARTY(o)] == ASLEEP || polling[PARTY(o)])))

proctype observer() {
    byte o, x;

    timeout;
    d_step {
        for (o : 0 .. 3) { assert(!meet_lock[o]) }
        for (o : 0 .. SELECTS - 1) { assert(!lock[o] && (state[o] == SHUT || state[o] == ASLEEP) && !HAS(done, o)) }
        for (o : 0 .. OFFERS - 1) {
            assert(!(closed[list_of[o] / 2] && WANTS(o)));
            for (x : 0 .. OFFERS - 1) {
                assert(!(SUITS(x, list_of[o]) && WHO(x) != WHO(o) && WANTS(o) && OFFERS_NOW(x)))
            }
        }
    }
}

#define CASE(o, c) \
    list_of[o] = (c) % 8; \
    if :: (c) & 8 -> can = can | BIT(o) :: else fi; \
    if :: (c) & 16 -> sees = sees | BIT(o) :: else fi

inline add_select(p, how, a, b) {
    CASE(2 * p, a);
    CASE(2 * p + 1, b);
    if
    :: !HAS(JOIN, p) ->
        list[(a) % 8] = list[(a) % 8] | BIT(2 * p);
        list[(b) % 8] = list[(b) % 8] | BIT(2 * p + 1)
    :: else
    fi;
    run a_select(p, how)
}

inline add_thread(t, how, c) {
    list_of[2 * SELECTS + t] = (c) % 8;
    run a_thread(t, how, (c) % 8)
}

init {
    byte o;
    atomic {
        add_select(0, S0);
#ifdef S1
        add_select(1, S1);
#endif
#ifdef S2
        add_select(2, S2);
#endif
#ifdef S3
        add_select(3, S3);
#endif
#ifdef T0
        add_thread(0, T0);
#endif
#ifdef T1
        add_thread(1, T1);
#endif
#ifdef T2
        add_thread(2, T2);
#endif
#ifdef CLOSER
        run closer(0);
#endif
        list[NONE] = 0;
        for (o : 0 .. 2 * SELECTS - 1) {
            if
            :: HAS(list[list_of[o]], o) && list[OTHER(list_of[o])] & ~OWN(PARTY(o)) -> hinted = hinted | BIT(o)
            :: else
            fi
        }
        o = 0;
        run observer()
    }
}
