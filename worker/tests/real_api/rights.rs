//! A gateway whose user may make nothing but reply queues: an operator has made the logbook.

use jailfleet::job::Name;
use jailfleet::settings::ReplyMode;
use jailfleet_harness::{Broker, require};
use jailfleet_queue::topology::{Names, Party, Rights};

use crate::own::{self, EXAMS, Own, import, python};
use crate::worker::{command, executable};

#[test]
fn a_gateway_that_may_not_make_a_logbook_takes_the_one_that_the_exported_definitions_made() {
    require!(Broker);
    let broker = Broker::start().expect("a broker");
    let vhost = broker.vhost().expect("a vhost");
    let exported = command(executable())
        .args(["topology", "--logbook", "api", "--definitions"])
        .env("JAILFLEET__AMQP__URI", vhost.uri())
        .output()
        .expect("the worker starts");
    assert!(exported.status.success(), "{exported:?}");
    import(&broker, &String::from_utf8_lossy(&exported.stdout));
    let pool = Name::parse("default").expect("a name");
    let names = Names::new("jailfleet");
    let rights = Rights::of(Party::Producer, &names, &[pool], ReplyMode::Exchange);
    let user = vhost.user("gateway").expect("a user");
    let all_but_it = r"^jailfleet\.reply\.(?!api$)";
    let permitted = user.permit(all_but_it, &rights.write, &rights.read);
    permitted.expect("rights");

    let own = Own::start(&user.uri(), &[]);
    let worker = own::worker(&vhost.uri());
    own.accepted(EXAMS, &python("a", "print(6 * 7)"));
    assert_eq!(own.done(EXAMS, "a")["result"]["stdout"], "42\n");
    own.stops();
    worker.stops();
}
