# SPDX-License-Identifier: BSD-2-Clause
# xsknet. `make help` lists targets and variables: the lines that begin with `#:`.
# Everything is built into build/, variants into folders of their own below it.

#: Targets
#:   all        library, xsknetd, xsknetctl, xsknet-bench and the examples (default)
#:   bench      install what is missing, build, run xsknet-bench ARGS
#:   check      install what is missing, build, run every test below
#:   unit       unit tests, with a fake kernel and a fake guest; no root needed
#:   kernel     the kernel facts that the code relies on; root
#:   net        the real thing on a veth pair; root
#:   ctl        xsknetctl: against a fake daemon, and on interfaces with faults; root
#:   vm         real guests and other drivers through xsknetd; root (ARGS: which tests)
#:   vm-matrix  of these the offloads, with every kind of device that changes them
#:   fuzz       every fuzz target for FUZZ_SECS seconds each (clang)
#:   vhost      hostile front ends and guests against xsknetd; no root needed
#:   instr      instructions for each packet, counted by callgrind
#:   cost       nanoseconds for each packet, against the fake kernel
#:   cost-offload  nanoseconds for checksums and segments, against memcpy
#:   cost-gro   nanoseconds for segments that are put together for the guest
#:   cost-chain nanoseconds for chains of several descriptors, out of split and packed rings
#:   bench-cost  what a copy and a further descriptor cost here, and how packets leave for it (root)
#:   layers     who may include whom, and where atomics may be
#:   lists      every C file is in a list of the Makefile: no test is forgotten
#:   symbols    shared object, symbol map and xsknet.h name the same functions
#:   docs       man pages: every counter and guest fault has its line
#:   consumer   staged install, and programs built against it through pkg-config
#:   smoke      a short xsknet-bench, whose JSON is looked at; root
#:   check-zc   real zero-copy drivers in a virtual machine, every combination (long)
#:   zc-rss     RSS of real drivers in that machine; root
#:   zc         two of them, shorter (ARGS: which, as tests/zc/run says)
#:   tidy       clang-tidy
#:   cppcheck   cppcheck
#:   deps       install what is missing for all of these
#:   install    to DESTDIR/PREFIX; uninstall takes it away again
#:   format     clang-format on every C file
#:   clean      remove build/
#: Variables
#:   V=1              show the commands
#:   WERROR=1         warnings are errors
#:   CC=clang         another compiler, into build/clang
#:   SAN=address,undefined   sanitizers, into build/san-address-undefined
#:   CFLAGS, CPPFLAGS, LDFLAGS   added behind our own
#:   CLANG, BPFTOOL   for the XDP programs
#:   ARGS="..."       words for xsknet-bench (bench), cost (cost), the suite (vhost: -h) or
#:                    tests/vm/run (vm)
#:   FUZZ_SECS=N      how long a fuzz target runs (default 60)
#:   STEPS="..."      which steps of check (default: all)
#:   PREFIX, LIBDIR, DESTDIR     where install puts things (/usr/local)

VERSION := $(shell awk '/define XN_VERSION_(MAJOR|MINOR|PATCH)/ { v = v "." $$3 } END { print substr(v, 2) }' include/xsknet.h)
SO_MAJOR := $(firstword $(subst ., ,$(VERSION)))

PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
INCDIR  := $(PREFIX)/include
BINDIR  := $(PREFIX)/bin
SBINDIR := $(PREFIX)/sbin
UNITDIR := $(PREFIX)/lib/systemd/system
QEMUDIR := $(PREFIX)/share/qemu/vhost-user
MANDIR  := $(PREFIX)/share/man
DESTDIR ?=

