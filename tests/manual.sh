#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# The manual: each page is clean mdoc, each public function has a page that declares it as the header does, references
# lead somewhere, and every program in the pages' EXAMPLES and in README.md compiles without a warning, runs and says
# by its exit status that it did what it shows.

# test_is calls the functions, and CC may carry options.
# shellcheck disable=SC2317,SC2086

set -u
export LC_ALL=C
: "${CC:=cc}" "${PKG_CONFIG:=pkg-config}" "${BUILD:=build}" "${URING:=1}"

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/samples" || exit 1
strict='-O2 -Wall -Wextra -Werror'
# What stands in a sample of spool_uring(3) for a kernel that has none for us.
no_uring='(Function not implemented|Operation not permitted)'

headers=include/spool.h uring_cflags='' uring_libs=''
pages=$(ls lib/man/*.[1-9])
if [ "$URING" = 0 ]; then
    pages=$(echo "$pages" | grep -v /spool_uring)
else
    headers="$headers include/spool/uring.h"
    uring_cflags=$("$PKG_CONFIG" --cflags liburing) && uring_libs=$("$PKG_CONFIG" --libs liburing) || exit
fi

. tests/report
test_prefix=manual_

# ---- Pages ------------------------------------------------------------------------------------------------------------

# A machine whose clock is behind may say that a page is from the future.
is_clean() {
    mandoc -Tlint -Wwarning "$1" >"$tmp/lint" 2>&1
    ! grep -v 'date in the future' "$tmp/lint"
}

# names PAGE: what it describes.
names() {
    sed -n 's/^\.Nm \([A-Za-z_]*\).*/\1/p' "$1"
}

# In one page, by the page's NAME; and no page describes what there is not.
every_function_has_its_page() {
    {
        grep -ohE '\bspool_[a-z_]+\(' $headers | tr -d '('
        echo SPOOL_TYPED
    } | sort -u >"$tmp/functions"
    for page in $pages; do
        case $page in *.3) names "$page" ;; esac
    done | sort >"$tmp/described"
    test -s "$tmp/described" && diff "$tmp/functions" "$tmp/described"
}

is_named_after_its_first() {
    page=${1##*/}
    [ "$(names "$1" | head -n 1)" = "${page%.*}" ] &&
        grep -x "\.Dt $(echo "${page%.*}" | tr '[:lower:]' '[:upper:]') ${page##*.}" "$1"
}

# prototypes PAGE: the declarations of its SYNOPSIS, as C.
prototypes() {
    awk '
        function rest(from,    text, i) { # the arguments from that one on, which may be quoted, with commas
            text = $0
            for (i = 1; i < from; i++) { sub(/^[^ ]+ */, "", text) }
            if (text ~ /^"/) { gsub(/" "/, ", ", text) } else { gsub(/ /, ", ", text) }
            gsub(/"/, "", text)
            return text
        }
        /^\.Sh / { on = $2 == "SYNOPSIS"; next }
        !on { next }
        /^\.Ft / { sub(/^\.Ft /, ""); gsub(/"/, ""); type = $0 }
        /^\.Fo / { call = type " " $2 "("; comma = "" }
        /^\.Fa / { call = call comma rest(2); comma = ", " }
        /^\.Fc/ { print call ");" }
        /^\.Fn / && type { print type " " $2 "(" rest(3) ");" }' "$1"
}

# Declared again with another type, a function does not compile.
synopsis_is_right() {
    {
        sed -n 's/^\.In \(.*\)/#include <\1>/p' "$1" | head -n 1
        prototypes "$1"
    } >"$tmp/synopsis.c"
    cat "$tmp/synopsis.c"
    names "$1" | grep -v '[A-Z]' >"$tmp/names"
    sed -n 's/.*[ *]\(spool_[a-z_]*\)(.*/\1/p' "$tmp/synopsis.c" | diff "$tmp/names" - &&
        $CC $strict -Iinclude $uring_cflags -fsyntax-only "$tmp/synopsis.c"
}

# Of the pages there are here; those of others are not ours to know. Without spool_uring, its page is still named.
references_lead_somewhere() {
    for page in lib/man/*.[1-9]; do
        section=${page##*.}
        names "$page" | sed "s/$/ $section/"
    done | sort -u >"$tmp/known"
    cat $pages | grep -oE '\bXr (spool|SPOOL)[A-Za-z_]* [0-9]' | cut -d ' ' -f 2,3 | sort -u >"$tmp/referenced"
    test -s "$tmp/referenced" && ! comm -13 "$tmp/known" "$tmp/referenced" | grep .
}

# ---- Programs -----------------------------------------------------------------------------------------------------------

# samples_of PAGE: what is displayed literally in its EXAMPLES, each as a file PAGE.N.c.
samples_of() {
    awk -v to="$tmp/samples/${1##*/}" '
        /^\.Sh / { on = $2 == "EXAMPLES" }
        on && /^\.Bd -literal/ { file = to "." ++n ".c"; next }
        /^\.Ed/ { file = "" }
        file { gsub(/\\e/, "\\\\"); sub(/^\\&/, ""); print >file }' "$1"
}

# The same of a file of Markdown: what stands between ```c and ```.
blocks_of() {
    awk -v to="$tmp/samples/${1##*/}" '
        /^```c$/ { file = to "." ++n ".c"; next }
        /^```/ { file = "" }
        file { print >file }' "$1"
}

# The first program of the README waits for Enter.
does_what_it_shows() {
    grep -q '^int main(' "$1" || { echo 'it is not a whole program' && return 1; }
    uv=''
    if grep -q '<uv\.h>' "$1"; then
        uv=$("$PKG_CONFIG" --cflags --libs libuv 2>/dev/null) ||
            { echo 'libuv is missing ("make deps-loops" installs it)' && return 77; }
    fi
    $CC $strict -Iinclude $uring_cflags -o "$tmp/program" "$1" "$BUILD/libspool.a" -pthread $uring_libs $uv || return
    echo | timeout 60 "$tmp/program" >"$tmp/said" 2>&1
    status=$?
    cat "$tmp/said"
    grep -q 'spool/uring\.h' "$1" && grep -xE "program: $no_uring" "$tmp/said" && return 77
    echo "exit status $status"
    return $status
}

if command -v mandoc >/dev/null; then
    for page in $pages; do test_is "lint_${page##*/}" is_clean "$page"; done
else
    echo 'skip manual_lint mandoc is not installed'
fi
test_is every_function_has_its_page every_function_has_its_page
test_is references_lead_somewhere references_lead_somewhere
for page in $pages; do
    name=${page##*/}
    test_is "name_$name" is_named_after_its_first "$page"
    case $name in *[!a-z_]*.3 | *.[!3]) ;; *) test_is "synopsis_$name" synopsis_is_right "$page" ;; esac
    case $name in *.[37]) samples_of "$page" && test_is "has_examples_$name" test -s "$tmp/samples/$name.1.c" ;; esac
done
blocks_of README.md
test_is has_examples_README.md test -s "$tmp/samples/README.md.1.c"
for sample in "$tmp"/samples/*.c; do
    name=${sample##*/}
    test_is "example_${name%.c}" does_what_it_shows "$sample"
done
exit $failed
