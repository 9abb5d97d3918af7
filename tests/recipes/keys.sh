# Two sites with keys: "A chain with keys" in docs/operations.md.
. "$(dirname "$0")/common.sh"

RELAY=$NET:9101  # docs: 203.0.113.5:9101
ORIGIN=$NET:9102  # docs: 198.51.100.7:9101
ROOT=$HOME/files  # docs: /srv/files
mkdir -p "$ROOT/reports" "$ROOT/private"
head -c 1000000 /dev/urandom >"$ROOT/reports/june.pdf"
echo secret >"$ROOT/private/notes"

mkdir -p ~/.config/chainview
chainview --new-key ~/.config/chainview/key
ALICE=$(fingerprint ~/.config/chainview/key)  # docs: sha256:ALICE
chainview --new-key key-a
chainview --new-key key-b
KEY_A=$(fingerprint key-a)  # docs: sha256:RELAY
KEY_B=$(fingerprint key-b)  # docs: sha256:ORIGIN

echo "$ALICE alice relay=$ORIGIN" > keys-a
chainview --node $RELAY --allow-next $ORIGIN --identity key-a --authorized-keys keys-a >/dev/null &
echo "$ALICE alice fetch=reports/ read" > keys-b
chainview --node $ORIGIN --root $ROOT --identity key-b --authorized-keys keys-b >/dev/null &
await $RELAY
await $ORIGIN

echo "reports/june.pdf" > input.txt
echo "$RELAY key=$KEY_A" >> input.txt
echo "$ORIGIN key=$KEY_B" >> input.txt
chainview --check input.txt --identity ~/.config/chainview/key
chainview --fetch input.txt --identity ~/.config/chainview/key
cmp june.pdf "$ROOT/reports/june.pdf"

# What is not granted, at both nodes.
refused "key required" \
    chainview --fetch input.txt -o none
refused "fetch" \
    chainview --fetch input.txt --file private/notes -o none --identity ~/.config/chainview/key
chainview --new-key other
refused "$(fingerprint other)" \
    chainview --fetch input.txt -o none --identity other
sed "s,$KEY_B,$KEY_A," input.txt > wrong.txt
refused "$KEY_B" \
    chainview --fetch wrong.txt -o none --identity ~/.config/chainview/key
[ ! -e none ] || fail "a refused transfer left a file"
