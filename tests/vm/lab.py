# SPDX-License-Identifier: BSD-2-Clause
"""The laboratory of one test with guests.

	QEMU: Linux guest -- vhost-user socket -- xsknetd -- h0 [veth] p0  10.9.0.1
	      10.9.0.2

All of it lives in namespaces of the test's own (network, mounts, processes; tests/vm/run
makes them), so whatever happens, nothing is left of it afterwards. QEMU and the other foreign
programs come out of a tree of Debian packages (tests/vm/fetch) and run with chroot in it.
"""
import contextlib
import fcntl
import glob
import json
import lzma
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
BUILD = os.path.abspath(os.environ.get("VM_BUILD", os.path.join(ROOT, "build")))
VM = os.path.join(ROOT, "build/vm")
RUN = "/run/xsknet-vm"          # sockets: paths of those are short; the same inside the trees
TREES = {
    # name: suites, packages
    "stable": ("trixie", "qemu-system-x86 ipxe-qemu linux-image-cloud-amd64 busybox-static iperf3 ethtool "
               "dnsmasq-base dpdk-dev librte-net-virtio25 librte-mempool-ring25"),
    # A QEMU that can hand the whole virtio-net device, control queue included, to us.
    "new": ("trixie trixie-backports", "qemu-system-x86/trixie-backports qemu-system-common/trixie-backports "
            "qemu-system-data/trixie-backports seabios/trixie-backports ipxe-qemu"),
}
XFER = [os.path.join(BUILD, "tests/vm/xfer")]
HOST, GUEST = "10.9.0.1", "10.9.0.2"
MAC = "52:54:00:12:34:56"
# Counters that may be more than 0: traffic, ways to send it, and frames that came while nobody
# was there to take them.
USUAL = (r"[rt]x_(packets|bytes|lent|buf_lent|kicks|kick_again|chained|gathered)$|irqs_|"
         r"[rt]x_(csum|csum_handed|csum_finished|segmented|segments|coalesced|coalesced_packets|copied_bytes|descs)$|"
         r"steer_to_guest$|steer_no_socket$|rx_drop_stopped$|ctrl_commands$")
# With several queues frames on another one than theirs are copied, into buffers kept for them.
STEERED = (r"|rss_(missteered|handed_over|configs)$|steer_(missteered|unclassified)$|rx_bounced$|rx_bounce_reserve$|"
           r"rx_drop_(no_buffer|missteered|cross_full)$|rx_out_of_order$")
MODULES = ["virtio_net", "virtio_pci"]         # built in, in some kernels
# Seconds for what is there at once on a machine that has nothing else to do: nothing is decided
# by how fast something is, and only what never comes takes so long.
PATIENCE = 60


class Skip(Exception):
    """Cannot be tried on this machine, and why."""


class Failed(Exception):
    pass


def check(good, said):
    if not good:
        raise Failed(said)


def wait_for(what, true, secs=PATIENCE, every=0.02):
    """The first value of true() that counts as one."""
    end = time.monotonic() + secs
    while True:
        got = true()
        if got:
            return got
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {secs} s")
        time.sleep(every)


