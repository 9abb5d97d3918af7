//! Decoder of a folder's tar stream: bytes in, checked entries out, without input or output of its own.
//!
//! It accepts what a chainview origin sends and nothing else: ustar headers of files and folders, extended headers with
//! a path and a size, and records with the digests of the files before them. The `tar` crate reads the fields; the
//! bytes are counted here, since the crate reports no truncated entry.

mod fault;
mod header;

use crate::route::{FileName, WalkRange, walk_order};
use crate::text::SafeText;
use crate::wire::tar::{MAX_UNPROVEN, MAX_UNPROVEN_BYTES};

pub use fault::{ArchiveError, Fault};
use header::{BLOCK, Header, Kind, PaxRecords};

/// Longest body of an extended header. The longest that an origin sends is a twelfth of it: 64 digests, or a path.
const MAX_PAX: u64 = 64 * 1024;
/// Two blocks of zeros end an archive.
const END: u64 = 2 * BLOCK as u64;

/// A file of the archive; its content follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// The path relative to the folder.
    pub path: FileName,
    /// The size in bytes.
    pub size: u64,
    /// The modification time, in seconds since 1970.
    pub modified: u64,
    /// Its owner may execute it.
    pub executable: bool,
}

/// What comes next in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A folder, by its path relative to the requested one.
    Folder(FileName),
    /// The beginning of a file.
    File(FileEntry),
    /// Content of the file, never empty.
    Data(&'a [u8]),
    /// The end of the file: all of its bytes have come.
    FileEnd,
    /// BLAKE3 digests of the files since the last ones, in order.
    Digests(Vec<[u8; 32]>),
    /// The end of the archive, at exactly its announced length.
    End,
}

/// Decodes one archive; after an error it must not be used any further.
#[derive(Debug)]
pub struct Decoder {
    /// Beginning of every name in the archive.
    prefix: Vec<u8>,
    range: WalkRange,
    /// Bytes of the archive that are still to come.
    left: u64,
    state: State,
    /// The beginning of a block that is incomplete.
    block: Vec<u8>,
    /// Body of the extended header that is being read.
    pax: Vec<u8>,
    /// Records for the next entry.
    records: Option<PaxRecords>,
    /// The requested folder itself has come.
    had_folder: bool,
    /// The last path, which all later ones have to follow.
    last: Option<(FileName, Kind)>,
    unproven_files: usize,
    unproven_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    /// Size of an extended header, and the bytes that are missing of it and its padding.
    Pax {
        size: u64,
        missing: u64,
        kind: Kind,
    },
    /// Bytes that are missing of a file, and of the padding after it.
    Content(u64, u64),
    Padding(u64),
    /// One block of zeros has been read.
    SecondZeros,
    Ended,
}

impl Decoder {
    /// Returns a decoder of an archive of this length with the files of a folder that are in this range.
    ///
    /// # Errors
    /// [`Fault::Length`] if no archive has this length.
    pub fn new(folder: &FileName, range: WalkRange, length: u64) -> Result<Self, ArchiveError> {
        if length < END || !length.is_multiple_of(BLOCK as u64) {
            return Err(Fault::Length(length).of_archive());
        }
        let folder = folder.as_folder();
        let last = folder.as_ref().and_then(|folder| folder.as_bytes().rsplit(|byte| *byte == b'/').next());
        let mut prefix = last.unwrap_or_default().to_vec();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        Ok(Self {
            prefix,
            range,
            left: length,
            state: State::Header,
            block: Vec::with_capacity(BLOCK),
            pax: Vec::new(),
            records: None,
            had_folder: false,
            last: None,
            unproven_files: 0,
            unproven_bytes: 0,
        })
    }

