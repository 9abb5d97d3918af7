//! Headers of an archive: fixed fields, and the records of extended ones.

use std::borrow::Cow;

use tar::PaxExtensions;

use super::fault::{ArchiveError, Fault};
use crate::text::SafeText;
use crate::wire::tar::DIGESTS;

/// Size of the blocks that an archive consists of.
pub(super) const BLOCK: usize = 512;
/// Place of the checksum in a header.
const CHECKSUM: std::ops::Range<usize> = 148..156;
/// Place of the type in a header.
const TYPE: usize = 156;

/// Kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// Records for the next entry.
    Extended,
    /// Digests of the files before.
    Digests,
}

/// A record of an extended header: its key and its value.
type Record<'a> = (&'a [u8], &'a [u8]);

/// The fields of a header that matter.
#[derive(Debug)]
pub(super) struct Header<'a> {
    pub(super) name: Cow<'a, [u8]>,
    pub(super) kind: Kind,
    pub(super) size: u64,
    pub(super) modified: u64,
    pub(super) executable: bool,
}

/// The records of an extended header.
#[derive(Debug, Default)]
pub(super) struct PaxRecords {
    pub(super) path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
}

impl<'a> Header<'a> {
    /// Reads a header, and checks its checksum, format and type.
    pub(super) fn parse(block: &'a [u8; BLOCK]) -> Result<Self, ArchiveError> {
        let header = tar::Header::from_byte_slice(block);
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        // The checksum itself counts as spaces.
        let checksum = sum(block) - sum(&block[CHECKSUM]) + CHECKSUM.len() as u32 * u32::from(b' ');
        if header.cksum().ok() != Some(checksum) {
            return Err(Fault::Checksum.of_archive());
        }
        let ustar = header.as_ustar().ok_or(Fault::Format.of_archive())?;
        let name = ustar.path_bytes();
        let fault = |fault: Fault| fault.of_entry(SafeText::from_bytes(&name));
        let kind = match block[TYPE] {
            b'0' => Kind::File,
            b'5' => Kind::Folder,
            b'x' => Kind::Extended,
            b'g' => Kind::Digests,
            other => return Err(fault(Fault::Kind(other))),
        };
        // The `tar` crate also reads binary numbers, of which it ignores the sign and the highest bytes.
        let octal = |first: u8, read: std::io::Result<u64>, field| match read {
            Ok(number) if first & 0x80 == 0 => Ok(number),
            _ => Err(fault(Fault::Number(field))),
        };
        let size = octal(ustar.size[0], header.entry_size(), "size")?;
        let modified = octal(ustar.mtime[0], header.mtime(), "modification time")?;
        let mode = octal(ustar.mode[0], header.mode().map(u64::from), "mode")?;
        Ok(Self { kind, size, modified, executable: mode & 0o100 != 0, name })
    }
}

impl PaxRecords {
    /// Reads the records of an extended header: a path, a size or both.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Fault> {
        let mut records = Self::default();
        for record in records_of(body)? {
            let (key, value) = record?;
            let repeated = match key {
                b"path" => records.path.replace(value.to_vec()).is_some(),
                b"size" => {
                    let digits = value.iter().all(u8::is_ascii_digit);
                    let size = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
                    records.size.replace(size.ok_or(Fault::Number("size"))?).is_some()
                }
                _ => true,
            };
            if repeated {
                return Err(Fault::Record(SafeText::from_bytes(key)));
            }
        }
        Ok(records)
    }
}

/// Reads a record with digests, which is the only one of its extended header.
pub(super) fn digests(body: &[u8]) -> Result<Vec<[u8; 32]>, Fault> {
    let mut records = records_of(body)?;
    let (key, value) = records.next().unwrap_or_else(|| Err(malformed()))?;
    let value = (key == b"comment").then(|| value.strip_prefix(DIGESTS)?.strip_prefix(b" ")).flatten();
    let (Some(value), None) = (value, records.next()) else { return Err(Fault::Record(SafeText::from_bytes(key))) };
    value.split(|byte| *byte == b' ').map(|hex| digest(hex).ok_or_else(malformed)).collect()
}

/// Returns the records of an extended header, which fill it.
fn records_of(body: &[u8]) -> Result<impl Iterator<Item = Result<Record<'_>, Fault>>, Fault> {
    // The iterator of the `tar` crate ends at an empty line, whatever follows it.
    let filled = body.ends_with(b"\n") && !body.starts_with(b"\n") && !body.windows(2).any(|pair| pair == b"\n\n");
    let records = PaxExtensions::new(body).map(|record| match record {
        Ok(record) => Ok((record.key_bytes(), record.value_bytes())),
        Err(_) => Err(malformed()),
    });
    if filled { Ok(records) } else { Err(malformed()) }
}

fn malformed() -> Fault {
    Fault::Record("malformed".into())
}

/// Reads a digest in hexadecimal digits.
fn digest(hex: &[u8]) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if hex.len() != 2 * digest.len() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    for (byte, pair) in digest.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(digest)
}
