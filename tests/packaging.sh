#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# That tools/debian says of the library what is so, without building packages ("make deb" does): its version, what it
# needs, and the list of its symbols.

# test_is calls the functions.
# shellcheck disable=SC2317

set -u
export LC_ALL=C
: "${BUILD:=build}" "${URING:=1}"

debian=tools/debian
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

. tests/report

version=$(sed -n 's/^.define SPOOL_VERSION_[A-Z]* //p' include/spool.h | paste -sd .)
soname=$(basename "$(readlink "$BUILD/libspool.so")")

versions_agree() {
    head -n 1 "$debian/changelog" >"$tmp/first" && cat "$tmp/first" && grep -F "spool ($version-" "$tmp/first"
}

package_is_named_for_soname() {
    grep -x "Package: libspool${soname##*.}" "$debian/control" && grep -F "$soname libspool${soname##*.} " \
        "$debian/libspool0.symbols"
}

needs_agree() {
    need=$(sed -n 's/^Requires.private: liburing >= //p' spool.pc.in) && [ -n "$need" ] &&
        [ "$(grep -cF "liburing-dev (>= $need)" "$debian/control")" -eq 2 ]
}

# No symbol more, none less, none of another version.
symbols_are_exact() {
    dpkg-gensymbols -c4 -plibspool0 "-v$version" "-P$tmp" "-e$(readlink -f "$BUILD/libspool.so")" \
        "-I$debian/libspool0.symbols" -O/dev/null
}

test_is packaging_version versions_agree
test_is packaging_soname package_is_named_for_soname
test_is packaging_needs needs_agree
if [ "$URING" = 0 ]; then
    echo 'skip packaging_symbols listed with spool_uring, which URING=0 leaves out'
elif ! command -v dpkg-gensymbols >/dev/null; then
    echo 'skip packaging_symbols there is no dpkg-gensymbols (dpkg-dev)'
else
    test_is packaging_symbols symbols_are_exact
fi
exit $failed
