//! What the nodes of a chain hold beside the idle connections between them.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::support::process::{Node, release_clients};
use super::{Chain, LINGER, totals};

impl Chain {
    /// Idle connections of every node: those that it keeps to its next hop, and those from the node before it.
    fn idle(&self) -> Vec<(usize, usize)> {
        let upstream: Vec<usize> = self.nodes.iter().map(Node::idle_upstream).collect();
        let downstream = [0].into_iter().chain(upstream.iter().copied());
        upstream.iter().copied().zip(downstream).collect()
    }

    /// Descriptors of every node, without those of its idle connections; the origin keeps the last file that it sent
    /// over one open, to log if it changes.
    pub(super) fn descriptors(&self) -> Vec<usize> {
        let links = |node: &Node| {
            let open = fs::read_dir(format!("/proc/{}/fd", node.pid().as_raw_nonzero())).unwrap();
            open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect::<Vec<_>>()
        };
        let is_file = |path: &&PathBuf| path.parent() == Some(self.folder.path());
        let open: Vec<(usize, usize)> =
            self.nodes.iter().map(links).map(|open| (open.len(), open.iter().filter(is_file).count())).collect();
        // After those, because the question opens a connection.
        let count = |((all, files), (upstream, downstream)): ((usize, usize), (usize, usize))| {
            all - files.min(downstream) - upstream - downstream
        };
        open.into_iter().zip(self.idle()).map(count).collect()
    }

    /// Waits until every node holds nothing for any client.
    #[track_caller]
    pub(super) fn releases_clients(&self, timeout: Duration) {
        let held = |node: &Node| format!("{} holds {:?}: {}", node.address(), node.held(), node.stderr());
        let nodes: Vec<&Node> = self.nodes.iter().collect();
        assert!(release_clients(&nodes, timeout), "{:?}", self.nodes.iter().map(held).collect::<Vec<_>>());
    }

    /// Waits until every node has only idle connections, and beside those the descriptors it had at first.
    #[track_caller]
    pub(super) fn becomes_idle(&self, before: &[usize], timeout: Duration) {
        self.releases_clients(timeout);
        let mut found = (vec![], vec![]);
        let end = Instant::now() + LINGER;
        // Idle connections that are too many are closed a moment later, at one end first.
        while found != (vec![1; self.nodes.len()], before.to_vec()) {
            assert!(Instant::now() < end, "{found:?} instead of {before:?}");
            thread::sleep(Duration::from_millis(20));
            let descriptors = self.descriptors();
            // The reader of the endpoint is a connection, too.
            let open = self.nodes.iter().zip(self.idle()).map(|(node, (_, idle))| totals(node).open as usize - idle);
            found = (open.collect(), descriptors);
        }
    }
}
