//! Execution of actions: changes to the state of the screen, and commands to the chain.

use std::sync::Arc;

use super::{Effect, ExitOutput, FAULTS, Frozen, Mode, PromptKind, UiState};
use crate::command::Command;
use crate::snapshot::{ChainSnapshot, Level};
use crate::ui::action::{Action, ViewAction};
use crate::ui::columns::Sort;
use crate::ui::edit::LineEdit;
use crate::ui::focus::{Panel, ViewMode};

impl UiState {
    /// Executes one action on the snapshot that is shown; returns the command that it results in.
    pub fn apply(&mut self, action: Action, chain: &ChainSnapshot) -> Option<Command> {
        self.notice = None;
        let unconfirmed = self.unconfirmed.take();
        let command = match action {
            Action::Interrupt => self.interrupt(unconfirmed.is_some_and(|(before, _)| before == action), chain),
            Action::Transfer(action) => self.apply_transfer(action, chain),
            Action::Node(action) => self.apply_node(action, chain, unconfirmed),
            Action::Tour(command) => Some(Command::Tour(command)),
            Action::Export => Some(Command::Export),
            Action::SaveScreen => {
                self.queue_effect(Effect::SaveScreen);
                None
            }
            Action::Enter => self.enter(chain),
            Action::Quit => self.quit(chain),
            Action::QuitKeepScreen => {
                self.exit_output = ExitOutput::Frame;
                self.quit(chain)
            }
            Action::QuitKeepNodes => Some(self.quit_now(true)),
            Action::View(action) => {
                self.apply_view(action, chain);
                None
            }
        };
        if let Some(Command::LimitTransfer { number, rate }) = command {
            self.last_limit = rate.map(|rate| (number, rate, self.now));
        }
        self.settle(chain);
        command
    }

    /// Executes an action that changes only the screen.
    fn apply_view(&mut self, action: ViewAction, chain: &ChainSnapshot) {
        match action {
            ViewAction::Show(tab) => {
                self.tab = tab;
                self.view_mode = ViewMode::Overview;
            }
            ViewAction::NextPanel => self.next_panel(1),
            ViewAction::PreviousPanel => self.next_panel(-1),
            ViewAction::Move(by) if self.view_mode == ViewMode::Why && self.mode == Mode::Browse => {
                self.page_top = self.page_top.saturating_add_signed(i16::try_from(by).unwrap_or_default());
            }
            ViewAction::First if self.view_mode == ViewMode::Why && self.mode == Mode::Browse => self.page_top = 0,
            ViewAction::Last if self.view_mode == ViewMode::Why && self.mode == Mode::Browse => {
                self.page_top = u16::MAX;
            }
            ViewAction::Move(by) => self.move_selection(chain, |row| row.saturating_add_signed(by)),
            ViewAction::Page(by) if self.view_mode.is_page() && self.mode == Mode::Browse => {
                let by = i16::try_from(by * self.half_page(chain).cast_signed()).unwrap_or_default();
                self.page_top = self.page_top.saturating_add_signed(by);
            }
            ViewAction::Page(by) => {
                let by = by * self.half_page(chain).cast_signed();
                self.move_selection(chain, |row| row.saturating_add_signed(by));
            }
            ViewAction::First => self.move_selection(chain, |_| 0),
            ViewAction::Last => self.move_selection(chain, |_| usize::MAX),
            ViewAction::Back => self.back(),
            ViewAction::Zoom => {
                let zoomed = self.view_mode == ViewMode::Zoomed;
                self.view_mode = if zoomed { ViewMode::Overview } else { ViewMode::Zoomed };
            }
            ViewAction::Why => {
                let opened = self.view_mode == ViewMode::Why;
                self.view_mode = if opened { ViewMode::Overview } else { ViewMode::Why };
                self.page_top = 0;
            }
            ViewAction::Freeze => self.freeze(chain),
            ViewAction::Span(by) => self.span = self.span.by(by),
            ViewAction::NextMatch(by) => self.next_match(chain, by),
            ViewAction::Follow(by) => self.follow(chain, by),
            ViewAction::Filter if matches!(self.mode, Mode::Help { .. }) => {
                if let Mode::Help { searching, .. } = &mut self.mode {
                    *searching = true;
                }
            }
            ViewAction::Filter => {
                let panel = self.focus();
                let text = self.lists.filter(panel).to_owned();
                self.lists.set_filter(panel, text.clone());
                self.open_prompt(PromptKind::Filter(panel), &text);
            }
            ViewAction::AdminConns => {
                self.lists.show_admin = !self.lists.show_admin;
                let now = if self.lists.show_admin { "shown" } else { "hidden" };
                self.notice = Some(format!("admin connections, such as those of this program: {now}"));
            }
            ViewAction::SortMenu => self.open_sort_menu(),
            ViewAction::SortReverse => {
                let reversed = self.lists.sort().map(|sort| Sort { down: !sort.down, ..sort });
                self.lists.set_sort(reversed);
            }
            ViewAction::SortRefresh => {
                self.lists.set_sort(self.lists.sort());
                // The order may look unchanged, so a notice confirms it.
                self.notice = Some("sorted by the current figures".to_owned());
            }
            ViewAction::Columns => self.mode = Mode::Columns { at: 0 },
            ViewAction::Level => {
                self.level = match self.level {
                    Level::Info => Level::Warn,
                    Level::Warn => Level::Error,
                    Level::Error => Level::Info,
                }
            }
            ViewAction::Wrap => {
                self.wrap = !self.wrap;
                // Without a long line in view nothing else changes.
                let now = if self.wrap { "long lines are wrapped" } else { "long lines are truncated" };
                self.notice = Some(now.to_owned());
            }
            ViewAction::Theme => {
                self.theme = self.theme.next();
                self.notice = Some(format!("theme: {}", self.theme.name()));
            }
            ViewAction::Mouse => {
                self.mouse = !self.mouse;
                let now = if self.mouse { "mouse on" } else { "mouse off" };
                self.notice = Some(now.to_owned());
            }
            ViewAction::Alert(alert) => self.toggle_alert(alert),
            ViewAction::Settings => self.mode = Mode::Settings { at: 0 },
            ViewAction::Copy => self.mode = Mode::Copy { at: 0 },
            ViewAction::CopyItem(item) => self.copy(item, chain),
            ViewAction::Repaint => self.queue_effect(Effect::Repaint),
            ViewAction::Suspend => self.queue_effect(Effect::Suspend),
            ViewAction::Help => self.mode = Mode::Help { top: 0, line: LineEdit::default(), searching: false },
            ViewAction::Palette => self.mode = Mode::Palette { line: LineEdit::default(), at: 0 },
            ViewAction::Edit(edit) => self.edit(edit),
            ViewAction::Mark => self.mark(chain),
            ViewAction::MarkAll => self.mark_all(chain),
            ViewAction::Complete => self.complete(chain),
            ViewAction::Close => self.close(),
        }
    }

