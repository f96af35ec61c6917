//! A virtual environment for one example, and the configuration that offers it as a runtime.

use crate::programs::{command, run};
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// Where the documents put the environment, and where our jails find it as well.
const DOCUMENTED: &str = "/opt/jailfleet/venv";

/// The name by which pip knows what is in `examples/python-venv/packages`.
const WHEEL: &str = "example_weather-1.0-py3-none-any.whl";

/// The commands that make the environment `venv` with `package` in it. `docs/configuration.md` and the
/// example's own configuration show the same ones, which a test below holds.
fn recipe(venv: &str, package: &str) -> [Vec<String>; 3] {
    let (pip, python) = (format!("{venv}/bin/pip"), format!("{venv}/bin/python"));
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    [
        words(&["/usr/bin/python3", "-m", "venv", "--copies", venv]),
        words(&[&pip, "install", package]),
        words(&[&python, "-m", "compileall", "-q", venv]),
    ]
}

/// Makes the environment in `folder` and returns the configuration file that names it.
///
/// Nothing is written to /opt of a developer's machine and nothing is fetched: the environment lies
/// in `folder`, is bound to the place that the documents name, and its package is a wheel of ours.
pub(crate) fn configuration(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    let example = workspace.examples().join("python-venv");
    let wheel = wheel(&example.join("packages"), folder)?;
    let venv = folder.join("venv");
    let venv = text(&venv)?;
    for step in recipe(venv, text(&wheel)?) {
        let (program, arguments) = step.split_first().context("find a command's name")?;
        let mut step = command(program);
        // Without an index pip looks nowhere but at the wheel, and it says only what goes wrong.
        step.args(arguments)
            .envs([("PIP_NO_INDEX", "1"), ("PIP_QUIET", "1")])
            .env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        run(&format!("{program} {}", arguments.join(" ")), &mut step)?;
    }
    let documented = std::fs::read_to_string(example.join("worker.toml"))
        .context("read the example's configuration")?;
    let file = folder.join("worker.toml");
    std::fs::write(&file, bound(&documented, venv)?)
        .with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}

/// The example's configuration with our environment in the place of the documented one.
pub(crate) fn bound(documented: &str, venv: &str) -> Result<String> {
    ensure!(!venv.contains(['"', '\\']), "write {venv} into a TOML file");
    let bind = format!("{{ source = \"{DOCUMENTED}\" }}");
    ensure!(
        documented.contains(&bind),
        "find {bind} in the example's configuration"
    );
    let ours = format!("{{ source = \"{venv}\", target = \"{DOCUMENTED}\" }}");
    Ok(documented.replace(&bind, &ours))
}

/// The package as pip installs it without a build: a zip file with a telling name.
fn wheel(packages: &Path, folder: &Path) -> Result<PathBuf> {
    let wheel = folder.join(WHEEL);
    let mut zip = command("/usr/bin/python3");
    zip.current_dir(packages)
        .args(["-m", "zipfile", "-c"])
        .arg(&wheel)
        .args(["example_weather", "example_weather-1.0.dist-info"]);
    run("python3 -m zipfile", &mut zip)?;
    Ok(wheel)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("use a folder whose name is text")
}

#[cfg(test)]
mod tests {
    use super::{DOCUMENTED, bound, recipe};
    use std::path::Path;

    fn read(path: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn the_demo_makes_its_environment_by_the_commands_that_the_documents_show() {
        for (path, indent) in [
            ("docs/configuration.md", "    "),
            ("examples/python-venv/worker.toml", "#     "),
        ] {
            let page = read(path);
            let lines: Vec<&str> = page.lines().collect();
            let mut blocks = lines.split(|line| !line.starts_with(indent));
            let block = blocks.find(|block| block.iter().any(|line| line.contains("-m venv")));
            let shown = block.expect("it shows how to make an environment");
            let shown: Vec<_> = shown
                .iter()
                .map(|line| line.trim_start_matches(indent))
                .collect();
            let ours = recipe(DOCUMENTED, "numpy").map(|step| step.join(" "));
            assert_eq!(shown, ours, "{path}");
        }
    }

    #[test]
    fn the_demos_runtime_is_the_documented_one_but_for_where_its_environment_comes_from() {
        let documented = read("examples/python-venv/worker.toml");
        let ours = bound(&documented, "/somewhere/venv").expect("it has the bind");
        let different = documented.lines().zip(ours.lines());
        let different: Vec<_> = different.filter(|(one, other)| one != other).collect();
        let bind = r#"binds = [{ source = "/opt/jailfleet/venv" }]"#;
        let our_bind =
            r#"binds = [{ source = "/somewhere/venv", target = "/opt/jailfleet/venv" }]"#;
        assert_eq!(different, [(bind, our_bind)]);
    }
}
