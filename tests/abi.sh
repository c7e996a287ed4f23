#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# usage: tests/abi.sh [--update]
#
# What a program that was linked before relies on is as recorded in tests/abi/libspool.abi: functions, their versions,
# parameters and results, values of enumerations, the name it is loaded by. Any difference fails, an addition too: who
# means it records it with --update, in the same commit, and tells tools/debian/libspool0.symbols of a new function.
# What a handle points to is not part of it, nor are lines, folders, the compiler or the processor.

set -u
export LC_ALL=C
: "${BUILD:=build}" "${URING:=1}"

skip() {
    echo "skip abi $1"
    exit 77
}

so=$BUILD/libspool.so
recorded=tests/abi/libspool.abi
for tool in abidw abidiff readelf; do
    command -v $tool >/dev/null || skip "there is no $tool (abigail-tools, binutils)"
done
[ "$URING" != 0 ] || skip 'recorded with spool_uring, which URING=0 leaves out'
readelf -hW "$so" | grep -q ELF64 || skip 'recorded for processors of 64 bits'
readelf -SW "$so" | grep -q '\.debug_info' || skip 'types are read from debug information, and CFLAGS has no -g'

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
now=$scratch/now.abi

dump() {
    abidw --headers-dir include --drop-private-types --exported-interfaces-only --no-architecture --no-corpus-path \
        --no-comp-dir-path --no-show-locs --no-elf-needed --type-id-style hash "$so" >"$scratch/dump" &&
        sed '1a <!-- SPDX-License-Identifier: LGPL-3.0-or-later -->' "$scratch/dump"
}

dump >"$now" || exit
if [ "${1-}" = --update ]; then
    mkdir -p "${recorded%/*}" && cp "$now" $recorded
    exit
fi

# differs FILE: from what is recorded, also in what is harmless. abidiff says 4 for a change and 8 more if programs
# break, 1 and 2 if it cannot tell.
differs() {
    abidiff --harmless $recorded "$1" >"$scratch/differences" 2>&1
    status=$?
    [ $((status & 3)) -eq 0 ] || { echo 'not ok abi' && cat "$scratch/differences" && exit 1; }
    [ $status -ne 0 ]
}

if differs "$now"; then
    echo 'not ok abi'
    sed 's/^/    /' "$scratch/differences"
    echo '    if this is meant: tests/abi.sh --update'
    exit 1
fi
echo 'ok abi'

# notices WHAT SED: the comparison sees that what sed does to it is another interface.
notices() {
    sed "$2" "$now" >"$scratch/other.abi"
    if ! cmp -s "$now" "$scratch/other.abi" && differs "$scratch/other.abi"; then
        echo "ok abi_notices_$1"
    else
        echo "not ok abi_notices_$1"
        failed=1
    fi
}

failed=0
size=$(sed -n "s/.*typedef-decl name='size_t'.* id='\([^']*\)'.*/\1/p" "$now")
notices removed_function "/elf-symbol name='spool_tick'/d; /<function-decl name='spool_tick'/,/<\/function-decl>/d"
notices added_function "/elf-symbol name='spool_tick'/{p; s/spool_tick/spool_tock/}"
notices enumerator "s/\(enumerator name='SPOOL_IN_ORDER' value=\)'1'/\1'2'/"
notices parameter "/<function-decl name='spool_tick'/,/<\/function-decl>/s/type-id='[^']*' name='interval_ns'/type-id='$size' \
name='interval_ns'/"
notices soname "s/soname='libspool.so.0'/soname='libspool.so.1'/"
exit $failed
