# SPDX-License-Identifier: BSD-2-Clause
"""The tests with guests; names say what they prove."""
import glob
import itertools
import json
import os
import random
import re
import signal
import socket
import statistics
import struct
import time

from lab import (GUEST, HOST, MAC, PATIENCE, RUN, XFER, Failed, Guest, Held, Process, Pulse, Skip, Testpmd, all_answered,
                 check, huge_pages, inside, sh, wait_for)

TESTS = {}


class Test:
    def __init__(self, body, secs, tap, trees, matrix):
        self.body, self.secs, self.tap, self.trees, self.matrix = body, secs, tap, trees, matrix


def test(secs=600, tap=False, trees=("stable",), matrix=""):
    """secs: it hangs when it has not ended after so many. tap: makes sense without xsknetd. matrix: "seldom" for those
    of the matrix that are only run when all of it is (--matrix), "always" for its others."""
    def add(body):
        TESTS[body.__name__] = Test(body, secs, tap, trees, matrix)
        return body
    return add


LOTS = 12                   # rounds, until what is drawn by lot has been drawn once


def traffic(lab, megabytes=20):
    lab.ping(3, 0.1)
    lab.put(megabytes)
    lab.get(megabytes)


# ---- what a network is for ---------------------------------------------------

@test(tap=True)
def guest_and_host_ping_each_other(lab):
    lab.wire()
    lab.daemon()
    g = lab.guest([lab.nic()])
    all_answered(g.sh(f"ping -c 5 -i 0.2 -W 10 {HOST}"), 5)
    lab.ping()
    # The smallest, odd ones, and as large as fits.
    for size in 1, 46, 57, 1471, 1472:
        lab.ping(3, 0.05, size)


@test(tap=True)
def bulk_data_arrives_unchanged_both_ways(lab):
    lab.wire()
    lab.daemon()
    g = lab.guest([lab.nic()])
    g.services()
    print(">> to the guest:", lab.put(200))
    print(">> from the guest:", lab.get(200))
    both = [lab.bulk("put", 3000), lab.bulk("get", 3000)]
    for b in both:
        check(b.done() > 1 << 20, f"{b.name} has hardly moved anything: {b.said()}")


@test(tap=True)
def iperf3_runs_both_ways(lab):
    lab.wire()
    lab.daemon()
    g = lab.guest([lab.nic()])
    lab.start("iperf3", "/usr/bin/iperf3", "-s", "-B", HOST)
    for way in "", "-R", "--bidir", "-u -b 50M", "-u -b 50M -R":
        said = g.sh(f"iperf3 -c {HOST} -t 2 --connect-timeout 30000 {way}")
        rates = re.findall(r"([\d.]+) [KMG]?bits/sec.*receiver", said)
        check(rates and all(float(r) > 0 for r in rates), said)


@test(tap=True)
def two_queue_pairs_on_two_processors_carry_traffic(lab):
    lab.wire(queues=2)
    lab.daemon()
    g = lab.guest([lab.nic()], smp=2)
    said = g.sh("ethtool -l eth0")
    check(re.search(r"Current.*Combined:\s*2\b", said, re.S), said)
    g.services()

    def quiet_rings():
        said = g.sh("cat /proc/interrupts")
        lines = {ring: re.search(r"^ *\d+:((?: +\d+)+).*" + ring, said, re.M)
                 for ring in ("input.0", "input.1", "output.0", "output.1")}
        return [ring for ring, line in lines.items() if not line or sum(map(int, line.group(1).split())) <= 10]

    # On which queue a flow comes is drawn by lot.
    for _ in range(LOTS):
        flows = [lab.bulk(way, 2000) for way in ("put", "get") * 3]
        for f in flows:
            check(f.done() > 1 << 16, f"{f.name} has hardly moved anything: {f.said()}")
        if not quiet_rings():
            break
    check(not quiet_rings(), f"nothing on {quiet_rings()}")
    traffic(lab)


# ---- what guests do -----------------------------------------------------------

@test(tap=True)
def a_driver_can_be_loaded_ten_times(lab):
    lab.wire()
    lab.daemon()
    g = lab.guest([lab.nic()])
    for _ in range(10):
        g.sh("modprobe -r virtio_net && modprobe virtio_net")
        g.network()
        g.reaches()
        lab.ping(1)
    g.services()
    traffic(lab)


# ---- checksums and segments -----------------------------------------------------

TRAIN_BYTES = 60000         # of UDP datagrams, sent in one piece
HOST_USO, USO = 56, "tx-udp-segmentation"


def wrong_checksums(g):
    """How many the guest's stack has counted, TCP's and UDP's."""
    return [int(g.sh(f"awk '/^{proto}:/ && $2 ~ /[0-9]/ {{print ${column}}}' /proc/net/snmp"))
            for proto, column in (("Tcp", 16), ("Udp", 8))]


def peer_leaves_checksums(on):
    sh(inside("stable", "/usr/sbin/ethtool", "-K", "p0", "tx", "on" if on else "off"))


def switched(*names):
    """All combinations of on and off: {name: "on" or "off"}."""
    for states in itertools.product(("on", "off"), repeat=len(names)):
        yield dict(zip(names, states))