def sh(command, secs=PATIENCE):
    """A command outside of the guest; what it said."""
    done = subprocess.run(command, shell=isinstance(command, str), timeout=secs, text=True, errors="replace",
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check(done.returncode == 0, f"{command}: status {done.returncode}\n{done.stdout}")
    return done.stdout


def huge_pages(n=None):
    """How many the machine has reserved; asks for so many. (tests/vm/run puts back what was.)"""
    def write(name, value):
        with open("/proc/sys/vm/" + name, "w", encoding="ascii") as f:
            f.write(str(value))

    def have():
        with open("/proc/sys/vm/nr_hugepages", encoding="ascii") as f:
            return int(f.read())
    if n is not None:
        write("nr_hugepages", n)
        # Where memory is in small pieces the kernel gives fewer, and says nothing.
        for _ in range(5):
            if have() >= n:
                break
            for name, value in ("drop_caches", 3), ("compact_memory", 1), ("nr_hugepages", n):
                with contextlib.suppress(OSError):      # not all kernels have all
                    write(name, value)
    return have()


def all_answered(said, count):
    """(ping itself is content with one answer.)"""
    check(f" {count} packets received" in said, said)


# ---- packages, initramfs ---------------------------------------------------

def tree(name="stable"):
    return os.path.join(VM, "tree-" + name)


def fetch(name="stable"):
    """Makes sure that the tree is there. On failure the reason."""
    suites, packages = TREES[name]
    os.makedirs(VM, exist_ok=True)
    with open(os.path.join(VM, f"fetch-{name}.log"), "w", encoding="utf8") as log:
        done = subprocess.run([os.path.join(ROOT, "tests/vm/fetch"), tree(name), suites] + packages.split(),
                              stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.PIPE, text=True,
                              timeout=600, check=False)
        log.write(done.stderr)
    if done.returncode:
        raise Skip(done.stderr.strip().splitlines()[-1] if done.stderr else "cannot fetch packages")


def inside(name, *command):
    """The command as it runs in a tree."""
    return ["chroot", tree(name)] + list(command)


def kernel():
    return sorted(glob.glob(tree() + "/boot/vmlinuz-*"))[-1]


def modules_of(names, base):
    """Modules of a tree, and what they need: {name: ([names it needs], bytes)}."""
    where = {os.path.basename(f).split(".")[0].replace("-", "_"): f
             for f in glob.glob(base + "/usr/lib/modules/*/kernel/**/*.ko*", recursive=True)}
    found, todo = {}, list(names)
    while todo:
        name = todo.pop()
        if name in found or name not in where:
            continue
        with open(where[name], "rb") as f:
            code = f.read()
        if where[name].endswith(".xz"):
            code = lzma.decompress(code)
        needs = re.search(rb"\0depends=([^\0]*)\0", code).group(1).decode().replace("-", "_")
        found[name] = ([n for n in needs.split(",") if n], code)
        todo += found[name][0]
    return found


def make_initramfs(path):
    """busybox, the modules, xfer, and the programs of the tree with their libraries."""
    base = tree()
    files = {"init": (0o755, open(os.path.join(ROOT, "tests/vm/init"), "rb").read()),
             "bin/busybox": (0o755, open(base + "/usr/bin/busybox", "rb").read()),
             "bin/xfer": (0o755, open(os.path.join(BUILD, "tests/vm/xfer"), "rb").read())}
    for program in "/usr/bin/iperf3", "/usr/sbin/ethtool":
        needs = sh(inside("stable", "/lib64/ld-linux-x86-64.so.2", "--list", program))
        # libgcc_s is not among those: glibc loads it to end a thread.
        for f in [program] + re.findall(r"(/\S+) \(0x", needs) + ["/usr/lib/x86_64-linux-gnu/libgcc_s.so.1"]:
            files[f.lstrip("/")] = (0o755, open(base + f, "rb").read())
    write_initramfs(path, files, modules_of(MODULES, base), os.path.basename(kernel()).split("-", 1)[1])


def write_initramfs(path, files, mods, release):
    """files: {name: (mode, bytes)}; mods: of modules_of, for the kernel of this release."""
    deps = ""
    for name, (needs, code) in mods.items():
        files[f"lib/modules/{release}/{name}.ko"] = (0o644, code)
        closure, todo = [], list(needs)
        while todo:
            n = todo.pop(0)
            if n in mods and n not in closure:
                closure.append(n)
                todo += mods[n][0]
        deps += f"{name}.ko: {' '.join(n + '.ko' for n in closure)}\n"
    files[f"lib/modules/{release}/modules.dep"] = (0o644, deps.encode())
    folders = set()
    for f in files:
        while "/" in f:
            f = os.path.dirname(f)
            folders.add(f)
    with open(path + ".tmp", "wb") as out:
        for f in sorted(folders):
            out.write(cpio(f, 0o40755, b""))
        for f, (mode, data) in files.items():
            out.write(cpio(f, 0o100000 | mode, data))
        out.write(cpio("TRAILER!!!", 0, b""))
    os.rename(path + ".tmp", path)


def cpio(name, mode, data):
    """One member of an archive of the kernel's kind ("newc")."""
    cpio.inode += 1
    head = "070701" + "".join("%08x" % n for n in (
        cpio.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0))
    out = head.encode() + name.encode() + b"\0"
    out += b"\0" * (-len(out) % 4)
    return out + data + b"\0" * (-len(data) % 4)


cpio.inode = 0


# ---- processes ---------------------------------------------------------------

class Process:
    """A program of the laboratory; what it says goes to a file of its own in logs."""
    def __init__(self, lab, name, command, env=None, stdin=subprocess.DEVNULL):
        self.name, self.log = name, os.path.join(lab.logs, name + ".log")
        with open(self.log, "ab") as out:
            out.write(f"+ {' '.join(command)}\n".encode())
            out.flush()
            self.p = subprocess.Popen(command, stdin=stdin, stdout=out, stderr=out, env=env)
        lab.processes.append(self)

    def alive(self):
        return self.p.poll() is None

    def said(self):
        with open(self.log, encoding="utf8", errors="replace") as f:
            return f.read()

    def must_live(self):
        check(self.alive(), f"{self.name} has ended, status {self.p.returncode}: {self.said()[-2000:]}")
        return True

    def kill(self, sig=signal.SIGKILL, secs=PATIENCE):
        """Its status, negative if a signal ended it."""
        if self.alive():
            self.p.send_signal(sig)
        try:
            return self.p.wait(secs)
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.wait(5)
            raise Failed(f"{self.name}: signal {sig} did not end it within {secs} s") from None


def connect(path, secs=PATIENCE):
    def one():
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path)
            return s
        except OSError:
            s.close()
            return None
    return wait_for(path, one, secs)


