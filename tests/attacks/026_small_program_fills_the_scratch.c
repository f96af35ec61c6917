// items: 26
// about: Memory that belongs to no process, filled by a program smaller than the init, still kills the program and not the init.
// expect: memory_limit
// walls: cgroup_memory scratch landlock
// limits: memory_bytes=33554432 disk_bytes=134217728 file_bytes=134217728

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
    static const char zeros[65536];
    // A lower score would make the init the larger victim; the kernel must refuse it.
    int score = open("/proc/self/oom_score_adj", O_WRONLY);
    if (score >= 0 && write(score, "0", 1) == 1) puts("BROKEN: the score was lowered");
    int file = open("/dev/shm/fill", O_CREAT | O_WRONLY, 0600);
    for (int i = 0; i < 1600; i++)
        if (write(file, zeros, sizeof zeros) <= 0) break;
    puts("BROKEN: 100 MiB");
}
