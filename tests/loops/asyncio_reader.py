# SPDX-License-Identifier: LGPL-3.0-or-later
"""Python's asyncio: loop.add_reader, and the library by ctypes.

usage: asyncio_reader.py LIBSPOOL LIBLOOP
"""

import asyncio
import ctypes
import errno
import os
import sys
import traceback

spool = ctypes.CDLL(sys.argv[1])
test = ctypes.CDLL(sys.argv[2])

RUN = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
LEVEL = 1
CHANNEL, SELECT, ROOM = range(3)

pointer = ctypes.c_void_p
number = ctypes.c_uint64
spool.spool_try_get.argtypes = spool.spool_try_put.argtypes = [pointer, pointer]
spool.spool_select_wait.argtypes = [pointer, ctypes.c_int64]
test.loop_test.argtypes = [ctypes.c_char_p, ctypes.c_uint, RUN]
for name in "loop_fd", "loop_is_single", "loop_plug", "loop_begin_turn":
    getattr(test, name).argtypes = [pointer]
test.loop_is_single.restype = ctypes.c_bool
test.loop_chan.argtypes = test.loop_select.argtypes = test.loop_next.argtypes = [pointer]
test.loop_chan.restype = test.loop_select.restype = pointer
test.loop_next.restype = number
test.loop_took.argtypes = [pointer, ctypes.c_int, number]
test.loop_waited.argtypes = test.loop_gave.argtypes = [pointer, ctypes.c_int]


def steps(this):
    """Returns a function that gets, waits or puts once: what is plugged in says which."""
    chan = test.loop_chan(this)
    select = test.loop_select(this)
    value = number()
    where = ctypes.byref(value)

    def get():
        result = spool.spool_try_get(chan, where)
        return test.loop_took(this, result, value.value)

    def wait():
        return test.loop_waited(this, spool.spool_select_wait(select, 0))

    def put():
        value.value = test.loop_next(this)
        return test.loop_gave(this, spool.spool_try_put(chan, where))

    return {CHANNEL: get, SELECT: wait, ROOM: put}[test.loop_plug(this)]


async def main(this):
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    fd = test.loop_fd(this)
    single = test.loop_is_single(this)
    step = steps(this)

    def readable():
        test.loop_begin_turn(this)
        result = step()
        while result == 0 and not single:
            result = step()
        if result == -errno.EPIPE:
            loop.remove_reader(fd)
            ended.set_result(None)

    loop.add_reader(fd, readable)
    await ended


@RUN
def run(this):
    try:
        asyncio.run(main(this))
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # an exception does not leave a callback


sys.exit(test.loop_test(b"asyncio", LEVEL, run))