comma   := ,
variant := $(if $(filter-out cc gcc,$(CC)),/$(notdir $(CC)))$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))
B       := build$(variant)
CLANG   ?= clang
# Ubuntu's /usr/sbin/bpftool is a script that works only with the tools of the
# running kernel; the programs themselves lie in linux-tools.
BPFTOOL ?= $(lastword bpftool $(wildcard /usr/bin/bpftool /usr/sbin/bpftool /usr/lib/linux-tools/*/bpftool))
Q       := $(if $(V),,@)
quiet   := $(V)$(findstring s,$(filter-out --% %=%,$(firstword -$(MAKEFLAGS))))
say      = $(if $(quiet),,@printf '  %-7s %s\n' $(1) $(patsubst build/%,%,$(2)))

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
        -Wundef -Wwrite-strings -Wpointer-arith -Wvla -Wformat=2 -Wno-unused-parameter \
        $(if $(WERROR),-Werror)
# gcc warns that ThreadSanitizer does not know fences.
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all \
              $(if $(findstring thread,$(SAN)),$(if $(findstring clang,$(CC)),,-Wno-tsan)))
# Hardening, as far as the compiler knows it (gcc 12 and clang 14 do; cf-protection is x86's).
takes = $(shell $(CC) -Werror $(1) -x c -c /dev/null -o /dev/null 2>/dev/null && echo $(1))
HARD := $(if $(SAN),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong \
          $(call takes,-fstack-clash-protection) $(call takes,-fcf-protection=full))

XN_CPPFLAGS := -I. -Iinclude -I$(B) -D_GNU_SOURCE $(CPPFLAGS)
XN_CFLAGS   := -std=gnu11 -g -O2 -fPIC $(WARN) $(HARD) $(SANFLAGS) $(CFLAGS)
XN_LDFLAGS  := $(SANFLAGS) -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed $(LDFLAGS)
LIBS        := -lbpf -lxdp -lmnl -lnuma

# ---- what there is: explicit lists --------------------------------------

LIB_SRC := \
    base/log.c \
    base/names.c \
    base/version.c \
    base/csum.c \
    base/packet.c \
    base/filter.c \
    umem/map.c \
    umem/region.c \
    umem/frames.c \
    umem/ram.c \
    umem/dirty.c \
    xsk/xsk.c \
    xsk/probe.c \
    xsk/zc.c \
    xsk/zc_map.c \
    rss/config.c \
    rss/ethtool.c \
    rss/plan.c \
    rss/program.c \
    rss/saved.c \
    rss/nic.c \
    rss/keeper.c \
    bpf/steer.c \
    bpf/filter.c \
    bpf/peer.c \
    virtio/vq.c \
    virtio/packed.c \
    virtio/walk.c \
    virtio/order.c \
    virtio/inflight.c \
    virtio/inflight_packed.c \
    virtio/rx_mode.c \
    virtio/offload.c \
    port/open.c \
    port/copy.c \
    port/cross.c \
    port/local.c \
    port/link.c \
    port/announce.c \
    port/gather.c \
    port/layout.c \
    port/segment.c \
    port/rx_csum.c \
    port/xdp.c \
    port/xdp_nic.c \
    port/xdp_pieces.c \
    port/xdp_mode.c \
    port/xdp_watch.c \
    port/xdp_queue.c \
    port/xdp_rss.c \
    port/speed.c \
    port/xdp_flow.c \
    port/xdp_rx.c \
    port/xdp_send.c \
    port/xdp_tx.c \
    engine/dev.c \
    engine/queue.c \
    engine/rx.c \
    engine/gro.c \
    engine/tx.c \
    engine/ctrl.c \
    engine/hold.c \
    engine/ctrl_announce.c \
    engine/ctrl_coal.c \
    engine/ctrl_mq.c \
    engine/ctrl_rx.c \
    engine/steer.c \
    engine/hash.c \
    engine/guest_offloads.c \
    engine/stats.c \
    engine/legacy.c
# xsknetd, all but its main(): tests link it too.
VHOST_SRC := \
    vhost/io.c \
    vhost/fds.c \
    vhost/discard.c \
    vhost/peerlog.c \
    vhost/session.c \
    vhost/session_setup.c \
    vhost/session_mem.c \
    vhost/session_ring.c \
    vhost/session_config.c \
    vhost/vdev.c \
    vhost/vdev_mem.c \
    vhost/vdev_area.c \
    vhost/vdev_ring.c \
    vhost/vdev_pair.c \
    vhost/vdev_ctrl.c \
    vhost/tempo.c \
    vhost/nudge.c \
    vhost/worker.c \
    vhost/sigbus.c \
    vhost/listen.c \
    vhost/notify.c \
    vhost/stderr.c \
    vhost/opts.c \
    vhost/sandbox.c \
    vhost/seccomp.c \
    vhost/ctl.c \
    vhost/status.c \
    vhost/daemon.c
# xsknetctl, all but its main(): tests link it too.
CTL_SRC := \
    ctl/client.c \
    ctl/snapshot.c \
    ctl/show.c \
    ctl/stats.c \
    ctl/peer.c \
    ctl/judge_rss.c \
    ctl/sysfs.c \
    ctl/nic.c \
    ctl/netlink.c \
    ctl/device.c \
    ctl/host.c \
    ctl/lend.c \
    ctl/judge.c \
    ctl/judge_zc.c \
    ctl/try.c \
    ctl/doctor.c \
    ctl/drivers.c
# The laboratory: what bench, cost program and tests share.
LAB_SRC := \
    bench/lab.c \
    bench/netlink.c \
    bench/gen.c \
    bench/sink.c \
    bench/check.c \
    bench/guest.c \
    bench/guest_chain.c \
    bench/merge.c \
    bench/tcp.c \
    bench/tcp_peer.c \
    bench/tcp_side.c \
    bench/sender.c \
    bench/clock.c \
    bench/front.c
BENCH_SRC := \
    $(LAB_SRC) \
    bench/main.c \
    bench/opts.c \
    bench/sendto.c \
    bench/paths.c \
    bench/guest_path.c \
    bench/vhost_path.c \
    bench/raw.c \
    bench/raw_large.c \
    bench/pieces.c \
    bench/driver.c \
    bench/driver_large.c \
    bench/backend.c \
    bench/ctl.c \
    bench/napi.c \
    bench/worker.c \
    bench/flow.c \
    bench/sample.c \
    bench/run.c \
    bench/summary.c \
    bench/report.c \
    bench/json.c \
    bench/chart.c \
    bench/footprint.c \
    bench/offload.c \
    bench/tcp_bench.c \
    bench/report_tcp.c \
    bench/large.c
BPF_SRC := bpf/steer.bpf.c bpf/peer.bpf.c bench/gen.bpf.c bench/sink.bpf.c tests/kernel/rss.bpf.c tests/net/queues.bpf.c
# Fakes and rigs for the tests, and parts of the bench that are tested alone.
RIG_SRC := \
    tests/fake/kernel.c \
    tests/fake/nic.c \
    tests/fake/sg.c \
    tests/fake/driver.c \
    tests/fake/packet.c \
    tests/fake/rss.c \
    tests/fake/segments.c \
    tests/fake/pairs.c \
    tests/fake/ethtool.c \
    tests/kernel/bed.c \
    tests/net/rig.c \
    tests/net/xd.c \
    tests/net/queues.c \
    bench/opts.c \
    bench/summary.c \
    bench/backend.c \
    bench/flow.c \
    bench/pieces.c

UNIT_TESTS   := \
    base \
    rss \
    nic \
    nic_keeper \
    port_nic \
    port_pieces \
    port_flow \
    csum \
    offload \
    segment \
    layout \
    rx_csum \
    mem \
    mem_translate \
    mem_ram \
    vq \
    vq_both \
    vq_both_hostile \
    vq_hostile \
    vq_oracle \
    inflight \
    inflight_kill \
    ctrl \
    ctrl_rss \
    ctrl_rx \
    hold \
    ctrl_coal \
    ctrl_offloads \
    rx_mode \
    dirty \
    port_xdp \
    port_rss \
    port_rss_threads \
    port_limits \
    port_zc \
    port_zc_proof \
    port_zc_stop \
    zc \
    cross \
    engine \
    worker \
    sigbus \
    session \
    session_mem \
    session_ring \
    check \
    pieces \
    bench \
    hash \
    offload_path \
    tx_jumbo \
    gro \
    gro_path \
    vq_order \
    vq_packed \
    vq_packed_hostile \
    vq_packed_oracle \
    inflight_packed
KERNEL_TESTS := facts pieces rss filter
NET_TESTS    := veth jumbo_rx jumbo_tx rss rss_port stand_by steer segments tcp faults privileges example xsknetd
CTL_TESTS    := stats doctor peer
TSAN_TESTS   := vq_hostile vq_packed_hostile hold cross port_rss_threads worker session session_mem session_ring hash
# The black-box suite of xsknetd.
SUITE_SRC    := \
    tests/vhost/main.c \
    tests/vhost/daemon.c \
    tests/vhost/guest.c \
    tests/vhost/mute.c \
    tests/vhost/case_front.c \
    tests/vhost/case_msg.c \
    tests/vhost/case_mem.c \
    tests/vhost/case_ring.c \
    tests/vhost/case_guest.c \
    tests/vhost/case_ctrl.c \
    tests/vhost/case_steer.c \
    tests/vhost/case_coal.c \
    tests/vhost/case_gro.c \
    tests/vhost/case_inflight.c \
    tests/vhost/case_fault.c \
    tests/vhost/case_wait.c \
    tests/vhost/case_mutate.c
FUZZ_TARGETS := rx tx rx_packed tx_packed ctrl inflight inflight_packed session offload rss gro
FUZZ_RIG     := tests/fuzz/guest.c
ZC_PROGS     := geometry stop product rings rss rss_port
ZC_RIG       := tests/zc/sock.c tests/zc/wire.c tests/zc/contig.c tests/zc/guest.c tests/zc/peer.c tests/zc/nic.c
VMM_SRC      := examples/vmm.c examples/guest.c

MAN := docs/xsknet-bench.1 docs/xsknetctl.8 docs/xsknetd.8 docs/xsknet.7

# ---- from lists to files -------------------------------------------------

obj = $(patsubst %.c,$(B)/%.o,$(1))
LIB_OBJ    := $(call obj,$(LIB_SRC))
VHOST_OBJ  := $(call obj,$(VHOST_SRC))
CTL_OBJ    := $(call obj,$(CTL_SRC))
BENCH_OBJ  := $(call obj,$(BENCH_SRC))
RIG_OBJ    := $(call obj,$(LAB_SRC) $(RIG_SRC))
VMM_OBJ    := $(call obj,$(VMM_SRC))
SKEL       := $(BPF_SRC:%.bpf.c=$(B)/%.skel.h)
UNIT_BIN   := $(UNIT_TESTS:%=$(B)/tests/unit/%)
KERNEL_BIN := $(KERNEL_TESTS:%=$(B)/tests/kernel/%)
NET_BIN    := $(NET_TESTS:%=$(B)/tests/net/%)
CTL_BIN    := $(CTL_TESTS:%=$(B)/tests/ctl/%)
TEST_BIN   := $(UNIT_BIN) $(KERNEL_BIN) $(NET_BIN) $(CTL_BIN)
TEST_OBJ   := $(UNIT_TESTS:%=$(B)/tests/unit/test_%.o) $(KERNEL_TESTS:%=$(B)/tests/kernel/test_%.o) \
              $(NET_TESTS:%=$(B)/tests/net/test_%.o) $(CTL_TESTS:%=$(B)/tests/ctl/test_%.o) \
              $(B)/tests/ctl/run.o
ZC_BIN     := $(ZC_PROGS:%=$(B)/tests/zc/%)
OTHER_OBJ  := $(B)/vhost/main.o $(B)/ctl/main.o $(B)/bench/cost.o $(B)/bench/cost_offload.o $(B)/bench/cost_tx.o $(B)/bench/cost_gro.o $(B)/bench/cost_chain.o $(B)/tests/smoke/check_json.o \
              $(B)/tests/vm/xfer.o $(ZC_PROGS:%=$(B)/tests/zc/%.o)
FUZZ_OBJ   := $(call obj,$(FUZZ_TARGETS:%=tests/fuzz/fuzz_%.c) $(FUZZ_RIG))
SUITE_OBJ  := $(call obj,$(SUITE_SRC))
FUZZ_BIN   := $(FUZZ_TARGETS:%=$(B)/tests/fuzz/%)
ALL_OBJ    := $(sort $(LIB_OBJ) $(VHOST_OBJ) $(CTL_OBJ) $(BENCH_OBJ) $(RIG_OBJ) $(VMM_OBJ) $(TEST_OBJ) \
              $(OTHER_OBJ) $(FUZZ_OBJ) $(SUITE_OBJ) $(call obj,$(ZC_RIG)))
SO         := libxsknet.so.$(VERSION)

.PHONY: all objects programs
all: $(B)/libxsknet.a $(B)/libxsknet.so $(B)/xsknetd $(B)/xsknetctl $(B)/xsknet-bench $(B)/examples/vmm
objects: $(ALL_OBJ)
programs: all $(TEST_BIN) $(B)/tests/vhost/vhost $(B)/cost $(B)/cost_offload $(B)/cost_tx $(B)/cost_gro $(B)/cost_chain $(B)/tests/smoke/check_json

link = $(Q)$(CC) $(XN_CFLAGS) $(XN_LDFLAGS) -o $@ $(1) $(filter %.o %.a,$^) $(LIBS)

$(B)/libxsknet.a: $(LIB_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/libvhost.a: $(VHOST_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/libctl.a: $(CTL_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/$(SO): $(LIB_OBJ) libxsknet.map
	$(call say,LD,$@)
	$(call link,-shared -Wl$(comma)-soname$(comma)libxsknet.so.$(SO_MAJOR) -Wl$(comma)--version-script=libxsknet.map)

$(B)/libxsknet.so: $(B)/$(SO)
	$(Q)ln -sf $(SO) $(B)/libxsknet.so.$(SO_MAJOR) && ln -sf libxsknet.so.$(SO_MAJOR) $@

# bench/sendto.c measures the time in sendto(), which is the kernel's.
$(B)/xsknet-bench: LIBS += -ljansson -lpthread -lm
$(B)/xsknet-bench: $(BENCH_OBJ) $(B)/libxsknet.a
	$(call say,LD,$@)
	$(call link,-Wl$(comma)--wrap=sendto)

$(B)/xsknetd: LIBS += -ljansson -lseccomp -lpthread
$(B)/xsknetd: $(B)/vhost/main.o $(B)/libvhost.a $(B)/libxsknet.a
	$(call say,LD,$@)
	$(call link,-pie)

$(B)/xsknetctl: LIBS += -ljansson -lm
$(B)/xsknetctl: $(B)/ctl/main.o $(B)/libctl.a $(B)/libxsknet.a
	$(call say,LD,$@)
	$(call link)

$(B)/cost: LIBS += -lpthread -lm
$(B)/cost: $(B)/bench/cost.o $(B)/librig.a $(B)/libxsknet.a
	$(call say,LD,$@)
	$(call link)

$(B)/cost_tx: LIBS += -lpthread -lm
$(B)/cost_tx: $(B)/bench/cost_tx.o $(B)/librig.a $(B)/libxsknet.a
	$(call say,LD,$@)
	$(call link)

$(B)/cost_gro: $(B)/bench/cost_gro.o $(B)/librig.a $(B)/libxsknet.a
	$(call say,LD,$@)
	$(call link)

$(B)/cost_chain: $(B)/bench/cost_chain.o $(B)/librig.a $(B)/libxsknet.a
	$(call say,LD,$@)
	$(call link)

$(B)/cost_offload: $(B)/bench/cost_offload.o $(B)/librig.a $(B)/libxsknet.a
	$(call say,LD,$@)
	$(call link)

$(B)/tests/smoke/check_json: LIBS := -ljansson
$(B)/tests/smoke/check_json: $(B)/tests/smoke/check_json.o
	$(call say,LD,$@)
	$(call link)

$(B)/examples/vmm: $(VMM_OBJ) $(B)/libxsknet.a
	$(call say,LD,$@)
	$(call link)

# An archive, so that each test gets of it only what it uses.
$(B)/librig.a: $(RIG_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(TEST_BIN): LIBS += -lcmocka -ljansson -lseccomp -lpthread -lm
# Starts that fail when the test wants it, and stops that are counted.
$(addprefix $(B)/tests/unit/,session session_mem session_ring): XN_LDFLAGS += -Wl,--wrap=xn_queue_start -Wl,--wrap=xn_queue_stop
$(UNIT_BIN): $(B)/tests/unit/%: $(B)/tests/unit/test_%.o $(B)/librig.a $(B)/libvhost.a $(B)/libxsknet.a
	$(call say,LD,$@)
	$(call link)
$(KERNEL_BIN): $(B)/tests/kernel/%: $(B)/tests/kernel/test_%.o $(B)/librig.a $(B)/libvhost.a $(B)/libxsknet.a
	$(call say,LD,$@)
	$(call link)
$(NET_BIN): $(B)/tests/net/%: $(B)/tests/net/test_%.o $(B)/librig.a $(B)/libvhost.a $(B)/libxsknet.a
	$(call say,LD,$@)
	$(call link)

$(CTL_BIN): $(B)/tests/ctl/%: $(B)/tests/ctl/test_%.o $(B)/tests/ctl/run.o $(B)/libctl.a $(B)/librig.a $(B)/libxsknet.a
	$(call say,LD,$@)
	$(call link)

$(B)/tests/vhost/vhost: LIBS := -ljansson -lpthread
$(B)/tests/vhost/vhost: $(SUITE_OBJ) $(B)/bench/front.o $(B)/base/log.o
	$(call say,LD,$@)
	$(call link)

$(B)/%.o: %.c $(B)/flags | $(SKEL)
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(XN_CPPFLAGS) $(XN_CFLAGS) -MMD -MP -c -o $@ $<

# <asm/types.h> for clang's BPF target, on multiarch systems
BPF_INC = $(addprefix -I,$(wildcard /usr/include/$(shell $(CLANG) -print-multiarch 2>/dev/null)))

$(B)/%.bpf.o: %.bpf.c
	$(call say,BPF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) -target bpf -D__bpf__ -g -O2 -mcpu=v3 -Wall -Wextra $(if $(WERROR),-Werror) -I. $(BPF_INC) -MMD -MP -c -o $@ $<

$(B)/%.skel.h: $(B)/%.bpf.o
	$(call say,SKEL,$@)
	$(Q){ echo '/* NOLINTBEGIN: bpftool wrote this */' && \
		$(BPFTOOL) gen skeleton $< name $(subst .,_,$(notdir $*))_bpf && \
		echo '/* NOLINTEND */'; } > $@.tmp && mv $@.tmp $@

# Changes when the flags do: then everything is compiled anew.
$(B)/flags: FORCE
	$(Q)mkdir -p $(@D)
	$(Q)echo '$(CC) $(XN_CPPFLAGS) $(XN_CFLAGS)' | cmp -s - $@ || echo '$(CC) $(XN_CPPFLAGS) $(XN_CFLAGS)' > $@

-include $(ALL_OBJ:.o=.d) $(BPF_SRC:%.c=$(B)/%.d)
.SECONDARY:
.DELETE_ON_ERROR:
.PHONY: FORCE

# ---- tests ---------------------------------------------------------------

# What the bench needs root for, it says itself if there is no sudo.
ROOT = $(shell [ "$$(id -u)" = 0 ] || command -v sudo)

.PHONY: deps bench check unit kernel net ctl instr cost cost-offload cost-gro cost-chain bench-cost layers lists symbols docs consumer smoke vm tidy cppcheck
deps:
	$(Q)tests/deps build check

# A second make, so that what was just installed is found.
bench:
	$(Q)tests/deps build
	$(Q)$(MAKE) --no-print-directory all
	$(Q)$(ROOT) $(B)/xsknet-bench $(ARGS)

check:
	$(Q)tests/deps build check
	$(Q)MAKE="$(MAKE)" tests/check $(STEPS)

# Sanitizers want addresses that are less random than some kernels make them.
LESS_RANDOM = $$(setarch "$$(uname -m)" -R true 2>/dev/null && echo setarch "$$(uname -m)" -R)

unit: $(UNIT_BIN)
	$(Q)$(if $(SAN),$(LESS_RANDOM)) tests/run $^
kernel: $(KERNEL_BIN)
	$(Q)tests/run $^
net: $(NET_BIN) $(B)/xsknet-bench $(B)/xsknetd $(B)/xsknetctl $(B)/examples/vmm
	$(Q)tests/run $(NET_BIN)

ctl: $(CTL_BIN) $(B)/xsknetctl $(B)/xsknetd
	$(Q)tests/run $(CTL_BIN)

# One guest thread scribbles over rings while the engine reads them: every access
# of the engine to guest memory has to be an atomic one.
.PHONY: tsan
tsan: $(TSAN_TESTS:%=$(B)/tests/unit/%)
	$(Q)$(LESS_RANDOM) tests/run $^

# Each input of the corpus first, then new ones. The objects want clang's coverage
# counters, so they are a variant of their own.
.PHONY: fuzz fuzzers
FUZZ_SECS ?= 60
fuzz:
	$(Q)$(MAKE) --no-print-directory CC=clang SAN=fuzzer-no-link,address,undefined fuzzers
	$(Q)$(LESS_RANDOM) tests/fuzz/run $(FUZZ_SECS) build/clang/san-fuzzer-no-link-address-undefined/tests/fuzz $(FUZZ_TARGETS)
fuzzers: $(FUZZ_BIN)
$(FUZZ_BIN): LIBS += -fsanitize=fuzzer -lpthread
$(FUZZ_BIN): $(B)/tests/fuzz/%: $(B)/tests/fuzz/fuzz_%.o $(call obj,$(FUZZ_RIG)) $(B)/librig.a $(B)/libvhost.a $(B)/libxsknet.a
	$(call say,LD,$@)
	$(call link)

# The real program, over its socket; ARGS: see tests/vhost/main.c.
.PHONY: vhost
vhost: $(B)/tests/vhost/vhost $(B)/xsknetd
	$(Q)$(if $(SAN),$(LESS_RANDOM)) timeout -k 5 2400 $(B)/tests/vhost/vhost -d $(B)/xsknetd $(ARGS)

cost: $(B)/cost
	$(Q)$(B)/cost $(ARGS)
cost-offload: $(B)/cost_offload
	$(Q)$(B)/cost_offload
cost-gro: $(B)/cost_gro
	$(Q)$(B)/cost_gro
cost-chain: $(B)/cost_chain
	$(Q)$(B)/cost_chain
bench-cost: $(B)/cost_tx
	$(Q)$(B)/cost_tx
instr: $(B)/cost
	$(Q)tests/instr $(B)/cost $(B)/instr

layers:
	$(Q)tests/layers --self-test && tests/layers
lists:
	$(Q)for f in $$(find */ -path build -prune -o -name '*.c' -print); do \
		case " $(TIDY_SRC) $(BPF_SRC) " in *" $$f "*) ;; \
		*) echo "$$f is in no list of the Makefile"; bad=1 ;; esac; \
	done; [ -z "$$bad" ]
