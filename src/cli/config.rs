//! The files that tell the program what to do: `config.toml`, input files and token files; read here, judged elsewhere.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use clap::{ArgAction, Command};
use etcetera::base_strategy::{BaseStrategy, Xdg};

use crate::error::{Error, plain, shown};
use crate::net::access::Secret;
use crate::route::{Hop, MAX_INPUT, Route};

/// Largest configuration file read; all keys together need less than one page.
const MAX_CONFIG: u64 = 64 * 1024;

/// The one table of the configuration file that holds no flags.
const KEYS: &str = "keys";

/// Where the configuration file is, whether or not it exists.
pub fn path() -> Option<PathBuf> {
    folder().map(|folder| folder.join("config.toml"))
}

/// The configuration folder, whether or not it exists.
fn folder() -> Option<PathBuf> {
    Xdg::new().ok().map(|xdg| xdg.config_dir().join("chainview"))
}

/// Turns each key of the configuration file into the default of the flag with the same long name.
///
/// So the order "flag, environment, file, default" needs no code of its own: it is clap's.
pub fn apply(command: Command, file: &Path) -> Result<Command, Error> {
    let table = read_table(file)?;
    let wrong = |what: String| Error::Usage(format!("{}: {what}", shown(file)));
    let mut command = command;
    for (key, value) in table.iter().filter(|(key, _)| *key != KEYS) {
        let known = command.get_arguments().any(|arg| arg.get_long() == Some(key) && is_setting(arg));
        if !known {
            return Err(wrong(format!("{key:?} is not a setting: the long names of the flags are")));
        }
        let values =
            words(value).ok_or_else(|| wrong(format!("{key}: write a text, a number, true, false or a list")))?;
        try_alone(&command, key, &values).map_err(|reason| wrong(format!("{key}: {reason}")))?;
        let id = command.get_arguments().find(|arg| arg.get_long() == Some(key)).map(|arg| arg.get_id().clone());
        if let Some(id) = id {
            command = command.mut_arg(id, |arg| arg.default_values(values));
        }
    }
    Ok(command)
}

/// The person's own keys: the table `[keys]`, each line a thing to do and its key, or a list of keys.
pub fn keys(file: &Path) -> Result<Vec<(String, Vec<String>)>, Error> {
    let wrong = |what: &str| Error::Usage(format!("{}: {KEYS}: {what}", shown(file)));
    let table = read_table(file)?;
    let Some(keys) = table.get(KEYS) else { return Ok(Vec::new()) };
    let keys = keys.as_table().ok_or_else(|| wrong("it is a table, [keys]"))?;
    let one = |(id, value): (&String, &toml::Value)| {
        let names = words(value).ok_or_else(|| wrong(&format!("{id}: write the name of a key, or a list of them")))?;
        Ok((id.clone(), names))
    };
    keys.iter().map(one).collect()
}

/// The configuration file as a table; empty where there is no file.
fn read_table(file: &Path) -> Result<toml::Table, Error> {
    let text = match read_capped(file, MAX_CONFIG) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Vec::new(),
        Err(error) => return Err(Error::Usage(format!("{}: {}", shown(file), plain(&error)))),
    };
    let wrong = |what: String| Error::Usage(format!("{}: {what}", shown(file)));
    let text = String::from_utf8(text).map_err(|_| wrong("the file is not UTF-8".to_owned()))?;
    text.parse().map_err(|error: toml::de::Error| wrong(at_line(&text, &error)))
}

/// Reads an input file.
pub fn read_route(file: &Path) -> Result<Route, Error> {
    let input = |reason: String| Error::Input { path: shown(file), reason };
    let bytes = read_capped(file, MAX_INPUT as u64 + 1).map_err(|error| {
        let advice = match error.kind() {
            ErrorKind::NotFound => ": name an input file, or try --demo",
            _ => "",
        };
        input(format!(": {}{advice}", plain(&error)))
    })?;
    Route::parse(&bytes).map_err(|error| input(format!(":{error}")))
}

/// Reads the token that a hop's line names, from the configuration folder; the error says why there is none.
pub fn hop_token(hop: &Hop) -> Result<Option<Secret>, String> {
    let Some(name) = &hop.token_file else { return Ok(None) };
    let folder = folder().ok_or("token-file= needs a configuration folder: set HOME or XDG_CONFIG_HOME")?;
    Secret::beneath(&folder, name).map(Some).map_err(|error| error.to_string())
}

/// Reads a token from a file, else from an environment variable; it is never on the command line, where all see it.
pub fn read_token(file: Option<&Path>, variable: &str) -> Result<Option<Secret>, Error> {
    if let Some(file) = file {
        return Secret::from_file(file).map(Some).map_err(|error| Error::Usage(error.to_string()));
    }
    match std::env::var(variable) {
        Ok(text) if !text.is_empty() => Secret::new(&text)
            .map(Some)
            .map_err(|_| Error::Usage(format!("{variable} holds no token that can be sent"))),
        _ => Ok(None),
    }
}

/// Modes are for the command line: a file that turned every run into a node would be a trap.
fn is_setting(arg: &clap::Arg) -> bool {
    arg.get_env().is_some()
}

/// A value as the words a person would type; `None` for a kind that no flag has.
fn words(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(flag) => Some(vec![flag.to_string()]),
        toml::Value::Array(values) => {
            let nested: Option<Vec<Vec<String>>> = values.iter().map(words).collect();
            Some(nested?.into_iter().flatten().collect())
        }
        _ => None,
    }
}

/// Reads one key as if it alone had been typed, so that a bad value is blamed on the file and on nothing else.
fn try_alone(command: &Command, key: &str, values: &[String]) -> Result<(), String> {
    let Some(arg) = command.get_arguments().find(|arg| arg.get_long() == Some(key)) else { return Ok(()) };
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return match values {
            [value] if value == "true" || value == "false" => Ok(()),
            _ => Err("write true or false".to_owned()),
        };
    }
    if matches!(arg.get_action(), ArgAction::Count) {
        let counts = values.len() == 1 && values[0].parse::<u8>().is_ok();
        return if counts { Ok(()) } else { Err("write a small number".to_owned()) };
    }
    if values.len() > 1 && !matches!(arg.get_action(), ArgAction::Append) {
        return Err("write one value, not a list".to_owned());
    }
    let alone = Command::new("chainview").arg(arg.clone().env(clap::builder::Resettable::Reset));
    let typed = values.iter().map(|value| format!("--{key}={value}"));
    match alone.try_get_matches_from(std::iter::once("chainview".to_owned()).chain(typed)) {
        Ok(_) => Ok(()),
        Err(error) => Err(reason(&error)),
    }
}

/// The one sentence of a clap error that says what is wrong.
fn reason(error: &clap::Error) -> String {
    let text = super::safe_lines(error).join("\n");
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let choices = text.lines().map(str::trim).find(|line| line.starts_with("[possible values"));
    choices.map_or_else(|| first.clone(), |choices| format!("{first} {choices}"))
}

/// A syntax error with its line.
fn at_line(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    line.map_or_else(|| error.message().to_owned(), |line| format!("line {line}: {}", error.message()))
}

fn read_capped(file: &Path, cap: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(cap).read_to_end(&mut bytes)?;
    Ok(bytes)
}
