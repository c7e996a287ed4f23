# SPDX-License-Identifier: LGPL-3.0-or-later
#
# GNU make. "make help" lists the targets and the variables.

PKG_CONFIG ?= pkg-config
INSTALL ?= install

prefix = /usr/local
libdir = $(prefix)/lib
bindir = $(prefix)/bin
includedir = $(prefix)/include
mandir = $(prefix)/share/man
pkgconfigdir = $(libdir)/pkgconfig
datadir = $(prefix)/share

comma := ,
empty :=
space := $(empty) $(empty)

# Empty with URING=0: spool_uring and its header are left out, and liburing is not needed.
uring := $(filter-out 0,$(or $(URING),1))

# Empty with PROBES=0: no static probes. Without <sys/sdt.h> there are none either.
probes := $(filter-out 0,$(or $(PROBES),1))

# A sanitizer changes every object, so it has a folder of its own; the library without spool_uring is another one.
BUILD = build$(if $(uring),,/no-uring)$(if $(probes),,/no-probes)$(if $(SAN),/$(subst $(comma),-,$(SAN)))
CFLAGS ?= -O2 -g

version := $(subst $(space),.,$(strip $(shell sed -n 's/^.define SPOOL_VERSION_[A-Z]* //p' include/spool.h)))
soname := libspool.so.$(firstword $(subst ., ,$(version)))
realname := libspool.so.$(version)

# Evaluates $2 when $1 is first used, not when this file is read: "make deps check" may start without a compiler.
once = $(eval $1 := $2)$($1)

# The 16-byte compare-and-swap of x86-64, where that is what the compiler makes code for.
predefined = $(shell $(CC) $(CPPFLAGS) $(CFLAGS) -dM -E -x c /dev/null)
cx16 = $(call once,cx16,$(if $(findstring __x86_64__,$(predefined)),-mcx16))
check_cflags = $(call once,check_cflags,$(shell $(PKG_CONFIG) --cflags check))
check_libs = $(call once,check_libs,$(shell $(PKG_CONFIG) --libs check))

no_liburing = $(error liburing 2.3 or newer is missing: "make deps" installs it, "make URING=0" builds without spool_uring)
liburing = $(if $(shell $(PKG_CONFIG) --exists 'liburing >= 2.3' && echo yes),liburing,$(no_liburing))
URING_CFLAGS ?= $(if $(uring),$(call once,URING_CFLAGS,$(shell $(PKG_CONFIG) --cflags $(liburing))))
URING_LIBS ?= $(if $(uring),$(call once,URING_LIBS,$(shell $(PKG_CONFIG) --libs $(liburing))))

warnings := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes $(if $(filter 1,$(WERROR)),-Werror)
sanitize := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
common = $(warnings) $(sanitize) -pthread -Iinclude $(URING_CFLAGS)

lib_flags = $(common) -std=c11 -D_GNU_SOURCE -include lib/export.h -fvisibility=hidden -fPIC $(cx16) \
	$(if $(probes),-DSPOOL_PROBES)
inner_flags = $(common) -std=c11 -D_GNU_SOURCE -Ilib $(cx16)
test_flags = $(inner_flags) -Itests $(check_cflags)
# Examples and benchmarks are compiled as a user's program is: no feature macros, no internal headers.
example_flags = $(common) -std=gnu11

# What the linker can harden costs nothing at run time and is always on; what the compiler can is for CFLAGS.
# nodelete: threads that spool_go keeps for reuse run the library's code, so dlclose must not unmap it.
so_flags = -shared -Wl,-soname,$(soname) -Wl,--version-script,$(map) -Wl,-z,nodelete \
	-Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,-z,text $(if $(SAN),,-Wl,-z,defs)
map := $(if $(uring),lib,$(BUILD))/libspool.map

# What is installed does not tell where it was built. gcc calls this folder what PWD does, if that is another name of it.
built_in := $(CURDIR) $(if $(filter $(CURDIR),$(realpath $(PWD))),$(PWD))
prefix_map := $(patsubst %,-ffile-prefix-map=%=.,$(sort $(built_in)))
lib_flags += $(prefix_map)

