"""One large file over slow links: by several connections, and by two routes."""

import filecmp
import json
import os
import shutil
import subprocess
import threading
import time

from machine import status
from network import LINKS, SPACES, far, in_space, near
from table import cell, table

# How often the connections of a client are counted, in seconds.
COUNTED_EVERY = 0.25
# Share of the file after which a route is killed.
MIDDLE = 0.5


class Scene:
    """A file at the origins, and the client that fetches it."""

    def __init__(self, options, network, space):
        self.folder, self.space = network.folder, space
        self.name, self.size = f"large{options.size_mib}", options.size_mib << 20
        with open(f"{self.folder}/files/{self.name}", "wb") as file:
            for _ in range(options.size_mib):
                file.write(os.urandom(1 << 20))

    def input(self, number, hops):
        """An input file for a chain."""
        path = f"{self.folder}/conf/{number}.txt"
        with open(path, "w") as file:
            file.write(self.name + "\n" + "".join(address.replace(":", " ") + "\n" for address in hops))
        return path

    def fetch(self, command, during=None):
        """Fetches the file by a client: seconds, its most and its last connections, its standard output."""
        out = f"{self.folder}/out"
        shutil.rmtree(out, ignore_errors=True)
        os.makedirs(out)
        os.sync()
        start, counts = time.monotonic(), []
        client = subprocess.Popen(in_space(self.space, *command), stdout=subprocess.PIPE, text=True)
        ended = threading.Event()

        def count():
            while not ended.wait(COUNTED_EVERY):
                counts.append(self.connections())

        counting = threading.Thread(target=count)
        counting.start()
        if during:
            during()
        text = client.communicate(timeout=600)[0]
        wall = time.monotonic() - start
        ended.set()
        counting.join()
        if client.returncode:
            raise RuntimeError(f"{command[0]} ended with {client.returncode}")
        if not filecmp.cmp(f"{self.folder}/files/{self.name}", f"{out}/{self.name}", shallow=False):
            raise RuntimeError(f"{command[0]}: the file differs")
        # At the end the connections close one after the other: the last full count is that of the second before.
        before_end = counts[:-2] or [0]
        return wall, max(before_end), before_end[-1], text

    def connections(self):
        """Connections of the client's namespace that have data: endpoints are queried over short ones."""
        listed = subprocess.run(in_space(self.space, "ss", "-tnHi", "state", "established"), stdout=subprocess.PIPE,
                                text=True).stdout
        # Each connection has two lines, the second with its figures.
        received = [word for word in listed.split() if word.startswith("bytes_received:")]
        return sum(int(word.split(":")[1]) > 1 << 16 for word in received)

    def arrived(self):
        """Bytes that the client's namespace has received; its files have their space from the beginning."""
        devices = subprocess.run(in_space(self.space, "cat", "/proc/net/dev"), stdout=subprocess.PIPE, text=True).stdout
        rows = [line.split(":") for line in devices.splitlines() if ":" in line]
        return sum(int(figures.split()[0]) for name, figures in rows if name.strip() != "lo")


def fetch(chainview, scene, path, *more):
    return [chainview, "--fetch", path, "-o", f"{scene.folder}/out/", "--quiet", *more]


def large(options, chainview, network):
    """One file through three relays: by chainview over several connections, and by aria2c through the same chain."""
    nodes = [far(link) for link in range(LINKS)]
    for at, (space, address) in enumerate(zip(SPACES[1:], nodes)):
        limit = ["--limit", options.node_limit] if options.node_limit and at == 1 else []
        network.start(space, chainview, address, *limit)
    scene = Scene(options, network, SPACES[0])
    path, url = scene.input("large", nodes), f"http://{nodes[0]}/files/{scene.name}"
    aria2 = ["aria2c", "-q", "-x16", "-s16", "--min-split-size=1M", "--file-allocation=none", "-d",
             f"{scene.folder}/out", f"--header=Chain-Route: {', '.join(nodes[1:])}", url]
    clients = {
        "`--fetch`": fetch(chainview, scene, path),
        "`--connections 16`": fetch(chainview, scene, path, "--connections", "16"),
        "`--connections 1`": fetch(chainview, scene, path, "--connections", "1"),
        "`aria2c -x16` through the same chain": aria2,
    }
    if options.only:
        words = options.only.split(",")
        clients = {name: command for name, command in clients.items() if any(word in name for word in words)}
    found = {name: [] for name in clients}
    for number in range(options.rounds):
        status(f"round {number + 1} of {options.rounds}")
        for name, command in clients.items():
            found[name].append(scene.fetch(command)[:3])
            status(f"{name}: {found[name][-1][0]:.2f} s, at most {found[name][-1][1]} connections,"
                   f" {found[name][-1][2]} at the end")
    rows = []
    for name, results in found.items():
        walls, most, last = zip(*results)
        shares = [cell([mine / other[0] for mine, other in zip(walls, found[beside])], "{:.2f}") if beside in found else "-"
                  for beside in ("`--connections 1`", "`aria2c -x16` through the same chain")]
        rows.append([name, cell(walls, "{:.2f}"), *shares, cell(most, "{:.0f}"), cell(last, "{:.0f}")])
    head = [f"{options.size_mib} MiB through 3 relays", "wall s", "× one connection", "× aria2c", "connections", "at the end"]
    return table(head, rows)


def after_failure(report, size, failed):
    """MiB that a transfer with a failed hop received twice, and whether it named the hop."""
    found = report["transfers"][0]["connections"]["routes"]
    errors = [route["error"] for route in found if "error" in route]
    return (sum(route["received"] for route in found) - size) / (1 << 20), any(failed in error for error in errors)


def routes(options, chainview, network):
    """One file over one route and over two; the client is in the middle of the line, an origin at each end."""
    scene = Scene(options, network, SPACES[2])
    places = {SPACES[0]: near(0), SPACES[1]: near(1), SPACES[3]: far(2), SPACES[4]: far(3)}
    first, second = [near(1), near(0)], [far(2), far(3)]

    def start():
        network.stop_nodes()
        return {space: network.start(space, chainview, address) for space, address in places.items()}

    one = fetch(chainview, scene, scene.input("first", first))
    two = [*one, "--route", scene.input("second", second)]
    single, double, ratios, killed = [], [], [], []
    for number in range(options.rounds):
        status(f"round {number + 1} of {options.rounds}")
        nodes = start()
        single.append(scene.fetch(one)[0])
        double.append(scene.fetch(two)[0])
        ratios.append(single[-1] / double[-1])
        relay, before = nodes[SPACES[3]], scene.arrived()

        def kill():
            end = time.monotonic() + 60
            while scene.arrived() - before < scene.size * MIDDLE and time.monotonic() < end:
                time.sleep(0.01)
            relay.kill()

        wall, _, _, text = scene.fetch([*two, "--json"], kill)
        killed.append((wall, *after_failure(json.loads(text), scene.size, second[0])))
        status(f"one {single[-1]:.2f} s, two {double[-1]:.2f} s, one of them killed {wall:.2f} s")
    walls, again, named = zip(*killed)
    rows = [["one route", cell(single, "{:.2f}"), "-", "-", "-"],
            ["two routes", cell(double, "{:.2f}"), cell(ratios, "{:.2f}"), "-", "-"],
            ["two routes, a relay of one killed in the middle", cell(walls, "{:.2f}"),
             cell([mine / theirs for mine, theirs in zip(single, walls)], "{:.2f}"), cell(again, "{:.1f}"),
             f"{sum(named)} of {len(named)}"]]
    return table([f"{options.size_mib} MiB", "wall s", "× the rate of one", "MiB received twice", "hop named"], rows)
