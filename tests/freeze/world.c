/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "world.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Who has put and got what, and what may come next. */

#define WRONG_STATUS 3

const char *class_name(enum class class)
{
    static const char *const names[N_CLASSES] = {"base", "victim's", "handler's", "other's", "crew's"};
    return names[class];
}

void world_wrong(struct world *w, const char *format, ...)
{
    struct report *r = w->report;
    uint32_t none = 0;
    if (__atomic_compare_exchange_n(&r->wrong, &none, 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(r->text, sizeof r->text, format, args);
        va_end(args);
        _exit(WRONG_STATUS);
    }
    for (;;)
        pause();
}

void nap(void)
{
    struct timespec ts = {0, 50000};
    nanosleep(&ts, NULL);
}

bool task_asleep(pid_t tid)
{
    char path[64], buf[256];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, buf, sizeof buf - 1);
    if (fd >= 0)
        close(fd);
    buf[n > 0 ? n : 0] = '\0';
    const char *paren = strrchr(buf, ')');
    return paren && paren[1] == ' ' && paren[2] == 'S';
}

/* ---- Elements --------------------------------------------------------------------------------------------------- */

void elem_make(const struct world *w, uint64_t id, void *ret)
{
    uint64_t words[3] = {id, ~id, id * UINT64_C(0x9e3779b97f4a7c15)};
    memcpy(ret, words, w->scene->kind->elem_size);
}

uint64_t elem_read(struct world *w, const void *elem)
{
    uint64_t words[3];
    unsigned char whole[ELEM_MAX];
    memcpy(words, elem, w->scene->kind->elem_size);
    elem_make(w, words[0], whole);
    if (memcmp(elem, whole, w->scene->kind->elem_size) != 0)
        world_wrong(w, "an element of pieces: %#" PRIx64 " %#" PRIx64 " %#" PRIx64, words[0], words[1], words[2]);
    return words[0];
}

void world_base_is_over(struct world *w, const char *why)
{
    uint32_t left = w->put[BASE] - w->next[BASE];
    if (left == 0)
        return;
    if (w->base_begun || left > w->may_miss)
        world_wrong(w, "%s, but %u of the elements put before were not got, from number %u on", why, left,
                    w->next[BASE]);
    w->next[BASE] = w->put[BASE];
}

_Noreturn void world_wrong_elem(struct world *w, unsigned class, uint32_t n)
{
    world_wrong(w, "got %s element %u, when %u had been got and %u put of its kind", class_name((enum class) class), n,
                w->next[class], w->put[class]);
}

/* Notes that it was got once. */
unsigned world_book(struct world *w, const void *elem, uint32_t *ret_n)
{
    uint64_t id = elem_read(w, elem);
    uint32_t n = (uint32_t)id;
    unsigned class = (unsigned)(id >> 32) - 1;
    if (class >= N_CLASSES || n >= IDS_MAX)
        world_wrong(w, "got %#" PRIx64 ", which nobody has put", id);
    if (n >= w->put[class])
        world_wrong_elem(w, class, n);
    if (w->got[class][n])
        world_wrong(w, "got %s element %u twice", class_name((enum class) class), n);
    w->got[class][n] = true;
    *ret_n = n;
    return class;
}

void world_got(struct world *w, const void *elem)
{
    uint32_t n;
    unsigned class = world_book(w, elem, &n);
    if (class == BASE) {
        if (!w->base_begun && n > w->next[BASE] && n - w->next[BASE] <= w->may_miss)
            w->next[BASE] = n;
        w->base_begun = true;
    } else {
        world_base_is_over(w, "another came");
    }
    /* Those of the crew come as the crew is woken. */
    if (n != w->next[class] && class != CREWS)
        world_wrong_elem(w, class, n);
    if (class != OTHER && w->next[OTHER] > 0 && class != CREWS)
        world_wrong(w, "got %s element %u behind one that was put when its putter had stopped",
                    class_name((enum class) class), n);
    w->next[class] = n + 1;
}
