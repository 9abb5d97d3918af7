//! `--node`: listeners, their addresses on stdout, and graceful shutdown.

use std::future::Future;
use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio::signal::unix::{Signal, SignalKind};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{Level, error, info};

use super::certificate::CertificateFiles;
use super::on_one_thread;
use crate::cli::key_file::authorized_keys;
use crate::cli::{Listen, NodePlan, OutputOptions, PerHop};
use crate::console::signals::{Signals, Termination, listen};
use crate::console::{self, AuditLines, Sink, start_audit, start_log};
use crate::error::{Error, KeptBytes, plain, shown};
use crate::keys::KeyPair;
use crate::net::access::{Access, KeyTable};
use crate::net::node::audit::AuditWriter;
use crate::net::node::drain::Drain;
use crate::net::node::root::Root;
use crate::net::node::{Node, NodeConfig};
use crate::net::os::clock::seconds;
use crate::net::os::threads::Threads;
use crate::net::server;
use crate::net::supervisor::STAY;
use crate::net::tls::ServerTls;
use crate::net::upstream::policy::Policy;
use crate::net::upstream::resolve::Resolver;
use crate::options::AuditTarget;
use crate::route::Host;

/// Listen backlog.
const BACKLOG: u32 = 1024;

/// Runs nodes until a signal, or the end of standard input.
///
/// # Errors
/// `Error::Listen` if an address cannot be bound; `Error::Usage` if the served folder cannot be opened; `Error::Disk`
/// if the file of `--log` or `--audit` cannot be opened; `Error::Other` if the runtime, a thread or a signal handler
/// cannot be set up.
pub fn nodes(
    listeners: &[Listen],
    plan: &NodePlan,
    until_stdin_closes: bool,
    options: &OutputOptions,
) -> Result<(), Error> {
    let log = start_log(options, Level::INFO)?;
    let audit = plan.audit.as_ref().map(start_audit).transpose()?.map(Arc::new);
    if until_stdin_closes {
        exit_with_stdin()?;
    }
    use_all_descriptors();
    report_panics();
    let keys = plan.authorized_keys.as_deref().map(KeyFile::open).transpose()?;
    let tls = plan.identity.as_ref().map(|pair| server_tls(pair)).transpose()?;
    let certificate = plan.certificate.as_ref().zip(tls.as_ref());
    let certificate = certificate.map(|(files, tls)| CertificateFiles::open(files, tls)).transpose()?;
    on_one_thread(async {
        // Handlers are registered before the line is printed: its reader may send a signal immediately.
        let table = keys.as_ref().map(|keys| keys.table.clone());
        if keys.is_some() {
            KeyFile::can_be_used().await;
        }
        let has_file = options.log.is_some() || matches!(plan.audit, Some(AuditTarget::File(_)));
        let sinks = std::iter::once(log).chain(audit.as_ref().map(|audit| audit.sink().clone())).collect();
        let signals = NodeSignals::new(sinks, has_file, keys, certificate)?;
        let mut nodes = Vec::new();
        for listen in listeners {
            let listener = bind(listen).await?;
            let address = listener.local_addr().map_err(|error| refused(listen, &error))?;
            let config = config(plan, audit.as_ref(), address, table.clone(), tls.clone())?;
            nodes.push((Node::new(config, address), listener));
        }
        for (node, _) in &nodes {
            console::out(&format!("listening {}", node.address))?;
        }
        let drain = Drain::new();
        let mut running = JoinSet::new();
        for (node, listener) in nodes {
            let NodeConfig { root, access, policy, .. } = &node.config;
            let clients = access.clients.as_ref().map(|clients| format!(" to {clients}")).unwrap_or_default();
            let keys =
                access.keys.as_ref().map(|keys| format!(", authorized keys: {}", keys.count())).unwrap_or_default();
            let key = plan.identity.as_ref().map(|pair| format!(" with the key {}", pair.public().fingerprint()));
            let key = key.unwrap_or_default();
            info!("{}: serves {}{clients}{key}, {policy}{keys}", node.address, shown(root.path()));
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

/// Logs a panic as one line: it only fails the request that it comes from.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or("no message").replace('\n', " ");
        error!("panicked at {place}: {what}");
    }));
}

