#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# The README's table of the files of lib/ says which others each one asks: what the linker sees, no more and no less.

set -u
export LC_ALL=C
: "${BUILD:=build}" "${URING:=1}"

command -v nm >/dev/null || { echo 'skip rooms nm is missing' && exit 77; }
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

for object in lib/*.c; do
    room=$(basename "$object" .c)
    object=$BUILD/lib/$room.o
    [ "$room$URING" != uring0 ] || continue
    nm -g --defined-only "$object" | awk -v room="$room" '{ print $3, room }' >>"$tmp/defined"
    nm -u "$object" | awk -v room="$room" '$NF ~ /^spool/ { print $NF, room }' >>"$tmp/asked"
    echo "$room" >>"$tmp/rooms"
done
sort -o "$tmp/defined" "$tmp/defined"
sort "$tmp/asked" | join - "$tmp/defined" | awk '{ print $2, $3 }' | sort -u >"$tmp/seen"
awk -F '|' '/^## / { on = $0 == "## How it works" }
    on && $2 ~ /^ `[a-z_]+` *$/ { gsub(/[` ]/, "", $2); print $2 >rooms; n = split($3, asks, " ");
        for (i = 1; i <= n; i++) print $2, asks[i] }' rooms="$tmp/told_rooms" README.md | sort >"$tmp/told"
[ "$URING" != 0 ] || { grep -v '^uring' "$tmp/told" >"$tmp/less" && mv "$tmp/less" "$tmp/told" &&
    grep -vx uring "$tmp/told_rooms" >"$tmp/less" && mv "$tmp/less" "$tmp/told_rooms"; }
sort -o "$tmp/told_rooms" "$tmp/told_rooms"

failed=0
same() {
    if diff "$2" "$3" >"$tmp/differs"; then echo "ok rooms_$1"; else
        echo "not ok rooms_$1 (<: README.md, >: $BUILD/lib)" && sed 's/^/    /' "$tmp/differs" && failed=1
    fi
}
same files "$tmp/told_rooms" "$tmp/rooms"
same asks "$tmp/told" "$tmp/seen"
# What the two halves of a channel must never know.
if grep -E '^(ring|chain|hazard) (gate|lane|chan|select|wait)|^gate ' "$tmp/seen"; then
    echo 'not ok rooms_apart' && failed=1
else
    echo 'ok rooms_apart'
fi
exit $failed