    /// Takes bytes from the front of `input`, and returns the next event; `None` if more bytes are needed.
    ///
    /// # Errors
    /// The first difference from what an origin sends.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, ArchiveError> {
        loop {
            let event = match self.state {
                State::Header => match self.take_block(input) {
                    Some(block) => self.header(&block)?,
                    None => return Ok(None),
                },
                State::Pax { size, missing, kind } => {
                    let taken = self.take(input, missing);
                    self.pax.extend_from_slice(taken);
                    let missing = missing - taken.len() as u64;
                    if missing > 0 {
                        self.state = State::Pax { size, missing, kind };
                        return Ok(None);
                    }
                    self.state = State::Header;
                    self.extended(size, kind)?
                }
                State::Content(0, padding) => {
                    self.state = State::Padding(padding);
                    Some(Event::FileEnd)
                }
                State::Content(missing, padding) => {
                    let data = self.take(input, missing);
                    if data.is_empty() {
                        return Ok(None);
                    }
                    self.state = State::Content(missing - data.len() as u64, padding);
                    Some(Event::Data(data))
                }
                State::Padding(0) => {
                    self.state = State::Header;
                    None
                }
                State::Padding(missing) => {
                    let skipped = self.take(input, missing).len() as u64;
                    if skipped == 0 {
                        return Ok(None);
                    }
                    self.state = State::Padding(missing - skipped);
                    None
                }
                State::SecondZeros => match self.take_block(input) {
                    Some(block) if block.iter().all(|byte| *byte == 0) => {
                        self.state = State::Ended;
                        Some(Event::End)
                    }
                    Some(_) => return Err(Fault::AfterEnd.of_archive()),
                    None => return Ok(None),
                },
                State::Ended if input.is_empty() => return Ok(None),
                State::Ended => return Err(Fault::AfterEnd.of_archive()),
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Takes at most that many bytes.
    fn take<'a>(&mut self, input: &mut &'a [u8], most: u64) -> &'a [u8] {
        let length = usize::try_from(most).map_or(input.len(), |most| most.min(input.len()));
        let (taken, rest) = input.split_at(length);
        *input = rest;
        self.left = self.left.saturating_sub(length as u64);
        taken
    }

    /// Takes a whole block; `None` if it is incomplete.
    fn take_block(&mut self, input: &mut &[u8]) -> Option<[u8; BLOCK]> {
        let missing = (BLOCK - self.block.len()) as u64;
        let taken = self.take(input, missing);
        if taken.len() < BLOCK {
            self.block.extend_from_slice(taken);
            if self.block.len() < BLOCK {
                return None;
            }
        }
        let block = <[u8; BLOCK]>::try_from(if taken.len() == BLOCK { taken } else { &self.block }).ok();
        self.block.clear();
        block
    }

