// items: 19
// about: One byte in each two mebibytes fills page tables, which count as memory too.
// expect: memory_limit
// walls: cgroup_memory
// limits: memory_bytes=33554432 cpu_ms=10000 wall_ms=20000

#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>

int main(void) {
    const size_t step = 2 << 20, count = 16384;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *room = mmap(0, step * count, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (room == MAP_FAILED) {
        puts("BROKEN: the attack itself does not work");
        return 1;
    }
    madvise(room, step * count, MADV_NOHUGEPAGE);
    // Reading maps the page of zeros: only the tables cost anything.
    volatile char sum = 0;
    for (size_t i = 0; i < count; i++) sum += room[i * step];
    puts("BROKEN: 64 MiB of page tables");
}
