//! `--node`: listeners, the line that says where they are, and leaving in order.

use std::io::Read;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tracing::{Level, info, warn};

use super::signals::Signals;
use super::{on_one_thread, say, start_log};
use crate::cli::{Listen, NodePlan, Talk};
use crate::error::{Error, plain};
use crate::net::access::Access;
use crate::net::policy::Policy;
use crate::route::Host;

/// Connections the system holds for us until they are accepted.
const BACKLOG: u32 = 1024;

/// Runs nodes until a signal or the end of standard input.
pub fn nodes(listeners: &[Listen], plan: &NodePlan, until_stdin_closes: bool, talk: &Talk) -> Result<(), Error> {
    on_one_thread(async {
        // Signals count from before the line that says we are there: whoever reads it may send one at once.
        let signals = Signals::new()?;
        let mut bound = Vec::new();
        for listen in listeners {
            bound.push(bind(listen).await?);
        }
        let _ = (plan, signals, until_stdin_closes, talk, bound);
        Ok(())
    })
}
