//! Options of a run, as the rest of the program takes them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::values::{Listen, PerHop};
use super::{config, values};
use crate::allow_list::AllowList;
use crate::client_list::ClientList;
use crate::connections::Connections;
use crate::error::{Error, shown};
use crate::faults::FaultChange;
use crate::keys::KeyPair;
use crate::limits::Limits;
use crate::options::{Alerts, AuditTarget, ColorMode, DoneCommand, HostName, LocalUsers, ThemeFile, VerifyMode};
use crate::route::{FileName, OtherRoute, Protocol, Route};
use crate::secret::Secret;
use crate::selection::Selection;
use crate::text::SafeText;

/// Options of a run, validated without network access.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The mode.
    pub mode: RunMode,
    /// What it prints and logs.
    pub output: OutputOptions,
    /// Unknown environment variables with the prefix of settings: misspelled, or of another version.
    pub ignored: Vec<SafeText>,
}

/// Mode of a run.
#[derive(Clone, Debug)]
pub enum RunMode {
    /// The dashboard on the chain of an input file.
    Dashboard {
        /// The input file; `None` means `./input.txt`, or the demo if that does not exist.
        input: Option<PathBuf>,
        /// Fetch options.
        fetch: FetchPlan,
        /// Options of started nodes.
        nodes: NodePlan,
        /// Start no nodes.
        no_spawn: bool,
    },
    /// The dashboard on a built-in chain.
    Demo {
        /// Fetch options.
        fetch: FetchPlan,
        /// Options of started nodes.
        nodes: NodePlan,
    },
    /// Nodes without a screen.
    Node {
        /// The listen addresses; at least one.
        listeners: Vec<Listen>,
        /// Node options.
        nodes: NodePlan,
        /// Exit at the end of standard input.
        until_stdin_closes: bool,
    },
    /// Fetches without a screen.
    Fetch {
        /// The input files, fetched one after the other; at least one.
        inputs: Vec<PathBuf>,
        /// Fetch options.
        fetch: FetchPlan,
    },
    /// Fetches without a screen, over nodes that are started for it.
    Spawn {
        /// The input file.
        input: PathBuf,
        /// Fetch options.
        fetch: FetchPlan,
        /// Options of started nodes.
        nodes: NodePlan,
    },
    /// What the lines of an audit add up to.
    AuditSummary {
        /// The file; `-` is standard input.
        file: PathBuf,
    },
    /// Measurement of the chain's set-up.
    Check {
        /// The input file.
        input: PathBuf,
        /// Fetch options.
        fetch: FetchPlan,
    },
    /// A new key.
    NewKey {
        /// The file to create.
        file: PathBuf,
    },
}

/// Fetch options.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent options, named after their flags")]
pub struct FetchPlan {
    /// File name that replaces that of the input file.
    pub file: Option<FileName>,
    /// The file or folder to write to.
    pub output: PathBuf,
    /// Number of fetches, one after the other, over one kept chain.
    pub number: u32,
    /// Number of concurrent fetches, each over its own chain, if given.
    pub jobs: Option<u32>,
    /// How many connections receive one file.
    pub connections: Connections,
    /// Input files of other ways to the same file; `-` is standard input.
    pub route_files: Vec<PathBuf>,
    /// These ways; only after [`Self::with_routes`].
    pub routes: Vec<OtherRoute>,
    /// Replace an existing file.
    pub force: bool,
    /// Set the origin's modification time.
    pub times: bool,
    /// Transfer nothing if the same file exists already.
    pub reuse: bool,
    /// The largest accepted size, in bytes.
    pub max_size: Option<u64>,
    /// Resume partial files of earlier fetches.
    pub resume: bool,
    /// Retries in a row without progress.
    pub retries: u32,
    /// How to verify the file.
    pub verify: VerifyMode,
    /// File that lists the names to fetch; `-` is standard input.
    pub list_from: Option<PathBuf>,
    /// The files of a folder that are fetched; the names of a list only after [`Self::with_list`].
    pub selection: Arc<Selection>,
    /// Only show which files of a folder would be fetched.
    pub dry_run: bool,
    /// Read token of the origin, for folders; from the input file, see [`Self::with_token`].
    pub token: Option<Secret>,
    /// Key that signs the requests.
    pub identity: Option<Arc<KeyPair>>,
    /// Command that runs when a transfer ends.
    pub on_done: Option<DoneCommand>,
    /// Protocol of the first hop, unless the input file sets it.
    pub protocol: Option<Protocol>,
    /// The timeouts.
    pub limits: Limits,
}

impl FetchPlan {
    /// Reads the list of `--list-from`, if given.
    ///
    /// # Errors
    /// `Error::Input` if the list cannot be read, or a line of it names no file.
    pub fn with_list(&self) -> Result<Self, Error> {
        let Some(list) = &self.list_from else { return Ok(self.clone()) };
        let names = config::read_list(list)?;
        Ok(Self { selection: Arc::new(Selection::clone(&self.selection).named(names)), ..self.clone() })
    }

