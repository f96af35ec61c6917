// items: 28
// about: Address space that is reserved and hardly used is no memory: runtimes that reserve gigabytes must not fail.
// expect: exited 0
// stdout: held
// walls: cgroup_memory
// limits: memory_bytes=67108864

#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>

int main(void) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *room = mmap(0, 1ul << 36, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (room == MAP_FAILED) {
        puts("BROKEN: 64 GiB cannot be reserved");
        return 0;
    }
    room[0] = room[1ul << 35] = 1;
    puts("held");
}
