//! Numbers of the system calls that the policy names.

/// What a name means on this architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    /// This call.
    Here(u32),
    /// A call that only other architectures have.
    Elsewhere,
    /// No call at all.
    Nowhere,
}

/// Calls that came after the numbers of all architectures were made the same, and that the crate
/// `libc` does not name everywhere.
const NEW: &[(&str, u32)] = &[
    ("memfd_secret", 447),
    ("statmount", 457),
    ("listmount", 458),
    ("lsm_set_self_attr", 460),
    ("open_tree_attr", 467),
];
/// Calls of other architectures than ours, or older than ours.
const ELSEWHERE: &[&str] = &["stime", "vm86", "vm86old"];

macro_rules! numbers {
    ($name:ident: $($call:ident = $number:ident),* $(,)?) => {
        fn $name(name: &str) -> Option<i64> {
            match name {
                $(stringify!($call) => Some(libc::$number),)*
                _ => None,
            }
        }
    };
}

numbers! { everywhere:
    acct = SYS_acct, add_key = SYS_add_key, adjtimex = SYS_adjtimex, bpf = SYS_bpf,
    chroot = SYS_chroot, clock_adjtime = SYS_clock_adjtime, clock_settime = SYS_clock_settime,
    clone = SYS_clone, clone3 = SYS_clone3, delete_module = SYS_delete_module,
    fanotify_init = SYS_fanotify_init, fanotify_mark = SYS_fanotify_mark,
    finit_module = SYS_finit_module, fsconfig = SYS_fsconfig, fsmount = SYS_fsmount,
    fsopen = SYS_fsopen, fspick = SYS_fspick, init_module = SYS_init_module, ioctl = SYS_ioctl,
    io_uring_enter = SYS_io_uring_enter, io_uring_register = SYS_io_uring_register,
    io_uring_setup = SYS_io_uring_setup, kcmp = SYS_kcmp, kexec_file_load = SYS_kexec_file_load,
    kexec_load = SYS_kexec_load, keyctl = SYS_keyctl, lookup_dcookie = SYS_lookup_dcookie,
    mount = SYS_mount, mount_setattr = SYS_mount_setattr, move_mount = SYS_move_mount,
    name_to_handle_at = SYS_name_to_handle_at, nfsservctl = SYS_nfsservctl,
    open_by_handle_at = SYS_open_by_handle_at, open_tree = SYS_open_tree,
    perf_event_open = SYS_perf_event_open, personality = SYS_personality,
    pidfd_getfd = SYS_pidfd_getfd, pivot_root = SYS_pivot_root,
    process_madvise = SYS_process_madvise, process_vm_readv = SYS_process_vm_readv,
    process_vm_writev = SYS_process_vm_writev, ptrace = SYS_ptrace, quotactl = SYS_quotactl,
    quotactl_fd = SYS_quotactl_fd, reboot = SYS_reboot, request_key = SYS_request_key,
    setdomainname = SYS_setdomainname, sethostname = SYS_sethostname, setns = SYS_setns,
    settimeofday = SYS_settimeofday, socket = SYS_socket, socketpair = SYS_socketpair, swapoff = SYS_swapoff,
    swapon = SYS_swapon, syslog = SYS_syslog, umount2 = SYS_umount2, unshare = SYS_unshare,
    userfaultfd = SYS_userfaultfd, vhangup = SYS_vhangup,
}

macro_rules! only_on_x86_64 {
    ($($call:ident = $number:ident),* $(,)?) => {
        #[cfg(target_arch = "x86_64")]
        numbers! { on_x86_64: $($call = $number),* }

        #[cfg(not(target_arch = "x86_64"))]
        fn on_x86_64(_name: &str) -> Option<i64> {
            None
        }

        const X86_64: &[&str] = &[$(stringify!($call)),*];
    };
}

only_on_x86_64! {
    _sysctl = SYS__sysctl, ioperm = SYS_ioperm, iopl = SYS_iopl, modify_ldt = SYS_modify_ldt,
    sysfs = SYS_sysfs, uselib = SYS_uselib, ustat = SYS_ustat,
}

/// The number of the call named `name`.
pub(super) fn number(name: &str) -> Number {
    let new = || {
        NEW.iter()
            .find(|(new, _)| *new == name)
            .map(|(_, number)| i64::from(*number))
    };
    match everywhere(name).or_else(|| on_x86_64(name)).or_else(new) {
        Some(number) => u32::try_from(number).map_or(Number::Nowhere, Number::Here),
        None if ELSEWHERE.contains(&name) || X86_64.contains(&name) => Number::Elsewhere,
        None => Number::Nowhere,
    }
}
