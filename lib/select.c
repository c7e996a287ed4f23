/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "select.h"
#include "registry.h"

/* ---- The epoll set -------------------------------------------------------------------------------------------- */

static uint64_t event_data(const struct spool_select *s, int watch)
{
    return (uint64_t)s->watches[watch].gen << 32 | (uint32_t)watch;
}

static uint32_t wanted_events(const struct spool_select *s, const struct watch *w)
{
    if (w->level)
        return EPOLLIN;
    /* One writer's wake wakes one select (exclusive), once (edge-triggered): the library knows the level itself. */
    if (w->kind != PLAIN_FD)
        return EPOLLIN | EPOLLET | EPOLLEXCLUSIVE;
    uint32_t events = 0;
    for (int i = w->first_case; i != NONE; i = s->cases[i].next_same)
        if (s->cases[i].on)
            events |= s->cases[i].events;
    return events;
}

/* Puts the watch into the epoll set. If that holds the descriptor already, for another watch, a duplicate goes in. */
static int add_to_set(struct spool_select *s, int watch)
{
    struct watch *w = &s->watches[watch];
    w->in_set = w->offer != NULL;
    if (w->in_set)
        return 0;
    uint32_t events = wanted_events(s, w);
    int r = spool__sys_epoll_ctl(s->epoll, EPOLL_CTL_ADD, w->fd, events, event_data(s, watch));
    if (r == -EEXIST) {
        int copy = spool__sys_dup(w->key_fd);
        if (copy < 0)
            return copy;
        r = spool__sys_epoll_ctl(s->epoll, EPOLL_CTL_ADD, copy, events, event_data(s, watch));
        if (r < 0)
            (void)spool__sys_close(copy);
        else
            w->fd = copy;
    }
    if (r < 0)
        return r;
    w->in_set = true;
    if (w->kind == PLAIN_FD || w->level)
        s->n_plain++;
    return 0;
}

static void remove_from_set(struct spool_select *s, struct watch *w)
{
    if (!w->in_set || w->offer)
        return;
    /* The kernel has dropped it already if the user closed the descriptor. */
    if (!s->is_copy)
        (void)spool__sys_epoll_ctl(s->epoll, EPOLL_CTL_DEL, w->fd, 0, 0);
    if (w->fd != w->key_fd)
        (void)spool__sys_close(w->fd);
    w->fd = w->key_fd;
    w->in_set = false;
    if (w->kind == PLAIN_FD || w->level)
        s->n_plain--;
    else
        spool__select_disarm(s, w);
}

/* Makes the set agree with which cases of the watch are on. */
static int update_set(struct spool_select *s, int watch)
{
    struct watch *w = &s->watches[watch];
    if (w->n_on == 0) {
        remove_from_set(s, w);
        return 0;
    }
    if (!w->in_set)
        return add_to_set(s, watch);
    if (w->kind != PLAIN_FD)
        return 0;
    int r = spool__sys_epoll_ctl(s->epoll, EPOLL_CTL_MOD, w->fd, wanted_events(s, w), event_data(s, watch));
    /* What was reported before, and not performed so far, is reported again: one shot is one. */
    if (r == 0 && (w->flags & EPOLLONESHOT))
        spool__select_unlist(s, w->first_case);
    if (r != -ENOENT)
        return r;
    /* Closed by the user, and the number used again. */
    w->in_set = false;
    s->n_plain--;
    return add_to_set(s, watch);
}

/* ---- Room for cases and watches ------------------------------------------------------------------------------- */

static int grow(void **array, int *cap, int need, size_t size)
{
    if (need <= *cap)
        return 0;
    int bigger = *cap < 8 ? 8 : *cap;
    while (bigger < need) {
        if (bigger > INT32_MAX / 2)
            return -ENOMEM;
        bigger *= 2;
    }
    void *p = spool__sys_realloc(*array, (size_t)bigger * size);
    if (!p)
        return -ENOMEM;
    *array = p;
    *cap = bigger;
    return 0;
}

#define GROW(array, cap, need) grow((void **)&(array), &(cap), (need), sizeof *(array))