/// Raises the limit of descriptors to the maximum: the default, often 1,024, is for programs that use select, and a
/// transfer through a relay needs up to four descriptors.
fn use_all_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        // On failure, the node continues with the default.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

/// Reads files again: one thread, so that the last signal has the last word.
static RELOADS: LazyLock<Threads> = LazyLock::new(|| Threads::new("reload", 1));

/// Runs work that reads a file again on a thread, because the disk may be slow.
fn reload(work: impl FnOnce() + Send + 'static) {
    if let Err(error) = RELOADS.run(work) {
        error!("a file is not read again: no thread could be started: {}", plain(&error));
    }
}

/// The file of the authorized keys, and the keys that were read from it last.
#[derive(Clone)]
struct KeyFile {
    path: PathBuf,
    table: KeyTable,
}

impl KeyFile {
    fn open(path: &Path) -> Result<Self, Error> {
        let keys = authorized_keys(path)?;
        // A request that was served before a restart in this second is refused after it.
        let since = seconds(SystemTime::now()) + 1;
        Ok(Self { path: path.to_owned(), table: KeyTable::new(keys, since) })
    }

    /// Waits until requests can be signed that the table does not refuse: their times are whole seconds.
    async fn can_be_used() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        sleep(Duration::from_nanos(1_000_000_000 - u64::from(now.subsec_nanos()))).await;
    }

    /// Reads the file again; on an error the keys remain as they are.
    fn reload(&self) {
        match authorized_keys(&self.path) {
            Ok(keys) => {
                self.table.replace(keys);
                info!("{}: authorized keys: {}", shown(&self.path), self.table.count());
            }
            Err(error) => error!("{error}: the keys that were authorized before remain so"),
        }
    }
}

/// Signals of a node: those that end it, and those that reopen its log and audit and reload its keys and certificate.
struct NodeSignals {
    signals: Signals,
    /// SIGUSR1: log rotation by programs that do not use SIGHUP. Without a handler it would end the node.
    rotated: Signal,
    sinks: Vec<Sink>,
    keys: Option<KeyFile>,
    certificate: Option<CertificateFiles>,
    /// The log or the audit goes to a file.
    has_file: bool,
    began_on_terminal: bool,
}

impl NodeSignals {
    fn new(
        sinks: Vec<Sink>,
        has_file: bool,
        keys: Option<KeyFile>,
        certificate: Option<CertificateFiles>,
    ) -> Result<Self, Error> {
        let rotated = listen(SignalKind::user_defined1())?;
        let (signals, began_on_terminal) = (Signals::new()?, has_terminal());
        Ok(Self { signals, rotated, sinks, keys, certificate, has_file, began_on_terminal })
    }

    /// Waits for a signal that ends the node. All others reopen the files; SIGHUP reloads the keys and the certificate,
    /// too.
    async fn ending(&mut self) -> Termination {
        loop {
            tokio::select! {
                ending = self.signals.next() => match ending {
                    Termination::Hangup if !self.hangup_ends() => {
                        self.keys.iter().cloned().for_each(|keys| reload(move || keys.reload()));
                        self.certificate.iter().cloned().for_each(|files| reload(move || files.reload()));
                    }
                    ending => return ending,
                },
                _ = self.rotated.recv() => {}
            }
            self.sinks.iter().for_each(Sink::reopen);
        }
    }

    /// Returns true if SIGHUP means that the terminal has closed. For a node that never had one, or that still has it
    /// and a file, it means to reopen the files.
    fn hangup_ends(&self) -> bool {
        self.began_on_terminal && !(self.has_file && has_terminal())
    }
}

