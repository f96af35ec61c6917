//! The images, from Debian's packages and the programs that were built here.

use crate::containers::daemon::Daemon;
use crate::programs::{capture, run};
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::path::Path;

/// A broker.
pub(super) const BROKER: &str = "jailfleet-trial-broker";
/// Worker and producer.
pub(super) const JAILFLEET: &str = "jailfleet-trial";

const RECIPE: &str = "\
FROM jailfleet-trial-broker
COPY jailfleet-worker jailfleet-warden jailfleet-producer /usr/local/bin/
CMD [\"jailfleet-worker\"]
";

/// Makes both.
pub(super) fn make(
    workspace: &Workspace,
    daemon: &Daemon,
    base: &Path,
    folder: &Path,
) -> Result<()> {
    let mut import = daemon.docker();
    import
        .args(["import", "--change", "CMD [\"rabbitmq-server\"]"])
        .arg(base)
        .arg(BROKER);
    capture("docker import", &mut import)?;
    let recipe = folder.join("image");
    std::fs::create_dir_all(&recipe).context("make a folder for the image")?;
    for program in ["jailfleet-worker", "jailfleet-warden", "jailfleet-producer"] {
        std::fs::copy(workspace.release(program), recipe.join(program))
            .with_context(|| format!("copy {program}"))?;
    }
    std::fs::write(recipe.join("Dockerfile"), RECIPE).context("write a Dockerfile")?;
    let mut build = daemon.docker();
    // The builder that every version of the daemon has.
    build.env("DOCKER_BUILDKIT", "0");
    build
        .args(["build", "--quiet", "--tag", JAILFLEET])
        .arg(&recipe);
    run("docker build", &mut build)
}
