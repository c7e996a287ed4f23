#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# The static probes: which there are, in the notes of the shared library; none with PROBES=0 and without <sys/sdt.h>; and
# what each of them says, to gdb, of the program probes_all.c.

# test_is calls the functions, and CC and MAKE may carry options.
# shellcheck disable=SC2317,SC2086

set -u
export LC_ALL=C
: "${CC:=cc}" "${BUILD:=build}" "${MAKE:=make}"

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

if ! command -v readelf >/dev/null; then
    echo 'skip probes there is no readelf (binutils)'
    exit 77
fi

. tests/report

# "NAME ARGUMENTS" of each probe in the library in folder $1.
notes() {
    readelf -n "$1/libspool.so" | awk '
        /Provider:/ { ours = $NF == "spool" }
        $1 == "Name:" { name = $2 }
        ours && $1 == "Arguments:" { print name, NF - 1 }' | sort -u
}

in_tree() {
    $MAKE -s --no-print-directory CC="$CC" "$@"
}

none_with_probes_0() {
    in_tree BUILD="$tmp/none" PROBES=0 all && notes "$tmp/none" >"$tmp/notes" && ! grep . "$tmp/notes"
}

# Where no system header can be found.
none_without_header() {
    cat >"$tmp/bare.c" <<'END' &&
#include "probe.h"
void bare(int a);
void bare(int a)
{
    (void)a;
    spool__probe_put(a, a, a);
    spool__probe_get(a, a, a);
    spool__probe_park(a, a, a);
    spool__probe_wake(a, a, a, a, a);
    spool__probe_close(a, a);
    spool__probe_select(a, a, a, a);
}
END
        $CC -nostdinc -DSPOOL_PROBES -Ilib -Wall -Werror -c -o "$tmp/bare.o" "$tmp/bare.c" &&
        readelf -n "$tmp/bare.o" >"$tmp/notes" && ! grep stapsdt "$tmp/notes"
}

test_is probes_none_with_probes_0 none_with_probes_0
test_is probes_none_without_header none_without_header

# shellcheck disable=SC2086
if ! printf '#include <sys/sdt.h>\nint main(void) { return 0; }\n' | $CC -x c -c -o "$tmp/try.o" - 2>/dev/null; then
    echo 'skip probes_are_there there is no <sys/sdt.h> (systemtap-sdt-dev)'
    exit $failed
fi

# With their numbers of arguments, as lib/probe.h says.
are_there() {
    printf '%s\n' 'close 2' 'get 3' 'park 3' 'put 3' 'select 4' 'wake 5' >"$tmp/expected"
    notes "$BUILD" | diff "$tmp/expected" -
}

no_semaphore() {
    readelf -n "$BUILD/libspool.so" | awk '/Semaphore:/ && $NF !~ /^0x0+$/ { print; bad = 1 } END { exit bad }'
}

# What tools/probes/uprobes makes of them: a line for each place, in which every field has what the kernel can read.
become_events() {
    readelf -n "$BUILD/libspool.so" | grep -c 'Provider: spool$' >"$tmp/expected"
    tools/probes/uprobes --print "$BUILD/libspool.so" >"$tmp/lines" || return
    awk '
        { ok = $1 ~ /^p:spool\/[a-z]+$/ && $2 ~ /:0x[0-9a-f]+$/ && NF > 3 }
        { for (i = 3; i <= NF; i++) ok = ok && $i ~ /^[a-z]+=(%[a-z0-9]+|[-+][0-9]+\(%[a-z0-9]+\)|\\[0-9]+):[a-z0-9]+$/ }
        !ok { print >"/dev/stderr"; bad = 1 }
        END { print NR; exit bad }' "$tmp/lines" | diff "$tmp/expected" -
}

test_is probes_are_there are_there
test_is probes_without_semaphores no_semaphore
if [ "$(uname -m)" = x86_64 ]; then
    test_is probes_become_events become_events
fi

skip_gdb() {
    echo "skip probes_in_gdb $*"
    exit $failed
}

command -v gdb >/dev/null || skip_gdb 'gdb is not installed'
gdb -nx -batch -ex run true >"$tmp/try" 2>&1
grep -q 'exited normally' "$tmp/try" || skip_gdb "it may not trace here: $(tail -n 1 "$tmp/try")"
gdb -nx -batch -ex 'info probes stap spool' "$BUILD/libspool.so" 2>&1 | grep -q ' put ' ||
    skip_gdb 'this gdb does not know such probes'