    fn enter(&mut self, chain: &ChainSnapshot) -> Option<Command> {
        match &self.mode {
            Mode::Browse => {
                if self.has_detail(chain) {
                    // Another headline must not replace the hop whose details are read.
                    self.keep_hop(chain);
                    self.view_mode = ViewMode::Detail;
                }
                None
            }
            Mode::Line(_) => self.submit(chain),
            Mode::Palette { line, at } => {
                let (binding, refusal) = self.commands(&line.text(), chain).get(*at).copied()?;
                if let Some(refusal) = refusal {
                    self.notice = Some(format!("{}: {refusal}", binding.id));
                    return None;
                }
                self.mode = Mode::Browse;
                self.apply(binding.action, chain)
            }
            Mode::Columns { at } => {
                let (table, columns) = self.table()?;
                let mut optional = columns.iter().enumerate().filter(|(_, column)| column.drop > 0);
                if let Some((column, _)) = optional.nth(*at) {
                    self.hidden[table] ^= 1 << column;
                }
                None
            }
            Mode::Faults { hop, at } => {
                let (hop, at) = (*hop, *at);
                let node = chain.hop(hop).and_then(|hop| hop.node.as_ref())?;
                if let Some(change) = FAULTS[at].toggle(node) {
                    return Some(Command::SetFault { hop, change });
                }
                self.open_prompt(PromptKind::Fault { hop, at }, "");
                None
            }
            Mode::Settings { at } => {
                if let Some(action) = self.next_setting(*at) {
                    self.apply_view(action, chain);
                    // The list shows the new value.
                    self.notice = None;
                }
                None
            }
            Mode::Copy { at } => {
                self.copy_selected(*at, chain);
                None
            }
            Mode::Sort { line, at } => {
                let column = self.sort_entries(&line.text()).get(*at).copied()?;
                self.mode = Mode::Browse;
                self.sort_by(column);
                None
            }
            Mode::Help { .. } => {
                if let Mode::Help { searching, .. } = &mut self.mode {
                    *searching = false;
                }
                None
            }
            Mode::ConfirmQuit => None,
        }
    }

    fn back(&mut self) {
        if self.files.shown && !self.lists.filter(Panel::Files).is_empty() {
            self.lists.set_filter(Panel::Files, String::new());
        } else if self.view_mode != ViewMode::Overview {
            self.view_mode = ViewMode::Overview;
        } else if !self.lists.filter(self.focus()).is_empty() {
            self.lists.set_filter(self.focus(), String::new());
        } else {
            self.hop = None;
        }
    }

    fn close(&mut self) {
        self.exit_output = ExitOutput::Summary;
        if let Mode::Help { searching: searching @ true, line, top } = &mut self.mode {
            (*searching, *line, *top) = (false, LineEdit::default(), 0);
            return;
        }
        if let Mode::Line(prompt) = &self.mode {
            match prompt.kind {
                PromptKind::Filter(panel) => self.lists.set_filter(panel, String::new()),
                PromptKind::Fault { hop, at } => {
                    self.mode = Mode::Faults { hop, at };
                    return;
                }
                PromptKind::Name | PromptKind::Limit(_) | PromptKind::Attach => {}
            }
        }
        self.mode = Mode::Browse;
    }

    fn freeze(&mut self, chain: &ChainSnapshot) {
        self.frozen = match self.frozen.take() {
            Some(_) => None,
            None => Some(Frozen { since: self.now, chain: Arc::new(chain.clone()), history: self.history.clone() }),
        };
    }

    fn next_panel(&mut self, by: isize) {
        let panels = self.panels();
        let at = panels.iter().position(|panel| *panel == self.panel).unwrap_or(0).cast_signed();
        self.panel = panels[(at + by).rem_euclid(panels.len().cast_signed()).cast_unsigned()];
        if self.view_mode.is_page() {
            self.view_mode = ViewMode::Overview;
        }
        if self.panel != Panel::Transfers && self.panel != Panel::Setup {
            // Without the focus, the selection follows the running transfer again.
            self.transfer = None;
        }
    }

    /// Shows why a key has no effect.
    pub fn refuse(&mut self, notice: String) {
        self.unconfirmed = None;
        self.notice = Some(notice);
    }
}
