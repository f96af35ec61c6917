// items: 53
// about: No terminal can be had, taken over, typed into or hung up.
// expect: exited 0
// stdout: held
// walls: seccomp root

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

int main(void) {
    int works = 0;
    char letter = 'x';
    struct termios modes;
    const char *names[] = {"/dev/tty", "/dev/console", "/dev/ptmx", "/dev/pts/0", "/dev/pts/ptmx", "/dev/tty0", "/dev/vcs"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        works |= (open(names[i], O_RDWR) >= 0) << i;
    for (int number = 0; number < 3; number++) {
        works |= (ioctl(number, TIOCSTI, &letter) == 0) << 8;
        works |= (ioctl(number, TIOCLINUX, &letter) == 0) << 9;
        works |= (ioctl(number, TIOCSCTTY, 1) == 0) << 10;
        works |= (tcgetattr(number, &modes) == 0) << 11;
    }
    works |= (vhangup() == 0) << 12;
    printf(works ? "BROKEN: ways %#x\n" : "held\n", works);
}
