// Links between network namespaces with a delay, a rate, a queue and random loss, each made of two TUN devices.
//
//   wanlink SPACE_A SPACE_B NAME ADDRESS_A ADDRESS_B DELAY_MS RATE_MBIT QUEUE_KIB LOSS_PERCENT [the next link ...]
//
// Prints "ready" when all links are up; ends on SIGTERM. Needs root and /dev/net/tun.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define WORDS 9        // of one link
#define PACKETS 65536  // in flight in one direction
#define BURST 64       // packets read from one device before the next has its turn

struct packet { double due; int length; unsigned char *data; };

struct direction {
    int in, out;
    double delay, seconds_per_byte, free_at, loss;
    long capacity;
    struct packet *ring;
    unsigned head, tail;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int open_tun(const char *space, const char *name, const char *address) {
    char path[256], command[512];
    snprintf(path, sizeof path, "/run/netns/%s", space);
    int home = open("/proc/self/ns/net", O_RDONLY), there = open(path, O_RDONLY);
    if (there < 0 || setns(there, CLONE_NEWNET)) fail(path);
    int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (tun < 0 || ioctl(tun, TUNSETIFF, &request)) fail("tun");
    snprintf(command, sizeof command, "ip addr add %s/24 dev %s && ip link set %s up txqueuelen 10000 mtu 1500", address,
             name, name);
    if (system(command)) exit(1);
    if (setns(home, CLONE_NEWNET)) fail("setns");
    close(home);
    close(there);
    return tun;
}

static void deliver(struct direction *d, double at) {
    while (d->head != d->tail && d->ring[d->tail % PACKETS].due <= at) {
        struct packet *packet = d->ring + d->tail++ % PACKETS;
        // A full device drops the packet, as a full queue does.
        if (write(d->out, packet->data, packet->length) < 0 && errno != EAGAIN) perror("write");
        free(packet->data);
    }
}

static void accept_packets(struct direction *d, double at) {
    static unsigned char buffer[65536];
    for (int burst = 0; burst < BURST; burst++) {
        int length = read(d->in, buffer, sizeof buffer);
        if (length <= 0) return;
        if (d->loss > 0 && drand48() < d->loss) continue;
        double start = d->free_at > at ? d->free_at : at;
        if ((start - at) / d->seconds_per_byte + length > d->capacity || d->head - d->tail >= PACKETS) continue;
        d->free_at = start + length * d->seconds_per_byte;
        struct packet *packet = d->ring + d->head++ % PACKETS;
        *packet = (struct packet){.due = d->free_at + d->delay, .length = length, .data = malloc(length)};
        if (!packet->data) fail("malloc");
        memcpy(packet->data, buffer, length);
    }
}

int main(int argc, char **argv) {
    int count = 2 * ((argc - 1) / WORDS);
    struct direction *all = calloc(count, sizeof *all);
    struct pollfd *polled = calloc(count, sizeof *polled);
    for (int i = 0; i < count; i += 2) {
        char **words = argv + 1 + WORDS * (i / 2), names[2][32];
        for (int end = 0; end < 2; end++) snprintf(names[end], sizeof names[end], "%s%c", words[2], 'a' + end);
        int ends[2] = {open_tun(words[0], names[0], words[3]), open_tun(words[1], names[1], words[4])};
        for (int end = 0; end < 2; end++) {
            all[i + end] = (struct direction){
                .in = ends[end], .out = ends[!end], .delay = atof(words[5]) / 1e3,
                .seconds_per_byte = 8 / (atof(words[6]) * 1e6), .capacity = atol(words[7]) * 1024,
                .loss = atof(words[8]) / 100, .ring = calloc(PACKETS, sizeof(struct packet))};
            polled[i + end] = (struct pollfd){.fd = ends[end], .events = POLLIN};
        }
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        double at = now(), next = at + 1;
        for (int i = 0; i < count; i++) {
            deliver(all + i, at);
            if (all[i].head != all[i].tail && all[i].ring[all[i].tail % PACKETS].due < next)
                next = all[i].ring[all[i].tail % PACKETS].due;
        }
        double wait = next - now();
        if (wait < 0) wait = 0;
        struct timespec limit = {.tv_sec = (long)wait, .tv_nsec = (long)((wait - (long)wait) * 1e9)};
        if (ppoll(polled, count, &limit, NULL) <= 0) continue;
        at = now();
        for (int i = 0; i < count; i++)
            if (polled[i].revents & POLLIN) accept_packets(all + i, at);
    }
}