symbols: $(B)/libxsknet.so $(B)/libxsknet.a
	$(Q)CC="$(CC)" tests/symbols $(B)
docs:
	$(Q)CC="$(CC)" tests/docs $(MAN)
consumer: all
	$(Q)CC="$(CC)" MAKE="$(MAKE)" tests/consumer/run $(B)
smoke: $(B)/xsknet-bench $(B)/xsknetd $(B)/tests/smoke/check_json
	$(Q)tests/smoke/run $^ $(B)/smoke

# It runs in guests too: without any library, and without sanitizers.
$(B)/tests/vm/xfer: tests/vm/xfer.c $(B)/flags
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu11 -O2 $(WARN) -static -o $@ $<
# (What sanitizers do when threads and processes end, the sandbox of xsknetd does not allow.)
vm: $(B)/xsknetd $(B)/tests/vm/xfer
	$(Q)$(if $(SAN),ASAN_OPTIONS=detect_leaks=0:use_sigaltstack=0 )VM_BUILD=$(B) tests/vm/run $(ARGS)
.PHONY: vm-matrix
vm-matrix:
	$(Q)$(MAKE) --no-print-directory vm ARGS=--matrix

# These run in a machine whose kernel has zero-copy drivers.
.PHONY: zc check-zc zc-rss
$(ZC_BIN): LIBS += -lpthread
$(ZC_BIN): $(B)/tests/zc/%: $(B)/tests/zc/%.o $(call obj,$(ZC_RIG) tests/fake/driver.c) $(B)/librig.a $(B)/libxsknet.a
	$(call say,LD,$@)
	$(call link)