class Lines:
    """A stream socket, read by lines."""
    def __init__(self, path):
        self.s, self.buf = connect(path), b""

    def line(self, secs, end=b"\n"):
        until = time.monotonic() + secs
        while end not in self.buf:
            self.s.settimeout(max(0.01, until - time.monotonic()))
            try:
                got = self.s.recv(65536)
            except TimeoutError:
                raise Failed(f"no answer within {secs} s, after {self.buf[-500:]!r}") from None
            except OSError as e:
                raise Failed(f"the other side is gone: {e}") from None
            if not got:
                raise Failed("the other side has closed")
            self.buf += got
        line, self.buf = self.buf.split(end, 1)
        return line


# ---- xsknetd -------------------------------------------------------------------

class Daemon(Process):
    """An xsknetd on one interface."""
    def __init__(self, lab, ifname, queues=1, extra=()):
        self.ifname, self.queues, self.extra = ifname, queues, list(extra)
        self.socket, self.ctl = f"{RUN}/{ifname}.sock", f"{RUN}/{ifname}.ctl"
        port = f"xdp:{ifname},queues={queues}" if queues > 1 else f"xdp:{ifname}"
        super().__init__(lab, "xsknetd-" + ifname, [os.path.join(BUILD, "xsknetd"), "--socket", self.socket,
                                                    "--port", port, "--ctl", self.ctl] + self.extra +
                         os.environ.get("XSKNETD_OPTS", "").split())
        self.lab = lab

    def ready(self):
        wait_for(f"{self.socket} of {self.name}", lambda: self.must_live() and os.path.exists(self.socket))
        return self

    def again(self):
        """A new one in the place of one that has ended."""
        return Daemon(self.lab, self.ifname, self.queues, self.extra)

    def stats(self):
        ctl = Lines(self.ctl)
        ctl.s.sendall(b'{"cmd":"stats"}\n')
        line = ctl.line(PATIENCE)
        ctl.s.close()
        return json.loads(line)

    def counters(self, pair=None):
        """Name: value, of one queue pair or all."""
        s = self.stats()
        return {k: v["value"] for k, v in (s if pair is None else s["pairs"][pair])["counters"].items()}


# ---- the guest -------------------------------------------------------------------

