//! Calls that nobody wraps: what the kernel knows of a socket, asked only for a report, a head start for the disk, and
//! whether a signal is ignored.
#![expect(
    unsafe_code,
    reason = "getsockopt and ioctl with requests that have no safe wrapper; sync_file_range; sigaction"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use libc::{FIONREAD, IPPROTO_TCP, Ioctl, TCP_INFO, TIOCOUTQ, c_int, getsockopt, ioctl, socklen_t};
use libc::{SYNC_FILE_RANGE_WRITE, sync_file_range};

use crate::snapshot::TcpSnapshot;

/// Bytes of `struct tcp_info` up to the last field that is read here.
const LENGTH: usize = 192;
/// The state of a connection that is over, as `struct tcp_info` tells it.
const TCP_CLOSE: u8 = 7;

/// What tells whether a reader that takes nothing still reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) struct Sending {
    /// Bytes that the other kernel has acknowledged.
    pub(in crate::net) acknowledged: u64,
    /// Segments on their way to it.
    pub(in crate::net) under_way: u32,
    /// Probes of its closed window without an answer so far.
    pub(in crate::net) probes: u8,
}

/// How far a connection's reader is; `None` where the kernel does not say, as of what is no TCP.
pub(in crate::net) fn sending(socket: &impl AsFd) -> Option<Sending> {
    let (info, length) = tcp_info(socket)?;
    let info = &info[..length];
    Some(Sending { acknowledged: long(info, 120), under_way: word(info, 24), probes: *info.get(3)? })
}

/// The connection is over for the kernel, too, such as one that it has given up.
pub(in crate::net) fn is_over(socket: &impl AsFd) -> bool {
    tcp_info(socket).is_some_and(|(info, length)| length > 0 && info[0] == TCP_CLOSE)
}

/// How the sending goes; a field that this kernel does not have is 0, and all is `None` where it tells nothing.
pub(in crate::net) fn tcp(socket: &impl AsFd) -> Option<TcpSnapshot> {
    let (info, length) = tcp_info(socket)?;
    let info = &info[..length];
    // The offsets are those of linux/tcp.h; the struct only ever grows at its end.
    Some(TcpSnapshot {
        under_way: u64::from(word(info, 24)),
        rtt_us: u64::from(word(info, 68)),
        min_rtt_us: u64::from(word(info, 148)),
        cwnd: u64::from(word(info, 80)),
        retransmits: u64::from(word(info, 100)),
        delivery_rate: long(info, 160),
        busy_us: long(info, 168),
        receiver_limited_us: long(info, 176),
        buffer_limited_us: long(info, 184),
    })
}

/// `struct tcp_info` as far as it is read here, and how much of it this kernel has.
fn tcp_info(socket: &impl AsFd) -> Option<([u8; LENGTH], usize)> {
    let mut info = [0u8; LENGTH];
    let mut length = LENGTH as socklen_t;
    let number = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes at most `length` bytes into `info`, which has as many, and says how many it wrote; it
    // keeps neither pointer. The descriptor is borrowed for as long as the call takes, so that its number is its own.
    let failed = unsafe { getsockopt(number, IPPROTO_TCP, TCP_INFO, info.as_mut_ptr().cast(), &raw mut length) };
    let length = (length as usize).min(LENGTH);
    (failed == 0).then_some((info, length))
}

/// Bytes that have arrived and were not read.
pub(in crate::net) fn unread(socket: &impl AsFd) -> u64 {
    queue(socket, FIONREAD)
}

/// Bytes that were sent and are not known to have arrived.
pub(in crate::net) fn unacknowledged(socket: &impl AsFd) -> u64 {
    queue(socket, TIOCOUTQ)
}

/// Has the disk begin with what was written to a part of a file, and waits for nothing: the sync that follows finds
/// less to do. It promises nothing either, so whoever leaves it out loses time only.
pub(in crate::net) fn begin_writing(file: &File, offset: u64, length: usize) -> io::Result<()> {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else {
        return Err(io::ErrorKind::FileTooLarge.into());
    };
    // SAFETY: numbers only. A descriptor is held by `file` for as long as the call takes.
    let failed = unsafe { sync_file_range(file.as_raw_fd(), offset, length, SYNC_FILE_RANGE_WRITE) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The signal is ignored: at the start of the program, because whoever started it wants that.
pub(crate) fn is_ignored(signal: c_int) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action nothing is changed; the kernel's answer has the size of `action`. Where the call
    // succeeds `action` is written, and it is read only then.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

fn queue(socket: &impl AsFd, which: Ioctl) -> u64 {
    let mut bytes: c_int = 0;
    // SAFETY: both requests write one int, and keep no pointer to it. The descriptor is borrowed, as above.
    let failed = unsafe { ioctl(socket.as_fd().as_raw_fd(), which, &raw mut bytes) };
    if failed == 0 { u64::try_from(bytes).unwrap_or_default() } else { 0 }
}

fn word(info: &[u8], at: usize) -> u32 {
    info.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn long(info: &[u8], at: usize) -> u64 {
    info.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn queues_and_limits_show_which_side_does_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut reader = listener.accept().unwrap().0;
        sender.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(wrote) = sender.write(&[7; 8192]) {
            sent += wrote as u64;
        }
        let (out, unread_bytes) = (unacknowledged(&sender), unread(&reader));
        // What has arrived and is not acknowledged yet is in both queues.
        assert!(unread_bytes > 0 && out + unread_bytes >= sent && out < sent, "{out} + {unread_bytes} of {sent}");
        let told = tcp(&sender).unwrap();
        assert!(told.cwnd > 0 && told.rtt_us > 0, "{told:?}");
        std::thread::sleep(std::time::Duration::from_millis(30));
        let later = tcp(&sender).unwrap();
        assert!(later.busy_us > told.busy_us && later.receiver_limited_us > told.receiver_limited_us, "{later:?}");
        reader.read_exact(&mut vec![0; usize::try_from(unread_bytes).unwrap()]).unwrap();
        assert_eq!(unread(&sender), 0);
    }

    #[test]
    fn only_what_lies_on_a_disk_gets_a_head_start() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 8192]).unwrap();
        assert!(begin_writing(&file, 4096, 4096).is_ok());
        assert_eq!(begin_writing(&file, u64::MAX, 1).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let (pipe, _writer) = io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(pipe));
        assert_eq!(begin_writing(&pipe, 0, 1).unwrap_err().raw_os_error(), Some(libc::ESPIPE));
    }

    #[test]
    fn an_ignored_signal_is_seen() {
        // The standard library ignores SIGPIPE in every program; nobody can ignore SIGKILL.
        assert!(is_ignored(libc::SIGPIPE) && !is_ignored(libc::SIGKILL) && !is_ignored(-1));
    }

    #[test]
    fn what_is_no_socket_tells_nothing() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!((tcp(&file), unacknowledged(&file)), (None, 0));
        assert_eq!((word(&[1, 0, 0], 0), long(&[0; 191], 184), long(&[1; 192], 184)), (0, 0, 0x0101_0101_0101_0101));
    }
}
