//! `topology`: what the worker needs on the broker, as a table or for import. It asks no broker.

use std::io::{self, Write};

use anyhow::Context;
use jailfleet::job::Name;
use jailfleet::settings::{AmqpSection, WorkerSettings};
use jailfleet_program::output;
use jailfleet_queue::amqp;
use jailfleet_queue::topology::{Names, Party, Rights, Topology, arguments};
use serde_json::{Value, json};

use crate::cli::{Exit, TopologyArgs};

/// Prints the topology in the form that was asked for.
///
/// # Errors
/// When a pool's name or the URI is wrong, or the answer cannot be written.
pub fn print(settings: &WorkerSettings, args: &TopologyArgs) -> anyhow::Result<Exit> {
    let AmqpSection { prefix, .. } = &settings.amqp;
    let (names, pools) = (Names::new(prefix), pools(settings, args)?);
    let table = Topology::new(&names, &pools).with_cancels(&names);
    let vhost = amqp::vhost(&settings.amqp)?;
    let mut out = Vec::new();
    if args.json {
        writeln!(out, "{:#}", as_json(&table, &vhost))?;
    } else if args.definitions {
        writeln!(out, "{:#}", table.definitions(&vhost))?;
    } else if args.policies {
        writeln!(out, "{:#}", table.policies(&vhost))?;
    } else if args.rights {
        for party in Party::ALL {
            let rights = Rights::of(party, &names, &pools, settings.amqp.reply_mode);
            for command in rights.commands(&vhost, party.user()) {
                writeln!(out, "{command}")?;
            }
        }
    } else {
        write_table(&mut out, &table, &vhost)?;
    }
    output::print(&out)?;
    Ok(Exit::Done)
}

fn pools(settings: &WorkerSettings, args: &TopologyArgs) -> anyhow::Result<Vec<Name>> {
    if args.pools.is_empty() {
        return Ok(vec![settings.worker.pool.clone()]);
    }
    let parse = |name: &String| Name::parse(name).with_context(|| format!("read --pool {name}"));
    args.pools.iter().map(parse).collect()
}

fn as_json(table: &Topology, vhost: &str) -> Value {
    let exchanges = table.exchanges.iter().map(|exchange| {
        json!({
            "name": exchange.name,
            "type": exchange.kind.as_str(),
            "alternate": exchange.alternate,
        })
    });
    let queues = table
        .queues
        .iter()
        .map(|queue| json!({ "name": queue.name, "arguments": arguments(queue) }));
    let bindings = table.bindings.iter().map(|binding| {
        json!({ "queue": binding.queue, "exchange": binding.exchange, "key": binding.key })
    });
    json!({
        "vhost": vhost,
        "exchanges": exchanges.collect::<Value>(),
        "queues": queues.collect::<Value>(),
        "bindings": bindings.collect::<Value>(),
    })
}

fn write_table(out: &mut impl Write, table: &Topology, vhost: &str) -> io::Result<()> {
    writeln!(out, "vhost {vhost}\n\nexchanges, durable")?;
    for exchange in &table.exchanges {
        let (name, kind) = (&exchange.name, exchange.kind.as_str());
        match &exchange.alternate {
            Some(alternate) => writeln!(out, "  {name:<28} {kind:<7} alternate {alternate}")?,
            None => writeln!(out, "  {name:<28} {kind}")?,
        }
    }
    writeln!(out, "\nqueues, durable")?;
    for queue in &table.queues {
        writeln!(out, "  {}", queue.name)?;
        for (key, value) in &queue.arguments {
            writeln!(out, "    {key:<26} {value}")?;
        }
    }
    writeln!(out, "\nbindings")?;
    for binding in &table.bindings {
        let (exchange, queue) = (&binding.exchange, &binding.queue);
        let key = if binding.key.is_empty() {
            "\"\""
        } else {
            &binding.key
        };
        writeln!(out, "  {exchange:<28} {key:<28} {queue}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jailfleet::settings::worker_settings;

    fn table() -> Topology {
        let settings = worker_settings(None, &[], &[]).expect("the defaults are good");
        let args = TopologyArgs {
            pools: vec!["default".to_owned(), "gpu".to_owned()],
            ..TopologyArgs::default()
        };
        let pools = pools(&settings, &args).expect("names");
        let names = Names::new("jailfleet");
        Topology::new(&names, &pools).with_cancels(&names)
    }

    #[test]
    fn every_form_names_every_object() {
        let table = table();
        let mut text = Vec::new();
        write_table(&mut text, &table, "/").expect("memory takes it");
        let text = String::from_utf8(text).expect("text");
        let forms = [as_json(&table, "/"), table.definitions("/")];
        for form in forms {
            for (list, count) in [
                ("exchanges", table.exchanges.len()),
                ("queues", table.queues.len()),
                ("bindings", table.bindings.len()),
            ] {
                let found = form.get(list).and_then(Value::as_array).map(Vec::len);
                assert_eq!(found, Some(count), "{list}");
            }
        }
        for queue in &table.queues {
            assert!(
                text.contains(&format!("\n  {}\n", queue.name)),
                "{}",
                queue.name
            );
        }
        assert!(text.contains("jailfleet.jobs.gpu.bulk"));
    }

    #[test]
    fn a_policy_says_what_the_arguments_say_and_fits_one_queue_only() {
        let policies = table().policies("/");
        let policies = policies.get("policies").and_then(Value::as_array);
        let policies = policies.expect("a list");
        let of = |name: &str| {
            let mut found = policies.iter().filter(|policy| policy["name"] == name);
            found
                .next()
                .unwrap_or_else(|| panic!("{name} has a policy"))
        };
        let dead = of("jailfleet.dead");
        assert_eq!(dead["pattern"], "^jailfleet\\.dead$");
        assert_eq!(
            dead["definition"],
            json!({ "delivery-limit": 1_000_000_000 })
        );
        let lane = &of("jailfleet.jobs.default.bulk")["definition"];
        assert_eq!(lane["dead-letter-routing-key"], "jobs.default.bulk");
        assert_eq!(lane["overflow"], "reject-publish");
    }
}