static int find_room(struct spool_select *s, int key_fd)
{
    int fds = s->cap_fds;
    while (s->free_case < s->n_cases && s->cases[s->free_case].watch != NONE)
        s->free_case++;
    while (s->free_watch < s->n_watches && s->watches[s->free_watch].kind != UNUSED)
        s->free_watch++;
    if (GROW(s->cases, s->cap_cases, s->free_case + 1) < 0 || GROW(s->watches, s->cap_watches, s->free_watch + 1) < 0 ||
        GROW(s->events, s->cap_events, s->cap_watches + N_OWN_FDS) < 0 || GROW(s->by_fd, s->cap_fds, key_fd + 1) < 0)
        return -ENOMEM;
    for (; fds < s->cap_fds; fds++)
        s->by_fd[fds].chan = s->by_fd[fds].level = s->by_fd[fds].edge = NONE;
    return 0;
}

/*
 * Where the watch is noted that a new case may share, or NULL if it cannot: each event of the others is for one case.
 */
static int *shared_watch(struct spool_select *s, enum kind kind, int key_fd, uint32_t flags)
{
    if (key_fd == NONE)
        return NULL;
    if (kind != PLAIN_FD)
        return &s->by_fd[key_fd].chan;
    if (flags == 0)
        return &s->by_fd[key_fd].level;
    return flags == EPOLLET ? &s->by_fd[key_fd].edge : NULL;
}

static void give_up_watch(struct spool_select *s, struct watch *w)
{
    remove_from_set(s, w);
    if (w->chan) {
        spool__select_pass_on(s, w);
        spool__select_drop_offer(s, w);
        (void)spool_unref(w->chan);
    }
    int *shared = shared_watch(s, w->kind, w->key_fd, w->flags);
    if (shared)
        *shared = NONE;
    int i = (int)(w - s->watches);
    if (i < s->free_watch)
        s->free_watch = i;
    *w = (struct watch){.kind = UNUSED, .gen = w->gen + 1};
}

static struct watch *new_watch(struct spool_select *s, enum kind kind, int key_fd, spool_chan *chan, uint32_t flags)
{
    int i = s->free_watch;
    uint32_t gen = i < s->n_watches ? s->watches[i].gen : 0;
    if (i == s->n_watches)
        s->n_watches++;
    struct watch *w = &s->watches[i];
    *w = (struct watch){.kind = kind, .gen = gen, .fd = key_fd, .key_fd = key_fd, .flags = flags, .first_case = NONE};
    if (chan) {
        w->chan = spool_ref(chan);
        w->lane = spool__chan_lane(chan, watch_side(w));
        w->level = kind == CHAN_GET && w->lane->flavour == SPOOL__SOURCE;
    }
    int *shared = shared_watch(s, kind, key_fd, flags);
    if (shared)
        *shared = i;
    return w;
}

/* ---- Cases ---------------------------------------------------------------------------------------------------- */

/* At the end: cases of one watch take turns, in the order in which they were added. */
static void link_case(struct spool_select *s, struct watch *w, int index)
{
    int *at = &w->first_case;
    while (*at != NONE)
        at = &s->cases[*at].next_same;
    *at = index;
    s->cases[index].next_same = NONE;
}

static void unlink_case(struct spool_select *s, struct watch *w, int index)
{
    int *at = &w->first_case;
    while (*at != index)
        at = &s->cases[*at].next_same;
    *at = s->cases[index].next_same;
}

static void set_on(struct spool_select *s, int index, bool on)
{
    struct kase *c = &s->cases[index];
    struct watch *w = &s->watches[c->watch];
    if (c->on == on)
        return;
    if (!on)
        spool__select_unlist(s, index);
    c->on = on;
    w->n_on += on ? 1 : -1;
    s->n_on += on ? 1 : -1;
    spool__select_update_offer(s, w);
}

/* A case that was turned on may be ready: the next wait looks at it. */
static void list_new(struct spool_select *s, int index)
{
    struct watch *w = &s->watches[s->cases[index].watch];
    s->backoff = s->countdown = 0;
    /* Where it takes a system call to look, the epoll set shows which are worth it. */
    if (w->kind == PLAIN_FD || (w->level && !w->lane->source.ops->cheap))
        return;
    spool__select_disarm(s, w);
    spool__select_list_watch(s, (int)(w - s->watches));
}

