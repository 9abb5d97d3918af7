//! Who gets in where they should not, and what gets out: tokens that an input file names, other users of this machine.
//! `tests/README.md` has the table of all faults and where each is tested.
#![allow(clippy::unwrap_used, reason = "a test stops where something is not as it should be")]

mod support;

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use support::process::chainview;

/// A hop that writes down what it is asked and offers nothing.
fn recorder() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, heard) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (mut asked, mut space) = (Vec::new(), [0; 4096]);
            while !asked.ends_with(b"\r\n\r\n") {
                match stream.read(&mut space) {
                    Ok(read @ 1..) => asked.extend_from_slice(&space[..read]),
                    _ => break,
                }
            }
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = sender.send(String::from_utf8_lossy(&asked).to_lowercase());
        }
    });
    (address, heard)
}

fn write_secret(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn an_input_file_sends_only_tokens_of_the_configuration_folder() {
    let home = tempfile::tempdir().unwrap();
    let (folder, config) = (home.path().join("work"), home.path().join("config"));
    write_secret(&home.path().join(".vault-token"), "hvs.secret\n");
    write_secret(&folder.join("beside"), "hvs.secret\n");
    write_secret(&config.join("chainview/relay"), "read-me\n");
    std::os::unix::fs::symlink(home.path().join(".vault-token"), config.join("chainview/link")).unwrap();
    let (address, heard) = recorder();
    let run = |line: &str| {
        fs::write(folder.join("input.txt"), format!("data.bin\n{address} {line}\n")).unwrap();
        let mut command = chainview();
        command.env("XDG_CONFIG_HOME", &config).env("HOME", home.path()).current_dir(&folder);
        let output = command.args(["--no-spawn", "--retries", "0"]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let absolute = format!("wire=http token-file={}", home.path().join(".vault-token").display());
    for line in [
        "wire=http token-file=../.vault-token",
        "wire=http token-file=../../.vault-token",
        &absolute,
        "wire=http token-file=beside",
        "wire=http token-file=link",
    ] {
        let (code, said) = run(line);
        assert_eq!(code, Some(3), "{line}: {said}");
        assert!(said.contains("configuration folder") || said.contains("config/chainview"), "{line}: {said}");
        assert!(heard.try_recv().is_err(), "{line}: something was sent");
    }
    let (code, said) = run("wire=http token-file=relay");
    assert!(code != Some(3) && said.contains(&format!("the read token in relay is sent to {address}")), "{said}");
    let asked: Vec<String> = heard.try_iter().collect();
    assert!(asked.iter().any(|asked| asked.contains("authorization: bearer read-me\r\n")), "{asked:?}");
    assert!(!asked.iter().any(|asked| asked.contains("hvs.secret")), "{asked:?}");
}
