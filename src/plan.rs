//! Plan of a run over one chain, from an input file or the built-in demo.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cli::{DEFAULT_INPUT, FetchPlan, NodePlan, PerHop, config};
use crate::console;
use crate::error::{Error, plain, shown};
use crate::faults::FaultChange;
use crate::net::fetch::{FetchJob, Output};
use crate::net::os::random;
use crate::net::supervisor::{ReadToken, Spawning};
use crate::options::LocalUsers;
use crate::route::{FileName, Hop, HostPort, Route};
use crate::secret::Secret;
use crate::text::SafeText;
use crate::tour::{self, Pace};

/// Plan of a run over one chain.
#[derive(Debug)]
pub struct ChainPlan {
    /// The input file, or `demo`.
    pub source: SafeText,
    /// The absolute path of the input file; `None` for the demo and standard input.
    pub input: Option<PathBuf>,
    /// File and hops.
    pub route: Route,
    /// Fetch options.
    pub fetch: FetchPlan,
    /// Options of the nodes to start; `None` starts none.
    pub spawning: Option<Spawning>,
    /// Control token for nodes that this program did not start.
    pub control: Option<Secret>,
    /// Read token of each hop, hop 1 first.
    pub tokens: Vec<Option<Secret>>,
    /// Starts a fetch at startup.
    pub fetch_at_startup: bool,
    /// Demo folder, kept until the run ends.
    pub demo: Option<Demo>,
    /// Tour of the demo.
    pub tour: Option<TourPlan>,
}

/// Plan of the demo's tour.
#[derive(Clone, Debug)]
pub struct TourPlan {
    /// Durations.
    pub pace: Pace,
    /// The files that it fetches in turns; as large as the demo's own, which remains for the user.
    pub files: [FileName; 2],
}

/// Demo folder, removed on drop.
#[derive(Debug)]
pub struct Demo(tempfile::TempDir);

/// Names of the demo's hops.
const DEMO_HOPS: [&str; 3] = ["gateway", "relay", "storage"];
/// The demo's file, and those of its tour.
const DEMO_FILE: &str = "demo.bin";
const TOUR_FILES: [&str; 2] = ["tour-1.bin", "tour-2.bin"];
/// Size of the demo's file; at the demo's rate limit a fetch takes about four seconds.
const DEMO_SIZE: usize = 24_000_000;
/// Rate limit of the demo's second hop, in bytes per second, so that there is a bottleneck to find.
const DEMO_RATE_LIMIT: PerHop<FaultChange> = PerHop { hop: Some(2), value: FaultChange::Limit(Some(6_000_000)) };

impl ChainPlan {
    /// Makes the plan for an input file; without one, and without the default one, that of the short demo.
    ///
    /// # Errors
    /// As for [`ChainPlan::of_file`] and [`ChainPlan::demo`].
    pub fn of_input(input: Option<&Path>, fetch: &FetchPlan, nodes: &NodePlan, no_spawn: bool) -> Result<Self, Error> {
        match input {
            None if !Path::new(DEFAULT_INPUT).exists() => {
                console::err(&format!("chainview: no {DEFAULT_INPUT} in this folder: running the demo"));
                Self::demo(fetch, nodes)
            }
            input => Self::of_file(input.unwrap_or(Path::new(DEFAULT_INPUT)), fetch, nodes, no_spawn),
        }
    }

    /// Makes the plan of the demo: with its tour on a screen, and short without one.
    ///
    /// # Errors
    /// As for [`ChainPlan::demo`].
    pub fn demo_for(on_screen: bool, fetch: &FetchPlan, nodes: &NodePlan) -> Result<Self, Error> {
        if on_screen { Self::tour(fetch, nodes) } else { Self::demo(fetch, nodes) }
    }

