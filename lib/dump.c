/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include <string.h>

#include "look.h"

/* Text on its way to a descriptor. */
struct out {
    int fd;
    int err;
    size_t len;
    char buf[1024];
};

static void flush(struct out *o)
{
    for (size_t done = 0; done < o->len && o->err == 0;) {
        int n = spool__sys_write(o->fd, o->buf + done, o->len - done);
        if (n > 0)
            done += (size_t)n;
        else if (n != -EINTR)
            o->err = n < 0 ? n : -EIO;
    }
    o->len = 0;
}

static void put(struct out *o, const char *s)
{
    for (; *s; s++) {
        if (o->len == sizeof o->buf)
            flush(o);
        o->buf[o->len++] = *s;
    }
}

/* Names are anybody's bytes. */
static void put_plain(struct out *o, const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        put(o, (char[]){(char)(c >= ' ' && c != 127 ? c : '?'), '\0'});
    }
}

static void put_number(struct out *o, uint64_t n)
{
    char digits[24], *at = digits + sizeof digits;
    *--at = '\0';
    do
        *--at = (char)('0' + n % 10);
    while (n /= 10);
    put(o, at);
}

static void put_hex(struct out *o, uint64_t n)
{
    char digits[24], *at = digits + sizeof digits;
    *--at = '\0';
    do
        *--at = "0123456789abcdef"[n % 16];
    while (n /= 16);
    put(o, "0x");
    put(o, at);
}

/* Three digits: "1.23 s". */
static void put_time(struct out *o, int64_t ns)
{
    static const struct {
        int64_t unit;
        const char *name;
    } units[] = {{1000000000, " s"}, {1000000, " ms"}, {1000, " us"}, {1, " ns"}};
    size_t i = 0;
    while (i < 3 && ns < units[i].unit)
        i++;
    int64_t whole = ns / units[i].unit, rest = ns % units[i].unit * 100 / units[i].unit;
    put_number(o, (uint64_t)whole);
    if (units[i].unit > 1 && whole < 100) {
        put(o, ".");
        if (whole < 10 && rest < 10)
            put(o, "0");
        put_number(o, (uint64_t)(whole < 10 ? rest : rest / 10));
    }
    put(o, units[i].name);
}

static void put_name(struct out *o, const struct spool__look *l, int chan)
{
    if (l->chans[chan].name[0] != '\0') {
        put_plain(o, l->chans[chan].name);
        return;
    }
    put(o, "#");
    put_number(o, (uint64_t)chan);
}

static void put_lane_name(struct out *o, const struct spool__look *l, int lane)
{
    int chan = l->lanes[lane].chan;
    put_name(o, l, chan);
    if (l->chans[chan].n_lanes == 2)
        put(o, lane == l->chans[chan].lanes ? ":a" : ":b");
}

static void put_thread(struct out *o, const struct spool__seen_thread *t)
{
    put_plain(o, t->name);
    put(o, " (");
    put_number(o, (uint64_t)t->tid);
    put(o, ")");
}

static void put_asleep(struct out *o, const struct spool__seen_thread *t)
{
    if (t->is_timed)
        put(o, ", with a timeout");
    if (t->asleep_ns >= 0) {
        put(o, ", asleep for ");
        put_time(o, t->asleep_ns);
    }
}

/* ---- Channels ------------------------------------------------------------------------------------------------- */

static void print_gate(struct out *o, const struct spool__look *l, const struct spool__seen_lane *lane,
                       enum spool__side side)
{
    static const char *const what[] = {[SPOOL__GET] = "get", [SPOOL__PUT] = "put"};
    const struct spool__gate_sight *g = &lane->gates[side];
    int self = (int)(lane - l->lanes);
    for (int i = 0; i < l->n_threads; i++) {
        const struct spool__seen_thread *t = &l->threads[i];
        if (t->wait != SPOOL__IN_LANE || t->what != self || t->side != side)
            continue;
        put(o, "    ");
        put(o, what[side]);
        put(o, ": ");
        put_thread(o, t);
        put_asleep(o, t);
        put(o, spool__look_is_lost(l, t) && g->threads_granted == 0 ? ": LOST WAKE?\n" : "\n");
    }
    for (int s = 0; s < l->n_selects; s++)
        for (int i = l->selects[s].watches; i < l->selects[s].watches + l->selects[s].n_watches; i++) {
            const struct spool__seen_watch *w = &l->watches[i];
            if (w->lane != self || w->side != side)
                continue;
            put(o, "    ");
            put(o, what[side]);
            put(o, ": select ");
            put_number(o, (uint64_t)s);
            put(o, w->n_on == 0 ? ", off\n" : w->is_armed ? ", armed\n" : "\n");
        }
    if (g->fd >= 0) {
        put(o, "    ");
        put(o, what[side]);
        put(o, ": fd ");
        put_number(o, (uint64_t)g->fd);
        put(o, g->is_exported ? ", polled by others\n" : "\n");
    }
}

