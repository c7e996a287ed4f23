#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# The examples do what they say: the patterns print what they should, treesum says what cksum says and stops when told
# to, the supervisor keeps its children and leaves none behind.
#
# SPOOL_TEST_SCALE  multiplies the runs of the patterns; below 1, treesum reads less

# test_is calls the functions, and CC may carry options.
# shellcheck disable=SC2317,SC2086

set -u
export LC_ALL=C
: "${CC:=cc}" "${BUILD:=build}" "${URING:=1}" "${SPOOL_TEST_SCALE:=1}"

tmp=$(mktemp -d) || exit 1
child='' # runs in the background of a test, and ends with it
trap 'chmod -R u+rwx "$tmp"; rm -rf "$tmp"' EXIT
case $BUILD in
/*) bin=$BUILD ;;
*) bin=$PWD/$BUILD ;;
esac
cd "$tmp" || exit 1
failed=0

# test_is NAME COMMAND ...: what it leaves in the file figures is told with it. Its output is shown if it fails, and its
# last line if it exits with 77, skipped.
test_is() {
    name=$1
    shift
    : >figures
    (trap 'kill $child 2>/dev/null' EXIT && "$@") >output 2>&1
    case $? in
    0) echo "ok $name $(cat figures)" | sed 's/ $//' ;;
    77) echo "skip $name $(tail -n 1 output)" ;;
    *)
        echo "not ok $name"
        sed 's/^/    /;200q' output
        failed=1
        ;;
    esac
}

skip() {
    echo "$*"
    exit 77
}

# within COMMAND ...: waits until it succeeds, for a minute.
within() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ $tries -gt 1200 ]; then
            echo "not within a minute: $*"
            return 1
        fi
        sleep 0.05
    done
}

is_over() {
    ! kill -0 "$1" 2>/dev/null
}

now_ms() {
    echo $(($(date +%s%N) / 1000000))
}

# ---- The patterns ---------------------------------------------------------------------------------------------------

scaled() {
    awk -v n="$1" -v scale="$SPOOL_TEST_SCALE" 'BEGIN { printf "%d\n", n * scale < 1 ? 1 : n * scale }'
}

runs=$(scaled 20)

# prints NAME: each time, what comes on standard input.
prints() {
    cat >expected
    i=0
    while [ $i -lt "$runs" ]; do
        timeout 60 "$bin/$1" >got || return 1
        diff expected got || return 1
        i=$((i + 1))
    done
    echo "$runs runs" >figures
}

fanin() {
    echo '3 producers, 300 numbers, sum 45150' | prints fanin
}

fanout() {
    echo '100000 numbers, 4 workers, sum 5000050000' | prints fanout
}

pipeline() {
    printf '1000\n2000\n3000\n4000\n5000\n0 not freed\n' | prints pipeline
}

reqreply() {
    printf '1\n4\n9\n16\n25\n' | prints reqreply
}

workerpool() {
    echo '1000 results, sum 1001000' | prints workerpool
}

# Three are let through at once, the other nine wait for a tick each.
ratelimit() {
    start=$(now_ms)
    timeout 60 "$bin/ratelimit" >got || return 1
    took=$(($(now_ms) - start))
    cat got
    echo "$took ms"
    sed 's/ in [0-9]* intervals/ in N intervals/' got | grep -Fx '12 requests in N intervals of 20 ms' || return 1
    [ "$(sed 's/.* in \([0-9]*\) .*/\1/' got)" -ge 9 ] && [ $took -ge 180 ]
}

# ---- treesum --------------------------------------------------------------------------------------------------------

