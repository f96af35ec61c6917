//! Whatever bytes lie in a reply queue: the producer's reader takes them or refuses them in bounded
//! words.

#![no_main]

use jailfleet::wire::{decode_result, encode_result};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    match decode_result(body) {
        Ok(result) => {
            // Room for everything: a result that is cut down is another one.
            let written = encode_result(&result, usize::MAX);
            assert_eq!(decode_result(&written.body), Ok(result), "what is written reads back");
        }
        Err(error) => {
            let message = error.to_string();
            assert!(message.len() < 1000, "an unbounded message");
            assert!(!message.contains(char::is_control), "an unescaped message");
        }
    }
});
