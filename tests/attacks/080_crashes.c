// items: 80
// about: A crash of the program itself is told by its signal.
// expect: signaled 11

int main(void) {
    *(volatile int *)0 = 1;
}
