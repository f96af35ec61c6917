//! Whatever a crash, a full disk or a person made of a journal: its reader says what is whole, and
//! what is whole reads the same again.

#![no_main]

use jailfleet_producer::journal::replay;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match replay(bytes) {
        Ok(replayed) => {
            let whole = &bytes[..replayed.valid_bytes];
            let torn = &bytes[replayed.valid_bytes..];
            assert!(!torn.contains(&b'\n'), "only a torn last line is cut off");
            assert_eq!(replay(whole), Ok(replayed), "what is whole reads the same");
        }
        Err((line, _)) => {
            let lines = bytes.split(|byte| *byte == b'\n').count();
            assert!((1..=lines).contains(&line), "the bad line is one of the file's");
        }
    }
});
