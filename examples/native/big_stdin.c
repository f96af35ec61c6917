#include <stdio.h>

int main(void) {
    int letter;
    while ((letter = getchar()) != EOF)
        putchar(letter);
    return fflush(stdout) == 0 ? 0 : 1;
}
