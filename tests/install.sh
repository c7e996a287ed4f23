#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# What a user meets: installs, looks at what lies there, builds programs outside the tree against it with pkg-config,
# runs them, and uninstalls. All of it as configured, and a part with URING=0.

# test_is calls the functions, and CC, CXX and MAKE may carry options.
# shellcheck disable=SC2317,SC2086

set -u
export LC_ALL=C
: "${CC:=cc}" "${CXX:=c++}" "${PKG_CONFIG:=pkg-config}" "${MAKE:=make}" "${BUILD:=build}" "${URING:=1}"
unset PKG_CONFIG_PATH PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR

tree=$PWD
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
failed=0

# test_is NAME COMMAND ...: runs it in the scratch folder; its output is shown if it fails, and its last line if it
# exits with 77, skipped. A program that prints without end is stopped by the limit on files.
test_is() {
    name=$1
    shift
    (ulimit -f 100000 && cd "$tmp" && "$@") >"$tmp/output" 2>&1
    case $? in
    0) echo "ok $name" ;;
    77) echo "skip $name $(tail -n 1 "$tmp/output")" ;;
    *)
        echo "not ok $name"
        sed 's/^/    /;100q' "$tmp/output"
        failed=1
        ;;
    esac
}

in_tree() {
    $MAKE -s --no-print-directory -C "$tree" BUILD="$BUILD" CC="$CC" "$@"
}

# What a package does: everything below DESTDIR, the prefix in the .pc file. Then a prefix without DESTDIR.
package=$tmp/package
usr=$tmp/usr
major=$(sed -n 's/#define SPOOL_VERSION_MAJOR //p' include/spool.h)
version=$major.$(sed -n 's/#define SPOOL_VERSION_MINOR //p' include/spool.h)
node=SPOOL_$version
version=$version.$(sed -n 's/#define SPOOL_VERSION_PATCH //p' include/spool.h)

install_package() {
    in_tree install DESTDIR="$package" prefix=/opt/spool libdir=/opt/spool/lib64
}

install_prefix() {
    in_tree install prefix="$usr"
}

# without_uring COMMAND ...: with the library built and installed by URING=0.
without_uring() {
    URING=0 BUILD=$tmp/no-uring usr=$tmp/bare so=$tmp/bare/lib/libspool.so
    export URING
    "$@"
}

listing() {
    (cd "$1" && find . ! -type d -printf '%P %l\n' | sed 's/ $//' | sort)
}

# Every page of the manual, and one for each function of the headers.
manual_files() {
    {
        (cd "$tree/lib/man" && for page in *.[1-9]; do echo "man${page##*.}/$page"; done)
        functions "$tree/include" | sed 's,.*,man3/&.3,'
    } | sort -u | if [ "$URING" = 0 ]; then grep -v /spool_uring; else cat; fi
}

has_files() {
    listing "$1" >listed
    manual_files | sed "s,^,$2/share/man/," >manual
    sort - manual >expected <<EOF
$2/bin/spool
$2/include/spool.h
$([ "$URING" = 0 ] || echo "$2/include/spool/uring.h")
$2/$3/libspool.a
$2/$3/libspool.so libspool.so.$major
$2/$3/libspool.so.$major libspool.so.$version
$2/$3/libspool.so.$version
$2/$3/pkgconfig/spool.pc
$2/share/bash-completion/completions/spool
$2/share/gdb/auto-load${2:+/}${2:-$1}/$3/libspool.so.$version-gdb.py
EOF
    sed -i 's,^/,,; /^$/d' expected
    diff expected listed && cmp "$tree/include/spool.h" "$1/$2/include/spool.h" &&
        test "$(find "$1" -type f ! -perm -444)" = ''
}

so=$usr/lib/libspool.so
archive=$usr/lib/libspool.a

# functions FOLDER: of the headers there.
functions() {
    find "$1" -name '*.h' -exec grep -ohE '\bspool_[a-z_]+\(' {} + | tr -d '(' | sort -u
}

