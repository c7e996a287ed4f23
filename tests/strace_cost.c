/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Waits with one channel active and few or many registered, for strace.sh to count calls. usage: strace_cost NUMBER */
#include "strace_mark.h"

int main(int argc, char **argv)
{
    int registered = argc > 1 ? atoi(argv[1]) : 2;
    spool_chan **chans = calloc((size_t)registered, sizeof(*chans));
    uint64_t value = 0;
    spool_select *sel;
    if (!chans)
        return 1;
    need(spool_select_new(&sel), "spool_select_new");
    for (int i = 0; i < registered; i++) {
        chans[i] = chan_of(1);
        need(spool_select_get(sel, chans[i], &value), "spool_select_get");
    }
    if (spool_select_wait(sel, 0) != -EAGAIN)
        return 1;
    mark("begin waits");
    for (int i = 0; i < 500; i++) {
        need(spool_put(chans[registered / 2], &value), "spool_put");
        if (spool_select_wait(sel, -1) != registered / 2)
            return 1;
    }
    mark("end waits");
    spool_select_free(sel);
    for (int i = 0; i < registered; i++)
        spool_unref(chans[i]);
    free(chans);
    return 0;
}
