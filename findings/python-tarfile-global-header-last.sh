#!/usr/bin/env bash
# Python 3.11 tarfile: an archive whose last record is a pax global header is listed to its end, then raises.
#
# A global header may follow the last file, and GNU tar accepts it there without a message. tarfile reads the next header
# together with the global one, and raises ReadError where the end of the archive follows instead. Members before it are
# complete. Any entry behind the global header, such as a folder that was listed already, avoids the error.
#
# Seen with Python 3.11.7 and GNU tar 1.34:
#   global header last: tarfile ['a'] ReadError: end of file header, GNU tar 0
#   an entry behind it: tarfile ['a', 'b'] None, GNU tar 0
#
# Needs python3 and GNU tar. Fails if this has changed.
set -euo pipefail
python3 - <<'PY'
import io
import subprocess
import sys
import tarfile


def padded(data):
    return data + bytes(-len(data) % 512)


def read(data):
    names = []
    try:
        for member in tarfile.open(fileobj=io.BytesIO(data), mode="r|"):
            names.append(member.name)
        return names, None
    except tarfile.ReadError as error:
        return names, f"ReadError: {error}"


def entry(name, body):
    info = tarfile.TarInfo(name)
    info.size = len(body)
    return info.tobuf(tarfile.PAX_FORMAT) + padded(body)


note = tarfile.TarInfo.create_pax_global_header({"comment": "of the files before"})
seen = []
for label, behind in (("global header last", b""), ("an entry behind it", entry("b", b""))):
    data = entry("a", b"x") + note + behind + bytes(1024)
    names, error = read(data)
    tar = subprocess.run(["tar", "-tf", "-"], input=data, capture_output=True)
    seen.append((names, error, tar.returncode, tar.stderr))
    print(f"{label}: tarfile {names} {error}, GNU tar {tar.returncode}")
expected = [(["a"], "ReadError: end of file header", 0, b""), (["a", "b"], None, 0, b"")]
sys.exit(seen != expected)
PY
