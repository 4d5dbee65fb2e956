/* The load of the benchmark: one thread, epoll for what runs at once, one JSON object on standard output.
 *
 *   load tunnels PROXY HOST PORT HELLO CONCURRENCY SECONDS   new tunnels: connect, CONNECT, ClientHello, 1500 octets back, close
 *   load http    PROXY HOST PORT -     CONCURRENCY SECONDS   GETs in absolute form on connections that stay open
 *   load down    PROXY HOST PORT HELLO MIB                   one tunnel, MIB mebibytes towards the client
 *   load up      PROXY HOST PORT HELLO MIB                   one tunnel, MIB mebibytes towards the origin
 *   load idle    PROXY HOST PORT HELLO COUNT                 COUNT tunnels, silent, until standard input closes
 *
 * PROXY is a port on 127.0.0.1, or 0 to go straight to 127.0.0.1:PORT. HELLO is a file that holds a real ClientHello.
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
#include <time.h>
#include <unistd.h>

enum { REPLY = 1500, BODY = 1024, BUFFER = 1 << 18, MAX_SAMPLES = 1 << 22 };
enum state { CONNECTING, ASKING, WAITING };

struct task {
    int fd;
    enum state state;
    size_t got;       /* octets of the present answer */
    size_t want;      /* octets of the present answer that end it, 0 while its head is not complete */
    unsigned crlf;    /* how much of CRLF CRLF the head has shown */
    double began;
};

static struct sockaddr_in peer;
static char hello[65536], ask[1024], get[1024];
static size_t hello_size, ask_size, get_size;
static int direct, poller;
static unsigned char buffer[BUFFER];
static float *samples;
static long done, failed;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int make_socket(int flags) {
    int fd = socket(AF_INET, SOCK_STREAM | flags, 0), on = 1;
    if (fd < 0) die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void watch(struct task *task, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = task};
    if (epoll_ctl(poller, operation, task->fd, &event) != 0) die("epoll_ctl");
}

