/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Puts and gets with nobody waiting, between marks: strace.sh sees no call between "begin" and "end". */
#include "strace_mark.h"

static void move(const char *name, spool_chan *in, spool_chan *out)
{
    char text[64], elem[64] = "";
    snprintf(text, sizeof(text), "begin %s", name);
    mark(text);
    for (int i = 0; i < 1000; i++) {
        int r = spool_put(in, elem);
        r = r ? r : spool_put_for(in, elem, 1000000);
        r = r ? r : spool_try_put(in, elem);
        r = r ? r : spool_get(out, elem);
        r = r ? r : spool_get_for(out, elem, 1000000);
        r = r ? r : spool_try_get(out, elem);
        need(r, name);
        if (spool_try_get(out, elem) != -EAGAIN)
            need(-EINVAL, "an empty channel");
    }
    snprintf(text, sizeof(text), "end %s", name);
    mark(text);
}

int main(void)
{
    const size_t sizes[] = {0, 1, 8, 24, 64};
    spool_chan *chan, *other;
    uint64_t value;
    for (int i = 0; i < 5; i++) {
        char name[32];
        snprintf(name, sizeof(name), "size%zu", sizes[i]);
        need(spool_chan_new(&chan, sizes[i], 3), "spool_chan_new");
        move(name, chan, chan);
        spool_unref(chan);
    }
    need(spool_pair_new(&chan, &other, 8, 3), "spool_pair_new");
    move("pair", chan, other);
    spool_unref(chan);
    spool_unref(other);

    /* After others have waited and are gone. */
    spool_select *sel;
    chan = chan_of(3);
    if (spool_get_for(chan, &value, 1000) != -ETIMEDOUT)
        need(-EINVAL, "spool_get_for");
    move("after_timeout", chan, chan);
    need(spool_select_new(&sel), "spool_select_new");
    need(spool_select_get(sel, chan, &value), "spool_select_get");
    if (spool_select_wait(sel, 0) != -EAGAIN || spool_select_wait(sel, 1000) != -ETIMEDOUT)
        need(-EINVAL, "spool_select_wait");
    spool_select_free(sel);
    move("after_select", chan, chan);
    spool_unref(chan);

    /* Nested in another loop, all but the first of the waits that find something. */
    chan = chan_of(100);
    need(spool_select_new(&sel), "spool_select_new");
    need(spool_select_get(sel, chan, &value), "spool_select_get");
    need(spool_select_poll_fd(sel), "spool_select_poll_fd");
    if (spool_select_wait(sel, 0) != -EAGAIN)
        need(-EINVAL, "spool_select_wait");
    for (uint64_t i = 0; i < 100; i++)
        need(spool_put(chan, &i), "spool_put");
    need(spool_select_wait(sel, 0), "spool_select_wait");
    mark("begin nested");
    for (int i = 1; i < 100; i++)
        need(spool_select_wait(sel, 0), "spool_select_wait");
    mark("end nested");
    if (spool_select_wait(sel, 0) != -EAGAIN)
        need(-EINVAL, "spool_select_wait");
    spool_select_free(sel);
    spool_unref(chan);
    return 0;
}
