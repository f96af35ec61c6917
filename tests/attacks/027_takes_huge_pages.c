// items: 27
// about: No page of the host's reserve of huge pages can be taken.
// expect: exited 0
// stdout: held
// walls: rlimits

#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>
#include <sys/shm.h>

int main(void) {
    int works = 0, all = PROT_READ | PROT_WRITE;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
    works |= mmap(0, 2 << 20, all, flags, -1, 0) != MAP_FAILED;
    works |= (mmap(0, 1 << 30, all, flags | (30 << MAP_HUGE_SHIFT), -1, 0) != MAP_FAILED) << 1;
    works |= (shmget(IPC_PRIVATE, 2 << 20, SHM_HUGETLB | IPC_CREAT | 0600) >= 0) << 2;
    int memory = memfd_create("huge", MFD_HUGETLB);
    works |= (memory >= 0 && mmap(0, 2 << 20, all, MAP_SHARED, memory, 0) != MAP_FAILED) << 3;
    printf(works ? "BROKEN: ways %#x\n" : "held\n", works);
}