def in_any_combination(lab, d, g, mtu, names, guest_csum=True):
    """The same bytes both ways, over TCP and UDP, whatever of these ethtool switches on or off."""
    g.services()
    g.sh("(xfer trains 8 &) >/dev/null 2>&1")
    seen, trains = [], TRAIN_BYTES // (mtu - 100)
    for peer in True, False:
        peer_leaves_checksums(peer)
        for on in switched(*names):
            lab.closed(g)
            # Without checksums there is no segmentation: Linux says so, and leaves it off.
            g.sh("; ".join(f"ethtool -K eth0 {name} {state}" for name, state in on.items()) + "; true")
            lab.ping(1)             # what was sent before is behind it
            before = d.counters()
            lab.put(1)
            lab.get(1)
            lab.train(trains, mtu - 100, 2)
            more = {n: v - before[n] for n, v in d.counters().items()}
            said = f"{on}, peer {peer}: {more}"
            check((more["tx_csum"] > 0) == (on["tx"] == "on"), said)
            check((more["tx_segmented"] > 0) == (on["tx"] == "on" in (on.get("tso"), on.get(USO))), said)
            check((more["rx_csum_handed"] > 100) == (peer and guest_csum), said)
            check((more["rx_csum_finished"] > 100) == (peer and not guest_csum), said)
            seen.append(more["tx_segments"] // max(1, more["tx_segmented"]))
    check(wrong_checksums(g) == [0, 0], f"wrong checksums: TCP, UDP {wrong_checksums(g)}")
    # A train is cut as it was sent; how long TCP's packets are depends on its pace.
    check(max(seen) > (trains // 3 if USO in names else 2), f"no long packet among those that were cut: {seen}")


def offloads_with(options, mtu):
    def body(lab):
        if mtu > 1500:      # frames of several pieces
            lab.usual += r"|rx_(pieces|shifted|merged|bounced|bounce_few)$|tx_mixed$"
            if "mrg_rxbuf=off" in options:      # which have to be in one buffer
                lab.usual += r"|rx_bounced$|rx_bounce_pieces$|tx_bounced$|tx_bounce_forced$"
        lab.wire(mtu=mtu)
        d = lab.daemon()
        g = lab.guest([lab.nic(device=",".join(options + [f"host_mtu={mtu}"] * (mtu != 1500)))])
        check(int(g.sh("cat /sys/class/net/eth0/mtu")) == mtu, f"the guest's MTU is not {mtu}")
        check_bit(g, RING_PACKED, "packed=on" in options)
        in_any_combination(lab, d, g, mtu, ("tx", "gso", "tso"), "guest_csum=off" not in options)
    return body


@test(trees=("stable", "new"))
def datagrams_of_a_guest_are_cut_in_any_combination_of_offloads(lab):
    # QEMU's own network card offers no USO with a vhost-user back end.
    nic = generic_nic(lab, 1)
    d = lab.daemon()
    g = lab.guest([nic], qemu="new")
    check_bit(g, HOST_USO)
    in_any_combination(lab, d, g, 1500, ("tx", "tso", USO))


# Options of QEMU that differ from what a guest usually has, and how they are called. Those of all
# combinations that are in every run:
MATRIX = [("mrg_rxbuf", "without_mergeable_buffers"), ("packed", "in_packed_rings"), ("guest_csum", "finished_for_the_guest")]
ALWAYS = {(1500, ()), (1500, ("packed",)), (1500, ("mrg_rxbuf",)), (1500, ("mrg_rxbuf", "packed", "guest_csum")),
          (9000, ()), (9000, ("mrg_rxbuf", "packed"))}


def add_matrix():
    for frame_bytes in 1500, 9000:
        for chosen in itertools.product((False, True), repeat=len(MATRIX)):
            keys = tuple(key for (key, _), yes in zip(MATRIX, chosen) if yes)
            words = [word for (_, word), yes in zip(MATRIX, chosen) if yes]
            options = [f"{key}={'on' if key == 'packed' else 'off'}" for key in keys]
            fn = offloads_with(options, frame_bytes)
            fn.__name__ = "_".join(["offloads_in_any_combination_carry_the_same_bytes"] + words +
                                   [f"at_mtu_{frame_bytes}"] * (frame_bytes != 1500))
            test(matrix="always" if (frame_bytes, keys) in ALWAYS else "seldom")(fn)


add_matrix()


def without_offloads(options, finishes):
    def body(lab):
        lab.wire()
        d = lab.daemon()
        g = lab.guest([lab.nic(device=options)])
        g.services()
        traffic(lab, 10)
        all_answered(g.sh(f"ping -c 3 -i 0.1 -W 10 {HOST}"), 3)
        n = d.counters()
        check((n["rx_csum_finished"] > 1000) == finishes, n)
        check((n["rx_csum_handed"] > 1000) != finishes, n)
        check(wrong_checksums(g) == [0, 0], f"wrong checksums: TCP, UDP {wrong_checksums(g)}")
    return body


for label, opts, does in (
        ("takes_no_unfinished_checksum", "guest_csum=off", True),
        ("has_no_offload_at_all", "csum=off,guest_csum=off,gso=off,mrg_rxbuf=off", True),
        ("cuts_its_packets_itself", "host_tso4=off,host_tso6=off,host_ecn=off", False)):
    fn = without_offloads(opts, does)
    fn.__name__ = "a_guest_that_" + label
    test()(fn)


# ---- TCP that is put together (xsknetd --gro) --------------------------------------

def tcp_put_together(device, does):
    def body(lab):
        lab.wire()
        d = lab.daemon(extra=["--gro", "on"])
        g = lab.guest([lab.nic(device=device)])
        g.services()
        for peer in True, False:
            peer_leaves_checksums(peer)
            for gro, hw in ((a, b) for a in ("on", "off") for b in ("on", "off")):
                g.sh(f"ethtool -K eth0 gro {gro}; ethtool -K eth0 rx-gro-hw {hw}; true")
                before = d.counters()
                traffic(lab, 4)
                more = {n: v - before[n] for n, v in d.counters().items()}
                check(more["rx_coalesced"] > 1000 if does else more["rx_coalesced"] == 0, more)
                check(not does or more["rx_coalesced"] > 4 * more["rx_coalesced_packets"], more)
        check(wrong_checksums(g) == [0, 0], f"wrong checksums: TCP, UDP {wrong_checksums(g)}")
        errors = g.sh("cat /sys/class/net/eth0/statistics/rx_*errors /sys/class/net/eth0/statistics/rx_dropped")
        check(not any(map(int, errors.split())), f"its driver has dropped packets: {errors}")
    return body


for label, opts, does in (("is_put_together_for_a_guest", "", True),
                          ("is_put_together_in_packed_rings", "packed=on", True),
                          ("is_left_as_it_comes_without_mergeable_buffers", "mrg_rxbuf=off", False),
                          ("is_left_as_it_comes_for_guests_that_want_it_so", "guest_tso4=off,guest_tso6=off", False)):
    fn = tcp_put_together(opts, does)
    fn.__name__ = "tcp_" + label
    test()(fn)


def softirq_ticks(g):
    return int(g.sh("head -1 /proc/stat").split()[7])


def packets_in(g):
    """What its driver has given to its stack."""
    return int(g.sh("cat /sys/class/net/eth0/statistics/rx_packets"))


@test()
def tcp_that_is_put_together_costs_a_guest_less(lab):
    """Two guests with one processor each, of which one has it, receive in turns: it takes fewer packets for as
    many bytes. What time that saves is told, and decides nothing. GRO_ROUNDS: how often."""
    guests = []
    for n, gro in (0, "off"), (1, "on"):
        lab.wire(n, address=None)
        sh(f"ip addr add 10.9.{n}.1/24 dev p{n}")
        lab.daemon(n, ["--gro", gro])
        g = lab.boot([lab.nic(n, mac=f"52:54:00:12:34:5{n}")], name=f"guest-{gro}").booted()
        g.network(f"10.9.{n}.2")
        g.sh("(iperf3 -s >/dev/null 2>&1 &); until netstat -ltn | grep -q :5201; do usleep 10000; done")
        guests.append((g, n))
    rates, ticks, packets = [], [], []
    for k in range(int(os.environ.get("GRO_ROUNDS", "3"))):
        rate, tick, packet = [0, 0], [1, 1], [0, 0]
        for g, n in guests[::-1] if k % 2 else guests:
            before = softirq_ticks(g), packets_in(g)
            said = sh(inside("stable", "/usr/bin/iperf3", "-J", "-c", f"10.9.{n}.2", "-t", "2"), 2 * PATIENCE)
            got = json.loads(said)["end"]["sum_received"]
            rate[n] = got["bits_per_second"]
            tick[n] = (softirq_ticks(g) - before[0] or 1) / got["bytes"]
            packet[n] = (packets_in(g) - before[1]) / got["bytes"]
        rates.append(rate[1] / rate[0])
        ticks.append(tick[1] / tick[0])
        packets.append(packet[1] / packet[0])
    print(f">> TCP put together: {statistics.median(packets):.2f} of the packets, {statistics.median(rates):.2f} times "
          f"the rate, {statistics.median(ticks):.2f} of the softirq time a byte (medians of {len(rates)} rounds)")
    check(max(packets) < 0.25, f"packets a byte, of those without: {packets}")


@test()
def a_guest_cuts_up_again_what_it_passes_on(lab):
    """From one host interface through the guest to another, with TCP put together on the way in."""
    lab.wire(0)
    lab.wire(1, address=None)
    # The far end is a network namespace of its own, which ends with its program. It gets its end of
    # the wire, which is down meanwhile, before anybody sends something there.
    server = Process(lab, "far", ["unshare", "--net"] + XFER + ["serve", "5001"])
    far = f"nsenter -t {server.p.pid} -n"
    wait_for("the far end", lambda: server.must_live() and ":5001" in sh(f"{far} ss -ltn"))
    sh(f"ip link set p1 netns {server.p.pid} && {far} ip addr add 10.9.1.1/24 dev p1 && {far} ip link set p1 up && "
       f"{far} ip route add default via 10.9.1.2 && ip route add 10.9.1.0/24 via {GUEST}")
    d = [lab.daemon(n, ["--gro", "on"]) for n in (0, 1)]
    g = lab.boot([lab.nic(0) + lab.nic(1, mac="52:54:00:12:34:57")]).booted()
    g.network()
    g.network("10.9.1.2", "eth1")
    g.reaches()
    g.reaches("10.9.1.1")
    g.sh("echo 1 > /proc/sys/net/ipv4/ip_forward")
    for way, seed in ("put", 1), ("get", 2):
        sh(XFER + [way, "10.9.1.1", "5001", str(8 << 20), str(seed)], 4 * PATIENCE)
    for n in 0, 1:
        c = d[n].counters()
        check(c["rx_coalesced"] > 1000 and c["tx_segments"] > 1000, c)


@test(tap=True)
def a_guest_can_reboot(lab):
    lab.wire()
    lab.daemon()
    g = lab.guest([lab.nic()])
    lab.ping(2)
    for _ in range(2):
        g.forget("reboot -f")
        g.booted()
        g.network()
        g.reaches()
        lab.ping(2)
    g.services()
    traffic(lab)


@test(tap=True)
def a_guest_on_huge_pages(lab):
    want = 128 + 16
    if huge_pages(want) < want:
        raise Skip(f"the machine's memory is in pieces: {huge_pages()} huge pages of {want}")
    lab.wire()
    lab.daemon()
    g = lab.guest([lab.nic()], hugetlb=True)
    g.services()
    traffic(lab)


RING_PACKED = 34
VERSION_1 = 32


def check_bit(g, bit, on=True):
    """Has the guest's driver taken this feature?"""
    bits = g.sh("cat /sys/class/net/eth0/device/features").strip()
    check((bits[bit] == "1") == on, f"feature bit {bit}: {bits}")


def old_driver(options, check_ring=None):
    def body(lab):
        lab.wire()
        lab.daemon()
        g = lab.guest([lab.nic(device=options)])
        check_bit(g, RING_PACKED, "packed=on" in options)
        check_bit(g, VERSION_1, "disable-modern=on" not in options)
        if check_ring:
            said = g.sh("ethtool -g eth0")
            check(re.search(r"Current.*RX:\s*" + check_ring, said, re.S), said)
        g.services()
        traffic(lab)
    return body


for label, opts, ring in (
        ("without_mergeable_buffers", "mrg_rxbuf=off", None),
        ("without_indirect_descriptors", "indirect_desc=off", None),
        ("without_event_index", "event_idx=off", None),
        ("with_none_of_the_three", "mrg_rxbuf=off,indirect_desc=off,event_idx=off", None),
        ("with_rings_of_1024", "rx_queue_size=1024,tx_queue_size=1024", "1024"),
        ("from_before_virtio_1_0", "disable-modern=on,disable-legacy=off", None),
        ("from_before_virtio_1_0_with_a_header_of_10_bytes", "disable-modern=on,disable-legacy=off,mrg_rxbuf=off", None),
        ("with_packed_rings", "packed=on", None),
        ("with_packed_rings_and_none_of_the_three", "packed=on,mrg_rxbuf=off,indirect_desc=off,event_idx=off", None),
        ("with_packed_rings_of_1024", "packed=on,rx_queue_size=1024,tx_queue_size=1024", "1024")):
    fn = old_driver(opts, ring)
    fn.__name__ = "a_driver_" + label
    test(tap=not ring)(fn)


@test()
def an_idle_guest_costs_nothing(lab):
    lab.wire()
    d = lab.daemon()
    g = lab.guest([lab.nic()])
    g.services()
    lab.knows(g)
    traffic(lab)
    time.sleep(2)               # what TCP still has to say

    def turns():
        """How often its threads went to sleep, or were made to wait."""
        return sum(int(n) for path in glob.glob(f"/proc/{d.p.pid}/task/*/status")
                   for n in re.findall(r"ctxt_switches:\s*(\d+)", open(path, encoding="ascii").read()))

    def ticks():
        with open(f"/proc/{d.p.pid}/stat", encoding="ascii") as f:
            return sum(map(int, f.read().split()[13:15]))
    before = turns(), ticks()
    time.sleep(10)
    more = turns() - before[0], ticks() - before[1]
    # Its threads sleep through; or one never sleeps, which takes all of a processor.
    said = f"idle for 10 s: woken {more[0]} times, {more[1]} ticks"
    check(more[0] < 50 and more[1] < os.sysconf("SC_CLK_TCK"), said)
    print(">> " + said)


# ---- life and death ---------------------------------------------------------------

@test(tap=True)
def a_guest_whose_qemu_was_killed_is_followed_by_another(lab):
    lab.wire()
    lab.daemon()
    g = lab.guest([lab.nic()])
    g.services()
    for n in range(2):
        b = lab.bulk("put", 20000)
        time.sleep(0.5)
        g.kill()
        b.kill()
        g = lab.guest([lab.nic()], name=f"guest{n + 2}")
        g.services()
        traffic(lab, 5)


def daemon_again(lab, sig, times):
    lab.wire()
    d = lab.daemon()
    g = lab.guest([lab.nic()])
    g.services()
    # QEMU tells the guest that its link is down while there is no daemon, and Linux forgets its
    # neighbours then, and asks for them once a second: not what is to be measured here.
    lab.knows(g)
    pulse = Pulse()
    wait_for("the guest's echo", lambda: pulse.seen)
    bulk = [lab.bulk(w, times * 3000 + 2000) for w in ("put", "get")]
    took, killed = [], []
    for n in range(times):
        time.sleep(1)
        status = d.kill(sig)
        killed.append(time.monotonic())
        check(status == (0 if sig == signal.SIGTERM else -sig), f"xsknetd: status {status} after {sig!r}")
        time.sleep((0.1, 1.2)[n % 2])
        began = time.monotonic()
        d = d.again()
        took.append(pulse.back_after(began))
    for b in bulk:
        b.done()
    pulse.stop()
    # What was on its way when it was killed may have been sent, and is sent again then; who is
    # asked to end waits for it.
    odd = [when for when in pulse.twice() if sig == signal.SIGTERM or all(not 0 <= k - when < 1 for k in killed)]
    check(not odd, f"datagrams were answered twice, sent at {odd}; killed at {killed}")
    traffic(lab, 5)
    print(f">> back after {', '.join('%.0f' % (t * 1000) for t in took)} ms, {len(pulse.twice())} datagrams answered twice")


@test()
def traffic_is_back_after_the_restart_of_a_killed_daemon(lab):
    daemon_again(lab, signal.SIGKILL, 5)


@test()
def a_daemon_that_is_asked_to_end_does_and_the_next_one_takes_over(lab):
    daemon_again(lab, signal.SIGTERM, 3)


# ---- migration ------------------------------------------------------------------

def announcements():
    """What a guest tells the network about where it is now: types of its broadcasts."""
    sockets = []
    for kind in 0x0806, 0x8035:         # ARP, RARP
        sockets.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind)))
        sockets[-1].bind(("br0", kind))
        sockets[-1].setblocking(False)

    def heard():
        got = []
        for s in sockets:
            try:
                while True:
                    frame = s.recv(2048)
                    # Of ARP those that tell, not those that ask.
                    if frame[:6] == b"\xff" * 6 and frame[6:12] == bytes.fromhex(MAC.replace(":", "")) and \
                            (frame[12:14] == b"\x80\x35" or frame[28:32] == frame[38:42]):
                        got.append(frame[12:14].hex())
            except BlockingIOError:
                pass
        return got
    return heard


