//! Sends a file to a socket: the kernel takes it from the page cache.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::sendfile;
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::net::TcpStream;

use super::send;
use crate::meter::WaitKind;
use crate::net::body::options::{CopyError, CopyOptions};
use crate::net::body::sockbuf::Buffers;
use crate::net::os::deadline::Timer;
use crate::net::os::kernel::is_over;
use crate::net::os::threads::COLD_READS;

/// Bytes sent from a file at a time.
const CHUNK: usize = 1 << 20;

/// Sends part of a file, all but its last byte: that one is sent after a last check whether the file changed.
///
/// Returns how many bytes were sent before the kernel refused or faults began to disturb bodies, or all.
pub(in crate::net) async fn from_file(
    file: &Arc<File>,
    offset: u64,
    length: u64,
    reader: &TcpStream,
    options: CopyOptions<'_>,
) -> Result<u64, CopyError> {
    let mut stall = Timer::new(options.stall);
    let mut buffers = Buffers::new(None, reader, options.fixed);
    let mut sent = 0;
    while sent < length {
        let at = offset + sent;
        let chunk = usize::try_from(length - sent).unwrap_or(CHUNK).min(CHUNK);
        let chunk = options.allowed(chunk)?;
        if !warm(file, at, chunk, options).await? {
            return Ok(sent);
        }
        let mut left = chunk;
        while left > 0 {
            let mut from = offset + sent;
            let written = send(reader, options, &mut stall, || {
                // A file on a network file system may time out, too.
                let whose = |error| if error == Errno::TIMEDOUT && !is_over(reader) { Errno::IO } else { error };
                sendfile(reader, file.as_fd(), Some(&mut from), left).map_err(whose)
            });
            let (wrote, waited) = match written.await {
                Ok(Some(written)) => written,
                // The error may be the file's or the socket's: the copy loop runs into it again, and can attribute it.
                Ok(None) | Err(CopyError::ReaderClosed | CopyError::ReaderReset) => return Ok(sent),
                Err(error) => return Err(error),
            };
            if wrote == 0 {
                return Err(CopyError::Short { missing: length - sent });
            }
            buffers.waited(waited);
            buffers.moved(wrote as u64);
            options.meter.record_read(wrote as u64);
            sent += wrote as u64;
            left -= wrote;
        }
        tokio::task::consume_budget().await;
    }
    Ok(sent)
}

/// Reads a chunk into the page cache, so that sending it does not wait for a disk; false if the file system does not
/// support the check.
async fn warm(file: &Arc<File>, at: u64, chunk: usize, options: CopyOptions<'_>) -> Result<bool, CopyError> {
    let cached = |at: u64| {
        let mut byte = [0];
        match preadv2(&**file, &mut [io::IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT) {
            Ok(1) => Ok(Some(true)),
            Ok(_) => Err(CopyError::Short { missing: chunk as u64 }),
            Err(Errno::AGAIN) => Ok(Some(false)),
            Err(_) => Ok(None),
        }
    };
    match (cached(at)?, cached(at + chunk as u64 - 1)?) {
        (Some(true), Some(true)) => return Ok(true),
        (None, _) | (_, None) => return Ok(false),
        _ => {}
    }
    options.meter.wait(WaitKind::Read, options.clock.now_us());
    let file = Arc::clone(file);
    let read = COLD_READS.run(move || {
        let mut page = vec![0; 64 * 1024];
        let mut offset = at;
        let end = at + chunk as u64;
        while offset < end {
            let max = page.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
            match file.read_at(&mut page[..max], offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => offset += read as u64,
            }
        }
        io::Result::Ok(())
    });
    // If no thread is available, the copy loop reports it.
    let Ok(read) = read else { return Ok(false) };
    let read = read.await.map_err(CopyError::Source)?;
    options.meter.resume(|| options.clock.now_us());
    read.map_err(CopyError::Source)?;
    Ok(true)
}
