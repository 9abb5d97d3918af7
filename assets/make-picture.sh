#!/usr/bin/env bash
# Makes assets/dashboard.svg: runs the real program's demo in tmux at 120x40, waits until a transfer is in progress,
# and presses the key that saves the screen as SVG. Needs tmux and cargo.
#
# A command in the arguments replaces the demo; its screen is saved as soon as it shows 30 to 79 %.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD

if [ $# -gt 0 ]; then
    command=("$@")
else
    cargo build --release
    command=("$top/target/release/chainview" --demo)
fi

# A tmux server of its own, so that no user settings or sessions are touched, and a folder for the file.
socket=chainview-picture-$$
folder=$(mktemp -d)
trap 'tmux -L "$socket" kill-server 2>/dev/null || true; rm -rf "$folder"' EXIT
TERM=xterm-256color tmux -L "$socket" -f /dev/null new-session -d -s picture -x 120 -y 40 -c "$folder" \
    -- env -u NO_COLOR "${command[@]}"
tmux -L "$socket" set-option -g status off >/dev/null
tmux -L "$socket" resize-window -t picture -x 120 -y 40

screen() { tmux -L "$socket" capture-pane -t picture -p; }

end=$((SECONDS + 60))
# tmux has no event for a change of the screen, so it is polled ten times a second.
until screen | grep -qE '(^|[^0-9])[3-7][0-9](\.[0-9]+)? ?%  ' && screen | grep -q slowest; do
    if [ "$SECONDS" -ge "$end" ]; then
        echo "make-picture: no transfer was in progress within 60 s; the screen was:" >&2
        screen >&2
        exit 1
    fi
    sleep 0.1
done
tmux -L "$socket" send-keys -t picture E
until picture=$(ls "$folder"/chainview-*.svg 2>/dev/null) && tail -n 1 "$picture" | grep -q '</svg>'; do
    [ "$SECONDS" -lt "$end" ] || { echo "make-picture: no file was written" >&2; exit 1; }
    sleep 0.1
done
cp "$picture" assets/dashboard.svg
echo "make-picture: wrote assets/dashboard.svg"
