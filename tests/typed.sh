#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# SPOOL_TYPED: its functions do what they say in C and in C++, without a warning, and what has a wrong type does not
# compile, while the same line without the mistake does.

# test_is calls the functions, and CC and CXX may carry options.
# shellcheck disable=SC2317,SC2086

set -u
export LC_ALL=C
: "${CC:=cc}" "${CXX:=c++}" "${BUILD:=build}"

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
strict='-Wall -Wextra -Wshadow -pedantic -Werror'

. tests/report
test_prefix=typed_

# ---- A program of two files, C and C++ alike -----------------------------------------------------------------------

cat >"$tmp/jobs.h" <<'EOF'
#include <spool.h>

struct job {
    int id;
    double weight;
    char text[20];
};

SPOOL_TYPED(jobs, struct job);
SPOOL_TYPED(numbers, int);
SPOOL_TYPED(names, char *);

int put_elsewhere(jobs j, const struct job *job);
EOF

cat >"$tmp/elsewhere.c" <<'EOF'
#include "jobs.h"

/* An element type, and names outside, that a function of the macro might use itself. */
typedef struct arg {
    char bytes[40];
} arg;
int n, c, chan, elem, ret, ret_elem, sel, capacity, timeout_ns;
SPOOL_TYPED(args, arg);

static void nothing(void *unused)
{
    (void)unused;
}

int put_elsewhere(jobs j, const struct job *job)
{
    args a;

    if (args_go(&a, nothing, NULL, 1) != 0 || spool_elem_size(a.chan) != 40)
        return -1;
    args_unref(a);
    return jobs_put(j, job);
}
EOF

cat >"$tmp/program.c" <<'EOF'
#include "jobs.h"
#include <stdio.h>
#include <string.h>

static int failures;

