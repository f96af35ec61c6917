// items: 76 77
// about: No call that mounts, moves, clones or opens file systems, old or new, and no file handle is allowed.
// expect: exited 0
// stdout: held
// walls: seccomp

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

static int broken;

static void must_be_refused(const char *name, long answer) {
    if (answer < 0 && errno == EPERM) return;
    printf("BROKEN: %s answered %ld (%d)\n", name, answer, errno);
    broken = 1;
}

int main(void) {
    // Numbers that every architecture shares.
    enum { OPEN_TREE = 428, MOVE_MOUNT, FSOPEN, FSCONFIG, FSMOUNT, FSPICK, MOUNT_SETATTR = 442, STATMOUNT = 457, LISTMOUNT, OPEN_TREE_ATTR = 467 };
    must_be_refused("mount tmpfs", mount("x", "tmp", "tmpfs", 0, ""));
    must_be_refused("mount proc", mount("x", "tmp", "proc", 0, ""));
    must_be_refused("bind", mount("/", "tmp", 0, MS_BIND | MS_REC, 0));
    must_be_refused("remount", mount(0, "/usr", 0, MS_REMOUNT | MS_BIND, 0));
    must_be_refused("share", mount(0, "/", 0, MS_SHARED | MS_REC, 0));
    must_be_refused("unmount", umount2("/usr", MNT_DETACH));
    must_be_refused("pivot_root", syscall(SYS_pivot_root, ".", "."));
    must_be_refused("chroot", chroot("tmp"));
    must_be_refused("open_tree", syscall(OPEN_TREE, AT_FDCWD, "/usr", 1));
    must_be_refused("open_tree_attr", syscall(OPEN_TREE_ATTR, AT_FDCWD, "/usr", 1, 0, 0));
    must_be_refused("move_mount", syscall(MOVE_MOUNT, AT_FDCWD, "/usr", AT_FDCWD, "tmp", 0));
    must_be_refused("fsopen", syscall(FSOPEN, "tmpfs", 0));
    must_be_refused("fsconfig", syscall(FSCONFIG, 0, 0, 0, 0, 0));
    must_be_refused("fsmount", syscall(FSMOUNT, 0, 0, 0));
    must_be_refused("fspick", syscall(FSPICK, AT_FDCWD, "/", 0));
    must_be_refused("mount_setattr", syscall(MOUNT_SETATTR, AT_FDCWD, "/usr", 0, 0, 0));
    must_be_refused("statmount", syscall(STATMOUNT, 0, 0, 0, 0));
    must_be_refused("listmount", syscall(LISTMOUNT, 0, 0, 0, 0));
    struct file_handle *handle = calloc(1, sizeof *handle + 128);
    int mount_id;
    handle->handle_bytes = 128;
    must_be_refused("name_to_handle_at", name_to_handle_at(AT_FDCWD, "/usr", handle, &mount_id, 0));
    // The handle of a root that many file systems have: inode 2.
    handle->handle_bytes = 8;
    handle->handle_type = 1;
    handle->f_handle[0] = 2;
    must_be_refused("open_by_handle_at", open_by_handle_at(AT_FDCWD, handle, O_RDONLY));
    if (!broken) puts("held");
}
