// items: 22
// about: No memory can be locked.
// expect: exited 0
// stdout: held
// walls: rlimits

#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>
#include <sys/shm.h>

int main(void) {
    static char room[1 << 16];
    int works = 0;
    works |= mlock(room, sizeof room) == 0;
    works |= (mlock2(room, sizeof room, MLOCK_ONFAULT) == 0) << 1;
    works |= (mlockall(MCL_CURRENT) == 0) << 2;
    works |= (mlockall(MCL_FUTURE | MCL_ONFAULT) == 0) << 3;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED;
    works |= (mmap(0, 1 << 16, PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED) << 4;
    int id = shmget(IPC_PRIVATE, 1 << 16, IPC_CREAT | 0600);
    works |= (id >= 0 && shmctl(id, SHM_LOCK, 0) == 0) << 5;
    printf(works ? "BROKEN: ways %#x\n" : "held\n", works);
}