def two_places(lab, **options):
    """A guest in one QEMU, and another QEMU for it to go to, each with its own xsknetd."""
    for n in 0, 1:
        lab.wire(n, address=None)
    lab.bridge(0, 1)
    daemons = [lab.daemon(n) for n in (0, 1)]
    here = lab.guest([lab.nic(0)], name="here")
    there = Guest(lab, "there", [lab.nic(1)], incoming="defer", **options)
    there.talk()
    there.qmp("migrate-incoming", uri=f"unix:{RUN}/migrate")
    return here, there, daemons


def migrated(here):
    """Waits for the end. A slow machine may copy no faster than its guest writes: then the guest has
    to wait for longer."""
    began = time.monotonic()

    def state():
        q = here.qmp("query-migrate")
        check(q.get("status") not in ("failed", "cancelled"), f"migration: {q}")
        if time.monotonic() > began + PATIENCE / 2:
            here.qmp("migrate-set-parameters", **{"downtime-limit": 20000})
        return q if q.get("status") == "completed" else None
    return wait_for("the migration", state, 3 * PATIENCE, 0.05)


@test(tap=True)
def a_guest_moves_to_another_qemu_under_traffic(lab):
    here, there, daemons = two_places(lab)
    here.services()
    pulse = Pulse()
    wait_for("the guest's echo", lambda: pulse.seen)
    bulk = [lab.bulk(w, 8000) for w in ("put", "get")]
    heard = announcements()
    time.sleep(1)
    began = time.monotonic()
    # So slowly that it does not end before it was looked at.
    here.qmp("migrate-set-parameters", **{"max-bandwidth": 1 << 20, "downtime-limit": 1})
    here.qmp("migrate", uri=f"unix:{RUN}/migrate")
    if not lab.tap:
        wait_for("the dirty log", lambda: daemons[0].stats()["guest"]["logging"])
    here.qmp("migrate-set-parameters", **{"max-bandwidth": 400 << 20, "downtime-limit": 500})
    q = migrated(here)
    ended = time.monotonic()
    here.kill()
    back = pulse.back_after(ended)
    for b in bulk:
        b.done()
    gap = pulse.longest_gap(began)
    pulse.stop()
    said = wait_for("what the guest says on the bridge of where it is", heard)
    errors = int(there.sh("awk '/^Tcp:/ && $2 ~ /[0-9]/ {print $16}' /proc/net/snmp"))
    check(errors == 0, f"the guest has counted {errors} wrong TCP checksums")
    traffic(lab)
    print(f">> downtime {q.get('downtime')} ms (QEMU), longest silence {gap * 1000:.0f} ms, "
          f"back {back * 1000:.0f} ms after the end, announced by {' '.join(said)}")


