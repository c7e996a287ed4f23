/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * What an idle channel takes: memory and descriptors, of many channels made one after the other.
 *
 *     bounded-16     8-byte elements, capacity 16
 *     rendezvous     8-byte elements
 *     unbounded      8-byte elements
 *     pair-16        both directions, 8-byte elements, capacity 16
 *     million        1,000,000 as bounded-16, in use once
 *
 * Figures for each channel: asked, bytes that the library asked the allocator for; calls, how often; rss and pss, what
 * the kernel says the process grew by; fds. "used" is the same after one message through each channel. ring is what
 * 16 slots of sequence and value take, over is asked less ring, so that a goal for the rest can be seen.
 *
 * The array of handles is touched before. What the library maps by itself is in rss, not in asked.
 * Options: n=CHANNELS.
 */
#define _GNU_SOURCE
#include <dirent.h>

#include "special.h"

enum { BOUNDED, RENDEZVOUS, UNBOUNDED, PAIR, MILLION };
enum { CAPACITY = 16, SLOT = 16 };

/* ---- Counting the allocator's work ---------------------------------------------------------------------------- */

static bool counting;

/* A sanitizer has an allocator of its own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS 0
#elif defined(__has_feature)
#if defined(__GLIBC__) && !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
#define COUNTS 1
#endif
#elif defined(__GLIBC__)
#define COUNTS 1
#endif

#if COUNTS
static size_t asked, calls;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t align, size_t size);

static void count(size_t bytes)
{
    asked += counting ? bytes : 0;
    calls += counting;
}

void *malloc(size_t size)
{
    count(size);
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    count(n * size);
    return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    count(size);
    return __libc_realloc(old, size);
}

void *aligned_alloc(size_t align, size_t size)
{
    count(size);
    return __libc_memalign(align, size);
}

int posix_memalign(void **ret, size_t align, size_t size)
{
    count(size);
    void *p = __libc_memalign(align, size);
    if (!p)
        return ENOMEM;
    *ret = p;
    return 0;
}
#endif

/* ---- What the kernel says ------------------------------------------------------------------------------------- */

struct use {
    double rss, pss;
    long fds;
};

static double smaps(const char *line, const char *key)
{
    size_t len = strlen(key);
    unsigned long kib;
    return strncmp(line, key, len) == 0 && sscanf(line + len, ": %lu kB", &kib) == 1 ? 1024.0 * (double)kib : 0;
}

static struct use look(void)
{
    struct use u = {0};
    char line[256];
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    if (!f)
        skip("no /proc/self/smaps_rollup: %s", strerror(errno));
    while (fgets(line, sizeof line, f)) {
        u.rss += smaps(line, "Rss");
        u.pss += smaps(line, "Pss");
    }
    fclose(f);
    DIR *d = opendir("/proc/self/fd");
    if (!d)
        skip("no /proc/self/fd: %s", strerror(errno));
    for (struct dirent *e; (e = readdir(d));)
        u.fds += e->d_name[0] != '.';
    closedir(d);
    return u;
}

static void tell(const char *when, struct use before, struct use after, double n)
{
    figure((after.rss - before.rss) / n, "%s.rss", when);
    figure((after.pss - before.pss) / n, "%s.pss", when);
    figure((double)(after.fds - before.fds) / n, "%s.fds", when);
}

/* ---- The channels --------------------------------------------------------------------------------------------- */

static void make(long kind, spool_chan **a, spool_chan **b)
{
    size_t capacity = kind == RENDEZVOUS ? 0 : kind == UNBOUNDED ? SPOOL_UNBOUNDED : CAPACITY;
    int r = kind == PAIR ? spool_pair_new(a, b, sizeof(uint64_t), capacity)
                         : spool_chan_new(a, sizeof(uint64_t), capacity);
    if (r == -ENOMEM)
        skip("out of memory");
    need(r, "making a channel");
}

/* One message, and nothing is left. A rendezvous has nobody to meet. */
static void use(spool_chan *in, spool_chan *out, uint64_t sent, bool meets)
{
    uint64_t got;
    int r = spool_try_put(in, &sent);
    if (meets) {
        if (r != -EAGAIN)
            wrong("spool_try_put returned %d", r);
        return;
    }
    need(r, "spool_try_put");
    need(spool_try_get(out, &got), "spool_try_get");
    if (got != sent || spool_try_get(out, &got) != -EAGAIN)
        wrong("message %llu came as %llu, or twice", (unsigned long long)sent, (unsigned long long)got);
}

static void run(long kind)
{
    static char out[BUFSIZ]; /* or stdio's would lie above the channels and hold the heap up */
    setvbuf(stdout, out, _IOLBF, sizeof out);
    size_t n = (size_t)option("n", kind == MILLION ? 1000000 : kind == UNBOUNDED ? 10000 : 100000);
    if (n == 0)
        special_end(2, "n is 0");
    spool_chan **a = zalloc(n, sizeof *a), **b = zalloc(n, sizeof *b);
    memset(a, 1, n * sizeof *a);
    memset(b, 1, n * sizeof *b);
    spool_chan *warm, *other = NULL;
    make(kind, &warm, &other);
    use(warm, other ? other : warm, 0, kind == RENDEZVOUS);
    (void)look();

    struct use before = look();
    counting = true;
    for (size_t i = 0; i < n; i++)
        make(kind, &a[i], &b[i]);
    counting = false;
    struct use made = look();
    for (size_t i = 0; i < n; i++)
        use(a[i], kind == PAIR ? b[i] : a[i], i + 1, kind == RENDEZVOUS);
    struct use used = look();

#if COUNTS
    double each = (double)asked / (double)n, rings = kind == PAIR ? 2 : kind == BOUNDED || kind == MILLION ? 1 : 0;
    figure(each, "asked");
    figure((double)calls / (double)n, "calls");
    figure(rings * CAPACITY * SLOT, "ring");
    figure(each - rings * CAPACITY * SLOT, "over");
#endif
    tell("made", before, made, (double)n);
    tell("used", before, used, (double)n);
    figure((double)n, "channels");
    figure((used.rss - before.rss) / (double)(1 << 20), "total_mib");

    int64_t start = now_ns();
    for (size_t i = 0; i < n; i++) {
        spool_unref(a[i]);
        if (kind == PAIR)
            spool_unref(b[i]);
    }
    figure((double)(now_ns() - start) / (double)n, "free_ns");
    tell("freed", before, look(), (double)n);
    spool_unref(warm);
    spool_unref(other);
    free(a);
    free(b);
}

static const struct cell cells[] = {
    {"bounded-16", run, BOUNDED}, {"rendezvous", run, RENDEZVOUS}, {"unbounded", run, UNBOUNDED},
    {"pair-16", run, PAIR},       {"million", run, MILLION},
};

SPECIAL_MAIN("memory and descriptors of idle channels", cells)
