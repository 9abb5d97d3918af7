"""The compared chains: how each program is started as a relay, and how a file is requested from its chain."""

import filecmp
import os
import shutil
import time

from machine import TIMEOUT, Program, free_ports, listens, run

STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"
# Longer than any silence here: idle and stalled connections must not time out.
SILENCE = 600


class Place:
    """The files of a run, and the number of connections a node has to accept."""

    def __init__(self, folder, chainview, connections):
        self.folder, self.chainview, self.connections = folder, chainview, connections
        self.files = folder + "/root/files"
        self.out = folder + "/out"
        shutil.rmtree(folder, ignore_errors=True)
        for name in (self.files, self.out, folder + "/conf"):
            os.makedirs(name, exist_ok=True)

    def clear(self):
        """Removes the large files; logs and settings stay for later inspection."""
        for name in ("out", "root"):
            shutil.rmtree(f"{self.folder}/{name}", ignore_errors=True)

    def conf(self, name, text):
        path = f"{self.folder}/conf/{name}"
        with open(path, "w") as file:
            file.write(text)
        return path


class Chain:
    """Relays and an origin on loopback, running; `ports` in chain order, the origin's last."""

    def __init__(self, peer, relays, place):
        self.place, self.ports, self.nodes = place, free_ports(relays + 1), []
        self.log = f"{place.folder}/conf/{peer.slug}.log"
        self.headers = []
        self.routed = peer.routed
        if peer.routed and relays:
            self.headers = ["Chain-Route: " + ", ".join(f"127.0.0.1:{port}" for port in self.ports[1:])]
        try:
            for at in range(relays, -1, -1):
                is_origin = at == relays
                command = (peer.origin if is_origin else peer.relay)(place, self.ports[at], self.ports[at + 1:][:1])
                self.nodes.insert(0, Program(command, self.log))
                self._wait(self.ports[at], command)
            # Before any measurement the bytes that arrive are compared with the file; these connections also warm up
            # every node.
            for name in ("4k", "16m"):
                self.curl(name, place.out + "/check")
                if not filecmp.cmp(place.out + "/check", f"{place.files}/{name}", shallow=False):
                    raise RuntimeError(f"{peer.name} delivered other bytes than those of the file")
        except BaseException:
            self.stop()
            raise

    def _wait(self, port, command):
        end = time.monotonic() + TIMEOUT
        while not listens(port):
            if time.monotonic() > end or self.nodes[0].process.poll() is not None:
                with open(self.log) as file:
                    output = file.read().strip().splitlines()[-1:]
                raise RuntimeError(f"{command[0]} does not listen: {' '.join(output) or 'no output'}")
            time.sleep(0.01)

    @property
    def relays(self):
        return self.nodes[:-1]

    def url(self, name):
        return f"http://127.0.0.1:{self.ports[0]}/files/{name}"

    def request(self, name, close):
        """The bytes of a request as curl and wrk send it."""
        lines = [f"GET /files/{name} HTTP/1.1", f"Host: 127.0.0.1:{self.ports[0]}", *self.headers]
        return "\r\n".join([*lines, *(["Connection: close"] if close else []), "", ""]).encode()

    def curl(self, name, output):
        """Fetches a file: seconds, and seconds of CPU of the client."""
        received, wall, cpu = run([*self._curl(output, "%{size_download}"), self.url(name)])
        if int(received) != os.path.getsize(f"{self.place.files}/{name}"):
            raise RuntimeError(f"curl got {received} bytes of {name}")
        return wall, cpu

    def rate(self, name, seconds):
        """Bytes per second of a fetch that is ended after this many seconds."""
        # 28 is curl's exit code for a timeout.
        command = [*self._curl("/dev/null", "%{size_download} %{time_total}"), "--max-time", str(seconds), self.url(name)]
        got, took = run(command, fine=(0, 28))[0].split()
        return int(got) / float(took)

    def _curl(self, output, report):
        headers = [word for header in self.headers for word in ("-H", header)]
        return ["curl", "-sS", "--fail", "-o", output, "-w", report, *headers]

    def stop(self):
        for node in self.nodes:
            node.stop()


class Peer:
    """One program with its configuration."""

    # Its name in the table, the tool it needs, and the figures it is left out of.
    name, tool, not_in = "", "", ()
    # Whether the client names the hops; all others have their next hop in their configuration.
    routed = False

    @property
    def slug(self):
        return type(self).__name__.lower()

    def installed(self):
        return shutil.which(self.tool) is not None

    def origin(self, place, port, _next):
        """One nginx process with sendfile: the origin of every chain but chainview's own."""
        return nginx(place, port, f"""http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_timeout {SILENCE}; keepalive_requests 1000000000;
  send_timeout {SILENCE};
  {temporary(place, port)}
  server {{ listen 127.0.0.1:{port} backlog=4096; root {place.folder}/root; }}
}}""")


