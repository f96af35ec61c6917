//! What a person can do about the broker's words. Pure.

/// What the broker or the network says, all in lower case, and what to do. The first that fits counts.
const WORDS: &[(&[&str], &str)] = &[
    (
        &["home node", "is down"],
        "start that node: the queue lives on no other",
    ),
    (
        &["vhost", "not found"],
        "make the vhost with `rabbitmqctl add_vhost` and give the user its rights, or correct amqp.uri",
    ),
    (
        &["vhost", "is down"],
        "start it again with `rabbitmqctl restart_vhost`",
    ),
    (
        &["connection limit"],
        "end connections that nobody needs (`rabbitmqctl list_connections`), or raise the limit with \
         `rabbitmqctl set_vhost_limits` or `set_user_limits`",
    ),
    (
        &["access to vhost", "refused"],
        "give the user rights in the vhost with `rabbitmqctl set_permissions`, or correct amqp.uri",
    ),
    (
        &["login was refused"],
        "are user and password right, in amqp.uri or in the files that the settings name",
    ),
    (
        &["low on"],
        "`rabbitmq-diagnostics alarms` names the node: free memory or disk there, or empty a queue",
    ),
    (
        &["delivery acknowledgement", "timed out"],
        "raise the broker's consumer_timeout above the longest time that a worker may hold a job, or lower \
         wall_ms or amqp.prefetch_extra",
    ),
    (
        &["connection refused"],
        "is the broker running, and is amqp.uri right; of a cluster, any node that runs will do",
    ),
    (
        &["no answer within"],
        "is the broker well, and does the network let us through to amqp.uri",
    ),
];

/// What to do about a trouble, where that is known.
pub(crate) fn advice(trouble: &str) -> Option<&'static str> {
    let trouble = trouble.to_lowercase();
    let fits = |words: &[&str]| words.iter().all(|word| trouble.contains(word));
    let found = WORDS.iter().find(|(words, _)| fits(words));
    found.map(|(_, advice)| *advice)
}

/// A trouble with what to do about it.
pub(crate) fn explained(trouble: &str) -> String {
    match advice(trouble) {
        Some(advice) => format!("{trouble}; {advice}"),
        None => trouble.to_owned(),
    }
}

/// The words for a broker that takes nothing for now.
pub(crate) fn blocked(reason: &str) -> String {
    explained(&format!("the broker blocks whoever publishes: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_comes_with_what_to_do_about_it_and_an_unknown_one_as_it_is() {
        for (trouble, part) in [
            ("connect: NOT_ALLOWED - vhost exams not found", "add_vhost"),
            (
                "NOT_ALLOWED - access to vhost 'exams' refused for user 'guest': vhost connection limit (2) is reached",
                "set_vhost_limits",
            ),
            (
                "NOT_ALLOWED - access to vhost 'exams' refused for user 'guest'",
                "set_permissions",
            ),
            ("ACCESS_REFUSED - Login was refused using PLAIN", "password"),
            ("IO error: Connection refused (os error 111)", "running"),
            (
                "INTERNAL_ERROR - access to vhost '/' refused for user 'guest': vhost '/' is down",
                "restart_vhost",
            ),
            ("connect: no answer within 10s", "network"),
            (
                "NOT_FOUND - home node 'rabbit@b' of durable queue 'jailfleet.reply.x' in vhost '/' is down or inaccessible",
                "start that node",
            ),
            (
                "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 2 ms",
                "consumer_timeout",
            ),
        ] {
            let text = explained(trouble);
            assert!(text.starts_with(trouble) && text.contains(part), "{text}");
        }
        assert!(blocked("low on disk").contains("rabbitmq-diagnostics alarms"));
        assert_eq!(explained("a word of the future"), "a word of the future");
    }
}
