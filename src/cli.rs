//! Command line: flags, environment and `config.toml` as one validated `Invocation`.

mod args;
pub(crate) mod config;
mod defaults;
mod environment;
mod invocation;
pub(crate) mod key_file;
mod mode_flags;
mod values;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use crate::allow_list::AllowList;
use crate::client_list::ClientList;
use crate::connections::MAX_CONNECTIONS;
use crate::error::Error;
use crate::faults::{FaultChange, whole_ms};
use crate::limits::Limits;
use crate::options::{Alerts, AuditTarget, ColorMode, ColorScheme, DoneCommand, ThemeFile, VerifyMode};
use crate::secret::CHAIN_TOKEN;
use crate::selection::Selection;
use crate::text::SafeText;

use args::Args;
pub use defaults::safe_lines;
pub use invocation::{FetchPlan, Invocation, NodePlan, OutputOptions, RunMode};
use mode_flags::ModeKind;
pub use values::{Listen, PerHop};

/// Reason to exit without a run.
#[derive(Debug)]
pub enum EarlyExit {
    /// Help, the version, or a usage error, printed by clap.
    Clap(Box<clap::Error>),
    /// Invalid options.
    Error(Error),
}

/// The default input file.
pub const DEFAULT_INPUT: &str = "input.txt";

/// Parses the command line of this process; the environment and the configuration file are its defaults.
///
/// # Errors
/// `EarlyExit::Clap` for help, the version and flags that clap rejects; `EarlyExit::Error` if `config.toml`, the
/// environment or a combination of flags is invalid.
pub fn read() -> Result<Invocation, EarlyExit> {
    read_with(environment::arguments(), config::path().as_deref(), &environment::variables())
}

/// Parses a command line, which begins with the program's name, with an empty environment.
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
    // The help explains the names of the variables once; a line for each would be too long.
    let mut command = Args::command().mut_args(|arg| arg.hide_env(true));
    let ignored = environment::unknown(&command, environment);
    if environment::is_ascii_locale(environment) {
        // The weakest default: a file, the environment and flags override it.
        command = command.mut_arg("ascii", |arg| arg.default_value("true"));
    }
    if let Some(file) = config_file {
        command = config::apply(command, file).map_err(EarlyExit::Error)?;
    }
    command = environment::apply(command, environment).map_err(EarlyExit::Error)?;
    let matches = command.try_get_matches_from(line).map_err(|error| EarlyExit::Clap(Box::new(error)))?;
    let args = Args::from_arg_matches(&matches).map_err(|error| EarlyExit::Clap(Box::new(error)))?;
    let keys = config_file.map_or_else(|| Ok(Vec::new()), config::keys).map_err(EarlyExit::Error)?;
    let themes = config_file.map(config::themes).unwrap_or_default();
    if let Some(name) = &args.theme {
        check_theme(name, &themes).map_err(EarlyExit::Error)?;
    }
    let output = OutputOptions { themes, keys, ..output_options(&args, &matches, environment) };
    mode(args, &matches, environment).map(|mode| Invocation { mode, output, ignored }).map_err(EarlyExit::Error)
}

