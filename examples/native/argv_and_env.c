#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    printf("%d: %s\n", argc, argv[1]);
    puts(getenv("GREETING"));
    return 0;
}
