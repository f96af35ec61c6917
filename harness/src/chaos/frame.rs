//! Frames of AMQP 0-9-1 as they pass by, or records of TLS: read whole, understood as far as a test wants to
//! name them.

use std::fmt;
use std::io::{self, Error, ErrorKind, Read};

/// The largest payload that is believed. Brokers and clients agree on 128 KiB.
const MOST: u32 = 1 << 20;
/// What a client says first, in place of a frame.
const GREETING: usize = 8;
/// Kind, channel and size of the payload.
const HEAD: usize = 7;
const METHOD: u8 = 1;
const CONTENT_HEADER: u8 = 2;
const CONTENT_BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
/// Kind, version and size of a record of TLS.
const RECORD_HEAD: usize = 5;
/// The kind of a record whose content is encrypted.
const APPLICATION_DATA: u8 = 23;

/// A method by the numbers of its class and itself.
///
/// # Source
/// AMQP 0-9-1, and RabbitMQ's extensions to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Method {
    /// Its class.
    pub class: u16,
    /// Its number within the class.
    pub number: u16,
}

impl Method {
    /// A client says who it is.
    pub const CONNECTION_START_OK: Self = Self::of(10, 11);
    /// One side ends a connection.
    pub const CONNECTION_CLOSE: Self = Self::of(10, 50);
    /// The broker takes nothing from this connection for now.
    pub const CONNECTION_BLOCKED: Self = Self::of(10, 60);
    /// It does again.
    pub const CONNECTION_UNBLOCKED: Self = Self::of(10, 61);
    /// One side ends a channel.
    pub const CHANNEL_CLOSE: Self = Self::of(20, 40);
    /// A message for the broker.
    pub const BASIC_PUBLISH: Self = Self::of(60, 40);
    /// A message that no queue took.
    pub const BASIC_RETURN: Self = Self::of(60, 50);
    /// A message for a consumer.
    pub const BASIC_DELIVER: Self = Self::of(60, 60);
    /// From a client: a delivery is done with. From the broker: a publish is safe.
    pub const BASIC_ACK: Self = Self::of(60, 80);
    /// The opposite of an ack.
    pub const BASIC_NACK: Self = Self::of(60, 120);

    /// The method of those numbers.
    #[must_use]
    pub const fn of(class: u16, number: u16) -> Self {
        Self { class, number }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::CONNECTION_START_OK => "connection.start-ok",
            Self::CONNECTION_CLOSE => "connection.close",
            Self::CONNECTION_BLOCKED => "connection.blocked",
            Self::CONNECTION_UNBLOCKED => "connection.unblocked",
            Self::CHANNEL_CLOSE => "channel.close",
            Self::BASIC_PUBLISH => "basic.publish",
            Self::BASIC_RETURN => "basic.return",
            Self::BASIC_DELIVER => "basic.deliver",
            Self::BASIC_ACK => "basic.ack",
            Self::BASIC_NACK => "basic.nack",
            Self { class, number } => return write!(f, "method {class}.{number}"),
        };
        f.write_str(name)
    }
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A client's first word, which is no frame yet.
    Greeting,
    /// A method.
    Method(Method),
    /// The properties of a message.
    ContentHeader,
    /// A piece of a message's body.
    ContentBody,
    /// Nothing but a sign of life.
    Heartbeat,
    /// A record of TLS in which anything may be.
    TlsData,
    /// None of these.
    Other,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method(method) => method.fmt(f),
            Self::Greeting => f.write_str("greeting"),
            Self::ContentHeader => f.write_str("content header"),
            Self::ContentBody => f.write_str("content body"),
            Self::Heartbeat => f.write_str("heartbeat"),
            Self::TlsData => f.write_str("encrypted record"),
            Self::Other => f.write_str("no frame that we know"),
        }
    }
}

