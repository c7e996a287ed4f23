#!/bin/bash
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# The real kernel fails: a program that uses every part of the library, whose system calls strace makes fail, one call
# and one error at a time. It has to come out right: what failed is told once, by the call that needed it, or not at
# all. And for good: one system call is forbidden in the whole program, as by a sandbox or an older kernel.

# CC may carry options.
# shellcheck disable=SC2086

set -u
export LC_ALL=C
: "${CC:=cc}" "${BUILD:=build}" "${PKG_CONFIG:=pkg-config}" "${URING:=1}"

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
failed=0 runs=0 hit=0

if ! command -v strace >/dev/null; then
    echo "skip inject strace is not installed"
    exit 77
fi
if ! strace -f -o "$tmp/try" -e trace=getppid -e inject=getppid:error=EPERM:when=1 true 2>"$tmp/error"; then
    echo "skip inject it may not be done here: $(head -n 1 "$tmp/error")"
    exit 77
fi

if [ "$URING" = 0 ]; then
    flags=-DNO_URING libs=''
else
    flags=$($PKG_CONFIG --cflags liburing) libs=$($PKG_CONFIG --libs liburing)
fi
if ! $CC -std=c11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Iinclude $flags -pthread -o "$tmp/all" tests/inject_all.c \
    "$BUILD/libspool.a" $libs; then
    echo 'not ok inject it does not build'
    exit 1
fi

# one CALL ERROR WHEN: true if it came out right.
one() {
    runs=$((runs + 1))
    strace -f -qq -o "$tmp/trace" -e "trace=$1" -e "inject=$1:error=$2:when=$3" timeout -k 5 90 "$tmp/all" \
        >"$tmp/output" 2>&1
    local status=$?
    grep -q INJECTED "$tmp/trace" && hit=$((hit + 1))
    [ $status -eq 0 ] && return
    echo "$1 call $3 fails with $2: status $status"
    cat "$tmp/output"
    tail -n 5 "$tmp/trace"
    return 1
}

# each CALL "ERRORS" "WHENS"
each() {
    local wrong=0 before=$hit error when
    for error in $2; do
        for when in $3; do
            one "$1" "$error" "$when" >>"$tmp/wrong" || wrong=1
        done
    done
    if [ $wrong = 0 ] && [ $hit = "$before" ]; then
        echo "skip inject.$1 the program never makes this call"
    elif [ $wrong = 0 ]; then
        echo "ok inject.$1"
    else
        echo "not ok inject.$1"
        sed 's/^/    /' "$tmp/wrong"
        failed=1
    fi
    : >"$tmp/wrong"
}

# Counted by thread; so the first calls of each are meant, and with "N+M" every M-th from the N-th on. Not futex, of
# which strace cannot tell a wait from a wake, which never fails; nor mmap, with which threads get their stacks. Both
# fail in tests/faults.sh.
each eventfd2 'EMFILE ENFILE ENOMEM' '1 2 3'
each epoll_create1 'EMFILE ENOMEM' '1 2'
each epoll_ctl 'ENOMEM ENOSPC' '1 2 3 4'
each epoll_pwait 'EINTR' '1 3'
each epoll_pwait2 'EINTR' '1 2'
# As before Linux 5.11, and in a sandbox that does not know it.
each epoll_pwait2 'ENOSYS EPERM' '2 1+1'
each timerfd_create 'EMFILE ENOMEM' '1 2'
each timerfd_settime 'EPERM' '1'
each ioctl 'ENOTTY' '1+1'
each signalfd4 'EMFILE ENOMEM' '1'
each pidfd_open 'EMFILE EPERM ENOSYS' '1'
each fcntl 'EMFILE' '3'
[ "$URING" = 0 ] || each io_uring_setup 'ENOMEM EPERM ENOSYS EINVAL' '1'
[ "$URING" = 0 ] || each io_uring_enter 'EINTR EAGAIN' '1 2'

echo "figure inject.runs $runs"
echo "figure inject.hit $hit"
exit $failed
