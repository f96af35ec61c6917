//! Kernel modules: unpacked, without signatures, in the order of their dependencies.

use crate::programs::filter;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Writes `wanted` and what they depend on into `into`, with a file `order` that lists them in the
/// order in which they can be loaded.
pub(crate) fn collect(tree: &Path, wanted: &[&str], into: &Path) -> Result<()> {
    let files = files_below(tree)?;
    let mut unpacked = BTreeMap::new();
    let order = order(wanted, |name| {
        let Some(path) = files.get(name) else {
            // A module of one kernel is a part of another.
            return Ok(None);
        };
        let module = without_signature(unpack(path)?);
        let depends = depends(&module);
        unpacked.insert(name.to_owned(), module);
        Ok(Some(depends))
    })?;
    std::fs::create_dir_all(into).context("make a folder for the modules")?;
    for name in &order {
        let module = unpacked.get(name).context("find a module again")?;
        std::fs::write(into.join(name), module).with_context(|| format!("write {name}"))?;
    }
    std::fs::write(into.join("order"), order.join("\n")).context("write the modules' order")
}

/// Module files by name; `-` and `_` are one letter in such names.
fn files_below(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let words = || format!("list {}", folder.display());
        for entry in std::fs::read_dir(&folder).with_context(words)? {
            let entry = entry.with_context(words)?;
            if entry.file_type().with_context(words)?.is_dir() {
                open.push(entry.path());
            } else if let Some((name, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
                found.insert(name.replace('-', "_"), entry.path());
            }
        }
    }
    Ok(found)
}

fn unpack(path: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    match path.extension().and_then(|end| end.to_str()) {
        Some("ko") => Ok(bytes),
        Some("xz") => filter("xz", &["-dc"], &bytes),
        Some("zst") => filter("zstd", &["-dcq"], &bytes),
        Some(_) | None => bail!("unpack {}", path.display()),
    }
}

/// Every module after those that it depends on, each once. `depends_of` answers `None` for what is
/// no module.
fn order(
    wanted: &[&str],
    mut depends_of: impl FnMut(&str) -> Result<Option<Vec<String>>>,
) -> Result<Vec<String>> {
    fn visit(
        name: &str,
        above: &mut Vec<String>,
        order: &mut Vec<String>,
        depends_of: &mut dyn FnMut(&str) -> Result<Option<Vec<String>>>,
    ) -> Result<()> {
        if order.iter().any(|done| done == name) {
            return Ok(());
        }
        if above.iter().any(|over| over == name) {
            bail!("order modules that depend on one another: {above:?}");
        }
        let Some(depends) = depends_of(name)? else {
            return Ok(());
        };
        above.push(name.to_owned());
        for other in &depends {
            visit(other, above, order, depends_of)?;
        }
        above.pop();
        order.push(name.to_owned());
        Ok(())
    }
    let mut order = Vec::new();
    for name in wanted {
        visit(name, &mut Vec::new(), &mut order, &mut depends_of)?;
    }
    Ok(order)
}

/// What a module says of itself in its section `.modinfo`: `key=value` strings, each ended by a NUL.
fn depends(module: &[u8]) -> Vec<String> {
    let line = module
        .split(|byte| *byte == 0)
        .find_map(|text| text.strip_prefix(b"depends="))
        .unwrap_or_default();
    String::from_utf8_lossy(line)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

/// Checking a signature costs an emulated processor a noticeable while for each module, and the
/// guest asks for none.
///
/// # Source
/// The kernel's Documentation/admin-guide/module-signing.rst and `struct module_signature`: at the
/// very end a magic line, before it 12 bytes of which the last four are the signature's length.
fn without_signature(mut module: Vec<u8>) -> Vec<u8> {
    const MAGIC: &[u8] = b"~Module signature appended~\n";
    let length = module.strip_suffix(MAGIC).and_then(|rest| {
        let (rest, length) = rest.split_last_chunk::<4>()?;
        let signature = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        rest.len().checked_sub(8 + signature)
    });
    if let Some(length) = length {
        module.truncate(length);
    }
    module
}

#[cfg(test)]
mod tests {
    use super::{depends, order, without_signature};
    use anyhow::Result;

    fn tree(name: &str) -> Result<Option<Vec<String>>> {
        let depends = match name {
            "ext4" => &["jbd2", "mbcache"][..],
            "9p" => &["9pnet", "netfs"],
            "9pnet_virtio" => &["9pnet", "virtio"],
            "a" => &["b"],
            "b" => &["a"],
            "crc_built_in" => return Ok(None),
            _ => &[],
        };
        Ok(Some(depends.iter().map(|&name| name.to_owned()).collect()))
    }

    #[test]
    fn every_module_comes_once_and_after_those_it_depends_on() {
        let order = order(&["9pnet_virtio", "crc_built_in", "9p", "ext4"], tree);
        assert_eq!(
            order.expect("there is an order"),
            [
                "9pnet",
                "virtio",
                "9pnet_virtio",
                "netfs",
                "9p",
                "jbd2",
                "mbcache",
                "ext4"
            ]
        );
    }

    #[test]
    fn modules_that_depend_on_one_another_are_an_error_and_no_endless_loop() {
        order(&["a"], tree).expect_err("there is no order");
    }

    #[test]
    fn a_module_says_what_it_depends_on() {
        let module = b"\x7fELF...\0license=GPL\0depends=jbd2,crc-16\0name=ext4\0";
        assert_eq!(depends(module), ["jbd2", "crc_16"]);
        assert_eq!(depends(b"depends=\0name=x\0"), Vec::<String>::new());
    }

    #[test]
    fn a_signature_is_cut_off_and_a_module_without_one_stays_as_it_is() {
        let mut signed = b"module".to_vec();
        signed.extend(b"signature");
        signed.extend([0; 8]);
        signed.extend(9_u32.to_be_bytes());
        signed.extend(b"~Module signature appended~\n");
        assert_eq!(without_signature(signed), b"module");
        assert_eq!(without_signature(b"module".to_vec()), b"module");
    }
}
