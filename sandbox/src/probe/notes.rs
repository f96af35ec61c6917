//! What is no wall and yet worth knowing of a host.

use super::trial;

/// What this host's keeper should know, each with what to do about it.
pub(super) fn all() -> Vec<String> {
    let core_pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern");
    [
        out_of_memory(trial::protected_from_oom().is_ok()),
        core_helper(core_pattern.unwrap_or_default().trim()),
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

#[cfg(test)]
mod tests {
    use super::{core_helper, out_of_memory};

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
