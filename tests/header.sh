#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# Each public header compiles alone, without a warning, in every C and C++ it promises; spool/uring.h in those in which
# liburing's own header does.

set -u
: "${CC:=cc}" "${CXX:=c++}" "${PKG_CONFIG:=pkg-config}" "${URING:=1}"
failed=0

# compiles NAME HEADER FIRST LANGUAGE STANDARD COMPILER ...: FIRST is what has to compile, or the test is skipped.
compiles() {
    name=$1_$5 header=$2 first=$3 language=$4 flags="-x $4 -std=$5 -fsyntax-only"
    shift 5
    # shellcheck disable=SC2086
    if ! printf '%s\n' "$first" | "$@" $flags - 2>/dev/null; then
        echo "skip $name $* does not accept \"$first\" in this standard"
        return
    fi
    [ "$language" = c ] && flags="$flags -Wstrict-prototypes"
    # shellcheck disable=SC2086
    if printf '#include <%s>\n#include <%s>\n' "$header" "$header" |
        "$@" $flags -Wall -Wextra -Wpedantic -Wshadow -Werror -Iinclude - 2>&1; then
        echo "ok $name"
    else
        echo "not ok $name"
        failed=1
    fi
}

spool() {
    compiles header spool.h 'int x;' "$@"
}

# CC and CXX may carry options.
# shellcheck disable=SC2086
for std in c11 gnu11 c17 c2x; do spool c $std $CC; done
# shellcheck disable=SC2086
for std in c++11 c++14 c++17 c++20; do spool c++ $std $CXX; done

if [ "$URING" = 0 ]; then
    echo 'skip uring_header built without spool_uring'
    exit $failed
fi
liburing=$("$PKG_CONFIG" --cflags liburing) || exit

uring() {
    # shellcheck disable=SC2086
    compiles uring_header spool/uring.h '#include <liburing.h>' "$@" $liburing
}

# shellcheck disable=SC2086
for std in c11 gnu11 gnu17 gnu2x; do uring c $std $CC; done
# shellcheck disable=SC2086
for std in c++11 gnu++11 gnu++14 gnu++17 gnu++20; do uring c++ $std $CXX; done
exit $failed
