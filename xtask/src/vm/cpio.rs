//! The small archive that the kernel unpacks as its first root.

use std::fmt::Write;

/// An archive in the format `newc`. Everything in it belongs to root, whoever makes it.
///
/// # Source
/// The kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const DEVICE: u32 = 0o020_600;

impl Archive {
    /// Adds a folder.
    pub(crate) fn folder(&mut self, name: &str) {
        self.entry(name, FOLDER, (0, 0), &[]);
    }

    /// Adds a file that may be executed.
    pub(crate) fn file(&mut self, name: &str, content: &[u8]) {
        self.entry(name, PROGRAM, (0, 0), content);
    }

    /// Adds a character device.
    pub(crate) fn device(&mut self, name: &str, major: u32, minor: u32) {
        self.entry(name, DEVICE, (major, minor), &[]);
    }

    /// The archive's bytes.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a first root is small");
        // Number, mode, owner, group, links, time, size, device, device of the node, name, sum.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            length(content),
            0,
            0,
            device.0,
            device.1,
            length(name.as_bytes()) + 1,
            0,
        ];
        let mut header = "070701".to_owned();
        for field in fields {
            write!(header, "{field:08x}").expect("a string takes everything");
        }
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        let length = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(length, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn names_and_contents_begin_at_multiples_of_four() {
        let mut archive = Archive::default();
        archive.folder("dev");
        archive.file("init", b"12345");
        let bytes = archive.finish();
        let at = |part: &[u8]| {
            bytes
                .windows(part.len())
                .position(|window| window == part)
                .expect("it is in there")
        };
        assert_eq!(at(b"dev\0"), 110);
        assert_eq!(at(b"12345") % 4, 0);
        assert_eq!(
            at(b"070701000000020000"),
            116,
            "the second entry follows at once"
        );
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[54..62], b"00000000", "a folder has no content");
    }
}
