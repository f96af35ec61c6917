//! Reads the sections that a worker has, and checks what spans several keys.

use super::reader::{Reader, WholeOrWord};
use super::runtimes;
use super::secret::Secret;
use super::sections::{
    AdminSection, AmqpSection, CapsSection, LaneShares, LogFormat, LogSection, ReplyMode, Slots,
    WardenSection, WorkerSection, WorkerSettings,
};
use super::tenants;
use crate::retry::RetryPolicy;
use crate::wall::WallSet;

pub(super) fn worker_settings(read: &mut Reader) -> Option<WorkerSettings> {
    let worker = worker(read);
    let amqp = amqp(read);
    let tenants = tenants::tenants(read);
    let admin = admin(read);
    let warden = warden(read);
    let caps = caps(read);
    let retry = retry(read);
    let log = log(read);
    let runtimes = runtimes::runtimes(read);
    let profiles = runtimes::profiles(read);
    let settings = WorkerSettings {
        worker: worker?,
        amqp: amqp?,
        tenants: tenants?,
        admin: admin?,
        warden: warden?,
        caps: caps?,
        retry: retry?,
        log: log?,
        runtimes: runtimes?,
        profiles: profiles?,
    };
    check_result_size(read, &settings);
    Some(settings)
}

fn worker(read: &mut Reader) -> Option<WorkerSection> {
    let slots = read.whole_or_word("worker.slots").map(|slots| match slots {
        WholeOrWord::Word => Slots::Auto,
        WholeOrWord::Whole(count) => Slots::Count(usize::try_from(count).unwrap_or(usize::MAX)),
    });
    let user = read.text("worker.user");
    let host = read.optional("worker.host");
    let apparmor = read.optional("worker.apparmor");
    let walls = read.word("worker.walls", WallSet::parse);
    let pool = read.name("worker.pool");
    let lanes = lanes(read);
    let drain_ms = read.millis("worker.drain_ms");
    let publish_timeout_ms = read.millis("worker.publish_timeout_ms");
    let overcommit_memory = read.switch("worker.overcommit_memory");
    let canary_interval_s = read.narrow("worker.canary_interval_s");
    Some(WorkerSection {
        slots: slots?,
        user: user?,
        apparmor: apparmor?,
        host: host?,
        walls: walls?,
        pool: pool?,
        lanes: lanes?,
        drain_ms: drain_ms?,
        publish_timeout_ms: publish_timeout_ms?,
        canary_interval_s: canary_interval_s?,
        overcommit_memory: overcommit_memory?,
    })
}

fn lanes(read: &mut Reader) -> Option<LaneShares> {
    let interactive = read.narrow("worker.lanes.interactive");
    let bulk = read.narrow("worker.lanes.bulk");
    let lanes = LaneShares {
        interactive: interactive?,
        bulk: bulk?,
    };
    if lanes.interactive == 0 && lanes.bulk == 0 {
        read.complain(
            "worker.lanes.bulk",
            "at least one lane must have a share above 0",
        );
        return None;
    }
    Some(lanes)
}

pub(super) fn amqp(read: &mut Reader) -> Option<AmqpSection> {
    let uri = read.text("amqp.uri").map(Secret::new);
    let uri_file = read.optional("amqp.uri_file");
    let password_file = read.optional("amqp.password_file");
    let ca_file = read.optional("amqp.ca_file");
    let client_cert_file = read.optional("amqp.client_cert_file");
    let client_key_file = read.optional("amqp.client_key_file");
    let prefix = read.text("amqp.prefix");
    let heartbeat_s = read.narrow("amqp.heartbeat_s");
    let connect_timeout_ms = read.millis("amqp.connect_timeout_ms");
    let confirm_timeout_ms = read.millis("amqp.confirm_timeout_ms");
    let reply_mode = read.word("amqp.reply_mode", ReplyMode::parse);
    let prefetch_extra = read.narrow("amqp.prefetch_extra");
    let backoff_min_ms = read.millis("amqp.backoff_min_ms");
    let backoff_max_ms = read.millis("amqp.backoff_max_ms");
    let topology_check_ms = read.millis("amqp.topology_check_ms");
    let threads = read.narrow("amqp.threads");
    if let Some(prefix) = prefix
        .as_deref()
        .filter(|prefix| prefix.starts_with("amq."))
    {
        read.complain(
            "amqp.prefix",
            format!("{prefix} is the broker's own: choose another"),
        );
    }
    let named = |file: &Option<Option<String>>| file.as_ref().is_some_and(Option::is_some);
    if named(&client_cert_file) != named(&client_key_file) {
        read.complain(
            "amqp.client_key_file",
            "expected together with amqp.client_cert_file: the one is no use without the other",
        );
    }
    if backoff_min_ms > backoff_max_ms {
        read.complain(
            "amqp.backoff_min_ms",
            "expected at most amqp.backoff_max_ms",
        );
    }
    Some(AmqpSection {
        uri: uri?,
        uri_file: uri_file?,
        password_file: password_file?,
        vhost: None,
        ca_file: ca_file?,
        client_cert_file: client_cert_file?,
        client_key_file: client_key_file?,
        prefix: prefix?,
        heartbeat_s: heartbeat_s?,
        connect_timeout_ms: connect_timeout_ms?,
        confirm_timeout_ms: confirm_timeout_ms?,
        reply_mode: reply_mode?,
        prefetch_extra: prefetch_extra?,
        backoff_min_ms: backoff_min_ms?,
        backoff_max_ms: backoff_max_ms?,
        topology_check_ms: topology_check_ms?,
        threads: threads?,
    })
}

