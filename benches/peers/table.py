"""Figures as tables: medians with their ranges, chainview's column first, what a hop and a GiB cost."""

import os
import platform
import re
import statistics
import subprocess
import time

from chains import SHARING
from machine import congestion, read
from trees import WAYS as TREE_WAYS

BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"
HEADLINE_BEGIN, HEADLINE_END = "<!-- headline: begin -->", "<!-- headline: end -->"
# First words of the rows that the README shows too.
HEADLINE = ("large file, 3 relays: CPU", "4 KiB, 3 relays, new connection each, one at a time: p50", "large file beside ")
# (test, [(figure, what to write before the cells, how to write a value, factor)])
ROWS = [
    ("large", [
        ("relay", "large file, {relays}: CPU seconds per GiB and relay", "{:.3f}", 1),
        ("rate", "the same: GiB/s", "{:.2f}", 1)]),
    ("new_one", [
        ("p50", "4 KiB, {relays}, new connection each, one at a time: p50, µs", "{:.0f}", 1),
        ("p99", "the same: p99, µs", "{:.0f}", 1)]),
    ("new_64", [
        ("per_s", "4 KiB, {relays}, new connection each, 64 at a time: fetches/s", "{:.0f}", 1),
        ("cpu", "the same: CPU µs per fetch, all programs", "{:.0f}", 1)]),
    ("kept_64", [
        ("per_s", "4 KiB, {relays}, 64 kept-alive chains: fetches/s", "{:.0f}", 1),
        ("cpu", "the same: CPU µs per fetch, all programs", "{:.0f}", 1)]),
    ("idle", [("memory", "{idle} idle kept-alive connections: KiB of a relay's memory each", "{:.1f}", 1 / 1024)]),
    ("stalled", [
        ("kept", "large file beside {stalled} stalled readers: share of its rate alone", "{:.3f}", 1),
        ("tcp", "the same: KiB of TCP memory per stalled reader, whole machine", "{:.0f}", 1 / 1024),
        ("memory", "the same: KiB of a relay's memory per stalled reader", "{:.1f}", 1 / 1024)]),
]
# The command for the version of each tool.
TOOLS = {"nginx": "-v", "haproxy": "-v", "socat": "-V", "curl": "-V", "wrk": "-v", "aria2c": "-v", "b3sum": "--version"}
WAYS = {
    "verified": "`chainview --fetch`, digest compared",
    "cold": "`chainview --fetch`, digest compared, first fetch of the file (the origin computes it)",
    "curl_b3sum": "`curl -o`, then `b3sum`",
    "unverified": "`chainview --fetch --no-verify`",
    "curl": "`curl -o`",
}


class Results:
    """Every figure of every round."""

    def __init__(self):
        self.values, self.failed = {}, {}

    def add(self, test, hops, peer, figures):
        for figure, value in figures.items():
            self.values.setdefault(f"{test}/{hops}/{figure}/{peer}", []).append(value)

    def fail(self, peer, what):
        self.failed.setdefault(peer, []).append(what)

    def of(self, test, hops, figure, peer):
        return self.values.get(f"{test}/{hops}/{figure}/{peer}", [])

    def median(self, *which):
        values = self.of(*which)
        return statistics.median(values) if values else None


def cell(values, form, factor=1):
    if not values:
        return "-"
    low, middle, high = (form.format(f(values) * factor) for f in (min, statistics.median, max))
    return middle if len(values) == 1 else f"{middle} ({low}-{high})"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def render(results, peers, options):
    """The complete text between the markers."""
    parts = [intro(options), compared(results, peers, options), ratios(results, peers, options),
             disk(results, options), tree(results, options), many(results, options), costs(results, options)]
    failed = [f"- {peer}: {len(what)} runs failed, the first: {what[0]}" for peer, what in results.failed.items()]
    well = "No fetch failed. What came through a chain was compared with the file before anything was measured."
    parts.append("\n".join(["Failures:", "", *failed]) if failed else well)
    return "\n\n".join([BEGIN, *(part for part in parts if part), END])


