//! The command line: flags, environment and `config.toml` become one validated `Mode`.

mod args;
pub(crate) mod config;
mod defaults;
mod environment;
mod mode_flags;
mod values;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use crate::allow_list::AllowList;
use crate::error::Error;
use crate::faults::{FaultChange, whole_ms};
use crate::limits::Limits;
use crate::options::{ColorMode, ColorScheme, LocalUsers, VerifyMode};
use crate::route::{FileName, Protocol, Route};
use crate::secret::{CHAIN_TOKEN, Secret};
use crate::text::SafeText;

use args::Args;
pub use defaults::safe_lines;
use mode_flags::ModeKind;
pub use values::{Listen, PerHop};

/// What a person asked for, checked as far as it can be without touching the network.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// What to do.
    pub mode: RunMode,
    /// What it prints and logs.
    pub output: OutputOptions,
    /// Variables that look like settings and are none: a misspelled one, or one of another version.
    pub ignored: Vec<SafeText>,
}

/// What the program is this time.
#[derive(Clone, Debug)]
pub enum RunMode {
    /// The dashboard on the chain of an input file.
    Dashboard {
        /// The input file; `None` stands for `./input.txt`, and for the demo where there is none.
        input: Option<PathBuf>,
        /// How to fetch.
        fetch: FetchPlan,
        /// How to start nodes.
        nodes: NodePlan,
        /// Start none.
        no_spawn: bool,
    },
    /// The dashboard on a built-in chain.
    Demo {
        /// How to fetch.
        fetch: FetchPlan,
        /// How to start nodes.
        nodes: NodePlan,
    },
    /// Nodes without a screen.
    Node {
        /// Where they listen; at least one.
        listeners: Vec<Listen>,
        /// What they may do.
        nodes: NodePlan,
        /// Stop when standard input ends.
        until_stdin_closes: bool,
    },
    /// Fetches without a screen.
    Fetch {
        /// The input files, in turn; at least one.
        inputs: Vec<PathBuf>,
        /// How to fetch.
        fetch: FetchPlan,
    },
    /// Fetches without a screen, over nodes that are started for it.
    Spawn {
        /// The input file.
        input: PathBuf,
        /// How to fetch.
        fetch: FetchPlan,
        /// How to start nodes.
        nodes: NodePlan,
    },
    /// The chain's set-up, measured.
    Check {
        /// The input file.
        input: PathBuf,
        /// How to ask.
        fetch: FetchPlan,
    },
}

/// How to fetch.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own, named as its flag is")]
pub struct FetchPlan {
    /// Another name than that of the input file.
    pub file: Option<FileName>,
    /// The file or folder to write to.
    pub output: PathBuf,
    /// How often, over one kept chain.
    pub number: u32,
    /// How many at once, each over its own chain, if a person said so.
    pub jobs: Option<u32>,
    /// Replace what is there.
    pub force: bool,
    /// Give files the modification time that the origin tells.
    pub times: bool,
    /// Move nothing where the same file is there already.
    pub reuse: bool,
    /// The largest file that is taken.
    pub max_size: Option<u64>,
    /// Go on with what an earlier fetch left.
    pub resume: bool,
    /// Further tries in a row that may bring nothing.
    pub retries: u32,
    /// What to compare the file with.
    pub verify: VerifyMode,
    /// The wire to the first hop where the input file does not say.
    pub protocol: Option<Protocol>,
    /// The waits.
    pub limits: Limits,
}

impl FetchPlan {
    /// An input file as a route, with another file name where one was given.
    ///
    /// # Errors
    /// `Error::Input` if the file cannot be read or parsed, or if it names a file above the origin's root and `--file`
    /// gives no other one.
    pub fn read_route(&self, input: &Path) -> Result<Route, Error> {
        let route = config::read_route(input)?;
        match &self.file {
            Some(file) => Ok(route.with_file(file.clone())),
            // No relay passes it on, and no node of ours has such a file.
            None if route.file.has_parent_segment() => {
                let reason = format!(":1: {}", values::PARENT_SEGMENT);
                Err(Error::Input { path: config::input_name(input), reason })
            }
            None => Ok(route),
        }
    }
}

