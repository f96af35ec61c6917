#include <errno.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
    for (;;) {
        switch (fork()) {
        case -1:
            puts(errno == EAGAIN ? "contained" : "refused for another reason");
            return 0;
        case 0:
            /* The children stay: ending them is the jail's work. */
            for (;;)
                pause();
        }
    }
}
