//! System calls without a safe wrapper: the kernel's figures about a socket, early write-back to disk, and whether a
//! signal is ignored.
#![expect(
    unsafe_code,
    reason = "getsockopt and ioctl with requests that have no safe wrapper; sync_file_range; sigaction"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use libc::{FIONREAD, IPPROTO_TCP, Ioctl, TCP_INFO, TIOCOUTQ, c_int, getsockopt, ioctl, socklen_t};
use libc::{SYNC_FILE_RANGE_WRITE, sync_file_range};

use socket2::SockRef;

use crate::snapshot::TcpSnapshot;

/// Bytes of `struct tcp_info` up to the last field that is read here.
const LENGTH: usize = 192;
/// State of a closed connection in `struct tcp_info`.
const TCP_CLOSE: u8 = 7;

/// Figures that show whether a reader that accepts nothing still reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) struct Sending {
    /// Bytes acknowledged by the peer's kernel.
    pub(in crate::net) acknowledged: u64,
    /// Segments in flight.
    pub(in crate::net) under_way: u32,
    /// Unanswered zero-window probes so far.
    pub(in crate::net) probes: u8,
}

/// Returns the progress of a connection's reader; `None` if the kernel does not report it, such as for other sockets
/// than TCP.
pub(in crate::net) fn sending(socket: &impl AsFd) -> Option<Sending> {
    let (info, length) = tcp_info(socket)?;
    let info = &info[..length];
    Some(Sending { acknowledged: u64_at(info, 120), under_way: u32_at(info, 24), probes: *info.get(3)? })
}

/// Returns whether the connection is closed for the kernel too, such as one that it has given up.
pub(in crate::net) fn is_over(socket: &impl AsFd) -> bool {
    tcp_info(socket).is_some_and(|(info, length)| length > 0 && info[0] == TCP_CLOSE)
}

/// Returns the sending figures; a field that this kernel does not have is 0; `None` if it reports none.
pub(in crate::net) fn tcp(socket: &impl AsFd) -> Option<TcpSnapshot> {
    let (info, length) = tcp_info(socket)?;
    let info = &info[..length];
    // The offsets are those of linux/tcp.h; the struct only ever grows at its end.
    Some(TcpSnapshot {
        under_way: u64::from(u32_at(info, 24)),
        rtt_us: u64::from(u32_at(info, 68)),
        min_rtt_us: u64::from(u32_at(info, 148)),
        cwnd: u64::from(u32_at(info, 80)),
        retransmits: u64::from(u32_at(info, 100)),
        delivery_rate: u64_at(info, 160),
        tolerates_loss: tolerates_loss(socket),
        busy_us: u64_at(info, 168),
        receiver_limited_us: u64_at(info, 176),
        buffer_limited_us: u64_at(info, 184),
    })
}

/// Returns whether the connection's congestion control takes no lost packet for a full link.
fn tolerates_loss(socket: &impl AsFd) -> bool {
    // Version 1, the one in Linux, does not react to loss; version 2 has another name.
    SockRef::from(socket).tcp_congestion().is_ok_and(|name| name.split(|byte| *byte == 0).next() == Some(b"bbr"))
}

/// Returns the used prefix of `struct tcp_info`, and how much of it this kernel has.
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

/// Returns the bytes that have arrived and were not read.
pub(in crate::net) fn unread(socket: &impl AsFd) -> u64 {
    queue(socket, FIONREAD)
}

/// Returns the bytes that were sent and not acknowledged.
pub(in crate::net) fn unacknowledged(socket: &impl AsFd) -> u64 {
    queue(socket, TIOCOUTQ)
}

/// Starts the write-back of a part of a file without waiting: the sync that follows has less to do. It guarantees
/// nothing, so omitting it only costs time.
pub(in crate::net) fn begin_writing(file: &File, offset: u64, length: usize) -> io::Result<()> {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else {
        return Err(io::ErrorKind::FileTooLarge.into());
    };
    // SAFETY: numbers only. A descriptor is held by `file` for as long as the call takes.
    let failed = unsafe { sync_file_range(file.as_raw_fd(), offset, length, SYNC_FILE_RANGE_WRITE) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns whether the signal is ignored; at the start of the program, its parent has chosen that.
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

fn u32_at(info: &[u8], at: usize) -> u32 {
    info.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn u64_at(info: &[u8], at: usize) -> u64 {
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
        // Bytes that have arrived and are not acknowledged yet are in both queues.
        assert!(unread_bytes > 0 && out + unread_bytes >= sent && out < sent, "{out} + {unread_bytes} of {sent}");
        let own = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap();
        assert_eq!(tcp(&sender).unwrap().tolerates_loss, own.trim() == "bbr");
        if SockRef::from(&sender).set_tcp_congestion(b"reno").is_ok() {
            assert!(!tcp(&sender).unwrap().tolerates_loss);
        }
        let earlier = tcp(&sender).unwrap();
        assert!(earlier.cwnd > 0 && earlier.rtt_us > 0, "{earlier:?}");
        std::thread::sleep(std::time::Duration::from_millis(30));
        let later = tcp(&sender).unwrap();
        assert!(
            later.busy_us > earlier.busy_us && later.receiver_limited_us > earlier.receiver_limited_us,
            "{later:?}"
        );
        reader.read_exact(&mut vec![0; usize::try_from(unread_bytes).unwrap()]).unwrap();
        assert_eq!(unread(&sender), 0);
    }

    #[test]
    fn only_files_on_a_disk_can_be_written_back_early() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 8192]).unwrap();
        assert!(begin_writing(&file, 4096, 4096).is_ok());
        assert_eq!(begin_writing(&file, u64::MAX, 1).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let (pipe, _writer) = io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(pipe));
        assert_eq!(begin_writing(&pipe, 0, 1).unwrap_err().raw_os_error(), Some(libc::ESPIPE));
    }

    #[test]
    fn an_ignored_signal_is_detected() {
        // The standard library ignores SIGPIPE in every program; SIGKILL cannot be ignored.
        assert!(is_ignored(libc::SIGPIPE) && !is_ignored(libc::SIGKILL) && !is_ignored(-1));
    }

    #[test]
    fn other_descriptors_have_no_figures() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!((tcp(&file), unacknowledged(&file)), (None, 0));
        assert_eq!(
            (u32_at(&[1, 0, 0], 0), u64_at(&[0; 191], 184), u64_at(&[1; 192], 184)),
            (0, 0, 0x0101_0101_0101_0101)
        );
    }
}
