//! Settings from the environment: `CHAINVIEW_` and the long name of a flag. An empty variable counts as unset.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::{ArgAction, Command};

use super::defaults;
use crate::error::Error;
use crate::secret::CHAIN_TOKEN;
use crate::text::SafeText;

/// Prefix of all settings.
const PREFIX: &str = "CHAINVIEW_";
/// Variables with tokens, which have no flag.
pub(super) const READ_TOKEN: &str = "CHAINVIEW_READ_TOKEN";
pub(super) const CONTROL_TOKEN: &str = "CHAINVIEW_CONTROL_TOKEN";

/// Returns the arguments of this process, its own name first.
pub(super) fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os()
}

/// Returns the variables of this process; the only place that reads them.
pub(super) fn variables() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// Prefix of the variables that a command of `--on-done` gets.
const DONE_PREFIX: &str = "CHAINVIEW_DONE_";
/// Where programs are searched without a `PATH`, as execvp does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Returns whether this process was started by a command of `--on-done`, directly or not.
pub(super) fn is_within_on_done(environment: &[(OsString, OsString)]) -> bool {
    environment.iter().any(|(name, _)| name.to_string_lossy().starts_with(DONE_PREFIX))
}

/// Finds a program: a path as it is, a name in the folders of `PATH`.
pub(super) fn find_program(name: &str, environment: &[(OsString, OsString)]) -> Result<PathBuf, String> {
    let runs = |path: &Path| path.metadata().is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0);
    if name.contains('/') {
        let path = PathBuf::from(name);
        return if runs(&path) { Ok(path) } else { Err(format!("{name:?} is no program that can be run")) };
    }
    let folders = value_of(OsStr::new("PATH"), environment).unwrap_or(OsStr::new(DEFAULT_PATH));
    let found = std::env::split_paths(folders).map(|folder| folder.join(name)).find(|path| runs(path));
    found.ok_or_else(|| format!("there is no program {name:?} in PATH"))
}

/// Makes each variable the default of its flag, which overrides the file, and keeps clap from reading the environment:
/// it would report a flag that was not typed, and accept almost any word as "true".
pub(super) fn apply(command: Command, environment: &[(OsString, OsString)]) -> Result<Command, Error> {
    let mut command = command;
    for (key, variable, action) in settings(&command) {
        let Some(value) = value_of(&variable, environment) else { continue };
        let wrong = |reason: String| Error::Usage(format!("{}: {reason}", variable.to_string_lossy()));
        let value = match action {
            ArgAction::SetTrue => parse_bool(value).map_err(wrong)?.into(),
            _ => value.to_owned(),
        };
        command = defaults::set(command, &key, vec![value]).map_err(wrong)?;
    }
    Ok(command.mut_args(|arg| arg.env(Resettable::Reset)))
}

/// Returns the unknown variables with the prefix, such as misspelled ones, sanitized.
pub(super) fn unknown(command: &Command, environment: &[(OsString, OsString)]) -> Vec<SafeText> {
    let known: Vec<OsString> = settings(command).into_iter().map(|(_, variable, _)| variable).collect();
    let is_unknown = |name: &OsString| {
        name.to_string_lossy().starts_with(PREFIX)
            && !name.to_string_lossy().starts_with(DONE_PREFIX)
            && name != READ_TOKEN
            && name != CONTROL_TOKEN
            && name != CHAIN_TOKEN
            && !known.contains(name)
    };
    let names = environment.iter().map(|(name, _)| name).filter(|name| is_unknown(name));
    names.map(|name| SafeText::new(&name.to_string_lossy())).collect()
}

/// Returns true if the locale is not UTF-8, and so lacks box-drawing characters. No locale at all, as in most
/// containers, is taken as UTF-8.
pub(super) fn is_ascii_locale(environment: &[(OsString, OsString)]) -> bool {
    // The first that is set takes precedence, as for every program.
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| value_of(OsStr::new(name), environment));
    locale.is_some_and(|locale| {
        let locale = locale.to_string_lossy().to_ascii_lowercase();
        !locale.contains("utf-8") && !locale.contains("utf8")
    })
}

/// Returns true if `NO_COLOR` is set.
pub(super) fn has_no_color(environment: &[(OsString, OsString)]) -> bool {
    value_of(OsStr::new("NO_COLOR"), environment).is_some()
}

/// Returns the settings of a command: long name, variable, and action of the flag.
fn settings(command: &Command) -> Vec<(String, OsString, ArgAction)> {
    let settings = command
        .get_arguments()
        .filter_map(|arg| Some((arg.get_long()?.to_owned(), arg.get_env()?.to_owned(), arg.get_action().clone())));
    settings.collect()
}

/// Returns the value of a variable; an empty one counts as unset.
pub(super) fn value_of<'a>(variable: &OsStr, environment: &'a [(OsString, OsString)]) -> Option<&'a OsStr> {
    let found = environment.iter().find(|(name, _)| name == variable);
    found.map(|(_, value)| value.as_os_str()).filter(|value| !value.is_empty())
}

/// Parses a boolean; other words are rejected, as some flags overwrite files.
fn parse_bool(word: &OsStr) -> Result<&'static str, String> {
    let is = |words: [&str; 4]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
    match () {
        () if is(["true", "1", "yes", "on"]) => Ok("true"),
        () if is(["false", "0", "no", "off"]) => Ok("false"),
        () => Err("write true, yes, on or 1, or false, no, off or 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn booleans_are_parsed_strictly() {
        for (word, expected) in [("true", "true"), ("YES", "true"), ("on", "true"), ("1", "true"), ("Off", "false")] {
            assert_eq!(parse_bool(OsStr::new(word)), Ok(expected), "{word}");
        }
        for word in ["banana", "y", "2", " true"] {
            assert!(parse_bool(OsStr::new(word)).is_err(), "{word}");
        }
    }

    #[test]
    fn a_locale_without_utf_8_selects_ascii() {
        for (pairs, ascii) in [
            (&[][..], false),
            (&[("LANG", "")], false),
            (&[("LANG", "C")], true),
            (&[("LANG", "de_DE.ISO-8859-1")], true),
            (&[("LANG", "C.UTF-8")], false),
            (&[("LANG", "C"), ("LC_ALL", "en_US.utf8")], false),
            (&[("LANG", "en_US.UTF-8"), ("LC_CTYPE", "POSIX")], true),
        ] {
            assert_eq!(is_ascii_locale(&environment(pairs)), ascii, "{pairs:?}");
        }
    }
}
