//! Execution of actions on transfers and nodes, and of quitting: their commands and confirmations.

use std::time::Duration;

use super::targets::active;
use super::{Mode, PromptKind, UiState, running};
use crate::command::Command;
use crate::snapshot::{ChainSnapshot, Phase};
use crate::ui::action::{Action, NodeAction, TransferAction};
use crate::units::Rate;

/// Time for which a repeated key starts from the last commanded value: snapshots show a command only later.
const LIMIT_ECHO: Duration = Duration::from_millis(500);

impl UiState {
    pub(super) fn apply_transfer(&mut self, action: TransferAction, chain: &ChainSnapshot) -> Option<Command> {
        match action {
            TransferAction::Fetch => return Some(Command::Fetch),
            TransferAction::PromptName => {
                self.open_prompt(PromptKind::Name, "");
                return Some(Command::List(None));
            }
            TransferAction::Cancel => {
                let number = self.cancellable(chain).ok()?;
                self.notice = Some(format!("cancelling #{number}: received bytes are kept"));
                return Some(Command::Cancel(number));
            }
            TransferAction::Pause => {
                let command = self.pausable(chain).ok()?;
                self.notice = match command {
                    Command::Resume(number) => Some(format!("resuming #{number}")),
                    Command::Pause(number) => Some(format!("pausing #{number}")),
                    _ => None,
                };
                return Some(command);
            }
            TransferAction::Retry => {
                let number = self.retryable(chain).ok()?;
                self.notice = Some(format!("fetching #{number} again"));
                return Some(Command::Retry(number));
            }
            TransferAction::PromptLimit => {
                let transfer = self.limitable(chain).ok()?;
                self.open_prompt(PromptKind::Limit(transfer.number), "");
            }
            TransferAction::LimitBy(tenths) => {
                let transfer = self.limitable(chain).ok()?;
                let last =
                    self.last_limit.filter(|(number, _, at)| *number == transfer.number && self.now < *at + LIMIT_ECHO);
                let from = last.map_or(transfer.rate_limit.unwrap_or(transfer.rate), |(_, rate, _)| rate).max(1);
                let step = (from / 10).max(1);
                let rate = if tenths < 0 { from - step.min(from - 1) } else { from.saturating_add(step) };
                self.notice = Some(format!("rate limit of #{}: {}", transfer.number, Rate(rate)));
                return Some(Command::LimitTransfer { number: transfer.number, rate: Some(rate) });
            }
            TransferAction::RemoveLimit => {
                if let Some((hop, change)) = self.fault_off() {
                    return Some(Command::SetFault { hop, change });
                }
                let number = self.limited(chain).ok()?.number;
                self.notice = Some(format!("rate limit of #{number}: none"));
                return Some(Command::LimitTransfer { number, rate: None });
            }
            TransferAction::Reorder(by) => {
                return self.reorderable(chain, by).ok().map(|number| Command::Reorder { number, by });
            }
        }
        None
    }

    /// Executes an action on nodes or connections. Destructive ones need a second press of the key.
    pub(super) fn apply_node(
        &mut self,
        action: NodeAction,
        chain: &ChainSnapshot,
        unconfirmed: Option<(Action, String)>,
    ) -> Option<Command> {
        let (what, command) = match action {
            NodeAction::StartNode => {
                let hop = self.startable(chain).ok()?;
                self.notice = Some(format!("starting hop {hop}"));
                return Some(Command::StartNode(hop));
            }
            NodeAction::PromptAttach => {
                self.open_prompt(PromptKind::Attach, "");
                return None;
            }
            NodeAction::Faults => {
                let hop = self.fault_settable(chain).ok()?;
                self.mode = Mode::Faults { hop, at: 0 };
                return None;
            }
            NodeAction::StopNode => {
                self.stoppable(chain).ok().map(|hop| (format!("stop hop {hop}"), Command::StopNode(hop)))?
            }
            NodeAction::KillNode => {
                self.stoppable(chain).ok().map(|hop| (format!("kill hop {hop}"), Command::KillNode(hop)))?
            }
            NodeAction::RestartNode => {
                let hop = self.restartable(chain).ok()?;
                if self.stoppable(chain).is_err() {
                    return Some(Command::RestartNode(hop));
                }
                (format!("restart hop {hop}"), Command::RestartNode(hop))
            }
            NodeAction::DrainNode => {
                self.drainable(chain).ok().map(|hop| (format!("drain hop {hop}"), Command::DrainNode(hop)))?
            }
            NodeAction::Detach => {
                self.detachable(chain).ok().map(|hop| (format!("detach hop {hop}"), Command::Detach(hop)))?
            }
            NodeAction::CloseConnection => {
                let (hop, id) = self.closable(chain).ok()?;
                (format!("close connection {id} of hop {hop}"), Command::CloseConnection { hop, id })
            }
        };
        if unconfirmed.is_some_and(|(before, target)| before == Action::Node(action) && target == what) {
            return Some(command);
        }
        self.notice = Some(format!("{} again to {what}", self.keymap.key_of(Action::Node(action))));
        // The second press must reach the same hop.
        self.keep_hop(chain);
        self.unconfirmed = Some((Action::Node(action), what));
        None
    }

    pub(super) fn quit(&mut self, chain: &ChainSnapshot) -> Option<Command> {
        let confirm = self.mode != Mode::ConfirmQuit && running(chain).is_some() && !chain.exiting;
        if confirm {
            self.mode = Mode::ConfirmQuit;
            return None;
        }
        Some(self.quit_now(false))
    }

    pub(super) fn quit_now(&mut self, keep_nodes: bool) -> Command {
        self.quitting = true;
        Command::Quit { keep_nodes }
    }

    /// Cancels the running transfer; without one it quits, after a confirmation while others wait. A second Ctrl-C in a
    /// row quits, without waiting for the effect of the first.
    pub(super) fn interrupt(&mut self, again: bool, chain: &ChainSnapshot) -> Option<Command> {
        let chosen = self.chosen(chain).filter(|t| !matches!(t.phase, Phase::Queued | Phase::Paused));
        match chosen.or_else(|| active(chain)) {
            _ if again => Some(self.quit_now(false)),
            Some(transfer) => {
                self.unconfirmed = Some((Action::Interrupt, String::new()));
                self.notice = Some(format!("cancelling #{}; Ctrl-C again quits", transfer.number));
                Some(Command::Cancel(transfer.number))
            }
            None => self.quit(chain),
        }
    }
}