# Every function of the headers is exported in the release's version node, and nothing else.
exports_the_headers() {
    functions "$usr/include" | sed "s/$/@@$node/" >expected
    nm -D --defined-only "$so" | awk '$2 != "A" { print $3 }' | sort >exported
    test -s expected && diff expected exported
}

# But for what <sys/sdt.h> counts the probes' addresses from: weak, hidden, and the same in every file that has probes.
archive_keeps_to_its_names() {
    nm -g --defined-only "$archive" |
        awk 'NF == 3 && $3 !~ /^spool_/ && $3 != "_.stapsdt.base" { print; bad = 1 } END { exit bad }'
}

# A function's page describes it, or sends on to one that does.
manual_describes_the_functions() {
    functions "$usr/include" >expected && test -s expected && while read -r function; do
        page=$usr/share/man/man3/$function.3
        to=$(sed -n '1s/^\.so //p' "$page")
        grep -qE "^\.Nm $function( ,)?$" "${to:+$usr/share/man/}${to:-$page}" || { echo "$function" && return 1; }
    done <expected
}

soname_is_right() {
    readelf -d "$so" >dynamic && grep -F "soname: [libspool.so.$major]" dynamic
}

stays_mapped() {
    readelf -d "$so" | grep -E 'NODELETE' &&
        cat >dl.c <<'EOF' && $CC -o dl dl.c -ldl && timeout 60 ./dl "$so"
#include <dlfcn.h>
int main(int argc, char **argv)
{
    void *lib = argc == 2 ? dlopen(argv[1], RTLD_NOW) : 0;
    if (!lib || dlclose(lib))
        return 1;
    return dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD) ? 0 : 2;
}
EOF
}

# A thread of spool_go that is kept for reuse outlives the dlclose, and ends by itself some seconds later.
kept_thread_ends() {
    cat >kept.c <<'EOF' && $CC -o kept kept.c -ldl -pthread && timeout 60 ./kept "$so"
#include <dirent.h>
#include <dlfcn.h>
#include <stddef.h>
#include <time.h>
static void nothing(void *arg)
{
    (void)arg;
}
static int threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    int n = -2;
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}
int main(int argc, char **argv)
{
    void *chan = NULL, *lib = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    int (*go)(void **, void (*)(void *), void *, size_t, size_t);
    int (*go_wait)(long long);
    void *(*unref)(void *);
    struct timespec some = {0, 100000000};
    if (!lib)
        return 1;
    *(void **)&go = dlsym(lib, "spool_go");
    *(void **)&go_wait = dlsym(lib, "spool_go_wait");
    *(void **)&unref = dlsym(lib, "spool_unref");
    if (!go || !go_wait || !unref || go(&chan, nothing, NULL, 0, 1) || go_wait(-1))
        return 2;
    unref(chan);
    if (dlclose(lib) || threads() != 2)
        return 3;
    for (int i = 0; threads() != 1; i++)
        if (i == 300 || nanosleep(&some, NULL))
            return 4;
    return 0;
}
EOF
}

# needs_only WHAT: besides the C library, as a pattern.
needs_only() {
    readelf -d "$so" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' >needed
    test -s needed && ! grep -vE "^(libc\\.|ld-|libpthread\\.${1:+|$1})" needed
}

says() {
    expected=$1
    shift
    got=$("$@" | tr -s ' ' | sed 's/ $//')
    echo "expected: $expected"
    echo "got:      $got"
    test "$got" = "$expected"
}

pc_in() {
    path=$1
    shift
    PKG_CONFIG_PATH=$path "$PKG_CONFIG" "$@" spool
}

pc_of_prefix() {
    says "-I$usr/include -L$usr/lib -lspool" pc_in "$usr/lib/pkgconfig" --cflags --libs &&
        says "$version" pc_in "$usr/lib/pkgconfig" --modversion &&
        pc_in "$usr/lib/pkgconfig" --static --libs | grep -e '-pthread'
}

pc_names_liburing() {
    says 'liburing >= 2.3' pc_in "$usr/lib/pkgconfig" --print-requires-private &&
        pc_in "$usr/lib/pkgconfig" --static --libs | grep -e '-lspool.* -luring'
}

