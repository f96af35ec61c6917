//! Signal dispositions: what an exec inherits must not depend on who started us.

/// Sets every signal, the real-time ones included, to its default action. The two that cannot be
/// set have no other.
pub fn default_dispositions() {
    // The kernel's own structure, all zero: SIG_DFL, no flags, no restorer, an empty mask.
    let default = [0_u64; 4];
    for signal in 1..=64_i32 {
        // SAFETY: the kernel reads one sigaction of four words and a mask size of eight bytes; it
        // writes nothing since the old action is not asked for.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                8_usize,
            )
        };
    }
}

/// Ignores these signals.
pub fn ignore(signals: &[i32]) {
    for signal in signals {
        // SAFETY: SIG_IGN runs no code of ours, so no demand on a handler applies.
        unsafe { libc::signal(*signal, libc::SIG_IGN) };
    }
}
