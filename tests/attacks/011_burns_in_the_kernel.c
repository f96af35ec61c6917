// items: 11
// about: Time that is spent in system calls, page faults and forks counts towards the CPU limit.
// expect: cpu_limit
// walls: cgroup_cpu
// limits: cpu_ms=500 wall_ms=10000

#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    for (;;) {
        char *room = mmap(0, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (int i = 0; i < 64; i++) room[i * 4096] = 1;
        munmap(room, 64 * 4096);
        for (int i = 0; i < 100; i++) close(open("/dev/null", O_RDONLY));
        pid_t child = fork();
        if (child == 0) _exit(0);
        waitpid(child, 0, 0);
    }
}
