//! The manifests for Kubernetes against the schemas of its API, without any cluster.

use crate::needs::{self, Install, Need};
use crate::programs::{command, output, run};
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Output;

/// It brings the schemas along, so that nothing is fetched when it runs.
const PACKAGE: &str = "kubernetes-validate==1.37.0";
/// The oldest version that has the field `appArmorProfile`, and the newest that the package knows.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];
const PYTHON: &str = "/usr/bin/python3";

/// Checks every manifest of `deploy/kubernetes`.
///
/// # Errors
/// What the schemas do not allow, a field that they do not know included.
pub(crate) fn check(workspace: &Workspace, install: Install) -> Result<()> {
    needs::provide(&[Need::Python, Need::Pip], install)?;
    let packages = fetch(workspace)?;
    let manifests = manifests(&workspace.root().join("deploy/kubernetes"))?;
    ensure!(!manifests.is_empty(), "find a manifest");
    for version in VERSIONS {
        let checked = validate(&packages, version, &manifests)?;
        print!("{}", String::from_utf8_lossy(&checked.stdout));
        let words = String::from_utf8_lossy(&checked.stderr);
        ensure!(
            checked.status.success(),
            "like the manifests: {}",
            words.trim()
        );
        // What likes everything proves nothing.
        let folder = workspace.fresh_folder("kubernetes-broken")?;
        for manifest in &manifests {
            let broken = broken(manifest, &folder)?;
            let checked = validate(&packages, version, &[broken])?;
            ensure!(
                !checked.status.success(),
                "refuse a field that {} does not have",
                manifest.display()
            );
        }
    }
    Ok(())
}

fn validate(packages: &Path, version: &str, manifests: &[PathBuf]) -> Result<Output> {
    let mut validate = command(PYTHON);
    validate
        .env("PYTHONPATH", packages)
        .args(["-m", "kubernetes_validate", "--strict", "-k", version])
        .args(manifests);
    output("kubernetes-validate", &mut validate)
}

/// The package with what it needs, from PyPI if it is not there.
fn fetch(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.folder("kubernetes")?;
    let packages = folder.join(PACKAGE);
    if packages.exists() {
        return Ok(packages);
    }
    println!("Fetching {PACKAGE} (Apache-2.0) from PyPI ...");
    let unfinished = folder.join("unfinished");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).context("remove what was left half done")?;
    }
    let mut pip = command(PYTHON);
    pip.env("PIP_ROOT_USER_ACTION", "ignore")
        .args(["-m", "pip", "install", "--quiet", "--only-binary=:all:"])
        .arg("--target")
        .arg(&unfinished)
        .arg(PACKAGE);
    run("pip install", &mut pip)?;
    // What is half there never has the name of what is whole.
    std::fs::rename(&unfinished, &packages).context("put the package in place")?;
    Ok(packages)
}

fn manifests(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).context("list the manifests")? {
        let path = entry.context("list the manifests")?.path();
        if path.extension().is_some_and(|end| end == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The manifest with a field that nobody knows.
fn broken(manifest: &Path, folder: &Path) -> Result<PathBuf> {
    let text = std::fs::read_to_string(manifest).context("read a manifest")?;
    let name = manifest.file_name().context("read a manifest's name")?;
    let broken = text.replacen("\nspec:\n", "\nspec:\n  jailfleetUnknown: 1\n", 1);
    ensure!(broken != text, "find the spec of {}", manifest.display());
    let path = folder.join(name);
    std::fs::write(&path, broken).context("write a manifest")?;
    Ok(path)
}