fn mode(args: Args, matches: &ArgMatches, environment: &[(OsString, OsString)]) -> Result<RunMode, Error> {
    let kind = kind(&args, matches);
    mode_flags::check(kind, matches)?;
    let on_done = if matches!(kind, ModeKind::Node | ModeKind::Check | ModeKind::NewKey | ModeKind::AuditSummary) {
        None
    } else {
        done_command(&args, environment)?
    };
    let uses_key = !matches!(kind, ModeKind::NewKey | ModeKind::AuditSummary);
    let identity = match &args.identity {
        Some(file) if uses_key => Some(Arc::new(key_file::identity(file)?)),
        _ => None,
    };
    // Nodes that a dashboard starts have no key of their own: they serve the user of this machine.
    let nodes =
        NodePlan { identity: identity.clone().filter(|_| kind == ModeKind::Node), ..node_plan(&args, environment)? };
    let fetch = FetchPlan { identity, on_done, ..fetch_plan(&args) };
    let mut inputs = args.inputs;
    if kind != ModeKind::Fetch && inputs.len() > 1 {
        return Err(Error::Usage(format!(
            "{} input files are {} too many: only --fetch without --spawn takes several",
            inputs.len(),
            inputs.len() - 1
        )));
    }
    if inputs.len() > 1 && !fetch.route_files.is_empty() {
        return Err(Error::Usage("--route is another way to the file of one INPUT: there are several".to_owned()));
    }
    if fetch.route_files.len() >= MAX_CONNECTIONS {
        return Err(Error::Usage(format!(
            "--route: at most {} other routes: each has at least one of {MAX_CONNECTIONS} connections",
            MAX_CONNECTIONS - 1
        )));
    }
    let files = inputs.iter().chain(&fetch.route_files).chain(&fetch.list_from);
    if files.filter(|path| *path == Path::new("-")).count() > 1 {
        return Err(Error::Usage(
            "only one of INPUT, --route and --list-from can be read from standard input".to_owned(),
        ));
    }
    let first = if inputs.is_empty() { None } else { Some(inputs.remove(0)) };
    let or_default = |input: Option<PathBuf>| input.unwrap_or_else(|| PathBuf::from(DEFAULT_INPUT));
    Ok(match kind {
        ModeKind::Demo => RunMode::Demo { fetch, nodes },
        ModeKind::Node => {
            if let Some(hop) = nodes.faults.iter().find_map(|change| change.hop) {
                return Err(Error::Usage(format!("a node has no hop number: remove \"{hop}=\"")));
            }
            RunMode::Node { listeners: args.node, nodes, until_stdin_closes: args.until_stdin_closes }
        }
        ModeKind::Fetch => RunMode::Fetch { inputs: std::iter::once(or_default(first)).chain(inputs).collect(), fetch },
        ModeKind::Spawn => RunMode::Spawn { input: or_default(first), fetch, nodes },
        ModeKind::AuditSummary => RunMode::AuditSummary { file: args.audit_summary.unwrap_or_default() },
        ModeKind::Check => RunMode::Check { input: or_default(first), fetch },
        ModeKind::NewKey => RunMode::NewKey { file: args.new_key.unwrap_or_default() },
        ModeKind::Dashboard => RunMode::Dashboard { input: first, fetch, nodes, no_spawn: args.no_spawn },
    })
}

/// Rejects a theme that does not exist.
fn check_theme(name: &str, files: &[ThemeFile]) -> Result<(), Error> {
    let shipped = ColorScheme::ALL.map(ColorScheme::name);
    if shipped.contains(&name) || files.iter().any(|file| file.name == name) {
        return Ok(());
    }
    let own = files.iter().map(|file| SafeText::new(&file.name).to_string());
    let names: Vec<String> = shipped.into_iter().map(str::to_owned).chain(own).collect();
    Err(Error::Usage(format!("--theme: {name:?} is not a theme: there are {}", names.join(", "))))
}

/// Returns the mode that the flags select.
fn kind(args: &Args, matches: &ArgMatches) -> ModeKind {
    match () {
        () if args.demo => ModeKind::Demo,
        () if matches.contains_id("node") && !args.node.is_empty() => ModeKind::Node,
        () if args.spawn => ModeKind::Spawn,
        () if args.fetch => ModeKind::Fetch,
        () if args.check => ModeKind::Check,
        () if args.new_key.is_some() => ModeKind::NewKey,
        () if args.audit_summary.is_some() => ModeKind::AuditSummary,
        () => ModeKind::Dashboard,
    }
}

fn limits(args: &Args) -> Limits {
    let defaults = Limits::default();
    Limits {
        // A longer timeout of one hop implies a longer one of the chain.
        setup: defaults.setup.max(args.connect_timeout * 3),
        connect: args.connect_timeout,
        idle: args.idle_timeout,
        stall: args.stall_timeout,
        tunnel_idle: args.tunnel_idle,
        drain: args.drain_timeout,
        sockbuf: args.sockbuf,
        idle_connections: args.idle_connections as usize,
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
        connections: args.connections,
        route_files: args.route.clone(),
        routes: Vec::new(),
        force: args.force,
        times: !args.no_times,
        reuse: true,
        max_size: args.max_size,
        resume: !args.no_resume,
        retries: args.retries,
        verify,
        list_from: args.list_from.clone(),
        selection: Arc::new(Selection::matching(args.include.clone(), args.exclude.clone())),
        dry_run: args.dry_run,
        token: None,
        identity: None,
        on_done: None,
        protocol: args.protocol.0,
        limits: limits(args),
    }
}