    /// Makes the plan for an input file.
    ///
    /// # Errors
    /// `Error::Usage` if the output is not a folder or file, or a limit, delay or fault names a hop that the chain does
    /// not have; `Error::Input` if the input file or a token file is invalid; `Error::Other` if this program's own path
    /// is unknown.
    pub fn of_file(input: &Path, fetch: &FetchPlan, nodes: &NodePlan, no_spawn: bool) -> Result<Self, Error> {
        if Output::of(&fetch.output).is_some() {
            let path = shown(&fetch.output);
            return Err(Error::Usage(format!(
                "-o {path}: only --fetch without --spawn writes to standard output, a pipe or a device"
            )));
        }
        let route = fetch.read_route(input)?;
        let fetch = fetch.with_list()?.with_routes(&route)?;
        let folder = input.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let root = nodes.root.clone().unwrap_or_else(|| folder.to_owned());
        check_hops(nodes, route.hops().len())?;
        let token = |hop| config::route_token(&route, hop, input);
        let tokens: Vec<Option<Secret>> = (1..=route.hops().len()).map(token).collect::<Result<_, _>>()?;
        let spawning = if no_spawn { None } else { Some(spawning(&route, root, nodes)?) };
        let source = SafeText::new(&input.display().to_string());
        let is_file = input != Path::new("-");
        Ok(Self {
            source,
            input: std::path::absolute(input).ok().filter(|_| is_file),
            route,
            fetch,
            spawning,
            control: nodes.control_token.clone(),
            tokens,
            fetch_at_startup: false,
            demo: None,
            tour: None,
        })
    }

    /// Returns the read token that the input file names for the origin.
    pub(crate) fn named_token(&self) -> Option<Secret> {
        self.tokens.last().cloned().flatten()
    }

    /// Describes which token is sent to which hop, from 1, for the hops that have one in the input file.
    pub fn describe_tokens(&self) -> Vec<(usize, String)> {
        self.route.hops().iter().enumerate().filter_map(|(at, hop)| Some((at + 1, describe_token(hop)?))).collect()
    }

    /// Makes the plan of the demo: two relays and an origin on free ports, a generated file, one hop with a rate limit.
    ///
    /// # Errors
    /// `Error::Other` if the temporary folder, the file or the ports are not available; `Error::Usage` if a limit,
    /// delay or fault names a hop that the demo does not have.
    pub fn demo(fetch: &FetchPlan, nodes: &NodePlan) -> Result<Self, Error> {
        let mut nodes = nodes.clone();
        if !nodes.faults.iter().any(|change| matches!(change.value, FaultChange::Limit(_))) {
            nodes.faults.push(DEMO_RATE_LIMIT);
        }
        Self::of_demo(fetch, &nodes, DEMO_SIZE)
    }

    /// Makes the plan of the demo on a screen: the same chain with the tour, which limits and breaks it by itself.
    ///
    /// Limits, delays and faults of the user are the demo then: there is no tour that would hide them.
    ///
    /// # Errors
    /// As for [`ChainPlan::demo`].
    pub fn tour(fetch: &FetchPlan, nodes: &NodePlan) -> Result<Self, Error> {
        if !nodes.faults.is_empty() {
            return Self::demo(fetch, nodes);
        }
        let fetch = FetchPlan { retries: fetch.retries.max(tour::RETRIES), ..fetch.clone() };
        let mut plan = Self::of_demo(&fetch, nodes, tour::FILE_SIZE)?;
        let served = plan.spawning.as_ref().map(|spawning| spawning.root.clone()).unwrap_or_default();
        for name in TOUR_FILES {
            std::fs::hard_link(served.join(DEMO_FILE), served.join(name)).map_err(|error| no_demo(&error))?;
        }
        let [one, other] = TOUR_FILES.map(file_name);
        plan.tour = Some(TourPlan { pace: Pace::default(), files: [one?, other?] });
        Ok(plan)
    }

