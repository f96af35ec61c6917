// items: 18
// about: No POSIX message queue can be made, so that none can hold memory or outlive its run.
// expect: exited 0
// stdout: held
// walls: rlimits

#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>

int main(void) {
    mqd_t queue = mq_open("/left", O_CREAT | O_RDWR, 0600, 0);
    puts(queue == (mqd_t)-1 ? "held" : "BROKEN: a queue was made");
}
