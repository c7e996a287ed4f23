/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "faults.h"

#include "scenes.h"

/* More than the registry has room for at first. */
enum { MANY = 100 };

static int dump_to_file(int fd)
{
    must_be(ftruncate(fd, 0), 0);
    must_be(lseek(fd, 0, SEEK_SET), 0);
    return spool_dump(fd);
}

/* Of every kind one, and many; a channel is made also where there is no memory to register it. */
void run_dump(void)
{
    spool_chan *many[MANY], *timer;
    spool_select *s = select_new();
    uint64_t v;
    int fd = memfd_create("dump", MFD_CLOEXEC);
    must(fd >= 0);
    for (int i = 0; i < MANY; i++)
        many[i] = chan_new(i % 3 == 0 ? 4 : i % 3 == 1 ? SPOOL_UNBOUNDED : 0);
    must_be(MAY_FAIL_OUT(timer, spool_after(&timer, -1)), 0);
    must_be(MAY_FAIL(spool_select_get(s, many[0], &v)), 0);
    put_sure(many[0], 0);
    must_be(MAY_FAIL(dump_to_file(fd)), 0);
    get_sure(many[0], 0);
    SURE_DONE(spool_select_free(s));
    SURE_DONE(spool_unref(timer));
    for (int i = 0; i < MANY; i++)
        SURE_DONE(spool_unref(many[i]));
    close(fd);
}
