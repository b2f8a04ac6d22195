// Threads, locks, a condition, a fork, a pipe, sleeps: everything appends to files, in an order that only the
// scheduler decides.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int log_fd, done, timed_out;

static void say(const char *who, int n) {
    char text[64];
    int len = snprintf(text, sizeof text, "%s%d\n", who, n);
    if (write(log_fd, text, len) != len) abort();
}

static void *worker(void *arg) {
    long id = (long)arg;
    char name[8] = {'w', '0' + id, '-', 0};
    for (int i = 0; i < 5; i++) {
        pthread_mutex_lock(&lock);
        say(name, i);
        if (i == 2) fdatasync(log_fd);
        pthread_mutex_unlock(&lock);
        if (i == 3) usleep(1000 * id);
    }
    pthread_mutex_lock(&lock);
    done++;
    pthread_cond_broadcast(&cond);
    pthread_mutex_unlock(&lock);
    return arg;
}

static void *waiter(void *arg) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 5;
    pthread_mutex_t own = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t never = PTHREAD_COND_INITIALIZER;
    pthread_mutex_lock(&own);
    int r = pthread_cond_timedwait(&never, &own, &until);
    timed_out = r == ETIMEDOUT;
    say("waiter", r);
    return arg;
}

int main(void) {
    log_fd = open("log", O_CREAT | O_WRONLY | O_APPEND, 0644);
    int fds[2];
    if (log_fd < 0 || pipe(fds)) return 2;
    pthread_t t[4], w;
    for (long i = 0; i < 3; i++) pthread_create(&t[i], 0, worker, (void *)i);
    pthread_create(&w, 0, waiter, 0);
    pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        for (int i = 0; i < 4; i++) {
            say("child", i);
            if (i == 1) usleep(500);
        }
        if (write(fds[1], "bye", 3) != 3) _exit(3);
        _exit(7);
    }
    close(fds[1]);
    pthread_mutex_lock(&lock);
    while (done < 3) pthread_cond_wait(&cond, &lock);
    pthread_mutex_unlock(&lock);
    say("all", done);
    char text[8] = {0};
    int n = read(fds[0], text, sizeof text);
    say("pipe", n);
    n = read(fds[0], text, sizeof text);
    say("eof", n);
    int status;
    waitpid(child, &status, 0);
    say("status", WEXITSTATUS(status));
    for (int i = 0; i < 3; i++) {
        void *ret;
        pthread_join(t[i], &ret);
        say("joined", (long)ret);
    }
    pthread_join(w, 0);
    fsync(log_fd);
    close(log_fd);
    return timed_out ? 0 : 1;
}
