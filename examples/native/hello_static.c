#include <unistd.h>

int main(void) {
    return write(1, "no libraries\n", 13) == 13 ? 0 : 1;
}
