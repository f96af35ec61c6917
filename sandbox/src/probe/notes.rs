//! What is no wall and yet worth knowing of a host.

use super::trial;
use std::io;

/// What this host's keeper should know, each with what to do about it.
pub(super) fn all() -> Vec<String> {
    let core_pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern");
    [
        out_of_memory(trial::protected_from_oom().is_ok()),
        core_helper(core_pattern.unwrap_or_default().trim()),
        uncounted(&trial::listening()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn out_of_memory(protected: bool) -> Option<String> {
    (!protected).then(|| {
        "when the host's memory runs out, the kernel may kill worker or warden: give them \
         CAP_SYS_RESOURCE, or set OOMScoreAdjust=-900 in the unit"
            .to_owned()
    })
}

fn core_helper(pattern: &str) -> Option<String> {
    let helper = pattern.strip_prefix('|')?.split(' ').next()?;
    Some(format!(
        "the kernel starts {helper} at a crash; jails keep it from being started for theirs by a core \
         limit of 1, which they cannot change"
    ))
}

fn uncounted(listening: &io::Result<()>) -> Option<String> {
    let error = listening.as_ref().err()?;
    if error.raw_os_error() == Some(libc::EBUSY) {
        return Some(
            "unknown system calls are refused and not counted: whoever started us, a container's runtime \
             most likely, listens to system calls already, and the kernel allows one listener alone"
                .to_owned(),
        );
    }
    Some(format!("unknown system calls cannot be counted: {error}"))
}

#[cfg(test)]
mod tests {
    use super::{core_helper, out_of_memory, uncounted};
    use std::io;

    #[test]
    fn an_outer_listener_is_named_as_what_keeps_unknown_calls_from_being_counted() {
        assert_eq!(uncounted(&Ok(())), None);
        let busy = Err(io::Error::from_raw_os_error(libc::EBUSY));
        let note = uncounted(&busy).expect("a note");
        assert!(note.contains("listens to system calls already"), "{note}");
    }

    #[test]
    fn a_core_helper_is_named_and_a_plain_pattern_is_no_news() {
        let note = core_helper("|/usr/share/apport/apport -p%p -s%s").expect("a note");
        assert!(
            note.contains("starts /usr/share/apport/apport at"),
            "{note}"
        );
        assert_eq!(core_helper("core"), None);
    }

    #[test]
    fn only_who_is_not_protected_is_told_how_to_be() {
        assert_eq!(out_of_memory(true), None);
        let note = out_of_memory(false).expect("a note");
        assert!(note.contains("OOMScoreAdjust"), "{note}");
    }
}
