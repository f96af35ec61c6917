//! Writes settings as TOML, for people and for the digest.

use super::api::ApiSection;
use super::key;
use super::schema::{AUTO, MAIN_FILE};
use super::sections::{
    AmqpSection, CapsSection, LogSection, ProducerSettings, Slots, WardenSection, WorkerSection,
    WorkerSettings,
};
use super::serve::ServeSection;
use super::tenants::Tenant;
use crate::job::ProfileName;
use crate::limits::{Limits, LimitsRequest};
use crate::retry::RetryPolicy;
use crate::runtime::{Bind, Program, Runtime};
use sha2::{Digest, Sha256};

/// What becomes of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Secrets {
    /// Shown without their secret part.
    Redacted,
    /// Left out.
    Omitted,
}

impl WorkerSettings {
    /// SHA-256, in hex, of the effective configuration. The broker's URI and the tenants are no part of
    /// it: two workers that differ only in whom they serve run jobs in the same way.
    #[must_use]
    pub fn digest(&self) -> String {
        use std::fmt::Write as _;
        let mut hex = String::new();
        for byte in Sha256::digest(self.to_toml(Secrets::Omitted)) {
            write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
        }
        hex
    }

    /// The effective configuration as TOML, passwords redacted. Read again, it gives the same
    /// settings but for them.
    #[must_use]
    pub fn to_toml_redacted(&self) -> String {
        self.to_toml(Secrets::Redacted)
    }

    fn to_toml(&self, secrets: Secrets) -> String {
        let mut page = Page::default();
        worker(&mut page, &self.worker);
        amqp(&mut page, &self.amqp, secrets);
        if secrets == Secrets::Redacted {
            for tenant in &self.tenants {
                tenants(&mut page, tenant);
            }
        }
        page.section("admin");
        page.text("listen", &self.admin.listen.to_string());
        warden(&mut page, &self.warden);
        caps(&mut page, &self.caps);
        retry(&mut page, &self.retry);
        log(&mut page, &self.log);
        for offered in &self.runtimes {
            runtime(&mut page, offered);
        }
        for (name, profile) in &self.profiles {
            page.section(&key::join(&["profiles", name.as_str()]));
            request(&mut page, profile);
        }
        page.0
    }
}

impl ProducerSettings {
    /// The effective configuration as TOML, passwords redacted. Read again, it gives the same
    /// settings but for them.
    #[must_use]
    pub fn to_toml_redacted(&self) -> String {
        let mut page = Page::default();
        amqp(&mut page, &self.amqp, Secrets::Redacted);
        let producer = &self.producer;
        page.section("producer");
        page.text("pool", producer.pool.as_str());
        page.text("lane", producer.lane.as_str());
        page.whole("window", producer.window);
        page.whole("prefetch", producer.prefetch);
        page.whole("idle_timeout_ms", producer.idle_timeout_ms.get());
        page.whole("message_bytes", producer.message_bytes);
        page.whole("result_bytes", producer.result_bytes);
        serve(&mut page, &self.serve);
        api(&mut page, &self.api);
        log(&mut page, &self.log);
        page.0
    }
}

fn serve(page: &mut Page, serve: &ServeSection) {
    page.section("serve");
    page.text("listen", &serve.listen.to_string());
    page.text("admin_listen", &serve.admin_listen.to_string());
    page.text("shape", serve.shape.as_str());
    page.switch("enabled", serve.enabled);
    page.texts("hosts", &serve.hosts);
    page.text("runtime", serve.runtime.as_str());
    let profile = serve.profile.as_ref().map(ProfileName::as_str);
    page.text("profile", profile.unwrap_or_default());
    let profiles = serve.profiles.iter().map(ToString::to_string);
    page.texts("profiles", &profiles.collect::<Vec<_>>());
    page.whole("wall_ms", serve.wall_ms.get());
    page.whole("read_timeout_ms", serve.read_timeout_ms.get());
    page.whole("margin_ms", serve.margin_ms.get());
    page.whole("body_bytes", serve.body_bytes);
    page.whole("connections", serve.connections);
    page.whole("head_timeout_ms", serve.head_timeout_ms.get());
    page.whole("body_timeout_ms", serve.body_timeout_ms.get());
    page.whole("check_interval_ms", serve.check_interval_ms.get());
}

