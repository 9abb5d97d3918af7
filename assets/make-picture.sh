#!/usr/bin/env bash
# Makes assets/dashboard.svg: runs the real program's demo in tmux at 120x40, waits until a transfer is mid-way,
# and turns what stands on the screen, colours included, into a picture. Needs tmux, python3 and cargo.
#
# A command given as arguments is run in place of the demo; it is caught as soon as it shows a share of 30 to 79 %.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# -gt 0 ]; then
    command=("$@")
else
    cargo build --release
    command=(target/release/chainview --demo)
fi

# A server of its own, so that nobody's settings or sessions are touched.
socket=chainview-picture-$$
screen=$(mktemp)
trap 'tmux -L "$socket" kill-server 2>/dev/null || true; rm -f "$screen"' EXIT
TERM=xterm-256color tmux -L "$socket" -f /dev/null new-session -d -s picture -x 120 -y 40 \
    -e COLORTERM=truecolor -- env -u NO_COLOR "${command[@]}"
tmux -L "$socket" set-option -g status off >/dev/null
tmux -L "$socket" resize-window -t picture -x 120 -y 40

end=$((SECONDS + 60))
until tmux -L "$socket" capture-pane -t picture -e -p >"$screen" &&
    sed 's/\x1b\[[0-9;:]*m//g' "$screen" | grep -qE '(^|[^0-9])[3-7][0-9](\.[0-9]+)? ?%'; do
    if [ "$SECONDS" -ge "$end" ]; then
        echo "make-picture: no transfer was seen mid-way within 60 s; the screen was:" >&2
        cat "$screen" >&2
        exit 1
    fi
    # tmux has no event for "the screen shows this", so it is asked ten times a second.
    sleep 0.1
done

python3 assets/ansi_to_svg.py --columns 120 --rows 40 <"$screen" >assets/dashboard.svg
echo "make-picture: wrote assets/dashboard.svg"
