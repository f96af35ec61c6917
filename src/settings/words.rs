//! The closed lists of words in the configuration and what they stand for.

use super::sections::{LogFormat, ReplyMode};
use crate::runtime::{Cwd, Presence, UnknownProfile};

macro_rules! words {
    ($($type:ty { $($variant:ident => $word:literal,)+ })+) => {
        $(impl $type {
            /// The word in the configuration.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// What the configuration's word stands for.
            pub(crate) fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        })+
    };
}
words! {
    ReplyMode { Default => "default", Exchange => "exchange", }
    LogFormat { Text => "text", Json => "json", }
    Cwd { ReadOnly => "read_only", Writable => "writable", }
    UnknownProfile { Reject => "reject", Default => "default", }
    Presence { Required => "always", IfPresent => "if_present", }
}