@test(tap=True)
def what_arrives_while_memory_is_copied_is_in_the_copy(lab):
    # The guest's program reads nothing until it is there; what came meanwhile lies in
    # pages that only the daemon has written, after they were copied for the first time.
    here, there, _ = two_places(lab)
    here.sh("echo 4096 4194304 8388608 > /proc/sys/net/ipv4/tcp_rmem")
    here.services(hold="/tmp/go")
    # So that the copying does not come to an end by itself.
    here.sh("(while :; do dd if=/dev/urandom of=/tmp/dirty bs=64k count=64; done &) >/dev/null 2>&1")
    here.qmp("migrate-set-parameters", **{"max-bandwidth": 40 << 20, "downtime-limit": 1})
    here.qmp("migrate", uri=f"unix:{RUN}/migrate")
    # Fast through all of it, then slowly enough that it cannot end: less than the guest dirties.
    wait_for("the first round", lambda: here.qmp("query-migrate").get("ram", {}).get("remaining", 1 << 60) < 10 << 20)
    here.qmp("migrate-set-parameters", **{"max-bandwidth": 4 << 20})
    wait_for("another round", lambda: here.qmp("query-migrate")["ram"]["dirty-sync-count"] > 1)
    held = Held(1 << 20)
    wait_for("the guest has it", lambda: held.waiting() == 0)
    check(here.qmp("query-migrate")["status"] == "active", "the migration ended too early")
    here.qmp("migrate-set-parameters", **{"max-bandwidth": 2 << 30, "downtime-limit": 2000})
    migrated(here)
    here.kill()
    there.sh("touch /tmp/go")
    check(held.compared() == held.size, "what lay in the guest's memory has changed on its way")


