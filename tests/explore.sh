#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# Every schedule of small programs on the library's own source, up to a small bound: tests/explore. "make verify" goes on
# from there.
#
# usage: tests/explore.sh [OPTION ...] [SCENARIO ...]    as for the explorer, which is built in build/explore first

set -u
: "${BUILD:=build}"
case $(uname -m) in
x86_64 | aarch64) ;;
*) echo "skip explore not tried on this processor" && exit 77 ;;
esac
tests/explore/build lib "$BUILD/explore" >&2 || exit 1
[ $# -eq 0 ] || exec "$BUILD/explore/explore" "$@"
# Not all of it in so little time; what is wrong shows soon or in "make verify".
said=$("$BUILD/explore/explore" -b 1 -s 0.1)
status=$?
printf '%s\n' "$said" | grep -Ev '^(ok|cut) '
exit $status
