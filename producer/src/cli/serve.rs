//! The command line of `serve`.

use clap::Args;

pub(super) const SERVE_HELP: &str = "\
Examples:
  jailfleet-producer serve
      codejail's HTTP interface at 127.0.0.1:8550, where edX looks for it
  jailfleet-producer serve --listen 10.0.0.5:8550 --set serve.profile=codejail --config site.toml
  curl --data-urlencode 'payload={\"code\": \"y = x + 1\", \"globals_dict\": {\"x\": 16}}' \\
      http://127.0.0.1:8550/api/v0/code-exec
      {\"globals_dict\":{\"x\":16,\"y\":17}}

It answers POST /api/v0/code-exec and GET /health/ as codejail-service does, and runs the code
on the workers of the pool producer.pool, in the lane interactive. It runs none before its safety
checks have passed there. Whoever goes away has his job cancelled. Nobody is asked who he is, so
that it listens on loopback and private addresses only, and refuses what web pages send. The
section [serve] of the configuration has the rest; /metrics, /healthz and /readyz are at
serve.admin_listen.

With api.listen it has an interface of its own beside that, at /api/v1: any job, for callers
with tokens, asked for later at any gateway. docs/gateway.md shows how.

Exit codes: 0 stopped by SIGTERM or SIGINT, with every request under way answered, 1 failed,
2 wrong command line or configuration.";

/// Where to serve.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Where to answer; the setting serve.listen if left out. Loopback or a private address.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
}

impl ServeArgs {
    /// The same as settings, vetted like all others.
    pub(super) fn settings(&self) -> Option<(String, String)> {
        let listen = self.listen.clone()?;
        Some(("serve.listen".to_owned(), listen))
    }
}