# like_cksum [OPTION] PATH ...: and in figures, what and how fast.
like_cksum() {
    "$bin/treesum" "$@" >/dev/null 2>&1 # so that both find it in the cache
    start=$(now_ms)
    timeout 300 "$bin/treesum" "$@" >unsorted 2>errors || return 1
    middle=$(now_ms)
    case $1 in -*) shift ;; esac
    find -H "$@" -type f -print0 | xargs -0 cksum >expected_unsorted || return 1
    end=$(now_ms)
    sort unsorted >got
    sort expected_unsorted >expected
    diff expected got || return 1
    cat errors
    [ ! -s errors ] && [ -s got ] || return 1
    awk -v took=$((middle - start)) -v cksum=$((end - middle)) '
        { bytes += $2 }
        END { printf "%d files, %.1f MB: %.2f s, cksum %.2f s\n", NR, bytes / 1e6, took / 1e3, cksum / 1e3 }' \
        got >figures
}

make_tree() {
    mkdir -p tree/a/b/c 'tree/-d' tree/empty && : >tree/none || return 1
    for size in 1 7 8 9 255 256 65536 131071 131072 131073 262144 1000000; do
        head -c $size /dev/urandom >tree/a/$size || return 1
    done
    head -c 20000000 /dev/urandom >tree/big && truncate -s 5000001 tree/a/sparse || return 1
    echo 1 >'tree/ space' && echo 2 >'tree/new
line' && echo 3 >tree/-d/-f && echo 4 >tree/.hidden && echo 5 >'tree/back\slash' && echo 6 >tree/a/b/c/deep &&
        ln -s deep tree/a/b/c/link && ln -s .. tree/a/loop && mkfifo tree/fifo
}

named() {
    ln -s a/b tree/folder_link && ln -s big tree/file_link && like_cksum -j1 tree/folder_link tree/big tree/a/ &&
        like_cksum -j8 tree/file_link ./tree/empty tree/none
}

# Where only reading tells how long a file is: it says 0, or more than there is.
sizes_that_are_none() {
    files=$(ls /proc/version /proc/filesystems /sys/class/net/lo/mtu /sys/class/net/lo/address \
        /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null)
    # shellcheck disable=SC2086
    [ -n "$files" ] && like_cksum $files
}

# Says what cksum says of what cannot be read, and goes on. As somebody who may not read all.
errors() {
    mkdir -p closed/folder && echo 1 >closed/folder/file && echo 2 >closed/file && echo 3 >closed/open &&
        chmod 0 closed/folder closed/file && chmod 755 . closed || return 1
    as=''
    if [ -r closed/file ]; then
        as='setpriv --reuid=65534 --clear-groups'
        $as test -r closed/open || skip 'root may read everything, and nobody else may be asked to try'
    fi
    cp "$bin/treesum" . || return 1 # to where anybody may run it
    $as cksum closed/file closed/open nowhere closed/open/below >expected 2>expected_errors
    echo 'cksum: closed/folder: Permission denied' >>expected_errors
    $as ./treesum closed nowhere closed/open/below >got 2>got_errors
    [ $? -eq 1 ] && diff expected got || return 1
    sort -o expected_errors expected_errors
    sed 's/^treesum:/cksum:/' got_errors | sort | diff expected_errors -
}

not_files() {
    "$bin/treesum" /dev/null tree/fifo >got 2>got_errors
    [ $? -eq 1 ] && [ ! -s got ] || return 1
    printf 'treesum: %s: Not a regular file\n' /dev/null tree/fifo | diff - got_errors
}

# Address 0 of a process cannot be read.
bad_reads() {
    "$bin/treesum" tree/none /proc/self/mem >got 2>got_errors
    [ $? -eq 1 ] || return 1
    cat got_errors
    cksum tree/none | diff - got && grep -xE 'treesum: /proc/self/mem: (Input/output|I/O) error' got_errors
}

full_disk() {
    [ -w /dev/full ] || skip 'there is no /dev/full'
    "$bin/treesum" tree/a >/dev/full
    [ $? -eq 1 ]
}

no_uring() {
    strace -o /dev/null true 2>/dev/null || skip 'strace cannot be used here'
    strace -f -o trace -e inject=io_uring_setup:error=ENOSYS "$bin/treesum" tree 2>got_errors
    [ $? -eq 1 ] && echo 'treesum: cannot set up an io_uring: Function not implemented' | diff - got_errors
}