class Guest(Process):
    """A QEMU. nics: strings of -netdev, the device's options behind a blank."""
    def __init__(self, lab, name, nics, smp=1, memory=256, hugetlb=False, incoming=None, boot_net=False,
                 qemu="stable"):
        self.sockets = {k: f"{RUN}/{name}.{k}" for k in ("cmd", "qmp")}
        huge = ",hugetlb=on,hugetlbsize=2M" if hugetlb else ""
        c = ["/usr/bin/qemu-system-x86_64", "-nodefaults", "-no-user-config", "-nographic",
             "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(smp), "-m", f"{memory}M",
             "-object", f"memory-backend-memfd,id=ram,size={memory}M,share=on{huge}",
             "-machine", "q35,memory-backend=ram",
             "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
             "-chardev", f"socket,id=cmd,path={self.sockets['cmd']},server=on,wait=off", "-serial", "chardev:cmd",
             "-qmp", f"unix:{self.sockets['qmp']},server=on,wait=off"]
        if not boot_net:
            c += ["-kernel", "/vmlinuz", "-initrd", "/initramfs", "-append",
                  "console=ttyS0 panic=-1 mitigations=off random.trust_cpu=on"]
        for nic in nics:
            c += nic
        if incoming:
            c += ["-incoming", incoming]
        super().__init__(lab, name, inside(qemu, *c))
        self.cmd = self.qmp_lines = None

    def talk(self):
        """Connects to the guest's serial port."""
        wait_for(f"{self.name}: its sockets", lambda: self.must_live() and os.path.exists(self.sockets["cmd"]))
        self.cmd = Lines(self.sockets["cmd"])

    def booted(self, secs=4 * PATIENCE):
        """Waits until the guest takes commands."""
        if not self.cmd:
            self.talk()
        end = time.monotonic() + secs
        try:
            while True:
                if b"\x1ebooted" in self.cmd.line(end - time.monotonic()):
                    return self
        except Failed as e:
            raise Failed(f"{self.name} does not boot: {e}; {self.said()[-1500:]}") from None

    def booted_by_network(self):
        """The same, as long as it goes on with what it loads and says so, for ten minutes at most."""
        self.talk()
        for _ in range(10):
            said = self.said()
            try:
                return self.booted(PATIENCE)
            except Failed:
                if self.said() == said:
                    raise
        raise Failed(f"{self.name} does not boot: {self.said()[-1500:]}")

    def run(self, command, secs=2 * PATIENCE):
        """A command in the guest: (status, what it said)."""
        self.cmd.s.sendall(command.encode() + b"\n")
        said = self.cmd.line(secs, b"\x1e").decode(errors="replace")
        return int(self.cmd.line(PATIENCE)), said

    def sh(self, command, secs=2 * PATIENCE):
        try:
            status, said = self.run(command, secs)
        except Failed as e:
            raise Failed(f"in {self.name}: {command}: {e}") from None
        check(status == 0, f"in {self.name}: {command}: status {status}\n{said}")
        return said

    def forget(self, command):
        """A command that does not come back."""
        self.cmd.s.sendall(command.encode() + b"\n")

    def network(self, address=GUEST, dev="eth0"):
        # Nothing of its own (solicitations, reports) between frames that are counted, or while the link
        # is taken away. And Linux sends nothing until it has heard of the link, which it does not at once.
        self.sh(f"for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $f; done; "
                f"ip addr add {address}/24 dev {dev} && ip link set {dev} up && "
                f"until grep -q up /sys/class/net/{dev}/operstate; do usleep 10000; done")

    def reaches(self, address=HOST):
        """Waits until it does: a driver may be ready sooner than xsknetd, on a slow machine."""
        self.sh(f"until ping -c 1 -W 1 {address}; do :; done")

    def services(self, hold=""):
        """What the traffic from outside talks to. hold: nothing is read from port 5002 until
        this file is there."""
        self.sh("(xfer serve 5001 & xfer echo 7 &) >/dev/null 2>&1; "
                + (f"(xfer serve 5002 {hold} &) >/dev/null 2>&1; " if hold else "") +
                "until netstat -ltun | grep -q :5001 && netstat -ltun | grep -q :7; do usleep 10000; done")

    def qmp(self, command, secs=PATIENCE, **arguments):
        if not self.qmp_lines:
            self.qmp_lines = Lines(self.sockets["qmp"])
            self.qmp_lines.line(secs)
            self.qmp("qmp_capabilities")
        self.qmp_lines.s.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            said = json.loads(self.qmp_lines.line(secs))
            if "error" in said:
                raise Failed(f"{self.name}: {command}: {said['error']['desc']}")
            if "return" in said:
                return said["return"]


