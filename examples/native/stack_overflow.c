/* volatile: the compiler must neither drop the array nor turn the recursion into a loop. */
static int deeper(int level) {
    volatile char room[4096];
    room[0] = (char)level;
    return level < 0 ? 0 : deeper(level + 1) + room[0];
}

int main(void) {
    return deeper(0);
}