# Nobody is done with this in the time of a test.
make_endless() {
    mkdir -p endless && echo 1 >endless/first && cp tree/a/1000000 endless/second || return 1
    truncate -s 1T endless/third || skip 'no large sparse files here'
}

# What is said is said of whole files, and right.
part_is_right() {
    grep -v ' endless/third$' "$1" | sort >part
    [ "$(wc -l <part)" -eq 2 ] && [ "$(wc -l <"$1")" -eq 2 ] && cksum endless/first endless/second | sort | diff - part
}

# interrupt SIGNAL STATUS: the small files are done first, or at least before the signal.
interrupt() {
    make_endless
    env --default-signal=INT "$bin/treesum" endless/first endless/second endless/third >got 2>got_errors &
    child=$!
    within reads_third $child || return 1
    kill -s "$1" $child
    wait $child
    status=$? child=''
    cat got_errors
    [ $status -eq "$2" ] && part_is_right got &&
        echo 'treesum: interrupted: 2 files done, 1 left' | diff - got_errors
}

# It is the only one that is open, so the others are finished.
reads_third() {
    ls -l "/proc/$1/fd" >open_files && grep -q 'endless/third$' open_files &&
        ! grep -qE 'endless/(first|second)$' open_files
}

# On a terminal: a bar that knows how much there is, then a signal as from the keyboard.
bar() {
    command -v script >/dev/null || skip 'there is no script(1)'
    make_endless
    rm -f pid
    env --default-signal=INT script -qefc 'echo $$ >pid; exec '"'$bin/treesum'"' endless/* >got' typescript >/dev/null &
    child=$!
    within grep -q '\[.*\] *[0-9]*%.* of 1099512.* MB  [0-9.]* MB/s  ETA [0-9]*:[0-9][0-9]' typescript || return 1
    within reads_third "$(cat pid)" || return 1
    kill -s INT "$(cat pid)"
    wait $child
    status=$? child=''
    cat -v typescript
    [ $status -eq 130 ] && part_is_right got &&
        tr '\r' '\n' <typescript | grep -q 'treesum: interrupted: 2 files done, 1 left'
}

# Neither a bar nor anything else.
no_bar() {
    command -v script >/dev/null || skip 'there is no script(1)'
    script -qec "'$bin/treesum' -q tree >got" typescript >shown
    tr -d '\r' <shown
    [ ! -s shown ] && [ -s got ]
}

treesum() {
    if [ "$URING" = 0 ]; then
        echo 'skip treesum built without spool_uring'
        return
    fi
    missing='(Function not implemented|Operation not permitted)'
    if why=$("$bin/treesum" . 2>&1 | grep -xE "treesum: cannot set up an io_uring: $missing"); then
        echo "skip treesum $why"
        return
    fi
    trees='/usr/include /usr/share/doc'
    [ "$(scaled 2)" -lt 2 ] && trees=/usr/share/doc
    test_is treesum_tree make_tree
    test_is treesum_like_cksum like_cksum $trees
    test_is treesum_odd_files like_cksum tree
    test_is treesum_one_worker like_cksum -j1 tree
    test_is treesum_many_workers like_cksum -j64 tree
    test_is treesum_named named
    test_is treesum_sizes sizes_that_are_none
    test_is treesum_errors errors
    test_is treesum_not_files not_files
    test_is treesum_bad_reads bad_reads
    test_is treesum_full_disk full_disk
    test_is treesum_no_uring no_uring
    test_is treesum_sigint interrupt INT 130
    test_is treesum_sigterm interrupt TERM 143
    test_is treesum_bar bar
    test_is treesum_no_bar no_bar
}

# ---- The supervisor -------------------------------------------------------------------------------------------------