ZC_CARRIED := $(ZC_BIN) $(B)/xsknetd $(B)/xsknetctl $(B)/xsknet-bench
zc: $(ZC_CARRIED)
	$(Q)VM_BUILD=$(B) tests/zc/run --short $(ARGS)
check-zc: $(ZC_CARRIED)
	$(Q)VM_BUILD=$(B) tests/zc/run $(ARGS)
zc-rss: $(B)/tests/zc/rss $(B)/tests/zc/rss_port $(B)/tests/zc/rings
	$(Q)VM_BUILD=$(B) tests/zc/rss $(ARGS)

# The flags by which clang understands the sources as gcc does.
TIDY_FLAGS := -std=gnu11 $(XN_CPPFLAGS) -Wall -Wextra -Wno-unused-parameter
TIDY_SRC   := $(ALL_OBJ:$(B)/%.o=%.c) tests/consumer/consumer.c
tidy: $(SKEL)
	$(Q)printf '%s\n' $(TIDY_SRC) | \
		xargs -P "$$(nproc)" -I {} clang-tidy --quiet --warnings-as-errors='*' {} -- $(TIDY_FLAGS)
# What is installed. Tests do on purpose what it complains of.
cppcheck: $(SKEL)
	$(Q)mkdir -p $(B)/cppcheck
	$(Q)cppcheck -q -j "$$(nproc)" --error-exitcode=1 --inline-suppr --std=c11 --library=posix \
		--enable=warning,performance,portability --suppressions-list=.cppcheck \
		--cppcheck-build-dir=$(B)/cppcheck -I. -Iinclude -I$(B) -D_GNU_SOURCE \
		'-DLIBBPF_OPTS(type,name,...)=struct type name = { __VA_ARGS__ }' \
		'-Djson_object_foreach(object,key,value)=while (json_object_iter_next(object, key, value))' \
		$(sort $(LIB_SRC) $(VHOST_SRC) vhost/main.c $(CTL_SRC) ctl/main.c $(BENCH_SRC) $(VMM_SRC))

