//! Reading of `config.toml`, input files and token files.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::Command;
use etcetera::base_strategy::{BaseStrategy, Xdg};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::defaults::{self, is_setting};
use super::environment;
use crate::error::{Error, plain, shown};
use crate::options::ThemeFile;
use crate::route::{FileName, Hop, MAX_INPUT, Route};
use crate::secret::{MAX_SECRET, Secret, UnfitSecret};
use crate::selection;
use crate::text::SafeText;
use crate::units::Bytes;

/// Largest configuration file read, in bytes; all keys together need less than 4 KiB.
const MAX_CONFIG: u64 = 64 * 1024;

/// Largest list of files read, in bytes: a million names of 128 bytes.
const MAX_LIST: u64 = 128_000_000;

/// Most theme files read.
const MAX_THEMES: usize = 100;

/// The table of the configuration file that contains key bindings, not flags.
const KEYS: &str = "keys";

/// Returns the path of the configuration file, whether or not it exists.
pub(crate) fn path() -> Option<PathBuf> {
    folder().map(|folder| folder.join("config.toml"))
}

/// Returns the configuration folder, whether or not it exists.
fn folder() -> Option<PathBuf> {
    Xdg::new().ok().map(|xdg| xdg.config_dir().join("chainview"))
}

/// Makes each key of the configuration file the default of the flag with the same long name.
///
/// The environment is applied afterwards and overrides it; a typed flag overrides both.
pub(crate) fn apply(command: Command, file: &Path) -> Result<Command, Error> {
    let table = read_table(file)?;
    let wrong = |what: String| Error::Usage(format!("{}: {what}", shown(file)));
    let mut command = command;
    for (key, value) in table.iter().filter(|(key, _)| *key != KEYS) {
        let known = command.get_arguments().any(|arg| arg.get_long() == Some(key) && is_setting(arg));
        if !known {
            return Err(wrong(format!("{key:?} is not a setting: use the long name of a flag")));
        }
        let values =
            arguments(value).ok_or_else(|| wrong(format!("{key}: write a text, a number, true, false or a list")))?;
        let values = values.into_iter().map(OsString::from).collect();
        command = defaults::set(command, key, values).map_err(|reason| wrong(format!("{key}: {reason}")))?;
    }
    Ok(command)
}

/// Reads the user's key bindings: the table `[keys]`, with an action and its key, or a list of keys, per line.
pub(crate) fn keys(file: &Path) -> Result<Vec<(String, Vec<String>)>, Error> {
    let wrong = |what: &str| Error::Usage(format!("{}: {KEYS}: {what}", shown(file)));
    let table = read_table(file)?;
    let Some(keys) = table.get(KEYS) else { return Ok(Vec::new()) };
    let keys = keys.as_table().ok_or_else(|| wrong("it is a table, [keys]"))?;
    let one = |(id, value): (&String, &toml::Value)| {
        let names =
            arguments(value).ok_or_else(|| wrong(&format!("{id}: write the name of a key, or a list of them")))?;
        Ok((id.clone(), names))
    };
    keys.iter().map(one).collect()
}

/// Reads the configuration file as a table; empty if there is no file.
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

/// Reads the theme files of the user, `themes/NAME.toml` beside the configuration file, in the order of their names.
pub(crate) fn themes(config_file: &Path) -> Vec<ThemeFile> {
    let folder = config_file.with_file_name("themes");
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension() == Some(OsStr::new("toml"))).collect();
    files.sort();
    files.truncate(MAX_THEMES);
    let read = |path: &PathBuf| {
        let name = path.file_stem()?.to_str()?.to_owned();
        let text = read_config(path).map_err(|error| plain(&error));
        let text = text.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "the file is not UTF-8".to_owned()));
        Some(ThemeFile { name, path: shown(path), text })
    };
    files.iter().filter_map(read).collect()
}

/// Returns an input file's name for display.
pub(crate) fn input_name(file: &Path) -> SafeText {
    if file == Path::new("-") { SafeText::new("standard input") } else { shown(file) }
}

/// Reads an input file; `-` is standard input.
pub(crate) fn read_route(file: &Path) -> Result<Route, Error> {
    let input = |reason: String| Error::Input { path: input_name(file), reason };
    let most = MAX_INPUT as u64 + 1;
    let bytes = read_input(file, most).map_err(|error| {
        let advice = match error.kind() {
            ErrorKind::NotFound => ": give an input file, or try --demo",
            _ => "",
        };
        input(format!(": {}{advice}", plain(&error)))
    })?;
    Route::parse(&bytes).map_err(|error| input(format!(":{error}")))
}