# A client of the control socket: sends each line of its input, and prints the reply, up to its last line. After half a
# line it leaves.
build_ask() {
    cat >ask.c <<'EOF'
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int argc, char **argv)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char line[256], reply[256];
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    FILE *in;

    if (argc != 2 || fd < 0 || strlen(argv[1]) >= sizeof(addr.sun_path))
        return 1;
    strcpy(addr.sun_path, argv[1]);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || !(in = fdopen(fd, "r")))
        return 1;
    while (fgets(line, sizeof(line), stdin)) {
        if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0)
            return 1;
        if (!strchr(line, '\n'))
            return 0;
        do {
            if (!fgets(reply, sizeof(reply), in))
                return 1;
            fputs(reply, stdout);
            fflush(stdout);
        } while (strcmp(reply, "ok\n") != 0 && strncmp(reply, "error", 5) != 0);
    }
    return 0;
}
EOF
    $CC -std=gnu11 -Wall -Wextra -Werror -o ask ask.c
}

# supervise ARG ...: in the background, until its socket is there.
supervise() {
    rm -f control
    env --default-signal=INT "$bin/supervisor" -s control "$@" >log 2>&1 &
    child=$!
    within test -S control
}

ask() {
    printf '%s\n' "$@" | timeout 60 ./ask control
}

said() {
    [ "$(grep -cFx "$2" log)" -ge "$1" ]
}

# ended_well STATUS: the supervisor has ended, and of its children, its socket and its talk nothing is left.
ended_well() {
    wait $child
    status=$? child=''
    cat log
    sed -n 's/.*: started, process //p' log >started
    while read -r pid; do is_over "$pid" || { echo "process $pid is left" && return 1; }; done <started
    [ $status -eq "$1" ] && [ ! -e control ] && [ "$(tail -n 1 log)" = 'all have ended' ]
}

terminate() {
    kill -s "${1:-TERM}" $child && ended_well 0
}

# Delays that double, up to a limit, and no start before its time.
backoff() {
    supervise -d 40 -D 200 "crash=date +%s%N >>starts; exit 3" || return 1
    within said 3 'crash: starts again in 200 ms' && within said 6 'crash: exited with status 3' || return 1
    terminate || return 1
    delays='40 80 160 200 200 '
    grep 'starts again' log | head -n 5 | sed 's/.* in \(.*\) ms/\1/' | tr '\n' ' ' | grep -Fx "$delays" || return 1
    awk -v delays="$delays" '
        BEGIN { n = split(delays, delay, " ") }
        NR > 1 && NR <= n + 1 && $1 / 1e6 - last < delay[NR - 1] { print "too early"; bad = 1 }
        { last = $1 / 1e6 }
        END { exit bad || NR < n + 1 }' starts
}

# One that ran long enough, and one that did not.
backoff_is_reset() {
    supervise -d 40 -D 5000 -l 100 'long=sleep 0.2' 'short=kill -9 $$' || return 1
    within said 3 'long: starts again in 40 ms' && within said 1 'short: starts again in 160 ms' || return 1
    said 1 'short: was killed: Killed' || return 1
    terminate || return 1
    ! grep 'long: starts again' log | grep -v ' 40 ms'
}

pid_of() {
    ask "status $1" | sed -n 's/.* process \([0-9]*\),.*/\1/p'
}

has_status() {
    ask "status $1" | grep -q "^$1 $2,"
}

is_another() {
    pid=$(pid_of "$1")
    [ "$pid" -gt 0 ] && [ "$pid" -ne "$2" ]
}

commands() {
    supervise 'one=exec sleep 1000' 'two=sleep 1000 & wait' || return 1
    within has_status one running && first=$(pid_of one) && [ "$first" -gt 0 ] || return 1
    ask 'stop one' | grep -Fx ok && within has_status one stopped && is_over "$first" || return 1
    ask 'stop one' 'start one' 'start one' | uniq -c | grep -E '^ *3 ok$' && within has_status one running || return 1
    is_another one "$first" || return 1
    second=$(pid_of one)
    ask 'restart one' | grep -Fx ok && within is_another one "$second" && is_over "$second" || return 1
    has_status two running || return 1
    printf 'error: %s\n' 'there is no three' 'which?' 'what is grow?' \
        'status, or start, stop or restart and a name' >expected
    printf '%s\n' 'start three' stop 'grow one' 'stop one two' >questions
    while read -r line; do ask "$line"; done <questions | diff expected - || return 1
    terminate
}

