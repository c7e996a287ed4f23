/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "look.h"

#include <string.h>

#include "go.h"
#include "select.h"

/* Memory may be anything: so many slots are walked from a hint on, and so many cases of a select looked at. */
#define WALK_MAX (1u << 22)
#define WATCHES_MAX (1 << 20)
#define SLOTS_AT_ONCE 64

/* An address or descriptor that a thread may be found to wait for, and what it stands for. */
struct spool__seen_key {
    uintptr_t key; /* 0: free */
    enum spool__wait wait;
    int what;
    enum spool__side side;
};

static int peek(const struct spool__look *l, uintptr_t at, void *ret, size_t bytes)
{
    return spool__sys_peek(l->pid, at, ret, bytes);
}

#define PEEK(l, at, ret) peek((l), (uintptr_t)(at), (ret), sizeof *(ret))

/* ---- Keys ----------------------------------------------------------------------------------------------------- */

/* Addresses are even. */
static uintptr_t fd_key(int fd)
{
    return (uintptr_t)(unsigned)fd * 2 + 1;
}

static struct spool__seen_key *key_slot(const struct spool__look *l, uintptr_t key)
{
    uint32_t i = (uint32_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (l->n_keys - 1);
    while (l->keys[i].key != 0 && l->keys[i].key != key)
        i = (i + 1) & (l->n_keys - 1);
    return &l->keys[i];
}

static void add_key(struct spool__look *l, uintptr_t key, enum spool__wait wait, int what, enum spool__side side)
{
    *key_slot(l, key) = (struct spool__seen_key){key, wait, what, side};
}

static bool find_key(const struct spool__look *l, uintptr_t key, struct spool__seen_thread *ret)
{
    const struct spool__seen_key *k = l->keys ? key_slot(l, key) : NULL;
    if (!k || k->key == 0)
        return false;
    ret->wait = k->wait;
    ret->what = k->what;
    ret->side = k->side;
    return true;
}

/* A meet by its address: its first word is a lock, and an address of its own for a futex. */
static uintptr_t meet_key(uintptr_t at)
{
    return at + 2;
}

/* The offer of a thread in a rendezvous lies on its stack, and names its meet. */
static bool find_offer(const struct spool__look *l, uintptr_t word, struct spool__seen_thread *ret)
{
    struct spool__offer o;
    if (PEEK(l, word - offsetof(struct spool__offer, state), &o) < 0 || o.party || !o.meet ||
        !find_key(l, meet_key((uintptr_t)o.meet), ret))
        return false;
    ret->side = o.side;
    return true;
}

bool spool__look_find(const struct spool__look *l, uintptr_t word, int fd, struct spool__seen_thread *ret)
{
    return word == 0 ? find_key(l, fd_key(fd), ret) : find_key(l, word, ret) || find_offer(l, word, ret);
}

/* ---- Queues --------------------------------------------------------------------------------------------------- */

/* Where tail (used is SPOOL__RING_FULL) or head (0) really is; see settle in ring.c. */
static uint64_t ring_walk(const struct spool__look *l, const struct spool__ring *r, uintptr_t at, uint64_t from,
                          uint64_t used, uint64_t *ret_word)
{
    size_t step = spool__ring_slot_bytes(r->elem_size) / sizeof(uint64_t);
    uint64_t slots[SLOTS_AT_ONCE * 2], pos = from, mask = r->unit - 1;
    size_t first = 0, n = 0;
    *ret_word = 0;
    if (r->unit == 0 || (r->unit & mask) || r->capacity == 0)
        return 0;
    for (unsigned walked = 0; walked < WALK_MAX; walked++) {
        size_t i = (size_t)((pos & mask) / SPOOL__RING_STEP);
        if (i < first || i >= first + n) {
            first = i;
            n = r->capacity - i < SLOTS_AT_ONCE ? r->capacity - i : SLOTS_AT_ONCE;
            if (i >= r->capacity || peek(l, at + sizeof *r + i * step * 8, slots, n * step * 8) < 0)
                break;
        }
        uint64_t word = slots[(i - first) * step], turn = pos & ~mask;
        uint64_t next = (word & ~mask) + (word & used ? r->unit : 0);
        *ret_word = word;
        if (next == turn)
            break;
        pos = pos - turn + next - r->unit;
        pos = i + 1 < r->capacity ? pos + SPOOL__RING_STEP : (pos & ~mask) + r->unit;
    }
    return pos;
}

static uint64_t ring_count(const struct spool__ring *r, uint64_t pos)
{
    return pos / r->unit * r->capacity + (pos & (r->unit - 1)) / SPOOL__RING_STEP;
}

static void see_ring(const struct spool__look *l, struct spool__seen_lane *lane, const struct spool__ring *r,
                     uintptr_t at)
{
    uint64_t word;
    uint64_t head = ring_walk(l, r, at, r->head, 0, &word),
             tail = ring_walk(l, r, at, r->tail, SPOOL__RING_FULL, &word);
    if (r->unit == 0)
        return;
    lane->is_closed = word & SPOOL__RING_CLOSED;
    lane->gets = ring_count(r, head);
    lane->puts = ring_count(r, tail);
    lane->is_counted = true;
}

/* Elements before the slot at which a put or get stands; false if it cannot be read. */
static bool chain_walk(const struct spool__look *l, const struct spool__chain *c, uintptr_t at, bool for_put,
                       uint64_t *ret_count, bool *ret_closed)
{
    uintptr_t mark = at + sizeof *c, seg_at = (uintptr_t)(for_put ? c->tail : c->head);
    uint64_t slots[SLOTS_AT_ONCE];
    *ret_closed = false;
    for (uint64_t walked = 0; walked < WALK_MAX; walked++) {
        struct spool__segment seg;
        if (PEEK(l, seg_at, &seg) < 0 || seg.slots > WALK_MAX || (walked += seg.slots) > WALK_MAX)
            return false;
        uint64_t dead = 0, i = 0;
        for (bool more = true; more && i < seg.slots;) {
            size_t n = seg.slots - i < SLOTS_AT_ONCE ? (size_t)(seg.slots - i) : SLOTS_AT_ONCE;
            if (peek(l, seg_at + sizeof seg + (size_t)i * sizeof *slots, slots, n * sizeof *slots) < 0)
                return false;
            for (size_t k = 0; k < n && more; k++) {
                uint64_t word = slots[k];
                more = for_put ? word != SPOOL__CHAIN_FREE && word != SPOOL__CHAIN_CLOSED
                               : word == SPOOL__CHAIN_TAKEN || word == SPOOL__CHAIN_DEAD;
                if (!more)
                    *ret_closed = word == SPOOL__CHAIN_CLOSED;
                dead += more && word == SPOOL__CHAIN_DEAD;
                i += more;
            }
        }
        *ret_count = seg.first + i - seg.dead_before - dead;
        if (i < seg.slots)
            return true;
        *ret_closed = (uintptr_t)seg.next == mark;
        if (!seg.next || *ret_closed)
            return true;
        seg_at = (uintptr_t)seg.next;
    }
    return false;
}

static void see_chain(const struct spool__look *l, struct spool__seen_lane *lane, const struct spool__chain *c,
                      uintptr_t at)
{
    bool drained;
    lane->is_counted =
        chain_walk(l, c, at, false, &lane->gets, &drained) && chain_walk(l, c, at, true, &lane->puts, &lane->is_closed);
}

static void see_source(struct spool__look *l, struct spool__seen_lane *lane, const struct spool__source *src,
                       uintptr_t at)
{
    struct spool__source_ops ops;
    int fd;
    lane->is_closed = src->is_shut;
    lane->gets = src->taken;
    lane->source_fd = src->fd;
    if (PEEK(l, src->ops, &ops) < 0 || peek(l, (uintptr_t)ops.name, lane->source, sizeof lane->source - 1) < 0)
        memcpy(lane->source, "source", sizeof "source");
    else if (ops.parks_at && PEEK(l, at + ops.parks_at, &fd) == 0)
        add_key(l, fd_key(fd), SPOOL__IN_LANE, l->n_lanes, SPOOL__GET);
    lane->source[strnlen(lane->source, sizeof lane->source - 1)] = '\0';
}

/* ---- Channels ------------------------------------------------------------------------------------------------- */

/* Read once; what does not fit together is for the caller to leave out. */
static bool see_lane(struct spool__look *l, uintptr_t at, int chan)
{
    struct spool__lane copy;
    if (l->n_lanes == l->cap_lanes || PEEK(l, at, &copy) < 0 || (unsigned)copy.flavour > SPOOL__SOURCE)
        return false;
    struct spool__seen_lane *lane = &l->lanes[l->n_lanes];
    *lane = (struct spool__seen_lane){.at = at,
                                      .chan = chan,
                                      .flavour = copy.flavour,
                                      .elem_size = copy.elem_size,
                                      .capacity = copy.capacity,
                                      .source_fd = -1};
    uintptr_t queue_at = at + offsetof(struct spool__lane, ring);
    if (copy.flavour == SPOOL__RING) {
        see_ring(l, lane, &copy.ring, queue_at);
    } else if (copy.flavour == SPOOL__CHAIN) {
        see_chain(l, lane, &copy.chain, queue_at);
    } else if (copy.flavour == SPOOL__MEET) {
        lane->is_closed = copy.meet.is_closed;
        lane->puts = lane->gets = copy.meet.met;
        lane->is_counted = true;
        add_key(l, meet_key(queue_at), SPOOL__IN_LANE, l->n_lanes, SPOOL__GET);
    } else {
        see_source(l, lane, &copy.source, queue_at);
        if (copy.source.park_plus_1)
            add_key(l, fd_key(copy.source.park_plus_1 - 1), SPOOL__IN_LANE, l->n_lanes, SPOOL__GET);
        add_key(l, fd_key(copy.source.fd), SPOOL__IN_LANE, l->n_lanes, SPOOL__GET);
    }
    lane->len = lane->puts > lane->gets && lane->is_counted ? (size_t)(lane->puts - lane->gets) : 0;
    if (lane->flavour == SPOOL__RING && lane->len > lane->capacity)
        lane->len = lane->capacity;
    for (int side = 0; side < 2; side++) {
        uintptr_t word = (uintptr_t)spool__gate_word(&copy.gates[side]) - (uintptr_t)&copy + at;
        spool__gate_see(&copy.gates[side], &lane->gates[side]);
        add_key(l, word, SPOOL__IN_LANE, l->n_lanes, (enum spool__side)side);
    }
    add_key(l, at, SPOOL__IN_LANE, l->n_lanes, SPOOL__GET);
    l->n_lanes++;
    return true;
}

static bool see_chan(struct spool__look *l, uintptr_t at)
{
    struct spool__core core;
    if (PEEK(l, at, &core) < 0 || (core.n_lanes != 1 && core.n_lanes != 2) || (uintptr_t)core.ends[0].core != at)
        return false;
    struct spool__seen_chan *chan = &l->chans[l->n_chans];
    *chan = (struct spool__seen_chan){.at = at,
                                      .creator = (uintptr_t)core.creator,
                                      .worker = (uintptr_t)core.worker,
                                      .n_lanes = core.n_lanes,
                                      .pins = core.pins,
                                      .refs = {core.ends[0].refs, core.n_lanes == 2 ? core.ends[1].refs : 0},
                                      .lanes = l->n_lanes};
    memcpy(chan->name, core.name, sizeof chan->name - 1);
    for (uint32_t i = 0; i < core.n_lanes; i++)
        if (!see_lane(l, (uintptr_t)core.ends[i].lanes[SPOOL__GET], l->n_chans)) {
            l->n_lanes = chan->lanes;
            return false;
        }
    l->n_chans++;
    return true;
}

/* ---- Selects -------------------------------------------------------------------------------------------------- */

static bool see_watch(struct spool__look *l, const struct watch *w, int number)
{
    struct spool__seen_watch *seen = &l->watches[l->n_watches];
    *seen = (struct spool__seen_watch){.number = number,
                                       .lane = -1,
                                       .side = w->kind == CHAN_PUT ? SPOOL__PUT : SPOOL__GET,
                                       .fd = w->key_fd,
                                       .n_on = w->n_on,
                                       .is_armed = w->armed};
    struct spool__seen_thread found;
    if (w->kind != PLAIN_FD && find_key(l, (uintptr_t)w->lane, &found))
        seen->lane = found.what;
    if (w->kind != PLAIN_FD && seen->lane < 0)
        return false;
    l->n_watches++;
    return true;
}

/* Its thread may be changing it: then the watches are some of this moment and some of that, or cannot be read. */
static bool see_select(struct spool__look *l, uintptr_t at)
{
    struct spool_select s;
    struct watch w;
    if (PEEK(l, at, &s) < 0)
        return false;
    struct spool__seen_select *seen = &l->selects[l->n_selects];
    *seen = (struct spool__seen_select){
        .at = at, .epoll = s.epoll, .n_on = s.n_on, .is_nested = s.own_fd != NONE, .watches = l->n_watches};
    for (int i = 0; i < s.n_watches && l->n_watches < l->cap_watches && PEEK(l, s.watches + i, &w) == 0; i++)
        if (w.kind > UNUSED && w.kind <= PLAIN_FD)
            (void)see_watch(l, &w, i);
    seen->n_watches = l->n_watches - seen->watches;
    add_key(l, fd_key(s.epoll), SPOOL__IN_SELECT, l->n_selects, SPOOL__GET);
    l->n_selects++;
    return true;
}

/* ---- All of them ---------------------------------------------------------------------------------------------- */

/* Calls see for every entry of a kind. */
static void each(struct spool__look *l, const struct spool__registry *r, enum spool__registered kind,
                 void see(struct spool__look *l, uintptr_t at))
{
    uintptr_t entries[SPOOL__REGISTRY_FIRST];
    uint32_t end = r->end < SPOOL__REGISTRY_MAX ? r->end : SPOOL__REGISTRY_MAX;
    for (uint32_t from = 0; from < end; from += SPOOL__REGISTRY_FIRST) {
        uint32_t i, n = end - from < SPOOL__REGISTRY_FIRST ? end - from : SPOOL__REGISTRY_FIRST;
        unsigned segment = spool__registry_segment(from, &i);
        if (!r->segments[segment] || peek(l, (uintptr_t)(r->segments[segment] + i), entries, n * sizeof *entries) < 0)
            continue;
        for (uint32_t k = 0; k < n; k++)
            if (entries[k] != 0 && (entries[k] & SPOOL__A_MASK) == (uintptr_t)kind)
                see(l, entries[k] & ~(uintptr_t)SPOOL__A_MASK);
    }
}

static void count_chan(struct spool__look *l, uintptr_t at)
{
    (void)at;
    l->n_chans++;
}

static void count_select(struct spool__look *l, uintptr_t at)
{
    struct spool_select s;
    l->n_selects++;
    if (PEEK(l, at, &s) == 0 && s.n_watches > 0 && l->cap_watches < WATCHES_MAX)
        l->cap_watches += s.n_watches < WATCHES_MAX ? s.n_watches : WATCHES_MAX;
}

static void count_worker(struct spool__look *l, uintptr_t at)
{
    (void)at;
    l->n_threads++;
}

static void take_chan(struct spool__look *l, uintptr_t at)
{
    /* Entries may have become more since they were counted. */
    if (l->n_lanes + 2 > l->cap_lanes || !see_chan(l, at))
        l->n_unseen++;
}

static void take_select(struct spool__look *l, uintptr_t at)
{
    if (l->n_selects == l->cap_selects || !see_select(l, at))
        l->n_unseen++;
}

static void take_worker(struct spool__look *l, uintptr_t at)
{
    if (l->n_workers++ < l->cap_workers)
        add_key(l, at + offsetof(struct spool__worker, state), SPOOL__IS_KEPT, -1, SPOOL__GET);
}

static void *map(size_t n, size_t size)
{
    return spool__sys_map(n * size + 1);
}

static void unmap(void *p, size_t n, size_t size)
{
    if (p)
        spool__sys_unmap(p, n * size + 1);
}

void spool__look_free(struct spool__look *l)
{
    unmap(l->chans, (size_t)l->cap_lanes, sizeof *l->chans);
    unmap(l->lanes, (size_t)l->cap_lanes, sizeof *l->lanes);
    unmap(l->selects, (size_t)l->cap_selects, sizeof *l->selects);
    unmap(l->watches, (size_t)l->cap_watches, sizeof *l->watches);
    unmap(l->threads, (size_t)l->cap_threads, sizeof *l->threads);
    unmap(l->keys, l->n_keys, sizeof *l->keys);
    *l = (struct spool__look){.pid = 0};
}

/* Room for all that was counted, and for some that come meanwhile. */
static int make_room(struct spool__look *l)
{
    l->cap_lanes = l->n_chans * 2 + 64;
    l->cap_selects = l->n_selects + 16;
    l->cap_watches += 64;
    l->cap_workers = l->n_threads + 16;
    l->n_chans = l->n_selects = l->n_threads = 0;
    uint64_t keys = 2 * ((uint64_t)l->cap_lanes * 4 + (uint64_t)l->cap_selects + (uint64_t)l->cap_workers);
    for (l->n_keys = 64; l->n_keys < keys;)
        l->n_keys *= 2;
    l->chans = map((size_t)l->cap_lanes, sizeof *l->chans);
    l->lanes = map((size_t)l->cap_lanes, sizeof *l->lanes);
    l->selects = map((size_t)l->cap_selects, sizeof *l->selects);
    l->watches = map((size_t)l->cap_watches, sizeof *l->watches);
    l->keys = map(l->n_keys, sizeof *l->keys);
    return l->chans && l->lanes && l->selects && l->watches && l->keys ? 0 : -ENOMEM;
}

int spool__look(struct spool__look *ret, pid_t pid, uintptr_t registry)
{
    struct spool__look l = {.pid = pid};
    struct spool__registry r = {.version = 0};
    int err = PEEK(&l, registry, &r);
    if (err == 0 && ((uintptr_t)r.self != registry || memcmp(r.magic, spool__registry.magic, sizeof r.magic) != 0))
        err = -EFAULT;
    if (err == 0 && memcmp(r.shapes, spool__registry.shapes, sizeof r.shapes) != 0)
        err = -EPROTO;
    ret->version = r.version;
    if (err < 0)
        return err;
    l.version = r.version;
    l.go_rest = (uintptr_t)r.go_rest;
    each(&l, &r, SPOOL__A_CORE, count_chan);
    each(&l, &r, SPOOL__A_SELECT, count_select);
    each(&l, &r, SPOOL__A_WORKER, count_worker);
    err = make_room(&l);
    /* Who had no turn on a processor from here until the second look did nothing meanwhile. */
    if (err == 0)
        err = spool__look_at_threads(&l);
    if (err == 0) {
        each(&l, &r, SPOOL__A_CORE, take_chan);
        each(&l, &r, SPOOL__A_SELECT, take_select);
        each(&l, &r, SPOOL__A_WORKER, take_worker);
        add_key(&l, l.go_rest, SPOOL__IN_GO_WAIT, -1, SPOOL__GET);
        err = spool__look_at_threads(&l);
    }
    if (err < 0)
        spool__look_free(&l);
    else
        *ret = l;
    return err;
}

/* ---- Names ---------------------------------------------------------------------------------------------------- */

const char *spool__look_kind(const struct spool__seen_lane *lane)
{
    static const char *const kinds[] = {"bounded", "unbounded", "rendezvous"};
    return lane->flavour == SPOOL__SOURCE ? lane->source : kinds[lane->flavour];
}
