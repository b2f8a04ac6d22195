/* What the recorded children of edges_descriptors.rs do: numbers of descriptors that come to mean something else. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void need(int ok, const char *what) {
    if (!ok) { perror(what); _exit(1); }
}

/* write(2) through the symbol, of eight bytes: what an eventfd takes. */
static void put(int fd, const char *text) {
    char bytes[8] = "        ";
    memcpy(bytes, text, strlen(text));
    need(write(fd, bytes, 8) == 8, text);
}

/* A close that no symbol sees, and no trap either. */
static void shut(int fd) { need(syscall(SYS_close, fd) == 0, "close"); }

static int made(const char *name) {
    int fd = open(name, O_CREAT | O_RDWR | O_APPEND, 0644);
    need(fd >= 0, name);
    return fd;
}

/* Room for a message with one descriptor. */
struct parcel {
    char room[CMSG_SPACE(sizeof(int))], byte;
    struct iovec one;
    struct mmsghdr all;
};
static void wrap(struct parcel *p) {
    *p = (struct parcel){.one = {&p->byte, 1}};
    p->all.msg_hdr = (struct msghdr){.msg_iov = &p->one, .msg_iovlen = 1, .msg_control = p->room,
                                     .msg_controllen = sizeof p->room};
}

/* Sends a descriptor; gives the socket at which it waits to be received, with a high number. */
static int sent(int fd) {
    int pair[2];
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    struct parcel p;
    wrap(&p);
    struct cmsghdr *c = CMSG_FIRSTHDR(&p.all.msg_hdr);
    c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    need(sendmsg(pair[0], &p.all.msg_hdr, 0) == 1, "sendmsg");
    int above = fcntl(pair[1], F_DUPFD, 100);
    shut(pair[0]), shut(pair[1]);
    return above;
}

/* Receives it: it gets the lowest free number. No other call has given that number away meanwhile. */
static int received(int above, int many, int raw) {
    struct parcel p;
    wrap(&p);
    if (many && raw) need(syscall(SYS_recvmmsg, above, &p.all, 1, 0, 0) == 1, "recvmmsg");
    else if (many) need(recvmmsg(above, &p.all, 1, 0, 0) == 1, "recvmmsg");
    else if (raw) need(syscall(SYS_recvmsg, above, &p.all.msg_hdr, 0) == 1, "recvmsg");
    else need(recvmsg(above, &p.all.msg_hdr, 0) == 1, "recvmsg");
    int fd;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&p.all.msg_hdr)), sizeof fd);
    return fd;
}

static int listener(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path + 1, 90, "unplug-descriptors-%d", getpid());
    int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    need(bind(server, (void *)&name, sizeof name) == 0 && listen(server, 4) == 0, "listen");
    need(connect(client, (void *)&name, sizeof name) == 0, "connect");
    return server;
}

/* Makes the number `want`, which is the lowest free one, mean something else, in the way `how`. */
static int make(const char *how, int want, int g, int pipe_end, int waiting, int server, int pty, int low) {
    int two[2];
#define IS(name) (strcmp(how, name) == 0)
    if (IS("socket")) { need(socketpair(AF_UNIX, SOCK_DGRAM, 0, two) == 0, how); return two[0]; }
    if (IS("socketpair-raw")) { need(syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, two) == 0, how); return two[0]; }
    /* The end to write to is the second: a lower number is free for the first. */
    if (IS("pipe")) { shut(low); need(pipe(two) == 0, how); return two[1]; }
    if (IS("pipe2-raw")) { shut(low); need(syscall(SYS_pipe2, two, 0) == 0, how); return two[1]; }
    if (IS("dup")) return dup(g);
    if (IS("dup-raw")) return syscall(SYS_dup, g);
    if (IS("dup2")) return dup2(g, want);
    if (IS("dup2-raw")) return syscall(SYS_dup2, g, want);
    if (IS("dup3")) return dup3(g, want, O_CLOEXEC);
    if (IS("dupfd")) return fcntl(g, F_DUPFD, 0);
    if (IS("dupfd-cloexec")) return fcntl(g, F_DUPFD_CLOEXEC, 0);
    if (IS("dup-of-pipe")) return dup(pipe_end);
    if (IS("eventfd")) return eventfd(0, 0);
    if (IS("memfd")) return memfd_create("m", 0);
    if (IS("memfd-raw")) return syscall(SYS_memfd_create, "m", 0);
    if (IS("accept")) return accept(server, 0, 0);
    if (IS("accept4")) return accept4(server, 0, 0, SOCK_CLOEXEC);
    if (IS("recvmsg")) return received(waiting, 0, 0);
    if (IS("recvmsg-raw")) return received(waiting, 0, 1);
    if (IS("recvmmsg")) return received(waiting, 1, 0);
    if (IS("recvmmsg-raw")) return received(waiting, 1, 1);
    if (IS("open")) return open("h", O_CREAT | O_WRONLY, 0644);
    if (IS("creat")) return creat("h", 0644);
    if (IS("openat2")) {
        struct open_how wanted = {.flags = O_CREAT | O_WRONLY, .mode = 0644};
        return syscall(SYS_openat2, AT_FDCWD, "h", &wanted, sizeof wanted);
    }
    if (IS("mkstemp")) { char name[] = "h-XXXXXX"; int fd = mkstemp(name); unlink(name); return fd; }
    if (IS("fopen")) return fileno(fopen("h", "w"));
    if (IS("null")) return open("/dev/null", O_WRONLY);
    if (IS("terminal")) return ioctl(pty, TIOCGPTPEER, O_RDWR | O_NOCTTY);
    need(0, "no such way");
    return -1;
}