# Clients that are served while others are connected, and one that leaves in the middle of a line.
clients() {
    supervise 'one=exec sleep 1000' || return 1
    mkfifo pipe1 pipe2 || return 1
    ./ask control <pipe1 >replies1 &
    ./ask control <pipe2 >replies2 &
    exec 3>pipe1 4>pipe2
    for i in 1 2 3; do
        echo status >&3 && within is_replied replies1 $i || return 1
        echo 'status one' >&4 && within is_replied replies2 $i || return 1
        ask status | grep -Fx ok || return 1
    done
    exec 3>&- 4>&-
    i=0
    while [ $i -lt 40 ]; do # more than may be connected at once
        printf 'status\nsta' | timeout 60 ./ask control | grep -Fx ok || return 1
        i=$((i + 1))
    done
    terminate INT
}

is_replied() {
    [ "$(grep -cFx ok "$1")" -eq "$2" ]
}

hangup() {
    supervise 'one=exec sleep 1000' 'two=exec sleep 1000' 'down=exec sleep 1000' || return 1
    ask 'stop down' | grep -Fx ok && within has_status down stopped || return 1
    one=$(pid_of one) && two=$(pid_of two) || return 1
    kill -HUP $child
    within is_another one "$one" && within is_another two "$two" && has_status down stopped && terminate
}

# One that will not end is killed, with what it has started; nothing is left.
stubborn() {
    supervise -k 100 'stubborn=trap "" TERM; sleep 1000 & echo $! >below; while :; do sleep 1000; done' \
        'good=exec sleep 1000' || return 1
    within test -s below || return 1
    terminate || return 1
    said 1 'stubborn: does not end, is killed' && said 1 'stubborn: was killed: Killed' &&
        said 1 'good: was killed: Terminated' && within is_over "$(cat below)"
}

# Nothing is blocked in them, nor ignored but what the C library keeps for itself, and none of the supervisor's
# descriptors is open.
clean_children() {
    supervise 'one=grep -E "Sig(Blk|Ign)" /proc/self/status >signals; ls -l /proc/self/fd >fds
        : >told; exec sleep 1000' || return 1
    within test -e told || return 1
    cat signals fds
    [ "$(grep -cE '	0000000[0-7][08]0000000$' signals)" -eq 2 ] && ! grep anon_inode fds && terminate
}

# A socket that is in use is left alone; one that a killed supervisor has left is replaced.
stale_socket() {
    supervise 'one=exec sleep 1000' || return 1
    "$bin/supervisor" -s control 'two=exec sleep 1000' >second_log 2>&1 && return 1
    cat second_log
    grep -xE 'supervisor: control: Address (already )?in use' second_log || return 1
    has_status one running && left=$(pid_of one) || return 1
    kill -KILL $child && wait $child
    child=''
    kill "$left"
    [ -S control ] || return 1
    env --default-signal=INT "$bin/supervisor" -s control 'one=exec sleep 1000' >log 2>&1 &
    child=$!
    within has_status one running && terminate
}

cannot_start() {
    supervise -d 20 'none=exec /no/where' || return 1
    within said 2 'none: exited with status 127' && within said 1 'none: starts again in 40 ms' && terminate
}

# ---- All ------------------------------------------------------------------------------------------------------------

for pattern in fanin fanout pipeline ratelimit reqreply workerpool; do
    test_is example_$pattern $pattern
done
treesum
test_is supervisor_ask build_ask
for name in backoff backoff_is_reset commands clients hangup stubborn clean_children stale_socket cannot_start; do
    test_is supervisor_$name $name
done
exit $failed