class Testpmd(Process):
    """DPDK's packet generator on its own virtio driver, without any guest: "virtio-user"."""
    def __init__(self, lab, n=0, queues=1, ring=1024, options=()):
        super().__init__(lab, "testpmd", inside(
            "stable", "/usr/bin/stdbuf", "-oL", "/usr/bin/dpdk-testpmd", "-l", "0,1", "--no-pci", "--no-huge", "-m", "256",
            "--single-file-segments", "--no-telemetry",
            f"--vdev=net_virtio_user0,path={RUN}/h{n}.sock,queues={queues},queue_size={ring},mac={MAC}",
            "--", "-i", "--total-num-mbufs=8192", f"--rxq={queues}", f"--txq={queues}", f"--rxd={ring}",
            f"--txd={ring}", "--no-flush-rx", *options), stdin=subprocess.PIPE)
        self.read = 0
        self.hear("Interactive-mode selected.*testpmd> ")

    def do(self, command, answer, secs=PATIENCE):
        """The match of what it says to a command. (Its prompt tells nothing: that comes at once.)"""
        self.p.stdin.write(command.encode() + b"\n")
        self.p.stdin.flush()
        return self.hear(answer, secs)

    def hear(self, answer, secs=PATIENCE):
        def found():
            text = self.said()
            m = re.compile(answer, re.S).search(text, self.read)
            if m:
                self.read = m.end()
            return m or (self.must_live() and None)
        return wait_for(f"testpmd: {answer}", found, secs)

    def forward(self, mode):
        self.do(f"set fwd {mode}", f"Set {mode} packet forwarding mode")
        self.do("start", "TX offloads.*?\n")

    def counts(self):
        """(received, sent)"""
        m = self.do("show port stats 0", r"RX-packets:\s*(\d+).*?TX-packets:\s*(\d+).*?####\n")
        return int(m.group(1)), int(m.group(2))


# ---- traffic ---------------------------------------------------------------------

class Pulse:
    """A datagram each 10 ms to the guest's echo; when the answers came."""
    def __init__(self, address=GUEST, every=0.01):
        self.s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.s.connect((address, 7))
        self.s.settimeout(0.2)
        self.every, self.ends = every, False
        self.sent, self.seen = {}, []           # number: when; [(when, number)]
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self.send, self.receive)]
        for t in self.threads:
            t.start()

    def send(self):
        n = 0
        while not self.ends:
            self.sent[n] = time.monotonic()
            try:
                self.s.send(b"%d" % n)
            except OSError:
                pass                            # nobody answered the one before
            n += 1
            time.sleep(self.every)

    def receive(self):
        while not self.ends:
            try:
                n = int(self.s.recv(100))
                self.seen.append((time.monotonic(), n))
            except OSError:
                pass

    def back_after(self, moment, secs=PATIENCE):
        """Seconds from that moment until the answer to something sent after it."""
        def first():
            for when, n in list(self.seen):
                if self.sent[n] > moment:
                    return when - moment
            return None
        return wait_for("an answer of the guest", first, secs, 0.005)

    def longest_gap(self, since):
        """Seconds without any answer, at most, from that moment on."""
        times = [since] + [w for w, _ in list(self.seen) if w > since] + [time.monotonic()]
        return max(b - a for a, b in zip(times, times[1:]))

    def twice(self):
        """Of those that were answered more than once, when they were sent."""
        numbers = sorted(n for _, n in list(self.seen))
        return [self.sent[a] for a, b in zip(numbers, numbers[1:]) if a == b]

    def stop(self):
        self.ends = True
        for t in self.threads:
            t.join(1)