static void print_lane(struct out *o, const struct spool__look *l, int index)
{
    const struct spool__seen_lane *lane = &l->lanes[index];
    put(o, "  ");
    put_lane_name(o, l, index);
    put(o, " ");
    put(o, spool__look_kind(lane));
    put(o, lane->is_closed ? ", closed" : ", open");
    if (lane->is_counted && lane->flavour != SPOOL__MEET) {
        put(o, ", ");
        put_number(o, lane->len);
        if (lane->flavour == SPOOL__RING) {
            put(o, " of ");
            put_number(o, lane->capacity);
        }
    }
    put(o, ", ");
    put_number(o, lane->elem_size);
    put(o, " bytes each");
    if (lane->is_counted) {
        put(o, ", puts ");
        put_number(o, lane->puts);
    }
    put(o, ", gets ");
    put_number(o, lane->gets);
    put(o, ", wakes ");
    put_number(o, lane->gates[SPOOL__GET].wakes + lane->gates[SPOOL__PUT].wakes);
    put(o, spool__look_is_undrained(l, lane) ? ": UNDRAINED\n" : "\n");
    if (lane->flavour == SPOOL__SOURCE) {
        put(o, "    fd ");
        put_number(o, (uint64_t)lane->source_fd);
        put(o, "\n");
    }
    print_gate(o, l, lane, SPOOL__GET);
    print_gate(o, l, lane, SPOOL__PUT);
}

/* ---- Selects, threads ----------------------------------------------------------------------------------------- */

static void print_select(struct out *o, const struct spool__look *l, int index)
{
    const struct spool__seen_select *s = &l->selects[index];
    put(o, "  select ");
    put_number(o, (uint64_t)index);
    put(o, ", fd ");
    put_number(o, (uint64_t)s->epoll);
    put(o, s->is_nested ? ", nested in another loop:" : ":");
    for (int i = s->watches; i < s->watches + s->n_watches; i++) {
        const struct spool__seen_watch *w = &l->watches[i];
        put(o, i == s->watches ? " " : ", ");
        if (w->lane < 0) {
            put(o, "fd ");
            put_number(o, (uint64_t)w->fd);
        } else {
            put(o, w->side == SPOOL__GET ? "get " : "put ");
            put_lane_name(o, l, w->lane);
        }
        if (w->n_on == 0)
            put(o, " (off)");
    }
    put(o, s->n_watches == 0 ? " nothing\n" : "\n");
}

static void print_thread(struct out *o, const struct spool__look *l, const struct spool__seen_thread *t)
{
    put(o, "  ");
    put_thread(o, t);
    switch (t->wait) {
    case SPOOL__RUNS:
        put(o, ": runs");
        break;
    case SPOOL__IN_CALL:
        put(o, ": in system call ");
        put_number(o, (uint64_t)t->call);
        break;
    case SPOOL__IN_LANE:
        put(o, t->side == SPOOL__GET ? ": get " : ": put ");
        put_lane_name(o, l, t->what);
        break;
    case SPOOL__IN_SELECT:
        put(o, ": select ");
        put_number(o, (uint64_t)t->what);
        break;
    case SPOOL__IN_GO_WAIT:
        put(o, ": spool_go_wait");
        break;
    case SPOOL__IS_KEPT:
        put(o, ": kept by spool_go");
        break;
    case SPOOL__JOINS:
        put(o, ": joins ");
        put_number(o, (uint64_t)t->what);
        break;
    }
    if (t->wait != SPOOL__RUNS)
        put_asleep(o, t);
    put(o, "\n");
}

int spool__look_print(const struct spool__look *l, int fd, const char *where(void *arg, uintptr_t address), void *arg)
{
    struct out o = {.fd = fd};
    put(&o, "spool ");
    put_number(&o, l->version >> 16);
    put(&o, ".");
    put_number(&o, l->version >> 8 & 0xff);
    put(&o, ".");
    put_number(&o, l->version & 0xff);
    put(&o, " in process ");
    put_number(&o, (uint64_t)l->pid);
    put(&o, "\nchannels\n");
    for (int i = 0; i < l->n_chans; i++) {
        const struct spool__seen_chan *chan = &l->chans[i];
        for (uint32_t lane = 0; lane < chan->n_lanes; lane++)
            print_lane(&o, l, chan->lanes + (int)lane);
        put(&o, "    made at ");
        if (where)
            put(&o, where(arg, chan->creator));
        else
            put_hex(&o, chan->creator);
        put(&o, "\n");
    }
    put(&o, "selects\n");
    for (int i = 0; i < l->n_selects; i++)
        print_select(&o, l, i);
    put(&o, "threads\n");
    for (int i = 0; i < l->n_threads; i++)
        print_thread(&o, l, &l->threads[i]);
    if (l->is_blind)
        put(&o, "what threads wait for could not be read\n");
    if (spool__look_is_deadlocked(l))
        put(&o, "DEADLOCK: every thread waits for another one\n");
    flush(&o);
    return o.err;
}

int spool_dump(int fd)
{
    struct spool__look l;
    int r = spool__look(&l, spool__sys_getpid(), (uintptr_t)&spool__registry);
    if (r < 0)
        return r;
    r = spool__look_print(&l, fd, NULL, NULL);
    spool__look_free(&l);
    return r;
}
