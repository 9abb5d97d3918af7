//! Which flags have a meaning in which mode.

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::error::Error;

/// Flags that mean something only in some modes; from the environment or a file they are mere defaults, and fit all.
const FITS: &[(&[&str], &[&str])] = &[
    (&["file"], &["the dashboard", "--fetch", "--check"]),
    (
        &["output", "number", "jobs", "force", "no_resume", "retries", "no_verify", "expect"],
        &["the dashboard", "--fetch"],
    ),
    (&["root", "allow_next", "host_name", "max_connections"], &["the dashboard", "--node"]),
    (&["allow_faults", "list"], &["--node"]),
    (&["limit", "delay", "fault", "stall_timeout", "drain_timeout"], &["the dashboard", "--demo", "--node"]),
    (&["sockbuf"], &["the dashboard", "--demo", "--node", "--fetch"]),
    (&["control_token_file"], &["the dashboard", "--node"]),
    (&["read_token_file"], &["the dashboard", "--node"]),
    (&["no_spawn"], &["the dashboard"]),
    (&["until_stdin_closes"], &["--node"]),
    (&["json"], &["the dashboard", "--demo", "--fetch", "--check"]),
];

/// Refuses a flag that was typed for a mode in which it means nothing.
pub(super) fn check(kind: &str, matches: &ArgMatches) -> Result<(), Error> {
    for (flags, modes) in FITS {
        let typed = |id: &&&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        if let Some(flag) = flags.iter().find(typed).filter(|_| !modes.contains(&kind)) {
            let flag = flag.replace('_', "-");
            return Err(Error::Usage(format!("--{flag} has no meaning for {kind}: it is for {}", modes.join(", "))));
        }
    }
    Ok(())
}