# Without any other .pc file in reach.
pc_stands_alone() {
    says "-I$usr/include -L$usr/lib -lspool -pthread" env PKG_CONFIG_LIBDIR="$usr/lib/pkgconfig" \
        "$PKG_CONFIG" --static --cflags --libs spool
}

pc_of_package() {
    says '-I/opt/spool/include -L/opt/spool/lib64 -lspool' pc_in "$package/opt/spool/lib64/pkgconfig" --cflags --libs
}

pc_moves() {
    says "-I$package/opt/spool/include -L$package/opt/spool/lib64 -lspool" \
        pc_in "$package/opt/spool/lib64/pkgconfig" --define-prefix --cflags --libs
}

# C and C++ alike.
write_program() {
    cat <<'EOF'
#include <spool.h>
#include <stdio.h>

static void doubler(void *arg)
{
    int n;
    (void)arg;
    while (spool_get(spool_self(), &n) == 0) {
        n *= 2;
        if (spool_put(spool_self(), &n) != 0)
            return;
    }
}

int main(void)
{
    spool_chan *chan = NULL;
    spool_select *sel = NULL;
    int n = 21, got = 0;

    if (spool_go(&chan, doubler, NULL, sizeof n, 1) != 0 || spool_put(chan, &n) != 0)
        return 1;
    if (spool_select_new(&sel) != 0 || spool_select_get(sel, chan, &got) != 0 || spool_select_wait(sel, -1) != 0)
        return 2;
    sel = spool_select_free(sel);
    if (spool_close(chan) != 0 || spool_go_wait(-1) != 0)
        return 3;
    chan = spool_unref(chan);
    printf("%d\n", got);
    return got != 42 || chan || sel;
}
EOF
}

# The same with an io_uring; 77 where the kernel has none for us.
write_uring_program() {
    cat <<'EOF'
#include <spool/uring.h>
#include <stdio.h>

int main(void)
{
    spool_chan *ring = NULL;
    struct io_uring_sqe sqe;
    struct io_uring_cqe cqe;
    int r = spool_uring(&ring, 4);

    if (r == -ENOSYS || r == -EPERM) {
        printf("no io_uring here: error %d\n", -r);
        return 77;
    }
    if (r != 0 || !spool_uring_ring(ring))
        return 1;
    io_uring_prep_nop(&sqe);
    io_uring_sqe_set_data64(&sqe, 42);
    if (spool_put(ring, &sqe) != 0 || spool_get(ring, &cqe) != 0 || cqe.res != 0)
        return 2;
    ring = spool_unref(ring);
    printf("%d\n", (int)cqe.user_data);
    return cqe.user_data != 42 || ring;
}
EOF
}

run_it=true

# built FILE MODE COMPILER ...: compiles exactly as a user does, with flags from pkg-config alone; runs it.
built() {
    file=$1 mode=$2
    shift 2
    flags=$(pc_in "$usr/lib/pkgconfig" ${mode:+--static} --cflags --libs) || return
    rm -f program
    "$@" "$file" -o program $mode $flags || return
    if [ -n "$mode" ]; then
        if readelf -d program | grep -F libspool; then return 1; fi
    else
        readelf -d program | grep -F "libspool.so.$major" || return
    fi
    ! $run_it || echo | LD_LIBRARY_PATH=$usr/lib timeout 60 ./program
}

prints() {
    expected=$1
    shift
    "$@" >printed || { status=$? && cat printed && return $status; }
    tail -n 1 printed | grep -Fx "$expected"
}

strict='-Wall -Wextra -Wpedantic -Werror'
# The archive while the C library stays shared: what most people mean by linking spool statically.
half='-Wl,-Bstatic -lspool -Wl,-Bdynamic'

static_here() {
    echo 'int main(void) { return 0; }' | $CC -x c -static -o "$tmp/program" - 2>/dev/null
}

half_static() {
    compiler=$1 file=$2
    $compiler $strict -o program "$file" "-I$usr/include" "-L$usr/lib" $half -pthread &&
        if readelf -d program | grep -F libspool; then false; else timeout 60 ./program | grep -Fx 42; fi
}

