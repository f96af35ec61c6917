// items: 18
// about: System V memory that is attached to nobody counts all the same.
// expect: memory_limit
// walls: cgroup_memory ipcns
// limits: memory_bytes=67108864

#include <stdio.h>
#include <string.h>
#include <sys/shm.h>

int main(void) {
    for (int i = 0; i < 256; i++) {
        int id = shmget(IPC_PRIVATE, 1 << 20, IPC_CREAT | 0600);
        char *room = id < 0 ? (void *)-1 : shmat(id, 0, 0);
        if (room == (void *)-1) {
            puts("BROKEN: the attack itself does not work");
            return 1;
        }
        memset(room, 1, 1 << 20);
        shmdt(room);
    }
    puts("BROKEN: 256 MiB");
}
