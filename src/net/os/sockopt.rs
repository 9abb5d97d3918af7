//! Socket options for the size of the kernel's buffers. No library wraps two of them: whether the kernel may grow a
//! receive buffer, and the window with it.
#![expect(unsafe_code, reason = "setsockopt with options that have no safe wrapper")]

use std::os::fd::{AsFd, AsRawFd};

use libc::{IPPROTO_TCP, SO_BUF_LOCK, SOL_SOCKET, TCP_WINDOW_CLAMP, c_int, setsockopt, socklen_t};
use socket2::SockRef;
use tokio::net::TcpStream;

/// The bit of a receive buffer; linux/socket.h calls it `SOCK_RCVBUF_LOCK`.
const RECEIVE: c_int = 2;
/// The largest window that TCP can announce.
const LARGEST: c_int = 1 << 30;

/// Locks the size of a connection's receive buffer.
pub(in crate::net) fn hold(stream: &TcpStream) {
    set(stream, SOL_SOCKET, SO_BUF_LOCK, RECEIVE);
}

/// Limits the window that a connection announces from now on; what was announced before may still arrive.
///
/// A smaller buffer would do the same, but the kernel drops segments that no longer fit into it, and the sender repeats
/// them after a timeout that doubles up to seconds.
pub(in crate::net) fn limit_window(stream: &TcpStream, bytes: c_int) {
    set(stream, IPPROTO_TCP, TCP_WINDOW_CLAMP, bytes);
}

/// Lets the kernel grow a connection's receive buffer.
pub(in crate::net) fn release(stream: &TcpStream) {
    set(stream, SOL_SOCKET, SO_BUF_LOCK, 0);
    // The kernel raises the window only along with the buffer, and so not for a buffer that was resized.
    set(stream, IPPROTO_TCP, TCP_WINDOW_CLAMP, LARGEST);
}

/// Fixes the size of a socket's buffers, or of those of all connections that a listener accepts; false if this machine
/// does not allow that much. Called before connecting, or the first window is larger than the buffer.
pub(in crate::net) fn fix(socket: &impl AsFd, bytes: u32) -> bool {
    let (socket, bytes) = (SockRef::from(socket), bytes as usize);
    // The kernel doubles the requested size, see socket(7).
    let _ = (socket.set_send_buffer_size(bytes), socket.set_recv_buffer_size(bytes));
    [socket.send_buffer_size(), socket.recv_buffer_size()]
        .into_iter()
        .all(|size| size.is_ok_and(|size| size >= 2 * bytes))
}

fn set(stream: &TcpStream, level: c_int, option: c_int, value: c_int) {
    // SAFETY: the descriptor is open for as long as the stream is borrowed; the kernel reads as many bytes as the value
    // has, and keeps no pointer to it. A kernel before 5.15 knows no such lock, and its buffers just grow.
    unsafe {
        let size = size_of::<c_int>() as socklen_t;
        setsockopt(stream.as_raw_fd(), level, option, (&raw const value).cast(), size);
    }
}
