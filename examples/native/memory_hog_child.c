#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    if (fork() == 0) {
        /* Bounded, in case that nothing else bounds it here. */
        for (int taken = 0; taken < 512; taken++) {
            char *volatile more = malloc(1 << 20);
            if (more == 0)
                return 1;
            memset(more, 1, 1 << 20);
        }
        return 0;
    }
    wait(0);
    return 0;
}
