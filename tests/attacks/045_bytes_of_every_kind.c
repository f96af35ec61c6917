// items: 45
// about: NUL bytes, invalid UTF-8 and escape sequences come out byte for byte.
// expect: exited 0
// stdout: \x00\xff\xfe\xc0\x80\x1b[31m\x1b]0;title\x07\x0d\xed\xa0\x80held

#include <unistd.h>

int main(void) {
    static const char bytes[] = "\0\xff\xfe\xc0\x80\x1b[31m\x1b]0;title\a\r\xed\xa0\x80held";
    return write(1, bytes, sizeof bytes - 1) == (ssize_t)(sizeof bytes - 1) ? 0 : 1;
}
