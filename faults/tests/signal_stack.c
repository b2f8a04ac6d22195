/* What the recorded children of signal_stack.rs do: threads with an alternate stack of Rust's size. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { ROOM = 8192, PAINT = 0xA5, DEEP = 12000 };

static void need(int ok, const char *what) {
    if (!ok) { perror(what); _exit(1); }
}

/* A call that no symbol sees. */
static long raw(long nr, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long ret;
    __asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}
#define CALL(nr, ...) CALL_(nr, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define CALL_(nr, a, b, c, d, e, f, ...) \
    raw(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define MUST(...) need(CALL(__VA_ARGS__) >= 0, #__VA_ARGS__)

static unsigned char *alternate;

/* An alternate stack with a guard page below, as Rust's threads have one. */
static void arm(size_t room) {
    alternate = mmap(0, 4096 + room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(alternate != MAP_FAILED, "mmap");
    need(mprotect(alternate, 4096, PROT_NONE) == 0, "mprotect");
    alternate += 4096;
    memset(alternate, PAINT, room);
    stack_t stack = {.ss_sp = alternate, .ss_size = room};
    need(sigaltstack(&stack, 0) == 0, "sigaltstack");
}

/* How much of it has been used. */
static size_t used(size_t room) {
    size_t at = 0;
    while (at < room && alternate[at] == PAINT) at++;
    return room - at;
}

/* Every kind of call that is recorded, scheduled or served, by the long way. */
static void calls(void) {
    int fds[2], pair[2];
    long fd = CALL(SYS_openat, AT_FDCWD, "f", O_CREAT | O_RDWR, 0644);
    need(fd >= 0, "openat");
    struct iovec many[20];
    for (int i = 0; i < 20; i++) many[i] = (struct iovec){"abcd", 4};
    MUST(SYS_write, fd, "0123456789", 10);
    MUST(SYS_pwrite64, fd, "x", 1, 3);
    MUST(SYS_writev, fd, many, 20);
    MUST(SYS_pwritev2, fd, many, 2, 0, 0, RWF_DSYNC);
    MUST(SYS_fsync, fd);
    MUST(SYS_fdatasync, fd);
    MUST(SYS_sync_file_range, fd, 0, 0, 2);
    MUST(SYS_ftruncate, fd, 5);
    MUST(SYS_fallocate, fd, 0, 0, 4096);
    MUST(SYS_fcntl, fd, F_SETFL, O_APPEND);
    long copy = CALL(SYS_fcntl, fd, F_DUPFD, 50);
    MUST(SYS_dup3, fd, 60, 0);
    MUST(SYS_mkdir, "d", 0755);
    MUST(SYS_mkdirat, AT_FDCWD, "d/e", 0755);
    MUST(SYS_mknodat, AT_FDCWD, "d/n", S_IFREG | 0644, 0);
    MUST(SYS_linkat, AT_FDCWD, "f", AT_FDCWD, "d/e/l", 0);
    MUST(SYS_symlinkat, "f", AT_FDCWD, "d/s");
    MUST(SYS_renameat2, AT_FDCWD, "d/e/l", AT_FDCWD, "d/m", 0);
    MUST(SYS_rename, "d/m", "d/k");
    long other = CALL(SYS_open, "d/k", O_RDWR | O_TRUNC);
    need(other >= 0, "open");
    MUST(SYS_copy_file_range, fd, 0, other, 0, 5, 0);
    MUST(SYS_truncate, "d/k", 2);
    long map = CALL(SYS_mmap, 0, 4096, PROT_READ, MAP_SHARED, fd, 0);
    MUST(SYS_munmap, map, 4096);
    MUST(SYS_unlinkat, AT_FDCWD, "d/k", 0);
    MUST(SYS_unlink, "d/s");
    MUST(SYS_unlink, "d/n");
    MUST(SYS_rmdir, "d/e");
    MUST(SYS_pipe2, fds, 0);
    MUST(SYS_write, fds[1], "p", 1);
    MUST(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, pair);
    MUST(SYS_sendto, pair[0], "s", 1, 0, 0, 0);
    struct iovec one = {"m", 1};
    struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1};
    MUST(SYS_sendmsg, pair[0], &message, 0);
    MUST(SYS_eventfd2, 0, 0);
    MUST(SYS_ioctl, fds[0], FIONREAD, &(int){0});
    MUST(SYS_syncfs, fd);
    MUST(SYS_sync);
    CALL(SYS_io_uring_setup, 1, 0);
    uint64_t set = 0;
    MUST(SYS_rt_sigprocmask, SIG_SETMASK, 0, &set, 8);
    /* Nobody moves a virtual clock here. */
    struct timespec now, soon = {0, 0};
    MUST(SYS_clock_gettime, CLOCK_REALTIME, &now);
    MUST(SYS_nanosleep, &soon, 0);
    MUST(SYS_futex, &(int){0}, 1, 1, 0);
    MUST(SYS_sched_yield);
    MUST(SYS_close, copy);
    MUST(SYS_close, other);
    MUST(SYS_close, fd);
}

static void *make_calls(void *unused) {
    arm(ROOM);
    calls();
    size_t n = used(ROOM);
    if (n) fprintf(stderr, "%zu bytes of the alternate stack\n", n);
    return (void *)n;
}

static int full[2];
static volatile pid_t blocked;
static volatile sig_atomic_t handled;

/* A handler that wants no alternate stack, and more than there is on one. */
static void deep(int signal) {
    volatile char room[DEEP];
    for (int i = 0; i < DEEP; i += 64) room[i] = (char)signal;
    handled = room[64] == signal;
}

static void *block(void *unused) {
    char bytes[4096] = {0};
    arm(ROOM);
    need(fcntl(full[1], F_SETFL, O_NONBLOCK) == 0, "fcntl");
    while (CALL(SYS_write, full[1], bytes, sizeof bytes) > 0) {}
    need(fcntl(full[1], F_SETFL, 0) == 0, "fcntl");
    blocked = (pid_t)syscall(SYS_gettid);
    need(CALL(SYS_write, full[1], bytes, sizeof bytes) == sizeof bytes, "the blocked write");
    return 0;
}

/* A signal finds a thread in a call that blocks. */
static void interrupt(void) {
    struct sigaction action = {.sa_handler = deep, .sa_flags = SA_RESTART};
    need(sigaction(SIGUSR1, &action, 0) == 0 && pipe(full) == 0, "set up");
    pthread_t thread;
    need(pthread_create(&thread, 0, block, 0) == 0, "pthread_create");
    char path[64], state = 0, bytes[4096];
    while (!blocked) sched_yield();
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", blocked);
    while (state != 'S') {
        FILE *stat = fopen(path, "r");
        need(stat && fscanf(stat, "%*d %*s %c", &state) == 1, path);
        fclose(stat);
    }
    pthread_kill(thread, SIGUSR1);
    while (!handled) sched_yield();
    need(read(full[0], bytes, sizeof bytes) == sizeof bytes, "read");
    pthread_join(thread, 0);
}

static ucontext_t back, there;

/* Calls no function of the C library: the loader needs more room than this to find one. */
static void on_small_stack(void) {
    long fd = CALL(SYS_openat, AT_FDCWD, "g", O_CREAT | O_RDWR, 0644);
    MUST(SYS_write, fd, "from a small stack", 18);
}

/* As Go does: signals go to a large alternate stack, since the stacks of its routines are small. */
static void *go(void *asked) {
    arm(32768);
    struct sigaction action = {.sa_handler = SIG_DFL, .sa_flags = SA_ONSTACK};
    need(sigaction(*(int *)asked, &action, 0) == 0, "sigaction");
    unsigned char *small = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(small != MAP_FAILED && mprotect(small, 4096, PROT_NONE) == 0, "a small stack");
    getcontext(&there);
    there.uc_stack.ss_sp = small + 4096;
    there.uc_stack.ss_size = 1024;
    there.uc_link = &back;
    makecontext(&there, on_small_stack, 0);
    swapcontext(&back, &there);
    struct stat written;
    need(stat("g", &written) == 0 && written.st_size == 18, "what was written");
    return 0;
}

static int in_thread(void *(*body)(void *), void *argument) {
    pthread_t thread;
    void *result;
    need(pthread_create(&thread, 0, body, argument) == 0, "pthread_create");
    pthread_join(thread, &result);
    return result != 0;
}

int main(int argc, char **argv) {
    need(argc == 2, "argument");
    if (!strcmp(argv[1], "calls")) return in_thread(make_calls, 0);
    if (!strcmp(argv[1], "interrupt")) return interrupt(), 0;
    if (!strcmp(argv[1], "go")) return in_thread(go, &(int){SIGSYS});
    if (!strcmp(argv[1], "go-library")) return in_thread(go, &(int){SIGURG});
    return 1;
}
