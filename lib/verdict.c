/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "look.h"

/* Whether a put (a get) would not have to wait. */
static bool is_ready(const struct spool__seen_lane *lane, enum spool__side side)
{
    if (lane->is_closed)
        return true;
    if (!lane->is_counted || lane->flavour == SPOOL__MEET)
        return false;
    return side == SPOOL__GET ? lane->len > 0 : lane->flavour == SPOOL__CHAIN || lane->len < lane->capacity;
}

/* Whether only a thread of the process can make it ready. */
static bool is_inner(const struct spool__look *l, int lane)
{
    return lane >= 0 && l->lanes[lane].flavour != SPOOL__SOURCE;
}

static bool select_is_inner(const struct spool__look *l, const struct spool__seen_select *s)
{
    if (s->is_nested)
        return false;
    for (int i = s->watches; i < s->watches + s->n_watches; i++)
        if (l->watches[i].n_on > 0 && (!is_inner(l, l->watches[i].lane) ||
                                       is_ready(&l->lanes[l->watches[i].lane], l->watches[i].side)))
            return false;
    return s->n_watches > 0;
}

bool spool__look_is_deadlocked(const struct spool__look *l)
{
    bool any = false;
    for (int i = 0; i < l->n_threads; i++) {
        const struct spool__seen_thread *t = &l->threads[i];
        if (t->wait == SPOOL__IS_KEPT)
            continue;
        if (t->is_timed || !t->slept)
            return false;
        if (t->wait == SPOOL__IN_LANE) {
            if (!is_inner(l, t->what) || is_ready(&l->lanes[t->what], t->side))
                return false;
            any = true;
        } else if (t->wait == SPOOL__IN_SELECT) {
            if (!select_is_inner(l, &l->selects[t->what]))
                return false;
            any = true;
        } else if (t->wait != SPOOL__IN_GO_WAIT && t->wait != SPOOL__JOINS) {
            return false;
        }
    }
    return any && !l->is_blind;
}

bool spool__look_is_lost(const struct spool__look *l, const struct spool__seen_thread *t)
{
    return t->slept && t->wait == SPOOL__IN_LANE && is_inner(l, t->what) && is_ready(&l->lanes[t->what], t->side);
}

bool spool__look_is_undrained(const struct spool__look *l, const struct spool__seen_lane *lane)
{
    const struct spool__gate_sight *getters = &lane->gates[SPOOL__GET];
    if (!lane->is_counted || lane->len == 0 || getters->threads || getters->threads_granted || getters->selects)
        return false;
    const struct spool__seen_chan *chan = &l->chans[lane->chan];
    return lane->is_closed || chan->refs[lane - &l->lanes[chan->lanes]] == 0;
}
