/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* A child of fork(2) that closes its copy of a channel over an io_uring leaves that of its parent alone. */
#include "select_util.h"

#include <spool/uring.h>
#include <sys/wait.h>

START_TEST(closing_in_the_child_is_its_own)
{
    spool_chan *chan = NULL;
    struct io_uring_sqe sqe;
    struct io_uring_cqe cqe;
    int ret = spool_uring(&chan, 4);
    if (ret == -ENOSYS || ret == -EPERM) {
        skip("closing_in_the_child_is_its_own", "io_uring is not permitted here");
        return;
    }
    must_be(ret, 0);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        exit(spool_close(chan) == 0 && !spool_alive(chan) ? EXIT_SUCCESS : EXIT_FAILURE);
    int status = -1;
    must(pid > 0);
    must_be(waitpid(pid, &status, 0), pid);
    must(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);
    must(spool_alive(chan));
    memset(&sqe, 0, sizeof sqe);
    sqe.opcode = IORING_OP_NOP;
    sqe.user_data = 42;
    must_be(spool_put_for(chan, &sqe, DEADLINE), 0);
    must_be(spool_get_for(chan, &cqe, DEADLINE), 0);
    must_be(cqe.user_data, 42);
    spool_unref(chan);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("uring_fork");
    TCase *tc = case_new(suite, "close");
    tcase_add_test(tc, closing_in_the_child_is_its_own);
    return run_suite(suite, "uring_fork");
}