    /// Reads the input files of `--route`, whose routes lead to the file of the first route.
    ///
    /// # Errors
    /// As for [`Self::read_route`]; `Error::Input` if only some of the routes are encrypted.
    pub fn with_routes(&self, first: &Route) -> Result<Self, Error> {
        let other = |file: &PathBuf| {
            let route = self.read_route(file)?;
            if route.is_encrypted() != first.is_encrypted() {
                let reason = ": all routes to a file have key= on their last hop, or none has: the others would carry \
                              its name and content in clear text";
                return Err(Error::Input { path: shown(file), reason: reason.to_owned() });
            }
            Ok(OtherRoute::new(first, route))
        };
        let routes = self.route_files.iter().map(other).collect::<Result<_, Error>>()?;
        Ok(Self { routes, ..self.clone() })
    }

    /// Reads the origin's read token, if the route is that of a folder: a stream of all of its files is a listing, too.
    ///
    /// # Errors
    /// `Error::Input` if the token file that the last line of `input` names cannot be read.
    pub fn with_token(&self, route: &Route, input: &Path) -> Result<Self, Error> {
        if !route.file.names_folder() {
            return Ok(self.clone());
        }
        Ok(Self { token: config::route_token(route, route.hops().len(), input)?, ..self.clone() })
    }

    /// Reads an input file as a route, with the file name of `--file` if given. With a list, a name that is no folder
    /// is replaced by the origin's root, which the names of the list are then relative to.
    ///
    /// # Errors
    /// `Error::Input` if the file cannot be read or parsed, or if it names a file above the origin's root and `--file`
    /// gives no other one.
    pub fn read_route(&self, input: &Path) -> Result<Route, Error> {
        let route = config::read_route(input)?;
        let route = match &self.file {
            Some(file) => route.with_file(file.clone()),
            // No relay forwards it, and no chainview node serves such a file.
            None if route.file.has_parent_segment() => {
                let reason = format!(":1: {}", values::PARENT_SEGMENT);
                return Err(Error::Input { path: config::input_name(input), reason });
            }
            None => route,
        };
        let of_list = self.list_from.is_some() && !route.file.names_folder();
        Ok(if of_list { route.with_file(FileName::root()) } else { route })
    }
}

/// Node options.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// The served folder, if given.
    pub root: Option<PathBuf>,
    /// Addresses that a node may connect to, in addition to the default policy.
    pub allow_next: AllowList,
    /// Servers of any kind that tunnels may lead to.
    pub allow_connect: AllowList,
    /// Initial rate limits, delays and faults.
    pub faults: Vec<PerHop<FaultChange>>,
    /// Control requests may inject faults.
    pub allow_faults: bool,
    /// Folders are listed for clients beyond loopback, too.
    pub list: bool,
    /// Read token of the endpoints.
    pub read_token: Option<Secret>,
    /// Read token of the program that started these nodes, which also works through a chain.
    pub chain_token: Option<Secret>,
    /// Control token.
    pub control_token: Option<Secret>,
    /// The key of the nodes, with which they serve TLS.
    pub identity: Option<Arc<KeyPair>>,
    /// Files of the certificate for other TLS clients, and of its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// File of the keys that are served; without it, requests need no key.
    pub authorized_keys: Option<PathBuf>,
    /// Addresses that are served; `None` means all.
    pub clients: Option<ClientList>,
    /// Where audit lines go, if there are any.
    pub audit: Option<AuditTarget>,
    /// Names by which a node is reached.
    pub host_names: Vec<HostName>,
    /// Users served on loopback.
    pub local_users: LocalUsers,
    /// Most concurrent connections.
    pub max_connections: usize,
    /// Protocol of the next hop, unless the route sets it.
    pub protocol: Option<Protocol>,
    /// The timeouts.
    pub limits: Limits,
}

/// What the program prints and logs, and how the screen looks.
#[derive(Clone, Debug, Default)]
pub struct OutputOptions {
    /// One JSON document on stdout.
    pub json: bool,
    /// Print and log errors only.
    pub quiet: bool,
    /// Verbosity.
    pub verbose: u8,
    /// The log file; `None` is stderr.
    pub log: Option<PathBuf>,
    /// When to use colors, with `NO_COLOR` applied.
    pub color: ColorMode,
    /// Draw with ASCII only.
    pub ascii: bool,
    /// Name of the dashboard's theme, if it is set.
    pub theme: Option<String>,
    /// Theme files of the user.
    pub themes: Vec<ThemeFile>,
    /// Signs of progress and of the end of transfers.
    pub alerts: Alerts,
    /// Key bindings of the user: action ids of the configuration file, and the names of their keys.
    pub keys: Vec<(String, Vec<String>)>,
}
