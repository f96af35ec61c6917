//! Takes the kernel's ELF out of a bzImage, once, so that no boot has to unpack it on an emulated
//! processor. QEMU boots the ELF by its PVH note.

use crate::programs::filter;
use anyhow::{Context, Result, bail, ensure};

/// How the kernel inside is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Gzip,
    Xz,
    Zstd,
}

/// The kernel's ELF.
///
/// # Errors
/// When the image is none, or is packed in a way that nobody here can unpack.
pub(crate) fn vmlinux(image: &[u8]) -> Result<Vec<u8>> {
    let payload = payload(image).context("find the kernel in its boot image")?;
    let (packing, packed) = packing(payload)?;
    let (program, flags) = match packing {
        Packing::Gzip => ("gzip", "-dc"),
        Packing::Xz => ("xz", "-dc"),
        Packing::Zstd => ("zstd", "-dcq"),
    };
    let elf = filter(program, &[flags], packed)?;
    ensure!(elf.starts_with(b"\x7fELF"), "find an ELF in the boot image");
    Ok(elf)
}

/// The packed kernel.
///
/// # Source
/// The kernel's Documentation/arch/x86/boot.rst: `setup_sects` at 0x1f1, the magic `HdrS` at 0x202,
/// `payload_offset` (from the end of the setup part) at 0x248 and `payload_length` at 0x24c.
fn payload(image: &[u8]) -> Option<&[u8]> {
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let word = |at: usize| {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    // Zero means four, for the sake of very old loaders.
    let sectors = match *image.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + word(0x248)?;
    image.get(start..start.checked_add(word(0x24c)?)?)
}

/// How the payload is packed, and the payload without the length that the kernel's build appends to
/// what xz and zstd wrote: their own programs take it for garbage.
fn packing(payload: &[u8]) -> Result<(Packing, &[u8])> {
    let without_length = payload
        .get(..payload.len().saturating_sub(4))
        .unwrap_or(&[]);
    match payload {
        [0x1f, 0x8b, ..] => Ok((Packing::Gzip, payload)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Ok((Packing::Xz, without_length)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok((Packing::Zstd, without_length)),
        other => bail!(
            "unpack a kernel that begins with {:x?}",
            other.get(..6).unwrap_or(other)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{Packing, packing, payload};

    /// An image whose payload is `bytes`, eight bytes behind a setup part of two sectors.
    fn image(bytes: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 3 * 512 + 8];
        image[0x1f1] = 2;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&8_u32.to_le_bytes());
        let length = u32::try_from(bytes.len()).expect("a short payload");
        image[0x24c..0x250].copy_from_slice(&length.to_le_bytes());
        image.extend_from_slice(bytes);
        image.extend_from_slice(b"what follows");
        image
    }

    #[test]
    fn the_payload_is_found_by_the_header_and_nothing_else_is_taken() {
        assert_eq!(payload(&image(b"kernel")), Some(&b"kernel"[..]));
        let mut other = image(b"kernel");
        other[0x202] = b'X';
        assert_eq!(payload(&other), None);
        let mut lying = image(b"kernel");
        lying[0x24c..0x250].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(payload(&lying), None);
        assert_eq!(payload(b"MZ"), None);
    }

    #[test]
    fn the_length_behind_a_packed_kernel_is_no_part_of_it() {
        let seen = packing(b"\xfd7zXZ\0data\x01\0\0\0").expect("a known packing");
        assert_eq!(seen, (Packing::Xz, &b"\xfd7zXZ\0data"[..]));
        let seen = packing(b"\x28\xb5\x2f\xfddata\x01\0\0\0").expect("a known packing");
        assert_eq!(seen, (Packing::Zstd, &b"\x28\xb5\x2f\xfddata"[..]));
        let seen = packing(b"\x1f\x8bdata").expect("a known packing");
        assert_eq!(seen, (Packing::Gzip, &b"\x1f\x8bdata"[..]));
        packing(b"\x02!L\x18").expect_err("nobody here unpacks lz4");
    }
}