    fn of_demo(fetch: &FetchPlan, nodes: &NodePlan, size: usize) -> Result<Self, Error> {
        let made = || -> io::Result<(tempfile::TempDir, Vec<u16>)> {
            let folder = tempfile::Builder::new().prefix("chainview-demo-").tempdir()?;
            std::fs::create_dir(folder.path().join("served"))?;
            std::fs::create_dir(folder.path().join("fetched"))?;
            make_file(&folder.path().join("served").join(DEMO_FILE), size)?;
            Ok((folder, free_ports(DEMO_HOPS.len())?))
        };
        let (folder, ports) = made().map_err(|error| no_demo(&error))?;
        let hop = |(name, port): (&&str, u16)| {
            let hop = Hop::new(HostPort { host: localhost(), port });
            Hop { name: Some((*name).to_owned()), ..hop }
        };
        let hops = DEMO_HOPS.iter().zip(ports).map(hop).collect();
        let route = Route::new(file_name(DEMO_FILE)?, hops);
        let route = route.ok_or_else(|| Error::Other("the demo has no hops".to_owned()))?;
        check_hops(nodes, route.hops().len())?;
        let spawning = spawning(&route, folder.path().join("served"), nodes)?;
        // Each fetch moves the file again, so that there is something to watch.
        let fetch = FetchPlan { output: folder.path().join("fetched"), reuse: false, ..fetch.clone() };
        let tokens = vec![None; route.hops().len()];
        Ok(Self {
            source: SafeText::new("demo"),
            input: None,
            route,
            fetch,
            spawning: Some(spawning),
            control: nodes.control_token.clone(),
            tokens,
            fetch_at_startup: true,
            demo: Some(Demo(folder)),
            tour: None,
        })
    }
}

fn file_name(name: &str) -> Result<FileName, Error> {
    FileName::new(name.as_bytes()).map_err(|error| Error::Other(error.to_string()))
}

/// Error of a folder, file or port that the demo needs.
fn no_demo(error: &io::Error) -> Error {
    let folder = shown(&std::env::temp_dir());
    Error::Other(format!("the demo cannot be set up in {folder}: {}: set TMPDIR to another folder", plain(error)))
}

impl Demo {
    /// Keeps the folder after the run, for nodes that still serve from it.
    pub(crate) fn keep(self) -> PathBuf {
        self.0.keep()
    }
}

/// Rejects a limit, delay or fault for a hop that the chain does not have.
fn check_hops(nodes: &NodePlan, hops: usize) -> Result<(), Error> {
    match nodes.faults.iter().filter_map(|change| change.hop).find(|hop| *hop > hops) {
        None => Ok(()),
        Some(hop) => {
            let chain = if hops == 1 { "1 hop".to_owned() } else { format!("{hops} hops") };
            Err(Error::Usage(format!("\"{hop}=\": there is no hop {hop}, the chain has {chain}")))
        }
    }
}

/// Creates the job of fetching a route's file with the user's options and a new id.
pub fn fetch_job(plan: &FetchPlan, number: u64, route: Route) -> FetchJob {
    let routes = plan.routes.iter().filter_map(|other| other.to(&route.file)).collect();
    let job = FetchJob::new(number, route, plan.output.clone(), plan.limits);
    let parts = plan.jobs.and_then(|jobs| usize::try_from(jobs).ok()).unwrap_or(job.parts);
    FetchJob {
        connections: plan.connections,
        routes,
        force: plan.force,
        times: plan.times,
        // Repeated transfers of one file are requested to be observed.
        reuse: plan.reuse && plan.number == 1,
        selection: Arc::clone(&plan.selection),
        dry_run: plan.dry_run,
        token: plan.token.clone(),
        identity: plan.identity.clone(),
        parts,
        max_size: plan.max_size,
        resume: plan.resume,
        retries: plan.retries,
        verify: plan.verify,
        ..job
    }
}

/// Describes which token a hop is sent; `None` if its line names none.
pub(crate) fn describe_token(hop: &Hop) -> Option<String> {
    let name = hop.token_file.as_deref().map(SafeText::new)?;
    let how = if hop.key.is_some() { ", encrypted" } else { "" };
    Some(format!("the read token in {name} is sent to {}{how}", hop.address))
}

