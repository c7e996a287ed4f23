/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "explore.h"

#include "../../lib/registry.h"

#include <errno.h>
#include <sys/epoll.h>

/*
 * As much of the kernel as the library's queues, gates and selects use: futexes, eventfds, epoll sets, a clock that
 * moves when a timeout is chosen to end. What Linux does and what matters here:
 *  - A write to an eventfd goes through those who wait for it in the order in which they came, shared ones before
 *    exclusive ones. An epoll set takes note of it, and if it is an exclusive one with a thread asleep in it, the walk
 *    ends there; a thread that was woken is not asleep any more, even before it runs (fs/eventpoll.c).
 *  - A set reports an edge-triggered descriptor once for each note, if it is readable then.
 *  - A futex wakes in the order in which threads came.
 *  - A call orders memory no more than the object that it is about does: what the kernel's locks order.
 */

#define FILES 24
#define ITEMS 12
#define FIRST_FD 3
#define KEYS 4

enum kind { CLOSED, EVENTFD, EPOLL };

struct item {
    bool used, ready;
    int fd;
    uint32_t events;
    uint64_t data;
    unsigned added, noted; /* when */
};

static struct file {
    enum kind kind;
    int object;
    uint64_t count;
    struct item items[ITEMS];
    int sleeper;                /* the thread asleep in the set, or -1 */
    bool polled_by[EX_THREADS]; /* from outside, if it is a set */
} files[FILES];

static struct {
    const uint32_t *word; /* that the thread sleeps on */
    unsigned since;
} sleepers[EX_THREADS];

static unsigned ticket;
static int64_t now;
static int futexes; /* an object: the kernel's hash of them */
static int n_keys;
static void (*destructors[KEYS])(void *);
static const void *values[EX_THREADS][KEYS];

void ex_unsupported(const char *what)
{
    ex_fail("the explorer does not have %s", what);
}

void ex_kernel_reset(void)
{
    for (int i = 0; i < FILES; i++)
        files[i].kind = CLOSED;
    for (int t = 0; t < EX_THREADS; t++) {
        sleepers[t].word = NULL;
        for (int k = 0; k < KEYS; k++)
            values[t][k] = NULL;
    }
    ticket = 0;
    now = 1000;
    n_keys = 0;
    futexes = ex_object_new();
}

void ex_kernel_check(void)
{
    for (int i = 0; i < FILES; i++)
        if (files[i].kind != CLOSED)
            ex_fail("descriptor %d is left", i + FIRST_FD);
}

/* ---- Time ----------------------------------------------------------------------------------------------------- */

int64_t ex_now(void)
{
    return now;
}

void ex_set_now(int64_t at)
{
    if (at > now)
        now = at;
}

/* ---- Futexes -------------------------------------------------------------------------------------------------- */

static bool is_interrupted(void)
{
    return ex_scenario->flags & EX_SPURIOUS && ex_choose(2, 2) == 1;
}

int ex_futex_wait(uint32_t *word, uint32_t value, int64_t deadline)
{
    static const struct ex_site site = {"futex_wait", "", "", "", 0};
    ex_step();
    ex_object_touch(futexes);
    uint32_t is = (uint32_t)ex_latest(word, 4);
    ex_trace(&site, "for %#x, is %#x", value, is);
    if (is != value)
        return -EAGAIN;
    if (is_interrupted())
        return -EINTR;
    sleepers[ex_self].word = word;
    sleepers[ex_self].since = ticket++;
    int r = ex_block(deadline, "futex");
    sleepers[ex_self].word = NULL;
    ex_object_touch(futexes);
    return r;
}

int ex_futex_wake(uint32_t *word, int n)
{
    static const struct ex_site site = {"futex_wake", "", "", "", 0};
    int woken = 0;
    ex_step();
    ex_object_touch(futexes);
    while (woken < n) {
        int first = -1;
        for (int t = 0; t < EX_THREADS; t++)
            if (sleepers[t].word == word && (first < 0 || sleepers[t].since < sleepers[first].since))
                first = t;
        if (first < 0)
            break;
        sleepers[first].word = NULL;
        ex_wake(first);
        ex_trace(&site, "thread %d", first);
        woken++;
    }
    if (!woken)
        ex_trace(&site, "nobody");
    return woken;
}

/* ---- Descriptors ---------------------------------------------------------------------------------------------- */

static struct file *file_of(int fd, enum kind kind)
{
    int i = fd - FIRST_FD;
    if (i < 0 || i >= FILES || files[i].kind == CLOSED)
        ex_fail("descriptor %d is used, which is closed", fd);
    if (files[i].kind != kind)
        ex_fail("descriptor %d is of another kind", fd);
    return &files[i];
}

