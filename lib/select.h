/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_SELECT_H
#define SPOOL_SELECT_H

#include "chan.h"

/*
 * A select is a set of cases over *watches*. A watch is one descriptor in the epoll set: a gate's eventfd, or a
 * descriptor of the user's; cases for the same one share it, since a set cannot hold a descriptor twice. Those that
 * cannot share, being level- and edge-triggered, say, get a duplicate.
 *
 * Cases that may be ready are *listed*; a wait looks only at those. A watch on a gate is *armed* when its cases were
 * found not to be ready, before the select sleeps, or again and again while others were ready: a publisher then writes
 * to its descriptor, and the event lists its cases again. It stays armed while the select is not waiting. So a wait
 * costs what is ready, whatever is registered, and a channel that is always ready costs no system call.
 */
enum { NONE = -1 };

enum kind {
    UNUSED,
    CHAN_GET,
    CHAN_PUT,
    PLAIN_FD,
};

struct watch {
    enum kind kind;
    uint32_t gen; /* how often this entry was given up: events of former users are told by it */
    int fd;       /* in the epoll set; a duplicate if the set has key_fd for another kind */
    int key_fd;
    uint32_t flags; /* how epoll watches it; the same for all its cases */
    int first_case; /* its cases, linked by next_same */
    int n_on;
    int n_misses; /* looks since one found it ready, or it was armed */
    bool in_set, armed;
    bool granted; /* a publisher's wake was used up by this watch and nothing was done with it so far */
    uint32_t revents;
    uint64_t fresh_at; /* the wait that revents are from */
    uint64_t seen_pos;
    spool_chan *chan; /* a reference */
    struct spool__lane *lane;
    bool level;                 /* on a kernel object that the lane gets from: the epoll set shows its level, no gate */
    struct spool__offer *offer; /* for a rendezvous, which has no descriptor for selects, but the party's for all */
};

struct kase {
    int watch; /* NONE: free */
    int next_same;
    int next_listed, prev_listed; /* round about: the last one is before the first */
    bool listed, on;
    bool is_put, is_simple; /* takes or puts an element, and its queue is in memory: what a wait tries first */
    int result;
    uint32_t events;
    void *elem;
    struct spool__lane *lane; /* its watch's */
};

struct spool_select {
    /* Of all offers; its descriptor is NONE before there is one. What others write to, and so in a line of its own. */
    _Alignas(SPOOL_CACHE_LINE) struct spool__party party;
    _Alignas(SPOOL_CACHE_LINE) uint32_t entry; /* in the registry */
    int pid;                                   /* of the process that made it */
    bool is_copy; /* a child's, to be freed: what is in the epoll set, which is not copied, stays for its parent */
    int epoll;
    int own_fd; /* in the set for spool_select_poll_fd: readable while cases are known to be ready; NONE before */
    bool own_raised;
    enum spool_order order;
    struct kase *cases;
    struct watch *watches;
    struct epoll_event *events; /* one for each watch, and N_OWN_FDS */
    struct {
        int chan, level, edge;
    } * by_fd;                         /* the watches of a key_fd that further cases may share */
    int n_cases, cap_cases, free_case; /* below free_case none is free */
    int n_watches, cap_watches, free_watch, cap_events, cap_fds;
    int n_on;
    int n_armed, n_plain; /* watches that only the epoll set knows about */
    int n_granted;        /* watches with granted set */
    int n_offers;
    int first_listed, n_listed;
    uint32_t random;
    unsigned stay;               /* so many more waits the first of the list is ahead of the others */
    unsigned backoff, countdown; /* waits until the epoll set is asked again while cases are listed */
    uint64_t waits;
    int n_misses; /* of this wait, before it looked a second time */
};

/* Data of the events of own_fd and of the party's descriptor; no watch has it. */
#define OWN_FD_DATA UINT64_MAX
#define N_OWN_FDS 2

/*
 * Zeroed memory that begins a cache line, or NULL: of a select and of its offers, which others write to. The address
 * that is to be freed stands before what is used.
 */
static inline void *spool__select_alloc(size_t bytes)
{
    char *p = spool__sys_zalloc(bytes + sizeof(void *) + SPOOL_CACHE_LINE - 1);
    if (!p)
        return NULL;
    void **line = (void **)(void *)(p + sizeof(void *) + (-((uintptr_t)p + sizeof(void *)) & (SPOOL_CACHE_LINE - 1)));
    line[-1] = p;
    return line;
}

static inline void spool__select_dealloc(void *line)
{
    spool__sys_free(((void **)line)[-1]);
}

static inline enum spool__side watch_side(const struct watch *w)
{
    return w->kind == CHAN_PUT ? SPOOL__PUT : SPOOL__GET;
}

/* A case that may be ready; and one that had its turn, behind all others unless they have an order. */
void spool__select_list(struct spool_select *s, int index);
void spool__select_list_last(struct spool_select *s, int index);
void spool__select_unlist(struct spool_select *s, int index);
/* In order, the list is sorted by index. */
void spool__select_set_order(struct spool_select *s, enum spool_order order);
/* Lists every case of the watch that is on, and for a descriptor asked for what it shows. */
void spool__select_list_watch(struct spool_select *s, int watch);

/* Arms a watch on a gate; the caller then looks whether it is ready after all. Disarms it. */
void spool__select_arm(struct spool_select *s, struct watch *w);
void spool__select_disarm(struct spool_select *s, struct watch *w);
/* Passes on a wake that the watch got, after its work was taken or left. Forgets it, when there was no work. */
void spool__select_pass_on(struct spool_select *s, struct watch *w);
void spool__select_forget_grant(struct spool_select *s, struct watch *w);

/* The other cases of its watch go before this one from now on, for the offer. */
void spool__select_end_turn(struct spool_select *s, int index);

/* Takes the case out; its result stays. */
void spool__select_drop_case(struct spool_select *s, int index);

/* In party.c: makes an offer for a watch on a rendezvous, which needs memory and once a descriptor. Takes it back. */
int spool__select_new_offer(struct spool_select *s, struct watch *w);
void spool__select_drop_offer(struct spool_select *s, struct watch *w);
/*
 * The offer stands for the case that is on and has an element whose turn it is. To be called when that changes, or the
 * select's order.
 */
void spool__select_update_offer(struct spool_select *s, struct watch *w);
/*
 * Lists what others have hinted at. Opens the party; true if it has met already, otherwise it may sleep in the epoll
 * set. Shuts it: the case whose offer was taken meanwhile, which the caller books, or NONE.
 */
void spool__select_list_hinted(struct spool_select *s);
bool spool__select_open(struct spool_select *s);
int spool__select_shut(struct spool_select *s);

/* Makes spool_select_poll_fd show whether a wait would block, if somebody asked for it. */
void spool__select_settle(struct spool_select *s);

#endif
