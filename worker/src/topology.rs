//! `topology`: what the worker needs on the broker, as a table or for import. It asks no broker.

use std::io::{self, Write};

use anyhow::{Context, ensure};
use jailfleet::job::Name;
use jailfleet::settings::{AmqpSection, WorkerSettings, is_label};
use jailfleet_program::output;
use jailfleet_queue::amqp;
use jailfleet_queue::topology::{Names, Party, Rights, Topology, arguments};
use serde_json::{Map, Value, json};

use crate::cli::{Exit, TopologyArgs};
use crate::tenancy::Client;

/// Prints the topology in the form that was asked for.
///
/// # Errors
/// When the name of a pool or a tenant or a URI is wrong, or the answer cannot be written.
pub fn print(
    settings: &WorkerSettings,
    clients: &[Client],
    args: &TopologyArgs,
) -> anyhow::Result<Exit> {
    let AmqpSection { prefix, .. } = &settings.amqp;
    let (names, pools) = (Names::new(prefix), pools(settings, args)?);
    let table = table(&names, &pools, args)?;
    let vhosts = vhosts(clients, args)?;
    let mut out = Vec::new();
    if args.json {
        let all = vhosts.iter().map(|vhost| as_json(&table, vhost)).collect();
        writeln!(out, "{:#}", one_or_list(all))?;
    } else if args.definitions {
        let all = vhosts.iter().map(|vhost| table.definitions(vhost));
        writeln!(out, "{:#}", together(all))?;
    } else if args.policies {
        let all = vhosts.iter().map(|vhost| table.policies(vhost));
        writeln!(out, "{:#}", together(all))?;
    } else if args.rights {
        for (vhost, party) in vhosts
            .iter()
            .flat_map(|vhost| Party::ALL.map(|party| (vhost, party)))
        {
            let rights = Rights::of(party, &names, &pools, settings.amqp.reply_mode);
            for command in rights.commands(vhost, party.user()) {
                writeln!(out, "{command}")?;
            }
        }
    } else {
        for (number, vhost) in vhosts.iter().enumerate() {
            if number > 0 {
                writeln!(out)?;
            }
            write_table(&mut out, &table, vhost)?;
        }
    }
    output::print(&out)?;
    Ok(Exit::Done)
}

/// What a worker needs, and the logbooks that were asked for.
fn table(names: &Names, pools: &[Name], args: &TopologyArgs) -> anyhow::Result<Topology> {
    let mut table = Topology::new(names, pools).with_cancels(names);
    for logbook in &args.logbooks {
        ensure!(
            is_label(logbook, 64),
            "read --logbook {logbook}: use 1 to 64 characters of A-Z a-z 0-9 . _ -, as in api.logbook"
        );
        table = table.with_logbook(names, logbook);
    }
    Ok(table)
}

/// The vhosts of the tenants that were asked for, or of all.
fn vhosts(clients: &[Client], args: &TopologyArgs) -> anyhow::Result<Vec<String>> {
    let is =
        |client: &&Client, name: &str| client.name.as_ref().is_some_and(|own| own.as_str() == name);
    for name in &args.tenants {
        let known = clients.iter().any(|client| is(&client, name));
        ensure!(
            known,
            "find tenant {name} in the configuration: expected one of [tenants.*]"
        );
    }
    let asked = |client: &&Client| {
        args.tenants.is_empty() || args.tenants.iter().any(|name| is(client, name))
    };
    let wanted = clients.iter().filter(asked);
    Ok(wanted
        .map(|client| amqp::vhost(&client.amqp))
        .collect::<Result<_, _>>()?)
}

fn one_or_list(mut all: Vec<Value>) -> Value {
    match (all.pop(), all.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            all.extend(last);
            Value::Array(all)
        }
    }
}

/// Definitions of several vhosts as one file: list by list.
fn together(all: impl Iterator<Item = Value>) -> Value {
    let mut lists: Map<String, Value> = Map::new();
    for one in all {
        let Value::Object(one) = one else { continue };
        for (name, list) in one {
            match (lists.get_mut(&name), list) {
                (Some(Value::Array(have)), Value::Array(more)) => have.extend(more),
                (_, list) => {
                    lists.insert(name, list);
                }
            }
        }
    }
    Value::Object(lists)
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

    fn everything() -> Topology {
        let settings = worker_settings(None, &[], &[]).expect("the defaults are good");
        let args = TopologyArgs {
            pools: vec!["default".to_owned(), "gpu".to_owned()],
            logbooks: vec!["api".to_owned()],
            ..TopologyArgs::default()
        };
        let pools = pools(&settings, &args).expect("names");
        let names = Names::new("jailfleet");
        table(&names, &pools, &args).expect("names")
    }

    #[test]
    fn every_form_names_every_object() {
        let table = everything();
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
        assert!(text.contains("jailfleet.reply.api"));
    }

    #[test]
    fn a_policy_says_what_the_arguments_say_and_fits_one_queue_only() {
        let policies = everything().policies("/");
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

    #[test]
    fn each_tenant_has_its_vhost_and_all_of_them_are_one_file() {
        let file = "[tenants.art]\nvhost = \"a\"\n[tenants.zoology]\nvhost = \"z\"";
        let file = jailfleet::settings::SourceText {
            name: "x",
            text: file,
        };
        let settings = worker_settings(Some(file), &[], &[]).expect("it is right");
        let clients = crate::tenancy::clients(&settings);
        let of = |tenants: &[&str]| {
            let tenants = tenants.iter().map(|name| (*name).to_owned()).collect();
            let args = TopologyArgs {
                tenants,
                ..TopologyArgs::default()
            };
            vhosts(&clients, &args)
        };
        assert_eq!(of(&[]).expect("both"), ["a", "z"]);
        assert_eq!(of(&["zoology"]).expect("it is there"), ["z"]);
        let unknown = of(&["zoo"]).expect_err("it is not there").to_string();
        assert!(unknown.contains("tenant zoo"), "{unknown}");

        let table = everything();
        let both = together(["a", "z"].iter().map(|vhost| table.definitions(vhost)));
        assert_eq!(both["vhosts"], json!([{ "name": "a" }, { "name": "z" }]));
        let queues = both["queues"].as_array().map(Vec::len);
        assert_eq!(queues, Some(2 * table.queues.len()));
        let only = as_json(&table, "a");
        assert_eq!(one_or_list(vec![only.clone()]), only);
        let list = one_or_list(vec![only.clone(), as_json(&table, "z")]);
        assert_eq!(list[0], only);
        assert_eq!(list[1]["vhost"], "z");
    }
}
