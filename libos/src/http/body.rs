//! The body of a request or of a response: there as a whole, or piece by piece.

use super::Error;
use crate::handler;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Display};

/// How much of a request's body is asked for at once.
const PIECE: usize = 256 << 10;

/// The body of a request or of a response.
///
/// It is read whole, by [`bytes`](Body::bytes) or [`text`](Body::text); piece by piece, as an iterator;
/// or by `embedded-io`'s `Read`, straight into the reader's memory. A response that gets the body of the
/// request, or one made by [`stream`](Body::stream), hands over piece after piece, so that a body may be
/// larger than the memory.
pub struct Body {
    /// What is there.
    held: Cow<'static, [u8]>,
    /// How much of it was read.
    taken: usize,
    more: More,
}

/// What comes behind that which is there.
enum More {
    Nothing,
    /// The rest of the input: so many bytes, if that is known.
    Input(Option<u64>),
    Pieces(Box<dyn Iterator<Item = Result<Vec<u8>, Error>>>),
}

impl Body {
    /// One without content.
    #[must_use]
    pub const fn empty() -> Body {
        Body::whole(Cow::Borrowed(&[]))
    }

    /// One that is made piece by piece while it goes out. Each piece costs an exit: some tens of KiB are
    /// a good size. An error ends the run, and the client sees that the response is not whole.
    pub fn stream<T, E>(pieces: impl IntoIterator<Item = Result<T, E>, IntoIter: 'static>) -> Body
    where
        T: Into<Vec<u8>>,
        E: Display,
    {
        let pieces = pieces.into_iter().map(|piece| match piece {
            Ok(piece) => Ok(piece.into()),
            Err(reason) => Err(Error::Body(reason.to_string())),
        });
        Body { held: Cow::Borrowed(&[]), taken: 0, more: More::Pieces(Box::new(pieces)) }
    }

    const fn whole(held: Cow<'static, [u8]>) -> Body {
        Body { held, taken: 0, more: More::Nothing }
    }

    /// One of which the beginning is there, and `left` bytes, if that is known, are to be asked for.
    pub(super) const fn from_input(held: &'static [u8], left: Option<u64>) -> Body {
        let more = if let Some(0) = left { More::Nothing } else { More::Input(left) };
        Body { held: Cow::Borrowed(held), taken: 0, more }
    }

    /// How many bytes are left to be read, if that is known.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        let held = self.rest().len() as u64;
        match self.more {
            More::Nothing => Some(held),
            More::Input(left) => left.map(|left| held.saturating_add(left)),
            More::Pieces(_) => None,
        }
    }

    /// All that is left to be read. Nothing is copied where all was there when the run began.
    ///
    /// # Errors
    /// [`Input`](Error::Input), or [`Body`](Error::Body) for one of a [`stream`](Body::stream).
    pub fn bytes(mut self) -> Result<Cow<'static, [u8]>, Error> {
        match (&mut self.more, &self.held) {
            (More::Nothing, Cow::Borrowed(held)) => return Ok(Cow::Borrowed(&held[self.taken..])),
            (More::Nothing, Cow::Owned(_)) if self.taken == 0 => return Ok(self.held),
            (More::Input(left), held) => {
                return Ok(Cow::Owned(handler::collect(&held[self.taken..], *left)?));
            }
            _ => {}
        }
        let mut bytes = Vec::new();
        for piece in self {
            bytes.extend_from_slice(&piece?);
        }
        Ok(Cow::Owned(bytes))
    }

    /// The same as text.
    ///
    /// # Errors
    /// As [`bytes`](Body::bytes), and [`NotUtf8`](Error::NotUtf8).
    pub fn text(self) -> Result<Cow<'static, str>, Error> {
        match self.bytes()? {
            Cow::Borrowed(bytes) => core::str::from_utf8(bytes).map(Cow::Borrowed).ok(),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
        }
        .ok_or(Error::NotUtf8)
    }

    /// All of it, if it is there.
    pub(super) fn all_held(&self) -> Option<&[u8]> {
        matches!(self.more, More::Nothing).then(|| self.rest())
    }

    fn rest(&self) -> &[u8] {
        self.held.get(self.taken..).unwrap_or_default()
    }

    /// The next piece of what is not there yet, if there is any.
    fn fetch(&mut self) -> Option<Result<Vec<u8>, Error>> {
        match &mut self.more {
            More::Nothing => None,
            More::Input(Some(0)) => None,
            More::Input(left) => {
                let mut piece = Vec::with_capacity(PIECE);
                match handler::append(&mut piece) {
                    Ok(0) => {
                        self.more = More::Nothing;
                        None
                    }
                    Ok(length) => {
                        *left = left.map(|left| left.saturating_sub(length as u64));
                        Some(Ok(piece))
                    }
                    Err(error) => Some(Err(error.into())),
                }
            }
            More::Pieces(pieces) => pieces.find(|piece| !matches!(piece, Ok(piece) if piece.is_empty())),
        }
    }
}

/// The pieces of what is left to be read.
impl Iterator for Body {
    type Item = Result<Vec<u8>, Error>;

    fn next(&mut self) -> Option<Result<Vec<u8>, Error>> {
        let held = core::mem::replace(&mut self.held, Cow::Borrowed(&[]));
        let taken = core::mem::take(&mut self.taken);
        match held.get(taken..) {
            None | Some([]) => self.fetch(),
            Some(_) if taken == 0 => Some(Ok(held.into_owned())),
            Some(rest) => Some(Ok(rest.to_vec())),
        }
    }
}

impl embedded_io::ErrorType for Body {
    type Error = Error;
}

impl embedded_io::Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        if self.rest().is_empty() {
            if let More::Input(left) = &mut self.more
                && *left != Some(0)
            {
                let length = handler::read(buffer)?;
                *left = left.map(|left| left.saturating_sub(length as u64));
                return Ok(length);
            }
            self.taken = 0;
            self.held = self.fetch().transpose()?.unwrap_or_default().into();
        }
        let rest = self.rest();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.taken += length;
        Ok(length)
    }
}

impl Default for Body {
    fn default() -> Body {
        Body::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("length", &self.length()).finish_non_exhaustive()
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body::whole(Cow::Owned(bytes))
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Body {
        Body::whole(Cow::Borrowed(bytes))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Body {
        text.into_bytes().into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Body {
        text.as_bytes().into()
    }
}
