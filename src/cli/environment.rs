//! Settings from the environment: `CHAINVIEW_` and the long name of a flag. An empty variable counts as none.

use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::{ArgAction, Command};

use super::defaults;
use crate::error::Error;
use crate::secret::CHAIN_TOKEN;
use crate::text::SafeText;

/// How the names of all settings begin.
const PREFIX: &str = "CHAINVIEW_";
/// The variables that hold tokens: read where the tokens are, for no flag has them.
pub(super) const READ_TOKEN: &str = "CHAINVIEW_READ_TOKEN";
pub(super) const CONTROL_TOKEN: &str = "CHAINVIEW_CONTROL_TOKEN";

/// The arguments of this process, its own name first.
pub(super) fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os()
}

/// The variables of this process: read here alone, and once.
pub(super) fn variables() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// Makes each variable the default of its flag, before what a file may have made it, and keeps clap from looking
/// itself: it would blame a flag that was not typed, and take every word but a few for "yes".
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

/// The variables that look like settings and are none, such as misspelled ones; safe to show.
pub(super) fn unknown(command: &Command, environment: &[(OsString, OsString)]) -> Vec<SafeText> {
    let known: Vec<OsString> = settings(command).into_iter().map(|(_, variable, _)| variable).collect();
    let is_unknown = |name: &OsString| {
        name.to_string_lossy().starts_with(PREFIX)
            && name != READ_TOKEN
            && name != CONTROL_TOKEN
            && name != CHAIN_TOKEN
            && !known.contains(name)
    };
    let names = environment.iter().map(|(name, _)| name).filter(|name| is_unknown(name));
    names.map(|name| SafeText::new(&name.to_string_lossy())).collect()
}

/// The terminal shows only what its old locale has: box-drawing characters are not in it. Without any locale it says
/// nothing, as in most containers, whose terminals all know UTF-8.
pub(super) fn is_ascii_locale(environment: &[(OsString, OsString)]) -> bool {
    // The first that is set counts, as for every program.
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| value_of(OsStr::new(name), environment));
    locale.is_some_and(|locale| {
        let locale = locale.to_string_lossy().to_ascii_lowercase();
        !locale.contains("utf-8") && !locale.contains("utf8")
    })
}

/// The user asks every program not to use colors.
pub(super) fn has_no_color(environment: &[(OsString, OsString)]) -> bool {
    value_of(OsStr::new("NO_COLOR"), environment).is_some()
}

/// The settings of a command: long name, variable, and what the flag does.
fn settings(command: &Command) -> Vec<(String, OsString, ArgAction)> {
    let settings = command
        .get_arguments()
        .filter_map(|arg| Some((arg.get_long()?.to_owned(), arg.get_env()?.to_owned(), arg.get_action().clone())));
    settings.collect()
}

/// The value of a variable; an empty one counts as none.
pub(super) fn value_of<'a>(variable: &OsStr, environment: &'a [(OsString, OsString)]) -> Option<&'a OsStr> {
    let found = environment.iter().find(|(name, _)| name == variable);
    found.map(|(_, value)| value.as_os_str()).filter(|value| !value.is_empty())
}

/// What a word means; any other could stand for either, and one of them overwrites files.
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
    fn words_mean_one_thing_or_none() {
        for (word, means) in [("true", "true"), ("YES", "true"), ("on", "true"), ("1", "true"), ("Off", "false")] {
            assert_eq!(parse_bool(OsStr::new(word)), Ok(means), "{word}");
        }
        for word in ["banana", "y", "2", " true"] {
            assert!(parse_bool(OsStr::new(word)).is_err(), "{word}");
        }
    }

    #[test]
    fn a_locale_that_is_not_utf_8_wants_ascii() {
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