fn api(page: &mut Page, api: &ApiSection) {
    page.section("api");
    let door = api.door.as_ref();
    let tls = door.and_then(|door| door.tls.as_ref());
    let listen = door.map(|door| door.listen.to_string());
    page.text("listen", listen.as_deref().unwrap_or_default());
    page.text("tenants_file", door.map_or("", |door| &door.tenants_file));
    page.text("tls_cert_file", tls.map_or("", |tls| &tls.cert_file));
    page.text("tls_key_file", tls.map_or("", |tls| &tls.key_file));
    page.text("logbook", &api.logbook);
    page.whole("body_bytes", api.body_bytes);
    page.whole("jobs", api.jobs);
    page.whole("connections", api.connections);
    page.whole("waits", api.waits);
    page.whole("head_timeout_ms", api.head_timeout_ms.get());
    page.whole("body_timeout_ms", api.body_timeout_ms.get());
    page.whole("wait_ms", api.wait_ms.get());
    page.whole("events_ms", api.events_ms.get());
    page.whole("kept_jobs", api.kept_jobs);
    page.whole("cache_bytes", api.cache_bytes);
}

fn worker(page: &mut Page, worker: &WorkerSection) {
    page.section("worker");
    match worker.slots {
        Slots::Auto => page.text("slots", AUTO),
        Slots::Count(count) => page.whole("slots", count),
    }
    page.text("user", &worker.user);
    page.text("apparmor", worker.apparmor.as_deref().unwrap_or_default());
    page.text("host", worker.host.as_deref().unwrap_or_default());
    page.text("walls", worker.walls.as_str());
    page.text("pool", worker.pool.as_str());
    page.whole("drain_ms", worker.drain_ms.get());
    page.whole("publish_timeout_ms", worker.publish_timeout_ms.get());
    page.whole("canary_interval_s", worker.canary_interval_s);
    page.switch("overcommit_memory", worker.overcommit_memory);
    page.section("worker.lanes");
    page.whole("interactive", worker.lanes.interactive);
    page.whole("bulk", worker.lanes.bulk);
}

fn amqp(page: &mut Page, amqp: &AmqpSection, secrets: Secrets) {
    page.section("amqp");
    if secrets == Secrets::Redacted {
        page.text("uri", &amqp.uri.redacted());
        for (key, file) in [
            ("uri_file", &amqp.uri_file),
            ("password_file", &amqp.password_file),
            ("ca_file", &amqp.ca_file),
            ("client_cert_file", &amqp.client_cert_file),
            ("client_key_file", &amqp.client_key_file),
        ] {
            page.text(key, file.as_deref().unwrap_or_default());
        }
    }
    page.text("prefix", &amqp.prefix);
    page.whole("heartbeat_s", amqp.heartbeat_s);
    page.whole("connect_timeout_ms", amqp.connect_timeout_ms.get());
    page.whole("confirm_timeout_ms", amqp.confirm_timeout_ms.get());
    page.text("reply_mode", amqp.reply_mode.as_str());
    page.whole("prefetch_extra", amqp.prefetch_extra);
    page.whole("backoff_min_ms", amqp.backoff_min_ms.get());
    page.whole("backoff_max_ms", amqp.backoff_max_ms.get());
    page.whole("topology_check_ms", amqp.topology_check_ms.get());
    page.whole("threads", amqp.threads);
}

fn tenants(page: &mut Page, tenant: &Tenant) {
    page.section(&format!("tenants.{}", tenant.name));
    page.text("vhost", &tenant.vhost);
    page.whole("weight", tenant.weight);
    if let Some(uri) = &tenant.uri {
        page.text("uri", &uri.redacted());
    }
    let files = [
        ("uri_file", &tenant.uri_file),
        ("password_file", &tenant.password_file),
    ];
    for (key, file) in files {
        if let Some(file) = file {
            page.text(key, file);
        }
    }
}

fn warden(page: &mut Page, warden: &WardenSection) {
    page.section("warden");
    page.text("path", warden.path.as_deref().unwrap_or_default());
    page.text("apparmor", warden.apparmor.as_deref().unwrap_or_default());
    page.whole("uid_base", warden.uid_base);
    page.whole("uid_count", warden.uid_count);
    page.text("state_dir", &warden.state_dir);
    page.text("cgroup_name", &warden.cgroup_name);
    page.whole("sweep_timeout_ms", warden.sweep_timeout_ms.get());
    page.binds("system_binds", &warden.system_binds);
}

fn caps(page: &mut Page, caps: &CapsSection) {
    page.section("caps");
    page.whole("message_bytes", caps.message_bytes);
    page.whole("result_bytes", caps.result_bytes);
    page.whole("depth", caps.depth);
    page.whole("files", caps.files);
    page.whole("argv", caps.argv);
    page.whole("env", caps.env);
    page.whole("python_path", caps.python_path);
    page.whole("artifacts", caps.artifacts);
    page.whole("artifact_entries", caps.artifact_entries);
    page.whole("artifact_bytes", caps.artifact_bytes);
    page.whole("artifacts_bytes", caps.artifacts_bytes);
    page.whole("globals_bytes", caps.globals_bytes);
    page.whole("argument_bytes", caps.argument_bytes);
}

