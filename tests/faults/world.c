/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "faults.h"

#include "plan.h"

#include <stdarg.h>

enum { OWN_ERRNO = 4321 };

void scene_wrong(const char *file, int line, const char *format, ...)
{
    va_list args;
    size_t used;
    bool first = false;
    if (atomic_compare_exchange_strong(&fault_shared->is_wrong, &first, true)) {
        used = (size_t)snprintf(fault_shared->wrong, sizeof(fault_shared->wrong), "%s:%d: ", file, line);
        va_start(args, format);
        vsnprintf(fault_shared->wrong + used, sizeof(fault_shared->wrong) - used, format, args);
        va_end(args);
    }
    _exit(1);
}

/* ---- Calls ---------------------------------------------------------------------------------------------------- */

void call_begin(const char *text, int line)
{
    atomic_store(&fault_shared->step, line);
    atomic_store(&fault_shared->said, text);
    (void)fault_fired_here();
    errno = OWN_ERRNO;
}

static void check_errno(const char *text, int line)
{
    if (errno != OWN_ERRNO)
        scene_wrong("scene", line, "%s has set errno to %d", text, errno);
}

static void check_untouched(const char *text, int line, const void *out, size_t bytes)
{
    const unsigned char *p = out;
    for (size_t i = 0; i < bytes; i++)
        if (p[i] != OUT_BYTE)
            scene_wrong("scene", line, "%s has failed and changed byte %zu of what it returns", text, i);
}

bool call_again(const char *text, int line, long result, const void *out, size_t bytes, int times)
{
    bool planned = false;
    check_errno(text, line);
    if (result >= 0)
        return false;
    if (out)
        check_untouched(text, line, out, bytes);
    if (!fault_fired_here())
        scene_wrong("scene", line, "%s is %ld, and %s", text, result,
                    times ? "went wrong again without a reason" : "has met no failure");
    for (int p = 0; p < 2; p++)
        if (atomic_load(&fault_shared->fired[p]) && fault_plans[p].rule->seen && result == -fault_plans[p].rule->seen)
            planned = true;
    if (!planned)
        scene_wrong("scene", line, "%s is %ld; the failure that it met may not make it that", text, result);
    world_check();
    return true;
}

void call_end(const char *text, int line, long result, const void *out, size_t bytes)
{
    check_errno(text, line);
    if (result < 0 && out)
        check_untouched(text, line, out, bytes);
}

bool scene_met(int call, const char *func)
{
    for (int p = 0; p < 2; p++) {
        const struct fault_plan *plan = &fault_plans[p];
        if (atomic_load(&fault_shared->fired[p]) && (int)plan->rule->call == call &&
            (!func || strcmp(fault_sites[plan->site]->func, func) == 0))
            return true;
    }
    return false;
}

/* ---- Elements ------------------------------------------------------------------------------------------------- */

static atomic_uchar put_times[TAGS], seen_times[TAGS];

void tags_put(uint64_t tag)
{
    must(tag < TAGS);
    atomic_fetch_add(&put_times[tag], 1);
}

void tags_got(uint64_t tag)
{
    must(tag < TAGS);
    atomic_fetch_add(&seen_times[tag], 1);
}

void tags_drop(void *elem)
{
    tags_got(*(uint64_t *)elem);
}

void tags_check(void)
{
    for (int i = 0; i < TAGS; i++)
        if (atomic_load(&put_times[i]) != atomic_load(&seen_times[i]))
            ck_abort_msg("element %d was put %u times, and got or dropped %u times", i, atomic_load(&put_times[i]),
                         atomic_load(&seen_times[i]));
}

/* ---- Bystanders ----------------------------------------------------------------------------------------------- */

static struct {
    spool_chan *bounded, *unbounded, *a, *b;
    spool_select *sel;
    int pipe[2];
    uint64_t into, next;
    int fds;
    long blocks, maps;
    bool lives;
} world;

static pthread_mutex_t world_lock = PTHREAD_MUTEX_INITIALIZER;

static void by_passes(spool_chan *put, spool_chan *get)
{
    uint64_t v = ++world.next, got = 0;
    must_be(spool_try_put(put, &v), 0);
    must_be(spool_try_get(get, &got), 0);
    must_be(got, v);
    must_be(spool_try_get(get, &got), -EAGAIN);
}

void world_check(void)
{
    uint64_t v;
    char byte = 0;
    if (!world.lives)
        return;
    must_be(pthread_mutex_lock(&world_lock), 0);
    by_passes(world.unbounded, world.unbounded);
    by_passes(world.a, world.b);
    by_passes(world.b, world.a);
    must_be(spool_select_wait(world.sel, 0), -EAGAIN);
    for (int i = 0; i < 2; i++) {
        v = ++world.next;
        must_be(spool_put(world.bounded, &v), 0);
        must_be(spool_select_wait(world.sel, DEADLINE), 0);
        must_be(spool_select_result(world.sel, 0), 0);
        must_be(world.into, v);
        must_be(write(world.pipe[1], &byte, 1), 1);
        must_be(spool_select_wait(world.sel, -1), 1);
        must_be(spool_select_result(world.sel, 1), EPOLLIN);
        must_be(read(world.pipe[0], &byte, 1), 1);
        must_be(spool_select_wait(world.sel, 200 * US), -ETIMEDOUT);
    }
    must_be(pthread_mutex_unlock(&world_lock), 0);
}

void world_begin(void)
{
    must_be(pipe2(world.pipe, O_CLOEXEC), 0);
    must_be(spool_chan_new(&world.bounded, sizeof(uint64_t), 4), 0);
    must_be(spool_chan_new(&world.unbounded, sizeof(uint64_t), SPOOL_UNBOUNDED), 0);
    must_be(spool_pair_new(&world.a, &world.b, sizeof(uint64_t), 1), 0);
    must_be(spool_select_new(&world.sel), 0);
    must_be(spool_select_get(world.sel, world.bounded, &world.into), 0);
    must_be(spool_select_fd(world.sel, world.pipe[0], EPOLLIN), 1);
    world.lives = true;
    world_check();
    world.fds = count_fds();
    world.blocks = atomic_load(&fault_blocks);
    world.maps = atomic_load(&fault_maps);
}

static bool threads_are_idle(void)
{
    return count_threads() == 1 + (int)atomic_load(&fault_workers);
}

void world_end(void)
{
    world_check();
    tags_check();
    wait_until(threads_are_idle());
    must_be(atomic_load(&fault_blocks), world.blocks);
    must_be(atomic_load(&fault_maps), world.maps);
    if (!world.lives)
        return;
    must_be(count_fds(), world.fds);
    world.lives = false;
    spool_select_free(world.sel);
    spool_unref(world.bounded);
    spool_unref(world.unbounded);
    spool_unref(world.a);
    spool_unref(world.b);
    must_be(count_fds(), world.fds - 2);
    must_be(atomic_load(&fault_blocks), 0);
    must_be(atomic_load(&fault_maps), 0);
}
