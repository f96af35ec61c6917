//! Whatever bytes a stranger sends: the decoder takes them or refuses them in bounded words.

#![no_main]

use jailfleet::wire::{DecodeHint, WireCaps, decode_job, encode_job};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let caps = WireCaps::default();
    match decode_job(body, &DecodeHint::default(), &caps) {
        Ok(job) => {
            let again = decode_job(&encode_job(&job), &DecodeHint::default(), &caps);
            assert_eq!(again, Ok(job), "what is written reads back");
        }
        Err(refused) => {
            let message = &refused.rejection.message;
            assert!(message.len() < 1000, "an unbounded message");
            assert!(!message.contains(char::is_control), "an unescaped message");
        }
    }
});
