//! The table is complete in itself: nothing routes to a place that is not in it.

use super::*;

fn table() -> Topology {
    let names = Names::new("jailfleet");
    let pool = Name::parse("default").expect("a name");
    Topology::new(&names, &[pool])
        .with_reply_queue(&names, "jailfleet.reply.x", ReplyLife::Lasting)
        .with_reply_queue(&names, "jailfleet.reply.y", ReplyLife::Passing)
}

fn argument<'a>(queue: &'a Queue, name: &str) -> Option<&'a Argument> {
    queue
        .arguments
        .iter()
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

#[test]
fn every_binding_joins_a_queue_and_an_exchange_of_the_table() {
    let table = table();
    for binding in &table.bindings {
        assert!(
            table.queues.iter().any(|queue| queue.name == binding.queue),
            "{binding:?}"
        );
        assert!(
            table.exchanges.iter().any(|it| it.name == binding.exchange),
            "{binding:?}"
        );
    }
}

#[test]
fn every_dead_letter_has_a_queue_to_go_to() {
    let table = table();
    for queue in &table.queues {
        let Some(Argument::Text(exchange)) = argument(queue, "x-dead-letter-exchange") else {
            continue;
        };
        let target = table.exchanges.iter().find(|it| it.name == *exchange);
        let target = target.expect("exists");
        // What such an exchange cannot route goes to its alternate.
        if target.alternate.is_some() {
            continue;
        }
        let kind = target.kind;
        let key = match argument(queue, "x-dead-letter-routing-key") {
            Some(Argument::Text(key)) => key.as_str(),
            _ => "",
        };
        let takes = |binding: &Binding| {
            binding.exchange == *exchange
                && match kind {
                    ExchangeType::Fanout => true,
                    ExchangeType::Direct => binding.key == key,
                    ExchangeType::Topic => {
                        binding.key == key
                            || binding
                                .key
                                .strip_suffix('#')
                                .is_some_and(|it| key.starts_with(it))
                    }
                }
        };
        assert!(
            table.bindings.iter().any(takes),
            "{} dead-letters into the void",
            queue.name
        );
    }
}

#[test]
fn a_queue_that_dead_letters_at_least_once_has_all_that_this_needs() {
    for queue in table().queues {
        if argument(&queue, "x-dead-letter-strategy").is_some() {
            assert_eq!(
                argument(&queue, "x-overflow"),
                Some(&text("reject-publish"))
            );
            assert_eq!(argument(&queue, "x-queue-type"), Some(&text("quorum")));
            assert!(argument(&queue, "x-dead-letter-exchange").is_some());
        }
    }
}

#[test]
fn nothing_drops_a_job_unseen() {
    let drops = |queue: &Queue| {
        let bounded = argument(queue, "x-message-ttl").or(argument(queue, "x-max-length-bytes"));
        bounded.is_some() && argument(queue, "x-dead-letter-exchange").is_none()
    };
    let dropping: Vec<String> = table()
        .queues
        .into_iter()
        .filter(drops)
        .map(|it| it.name)
        .collect();
    assert_eq!(
        dropping,
        ["jailfleet.results.lost", "jailfleet.dead.parked"],
        "only what was answered, or is an answer, may go by age or size"
    );
}

#[test]
fn a_queue_whose_messages_go_back_has_a_limit_that_every_broker_reads_alike() {
    for queue in table().queues {
        if let Some(Argument::Number(limit)) = argument(&queue, "x-delivery-limit") {
            assert!(*limit > 0, "{}", queue.name);
        }
    }
}

#[test]
fn no_reply_queue_expires_with_results_in_it() {
    let table = table();
    let replies = table.queues.iter().filter(|it| it.name.contains(".reply."));
    let mut seen = 0;
    for reply in replies {
        seen += 1;
        assert_eq!(argument(reply, "x-expires"), None);
        assert_eq!(
            argument(reply, "x-dead-letter-exchange"),
            Some(&text("jailfleet.results.lost"))
        );
    }
    assert_eq!(seen, 2);
}

#[test]
fn a_reply_queue_that_somebody_comes_back_to_is_on_several_nodes_and_gives_nothing_up() {
    let table = table();
    let lasting = table.queues.iter().find(|it| it.name.ends_with("reply.x"));
    let lasting = lasting.expect("there");
    assert_eq!(argument(lasting, "x-queue-type"), Some(&text("quorum")));
    // A result that went back to its queue a few times is no worse for it.
    assert_eq!(
        argument(lasting, "x-delivery-limit"),
        Some(&Argument::Number(NO_LIMIT))
    );
    // A full one refuses, so that its worker knows and keeps the result elsewhere.
    assert_eq!(
        argument(lasting, "x-overflow"),
        Some(&text("reject-publish"))
    );
}

#[test]
fn an_alternate_exchange_is_made_before_its_user() {
    let exchanges = table().exchanges;
    for (place, exchange) in exchanges.iter().enumerate() {
        let Some(alternate) = &exchange.alternate else {
            continue;
        };
        let made = exchanges
            .iter()
            .position(|it| it.name == *alternate)
            .expect("in the table");
        assert!(made < place);
    }
}

#[test]
fn the_page_for_operators_has_a_row_for_every_queue_with_a_command_that_empties_it() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let page = std::fs::read_to_string(path).expect("the page is there");
    let table = table().with_cancels(&Names::new("jailfleet"));
    for queue in &table.queues {
        let spelled = queue
            .name
            .replace("default", "<pool>")
            .replace(".interactive", ".<lane>")
            .replace(".bulk", ".<lane>")
            .replace("reply.x", "reply.<client>")
            .replace("reply.y", "reply.<client>");
        let head = format!("| `{spelled}` | ");
        let row = page.lines().find(|line| line.starts_with(&head));
        let row = row.unwrap_or_else(|| panic!("no row for {spelled}"));
        let empties = row.trim_end_matches(" |").rsplit(" | ").next();
        let spans = empties.unwrap_or_default().split('`').skip(1).step_by(2);
        let commands: Vec<&str> = spans.filter(|span| span.contains(' ')).collect();
        assert!(!commands.is_empty(), "no command empties {spelled}");
        for command in commands {
            let Some(broker) = command.strip_prefix("rabbitmqctl ") else {
                continue; // The producer's own are read by its command line, in its tests.
            };
            let (verb, name) = broker.split_once(' ').expect("a verb and a queue");
            assert!(["purge_queue", "delete_queue"].contains(&verb), "{command}");
            let known = table.queues.iter().any(|queue| queue.name == name);
            assert!(known || name == "jailfleet.reply.NAME", "{command}");
            // A stream cannot be purged.
            assert!(verb == "delete_queue" || name != "jailfleet.cancels");
        }
    }
}
