/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_FAULTS_SCENES_H
#define SPOOL_FAULTS_SCENES_H

/* What scenes share. Include it after faults.h. */

#define WAIT (300 * US)

/* It says so, and never early. */
#define TIMES_OUT(call)                                                                                                \
    do {                                                                                                               \
        int64_t times_start_ = now_ns();                                                                               \
        must_be(call, -ETIMEDOUT);                                                                                     \
        must(now_ns() - times_start_ >= WAIT);                                                                         \
    } while (0)

/* A channel of tags. */
static inline spool_chan *chan_new(size_t capacity)
{
    spool_chan *c;
    must_be(MAY_FAIL_OUT(c, spool_chan_new(&c, sizeof(uint64_t), capacity)), 0);
    must_be(SURE(spool_set_drop(c, tags_drop)), 0);
    must_be(SURE(spool_set_name(c, "scene")), 0);
    return c;
}

/* Noted before: it may have been got when the put returns. */
static inline void put_sure(spool_chan *c, uint64_t tag)
{
    tags_put(tag);
    must_be(SURE(spool_put(c, &tag)), 0);
}

/* Into one that may need memory. */
static inline void put_may_fail(spool_chan *c, uint64_t tag)
{
    tags_put(tag);
    must_be(MAY_FAIL(spool_put(c, &tag)), 0);
}

/* Somebody waits for it. */
static inline void put_trying(spool_chan *c, uint64_t tag)
{
    long r;
    tags_put(tag);
    wait_until((r = SURE(spool_try_put(c, &tag))) != -EAGAIN);
    must_be(r, 0);
}

static inline void get_sure(spool_chan *c, uint64_t tag)
{
    uint64_t v;
    must_be(SURE_OUT(v, spool_get(c, &v)), 0);
    must_be(v, tag);
    tags_got(v);
}

static inline spool_select *select_new(void)
{
    spool_select *s;
    must_be(MAY_FAIL_OUT(s, spool_select_new(&s)), 0);
    return s;
}

#endif