/// One frame, with every byte of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    /// Reads the next one; `None` where the stream ends between two frames.
    ///
    /// # Errors
    /// When the stream breaks, ends within a frame, or is no AMQP.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let Some(mut bytes) = head(from, HEAD)? else {
            return Ok(None);
        };
        let after = if bytes.starts_with(b"AMQP") {
            GREETING - HEAD
        } else {
            let size = bytes
                .last_chunk()
                .map_or(0, |size| u32::from_be_bytes(*size));
            if size > MOST {
                return Err(Error::new(
                    ErrorKind::InvalidData,
                    "no AMQP frame is so large",
                ));
            }
            // The payload and the mark of the frame's end.
            usize::try_from(size).map_err(Error::other)? + 1
        };
        bytes.resize(HEAD + after, 0);
        from.read_exact(bytes.get_mut(HEAD..).unwrap_or_default())?;
        Ok(Some(Self { bytes }))
    }

    /// Reads the next record of TLS; `None` where the stream ends between two.
    ///
    /// # Errors
    /// When the stream breaks, or ends within a record.
    ///
    /// # Source
    /// RFC 8446, section 5.
    pub fn read_record(from: &mut impl Read) -> io::Result<Option<Self>> {
        let Some(mut bytes) = head(from, RECORD_HEAD)? else {
            return Ok(None);
        };
        let size = bytes.last_chunk();
        let size = size.map_or(0, |size| u16::from_be_bytes(*size));
        bytes.resize(RECORD_HEAD + usize::from(size), 0);
        from.read_exact(bytes.get_mut(RECORD_HEAD..).unwrap_or_default())?;
        Ok(Some(Self { bytes }))
    }

    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        if self.bytes.starts_with(b"AMQP") {
            return Kind::Greeting;
        }
        match self.bytes.first() {
            Some(&METHOD) => self.method().map_or(Kind::Other, Kind::Method),
            Some(&CONTENT_HEADER) => Kind::ContentHeader,
            Some(&CONTENT_BODY) => Kind::ContentBody,
            Some(&HEARTBEAT) => Kind::Heartbeat,
            Some(&APPLICATION_DATA) => Kind::TlsData,
            Some(_) | None => Kind::Other,
        }
    }

    fn method(&self) -> Option<Method> {
        let mut fields = Fields(self.payload());
        Some(Method::of(fields.short()?, fields.short()?))
    }

    fn payload(&self) -> &[u8] {
        let end = self.bytes.len().saturating_sub(1);
        self.bytes.get(HEAD..end).unwrap_or_default()
    }

    /// The routing key of a publish, a delivery or a return.
    #[must_use]
    pub fn routing_key(&self) -> Option<&str> {
        let mut fields = Fields(self.payload());
        let method = Method::of(fields.short()?, fields.short()?);
        match method {
            Method::BASIC_PUBLISH => fields.skip(2)?,
            Method::BASIC_DELIVER => {
                fields.text()?;
                fields.skip(9)?;
            }
            Method::BASIC_RETURN => {
                fields.skip(2)?;
                fields.text()?;
            }
            _ => return None,
        }
        fields.text()?;
        std::str::from_utf8(fields.text()?).ok()
    }

    /// What a client calls its connection when it says who it is.
    #[must_use]
    pub fn connection_name(&self) -> Option<&str> {
        const KEY: &[u8] = b"connection_name";
        if self.kind() != Kind::Method(Method::CONNECTION_START_OK) {
            return None;
        }
        let payload = self.payload();
        let at = payload.windows(KEY.len()).position(|part| part == KEY)?;
        let mut fields = Fields(payload.get(at + KEY.len()..)?);
        // A long string: its kind, its length, itself.
        fields.skip(1)?;
        let length = fields
            .take(4)?
            .first_chunk()
            .map(|size| u32::from_be_bytes(*size))?;
        std::str::from_utf8(fields.take(usize::try_from(length).ok()?)?).ok()
    }

    /// The same with every bit of the byte at `at` turned, or of its last byte where there is none.
    pub(super) fn corrupted(mut self, at: usize) -> Self {
        let at = at.min(self.bytes.len().saturating_sub(1));
        if let Some(byte) = self.bytes.get_mut(at) {
            *byte = !*byte;
        }
        self
    }
}

/// The first bytes; `None` where there are none.
fn head(from: &mut impl Read, size: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; size];
    let (first, rest) = bytes.split_at_mut(1);
    loop {
        match from.read(first) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    from.read_exact(rest)?;
    Ok(Some(bytes))
}

