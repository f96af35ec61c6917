// items: 24
// about: Recursion without an end runs into the stack limit and nothing else.
// expect: signaled 11
// walls: rlimits
// limits: stack_bytes=1048576

static volatile int never;

static int deeper(int level) {
    volatile char room[4096];
    room[0] = (char)level;
    // The addition keeps the compiler from making a loop of it.
    return never ? level : deeper(level + 1) + room[0];
}

int main(void) { return deeper(0); }