/* f through a number, the number anew in some way, the new thing through the number, f by another one. */
static void reuse(const char *how) {
    int two[2], low = open("/dev/null", O_RDONLY);
    need(low >= 0 && pipe(two) == 0, "pipe");
    int g = made("g"), pipe_end = two[1], waiting = sent(pipe_end), server = listener(), pty = open("/dev/ptmx", O_RDWR | O_NOCTTY);
    if (pty >= 0) unlockpt(pty);
    int n = made("f"), other = dup(n);
    put(n, "first");
    put(n, "second");
    if (strcmp(how, "dup2") && strcmp(how, "dup2-raw") && strcmp(how, "dup3")) shut(n);
    int again = make(how, n, g, pipe_end, waiting, server, pty, low);
    if (again != n) fprintf(stderr, "%s: %d, not %d\n", how, again, n);
    need(again == n, how);
    signal(SIGPIPE, SIG_IGN);
    char bytes[8] = "\1\0\0\0\0\0\0";
    (void)!write(n, bytes, 8);
    put(other, "third");
}

/* The reverse: a pipe's number becomes a recorded file's. */
static void pipe_then_file(void) {
    int two[2];
    need(pipe(two) == 0, "pipe");
    put(two[1], "piped");
    shut(two[1]);
    int n = made("f");
    need(n == two[1], "number");
    put(n, "first");
}

static void socket_then_file(void) {
    int two[2];
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, two) == 0, "socketpair");
    put(two[1], "sent");
    need(syscall(SYS_close_range, two[1], two[1], 0) == 0, "close_range");
    int n = made("f");
    need(n == two[1], "number");
    put(n, "first");
}

/* What fails is no one's: a closed number, and one that was opened again for reading. */
static void failing(void) {
    int n = made("f");
    made("r");
    put(n, "first");
    shut(n);
    need(write(n, "closed", 6) == -1, "closed");
    need(open("r", O_RDONLY) == n, "number");
    need(write(n, "reading", 7) == -1, "reading");
    need(fsync(n) == 0, "fsync");
}

/* O_APPEND comes and goes while the descriptor is remembered; in another process too. */
static void flags(void) {
    int n = open("f", O_CREAT | O_RDWR, 0644), other = open("f", O_WRONLY);
    put(n, "aaaaaaaa");
    need(pwrite(n, "b", 1, 0) == 1, "pwrite");
    pid_t child = fork();
    if (child == 0) { need(fcntl(n, F_SETFL, O_APPEND) == 0, "F_SETFL"); _exit(0); }
    need(waitpid(child, 0, 0) == child, "wait");
    need(pwrite(n, "c", 1, 0) == 1, "pwrite"); /* Linux appends */
    need(fcntl(n, F_SETFL, 0) == 0, "F_SETFL");
    need(pwrite(n, "d", 1, 1) == 1, "pwrite");
    need(pwrite(other, "e", 1, 2) == 1, "pwrite");
}

/* After fork each process gives the number its own meaning. */
static void forked(void) {
    int n = made("f");
    put(n, "parent");
    pid_t child = fork();
    if (child == 0) {
        shut(n);
        need(made("g") == n, "number");
        put(n, "child");
        _exit(0);
    }
    need(waitpid(child, 0, 0) == child, "wait");
    put(n, "again");
}

/* A child of vfork shares the memory, but not the descriptors. */
static void vforked(int calls_exec) {
    int g = made("g"), n = made("f");
    put(n, "parent");
    pid_t child = vfork();
    if (child == 0) {
        dup2(g, n);
        (void)!write(n, "child---", 8);
        if (calls_exec) execl("/nowhere", "nowhere", (char *)0);
        _exit(0);
    }
    need(waitpid(child, 0, 0) == child, "wait");
    put(n, "again");
    put(g, "after");
    put(n, "last");
}

/* A thread gives a number away anew while a child that shares the memory has it still. `turn` says who goes on:
   1 the thread makes the number mean g, 2 and 3 both write, in the order that the role wants. */
