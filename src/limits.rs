//! Limits of a run: what a job asks for, what a worker allows, and what is in force.

use crate::rejection::{Rejection, RejectionCode};
use crate::units::{ByteCount, Count, FileBytes, Millis};
use serde::{Deserialize, Serialize};

/// The limits in force for one run. Every field is set: no value means unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// CPU time, summed over all processes of the run.
    pub cpu_ms: Millis,
    /// Wall time from the program's start.
    pub wall_ms: Millis,
    /// Memory of all processes and of the scratch files together (cgroup).
    pub memory_bytes: ByteCount,
    /// Address space of each process (RLIMIT_AS). `None`: memory is bounded by the cgroup alone.
    pub address_space_bytes: Option<ByteCount>,
    /// How large one file may grow (RLIMIT_FSIZE).
    pub file_bytes: FileBytes,
    /// All scratch files together.
    pub disk_bytes: ByteCount,
    /// Inodes in the scratch.
    pub disk_files: Count,
    /// Tasks (processes and threads) of the program at one time, our init not counted.
    pub processes: Count,
    /// Open descriptors of each process (RLIMIT_NOFILE).
    pub open_files: Count,
    /// stdout and stderr together.
    pub output_bytes: ByteCount,
    /// Stack of the main thread (RLIMIT_STACK).
    pub stack_bytes: ByteCount,
}

/// The limits that somebody named: a job's `limits`, a profile, a runtime's defaults. Fields left
/// out are taken from the next layer below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LimitsRequest {
    /// CPU time in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// Wall time in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
    /// Memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Address space of each process in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_space_bytes: Option<u64>,
    /// Largest file in bytes; 0: no file may grow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
    /// All scratch files together, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// Inodes in the scratch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_files: Option<u64>,
    /// Tasks at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// Open descriptors of each process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// stdout and stderr together, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// Stack of the main thread in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_bytes: Option<u64>,
}

/// The most that a worker grants for a runtime. A request above it is refused, never lowered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling(pub Limits);

/// A number with a unit that can be asked for.
trait Measure: Copy + Ord {
    /// The least value that has a meaning.
    const LEAST: u64;

    fn measure(value: u64) -> Option<Self>;
    fn number(self) -> u64;
}

macro_rules! measures_from_one {
    ($($name:ident),*) => {
        $(impl Measure for $name {
            const LEAST: u64 = 1;

            fn measure(value: u64) -> Option<Self> {
                Self::new(value)
            }

            fn number(self) -> u64 {
                self.get()
            }
        })*
    };
}
measures_from_one!(Millis, ByteCount, Count);

impl Measure for FileBytes {
    const LEAST: u64 = 0;

    fn measure(value: u64) -> Option<Self> {
        Some(Self::new(value))
    }

    fn number(self) -> u64 {
        self.get()
    }
}

/// One field's layer: what is asked for where something is, else what lies below. What lies below
/// comes from the worker's own config and is cut to the ceiling; what a stranger asks for is not.
fn layer<T: Measure>(
    field: &str,
    asked: Option<u64>,
    below: T,
    ceiling: T,
) -> Result<T, Rejection> {
    let Some(asked) = asked else {
        return Ok(below.min(ceiling));
    };
    let allowed = format!("{} to {}", T::LEAST, ceiling.number());
    let Some(value) = T::measure(asked) else {
        let message = format!("limits.{field}: {asked} means nothing; ask for {allowed}");
        return Err(Rejection::new(RejectionCode::BadLimit, message));
    };
    if value > ceiling {
        let message = format!(
            "limits.{field}: {asked} is above the ceiling of this runtime; ask for {allowed}"
        );
        return Err(Rejection::new(RejectionCode::AboveCeiling, message));
    }
    Ok(value)
}

/// The address space may be unlimited below (the cgroup bounds the memory then), but not where the
/// ceiling sets one.
fn layer_address_space(
    asked: Option<u64>,
    below: Option<ByteCount>,
    ceiling: Option<ByteCount>,
) -> Result<Option<ByteCount>, Rejection> {
    match (asked, below, ceiling) {
        (None, None, ceiling) => Ok(ceiling),
        (None, Some(below), None) => Ok(Some(below)),
        (Some(_), _, _) | (None, Some(_), Some(_)) => {
            let most = ceiling.unwrap_or(ByteCount::MAX);
            layer("address_space_bytes", asked, below.unwrap_or(most), most).map(Some)
        }
    }
}

