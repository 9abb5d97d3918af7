#!/bin/sh
# Simulates a node for the supervisor's tests. $2 is HOST:PORT, $4 the root folder, whose file `mode` selects the
# behavior; events are recorded there.
port=${2##*:}
echo "$@" >"$4/args.$port"
echo "$CHAINVIEW_READ_TOKEN $CHAINVIEW_CONTROL_TOKEN $CHAINVIEW_LIMIT" >"$4/tokens.$port"
case $(cat "$4/mode") in
good)
    trap '' TERM
    echo "listening $2"
    printf 'a line\nwith \033[2J in it\n' >&2
    cat >/dev/null
    echo eof >"$4/eof.$port"
    ;;
stubborn)
    trap '' TERM
    echo "listening $2"
    while :; do sleep 0.1; done
    ;;
leaves)
    trap 'exit 0' TERM
    echo "listening $2"
    while :; do sleep 0.1; done
    ;;
wrong) echo "hello" ;;
dies) exit 3 ;;
brief)
    echo "listening $2"
    read -r _ <"$4/go"
    exit 4
    ;;
esac