static int put(int fd, const void *data, size_t size) {
    return send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static void begin(struct task *task) {
    task->fd = make_socket(SOCK_NONBLOCK);
    task->state = CONNECTING;
    task->got = task->want = 0;
    task->crlf = 0;
    task->began = now();
    if (connect(task->fd, (struct sockaddr *)&peer, sizeof peer) != 0 && errno != EINPROGRESS) die("connect");
    watch(task, EPOLL_CTL_ADD, EPOLLOUT);
}

/* The octets of `data` up to and with the end of a head; 0 where it does not end in there. */
static size_t end_of_head(struct task *task, const unsigned char *data, size_t size) {
    static const char end[] = "\r\n\r\n";
    for (size_t i = 0; i < size; i++) {
        task->crlf = data[i] == end[task->crlf] ? task->crlf + 1 : data[i] == '\r';
        if (task->crlf == 4) {
            task->crlf = 0;
            return i + 1;
        }
    }
    return 0;
}

static int is_200(const unsigned char *data, size_t size) {
    return size >= 12 && memcmp(data, "HTTP/1.", 7) == 0 && memcmp(data + 8, " 200", 4) == 0;
}

static void sample(struct task *task) {
    if (done < MAX_SAMPLES) samples[done] = (float)((now() - task->began) * 1e6);
    done++;
}

/* One event of a tunnel: 0 while it goes on, 1 when it is through, -1 when it failed. */
static int advance_tunnel(struct task *task) {
    if (task->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(task->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) return -1;
        task->state = direct ? WAITING : ASKING;
        if (!(direct ? put(task->fd, hello, hello_size) : put(task->fd, ask, ask_size))) return -1;
        watch(task, EPOLL_CTL_MOD, EPOLLIN);
        return 0;
    }
    ssize_t got = recv(task->fd, buffer, sizeof buffer, 0);
    if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
    if (task->state == ASKING) {
        if (task->got == 0 && !is_200(buffer, (size_t)got)) return -1;
        task->got += (size_t)got;
        if (!end_of_head(task, buffer, (size_t)got)) return task->got > 8192 ? -1 : 0;
        task->state = WAITING;
        task->got = 0;
        return put(task->fd, hello, hello_size) ? 0 : -1;
    }
    task->got += (size_t)got;
    if (task->got < REPLY) return 0;
    sample(task);
    return 1;
}

/* One event of a keep-alive connection: 0 while it goes on, -1 when it failed. */
static int advance_http(struct task *task) {
    if (task->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(task->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) return -1;
        task->state = WAITING;
        watch(task, EPOLL_CTL_MOD, EPOLLIN);
        return put(task->fd, get, get_size) ? 0 : -1;
    }
    ssize_t got = recv(task->fd, buffer, sizeof buffer, 0);
    if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
    if (task->want == 0) {
        if (task->got == 0 && !is_200(buffer, (size_t)got)) return -1;
        size_t head = end_of_head(task, buffer, (size_t)got);
        if (head) task->want = task->got + head + BODY;
    }
    task->got += (size_t)got;
    if (task->want == 0 || task->got < task->want) return 0;
    if (task->got > task->want) return -1;
    sample(task);
    task->got = task->want = 0;
    task->began = now();
    return put(task->fd, get, get_size) ? 0 : -1;
}

static int compare(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void run_many(int (*advance)(struct task *), int concurrency, double seconds) {
    struct task *tasks = calloc((size_t)concurrency, sizeof *tasks);
    samples = malloc(sizeof *samples * MAX_SAMPLES);
    if (!tasks || !samples) die("memory");
    double start = now(), stop = start + seconds;
    for (int i = 0; i < concurrency; i++) begin(&tasks[i]);
    struct epoll_event events[256];
    while (now() < stop) {
        int ready = epoll_wait(poller, events, 256, 100);
        for (int i = 0; i < ready; i++) {
            struct task *task = events[i].data.ptr;
            int result = advance(task);
            if (result == 0) continue;
            failed += result < 0;
            close(task->fd);
            if (failed > 10000) die("too many failures");
            begin(task);
        }
    }
    double took = now() - start;
    long kept = done < MAX_SAMPLES ? done : MAX_SAMPLES;
    qsort(samples, (size_t)kept, sizeof *samples, compare);
    printf("{\"count\": %ld, \"failed\": %ld, \"seconds\": %.4f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n", done, failed, took,
           kept ? (double)samples[kept / 2] : 0.0, kept ? (double)samples[kept * 99 / 100] : 0.0);
}

static void take(int fd, size_t size) {
    while (size) {
        ssize_t got = recv(fd, buffer, size < BUFFER ? size : BUFFER, 0);
        if (got <= 0) die("the tunnel ended early");
        size -= (size_t)got;
    }
}

static void give(int fd, const void *data, size_t size) {
    for (const char *at = data; size;) {
        ssize_t put_now = send(fd, at, size, MSG_NOSIGNAL);
        if (put_now <= 0) die("the tunnel ended early");
        at += put_now;
        size -= (size_t)put_now;
    }
}

/* A tunnel whose ClientHello has been answered; blocking. */
static int open_tunnel(void) {
    int fd = make_socket(0);
    if (connect(fd, (struct sockaddr *)&peer, sizeof peer) != 0) die("connect");
    if (!direct) {
        struct task task = {.fd = fd};
        give(fd, ask, ask_size);
        for (size_t head = 0;; head++) {
            unsigned char octet;
            if (head > 8192 || recv(fd, &octet, 1, 0) != 1) die("no answer to CONNECT");
            if (head == 9 && octet != '2') die("CONNECT refused");
            if (end_of_head(&task, &octet, 1)) break;
        }
    }
    give(fd, hello, hello_size);
    take(fd, REPLY);
    return fd;
}

static void run_bulk(char order, uint64_t size) {
    unsigned char head[9] = {(unsigned char)order};
    for (int i = 0; i < 8; i++) head[8 - i] = (unsigned char)(size >> (8 * i));
    int fd = open_tunnel();
    double start = now();
    give(fd, head, sizeof head);
    if (order == 'D') take(fd, size);
    else {
        for (uint64_t left = size; left;) {
            size_t part = left < BUFFER ? (size_t)left : BUFFER;
            give(fd, buffer, part);
            left -= part;
        }
        take(fd, 1);
    }
    double took = now() - start;
    printf("{\"bytes\": %llu, \"seconds\": %.5f}\n", (unsigned long long)size, took);
}

static void run_idle(int count) {
    for (int i = 0; i < count; i++) open_tunnel();
    printf("{\"held\": %d}\n", count);
    fflush(stdout);
    char octet;
    while (read(0, &octet, 1) > 0) continue;
}

static void prepare(char **argv) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    signal(SIGPIPE, SIG_IGN);
    direct = atoi(argv[2]) == 0;
    peer.sin_family = AF_INET;
    peer.sin_port = htons((uint16_t)atoi(direct ? argv[4] : argv[2]));
    peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ask_size = (size_t)snprintf(ask, sizeof ask, "CONNECT %s:%s HTTP/1.1\r\nHost: %s:%s\r\n\r\n", argv[3], argv[4], argv[3], argv[4]);
    char origin[512];
    snprintf(origin, sizeof origin, "http://%s:%s", argv[3], argv[4]);
    get_size = (size_t)snprintf(get, sizeof get, "GET %s/ HTTP/1.1\r\nHost: %s:%s\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n",
                                direct ? "" : origin, argv[3], argv[4]);
    if (strcmp(argv[5], "-") != 0) {
        FILE *file = fopen(argv[5], "rb");
        if (!file) die(argv[5]);
        hello_size = fread(hello, 1, sizeof hello, file);
        fclose(file);
    }
    poller = epoll_create1(0);
}

int main(int argc, char **argv) {
    if (argc < 7) {
        fprintf(stderr, "usage: load tunnels|http|down|up|idle PROXY HOST PORT HELLO NUMBER [SECONDS]\n");
        return 2;
    }
    prepare(argv);
    const char *mode = argv[1];
    long number = atol(argv[6]);
    double seconds = argc > 7 ? atof(argv[7]) : 1.0;
    if (strcmp(mode, "tunnels") == 0) run_many(advance_tunnel, (int)number, seconds);
    else if (strcmp(mode, "http") == 0) run_many(advance_http, (int)number, seconds);
    else if (strcmp(mode, "down") == 0) run_bulk('D', (uint64_t)number << 20);
    else if (strcmp(mode, "up") == 0) run_bulk('U', (uint64_t)number << 20);
    else if (strcmp(mode, "idle") == 0) run_idle((int)number);
    else return 2;
    return 0;
}
