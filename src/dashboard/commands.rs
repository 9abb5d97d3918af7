//! Command handler: what each `Command` of the user does. Its outcome is in the log or in the next snapshot.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::controller::Controller;
use super::export::{self, Export};
use super::publisher::TaskResult;
use crate::cli::config;
use crate::command::Command;
use crate::error::{Error, shown};
use crate::net::admin_client::{self, ControlAccess, Credentials};
use crate::net::supervisor::Order;
use crate::plan::describe_token;
use crate::route::{FileName, Hop, Route};
use crate::snapshot::{HopLink, Level, Listing};
use crate::text::SafeText;
use crate::units::Rate;
use crate::wire::Problem;

impl Controller {
    /// Executes one command, or spawns a background task that does.
    pub(super) fn execute(&mut self, command: Command) {
        let queue = &mut self.publisher.queue;
        match command {
            Command::Fetch => self.fetch(&self.publisher.route.clone()),
            Command::FetchName(name) => self.fetch(&self.publisher.route.with_file(name)),
            Command::FetchAll(names) => self.fetch_all(names),
            Command::Cancel(number) => {
                let done = queue.cancel(number);
                self.log_failure(None, done);
            }
            Command::Pause(number) => {
                let done = queue.pause(number);
                self.log_failure(None, done);
            }
            Command::Resume(number) => {
                let done = queue.resume(number);
                self.log_failure(None, done);
            }
            Command::Reorder { number, by } => {
                let done = queue.reorder(number, by).map(drop);
                self.log_failure(None, done);
            }
            Command::Retry(number) => match queue.retry(number) {
                Ok(new) => self.log_info(None, format!("#{new}: retries #{number}")),
                Err(why) => self.publisher.log.push(Level::Warn, None, why),
            },
            Command::LimitTransfer { number, rate } => {
                let done = queue.set_rate_limit(number, rate);
                let how =
                    rate.map_or_else(|| "rate limit removed".to_owned(), |rate| format!("limited to {}", Rate(rate)));
                self.log_outcome(None, done, format!("#{number}: {how}"));
            }
            Command::StartNode(hop) => self.order(hop, Order::Start, "starting"),
            Command::StopNode(hop) => self.order(hop, Order::Stop, "stopping once its transfers have ended"),
            Command::KillNode(hop) => self.order(hop, Order::Kill, "killing on request"),
            Command::RestartNode(hop) => self.order(hop, Order::Restart, "restarting on request"),
            Command::Attach(hop) => self.attach(hop),
            Command::Detach(hop) => self.detach(hop),
            Command::List(folder) => self.list(folder),
            Command::SetFault { hop, change } => {
                let action = change.to_string();
                self.control(hop, action, |node, access| async move {
                    admin_client::set_fault(&node, &access, change).await.map(drop)
                });
            }
            Command::DrainNode(hop) => self.control(hop, "draining on request".to_owned(), |node, access| async move {
                admin_client::drain(&node, &access).await
            }),
            Command::CloseConnection { hop, id } => {
                let action = format!("connection {id} closed");
                self.control(
                    hop,
                    action,
                    move |node, access| async move { admin_client::close(&node, &access, id).await },
                );
            }
            Command::Export => self.export(Export::Snapshot(self.publisher.last.clone())),
            Command::SaveScreen(svg) => self.export(Export::Screenshot(svg)),
            Command::Tour(command) => self.command_tour(command),
            Command::Quit { keep_nodes } => {
                self.keep_nodes = keep_nodes;
                self.quit.cancel();
            }
        }
    }

    /// Queues `-n` fetches of a route's file.
    fn fetch(&mut self, route: &Route) {
        let name = route.file.shown();
        let written = saved_as(&route.file, &self.plan.fetch.output).map(|path| format!(", saved as {path}"));
        let written = written.unwrap_or_default();
        for _ in 0..self.plan.fetch.number {
            match self.publisher.queue.add(route.clone(), None) {
                Ok(number) => {
                    let how = if self.publisher.queue.is_queued(number) { "queued" } else { "requesting" };
                    self.log_info(None, format!("#{number} {name}: {how}{written}"));
                }
                Err(why) => {
                    self.publisher.log.push(Level::Warn, None, why);
                    break;
                }
            }
        }
    }

    /// Queues a fetch of each of these files and folders.
    fn fetch_all(&mut self, names: Vec<FileName>) {
        let (count, mut numbers) = (names.len(), Vec::new());
        for name in names {
            match self.publisher.queue.add(self.publisher.route.with_file(name), None) {
                Ok(number) => numbers.push(number),
                Err(why) => {
                    let left = count - numbers.len();
                    self.publisher.log.push(Level::Warn, None, format!("{left} of {count} marked not queued: {why}"));
                    break;
                }
            }
        }
        match (numbers.first(), numbers.last()) {
            (Some(first), Some(last)) if first != last => {
                self.log_info(None, format!("#{first} to #{last}: {} transfers queued", numbers.len()));
            }
            (Some(only), _) => self.log_info(None, format!("#{only}: queued")),
            _ => {}
        }
    }

    fn order(&mut self, hop: usize, order: Order, action: &str) {
        let done = match &self.supervisor {
            Some(supervisor) => supervisor.order(hop, order),
            None => Err("--no-spawn: nodes are not started or stopped by this program".to_owned()),
        };
        self.log_outcome(Some(hop), done, action.to_owned());
    }