impl LimitsRequest {
    /// Layers what is named here over `below` (a profile, a runtime's defaults).
    ///
    /// # Errors
    /// `bad_limit` for a zero where zero has no meaning, `above_ceiling` for a value above
    /// `ceiling`; the message names the field, the value and what is allowed.
    pub fn over(&self, below: &Limits, ceiling: &Ceiling) -> Result<Limits, Rejection> {
        let top = &ceiling.0;
        macro_rules! layered {
            ($field:ident) => {
                layer(stringify!($field), self.$field, below.$field, top.$field)?
            };
        }
        Ok(Limits {
            cpu_ms: layered!(cpu_ms),
            wall_ms: layered!(wall_ms),
            memory_bytes: layered!(memory_bytes),
            address_space_bytes: layer_address_space(
                self.address_space_bytes,
                below.address_space_bytes,
                top.address_space_bytes,
            )?,
            file_bytes: layered!(file_bytes),
            disk_bytes: layered!(disk_bytes),
            disk_files: layered!(disk_files),
            processes: layered!(processes),
            open_files: layered!(open_files),
            output_bytes: layered!(output_bytes),
            stack_bytes: layered!(stack_bytes),
        })
    }

    /// The limits, where all of them are named (`address_space_bytes` may be left out).
    ///
    /// # Errors
    /// The name of the first field that is missing or zero.
    pub fn complete(&self) -> Result<Limits, &'static str> {
        macro_rules! named {
            ($field:ident) => {
                self.$field
                    .and_then(Measure::measure)
                    .ok_or(stringify!($field))?
            };
        }
        let address_space_bytes = match self.address_space_bytes {
            Some(bytes) => Some(ByteCount::new(bytes).ok_or("address_space_bytes")?),
            None => None,
        };
        Ok(Limits {
            cpu_ms: named!(cpu_ms),
            wall_ms: named!(wall_ms),
            memory_bytes: named!(memory_bytes),
            address_space_bytes,
            file_bytes: named!(file_bytes),
            disk_bytes: named!(disk_bytes),
            disk_files: named!(disk_files),
            processes: named!(processes),
            open_files: named!(open_files),
            output_bytes: named!(output_bytes),
            stack_bytes: named!(stack_bytes),
        })
    }
}

impl From<Limits> for LimitsRequest {
    fn from(limits: Limits) -> Self {
        Self {
            cpu_ms: Some(limits.cpu_ms.get()),
            wall_ms: Some(limits.wall_ms.get()),
            memory_bytes: Some(limits.memory_bytes.get()),
            address_space_bytes: limits.address_space_bytes.map(ByteCount::get),
            file_bytes: Some(limits.file_bytes.get()),
            disk_bytes: Some(limits.disk_bytes.get()),
            disk_files: Some(limits.disk_files.get()),
            processes: Some(limits.processes.get()),
            open_files: Some(limits.open_files.get()),
            output_bytes: Some(limits.output_bytes.get()),
            stack_bytes: Some(limits.stack_bytes.get()),
        }
    }
}

impl Limits {
    /// Whether no limit is above the ceiling.
    #[must_use]
    pub fn within(&self, ceiling: &Ceiling) -> bool {
        let top = &ceiling.0;
        let address_space = match (self.address_space_bytes, top.address_space_bytes) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(mine), Some(top)) => mine <= top,
        };
        address_space
            && self.cpu_ms <= top.cpu_ms
            && self.wall_ms <= top.wall_ms
            && self.memory_bytes <= top.memory_bytes
            && self.file_bytes <= top.file_bytes
            && self.disk_bytes <= top.disk_bytes
            && self.disk_files <= top.disk_files
            && self.processes <= top.processes
            && self.open_files <= top.open_files
            && self.output_bytes <= top.output_bytes
            && self.stack_bytes <= top.stack_bytes
    }
}

#[cfg(test)]
mod tests;