# Those that run to their end without arguments are run.
example() {
    cp "$tree"/tools/examples/*.[ch] . || return
    case $1 in
    treesum | supervis* | word* | deadlock) run_it=false ;;
    *) run_it=true ;;
    esac
    built "$1.c" '' $CC && { ! $run_it || test -s "$tmp/output"; }
}

write_program >"$tmp/program.c"
cp "$tmp/program.c" "$tmp/program.cc"
write_uring_program >"$tmp/ring.c"
cp "$tmp/ring.c" "$tmp/ring.cc"

test_is install_destdir install_package
test_is install_destdir_files has_files "$package" opt/spool lib64
test_is install_prefix install_prefix
test_is install_prefix_files has_files "$usr" '' lib
if command -v readelf >/dev/null && command -v nm >/dev/null; then
    test_is exports_the_headers exports_the_headers
    test_is archive_keeps_to_its_names archive_keeps_to_its_names
    test_is soname soname_is_right
    if [ "$URING" = 0 ]; then
        test_is needs_only_libc needs_only ''
    else
        test_is needs_only_libc_liburing needs_only 'liburing\.'
    fi
    test_is dlclose_keeps_it_mapped stays_mapped
    test_is kept_thread_ends_after_dlclose kept_thread_ends
else
    echo 'skip exports there is no nm or no readelf'
fi
test_is manual_describes_the_functions manual_describes_the_functions
test_is pkg_config_prefix pc_of_prefix
test_is pkg_config_destdir pc_of_package
test_is pkg_config_define_prefix pc_moves
test_is links_c_shared prints 42 built program.c '' $CC $strict
test_is links_cxx_shared prints 42 built program.cc '' $CXX $strict
if static_here; then
    test_is links_c_static prints 42 built program.c -static $CC $strict
    test_is links_cxx_static prints 42 built program.cc -static $CXX $strict
else
    echo 'skip links_c_static there is no static C library'
    echo 'skip links_cxx_static there is no static C library'
fi
test_is links_c_archive half_static "$CC" program.c
test_is links_cxx_archive half_static "$CXX" program.cc
if [ "$URING" != 0 ]; then
    test_is pkg_config_liburing pc_names_liburing
    test_is uring_c_shared prints 42 built ring.c '' $CC $strict
    test_is uring_cxx_shared prints 42 built ring.cc '' $CXX $strict
    if static_here; then
        test_is uring_c_static prints 42 built ring.c -static $CC $strict
        test_is uring_cxx_static prints 42 built ring.cc -static $CXX $strict
    else
        echo 'skip uring_c_static there is no static C library'
        echo 'skip uring_cxx_static there is no static C library'
    fi
fi
for program in tools/examples/*.c; do
    [ "$URING" = 0 ] && grep -q '^#include .*uring' "$program" && continue
    program=${program##*/}
    test_is "example_${program%.c}" example "${program%.c}"
done

test_is no_uring_install without_uring install_prefix
test_is no_uring_files without_uring has_files "$tmp/bare" '' lib
test_is no_uring_manual without_uring manual_describes_the_functions
test_is no_uring_pkg_config without_uring pc_stands_alone
if command -v readelf >/dev/null && command -v nm >/dev/null; then
    test_is no_uring_exports without_uring exports_the_headers
    test_is no_uring_needs_only_libc without_uring needs_only ''
fi
test_is no_uring_links prints 42 without_uring built program.c '' $CC $strict

others=$package/opt/spool/include/spool/other.h
mkdir -p "${others%/*}" && : >"$others"
test_is uninstall_destdir in_tree uninstall DESTDIR="$package" prefix=/opt/spool libdir=/opt/spool/lib64
test_is uninstall_keeps_what_is_not_ours rm "$others"
test_is uninstall_prefix in_tree uninstall prefix="$usr"
test_is no_uring_uninstall without_uring in_tree uninstall prefix="$tmp/bare"
test_is uninstall_leaves_nothing test -z "$(find "$package" "$usr" "$tmp/bare" ! -type d)"
test_is uninstall_leaves_no_folder test ! -e "$usr/include/spool"
exit $failed
