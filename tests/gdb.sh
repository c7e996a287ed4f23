#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# What gdb says of channels, selects and threads that wait, by tools/gdb/libspool-gdb.py: of the program gdb_parked.c,
# whose threads all sleep, with an installed shared library, by which gdb finds the script.

# test_is calls the functions, and CC and MAKE may carry options.
# shellcheck disable=SC2317,SC2086

set -u
export LC_ALL=C
: "${CC:=cc}" "${BUILD:=build}" "${MAKE:=make}"

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

skip_all() {
    echo "skip gdb $*"
    exit 77
}

command -v gdb >/dev/null || skip_all 'gdb is not installed'
[ "$(gdb -nx -batch -ex 'python print(40 + 2)' 2>/dev/null)" = 42 ] || skip_all 'this gdb has no Python'
gdb -nx -batch -ex run true >"$tmp/try" 2>&1
grep -q 'exited normally' "$tmp/try" ||
    skip_all "it may not trace here: $(tail -n 1 "$tmp/try")"

. tests/report

build() {
    $MAKE -s --no-print-directory BUILD="$BUILD" CC="$CC" install prefix="$tmp/usr" &&
        $CC -std=gnu11 -D_GNU_SOURCE -g -O0 -Wall -Wextra -Iinclude -Itests -pthread -o "$tmp/parked" tests/gdb_parked.c \
            -L"$tmp/usr/lib" -lspool "-Wl,-rpath,$tmp/usr/lib"
}

# at_breakpoint COMMAND ...: what gdb says to these commands when all sleep, without what is of this run alone.
at_breakpoint() {
    set -- "$@" end
    while [ "$1" != end ]; do
        set -- "$@" -ex "$1"
        shift
    done
    shift
    # A gdb of its own: what the user has in .gdbinit changes nothing. Where the library is comes after what gdb trusts.
    timeout 300 gdb -nx -batch -iex "add-auto-load-safe-path $tmp" \
        -iex "add-auto-load-scripts-directory $tmp/usr/share/gdb/auto-load" -iex 'set confirm off' -iex 'set width 0' \
        -ex 'break parked' -ex run -ex 'echo \n----\n' "$@" -ex kill "$tmp/parked" >"$tmp/said" 2>"$tmp/error" </dev/null
    without_what_varies
    cat "$tmp/error" >&2
}

# What it said behind the first line ----, without addresses and numbers that are of this run.
without_what_varies() {
    sed -e '1,/^----$/d' -e '/^\[Inferior .* killed\]$/d' "$tmp/said" | sed -E \
        -e 's/0x[0-9a-f]+/ADDRESS/g' -e 's/fd [0-9]+/fd N/g' -e 's/[0-9]+ -$/N -/' -e 's/- [0-9]+$/- N/' \
        -e 's/^([2-7] +)[0-9]+/\1LWP/' -e 's/  +/  /g'
}

# says NAME COMMAND ...: what is expected comes on standard input.
says() {
    cat >"$tmp/expected"
    test_is "$1" same "$@"
}

same() {
    shift
    at_breakpoint "$@" >"$tmp/got" && diff "$tmp/expected" "$tmp/got"
}

test_is gdb_build build
[ $failed -eq 0 ] || exit 1
if ! readelf -S "$tmp/usr/lib/libspool.so" | grep -q '\.debug_info'; then
    echo 'skip gdb_prints the library was built without -g'
    exit $failed
fi

says gdb_prints_channels 'p bounded' 'p full' 'p unbounded' 'p rendezvous' 'p closed' 'p left' 'p right' 'p typed' \
    'p timer' 'p child' 'p server' 'p garbage' 'p nothing' 'p bounded->core' <<'END'
$1 = ADDRESS {"bounded", bounded, 0 of 8, open, 1 thread, 1 select waiting to get, fd N}
$2 = ADDRESS {"full", bounded, 2 of 2, open, 1 thread, 1 select waiting to put, put fd N}
$3 = ADDRESS {"unbounded", unbounded, 20000, open}
$4 = ADDRESS {"rendezvous", rendezvous, open, 1 thread waiting to get}
$5 = ADDRESS {"closed", bounded, 1 of 5, closed}
$6 = ADDRESS {"pair", one end of a pair, bounded, 4 of 4, open, 1 thread waiting to put, fd N}
$7 = ADDRESS {"pair", one end of a pair, bounded, 1 of 4, open}
$8 = {chan = ADDRESS {"typed", bounded, 1 of 16, open}}
$9 = ADDRESS {"hourly", timer, open, fd N}
$10 = ADDRESS {"child", child, open, fd N}
$11 = {name = ADDRESS, queues = {ADDRESS {"tokens", bounded, 1 of 3, open}, ADDRESS {channel ADDRESS, unbounded, 1, closed}}}
$12 = ADDRESS
$13 = (spool_chan *) ADDRESS
$14 = ADDRESS {"bounded", bounded, 0 of 8, open, 1 thread, 1 select waiting to get, fd N}
END

