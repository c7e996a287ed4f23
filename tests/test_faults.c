/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * No memory, no descriptors, no threads: each call that needs some says so, changes nothing and leaks nothing, and what
 * exists goes on working. Links with the calls below wrapped, which fail here when told to.
 */

#include "util.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

/* ---- The failing world ---------------------------------------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
int __real_posix_memalign(void **ret, size_t align, size_t size);
void __real_free(void *p);
char *__real_strdup(const char *s);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
int __real_eventfd(unsigned count, int flags);
int __real_epoll_create1(int flags);
int __real_epoll_ctl(int epoll, int op, int fd, struct epoll_event *ev);
void *__real_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);

void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
int __wrap_posix_memalign(void **ret, size_t align, size_t size);
void __wrap_free(void *p);
char *__wrap_strdup(const char *s);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
int __wrap_eventfd(unsigned count, int flags);
int __wrap_epoll_create1(int flags);
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *ev);

enum { NEVER = -1 };

/* How many allocations of this thread still succeed before one fails, and how many there were. */
static _Thread_local long mem_left = NEVER;
static _Thread_local bool mem_stays_out; /* all that follow fail too */
static _Thread_local long mem_asked;
static atomic_long mem_live; /* blocks */

/* The error that the call makes instead of working; 0 for none. */
static _Thread_local int thread_error;
static _Thread_local int eventfd_error;
static _Thread_local int epoll_create_error;
static _Thread_local int epoll_ctl_error;
/* Of so many mappings of pages one fails; 0: none. */
static _Thread_local unsigned mmap_fails_each;
static _Thread_local unsigned mmap_asked;

static bool mem_fails(void)
{
    mem_asked++;
    if (mem_left < 0)
        return false;
    if (mem_left-- > 0)
        return false;
    if (mem_stays_out)
        mem_left = 0;
    errno = ENOMEM;
    return true;
}

static void *mem_count(void *p)
{
    if (p)
        atomic_fetch_add(&mem_live, 1);
    return p;
}

void *__wrap_malloc(size_t size)
{
    return mem_fails() ? NULL : mem_count(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return mem_fails() ? NULL : mem_count(__real_calloc(n, size));
}

void *__wrap_realloc(void *old, size_t size)
{
    void *p;

    if (mem_fails())
        return NULL;
    p = __real_realloc(old, size);
    return old ? p : mem_count(p);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
    return mem_fails() ? NULL : mem_count(__real_aligned_alloc(align, size));
}

int __wrap_posix_memalign(void **ret, size_t align, size_t size)
{
    int rc;

    if (mem_fails())
        return ENOMEM;
    rc = __real_posix_memalign(ret, align, size);
    if (rc == 0)
        mem_count(*ret);
    return rc;
}

char *__wrap_strdup(const char *s)
{
    return mem_fails() ? NULL : mem_count(__real_strdup(s));
}

void __wrap_free(void *p)
{
    if (p)
        atomic_fetch_sub(&mem_live, 1);
    __real_free(p);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
    return thread_error ? thread_error : __real_pthread_create(thread, attr, fn, arg);
}

int __wrap_eventfd(unsigned count, int flags)
{
    if (!eventfd_error)
        return __real_eventfd(count, flags);
    errno = eventfd_error;
    return -1;
}

int __wrap_epoll_create1(int flags)
{
    if (!epoll_create_error)
        return __real_epoll_create1(flags);
    errno = epoll_create_error;
    return -1;
}

int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *ev)
{
    if (!epoll_ctl_error || op == EPOLL_CTL_DEL)
        return __real_epoll_ctl(epoll, op, fd, ev);
    errno = epoll_ctl_error;
    return -1;
}

void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
    mmap_asked++;
    if (mmap_fails_each == 0 || mmap_asked % mmap_fails_each)
        return __real_mmap(at, size, prot, flags, fd, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}