# What URING=0 leaves out: the file that defines spool_uring, and the programs that include its header.
uring_files := $(if $(uring),,lib/uring.c $(shell grep -lE '^.include [<"].*uring' tests/*.c tools/*/*.c))
sources = $(filter-out $(uring_files),$(wildcard $1))
objects = $(patsubst %.c,$(BUILD)/%.o,$(sources))
programs = $(patsubst $(dir $1)%.c,$(BUILD)/$2%,$(sources))

lib_objects := $(sort $(call objects,lib/*.c))
tests := $(call programs,tests/test_*.c,tests/)
stresses := $(call programs,tests/stress*.c,tests/)
soak := $(BUILD)/tests/soak/soak
freeze_objects := $(call objects,tests/freeze/*.c)
freeze := $(BUILD)/tests/freeze/freeze
tool := $(BUILD)/spool
tool_objects := $(call objects,tools/spool/*.c)
examples := $(call programs,tools/examples/*.c,)
benches := $(call programs,tools/bench/*.c,bench/)
bench_runs := $(patsubst $(BUILD)/bench/%,bench-%,$(benches))
bench := $(BUILD)/bench/bench
bench_objects := $(call objects,tools/bench/bench/*.c)
# The queues that are measured: those that any system has, and those that "make deps-bench" brings.
queues := $(addprefix $(BUILD)/bench/queues/,spool condvar condvar-eventfd)
queue_peers := $(addprefix $(BUILD)/bench/queues/,glib zmq nng)
# Not in check: it needs compilers and emulators of other processors. The longest first, as several may run at a time.
scripts := $(wildcard tests/models/run) $(filter-out tests/ports.sh,$(sort $(wildcard tests/*.sh)))
libs := $(addprefix $(BUILD)/,libspool.a $(realname) $(soname) libspool.so)
# Of this name gdb loads it with the library: from the folder of the library's own path below its auto-load folder.
gdb_script := $(BUILD)/$(realname)-gdb.py

# The manual. A page names the functions that it describes by .Nm; each but the first gets a page that points to it.
pages := $(filter-out $(if $(uring),,%/spool_uring.3),$(wildcard lib/man/*.[1-9]))
described := $(shell sed -n 's/^\.Nm \(spool_[a-z_]*\).*/\1/p' $(filter %.3,$(pages)))
aliases := $(patsubst %,$(BUILD)/man/%.3,$(filter-out $(basename $(notdir $(pages))),$(described)))

# What install copies and uninstall removes, as file:folder.
installed := include/spool.h:$(includedir) $(if $(uring),include/spool/uring.h:$(includedir)/spool) \
	$(libs:%=%:$(libdir)) $(tool):$(bindir) $(BUILD)/spool.pc:$(pkgconfigdir) \
	$(gdb_script):$(datadir)/gdb/auto-load$(libdir) \
	$(foreach page,$(pages) $(aliases),$(page):$(mandir)/man$(subst .,,$(suffix $(page))))

# "make -j deps check" must not compile before deps is done.
before := $(filter deps,$(MAKECMDGOALS))

quiet := $(if $(filter 1,$(V)),,@)
say = $(if $(quiet),@printf '  %-7s %s\n' $1 $2)

.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: all install uninstall clean deps examples demo check check-quick check-build stress soak ports verify verify-long
.PHONY: fuzz coverage deps-verify deps-bench deps-loops bench bench-quick bench-build $(bench_runs) help FORCE

all: $(libs) $(tool)

$(BUILD)/lib/%.o: lib/%.c | $(before)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(quiet)$(CC) $(CPPFLAGS) $(lib_flags) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/%.o: tests/%.c | $(before)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(quiet)$(CC) $(CPPFLAGS) $(test_flags) $(CFLAGS) -MMD -MP -c -o $@ $<

# The command looks at the library's structs in other processes.
$(BUILD)/tools/spool/%.o: tools/spool/%.c | $(before)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(quiet)$(CC) $(CPPFLAGS) $(inner_flags) $(prefix_map) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tools/%.o: tools/%.c | $(before)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(quiet)$(CC) $(CPPFLAGS) $(example_flags) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/libspool.a: $(lib_objects)
	$(call say,AR,$@)
	@rm -f $@
	$(quiet)$(AR) rcsD $@ $^

# Not every linker accepts a version for a symbol that is not there.
$(BUILD)/libspool.map: lib/libspool.map
	@mkdir -p $(@D)
	$(quiet)sed '/^ *spool_uring/d' $< >$@

$(BUILD)/$(realname): $(lib_objects) $(map)
	$(call say,LD,$@)
	$(quiet)$(CC) $(CFLAGS) $(sanitize) $(LDFLAGS) $(so_flags) -o $@ $(lib_objects) -pthread $(URING_LIBS)

$(BUILD)/$(soname): $(BUILD)/$(realname)
	$(quiet)ln -sf $(<F) $@

$(BUILD)/libspool.so: $(BUILD)/$(soname)
	$(quiet)ln -sf $(<F) $@

# Tests link the archive, where the library's hidden symbols can be reached, and replace the calls they define as
# __wrap_NAME.
wraps = $(sort $(patsubst __wrap_%,-Wl$(comma)--wrap=%,$(shell grep -oh '\b__wrap_[a-z0-9_]*' $1)))

$(tests) $(stresses): $(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/libspool.a
	$(call say,LD,$@)
	$(quiet)$(CC) $(CFLAGS) $(sanitize) $(LDFLAGS) $(call wraps,tests/$*.c) -o $@ $^ -pthread $(URING_LIBS) $(check_libs)

define link_program
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(quiet)$(CC) $(CFLAGS) $(sanitize) $(LDFLAGS) -o $@ $^ -pthread $(URING_LIBS)
endef

$(soak): $(BUILD)/tests/soak/soak.o $(BUILD)/libspool.a
	$(link_program)

$(tool): $(tool_objects) $(BUILD)/libspool.a
	$(link_program)

$(freeze): $(freeze_objects) $(BUILD)/libspool.a
	$(link_program)

$(examples): $(BUILD)/%: $(BUILD)/tools/examples/%.o $(BUILD)/libspool.a
	$(link_program)

$(benches): $(BUILD)/bench/%: $(BUILD)/tools/bench/%.o $(BUILD)/libspool.a
	$(link_program)

$(bench): $(bench_objects)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(quiet)$(CC) $(CFLAGS) $(sanitize) $(LDFLAGS) -o $@ $^ -pthread -lm

queue_object := $(BUILD)/tools/bench/queues/cell.o

$(queues): $(BUILD)/bench/queues/%: $(BUILD)/tools/bench/queues/%.o $(queue_object) $(BUILD)/libspool.a
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(quiet)$(CC) $(CFLAGS) $(sanitize) $(LDFLAGS) -o $@ $^ -pthread $(URING_LIBS) -lm

peer_cflags = $(shell $(PKG_CONFIG) --cflags $1)
peer_libs = $(shell $(PKG_CONFIG) --libs $1)
$(BUILD)/bench/queues/glib: peer_package = glib-2.0
$(BUILD)/bench/queues/zmq: peer_package = libzmq
# libnng comes without a file for pkg-config.
$(BUILD)/bench/queues/nng: peer_libs = -lnng
$(BUILD)/bench/queues/nng: peer_cflags =

$(queue_peers): $(BUILD)/bench/queues/%: tools/bench/queues/%.c $(wildcard tools/bench/queues/*.h) $(queue_object)
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(quiet)$(CC) $(CPPFLAGS) $(example_flags) $(call peer_cflags,$(peer_package)) $(CFLAGS) $(LDFLAGS) -o $@ $< \
		$(queue_object) $(call peer_libs,$(peer_package)) -lm

# Both compilers keep their files below BUILD and fetch nothing.
$(BUILD)/bench/queues/go: $(wildcard tools/bench/queues/go/*)
	$(call say,GO,$@)
	@mkdir -p $(@D)
	$(quiet)cd tools/bench/queues/go && GOCACHE=$(abspath $(BUILD))/bench/go-cache GOFLAGS=-buildvcs=false GOPROXY=off \
		$(GO) build -o $(abspath $@) .

rust := $(BUILD)/bench/rust
$(BUILD)/bench/queues/crossbeam: $(wildcard tools/bench/queues/crossbeam/* tools/bench/queues/crossbeam/src/*)
	$(call say,RUST,$@)
	@rm -rf $(rust)/src && mkdir -p $(@D) $(rust)/home
	$(quiet)cp -R tools/bench/queues/crossbeam/* $(rust)/
	$(quiet)cd $(rust) && CARGO_HOME=$(abspath $(rust))/home RUSTC=$(RUSTC) $(CARGO) build -q --release --offline \
		--config 'source.crates-io.replace-with="local"' --config 'source.local.directory="$(CRATES)"'
	$(quiet)cp $(rust)/target/release/crossbeam $@

# Where Debian's packages put them.
GO = go
CARGO = /usr/bin/cargo
RUSTC = /usr/bin/rustc
CRATES = /usr/share/cargo/registry

bench_peers = $(shell has() { command -v "$$1" >/dev/null; }; \
	has $(PKG_CONFIG) && $(PKG_CONFIG) --exists glib-2.0 && echo glib; \
	has $(PKG_CONFIG) && $(PKG_CONFIG) --exists libzmq && echo zmq; \
	echo '\#include <nng/nng.h>' | $(CC) -E -x c - >/dev/null 2>&1 && echo nng; \
	has $(GO) && echo go; \
	has $(CARGO) && has $(RUSTC) && ls -d $(CRATES)/crossbeam-channel-* >/dev/null 2>&1 && echo crossbeam)

# A peer that does not build is left out, as one that is not there.
bench-build: $(bench) $(queues) $(benches)
	@for peer in $(bench_peers); do $(MAKE) $(if $(quiet),-s) --no-print-directory $(BUILD)/bench/queues/$$peer || \
		rm -f $(BUILD)/bench/queues/$$peer; done
	@GO='$(GO)' CARGO='$(CARGO)' REGISTRY='$(CRATES)' tools/bench/peers/build-select $(BUILD)/bench/peers || true

# BENCH holds options for the harness: make bench BENCH='-c "bounded_1_*" -r 9'.
bench_run = $(bench) -o $(BUILD)/bench $1 $(BENCH) $(queues) $(queue_peers) $(BUILD)/bench/queues/go \
	$(BUILD)/bench/queues/crossbeam $(filter-out %/uring,$(benches)) \
	$(wildcard $(BUILD)/bench/peers/select_go $(BUILD)/bench/peers/select_crossbeam)

bench: bench-build
	@$(call bench_run)

bench-quick: bench-build
	@$(call bench_run,-q)

examples: $(examples)

$(bench_runs): bench-%: $(BUILD)/bench/%
	$<

# The word server on libuv is only made to be compared with; where libuv is missing, the comparison says so.
uvserver := $(BUILD)/bench/uvserver
UV_LIBS ?= $(call once,UV_LIBS,$(shell $(PKG_CONFIG) --cflags --libs libuv))

$(uvserver): tools/bench/server/uvserver.c tools/examples/wordcount.h
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(quiet)$(CC) $(CPPFLAGS) $(example_flags) $(CFLAGS) $(sanitize) $(LDFLAGS) -o $@ $< $(UV_LIBS)

bench-server: $(BUILD)/wordserver $(if $(filter bench-server,$(MAKECMDGOALS)),$(if \
	$(shell $(PKG_CONFIG) --exists libuv && echo yes),$(uvserver)))

# bash looks for the completion of a command by its name.
completion := $(BUILD)/completions/spool
installed += $(completion):$(datadir)/bash-completion/completions

$(completion): tools/spool/completion.bash
	@mkdir -p $(@D)
	$(quiet)cp $< $@

install: $(completion)

# Paths below the prefix are written relative to it, so that pkg-config --define-prefix can move them.
$(BUILD)/spool.pc: spool.pc.in FORCE
	@mkdir -p $(@D)
	$(quiet)rm -f $@
	$(quiet)sed $(if $(uring),,-e '/liburing/d') -e 's|@version@|$(version)|' -e 's|@prefix@|$(prefix)|' \
		-e 's|@libdir@|$(patsubst $(prefix)/%,$${prefix}/%,$(libdir))|' \
		-e 's|@includedir@|$(patsubst $(prefix)/%,$${prefix}/%,$(includedir))|' $< >$@

$(aliases): $(BUILD)/man/%.3: $(pages) Makefile
	@mkdir -p $(@D)
	$(quiet)page=$$(grep -lx '\.Nm $*\( ,\)\{0,1\}' $(filter %.3,$(pages))) || exit; \
		echo ".so man3/$${page##*/}" >$@

$(gdb_script): tools/gdb/libspool-gdb.py
	@mkdir -p $(@D)
	$(quiet)cp $< $@

install: all $(BUILD)/spool.pc $(aliases) $(gdb_script)
	$(quiet)set -e; for f in $(installed); do \
		from=$${f%%:*} to="$(DESTDIR)$${f#*:}"; \
		printf '  INSTALL %s\n' "$$to/$${from##*/}"; \
		mkdir -p "$$to"; \
		if [ -L "$$from" ]; then cp -Pf "$$from" "$$to/"; \
		elif [ -x "$$from" ]; then $(INSTALL) -m 755 "$$from" "$$to/"; \
		else $(INSTALL) -m 644 "$$from" "$$to/"; fi; \
	done

uninstall:
	$(quiet)for f in $(installed); do \
		file=$${f%%:*}; \
		rm -f "$(DESTDIR)$${f#*:}/$${file##*/}"; \
	done
	$(quiet)! [ -d "$(DESTDIR)$(includedir)/spool" ] || \
		rmdir --ignore-fail-on-non-empty "$(DESTDIR)$(includedir)/spool"

clean:
	rm -rf $(BUILD)

# The same bytes for the same commit, also from an unpacked one.
dist := $(BUILD)/spool-$(version).tar.xz

.PHONY: dist deb
dist:
	$(call say,DIST,$(dist))
	@mkdir -p $(BUILD)
	$(quiet)tools/dist $(dist) spool-$(version)

deb: dist
	$(quiet)tools/deb $(dist) $(BUILD)/deb

tool_env = CC='$(CC)' CXX='$(CXX)' PKG_CONFIG='$(PKG_CONFIG)' URING='$(URING)'
# Tests ask for more memory than there is and expect an error, as from the C library.
san_env = $(if $(SAN),ASAN_OPTIONS=allocator_may_return_null=1:$$ASAN_OPTIONS \
	TSAN_OPTIONS=allocator_may_return_null=1:$$TSAN_OPTIONS)
run_env = $(tool_env) MAKE='$(MAKE)' BUILD='$(BUILD)' SAN='$(SAN)' $(san_env)

deps:
	@$(tool_env) tools/deps

demo: $(examples)
	@$(BUILD)/wordload

# A sanitizer sees the programs; the scripts look at system calls, installed files and models, which it would disturb.
check: check-build
	@$(run_env) SPOOL_MODELS=$${SPOOL_MODELS-quick} tests/run $(tests) $(stresses) $(soak) $(if $(SAN),,$(scripts))

# Without what no test program needs: examples and benchmarks but for the servers.
check-quick: $(libs) $(addprefix $(BUILD)/,wordserver wordload) $(tests) $(stresses) $(soak)
	@$(run_env) SPOOL_TEST_SCALE=0.05 tests/run $(tests) $(stresses) $(soak)

check-build: $(libs) $(tool) $(examples) $(benches) $(bench) $(queues) $(tests) $(stresses) $(soak) $(if $(SAN),,$(freeze))

# Messages, puts and rounds of the long runs.
CHURN = 100000000
HERD = 1000000
PAIR = 1000000
STREAM = 100000000

stress: $(stresses)
	$(BUILD)/tests/stress_churn -n $(CHURN)
	$(BUILD)/tests/stress -n $(HERD) herd
	$(BUILD)/tests/stress -n $(PAIR) pair
	$(BUILD)/tests/stress -n $(STREAM) stream

# Its figures add up over runs.
HOURS = 1

soak: $(soak)
	$(soak) -t $$(($(HOURS) * 3600)) -a $(BUILD)/soak.totals

ports:
	@$(run_env) tests/run tests/ports.sh

# Proof beyond the tests; see tests/VERIFY.md.
verify:
	@$(run_env) tests/verify

verify-long:
	@$(run_env) VERIFY_HOURS=$(HOURS) tests/verify long

fuzz:
	@$(run_env) tests/fuzz/run

coverage:
	@$(run_env) tests/coverage

deps-verify: deps
	@$(tool_env) tools/deps --verify

deps-bench: deps
	@$(tool_env) GO='$(GO)' CARGO='$(CARGO)' RUSTC='$(RUSTC)' CRATES='$(CRATES)' tools/deps --bench

deps-loops: deps
	@$(tool_env) tools/deps --loops

help:
	@printf '%s\n' 'Targets:' \
	'  all          libspool.a and $(realname), in $(BUILD)/' \
	'  install      into $$DESTDIR$$prefix; uninstall removes the same files' \
	'  deps         install the Debian packages that demo and check need, if any is missing' \
	'  demo         serve every file under /usr/include with the word server and check each reply' \
	'  examples     the programs of tools/examples' \
	'  check        all tests: programs, scripts, models' \
	'  check-quick  the test programs at a twentieth of their length' \
	'  stress       the stress program for hours, with CHURN=$(CHURN) HERD=$(HERD)' \
	'               PAIR=$(PAIR) STREAM=$(STREAM)' \
	'  soak         messages through every flavour for HOURS=$(HOURS), each checked' \
	'  verify       schedules, models, mutants, faults, coverage and more, with a table of figures' \
	'  verify-long  the same for HOURS=$(HOURS)' \
	'  deps-verify  deps, and what verify and ports need besides' \
	'  fuzz         random programs against a model of the library' \
	'  coverage     lines and branches of lib/ that the tests take' \
	'  ports        build for other processors and run there, by qemu-user' \
	'  bench        queues against their peers, as far as those are there: tables, JSON and plots in' \
	'               $(BUILD)/bench; see tools/bench/BENCH.md; BENCH="OPTIONS" for the harness' \
	'  bench-quick  the same in under two minutes, for a look' \
	'  deps-bench   deps, and the peers' \
	'  deps-loops   deps, and the event loops that tests/loops.sh plugs spool into' \
	'  bench-NAME   a benchmark of tools/bench: $(bench_runs)' \
	'  dist         $(dist), with reproducible bytes' \
	'  deb          Debian packages from it, in $(BUILD)/deb; see tools/debian' \
	'  clean        remove $(BUILD)/' \
	'Variables: CC CXX AR PKG_CONFIG CFLAGS CPPFLAGS LDFLAGS DESTDIR prefix bindir libdir includedir mandir BUILD' \
	'  V=1          show the commands' \
	'  WERROR=1     warnings are errors' \
	'  datadir=DIR  for the completion of the command spool; default $$prefix/share' \
	'  URING=0      build without liburing: no spool_uring, no spool/uring.h, nothing else missing' \
	'  PROBES=0     no static probes (lib/probe.h); there are none either without <sys/sdt.h>' \
	'  URING_CFLAGS URING_LIBS  where liburing is; pkg-config is asked unless they are set' \
	'  SAN=LIST     build with sanitizers, for example SAN=address,undefined or SAN=thread'

-include $(soak).d $(lib_objects:.o=.d) $(patsubst %,$(BUILD)/tests/%.d,$(notdir $(tests) $(stresses))) \
	$(patsubst %,$(BUILD)/tools/examples/%.d,$(notdir $(examples))) \
	$(patsubst %,$(BUILD)/tools/bench/%.d,$(notdir $(benches))) \
	$(freeze_objects:.o=.d) $(tool_objects:.o=.d) $(bench_objects:.o=.d) $(queue_object:.o=.d) $(patsubst %,$(BUILD)/tools/bench/queues/%.d,$(notdir $(queues)))
