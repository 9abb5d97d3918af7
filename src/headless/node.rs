//! `--node`: listeners, the line that says where they are, and leaving in order.

use std::future::Future;
use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio::signal::unix::{Signal, SignalKind};
use tokio::task::JoinSet;
use tracing::{Level, error, info};

use super::on_one_thread;
use crate::cli::{Listen, NodePlan, OutputOptions, PerHop};
use crate::console::signals::{Signals, Termination, listen};
use crate::console::{self, Sink, start_log};
use crate::error::{Error, KeptBytes, plain, shown};
use crate::net::access::Access;
use crate::net::node::drain::Drain;
use crate::net::node::root::Root;
use crate::net::node::{Node, NodeConfig};
use crate::net::server;
use crate::net::supervisor::STAY;
use crate::net::upstream::policy::Policy;
use crate::net::upstream::resolve::Resolver;
use crate::route::Host;

/// Connections the system holds for us until they are accepted.
const BACKLOG: u32 = 1024;

/// Runs nodes until a signal asks them to leave, or standard input ends.
///
/// # Errors
/// `Error::Listen` if an address cannot be bound; `Error::Usage` if the served folder cannot be opened; `Error::Disk`
/// if the `--log` file cannot be opened; `Error::Other` if the runtime, a thread or a signal handler cannot be set up.
pub fn nodes(
    listeners: &[Listen],
    plan: &NodePlan,
    until_stdin_closes: bool,
    options: &OutputOptions,
) -> Result<(), Error> {
    let log = start_log(options, Level::INFO)?;
    if until_stdin_closes {
        exit_with_stdin()?;
    }
    use_all_descriptors();
    report_panics();
    on_one_thread(async {
        // Signals count from before the line that says we are there: whoever reads it may send one at once.
        let signals = NodeSignals::new(log, options.log.is_some())?;
        let mut nodes = Vec::new();
        for listen in listeners {
            let listener = bind(listen).await?;
            let address = listener.local_addr().map_err(|error| refused(listen, &error))?;
            nodes.push((Node::new(config(plan, address)?, address), listener));
        }
        for (node, _) in &nodes {
            console::out(&format!("listening {}", node.address))?;
        }
        let drain = Drain::new();
        let mut running = JoinSet::new();
        for (node, listener) in nodes {
            info!("{}: serves {}, {}", node.address, shown(node.config.root.path()), node.config.policy);
            running.spawn(server::run(node, listener, drain.child()));
        }
        let all = async {
            while let Some(ended) = running.join_next().await {
                if let Err(error) = ended {
                    error!("internal error in a node: {error}");
                }
            }
        };
        shut_down_on_signals(all, signals, &drain).await
    })
}

/// Makes a panic one line of the log: it costs the request that it comes from, and must not cost the log more than
/// others.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or("no message").replace('\n', " ");
        error!("panicked at {place}: {what}");
    }));
}

/// Takes what the system allows at most: what it gives at first, often 1,024, is for programs that still use select,
/// and a transfer through a relay costs up to four descriptors.
fn use_all_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        // Where it is refused, the node goes on with what it has.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

/// The signals of a node: those that end it, and those that only reopen its log.
struct NodeSignals {
    signals: Signals,
    /// SIGUSR1: log rotation by programs that leave SIGHUP alone. Without a listener it would end the node.
    rotated: Signal,
    log: Sink,
    has_file: bool,
    began_on_terminal: bool,
}

impl NodeSignals {
    fn new(log: Sink, has_file: bool) -> Result<Self, Error> {
        let rotated = listen(SignalKind::user_defined1())?;
        Ok(Self { signals: Signals::new()?, rotated, log, has_file, began_on_terminal: has_terminal() })
    }

    /// Waits for a signal that ends the node, and reopens the log for all others.
    async fn ending(&mut self) -> Termination {
        loop {
            tokio::select! {
                ending = self.signals.next() => match ending {
                    Termination::Hangup if !self.hangup_ends() => {}
                    ending => return ending,
                },
                _ = self.rotated.recv() => {}
            }
            self.log.reopen();
        }
    }

    /// SIGHUP means that the terminal has closed. A node that never had one, or that still has it and a log file beside
    /// it, was meant to reopen its log.
    fn hangup_ends(&self) -> bool {
        self.began_on_terminal && !(self.has_file && has_terminal())
    }
}

