#!/usr/bin/env bash
# Linux TCP: TCP_USER_TIMEOUT ends the connection of a peer that reads all the time, only slowly.
#
# The option is taken for a limit on a peer that does not answer. It counts from the last time that the peer's window
# let something through, and a receiver opens a closed window in large steps, not byte by byte. A reader that takes
# 20 kB/s, every 100 ms, opens it every few seconds on loopback; its kernel answers every probe meanwhile, and the
# connection still ends with ETIMEDOUT. A sender that wants to keep slow readers has to watch the socket's queue itself.
#
# Seen on Linux 6.18, loopback, default buffers, reader of 20 kB/s:
#   TCP_USER_TIMEOUT 2 s: sender ended with ETIMEDOUT, the reader never paused
#   none: still connected after 20 s
#
# Needs python3, no packages; takes about half a minute. Fails if this has changed.
set -euo pipefail
seen=$(python3 - <<'PY'
import errno, socket, threading, time

def run(timeout_ms):
    listener = socket.create_server(("127.0.0.1", 0))
    reader = socket.create_connection(listener.getsockname())
    sender, _ = listener.accept()
    if timeout_ms:
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
    ended = []

    def send():
        try:
            while not ended:
                sender.send(b"x" * 65536)
        except OSError as error:
            ended.append(errno.errorcode[error.errno])

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while time.monotonic() < until and not ended:
        time.sleep(0.1)
        try:
            reader.recv(2000)
        except OSError:
            break
    thread.join(0.5)
    return ended[0] if ended else "still connected"

print("2 s:", run(2000))
print("none:", run(0))
PY
)
echo "$seen"
[ "$seen" = "2 s: ETIMEDOUT
none: still connected" ]