/// How to run nodes.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// The served folder, if one was named.
    pub root: Option<PathBuf>,
    /// Whom a node may connect to besides what it may anyway.
    pub allow_next: AllowList,
    /// How faults stand from the start: caps, delays and faults.
    pub faults: Vec<PerHop<FaultChange>>,
    /// Control may turn faults on.
    pub allow_faults: bool,
    /// Folders are listed beyond loopback too.
    pub list: bool,
    /// The token for reading pages.
    pub read_token: Option<Secret>,
    /// The token by which the program that started these nodes reads them through a chain.
    pub chain_token: Option<Secret>,
    /// The token for control.
    pub control_token: Option<Secret>,
    /// Names by which a loopback node may be asked.
    pub host_names: Vec<String>,
    /// Who is served on loopback.
    pub local_users: LocalUsers,
    /// Most connections at once.
    pub max_connections: usize,
    /// The wire to a next hop that is not marked with one.
    pub protocol: Option<Protocol>,
    /// The waits.
    pub limits: Limits,
}

/// What the program prints and logs, and how the screen looks.
#[derive(Clone, Debug, Default)]
pub struct OutputOptions {
    /// One JSON document on stdout.
    pub json: bool,
    /// Only what went wrong.
    pub quiet: bool,
    /// How much more.
    pub verbose: u8,
    /// Where the log goes; stderr where there is none.
    pub log: Option<PathBuf>,
    /// When to use colours; `NO_COLOR` is already in it.
    pub color: ColorMode,
    /// Draw with ASCII only.
    pub ascii: bool,
    /// Which colors the dashboard has.
    pub colors: ColorScheme,
    /// The person's own keys: what the configuration file calls them, and their names.
    pub keys: Vec<(String, Vec<String>)>,
}

/// Why there is nothing to do.
#[derive(Debug)]
pub enum EarlyExit {
    /// clap has the text: help, the version, or a usage error.
    Clap(Box<clap::Error>),
    /// What was asked for is not possible.
    Error(Error),
}

/// The input file that is read where none is named.
pub const DEFAULT_INPUT: &str = "input.txt";

/// Reads the command line of this process, with the environment and the configuration file behind it.
///
/// # Errors
/// `Stop::Clap` for help, the version and flags that clap rejects; `Stop::Error` if `config.toml`, the environment or a
/// combination of flags is invalid.
pub fn read() -> Result<Invocation, EarlyExit> {
    read_with(environment::arguments(), config::path().as_deref(), &environment::variables())
}

/// Reads a command line, its first word the program's name, as where the environment says nothing.
///
/// # Errors
/// The same as for [`read`].
pub fn read_from<I, T>(line: I, config_file: Option<&Path>) -> Result<Invocation, EarlyExit>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    read_with(line, config_file, &[])
}

fn read_with<I, T>(
    line: I,
    config_file: Option<&Path>,
    environment: &[(OsString, OsString)],
) -> Result<Invocation, EarlyExit>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    // One rule in the help says how the variables are called; a line for each would bury the flags.
    let mut command = Args::command().mut_args(|arg| arg.hide_env(true));
    let ignored = environment::unknown(&command, environment);
    if environment::is_ascii_locale(environment) {
        // The weakest default: a file, the environment or a flag say otherwise.
        command = command.mut_arg("ascii", |arg| arg.default_value("true"));
    }
    if let Some(file) = config_file {
        command = config::apply(command, file).map_err(EarlyExit::Error)?;
    }
    command = environment::apply(command, environment).map_err(EarlyExit::Error)?;
    let matches = command.try_get_matches_from(line).map_err(|error| EarlyExit::Clap(Box::new(error)))?;
    let args = Args::from_arg_matches(&matches).map_err(|error| EarlyExit::Clap(Box::new(error)))?;
    let keys = config_file.map_or_else(|| Ok(Vec::new()), config::keys).map_err(EarlyExit::Error)?;
    let output = OutputOptions { keys, ..output_options(&args, &matches, environment) };
    mode(args, &matches, environment).map(|mode| Invocation { mode, output, ignored }).map_err(EarlyExit::Error)
}

