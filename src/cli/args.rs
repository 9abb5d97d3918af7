//! The flags as clap reads them, and the help text that a person sees; what they mean together is judged one floor up.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::TypedValueParser as _;
use clap::{ArgAction, Parser};

use super::values::{self, Listen, PerHop, ProtocolChoice};
use crate::faults::FaultChange;
use crate::options::{ColorMode, ColorScheme, LocalUsers};
use crate::route::FileName;
use crate::wire::Digest;

/// Fetch a file through a chain of relays that you name, and see every hop.
#[derive(Parser, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own; together they become a mode")]
#[command(name = "chainview", version, about, after_help = AFTER, max_term_width = 100, disable_help_flag = true)]
pub(super) struct Args {
    /// The input file, or - for standard input: a file name, then the hops, one HOST PORT a line; the last is the
    /// origin [default: input.txt]
    #[arg(value_name = "INPUT")]
    pub(super) inputs: Vec<PathBuf>,

    /// Show the dashboard on a built-in chain: two relays and an origin on this machine
    #[arg(long, help_heading = MODES, conflicts_with_all = ["node", "fetch", "check", "inputs"])]
    pub(super) demo: bool,
    /// Run a node without a screen; may be given several times [default address: 127.0.0.1:0]
    #[arg(long, help_heading = MODES, value_name = "HOST:PORT", num_args = 0..=1, default_missing_value = "127.0.0.1:0",
          conflicts_with_all = ["fetch", "check", "inputs"])]
    pub(super) node: Vec<Listen>,
    /// Fetch without a screen: each INPUT in turn
    #[arg(long, help_heading = MODES, conflicts_with = "check")]
    pub(super) fetch: bool,
    /// Start the nodes of this machine that are not running, and stop them after the fetch; for one INPUT
    #[arg(long, help_heading = MODES, requires = "fetch")]
    pub(super) spawn: bool,
    /// Walk the chain to the size answer, move nothing, show what each leg took
    #[arg(long, help_heading = MODES)]
    pub(super) check: bool,

    /// Ask for this file instead of the one in line 1 of the input
    #[arg(long, help_heading = FETCHING, value_name = "NAME", env = "CHAINVIEW_FILE",
          value_parser = clap::builder::OsStringValueParser::new().try_map(values::file_name))]
    pub(super) file: Option<FileName>,
    /// The file or folder to write to; a folder with a slash at its end is made where it is missing, - is standard
    /// output
    #[arg(short, long, help_heading = FETCHING, value_name = "PATH", env = "CHAINVIEW_OUTPUT", default_value = ".")]
    pub(super) output: PathBuf,
    /// Fetch so many times, over one chain that is kept open
    #[arg(short = 'n', long = "number", help_heading = FETCHING, value_name = "N", env = "CHAINVIEW_NUMBER",
          default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) number: u32,
    /// Fetch so many times at once, each over a chain of its own; in the dashboard, let so many of those that wait run
    /// at once [default: 1, in the dashboard 4]
    #[arg(short = 'j', long = "jobs", help_heading = FETCHING, value_name = "N", env = "CHAINVIEW_JOBS",
          value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(super) jobs: Option<u32>,
    /// Replace a file that is there already
    #[arg(long, help_heading = FETCHING, env = "CHAINVIEW_FORCE")]
    pub(super) force: bool,
    /// Refuse a larger file before its first byte, such as 500M
    #[arg(long, help_heading = FETCHING, value_name = "SIZE", env = "CHAINVIEW_MAX_SIZE",
          value_parser = crate::units::parse_bytes)]
    pub(super) max_size: Option<u64>,
    /// Leave out the origin's modification time
    #[arg(long, help_heading = FETCHING, env = "CHAINVIEW_NO_TIMES")]
    pub(super) no_times: bool,
    /// Start over, whatever an earlier fetch left
    #[arg(long, help_heading = FETCHING, env = "CHAINVIEW_NO_RESUME")]
    pub(super) no_resume: bool,
    /// Try again so often in a row when a transfer breaks that has begun, with growing pauses; 0 gives up at once
    #[arg(long, help_heading = FETCHING, value_name = "N", env = "CHAINVIEW_RETRIES", default_value = "3",
          value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(super) retries: u32,
    /// Do not compare digests: a file of the right length is taken as it is
    #[arg(long, help_heading = FETCHING, env = "CHAINVIEW_NO_VERIFY",
          conflicts_with = "expect")]
    pub(super) no_verify: bool,
    /// Take only a file with this digest, whatever the chain says: blake3:HEX or sha-256:HEX
    #[arg(long, help_heading = FETCHING, value_name = "ALGO:HEX", env = "CHAINVIEW_EXPECT")]
    pub(super) expect: Option<Digest>,
    /// The wire to a next hop that is not marked with one: auto, http or seed
    #[arg(long, help_heading = FETCHING, value_name = "WIRE", env = "CHAINVIEW_PROTOCOL", default_value = "auto",
          value_parser = values::protocol)]
    pub(super) protocol: ProtocolChoice,

    /// The folder a node serves [default: the input file's folder, or . for --node]
    #[arg(long, help_heading = NODES, value_name = "DIR", env = "CHAINVIEW_ROOT")]
    pub(super) root: Option<PathBuf>,
    /// Start no nodes, only use those that run already
    #[arg(long, help_heading = NODES, env = "CHAINVIEW_NO_SPAWN")]
    pub(super) no_spawn: bool,
    /// Whom a node may connect to: addresses or ranges, with ports if you like, separated by commas
    #[arg(long, help_heading = NODES, value_name = "LIST", env = "CHAINVIEW_ALLOW_NEXT", value_delimiter = ',',
          value_parser = values::allow_entry)]
    pub(super) allow_next: Vec<String>,
    /// Cap what a node sends downstream, such as 400K or 2=1.5M (hop 2)
    #[arg(long, help_heading = NODES, value_name = "[HOP=]RATE", env = "CHAINVIEW_LIMIT", value_delimiter = ',',
          value_parser = values::rate)]
    pub(super) limit: Vec<PerHop<u64>>,
    /// Hold back what a node answers, such as 50ms or 1=2s (hop 1)
    #[arg(long, help_heading = NODES, value_name = "[HOP=]TIME", env = "CHAINVIEW_DELAY", value_delimiter = ',',
          value_parser = values::delay)]
    pub(super) delay: Vec<PerHop<Duration>>,
    /// Have a node misbehave: jitter=5ms, stall, fragment=7 (pieces of at most 7 bytes), truncate=1MiB, reject; 2=stall
    /// is hop 2
    #[arg(long, help_heading = NODES, value_name = "[HOP=]WHAT", env = "CHAINVIEW_FAULT", value_delimiter = ',',
          value_parser = values::fault)]
    pub(super) fault: Vec<PerHop<FaultChange>>,
    /// Let whoever holds the control token turn faults on, not only caps and delays
    #[arg(long, help_heading = NODES, env = "CHAINVIEW_ALLOW_FAULTS")]
    pub(super) allow_faults: bool,
    /// List the served folders beyond loopback too
    #[arg(long, help_heading = NODES, env = "CHAINVIEW_LIST")]
    pub(super) list: bool,
    /// The file with the token that allows reading a node's pages
    #[arg(long, help_heading = NODES, value_name = "FILE", env = "CHAINVIEW_READ_TOKEN_FILE")]
    pub(super) read_token_file: Option<PathBuf>,
    /// The file with the token that allows controlling a node
    #[arg(long, help_heading = NODES, value_name = "FILE", env = "CHAINVIEW_CONTROL_TOKEN_FILE")]
    pub(super) control_token_file: Option<PathBuf>,
    /// A name by which a loopback node may be asked; may be given several times
    #[arg(long, help_heading = NODES, value_name = "NAME", env = "CHAINVIEW_HOST_NAME", value_delimiter = ',')]
    pub(super) host_name: Vec<String>,
    /// Whom a node serves on loopback: own (its own user and root), or any user of this machine
    #[arg(long, help_heading = NODES, value_name = "WHO", env = "CHAINVIEW_LOCAL_USERS", default_value = "own",
          value_parser = values::local_users)]
    pub(super) local_users: LocalUsers,
    /// Most connections a node holds at once
    #[arg(long, help_heading = NODES, value_name = "N", env = "CHAINVIEW_MAX_CONNECTIONS", default_value = "4096",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) max_connections: u32,

    /// Fix the kernel's send and receive buffers of connections that carry files, such as 32K; left alone, they follow
    /// the flow
    #[arg(long, help_heading = NODES, value_name = "SIZE", env = "CHAINVIEW_SOCKBUF", value_parser = values::sockbuf)]
    pub(super) sockbuf: Option<u32>,

    /// Longest wait for a name and a connection
    #[arg(long, help_heading = WAITS, value_name = "TIME", env = "CHAINVIEW_CONNECT_TIMEOUT", default_value = "5s",
          value_parser = values::time)]
    pub(super) connect_timeout: Duration,
    /// Longest wait for the next bytes
    #[arg(long, help_heading = WAITS, value_name = "TIME", env = "CHAINVIEW_IDLE_TIMEOUT", default_value = "30s",
          value_parser = values::time)]
    pub(super) idle_timeout: Duration,
    /// Longest wait for a reader that does not read
    #[arg(long, help_heading = WAITS, value_name = "TIME", env = "CHAINVIEW_STALL_TIMEOUT", default_value = "5m",
          value_parser = values::time)]
    pub(super) stall_timeout: Duration,
    /// How long a node that is told to stop lets transfers finish
    #[arg(long, help_heading = WAITS, value_name = "TIME", env = "CHAINVIEW_DRAIN_TIMEOUT", default_value = "30s",
          value_parser = values::time)]
    pub(super) drain_timeout: Duration,

    /// Write one JSON document to stdout
    #[arg(long, help_heading = OUTPUT, env = "CHAINVIEW_JSON")]
    pub(super) json: bool,
    /// Write the log to this file instead of stderr
    #[arg(long, help_heading = OUTPUT, value_name = "FILE", env = "CHAINVIEW_LOG")]
    pub(super) log: Option<PathBuf>,
    /// Say more; twice says everything
    #[arg(short, long, help_heading = OUTPUT, action = ArgAction::Count, env = "CHAINVIEW_VERBOSE")]
    pub(super) verbose: u8,
    /// Say only what went wrong
    #[arg(short, long, help_heading = OUTPUT, env = "CHAINVIEW_QUIET")]
    pub(super) quiet: bool,
    /// When to use colours
    #[arg(long, help_heading = OUTPUT, value_name = "WHEN", env = "CHAINVIEW_COLOR", default_value = "auto",
          value_enum)]
    pub(super) color: ColorMode,
    /// The dashboard's colours
    #[arg(long, help_heading = OUTPUT, value_name = "NAME", env = "CHAINVIEW_THEME", default_value = "terminal",
          value_enum)]
    pub(super) theme: ColorScheme,
    /// Draw with ASCII characters only
    #[arg(long, help_heading = OUTPUT, env = "CHAINVIEW_ASCII")]
    pub(super) ascii: bool,

    /// Show this text
    #[arg(short, long, help_heading = OUTPUT, action = ArgAction::HelpShort)]
    help: Option<bool>,

    /// Stop when standard input ends, which it does when the program that started this one is gone
    #[arg(long, hide = true)]
    pub(super) until_stdin_closes: bool,
}

const MODES: &str = "Instead of the dashboard";
const FETCHING: &str = "What to fetch";
const NODES: &str = "Nodes";
const WAITS: &str = "Waits";
const OUTPUT: &str = "Output";

const AFTER: &str = "\
Without a mode, chainview shows a dashboard for the chain in INPUT; not in a terminal, the same run as plain lines.

Every setting can also stand in an environment variable, CHAINVIEW_ and its long name (CHAINVIEW_IDLE_TIMEOUT), or \
under its long name in chainview/config.toml in your configuration folder; an empty variable counts as none. A flag goes before the environment, the \
environment before the file. Tokens come from files, or from CHAINVIEW_READ_TOKEN and CHAINVIEW_CONTROL_TOKEN.

Exit codes: 0 done, 1 other, 2 usage, 3 input file, 4 no such file at the origin, 5 a hop could not be reached, \
6 short or altered, 7 disk or output, 8 timed out, 9 cannot listen, 130 interrupted (by a signal: as that does).";
