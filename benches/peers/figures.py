"""Measurements: each function takes a running chain and returns its figures by name."""

import json
import os
import socket
import statistics
import struct
import time

from machine import TIMEOUT, run, tcp_memory

GIB = 1 << 30
# Maximum wait for a starved transfer, in seconds: its rate is what it received by then.
SLOWEST = 20
# A summary of wrk that can be parsed.
WRK_REPORT = """done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{"requests": %d, "bytes": %d, "us": %d, "errors": %d}\\n', summary.requests,
    summary.bytes, summary.duration, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class Errors(Exception):
    """Some fetches failed; this many of that many."""


def large(chain, name, size):
    """One large file, discarded by curl."""
    before = [node.cpu() for node in chain.nodes]
    wall, client = chain.curl(name, "/dev/null")
    spent = [node.cpu() - start for node, start in zip(chain.nodes, before)]
    gib = size / GIB
    figures = {"rate": gib / wall, "origin": spent[-1] / gib, "client": client / gib}
    if chain.relays:
        figures["relay"] = sum(spent[:-1]) / gib / len(chain.relays)
    return figures


def one_by_one(chain, count):
    """4 KiB files, one after another, a new chain for each: latency in µs from connect to the last byte."""
    request, content, first = chain.request("4k", close=True), contents(chain, "4k"), ("127.0.0.1", chain.ports[0])
    times, wrong, limit = [], 0, struct.pack("ll", TIMEOUT, 0)
    for _ in range(count):
        start = time.perf_counter_ns()
        with socket.socket() as stream:
            # Python's own timeout would add a poll to every call.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            stream.connect(first)
            stream.sendall(request)
            body = receive(stream, len(content))
            times.append((time.perf_counter_ns() - start) / 1000)
        wrong += body != content
    if wrong:
        raise Errors(f"{wrong} of {count} fetches came altered or short")
    times.sort()
    return {"p50": statistics.median(times), "p99": times[int(len(times) * 0.99)]}


def at_once(chain, seconds, close):
    """4 KiB files by 64 parallel clients, over new chains or over one kept-alive chain each; CPU of all processes, in µs."""
    script = chain.place.conf("wrk.lua", WRK_REPORT)
    headers = chain.headers + (["Connection: close"] if close else [])
    flags = [word for header in headers for word in ("-H", header)]
    before = sum(node.cpu() for node in chain.nodes)
    output, _, client = run(["wrk", "-t1", "-c64", f"-d{seconds}s", "--timeout", "20s", "-s", script, *flags, chain.url("4k")])
    spent = sum(node.cpu() for node in chain.nodes) - before + client
    report = json.loads(output.strip().splitlines()[-1])
    done = report["requests"]
    if report["errors"] or done == 0 or report["bytes"] < done * 4096:
        raise Errors(f"{report['errors']} of {done} fetches failed")
    return {"per_s": done / report["us"] * 1e6, "cpu": spent / done * 1e6}


def idle(chain, count):
    """Connections that stay open after one 4 KiB file each: bytes of the relay's own memory for each."""
    before, request, content = chain.relays[0].memory(), chain.request("4k", close=False), contents(chain, "4k")
    held = []
    try:
        for _ in range(count):
            held.append(socket.create_connection(("127.0.0.1", chain.ports[0]), 20))
            held[-1].sendall(request)
            if receive(held[-1], len(content)) != content:
                raise Errors(f"connection {len(held)} of {count} was refused")
        # Memory is released immediately, or within half a second by a timer.
        time.sleep(0.5)
        return {"memory": (chain.relays[0].memory() - before) / count}
    finally:
        for stream in held:
            stream.close()


def stalled(chain, name, count):
    """A large file beside readers that stalled in the middle of 16 MiB: the share of its rate that it keeps."""
    alone = statistics.median(chain.rate(name, SLOWEST) for _ in range(3))
    before, own, request = tcp_memory(), chain.relays[0].memory(), chain.request("16m", close=False)
    held = []
    try:
        for _ in range(count):
            held.append(socket.create_connection(("127.0.0.1", chain.ports[0]), 20))
            held[-1].sendall(request)
        for stream in held:
            if len(stream.recv(65536)) == 0:
                raise Errors("a slow reader was refused")
        wait_until_steady(tcp_memory)
        figures = {"tcp": (tcp_memory() - before) / count, "memory": (chain.relays[0].memory() - own) / count}
        figures["kept"] = chain.rate(name, SLOWEST) / alone
        return figures
    finally:
        for stream in held:
            stream.close()


def to_disk(chain, name, size, chainview, with_b3sum):
    """One large file to the disk, by chainview's own client and by curl with b3sum: seconds and client CPU per GiB."""
    place, gib = chain.place, size / GIB
    hops = "\n".join(f"127.0.0.1 {port}" for port in chain.ports)
    route = place.conf("input.txt", f"{name}\n{hops}\n")
    target = f"{place.out}/{name}"

    def fetch(*flags):
        fresh(target)
        return run([chainview, "--fetch", route, "-o", place.out + "/", "--quiet", *flags])[1:]

    def curl():
        fresh(target)
        return chain.curl(name, target)

    # The first fetch of a file is the one for which the origin must compute the digest.
    took = {"cold": fetch(), "verified": fetch(), "unverified": fetch("--no-verify"), "curl": curl()}
    if with_b3sum:
        summed = run(["b3sum", target])[1:]
        took["curl_b3sum"] = [one + other for one, other in zip(took["curl"], summed)]
    fresh(target)
    return {f"{way}_{what}": value / gib for way, both in took.items() for what, value in zip(("wall", "cpu"), both)}


def fresh(target):
    """Removes the file of the last run, and waits until nothing of it is pending for the disk."""
    if os.path.exists(target):
        os.remove(target)
    os.sync()


def contents(chain, name):
    with open(f"{chain.place.files}/{name}", "rb") as file:
        return file.read()


def receive(stream, length):
    """Reads the body of a reply of known length."""
    bytes_so_far, end = b"", -1
    while end < 0 or len(bytes_so_far) < end + 4 + length:
        more = stream.recv(65536)
        if not more:
            return None
        bytes_so_far += more
        end = end if end >= 0 else bytes_so_far.find(b"\r\n\r\n")
    return bytes_so_far[end + 4:]


def wait_until_steady(value):
    """Waits until a value changes by less than 1 % in half a second; 15 seconds at most."""
    before = value()
    for _ in range(30):
        time.sleep(0.5)
        now = value()
        if abs(now - before) <= now / 100:
            return
        before = now
