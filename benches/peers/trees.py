"""Trees of small files: how each client fetches one, whether all of it arrived, and what an interrupted run repeats."""

import filecmp
import os
import random
import re
import shutil
import subprocess
import time
import urllib.request

from machine import TIMEOUT, run

# The clients, by name; all through chainview's relays.
WAYS = {
    "fetch": "`chainview --fetch` of the folder",
    "tar": "one tar of it by `curl`, unpacked by `tar x`",
    "curl_tar": "the folder as a tar stream by `curl`, unpacked by `tar x`",
    "curl_z": "`curl -Z --parallel-max 50`",
    "aria2": "`aria2c -j16`",
}
# Share by which the pages of a listing that begins in the middle are larger than those of the whole.
PAGES = 0.001


class Tree:
    """A folder of equal files with random bytes, beside it a tar of the same, in the folder of an origin."""

    def __init__(self, files, count, size):
        self.name, self.count, self.size = f"tree{count}x{size}", count, size
        self.path = f"{files}/{self.name}"
        if not os.path.exists(self.path + ".tar"):
            os.makedirs(self.path, exist_ok=True)
            for number in range(count):
                with open(f"{self.path}/f{number:06}", "wb") as file:
                    file.write(os.urandom(size))
            subprocess.run(["tar", "cf", self.path + ".tar", "-C", files, self.name], check=True)
            os.sync()

    def differs(self, out):
        """What is wrong with the only tree below a folder, or with its files right there; None if nothing is."""
        names, inner = sorted(os.listdir(self.path)), f"{out}/{self.name}"
        copy = inner if os.path.isdir(inner) else out
        if sorted(os.listdir(copy)) != names:
            return f"the names differ: {len(os.listdir(copy))}, expected {self.count}"
        # It takes files of the same path, size and time for those that it compared in an earlier round.
        filecmp.clear_cache()
        same = filecmp.cmpfiles(self.path, copy, names, shallow=False)[0]
        return None if len(same) == self.count else f"the content of {self.count - len(same)} files differs"


class Client:
    """The clients of one chain: `url` and `route` of its first node, a folder for results and one for settings."""

    def __init__(self, chainview, url, route, hops, out, conf, wrap=()):
        self.chainview, self.url, self.hops, self.out, self.conf = chainview, url, hops, out, conf
        self.header = f"Chain-Route: {route}"
        # Words before every command, such as those that enter a network namespace.
        self.wrap = list(wrap)

    def command(self, way, tree):
        """The command line of a client, for a shell in the folder of results."""
        url, header = f"{self.url}/{tree.name}", f"-H '{self.header}'"
        if way == "fetch":
            return f"{self.chainview} --fetch {self._route(tree)} -o {self.out}/ --quiet"
        if way == "tar":
            return f"set -o pipefail; curl -sS --fail {header} {url}.tar | tar x"
        if way == "curl_tar":
            return f"set -o pipefail; curl -sS --fail {header} -H 'Accept: application/x-tar' {url}/ | tar x"
        if way == "curl_z":
            each = f"'{url}/f[000000-{tree.count - 1:06}]'"
            return f"curl -sS --fail -Z --parallel-max 50 --remote-name-all {header} {each}"
        with open(f"{self.conf}/list", "w") as file:
            file.writelines(f"{url}/f{number:06}\n" for number in range(tree.count))
        return f"aria2c -q -j16 -i {self.conf}/list --header='{self.header}'"

    def _route(self, tree):
        path = f"{self.conf}/{tree.name}.txt"
        with open(path, "w") as file:
            file.write(tree.name + "/\n" + "".join(f"{hop}\n" for hop in self.hops))
        return path

    def shell(self, command):
        return [*self.wrap, "bash", "-c", f"cd {self.out} && {command}"]

    def fresh(self):
        """Empties the folder of results, and waits until nothing is pending for the disk."""
        shutil.rmtree(self.out, ignore_errors=True)
        os.makedirs(self.out)
        os.sync()

    def fetch(self, way, tree):
        """Fetches a tree: seconds, and seconds of CPU of the client."""
        self.fresh()
        wall, cpu = run(self.shell(self.command(way, tree)))[1:]
        fault = tree.differs(self.out)
        if fault:
            raise RuntimeError(f"{way}: {fault}")
        return wall, cpu

    def available(self, way, tree):
        """Whether this way works at all, by trying it."""
        try:
            self.fetch(way, tree)
            return True
        except RuntimeError:
            return False


def client_of(chain):
    """The clients of a chain on loopback."""
    place, hops = chain.place, [f"127.0.0.1 {port}" for port in chain.ports]
    route = ", ".join(f"127.0.0.1:{port}" for port in chain.ports[1:])
    return Client(place.chainview, chain.url("")[:-1], route, hops, place.out, place.folder + "/conf")


def tree(chain, small, ways):
    """A tree by each client that is available: seconds, and seconds of CPU of the client."""
    client = client_of(chain)
    took = {way: client.fetch(way, small) for way in ways}
    return {f"{way}_{what}": value for way, both in took.items() for what, value in zip(("wall", "cpu"), both)}


def many(chain, big):
    """A large tree by `chainview --fetch`, beside `tar x` from a local pipe and `sync -f`; the largest memory of a node."""
    client = client_of(chain)
    wall, cpu = client.fetch("fetch", big)
    peak = max(node.peak() for node in chain.nodes)
    client.fresh()
    local_wall, local_cpu = run(client.shell(f"cat {big.path}.tar | tar x && sync -f ."))[1:]
    return {"fetch_wall": wall, "fetch_cpu": cpu, "local_wall": local_wall, "local_cpu": local_cpu, "peak": peak}


def killed(chain, big, times):
    """A fetch that is killed with -9 at a random moment and run again, several times: the largest share of files that
    were published before and arrived again, found by their inodes and by the bytes that the first relay sent."""
    client = client_of(chain)
    sent = sent_bytes(chain)
    whole = client.fetch("fetch", big)[0]
    # Of the stream, and of the listing of what is not here.
    each = (sent_bytes(chain) - sent) / big.count
    command, shares = client.shell("exec " + client.command("fetch", big)), []
    for _ in range(times):
        client.fresh()
        first = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0, whole))
        first.kill()
        first.wait(TIMEOUT)
        # What is on the way to the dead client must not count as sent to the next one.
        time.sleep(0.5)
        before, sent = published(client, big), sent_bytes(chain)
        run(command)
        fault = big.differs(client.out)
        if fault:
            raise RuntimeError(f"after a kill with {len(before)} files published: {fault}")
        after = published(client, big)
        replaced = sum(after.get(name) != inode for name, inode in before.items())
        left = big.count - len(before)
        surplus = (sent_bytes(chain) - sent) / each - left * (1 + PAGES)
        shares.append(max(replaced, surplus) / len(before) if before else 0)
    return {"again": max(shares)}


def published(client, big):
    """The inode of every published file."""
    folder = f"{client.out}/{big.name}"
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return {}
    # Others are temporary files of the killed run.
    return {entry.name: entry.inode() for entry in entries if re.fullmatch(r"f\d{6}", entry.name)}


def sent_bytes(chain):
    """Body bytes that the first relay has sent."""
    with urllib.request.urlopen(f"http://127.0.0.1:{chain.ports[0]}/metrics", timeout=TIMEOUT) as reply:
        return float(re.search(r"^chainview_sent_bytes_total (\S+)", reply.read().decode(), re.MULTILINE).group(1))