/// Returns true if the process has a controlling terminal, which is detached before SIGHUP is sent.
fn has_terminal() -> bool {
    rustix::fs::open("/dev/tty", OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).is_ok()
}

/// Shuts down gracefully on the first signal, and immediately on the second.
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
    info!("shutting down when the transfers in progress have ended; a second signal exits immediately");
    drain.begin();
    tokio::select! {
        () = &mut all => return Ok(()),
        ending = signals.ending() => ending.record(),
    }
    drain.force();
    all.await;
    Err(Error::Interrupted { kept: KeptBytes::default() })
}

/// Exits at the end of standard input, unless it receives a command to keep running. Uses a separate thread, so that
/// nothing in the node can delay it.
fn exit_with_stdin() -> Result<(), Error> {
    // Detaches from the terminal of the program that started this one.
    let _ = rustix::process::setsid();
    // The program that started this one may have stopped it, and a stopped process does not see the end of its input.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::CONT));
    let wait = || {
        let mut input = [0; 256];
        loop {
            match io::stdin().lock().read(&mut input) {
                Ok(0) | Err(_) => {
                    console::flush();
                    std::process::exit(i32::from(crate::error::OK))
                }
                // A write this short arrives in one read.
                Ok(count) if input[..count] == *STAY => return,
                Ok(_) => {}
            }
        }
    };
    let thread = std::thread::Builder::new().name("stdin".to_owned()).spawn(wait);
    thread.map(drop).map_err(|error| Error::Other(format!("cannot watch standard input: {}", plain(&error))))
}

fn config(
    plan: &NodePlan,
    audit: Option<&Arc<AuditLines>>,
    address: SocketAddr,
    keys: Option<KeyTable>,
    tls: Option<Arc<ServerTls>>,
) -> Result<NodeConfig, Error> {
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
        keys,
        clients: plan.clients.clone(),
        ..Access::new(address)
    };
    Ok(NodeConfig {
        root,
        policy: Policy::new(address, plan.allow_next.clone()).with_targets(plan.allow_connect.clone()),
        access,
        limits: plan.limits,
        // No hop has number 0, so these are the changes for all nodes.
        faults: PerHop::faults(&plan.faults, 0),
        max_connections: plan.max_connections,
        protocol: plan.protocol,
        resolver: Resolver::default(),
        tls,
        audit: audit.map(|audit| Arc::clone(audit) as Arc<dyn AuditWriter>),
    })
}

fn server_tls(pair: &KeyPair) -> Result<Arc<ServerTls>, Error> {
    ServerTls::new(pair).map(Arc::new).map_err(|error| Error::Other(format!("--identity: {error}")))
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
        // A restarted node must not wait for old connections in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|error| refused(listen, &error))
}

fn refused(listen: &Listen, error: &io::Error) -> Error {
    let advice = match error.kind() {
        ErrorKind::AddrInUse => ": stop the program that listens there, or use another port (0 lets the system choose)",
        ErrorKind::PermissionDenied => ": ports below 1024 need privileges, use one from 1024 up",
        ErrorKind::AddrNotAvailable => ": use an address of this machine, such as 127.0.0.1",
        ErrorKind::InvalidInput => ": a link-local address needs its interface, use another address of this machine",
        _ => "",
    };
    Error::Listen { address: listen.to_string().into(), reason: format!("{}{advice}", plain(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bind_errors_have_advice() {
        let first = bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let taken: Listen = first.local_addr().unwrap().to_string().parse().unwrap();
        let error = bind(&taken).await.unwrap_err();
        assert_eq!(error.exit_code(), 9);
        assert!(error.to_string().contains("use another port"), "{error}");
        // TEST-NET-1 is assigned to no machine.
        let error = bind(&"192.0.2.1:0".parse().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("an address of this machine"), "{error}");
    }
}
