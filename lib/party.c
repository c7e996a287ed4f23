/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "select.h"

/*
 * A select's part in rendezvous: what it offers to others while it is blocked. Its thread alone changes offers, and
 * only while the party is shut; others make use of them only while it is open.
 */

static int need_party_fd(struct spool_select *s)
{
    if (s->party.fd != NONE)
        return 0;
    int fd = spool__sys_eventfd();
    if (fd < 0)
        return fd;
    /* Edge-triggered: each write is one event, and nobody has to read it. */
    int r = spool__sys_epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET, OWN_FD_DATA);
    if (r < 0) {
        (void)spool__sys_close(fd);
        return r;
    }
    s->party.fd = fd;
    return 0;
}

int spool__select_new_offer(struct spool_select *s, struct watch *w)
{
    int r = need_party_fd(s);
    if (r < 0)
        return r;
    w->offer = spool__select_alloc(sizeof *w->offer);
    if (!w->offer)
        return -ENOMEM;
    w->offer->party = &s->party;
    w->offer->side = (uint8_t)watch_side(w);
    w->offer->watch = (int)(w - s->watches);
    spool__meet_join(&w->lane->meet, w->offer);
    s->n_offers++;
    return 0;
}

void spool__select_drop_offer(struct spool_select *s, struct watch *w)
{
    if (!w->offer)
        return;
    spool__meet_leave(w->offer);
    spool__select_dealloc(w->offer);
    w->offer = NULL;
    s->n_offers--;
}

/* The case that is on, and has an element or has none, whose turn it is: in order the lowest, otherwise the first. */
static int find_case(const struct spool_select *s, const struct watch *w, bool has_elem)
{
    int found = NONE;
    for (int i = w->first_case; i != NONE; i = s->cases[i].next_same)
        if (s->cases[i].on && (s->cases[i].elem != NULL) == has_elem &&
            (found == NONE || (s->order == SPOOL_IN_ORDER && i < found)))
            found = i;
    return found;
}

void spool__select_update_offer(struct spool_select *s, struct watch *w)
{
    struct spool__offer *o = w->offer;
    if (!o)
        return;
    int i = find_case(s, w, true), observer = find_case(s, w, false);
    /* In order, one that takes nothing goes before those that are behind it, which never happen then. */
    if (s->order == SPOOL_IN_ORDER && observer != NONE && observer < i)
        i = NONE;
    o->elem = i == NONE ? NULL : s->cases[i].elem;
    if ((i != NONE) != o->can_be_taken || (observer != NONE) != o->observes)
        spool__meet_set(o, i != NONE, observer != NONE);
}

void spool__select_list_hinted(struct spool_select *s)
{
    for (struct spool__offer *o = spool__party_hinted(&s->party); o; o = o->next_hinted)
        spool__select_list_watch(s, o->watch);
}

bool spool__select_open(struct spool_select *s)
{
    if (s->n_offers == 0)
        return false;
    for (struct spool__offer *o = spool__party_open(&s->party), *next; o; o = next) {
        next = o->next_hinted;
        if (spool__meet_seek(o))
            return true;
        /* The open offer is what strangers on the other side wait for. Unlocking was a read-modify-write. */
        spool__gate_wake(&s->watches[o->watch].lane->gates[spool__other(o->side)]);
    }
    return spool__party_doze(&s->party);
}

int spool__select_shut(struct spool_select *s)
{
    struct spool__offer *met = s->n_offers == 0 ? NULL : spool__party_shut(&s->party);
    return met ? find_case(s, &s->watches[met->watch], !s->party.met_observes) : NONE;
}
