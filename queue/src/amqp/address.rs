//! Where each parcel goes and under which properties. Pure.

use jailfleet::settings::ReplyMode;
use lapin::BasicProperties;

use super::properties;
use crate::envelope::{Origin, Source};
use crate::outbox::Parcel;
use crate::topology::{NEWER_KEY, Names, back_key, lane_key, retry_key, suspect_key};

/// How messages leave.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) names: Names,
    pub(crate) prefix: String,
    pub(crate) reply_mode: ReplyMode,
}

/// A message as it goes to the broker, without its body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Addressed {
    pub(crate) exchange: String,
    pub(crate) key: String,
    pub(crate) properties: BasicProperties,
}

impl Addressed {
    /// What tells this message from the others of its batch when the broker returns it.
    pub(crate) fn mark(&self) -> Mark {
        let id = self.properties.message_id().as_ref();
        Mark {
            exchange: self.exchange.clone(),
            key: self.key.clone(),
            id: id.map(ToString::to_string).unwrap_or_default(),
        }
    }

    pub(crate) fn destination(&self) -> String {
        format!("{}/{}", self.exchange, self.key)
    }
}

/// Exchange, key and id. Two messages with the same mark never share a batch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    pub(crate) exchange: String,
    pub(crate) key: String,
    pub(crate) id: String,
}

impl Post {
    /// Addresses a parcel. `again`: it may have been published before.
    pub(crate) fn address(&self, parcel: &Parcel, again: bool) -> Addressed {
        match parcel {
            Parcel::Result(reply) => Addressed {
                exchange: match self.reply_mode {
                    ReplyMode::Default => String::new(),
                    ReplyMode::Exchange => self.names.results(),
                },
                key: reply.reply_to.as_str().to_owned(),
                properties: properties::of_result(reply, again, None),
            },
            Parcel::Dead(letter) => Addressed {
                exchange: self.names.dead(),
                key: format!("bad.{}", lane_key(&letter.origin.pool, letter.origin.lane)),
                properties: properties::of_dead(letter, &self.queue(&letter.origin), &self.prefix),
            },
            Parcel::Retry { job, delay_ms } => Addressed {
                exchange: self.names.internal(),
                key: retry_key(&job.origin.pool, job.origin.lane),
                // Digits only: anything else closes the channel.
                properties: properties::of_move(job, &self.prefix)
                    .with_expiration(delay_ms.to_string().into()),
            },
            Parcel::Newer { job, delay_ms } => Addressed {
                exchange: self.names.internal(),
                key: NEWER_KEY.to_owned(),
                properties: properties::of_move(job, &self.prefix)
                    .with_expiration(delay_ms.to_string().into()),
            },
            Parcel::Suspect(job) => Addressed {
                exchange: self.names.internal(),
                key: suspect_key(&job.origin.pool),
                properties: properties::of_move(job, &self.prefix),
            },
            Parcel::Back(job) => Addressed {
                exchange: self.names.internal(),
                key: if job.origin.suspect {
                    suspect_key(&job.origin.pool)
                } else {
                    back_key(&job.origin.pool, job.origin.lane)
                },
                properties: properties::of_return(job, &self.prefix),
            },
            Parcel::Park(letter) => Addressed {
                exchange: self.names.dead(),
                key: format!("parked.{}", letter.answered.unwrap_or("unanswered")),
                properties: properties::of_parked(letter, &self.prefix),
            },
            Parcel::Stray(job) => Addressed {
                exchange: self.names.retry_unrouted(),
                key: job.key.clone(),
                properties: properties::of_stray(job, &self.prefix),
            },
            Parcel::Job(job) => Addressed {
                exchange: self.names.jobs(),
                key: lane_key(&job.pool, job.lane),
                properties: properties::of_job(job),
            },
            Parcel::Note(note) => Addressed {
                exchange: note.exchange.clone(),
                key: String::new(),
                properties: properties::of_mark(&note.id),
            },
        }
    }

    /// Addresses a result that has no home to the lost queue. It keeps the key it had, as the
    /// broker's own alternate exchange would keep it. `None` for anything but a result.
    pub(crate) fn lost(&self, parcel: &Parcel, reason: &str) -> Option<Addressed> {
        let Parcel::Result(reply) = parcel else {
            return None;
        };
        Some(Addressed {
            exchange: self.names.results_lost(),
            key: reply.reply_to.as_str().to_owned(),
            properties: properties::of_result(reply, false, Some(reason)),
        })
    }

    /// The queue of the fleet's own that a parcel goes to in the end: for a result that found no home, the one
    /// for those. `None` where that is not one queue.
    pub(crate) fn own_queue(&self, parcel: &Parcel) -> Option<String> {
        let names = &self.names;
        Some(match parcel {
            Parcel::Result(_) => names.results_lost(),
            Parcel::Dead(_) | Parcel::Park(_) => names.dead_parked(),
            Parcel::Retry { job, .. } => names.retry(&job.origin.pool, job.origin.lane),
            Parcel::Newer { .. } => names.jobs_newer(),
            Parcel::Suspect(job) => names.suspect(&job.origin.pool),
            Parcel::Back(job) => self.queue(&job.origin),
            Parcel::Stray(_) => names.retry_unrouted(),
            Parcel::Job(job) => names.lane(&job.pool, job.lane),
            Parcel::Note(_) => return None,
        })
    }

    fn queue(&self, origin: &Origin) -> String {
        let source = if origin.suspect {
            Source::Suspect
        } else {
            Source::of(origin.lane)
        };
        self.names.source(&origin.pool, source)
    }
}
