//! Numbers to bytes and back: one cursor that writes a datagram, one that reads it.

use super::{Build, DATAGRAM_BYTES, Extras, ProtocolError};
use jailfleet::evidence::{End, Stage, StageTimes, UnknownCalls};
use jailfleet::limits::Limits;
use jailfleet::units::{ByteCount, Count, FileBytes, Millis};
use std::time::Duration;

/// One encoded message.
pub type Datagram = [u8; DATAGRAM_BYTES];

/// Appends numbers to a datagram. Messages are far shorter than a datagram, so that it never fills.
pub(crate) struct Pen {
    bytes: Datagram,
    at: usize,
}

impl Pen {
    pub(crate) fn new(magic: [u8; 4], kind: u16) -> Self {
        let pen = Self {
            bytes: [0; DATAGRAM_BYTES],
            at: 0,
        };
        pen.raw(&magic).u16(kind)
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        let end = self.at.saturating_add(bytes.len());
        if let Some(place) = self.bytes.get_mut(self.at..end) {
            place.copy_from_slice(bytes);
        }
        self.at = end;
        self
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.raw(&value.to_le_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    pub(crate) fn i32(self, value: i32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.raw(&value.to_le_bytes())
    }

    /// Whole nanoseconds; 584 years fit.
    pub(crate) fn span(self, value: Duration) -> Self {
        self.u64(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn maybe(self, value: Option<u64>) -> Self {
        self.u16(u16::from(value.is_some())).u64(value.unwrap_or(0))
    }

    pub(crate) fn limits(self, limits: &Limits) -> Self {
        self.u64(limits.cpu_ms.get())
            .u64(limits.wall_ms.get())
            .u64(limits.memory_bytes.get())
            .u64(limits.address_space_bytes.map_or(0, ByteCount::get))
            .u64(limits.file_bytes.get())
            .u64(limits.disk_bytes.get())
            .u64(limits.disk_files.get())
            .u64(limits.processes.get())
            .u64(limits.open_files.get())
            .u64(limits.output_bytes.get())
            .u64(limits.stack_bytes.get())
    }

    pub(crate) fn extras(self, extras: Extras) -> Self {
        self.u16(extras.number())
    }

    pub(super) fn build(self, build: Build) -> Self {
        self.u16(build.slot).u32(build.number)
    }

    pub(crate) fn end(self, end: End) -> Self {
        match end {
            End::Exited(code) => self.u16(1).i32(code).i32(0),
            End::Signaled(signal) => self.u16(2).i32(signal).i32(0),
            End::StageFailed { stage, errno } => {
                self.u16(3).i32(i32::from(stage.number())).i32(errno)
            }
            End::Lost => self.u16(4).i32(0).i32(0),
            End::Unstarted => self.u16(5).i32(0).i32(0),
        }
    }

    pub(crate) fn stages(self, stages: &StageTimes) -> Self {
        stages.iter().fold(self, |pen, (_, took)| pen.span(took))
    }

    pub(crate) fn calls(self, calls: UnknownCalls) -> Self {
        let numbers = calls.iter().chain(std::iter::repeat(0));
        numbers.take(UnknownCalls::MOST).fold(self, Self::u32)
    }

    pub(crate) fn done(self) -> Datagram {
        debug_assert!(
            self.at <= DATAGRAM_BYTES,
            "no message is longer than a datagram"
        );
        self.bytes
    }
}

/// Takes numbers out of a datagram.
pub(crate) struct Eye<'a> {
    rest: &'a [u8],
    /// What kind of message this is.
    pub(crate) kind: u16,
}

impl<'a> Eye<'a> {
    pub(crate) fn open(magic: [u8; 4], bytes: &'a [u8]) -> Result<Self, ProtocolError> {
        if bytes.len() != DATAGRAM_BYTES {
            return Err(ProtocolError::NotOurs);
        }
        let rest = bytes.strip_prefix(&magic).ok_or(ProtocolError::NotOurs)?;
        let mut eye = Self { rest, kind: 0 };
        eye.kind = eye.u16()?;
        Ok(eye)
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        let (head, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(ProtocolError::BadField)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, ProtocolError> {
        self.take().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ProtocolError> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, ProtocolError> {
        self.take().map(i32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, ProtocolError> {
        self.take().map(u64::from_le_bytes)
    }

    pub(crate) fn span(&mut self) -> Result<Duration, ProtocolError> {
        self.u64().map(Duration::from_nanos)
    }

    pub(crate) fn maybe(&mut self) -> Result<Option<u64>, ProtocolError> {
        match (self.u16()?, self.u64()?) {
            (0, 0) => Ok(None),
            (1, value) => Ok(Some(value)),
            _ => Err(ProtocolError::BadField),
        }
    }

    pub(crate) fn limits(&mut self) -> Result<Limits, ProtocolError> {
        const BAD: ProtocolError = ProtocolError::BadField;
        Ok(Limits {
            cpu_ms: Millis::new(self.u64()?).ok_or(BAD)?,
            wall_ms: Millis::new(self.u64()?).ok_or(BAD)?,
            memory_bytes: ByteCount::new(self.u64()?).ok_or(BAD)?,
            address_space_bytes: ByteCount::new(self.u64()?),
            file_bytes: FileBytes::new(self.u64()?),
            disk_bytes: ByteCount::new(self.u64()?).ok_or(BAD)?,
            disk_files: Count::new(self.u64()?).ok_or(BAD)?,
            processes: Count::new(self.u64()?).ok_or(BAD)?,
            open_files: Count::new(self.u64()?).ok_or(BAD)?,
            output_bytes: ByteCount::new(self.u64()?).ok_or(BAD)?,
            stack_bytes: ByteCount::new(self.u64()?).ok_or(BAD)?,
        })
    }

    pub(crate) fn extras(&mut self) -> Result<Extras, ProtocolError> {
        Extras::from(self.u16()?)
    }

    pub(super) fn build(&mut self) -> Result<Build, ProtocolError> {
        Ok(Build {
            slot: self.u16()?,
            number: self.u32()?,
        })
    }

    pub(crate) fn end(&mut self) -> Result<End, ProtocolError> {
        match (self.u16()?, self.i32()?, self.i32()?) {
            (1, code @ 0..=255, 0) => Ok(End::Exited(code)),
            (2, signal @ 1..=64, 0) => Ok(End::Signaled(signal)),
            (3, stage, errno) => {
                let stage = u16::try_from(stage).ok().and_then(Stage::from_u16);
                let stage = stage.ok_or(ProtocolError::BadField)?;
                Ok(End::StageFailed { stage, errno })
            }
            (4, 0, 0) => Ok(End::Lost),
            (5, 0, 0) => Ok(End::Unstarted),
            _ => Err(ProtocolError::BadField),
        }
    }

    pub(crate) fn stages(&mut self) -> Result<StageTimes, ProtocolError> {
        let mut stages = StageTimes::default();
        for stage in Stage::ALL {
            stages.note(*stage, self.span()?);
        }
        Ok(stages)
    }

    pub(crate) fn calls(&mut self) -> Result<UnknownCalls, ProtocolError> {
        let mut calls = UnknownCalls::NONE;
        let mut numbers = [0; UnknownCalls::MOST];
        for number in &mut numbers {
            *number = self.u32()?;
            calls.note(*number);
        }
        // One spelling only: no number twice, no gap.
        let spelled = calls.iter().chain(std::iter::repeat(0));
        let same = spelled.zip(numbers).all(|(told, number)| told == number);
        same.then_some(calls).ok_or(ProtocolError::BadField)
    }

    /// The message, if nothing follows it.
    pub(crate) fn done<T>(self, message: T) -> Result<T, ProtocolError> {
        let clean = self.rest.iter().all(|byte| *byte == 0);
        clean.then_some(message).ok_or(ProtocolError::BadField)
    }
}