/// Reads a list of files; `-` is standard input.
pub(crate) fn read_list(file: &Path) -> Result<Vec<FileName>, Error> {
    let input = |reason: String| Error::Input { path: input_name(file), reason };
    let bytes = read_input(file, MAX_LIST + 1).map_err(|error| input(format!(": {}", plain(&error))))?;
    if bytes.len() as u64 > MAX_LIST {
        return Err(input(format!(": the list has more than {}: split it", Bytes(MAX_LIST))));
    }
    selection::parse_names(&bytes).map_err(|error| input(format!(":{error}")))
}

/// Reads the token that a hop's line names, from the configuration folder.
pub(crate) fn hop_token(hop: &Hop) -> Result<Option<Secret>, String> {
    let Some(name) = &hop.token_file else { return Ok(None) };
    let folder = folder().ok_or("token-file= needs a configuration folder: set HOME or XDG_CONFIG_HOME")?;
    token_beneath(&folder, name).map(Some).map_err(|error| error.to_string())
}

/// Reads the token of a route's hop, from 1, which a line of an input file names.
pub(crate) fn route_token(route: &Route, hop: usize, file: &Path) -> Result<Option<Secret>, Error> {
    let Some(named) = hop.checked_sub(1).and_then(|at| route.hops().get(at)) else { return Ok(None) };
    let input = |reason| Error::Input { path: input_name(file), reason: format!(": hop {hop}: {reason}") };
    hop_token(named).map_err(input)
}

/// Reads a token from a file, else from an environment variable; never from the command line, which all users see.
pub(super) fn read_token(
    file: Option<&Path>,
    variable: &str,
    environment: &[(OsString, OsString)],
) -> Result<Option<Secret>, Error> {
    if let Some(file) = file {
        return token_from_file(file).map(Some).map_err(|error| Error::Usage(error.to_string()));
    }
    let Some(text) = environment::value_of(OsStr::new(variable), environment) else { return Ok(None) };
    // An invalid token is an error, not the same as none.
    let token = text.to_str().and_then(|text| Secret::new(text).ok());
    token.map(Some).ok_or_else(|| Error::Usage(format!("{variable} contains no valid token")))
}

/// Error of reading a token file.
#[derive(Debug, thiserror::Error)]
enum TokenFileError {
    /// The file cannot be read.
    #[error("token file {path}: {source}")]
    Read {
        /// The file.
        path: SafeText,
        /// The system's error.
        source: io::Error,
    },
    /// Other users can read the file, so its content is no secret.
    #[error("token file {path} can be read by other users: chmod 600 it")]
    Open {
        /// The file.
        path: SafeText,
    },
    /// An input file names a token that cannot be read below the configuration folder.
    #[error("token file {name}: {reason}: the tokens of an input file belong in {folder}")]
    Beneath {
        /// The file, as named in the input file.
        name: SafeText,
        /// The reason.
        reason: String,
        /// The configuration folder.
        folder: SafeText,
    },
    /// Its content is not a valid token.
    #[error("token file {path} {source}")]
    Unfit {
        /// The file.
        path: SafeText,
        /// The reason.
        source: UnfitSecret,
    },
}

/// Reads a token from a file that only its owner may read.
fn token_from_file(path: &Path) -> Result<Secret, TokenFileError> {
    let failed = |source| TokenFileError::Read { path: shown(path), source };
    open_token(File::open(path).map_err(failed)?, &shown(path))
}

/// Reads a token that an input file names, from below `folder`, the configuration folder, only.
///
/// Input files come from others, and the named file is sent to an address in the same input file. So it must be meant
/// as a token: a regular file of this user, not readable by others, and no path leaves the folder.
fn token_beneath(folder: &Path, name: &str) -> Result<Secret, TokenFileError> {
    let failed = |reason: String| TokenFileError::Beneath { name: name.into(), reason, folder: shown(folder) };
    let system = |error: io::Error| failed(plain(&error));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, folder, flags, Mode::empty()).map_err(|error| system(error.into()))?;
    // Without NONBLOCK, opening a pipe would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let confined = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file: File = match openat2(&root, name, flags, Mode::empty(), confined) {
        Ok(file) => file.into(),
        Err(Errno::XDEV) => return Err(failed("it is outside the configuration folder".to_owned())),
        Err(error) => return Err(system(error.into())),
    };
    let found = file.metadata().map_err(system)?;
    if !found.is_file() {
        return Err(failed("it is not a regular file".to_owned()));
    }
    if found.uid() != geteuid().as_raw() {
        return Err(failed("it belongs to another user".to_owned()));
    }
    open_token(file, &shown(&folder.join(name)))
}

