#include <stdio.h>
#include <unistd.h>

int main(void) {
    puts("leaving");
    fflush(stdout);
    if (fork() == 0) {
        setsid();
        if (fork() == 0)
            for (;;)
                pause();
    }
    return 0;
}