static volatile int turn, beside_n, beside_g, child_first;
static void until(int value) { while (turn != value) sched_yield(); }
static void *beside(void *x) {
    until(1);
    need(dup2(beside_g, beside_n) == beside_n, "dup2");
    if (child_first) { turn = 2; until(3); }
    put(beside_n, "thread");
    turn = child_first ? 4 : 2;
    return x;
}
static int beside_child(void *x) {
    turn = 1;
    until(2);
    put(beside_n, "child");
    turn = 3;
    if (child_first) until(4);
    _exit(x != 0);
}
static void share(int by_vfork) {
    static char stack[65536];
    pthread_t t;
    beside_g = made("g"), beside_n = made("f"), child_first = !by_vfork;
    put(beside_n, "parent");
    need(pthread_create(&t, 0, beside, 0) == 0, "thread");
    pid_t child = by_vfork ? vfork() : clone(beside_child, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, 0);
    if (child == 0) beside_child(0);
    int status;
    need(child > 0 && waitpid(child, &status, 0) == child && status == 0, "child");
    pthread_join(t, 0);
}

/* posix_spawn gives its child descriptors; meanwhile and afterwards the parent's stay what they are. */
static void spawned(void) {
    int g = made("g"), n = made("f");
    put(n, "parent");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, g, 1);
    posix_spawn_file_actions_adddup2(&actions, g, n);
    char *args[] = {"sh", "-c", "echo spawned", 0};
    pid_t child;
    need(posix_spawn(&child, "/bin/sh", &actions, 0, args, environ) == 0, "posix_spawn");
    put(n, "again");
    need(waitpid(child, 0, 0) == child, "wait");
    put(n, "last");
}

/* Exec closes one number and keeps another. */
static void executed(const char *self) {
    int n = open("f", O_CREAT | O_RDWR | O_CLOEXEC, 0644), kept = made("kept");
    put(n, "before");
    put(kept, "before");
    char first[12], second[12];
    snprintf(first, 12, "%d", n), snprintf(second, 12, "%d", kept);
    execl(self, self, "after-exec", first, second, (char *)0);
    need(0, "exec");
}

static void after_exec(int n, int kept) {
    need(made("g") == n, "number");
    put(n, "after");
    put(kept, "after");
}

/* A thread with descriptors of its own. */
static int shared_number;
static pthread_barrier_t meet;
static void *unshared(void *x) {
    need(syscall(SYS_close_range, 900, 901, CLOSE_RANGE_UNSHARE) == 0, "close_range");
    shut(shared_number);
    need(made("g") == shared_number, "number");
    put(shared_number, "thread");
    pthread_barrier_wait(&meet);
    pthread_barrier_wait(&meet);
    put(shared_number, "thread2");
    return x;
}
static void unshare_thread(void) {
    shared_number = made("f");
    put(shared_number, "main");
    pthread_t t;
    pthread_barrier_init(&meet, 0, 2);
    need(pthread_create(&t, 0, unshared, 0) == 0, "thread");
    pthread_barrier_wait(&meet);
    put(shared_number, "main2");
    pthread_barrier_wait(&meet);
    pthread_join(t, 0);
    put(shared_number, "main3");
}

/* Threads that open, write, close and reuse each other's numbers all the time. */
static void *churn(void *x) {
    char name[16], line[32];
    int pair[2];
    for (int i = 0; i < 150; i++) {
        snprintf(name, sizeof name, "t%d-%d", (int)(intptr_t)x, i % 3);
        int fd = made(name);
        for (int k = 0; k < 3; k++) {
            int len = snprintf(line, sizeof line, "%d/%d/%d;", (int)(intptr_t)x, i, k);
            need(write(fd, line, len) == len, name);
        }
        shut(fd);
        need(pipe(pair) == 0, "pipe");
        put(pair[1], "not a file");
        shut(pair[0]), shut(pair[1]);
        if (i % 3 == 0) {
            FILE *f = fopen(name, "a"); /* closed inside stdio */
            fprintf(f, "stdio;");
            fclose(f);
        }
    }
    return 0;
}
static void threads(void) {
    pthread_t t[4];
    for (intptr_t i = 0; i < 4; i++) need(pthread_create(&t[i], 0, churn, (void *)i) == 0, "thread");
    for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
}

int main(int count, char **args) {
    const char *role = args[1];
    if (!strcmp(role, "reuse")) reuse(args[2]);
    else if (!strcmp(role, "pipe-then-file")) pipe_then_file();
    else if (!strcmp(role, "socket-then-file")) socket_then_file();
    else if (!strcmp(role, "failing")) failing();
    else if (!strcmp(role, "flags")) flags();
    else if (!strcmp(role, "forked")) forked();
    else if (!strcmp(role, "vforked")) vforked(0);
    else if (!strcmp(role, "vforked-exec-fails")) vforked(1);
    else if (!strcmp(role, "beside-vfork")) share(1);
    else if (!strcmp(role, "beside-clone")) share(0);
    else if (!strcmp(role, "spawned")) spawned();
    else if (!strcmp(role, "executed")) executed(args[0]);
    else if (!strcmp(role, "after-exec")) after_exec(atoi(args[2]), atoi(args[3]));
    else if (!strcmp(role, "unshared")) unshare_thread();
    else if (!strcmp(role, "threads")) threads();
    else return count > 99 ? 0 : 2;
    return 0;
}
