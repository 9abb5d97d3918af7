//! Stand-in for the legacy program, quirks included, on plain threads and blocking sockets.
//!
//! It shares no code with the program under test; `tests/it/standin.rs` compares it with the legacy program.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, iter};

use socket2::{Domain, SockRef, Socket, Type};

use super::{Outcome, Pace, TIMEOUT};

/// One read of a request, and one chunk of a body.
const CHUNK: usize = 1024;
/// How much every reader of the go-ahead reads.
const ACK_READ: usize = 4;
/// What an idle stand-in may still hold: the accept loop keeps the newest connection until the next one arrives.
const HELD_WHEN_IDLE: usize = 1;

/// A running stand-in.
pub(crate) struct Node {
    address: SocketAddr,
    listener: TcpListener,
    shared: Arc<Shared>,
}

/// What a stand-in holds: the figures in which a leak shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Handlers that have not ended.
    pub(crate) threads: usize,
    /// Open sockets without the listener.
    pub(crate) sockets: usize,
}

struct Shared {
    root: PathBuf,
    open: Mutex<Open>,
    changed: Condvar,
}

#[derive(Default)]
struct Open {
    held: Held,
    sockets: Vec<Weak<Counted>>,
    stopping: bool,
}

/// A socket that is counted until it is really closed.
struct Counted {
    stream: TcpStream,
    shared: Arc<Shared>,
}

/// The accept loop's own reference to a connection, which keeps it open after its handler failed.
type Slot = Arc<Mutex<Option<Arc<Counted>>>>;

/// A handler ended by an error: it closes only what it alone holds.
struct Died;

impl From<io::Error> for Died {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Node {
    /// Listens on a free port and serves the folder, and the rest of the disk too, as the legacy program does.
    pub(crate) fn start(root: &Path) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, root)
    }

    /// Listens on this address.
    pub(crate) fn start_at(ip: Ipv4Addr, root: &Path) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
        socket.listen(4).unwrap();
        let listener = TcpListener::from(socket);
        let shared =
            Arc::new(Shared { root: root.to_owned(), open: Mutex::new(Open::default()), changed: Condvar::new() });
        let node = Self { address: listener.local_addr().unwrap(), listener, shared };
        let (listener, shared) = (node.listener.try_clone().unwrap(), Arc::clone(&node.shared));
        thread::spawn(move || accept_loop(&listener, &shared));
        node
    }

    /// The address of the listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it holds now.
    pub(crate) fn held(&self) -> Held {
        self.shared.open.lock().unwrap().held
    }

    /// Waits until every handler has ended; returns whether they did in time.
    pub(crate) fn becomes_idle(&self, timeout: Duration) -> bool {
        let open = self.shared.open.lock().unwrap();
        let busy = |open: &mut Open| open.held.threads > 0 || open.held.sockets > HELD_WHEN_IDLE;
        !self.shared.changed.wait_timeout_while(open, timeout, busy).unwrap().1.timed_out()
    }
}