fn admin(read: &mut Reader) -> Option<AdminSection> {
    let listen = read.text("admin.listen")?.parse().ok();
    if listen.is_none() {
        read.complain("admin.listen", "expected an IP address and a port");
    }
    Some(AdminSection { listen: listen? })
}

fn warden(read: &mut Reader) -> Option<WardenSection> {
    let path = read.optional("warden.path");
    let apparmor = read.optional("warden.apparmor");
    let uid_base: Option<u32> = read.narrow("warden.uid_base");
    let uid_count: Option<u32> = read.narrow("warden.uid_count");
    let state_dir = read.text("warden.state_dir");
    let cgroup_name = read.text("warden.cgroup_name");
    let sweep_timeout_ms = read.millis("warden.sweep_timeout_ms");
    let system_binds = read.binds("warden.system_binds");
    if cgroup_name
        .as_deref()
        .is_some_and(|name| name.starts_with('.'))
    {
        read.complain(
            "warden.cgroup_name",
            "expected a name that does not begin with a dot",
        );
    }
    if let (Some(base), Some(count)) = (uid_base, uid_count) {
        // nobody (65534) and "no user" (65535) are in no range that is leased.
        let nobody = [65_534, 65_535];
        if nobody
            .iter()
            .any(|uid| (base..base.saturating_add(count)).contains(uid))
        {
            read.complain(
                "warden.uid_base",
                "the range must leave out 65534 and 65535",
            );
        }
    }
    Some(WardenSection {
        path: path?,
        apparmor: apparmor?,
        uid_base: uid_base?,
        uid_count: uid_count?,
        state_dir: state_dir?,
        cgroup_name: cgroup_name?,
        sweep_timeout_ms: sweep_timeout_ms?,
        system_binds: system_binds?,
    })
}

fn caps(read: &mut Reader) -> Option<CapsSection> {
    let message_bytes = read.narrow("caps.message_bytes");
    let result_bytes = read.narrow("caps.result_bytes");
    let depth = read.narrow("caps.depth");
    let files = read.narrow("caps.files");
    let argv = read.narrow("caps.argv");
    let env = read.narrow("caps.env");
    let python_path = read.narrow("caps.python_path");
    let artifacts = read.narrow("caps.artifacts");
    let artifact_entries = read.narrow("caps.artifact_entries");
    let artifact_bytes = read.narrow("caps.artifact_bytes");
    let artifacts_bytes = read.narrow("caps.artifacts_bytes");
    let globals_bytes = read.narrow("caps.globals_bytes");
    let argument_bytes = read.narrow("caps.argument_bytes");
    Some(CapsSection {
        message_bytes: message_bytes?,
        result_bytes: result_bytes?,
        depth: depth?,
        files: files?,
        argv: argv?,
        env: env?,
        python_path: python_path?,
        artifacts: artifacts?,
        artifact_entries: artifact_entries?,
        artifact_bytes: artifact_bytes?,
        artifacts_bytes: artifacts_bytes?,
        globals_bytes: globals_bytes?,
        argument_bytes: argument_bytes?,
    })
}

fn retry(read: &mut Reader) -> Option<RetryPolicy> {
    let faults = read.narrow("retry.faults");
    let suspect_deliveries = read.whole("retry.suspect_deliveries");
    let suspect_tries = read.whole("retry.suspect_tries");
    let delay_min = read.millis("retry.delay_min_ms");
    let delay_max = read.millis("retry.delay_max_ms");
    if delay_min > delay_max {
        read.complain("retry.delay_min_ms", "expected at most retry.delay_max_ms");
    }
    Some(RetryPolicy {
        faults: faults?,
        suspect_deliveries: suspect_deliveries?,
        suspect_tries: suspect_tries?,
        delay_min: delay_min?.duration(),
        delay_max: delay_max?.duration(),
    })
}

pub(super) fn log(read: &mut Reader) -> Option<LogSection> {
    let format = read.word("log.format", LogFormat::parse);
    let level = read.text("log.level");
    Some(LogSection {
        format: format?,
        level: level?,
    })
}

/// What a run may print must fit into a result, or the worker would grant output that it can only
/// throw away.
fn check_result_size(read: &mut Reader, settings: &WorkerSettings) {
    // Everything of a result that is not output.
    const REST: u64 = 64 * 1024;
    let room = u64::try_from(settings.caps.result_bytes).unwrap_or(u64::MAX);
    let largest = settings
        .runtimes
        .iter()
        .map(|runtime| runtime.ceiling.0.output_bytes.get())
        .max();
    let encoded = largest
        .unwrap_or_default()
        .div_ceil(3)
        .saturating_mul(4)
        .saturating_add(REST);
    if encoded > room {
        let expected = format!("expected at least {encoded}: the largest output ceiling in base64");
        read.complain("caps.result_bytes", expected);
    }
}
