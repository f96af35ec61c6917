#include <signal.h>

int main(void) {
    signal(SIGXCPU, SIG_IGN);
    for (volatile int number = 0;; number++)
        ;
}