/* A watch that the new case may share, or NULL. In a rendezvous the offer tells, as there is no descriptor. */
static struct watch *find_watch(struct spool_select *s, enum kind kind, int key_fd, spool_chan *chan, uint32_t flags)
{
    int *shared = shared_watch(s, kind, key_fd, flags);
    if (shared)
        return *shared == NONE ? NULL : &s->watches[*shared];
    if (key_fd != NONE)
        return NULL;
    enum spool__side side = kind == CHAN_PUT ? SPOOL__PUT : SPOOL__GET;
    struct spool__offer *o = spool__meet_find(&spool__chan_lane(chan, side)->meet, side, &s->party);
    return o ? &s->watches[o->watch] : NULL;
}

static int add_case(struct spool_select *s, enum kind kind, int key_fd, spool_chan *chan, void *elem, uint32_t events)
{
    int r = find_room(s, key_fd);
    if (r < 0)
        return r;
    uint32_t flags = events & (EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE | EPOLLWAKEUP);
    struct watch *w = find_watch(s, kind, key_fd, chan, flags);
    if (!w)
        w = new_watch(s, kind, key_fd, chan, flags);
    int index = s->free_case;
    int n_cases = s->n_cases;
    struct kase was = {.watch = NONE};
    if (index < n_cases)
        was = s->cases[index];
    else
        s->n_cases++;
    struct kase *c = &s->cases[index];
    *c = (struct kase){.watch = (int)(w - s->watches), .events = events, .elem = elem, .lane = w->lane};
    c->is_put = kind == CHAN_PUT;
    c->is_simple = elem && w->lane && w->lane->flavour < SPOOL__MEET;
    link_case(s, w, index);
    r = key_fd == NONE && !w->offer ? spool__select_new_offer(s, w) : 0;
    set_on(s, index, true);
    if (r == 0)
        r = update_set(s, c->watch);
    if (r < 0) {
        set_on(s, index, false);
        unlink_case(s, w, index);
        if (w->first_case == NONE)
            give_up_watch(s, w);
        *c = was;
        s->n_cases = n_cases;
        return r;
    }
    list_new(s, index);
    spool__select_settle(s);
    return index;
}

void spool__select_drop_case(struct spool_select *s, int index)
{
    struct kase *c = &s->cases[index];
    struct watch *w = &s->watches[c->watch];
    set_on(s, index, false);
    unlink_case(s, w, index);
    c->watch = NONE;
    if (index < s->free_case)
        s->free_case = index;
    if (w->first_case == NONE)
        give_up_watch(s, w);
    else
        (void)update_set(s, (int)(w - s->watches));
}

void spool__select_end_turn(struct spool_select *s, int index)
{
    struct watch *w = &s->watches[s->cases[index].watch];
    unlink_case(s, w, index);
    link_case(s, w, index);
    spool__select_update_offer(s, w);
}

static int add_chan_case(struct spool_select *s, enum kind kind, spool_chan *chan, void *elem)
{
    if (!s || !chan)
        return -EINVAL;
    enum spool__side side = kind == CHAN_PUT ? SPOOL__PUT : SPOOL__GET;
    struct spool__lane *lane = spool__chan_lane(chan, side);
    if (side == SPOOL__PUT && !spool__lane_takes_puts(lane))
        return -EOPNOTSUPP;
    bool level = side == SPOOL__GET && lane->flavour == SPOOL__SOURCE;
    if (lane->flavour == SPOOL__MEET)
        return add_case(s, kind, NONE, chan, elem, 0);
    int fd = level ? lane->source.fd : spool__gate_fd(&lane->gates[side]);
    return fd < 0 ? fd : add_case(s, kind, fd, chan, elem, 0);
}

int spool_select_get(spool_select *sel, spool_chan *chan, void *ret_elem)
{
    return add_chan_case(sel, CHAN_GET, chan, ret_elem);
}

int spool_select_put(spool_select *sel, spool_chan *chan, const void *elem)
{
    union {
        const void *from;
        void *to; /* only read */
    } u = {.from = elem};
    return add_chan_case(sel, CHAN_PUT, chan, u.to);
}