# ---- install -------------------------------------------------------------

.PHONY: install uninstall format clean help
D := $(DESTDIR)
install: all
	install -d $(D)$(INCDIR) $(D)$(LIBDIR)/pkgconfig $(D)$(BINDIR)
	install -m 644 include/xsknet.h $(D)$(INCDIR)
	install -m 644 $(B)/libxsknet.a $(D)$(LIBDIR)
	install -m 755 $(B)/$(SO) $(D)$(LIBDIR)
	ln -sf $(SO) $(D)$(LIBDIR)/libxsknet.so.$(SO_MAJOR)
	ln -sf libxsknet.so.$(SO_MAJOR) $(D)$(LIBDIR)/libxsknet.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' xsknet.pc.in \
		> $(D)$(LIBDIR)/pkgconfig/xsknet.pc
	install -m 755 $(B)/xsknet-bench $(D)$(BINDIR)
	install -D -m 755 $(B)/xsknetctl $(D)$(SBINDIR)/xsknetctl
	install -D -m 755 $(B)/xsknetd $(D)$(SBINDIR)/xsknetd
	install -d $(D)$(UNITDIR) $(D)$(QEMUDIR)
	sed -e 's|@SBINDIR@|$(SBINDIR)|' dist/xsknetd@.service > $(D)$(UNITDIR)/xsknetd@.service
	sed -e 's|@SBINDIR@|$(SBINDIR)|' dist/50-xsknetd-net.json > $(D)$(QEMUDIR)/50-xsknetd-net.json
	for m in $(MAN); do install -D -m 644 $$m $(D)$(MANDIR)/man$${m##*.}/$${m##*/} || exit 1; done

uninstall:
	rm -f $(D)$(INCDIR)/xsknet.h $(D)$(LIBDIR)/libxsknet.a $(D)$(LIBDIR)/$(SO) \
		$(D)$(LIBDIR)/libxsknet.so.$(SO_MAJOR) $(D)$(LIBDIR)/libxsknet.so \
		$(D)$(LIBDIR)/pkgconfig/xsknet.pc $(D)$(BINDIR)/xsknet-bench \
		$(D)$(SBINDIR)/xsknetd $(D)$(SBINDIR)/xsknetctl $(D)$(UNITDIR)/xsknetd@.service \
		$(D)$(QEMUDIR)/50-xsknetd-net.json
	for m in $(MAN); do rm -f $(D)$(MANDIR)/man$${m##*.}/$${m##*/}; done

format:
	$(Q)find base umem xsk rss bpf virtio port engine vhost ctl bench tests examples include -name '*.[ch]' \
		-exec clang-format -i {} +

help:
	@sed -n 's/^#: \{0,1\}//p' Makefile

clean:
	$(Q)rm -rf build
