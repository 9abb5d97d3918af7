//! The files that tell the program what to do: `config.toml`, input files and token files; read here, judged elsewhere.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::Command;
use etcetera::base_strategy::{BaseStrategy, Xdg};

use super::defaults::{self, is_setting};
use crate::error::{Error, plain, shown};
use crate::net::access::Secret;
use crate::route::{Hop, MAX_INPUT, Route};
use crate::text::SafeText;

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
/// The environment's settings are applied behind it and replace what it says; a flag that was typed replaces both.
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
        let values = values.into_iter().map(OsString::from).collect();
        command = defaults::set(command, key, values).map_err(|reason| wrong(format!("{key}: {reason}")))?;
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
    let text = match read_config(file) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Vec::new(),
        Err(error) => return Err(Error::Usage(format!("{}: {}", shown(file), plain(&error)))),
    };
    let wrong = |what: String| Error::Usage(format!("{}: {what}", shown(file)));
    let text = String::from_utf8(text).map_err(|_| wrong("the file is not UTF-8".to_owned()))?;
    text.parse().map_err(|error: toml::de::Error| wrong(at_line(&text, &error)))
}

/// An input file's name for people.
pub fn input_name(file: &Path) -> SafeText {
    if file == Path::new("-") { SafeText::new("standard input") } else { shown(file) }
}

/// Reads an input file; `-` is standard input.
pub fn read_route(file: &Path) -> Result<Route, Error> {
    let input = |reason: String| Error::Input { path: input_name(file), reason };
    let most = MAX_INPUT as u64 + 1;
    let read = if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().take(most).read_to_end(&mut bytes).map(|_| bytes)
    } else {
        read_capped(file, most)
    };
    let bytes = read.map_err(|error| {
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
    let Some(text) = std::env::var_os(variable).filter(|text| !text.is_empty()) else { return Ok(None) };
    // One that cannot be read is no reason to go without.
    let token = text.to_str().and_then(|text| Secret::new(text).ok());
    token.map(Some).ok_or_else(|| Error::Usage(format!("{variable} holds no token that can be sent")))
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

/// A syntax error with its line.
fn at_line(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    line.map_or_else(|| error.message().to_owned(), |line| format!("line {line}: {}", error.message()))
}

/// Reads the file without waiting for anybody who would have to write it first.
fn read_config(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(file)?;
    if file.metadata()?.file_type().is_fifo() {
        return Err(std::io::Error::other("it is a pipe, not a file"));
    }
    file.take(MAX_CONFIG).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_capped(file: &Path, cap: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(cap).read_to_end(&mut bytes)?;
    Ok(bytes)
}
