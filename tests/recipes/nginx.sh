# TLS that nginx ends: "Behind nginx" in docs/operations.md.
. "$(dirname "$0")/common.sh"
need nginx curl openssl
printf "%s\n" silent show-error insecure >.curlrc

WEB=$NET:8443  # docs: 203.0.113.5:443
CHAIN=$NET:8444  # docs: 203.0.113.5:8443
LOCAL=$NET:9201  # docs: 127.0.0.1:9201
RELAY=$NET:9101  # docs: 127.0.0.1:9101
ORIGIN=$NET:9102  # docs: 127.0.0.1:9102
ROOT=$HOME/files  # docs: /srv/files
mkdir -p "$ROOT/pub" "$ROOT/reports"
head -c 3000000 /dev/urandom >"$ROOT/pub/large.bin"
head -c 3000000 /dev/urandom >"$ROOT/reports/june.pdf"
mkdir -p ~/.config/chainview
chainview --new-key ~/.config/chainview/key
chainview --new-key key-b
ALICE=$(fingerprint ~/.config/chainview/key)  # docs: sha256:ALICE
KEY_B=$(fingerprint key-b)  # docs: sha256:ORIGIN
openssl req -x509 -newkey rsa:2048 -noenc -subj /CN=files.example -days 2 -keyout server.key -out server.pem 2>/dev/null

(umask 077; head -c 32 /dev/urandom | base64 > token)
echo "anonymous fetch=pub/ relay=$ORIGIN" > keys
echo "$ALICE alice fetch=/ relay=$ORIGIN" >> keys
chainview --node $RELAY --root $ROOT --local-users any --read-token-file token --host-name $LOCAL --authorized-keys keys >/dev/null &
chainview --node $ORIGIN --root $ROOT --read-token-file token --identity key-b --authorized-keys keys >/dev/null &
await $RELAY
await $ORIGIN

# In some packages the stream module is a file of its own.
module=/usr/lib/nginx/modules/ngx_stream_module.so
[ ! -e $module ] || echo "load_module $module;" >modules.conf
touch modules.conf
cat >server.conf <<END
include modules.conf; daemon off; pid server.pid; error_log server.log; events {}
http {
    access_log off; client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
    server {
        listen $WEB ssl;
        ssl_certificate server.pem;
        ssl_certificate_key server.key;
        location / {
            proxy_pass http://$RELAY;
            proxy_http_version 1.1;
            proxy_buffering off;
        }
    }
}
stream {
    server {
        listen $CHAIN ssl;
        ssl_certificate server.pem;
        ssl_certificate_key server.key;
        ssl_protocols TLSv1.3;
        proxy_pass $RELAY;
    }
}
END
cat >client.conf <<END
include modules.conf; daemon off; pid client.pid; error_log client.log; events {}
stream {
    server {
        listen $LOCAL;
        proxy_pass $CHAIN;
        proxy_ssl on;
        proxy_ssl_protocols TLSv1.3;
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate server.pem;
        proxy_ssl_name files.example;
    }
}
END
chmod 755 "$HOME"
nginx -e server.log -p "$HOME" -c server.conf &
nginx -e client.log -p "$HOME" -c client.conf &
await $WEB
await $CHAIN
await $LOCAL

# Over HTTP: files, and a route in a header; no tunnels.
curl --fail https://$WEB/files/pub/large.bin | cmp - "$ROOT/pub/large.bin"
curl --fail -H "Chain-Route: $ORIGIN" https://$WEB/files/pub/large.bin | cmp - "$ROOT/pub/large.bin"
refused "key required" \
    curl --fail-with-body https://$WEB/files/reports/june.pdf
refused "401" \
    curl --fail https://$WEB/v1/node
refused "405" \
    curl --fail --request CONNECT https://$WEB/

# Over the stream: everything.
echo "reports/june.pdf" > input.txt
echo "$LOCAL" >> input.txt
echo "$ORIGIN key=$KEY_B" >> input.txt
chainview --fetch input.txt --identity ~/.config/chainview/key
cmp june.pdf "$ROOT/reports/june.pdf"
refused "key required" \
    chainview --fetch input.txt -o none