fn open_token(file: File, path: &SafeText) -> Result<Secret, TokenFileError> {
    let failed = |source| TokenFileError::Read { path: path.clone(), source };
    // Checks the handle, not the path, so that the checked file is the one that is read.
    let mode = file.metadata().map_err(failed)?.mode();
    if mode & 0o077 != 0 {
        return Err(TokenFileError::Open { path: path.clone() });
    }
    let mut text = String::new();
    file.take(2 * MAX_SECRET as u64).read_to_string(&mut text).map_err(failed)?;
    Secret::new(&text).map_err(|source| TokenFileError::Unfit { path: path.clone(), source })
}

/// Converts a value to command-line arguments; `None` for a type that no flag has.
fn arguments(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(flag) => Some(vec![flag.to_string()]),
        toml::Value::Array(values) => {
            let nested: Option<Vec<Vec<String>>> = values.iter().map(arguments).collect();
            Some(nested?.into_iter().flatten().collect())
        }
        _ => None,
    }
}

/// Formats a syntax error with its line.
fn at_line(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    line.map_or_else(|| error.message().to_owned(), |line| format!("line {line}: {}", error.message()))
}

fn read_config(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(file)?.take(MAX_CONFIG).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file; a pipe is an error, since opening or reading it could block.
pub(super) fn open_file(file: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(file)?;
    if file.metadata()?.file_type().is_fifo() {
        return Err(io::Error::other("it is a pipe, not a file"));
    }
    Ok(file)
}

fn read_input(file: &Path, limit: u64) -> io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return read_limited(file, limit);
    }
    let mut bytes = Vec::new();
    io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_limited(file: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn token_files_must_be_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "s3cret\r\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(token_from_file(&path).unwrap().matches(b"s3cret"));
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(token_from_file(&path).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "two words").unwrap();
        assert!(
            token_from_file(&path)
                .unwrap_err()
                .to_string()
                .ends_with("/token contains no valid token: write 1 to 1024 letters, digits and signs, without blanks")
        );
        let missing = token_from_file(&folder.path().join("none\x1b[2J")).unwrap_err().to_string();
        assert!(missing.contains("none\\u{1b}[2J") && !missing.contains('\x1b'), "{missing}");
    }

    #[test]
    fn tokens_of_input_files_are_confined_to_the_configuration_folder() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("chainview");
        fs::create_dir_all(folder.join("site")).unwrap();
        let write = |path: &Path| {
            fs::write(path, "s3cret\n").unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        };
        write(&folder.join("relay"));
        write(&folder.join("site/origin"));
        for name in ["relay", "site/origin", "site/../relay"] {
            assert!(token_beneath(&folder, name).unwrap().matches(b"s3cret"), "{name}");
        }
        // Each of these is a secret of the same user that no input file may send.
        let outside = home.path().join(".vault-token");
        write(&outside);
        std::os::unix::fs::symlink(&outside, folder.join("link")).unwrap();
        std::os::unix::fs::symlink("../../chainview/relay", folder.join("site/round")).unwrap();
        write(&folder.join("open"));
        fs::set_permissions(folder.join("open"), Permissions::from_mode(0o640)).unwrap();
        rustix::fs::mknodat(CWD, folder.join("pipe"), rustix::fs::FileType::Fifo, Mode::from(0o600), 0).unwrap();
        for (name, expected) in [
            ("../.vault-token", "is outside"),
            (outside.to_str().unwrap(), "is outside"),
            ("/proc/self/environ", "is outside"),
            ("link", "is outside"),
            ("site/round", "is outside"),
            ("open", "can be read by other users"),
            ("pipe", "not a regular file"),
            ("site", "not a regular file"),
            ("none", "the tokens of an input file belong in"),
        ] {
            let why = token_beneath(&folder, name).expect_err(name).to_string();
            assert!(why.contains(expected) && !why.contains("s3cret"), "{name}: {why}");
        }
        if geteuid().is_root() {
            std::os::unix::fs::chown(folder.join("relay"), Some(65_534), None).unwrap();
            let why = token_beneath(&folder, "relay").unwrap_err().to_string();
            assert!(why.contains("belongs to another user"), "{why}");
        } else {
            println!("SKIPPED: a file of another user, which only root can make");
        }
    }
}
