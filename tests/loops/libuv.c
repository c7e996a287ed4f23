/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* libuv: uv_poll_t. */

#include "loop.h"

#include <uv.h>

static void readable(uv_poll_t *handle, int status, int events)
{
    loop_must(status == 0 && events == UV_READABLE);
    if (!loop_turn(handle->data))
        uv_close((uv_handle_t *)handle, NULL);
}

static void run(struct loop *l)
{
    uv_loop_t loop;
    uv_poll_t handle;

    loop_must(uv_loop_init(&loop) == 0);
    loop_must(uv_poll_init(&loop, &handle, loop_fd(l)) == 0);
    handle.data = l;
    loop_must(uv_poll_start(&handle, UV_READABLE, readable) == 0);
    loop_must(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    loop_must(uv_loop_close(&loop) == 0);
}

int main(void)
{
    return loop_test("libuv", LOOP_LEVEL, run);
}