/// Returns the command of `--on-done`. Within such a command there is none: it could start itself endlessly.
fn done_command(args: &Args, environment: &[(OsString, OsString)]) -> Result<Option<DoneCommand>, Error> {
    let Some(words) = args.on_done.as_ref().filter(|_| !environment::is_within_on_done(environment)) else {
        return Ok(None);
    };
    let Some((program, rest)) = words.0.split_first() else { return Ok(None) };
    let program = environment::find_program(program, environment)
        .map_err(|reason| Error::Usage(format!("--on-done: {reason}: it is run without a shell")))?;
    Ok(Some(DoneCommand { program, args: rest.to_vec() }))
}

fn node_plan(args: &Args, environment: &[(OsString, OsString)]) -> Result<NodePlan, Error> {
    let allow_next = match args.allow_next.join(",") {
        list if list.is_empty() => AllowList::default(),
        list => list.parse().map_err(|reason| Error::Usage(format!("--allow-next: {reason}")))?,
    };
    let allow_connect = match args.allow_connect.join(",") {
        list if list.is_empty() => AllowList::default(),
        list => AllowList::of_targets(&list).map_err(|reason| Error::Usage(format!("--allow-connect: {reason}")))?,
    };
    let token = |file: Option<&Path>, variable| config::read_token(file, variable, environment);
    Ok(NodePlan {
        root: args.root.clone(),
        allow_next,
        allow_connect,
        faults: faults(args),
        allow_faults: args.allow_faults,
        list: args.list,
        read_token: token(args.read_token_file.as_deref(), environment::READ_TOKEN)?,
        chain_token: token(None, CHAIN_TOKEN)?,
        control_token: token(args.control_token_file.as_deref(), environment::CONTROL_TOKEN)?,
        identity: None,
        authorized_keys: args.authorized_keys.clone(),
        certificate: args.tls_cert.clone().zip(args.tls_key.clone()),
        clients: ClientList::join(&args.clients),
        audit: args.audit.clone().map(|file| match file {
            file if file == Path::new("-") => AuditTarget::Stdout,
            file => AuditTarget::File(file),
        }),
        host_names: args.host_name.clone(),
        local_users: args.local_users,
        max_connections: args.max_connections as usize,
        protocol: args.protocol.0,
        limits: limits(args),
    })
}

fn faults(args: &Args) -> Vec<PerHop<FaultChange>> {
    let limits = args.limit.iter().map(|rate| PerHop { hop: rate.hop, value: FaultChange::Limit(Some(rate.value)) });
    let delays =
        args.delay.iter().map(|delay| PerHop { hop: delay.hop, value: FaultChange::Delay(whole_ms(delay.value)) });
    limits.chain(delays).chain(args.fault.iter().copied()).collect()
}

