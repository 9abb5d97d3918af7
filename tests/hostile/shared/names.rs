//! What belongs to a name: the file, its validator, the status of its replies, and the transfer id of its request.
//!
//! Every line of a file has the name and its number, so that a byte of another reply shows at any offset.

use crate::faulty::Seeded;

/// A status that a server gives for a name, whatever else it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Found,
    Missing,
    Denied,
}

impl FileKind {
    /// Names end in their kind.
    pub(crate) fn of(name: &str) -> Self {
        match name.rsplit_once('.') {
            Some((_, "missing")) => Self::Missing,
            Some((_, "denied")) => Self::Denied,
            _ => Self::Found,
        }
    }

    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Found => 200,
            Self::Missing => 404,
            Self::Denied => 403,
        }
    }
}

/// A hash of a name (FNV-1a).
pub(crate) fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The content of the file.
pub(crate) fn content(name: &str) -> Vec<u8> {
    let length = Seeded::new(hash(name)).pick(&[0, 1, 100, 1000, 4096, 20_000, 20_000, 200_000]);
    let mut content = Vec::with_capacity(length + 64);
    for number in 0.. {
        if content.len() >= length {
            break;
        }
        content.extend_from_slice(format!("{name}|{number:06}\n").as_bytes());
    }
    content.truncate(length);
    content
}

pub(crate) fn etag(name: &str) -> String {
    format!("\"{name}\"")
}

pub(crate) fn transfer(name: &str) -> String {
    format!("{:016x}{:016x}", hash(name), hash(&name.to_ascii_uppercase()))
}
