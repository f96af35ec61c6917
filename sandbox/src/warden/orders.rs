//! What the worker orders, and what it may never say, whoever has taken it over.

use super::{Greeting, Warden, WardenError, descriptors};
use crate::launch::Harness;
use crate::protocol::{Build, DATAGRAM_BYTES, JailPlan, Order};
use crate::sys::message::{Message, receive};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Whether the loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    GoOn,
    Stop,
}

const OTHER_CONFIG: &str = "it read another config than the warden; both must be started with the \
                            same file, flags and environment";

impl Warden {
    /// Follows the worker's next order.
    pub(super) fn hear_worker(&mut self) -> Result<Flow, WardenError> {
        let mut bytes = [0; DATAGRAM_BYTES];
        let message = match receive(self.control.as_fd(), &mut bytes) {
            Ok(message) => message,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Flow::GoOn),
            Err(error) => return Err(WardenError::Wait(error)),
        };
        if message.length == 0 {
            return Ok(Flow::Stop);
        }
        let order = Order::decode(bytes.get(..message.length).unwrap_or_default())?;
        let Message { fds, cut, .. } = message;
        if cut || !order.goes_with(fds.len()) {
            return Err(WardenError::Worker(
                "an order came with wrong descriptors".to_owned(),
            ));
        }
        match order {
            Order::Hello { digest } if digest == self.digest => {
                self.greeting = Greeting::Heard;
            }
            Order::Hello { .. } => return Err(WardenError::Worker(OTHER_CONFIG.to_owned())),
            Order::Run(_) if self.greeting != Greeting::Answered => {
                return Err(WardenError::Worker(
                    "it ordered a run before it was told that the slots stand".to_owned(),
                ));
            }
            Order::Run(plan) => self.start(&plan, &fds)?,
            Order::Kill { slot, run, why } => self.kill(slot, run, why)?,
            Order::Replace { build } => self.replace(build)?,
            Order::Stop => return Ok(Flow::Stop),
        }
        Ok(Flow::GoOn)
    }

    /// What a plan may never say, and which descriptors may not come with it, whoever wrote it.
    pub(super) fn check(&self, plan: &JailPlan, fds: &[OwnedFd]) -> Result<(), WardenError> {
        let launch = self
            .launches
            .get(usize::from(plan.runtime))
            .ok_or_else(|| {
                WardenError::Worker(format!("there is no runtime number {}", plan.runtime))
            })?;
        let ours = |what| WardenError::Worker(format!("run {} {what}", plan.run));
        if plan.extras.harness() && launch.harness == Harness::Never {
            return Err(ours("brings a harness, and its runtime has none"));
        }
        if !plan.limits.within(&launch.ceiling) {
            return Err(ours("asks for more than its ceiling"));
        }
        if !self
            .builds
            .iter()
            .any(|build| build.slot == plan.build.slot)
        {
            return Err(ours("names a slot that is not there"));
        }
        descriptors::check(plan.extras, fds).map_err(|bad| WardenError::Worker(bad.to_string()))
    }

    /// The building of this slot that the worker knows of.
    pub(super) fn building(&self, slot: u16) -> Build {
        let known = self.builds.get(usize::from(slot)).copied();
        known.unwrap_or(Build::first(slot))
    }
}
