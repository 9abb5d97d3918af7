"""Network namespaces in a line, connected by slow links, and the nodes that run in them."""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# Namespaces and devices are named after this run: only that can delete them.
OWN = f"wan{os.getpid()}"
LINKS = 4
# Link number N is between namespaces N and N + 1.
SPACES = [f"{OWN}-{number}" for number in range(LINKS + 1)]
ADDRESSES = "10.76.0.0/16"
PORT = 9000


def near(link):
    """Address of a link's end in the namespace of the same number."""
    return f"10.76.{link}.1:{PORT}"


def far(link):
    """Address of a link's end in the next namespace."""
    return f"10.76.{link}.2:{PORT}"


def in_space(space, *command):
    return ["ip", "netns", "exec", space, *command]


def ip(*words):
    subprocess.run(["ip", *words], check=True)


class Network:
    """The namespaces with their links; `folder` is for the program that is compiled, and for logs."""

    def __init__(self, folder):
        self.folder, self.links, self.nodes = folder, None, []

    def connect(self, delay, rate, queue, loss, congestion):
        """Makes the namespaces and the links between them: ms one way, Mbit/s, KiB, percent."""
        tool = self.folder + "/links"
        subprocess.run(["cc", "-O2", "-pthread", "-o", tool, HERE + "/links.c"], check=True)
        for space in SPACES:
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
            control = f"net.ipv4.tcp_congestion_control={congestion}"
            subprocess.run(in_space(space, "sysctl", "-qw", control), check=True)
        ends = [(link, end, f"{OWN}-{link}{end}") for link in range(LINKS) for end in (0, 1)]
        command = [tool, str(delay), str(rate), str(queue), str(loss), *(device for _, _, device in ends)]
        self.links = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if not self.links.stdout.readline():
            sys.exit("wan: the links were not made")
        for link, end, device in ends:
            space = SPACES[link + end]
            ip("link", "set", device, "netns", space)
            ip("-n", space, "address", "add", f"10.76.{link}.{end + 1}/24", "dev", device)
            # The queue is the one of the link.
            ip("-n", space, "link", "set", device, "txqueuelen", "10000", "up")

    def start(self, space, chainview, address, *more):
        """Starts a node that prints a line once it listens."""
        command = [chainview, "--node", address, "--root", self.folder + "/files", "--allow-next",
                   f"{ADDRESSES}:{PORT}", "--list", *more]
        with open(self.folder + "/conf/nodes.log", "a") as log:
            node = subprocess.Popen(in_space(space, *command), stdout=subprocess.PIPE, stderr=log, text=True)
        self.nodes.append(node)
        if not node.stdout.readline().startswith("listening"):
            sys.exit(f"wan: the node at {address} does not listen")
        return node

    def stop_nodes(self):
        for node in self.nodes:
            node.kill()
            node.wait()
        self.nodes.clear()

    def disconnect(self):
        self.stop_nodes()
        if self.links:
            self.links.terminate()
            self.links.wait(10)
        for space in SPACES:
            subprocess.run(["ip", "netns", "del", space], stderr=subprocess.DEVNULL)