def intro(options):
    model = re.search(r"model name\s*: (.*)", read("/proc/cpuinfo"))
    versions = ", ".join(filter(None, (version(tool, flag) for tool, flag in TOOLS.items())))
    rounds = f"Median (lowest-highest) of {options.rounds} rounds, the programs taking turns"
    if options.quick:
        rounds = "One quick round: it shows that the run works, not how fast anything is"
    return (f"{time.strftime('%Y-%m-%d')}, Linux {platform.release()}, {os.cpu_count()} cores"
            f"{' (' + model.group(1).strip() + ')' if model else ''}, congestion control {congestion()}; "
            f"{options.version}, {versions}. {rounds}; the large file has {options.size_mib} MiB and is in the page cache.")


def relays(count, whose=""):
    return f"{count} {whose}relay{'s' if count != 1 else ''}"


def version(tool, flag):
    try:
        said = subprocess.run([tool, flag], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    # nginx and wrk print it to stderr.
    number = re.search(r"\d+\.\d+[.\d]*", said.stdout + said.stderr)
    return f"{tool} {number.group()}" if number else tool


def compared(results, peers, options):
    rows = []
    for test, figures in ROWS:
        # Idle and stalled connections always go through one relay.
        for hops in options.hops if test in ("large", "new_one", "new_64", "kept_64") else [1]:
            for figure, words, form, factor in figures:
                cells = [cell(results.of(test, hops, figure, peer.name), form, factor) for peer in peers]
                words = words.format(relays=relays(hops), idle=options.idle, stalled=options.stalled)
                if any(text != "-" for text in cells):
                    rows.append([words, *cells])
    return table(["", *(peer.name for peer in peers)], rows) if rows else ""


def disk(results, options):
    hops = options.hops[0]
    rows = []
    for way, words in WAYS.items():
        cpu, wall = (results.of("disk", hops, f"{way}_{what}", "chainview") for what in ("cpu", "wall"))
        if cpu:
            rows.append([words, cell(cpu, "{:.2f}"), cell(wall, "{:.2f}")])
    head = [f"large file to the disk through {relays(hops, 'chainview ')}", "client CPU s/GiB", "wall s/GiB"]
    return table(head, rows) if rows else ""


def ratios(results, peers, options):
    """Chainview's figures divided by those of others of the same round: the median of these ratios."""
    own, names = "chainview", [peer.name for peer in peers]
    others = [(name, [name]) for name in ("chainview before", "nginx stream") if name in names]
    sharing = [name for name in SHARING if name in names]
    if own in names and sharing:
        others.insert(0, ("the better of " + " and ".join(sharing), sharing))
    rows = []
    for test, figures in ROWS[1:4]:
        for hops in options.hops:
            for figure, words, _, _ in figures:
                cells = []
                for _, whose in others:
                    best = max if figure == "per_s" else min
                    rounds = zip(*(results.of(test, hops, figure, name) for name in [own, *whose]))
                    cells.append(cell([mine / best(theirs) for mine, *theirs in rounds], "{:.2f}"))
                if any(text != "-" for text in cells):
                    rows.append([words.format(relays=relays(hops)), *cells])
    return table(["chainview's figure as a multiple of", *(words for words, _ in others)], rows) if rows else ""


def tree(results, options):
    """Clients that fetch a folder through chainview's relays."""
    hops, rows = options.hops[0], []
    for way, words in TREE_WAYS.items():
        cpu, wall, tar = (results.of("tree", hops, f"{name}_{what}", "chainview")
                          for name, what in ((way, "cpu"), (way, "wall"), ("tar", "wall")))
        if wall:
            times = cell([mine / theirs for mine, theirs in zip(wall, tar)], "{:.2f}")
            rows.append([words, cell(cpu, "{:.2f}"), cell(wall, "{:.2f}"), times])
        elif tar:
            rows.append([words, "not available", "-", "-"])
    head = [f"2,000 files of 4 KiB to the disk through {relays(hops, 'chainview ')}", "client CPU s", "wall s", "× the tar"]
    return table(head, rows) if rows else ""


def many(results, options):
    """A large folder: beside tar, and killed."""
    hops, rows = options.hops[0], []

    def own(test, figure):
        return results.of(test, hops, figure, "chainview")

    for what, words in (("wall", "wall s"), ("cpu", "client CPU s")):
        fetch, local = own("many", f"fetch_{what}"), own("many", f"local_{what}")
        if fetch:
            rows.append([f"`chainview --fetch`: {words}", cell(fetch, "{:.2f}")])
            rows.append([f"`tar x` from a local pipe, then `sync -f`: {words}", cell(local, "{:.2f}")])
            share = [mine / theirs for mine, theirs in zip(fetch, local)]
            rows.append(["the first as a multiple of the second", cell(share, "{:.2f}")])
    if own("many", "peak"):
        rows.append(["largest memory of a node, MiB", cell(own("many", "peak"), "{:.1f}", 1 / (1 << 20))])
    if own("killed", "again"):
        rows.append([f"killed {options.kills} times: most of the published files that arrived again, %",
                     cell(own("killed", "again"), "{:.2f}", 100)])
    return table([f"{options.many:,} files of 1 KiB through {relays(hops, 'chainview ')}", ""], rows) if rows else ""


def costs(results, options):
    """Costs of chainview, from its own medians."""
    few, many = options.hops[0], options.hops[-1]

    def own(test, hops, figure):
        return results.median(test, hops, figure, "chainview")

    def per_hop(test, figure):
        ends = [own(test, hops, figure) for hops in (few, many)]
        return (ends[1] - ends[0]) / (many - few) if many > few and None not in ends else None

    def row(words, value, form, unit, factor=1):
        return [[words, f"{form.format(value * factor)} {unit}"]] if value is not None else []

    setup, per_byte = per_hop("new_64", "cpu"), own("large", many, "relay")
    even = setup / 1e6 / per_byte * (1 << 20) if setup and per_byte else None
    rows = [
        *row("a GiB, at each relay", per_byte, "{:.2f}", "s of CPU"),
        *row("a GiB, at the origin", own("large", few, "origin"), "{:.2f}", "s of CPU"),
        *row("a GiB, at the client, written and compared", own("disk", few, "verified_cpu"), "{:.2f}", "s of CPU"),
        *row("a new chain, for each hop", per_hop("new_one", "p50"), "{:.0f}", "µs of waiting"),
        *row("a new chain, for each hop", setup, "{:.0f}", "µs of CPU"),
        *row("a file whose bytes cost a relay as much as its chain did", even, "{:.0f}", "KiB"),
        *row("a request over a kept chain, for each hop", per_hop("kept_64", "cpu"), "{:.0f}", "µs of CPU"),
        *row("an idle connection, at a relay", own("idle", 1, "memory"), "{:.1f}", "KiB", 1 / 1024),
        *row("a stalled connection, at a relay", own("stalled", 1, "memory"), "{:.1f}", "KiB", 1 / 1024),
    ]
    return table(["what chainview costs", ""], rows) if rows else ""


def headline(text):
    """The rows for the README, from the complete text."""
    lines = text.splitlines()
    head = next((number for number, line in enumerate(lines) if line.startswith("| --- | --- |")), None)
    if head is None:
        raise ValueError("there is no table to take the README's rows from")
    rows = [line for start in HEADLINE for line in lines if line.startswith(f"| {start}")]
    if len(rows) < len(HEADLINE):
        raise ValueError("the README's rows were not measured: they need 3 relays")
    return "\n".join([HEADLINE_BEGIN, "", lines[head - 1], lines[head], *rows, "", HEADLINE_END])


def write_between(path, text, begin, end):
    """Replaces the text between two markers of a file, including the markers."""
    with open(path) as file:
        before, rest = file.read().split(begin)
    with open(path, "w") as file:
        file.write(before + text + rest.split(end)[1])


def write_docs(top, text):
    """Writes the tables into docs/performance.md and three rows of them into README.md."""
    rows = headline(text)
    write_between(top + "/docs/performance.md", text, BEGIN, END)
    write_between(top + "/README.md", rows, HEADLINE_BEGIN, HEADLINE_END)
