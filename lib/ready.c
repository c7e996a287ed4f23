/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "select.h"

/* By the kernel, whatever was asked for. */
#define ALWAYS_REPORTED ((uint32_t)(EPOLLERR | EPOLLHUP))

/* The list of the cases that may be ready, and the gates of the others. */

/* Before another listed case, or if that is the first one, as the new first or as the last. */
static void link_listed(struct spool_select *s, int index, int before, bool as_first)
{
    struct kase *c = &s->cases[index];
    if (c->listed || !c->on)
        return;
    c->listed = true;
    if (s->n_listed++ == 0) {
        c->next_listed = c->prev_listed = s->first_listed = index;
        return;
    }
    int after = s->cases[before].prev_listed;
    c->prev_listed = after;
    c->next_listed = before;
    s->cases[before].prev_listed = s->cases[after].next_listed = index;
    if (as_first)
        s->first_listed = index;
}

/* G. Marsaglia, "Xorshift RNGs", 2003. */
static uint32_t draw(struct spool_select *s, uint32_t n)
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 17;
    s->random ^= s->random << 5;
    return s->random % n;
}

/* From the end: cases are added, and so listed first, with rising index. */
static void list_in_order(struct spool_select *s, int index)
{
    int before = s->first_listed;
    for (int n = s->n_listed; n > 0; n--) {
        int after = s->cases[before].prev_listed;
        if (after < index)
            break;
        before = after;
    }
    link_listed(s, index, before, s->n_listed > 0 && index < s->first_listed);
}

/*
 * Cases take turns while they are listed. Of those that come in together each is as likely to be the first: otherwise
 * the order in which they become ready would decide when the list runs empty again and again. The others go behind one
 * that is drawn, or to the end. None keeps its turn then.
 */
void spool__select_list(struct spool_select *s, int index)
{
    if (s->order == SPOOL_IN_ORDER) {
        list_in_order(s, index);
        return;
    }
    s->stay = 0;
    if (draw(s, (uint32_t)s->n_listed + 1) == 0) {
        link_listed(s, index, s->first_listed, true);
        return;
    }
    int other = (int)draw(s, (uint32_t)s->n_cases);
    link_listed(s, index, s->cases[other].listed ? s->cases[other].next_listed : s->first_listed, false);
}

void spool__select_unlist(struct spool_select *s, int index)
{
    struct kase *c = &s->cases[index];
    if (!c->listed)
        return;
    c->listed = false;
    s->stay = 0;
    s->cases[c->prev_listed].next_listed = c->next_listed;
    s->cases[c->next_listed].prev_listed = c->prev_listed;
    if (--s->n_listed == 0)
        s->first_listed = NONE;
    else if (s->first_listed == index)
        s->first_listed = c->next_listed;
}

void spool__select_list_last(struct spool_select *s, int index)
{
    if (s->order == SPOOL_IN_ORDER) {
        list_in_order(s, index);
        return;
    }
    spool__select_unlist(s, index);
    link_listed(s, index, s->first_listed, false);
}

void spool__select_set_order(struct spool_select *s, enum spool_order order)
{
    bool sort = order == SPOOL_IN_ORDER && s->order != order;
    for (int i = 0; sort && i < s->n_cases; i++)
        if (s->cases[i].listed)
            spool__select_list_last(s, i);
    s->order = order;
}

void spool__select_list_watch(struct spool_select *s, int watch)
{
    struct watch *w = &s->watches[watch];
    for (int i = w->first_case; i != NONE; i = s->cases[i].next_same)
        if (w->kind != PLAIN_FD || (w->revents & (s->cases[i].events | ALWAYS_REPORTED)))
            spool__select_list(s, i);
}

void spool__select_arm(struct spool_select *s, struct watch *w)
{
    for (int i = w->first_case; i != NONE; i = s->cases[i].next_same)
        spool__select_unlist(s, i);
    spool__gate_arm(&w->lane->gates[watch_side(w)]);
    w->armed = true;
    w->n_misses = 0;
    s->n_armed++;
}

void spool__select_disarm(struct spool_select *s, struct watch *w)
{
    if (!w->armed)
        return;
    w->armed = false;
    s->n_armed--;
    if (spool__gate_disarm(&w->lane->gates[watch_side(w)]) && !w->granted) {
        w->granted = true;
        s->n_granted++;
    }
}

void spool__select_forget_grant(struct spool_select *s, struct watch *w)
{
    s->n_granted -= w->granted;
    w->granted = false;
}

void spool__select_pass_on(struct spool_select *s, struct watch *w)
{
    if (!w->granted)
        return;
    spool__select_forget_grant(s, w);
    spool__lane_hand_on(w->lane, watch_side(w));
}
