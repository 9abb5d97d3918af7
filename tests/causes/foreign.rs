//! A hop of the original kind in a process of its own: this test program, started once more to be nothing but that.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use super::scene::Process;
use super::support::standin::Node;

/// Names the folder to serve, where this program is to be such a hop.
const SERVES: &str = "CAUSES_FOREIGN_HOP_SERVES";

/// Starts one; it ends with its process.
pub(crate) fn start(folder: &Path) -> (Process, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "foreign::a_hop_of_the_original_kind", "--nocapture"]).env(SERVES, folder);
    let mut hop = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut said = BufReader::new(hop.stdout.as_mut().unwrap()).lines().map_while(Result::ok);
    let address = said.find_map(|line| line.strip_prefix("listening ").map(str::to_owned));
    (Process(hop), address.expect("it says where it listens"))
}

#[test]
fn a_hop_of_the_original_kind() {
    let Some(folder) = std::env::var_os(SERVES) else { return };
    let node = Node::start(Path::new(&folder));
    println!("\nlistening {}", node.address());
    // Whoever started it holds the other end.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
