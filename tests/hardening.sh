#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# What the Makefile hardens itself, at the link: relocations read-only and bound at once, no executable stack, no code
# that is written to. And that the hardening flags of a distribution reach each object, in CPPFLAGS and CFLAGS.

# test_is calls the functions, and CC and MAKE may carry options.
# shellcheck disable=SC2317,SC2086

set -u
export LC_ALL=C
: "${CC:=cc}" "${MAKE:=make}" "${BUILD:=build}" "${URING:=1}"
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES

for tool in readelf nm ar; do
    command -v $tool >/dev/null || { echo "skip hardening there is no $tool" && exit 77; }
done
tree=$PWD
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

. tests/report
test_in=$tmp

so=$(readlink -f "$BUILD/libspool.so")
readelf -lW "$so" >"$tmp/segments" && readelf -dW "$so" >"$tmp/dynamic" || exit

has_relro() {
    grep GNU_RELRO segments
}

binds_now() {
    grep -E '\(FLAGS\).*BIND_NOW|\(BIND_NOW\)' dynamic && grep -E '\(FLAGS_1\).* NOW' dynamic
}

# Without the segment, the kernel may make the stack executable.
stack_is_data() {
    grep -E 'GNU_STACK .* RW +0x' segments
}

nothing_is_written_and_run() {
    grep -E '^ *LOAD' segments && ! grep -E '^ *LOAD.* (RWE|WE) ' segments
}

has_no_text_relocations() {
    grep SONAME dynamic && ! grep TEXTREL dynamic
}

searches_nowhere_else() {
    grep SONAME dynamic && ! grep -E 'RPATH|RUNPATH' dynamic
}

test_is hardening_relro has_relro
test_is hardening_bind_now binds_now
test_is hardening_stack stack_is_data
test_is hardening_write_xor_execute nothing_is_written_and_run
test_is hardening_no_text_relocations has_no_text_relocations
test_is hardening_no_run_path searches_nowhere_else

# What dpkg-buildflags of Debian 12 gives with hardening=+all, and what later releases add; -O1 is enough
# for them.
fortify='-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2'
flags='-O1 -fstack-protector-strong -fstack-clash-protection -Wformat -Werror=format-security'
case $(uname -m) in
x86_64) branches=-fcf-protection mark='IBT, SHSTK' ;;
aarch64) branches=-mbranch-protection=standard mark='BTI, PAC' ;;
*) branches='' mark='' ;;
esac

# What the compiler makes of these flags for any program, if anything.
printf '%s\n' '#include <stdio.h>' 'int put(int n, char *to);' \
    'int put(int n, char *to) { char s[64]; snprintf(s, sizeof s, "%d", n); return s[n] + (*to = *s); }' >"$tmp/probe.c"

# probe PATTERN FLAG ...: whether an object that is made with these flags has an undefined symbol or property like this.
probe() {
    pattern=$1
    shift
    (cd "$tmp" && $CC "$@" -c -o probe.o probe.c 2>/dev/null && { nm -u probe.o && readelf -n probe.o; } 2>/dev/null |
        grep -q "$pattern")
}

is_supported() {
    case $(uname -m) in x86_64 | aarch64) probe "$mark" $flags $branches ;; *) false ;; esac
}

is_supported || branches=''

builds() {
    $MAKE -s -C "$tree" CC="$CC" URING="$URING" BUILD="$tmp/build" CPPFLAGS="$fortify" CFLAGS="$flags $branches" \
        "$tmp/build/libspool.a" && mkdir objects && cd objects && ar x "$tmp/build/libspool.a"
}

fortified() {
    nm -u objects/*.o | grep _chk && ! nm -u objects/*.o | grep -wE 'v?sn?printf'
}

# Needed where a function has an array or a local whose address is taken: in most files.
stack_protected() {
    for object in objects/*.o; do nm -u "$object" | grep -q __stack_chk_fail && echo "$object"; done >with
    test $(($(wc -l <with) * 2)) -gt "$(find objects -name '*.o' | wc -l)"
}

branch_targets_marked() {
    for object in objects/*.o; do
        readelf -n "$object" | grep -q "$mark" || { echo "$object is not marked" && return 1; }
    done
}

test_is hardening_builds builds
if probe __snprintf_chk $fortify $flags; then
    test_is hardening_fortify fortified
else
    echo 'skip hardening_fortify the C library has no checked calls'
fi
if probe __stack_chk_fail $flags; then
    test_is hardening_stack_protector stack_protected
else
    echo 'skip hardening_stack_protector the compiler makes none'
fi
if [ -n "$branches" ]; then
    test_is hardening_branch_protection branch_targets_marked
else
    echo 'skip hardening_branch_protection the compiler or the processor has none'
fi
exit $failed
