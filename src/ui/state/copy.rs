//! Entries of the copy menu, and their texts: sanitized, as they are on the screen.

use super::{Effect, Mode, UiState};
use crate::snapshot::verdict::Limit;
use crate::snapshot::{ChainSnapshot, FileOutcome};
use crate::ui::action::CopyItem;
use crate::ui::finding::{Finding, sentences};
use crate::ui::focus::Panel;
use crate::ui::share;

/// All entries, in their order.
const ITEMS: [CopyItem; 10] = [
    CopyItem::Path,
    CopyItem::Error,
    CopyItem::Failures,
    CopyItem::Sentence,
    CopyItem::Curl,
    CopyItem::Fetch,
    CopyItem::Address,
    CopyItem::Peer,
    CopyItem::Line,
    CopyItem::Picture,
];

impl CopyItem {
    /// Returns its name in the menu.
    pub fn name(self) -> &'static str {
        match self {
            Self::Path => "path of the file",
            Self::Error => "error",
            Self::Failures => "failed files",
            Self::Sentence => "sentence as Markdown",
            Self::Curl => "curl command",
            Self::Fetch => "chainview command",
            Self::Address => "address of the hop",
            Self::Peer => "peer of the connection",
            Self::Line => "line of the log",
            Self::Picture => "picture of the screen (SVG), as a file",
        }
    }
}

impl UiState {
    /// Returns the entries that apply, with their texts: those of the focused panel first. The picture has no text.
    pub fn copy_items(&self, chain: &ChainSnapshot) -> Vec<(CopyItem, Option<String>)> {
        let own: &[CopyItem] = match self.focus() {
            Panel::Hops | Panel::Nodes | Panel::Chart => &[CopyItem::Address],
            Panel::Connections => &[CopyItem::Peer],
            Panel::Setup | Panel::Transfers => &[CopyItem::Error, CopyItem::Path],
            Panel::Log => &[CopyItem::Line],
            Panel::Files => &[CopyItem::Path, CopyItem::Error, CopyItem::Failures],
        };
        let others = ITEMS.iter().filter(|item| !own.contains(item));
        let all = own.iter().chain(others).map(|item| (*item, self.copy_text(*item, chain)));
        all.filter(|(item, text)| *item == CopyItem::Picture || text.is_some()).collect()
    }

    /// Returns whether an entry applies.
    pub(super) fn can_copy(&self, item: CopyItem, chain: &ChainSnapshot) -> bool {
        item == CopyItem::Picture || self.copy_text(item, chain).is_some()
    }

    fn copy_text(&self, item: CopyItem, chain: &ChainSnapshot) -> Option<String> {
        let transfer = self.focused_transfer(chain);
        let file = || transfer.and_then(|t| t.file.as_deref()).or(chain.route.as_deref().map(|route| &route.file));
        match item {
            CopyItem::Path => {
                let path = transfer.map(|t| t.path.as_str()).filter(|path| !path.is_empty())?;
                Some(
                    self.selected_file(chain).map_or_else(
                        || path.to_owned(),
                        |file| format!("{}/{}", path.trim_end_matches('/'), file.path),
                    ),
                )
            }
            CopyItem::Error => match self.selected_file(chain) {
                Some(file) => file.error.as_ref().map(ToString::to_string),
                None => transfer?.error.as_ref().map(ToString::to_string),
            },
            CopyItem::Failures => {
                let transfer = transfer?;
                let recent = &transfer.folder.as_ref()?.recent;
                let failed = recent.iter().filter(|file| file.outcome == FileOutcome::Failed);
                let lines: Vec<String> = failed
                    .map(|file| match file.reason(&transfer.path) {
                        Some(error) => format!("{}: {error}", file.path),
                        None => file.path.to_string(),
                    })
                    .collect();
                (!lines.is_empty()).then(|| lines.join("\n"))
            }
            CopyItem::Sentence => {
                let transfer = transfer?;
                let known = transfer.verdict.filter(|verdict| verdict.limit != Limit::Measuring);
                let why = if transfer.phase.is_over() {
                    known.map(|verdict| verdict.to_string())
                } else {
                    sentences(&Finding::of(chain), chain).into_iter().next()
                };
                Some(share::markdown(transfer, why.as_deref()))
            }
            CopyItem::Curl => share::curl(chain.route.as_deref()?, file()?),
            CopyItem::Fetch => share::fetch(chain.route.as_deref()?, chain.input.as_deref()?, file()?),
            CopyItem::Address => self.hop(chain).map(|hop| hop.address.to_string()),
            CopyItem::Peer => match self.focus() {
                Panel::Connections => self.selected_conn(chain).map(|(_, conn)| conn.peer.to_string()),
                _ => None,
            },
            CopyItem::Line => match self.focus() {
                Panel::Log => {
                    let at = *self.lists.log.get(self.row_of(Panel::Log, chain))?;
                    chain.log.get(at).map(|line| line.text.to_string())
                }
                _ => None,
            },
            CopyItem::Picture => None,
        }
    }

    /// Copies an entry, and closes the menu. The picture is that of the screen without the menu.
    pub(super) fn copy(&mut self, item: CopyItem, chain: &ChainSnapshot) {
        let text = self.copy_text(item, chain);
        self.mode = Mode::Browse;
        if item == CopyItem::Picture {
            self.queue_effect(Effect::SaveScreen);
        } else if let Some(text) = text {
            self.notice = Some(format!("copied: {}", text.replace('\n', "; ")));
            self.queue_effect(Effect::Copy(text));
        }
    }

    /// Copies the selected entry.
    pub(super) fn copy_selected(&mut self, at: usize, chain: &ChainSnapshot) {
        if let Some((item, _)) = self.copy_items(chain).get(at) {
            self.copy(*item, chain);
        }
    }
}
