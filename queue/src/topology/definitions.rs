//! The table as RabbitMQ's definitions file, for `rabbitmqctl import_definitions`, and as policies.

use serde_json::{Map, Value, json};

use super::{ALTERNATE, Argument, ExchangeType, Queue, Topology};

impl ExchangeType {
    /// Its name in AMQP.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
        }
    }
}

impl Argument {
    /// The value in JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Number(number) => json!(number),
            Self::Flag(flag) => json!(flag),
        }
    }
}

impl std::fmt::Display for Argument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
        }
    }
}

impl Topology {
    /// Exchanges, queues and bindings of `vhost`, as RabbitMQ imports them. The vhost comes along:
    /// one that exists stays as it is.
    #[must_use]
    pub fn definitions(&self, vhost: &str) -> Value {
        let exchanges = self.exchanges.iter().map(|exchange| {
            let mut arguments = Map::new();
            if let Some(alternate) = &exchange.alternate {
                arguments.insert(ALTERNATE.to_owned(), json!(alternate));
            }
            json!({
                "name": exchange.name, "vhost": vhost, "type": exchange.kind.as_str(),
                "durable": true, "auto_delete": false, "internal": false, "arguments": arguments,
            })
        });
        let queues = self.queues.iter().map(|queue| {
            json!({
                "name": queue.name, "vhost": vhost, "durable": true, "auto_delete": false,
                "arguments": arguments(queue),
            })
        });
        let bindings = self.bindings.iter().map(|binding| {
            json!({
                "source": binding.exchange, "vhost": vhost, "destination": binding.queue,
                "destination_type": "queue", "routing_key": binding.key, "arguments": {},
            })
        });
        json!({
            "vhosts": [{ "name": vhost }],
            "exchanges": exchanges.collect::<Value>(),
            "queues": queues.collect::<Value>(),
            "bindings": bindings.collect::<Value>(),
        })
    }

    /// A policy a queue, with what of its arguments a policy can say too: it brings a queue that
    /// somebody made with other arguments as near to the table as can be without deleting it.
    #[must_use]
    pub fn policies(&self, vhost: &str) -> Value {
        let policies = self.queues.iter().filter_map(|queue| {
            let definition: Map<String, Value> = queue
                .arguments
                .iter()
                .filter_map(|(key, value)| Some((by_policy(key)?.to_owned(), value.to_json())))
                .collect();
            (!definition.is_empty()).then(|| {
                json!({
                    "vhost": vhost, "name": queue.name, "pattern": pattern(&queue.name),
                    "apply-to": "queues", "priority": 0, "definition": definition,
                })
            })
        });
        json!({ "policies": policies.collect::<Value>() })
    }
}

/// The arguments of a queue as an object.
#[must_use]
pub fn arguments(queue: &Queue) -> Map<String, Value> {
    let pairs = queue.arguments.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), value.to_json()))
        .collect()
}

/// The name of an argument in a policy; a queue's type, and who may consume, no policy changes.
fn by_policy(argument: &str) -> Option<&str> {
    match argument {
        "x-queue-type" | "x-single-active-consumer" => None,
        other => other.strip_prefix("x-"),
    }
}

/// A regular expression that only this name matches.
pub(super) fn pattern(name: &str) -> String {
    format!("^{}$", quoted(name))
}

/// The name as a part of a regular expression. Names hold letters, digits, `.`, `_` and `-`.
pub(super) fn quoted(name: &str) -> String {
    name.replace('.', "\\.")
}
