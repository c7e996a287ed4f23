/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_MEET_H
#define SPOOL_MEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lock.h"

/*
 * A rendezvous: nothing is kept, a put and a get happen together. Who cannot go on at once leaves an *offer*, in a list
 * for each side; who comes later takes the first offer of the other side that can be taken, and copies the element.
 *
 * A thread's offer lies on its stack while it is blocked in a put or get. A select has a standing offer for each watch,
 * in the list as long as the watch is; all of them belong to its *party*, which is open only while the select is
 * blocked in a wait. Only then can they be taken, and taking one ends that for all: so exactly one case happens, and
 * opening and shutting a party costs nothing for each of its offers.
 *
 * Somebody always looks last. A thread that finds an offer's party shut *hints* at the offer before it waits, in the
 * same section of the party's lock; a party that opens seeks partners for all its hinted offers, and then either finds
 * that thread, or was open when the thread looked. Two selects find each other because each opens first and seeks
 * then, both offers having been hinted at when the second of them joined; both parties are locked, in the order of
 * their addresses, and both must be open still. Hints stay as long as there is anybody on the other side. An offer that
 * cannot be taken, because it only asks for readiness, is hinted at too, and its select woken.
 *
 * Lock order: one meet, then parties. Selects do not wait at the gates of a rendezvous, only strangers do. The model is
 * tests/models/meet.pml.
 */
enum spool__side {
    SPOOL__GET,
    SPOOL__PUT,
};

struct spool__offer;

enum spool__party_state {
    SPOOL__PARTY_SHUT,   /* its thread is busy: nothing can be taken */
    SPOOL__PARTY_OPEN,
    SPOOL__PARTY_ASLEEP, /* open, and its thread has to be woken */
    SPOOL__PARTY_MET,    /* one of its offers was taken */
};

struct spool__party {
    struct spool__lock lock;
    uint32_t state;
    int fd;         /* an eventfd in the select's epoll set, edge-triggered, written to wake it */
    bool is_nested; /* somebody polls the epoll set: to be woken for every hint */
    _Alignas(8) uint64_t opens; /* how often it was opened */
    struct spool__offer *met;
    bool met_observes; /* it only found somebody, and took nothing */
    struct spool__offer *hinted; /* a list; others add to it, under the lock */
};

enum spool__offer_state {
    SPOOL__OFFER_OPEN, /* of a thread; a select's is as its party is */
    SPOOL__OFFER_SLEPT_ON,
    SPOOL__OFFER_MET,
    SPOOL__OFFER_CLOSED,
};

/*
 * One cache line, if its owner aligns it, as is what changes of a meet: who takes an offer has to fetch both from the
 * other processor, and an element elsewhere would be a third.
 */
struct spool__offer {
    struct spool__offer *prev, *next; /* under the meet's lock; prev says nothing in the first */
    struct spool__meet *meet;
    struct spool__party *party; /* NULL: a thread's */
    void *elem;                 /* read for SPOOL__PUT, written for SPOOL__GET; a select's changes while it is shut */
    uint32_t state;             /* a thread's: the futex it sleeps on */
    uint8_t side;
    bool can_be_taken;          /* a select's, changed under the meet's lock; with neither of these it is off */
    bool observes;
    bool is_hinted;             /* under the meet's lock */
    union {
        unsigned char small[16]; /* a thread's: its element, if that is no larger */
        struct {
            struct spool__offer *next_hinted; /* a select's */
            int watch;
        };
    };
};

struct spool__meet {
    struct spool__lock lock;
    uint32_t is_closed;
    uint64_t met; /* how often an element was handed over; under the lock */
    struct {
        struct spool__offer *first, *last; /* last: says nothing without first */
        _Alignas(8) uint64_t changes; /* how often an offer came or went, and how often parties opened that have left */
    } sides[2];
    /* What hardly ever changes is in the next line. */
    size_t elem_size;
    bool is_polled[2]; /* strangers poll this side's gate, and are to be told of parties that open */
};

static inline enum spool__side spool__other(enum spool__side side)
{
    return side == SPOOL__GET ? SPOOL__PUT : SPOOL__GET;
}

void spool__meet_init(struct spool__meet *m, size_t elem_size);

/* Takes an offer of the other side: 0; -EAGAIN there is none; -EPIPE closed. */
int spool__meet_try(struct spool__meet *m, enum spool__side side, void *elem);
/* The same, but instead of -EAGAIN it leaves the thread's offer; the caller then wakes the other gate, and waits. */
int spool__meet_offer(struct spool__meet *m, struct spool__offer *o, enum spool__side side, void *elem);
/*
 * Sleeps until the offer was taken (0), the channel closed (-EPIPE), or the deadline: -ETIMEDOUT, and it is withdrawn.
 * elem as given to spool__meet_offer.
 */
int spool__meet_await(struct spool__meet *m, struct spool__offer *o, void *elem, int64_t deadline);

/* What spool__meet_try would say; *ret_pos as for spool__ring_can_get. */
int spool__meet_can(struct spool__meet *m, enum spool__side side, uint64_t *ret_pos);
int spool__meet_close(struct spool__meet *m);
bool spool__meet_closed(const struct spool__meet *m);

/* The gate of this side is polled from now on. */
void spool__meet_poll(struct spool__meet *m, enum spool__side side);

/* A select's standing offer, whose party, side and watch are set. Its party is shut, for all of these. */
void spool__meet_join(struct spool__meet *m, struct spool__offer *o);
void spool__meet_leave(struct spool__offer *o);
void spool__meet_set(struct spool__offer *o, bool can_be_taken, bool observes);
/* The offer of this party, or NULL. */
struct spool__offer *spool__meet_find(struct spool__meet *m, enum spool__side side, const struct spool__party *p);

/*
 * Opens a party, and returns its hinted offers. Its thread then seeks a partner for each, and if there is none, wakes
 * the other gate. seek: whether it need not sleep, as an offer of the party has met, or this one's channel is closed.
 */
struct spool__offer *spool__party_open(struct spool__party *p);
bool spool__meet_seek(struct spool__offer *o);
/* Looks for a while whether it has met: true; otherwise it is asleep from now on, until its descriptor is written. */
bool spool__party_doze(struct spool__party *p);
/* Shuts it: the offer that met meanwhile, or NULL. See met_observes. */
struct spool__offer *spool__party_shut(struct spool__party *p);
/* The hinted offers of a party that is shut: what is worth trying. */
struct spool__offer *spool__party_hinted(struct spool__party *p);
void spool__party_nest(struct spool__party *p);

#endif