class Held:
    """Bytes sent to the port that nobody reads yet (Guest.services), as `xfer put` does."""
    def __init__(self, size, seed=5):
        self.size, x, mask = size, seed | 1, (1 << 64) - 1
        data = bytearray()
        while len(data) < size:                 # xorshift64*, as in xfer.c
            x ^= x >> 12
            x ^= x << 25 & mask
            x ^= x >> 27
            data += (x * 0x2545f4914f6cdd1d & mask).to_bytes(8, "little")
        self.s = socket.create_connection((GUEST, 5002), PATIENCE)
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * size)
        self.s.sendall(struct.pack("<IIQQ", 0, 0, size, seed) + data[:size])
        self.s.shutdown(socket.SHUT_WR)

    def waiting(self):
        """Bytes that the guest's kernel has not acknowledged."""
        return struct.unpack("i", fcntl.ioctl(self.s, termios.TIOCOUTQ, b"\0" * 4))[0]

    def compared(self):
        """How many bytes the guest's program found to be right."""
        self.s.settimeout(PATIENCE)
        return struct.unpack("<Q", self.s.recv(8, socket.MSG_WAITALL))[0]


class Bulk(Process):
    def __init__(self, lab, way, ms):
        super().__init__(lab, "bulk-" + way, XFER + [way, GUEST, "5001", str(1 << 50), "3", str(ms)])

    def done(self, secs=2 * PATIENCE):
        """Bytes that have arrived, each of them compared."""
        try:
            status = self.p.wait(secs)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} does not end") from None
        check(status == 0, f"{self.name}: status {status}: {self.said()}")
        return int(re.search(r"(\d+) bytes", self.said()).group(1))


# ---- all together ------------------------------------------------------------------

