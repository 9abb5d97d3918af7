# A tunnel of another program: "WireGuard or ssh" in docs/operations.md.
. "$(dirname "$0")/common.sh"
need sshd ssh ssh-keygen curl
printf "%s\n" silent show-error >.curlrc

NODE=$NET:9101  # docs: 127.0.0.1:9101
LOCAL=$NET:9201  # docs: 127.0.0.1:9201
WIREGUARD=$NET:9102  # docs: 10.8.0.1:9101
PEER=127.255.${NET#127.*.}  # docs: 10.8.0.2
FORWARD=$NET:9202
ROOT=$HOME/files  # docs: /srv/files
mkdir -p "$ROOT"
head -c 1000000 /dev/urandom >"$ROOT/june.pdf"
mkdir -p ~/.config/chainview
chainview --new-key ~/.config/chainview/key
ALICE=$(fingerprint ~/.config/chainview/key)  # docs: sha256:ALICE

# The machine files.example: an sshd of this user.
ssh-keygen -q -t ed25519 -N "" -f host
ssh-keygen -q -t ed25519 -N "" -f user
cat >sshd_config <<END
ListenAddress $NET:2222
HostKey $HOME/host
PidFile none
UsePAM no
StrictModes no
AuthorizedKeysFile $HOME/user.pub
END
cat >ssh_config <<END
Host files.example
    HostName $NET
    Port 2222
    IdentityFile $HOME/user
    StrictHostKeyChecking no
    UserKnownHostsFile $HOME/known
    LogLevel ERROR
    ExitOnForwardFailure yes
END
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd
"$(command -v sshd)" -D -e -f sshd_config 2>sshd.log &
await $NET:2222
# sshd refuses users without a login shell, and locked ones.
command ssh -F ssh_config -o BatchMode=yes files.example true || { echo "sshd does not let this user log in"; exit 77; }

# Runs as a job by itself, whose end is that of ssh.
ssh() { exec ssh -F ssh_config "$@"; }

# Waits for the end of the node that runs as the job $node.
stop() {
    kill $node
    wait $node || true
}

# The trap: every client of the forwarder is a local user.
chainview --node $NODE --root $ROOT >/dev/null &
node=$!
await $NODE
ssh -N -L $LOCAL:$NODE files.example &
await $LOCAL
curl --fail --output /dev/null http://$LOCAL/v1/node
curl --fail --output /dev/null http://$LOCAL/files/
stop

# A token for endpoints and folders; single files need none.
(umask 077; head -c 32 /dev/urandom | base64 > token)
chainview --node $NODE --root $ROOT --read-token-file token >/dev/null &
node=$!
await $NODE
refused "401" curl --fail http://$LOCAL/v1/node
refused "401" curl --fail http://$LOCAL/files/
curl --fail --output /dev/null -H "Authorization: Bearer $(cat token)" http://$LOCAL/files/
curl --fail http://$LOCAL/files/june.pdf | cmp - "$ROOT/june.pdf"
stop

# Keys for files, and the token still for endpoints.
echo "$ALICE alice fetch=/ read" > keys
chainview --node $NODE --root $ROOT --read-token-file token --authorized-keys keys --host-name $LOCAL >/dev/null &
node=$!
await $NODE
refused "401" curl --fail http://$LOCAL/v1/node
refused "401" curl --fail http://$LOCAL/files/june.pdf
echo "june.pdf" > input.txt
echo "$LOCAL" >> input.txt
chainview --fetch input.txt --identity ~/.config/chainview/key
cmp june.pdf "$ROOT/june.pdf"
stop

# The addresses of the other machines, and none of this one.
chainview --node $WIREGUARD --root $ROOT --clients $PEER >/dev/null &
await $WIREGUARD
ssh -N -L $FORWARD:$WIREGUARD files.example &
await $FORWARD
refused "403" curl --fail http://$FORWARD/files/june.pdf
curl --fail --interface $PEER http://$WIREGUARD/files/june.pdf | cmp - "$ROOT/june.pdf"