static int file_new(enum kind kind)
{
    ex_step();
    for (int i = 0; i < FILES; i++)
        if (files[i].kind == CLOSED) {
            files[i] = (struct file){.kind = kind, .object = ex_object_new(), .sleeper = -1};
            return i + FIRST_FD;
        }
    ex_fail("more than %d descriptors", FILES);
}

int ex_eventfd(void)
{
    return file_new(EVENTFD);
}

int ex_epoll_create(void)
{
    return file_new(EPOLL);
}

static bool is_readable(int fd)
{
    return file_of(fd, EVENTFD)->count > 0;
}

static void note(struct item *item)
{
    if (!item->ready)
        item->noted = ticket++;
    item->ready = true;
}

static void rouse_pollers(struct file *f)
{
    for (int t = 0; t < EX_THREADS; t++)
        if (f->polled_by[t]) {
            f->polled_by[t] = false;
            ex_wake(t);
        }
}

/* True if a sleeper was woken. Who polls the set is no sleeper in it, and ends no walk. */
static bool rouse(struct file *set)
{
    rouse_pollers(set);
    if (set->sleeper < 0)
        return false;
    ex_wake(set->sleeper);
    set->sleeper = -1;
    return true;
}

/* The next of those who wait for fd, in order: the item after the one added at *after. */
static struct item *next_item(int fd, bool exclusive, unsigned *after, struct file **ret_set)
{
    struct item *next = NULL;
    for (int i = 0; i < FILES; i++)
        for (int j = 0; files[i].kind == EPOLL && j < ITEMS; j++) {
            struct item *item = &files[i].items[j];
            if (item->used && item->fd == fd && !(item->events & EPOLLEXCLUSIVE) == !exclusive &&
                item->added > *after && (!next || item->added < next->added)) {
                next = item;
                *ret_set = &files[i];
            }
        }
    if (next)
        *after = next->added;
    return next;
}

static void walk(int fd)
{
    struct file *f = file_of(fd, EVENTFD), *set = NULL;
    struct item *item;
    unsigned after = 0;
    rouse_pollers(f);
    while ((item = next_item(fd, false, &after, &set))) {
        note(item);
        (void)rouse(set);
    }
    after = 0;
    while ((item = next_item(fd, true, &after, &set))) {
        note(item);
        if (rouse(set))
            return;
    }
}

int ex_eventfd_write(int fd, uint64_t n)
{
    static const struct ex_site site = {"write", "", "", "", 0};
    ex_step();
    struct file *f = file_of(fd, EVENTFD);
    ex_object_touch(f->object);
    ex_trace(&site, "%llu to descriptor %d", (unsigned long long)n, fd);
    if (n > UINT64_MAX - 1 - f->count)
        return -EAGAIN;
    f->count += n;
    walk(fd);
    return 8;
}

int ex_eventfd_read(int fd)
{
    static const struct ex_site site = {"read", "", "", "", 0};
    ex_step();
    struct file *f = file_of(fd, EVENTFD);
    ex_object_touch(f->object);
    ex_trace(&site, "descriptor %d, %llu", fd, (unsigned long long)f->count);
    if (f->count == 0)
        return -EAGAIN;
    f->count = 0;
    return 8;
}

uint32_t ex_poll(int fd, uint32_t events)
{
    ex_step();
    ex_object_touch(file_of(fd, EVENTFD)->object);
    return is_readable(fd) ? events & EPOLLIN : 0;
}

void ex_wait_readable(int fd)
{
    static const struct ex_site site = {"poll", "", "", "", 0};
    ex_step();
    struct file *f = file_of(fd, EVENTFD);
    ex_object_touch(f->object);
    ex_trace(&site, "descriptor %d, %sreadable", fd, f->count ? "" : "not ");
    while (f->count == 0) {
        f->polled_by[ex_self] = true;
        (void)ex_block(INT64_MAX, "poll");
        ex_object_touch(f->object);
    }
}

int ex_close(int fd)
{
    ex_step();
    int i = fd - FIRST_FD;
    if (i < 0 || i >= FILES || files[i].kind == CLOSED)
        ex_fail("descriptor %d is closed twice", fd);
    if (files[i].kind == EPOLL && files[i].sleeper >= 0)
        ex_fail("an epoll set is closed in which a thread sleeps");
    files[i].kind = CLOSED;
    for (int s = 0; s < FILES; s++)
        for (int j = 0; j < ITEMS; j++)
            if (files[s].items[j].fd == fd)
                files[s].items[j].used = false;
    return 0;
}

/* ---- epoll ---------------------------------------------------------------------------------------------------- */

