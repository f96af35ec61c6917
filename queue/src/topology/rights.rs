//! The least that each party needs on a broker whose topology an operator has made, as RabbitMQ
//! writes it: regular expressions over the names of exchanges and queues.

use jailfleet::job::Name;
use jailfleet::settings::ReplyMode;

use super::Names;
use super::definitions::{pattern, quoted};

/// Matches no name.
const NOTHING: &str = "^$";

/// Who talks to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// A worker, with its reaper.
    Worker,
    /// A producer: submits jobs and reads results from reply queues of its own.
    Producer,
    /// A person who looks at dead jobs and lost results, sends them again or drops them.
    Operator,
}

impl Party {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Worker, Self::Producer, Self::Operator];

    /// The user that the examples call it by.
    #[must_use]
    pub const fn user(self) -> &'static str {
        match self {
            Self::Worker => "jailfleet-worker",
            Self::Producer => "jailfleet-producer",
            Self::Operator => "jailfleet-operator",
        }
    }
}

/// What one user may do in a vhost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// What it may make and delete.
    pub configure: String,
    /// Exchanges that it may publish to, queues that it may bind.
    pub write: String,
    /// Queues that it may read, exchanges that it may bind to.
    pub read: String,
    /// Which keys it may publish under, on topic exchanges: exchange, and an expression for the key.
    pub topics: Vec<(String, String)>,
}

impl Rights {
    /// The rights of `party` in a fleet of these pools.
    #[must_use]
    pub fn of(party: Party, names: &Names, pools: &[Name], mode: ReplyMode) -> Self {
        match party {
            Party::Worker => Self::worker(names, pools, mode),
            Party::Producer => {
                let replies = format!("{}.*", quoted(&names.reply("")));
                Self {
                    configure: any(&[&replies]),
                    // Whoever makes a queue that dead-letters must be able to write there.
                    write: any(&[
                        &quoted(&names.jobs()),
                        &quoted(&names.cancel()),
                        &quoted(&names.results_lost()),
                        &replies,
                    ]),
                    read: any(&[&quoted(&names.results()), &replies]),
                    topics: Vec::new(),
                }
            }
            Party::Operator => {
                let kept = [
                    names.dead_parked(),
                    names.jobs_unrouted(),
                    names.results_lost(),
                ];
                let kept = kept.map(|name| quoted(&name));
                Self {
                    configure: NOTHING.to_owned(),
                    write: pattern(&names.jobs()),
                    read: any(&kept.each_ref().map(String::as_str)),
                    topics: Vec::new(),
                }
            }
        }
    }

    fn worker(names: &Names, pools: &[Name], mode: ReplyMode) -> Self {
        let mut write = vec![
            names.internal(),
            names.dead(),
            names.retry_unrouted(),
            names.results_lost(),
        ];
        write.push(match mode {
            // The broker's name for the exchange without one: through it every queue can be written.
            ReplyMode::Default => "amq.default".to_owned(),
            ReplyMode::Exchange => names.results(),
        });
        let mut read = vec![
            quoted(&names.dead()),
            quoted(&names.jobs_unrouted()),
            quoted(&names.cancels()),
        ];
        for pool in pools {
            let lanes = quoted(&names.of(&format!("jobs.{pool}.")));
            read.push(format!("{lanes}(interactive|bulk)"));
            read.push(quoted(&names.suspect(pool)));
        }
        let write: Vec<String> = write.iter().map(|name| quoted(name)).collect();
        Self {
            configure: NOTHING.to_owned(),
            write: any(&write.iter().map(String::as_str).collect::<Vec<_>>()),
            read: any(&read.iter().map(String::as_str).collect::<Vec<_>>()),
            topics: vec![(names.dead(), "^(bad|parked)\\.".to_owned())],
        }
    }

    /// The commands that give a user these rights and no others.
    #[must_use]
    pub fn commands(&self, vhost: &str, user: &str) -> Vec<String> {
        let Self {
            configure,
            write,
            read,
            topics,
        } = self;
        let mut commands = vec![format!(
            "rabbitmqctl set_permissions --vhost '{vhost}' '{user}' '{configure}' '{write}' '{read}'"
        )];
        commands.extend(topics.iter().map(|(exchange, key)| {
            format!(
                "rabbitmqctl set_topic_permissions --vhost '{vhost}' '{user}' '{exchange}' \
                 '{key}' '{NOTHING}'"
            )
        }));
        commands
    }
}

/// An expression that matches each of these whole, and nothing else.
fn any(parts: &[&str]) -> String {
    format!("^({})$", parts.join("|"))
}
