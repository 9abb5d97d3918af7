# Clients other than chainview: "curl and browsers" in docs/operations.md.
. "$(dirname "$0")/common.sh"
need curl openssl
printf "%s\n" silent show-error >.curlrc

NODE=$NET:9101  # docs: files.example:9101
ROOT=$HOME/files  # docs: /srv/files
mkdir -p "$ROOT/pub" "$ROOT/reports"
echo public >"$ROOT/pub/index.html"
head -c 100000 /dev/urandom >"$ROOT/reports/june.pdf"
mkdir -p ~/.config/chainview
chainview --new-key ~/.config/chainview/key
chainview --new-key node-key
ALICE=$(fingerprint ~/.config/chainview/key)  # docs: sha256:ALICE
PIN=sha256//$(fingerprint node-key | cut -d : -f 2)  # docs: sha256//NODE

echo "anonymous fetch=pub/ rate=1MB/s" > keys
echo "$ALICE alice fetch=/" >> keys
chainview --node $NODE --root $ROOT --identity node-key --authorized-keys keys >/dev/null &
await $NODE

curl --insecure --pinnedpubkey $PIN https://$NODE/files/pub/index.html >index.html
cmp index.html "$ROOT/pub/index.html"

openssl req -x509 -key ~/.config/chainview/key -subj /CN=alice -days 365 -out alice.pem
curl --insecure --pinnedpubkey $PIN --cert alice.pem --key ~/.config/chainview/key --fail --remote-name https://$NODE/files/reports/june.pdf
cmp june.pdf "$ROOT/reports/june.pdf"

# Without a key, with another key of the node, and over TLS 1.2.
refused "key required" \
    curl --insecure --fail-with-body https://$NODE/files/reports/june.pdf
refused "public key" \
    curl --insecure --pinnedpubkey "sha256//$(echo | openssl sha256 -binary | base64)" https://$NODE/files/pub/index.html
refused "alert" \
    curl --insecure --tls-max 1.2 https://$NODE/files/pub/index.html
# What a browser gets that asks for a page.
curl --insecure -H 'Accept: text/html' -H 'Sec-Fetch-Mode: navigate' https://$NODE/files/pub/index.html | cmp - "$ROOT/pub/index.html"
