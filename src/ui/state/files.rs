//! Files of a folder on the detail page of its transfer: lists them, and selects one.

use super::UiState;
use crate::snapshot::{ChainSnapshot, FileResult};
use crate::ui::focus::{Panel, ViewMode};

impl UiState {
    /// Lists the files of the folder whose details are shown.
    pub(super) fn settle_files(&mut self, chain: &ChainSnapshot) {
        let folder = self.transfer(chain).and_then(|transfer| transfer.folder.as_ref());
        let of_transfer = matches!(self.panel_of_tab(), Panel::Transfers | Panel::Setup);
        self.files.shown = self.view_mode == ViewMode::Detail && of_transfer && folder.is_some();
        if !self.files.shown {
            self.files.selected = None;
            self.lists.set_filter(Panel::Files, String::new());
        }
        self.lists.refresh_files(folder);
        if self.files.selected.is_some() {
            self.files.row = self.file_row(chain).unwrap_or(0);
            self.files.selected = self.file_at(chain, self.files.row).map(|result| result.path.clone());
        }
    }

    /// Returns the row of the selected file, if one is selected: its last row, if it is listed no more.
    pub(crate) fn file_row(&self, chain: &ChainSnapshot) -> Option<usize> {
        let path = self.files.selected.as_ref()?;
        let found = (0..self.lists.files.len()).find(|row| self.file_at(chain, *row).is_some_and(|f| f.path == *path));
        found.or_else(|| self.lists.files.len().checked_sub(1).map(|last| last.min(self.files.row)))
    }

    /// Returns whether the page is to be scrolled to the selected file, once after it was selected.
    pub(crate) fn take_file_to_follow(&mut self) -> bool {
        std::mem::take(&mut self.files.follows)
    }

    /// Returns the result of the selected file.
    pub(super) fn selected_file<'a>(&self, chain: &'a ChainSnapshot) -> Option<&'a FileResult> {
        self.file_at(chain, self.file_row(chain)?)
    }

    pub(super) fn file_at<'a>(&self, chain: &'a ChainSnapshot, row: usize) -> Option<&'a FileResult> {
        self.transfer(chain)?.folder.as_ref()?.recent.get(*self.lists.files.get(row)?)
    }

    /// Moves the selection among the files of a folder; before the first is none, which shows the top of the page.
    pub(super) fn move_file(&mut self, chain: &ChainSnapshot, to: impl Fn(usize) -> usize) {
        let row = to(self.file_row(chain).map_or(0, |row| row + 1));
        if let Some(row) = row.checked_sub(1) {
            self.select(Panel::Files, row, chain);
        } else {
            (self.files.selected, self.page_top) = (None, 0);
        }
        self.files.follows = self.files.selected.is_some();
    }
}
