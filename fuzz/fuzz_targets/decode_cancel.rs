//! Whatever somebody sends to the exchange for cancels: a worker takes it or refuses it in bounded
//! words.

#![no_main]

use jailfleet::wire::{decode_cancel, encode_cancel};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    match decode_cancel(body) {
        Ok(cancel) => {
            let written = encode_cancel(&cancel);
            assert_eq!(decode_cancel(&written), Ok(cancel), "what is written reads back");
        }
        Err(refused) => {
            assert!(refused.message.len() < 1000, "an unbounded message");
            assert!(!refused.message.contains(char::is_control), "an unescaped message");
        }
    }
});
