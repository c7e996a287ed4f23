#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# The command spool: on a word server under load, on a program that hangs, and on processes that it cannot look into, or
# that end, or that are broken.

# test_is calls the functions, and CC may carry options.
# shellcheck disable=SC2317,SC2086

set -u
export LC_ALL=C
: "${CC:=cc}" "${PKG_CONFIG:=pkg-config}" "${BUILD:=build}" "${URING:=1}"
case $BUILD in /*) ;; *) BUILD=$PWD/$BUILD ;; esac
spool=$BUILD/spool tree=$PWD
tmp=$(mktemp -d) || exit 1
chmod 755 "$tmp"
hung='' server=''
trap 'kill $hung $server 2>/dev/null; rm -rf "$tmp"' EXIT

. tests/report
test_prefix=tool. test_in=$tmp

# says STATUS PATTERN COMMAND ...: it ends with that status, and a line of what it prints matches.
says() {
    want=$1 pattern=$2
    shift 2
    "$@" >said 2>&1
    status=$?
    cat said
    [ $status -eq "$want" ] || { echo "exit status $status, not $want: $*"; return 1; }
    grep -Eq "$pattern" said || { echo "no line is like '$pattern'"; return 1; }
}

read -r started _ </proc/uptime
"$BUILD/deadlock" 300 2>/dev/null &
hung=$!
"$BUILD/wordserver" -p 0 -j 2 >"$tmp/listening" &
server=$!
# The event: both have made everything and gone to sleep.
settle() {
    for _ in $(seq 600); do
        "$spool" dump $hung 2>/dev/null | grep -q DEADLOCK && "$spool" ps $server 2>/dev/null | grep -q 'get: counter' &&
            return
        sleep 0.1
    done
    echo 'they never settled'
    return 1
}
port() { sed -n 's/.*:\([0-9]*\)$/\1/p' listening; }

lists_processes() {
    says 0 "^ *$hung deadlock +4 +0 +3$" "$spool" ps && says 0 "^ *$server wordserver +6 +1 +3$" "$spool" ps
}

lists_channels() {
    says 0 '^requests +bounded +8/8 open +[0-9]+ +[0-9]+ .* deadlock\.c:[0-9]+$' "$spool" ps $hung &&
        grep -Eq '^    put: asker \([0-9]+\), asleep for [0-9.]+ (s|ms)$' said &&
        says 0 '^jobs +bounded +0/64 open' "$spool" ps $server && grep -Eq '^    get: select 0, armed$' said &&
        grep -Eq '^    get: fd [0-9]+, eventfd-id [0-9]+$' said
}

finds_a_deadlock() {
    says 1 '^DEADLOCK' "$spool" dump $hung && says 0 '^  counter \([0-9]+\): get jobs' "$spool" dump $server
}

# The schedulers of two processors may have clocks that lie apart, and who looks may be on either: what is told never goes
# back, and is never more than there has been.
tells_how_long() {
    cpus=$(taskset -cp $$ | sed 's/.*: //; s/[,-]/ /g')
    echo '0 0 0' >before
    for cpu in $cpus $cpus; do
        taskset -c "$cpu" "$spool" dump --json $hung >said
        grep -o '"asleep_ns": [0-9]*' said | awk '{ printf "%s ", $2 } END { print "" }' >now
        most=$(awk -v since="$started" '{ printf "%.0f", ($1 - since + 0.01) * 1e9 }' /proc/uptime)
        cat before now - <<END | awk -v cpu="$cpu" '
            NR == 1 { for (i = 1; i <= 3; i++) least[i] = $i }
            NR == 2 { n = NF; for (i = 1; i <= NF; i++) now[i] = $i }
            NR == 3 { most = $1 }
            END {
                for (i = 1; i <= 3; i++) if (n != 3 || now[i] <= least[i] || now[i] > most) bad = 1
                if (bad) print "on " cpu ": " now[1], now[2], now[3] ", not above " least[1], least[2], least[3] " up to " most
                exit bad
            }' || return
$most
END
        mv now before
    done
}

is_json() {
    command -v python3 >/dev/null || { echo 'python3 is missing'; return 77; }
    check='import json, sys; d = json.loads(sys.stdin.read()); assert eval(sys.argv[1]), d'
    "$spool" ps --json | python3 -c "$check" "{'deadlock', 'wordserver'} <= {p['name'] for p in d}" &&
        "$spool" ps --json $hung | python3 -c "$check" "any(c['name'] == 'replies' and c['length'] == 8 for c in d['channels'])" &&
        { "$spool" dump --json $hung; [ $? -eq 1 ]; } | python3 -c "$check" "d['deadlocked']" &&
        "$spool" top --json -d 0.1 -n 1 $server | python3 -c "$check" "d['process']['pid'] == $server" || return
    "$spool" trace --json -o trace.json -- "$BUILD/fanin" >/dev/null &&
        python3 -c 'import json, sys; [json.loads(l) for l in open("trace.json")]'
}

# Its rates while the load runs.
shows_rates() {
    "$BUILD/wordload" -x -n 200 -r 100000 /usr/include >/dev/null 2>&1 &
    load=$!
    for _ in $(seq 600); do
        "$spool" top -d 0.2 -n 1 "$(pgrep -P $load wordserver)" >said 2>&1 && grep -Eq '^jobs +\|[#.]+\| +[0-9]+/64 +[1-9][0-9.]*k? +[1-9]' said &&
            { kill $load; return 0; }
    done
    kill $load
    cat said
    return 1
}

all_sleep() {
    grep -Eq '^ *[0-9]+ server +put replies: sleeps$' "$1" && grep -Eq '^ *[0-9]+ asker +put requests: sleeps$' "$1" &&
        grep -Eq '^ *[0-9]+ deadlock +spool_go_wait: sleeps$' "$1"
}

tells_the_story() {
    "$spool" trace -o story -- "$BUILD/deadlock" 300 >/dev/null 2>&1 &
    trace=$!
    for _ in $(seq 600); do
        all_sleep story 2>/dev/null && break
        sleep 0.1
    done
    # Before they are woken: who was the last to sleep is seen as well.
    cp story seen
    kill $(pgrep -P "$(pgrep -P $trace)") 2>/dev/null
    wait $trace
    cat story
    all_sleep seen || return
    "$spool" trace -o story -p $server &
    trace=$!
    for _ in $(seq 300); do
        printf '/etc/passwd\n' | timeout 5 "$tmp/ask" "$(port)" >/dev/null
        grep -q 'put results -> wake select 0' story 2>/dev/null && grep -q 'put jobs -> wake counter' story &&
            grep -q 'select 0 -> .*results' story && break
    done
    kill $trace $(pgrep -P $trace) 2>/dev/null
    cat story
    grep -q 'put jobs -> wake counter' story && grep -q 'put results -> wake select 0' story &&
        grep -q 'select 0 -> .*results' story
}

refuses_others() {
    [ "$(id -u)" -eq 0 ] || { echo 'only root can be somebody else'; return 77; }
    command -v setpriv >/dev/null || { echo 'setpriv is missing'; return 77; }
    cp "$spool" here && chmod 755 here || return
    says 2 "process $hung \(deadlock\) may not be looked at" \
        setpriv --reuid 65534 --regid 65534 --clear-groups ./here dump $hung
}

says_what_is_missing() {
    # That cat has opened it is the event: before, the process may still be a shell.
    mkfifo strangers && { cat strangers & } && other=$! && exec 9>strangers || return
    says 2 "no spool in process $other \(cat\)" "$spool" ps $other
    status=$?
    exec 9>&-
    wait $other
    [ $status -eq 0 ] && says 2 'no process 1073741823' "$spool" dump 1073741823 &&
        says 2 'is not the number of a process' "$spool" ps 12x && says 2 usage "$spool" trace &&
        says 2 usage "$spool" pss && says 2 'no process' "$spool" trace -p 1073741823
}

sees_a_static_program() {
    # shellcheck disable=SC2046
    $CC -O1 -static -s -I"$tree/include" "$tree/tools/examples/deadlock.c" "$BUILD/libspool.a" -pthread \
        $([ "$URING" = 0 ] || "$PKG_CONFIG" --static --libs liburing) -o static ||
        { echo 'no static program can be linked here'; return 77; }
    ./static 100 2>/dev/null &
    other=$!
    for _ in $(seq 600); do
        "$spool" dump $other >said 2>&1
        [ $? -eq 1 ] && break
    done
    kill $other
    cat said
    grep -q '^DEADLOCK' said && grep -Eq 'made at static\+0x[0-9a-f]+$' said
}

# Looked at over and over until it is gone: each answer is one or the other.
bears_an_exit() {
    for _ in 1 2 3 4 5; do
        "$BUILD/fanin" >/dev/null &
        other=$!
        while kill -0 $other 2>/dev/null; do
            for what in ps dump; do
                "$spool" $what $other >said 2>&1
                status=$?
                [ $status -le 1 ] && continue
                grep -Eq 'no process|no spool in|may not be looked at' said && continue
                cat said
                echo "exit status $status"
                return 1
            done
            # What has ended, and was not waited for, is still there.
            grep -q '^State:.Z' /proc/$other/status && break
        done
        wait $other
    done
}

# Every byte of its channels and selects is changed at random, again and again.
bears_garbage() {
    cat >broken.c <<'EOF'
#include <spool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(void)
{
    unsigned char *at[4];
    spool_chan *chans[3];
    spool_select *sel;
    uint64_t elem = 0;
    if (spool_chan_new(&chans[0], 8, 100) < 0 || spool_chan_new(&chans[1], 100, SPOOL_UNBOUNDED) < 0 ||
        spool_chan_new(&chans[2], 8, 0) < 0 || spool_select_new(&sel) < 0 ||
        spool_select_get(sel, chans[0], &elem) < 0 || spool_put(chans[0], &elem) < 0)
        return 1;
    for (int i = 0; i < 3; i++)
        at[i] = (unsigned char *)chans[i];
    at[3] = (unsigned char *)sel;
    puts("made");
    fflush(stdout);
    for (unsigned n = 0;; n++) {
        at[n % 4][(unsigned)rand() % 300] = (unsigned char)rand();
        if (n % 64 == 0)
            usleep(1000);
    }
}
EOF
    # shellcheck disable=SC2046
    $CC -O0 -D_GNU_SOURCE -I"$tree/include" broken.c "$BUILD/libspool.a" -pthread \
        $([ "$URING" = 0 ] || "$PKG_CONFIG" --libs liburing) -o broken || return
    ./broken >made &
    other=$!
    for _ in $(seq 600); do [ -s made ] && break; sleep 0.1; done
    for _ in $(seq 60); do
        for what in ps dump 'ps --json'; do
            timeout 20 "$spool" $what $other >said 2>&1
            status=$?
            [ $status -le 2 ] || { cat said; echo "exit status $status"; kill $other; return 1; }
        done
    done
    kill $other
}

cat >"$tmp/ask.c" <<'EOF'
#include <arpa/inet.h>
#include <stdlib.h>
#include <unistd.h>

/* Sends stdin to the port on 127.0.0.1 and prints one answer. */
int main(int argc, char **argv)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[argc - 1])),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    char buf[4096];
    int s = socket(AF_INET, SOCK_STREAM, 0);
    ssize_t n = connect(s, (struct sockaddr *)&to, sizeof to) < 0 ? -1 : read(0, buf, sizeof buf);
    if (n <= 0 || write(s, buf, (size_t)n) != n || (n = read(s, buf, sizeof buf)) <= 0)
        return 1;
    return write(1, buf, (size_t)n) != n;
}
EOF
$CC -o "$tmp/ask" "$tmp/ask.c" || exit 1

test_is settles settle
test_is lists_processes lists_processes
test_is lists_channels lists_channels
test_is finds_a_deadlock finds_a_deadlock
test_is is_json is_json
test_is tells_how_long tells_how_long
test_is shows_rates shows_rates
if command -v strace >/dev/null; then
    test_is tells_the_story tells_the_story
else
    echo 'skip tool.tells_the_story strace is missing'
fi
test_is refuses_others refuses_others
test_is says_what_is_missing says_what_is_missing
test_is sees_a_static_program sees_a_static_program
test_is bears_an_exit bears_an_exit
test_is bears_garbage bears_garbage
exit $failed
