#!/usr/bin/env bash
# Makes assets/dashboard.svg: runs the real program's demo in tmux at 120x40, plays its first two acts so that every
# panel has something to show, begins again, and saves the screen as SVG with the key for that. Needs tmux and cargo.
#
# A program in the arguments replaces the release build.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD

if [ $# -gt 0 ]; then
    program=$1
else
    cargo build --release
    program=$top/target/release/chainview
fi

# A tmux server of its own, so that no user settings or sessions are touched, and a folder for the file.
socket=chainview-picture-$$
folder=$(mktemp -d)
trap 'tmux -L "$socket" kill-server 2>/dev/null || true; rm -rf "$folder"' EXIT
TERM=xterm-256color tmux -L "$socket" -f /dev/null new-session -d -s picture -x 120 -y 40 -c "$folder" \
    -- env -u NO_COLOR HOME="$folder" "$program" --demo
tmux -L "$socket" set-option -g status off >/dev/null
tmux -L "$socket" resize-window -t picture -x 120 -y 40

screen() { tmux -L "$socket" capture-pane -t picture -p; }
press() { tmux -L "$socket" send-keys -t picture "$1"; }

# Waits until the screen has a line with each of these patterns.
end=$((SECONDS + 120))
shows() {
    local pattern missing=1
    # tmux has no event for a change of the screen, so it is polled ten times a second.
    while [ -n "$missing" ]; do
        missing=
        for pattern in "$@"; do screen | grep -qE "$pattern" || missing=$pattern; done
        [ -z "$missing" ] && return
        if [ "$SECONDS" -ge "$end" ]; then
            echo "make-picture: not shown in time: $missing; the screen was:" >&2
            screen >&2
            exit 1
        fi
        sleep 0.1
    done
}

shows 'Demo 1/4' 'named after'
press T
# Several transfers of the second act are finished by then.
shows 'Demo 2/4' 'named after' ' [5-9] done '
press C-t
shows ' 0 active'
press T
shows 'Demo 1/4' '1 active'
press f
shows 'rate limit' 'named after' '2 running' 'tour-[12]\.bin .* [2-5][0-9]%'
press E
until picture=$(ls "$folder"/chainview-*.svg 2>/dev/null) && tail -n 1 "$picture" | grep -q '</svg>'; do
    [ "$SECONDS" -lt "$end" ] || { echo "make-picture: no file was written" >&2; exit 1; }
    sleep 0.1
done
cp "$picture" assets/dashboard.svg
echo "make-picture: wrote assets/dashboard.svg"