fn spawning(route: &Route, root: PathBuf, nodes: &NodePlan) -> Result<Spawning, Error> {
    let program = std::env::current_exe()
        .map_err(|error| Error::Other(format!("cannot find this program to start nodes with: {}", plain(&error))))?;
    let hops = 1..=route.hops().len();
    Ok(Spawning {
        program,
        root,
        read: nodes.read_token.clone().map_or_else(|| ReadToken::Made(random::secret()), ReadToken::Configured),
        control: nodes.control_token.clone().unwrap_or_else(random::secret),
        faults: hops.map(|hop| PerHop::faults(&nodes.faults, hop)).collect(),
        allow_next: (!nodes.allow_next.is_empty()).then(|| nodes.allow_next.clone()),
        drain: nodes.limits.drain,
        flags: flags(nodes),
    })
}

/// Returns the flags of started nodes, except their address: the limits of this program.
fn flags(nodes: &NodePlan) -> Vec<OsString> {
    let time = |limit: Duration| format!("{}us", limit.as_micros());
    let mut flags: Vec<OsString> = Vec::new();
    let limits = nodes.limits;
    for (flag, value) in [
        ("--connect-timeout", time(limits.connect)),
        ("--idle-timeout", time(limits.idle)),
        ("--stall-timeout", time(limits.stall)),
        ("--tunnel-idle", time(limits.tunnel_idle)),
        ("--drain-timeout", time(limits.drain)),
        ("--max-connections", nodes.max_connections.to_string()),
        ("--idle-connections", limits.idle_connections.to_string()),
        // They listen on loopback, which a list of the configuration file need not have.
        ("--clients", "127.0.0.0/8,::1".to_owned()),
    ] {
        flags.extend([flag.into(), value.into()]);
    }
    if let Some(bytes) = limits.sockbuf {
        flags.extend(["--sockbuf".into(), bytes.to_string().into()]);
    }
    if nodes.local_users == LocalUsers::Any {
        flags.extend(["--local-users".into(), "any".into()]);
    }
    if !nodes.allow_connect.is_empty() {
        flags.extend(["--allow-connect".into(), nodes.allow_connect.to_string().into()]);
    }
    for name in &nodes.host_names {
        flags.extend(["--host-name".into(), name.to_string().into()]);
    }
    flags
}

fn localhost() -> crate::route::Host {
    crate::route::Host::Ip(std::net::Ipv4Addr::LOCALHOST.into())
}

/// Finds free ports; all stay bound until the last is found, so that they differ.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<io::Result<_>>()?;
    listeners.iter().map(|listener| listener.local_addr().map(|address| address.port())).collect()
}

/// Writes a file of bytes that do not repeat, so that a misplaced piece would be detected.
fn make_file(path: &Path, size: usize) -> io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    let mut content = vec![0; size];
    blake3::Hasher::new().update(b"chainview demo").finalize_xof().fill(&mut content);
    file.write_all(&content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{self, RunMode};

    #[test]
    fn connections_and_other_routes_reach_the_job() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.into_os_string()
        };
        let (first, other) = (write("a.txt", "f\n127.0.0.1 1\n"), write("b.txt", "f\n127.0.0.1 2\n"));
        let line = |other: &OsString| {
            let words = ["chainview", "--no-spawn", "--connections=4"].map(OsString::from);
            let line = words.into_iter().chain([first.clone(), "--route".into(), other.clone()]);
            let invocation = cli::read_from(line, None).unwrap();
            let RunMode::Dashboard { fetch, nodes, .. } = invocation.mode else { panic!("not the dashboard") };
            ChainPlan::of_file(Path::new(&first), &fetch, &nodes, true)
        };
        let plan = line(&other).unwrap();
        let job = fetch_job(&plan.fetch, 1, plan.route.clone());
        assert_eq!((job.connections.to_string(), job.routes.len()), ("4".to_owned(), 1));
        assert_eq!(job.routes[0], Route::parse(b"f\n127.0.0.1 2\n").unwrap());
        let folder_job = fetch_job(&plan.fetch, 2, plan.route.with_file(FileName::new(b"d/").unwrap()));
        assert!(folder_job.routes.is_empty());
        let error = line(&write("c.txt", "f\n127.0.0.1\n")).unwrap_err().to_string();
        assert!(error.contains("c.txt:2: ") && error.contains("has no port"), "{error}");
    }
}
