#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# What bash offers for the command spool, with bash's own means alone and where it is there also with the package
# bash-completion.

# test_is calls the functions.
# shellcheck disable=SC2317

set -u
export LC_ALL=C
: "${BUILD:=build}"

command -v bash >/dev/null || { echo 'skip completion there is no bash' && exit 77; }
scratch=$(mktemp -d) || exit 1
mapped=''
trap 'rm -rf "$scratch"; [ -z "$mapped" ] || kill $mapped' EXIT
failed=0

# offers WORD ...: one line for each completion of the last word.
offers() {
    # shellcheck disable=SC2016
    bash --norc -c '
        [ -z "$package" ] || . "$package"
        . tools/spool/completion.bash
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*"
        COMP_POINT=${#COMP_LINE}
        _spool spool "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf "%s\n" "${COMPREPLY[@]}"' bash "$@" 2>"$scratch/errors" >"$scratch/offered" </dev/null
    # The one thing that only a shell with somebody at the keyboard can do.
    if grep -v 'compopt: not currently executing' "$scratch/errors"; then return 1; fi
}

# exactly EXPECTED WORD ...
exactly() {
    expected=$1
    shift
    offers "$@" && got=$(sort "$scratch/offered" | tr '\n' ' ') && [ "$got" = "$expected " ] && return
    echo "    expected: $expected, got: ${got-}"
    return 1
}

# one_is EXPECTED WORD ...; none_is
one_is() {
    expected=$1
    shift
    offers "$@" && grep -qxFe "$expected" "$scratch/offered"
}

none_is() {
    expected=$1
    shift
    offers "$@" && ! grep -qxFe "$expected" "$scratch/offered"
}

test_is() {
    name=$1
    shift
    if "$@"; then echo "ok $name"; else echo "not ok $name" && failed=1; fi
}

# A process is ours once the library is in its map; before, it is a shell.
LD_PRELOAD=$PWD/$BUILD/libspool.so sleep 600 &
mapped=$!
# shellcheck disable=SC2016
timeout 60 sh -c 'until grep -q libspool /proc/$1/maps; do sleep 0.01; done' sh $mapped ||
    { echo 'not ok completion no process maps the library' && exit 1; }

suite() {
    test_is "$1subcommands" exactly 'dump ps top trace' spool ''
    test_is "$1subcommand" exactly 'top trace' spool t
    test_is "$1options" exactly '-- --json -o -p' spool trace -
    test_is "$1options_of_top" exactly '--json -d -n' spool top -
    test_is "$1option" exactly '--json' spool ps --j
    test_is "$1pids" one_is $mapped spool dump ''
    test_is "$1pids_of_others" none_is $$ spool dump ''
    test_is "$1pid" one_is $mapped spool trace -p "${mapped%?}"
    test_is "$1command" one_is mkdir spool trace -- mkdi
}

package=''
export package
suite completion_
package=/usr/share/bash-completion/bash_completion
if [ -r $package ]; then
    suite completion_package_
    test_is completion_package_arguments one_is --parents spool trace -- mkdir --par
else
    echo 'skip completion_package there is no bash-completion'
fi
exit $failed