/// The process has a controlling terminal; when that closes, it has none from before the signal on.
fn has_terminal() -> bool {
    rustix::fs::open("/dev/tty", OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).is_ok()
}

/// The first signal lets transfers finish, the second does not.
async fn shut_down_on_signals(
    all: impl Future<Output = ()>,
    mut signals: NodeSignals,
    drain: &Drain,
) -> Result<(), Error> {
    tokio::pin!(all);
    tokio::select! {
        () = &mut all => return Ok(()),
        _ = signals.ending() => {}
    }
    info!("leaving when the transfers under way are over; a second signal leaves at once");
    drain.begin();
    tokio::select! {
        () = &mut all => return Ok(()),
        ending = signals.ending() => ending.record(),
    }
    drain.force();
    all.await;
    Err(Error::Interrupted { kept: KeptBytes::default() })
}

/// Ends the process with standard input, unless it is told there to stay: a thread of its own, so that nothing in the
/// node can hold it up.
fn exit_with_stdin() -> Result<(), Error> {
    // The terminal of the program that started this one is no business of ours, and neither is its end.
    let _ = rustix::process::setsid();
    let wait = || {
        let mut said = [0; 256];
        loop {
            match io::stdin().lock().read(&mut said) {
                Ok(0) | Err(_) => std::process::exit(i32::from(crate::error::OK)),
                // So short a write arrives whole.
                Ok(count) if said[..count] == *STAY => return,
                Ok(_) => {}
            }
        }
    };
    let thread = std::thread::Builder::new().name("stdin".to_owned()).spawn(wait);
    thread.map(drop).map_err(|error| Error::Other(format!("cannot watch standard input: {}", plain(&error))))
}

fn config(plan: &NodePlan, address: SocketAddr) -> Result<NodeConfig, Error> {
    let folder = plan.root.as_deref().unwrap_or(Path::new("."));
    let root = Root::open(folder).map_err(|error| {
        Error::Usage(format!("--root {}: {}: name a folder to serve", shown(folder), plain(&error)))
    })?;
    let access = Access {
        read: plan.read_token.clone(),
        chain: plan.chain_token.clone(),
        control: plan.control_token.clone(),
        host_names: plan.host_names.clone(),
        list: plan.list,
        allow_faults: plan.allow_faults,
        local_users: plan.local_users,
        ..Access::new(address)
    };
    Ok(NodeConfig {
        root,
        policy: Policy::new(address, plan.allow_next.clone()),
        access,
        limits: plan.limits,
        // No hop has number 0, so these are the turns that name none.
        faults: PerHop::faults(&plan.faults, 0),
        max_connections: plan.max_connections,
        protocol: plan.protocol,
        resolver: Resolver::default(),
    })
}

async fn bind(listen: &Listen) -> Result<TcpListener, Error> {
    let address = match &listen.host {
        Host::Ip(ip) => SocketAddr::new(*ip, listen.port),
        Host::Name(name) => {
            let found = lookup_host((name.as_str(), listen.port)).await.map_err(|error| refused(listen, &error))?;
            let first = found.into_iter().next();
            first.ok_or_else(|| refused(listen, &io::Error::from(ErrorKind::AddrNotAvailable)))?
        }
    };
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A node that is started again must not wait for the last one's connections to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|error| refused(listen, &error))
}

fn refused(listen: &Listen, error: &io::Error) -> Error {
    let advice = match error.kind() {
        ErrorKind::AddrInUse => ": stop what listens there, or name another port (0 lets the system choose)",
        ErrorKind::PermissionDenied => ": ports below 1024 need privileges, name one from 1024 up",
        ErrorKind::AddrNotAvailable => ": name an address of this machine, such as 127.0.0.1",
        ErrorKind::InvalidInput => ": a link-local address needs its interface, name another address of this machine",
        _ => "",
    };
    Error::Listen { address: listen.to_string().into(), reason: format!("{}{advice}", plain(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_refused_with_advice() {
        let first = bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let taken: Listen = first.local_addr().unwrap().to_string().parse().unwrap();
        let error = bind(&taken).await.unwrap_err();
        assert_eq!(error.exit_code(), 9);
        assert!(error.to_string().contains("name another port"), "{error}");
        // TEST-NET-1 is nobody's address.
        let error = bind(&"192.0.2.1:0".parse().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("an address of this machine"), "{error}");
    }
}