# ---- the whole device handed to us -------------------------------------------------

def generic_nic(lab, queues, ring=256, n=0):
    """QEMU's vhost-user device without a type: control queue and configuration space are the
    back end's. (QEMU's own virtio-net keeps both for itself.)"""
    if n == 0:
        lab.enter("new")
    lab.wire(n, queues=queues, address=HOST if n == 0 else f"10.9.{n}.1")
    return ["-chardev", f"socket,id=c{n},path={RUN}/h{n}.sock", "-device", f"vhost-user-test-device-pci,chardev=c{n},"
            f"virtio-id=1,num_vqs={2 * queues + 1},vq_size={ring},config_size=24"]


@test(trees=("stable", "new"))
def a_guest_sets_its_queue_pairs_over_the_control_queue(lab):
    nic = generic_nic(lab, 2)
    d = lab.daemon()
    g = lab.guest([nic], smp=2, qemu="new")
    g.services()
    for n in 2, 1, 2:
        before = d.counters()["ctrl_commands"]
        g.sh(f"ethtool -L eth0 combined {3 - n}; ethtool -L eth0 combined {n}")
        wait_for("the commands", lambda: d.counters()["ctrl_commands"] >= before + 1)
        wait_for("the pairs", lambda: d.stats()["guest"]["running"] == 2)
        if n == 2:
            traffic(lab)
            lab.closed(g)
            lab.ping(1)

    def quiet():
        counted = {pair: d.counters(pair) for pair in (0, 1)}
        return [(pair, way) for pair, c in counted.items() for way in ("rx_packets", "tx_packets") if not c[way]]

    # On which pair a flow comes is drawn by lot.
    for _ in range(LOTS):
        if not quiet():
            break
        traffic(lab, 1)
    check(not quiet(), f"nothing on {quiet()}")


@test(trees=("stable", "new"))
def a_driver_with_rings_of_64(lab):
    nic = generic_nic(lab, 1, 64)
    lab.daemon()
    g = lab.guest([nic], qemu="new")
    g.services()
    traffic(lab)


@test(trees=("stable", "new"))
def a_guest_hears_of_its_address_its_mtu_and_its_link(lab):
    nic = generic_nic(lab, 1)
    lab.daemon(extra=["--mac", "52:54:00:ab:cd:ef", "--mtu", "1400"])
    g = lab.guest([nic], qemu="new")
    said = g.sh("cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu").split()
    check(said == ["52:54:00:ab:cd:ef", "1400"], said)
    lab.ping(2)
    lab.knows(g)
    lab.usual += "|tx_drop_down$|tx_kick_drops$"    # until it has heard of it
    for _ in range(2):
        for state, carrier in ("down", "0"), ("up", "1"):
            sh(f"ip link set p0 {state}")
            wait_for(f"carrier {carrier}", lambda: g.sh("cat /sys/class/net/eth0/carrier").strip() == carrier)
    g.reaches()
    lab.ping(2)


CTRL_GUEST_OFFLOADS, NOTF_COAL = 2, 53


