# SPDX-License-Identifier: BSD-2-Clause
# xsknet. `make help` lists what there is. Everything is built into build/.

VERSION := 0.1.0
PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
DESTDIR ?=


comma := ,
B    := build$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))
CC   ?= cc
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/bin/bpftool /usr/lib/linux-tools/*/bpftool) bpftool)
Q    := $(if $(V),,@)
say   = $(if $(V),,@printf '  %-7s %s\n' $(1) $(patsubst build/%,%,$(2)))

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
        -Wundef -Wwrite-strings -Wpointer-arith -Wvla -Wformat=2 -Wno-unused-parameter \
        $(if $(WERROR),-Werror)
HARD := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIC
OPT  ?= -O2
CPPFLAGS += -I. -Iinclude -I$(B) -D_GNU_SOURCE
CFLAGS   += -std=gnu11 -g $(OPT) $(WARN) $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all,$(HARD))
LDFLAGS  += $(if $(SAN),-fsanitize=$(SAN)) -Wl,-z,relro,-z,now
LIBS     := -lbpf -lxdp -lmnl -lnuma

# ---- what there is: explicit lists --------------------------------------

LIB_SRC := base/log.c base/names.c base/version.c \
           umem/map.c umem/region.c umem/frames.c umem/ram.c \
           xsk/xsk.c xsk/probe.c \
           bpf/steer.c \
           virtio/vq.c \
           port/open.c port/xdp.c port/xdp_rx.c port/xdp_tx.c port/link.c port/null.c port/loopback.c \
           engine/dev.c engine/queue.c engine/rx.c engine/tx.c engine/stats.c
BENCH_SRC := bench/main.c bench/opts.c bench/lab.c bench/netlink.c bench/gen.c bench/sink.c bench/check.c \
             bench/guest.c bench/paths.c bench/raw.c bench/run.c bench/report.c bench/chart.c bench/footprint.c
BPF_SRC   := bpf/steer.bpf.c bench/gen.bpf.c bench/sink.bpf.c

UNIT_TESTS   := base mem vq vq_hostile vq_oracle port_xdp engine check
KERNEL_TESTS := facts
NET_TESTS    := veth faults
EXAMPLES     := vmm

# ---- from lists to files -------------------------------------------------

LIB_OBJ   := $(LIB_SRC:%.c=$(B)/%.o)
BENCH_OBJ := $(BENCH_SRC:%.c=$(B)/%.o)
SKEL      := $(BPF_SRC:%.bpf.c=$(B)/%.skel.h)
FAKE_OBJ  := $(B)/tests/fake/kernel.o
LAB_OBJ   := $(patsubst %.c,$(B)/%.o,bench/lab.c bench/netlink.c bench/gen.c bench/sink.c bench/check.c bench/guest.c)

.PHONY: all
all: $(B)/libxsknet.a $(B)/libxsknet.so $(B)/xsknet-bench $(EXAMPLES:%=$(B)/examples/%)

$(B)/libxsknet.a: $(LIB_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/libxsknet.so: $(LIB_OBJ) libxsknet.map
	$(call say,LD,$@)
	$(Q)$(CC) -shared $(CFLAGS) $(LDFLAGS) -Wl,-soname,libxsknet.so.0 -Wl,--version-script=libxsknet.map -o $@ $(LIB_OBJ) $(LIBS)

$(B)/xsknet-bench: $(BENCH_OBJ) $(B)/libxsknet.a
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -ljansson -lpthread -lm

$(B)/cost: $(B)/bench/cost.o $(B)/bench/guest.o $(B)/bench/check.o $(FAKE_OBJ) $(B)/libxsknet.a
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(B)/examples/%: $(B)/examples/%.o $(B)/libxsknet.a
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(B)/tests/unit/%: $(B)/tests/unit/test_%.o $(FAKE_OBJ) $(LAB_OBJ) $(B)/libxsknet.a
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka -lpthread

$(B)/tests/kernel/% $(B)/tests/net/%: LIBS += -lcmocka -lpthread
$(B)/tests/kernel/%: $(B)/tests/kernel/test_%.o $(LAB_OBJ) $(B)/libxsknet.a
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/tests/net/%: $(B)/tests/net/test_%.o $(LAB_OBJ) $(B)/libxsknet.a
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(B)/%.o: %.c | $(SKEL)
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/%.bpf.o: %.bpf.c
	$(call say,BPF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) -target bpf -D__bpf__ -g -O2 -mcpu=v3 -Wall -Wextra -I. $(BPF_INC) -MMD -MP -c -o $@ $<

$(B)/%.skel.h: $(B)/%.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $(subst .,_,$(notdir $*))_bpf > $@.tmp && mv $@.tmp $@

# <asm/types.h> for clang's BPF target, on multiarch systems
BPF_INC := $(addprefix -I,$(wildcard /usr/include/$(shell $(CC) -print-multiarch 2>/dev/null)))

-include $(LIB_OBJ:.o=.d) $(BENCH_OBJ:.o=.d) $(wildcard $(B)/tests/*/*.d $(B)/examples/*.d $(B)/bpf/*.d $(B)/bench/*.d)
.SECONDARY:
.DELETE_ON_ERROR:

UNIT_BIN := $(UNIT_TESTS:%=$(B)/tests/unit/%)
.PHONY: unit
unit: $(UNIT_BIN)
	$(Q)tests/run $^

.PHONY: clean
clean:
	$(Q)rm -rf build