says gdb_prints_selects 'p waiting' 'spool selects' <<'END'
$1 = ADDRESS {epoll fd N, cases 0 get "bounded", 1 put "full", 2 get "pair" (off), 3 fd N}
select ADDRESS: epoll fd N, cases 0 get "bounded", 1 put "full", 2 get "pair" (off), 3 fd N
END

# In the order in which they were made.
says gdb_channels 'spool channels' 'spool channels full server.queues[0]' <<'END'
HANDLE  LANE  NAME  KIND  LENGTH  STATE  WAIT TO GET  WAIT TO PUT  FDS
ADDRESS  ADDRESS  bounded  bounded  0 of 8  open  1 thread, 1 select  -  N -
ADDRESS  ADDRESS  full  bounded  2 of 2  open  -  1 thread, 1 select  - N
ADDRESS  ADDRESS  rendezvous  rendezvous  -  open  1 thread  -  - -
ADDRESS  ADDRESS  unbounded  unbounded  20000  open  -  -  - -
ADDRESS  ADDRESS  closed  bounded  1 of 5  closed  -  -  - -
ADDRESS  ADDRESS  tokens  bounded  1 of 3  open  -  -  - -
ADDRESS  ADDRESS  -  unbounded  1  closed  -  -  - -
ADDRESS  ADDRESS  pair  pair, bounded  4 of 4  open  -  1 thread  N -
ADDRESS  ADDRESS  pair  pair, bounded  1 of 4  open  -  -  - -
ADDRESS  ADDRESS  typed  bounded  1 of 16  open  -  -  - -
ADDRESS  ADDRESS  hourly  timer  ?  open  in the kernel  -  N -
ADDRESS  ADDRESS  signals  signals  ?  open  in the kernel  -  N -
ADDRESS  ADDRESS  child  child  ?  open  in the kernel  -  N -
HANDLE  LANE  NAME  KIND  LENGTH  STATE  WAIT TO GET  WAIT TO PUT  FDS
ADDRESS  ADDRESS  full  bounded  2 of 2  open  -  1 thread, 1 select  - N
ADDRESS  ADDRESS  tokens  bounded  1 of 3  open  -  -  - -
END

# The word that it sleeps on tells which end of a pair a thread uses.
says gdb_waits 'spool waits' \
    'python print("%x" % int(gdb.parse_and_eval("right")) in gdb.execute("spool waits", to_string=True))' <<'END'
THREAD  LWP  NAME  CALL  FOR
2  LWP  parked  get  "bounded" ADDRESS
3  LWP  parked  put  "full" ADDRESS
4  LWP  parked  get  "rendezvous" ADDRESS
5  LWP  parked  get  "hourly" ADDRESS
6  LWP  parked  put  "pair" ADDRESS
7  LWP  parked  select  ADDRESS: epoll fd N, cases 0 get "bounded", 1 put "full", 2 get "pair" (off), 3 fd N
True
END

says gdb_selection_stays 'python [t for t in gdb.selected_inferior().threads() if t.num == 3][0].switch()' \
    'python gdb.selected_frame().older().select()' 'python gdb.execute("spool waits", to_string=True)' \
    'python print("thread", gdb.selected_thread().num, "frame", gdb.selected_frame().level())' <<'END'
thread 3 frame 1
END

# A core file says the same.
core_says_the_same() {
    at_breakpoint 'spool channels' 'spool selects' 'echo ----\n' "generate-core-file $tmp/core" >"$tmp/got" || return
    sed '/^----$/,$d' "$tmp/got" >"$tmp/expected"
    [ -s "$tmp/core" ] || { cat "$tmp/got" && return 1; }
    gdb -nx -batch -iex "add-auto-load-safe-path $tmp" -iex "add-auto-load-scripts-directory $tmp/usr/share/gdb/auto-load" \
        -iex 'set width 0' -ex 'echo \n----\n' -ex 'spool channels' -ex 'spool selects' "$tmp/parked" "$tmp/core" \
        >"$tmp/said" 2>"$tmp/error" </dev/null
    without_what_varies >"$tmp/got"
    diff "$tmp/expected" "$tmp/got"
}

test_is gdb_core core_says_the_same

if command -v strip >/dev/null; then
    strip -g "$(realpath "$tmp/usr/lib/libspool.so")"
    says gdb_without_debug_information 'p bounded' 'p waiting' \
        'python
try: gdb.execute("spool channels")
except gdb.error as e: print(e)' <<'END'
$1 = ADDRESS {libspool has no debug information}
$2 = ADDRESS {libspool has no debug information}
there is no debug information of libspool here (no struct spool__core): build the library with -g, as its CFLAGS have it, or install its debug symbols
END
else
    echo 'skip gdb_without_debug_information there is no strip (binutils)'
fi
exit $failed
