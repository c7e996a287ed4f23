#!/bin/bash
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# Builds the library for other processors and ABIs, warnings being errors, and runs there, under qemu-user where the
# machine cannot itself: tests/ports.c and a short soak, both linked statically, and the examples. Then those that
# cannot work, which have to be refused with a reason.
#
#   tests/ports.sh [PORT ...]
#
# A port whose compiler, C library or emulator is missing is skipped. An emulator makes the processor's instructions out
# of this machine's: it shows that the code is right but for its memory order, and nothing about that.
#
# MAKE   make
# JOBS   how many compilers at once; 2
# PORTS_MESSAGES  of the soak, 100000

set -u
cd "$(dirname "$0")/.." || exit 1
export LC_ALL=C WERROR=1
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CFLAGS CPPFLAGS LDFLAGS SAN BUILD

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
wanted=("$@")
ports_ok=0 ports_skipped=0 failed=0
flags='-std=c11 -D_GNU_SOURCE -O2 -g -pthread -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
    -Wno-psabi -Iinclude -Ilib -Itests -static'

# Without gcc-multilib, which Debian does not install beside a cross compiler, the kernel's headers are found only so.
m32='-m32 -idirafter /usr/include/x86_64-linux-gnu'
time64='-D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64'

is_wanted() {
    [ ${#wanted[@]} -eq 0 ] || [[ " ${wanted[*]} " == *" $1 "* ]]
}

skip() {
    is_wanted "$1" || return
    echo "skip ports-$1 $2"
    ports_skipped=$((ports_skipped + 1))
}

# step NAME COMMAND ...: one line, and the output where it failed.
step() {
    local name=$1 start=$SECONDS status
    shift
    "$@" >"$scratch/log" 2>&1 </dev/null
    status=$?
    if [ $status -eq 0 ]; then
        echo "ok ports-$name $((SECONDS - start)) s$(sed -n 's/^pointers of/, pointers of/p' "$scratch/log")"
        return
    fi
    echo "not ok ports-$name status $status: $*"
    sed 's/^/    /' "$scratch/log"
    failed=$((failed + 1))
    return 1
}

# Those that run to their end without arguments. The last words are the emulator.
examples_run() {
    local folder=$1 name
    shift
    for name in tools/examples/*.c; do
        name=$(basename "$name" .c)
        case $name in treesum | supervis* | word* | deadlock) continue ;; esac
        echo "$name"
        timeout 120 "$@" "$folder/$name" >/dev/null || return
    done
}

soaks() {
    timeout 300 "$@" -n "${PORTS_MESSAGES:-100000}" -r 1
}

# Sets emulator to what runs the program $1: nothing, or $2 with the libraries below $3, if there are any.
find_emulator() {
    emulator=()
    "$1" 2>/dev/null && return
    emulator=("$2")
    command -v "$2" >/dev/null || return
    [ ! -d "$3" ] || emulator+=(-L "$3")
    "${emulator[@]}" "$1"
}

port() {
    local name=$1 cc=$2 qemu=$3 root=$4 build=build/ports/$1 before=$failed program
    is_wanted "$name" || return
    if ! command -v "${cc%% *}" >/dev/null; then
        skip "$name" "no ${cc%% *}"
        return
    fi
    # shellcheck disable=SC2086
    if ! printf '#include <pthread.h>\nint main(void) { return 0; }\n' |
        $cc -pthread -static -x c -o "$scratch/probe" - 2>"$scratch/log"; then
        skip "$name" "$cc makes no program: $(grep -m1 -E 'error|cannot find' "$scratch/log")"
        return
    fi
    if ! find_emulator "$scratch/probe" "$qemu" "$root"; then
        skip "$name" "neither this machine nor $qemu runs it"
        return
    fi
    # Of liburing there is no copy for these.
    step "$name-build" "${MAKE:-make}" -j"${JOBS:-2}" BUILD="$build" CC="$cc" URING=0 all examples || return
    for program in tests/ports.c tests/soak/soak.c; do
        # shellcheck disable=SC2086
        step "$name-build-$(basename "$program" .c)" $cc $flags -o "$build/static-$(basename "$program" .c)" \
            "$program" "$build/libspool.a" || return
    done
    step "$name-smoke" timeout 120 "${emulator[@]}" "$build/static-ports"
    step "$name-soak" soaks "${emulator[@]}" "$build/static-soak"
    step "$name-examples" examples_run "$build" "${emulator[@]}"
    [ $failed -gt "$before" ] || ports_ok=$((ports_ok + 1))
}

# What is built for $2 says with an error that it needs $3.
refused() {
    local name=$1 cc=$2 reason=$3
    is_wanted "$name" || return
    command -v "${cc%% *}" >/dev/null || { skip "$name" "no ${cc%% *}" && return; }
    # shellcheck disable=SC2086
    if ! echo '#include <errno.h>' | $cc -E -x c -o /dev/null - 2>/dev/null; then
        skip "$name" "$cc has no headers"
        return
    fi
    # shellcheck disable=SC2086
    if $cc -std=c11 -D_GNU_SOURCE -Iinclude -fsyntax-only lib/ring.c lib/gate.c >"$scratch/log" 2>&1; then
        echo "not ok ports-$name was built, but cannot work"
        failed=$((failed + 1))
    elif grep -q "error:.*$reason" "$scratch/log"; then
        echo "ok ports-$name is refused: $reason"
        ports_ok=$((ports_ok + 1))
    else
        echo "not ok ports-$name fails without telling why"
        sed 's/^/    /' "$scratch/log"
        failed=$((failed + 1))
    fi
}

echo 'Where an emulator runs them, these do not test memory order.'
port arm64 aarch64-linux-gnu-gcc qemu-aarch64 /usr/aarch64-linux-gnu
port riscv64 riscv64-linux-gnu-gcc qemu-riscv64 /usr/riscv64-linux-gnu
port armhf arm-linux-gnueabihf-gcc qemu-arm /usr/arm-linux-gnueabihf
port armhf-time64 "arm-linux-gnueabihf-gcc $time64" qemu-arm /usr/arm-linux-gnueabihf
port i386 "gcc $m32" qemu-i386 /none
port i386-time64 "gcc $m32 $time64" qemu-i386 /none
refused i486 "gcc $m32 -march=i486" 'needs a processor that changes 8 bytes at once'
refused armv6 'arm-linux-gnueabihf-gcc -march=armv6 -marm -mfpu=vfp' 'needs a processor that changes 8 bytes at once'
command -v clang-19 >/dev/null && clang='clang-19' || clang=clang
refused i386-clang "$clang $m32" 'on 32-bit x86 needs gcc'

echo "figure ports.ok $ports_ok"
echo "figure ports.skipped $ports_skipped"
[ $failed -eq 0 ] || exit 1
[ $ports_ok -gt 0 ] || exit 77