int ex_epoll_ctl(int epoll, int op, int fd, uint32_t events, uint64_t data)
{
    ex_step();
    struct file *set = file_of(epoll, EPOLL);
    struct item *item = NULL, *unused = NULL;
    ex_object_touch(set->object);
    ex_object_touch(file_of(fd, EVENTFD)->object);
    for (int j = 0; j < ITEMS; j++) {
        if (set->items[j].used && set->items[j].fd == fd)
            item = &set->items[j];
        if (!set->items[j].used)
            unused = &set->items[j];
    }
    if (op == EPOLL_CTL_ADD ? item != NULL : item == NULL)
        return op == EPOLL_CTL_ADD ? -EEXIST : -ENOENT;
    if (op == EPOLL_CTL_DEL) {
        item->used = false;
        return 0;
    }
    if (op == EPOLL_CTL_ADD) {
        if (!unused)
            ex_fail("more than %d descriptors in an epoll set", ITEMS);
        item = unused;
        *item = (struct item){.used = true, .fd = fd, .added = ++ticket};
    }
    item->events = events;
    item->data = data;
    if (is_readable(fd)) {
        note(item);
        (void)rouse(set);
    }
    return 0;
}

static int collect(struct file *set, struct epoll_event *events, int max)
{
    int n = 0;
    while (n < max) {
        struct item *first = NULL;
        for (int j = 0; j < ITEMS; j++) {
            struct item *item = &set->items[j];
            if (item->used && item->ready && (!first || item->noted < first->noted))
                first = item;
        }
        if (!first)
            break;
        first->ready = false;
        ex_object_touch(file_of(first->fd, EVENTFD)->object);
        if (!is_readable(first->fd))
            continue;
        events[n].events = EPOLLIN;
        events[n++].data.u64 = first->data;
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < ITEMS; j++)
            if (set->items[j].used && set->items[j].data == events[i].data.u64 && !(set->items[j].events & EPOLLET))
                note(&set->items[j]);
    return n;
}

int ex_epoll_wait(int epoll, struct epoll_event *events, int max, int64_t deadline)
{
    static const struct ex_site site = {"epoll_wait", "", "", "", 0};
    ex_step();
    struct file *set = file_of(epoll, EPOLL);
    for (;;) {
        ex_object_touch(set->object);
        int n = collect(set, events, max);
        if (n > 0 || deadline <= now) {
            ex_trace(&site, "%d events", n);
            return n;
        }
        ex_trace(&site, "sleeps");
        if (is_interrupted())
            return -EINTR;
        set->sleeper = ex_self;
        if (ex_block(deadline, "epoll set") < 0)
            set->sleeper = -1;
    }
}

/* What is noted and not readable any more is forgotten, as by a wait. */
static bool shows_any(struct file *set)
{
    for (int j = 0; j < ITEMS; j++) {
        struct item *item = &set->items[j];
        if (!item->used || !item->ready)
            continue;
        ex_object_touch(file_of(item->fd, EVENTFD)->object);
        if (is_readable(item->fd))
            return true;
        item->ready = false;
    }
    return false;
}

void ex_wait_set(int epoll)
{
    static const struct ex_site site = {"poll", "", "", "", 0};
    ex_step();
    struct file *set = file_of(epoll, EPOLL);
    ex_object_touch(set->object);
    while (!shows_any(set)) {
        ex_trace(&site, "set %d, nothing", epoll);
        set->polled_by[ex_self] = true;
        (void)ex_block(INT64_MAX, "poll of a set");
        ex_object_touch(set->object);
    }
    ex_trace(&site, "set %d", epoll);
}

/* ---- Threads -------------------------------------------------------------------------------------------------- */

int ex_key_create(unsigned *ret, void (*destructor)(void *))
{
    if (n_keys == KEYS || ex_scenario->flags & EX_NO_KEYS)
        return EAGAIN;
    destructors[n_keys] = destructor;
    ex_plain(ret, sizeof *ret, true);
    *ret = (unsigned)n_keys++;
    return 0;
}

int ex_setspecific(unsigned key, const void *value)
{
    if (ex_scenario->flags & EX_ONE_BARE && ex_self == 2)
        return ENOMEM;
    values[ex_self][key] = value;
    return 0;
}

void ex_kernel_thread_ends(void)
{
    for (int k = 0; k < n_keys; k++) {
        union {
            const void *in;
            void *out;
        } value = {.in = values[ex_self][k]};
        values[ex_self][k] = NULL;
        if (value.in)
            destructors[k](value.out);
    }
}

/* Nobody looks at what is registered, so that it takes no steps. */
uint32_t spool__registry_add(const void *what, enum spool__registered kind)
{
    (void)what;
    (void)kind;
    return 0;
}

void spool__registry_remove(uint32_t entry)
{
    (void)entry;
}
