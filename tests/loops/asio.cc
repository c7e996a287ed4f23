/* SPDX-License-Identifier: LGPL-3.0-or-later */

/* Boost.Asio: async_wait, which is told of the level each time. */

#include "loop.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

using boost::asio::posix::stream_descriptor;

static void wait(stream_descriptor &descriptor, struct loop *l)
{
    descriptor.async_wait(stream_descriptor::wait_read, [&descriptor, l](const boost::system::error_code &error) {
        loop_must(!error);
        if (loop_turn(l))
            wait(descriptor, l);
    });
}

static void run(struct loop *l)
{
    boost::asio::io_context context;
    stream_descriptor descriptor(context, loop_fd(l));

    wait(descriptor, l);
    context.run();
    descriptor.release(); /* the channel's, not Asio's, to close */
}

int main()
{
    return loop_test("asio", LOOP_LEVEL, run);
}
