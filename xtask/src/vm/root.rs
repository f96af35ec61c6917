//! The guest's disk: an ext4 image of Debian packages that are unpacked and never configured.

use crate::programs::{command, run};
use crate::vm::apt::Apt;
use crate::vm::recipe::{FILES, ROOT_PACKAGES, Suite, UNREAD};
use anyhow::{Context, Result};
use std::path::Path;

/// Name of the image in its folder.
pub(crate) const IMAGE: &str = "root.ext4";

/// Builds it in `folder`.
pub(crate) fn make(folder: &Path) -> Result<()> {
    println!("Building the guest's disk: about 60 MB are fetched ...");
    let scratch = folder.join("scratch");
    let tree = scratch.join("tree");
    skeleton(&tree)?;
    let apt = Apt::open(&scratch.join("apt"), &[Suite::Stable])?;
    let packages = apt.download(&ROOT_PACKAGES)?;
    println!("Unpacking {} packages ...", packages.len());
    for package in &packages {
        unpack(package, &tree)?;
    }
    for unread in UNREAD {
        let path = tree.join(unread);
        if path.exists() {
            std::fs::remove_dir_all(&path).with_context(|| format!("remove {unread}"))?;
        }
    }
    for (name, text) in FILES {
        std::fs::write(tree.join(name), text).with_context(|| format!("write {name}"))?;
    }
    compile_python(&tree)?;
    println!("Making the image ...");
    image(&tree, &folder.join(IMAGE))?;
    std::fs::remove_dir_all(&scratch).context("remove what was fetched")
}

/// Folders that must be there first: in Debian, `/bin` is a link, and no package says so.
fn skeleton(tree: &Path) -> Result<()> {
    use std::os::unix::fs::{PermissionsExt, symlink};
    for name in ["bin", "sbin", "lib", "lib64"] {
        std::fs::create_dir_all(tree.join("usr").join(name)).context("make the root's folders")?;
        symlink(format!("usr/{name}"), tree.join(name)).context("make the root's links")?;
    }
    for name in [
        "dev",
        "etc",
        "home/plain",
        "opt",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
        "var/tmp",
    ] {
        std::fs::create_dir_all(tree.join(name)).context("make the root's folders")?;
    }
    std::fs::set_permissions(tree.join("root"), PermissionsExt::from_mode(0o700))
        .context("close root's home")
}

/// Unpacks a package through the links that are there, instead of replacing them.
fn unpack(package: &Path, tree: &Path) -> Result<()> {
    let tar = package.with_extension("tar");
    let file = std::fs::File::create(&tar).context("make room for a package")?;
    let mut open = command("dpkg-deb");
    open.arg("--fsys-tarfile").arg(package).stdout(file);
    run("dpkg-deb", &mut open)?;
    let mut extract = command("tar");
    extract
        .args(["--extract", "--keep-directory-symlink", "--no-same-owner"])
        .arg("--directory")
        .arg(tree)
        .arg("--file")
        .arg(&tar);
    run("tar", &mut extract)?;
    std::fs::remove_file(&tar).context("remove a package's files")
}

/// Compiles Python's library, as its package's own script would have: a jail cannot write there, so
/// that each start would compile it anew, and an emulated processor takes seconds for that.
///
/// The guest's Python does it itself, by its own loader: it need not fit the host's, and nobody has
/// to be root. By hash and unchecked, since times do not survive the way into the image for certain.
fn compile_python(tree: &Path) -> Result<()> {
    println!("Compiling Python's library ...");
    let usr = tree.join("usr");
    let library = std::fs::read_dir(usr.join("lib"))
        .context("look for Python's library")?
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .find(|name| name.starts_with("python3."))
        .context("find Python's library")?;
    let mut compile = command(tree.join("lib64/ld-linux-x86-64.so.2"));
    compile
        .arg("--library-path")
        .arg(usr.join("lib/x86_64-linux-gnu"))
        .arg(usr.join("bin").join(&library))
        .args([
            "-m",
            "compileall",
            "-q",
            "--invalidation-mode",
            "unchecked-hash",
        ])
        .arg("-s")
        .arg(tree)
        .args(["-p", "/"])
        .arg(usr.join("lib").join(&library))
        .env_clear()
        .env("PYTHONHOME", &usr);
    run("python3 -m compileall", &mut compile)
}

/// Makes an image that is a little larger than the tree. Without journal and checksums: each boot
/// starts from it afresh, and writes go to a file that is thrown away.
fn image(tree: &Path, image: &Path) -> Result<()> {
    const SPARE_MIB: u64 = 64;
    let mut size = command("du");
    let text = crate::programs::capture("du", size.args(["-sm", "--"]).arg(tree))?;
    let used: u64 = text
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .context("read the size of the tree")?;
    let size = format!("{}M", used + used / 5 + SPARE_MIB);
    // For somebody who is not root, the files become root's within a user namespace.
    let mut make = if rustix::process::geteuid().is_root() {
        command("/sbin/mke2fs")
    } else {
        let mut make = command("unshare");
        make.args(["--map-root-user", "/sbin/mke2fs"]);
        make
    };
    make.args([
        "-q",
        "-t",
        "ext4",
        "-m",
        "0",
        "-O",
        "^has_journal,^metadata_csum",
    ])
    .arg("-d")
    .arg(tree)
    .arg(image)
    .arg(size);
    run("mke2fs", &mut make)
}
