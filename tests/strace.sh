#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# What a user sees in strace: no call that did not need making, and each wake and close told by what it writes.
#
# SPOOL_TEST_SCALE  multiplies the messages of the stream and the seconds of idleness

# test_is calls the functions, and CC may carry options.
# shellcheck disable=SC2317,SC2086

set -u
export LC_ALL=C
: "${CC:=cc}" "${BUILD:=build}" "${SPOOL_TEST_SCALE:=1}"

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

if ! command -v strace >/dev/null; then
    echo "skip strace strace is not installed"
    exit 77
fi
if ! strace -f -o "$tmp/try" true 2>"$tmp/error"; then
    echo "skip strace it may not trace here: $(head -n 1 "$tmp/error")"
    exit 77
fi

. tests/report

scaled() {
    awk -v n="$1" -v scale="$SPOOL_TEST_SCALE" 'BEGIN { printf "%d\n", n * scale < 1 ? 1 : n * scale }'
}

build() {
    for program in quiet wake idle cost; do
        $CC -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Iinclude -Itests -pthread -o "$tmp/$program" \
            "tests/strace_$program.c" "$BUILD/libspool.a" || return 1
    done
}

# traced OUTPUT COMMAND ...
traced() {
    output=$1
    shift
    strace -f -qq -s 64 -o "$output" "$@"
}

