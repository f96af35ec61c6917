//! Whatever a taken-over worker sends its warden, or a program its init: what reads at all is
//! exactly what our own side would have written, and no length leads out of the bytes.

#![no_main]

use jailfleet::artifact::{ArtifactCaps, ArtifactPath};
use jailfleet_sandbox::artifacts::{self, Wanted};
use jailfleet_sandbox::link::{self, Command, Word};
use jailfleet_sandbox::payload::{self, Item, Unpacker};
use jailfleet_sandbox::protocol::{self, DATAGRAM_BYTES, Order, Report};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // As it came: a wrong length or beginning.
    warden(bytes);
    init(bytes);
    unpack(bytes);
    // As if the fuzzer knew what every message has in common: with its beginning and a kind, most of a
    // datagram is zeros, which a fuzzer is slow to find.
    warden(&datagram(protocol::MAGIC, bytes));
    init(&datagram(link::MAGIC, bytes));
    unpack(&[&payload::MAGIC, bytes].concat());
    artifacts_of(bytes);
});

fn datagram(magic: [u8; 4], rest: &[u8]) -> Vec<u8> {
    let mut datagram = [&magic, rest].concat();
    datagram.resize(DATAGRAM_BYTES, 0);
    datagram
}

fn warden(bytes: &[u8]) {
    if let Ok(order) = Order::decode(bytes) {
        assert_eq!(order.encode().as_slice(), bytes, "{order:?}");
    }
    if let Ok(report) = Report::decode(bytes) {
        assert_eq!(report.encode().as_slice(), bytes, "{report:?}");
    }
}

fn init(bytes: &[u8]) {
    if let Ok(command) = Command::decode(bytes) {
        assert_eq!(command.encode().as_slice(), bytes, "{command:?}");
    }
    if let Ok(word) = Word::decode(bytes) {
        assert_eq!(word.encode().as_slice(), bytes, "{word:?}");
    }
}

/// What a taken-over worker asks a collector for, and what a taken-over collector answers.
fn artifacts_of(bytes: &[u8]) {
    let asked = [&artifacts::WANTED_MAGIC[..], &[0; 24], bytes].concat();
    if let Ok(mut wanted) = Wanted::open(&asked) {
        while let Ok(Some((_, path))) = wanted.next() {
            assert!(path.to_bytes_with_nul().len() <= artifacts::MOST_PATH_BYTES);
        }
    }
    let caps = ArtifactCaps { entries: 4, file_bytes: 100, all_bytes: 150 };
    let wanted = ["f", "d/"].map(|text| ArtifactPath::parse(text).expect("a path"));
    let stream = [&artifacts::STREAM_MAGIC[..], bytes].concat();
    let gathered = artifacts::read(&stream, &wanted, &caps);
    let sizes = gathered.artifacts.iter().map(|file| file.content.as_bytes().len());
    assert!(sizes.sum::<usize>() <= caps.all_bytes, "more than all may have");
    for file in &gathered.artifacts {
        let name = file.path.as_str();
        assert!(name == "f" || name.starts_with("d/"), "a name that nobody asked for");
    }
    assert!(gathered.left_out.len() <= caps.entries + 3 * wanted.len());
}

fn unpack(bytes: &[u8]) {
    let Ok(mut unpacker) = Unpacker::open(bytes) else {
        return;
    };
    let mut carried = 0;
    while let Ok(Some(item)) = unpacker.next() {
        carried += match item {
            Item::Argument(text) | Item::Variable(text) | Item::Directory(text) => {
                text.to_bytes_with_nul().len()
            }
            Item::Main(content) => content.len(),
            Item::File { path, content, .. } => path.to_bytes_with_nul().len() + content.len(),
        };
        // Each item has a tag and a length besides: it cannot carry more than came.
        assert!(carried < bytes.len(), "an item reaches out of its payload");
    }
}
