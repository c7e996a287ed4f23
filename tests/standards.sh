#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# The library itself builds without a warning, and exports the same, as the newer ones of the C standards that its
# header promises; as the oldest of them, C11, it is always built. What CFLAGS say comes last, so this is what
# "make CFLAGS=-std=c17" does. CC is the compiler.

# CC and MAKE may carry options.
# shellcheck disable=SC2086

set -u
export LC_ALL=C
: "${CC:=cc}" "${MAKE:=make}" "${BUILD:=build}" "${URING:=1}"
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES

command -v nm >/dev/null || { echo 'skip standards there is no nm' && exit 77; }
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
failed=0

exports() {
    nm -D --defined-only "$1/libspool.so" >"$tmp/symbols" && awk '{ print $3 }' "$tmp/symbols"
}

builds_as() {
    $MAKE -s CC="$CC" URING="$URING" BUILD="$tmp/$1" WERROR=1 CFLAGS="-O0 -std=$1" && exports "$tmp/$1" >"$tmp/exports" &&
        diff "$tmp/expected" "$tmp/exports"
}

exports "$BUILD" >"$tmp/expected" && grep -q '^spool_put@@' "$tmp/expected" || exit
for std in c17 c2x; do
    if ! echo 'int x;' | $CC -x c -std=$std -fsyntax-only - 2>/dev/null; then
        echo "skip standards_$std $CC does not know it"
    elif builds_as $std >"$tmp/output" 2>&1; then
        echo "ok standards_$std"
    else
        echo "not ok standards_$std"
        sed 's/^/    /;100q' "$tmp/output"
        failed=1
    fi
done
exit $failed