class Chainview(Peer):
    name, routed, program = "chainview", True, None

    def installed(self):
        return True

    def relay(self, place, port, _next):
        return [self.program or place.chainview, "--node", f"127.0.0.1:{port}", "--root", place.files, "--idle-timeout", f"{SILENCE}s",
                "--max-connections", str(place.connections), "--quiet"]

    origin = relay


class Base(Chainview):
    """Another build of chainview, before a change."""

    name = "chainview before"

    def __init__(self, program):
        self.program = program


class Haproxy(Peer):
    name, tool = "HAProxy", "haproxy"
    option, tune = "", ""

    def relay(self, place, port, following):
        conf = place.conf(f"haproxy-{port}", f"""global
  maxconn {place.connections}
  nbthread 1
  {self.tune}
defaults
  mode tcp
  timeout connect 10s
  timeout client {SILENCE}s
  timeout server {SILENCE}s
  {self.option}
listen l
  bind 127.0.0.1:{port} backlog 4096
  server n 127.0.0.1:{following[0]}
""")
        return ["haproxy", "-db", "-q", "-f", conf]


class HaproxySplice(Haproxy):
    name, option, tune = "HAProxy, splice, 1 MiB pipes", "option splice-response", "tune.pipesize 1048576"


class HaproxyReuse(Peer):
    # It shares its connections to the next hop between its clients.
    name, tool = "HAProxy, http-reuse", "haproxy"

    def relay(self, place, port, following):
        conf = place.conf(f"haproxy-{port}", f"""global
  maxconn {place.connections}
  nbthread 1
defaults
  mode http
  timeout connect 10s
  timeout client {SILENCE}s
  timeout server {SILENCE}s
  timeout http-keep-alive {SILENCE}s
  http-reuse always
listen l
  bind 127.0.0.1:{port} backlog 4096
  server n 127.0.0.1:{following[0]}
""")
        return ["haproxy", "-db", "-q", "-f", conf]


class Nginx(Peer):
    name, tool = "nginx stream", "nginx"

    def relay(self, place, port, following):
        return nginx(place, port, f"""stream {{ server {{
  listen 127.0.0.1:{port} backlog=4096; proxy_pass 127.0.0.1:{following[0]}; proxy_timeout {SILENCE}s;
}} }}""")


class NginxHttp(Peer):
    # It shares its connections to the next hop between its clients.
    name, tool = "nginx proxy_pass", "nginx"

    def relay(self, place, port, following):
        return nginx(place, port, f"""http {{
  access_log off; keepalive_timeout {SILENCE}; keepalive_requests 1000000000; send_timeout {SILENCE};
  {temporary(place, port)}
  upstream next {{
    server 127.0.0.1:{following[0]}; keepalive 64; keepalive_timeout {SILENCE}; keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://next; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_max_temp_file_size 0; proxy_read_timeout {SILENCE};
    }}
  }}
}}""")


class Socat(Peer):
    # A process for each connection: a thousand idle or stalled ones show no more than one does.
    name, tool, not_in = "socat", "socat", ("idle", "stalled")

    def relay(self, _place, port, following):
        listen = f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,backlog=4096"
        return ["socat", "-b", "262144", listen, f"TCP:127.0.0.1:{following[0]}"]


PEERS = [Chainview(), HaproxyReuse(), NginxHttp(), HaproxySplice(), Haproxy(), Nginx(), Socat()]
# The peers that, like chainview, share connections between clients.
SHARING = [HaproxyReuse.name, NginxHttp.name]


def nginx(place, port, body):
    # One process, which works as a worker and keeps its user: root of a user namespace cannot become another.
    module = f"load_module {STREAM_MODULE};\n" if os.path.exists(STREAM_MODULE) else ""
    log = f"{place.folder}/conf/nginx-{port}.log"
    conf = place.conf(f"nginx-{port}", f"""{module}daemon off; master_process off; user root; error_log {log};
pid {place.folder}/conf/nginx-{port}.pid; worker_rlimit_nofile {2 * place.connections + 500};
events {{ worker_connections {2 * place.connections + 100}; }}
{body}
""")
    return ["nginx", "-c", conf, "-e", log]


def temporary(place, port):
    """nginx creates these folders in any case; its default paths belong to root."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return " ".join(f"{kind}_temp_path {place.folder}/conf/{port}-{kind};" for kind in kinds)
