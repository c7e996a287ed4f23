#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# The benchmark harness: every cell of the queues that need no other package runs and is written down, and queues that
# do wrong are told from those that do not.

# CC may carry options.
# shellcheck disable=SC2086

set -u
export LC_ALL=C
: "${CC:=cc}" "${BUILD:=build}" "${MAKE:=make}"

bench=$BUILD/bench/bench queues=$BUILD/bench/queues
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
failed=0

verdict() {
    if [ "$2" = 0 ]; then
        echo "ok $1"
    else
        echo "not ok $1"
        failed=1
        [ ! -f "$3" ] || cat "$3"
    fi
}

if [ ! -x "$bench" ] || [ ! -x "$queues/condvar-eventfd" ]; then
    "$MAKE" -s "$bench" "$queues/spool" "$queues/condvar" "$queues/condvar-eventfd" || exit 1
fi

# Every cell, every setting, few messages.
"$bench" -r 1 -m 300 -s words,elem,batch -o "$tmp/all" "$queues/spool" "$queues/condvar" "$queues/condvar-eventfd" \
    "$tmp/absent" >"$tmp/said" 2>"$tmp/err"
verdict bench_runs $? "$tmp/said"
"$bench" -r 1 -m 300 -s threads -c 'bounded_1024_mp*' -o "$tmp/threads" "$queues/spool" >"$tmp/out" 2>&1
verdict bench_threads $? "$tmp/out"
"$bench" -q -r 1 -c bounded_1_mpsc -o "$tmp/quick" "$queues/spool" "$queues/condvar" >"$tmp/out" 2>&1 &&
    grep -q '^bounded_1_mpsc no thread below half' "$tmp/out"
verdict bench_quick $? "$tmp/out"
grep -q '^bench: absent is left out: it is not built' "$tmp/err"
verdict bench_names_what_is_missing $? "$tmp/err"

missing=''
for cell in $("$queues/spool" --list); do
    grep -q "\"cell\": \"$cell\", \"settings\": \"\", \"set\": \"words\".*" "$tmp/all/results.json" &&
        awk -v cell="$cell" '$1 == cell && $2 > 0 { found = 1 } END { exit !found }' "$tmp/all/table.txt" ||
        missing="$missing $cell"
done
echo "$missing" >"$tmp/missing"
[ -z "$missing" ] && grep -q '"outcome": "ran"' "$tmp/all/results.json" && grep -q '^## Goals' "$tmp/all/table.md"
verdict bench_measures_every_cell $? "$tmp/missing"

if command -v python3 >/dev/null; then
    python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$tmp/all/results.json" >"$tmp/out" 2>&1
    verdict bench_json $? "$tmp/out"
else
    echo 'skip bench_json there is no python3 to read it'
fi
if command -v gnuplot >/dev/null; then
    [ -s "$tmp/all/words.svg" ] && [ -s "$tmp/all/words.png" ] && [ -s "$tmp/threads/threads_bounded_1024_mpmc.svg" ]
    verdict bench_plots $? "$tmp/all/log"
else
    grep -q 'plots are left out: gnuplot is missing' "$tmp/said"
    verdict bench_says_that_there_are_no_plots $? "$tmp/said"
fi

# What is asked for is what is measured.
"$bench" -l -c 'bounded_1_*pmc' -p 'cond*' -s words,batch -o "$tmp/list" "$queues/spool" "$queues/condvar" >"$tmp/out"
echo 'words bounded_1_mpmc: condvar' | cmp -s - "$tmp/out"
verdict bench_selects $? "$tmp/out"

# What is right is called right, what is wrong is called wrong.
if ! $CC -std=gnu11 -O1 -Wall -Wextra -Itools/bench/queues -pthread -o "$tmp/right" tests/bench_wrong.c \
    tools/bench/queues/cell.c -lm; then
    echo 'not ok bench_wrong it does not build'
    exit 1
fi

# refuses NAME CELL STATUS OUTPUT OPTION ...: what the harness says of a queue that goes wrong once.
refuses() {
    name=$1 cell=$2 status=$3 says=$4
    shift 4
    cp "$tmp/right" "$tmp/$name.tmp" && mv "$tmp/$name.tmp" "$tmp/$name"
    "$bench" -r 1 -m 4000 -s words -c "$cell" -o "$tmp/$name.d" "$@" "$tmp/$name" >"$tmp/out" 2>&1
    got=$?
    echo "exit status $got" >>"$tmp/out"
    [ $got = "$status" ] && grep -q "$says" "$tmp/out"
    verdict "bench_${name}_$cell" $? "$tmp/out"
}

for cell in bounded_n_seq bounded_1024_spsc unbounded_mpsc unbounded_mpmc; do
    cp "$tmp/right" "$tmp/plain"
    "$bench" -r 1 -m 4000 -s words -c "$cell" -o "$tmp/plain.d" "$tmp/plain" >"$tmp/out" 2>&1
    verdict "bench_right_$cell" $? "$tmp/out"
    refuses loses $cell 1 '^WRONG: loses .*: wrong: nothing has moved' -w 1
    refuses doubles $cell 1 '^WRONG: doubles .*: wrong: '
    refuses invents $cell 1 '^WRONG: invents .*: wrong: .* was never put'
done
refuses swaps bounded_n_seq 1 '^WRONG: swaps .*: wrong: producer 0: .* after '
refuses crashes bounded_n_spsc 1 '^FAILED: crashes .*: ended by signal 11'
refuses sleeps bounded_n_spsc 0 '^TIMED OUT: sleeps .*: not done after 1 s' -t 1

cp "$tmp/right" "$tmp/tears"
"$tmp/tears" bounded_n_mpmc elem=64 messages=4000 >"$tmp/out"
[ $? = 1 ] && grep -q '^wrong: an element was torn' "$tmp/out"
verdict bench_tears_bounded_n_mpmc $? "$tmp/out"

"$queues/condvar" bounded_1_select_rx >"$tmp/out"
[ $? = 77 ] && [ "$(wc -l <"$tmp/out")" = 1 ]
verdict bench_cannot $? "$tmp/out"
exit $failed
