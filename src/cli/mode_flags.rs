//! Flags that are valid only in some modes.

use std::fmt;

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::error::Error;

/// Mode that the flags select; the dashboard has no flag of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModeKind {
    /// The dashboard on an input file's chain.
    Dashboard,
    /// The dashboard on the built-in chain.
    Demo,
    /// Nodes without a screen.
    Node,
    /// Fetches without a screen.
    Fetch,
    /// Fetches without a screen, over nodes that are started for it.
    Spawn,
    /// Measurement of the connection set-up.
    Check,
    /// A new key.
    NewKey,
    /// The summary of an audit.
    AuditSummary,
}

use ModeKind::{AuditSummary, Check, Dashboard, Demo, Fetch, NewKey, Node, Spawn};

impl fmt::Display for ModeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dashboard => "the dashboard",
            Demo => "--demo",
            Node => "--node",
            Fetch => "--fetch",
            Spawn => "--fetch --spawn",
            Check => "--check",
            NewKey => "--new-key",
            AuditSummary => "--audit-summary",
        })
    }
}

/// Flags that are valid only in some modes. From the environment or a file they are defaults, and valid in all.
const FLAG_MODES: &[(&[&str], &[ModeKind])] = &[
    (&["file"], &[Dashboard, Fetch, Spawn, Check]),
    (&["route", "list_from", "include", "exclude"], &[Dashboard, Fetch, Spawn]),
    (&["dry_run"], &[Fetch]),
    (
        &["output", "number", "jobs", "force", "max_size", "no_times", "no_resume", "retries", "no_verify", "expect"],
        &[Dashboard, Fetch, Spawn],
    ),
    (
        &[
            "root",
            "allow_next",
            "allow_connect",
            "host_name",
            "max_connections",
            "control_token_file",
            "read_token_file",
        ],
        &[Dashboard, Spawn, Node],
    ),
    (&["allow_faults", "list", "clients", "authorized_keys", "audit", "tls_cert", "tls_key"], &[Node]),
    (&["identity"], &[Dashboard, Demo, Fetch, Spawn, Check, Node]),
    (&["local_users"], &[Dashboard, Demo, Spawn, Node]),
    (&["limit", "delay", "fault", "stall_timeout", "tunnel_idle", "drain_timeout"], &[Dashboard, Demo, Spawn, Node]),
    (&["sockbuf", "idle_connections"], &[Dashboard, Demo, Spawn, Node, Fetch]),
    (&["connections", "on_done"], &[Dashboard, Demo, Fetch, Spawn]),
    (&["no_spawn"], &[Dashboard]),
    (&["until_stdin_closes"], &[Node]),
    (&["json"], &[Dashboard, Demo, Fetch, Spawn, Check]),
];

/// Rejects a flag that was typed for a mode in which it has no effect.
pub(super) fn check(kind: ModeKind, matches: &ArgMatches) -> Result<(), Error> {
    for (flags, modes) in FLAG_MODES {
        let typed = |id: &&&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        if let Some(flag) = flags.iter().find(typed).filter(|_| !modes.contains(&kind)) {
            let flag = flag.replace('_', "-");
            let modes: Vec<String> = modes.iter().map(ToString::to_string).collect();
            return Err(Error::Usage(format!("--{flag} has no meaning for {kind}: it is for {}", modes.join(", "))));
        }
    }
    Ok(())
}