int spool_select_fd(spool_select *sel, int fd, uint32_t epoll_events)
{
    if (!sel)
        return -EINVAL;
    /* Before any room is made for it: the table of descriptors grows with their numbers. */
    int r = spool__sys_is_open(fd);
    if (r < 0)
        return r;
    return add_case(sel, PLAIN_FD, fd, NULL, NULL, epoll_events);
}

static bool is_case(const struct spool_select *s, int index)
{
    return s && index >= 0 && index < s->n_cases && s->cases[index].watch != NONE;
}

int spool_select_result(const spool_select *sel, int index)
{
    return sel && index >= 0 && index < sel->n_cases ? sel->cases[index].result : -EINVAL;
}

int spool_select_enable(spool_select *sel, int index, bool on)
{
    if (!is_case(sel, index))
        return -EINVAL;
    bool was = sel->cases[index].on;
    set_on(sel, index, on);
    /* Also when it was on: a descriptor with EPOLLONESHOT is waited for again. */
    int r = update_set(sel, sel->cases[index].watch);
    if (r < 0) {
        set_on(sel, index, was);
        return r;
    }
    if (on && !was)
        list_new(sel, index);
    spool__select_settle(sel);
    return 0;
}

int spool_select_remove(spool_select *sel, int index)
{
    if (!is_case(sel, index))
        return -EINVAL;
    sel->cases[index].result = 0;
    spool__select_drop_case(sel, index);
    spool__select_settle(sel);
    return 0;
}

int spool_select_set_order(spool_select *sel, enum spool_order order)
{
    if (!sel || (order != SPOOL_FAIR && order != SPOOL_IN_ORDER))
        return -EINVAL;
    spool__select_set_order(sel, order);
    for (int i = 0; i < sel->n_watches; i++)
        spool__select_update_offer(sel, &sel->watches[i]);
    return 0;
}

int spool_select_poll_fd(spool_select *sel)
{
    if (!sel)
        return -EINVAL;
    if (sel->own_fd != NONE)
        return sel->epoll;
    if (GROW(sel->events, sel->cap_events, sel->cap_watches + N_OWN_FDS) < 0)
        return -ENOMEM;
    int fd = spool__sys_eventfd();
    if (fd < 0)
        return fd;
    int r = spool__sys_epoll_ctl(sel->epoll, EPOLL_CTL_ADD, fd, EPOLLIN, OWN_FD_DATA);
    if (r < 0) {
        (void)spool__sys_close(fd);
        return r;
    }
    sel->own_fd = fd;
    spool__party_nest(&sel->party);
    spool__select_list_hinted(sel);
    spool__select_settle(sel);
    return sel->epoll;
}

int spool_select_new(spool_select **ret)
{
    if (!ret)
        return -EINVAL;
    struct spool_select *s = spool__select_alloc(sizeof *s);
    if (!s)
        return -ENOMEM;
    int epoll = spool__sys_epoll_create();
    if (epoll < 0) {
        spool__select_dealloc(s);
        return epoll;
    }
    s->pid = spool__sys_getpid();
    s->epoll = epoll;
    s->own_fd = s->party.fd = s->first_listed = NONE;
    s->random = 2463534242u;
    s->entry = spool__registry_add(s, SPOOL__A_SELECT);
    *ret = s;
    return 0;
}

spool_select *spool_select_free(spool_select *sel)
{
    if (!sel)
        return NULL;
    spool__registry_remove(sel->entry);
    sel->is_copy = sel->pid != spool__sys_getpid();
    for (int i = 0; i < sel->n_watches; i++)
        if (sel->watches[i].kind != UNUSED)
            give_up_watch(sel, &sel->watches[i]);
    if (sel->own_fd != NONE)
        (void)spool__sys_close(sel->own_fd);
    if (sel->party.fd != NONE)
        (void)spool__sys_close(sel->party.fd);
    (void)spool__sys_close(sel->epoll);
    spool__sys_free(sel->cases);
    spool__sys_free(sel->watches);
    spool__sys_free(sel->events);
    spool__sys_free(sel->by_fd);
    spool__select_dealloc(sel);
    return NULL;
}
