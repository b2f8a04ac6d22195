// Waits of every kind between threads and processes: signals, file locks, shared and robust locks, cancellation.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int log_fd;
static volatile int hits;
struct shared { pthread_mutex_t lock, robust; sem_t sem; int count; };
static struct shared *shared;

static void say(const char *what, int n) {
    char text[80];
    int len = snprintf(text, sizeof text, "%s %d\n", what, n);
    if (write(log_fd, text, len) != len) abort();
}
static void check(int ok, const char *what) { if (!ok) { say(what, errno); _exit(50); } }
static void on_signal(int s) { (void)s; hits++; }
static void handle(int s, int flags) {
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = flags};
    sigaction(s, &a, 0);
}
static void reap(pid_t pid, int want) {
    int status;
    check(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == want, "reap");
}

static void *sender(void *x) { usleep(100); pthread_kill(*(pthread_t *)x, SIGUSR1); return 0; }

static void signals(void) {
    pthread_t self = pthread_self(), t;
    int fds[2];
    char c;
    check(!pipe(fds), "pipe");
    handle(SIGUSR1, 0);
    pthread_create(&t, 0, sender, &self);
    check(read(fds[0], &c, 1) == -1 && errno == EINTR && hits == 1, "interrupted read");
    pthread_join(t, 0);
    handle(SIGUSR1, SA_RESTART);
    pthread_create(&t, 0, sender, &self);
    pid_t pid = fork();
    if (!pid) { usleep(1000); _exit(write(fds[1], "x", 1) != 1); }
    check(read(fds[0], &c, 1) == 1 && hits == 2, "restarted read");
    pthread_join(t, 0);
    reap(pid, 0);
    sigset_t set, old, none;
    sigemptyset(&none);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, &old);
    pthread_create(&t, 0, sender, &self);
    struct timespec limit = {5, 0};
    check(sigtimedwait(&set, 0, &limit) == SIGUSR1 && hits == 2, "sigtimedwait");
    check(sigtimedwait(&set, 0, &limit) == -1 && errno == EAGAIN, "sigtimedwait at its end");
    pthread_join(t, 0);
    pthread_create(&t, 0, sender, &self);
    check(sigsuspend(&none) == -1 && hits == 3, "sigsuspend");
    pthread_join(t, 0);
    sigprocmask(SIG_SETMASK, &old, 0);
    say("signals", hits);
}

static void locks(void) {
    int fd = open("lock", O_CREAT | O_RDWR, 0644);
    pid_t pid[3];
    for (int i = 0; i < 3; i++) {
        if ((pid[i] = fork())) continue;
        int own = open("lock", O_RDWR);
        check(!flock(own, LOCK_EX), "flock");
        say("flock", i);
        usleep(50);
        say("unlock", i);
        flock(own, LOCK_UN);
        struct flock whole = {.l_type = F_WRLCK};
        check(!fcntl(own, F_SETLKW, &whole), "F_SETLKW");
        say("locked", i);
        sched_yield();
        say("unlocks", i);
        _exit(i);
    }
    for (int i = 0; i < 3; i++) reap(pid[i], i);
    close(fd);
}

static void processes(void) {
    pid_t pid[3];
    for (int i = 0; i < 3; i++) {
        if ((pid[i] = fork())) continue;
        for (int n = 0; n < 3; n++) {
            pthread_mutex_lock(&shared->lock);
            int before = shared->count;
            say("shared", i);
            shared->count = before + 1;
            pthread_mutex_unlock(&shared->lock);
        }
        sem_post(&shared->sem);
        if (i == 0) { pthread_mutex_lock(&shared->robust); usleep(300); raise(SIGKILL); }
        _exit(0);
    }
    for (int i = 0; i < 3; i++) sem_wait(&shared->sem);
    check(shared->count == 9, "count");
    usleep(100);
    int r = pthread_mutex_lock(&shared->robust);
    say("robust", r);
    check(r == EOWNERDEAD || r == 0, "robust");
    for (int i = 0, status; i < 3; i++) waitpid(pid[i], &status, 0);
}

static void cleanup(void *x) { (void)x; say("cancelled", 1); }
static void *endless(void *x) {
    pthread_cleanup_push(cleanup, 0);
    for (;;) pause();
    pthread_cleanup_pop(0);
    return x;
}
static void *server(void *x) {
    int s = accept(*(int *)x, 0, 0);
    char text[8];
    int n = recv(s, text, sizeof text, 0);
    send(s, text, n, 0);
    close(s);
    return 0;
}
static void threads(void) {
    pthread_t t;
    void *ret;
    pthread_create(&t, 0, endless, 0);
    usleep(10);
    pthread_cancel(t);
    pthread_join(t, &ret);
    check(ret == PTHREAD_CANCELED, "cancel");
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "sock"};
    int s = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0), e = eventfd(0, 0);
    check(!bind(s, (void *)&a, sizeof a) && !listen(s, 5), "listen");
    pthread_create(&t, 0, server, &s);
    usleep(10);
    char text[8];
    check(!connect(c, (void *)&a, sizeof a) && send(c, "abc", 3, 0) == 3, "connect");
    check(recv(c, text, 8, 0) == 3 && recv(c, text, 8, 0) == 0, "echo");
    pthread_join(t, 0);
    check(eventfd_write(e, 3) == 0, "eventfd");
    say("threads", 0);
    FILE *p = popen("echo from the shell; exit 3", "r");
    char line[40] = "";
    check(p && fgets(line, sizeof line, p), "popen");
    say(line, WEXITSTATUS(pclose(p)));
}

static void *last(void *x) { usleep(10000); say("last", 0); exit(0); return x; }

int main(void) {
    log_fd = open("log", O_CREAT | O_WRONLY | O_APPEND, 0644);
    shared = mmap(0, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&shared->lock, &a);
    pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&shared->robust, &a);
    sem_init(&shared->sem, 1, 0);
    signals();
    locks();
    processes();
    threads();
    pthread_t t;
    pthread_create(&t, 0, last, 0);
    pthread_detach(t);
    pthread_exit(0);
}
