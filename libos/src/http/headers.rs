//! The fields of a request or of a response.

use super::Error;
use alloc::borrow::Cow;
use alloc::string::ToString;
use alloc::vec::Vec;

/// The fields of a head, in their order. Names are alike however they are capitalised.
#[derive(Debug, Clone, Default)]
pub struct Headers(Vec<(Cow<'static, str>, Cow<'static, [u8]>)>);

impl Headers {
    pub(super) fn with_capacity(fields: usize) -> Headers {
        Headers(Vec::with_capacity(fields))
    }

    /// Adds a field that a parser has found to be one.
    pub(super) fn push_parsed(&mut self, name: &'static str, value: &'static [u8]) {
        self.0.push((name.into(), value.into()));
    }

    /// Adds a field behind those that are there, of this name too.
    ///
    /// # Errors
    /// [`Name`](Error::Name) or [`Value`](Error::Value) where one is not what the field of a head may
    /// have.
    pub fn append(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Result<(), Error> {
        let (name, value) = (name.into(), value.into());
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Error::Name(name.into_owned()));
        }
        if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(Error::Value(name.into_owned()));
        }
        let value = match value {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        self.0.push((name, value));
        Ok(())
    }

    /// The value of the first field of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The same as text; `None` too when it is not UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        core::str::from_utf8(self.get(name)?).ok()
    }

    /// All fields: names and values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Appends the head of a response.
    pub(super) fn write_head(&self, status: u16, head: &mut Vec<u8>) {
        for part in ["HTTP/1.1 ", &status.to_string(), " \r\n"] {
            head.extend_from_slice(part.as_bytes());
        }
        for (name, value) in self.iter() {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                head.extend_from_slice(part);
            }
        }
        head.extend_from_slice(b"\r\n");
    }
}

/// Whether the byte may stand in a field's name (RFC 9110, section 5.6.2).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}
