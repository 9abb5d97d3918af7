"""The machine: a network namespace, a cgroup for each program, ports, CPU and memory figures of the kernel."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time

# A congestion control without pacing. BBR, the default of some hosts, paces even loopback: every program then uses
# three times the CPU, which hides the differences between them.
CONGESTION = "reno"
# Ports for nodes: below the range of ephemeral ports, or a connection could take a node's port.
PORTS = iter(range(20000, 30000))
# Maximum wait for a program to listen or to end, in seconds.
TIMEOUT = 20
SYSCTL = "/proc/sys/net/ipv4/"
MARK = "CHAINVIEW_PEERS_NAMESPACE"


def status(*words):
    """Prints progress and errors to stderr: stdout has only the result."""
    print("peers:", *words, file=sys.stderr, flush=True)


def read(path):
    with open(path) as file:
        return file.read().strip()


def enter_namespace():
    """Restarts this program in a network namespace; prints a message and continues if that is not allowed."""
    if MARK in os.environ:
        return settle(os.environ.pop(MARK) == "new")
    before = {key: read(SYSCTL + key) for key in ("tcp_rmem", "tcp_wmem")}
    # An ordinary user first becomes root of a user namespace, which may have a network namespace.
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    try:
        allowed = subprocess.run([*unshare, "ip", "link", "set", "lo", "up"], stderr=subprocess.PIPE).returncode == 0
    except FileNotFoundError:
        allowed = False
    os.environ[MARK] = "new" if allowed else "host"
    for key, value in before.items():
        os.environ[MARK + key] = value
    again = [sys.executable, *sys.argv]
    os.execvp((unshare if allowed else again)[0], [*unshare, *again] if allowed else again)


def settle(new):
    """Sets the new network up like the host's, except for the congestion control."""
    before = {key: os.environ.pop(MARK + key) for key in ("tcp_rmem", "tcp_wmem")}
    if not new:
        status("no network namespace (unshare is not allowed or missing): measuring in the host's own network")
        return
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for key, value in {**before, "tcp_congestion_control": CONGESTION}.items():
        try:
            with open(SYSCTL + key, "w") as file:
                file.write(value)
        except OSError as error:
            status(f"cannot set {key}: {error.strerror}")


def congestion():
    return read(SYSCTL + "tcp_congestion_control")


def most_files():
    """Raises the limit on open files to its maximum; nodes inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def tcp_memory():
    """Bytes in TCP buffers on the whole machine."""
    line = next(line for line in read("/proc/net/sockstat").splitlines() if line.startswith("TCP:"))
    return int(line.split()[-1]) * resource.getpagesize()


def free_ports(count):
    """Free ports."""
    found = []
    while len(found) < count:
        port = next(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                found.append(port)
            except OSError:
                pass
    return found


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Program:
    """A node, its children included; its CPU time measured by a cgroup, or summed up from /proc."""

    groups = None

    def __init__(self, command, log):
        self.group = None
        if Program.groups:
            self.group = f"{Program.groups}/{time.monotonic_ns()}"
            os.mkdir(self.group)
        with open(log, "a") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                            preexec_fn=self._enter)

    def _enter(self):
        if self.group:
            with open(self.group + "/cgroup.procs", "w") as file:
                file.write("0")

    @classmethod
    def use_cgroups(cls):
        """Finds a parent for cgroups; prints a message if there is none."""
        for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
            if os.path.exists(top + "/cgroup.procs"):
                try:
                    cls.groups = f"{top}/chainview-peers-{os.getpid()}"
                    return os.mkdir(cls.groups)
                except OSError:
                    cls.groups = None
        status("no cgroup available: CPU times come from /proc, in steps of 10 ms")

    @classmethod
    def forget(cls):
        if cls.groups:
            os.rmdir(cls.groups)

    def pids(self):
        found = [self.process.pid]
        for pid in found:
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    found += map(int, read(f"/proc/{pid}/task/{task}/children").split())
            except OSError:
                pass
        return found

    def cpu(self):
        """Seconds of CPU so far."""
        if self.group:
            return int(read(self.group + "/cpu.stat").split()[1]) / 1e6
        ticks = 0
        for pid in self.pids():
            try:
                # utime, stime and those of children that have ended.
                ticks += sum(map(int, read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[11:15]))
            except OSError:
                pass
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """Bytes of anonymous memory now."""
        return self._status("RssAnon:")

    def peak(self):
        """Bytes of the largest memory so far, pages of the program's file included."""
        return self._status("VmHWM:")

    def _status(self, line_of):
        kib = 0
        for pid in self.pids():
            try:
                kib += sum(int(line.split()[1]) for line in read(f"/proc/{pid}/status").splitlines()
                           if line.startswith(line_of))
            except OSError:
                pass
        return kib * 1024

    def stop(self):
        """Kills it: nothing here depends on how a node ends."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        self.process.wait(TIMEOUT)
        end = time.monotonic() + TIMEOUT
        while self.group and time.monotonic() < end:
            try:
                os.rmdir(self.group)
                self.group = None
            except OSError:
                # Its last children are still exiting.
                time.sleep(0.01)


def run(command, fine=(0,), timeout=300):
    """Runs a client to its end: its output, the seconds it took, the seconds of CPU; its failure is an exception."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=timeout)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in fine:
        why = (done.stderr or done.stdout).strip()[-300:]
        raise RuntimeError(f"{os.path.basename(command[0])} ended with {done.returncode}: {why}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, wall, cpu