@test(trees=("stable", "new"))
def a_guest_says_how_often_it_is_notified(lab):
    nic = generic_nic(lab, 1)
    d = lab.daemon()
    g = lab.guest([nic], qemu="new")
    check_bit(g, NOTF_COAL)
    g.services()

    lab.knows(g)
    wire = wire_socket()
    mac = g.sh("cat /sys/class/net/eth0/address").strip()

    def alone(n):
        """n frames, each sent when xsknetd has counted the one before: how often it was decided whether
        the guest is told, and what waited."""
        lab.closed(g)
        first, began = d.counters(), time.monotonic()
        for _ in range(n):
            come = d.counters()["rx_packets"]
            wire.send(ip_frame(socket.IPPROTO_UDP, bytes((198, 18, 0, 1)), 9, 9, mac))
            wait_for("a frame", lambda: d.counters()["rx_packets"] > come, every=0)
        secs = time.monotonic() - began
        more = {name: v - first[name] for name, v in d.counters().items()}
        return more["irqs_sent"] + more["irqs_suppressed"], more["irqs_held"], secs

    def notified():
        """Of 1000 frames either way: how often the guest was told; and batches that waited."""
        before = d.counters()
        traffic(lab, 20)
        more = {n: v - before[n] for n, v in d.counters().items()}
        return 1000 * more["irqs_sent"] // (more["rx_packets"] + more["tx_packets"]), more["irqs_held"]

    def ask(rx_usecs, rx_frames, tx_usecs, tx_frames):
        g.sh(f"ethtool -C eth0 rx-usecs {rx_usecs} rx-frames {rx_frames} tx-usecs {tx_usecs} tx-frames {tx_frames}")
        said = g.sh("ethtool -c eth0")
        check(re.search(rf"rx-usecs:\s*{rx_usecs}\b.*rx-frames:\s*{rx_frames}\b.*tx-usecs:\s*{tx_usecs}\b.*"
                        rf"tx-frames:\s*{tx_frames}\b", said, re.S), said)

    frames, few = 256, 8                    # few: others that may come meanwhile
    rate, held = notified()
    decided, waited, _ = alone(frames)
    check(held == waited == 0, f"{held} and {waited} batches waited, and nobody has asked for that")
    check(decided >= frames - few, f"{frames} frames, {decided} decisions")
    ask(2000, 64, 2000, 64)
    less, held = notified()
    check(held > 0, "no batch waited")
    # A second is the longest that anything waits for.
    ask(1000000, 64, 0, 1)
    decided, waited, secs = alone(frames)
    check(decided <= frames / 64 + secs + few, f"{frames} frames, {decided} decisions in {secs:.1f} s")
    # (The one with which there are 64 does not.)
    check(waited >= frames * 63 // 64 - secs - few, f"of {frames} frames {waited} waited")
    # Alone a frame waits for its time, and then the guest is told.
    ask(50000, 64, 0, 1)
    said = sh(inside("stable", "/usr/bin/busybox", "ping", "-c", "5", "-i", "0.2", "-W", "10", GUEST))
    all_answered(said, 5)
    took = [float(ms) for ms in re.findall(r"time=([\d.]+) ms", said)]
    check(statistics.median(took) > 45, f"the guest hears of a frame after 50 ms: {said}")
    ask(0, 0, 0, 1)
    check(notified()[1] == 0, "batches wait, though that was taken back")
    print(f">> {rate} notifications for 1000 frames, {less} with 64 frames or 2 ms")


@test(trees=("stable", "new"))
def a_guest_switches_what_is_put_together_for_it(lab):
    nic = generic_nic(lab, 1)
    d = lab.daemon(extra=["--gro", "on"])
    lab.usual += r"|rx_coalesced(_packets)?$"
    g = lab.guest([nic], qemu="new")
    check_bit(g, CTRL_GUEST_OFFLOADS)
    g.services()
    for state in "on", "off", "on", "off":
        commands = d.counters()["ctrl_commands"]
        g.sh(f"ethtool -K eth0 rx-gro-hw {state}")
        check(state == "on" or d.counters()["ctrl_commands"] > commands, "the driver has not said so")
        before = d.counters()["rx_coalesced"]
        lab.put(4)
        more = d.counters()["rx_coalesced"] - before
        check((more > 1000) == (state == "on"), f"{state}: {more} segments were put together")
        lab.get(1)
    check(wrong_checksums(g) == [0, 0], f"wrong checksums: TCP, UDP {wrong_checksums(g)}")


# ---- datagrams that are put together (xsknetd --gro) -----------------------------------

GUEST_USO4, GUEST_USO6 = 54, 55


@test(trees=("stable", "new"))
def datagrams_are_put_together_for_a_guest(lab):
    """For sockets that have asked for them in one piece, and for others, Linux cuts them up."""
    nic = generic_nic(lab, 1)
    d = lab.daemon(extra=["--gro", "on"])
    g = lab.guest([nic], qemu="new")
    check_bit(g, GUEST_USO4)
    check_bit(g, GUEST_USO6)
    g.sh("(xfer trains 8 & xfer trains 9 gro &) >/dev/null 2>&1; "
         "until netstat -lun | grep -q :8 && netstat -lun | grep -q :9; do usleep 10000; done")
    for peer, state in itertools.product((True, False), ("on", "off")):
        peer_leaves_checksums(peer)
        g.sh(f"ethtool -K eth0 rx-gro-hw {state}")
        for port, (n, size) in itertools.product((8, 9), ((64, 60), (40, 1400))):
            before = d.counters()
            sh(XFER + ["train", GUEST, str(port), str(n), str(size), "5"], 4 * PATIENCE)
            more = {k: v - before[k] for k, v in d.counters().items()}
            said = f"{n} of {size} to {port}, {state}, peer {peer}: {more}"
            # Without checksums to leave out the far end may send each by itself: then it is chance.
            check(more["rx_coalesced"] > 20 or not peer if state == "on" else more["rx_coalesced"] == 0, said)
    check(wrong_checksums(g) == [0, 0], f"wrong checksums: TCP, UDP {wrong_checksums(g)}")
    errors = g.sh("cat /sys/class/net/eth0/statistics/rx_*errors /sys/class/net/eth0/statistics/rx_dropped")
    check(not any(map(int, errors.split())), f"its driver has dropped packets: {errors}")


def router(lab, n, extra, serve):
    """A guest between the wires n and n + 1; what serves at its far end: (guest, daemons)."""
    lab.usual += r"|steer_unwanted$"        # IPv6 of the far end's, to groups that the guest is not in
    nics = [generic_nic(lab, 1, n=k) for k in (n, n + 1)]
    d = [lab.daemon(k, extra) for k in (n, n + 1)]
    g = lab.boot([nics[0] + nics[1]], name=f"router{n}", qemu="new").booted()
    inner_address = GUEST if n == 0 else f"10.9.{n}.2"
    g.network(inner_address)
    g.network(f"10.9.{n + 1}.2", "eth1")
    g.sh("echo 1 > /proc/sys/net/ipv4/ip_forward; for e in eth0 eth1; do ethtool -K $e tx-udp-segmentation on; done")
    server = Process(lab, f"far{n}", ["unshare", "--net"] + XFER + serve)
    far = f"nsenter -t {server.p.pid} -n"
    wait_for("the far end", lambda: server.must_live() and f":{serve[1]}" in sh(f"{far} ss -lun"))
    sh(f"ip addr del 10.9.{n + 1}.1/24 dev p{n + 1}; ip link set p{n + 1} netns {server.p.pid} && "
       f"{far} ip addr add 10.9.{n + 1}.1/24 dev p{n + 1} && {far} ip link set p{n + 1} up && "
       f"{far} ip route add default via 10.9.{n + 1}.2 && ip route add 10.9.{n + 1}.0/24 via {inner_address}")
    return g, d


@test(trees=("stable", "new"))
def a_guest_passes_on_datagrams_in_the_pieces_that_it_gets(lab):
    g, d = router(lab, 0, ["--gro", "on"], ["trains", "8"])
    check_bit(g, GUEST_USO4)
    for n, size in (64, 60), (40, 1400):
        sh(XFER + ["train", "10.9.1.1", "8", str(n), str(size), "5"], 4 * PATIENCE)
    for daemon in d:
        c = daemon.counters()
        check(c["rx_coalesced"] > 20 and c["tx_segmented"] and c["tx_segments"] > c["tx_segmented"], c)


def processor_ns(g):
    """What the guest's one processor has run so far."""
    for comm in glob.glob(f"/proc/{g.p.pid}/task/*/comm"):
        with open(comm, encoding="ascii") as f:
            if f.read().startswith("CPU 0"):
                with open(os.path.dirname(comm) + "/schedstat", encoding="ascii") as s:
                    return int(s.read().split()[0])
    raise Failed("QEMU has no thread CPU 0")


@test(trees=("stable", "new"), secs=1800)
def datagrams_that_are_put_together_cost_a_guest_less(lab):
    """Figures, which decide nothing: two guests with one processor each, of which one has it, receive bursts
    of 32 datagrams in turns. GRO_ROUNDS: how often (without: once, and not for long)."""
    guests, rounds = [], int(os.environ.get("GRO_ROUNDS", "1"))
    ms = 1000 if "GRO_ROUNDS" in os.environ else 200
    for n, gro in (0, "off"), (1, "udp"):
        nic = generic_nic(lab, 1, n=n)
        lab.daemon(n, ["--gro", gro])
        g = lab.boot([nic], name=f"guest-{gro}", qemu="new").booted()
        g.network(GUEST if n == 0 else f"10.9.{n}.2")
        guests.append((g, n, GUEST if n == 0 else f"10.9.{n}.2"))
    for way, size, pps in itertools.product(("", "gro"), (64, 512, 1472), (5000, 60000)):
        costs, rates = [], []
        for k in range(rounds):
            cost, rate = [0, 0], [0, 0]
            for g, n, address in guests[::-1] if k % 2 else guests:
                g.sh(f"rm -f /tmp/all; (xfer drink 9 500 {way} > /tmp/drunk; touch /tmp/all) >/dev/null 2>&1 & "
                     "until netstat -lun | grep -q :9; do usleep 10000; done")
                before = processor_ns(g)
                sh(XFER + ["flood", address, "9", str(size), "32", str(pps), str(ms)], 30)
                g.sh("until test -e /tmp/all; do usleep 10000; done")
                rate[n] = int(g.sh("cat /tmp/drunk"))
                check(rate[n], "nothing has arrived")
                cost[n] = (processor_ns(g) - before) / rate[n]
            costs.append(cost[1] / cost[0])
            rates.append(rate[1] / rate[0])
        print(f">> {size} bytes, {pps} a second{', UDP_GRO' if way else ''}: {statistics.median(costs):.2f} of the "
              f"processor time each, {statistics.median(rates):.2f} times as many arrive (medians of {len(costs)} rounds)")


# ---- receive-side scaling: the guest says which flow comes on which of its queues --------

RSS_PAIRS = 4
LOSSES = re.compile(r"(rx|rss|kernel)_(drop_.*|fill_empty|rx_dropped|rx_ring_full)$|steer_(no_socket|disabled)$")


def toeplitz(key, data):
    """Microsoft's definition, a bit at a time: for each 1 of the data the 32 bits of the key that
    begin there."""
    k, result = int.from_bytes(key, "big"), 0
    for bit in range(8 * len(data)):
        if data[bit // 8] >> (7 - bit % 8) & 1:
            result ^= k >> (8 * len(key) - 32 - bit) & 0xffffffff
    return result


def rss_of(g):
    """(key, table) as the guest's driver says that it has them."""
    said = g.sh("ethtool -x eth0")
    rows = re.findall(r"^ *\d+:((?: +\d+)+) *$", said, re.M)
    key = re.search(r"^((?:[0-9a-f]{2}:)+[0-9a-f]{2})", said, re.M)
    check(rows and key, said)
    return bytes.fromhex(key.group(1).replace(":", "")), [int(n) for r in rows for n in r.split()]


def ip_frame(proto, src, sport, dport, mac):
    """TCP (an acknowledgement out of nowhere) or UDP over IPv4 to the guest."""
    if proto == socket.IPPROTO_UDP:
        l4 = struct.pack("!HHHH", sport, dport, 8 + 18, 0) + bytes(18)
    else:
        l4 = struct.pack("!HHIIBBHHH", sport, dport, 1, 1, 5 << 4, 0x10, 512, 0, 0)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(l4), 0, 0x4000, 64, proto, 0, src,
                     socket.inet_aton(GUEST))
    total = sum(struct.unpack("!10H", ip))
    total = (total & 0xffff) + (total >> 16)
    ip = ip[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xffff) + ip[12:]
    return (bytes.fromhex(mac.replace(":", "")) + b"\x02\0\0\0\0\x09" + b"\x08\0" + ip + l4).ljust(60, b"\0")


def flows_arrive_where_they_should(d, g, wire, draw, flows=64):
    """All of a flow's frames on the queue that key and table name."""
    key, table, before = *rss_of(g), d.counters()
    mac, copies, want, frames = g.sh("cat /sys/class/net/eth0/address").strip(), 5, {}, []
    g.sh(f"(xfer queues eth0 {RSS_PAIRS} {copies * flows} 5000 > /tmp/queues 2>&1; touch /tmp/counted) & "
         "until grep -q ready /tmp/queues; do usleep 10000; done 2>/dev/null")
    for n in range(flows):
        proto = draw.choice((socket.IPPROTO_TCP, socket.IPPROTO_UDP))
        src, sport = bytes((198, 18, n, draw.randrange(1, 255))), draw.randrange(1024, 65536)
        tuple4 = src + socket.inet_aton(GUEST) + struct.pack("!HH", sport, 9)
        want[f"{src[2]}.{src[3]}"] = table[toeplitz(key, tuple4) % len(table)]
        frames += [ip_frame(proto, src, sport, 9, mac)] * copies
    draw.shuffle(frames)
    for f in frames:
        wire.send(f)
        time.sleep(0.001)           # a slow guest's rings are short
    said = g.sh("until [ -e /tmp/counted ]; do usleep 20000; done; rm /tmp/counted; cat /tmp/queues")
    got = {(flow, int(q)): int(n) for flow, q, n in re.findall(r"^([\d.]+) (\d+) (\d+)$", said, re.M)}
    wrong = {k: n for k, n in got.items() if want.get(k[0]) != k[1]}
    check(not wrong, f"on another queue than the guest computes: {wrong}")
    check(len(got) == flows, f"only {len(got)} of {flows} flows have come: {got}")
    lost = copies * flows - sum(got.values())
    counted = sum(now - before.get(k, 0) for k, now in d.counters().items() if LOSSES.match(k))
    check(lost <= counted, f"{lost} frames have not come, {counted} are counted")
    check(len(set(want.values())) == len(set(table)), f"flows for all queues of the table: {want}")


@test(trees=("stable", "new"))
def each_flow_arrives_on_the_queue_that_the_guest_computes(lab):
    nic = generic_nic(lab, RSS_PAIRS)
    d = lab.daemon()
    g = lab.guest([nic], smp=2, qemu="new")
    g.services()
    g.sh(f"ethtool -L eth0 combined {RSS_PAIRS}")
    draw, wire = random.Random(5), wire_socket()
    settings = [f"equal {RSS_PAIRS}", "equal 3", "weight 1 0 0 3", "weight 0 0 1 0",
                "hkey " + ":".join(f"{draw.randrange(256):02x}" for _ in range(40)), f"equal {RSS_PAIRS}"]
    for words in settings:
        g.sh(f"ethtool -X eth0 {words}")
        flows_arrive_where_they_should(d, g, wire, draw)
        lab.ping(2)
    check(d.counters()["rss_missteered"] > 0, "no frame came on another queue: the test has shown nothing")


@test(trees=("stable", "new"))
def rss_is_set_anew_in_traffic(lab):
    # Of queues that are given up what is on its way is dropped.
    lab.usual += r"|steer_disabled$|tx_drop_disabled$|heads_dropped$|rx_drop_"
    nic = generic_nic(lab, RSS_PAIRS)
    lab.daemon()
    g = lab.guest([nic], smp=2, qemu="new")
    g.services()
    g.sh(f"ethtool -L eth0 combined {RSS_PAIRS}")
    flows = [lab.bulk(way, 12000) for way in ("put", "get") * 2]
    # Flows move to other queues, to one alone, and back.
    g.sh("i=0; while [ $i -lt 40 ]; do i=$((i+1)); ethtool -X eth0 equal $((i % 4 + 1)) || exit 1; done", 60)
    g.sh("i=0; while [ $i -lt 10 ]; do i=$((i+1)); ethtool -L eth0 combined $((i % 4 + 1)) || exit 1; done", 60)
    for f in flows:
        check(f.done() > 1 << 16, f"{f.name} has hardly moved anything: {f.said()}")
    traffic(lab)


# ---- what the driver does not want ------------------------------------------------------

@test(trees=("stable", "new"))
def frames_that_the_driver_does_not_want_never_reach_it(lab):
    lab.usual += r"|steer_unwanted$"
    nic = generic_nic(lab, 1)
    d = lab.daemon()
    g = lab.guest([nic], qemu="new")
    wire, burst = wire_socket(), 40
    own, group, other, new = g.sh("cat /sys/class/net/eth0/address").strip(), "01:00:5e:01:02:03", \
        "52:54:00:99:99:99", "52:54:00:aa:bb:cc"

    def gets(mac):
        """Of a burst all, and not some. (A few others may come meanwhile.)"""
        def count():
            return int(g.sh("cat /sys/class/net/eth0/statistics/rx_packets"))
        before, unwanted = count(), d.counters()["steer_unwanted"]
        for _ in range(burst):
            wire.send(ip_frame(socket.IPPROTO_UDP, bytes((198, 18, 0, 1)), 9, 9, mac))
            time.sleep(0.002)
        wait_for("frames", lambda: count() >= before + burst or
                 d.counters()["steer_unwanted"] >= unwanted + burst)
        return count() >= before + burst

    def wants(command):
        """Linux tells the device later, in a worker of its own, and holds the lock of all settings meanwhile."""
        said = d.counters()["ctrl_commands"]
        g.sh(command)
        wait_for("the commands", lambda: d.counters()["ctrl_commands"] > said)
        g.sh("ifconfig eth0 txqueuelen 1000")

    check(gets(own) and not gets(other) and not gets(group), "as it is set up")
    wants("ip link set eth0 promisc on")
    check(gets(own) and gets(other) and gets(group), "promiscuous")
    wants("ip link set eth0 promisc off")
    check(gets(own) and not gets(other), "not any more")
    wants("ifconfig eth0 allmulti")
    check(gets(group) and not gets(other), "all groups")
    wants(f"ip link set eth0 down && ip link set eth0 address {new} && ip link set eth0 up && "
          "until grep -q up /sys/class/net/eth0/operstate; do usleep 10000; done")
    sh("ip neigh flush dev p0")
    g.reaches()
    check(gets(new) and not gets(own), "another address")
    lab.ping(2)


# ---- other drivers -----------------------------------------------------------------

@test(tap=True)
def ipxe_boots_a_kernel_over_the_network(lab):
    # QEMU's option ROM has a virtio driver of its own: DHCP, then some 30 MB over TFTP, which
    # have to be right to the last bit, as they are then a running system.
    lab.wire()
    lab.daemon()
    lab.tftp({"boot.ipxe": "#!ipxe\nkernel vmlinuz console=ttyS0 panic=-1 mitigations=off\n"
                           "initrd initramfs\nboot\n"})
    g = lab.boot([lab.nic(device="bootindex=1")], boot_net=True, memory=512)
    g.booted_by_network()
    g.network()
    g.reaches()
    g.services()
    traffic(lab, 5)


def wire_socket(dev="p0"):
    """All frames of one interface."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    s.bind((dev, 0))
    s.settimeout(PATIENCE)
    return s


OUTSIDE = bytes.fromhex("020000000001")


def frame(n, size):
    """To the guest, of an experimental type, each with a payload of its own."""
    head = bytes.fromhex(MAC.replace(":", "")) + OUTSIDE + b"\x88\xb5"
    return (head + n.to_bytes(4, "big") + bytes((n * 7 + i * (1 + n % 5)) & 255 for i in range(size)))[:size]


def rx_packets(dev):
    with open(f"/sys/class/net/{dev}/statistics/rx_packets", encoding="ascii") as f:
        return int(f.read())


@test()
def dpdk_virtio_user_receives_every_frame(lab):
    lab.wire()
    d = lab.daemon()
    t = Testpmd(lab)
    t.forward("rxonly")
    wire = wire_socket()
    frames = [frame(n, 60 + n * 13 % 1455) for n in range(500)]
    # No more at a time than the driver has buffers for, whether it runs or not.
    for sent in range(500, 20001, 500):
        for f in frames:
            wire.send(f)
        wait_for(f"{sent} frames", lambda: t.counts()[0] >= sent)
    check(t.counts()[0] == 20000, f"20000 frames were sent, {t.counts()[0]} arrived")
    missed = d.counters().get("kernel_fill_empty", 0)
    check(not missed, f"{missed} frames found no buffer")


@test()
def dpdk_virtio_user_sends_what_it_counts(lab):
    lab.wire()
    lab.daemon()
    t = Testpmd(lab)
    for size in 60, 1514:
        before, sent = rx_packets("p0"), t.counts()[1]
        t.do(f"set txpkts {size}", "")
        t.forward("txonly")
        wait_for("many frames", lambda: t.counts()[1] - sent > 50000)
        t.do("stop", r"\nDone\.")
        sent = t.counts()[1] - sent
        wait_for("all of them on the wire", lambda: rx_packets("p0") - before >= sent)
        check(rx_packets("p0") - before == sent, f"{sent} were sent, {rx_packets('p0') - before} arrived")


@test()
def dpdk_virtio_user_gives_back_each_frame_unchanged(lab):
    lab.wire()
    lab.daemon()
    for _ in range(2):          # killed, the first time: the next one finds all as new
        t = Testpmd(lab, ring=256)
        t.forward("macswap")
        wire = wire_socket()
        n = 0
        for _ in range(100):
            window = [frame(n + i, 60 + (n + i) * 13 % 1455) for i in range(50)]
            n += 50
            for f in window:
                wire.send(f)
            want = {OUTSIDE + f[:6] + f[12:] for f in window}
            while want:
                got = wire.recv(2048)
                if got[6:12] == OUTSIDE:
                    continue    # what we sent ourselves
                check(got in want, f"a frame of {len(got)} bytes that nobody sent: {got.hex()}")
                want.remove(got)
        t.kill()
