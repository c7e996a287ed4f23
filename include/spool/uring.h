/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_URING_H
#define SPOOL_URING_H

/*
 * A channel over an io_uring: put a struct io_uring_sqe, get a struct io_uring_cqe.
 *
 * Fill in submissions with liburing's own functions, on a struct of your own:
 *
 *     struct io_uring_sqe sqe;
 *     io_uring_prep_read(&sqe, fd, buffer, bytes, offset);
 *     io_uring_sqe_set_data(&sqe, request);
 *     r = spool_put(ring, &sqe);
 *     ...
 *     struct io_uring_cqe cqe;
 *     r = spool_get(ring, &cqe);    cqe.res is what the operation returned, io_uring_cqe_get_data(&cqe) is request
 *
 * so that reads, writes, connections and all else that io_uring does stand in one select with everything else. (The
 * structure ends in a flexible array, which is not used here; some compilers want it to be the last member of another.)
 */

#include <liburing.h>
#include <spool.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Makes a channel over a new io_uring. Its capacity is entries: so many submissions are under way or have a completion
 * that was not got. A put beyond that waits for gets, so neither the submission queue nor the completion queue runs
 * over; completions of multishot operations, which nobody can count beforehand, are kept by the kernel and got in their
 * turn.
 *
 * Any number of threads may put and get. Each put is one io_uring_enter(2), spool_put_many submits its whole batch with
 * one; a get takes no system call while there are completions. spool_elem_size is that of a completion.
 * Submissions that are linked (IOSQE_IO_LINK and the like) have to be put in one batch, and are never split; a chain
 * that is longer than the capacity is -EINVAL, and so are a batch that ends in the midst of a chain,
 * IOSQE_CQE_SKIP_SUCCESS, and IOSQE_IO_DRAIN, which would hold back what others put. While a chain waits until there is room for the whole of it, nobody else can put.
 *
 * An operation that the kernel refuses is a completion with a negative res, not an error of put. A multishot operation
 * is several gets; all but the last have IORING_CQE_F_MORE set in flags. user_data is all yours. Operations are
 * cancelled as io_uring does it: put what io_uring_prep_cancel makes. Those that a thread has put may end with
 * -ECANCELED when that thread exits: a rule of the kernel.
 *
 * spool_close: no further put; what is under way is cancelled where the kernel can (from 5.19 on; before, it runs to
 * its end). Each submission still has its completion, whose res tells whether it was cancelled or went through; then
 * -EPIPE. Dropping the last reference does the same and waits until the kernel is done with every buffer, unlike other
 * channels; completions nobody got go to the function of spool_set_drop, as struct io_uring_cqe. spool_fd is the
 * io_uring's own descriptor. After a fork the channel is of use only in the parent.
 *
 * The caller owns one reference to *ret. -EINVAL entries is 0 or above 32768, ret is NULL; -ENOMEM; -EMFILE, -ENFILE;
 * and what the kernel says where io_uring is missing (-ENOSYS), switched off or forbidden (-EPERM).
 */
int spool_uring(spool_chan **ret, unsigned entries) SPOOL_MUST_USE;

/*
 * The ring itself, borrowed, to register buffers, files and buffer rings with (io_uring_register_buffers and so on).
 * Submissions and completions are the channel's. NULL if chan is not one of spool_uring.
 */
struct io_uring *spool_uring_ring(spool_chan *chan);

#ifdef __cplusplus
}
#endif

#endif
