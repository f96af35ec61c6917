#include <stdlib.h>
#include <string.h>

int main(void) {
    for (;;) {
        char *volatile more = malloc(1 << 20);
        if (more == 0)
            return 1;
        memset(more, 1, 1 << 20);
    }
}
