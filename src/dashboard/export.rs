//! Writes a snapshot as JSON or the screen as SVG, to a file that does not exist yet.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{plain, shown};
use crate::plan::ChainPlan;
use crate::snapshot::ChainSnapshot;
use crate::text::SafeText;

/// Maximum number of files per second; a key that is held repeats no faster.
const MAX_FILES: usize = 100;

/// Returns the folder of the fetched files; for the demo, whose folder is removed, the current one.
pub(super) fn folder(plan: &ChainPlan) -> PathBuf {
    let output = &plan.fetch.output;
    // A path that ends with a slash is a folder, created by the first file in it.
    let is_folder = output.is_dir() || output.as_os_str().as_encoded_bytes().ends_with(b"/");
    match (plan.demo.is_some(), is_folder, output.parent()) {
        (false, true, _) => output.clone(),
        (false, false, Some(parent)) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Content of an export.
pub(super) enum Export {
    /// All data, as JSON.
    Snapshot(Arc<ChainSnapshot>),
    /// The screen, as SVG.
    Screenshot(String),
}

/// Writes an export into a folder and returns its path, or the reason of the failure.
pub(super) fn write(folder: &Path, export: &Export) -> Result<SafeText, String> {
    let name = jiff::Zoned::now().strftime("chainview-%Y%m%d-%H%M%S").to_string();
    let failed = |path: &Path, error: &io::Error| format!("cannot write {}: {}", shown(path), plain(error));
    let extension = if matches!(export, Export::Snapshot(_)) { "json" } else { "svg" };
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    let (path, file) = create(folder, &name, extension).map_err(|error| failed(&folder.join(&name), &error))?;
    let write = || -> io::Result<()> {
        let mut file = io::BufWriter::new(file);
        match export {
            Export::Snapshot(snapshot) => {
                serde_json::to_writer_pretty(&mut file, snapshot.as_ref())?;
                file.write_all(b"\n")?;
            }
            Export::Screenshot(svg) => file.write_all(svg.as_bytes())?,
        }
        file.flush()
    };
    write().map_err(|error| failed(&path, &error))?;
    Ok(shown(&path))
}

/// Creates a file that did not exist before.
fn create(folder: &Path, name: &str, extension: &str) -> io::Result<(PathBuf, File)> {
    for number in 1..=MAX_FILES {
        let path = match number {
            1 => folder.join(format!("{name}.{extension}")),
            number => folder.join(format!("{name}-{number}.{extension}")),
        };
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made.map(|file| (path, file)),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_read_back_and_files_are_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = ChainSnapshot { generation: 7, source: "x".into(), ..ChainSnapshot::default() };
        let paths: Vec<SafeText> =
            (0..3).map(|_| write(folder.path(), &Export::Snapshot(Arc::new(snapshot.clone()))).unwrap()).collect();
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.path()).collect();
        assert_eq!(files.len(), 3, "{paths:?}");
        for path in files {
            let read: ChainSnapshot = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            assert_eq!(read, snapshot);
        }
        let screenshot = || Export::Screenshot("<svg/>".to_owned());
        assert!(write(&folder.path().join("new/folder"), &screenshot()).is_ok());
        std::fs::write(folder.path().join("file"), b"").unwrap();
        let error = write(&folder.path().join("file"), &screenshot()).unwrap_err();
        assert!(error.starts_with("cannot write ") && error.ends_with("file: file exists"), "{error}");
    }
}
