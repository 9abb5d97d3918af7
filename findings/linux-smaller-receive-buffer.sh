#!/usr/bin/env bash
# Linux 6.18: a receive buffer that is made smaller while its connection is open costs seconds, not memory alone.
#
# SO_RCVBUF may be lowered at any time, but a window that was announced is not taken back. The sender keeps sending into
# it, the kernel of the receiver drops what the buffer has no room for, and the sender repeats it after timeouts that
# double, also once the receiver reads again. Lowering TCP_WINDOW_CLAMP instead bounds what is announced from then on, and
# costs no time.
#
# Seen with Linux 6.18 and Python 3, 1 MiB sent over loopback to a receiver that starts to read a second later, time
# until it has all of it:
#   unchanged: 0.0 s, SO_RCVBUF of 16 KiB: 6.9 s, TCP_WINDOW_CLAMP of 32 KiB: 0.0 s
#
# Needs python3. Fails if this has changed.
set -euo pipefail
python3 - <<'PY'
import socket
import time


def seconds(level=None, option=None, value=None):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    sender = socket.create_connection(listener.getsockname())
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
    sender.setblocking(False)
    receiver, _ = listener.accept()
    # The window grows while the receiver reads.
    end = time.monotonic() + 1
    while time.monotonic() < end:
        try:
            sender.send(b"x" * 65536)
        except BlockingIOError:
            pass
        receiver.recv(1 << 20)
    receiver.setblocking(False)
    try:
        while True:
            receiver.recv(1 << 20)
    except BlockingIOError:
        pass
    time.sleep(0.05)
    if option is not None:
        receiver.setsockopt(level, option, value)
    sent = 0
    try:
        while sent < 1 << 20:
            sent += sender.send(b"x" * 65536)
    except BlockingIOError:
        pass
    time.sleep(1)
    receiver.settimeout(60)
    began, received = time.monotonic(), 0
    while received < sent:
        received += len(receiver.recv(1 << 20))
    return time.monotonic() - began


TCP_WINDOW_CLAMP = 10
unchanged = seconds()
smaller = seconds(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
clamped = seconds(socket.IPPROTO_TCP, TCP_WINDOW_CLAMP, 32 << 10)
print(f"unchanged: {unchanged:.1f} s, SO_RCVBUF of 16 KiB: {smaller:.1f} s, TCP_WINDOW_CLAMP of 32 KiB: {clamped:.1f} s")
assert smaller > 2 and unchanged < 0.5 and clamped < 0.5
PY