#define HOLDS(what) \
    do { \
        if (!(what)) { \
            printf("line %d: %s\n", __LINE__, #what); \
            failures++; \
        } \
    } while (0)

static const int64_t minute = INT64_C(60000000000);

static bool is(const struct job *job, int id)
{
    return job->id == id && job->weight == id / 2.0 && strcmp(job->text, "a job") == 0;
}

static struct job job_of(int id)
{
    struct job job = {id, id / 2.0, "a job"};
    return job;
}

static void add_one(void *arg)
{
    jobs self = jobs_self();
    struct job job;

    (void)arg;
    while (jobs_get(self, &job) == 0) {
        job = job_of(job.id + 1);
        if (jobs_put(self, &job) != 0)
            return;
    }
}

static void one_by_one(void)
{
    const struct job in = job_of(3);
    struct job out = job_of(0);
    jobs j;

    HOLDS(jobs_new(NULL, 2) == -EINVAL);
    HOLDS(jobs_new(&j, 2) == 0);
    HOLDS(spool_elem_size(j.chan) == sizeof in && spool_capacity(j.chan) == 2);
    HOLDS(jobs_put(j, &in) == 0 && jobs_try_put(j, &in) == 0 && jobs_try_put(j, &in) == -EAGAIN);
    HOLDS(jobs_put_for(j, &in, 1000) == -ETIMEDOUT);
    HOLDS(jobs_get(j, &out) == 0 && is(&out, 3));
    out = job_of(0);
    HOLDS(jobs_try_get(j, &out) == 0 && is(&out, 3) && jobs_try_get(j, &out) == -EAGAIN);
    HOLDS(jobs_get_for(j, &out, 1000) == -ETIMEDOUT);
    HOLDS(jobs_put_for(j, &in, minute) == 0);
    out = job_of(0);
    HOLDS(jobs_get_for(j, &out, minute) == 0 && is(&out, 3));
    HOLDS(put_elsewhere(j, &in) == 0);
    HOLDS(jobs_close(j) == 0 && jobs_close(j) == -EALREADY && jobs_put(j, &in) == -EPIPE);
    out = job_of(0);
    HOLDS(jobs_get(j, &out) == 0 && is(&out, 3) && jobs_get(j, &out) == -EPIPE);
    HOLDS(jobs_unref(j).chan == NULL);
}

static void batches(void)
{
    const struct job in[3] = {job_of(1), job_of(2), job_of(3)};
    struct job out[4] = {job_of(0), job_of(0), job_of(0), job_of(0)};
    jobs j;

    HOLDS(jobs_new(&j, 4) == 0);
    HOLDS(jobs_put_many(j, in, 3, minute) == 3);
    HOLDS(jobs_get_many(j, out, 4, minute) == 3 && is(&out[0], 1) && is(&out[1], 2) && is(&out[2], 3));
    HOLDS(jobs_unref(j).chan == NULL);
}

static void scalars_and_pointers(void)
{
    char text[] = "text";
    char *const fixed = text;
    char *name = text, *got_name = NULL;
    const int five = 5;
    int got = 0;
    numbers k;
    names w;

    HOLDS(numbers_new(&k, 1) == 0);
    HOLDS(names_new(&w, 2) == 0);
    HOLDS(numbers_put(k, &five) == 0 && numbers_get(k, &got) == 0 && got == 5);
    HOLDS(names_put(w, &name) == 0 && names_get(w, &got_name) == 0 && got_name == text);
    got_name = NULL;
    HOLDS(names_put(w, &fixed) == 0 && names_get(w, &got_name) == 0 && got_name == text);
    numbers_unref(k);
    names_unref(w);
}

static void threads_and_pairs(void)
{
    struct job job = job_of(1);
    jobs a, b, same;
    numbers k;

    HOLDS(jobs_self().chan == NULL);
    HOLDS(jobs_go(&a, add_one, NULL, 1) == 0);
    HOLDS(jobs_put(a, &job) == 0 && jobs_get(a, &job) == 0 && is(&job, 2));
    HOLDS(jobs_of(&same, a.chan) == 0 && same.chan == a.chan);
    HOLDS(numbers_of(&k, a.chan) == -EINVAL && jobs_of(&same, NULL) == -EINVAL && jobs_of(NULL, a.chan) == -EINVAL);
    HOLDS(jobs_close(a) == 0 && spool_go_wait(minute) == 0);
    jobs_unref(a);

    HOLDS(jobs_pair(&a, &b, 1) == 0 && jobs_pair(NULL, &same, 1) == -EINVAL && jobs_pair(&same, NULL, 1) == -EINVAL);
    job = job_of(5);
    HOLDS(jobs_put(a, &job) == 0);
    job = job_of(0);
    HOLDS(jobs_get(b, &job) == 0 && is(&job, 5));
    same = jobs_ref(a);
    HOLDS(same.chan == a.chan && jobs_unref(a).chan == NULL && spool_alive(b.chan));
    HOLDS(jobs_unref(same).chan == NULL && !spool_alive(b.chan));
    jobs_unref(b);
}

static void selects(void)
{
    const struct job in = job_of(9);
    struct job out = job_of(0);
    spool_select *sel;
    jobs j;

    HOLDS(jobs_new(&j, 1) == 0);
    HOLDS(spool_select_new(&sel) == 0);
    HOLDS(jobs_select_put(sel, j, &in) == 0 && spool_select_wait(sel, minute) == 0);
    HOLDS(spool_select_remove(sel, 0) == 0);
    HOLDS(jobs_select_get(sel, j, &out) == 0 && spool_select_wait(sel, minute) == 0 && is(&out, 9));
    HOLDS(jobs_select_get(sel, j, NULL) == 1);
    spool_select_free(sel);
    jobs_unref(j);
}

int main(void)
{
    one_by_one();
    batches();
    scalars_and_pointers();
    threads_and_pairs();
    selects();
    return failures != 0;
}
EOF

# runs LANGUAGE STANDARD COMPILER ...
runs() {
    language=$1 standard=$2
    shift 2
    for file in program elsewhere; do
        "$@" -x $language -std=$standard $strict -Iinclude -c -o "$tmp/$file.o" "$tmp/$file.c" || return
    done
    "$@" -o "$tmp/program" "$tmp/program.o" "$tmp/elsewhere.o" "$BUILD/libspool.a" -pthread &&
        timeout 120 "$tmp/program"
}

# standard LANGUAGE STANDARD COMPILER ...
standard() {
    language=$1 standard=$2
    shift 2
    if echo 'int x;' | "$@" -x $language -std=$standard -fsyntax-only - 2>/dev/null; then
        test_is "runs_$standard" runs $language $standard "$@"
    else
        echo "skip typed_runs_$standard $* does not know this standard"
    fi
}

# The program above leaves none out.
uses_every_function() {
    printf '#include <spool.h>\nSPOOL_TYPED(jobs, int);\n' | $CC -E -P -Iinclude - |
        grep -oE '\bjobs_[a-z_]+ ?\(' | tr -d ' (' | sort -u >"$tmp/functions"
    test -s "$tmp/functions" && while read -r function; do
        grep -qE "\b$function\(" "$tmp/program.c" || { echo "$function" && false; }
    done <"$tmp/functions"
}

test_is uses_every_function uses_every_function
for std in c11 c17 c2x; do standard c $std $CC; done
for std in c++11 c++14 c++17 c++20; do standard c++ $std $CXX; done

# ---- Mistakes --------------------------------------------------------------------------------------------------------

# A fragment is an expression over these.
fragment() {
    cat <<EOF
#include "jobs.h"
struct job *job;
const struct job *fixed;
int *number;
char *name;
const char *constant;
void (*fn)(void *);
spool_select *sel;
spool_chan *chan;
void f(jobs j, jobs other, numbers k, names w);
void f(jobs j, jobs other, numbers k, names w)
{
    (void)j, (void)other, (void)k, (void)w;
    (void)($1);
}
EOF
}

# compiles EXPRESSION FLAG ...: in C and in C++.
compiles() {
    fragment "$1" >"$tmp/fragment.c"
    shift
    $CC -x c -fsyntax-only -Iinclude "$@" "$tmp/fragment.c" &&
        $CXX -x c++ -fsyntax-only -Iinclude "$@" "$tmp/fragment.c"
}

# Neither in C nor in C++, with nobody asking for warnings.
does_not_compile() {
    fragment "$1" >"$tmp/fragment.c"
    ! $CC -x c -fsyntax-only -Iinclude "$tmp/fragment.c" && ! $CXX -x c++ -fsyntax-only -Iinclude "$tmp/fragment.c"
}

right_and_wrong() {
    compiles "$1" $strict && does_not_compile "$2"
}

# NAME|RIGHT|WRONG
for line in \
    'put_element|jobs_put(j,job)|jobs_put(j,number)' \
    'put_value|jobs_put(j,fixed)|jobs_put(j,5)' \
    'put_channel|jobs_put(j,job)|jobs_put(k,job)' \
    'put_raw_channel|jobs_put(j,job)|jobs_put(chan,job)' \
    'get_element|jobs_get(j,job)|jobs_get(j,number)' \
    'get_const|jobs_get(j,job)|jobs_get(j,fixed)' \
    'get_channel|numbers_get(k,number)|numbers_get(j,number)' \
    'try_put|jobs_try_put(j,fixed)|jobs_try_put(j,number)' \
    'try_get|jobs_try_get(j,job)|jobs_try_get(j,number)' \
    'put_for|jobs_put_for(j,fixed,0)|jobs_put_for(j,number,0)' \
    'get_for|jobs_get_for(j,job,0)|jobs_get_for(j,number,0)' \
    'put_many|jobs_put_many(j,fixed,1,0)|jobs_put_many(j,number,1,0)' \
    'put_many_channel|jobs_put_many(j,fixed,1,0)|jobs_put_many(k,fixed,1,0)' \
    'get_many|jobs_get_many(j,job,1,0)|jobs_get_many(j,number,1,0)' \
    'get_many_const|jobs_get_many(j,job,1,0)|jobs_get_many(j,fixed,1,0)' \
    'select_get|jobs_select_get(sel,j,job)|jobs_select_get(sel,j,number)' \
    'select_get_const|jobs_select_get(sel,j,job)|jobs_select_get(sel,j,fixed)' \
    'select_get_channel|jobs_select_get(sel,j,job)|jobs_select_get(sel,k,job)' \
    'select_put|jobs_select_put(sel,j,fixed)|jobs_select_put(sel,j,number)' \
    'select_put_channel|jobs_select_put(sel,j,fixed)|jobs_select_put(sel,k,fixed)' \
    'select_raw|spool_select_get(sel,j.chan,job)|spool_select_get(sel,j,job)' \
    'put_raw|spool_put(j.chan,job)|spool_put(j,job)' \
    'unref_raw|spool_unref(j.chan)|spool_unref(j)' \
    'new|jobs_new(&j,1)|jobs_new(&k,1)' \
    'new_raw|spool_chan_new(&j.chan,1,1)|spool_chan_new(&j,1,1)' \
    'pair|jobs_pair(&j,&other,1)|jobs_pair(&j,&k,1)' \
    'go|jobs_go(&j,fn,NULL,1)|jobs_go(&k,fn,NULL,1)' \
    'self|j=jobs_self()|k=jobs_self()' \
    'of|jobs_of(&j,chan)|jobs_of(&k,chan)' \
    'of_typed|jobs_of(&j,k.chan)|jobs_of(&j,k)' \
    'ref|j=jobs_ref(other)|j=jobs_ref(k)' \
    'unref|j=jobs_unref(j)|j=jobs_unref(k)' \
    'close|jobs_close(j)|jobs_close(k)' \
    'assign|j=other|j=k' \
    'pointer_put|names_put(w,&name)|names_put(w,name)' \
    'pointer_put_const|names_put(w,&name)|names_put(w,&constant)' \
    'pointer_get_const|names_get(w,&name)|names_get(w,&constant)'
do
    name=${line%%|*} both=${line#*|}
    test_is "wrong_$name" right_and_wrong "${both%%|*}" "${both#*|}"
done

# What spool_put warns of when it is ignored, these warn of. Compiled in full: gcc looks at results late.
ignored() {
    for file in c:"$CC" cc:"$CXX"; do
        compiler=${file#*:} file=$tmp/ignored.${file%%:*}
        printf '#include "jobs.h"\nint f(jobs j, struct job *job) { return jobs_try_get(j, job); }\n' >"$file"
        $compiler $strict -Iinclude -c -o "$tmp/ignored.o" "$file" || return
        printf '#include "jobs.h"\nvoid f(jobs j, struct job *job) { jobs_try_get(j, job); }\n' >"$file"
        ! $compiler -Werror=unused-result -Iinclude -c -o "$tmp/ignored.o" "$file" || return
    done
}
test_is result_is_not_ignored ignored

# Bytes are copied, so a class that is more than its bytes is no element.
trivial_only() {
    printf '#include <spool.h>\nstruct plain { int n; };\nSPOOL_TYPED(plains, plain);\n' >"$tmp/plain.cc"
    printf '#include <spool.h>\nstruct owner { int *n; ~owner() { delete n; } };\nSPOOL_TYPED(owners, owner);\n' \
        >"$tmp/owner.cc"
    $CXX -std=c++11 $strict -Iinclude -fsyntax-only "$tmp/plain.cc" &&
        ! $CXX -std=c++11 -Iinclude -fsyntax-only "$tmp/owner.cc"
}
test_is cxx_elements_are_trivially_copyable trivial_only
exit $failed
