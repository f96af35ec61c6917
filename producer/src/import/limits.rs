//! What codejail's limits become: pure arithmetic.

use jailfleet::limits::Limits;
use jailfleet::units::ByteCount;

use super::read::{Amount, LimitSet};

/// codejail's `DEFAULT_LIMITS`, for what the settings leave out.
pub(super) const DEFAULTS: Effective = Effective {
    cpu: Amount::Of(1000),
    realtime: Amount::Of(1000),
    vmem: Amount::Off,
    fsize: Amount::Of(0),
    nproc: Amount::Of(15),
};

/// What a run has of memory beside its address space and its scratch files: the pages in which the
/// kernel keeps books of it.
const KERNEL_BYTES: u64 = 16 << 20;

/// The most that the configuration takes as an address space: as good as none.
const NO_ADDRESS_SPACE: u64 = 16 << 40;

/// All of codejail's limits, as they are in force for one context.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Effective {
    cpu: Amount,
    realtime: Amount,
    vmem: Amount,
    fsize: Amount,
    nproc: Amount,
}

impl Effective {
    /// What `set` names on top of this.
    pub(super) fn with(self, set: &LimitSet) -> Self {
        Self {
            cpu: set.cpu.unwrap_or(self.cpu),
            realtime: set.realtime.unwrap_or(self.realtime),
            vmem: set.vmem.unwrap_or(self.vmem),
            fsize: set.fsize.unwrap_or(self.fsize),
            nproc: set.nproc.unwrap_or(self.nproc),
        }
    }
}

/// What a run may use, by our names; those that codejail's limits decide on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) cpu_ms: u64,
    pub(super) wall_ms: u64,
    pub(super) memory_bytes: u64,
    pub(super) address_space_bytes: Option<u64>,
    pub(super) file_bytes: u64,
    pub(super) disk_bytes: u64,
    pub(super) processes: u64,
}

impl Row {
    pub(super) fn of(limits: &Limits) -> Self {
        Self {
            cpu_ms: limits.cpu_ms.get(),
            wall_ms: limits.wall_ms.get(),
            memory_bytes: limits.memory_bytes.get(),
            address_space_bytes: limits.address_space_bytes.map(ByteCount::get),
            file_bytes: limits.file_bytes.get(),
            disk_bytes: limits.disk_bytes.get(),
            processes: limits.processes.get(),
        }
    }

    /// The greater of the two, number by number.
    fn or_more(self, other: Self) -> Self {
        Self {
            cpu_ms: self.cpu_ms.max(other.cpu_ms),
            wall_ms: self.wall_ms.max(other.wall_ms),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            address_space_bytes: self.address_space_bytes,
            file_bytes: self.file_bytes.max(other.file_bytes),
            disk_bytes: self.disk_bytes.max(other.disk_bytes),
            processes: self.processes.max(other.processes),
        }
    }

    /// The numbers by the names that the configuration has for them.
    pub(super) const fn named(&self) -> [(&'static str, Option<u64>); 7] {
        [
            ("cpu_ms", Some(self.cpu_ms)),
            ("wall_ms", Some(self.wall_ms)),
            ("memory_bytes", Some(self.memory_bytes)),
            ("address_space_bytes", self.address_space_bytes),
            ("file_bytes", Some(self.file_bytes)),
            ("disk_bytes", Some(self.disk_bytes)),
            ("processes", Some(self.processes)),
        ]
    }
}

/// The limits of a runtime that nobody has changed, and their ceiling.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground {
    pub(super) limits: Row,
    pub(super) ceiling: Row,
}

impl Ground {
    /// The same with a ceiling under which all of `contexts` fit.
    pub(super) fn raised_for(self, contexts: &[Effective]) -> Self {
        let asked = contexts.iter().map(|limits| self.row(limits));
        Self {
            ceiling: asked.fold(self.ceiling, Row::or_more),
            ..self
        }
    }

    /// What `limits` are here. What is off there becomes the ceiling: nothing is unlimited here.
    pub(super) fn row(&self, limits: &Effective) -> Row {
        let top = &self.ceiling;
        let or = |amount: Amount, top: u64| match amount {
            Amount::Off => top,
            Amount::Of(amount) => amount,
        };
        let disk_bytes = match limits.fsize {
            Amount::Off => top.disk_bytes,
            // Room for one file of that size beside what is usually there.
            Amount::Of(bytes) => self
                .limits
                .disk_bytes
                .max(bytes.saturating_add(self.limits.disk_bytes / 2)),
        };
        let (memory_bytes, address_space_bytes) = match limits.vmem {
            Amount::Off => (top.memory_bytes, None),
            // Python has to meet its own limit first, to raise MemoryError: the kernel's killing, which
            // looks at the whole run with its scratch files, comes after it.
            Amount::Of(bytes) => {
                let beside = disk_bytes.saturating_add(KERNEL_BYTES);
                (bytes.saturating_add(beside), Some(bytes))
            }
        };
        Row {
            cpu_ms: or(limits.cpu, top.cpu_ms),
            wall_ms: or(limits.realtime, top.wall_ms),
            memory_bytes,
            address_space_bytes,
            file_bytes: or(limits.fsize, top.file_bytes),
            disk_bytes,
            processes: or(limits.nproc, top.processes),
        }
    }
}

