#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# The public header compiles alone, without a warning, in every C and C++ it promises.

set -u
: "${CC:=cc}" "${CXX:=c++}"
failed=0

# compiles LANGUAGE STANDARD COMPILER ...
compiles() {
    name=header_$2 language=$1 flags="-x $1 -std=$2 -fsyntax-only"
    shift 2
    # shellcheck disable=SC2086
    if ! echo 'int x;' | "$@" $flags - 2>/dev/null; then
        echo "skip $name $* does not know this standard"
        return
    fi
    [ "$language" = c ] && flags="$flags -Wstrict-prototypes"
    # shellcheck disable=SC2086
    if printf '#include <spool.h>\n#include <spool.h>\n' |
        "$@" $flags -Wall -Wextra -Wpedantic -Wshadow -Werror -Iinclude - 2>&1; then
        echo "ok $name"
    else
        echo "not ok $name"
        failed=1
    fi
}

# CC and CXX may carry options.
# shellcheck disable=SC2086
for std in c11 gnu11 c17 c2x; do compiles c $std $CC; done
# shellcheck disable=SC2086
for std in c++11 c++14 c++17 c++20; do compiles c++ $std $CXX; done
exit $failed