build() {
    $CC -std=gnu11 -D_GNU_SOURCE -g -Wall -Wextra -Iinclude -Itests -pthread -o "$tmp/all" tests/probes_all.c \
        -L"$BUILD" -lspool "-Wl,-rpath,$(realpath "$BUILD")"
}

# gdb stops at each probe, prints the arguments and goes on.
trace() {
    {
        echo 'set pagination off'
        echo 'set breakpoint pending on'
        echo 'set print thread-events off'
        echo 'break main'
        echo 'run'
        while read -r probe format arguments; do
            printf 'break -probe-stap spool:%s\ncommands\nsilent\nprintf "> %%d %s %s\\n", $_thread' "$probe" "$probe" "$format"
            for argument in $arguments; do
                # shellcheck disable=SC2016
                printf ', $_probe_arg%s' "$argument"
            done
            printf '\ncontinue\nend\n'
        done <<'END'
put %#lx,%#lx,%lu 0 1 2
get %#lx,%#lx,%lu 0 1 2
park %#lx,%d,%ld 0 1 2
wake %#lx,%d,%d,%d,%d 0 1 2 3 4
close %#lx,%#lx 0 1
select %#lx,%#lx,%d,%d 0 1 2 3
END
        echo 'continue'
    } >"$tmp/commands"
    timeout 300 gdb -nx -batch -x "$tmp/commands" "$tmp/all" >"$tmp/said" 2>"$tmp/error" </dev/null
    # Addresses by their names; a time that is not for ever by "later". What the main thread says stands before what the
    # other one says: that which was granted something may take it before it is told who was woken.
    awk '
        $1 == "=" { name[$2] = $3; next }
        /^#/ { printf "%s", other; other = ""; print; next }
        $1 == ">" {
            line = $3
            n = split($4, argument, ",")
            for (i = 1; i <= n; i++) {
                word = argument[i]
                if (word in name)
                    word = name[word]
                else if (word ~ /^0x/)
                    word = "?"
                else if (word == "9223372036854775807")
                    word = "ever"
                else if (word + 0 > 1000000)
                    word = "later"
                line = line " " word
            }
            if ($2 == 1)
                print line
            else
                other = other "  " line "\n"
        }' "$tmp/said"
}

# By thread: what the other one says is indented. put, get: lane, handle, n; park: lane, side, deadline; wake: lane, side,
# who, n, calls; close: lane, handle; select: lane, select, index, result. Of a pair each end gets from a lane of its own.
says_what_happens() {
    cat >"$tmp/expected" <<'END'
# an element, a batch, and tries that fail
put ring.lane ring 1
put ring.lane ring 2
get ring.lane ring 3
# out of time
park ring.lane 0 later
# a thread that waits for an element
put ring.lane ring 1
wake ring.lane 0 0 1 1
  park ring.lane 0 ever
  get ring.lane ring 1
# a thread that waits for room
put ring.lane ring 3
get ring.lane ring 1
wake ring.lane 1 0 1 1
get ring.lane ring 3
  park ring.lane 1 ever
  put ring.lane ring 1
# a rendezvous
wake meeting.lane 0 0 1 1
put meeting.lane meeting 1
  park meeting.lane 0 ever
  get meeting.lane meeting 1
# a select
put ring.lane ring 1
wake ring.lane 0 1 1 1
  get ring.lane ring 1
  select ring.lane sel 1 0
# a select that need not wait
put ring.lane ring 1
get ring.lane ring 1
select ring.lane sel 1 0
# a poller
put ring.lane ring 1
wake ring.lane 0 2 1 1
# a close
close ring.lane ring
# a close of a pair, with a thread that waits
wake pair.lane 0 0 1 1
close pair.lane pair
  park pair.lane 0 ever
# the end
END
    trace >"$tmp/got"
    diff "$tmp/expected" "$tmp/got" && return
    cat "$tmp/error"
    return 1
}

test_is probes_build build
[ $failed -eq 0 ] || exit 1
test_is probes_in_gdb says_what_happens
exit $failed