fn mode(args: Args, matches: &ArgMatches, environment: &[(OsString, OsString)]) -> Result<RunMode, Error> {
    let kind = kind(&args, matches);
    mode_flags::check(kind, matches)?;
    let (fetch, nodes) = (fetch_plan(&args), node_plan(&args, environment)?);
    let mut inputs = args.inputs;
    if kind != ModeKind::Fetch && inputs.len() > 1 {
        return Err(Error::Usage(format!(
            "{} input files are {} too many: only --fetch without --spawn takes several",
            inputs.len(),
            inputs.len() - 1
        )));
    }
    let first = if inputs.is_empty() { None } else { Some(inputs.remove(0)) };
    let or_default = |input: Option<PathBuf>| input.unwrap_or_else(|| PathBuf::from(DEFAULT_INPUT));
    Ok(match kind {
        ModeKind::Demo => RunMode::Demo { fetch, nodes },
        ModeKind::Node => {
            if let Some(hop) = nodes.faults.iter().find_map(|turn| turn.hop) {
                return Err(Error::Usage(format!("a node does not know its place in a chain: leave out \"{hop}=\"")));
            }
            RunMode::Node { listeners: args.node, nodes, until_stdin_closes: args.until_stdin_closes }
        }
        ModeKind::Fetch => RunMode::Fetch { inputs: std::iter::once(or_default(first)).chain(inputs).collect(), fetch },
        ModeKind::Spawn => RunMode::Spawn { input: or_default(first), fetch, nodes },
        ModeKind::Check => RunMode::Check { input: or_default(first), fetch },
        ModeKind::Dashboard => RunMode::Dashboard { input: first, fetch, nodes, no_spawn: args.no_spawn },
    })
}

/// The mode that the flags select.
fn kind(args: &Args, matches: &ArgMatches) -> ModeKind {
    match () {
        () if args.demo => ModeKind::Demo,
        () if matches.contains_id("node") && !args.node.is_empty() => ModeKind::Node,
        () if args.spawn => ModeKind::Spawn,
        () if args.fetch => ModeKind::Fetch,
        () if args.check => ModeKind::Check,
        () => ModeKind::Dashboard,
    }
}

fn limits(args: &Args) -> Limits {
    let defaults = Limits::default();
    Limits {
        // A person who allows one hop more time to answer means the chain, too.
        setup: defaults.setup.max(args.connect_timeout * 3),
        connect: args.connect_timeout,
        idle: args.idle_timeout,
        stall: args.stall_timeout,
        drain: args.drain_timeout,
        sockbuf: args.sockbuf,
        ..defaults
    }
}

fn fetch_plan(args: &Args) -> FetchPlan {
    let verify = match args.expect {
        Some(digest) => VerifyMode::Expect(digest),
        None if args.no_verify => VerifyMode::Skip,
        None => VerifyMode::Origin,
    };
    FetchPlan {
        file: args.file.clone(),
        output: args.output.clone(),
        number: args.number,
        jobs: args.jobs,
        force: args.force,
        times: !args.no_times,
        reuse: true,
        max_size: args.max_size,
        resume: !args.no_resume,
        retries: args.retries,
        verify,
        protocol: args.protocol.0,
        limits: limits(args),
    }
}

fn node_plan(args: &Args, environment: &[(OsString, OsString)]) -> Result<NodePlan, Error> {
    let allow_next = match args.allow_next.join(",") {
        list if list.is_empty() => AllowList::default(),
        list => list.parse().map_err(|reason| Error::Usage(format!("--allow-next: {reason}")))?,
    };
    let token = |file: Option<&Path>, variable| config::read_token(file, variable, environment);
    Ok(NodePlan {
        root: args.root.clone(),
        allow_next,
        faults: faults(args),
        allow_faults: args.allow_faults,
        list: args.list,
        read_token: token(args.read_token_file.as_deref(), environment::READ_TOKEN)?,
        chain_token: token(None, CHAIN_TOKEN)?,
        control_token: token(args.control_token_file.as_deref(), environment::CONTROL_TOKEN)?,
        host_names: args.host_name.clone(),
        local_users: args.local_users,
        max_connections: args.max_connections as usize,
        protocol: args.protocol.0,
        limits: limits(args),
    })
}