/// The fields of a method, from the first to the last.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(drop)
    }

    fn short(&mut self) -> Option<u16> {
        self.take(2)?
            .first_chunk()
            .map(|short| u16::from_be_bytes(*short))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = *self.take(1)?.first()?;
        self.take(usize::from(length))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Frame, Kind, Method};
    use std::io::ErrorKind;

    /// A frame of a method with these arguments, on channel 1.
    pub(in crate::chaos) fn method(method: Method, arguments: &[u8]) -> Vec<u8> {
        let Method { class, number } = method;
        let payload = [&class.to_be_bytes(), &number.to_be_bytes(), arguments].concat();
        let size = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&[1, 0, 1][..], &size, &payload, &[0xCE]].concat()
    }

    /// The first frame of a client that calls its connection so.
    pub(in crate::chaos) fn start_ok(name: &str) -> Vec<u8> {
        let size = u32::try_from(name.len()).expect("short").to_be_bytes();
        let properties = [b"\x0fconnection_nameS".as_slice(), &size, name.as_bytes()].concat();
        let size = u32::try_from(properties.len())
            .expect("short")
            .to_be_bytes();
        let arguments = [&size, properties.as_slice(), b"\x05PLAIN"].concat();
        method(Method::CONNECTION_START_OK, &arguments)
    }

    /// A publish to the default exchange.
    pub(in crate::chaos) fn publish(key: &str) -> Vec<u8> {
        let length = u8::try_from(key.len()).expect("short");
        let arguments = [&[0, 0, 0, length], key.as_bytes(), &[1]].concat();
        method(Method::BASIC_PUBLISH, &arguments)
    }

    fn all(mut bytes: &[u8]) -> Vec<Frame> {
        let next = || Frame::read(&mut bytes).expect("frames");
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_conversation_is_read_frame_by_frame_and_byte_by_byte() {
        let parts = [
            b"AMQP\x00\x00\x09\x01".to_vec(),
            start_ok("jailfleet publish 7"),
            publish("jailfleet.reply.x"),
            [&[2, 0, 1, 0, 0, 0, 3][..], b"abc", &[0xCE]].concat(),
            [&[3, 0, 1, 0, 0, 0, 2][..], b"{}", &[0xCE]].concat(),
            vec![8, 0, 0, 0, 0, 0, 0, 0xCE],
            vec![9, 0, 0, 0, 0, 0, 0, 0xCE],
        ];
        let frames = all(&parts.concat());
        let bytes: Vec<_> = frames.iter().map(Frame::bytes).collect();
        assert_eq!(bytes, parts);
        let kinds: Vec<Kind> = frames.iter().map(Frame::kind).collect();
        let expected = [
            Kind::Greeting,
            Kind::Method(Method::CONNECTION_START_OK),
            Kind::Method(Method::BASIC_PUBLISH),
            Kind::ContentHeader,
            Kind::ContentBody,
            Kind::Heartbeat,
            Kind::Other,
        ];
        assert_eq!(kinds, expected);
        assert_eq!(frames[1].connection_name(), Some("jailfleet publish 7"));
        assert_eq!(frames[2].routing_key(), Some("jailfleet.reply.x"));
    }

    #[test]
    fn the_routing_key_of_a_delivery_and_of_a_return_is_found() {
        let tag = 7_u64.to_be_bytes();
        let arguments = [b"\x03tag".as_slice(), &tag, b"\x01\x04jobs\x0cdefault.bulk"].concat();
        let delivery = &all(&method(Method::BASIC_DELIVER, &arguments))[0];
        assert_eq!(delivery.routing_key(), Some("default.bulk"));
        let arguments = b"\x01\x38\x08NO_ROUTE\x00\x04gone";
        let returned = &all(&method(Method::BASIC_RETURN, arguments))[0];
        assert_eq!(returned.routing_key(), Some("gone"));
        let ack = &all(&method(Method::BASIC_ACK, &[0; 9]))[0];
        assert_eq!(ack.routing_key(), None);
    }

    #[test]
    fn what_ends_early_or_is_too_large_is_no_frame() {
        let whole = publish("x");
        for cut in 1..whole.len() {
            let error = Frame::read(&mut whole.get(..cut).expect("shorter"));
            let kind = error.expect_err("it ends within a frame").kind();
            assert_eq!(kind, ErrorKind::UnexpectedEof, "after {cut} bytes");
        }
        let large = [1, 0, 1, 0xFF, 0, 0, 0];
        let error = Frame::read(&mut large.as_slice()).expect_err("too large");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn a_corrupted_frame_differs_in_one_byte() {
        let whole = publish("x");
        for (at, where_it_is) in [(0, 0), (8, 8), (999, whole.len() - 1)] {
            let frame = all(&whole).remove(0).corrupted(at);
            let mut expected = whole.clone();
            expected[where_it_is] = !expected[where_it_is];
            assert_eq!(frame.bytes(), expected);
        }
    }
}