fn retry(page: &mut Page, retry: &RetryPolicy) {
    page.section("retry");
    page.whole("faults", retry.faults);
    page.whole("suspect_deliveries", retry.suspect_deliveries);
    page.whole("suspect_tries", retry.suspect_tries);
    page.whole("delay_min_ms", retry.delay_min.as_millis());
    page.whole("delay_max_ms", retry.delay_max.as_millis());
}

fn log(page: &mut Page, log: &LogSection) {
    page.section("log");
    page.text("format", log.format.as_str());
    page.text("level", &log.level);
}

fn runtime(page: &mut Page, runtime: &Runtime) {
    let section = format!("runtimes.{}", runtime.name);
    page.section(&section);
    page.text("offered", runtime.presence.as_str());
    match &runtime.program {
        Program::Path(path) => page.text("program", path),
        Program::MainFile => page.text("program", MAIN_FILE),
    }
    page.texts("args", &runtime.args);
    page.text("main_file", &runtime.main_file);
    page.binds("binds", &runtime.binds);
    page.text("cwd", runtime.cwd.as_str());
    page.switch("passwd", runtime.passwd);
    page.switch("globals", runtime.globals);
    page.text("unknown_profile", runtime.unknown_profile.as_str());
    page.text("apparmor", runtime.apparmor.as_deref().unwrap_or_default());
    page.switch("execute_scratch", runtime.execute_scratch);
    page.section(&format!("{section}.env"));
    for (name, value) in &runtime.env {
        page.text(name, value);
    }
    page.section(&format!("{section}.limits"));
    request(page, &all(&runtime.limits));
    page.section(&format!("{section}.ceiling"));
    request(page, &all(&runtime.ceiling.0));
}

/// The limits as a request that names every one of them.
fn all(limits: &Limits) -> LimitsRequest {
    LimitsRequest {
        cpu_ms: Some(limits.cpu_ms.get()),
        wall_ms: Some(limits.wall_ms.get()),
        memory_bytes: Some(limits.memory_bytes.get()),
        address_space_bytes: limits.address_space_bytes.map(|bytes| bytes.get()),
        file_bytes: Some(limits.file_bytes.get()),
        disk_bytes: Some(limits.disk_bytes.get()),
        disk_files: Some(limits.disk_files.get()),
        processes: Some(limits.processes.get()),
        open_files: Some(limits.open_files.get()),
        output_bytes: Some(limits.output_bytes.get()),
        stack_bytes: Some(limits.stack_bytes.get()),
    }
}

fn request(page: &mut Page, request: &LimitsRequest) {
    let named = [
        ("cpu_ms", request.cpu_ms),
        ("wall_ms", request.wall_ms),
        ("memory_bytes", request.memory_bytes),
        ("address_space_bytes", request.address_space_bytes),
        ("file_bytes", request.file_bytes),
        ("disk_bytes", request.disk_bytes),
        ("disk_files", request.disk_files),
        ("processes", request.processes),
        ("open_files", request.open_files),
        ("output_bytes", request.output_bytes),
        ("stack_bytes", request.stack_bytes),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            page.whole(name, value);
        }
    }
}

/// TOML being written. Only what settings need: sections and lines.
#[derive(Default)]
struct Page(String);

impl Page {
    fn section(&mut self, path: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        self.0.push_str(&format!("{gap}[{path}]\n"));
    }

    fn line(&mut self, name: &str, value: &str) {
        self.0.push_str(&format!("{name} = {value}\n"));
    }

    fn text(&mut self, name: &str, value: &str) {
        self.line(name, &quoted(value));
    }

    fn whole(&mut self, name: &str, value: impl ToString) {
        self.line(name, &value.to_string());
    }

    fn switch(&mut self, name: &str, value: bool) {
        self.line(name, if value { "true" } else { "false" });
    }

    fn texts(&mut self, name: &str, values: &[String]) {
        let quoted: Vec<String> = values.iter().map(|value| quoted(value)).collect();
        self.line(name, &format!("[{}]", quoted.join(", ")));
    }

    fn binds(&mut self, name: &str, binds: &[Bind]) {
        let tables = binds.iter().map(|bind| {
            let (source, target) = (quoted(&bind.source), quoted(&bind.target));
            format!(
                "    {{ source = {source}, target = {target}, optional = {} }},\n",
                bind.optional
            )
        });
        let tables: String = tables.collect();
        let value = if tables.is_empty() {
            "[]".to_owned()
        } else {
            format!("[\n{tables}]")
        };
        self.line(name, &value);
    }
}

/// A basic TOML string: quotes, backslashes and control characters escaped.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(control)));
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}
