/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_SOURCE_H
#define SPOOL_SOURCE_H

#include "lock.h"

#include <stddef.h>
#include <sys/types.h>

/*
 * Where a lane has no queue of its own because the kernel holds what is to be got: a timer, signals, a child, an
 * io_uring. Its descriptor is readable while there is something to get, and for good once the channel is closed and
 * drained; threads and selects wait for that descriptor itself, level-triggered. One small file for each kind has the
 * operations below; the struct of a kind begins with a struct spool__source.
 */
struct spool__source;

struct spool__source_ops {
    const char *name;
    size_t bytes;     /* of the kind's struct */
    size_t elem_size;
    size_t put_size; /* of an element that is put */
    /*
     * Gets up to n > 0 elements, without blocking: how many; -EAGAIN; -EPIPE nothing will come any more; the fd is then
     * readable for good. Called with the lock held.
     */
    ssize_t (*get)(struct spool__source *src, void *ret_elems, size_t n);
    /* Whether a get would not block. With the lock held; NULL: as the descriptor says. */
    bool (*ready)(struct spool__source *src);
    /*
     * Puts up to n > 0 elements, without blocking: how many; -EAGAIN; -EPIPE; -ENOMEM, -EINVAL. Does its own locking.
     * A get of elements that makes room returns first; then the channel wakes who waits for room. NULL: nobody can put.
     */
    ssize_t (*put)(struct spool__source *src, const void *elems, size_t n);
    /*
     * Elements that can only be put together: waits until there is room for those in front, and puts: how many, -EPIPE,
     * -ETIMEDOUT and so on. -EAGAIN, without waiting: the first of them can be put alone. Meanwhile put may say -EAGAIN
     * to others, so once it has returned the channel wakes who waits for room. NULL: there are none.
     */
    ssize_t (*put_together)(struct spool__source *src, const void *elems, size_t n, int64_t deadline);
    /* What put would say (0, -EAGAIN, -EPIPE) and a position that every get changes which makes room. */
    int (*can_put)(struct spool__source *src, uint64_t *ret_pos);
    /* The channel is closed; called once, with the lock held. No put begins after it; the rest is still got. */
    void (*shut)(struct spool__source *src);
    /* The last to be called: gives what nobody got to drop (which may be NULL), closes descriptors. */
    void (*destroy)(struct spool__source *src, void (*drop)(void *elem));
    size_t (*capacity)(struct spool__source *src); /* NULL: 1 */
    /* With the lock held; NULL: 1 if ready, else 0. Shut and ready with a length of 0 means that a get is -EPIPE. */
    size_t (*len)(struct spool__source *src);
    /* Waits in the place of spool__source_park, for a kind whose descriptor does not look the same to every thread. */
    int (*park)(struct spool__source *src, int64_t deadline);
    size_t parks_at; /* where the struct of a kind with a park has the int that it waits for: for who looks from outside */
    bool cheap; /* to look whether one is ready takes no system call */
};

struct spool__source {
    const struct spool__source_ops *ops;
    struct spool__lock lock;
    int32_t fd;          /* what spool_fd returns */
    int32_t park_plus_1; /* a descriptor in which threads wait for fd; 0 until first used; closed at the end */
    int32_t pid;         /* of the process that made it; for spool__source_is_own */
    bool is_shut;        /* set under the lock, by a close or by the kind when all came; read also by spool_alive */
    uint64_t taken;      /* how many elements were got; under the lock */
};

/*
 * For channels that end by a descriptor which cannot be made readable, as signals and children: an epoll descriptor
 * that is readable as from is, and for good after spool__source_end, which needs no memory. *ret_end is an eventfd,
 * itself readable then. The caller closes both. -EMFILE, -ENFILE, -ENOMEM.
 */
int spool__source_join(int from, int32_t *ret_end);
void spool__source_end(const struct spool__source *src, int end);
/*
 * Whether this process made it. A forked child has the same descriptors: it may close and drop the channel, but must
 * leave them as they are, for its parent.
 */
bool spool__source_is_own(const struct spool__source *src);
/* For a kind that closes itself after its last element. With the lock held. */
void spool__source_set_shut(struct spool__source *src);

/* Up to n elements: how many, -EAGAIN, -EPIPE. */
ssize_t spool__source_get(struct spool__source *src, void *ret_elems, size_t n);
/* What spool__source_get would say; *ret_pos as for spool__ring_can_get. */
int spool__source_can_get(struct spool__source *src, uint64_t *ret_pos);
/* Waits until fd is readable, or the deadline; -ETIMEDOUT then, else 0, perhaps for nothing. */
int spool__source_park(struct spool__source *src, int64_t deadline);
/* The same for n descriptors that a kind names. */
struct pollfd;
int spool__source_poll(struct pollfd *fds, unsigned n, int64_t deadline);
size_t spool__source_len(struct spool__source *src);
/* 0 or -EALREADY. */
int spool__source_close(struct spool__source *src);
void spool__source_destroy(struct spool__source *src, void (*drop)(void *elem));

/*
 * In chan.c, for the constructors. New: a channel whose one lane has this kind of source, zeroed but for ops; creator
 * as in the core. Then the constructor sets fd and what else the kind needs, and either hands it out or, having given
 * back what it made, frees it.
 */
struct spool_chan;
int spool__chan_new_source(struct spool_chan **ret, struct spool__source **ret_src,
                           const struct spool__source_ops *ops, const void *creator);
void spool__chan_free_source(struct spool_chan *chan);
/* The source of a channel, or NULL if it has none or another kind. */
struct spool__source *spool__chan_source(const struct spool_chan *chan, const struct spool__source_ops *ops);

#endif
