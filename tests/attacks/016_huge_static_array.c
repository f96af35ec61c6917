// items: 16
// about: An array that costs nothing in the executable counts once it is touched.
// expect: memory_limit
// walls: cgroup_memory
// limits: memory_bytes=67108864

#include <stdio.h>
#include <string.h>

static char huge[1 << 28];

int main(void) {
    memset(huge, 1, sizeof huge);
    printf("BROKEN: %d\n", huge[sizeof huge - 1]);
}