    /// Reads a header, or the first block of the end.
    fn header(&mut self, block: &[u8; BLOCK]) -> Result<Option<Event<'static>>, ArchiveError> {
        if block.iter().all(|byte| *byte == 0) {
            return self.first_zeros().map(|()| None).map_err(Fault::of_archive);
        }
        let header = Header::parse(block)?;
        let records = self.records.take();
        let (size, name) = match &records {
            Some(records) => (records.size.unwrap_or(header.size), records.path.as_deref().unwrap_or(&header.name)),
            None => (header.size, &*header.name),
        };
        let event = match header.kind {
            Kind::Extended | Kind::Digests if records.is_some() => Err(Fault::ExtendsNothing),
            Kind::Extended | Kind::Digests => self.begin_pax(size, header.kind).map(|()| None),
            Kind::Folder => self.folder(name, size),
            Kind::File => self.file(name, size, &header).map(Some),
        };
        event.map_err(|fault| fault.of_entry(SafeText::from_bytes(name)))
    }

    /// Ends the archive if nothing is missing.
    fn first_zeros(&mut self) -> Result<(), Fault> {
        if self.records.is_some() {
            return Err(Fault::ExtendsNothing);
        }
        if self.unproven_files > 0 {
            return Err(Fault::Unproven(self.unproven_files));
        }
        if self.left != BLOCK as u64 {
            return Err(Fault::AfterEnd);
        }
        self.state = State::SecondZeros;
        Ok(())
    }

    /// Returns the length of the padding after a body, if both fit into the rest of the archive.
    fn padding(&self, size: u64) -> Result<u64, Fault> {
        let padding = size.wrapping_neg() % BLOCK as u64;
        let fits = size.checked_add(padding + END).is_some_and(|needed| needed <= self.left);
        if fits { Ok(padding) } else { Err(Fault::Size { size, left: self.left }) }
    }

    fn begin_pax(&mut self, size: u64, kind: Kind) -> Result<(), Fault> {
        let padding = self.padding(size)?;
        if size == 0 || size > MAX_PAX {
            return Err(Fault::ExtendedLength(size));
        }
        self.pax.clear();
        self.pax.reserve((size + padding) as usize);
        self.state = State::Pax { size, missing: size + padding, kind };
        Ok(())
    }

    /// Reads the records of a complete extended header.
    fn extended(&mut self, size: u64, kind: Kind) -> Result<Option<Event<'static>>, ArchiveError> {
        let body = &self.pax[..size as usize];
        if kind == Kind::Extended {
            self.records = Some(PaxRecords::parse(body).map_err(Fault::of_archive)?);
            return Ok(None);
        }
        let digests = header::digests(body).map_err(Fault::of_archive)?;
        if digests.len() != self.unproven_files || digests.is_empty() {
            let (found, files) = (digests.len(), self.unproven_files);
            return Err(Fault::DigestCount { found, files }.of_archive());
        }
        (self.unproven_files, self.unproven_bytes) = (0, 0);
        Ok(Some(Event::Digests(digests)))
    }

    fn folder(&mut self, name: &[u8], size: u64) -> Result<Option<Event<'static>>, Fault> {
        if size > 0 {
            return Err(Fault::FolderWithContent);
        }
        self.padding(0)?;
        let name = name.strip_suffix(b"/").unwrap_or(name);
        // The requested folder itself may come first, and comes last, because some programs expect an entry after every
        // record; it has no path of its own.
        let is_first = !self.had_folder && self.last.is_none() && self.range.after.is_none();
        let is_last = self.left == END && self.unproven_files == 0 && self.last.is_some();
        if (is_first || is_last) && self.prefix.strip_suffix(b"/") == Some(name) {
            self.had_folder = true;
            return Ok(None);
        }
        self.path(name, Kind::Folder).map(|path| Some(Event::Folder(path)))
    }

    fn file(&mut self, name: &[u8], size: u64, header: &Header<'_>) -> Result<Event<'static>, Fault> {
        if self.unproven_files >= MAX_UNPROVEN || self.unproven_bytes >= MAX_UNPROVEN_BYTES {
            return Err(Fault::Unproven(self.unproven_files));
        }
        let padding = self.padding(size)?;
        let path = self.path(name, Kind::File)?;
        self.unproven_files += 1;
        self.unproven_bytes = self.unproven_bytes.saturating_add(size);
        self.state = State::Content(size, padding);
        let (modified, executable) = (header.modified, header.executable);
        Ok(Event::File(FileEntry { path, size, modified, executable }))
    }

    /// Returns the path of an entry relative to the folder: beneath it, visible, and after the last one.
    fn path(&mut self, name: &[u8], kind: Kind) -> Result<FileName, Fault> {
        let path = name.strip_prefix(&*self.prefix).ok_or(Fault::Prefix)?;
        for segment in path.split(|byte| *byte == b'/') {
            match segment {
                b"" => return Err(Fault::Segment),
                b".." => return Err(Fault::Parent),
                [b'.', ..] => return Err(Fault::Hidden),
                _ => {}
            }
        }
        let path = FileName::new(path).map_err(Fault::Name)?;
        if let Some((last, kind)) = &self.last {
            if walk_order(last.as_bytes(), path.as_bytes()).is_ge() {
                return Err(Fault::Order);
            }
            let beneath = path.as_bytes().strip_prefix(last.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"));
            if beneath && *kind == Kind::File {
                return Err(Fault::BeneathFile);
            }
        }
        if !self.range.contains(path.as_bytes()) {
            return Err(Fault::Range);
        }
        self.last = Some((path.clone(), kind));
        Ok(path)
    }
}

#[cfg(test)]
pub(super) mod tests;
