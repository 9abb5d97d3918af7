//! A legacy hop in a process of its own: this test program, started again to run only that.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

use super::scene::{Process, command};
use super::support::standin::Node;

/// Name the folder to serve and the address to listen on, for a process that is such a hop.
const SERVES: &str = "CAUSES_FOREIGN_HOP_SERVES";
const LISTENS: &str = "CAUSES_FOREIGN_HOP_LISTENS";

/// Starts one in a network namespace; it ends with its process.
pub(crate) fn start(space: Option<&str>, ip: &str, folder: &Path) -> (Process, String) {
    let mut command = command(space, &[], std::env::current_exe().unwrap().to_str().unwrap());
    command.args(["--exact", "causes::foreign::a_legacy_hop", "--nocapture"]);
    command.env(SERVES, folder).env(LISTENS, ip);
    let mut hop = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut named = BufReader::new(hop.stdout.as_mut().unwrap()).lines().map_while(Result::ok);
    let address = named.find_map(|line| line.strip_prefix("listening ").map(str::to_owned));
    (Process(hop), address.expect("the address of the listener"))
}

#[test]
fn a_legacy_hop() {
    let (Some(folder), Ok(ip)) = (std::env::var_os(SERVES), std::env::var(LISTENS)) else { return };
    let node = Node::start_at(ip.parse().unwrap(), Path::new(&folder));
    println!("\nlistening {}", node.address());
    // The process that started it holds the other end.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
