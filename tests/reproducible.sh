#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# The same sources make the same bytes: the tarball of "make dist", packed twice and packed again from what was unpacked,
# and the library, built in this tree and in an unpacked tarball that has no git, with all that may differ from one
# builder to the next: folders, time, umask, time zone, locale, user's name, number of jobs. And the unpacked tarball
# builds and installs.

# test_is calls the functions, and MAKE may carry options.
# shellcheck disable=SC2317,SC2086

set -u
: "${CC:=cc}" "${MAKE:=make}" "${URING:=1}"
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES SOURCE_DATE_EPOCH

command -v xz >/dev/null || { echo 'skip reproducible there is no xz (xz-utils)' && exit 77; }
tree=$PWD
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

. tests/report
test_in=$tmp

# one_builder FOLDER GOAL ...; other_builder: make there, with BUILD and DESTDIR of their own.
one_builder() {
    where=$1
    shift
    (umask 022 && cd "$where" && env TZ=UTC LC_ALL=C LOGNAME=one USER=one HOME=/ \
        $MAKE -s -j1 CC="$CC" URING="$URING" BUILD="$tmp/one" DESTDIR="$tmp/one-root" prefix=/usr "$@")
}

other_builder() {
    where=$1
    shift
    (umask 077 && cd "$where" && env TZ=OTHER-12:45 LC_ALL=C.UTF-8 LOGNAME=other USER=other HOME="$tmp" \
        PATH="$tmp/bin:$PATH" $MAKE -s -j2 CC="$CC" URING="$URING" BUILD=out/side DESTDIR="$tmp/other-root" prefix=/usr "$@")
}

# Whoever builds from the tarball may have no git, or be inside of somebody else's repository.
mkdir "$tmp/bin" "$tmp/unpacked" && printf '#!/bin/sh\necho "git $*" >>%s\nexit 1\n' "$tmp/git-calls" >"$tmp/bin/git" &&
    chmod +x "$tmp/bin/git" || exit

tarball=$(sed -n 's/^.define SPOOL_VERSION_[A-Z]* //p' include/spool.h | paste -sd .)
copy=$tmp/unpacked/spool-$tarball
tarball=spool-$tarball.tar.xz

# As somebody else's umask would have it.
pack_and_unpack() {
    one_builder "$tree" dist && tar -xJf "$tmp/one/$tarball" -C "$tmp/unpacked" && chmod -R go= "$copy"
}

pack_again() {
    (umask 077 && cd "$tree" && TZ=OTHER-12:45 LC_ALL=C.UTF-8 $MAKE -s BUILD="$tmp/again" dist) &&
        cmp "$tmp/one/$tarball" "$tmp/again/$tarball"
}

pack_the_copy() {
    other_builder "$copy" dist && cmp "$tmp/one/$tarball" "$copy/out/side/$tarball"
}

has_every_file() {
    git -C "$tree" ls-files | LC_ALL=C sort >tracked && (cd "$copy" && find . -type f -printf '%P\n') |
        LC_ALL=C sort | diff tracked - &&
        git -C "$tree" ls-files | while read -r file; do cmp "$tree/$file" "$copy/$file" || exit; done
}

builds_and_installs() {
    other_builder "$copy" && other_builder "$copy" install && test ! -e git-calls &&
        test -s "$tmp/other-root/usr/include/spool.h"
}

# Modes are those of install, links count as what they say.
same_installed() {
    one_builder "$tree" install && diff -r --no-dereference one-root other-root &&
        (cd one-root && find . ! -type d -printf '%P %m %l\n' | sort) >listed &&
        (cd other-root && find . ! -type d -printf '%P %m %l\n' | sort) | diff listed -
}

names_no_folder() {
    ! grep -rlFe "$tmp" -e "$tree" one-root other-root
}

same() {
    cmp "$tmp/one/$1" "$copy/out/side/$1"
}

test_is dist pack_and_unpack
test_is dist_same_bytes pack_again
if [ -e .git ]; then test_is dist_has_every_file has_every_file; fi
test_is dist_builds_and_installs_without_git builds_and_installs
test_is dist_of_unpacked_same_bytes pack_the_copy
test_is reproducible_installed same_installed
test_is reproducible_archive same libspool.a
test_is reproducible_shared same "$(basename "$(readlink -f "$tmp/one/libspool.so")")"
test_is reproducible_pkg_config same spool.pc
test_is reproducible_names_no_folder names_no_folder
exit $failed
