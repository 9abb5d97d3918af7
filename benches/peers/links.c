// Slow links for the benchmark `wan`: passes packets between pairs of network devices, after a delay and at a rate, and
// drops a part of them.
//
//   links DELAY_MS MBIT_PER_S QUEUE_KIB LOSS_PERCENT DEVICE DEVICE [DEVICE DEVICE ...]
//
// It makes the devices in its own namespace and prints a line. A device that is moved to another namespace stays
// connected. Packets that find the queue of a direction full are dropped, as a router does.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define LARGEST_PACKET 65536

// All times are in ns.
typedef int64_t duration;

struct packet {
    struct packet *next;
    duration arrival;
    ssize_t length;
    char bytes[];
};

struct direction {
    int from, to;
    // Of the lost packets: another one for each direction.
    unsigned seed;
};

// Of every direction; a packet that would wait for longer than a full queue lasts finds it full.
static duration delay, longest_wait;
static double per_byte, loss;

static void require(int holds, const char *what) {
    if (holds) return;
    perror(what);
    exit(1);
}

static duration clock_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND + now.tv_nsec;
}

// Waits for a packet from the device, at most until the first one in transit arrives.
static void await_packet(int device, const struct packet *first) {
    struct pollfd polled = {.fd = device, .events = POLLIN};
    struct timespec left = {0};
    if (first) {
        duration until = first->arrival - clock_now();
        if (until > 0) left = (struct timespec){until / SECOND, until % SECOND};
    }
    ppoll(&polled, 1, first ? &left : NULL, NULL);
}

static void *carry(void *argument) {
    struct direction *direction = argument;
    struct packet *first = NULL, **end = &first;
    // When the link will have sent all that is in its queue.
    duration sent = 0;
    char bytes[LARGEST_PACKET];
    for (;;) {
        await_packet(direction->from, first);
        duration now = clock_now();
        while (first && first->arrival <= now) {
            struct packet *arrived = first;
            // The kernel drops it if the device is not up or has no room.
            (void)!write(direction->to, arrived->bytes, arrived->length);
            first = arrived->next;
            if (!first) end = &first;
            free(arrived);
        }
        ssize_t length = read(direction->from, bytes, sizeof bytes);
        require(length > 0 || errno == EAGAIN || errno == EINTR, "read");
        if (sent < now) sent = now;
        if (length <= 0 || sent - now > longest_wait) continue;
        sent += length * per_byte;
        // It took its time on the link all the same.
        if (rand_r(&direction->seed) < loss * RAND_MAX) continue;
        struct packet *packet = malloc(sizeof *packet + length);
        require(packet != NULL, "malloc");
        *packet = (struct packet){.arrival = sent + delay, .length = length};
        memcpy(packet->bytes, bytes, length);
        *end = packet;
        end = &packet->next;
    }
}

static int make_device(const char *name) {
    struct ifreq wanted = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    snprintf(wanted.ifr_name, sizeof wanted.ifr_name, "%s", name);
    int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    require(device >= 0 && ioctl(device, TUNSETIFF, &wanted) == 0, name);
    return device;
}

static void start(int from, int to) {
    struct direction *direction = malloc(sizeof *direction);
    require(direction != NULL, "malloc");
    *direction = (struct direction){from, to, (unsigned)clock_now() + (unsigned)to};
    pthread_t thread;
    errno = pthread_create(&thread, NULL, carry, direction);
    require(errno == 0, "pthread_create");
}

int main(int count, char **words) {
    if (count < 7 || count % 2 == 0) {
        fprintf(stderr, "usage: links DELAY_MS MBIT_PER_S QUEUE_KIB LOSS_PERCENT DEVICE DEVICE [DEVICE DEVICE ...]\n");
        return 2;
    }
    delay = atof(words[1]) * (SECOND / 1000);
    per_byte = 8 * SECOND / (atof(words[2]) * 1e6);
    longest_wait = atof(words[3]) * 1024 * per_byte;
    loss = atof(words[4]) / 100;
    for (int at = 5; at < count; at += 2) {
        int near = make_device(words[at]), far = make_device(words[at + 1]);
        start(near, far);
        start(far, near);
    }
    puts("connected");
    fflush(stdout);
    pause();
}