class Lab:
    def __init__(self, name, tap=False):
        self.processes, self.tap, self.queues, self.usual = [], tap, {}, USUAL
        self.logs = os.path.join(VM, "logs", name)
        os.makedirs(self.logs, exist_ok=True)
        for f in glob.glob(self.logs + "/*"):
            os.remove(f)
        os.makedirs(RUN, exist_ok=True)
        # /sys shows the network namespace in which it was mounted.
        sh(f"mount -t tmpfs none {RUN} && mount -t sysfs none /sys")
        sh("ip link set lo up")
        # No neighbour discovery between frames that are counted.
        for f in glob.glob("/proc/sys/net/ipv6/conf/*/disable_ipv6"):
            with open(f, "w", encoding="ascii") as out:
                out.write("1")
        self.enter("stable")

    def enter(self, name):
        """Makes a tree fit to run programs in."""
        for d in "tmp", "var/run":
            os.makedirs(os.path.join(tree(name), d), exist_ok=True)
        for d in "proc", "sys", "dev", RUN.lstrip("/"):
            os.makedirs(os.path.join(tree(name), d), exist_ok=True)
            sh(f"mount --rbind /{d} {tree(name)}/{d}")
        for target, source in ("vmlinuz", kernel()), ("initramfs", os.path.join(VM, "initramfs")):
            open(os.path.join(tree(name), target), "ab").close()
            sh(f"mount --bind {source} {tree(name)}/{target}")

    def start(self, name, *command):
        """Any other program of the tree."""
        return Process(self, name, inside("stable", *command))

    def verdict(self):
        """What every test expects of its daemons: none has died, and none has counted anything
        that a guest without faults gives no reason for."""
        for d in self.processes:
            if not isinstance(d, Daemon):
                continue
            status = d.p.poll()
            check(status in (None, 0, -signal.SIGKILL),
                  f"{d.name} has ended with status {status}:\n{d.said()[-3000:]}")
            if status is None:
                s = d.stats()
                odd = {k: v for k, v in d.counters().items() if v and not re.match(self.usual, k)}
                # A slow guest offers too few buffers.
                odd.pop("kernel_fill_empty", None)
                check(not odd and not s["refused"] and not s["guest"]["broken"],
                      f"{d.name}: {odd}, {s['refused']} messages refused, {s['guest']['broken']} rings broken")

    def bridge(self, *ports):
        """One network of several wires' outer ends."""
        sh(f"ip link add br0 type bridge && ip link set br0 up && ip addr add {HOST}/24 dev br0")
        for n in ports:
            sh(f"ip link set p{n} master br0")

    def wire(self, n=0, queues=1, address=HOST, mtu=1500):
        """A veth pair h<n>, p<n>. (Or a tap p<n>, to try the laboratory without xsknetd.)"""
        h, p = f"h{n}", f"p{n}"
        self.queues[n] = queues
        self.usual += STEERED if queues > 1 else ""
        if self.tap:
            sh(f"ip tuntap add {p} mode tap" + (" multi_queue" if queues > 1 else ""))
        else:
            q = f"numtxqueues {queues} numrxqueues {queues}"
            sh(f"ip link add {h} {q} mtu {mtu} type veth peer name {p} {q} mtu {mtu} && ip link set {h} up")
        sh(f"ip link set {p} up" + (f" && ip addr add {address}/24 dev {p}" if address else ""))

    def daemon(self, n=0, extra=()):
        return None if self.tap else Daemon(self, f"h{n}", self.queues[n], extra).ready()

    def nic(self, n=0, device="", mac=MAC):
        """Arguments of QEMU for a guest's interface behind xsknetd."""
        queues = self.queues[n]
        many = f",mq=on,vectors={2 * queues + 2}" if queues > 1 else ""
        dev = ["-device", f"virtio-net-pci,netdev=n{n},mac={mac}{many}" + (f",{device}" if device else "")]
        if self.tap:
            return ["-netdev", f"tap,id=n{n},ifname=p{n},script=no,downscript=no"
                    + (f",queues={queues}" if queues > 1 else "")] + dev
        return ["-chardev", f"socket,id=c{n},path={RUN}/h{n}.sock,reconnect-ms=100",
                "-netdev", f"vhost-user,id=n{n},chardev=c{n},queues={queues}"] + dev

    def tftp(self, files):
        """DHCP and TFTP at the outer end: the kernel, the initramfs and these files, of which the
        first is what to boot."""
        where = f"{RUN}/tftp"
        os.makedirs(where)
        for name, text in files.items():
            with open(f"{where}/{name}", "w", encoding="ascii") as f:
                f.write(text)
        for f in "vmlinuz", "initramfs":
            shutil.copy(f"{tree()}/{f}", f"{where}/{f}")
        self.start("dnsmasq", "/usr/sbin/dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root",
                   "--pid-file=", "--port=0", "--interface=p0", "--bind-interfaces", "--leasefile-ro",
                   "--no-ping", f"--dhcp-range={GUEST},{GUEST}", f"--dhcp-boot={list(files)[0]}", "--enable-tftp",
                   f"--tftp-root={where}")

    def boot(self, nics, name="guest", **options):
        return Guest(self, name, nics, **options)

    def guest(self, nics, name="guest", **options):
        """A guest that has booted, with its network up."""
        g = self.boot(nics, name, **options).booted()
        g.network()
        g.reaches()
        return g

    def closed(self, g):
        """Waits until nothing of the traffic is on its way: no connection is open, at either end."""
        wait_for("the connections' ends", lambda: not sh("ss -Htn state connected exclude time-wait") and
                 g.run("netstat -tn | grep -v TIME_WAIT | grep ^tcp")[0])

    def knows(self, g, n=0):
        """The guest and the outer end need not ask for each other's address any more."""
        with open(f"/sys/class/net/p{n}/address", encoding="ascii") as f:
            g.sh(f"arp -s {HOST} {f.read().strip()}")
        mac = g.sh("cat /sys/class/net/eth0/address").strip()
        sh(f"ip neigh replace {GUEST} lladdr {mac} dev p{n} nud permanent")

    def ping(self, count=5, every=0.2, size=56, address=GUEST):
        """Each must be answered."""
        all_answered(sh(inside("stable", "/usr/bin/busybox", "ping", "-c", str(count), "-i", str(every), "-W", "10",
                               "-s", str(size), address)), count)

    def put(self, megabytes, secs=4 * PATIENCE):
        """Sends to the guest, which compares; what was done and how long it took."""
        return sh(XFER + ["put", GUEST, "5001", str(megabytes << 20), "1"], secs).strip()

    def get(self, megabytes, secs=4 * PATIENCE):
        return sh(XFER + ["get", GUEST, "5001", str(megabytes << 20), "2"], secs).strip()

    def train(self, n, size, times):
        """So many trains of n UDP datagrams, each sent in one piece, there and back."""
        return sh(XFER + ["train", GUEST, "8", str(n), str(size), str(times)], 2 * PATIENCE).strip()

    def bulk(self, way, ms):
        """The same for so long, beside whatever else happens."""
        return Bulk(self, way, ms)