fn output_options(args: &Args, matches: &ArgMatches, environment: &[(OsString, OsString)]) -> OutputOptions {
    let no_color = environment::has_no_color(environment);
    let is_flag = matches.value_source("color") == Some(ValueSource::CommandLine);
    OutputOptions {
        json: args.json,
        quiet: args.quiet,
        verbose: args.verbose,
        log: args.log.clone(),
        color: if no_color && !is_flag { ColorMode::Never } else { args.color },
        ascii: args.ascii,
        theme: args.theme.clone(),
        themes: Vec::new(),
        alerts: Alerts::of(&args.alert),
        keys: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Invocation, String> {
        let words = std::iter::once("chainview").chain(line.split_whitespace());
        read_from(words, None).map_err(|exit| match exit {
            EarlyExit::Clap(error) => error.render().to_string(),
            EarlyExit::Error(error) => error.to_string(),
        })
    }

    #[test]
    fn the_flags_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_select_the_mode() {
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
    fn patterns_may_contain_commas_and_variables_have_one_a_line() {
        let environment = [("CHAINVIEW_EXCLUDE".into(), "*.{o,a}\n/build/".into())];
        let line = ["chainview", "--fetch", "--include", "*.{c,h}", "--include", "docs/"];
        let Invocation { mode: RunMode::Fetch { fetch, .. }, .. } = read_with(line, None, &environment).unwrap() else {
            panic!("not a fetch")
        };
        for (path, selected) in
            [("a.h", true), ("docs/a", true), ("docs/a.o", false), ("build/a.c", false), ("b", false)]
        {
            assert_eq!(fetch.selection.contains(path.as_bytes()), selected, "{path}");
        }
        let environment = [("CHAINVIEW_INCLUDE".into(), "*.c\n[".into())];
        let EarlyExit::Error(error) = read_with(["chainview"], None, &environment).unwrap_err() else { panic!("clap") };
        assert!(error.to_string().starts_with("CHAINVIEW_INCLUDE: "), "{error}");
    }

    #[test]
    fn connections_and_routes_are_options_of_a_fetch() {
        use crate::connections::Connections;
        let fetch = |line: &[&str], environment: &[(OsString, OsString)]| match read_with(line, None, environment) {
            Ok(Invocation { mode: RunMode::Fetch { fetch, .. }, .. }) => fetch,
            other => panic!("{other:?}"),
        };
        let usual = fetch(&["chainview", "--fetch"], &[]);
        assert_eq!((usual.connections, usual.route_files.len()), (Connections::Auto, 0));
        let line = ["chainview", "--fetch", "a.txt", "--connections", "8", "--route", "b.txt", "--route=c.txt"];
        let typed = fetch(&line, &[]);
        assert_eq!(typed.connections.to_string(), "8");
        assert_eq!(typed.route_files, [PathBuf::from("b.txt"), PathBuf::from("c.txt")]);
        let environment =
            [("CHAINVIEW_CONNECTIONS".into(), "2".into()), ("CHAINVIEW_ROUTE".into(), "d.txt\ne.txt".into())];
        let set = fetch(&["chainview", "--fetch"], &environment);
        assert_eq!((set.connections.most(), set.route_files.len()), (2, 2));
        let many = ["--route=b.txt"; MAX_CONNECTIONS];
        let line = ["chainview", "--fetch"].into_iter().chain(many);
        let EarlyExit::Error(error) = read_with(line, None, &[]).unwrap_err() else { panic!("clap") };
        assert!(error.to_string().contains("at most 15 other routes"), "{error}");
    }

    #[test]
    fn invalid_combinations_are_rejected_with_a_reason() {
        for (line, expected) in [
            ("--demo x.txt", "cannot be used with"),
            ("--fetch --check", "cannot be used with"),
            ("a b", "only --fetch without --spawn takes several"),
            ("--fetch --spawn a b", "only --fetch without --spawn takes several"),
            ("--spawn", "--fetch"),
            ("--fetch --spawn --no-spawn", "--no-spawn has no meaning for --fetch --spawn"),
            ("--check a b", "only --fetch without --spawn takes several"),
            ("--node --output x", "--output has no meaning for --node"),
            ("--fetch --root .", "--root has no meaning for --fetch"),
            ("--node --limit 2=1M", "has no hop number"),
            ("--node --fault 2=stall", "has no hop number"),
            ("--node --fault speed", "is not a fault"),
            ("--fetch --fault stall", "--fault has no meaning for --fetch"),
            ("--allow-faults", "--allow-faults has no meaning for the dashboard"),
            ("--fetch -n 0", "0"),
            ("--fetch --retries 101", "101"),
            ("--fetch --max-size much", "much"),
            ("--check --max-size 1M", "--max-size has no meaning for --check"),
            ("--check --exclude x", "--exclude has no meaning for --check"),
            ("--dry-run", "--dry-run has no meaning for the dashboard"),
            ("--fetch --include [", "is not a pattern"),
            ("--fetch --exclude=", "matches no name"),
            ("--fetch - --list-from -", "only one of INPUT, --route and --list-from"),
            ("- --route -", "only one of INPUT, --route and --list-from"),
            ("--fetch --connections 0", "0 is out of range: 1 to 16 connections, or auto"),
            ("--fetch --connections many", "neither auto nor a number"),
            ("--node --connections 4", "--connections has no meaning for --node"),
            ("--check --route b", "--route has no meaning for --check"),
            ("--demo --route b", "--route has no meaning for --demo"),
            ("--fetch a b --route c", "--route is another way to the file of one INPUT"),
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
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
