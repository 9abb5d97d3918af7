//! Hostile peers: a relay of connections that injects faults, and an origin with scripted replies.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::faulty::{End, Plan, join};

/// Listens on a port of its own until it is dropped, together with its connections.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _accepting: AbortOnDropHandle<()>,
}

/// One step of a hostile origin.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Sends this.
    Bytes(Vec<u8>),
    /// Sends this repeatedly, until the other side disconnects.
    Flood(&'static [u8]),
    /// Sends and closes nothing.
    Hang,
    /// Resets the connection.
    Reset,
}

/// The script of a hostile origin for one request: for GET, for HEAD.
pub(crate) type Script = Arc<dyn Fn(&str) -> Vec<Step> + Send + Sync>;

impl Peer {
    /// Forwards connections to an address; each of the first has plans of its own, those after them none.
    pub(crate) async fn relay(to: SocketAddr, plans: Vec<(Plan, Plan)>) -> Self {
        let plans = Arc::new(plans);
        Self::start(move |number, stream| {
            let (there, back) = plans.get(number).cloned().unwrap_or_else(|| (Plan::none(), Plan::none()));
            forward(stream, to, there, back)
        })
        .await
    }

    /// Replies to every request as the script defines; the end of a script closes.
    pub(crate) async fn origin(script: Script) -> Self {
        Self::start(move |_, stream| play(stream, Arc::clone(&script))).await
    }

    /// Accepts connections and sends nothing.
    pub(crate) async fn silent() -> Self {
        Self::start(|_, stream| async move {
            let _open = stream;
            std::future::pending::<()>().await;
        })
        .await
    }

    /// Number of connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// Serves each connection, which has a number from 0, until the peer is dropped.
    pub(crate) async fn start<F>(mut serve: impl FnMut(usize, TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(count.fetch_add(1, Relaxed), stream));
            }
        });
        Self { address, connections, _accepting: AbortOnDropHandle::new(accepting) }
    }
}

/// Forwards a connection to an address, with a plan for each direction.
pub(crate) async fn forward(stream: TcpStream, to: SocketAddr, there: Plan, back: Plan) {
    let Ok(onward) = TcpStream::connect(to).await else { return };
    let _ = (stream.set_nodelay(true), onward.set_nodelay(true));
    let (end, stream, onward) = join(stream, onward, there, back, |_| {}).await;
    if end == End::Reset {
        let _ = (stream.set_zero_linger(), onward.set_zero_linger());
    }
}

async fn play(mut stream: TcpStream, script: Script) {
    let mut inbox = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = inbox.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            match stream.read_buf(&mut inbox).await {
                Ok(1..) => {}
                _ => return,
            }
        };
        let method = if inbox.starts_with(b"HEAD") { "HEAD" } else { "GET" };
        inbox.drain(..end);
        let steps = script(method);
        let repeats = matches!(steps.last(), Some(Step::Bytes(_))) && steps.len() == 1;
        for step in steps {
            let sent = match step {
                Step::Bytes(bytes) => stream.write_all(&bytes).await,
                Step::Flood(bytes) => loop {
                    if let Err(error) = stream.write_all(bytes).await {
                        break Err(error);
                    }
                },
                Step::Hang => {
                    let mut rest = [0; 1024];
                    while matches!(stream.read(&mut rest).await, Ok(1..)) {}
                    return;
                }
                Step::Reset => {
                    let _ = stream.set_zero_linger();
                    return;
                }
            };
            if sent.is_err() {
                return;
            }
        }
        if !repeats {
            // A clean close: what was sent arrives.
            let _ = stream.shutdown().await;
            let mut rest = [0; 1024];
            let drained = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
            let _ = tokio::time::timeout(Duration::from_secs(5), drained).await;
            return;
        }
    }
}
