#!/usr/bin/env bash
# Makes assets/dashboard.svg: runs the real program's demo in tmux at 120x40, waits until a transfer is mid-way, and
# presses the key by which the dashboard writes its screen as a picture. Needs tmux and cargo.
#
# A command given as arguments is run in place of the demo; it is caught as soon as it shows a share of 30 to 79 %.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD

if [ $# -gt 0 ]; then
    command=("$@")
else
    cargo build --release
    command=("$top/target/release/chainview" --demo)
fi

# A server of its own, so that nobody's settings or sessions are touched, and a folder for what the key writes.
socket=chainview-picture-$$
folder=$(mktemp -d)
trap 'tmux -L "$socket" kill-server 2>/dev/null || true; rm -rf "$folder"' EXIT
TERM=xterm-256color tmux -L "$socket" -f /dev/null new-session -d -s picture -x 120 -y 40 -c "$folder" \
    -- env -u NO_COLOR "${command[@]}"
tmux -L "$socket" set-option -g status off >/dev/null
tmux -L "$socket" resize-window -t picture -x 120 -y 40

screen() { tmux -L "$socket" capture-pane -t picture -p; }

end=$((SECONDS + 60))
# tmux has no event for "the screen shows this", so it is asked ten times a second.
until screen | grep -qE '(^|[^0-9])[3-7][0-9](\.[0-9]+)? ?%  ' && screen | grep -q slowest; do
    if [ "$SECONDS" -ge "$end" ]; then
        echo "make-picture: no transfer was seen mid-way within 60 s; the screen was:" >&2
        screen >&2
        exit 1
    fi
    sleep 0.1
done
tmux -L "$socket" send-keys -t picture E
until picture=$(ls "$folder"/chainview-*.svg 2>/dev/null) && tail -n 1 "$picture" | grep -q '</svg>'; do
    [ "$SECONDS" -lt "$end" ] || { echo "make-picture: no picture was written" >&2; exit 1; }
    sleep 0.1
done
cp "$picture" assets/dashboard.svg
echo "make-picture: wrote assets/dashboard.svg"
