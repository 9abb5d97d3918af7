# Read by each recipe: a temporary folder as home, addresses on loopback that no other run has, and an end to all that
# the recipe starts. A line `NAME=VALUE  # docs: TEXT` says what docs/operations.md has in the place of $NAME.
set -eu -o pipefail
PATH=$PATH:/usr/sbin:/sbin

# Ends the recipe as skipped if a program is missing.
need() {
    for program in "$@"; do
        command -v "$program" >/dev/null || { echo "$program is not installed"; exit 77; }
    done
}

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# Waits until the address accepts connections; 10 s are a hundred times what a busy machine needs.
await() {
    local deadline=$((SECONDS + 10))
    until (: <"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null; do
        [ $SECONDS -lt $deadline ] || fail "nothing listens on $1"
        sleep 0.05
    done
}

# Runs a command that has to fail with the text in its output.
refused() {
    local text=$1 output
    shift
    output=$("$@" 2>&1) && fail "was not refused: $*"
    case $output in *"$text"*) ;; *) fail "another refusal than '$text': $output" ;; esac
}

# Prints the fingerprint in the first line of a key file.
fingerprint() {
    sed -n '1s/^chainview key //p' "$1"
}

end() {
    local jobs
    jobs=$(jobs -p)
    [ -z "$jobs" ] || kill $jobs 2>/dev/null || true
    wait || true
    rm -rf "$HOME"
}

HOME=$(mktemp -d)
export HOME
trap end EXIT
cd "$HOME"
# The processes at one time have different numbers, so that no two runs have the same addresses.
NET=127.$((64 + $$ / 65536 % 64)).$(($$ / 256 % 256)).$(($$ % 256))
