// items: 78
// about: No device can be made, and none that leads into memory, disks or the kernel is there.
// expect: exited 0
// stdout: held
// walls: root caps

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

int main(void) {
    int broken = 0;
    const char *places[] = {"tmp/device", "/dev/shm/device", "/dev/device"};
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
        broken |= mknod(places[i], S_IFCHR | 0666, makedev(1, 1)) == 0;
        broken |= mknod(places[i], S_IFBLK | 0666, makedev(8, 0)) == 0;
        broken |= mknod(places[i], S_IFCHR | 0666, makedev(1, 3)) == 0;
    }
    if (broken) puts("BROKEN: a device was made");
    const char *names[] = {"mem", "kmem", "port", "kmsg", "kvm", "fuse", "loop-control", "loop0", "sda", "vda", "nvme0n1",
        "uinput", "vhost-vsock", "vsock", "net/tun", "mapper/control", "cuse", "userfaultfd", "binder", "rtc", "hwrng", "mqueue", "log"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        char path[64];
        snprintf(path, sizeof path, "/dev/%s", names[i]);
        if (open(path, O_RDONLY) >= 0 || (errno != ENOENT && errno != EACCES)) {
            printf("BROKEN: %s (%d)\n", path, errno);
            broken = 1;
        }
    }
    if (!broken) puts("held");
}