/// What a context's profile has to say where the runtime says `base`.
pub(super) fn differences(base: &Row, row: &Row) -> Vec<(&'static str, u64)> {
    let pairs = base.named().into_iter().zip(row.named());
    pairs
        .filter(|((_, below), (_, here))| below != here)
        .map(|(_, (name, here))| (name, here.unwrap_or(NO_ADDRESS_SPACE)))
        .collect()
}

/// The same with what is equal, so that nothing comes from an embedded profile of that name.
pub(super) fn complete(base: &Row, row: &Row) -> Vec<(&'static str, u64)> {
    let without = base.address_space_bytes.map(|_named| NO_ADDRESS_SPACE);
    let named = row.named().into_iter();
    named
        .filter_map(|(name, value)| Some((name, value.or(without)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn ground() -> Ground {
        let defaults = jailfleet::settings::worker_settings(None, &[], &[]).expect("they are good");
        let python = jailfleet::job::Name::parse("python").expect("a name");
        let (_, python) = defaults.runtime(&python).expect("it is configured");
        Ground {
            limits: Row::of(&python.limits),
            ceiling: Row::of(&python.ceiling.0),
        }
    }

    #[test]
    fn codejails_defaults_let_nothing_be_written_and_leave_memory_to_the_ceiling() {
        let row = ground().row(&DEFAULTS);
        assert_eq!((row.cpu_ms, row.wall_ms, row.processes), (1000, 1000, 15));
        assert_eq!((row.file_bytes, row.disk_bytes), (0, 16 * MIB));
        let memory = (row.memory_bytes, row.address_space_bytes);
        assert_eq!(memory, (ground().ceiling.memory_bytes, None));
    }

    #[test]
    fn python_meets_its_address_space_before_the_run_meets_its_memory() {
        let set = LimitSet {
            vmem: Some(Amount::Of(512 * MIB)),
            fsize: Some(Amount::Of(10 * MIB)),
            ..LimitSet::default()
        };
        let row = ground().row(&DEFAULTS.with(&set));
        assert_eq!(row.address_space_bytes, Some(512 * MIB));
        assert_eq!((row.file_bytes, row.disk_bytes), (10 * MIB, 18 * MIB));
        assert!(row.memory_bytes > 512 * MIB + row.disk_bytes);
    }

    #[test]
    fn what_is_off_becomes_the_ceiling_which_no_context_is_above() {
        let off = DEFAULTS.with(&LimitSet {
            cpu: Some(Amount::Off),
            realtime: Some(Amount::Off),
            nproc: Some(Amount::Off),
            fsize: Some(Amount::Off),
            ..LimitSet::default()
        });
        let much = DEFAULTS.with(&LimitSet {
            cpu: Some(Amount::Of(900_000)),
            vmem: Some(Amount::Of(4096 * MIB)),
            ..LimitSet::default()
        });
        let raised = ground().raised_for(&[off, much]);
        let (off, much) = (raised.row(&off), raised.row(&much));
        assert_eq!((off.cpu_ms, much.cpu_ms), (900_000, 900_000));
        assert_eq!(off.wall_ms, ground().ceiling.wall_ms);
        assert_eq!(off.processes, ground().ceiling.processes);
        assert_eq!(off.file_bytes, ground().ceiling.file_bytes);
        assert_eq!(raised.ceiling.memory_bytes, much.memory_bytes);
        assert_eq!(off.memory_bytes, much.memory_bytes);
    }

    #[test]
    fn a_context_without_an_address_space_says_so_where_the_runtime_has_one() {
        let base = DEFAULTS.with(&LimitSet {
            vmem: Some(Amount::Of(64 * MIB)),
            ..LimitSet::default()
        });
        let off = base.with(&LimitSet {
            vmem: Some(Amount::Off),
            ..LimitSet::default()
        });
        let ground = ground();
        let said = differences(&ground.row(&base), &ground.row(&off));
        let memory = ("memory_bytes", ground.ceiling.memory_bytes);
        assert_eq!(said, [memory, ("address_space_bytes", NO_ADDRESS_SPACE)]);
    }
}
