//! Cost of a body for a relay, for each way of moving it: between loopback sockets, with its meter.
#![allow(clippy::unwrap_used, reason = "a benchmark stops where something is not as it should be")]

use std::io;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use chainview::meter::Meter;
use chainview::net::body::copy::copy_body;
use chainview::net::body::options::{CopyOptions, EarlyInput};
use chainview::net::body::sockbuf::Incoming;
use chainview::net::body::splice::Pipes;
use chainview::net::body::{self, Direct, Source};
use chainview::net::faults::LiveFaults;
use chainview::net::os::clock::Clock;
use chainview::net::os::socket::Socket;
use divan::Bencher;
use divan::counter::BytesCount;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::runtime::{Builder, Runtime};

/// One body: long enough that its beginning, which is always copied, does not count.
const BODY: u64 = 32 << 20;
/// The buffer of both ends, so large that they are not what is measured.
const END_BUFFER: usize = 512 * 1024;
/// Far longer than any body here takes.
const LIMIT: Duration = Duration::from_secs(10);

/// No fault is set.
static NO_FAULTS: LazyLock<LiveFaults> = LazyLock::new(LiveFaults::default);

fn main() {
    divan::main();
}

/// The relay between a source that always has more and a sink that reads everything, each in a thread of its own.
struct Bench {
    runtime: Runtime,
    source: tokio::net::TcpStream,
    reader: Socket,
}

impl Bench {
    fn start() -> Self {
        let (source, mut origin) = connected();
        let (reader, mut client) = connected();
        // Both threads end when the relay's sockets are closed.
        thread::spawn(move || {
            let bytes = vec![7; END_BUFFER];
            while origin.write_all(&bytes).is_ok() {}
        });
        thread::spawn(move || {
            let mut bytes = vec![0; END_BUFFER];
            while client.read(&mut bytes).is_ok_and(|read| read > 0) {}
        });
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let entered = runtime.enter();
        let [source, reader] = [source, reader].map(|stream| {
            stream.set_nonblocking(true).unwrap();
            tokio::net::TcpStream::from_std(stream).unwrap()
        });
        drop(entered);
        Self { runtime, source, reader: Socket::new(reader) }
    }
}

/// Two ends of one connection. With BBR, the default of some hosts, which paces even loopback, the result would only
/// show pacing.
fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    for stream in [&one, &other] {
        rustix::net::sockopt::set_tcp_congestion(stream, "reno").unwrap();
    }
    (one, other)
}

fn pace(meter: &Meter) -> CopyOptions<'_> {
    CopyOptions {
        meter,
        clock: Clock::start(),
        faults: &NO_FAULTS,
        key: None,
        idle: LIMIT,
        stall: LIMIT,
        step: LIMIT,
        fixed: false,
        last: false,
    }
}

/// A body that arrives on a socket.
struct FromSocket(tokio::net::TcpStream);

impl AsyncRead for FromSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Source for FromSocket {
    fn socket(&self) -> Option<Arc<tokio::net::TcpStream>> {
        None
    }

    fn peek(&mut self, _most: usize) -> io::Result<&[u8]> {
        Ok(&[])
    }

    fn direct(&self) -> Option<Direct<'_>> {
        Some(Direct::Socket(Incoming { stream: &self.0, low_rtt: true }))
    }

    fn consume(&mut self, _bytes: u64) {}
}

/// The copy loop alone.
#[divan::bench(sample_count = 20, sample_size = 4)]
fn copied(bencher: Bencher<'_, '_>) {
    let Bench { runtime, mut source, mut reader } = Bench::start();
    let meter = Meter::default();
    bencher.counter(BytesCount::new(BODY)).bench_local(|| {
        let mut early = EarlyInput::Discard;
        runtime.block_on(copy_body(&mut source, &mut reader, BODY, pace(&meter), &mut early)).unwrap();
    });
}

/// What a relay does: the beginning copied, the rest through a pipe in the kernel.
#[divan::bench(sample_count = 20, sample_size = 4)]
fn spliced(bencher: Bencher<'_, '_>) {
    let Bench { runtime, source, mut reader } = Bench::start();
    let (meter, pipes, mut source) = (Meter::default(), Arc::<Pipes>::default(), FromSocket(source));
    bencher.counter(BytesCount::new(BODY)).bench_local(|| {
        let moved = body::send(Vec::new(), &mut source, &mut reader, BODY, pace(&meter), EarlyInput::Discard, &pipes);
        runtime.block_on(moved).unwrap();
    });
}

/// A small body, as most are: the same call, and no pipe.
#[divan::bench]
fn small(bencher: Bencher<'_, '_>) {
    const SMALL: u64 = 4096;
    let Bench { runtime, source, mut reader } = Bench::start();
    let (meter, pipes, mut source) = (Meter::default(), Arc::<Pipes>::default(), FromSocket(source));
    bencher.counter(BytesCount::new(SMALL)).bench_local(|| {
        let moved = body::send(Vec::new(), &mut source, &mut reader, SMALL, pace(&meter), EarlyInput::Discard, &pipes);
        runtime.block_on(moved).unwrap();
    });
}