/* Lets so many new descriptors be made. Those below the limit are all in use, so it counts from the lowest free one. */
static void fds_allow(int n)
{
    struct rlimit limit;
    int lowest = dup(STDERR_FILENO);

    must(lowest >= 0);
    close(lowest);
    must_be(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = (rlim_t)(lowest + n);
    must_be(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static rlim_t fds_limit;

static void fds_restore(void)
{
    struct rlimit limit;

    must_be(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = fds_limit;
    must_be(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* ---- The world that must not notice --------------------------------------------------------------------------- */

#define ODD_ERRNO 4242

static struct {
    spool_chan *chan; /* holds one element */
    spool_select *sel;
    uint64_t v, next;
} bystander;

static void world_begin(void)
{
    struct rlimit limit;

    must_be(getrlimit(RLIMIT_NOFILE, &limit), 0);
    fds_limit = limit.rlim_cur;
    memset(&bystander, 0, sizeof(bystander));
    must_be(spool_chan_new(&bystander.chan, 8, 2), 0);
    must_be(spool_select_new(&bystander.sel), 0);
    must_be(spool_select_get(bystander.sel, bystander.chan, &bystander.v), 0);
}

static void world_check(void)
{
    must_be(spool_put_for(bystander.chan, &bystander.next, DEADLINE), 0);
    must_be(spool_select_wait(bystander.sel, DEADLINE), 0);
    must_be(bystander.v, bystander.next);
    bystander.next++;
    must_be(spool_select_wait(bystander.sel, 0), -EAGAIN);
}

static void world_end(void)
{
    world_check();
    spool_select_free(bystander.sel);
    spool_unref(bystander.chan);
}

/* Each test is run for every flavour of the channels that are operated on. */
static const size_t flavours[] = {2, SPOOL_UNBOUNDED, 0};

enum { N_FLAVOURS = sizeof(flavours) / sizeof(*flavours) };

static size_t flavour = 2;

/* In a rendezvous somebody else has to be there; otherwise it is done at once. */
static struct worker partner;
static uint64_t partner_v;

static void let_get(spool_chan *c, uint64_t v)
{
    partner_v = v;
    if (!is_meet(c)) {
        must_be(spool_try_put(c, &partner_v), 0);
        return;
    }
    memset(&partner, 0, sizeof(partner));
    partner.chan = c;
    partner.elem = &partner_v;
    worker_start(&partner, worker_put);
}

static void let_put(spool_chan *c)
{
    if (!is_meet(c))
        return;
    memset(&partner, 0, sizeof(partner));
    partner.chan = c;
    partner.elem = &partner_v;
    worker_start(&partner, worker_get);
}

/* That takes descriptors. */
static void wait_there(spool_chan *c)
{
    if (is_meet(c))
        worker_wait_asleep(&partner);
}

static void done_with(spool_chan *c)
{
    if (is_meet(c))
        must_be(worker_join(&partner), 0);
}

/* What an operation works on. make builds it (nothing fails then), op is tried, check says it is as before. */
struct scene {
    spool_chan *a, *b;
    spool_select *sel;
    int plain_fd;
    int result; /* what op returned when it worked */
    bool dropped;
};

struct operation {
    const char *name;
    void (*make)(struct scene *s);
    int (*op)(struct scene *s);
    void (*check)(struct scene *s); /* after a failure */
    void (*used)(struct scene *s);  /* after a success: it works */
    void (*end)(struct scene *s);
};

static spool_chan *const sentinel = (spool_chan *)(uintptr_t)0x5e5e5e50;

static void use_chan(spool_chan *put, spool_chan *get)
{
    uint64_t v[3] = {5, 6, 7};
    struct worker w = {.chan = get, .elem = v};

    if (is_meet(put)) {
        uint64_t out[3] = {5, 6, 7};

        v[0] = 0;
        worker_start(&w, worker_get);
        must_be(spool_put_for(put, out, DEADLINE), 0);
        must_be(worker_join(&w), 0);
    } else {
        must_be(spool_try_put(put, v), 0);
        must_be(spool_try_get(get, v), 0);
    }
    must_be(v[0], 5);
    must_be(spool_try_get(get, v), -EAGAIN);
}

static void make_nothing(struct scene *s)
{
    s->a = s->b = sentinel;
    s->sel = (spool_select *)(void *)sentinel;
}

static void check_sentinels(struct scene *s)
{
    must(s->a == sentinel && s->b == sentinel && (void *)s->sel == (void *)sentinel);
}

static int op_chan_new(struct scene *s)
{
    return spool_chan_new(&s->a, 8, flavour);
}

static int op_chan_new_large(struct scene *s)
{
    return spool_chan_new(&s->a, 24, flavour == 2 ? 1000 : flavour);
}

static int op_pair_new(struct scene *s)
{
    return spool_pair_new(&s->a, &s->b, 8, flavour);
}

static void use_a(struct scene *s)
{
    use_chan(s->a, s->a);
    spool_unref(s->a);
}

static void use_a_and_b(struct scene *s)
{
    use_chan(s->a, s->b);
    use_chan(s->b, s->a);
    spool_unref(s->a);
    spool_unref(s->b);
}

static void answer(void *arg)
{
    uint64_t v = 9;

    (void)arg;
    must_be(spool_put(spool_self(), &v), 0);
}

static int op_go(struct scene *s)
{
    return spool_go(&s->a, answer, NULL, 8, flavour);
}

static void check_go(struct scene *s)
{
    check_sentinels(s);
    must_be(spool_go_wait(0), 0);
}

static void use_go(struct scene *s)
{
    uint64_t v;

    must_be(spool_get_for(s->a, &v, DEADLINE), 0);
    must_be(v, 9);
    must_be(spool_get_for(s->a, &v, DEADLINE), -EPIPE);
    must_be(spool_go_wait(DEADLINE), 0);
    spool_unref(s->a);
}

static int op_select_new(struct scene *s)
{
    return spool_select_new(&s->sel);
}

static void use_select(struct scene *s)
{
    must_be(spool_select_wait(s->sel, -1), -ENODATA);
    spool_select_free(s->sel);
}

/* Two channels, and a select with a case on the first. */
static struct scene *drop_scene;

static void note_drop(void *elem)
{
    (void)elem;
    drop_scene->dropped = true;
}

static uint64_t scene_v[2];

static void make_select(struct scene *s)
{
    /* A select needs a descriptor for its first rendezvous only: that shall be b. */
    must_be(spool_chan_new(&s->a, 8, flavour == 0 ? 2 : flavour), 0);
    must_be(spool_chan_new(&s->b, 8, flavour), 0);
    must_be(spool_select_new(&s->sel), 0);
    must_be(spool_select_get(s->sel, s->a, &scene_v[0]), 0);
    s->plain_fd = __real_eventfd(1, EFD_CLOEXEC);
    must(s->plain_fd >= 0);
    drop_scene = s;
    s->dropped = false;
    must_be(spool_set_drop(s->b, note_drop), 0);
}

/* The case that was there works, and is alone. */
static void check_select(struct scene *s)
{
    scene_v[0] = 0;
    must_be(spool_select_wait(s->sel, 0), -EAGAIN);
    let_get(s->a, 77);
    must_be(spool_select_wait(s->sel, DEADLINE), 0);
    must_be(scene_v[0], 77);
    done_with(s->a);
    must_be(spool_select_wait(s->sel, 0), -EAGAIN);
    must_be(spool_select_result(s->sel, 1), -EINVAL);
    use_chan(s->b, s->b);
    must_be(spool_select_wait(s->sel, 0), -EAGAIN);
}

/* With the select gone nobody else may hold b: its last element is dropped with our reference. */
static void end_select(struct scene *s)
{
    uint64_t v = 1;

    if (!is_meet(s->b) && spool_try_put(s->b, &v) < 0) {
        must_be(spool_get(s->b, &v), 0);
        must_be(spool_try_put(s->b, &v), 0);
    }
    spool_select_free(s->sel);
    spool_unref(s->a);
    must(!s->dropped);
    must(spool_alive(s->b));
    spool_unref(s->b);
    must_be(s->dropped, flavour != 0);
    close(s->plain_fd);
}

/* The same after a failure on b: not even the select holds it. */
static void abandon_select(struct scene *s)
{
    uint64_t v = 1;

    must_be(spool_try_put(s->b, &v), flavour ? 0 : -EAGAIN);
    spool_unref(s->b);
    must_be(s->dropped, flavour != 0);
    close(s->plain_fd);
    let_get(s->a, 88);
    if (spool_select_wait(s->sel, 0) == 0)
        must_be(scene_v[0], 88);
    spool_select_free(s->sel);
    spool_unref(s->a);
}

static int op_select_get(struct scene *s)
{
    return spool_select_get(s->sel, s->b, &scene_v[1]);
}

static void use_select_get(struct scene *s)
{
    must_be(s->result, 1);
    let_get(s->b, 3);
    must_be(spool_select_wait(s->sel, DEADLINE), 1);
    must_be(scene_v[1], 3);
    done_with(s->b);
}

static int op_select_put(struct scene *s)
{
    scene_v[1] = 4;
    return spool_select_put(s->sel, s->b, &scene_v[1]);
}

static void use_select_put(struct scene *s)
{
    must_be(s->result, 1);
    let_put(s->b);
    must_be(spool_select_wait(s->sel, DEADLINE), 1);
    done_with(s->b);
    must_be(spool_len(s->b), flavour != 0);
    if (flavour == 0)
        must_be(partner_v, 4);
}

static int op_select_fd(struct scene *s)
{
    return spool_select_fd(s->sel, s->plain_fd, EPOLLIN);
}

static void use_select_fd(struct scene *s)
{
    must_be(s->result, 1);
    must_be(spool_select_wait(s->sel, DEADLINE), 1);
    must_be(spool_select_result(s->sel, 1), EPOLLIN);
}

static int op_poll_fd(struct scene *s)
{
    return spool_select_poll_fd(s->sel);
}

static void use_poll_fd(struct scene *s)
{
    must(!fd_readable(s->result));
    let_get(s->a, 1);
    must(fd_wait_readable(s->result));
    must_be(spool_select_wait(s->sel, 0), 0);
    done_with(s->a);
    must_be(spool_select_poll_fd(s->sel), s->result);
}

/* Off and on again: turning it on adds it to the epoll set anew. */
static int op_enable(struct scene *s)
{
    must_be(spool_select_enable(s->sel, 0, false), 0);
    must_be(spool_select_wait(s->sel, 0), -ENODATA);
    return spool_select_enable(s->sel, 0, true);
}

static void check_enable(struct scene *s)
{
    must_be(spool_select_wait(s->sel, 0), -ENODATA);
}

static void use_enable(struct scene *s)
{
    let_get(s->a, 2);
    must_be(spool_select_wait(s->sel, DEADLINE), 0);
    must_be(scene_v[0], 2);
    done_with(s->a);
}

static void make_chan(struct scene *s)
{
    must_be(spool_chan_new(&s->a, 8, flavour), 0);
}

static void check_chan(struct scene *s)
{
    use_chan(s->a, s->a);
}

static void end_chan(struct scene *s)
{
    spool_unref(s->a);
}

static int op_fd(struct scene *s)
{
    return spool_fd(s->a);
}

static void use_fd(struct scene *s)
{
    uint64_t v = 2;

    must_be(spool_try_get(s->a, &v), -EAGAIN);
    must(!fd_readable(s->result));
    let_get(s->a, 1);
    wait_there(s->a);
    must(fd_readable(s->result));
    must_be(spool_try_get(s->a, &v), 0);
    done_with(s->a);
}

static int op_put_fd(struct scene *s)
{
    return spool_put_fd(s->a);
}

static void use_put_fd(struct scene *s)
{
    uint64_t v = 2;

    for (int i = 0; flavour && i < 2; i++)
        must_be(spool_try_put(s->a, &v), 0);
    if (flavour != SPOOL_UNBOUNDED) {
        must_be(spool_try_put(s->a, &v), -EAGAIN);
        must(!fd_readable(s->result));
    }
    let_put(s->a);
    wait_there(s->a);
    if (flavour)
        must_be(spool_try_get(s->a, &v), 0);
    must(fd_readable(s->result));
    if (!flavour)
        must_be(spool_try_put(s->a, &v), 0);
    done_with(s->a);
}

static void end_nothing(struct scene *s)
{
    (void)s;
}

/* What needs memory, in the first place; what needs descriptors follows. */
static const struct operation operations[] = {
    {"chan_new", make_nothing, op_chan_new, check_sentinels, use_a, end_nothing},
    {"chan_new, large", make_nothing, op_chan_new_large, check_sentinels, use_a, end_nothing},
    {"pair_new", make_nothing, op_pair_new, check_sentinels, use_a_and_b, end_nothing},
    {"go", make_nothing, op_go, check_go, use_go, end_nothing},
    {"select_new", make_nothing, op_select_new, check_sentinels, use_select, end_nothing},
    {"select_get", make_select, op_select_get, check_select, use_select_get, end_select},
    {"select_put", make_select, op_select_put, check_select, use_select_put, end_select},
    {"select_fd", make_select, op_select_fd, check_select, use_select_fd, end_select},
    {"select_poll_fd", make_select, op_poll_fd, check_select, use_poll_fd, end_select},
    {"select_enable", make_select, op_enable, check_enable, use_enable, end_select},
    {"fd", make_chan, op_fd, check_chan, use_fd, end_chan},
    {"put_fd", make_chan, op_put_fd, check_chan, use_put_fd, end_chan},
};

enum { N_OPERATIONS = sizeof(operations) / sizeof(*operations) };
enum { FIRST_WITH_FD = 4, FIRST_WITHOUT_MEMORY = 8, OP_GO = 3, OP_ENABLE = 9 };

static int try_op(const struct operation *o, struct scene *s)
{
    int rc;
    int after;

    errno = ODD_ERRNO;
    rc = o->op(s);
    after = errno;
    if (after != ODD_ERRNO)
        ck_abort_msg("%s: errno is %d after %d", o->name, after, rc);
    return rc;
}

static void must_fail(const struct operation *o, int rc, int want, long at)
{
    if (rc != want)
        ck_abort_msg("%s, the %ldth thing failing: %d, not %d", o->name, at, rc, want);
}

/* ---- Memory --------------------------------------------------------------------------------------------------- */

/*
 * The first allocation fails, then the second, and so on, until there are no more. Each time the operation is tried
 * twice: on the same things after a failure it works.
 */
START_TEST(test_no_memory)
{
    int op = _i % N_OPERATIONS;
    const struct operation *o = &operations[op];
    int fds = count_fds();
    int threads = count_threads();
    long live = atomic_load(&mem_live);
    long k;

    flavour = flavours[_i / N_OPERATIONS];
    world_begin();
    for (k = 0;; k++) {
        struct scene s;
        long before;
        int fds_before;
        bool failed;

        memset(&s, 0, sizeof(s));
        o->make(&s);
        before = atomic_load(&mem_live);
        fds_before = count_fds();
        mem_left = k;
        s.result = try_op(o, &s);
        failed = mem_left == NEVER;
        mem_left = NEVER;
        if (!failed)
            must(s.result >= 0);
        if (s.result < 0) {
            must_fail(o, s.result, -ENOMEM, k);
            /* A select may keep room it made for more cases, and a channel its descriptor, until they go. */
            if (o->make != make_select) {
                must_be(atomic_load(&mem_live), before);
                must_be(count_fds(), fds_before);
            }
            o->check(&s);
            world_check();
            s.result = try_op(o, &s);
            must(s.result >= 0);
        }
        o->used(&s);
        world_check();
        o->end(&s);
        if (!failed)
            break;
        if (op == OP_GO)
            break; /* the thread that is kept now would be used: test_no_memory_for_go goes on */
    }
    if (op < FIRST_WITHOUT_MEMORY && op != OP_GO && k == 0)
        ck_abort_msg("%s: no allocation seen: are the calls wrapped?", o->name);
    world_end();
    must_be(count_fds(), fds);
    if (op != OP_GO) {
        must_be(atomic_load(&mem_live), live);
        wait_until(count_threads() == threads); /* one that was joined may still be on its way out */
    }
}
END_TEST

/* As above for spool_go, where each try needs a process without idle threads: the k-th allocation fails. */
START_TEST(test_no_memory_for_go)
{
    int fds = count_fds();
    int threads = count_threads();
    long live = atomic_load(&mem_live);
    struct scene s;
    int rc;
    bool failed;

    memset(&s, 0, sizeof(s));
    flavour = flavours[_i % N_FLAVOURS];
    make_nothing(&s);
    mem_left = _i / N_FLAVOURS;
    rc = try_op(&operations[OP_GO], &s);
    failed = mem_left == NEVER;
    mem_left = NEVER;
    must(failed || _i >= N_FLAVOURS);
    must_be(rc, failed ? -ENOMEM : 0);
    if (failed) {
        check_go(&s);
        must_be(atomic_load(&mem_live), live);
        must_be(count_threads(), threads);
        must_be(count_fds(), fds);
        must_be(op_go(&s), 0);
    }
    use_go(&s);
    must_be(count_fds(), fds);
}
END_TEST

/* A select that grows: each allocation on the way to many cases fails once, and the cases that are there go on. */
START_TEST(test_no_memory_to_grow)
{
    enum { N = 100 };
    long live = atomic_load(&mem_live);
    int fds = count_fds();
    spool_chan *c[N];
    uint64_t v[N];
    spool_select *sel = NULL;
    long failures = 0;

    must_be(spool_select_new(&sel), 0);
    for (int i = 0; i < N; i++) {
        int rc;

        must_be(spool_chan_new(&c[i], 8, flavours[_i]), 0);
        for (long k = 0;; k++) {
            mem_left = k;
            rc = spool_select_get(sel, c[i], &v[i]);
            mem_left = NEVER;
            if (rc >= 0)
                break;
            must_be(rc, -ENOMEM);
            failures++;
            must_be(spool_select_wait(sel, 0), i ? -EAGAIN : -ENODATA);
            for (int j = 0; j < i; j += flavours[_i] ? 7 : 29) {
                uint64_t out = (uint64_t)(i * N + j);

                let_get(c[j], out);
                must_be(spool_select_wait(sel, DEADLINE), j);
                must_be(v[j], out);
                done_with(c[j]);
            }
        }
        must_be(rc, i);
    }
    must(failures >= 4);
    spool_select_free(sel);
    for (int i = 0; i < N; i++)
        spool_unref(c[i]);
    must_be(count_fds(), fds);
    must_be(atomic_load(&mem_live), live);
}
END_TEST

static int exchange(struct worker *w)
{
    uint64_t v;
    int rc;

    mem_left = 0;
    mem_stays_out = true;
    while ((rc = spool_get(w->chan, &v)) == 0) {
        v++;
        must_be(spool_put(w->chan, &v), 0);
    }
    must_be(rc, -EPIPE);
    mem_left = NEVER;
    return 0;
}

/* What exists works without any memory or descriptor to be had: nothing but making things asks for more. */
START_TEST(test_nothing_left)
{
    spool_chan *a = NULL;
    spool_chan *b = NULL;
    spool_select *sel = NULL;
    struct worker w = {0};
    struct scene s;
    long asked;
    uint64_t v = 0;
    uint64_t out = 0;

    world_begin();
    flavour = flavours[_i];
    must_be(spool_pair_new(&a, &b, 8, flavour == 2 ? 1 : flavour), 0);
    must_be(spool_select_new(&sel), 0);
    must_be(spool_select_get(sel, a, &v), 0);
    must_be(spool_select_put(sel, a, &out), 1);
    w.chan = b;
    worker_start(&w, exchange);
    worker_wait_asleep(&w);
    fds_allow(0);
    asked = mem_asked;
    mem_left = 0;
    mem_stays_out = true;
    for (uint64_t i = 0; i < 2000; i++) {
        out = i;
        if (i % 2) {
            must_be(spool_put(a, &i), 0);
            if (i % 3 == 0)
                must_be(spool_get(a, &v), 0);
            else
                must_be(spool_get_for(a, &v, DEADLINE), 0);
        } else {
            must_be(spool_select_enable(sel, 1, true), 0);
            must_be(spool_select_wait(sel, DEADLINE), 1);
            must_be(spool_select_enable(sel, 1, false), 0);
            must_be(spool_select_wait(sel, DEADLINE), 0);
        }
        must_be(v, i + 1);
    }
    must_be(spool_set_name(a, "name"), 0);
    must_be(spool_get_for(a, &v, MS), -ETIMEDOUT);
    must_be(mem_asked, asked);

    memset(&s, 0, sizeof(s));
    make_nothing(&s);
    must_be(op_chan_new(&s), -ENOMEM);
    must_be(op_pair_new(&s), -ENOMEM);
    must_be(op_go(&s), -ENOMEM);
    must_be(op_select_new(&s), -ENOMEM);
    check_sentinels(&s);
    must_be(spool_fd(bystander.chan) >= 0, true); /* the select has made it */
    must_be(spool_put_fd(bystander.chan), -EMFILE);
    world_check();

    must_be(spool_close(a), 0);
    must_be(spool_select_wait(sel, DEADLINE), 0);
    must_be(spool_select_result(sel, 0), -EPIPE);
    must_be(spool_select_wait(sel, 0), -ENODATA);
    must_be(worker_join(&w), 0);
    mem_left = NEVER;
    mem_stays_out = false;
    fds_restore();
    spool_select_free(sel);
    spool_unref(a);
    spool_unref(b);
    world_end();
}
END_TEST

/* ---- Pages ---------------------------------------------------------------------------------------------------- */

static void no_pages(void)
{
    mmap_fails_each = 1;
}

static void pages_again(void)
{
    mmap_fails_each = 0;
}

/* Puts until there is no memory. Returns how many went; each way to put says so, and leaves the element as it was. */
static uint64_t put_until_no_memory(spool_chan *c, uint64_t first)
{
    size_t size = spool_elem_size(c);
    char elem[4096];
    uint64_t n;
    int rc;

    no_pages();
    for (n = first;; n++) {
        elem_fill(elem, size, n);
        rc = spool_try_put(c, elem);
        if (rc < 0)
            break;
    }
    must_be(rc, -ENOMEM);
    errno = ODD_ERRNO;
    must_be(spool_put(c, elem), -ENOMEM);
    must_be(spool_put_for(c, elem, 0), -ENOMEM);
    must_be(spool_put_for(c, elem, SEC), -ENOMEM);
    must_be(spool_put_many(c, elem, 1, -1), -ENOMEM);
    must_be(errno, ODD_ERRNO);
    must(elem_is(elem, size, n));
    must(spool_alive(c));
    pages_again();
    return n;
}

static atomic_size_t pages_dropped;

static void count_drop(void *elem)
{
    (void)elem;
    atomic_fetch_add(&pages_dropped, 1);
}

/* Without pages an unbounded channel takes what it has room for and then says so; all it took is still got, in order. */
START_TEST(test_no_pages)
{
    static const size_t sizes[] = {0, 1, 8, 24, 100, 4096};
    size_t size = sizes[_i];
    spool_chan *c = NULL;
    uint64_t got = 0;
    uint64_t put = 0;
    char elem[4096];

    /* The first ones need none. */
    no_pages();
    must_be(spool_chan_new(&c, size, SPOOL_UNBOUNDED), 0);
    must_be(spool_set_drop(c, count_drop), 0);
    for (int round = 0; round < 20; round++) {
        uint64_t now = put_until_no_memory(c, put);

        must(round > 0 || now > 0 || size > 2000); /* the first piece is small */
        put = now;
        must_be(spool_len(c), put - got);
        /* Some go, some come: without memory in vain or not, but never lost. */
        for (int i = 0; i < round && got < put; i++) {
            must_be(spool_try_get(c, elem), 0);
            must(elem_is(elem, size, got));
            got++;
        }
        put = put_until_no_memory(c, put);
        must_be(spool_len(c), put - got);
        /* With it again: over the end of this piece, sometimes far. */
        for (uint64_t i = round % 4 == 3 ? 3000 : 1; i > 0; i--) {
            elem_fill(elem, size, put);
            must_be(spool_put(c, elem), 0);
            put++;
        }
        for (uint64_t left = round % 3 == 0 ? 0 : 17; put - got > left; got++) {
            must_be(spool_get(c, elem), 0);
            must(elem_is(elem, size, got));
        }
        must_be(spool_len(c), put - got);
    }
    put = put_until_no_memory(c, put);
    /* A close needs none, and refuses every put from then on. */
    no_pages();
    must_be(spool_close(c), 0);
    must_be(spool_try_put(c, elem), -EPIPE);
    must_be(spool_put_many(c, elem, 1, -1), -EPIPE);
    for (; put - got > 5; got++) {
        must_be(spool_get(c, elem), 0);
        must(elem_is(elem, size, got));
    }
    spool_unref(c);
    must_be(atomic_load(&pages_dropped), put - got);
    pages_again();
}
END_TEST

/* A put case says -ENOMEM as its result, stays, and puts the element when there is memory. */
START_TEST(test_no_pages_for_a_select)
{
    bool in_order = _i % 2;
    bool twice = _i / 2;
    uint64_t v = 0;
    uint64_t in = 0;
    uint64_t put;
    spool_chan *c = NULL;
    spool_chan *other = NULL;
    spool_select *sel = NULL;
    int fd;

    must_be(spool_chan_new(&c, 8, SPOOL_UNBOUNDED), 0);
    must_be(spool_chan_new(&other, 8, 2), 0);
    must_be(spool_select_new(&sel), 0);
    must_be(spool_select_set_order(sel, in_order ? SPOOL_IN_ORDER : SPOOL_FAIR), 0);
    must_be(spool_select_put(sel, c, &v), 0);
    must_be(spool_select_get(sel, other, &in), 1);
    if (twice)
        must_be(spool_select_put(sel, c, &v), 2);
    fd = spool_select_poll_fd(sel);
    must(fd >= 0);
    put = put_until_no_memory(c, 0);
    for (int round = 0; round < 3; round++) {
        uint64_t next;

        no_pages();
        for (int i = 0; i < 4; i++) {
            int index;

            v = put;
            must(fd_readable(fd));
            errno = ODD_ERRNO;
            index = spool_select_wait(sel, i % 2 ? 0 : -1);
            must_be(errno, ODD_ERRNO);
            must(index == 0 || (twice && index == 2));
            must_be(spool_select_result(sel, index), -ENOMEM);
            must_be(v, put);
            must_be(spool_len(c), put);
        }
        /* It hides nobody else: with the others off, what is ready is done. */
        next = 70 + (uint64_t)round;
        must_be(spool_try_put(other, &next), 0);
        must_be(spool_select_enable(sel, 0, false), 0);
        if (twice)
            must_be(spool_select_enable(sel, 2, false), 0);
        must_be(spool_select_wait(sel, -1), 1);
        must_be(in, next);
        must_be(spool_select_wait(sel, 0), -EAGAIN);
        must_be(spool_select_enable(sel, 0, true), 0);
        if (twice)
            must_be(spool_select_enable(sel, 2, true), 0);
        pages_again();
        int index = spool_select_wait(sel, 0);
        must(index == 0 || (twice && index == 2));
        must_be(spool_select_result(sel, index), 0);
        put++;
        must_be(spool_len(c), put);
        put = put_until_no_memory(c, put);
    }
    for (uint64_t i = 0; i < put; i++) {
        must_be(spool_try_get(c, &v), 0);
        must_be(v, i);
    }
    must_be(spool_try_get(c, &v), -EAGAIN);
    spool_select_free(sel);
    spool_unref(c);
    spool_unref(other);
}
END_TEST

enum { PAGE_PUTTERS = 3, PAGE_GETTERS = 2 };

static struct {
    spool_chan *chan;
    size_t size;
    atomic_uchar *seen;
    atomic_size_t refused;
} pages;

static int put_with_few_pages(struct worker *w)
{
    char elem[64];

    mmap_fails_each = 2;
    for (uint64_t n = 0; n < w->count; n++) {
        uint64_t tag = w->index * w->count + n;
        int rc;

        elem_fill(elem, pages.size, tag);
        while ((rc = n % 2 ? spool_put(pages.chan, elem) : spool_try_put(pages.chan, elem)) == -ENOMEM)
            atomic_fetch_add(&pages.refused, 1);
        must_be(rc, 0);
        must(elem_is(elem, pages.size, tag));
    }
    mmap_fails_each = 0;
    return 0;
}

static int get_with_few_pages(struct worker *w)
{
    uint64_t next[PAGE_PUTTERS] = {0};
    char elem[64];
    int rc;

    mmap_fails_each = 1;
    while ((rc = spool_get(pages.chan, elem)) == 0) {
        uint64_t tag = elem_tag(elem);
        size_t putter = (size_t)(tag / w->count);

        must(putter < PAGE_PUTTERS && elem_is(elem, pages.size, tag));
        must(tag % w->count >= next[putter]);
        next[putter] = tag % w->count + 1;
        must_be(atomic_fetch_add(&pages.seen[tag], 1), 0);
    }
    must_be(rc, -EPIPE);
    return 0;
}

/* Many threads, and every other mapping fails: what was refused is tried again, and each element is got once. */
START_TEST(test_pages_come_and_go)
{
    struct worker w[PAGE_PUTTERS + PAGE_GETTERS];
    size_t each = scaled(100000) + 20000;

    memset(w, 0, sizeof(w));
    pages.size = _i ? 24 : 8;
    must_be(spool_chan_new(&pages.chan, pages.size, SPOOL_UNBOUNDED), 0);
    pages.seen = calloc(PAGE_PUTTERS * each, 1);
    must(pages.seen);
    for (size_t i = 0; i < PAGE_PUTTERS + PAGE_GETTERS; i++) {
        w[i].index = i;
        w[i].count = each;
        worker_start(&w[i], i < PAGE_PUTTERS ? put_with_few_pages : get_with_few_pages);
    }
    for (size_t i = 0; i < PAGE_PUTTERS; i++)
        must_be(worker_join(&w[i]), 0);
    must_be(spool_close(pages.chan), 0);
    for (size_t i = 0; i < PAGE_GETTERS; i++)
        must_be(worker_join(&w[PAGE_PUTTERS + i]), 0);
    for (size_t i = 0; i < PAGE_PUTTERS * each; i++)
        must_be(atomic_load(&pages.seen[i]), 1);
    must(atomic_load(&pages.refused) > 0);
    free(pages.seen);
    spool_unref(pages.chan);
}
END_TEST

/* ---- Descriptors ---------------------------------------------------------------------------------------------- */

/* No descriptor, then one, and so on, until the operation has enough. */
START_TEST(test_no_descriptor)
{
    const struct operation *o = &operations[FIRST_WITH_FD + _i % (N_OPERATIONS - FIRST_WITH_FD)];
    int fds = count_fds();
    int k;

    flavour = flavours[_i / (N_OPERATIONS - FIRST_WITH_FD)];
    world_begin();
    for (k = 0;; k++) {
        struct scene s;

        memset(&s, 0, sizeof(s));
        o->make(&s);
        fds_allow(k);
        s.result = try_op(o, &s);
        if (s.result >= 0) {
            fds_restore();
            o->used(&s);
            o->end(&s);
            break;
        }
        must_fail(o, s.result, -EMFILE, k);
        if (o->make == make_select) {
            struct scene other;

            fds_restore();
            memset(&other, 0, sizeof(other));
            o->make(&other);
            fds_allow(k);
            must_be(try_op(o, &other), -EMFILE);
            fds_restore();
            abandon_select(&other);
            drop_scene = &s;
            fds_allow(k);
        }
        o->check(&s);
        world_check();
        /* Still none: it fails in the same way, and has used up nothing meanwhile. */
        must_be(try_op(o, &s), -EMFILE);
        fds_restore();
        s.result = try_op(o, &s);
        must(s.result >= 0);
        o->used(&s);
        o->end(&s);
    }
    must(k > 0 || o->op == op_select_fd || o->op == op_enable);
    world_end();
    must_be(count_fds(), fds);
}
END_TEST

/* Making channels, pairs and threads takes no descriptor at all. */
START_TEST(test_needs_no_descriptor)
{
    struct scene s;

    flavour = flavours[_i];
    world_begin();
    fds_allow(0);
    for (int i = 0; i < FIRST_WITH_FD; i++) {
        memset(&s, 0, sizeof(s));
        operations[i].make(&s);
        s.result = try_op(&operations[i], &s);
        must(s.result >= 0);
        operations[i].used(&s);
        operations[i].end(&s);
    }
    fds_restore();
    world_end();
}
END_TEST

/* ---- What the kernel says is passed on ------------------------------------------------------------------------ */

static void fails_with(int index, int *switch_, int error)
{
    const struct operation *o = &operations[index];
    int fds = count_fds();
    long live = atomic_load(&mem_live);
    struct scene s;

    memset(&s, 0, sizeof(s));
    o->make(&s);
    for (int again = 0; again < 3; again++) {
        *switch_ = error;
        s.result = try_op(o, &s);
        *switch_ = 0;
        must_fail(o, s.result, -error, again);
        o->check(&s);
        world_check();
    }
    s.result = try_op(o, &s);
    must(s.result >= 0);
    o->used(&s);
    o->end(&s);
    if (o->make == make_select) {
        memset(&s, 0, sizeof(s));
        o->make(&s);
        *switch_ = error;
        must_fail(o, try_op(o, &s), -error, 0);
        *switch_ = 0;
        abandon_select(&s);
    }
    must_be(count_fds(), fds);
    if (index != OP_GO)
        must_be(atomic_load(&mem_live), live);
}

START_TEST(test_kernel_says)
{
    static const int errors[] = {EMFILE, ENFILE, ENOMEM};

    flavour = flavours[_i];
    world_begin();
    for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
        for (int op = FIRST_WITH_FD; op < N_OPERATIONS; op++) {
            if (operations[op].op == op_select_new)
                fails_with(op, &epoll_create_error, errors[i]);
            else if (operations[op].op != op_select_fd && operations[op].op != op_enable)
                fails_with(op, &eventfd_error, errors[i]);
        }
    }
    world_end();
}
END_TEST

START_TEST(test_epoll_says)
{
    static const int errors[] = {ENOSPC, ENOMEM};

    flavour = flavours[_i];
    world_begin();
    for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
        for (int op = FIRST_WITH_FD; op < N_OPERATIONS; op++) {
            if (operations[op].make == make_select)
                fails_with(op, &epoll_ctl_error, errors[i]);
        }
    }
    world_end();
}
END_TEST

/* No thread can be made: nothing is started, nothing waited for, and idle threads are still used. */
START_TEST(test_no_thread)
{
    static const int errors[] = {EAGAIN, ENOMEM};
    int threads = count_threads();
    int fds;
    struct scene s;

    flavour = flavours[_i];
    world_begin();
    fds = count_fds();
    for (size_t i = 0; i < 2; i++) {
        memset(&s, 0, sizeof(s));
        make_nothing(&s);
        thread_error = errors[i];
        for (int again = 0; again < 100; again++) {
            long live = atomic_load(&mem_live);
            sigset_t before;
            sigset_t after;

            must_be(pthread_sigmask(SIG_SETMASK, NULL, &before), 0);
            must_be(try_op(&operations[OP_GO], &s), -errors[i]);
            must_be(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
            for (int signo = 1; signo < 32; signo++)
                must_be(sigismember(&after, signo), sigismember(&before, signo));
            check_go(&s);
            must_be(atomic_load(&mem_live), live);
            must_be(count_threads(), threads);
            must_be(count_fds(), fds);
            world_check();
        }
    }
    thread_error = 0;
    must_be(op_go(&s), 0);
    use_go(&s);
    wait_until(count_threads() == threads + 1);
    world_end();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("faults");
    TCase *tc = case_new(s, "memory");

    tcase_add_loop_test(tc, test_no_memory, 0, N_FLAVOURS * N_OPERATIONS);
    tcase_add_loop_test(tc, test_no_memory_for_go, 0, 4 * N_FLAVOURS);
    tcase_add_loop_test(tc, test_no_memory_to_grow, 0, N_FLAVOURS);
    tcase_add_loop_test(tc, test_nothing_left, 0, N_FLAVOURS);
    tcase_add_loop_test(tc, test_no_pages, 0, 6);
    tcase_add_loop_test(tc, test_no_pages_for_a_select, 0, 4);
    tcase_add_loop_test(tc, test_pages_come_and_go, 0, 2);

    tc = case_new(s, "descriptors");
    tcase_add_loop_test(tc, test_no_descriptor, 0, N_FLAVOURS * (N_OPERATIONS - FIRST_WITH_FD));
    tcase_add_loop_test(tc, test_needs_no_descriptor, 0, N_FLAVOURS);

    tc = case_new(s, "kernel");
    tcase_add_loop_test(tc, test_kernel_says, 0, N_FLAVOURS);
    tcase_add_loop_test(tc, test_epoll_says, 0, N_FLAVOURS);
    tcase_add_loop_test(tc, test_no_thread, 0, N_FLAVOURS);
    return run_suite(s, "test_faults");
}
