#!/usr/bin/env bash
# Linux TCP: a connection that was reset can read as a clean end of stream.
#
# The kernel keeps the error of a reset once. The first call that meets it, be it recv(), send() or
# getsockopt(SO_ERROR), takes it, and recv() then returns what had arrived before and 0 after it, like after an orderly
# close. A library that asks SO_ERROR after an event, or a thread that writes to the same socket, takes the error away
# from the reader, and a body that was cut off looks complete where success is inferred from the end of the stream.
#
# Seen on Linux 6.18, the peer sends 5 bytes and resets (SO_LINGER 0):
#   recv: 5 bytes, ECONNRESET
#   SO_ERROR: ECONNRESET; recv: 5 bytes, 0 bytes
#   send: ECONNRESET; recv: 5 bytes, 0 bytes
#
# Needs python3, no packages. Fails if this has changed.
set -euo pipefail
seen=$(python3 - <<'PY'
import errno, select, socket, struct

def reset_by_peer():
    """A connected socket whose peer has sent 5 bytes and then a reset."""
    listener = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(listener.getsockname())
    peer, _ = listener.accept()
    peer.sendall(b"12345")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    poll = select.poll()
    poll.register(ours, select.POLLERR)
    assert poll.poll(5000), "no reset came"
    return ours

def outcome(call):
    try:
        result = call()
        return f"{len(result)} bytes" if isinstance(result, bytes) else str(result)
    except OSError as error:
        return errno.errorcode[error.errno]

def so_error(ours):
    return errno.errorcode.get(ours.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "none")

def recv_twice(ours):
    return ", ".join(outcome(lambda: ours.recv(100)) for _ in range(2))

ours = reset_by_peer()
print("recv:", recv_twice(ours))
ours = reset_by_peer()
print("SO_ERROR:", so_error(ours) + "; recv:", recv_twice(ours))
ours = reset_by_peer()
print("send:", outcome(lambda: ours.send(b"x")) + "; recv:", recv_twice(ours))
PY
)
echo "$seen"
[ "$seen" = "recv: 5 bytes, ECONNRESET
SO_ERROR: ECONNRESET; recv: 5 bytes, 0 bytes
send: ECONNRESET; recv: 5 bytes, 0 bytes" ]