    fn attach(&mut self, hop: Hop) {
        let (address, token_shown) = (hop.address.clone(), describe_token(&hop));
        let attached = config::hop_token(&hop).and_then(|token| self.watcher.attach(hop, token));
        match attached {
            Ok(number) => {
                self.log_info(Some(number), format!("watching {address}"));
                if let Some(text) = token_shown {
                    self.log_info(Some(number), text);
                }
            }
            Err(why) => self.publisher.log.push(Level::Warn, None, why),
        }
    }

    /// Stops watching a hop. A node that this program started is detached too: else it would end with this program, or
    /// with the next order.
    fn detach(&mut self, hop: usize) {
        if let (Some(HopLink::Spawned { pid }), Some(supervisor)) = (self.watcher.link(hop), &self.supervisor) {
            if let Err(why) = supervisor.order(hop, Order::Detach) {
                return self.publisher.log.push(Level::Warn, Some(hop), why);
            }
            self.detached.extend(self.watcher.direct(hop).ok().map(|node| (node.address, pid)));
        }
        let done = self.watcher.detach(hop);
        self.log_failure(Some(hop), done);
    }

    /// Requests a listing of a folder from the origin.
    fn list(&mut self, folder: Option<FileName>) {
        let (route, token) = (self.publisher.route.clone(), self.origin_token.get());
        let identity = self.plan.fetch.identity.clone();
        self.tasks.spawn(async move {
            let credentials = Credentials { token: token.as_ref(), identity: identity.as_ref() };
            TaskResult::List(admin_client::list(&route, folder.as_ref(), None, credentials).await.unwrap_or_else(
                |problem| Listing {
                    folder: folder.as_ref().map(FileName::shown).unwrap_or_default(),
                    error: Some(Error::at_hop(problem, &route).to_string().into()),
                    ..Listing::default()
                },
            ))
        });
    }

    /// Sends a node a control request, with the token of the nodes that this program started, or with the user's token
    /// or key.
    fn control<F>(&mut self, hop: usize, action: String, request: impl FnOnce(Hop, ControlAccess) -> F)
    where
        F: Future<Output = Result<(), Problem>> + Send + 'static,
    {
        let spawned = matches!(self.watcher.link(hop), Some(HopLink::Spawned { .. }));
        // A random token goes only to the nodes it was made for, never to a program that took their address.
        let token = if spawned { self.spawned_control.clone() } else { self.plan.control.clone() };
        let key = self.plan.fetch.identity.clone().filter(|_| !spawned).map(ControlAccess::Key);
        let access = token.map(ControlAccess::Token).or(key).ok_or_else(|| {
            "unknown control token: set it with --control-token-file, or sign with --identity".to_owned()
        });
        let direct = self.watcher.direct(hop).and_then(|node| {
            let access = access?;
            let is_readable = matches!(access, ControlAccess::Token(_)) && node.key.is_none();
            if is_readable && !spawned && self.publisher.route.is_encrypted() {
                return Err("on a route with key= the control token goes to hops with key= only, because it would be \
                            readable: sign with --identity"
                    .to_owned());
            }
            Ok((node, access))
        });
        match direct {
            Ok((node, access)) => {
                if !spawned && matches!(access, ControlAccess::Token(_)) {
                    self.log_info(Some(hop), format!("sending the control token to {}", node.address));
                }
                let requested = request(node, access);
                self.tasks.spawn(async move {
                    match requested.await {
                        Ok(()) => TaskResult::Log(Level::Info, Some(hop), action),
                        Err(problem) => TaskResult::Log(Level::Warn, Some(hop), format!("{action}: failed: {problem}")),
                    }
                });
            }
            Err(why) => self.publisher.log.push(Level::Warn, Some(hop), why),
        }
    }

    fn export(&mut self, export: Export) {
        let folder = export::folder(&self.plan);
        self.tasks.spawn_blocking(move || match export::write(&folder, &export) {
            Ok(path) => TaskResult::Log(Level::Info, None, format!("exported to {path}")),
            Err(why) => TaskResult::Log(Level::Error, None, why),
        });
    }

    fn log_info(&mut self, hop: Option<usize>, text: String) {
        self.publisher.log.push(Level::Info, hop, text);
    }

    /// Logs that a command succeeded, or why it failed.
    fn log_outcome(&mut self, hop: Option<usize>, done: Result<(), String>, text: String) {
        match done {
            Ok(()) => self.log_info(hop, text),
            Err(why) => self.publisher.log.push(Level::Warn, hop, why),
        }
    }

    /// Logs a failure alone: success is visible in the snapshot.
    fn log_failure(&mut self, hop: Option<usize>, done: Result<(), String>) {
        if let Err(why) = done {
            self.publisher.log.push(Level::Warn, hop, why);
        }
    }
}

/// Returns the local path where it differs from the requested name.
fn saved_as(file: &FileName, output: &Path) -> Option<SafeText> {
    let named = if file.names_folder() { file.as_folder()? } else { file.clone() };
    let local = named.local().filter(|local| *local != named.as_bytes() && output.is_dir())?;
    Some(shown(&output.join(OsStr::from_bytes(local))))
}
