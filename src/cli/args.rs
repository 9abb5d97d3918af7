//! Flags and their help text; combinations are validated in the parent module.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::TypedValueParser as _;
use clap::{ArgAction, Parser};

use super::values::{self, Listen, PerHop, ProtocolChoice, Words};
use crate::client_list::ClientList;
use crate::connections::Connections;
use crate::faults::FaultChange;
use crate::options::{Alert, ColorMode, HostName, LocalUsers};
use crate::route::FileName;
use crate::selection::Pattern;
use crate::wire::Digest;

/// Fetch a file through a chain of relays that you name, and see every hop.
#[derive(Parser, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags")]
#[command(name = "chainview", version, about, after_help = AFTER, max_term_width = 100, disable_help_flag = true)]
pub(super) struct Args {
    /// Input file, or - for standard input: a file name, then one HOST PORT per line and hop; the last is the origin
    /// [default: input.txt]
    #[arg(value_name = "INPUT")]
    pub(super) inputs: Vec<PathBuf>,

    /// Show the dashboard on a built-in chain: two relays and an origin on this machine
    #[arg(long, help_heading = MODES, conflicts_with_all = ["node", "fetch", "check", "new_key", "inputs"])]
    pub(super) demo: bool,
    /// Run a node without a screen; may be repeated [default address: 127.0.0.1:0]
    #[arg(long, help_heading = MODES, value_name = "HOST:PORT", num_args = 0..=1, default_missing_value = "127.0.0.1:0",
          conflicts_with_all = ["fetch", "check", "new_key", "inputs"])]
    pub(super) node: Vec<Listen>,
    /// Fetch without a screen: each INPUT, one after the other
    #[arg(long, help_heading = MODES, conflicts_with_all = ["check", "new_key"])]
    pub(super) fetch: bool,
    /// Start the missing nodes of this machine, and stop them after the fetch; with one INPUT
    #[arg(long, help_heading = MODES, requires = "fetch")]
    pub(super) spawn: bool,
    /// Measure the setup of each leg, without transferring the file
    #[arg(long, help_heading = MODES)]
    pub(super) check: bool,
    /// Make a key: write it to a new file that only you can read, and print its fingerprint
    #[arg(long, help_heading = MODES, value_name = "FILE", conflicts_with_all = ["check", "inputs"])]
    pub(super) new_key: Option<PathBuf>,

    /// Print who requested how much, from a file that --audit has written, or - for standard input
    #[arg(long, help_heading = MODES, value_name = "FILE",
          conflicts_with_all = ["demo", "node", "fetch", "check", "new_key", "inputs"])]
    pub(super) audit_summary: Option<PathBuf>,

    /// Fetch this file instead of the one in line 1 of the input
    #[arg(long, help_heading = FETCHING, value_name = "NAME", env = "CHAINVIEW_FILE",
          value_parser = clap::builder::OsStringValueParser::new().try_map(values::file_name))]
    pub(super) file: Option<FileName>,
    /// File or folder to write to; a missing folder with a trailing slash is created, - is standard output
    #[arg(short, long, help_heading = FETCHING, value_name = "PATH", env = "CHAINVIEW_OUTPUT", default_value = ".")]
    pub(super) output: PathBuf,
    /// Fetch N times, one after the other, over one chain that is kept open
    #[arg(short = 'n', long = "number", help_heading = FETCHING, value_name = "N", env = "CHAINVIEW_NUMBER",
          default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) number: u32,
    /// Run N fetches concurrently, each over its own chain; in the dashboard, run N queued transfers concurrently
    /// [default: 1, in the dashboard 4]
    #[arg(short = 'j', long = "jobs", help_heading = FETCHING, value_name = "N", env = "CHAINVIEW_JOBS",
          value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(super) jobs: Option<u32>,
    /// Receive a file of 4 MiB and more over N connections, 1 to 16, each over its own chain; auto begins with one, and
    /// opens more where the network between two hops is what limits the transfer
    #[arg(long, help_heading = FETCHING, value_name = "N|auto", env = "CHAINVIEW_CONNECTIONS", default_value = "auto")]
    pub(super) connections: Connections,
    /// Receive parts of the file over the hops of this input file, too; may be repeated
    #[arg(long, help_heading = FETCHING, value_name = "FILE", env = "CHAINVIEW_ROUTE", value_delimiter = '\n')]
    pub(super) route: Vec<PathBuf>,
    /// Replace an existing file
    #[arg(long, help_heading = FETCHING, env = "CHAINVIEW_FORCE")]
    pub(super) force: bool,
    /// Reject a larger file before its first byte, such as 500M
    #[arg(long, help_heading = FETCHING, value_name = "SIZE", env = "CHAINVIEW_MAX_SIZE",
          value_parser = crate::units::parse_bytes)]
    pub(super) max_size: Option<u64>,
    /// Do not set the origin's modification time
    #[arg(long, help_heading = FETCHING, env = "CHAINVIEW_NO_TIMES")]
    pub(super) no_times: bool,
    /// Start from zero, even if an earlier fetch left a partial file
    #[arg(long, help_heading = FETCHING, env = "CHAINVIEW_NO_RESUME")]
    pub(super) no_resume: bool,
    /// Retry an interrupted transfer up to N times in a row, with backoff; 0 disables retries
    #[arg(long, help_heading = FETCHING, value_name = "N", env = "CHAINVIEW_RETRIES", default_value = "3",
          value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(super) retries: u32,
    /// Do not compare digests; accept a file of the right size
    #[arg(long, help_heading = FETCHING, env = "CHAINVIEW_NO_VERIFY",
          conflicts_with = "expect")]
    pub(super) no_verify: bool,
    /// Accept only a file with this digest: blake3:HEX or sha-256:HEX
    #[arg(long, help_heading = FETCHING, value_name = "ALGO:HEX", env = "CHAINVIEW_EXPECT")]
    pub(super) expect: Option<Digest>,
    /// Of the input's folder, fetch the files named in FILE, or - for standard input: one per line, # begins a comment;
    /// if the input names a file, the names are whole names instead of it
    #[arg(long, help_heading = FETCHING, value_name = "FILE", env = "CHAINVIEW_LIST_FROM")]
    pub(super) list_from: Option<PathBuf>,
    /// Of a folder or a list, fetch only files that match GLOB (or are in a folder that does); may be repeated. Without
    /// a slash it matches names at any depth; ** matches several folders
    #[arg(long, help_heading = FETCHING, value_name = "GLOB", env = "CHAINVIEW_INCLUDE", value_delimiter = '\n')]
    pub(super) include: Vec<Pattern>,
    /// Of a folder or a list, leave out files that match GLOB, even if --include matches them; may be repeated
    #[arg(long, help_heading = FETCHING, value_name = "GLOB", env = "CHAINVIEW_EXCLUDE", value_delimiter = '\n')]
    pub(super) exclude: Vec<Pattern>,
    /// Of a folder or a list, show which files would be fetched, and write nothing
    #[arg(long, help_heading = FETCHING, env = "CHAINVIEW_DRY_RUN")]
    pub(super) dry_run: bool,
    /// Run this command when a transfer ends: a program and its arguments, without a shell; variables describe the end,
    /// see docs/guide.md
    #[arg(long, help_heading = FETCHING, value_name = "COMMAND", env = "CHAINVIEW_ON_DONE",
          value_parser = values::words)]
    pub(super) on_done: Option<Words>,
    /// Sign requests with this key: the nodes of a chain may ask for one; a node serves TLS with it
    #[arg(long, help_heading = FETCHING, value_name = "FILE", env = "CHAINVIEW_IDENTITY")]
    pub(super) identity: Option<PathBuf>,
    /// Protocol of a next hop without protocol=: auto, http or legacy
    #[arg(long, help_heading = FETCHING, value_name = "PROTOCOL", env = "CHAINVIEW_PROTOCOL", default_value = "auto",
          value_parser = values::protocol)]
    pub(super) protocol: ProtocolChoice,

    /// Folder that a node serves [default: the input file's folder, or . for --node]
    #[arg(long, help_heading = NODES, value_name = "DIR", env = "CHAINVIEW_ROOT")]
    pub(super) root: Option<PathBuf>,
    /// Start no nodes; use only running ones
    #[arg(long, help_heading = NODES, env = "CHAINVIEW_NO_SPAWN")]
    pub(super) no_spawn: bool,
    /// Allow connections to these addresses or ranges, optionally with ports, separated by commas
    #[arg(long, help_heading = NODES, value_name = "LIST", env = "CHAINVIEW_ALLOW_NEXT", value_delimiter = ',',
          value_parser = values::allow_entry)]
    pub(super) allow_next: Vec<String>,
    /// Let tunnels (CONNECT) end at any server at these addresses or ranges, not only at nodes; such as 10.0.0.7:22
    #[arg(long, help_heading = NODES, value_name = "LIST", env = "CHAINVIEW_ALLOW_CONNECT", value_delimiter = ',',
          value_parser = values::allow_entry)]
    pub(super) allow_connect: Vec<String>,
    /// Limit the rate at which a node sends downstream, such as 400K or 2=1.5M (hop 2)
    #[arg(long, help_heading = NODES, value_name = "[HOP=]RATE", env = "CHAINVIEW_LIMIT", value_delimiter = ',',
          value_parser = values::rate)]
    pub(super) limit: Vec<PerHop<u64>>,
    /// Delay the replies of a node, such as 50ms or 1=2s (hop 1)
    #[arg(long, help_heading = NODES, value_name = "[HOP=]TIME", env = "CHAINVIEW_DELAY", value_delimiter = ',',
          value_parser = values::delay)]
    pub(super) delay: Vec<PerHop<Duration>>,
    /// Inject a fault into a node: jitter=5ms, stall, fragment=7 (pieces of at most 7 bytes), truncate=1MiB, reject;
    /// 2=stall is hop 2
    #[arg(long, help_heading = NODES, value_name = "[HOP=]FAULT", env = "CHAINVIEW_FAULT", value_delimiter = ',',
          value_parser = values::fault)]
    pub(super) fault: Vec<PerHop<FaultChange>>,
    /// Allow the control token to inject faults, not only rate limits and delays
    #[arg(long, help_heading = NODES, env = "CHAINVIEW_ALLOW_FAULTS")]
    pub(super) allow_faults: bool,
    /// List the served folders beyond loopback, too
    #[arg(long, help_heading = NODES, env = "CHAINVIEW_LIST")]
    pub(super) list: bool,
    /// File with the token for read access to a node's endpoints
    #[arg(long, help_heading = NODES, value_name = "FILE", env = "CHAINVIEW_READ_TOKEN_FILE")]
    pub(super) read_token_file: Option<PathBuf>,
    /// File with the token for control of a node
    #[arg(long, help_heading = NODES, value_name = "FILE", env = "CHAINVIEW_CONTROL_TOKEN_FILE")]
    pub(super) control_token_file: Option<PathBuf>,
    /// Serve only requests signed by the keys in this file, each with its rights
    #[arg(long, help_heading = NODES, value_name = "FILE", env = "CHAINVIEW_AUTHORIZED_KEYS")]
    pub(super) authorized_keys: Option<PathBuf>,
    /// Present this certificate, with those of its authority, to TLS clients other than this program; needs --identity
    #[arg(long, help_heading = NODES, value_name = "FILE", env = "CHAINVIEW_TLS_CERT",
          requires_all = ["identity", "tls_key"])]
    pub(super) tls_cert: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, help_heading = NODES, value_name = "FILE", env = "CHAINVIEW_TLS_KEY", requires = "tls_cert")]
    pub(super) tls_key: Option<PathBuf>,
    /// Serve only these addresses or ranges, separated by commas, such as 10.0.0.0/8,127.0.0.1
    #[arg(long, help_heading = NODES, value_name = "LIST", env = "CHAINVIEW_CLIENTS")]
    pub(super) clients: Vec<ClientList>,
    /// Append a line of JSON to FILE, or to standard output with -, for each file request, each change of the node and
    /// each refusal
    #[arg(long, help_heading = NODES, value_name = "FILE", env = "CHAINVIEW_AUDIT")]
    pub(super) audit: Option<PathBuf>,
    /// Name by which a node is reached, in requests to loopback and in signatures; may be repeated
    #[arg(long, help_heading = NODES, value_name = "HOST[:PORT]", env = "CHAINVIEW_HOST_NAME", value_delimiter = ',')]
    pub(super) host_name: Vec<HostName>,
    /// Users that a node serves on loopback: own (its own user and root), or any user of this machine
    #[arg(long, help_heading = NODES, value_name = "USERS", env = "CHAINVIEW_LOCAL_USERS", default_value = "own",
          value_parser = values::local_users)]
    pub(super) local_users: LocalUsers,
    /// Most concurrent connections of a node
    #[arg(long, help_heading = NODES, value_name = "N", env = "CHAINVIEW_MAX_CONNECTIONS", default_value = "4096",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) max_connections: u32,

    /// Most idle connections to next hops that are kept for the next request, at most 32 to one hop; 0 keeps none
    #[arg(long, help_heading = NODES, value_name = "N", env = "CHAINVIEW_IDLE_CONNECTIONS", default_value = "256",
          value_parser = clap::value_parser!(u32).range(0..=65_536))]
    pub(super) idle_connections: u32,
    /// Size of the kernel's send and receive buffers of connections that carry files, such as 32K [default: adapts to
    /// the flow]
    #[arg(long, help_heading = NODES, value_name = "SIZE", env = "CHAINVIEW_SOCKBUF", value_parser = values::sockbuf)]
    pub(super) sockbuf: Option<u32>,

    /// Give up on resolving a name and connecting after this long
    #[arg(long, help_heading = TIMEOUTS, value_name = "TIME", env = "CHAINVIEW_CONNECT_TIMEOUT", default_value = "5s",
          value_parser = values::time)]
    pub(super) connect_timeout: Duration,
    /// Give up on a peer that sends nothing for this long
    #[arg(long, help_heading = TIMEOUTS, value_name = "TIME", env = "CHAINVIEW_IDLE_TIMEOUT", default_value = "30s",
          value_parser = values::time)]
    pub(super) idle_timeout: Duration,
    /// Give up on a client that stops reading for this long
    #[arg(long, help_heading = TIMEOUTS, value_name = "TIME", env = "CHAINVIEW_STALL_TIMEOUT", default_value = "5m",
          value_parser = values::time)]
    pub(super) stall_timeout: Duration,
    /// Close a tunnel in which no byte moves in either direction for this long
    #[arg(long, help_heading = TIMEOUTS, value_name = "TIME", env = "CHAINVIEW_TUNNEL_IDLE", default_value = "2h",
          value_parser = values::time)]
    pub(super) tunnel_idle: Duration,
    /// Let transfers finish for this long when a node shuts down
    #[arg(long, help_heading = TIMEOUTS, value_name = "TIME", env = "CHAINVIEW_DRAIN_TIMEOUT", default_value = "30s",
          value_parser = values::time)]
    pub(super) drain_timeout: Duration,

    /// Write one JSON document to stdout
    #[arg(long, help_heading = OUTPUT, env = "CHAINVIEW_JSON")]
    pub(super) json: bool,
    /// Write the log to this file instead of stderr
    #[arg(long, help_heading = OUTPUT, value_name = "FILE", env = "CHAINVIEW_LOG")]
    pub(super) log: Option<PathBuf>,
    /// Increase verbosity (-v debug, -vv trace)
    #[arg(short, long, help_heading = OUTPUT, action = ArgAction::Count, env = "CHAINVIEW_VERBOSE")]
    pub(super) verbose: u8,
    /// Print errors only
    #[arg(short, long, help_heading = OUTPUT, env = "CHAINVIEW_QUIET")]
    pub(super) quiet: bool,
    /// When to use colors
    #[arg(long, help_heading = OUTPUT, value_name = "WHEN", env = "CHAINVIEW_COLOR", default_value = "auto",
          value_enum)]
    pub(super) color: ColorMode,
    /// Colors of the dashboard: terminal, dark, light, contrast, mono, frost, ember, dusk, or those of a file
    /// chainview/themes/NAME.toml in your configuration folder [default: those chosen last, at first terminal]
    #[arg(long, help_heading = OUTPUT, value_name = "NAME", env = "CHAINVIEW_THEME")]
    pub(super) theme: Option<String>,
    /// Signs outside the screen, separated by commas: progress in the window's title, and the bell and a desktop
    /// notification at the end of transfers of 10 s and more
    #[arg(long, help_heading = OUTPUT, value_name = "LIST", env = "CHAINVIEW_ALERT", value_delimiter = ',',
          default_value = "title,bell,notify", value_enum)]
    pub(super) alert: Vec<Alert>,
    /// Draw with ASCII characters only
    #[arg(long, help_heading = OUTPUT, env = "CHAINVIEW_ASCII")]
    pub(super) ascii: bool,

    /// Print help
    #[arg(short, long, help_heading = OUTPUT, action = ArgAction::HelpShort)]
    help: Option<bool>,

    /// Exit at the end of standard input, which means that the program that started this one has exited
    #[arg(long, hide = true)]
    pub(super) until_stdin_closes: bool,
}

const MODES: &str = "Modes";
const FETCHING: &str = "Fetch options";
const NODES: &str = "Node options";
const TIMEOUTS: &str = "Timeouts";
const OUTPUT: &str = "Output";

const AFTER: &str = "\
Without a mode, chainview shows a dashboard of the chain in INPUT; outside a terminal, it prints the same run as lines.

Every option can also be set by an environment variable, CHAINVIEW_ and its long name (CHAINVIEW_IDLE_TIMEOUT), or by \
its long name in chainview/config.toml in your configuration folder; an empty variable counts as unset. Flags override \
the environment, which overrides the file. Tokens come from files, or from CHAINVIEW_READ_TOKEN and \
CHAINVIEW_CONTROL_TOKEN.

Exit codes: 0 success, 1 other, 2 usage, 3 input file, 4 no such file at the origin, 5 a hop is unreachable, \
6 short or altered, 7 disk or output, 8 timed out, 9 cannot listen, 130 interrupted (after a signal: its status).";
