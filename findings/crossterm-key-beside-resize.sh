#!/usr/bin/env bash
# crossterm 0.29.0: of a key and a resize that are both waiting, only one is reported. The other one stays unreported,
# although poll() is called again and again, until the next key or the next resize arrives.
#
# Its default event source on Unix (mio) is edge-triggered and returns at the first event it makes of a batch, dropping
# the readiness of the rest of that batch. With the feature "use-dev-tty" both are reported. A program that waits with
# poll() for the key that ends it misses that key when its window is resized in the same moment.
#
# Seen on Linux 6.18, rustc 1.95, within 2 s | after another key, depending on which of the two came first:
#   default: "Resize(90, 20) | Key(q) Key(z)" or "Key(q) | Key(z)", where the resize is never reported
#   use-dev-tty: "Key(q) Resize(90, 20) | Key(z)"
#
# Needs cargo and python3. Fails if this has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat >"$folder/Cargo.toml" <<'TOML'
[package]
name = "events"
version = "0.0.0"
edition = "2024"

[features]
tty = ["crossterm/use-dev-tty"]

[dependencies]
crossterm = "=0.29.0"
TOML
cat >"$folder/src/main.rs" <<'RUST'
use crossterm::event::{Event, KeyCode, poll, read};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use std::io::Write;
use std::time::{Duration, Instant};

fn say(line: &str) {
    print!("{line}\r\n");
    std::io::stdout().flush().unwrap();
}

/// All events of a period.
fn report(period: Duration) {
    let (began, mut seen) = (Instant::now(), String::new());
    while began.elapsed() < period {
        if poll(Duration::from_millis(50)).unwrap() {
            seen += &match read().unwrap() {
                Event::Key(key) => match key.code {
                    KeyCode::Char(letter) => format!("Key({letter}) "),
                    other => format!("Key({other:?}) "),
                },
                Event::Resize(columns, rows) => format!("Resize({columns}, {rows}) "),
                other => format!("{other:?} "),
            };
        }
    }
    say(&format!("events: {}", seen.trim_end()));
}

fn main() {
    enable_raw_mode().unwrap();
    // The first poll installs the handler for SIGWINCH.
    poll(Duration::from_millis(1)).unwrap();
    say("ready");
    std::thread::sleep(Duration::from_secs(1));
    report(Duration::from_secs(2));
    say("again");
    report(Duration::from_secs(1));
    disable_raw_mode().unwrap();
}
RUST
cat >"$folder/drive.py" <<'PY'
import fcntl, os, pty, struct, sys, termios

def resize(fd, columns, rows):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

child, fd = pty.fork()
if child == 0:
    os.execv(sys.argv[1], [sys.argv[1]])
resize(fd, 80, 24)
output = b""
def until(word):
    global output
    while word not in output:
        output += os.read(fd, 4096)
    output = output.split(word, 1)[1]
until(b"ready")
# While the program is asleep: both are there when it polls.
resize(fd, 90, 20)
os.write(fd, b"q")
until(b"events:")
while b"\r\n" not in output:
    output += os.read(fd, 4096)
first = output.split(b"\r\n")[0].decode().strip()
until(b"again")
os.write(fd, b"z")
until(b"events:")
while b"\r\n" not in output:
    output += os.read(fd, 4096)
second = output.split(b"\r\n")[0].decode().strip()
print(f"{first} | {second}")
PY
run() {
    cargo build -q --manifest-path "$folder/Cargo.toml" --target-dir "$folder/target" "$@"
    python3 "$folder/drive.py" "$folder/target/debug/events"
}
default=$(run)
tty=$(run --features tty)
echo "default:     $default"
echo "use-dev-tty: $tty"
case $default in
"Resize(90, 20) | Key(q) Key(z)" | "Key(q) | Key(z)") ;;
*) exit 1 ;;
esac
[ "$tty" = "Key(q) Resize(90, 20) | Key(z)" ]