fn faults(args: &Args) -> Vec<PerHop<FaultChange>> {
    let caps = args.limit.iter().map(|cap| PerHop { hop: cap.hop, value: FaultChange::Limit(Some(cap.value)) });
    let delays =
        args.delay.iter().map(|delay| PerHop { hop: delay.hop, value: FaultChange::Delay(whole_ms(delay.value)) });
    caps.chain(delays).chain(args.fault.iter().copied()).collect()
}

fn output_options(args: &Args, matches: &ArgMatches, environment: &[(OsString, OsString)]) -> OutputOptions {
    let no_color = environment::has_no_color(environment);
    let said = matches.value_source("color") == Some(ValueSource::CommandLine);
    OutputOptions {
        json: args.json,
        quiet: args.quiet,
        verbose: args.verbose,
        log: args.log.clone(),
        color: if no_color && !said { ColorMode::Never } else { args.color },
        ascii: args.ascii,
        colors: args.theme,
        keys: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Invocation, String> {
        let words = std::iter::once("chainview").chain(line.split_whitespace());
        read_from(words, None).map_err(|stop| match stop {
            EarlyExit::Clap(error) => error.render().to_string(),
            EarlyExit::Error(error) => error.to_string(),
        })
    }

    #[test]
    fn the_flags_hold_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn each_mode_has_its_words() {
        assert!(matches!(read("").unwrap().mode, RunMode::Dashboard { input: None, .. }));
        assert!(matches!(read("x.txt").unwrap().mode, RunMode::Dashboard { input: Some(_), .. }));
        assert!(matches!(read("--demo --limit 1=1M").unwrap().mode, RunMode::Demo { .. }));
        let RunMode::Fetch { inputs, .. } = read("--fetch a b").unwrap().mode else { panic!("not a fetch") };
        assert_eq!(inputs, [PathBuf::from("a"), PathBuf::from("b")]);
        let RunMode::Check { input, .. } = read("--check").unwrap().mode else { panic!("not a check") };
        assert_eq!(input, Path::new("input.txt"));
        let RunMode::Node { listeners, .. } = read("--node --node [::1]:9 --limit 1M").unwrap().mode else {
            panic!("not a node")
        };
        assert_eq!(listeners.iter().map(Listen::to_string).collect::<Vec<_>>(), ["127.0.0.1:0", "[::1]:9"]);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_a_reason() {
        for (line, says) in [
            ("--demo x.txt", "cannot be used with"),
            ("--fetch --check", "cannot be used with"),
            ("a b", "only --fetch without --spawn takes several"),
            ("--fetch --spawn a b", "only --fetch without --spawn takes several"),
            ("--spawn", "--fetch"),
            ("--fetch --spawn --no-spawn", "--no-spawn has no meaning for --fetch --spawn"),
            ("--check a b", "only --fetch without --spawn takes several"),
            ("--node --output x", "--output has no meaning for --node"),
            ("--fetch --root .", "--root has no meaning for --fetch"),
            ("--node --limit 2=1M", "does not know its place"),
            ("--node --fault 2=stall", "does not know its place"),
            ("--node --fault speed", "is not a fault"),
            ("--fetch --fault stall", "--fault has no meaning for --fetch"),
            ("--allow-faults", "--allow-faults has no meaning for the dashboard"),
            ("--fetch -n 0", "0"),
            ("--fetch --retries 101", "101"),
            ("--fetch --max-size much", "much"),
            ("--check --max-size 1M", "--max-size has no meaning for --check"),
            ("--check --no-resume", "--no-resume has no meaning for --check"),
            ("--fetch --expect md5:00", "not a known digest"),
            ("--node --sockbuf 4095", "write a size from 4KiB to 64MiB"),
            ("--node --sockbuf 65MiB", "write a size from 4KiB to 64MiB"),
            ("--check --sockbuf 32K", "--sockbuf has no meaning for --check"),
            ("--idle-timeout 0s", "out of range"),
            ("--node 9101", "has no port"),
            ("--nonsense", "unexpected argument"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
