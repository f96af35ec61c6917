#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    static char block[65536];
    char path[256];
    snprintf(path, sizeof path, "%s/big.bin", getenv("TMPDIR"));
    int file = open(path, O_CREAT | O_WRONLY, 0600);
    while (write(file, block, sizeof block) > 0)
        ;
    puts(strerror(errno));
    puts("still here");
    return 0;
}
