// items: 106
// about: Memory, shared memory and files that were never written are zero.
// expect: exited 0
// stdout: held
// walls: scratch

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

static int is_zero(const unsigned long *words, size_t bytes) {
    for (size_t i = 0; i < bytes / sizeof *words; i++)
        if (words[i] != 0) return 0;
    return 1;
}

int main(void) {
    const size_t bytes = 4 << 20;
    int broken = 0;
    void *anonymous = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    broken |= !is_zero(anonymous, bytes);
    // Volatile, or the compiler would know that nobody has written to it.
    void *volatile allocated = malloc(bytes);
    broken |= !is_zero(allocated, bytes) << 1;
    // Where nobody counts shared memory there is none.
    int id = shmget(IPC_PRIVATE, bytes, IPC_CREAT | 0600);
    if (id >= 0) broken |= !is_zero(shmat(id, 0, 0), bytes) << 2;
    const char *names[] = {"tmp/fresh", "/dev/shm/fresh"};
    for (int i = 0; i < 2; i++) {
        int file = open(names[i], O_CREAT | O_RDWR, 0600);
        if (ftruncate(file, (off_t)bytes) != 0) return 1;
        broken |= !is_zero(mmap(0, bytes, PROT_READ, MAP_SHARED, file, 0), bytes) << (3 + i);
        // A hole that ends with one byte, allocated by the file system itself.
        broken |= (posix_fallocate(file, 0, 65536) != 0) << 5;
        broken |= !is_zero(mmap(0, 65536, PROT_READ, MAP_PRIVATE, file, 0), 65536) << 6;
    }
    printf(broken ? "BROKEN: kinds %#x\n" : "held\n", broken);
}
