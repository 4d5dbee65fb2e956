/* The origin of the benchmark: one thread, epoll, no allocation per request.
 *
 *   origin TLS_PORT HTTP_PORT
 *
 * TLS_PORT speaks no TLS: it reads one TLS record (the client's real ClientHello), answers 1500 octets, and then takes orders of nine
 * octets: 'D' and a big-endian count sends that many octets, 'U' and a count swallows that many and answers one, 'E' closes.
 * HTTP_PORT answers every request head with a 200 and 1024 octets, on a connection that stays open.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FD = 65536, CHUNK = 1 << 18, REPLY = 1500, BODY = 1024, ORDER = 9 };
enum state { CLOSED, HELLO, ORDERS, SENDING, SWALLOWING, HTTP };

struct client {
    enum state state;
    uint64_t left;          /* octets still to send, to swallow, or of the ClientHello's record */
    unsigned char head[ORDER];
    unsigned have;          /* octets in head; for HTTP: how much of CRLF CRLF has been seen */
};

static struct client clients[MAX_FD];
static unsigned char in[CHUNK], out[CHUNK];
static char page[BODY + 256];
static size_t page_size;
static int poller;

static void watch(int fd, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(poller, operation, fd, &event) != 0) perror("epoll_ctl");
}

static int listener(const char *port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4096) != 0) {
        perror("origin: bind");
        exit(1);
    }
    watch(fd, EPOLL_CTL_ADD, EPOLLIN);
    return fd;
}

static void drop(int fd) {
    clients[fd].state = CLOSED;
    close(fd);
}

static void greet(int listening, enum state state) {
    for (;;) {
        int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK), on = 1;
        if (fd < 0) return;
        if (fd >= MAX_FD) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        memset(&clients[fd], 0, sizeof clients[fd]);
        clients[fd].state = state;
        watch(fd, EPOLL_CTL_ADD, EPOLLIN);
    }
}

/* Send what is left; waits for room in the socket where there is none. */
static void push(int fd) {
    struct client *client = &clients[fd];
    while (client->left) {
        size_t size = client->left < CHUNK ? (size_t)client->left : CHUNK;
        ssize_t done = send(fd, out, size, MSG_NOSIGNAL);
        if (done < 0) {
            if (errno != EAGAIN) drop(fd);
            return;
        }
        client->left -= (uint64_t)done;
    }
    client->state = ORDERS;
    watch(fd, EPOLL_CTL_MOD, EPOLLIN);
}

static void answer_pages(int fd, const unsigned char *data, size_t size) {
    static const char end[] = "\r\n\r\n";
    struct client *client = &clients[fd];
    for (size_t i = 0; i < size; i++) {
        client->have = data[i] == end[client->have] ? client->have + 1 : data[i] == '\r';
        if (client->have == 4) {
            client->have = 0;
            if (send(fd, page, page_size, MSG_NOSIGNAL) != (ssize_t)page_size) {
                drop(fd);
                return;
            }
        }
    }
}

static size_t take_head(struct client *client, const unsigned char *data, size_t size, unsigned want) {
    size_t used = want - client->have < size ? want - client->have : size;
    memcpy(client->head + client->have, data, used);
    client->have += (unsigned)used;
    return used;
}

static uint64_t count_in(const unsigned char *head) {
    uint64_t count = 0;
    for (int i = 1; i < ORDER; i++) count = count << 8 | head[i];
    return count;
}

/* One step through `size` octets at `data`: how many were used; -1 when the connection is gone or wants to send. */
static ssize_t step(int fd, const unsigned char *data, size_t size) {
    struct client *client = &clients[fd];
    size_t used;
    switch (client->state) {
    case HELLO:
        if (client->have < 5) {
            used = take_head(client, data, size, 5);
            if (client->have == 5) client->left = (uint64_t)(client->head[3] << 8 | client->head[4]);
            return (ssize_t)used;
        }
        /* fall through */
    case SWALLOWING:
        used = client->left < size ? (size_t)client->left : size;
        client->left -= used;
        if (client->left == 0) {
            size_t reply = client->state == HELLO ? REPLY : 1;
            client->state = ORDERS;
            client->have = 0;
            if (send(fd, out, reply, MSG_NOSIGNAL) < 0) {
                drop(fd);
                return -1;
            }
        }
        return (ssize_t)used;
    case ORDERS:
        used = take_head(client, data, size, ORDER);
        if (client->have < ORDER) return (ssize_t)used;
        client->have = 0;
        client->left = count_in(client->head);
        if (client->head[0] == 'U') client->state = SWALLOWING;
        else if (client->head[0] == 'D') {
            client->state = SENDING;
            watch(fd, EPOLL_CTL_MOD, EPOLLOUT);
            return -1;
        } else {
            drop(fd);
            return -1;
        }
        return (ssize_t)used;
    default:
        return -1;
    }
}

static void hear(int fd) {
    ssize_t got = recv(fd, in, sizeof in, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) drop(fd);
        return;
    }
    if (clients[fd].state == HTTP) {
        answer_pages(fd, in, (size_t)got);
        return;
    }
    for (size_t at = 0; at < (size_t)got;) {
        ssize_t used = step(fd, in + at, (size_t)got - at);
        if (used < 0) return;
        at += (size_t)used;
    }
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: origin TLS_PORT HTTP_PORT\n");
        return 2;
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < MAX_FD ? limit.rlim_max : MAX_FD;
    setrlimit(RLIMIT_NOFILE, &limit);
    signal(SIGPIPE, SIG_IGN);
    memset(out, 'o', sizeof out);
    page_size = (size_t)snprintf(page, sizeof page,
        "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", BODY);
    memset(page + page_size, 'p', BODY);
    page_size += BODY;
    poller = epoll_create1(0);
    int tls = listener(argv[1]), http = listener(argv[2]);
    struct epoll_event events[256];
    for (;;) {
        int ready = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == tls) greet(fd, HELLO);
            else if (fd == http) greet(fd, HTTP);
            else if (clients[fd].state == SENDING) push(fd);
            else if (clients[fd].state != CLOSED) hear(fd);
        }
    }
}