impl Drop for Node {
    /// Stops the accept loop and every handler, including those that wait forever.
    fn drop(&mut self) {
        let mut open = self.shared.open.lock().unwrap();
        open.stopping = true;
        let sockets: Vec<_> = open.sockets.drain(..).filter_map(|socket| socket.upgrade()).collect();
        drop(open);
        let _ = SockRef::from(&self.listener).shutdown(std::net::Shutdown::Both);
        for socket in sockets {
            let _ = socket.stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Counted {
    fn new(stream: TcpStream, shared: &Arc<Shared>) -> Arc<Self> {
        let mut open = shared.open.lock().unwrap();
        if open.stopping {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        open.held.sockets += 1;
        let counted = Arc::new(Self { stream, shared: Arc::clone(shared) });
        open.sockets.retain(|socket| socket.strong_count() > 0);
        open.sockets.push(Arc::downgrade(&counted));
        counted
    }

    /// One `recv`: up to this many bytes, none at the end of the stream.
    fn recv(&self, most: usize) -> io::Result<Vec<u8>> {
        recv(&self.stream, most)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.stream).write_all(bytes)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // The descriptor itself closes when this returns; what waits for the count allows for that moment.
        self.shared.open.lock().unwrap().held.sockets -= 1;
        self.shared.changed.notify_all();
    }
}

fn accept_loop(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut _newest = Slot::default();
    while let Ok((stream, _)) = listener.accept() {
        let client = Counted::new(stream, shared);
        let slot = Slot::new(Mutex::new(Some(Arc::clone(&client))));
        _newest = Arc::clone(&slot);
        shared.open.lock().unwrap().held.threads += 1;
        let shared = Arc::clone(shared);
        let handler = move || {
            if handle(&shared, &client).is_ok() {
                // An explicit close, unlike the end of a handler that failed.
                slot.lock().unwrap().take();
            }
            drop(client);
            shared.open.lock().unwrap().held.threads -= 1;
            shared.changed.notify_all();
        };
        thread::Builder::new().stack_size(128 * 1024).spawn(handler).unwrap();
    }
}

/// Reads once; two lines or fewer make it the origin, whatever their content.
fn handle(shared: &Arc<Shared>, client: &Counted) -> Result<(), Died> {
    let request = String::from_utf8(client.recv(CHUNK)?).map_err(|_| Died)?;
    let lines: Vec<&str> = request.split('\n').collect();
    if lines.len() <= 2 { origin(shared, client, &lines) } else { relay(shared, client, &lines) }
}

fn origin(shared: &Shared, client: &Counted, lines: &[&str]) -> Result<(), Died> {
    // It prints line 2 first, and fails if there is none.
    lines.get(1).ok_or(Died)?;
    let path = shared.root.join(lines[0]);
    let serve = || -> io::Result<()> {
        // A directory has a size; that it cannot be read shows only after the go-ahead.
        client.send(fs::metadata(&path)?.len().to_string().as_bytes())?;
        client.recv(ACK_READ)?;
        client.send(&fs::read(&path)?)
    };
    if serve().is_err() {
        client.send(b"NA")?;
    }
    Ok(())
}

fn relay(shared: &Arc<Shared>, client: &Counted, lines: &[&str]) -> Result<(), Died> {
    let next: Vec<&str> = lines[2].split(' ').collect();
    let rest: Vec<&str> = iter::once(lines[0]).chain(lines[2..].iter().copied()).collect();
    let port: u16 = next.get(1).and_then(|port| port.trim().parse().ok()).ok_or(Died)?;
    // The legacy program resolves any word in this position, even the name of a header whose value is a number; a
    // stand-in stays on loopback.
    let host = if next[0] == "localhost" { "127.0.0.1" } else { next[0] };
    let address = SocketAddr::new(host.parse().map_err(|_| Died)?, port);
    let upstream = Counted::new(TcpStream::connect(address)?, shared);
    upstream.send(rest.join("\n").as_bytes())?;
    client.send(&upstream.recv(CHUNK)?)?;
    upstream.send(&client.recv(ACK_READ)?)?;
    loop {
        let chunk = upstream.recv(CHUNK)?;
        if chunk.is_empty() {
            break;
        }
        client.send(&chunk)?;
    }
    // Meant for the client's `close`; with its 11-byte go-ahead it is the next 4 of those.
    client.recv(ACK_READ)?;
    Ok(())
}

/// Fetches as the legacy client does, by the input file, into this folder.
pub(crate) fn fetch(input: &Path, folder: &Path, pace: Pace) -> Outcome {
    let input = fs::read_to_string(input).unwrap().replace("\r\n", "\n");
    let mut lines = input.split('\n');
    let name = lines.next().unwrap();
    let first: Vec<&str> = lines.next().unwrap().split(' ').collect();
    let address = SocketAddr::new(first[0].parse().unwrap(), first[1].trim().parse().unwrap());
    let stream = connect(address, pace);
    let mut received = 0;
    let dialogue = dialogue(&stream, input.as_bytes(), &folder.join(name), pace, &mut received);
    dialogue.unwrap_or_else(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Outcome::Stuck,
        _ => Outcome::Reset(received),
    })
}

fn dialogue(
    mut stream: &TcpStream,
    request: &[u8],
    path: &Path,
    pace: Pace,
    received: &mut u64,
) -> io::Result<Outcome> {
    let end = Instant::now() + TIMEOUT;
    stream.write_all(request)?;
    let text = String::from_utf8_lossy(&recv(stream, CHUNK)?).into_owned();
    if text == "NA" {
        return Ok(Outcome::NotThere);
    }
    let Ok(size) = text.trim().parse::<u64>() else { return Ok(Outcome::NotASize(text)) };
    stream.write_all(b"ack_to_send")?;
    let mut output = fs::File::create(path)?;
    while *received < size {
        let most = if pace == Pace::Slow { SLOW_PIECE } else { (size as usize).min(1 << 20) };
        let data = recv(stream, most)?;
        if data.is_empty() {
            return Ok(Outcome::Spins(*received));
        }
        output.write_all(&data)?;
        *received += data.len() as u64;
        if pace == Pace::Slow {
            thread::sleep(SLOW_PAUSE);
        }
        if Instant::now() > end {
            return Ok(Outcome::Stuck);
        }
    }
    stream.write_all(b"close")?;
    Ok(Outcome::Done)
}

fn connect(address: SocketAddr, pace: Pace) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if pace == Pace::Slow {
        socket.set_recv_buffer_size(SLOW_BUFFER).unwrap();
    }
    socket.connect(&address.into()).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    TcpStream::from(socket)
}

fn recv(mut stream: &TcpStream, most: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; most];
    loop {
        match stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(count) => {
                buffer.truncate(count);
                return Ok(buffer);
            }
            Err(error) => return Err(error),
        }
    }
}

/// A slow reader reads this much, then pauses: about 10 MiB/s, so that what the kernels of a chain can buffer is read
/// well within the linger of a chainview node. A slower reader loses the tail behind a legacy relay.
const SLOW_PIECE: usize = 32 * 1024;
/// The pause between two reads of a slow reader.
const SLOW_PAUSE: Duration = Duration::from_millis(3);
/// A window of about one loopback segment, so that backpressure of a slow reader is immediate.
const SLOW_BUFFER: usize = 64 * 1024;
