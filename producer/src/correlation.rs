//! The secret between a producer and the worker that answers it.

use std::fmt;

use uuid::Uuid;

/// 128 random bits that a job carries and its result must bring back. Whoever did not see the job
/// cannot guess them, so nobody else can answer for the worker.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CorrelationId(u128);

impl CorrelationId {
    /// Makes a new one from the system's random numbers.
    #[must_use]
    pub fn random() -> Self {
        // A version 4 UUID has six fixed bits. Turned by half its width, the second one's fixed
        // bits lie over random ones of the first, and the other way round: all 128 are random.
        Self(Uuid::new_v4().as_u128() ^ Uuid::new_v4().as_u128().rotate_left(64))
    }

    /// Reads one: exactly 32 lower-case hexadecimal digits, as [`fmt::Display`] writes them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(digit) {
            return None;
        }
        u128::from_str_radix(text, 16).map(Self).ok()
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for CorrelationId {
    // It is a secret until the batch is over: no log shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CorrelationId(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::CorrelationId;

    #[test]
    fn every_bit_of_a_correlation_id_takes_both_values() {
        let (mut ones, mut zeros) = (0_u128, 0_u128);
        for _ in 0..256 {
            let CorrelationId(bits) = CorrelationId::random();
            ones |= bits;
            zeros |= !bits;
        }
        assert_eq!((ones, zeros), (u128::MAX, u128::MAX));
    }

    #[test]
    fn a_written_correlation_id_is_read_back_and_other_texts_are_not_read() {
        let id = CorrelationId::random();
        assert!(CorrelationId::parse(&id.to_string()) == Some(id));
        for text in [
            "",
            "0",
            "+0000000000000000000000000000001",
            &"F".repeat(32),
            &"0".repeat(33),
        ] {
            assert!(CorrelationId::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_debug_print_does_not_show_the_secret() {
        let id = CorrelationId::random();
        assert!(!format!("{id:?}").contains(&id.to_string()));
    }
}
