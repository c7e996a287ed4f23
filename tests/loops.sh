#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# Every event loop: a channel, a select and the room of a channel are plugged into each that is here, a million messages
# pass through it, all of them are checked, and then it has to rest. tests/loops/loop.h says how, and what resting is.
#
#   tests/loops.sh        the tests
#   tests/loops.sh -t     and at the end the table that is in README.md
#
# SPOOL_TEST_SCALE  multiplies the messages, and below 1 the time of rest

# CC, CXX and MAKE may carry options.
# shellcheck disable=SC2086

set -u
export LC_ALL=C
: "${CC:=cc}" "${CXX:=c++}" "${PKG_CONFIG:=pkg-config}" "${MAKE:=make}" "${BUILD:=build}"

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
failed=0
: >"$tmp/all"

$MAKE -s --no-print-directory BUILD="$BUILD" CC="$CC" all >&2 || exit 1
case $BUILD in
/*) lib=$BUILD ;;
*) lib=$PWD/$BUILD ;;
esac
flags='-O1 -Wall -Wextra -Werror -Iinclude -Itests/loops -pthread'

compile() {
    $CC -std=gnu11 $flags "$@"
}

# The driver is a library, so that Python can use it as well.
if ! compile -fPIC -shared -o "$tmp/libloop.so" tests/loops/loop.c "$lib/libspool.so"; then
    echo 'not ok loops.build'
    exit 1
fi

# told NAME COMMAND ...: the program tells how it went, unless it crashes. One that gets no further ends by itself.
told() {
    name=$1
    shift
    LD_LIBRARY_PATH=$lib:$tmp "$@" >"$tmp/output" 2>&1
    status=$?
    if [ $status -eq 0 ] || [ $status -eq 77 ]; then
        cat "$tmp/output"
    else
        grep '^not ok' "$tmp/output" || echo "not ok loops.$name exit status $status"
        grep -v '^not ok' "$tmp/output" | sed 's/^/    /'
        failed=1
    fi
    cat "$tmp/output" >>"$tmp/all"
}

# built NAME COMMAND ...: links what the compiler is told to compile with the driver.
built() {
    name=$1
    shift
    if ! "$@" -o "$tmp/$name" "$tmp/libloop.so" "$lib/libspool.so" -Wl,-rpath-link,"$lib" >"$tmp/output" 2>&1; then
        echo "not ok loops.$name does not compile"
        sed 's/^/    /;40q' "$tmp/output"
        failed=1
        return 1
    fi
}

# with FILE FLAGS: builds and runs tests/loops/FILE.c.
with() {
    built "$1" compile "tests/loops/$1.c" $2 && told "$1" "$tmp/$1"
}

missing() {
    echo "skip loops.$1 $2 is missing (\"make deps-loops\" installs it)"
}

# package FILE PACKAGE WHAT: with FILE, if pkg-config knows the package.
package() {
    if libs=$("$PKG_CONFIG" --cflags --libs "$2" 2>/dev/null); then
        with "$1" "$libs"
    else
        missing "$1" "$3"
    fi
}

# header LANGUAGE FILE: whether the compiler finds it.
header() {
    compiler=$CC
    [ "$1" = c ] || compiler=$CXX
    echo "#include <$2>" | $compiler -E -x "$1" - >/dev/null 2>&1
}

package libuv libuv libuv
package libevent libevent libevent
if header c ev.h; then with libev -lev; else missing libev libev; fi
package glib glib-2.0 GLib
package sd_event libsystemd libsystemd
if ! header c++ boost/asio/io_context.hpp; then
    missing asio Boost.Asio
elif built asio $CXX -std=c++17 $flags -O0 tests/loops/asio.cc; then # which takes long enough
    told asio "$tmp/asio"
fi
if python3 -c 'import asyncio, ctypes' 2>/dev/null; then
    told asyncio python3 tests/loops/asyncio_reader.py "$lib/libspool.so" "$tmp/libloop.so"
else
    missing asyncio Python
fi
package io_uring 'liburing >= 2.3' liburing
if built epoll compile tests/loops/epoll.c; then
    for mode in lt et oneshot exclusive; do
        told epoll_$mode "$tmp/epoll" $mode
    done
fi

# Messages by what was plugged in, how many of them did not come, and calls of the loop while there was nothing.
table() {
    awk '
        function row(name, title) { n++; names[n] = name; titles[n] = title }
        BEGIN {
            row("libuv", "libuv, `uv_poll_t`")
            row("libevent", "libevent, `EV_READ \\| EV_PERSIST`")
            row("libev", "libev, `ev_io`")
            row("glib", "GLib, `g_unix_fd_source_new`")
            row("sd_event", "sd-event, `sd_event_add_io`")
            row("asio", "Boost.Asio, `async_wait`")
            row("asyncio", "asyncio, `add_reader`")
            row("io_uring", "io_uring, multishot poll")
            row("epoll_lt", "epoll, level-triggered")
            row("epoll_et", "epoll, `EPOLLET`")
            row("epoll_oneshot", "epoll, `EPOLLONESHOT`")
            row("epoll_exclusive", "epoll, `EPOLLEXCLUSIVE`, 2 threads")
            line = "| %-35s | %7s | %6s | %6s | %6s | %10s |\n"
            printf line, "loop", "channel", "select", "room", "missed", "while idle"
            print "|-------------------------------------|---------|--------|--------|--------|------------|"
        }
        /^ok loops\./ {
            name = substr($2, 7)
            for (i = 3; i < NF; i += 2) figure[name, $i] = $(i + 1)
            seen[name] = 1
        }
        END {
            for (i = 1; i <= n; i++)
                if ((name = names[i]) in seen)
                    printf line, titles[i], figure[name, "channel"], figure[name, "select"] + 0 ? \
                        figure[name, "select"] : "-", figure[name, "room"], figure[name, "missed"],
                        figure[name, "idle_callbacks"]
        }' "$tmp/all"
}

[ "${1-}" != -t ] || table
exit $failed
