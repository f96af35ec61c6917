// items: 41
// about: Standard output and standard error share one budget, also where they are filled by turns.
// expect: output_limit
// limits: wall_ms=10000

#include <string.h>
#include <unistd.h>

int main(void) {
    static char bytes[4096];
    memset(bytes, 'x', sizeof bytes);
    for (;;)
        for (int stream = 1; stream <= 2; stream++)
            if (write(stream, bytes, sizeof bytes) < 0) return 1;
}