# Prints each call as "THREAD NAME RESULT LINE"; the two halves of one that was interrupted count as one, at its end.
# Marks come as "THREAD mark WORD NAME [NUMBER]".
calls() {
    awk '
        $2 == "---" || $2 == "+++" { next }
        match($0, /^[0-9]+ +write\(-1, "[^"]*"/) {
            text = substr($0, RSTART, RLENGTH)
            sub(/^[^"]*"/, "", text)
            sub(/"$/, "", text)
            print $1, "mark", text
            # The second half of a mark that was interrupted is no call.
            delete half[$1]
            next
        }
        / <unfinished \.\.\.>$/ {
            sub(/ <unfinished \.\.\.>$/, "")
            half[$1] = $0
            next
        }
        {
            line = $0
            if ($2 == "<...") {
                if (!($1 in half))
                    next
                sub(/^.* resumed>/, "", line)
                line = half[$1] line
                delete half[$1]
            }
            name = line
            sub(/^[0-9]+ +/, "", name)
            sub(/\(.*/, "", name)
            result = line
            sub(/^.*\) += /, "", result)
            sub(/ .*/, "", result)
            print $1, name, result, line
        }' "$1"
}

# Between "begin X" and "end X" the thread that made the marks makes no call.
quiet_is_quiet() {
    traced "$tmp/quiet.trace" "$tmp/quiet" || return 1
    calls "$tmp/quiet.trace" | awk '
        $2 == "mark" { in_it = $3 == "begin"; name = $4; sections += in_it; next }
        in_it { print name ": " $0; bad = 1 }
        END { print sections + 0 " sections"; exit bad || sections != 9 }'
}

trace_wake() {
    traced "$tmp/wake.trace" "$tmp/wake" && calls "$tmp/wake.trace" >"$tmp/wake.calls"
}

# one_wake NAME CALL: from each "begin NAME" to its "end" the thread makes one CALL and nothing else; until things have
# settled nobody else makes such a call, and of the others that wait exactly one returns.
one_wake() {
    awk -v name="$1" -v call="$2" '
        $2 == "mark" && $4 == name {
            if ($3 == "begin") { in_it = 1; settling = 1; me = $1; mine = all = returned = 0; rounds++ }
            if ($3 == "end") in_it = 0
            if ($3 == "settled") {
                settling = 0
                if (mine != 1) fail = fail "round " rounds ": " mine " calls by the one that wakes\n"
                if (all != 1) fail = fail "round " rounds ": " all " calls of " call " by all\n"
                if (returned != 1) fail = fail "round " rounds ": " returned " waits returned\n"
            }
            next
        }
        settling && $1 == me && in_it { mine++; if ($2 != call) fail = fail "round " rounds ": " $0 "\n" }
        settling && $2 == call && (call != "futex" || /FUTEX_WAKE/) { all++ }
        settling && $1 != me && ($2 ~ /^epoll_p?wait2?$/ || ($2 == "futex" && /FUTEX_WAIT/)) && $3 !~ /^-/ {
            returned += $2 == "futex" || $3 > 0
        }
        END { printf "%s%d rounds\n", fail, rounds; exit fail != "" || rounds != 30 }' "$tmp/wake.calls"
}

# wrote NAME VALUE: what was written between "begin NAME" and "end NAME" is VALUE, to the descriptor that the program
# told later as the channel own, that some eventfd2 had returned, and that was added to an epoll set.
wrote() {
    value=$3 awk -v name="$1" -v of="$2" '
        $2 == "mark" && $3 == "fd" && $4 == of { fd = $5 }
        $2 == "mark" && $4 == name { in_it = $3 == "begin" }
        $2 == "eventfd2" { made[$3] = 1 }
        $2 == "epoll_ctl" && match($0, /EPOLL_CTL_ADD, [0-9]+/) { added[substr($0, RSTART + 15, RLENGTH - 15)] = 1 }
        in_it && $2 == "write" {
            match($0, /write\([0-9]+/)
            to[substr($0, RSTART + 6, RLENGTH - 6)] = 1
            if (index($0, ENVIRON["value"]) == 0) { print "wrote: " $0; bad = 1 }
            writes++
        }
        END {
            for (f in to)
                if (f != fd || !made[f] || !added[f]) { print "wrote to " f ", the channel has " fd; bad = 1 }
            if (!writes) print "nothing was written"
            exit bad || !writes
        }' "$tmp/wake.calls"
}

no_call_while_idle() {
    traced "$tmp/idle.trace" "$tmp/idle" || return 1
    calls "$tmp/idle.trace" | awk '
        $2 == "mark" { in_it = $3 == "begin"; me = $1; seen++; next }
        in_it && !($1 == me && ($2 == "clock_nanosleep" || $2 == "clock_gettime")) { print; bad = 1 }
        END { exit bad || seen != 2 }'
}

idle_time() {
    ns=$("$tmp/idle" "$1") || return 1
    echo "$ns ns"
    [ "$ns" -lt 1000000 ]
}

calls_of_waits() {
    traced "$tmp/cost.trace" "$tmp/cost" "$1" >&2 || return 1
    calls "$tmp/cost.trace" | awk '
        $2 == "mark" { in_it = $3 == "begin"; next }
        in_it { n++ }
        END { print n + 0 }'
}

# As many calls with 1000 channels registered as with 2.
cost_does_not_grow() {
    few=$(calls_of_waits 2) && many=$(calls_of_waits 1000) || return 1
    echo "500 waits: $few calls with 2 channels, $many with 1000"
    [ "$few" -gt 0 ] && [ "$many" -le "$few" ]
}

# stream_calls CAPACITY MESSAGES: prints system calls per message. In the last line of strace -c the total is the fourth
# column.
stream_calls() {
    strace -c -f -o "$tmp/count" "$BUILD/tests/stress" -n "$2" -c "$1" stream >"$tmp/stream" || return 1
    awk -v n="$2" '/total$/ { printf "%.6f\n", $4 / n; seen = 1 } END { exit !seen }' "$tmp/count"
}

below() {
    awk -v x="$1" -v limit="$2" 'BEGIN { exit !(x < limit) }'
}

stream_is_cheap() {
    calls=$(stream_calls "$1" "$2") || return 1
    cat "$tmp/count"
    echo "stream capacity $1: $calls system calls per message"
    below "$calls" 0.001
}

test_is strace_build build
[ $failed -eq 0 ] || exit 1
test_is strace_quiet quiet_is_quiet
test_is strace_wake_traced trace_wake
test_is strace_put_wakes_one_select one_wake select_get write
test_is strace_get_wakes_one_select one_wake select_put write
test_is strace_put_wakes_one_thread one_wake parked_get futex
test_is strace_put_writes_1 wrote select_get select_get '"\1\0\0\0\0\0\0\0", 8'
test_is strace_get_writes_1 wrote select_put select_put '"\1\0\0\0\0\0\0\0", 8'
test_is strace_close_writes_1_shl_32 wrote close_select_get select_get '"\0\0\0\0\1\0\0\0", 8'
test_is strace_close_writes_1_shl_32_for_room wrote close_select_put select_put '"\0\0\0\0\1\0\0\0", 8'
test_is strace_idle no_call_while_idle
test_is strace_idle_time idle_time "$(scaled 2)"
cat "$tmp/output"
test_is strace_cost cost_does_not_grow
cat "$tmp/output"
test_is strace_stream stream_is_cheap 4096 "$(scaled 4000000)"
tail -n 1 "$tmp/output"
# Threads that must share one processor change places every time the channel is full or empty, so that a smaller one
# costs more there: for people to read, as what follows.
echo "stream capacity 1024: $(stream_calls 1024 "$(scaled 2000000)") system calls per message"

# The same without what strace slows down, where the kernel lends its own counter: root, and tracefs in a mount
# namespace of our own.
counter='mount -t tracefs none /sys/kernel/tracing && test -r /sys/kernel/tracing/events/raw_syscalls/sys_enter/id'
if unshare -m sh -c "$counter" 2>/dev/null; then
    # shellcheck disable=SC2016
    unshare -m sh -c "$counter"' && exec "$0" "$@"' "$BUILD/tests/stress" -n "$(scaled 2000000)" stream |
        sed 's/^ok //'
else
    echo 'system calls not counted without strace: no tracefs here'
fi
exit $failed
