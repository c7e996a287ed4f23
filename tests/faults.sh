#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# Each system call and each allocation of the library fails once, in each way that it can, while the whole of the public
# interface is used: builds the library over a kernel that fails when told to, tests/faults, and runs it.
#
# usage: tests/faults.sh [SCENE [FILE:LINE ERROR KTH]]
#
# LIB        another folder to take the library's sources from
# FAULTS_SAN sanitizers to build with, as for -fsanitize

# CC may carry options.
# shellcheck disable=SC2086

set -u
export LC_ALL=C
: "${CC:=cc}" "${BUILD:=build}" "${LIB:=lib}" "${PKG_CONFIG:=pkg-config}" "${URING:=1}" "${FAULTS_SAN:=}"

objects=$BUILD/faults${FAULTS_SAN:+-$FAULTS_SAN}
flags="-std=c11 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -pthread -Iinclude"
case $($CC -dM -E -x c /dev/null) in *__x86_64__*) flags="$flags -mcx16" ;; esac
[ -z "$FAULTS_SAN" ] || flags="$flags -fsanitize=$FAULTS_SAN -fno-sanitize-recover=all -fno-omit-frame-pointer"

if [ "$URING" = 0 ]; then
    flags="$flags -DFAULTS_NO_URING" libs=''
else
    flags="$flags $($PKG_CONFIG --cflags liburing)" libs=$($PKG_CONFIG --libs liburing)
fi

# Object files are made anew when anything that they may be made of is newer.
build() {
    mkdir -p "$objects" || return 1
    for file in "$LIB"/*.c tests/faults/*.c; do
        name=${file##*/}
        case $URING$name in 0uring.c | 0scenes_uring.c) continue ;; esac
        case $file in
        tests/*) object=$objects/test_${name%.c}.o own="-Itests -Itests/faults $($PKG_CONFIG --cflags check)" ;;
        *)
            object=$objects/${name%.c}.o
            own="-include lib/export.h -fvisibility=hidden -Itests/faults -DSPOOL_SYS_HEADER=<failing_sys.h>"
            ;;
        esac
        if [ ! -e "$object" ] || [ -n "$(find "$file" "$LIB" include tests/faults tests/util.h \
            \( -path "$file" -o -name '*.h' \) -newer "$object")" ]; then
            $CC $flags $own -c -o "$object" "$file" || return 1
        fi
        made="$made $object"
    done
    $CC $flags -o "$objects/faults" $made $libs
}

made=''
if ! build; then
    echo 'not ok faults it does not build'
    exit 1
fi
exec "$objects/faults" "$@"
